"""Validation sets: the samples of a fit's own training data that are set aside.

A rule says which samples to train on and which to validate with. Every rule, built in or
user-defined, has the interface of a scikit-learn splitter: ``split(X, y, groups)`` yields pairs
of index arrays, of which a fit takes the first. A new built-in rule is one class here, named in
`choose_rule`.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import itertools
import math
import numbers
import reprlib
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from sklearn.model_selection import TimeSeriesSplit, check_cv, train_test_split

from skguard import _engine as engine
from skguard._fit.arrays import Samples
from skguard._repairs import seeding
from skguard._warnings import warn
from skguard.exceptions import InputValueError, ValidationSetWarning

__all__ = [
    "LastSamples",
    "OneSplit",
    "RandomFraction",
    "Split",
    "ValidationRule",
    "as_groups",
    "choose_rule",
    "is_set",
    "problems",
    "split",
]

Split = tuple[np.ndarray, np.ndarray]
"""Indices of the samples to train on, and of those to validate with."""


@runtime_checkable
class ValidationRule(Protocol):
    """Rule that sets samples aside for validation.

    Attributes
    ----------
    label : str
        The parameter that requested the rule and its value, for messages.
    uses_groups : bool or None
        Whether it keeps groups together; None if that is unknown.
    uses_positions : bool
        Whether it names samples by their position in X, so that those of weight 0 count.
    keeps_order : bool
        Whether it takes samples as they come, so that sorted labels leave a class out.
    """

    @property
    def label(self) -> str: ...

    @property
    def uses_groups(self) -> bool | None: ...

    @property
    def uses_positions(self) -> bool: ...

    @property
    def keeps_order(self) -> bool: ...

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]: ...


class _SplitsOnce:
    """Gives a rule the method that scikit-learn requires of a ``cv`` beside ``split``."""

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        return 1


@dataclasses.dataclass(frozen=True)
class LastSamples(_SplitsOnce):
    """The last samples, as ``validation_split`` of ``keras.Model.fit``.

    Parameters
    ----------
    fraction : float
        Fraction of the samples, in (0.0, 1.0).
    """

    fraction: float
    uses_groups = False
    uses_positions = False
    keeps_order = True

    @property
    def label(self) -> str:
        return f"validation_split={self.fraction!r}"

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        n_samples = X.shape[0]
        first = engine.n_training_samples(n_samples, float(self.fraction))
        yield np.arange(first), np.arange(first, n_samples)


@dataclasses.dataclass(frozen=True)
class RandomFraction(_SplitsOnce):
    """Samples drawn at random.

    Parameters
    ----------
    fraction : float
        Fraction of the samples, in (0.0, 1.0).
    stratify : bool
        Whether to keep the proportions of the classes in y, if every class has enough samples.
    """

    fraction: float
    stratify: bool
    uses_groups = False
    uses_positions = False
    keeps_order = False

    @property
    def label(self) -> str:
        return f"validation_fraction={self.fraction!r}"

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        n_samples = X.shape[0]
        indices = np.arange(n_samples)
        n_validation = math.ceil(self.fraction * n_samples)
        labels = _labels(y) if self.stratify else None
        if labels is not None and not self._can_stratify(labels, n_validation):
            labels = None
        if n_validation >= n_samples:
            yield indices[:0], indices
        else:
            train, validation = train_test_split(indices, test_size=n_validation, stratify=labels)
            yield train, validation

    def _can_stratify(self, labels: np.ndarray, n_validation: int) -> bool:
        classes, counts = np.unique(labels, return_counts=True)
        n_smaller = min(n_validation, len(labels) - n_validation)
        if counts.min() >= 2 and n_smaller >= len(classes):
            return True
        rarest = classes.tolist()[counts.argmin()]
        why = f": {rarest!r} has one sample only" if counts.min() < 2 else ""
        warn(
            f"{self.label} of {len(labels)} samples cannot have samples of each of the "
            f"{len(classes)} classes on both sides{why}. The validation set is drawn without "
            "stratification.",
            ValidationSetWarning,
        )
        return False


@dataclasses.dataclass(frozen=True)
class OneSplit(_SplitsOnce):
    """One split of a scikit-learn splitter: the first, or the last of a ``TimeSeriesSplit``.

    Parameters
    ----------
    splitter : int, splitter or iterable of (train, test)
        As ``cv`` in scikit-learn. An int is a number of folds.
    is_classifier : bool
        Whether an int stratifies.
    """

    splitter: Any
    is_classifier: bool
    keeps_order = False

    @property
    def label(self) -> str:
        value = self.splitter
        short = reprlib.repr(value) if isinstance(value, list | tuple) else repr(value)
        return f"validation_split={short}"

    @property
    def uses_positions(self) -> bool:
        return not isinstance(self.splitter, numbers.Real)

    @property
    def uses_groups(self) -> bool | None:
        if isinstance(self.splitter, numbers.Real):
            return False
        if not hasattr(self.splitter, "get_metadata_routing"):
            return None
        requests = self.splitter.get_metadata_routing().split.requests
        return requests.get("groups") is True

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        rule = self.splitter
        if hasattr(rule, "split"):
            rule = copy.deepcopy(rule)  # a RandomState in it would be advanced
        splitter = check_cv(rule, y, classifier=self.is_classifier)
        splits = splitter.split(X, y, groups)
        if isinstance(splitter, TimeSeriesSplit):
            splits = list(splits)[-1:]
        for train, test in itertools.islice(splits, 1):
            yield self._indices(train, X.shape[0]), self._indices(test, X.shape[0])

    def _indices(self, given: Any, n_samples: int) -> np.ndarray:
        indices = np.asarray(given)
        indices = np.flatnonzero(indices) if indices.dtype == bool else indices
        if indices.size and not (indices.min() >= 0 and indices.max() < n_samples):
            raise InputValueError(
                f"{self.label} has indices from {indices.min()} to {indices.max()}, which must be "
                f"in [0, {n_samples})."
            )
        return indices.astype(int)


def is_set(validation_split: Any) -> bool:
    """Return whether ``validation_split`` requests a validation set; 0 does not."""
    return validation_split is not None and not (
        isinstance(validation_split, numbers.Real) and validation_split == 0
    )


def choose_rule(
    validation_split: Any, validation_fraction: float | None, is_classifier: bool
) -> ValidationRule | None:
    """Return the rule that the two parameters request, or None."""
    if validation_fraction is not None:
        return RandomFraction(validation_fraction, stratify=is_classifier)
    if not is_set(validation_split):
        return None
    if isinstance(validation_split, ValidationRule):
        return validation_split
    is_fraction = isinstance(validation_split, numbers.Real)
    if is_fraction and not isinstance(validation_split, numbers.Integral):
        return LastSamples(validation_split)
    return OneSplit(validation_split, is_classifier)


def problems(validation_split: Any, validation_fraction: Any) -> list[str]:
    """Return what is wrong with the two parameters, one sentence per problem."""
    found = [_problem_of_split(validation_split), _problem_of_fraction(validation_fraction)]
    if validation_fraction is not None and is_set(validation_split):
        found.append(
            f"validation_fraction={validation_fraction!r} and validation_split="
            f"{validation_split!r} both request a validation set. Pass one: validation_fraction "
            "shuffles and stratifies, validation_split takes the last samples or the split of a "
            "splitter."
        )
    return [problem for problem in found if problem is not None]


def _problem_of_split(value: Any) -> str | None:
    name = f"validation_split={value!r}"
    if isinstance(value, bool | np.bool_):
        return f"{name} must be a fraction of the samples, such as 0.2, or a splitter."
    if isinstance(value, numbers.Integral):
        if value < 0 or value == 1:
            return (
                f"{name} is an int, the number of folds, and must be 2 or more. Pass a float, "
                "such as 0.2, for a fraction of the samples."
            )
    elif isinstance(value, numbers.Real):
        if not 0 <= float(value) < 1:
            return f"{name} must be a fraction of the samples in [0.0, 1.0)."
    elif inspect.isclass(value):
        return f"validation_split={value.__name__} is a class. Pass an object: {value.__name__}()."
    elif isinstance(value, str) or not (
        value is None or hasattr(value, "split") or hasattr(value, "__iter__")
    ):
        return (
            f"{name} must be a fraction of the samples, a number of folds, a scikit-learn "
            "splitter or an iterable of (train, test) indices."
        )
    elif hasattr(value, "__next__"):
        return (
            f"{name} is an iterator, which is exhausted after one fit. Pass a splitter or a list "
            "of (train, test) indices."
        )
    return None


def _problem_of_fraction(value: Any) -> str | None:
    if value is None:
        return None
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if is_number and 0 < value < 1:
        return None
    return (
        f"validation_fraction={value!r} must be a fraction of the samples in (0.0, 1.0), or None."
    )


def split(
    rule: ValidationRule,
    samples: Samples,
    *,
    groups: np.ndarray | None,
    labels: np.ndarray | None,
    seed: int | None,
) -> Split:
    """Split the samples of a fit into those to train on and those to validate with.

    Parameters
    ----------
    rule : ValidationRule
    samples : Samples
        All samples of the fit.
    groups : ndarray of shape (n_samples,) or None
    labels : ndarray of shape (n_samples,) or None
        Labels of a classifier, which replace y: class numbers where y has one column per class.
    seed : int or None
        Seeds everything random, a splitter without ``random_state`` included.

    Returns
    -------
    train, validation : ndarray of int
        Indices of samples.

    Raises
    ------
    InputValueError
        If one side would be empty, the two overlap, or groups would not be kept together.
    """
    _check_groups(rule, groups)
    with seeding.seeded(seed):
        y = samples.y if labels is None else labels
        y = None if y is not None and y.dtype.names else y  # heads of numbers
        sides = next(iter(rule.split(samples.X, y, groups)), None)
    if sides is None:
        raise InputValueError(f"{rule.label} has no split.")
    train, validation = sides
    n_samples = samples.X.shape[0]
    if len(train) == 0 or len(validation) == 0:
        side = "train on" if len(train) == 0 else "validate with"
        raise InputValueError(f"{rule.label} of {n_samples} samples leaves none to {side}.")
    if np.intersect1d(train, validation).size:
        raise InputValueError(f"{rule.label} has samples in both training and validation set.")
    if labels is not None:
        _warn_of_missing_classes(rule, labels, train, validation)
    return train, validation


def _check_groups(rule: ValidationRule, groups: np.ndarray | None) -> None:
    if groups is None and rule.uses_groups:
        raise InputValueError(
            f"{rule.label} needs groups. Pass fit(..., groups=...); in a search or pipeline, "
            "enable metadata routing, sklearn.set_config(enable_metadata_routing=True), and "
            "request them with set_fit_request(groups=True)."
        )
    if groups is not None and rule.uses_groups is False:
        raise InputValueError(
            f"groups were passed, and {rule.label} does not use groups, so that samples of one "
            "group would be on both sides. Pass a splitter that does, such as "
            "validation_split=GroupShuffleSplit(test_size=0.2, random_state=0)."
        )


def _labels(y: np.ndarray | None) -> np.ndarray | None:
    """Return y as one label per sample, or None if it is not."""
    return y.reshape(-1) if y is not None and y.shape[1:] in ((), (1,)) else None


def _warn_of_missing_classes(
    rule: ValidationRule, labels: np.ndarray, train: np.ndarray, validation: np.ndarray
) -> None:
    sides = {"training": train} | ({"validation": validation} if rule.keeps_order else {})
    advice = (
        "validation_split takes the last samples as they come; validation_fraction shuffles and "
        "stratifies."
        if rule.keeps_order
        else "Stratify the split."
    )
    classes = np.unique(labels)
    for name, indices in sides.items():
        missing = np.setdiff1d(classes, labels[indices])
        if missing.size:
            warn(
                f"No sample of {_listed(missing)} is among the {len(indices)} samples of the "
                f"{name} set. {advice}",
                ValidationSetWarning,
            )


def _listed(labels: np.ndarray) -> str:
    shown = ", ".join(repr(label) for label in labels[:5].tolist())
    more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
    return f"class {shown}{more}" if len(labels) == 1 else f"classes {shown}{more}"


def as_groups(groups: Any, n_samples: int) -> np.ndarray | None:
    """Validate ``groups``, one per sample."""
    if groups is None:
        return None
    array = np.asarray(groups)
    if array.shape != (n_samples,):
        raise InputValueError(
            f"groups has shape {array.shape}, expected {(n_samples,)}: one group per sample."
        )
    return array
