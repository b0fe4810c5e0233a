"""Processes that were forked after TensorFlow was used: an error, where they would hang.

TensorFlow starts its threads when it is first used. A fork copies the memory and only the
thread that forked, so that in the child every operation waits for threads that do not exist.
TensorFlow does not support this: https://github.com/tensorflow/tensorflow/issues/5448
"""

from __future__ import annotations

import os
import sys

import keras

from skguard.exceptions import ForkedProcessError

__all__ = ["check_not_forked", "is_forked_late"]

_forked_late = False


def is_forked_late() -> bool:
    """Return whether TensorFlow was running already when this process was forked."""
    return _forked_late and keras.config.backend() == "tensorflow"


def check_not_forked() -> None:
    """Raise if TensorFlow would hang in this process.

    Raises
    ------
    ForkedProcessError
    """
    if is_forked_late():
        raise ForkedProcessError()


def _after_fork() -> None:
    global _forked_late
    _forked_late = _forked_late or _tensorflow_is_running()


def _tensorflow_is_running() -> bool:
    """Return whether TensorFlow has started, without a call that needs its threads."""
    config = getattr(sys.modules.get("tensorflow"), "config", None)
    if config is None:
        return False
    pools = config.threading
    now = pools.get_inter_op_parallelism_threads()
    try:
        pools.set_inter_op_parallelism_threads(now + 1)  # raises once the threads exist
    except RuntimeError:
        return True
    pools.set_inter_op_parallelism_threads(now)
    return False


def _has_one_thread() -> bool:
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:  # not Linux
        return False


if "tensorflow" in sys.modules and _tensorflow_is_running() and _has_one_thread():
    # Forked before this module was imported: a process that has started TensorFlow itself has
    # many threads.
    _forked_late = True

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
