"""Target of any number of classes per sample."""

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
    is_indicator,
    weights_of,
)
from skguard.targets._labels import Labels
from skguard.targets._losses import Outputs, Takes
from skguard.targets._metric_checks import TargetFormat
from skguard.targets._outputs import ModelOutput

__all__ = ["MultiLabel"]


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
        check_choice("outputs", self.outputs, MEANINGS)
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

    def without_entries(self) -> MultiLabel:
        """Return this target for columns alone, where y is not known as a whole."""
        bound: MultiLabel = self._copy(_entries=None)
        return bound

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
            bound._meaning = heads.meaning_of(output, activation="sigmoid")
        if bound._meaning is Outputs.UNKNOWN:
            raise InputValueError(
                "It is not known what the outputs of the model mean to the loss "
                f"{output.loss_name}: end the model with a sigmoid, or pass "
                'target=MultiLabel(outputs="logits"), of skguard.targets.'
            )
        return bound

    def formats(self) -> list[TargetFormat | None]:
        """Return the form of y for the output of the model."""
        form, advice = "0 and 1 in one column per label", 'Pass "binary_accuracy".'
        takes = (Takes.ELEMENTS,)
        return [TargetFormat(form, takes, self._meaning, self.n_classes_, advice=advice)]

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

    @property
    def has_decision(self) -> bool:
        """Whether outputs are logits or margins."""
        is_plain = len(self._sample_shape) == 1
        return is_plain and self._meaning in (Outputs.LOGITS, Outputs.MARGINS)

    def decision(self, outputs: np.ndarray) -> np.ndarray:
        """Return logits or margins, of shape (n_samples, n_classes)."""
        return outputs.reshape(len(outputs), *self._sample_shape)

    def score(
        self, y: np.ndarray, predicted: np.ndarray, sample_weight: Any = None
    ) -> float | None:
        """Return the mean accuracy over all steps and columns; None for two dimensions."""
        if y.ndim <= 2:
            return None
        return float(np.average(y == predicted, weights=weights_of(y, sample_weight)))


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
