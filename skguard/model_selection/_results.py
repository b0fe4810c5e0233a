"""The results of a search: one record, computed from its trials and a few settings."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from skguard._repairs import scikit_learn as repairs
from skguard.exceptions import TooManyFailedTrialsError
from skguard.model_selection._status import CandidateStatus, StopReason
from skguard.model_selection._table import (
    columns,
    completed_only,
    histories,
    metric_names,
    rank_failed_last,
    raw_scores,
)
from skguard.model_selection._trials import Decision, FailedTrial, Trials

__all__ = [
    "NO_FITS",
    "Refitted",
    "ResultSettings",
    "SearchResults",
    "conclusion",
    "results_table",
    "search_results",
]

NO_FITS = "No fits were performed. Was the CV iterator empty? Were there no candidates?"

Table = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class ResultSettings:
    """The settings of a search that its results depend on.

    Parameters
    ----------
    scorer : callable
    refit : bool, str or callable
    return_train_score : bool
    format_results, select_best_index, check_refit : callable
        Methods of scikit-learn's search, which subclasses may override:
        ``_format_results``, ``_select_best_index`` and ``_check_refit_for_multimetric``.
    """

    scorer: Any
    refit: Any
    return_train_score: bool
    format_results: Callable[..., Table]
    select_best_index: Callable[..., Any]
    check_refit: Callable[[Any], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Refitted:
    """The refit of the best candidate.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    seconds : float
    was_cut_short : bool
        Whether the time budget, not the estimator's own limit, has ended it.
    """

    estimator: Any
    seconds: float
    was_cut_short: bool


@dataclasses.dataclass(frozen=True, slots=True)
class SearchResults:
    """Everything that a search reports, however it ended.

    Parameters
    ----------
    stop_reason : StopReason
    error : BaseException or None
        What ``fit`` raises.
    cv_results : dict
    failed_trials : list of FailedTrial
    histories : list of list of dict or None
    scorer : callable or dict of str to callable
    multimetric : bool
    best_index : int or None, default=None
        None where no candidate is complete, or there are several scores and no refit.
    best_params : dict or None, default=None
    best_score : float or None, default=None
        None also where ``refit`` is callable.
    refitted : Refitted or None, default=None
    """

    stop_reason: StopReason
    error: BaseException | None
    cv_results: Table
    failed_trials: list[FailedTrial]
    histories: list[list[dict[str, list[float]] | None]]
    scorer: Any
    multimetric: bool
    best_index: Any = None
    best_params: dict[str, Any] | None = None
    best_score: Any = None
    refitted: Refitted | None = None


def conclusion(trials: Trials, ended: Decision, time_budget: float | None) -> Decision:
    """Return `ended`, with an error if there is none and no candidate could be the best."""
    candidates = trials.started_candidates()
    completed = (trials.status(c) is CandidateStatus.COMPLETED for c in candidates)
    if ended.error is not None or any(completed):
        return ended
    if ended.stop is StopReason.TIME_BUDGET:
        message = (
            f"time_budget={time_budget!r} was over before one candidate was complete: pass more "
            f"seconds. {len(trials.outcomes)} fits had ended.\n{trials.failures()}"
        )
        return Decision(StopReason.TIME_BUDGET, TimeoutError(message))
    if not trials.params:
        return Decision(StopReason.ERROR, ValueError(NO_FITS))
    message = f"All {len(candidates)} trials failed.\n{trials.failures()}"
    return Decision(StopReason.FAILED_TRIALS, TooManyFailedTrialsError(message))


def search_results(
    trials: Trials,
    settings: ResultSettings,
    ended: Decision,
    table: Table | None = None,
) -> SearchResults:
    """Compute the results of a search that has ended.

    Parameters
    ----------
    trials : Trials
    settings : ResultSettings
    ended : Decision
        Its error is never replaced: a second one is added to it as a note.
    table : dict or None, default=None
        The results table of all candidates, if it has been computed already.

    Returns
    -------
    SearchResults
    """
    named = repairs.named_scorers(settings.scorer)
    candidates = trials.started_candidates()
    results = SearchResults(
        stop_reason=ended.stop or StopReason.COMPLETED,
        error=ended.error,
        cv_results={"params": [], "status": np.array([], dtype=object)},
        failed_trials=trials.failed,
        histories=histories(trials, candidates),
        scorer=settings.scorer if named is None else named,
        multimetric=_names_of_scores(trials, settings) is not None,
    )
    if not candidates:
        return results
    try:
        if table is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about scores of fits that never ran
                table = results_table(trials, settings)
        results = dataclasses.replace(results, cv_results=table)
        return _with_best(results, settings, _names_of_scores(trials, settings))
    except Exception as error:
        if ended.error is None:
            return dataclasses.replace(results, stop_reason=StopReason.ERROR, error=error)
        if hasattr(ended.error, "add_note"):  # Python 3.11
            ended.error.add_note(f"The best of what had finished could not be chosen: {error!r}")
        return results


def results_table(trials: Trials, settings: ResultSettings) -> Table:
    """Return ``cv_results_`` of all candidates up to the last of which a fit has ended."""
    candidates = trials.started_candidates()
    metrics = _names_of_scores(trials, settings)
    table = settings.format_results(
        [trials.params[candidate] for candidate in candidates],
        trials.n_splits,
        raw_scores(trials, candidates, metrics, settings.return_train_score),
        {name: [values[c] for c in candidates] for name, values in trials.more_results.items()},
    )
    table |= columns(trials, candidates)
    rank_failed_last(table)
    return table


def _names_of_scores(trials: Trials, settings: ResultSettings) -> list[str] | None:
    """Return the names of the scores where there are several; None for one score."""
    named = repairs.named_scorers(settings.scorer)
    return metric_names(trials) if named is None else list(named)


def _with_best(
    results: SearchResults, settings: ResultSettings, metrics: list[str] | None
) -> SearchResults:
    """Return `results` with the best candidate among those that are complete."""
    refit, table = settings.refit, results.cv_results
    metric = "score"
    if metrics is not None:
        if not refit:
            return results
        settings.check_refit(metrics)
        metric = refit
    completed, indices = completed_only(table)
    if not len(indices):
        return results
    best = settings.select_best_index(refit, metric, table) if callable(refit) else None
    if best is None or best not in indices:
        # A callable that chose a failed candidate is called again, with the others alone.
        best = settings.select_best_index(refit, metric, completed)
        best = best if completed is table else indices[best]
    return dataclasses.replace(
        results,
        best_index=best,
        best_params=table["params"][best],
        best_score=None if callable(refit) else table[f"mean_test_{metric}"][best],
    )
