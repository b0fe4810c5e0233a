"""Metrics that would compare y with outputs of another meaning are errors; others are right."""

import keras
import numpy as np
import pytest

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard.exceptions import InputValueError
from tests.targets.outputs import dense, two_heads
from tests.targets.test_metrics import FUNCTIONS, made

SETTINGS = {"verbose": 0, "random_state": 0, "batch_size": -1}
N_SAMPLES = 60
NUMBERS = np.random.default_rng(0).integers(3, size=N_SAMPLES)
X = np.random.default_rng(1).normal(size=(N_SAMPLES, 4))
TAGS = np.random.default_rng(2).integers(2, size=(N_SAMPLES, 3))
TAGS[0] = 1
LOGITS = {"from_logits": True}
WEIGHTS = "optimizer__learning_rate"


def flat_output():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(inputs)[:, 0])


KINDS = {
    "numbers": (dense(3, "softmax"), "sparse_categorical_crossentropy", NUMBERS, None),
    "numbers_logits": (
        dense(3),
        keras.losses.SparseCategoricalCrossentropy(**LOGITS),
        NUMBERS,
        None,
    ),
    "text": (
        dense(3, "softmax"),
        "sparse_categorical_crossentropy",
        np.array(["a", "b", "c"])[NUMBERS],
        None,
    ),
    "labels_as_columns": (dense(3, "softmax"), "categorical_crossentropy", NUMBERS, None),
    "columns": (dense(3, "softmax"), "categorical_crossentropy", np.eye(3)[NUMBERS], None),
    "columns_logits": (
        dense(3),
        keras.losses.CategoricalCrossentropy(**LOGITS),
        np.eye(3)[NUMBERS],
        None,
    ),
    "one_unit": (dense(1, "sigmoid"), "binary_crossentropy", NUMBERS % 2, None),
    "one_unit_logits": (dense(1), keras.losses.BinaryCrossentropy(**LOGITS), NUMBERS % 2, None),
    "one_unit_margins": (dense(1, "tanh"), "hinge", NUMBERS % 2, None),
    "flat": (flat_output, "binary_crossentropy", NUMBERS % 2, None),
    "tags": (dense(3, "sigmoid"), "binary_crossentropy", TAGS, None),
    "tags_logits": (dense(3), keras.losses.BinaryCrossentropy(**LOGITS), TAGS, None),
    "ordinal": (dense(2, "sigmoid"), None, NUMBERS, "ordinal"),
}
ACCURACIES = {
    "accuracy": lambda: "accuracy",
    "acc": lambda: "acc",
    "Accuracy": lambda: keras.metrics.Accuracy(),
    "binary": lambda: keras.metrics.BinaryAccuracy(),
    "binary_function": lambda: keras.metrics.binary_accuracy,
    "zero_threshold": lambda: keras.metrics.BinaryAccuracy(threshold=0.0),
    "categorical": lambda: "categorical_accuracy",
    "sparse": lambda: keras.metrics.SparseCategoricalAccuracy(),
}


def classifier(kind, metric, **settings):
    build, loss, y, target = KINDS[kind]
    settings = {"metrics": [metric], "optimizer": "sgd", **SETTINGS, **settings}
    return GuardedKerasClassifier(build, loss=loss, target=target, **settings), y


def accuracy_of(estimator, y):
    """Return the fraction of entries of y, or of the encoded y, that are predicted."""
    encoded = estimator.target_encoder_.transform(y)
    predicted = estimator.target_encoder_.transform(estimator.predict(X))
    if keras.ops.ndim(encoded) < 2 or encoded.shape[-1] == 1 or estimator.target == "ordinal":
        return np.mean(encoded == predicted)
    exclusive = np.ndim(y) == 1 or np.all(np.sum(y, axis=-1) == 1)
    return np.mean((encoded == predicted).all(axis=-1) if exclusive else encoded == predicted)


def logged_by_keras(fitted, y, metric):
    """Return the metric of a fitted model in plain Keras, and None if that cannot compute it."""
    model = keras.models.clone_model(fitted.model_)
    model.compile("sgd", fitted.model_.loss, metrics=[metric])
    model.set_weights(fitted.model_.get_weights())
    try:
        return model.evaluate(
            X, fitted.target_encoder_.transform(y), N_SAMPLES, verbose=0, return_dict=True
        ).popitem()[1]
    except ValueError:
        return None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ACCURACIES)
