"""Labels of any kind are encoded as the loss takes them, and outputs are decoded to them."""

import keras
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import LabelBinarizer

from skguard.exceptions import InputValueError
from skguard.targets import Labels
from skguard.targets._classes import has_one_column_per_class, is_indicator
from tests.targets.kinds import LABELS, class_numbers, raw_outputs, tried
from tests.targets.outputs import output

SPARSE = "sparse_categorical_crossentropy"
ONE_HOT_LOSSES = [
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "kl_divergence",
    "binary_crossentropy",
    "dice",
    "mse",
    "poisson",
]


def softmax(units, *steps, loss=SPARSE):
    return output(*steps, units, activation="softmax", loss=loss)


def sigmoid(*shape, loss="binary_crossentropy"):
    return output(*(shape or (1,)), activation="sigmoid", loss=loss)


def bound(y, found, **parameters):
    """Return a target fitted to y, for an output."""
    return Labels(**parameters).fit(y).for_outputs([found])


@tried
@given(class_numbers(), st.sampled_from(sorted(LABELS)), st.data())
def test_labels_become_class_numbers_and_the_largest_output_becomes_a_label(drawn, kind, data):
    n_classes, numbers = drawn
    labels = LABELS[kind](n_classes)
    n_classes, numbers = len(labels), numbers % len(labels)
    target = bound(labels[numbers], softmax(n_classes))
    np.testing.assert_array_equal(target.transform(labels[numbers]), numbers)
    assert target.transform(labels[numbers]).dtype == np.float32
    outputs = scipy.special.softmax(data.draw(raw_outputs(7, n_classes)), axis=1)
    predicted, probabilities = decode(target, outputs)
    np.testing.assert_array_equal(predicted, labels[outputs.argmax(axis=1)])
    assert predicted.dtype == labels.dtype
    np.testing.assert_array_equal(probabilities, outputs)


def decode(target, outputs):
    return target.inverse_transform(outputs), target.inverse_transform(outputs, return_proba=True)


@tried
@given(class_numbers(), st.sampled_from(sorted(LABELS)), st.sampled_from(ONE_HOT_LOSSES))
def test_labels_become_one_column_per_class_for_losses_that_compare_columns(drawn, kind, loss):
    n_classes, numbers = drawn
    labels = LABELS[kind](n_classes)
    n_classes, numbers = len(labels), numbers % len(labels)
    target = bound(labels[numbers], softmax(n_classes, loss=loss))
    np.testing.assert_array_equal(target.transform(labels[numbers]), np.eye(n_classes)[numbers])


@tried
@given(class_numbers(max_classes=2), st.sampled_from(sorted(LABELS)), st.data())
def test_two_labels_become_one_column_for_one_unit(drawn, kind, data):
    _, numbers = drawn
    labels = LABELS[kind](2)
    target = bound(labels[numbers], sigmoid())
    np.testing.assert_array_equal(target.transform(labels[numbers]), numbers[:, np.newaxis])
    outputs = data.draw(raw_outputs(9, 1, low=0, high=1))
    predicted, probabilities = decode(target, outputs)
    np.testing.assert_array_equal(predicted, labels[(outputs[:, 0] > 0.5).astype(int)])
    np.testing.assert_array_equal(probabilities, np.hstack([1 - outputs, outputs]))


@tried
@given(class_numbers(), st.integers(0, 3), st.sampled_from([SPARSE, *ONE_HOT_LOSSES]), st.data())
def test_units_without_a_class_are_not_predicted(drawn, n_more, loss, data):
    n_classes, numbers = drawn
    units = n_classes + n_more
    target = bound(numbers, softmax(units, loss=loss))
    encoded = target.transform(numbers)
    expected = numbers if loss == SPARSE else np.eye(units)[numbers]
    np.testing.assert_array_equal(encoded, expected)
    outputs = scipy.special.softmax(data.draw(raw_outputs(7, units)), axis=1)
    predicted, probabilities = decode(target, outputs)
    np.testing.assert_array_equal(predicted, outputs[:, :n_classes].argmax(axis=1))
    assert probabilities.shape == (7, n_classes)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), predicted)


@tried
@given(class_numbers(), st.integers(1, 4))
def test_fewer_units_than_classes_are_an_error(drawn, missing):
    n_classes, numbers = drawn
    units = max(n_classes - missing, 1)
    found = softmax(units, loss="categorical_crossentropy")
    expected = "one unit with a softmax" if (n_classes, units) == (2, 1) else "has [1-5] unit"
    with pytest.raises(InputValueError, match=expected):
        bound(numbers, found)


