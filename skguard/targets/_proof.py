"""Trials of a loss that is not one of Keras's, which find out what it takes.

A loss takes y in a form if, for every class, it is lower for outputs that speak for that class
than for outputs that speak for another one. A form for which that does not hold would be
minimized by something else: a loss that broadcasts one column of class numbers over one column
per class is the same for all permutations of the outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from skguard._repairs import seeding

__all__ = ["depends_on_differences", "is_lower_for_the_true_class"]

_N_CLASSES = 4  # of a large number of classes, that many are tried
_N_SAMPLES = 4


def is_lower_for_the_true_class(
    loss: Callable[..., Any],
    encode: Callable[[np.ndarray], np.ndarray],
    shape: tuple[int, ...],
    n_classes: int,
    levels: tuple[float, float],
) -> bool:
    """Return whether a loss prefers the true class to every other one.

    Parameters
    ----------
    loss : callable
        ``loss(y_true, y_pred)``.
    encode : callable
        Encodes class numbers of shape ``(n_samples, *shape[:-1])``.
    shape : tuple of int
        Shape of the outputs for one sample.
    n_classes : int
    levels : (low, high)
        What an output is against a class and for it.
    """

    def prefers(true: int, other: int) -> bool:
        y = encode(np.full((_N_SAMPLES, *shape[:-1]), true))
        right, wrong = (_value(loss, y, _outputs(shape, n, levels)) for n in (true, other))
        return right < wrong

    pairs = itertools.permutations(range(min(n_classes, _N_CLASSES)), 2)
    with seeding.preserved():
        try:
            return all(prefers(true, other) for true, other in pairs)
        except Exception:  # it cannot take y in this form
            return False


def depends_on_differences(
    loss: Callable[..., Any],
    encode: Callable[[np.ndarray], np.ndarray],
    shape: tuple[int, ...],
    n_classes: int,
) -> bool:
    """Return whether only differences between outputs matter to a loss, so that they are logits."""
    rng = np.random.default_rng(0)
    y = encode(rng.integers(n_classes, size=(_N_SAMPLES, *shape[:-1])))
    outputs = rng.uniform(0.1, 0.9, (_N_SAMPLES, *shape)).astype("float32")
    with seeding.preserved():
        try:
            before, after = (_value(loss, y, outputs + shift) for shift in (0.0, 3.0))
        except Exception:  # it cannot take such outputs
            return False
    return bool(np.isclose(before, after, rtol=1e-4))


def _outputs(shape: tuple[int, ...], number: int, levels: tuple[float, float]) -> np.ndarray:
    """Return outputs that speak for a class: with one unit, for or against the second class."""
    low, high = levels
    outputs = np.full((_N_SAMPLES, *shape), low, "float32")
    if shape[-1] == 1:
        outputs[:] = high if number else low
    else:
        outputs[..., number] = high
    return outputs


def _value(loss: Callable[..., Any], y: np.ndarray, outputs: np.ndarray) -> float:
    value = loss(
        keras.ops.convert_to_tensor(y.astype("float32")), keras.ops.convert_to_tensor(outputs)
    )
    return float(np.mean(keras.ops.convert_to_numpy(value)))
