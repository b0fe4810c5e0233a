"""What is checked before the first batch, and the messages."""

from __future__ import annotations

import difflib
import numbers
import weakref
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from scikeras.utils import loss_name
from sklearn.base import ClassifierMixin
from sklearn.metrics import get_scorer_names

from skguard import _engine as engine
from skguard._estimators.parameters import constructor_names, model_function
from skguard._fit import attempts, validation
from skguard.callbacks import ScorerMonitor

__all__ = [
    "check_batches",
    "check_callbacks",
    "check_classes",
    "check_inputs",
    "check_is_fresh",
    "check_loss",
    "check_model",
    "check_monitors",
    "check_outputs",
    "check_schedules",
    "check_settings",
    "check_target_fits",
    "check_unused",
    "remember_trained",
]

_trained: weakref.WeakSet[keras.Model] = weakref.WeakSet()
_COMPILE_PREFIXES = ("optimizer__", "loss__", "metrics__", "compile__")


def check_model(estimator: Any) -> None:
    """Refuse a ``model`` that can build nothing."""
    model = estimator.model if estimator.model is not None else estimator.build_fn
    has_method = hasattr(estimator, "_keras_build_fn")
    name = type(estimator).__name__
    if model is None and not has_method:
        raise ValueError(
            f"model=None: {name} has nothing to build. Pass model=, a function that returns a "
            "Keras model, or give the class a method _keras_build_fn."
        )
    if model is not None and has_method:
        raise ValueError(
            f"model={model!r} and the method _keras_build_fn of {name} both build a model. "
            "Give one of them."
        )
    if model is not None and not (isinstance(model, keras.Model) or callable(model)):
        raise TypeError(
            f"model={model!r} is a {type(model).__name__}. It must be a callable that returns a "
            "Keras model, a keras.Model subclass, or a keras.Model instance."
        )


def check_classes(estimator: Any, y: Any) -> None:
    """Refuse a classifier's y that has one label only, unless more were announced."""
    if not isinstance(estimator, ClassifierMixin) or y is None or y.shape[1:] not in ((), (1,)):
        return
    labels = np.unique(y)
    if estimator.classes_ is None and len(labels) < 2:
        raise ValueError(
            f"y has one class only, {labels.tolist()[0]!r}, and a {type(estimator).__name__} needs "
            "two. In a search this may be one fold: use a stratified cv."
        )


def check_is_fresh(estimator: Any, model: Any) -> None:
    """Refuse what a model function returned if it is no model, or one that a fit trained."""
    function = model_function(estimator).name
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"The model function {function} returned {model!r}, which is no keras.Model. "
            "Does it end with `return model`?"
        )
    if model in _trained:
        raise ValueError(
            f"The model function {function} returned a model that an earlier fit has trained, so "
            "this fit would not start fresh. Build a new model inside the function, or pass the "
            "model object itself as model=: every fit then trains a copy of it."
        )


def remember_trained(model: keras.Model) -> None:
    """Note that a fit is about to change `model`."""
    _trained.add(model)


def check_unused(estimator: Any, compiled_by_function: bool) -> None:
    """Refuse compile parameters that cannot reach the model."""
    function = model_function(estimator)
    if not compiled_by_function or function.may_compile_from_estimator:
        return
    unused = [name for name in vars(estimator) if name.startswith(_COMPILE_PREFIXES)]
    defaults = constructor_names(type(estimator))
    for name in ("optimizer", "metrics"):
        if getattr(estimator, name) is not None and getattr(estimator, name) != defaults[name]:
            unused.append(name)
    if not unused:
        return
    given = ", ".join(f"{name}={getattr(estimator, name)!r}" for name in sorted(unused))
    if function.call is None:
        raise ValueError(
            f"{given} would never be used, because the model was compiled before it was passed. "
            "Pass a model that is not compiled, so that the estimator compiles its copies with "
            "these, or compile it with them yourself."
        )
    taken = [f"model__{name}" for name in unused if name in function.arguments]
    if taken:
        advice = f"To give it to {function.name} as its own argument, pass {', '.join(taken)}."
    else:
        advice = (
            "Leave out model.compile(), so that the estimator compiles the model with its "
            "parameters, or let the model function take `compile_kwargs` and call "
            "model.compile(**compile_kwargs), or make the setting an argument of the model "
            "function."
        )
    raise ValueError(
        f"{given} would never be used, because the model function {function.name} compiles the "
        f"model itself. {advice}"
    )