def test_a_logged_accuracy_is_the_accuracy_or_an_error_before_training(kind, name):
    if name == "zero_threshold" and "logits" not in kind and "margins" not in kind:
        pytest.skip("a threshold of 0.0 is the choice of the user")
    if kind == "ordinal" and name.startswith("binary"):
        pytest.skip("the accuracy of outputs of which predictions make an order")
    if kind.startswith(("columns", "labels_as")) and name.startswith(("binary", "zero")):
        pytest.skip("the accuracy of each column, of which one-hot columns are not independent")
    metric = ACCURACIES[name]()
    silent, y = classifier(kind, None, metrics=None, **{WEIGHTS: 0.0})
    silent.fit(X, y)
    expected = accuracy_of(silent, y)
    estimator, y = classifier(kind, metric, **{WEIGHTS: 0.0})
    try:
        estimator.fit(X, y)
    except InputValueError as error:
        advice = str(error)
        by_keras = logged_by_keras(silent, y, ACCURACIES[name]())
        assert "Pass " in advice
        assert by_keras is None or by_keras != pytest.approx(expected)
    else:
        logged = next(v for k, v in estimator.history_.items() if k.endswith(("accuracy", "acc")))
        assert logged == [pytest.approx(expected)]


FORMS = {
    "numbers": {"sparse": True, "columns": False, "elements": False},
    "columns": {"sparse": False, "columns": True, "elements": True},
    "one_unit": {"sparse": False, "columns": False, "elements": True},
    "tags": {"sparse": False, "columns": False, "elements": True},
    "ordinal": {"sparse": False, "columns": False, "elements": True},
}
OF_FORM = {
    "sparse": [
        "sparse_categorical_accuracy",
        keras.metrics.sparse_categorical_crossentropy,
        keras.metrics.SparseTopKCategoricalAccuracy(2),
        keras.metrics.MeanIoU(3, sparse_y_pred=False),
    ],
    "columns": [
        "categorical_crossentropy",
        keras.metrics.TopKCategoricalAccuracy(2),
        keras.metrics.F1Score(),
        keras.metrics.OneHotMeanIoU(3),
        keras.losses.CategoricalFocalCrossentropy(),
    ],
    "elements": [
        keras.metrics.AUC(),
        "binary_crossentropy",
        "mse",
        keras.metrics.Precision(),
        keras.metrics.FBetaScore(threshold=0.5),
        keras.metrics.BinaryIoU(),
        keras.losses.huber,
    ],
}


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize(
    ("form", "metric"),
    [(form, metric) for form, metrics in OF_FORM.items() for metric in metrics],
    ids=lambda value: str(getattr(value, "name", getattr(value, "__name__", value))),
)
def test_a_metric_takes_one_form_of_y(kind, form, metric):
    estimator, y = classifier(kind, metric)
    if FORMS[kind][form]:
        estimator.fit(X, y)
        return
    with pytest.raises(InputValueError, match=r"The metric .* takes .* y is encoded as .*Pass "):
        estimator.fit(X, y)


OF_PROBABILITIES = [
    "AUC",
    "BinaryCrossentropy",
    "BinaryIoU",
    "F1Score",
    "FalseNegatives",
    "Precision",
    "PrecisionAtRecall",
    "Recall",
    "SensitivityAtSpecificity",
]


@pytest.mark.parametrize("kind", ["one_unit_logits", "one_unit_margins", "tags_logits"])
@pytest.mark.parametrize("name", OF_PROBABILITIES)
def test_metrics_of_probabilities_are_not_computed_of_logits_and_margins(kind, name):
    arguments = {"threshold": 0.5} if name == "F1Score" else {}
    estimator, y = classifier(kind, made(name, **arguments))
    with pytest.raises(InputValueError, match=f"{name} takes probabilities, .* (logits|margins)"):
        estimator.fit(X, y)


def test_a_metric_with_the_advised_arguments_has_the_numbers_of_probabilities():
    metrics = [
        made("AUC", name="auc", from_logits=True),
        made("Precision", name="p", thresholds=0.0),
    ]
    logits, y = classifier("one_unit_logits", None, metrics=metrics)
    metrics = [made("AUC", name="auc"), made("Precision", name="p")]
    probabilities, _ = classifier("one_unit", None, metrics=metrics)
    one, other = (estimator.fit(X, y).history_ for estimator in (logits, probabilities))
    for name in ("auc", "p"):
        np.testing.assert_allclose(one[name], other[name], atol=1e-6)


def test_from_logits_of_a_metric_is_not_for_probabilities():
    estimator, y = classifier("one_unit", keras.metrics.AUC(from_logits=True))
    with pytest.raises(InputValueError, match=r"AUC takes logits, .*without from_logits"):
        estimator.fit(X, y)


@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
@pytest.mark.parametrize("name", ["CategoricalAccuracy", "categorical_accuracy"])
def test_metrics_of_a_model_function_that_compiles_are_checked(name, argument):
    def build():
        model = dense(3, "softmax")()
        model.compile("sgd", "sparse_categorical_crossentropy", **{argument: [name]})
        return model

    with pytest.raises(InputValueError, match=f"The metric {name} .*SparseCategoricalAccuracy"):
        GuardedKerasClassifier(build, **SETTINGS).fit(X, NUMBERS)


