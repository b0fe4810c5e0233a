"""Training and prediction with the engine that is suitable."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from skguard._engine import (
    backends,
    batches,
    freezing,
    loop,
    mapped,
    prediction,
    samples,
    selection,
    shapes,
)
from skguard._engine.monitor import Limits, MonitoredCallbacks
from skguard._engine.plan import Plan
from skguard._engine.selection import Engine
from skguard._engine.shape_batches import ShapeBatches, take
from skguard._engine.unsuitable import UnsuitableError
from skguard.exceptions import InputValueError

__all__ = ["TrainingRun", "predict", "train"]

_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(keras.Model.fit).parameters.items()
    if name not in ("self", "x", "y")
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """Result of one training.

    Parameters
    ----------
    history : dict of str to list of float
        One value per metric and epoch, as ``Model.fit`` returns it.
    engine : {"fused", "keras"}
        The engine that trained.
    reason : str
        Why this engine trained, and how, in one line. One of

        - ``"shared graph"``: whole epochs per call, in a traced graph that models of the same
          architecture share.
        - ``"shared graph, one batch per call: ..."``: the same for short trainings, and for
          models whose numbers are not known to be the same inside a loop; with the cause.
        - ``"separate graph: ..."``: one batch per call, in a graph that only this model can
          use; with the part of the model that is the cause, such as ``"Conv3D is not among the
          supported layers"`` or ``"Scale is a custom layer"``.
        - ``"keras.Model.fit: ..."``: trained by Keras; with the argument or property of the
          model that is the cause, such as ``"run_eagerly=True"``.
    n_epochs : int
        Number of whole epochs.
    best_epoch : int or None
        The best of them, 0-based: as early stopping has it, or else the one with the lowest
        ``val_loss``. None if there is neither.
    has_early_stopping : bool
        Whether `best_epoch` comes from an early-stopping callback.
    learning_rates : list of float
        Learning rate of the last step of each epoch; empty if the optimizer does not report it.
    stop_reason : {"max_epochs", "early_stopping", "time_budget", "diverged", "callback"}
        Why training ended.
    """

    history: dict[str, list[float]]
    engine: str
    reason: str
    n_epochs: int
    best_epoch: int | None
    has_early_stopping: bool
    learning_rates: list[float]
    stop_reason: str

    @classmethod
    def of(cls, callbacks: MonitoredCallbacks, engine: Engine, reason: str) -> TrainingRun:
        """Summarize a training that has ended, from the callbacks that monitored it."""
        return cls(
            history=callbacks.history,
            engine=engine.value,
            reason=reason,
            n_epochs=callbacks.n_epochs,
            best_epoch=callbacks.best_epoch,
            has_early_stopping=callbacks.has_early_stopping,
            learning_rates=callbacks.learning_rates,
            stop_reason=callbacks.stop_reason.value,
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
        Or any other data that ``Model.fit`` takes.
    engine : {"auto", "fused", "keras"}
        ``"auto"`` is ``"fused"`` if that gives the numbers of Keras, ``"keras"`` otherwise.
    limits : Limits
        When training has to end before its last epoch.
    **arguments : dict
        Arguments of ``Model.fit``.

    Returns
    -------
    TrainingRun

    Raises
    ------
    InputValueError
        If `engine` is "fused" and cannot train this, a callback monitors a metric that is not
        logged, or the optimizer has no state for a layer that was made trainable.
    DivergedError
        If the loss or a weight is not finite and `limits` has ``on_nan="fail"``.
    """
    with freezing.with_current_flags(model):
        return _train(model, x, y, engine, limits, _DEFAULTS | arguments)


def _train(
    model: keras.Model, x: Any, y: Any, engine: str, limits: Limits, arguments: dict[str, Any]
) -> TrainingRun:
    reason = "engine='keras'"
    if engine != Engine.KERAS:
        try:
            return _train_fused(model, x, y, arguments, limits)
        except UnsuitableError as error:
            reason = str(error)
    if engine == Engine.FUSED:
        raise InputValueError(
            f"engine='fused' cannot run this training: {reason}. Use engine='auto'."
        )
    return _train_by_keras(model, x, y, arguments, limits, f"keras.Model.fit: {reason}")