@tried
@given(class_numbers(), st.sampled_from([SPARSE, *ONE_HOT_LOSSES]), st.sampled_from("?bif"))
def test_one_hot_columns_are_kept_or_become_class_numbers(drawn, loss, dtype):
    n_classes, numbers = drawn
    y = np.eye(n_classes)[numbers].astype(dtype)
    target = bound(y, softmax(n_classes, loss=loss))
    encoded = target.transform(y)
    np.testing.assert_array_equal(encoded, numbers if loss == SPARSE else y)
    np.testing.assert_array_equal(target.classes_, np.arange(n_classes))
    predicted = target.inverse_transform(np.eye(n_classes)[numbers])
    np.testing.assert_array_equal(predicted, y)


@tried
@given(class_numbers(max_classes=2))
def test_two_one_hot_columns_become_one_for_one_unit(drawn):
    _, numbers = drawn
    y = np.eye(2)[numbers]
    target = bound(y, sigmoid())
    np.testing.assert_array_equal(target.transform(y), numbers[:, np.newaxis])
    np.testing.assert_array_equal(target.inverse_transform(0.2 + 0.6 * y[:, 1:]), y)


@tried
@given(class_numbers(), st.sampled_from(ONE_HOT_LOSSES), st.data())
def test_fractions_are_kept(drawn, loss, data):
    n_classes, numbers = drawn
    y = scipy.special.softmax(data.draw(raw_outputs(len(numbers), n_classes)), axis=1)
    target = bound(y, softmax(n_classes, loss=loss))
    np.testing.assert_allclose(target.transform(y), y)
    np.testing.assert_array_equal(target.inverse_transform(y), y.argmax(axis=1))
    np.testing.assert_array_equal(target.labels(y), y.argmax(axis=1))
    assert target.score(y, y.argmax(axis=1)) == 1.0


def test_fractions_of_two_classes_become_one_column_for_one_unit():
    y = np.array([[0.25, 0.75], [0.5, 0.5]])
    np.testing.assert_array_equal(bound(y, sigmoid()).transform(y), [[0.75], [0.5]])


def test_fractions_for_a_loss_of_class_numbers_are_an_error():
    y = np.array([[0.25, 0.75], [0.5, 0.5]])
    with pytest.raises(InputValueError, match="y has fractions, one column per class, but the los"):
        bound(y, softmax(2))


losses = st.sampled_from([SPARSE, *ONE_HOT_LOSSES])
steps = st.lists(st.integers(1, 4), min_size=1, max_size=2).map(tuple)


@tried
@given(
    steps, st.sampled_from(sorted(LABELS)), st.sampled_from([SPARSE, *ONE_HOT_LOSSES]), st.data()
)
def test_every_entry_of_y_is_a_label_for_an_output_per_step(steps, kind, loss, data):
    n_classes, numbers = data.draw(class_numbers(steps=steps))
    labels = LABELS[kind](n_classes)
    n_classes, numbers = len(labels), numbers % len(labels)
    y = labels[numbers]
    target = bound(y, softmax(n_classes, *steps, loss=loss))
    np.testing.assert_array_equal(
        target.transform(y), numbers if loss == SPARSE else np.eye(n_classes)[numbers]
    )
    outputs = scipy.special.softmax(data.draw(raw_outputs(5, *steps, n_classes)), axis=-1)
    predicted, probabilities = decode(target, outputs)
    np.testing.assert_array_equal(predicted, labels[outputs.argmax(axis=-1)])
    np.testing.assert_array_equal(probabilities, outputs)
    np.testing.assert_array_equal(target.labels(y), y)


@tried
@given(steps, st.sampled_from([SPARSE, *ONE_HOT_LOSSES]), st.data())
def test_one_hot_columns_per_step_are_decoded_to_class_numbers(steps, loss, data):
    n_classes, numbers = data.draw(class_numbers(steps=steps))
    y = np.eye(n_classes)[numbers]
    target = bound(y, softmax(n_classes, *steps, loss=loss))
    np.testing.assert_array_equal(target.transform(y), numbers if loss == SPARSE else y)
    predicted, probabilities = decode(target, y.astype("float32"))
    np.testing.assert_array_equal(predicted, numbers)
    np.testing.assert_array_equal(probabilities, y)
    assert target.score(y, predicted) == 1.0


