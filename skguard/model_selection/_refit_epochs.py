"""The parameters of a refit on all samples, for the number of epochs that was best."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from sklearn.pipeline import Pipeline

from skguard._parameters import constructor_names
from skguard._parameters.given import is_given
from skguard.callbacks import Shared
from skguard.callbacks._traits import Traits, traits_of

__all__ = ["LeftOut", "check_refit_epochs", "n_best_epochs", "without_validation_set"]

_NEEDED = ("epochs", "early_stopping", "validation_split", "validation_fraction", "callbacks")


def _network_prefix(estimator: Any) -> str | None:
    """Return the prefix of the parameters of the Keras estimator in `estimator`; None without one.

    It is the estimator that `skguard.model_selection._fits.trained_network` finds after fit.
    """
    prefix = ""
    while hasattr(estimator, "get_params"):
        params = estimator.get_params(deep=False)
        if all(name in params for name in _NEEDED):
            return prefix
        if isinstance(estimator, Pipeline):
            name, estimator = estimator.steps[-1]
        else:
            name = next((n for n in ("regressor", "classifier", "estimator") if n in params), "")
            estimator = params.get(name)
        prefix += f"{name}__"
    return None


def check_refit_epochs(
    estimator: Any, searched: Iterable[str], fit_params: Mapping[str, Any]
) -> None:
    """Raise if an estimator has no epochs, or no validation set to choose their number by.

    Parameters
    ----------
    estimator : estimator
    searched : iterable of str
        Names of the parameters that candidates set.
    fit_params : dict
        Keyword arguments of the search's ``fit``.

    Raises
    ------
    ValueError
    """
    params = estimator.get_params()
    prefix = _network_prefix(estimator)
    if prefix is None:
        raise ValueError(
            "refit_epochs='best' needs a Keras estimator of skguard, alone or as the last step of "
            f"a Pipeline, got {estimator!r}. Pass refit_epochs=None."
        )
    rules = ("early_stopping", "validation_split", "validation_fraction")
    given = ("X_val", "validation_data")
    if (
        not any(_sets_aside(params.get(f"{prefix}{p}{r}")) for r in rules for p in ("", "fit__"))
        and not any(name.endswith(rules) for name in searched)
        and not any(name.endswith(given) for name in [*fit_params, *params])
    ):
        raise ValueError(
            f"refit_epochs='best' needs the best epoch of each split. {_NO_VALIDATION_SET}"
        )


def _sets_aside(rule: Any) -> bool:
    return rule is not None and not (isinstance(rule, bool | int | float) and not rule)


_NO_VALIDATION_SET = (
    "The fits have no validation set by which epochs could be compared. Pass early_stopping=True "
    "or validation_fraction=0.1."
)


def n_best_epochs(results: Mapping[str, Any], best_index: int) -> int:
    """Return the median over the splits of the best number of epochs, rounded up.

    Parameters
    ----------
    results : mapping
        ``cv_results_``.
    best_index : int

    Raises
    ------
    ValueError
        If a split has no best epoch.
    """
    names = [name for name in results if name.startswith("split") and name.endswith("_best_epoch")]
    best = np.array([results[name][best_index] for name in names])
    if not len(best) or np.isnan(best).any():
        raise ValueError(
            "refit_epochs='best' needs the best epoch of each split, and the candidate "
            f"{results['params'][best_index]} has none. {_NO_VALIDATION_SET}"
        )
    return math.ceil(np.median(best + 1))  # epochs are 0-based


# They would have no effect without a validation set, and cause a warning.
_OF_VALIDATION = ("n_iter_no_change", "tol", "scoring", "validation_batch_size")


def without_validation_set(estimator: Any, n_epochs: int) -> dict[str, Any]:
    """Return the parameters to set for a fit of `n_epochs` epochs on all samples."""
    params = estimator.get_params()
    prefix = _network_prefix(estimator)
    assert prefix is not None  # see check_refit_epochs
    changed = {
        "epochs": n_epochs,
        "early_stopping": False,
        "validation_split": 0.0,
        "validation_fraction": None,
    }
    for name in ("callbacks", "fit__callbacks"):
        value = params.get(f"{prefix}{name}")
        changed[name] = _without_validation(value, f"{prefix}{name}", params)
    network = params[prefix.removesuffix("__")] if prefix else estimator
    defaults = constructor_names(type(network))
    changed |= {name: defaults[name] for name in _OF_VALIDATION if is_given(network, name)}
    # Parameters that are routed to fit take precedence over those of the estimator.
    changed |= {f"fit__{name}": changed[name] for name in ("epochs", "validation_split")}
    return {
        f"{prefix}{name}": value
        for name, value in changed.items()
        if not name.startswith("fit__") or f"{prefix}{name}" in params
    }


def _without_validation(value: Any, name: str, params: Mapping[str, Any]) -> Any:
    """Replace the callbacks that read the validation set by ones that do nothing."""
    if isinstance(value, dict):
        return {k: _without_validation(v, f"{name}__{k}", params) for k, v in value.items()}
    if isinstance(value, list | tuple):
        items = [_without_validation(v, f"{name}__{i}", params) for i, v in enumerate(value)]
        return type(value)(items)
    if value is None or not _reads_validation_set(value, name, params):
        return value
    return LeftOut if inspect.isclass(value) else LeftOut()


def _reads_validation_set(value: Any, name: str, params: Mapping[str, Any]) -> bool:
    if isinstance(value, Shared):
        value = value.callback
    traits: Traits = traits_of(value)
    if traits.scores_validation_set:
        return True
    if inspect.isclass(value):
        monitor = _argument(value, name, "monitor", params)
        best_only = _argument(value, name, "save_best_only", params)
    else:
        monitor = getattr(value, "monitor", None)
        best_only = getattr(value, "save_best_only", None)
    compares = not (traits.saves_best_only and best_only is False)
    return compares and str(monitor).startswith("val_")


def _argument(cls: type, name: str, argument: str, params: Mapping[str, Any]) -> Any:
    """Return what `cls` will be constructed with: its routed parameter or that of its container."""
    default = inspect.signature(cls).parameters.get(argument)
    level = name
    while level.rpartition("__")[2]:
        if f"{level}__{argument}" in params:
            return params[f"{level}__{argument}"]
        if level.rpartition("__")[2] == "callbacks":
            break
        level = level.rpartition("__")[0]
    return getattr(default, "default", None)


class LeftOut(keras.callbacks.Callback):
    """Replacement of a callback that reads the validation set.

    Parameters
    ----------
    *args, **kwargs
        Anything: the parameters that are routed to the callback are still passed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
