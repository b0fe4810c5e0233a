"""Samples as tensors, batched and typed as the input pipeline of Keras does.

Keras puts arrays into a ``tf.data`` pipeline that casts floats to its float type, gathers the
samples of each batch and turns lists into tuples. Here the tensors are made once per fit, and the
batches are gathered inside the graph that trains on them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import keras
import numpy as np
import scipy.sparse
import tensorflow as tf

from skguard._engine.samples import is_text
from skguard._engine.shape_batches import ShapeBatches
from skguard._engine.unsuitable import UnsuitableError

__all__ = ["TensorDataset", "stream", "text_tensor"]


@dataclasses.dataclass(frozen=True)
class _Dense:
    """Place of a tensor with one entry per sample."""

    at: int

    def gather(self, tensors: Sequence[tf.Tensor], indices: tf.Tensor) -> tf.Tensor:
        return tf.gather(tensors[self.at], indices)


@dataclasses.dataclass(frozen=True)
class _Sparse:
    """Place of the three tensors of a CSR matrix, gathered to a ``SparseTensor``."""

    at: int
    n_columns: int

    def gather(self, tensors: Sequence[tf.Tensor], indices: tf.Tensor) -> tf.SparseTensor:
        values, columns, starts = tensors[self.at : self.at + 3]
        first = tf.gather(starts, indices)
        lengths = tf.gather(starts, indices + 1) - first
        of_sample = tf.repeat(tf.range(tf.shape(indices)[0], dtype=tf.int64), lengths)
        begin_in_batch = tf.cumsum(lengths, exclusive=True)
        places = tf.range(tf.reduce_sum(lengths), dtype=tf.int64) + tf.repeat(
            first - begin_in_batch, lengths
        )
        return tf.SparseTensor(
            tf.stack([of_sample, tf.gather(columns, places)], axis=1),
            tf.gather(values, places),
            tf.stack([tf.shape(indices, tf.int64)[0], self.n_columns]),
        )


@dataclasses.dataclass(frozen=True)
class TensorDataset:
    """Samples in tensors.

    Parameters
    ----------
    tensors : list of tf.Tensor
        All of them in a flat list, as a graph takes them.
    structure : nested tuples and dicts of _Dense, _Sparse and None
        The structure that ``train_step`` takes, ``(x, y, sample_weight)`` without what is
        missing, with the place of its tensors instead of each array.
    n_samples : int
    """

    tensors: list[tf.Tensor]
    structure: Any
    n_samples: int

    @classmethod
    def of(cls, x: Any, y: Any = None, sample_weight: Any = None) -> TensorDataset:
        """Convert arrays, or nested lists, tuples and dicts of arrays.

        Raises
        ------
        UnsuitableError
            If something is not an array of numbers, or the arrays differ in length: the pipeline
            of Keras knows more types, and has an error message for the others.
        """
        sample_weight = _weights_like(y, sample_weight)
        packed = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        tensors: list[tf.Tensor] = []
        lengths: set[int] = set()

        def convert(leaf: Any) -> _Dense | _Sparse | None:
            if leaf is None:
                return None
            array = _as_keras_would(leaf)
            lengths.add(int(array.shape[0]))
            at = len(tensors)
            if scipy.sparse.issparse(array):
                tensors.append(tf.convert_to_tensor(array.data))
                tensors.append(tf.convert_to_tensor(array.indices, tf.int64))
                tensors.append(tf.convert_to_tensor(array.indptr, tf.int64))
                return _Sparse(at, int(array.shape[1]))
            tensors.append(tf.convert_to_tensor(array))
            return _Dense(at)

        structure = keras.tree.lists_to_tuples(keras.tree.map_structure(convert, packed))
        if len(lengths) != 1:
            raise UnsuitableError(
                f"the arrays have different numbers of samples: {sorted(lengths)}"
            )
        return cls(tensors, structure, lengths.pop())

    @property
    def specs(self) -> list[tf.TensorSpec]:
        """Arguments of a graph for any number of samples."""
        return [tf.TensorSpec((None, *t.shape[1:]), t.dtype) for t in self.tensors]

    def count(self, tensors: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the number of samples in `tensors`, which are as in ``specs``."""
        first = next(mark for mark in keras.tree.flatten(self.structure) if mark is not None)
        if isinstance(first, _Sparse):
            return tf.shape(tensors[first.at + 2])[0] - 1
        return tf.shape(tensors[first.at])[0]

    @property
    def key(self) -> Hashable:
        """A value that is equal for datasets that one graph can take."""
        return repr(self.structure), tuple((t.dtype.name, *t.shape[1:]) for t in self.tensors)

    def common_size(self, batch_size: int) -> int | None:
        """Return the size of all batches, or None if the last one is shorter."""
        return batch_size if self.n_samples % batch_size == 0 else None

    def batch(self, tensors: Sequence[tf.Tensor], indices: tf.Tensor) -> Any:
        """Return a batch of some samples of `tensors`, which are as in ``specs``.

        The places in the structure are leaves, because optree does not know their classes.
        """

        def gather(mark: _Dense | _Sparse | None) -> Any:
            if mark is None:
                return None
            gathered = mark.gather(tensors, indices)
            return _of_any_length(gathered) if indices.shape[0] is None else gathered

        return keras.tree.map_structure(gather, self.structure)

    def example(self, n_samples: int = 2) -> Any:
        """Return a batch of the first samples, to build a model from."""
        return self.batch(self.tensors, tf.range(min(n_samples, self.n_samples)))


