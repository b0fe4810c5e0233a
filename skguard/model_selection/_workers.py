"""Worker processes that may die: each costs the one fit that it was running.

Each worker is a loky executor of its own, with one process. loky breaks a whole executor when
one of its processes dies, and then cannot tell which task it was running; with one process an
executor and one task at a time, both are known, and the other workers do not notice. loky also
starts processes without running the main script again, sends functions of ``__main__``, and
kills a process with all its children. pebble, the other well-kept library of this kind, does
the first on its own but needs ``if __name__ == "__main__":`` in the user's script; see
``benchmarks/worker_pools.py``.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import os
import pickle
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import sklearn
from loky import BrokenProcessPool, ProcessPoolExecutor
from loky.backend import resource_tracker

from skguard._repairs import scikit_learn as repairs
from skguard.exceptions import InputTypeError, TrialTimeoutError, WorkerDiedError
from skguard.model_selection import _shared_data
from skguard.model_selection._fits import Failure, Fit, Outcome, Training, Work, run
from skguard.model_selection._trials import Trials

__all__ = ["Workers"]

_MAX_STARTS = 3  # of a worker that dies before it has run anything

_THREAD_VARIABLES = (
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@dataclasses.dataclass
class _Worker:
    """One process, started when it first gets something to do."""

    executor: ProcessPoolExecutor
    pid: int | None = None  # once it is ready
    n_starts: int = 1

    def kill(self) -> None:
        self.executor.shutdown(wait=True, kill_workers=True)
        if self.pid is not None and hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)  # what its fits have started


@dataclasses.dataclass
class _Job:
    """What a worker is doing: a fit, or getting ready where there is none."""

    worker: _Worker
    fit: Fit | None = None
    started: float = dataclasses.field(default_factory=time.monotonic)


class Workers:
    """Run fits in processes that are killed when this context ends, however it ends.

    Parameters
    ----------
    n_workers : int
    work : Work
    X, y : array-like
    timeout : float or None
        Of one fit, in seconds.
    n_threads : int or None
        How many threads each worker's libraries may use; None is an equal share of the cores.
    """

    def __init__(
        self,
        n_workers: int,
        work: Work,
        X: Any,
        y: Any,
        timeout: float | None,
        n_threads: int | None = None,
    ) -> None:
        self._n_workers = n_workers
        self._timeout = timeout
        self._retry_on = work.retry_on
        self._shared = (work, X, y, sklearn.get_config(), list(warnings.filters))
        share = n_threads or max(joblib.cpu_count() // n_workers, 1)
        self._environment = {
            name: str(share) for name in _THREAD_VARIABLES if name not in os.environ
        }
        # loky restarts a process that has grown, and takes mapped rows for growth.
        self._environment["LOKY_MAX_MEMORY_LEAK_SIZE"] = "1e18"
        self._workers: list[_Worker] = []
        self._n_files = 0

    def __enter__(self) -> Workers:
        # As joblib does, whose users move it to a faster or larger disk by this variable.
        parent = os.environ.get("JOBLIB_TEMP_FOLDER")
        if parent is not None:
            os.makedirs(parent, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="skguard-", dir=parent))
        # loky's own process for that removes it if this one is killed, where it can read the name.
        with contextlib.suppress(ValueError):
            resource_tracker.register(str(self._folder), "folder")
        return self

    def __exit__(self, *error: object) -> None:
        try:
            for worker in self._workers:
                worker.kill()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            with contextlib.suppress(ValueError):
                resource_tracker.unregister(str(self._folder), "folder")

    def run(self, trials: Trials, splits: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Run all that is queued."""
        if not self._n_files:
            self._work_path = self._share(self._shared)
            self._shared = ()  # type: ignore[assignment]
        splits_path = self._share(list(splits))
        jobs: dict[concurrent.futures.Future[Any], _Job] = {}
        try:
            while True:
                self._start(jobs, trials, splits_path)
                is_running = any(job.fit is not None for job in jobs.values())
                if not is_running and (trials.is_stopped() or not trials.n_queued):
                    return
                if trials.stopped == "stop_score":
                    return
                ends = [end for job in jobs.values() if (end := self._end_of(job)) is not None]
                if not is_running and (deadline := trials.fit_deadline()) is not None:
                    ends.append(time.monotonic() + deadline - time.time())
                concurrent.futures.wait(
                    jobs,
                    timeout=_wait_until(min(ends)) if ends else None,
                    return_when=concurrent.futures.FIRST_COMPLETED,
                )
                for future in [future for future in jobs if future.done()]:
                    self._finish(future, jobs.pop(future), jobs, trials)
                for future, job in list(jobs.items()):
                    if self._is_late(job) and not future.done():
                        del jobs[future]
                        self._end_late(job, trials)
        finally:
            for future, job in jobs.items():
                if job.fit is not None and future.done() and future.exception() is None:
                    trials.keep(_outcome(future, job.fit))
                else:
                    self._drop(job.worker)

    def _share(self, value: Any) -> Path:
        self._n_files += 1
        try:
            return _shared_data.write(value, self._folder / f"{self._n_files}.bin")
        except (TypeError, pickle.PicklingError, RecursionError) as error:
            raise TypeError(
                "The estimator, its parameters, the data or the scorer cannot be sent to worker "
                f"processes: {error}. n_jobs=1 needs none."
            ) from error

    def _start(
        self,
        jobs: dict[concurrent.futures.Future[Any], _Job],
        trials: Trials,
        splits_path: Path,
    ) -> None:
        """Give every idle worker something to do, and start workers where there are too few."""
        if any(job.fit.alone for job in jobs.values() if job.fit is not None):
            return
        busy = [job.worker for job in jobs.values()]
        for worker in list(self._workers):
            if worker in busy or worker.pid is None:
                continue
            fit = trials.next(n_running=sum(job.fit is not None for job in jobs.values()))
            if fit is None:
                return
            arguments = (self._work_path, splits_path, fit, trials.fit_end(fit))
            try:
                jobs[worker.executor.submit(_do, *arguments)] = _Job(worker, fit)
            except BrokenProcessPool:  # it died while it had nothing to do
                trials.unfinished([fit])
                self._drop(worker)
                continue
            if fit.alone:
                return
        n_starting = sum(job.fit is None for job in jobs.values())
        while len(self._workers) < self._n_workers and n_starting < trials.n_queued:
            if trials.stopped is not None:
                return
            self._start_worker(jobs, n_starts=1)
            n_starting += 1

    def _start_worker(
        self, jobs: dict[concurrent.futures.Future[Any], _Job], n_starts: int
    ) -> None:
        executor = ProcessPoolExecutor(
            1,
            env=self._environment,
            initializer=_initialize,
            initargs=(os.getpid(), self._folder),
        )
        worker = _Worker(executor, n_starts=n_starts)
        self._workers.append(worker)
        jobs[executor.submit(_get_ready, self._work_path)] = _Job(worker)

    def _finish(
        self,
        future: concurrent.futures.Future[Any],
        job: _Job,
        jobs: dict[concurrent.futures.Future[Any], _Job],
        trials: Trials,
    ) -> None:
        error = future.exception()
        if job.fit is None:
            self._finish_start(future, job, jobs)
        elif isinstance(error, BrokenProcessPool):
            self._drop(job.worker)
            trials.done(self._lost(job, WorkerDiedError(_exitcode(error)), "worker_died"))
        elif error is not None:
            cause = error.__cause__ or error
            error = InputTypeError(f"the parameters cannot be sent to a worker: {cause}")
            trials.done(self._lost(job, error, "failed"))
        else:
            trials.done(_outcome(future, job.fit))

    def _finish_start(
        self,
        future: concurrent.futures.Future[Any],
        job: _Job,
        jobs: dict[concurrent.futures.Future[Any], _Job],
    ) -> None:
        error = future.exception()
        if error is None:
            job.worker.pid = future.result()
            return
        self._drop(job.worker)
        if isinstance(error, BrokenProcessPool) and job.worker.n_starts < _MAX_STARTS:
            self._start_worker(jobs, job.worker.n_starts + 1)
            return
        if isinstance(error, BrokenProcessPool):
            reason = f"{WorkerDiedError(_exitcode(error))}, {_MAX_STARTS} times"
        else:
            reason = f"{type(error).__name__}: {error}"
        raise RuntimeError(
            "A worker process could not be started with the estimator and the data: "
            f"{reason}\nWhat they import must be installed there. n_jobs=1 needs no workers."
        ) from error

    def _end_late(self, job: _Job, trials: Trials) -> None:
        self._drop(job.worker)
        error = TrialTimeoutError(
            f"timed out: the fit took more than trial_timeout={self._timeout:g} seconds"
        )
        trials.done(self._lost(job, error, "timed_out"))

    def _lost(self, job: _Job, error: BaseException, status: str) -> Outcome:
        assert job.fit is not None
        return Outcome(
            job.fit,
            time.monotonic() - job.started,
            failure=Failure.of(error, self._retry_on, status=status),
        )

    def _drop(self, worker: _Worker) -> None:
        worker.kill()
        if worker in self._workers:
            self._workers.remove(worker)

    def _is_late(self, job: _Job) -> bool:
        end = self._end_of(job)
        return end is not None and time.monotonic() >= end

    def _end_of(self, job: _Job) -> float | None:
        """When a fit is killed; getting ready takes what it takes."""
        if self._timeout is None or job.fit is None:
            return None
        return job.started + self._timeout


