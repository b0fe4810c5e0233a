"""Selection of the engine: the conditions that have nothing to do with the backend."""

from __future__ import annotations

import enum
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from skguard._engine import backends
from skguard._engine.protocol import Backend
from skguard._engine.unsuitable import UnsuitableError
from skguard._repairs import keras_internals
from skguard.exceptions import InputValueError

__all__ = [
    "ENGINES",
    "Engine",
    "backend_for_prediction",
    "backend_for_training",
    "check_engine",
    "is_of_keras",
    "replacement_of",
]


class Engine(str, enum.Enum):
    """Values of the parameter ``engine``."""

    AUTO = "auto"
    FUSED = "fused"
    KERAS = "keras"

    __str__ = str.__str__


ENGINES = tuple(engine.value for engine in Engine)

# Methods of keras.Model that training or prediction goes through. A model that overrides one of
# them expects it to be called.
_TRAINING_METHODS = ("fit", "evaluate", "make_train_function", "make_test_function")
_PREDICTION_METHODS = ("predict", "make_predict_function")

# Methods of Keras that are traced. Those of a user-defined class are traced with its model; a
# replacement in a class of Keras itself, as tools that log every training make it, holds for all
# models, those whose graphs were traced before included.
_TRACED_METHODS = (
    "train_step",
    "test_step",
    "predict_step",
    "compute_loss",
    "compute_metrics",
    "reset_metrics",
    "get_metrics_result",
    "call",
    "__call__",
)

_LARGEST = 2**31 - 1  # counters in graphs have 32 bits


def check_engine(engine: Any) -> None:
    """Raise if `engine` is not the name of an engine.

    Raises
    ------
    InputValueError
    """
    if engine not in ENGINES:
        raise InputValueError(
            f"engine={engine!r} is not a valid engine. Pass one of {', '.join(map(repr, ENGINES))}."
        )


def backend_for_training(model: keras.Model, arguments: Mapping[str, Any]) -> Backend[Any]:
    """Return the backend that can train `model` with some arguments of ``Model.fit``.

    Parameters
    ----------
    model : keras.Model
    arguments : mapping of str to object
        All arguments of ``Model.fit`` but the data.

    Raises
    ------
    UnsuitableError
        If there is none.
    """
    backend = _backend_for(model, _TRAINING_METHODS)
    _check_counts(arguments)
    _check_data(arguments)
    return backend


def _check_counts(arguments: Mapping[str, Any]) -> None:
    """Check the arguments that are numbers of epochs, of batches or of samples."""
    validates = arguments["validation_data"] is not None or arguments["validation_split"]
    for name in ("steps_per_epoch", *(["validation_steps"] if validates else [])):
        if arguments[name] is not None:
            raise UnsuitableError(f"{name}={arguments[name]!r} counts batches across epochs")
    for name in ("max_epochs", "max_steps_per_epoch"):
        if getattr(keras.config, name, lambda: None)():
            raise UnsuitableError(f"keras.config.{name}() is set")
    for name in ("epochs", "initial_epoch", "batch_size", "validation_batch_size"):
        _check_number(name, arguments[name])
    if not isinstance(arguments["validation_freq"], int | list):
        raise UnsuitableError(f"validation_freq={arguments['validation_freq']!r}")


def _check_data(arguments: Mapping[str, Any]) -> None:
    """Check the arguments that are data, or about its order."""
    validation_data = arguments["validation_data"]
    if validation_data is not None and not (
        isinstance(validation_data, tuple | list) and 2 <= len(validation_data) <= 3
    ):
        raise UnsuitableError(f"validation_data is a {type(validation_data).__name__}")
    if arguments["shuffle"] not in (True, False, "batch"):
        raise UnsuitableError(f"shuffle={arguments['shuffle']!r}")
    if arguments["class_weight"] is not None and arguments["sample_weight"] is not None:
        raise UnsuitableError("class_weight and sample_weight are both given")


def _check_number(name: str, value: Any) -> None:
    if not isinstance(value, numbers.Integral | None):
        raise UnsuitableError(f"{name}={value!r} is not an integer")
    if value is not None and int(value) > _LARGEST:
        raise UnsuitableError(f"{name}={value!r} is too large")


def backend_for_prediction(model: keras.Model) -> Backend[Any]:
    """Return the backend that can predict with `model`.

    Raises
    ------
    UnsuitableError
        If there is none.
    """
    backend = _backend_for(model, _PREDICTION_METHODS)
    if not model.built:
        raise UnsuitableError("the model is not built")
    return backend


def _backend_for(model: keras.Model, methods: Iterable[str]) -> Backend[Any]:
    backend = backends.current()
    for name in (*methods, *_TRACED_METHODS):
        replacement = replacement_of(model, name)
        if replacement is not None:
            raise UnsuitableError(f"{name}() of Keras's models was replaced, by {replacement}")
    for name in methods:
        if not is_of_keras(model, name):
            raise UnsuitableError(f"the model overrides {name}()")
    if not isinstance(getattr(model, "steps_per_execution", 1), numbers.Integral):
        raise UnsuitableError(f"steps_per_execution={model.steps_per_execution!r}")
    if model.run_eagerly:
        raise UnsuitableError("run_eagerly=True")
    for layer in keras_internals.all_layers(model):
        if getattr(layer, "stateful", False):
            raise UnsuitableError(f"layer {layer.name!r} has stateful=True")
    if any(shape and shape[0] is not None for shape in _input_shapes(model)):
        raise UnsuitableError("the inputs of the model have a fixed batch size")
    backend.check(model)
    return backend


def is_of_keras(model: keras.Model, method: str) -> bool:
    """Return whether a model has a method of ``keras.Model``, and does not override it."""
    overrides = getattr(type(model), method) is not getattr(keras.Model, method)
    return method not in vars(model) and not overrides


def replacement_of(model: keras.Model, method: str) -> str | None:
    """Return the module that has replaced a method in a class of Keras; None if it was not.

    The function itself is asked, as ``functools.wraps`` copies the name of another's module.
    """
    for cls in type(model).__mro__:
        if method in vars(cls):
            break
    else:
        return None
    if not _is_module_of_keras(cls.__module__):
        return None
    function = vars(cls)[method]
    module: str = getattr(function, "__globals__", {}).get("__name__", type(function).__module__)
    return None if _is_module_of_keras(module) else module


def _is_module_of_keras(module: str) -> bool:
    return module.partition(".")[0] == "keras"


def _input_shapes(model: keras.Model) -> list[Any]:
    try:
        return [tensor.shape for tensor in model.inputs]
    except (AttributeError, TypeError, ValueError):  # a model without symbolic inputs
        return []
