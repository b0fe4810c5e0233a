"""The refit on all rows, for as many epochs as the folds found best."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from sklearn.pipeline import Pipeline

from skguard.callbacks import ScorerMonitor, Shared

__all__ = ["check_refit_epochs", "n_best_epochs", "without_hold_out"]

_NEEDED = ("epochs", "early_stopping", "validation_split", "validation_fraction", "callbacks")


def _network_prefix(estimator: Any) -> str | None:
    """What stands before the parameters of the Keras estimator in `estimator`; None without one.

    The one that `fits.trained_network` finds once it is fitted.
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
    """Refuse an estimator that has no epochs to choose, or holds nothing out to choose them by.

    Parameters
    ----------
    estimator : estimator
    searched : iterable of str
        The parameters that candidates set.
    fit_params : dict
        What ``fit`` of the search was given beside X and y.

    Raises
    ------
    ValueError
    """
    params = estimator.get_params()
    prefix = _network_prefix(estimator)
    if prefix is None:
        raise ValueError(
            f"refit_epochs='best' is for Keras estimators of skguard, and {estimator!r} is none "
            "and holds none. Leave it out."
        )
    rules = ("early_stopping", "validation_split", "validation_fraction")
    given = ("X_val", "validation_data")
    if (
        not any(_holds_out(params.get(f"{prefix}{p}{r}")) for r in rules for p in ("", "fit__"))
        and not any(name.endswith(rules) for name in searched)
        and not any(name.endswith(given) for name in [*fit_params, *params])
    ):
        raise ValueError(f"refit_epochs='best' needs the best epoch of each split. {_HOLD_OUT}")


def _holds_out(rule: Any) -> bool:
    return rule is not None and not (isinstance(rule, bool | int | float) and not rule)


_HOLD_OUT = (
    "The fits hold no rows out, by which epochs could be compared. Hold some out with "
    "early_stopping=True or validation_fraction=0.1."
)


def n_best_epochs(results: Mapping[str, Any], best_index: int) -> int:
    """The median over the splits of how many epochs were best, rounded up.

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
            f"{results['params'][best_index]} has none. {_HOLD_OUT}"
        )
    return math.ceil(np.median(best + 1))  # epochs are counted from 0


def without_hold_out(estimator: Any, n_epochs: int) -> dict[str, Any]:
    """The parameters to set for a fit of `n_epochs` epochs on all rows."""
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
    # Parameters that are routed to fit come before the estimator's own, where they are given.
    changed |= {f"fit__{name}": changed[name] for name in ("epochs", "validation_split")}
    return {
        f"{prefix}{name}": value
        for name, value in changed.items()
        if not name.startswith("fit__") or f"{prefix}{name}" in params
    }


def _without_validation(value: Any, name: str, params: Mapping[str, Any]) -> Any:
    """Replace the callbacks that look at held-out rows by ones that do nothing."""
    if isinstance(value, dict):
        return {k: _without_validation(v, f"{name}__{k}", params) for k, v in value.items()}
    if isinstance(value, list | tuple):
        items = [_without_validation(v, f"{name}__{i}", params) for i, v in enumerate(value)]
        return type(value)(items)
    if value is None or not _looks_at_validation(value, name, params):
        return value
    return LeftOut if inspect.isclass(value) else LeftOut()


def _looks_at_validation(value: Any, name: str, params: Mapping[str, Any]) -> bool:
    if isinstance(value, Shared):
        value = value.callback
    if not inspect.isclass(value):
        monitor = getattr(value, "monitor", None)
        saves_all = getattr(value, "save_best_only", True) is False
        cls = type(value)
    else:
        monitor = _argument(value, name, "monitor", params)
        saves_all = _argument(value, name, "save_best_only", params) is False
        cls = value
    if issubclass(cls, keras.callbacks.ModelCheckpoint) and saves_all:
        return False
    return issubclass(cls, ScorerMonitor) or str(monitor).startswith("val_")


def _argument(cls: type, name: str, argument: str, params: Mapping[str, Any]) -> Any:
    """What `cls` will be constructed with: a parameter for it or for all around it."""
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
    """In the place of a callback that needs held-out rows.

    Parameters
    ----------
    *args, **kwargs
        Whatever the other one takes, so that its routed parameters are still taken by something.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