def _wait_until(end: float) -> float:
    """How long to wait, in seconds; what is too long for the system is waited for in parts."""
    return min(max(end - time.monotonic(), 0.0), 3600.0)


def _outcome(future: concurrent.futures.Future[Any], fit: Fit) -> Outcome:
    return dataclasses.replace(cloudpickle.loads(future.result()), fit=fit)


def _exitcode(error: BaseException) -> int | None:
    """loky tells it in its message alone: ``{SIGKILL(-9)}``."""
    code = re.search(r"\w+\((-?\d+)\)\}", str(error))
    return int(code[1]) if code else None


def _initialize(parent: int, folder: Path) -> None:
    """Prepare a worker, in it."""
    # Ctrl-C reaches every process of a terminal; it is the parent that ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setsid"):
        os.setsid()  # a group of its own, in which its children can be killed with it
    threading.Thread(target=_end_with, args=(parent, folder), daemon=True).start()


def _end_with(parent: int, folder: Path) -> None:
    """Leave no worker and no data behind where the parent could not see to that."""
    while os.getppid() == parent:
        time.sleep(1)
    with contextlib.suppress(OSError):
        for path in folder.iterdir():  # the folder itself is left to loky
            path.unlink(missing_ok=True)
    os._exit(1)


def _get_ready(work_path: Path) -> int:
    """Import all that the fits need, so that no fit is timed with it."""
    _shared_data.load(work_path)
    return os.getpid()


