"""Where the fits of a search run: in this process, in workers, or on a backend of joblib."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import multiprocessing
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import joblib
import numpy as np
from sklearn.utils.parallel import Parallel, delayed

from skguard._repairs import scikit_learn as repairs
from skguard.model_selection._fits import Fit, Outcome, Work, run
from skguard.model_selection._status import StopReason
from skguard.model_selection._trials import Decision, Trials
from skguard.model_selection._workers import Workers

__all__ = ["InProcess", "OnBackend", "Placement", "Runner", "choose"]

_MAX_LOST_ROUNDS = 3  # consecutive ones in which a backend failed and no fit ended

Splits = Sequence[tuple[np.ndarray, np.ndarray]]


class Runner(Protocol):
    """Runs the fits that are queued."""

    def run(self, trials: Trials, splits: Splits) -> Decision:
        """Run fits until none is queued, or a decision ends the search; return the last one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """The parameters of a search that determine where its fits run.

    Parameters
    ----------
    n_jobs : int or None
    pre_dispatch : int or str
        See ``joblib.Parallel``.
    isolate : bool
    trial_timeout : float or None
        In seconds.
    """

    n_jobs: int | None
    pre_dispatch: int | str
    isolate: bool
    trial_timeout: float | None

    @property
    def needs_workers(self) -> bool:
        """Whether fits must run in worker processes even with one job."""
        return self.isolate or self.trial_timeout is not None

    def __str__(self) -> str:
        return f"isolate={self.isolate!r} and trial_timeout={self.trial_timeout!r}"


def choose(
    placement: Placement, work: Work, X: Any, y: Any
) -> contextlib.AbstractContextManager[Runner]:
    """Return what runs the fits of a search, to be entered.

    Raises
    ------
    ValueError
        If joblib's backend cannot do what the parameters require.
    """
    backend = repairs.active_backend()
    n_jobs = joblib.effective_n_jobs(placement.n_jobs)
    if backend.name not in ("LokyBackend", "SequentialBackend"):
        if placement.needs_workers and not backend.is_nested:
            raise ValueError(
                f"{placement} need worker processes of the search, and joblib's active backend is "
                f"{backend.name}. Leave them out, or leave joblib.parallel_config."
            )
        if not placement.needs_workers and (n_jobs > 1 or backend.name != "ThreadingBackend"):
            on_backend = OnBackend(placement.n_jobs, placement.pre_dispatch, work, X, y)
            return contextlib.nullcontext(on_backend)
    if placement.needs_workers and multiprocessing.current_process().daemon:
        raise ValueError(
            f"{placement} need worker processes, and this is a daemonic process, such as one of "
            "multiprocessing.Pool, which must not start any."
        )
    if placement.needs_workers or n_jobs > 1:
        return Workers(n_jobs, work, X, y, placement.trial_timeout, backend.n_threads)
    return contextlib.nullcontext(InProcess(work, X, y))


class InProcess:
    """Runs one fit after the other in this process.

    Parameters
    ----------
    work : Work
    X, y : array-like
    """

    def __init__(self, work: Work, X: Any, y: Any) -> None:
        self._run = functools.partial(run, work=work, X=X, y=y)

    def run(self, trials: Trials, splits: Splits) -> Decision:
        while True:
            decision = trials.check_budget()
            fit = trials.next()
            if fit is None:
                return decision
            train, test = splits[fit.split]
            outcome = self._run(fit, train=train, test=test, deadline=trials.deadline_of(fit))
            decision = trials.done(outcome)
            if decision.ends_now:
                return decision


class OnBackend:
    """Runs fits on joblib's backend: threads, or the machines of dask, ray and the like.

    A backend that fails, because a machine was lost that it could not replace, is passed the
    fits again that had not ended.

    Parameters
    ----------
    n_jobs : int or None
    pre_dispatch : int or str
        See ``joblib.Parallel``.
    work : Work
    X, y : array-like
    """

    def __init__(self, n_jobs: int | None, pre_dispatch: Any, work: Work, X: Any, y: Any) -> None:
        self._n_jobs = n_jobs
        self._pre_dispatch = pre_dispatch
        self._arguments = (work, X, y)

    def run(self, trials: Trials, splits: Splits) -> Decision:
        n_lost_rounds = 0
        decision = Decision(trials.stop_reason)
        while decision.stop is None and trials.n_queued:
            n_ended = _n_ended(trials)
            try:
                decision = self._run_round(trials, splits)
            except _BackendError as error:
                decision = Decision(trials.stop_reason)
                n_lost_rounds = 1 if _n_ended(trials) > n_ended else n_lost_rounds + 1
                if n_lost_rounds >= _MAX_LOST_ROUNDS:
                    cause = _explained(error, n_lost_rounds, trials)
                    return Decision(StopReason.of_error(cause), cause)
        return decision

    def _run_round(self, trials: Trials, splits: Splits) -> Decision:
        """Run the queue until it is empty, a decision ends the search or the backend fails."""
        running: dict[tuple[int, int], Fit] = {}
        outcomes: Any = iter(())
        try:
            with _backend_errors(), repairs.never_in_this_process():
                outcomes = self._parallel()(self._tasks(trials, splits, running))
            while True:
                with _backend_errors():
                    outcome: Outcome | None = next(outcomes, None)
                if outcome is None:
                    return Decision(trials.stop_reason)
                fit = running.pop(outcome.fit.key)
                decision = trials.done(dataclasses.replace(outcome, fit=fit))
                if decision.ends_now:
                    return decision
        finally:
            _cancel(outcomes)
            trials.unfinished(running.values())

    def _tasks(
        self, trials: Trials, splits: Splits, running: dict[tuple[int, int], Fit]
    ) -> Iterator[Any]:
        """Yield the fits of the queue, which joblib takes from another thread."""
        while trials.check_budget().stop is None and (fit := trials.next()) is not None:
            running[fit.key] = fit
            # Separate arguments instead of a closure, so that dask sends X and y once.
            train, test = splits[fit.split]
            yield delayed(run)(fit, *self._arguments, train, test, trials.deadline_of(fit))

    def _parallel(self) -> Any:
        parallel = functools.partial(Parallel, n_jobs=self._n_jobs, pre_dispatch=self._pre_dispatch)
        try:
            return parallel(return_as="generator_unordered")
        except ValueError:  # the backend does not support it: all outcomes come at the end
            return lambda tasks: (outcome for call in [parallel()] for outcome in call(tasks))


def _n_ended(trials: Trials) -> int:
    return len(trials.outcomes) + len(trials.failed)


def _cancel(outcomes: Any) -> None:
    if hasattr(outcomes, "close"):
        with warnings.catch_warnings():  # about the tasks that are cancelled, as intended
            warnings.simplefilter("ignore", UserWarning)
            outcomes.close()


class _BackendError(Exception):
    """The backend has failed, not a fit: the errors of fits are in their outcomes."""


@contextlib.contextmanager
def _backend_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _BackendError from error


def _explained(error: _BackendError, n_lost_rounds: int, trials: Trials) -> BaseException:
    """Return the error of the backend, with a note about what may have caused it."""
    cause = error.__cause__
    assert cause is not None
    if hasattr(cause, "add_note"):  # Python 3.11
        queued = ", ".join(map(str, sorted(trials.queued_candidates())[:10]))
        cause.add_note(
            f"joblib's backend failed {n_lost_rounds} consecutive times. Perhaps one of the "
            f"candidates {queued} ends the process that it runs in."
        )
    return cause
