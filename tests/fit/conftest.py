"""Fixtures of the tests of fits."""

import time

import numpy as np
import pytest


@pytest.fixture
def begun():
    """Epochs that `RecordsEpochs` saw begin in this test."""
    from tests.fit.probes import BEGUN

    BEGUN.clear()
    return BEGUN


@pytest.fixture
def noise(line, rng):
    """Samples from which nothing can be learned, so that the validation loss soon rises."""
    return line[0], rng.permutation(line[1])


@pytest.fixture
def two_blobs(rng):
    """60 samples of two classes, text and sorted, that overlap and are partly mislabelled."""
    y = np.repeat([0, 1], 30)
    X = rng.normal(size=(60, 4)) + 0.7 * y[:, None]
    return X, np.array(["no", "yes"])[np.where(rng.random(60) < 0.2, 1 - y, y)]


@pytest.fixture
def other_blobs():
    """21 samples like those of `blobs`, in any order, to validate with."""
    rng = np.random.default_rng(1)
    y = rng.permutation(np.repeat([0, 1, 2], 7))
    return rng.normal(size=(21, 4)) + 3 * np.eye(4)[y], y


@pytest.fixture
def clock(monkeypatch):
    """A clock that can be advanced: ``clock[0] += 100`` is 100 seconds later."""
    ahead, now = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + ahead[0])
    return ahead
