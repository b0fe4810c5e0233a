"""One output of a model as classes: how class numbers are encoded for it, and it is decoded."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.special

from skguard._warnings import warn
from skguard.exceptions import InputValueError
from skguard.targets import _proof
from skguard.targets._losses import LossFormat, Outputs, Takes
from skguard.targets._metric_checks import TargetFormat
from skguard.targets._outputs import NOT_PROBABILITIES, ModelOutput

__all__ = ["ClassHead", "head_for", "meaning_of", "threshold_of"]

_HOW_TO_CHOOSE = (
    'Pass target=Labels(encoding="class_numbers") or target=Labels(encoding="one_hot"), of '
    "skguard.targets."
)


@dataclasses.dataclass(frozen=True, slots=True)
class ClassHead:
    """Encodes class numbers for one output of a model, and decodes that output.

    Parameters
    ----------
    n_classes : int
    steps : tuple of int
        Shape of the labels of one sample.
    encoding : {"class_numbers", "one_hot", "zero_one", "signed"}
        The last two have one unit, which stands for the second of two classes.
    units : int
        Of one_hot, there may be more than classes.
    meaning : Outputs
    activation : str or None
    is_flat : bool
        Whether the output is one number per sample, without an axis.
    """

    n_classes: int
    steps: tuple[int, ...] = ()
    encoding: str = "class_numbers"
    units: int = 0
    meaning: Outputs = Outputs.PROBABILITIES
    activation: str | None = None
    is_flat: bool = False

    @property
    def has_one_unit(self) -> bool:
        """Whether one unit stands for two classes."""
        return self.encoding in ("zero_one", "signed")

    @property
    def format(self) -> TargetFormat:
        """The form that classes are encoded to, and the meaning of the output."""
        form, takes, advice = _FORMATS[self.encoding]
        units = 1 if self.has_one_unit else self.units
        return TargetFormat(form, takes, self.meaning, units, self.is_flat, advice=advice)

    def encode(self, numbers: np.ndarray) -> np.ndarray:
        """Return class numbers of shape (n_samples, *steps) as the loss takes them."""
        if self.encoding == "class_numbers":
            return numbers.astype(np.float32)
        if self.has_one_unit:
            column = numbers.astype(np.float32)
            column = 2 * column - 1 if self.encoding == "signed" else column
            return column if self.is_flat else column[..., np.newaxis]
        columns = np.zeros((*numbers.shape, max(self.units, self.n_classes)), np.float32)
        np.put_along_axis(columns, numbers[..., np.newaxis], 1.0, axis=-1)
        return columns

    def encode_fractions(self, fractions: np.ndarray) -> np.ndarray:
        """Return one column per class as the loss takes it."""
        if self.encoding == "class_numbers":
            return fractions.astype(np.float32)
        if self.has_one_unit:
            column = fractions[..., 1].astype(np.float32)
            column = 2 * column - 1 if self.encoding == "signed" else column
            return column if self.is_flat else column[..., np.newaxis]
        columns = np.zeros((*fractions.shape[:-1], max(self.units, self.n_classes)), np.float32)
        columns[..., : self.n_classes] = fractions
        return columns

    def numbers(self, outputs: np.ndarray) -> np.ndarray:
        """Return the numbers of the classes that outputs of a model speak for."""
        outputs = self._with_units(outputs)
        if not self.has_one_unit:
            return outputs[..., : self.n_classes].argmax(axis=-1)
        return (outputs[..., 0] > threshold_of(self.meaning)).astype(int)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the probability of each class, of shape (n_samples, *steps, n_classes)."""
        is_rounded = outputs.dtype not in (np.float32, np.float64)
        outputs = self._with_units(outputs)
        if self.meaning is Outputs.LOGITS:
            return self._from_logits(outputs)
        if self.meaning is not Outputs.PROBABILITIES and not self._look_like_probabilities(outputs):
            raise InputValueError(
                f"The outputs of the model are {self.meaning.value}, not probabilities. End the "
                "model with a softmax, or with one unit a sigmoid, or use predict. If they are "
                'logits, pass target="logits".'
            )
        if self.has_one_unit:
            clipped = outputs.clip(0, 1)  # as Keras's losses do
            return np.concatenate([1 - clipped, clipped], axis=-1)
        if self.activation == "softmax" and self.units == self.n_classes and not is_rounded:
            return outputs
        return _normalized(outputs[..., : self.n_classes])

    def decision(self, outputs: np.ndarray) -> np.ndarray:
        """Return one score for the second of two classes, or one score per class."""
        outputs = self._with_units(outputs)
        if self.has_one_unit:
            return outputs[..., 0]
        if self.n_classes == 2:
            return outputs[..., 1] - outputs[..., 0]
        return outputs[..., : self.n_classes]

    def _from_logits(self, outputs: np.ndarray) -> np.ndarray:
        if self.has_one_unit:
            return np.concatenate(
                [scipy.special.expit(-outputs), scipy.special.expit(outputs)], axis=-1
            )
        return scipy.special.softmax(outputs[..., : self.n_classes], axis=-1)

    def _look_like_probabilities(self, outputs: np.ndarray) -> bool:
        """Return whether outputs of unknown meaning can be probabilities."""
        if self.activation is not None or np.any(outputs < 0) or np.any(outputs > 1):
            return False
        return self.has_one_unit or bool(np.allclose(outputs.sum(axis=-1), 1.0, atol=1e-3))

    def _with_units(self, outputs: np.ndarray) -> np.ndarray:
        n_axes = 1 + len(self.steps)
        if outputs.ndim == n_axes and self.has_one_unit:
            outputs = outputs[..., np.newaxis]
        needed = 1 if self.has_one_unit else self.n_classes
        if outputs.ndim != n_axes + 1 or outputs.shape[-1] < needed:
            raise InputValueError(
                f"The model has outputs of shape {outputs.shape}, expected one value for each of "
                f"{self.n_classes} classes on the last of {n_axes + 1} axes."
            )
        return outputs if outputs.dtype == np.float64 else outputs.astype(np.float32, copy=False)


