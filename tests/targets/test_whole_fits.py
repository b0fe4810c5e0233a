"""Whole fits on random data: predictions have the shapes of scikit-learn, or the fit raised."""

import warnings

import keras
import numpy as np
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard.exceptions import InputError
from tests.targets.kinds import LABELS, class_numbers, tried

# Each new architecture is traced, so that an example takes some tenths of a second.
tried = settings(tried, max_examples=40)
FEW = {"epochs": 1, "batch_size": 8, "verbose": 0, "random_state": 0, "optimizer": "sgd"}
LOSSES = [
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "binary_crossentropy",
    "categorical_focal_crossentropy",
    "hinge",
    "mse",
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    keras.losses.BinaryCrossentropy(from_logits=True),
]
units = st.sampled_from([lambda n: n, lambda n: 1, lambda n: n + 1, lambda n: n - 1])
activations = st.sampled_from([None, "softmax", "sigmoid", "tanh"])
losses = st.sampled_from(LOSSES)
per_step = st.integers(1, 4).flatmap(lambda steps: class_numbers(max_classes=3, steps=(steps,)))


def model_of(shape, units, activation):
    """Return a model function of one layer, applied to each time step if there are any."""

    def build():
        return keras.Sequential([keras.Input(shape), keras.layers.Dense(units, activation)])

    return build


def fitted(estimator, X, y):
    """Return the fitted estimator, or None if the fit raised before training."""
    try:
        with warnings.catch_warnings():
            # A softmax beside a loss that applies one is reported and trained.
            warnings.filterwarnings("ignore", "The model ends with a")
            warnings.filterwarnings("ignore", ".*received `from_logits=True`")
            estimator.fit(X, y)
    except InputError:
        event("raised")
        return None
    event("trained")
    return estimator


def probabilities(estimator, X):
    """Return the probabilities, or None where the outputs are announced as something else."""
    try:
        return estimator.predict_proba(X)
    except InputError as error:
        if "not probabilities" not in str(error):
            raise
        return None


def features(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def assert_probabilities(found, shape, sum_to_one):
    if found is None:
        return
    assert found.shape == shape
    assert np.all((found >= 0) & (found <= 1))
    if sum_to_one:
        np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-5)


@tried
@given(class_numbers(max_classes=4), st.sampled_from(sorted(LABELS)), units, activations, losses)
def test_one_label_per_sample(drawn, labels, units, activation, loss):
    n_classes, numbers = drawn
    assume(labels != "bools" or n_classes == 2)
    y, X = LABELS[labels](n_classes)[numbers], features(len(numbers), 3)
    model = model_of((3,), units(n_classes), activation)
    estimator = fitted(GuardedKerasClassifier(model, loss=loss, **FEW), X, y)
    if estimator is None:
        return
    np.testing.assert_array_equal(estimator.classes_, LABELS[labels](n_classes))
    for n in (len(y), 1):
        predicted = estimator.predict(X[:n])
        assert predicted.shape == (n,)
        assert set(predicted) <= set(estimator.classes_)
        found = probabilities(estimator, X[:n])
        assert_probabilities(found, (n, n_classes), sum_to_one=True)
        if found is not None:
            top = estimator.classes_[found.argmax(axis=1)]
            tied = np.isclose(np.sort(found)[:, -1], np.sort(found)[:, -2])
            np.testing.assert_array_equal(top[~tied], predicted[~tied])
    assert estimator.score(X, y) == np.mean(estimator.predict(X) == y)


@tried
@given(class_numbers(max_classes=4), units, activations, losses)
def test_one_column_per_class(drawn, units, activation, loss):
    n_classes, numbers = drawn
    y, X = np.eye(n_classes, dtype=int)[numbers], features(len(numbers), 3)
    model = model_of((3,), units(n_classes), activation)
    estimator = fitted(GuardedKerasClassifier(model, loss=loss, **FEW), X, y)
    if estimator is None:
        return
    predicted = estimator.predict(X)
    assert predicted.shape == y.shape
    np.testing.assert_array_equal(predicted.sum(axis=1), 1)
    assert_probabilities(probabilities(estimator, X), y.shape, sum_to_one=True)


@tried
@given(st.integers(2, 4), st.integers(4, 9), units, activations, losses, st.integers(0, 99))
def test_several_labels_per_sample(n_labels, n, units, activation, loss, seed):
    y = np.random.default_rng(seed).integers(0, 2, (n, n_labels))
    y[0], y[1] = 1, 0  # neither one column per class nor a column without both values
    X, model = features(n, 3), model_of((3,), units(n_labels), activation)
    estimator = fitted(GuardedKerasClassifier(model, loss=loss, **FEW), X, y)
    if estimator is None:
        return
    predicted = estimator.predict(X)
    assert predicted.shape == y.shape
    assert set(np.unique(predicted)) <= {0, 1}
    assert_probabilities(probabilities(estimator, X), y.shape, sum_to_one=False)


@tried
@given(
    st.integers(1, 4).flatmap(lambda t: class_numbers(3, steps=(t,))), units, activations, losses
)
def test_one_label_per_time_step(drawn, units, activation, loss):
    n_classes, numbers = drawn
    n, steps = numbers.shape
    y, X = LABELS["gaps"](n_classes)[numbers], features(n, steps, 2)
    model = model_of((steps, 2), units(n_classes), activation)
    estimator = fitted(GuardedKerasClassifier(model, loss=loss, **FEW), X, y)
    if estimator is None:
        return
    predicted = estimator.predict(X)
    assert predicted.shape == y.shape
    assert set(np.unique(predicted)) <= set(np.unique(y))
    found = probabilities(estimator, X)
    assert_probabilities(found, (n, steps, n_classes), sum_to_one=True)


@tried
@given(
    st.integers(1, 6),
    st.lists(st.integers(1, 3), max_size=2),
    units,
    st.sampled_from(["mse", "huber", "mae", "poisson"]),
)
def test_numbers(n, shape, units, loss):
    y = np.random.default_rng(n).uniform(size=(n, *shape)).astype("float32")
    steps = shape[:-1] if len(shape) > 1 else []
    n_outputs = shape[-1] if shape else 1
    n_units = max(units(n_outputs), 1)
    X, model = features(n, *steps, 3), model_of((*steps, 3), n_units, "softplus")
    estimator = fitted(GuardedKerasRegressor(model, loss=loss, **FEW), X, y)
    if estimator is None:
        assert n_units != n_outputs
        return
    assert estimator.predict(X).shape == y.shape
    assert estimator.predict(X[:1]).shape == (1, *shape)
