"""Which target an estimator uses: by its parameter ``target``, else by its y."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone

from skguard._suggestions import did_you_mean
from skguard.exceptions import InputValueError
from skguard.targets._base import Target
from skguard.targets._classes import has_one_column_per_class, is_indicator
from skguard.targets._heads import Heads
from skguard.targets._labels import Labels
from skguard.targets._multilabel import MultiLabel
from skguard.targets._ordinal import Ordinal
from skguard.targets._transformed import Transformed, check_transformer
from skguard.targets._values import MeanAndDeviation, Quantiles, Values

__all__ = ["WORDS", "TargetChooser", "default_loss", "has_heads"]

WORDS: dict[str, Callable[[], Target]] = {
    "labels": Labels,
    "class_numbers": lambda: Labels(encoding="class_numbers"),
    "one_hot": lambda: Labels(encoding="one_hot"),
    "probabilities": lambda: Labels(outputs="probabilities"),
    "logits": lambda: Labels(outputs="logits"),
    "margins": lambda: Labels(outputs="margins"),
    "multilabel": MultiLabel,
    "ordinal": Ordinal,
    "values": Values,
    "quantiles": Quantiles,
    "mean_and_deviation": MeanAndDeviation,
}
"""Words that may be passed as ``target``, and what they stand for."""


_OF_NUMBERS = (Values, Quantiles, MeanAndDeviation)
_OF_CLASSES = (Labels, MultiLabel, Ordinal)


class TargetChooser(TransformerMixin, BaseEstimator):
    """Chooses a target when it is fitted.

    Parameters
    ----------
    target : object
        The parameter of the estimator.
    is_classifier : bool
        Whether y holds classes if `target` is None, else numbers.
    classes : array-like or None
        All labels, if they were announced.
    is_regressor : bool
        Whether `target` must be of numbers.
    """

    def __init__(
        self, target: Any, is_classifier: bool, classes: Any = None, is_regressor: bool = False
    ) -> None:
        self.target = target
        self.is_classifier = is_classifier
        self.classes = classes
        self.is_regressor = is_regressor

    def fit(self, y: np.ndarray) -> Target:
        """Return the target that fits, fitted to y.

        Raises
        ------
        InputValueError, InputTypeError
        """
        if has_heads(self.target):
            heads = self.target if isinstance(self.target, Heads) else Heads(self.target)
            return heads.fit(y, self._chosen)
        if self.target is not None:
            chosen = self._chosen(self.target)
            self._check_kind(chosen)
            return self._announced(chosen).fit(y)
        if not self.is_classifier:
            return Values().fit(y)
        if _may_be_multilabel(y):
            return MultiLabel().fit(y).or_one_label_per_entry(y, self.classes)
        return Labels(classes=self.classes).fit(y)

    def _chosen(self, spec: Any) -> Target:
        if isinstance(spec, str):
            if spec not in WORDS:
                words = ", ".join(map(repr, WORDS))
                raise InputValueError(
                    f"target={spec!r} must be one of {words}, an object of skguard.targets, a "
                    f"transformer or (encode, decode).{did_you_mean(spec, WORDS)}"
                )
            return WORDS[spec]()
        if isinstance(spec, Target):
            return clone(spec)
        check_transformer(spec)
        return Transformed(spec, self.is_classifier)

    def _check_kind(self, target: Target) -> None:
        """Raise if a classifier has a target of numbers, or a regressor one of classes."""
        if self.is_classifier and isinstance(target, _OF_NUMBERS):
            kind, estimator = "numbers", "GuardedKerasRegressor"
        elif self.is_regressor and isinstance(target, _OF_CLASSES):
            kind, estimator = "classes", "GuardedKerasClassifier"
        else:
            return
        raise InputValueError(f"target={self.target!r} is for {kind}. Use {estimator}.")

    def _announced(self, target: Target) -> Target:
        """Set the labels that were announced, unless the target has its own."""
        has_classes = "classes" in target.get_params(deep=False)
        if isinstance(target, Ordinal) and np.asarray(self.classes).dtype.kind in "OUS":
            return target  # announced labels are sorted, and their order has a meaning
        if self.classes is not None and has_classes and target.get_params()["classes"] is None:
            target.set_params(classes=self.classes)
        return target


def has_heads(target: Any) -> bool:
    """Return whether a parameter ``target`` has one part per output of the model."""
    return isinstance(target, list | Mapping | Heads)


def heads_of(target: Any) -> Any:
    """Return the list or dict of heads."""
    return target.heads if isinstance(target, Heads) else target


def default_loss(target: Any) -> Any:
    """Return the loss that comes with a parameter ``target``, or None."""
    if isinstance(target, str) and target in WORDS:
        target = WORDS[target]()
    return target.default_loss() if isinstance(target, Target) else None


def _may_be_multilabel(y: np.ndarray) -> bool:
    is_column = y.ndim < 2 or y.shape[-1] < 2
    return not is_column and is_indicator(y) and not has_one_column_per_class(y)
