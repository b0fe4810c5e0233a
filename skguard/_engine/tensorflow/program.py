"""Programs of the TensorFlow backend: a model and its data, run by graphs from the cache."""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from collections.abc import Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from skguard._engine.plan import Plan
from skguard._engine.protocol import EpochCall, EpochResult
from skguard._engine.tensorflow import cleanup
from skguard._engine.tensorflow.cache import CACHE, variables_of
from skguard._engine.tensorflow.chunks import ChunkReader
from skguard._engine.tensorflow.cleanup import Residue
from skguard._engine.tensorflow.dataset import MappedDataset, TensorDataset
from skguard._engine.tensorflow.graphs import BatchesGraph, EpochsGraph, FitData, TrainingGraph
from skguard._engine.tensorflow.prediction import BatchPredictor, PredictionGraph
from skguard._engine.tensorflow.signatures import (
    SUPPORTED,
    Sharing,
    prediction_signature,
    training_signature,
)
from skguard._engine.unsuitable import UnsuitableError
from skguard._repairs import keras_internals

__all__ = ["GraphProgram", "lease_predictor", "lease_program"]

# Tracing the loops of an `EpochsGraph` takes some 0.15 s, and saves 0.3 ms per batch.
FEW_BATCHES = 64  # in a whole fit, training and validation together
MAX_BATCHES = 128  # in all fits with one graph, before the loops are traced nevertheless

# Forms of the reason, see `TrainingRun`.
_SHARED = "shared graph"
_BY_BATCH = f"{_SHARED}, one batch per call"
_SEPARATE = "separate graph"
_DIFFERS_IN_LOOPS = "silu rounds differently inside a loop"


@contextlib.contextmanager
def lease_program(
    model: keras.Model, training: TensorDataset, validation: TensorDataset | None, plan: Plan
) -> Iterator[GraphProgram]:
    """Prepare a program; its graphs return to the cache afterwards, unless there was an error.

    Raises
    ------
    UnsuitableError
        If the model cannot be traced, or Keras is faster.
    """
    _build(model, training)
    model.make_train_function()
    data = FitData(training, validation, plan.batch_size, plan.validation_batch_size)
    with contextlib.ExitStack() as leases:
        yield GraphProgram(model, data, plan, leases)


def _build(model: keras.Model, training: TensorDataset) -> None:
    n_before = len(variables_of(model))
    _check_optimizer(model)
    keras_internals.build(model, training.example())
    n_after = len(variables_of(model))
    if n_before < n_after:
        cleanup.note(Residue.VARIABLE, n_after)


