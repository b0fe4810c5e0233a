"""Worker processes that may die: each death costs the one fit that was running.

Each worker is a loky executor with one process. loky breaks a whole executor when one of its
processes dies, and then cannot report which task it was running; with one process per executor
and one task at a time, both are known, and the other workers are not affected. loky also starts
processes without running the main script again, sends functions of ``__main__``, and kills a
process with all its children. pebble, the other well-maintained library of this kind, does the
first by itself but needs ``if __name__ == "__main__":`` in the script of the user; see
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
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import sklearn
from loky import BrokenProcessPool, ProcessPoolExecutor
from loky.backend import resource_tracker

from skguard.exceptions import InputTypeError, TrialTimeoutError, WorkerDiedError
from skguard.model_selection import _shared_data
from skguard.model_selection._fits import Failure, Fit, Outcome, Work
from skguard.model_selection._status import FitStatus, StopReason
from skguard.model_selection._trials import Decision, Trials
from skguard.model_selection._worker_process import initialize, load_work, received, run_in_worker

__all__ = ["Workers"]

_MAX_STARTS = 3  # of a worker that dies before it has run anything
_MAX_WAIT = 3600.0  # seconds, as the system limits them; longer times are waited for in parts

_THREAD_VARIABLES = (
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

_CONTINUE = Decision()


@dataclasses.dataclass
class _Worker:
    """One process, started when it is first passed a task."""

    executor: ProcessPoolExecutor
    pid: int | None = None  # once it is ready
    n_starts: int = 1

    def kill(self) -> None:
        self.executor.shutdown(wait=True, kill_workers=True)
        if self.pid is not None and hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)  # the processes that its fits have started


@dataclasses.dataclass
class _Job:
    """The task of a worker: a fit, or its start where there is none."""

    worker: _Worker
    fit: Fit | None = None
    started: float = dataclasses.field(default_factory=time.monotonic)


_Jobs = dict[concurrent.futures.Future[Any], _Job]


class Workers:
    """Runs fits in processes that are killed when this context ends, however it ends.

    Parameters
    ----------
    n_workers : int
    work : Work
    X, y : array-like
    timeout : float or None
        Limit of one fit, in seconds.
    n_threads : int or None, default=None
        Number of threads of the libraries in each worker; None divides the cores equally.
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
        # loky restarts a process that has grown, and counts mapped data as growth.
        self._environment["LOKY_MAX_MEMORY_LEAK_SIZE"] = "1e18"
        self._workers: list[_Worker] = []
        self._n_files = 0

    def __enter__(self) -> Workers:
        # As in joblib, whose users choose a faster or larger disk by this variable.
        parent = os.environ.get("JOBLIB_TEMP_FOLDER")
        if parent is not None:
            os.makedirs(parent, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="skguard-", dir=parent))
        # loky's resource tracker removes it if this process is killed, unless it cannot read the
        # name, such as one with a colon.
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

    def run(self, trials: Trials, splits: Sequence[tuple[np.ndarray, np.ndarray]]) -> Decision:
        if not self._n_files:
            self._work_path = self._share(self._shared)
            self._shared = ()  # type: ignore[assignment]
        splits_path = self._share(list(splits))
        jobs: _Jobs = {}
        try:
            while True:
                trials.check_budget()
                self._start_jobs(jobs, trials, splits_path)
                is_running = _n_running(jobs) > 0
                if not is_running and (trials.stop_reason is not None or not trials.n_queued):
                    return Decision(trials.stop_reason)
                self._wait(jobs, None if is_running else trials.seconds_for_fits())
                decision = self._finish_jobs(jobs, trials)
                if decision.ends_now:
                    return decision
        finally:
            self._abandon(jobs, trials)

    def _share(self, value: Any) -> Path:
        self._n_files += 1
        try:
            return _shared_data.write(value, self._folder / f"{self._n_files}.bin")
        except (TypeError, pickle.PicklingError, RecursionError) as error:
            raise TypeError(
                "The estimator, its parameters, the data or the scorer cannot be sent to worker "
                f"processes: {error}. n_jobs=1 needs none."
            ) from error

    def _start_jobs(self, jobs: _Jobs, trials: Trials, splits_path: Path) -> None:
        """Start a fit in every idle worker, and workers where there are too few."""
        if any(job.fit.alone for job in jobs.values() if job.fit is not None):
            return
        busy = [job.worker for job in jobs.values()]
        for worker in list(self._workers):
            if worker in busy or worker.pid is None:
                continue
            trials.check_budget()
            fit = trials.next(n_running=_n_running(jobs))
            if fit is None:
                return
            self._start_fit(worker, fit, jobs, trials, splits_path)
            if fit.alone:
                return
        n_starting = len(jobs) - _n_running(jobs)
        n_wanted = 0 if trials.stop_reason is not None else trials.n_queued - n_starting
        for _ in range(min(n_wanted, self._n_workers - len(self._workers))):
            self._start_worker(jobs, n_starts=1)

    def _start_fit(
        self, worker: _Worker, fit: Fit, jobs: _Jobs, trials: Trials, splits_path: Path
    ) -> None:
        arguments = (self._work_path, splits_path, fit, trials.deadline_of(fit))
        try:
            jobs[worker.executor.submit(run_in_worker, *arguments)] = _Job(worker, fit)
        except BrokenProcessPool:  # it died while it was idle
            trials.unfinished([fit])
            self._drop(worker)

    def _start_worker(self, jobs: _Jobs, n_starts: int) -> None:
        executor = ProcessPoolExecutor(
            1,
            env=self._environment,
            initializer=initialize,
            initargs=(os.getpid(), self._folder),
        )
        worker = _Worker(executor, n_starts=n_starts)
        self._workers.append(worker)
        jobs[executor.submit(load_work, self._work_path)] = _Job(worker)

    def _wait(self, jobs: _Jobs, seconds: float | None) -> None:
        """Wait until a job ends or times out, and no longer than `seconds`."""
        limits = [self._seconds_left(job) for job in jobs.values()]
        known = [limit for limit in (*limits, seconds) if limit is not None]
        concurrent.futures.wait(
            jobs,
            timeout=min(max(min(known), 0.0), _MAX_WAIT) if known else None,
            return_when=concurrent.futures.FIRST_COMPLETED,
        )

    def _finish_jobs(self, jobs: _Jobs, trials: Trials) -> Decision:
        """Record the jobs that have ended, and end those that have timed out."""
        for future in [future for future in jobs if future.done()]:
            decision = self._finish(future, jobs.pop(future), jobs, trials)
            if decision.ends_now:
                return decision
        for future, job in list(jobs.items()):
            seconds = self._seconds_left(job)
            if seconds is not None and seconds <= 0 and not future.done():
                del jobs[future]
                decision = self._end_late(job, trials)
                if decision.ends_now:
                    return decision
        return _CONTINUE

    def _finish(
        self, future: concurrent.futures.Future[Any], job: _Job, jobs: _Jobs, trials: Trials
    ) -> Decision:
        error = future.exception()
        if job.fit is None:
            return self._finish_start(future, job, jobs)
        if isinstance(error, BrokenProcessPool):
            self._drop(job.worker)
            died = WorkerDiedError(_exitcode(error))
            return trials.done(self._lost(job, died, FitStatus.WORKER_DIED))
        if error is not None:
            cause = error.__cause__ or error
            unsendable = InputTypeError(f"The parameters cannot be sent to a worker: {cause}")
            return trials.done(self._lost(job, unsendable, FitStatus.FAILED))
        return trials.done(received(future.result(), job.fit))

    def _finish_start(
        self, future: concurrent.futures.Future[Any], job: _Job, jobs: _Jobs
    ) -> Decision:
        error = future.exception()
        if error is None:
            job.worker.pid = future.result()
            return _CONTINUE
        self._drop(job.worker)
        if isinstance(error, BrokenProcessPool) and job.worker.n_starts < _MAX_STARTS:
            self._start_worker(jobs, job.worker.n_starts + 1)
            return _CONTINUE
        if isinstance(error, BrokenProcessPool):
            reason = f"{WorkerDiedError(_exitcode(error))}, {_MAX_STARTS} times"
        else:
            reason = f"{type(error).__name__}: {error}"
        failed = RuntimeError(
            "A worker process could not be started with the estimator and the data: "
            f"{reason}\nThe modules that they import must be installed there. n_jobs=1 needs no "
            "workers."
        )
        failed.__cause__ = error
        return Decision(StopReason.ERROR, failed)

    def _end_late(self, job: _Job, trials: Trials) -> Decision:
        self._drop(job.worker)
        error = TrialTimeoutError(
            f"timed out: the fit took more than trial_timeout={self._timeout:g} seconds"
        )
        return trials.done(self._lost(job, error, FitStatus.TIMED_OUT))

    def _lost(self, job: _Job, error: BaseException, status: FitStatus) -> Outcome:
        assert job.fit is not None
        return Outcome(
            job.fit,
            time.monotonic() - job.started,
            failure=Failure.of(error, self._retry_on, status=status),
        )

    def _abandon(self, jobs: _Jobs, trials: Trials) -> None:
        """Keep the outcomes that have arrived, and kill the other workers."""
        for future, job in jobs.items():
            if job.fit is not None and future.done() and future.exception() is None:
                trials.keep(received(future.result(), job.fit))
            else:
                self._drop(job.worker)

    def _drop(self, worker: _Worker) -> None:
        worker.kill()
        if worker in self._workers:
            self._workers.remove(worker)

    def _seconds_left(self, job: _Job) -> float | None:
        """Return when a fit is killed, in seconds from now. The start of a worker never is."""
        if self._timeout is None or job.fit is None:
            return None
        return job.started + self._timeout - time.monotonic()


def _n_running(jobs: _Jobs) -> int:
    """Return the number of jobs that are fits."""
    return sum(job.fit is not None for job in jobs.values())


def _exitcode(error: BaseException) -> int | None:
    """Return the exit code, which loky reports in its message alone: ``{SIGKILL(-9)}``."""
    code = re.search(r"\w+\((-?\d+)\)\}", str(error))
    return int(code[1]) if code else None
