"""A validation set that was passed but not transformed as the training set was.

``TransformedTargetRegressor`` scales y and hands `y_val` on as it is, and a ``Pipeline`` does the
same with X and `X_val`. Losses of the validation set then belong to another scale, and callbacks
that monitor them act on nonsense.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from skguard._fit.arrays import Samples
from skguard._warnings import warn
from skguard.exceptions import ValidationSetWarning

__all__ = ["warn_of_other_scale"]

_MAX_SHIFT = 3.0  # in standard deviations: a random split of 5 samples is beyond it in 1 of 1e10
_MAX_SPREAD = 5.0
_N_SAMPLES = 2
_N_EXAMINED = 10_000  # of large data, that many samples are examined


def warn_of_other_scale(training: Samples, validation: Samples, *, with_y: bool) -> None:
    """Warn if a validation set seems not to be transformed as the training set is.

    Parameters
    ----------
    training, validation : Samples
    with_y : bool
        Whether y holds numbers, not classes.

    Warns
    -----
    ValidationSetWarning
    """
    if _differ(training.X, validation.X):
        warn(
            "X_val has another scale than X: at least half of its features lie far outside the "
            "values of X, as if X had been transformed and X_val had not. A Pipeline transforms "
            'it with Pipeline(..., transform_input=["X_val"]) and metadata routing.',
            ValidationSetWarning,
        )
    if with_y and _differ(training.y, validation.y):
        warn(
            "y_val has another scale than y, as if y had been transformed and y_val had not. "
            "TransformedTargetRegressor transforms y alone: transform y_val as y, or use "
            "validation_fraction, which sets aside samples of the transformed y.",
            ValidationSetWarning,
        )


def _differ(training: Any, validation: Any) -> bool:
    """Return whether at least half of the columns that vary are of another scale."""
    if not (_is_numeric(training) and _is_numeric(validation)):
        return False
    if training.shape[1:] != validation.shape[1:]:
        return False  # an error that is raised once the model exists
    if min(len(training), len(validation)) < _N_SAMPLES:
        return False
    here, there = (_columns(array) for array in (training, validation))
    mean, std = here.mean(axis=0), here.std(axis=0)
    varies = std > 0
    if not varies.any():
        return False
    shift = np.abs(there.mean(axis=0) - mean)[varies] / std[varies]
    spread = there.std(axis=0)[varies] / std[varies]
    is_other = (shift > _MAX_SHIFT) | (spread > _MAX_SPREAD)
    return bool(is_other.mean() >= 0.5)


def _is_numeric(array: Any) -> bool:
    if array is None or scipy.sparse.issparse(array):
        return False
    return getattr(array, "dtype", np.dtype(object)).kind in "iuf"


def _columns(array: np.ndarray) -> np.ndarray:
    """Return one column per feature, without a copy of all samples."""
    step = max(1, len(array) // _N_EXAMINED)
    examined = array[::step]
    return examined.reshape(len(examined), -1).astype(np.float64)
