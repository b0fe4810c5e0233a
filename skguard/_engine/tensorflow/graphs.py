"""Traced graphs that train and evaluate a model: one batch, or many epochs, per call."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from skguard._engine.protocol import EpochCall, EpochResult
from skguard._engine.tensorflow.cache import Graph, variables_of
from skguard._engine.tensorflow.dataset import TensorDataset
from skguard._engine.unsuitable import UnsuitableError

__all__ = ["BatchesGraph", "EpochsGraph", "FitData", "TrainingGraph"]

# Words in the names of operations that use TensorFlow's global random stream. Their seeds depend on
# the number of operations in the graph, so that another graph draws other numbers.
_RANDOM = ("Random", "Multinomial", "TruncatedNormal", "Poisson")


@dataclasses.dataclass
class _Logs:
    """Layout of the values of metrics in the outputs of a graph: one vector per dtype."""

    names: list[str] = dataclasses.field(default_factory=list)
    shapes: list[tuple[int, ...]] = dataclasses.field(default_factory=list)
    dtypes: list[tf.DType] = dataclasses.field(default_factory=list)

    @classmethod
    def like(cls, logs: dict[str, tf.Tensor]) -> _Logs:
        texts = [name for name, value in logs.items() if value.dtype == tf.string]
        if texts:
            raise UnsuitableError(f"the value of {texts[0]!r} in the logs is not a number")
        shapes = [value.shape for value in logs.values()]
        if not all(shape.is_fully_defined() for shape in shapes):
            raise UnsuitableError("the shape of a metric's value is unknown")
        return cls(list(logs), [tuple(s) for s in shapes], [v.dtype for v in logs.values()])

    @property
    def kinds(self) -> list[tf.DType]:
        return list(dict.fromkeys(self.dtypes))

    def length(self, kind: tf.DType) -> int:
        return sum(
            int(np.prod(s, dtype=int))
            for s, d in zip(self.shapes, self.dtypes, strict=True)
            if d == kind
        )

    def pack(self, logs: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        values = [logs[name] for name in self.names]
        return [
            tf.concat(
                [
                    tf.reshape(v, [-1])
                    for v, d in zip(values, self.dtypes, strict=True)
                    if d == kind
                ],
                axis=0,
            )
            for kind in self.kinds
        ]

    def zeros(self) -> list[tf.Tensor]:
        return [tf.zeros([self.length(kind)], kind) for kind in self.kinds]

    def unpack(self, vectors: Sequence[np.ndarray]) -> dict[str, Any]:
        """Return Python floats, as Keras passes them to callbacks, and arrays if not scalar."""
        at = dict.fromkeys(self.kinds, 0)
        by_kind = dict(zip(self.kinds, vectors, strict=True))
        logs: dict[str, Any] = {}
        for name, shape, kind in zip(self.names, self.shapes, self.dtypes, strict=True):
            size = int(np.prod(shape, dtype=int))
            part = by_kind[kind][at[kind] : at[kind] + size]
            at[kind] += size
            logs[name] = float(part[0]) if size == 1 else part.reshape(shape)
        return logs


@dataclasses.dataclass(frozen=True, slots=True)
class FitData:
    """The data of a fit, and the sizes of its batches.

    Parameters
    ----------
    training : TensorDataset
    validation : TensorDataset or None
    batch_size, validation_batch_size : int
    """

    training: TensorDataset
    validation: TensorDataset | None
    batch_size: int
    validation_batch_size: int

    @property
    def common_sizes(self) -> tuple[int | None, int | None]:
        """The size of all training and of all validation batches, None if the last is shorter.

        The pipeline of Keras knows the size if it is common, and TensorFlow optimizes for it.
        """
        validation = self.validation
        return (
            self.training.common_size(self.batch_size),
            None if validation is None else validation.common_size(self.validation_batch_size),
        )

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Equal for data that one graph can take."""
        validation_key = None if self.validation is None else self.validation.key
        return (self.training.key, validation_key, self.common_sizes)

    @property
    def tensors(self) -> list[tf.Tensor]:
        """The tensors of the training set, and of the validation set if any."""
        validation = [] if self.validation is None else self.validation.tensors
        return [*self.training.tensors, *validation]


