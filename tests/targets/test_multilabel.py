"""Several labels per sample: one column of 0 and 1 per class."""

import keras
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from skguard.exceptions import InputValueError
from skguard.targets import Labels, MultiLabel
from tests.targets.kinds import raw_outputs, tried
from tests.targets.outputs import output

Y = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]])


OUTPUTS = np.array([[-1.0, 0.2, 3.0]])


def bound(y, found, **parameters):
    return MultiLabel(**parameters).fit(y).for_outputs([found])


def with_logits():
    return keras.losses.BinaryCrossentropy(from_logits=True)


@tried
@given(st.integers(2, 5), st.sampled_from(["?", "i", "f"]), st.booleans(), st.data())
def test_each_column_is_decoded_by_itself(n_columns, dtype, logits, data):
    y = np.ones((4, n_columns), dtype)
    activation, loss = ("linear", with_logits()) if logits else ("sigmoid", "binary_crossentropy")
    target = bound(y, output(n_columns, activation=activation, loss=loss))
    outputs = data.draw(raw_outputs(6, n_columns, low=-9 if logits else 0, high=9 if logits else 1))
    expected = scipy.special.expit(outputs) if logits else outputs
    np.testing.assert_array_equal(target.transform(y), y)
    np.testing.assert_array_equal(target.inverse_transform(outputs), (expected > 0.5).astype(int))
    probabilities = target.inverse_transform(outputs, return_proba=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)
    assert set(np.unique(target.inverse_transform(outputs))) <= {0, 1}


def test_columns_per_step_keep_their_shape(rng):
    y = rng.integers(2, size=(5, 6, 3))
    target = bound(y, output(None, 3, activation="sigmoid", loss="binary_crossentropy"))
    outputs = rng.random((5, 6, 3))
    np.testing.assert_array_equal(target.inverse_transform(outputs), outputs > 0.5)
    assert target.inverse_transform(outputs, return_proba=True).shape == (5, 6, 3)
    assert target.score(y, y) == 1.0
    assert target.score(y, 1 - y) == 0.0


def test_the_score_of_one_set_of_labels_per_sample_is_left_to_the_scorer():
    target = bound(Y, output(3, activation="sigmoid", loss="binary_crossentropy"))
    assert target.score(Y, Y) is None
    assert target.labels(Y) is None


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_margins_are_cut_at_0_and_are_not_probabilities(loss):
    target = bound(Y, output(3, activation="tanh", loss=loss))
    outputs = np.array([[-0.2, 0.2, 0.7]])
    np.testing.assert_array_equal(target.inverse_transform(outputs), [[0, 1, 1]])
    with pytest.raises(InputValueError, match="are margins, not probabilities"):
        target.inverse_transform(outputs, return_proba=True)


def test_outputs_beyond_1_are_probabilities_of_1():
    target = bound(Y, output(3, activation="softplus", loss="binary_crossentropy"))
    found = target.inverse_transform(np.array([[0.5, 3.0, 0.0]]), return_proba=True)
    np.testing.assert_array_equal(found, [[0.5, 1.0, 0.0]])


@pytest.mark.parametrize(
    ("found", "match"),
    [
        (output(3, activation="softmax", loss="binary_crossentropy"), "output layer has a softmax"),
        (output(3, activation="sigmoid", loss="kl_divergence"), "takes one class per sample"),
        (output(3, activation="sigmoid", loss="sparse_categorical_crossentropy"), "takes one clas"),
        (
            output(2, activation="sigmoid", loss="binary_crossentropy"),
            "y has 3 columns, but .* 2 u",
        ),
        (
            output(4, activation="sigmoid", loss="binary_crossentropy"),
            "y has 3 columns, but .* 4 u",
        ),
        (output(1, activation="sigmoid", loss="binary_crossentropy"), "but .* has 1 unit:"),
        (output(3, activation="linear", loss="binary_crossentropy"), "needs probabilities, but"),
        (output(3, activation="linear", loss=lambda y, p: p), "not known what the outputs of the"),
    ],
)
def test_outputs_that_are_not_one_decision_per_column_are_an_error(found, match):
    with pytest.raises(InputValueError, match=match):
        bound(Y, found)


def test_the_user_may_state_the_meaning_of_the_outputs():
    found = output(3, activation="linear", loss=lambda y, p: p)
    target = bound(Y, found, outputs="logits")
    np.testing.assert_array_equal(target.inverse_transform(OUTPUTS), [[0, 1, 1]])


@pytest.mark.parametrize("y", [np.array([1, 0]), np.array([[2, 0]]), np.array([["1", "0"]])])
def test_other_columns_are_an_error(y):
    with pytest.raises(InputValueError, match="target='multilabel' needs a y with one column of 0"):
        MultiLabel().fit(y)


def test_a_y_of_0_and_1_is_one_label_per_entry_for_an_output_per_step():
    target = MultiLabel().fit(Y).or_one_label_per_entry(Y, None)
    assert isinstance(target, MultiLabel)
    found = output(3, 2, activation="softmax", loss="sparse_categorical_crossentropy")
    per_entry = target.for_outputs([found])
    assert isinstance(per_entry, Labels)
    np.testing.assert_array_equal(per_entry.transform(Y), Y)
    np.testing.assert_array_equal(per_entry.inverse_transform(np.eye(2)[Y]), Y)
    columns = target.for_outputs([output(3, activation="sigmoid", loss="binary_crossentropy")])
    np.testing.assert_array_equal(columns.transform(Y), Y)
