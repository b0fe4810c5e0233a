"""Callbacks of one fit: built from the parameters, ordered, attached to its validation set."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from skguard import _parameters as parameters
from skguard._fit.arrays import Samples
from skguard._fit.attempts import input_errors
from skguard._fit.paths import FitPaths
from skguard._fit.settings import FitSettings
from skguard._parameters import copies
from skguard.callbacks import ScorerMonitor
from skguard.callbacks._scorer_monitor import scorer_name
from skguard.callbacks._traits import traits_of
from skguard.exceptions import InputTypeError, InputValueError

__all__ = ["FitCallbacks", "attached", "build", "of_call", "ordered"]

_PARAMETERS = ("callbacks", "fit__callbacks", "predict__callbacks")


@dataclasses.dataclass(frozen=True, slots=True)
class FitCallbacks:
    """Callbacks built from the parameters of an estimator.

    Parameters
    ----------
    fitting, predicting : list of keras.callbacks.Callback
        For training, and for prediction with the fitted model.
    paths : FitPaths
        Where they write.
    parameters : dict
        The parameters that they were built from.
    """

    fitting: list[keras.callbacks.Callback]
    predicting: list[keras.callbacks.Callback]
    paths: FitPaths
    parameters: dict[str, Any]

    def are_current(self, estimator: Any) -> bool:
        """Return whether the parameters of `estimator` are still those they were built from."""
        now, then = _parameters_of(estimator), self.parameters
        return now.keys() == then.keys() and all(now[name] is then[name] for name in now)

    def of_parameters(self, estimator: Any) -> FitCallbacks:
        """Return the callbacks as built from the current parameters of `estimator`."""
        return dataclasses.replace(self, parameters=_parameters_of(estimator))


def _parameters_of(estimator: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(estimator).items()
        if name.startswith(_PARAMETERS) and not name.endswith("_")
    }


def build(estimator: Any, *, writes_apart: bool) -> FitCallbacks:
    """Build new callbacks from the parameters of an estimator.

    Parameters
    ----------
    estimator : estimator
    writes_apart : bool
        Whether they write to a folder of this fit alone.

    Raises
    ------
    InputTypeError
        If something else than a callback is among them.
    NotCopyableError
    """
    paths = FitPaths(apart=writes_apart)
    given = {name: getattr(estimator, name, None) for name in _PARAMETERS}
    try:
        built = _instances(given, vars(estimator), paths)
    except BaseException:
        paths.tidy()
        raise
    predicting = [
        callback
        for callback in built["callbacks"] + built["predict__callbacks"]
        if not traits_of(callback).acts_in_training_only
    ]
    return FitCallbacks(
        built["callbacks"] + built["fit__callbacks"], predicting, paths, _parameters_of(estimator)
    )


def _instances(
    given: Mapping[str, Any], params: Mapping[str, Any], paths: FitPaths
) -> dict[str, list[keras.callbacks.Callback]]:
    """Copy objects and instantiate classes, with the `params` routed to them."""
    copied = copies.copy_callbacks(given)

    def construct(cls: type, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return cls(*args, **paths.place_arguments(cls, kwargs))

    for callback in copies.reachable_callbacks(copied):
        paths.place_callback(callback)
    built = {}
    for name, value in copied.items():
        nested = parameters.build_nested(
            "callbacks", value, parameters.route(params, name), construct=construct, name=name
        )
        built[name] = copies.flatten_callbacks(nested)
        _check_types(name, built[name])
    return built


def _check_types(name: str, callbacks: Sequence[Any]) -> None:
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise InputTypeError(
                f"{name} must be a keras.callbacks.Callback object or class, a "
                f"skguard.callbacks.Shared, or a list or dict of them, got {callback!r}."
            )


def of_call(
    settings: FitSettings, paths: FitPaths, *, has_validation: bool
) -> list[keras.callbacks.Callback]:
    """Return the callbacks of one call: those passed to ``fit``, ``scoring``, early stopping."""
    passed = _instances({"callbacks": settings.callbacks}, {}, paths)["callbacks"]
    if not has_validation:
        return passed
    own: list[keras.callbacks.Callback] = []
    if settings.scoring is not None:
        own.append(ScorerMonitor(settings.scoring))
    if settings.early_stopping:
        own.append(_early_stopping(settings))
    return passed + own


def _early_stopping(settings: FitSettings) -> keras.callbacks.EarlyStopping:
    scoring = settings.scoring
    return keras.callbacks.EarlyStopping(
        "val_loss" if scoring is None else f"val_{scorer_name(scoring)}",
        mode="min" if scoring is None else "max",
        min_delta=settings.tol,
        patience=settings.n_iter_no_change,
        restore_best_weights=True,
    )


def ordered(callbacks: Sequence[keras.callbacks.Callback]) -> list[keras.callbacks.Callback]:
    """Return callbacks in the order in which they must be called."""
    return sorted(callbacks, key=lambda callback: traits_of(callback).order)


@contextlib.contextmanager
def attached(
    callbacks: Sequence[keras.callbacks.Callback],
    validation: Samples | None,
    as_fitted: Callable[[], Any],
) -> Iterator[None]:
    """Attach the callbacks that score the validation set to it, and detach them in any case.

    Parameters
    ----------
    callbacks : sequence of keras.callbacks.Callback
    validation : Samples or None
    as_fitted : callable
        Returns an estimator that predicts with the model that is being trained.
    """
    scorers: list[Any] = [c for c in callbacks if traits_of(c).scores_validation_set]
    try:
        if validation is not None:
            if scorers:
                _check_weights_for_scorers(validation)
            arrays = validation.X, _as_columns(validation.y), validation.sample_weight
            for callback in scorers:
                with input_errors():
                    callback.attach(as_fitted(), *arrays)
        yield
    finally:
        for callback in scorers:
            callback.detach()


def _as_columns(y: Any) -> Any:
    """Return targets with one field per head as scorers know them, where heads are of one kind."""
    fields = [y[name] for name in getattr(getattr(y, "dtype", None), "names", None) or ()]
    are_columns = all(field.ndim == 1 or field.shape[1:] == (1,) for field in fields)
    if not fields or not are_columns or len({field.dtype.kind for field in fields}) > 1:
        return y
    return np.column_stack(fields)


def _check_weights_for_scorers(validation: Samples) -> None:
    weights = validation.sample_weight
    if weights is not None and weights.ndim > 1:
        raise InputValueError(
            f"The validation set has weights of shape {weights.shape}, one per step, and scikit-"
            "learn's scorers take one per sample. Leave out scoring and ScorerMonitor, or "
            "sample_weight_val."
        )
