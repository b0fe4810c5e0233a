"""Rows of data as tensors, batched and typed as Keras's own input pipeline does.

Keras puts arrays into a ``tf.data`` pipeline that casts floats to its float type, gathers
the rows of each batch and turns lists into tuples. Here the tensors are made once a fit, and
the batches are gathered inside the graph that trains on them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import scipy.sparse
import tensorflow as tf

from skguard._engine.selection import UnsuitableError

__all__ = ["Rows", "class_weights_by_row", "count_rows", "split_last", "take"]


@dataclasses.dataclass(frozen=True)
class _Dense:
    """A tensor with a row for each row of data."""

    at: int
    n_tensors = 1

    def gather(self, tensors: Sequence[tf.Tensor], rows: tf.Tensor) -> tf.Tensor:
        return tf.gather(tensors[self.at], rows)


@dataclasses.dataclass(frozen=True)
class _Sparse:
    """The three arrays of a matrix in compressed rows, gathered to a ``SparseTensor``."""

    at: int
    n_columns: int
    n_tensors = 3

    def gather(self, tensors: Sequence[tf.Tensor], rows: tf.Tensor) -> tf.SparseTensor:
        values, columns, starts = tensors[self.at : self.at + 3]
        first = tf.gather(starts, rows)
        lengths = tf.gather(starts, rows + 1) - first
        of_row = tf.repeat(tf.range(tf.shape(rows)[0], dtype=tf.int64), lengths)
        begin_in_batch = tf.cumsum(lengths, exclusive=True)
        places = tf.range(tf.reduce_sum(lengths), dtype=tf.int64) + tf.repeat(
            first - begin_in_batch, lengths
        )
        return tf.SparseTensor(
            tf.stack([of_row, tf.gather(columns, places)], axis=1),
            tf.gather(values, places),
            tf.stack([tf.shape(rows, tf.int64)[0], self.n_columns]),
        )


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows in tensors.

    Parameters
    ----------
    tensors : list of tf.Tensor
        All of them flat, as a graph takes them.
    structure : nested tuples and dicts
        What ``train_step`` gets, ``(x, y, sample_weight)`` without what is missing, with a
        mark in the place of each tensor.
    n_rows : int
    """

    tensors: list[tf.Tensor]
    structure: Any
    n_rows: int

    @classmethod
    def of(cls, x: Any, y: Any = None, sample_weight: Any = None) -> Rows:
        """Put arrays, or nested lists, tuples and dicts of arrays, into tensors.

        Raises
        ------
        UnsuitableError
            If something is no array of numbers, or the arrays differ in length: Keras's own
            pipeline knows more kinds, and the right message.
        """
        sample_weight = _weights_like(y, sample_weight)
        packed = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        tensors: list[tf.Tensor] = []
        lengths: set[int] = set()

        def convert(leaf: Any) -> Any:
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

        structure = keras.tree.lists_to_tuples(_map(convert, packed))
        if len(lengths) != 1:
            raise UnsuitableError(f"the data has arrays of {sorted(lengths)} rows")
        return cls(tensors, structure, lengths.pop())

    @property
    def specs(self) -> list[tf.TensorSpec]:
        """What a graph takes that any number of rows may go through."""
        return [tf.TensorSpec((None, *t.shape[1:]), t.dtype) for t in self.tensors]

    def count(self, tensors: Sequence[tf.Tensor]) -> tf.Tensor:
        """How many rows `tensors`, which are as in ``specs``, have."""
        first = next(mark for mark in keras.tree.flatten(self.structure) if mark is not None)
        if isinstance(first, _Sparse):
            return tf.shape(tensors[first.at + 2])[0] - 1
        return tf.shape(tensors[first.at])[0]

    @property
    def key(self) -> Any:
        """Equal for data that one graph can serve."""
        return repr(self.structure), tuple((t.dtype.name, *t.shape[1:]) for t in self.tensors)

    def one_size(self, batch_size: int) -> int | None:
        """The size of all batches, or None where the last one is shorter."""
        return batch_size if self.n_rows % batch_size == 0 else None

    def batch(self, tensors: Sequence[tf.Tensor], rows: tf.Tensor) -> Any:
        """The batch of some `rows` of `tensors`, which are as in ``specs``."""
        return _map(
            lambda mark: None if mark is None else mark.gather(tensors, rows), self.structure
        )

    def example(self, n_rows: int = 2) -> Any:
        """A batch of the first rows, to build a model from."""
        return self.batch(self.tensors, tf.range(min(n_rows, self.n_rows)))


