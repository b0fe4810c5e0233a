"""Arguments, data and custom code in the fused engine, as in ``Model.fit``."""

import keras
import numpy as np
import pytest
import scipy.sparse

from skguard import _engine as engine
from tests.engine.parity import (
    FIT,
    assert_same_training,
    build,
    build_twins,
    same,
    values_of,
)


@pytest.mark.parametrize(
    "arguments",
    [
        {"validation_split": 0.3},
        {"validation_split": 0.3, "validation_batch_size": 4},
        {"validation_split": 0.3, "validation_freq": 2, "epochs": 5},
        {"validation_split": 0.3, "validation_freq": [1, 4], "epochs": 5},
        {"initial_epoch": 2, "epochs": 5, "validation_split": 0.3, "validation_freq": 2},
        {"batch_size": None},
        {"batch_size": 1000},
        {"batch_size": 50},
        {"sample_weight": np.linspace(0.1, 2, 50)},
        {"sample_weight": np.linspace(0.1, 2, 50), "validation_split": 0.3},
        {"epochs": 40, "validation_split": 0.3, "batch_size": 7},
    ],
    ids=str,
)
def test_arguments_mean_what_they_mean_in_keras(arguments, any_build, data):
    assert_same_training(any_build, *data, **arguments)


def test_no_epoch_left_to_train_changes_nothing(data):
    (model,) = build_twins(build, 1)
    before = model.get_weights()
    run = engine.train(model, *data, engine="fused", **(FIT | {"initial_epoch": 3}))
    assert run.history == {}
    assert same(model.get_weights(), before)


def test_weights_of_validation_samples_have_an_effect(data):
    X, y = data
    validation_data = X[:9], y[:9], np.linspace(0, 3, 9)
    assert_same_training(build, X, y, validation_data=validation_data)


@pytest.mark.parametrize("steps", [2, 3, 100])
def test_steps_per_execution_change_nothing_but_the_calls_of_callbacks(steps, data):
    def builder():
        model = build()
        model.steps_per_execution = steps
        return model

    assert_same_training(builder, *data, validation_split=0.3)


def build_for_classes():
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    return model


def build_for_one_hot():
    model = build_for_classes()
    model.compile("adam", "categorical_crossentropy")
    return model


@pytest.mark.parametrize(
    ("builder", "encode"),
    [
        (build_for_classes, lambda y: y),
        (build_for_classes, lambda y: y[:, None].astype("float64")),
        (build_for_one_hot, lambda y: np.eye(3)[y]),
    ],
    ids=["numbers", "column", "one-hot"],
)
def test_class_weights_have_an_effect(builder, encode, data, rng):
    y = encode(rng.integers(0, 3, 50))
    assert_same_training(builder, data[0], y, class_weight={0: 0.2, 2: 3.0}, validation_split=0.2)


def test_sparse_matrices_give_the_numbers_of_keras(rng):
    def builder():
        x = keras.Input((6,), sparse=True)
        model = keras.Model(x, keras.layers.Dense(1)(keras.layers.Dense(5, "relu")(x)))
        model.compile("sgd", "mse")
        return model

    X = scipy.sparse.random(50, 6, 0.3, format="lil", dtype="float32", random_state=0)
    X[7] = 0
    X = X.tocsr()
    y = rng.standard_normal((50, 1)).astype("float32")
    arguments = {"batch_size": 16, "epochs": 3}
    theirs, ours = build_twins(builder)
    expected = theirs.fit(X, y, shuffle=False, verbose=0, **arguments).history
    run = engine.train(ours, X, y, engine="fused", shuffle=False, verbose=0, **arguments)
    assert run.history == expected
    assert same(values_of(ours), values_of(theirs))
    predicted = engine.predict(ours, X, engine="auto", verbose=0, batch_size=16)
    assert np.array_equal(predicted, theirs.predict(X, verbose=0, batch_size=16))


def test_frames_and_tensors_are_read_as_keras_reads_them(data):
    pandas = pytest.importorskip("pandas")
    import tensorflow as tf

    X, y = data
    frame = pandas.DataFrame(X.astype("float64"), columns=list("abcd"))
    assert_same_training(build, frame, pandas.Series(y[:, 0]))
    assert_same_training(build, tf.constant(X), tf.constant(y, tf.float64))


class CustomSteps(keras.Model):
    """Custom training, evaluation and logs, and a variable that counts calls."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        self.calls.assign_add(1.0)
        logs = super().train_step(data)
        return {"own": logs["loss"] * 2, "calls": self.calls.value}

    def test_step(self, data):
        return {"own": super().test_step(data)["loss"] + 1}


class CustomReset(keras.metrics.Metric):
    """A metric whose values depend on how often Python has reset it."""

    def __init__(self, name="resets"):
        super().__init__(name=name)
        self.n, self.level = 0, self.add_variable((), "zeros", name="level")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.level.assign_add(1.0)

    def result(self):
        return self.level * 1.0

    def reset_state(self):
        if float(self.level) > 0:  # Keras cannot reset what it has not built yet
            self.n += 1
        self.level.assign(float(10 * self.n))


def custom_steps():
    model = CustomSteps()
    model.compile("sgd", "mse")
    return model


def custom_loss():
    model = build()
    model.compile("sgd", lambda y, p: keras.ops.mean(keras.ops.abs(y - p) ** 1.5, -1))
    return model


def custom_reset():
    model = build()
    model.compile("sgd", "mse", metrics=[CustomReset()])
    return model


class CustomLoss(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, activity_regularizer="l2")

    def call(self, x, training=False):
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean((y - y_pred) ** 4) + sum(self.losses)


def custom_compute_loss():
    model = CustomLoss()
    model.compile("adam")
    return model


def custom_initializer_and_activation():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(
                5,
                activation=lambda x: keras.ops.relu(x) - 0.1,
                kernel_initializer=lambda shape, dtype: keras.ops.ones(shape, dtype) / 7,
            ),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


@pytest.mark.parametrize(
    "builder",
    [
        custom_steps,
        custom_loss,
        custom_reset,
        custom_compute_loss,
        custom_initializer_and_activation,
    ],
    ids=lambda f: f.__name__,
)
def test_custom_code_runs_as_in_keras(builder, data):
    assert_same_training(builder, *data, validation_split=0.3)
