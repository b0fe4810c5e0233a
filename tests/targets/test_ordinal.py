"""Ordered classes: one unit less than classes, each for a class above a level."""

import keras
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from skguard import GuardedKerasClassifier
from skguard.exceptions import InputValueError
from skguard.targets import Ordinal
from tests.targets.kinds import class_numbers, raw_outputs, tried
from tests.targets.outputs import dense, output


def sigmoid(units, loss="binary_crossentropy"):
    return output(units, activation="sigmoid", loss=loss)


def bound(y, found, **parameters):
    return Ordinal(**parameters).fit(y).for_outputs([found])


def expected_number(above):
    """Return the first class that is not more likely to be exceeded than not."""
    return next((n for n, p in enumerate(above) if p <= 0.5), len(above))


@tried
@given(class_numbers(), st.booleans(), st.data())
def test_classes_are_encoded_by_levels_and_decoded(drawn, logits, data):
    n_classes, numbers = drawn
    y = 10 * numbers - 5
    units = n_classes - 1
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    found = output(units, activation="linear", loss=loss) if logits else sigmoid(units)
    target = bound(y, found)
    encoded = target.transform(y)
    np.testing.assert_array_equal(encoded, [[n > k for k in range(units)] for n in numbers])
    outputs = data.draw(raw_outputs(6, units))
    above = scipy.special.expit(outputs)
    predicted = target.inverse_transform(outputs if logits else above)
    np.testing.assert_array_equal(predicted, [10 * expected_number(a) - 5 for a in above])
    probabilities = target.inverse_transform(outputs if logits else above, return_proba=True)
    assert probabilities.shape == (6, n_classes)
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_the_probability_of_a_class_is_that_of_its_level_less_the_next():
    target = bound(np.array([0, 1, 2]), sigmoid(2))
    found = target.inverse_transform(np.array([[0.75, 0.25], [0.5, 0.75]]), return_proba=True)
    np.testing.assert_allclose(found, [[0.25, 0.5, 0.25], [0.5, 0, 0.5]])


def test_text_in_its_order_has_columns_in_the_order_of_classes():
    y = np.array(["low", "mid", "high"])
    target = bound(y, sigmoid(2), classes=["low", "mid", "high"])
    np.testing.assert_array_equal(target.classes_, ["high", "low", "mid"])
    np.testing.assert_array_equal(target.transform(y), [[0, 0], [1, 0], [1, 1]])
    outputs = np.array([[0.1, 0.0], [0.9, 0.25], [1.0, 0.75]])
    np.testing.assert_array_equal(target.inverse_transform(outputs), y)
    probabilities = target.inverse_transform(outputs, return_proba=True)
    np.testing.assert_allclose(probabilities, [[0, 0.9, 0.1], [0.25, 0.1, 0.65], [0.75, 0, 0.25]])


def test_text_without_an_order_is_an_error():
    with pytest.raises(InputValueError, match=r"needs the order of the labels \['a', 'b'\]"):
        Ordinal().fit(np.array(["a", "b"]))


def test_announced_text_is_not_an_order():
    estimator = GuardedKerasClassifier(dense(2, "sigmoid"), target="ordinal", verbose=0)
    y = np.array(["low", "mid", "high"])
    with pytest.raises(InputValueError, match="needs the order of the labels"):
        estimator.fit(np.zeros((3, 4)), y, classes=["low", "mid", "high"])


@pytest.mark.parametrize(
    ("found", "match"),
    [
        (sigmoid(3), "with 3 classes needs a model with 2 units"),
        (sigmoid(1), "with 3 classes needs a model with 2 units"),
        (sigmoid(2, loss="categorical_crossentropy"), "needs a loss that compares units one by on"),
        (sigmoid(2, loss="sparse_categorical_crossentropy"), "needs a loss that compares units"),
        (output(2, activation="linear", loss="binary_crossentropy"), "needs probabilities, but"),
        (output(2, activation="linear", loss="mse"), "needs outputs that are probabilities or log"),
        (output(2, activation="tanh", loss="hinge"), "needs outputs that are probabilities or log"),
    ],
)
def test_outputs_that_are_not_levels_are_an_error(found, match):
    with pytest.raises(InputValueError, match=match):
        bound(np.array([0, 1, 2]), found)


def test_columns_of_y_are_an_error():
    with pytest.raises(InputValueError, match="target='ordinal' needs one label per sample"):
        Ordinal().fit(np.eye(3))


def test_predictions_have_the_shape_of_y():
    y = np.array([[0], [1], [2]])
    target = bound(y, sigmoid(2))
    np.testing.assert_array_equal(target.inverse_transform(target.transform(y)), y)
    np.testing.assert_array_equal(target.labels(y), [0, 1, 2])


def test_the_number_of_units_is_known_before_a_model_is_built():
    assert Ordinal().fit(np.array([0, 1, 2, 3])).get_metadata()["n_outputs_"] == 3
    assert Ordinal(classes=[0, 1, 2]).fit(np.array([0, 1])).n_classes_ == 3
    assert Ordinal().default_loss() == "binary_crossentropy"