def _do(work_path: Path, splits_path: Path, fit: Fit, deadline: float | None) -> bytes:
    """Run a fit, in a worker."""
    work, X, y, config, filters = _shared_data.load(work_path)
    train, test = _shared_data.load(splits_path)[fit.split]
    # As in joblib's workers, what asks for processes of its own gets threads.
    nested = joblib.parallel_config(repairs.nested_backend(), n_jobs=1)
    with nested, sklearn.config_context(**config), _filtered(filters):
        try:
            outcome = run(fit, work, X, y, train, test, deadline)
        except KeyboardInterrupt as error:  # raised by the fit itself
            outcome = Outcome(fit, 0.0, failure=Failure.of(error, work.retry_on))
    for stream in (sys.stdout, sys.stderr):  # the worker is killed, not ended
        with contextlib.suppress(Exception):
            stream.flush()
    sent_back = dataclasses.replace(fit, params={}, callbacks=None)  # the parent has them
    return _portable(dataclasses.replace(outcome, fit=sent_back))


def _portable(outcome: Outcome) -> bytes:
    """`outcome` without what cannot be sent."""
    without_error = dataclasses.replace(
        outcome,
        failure=_without_exception(outcome.failure),
        scoring_failures={n: _without_exception(f) for n, f in outcome.scoring_failures.items()},
    )
    without_history = dataclasses.replace(without_error, training=Training())
    for version in (outcome, without_error):
        try:
            pickled: bytes = cloudpickle.dumps(version)
            cloudpickle.loads(pickled)
        except Exception:  # noqa: S112, whatever a user's class raises
            continue
        return pickled
    plain: bytes = cloudpickle.dumps(without_history)
    return plain


def _without_exception(failure: Failure | None) -> Any:
    if failure is None:
        return None
    return dataclasses.replace(failure, exception=_stand_in(failure))


def _stand_in(failure: Failure) -> BaseException | None:
    """An error of the nearest class of which one can be sent, so that it is caught as such."""
    for cls in type(failure.exception).__mro__[1:]:
        told: Any = f"{failure.error}: {failure.message}"
        if cls is SystemExit:
            told = getattr(failure.exception, "code", told)
        try:
            error = cls(told)
            cloudpickle.loads(cloudpickle.dumps(error))
        except Exception:  # noqa: S112, whatever a user's class raises
            continue
        if isinstance(error, BaseException):
            return error
    return None


@contextlib.contextmanager
def _filtered(filters: list[Any]) -> Iterator[None]:
    """Warn as in the parent."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for action, message, category, module, line in reversed(filters):
            text = getattr(message, "pattern", message) or ""
            source = getattr(module, "pattern", module) or ""
            warnings.filterwarnings(action, text, category, source, line)
        yield
