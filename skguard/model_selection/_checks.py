"""The checks of a search's parameters before the first fit."""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
from collections.abc import Callable, Iterable
from typing import Any

from sklearn.base import clone

from skguard._fit import attempts
from skguard._fit.batched import is_batched
from skguard._warnings import warn
from skguard.exceptions import InputTypeError, UnusedParameterWarning

__all__ = ["check", "check_arrays", "check_names"]


@dataclasses.dataclass(frozen=True, slots=True)
class _Constraint:
    """The values of a parameter; `allowed` completes "must be ..." in the message."""

    is_valid: Callable[[Any], bool]
    allowed: str


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_real and not math.isnan(value)


def _is_count(value: Any) -> bool:
    is_int = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return is_int and value >= 1


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _one_of(*choices: Any) -> _Constraint:
    return _Constraint(
        lambda value: any(value is choice or value == choice for choice in choices),
        " or ".join(map(repr, choices)),
    )


def _or_none(is_valid: Callable[[Any], bool], allowed: str) -> _Constraint:
    return _Constraint(lambda value: value is None or is_valid(value), allowed)


_SECONDS = _or_none(_is_positive, "a positive number of seconds, or None for no limit")

# The parameters that scikit-learn does not check, except those of retries.
_CONSTRAINTS = {
    "max_consecutive_failed_trials": _or_none(_is_count, "an int >= 1, or None for no limit"),
    "nan_score": _one_of("fail", "accept"),
    "isolate": _one_of(True, False),
    "trial_timeout": _SECONDS,
    "time_budget": _SECONDS,
    "stop_score": _or_none(_is_number, "a number, or None to evaluate all candidates"),
    "refit_epochs": _one_of("best", None),
}


def check(search: Any, fit_params: dict[str, Any]) -> None:
    """Raise if a parameter cannot be used, with all problems in one message.

    Parameters
    ----------
    search : GuardedSearch
    fit_params : dict
        Keyword arguments of the search's ``fit``.

    Raises
    ------
    ValueError

    Warns
    -----
    UnusedParameterWarning
        If a parameter only qualifies what another one switches off.
    """
    problems = [
        f"{name} must be {constraint.allowed}, got {value!r}."
        for name, constraint in _CONSTRAINTS.items()
        if not constraint.is_valid(value := getattr(search, name))
    ]
    problems = _problems_of_retries(search) + problems + _conflicts(search)
    if problems:
        raise ValueError("\n".join(problems))
    if search.max_retries_per_trial == 0 and search.retry_on != (Exception,):
        warn(
            f"retry_on={search.retry_on!r} has no effect, because max_retries_per_trial=0. Pass "
            "max_retries_per_trial=1, for instance, or leave it out.",
            UnusedParameterWarning,
        )
    if search.refit_epochs is not None:
        from skguard.model_selection import _refit_epochs  # imports Keras

        _refit_epochs.check_refit_epochs(search.estimator, _searched_names(search), fit_params)


def _problems_of_retries(search: Any) -> list[str]:
    """Return the problems that an estimator would report, under the search's own names."""
    problems = attempts.check_rule(search.max_retries_per_trial, search.retry_on, None)
    return [re.sub(r"\bmax_retries\b", "max_retries_per_trial", text) for text in problems]


def _conflicts(search: Any) -> list[str]:
    """Return the problems of parameters that are valid alone."""
    problems = []
    has_several_scores = isinstance(search.scoring, list | tuple | dict | set)
    if search.stop_score is not None and has_several_scores and not isinstance(search.refit, str):
        problems.append(
            f"stop_score={search.stop_score!r} needs one score to compare with: pass its name as "
            f"refit, got refit={search.refit!r}."
        )
    if search.refit_epochs is not None and not search.refit:
        problems.append(
            f"refit_epochs={search.refit_epochs!r} has no effect with refit={search.refit!r}: "
            "pass refit=True or refit_epochs=None."
        )
    return problems


def check_arrays(X: Any) -> None:
    """Raise if X comes in batches, which no splitter can divide.

    Raises
    ------
    InputTypeError
    """
    if is_batched(X):
        raise InputTypeError(
            f"X is a {type(X).__name__}, and a search divides samples by their indices. Pass "
            "arrays, which may be memory-mapped: numpy.load(path, mmap_mode='r'). Or fit one "
            "estimator per sklearn.model_selection.ParameterGrid candidate, each with a dataset "
            "as X_val."
        )


def check_names(estimator: Any, candidates: Iterable[dict[str, Any]]) -> None:
    """Raise if a candidate has a parameter that does not exist.

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
        # Which names exist depends on the estimators among the values.
        names = frozenset(
            (name, type(value) if hasattr(value, "get_params") else None)
            for name, value in params.items()
        )
        if names not in known:
            known.add(names)
            clone(estimator).set_params(**clone(params, safe=False))


def _searched_names(search: Any) -> list[str]:
    """Return the names of the parameters that candidates set."""
    grids = getattr(search, "param_grid", None) or getattr(search, "param_distributions", {})
    return [name for grid in ([grids] if isinstance(grids, dict) else grids) for name in grid]
