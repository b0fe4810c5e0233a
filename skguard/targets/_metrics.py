"""Formats of the metrics of Keras: the form of y that each takes, and what it reads in outputs."""

from __future__ import annotations

import dataclasses
import enum
import functools
from typing import Any

import keras
import numpy as np

from skguard.targets._losses import LOSSES, Outputs, Takes, format_of

__all__ = ["METRICS", "MetricFormat", "Reads", "metric_format_of"]


class Reads(enum.Enum):
    """Values that a metric reads in the outputs of a model."""

    LARGEST = "the largest output"
    """Whatever the scale of the outputs."""
    THRESHOLD = "outputs above a threshold"
    """Outputs speak for their class above a threshold: 0.5, unless it is an argument."""
    PROBABILITIES = "probabilities"
    """Or logits, if the metric has ``from_logits=True``."""
    CLASSES = "predicted classes"
    """Which no output of a model is."""
    VALUES = "values"
    """Outputs as they are."""


@dataclasses.dataclass(frozen=True, slots=True)
class MetricFormat:
    """Form of y that a metric takes, and what it reads in outputs.

    Parameters
    ----------
    name : str
        Name of the class in ``keras.metrics``, or of the function in ``keras.losses``; for a
        metric that is not of Keras, for messages only.
    takes : Takes
        ``UNKNOWN`` for a metric that is not of Keras.
    reads : Reads
    threshold : float or None
        None without a threshold, and where the user has passed another one than 0.5.
    from_logits : bool
    """

    name: str
    takes: Takes
    reads: Reads = Reads.VALUES
    threshold: float | None = None
    from_logits: bool = False

    @property
    def is_known(self) -> bool:
        """Whether it is known what the metric takes."""
        return self.takes in (Takes.CLASS_NUMBERS, Takes.DISTRIBUTION, Takes.ELEMENTS)


# By the name of the class. A function has the same name in snake case.
METRICS: dict[str, tuple[Takes, Reads]] = {
    "AUC": (Takes.ELEMENTS, Reads.PROBABILITIES),
    "Accuracy": (Takes.ELEMENTS, Reads.CLASSES),
    "BinaryAccuracy": (Takes.ELEMENTS, Reads.THRESHOLD),
    "BinaryCrossentropy": (Takes.ELEMENTS, Reads.PROBABILITIES),
    "BinaryIoU": (Takes.ELEMENTS, Reads.THRESHOLD),
    "CategoricalAccuracy": (Takes.DISTRIBUTION, Reads.LARGEST),
    "CategoricalCrossentropy": (Takes.DISTRIBUTION, Reads.PROBABILITIES),
    "CategoricalHinge": (Takes.DISTRIBUTION, Reads.VALUES),
    "ConcordanceCorrelation": (Takes.ELEMENTS, Reads.VALUES),
    "CosineSimilarity": (Takes.ELEMENTS, Reads.VALUES),
    "F1Score": (Takes.ELEMENTS, Reads.THRESHOLD),
    "FBetaScore": (Takes.ELEMENTS, Reads.THRESHOLD),
    "FalseNegatives": (Takes.ELEMENTS, Reads.THRESHOLD),
    "FalsePositives": (Takes.ELEMENTS, Reads.THRESHOLD),
    "Hinge": (Takes.ELEMENTS, Reads.VALUES),
    "IoU": (Takes.CLASS_NUMBERS, Reads.CLASSES),
    "KLDivergence": (Takes.DISTRIBUTION, Reads.PROBABILITIES),
    "LogCoshError": (Takes.ELEMENTS, Reads.VALUES),
    "Mean": (Takes.UNKNOWN, Reads.VALUES),
    "MeanAbsoluteError": (Takes.ELEMENTS, Reads.VALUES),
    "MeanAbsolutePercentageError": (Takes.ELEMENTS, Reads.VALUES),
    "MeanIoU": (Takes.CLASS_NUMBERS, Reads.CLASSES),
    "MeanMetricWrapper": (Takes.UNKNOWN, Reads.VALUES),
    "MeanSquaredError": (Takes.ELEMENTS, Reads.VALUES),
    "MeanSquaredLogarithmicError": (Takes.ELEMENTS, Reads.VALUES),
    "Metric": (Takes.UNKNOWN, Reads.VALUES),
    "OneHotIoU": (Takes.DISTRIBUTION, Reads.LARGEST),
    "OneHotMeanIoU": (Takes.DISTRIBUTION, Reads.LARGEST),
    "PearsonCorrelation": (Takes.ELEMENTS, Reads.VALUES),
    "Poisson": (Takes.ELEMENTS, Reads.VALUES),
    "Precision": (Takes.ELEMENTS, Reads.THRESHOLD),
    "PrecisionAtRecall": (Takes.ELEMENTS, Reads.PROBABILITIES),
    "R2Score": (Takes.ELEMENTS, Reads.VALUES),
    "Recall": (Takes.ELEMENTS, Reads.THRESHOLD),
    "RecallAtPrecision": (Takes.ELEMENTS, Reads.PROBABILITIES),
    "RootMeanSquaredError": (Takes.ELEMENTS, Reads.VALUES),
    "SensitivityAtSpecificity": (Takes.ELEMENTS, Reads.PROBABILITIES),
    "SparseCategoricalAccuracy": (Takes.CLASS_NUMBERS, Reads.LARGEST),
    "SparseCategoricalCrossentropy": (Takes.CLASS_NUMBERS, Reads.PROBABILITIES),
    "SparseTopKCategoricalAccuracy": (Takes.CLASS_NUMBERS, Reads.LARGEST),
    "SpecificityAtSensitivity": (Takes.ELEMENTS, Reads.PROBABILITIES),
    "SquaredHinge": (Takes.ELEMENTS, Reads.VALUES),
    "Sum": (Takes.UNKNOWN, Reads.VALUES),
    "TopKCategoricalAccuracy": (Takes.DISTRIBUTION, Reads.LARGEST),
    "TrueNegatives": (Takes.ELEMENTS, Reads.THRESHOLD),
    "TruePositives": (Takes.ELEMENTS, Reads.THRESHOLD),
}
_DEFAULT_THRESHOLD = 0.5


