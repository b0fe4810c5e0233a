"""Checks of compiled metrics: whether they can compare y as it is encoded with the outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from skguard._repairs.compile_arguments import compile_arguments
from skguard.exceptions import InputValueError
from skguard.targets._losses import Outputs, Takes
from skguard.targets._metrics import MetricFormat, Reads, metric_format_of

__all__ = ["TargetFormat", "check_metrics"]


@dataclasses.dataclass(frozen=True, slots=True)
class TargetFormat:
    """Form of y that a target encodes to for one output, and meaning of that output.

    Parameters
    ----------
    form : str
        For messages.
    takes : tuple of Takes
        Forms of which a metric may take one.
    outputs : Outputs
    units : int or None
    is_flat : bool
        Whether the output is one number per sample, without an axis.
    name : str or None
        Name of the output, if there are several.
    may_be_classes : bool
        Whether y may be classes or probabilities of them.
    advice : str
        What to pass instead of a metric that takes another form.
    """

    form: str
    takes: tuple[Takes, ...]
    outputs: Outputs
    units: int | None = None
    is_flat: bool = False
    name: str | None = None
    may_be_classes: bool = True
    advice: str = ""


def check_metrics(formats: Sequence[TargetFormat | None], model: keras.Model) -> None:
    """Raise if a metric of Keras would compare y with outputs that mean something else.

    Parameters
    ----------
    formats : sequence of (TargetFormat or None)
        One per output of the model; None for one of which the form is unknown.
    model : keras.Model
        Compiled. One that updates its metrics itself is not checked.

    Raises
    ------
    InputValueError
    """
    passed = compile_arguments(model)
    if passed is None or any(
        getattr(type(model), name) is not getattr(keras.Model, name)
        for name in ("train_step", "compute_metrics")
    ):
        return
    names = [None if one is None else one.name for one in formats]
    for argument in ("metrics", "weighted_metrics"):
        for format_, metrics in zip(formats, _per_output(passed.get(argument), names), strict=True):
            if format_ is not None:
                for metric in metrics:
                    _check(metric, format_)


def _per_output(metrics: Any, names: Sequence[str | None]) -> Iterator[list[Any]]:
    """Yield the metrics of each output, as Keras assigns them; none where that is unknown."""
    if len(names) == 1:
        yield keras.tree.flatten(metrics)
        return
    for i, name in enumerate(names):
        if isinstance(metrics, list | tuple) and len(metrics) == len(names):
            yield keras.tree.flatten(metrics[i])
        else:
            yield keras.tree.flatten(metrics.get(name)) if isinstance(metrics, Mapping) else []


def _check(metric: Any, target: TargetFormat) -> None:
    if metric is None:
        return
    if isinstance(metric, str) and metric.lower() in ("accuracy", "acc"):
        _check_accuracy(metric, target)
        return
    found = metric_format_of(metric)
    if not found.is_known:
        return
    of_output = "" if target.name is None else f" of the output {target.name!r}"
    which = f"The metric {metric if isinstance(metric, str) else found.name}{of_output}"
    if not target.may_be_classes and found.reads is not Reads.VALUES:
        raise InputValueError(f"{which} is for classes, but y has {_NUMBERS}. {target.advice}")
    if found.takes not in target.takes:
        raise InputValueError(
            f"{which} takes {found.takes.value}, but y is encoded as {target.form}. "
            f"{_advice_on_form(found, target)}"
        )
    if found.reads is Reads.CLASSES and target.outputs is not Outputs.UNKNOWN:
        raise InputValueError(
            f"{which} compares y with predicted classes, but the outputs of the model are "
            f"{target.outputs.value}. {_advice_on_classes(found, target)}"
        )
    advice = _advice_on_outputs(found, target)
    if advice:
        needed = "logits" if found.from_logits else "probabilities"
        raise InputValueError(
            f"{which} takes {needed}, but the outputs of the model are {target.outputs.value}. "
            f"{advice}"
        )


def _check_accuracy(metric: str, target: TargetFormat) -> None:
    """Raise if the metric that Keras chooses for "accuracy" is not the accuracy."""
    if target.units is None:
        return
    if not target.may_be_classes:
        raise InputValueError(
            f'The metric "{metric}" is for classes, but y has {_NUMBERS}. {target.advice}'
        )
    below = target.outputs in (Outputs.LOGITS, Outputs.MARGINS)
    if target.units == 1 and (below or target.is_flat):
        reason = (
            f"compares outputs with 0.5, but the outputs of the model are {target.outputs.value}"
            if below
            else "takes an output without an axis for one column per class"
        )
        raise InputValueError(f'The metric "{metric}" {reason}. Pass {_binary_accuracy(target)}.')
    if target.units > 1 and not {Takes.CLASS_NUMBERS, Takes.DISTRIBUTION} & {*target.takes}:
        advice = f"Pass {_binary_accuracy(target)}." if target.takes else target.advice
        raise InputValueError(
            f'The metric "{metric}" compares the largest of several outputs, but y is encoded as '
            f"{target.form}. {advice}"
        )


def _binary_accuracy(target: TargetFormat) -> str:
    below = ", threshold=0.0" if target.outputs in (Outputs.LOGITS, Outputs.MARGINS) else ""
    return f'keras.metrics.BinaryAccuracy(name="accuracy"{below})'


_NUMBERS = "numbers below 0 or above 1"
_COUNTERPARTS = {
    "CategoricalAccuracy": "SparseCategoricalAccuracy",
    "CategoricalCrossentropy": "SparseCategoricalCrossentropy",
    "TopKCategoricalAccuracy": "SparseTopKCategoricalAccuracy",
}


def _advice_on_form(metric: MetricFormat, target: TargetFormat) -> str:
    if not target.takes:
        return target.advice
    name = metric.name
    if name in ("F1Score", "FBetaScore"):
        if Takes.ELEMENTS in target.takes:
            return f"Pass keras.metrics.{name}(threshold=0.5)."
    elif name.endswith("IoU"):
        if Takes.ELEMENTS in target.takes and Takes.DISTRIBUTION not in target.takes:
            return "Pass keras.metrics.BinaryIoU."
        sparse = Takes.CLASS_NUMBERS in target.takes
        return f"Pass keras.metrics.{name.removeprefix('OneHot')}(sparse_y_true={sparse}, ...)."
    elif name in _COUNTERPARTS and Takes.CLASS_NUMBERS in target.takes:
        return _instead(_COUNTERPARTS[name])
    elif name in _COUNTERPARTS.values() and Takes.DISTRIBUTION in target.takes:
        return _instead({v: k for k, v in _COUNTERPARTS.items()}[name])
    elif "Categorical" in name and Takes.ELEMENTS in target.takes:
        return _instead("BinaryCrossentropy" if "Crossentropy" in name else "BinaryAccuracy")
    return target.advice


def _instead(name: str) -> str:
    if name.endswith("Accuracy") and "TopK" not in name and not name.startswith("Binary"):
        return f'Pass "accuracy", or keras.metrics.{name}.'
    return f"Pass keras.metrics.{name}."


def _advice_on_classes(metric: MetricFormat, target: TargetFormat) -> str:
    if metric.name == "Accuracy":
        is_exclusive = {Takes.CLASS_NUMBERS, Takes.DISTRIBUTION} & {*target.takes}
        if is_exclusive or (target.units == 1 and target.outputs is Outputs.PROBABILITIES):
            return 'Pass "accuracy".'
        return f"Pass {_binary_accuracy(target)}."
    return f"Pass keras.metrics.{metric.name}(sparse_y_pred=False, ...)."


def _advice_on_outputs(metric: MetricFormat, target: TargetFormat) -> str | None:
    """Return what to pass instead of a metric that takes other outputs; None if it takes them."""
    if metric.from_logits:
        is_other = target.outputs in (Outputs.PROBABILITIES, Outputs.MARGINS)
        return "Pass it without from_logits=True." if is_other else None
    if target.outputs not in (Outputs.LOGITS, Outputs.MARGINS):
        return None
    if metric.threshold is not None:
        if metric.name in ("F1Score", "FBetaScore"):  # whose threshold must be positive
            return _ACTIVATION
        name = "thresholds" if metric.name in _WITH_THRESHOLDS else "threshold"
        return f"Pass keras.metrics.{metric.name}({name}=0.0)."
    if metric.reads is not Reads.PROBABILITIES:
        return None
    if target.outputs is Outputs.LOGITS and metric.name in _WITH_LOGITS:
        return f"Pass keras.metrics.{metric.name}(from_logits=True)."
    return _ACTIVATION


_ACTIVATION = (
    'End the model with a sigmoid or softmax, or score the validation set: scoring="roc_auc", for '
    "instance."
)
_WITH_LOGITS = (
    "AUC",
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "SparseCategoricalCrossentropy",
)
_WITH_THRESHOLDS = (
    "FalseNegatives",
    "FalsePositives",
    "Precision",
    "Recall",
    "TrueNegatives",
    "TruePositives",
)
