"""Memory that TensorFlow keeps of deleted models does not grow."""

import gc

import keras
import pytest
from tensorflow.python.eager import context
from tensorflow.python.framework import ops

from skguard import GuardedKerasRegressor
from skguard._engine.tensorflow import cleanup
from skguard._engine.tensorflow.cleanup import Residue


class Double(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def fit(line, **params):
    def build():
        return keras.Sequential([keras.Input((4,)), Double(), keras.layers.Dense(1)])

    settings = {"loss": "mse", "optimizer": "adam", "epochs": 1, "verbose": 0}
    return GuardedKerasRegressor(build, **(settings | params)).fit(*line)


def test_the_places_where_tensorflow_keeps_them_are_where_they_were():
    assert cleanup._registered_gradients() is ops.gradient_registry._registry
    assert cleanup._clear() == context.context().clear_kernel_cache


@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_no_gradient_of_a_trained_model_stays_registered(engine, line):
    fit(line, engine=engine)
    before = set(cleanup._registered_gradients())
    fit(line, engine=engine)
    assert set(cleanup._registered_gradients()) - before == set()


def test_registered_gradients_of_others_stay():
    import tensorflow as tf

    @tf.custom_gradient
    def double(x):
        return 2 * x, lambda dy: 3 * dy

    graph = tf.function(double).get_concrete_function(tf.TensorSpec((), tf.float32))
    cleanup.drop_gradients()
    x = tf.constant(1.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = graph(x)
    assert float(tape.gradient(y, x)) == 3


@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_the_graphs_of_models_that_are_gone_are_freed(engine, line):
    from tensorflow.python.framework.func_graph import FuncGraph

    def count():
        from skguard._engine import clear_graphs

        clear_graphs()
        gc.collect()
        return sum(isinstance(o, FuncGraph) for o in gc.get_objects())

    fit(line, engine=engine)
    before = count()
    for _ in range(3):
        fit(line, engine=engine)
    assert count() <= before


def test_kernels_are_dropped_once_they_are_many(monkeypatch):
    dropped = []
    monkeypatch.setattr(cleanup, "_clear", lambda: lambda: dropped.append(1))
    monkeypatch.setattr(cleanup, "_noted", 0)
    for _ in range(999):
        cleanup.note(Residue.VARIABLE)
    assert dropped == []
    cleanup.note(Residue.VARIABLE)
    assert dropped == [1]
    cleanup.note(Residue.GRAPH)
    assert dropped == [1]
