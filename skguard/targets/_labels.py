"""Targets of classifiers: one class per sample or per step, several, or ordered ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.special
from sklearn.utils.multiclass import check_classification_targets

from skguard.exceptions import InputValueError
from skguard.targets import _class_head as heads
from skguard.targets._base import Target
from skguard.targets._class_head import ClassHead
from skguard.targets._losses import Outputs, Takes
from skguard.targets._outputs import ModelOutput

__all__ = ["Labels", "MultiLabel", "Ordinal", "has_one_column_per_class", "is_indicator"]

_MEANINGS = ("auto", "probabilities", "logits", "margins")


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
        _check_choice("encoding", self.encoding, ("auto", "class_numbers", "one_hot"))
        _check_choice("outputs", self.outputs, _MEANINGS)
        self._has_columns = has_one_column_per_class(y)
        if y.ndim <= 2 and not self._has_columns:
            check_classification_targets(y)
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
        if self._is_soft:
            return self._head.encode_fractions(y)
        if self._has_columns:
            return self._head.encode(self.labels(y))
        y = y.reshape(len(y), *self._steps)
        if self._ignored is None:
            return self._head.encode(_numbers(y, self.classes_))
        ignored = y == self._ignored
        numbers = _numbers(np.where(ignored, self.classes_[0], y), self.classes_)
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
            return self.classes_[numbers].reshape(len(numbers), *self._sample_shape)
        if self._is_soft or self._steps:
            return numbers
        return np.eye(self.n_classes_, dtype=int)[numbers]

    @property
    def keeps_y(self) -> bool:
        """Whether y is passed to the loss as it is: class numbers, or as many columns as units."""
        if self._head.encoding == "class_numbers":
            is_numbered = self.classes_.dtype.kind in "iu" and not self._has_columns
            return is_numbered and np.array_equal(self.classes_, np.arange(self.n_classes_))
        is_one_hot = self._head.encoding == "one_hot"
        return self._has_columns and is_one_hot and self._head.units == self.n_classes_

    def labels(self, y: np.ndarray) -> np.ndarray:
        """Return one label for each sample or step: class numbers for one column per class."""
        if not self._has_columns:
            return y.reshape(len(y), *self._steps)
        return y.argmax(axis=-1)

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
        weights = _weights_of(right, sample_weight)
        if self._ignored is not None:
            weights = weights * (true != self._ignored)
        return float(np.average(right, weights=weights))


class MultiLabel(Target):
    """Any number of classes per sample: y has one column of 0 and 1 per class.

    Parameters
    ----------
    outputs : {"auto", "probabilities", "logits", "margins"}, default="auto"
        What the outputs of the model are. "auto" goes by the loss, its ``from_logits``, and the
        activation of the output layer. Margins are scores around 0.0.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Numbers of the columns.
    n_classes_ : int
        Number of columns.
    """

    _entries: Labels | None = None

    def __init__(self, outputs: str = "auto") -> None:
        self.outputs = outputs

    def fit(self, y: np.ndarray) -> MultiLabel:
        """Learn the number of columns.

        Parameters
        ----------
        y : ndarray of shape (n_samples, ..., n_classes)

        Returns
        -------
        MultiLabel
        """
        _check_choice("outputs", self.outputs, _MEANINGS)
        if y.ndim < 2 or not is_indicator(y):
            raise InputValueError(
                "target='multilabel' needs a y with one column of 0 and 1 per class, got "
                f"{y.ravel()[:3].tolist()} ... of shape {y.shape}."
            )
        self._sample_shape = tuple(y.shape[1:])
        self._meaning = Outputs.PROBABILITIES
        self.n_classes_ = y.shape[-1]
        self.classes_ = np.arange(self.n_classes_)
        return self

    def or_one_label_per_entry(self, y: np.ndarray, classes: Any) -> MultiLabel:
        """Return a target that becomes `Labels` if the model has one more axis than y."""
        return self._copy(_entries=Labels(classes=classes).fit(y))

    def _for_output(self, output: ModelOutput) -> Target:
        bound: MultiLabel = self._copy()
        rank = 0 if output.shape is None else len(output.shape)
        if rank == len(self._sample_shape) + 1 and self._entries is not None:
            return self._entries._for_output(output)
        if output.shape is not None:
            _check_same_width(output, self._sample_shape)
        takes = None if output.loss is None else output.loss.takes
        if takes not in (None, Takes.ELEMENTS, Takes.UNKNOWN):
            raise InputValueError(
                f"y has several labels per sample, but the loss {output.loss_name} takes one "
                'class per sample. Use "binary_crossentropy" with a sigmoid.'
            )
        if output.activation == "softmax":
            raise InputValueError(
                "y has several labels per sample, but the output layer has a softmax, of which "
                'only one unit can be large. Use activation="sigmoid".'
            )
        if self.outputs != "auto":
            bound._meaning = Outputs(self.outputs)
        elif output.shape is not None or output.loss is not None:
            bound._meaning = heads.meaning_of(output)
        if bound._meaning is Outputs.UNKNOWN:
            raise InputValueError(
                "It is not known what the outputs of the model mean to the loss "
                f"{output.loss_name}: end the model with a sigmoid, or pass "
                'target=MultiLabel(outputs="logits"), of skguard.targets.'
            )
        return bound

    @property
    def keeps_y(self) -> bool:
        """Whether y is passed to the loss as it is: always."""
        return True

    def transform(self, y: np.ndarray) -> np.ndarray:
        """Return y as it is."""
        return y

    def inverse_transform(self, outputs: np.ndarray, return_proba: bool = False) -> np.ndarray:
        """Return 0 or 1, or the probability of 1, for each column.

        Parameters
        ----------
        outputs : ndarray of shape (n_samples, ..., n_classes)
        return_proba : bool, default=False

        Returns
        -------
        ndarray of shape (n_samples, ..., n_classes)
        """
        outputs = outputs.reshape(len(outputs), *self._sample_shape)
        if not return_proba:
            return (outputs > heads.threshold_of(self._meaning)).astype(int)
        if self._meaning is Outputs.LOGITS:
            return scipy.special.expit(outputs)
        if self._meaning is not Outputs.PROBABILITIES:
            raise InputValueError(
                f"The outputs of the model are {self._meaning.value}, not probabilities. End the "
                "model with a sigmoid, or use predict."
            )
        return outputs.clip(0, 1)

    def score(
        self, y: np.ndarray, predicted: np.ndarray, sample_weight: Any = None
    ) -> float | None:
        """Return the mean accuracy over all steps and columns; None for two dimensions."""
        if y.ndim <= 2:
            return None
        return float(np.average(y == predicted, weights=_weights_of(y, sample_weight)))


class Ordinal(Target):
    """Ordered classes: unit j of the output is the probability of a class above the j-th.

    The model has one unit less than there are classes, each with a sigmoid, and the loss compares
    them one by one: "binary_crossentropy" [1]_. The predicted class is the first that is not more
    likely to be exceeded than not.

    Parameters
    ----------
    classes : array-like of shape (n_classes,), default=None
        Labels from the lowest to the highest. If None, those of y, sorted; required for text.
    outputs : {"auto", "probabilities", "logits"}, default="auto"
        What the outputs of the model are.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted as scikit-learn sorts them, which are the columns of ``predict_proba``.
    n_classes_ : int
        Number of classes.
    n_outputs_ : int
        Number of units, ``n_classes_ - 1``.

    References
    ----------
    .. [1] Cheng, Wang and Pollastri, "A neural network approach to ordinal regression", 2008.
       https://arxiv.org/abs/0704.1028
    """

    def __init__(self, classes: Any = None, outputs: str = "auto") -> None:
        self.classes = classes
        self.outputs = outputs

    def fit(self, y: np.ndarray) -> Ordinal:
        """Learn the labels.

        Parameters
        ----------
        y : ndarray of shape (n_samples,) or (n_samples, 1)

        Returns
        -------
        Ordinal
        """
        _check_choice("outputs", self.outputs, _MEANINGS[:3])
        if y.shape[1:] not in ((), (1,)):
            raise InputValueError(f"target='ordinal' needs one label per sample, got y{y.shape}.")
        found = np.unique(y)
        if self.classes is None and found.dtype.kind in "OUS":
            raise InputValueError(
                f"target='ordinal' needs the order of the labels {found.tolist()[:10]}. Pass "
                "target=Ordinal(classes=[...]), of skguard.targets, from the lowest to the highest."
            )
        self._ordered = found if self.classes is None else np.asarray(self.classes)
        self._sample_shape = tuple(y.shape[1:])
        self._meaning = Outputs.PROBABILITIES
        self.classes_ = np.sort(self._ordered)
        self.n_classes_ = len(self.classes_)
        self.n_outputs_ = self.n_classes_ - 1
        return self

    def default_loss(self) -> str:
        """Return "binary_crossentropy"."""
        return "binary_crossentropy"

    def _for_output(self, output: ModelOutput) -> Ordinal:
        bound: Ordinal = self._copy()
        if output.shape is not None and output.shape != (self.n_outputs_,):
            raise InputValueError(
                f"target='ordinal' with {self.n_classes_} classes needs a model with "
                f"{self.n_outputs_} units, meta['n_outputs_'], got the output shape {output.shape}."
            )
        if output.loss is not None and output.loss.takes not in (Takes.ELEMENTS, Takes.UNKNOWN):
            raise InputValueError(
                f"target='ordinal' needs a loss that compares units one by one, such as "
                f'"binary_crossentropy", got {output.loss_name}.'
            )
        bound._meaning = (
            heads.meaning_of(output) if self.outputs == "auto" else Outputs(self.outputs)
        )
        if bound._meaning not in (Outputs.PROBABILITIES, Outputs.LOGITS):
            raise InputValueError(
                "target='ordinal' needs outputs that are probabilities or logits. End the model "
                'with a sigmoid, or pass target=Ordinal(outputs="logits"), of skguard.targets.'
            )
        return bound

    def transform(self, y: np.ndarray) -> np.ndarray:
        """Return, for each class but the highest, whether y is above it.

        Parameters
        ----------
        y : ndarray of shape (n_samples,) or (n_samples, 1)

        Returns
        -------
        ndarray of float of shape (n_samples, n_classes - 1)
        """
        place = np.argsort(self._ordered)[_numbers(y.reshape(-1), self.classes_)]
        return (place[:, np.newaxis] > np.arange(self.n_outputs_)).astype(np.float32)

    def inverse_transform(self, outputs: np.ndarray, return_proba: bool = False) -> np.ndarray:
        """Return labels, or the probability of each class.

        Parameters
        ----------
        outputs : ndarray of shape (n_samples, n_classes - 1)
        return_proba : bool, default=False

        Returns
        -------
        ndarray of the shape of y in ``fit``, or of shape (n_samples, n_classes)
        """
        above = scipy.special.expit(outputs) if self._meaning is Outputs.LOGITS else outputs
        above = np.minimum.accumulate(above, axis=1)  # above a class is above all lower ones
        if not return_proba:
            labels = self._ordered[(above > 0.5).sum(axis=1)]
            return labels.reshape(len(labels), *self._sample_shape)
        edges = np.column_stack([np.ones(len(above)), above, np.zeros(len(above))])
        return (-np.diff(edges, axis=1))[:, np.argsort(self._ordered)].astype(outputs.dtype)

    def labels(self, y: np.ndarray) -> np.ndarray:
        """Return one label per sample."""
        return y.reshape(-1)


def is_indicator(y: np.ndarray) -> bool:
    """Return whether all entries of y are 0 or 1."""
    return y.dtype.kind in "biuf" and bool(np.isin(y, (0, 1)).all())


def has_one_column_per_class(y: np.ndarray) -> bool:
    """Return whether the last axis of y is one-hot, or holds fractions that add up to 1."""
    if y.ndim < 2 or y.shape[-1] < 2 or y.dtype.kind not in "biuf":
        return False
    in_range = y.dtype.kind == "b" or (y.min() >= 0 and y.max() <= 1)
    return bool(in_range and np.allclose(y.sum(axis=-1, dtype=float), 1.0, atol=1e-5))


def _numbers(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the index of each label in sorted classes."""
    numbers = np.searchsorted(classes, y).clip(max=len(classes) - 1)
    unknown = classes[numbers] != y
    if np.any(unknown):
        found = np.unique(y[unknown]).tolist()
        raise InputValueError(
            f"y has {_named(found)}, previously unseen: not in the classes {_listed(classes)}. "
            "Announce all labels in fit(..., classes=[...])."
        )
    return numbers


