"""Input and target validation: dtypes, sparse formats, feature names, weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import scipy.sparse
from sklearn.utils.validation import check_array, check_consistent_length, validate_data

__all__ = ["TrainingData", "check_features", "check_target", "check_weights"]


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingData:
    """Validated rows.

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

    def rows_that_weigh(self) -> np.ndarray:
        """The rows that weigh something: scikit-learn's estimators in effect drop the others."""
        if self.sample_weight is None:
            return np.arange(len(self))
        return np.flatnonzero(self.sample_weight)

    def take(self, rows: np.ndarray) -> TrainingData:
        """Some of the rows, or all of them without a copy."""
        if len(rows) == len(self) and np.array_equal(rows, np.arange(len(rows))):
            return self
        y = None if self.y is None else self.y[rows]
        weights = None if self.sample_weight is None else self.sample_weight[rows]
        return TrainingData(self.X[rows], y, weights)


def check_features(estimator: Any, X: Any, *, reset: bool) -> Any:
    """Validate `X` and set, or check, what `estimator` knows of its features.

    Parameters
    ----------
    estimator : estimator
        Gets ``n_features_in_`` and ``feature_names_in_`` where `reset` is true.
    X : array-like, sparse matrix or array, or dataframe of shape (n_samples, n_features, ...)
        Any number of dimensions from 2. Sparse input of any format becomes CSR with sorted
        indices, which is the order that TensorFlow wants.
    reset : bool
        Whether this is the first data that the estimator sees.

    Returns
    -------
    ndarray or scipy.sparse.csr_matrix or scipy.sparse.csr_array
        Numeric dtypes are kept; text that spells numbers becomes Keras's float type.

    Raises
    ------
    ValueError
        If X is empty, not numeric, has NaN or infinite values or too large ones for Keras's
        float type, or does not have the features of the first data.
    """
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
        raise ValueError(
            f"X has dtype {X.dtype}, which no network can take. Convert it to numbers first."
        )
    _check_range("X", X, floatx)
    if X.dtype.kind == "f" and X.dtype.itemsize > 8:
        X = X.astype(floatx)
    if scipy.sparse.issparse(X):
        X = X.copy() if not X.has_sorted_indices else X
        X.sort_indices()
    if not reset and X.shape[2:] != estimator.X_shape_[2:]:
        raise ValueError(
            f"X has rows of shape {X.shape[1:]}, but {type(estimator).__name__} was fitted on "
            f"rows of shape {estimator.X_shape_[1:]}."
        )
    return X


def _check_range(name: str, array: Any, floatx: str) -> None:
    values = array.data if scipy.sparse.issparse(array) else array
    if values.dtype.kind != "f" or values.dtype.itemsize <= np.dtype(floatx).itemsize:
        return
    if values.size and max(values.max(), -values.min()) > np.finfo(floatx).max:
        raise ValueError(
            f"Input {name} contains infinity or a value too large for dtype('{floatx}'), which is "
            f"what Keras computes in. Scale {name}, or call keras.config.set_floatx('float64')."
        )


def check_target(estimator: Any, X: Any, y: Any, *, numeric: bool, classes: bool) -> np.ndarray:
    """Validate `y`, and that it has as many rows as `X` where X is given.

    Parameters
    ----------
    estimator : estimator
        For messages.
    X : array or None
    y : array-like or dataframe of shape (n_samples,) or (n_samples, n_outputs, ...)
    numeric : bool
        Whether y must be numbers, as a regressor's.
    classes : bool
        Whether y holds classes, and so has at most two dimensions.

    Raises
    ------
    ValueError
        If y is missing, empty, not finite, too large for Keras's float type, of another length
        than X, of labels that cannot be compared, or not numbers where these are needed.
    """
    name = type(estimator).__name__
    if y is None:
        raise ValueError(
            f"This {name} estimator requires y to be passed, but the target y is None. Pass y."
        )
    as_array = np.asarray(y)
    if numeric and as_array.dtype.kind in {"O", "U", "S"} and not scipy.sparse.issparse(y):
        try:
            y = as_array.astype(keras.config.floatx())
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{name} predicts numbers, and y holds {as_array.ravel().tolist()[0]!r}. "
                "Use GuardedKerasClassifier for labels, or convert y."
            ) from error
    y = check_array(
        y,
        accept_sparse=False,
        ensure_2d=False,
        allow_nd=not classes,
        dtype=None,
        input_name="y",
        estimator=estimator,
    )
    if numeric:
        if y.dtype.kind not in "biuf":
            raise ValueError(
                f"{name} predicts numbers, and y has dtype {y.dtype}. Convert y first."
            )
        _check_range("y", y, keras.config.floatx())
    if classes and y.dtype.kind == "O":
        _check_one_kind(name, y)
    if X is not None:
        check_consistent_length(X, y)
    return y


def _check_one_kind(name: str, y: np.ndarray) -> None:
    try:
        np.unique(y)
    except TypeError as error:
        kinds = sorted({type(label).__name__ for label in y.flat})
        raise ValueError(
            f"y has labels of different kinds, {', '.join(kinds)}, which {name} cannot sort. "
            "Give labels of one kind, such as y.astype(str)."
        ) from error


def check_weights(sample_weight: Any, rows: Any) -> np.ndarray | None:
    """Validate `sample_weight` and copy it into Keras's float type.

    Parameters
    ----------
    sample_weight : None, number, or array-like of shape (n_samples,)
        A number is everyone's weight.
    rows : array-like of shape (n_samples, ...)
        What is weighed.

    Raises
    ------
    ValueError
        If the shape is another, a weight is not finite, or all weights are zero.
    """
    if sample_weight is None or rows is None:  # whoever checks the rows says so
        return None
    floatx = keras.config.floatx()
    shape = getattr(rows, "shape", None) or np.asarray(rows).shape
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
            f"sample_weight.shape == {weights.shape}, expected {(n_samples,)}: one weight a row."
        )
    if not np.any(weights):
        raise ValueError(
            "sample_weight is zero for every row, so there is nothing to train on. "
            "Give at least one row a weight."
        )
    return weights
