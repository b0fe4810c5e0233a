"""Pairs of models that differ in one thing: the second has its own numbers, not the first's.

The second is trained after the first, in a process that may have kept the graph of the first, and
is compared with plain Keras. Names are the same for both, as Keras starts to number them again.
"""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from tests.engine.parity import assert_same_training, trace_on_another

layers, losses, metrics = keras.layers, keras.losses, keras.metrics
optimizers, regularizers = keras.optimizers, keras.regularizers
GLOBAL = {"factor": 1.0}


class Scale(layers.Layer):
    """Holds a number as an attribute that its config does not have."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return x * self.factor


class ScaleByGlobal(layers.Layer):
    def call(self, x):
        return x * GLOBAL["factor"]


class Scaled(losses.Loss):
    def __init__(self, factor):
        super().__init__(name="scaled")
        self.factor = factor

    def call(self, y, p):
        return self.factor * ops.mean(ops.square(y - p), axis=-1)


def scaling(factor):
    def scale(x, by=factor):
        return x * by

    return scale


def of_loss(factor):
    def scaled(y, p):
        return factor * ops.mean(ops.square(y - p), axis=-1)

    return scaled


def multiplied(y, p, factor):
    return factor * ops.mean(ops.abs(y - p), axis=-1)


def by_global(factor):
    GLOBAL["factor"] = factor
    return ScaleByGlobal()


def frozen(trainable):
    return layers.Dense(4, trainable=trainable)


def nested(factor):
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(4)(inputs) * factor)


def decay(rate):
    return optimizers.schedules.ExponentialDecay(0.1, 2, rate)


# What is between two layers, by the number that differs.
PARTS = {
    "custom layer": (Scale, 1.0, 2.0),
    "a global": (by_global, 1.0, 2.0),
    "lambda, closure": (lambda c: layers.Lambda(lambda x: x * c), 1.0, 2.0),
    "lambda, default": (lambda c: layers.Lambda(scaling(c)), 1.0, 2.0),
    "vectorized_map": (lambda c: lambda h: ops.vectorized_map(scaling(c), h), 1.0, 2.0),
    "vectorized_map, lambda": (
        lambda c: lambda h: ops.vectorized_map(lambda x: x * c, h),
        1.0,
        2.0,
    ),
    "map": (lambda c: lambda h: ops.map(scaling(c), h), 1.0, 2.0),
    "switch": (
        lambda c: lambda h: ops.switch(ops.cast(0, "int32"), [scaling(c), ops.tanh], h),
        1.0,
        2.0,
    ),
    "cond": (
        lambda c: lambda h: ops.where(ops.mean(h) > 9, h, ops.vectorized_map(scaling(c), h)),
        1.0,
        2.0,
    ),
    "multiply": (lambda c: lambda h: h * c, 1.0, 2.0),
    "int and float": (lambda c: lambda h: h * c, 2, 2.5),
    "divide": (lambda c: lambda h: h / c, 1.0, 2.0),
    "power": (lambda c: lambda h: ops.abs(h) ** c, 1.0, 2.0),
    "slice": (lambda c: lambda h: h[:, c : c + 2], 0, 1),
    "array": (lambda c: lambda h: h * np.full(4, c, "float32"), 1.0, 2.0),
    "op, attribute": (lambda c: lambda h: ops.leaky_relu(h, c), 0.1, 0.3),
    "op, axis": (lambda c: lambda h: ops.softmax(ops.reshape(h, (-1, 2, 2)), c)[:, 0], 1, 2),
    "op": (lambda c: c, ops.tanh, ops.sigmoid),
    "nested model": (nested, 1.0, 2.0),
    "frozen": (frozen, True, False),
    "activation": (lambda c: layers.Dense(4, c), "tanh", "relu"),
    "bias": (lambda c: layers.Dense(4, use_bias=c), True, False),
    "dtype policy": (lambda c: layers.Dense(4, dtype=c), "float32", "mixed_bfloat16"),
    "leaky relu": (layers.LeakyReLU, 0.1, 0.3),
    "elu": (layers.ELU, 0.5, 1.0),
    "relu": (lambda c: layers.ReLU(max_value=c), 0.5, 1.0),
    "dropout": (lambda c: layers.Dropout(c, seed=1), 0.2, 0.5),
    "seed": (lambda c: layers.Dropout(0.5, seed=c), 1, 2),
    "noise": (lambda c: layers.GaussianNoise(c, seed=1), 0.1, 0.5),
    "batch momentum": (lambda c: layers.BatchNormalization(momentum=c), 0.9, 0.5),
    "batch epsilon": (lambda c: layers.BatchNormalization(epsilon=c), 1e-3, 0.1),
    "batch scale": (lambda c: layers.BatchNormalization(scale=c), True, False),
    "layer norm": (lambda c: layers.LayerNormalization(epsilon=c), 1e-3, 0.1),
    "rescaling": (layers.Rescaling, 1.0, 2.0),
    "rescaling offset": (lambda c: layers.Rescaling(1.0, offset=c), 0.0, 1.0),
    "l1": (lambda c: layers.Dense(4, kernel_regularizer=regularizers.L1(c)), 0.01, 0.1),
    "l2": (lambda c: layers.Dense(4, kernel_regularizer=regularizers.L2(c)), 0.01, 0.1),
    "bias regularizer": (lambda c: layers.Dense(4, bias_regularizer=regularizers.L2(c)), 0.1, 1.0),
    "activity": (lambda c: layers.Dense(4, activity_regularizer=regularizers.L2(c)), 0.1, 1.0),
    "constraint": (lambda c: layers.Dense(4, kernel_constraint=keras.constraints.MaxNorm(c)), 1, 2),
    "unit axis": (lambda c: layers.Dense(4, kernel_constraint=keras.constraints.UnitNorm(c)), 0, 1),
    "softmax": (layers.Softmax, 1, -2),
}
OPTIMIZERS = {
    "momentum": (lambda c: optimizers.SGD(0.01, momentum=c), 0.5, 0.9),
    "nesterov": (lambda c: optimizers.SGD(0.01, momentum=0.9, nesterov=c), True, False),
    "beta": (lambda c: optimizers.Adam(beta_1=c), 0.9, 0.5),
    "epsilon": (lambda c: optimizers.Adam(epsilon=c), 1e-7, 0.1),
    "amsgrad": (lambda c: optimizers.Adam(amsgrad=c), True, False),
    "weight decay": (lambda c: optimizers.AdamW(weight_decay=c), 0.01, 0.5),
    "clipnorm": (lambda c: optimizers.SGD(0.1, clipnorm=c), 0.1, 1.0),
    "clipvalue": (lambda c: optimizers.SGD(0.1, clipvalue=c), 0.01, 0.1),
    "moving average": (lambda c: optimizers.SGD(0.1, use_ema=True, ema_momentum=c), 0.9, 0.5),
    "accumulation": (lambda c: optimizers.SGD(0.1, gradient_accumulation_steps=c), 2, 3),
    "learning rate": (optimizers.SGD, 0.01, 0.1),
    "schedule": (lambda c: optimizers.SGD(decay(c)), 0.9, 0.5),
    "rho": (lambda c: optimizers.RMSprop(rho=c), 0.9, 0.5),
}
LOSSES = {
    "delta": (losses.Huber, 0.5, 2.0),
    "custom loss": (Scaled, 1.0, 2.0),
    "loss function, closure": (of_loss, 1.0, 2.0),
    "partial": (
        lambda c: functools.partial(lambda y, p, c: c * losses.mean_absolute_error(y, p), c=c),
        1.0,
        2.0,
    ),
    "reduction": (lambda c: losses.MeanSquaredError(reduction=c), "sum", "mean_with_sample_weight"),
    "from logits": (lambda c: losses.BinaryCrossentropy(from_logits=c), True, False),
    "smoothing": (lambda c: losses.BinaryCrossentropy(True, label_smoothing=c), 0.0, 0.3),
    "focal": (lambda c: losses.BinaryFocalCrossentropy(gamma=c, from_logits=True), 1.0, 3.0),
}
METRICS = {
    "threshold": (lambda c: metrics.BinaryAccuracy(threshold=c), 0.1, 0.5),
    "recall": (lambda c: metrics.Recall(thresholds=c), 0.1, 0.5),
    "auc": (lambda c: metrics.AUC(num_thresholds=c, from_logits=True), 5, 50),
    "curve": (lambda c: metrics.AUC(curve=c, from_logits=True), "ROC", "PR"),
    "metric, closure": (lambda c: of_loss(c), 1.0, 2.0),
}


def model_function(part=None, optimizer=None, loss=None, metric=None):
    def build():
        keras.utils.clear_session()
        inputs = keras.Input((4,))
        h = layers.Dense(4)(inputs)
        h = h if part is None else part()(h)
        model = keras.Model(inputs, layers.Dense(1)(h))
        model.compile(
            "adam" if optimizer is None else optimizer(),
            "mse" if loss is None else loss(),
            metrics=[] if metric is None else [metric()],
        )
        return model

    return build


def cases():
    kinds = {"part": PARTS, "optimizer": OPTIMIZERS, "loss": LOSSES, "metric": METRICS}
    for kind, pairs in kinds.items():
        for name, (make, first, second) in pairs.items():
            yield pytest.param(kind, make, first, second, id=f"{kind}: {name}")


def test_there_are_enough_pairs():
    assert len(list(cases())) >= 60


@pytest.mark.parametrize(("kind", "make", "first", "second"), [*cases()])
def test_the_second_model_has_its_own_numbers(kind, make, first, second, rng):
    X = rng.normal(size=(32, 4)).astype("float32")
    y = (X[:, :1] > 0).astype("float32")
    one, other = (
        model_function(**{kind: functools.partial(make, value)}) for value in (first, second)
    )
    trace_on_another(one, X, y)
    assert_same_training(other, X, y)


def test_epsilon_of_keras_is_part_of_a_signature(rng):
    X = rng.normal(size=(32, 4)).astype("float32")
    build = model_function(loss=functools.partial(losses.MeanAbsolutePercentageError))
    trace_on_another(build, X, X[:, :1])
    before = keras.config.epsilon()
    keras.config.set_epsilon(0.1)
    try:
        assert_same_training(build, X, X[:, :1])
    finally:
        keras.config.set_epsilon(before)
