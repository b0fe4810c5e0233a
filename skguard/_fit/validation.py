"""How a fit sets rows aside to validate with, always from its own training rows."""

from __future__ import annotations

import copy
import inspect
import math
import numbers
import reprlib
import warnings
from typing import Any

import numpy as np
from sklearn.model_selection import TimeSeriesSplit, check_cv, train_test_split

from skguard._fit.arrays import TrainingData
from skguard._repairs import seeding
from skguard.exceptions import ValidationSetWarning

__all__ = ["check_rule", "is_set", "names_rows", "split"]


def is_set(validation_split: Any) -> bool:
    """Whether ``validation_split`` asks for rows at all; 0 does not."""
    return validation_split is not None and not (
        isinstance(validation_split, numbers.Real) and validation_split == 0
    )


def names_rows(validation_split: Any) -> bool:
    """Whether it says of each row where it goes, and not how many rows are held out."""
    return is_set(validation_split) and not isinstance(validation_split, numbers.Real)


def check_rule(validation_split: Any, validation_fraction: Any) -> list[str]:
    """What is wrong with the two parameters, a sentence each."""
    problems = []
    rule = validation_split
    if isinstance(rule, bool | np.bool_):
        problems.append(f"validation_split={rule!r} is no share of the rows. Give 0.2, say.")
    elif isinstance(rule, numbers.Integral):
        if rule < 0 or rule == 1:
            problems.append(
                f"validation_split={rule!r} is an int, which means one fold of so many: give 2 or "
                "more, or a share of the rows such as 0.2."
            )
    elif isinstance(rule, numbers.Real):
        if not 0 <= float(rule) < 1:
            problems.append(
                f"validation_split={rule!r} is no share of the rows. Give 0.0 or more, and less "
                "than 1.0."
            )
    elif isinstance(rule, str) or not (
        rule is None or hasattr(rule, "split") or hasattr(rule, "__iter__")
    ):
        problems.append(
            f"validation_split={rule!r} is neither a share of the rows, a number of folds nor a "
            "scikit-learn splitter."
        )
    elif inspect.isclass(rule):
        problems.append(
            f"validation_split={rule.__name__} is a class. Give an object: {rule.__name__}()."
        )
    elif hasattr(rule, "__next__"):
        problems.append(
            f"validation_split={rule!r} is an iterator, which is empty after one fit. Give a "
            "splitter or a list of (train, test) indices."
        )
    fraction = validation_fraction
    if fraction is not None:
        is_number = isinstance(fraction, numbers.Real) and not isinstance(fraction, bool)
        if not is_number or not 0 < fraction < 1:
            problems.append(
                f"validation_fraction={fraction!r} is no share of the rows. Give a float between "
                "0.0 and 1.0, or None."
            )
        if is_set(rule):
            problems.append(
                f"validation_fraction={fraction!r} and validation_split={rule!r} both hold rows "
                "out. Give one: validation_fraction shuffles and stratifies, validation_split "
                "takes the last rows or what a splitter says."
            )
    return problems


