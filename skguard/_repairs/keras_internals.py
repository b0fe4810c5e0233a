"""The private parts of Keras that the engine uses, each with a way to do without.

``tests/engine/test_keras_internals.py`` says which of them a release has moved.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

__all__ = [
    "all_layers",
    "build",
    "has_distribution",
    "initial_epoch",
    "last_batch_told",
    "replace_schedule",
    "schedule_of",
    "settings",
    "steps_taken",
]


def build(model: keras.Model, batch: Any) -> None:
    """Create the variables of model, loss, metrics and optimizer before anything is traced.

    Where this is not possible, tracing creates them, which takes two traces.

    Parameters
    ----------
    model : keras.Model
    batch : nested tensors
        What ``train_step`` gets.
    """
    if not (model.built and _build_compiled(model, batch)):
        symbolic_build = getattr(model, "_symbolic_build", None)
        if symbolic_build is not None:
            # A model that can be trained and not built so says why when it is traced.
            with contextlib.suppress(Exception):
                symbolic_build(data_batch=batch)
    optimizer = model.optimizer
    if model.built and optimizer is not None and not optimizer.built:
        optimizer.build(model.trainable_variables)


def _build_compiled(model: keras.Model, batch: Any) -> bool:
    """Build loss and metrics from the outputs of a functional model; 1 ms, not 12."""
    try:
        y_pred, parts = model.outputs, [model._compile_loss, model._compile_metrics]
        structure = model._outputs_struct if hasattr(model, "_outputs_struct") else None
    except AttributeError:
        return False
    if structure is None:
        if not isinstance(model, keras.Sequential):
            return False
        structure = y_pred[0]
    _, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
    if y is None:
        return False
    y_true = keras.tree.map_structure(
        lambda t: None if t is None else keras.KerasTensor((None, *t.shape[1:]), t.dtype.name), y
    )
    try:
        for part in parts:
            if part is not None and not part.built:
                part.build(y_true, structure)
    except Exception:  # Keras's own way to build says what is wrong, if anything is
        return False
    live = [one for m in model.metrics for one in getattr(m, "metrics", [m])]
    if all(metric.variables and getattr(metric, "_built", True) for metric in live):
        return True
    for part in parts:  # some metric makes its variables when it is first updated
        if part is not None:
            part.built = False
    return False


def settings(model: keras.Model) -> list[Any]:
    """What layers and optimizer hold: plain values, such as a rate, and which objects.

    A trace makes constants of these. What changes by use alone is left out.
    """
    plain = bool | int | float | str
    return [
        (name, value if isinstance(value, plain) else id(value))
        for part in (model, *all_layers(model), model.optimizer)
        if part is not None
        for name, value in vars(part).items()
        if name not in _CHANGE_BY_USE and not name.startswith("_self_")
    ]


_CHANGE_BY_USE = {
    "stop_training",
    "stop_evaluating",
    "stop_predicting",
    "train_function",
    "test_function",
    "predict_function",
    "history",
    "built",
    "_called",
}


def schedule_of(optimizer: Any) -> Any:
    """The learning-rate schedule of an optimizer, None where it has none or does not tell."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    rate = getattr(optimizer, "_learning_rate", None)
    return rate if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else None


def steps_taken(optimizer: Any) -> int:
    """The gradient steps that a schedule has been told of, accumulated ones counted too."""
    return int(keras.ops.convert_to_numpy(getattr(optimizer, "_iterations", optimizer.iterations)))


def replace_schedule(optimizer: Any, schedule: Any) -> None:
    """Give an optimizer another schedule than it has; `schedule_of` has found that one.

    ``optimizer.learning_rate = schedule`` would ask the old one for a rate first.
    """
    getattr(optimizer, "inner_optimizer", optimizer)._learning_rate = schedule


def has_distribution(model: keras.Model) -> bool:
    """Whether the model was made for several devices."""
    import tensorflow as tf

    distribution = keras.distribution.distribution()
    return (
        tf.distribute.has_strategy()
        or getattr(model, "_distribute_strategy", None) is not None
        or distribution is not None
    )


_TELLS_THE_LAST = tuple(map(int, keras.__version__.split(".")[:2])) >= (3, 11)


def last_batch_told(begin: int, n_batches: int) -> int:
    """What Keras tells ``on_train_batch_end`` and the like after a call for several batches.

    The number of the last one, or, before Keras 3.11, that of the first.
    """
    return begin + n_batches - 1 if _TELLS_THE_LAST else begin


def initial_epoch(model: keras.Model) -> int | None:
    """Where ``BackupAndRestore`` wants training to go on, if it is among the callbacks."""
    epoch: int | None = getattr(model, "_initial_epoch", None)
    return epoch


def all_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of `model`, those within layers too."""
    flatten = getattr(model, "_flatten_layers", None)
    if flatten is not None:
        yield from flatten(include_self=False)
        return
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)
