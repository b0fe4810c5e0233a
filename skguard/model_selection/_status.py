"""Closed sets of words: how a fit and a candidate ended, and why a search did.

Each member is a string. ``cv_results_`` and the attributes of a search hold the plain values.
"""

from __future__ import annotations

import enum

__all__ = ["CandidateStatus", "FitStatus", "StopReason"]


class _Word(str, enum.Enum):
    def __str__(self) -> str:
        return str(self.value)


class FitStatus(_Word):
    """How one fit ended, all its attempts included."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    WORKER_DIED = "worker_died"
    NOT_RUN = "not_run"


class CandidateStatus(_Word):
    """How far a candidate is on all its splits."""

    COMPLETED = "completed"
    FAILED = "failed"
    INCOMPLETE = "incomplete"
    NOT_RUN = "not_run"


class StopReason(_Word):
    """Why a search ended: the value of its ``stop_reason_``."""

    COMPLETED = "completed"
    TIME_BUDGET = "time_budget"
    STOP_SCORE = "stop_score"
    FAILED_TRIALS = "failed_trials"
    FATAL_ERROR = "fatal_error"
    INTERRUPTED = "interrupted"
    ERROR = "error"

    @classmethod
    def of_error(cls, error: BaseException | None) -> StopReason:
        """Return the reason of a search that `error` ended; None is an unknown error."""
        if isinstance(error, KeyboardInterrupt):
            return cls.INTERRUPTED
        if error is None or isinstance(error, Exception):
            return cls.ERROR
        return cls.FATAL_ERROR
