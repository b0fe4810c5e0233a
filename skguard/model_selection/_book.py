"""What a search gets from its trials: its attributes, however it ends."""

from __future__ import annotations

import collections
import inspect
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import FitFailedWarning

from skguard._repairs import scikit_learn as repairs
from skguard.exceptions import TooManyFailedTrialsError
from skguard.model_selection import _results as reports
from skguard.model_selection._trials import Trials

__all__ = ["NO_FITS", "Book", "level_of_user"]


def level_of_user() -> int:
    """The ``stacklevel`` of a warning of the calling function, about the user's own line."""
    level, frame = 0, inspect.currentframe()
    while frame is not None:
        package = (frame.f_globals.get("__name__") or "").split(".")[0]
        if package not in ("skguard", "sklearn"):
            break
        level, frame = level + 1, frame.f_back
    return level


NO_FITS = "No fits were performed. Was the CV iterator empty? Were there no candidates?"


class Book:
    """The trials of one search, and the attributes that the search gets from them.

    Parameters
    ----------
    search : GuardedSearch
    trials : Trials
    scorer : callable
    """

    def __init__(self, search: Any, trials: Trials, scorer: Any) -> None:
        self.trials = trials
        self._search = search
        self._scorer = scorer
        self._more: dict[str, list[Any]] = collections.defaultdict(list)
        self._formatted: tuple[tuple[int, int], dict[str, Any]] = ((0, 0), {})

    def add(
        self,
        candidates: list[dict[str, Any]],
        more_results: dict[str, list[Any]] | None,
        callbacks: list[Any],
    ) -> None:
        for name, values in (more_results or {}).items():
            self._more[name].extend(values)
        self.trials.add(candidates, callbacks)

    def results_for_search(self) -> dict[str, Any]:
        """What the loop over candidates chooses by: candidates that failed have no scores."""
        results = dict(self._results())
        failed = results["status"] == "failed"
        for name in [name for name in results if name.startswith("mean_test_")]:
            results[name] = np.where(failed, np.nan, results[name])
        return results

    def check_any_completed(self) -> None:
        """Refuse to end without a candidate that could be the best.

        Raises
        ------
        TooManyFailedTrialsError
        """
        trials = self.trials
        rows = trials.rows()
        if any(trials.status(candidate) == "completed" for candidate in rows):
            return
        if trials.stopped == "time_budget":
            raise TimeoutError(
                f"time_budget={self._search.time_budget!r} was over before one candidate was "
                f"complete: give more. {len(trials.outcomes)} fits had ended.\n"
                f"{trials.failures()}"
            )
        if not trials.params:
            raise ValueError(NO_FITS)
        trials.stopped = "failed_trials"
        raise TooManyFailedTrialsError(f"All {len(rows)} trials failed.\n{trials.failures()}")

    @staticmethod
    def reason_of(error: BaseException) -> str:
        """The ``stopped_`` of a search that `error` has ended."""
        if isinstance(error, KeyboardInterrupt):
            return "interrupted"
        return "error" if isinstance(error, Exception) else "fatal_error"

    def close(self, error: BaseException | None = None) -> None:
        """Set the attributes of the search, whatever has ended it."""
        search, trials = self._search, self.trials
        if error is None:
            search.stopped_ = trials.stopped or "completed"
        elif isinstance(error, KeyboardInterrupt) or trials.stopped is None:
            search.stopped_ = self.reason_of(error)
        else:
            search.stopped_ = trials.stopped
        candidates = trials.rows()
        search.failed_trials_ = trials.failed
        search.histories_ = reports.histories(trials, candidates)
        named = repairs.named_scorers(self._scorer)
        search.scorer_ = self._scorer if named is None else named
        search.multimetric_ = self._metrics() is not None
        search.cv_results_ = {"params": [], "status": np.array([], dtype=object)}
        if not candidates:
            return
        if error is None:
            with warnings.catch_warnings():
                if trials.stopped is not None:
                    warnings.simplefilter("ignore")  # of scores that are not there
                search.cv_results_ = self._results()
            self._warn()
            self._choose_best()
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                search.cv_results_ = self._results()
            self._choose_best()
        except Exception as second:  # never in the place of the first
            if hasattr(error, "add_note"):  # Python 3.11
                error.add_note(f"The best of what had finished could not be chosen: {second!r}")

    def _metrics(self) -> list[str] | None:
        named = repairs.named_scorers(self._scorer)
        return reports.metric_names(self.trials) if named is None else list(named)

    def _results(self) -> dict[str, Any]:
        trials, search = self.trials, self._search
        candidates = trials.rows()
        size = len(candidates), len(trials.outcomes)
        formatted, results = self._formatted
        if formatted == size:
            return results
        rows = reports.raw_scores(trials, candidates, self._metrics(), search.return_train_score)
        results = search._format_results(
            [trials.params[candidate] for candidate in candidates],
            trials.n_splits,
            rows,
            {name: [values[c] for c in candidates] for name, values in self._more.items()},
        )
        results |= reports.columns(trials, candidates)
        reports.rank_failed_last(results)
        self._formatted = size, results
        return results

    def _warn(self) -> None:
        fits = [outcome for outcome in self.trials.outcomes.values() if outcome.failure]
        if fits:
            warnings.warn(
                f"{len(fits)} fits failed out of a total of {len(self.trials.outcomes)}; their "
                f"score is {self._search.error_score}. failed_trials_ has all about the "
                f"{len(self.trials.failed)} attempts that failed:\n{self.trials.failures()}",
                FitFailedWarning,
                stacklevel=level_of_user(),
            )

    def _choose_best(self) -> None:
        search = self._search
        metric = "score"
        if search.multimetric_:
            if not search.refit:
                return
            search._check_refit_for_multimetric(self._metrics())
            metric = search.refit
        results, rows = reports.completed_only(search.cv_results_)
        if not len(rows):
            return
        if callable(search.refit):  # which may know the candidates by their numbers
            best = search._select_best_index(search.refit, metric, search.cv_results_)
        if not callable(search.refit) or best not in rows:
            best = search._select_best_index(search.refit, metric, results)
            best = best if results is search.cv_results_ else rows[best]
        search.best_index_ = best
        search.best_params_ = search.cv_results_["params"][search.best_index_]
        if not callable(search.refit):
            search.best_score_ = search.cv_results_[f"mean_test_{metric}"][search.best_index_]
