"""Overhead of a fit: skguard with the engine of Keras, scikeras and plain Keras.

    python benchmarks/fit_overhead.py [repeats]

Proves first that all three compute the same history, then prints the median time of one fit
and its ratio to plain Keras. Lower is better; below 1.05 is within noise.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import statistics
import time

import keras
import numpy as np
from scikeras.wrappers import KerasRegressor
from tensorflow.python.framework.config import is_op_determinism_enabled

from skguard import GuardedKerasRegressor

# TensorFlow caches the answer at the first call. scikeras first calls it after setting the
# environment variable that the answer depends on.
is_op_determinism_enabled()

SEED = 7
rng = np.random.default_rng(0)


def build():
    model = keras.Sequential(
        [keras.Input((10,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    return model


def plain_keras(X, y, epochs):
    keras.utils.set_random_seed(SEED)
    model = build()
    keras.utils.set_random_seed(SEED)
    return model.fit(X, y, epochs=epochs, verbose=0).history["loss"]


def with_estimator(estimator, X, y, epochs, **settings):
    estimator = estimator(build, epochs=epochs, verbose=0, random_state=SEED, **settings)
    return list(estimator.fit(X, y).history_["loss"])


PEERS = {
    "Keras": plain_keras,
    "scikeras": lambda *args: with_estimator(KerasRegressor, *args),
    "skguard": lambda *args: with_estimator(GuardedKerasRegressor, *args, engine="keras"),
}


def measure(n_samples, epochs, repeats):
    X, y = rng.normal(size=(n_samples, 10)), rng.normal(size=n_samples)
    seconds = {name: [] for name in PEERS}
    histories = {name: peer(X, y, epochs) for name, peer in PEERS.items()}  # warms up too
    different = [name for name, history in histories.items() if history != histories["Keras"]]
    if different:
        raise SystemExit(f"{different} did not compute what Keras computed; no time is worth it")
    for _ in range(repeats):
        for name, peer in PEERS.items():
            start = time.perf_counter()
            peer(X, y, epochs)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def main():
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"{'samples':>9} {'epochs':>7}" + "".join(f"{name:>18}" for name in PEERS))
    for n_samples, epochs in [(100, 1), (100, 20), (10_000, 3)]:
        medians = measure(n_samples, epochs, repeats)
        cells = (f"{s * 1e3:8.0f} ms {s / medians['Keras']:5.2f}x" for s in medians.values())
        print(f"{n_samples:>9} {epochs:>7}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
