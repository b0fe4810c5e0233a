"""Trials of a loss that is not one of Keras's, which find out what it takes.

A loss takes y in a form if, for every class, it is lower for outputs that speak for that class
than for outputs that speak for another one. A form for which that does not hold would be
minimized by something else: a loss that broadcasts one column of class numbers over one column
per class is the same for all permutations of the outputs.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import scipy.special

from skguard._repairs import seeding

__all__ = ["is_crossentropy_of_logits", "is_lower_for_the_true_class", "stand_in"]

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


def is_crossentropy_of_logits(
    loss: Callable[..., Any],
    encode: Callable[[np.ndarray], np.ndarray],
    shape: tuple[int, ...],
    n_classes: int,
) -> bool:
    """Return whether a loss is, up to a factor, the crossentropy of a softmax of the outputs."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(n_classes, size=(_N_SAMPLES, *shape[:-1]))
    values, expected = [], []
    with seeding.preserved():
        for spread in (0.5, 1.0, 2.0, 4.0):
            outputs = rng.normal(scale=spread, size=(_N_SAMPLES, *shape)).astype("float32")
            log_softmax = scipy.special.log_softmax(outputs, axis=-1)
            chosen = np.take_along_axis(log_softmax, numbers[..., np.newaxis], axis=-1)
            try:
                values.append(_value(loss, encode(numbers), outputs))
            except Exception:  # it cannot take such outputs
                return False
            expected.append(-chosen.mean())
    ratios = np.array(values) / np.array(expected)
    return bool(np.all(ratios > 0) and np.ptp(ratios) < 1e-3 * ratios.max())


def stand_in(loss: Any) -> Any:
    """Return a loss to try: a copy of an object, which may change its state when it is called."""
    if isinstance(loss, keras.losses.Loss):
        with contextlib.suppress(Exception):  # arguments that get_config does not have
            return type(loss).from_config(loss.get_config())
    return loss


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
