"""Text in X: recognized, validated, and converted to what an input of a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from skguard.exceptions import InputValueError

__all__ = ["as_numbers", "as_strings", "as_text", "holds_text", "is_text", "label"]


def holds_text(X: Any) -> bool:
    """Return whether an array-like has strings among its values."""
    try:
        array = np.asarray(X)
    except ValueError:  # a nested list whose parts differ in length
        return False
    if array.dtype.kind == "O":
        return any(isinstance(value, str | bytes) for value in array.flat)
    return array.dtype.kind in "UST"


def is_text(array: Any) -> bool:
    """Return whether an array is one that `as_text` returned, or a part of one."""
    return isinstance(array, np.ndarray) and array.dtype.kind in "OUST" and array.ndim <= 2


def label(names: Sequence[Any] | None, columns: Sequence[int]) -> str:
    """Return the names of some columns, or their 0-based indices if they are not named."""
    shown = [str(j) if names is None else repr(names[j]) for j in columns]
    return f"column{'s' if len(shown) != 1 else ''} {', '.join(shown)}"


def as_text(X: np.ndarray, names: Sequence[Any] | None) -> np.ndarray:
    """Validate a table with text in some columns, and return it as an object array.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    names : sequence or None
        Names of the columns, for messages.

    Raises
    ------
    InputValueError
        If a column with text has missing values or values of other types.
    """
    X = X.astype(object)
    for j in range(X.shape[1]):
        column = X[:, j]
        is_string = np.array([isinstance(value, str | bytes) for value in column])
        if is_string.all() or not is_string.any():
            continue
        others = {type(value).__name__ for value in column[~is_string]}
        missing = any(value is None or value != value for value in column[~is_string])
        where = label(names, [j])
        if missing or "NAType" in others:
            raise InputValueError(
                f"X has missing values among the text in {where}. Replace them by a string, such "
                'as "", or by SimpleImputer(strategy="constant", fill_value="").'
            )
        raise InputValueError(
            f"X has values of the types {', '.join(sorted(others | {'str'}))} in {where}. Convert "
            "the column to one type, for example by astype(str)."
        )
    return X


def as_strings(array: np.ndarray, names: Sequence[Any] | None, where: str) -> np.ndarray:
    """Return text for an input that takes strings.

    Raises
    ------
    InputValueError
        If a column has no text.
    """
    columns = array.reshape(len(array), -1).T
    numeric = [j for j, c in enumerate(columns) if not isinstance(c[0], str | bytes)]
    if numeric:
        raise InputValueError(
            f"X has numbers in {label(names, numeric)}, but {where} takes strings. Convert them "
            "by astype(str), or give the model an input of numbers."
        )
    return array


def as_numbers(array: np.ndarray, names: Sequence[Any] | None, where: str) -> np.ndarray:
    """Convert text that represents numbers, and numbers in an object array.

    Raises
    ------
    InputValueError
        If a column has other text. The message has the names of all such columns.
    """
    table = array.reshape(len(array), -1)
    numbers = np.empty(table.shape)
    text = []
    for j in range(table.shape[1]):
        try:
            numbers[:, j] = table[:, j].astype(float)
        except (ValueError, TypeError):
            text.append(j)
    if text:
        columns = label(names, text)
        example = next(v for v in table[:, text[0]] if not _is_number(v))
        selected = [j if names is None else names[j] for j in text]
        raise InputValueError(
            f"could not convert string to float: X has text in {columns}, such as {example!r}, "
            f"but {where} takes numbers. Encode these columns first, for example by "
            f"make_column_transformer((OneHotEncoder(), {selected!r}), "
            'remainder="passthrough") in a pipeline, or give the model an input of '
            'dtype="string", followed by StringLookup or TextVectorization.'
        )
    whole = np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all()
    if not whole:
        numbers = numbers.astype(keras.config.floatx())
    return numbers.reshape(array.shape)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (ValueError, TypeError):
        return False
    return True
