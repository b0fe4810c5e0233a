"""Input and target validation: dtypes, sparse formats, feature names, weights.

Whether the model takes text, samples of other shapes or NaN is decided in ``inputs.py``, once the
model exists.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import check_array, check_consistent_length, validate_data

from skguard import _engine as engine
from skguard._fit import unequal
from skguard._fit.columns import InputColumns
from skguard._fit.text import as_text, holds_text
from skguard.exceptions import InputError, InputTypeError, InputValueError

__all__ = [
    "Encoded",
    "Samples",
    "check_features",
    "check_is_not_dict",
    "check_is_not_list_of_inputs",
    "check_same_names",
    "check_sample_shape",
    "check_target",
    "check_weights",
    "dtype_of",
    "encode_features",
    "names_of_columns",
    "shape_of",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Samples:
    """Validated samples.

    Parameters
    ----------
    X : ndarray, MappedSamples or scipy.sparse.csr_array of shape (n_samples, n_features, ...)
        Or a one-dimensional array of arrays, one per sample, if these differ in shape.
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs, ...), or None
    sample_weight : ndarray of shape (n_samples,) or (n_samples, n_steps, ...), or None
        In Keras's float type.
    """

    X: Any
    y: Any
    sample_weight: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def weighted_indices(self) -> np.ndarray:
        """Return the indices of samples with nonzero weight.

        In scikit-learn, a sample of weight 0 has the same effect as one that is not there. With
        one weight per step, that is a sample all of whose steps have weight 0.
        """
        if self.sample_weight is None:
            return np.arange(len(self))
        weights = self.sample_weight
        return np.flatnonzero(weights.any(axis=tuple(range(1, weights.ndim))))

    def take(self, indices: np.ndarray) -> Samples:
        """Return the samples at `indices`: all of them, in order, without a copy.

        Nor is there one of X if it is a large memory-mapped array.
        """
        if len(indices) == len(self) and np.array_equal(indices, np.arange(len(indices))):
            return self
        y = None if self.y is None else self.y[indices]
        weights = None if self.sample_weight is None else self.sample_weight[indices]
        return Samples(engine.mapped.take(self.X, indices), y, weights)


@dataclasses.dataclass(frozen=True, slots=True)
class Encoded:
    """Arrays as the model takes them, and the encoders that made them.

    Parameters
    ----------
    X, y : array, or nested lists, tuples and dicts of arrays
    sample_weight : ndarray of shape (n_samples,) or (n_samples, n_steps, ...), or None
    validation_data : tuple of (X, y, sample_weight), dataset or None
    feature_encoder, target_encoder : transformer
    errors : list of InputError
        Raised by `target_encoder` for batches, while the model was trained.
    """

    X: Any
    y: Any
    sample_weight: np.ndarray | None
    validation_data: Any
    feature_encoder: Any
    target_encoder: Any
    errors: list[InputError] = dataclasses.field(default_factory=list)


_ADVICE_ON_INPUTS = (
    "For a model of several inputs, join their columns, and say which are for which input: "
    'inputs={"left": [0, 1], "right": [2]}, or a list in the order of the inputs. For other shapes '
    "than columns, override feature_encoder to divide X."
)


def check_is_not_list_of_inputs(X: Any, y: Any) -> None:
    """Raise if X is a list with one array per input, as ``keras.Model.fit`` takes one.

    Raises
    ------
    InputTypeError
    """
    if not isinstance(X, list | tuple) or y is None or not hasattr(y, "__len__"):
        return
    shapes = [getattr(array, "shape", ()) for array in X]
    if len(X) != len(y) and len(X) > 0 and all(shape[:1] == (len(y),) for shape in shapes):
        raise InputTypeError(
            f"X is a {type(X).__name__} of {len(X)} arrays of {len(y)} samples each. Pass one "
            f"array or dataframe. {_ADVICE_ON_INPUTS}"
        )


def check_features(
    estimator: Any,
    X: Any,
    *,
    reset: bool,
    keep_text: bool = False,
    free_axes: tuple[bool, ...] | None = (),
) -> Any:
    """Validate `X`, and set or check the attributes that describe its features.

    Parameters
    ----------
    estimator : estimator
        ``n_features_in_`` and ``feature_names_in_`` are set on it if `reset` is true.
    X : array-like, sparse matrix or array, or dataframe of shape (n_samples, n_features, ...)
        Two or more dimensions. Sparse input of any format becomes CSR with sorted indices, the
        order that TensorFlow requires. Strings may have one dimension, which becomes a column.
        Samples of different shapes are a list or an object array of arrays.
    reset : bool
        Whether to set the attributes, as in the first call to ``fit``, or to check against them.
    keep_text : bool, default=False
        Whether strings that represent numbers are text.
    free_axes : tuple of bool or None, default=()
        For each axis of a sample, whether its length may differ from that in the first call to
        ``fit``. None means that this is unknown until there is a model.

    Returns
    -------
    ndarray or scipy.sparse.csr_matrix or scipy.sparse.csr_array
        Numeric dtypes are kept; strings that represent numbers become Keras's float type. Other
        text becomes an object array of shape (n_samples, n_features), samples of different shapes
        a one-dimensional object array of arrays.

    Raises
    ------
    InputTypeError
        If X is a dict.
    ValueError
        If X is empty, has values that are infinite or too large for Keras's float type, or has
        other features than the data that the estimator was fitted on. NaN is accepted.
    """
    if isinstance(X, engine.MappedSamples):
        return X  # a part of validated samples
    check_is_not_dict("X", X, _ADVICE_ON_INPUTS)
    checked = None
    if keep_text and holds_text(X):
        checked = _check_text(estimator, X, reset)
    elif engine.is_array_of_arrays(X):
        checked = _check_arrays(estimator, X, reset, free_axes)
    else:
        try:
            checked = _check_numbers(estimator, X, reset, free_axes)
        except ValueError:
            if unequal.is_unequal(X):
                checked = _check_arrays(estimator, X, reset, free_axes)
            elif holds_text(X):
                checked = _check_text(estimator, X, reset)
            else:
                raise
    if not reset and free_axes is not None:
        check_sample_shape(estimator, checked, free_axes)
    return checked


def _check_numbers(
    estimator: Any, X: Any, reset: bool, free_axes: tuple[bool, ...] | None = ()
) -> Any:
    floatx = keras.config.floatx()
    kind = getattr(getattr(X, "dtype", None), "kind", "")
    options: dict[str, Any] = {
        "accept_sparse": "csr",
        "allow_nd": True,
        "dtype": floatx if kind in {"O", "U", "S"} else "numeric",
        "ensure_all_finite": "allow-nan",
    }
    is_large_map = engine.mapped.is_large(X)
    if is_large_map:
        _check_map(estimator, X, floatx)
        options["ensure_all_finite"] = False
    if reset or not _differs_in_a_free_axis(estimator, X, free_axes):
        X = validate_data(estimator, X=X, reset=reset, **options)
    else:  # without the check of n_features_in_
        X = check_array(X, estimator=estimator, input_name="X", **options)
    if X.dtype.kind not in "biuf":
        raise ValueError(f"X must be numeric, got dtype {X.dtype}. Convert it to numbers first.")
    if not is_large_map:
        _check_range("X", X, floatx)
    if X.dtype.kind == "f" and X.dtype.itemsize > 8:
        X = X.astype(floatx)
    if scipy.sparse.issparse(X):
        X = X.copy() if not X.has_sorted_indices else X
        X.sort_indices()
    return X


def _check_map(estimator: Any, X: np.ndarray, floatx: str) -> None:
    """Check the values of a memory-mapped array part by part, without a copy of the whole."""
    for part in engine.mapped.chunks(X):
        assert_all_finite(
            part, allow_nan=True, estimator_name=type(estimator).__name__, input_name="X"
        )
        _check_range("X", part, floatx)


def encode_features(encoder: Any, X: Any) -> Any:
    """Encode features; samples that are not read yet are loaded for an encoder of the user."""
    if not isinstance(X, engine.MappedSamples) or isinstance(encoder, InputColumns):
        return encoder.transform(X)
    if isinstance(encoder, FunctionTransformer) and encoder.func is None:
        return X
    return encoder.transform(np.asarray(X))


def _differs_in_a_free_axis(estimator: Any, X: Any, free_axes: tuple[bool, ...] | None) -> bool:
    """Return whether the first axis of samples, their features, may have another length."""
    is_free = free_axes is None or free_axes[:1] == (True,)
    if not is_free or hasattr(X, "columns") or scipy.sparse.issparse(X):
        return False
    return np.shape(X)[1:2] != (getattr(estimator, "n_features_in_", None),)


def _check_text(estimator: Any, X: Any, reset: bool) -> np.ndarray:
    if np.ndim(X) == 1:  # as scikit-learn's vectorizers take it
        X = np.asarray(X, object)[:, np.newaxis]
    names = getattr(X, "columns", None)
    X = validate_data(estimator, X=X, reset=reset, dtype=None, ensure_all_finite=False)
    return as_text(X, None if names is None else list(names))


def _check_arrays(estimator: Any, X: Any, reset: bool, free_axes: tuple[bool, ...] | None) -> Any:
    """Validate one array per sample: the values of all of them as one column of numbers."""
    arrays = unequal.as_arrays(X)
    if None not in unequal.common_shape(arrays):
        return _check_numbers(estimator, np.stack(list(arrays)), reset, free_axes)
    values = np.concatenate([array.ravel() for array in arrays])[:, np.newaxis]
    checked = _check_numbers(BaseEstimator(), values, reset=True)
    arrays = unequal.with_values(arrays, checked.ravel())
    if reset:
        for name in ("n_features_in_", "feature_names_in_"):
            estimator.__dict__.pop(name, None)
        n_features = shape_of(arrays)[1]
        if n_features is not None:
            estimator.n_features_in_ = n_features
    return arrays


def shape_of(X: Any) -> tuple[int | None, ...]:
    """Return the shape of validated samples, with None for axes in which they differ."""
    return unequal.common_shape(X) if engine.is_array_of_arrays(X) else tuple(X.shape)


def dtype_of(X: Any) -> np.dtype[Any]:
    """Return the dtype of the values of validated samples."""
    dtype: np.dtype[Any] = X[0].dtype if engine.is_array_of_arrays(X) else X.dtype
    return dtype


def check_sample_shape(estimator: Any, X: Any, free_axes: tuple[bool, ...]) -> None:
    """Raise if validated samples have another shape than those in the first call to ``fit``.

    Parameters
    ----------
    estimator : estimator
        Its ``X_shape_`` has None for axes in which the samples of that call differed.
    X : array
    free_axes : tuple of bool
        For each axis of a sample, whether its length may differ.

    Raises
    ------
    ValueError
    """
    given, fitted = shape_of(X)[1:], estimator.X_shape_[1:]
    name = type(estimator).__name__
    free = (*free_axes, *[False] * len(fitted))
    different = [
        axis
        for axis, (size, known) in enumerate(zip(given, fitted, strict=False))
        if size != known and known is not None and not free[axis]
    ]
    if different == [0] and len(given) == len(fitted) == 1:  # the message of scikit-learn
        raise ValueError(
            f"X has {given[0]} features, but {name} is expecting {fitted[0]} features as input."
        )
    if different or len(given) != len(fitted):
        raise ValueError(
            f"X has samples of shape {given}, but {name} was fitted on samples of shape {fitted}. "
            "Where the model's input layer has None in its shape, another length is accepted."
        )


def _check_range(name: str, array: Any, floatx: str) -> None:
    values = array.data if scipy.sparse.issparse(array) else array
    if values.dtype.kind != "f" or values.dtype.itemsize <= np.dtype(floatx).itemsize:
        return
    limit = np.finfo(floatx).max
    # fmax and fmin ignore NaN.
    if values.size and max(np.fmax.reduce(values, None), -np.fmin.reduce(values, None)) > limit:
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


def names_of_columns(y: Any) -> list[str] | None:
    """Return the names of the columns of a dataframe that has several, else None.

    As for X in scikit-learn, only if all of them are strings.
    """
    names = list(getattr(y, "columns", ()))
    return names if len(names) > 1 and all(isinstance(name, str) for name in names) else None


def check_same_names(estimator: Any, fitted: list[str] | None, given: list[str] | None) -> None:
    """Raise if the columns of y are others than in ``fit``, or in another order.

    Raises
    ------
    InputValueError
    """
    if fitted is None or given is None or fitted == given:
        return
    name = type(estimator).__name__
    problems = [
        f"{kind}: {', '.join(map(repr, names[:5]))}{', ...' if len(names) > 5 else ''}"
        for kind, names in (
            ("unseen at fit time", [column for column in given if column not in fitted]),
            ("seen at fit time, yet now missing", [c for c in fitted if c not in given]),
        )
        if names
    ]
    detail = "; ".join(problems) or "they are in another order"
    raise InputValueError(
        f"The names of the columns of y should match those that {name} was fitted with: {detail}. "
        f"Pass y[{fitted[:10]!r}{'...' if len(fitted) > 10 else ''}]."
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


def check_weights(sample_weight: Any, samples: Any, *, per_step: bool = False) -> np.ndarray | None:
    """Validate `sample_weight` and copy it into Keras's float type.

    Parameters
    ----------
    sample_weight : None, number, or array-like of shape (n_samples,)
        A number is the weight of every sample.
    samples : array-like of shape (n_samples, ...)
        Determines the number of samples.
    per_step : bool, default=False
        Whether the shape may be ``(n_samples, n_steps, ...)``. Whether the model has one output
        per step is decided by `skguard._fit.inputs.check_weights`.

    Returns
    -------
    ndarray of shape (n_samples,) or (n_samples, n_steps, ...), or None
        A copy.

    Raises
    ------
    ValueError
        If the shape is another one, a weight is not finite, or all weights are zero.
    """
    if sample_weight is None or samples is None:  # missing X is reported by check_features
        return None
    floatx = keras.config.floatx()
    n_samples = _count(samples)
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
    if weights.ndim != 1 and not per_step:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weights.ndim}D array.")
    if weights.shape[0] != n_samples:
        raise ValueError(
            f"sample_weight.shape == {weights.shape}, expected {(n_samples,)}: one per sample."
        )
    if not np.any(weights):
        raise ValueError("sample_weight must be nonzero for at least one sample, got zeros only.")
    return weights


def _count(samples: Any) -> int:
    shape = getattr(samples, "shape", None)
    if shape is None and isinstance(samples, list | tuple):
        return len(samples)
    shape = shape or np.asarray(samples).shape
    return int(shape[0]) if shape else 1
