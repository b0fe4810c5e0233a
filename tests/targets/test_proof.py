"""Losses that are not Keras's own: the form of y that they take is proven, or fit raises."""

import keras
import numpy as np
import pytest
from keras import ops
from sklearn.utils import check_random_state

from skguard.exceptions import InputValueError
from skguard.targets import Labels
from skguard.targets._losses import Outputs
from skguard.targets._proof import is_crossentropy_of_logits, is_lower_for_the_true_class, stand_in
from tests.targets.outputs import output


def one_hot_focal(y, p):
    return -ops.sum(y * (1 - p) ** 2 * ops.log(ops.clip(p, 1e-7, 1)), axis=-1)


def sparse_focal(y, p):
    columns = ops.one_hot(ops.cast(ops.reshape(y, (-1,)), "int32"), p.shape[-1])
    return one_hot_focal(columns, p)


def sparse_from_keras(y, p):
    return 2 * keras.losses.sparse_categorical_crossentropy(y, p)


def squared(y, p):
    return ops.mean((y - p) ** 2, axis=-1)


def smoothed(y, p):
    return keras.losses.categorical_crossentropy(y, p, label_smoothing=0.1)


def one_hot_logits(y, p):
    return -ops.sum(y * ops.log_softmax(p), axis=-1)


def sparse_logits(y, p):
    return keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True)


def binary_focal(y, p):
    p = ops.clip(p, 1e-7, 1 - 1e-7)
    cross = -(y * ops.log(p) + (1 - y) * ops.log(1 - p))
    return ops.mean(cross * ops.abs(y - p) ** 2, axis=-1)


def signed_hinge(y, p):
    return ops.mean(ops.maximum(1 - y * p, 0), axis=-1)


def broadcast(y, p):
    return ops.mean(ops.abs(ops.reshape(y, (-1, 1)) - p))


def constant(y, p):
    return ops.zeros_like(p[..., 0])


def reversed_(y, p):
    return ops.sum(y * p, axis=-1)


def raising(y, p):
    raise RuntimeError("on purpose")


