"""Private parts of Keras that the engine uses are where it expects them, or not needed."""

import keras
import numpy as np
import pytest

from skguard._repairs import keras_internals
from tests.engine.parity import assert_same_training


def build():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


class Unbuilt(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = keras.layers.Dense(1)

    def call(self, x):
        return self.inner(x)


def build_unbuilt():
    model = Unbuilt()
    model.compile("adam", "mse", metrics=["mae"])
    return model


@pytest.mark.parametrize(
    "name",
    [
        "_symbolic_build",
        "_compile_loss",
        "_compile_metrics",
        "_flatten_layers",
        "_initial_epoch",
        "_distribute_strategy",
    ],
)
def test_keras_still_has(name):
    assert hasattr(build(), name)


def test_keras_still_has_the_flag_behind_trainable():
    model = build()
    layer = model.layers[0]
    layer.trainable = False
    assert layer._trainable is False
    model._trainable = False
    model.trainable = False  # has no effect, as the model has the value already
    layer._trainable = True
    model.trainable = False
    assert layer.trainable


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD(), keras.optimizers.Adam()])
@pytest.mark.parametrize("scaled", [False, True])
def test_an_optimizer_reports_the_variables_that_it_was_built_for(optimizer, scaled):
    optimizer = optimizer.from_config(optimizer.get_config())
    outer = keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer
    variables = build().trainable_variables
    outer.build(variables)
    found = keras_internals.optimized_variables(outer)
    assert [id(variable) for variable in found] == [id(variable) for variable in variables]


def test_everything_is_built_before_tracing(rng):
    batch = rng.random((2, 4)).astype("float32"), rng.random((2, 1)).astype("float32")
    for builder in (build, build_unbuilt):
        model = builder()
        keras_internals.build(model, batch)
        assert model.built
        assert model.optimizer.built
        assert len(model.metrics_variables) == 4


@pytest.mark.parametrize("builder", [build, build_unbuilt])
def test_training_is_the_same_without_them(builder, rng, monkeypatch):
    monkeypatch.setattr(keras_internals, "_build_compiled", lambda model, batch: False)
    monkeypatch.setattr(keras.Model, "_symbolic_build", property(lambda self: None))
    X = rng.random((20, 4)).astype("float32")
    assert_same_training(builder, X, X[:, :1], validation_split=0.2)


def test_layers_within_layers_are_found_without_them():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="deep")])

    class Plain:
        layers = [inner]  # noqa: RUF012

    assert "deep" in [layer.name for layer in keras_internals.all_layers(Plain())]


def test_settings_do_not_change_by_use(rng):
    X = rng.random((20, 4))
    model = build()
    model.fit(X, X[:, 0], verbose=0)
    before = keras_internals.settings(model)
    model.fit(X, X[:, 0], verbose=0)
    model.predict(X, verbose=0)
    assert keras_internals.settings(model) == before
    model.layers[0].use_bias = False
    assert keras_internals.settings(model) != before
    assert np.isfinite(model.predict(X, verbose=0)).all()


def test_a_model_without_an_input_layer_is_built_for_batches_of_any_size(rng):
    import tensorflow as tf

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    batch = tf.constant(rng.random((2, 4)), tf.float32), tf.constant(rng.random((2, 1)), tf.float32)
    keras_internals.build(model, batch)
    assert model.inputs[0].shape == (None, 4)
