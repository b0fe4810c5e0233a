"""Regression networks of a given width, and the estimators that train them."""

import keras

from skguard import GuardedKerasRegressor


def network(width):
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(width, "relu"), keras.layers.Dense(1)]
    )


def build(neurons=6, learning_rate=0.01):
    """A model function that compiles."""
    model = network(neurons)
    model.compile(keras.optimizers.Adam(learning_rate), "mse")
    return model


def build_a(units_a=3):
    return network(units_a)


def build_b(units_b=5):
    return network(units_b)


def needs_units(units):
    return network(units)


def width_of(estimator):
    return estimator.model_.layers[0].units


def learning_rate_of(estimator):
    return float(estimator.model_.optimizer.learning_rate)


def make(model, **kwargs):
    return GuardedKerasRegressor(model, **{"loss": "mse", "verbose": 0, "random_state": 0} | kwargs)
