"""Train and predict with the engine that suits."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from skguard._engine import selection
from skguard._engine.monitor import Limits, WatchedCallbacks
from skguard._engine.selection import UnsuitableError
from skguard._engine.tensorflow import cleanup

__all__ = ["TrainingRun", "predict", "train"]

# Loops take some 0.15 s to trace; without them a batch takes 0.3 ms more.
FEW_BATCHES = 64  # in a whole fit, training and validation together
MAX_BATCHES = 128  # in all fits with one graph, before the loops are traced after all

_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(keras.Model.fit).parameters.items()
    if name not in ("self", "x", "y")
}


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingRun:
    """What one training did.

    Parameters
    ----------
    history : dict of str to list of float
        One value for each metric and epoch, as ``Model.fit`` returns it.
    engine : {"fused", "keras"}
    reason : str
        Why this one, in a line.
    n_epochs : int
        How many whole epochs it had.
    best_epoch : int or None
        The best of them, counted from 0: of early stopping, or else by ``val_loss``.
    learning_rates : list of float
        Of the last step of each epoch; empty where the optimizer does not tell.
    stop_reason : {"max_epochs", "early_stopping", "time_budget", "diverged", "callback"}
        Why it ended.
    """

    history: dict[str, list[float]]
    engine: str
    reason: str
    n_epochs: int
    best_epoch: int | None
    learning_rates: list[float]
    stop_reason: str

    @classmethod
    def of(cls, watched: WatchedCallbacks, engine: str, reason: str) -> TrainingRun:
        """What `watched` has seen of a training that is over."""
        return cls(
            history=watched.model.history.history,
            engine=engine,
            reason=reason,
            n_epochs=watched.n_epochs,
            best_epoch=watched.best_epoch,
            learning_rates=watched.learning_rates,
            stop_reason=watched.stop_reason,
        )


def train(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    engine: str,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    **arguments: Any,
) -> TrainingRun:
    """Train a compiled model.

    Parameters
    ----------
    model : keras.Model
    x, y : array, or nested list, tuple or dict of arrays
        Or whatever ``Model.fit`` takes.
    engine : {"auto", "fused", "keras"}
    limits : Limits
        When training has to end before its last epoch.
    **arguments : dict
        Of ``Model.fit``.

    Returns
    -------
    TrainingRun

    Raises
    ------
    ValueError
        If `engine` is "fused" and that cannot be, or a callback monitors what is not logged.
    DivergedError
        If that is what `limits` ask for.
    """
    arguments = _DEFAULTS | arguments
    if engine == "keras":
        reason = "engine='keras' asks for it"
    else:
        try:
            with _prepared(model, x, y, arguments) as (loop, borrow, rows, held_out, plan):
                plan = dataclasses.replace(plan, limits=limits)
                watched = loop.train(model, borrow, rows, held_out, plan)
            return TrainingRun.of(watched, "fused", "gives what Keras gives, faster")
        except UnsuitableError as error:
            reason = str(error)
        if engine == "fused":
            raise ValueError(
                f"engine='fused' cannot run this training: {reason}. Use engine='auto'."
            )
    watched = WatchedCallbacks(
        arguments["callbacks"] or [],
        model,
        limits,
        arguments["verbose"],
        epochs=arguments["epochs"],
        steps=_n_batches(x, arguments),
    )
    model.fit(x=x, y=y, **arguments | {"callbacks": watched})
    cleanup.note("Keras's own training")
    cleanup.drop_gradients()
    return TrainingRun.of(watched, "keras", reason)


def _n_batches(x: Any, arguments: dict[str, Any]) -> int | None:
    """How many batches an epoch has, None where only the data knows."""
    if arguments["steps_per_epoch"] is not None:
        return int(arguments["steps_per_epoch"])
    if hasattr(x, "num_batches"):  # keras.utils.PyDataset
        return x.num_batches
    if hasattr(x, "cardinality"):  # tf.data.Dataset
        return n if (n := int(x.cardinality())) >= 0 else None
    shapes = [getattr(leaf, "shape", None) for leaf in keras.tree.flatten(x)]
    if not shapes or not shapes[0]:
        return None
    n_rows = int(shapes[0][0])
    if arguments["validation_split"] and arguments["validation_data"] is None:
        n_rows = int(n_rows * (1 - arguments["validation_split"]))
    return -(-n_rows // (arguments["batch_size"] or 32))


@contextlib.contextmanager
def _prepared(
    model: keras.Model, x: Any, y: Any, arguments: dict[str, Any]
) -> Iterator[tuple[Any, ...]]:
    """What the fused engine trains with; nothing is trained before this yields."""
    selection.check_training(model, arguments)
    # TensorFlow, which these stand on, is there: the model has its backend.
    from skguard._engine import loop
    from skguard._engine.tensorflow import signatures
    from skguard._engine.tensorflow.cache import STORE, variables_of
    from skguard._engine.tensorflow.dataset import Rows, class_weights_by_row, split_last
    from skguard._engine.tensorflow.graphs import BatchesGraph, EpochsGraph, TrainingGraph
    from skguard._repairs import keras_internals

    weights, held_out_data = arguments["sample_weight"], arguments["validation_data"]
    if arguments["validation_split"] and held_out_data is None:
        (x, y, weights), held_out_data = split_last((x, y, weights), arguments["validation_split"])
    if arguments["class_weight"] is not None:
        if weights is not None:
            raise UnsuitableError("class_weight and sample_weight are both given")
        weights = class_weights_by_row(y, arguments["class_weight"])
    rows = Rows.of(x, y, weights)
    held_out = Rows.of(*held_out_data) if held_out_data is not None else None
    batch_size = arguments["batch_size"] or 32
    plan = loop.Plan(
        epochs=arguments["epochs"],
        initial_epoch=arguments["initial_epoch"],
        batch_size=batch_size,
        validation_batch_size=arguments["validation_batch_size"] or batch_size,
        validation_freq=arguments["validation_freq"],
        shuffle=arguments["shuffle"],
        verbose=arguments["verbose"],
        callbacks=arguments["callbacks"],
        # NumPy's stream, which is seeded for a fit and which the order of rows comes from here.
        seed=int(np.random.randint(2**31)) if arguments["shuffle"] else 0,
    )
    n_before = len(variables_of(model))
    keras_internals.build(model, rows.example())
    if n_before < len(variables_of(model)):
        cleanup.note("variable", len(variables_of(model)))
    model.make_train_function()
    sizes = (
        rows.one_size(plan.batch_size),
        held_out.one_size(plan.validation_batch_size) if held_out is not None else None,
    )
    with contextlib.ExitStack() as stack:

        def borrow() -> TrainingGraph:
            signature = _signature(signatures.training_signature, model)
            in_loops = signature is not None and signatures.is_same_in_loops(signature)
            if model.steps_per_execution > 1 and not in_loops:
                raise UnsuitableError("it has code of its own, and steps_per_execution is faster")
            # A graph of its own serves a model until it is compiled anew, as Keras's does.
            owner = signature or weakref.ref(model.train_function)
            key = (owner, rows.key, None if held_out is None else held_out.key, sizes)
            kind: type[TrainingGraph] = EpochsGraph if in_loops else BatchesGraph
            if in_loops and STORE.waiting((EpochsGraph, *key)) is None:
                batches: Any = STORE.waiting((BatchesGraph, *key))
                n_before = 0 if batches is None else batches.n_batches
                if n_before <= MAX_BATCHES and _is_short(model, rows, held_out, plan):
                    kind = BatchesGraph
                else:
                    STORE.drop((BatchesGraph, *key))
            try:
                graph = stack.enter_context(
                    STORE.lend((kind, *key), model, lambda: kind(model, rows, held_out, sizes))
                )
            except UnsuitableError:
                raise
            except Exception as error:  # Keras's own training says what is wrong, if anything is
                reason = f"the model cannot be traced: {_first_line(error)}"
                raise UnsuitableError(reason) from error
            graph.expect(plan.batch_size, plan.validation_batch_size)
            return graph

        yield loop, borrow, rows, held_out, plan


def _is_short(model: keras.Model, rows: Any, held_out: Any, plan: Any) -> bool:
    """Whether so few batches are to be run that a graph with loops costs more than it gives."""
    if model.steps_per_execution > 1:
        return False
    epochs = range(plan.initial_epoch, plan.epochs)
    n_batches = len(epochs) * -(-rows.n_rows // plan.batch_size)
    if held_out is not None and n_batches <= FEW_BATCHES:
        n_evaluations = sum(map(plan.evaluates, epochs))
        n_batches += n_evaluations * -(-held_out.n_rows // plan.validation_batch_size)
    return n_batches <= FEW_BATCHES


def _signature(describe: Callable[[keras.Model], str], model: keras.Model) -> str | None:
    try:
        return describe(model)
    except Exception:  # what cannot be described shares nothing, whatever the reason
        return None


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}".rstrip(": ")


def predict(model: keras.Model, x: Any, *, engine: str, **arguments: Any) -> Any:
    """Predict with a model.

    Parameters
    ----------
    model : keras.Model
    x : array, or nested list, tuple or dict of arrays
        Or whatever ``Model.predict`` takes.
    engine : {"auto", "fused", "keras"}
        "fused" is as "auto" here: what cannot be predicted so is predicted by Keras.
    **arguments : dict
        Of ``Model.predict``.

    Returns
    -------
    ndarray, or nested lists, tuples and dicts of them
    """
    if engine != "keras":
        try:
            return _predict_fused(model, x, **arguments)
        except UnsuitableError:
            pass
    return model.predict(x=x, **arguments)


def _predict_fused(model: keras.Model, x: Any, **arguments: Any) -> Any:
    if arguments.pop("steps", None) is not None:
        raise UnsuitableError("steps is given")
    selection.check_model(model)
    from skguard._engine.tensorflow import prediction, signatures
    from skguard._engine.tensorflow.cache import STORE
    from skguard._engine.tensorflow.dataset import Rows, count_rows, take

    n_rows = count_rows(x)
    example = Rows.of(take(x, slice(0, 1)))
    model.make_predict_function()
    with contextlib.ExitStack() as stack:
        try:
            if not model.built:
                raise UnsuitableError("the model is not built")
            signature = _signature(signatures.prediction_signature, model)
            owner = signature or weakref.ref(model.predict_function)
            in_loops = signature is not None and signatures.is_same_in_loops(signature)
            batch_size = arguments.get("batch_size") or 32
            size = batch_size if n_rows % batch_size == 0 else None
            graph = stack.enter_context(
                STORE.lend(
                    ("predict", owner, example.key, size),
                    model,
                    lambda: prediction.PredictionGraph(model, example, size, in_loops),
                )
            )
        except UnsuitableError:
            raise
        except Exception as error:  # Keras's own prediction says what is wrong
            raise UnsuitableError(f"the model cannot be traced: {_first_line(error)}") from error
        return prediction.predict(
            model,
            graph,
            x,
            n_rows,
            batch_size=batch_size,
            verbose=arguments.get("verbose", "auto"),
            callbacks=arguments.get("callbacks") or [],
        )
