"""Meaning of one output for classes: by its units, activation, loss and from_logits."""

import warnings

import keras
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from skguard.exceptions import InputValueError
from skguard.targets import Labels
from skguard.targets._losses import LOSSES, Outputs, Takes
from tests.targets.kinds import class_numbers, raw_outputs, tried
from tests.targets.outputs import output

LOGIT_CLASSES = [
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "SparseCategoricalCrossentropy",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
]


def from_logits(name):
    return getattr(keras.losses, name)(from_logits=True)


def bound(n_classes, found, **parameters):
    """Return a target fitted to n classes, for an output."""
    return Labels(**parameters).fit(np.arange(n_classes)).for_outputs([found])


@pytest.mark.parametrize("activation", ["linear", None])
@pytest.mark.parametrize("name", LOGIT_CLASSES)
def test_logits_of_several_units_are_decoded_by_a_softmax(name, activation, rng):
    outputs = rng.normal(scale=5, size=(20, 3)).astype("float32")
    target = bound(3, output(3, activation=activation, loss=from_logits(name)))
    probabilities = target.inverse_transform(outputs, return_proba=True)
    np.testing.assert_allclose(probabilities, scipy.special.softmax(outputs, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(target.inverse_transform(outputs), outputs.argmax(axis=1))


@pytest.mark.parametrize("activation", ["linear", None])
@pytest.mark.parametrize("name", ["BinaryCrossentropy", "BinaryFocalCrossentropy"])
def test_the_logit_of_one_unit_is_decoded_by_a_sigmoid(name, activation, rng):
    outputs = rng.normal(scale=5, size=(20, 1)).astype("float32")
    target = bound(2, output(1, activation=activation, loss=from_logits(name)))
    probabilities = target.inverse_transform(outputs, return_proba=True)
    second = 1 / (1 + np.exp(-outputs[:, 0].astype(float)))
    np.testing.assert_allclose(probabilities, np.column_stack([1 - second, second]), rtol=1e-4)
    np.testing.assert_array_equal(target.inverse_transform(outputs), outputs[:, 0] > 0)


@tried
@given(class_numbers(), st.sampled_from(LOGIT_CLASSES), st.integers(0, 2), st.data())
def test_probabilities_are_in_range_and_add_up_to_1_in_the_order_of_classes(
    drawn, name, n_more, data
):
    n_classes, _ = drawn
    units = n_classes + n_more
    outputs = data.draw(raw_outputs(6, units, low=-90, high=90))
    target = bound(n_classes, output(units, activation="linear", loss=from_logits(name)))
    assert_probabilities(target, outputs, n_classes)


def assert_probabilities(target, outputs, n_classes):
    probabilities = target.inverse_transform(outputs, return_proba=True)
    assert probabilities.shape == (len(outputs), n_classes)
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    predicted = target.classes_[probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(target.inverse_transform(outputs), predicted)


@tried
@given(class_numbers(), st.sampled_from(["sigmoid", "hard_sigmoid", "softplus", None]), st.data())
def test_outputs_that_do_not_add_up_to_1_are_normalized(drawn, activation, data):
    n_classes, _ = drawn
    outputs = data.draw(raw_outputs(6, n_classes, low=0, high=1))
    target = bound(n_classes, output(n_classes, activation=activation, loss="binary_crossentropy"))
    assert_probabilities(target, outputs, n_classes)


def test_outputs_of_zero_are_a_uniform_distribution():
    target = bound(4, output(4, activation="softplus", loss="kl_divergence"))
    found = target.inverse_transform(np.zeros((2, 4), "float32"), return_proba=True)
    np.testing.assert_array_equal(found, np.full((2, 4), 0.25))


def test_an_output_of_one_unit_beyond_1_is_a_probability_of_1():
    target = bound(2, output(1, activation="softplus", loss="binary_crossentropy"))
    outputs = np.array([[0.0], [0.25], [7.0]])
    found = target.inverse_transform(outputs, return_proba=True)
    np.testing.assert_array_equal(found, [[1, 0], [0.75, 0.25], [0, 1]])


NEEDS_PROBABILITIES = [n for n, (_, meaning) in LOSSES.items() if meaning is Outputs.PROBABILITIES]


@pytest.mark.parametrize("activation", ["linear", "tanh", "log_softmax"])
@pytest.mark.parametrize("name", NEEDS_PROBABILITIES)
@pytest.mark.parametrize("units", [1, 3])
def test_a_loss_that_needs_probabilities_without_them_is_an_error(name, units, activation):
    if not hasattr(keras.losses, name):
        return
    n_classes = 2 if units == 1 else 3
    right = "activation=\"softmax\"|activation='softmax'" if units == 3 else "sigmoid|1 unit"
    with pytest.raises(InputValueError, match=right):
        bound(n_classes, output(units, activation=activation, loss=getattr(keras.losses, name)))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("name", LOGIT_CLASSES)
def test_an_activation_beside_from_logits_is_a_warning(name, activation):
    with pytest.warns(UserWarning, match=f"The model ends with a {activation}, and the loss"):
        target = bound(3, output(3, activation=activation, loss=from_logits(name)))
    outputs = np.array([[0.2, 0.5, 0.3]], "float32")
    np.testing.assert_allclose(
        target.inverse_transform(outputs, return_proba=True), outputs, rtol=1e-6
    )


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "log_cosh"])
def test_outputs_on_the_scale_of_y_are_cut_in_the_middle(name):
    target = bound(2, output(1, activation="linear", loss=name))
    outputs = np.array([[-3.0], [0.4], [0.6], [9.0]])
    np.testing.assert_array_equal(target.inverse_transform(outputs), [0, 0, 1, 1])


@pytest.mark.parametrize("name", ["hinge", "squared_hinge"])
@pytest.mark.parametrize("activation", ["linear", "tanh"])
def test_margins_are_cut_at_0(name, activation):
    target = bound(2, output(1, activation=activation, loss=name))
    outputs = np.array([[-0.3], [0.2], [0.6]])
    np.testing.assert_array_equal(target.inverse_transform(outputs), [0, 1, 1])


@pytest.mark.parametrize("name", ["hinge", "squared_hinge", "categorical_hinge", "mse", "mae"])
def test_outputs_that_are_not_probabilities_have_none(name):
    target = bound(3, output(3, activation="linear", loss=name))
    outputs = np.array([[-1.0, 0.5, 3.0]])
    np.testing.assert_array_equal(target.inverse_transform(outputs), [2])
    match = r"outputs of the model are (margins|values), not probabilities\. End the model with a"
    with pytest.raises(InputValueError, match=match):
        target.inverse_transform(outputs, return_proba=True)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize(("units", "n_classes"), [(1, 2), (2, 2), (3, 3)])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "linear", "tanh", "softplus", None])
