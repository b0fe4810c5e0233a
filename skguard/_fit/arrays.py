"""Input and target validation: dtypes, sparse formats, feature names, weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import scipy.sparse
from sklearn.utils.validation import check_array, check_consistent_length, validate_data

from skguard.exceptions import InputTypeError

__all__ = [
    "Encoded",
    "Samples",
    "check_features",
    "check_is_not_dict",
    "check_target",
    "check_weights",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Samples:
    """Validated samples.

    Parameters
    ----------
    X : ndarray or scipy.sparse.csr_array of shape (n_samples, n_features, ...)
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs, ...), or None
    sample_weight : ndarray of shape (n_samples,) or None
        In Keras's float type.
    """

    X: Any
    y: Any
    sample_weight: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def weighted_indices(self) -> np.ndarray:
        """Return the indices of samples with nonzero weight.

        In scikit-learn, a sample of weight 0 has the same effect as one that is not there.
        """
        if self.sample_weight is None:
            return np.arange(len(self))
        return np.flatnonzero(self.sample_weight)

    def take(self, indices: np.ndarray) -> Samples:
        """Return the samples at `indices`: all of them, in order, without a copy."""
        if len(indices) == len(self) and np.array_equal(indices, np.arange(len(indices))):
            return self
        y = None if self.y is None else self.y[indices]
        weights = None if self.sample_weight is None else self.sample_weight[indices]
        return Samples(self.X[indices], y, weights)


@dataclasses.dataclass(frozen=True, slots=True)
class Encoded:
    """Arrays as the model takes them, and the encoders that made them.

    Parameters
    ----------
    X, y : array, or nested lists, tuples and dicts of arrays
    sample_weight : ndarray of shape (n_samples,) or None
    validation_data : tuple of (X, y, sample_weight), dataset or None
    feature_encoder, target_encoder : transformer
    """

    X: Any
    y: Any
    sample_weight: np.ndarray | None
    validation_data: Any
    feature_encoder: Any
    target_encoder: Any


def check_features(estimator: Any, X: Any, *, reset: bool) -> Any:
    """Validate `X`, and set or check the attributes that describe its features.

    Parameters
    ----------
    estimator : estimator
        ``n_features_in_`` and ``feature_names_in_`` are set on it if `reset` is true.
    X : array-like, sparse matrix or array, or dataframe of shape (n_samples, n_features, ...)
        Two or more dimensions. Sparse input of any format becomes CSR with sorted indices, the
        order that TensorFlow requires.
    reset : bool
        Whether to set the attributes, as in the first call to ``fit``, or to check against them.

    Returns
    -------
    ndarray or scipy.sparse.csr_matrix or scipy.sparse.csr_array
        Numeric dtypes are kept; strings that represent numbers become Keras's float type.

    Raises
    ------
    InputTypeError
        If X is a dict.
    ValueError
        If X is empty or not numeric, has values that are NaN, infinite or too large for Keras's
        float type, or has other features than the data that the estimator was fitted on.
    """
    check_is_not_dict("X", X, "Override feature_encoder to divide it into one array per input.")
    floatx = keras.config.floatx()
    kind = getattr(getattr(X, "dtype", None), "kind", "")
    X = validate_data(
        estimator,
        X=X,
        reset=reset,
        accept_sparse="csr",
        allow_nd=True,
        dtype=floatx if kind in {"O", "U", "S"} else "numeric",
    )
    if X.dtype.kind not in "biuf":
        raise ValueError(f"X must be numeric, got dtype {X.dtype}. Convert it to numbers first.")
    _check_range("X", X, floatx)
    if X.dtype.kind == "f" and X.dtype.itemsize > 8:
        X = X.astype(floatx)
    if scipy.sparse.issparse(X):
        X = X.copy() if not X.has_sorted_indices else X
        X.sort_indices()
    if not reset and X.shape[2:] != estimator.X_shape_[2:]:
        raise ValueError(
            f"X has samples of shape {X.shape[1:]}, but {type(estimator).__name__} was fitted on "
            f"samples of shape {estimator.X_shape_[1:]}."
        )
    return X


def _check_range(name: str, array: Any, floatx: str) -> None:
    values = array.data if scipy.sparse.issparse(array) else array
    if values.dtype.kind != "f" or values.dtype.itemsize <= np.dtype(floatx).itemsize:
        return
    if values.size and max(values.max(), -values.min()) > np.finfo(floatx).max:
        raise ValueError(
            f"Input {name} contains infinity or a value too large for dtype('{floatx}'), Keras's "
            f"float type. Scale {name}, or call keras.config.set_floatx('float64')."
        )


def check_target(estimator: Any, X: Any, y: Any, *, numeric: bool, classes: bool) -> np.ndarray:
    """Validate `y`, and that it has as many samples as `X` if X is given.

    Parameters
    ----------
    estimator : estimator
        Its name is part of the messages.
    X : array or None
    y : array-like or dataframe of shape (n_samples,) or (n_samples, n_outputs, ...)
    numeric : bool
        Whether y must be numeric, as for a regressor.
    classes : bool
        Whether y holds class labels.

    Raises
    ------
    InputTypeError
        If y is a dict.
    ValueError
        If y is missing, empty, not finite, too large for Keras's float type, of another length
        than X, not numeric although it must be, or has labels that cannot be sorted.
    """
    name = type(estimator).__name__
    if y is None:
        raise ValueError(
            f"This {name} estimator requires y to be passed, but the target y is None. Pass y."
        )
    if getattr(getattr(y, "dtype", None), "names", None):  # one field per head
        for field in y.dtype.names:
            check_array(y[field], ensure_2d=False, allow_nd=True, dtype=None, input_name="y")
        if X is not None:
            check_consistent_length(X, y)
        return y
    as_array = np.asarray(y)
    if numeric and as_array.dtype.kind in {"O", "U", "S"} and not scipy.sparse.issparse(y):
        try:
            y = as_array.astype(keras.config.floatx())
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"y of {name} must be numeric, got {as_array.ravel().tolist()[0]!r}. "
                "Use GuardedKerasClassifier for labels, or convert y."
            ) from error
    y = check_array(
        y,
        accept_sparse=False,
        ensure_2d=False,
        allow_nd=True,
        dtype=None,
        input_name="y",
        estimator=estimator,
    )
    if numeric:
        if y.dtype.kind not in "biuf":
            raise ValueError(f"y of {name} must be numeric, got dtype {y.dtype}. Convert y first.")
        _check_range("y", y, keras.config.floatx())
    if classes and y.dtype.kind == "O":
        _check_one_type(name, y)
    if X is not None:
        check_consistent_length(X, y)
    return y


def check_is_not_dict(name: str, data: Any, advice: str) -> None:
    """Raise if X or y is a dict, as ``keras.Model.fit`` takes one for several inputs or outputs.

    Raises
    ------
    InputTypeError
    """
    # A sparse dok_array is a dict too.
    if isinstance(data, Mapping) and not hasattr(data, "shape"):
        raise InputTypeError(
            f"{name} is a {type(data).__name__} of {', '.join(map(repr, data)) or 'nothing'}. Pass "
            f"one array or dataframe. {advice}"
        )


def _check_one_type(name: str, y: np.ndarray) -> None:
    try:
        np.unique(y)
    except TypeError as error:
        types = sorted({type(label).__name__ for label in y.flat})
        raise ValueError(
            f"y has labels of different types, {', '.join(types)}, which {name} cannot sort. "
            "Pass labels of one type, such as y.astype(str)."
        ) from error


def check_weights(sample_weight: Any, samples: Any) -> np.ndarray | None:
    """Validate `sample_weight` and copy it into Keras's float type.

    Parameters
    ----------
    sample_weight : None, number, or array-like of shape (n_samples,)
        A number is the weight of every sample.
    samples : array-like of shape (n_samples, ...)
        Determines the number of samples.

    Returns
    -------
    ndarray of shape (n_samples,) or None
        A copy.

    Raises
    ------
    ValueError
        If the shape is not ``(n_samples,)``, a weight is not finite, or all weights are zero.
    """
    if sample_weight is None or samples is None:  # missing X is reported by check_features
        return None
    floatx = keras.config.floatx()
    shape = getattr(samples, "shape", None) or np.asarray(samples).shape
    n_samples = shape[0] if shape else 1
    if not hasattr(sample_weight, "shape"):
        sample_weight = np.asarray(sample_weight)
    if sample_weight.ndim == 0:
        sample_weight = np.full(n_samples, sample_weight)
    weights = check_array(
        sample_weight,
        ensure_2d=False,
        allow_nd=True,
        dtype=floatx,
        copy=True,
        input_name="sample_weight",
    )
    if weights.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weights.ndim}D array.")
    if weights.shape[0] != n_samples:
        raise ValueError(
            f"sample_weight.shape == {weights.shape}, expected {(n_samples,)}: one per sample."
        )
    if not np.any(weights):
        raise ValueError("sample_weight must be nonzero for at least one sample, got zeros only.")
    return weights
