"""Memory-mapped arrays that are read in parts, because as a whole they may not fit into memory.

Everything that is computed from them is the same as from arrays in memory: they are only read
when a part of them is needed. Small ones are loaded instead, which is faster: joblib maps each
array of more than 1 MB for its workers.
"""

from __future__ import annotations

import mmap
import numbers
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

__all__ = ["MappedSamples", "as_type", "chunks", "is_large", "loaded", "select", "streams", "take"]

MIN_BYTES = 64 * 2**20
"""Size from which arrays of one dataset are read in parts."""

CHUNK_BYTES = 8 * 2**20
"""Size of a part. The larger it is, the closer together its samples are in the file."""


class MappedSamples:
    """Some samples, and some features, of a memory-mapped array, which are read when indexed.

    Parameters
    ----------
    array : ndarray of shape (n_all_samples, ...)
    indices : ndarray of int, default=None
        Indices of the samples; None means all.
    columns : ndarray of int, default=None
        Indices in the first axis of a sample; None means all.
    dtype : dtype, default=None
        The dtype to convert to; None means that of `array`.

    Notes
    -----
    Indexing returns arrays in memory, or views of the mapped array. So does ``numpy.asarray``, of
    all samples.
    """

    def __init__(
        self,
        array: np.ndarray,
        indices: np.ndarray | None = None,
        columns: np.ndarray | None = None,
        dtype: Any = None,
    ) -> None:
        self._array, self._indices, self._columns = array, indices, columns
        self.dtype = array.dtype if dtype is None else np.dtype(dtype)
        n_samples = len(array) if indices is None else len(indices)
        n_columns = array.shape[1:2] if columns is None else (len(columns),)
        self.shape: tuple[int, ...] = (n_samples, *n_columns, *array.shape[2:])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=int))

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def bytes_per_sample(self) -> int:
        """Memory that reading a sample takes, without that of the converted one."""
        return int(np.prod(self._array.shape[1:], dtype=int)) * self._array.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        if isinstance(key, tuple):
            samples, *rest = key
            if not isinstance(samples, slice | np.ndarray | list):
                return self[samples][tuple(rest)]
            return self[samples][(slice(None), *rest)]
        indices = key if self._indices is None else self._indices[key]
        part = _read(self._array, indices)
        if self._columns is not None:
            is_one = isinstance(indices, numbers.Integral)
            part = part[self._columns] if is_one else part[:, self._columns]
        return np.asarray(part, self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self[:]
        return array.astype(dtype or array.dtype, copy=bool(copy))

    def take(self, indices: np.ndarray) -> MappedSamples:
        """Return some of the samples, without reading them."""
        inner = indices if self._indices is None else self._indices[indices]
        return MappedSamples(self._array, inner, self._columns, self.dtype)

    def select(self, columns: np.ndarray) -> MappedSamples:
        """Return some of the features, without reading them."""
        inner = columns if self._columns is None else self._columns[columns]
        return MappedSamples(self._array, self._indices, inner, self.dtype)

    def astype(self, dtype: Any) -> MappedSamples:
        """Return samples that are converted when they are read."""
        return MappedSamples(self._array, self._indices, self._columns, dtype)


def _read(array: np.ndarray, indices: Any) -> np.ndarray:
    """Return samples, read in the order of the file: in any other, a disk is much slower."""
    if not isinstance(indices, np.ndarray) or indices.ndim != 1 or indices.dtype == bool:
        return array[indices]
    if not len(indices):
        return array[:0]
    steps = np.diff(indices)
    if np.all(steps == 1):
        return array[indices[0] : indices[-1] + 1]
    if np.all(steps >= 0):
        return _gathered(array, indices)
    in_file = np.argsort(indices)
    samples = np.empty((len(indices), *array.shape[1:]), array.dtype)
    samples[in_file] = _gathered(array, indices[in_file])
    return samples


def _gathered(array: np.ndarray, indices: np.ndarray) -> np.ndarray:
    # take() is faster, but first copies all of an array that is not contiguous (NumPy 1.26 to 2.4).
    return np.take(array, indices, axis=0) if array.flags.c_contiguous else array[indices]


def _is_mapped(array: Any) -> bool:
    """Return whether an array, or the one that it is a view of, is memory-mapped."""
    if isinstance(array, MappedSamples):
        return True
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        return False
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return isinstance(owner.obj if isinstance(owner, memoryview) else owner, mmap.mmap)


def is_large(array: Any) -> bool:
    """Return whether a memory-mapped array is large enough to be read in parts."""
    return _is_mapped(array) and array.nbytes >= MIN_BYTES


def take(array: Any, indices: np.ndarray) -> Any:
    """Return some samples of an array; of a large mapped one, without reading them."""
    if isinstance(array, MappedSamples):
        return array.take(indices)
    if not is_large(array):
        return array[indices]
    if len(indices) and np.all(np.diff(indices) == 1):
        return array[indices[0] : indices[-1] + 1]
    return MappedSamples(array, indices)


def select(array: Any, columns: np.ndarray) -> Any:
    """Return some features of an array; of a large mapped one, without reading them."""
    if isinstance(array, MappedSamples):
        return array.select(columns)
    return MappedSamples(array, columns=columns) if is_large(array) else array[:, columns]


def as_type(array: Any, dtype: Any) -> MappedSamples:
    """Return a mapped array of which samples are converted when they are read."""
    return (array if isinstance(array, MappedSamples) else MappedSamples(array)).astype(dtype)


def chunks(array: Any) -> Iterator[np.ndarray]:
    """Yield the samples of an array in parts of `CHUNK_BYTES`, in order."""
    size = max(1, CHUNK_BYTES // bytes_per_sample([array]))
    for begin in range(0, len(array), size):
        yield array[begin : begin + size]


def bytes_per_sample(arrays: Any) -> int:
    """Return the memory that one sample of each of some arrays takes while it is read."""
    total = 0
    for array in arrays:
        if isinstance(array, MappedSamples):
            total += array.bytes_per_sample
        total += array.nbytes // max(len(array), 1)
    return max(total, 1)


def streams(data: Any) -> bool:
    """Return whether the samples in nested arrays are to be read in parts.

    That is if large arrays are mapped, and all are arrays of numbers.
    """
    leaves = [leaf for leaf in keras.tree.flatten(data) if leaf is not None]
    n_bytes = sum(leaf.nbytes for leaf in leaves if _is_mapped(leaf))
    return n_bytes >= MIN_BYTES and all(map(_is_of_numbers, leaves))


def _is_of_numbers(array: Any) -> bool:
    is_array = isinstance(array, np.ndarray | MappedSamples)
    return is_array and array.ndim > 0 and array.dtype.kind in "biuf"


def loaded(data: Any) -> Any:
    """Return nested arrays with arrays in memory in place of `MappedSamples`."""
    return keras.tree.map_structure(
        lambda leaf: np.asarray(leaf) if isinstance(leaf, MappedSamples) else leaf, data
    )
