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

from skguard._engine import mapped
from skguard._engine.batches import DEFAULT_BATCH_SIZE, n_batches
from skguard._engine.mapped import MappedSamples
from skguard._engine.samples import count_samples, is_text, take
from skguard._engine.shape_batches import ShapeBatches
from skguard._engine.unsuitable import UnsuitableError
from skguard._repairs import keras_internals

__all__ = ["MappedDataset", "TensorDataset", "stream", "stream_mapped", "text_tensor"]


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
    offset : int, default=0
        Position, in the order of an epoch, of the first sample.
    """

    tensors: list[tf.Tensor]
    structure: Any
    n_samples: int
    offset: int = 0

    @classmethod
    def of(cls, x: Any, y: Any = None, sample_weight: Any = None) -> TensorDataset:
        """Convert arrays, or nested lists, tuples and dicts of arrays.

        Raises
        ------
        UnsuitableError
            If something is not an array of numbers, or the arrays differ in length: the pipeline
            of Keras knows more types, and has an error message for the others.
        """
        packed = _packed(x, y, sample_weight)
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


@dataclasses.dataclass(frozen=True)
class MappedDataset(TensorDataset):
    """Samples in arrays that are memory-mapped, of which one part at a time is in tensors.

    Parameters
    ----------
    tensors : list of tf.Tensor
        Those of the first samples.
    arrays : list of array
        One per tensor.
    """

    arrays: Sequence[Any] = ()

    @classmethod
    def of(cls, x: Any, y: Any = None, sample_weight: Any = None) -> MappedDataset:
        packed = _packed(x, y, sample_weight)
        n_samples = count_samples(packed)
        first = TensorDataset.of(*take((x, y, sample_weight), slice(0, 2)))
        arrays: list[Any] = []
        # Not flatten(), of which the order need not be that of the tensors.
        keras.tree.map_structure(lambda leaf: arrays.append(_indexed(leaf)), packed)
        arrays = [array for array in arrays if array is not None]
        return cls(first.tensors, first.structure, n_samples, arrays=arrays)

    def batches_per_chunk(self, batch_size: int) -> int:
        """Return how many batches to read at once."""
        batch_bytes = batch_size * mapped.bytes_per_sample(self.arrays)
        return max(1, mapped.CHUNK_BYTES // batch_bytes)

    def read(self, indices: np.ndarray) -> list[np.ndarray]:
        """Return some samples, one array per tensor, of the dtypes of the tensors."""
        return [
            np.asarray(array[indices], tensor.dtype.as_numpy_dtype)
            for array, tensor in zip(self.arrays, self.tensors, strict=True)
        ]

    def part(self, read: Sequence[np.ndarray], offset: int) -> TensorDataset:
        """Return samples that were read, of which the first is at `offset` in an epoch."""
        tensors = [tf.convert_to_tensor(array) for array in read]
        return TensorDataset(tensors, self.structure, len(read[0]), offset)


def _packed(x: Any, y: Any, sample_weight: Any) -> Any:
    sample_weight = _weights_like(y, sample_weight)
    return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)


def _indexed(leaf: Any) -> Any:
    """Wrap an array, so that its samples are read in their order in memory."""
    return MappedSamples(leaf) if isinstance(leaf, np.ndarray) else leaf


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


def stream_mapped(
    data: Any, *, batch_size: int | None, steps: int | None = None, shuffle: bool | str = False
) -> tf.data.Dataset:
    """Return a dataset of the batches that Keras would make of arrays, which are not all loaded.

    The order of the samples is drawn by Keras's own pipeline, here for the indices of the samples.

    Parameters
    ----------
    data : tuple of (x, y, sample_weight)
        For which `mapped.streams` is true.
    batch_size, steps, shuffle
        As Keras takes them for arrays.
    """
    samples = MappedDataset.of(*data)
    if not batch_size:
        batch_size = n_batches(samples.n_samples, steps) if steps else DEFAULT_BATCH_SIZE
    try:
        indices = keras_internals.batched_indices(samples.n_samples, batch_size, shuffle)
    except (AttributeError, ImportError, TypeError) as error:  # in another release of Keras
        raise UnsuitableError("Keras's order of the samples is unknown") from error
    size = indices.element_spec.shape[0]  # TensorFlow optimizes for it
    dtypes = [tensor.dtype for tensor in samples.tensors]

    def read(chunk: tf.Tensor) -> Any:
        return tuple(
            tf.ensure_shape(array, spec.shape)
            for array, spec in zip(
                tf.numpy_function(samples.read, [chunk], dtypes), samples.specs, strict=True
            )
        )

    def as_batch(*arrays: tf.Tensor) -> Any:
        sized = [tf.ensure_shape(array, (size, *array.shape[1:])) for array in arrays]
        return keras.tree.map_structure(
            lambda mark: None if mark is None else sized[mark.at], samples.structure
        )

    dataset = indices.rebatch(samples.batches_per_chunk(batch_size) * batch_size)
    dataset = dataset.map(read).prefetch(1).rebatch(batch_size).map(as_batch)
    n = n_batches(samples.n_samples, batch_size)
    return dataset.apply(tf.data.experimental.assert_cardinality(n)).prefetch(2)
