"""Trains twice, by Keras and by the fused engine, and compares every number."""

import keras
import numpy as np

from skguard import _engine as engine
from skguard._engine.tensorflow.cache import CACHE, variables_of
from skguard._parameters import copies
from skguard._repairs import seeding

FIT = {"batch_size": 16, "epochs": 3, "shuffle": False, "verbose": 0}


def build(optimizer="adam", **compiled):
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(optimizer, "mse", metrics=["mae"], **compiled)
    return model


class CustomLayer(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def build_custom():
    """A model that shares no graph, and is trained one batch per call."""
    layers = [keras.layers.Dense(8, "relu"), CustomLayer(), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def values_of(model):
    """All variables of a model, its optimizer and its metrics."""
    return [np.array(v.value) for v in variables_of(model)]


def same(ours, theirs):
    """Whether two nested numbers or arrays are equal, bit for bit; NaN equals NaN."""
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return np.array_equal(ours, theirs, equal_nan=np.asarray(ours).dtype.kind == "f")


def build_twins(build, n=2):
    """Models with equal weights."""
    models = []
    for _ in range(n):
        keras.utils.set_random_seed(1)
        with copies.first_metric_names():
            models.append(build())
    return models


def train_both(build, x, y, models=None, **arguments):
    """Train by Keras and by the fused engine, and check that it was the fused one."""
    arguments = FIT | arguments
    theirs, ours = models or build_twins(build)
    with seeding.preserved():
        keras.utils.set_random_seed(2)
        history = theirs.fit(x, y, **copy_callbacks(arguments, "theirs")).history
    with seeding.preserved():
        keras.utils.set_random_seed(2)
        run = engine.train(ours, x, y, engine="auto", **copy_callbacks(arguments, "ours"))
    assert run.engine == "fused", run.reason
    return (history, theirs), (run.history, ours)


def copy_callbacks(arguments, side):
    """Make callbacks for one side: `arguments` has functions of its name."""
    made = [make(side) for make in arguments.get("callbacks", [])]
    return arguments | ({"callbacks": made} if made else {})


def assert_same_training(build, x, y, **arguments):
    """Assert that Keras and the fused engine give equal histories and equal variables."""
    (their_history, theirs), (our_history, ours) = train_both(build, x, y, **arguments)
    assert list(our_history) == list(their_history)
    assert same(our_history, their_history)
    assert same(values_of(ours), values_of(theirs))
    return theirs, ours


def trace_on_another(build, x, y, **arguments):
    """Leave a graph in the cache that was traced on a model with other weights."""
    CACHE.clear()
    keras.utils.set_random_seed(99)
    with copies.first_metric_names():
        model = build()
    run = engine.train(model, x, y, engine="fused", **(FIT | arguments | {"callbacks": None}))
    assert run.engine == "fused"
    assert len(CACHE) == 1
