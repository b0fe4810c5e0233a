"""Checks of a model, its loss and its callbacks before the first batch.

Those of parameters are in ``settings.py``, those of arrays in ``arrays.py``.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
from scikeras.utils import loss_name
from sklearn.base import ClassifierMixin

from skguard import _engine as engine
from skguard._fit import inputs, unused
from skguard._fit.arrays import Encoded
from skguard._parameters import constructor_names, model_function
from skguard._parameters.copies import is_keras_class
from skguard._parameters.signatures import is_from_keras
from skguard._repairs.keras_internals import all_layers
from skguard.callbacks._traits import monitored_metric, traits_of
from skguard.exceptions import InputTypeError, InputValueError
from skguard.targets._base import Target
from skguard.targets._heads import Heads
from skguard.targets._metric_checks import check_metrics
from skguard.targets._outputs import check_encoded, outputs_of
from skguard.targets._transformed import Transformed
from skguard.targets._values import Quantiles

__all__ = [
    "check_built_model",
    "check_callbacks",
    "check_classes",
    "check_compiled_model",
    "check_is_not_part",
    "check_loss",
    "check_model_parameter",
    "check_scored_arrays",
    "remember_trained",
]

_trained: weakref.WeakSet[keras.Model] = weakref.WeakSet()


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
    if model is not None and estimator.build_fn not in (None, model):
        raise InputValueError(
            f"model={model!r} and build_fn={estimator.build_fn!r} both build a model. Leave out "
            "build_fn, the old name of model."
        )
    if model is not None and not (isinstance(model, keras.Model) or callable(model)):
        raise InputTypeError(
            f"model={model!r} is a {type(model).__name__}. It must be a callable that returns a "
            "Keras model, a keras.Model subclass, or a keras.Model instance."
        )


def check_is_not_part(estimator: Any) -> None:
    """Raise if ``model`` is a layer, a loss or the like, which Keras can call, or its class.

    Before the names of parameters are checked, which its constructor would define.

    Raises
    ------
    InputTypeError
    """
    model = estimator.model if estimator.model is not None else estimator.build_fn
    cls = model if inspect.isclass(model) else type(model)
    if is_keras_class(cls) and not issubclass(cls, keras.Model):
        raise InputTypeError(
            f"model={model!r} is a part of a model, of class {cls.__name__}, and does not build "
            "one. Pass a function that does: def build(meta): return "
            'keras.Sequential([keras.Input(meta["X_shape_"][1:]), ...]).'
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
        If an earlier fit trained it, or compile parameters would not be used.
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
    unused.check_compile_parameters(estimator, compiled_by_function=model.compiled)
    unused.check_is_followed(estimator, model)


def remember_trained(model: keras.Model) -> None:
    """Record that a fit is about to change `model`."""
    _trained.add(model)


def check_compiled_model(
    estimator: Any, model: keras.Model, encoded: Encoded, batch_size: int | None
) -> None:
    """Raise if a compiled model does not fit the encoded data or the parameters.

    Raises
    ------
    InputValueError
    """
    _check_number_of_outputs(estimator, model)
    _check_same_loss(estimator, model)
    _check_target_fits(model, encoded)
    if isinstance(encoded.target_encoder, Target):
        check_metrics(encoded.target_encoder.formats(), model)
    inputs.check_model_inputs(model, encoded.X)
    inputs.check_batches(model, encoded.X, batch_size)


def check_loss(model: keras.Model, target: Any = None) -> None:
    """Raise if nothing says what a model is to minimize.

    Parameters
    ----------
    model : keras.Model
    target : object
        Encoder of y.

    Raises
    ------
    InputValueError
    """
    loss = getattr(model, "loss", None)
    if isinstance(loss, dict):
        loss = list(loss.values())
    if isinstance(loss, list | tuple):
        loss = next((part for part in loss if part is not None), None)
    if loss is not None or _has_custom_loss(model):
        return
    if isinstance(target, Quantiles):
        raise InputValueError(
            "You must provide a loss, or say which quantiles the units are: "
            "target=Quantiles([0.1, 0.5, 0.9]), of skguard.targets, has the loss that they need."
        )
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
            f"Detected a Keras model with {len(outputs)} outputs, but target_encoder prepared y "
            f"for {expected}. Return a model with {expected}, or split y into one array per "
            "output."
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


def _check_target_fits(model: keras.Model, encoded: Encoded) -> None:
    """Raise if a loss of Keras cannot compare an array of an own target encoder with its output."""
    target = encoded.target_encoder
    if isinstance(target, Target) and not isinstance(target, Heads | Transformed):
        return  # which has learned the outputs
    outputs = outputs_of(model, model.loss, encoded.X) or []
    arrays = encoded.y if isinstance(encoded.y, list | tuple) else [encoded.y]
    if isinstance(encoded.y, dict):
        arrays = [encoded.y.get(output.name) for output in outputs]
    if len(arrays) == len(outputs):
        for y, output in zip(arrays, outputs, strict=True):
            if isinstance(y, np.ndarray) and y.size:
                check_encoded(y, output)


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


def check_scored_arrays(callbacks: Iterable[keras.callbacks.Callback]) -> None:
    """Raise if a callback scores the validation set, which comes in batches.

    Raises
    ------
    InputValueError
    """
    for callback in callbacks:
        if traits_of(callback).scores_validation_set:
            raise InputValueError(
                f"{type(callback).__name__} scores arrays, and the validation set comes in "
                "batches. Pass X_val= and y_val= arrays."
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
