"""Private parts of Keras that the engine uses, each with an alternative if it is missing.

``tests/repairs/test_keras_internals.py`` fails if a release has moved one of them. They are where
they are expected in Keras 3.8 to 3.15.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

__all__ = [
    "all_layers",
    "batched_indices",
    "build",
    "has_distribution",
    "initial_epoch",
    "last_activation",
    "optimized_variables",
    "replace_schedule",
    "reported_batch",
    "schedule_of",
    "set_trainable_flags",
    "sets_variables_when_built",
    "settings",
    "steps_taken",
    "values_of",
]


def build(model: keras.Model, batch: Any) -> None:
    """Create the variables of model, loss, metrics and optimizer before tracing.

    Otherwise the first trace creates them, and a second one is needed.

    Parameters
    ----------
    model : keras.Model
    batch : nested tensors
        The argument of ``train_step``.
    """
    if not (model.built and _build_compiled(model, batch)):
        symbolic_build = getattr(model, "_symbolic_build", None)
        if symbolic_build is not None:
            # The error of a model that cannot be built is raised again when it is traced.
            with contextlib.suppress(Exception):
                symbolic_build(data_batch=_of_any_size(batch))
    optimizer = model.optimizer
    if model.built and optimizer is not None and not optimizer.built:
        optimizer.build(model.trainable_variables)


def sets_variables_when_built(optimizer: keras.optimizers.Optimizer, model: keras.Model) -> bool:
    """Return whether building an optimizer gives its variables other values than zero.

    Keras builds it while it traces a training step, where an assignment is not executed: the
    variables of ``ScheduleFreeAdamW`` start from zeros there, and not from the weights.
    """
    try:
        copy = type(optimizer).from_config(optimizer.get_config())
        copy.build(model.trainable_variables)
    except Exception:  # of a custom class
        return True
    return any(
        np.any(v.numpy()) for v in copy.variables if v.name not in ("iteration", "learning_rate")
    )


def _of_any_size(batch: Any) -> Any:
    """Return a symbolic batch of unknown size.

    A ``Sequential`` model without an input layer gets one for batches of the size that it is built
    with (Keras 3.8 to 3.15), which would bind it to that size.
    """
    return keras.tree.map_structure(
        lambda t: None if t is None else keras.KerasTensor((None, *t.shape[1:]), t.dtype.name),
        batch,
    )


def _build_compiled(model: keras.Model, batch: Any) -> bool:
    """Build loss and metrics from the outputs of a functional model, in 1 ms instead of 12."""
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
    y_true = _of_any_size(y)
    try:
        for part in parts:
            if part is not None and not part.built:
                part.build(y_true, structure)
    except Exception:  # an invalid model: _symbolic_build raises a better error
        return False
    live = [one for m in model.metrics for one in getattr(m, "metrics", [m])]
    if all(metric.variables and getattr(metric, "_built", True) for metric in live):
        return True
    # A metric makes its variables in update_state(). The loss is not built again: it would have
    # two means for each output then, of which Keras reports the one that is not updated.
    model._compile_metrics.built = False
    return False


def batched_indices(n_samples: int, batch_size: int, shuffle: bool | str) -> Any:
    """Return the ``tf.data.Dataset`` of the batches of an epoch over the numbers from 0.

    Made by the pipeline of ``Model.fit`` for arrays (Keras 3.8 to 3.15), so that the numbers are
    in the order in which it would draw the samples.

    Parameters
    ----------
    n_samples : int
    batch_size : int
    shuffle : bool or "batch"
    """
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    indices = np.arange(n_samples)
    return ArrayDataAdapter(indices, batch_size=batch_size, shuffle=shuffle).get_tf_dataset()


def settings(model: keras.Model) -> list[Any]:
    """Return the attributes of model, layers and optimizer, which a trace makes constants of.

    Plain values, such as a dropout rate, and the identity of all other objects; without
    attributes that training and prediction change.

    Returns
    -------
    list of (str, object)
        Equal to that of an earlier call if the model would be traced in the same way.
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
    """Return the learning-rate schedule of an optimizer, or None."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    rate = getattr(optimizer, "_learning_rate", None)
    return rate if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else None


def steps_taken(optimizer: Any) -> int:
    """Return the number of gradient steps, including steps that only accumulate gradients.

    This is the argument that the optimizer passes to its schedule.
    """
    return int(keras.ops.convert_to_numpy(getattr(optimizer, "_iterations", optimizer.iterations)))


def replace_schedule(optimizer: Any, schedule: Any) -> None:
    """Set the schedule of an optimizer that has one, as found by `schedule_of`.

    ``optimizer.learning_rate = schedule`` would call the old one first.
    """
    getattr(optimizer, "inner_optimizer", optimizer)._learning_rate = schedule


def has_distribution(model: keras.Model) -> bool:
    """Whether a model was made for several devices, or such a strategy is in effect."""
    import tensorflow as tf

    distribution = keras.distribution.distribution()
    return (
        tf.distribute.has_strategy()
        or getattr(model, "_distribute_strategy", None) is not None
        or distribution is not None
    )


_REPORTS_LAST = tuple(map(int, keras.__version__.split(".")[:2])) >= (3, 11)


def reported_batch(begin: int, n_batches: int) -> int:
    """Return the batch number that ``on_train_batch_end`` gets after an execution of several.

    That of the last batch, or, before Keras 3.11, that of the first.
    """
    return begin + n_batches - 1 if _REPORTS_LAST else begin


def initial_epoch(model: keras.Model) -> int | None:
    """Return the epoch from which ``BackupAndRestore`` resumes training, or None."""
    epoch: int | None = getattr(model, "_initial_epoch", None)
    return epoch


def all_layers(model: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Yield the layers of a model or layer, including those within layers."""
    flatten = getattr(model, "_flatten_layers", None)
    if flatten is not None:
        yield from flatten(include_self=False)
        return
    for layer in getattr(model, "layers", ()):
        yield layer
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)