def _of_any_length(tensor: Any) -> Any:
    """Hide that a tensor is as long as the others of its batch, of which Keras's graph knows none.

    TensorFlow (2.18 to 2.21) rearranges arithmetic on tensors that it knows to have one shape, and
    the result is rounded differently. It does not look through this operation.
    """
    if not isinstance(tensor, tf.Tensor):
        return tensor
    return tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=[None, *tensor.shape[1:]])


def _weights_like(y: Any, sample_weight: Any) -> Any:
    """Use one array of weights for every output."""
    if sample_weight is None or not keras.tree.is_nested(y):
        return sample_weight
    if isinstance(sample_weight, list | tuple | dict):
        try:
            keras.tree.assert_same_structure(y, sample_weight)
        except ValueError as error:
            raise UnsuitableError("sample_weight is not nested as y is") from error
        return sample_weight
    if tuple(getattr(sample_weight, "shape", ())[1:]) not in ((), (1,)):
        raise UnsuitableError("sample_weight for several outputs needs one weight per sample")
    return keras.tree.map_structure(lambda _: sample_weight, y)


def _as_keras_would(leaf: Any) -> Any:
    """Convert an array as ``keras.src.trainers.data_adapters.array_slicing`` does."""
    if isinstance(leaf, tf.Tensor):
        floatx = keras.config.floatx()
        is_other_float = leaf.dtype.is_floating and leaf.dtype.name != floatx
        return tf.cast(leaf, floatx) if is_other_float else leaf
    array = _as_numpy(leaf)
    if is_text(array):
        return text_tensor(array)
    if array.dtype.kind not in "biufc":
        raise UnsuitableError(f"the data has an array of dtype {array.dtype}")
    if array.dtype.kind == "f" and array.dtype != keras.config.floatx():
        array = array.astype(keras.config.floatx())
    if array.ndim == 0:
        raise UnsuitableError("the data has an array with a single value")
    return array


def _as_numpy(leaf: Any) -> Any:
    """Convert to a NumPy array, or to a CSR matrix with sorted indices."""
    if scipy.sparse.issparse(leaf):
        matrix = leaf.tocsr()
        return matrix if matrix.has_sorted_indices else matrix.sorted_indices()
    if type(leaf).__module__.partition(".")[0] == "pandas":
        array = leaf.to_numpy()
        return array[:, np.newaxis] if type(leaf).__name__ == "Series" else array
    if not isinstance(leaf, np.ndarray):
        raise UnsuitableError(f"the data has a {type(leaf).__name__}, which is not an array")
    return leaf


def text_tensor(array: np.ndarray) -> tf.Tensor:
    """Convert an array of strings."""
    try:
        return tf.convert_to_tensor(array, tf.string)
    except (TypeError, ValueError) as error:
        raise UnsuitableError(f"an array of objects is not one of strings: {error}") from error


def stream(batches: ShapeBatches) -> tf.data.Dataset:
    """Return a dataset of batches of different shapes, drawn again in each epoch.

    Keras derives the shapes of a ``PyDataset`` from its first two batches, which need not differ in
    every axis in which others do.
    """
    spec = keras.tree.map_structure(_spec_of, *batches.examples())
    dataset = tf.data.Dataset.from_generator(batches.epoch, output_signature=spec)
    return dataset.apply(tf.data.experimental.assert_cardinality(batches.num_batches))


def _spec_of(*examples: np.ndarray) -> tf.TensorSpec:
    sizes = zip(*(example.shape[1:] for example in examples), strict=True)
    shape = [size[0] if len(set(size)) == 1 else None for size in sizes]
    return tf.TensorSpec((None, *shape), examples[0].dtype)
