"""Numbers of batches and of samples, as ``Model.fit`` has them."""

import keras
import numpy as np
import pytest

from skguard._engine import batches, samples
from skguard._engine.unsuitable import UnsuitableError


@pytest.mark.parametrize(
    ("n_samples", "batch_size", "expected"),
    [(64, 32, 2), (65, 32, 3), (1, 32, 1), (0, 32, 0), (65, None, 3), (65, 0, 3)],
)
def test_the_last_batch_may_be_shorter(n_samples, batch_size, expected):
    assert batches.n_batches(n_samples, batch_size) == expected


class Dataset(keras.utils.PyDataset):
    def __len__(self):
        return 7

    def __getitem__(self, index):
        raise NotImplementedError


X = np.zeros((100, 2))


@pytest.mark.parametrize(
    ("x", "arguments", "expected"),
    [
        (X, {}, 4),
        (X, {"batch_size": 10}, 10),
        (X, {"steps_per_epoch": 3, "batch_size": 10}, 3),
        (X, {"validation_split": 0.25, "batch_size": 10}, 8),
        ({"a": X, "b": X}, {"batch_size": 50}, 2),
        ([[X], X], {}, 4),
        (Dataset(), {"batch_size": 10}, 7),
        (iter([]), {}, None),
        ([], {}, None),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.filterwarnings("ignore:.*super.*__init__:UserWarning")
def test_steps_per_epoch(x, arguments, expected):
    assert batches.steps_per_epoch(x, **arguments) == expected


def test_steps_per_epoch_of_a_tf_dataset():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(X).batch(30)
    assert batches.steps_per_epoch(dataset) == 4
    assert batches.steps_per_epoch(dataset.repeat()) is None
    assert batches.steps_per_epoch(dataset.filter(lambda x: True)) is None


@pytest.mark.parametrize("validation_split", [0.1, 0.3, 1 / 3, 0.7])
@pytest.mark.parametrize("n_samples", [10, 37, 1000])
def test_the_split_is_that_of_keras(n_samples, validation_split):
    from keras.src.trainers.data_adapters.array_slicing import train_validation_split

    x = np.arange(n_samples)
    (expected, *_), (expected_validation, *_) = train_validation_split(
        (x, x, None), validation_split=validation_split
    )
    training, validation = samples.split_last((x, x, None), validation_split)
    np.testing.assert_array_equal(training[0], expected)
    np.testing.assert_array_equal(validation[0], expected_validation)
    assert batches.n_training_samples(n_samples, validation_split) == len(training[0])


@pytest.mark.parametrize("validation_split", [0.1, 1.0])
def test_a_split_that_leaves_one_side_empty_is_left_to_keras(validation_split):
    with pytest.raises(UnsuitableError, match=r"validation_split=.* of 1 samples leaves"):
        samples.split_last((X[:1], None, None), validation_split)
