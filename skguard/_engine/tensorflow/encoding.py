"""Targets of a ``tf.data.Dataset``, encoded by functions of NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

__all__ = ["with_encoded_targets"]


def with_encoded_targets(
    dataset: Any, encode: Callable[[np.ndarray, Any], tuple[np.ndarray, Any]]
) -> Any:
    """Return a dataset of which the targets are encoded.

    Parameters
    ----------
    dataset : tf.data.Dataset
        Of (x, y) or (x, y, sample_weight), in batches.
    encode : callable
        Takes y and weights, or None, and returns both.

    Returns
    -------
    tf.data.Dataset
    """
    import tensorflow as tf

    def as_floats(y: np.ndarray, *weight: np.ndarray) -> tuple[np.ndarray, ...]:
        y = np.char.decode(y.astype(bytes)) if y.dtype.kind in "OS" else y
        parts = encode(y, *(weight or (None,)))
        return tuple(np.asarray(part, np.float32) for part in parts if part is not None)

    _, y, weight = keras.utils.unpack_x_y_sample_weight(next(iter(dataset.take(1))))
    known = [part.numpy() for part in (y, weight) if part is not None]
    shapes = [part.shape for part in as_floats(*known)]

    def encoded(*item: Any) -> tuple[Any, ...]:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(item)
        given = [part for part in (y, weight) if part is not None]
        parts = tf.numpy_function(as_floats, given, [tf.float32] * len(shapes))
        for part, shape in zip(parts, shapes, strict=True):
            part.set_shape((None, *shape[1:]))
        return (x, *parts)

    return dataset.map(encoded, num_parallel_calls=tf.data.AUTOTUNE)