def test_an_error_about_a_metric_is_not_retried():
    estimator, y = classifier("numbers", "categorical_accuracy", max_retries=3)
    with pytest.raises(InputValueError) as caught:
        estimator.fit(X, y)
    assert len(caught.value.attempts) == 1


def custom(y_true, y_pred):
    return keras.ops.mean(y_pred)


@pytest.mark.parametrize("kind", KINDS)
def test_a_custom_metric_is_for_its_author_to_judge(kind):
    estimator, y = classifier(kind, custom)
    assert "custom" in estimator.fit(X, y).history_


class UpdatesItsOwnMetrics(keras.Model):
    def __init__(self):
        super().__init__()
        self.last = keras.layers.Dense(3, "softmax")

    def call(self, x):
        return self.last(x)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        y = keras.ops.one_hot(keras.ops.cast(y, "int32"), 3)
        return super().compute_metrics(x, y, y_pred, sample_weight)


def test_metrics_of_a_model_that_computes_them_itself_are_not_checked():
    estimator = GuardedKerasClassifier(
        UpdatesItsOwnMetrics,
        loss="sparse_categorical_crossentropy",
        metrics=["categorical_accuracy"],
        **SETTINGS,
    )
    estimator.fit(X, NUMBERS)


NUMBERS_OUT_OF_RANGE = X[:, 0] * 10


@pytest.mark.parametrize("metric", ["accuracy", "AUC", keras.metrics.BinaryAccuracy()])
def test_metrics_of_classes_are_not_for_numbers(metric):
    estimator = GuardedKerasRegressor(dense(1), loss="mse", metrics=[metric], **SETTINGS)
    with pytest.raises(InputValueError, match=r"is for classes.*GuardedKerasClassifier"):
        estimator.fit(X, NUMBERS_OUT_OF_RANGE)
    estimator.fit(X, NUMBERS % 2)


@pytest.mark.parametrize(
    "name", sorted({*FUNCTIONS} & {*dir(keras.losses)} - {"kl_divergence", "huber"})
)
def test_losses_as_metrics_of_numbers_are_as_before(name):
    is_error = {"categorical", "crossentropy"} & {*name.split("_")} and name != "categorical_hinge"
    metric = getattr(keras.metrics, name)
    estimator = GuardedKerasRegressor(dense(1), loss="mse", metrics=[metric], **SETTINGS)
    if not is_error:
        estimator.fit(X, NUMBERS_OUT_OF_RANGE)
        return
    with pytest.raises(InputValueError, match="is for classes"):
        estimator.fit(X, NUMBERS_OUT_OF_RANGE)


@pytest.mark.parametrize("target", ["quantiles", "mean_and_deviation"])
@pytest.mark.parametrize("metric", ["mae", "accuracy", "r2_score"])
def test_no_metric_of_keras_compares_one_number_with_several_units(target, metric):
    def loss(y, p):
        return keras.ops.mean(keras.ops.square(y - p), axis=-1)

    estimator = GuardedKerasRegressor(
        dense(2), loss=loss, target=target, metrics=[metric], **SETTINGS
    )
    with pytest.raises(InputValueError, match=r"one number for .* units.*function of your own"):
        estimator.fit(X, X[:, 0])


LAYERS = (
    lambda: keras.layers.Dense(3, "softmax", name="kind"),
    lambda: keras.layers.Dense(1, name="size"),
)
LOSSES = {"kind": "sparse_categorical_crossentropy", "size": "mse"}
Y = {"kind": NUMBERS, "size": X[:, 0]}


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize(
    ("metrics", "wrong"),
    [
        ({"kind": "accuracy", "size": ["mae", "mse"]}, None),
        ([["accuracy"], ["mae"]], None),
        (
            {"kind": ["accuracy", "categorical_accuracy"]},
            "CategoricalAccuracy of .* 'kind'",
        ),
        ({"size": "accuracy"}, '"accuracy" is for classes'),
        ([["mae"], ["mae"]], "(mae|MeanAbsoluteError) of the output 'kind'"),
    ],
)
def test_metrics_of_several_outputs_are_checked_against_their_own(as_dict, metrics, wrong):
    if as_dict and isinstance(metrics, list):
        pytest.skip("Keras assigns lists to lists")
    estimator = GuardedKerasClassifier(
        two_heads(*LAYERS, as_dict=as_dict),
        loss=LOSSES,
        target={"kind": "labels", "size": "values"},
        metrics=metrics,
        **SETTINGS,
    )
    if wrong is None:
        estimator.fit(X, Y)
        return
    with pytest.raises(InputValueError, match=wrong):
        estimator.fit(X, Y)