def _named(labels: Sequence[Any]) -> str:
    listed = ", ".join(map(repr, labels[:5])) + (", ..." if len(labels) > 5 else "")
    return f"the label {listed}" if len(labels) == 1 else f"the labels {listed}"


def _listed(classes: np.ndarray) -> str:
    shown = ", ".join(map(repr, classes[:10].tolist()))
    return f"[{shown}, ...]" if len(classes) > 10 else f"[{shown}]"


def _weights_of(entries: np.ndarray, sample_weight: Any) -> np.ndarray:
    """Return one weight for each entry, of weights per sample or per entry."""
    if sample_weight is None:
        return np.ones(entries.shape)
    weights = np.asarray(sample_weight, float)
    return np.broadcast_to(
        weights.reshape(*weights.shape, *(1,) * (entries.ndim - weights.ndim)), entries.shape
    )


def _check_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InputValueError(
            f"{name}={value!r} of target must be one of {', '.join(map(repr, allowed))}."
        )


def _check_same_width(output: ModelOutput, shape: tuple[int, ...]) -> None:
    given = output.shape
    assert given is not None
    if len(given) == len(shape) and all(
        size in (None, width) for size, width in zip(given, shape, strict=True)
    ):
        return
    columns = f"{shape[-1]} {'column' if shape[-1] == 1 else 'columns'}"
    units = given[-1] if given else 1
    raise InputValueError(
        f"y has {columns}, but the output of the model has {units} "
        f"{'unit' if units == 1 else 'units'}: y has the shape {shape} per sample, the output "
        f"{given}. The output layer must have as many units as y has columns: "
        "meta['n_classes_'] of a model function."
    )