def check_loss(model: keras.Model) -> None:
    """Refuse a compiled model that has nothing to minimize."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, dict):
        loss = list(loss.values())
    if isinstance(loss, list | tuple):
        loss = next((part for part in loss if part is not None), None)
    if loss is not None:
        return
    cls = type(model)
    own_loss = any(
        getattr(cls, name, None) is not getattr(keras.Model, name, None)
        for name in ("train_step", "compute_loss", "_compute_loss")
    )
    if own_loss or model.losses or any(map(_may_add_loss, model._flatten_layers())):
        return
    raise ValueError(
        "You must provide a loss or a compiled model: loss=None and the model was not compiled "
        'with one. Pass loss=, such as "mse" or "sparse_categorical_crossentropy", or compile '
        "the model in the model function."
    )


def _may_add_loss(layer: keras.layers.Layer) -> bool:
    """Whether `layer` may call ``add_loss``, which only shows when it is called with data."""
    from_keras = type(layer).__module__.partition(".")[0] == "keras"
    return not from_keras or getattr(layer, "activity_regularizer", None) is not None


def check_settings(estimator: Any, *, epochs: Any, batch_size: Any, validation_split: Any) -> None:
    """Refuse parameters of fit that mean nothing, all of them in one message."""
    problems = [*_problems_of_numbers(epochs, batch_size), *_problems_of_stopping(estimator)]
    problems += validation.check_rule(validation_split, estimator.validation_fraction)
    problems += attempts.check_rule(estimator.max_retries, estimator.retry_on, estimator.retry_with)
    if problems:
        raise ValueError("\n".join(problems))


def _problems_of_numbers(epochs: Any, batch_size: Any) -> list[str]:
    problems = []
    if not isinstance(epochs, numbers.Integral) or epochs < 1:
        problems.append(f"epochs={epochs!r} trains nothing. Give an int of 1 or more.")
    given = batch_size is not None and batch_size != -1
    if given and (not isinstance(batch_size, numbers.Integral) or batch_size < 1):
        problems.append(
            f"batch_size={batch_size!r} is no number of rows. Give an int of 1 or more, None for "
            "Keras's 32, or -1 for all rows at once."
        )
    return problems


def _problems_of_stopping(estimator: Any) -> list[str]:
    problems = []
    if not isinstance(estimator.early_stopping, bool | np.bool_):
        problems.append(
            f"early_stopping={estimator.early_stopping!r} is neither True nor False. A callback "
            "goes into callbacks=."
        )
    patience = estimator.n_iter_no_change
    if not _is_number(patience, numbers.Integral) or patience < 1:
        problems.append(
            f"n_iter_no_change={patience!r} is no number of epochs. Give an int of 1 or more."
        )
    tol = estimator.tol
    if not _is_number(tol, numbers.Real) or not 0 <= tol < np.inf:
        problems.append(f"tol={tol!r} is no tolerance. Give a number of 0.0 or more.")
    if estimator.on_nan not in engine.ON_NAN:
        problems.append(
            f"on_nan={estimator.on_nan!r} is none of {', '.join(map(repr, engine.ON_NAN))}."
        )
    seconds = estimator.max_fit_seconds
    if seconds is not None and (not _is_number(seconds, numbers.Real) or not seconds > 0):
        problems.append(
            f"max_fit_seconds={seconds!r} is no time. Give a number of seconds, or None."
        )
    scoring = estimator.scoring
    if isinstance(scoring, str) and scoring not in (known := get_scorer_names()):
        closest = difflib.get_close_matches(scoring, known, n=3)
        advice = (
            f"Did you mean {' or '.join(map(repr, closest))}?"
            if closest
            else ("sklearn.metrics.get_scorer_names() lists them all.")
        )
        problems.append(f"scoring={scoring!r} is no scorer that scikit-learn knows. {advice}")
    if scoring is not None and not isinstance(scoring, str) and not callable(scoring):
        problems.append(
            f"scoring={scoring!r} is no scorer. Give one, or the name of one, such as 'roc_auc'."
        )
    return problems


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def check_monitors(callbacks: Iterable[Any], has_hold_out: bool) -> None:
    """Refuse callbacks that wait for a value which no epoch will have."""
    if has_hold_out:
        return
    for callback in callbacks:
        if isinstance(callback, ScorerMonitor):
            raise ValueError(
                f"ScorerMonitor({callback.scoring!r}) scores rows that are held out, and there "
                "are none. Hold some out with validation_fraction=0.1."
            )
        if engine.uses_monitor(callback) and callback.monitor.startswith("val_"):
            raise ValueError(
                f"monitor={callback.monitor!r} of {type(callback).__name__} is computed on rows "
                "that are held out, and there are none. Hold some out with "
                "validation_fraction=0.1, or monitor "
                f"{callback.monitor.removeprefix('val_')!r}."
            )


def check_schedules(model: keras.Model, callbacks: Iterable[Any]) -> None:
    """Refuse callbacks that set a learning rate which a schedule sets already."""
    optimizer = model.optimizer
    if engine.schedule_of(optimizer) is None:
        return
    for callback in callbacks:
        if isinstance(callback, _SET_RATES):
            raise ValueError(
                f"{type(callback).__name__} sets the learning rate, and the optimizer "
                f"{optimizer.name!r} has a schedule that does so: they cannot both. Leave one "
                "out."
            )


_SET_RATES = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)


def check_batches(model: keras.Model, X: Any, batch_size: int | None) -> None:
    """Refuse batches that do not fill an input layer of a fixed batch size."""
    if not hasattr(X, "shape"):
        return
    n_rows = X.shape[0]
    inputs = getattr(model, "inputs", None) or []
    fixed = {tensor.shape[0] for tensor in inputs} - {None}
    for size in fixed:
        if n_rows % size or (batch_size or 32) != size:
            raise ValueError(
                f"The model's input layer takes batches of {size} rows and no other, and here "
                f"{n_rows} rows would be taken in batches of {batch_size or 32}. Leave the batch "
                "out of the input's shape, or see that the numbers fit."
            )


def check_inputs(model: keras.Model, X: Any) -> None:
    """Refuse rows that the model's input layer does not take.

    Only for one array, and where the model tells its inputs: a subclassed model does not.
    """
    inputs = getattr(model, "inputs", None)
    if inputs is None or not hasattr(X, "shape"):
        return
    if len(inputs) != 1:
        raise ValueError(
            f"The model has {len(inputs)} inputs, and X is one array. Override feature_encoder to "
            "split X into one array for each input."
        )
    expected, given = tuple(inputs[0].shape[1:]), tuple(X.shape[1:])
    # Keras itself adds or drops a last axis of one.
    if not any(_fits(shape, expected) for shape in (given, (*given, 1))) and not (
        given[-1:] == (1,) and _fits(given[:-1], expected)
    ):
        raise ValueError(
            f"X has rows of shape {given}, but the model's input layer takes rows of shape "
            f"{expected}. Let the model function ask for `meta` and use "
            'keras.Input(meta["X_shape_"][1:]).'
        )


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        size in (None, actual) for actual, size in zip(shape, expected, strict=True)
    )


def check_outputs(estimator: Any, model: keras.Model) -> None:
    """Refuse a model with another number of outputs than the target encoder prepares."""
    expected = getattr(estimator, "n_outputs_expected_", None)
    outputs = getattr(model, "outputs", None)
    if expected and outputs is not None and expected != len(outputs):
        raise ValueError(
            f"Detected a Keras model with {len(outputs)} outputs, but y was prepared for "
            f"{expected}. Return a model with {expected}, or override target_encoder to split y "
            "into one array for each output."
        )
    given, compiled = estimator.loss, getattr(model, "loss", None)
    named = (str, keras.losses.Loss, type)
    if isinstance(given, named) and isinstance(compiled, named):
        default = constructor_names(type(estimator)).get("loss")
        if given != default and loss_name(given) != loss_name(compiled):
            raise ValueError(
                f"loss={given!r}, but the model was compiled with {compiled!r}. y would be "
                "prepared for another loss than it is trained with. Give the same to both."
            )


def check_target_fits(model: keras.Model, y: Any) -> None:
    """Refuse an encoded target that the compiled loss cannot compare with the output.

    Only where the model tells its one output's shape: a subclassed model does not.
    """
    outputs = getattr(model, "outputs", None)
    if not isinstance(y, np.ndarray) or outputs is None or len(outputs) != 1:
        return
    loss = model.loss
    if isinstance(loss, list | tuple) and len(loss) == 1:
        loss = loss[0]
    try:
        name = loss_name(loss)
    except (TypeError, ValueError):
        return
    if getattr(loss, "ignore_class", None) is not None:  # one of y's numbers is no class
        return
    units = outputs[0].shape[-1]
    if units is None or y.size == 0:
        return
    if name == "sparse_categorical_crossentropy":
        n_classes = int(y.max()) + 1
        if y.ndim == len(outputs[0].shape) and y.shape[-1] != 1:
            raise ValueError(
                f"y has shape {y.shape}, one column a class, and the loss {name} wants class "
                'numbers. Use loss="categorical_crossentropy", or pass y as labels.'
            )
        if n_classes > units:
            raise ValueError(
                f"y has {n_classes} classes, but the model's output has {units} units. With "
                f"the loss {name} it needs one unit a class; meta['n_classes_'] tells a model "
                "function how many there are."
            )
    elif name == "categorical_crossentropy":
        if y.ndim == 1 or y.shape[-1] != units:
            n = "labels" if y.ndim == 1 or y.shape[-1] == 1 else f"{y.shape[-1]} classes"
            raise ValueError(
                f"y holds {n}, but the model's output has {units} units. With the loss {name} "
                "it needs one unit and one column of y for each class. For labels, use "
                '"sparse_categorical_crossentropy" or, with one unit, "binary_crossentropy".'
            )
    elif name == "binary_crossentropy":
        width = 1 if y.ndim == 1 else y.shape[-1]
        if y.max() > 1:
            raise ValueError(
                f"y has {int(y.max()) + 1} classes, and the loss {name} handles two. Use "
                '"sparse_categorical_crossentropy" with one output unit a class.'
            )
        if len(outputs[0].shape) == 2 and width != units:
            raise ValueError(_widths(y, units, name))
    elif name in _ELEMENTWISE and y.ndim <= 2:
        width = 1 if y.ndim == 1 else y.shape[-1]
        if len(outputs[0].shape) == 2 and width != units:
            raise ValueError(_widths(y, units, name))


_ELEMENTWISE = frozenset(
    {
        "mean_squared_error",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_logarithmic_error",
        "huber",
        "log_cosh",
        "poisson",
    }
)


def _widths(y: np.ndarray, units: int, name: str) -> str:
    width = 1 if y.ndim == 1 else y.shape[-1]
    return (
        f"y has {width} {'column' if width == 1 else 'columns'}, but the model's output has "
        f"{units} {'unit' if units == 1 else 'units'}, and the loss {name} compares them one by "
        "one. Give the output layer as many units as y has columns."
    )


def check_callbacks(name: str, callbacks: Iterable[Any]) -> None:
    """Refuse what is no callback."""
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(
                f"{name} holds {callback!r}, which is no callback. It must be a "
                "keras.callbacks.Callback object or class, a skguard.callbacks.Shared, or a list "
                "or dict of them."
            )
