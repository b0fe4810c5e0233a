"""Targets that would be scored wrongly without a word are named before training, or work."""

import keras
import numpy as np
import pytest
from sklearn.model_selection import KFold, cross_val_score

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard.exceptions import InputValueError, ValidationSetWarning
from tests.models import build_classifier

SETTINGS = {"verbose": 0, "random_state": 0}


def without_input(units, activation=None):
    return lambda: keras.Sequential([keras.layers.Dense(units, activation)])


@pytest.mark.parametrize("n_samples", [31, 32, 50])
@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_a_sequential_model_without_an_input_layer_is_for_any_batch_size(n_samples, engine, rng):
    X, y = rng.normal(size=(n_samples, 3)), rng.normal(size=n_samples)
    estimator = GuardedKerasRegressor(without_input(1), loss="mse", engine=engine, **SETTINGS)
    assert estimator.fit(X, y).predict(X[:7]).shape == (7,)
    estimator.initialize(X, y)
    assert estimator.predict(X[:7]).shape == (7,)


def test_a_fold_without_a_column_of_one_hot_targets_is_named(blobs):
    X, y = blobs
    order = np.argsort(y)
    X, y = X[order], np.eye(3)[y[order]]
    estimator = GuardedKerasClassifier(
        build_classifier, loss="categorical_crossentropy", **SETTINGS
    )
    with pytest.warns(ValidationSetWarning, match=r"No sample of y belongs to column 0.*KFold"):
        estimator.fit(X[20:], y[20:])
    shuffled = KFold(3, shuffle=True, random_state=0)
    cross_val_score(estimator, X, y, cv=shuffled, error_score="raise")


def test_an_ordinal_model_with_a_softmax_is_rejected(blobs):
    X, y = blobs
    for activation, match in [
        ("softmax", 'Use activation="sigmoid"'),
        (None, '"sigmoid", or pass'),
    ]:
        estimator = GuardedKerasClassifier(
            without_input(2, activation), loss="binary_crossentropy", target="ordinal", **SETTINGS
        )
        with pytest.raises(InputValueError, match=match):
            estimator.fit(X, y)


def test_logits_are_not_what_a_softmax_returns(blobs):
    estimator = GuardedKerasClassifier(
        build_classifier, loss="sparse_categorical_crossentropy", target="logits", **SETTINGS
    )
    with pytest.raises(InputValueError, match="ends with a softmax"):
        estimator.fit(*blobs)


def build_steps(meta):
    layers = [keras.Input((8, 3)), keras.layers.Dense(meta["n_classes_"], "softmax")]
    return keras.Sequential(layers)


@pytest.mark.parametrize("engine", ["fused", "keras"])
@pytest.mark.parametrize("batch_size", [8, 32])
def test_one_weight_per_sample_weighs_all_steps_of_the_sample(engine, batch_size, rng):
    X, weights = rng.normal(size=(64, 8, 3)).astype("float32"), rng.uniform(size=64)
    y = (X[..., 0] > 0).astype(int)
    estimator = GuardedKerasClassifier(
        build_steps,
        loss="sparse_categorical_crossentropy",
        batch_size=batch_size,
        engine=engine,
        **SETTINGS,
    )
    per_sample = estimator.fit(X, y, sample_weight=weights).predict_proba(X)
    per_step = estimator.fit(X, y, sample_weight=np.repeat(weights[:, None], 8, 1))
    assert np.array_equal(per_step.predict_proba(X), per_sample)
