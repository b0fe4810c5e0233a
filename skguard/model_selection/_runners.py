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
from skguard.model_selection._fits import Outcome, Work, run
from skguard.model_selection._trials import Trials
from skguard.model_selection._workers import Workers

__all__ = ["InProcess", "OnBackend", "Runner", "choose"]

_MAX_LOST_ROUNDS = 3  # in a row in which a backend failed and no fit ended

Splits = Sequence[tuple[np.ndarray, np.ndarray]]


class Runner(Protocol):
    """Runs what is queued, and tells of each fit as it ends."""

    def run(self, trials: Trials, splits: Splits) -> None: ...


def choose(search: Any, work: Work, X: Any, y: Any) -> contextlib.AbstractContextManager[Runner]:
    """What runs the fits of `search`, to be entered.

    Raises
    ------
    ValueError
        If joblib's backend cannot do what the parameters ask for.
    """
    backend = repairs.active_backend()
    n_jobs = joblib.effective_n_jobs(search.n_jobs)
    wants_workers = search.isolate or search.trial_timeout is not None
    wants = f"isolate={search.isolate!r} and trial_timeout={search.trial_timeout!r}"
    if backend.name not in ("LokyBackend", "SequentialBackend"):
        if wants_workers and not backend.is_nested:
            raise ValueError(
                f"{wants} need worker processes of the search's own, and joblib's active backend "
                f"is {backend.name}. Leave them out, or leave joblib.parallel_config."
            )
        if not wants_workers and (n_jobs > 1 or backend.name != "ThreadingBackend"):
            dispatch = getattr(search, "pre_dispatch", "2*n_jobs")
            return contextlib.nullcontext(OnBackend(search.n_jobs, dispatch, work, X, y))
    if wants_workers and multiprocessing.current_process().daemon:
        raise ValueError(
            f"{wants} need worker processes, and this is a daemonic process, such as one of "
            "multiprocessing.Pool, which must not have any."
        )
    if wants_workers or n_jobs > 1:
        return Workers(n_jobs, work, X, y, search.trial_timeout, backend.n_threads)
    return contextlib.nullcontext(InProcess(work, X, y))


class InProcess:
    """One fit after the other, here.

    Parameters
    ----------
    work : Work
    X, y : array-like
    """

    def __init__(self, work: Work, X: Any, y: Any) -> None:
        self._run = functools.partial(run, work=work, X=X, y=y)

    def run(self, trials: Trials, splits: Splits) -> None:
        while (fit := trials.next()) is not None:
            train, test = splits[fit.split]
            trials.done(self._run(fit, train=train, test=test, deadline=trials.fit_end(fit)))


class OnBackend:
    """Whatever joblib is set to: threads, or the machines of dask, ray and the like.

    A backend that fails, because a machine was lost and the backend could not make up for it,
    gets the fits again that had not ended.

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

    def run(self, trials: Trials, splits: Splits) -> None:
        n_lost_rounds = 0
        while trials.stopped is None and trials.n_queued:
            n_before = len(trials.outcomes) + len(trials.failed)
            try:
                self._run_round(trials, splits)
            except _BackendError as error:
                cause = error.__cause__
                assert cause is not None
                progress = len(trials.outcomes) + len(trials.failed) > n_before
                n_lost_rounds = 1 if progress else n_lost_rounds + 1
                if n_lost_rounds >= _MAX_LOST_ROUNDS:
                    if hasattr(cause, "add_note"):  # Python 3.11
                        waiting = ", ".join(map(str, sorted(trials.waiting())[:10]))
                        cause.add_note(
                            f"joblib's backend failed {n_lost_rounds} times in a row. Perhaps one "
                            f"of the candidates {waiting} ends the process that it runs in."
                        )
                    raise cause from None

    def _run_round(self, trials: Trials, splits: Splits) -> None:
        running: dict[tuple[int, int], Any] = {}

        def tasks() -> Iterator[Any]:
            while (fit := trials.next()) is not None:
                running[fit.candidate, fit.split] = fit
                # Arguments of their own, so that dask sends X and y once.
                yield delayed(run)(fit, *self._arguments, *splits[fit.split], trials.fit_end(fit))

        outcomes: Any = iter(())
        try:
            with _backend_errors(), repairs.never_in_this_process():
                outcomes = self._parallel()(tasks())
            while True:
                with _backend_errors():
                    outcome: Outcome | None = next(outcomes, None)
                if outcome is None:
                    return
                fit = running.pop((outcome.fit.candidate, outcome.fit.split))
                trials.done(dataclasses.replace(outcome, fit=fit))
                if trials.stopped == "stop_score":
                    return
        finally:
            if hasattr(outcomes, "close"):
                with warnings.catch_warnings():  # of what is cancelled, which is meant
                    warnings.simplefilter("ignore", UserWarning)
                    outcomes.close()
            trials.unfinished(running.values())

    def _parallel(self) -> Any:
        parallel = functools.partial(Parallel, n_jobs=self._n_jobs, pre_dispatch=self._pre_dispatch)
        try:
            return parallel(return_as="generator_unordered")
        except ValueError:  # a backend that cannot: all outcomes come at the end
            return lambda tasks: (outcome for call in [parallel()] for outcome in call(tasks))


class _BackendError(Exception):
    """The backend has failed, not a fit: fits raise nothing, they tell of it."""


@contextlib.contextmanager
def _backend_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _BackendError from error
