"""Every metric and every optimizer of Keras gives its numbers, with one output and with several.

The names come from Keras, so that a release that adds one is tried.
"""

import inspect

import keras
import numpy as np
import pytest

from skguard import _engine as engine
from tests.engine.parity import FIT, assert_same_training, build, build_twins

# The base class, and classes that take values instead of y and outputs.
NOT_OF_OUTPUTS = {"Metric", "MeanMetricWrapper", "Mean", "Sum"}
METRICS = sorted(
    name
    for name in dir(keras.metrics)
    if inspect.isclass(getattr(keras.metrics, name)) and name not in NOT_OF_OUTPUTS
)
OPTIMIZERS = sorted(
    name
    for name in dir(keras.optimizers)
    if inspect.isclass(getattr(keras.optimizers, name))
    and issubclass(getattr(keras.optimizers, name), keras.optimizers.Optimizer)
    and name not in ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")
)
# Arguments without a default. All others are made without arguments.
ARGUMENTS = {
    "BinaryIoU": {"target_class_ids": [0, 1]},
    "IoU": {"num_classes": 3, "target_class_ids": [0, 2], "sparse_y_pred": False},
    "MeanIoU": {"num_classes": 3, "sparse_y_pred": False},
    "OneHotIoU": {"num_classes": 3, "target_class_ids": [0, 1]},
    "OneHotMeanIoU": {"num_classes": 3},
    "PrecisionAtRecall": {"recall": 0.4},
    "RecallAtPrecision": {"precision": 0.4},
    "SensitivityAtSpecificity": {"specificity": 0.4},
    "SpecificityAtSensitivity": {"sensitivity": 0.4},
}
MULTI_LABEL = {"AUC": {"multi_label": True, "num_labels": 3}}
SPARSE = {"IoU", "MeanIoU"}


def metric(name, several=False):
    arguments = ARGUMENTS.get(name, {}) | (MULTI_LABEL.get(name, {}) if several else {})
    return getattr(keras.metrics, name)(**arguments)


def data_for(name):
    """Return X, and y that the metric can take: class numbers, or one column per class."""
    rng = np.random.default_rng(0)
    X, numbers = rng.normal(size=(44, 4)).astype("float32"), rng.integers(0, 3, 44)
    is_sparse = name.startswith("Sparse") or name in SPARSE
    y = numbers[:, None].astype("float32") if is_sparse else np.eye(3, dtype="float32")[numbers]
    return X, y, "sparse_categorical_crossentropy" if is_sparse else "categorical_crossentropy"


def one_output(name, loss):
    def made():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
        model.compile("sgd", loss, metrics=[metric(name)], weighted_metrics=[metric(name)])
        return model

    return made


def two_outputs(name, loss):
    def made():
        inputs = keras.Input((4,))
        first = keras.layers.Dense(3, "softmax", name="first")(inputs)
        second = keras.layers.Dense(1, name="second")(inputs)
        model = keras.Model(inputs, [first, second])
        model.compile("sgd", [loss, "mse"], metrics=[[metric(name, several=True)], ["mae"]])
        return model

    return made


@pytest.mark.filterwarnings("ignore:You are passing weight as `float`")
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_of_one_output(name):
    X, y, loss = data_for(name)
    # BinaryIoU of Keras 3.15 takes no weights of samples with several columns.
    weight = np.linspace(0.5, 1.5, len(X)).astype("float32") if name != "BinaryIoU" else None
    theirs, _ = assert_same_training(
        one_output(name, loss), X, y, sample_weight=weight, validation_data=(X[:9], y[:9])
    )
    assert len(theirs.history.history) == 6


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_of_one_of_two_outputs(name):
    X, y, loss = data_for(name)
    targets = [y, X[:, :1]]
    validation = (X[:9], [part[:9] for part in targets])
    theirs, ours = assert_same_training(
        two_outputs(name, loss), X, targets, validation_data=validation
    )
    assert theirs.history.history["val_first_loss"][0] > 0
    assert len(ours.metrics) == len(theirs.metrics)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer(name):
    X, y, loss = data_for("Accuracy")
    targets = [y, X[:, :1]]

    def compiled():
        model = two_outputs("Accuracy", loss)()
        model.compile(getattr(keras.optimizers, name)(), model.loss)
        return model

    theirs, ours = build_twins(compiled)
    history = theirs.fit(X, targets, **FIT).history
    run = engine.train(ours, X, targets, engine="auto", **FIT)
    assert run.history == history
    for a, b in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    fused = "keras.Model.fit" if name == "ScheduleFreeAdamW" else "graph"
    assert fused in run.reason


class StartsAtWeights(keras.optimizers.SGD):
    """Sets its variables when it is built, as ScheduleFreeAdamW does."""

    def build(self, variables):
        super().build(variables)
        for momentum, variable in zip(self.momentums, variables, strict=True):
            self.assign(momentum, keras.ops.copy(variable))


class SGD(StartsAtWeights):
    """Has the name of an optimizer of Keras."""


@pytest.mark.parametrize("cls", [StartsAtWeights, SGD])
@pytest.mark.parametrize("is_scaled", [False, True])
def test_a_custom_optimizer_that_sets_its_variables_is_trained_by_keras(cls, is_scaled, rng):
    X = rng.normal(size=(44, 4)).astype("float32")

    def compiled():
        optimizer = cls(0.01, momentum=0.9)
        return build(keras.optimizers.LossScaleOptimizer(optimizer) if is_scaled else optimizer)

    theirs, ours = build_twins(compiled)
    history = theirs.fit(X, X[:, :1], **FIT).history
    run = engine.train(ours, X, X[:, :1], engine="auto", **FIT)
    assert run.history == history
    expected = f"keras.Model.fit: {cls.__name__} sets its variables when it is built"
    assert run.reason == expected
