"""Code of a worker process: its preparation, its fits, and how outcomes are sent back."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import sklearn

from skguard._repairs import scikit_learn as repairs
from skguard.model_selection import _shared_data
from skguard.model_selection._budget import Deadline
from skguard.model_selection._fits import Failure, Fit, Outcome, Training, run

__all__ = ["initialize", "load_work", "received", "run_in_worker"]


def initialize(parent: int, folder: Path) -> None:
    """Prepare this process as a worker.

    Parameters
    ----------
    parent : int
        Process that has started it.
    folder : Path
        Removed if the parent ends without doing so.
    """
    # Ctrl-C reaches every process of a terminal; the parent ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setsid"):
        os.setsid()  # a process group in which its children can be killed with it
    threading.Thread(target=_end_with, args=(parent, folder), daemon=True).start()


def _end_with(parent: int, folder: Path) -> None:
    """Leave no worker and no data where the parent could not remove them."""
    while os.getppid() == parent:
        time.sleep(1)
    with contextlib.suppress(OSError):
        for path in folder.iterdir():  # loky removes the folder itself
            path.unlink(missing_ok=True)
    os._exit(1)


def load_work(path: Path) -> int:
    """Import everything that the fits need, so that none is timed with it; return the process."""
    _shared_data.load(path)
    return os.getpid()


def run_in_worker(work_path: Path, splits_path: Path, fit: Fit, deadline: Deadline | None) -> bytes:
    """Run a fit in this worker process, and return its outcome for `received`."""
    work, X, y, config, filters = _shared_data.load(work_path)
    train, test = _shared_data.load(splits_path)[fit.split]
    # As in joblib's workers, a fit that starts parallel tasks itself runs them in threads.
    nested = joblib.parallel_config(repairs.nested_backend(), n_jobs=1)
    with nested, sklearn.config_context(**config), _filtered(filters):
        try:
            outcome = run(fit, work, X, y, train, test, deadline)
        except KeyboardInterrupt as error:  # raised by the fit itself
            outcome = Outcome(fit, 0.0, failure=Failure.of(error, work.retry_on))
    for stream in (sys.stdout, sys.stderr):  # the worker is going to be killed, not ended
        with contextlib.suppress(Exception):
            stream.flush()
    sent_back = dataclasses.replace(fit, params={}, callbacks=None)  # the parent has them
    return _portable(dataclasses.replace(outcome, fit=sent_back))


def received(pickled: bytes, fit: Fit) -> Outcome:
    """Return the outcome of `fit` that a worker has sent."""
    return dataclasses.replace(cloudpickle.loads(pickled), fit=fit)


def _portable(outcome: Outcome) -> bytes:
    """Return `outcome` pickled, without what cannot be sent."""
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
        except Exception:  # noqa: S112, a user-defined class may raise anything
            continue
        return pickled
    plain: bytes = cloudpickle.dumps(without_history)
    return plain


def _without_exception(failure: Failure | None) -> Any:
    if failure is None:
        return None
    return dataclasses.replace(failure, exception=_stand_in(failure))


def _stand_in(failure: Failure) -> BaseException | None:
    """Return an error of the nearest base class that can be sent, so that it is caught as such."""
    for cls in type(failure.exception).__mro__[1:]:
        text: Any = f"{failure.error}: {failure.message}"
        if cls is SystemExit:
            text = getattr(failure.exception, "code", text)
        try:
            error = cls(text)
            cloudpickle.loads(cloudpickle.dumps(error))
        except Exception:  # noqa: S112, a user-defined class may raise anything
            continue
        if isinstance(error, BaseException):
            return error
    return None


@contextlib.contextmanager
def _filtered(filters: list[Any]) -> Iterator[None]:
    """Filter warnings as in the parent."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for action, message, category, module, line in reversed(filters):
            text = getattr(message, "pattern", message) or ""
            source = getattr(module, "pattern", module) or ""
            warnings.filterwarnings(action, text, category, source, line)
        yield
