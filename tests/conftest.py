"""Small data and estimators, shared by all tests, and the option ``--quick``."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

from tests.models import build_classifier, build_regressor


def pytest_addoption(parser):
    parser.addoption(
        "--quick",
        action="store_true",
        help="Run only the first test of each file that is not marked slow, with the first of its "
        "parameters.",
    )


def pytest_collection_modifyitems(config, items):
    """Deselect what ``--quick`` leaves out.

    The choice depends on nothing but the order of the tests in their file, so that all workers of
    pytest-xdist make the same one, and a new file is part of it without being listed anywhere.
    """
    if not config.getoption("--quick"):
        return
    files, kept, deselected = set(), [], []
    for item in items:
        if item.path in files or item.get_closest_marker("slow"):
            deselected.append(item)
        else:
            files.add(item.path)
            kept.append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=deselected)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def blobs(rng):
    """60 samples, 4 features, 3 well-separated classes, sorted by label."""
    y = np.repeat([0, 1, 2], 20)
    X = rng.normal(size=(60, 4)) + 3 * np.eye(4)[y]
    return X, y


@pytest.fixture
def line(rng):
    """60 samples, 4 features, one target that a linear model fits."""
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
