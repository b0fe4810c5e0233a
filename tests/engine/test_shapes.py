"""Samples of different shapes are trained on and predicted in batches of one shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skguard import _engine as engine
from skguard._engine.shape_batches import ShapeBatches
from skguard._engine.shapes import differ, group_sizes, groups


def arrays(lengths):
    """Return an array for each length, all values of which are its index."""
    samples = np.empty(len(lengths), object)
    for i, length in enumerate(lengths):
        samples[i] = np.full((length, 2), i, np.float32)
    return samples


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    size=st.integers(1, 5),
    seed=st.one_of(st.none(), st.integers(0, 9)),
)
def test_each_epoch_has_each_sample_once_in_batches_of_one_shape(lengths, size, seed):
    y, weights = np.arange(len(lengths)), np.arange(len(lengths)) / 2
    dataset = ShapeBatches((arrays(lengths), y, weights), size, seed)
    for _ in range(2):
        epoch = list(dataset.epoch())
        assert len(epoch) == dataset.num_batches
        assert len(epoch) == sum(-(-n // size) for n in group_sizes(arrays(lengths)))
        seen = []
        for x, of_y, of_weights in epoch:
            assert x.ndim == 3
            assert len(x) <= size
            np.testing.assert_array_equal(x[:, 0, 0], of_y)
            np.testing.assert_array_equal(of_weights, of_y / 2)
            seen += of_y.tolist()
        assert sorted(seen) == y.tolist()
        if seed is None and size == 1:
            assert seen == np.concatenate(groups(arrays(lengths))).tolist()


def test_the_stream_of_tensorflow_has_the_shapes_of_all_batches():
    # Each pair of these shapes has an axis in common.
    x = np.empty(3, object)
    for i, shape in enumerate([(3, 5), (4, 5), (3, 6)]):
        x[i] = np.zeros(shape, np.float32)
    from skguard._engine.tensorflow.dataset import stream

    dataset = stream(ShapeBatches((x, np.arange(3), None), 2))
    assert [tuple(batch.shape) for batch, _ in dataset] == [(1, 3, 5), (1, 4, 5), (1, 3, 6)]
    assert int(dataset.cardinality()) == 3


def test_steps_per_epoch_are_counted_by_shape():
    assert engine.steps_per_epoch(arrays([1, 2, 1, 1]), batch_size=2) == 3


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (np.zeros((3, 2)), False),
        (np.array(["a", "b"], object), False),
        (arrays([1, 2]), True),
        ({"a": np.zeros(2), "b": arrays([1, 1])}, True),
        ((np.zeros(2), None), False),
    ],
    ids=["numbers", "text", "arrays", "nested", "none"],
)
def test_arrays_of_arrays_are_recognized(data, expected):
    assert differ(data) == expected
