"""The state of a search: which fits are queued, how each ended, and why no more start.

A state machine without processes or clocks. A runner takes the `Trials.next` fit, reports what
is `Trials.done`, and acts on the `Decision` that it gets back. Nothing is raised here because of
how a fit ended: a decision holds the error, and the search raises it.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from skguard.exceptions import InvalidScoreError, TooManyFailedTrialsError
from skguard.model_selection._budget import Deadline, TimeBudget
from skguard.model_selection._fits import Failure, Fit, Outcome
from skguard.model_selection._status import CandidateStatus, FitStatus, StopReason

__all__ = ["Decision", "FailedTrial", "TrialRules", "Trials", "grouped"]

_MAX_CRASHES_IN_COMPANY = 2  # of one fit; after that it runs alone

_FitKey = tuple[int, int]  # candidate and split


@dataclasses.dataclass(frozen=True, slots=True)
class FailedTrial:
    """One attempt at a fit that failed, whether or not a later one succeeded.

    Parameters
    ----------
    candidate : int
        Index into ``cv_results_``.
    split : int
    params : dict
        Parameters of the candidate.
    attempt : int
        0-based.
    error : str
        Name of the class of the error; ``"InvalidScoreError"`` for a score of NaN.
    message, traceback : str
        The ``repr`` leaves the traceback out. A score of NaN has none.
    seconds : float
        Duration of the attempt.
    """

    candidate: int
    split: int
    params: dict[str, Any]
    attempt: int
    error: str
    message: str
    traceback: str = dataclasses.field(repr=False)
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class TrialRules:
    """When a fit is retried, and when a search ends.

    Parameters
    ----------
    max_retries : int
    max_consecutive_failed : int or None
    nan_score : {"fail", "accept"}
    error_score : "raise" or float
    refit_metric : str or None
        The score by which candidates are compared where there are several; None for all.
    stop_score : float or None
    """

    max_retries: int
    max_consecutive_failed: int | None
    nan_score: str
    error_score: Any
    refit_metric: str | None
    stop_score: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """The consequence of an event for the search.

    Parameters
    ----------
    stop : StopReason or None
        Why no more fits start; None while the search continues.
    error : BaseException or None
        What the search has to raise.
    """

    stop: StopReason | None = None
    error: BaseException | None = None

    @property
    def ends_now(self) -> bool:
        """Whether running fits are abandoned. A time budget lets them end, as each has a limit."""
        return self.stop is not None and self.stop is not StopReason.TIME_BUDGET


class Trials:
    """The candidates of one search with their fits.

    Parameters
    ----------
    rules : TrialRules
    n_splits : int
    budget : TimeBudget

    Attributes
    ----------
    params : list of dict
        Of every candidate.
    outcomes : dict of (candidate, split) to Outcome
        The last outcome of each fit that has ended.
    n_attempts : Counter of (candidate, split)
        Retries of the estimator itself included.
    failed : list of FailedTrial
    stop_reason : StopReason or None
        Why no more fits start.
    size_ratio : float
        Number of samples of the refit divided by that of a fit.
    more_results : dict of str to list
        Further columns of ``cv_results_``.
    """

    def __init__(self, rules: TrialRules, n_splits: int, budget: TimeBudget) -> None:
        self.rules = rules
        self.n_splits = n_splits
        self.params: list[dict[str, Any]] = []
        self.outcomes: dict[_FitKey, Outcome] = {}
        self.n_attempts: collections.Counter[_FitKey] = collections.Counter()
        self.failed: list[FailedTrial] = []
        self.stop_reason: StopReason | None = None
        self.size_ratio = 1.0
        self.more_results: dict[str, list[Any]] = collections.defaultdict(list)
        self._budget = budget
        self._queue: collections.deque[Fit] = collections.deque()
        self._crashes: collections.Counter[_FitKey] = collections.Counter()
        self._n_counted = 0  # candidates that are in _n_consecutive_failed already
        self._n_consecutive_failed = 0
        self._best_score = -math.inf
        self._fit_seconds_of_best = 0.0
        self._lock = threading.Lock()  # joblib takes from the queue in another thread

    def add(
        self,
        candidates: Iterable[dict[str, Any]],
        callbacks: Sequence[Any],
        size_ratio: float = 1.0,
        more_results: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """Queue the fits of more candidates, in order.

        Parameters
        ----------
        candidates : iterable of dict
        callbacks : sequence
            One for each fit, see `skguard._repairs.scikit_learn.Callbacks.for_fits`.
        size_ratio : float, default=1.0
            See the attribute, for these and all later fits.
        more_results : mapping of str to sequence or None, default=None
            Further columns of ``cv_results_``, with one value for each candidate.
        """
        candidates = list(candidates)
        first = len(self.params)
        self.params += candidates
        self.size_ratio = size_ratio
        for name, values in (more_results or {}).items():
            self.more_results[name].extend(values)
        for number, params in enumerate(candidates):
            for split in range(self.n_splits):
                self._queue.append(
                    Fit(
                        first + number,
                        split,
                        params,
                        progress=(number, len(candidates), self.n_splits),
                        callbacks=callbacks[number * self.n_splits + split],
                    )
                )

    @property
    def n_queued(self) -> int:
        """The number of fits that have not been taken."""
        return len(self._queue)

    def queued_candidates(self) -> set[int]:
        """Return the candidates with fits that are queued."""
        return {fit.candidate for fit in self._queue}

    def check_budget(self) -> Decision:
        """Stop the search if the time for fits is over and some have not started."""
        with self._lock:
            if self.stop_reason is None and self._queue:
                seconds = self.seconds_for_fits()
                if seconds is not None and seconds <= 0:
                    self.stop_reason = StopReason.TIME_BUDGET
            return Decision(self.stop_reason)

    def next(self, n_running: int = 0) -> Fit | None:
        """Take the next fit from the queue; None if there is none that may start now."""
        with self._lock:
            if self.stop_reason is not None or not self._queue:
                return None
            if self._queue[0].alone and n_running:
                return None
            return self._queue.popleft()

    def unfinished(self, fits: Iterable[Fit]) -> None:
        """Queue fits again that ended for a reason outside of them."""
        with self._lock:
            for fit in reversed(list(fits)):
                if fit.key not in self.outcomes:
                    self._queue.appendleft(fit)

    def seconds_for_fits(self) -> float | None:
        """Return for how many seconds fits may start; None means without limit."""
        return self._budget.seconds_for_fits(self._expected_refit_seconds())

    def seconds_for(self, fit: Fit) -> float | None:
        """Return after how many seconds `fit` is cut short if it starts now; None is never."""
        if fit.may_take_all:
            return self.seconds_for_fits()
        n_open_splits = 1
        if not self._fit_seconds_of_best:
            splits = range(self.n_splits)
            n_open_splits = sum((fit.candidate, split) not in self.outcomes for split in splits)
        return self._budget.seconds_for_fit(self._expected_refit_seconds(), n_open_splits)

    def deadline_of(self, fit: Fit) -> Deadline | None:
        """Return when `fit` is cut short if it starts now."""
        return Deadline.after(self.seconds_for(fit))

    def _expected_refit_seconds(self) -> float:
        return self.size_ratio * self._fit_seconds_of_best

    def done(self, outcome: Outcome) -> Decision:
        """Record how a fit ended, and queue it again where it is to be retried.

        Returns
        -------
        Decision
            Its error is that of the fit if it is fatal or if ``error_score="raise"``, or a
            `TooManyFailedTrialsError`.
        """
        with self._lock:
            fit = outcome.fit
            if fit.key in self.outcomes:
                return Decision(self.stop_reason)
            if outcome.is_untrained:
                return self._requeue(fit)
            outcome = self._record(outcome)
            failure = outcome.failure
            if failure is not None and (retry := self._retry_of(fit, failure)) is not None:
                self._queue.appendleft(retry)
                return Decision(self.stop_reason)
            self._close(outcome)
            self._compare_with_best(fit.candidate)
            decision = (
                self._stop_for_failure(failure)
                or self._stop_for_consecutive_failures()
                or self._stop_for_score(fit.candidate)
                or Decision(self.stop_reason)
            )
            self.stop_reason = decision.stop
            return decision

    def keep(self, outcome: Outcome) -> None:
        """Record how a fit ended after the search has."""
        with self._lock:
            if outcome.fit.key not in self.outcomes and not outcome.is_untrained:
                self._close(self._record(outcome))

    def _requeue(self, fit: Fit) -> Decision:
        """Retry a fit whose part of the time was over before its first epoch, with all of it."""
        if not fit.may_take_all:
            self._queue.appendleft(dataclasses.replace(fit, may_take_all=True))
        elif self.stop_reason is None:
            self.stop_reason = StopReason.TIME_BUDGET
        return Decision(self.stop_reason)

    def _record(self, outcome: Outcome) -> Outcome:
        """Count the attempt, and note its failure."""
        outcome = self._judged(outcome)
        fit, failure = outcome.fit, outcome.failure
        self.n_attempts[fit.key] += outcome.training.n_attempts
        if failure is not None:
            self.failed.append(
                FailedTrial(
                    candidate=fit.candidate,
                    split=fit.split,
                    params=fit.params,
                    attempt=fit.attempt,
                    error=failure.error,
                    message=failure.message,
                    traceback=failure.traceback,
                    seconds=outcome.seconds,
                )
            )
        return outcome

    def _close(self, outcome: Outcome) -> None:
        """Keep `outcome` as the last one of its fit."""
        if outcome.failure is not None:
            # Without the exception, whose traceback holds references to models and data.
            kept = dataclasses.replace(outcome.failure, exception=None)
            outcome = dataclasses.replace(outcome, failure=kept)
        self.outcomes[outcome.fit.key] = dataclasses.replace(outcome, scoring_failures={})

    def _judged(self, outcome: Outcome) -> Outcome:
        """Return `outcome` as a failure if a score that decides is missing or NaN."""
        if outcome.failure is not None:
            return outcome
        failure = None
        for name, score in self._deciding_scores(outcome).items():
            if name in outcome.scoring_failures:
                failure = outcome.scoring_failures[name]
            elif math.isnan(score) and self.rules.nan_score == "fail":
                failure = _nan_failure()
        return dataclasses.replace(outcome, failure=failure)

    def _retry_of(self, fit: Fit, failure: Failure) -> Fit | None:
        if failure.status is FitStatus.WORKER_DIED:
            self._crashes[fit.key] += 1
        if failure.is_fatal or not failure.may_retry or fit.attempt >= self.rules.max_retries:
            return None
        # Perhaps it and another fit took more memory together than there is.
        alone = self._crashes[fit.key] >= _MAX_CRASHES_IN_COMPANY
        return dataclasses.replace(fit, attempt=fit.attempt + 1, alone=alone)

    def _stop_for_failure(self, failure: Failure | None) -> Decision | None:
        if failure is None or (not failure.is_fatal and self.rules.error_score != "raise"):
            return None
        error = failure.exception
        if error is None:  # it could not be sent from the worker process
            error = RuntimeError(f"{failure.error}: {failure.message}\n{failure.traceback}")
        return Decision(StopReason.of_error(failure.exception), error)

    def _stop_for_consecutive_failures(self) -> Decision | None:
        """Count in the order of the candidates, whichever ends first."""
        limit = self.rules.max_consecutive_failed
        while self._n_counted < len(self.params):
            status = self.status(self._n_counted)
            if status not in (CandidateStatus.COMPLETED, CandidateStatus.FAILED):
                return None
            self._n_counted += 1
            failed = status is CandidateStatus.FAILED
            if failed and self._was_pruned(self._n_counted - 1):
                continue
            self._n_consecutive_failed = self._n_consecutive_failed + 1 if failed else 0
            if limit is not None and self._n_consecutive_failed >= limit:
                message = (
                    f"{limit} consecutive trials failed, which is the limit that "
                    f"max_consecutive_failed_trials={limit} sets.\n{self.failures()}"
                )
                return Decision(StopReason.FAILED_TRIALS, TooManyFailedTrialsError(message))
        return None

    def _was_pruned(self, candidate: int) -> bool:
        """Return whether all failures of a candidate are decisions of another search."""
        failures = [o.failure for o in self._outcomes_of(candidate) if o.failure is not None]
        return all(failure.is_pruned for failure in failures)

    def _compare_with_best(self, candidate: int) -> None:
        """Expect the refit to take as long as the fits of the best candidate so far."""
        if self.status(candidate) is not CandidateStatus.COMPLETED:
            return
        score = self._mean_score(candidate)
        if score > self._best_score or not self._fit_seconds_of_best:
            outcomes = self._outcomes_of(candidate)
            times = [outcome.scores["fit_time"] for outcome in outcomes if outcome.scores]
            self._best_score, self._fit_seconds_of_best = score, float(np.mean(times))

    def _stop_for_score(self, candidate: int) -> Decision | None:
        stop_score = self.rules.stop_score
        if stop_score is None or self.status(candidate) is not CandidateStatus.COMPLETED:
            return None
        names = sorted(self._deciding_scores(self._outcomes_of(candidate)[0]))
        if self.rules.refit_metric is None and len(names) > 1:
            message = (
                f"stop_score={stop_score!r} needs one score to compare with, and the scorer "
                f"returned several. Pass one of {names} as refit."
            )
            return Decision(StopReason.ERROR, ValueError(message))
        return (
            Decision(StopReason.STOP_SCORE) if self._mean_score(candidate) >= stop_score else None
        )

    def _mean_score(self, candidate: int) -> float:
        """Return the mean of the scores that decide; NaN counts as the lowest score."""
        scores = [
            score
            for outcome in self._outcomes_of(candidate)
            for score in self._deciding_scores(outcome).values()
        ]
        mean = float(np.mean(scores))
        return -math.inf if math.isnan(mean) else mean

    def _outcomes_of(self, candidate: int) -> list[Outcome]:
        keys = [(candidate, split) for split in range(self.n_splits)]
        return [self.outcomes[key] for key in keys if key in self.outcomes]

    def _deciding_scores(self, outcome: Outcome) -> dict[str, float]:
        """Return the scores by which candidates are compared, by name."""
        assert outcome.scores is not None
        scores = outcome.scores["test_scores"]
        if not isinstance(scores, dict):
            scores = {"score": scores}
        if self.rules.refit_metric in scores:
            scores = {self.rules.refit_metric: scores[self.rules.refit_metric]}
        return {name: float(score) for name, score in scores.items()}

    def status(self, candidate: int) -> CandidateStatus:
        """Return how far a candidate is on all its splits."""
        ended = self._outcomes_of(candidate)
        if len(ended) == self.n_splits:
            failed = any(outcome.failure is not None for outcome in ended)
            return CandidateStatus.FAILED if failed else CandidateStatus.COMPLETED
        keys = [(candidate, split) for split in range(self.n_splits)]
        if ended or any(key in self.n_attempts for key in keys):
            return CandidateStatus.INCOMPLETE
        return CandidateStatus.NOT_RUN

    def started_candidates(self) -> range:
        """Return the candidates of ``cv_results_``: all up to the last with an ended attempt."""
        ended = [candidate for candidate, _ in self.n_attempts]
        return range(max(ended, default=-1) + 1)

    def failures(self) -> str:
        """Return every kind of failure with its count, and the last traceback."""
        last = next((f.traceback for f in reversed(self.failed) if f.traceback), "")
        groups = "\n".join(grouped(self.failed))
        return f"{groups}\nThe last traceback:\n{last}" if last else groups


def _nan_failure() -> Failure:
    """Return a failure without traceback and for any ``retry_on``, as nothing was raised."""
    error = InvalidScoreError("The score is NaN. Pass nan_score='accept' to allow that.")
    return Failure(
        FitStatus.FAILED,
        type(error).__name__,
        str(error),
        traceback="",
        exception=error,
        may_retry=True,
    )


def grouped(failed: Iterable[FailedTrial]) -> list[str]:
    """Return one line for each different error, the most frequent first."""
    groups: dict[tuple[str, str], list[FailedTrial]] = {}
    for failure in failed:
        groups.setdefault((failure.error, failure.message), []).append(failure)
    lines = []
    for (error, message), members in sorted(groups.items(), key=lambda item: -len(item[1])):
        candidates = sorted({failure.candidate for failure in members})
        shown = ", ".join(map(str, candidates[:10])) + (", ..." if len(candidates) > 10 else "")
        noun = "candidate" if len(candidates) == 1 else "candidates"
        text = message.strip() or "(no message)"
        lines.append(f"{len(members)} x {error}: {text} ({noun} {shown})")
    return lines