@pytest.mark.parametrize("size", [None, 6])
def test_two_labels_per_step_become_one_column_for_one_unit(size):
    y = np.array([["b", "a", "b", "a", "a", "a"], ["a", "b", "b", "b", "a", "b"]])
    target = bound(y, sigmoid(size, 1))
    encoded = target.transform(y)
    np.testing.assert_array_equal(encoded, (y == "b")[..., np.newaxis])
    np.testing.assert_array_equal(target.inverse_transform(0.9 * encoded), y)
    assert target.inverse_transform(0.9 * encoded, return_proba=True).shape == (2, 6, 2)


@tried
@given(class_numbers(), steps, st.data())
def test_labels_of_other_steps_than_the_output_are_an_error(drawn, steps, data):
    n_classes, numbers = drawn
    with pytest.raises(InputValueError, match="y has one label per sample, but the output"):
        bound(numbers, softmax(n_classes, *steps))
    n_classes, numbers = data.draw(class_numbers(steps=steps))
    with pytest.raises(InputValueError, match=r"y has labels of shape .* but the output"):
        bound(10 * numbers, softmax(n_classes, *steps[:-1], steps[-1] + 1))


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
@pytest.mark.parametrize("kind", sorted(LABELS))
def test_predictions_have_the_shape_of_y(shape, kind):
    labels = LABELS[kind](2)
    y = labels[np.array([0, 1, 1, 0, 1, 0])].reshape(shape)
    target = bound(y, softmax(2))
    encoded = target.transform(y)
    assert encoded.shape == (6,)
    np.testing.assert_array_equal(target.inverse_transform(np.eye(2)[encoded.astype(int)]), y)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_shapes_and_columns_are_those_of_scikit_learn(n_classes, rng):
    y = np.array(["c", "a", "b"])[:n_classes].repeat(5)
    X = rng.normal(size=(len(y), 2))
    reference = LogisticRegression().fit(X, y)
    target = bound(y, softmax(n_classes))
    predicted, probabilities = decode(target, reference.predict_proba(X))
    np.testing.assert_array_equal(target.classes_, reference.classes_)
    np.testing.assert_array_equal(predicted, reference.predict(X))
    np.testing.assert_array_equal(probabilities, reference.predict_proba(X))
    np.testing.assert_array_equal(
        bound(y, softmax(n_classes, loss="mse")).transform(y)[:, 1:],
        LabelBinarizer().fit_transform(y)[:, -(n_classes - 1) :],
    )


def test_announced_classes_that_y_lacks_keep_their_columns():
    y = np.array(["a", "c"])
    target = bound(y, softmax(3, loss="categorical_crossentropy"), classes=["c", "b", "a"])
    np.testing.assert_array_equal(target.classes_, ["a", "b", "c"])
    np.testing.assert_array_equal(target.transform(y), np.eye(3)[[0, 2]])
    np.testing.assert_array_equal(target.inverse_transform(np.eye(3)), ["a", "b", "c"])


def test_announced_classes_of_another_number_than_columns_are_an_error():
    with pytest.raises(InputValueError, match="y has 3 columns, one per class, but classes has 2"):
        Labels(classes=[0, 1]).fit(np.eye(3))


@pytest.mark.parametrize(
    ("known", "other"),
    [(["a", "b"], ["a", "c"]), ([1, 2], [1, 0]), ([1.0, 2.0], [5.0]), ([False, True], [2])],
)
def test_a_label_that_was_not_in_fit_is_an_error(known, other):
    target = bound(np.array(known), softmax(2))
    with pytest.raises(InputValueError, match="previously unseen: not in the classes"):
        target.transform(np.array(other))


def ignoring(number):
    return keras.losses.SparseCategoricalCrossentropy(ignore_class=number)


@pytest.mark.parametrize(
    ("ignored", "y", "classes", "encoded"),
    [
        (-1, [[0, 1, -1], [2, -1, 0]], [0, 1, 2], [[0, 1, -1], [2, -1, 0]]),
        (255, [[0, 1, 255], [1, 255, 0]], [0, 1], [[0, 1, 255], [1, 255, 0]]),
        (-1, [[5, 7, -1], [7, -1, 5]], [5, 7], [[0, 1, -1], [1, -1, 0]]),
        (3, [[0, 1, 3], [2, 3, 0]], [0, 1, 2], [[0, 1, 3], [2, 3, 0]]),
        (0, [[0, 1, 2], [2, 1, 0]], [0, 1, 2], [[0, 1, 2], [2, 1, 0]]),
        (1, [[0, 1, 2], [2, 1, 0]], [0, 1, 2], [[0, 1, 2], [2, 1, 0]]),
        (0, [[0, 5, 7], [7, 5, 0]], [0, 5, 7], [[0, 1, 2], [2, 1, 0]]),
        (-1, [["a", "b", "c"]], ["a", "b", "c"], [[0, 1, 2]]),
    ],
)
def test_the_ignored_label_is_kept_and_every_other_one_is_a_class(ignored, y, classes, encoded):
    y = np.array(y)
    target = bound(y, softmax(4, 3, loss=ignoring(ignored)))
    np.testing.assert_array_equal(target.classes_, classes)
    np.testing.assert_array_equal(target.transform(y), encoded)


