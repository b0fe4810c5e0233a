"""Several inputs from the columns of X: the encoder of the parameter ``inputs``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, TransformerMixin

from skguard import _engine as engine
from skguard._suggestions import did_you_mean
from skguard.exceptions import InputTypeError, InputValueError

__all__ = ["InputColumns"]


class InputColumns(TransformerMixin, BaseEstimator):
    """Divides X into one array per input of a model.

    Parameters
    ----------
    inputs : dict of str to selection, or list of selections
        A selection is as in ``ColumnTransformer``: the name of a column, an index, a list of
        names or of indices, a slice, a boolean mask, or a callable that takes X as it was passed
        to ``fit`` and returns one of these.

    Attributes
    ----------
    columns_ : dict of str or int to ndarray of int
        Indices of the columns of each input.
    names_ : list or None
        Names of all columns.
    """

    def __init__(self, inputs: Any) -> None:
        self.inputs = inputs

    def fit(self, X: Any, y: Any = None, given: Any = None) -> InputColumns:
        """Find the columns of each input, by the names and dtypes of X as it was given."""
        given = X if given is None else given
        selections = _selections(self.inputs)
        if len(X.shape) < 2:
            raise InputValueError(
                "inputs= selects columns of X, but X has samples of different shapes. Override "
                "feature_encoder to divide them."
            )
        names = getattr(given, "columns", None)
        self.names_ = None if names is None else list(names)
        self.columns_ = {
            key: _columns(key, selection, given, self.names_, X.shape[1])
            for key, selection in selections.items()
        }
        return self

    def transform(self, X: Any) -> Any:
        """Return one array of shape (n_samples, n_columns, ...) per input."""
        sparse = scipy.sparse.issparse(X)
        parts = {
            key: engine.mapped.select(X, columns) if not sparse else X[:, columns].sorted_indices()
            for key, columns in self.columns_.items()
        }
        return parts if isinstance(self.inputs, Mapping) else tuple(parts.values())

    def names_of(self, key: Any) -> list[Any]:
        """Return the names of the columns of an input, or their indices."""
        columns = self.columns_[key]
        return [int(j) if self.names_ is None else self.names_[j] for j in columns]


def _selections(inputs: Any) -> dict[Any, Any]:
    if isinstance(inputs, Mapping):
        selections = dict(inputs)
    elif isinstance(inputs, list | tuple):
        selections = dict(enumerate(inputs))
    else:
        raise InputTypeError(
            f"inputs={inputs!r} must be a dict of names of inputs to columns, or a list of the "
            "columns of each input in order."
        )
    if not selections:
        raise InputValueError(f"inputs={inputs!r} has no input. Pass columns for each input.")
    return selections


def _columns(
    key: Any, selection: Any, given: Any, names: list[Any] | None, n_columns: int
) -> np.ndarray:
    """Return the indices that a selection stands for."""
    where = f"inputs[{key!r}]"
    if callable(selection):
        selection = selection(given)
    if isinstance(selection, slice):
        selection = _positions_of_slice(where, selection, names)
    elif isinstance(selection, str) or np.ndim(selection) == 0:
        selection = [selection]
    selected = np.arange(n_columns)[selection] if isinstance(selection, slice) else None
    if selected is None and np.asarray(selection).dtype == bool:
        selected = _of_mask(where, np.asarray(selection), n_columns)
    if selected is None:
        selected = np.array([_index(where, item, names, n_columns) for item in selection], int)
    if not len(selected):
        raise InputValueError(f"{where}={selection!r} selects none of {n_columns} columns.")
    return selected


def _of_mask(where: str, mask: np.ndarray, n_columns: int) -> np.ndarray:
    if mask.shape != (n_columns,):
        raise InputValueError(f"{where} has {len(mask)} booleans, but X has {n_columns} columns.")
    return np.flatnonzero(mask)


def _positions_of_slice(where: str, selection: slice, names: list[Any] | None) -> slice:
    """Replace names in a slice by positions; the last one is included, as in pandas."""
    if not any(isinstance(end, str) for end in (selection.start, selection.stop)):
        return selection
    n_columns = len(names or [])
    start, stop = selection.start, selection.stop
    start = _index(where, start, names, n_columns) if start is not None else None
    stop = _index(where, stop, names, n_columns) + 1 if stop is not None else None
    return slice(start, stop, selection.step)


def _index(where: str, item: Any, names: list[Any] | None, n_columns: int) -> int:
    if isinstance(item, str):
        if names is None:
            raise InputValueError(
                f"{where} has the name {item!r}, but X has no names of columns. Pass X as a "
                "DataFrame, or select by index."
            )
        if item not in names:
            advice = did_you_mean(item, [str(name) for name in names])
            raise InputValueError(
                f"{where} has the name {item!r}, which is not a column of X.{advice}"
            )
        return names.index(item)
    if isinstance(item, int | np.integer) and -n_columns <= item < n_columns:
        return int(item) % n_columns
    raise InputValueError(
        f"{where} has {item!r}, which is neither the name nor the index of one of {n_columns} "
        "columns of X."
    )
