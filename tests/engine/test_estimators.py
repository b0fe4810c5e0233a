"""The engine as estimators use it."""

import keras
import pytest

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard import _engine as engine
from tests.engine.parity import (
    FIT,
    build_custom,
    same,
    values_of,
)


def build_regressor(meta, units=8):
    layers = [keras.layers.Dense(units, "relu"), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((meta["n_features_in_"],)), *layers])


def regressor(**params):
    settings = {"loss": "mse", "epochs": 3, "verbose": 0, "random_state": 0}
    return GuardedKerasRegressor(build_regressor, **(settings | params))


def test_estimators_say_which_engine_trained_and_why(line):
    fused_one = regressor().fit(*line)
    assert fused_one.engine_ == "fused"
    eager = regressor(compile__run_eagerly=True).fit(*line)
    assert eager.engine_ == "keras"
    assert eager.engine_reason_ == "keras.Model.fit: run_eagerly=True"
    asked = regressor(engine="keras").fit(*line)
    assert (asked.engine_, asked.engine_reason_) == ("keras", "keras.Model.fit: engine='keras'")


def test_engine_fused_is_an_error_where_it_cannot_be(line):
    with pytest.raises(ValueError, match=r"engine='fused'.*run_eagerly=True.*engine='auto'"):
        regressor(engine="fused", compile__run_eagerly=True).fit(*line)


def test_an_unknown_engine_is_an_error_before_training(line):
    with pytest.raises(ValueError, match=r"engine='fast'.*auto.*fused.*keras"):
        regressor(engine="fast").fit(*line)


def test_resumed_training_gives_the_numbers_of_keras(line):
    pair = [regressor(engine=e, shuffle=False, epochs=2) for e in ("fused", "keras")]
    for estimator in pair:
        estimator.fit(*line)
        for _ in range(3):
            estimator.partial_fit(*line)
    ours, theirs = pair
    assert ours.history_ == theirs.history_
    assert len(ours.history_["loss"]) == 5
    assert same(values_of(ours.model_), values_of(theirs.model_))


def test_warm_starts_trace_once(line, n_traces):
    estimator = regressor(warm_start=True)
    for _ in range(3):
        estimator.fit(*line)
    assert len(n_traces) == 1


def test_a_model_with_a_separate_graph_keeps_it_until_it_is_compiled_again(data, n_traces):
    model = build_custom()
    for _ in range(2):
        engine.train(model, *data, engine="fused", **FIT)
    assert len(n_traces) == 1
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    before = model.layers[0].get_weights()
    engine.train(model, *data, engine="fused", **FIT)
    assert len(n_traces) == 2
    assert same(model.layers[0].get_weights(), before)


def test_fits_of_one_seed_are_equal_whatever_was_fitted_between(line, blobs):
    def fit():
        return regressor(callbacks=keras.callbacks.EarlyStopping("loss", patience=1)).fit(*line)

    first = fit()
    GuardedKerasClassifier(
        lambda meta: keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")]),
        loss="sparse_categorical_crossentropy",
        verbose=0,
    ).fit(*blobs)
    regressor(units=3, random_state=5).fit(*line)
    second = fit()
    assert first.history_ == second.history_
    assert same(first.model_.get_weights(), second.model_.get_weights())
