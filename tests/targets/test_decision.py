"""Logits and margins are a decision function, with which scikit-learn's scorers rank samples."""

import keras
import numpy as np
import pytest
from sklearn.metrics import get_scorer, roc_auc_score
from sklearn.model_selection import cross_val_score

from skguard import GuardedKerasClassifier
from tests.targets.outputs import dense, per_step

SETTINGS = {"verbose": 0, "random_state": 0, "epochs": 3}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
BINARY = (X[:, 0] + RNG.normal(size=60) > 0).astype(int)
THREE = np.digitize(X[:, 1], [-0.5, 0.5])
TAGS = (X[:, :3] > 0).astype(int)
TAGS[0] = 1
LOGITS = {"from_logits": True}
KINDS = {
    "one_unit_of_logits": (dense(1), keras.losses.BinaryCrossentropy(**LOGITS), BINARY),
    "one_unit_of_margins": (dense(1, "tanh"), "hinge", BINARY),
    "text": (dense(1), "squared_hinge", np.array(["a", "b"])[BINARY]),
    "two_units": (dense(2), keras.losses.SparseCategoricalCrossentropy(**LOGITS), BINARY),
    "two_margins": (dense(2), "categorical_hinge", BINARY),
    "three_units": (dense(3), keras.losses.SparseCategoricalCrossentropy(**LOGITS), THREE),
    "three_columns": (dense(3), "categorical_hinge", np.eye(3)[THREE]),
    "more_units": (dense(5), keras.losses.SparseCategoricalCrossentropy(**LOGITS), THREE),
    "tags": (dense(3), keras.losses.BinaryCrossentropy(**LOGITS), TAGS),
}


def fitted(kind):
    build, loss, y = KINDS[kind]
    return GuardedKerasClassifier(build, loss=loss, **SETTINGS).fit(X, y), y


@pytest.mark.parametrize("kind", KINDS)
def test_the_decision_is_that_of_the_outputs_of_keras(kind):
    estimator, _ = fitted(kind)
    outputs = estimator.model_.predict(X, verbose=0)
    expected = {1: lambda: outputs[:, 0], 2: lambda: outputs[:, 1] - outputs[:, 0]}.get(
        outputs.shape[1], lambda: outputs[:, :3]
    )()
    np.testing.assert_allclose(estimator.decision_function(X), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_decision_agrees_with_the_prediction(kind):
    estimator, y = fitted(kind)
    decision, predicted = estimator.decision_function(X), estimator.predict(X)
    if decision.ndim == 1:
        assert np.array_equal(estimator.classes_[(decision > 0).astype(int)], predicted)
    elif kind == "tags":
        assert np.array_equal((decision > 0).astype(int), predicted)
    else:
        numbers = predicted.argmax(axis=1) if np.ndim(y) == 2 else predicted
        assert np.array_equal(decision.argmax(axis=1), numbers)


@pytest.mark.parametrize("kind", ["one_unit_of_margins", "text", "two_margins", "two_units"])
def test_roc_auc_ranks_the_samples_by_the_decision(kind):
    estimator, y = fitted(kind)
    score = get_scorer("roc_auc")(estimator, X, y)
    assert score == roc_auc_score(y, estimator.decision_function(X))
    assert len(cross_val_score(estimator, X, y, scoring="roc_auc", error_score="raise", cv=2)) == 2


def test_roc_auc_is_a_validation_score_of_margins():
    build, loss, y = KINDS["one_unit_of_margins"]
    estimator = GuardedKerasClassifier(
        build, loss=loss, early_stopping=True, scoring="roc_auc", **SETTINGS
    ).fit(X, y)
    assert np.isfinite(estimator.history_["val_roc_auc"]).all()


@pytest.mark.parametrize(
    ("build", "loss", "y"),
    [
        (dense(1, "sigmoid"), "binary_crossentropy", BINARY),
        (dense(3, "softmax"), "sparse_categorical_crossentropy", THREE),
        (dense(3, "sigmoid"), "binary_crossentropy", TAGS),
    ],
)
def test_probabilities_have_no_decision_function(build, loss, y):
    estimator = GuardedKerasClassifier(build, loss=loss, **SETTINGS)
    assert not hasattr(estimator, "decision_function")
    assert not hasattr(estimator.fit(X, y), "decision_function")


def test_one_label_per_step_has_no_decision_function():
    loss = keras.losses.SparseCategoricalCrossentropy(**LOGITS)
    estimator = GuardedKerasClassifier(per_step(3), loss=loss, **SETTINGS)
    steps = RNG.integers(3, size=(20, 5))
    assert not hasattr(estimator.fit(RNG.normal(size=(20, 5, 2)), steps), "decision_function")