def test_every_loss_is_decoded_to_classes_or_is_an_error(name, units, n_classes, activation, rng):
    if not hasattr(keras.losses, name):
        return
    found = output(units, activation=activation, loss=getattr(keras.losses, name))
    try:
        target = bound(n_classes, found)
    except InputValueError:
        return
    y = rng.integers(n_classes, size=9)
    encoded = target.transform(y)
    if LOSSES[name][0] is Takes.CLASS_NUMBERS:
        np.testing.assert_array_equal(encoded, y)
    elif units == 1:
        np.testing.assert_array_equal(encoded, y[:, np.newaxis])
    else:
        np.testing.assert_array_equal(encoded, np.eye(units)[y])
    np.testing.assert_array_equal(target.inverse_transform(outputs_of(y, units)), y)


def outputs_of(y, units):
    """Return outputs that are right about y whatever they mean."""
    return np.where(y == 1, 1.0, -1.0)[:, np.newaxis] if units == 1 else np.eye(units)[y]


@pytest.mark.parametrize("name", ["circle", "ctc"])
def test_losses_without_classes_are_an_error(name):
    with pytest.raises(InputValueError, match="outputs of the model do not stand for classes"):
        bound(3, output(3, activation="linear", loss=name))


DISTRIBUTIONS = sorted(n for n, (takes, _) in LOSSES.items() if takes is not Takes.ELEMENTS)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_one_unit_for_a_loss_of_several_is_an_error(name):
    if hasattr(keras.losses, name):
        found = output(1, activation="sigmoid", loss=getattr(keras.losses, name))
        with pytest.raises(InputValueError, match="2 classes, but the output of the model has 1 u"):
            bound(2, found)


