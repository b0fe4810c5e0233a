"""Samples of different shapes: a one-dimensional object array with one array per sample."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

__all__ = ["differ", "group_sizes", "groups", "is_array_of_arrays"]


def is_array_of_arrays(array: Any) -> bool:
    """Return whether `array` is a one-dimensional object array with one array per sample."""
    return (
        isinstance(array, np.ndarray)
        and array.dtype.kind == "O"
        and array.ndim == 1
        and len(array) > 0
        and all(isinstance(sample, np.ndarray) and sample.ndim for sample in array)
    )


def differ(data: Any) -> bool:
    """Return whether an array in `data` has one array per sample."""
    return any(map(is_array_of_arrays, keras.tree.flatten(data)))


def groups(data: Any) -> list[np.ndarray]:
    """Return the indices of the samples of each shape, in order of their first samples."""
    leaves = [leaf for leaf in keras.tree.flatten(data) if leaf is not None]
    unequal = [leaf for leaf in leaves if is_array_of_arrays(leaf)]
    if not unequal:
        return [np.arange(leaves[0].shape[0] if leaves else 0)]
    found: dict[Any, list[int]] = {}
    for i, parts in enumerate(zip(*unequal, strict=True)):
        found.setdefault(tuple(part.shape for part in parts), []).append(i)
    return [np.array(indices) for indices in found.values()]


def group_sizes(data: Any) -> list[int]:
    """Return the number of samples of each shape."""
    return [len(group) for group in groups(data)]