class TrainingGraph(Graph):
    """Trains and evaluates a model on samples in memory.

    Parameters
    ----------
    model : keras.Model
        Compiled. Its own ``train_step`` and ``test_step`` are traced.
    data : FitData
        An example: the graph takes any data of equal ``key``.

    Attributes
    ----------
    runs_epochs : bool
        Whether a call can have more than one batch, with metrics that are reset at batch 0 inside
        the graph. Otherwise the caller resets them.
    seconds_per_batch, seconds_per_validation_batch : float or None
        Recent duration of a batch.
    """

    runs_epochs: bool

    def __init__(self, model: keras.Model, data: FitData) -> None:
        self.seconds_per_batch: float | None = None
        self.seconds_per_validation_batch: float | None = None
        self._sizes = (1, 1)
        size, validation_size = data.common_sizes
        train = _trace_step(model, model.train_step, data.training, size)
        test = None
        if data.validation is not None:
            test = _trace_step(model, model.test_step, data.validation, validation_size)
        super().__init__(model, self._functions(model, train, test))

    def _functions(self, model: keras.Model, train: _Step, test: _Step | None) -> list[Any]:
        raise NotImplementedError

    def run(self, data: FitData, call: EpochCall) -> EpochResult:
        """Train and evaluate; with ``runs_epochs`` false, one of the two."""
        raise NotImplementedError

    def expect(self, batch_size: int, validation_batch_size: int) -> None:
        """Scale the durations to batches that are larger than the last ones.

        Those of smaller batches stay as they are: calls that turn out too short only cost time.
        """
        size, validation_size = self._sizes
        if self.seconds_per_batch:
            self.seconds_per_batch *= max(1.0, batch_size / size)
        if self.seconds_per_validation_batch:
            self.seconds_per_validation_batch *= max(1.0, validation_batch_size / validation_size)
        self._sizes = (batch_size, validation_batch_size)

    def _measure(self, seconds: float, n_batches: int, n_validation_batches: int) -> None:
        if not n_validation_batches:
            self.seconds_per_batch = seconds / max(n_batches, 1)
        elif not n_batches:
            self.seconds_per_validation_batch = seconds / n_validation_batches
        elif self.seconds_per_batch and self.seconds_per_validation_batch:
            expected = (
                n_batches * self.seconds_per_batch
                + n_validation_batches * self.seconds_per_validation_batch
            )
            self.seconds_per_batch *= seconds / expected
            self.seconds_per_validation_batch *= seconds / expected


class BatchesGraph(TrainingGraph):
    """Runs one batch at a time, in the function that Keras would call for it.

    TensorFlow optimizes the body of a loop differently from the same operations outside of one:
    oneDNN's kernel for ``x * sigmoid(x)``, for one, is found only outside, and its last bit
    differs. So this is for models of which it is not known that it makes no difference, and for
    trainings that are over before tracing the loops would pay.

    Attributes
    ----------
    n_batches : int
        Number of batches that it has run, in all fits.
    """

    runs_epochs = False
    n_batches = 0

    def _functions(self, model: keras.Model, train: _Step, test: _Step | None) -> list[Any]:
        self._train, self._test = train.logs, test.logs if test is not None else None
        functions = [step.function for step in (train, test) if step is not None]
        for function in functions:
            _check_random_operations(function)
        return functions

    def run(self, data: FitData, call: EpochCall) -> EpochResult:
        started = time.perf_counter()
        if call.validates[0] and data.validation is not None and self._test is not None:
            logs = self._test
            order = np.arange(data.validation.n_samples, dtype=np.int32)
            outputs = self._run_batches(
                self.functions[1],
                data.validation,
                order,
                call.validation_batches,
                data.validation_batch_size,
            )
        else:
            logs = self._train
            outputs = self._run_batches(
                self.functions[0], data.training, call.orders[0], call.batches, data.batch_size
            )
        values = logs.unpack([output.numpy() for output in outputs])
        n_batches, n_validation_batches = call.n_batches, call.n_validation_batches
        self.n_batches += n_batches + n_validation_batches
        self._measure(time.perf_counter() - started, n_batches, n_validation_batches)
        return EpochResult([values], [values])

    @staticmethod
    def _run_batches(
        function: Any,
        samples: TensorDataset,
        order: np.ndarray,
        batches: tuple[int, int],
        size: int,
    ) -> list[tf.Tensor]:
        outputs: list[tf.Tensor] = []
        for batch in range(*batches):
            begin = batch * size - samples.offset
            indices = order[begin : begin + size]
            outputs = function(*samples.tensors, tf.constant(indices))
        return outputs


def _extent(samples: TensorDataset | None) -> tuple[int, int]:
    return (0, 0) if samples is None else (samples.n_samples, samples.offset)


