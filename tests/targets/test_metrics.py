"""The table of metrics has every metric of Keras, found by name, class, object or function."""

import functools
import inspect

import keras
import pytest

from skguard.targets._losses import Takes
from skguard.targets._metrics import METRICS, MetricFormat, Reads, metric_format_of

NOT_METRICS = {"deserialize", "get", "serialize"}
PUBLIC = sorted(n for n in dir(keras.metrics) if not n.startswith("_") and n not in NOT_METRICS)
CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(keras.metrics, name))]
FUNCTIONS = [name for name in PUBLIC if name not in CLASSES]
NOT_COMPARING = {"Mean", "MeanMetricWrapper", "Metric", "Sum"}
REQUIRED = {
    "IoU": {"num_classes": 3, "target_class_ids": [0]},
    "MeanIoU": {"num_classes": 3},
    "OneHotIoU": {"num_classes": 3, "target_class_ids": [0]},
    "OneHotMeanIoU": {"num_classes": 3},
    "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.5},
    "SensitivityAtSpecificity": {"specificity": 0.5},
    "SpecificityAtSensitivity": {"sensitivity": 0.5},
}


def made(name, /, **arguments):
    """Return an object of a class of metrics."""
    return getattr(keras.metrics, name)(**REQUIRED.get(name, {}), **arguments)


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_of_metrics_is_in_the_table(name):
    assert name in METRICS, (
        f"keras.metrics.{name} is not in METRICS of skguard/targets/_metrics.py: add the form of y "
        "that it takes and what it reads in outputs"
    )
    if name not in NOT_COMPARING:
        found = metric_format_of(made(name))
        assert found.is_known
        assert found.name == name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_known_alone_and_as_a_partial_and_wrapped(name):
    function = getattr(keras.metrics, name)
    forms = [
        function,
        functools.partial(function),
        keras.metrics.MeanMetricWrapper(function),
    ]
    found = {metric_format_of(form) for form in forms}
    assert len(found) == 1
    assert found.pop().is_known


def test_the_table_has_nothing_that_keras_never_had():
    introduced_later = {"ConcordanceCorrelation", "PearsonCorrelation"}
    assert METRICS.keys() - set(CLASSES) <= introduced_later


@pytest.mark.parametrize("name", sorted({*CLASSES} - {*REQUIRED} - NOT_COMPARING))
def test_a_class_and_its_name_and_a_subclass_are_one_metric(name):
    cls = getattr(keras.metrics, name)
    forms = [cls, cls(), name, type("Renamed", (cls,), {})()]
    assert len({metric_format_of(form) for form in forms}) == 1


@pytest.mark.parametrize("name", sorted({*CLASSES} - NOT_COMPARING))
def test_a_subclass_that_computes_something_else_is_another_metric(name):
    def update_state(self, y_true, y_pred, sample_weight=None):
        return None

    cls = type(name, (getattr(keras.metrics, name),), {"update_state": update_state})
    assert not metric_format_of(cls(**REQUIRED.get(name, {}))).is_known


def custom(y_true, y_pred):
    return keras.ops.mean(y_pred)


@pytest.mark.parametrize(
    "metric",
    [
        custom,
        functools.partial(custom),
        keras.metrics.MeanMetricWrapper(custom),
        keras.metrics.Mean(),
        keras.metrics.IoU,  # without its arguments
    ],
)
def test_a_custom_metric_takes_something_unknown(metric):
    assert not metric_format_of(metric).is_known


def test_a_custom_function_with_the_name_of_a_metric_is_another_metric():
    def binary_accuracy(y_true, y_pred):
        return keras.ops.mean(y_pred)

    assert not metric_format_of(binary_accuracy).is_known


@pytest.mark.parametrize("name", ["F1Score", "FBetaScore"])
def test_f_scores_take_the_largest_output_unless_they_have_a_threshold(name):
    whole = MetricFormat(name, Takes.DISTRIBUTION, Reads.LARGEST)
    assert metric_format_of(made(name)) == whole
    each = MetricFormat(name, Takes.ELEMENTS, Reads.THRESHOLD, 0.5)
    assert metric_format_of(made(name, threshold=0.5)) == each


@pytest.mark.parametrize("sparse", [False, True])
def test_intersections_take_classes_by_their_arguments(sparse):
    found = metric_format_of(made("IoU", sparse_y_true=sparse, sparse_y_pred=not sparse))
    assert found.takes is (Takes.CLASS_NUMBERS if sparse else Takes.DISTRIBUTION)
    assert found.reads is (Reads.LARGEST if sparse else Reads.CLASSES)


@pytest.mark.parametrize("name", ["BinaryAccuracy", "BinaryIoU", "Precision", "TruePositives"])
def test_another_threshold_than_the_default_is_the_choice_of_the_user(name):
    argument = "threshold" if name.startswith("Binary") else "thresholds"
    assert metric_format_of(made(name)).threshold == 0.5
    assert metric_format_of(made(name, **{argument: 0.0})).threshold is None


@pytest.mark.parametrize(
    "metric",
    [
        keras.metrics.AUC(from_logits=True),
        keras.metrics.BinaryCrossentropy(from_logits=True),
        functools.partial(keras.metrics.binary_crossentropy, from_logits=True),
        keras.losses.CategoricalFocalCrossentropy(from_logits=True),
    ],
)
def test_from_logits_is_found_in_every_form_of_a_metric(metric):
    assert metric_format_of(metric).from_logits
