"""Target of one class per sample or per step."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from skguard._warnings import warn
from skguard.exceptions import InputValueError, ValidationSetWarning
from skguard.targets import _class_head as heads
from skguard.targets._base import Target
from skguard.targets._class_head import ClassHead
from skguard.targets._classes import (
    MEANINGS,
    check_choice,
    has_one_column_per_class,
    is_indicator,
    numbers_of,
    weights_of,
)
from skguard.targets._losses import Outputs
from skguard.targets._metric_checks import TargetFormat
from skguard.targets._outputs import ModelOutput

__all__ = ["Labels"]


class Labels(Target):
    """One class per sample, or per step.

    y may hold labels of any kind, or one column per class: one-hot, or fractions that add up to
    1. With more axes, such as time steps, every entry of y is a label.

    Parameters
    ----------
    encoding : {"auto", "class_numbers", "one_hot"}, default="auto"
        What the loss takes. "auto" knows the losses of Keras, and finds out what another loss
        takes by calling it.
    outputs : {"auto", "probabilities", "logits", "margins"}, default="auto"
        What the outputs of the model are. "auto" goes by the loss, its ``from_logits``, and the
        activation of the output layer. Margins are scores around 0.0.
    classes : array-like of shape (n_classes,), default=None
        All labels, if y may lack some.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels; the numbers of the columns if y has one column per class.
    n_classes_ : int
        Number of classes.

    Examples
    --------
    >>> import keras
    >>> from skguard import GuardedKerasClassifier
    >>> from skguard.targets import Labels
    >>> def loss(y, outputs):
    ...     return -keras.ops.sum(y * keras.ops.log_softmax(outputs), axis=-1)
    >>> target = Labels(encoding="one_hot", outputs="logits")
    >>> estimator = GuardedKerasClassifier(loss=loss, target=target)
    """

    def __init__(self, encoding: str = "auto", outputs: str = "auto", classes: Any = None) -> None:
        self.encoding = encoding
        self.outputs = outputs
        self.classes = classes

    def fit(self, y: np.ndarray) -> Labels:
        """Learn the labels.

        Parameters
        ----------
        y : ndarray of shape (n_samples,), or of more dimensions

        Returns
        -------
        Labels
        """
        check_choice("encoding", self.encoding, ("auto", "class_numbers", "one_hot"))
        check_choice("outputs", self.outputs, MEANINGS)
        self._has_columns = has_one_column_per_class(y)
        if y.ndim <= 2 and not self._has_columns:
            check_classification_targets(y)
        if self._has_columns and self.classes is None:
            _warn_of_empty_columns(y)
        self._is_soft = self._has_columns and not is_indicator(y)
        self._sample_shape = tuple(y.shape[1:])
        self._steps = self._sample_shape[: -1 if self._is_column_of_steps else None]
        self._labels = np.unique(y)
        self._ignored: int | None = None
        self._head = ClassHead(n_classes=0)  # encodes class numbers
        self._learn_classes()
        return self

    def _learn_classes(self) -> None:
        announced = None if self.classes is None else np.unique(self.classes)
        if self._has_columns:
            n_columns = self._sample_shape[-1]
            if announced is not None and len(announced) != n_columns:
                raise InputValueError(
                    f"y has {n_columns} columns, one per class, but classes has "
                    f"{len(announced)} labels."
                )
            self.classes_ = np.arange(n_columns)
        else:
            found = self._labels if announced is None else announced
            self.classes_ = found if self._ignored is None else self._without_ignored(found)
        self.n_classes_ = len(self.classes_)

    def _without_ignored(self, found: np.ndarray) -> np.ndarray:
        """Return the classes: all labels but the number that the loss ignores.

        A number that a class is encoded to can be ignored only if it is its own label.
        """
        kept: np.ndarray = found[found != self._ignored]
        if self._ignored not in range(len(kept)):
            return kept
        if np.flatnonzero(found == self._ignored).tolist() == [self._ignored]:
            return found
        raise InputValueError(
            f"The loss ignores the class number ignore_class={self._ignored}, which the label "
            f"{kept.tolist()[self._ignored]!r} would be encoded to. Use a number that is not the "
            "number of a class, such as -1, in the loss and for the entries of y to ignore."
        )

    @property
    def _is_column_of_steps(self) -> bool:
        """Whether the last axis of y does not count steps."""
        return self._has_columns or self._sample_shape[-1:] == (1,)

    def _for_output(self, output: ModelOutput) -> Labels:
        bound: Labels = self._copy()
        rank = None if output.shape is None else len(output.shape)
        if rank == len(self._sample_shape) + 1:  # every entry of y is a label
            bound._has_columns = bound._is_soft = False
            bound._steps = self._sample_shape
        bound._ignored = None if output.loss is None else output.loss.ignored
        bound._learn_classes()
        bound._head = heads.head_for(
            output,
            steps=bound._steps,
            n_classes=bound.n_classes_,
            encoding=self.encoding,
            meaning=None if self.outputs == "auto" else Outputs(self.outputs),
        )
        if bound._is_soft and bound._head.encoding == "class_numbers":
            raise InputValueError(
                f"y has fractions, one column per class, but the loss {output.loss_name} takes "
                'class numbers. Use loss="categorical_crossentropy", or pass y as labels.'
            )
        return bound

    def transform(self, y: np.ndarray) -> np.ndarray:
        """Return y as the loss takes it.

        Parameters
        ----------
        y : ndarray of the dimensions of the y in ``fit``

        Returns
        -------
        ndarray of float
            Class numbers, or one column per unit of the output.

        Raises
        ------
        InputValueError
            If y has labels that were not in ``fit``.
        """
        if self._has_columns:
            self._check_columns(y)
        if self._is_soft:
            return self._head.encode_fractions(y)
        if self._has_columns:
            return self._head.encode(self.labels(y))
        y = self._per_step(y)
        if self._ignored is None:
            return self._head.encode(numbers_of(y, self.classes_))
        ignored = y == self._ignored
        numbers = numbers_of(np.where(ignored, self.classes_[0], y), self.classes_)
        return self._head.encode(np.where(ignored, self._ignored, numbers))

    def inverse_transform(self, outputs: np.ndarray, return_proba: bool = False) -> np.ndarray:
        """Return labels or probabilities for the outputs of a model.

        Parameters
        ----------
        outputs : ndarray of shape (n_samples, ..., n_units)
        return_proba : bool, default=False

        Returns
        -------
        ndarray
            Labels in the form of the y in ``fit``; class numbers for fractions, and for one
            column per class with more than two dimensions. Probabilities have the shape
            ``(n_samples, ..., n_classes)``, in the order of ``classes_``.
        """
        if return_proba:
            return self._head.probabilities(outputs)
        numbers = self._head.numbers(outputs)
        if not self._has_columns:
            labels = self.classes_[numbers]
            return labels[..., np.newaxis] if self._drops_axis else labels
        if self._is_soft or self._steps:
            return numbers
        return np.eye(self.n_classes_, dtype=int)[numbers]

    @property
    def has_decision(self) -> bool:
        """Whether outputs are logits or margins, with one label per sample."""
        return not self._steps and self._head.meaning in (Outputs.LOGITS, Outputs.MARGINS)

    def decision(self, outputs: np.ndarray) -> np.ndarray:
        """Return logits or margins, of shape (n_samples,) or (n_samples, n_classes)."""
        return self._head.decision(outputs)

    @property
    def has_all_classes(self) -> bool:
        """Whether the classes do not depend on which samples were seen."""
        return self._has_columns or self.classes is not None

    @property
    def _drops_axis(self) -> bool:
        """Whether y has a last axis of length 1 that the labels do not have."""
        return len(self._sample_shape) > len(self._steps)

    def _per_step(self, y: np.ndarray) -> np.ndarray:
        return y[..., 0] if self._drops_axis else y

    def _check_columns(self, y: np.ndarray) -> None:
        """Raise if y is not one-hot, or fractions, with as many columns as in ``fit``."""
        width = self._sample_shape[-1]
        if y.shape[-1] != width:
            raise InputValueError(
                f"y has {y.shape[-1]} columns, one per class, but {width} were expected."
            )
        if not has_one_column_per_class(y):
            raise InputValueError(
                "y has samples with no class or with several, but every sample of the y in fit, or "
                'of the first batch, has one. Pass target="multilabel" if several are possible.'
            )

    def formats(self) -> list[TargetFormat | None]:
        """Return the form of y for the output of the model."""
        return [self._head.format]

    @property
    def keeps_y(self) -> bool:
        """Whether y is passed to the loss as it is: class numbers."""
        return (
            self._head.encoding == "class_numbers"
            and not self._has_columns
            and not self._drops_axis
            and self.classes_.dtype.kind in "iu"
            and np.array_equal(self.classes_, np.arange(self.n_classes_))
        )

    def labels(self, y: np.ndarray) -> np.ndarray:
        """Return one label for each sample or step: class numbers for one column per class."""
        return y.argmax(axis=-1) if self._has_columns else self._per_step(y)

    def score(
        self, y: np.ndarray, predicted: np.ndarray, sample_weight: Any = None
    ) -> float | None:
        """Return the mean accuracy over all steps; None for one label per sample."""
        is_plain = not self._steps and not self._is_soft and self._ignored is None
        if is_plain:
            return None
        true = self.labels(y)
        if self._has_columns and predicted.ndim > true.ndim:
            predicted = predicted.argmax(axis=-1)
        right = true == predicted.reshape(true.shape)
        weights = weights_of(right, sample_weight)
        if self._ignored is not None:
            weights = weights * (true != self._ignored)
        return float(np.average(right, weights=weights))


def _warn_of_empty_columns(y: np.ndarray) -> None:
    empty = np.flatnonzero(~y.reshape(-1, y.shape[-1]).any(axis=0)).tolist()
    if empty:
        warn(
            f"No sample of y belongs to column {', '.join(map(str, empty[:5]))}. If this is a fold "
            "of a search: scikit-learn stratifies labels only, and divides a y of several columns "
            "in its order. Pass labels, or cv=KFold(shuffle=True).",
            ValidationSetWarning,
        )
