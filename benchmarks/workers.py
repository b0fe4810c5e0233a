"""A search in one process and in two workers, with TensorFlow's threads as skguard sets them.

    python benchmarks/workers.py [rounds]

48 fits of a network on 2 000 samples. Proves first that the scores are equal. The first round
with two workers includes starting them and importing TensorFlow in each.
"""

import os
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from sklearn.model_selection import GridSearchCV

from skguard import GuardedKerasClassifier
from skguard._engine import clear_graphs

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2_000, 20)).astype("float32")
Y = (X[:, :3].sum(1) > 0).astype(int)


def build(units=64):
    return keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Dense(units, "relu"),
            keras.layers.Dense(units, "relu"),
            keras.layers.Dense(2, "softmax"),
        ]
    )


def search(n_jobs):
    clear_graphs()
    network = GuardedKerasClassifier(
        build,
        loss="sparse_categorical_crossentropy",
        optimizer="adam",
        epochs=10,
        verbose=0,
        random_state=0,
    )
    candidates = {"units": [64, 256], "optimizer__learning_rate": np.geomspace(1e-4, 1e-1, 8)}
    return GridSearchCV(network, candidates, cv=3, n_jobs=n_jobs, refit=False).fit(X, Y)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    seconds = {1: [], 2: []}
    scores = {}
    for _ in range(rounds):
        for n_jobs, values in seconds.items():
            started = time.perf_counter()
            scores[n_jobs] = search(n_jobs).cv_results_["mean_test_score"]
            values.append(time.perf_counter() - started)
    assert np.array_equal(scores[1], scores[2])
    print(f"{'n_jobs':>6} {'first':>9} {'median':>9}")
    for n_jobs, values in seconds.items():
        print(f"{n_jobs:6} {values[0]:7.2f} s {statistics.median(values):7.2f} s")


if __name__ == "__main__":
    main()
