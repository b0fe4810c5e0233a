"""Forms of y that hold classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skguard.exceptions import InputValueError

__all__ = [
    "MEANINGS",
    "check_choice",
    "has_one_column_per_class",
    "is_indicator",
    "numbers_of",
    "weights_of",
]

MEANINGS = ("auto", "probabilities", "logits", "margins")
"""Meanings that a user may state for outputs of classes."""


def is_indicator(y: np.ndarray) -> bool:
    """Return whether all entries of y are 0 or 1."""
    return y.dtype.kind in "biuf" and bool(np.isin(y, (0, 1)).all())


def has_one_column_per_class(y: np.ndarray) -> bool:
    """Return whether the last axis of y is one-hot, or holds fractions that add up to 1."""
    if y.ndim < 2 or y.shape[-1] < 2 or y.dtype.kind not in "biuf":
        return False
    in_range = y.dtype.kind == "b" or (y.min() >= 0 and y.max() <= 1)
    return bool(in_range and np.allclose(y.sum(axis=-1, dtype=float), 1.0, atol=1e-5))


def numbers_of(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the index of each label in sorted classes."""
    numbers = np.searchsorted(classes, y).clip(max=len(classes) - 1)
    unknown = classes[numbers] != y
    if np.any(unknown):
        found = np.unique(y[unknown]).tolist()
        raise InputValueError(
            f"y has {_named(found)}, previously unseen: not in the classes {_listed(classes)}. "
            "Announce all labels in fit(..., classes=[...])."
        )
    return numbers


def _named(labels: Sequence[Any]) -> str:
    listed = ", ".join(map(repr, labels[:5])) + (", ..." if len(labels) > 5 else "")
    return f"the label {listed}" if len(labels) == 1 else f"the labels {listed}"


def _listed(classes: np.ndarray) -> str:
    shown = ", ".join(map(repr, classes[:10].tolist()))
    return f"[{shown}, ...]" if len(classes) > 10 else f"[{shown}]"


def weights_of(entries: np.ndarray, sample_weight: Any) -> np.ndarray:
    """Return one weight for each entry, of weights per sample or per entry."""
    if sample_weight is None:
        return np.ones(entries.shape)
    weights = np.asarray(sample_weight, float)
    return np.broadcast_to(
        weights.reshape(*weights.shape, *(1,) * (entries.ndim - weights.ndim)), entries.shape
    )


def check_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InputValueError(
            f"{name}={value!r} of target must be one of {', '.join(map(repr, allowed))}."
        )