def _train_fused(
    model: keras.Model, x: Any, y: Any, arguments: Mapping[str, Any], limits: Limits
) -> TrainingRun:
    backend = selection.backend_for_training(model, arguments)
    if shapes.differ((x, y)) or shapes.differ(arguments["validation_data"]):
        raise UnsuitableError("samples of different shapes")
    training_arrays, validation_arrays = _split(x, y, arguments)
    training = backend.dataset(*training_arrays)
    validation = None if validation_arrays is None else backend.dataset(*validation_arrays)
    n_validation_samples = None if validation is None else validation.n_samples
    plan = Plan.of(arguments, limits, training.n_samples, n_validation_samples)
    with backend.program(model, training, validation, plan) as program:
        callbacks = loop.train(model, program, plan)
        reason = program.reason
    return TrainingRun.of(callbacks, Engine.FUSED, reason)


def _split(
    x: Any, y: Any, arguments: Mapping[str, Any]
) -> tuple[tuple[Any, ...], tuple[Any, ...] | None]:
    """Return (x, y, sample_weight) of the training set, and of the validation set if any."""
    weights, validation = arguments["sample_weight"], arguments["validation_data"]
    if arguments["validation_split"] and validation is None:
        (x, y, weights), validation = samples.split_last(
            (x, y, weights), arguments["validation_split"]
        )
    if arguments["class_weight"] is not None:
        weights = samples.class_weights_per_sample(y, arguments["class_weight"])
    return (x, y, weights), validation


def _train_by_keras(
    model: keras.Model,
    x: Any,
    y: Any,
    arguments: Mapping[str, Any],
    limits: Limits,
    reason: str,
) -> TrainingRun:
    splits = arguments["validation_data"] is None
    is_replaced = selection.replacement_of(model, "fit") is not None
    x, y, arguments = _streamed(model, x, y, arguments)
    callbacks = MonitoredCallbacks(
        arguments["callbacks"] or [],
        model,
        limits,
        0 if is_replaced else arguments["verbose"],
        epochs=arguments["epochs"],
        steps=batches.steps_per_epoch(
            x,
            batch_size=arguments["batch_size"],
            steps_per_epoch=arguments["steps_per_epoch"],
            validation_split=arguments["validation_split"] if splits else None,
        ),
    )
    arguments = {**arguments, "callbacks": callbacks}
    if is_replaced:
        # A replacement may log the arguments that it gets, and append to a list of callbacks.
        given = {k: v for k, v in arguments.items() if v is not _DEFAULTS[k]}
        arguments = given | {"callbacks": [callbacks]}
    model.fit(x=text_as_tensors(x), y=y, **arguments)
    with contextlib.suppress(UnsuitableError):
        backends.current().clean_up()
    return TrainingRun.of(callbacks, Engine.KERAS, reason)


def _streamed(
    model: keras.Model, x: Any, y: Any, arguments: Mapping[str, Any]
) -> tuple[Any, Any, Mapping[str, Any]]:
    """Replace samples of different shapes, and large mapped arrays, by datasets for Keras."""
    size, validation = arguments["batch_size"], arguments["validation_data"]
    validation_size = arguments["validation_batch_size"] or size
    if isinstance(validation, tuple | list):
        data = (*validation, None, None)[:3]
        dataset = _validation_stream(model, data, validation_size, arguments["validation_steps"])
        if dataset is None:
            held, *others = mapped.loaded(validation)
            dataset = (text_as_tensors(held), *others)
        validation = dataset
    arguments = {**arguments, "validation_data": validation}
    data = (x, y, arguments["sample_weight"])
    dataset = _training_stream(model, data, arguments)
    if dataset is None:
        x, y, weights = mapped.loaded(data)
        return x, y, {**arguments, "sample_weight": weights}
    arguments |= {"sample_weight": None, "shuffle": False, "batch_size": None}
    return dataset, None, arguments | {"validation_batch_size": validation_size}


