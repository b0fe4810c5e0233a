"""The refit of the best candidate on all samples."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skguard._fit.attempts import is_worth_another_try
from skguard._fit.limits import remove_limits
from skguard._warnings import level_of_user
from skguard.exceptions import UnusedParameterWarning
from skguard.model_selection._evaluation import SearchRun
from skguard.model_selection._fits import time_limits, trained_network
from skguard.model_selection._results import Refitted, SearchResults
from skguard.model_selection._status import StopReason

__all__ = ["refit", "warn_of_budget"]

# The part of a budget by which a refit may exceed it without a warning, and seconds.
_TOLERANCE = 0.1
_TOLERATED_SECONDS = 1.0


def refit(run: SearchRun, results: SearchResults, refit_epochs: str | None) -> Refitted:
    """Fit the best candidate, with the retries and the time limit of the other fits.

    Parameters
    ----------
    run : SearchRun
    results : SearchResults
    refit_epochs : {"best"} or None

    Raises
    ------
    BaseException
        The error of the last attempt.
    """
    max_retries = run.trials.rules.max_retries
    for attempt in range(max_retries + 1):
        estimator = _best_estimator(run, results, refit_epochs)
        try:
            with _without_idle_warnings(refit_epochs):
                return _fit(estimator, run, results)
        except Exception as error:
            may_retry = attempt < max_retries and is_worth_another_try(error, run.work.retry_on)
            if run.budget.is_over() or not may_retry:
                raise
    raise AssertionError("the last attempt returns or raises")


@contextlib.contextmanager
def _without_idle_warnings(refit_epochs: str | None) -> Iterator[None]:
    """Ignore warnings of parameters of early stopping, which `refit_epochs` has switched off."""
    with warnings.catch_warnings():
        if refit_epochs is not None:
            warnings.simplefilter("ignore", UnusedParameterWarning)
        yield


def _best_estimator(run: SearchRun, results: SearchResults, refit_epochs: str | None) -> Any:
    """Return the best candidate, which is not fitted yet."""
    # Copies of the parameters too, which may be estimators.
    best = clone(run.work.estimator).set_params(**clone(results.best_params, safe=False))
    if refit_epochs is not None:
        from skguard.model_selection import _refit_epochs  # imports Keras

        n_epochs = _refit_epochs.n_best_epochs(results.cv_results, results.best_index)
        best.set_params(**_refit_epochs.without_validation_set(best, n_epochs))
    return best


def _seconds(run: SearchRun, results: SearchResults) -> float | None:
    """Return the time limit of the refit."""
    table, best = results.cv_results, results.best_index
    names = [f"split{split}_stop_reason" for split in range(run.trials.n_splits)]
    reasons = [table[name][best] for name in names if name in table]
    return run.budget.seconds_for_refit(
        fit_seconds=float(table["mean_fit_time"][best]),
        size_ratio=run.trials.size_ratio,
        was_cut_short=StopReason.TIME_BUDGET.value in reasons,
    )


def _min_epochs(run: SearchRun, results: SearchResults) -> int:
    """Return the number of epochs before which the refit is not cut short.

    The refit may take longer to start than the fits did: a process that has not trained before
    starts TensorFlow and traces a graph first.
    """
    table, best = results.cv_results, results.best_index
    names = [f"split{split}_n_epochs" for split in range(run.trials.n_splits)]
    n_epochs = np.array([table[name][best] for name in names if name in table], dtype=float)
    return 0 if np.isnan(n_epochs).all() else int(np.nanmax(n_epochs))


def _fit(estimator: Any, run: SearchRun, results: SearchResults) -> Refitted:
    """Fit with a time limit, which the parameters do not show afterwards."""
    seconds, min_epochs = _seconds(run, results), _min_epochs(run, results)
    limits = {} if seconds is None else time_limits(estimator, seconds, min_epochs)
    estimator.set_params(**limits)
    targets = () if run.y is None else (run.y,)
    started = time.monotonic()
    with run.callbacks.refitting(estimator):
        estimator.fit(run.X, *targets, **run.work.fit_params)
    fit_seconds = time.monotonic() - started
    remove_limits(estimator)
    network = trained_network(estimator)
    was_cut_short = (
        bool(limits)
        and getattr(network, "stop_reason_", None) == StopReason.TIME_BUDGET.value
        and network.n_epochs_ >= min_epochs  # earlier, it was the estimator's own limit
    )
    return Refitted(estimator, fit_seconds, was_cut_short)


def warn_of_budget(refitted: Refitted, run: SearchRun) -> None:
    """Warn if the time budget has cut the refit short, or was exceeded by it."""
    budget, late = run.budget.seconds, -(run.budget.seconds_left() or 0.0)
    if budget is None:
        return
    if refitted.was_cut_short:
        n_epochs = trained_network(refitted.estimator).n_epochs_
        message = f"time_budget={budget!r} has cut the refit short, after {n_epochs} epochs."
        category: type[Warning] = ConvergenceWarning
    elif late > max(_TOLERANCE * budget, _TOLERATED_SECONDS):
        message = (
            f"The refit ended {late:.1f} seconds after time_budget={budget!r}, because it is not "
            "trained less than the fits of the best candidate. Pass refit=False to end in time."
        )
        category = UserWarning
    else:
        return
    warnings.warn(message, category, stacklevel=level_of_user())