class EpochsGraph(TrainingGraph):
    """Runs a part of an epoch, an epoch or many of them in loops inside the graph.

    For models whose numbers are known to be the same in the body of a loop, see
    ``signatures.py``. An epoch of such a model changes nothing but its variables, which can be
    recorded and restored.
    """

    runs_epochs = True

    def _functions(self, model: keras.Model, train: _Step, test: _Step | None) -> list[Any]:
        self._train_logs = train.logs
        self._test_logs = test.logs if test is not None else _Logs()
        self._snapshots = _SnapshotLayout.of(model)
        return [_EpochsTrace(model, train, test, self._snapshots).trace()]

    def run(self, data: FitData, call: EpochCall) -> EpochResult:
        started = time.perf_counter()
        outputs = self.functions[0](
            tf.constant(call.orders),
            tf.constant([*call.batches, data.batch_size, *_extent(data.training)]),
            tf.constant(list(call.validates)),
            tf.constant(
                [*call.validation_batches, data.validation_batch_size, *_extent(data.validation)]
            ),
            tf.constant(call.takes_snapshots),
            *data.tensors,
        )
        arrays = [output.numpy() for output in outputs]
        self._measure(time.perf_counter() - started, call.n_batches, call.n_validation_batches)
        return self._unpack(arrays, len(call.validates))

    def _unpack(self, arrays: list[np.ndarray], n_epochs: int) -> EpochResult:
        n_train, n_test = len(self._train_logs.kinds), len(self._test_logs.kinds)
        train, test = arrays[:n_train], arrays[n_train:][:n_test]
        epochs = range(n_epochs)
        return EpochResult(
            [self._train_logs.unpack([a[e] for a in train]) for e in epochs],
            [self._test_logs.unpack([a[e] for a in test]) for e in epochs] if n_test else [],
            arrays[n_train + n_test :],
        )

    def bytes_per_snapshot(self) -> int:
        """Memory that the state of the variables after one epoch takes."""
        variables = variables_of(self.model)
        return sum(
            int(np.prod(v.shape, dtype=int)) * tf.as_dtype(kind).size
            for kind, places in self._snapshots.groups
            for v in (variables[i] for i in places)
        )

    def restore(
        self, snapshots: list[np.ndarray], epoch: int, *, only: Sequence[keras.Variable] = ()
    ) -> None:
        """Set the model's variables to their values after an epoch of a recorded call.

        Parameters
        ----------
        snapshots : list of ndarray of shape (n_epochs, n_values)
            Those of an `EpochResult`.
        epoch : int
        only : sequence of keras.Variable, default=()
            The variables to set; empty means all.
        """
        variables, wanted = variables_of(self.model), {id(v) for v in only}
        for (_, places), values in zip(self._snapshots.groups, snapshots, strict=True):
            at = 0
            for place in places:
                variable = variables[place]
                size = int(np.prod(variable.shape, dtype=int))
                if not wanted or id(variable) in wanted:
                    variable.value.assign(values[epoch, at : at + size].reshape(variable.shape))
                at += size


