"""Division of a search's ``time_budget`` among its fits and the refit.

The only module that knows what time it is for a budget. It measures with ``time.monotonic``,
which no adjustment of the system clock changes. A `Deadline` alone is a time of day.
"""

from __future__ import annotations

import dataclasses
import math
import time

__all__ = ["Deadline", "TimeBudget"]


@dataclasses.dataclass(frozen=True, slots=True)
class TimeBudget:
    """The wall-clock time of one search, which starts when this is made.

    Parameters
    ----------
    seconds : float or None
        None means without limit; every method then returns None, or False.
    n_jobs : int, default=1
        Number of fits that may run at once.
    with_refit : bool, default=True
        Whether time is reserved for a refit.
    """

    seconds: float | None
    n_jobs: int = 1
    with_refit: bool = True
    _started: float = dataclasses.field(default_factory=lambda: time.monotonic())

    def seconds_left(self) -> float | None:
        """Return what is left of the budget, in seconds, which may be negative."""
        return None if self.seconds is None else self._started + self.seconds - time.monotonic()

    def is_over(self) -> bool:
        """Return whether the whole budget is used up."""
        left = self.seconds_left()
        return left is not None and left < 0

    def seconds_for_fits(self, refit_seconds: float) -> float | None:
        """Return for how many seconds fits may start: the refit has its time after that.

        Parameters
        ----------
        refit_seconds : float
            Expected duration of the refit; 0 if it is not known yet.
        """
        left = self.seconds_left()
        if left is None:
            return None
        return left - refit_seconds if self.with_refit else left

    def seconds_for_fit(self, refit_seconds: float, n_open_splits: int) -> float | None:
        """Return the limit of a fit that starts now, in seconds.

        A refit of the same duration then has its time, and so have the other splits.

        Parameters
        ----------
        refit_seconds : float
            See `seconds_for_fits`.
        n_open_splits : int
            Splits of the candidate that have not ended; 1 once any candidate is complete, as
            the search then has a result without the other splits.
        """
        left, for_fits = self.seconds_left(), self.seconds_for_fits(refit_seconds)
        if left is None or for_fits is None:
            return None
        n_rounds = max(math.ceil(n_open_splits / self.n_jobs), 1) + self.with_refit
        return min(for_fits, left / n_rounds)

    def seconds_for_refit(
        self, fit_seconds: float, size_ratio: float, was_cut_short: bool
    ) -> float | None:
        """Return the limit of the refit, in seconds.

        All that is left, but no less than twice as long as expected or, where a fit of the
        best candidate was cut short, as long as those fits took.

        Parameters
        ----------
        fit_seconds : float
            Mean duration of the best candidate's fits.
        size_ratio : float
            Number of samples of the refit divided by that of a fit.
        was_cut_short : bool
        """
        left = self.seconds_left()
        if left is None:
            return None
        return max(left, fit_seconds if was_cut_short else 2 * size_ratio * fit_seconds)


@dataclasses.dataclass(frozen=True, slots=True)
class Deadline:
    """When a fit is cut short, in a form that reaches other processes and machines.

    It is the time of day: a fit may wait in the queue of joblib's backend, so a number of
    seconds would start to count too late, and ``time.monotonic`` of one machine says nothing
    on another.

    Parameters
    ----------
    timestamp : float
        See ``time.time``.
    """

    timestamp: float

    @classmethod
    def after(cls, seconds: float | None) -> Deadline | None:
        """Return the deadline in `seconds` from now; None means without limit."""
        return None if seconds is None else cls(time.time() + seconds)

    def seconds_left(self) -> float:
        """Return how many seconds are left, which may be negative."""
        return self.timestamp - time.time()
