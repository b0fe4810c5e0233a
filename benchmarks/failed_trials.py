"""KerasTuner's own example of failed trials, on KerasTuner and on skguard, side by side.

A grid of 12 models of 10 epochs each, with 100 samples to validate on, of which the 5 with more
than 1200 parameters raise an error. Both run the same trials; each runs in a process of its own.

Needs keras-tuner: ``pip install "skguard[benchmarks]"``.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

UNITS_1, UNITS_2 = [10, 20, 30, 40], [10, 20, 30]
LIMIT = 1200


def model_of(units_1, units_2):
    import keras

    model = keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Dense(units_1),
            keras.layers.Dense(units_2),
            keras.layers.Dense(1),
        ]
    )
    if model.count_params() > LIMIT:
        raise ValueError(f"Model too large! It contains {model.count_params()} params.")
    return model


def data():
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.random((200, 20)), rng.random(200)


def run_keras_tuner(max_retries):
    import keras_tuner

    def build(hp):
        model = model_of(hp.Choice("units_1", UNITS_1), hp.Choice("units_2", UNITS_2))
        model.compile(loss="mse")
        return model

    X, y = data()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        tuner = keras_tuner.GridSearch(
            build,
            objective="val_loss",
            max_retries_per_trial=max_retries,
            max_consecutive_failed_trials=8,
            directory=folder,
        )
        tuner.search(X[:100], y[:100], validation_data=(X[100:], y[100:]), epochs=10, verbose=0)
        seconds = time.perf_counter() - started
        trials = tuner.oracle.trials.values()
        completed = [trial.hyperparameters.values for trial in trials if trial.score is not None]
    return seconds, completed, len(trials)


def run_skguard(max_retries):
    import numpy as np

    from skguard import GuardedKerasRegressor
    from skguard.model_selection import GuardedGridSearchCV

    X, y = data()
    started = time.perf_counter()
    search = GuardedGridSearchCV(
        GuardedKerasRegressor(model_of, loss="mse", units_1=10, units_2=10, epochs=10, verbose=0),
        {"units_1": UNITS_1, "units_2": UNITS_2},
        scoring="neg_mean_squared_error",
        cv=[(np.arange(100), np.arange(100, 200))],
        refit=False,
        max_retries_per_trial=max_retries,
        max_consecutive_failed_trials=8,
    ).fit(X, y)
    seconds = time.perf_counter() - started
    status = search.cv_results_["status"]
    completed = [
        p for p, s in zip(search.cv_results_["params"], status, strict=True) if s != "failed"
    ]
    return seconds, completed, len(status)


RUNS = {"KerasTuner": run_keras_tuner, "skguard": run_skguard}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-retries", type=int, default=0)
    parser.add_argument("--only", choices=RUNS, help="run one, in this process")
    arguments = parser.parse_args()
    if arguments.only:
        seconds, completed, n_trials = RUNS[arguments.only](arguments.max_retries)
        print("RESULT", seconds, n_trials, sorted(tuple(sorted(c.items())) for c in completed))
        return
    times = {name: [] for name in RUNS}
    for _ in range(arguments.rounds):
        found = {}
        for name in RUNS:
            command = [sys.executable, __file__, "--only", name]
            command += ["--max-retries", str(arguments.max_retries)]
            started = time.perf_counter()
            out = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
            whole = time.perf_counter() - started
            line = next(text for text in out.stdout.splitlines() if text.startswith("RESULT"))
            _, seconds, found[name] = line.split(" ", 2)
            times[name].append((float(seconds), whole))
        if found["KerasTuner"] != found["skguard"]:
            raise SystemExit(f"They ran different trials: {found}")
    print(f"{arguments.max_retries} retries, the same 12 trials, the same 7 of them complete\n")
    print(f"{'':12}{'search, s':>12}{'process, s':>12}")
    medians = {}
    for name, pairs in times.items():
        medians[name] = [statistics.median(column) for column in zip(*pairs, strict=True)]
        print(f"{name:12}{medians[name][0]:12.2f}{medians[name][1]:12.2f}")
    ratio = medians["KerasTuner"][0] / medians["skguard"][0]
    print(f"\nskguard's search is {ratio:.1f} times faster")


if __name__ == "__main__":
    main()