def metric_format_of(metric: Any) -> MetricFormat:
    """Return what a metric compares.

    Parameters
    ----------
    metric : str, class, Metric, Loss or callable
        As ``keras.Model.compile`` takes one; not "accuracy", of which the form of y decides what
        it is.

    Returns
    -------
    MetricFormat
        Of takes ``UNKNOWN`` for a metric that is not of Keras.
    """
    known = keras.metrics.get(metric) if isinstance(metric, str) else metric
    if isinstance(known, type) and issubclass(known, keras.metrics.Metric):
        try:
            known = known()
        except TypeError:  # required arguments, which Keras reports
            return MetricFormat(known.__name__, Takes.UNKNOWN)
    if isinstance(known, keras.metrics.Metric):
        return _of_object(known)
    return _of_function(known, {})


def _of_object(metric: keras.metrics.Metric) -> MetricFormat:
    for cls in type(metric).__mro__:
        if cls.__name__ not in METRICS or getattr(keras.metrics, cls.__name__, None) is not cls:
            continue
        if type(metric).update_state is not cls.update_state:
            break  # a subclass that computes something else
        if cls is keras.metrics.MeanMetricWrapper:
            # Private attributes, which have these names from Keras 3.8 to 3.15.
            function = getattr(metric, "_fn", None)
            return _of_function(function, getattr(metric, "_fn_kwargs", {}))
        arguments = vars(metric)
        if cls is keras.metrics.AUC:  # whose from_logits is a private attribute
            arguments = arguments | metric.get_config()
        return _of_class(cls.__name__, arguments)
    return MetricFormat(type(metric).__name__, Takes.UNKNOWN)


def _of_function(function: Any, arguments: dict[str, Any]) -> MetricFormat:
    while isinstance(function, functools.partial):
        function, arguments = function.func, function.keywords | arguments
    name = getattr(function, "__name__", "")
    if name and getattr(keras.metrics, name, None) is function:
        cls = _CLASSES.get(name)
        if cls is not None:
            return _of_class(cls, arguments)
    loss = format_of(functools.partial(function, **arguments) if arguments else function)
    if not loss.is_known:
        return MetricFormat(loss.name, Takes.UNKNOWN)
    takes, outputs = LOSSES[loss.name]
    reads = Reads.PROBABILITIES if outputs is Outputs.PROBABILITIES else Reads.VALUES
    return MetricFormat(loss.name, takes, reads, from_logits=loss.outputs is Outputs.LOGITS)


_CLASSES = {
    "kl_divergence": "KLDivergence",
    **{
        name: cls
        for name in dir(keras.metrics)
        if (cls := "".join(part.capitalize() for part in name.split("_"))) in METRICS
        and cls != name
    },
}


def _of_class(name: str, arguments: dict[str, Any]) -> MetricFormat:
    takes, reads = METRICS[name]
    if name in ("F1Score", "FBetaScore") and arguments.get("threshold") is None:
        return MetricFormat(name, Takes.DISTRIBUTION, Reads.LARGEST)
    if arguments.get("top_k") is not None:  # of Precision and Recall
        reads = Reads.LARGEST
    if "sparse_y_true" in arguments and name != "BinaryIoU":
        takes = Takes.CLASS_NUMBERS if arguments["sparse_y_true"] else Takes.DISTRIBUTION
        reads = Reads.CLASSES if arguments["sparse_y_pred"] else Reads.LARGEST
    threshold = None
    if reads is Reads.THRESHOLD:
        given = [arguments.get(key) for key in ("threshold", "init_thresholds")]
        chosen = next((value for value in given if value is not None), _DEFAULT_THRESHOLD)
        is_default = np.array_equal(np.ravel(chosen), [_DEFAULT_THRESHOLD])
        threshold = _DEFAULT_THRESHOLD if is_default else None
    return MetricFormat(name, takes, reads, threshold, arguments.get("from_logits") is True)
