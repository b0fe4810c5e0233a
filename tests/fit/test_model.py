"""Batch sizes and the steps per epoch of a schedule are resolved before training."""

import keras
import numpy as np
import pytest
import scipy.sparse

from skguard._engine import schedule_of
from skguard._fit.model import set_steps_per_epoch, with_batch_sizes
from skguard.exceptions import InputValueError
from skguard.schedules import EpochSchedule


def model_with(learning_rate, wrapped=False):
    optimizer = keras.optimizers.SGD(learning_rate)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer) if wrapped else optimizer, "mse")
    return model


@pytest.mark.parametrize(
    "X", [np.zeros((7, 4)), scipy.sparse.csr_array((7, 4))], ids=["dense", "sparse"]
)
@pytest.mark.parametrize("name", ["batch_size", "validation_batch_size"])
def test_a_batch_size_of_minus_one_is_the_number_of_samples(name, X):
    assert with_batch_sizes({name: -1}, X) == {name: 7}


@pytest.mark.parametrize("value", [None, 1, 32, np.int64(5)], ids=repr)
def test_other_batch_sizes_are_unchanged(value):
    arguments = {"batch_size": value, "validation_batch_size": value, "verbose": 0}
    resolved = with_batch_sizes(arguments, np.zeros((7, 4)))
    assert resolved == arguments
    assert resolved is not arguments


def test_the_arguments_are_not_changed():
    arguments = {"batch_size": -1}
    with_batch_sizes(arguments, np.zeros((7, 4)))
    assert arguments == {"batch_size": -1}


@pytest.mark.parametrize(
    "X", [[np.zeros((7, 1))] * 2, {"a": np.zeros((7, 1))}], ids=["list", "dict"]
)
def test_a_batch_size_of_minus_one_is_the_number_of_samples_of_several_arrays(X):
    assert with_batch_sizes({"batch_size": -1}, X) == {"batch_size": 7}
    assert with_batch_sizes({"batch_size": 5}, X) == {"batch_size": 5}


def test_a_batch_size_of_minus_one_of_batches_is_rejected():
    batches = iter([np.zeros((7, 1))])
    with pytest.raises(InputValueError, match=r"batch_size=-1 .* X is a .*number"):
        with_batch_sizes({"batch_size": -1}, batches)


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "loss_scale"])
@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({}, 2),
        ({"batch_size": None}, 2),
        ({"batch_size": 10}, 4),
        ({"batch_size": 13}, 4),
        ({"batch_size": 40}, 1),
        ({"batch_size": 100}, 1),
        ({"batch_size": 10, "steps_per_epoch": 3}, 3),
    ],
    ids=str,
)
def test_a_schedule_gets_the_steps_per_epoch(arguments, steps, wrapped):
    model = model_with(EpochSchedule(0.5), wrapped)
    set_steps_per_epoch(model, np.zeros((40, 4)), arguments)
    assert schedule_of(model.optimizer).steps_per_epoch == steps


def test_steps_per_epoch_are_counted_from_the_first_of_several_arrays():
    model = model_with(EpochSchedule(0.5))
    X = {"a": np.zeros((40, 1)), "b": [np.zeros((40, 3))]}
    set_steps_per_epoch(model, X, {"batch_size": 20})
    assert schedule_of(model.optimizer).steps_per_epoch == 2


def test_a_shared_schedule_is_copied():
    schedule = EpochSchedule(0.5)
    models = [model_with(schedule), model_with(schedule)]
    for model, n_samples in zip(models, (40, 400), strict=True):
        set_steps_per_epoch(model, np.zeros((n_samples, 4)), {"batch_size": 10})
    assert [schedule_of(model.optimizer).steps_per_epoch for model in models] == [4, 40]
    assert schedule.steps_per_epoch is None


def test_steps_per_epoch_that_were_set_are_kept():
    model = model_with(EpochSchedule(0.5, steps_per_epoch=9))
    schedule = schedule_of(model.optimizer)
    set_steps_per_epoch(model, np.zeros((40, 4)), {"batch_size": 10})
    assert schedule_of(model.optimizer) is schedule
    assert schedule.steps_per_epoch == 9


def test_an_epoch_schedule_with_unusable_parameters_is_rejected():
    with pytest.raises(ValueError, match="-1"):
        set_steps_per_epoch(model_with(EpochSchedule(-1.0)), np.zeros((40, 4)), {})


@pytest.mark.parametrize(
    "learning_rate",
    [0.25, keras.optimizers.schedules.ExponentialDecay(0.25, 10, 0.9)],
    ids=["constant", "keras"],
)
def test_a_learning_rate_of_keras_is_unchanged(learning_rate):
    model = model_with(learning_rate)
    before = schedule_of(model.optimizer)
    set_steps_per_epoch(model, np.zeros((40, 4)), {})
    assert schedule_of(model.optimizer) is before
    assert float(model.optimizer.learning_rate) == 0.25