def last_activation(tensor: Any) -> str | None:
    """Return the name of the activation function that a symbolic tensor is the result of.

    Parameters
    ----------
    tensor : keras.KerasTensor
        Output of a functional model.

    Returns
    -------
    str or None
        None if it is the result of anything else, or that is unknown.
    """
    history = getattr(tensor, "_keras_history", None)
    if history is None:
        return None
    operation = history.operation
    if isinstance(operation, keras.Model):
        inner = getattr(operation, "outputs", None)
        return last_activation(inner[history.tensor_index]) if inner else None
    if isinstance(operation, _KEEPS_VALUES):
        before = operation._inbound_nodes[history.node_index].input_tensors[0]
        name = last_activation(before)
        return None if name == "softmax" and _moves_last_axis(operation, before, tensor) else name
    if isinstance(operation, keras.layers.TimeDistributed):
        operation = operation.layer
    return _activation_of(operation, tensor)


_KEEPS_VALUES = (
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Permute,
    keras.layers.Reshape,
)


def _moves_last_axis(operation: Any, before: Any, after: Any) -> bool:
    """Return whether entries of the last axis, which add up to 1, are on another one."""
    if isinstance(operation, keras.layers.Permute):
        return bool(operation.dims[-1] != len(operation.dims))
    return bool(before.shape[-1] != after.shape[-1])


_ACTIVATES_OUTPUT = (
    keras.layers.Activation,
    keras.layers.Conv1D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3D,
    keras.layers.Conv3DTranspose,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


def _activation_of(operation: Any, tensor: Any) -> str | None:
    cls = type(operation)
    if isinstance(operation, _ACTIVATES_OUTPUT) and cls.call in _CALLS:
        activation = operation.activation
        name = getattr(activation, "__name__", None)
        return name if getattr(keras.activations, str(name), None) is activation else None
    name = cls.__name__.lower()
    is_from_keras = cls.__module__.partition(".")[0] == "keras"
    is_known = is_from_keras and name in ("sigmoid", "softmax", "tanh")
    if name == "softmax" and is_known:
        rank = len(tensor.shape)
        is_known = getattr(operation, "axis", -1) in (-1, rank - 1)
    return name if is_known else None


_CALLS = {cls.call for cls in _ACTIVATES_OUTPUT}


def set_trainable_flags(layer: keras.layers.Layer, flags: Iterable[bool]) -> None:
    """Set the ``trainable`` flag of a layer, and of each layer within it, to a value of its own.

    The public setter sets the flags of all layers within as well, and does nothing at all where the
    layer has the value already: ``frozen.trainable = True`` is without effect if the flag of
    ``frozen`` is True and those of its layers are not (Keras 3.8 to 3.15).

    Parameters
    ----------
    layer : keras.layers.Layer
    flags : iterable of bool
        In the order of ``[layer, *all_layers(layer)]``.
    """
    for part, flag in zip((layer, *all_layers(layer)), flags, strict=False):
        part._trainable = flag


def optimized_variables(optimizer: Any) -> list[Any] | None:
    """Return the variables that an optimizer was built for; None if it does not report them.

    They are the trainable variables of the model at that time.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    variables: list[Any] | None = getattr(optimizer, "_trainable_variables", None)
    return variables


def values_of(variable: keras.Variable) -> np.ndarray:
    """Return the values of a variable, without a copy if they are in main memory.

    ``keras.ops.convert_to_numpy`` always copies with TensorFlow.
    """
    if keras.config.backend() == "tensorflow":
        values: np.ndarray = variable.value.numpy()
    else:
        values = keras.ops.convert_to_numpy(variable.value)
    return values
