"""Target of ordered classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special

from skguard.exceptions import InputValueError
from skguard.targets import _class_head as heads
from skguard.targets._base import Target
from skguard.targets._classes import (
    MEANINGS,
    check_choice,
    numbers_of,
)
from skguard.targets._losses import Outputs, Takes
from skguard.targets._metric_checks import TargetFormat
from skguard.targets._outputs import ModelOutput

__all__ = ["Ordinal"]


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
        check_choice("outputs", self.outputs, MEANINGS[:3])
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

    @property
    def has_all_classes(self) -> bool:
        """Whether the classes do not depend on which samples were seen."""
        return self.classes is not None

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
        if output.activation == "softmax":
            raise InputValueError(
                "target='ordinal' needs units that are probabilities of their own, but the output "
                'layer has a softmax. Use activation="sigmoid".'
            )
        if self.outputs == "auto":
            bound._meaning = heads.meaning_of(output, activation="sigmoid")
        else:
            bound._meaning = Outputs(self.outputs)
        if bound._meaning not in (Outputs.PROBABILITIES, Outputs.LOGITS):
            raise InputValueError(
                "target='ordinal' needs outputs that are probabilities or logits. End the model "
                'with a sigmoid, or pass target=Ordinal(outputs="logits"), of skguard.targets.'
            )
        return bound

    def formats(self) -> list[TargetFormat | None]:
        """Return the form of y for the output of the model."""
        form = "0 and 1 in one column per class but the highest: whether it is exceeded"
        advice = 'Pass "binary_accuracy", or score the validation set: scoring="accuracy".'
        takes = (Takes.ELEMENTS,)
        return [TargetFormat(form, takes, self._meaning, self.n_outputs_, advice=advice)]

    def transform(self, y: np.ndarray) -> np.ndarray:
        """Return, for each class but the highest, whether y is above it.

        Parameters
        ----------
        y : ndarray of shape (n_samples,) or (n_samples, 1)

        Returns
        -------
        ndarray of float of shape (n_samples, n_classes - 1)
        """
        place = np.argsort(self._ordered)[numbers_of(y.reshape(-1), self.classes_)]
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