def split(
    data: TrainingData,
    *,
    validation_split: Any,
    validation_fraction: float | None,
    groups: Any,
    is_classifier: bool,
    seed: int | None,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Which rows to train on, and which to hold out.

    Parameters
    ----------
    data : TrainingData
        All rows of the fit.
    validation_split : float, int, splitter or iterable of (train, test)
        A float holds out the last rows, as Keras does; an int one fold of so many, stratified
        for classifiers; a splitter its first split, ``TimeSeriesSplit`` its last.
    validation_fraction : float or None
        Rows drawn at random, stratified for classifiers.
    groups : array-like of shape (n_samples,) or None
        For the splitter.
    is_classifier : bool
    seed : int or None
        For everything that is random, a splitter without a ``random_state`` included.

    Returns
    -------
    tuple of two ndarrays of int, or None
        None where nothing is held out.

    Raises
    ------
    ValueError
        If one side would have no row or they overlap, or groups would not be respected.
    """
    if not is_set(validation_split) and validation_fraction is None:
        return None
    takes_last_rows = validation_fraction is None and _is_share(validation_split)
    looks_at_groups = _looks_at_groups(validation_split) if validation_fraction is None else False
    if groups is None and looks_at_groups:
        raise ValueError(
            f"validation_split={validation_split!r} needs groups. Give fit(..., groups=...); in a "
            "search or pipeline, switch on metadata routing, "
            "sklearn.set_config(enable_metadata_routing=True), and ask for them with "
            "set_fit_request(groups=True)."
        )
    if groups is not None and looks_at_groups is False:
        name = "validation_split" if validation_fraction is None else "validation_fraction"
        value = validation_split if validation_fraction is None else validation_fraction
        raise ValueError(
            f"groups were given, and {name}={value!r} does not look at groups, so that one would "
            "be on both sides. Pass a splitter that does, such as "
            "validation_split=GroupShuffleSplit(test_size=0.2, random_state=0)."
        )
    with seeding.seeded(seed):
        if validation_fraction is not None:
            sides = _draw(data, validation_fraction, is_classifier)
            _check(*sides, data, f"validation_fraction={validation_fraction!r}")
        else:
            if takes_last_rows:
                sides = _last_rows(data.X.shape[0], float(validation_split))
            else:
                sides = _one_split(data, validation_split, groups, is_classifier)
            _check(*sides, data, f"validation_split={_short(validation_split)}")
    if is_classifier:
        _warn_of_missing_classes(*sides, data.y, of_both=takes_last_rows)
    return sides


def _looks_at_groups(rule: Any) -> bool | None:
    """Whether a rule respects groups; None where it does not tell."""
    if isinstance(rule, numbers.Real):
        return False
    if not hasattr(rule, "get_metadata_routing"):
        return None
    return rule.get_metadata_routing().split.requests.get("groups") is True


def _is_share(rule: Any) -> bool:
    return isinstance(rule, numbers.Real) and not isinstance(rule, numbers.Integral)


def _last_rows(n_rows: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    at = math.floor(n_rows * (1.0 - share))  # as Keras computes it
    return np.arange(at), np.arange(at, n_rows)


def _one_split(
    data: TrainingData, rule: Any, groups: Any, is_classifier: bool
) -> tuple[np.ndarray, np.ndarray]:
    if hasattr(rule, "split"):
        rule = copy.deepcopy(rule)  # a RandomState in it would move on
    splitter = check_cv(rule, data.y, classifier=is_classifier)
    splits = iter(splitter.split(data.X, data.y, groups))
    if isinstance(splitter, TimeSeriesSplit):
        splits = iter(list(splits)[-1:])
    split = next(splits, None)
    if split is None:
        raise ValueError(f"validation_split={_short(rule)} has no split.")
    sides = []
    for rows in split:
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        if rows.size and not (rows.min() >= 0 and rows.max() < data.X.shape[0]):
            raise ValueError(
                f"validation_split={_short(rule)} names rows from {rows.min()} to {rows.max()}, "
                f"and there are {data.X.shape[0]}, counted from 0."
            )
        sides.append(rows.astype(int))
    return sides[0], sides[1]


def _short(value: Any) -> str:
    return reprlib.repr(value) if isinstance(value, list | tuple) else repr(value)


def _draw(
    data: TrainingData, fraction: float, is_classifier: bool
) -> tuple[np.ndarray, np.ndarray]:
    n_rows = data.X.shape[0]
    rows = np.arange(n_rows)
    n_held_out = math.ceil(fraction * n_rows)
    labels = None
    if is_classifier and data.y is not None and data.y.shape[1:] in ((), (1,)):
        labels = data.y.reshape(-1)
        classes, counts = np.unique(labels, return_counts=True)
        if counts.min() < 2 or min(n_held_out, n_rows - n_held_out) < len(classes):
            rarest = classes.tolist()[counts.argmin()]
            why = f": {rarest!r} has one row only" if counts.min() < 2 else ""
            warnings.warn(
                f"validation_fraction={fraction!r} of {n_rows} rows cannot have rows of each of "
                f"the {len(classes)} classes on both sides{why}. The rows that are held out are "
                "drawn without regard to the classes.",
                ValidationSetWarning,
                stacklevel=2,
            )
            labels = None
    if n_held_out >= n_rows:
        return rows[:0], rows
    train, held_out = train_test_split(rows, test_size=n_held_out, stratify=labels)
    return train, held_out


def _check(train: np.ndarray, held_out: np.ndarray, data: TrainingData, rule: str) -> None:
    n_rows = data.X.shape[0]
    if len(train) == 0 or len(held_out) == 0:
        side = "train on" if len(train) == 0 else "hold out"
        raise ValueError(f"{rule} of {n_rows} rows leaves none to {side}.")
    if np.intersect1d(train, held_out).size:
        raise ValueError(f"{rule} gives rows both to train on and to hold out.")


def _warn_of_missing_classes(
    train: np.ndarray, held_out: np.ndarray, y: np.ndarray, of_both: bool
) -> None:
    if y is None or y.shape[1:] not in ((), (1,)):
        return
    classes = np.unique(y)
    parts = {"to train on": train} | ({"held out": held_out} if of_both else {})
    for name, rows in parts.items():
        missing = np.setdiff1d(classes, y[rows])
        if missing.size:
            advice = (
                "validation_split takes the last rows as they come; validation_fraction shuffles "
                "and stratifies."
                if of_both
                else "Stratify the split."
            )
            warnings.warn(
                f"No row of {_listed(missing)} is among the {len(rows)} rows {name}. {advice}",
                ValidationSetWarning,
                stacklevel=2,
            )


def _listed(labels: np.ndarray) -> str:
    shown = ", ".join(repr(label) for label in labels[:5].tolist())
    more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
    return f"class {shown}{more}" if len(labels) == 1 else f"classes {shown}{more}"