def _training_stream(model: keras.Model, data: Any, arguments: Mapping[str, Any]) -> Any:
    """Return the dataset that Keras trains on in place of some arrays, or None."""
    size, shuffle = arguments["batch_size"], arguments["shuffle"]
    if shapes.differ(data):
        seed = int(np.random.randint(2**31)) if shuffle else None
        return _stream(ShapeBatches(data, size, seed))
    if arguments["validation_split"] or arguments["class_weight"] is not None:
        return None
    steps = arguments["steps_per_epoch"]
    return _mapped_stream(model, "fit", data, batch_size=size, steps=steps, shuffle=shuffle)


def _validation_stream(model: keras.Model, data: Any, size: int | None, steps: int | None) -> Any:
    if shapes.differ(data):
        return _stream(ShapeBatches(data, size))
    return _mapped_stream(model, "evaluate", data, batch_size=size, steps=steps)


def _stream(dataset: ShapeBatches) -> Any:
    try:
        return backends.current().stream(dataset)
    except UnsuitableError:  # the trainer of another backend iterates over the dataset itself
        return dataset


def _mapped_stream(model: keras.Model, method: str, data: Any, **options: Any) -> Any:
    """Return a dataset of the batches of large mapped arrays; None if Keras is to read them."""
    if not mapped.streams(data) or not selection.is_of_keras(model, method):
        return None
    try:
        return backends.current().stream_mapped(data, **options)
    except UnsuitableError:  # invalid, or the trainer of another backend slices arrays itself
        return None


def text_as_tensors(x: Any) -> Any:
    """Convert arrays of strings, which ``Model.fit`` does not take, to tensors of the backend."""
    return keras.tree.map_structure(
        lambda leaf: backends.current().text(leaf) if samples.is_text(leaf) else leaf, x
    )


def predict(model: keras.Model, x: Any, *, engine: str, **arguments: Any) -> Any:
    """Predict with a model.

    Parameters
    ----------
    model : keras.Model
    x : array, or nested list, tuple or dict of arrays
        Or any other data that ``Model.predict`` takes.
    engine : {"auto", "fused", "keras"}
        "fused" is the same as "auto" here: Keras predicts where the engine cannot.
    **arguments : dict
        Arguments of ``Model.predict``.

    Returns
    -------
    ndarray, or nested lists, tuples and dicts of ndarray
    """
    if shapes.differ(x):
        return _predict_by_shape(model, x, engine=engine, **arguments)
    if engine != Engine.KERAS and arguments.get("steps") is None:
        with contextlib.suppress(UnsuitableError):
            return _predict_fused(model, x, **arguments)
    size, steps = arguments.get("batch_size"), arguments.get("steps")
    data = x, None, None
    dataset = _mapped_stream(model, "predict", data, batch_size=size, steps=steps)
    if dataset is not None:
        return model.predict(x=dataset, **arguments | {"batch_size": None})
    return model.predict(x=text_as_tensors(mapped.loaded(x)), **arguments)


def _predict_by_shape(model: keras.Model, x: Any, **arguments: Any) -> Any:
    """Predict the samples of each shape, and return the outputs in the order of the samples."""
    groups = shapes.groups(x)
    parts = [predict(model, take(x, group), **arguments) for group in groups]
    order = np.argsort(np.concatenate(groups))

    def joined(*outputs: Any) -> Any:
        found = sorted({output.shape[1:] for output in outputs})
        if len(found) > 1:
            raise InputValueError(
                "X has samples of different shapes, and so have the outputs of the model, such as "
                f"{found[0]} and {found[1]}. Predict the samples of each shape separately."
            )
        return np.concatenate(outputs)[order]

    return keras.tree.map_structure(joined, *parts)


def _predict_fused(
    model: keras.Model,
    x: Any,
    *,
    batch_size: int | None = None,
    verbose: int | str = "auto",
    callbacks: list[keras.callbacks.Callback] | None = None,
    **_: Any,
) -> Any:
    backend = selection.backend_for_prediction(model)
    n_samples = samples.count_samples(x)
    batch_size = batch_size or batches.DEFAULT_BATCH_SIZE
    with backend.predictor(model, x, n_samples, batch_size) as predictor:
        return prediction.predict(
            model,
            predictor,
            x,
            n_samples,
            batch_size=batch_size,
            verbose=verbose,
            callbacks=callbacks or [],
        )
