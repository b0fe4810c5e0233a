"""An estimator whose fits end their process, hang or raise, and searches of it."""

import ctypes
import os
import pathlib
import signal
import time
import warnings

import numpy as np
import psutil
from sklearn.base import BaseEstimator, ClassifierMixin

from skguard import FatalError
from skguard.model_selection import GuardedGridSearchCV

ONE_SPLIT = [(np.arange(40), np.arange(40, 50))]
X, Y = np.arange(150.0).reshape(50, 3), np.arange(50) % 2


class Misbehaving(ClassifierMixin, BaseEstimator):
    """Scores its own number, unless `ways` says what happens at that number.

    Each fit leaves a mark in `folder`.
    """

    def __init__(self, number=0, folder=None, ways=None):
        self.number = number
        self.folder = folder
        self.ways = ways

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        with (pathlib.Path(self.folder) / str(self.number)).open("a") as file:
            file.write("x")
        way = (self.ways or {}).get(self.number)
        if way is not None:
            way(self)
        return self

    @property
    def n_fits(self):
        return len((pathlib.Path(self.folder) / str(self.number)).read_text())

    def predict(self, X):
        return np.zeros(len(X), int)

    def score(self, X, y):
        return self.number


def killed(estimator):
    os.kill(os.getpid(), signal.SIGKILL)


def left(estimator):
    os._exit(3)


def crashed(estimator):
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # no dump of the stack into the test's output
    ctypes.string_at(0)


def asleep(estimator):
    time.sleep(10**6)


def stuck_in_c(estimator):
    ctypes.PyDLL(None).usleep(10**9)  # holds the interpreter's lock all the time


def raising(estimator):
    raise ValueError(f"number {estimator.number}")


def fatal(estimator):
    raise FatalError("nothing can work")


def killed_at_first(estimator):
    if estimator.n_fits == 1:
        killed(estimator)


def search_of(folder, ways=None, numbers=range(6), **kwargs):
    settings = {"cv": ONE_SPLIT, "n_jobs": 2, "refit": False}
    estimator = Misbehaving(folder=folder, ways=ways)
    return GuardedGridSearchCV(estimator, {"number": list(numbers)}, **settings | kwargs)


def fitted(search):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of failed fits and their scores
        return search.fit(X, Y)


def n_fits(folder):
    return {int(file.name): len(file.read_text()) for file in pathlib.Path(folder).iterdir()}


def children():
    """The children of this process, but for Python's resource trackers, which stay."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.is_running() and "resource_tracker" not in " ".join(child.cmdline())
    ]


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.1)
