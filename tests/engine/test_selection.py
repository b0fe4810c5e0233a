"""Keras trains wherever the fused engine could not give the same, and the reason is given."""

import functools
import time

import keras
import numpy as np
import pytest

from skguard import _engine as engine
from skguard._engine.tensorflow import program
from skguard.exceptions import DivergedError, InputValueError
from tests.engine.parity import FIT


class CustomFit(keras.Sequential):
    def fit(self, *args, **kwargs):
        return super().fit(*args, **kwargs)


class CustomEvaluate(keras.Sequential):
    def evaluate(self, *args, **kwargs):
        return super().evaluate(*args, **kwargs)


class CustomFunction(keras.Sequential):
    def make_train_function(self, force=False):
        return super().make_train_function(force)


class GlobalNoise(keras.layers.Layer):
    def call(self, x, training=False):
        import tensorflow as tf

        return x + tf.random.normal(tf.shape(x)) if training else x


class Double(keras.layers.Layer):
    def call(self, x):
        return 2 * x


class CustomModel(keras.Sequential):
    pass


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
    "custom fit": (lambda: build(CustomFit), {}, r"overrides fit\(\)"),
    "custom evaluate": (lambda: build(CustomEvaluate), {}, r"overrides evaluate\(\)"),
    "custom train function": (
        lambda: build(CustomFunction),
        {},
        r"overrides make_train_function\(\)",
    ),
    "eager": (lambda: build(run_eagerly=True), {}, "run_eagerly=True"),
    "stateful": (stateful, {"batch_size": 10}, r"layer 'simple_rnn.*' has stateful=True"),
    "fixed batches": (fixed_batches, {"batch_size": 10}, "fixed batch size"),
    "steps": (build, {"steps_per_epoch": 2}, "steps_per_epoch=2"),
    "validation steps": (
        build,
        {"validation_split": 0.5, "validation_steps": 1},
        "validation_steps=1",
    ),
    "several steps per execution": (
        lambda: build(keras.Sequential, Double(), steps_per_execution=3),
        {},
        "steps_per_execution=3 .*: Double is a custom layer",
    ),
    "large batches": (build, {"batch_size": 2**31}, "too large"),
    "global stream": (lambda: build(keras.Sequential, GlobalNoise()), {}, "global random stream"),
}


def replaced(original):
    """Replace a method as tools do that log every training: under the name of the original."""

    @functools.wraps(original)
    def replacement(self, *args, **kwargs):
        replacement.n_calls += 1
        return original(self, *args, **kwargs)

    replacement.n_calls = 0
    return replacement


REPLACED = [
    (keras.Model, "fit"),
    (keras.Model, "evaluate"),
    (keras.Model, "train_step"),
    (keras.Model, "test_step"),
    (keras.Model, "make_train_function"),
    (keras.Model, "compute_loss"),
    (keras.Sequential, "train_step"),
    (keras.Sequential, "call"),
]


@pytest.mark.parametrize(("cls", "name"), REPLACED)
def test_a_method_that_was_replaced_in_keras_itself_is_called(cls, name, data, monkeypatch):
    engine.train(build(), *data, engine="fused", **FIT)  # its graph could be used again
    replacement = replaced(getattr(cls, name))
    monkeypatch.setattr(cls, name, replacement)
    arguments = FIT | {"validation_split": 0.2}
    match = rf"{name}\(\) of Keras's models was replaced, by tests"
    with pytest.raises(InputValueError, match=match):
        engine.train(build(), *data, engine="fused", **arguments)
    replacement.n_calls = 0
    run = engine.train(build(), *data, engine="auto", **arguments)
    assert run.engine == "keras"
    assert replacement.n_calls > 0


@pytest.mark.parametrize("name", ["predict", "predict_step"])
def test_a_prediction_that_was_replaced_in_keras_itself_is_called(name, data, monkeypatch):
    model = build()
    expected = engine.predict(model, data[0], engine="auto", verbose=0)
    replacement = replaced(getattr(keras.Model, name))
    monkeypatch.setattr(keras.Model, name, replacement)
    model.compile("sgd", "mse")
    found = engine.predict(model, data[0], engine="auto", verbose=0)
    np.testing.assert_array_equal(found, expected)
    assert replacement.n_calls > 0