_FORMATS = {
    "class_numbers": (
        "class numbers",
        (Takes.CLASS_NUMBERS,),
        'Pass "accuracy", or use loss="categorical_crossentropy", with which y has one column per '
        "class.",
    ),
    "one_hot": ("one column per class", (Takes.DISTRIBUTION, Takes.ELEMENTS), 'Pass "accuracy".'),
    "zero_one": (
        "0 and 1, for an output of one unit",
        (Takes.ELEMENTS,),
        'Pass "accuracy", or end the model with one unit per class.',
    ),
    "signed": (
        "-1 and 1, for an output of one unit",
        (Takes.ELEMENTS,),
        'Score the validation set instead: scoring="accuracy".',
    ),
}
"""Form, what metrics may take, and advice, by the encoding of classes."""


def threshold_of(meaning: Outputs) -> float:
    """Return the value above which the output of one unit speaks for its class."""
    return 0.0 if meaning in (Outputs.LOGITS, Outputs.MARGINS) else 0.5


def _normalized(outputs: np.ndarray) -> np.ndarray:
    """Return probabilities that add up to 1, as of scikit-learn's OneVsRestClassifier."""
    clipped = np.maximum(outputs, 0)
    sums = clipped.sum(axis=-1, keepdims=True)
    uniform = np.full_like(clipped, 1 / outputs.shape[-1])
    return np.divide(clipped, sums, out=uniform, where=sums > 0)


def head_for(
    output: ModelOutput,
    *,
    steps: tuple[int, ...],
    n_classes: int,
    encoding: str,
    meaning: Outputs | None,
) -> ClassHead:
    """Decide how exclusive classes are encoded for an output, and how it is decoded.

    Parameters
    ----------
    output : ModelOutput
    steps : tuple of int
        Shape of the labels of one sample.
    n_classes : int
    encoding : {"auto", "class_numbers", "one_hot"}
    meaning : Outputs or None
        What the outputs are, if the user has said so.

    Raises
    ------
    InputValueError
        If the loss cannot compare these classes with the output, or that cannot be known.
    """
    _check_axes(output, steps)
    units = output.units
    if units is None:
        return _without_units(output, steps, n_classes, encoding, meaning)
    if units == 1:
        chosen = _encoding_of_one_unit(output, n_classes, encoding)
    else:
        _check_units(output, n_classes, units)
        chosen = _encoding_of_units(output, n_classes, units, encoding)
    if meaning is None:
        meaning = _meaning(output, n_classes, chosen)
    elif meaning is Outputs.LOGITS and output.are_probabilities:
        raise InputValueError(
            f"target says that the outputs are logits, but the model ends with a "
            f"{output.activation}. Leave one of them out."
        )
    else:
        _check_said(output, meaning)
    is_flat = output.shape is not None and len(output.shape) == len(steps)
    return ClassHead(n_classes, steps, chosen, units, meaning, output.activation, is_flat)


