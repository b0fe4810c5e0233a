"""Outputs of models, as targets see them, and small models that have them."""

import keras

from skguard.targets._losses import format_of
from skguard.targets._outputs import ModelOutput


def output(*shape, activation=None, loss=None, name="output"):
    """Return one output of a model, without a model."""
    return ModelOutput(name, shape, activation, None if loss is None else format_of(loss))


def dense(units, activation=None, loss=None, width=4, optimizer="adam"):
    """Return a model function of one layer, compiled if a loss is given."""

    def build():
        model = keras.Sequential([keras.Input((width,)), keras.layers.Dense(units, activation)])
        if loss is not None:
            model.compile(optimizer, loss)
        return model

    return build


def per_step(units, activation=None, width=2, steps=None):
    """Return a model function with one output per time step."""

    def build():
        return keras.Sequential(
            [keras.Input((steps, width)), keras.layers.Dense(units, activation)]
        )

    return build


def two_heads(first, second, as_dict=False):
    """Return a model function of two output layers."""

    def build():
        inputs = keras.Input((4,))
        outputs = [layer(inputs) for layer in (first(), second())]
        if as_dict:
            outputs = {out._keras_history.operation.name: out for out in outputs}
        return keras.Model(inputs, outputs)

    return build
