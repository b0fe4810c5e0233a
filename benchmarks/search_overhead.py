"""Overhead of a guarded search over scikit-learn's own on the same fits.

    python benchmarks/search_overhead.py [--rounds N]

One job: fits that take 0.2 s each, in this process, in pairs. Two jobs: the same search in fresh
processes, workers' start included, of scikit-learn's loky and of the guarded search, for few long
fits, for many short ones, and with 160 MB of data. Proves first that both find the same.
"""

import argparse
import statistics
import subprocess
import sys
import time

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV

from skguard.model_selection import GuardedGridSearchCV

SEARCHES = {"scikit-learn": GridSearchCV, "guarded": GuardedGridSearchCV}


class Busy(ClassifierMixin, BaseEstimator):
    """Computes for a given time."""

    def __init__(self, seconds=0.2, number=0):
        self.seconds = seconds
        self.number = number

    def fit(self, X, y):
        end = time.perf_counter() + self.seconds
        self.classes_ = np.unique(y)
        while time.perf_counter() < end:
            pass
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[self.number % len(self.classes_)])


def data(n_samples, n_features=20):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_samples, n_features))
    return X, (X[:, 0] > 0).astype(int)


CASES = {
    "24 fits of 0.5 s": lambda cls: (
        cls(Busy(0.5), {"number": list(range(8))}, cv=3, n_jobs=2, refit=False),
        data(1000),
    ),
    "600 fits of 5 ms": lambda cls: (
        cls(Busy(0.005), {"number": list(range(200))}, cv=3, n_jobs=2, refit=False),
        data(1000),
    ),
    "24 forests": lambda cls: (
        cls(
            RandomForestClassifier(50, random_state=0),
            {"max_depth": [2, 4, 6, 8]},
            cv=6,
            n_jobs=2,
            refit=False,
        ),
        data(5000),
    ),
    "8 fits on 160 MB": lambda cls: (
        cls(Busy(0.1), {"number": list(range(4))}, cv=2, n_jobs=2, refit=False),
        data(1_000_000),
    ),
}


def results(search):
    scores = {k: v for k, v in search.cv_results_.items() if k.endswith("test_score")}
    return {name: np.asarray(values).tolist() for name, values in scores.items()}


def in_this_process(n_rounds):
    X, y = data(1000)
    ratios, times = [], {name: [] for name in SEARCHES}
    for number in range(n_rounds + 1):
        found = []
        for name, cls in sorted(SEARCHES.items(), reverse=bool(number % 2)):
            search = cls(Busy(), {"number": list(range(5))}, cv=2, refit=False)
            started = time.perf_counter()
            search.fit(X, y)
            if number:  # the first is for warming up
                times[name].append(time.perf_counter() - started)
            found.append(results(search))
        if found[0] != found[1]:
            raise SystemExit("They found different scores.")
    ratios = [g / s for g, s in zip(times["guarded"], times["scikit-learn"], strict=True)]
    print(f"one job, 10 fits of 0.2 s: {100 * (statistics.median(ratios) - 1):+.2f} %")


def alone(case, name):
    search, (X, y) = CASES[case](SEARCHES[name])
    started = time.perf_counter()
    search.fit(X, y)
    seconds = time.perf_counter() - started
    print("RESULT", seconds, results(search))


def in_fresh_processes(n_rounds):
    print(f"\n{'two jobs, seconds':20}" + "".join(f"{name:>14}" for name in SEARCHES))
    for case in CASES:
        times = {name: [] for name in SEARCHES}
        for _ in range(n_rounds):
            found = []
            for name in SEARCHES:
                command = [sys.executable, __file__, "--alone", case, name]
                out = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
                _, seconds, scores = out.stdout.split(" ", 2)
                times[name].append(float(seconds))
                found.append(scores)
            if found[0] != found[1]:
                raise SystemExit(f"They found different scores: {found}")
        medians = [statistics.median(times[name]) for name in SEARCHES]
        print(f"{case:20}" + "".join(f"{median:14.2f}" for median in medians))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", nargs=2)
    arguments = parser.parse_args()
    if arguments.alone:
        alone(*arguments.alone)
        return
    in_this_process(arguments.rounds)
    in_fresh_processes(arguments.rounds)


if __name__ == "__main__":
    main()