def _check_said(output: ModelOutput, meaning: Outputs) -> None:
    """Raise if a loss of Keras compares outputs that are said to be around 0.0 with 0 and 1."""
    loss = output.loss
    if loss is None or not loss.is_known or meaning not in (Outputs.LOGITS, Outputs.MARGINS):
        return
    if loss.outputs is Outputs.PROBABILITIES or (
        loss.outputs is Outputs.VALUES and output.units == 1
    ):
        raise InputValueError(
            f"target says that the outputs are {meaning.value}, around 0.0, but the loss "
            f"{loss.name} compares them with 0 and 1. Use a loss with from_logits=True, or "
            '"hinge" for margins; or leave out target.'
        )


def _check_axes(output: ModelOutput, steps: tuple[int, ...]) -> None:
    if output.shape is None or output.shape == () == steps:
        return
    is_one_deeper = len(output.shape) == len(steps) + 1
    if is_one_deeper and all(
        size in (None, step) for size, step in zip(output.steps, steps, strict=True)
    ):
        return
    labels = f"labels of shape {steps} per sample" if steps else "one label per sample"
    raise InputValueError(
        f"y has {labels}, but the output of the model has the shape {output.shape} per sample. It "
        f"must have the shape {(*steps, 'units')}, with one unit per class."
    )


def _without_units(
    output: ModelOutput,
    steps: tuple[int, ...],
    n_classes: int,
    encoding: str,
    meaning: Outputs | None,
) -> ClassHead:
    """Decide for a model of which the outputs are unknown before it is trained."""
    takes = Takes.CLASS_NUMBERS if output.loss is None else output.loss.takes
    if encoding == "auto":
        if takes not in (Takes.CLASS_NUMBERS, Takes.DISTRIBUTION):
            raise InputValueError(
                f"The outputs of the model are not known before it is trained, and the loss "
                f"{output.loss_name} takes one column per unit. {_HOW_TO_CHOOSE}"
            )
        encoding = "class_numbers" if takes is Takes.CLASS_NUMBERS else "one_hot"
    known = Outputs.PROBABILITIES if output.loss is None else output.loss.outputs
    return ClassHead(n_classes, steps, encoding, n_classes, meaning or known)


def _encoding_of_one_unit(output: ModelOutput, n_classes: int, encoding: str) -> str:
    loss = output.loss
    if n_classes > 2:
        if loss is not None and loss.takes is Takes.ELEMENTS:
            raise InputValueError(
                f"y has {n_classes} classes, and the loss {loss.name} takes two with one unit. "
                'Use "sparse_categorical_crossentropy" with one output unit per class.'
            )
        raise InputValueError(_too_few_units(output, n_classes, 1))
    if output.activation == "softmax":
        raise InputValueError(
            "The output layer has one unit with a softmax, which is always 1. Use "
            f'Dense({n_classes}, "softmax"), or Dense(1, "sigmoid") with "binary_crossentropy".'
        )
    if encoding == "one_hot" or (
        loss is not None and loss.is_known and loss.takes is not Takes.ELEMENTS
    ):
        raise InputValueError(_too_few_units(output, n_classes, 1))
    if loss is None or loss.is_known or encoding == "class_numbers":
        return "zero_one"
    for candidate, levels in (("zero_one", (0.05, 0.95)), ("signed", (-0.9, 0.9))):
        head = ClassHead(n_classes, encoding=candidate, units=1)
        if _is_taken(loss, head, output, n_classes, levels):
            return candidate
    raise InputValueError(
        f"The loss {loss.name} is not one of Keras's, and is not lower where the output is close "
        "to the class, neither for classes encoded as 0 and 1 nor as -1 and 1. Use "
        '"binary_crossentropy", or say how y is encoded: target=(encode, decode), two functions.'
    )


def _too_few_units(output: ModelOutput, n_classes: int, units: int) -> str:
    plural = "unit" if units == 1 else "units"
    ordinal = (
        ' For ordered classes and one unit less than classes, pass target="ordinal".'
        if units == n_classes - 1 and units > 1
        else ""
    )
    return (
        f"y has {n_classes} classes, but the output of the model has {units} {plural}. The loss "
        f"{output.loss_name} needs one unit per class: use meta['n_classes_'] in the model "
        f"function.{ordinal}"
    )


def _check_units(output: ModelOutput, n_classes: int, units: int) -> None:
    if units < n_classes:
        raise InputValueError(_too_few_units(output, n_classes, units))
    takes = None if output.loss is None else output.loss.takes
    if takes in (Takes.EMBEDDINGS, Takes.SEQUENCES):
        raise InputValueError(
            f"The loss {output.loss_name} compares y with {takes.value}: the outputs of the model "
            "do not stand for classes, and cannot be decoded. Say how y is encoded and the "
            "outputs are decoded: target=(encode, decode), two functions."
        )