def _check_optimizer(model: keras.Model) -> None:
    """Raise if Keras would build the optimizer with other values than are known here."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if optimizer is None or optimizer.built:
        return
    name = type(optimizer).__name__
    is_of_keras = getattr(keras.optimizers, name, None) is type(optimizer)
    if is_of_keras and name in SUPPORTED["optimizers"]:
        return
    if keras_internals.sets_variables_when_built(optimizer, model):
        raise UnsuitableError(f"{name} sets its variables when it is built")


@dataclasses.dataclass(frozen=True, slots=True)
class _Choice:
    """A kind of graph, its key in the cache, and the reason for it."""

    kind: type[TrainingGraph]
    key: tuple[Hashable, ...]
    reason: str


class GraphProgram:
    """A `Program` that calls a traced graph.

    Parameters
    ----------
    model : keras.Model
        Built, with a train function.
    data : FitData
    plan : Plan
    leases : contextlib.ExitStack
        Holds the graphs that the program uses.

    Attributes
    ----------
    reason : str
        See `TrainingRun`.
    """

    def __init__(
        self, model: keras.Model, data: FitData, plan: Plan, leases: contextlib.ExitStack
    ) -> None:
        self._model, self._data, self._plan, self._leases = model, data, plan, leases
        self._training_chunks = self._reader(data.training, data.batch_size)
        self._validation_chunks = self._reader(data.validation, data.validation_batch_size)
        self._validation_order = np.arange(plan.n_validation_samples or 0)[np.newaxis]
        self._graph, self.reason = self._lease()
        self._train_function = model.train_function
        # Keras traces at the first batch, so that all changes before it count. None afterwards.
        self._settings: list[Any] | None = keras_internals.settings(model)

    @property
    def runs_whole_epochs(self) -> bool:
        is_mapped = self._training_chunks is not None or self._validation_chunks is not None
        return self._graph.runs_epochs and self._settings is None and not is_mapped

    @property
    def seconds_per_batch(self) -> float | None:
        return self._graph.seconds_per_batch

    @property
    def seconds_per_validation_batch(self) -> float | None:
        return self._graph.seconds_per_validation_batch

    @property
    def bytes_per_snapshot(self) -> int:
        assert isinstance(self._graph, EpochsGraph)
        return self._graph.bytes_per_snapshot()

    def reset_metrics(self) -> None:
        if not self._graph.runs_epochs:
            self._model.reset_metrics()

    def run(self, call: EpochCall) -> EpochResult:
        if self._retrace_if_changed() and call.starts_at_batch_0:
            self.reset_metrics()  # the graph before may have left it to its next call
        if call.n_batches and self._training_chunks is not None:
            return self._run_chunks(self._training_chunks, call, trains=True)
        if call.n_validation_batches and self._validation_chunks is not None:
            return self._run_chunks(self._validation_chunks, call, trains=False)
        return self._graph.run(self._data, call)

    def _reader(self, samples: TensorDataset | None, batch_size: int) -> ChunkReader | None:
        if not isinstance(samples, MappedDataset):
            return None
        executor = ThreadPoolExecutor(1, "skguard-reader")
        self._leases.callback(executor.shutdown, cancel_futures=True)
        return ChunkReader(samples, batch_size, executor)

    def _run_chunks(self, reader: ChunkReader, call: EpochCall, *, trains: bool) -> EpochResult:
        """Train on, or evaluate, mapped samples of which a call reads one chunk after the other."""
        batches = call.batches if trains else call.validation_batches
        epoch = call.orders if trains else self._validation_order
        result = None
        for part, samples in reader.chunks(epoch, batches):
            orders = np.arange(samples.n_samples, dtype=np.int32)[np.newaxis]
            if trains:
                data = dataclasses.replace(self._data, training=samples)
                of_part = dataclasses.replace(call, orders=orders, batches=part)
            else:
                data = dataclasses.replace(self._data, validation=samples)
                of_part = dataclasses.replace(call, validation_batches=part)
            result = self._graph.run(data, of_part)
        assert result is not None
        return result

    def restore(self, snapshots: Any, epoch: int, *, weights_only: bool = False) -> None:
        assert isinstance(self._graph, EpochsGraph)
        only = self._model.weights if weights_only else ()
        self._graph.restore(snapshots, epoch, only=only)

    def _retrace_if_changed(self) -> bool:
        """Lease another graph where Keras would trace again, because of a callback."""
        model = self._model
        changed = self._settings is not None and self._settings != keras_internals.settings(model)
        self._settings = None
        if not changed and model.train_function is self._train_function:
            return False
        model.make_train_function(force=changed)
        self._train_function = model.train_function
        self._graph, self.reason = self._lease()
        return True

    def _lease(self) -> tuple[TrainingGraph, str]:
        model, data = self._model, self._data
        choice = self._choose()
        try:
            graph = self._leases.enter_context(
                CACHE.lend(choice.key, model, lambda: choice.kind(model, data))
            )
        except UnsuitableError:
            raise
        except Exception as error:  # the model may be invalid: training by Keras reports it then
            raise _cannot_be_traced(error) from error
        graph.expect(data.batch_size, data.validation_batch_size)
        if not graph.is_portable and choice.reason.startswith(_SHARED):
            return graph, f"{_SEPARATE}: the model reads a tensor that is not one of its variables"
        return graph, choice.reason

    def _choose(self) -> _Choice:
        sharing = Sharing.of(training_signature, self._model)
        if self._model.steps_per_execution > 1 and not sharing.is_same_in_loops:
            raise UnsuitableError(
                f"steps_per_execution={self._model.steps_per_execution} is faster there: "
                + (sharing.obstacle or _DIFFERS_IN_LOOPS)
            )
        # A separate graph serves its model until that is compiled again, as the function of Keras
        # does.
        owner = sharing.signature or weakref.ref(self._model.train_function)
        key = (owner, *self._data.key)
        if sharing.signature is None:
            return _Choice(BatchesGraph, (BatchesGraph, *key), f"{_SEPARATE}: {sharing.obstacle}")
        if not sharing.is_same_in_loops:
            return _Choice(BatchesGraph, (BatchesGraph, *key), f"{_BY_BATCH}: {_DIFFERS_IN_LOOPS}")
        if self._is_faster_without_loops(key):
            reason = f"{_BY_BATCH}: at most {FEW_BATCHES} batches in this training"
            return _Choice(BatchesGraph, (BatchesGraph, *key), reason)
        CACHE.drop((BatchesGraph, *key))
        return _Choice(EpochsGraph, (EpochsGraph, *key), _SHARED)

    def _is_faster_without_loops(self, key: tuple[Hashable, ...]) -> bool:
        """Whether tracing loops would take longer than they save.

        Decided by the batches of this training, and of the earlier ones with the same graph.
        """
        if self._model.steps_per_execution > 1:
            return False
        if CACHE.waiting((EpochsGraph, *key)) is not None:
            return False
        waiting: Any = CACHE.waiting((BatchesGraph, *key))
        n_before = 0 if waiting is None else waiting.n_batches
        return n_before <= MAX_BATCHES and self._plan.has_at_most(FEW_BATCHES)


@contextlib.contextmanager
def lease_predictor(
    model: keras.Model, example: TensorDataset, n_samples: int, batch_size: int
) -> Iterator[BatchPredictor | PredictionGraph]:
    """Lend a graph that predicts; it returns to the cache afterwards, unless there was an error.

    Raises
    ------
    UnsuitableError
        If the model cannot be traced.
    """
    sharing = Sharing.of(prediction_signature, model)
    if sharing.signature is None:
        yield BatchPredictor(model)
        return
    model.make_predict_function()
    with contextlib.ExitStack() as leases:
        try:
            size = batch_size if n_samples % batch_size == 0 else None

            def trace() -> PredictionGraph:
                return PredictionGraph(model, example, size, sharing.is_same_in_loops)

            key = (PredictionGraph, sharing.signature, example.key, size)
            graph = leases.enter_context(CACHE.lend(key, model, trace))
        except UnsuitableError:
            raise
        except Exception as error:  # the model may be invalid: prediction by Keras reports it then
            raise _cannot_be_traced(error) from error
        yield graph


def _cannot_be_traced(error: Exception) -> UnsuitableError:
    lines = str(error).strip().splitlines()
    first_line = f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")
    return UnsuitableError(f"the model cannot be traced: {first_line}")