def _map(convert: Any, nested: Any) -> Any:
    # keras.tree takes marks apart where they are dataclasses that optree knows; these are
    # opaque to it, and None stays a leaf.
    return keras.tree.map_structure(convert, nested)


def _weights_like(y: Any, sample_weight: Any) -> Any:
    """One array of weights stands for every output."""
    if sample_weight is None or not keras.tree.is_nested(y):
        return sample_weight
    if isinstance(sample_weight, list | tuple | dict):
        try:
            keras.tree.assert_same_structure(y, sample_weight)
        except ValueError as error:
            raise UnsuitableError("sample_weight is not nested as y is") from error
        return sample_weight
    if tuple(getattr(sample_weight, "shape", ())[1:]) not in ((), (1,)):
        raise UnsuitableError("one sample_weight for several outputs needs one weight a row")
    return keras.tree.map_structure(lambda _: sample_weight, y)


def _as_keras_would(leaf: Any) -> Any:
    floatx = keras.config.floatx()
    kind = type(leaf).__module__.partition(".")[0]
    if scipy.sparse.issparse(leaf):
        leaf = leaf.tocsr()
        if not leaf.has_sorted_indices:
            leaf = leaf.sorted_indices()
    elif kind == "pandas":
        name = type(leaf).__name__
        leaf = leaf.to_numpy()
        leaf = leaf[:, np.newaxis] if name == "Series" else leaf
    elif isinstance(leaf, tf.Tensor):
        is_float = leaf.dtype.is_floating
        return tf.cast(leaf, floatx) if is_float and leaf.dtype.name != floatx else leaf
    elif not isinstance(leaf, np.ndarray):
        raise UnsuitableError(f"the data has a {type(leaf).__name__}, which is no array")
    if leaf.dtype.kind not in "biufc":
        raise UnsuitableError(f"the data has an array of dtype {leaf.dtype}")
    if leaf.dtype.kind == "f" and leaf.dtype != floatx:
        leaf = leaf.astype(floatx)
    if leaf.ndim == 0:
        raise UnsuitableError("the data has an array without rows")
    return leaf


def split_last(data: tuple[Any, Any, Any], share: float) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Hold out the last rows, as ``Model.fit(validation_split=share)`` does.

    Raises
    ------
    UnsuitableError
        If one side would have no row; Keras says so itself.
    """
    n_rows = count_rows(data)
    at = math.floor(n_rows * (1.0 - share))
    if not 0 < at < n_rows:
        raise UnsuitableError(f"validation_split={share} of {n_rows} rows leaves a side empty")

    x, y, sample_weight = data
    sides = (slice(0, at), slice(at, n_rows))
    first, last = ((take(x, s), take(y, s), take(sample_weight, s)) for s in sides)
    return first, last


def count_rows(data: Any) -> int:
    """How many rows each of some arrays has.

    Raises
    ------
    UnsuitableError
        If these are no arrays, or of different lengths, or empty.
    """
    leaves = [leaf for leaf in keras.tree.flatten(data) if leaf is not None]
    lengths = {int(leaf.shape[0]) if getattr(leaf, "shape", ()) else 0 for leaf in leaves}
    if len(lengths) != 1 or lengths == {0}:
        raise UnsuitableError("the data is not made of arrays with rows")
    return lengths.pop()


def take(data: Any, part: slice) -> Any:
    """Some rows of each array."""

    def cut(leaf: Any) -> Any:
        if leaf is None:
            return None
        if scipy.sparse.issparse(leaf):
            return leaf.tocsr()[part]
        return leaf.iloc[part] if hasattr(leaf, "iloc") else leaf[part]

    return _map(cut, data)


def class_weights_by_row(y: Any, class_weight: dict[int, float]) -> np.ndarray:
    """The weight of each row of `y`, as ``Model.fit(class_weight=...)`` reads it.

    Parameters
    ----------
    y : array of shape (n_samples,), (n_samples, 1) or (n_samples, n_classes)
        Class numbers, or one column for each class.
    class_weight : dict of int to float
        Classes that are missing weigh 1.
    """
    if keras.tree.is_nested(y):
        raise UnsuitableError("class_weight needs a single output")
    labels = np.asarray(y)
    if labels.ndim > 1:
        labels = np.argmax(labels, -1) if labels.shape[-1] != 1 else np.squeeze(labels, -1)
    if labels.ndim != 1:
        raise UnsuitableError("class_weight needs one label a row")
    classes, of_row = np.unique(np.round(labels).astype("int32"), return_inverse=True)
    weights = np.array([class_weight.get(int(c), 1.0) for c in classes], keras.config.floatx())
    by_row: np.ndarray = weights[of_row.reshape(-1)]
    return by_row