def test_a_replacement_of_fit_gets_the_arguments_that_differ_and_a_list_of_callbacks(
    data, monkeypatch
):
    """As the automatic logging of MLflow replaces it, which appends a callback of its own."""
    original = keras.Model.fit
    calls = []

    @functools.wraps(original)
    def fit(self, *args, **kwargs):
        calls.append(kwargs.copy())
        kwargs["callbacks"].append(keras.callbacks.LambdaCallback(on_epoch_end=log))
        return original(self, *args, **kwargs)

    logged = []

    def log(epoch, logs):
        logged.append(logs["loss"])

    monkeypatch.setattr(keras.Model, "fit", fit)
    recorder = keras.callbacks.History()
    arguments = FIT | {"epochs": 4, "callbacks": [recorder, keras.callbacks.EarlyStopping("loss")]}
    run = engine.train(build(), *data, engine="auto", **arguments)
    assert run.history["loss"] == logged == recorder.history["loss"]
    assert run.n_epochs == 4
    assert run.reason.startswith("keras.Model.fit: fit() of Keras's models was replaced")
    (given,) = calls
    assert given.keys() == {"x", "y", "callbacks", "epochs", "batch_size", "shuffle", "verbose"}


def test_a_replacement_of_fit_keeps_the_time_limit_and_the_check_for_nan(data, monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", replaced(keras.Model.fit))
    limits = engine.Limits(deadline=time.monotonic())
    run = engine.train(build(), *data, engine="auto", limits=limits, **FIT)
    assert (run.stop_reason, run.history) == ("time_budget", {})
    x = np.full_like(data[0], np.nan)
    with pytest.raises(DivergedError, match="loss was nan"):
        engine.train(build(), x, data[1], engine="auto", limits=engine.Limits("fail"), **FIT)


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


FUSED_REASONS = {
    "supported layers": (lambda: build(), "shared graph"),
    "unsupported layer": (
        lambda: build(keras.Sequential, keras.layers.Lambda(lambda x: x)),
        "separate graph: Lambda is not among the supported layers",
    ),
    "unsupported part of a layer": (
        lambda: build(keras.Sequential, keras.layers.Dense(2, kernel_regularizer="l1")),
        "separate graph: L1 is not among the supported regularizers (Dense.kernel_regularizer)",
    ),
    "custom layer": (
        lambda: build(keras.Sequential, Double()),
        "separate graph: Double is a custom layer",
    ),
    "custom function": (
        lambda: build(keras.Sequential, keras.layers.Dense(2, activation=lambda x: x)),
        "separate graph: Dense.activation is the custom function '<lambda>'",
    ),
    "custom model": (lambda: build(CustomModel), "separate graph: CustomModel is a custom model"),
    "silu": (
        lambda: build(keras.Sequential, keras.layers.Dense(2, "silu")),
        "shared graph, one batch per call: silu rounds differently inside a loop",
    ),
}


@pytest.mark.parametrize("name", FUSED_REASONS)
def test_the_reason_of_the_fused_engine_names_what_keeps_a_graph_from_being_shared(name, data):
    builder, reason = FUSED_REASONS[name]
    run = engine.train(builder(), *data, engine="fused", **FIT)
    assert run.reason.removesuffix(" class") == reason


def test_the_reason_of_a_short_training_is_its_number_of_batches(data, monkeypatch):
    monkeypatch.setattr(program, "FEW_BATCHES", 6)
    short = engine.train(build(), *data, engine="auto", **(FIT | {"epochs": 3}))
    long = engine.train(build(), *data, engine="auto", **(FIT | {"epochs": 4}))
    assert short.reason == "shared graph, one batch per call: at most 6 batches in this training"
    assert long.reason == "shared graph"
    custom = engine.train(build(keras.Sequential, Double()), *data, engine="auto", **FIT)
    assert custom.reason == "separate graph: Double is a custom layer"


def test_the_reason_follows_what_callbacks_change(data):
    def double(logs):
        model.layers[0].kernel_regularizer = keras.regularizers.L1(0.0)

    model = build()
    change = keras.callbacks.LambdaCallback(on_train_begin=double)
    run = engine.train(model, *data, engine="auto", callbacks=[change], **FIT)
    assert run.reason.startswith("separate graph: L1 is not among the supported regularizers")


def test_a_step_that_returns_no_dict_is_left_to_keras(data):
    with pytest.raises(ValueError, match="not a dict"):
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
    assert (run.engine, run.reason) == (
        "keras",
        "keras.Model.fit: the model is distributed over devices",
    )


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


class Labelled(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data) | {"phase": "warm-up"}


def test_logs_that_are_not_numbers_are_those_of_keras(data):
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        models.append(build(Labelled))
    theirs, ours = models
    expected = theirs.fit(*data, shuffle=False, epochs=2, verbose=0).history
    run = engine.train(ours, *data, engine="auto", shuffle=False, epochs=2, verbose=0)
    assert run.history["loss"] == expected["loss"]
    assert list(run.history) == list(expected)
    assert run.reason == "keras.Model.fit: the value of 'phase' in the logs is not a number"
