"""Keras objects are copied completely, or an error names what is missing."""

import pickle

import keras
import numpy as np
import pytest
from sklearn.base import clone

from skguard import GuardedKerasRegressor
from skguard._parameters import packing
from skguard.exceptions import NotCopyableError

L = keras.layers


class Network(keras.Model):
    """Has no get_config(): Keras would serialize it with `units=3`."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden, self.out = L.Dense(units), L.Dense(1)
        self.normalize, self.drop = L.BatchNormalization(), L.Dropout(0.3)

    def call(self, x, training=False):
        hidden = self.normalize(self.hidden(x), training=training)
        return self.out(self.drop(hidden, training=training))


class Forgetful(keras.Model):
    """Stores its argument under another name."""

    def __init__(self, units=3):
        super().__init__()
        self.layer = L.Dense(units)
        self.out = L.Dense(1)

    def call(self, x):
        return self.out(self.layer(x))


def with_nested(units):
    inputs = keras.Input((4,))
    return keras.Model(inputs, L.Dense(1)(Network(units)(inputs)))


def make_regressor(model, **kwargs):
    return GuardedKerasRegressor(model, loss="mse", verbose=0, random_state=0, **kwargs)


@pytest.mark.parametrize("trained", [False, True], ids=["unbuilt", "trained"])
def test_a_model_of_a_custom_class_keeps_its_constructor_arguments(trained, line):
    model = Network(5)
    model.compile("adam", "mse")
    if trained:
        model.fit(*line, verbose=0)
    twin = packing.unpack(packing.pack(packing.unpack(packing.pack(model))))
    assert twin.units == 5
    np.testing.assert_equal([np.array(v) for v in twin.weights], model.get_weights())
    if trained:
        np.testing.assert_array_equal(
            twin.predict(line[0], verbose=0), model.predict(line[0], verbose=0)
        )


def test_every_fit_of_a_model_of_a_custom_class_gives_the_same_numbers(line):
    model = Network(units=5)
    model.compile("adam", "mse")
    model.fit(*line, verbose=0)
    estimator = GuardedKerasRegressor(model, verbose=0, random_state=0)
    histories = [fitted.fit(*line).history_ for fitted in (estimator, clone(estimator), estimator)]
    assert histories[0] == histories[1] == histories[2]


def test_an_estimator_of_a_custom_model_class_is_pickled_after_a_fit(line):
    estimator = make_regressor(Network, units=5).fit(*line)
    twin = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(twin.predict(line[0]), estimator.predict(line[0]))


def test_only_arguments_of_a_custom_model_class_itself_are_parameters():
    assert {"name", "dtype", "trainable"}.isdisjoint(make_regressor(Network).get_params())


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Forgetful(4), r"Forgetful has no get_config\(\).* forgets .* units"),
        (lambda: with_nested(5), r"Network within it has no get_config\(\)"),
    ],
    ids=["forgotten", "nested"],
)
def test_a_model_that_cannot_be_copied_completely_raises(make, match, line):
    with pytest.raises(NotCopyableError, match=match):
        make_regressor(make()).fit(*line)


def test_a_nested_model_with_default_arguments_is_copied(line):
    model = with_nested(3)
    twin = packing.unpack(packing.pack(model))
    np.testing.assert_array_equal(
        twin.predict(line[0], verbose=0), model.predict(line[0], verbose=0)
    )


def test_a_model_that_keras_cannot_read_back_raises_with_advice(line):
    model = keras.Sequential([keras.Input((4,)), L.Dense(1, activation=lambda x: 2 * x)])
    with pytest.raises(NotCopyableError, match=r"(?s)cannot read it back.*lambdas"):
        make_regressor(model).fit(*line)


def test_an_adapted_layer_keeps_its_statistics(line):
    normalize = L.Normalization()
    normalize.adapt(line[0])
    model = keras.Sequential([keras.Input((4,)), normalize, L.Dense(1)])
    twin = packing.unpack(packing.pack(model))
    np.testing.assert_array_equal(
        twin.predict(line[0], verbose=0), model.predict(line[0], verbose=0)
    )


def test_an_exact_copy_draws_the_same_dropout_next(line):
    model = Network(5)
    model.compile("sgd", "mse")
    model.fit(*line, verbose=0)
    twin = packing.unpack(packing.pack(model))
    for each in (model, twin):
        each.fit(*line, shuffle=False, verbose=0)
    np.testing.assert_equal(twin.get_weights(), model.get_weights())


def test_an_object_whose_config_lacks_an_argument_raises():
    class Scaled(keras.metrics.MeanSquaredError):
        def __init__(self, scale=1.0, name="scaled"):
            super().__init__(name=name)

    with pytest.raises(NotCopyableError, match=r"get_config\(\) of Scaled leaves out scale"):
        packing.pack([Scaled(2.0)])


def test_a_built_layer_keeps_its_weights():
    layer = L.Dense(2)
    layer.build((None, 3))
    np.testing.assert_equal(packing.unpack(packing.pack(layer)).get_weights(), layer.get_weights())


def test_frozen_layers_of_a_custom_class_stay_frozen(line):
    model = Network(5)
    model(line[0])
    model.hidden.trainable = False
    model.compile("sgd", "mse")
    kernel = model.hidden.get_weights()
    fitted = GuardedKerasRegressor(model, verbose=0).fit(*line)
    np.testing.assert_equal(fitted.model_.hidden.get_weights(), kernel)


def test_two_classes_of_one_name_raise():
    def make(factor):
        class Scale(L.Layer):
            def call(self, x):
                return factor * x

        return Scale()

    model = keras.Sequential([keras.Input((4,)), make(2), make(100)])
    with pytest.raises(NotCopyableError, match="have one name, Scale"):
        packing.pack(model)