@pytest.mark.parametrize(
    ("ignored", "y"), [(0, [1, 2, 3]), (0, ["a", "b"]), (1, [1, 2, 3]), (0, [-1, 0, 1])]
)
def test_an_ignored_number_that_a_class_would_be_encoded_to_is_an_error(ignored, y):
    match = rf"ignore_class={ignored}, which the label .* would be encoded to"
    with pytest.raises(InputValueError, match=match):
        bound(np.array(y), softmax(4, loss=ignoring(ignored)))


def test_ignored_entries_do_not_count_in_a_score():
    y = np.array([[0, 1, -1], [1, 0, -1]])
    target = bound(y, softmax(2, 3, loss=ignoring(-1)))
    assert target.score(y, np.array([[0, 1, 0], [1, 1, 0]])) == 0.75


def test_the_score_of_steps_is_the_mean_over_all_of_them():
    y = np.array([["a", "b", "a"], ["b", "a", "a"]])
    target = bound(y, softmax(2, 3))
    predicted = np.array([["a", "b", "b"], ["a", "a", "a"]])
    assert target.score(y, predicted) == pytest.approx(4 / 6)
    assert target.score(y, predicted, np.array([1.0, 0.0])) == pytest.approx(2 / 3)
    by_step = np.array([[1.0, 1, 0], [0, 0, 0]])
    assert target.score(y, predicted, by_step) == 1.0


def test_the_score_of_one_label_per_sample_is_left_to_the_scorer():
    assert bound(np.array([0, 1]), softmax(2)).score(np.array([0, 1]), np.array([0, 1])) is None


def test_numbers_that_are_not_classes_are_an_error():
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        Labels().fit(np.array([0.1, 0.7, 0.3]))


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"encoding": "onehot"}, "encoding='onehot' of target must be one of 'auto', 'class_num"),
        ({"outputs": "probs"}, "outputs='probs' of target must be one of 'auto', 'probabilities'"),
    ],
)
def test_other_words_are_an_error(parameters, match):
    with pytest.raises(InputValueError, match=match):
        Labels(**parameters).fit(np.array([0, 1]))


def test_an_encoding_that_the_loss_does_not_take_is_an_error():
    with pytest.raises(InputValueError, match="encoding='one_hot' of target, but the loss sparse"):
        bound(np.array([0, 1]), softmax(2), encoding="one_hot")
    with pytest.raises(InputValueError, match="encoding='class_numbers' of target, but the loss k"):
        bound(np.array([0, 1]), softmax(2, loss="kl_divergence"), encoding="class_numbers")


def test_a_target_for_an_output_is_a_copy():
    target = Labels().fit(np.array([0, 1]))
    other = target.for_outputs([softmax(2, loss="mse")])
    assert other is not target
    np.testing.assert_array_equal(target.transform(np.array([0, 1])), [0, 1])
    np.testing.assert_array_equal(other.transform(np.array([0, 1])), np.eye(2))


def test_several_outputs_are_an_error():
    with pytest.raises(InputValueError, match="model with 2 outputs, but y was prepared for 1"):
        Labels().fit(np.array([0, 1])).for_outputs([softmax(2), softmax(2)])


@pytest.mark.parametrize(
    ("y", "indicator", "columns"),
    [
        ([[1, 0], [0, 1]], True, True),
        ([[1, 1], [0, 1]], True, False),
        ([[0, 0], [0, 1]], True, False),
        ([[0.5, 0.5], [0.2, 0.8]], False, True),
        ([[0.5, 0.4], [0.2, 0.8]], False, False),
        ([[2, -1], [0, 1]], False, False),
        ([[True, False], [False, True]], True, True),
        ([[1], [0]], True, False),
        ([1, 0], True, False),
        ([["1", "0"]], False, False),
    ],
)
def test_columns_per_class_are_recognized_by_their_sums(y, indicator, columns):
    y = np.array(y)
    assert (is_indicator(y), has_one_column_per_class(y)) == (indicator, columns)
