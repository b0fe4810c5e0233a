"""Models, limits and callbacks for the tests of monitoring."""

import time

import keras
import numpy as np
import pytest

from skguard import _engine as engine
from tests.engine.parity import build, build_custom
from tests.engine.recording import HOOKS

LATER = 1e6  # seconds: a deadline that no test reaches
STALLS = 12  # seconds for which a shared machine may stand still


def make_data():
    X = np.random.default_rng(0).standard_normal((50, 4)).astype("float32")
    return X, X @ np.array([1, -2, 0.5, 0], "float32")[:, None]


WAYS = [
    pytest.param(build, "fused", id="many epochs per call"),
    pytest.param(build_custom, "fused", id="one batch per call"),
    pytest.param(build, "keras", id="keras"),
]


def build_sgd():
    return build(keras.optimizers.SGD(0.05))


def build_clipped():
    """A model that a high learning rate makes worse, and never infinite."""
    return build(keras.optimizers.SGD(0.05, clipnorm=1.0))


def limits_until(seconds, on_nan="fail"):
    return engine.Limits(on_nan=on_nan, deadline=time.monotonic() + seconds)


def time_is_up(limits):
    """Move the deadline to this moment."""
    object.__setattr__(limits, "deadline", time.monotonic())


class Watch(keras.callbacks.Callback):
    """Counts hooks, keeps the weights after each epoch, and calls functions of a test."""

    def __init__(self, **acts):
        super().__init__()
        self.n_calls = dict.fromkeys(HOOKS, 0)
        self.weights = []
        for name, act in acts.items():
            setattr(self, name, self._hook(name, act))

    def _hook(self, name, act):
        def hook(at, logs=None):
            self.n_calls[name] += 1
            act(self, at, logs)

        return hook

    def on_epoch_end(self, epoch, logs=None):
        self.n_calls["on_epoch_end"] += 1
        self.weights.append(self.model.get_weights())

    def on_train_end(self, logs=None):
        self.n_calls["on_train_end"] += 1


class RaiseRate(keras.callbacks.Callback):
    """Sets another learning rate at one epoch."""

    def __init__(self, epoch, rate):
        super().__init__()
        self.epoch, self.rate = epoch, rate

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            self.model.optimizer.learning_rate = self.rate


class Log(keras.callbacks.Callback):
    """Adds a value to the logs of each epoch, unless it is None."""

    def __init__(self, name, values):
        super().__init__()
        self.name, self.values = name, values

    def on_epoch_end(self, epoch, logs=None):
        if self.values[epoch] is not None:
            logs[self.name] = self.values[epoch]


def early(monitor="loss", **settings):
    return keras.callbacks.EarlyStopping(monitor, **settings)


FAIL, STOP, IGNORE = (engine.Limits(on_nan=value) for value in ("fail", "stop", "ignore"))
STOPPED = r"Training diverged.*weights are those of the last finite epoch"