def test_one_unit_for_three_classes_is_an_error():
    with pytest.raises(InputValueError, match="3 classes, and the loss binary_crossentropy takes "):
        bound(3, output(1, activation="sigmoid", loss="binary_crossentropy"))


def test_one_unit_with_a_softmax_is_an_error():
    with pytest.raises(InputValueError, match="one unit with a softmax, which is always 1"):
        bound(2, output(1, activation="softmax", loss="binary_crossentropy"))


def test_one_unit_less_than_classes_has_the_advice_of_ordinal():
    with pytest.raises(InputValueError, match='one unit less than classes, pass target="ordinal"'):
        bound(4, output(3, activation="sigmoid", loss="binary_crossentropy"))


@pytest.mark.parametrize(
    ("outputs", "threshold"), [("probabilities", 0.5), ("logits", 0.0), ("margins", 0.0)]
)
def test_the_user_may_state_the_meaning_of_the_outputs(outputs, threshold):
    found = output(1, loss=lambda y, p: keras.ops.mean((y - p) ** 2, axis=-1))
    target = bound(2, found, outputs=outputs)
    values = np.array([[threshold - 0.1], [threshold + 0.1]])
    np.testing.assert_array_equal(target.inverse_transform(values), [0, 1])


def test_an_output_of_unknown_meaning_is_an_error():
    found = output(1, loss=lambda y, p: keras.ops.mean((y - p) ** 2, axis=-1))
    with pytest.raises(InputValueError, match="not known what the output of the model means to"):
        bound(2, found)


def test_a_model_with_unknown_outputs_goes_by_its_loss():
    y = np.array([0, 1, 2])
    target = Labels().fit(y).for_outputs(None)
    np.testing.assert_array_equal(target.transform(y), y)
    np.testing.assert_array_equal(target.inverse_transform(np.eye(3)), y)
    unknown = output(loss="binary_crossentropy")
    unknown = unknown.__class__("output", None, None, unknown.loss)
    with pytest.raises(InputValueError, match="not known before it is trained, and the loss bin"):
        Labels().fit(y).for_outputs([unknown])


def test_a_model_that_computes_its_own_loss_needs_an_encoding():
    with pytest.raises(InputValueError, match="computes its own loss, of which it is not known"):
        bound(3, output(3, activation="softmax"))
    target = bound(3, output(3, activation="softmax"), encoding="one_hot")
    np.testing.assert_array_equal(target.transform(np.arange(3)), np.eye(3))


def test_an_output_without_an_axis_takes_y_without_one():
    target = bound(2, output(activation="sigmoid", loss="binary_crossentropy"))
    np.testing.assert_array_equal(target.transform(np.array([0, 1])), [0, 1])
    np.testing.assert_array_equal(target.inverse_transform(np.array([0.2, 0.7])), [0, 1])
    probabilities = target.inverse_transform(np.array([0.25, 0.75]), return_proba=True)
    np.testing.assert_array_equal(probabilities, [[0.75, 0.25], [0.25, 0.75]])


@pytest.mark.parametrize("shape", [(5,), (5, 2), (5, 4, 3)])
def test_outputs_of_another_shape_are_an_error(shape):
    target = bound(3, output(3, activation="softmax", loss="mse"))
    with pytest.raises(InputValueError, match=r"outputs of shape .* expected one value for each"):
        target.inverse_transform(np.zeros(shape))


def test_a_decision_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bound(3, output(3, activation="softmax", loss="categorical_crossentropy"))
