"""An estimator that is fitted at once and fails as requested, and searches of it."""

import time

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from skguard.model_selection import GuardedGridSearchCV


class Numbered(ClassifierMixin, BaseEstimator):
    """Scores its number; `ways` says what each number raises, and in how many first attempts."""

    n_attempts = {}  # noqa: RUF012, for all clones

    def __init__(self, number=0, ways=None, seconds=0.0, max_fit_seconds=None):
        self.number = number
        self.ways = ways
        self.seconds = seconds
        self.max_fit_seconds = max_fit_seconds

    def fit(self, X, y=None):
        key = self.number, float(np.sum(X))
        self.n_attempts[key] = self.n_attempts.get(key, 0) + 1
        self.classes_ = np.unique(y)
        error, times = (self.ways or {}).get(self.number, (None, 0))
        if error is not None and self.n_attempts[key] <= times:
            raise error
        time.sleep(self.seconds)
        return self

    def predict(self, X):
        return np.zeros(len(X), int)

    def score(self, X, y=None):
        return float(self.number)


ALWAYS = 10**6
X, Y = np.arange(60.0).reshape(20, 3), np.arange(20) % 2


def search_of(ways=None, numbers=range(6), seconds=0.0, **kwargs):
    estimator = Numbered(ways=ways, seconds=seconds)
    return GuardedGridSearchCV(estimator, {"number": list(numbers)}, **{"cv": 2} | kwargs)


def attempts_of(number):
    return sorted(n for (k, _), n in Numbered.n_attempts.items() if k == number)
