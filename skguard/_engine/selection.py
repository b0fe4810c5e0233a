"""Which engine a fit can have."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

import keras

from skguard._repairs import keras_internals

__all__ = ["ENGINES", "UnsuitableError", "check_engine", "check_model", "check_training"]

ENGINES = ("auto", "fused", "keras")

# What Keras runs a training or a prediction through. A model that overrides one of them
# wants to be asked.
_TRAINING_METHODS = ("fit", "evaluate", "make_train_function", "make_test_function")
_PREDICTION_METHODS = ("predict", "make_predict_function")


class UnsuitableError(Exception):
    """The fused engine cannot do this as Keras would; the message says why, in a clause."""


def check_engine(engine: Any) -> None:
    """Raise if `engine` is not the name of one.

    Raises
    ------
    ValueError
    """
    if engine not in ENGINES:
        raise ValueError(f"engine={engine!r} is not an engine. Choose one of {list(ENGINES)}.")


def check_training(model: keras.Model, arguments: dict[str, Any]) -> None:
    """Raise if the fused engine cannot train `model` with these ``fit`` arguments.

    Raises
    ------
    UnsuitableError
    """
    check_model(model, _TRAINING_METHODS)
    for name in ("steps_per_epoch", "validation_steps"):
        if arguments.get(name) is not None:
            raise UnsuitableError(f"{name} is given, which counts batches across epochs")
    for name in ("max_epochs", "max_steps_per_epoch"):
        if getattr(keras.config, name, lambda: None)():
            raise UnsuitableError(f"keras.config.{name}() is set")
    for name in ("epochs", "initial_epoch", "batch_size", "validation_batch_size"):
        if not isinstance(arguments.get(name), numbers.Integral | None):
            raise UnsuitableError(f"{name}={arguments[name]!r} is no whole number")
        if (arguments.get(name) or 0) >= 2**31:
            raise UnsuitableError(f"{name}={arguments[name]!r} is too large")
    if not isinstance(arguments.get("validation_freq"), int | list):
        raise UnsuitableError(f"validation_freq={arguments.get('validation_freq')!r}")
    held_out = arguments.get("validation_data")
    if held_out is not None and not (
        isinstance(held_out, tuple | list) and 2 <= len(held_out) <= 3
    ):
        raise UnsuitableError(f"validation_data is a {type(held_out).__name__}")
    if arguments.get("shuffle") not in (True, False, "batch"):
        raise UnsuitableError(f"shuffle={arguments.get('shuffle')!r}")


def check_model(model: keras.Model, methods: Iterable[str] = _PREDICTION_METHODS) -> None:
    """Raise if the fused engine cannot run `model` because of how it is made or compiled.

    Raises
    ------
    UnsuitableError
    """
    if keras.config.backend() != "tensorflow":
        raise UnsuitableError(f"Keras's backend is {keras.config.backend()}")
    import tensorflow as tf

    for name in methods:
        if name in vars(model) or getattr(type(model), name) is not getattr(keras.Model, name):
            raise UnsuitableError(f"the model has its own {name}()")
    if not isinstance(getattr(model, "steps_per_execution", 1), numbers.Integral):
        raise UnsuitableError(f"steps_per_execution={model.steps_per_execution!r}")
    if model.run_eagerly or tf.config.functions_run_eagerly():
        raise UnsuitableError("the model runs eagerly")
    if keras_internals.has_distribution(model):
        raise UnsuitableError("the model is distributed")
    for layer in keras_internals.all_layers(model):
        if getattr(layer, "stateful", False):
            raise UnsuitableError(f"layer {layer.name!r} carries its state from batch to batch")
    if any(shape and shape[0] is not None for shape in _input_shapes(model)):
        raise UnsuitableError("the model wants batches of one size")


def _input_shapes(model: keras.Model) -> list[Any]:
    try:
        return [tensor.shape for tensor in model.inputs]
    except (AttributeError, TypeError, ValueError):  # a model without symbolic inputs
        return []