class FocalObject(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return one_hot_focal(y_true, y_pred)


class Overridden(keras.losses.BinaryCrossentropy):
    def call(self, y_true, y_pred):
        return sparse_focal(y_true, y_pred)


class CallableFocal:
    def __call__(self, y, p):
        return one_hot_focal(y, p)


def name_of(loss):
    return getattr(loss, "__name__", type(loss).__name__)


def bound(y, found, **parameters):
    return Labels(**parameters).fit(y).for_outputs([found])


@pytest.mark.parametrize(
    "loss",
    [one_hot_focal, squared, smoothed, one_hot_logits, FocalObject(), FocalObject, CallableFocal()],
    ids=name_of,
)
@pytest.mark.parametrize("n_classes", [2, 3, 7, 40])
def test_a_loss_of_one_column_per_class_gets_columns(n_classes, loss):
    y = np.tile(np.arange(n_classes), 3)
    target = bound(y, output(n_classes, activation="softmax", loss=loss))
    np.testing.assert_array_equal(target.transform(y), np.eye(n_classes)[y])


@pytest.mark.parametrize(
    "loss", [sparse_focal, sparse_from_keras, sparse_logits, Overridden()], ids=name_of
)
@pytest.mark.parametrize("n_classes", [2, 3, 4, 7, 40])
def test_a_loss_of_class_numbers_gets_numbers(n_classes, loss):
    y = np.tile(np.arange(n_classes), 3)
    target = bound(y, output(n_classes, activation="softmax", loss=loss))
    np.testing.assert_array_equal(target.transform(y), y)


@pytest.mark.parametrize("loss", [broadcast, constant, reversed_, raising], ids=name_of)
@pytest.mark.parametrize("n_classes", [2, 3, 4, 7])
def test_a_loss_that_prefers_no_class_is_an_error(n_classes, loss):
    found = output(n_classes, activation="softmax", loss=loss)
    with pytest.raises(
        InputValueError, match=r"is not one of Keras's, .*\n?.*encoding=\"one_hot\""
    ):
        bound(np.arange(n_classes), found)


@pytest.mark.parametrize("loss", [broadcast, constant, raising], ids=name_of)
def test_an_encoding_that_the_user_has_chosen_is_not_proven(loss):
    found = output(3, activation="softmax", loss=loss)
    target = bound(np.arange(3), found, encoding="one_hot")
    np.testing.assert_array_equal(target.transform(np.arange(3)), np.eye(3))


@pytest.mark.parametrize(
    ("loss", "activation", "encoded"),
    [
        (binary_focal, "sigmoid", [[0], [1]]),
        (squared, "sigmoid", [[0], [1]]),
        (signed_hinge, "tanh", [[-1], [1]]),
        (signed_hinge, "linear", [[-1], [1]]),
    ],
)
def test_a_loss_of_one_unit_gets_0_and_1_or_signs(loss, activation, encoded):
    y = np.array(["a", "b"])
    target = bound(y, output(1, activation=activation, loss=loss))
    np.testing.assert_array_equal(target.transform(y), encoded)
    np.testing.assert_array_equal(target.inverse_transform(np.array([[-0.2], [0.9]])), ["a", "b"])


@pytest.mark.parametrize("loss", [constant, reversed_, raising, sparse_focal], ids=name_of)
def test_a_loss_of_one_unit_that_prefers_no_class_is_an_error(loss):
    with pytest.raises(InputValueError, match="neither for classes encoded as 0 and 1 nor as -1"):
        bound(np.array([0, 1]), output(1, activation="sigmoid", loss=loss))


@pytest.mark.parametrize("activation", ["linear", None])
@pytest.mark.parametrize(
    ("loss", "meaning"),
    [
        (one_hot_logits, Outputs.LOGITS),
        (sparse_logits, Outputs.LOGITS),
        (one_hot_focal, Outputs.VALUES),
        (squared, Outputs.VALUES),
    ],
)
def test_outputs_of_which_only_differences_matter_are_logits(loss, meaning, activation, rng):
    target = bound(np.arange(3), output(3, activation=activation, loss=loss))
    outputs = rng.normal(scale=4, size=(8, 3))
    np.testing.assert_array_equal(target.inverse_transform(outputs), outputs.argmax(axis=1))
    if meaning is Outputs.LOGITS:
        found = target.inverse_transform(outputs, return_proba=True)
        np.testing.assert_allclose(found.sum(axis=1), 1)
    else:
        with pytest.raises(InputValueError, match="are values, not probabilities"):
            target.inverse_transform(outputs, return_proba=True)


def test_outputs_of_unknown_meaning_that_are_probabilities_may_be_used():
    target = bound(np.arange(3), output(3, loss=one_hot_focal))
    outputs = np.array([[0.2, 0.3, 0.5], [1, 0, 0]], "float32")
    np.testing.assert_allclose(target.inverse_transform(outputs, return_proba=True), outputs)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("steps", [(2,), (4,), (2, 3)])
def test_a_loss_per_step_is_proven_with_steps(steps, known):
    y = np.arange(2 * np.prod(steps)).reshape(2, *steps) % 3
    shape = steps if known else (None,) * len(steps)
    found = output(*shape, 3, activation="softmax", loss=one_hot_focal)
    np.testing.assert_array_equal(bound(y, found).transform(y), np.eye(3)[y])


def test_a_proof_leaves_random_numbers_as_they_are():
    def with_noise(y, p):
        keras.random.normal((3,))
        np.random.rand()
        return squared(y, p)

    np.random.seed(3)
    keras.utils.set_random_seed(3)
    before = np.random.get_state()[1].copy()
    bound(np.arange(3), output(3, activation="softmax", loss=with_noise))
    np.testing.assert_array_equal(check_random_state(None).get_state()[1], before)


def encode_columns(numbers):
    return np.eye(3, dtype="float32")[numbers]


def test_a_preference_for_every_class_is_needed():
    def ignores_the_last(y, p):
        return -ops.sum((y * p)[..., :2], axis=-1)

    arguments = encode_columns, (3,), 3, (0.05, 0.9)
    assert is_lower_for_the_true_class(squared, *arguments)
    assert not is_lower_for_the_true_class(ignores_the_last, *arguments)
    assert not is_lower_for_the_true_class(lambda y, p: p * np.nan, *arguments)


def test_a_loss_that_cannot_be_called_is_no_crossentropy():
    assert not is_crossentropy_of_logits(raising, encode_columns, (3,), 3)


@pytest.mark.parametrize(("factor", "expected"), [(1.0, True), (20.0, False)])
def test_scaled_logits_are_not_taken_for_logits(factor, expected):
    def loss(y, outputs):
        return keras.losses.categorical_crossentropy(y, factor * outputs, from_logits=True)

    assert is_crossentropy_of_logits(loss, encode_columns, (3,), 3) is expected


@keras.saving.register_keras_serializable("tests")
class Counting(keras.losses.Loss):
    calls = 0

    def call(self, y, p):
        self.calls += 1
        return one_hot_focal(y, p)


def test_an_object_is_copied_before_it_is_called():
    loss = Counting()
    Labels().fit(np.arange(3)).for_outputs([output(3, activation="softmax", loss=loss)])
    assert stand_in(loss) is not loss
    assert loss.calls == 0
