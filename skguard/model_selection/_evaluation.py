"""The evaluation of candidates, between scikit-learn's loop over them and the runner of fits."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from skguard._repairs import scikit_learn as repairs
from skguard.model_selection import _checks
from skguard.model_selection._budget import TimeBudget
from skguard.model_selection._fits import Work
from skguard.model_selection._results import NO_FITS, ResultSettings, results_table
from skguard.model_selection._runners import Runner
from skguard.model_selection._status import CandidateStatus
from skguard.model_selection._trials import Decision, Trials

__all__ = ["Evaluation", "SearchRun"]


@dataclasses.dataclass(frozen=True, slots=True)
class SearchRun:
    """The input of one call of a search's ``fit``, validated, and its trials.

    Parameters
    ----------
    X, y : array-like
    cv : splitter
    split_params : dict
        For ``cv.split``.
    work : Work
    callbacks : Callbacks
        Of scikit-learn.
    budget : TimeBudget
    trials : Trials
    settings : ResultSettings
    """

    X: Any
    y: Any
    cv: Any
    split_params: dict[str, Any]
    work: Work
    callbacks: repairs.Callbacks
    budget: TimeBudget
    trials: Trials
    settings: ResultSettings


class _Ended(Exception):  # noqa: N818, it is not an error
    """Ends scikit-learn's loop over candidates, which offers no other way to leave it."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)
        self.decision = decision


class Evaluation:
    """The function ``evaluate_candidates`` that scikit-learn's loops over candidates call.

    Parameters
    ----------
    run : SearchRun
    runner : Runner
    """

    def __init__(self, run: SearchRun, runner: Runner) -> None:
        self._run = run
        self._runner = runner
        self._table: dict[str, Any] | None = None

    def all_of(
        self, run_search: Callable[..., None], **kwargs: Any
    ) -> tuple[Decision, dict[str, Any] | None]:
        """Evaluate the candidates of scikit-learn's loop `run_search`.

        Returns
        -------
        decision : Decision
            Why the loop was left, if it was.
        table : dict or None
            ``cv_results_`` of all candidates; None if the loop was left.
        """
        try:
            run_search(self, **kwargs)
        except _Ended as ended:
            return ended.decision, None
        return Decision(self._run.trials.stop_reason), self._table

    def __call__(
        self,
        candidate_params: Any,
        cv: Any = None,
        more_results: dict[str, list[Any]] | None = None,
        callback_ctx: Any = None,
    ) -> dict[str, Any]:
        run, more_results = self._run, more_results or {}
        candidates = list(candidate_params)
        splits = self._splits(cv or run.cv)
        self._check(candidates, more_results)
        contexts = run.callbacks.for_fits(callback_ctx, candidates, len(splits))
        n_train = float(np.mean([len(train) for train, _ in splits]))
        size_ratio = repairs.n_samples(run.X) / max(n_train, 1)
        run.trials.add(candidates, contexts, size_ratio, more_results)
        decision = self._runner.run(run.trials, splits)
        if decision.stop is not None:
            raise _Ended(decision)
        self._table = results_table(run.trials, run.settings)
        return _without_failed(self._table)

    def _splits(self, cv: Any) -> list[Any]:
        run = self._run
        splits = list(cv.split(run.X, run.y, **run.split_params))
        if len(splits) != run.trials.n_splits:
            raise ValueError(
                "cv.split and cv.get_n_splits return inconsistent results. Expected "
                f"{run.trials.n_splits} splits, got {len(splits)}"
            )
        return splits

    def _check(self, candidates: list[dict[str, Any]], more_results: dict[str, Any]) -> None:
        """Raise if the candidates cannot be evaluated; announce them otherwise."""
        n_splits = self._run.trials.n_splits
        if not candidates or not n_splits:
            raise ValueError(NO_FITS)
        if "status" in more_results:
            raise ValueError(
                "more_results must not have the name 'status', which is a column of every "
                "guarded search."
            )
        if self._run.work.verbose > 0:
            sys.stdout.write(
                f"Fitting {n_splits} folds for each of {len(candidates)} candidates, "
                f"totalling {len(candidates) * n_splits} fits\n"
            )
        _checks.check_names(self._run.work.estimator, candidates)


def _without_failed(table: dict[str, Any]) -> dict[str, Any]:
    """Return `table` without the scores of failed candidates, for loops that compare them."""
    failed = table["status"] == CandidateStatus.FAILED.value
    return {
        name: np.where(failed, np.nan, values) if name.startswith("mean_test_") else values
        for name, values in table.items()
    }