@dataclasses.dataclass(frozen=True, slots=True)
class _SnapshotLayout:
    """Layout of a model's variables in a snapshot: one vector per dtype.

    Parameters
    ----------
    groups : list of (str, list of int)
        A dtype, and the places of its variables among those of the model.
    """

    groups: list[tuple[Any, list[int]]]

    @classmethod
    def of(cls, model: keras.Model) -> _SnapshotLayout:
        variables = variables_of(model)
        kinds = list(dict.fromkeys(v.dtype for v in variables))
        return cls(
            [(kind, [i for i, v in enumerate(variables) if v.dtype == kind]) for kind in kinds]
        )

    @property
    def kinds(self) -> list[Any]:
        return [kind for kind, _ in self.groups]

    def pack(self, variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
        return [
            tf.concat([tf.reshape(variables[i].value, [-1]) for i in places], axis=0)
            for _, places in self.groups
        ]

    def nothing(self) -> list[tf.Tensor]:
        return [tf.zeros([0], kind) for kind in self.kinds]


class _EpochsTrace:
    """Traces the function of an `EpochsGraph`: loops over epochs and over batches.

    Its integer arguments are grouped in vectors, here called plans: the first batch, the one
    after the last, the batch size, the number of samples and the offset of the first one.
    """

    def __init__(
        self, model: keras.Model, train: _Step, test: _Step | None, snapshots: _SnapshotLayout
    ) -> None:
        self._model, self._train, self._test = model, train, test
        self._snapshots, self._variables = snapshots, variables_of(model)

    def trace(self) -> Any:
        integers = tf.int32
        datasets = [step.samples for step in (self._train, self._test) if step is not None]
        function = tf.function(lambda *arguments: self._run(*arguments), autograph=False)
        return function.get_concrete_function(
            tf.TensorSpec((None, None), integers),
            tf.TensorSpec((5,), integers),
            tf.TensorSpec((None,), tf.bool),
            tf.TensorSpec((5,), integers),
            tf.TensorSpec((), tf.bool),
            *(spec for dataset in datasets for spec in dataset.specs),
        )

    def _run(
        self,
        orders: tf.Tensor,
        train_plan: tf.Tensor,
        validates: tf.Tensor,
        test_plan: tf.Tensor,
        takes_snapshots: tf.Tensor,
        *tensors: tf.Tensor,
    ) -> list[tf.Tensor]:
        n_epochs = tf.shape(validates)[0]
        n_tensors = len(self._train.samples.tensors)

        def epoch(at: tf.Tensor, *written: tf.TensorArray) -> tuple[Any, ...]:
            order = orders[at % tf.shape(orders)[0]]
            values = self._run_batches(self._train, tensors[:n_tensors], order, train_plan)
            if self._test is not None:
                values += self._validate(validates[at], tensors[n_tensors:], test_plan)
            values += tf.cond(
                takes_snapshots,
                lambda: self._snapshots.pack(self._variables),
                self._snapshots.nothing,
            )
            return (at + 1, *(w.write(at, v) for w, v in zip(written, values, strict=True)))

        arrays = [tf.TensorArray(k, n_epochs, infer_shape=False) for k in self._output_kinds()]
        _, *written = tf.while_loop(
            lambda at, *_: at < n_epochs,
            epoch,
            [tf.constant(0), *arrays],
            parallel_iterations=1,
        )
        return [array.stack() for array in written]

    def _output_kinds(self) -> list[Any]:
        test_kinds = [] if self._test is None else self._test.logs.kinds
        return [*self._train.logs.kinds, *test_kinds, *self._snapshots.kinds]

    def _validate(
        self, validates: tf.Tensor, tensors: Sequence[tf.Tensor], plan: tf.Tensor
    ) -> list[tf.Tensor]:
        test = self._test
        assert test is not None
        values: list[tf.Tensor] = tf.cond(
            validates, lambda: self._run_batches(test, tensors, None, plan), test.logs.zeros
        )
        return values

    def _run_batches(
        self, step: _Step, tensors: Sequence[tf.Tensor], order: tf.Tensor | None, plan: tf.Tensor
    ) -> list[tf.Tensor]:
        model = self._model
        first, end, size, n_samples, offset = tf.unstack(plan)
        tf.cond(first == 0, lambda: _reset_metrics(model), tf.no_op)

        def body(batch: tf.Tensor) -> tuple[tf.Tensor]:
            begin = batch * size - offset
            stop = tf.minimum(begin + size, n_samples)
            indices = tf.range(begin, stop) if order is None else order[begin:stop]
            step.function(*tensors, indices)
            return (batch + 1,)

        tf.while_loop(lambda batch: batch < end, body, [first], parallel_iterations=1)
        return step.logs.pack(_flat(model.get_metrics_result()))


@dataclasses.dataclass(frozen=True)
class _Step:
    """A traced step on one batch.

    Parameters
    ----------
    function : tf.types.experimental.ConcreteFunction
    samples : TensorDataset
        An example of the data that it takes.
    logs : _Logs
        Layout of its outputs.
    """

    function: Any
    samples: TensorDataset
    logs: _Logs


def _trace_step(
    model: keras.Model, step: Callable[[Any], Any], samples: TensorDataset, size: int | None
) -> _Step:
    logs = _Logs()

    def on_batch(*tensors: tf.Tensor) -> list[tf.Tensor]:
        nonlocal logs
        *data, indices = tensors
        returned = step(samples.batch(data, tf.ensure_shape(indices, [size])))
        if not isinstance(returned, dict):
            name = getattr(step, "__name__", "the step")
            raise UnsuitableError(f"{name}() returns a {type(returned).__name__}, not a dict")
        # Keras reports a model's metrics at the end of an epoch, unless the step returned
        # something else: then the values that the last step returned.
        metrics = _flat(model.get_metrics_result())
        values = metrics if metrics.keys() == returned.keys() else _flat(returned)
        logs = _Logs.like(values)
        return logs.pack(values)

    # As in Keras, XLA compiles the step if the model requests it.
    function = tf.function(on_batch, autograph=False, jit_compile=model.jit_compile or None)
    concrete = function.get_concrete_function(*samples.specs, tf.TensorSpec((None,), tf.int32))
    return _Step(concrete, samples, logs)


def _flat(logs: dict[str, Any]) -> dict[str, tf.Tensor]:
    flat: dict[str, tf.Tensor] = {}
    for name, value in logs.items():
        if isinstance(value, dict):
            flat |= _flat(value)
        else:
            flat[name] = tf.convert_to_tensor(value)
    return flat


def _reset_metrics(model: keras.Model) -> tf.Operation:
    model.reset_metrics()
    return tf.no_op()


def _check_random_operations(function: Any) -> None:
    definition = function.graph.as_graph_def()
    nodes = [node.op for node in definition.node]
    nodes += [node.op for inner in definition.library.function for node in inner.node_def]
    for op in sorted(set(nodes)):
        if not op.startswith("Stateless") and any(word in op for word in _RANDOM):
            raise UnsuitableError(
                f"the model uses TensorFlow's global random stream ({op}), which depends on the "
                "whole graph; keras.random with a SeedGenerator does not"
            )
