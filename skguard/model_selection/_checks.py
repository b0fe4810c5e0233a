"""What a search checks of its own parameters before the first fit, and the messages."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Any

from sklearn.base import clone

from skguard._fit import attempts

__all__ = ["check", "check_names"]

_CHOICES = {
    "nan_score": ("fail", "accept"),
    "isolate": (True, False),
    "refit_epochs": ("best", None),
}


def check(search: Any, fit_params: dict[str, Any]) -> None:
    """Refuse what cannot be used, all of it at once.

    Parameters
    ----------
    search : GuardedSearch
    fit_params : dict
        What ``fit`` of the search was given beside X and y.

    Raises
    ------
    ValueError
    """
    problems = attempts.check_rule(search.max_retries_per_trial, search.retry_on, None)
    problems = [p.replace("max_retries=", "max_retries_per_trial=") for p in problems]
    limit = search.max_consecutive_failed_trials
    is_int = isinstance(limit, numbers.Integral) and not isinstance(limit, bool)
    if limit is not None and (not is_int or limit < 1):
        problems.append(
            f"max_consecutive_failed_trials={limit!r} is no number of trials. Give 1 or more, "
            "or None for no limit."
        )
    for name, allowed in _CHOICES.items():
        value = getattr(search, name)
        if not any(value is choice or value == choice for choice in allowed):
            choices = " or ".join(map(repr, allowed))
            problems.append(f"{name}={value!r} is not known. Give {choices}.")
    for name in ("trial_timeout", "time_budget", "stop_score"):
        value = getattr(search, name)
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if value is not None and (not is_number or math.isnan(value)):
            problems.append(f"{name}={value!r} is no number. Give a number or None.")
        elif value is not None and name != "stop_score" and value <= 0:
            problems.append(f"{name}={value!r} leaves no time. Give seconds, or None.")
    several = isinstance(search.scoring, list | tuple | dict | set)
    if search.stop_score is not None and several and not isinstance(search.refit, str):
        problems.append(
            f"stop_score={search.stop_score!r} needs to know which of the scores: give its name "
            f"as refit. It was refit={search.refit!r}."
        )
    if search.refit_epochs is not None and not search.refit:
        problems.append(
            f"refit_epochs={search.refit_epochs!r} has no effect with refit={search.refit!r}."
        )
    if problems:
        raise ValueError("\n".join(problems))
    if search.refit_epochs is not None:
        from skguard.model_selection import _refit

        _refit.check_refit_epochs(search.estimator, _searched(search), fit_params)


def check_names(estimator: Any, candidates: Iterable[dict[str, Any]]) -> None:
    """Refuse parameters that do not exist, whichever candidate has them.

    Parameters
    ----------
    estimator : estimator
    candidates : iterable of dict

    Raises
    ------
    ValueError
        The estimator's own.
    """
    known: set[frozenset[tuple[str, type | None]]] = set()
    for params in candidates:
        # The names that there are depend on the estimators among the values.
        names = frozenset(
            (name, type(value) if hasattr(value, "get_params") else None)
            for name, value in params.items()
        )
        if names not in known:
            known.add(names)
            clone(estimator).set_params(**clone(params, safe=False))


def _searched(search: Any) -> list[str]:
    """The parameters that candidates set."""
    grids = getattr(search, "param_grid", None) or getattr(search, "param_distributions", {})
    return [name for grid in ([grids] if isinstance(grids, dict) else grids) for name in grid]
