"""The book of a search: what is still to do, what has ended how, and when it is over.

It knows nothing of processes. Whoever runs the fits asks it for the `next` one and tells it
what is `done`.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from skguard.exceptions import TooManyFailedTrialsError
from skguard.model_selection._fits import Failure, Fit, Outcome

__all__ = ["FailedTrial", "Rules", "Trials", "grouped"]


@dataclasses.dataclass(frozen=True, slots=True)
class FailedTrial:
    """One attempt at a fit that failed, whether or not a later one succeeded.

    Parameters
    ----------
    candidate : int
        Row of ``cv_results_``.
    split : int
    params : dict
        Those of the candidate.
    attempt : int
        Counted from 0.
    error : str
        Name of the class of what was raised; ``"NaN score"`` where nothing was.
    message, traceback : str
        The ``repr`` leaves the traceback out.
    seconds : float
        How long the attempt took.
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
class Rules:
    """When a fit is tried again, and when a search is over.

    Parameters
    ----------
    max_retries : int
    max_consecutive_failed : int or None
    nan_score : {"fail", "accept"}
    error_score : "raise" or float
    refit_metric : str or None
        The score that decides where there are several; None for all of them.
    stop_score : float or None
    deadline : float or None
        See ``time.time``.
    n_jobs : int
        How many fits may run at once.
    expected_refit : callable
        Takes the mean time that the fits of a candidate took, in seconds; returns how long the
        refit will take.
    """

    max_retries: int
    max_consecutive_failed: int | None
    nan_score: str
    error_score: Any
    refit_metric: str | None
    stop_score: float | None
    deadline: float | None
    n_jobs: int
    expected_refit: Callable[[float], float]


