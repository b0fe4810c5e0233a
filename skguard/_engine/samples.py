"""Samples in arrays: how many there are, parts of them, and their weights."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import scipy.sparse

from skguard._engine.batches import n_training_samples
from skguard._engine.unsuitable import UnsuitableError

__all__ = ["class_weights_per_sample", "count_samples", "is_text", "split_last", "take"]


def count_samples(data: Any) -> int:
    """Return how many samples each of some arrays has.

    Parameters
    ----------
    data : array, or nested lists, tuples and dicts of arrays
        Entries that are None are ignored.

    Returns
    -------
    int

    Raises
    ------
    UnsuitableError
        If `data` is empty, the arrays differ in length, or something is not an array.
    """
    leaves = [leaf for leaf in keras.tree.flatten(data) if leaf is not None]
    lengths = {int(leaf.shape[0]) if getattr(leaf, "shape", ()) else 0 for leaf in leaves}
    if len(lengths) != 1 or lengths == {0}:
        raise UnsuitableError("the data does not consist of arrays with one entry per sample")
    return lengths.pop()


def is_text(array: Any) -> bool:
    """Return whether `array` is an array of strings; one of objects is, if its first value is."""
    if not isinstance(array, np.ndarray) or not array.size:
        return False
    return array.dtype.kind in "US" or (
        array.dtype.kind == "O" and isinstance(array.flat[0], str | bytes)
    )


def take(data: Any, part: slice | np.ndarray) -> Any:
    """Return some samples of each array in `data`, nested as `data` is."""

    def cut(leaf: Any) -> Any:
        if leaf is None:
            return None
        if scipy.sparse.issparse(leaf):
            return leaf.tocsr()[part]
        return leaf.iloc[part] if hasattr(leaf, "iloc") else leaf[part]

    return keras.tree.map_structure(cut, data)


def split_last(
    data: tuple[Any, Any, Any], validation_split: float
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Set aside the last samples, as ``Model.fit(validation_split=...)`` does.

    Parameters
    ----------
    data : tuple of (x, y, sample_weight)
    validation_split : float
        Fraction of the samples that is set aside.

    Returns
    -------
    training, validation : tuple of (x, y, sample_weight)

    Raises
    ------
    UnsuitableError
        If one of the two would be empty; Keras reports that itself.
    """
    n_samples = count_samples(data)
    n_training = n_training_samples(n_samples, validation_split)
    if not 0 < n_training < n_samples:
        raise UnsuitableError(
            f"validation_split={validation_split} of {n_samples} samples leaves the training "
            "set or the validation set empty"
        )
    x, y, sample_weight = data
    parts = (slice(0, n_training), slice(n_training, n_samples))
    training, validation = ((take(x, p), take(y, p), take(sample_weight, p)) for p in parts)
    return training, validation


def class_weights_per_sample(y: Any, class_weight: dict[int, float]) -> np.ndarray:
    """Return the weight of each sample of `y`, as ``Model.fit(class_weight=...)`` reads it.

    Parameters
    ----------
    y : array of shape (n_samples,), (n_samples, 1) or (n_samples, n_classes)
        Class numbers, or one column per class.
    class_weight : dict of int to float
        Classes that are missing have weight 1.

    Returns
    -------
    ndarray of shape (n_samples,)

    Raises
    ------
    UnsuitableError
        If `y` has several outputs, or more than one label per sample.
    """
    if keras.tree.is_nested(y):
        raise UnsuitableError("class_weight needs a single output")
    labels = np.asarray(y)
    if labels.ndim > 1:
        labels = np.argmax(labels, -1) if labels.shape[-1] != 1 else np.squeeze(labels, -1)
    if labels.ndim != 1:
        raise UnsuitableError("class_weight needs one label per sample")
    classes, class_of_sample = np.unique(np.round(labels).astype("int32"), return_inverse=True)
    weights = np.array([class_weight.get(int(c), 1.0) for c in classes], keras.config.floatx())
    per_sample: np.ndarray = weights[class_of_sample.reshape(-1)]
    return per_sample
