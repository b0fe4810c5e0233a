"""Times a search of 16 small fits, which may seem to hang, with six libraries.

    python benchmarks/search_small.py [--rounds N] [--without PEER ...]

The data have 100 samples and 10 features. The search has 5 candidates, 3 folds and a refit; each
fit has 100 epochs, batches of 32 samples, and a validation set of 20 samples of 100. Verifies
first that skguard and plain Keras compute equal histories and weights for the same samples in the
same order. Then every library runs the same candidates and folds in a fresh process, timed from
the first fit on: tracing and compiling count, imports do not. An additional line is the second
search in one process.

Libraries that are not installed are skipped: ``pip install "skguard[benchmarks]"``.
"""

import argparse
import contextlib
import importlib.util
import io
import os
import statistics
import subprocess
import sys
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, ParameterSampler, RandomizedSearchCV
from sklearn.neural_network import MLPRegressor

# TensorFlow and torch each contain LLVM, and one process can load only one of them.
if sys.argv[1:3] == ["--alone", "skorch"]:
    import skorch
    import torch
else:
    import keras

    from skguard import GuardedKerasRegressor

RNG = np.random.default_rng(0)
X = RNG.random((100, 10)).astype("float32")
Y = RNG.random(100).astype("float32")
EPOCHS, BATCH, VALIDATION_SPLIT, PATIENCE = 100, 32, 0.2, 5
CANDIDATES = {"neurons": [32, 64, 128], "learning_rate": [0.001, 0.01, 0.1]}