class Trials:
    """The candidates of one search with their fits.

    Parameters
    ----------
    rules : Rules
    n_splits : int

    Attributes
    ----------
    params : list of dict
        Of every candidate.
    outcomes : dict of (candidate, split) to Outcome
        The last of each fit that is over.
    failed : list of FailedTrial
    stopped : str or None
        Why no more fits start.
    """

    def __init__(self, rules: Rules, n_splits: int) -> None:
        self.rules = rules
        self.n_splits = n_splits
        self.params: list[dict[str, Any]] = []
        self.outcomes: dict[tuple[int, int], Outcome] = {}
        self.n_attempts: collections.Counter[tuple[int, int]] = collections.Counter()
        self.failed: list[FailedTrial] = []
        self.stopped: str | None = None
        self._queue: collections.deque[Fit] = collections.deque()
        self._crashes: collections.Counter[tuple[int, int]] = collections.Counter()
        self._to_count = 0  # the first candidate that is not counted yet
        self._failed_in_a_row = 0
        self._best_score = -math.inf
        self._fit_time_of_best = 0.0
        self._lock = threading.Lock()  # joblib takes from the queue in a thread of its own

    def add(self, candidates: Iterable[dict[str, Any]], callbacks: list[Any]) -> None:
        """Queue the fits of more candidates, in order."""
        candidates = list(candidates)
        first = len(self.params)
        self.params += candidates
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

    def next(self, n_running: int = 0) -> Fit | None:
        """The next fit to start, or None if there is none that may start now."""
        with self._lock:
            if self._is_stopped() or not self._queue:
                return None
            if self._queue[0].alone and n_running:
                return None
            return self._queue.popleft()

    def unfinished(self, fits: Iterable[Fit]) -> None:
        """Put fits back that something else than themselves has ended."""
        with self._lock:
            for fit in reversed(list(fits)):
                if (fit.candidate, fit.split) not in self.outcomes:
                    self._queue.appendleft(fit)

    def waiting(self) -> set[int]:
        """The candidates with fits that are queued."""
        return {fit.candidate for fit in self._queue}

    @property
    def n_queued(self) -> int:
        return len(self._queue)

    def is_stopped(self) -> bool:
        """Whether no more fits start."""
        with self._lock:
            return self._is_stopped()

    def _is_stopped(self) -> bool:
        deadline = self.fit_deadline()
        if self.stopped is None and self._queue and deadline is not None:
            self.stopped = "time_budget" if time.time() >= deadline else None
        return self.stopped is not None

    def fit_deadline(self) -> float | None:
        """After which no fit starts, see ``time.time``: the refit has its time after it."""
        if self.rules.deadline is None:
            return None
        return self.rules.deadline - self.rules.expected_refit(self._fit_time_of_best)

    def fit_end(self, fit: Fit) -> float | None:
        """When `fit` is cut short if it starts now, see ``time.time``.

        A refit that takes as long has its time then, and, while no candidate is complete, the
        other splits of this one.
        """
        deadline = self.fit_deadline()
        if deadline is None or self.rules.deadline is None or fit.may_take_all:
            return deadline
        n_rounds = 1
        if not self._fit_time_of_best:
            splits = [(fit.candidate, split) for split in range(self.n_splits)]
            n_open = sum(key not in self.outcomes for key in splits)
            n_rounds = max(math.ceil(n_open / self.rules.n_jobs), 1)
        if self.rules.expected_refit(1.0):
            n_rounds += 1
        now = time.time()
        return min(deadline, now + (self.rules.deadline - now) / n_rounds)

    def done(self, outcome: Outcome) -> None:
        """Record how a fit ended.

        Raises
        ------
        BaseException
            What ends the search: the fit's own error if it is fatal, or if errors are to be
            raised; `TooManyFailedTrialsError`.
        """
        with self._lock:
            key = outcome.fit.candidate, outcome.fit.split
            if key in self.outcomes:
                return
            if outcome.is_untrained:
                self._put_off(outcome.fit)
                return
            outcome = self._record(outcome)
            failure = outcome.failure
            if failure is not None and self._is_tried_again(outcome.fit, failure):
                return
            self._close(outcome)
            if failure is not None:
                self._raise_where_it_ends_the_search(failure)
            self._count_failures_in_a_row()
            self._look_at_score(outcome.fit.candidate)

    def keep(self, outcome: Outcome) -> None:
        """Record how a fit ended when the search is over already."""
        with self._lock:
            key = outcome.fit.candidate, outcome.fit.split
            if key not in self.outcomes and not outcome.is_untrained:
                self._close(self._record(outcome))

    def _put_off(self, fit: Fit) -> None:
        """Try a fit again for which its share of the time was too short to begin."""
        if fit.may_take_all:
            self.stopped = self.stopped or "time_budget"
        else:
            self._queue.appendleft(dataclasses.replace(fit, may_take_all=True))

    def _record(self, outcome: Outcome) -> Outcome:
        outcome = self._judged(outcome)
        fit, failure = outcome.fit, outcome.failure
        self.n_attempts[fit.candidate, fit.split] += outcome.training.n_attempts
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
        if outcome.failure is not None:
            # Without the exception, whose traceback holds on to models and rows.
            kept = dataclasses.replace(outcome.failure, exception=None)
            outcome = dataclasses.replace(outcome, failure=kept)
        outcome = dataclasses.replace(outcome, scoring_failures={})
        self.outcomes[outcome.fit.candidate, outcome.fit.split] = outcome

    def _judged(self, outcome: Outcome) -> Outcome:
        """`outcome`, a failure where a score that decides is missing or not a number."""
        if outcome.failure is not None:
            return outcome
        failure = None
        for name, score in self._deciding(outcome).items():
            if name in outcome.scoring_failures:
                failure = outcome.scoring_failures[name]
            elif math.isnan(score) and self.rules.nan_score == "fail":
                message = "the score is NaN. nan_score='accept' lets it be."
                failure = Failure("failed", "NaN score", message, traceback="", may_retry=True)
        return dataclasses.replace(outcome, failure=failure)

    def _is_tried_again(self, fit: Fit, failure: Failure) -> bool:
        key = fit.candidate, fit.split
        if failure.status == "worker_died":
            self._crashes[key] += 1
        if failure.is_fatal or not failure.may_retry or fit.attempt >= self.rules.max_retries:
            return False
        # Twice in a crash: perhaps it and another together took more memory than there is.
        alone = self._crashes[key] >= 2
        self._queue.appendleft(dataclasses.replace(fit, attempt=fit.attempt + 1, alone=alone))
        return True

    def _raise_where_it_ends_the_search(self, failure: Failure) -> None:
        if not failure.is_fatal and self.rules.error_score != "raise":
            return
        if isinstance(failure.exception, KeyboardInterrupt):
            self.stopped = "interrupted"
        elif failure.exception is None or isinstance(failure.exception, Exception):
            self.stopped = "error"
        else:
            self.stopped = "fatal_error"
        if failure.exception is not None:
            raise failure.exception
        raise RuntimeError(f"{failure.error}: {failure.message}\n{failure.traceback}")

    def _count_failures_in_a_row(self) -> None:
        """In the order of the candidates, whichever ends first."""
        while self._to_count < len(self.params):
            status = self.status(self._to_count)
            if status not in ("completed", "failed"):
                return
            self._to_count += 1
            self._failed_in_a_row = self._failed_in_a_row + 1 if status == "failed" else 0
            limit = self.rules.max_consecutive_failed
            if limit is not None and self._failed_in_a_row >= limit:
                self.stopped = "failed_trials"
                raise TooManyFailedTrialsError(
                    f"{limit} trials in a row failed, which is what "
                    f"max_consecutive_failed_trials={limit} allows.\n{self.failures()}"
                )

    def _look_at_score(self, candidate: int) -> None:
        if self.status(candidate) != "completed":
            return
        outcomes = [self.outcomes[candidate, split] for split in range(self.n_splits)]
        score = float(np.mean([score for o in outcomes for score in self._deciding(o).values()]))
        if math.isnan(score):
            score = -math.inf
        if score > self._best_score or not self._fit_time_of_best:
            times = [outcome.scores["fit_time"] for outcome in outcomes if outcome.scores]
            self._best_score, self._fit_time_of_best = score, float(np.mean(times))
        if self.rules.stop_score is None:
            return
        if self.rules.refit_metric is None and len(self._deciding(outcomes[0])) > 1:
            self.stopped = "error"
            raise ValueError(
                f"stop_score={self.rules.stop_score!r} needs to know which of the scores: give "
                f"one of {sorted(self._deciding(outcomes[0]))} as refit."
            )
        if score >= self.rules.stop_score:
            self.stopped = "stop_score"

    def status(self, candidate: int) -> str:
        """Of a candidate: ``completed``, ``failed``, ``incomplete`` or ``not_run``."""
        keys = [(candidate, split) for split in range(self.n_splits)]
        over = [self.outcomes[key] for key in keys if key in self.outcomes]
        if not over:
            return "incomplete" if any(key in self.n_attempts for key in keys) else "not_run"
        if any(outcome.failure is not None for outcome in over):
            return "failed" if len(over) == self.n_splits else "incomplete"
        return "completed" if len(over) == self.n_splits else "incomplete"

    def rows(self) -> range:
        """The candidates in ``cv_results_``: all up to the last of which any attempt has ended."""
        ended = [candidate for candidate, _ in self.n_attempts]
        return range(max(ended, default=-1) + 1)

    def failures(self) -> str:
        """Every kind of failure with its number, and the last traceback."""
        last = next((f.traceback for f in reversed(self.failed) if f.traceback), "")
        groups = "\n".join(grouped(self.failed))
        return f"{groups}\nThe last traceback:\n{last}" if last else groups

    def _deciding(self, outcome: Outcome) -> dict[str, float]:
        """The scores that say which candidate is best, by name."""
        assert outcome.scores is not None
        scores = outcome.scores["test_scores"]
        if not isinstance(scores, dict):
            scores = {"score": scores}
        if self.rules.refit_metric in scores:
            scores = {self.rules.refit_metric: scores[self.rules.refit_metric]}
        return {name: float(score) for name, score in scores.items()}


def grouped(failed: Iterable[FailedTrial]) -> list[str]:
    """A line for each different error, the commonest first."""
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