def _encoding_of_units(output: ModelOutput, n_classes: int, units: int, encoding: str) -> str:
    loss = output.loss
    if loss is None:
        if encoding == "auto":
            raise InputValueError(
                f"The model computes its own loss, of which it is not known what it takes. "
                f"{_HOW_TO_CHOOSE}"
            )
        return encoding
    if loss.is_known:
        known = "class_numbers" if loss.takes is Takes.CLASS_NUMBERS else "one_hot"
        if encoding not in ("auto", known):
            raise InputValueError(
                f"encoding={encoding!r} of target, but the loss {loss.name} takes {known!r}. "
                'Pass encoding="auto".'
            )
        return known
    if encoding != "auto":
        return encoding
    levels = (0.1 / (units - 1), 0.9)
    for candidate in ("one_hot", "class_numbers"):
        head = ClassHead(n_classes, encoding=candidate, units=units)
        if _is_taken(loss, head, output, n_classes, levels):
            return candidate
    raise InputValueError(
        f"The loss {loss.name} is not one of Keras's, and is not lower where the outputs are "
        "close to the class, neither for one column per class nor for class numbers, so that it "
        f"is not known what it takes. {_HOW_TO_CHOOSE}"
    )


def _is_taken(
    loss: LossFormat,
    head: ClassHead,
    output: ModelOutput,
    n_classes: int,
    levels: tuple[float, float],
) -> bool:
    return _proof.is_lower_for_the_true_class(
        _proof.stand_in(loss.loss), head.encode, _trial_shape(output), n_classes, levels
    )


def _trial_shape(output: ModelOutput) -> tuple[int, ...]:
    assert output.units is not None
    return (*(size or 2 for size in output.steps), output.units)


def _meaning(output: ModelOutput, n_classes: int, encoding: str) -> Outputs:
    meaning = meaning_of(output)
    if meaning is not Outputs.UNKNOWN:
        return meaning
    if encoding == "signed":
        return Outputs.MARGINS
    assert output.units is not None
    if output.units > 1:
        if output.loss is not None and output.loss.loss is not None:
            head = ClassHead(n_classes, encoding=encoding, units=output.units)
            shape = _trial_shape(output)
            loss = _proof.stand_in(output.loss.loss)
            if _proof.is_crossentropy_of_logits(loss, head.encode, shape, n_classes):
                return Outputs.LOGITS
        return Outputs.VALUES  # the largest speaks for its class, whatever their scale
    raise InputValueError(
        f"It is not known what the output of the model means to the loss {output.loss_name}: end "
        'the model with a sigmoid, or pass target="probabilities", "logits" or "margins" (scores '
        "around 0.0)."
    )


def meaning_of(output: ModelOutput, activation: str | None = None) -> Outputs:
    """Return what an output of classes means, by its loss and its activation.

    Parameters
    ----------
    output : ModelOutput
    activation : str, default=None
        The activation to advise where one is missing. None advises a softmax for several units.

    Raises
    ------
    InputValueError
        If the loss needs probabilities and the output cannot be one.
    """
    expected = Outputs.UNKNOWN if output.loss is None else output.loss.outputs
    advised = activation or ("sigmoid" if output.units == 1 else "softmax")
    if output.are_probabilities:
        if expected is Outputs.LOGITS:
            warn(
                f"The model ends with a {output.activation}, and the loss {output.loss_name} has "
                "from_logits=True, so that it applies another one. Leave one of them out.",
                UserWarning,
            )
        return Outputs.PROBABILITIES
    if expected is Outputs.PROBABILITIES and output.is_out_of_range:
        raise InputValueError(
            f"The loss {output.loss_name} needs probabilities, but the output {output.name!r} of "
            f'the model has values below 0 or above 1. End the model with activation="{advised}", '
            "or pass the loss as an object with from_logits=True."
        )
    if expected is Outputs.PROBABILITIES and output.activation in NOT_PROBABILITIES:
        raise InputValueError(
            f"The loss {output.loss_name} needs probabilities, but the output layer "
            f"{output.name!r} has the activation {output.activation!r}. Use "
            f'activation="{advised}", or '
            "pass the loss as an object with from_logits=True."
        )
    if expected is Outputs.MARGINS and output.activation is None and output.units == 1:
        return Outputs.UNKNOWN
    return expected