def build(neurons=64, learning_rate=0.01):
    model = keras.Sequential(
        [keras.Input((10,)), keras.layers.Dense(neurons, "relu"), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(learning_rate), "mse", metrics=["mse"])
    return model


def stop(early):
    return [keras.callbacks.EarlyStopping(patience=PATIENCE)] if early else []


def search(estimator, rename=None):
    names = rename or {}
    candidates = {names.get(key, key): values for key, values in CANDIDATES.items()}
    if "hidden_layer_sizes" in candidates:
        candidates["hidden_layer_sizes"] = [(n,) for n in candidates["hidden_layer_sizes"]]
    return RandomizedSearchCV(estimator, candidates, n_iter=5, cv=KFold(3), random_state=0).fit(
        X, Y
    )


def with_scikeras(early):
    from scikeras.wrappers import KerasRegressor

    settings = {
        "epochs": EPOCHS,
        "batch_size": BATCH,
        "validation_split": VALIDATION_SPLIT,
        "verbose": 0,
    }
    search(KerasRegressor(build, neurons=64, learning_rate=0.01, callbacks=stop(early), **settings))


class PlainKeras(RegressorMixin, BaseEstimator):
    """The fit and score of a hand-written loop over candidates and folds."""

    def __init__(self, neurons=64, learning_rate=0.01, early=False):
        self.neurons, self.learning_rate, self.early = neurons, learning_rate, early

    def fit(self, X, y):
        self.model_ = build(self.neurons, self.learning_rate)
        self.model_.fit(
            X,
            y,
            epochs=EPOCHS,
            batch_size=BATCH,
            validation_split=VALIDATION_SPLIT,
            verbose=0,
            callbacks=stop(self.early),
        )
        return self

    def predict(self, X):
        return self.model_.predict(X, verbose=0)[:, 0]


def with_plain_keras(early):
    for candidate in ParameterSampler(CANDIDATES, 5, random_state=0):
        for train, test in KFold(3).split(X):
            PlainKeras(**candidate, early=early).fit(X[train], Y[train]).score(X[test], Y[test])
    PlainKeras(early=early).fit(X, Y)


def with_keras_wrapper(early):
    # Its __sklearn_clone__ loses fit_kwargs, so that a search would train one epoch only. This
    # subclass keeps them.
    from keras.wrappers import SKLearnRegressor

    class KeepsArguments(SKLearnRegressor):
        def __sklearn_clone__(self):
            twin = super().__sklearn_clone__()
            twin.fit_kwargs = self.fit_kwargs
            return twin

    def make(X, y, neurons=64, learning_rate=0.01):
        return build(neurons, learning_rate)

    arguments = {
        "epochs": EPOCHS,
        "batch_size": BATCH,
        "validation_split": VALIDATION_SPLIT,
        "verbose": 0,
    }
    arguments["callbacks"] = stop(early)
    for candidate in ParameterSampler(CANDIDATES, 5, random_state=0):
        for train, test in KFold(3).split(X):
            estimator = KeepsArguments(make, model_kwargs=candidate, fit_kwargs=arguments)
            estimator.fit(X[train], Y[train]).score(X[test], Y[test])
    KeepsArguments(make, fit_kwargs=arguments).fit(X, Y)


def with_skorch(early):
    class Net(torch.nn.Module):
        def __init__(self, neurons=64):
            super().__init__()
            layers = torch.nn.Linear(10, neurons), torch.nn.ReLU(), torch.nn.Linear(neurons, 1)
            self.layers = torch.nn.Sequential(*layers)

        def forward(self, x):
            return self.layers(x)[:, 0]

    net = skorch.NeuralNetRegressor(
        Net,
        max_epochs=EPOCHS,
        batch_size=BATCH,
        optimizer=torch.optim.Adam,
        train_split=skorch.dataset.ValidSplit(VALIDATION_SPLIT, random_state=0),
        iterator_train__shuffle=True,
        callbacks=[skorch.callbacks.EarlyStopping(patience=PATIENCE)] if early else None,
        verbose=0,
    )
    search(net, {"neurons": "module__neurons", "learning_rate": "lr"})


def with_mlp(early):
    patience = PATIENCE if early else EPOCHS
    mlp = MLPRegressor(
        max_iter=EPOCHS,
        batch_size=BATCH,
        early_stopping=True,
        validation_fraction=VALIDATION_SPLIT,
        n_iter_no_change=patience,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search(mlp, {"neurons": "hidden_layer_sizes", "learning_rate": "learning_rate_init"})


def with_skguard(early):
    search(
        GuardedKerasRegressor(
            build,
            epochs=EPOCHS,
            batch_size=BATCH,
            validation_split=VALIDATION_SPLIT,
            verbose=0,
            random_state=0,
            callbacks=stop(early),
        )
    )


PEERS = {
    "scikeras": with_scikeras,
    "plain Keras": with_plain_keras,
    "keras.wrappers": with_keras_wrapper,
    "skorch": with_skorch,
    "MLPRegressor": with_mlp,
    "skguard": with_skguard,
    "skguard, again": with_skguard,  # the second search in one process, which reuses graphs
}
NEEDS = {"scikeras": "scikeras", "skorch": "skorch"}


def prove_equal():
    fitted = []
    for engine in ("keras", "fused"):
        estimator = GuardedKerasRegressor(
            build,
            engine=engine,
            epochs=EPOCHS,
            batch_size=BATCH,
            validation_split=VALIDATION_SPLIT,
            shuffle=False,
            verbose=0,
            random_state=0,
            callbacks=keras.callbacks.EarlyStopping(patience=20, restore_best_weights=True),
        )
        fitted.append(estimator.fit(X, Y))
    theirs, ours = fitted
    assert ours.engine_ == "fused"
    assert ours.history_ == theirs.history_
    weights = zip(ours.model_.get_weights(), theirs.model_.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in weights)


def time_alone(name, early):
    """Run one search in a new process and return its duration in seconds."""
    command = [sys.executable, __file__, "--alone", name, *(["--early"] if early else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return float(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without", nargs="*", default=[], choices=PEERS)
    parser.add_argument("--alone", choices=PEERS, help="time this library only, in this process")
    parser.add_argument("--early", action="store_true", help="with --alone: use early stopping")
    options = parser.parse_args()
    if options.alone:
        run = PEERS[options.alone]
        with contextlib.redirect_stdout(io.StringIO()):
            if options.alone == "skguard, again":
                run(options.early)
            started = time.perf_counter()
            run(options.early)
            seconds = time.perf_counter() - started
        print(seconds)
        return
    peers = [
        name
        for name in PEERS
        if name not in options.without
        and (name not in NEEDS or importlib.util.find_spec(NEEDS[name]))
    ]
    prove_equal()
    for early in (False, True):
        seconds = {name: [] for name in peers}
        for _ in range(options.rounds):
            for name in peers:
                seconds[name].append(time_alone(name, early))
        ours = statistics.median(seconds["skguard"])
        print(
            f"\n{'early stopping' if early else '100 epochs':16} {'median':>9} {'to skguard':>11}"
        )
        for name, values in seconds.items():
            median = statistics.median(values)
            print(f"{name:16} {median:7.2f} s {median / ours:11.2f}", flush=True)


if __name__ == "__main__":
    main()
