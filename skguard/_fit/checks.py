"""Checks of a model, its loss and its callbacks before the first batch.

Those of parameters are in ``settings.py``, those of arrays in ``arrays.py``.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
from scikeras.utils import loss_name
from sklearn.base import ClassifierMixin

from skguard import _engine as engine
from skguard._fit import inputs
from skguard._fit.data import Encoded
from skguard._parameters import constructor_names, model_function
from skguard._parameters.signatures import is_from_keras
from skguard._repairs.keras_internals import all_layers
from skguard.callbacks._traits import monitored_metric, traits_of
from skguard.exceptions import InputTypeError, InputValueError

__all__ = [
    "check_built_model",
    "check_callbacks",
    "check_classes",
    "check_compiled_model",
    "check_model_parameter",
    "check_unused",
    "remember_trained",
]

_trained: weakref.WeakSet[keras.Model] = weakref.WeakSet()
_COMPILE_PREFIXES = ("optimizer__", "loss__", "metrics__", "compile__")


def check_model_parameter(estimator: Any) -> None:
    """Raise if ``model`` cannot build a model.

    Raises
    ------
    InputValueError, InputTypeError
    """
    model = estimator.model if estimator.model is not None else estimator.build_fn
    has_method = hasattr(estimator, "_keras_build_fn")
    name = type(estimator).__name__
    if model is None and not has_method:
        raise InputValueError(
            f"model=None of {name} builds nothing. Pass model=, a function that returns a Keras "
            "model, or define a method _keras_build_fn."
        )
    if model is not None and has_method:
        raise InputValueError(
            f"model={model!r} and the method _keras_build_fn of {name} both build a model. "
            "Use one of them."
        )
    if model is not None and not (isinstance(model, keras.Model) or callable(model)):
        raise InputTypeError(
            f"model={model!r} is a {type(model).__name__}. It must be a callable that returns a "
            "Keras model, a keras.Model subclass, or a keras.Model instance."
        )


def check_classes(estimator: Any, y: Any) -> None:
    """Raise if y of a classifier has one label only, unless more were announced.

    Raises
    ------
    InputValueError
    """
    if not isinstance(estimator, ClassifierMixin) or y is None or y.shape[1:] not in ((), (1,)):
        return
    labels = np.unique(y)
    if estimator.classes_ is None and len(labels) < 2:
        raise InputValueError(
            f"y of {type(estimator).__name__} must have two classes or more, got one class only, "
            f"{labels.tolist()[0]!r}. If this is one fold of a search, use a stratified cv."
        )


def check_built_model(estimator: Any, model: Any) -> None:
    """Raise if what a model function returned cannot be trained from scratch.

    Raises
    ------
    InputTypeError
        If it is not a Keras model.
    InputValueError
        If an earlier fit trained it, or compile parameters cannot reach it.
    """
    function = model_function(estimator).name
    if not isinstance(model, keras.Model):
        raise InputTypeError(
            f"The model function {function} must return a keras.Model, got {model!r}. "
            "Does it end with `return model`?"
        )
    if model in _trained:
        raise InputValueError(
            f"The model function {function} returned a model that an earlier fit has trained. "
            "Build a new model inside the function, or pass the model object itself as model=: "
            "every fit then trains a copy of it."
        )
    check_unused(estimator, compiled_by_function=model.compiled)


def remember_trained(model: keras.Model) -> None:
    """Record that a fit is about to change `model`."""
    _trained.add(model)


def check_unused(estimator: Any, compiled_by_function: bool) -> None:
    """Raise if compile parameters were set that cannot reach the model.

    Raises
    ------
    InputValueError
    """
    function = model_function(estimator)
    if not compiled_by_function or function.may_compile_from_estimator:
        return
    unused = _compile_parameters(estimator)
    if not unused:
        return
    given = ", ".join(f"{name}={getattr(estimator, name)!r}" for name in sorted(unused))
    if function.call is None:
        raise InputValueError(
            f"{given} would never be used, because the model was compiled before it was passed. "
            "Pass a model that is not compiled, so that the estimator compiles its copies with "
            "these, or compile it with them yourself."
        )
    taken = [f"model__{name}" for name in unused if name in function.arguments]
    if taken:
        advice = f"To pass it to {function.name} as its own argument, use {', '.join(taken)}."
    else:
        advice = (
            "Leave out model.compile(), so that the estimator compiles the model with its "
            "parameters, or let the model function take `compile_kwargs` and call "
            "model.compile(**compile_kwargs), or make the setting an argument of the model "
            "function."
        )
    raise InputValueError(
        f"{given} would never be used, because the model function {function.name} compiles the "
        f"model itself. {advice}"
    )


def _compile_parameters(estimator: Any) -> list[str]:
    """Return the parameters that were set and only have an effect on compilation."""
    found = [name for name in vars(estimator) if name.startswith(_COMPILE_PREFIXES)]
    defaults = constructor_names(type(estimator))
    for name in ("optimizer", "metrics"):
        value = getattr(estimator, name)
        if value is not None and value != defaults[name]:
            found.append(name)
    return found


def check_compiled_model(
    estimator: Any, model: keras.Model, encoded: Encoded, batch_size: int | None
) -> None:
    """Raise if a compiled model does not fit the encoded data or the parameters.

    Raises
    ------
    InputValueError
    """
    _check_loss(model)
    _check_number_of_outputs(estimator, model)
    _check_same_loss(estimator, model)
    _check_target_fits(model, encoded.y)
    inputs.check_model_inputs(model, encoded.X)
    inputs.check_batches(model, encoded.X, batch_size)


def _check_loss(model: keras.Model) -> None:
    loss = getattr(model, "loss", None)
    if isinstance(loss, dict):
        loss = list(loss.values())
    if isinstance(loss, list | tuple):
        loss = next((part for part in loss if part is not None), None)
    if loss is not None or _has_custom_loss(model):
        return
    raise InputValueError(
        "You must provide a loss or a compiled model: loss=None and the model was not compiled "
        'with one. Pass loss=, such as "mse" or "sparse_categorical_crossentropy", or compile '
        "the model in the model function."
    )


def _has_custom_loss(model: keras.Model) -> bool:
    """Return whether a model may have a loss that ``compile`` was not passed."""
    overridden = any(
        getattr(type(model), name, None) is not getattr(keras.Model, name, None)
        for name in ("train_step", "compute_loss", "_compute_loss")
    )
    return overridden or bool(model.losses) or any(map(_may_add_loss, (model, *all_layers(model))))


def _may_add_loss(layer: keras.layers.Layer) -> bool:
    """Return whether `layer` may call ``add_loss``, which shows only when it is called."""
    return (
        not is_from_keras(type(layer)) or getattr(layer, "activity_regularizer", None) is not None
    )


def _check_number_of_outputs(estimator: Any, model: keras.Model) -> None:
    expected = getattr(estimator, "n_outputs_expected_", None)
    outputs = getattr(model, "outputs", None)
    if expected and outputs is not None and expected != len(outputs):
        raise InputValueError(
            f"Detected a Keras model with {len(outputs)} outputs, but y was prepared for "
            f"{expected}. Return a model with {expected}, or override target_encoder to split y "
            "into one array per output."
        )


def _check_same_loss(estimator: Any, model: keras.Model) -> None:
    given, compiled = estimator.loss, getattr(model, "loss", None)
    named = (str, keras.losses.Loss, type)
    if not (isinstance(given, named) and isinstance(compiled, named)):
        return
    default = constructor_names(type(estimator)).get("loss")
    if given != default and loss_name(given) != loss_name(compiled):
        raise InputValueError(
            f"loss={given!r}, but the model was compiled with {compiled!r}: y would be encoded "
            "for another loss than the one that is minimized. Pass the same loss to both."
        )


def _check_target_fits(model: keras.Model, y: Any) -> None:
    """Raise if the compiled loss cannot compare an encoded target with the output.

    Only for models with one output of a known shape, which a subclassed model does not have.
    """
    outputs = getattr(model, "outputs", None)
    if not isinstance(y, np.ndarray) or y.size == 0 or outputs is None or len(outputs) != 1:
        return
    loss = model.loss[0] if _has_one_item(model.loss) else model.loss
    units = outputs[0].shape[-1]
    # With ignore_class, one of the numbers in y is not a class.
    if units is None or getattr(loss, "ignore_class", None) is not None:
        return
    try:
        name = loss_name(loss)
    except (TypeError, ValueError):
        return
    check = _TARGET_CHECKS.get(name)
    if check is not None:
        check(_Target(y, tuple(outputs[0].shape), units, name))


def _has_one_item(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 1


@dataclasses.dataclass(frozen=True, slots=True)
class _Target:
    """Encoded target beside the shape of the output that it is compared with."""

    y: np.ndarray
    output_shape: tuple[int | None, ...]
    units: int
    loss: str

    @property
    def width(self) -> int:
        return 1 if self.y.ndim == 1 else int(self.y.shape[-1])


def _check_class_numbers(target: _Target) -> None:
    y, name = target.y, target.loss
    n_classes = int(y.max()) + 1
    if y.ndim == len(target.output_shape) and y.shape[-1] != 1:
        raise InputValueError(
            f"y has shape {y.shape}, one column per class, but the loss {name} takes class "
            'numbers. Use loss="categorical_crossentropy", or pass y as labels.'
        )
    if n_classes > target.units:
        raise InputValueError(
            f"y has {n_classes} classes, but the output of the model has {target.units} units. "
            f"The loss {name} needs one unit per class: use meta['n_classes_'] in the model "
            "function."
        )


def _check_one_hot(target: _Target) -> None:
    y = target.y
    if y.ndim == 1 or y.shape[-1] != target.units:
        n = "labels" if y.ndim == 1 or y.shape[-1] == 1 else f"{y.shape[-1]} classes"
        raise InputValueError(
            f"y has {n}, but the output of the model has {target.units} units. The loss "
            f"{target.loss} needs one unit and one column of y per class. For labels, use "
            '"sparse_categorical_crossentropy" or, with one unit, "binary_crossentropy".'
        )


def _check_binary(target: _Target) -> None:
    if target.y.max() > 1:
        raise InputValueError(
            f"y has {int(target.y.max()) + 1} classes, and the loss {target.loss} takes two. Use "
            '"sparse_categorical_crossentropy" with one output unit per class.'
        )
    _check_width(target)


def _check_elementwise(target: _Target) -> None:
    if target.y.ndim <= 2:
        _check_width(target)


def _check_width(target: _Target) -> None:
    width, units = target.width, target.units
    if len(target.output_shape) != 2 or width == units:
        return
    raise InputValueError(
        f"y has {width} {'column' if width == 1 else 'columns'}, but the output of the model has "
        f"{units} {'unit' if units == 1 else 'units'}, and the loss {target.loss} compares them "
        "element by element. The output layer must have as many units as y has columns: "
        "meta['n_outputs_'] of a model function."
    )


_TARGET_CHECKS: dict[str, Callable[[_Target], None]] = {
    "binary_crossentropy": _check_binary,
    "categorical_crossentropy": _check_one_hot,
    "huber": _check_elementwise,
    "log_cosh": _check_elementwise,
    "mean_absolute_error": _check_elementwise,
    "mean_absolute_percentage_error": _check_elementwise,
    "mean_squared_error": _check_elementwise,
    "mean_squared_logarithmic_error": _check_elementwise,
    "poisson": _check_elementwise,
    "sparse_categorical_crossentropy": _check_class_numbers,
}


def check_callbacks(
    model: keras.Model, callbacks: Iterable[keras.callbacks.Callback], has_validation: bool
) -> None:
    """Raise if callbacks need what this fit does not have.

    Parameters
    ----------
    model : keras.Model
    callbacks : iterable of keras.callbacks.Callback
    has_validation : bool

    Raises
    ------
    InputValueError
        If a callback needs a validation set and none is set aside or passed, or a callback and a
        schedule both set the learning rate.
    """
    callbacks = list(callbacks)
    if not has_validation:
        _check_monitors(callbacks)
    if engine.schedule_of(model.optimizer) is None:
        return
    for callback in callbacks:
        if traits_of(callback).sets_learning_rate:
            raise InputValueError(
                f"{type(callback).__name__} sets the learning rate, and so does the schedule of "
                f"the optimizer {model.optimizer.name!r}. Leave one of them out."
            )


def _check_monitors(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    for callback in callbacks:
        name = type(callback).__name__
        if traits_of(callback).scores_validation_set:
            raise InputValueError(
                f"{name}({callback.scoring!r}) needs a validation set. Pass "
                "validation_fraction=0.1, for instance."
            )
        monitor = monitored_metric(callback)
        if monitor is not None and monitor.startswith("val_"):
            raise InputValueError(
                f"monitor={monitor!r} of {name} is computed on a validation set, and there is "
                "none. Pass validation_fraction=0.1, for instance, or monitor "
                f"{monitor.removeprefix('val_')!r}."
            )
