"""The outputs of a built model: shapes, names, activations and the loss of each."""

import functools

import keras
import numpy as np
import pytest

from skguard.exceptions import InputValueError
from skguard.targets._losses import Outputs
from skguard.targets._outputs import IS_PROBABILITY, NOT_PROBABILITIES, check_encoded, outputs_of
from tests.targets.outputs import dense, output, per_step, two_heads

X = np.zeros((3, 4), "float32")


def test_the_output_of_a_model_has_its_shape_activation_and_loss():
    (found,) = outputs_of(dense(3, "softmax")(), "mse", X)
    assert (found.shape, found.units, found.steps) == ((3,), 3, ())
    assert (found.activation, found.are_probabilities) == ("softmax", True)
    assert (found.loss.name, found.loss_name) == ("mean_squared_error", "mean_squared_error")


def test_an_output_per_step_has_steps():
    (found,) = outputs_of(per_step(5, "sigmoid")(), "mse", np.zeros((3, 6, 2)))
    assert (found.units, found.steps) == (5, (None,))
    (found,) = outputs_of(per_step(5, steps=6)(), "mse", np.zeros((3, 6, 2)))
    assert found.steps == (6,)


def flat_output():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Flatten()(keras.layers.Dense(1)(inputs))[:, 0])


def test_an_output_without_an_axis_has_one_unit():
    (found,) = outputs_of(flat_output(), "mse", X)
    assert (found.shape, found.units, found.steps) == ((), 1, ())


class Subclassed(keras.Model):
    """A model that does not know its outputs until it is called."""

    def __init__(self, as_dict=False):
        super().__init__()
        self.as_dict = as_dict
        self.layer = keras.layers.Dense(3, "softmax")

    def call(self, x):
        result = self.layer(x)
        return {"b": result, "a": result[:, :2]} if self.as_dict else result


def test_a_subclassed_model_is_called_with_one_sample():
    (found,) = outputs_of(Subclassed(), "mse", X)
    assert (found.shape, found.activation, found.is_in_mapping) == ((3,), None, False)


def test_a_subclassed_model_may_return_a_dict():
    first, second = outputs_of(Subclassed(as_dict=True), {"b": "mse", "a": "mae"}, X)
    assert (first.name, first.shape, first.loss.name) == ("a", (2,), "mean_absolute_error")
    assert (second.name, second.shape, second.loss.name) == ("b", (3,), "mean_squared_error")
    assert first.is_in_mapping


def test_outputs_of_a_model_that_cannot_be_called_are_unknown():
    class Failing(keras.Model):
        def call(self, x):
            raise RuntimeError("not now")

    assert outputs_of(Failing(), "mse", X) is None


def test_a_stateful_model_is_not_called():
    class Counting(keras.Model):
        def __init__(self):
            super().__init__()
            self.layer = keras.layers.SimpleRNN(2, stateful=True)
            self.calls = []

        def call(self, x):
            self.calls.append(x)
            return self.layer(x)

    model = Counting()
    assert outputs_of(model, "mse", np.zeros((3, 5, 2))) is None
    assert model.calls == []


def first():
    return keras.layers.Dense(1, "sigmoid", name="one")


def second():
    return keras.layers.Dense(3, name="three")


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize(
    "loss",
    [["mse", "mae"], {"one": "mse", "three": "mae"}, {"three": "mae", "one": "mse"}],
    ids=["list", "dict", "reversed_dict"],
)
def test_each_output_has_the_loss_that_keras_assigns_to_it(loss, as_dict):
    found = outputs_of(two_heads(first, second, as_dict)(), loss, X)
    assert [one.name for one in found] == ["one", "three"]
    assert [one.units for one in found] == [1, 3]
    assert [one.loss.name for one in found] == ["mean_squared_error", "mean_absolute_error"]
    assert {one.is_in_mapping for one in found} == {as_dict}


def test_an_output_without_a_loss_has_none():
    found = outputs_of(two_heads(first, second)(), {"three": "mae"}, X)
    assert found[0].loss is None
    assert found[0].loss_name == "the model computes"
    assert found[1].loss.name == "mean_absolute_error"


def test_one_loss_is_that_of_every_output():
    found = outputs_of(two_heads(first, second)(), "mse", X)
    assert [one.loss.name for one in found] == ["mean_squared_error"] * 2


def test_from_logits_is_known_for_each_output():
    losses = [
        keras.losses.BinaryCrossentropy(from_logits=True),
        functools.partial(keras.losses.categorical_crossentropy, from_logits=False),
    ]
    found = outputs_of(two_heads(first, second)(), losses, X)
    assert [one.loss.outputs for one in found] == [Outputs.LOGITS, Outputs.PROBABILITIES]


NOT_ACTIVATIONS = ("deserialize", "get", "serialize", "threshold")  # the last takes arguments
ACTIVATIONS = {
    getattr(keras.activations, name).__name__: getattr(keras.activations, name)
    for name in dir(keras.activations)
    if not name.startswith("_") and name not in NOT_ACTIVATIONS
}


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_of_keras_is_sorted_by_its_values(name):
    outputs = np.array(ACTIVATIONS[name](np.linspace(-9, 9, 36).reshape(-1, 6).astype("float32")))
    if name in IS_PROBABILITY:
        assert outputs.min() >= 0
        assert outputs.max() <= 1
    elif name not in NOT_PROBABILITIES:
        assert outputs.min() >= 0, f"{name} of keras.activations is missing in NOT_PROBABILITIES"


def test_the_lists_of_activations_name_those_of_keras():
    assert {"softmax", "sigmoid"} <= IS_PROBABILITY
    assert {"linear", "tanh"} <= NOT_PROBABILITIES
    assert not IS_PROBABILITY & NOT_PROBABILITIES


@pytest.mark.parametrize(
    ("y", "shape", "loss"),
    [
        (np.array([0.0, 2.0]), (3,), "sparse_categorical_crossentropy"),
        (np.array([[0.0], [2.0]]), (3,), "sparse_categorical_crossentropy"),
        (np.eye(3), (3,), "categorical_crossentropy"),
        (np.zeros(4), (1,), "mse"),
        (np.zeros((4, 2)), (3,), lambda y, p: p),
        (np.zeros((4, 6)), (6, 5), "sparse_categorical_crossentropy"),
    ],
    ids=["numbers", "column", "one_hot", "values", "custom", "steps"],
)
def test_arrays_that_a_loss_can_compare_are_accepted(y, shape, loss):
    check_encoded(y, output(*shape, loss=loss))


@pytest.mark.parametrize(
    ("y", "units", "loss", "match"),
    [
        (np.eye(3), 3, "sparse_categorical_crossentropy", "one column per class, but .* takes cl"),
        (np.arange(4), 3, "sparse_categorical_crossentropy", "y has 4 classes, but .* 3 units"),
        (np.zeros(4), 3, "mse", "y has 1 column, but the output of the model has 3 units"),
        (np.zeros((4, 2)), 1, "mae", "y has 2 columns, but the output of the model has 1 unit,"),
        (np.arange(4), 3, "categorical_crossentropy", "y has 1 column, but"),
    ],
)
def test_arrays_that_would_be_broadcast_are_rejected(y, units, loss, match):
    with pytest.raises(InputValueError, match=match):
        check_encoded(y, output(units, loss=loss))
