"""The engine of Keras is taken wherever the fused one could not give the same."""

import keras
import numpy as np
import pytest

from skguard import _engine as engine
from tests.engine.parity import FIT


class OwnFit(keras.Sequential):
    def fit(self, *args, **kwargs):
        return super().fit(*args, **kwargs)


class OwnEvaluate(keras.Sequential):
    def evaluate(self, *args, **kwargs):
        return super().evaluate(*args, **kwargs)


class OwnFunction(keras.Sequential):
    def make_train_function(self, force=False):
        return super().make_train_function(force)


class GlobalNoise(keras.layers.Layer):
    def call(self, x, training=False):
        import tensorflow as tf

        return x + tf.random.normal(tf.shape(x)) if training else x


class Own(keras.layers.Layer):
    def call(self, x):
        return 2 * x


class NoDict(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data)["loss"]


def build(cls=keras.Sequential, *layers, **compiled):
    model = cls([keras.Input((4,)), *layers, keras.layers.Dense(1)])
    model.compile("sgd", "mse", **compiled)
    return model


def stateful():
    model = keras.Sequential(
        [keras.Input(batch_shape=(10, 4, 1)), keras.layers.SimpleRNN(2, stateful=True)]
    )
    model.add(keras.layers.Dense(1))
    model.compile("sgd", "mse")
    return model


def fixed_batches():
    model = keras.Sequential([keras.Input(batch_shape=(10, 4)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


@pytest.fixture
def data(rng):
    return rng.standard_normal((20, 4)).astype("float32"), rng.standard_normal((20, 1))


REASONS = {
    "own fit": (lambda: build(OwnFit), {}, r"its own fit\(\)"),
    "own evaluate": (lambda: build(OwnEvaluate), {}, r"its own evaluate\(\)"),
    "own train function": (lambda: build(OwnFunction), {}, r"its own make_train_function\(\)"),
    "eager": (lambda: build(run_eagerly=True), {}, "runs eagerly"),
    "stateful": (stateful, {"batch_size": 10}, "carries its state"),
    "fixed batches": (fixed_batches, {"batch_size": 10}, "batches of one size"),
    "steps": (build, {"steps_per_epoch": 2}, "steps_per_epoch is given"),
    "validation steps": (
        build,
        {"validation_split": 0.5, "validation_steps": 1},
        "validation_steps is given",
    ),
    "several steps a call": (
        lambda: build(keras.Sequential, Own(), steps_per_execution=3),
        {},
        "steps_per_execution is faster",
    ),
    "large batches": (build, {"batch_size": 2**31}, "too large"),
    "global stream": (lambda: build(keras.Sequential, GlobalNoise()), {}, "global stream"),
}


@pytest.mark.parametrize("name", REASONS)
def test_keras_trains_what_the_fused_engine_cannot_and_the_reason_is_given(name, data):
    builder, arguments, reason = REASONS[name]
    arguments = FIT | {"epochs": 2} | arguments
    with pytest.raises(ValueError, match=rf"engine='fused' cannot.*{reason}"):
        engine.train(builder(), *data, engine="fused", **arguments)
    run = engine.train(builder(), *data, engine="auto", **arguments)
    assert run.engine == "keras"
    assert len(run.reason.splitlines()) == 1
    assert len(run.history["loss"]) == 2


def test_a_step_that_returns_no_dict_is_left_to_keras(data):
    with pytest.raises(ValueError, match="no dict"):
        engine.train(build(NoDict), *data, engine="fused", **FIT)


def test_datasets_and_generators_are_left_to_keras(data):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(data).batch(4)
    arguments = {"epochs": 1, "verbose": 0, "shuffle": False}
    run = engine.train(build(), dataset, None, engine="auto", **arguments)
    assert run.engine == "keras"
    run = engine.train(build(), *data, engine="auto", validation_data=dataset, **arguments)
    assert (run.engine, "val_loss" in run.history) == ("keras", True)
    assert "Dataset" in run.reason


def test_a_distributed_model_is_left_to_keras(data):
    import tensorflow as tf

    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        model = build()
    run = engine.train(model, *data, engine="auto", **(FIT | {"shuffle": False}))
    assert (run.engine, run.reason) == ("keras", "the model is distributed")


def two_outputs():
    x = keras.Input((4,))
    model = keras.Model(x, [keras.layers.Dense(1)(x), keras.layers.Dense(1)(x)])
    model.compile("sgd", ["mse", "mse"])
    return model


def test_weights_that_do_not_fit_several_outputs_are_an_error_of_keras(data):
    X, y = data
    for weights in (np.ones((20, 3)), [np.ones(20)]):
        with pytest.raises(ValueError, match="sample_weight"):
            engine.train(two_outputs(), X, [y, y], engine="auto", **FIT, sample_weight=weights)


def test_errors_in_the_data_are_those_of_keras(data):
    X, y = data
    for arguments, message in (
        ({"x": X, "y": y, "validation_split": 0.5, "validation_freq": (1, 2)}, "validation_freq"),
        ({"x": X, "y": y[:5]}, "cardinality"),
        ({"x": X[:, :2], "y": y}, "incompatible"),
        ({"x": X, "y": y, "validation_split": 1.0}, "validation_split"),
        ({"x": X, "y": y, "sample_weight": np.ones(20), "class_weight": {0: 1.0}}, "class_weight"),
    ):
        with pytest.raises(ValueError, match=message):
            engine.train(build(), engine="auto", **(FIT | arguments))


def test_limits_for_debugging_are_kept(data):
    if not hasattr(keras.config, "set_max_epochs"):
        pytest.skip("this Keras has no limits for debugging")
    keras.config.set_max_epochs(1)
    try:
        with pytest.warns(UserWarning, match="Limiting epochs to 1"):
            run = engine.train(build(), *data, engine="auto", **FIT)
    finally:
        keras.config.set_max_epochs(None)
    assert len(run.history["loss"]) == 1


@pytest.mark.parametrize("jit", [True, False])
def test_xla_is_used_where_the_model_asks_for_it(jit, data):
    from tests.engine.parity import assert_same_training

    assert_same_training(lambda: build(jit_compile=jit), *data)
