"""Numbers of batches: the one place that knows the default batch size of Keras."""

from __future__ import annotations

import math
from typing import Any

import keras

from skguard._engine.shapes import differ, group_sizes

__all__ = ["DEFAULT_BATCH_SIZE", "n_batches", "n_training_samples", "steps_per_epoch"]

DEFAULT_BATCH_SIZE = 32
"""Batch size of ``keras.Model.fit``, ``evaluate`` and ``predict`` where none is given."""


def n_batches(n_samples: int, batch_size: int | None = None) -> int:
    """Return the number of batches that `n_samples` make, the last one may be shorter.

    Parameters
    ----------
    n_samples : int
    batch_size : int, default=None
        None means `DEFAULT_BATCH_SIZE`.

    Returns
    -------
    int
    """
    return -(-n_samples // (batch_size or DEFAULT_BATCH_SIZE))


def n_training_samples(n_samples: int, validation_split: float | None) -> int:
    """Return how many samples ``Model.fit(validation_split=...)`` leaves for training.

    The first ones: Keras sets aside the last samples for validation.
    """
    if not validation_split:
        return n_samples
    return math.floor(n_samples * (1.0 - validation_split))


def steps_per_epoch(
    x: Any,
    *,
    batch_size: int | None = None,
    steps_per_epoch: int | None = None,
    validation_split: float | None = None,
) -> int | None:
    """Return the number of gradient steps of one epoch of ``Model.fit``.

    Parameters
    ----------
    x : array, nested list, tuple or dict of arrays, PyDataset or tf.data.Dataset
        The training data, before any of it is set aside.
    batch_size : int, default=None
        None means `DEFAULT_BATCH_SIZE`. Ignored for datasets, which have their own.
    steps_per_epoch : int, default=None
        The argument of ``Model.fit``, which takes precedence.
    validation_split : float, default=None
        Fraction of the samples that ``Model.fit`` sets aside.

    Returns
    -------
    int or None
        None if that is unknown before the first epoch, as for a generator.
    """
    if steps_per_epoch is not None:
        return int(steps_per_epoch)
    if hasattr(x, "num_batches"):  # keras.utils.PyDataset
        n: int | None = x.num_batches
        return n
    if hasattr(x, "cardinality"):  # tf.data.Dataset, which returns a negative number if unknown
        n = int(x.cardinality())
        return n if n >= 0 else None
    if differ(x):
        return sum(n_batches(size, batch_size) for size in group_sizes(x))
    shapes = [getattr(leaf, "shape", None) for leaf in keras.tree.flatten(x)]
    if not shapes or not shapes[0]:
        return None
    return n_batches(n_training_samples(int(shapes[0][0]), validation_split), batch_size)
