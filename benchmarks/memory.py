"""Measures resident memory over 300 fits of a small model.

    python benchmarks/memory.py [fits]

Each estimator runs in a separate process, one after the other. It is fitted, predicts and is
discarded. Prints the memory after 50 fits and at the end, and the growth between the two.
"""

import os
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

KINDS = ("skguard", "skguard, custom layer", "skguard, engine='keras'", "scikeras")


def resident_megabytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(kind, n_fits):
    import keras
    import numpy as np

    rng = np.random.default_rng(0)
    X, y = rng.random((100, 10)), rng.random(100)

    class Double(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    def build():
        layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(1)]
        if kind == "skguard, custom layer":
            layers.insert(1, Double())
        model = keras.Sequential([keras.Input((10,)), *layers])
        model.compile("adam", "mse", metrics=["mse"])
        return model

    settings = {"epochs": 3, "validation_split": 0.2, "verbose": 0, "random_state": 0}
    if kind == "scikeras":
        from scikeras.wrappers import KerasRegressor as Estimator
    else:
        from skguard import GuardedKerasRegressor as Estimator

        settings["engine"] = "keras" if "engine" in kind else "fused"
    for n in range(1, n_fits + 1):
        Estimator(build, **settings).fit(X, y).predict(X)
        if n in (50, n_fits):
            print(resident_megabytes(), flush=True)


def main():
    n_fits = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    print(f"{'MB after':25} {'50 fits':>9} {f'{n_fits} fits':>9} {'growth':>9} {'per fit':>9}")
    for kind in KINDS:
        done = subprocess.run(  # noqa: S603 - this script
            [sys.executable, __file__, "--measure", kind, str(n_fits)],
            capture_output=True,
            text=True,
            check=True,
        )
        early, late = map(float, done.stdout.split())
        growth = late - early
        per_fit = growth / (n_fits - 50)
        print(f"{kind:25} {early:9.0f} {late:9.0f} {growth:9.1f} {per_fit:9.3f}", flush=True)


if __name__ == "__main__":
    if "--measure" in sys.argv:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        main()
