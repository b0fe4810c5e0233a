"""Samples of different shapes, such as sequences of different length: an object array of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skguard.exceptions import InputValueError

__all__ = ["as_arrays", "common_shape", "is_unequal", "with_values"]


def is_unequal(X: Any) -> bool:
    """Return whether `X` has one array-like per sample that no array of numbers can hold."""
    X = _without_index(X)
    is_list = isinstance(X, list | tuple)
    if not is_list and not (isinstance(X, np.ndarray) and X.dtype.kind == "O" and X.ndim == 1):
        return False
    if not len(X) or not all(isinstance(sample, np.ndarray | list | tuple) for sample in X):
        return False
    if not is_list:
        return True
    try:
        np.asarray(X)
    except ValueError:  # inhomogeneous
        return True
    return False


def as_arrays(X: Sequence[Any]) -> np.ndarray:
    """Convert each sample to an array.

    Raises
    ------
    InputValueError
        If samples are not arrays of numbers, are empty, or differ in their number of axes.
    """
    X = _without_index(X)
    arrays = np.empty(len(X), object)
    for i, sample in enumerate(X):
        try:
            arrays[i] = np.asarray(sample)
        except ValueError as error:
            raise InputValueError(f"X[{i}] is not an array: {error}. Pad its parts.") from error
        if arrays[i].dtype.kind not in "biuf":
            raise InputValueError(
                f"X has samples of different shapes, which must be arrays of numbers, but X[{i}] "
                f"has dtype {arrays[i].dtype}. Encode it, for example as numbers of words, or "
                "join the words of a sample to one string."
            )
        if arrays[i].ndim == 0 or arrays[i].size == 0:
            raise InputValueError(f"X[{i}] has the shape {arrays[i].shape}, without a value.")
    n_axes = {array.ndim for array in arrays}
    if len(n_axes) > 1:
        raise InputValueError(
            f"X has samples with different numbers of axes: {sorted(n_axes)}. Each must have the "
            "same, such as (n_steps, n_features)."
        )
    return arrays


def _without_index(X: Any) -> Any:
    """Return the values of a pandas or polars series, which may have any index."""
    is_series = hasattr(X, "to_numpy") and len(getattr(X, "shape", ())) == 1
    return X.to_numpy() if is_series else X


def with_values(arrays: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return arrays of the same shapes, with their values taken from one flat array in order."""
    ends = np.cumsum([array.size for array in arrays])
    shaped = np.empty(len(arrays), object)
    for i, (array, end) in enumerate(zip(arrays, ends, strict=True)):
        shaped[i] = values[end - array.size : end].reshape(array.shape)
    return shaped


def common_shape(X: np.ndarray) -> tuple[int | None, ...]:
    """Return ``(n_samples, ...)`` with None for each axis in which the samples differ."""
    sizes = zip(*{array.shape for array in X}, strict=True)
    return (len(X), *(s.pop() if len(s) == 1 else None for s in map(set, sizes)))
