"""Small data and small models, shared by all tests."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest


def build_classifier(meta, units=8):
    """A model function for any classification, left to the estimator to compile."""
    return keras.Sequential(
        [
            keras.Input(meta["X_shape_"][1:]),
            keras.layers.Dense(units, "relu"),
            keras.layers.Dense(meta["n_classes_"], "softmax"),
        ]
    )


def build_regressor(meta, units=8):
    return keras.Sequential(
        [
            keras.Input(meta["X_shape_"][1:]),
            keras.layers.Dense(units, "relu"),
            keras.layers.Dense(meta["n_outputs_"]),
        ]
    )


def make_classifier(model=build_classifier, **parameters):
    """A classifier that trains for one epoch."""
    from skguard import GuardedKerasClassifier

    defaults = {
        "loss": "sparse_categorical_crossentropy",
        "optimizer": "adam",
        "verbose": 0,
        "random_state": 0,
    }
    return GuardedKerasClassifier(model, **defaults | parameters)


def make_regressor(model=build_regressor, **parameters):
    from skguard import GuardedKerasRegressor

    defaults = {"loss": "mse", "optimizer": "adam", "verbose": 0, "random_state": 0}
    return GuardedKerasRegressor(model, **defaults | parameters)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def blobs(rng):
    """60 rows, 4 features, 3 well-parted classes, sorted by label."""
    y = np.repeat([0, 1, 2], 20)
    X = rng.normal(size=(60, 4)) + 3 * np.eye(4)[y]
    return X, y


@pytest.fixture
def line(rng):
    """60 rows, 4 features, one target that a linear model fits."""
    X = rng.normal(size=(60, 4))
    return X, X @ np.array([1.0, -2.0, 0.5, 0.0]) + 0.1 * rng.normal(size=60)


@pytest.fixture
def classifier():
    from skguard import GuardedKerasClassifier

    return GuardedKerasClassifier(
        build_classifier,
        loss="sparse_categorical_crossentropy",
        optimizer="adam",
        optimizer__learning_rate=0.05,
        epochs=15,
        verbose=0,
        random_state=0,
    )


@pytest.fixture
def regressor():
    from skguard import GuardedKerasRegressor

    return GuardedKerasRegressor(
        build_regressor,
        loss="mse",
        optimizer="adam",
        optimizer__learning_rate=0.05,
        epochs=15,
        verbose=0,
        random_state=0,
    )


@pytest.fixture(autouse=True)
def no_graphs_from_elsewhere(request):
    """Tests of the engine start without graphs, and leave none."""
    if "engine" not in request.path.parts:
        yield
        return
    from skguard.engine import clear_graphs

    clear_graphs()
    yield
    clear_graphs()


@pytest.fixture(autouse=True)
def loops_from_the_first_batch_on(request, monkeypatch):
    """Tests of the engine train as long fits do; those of short ones are in test_short.py."""
    if "engine" in request.path.parts and request.path.name != "test_short.py":
        from skguard.engine import running

        monkeypatch.setattr(running, "FEW_BATCHES", -1)


@pytest.fixture
def n_traces(monkeypatch):
    """The training graphs that were traced, in a list."""
    from skguard.engine import epochs

    traced = []
    trace = epochs.TrainingGraph.__init__

    def count(self, *args):
        trace(self, *args)
        traced.append(self)

    monkeypatch.setattr(epochs.TrainingGraph, "__init__", count)
    return traced


def make_trials(n_candidates=2, n_splits=2, **rules):
    """The book of a search whose candidates are ``{"a": 0}``, ``{"a": 1}`` and so on."""
    from skguard.model_selection.trials import Rules, Trials

    defaults = {
        "max_retries": 0,
        "max_consecutive_failed": None,
        "nan_score": "fail",
        "error_score": float("nan"),
        "refit_metric": None,
        "stop_score": None,
        "deadline": None,
        "n_jobs": 1,
        "expected_refit": lambda seconds: seconds,
    }
    trials = Trials(Rules(**defaults | rules), n_splits)
    candidates = [{"a": number} for number in range(n_candidates)]
    trials.add(candidates, [None] * (n_candidates * n_splits))
    return trials


def with_score(fit, score=0.5, train_score=0.75, fit_time=1.0, **training):
    """A made-up outcome of a fit that went well."""
    from skguard.model_selection.fits import Outcome, Training

    scores = {
        "test_scores": score,
        "train_scores": train_score,
        "fit_time": fit_time,
        "score_time": 0.25,
    }
    return Outcome(fit, 2 * fit_time, scores, training=Training(**training))


def with_failure(fit, error=None, scores=None, seconds=3.0, retry_on=(Exception,), **rest):
    """A made-up outcome of a fit that failed; `rest` is for `Failure.of`."""
    from skguard.model_selection.fits import Failure, Outcome

    error = ValueError("made up") if error is None else error
    failure = Failure.of(error, retry_on, **rest)
    return Outcome(fit, seconds, scores, failure)
