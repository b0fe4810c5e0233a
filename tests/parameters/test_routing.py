"""Routed parameters reach the objects that they name, or raise."""

import keras
import pytest
from sklearn.base import clone

from skguard import GuardedKerasClassifier
from tests.parameters.networks import build, build_a, make


def bce(meta, activation=None):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, activation)])


@pytest.mark.parametrize(
    "loss",
    ["BinaryCrossentropy", "binary_crossentropy", keras.losses.BinaryCrossentropy],
    ids=["class_name", "function_name", "class"],
)
def test_settings_of_a_loss_reach_it_by_any_name(loss, blobs):
    X, y = blobs[0][:40], blobs[1][:40]
    classifier = GuardedKerasClassifier(bce, loss=loss, loss__from_logits=True, verbose=0)
    assert classifier.fit(X, y).model_.loss.from_logits is True
    assert set(classifier.predict(X)) <= {0, 1}


@pytest.mark.parametrize("metric", ["AUC", "auc", keras.metrics.AUC], ids=str)
def test_settings_of_a_metric_reach_the_item_they_name(metric, blobs):
    classifier = GuardedKerasClassifier(
        bce,
        model__activation="sigmoid",
        loss="binary_crossentropy",
        metrics=[metric, "accuracy"],
        metrics__0__name="area",
        verbose=0,
    ).fit(blobs[0][:40], blobs[1][:40])
    assert {"area", "accuracy"} <= classifier.history_.keys()


def test_settings_of_callbacks_reach_one_item_or_all(line):
    stop = keras.callbacks.EarlyStopping
    estimator = make(
        build_a,
        callbacks=[stop, stop],
        callbacks__monitor="loss",
        callbacks__1__patience=7,
    ).fit(*line)
    assert [c.monitor for c in estimator.callbacks_] == ["loss", "loss"]
    assert [c.patience for c in estimator.callbacks_] == [0, 7]


@pytest.mark.parametrize("first", ["optimizer", "optimizer__momentum"])
def test_an_optimizer_and_its_settings_are_set_in_either_order(first, line):
    params = {"optimizer": "sgd", "optimizer__momentum": 0.5}
    second = next(name for name in params if name != first)
    estimator = clone(make(build_a, optimizer="adam"))
    estimator.set_params(**{first: params[first]})
    estimator.set_params(**{second: params[second]})
    assert estimator.fit(*line).model_.optimizer.momentum == 0.5


def test_a_setting_that_another_optimizer_takes_raises_when_fit_starts(line):
    estimator = clone(make(build_a, optimizer="adam")).set_params(optimizer__momentum=0.5)
    with pytest.raises(ValueError, match="'optimizer__momentum' is not a parameter"):
        estimator.fit(*line)


NEVER_USED = {
    "misspelt_prefix": (build_a, {"callbak__patience": 3}, "Did you mean 'callbacks__patience'"),
    "function_compiles": (build, {"optimizer__learning_rate": 3.0}, "build compiles the model"),
    "function_compiles_optimizer": (build, {"optimizer": "sgd"}, "build compiles the model"),
    "function_compiles_metrics": (build, {"metrics": ["mae"]}, "build compiles the model"),
    "item_out_of_range": (
        build_a,
        {"callbacks": [keras.callbacks.EarlyStopping], "callbacks__5__patience": 3},
        "callbacks__5__patience",
    ),
    "item_not_in_dict": (
        build_a,
        {"callbacks": {"stop": keras.callbacks.EarlyStopping}, "callbacks__halt__patience": 3},
        "callbacks__halt__patience",
    ),
    "no_callbacks": (
        build_a,
        {"callbacks__patience": 3},
        "callbacks=None has none. Pass callbacks=keras.callbacks.EarlyStopping too",
    ),
    "empty_callbacks": (build_a, {"callbacks": [], "callbacks__patience": 3}, "has none. Pass"),
    "no_metrics_by_argument": (
        build_a,
        {"metrics__threshold": 0.1},
        "Pass metrics=keras.metrics.Binary",
    ),
    "callback_instance": (
        build_a,
        {"callbacks": keras.callbacks.EarlyStopping("loss"), "callbacks__patience": 3},
        "callbacks__patience=3 can never be used.*is not a class",
    ),
    "callback_instance_in_list": (
        build_a,
        {"callbacks": [keras.callbacks.EarlyStopping("loss")], "callbacks__0__patience": 3},
        "callbacks__0__patience=3 can never be used.*is not a class",
    ),
    "wrong_argument_of_a_callback": (
        build_a,
        {"callbacks": keras.callbacks.EarlyStopping, "callbacks__patienc": 3},
        "Did you mean 'callbacks__patience'",
    ),
    "optimizer_instance": (
        build_a,
        {"optimizer": keras.optimizers.SGD(0.1), "optimizer__momentum": 0.5},
        "optimizer__momentum=0.5 can never be used.*is not a class",
    ),
    "loss_instance": (
        build_a,
        {"loss": keras.losses.Huber(), "loss__delta": 0.5},
        "loss__delta=0.5 can never be used.*is not a class",
    ),
    "other_optimizer": (
        build_a,
        {"optimizer": "adam", "optimizer__momentum": 0.5},
        "optimizer__momentum",
    ),
    "no_metrics": (build_a, {"metrics__0__name": "m"}, "metrics__0__name"),
}


@pytest.mark.parametrize(("model", "params", "message"), NEVER_USED.values(), ids=NEVER_USED)
def test_a_parameter_that_would_never_be_used_raises(model, params, message, line):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        make(model, **params).fit(*line)


def test_a_compile_parameter_for_a_compiled_model_raises(line):
    with pytest.raises(ValueError, match=r"optimizer__learning_rate=1\.0 would never be used"):
        make(build(), optimizer__learning_rate=1.0).fit(*line)
