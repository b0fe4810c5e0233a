"""The features that scikeras documents beside subclassing, with the classes of skguard.

Routed parameters, callbacks, saving, pretrained models, partial_fit, sparse inputs, searches and
ensembles: see https://adriangb.com/scikeras/stable/advanced.html and its tutorials.
"""

import pickle

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from tensorflow.python.framework import config

from skguard import GuardedKerasBase, GuardedKerasClassifier, GuardedKerasRegressor
from tests.models import build_classifier
from tests.peers.tutorials import (
    TutorialError,
    dense_layers,
    make_mlp,
    raises_and_changes_nothing,
)


class TwoNamedOutputs(GuardedKerasBase):
    @property
    def target_encoder(self):
        return FunctionTransformer(
            lambda y: {"out1": y[:, :1], "out2": np.eye(3)[y[:, 1].astype(int)]},
            lambda outputs: np.column_stack([outputs["out1"], outputs["out2"].argmax(axis=1)]),
            check_inverse=False,
        )


def build_named_outputs(meta, compile_kwargs):
    inputs = keras.Input((meta["n_features_in_"],))
    outputs = {
        "out1": keras.layers.Dense(1, name="out1")(inputs),
        "out2": keras.layers.Dense(3, name="out2")(inputs),
    }
    model = keras.Model(inputs, outputs)
    model.compile(**compile_kwargs)
    return model


def make_named_outputs(**params):
    settings = {
        "loss": {
            "out1": keras.losses.BinaryCrossentropy,
            "out2": keras.losses.CategoricalCrossentropy,
        },
        "loss__from_logits": True,
        "loss__out2__label_smoothing": 0.5,
        "optimizer": keras.optimizers.SGD,
        "optimizer__learning_rate": 0.125,
        "verbose": 0,
        "random_state": 0,
    }
    return TwoNamedOutputs(build_named_outputs, **settings | params)


@pytest.fixture
def named_targets(blobs):
    X, y = blobs
    return X, np.column_stack([y == 1, y]).astype("float32")


def test_parameters_are_routed_to_all_losses_or_to_one_of_them(named_targets):
    X, y = named_targets
    estimator = make_named_outputs().fit(X, y)
    losses = estimator.model_.loss
    configs = {name: losses[name].get_config() for name in ("out1", "out2")}
    assert [configs[name]["from_logits"] for name in ("out1", "out2")] == [True, True]
    assert [configs[name]["label_smoothing"] for name in ("out1", "out2")] == [0.0, 0.5]
    assert float(estimator.model_.optimizer.learning_rate) == 0.125
    assert estimator.predict(X).shape == (60, 2)


@pytest.fixture
def determinism():
    """Deterministic operations, as a seeded fit has them; the setting is restored."""
    was_on = config.is_op_determinism_enabled()
    config.enable_op_determinism()
    yield
    (config.enable_op_determinism if was_on else config.disable_op_determinism)()


def test_losses_by_name_have_the_numbers_of_keras(named_targets, determinism):
    X, y = named_targets
    estimator = make_named_outputs(epochs=2, shuffle=False).fit(X, y)
    keras.utils.set_random_seed(0)
    model = build_named_outputs(
        {"n_features_in_": 4},
        {
            "optimizer": keras.optimizers.SGD(0.125),
            "loss": {
                "out1": keras.losses.BinaryCrossentropy(from_logits=True),
                "out2": keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.5),
            },
        },
    )
    targets = {"out1": y[:, :1], "out2": np.eye(3)[y[:, 1].astype(int)]}
    history = model.fit(X, targets, epochs=2, shuffle=False, verbose=0).history
    assert estimator.history_["loss"] == history["loss"]
    assert all(map(np.array_equal, estimator.model_.get_weights(), model.get_weights()))


def test_metrics_by_name_of_output_get_their_own_parameters(named_targets):
    X, y = named_targets
    estimator = make_named_outputs(
        metrics={
            "out1": [keras.metrics.BinaryAccuracy],
            "out2": [keras.metrics.BinaryAccuracy, keras.metrics.CategoricalAccuracy],
        },
        metrics__out1__0__threshold=100.0,
        metrics__out2__0__threshold=-100.0,
        metrics__out2__0__name="everything",
    ).fit(X, y)
    logged = estimator.history_
    assert logged["out1_binary_accuracy"] == [pytest.approx((y[:, 0] == 0).mean())]
    assert logged["out2_everything"] == [pytest.approx(1 / 3)]
    assert "out2_categorical_accuracy" in logged


def test_an_unknown_output_in_a_routed_name_changes_nothing(named_targets):
    estimator = make_named_outputs().fit(*named_targets)
    estimator.set_params(loss__out3__label_smoothing=0.5)
    with raises_and_changes_nothing(estimator, named_targets[0], error=ValueError, match="out3"):
        estimator.fit(*named_targets)


def test_a_single_metric_and_its_parameter(blobs):
    X, y = blobs
    estimator = GuardedKerasClassifier(
        build_mlp_uncompiled_binary,
        loss=keras.losses.BinaryCrossentropy,
        loss__from_logits=False,
        metrics=keras.metrics.BinaryAccuracy,
        metrics__threshold=1.0,  # which no probability exceeds
        verbose=0,
        random_state=0,
    ).fit(X, y == 1)
    assert estimator.history_["binary_accuracy"] == [pytest.approx(2 / 3)]
    assert estimator.model_.loss.get_config()["from_logits"] is False


def build_mlp_uncompiled_binary(meta):
    return keras.Sequential(
        [keras.Input((meta["n_features_in_"],)), keras.layers.Dense(1, "sigmoid")]
    )


class Decay:
    """A schedule that gets its parameters by routing."""

    def __init__(self, wait_until_epoch=1, coef=0.1):
        self.wait_until_epoch = wait_until_epoch
        self.coef = coef

    def __call__(self, epoch, learning_rate):
        return learning_rate if epoch < self.wait_until_epoch else learning_rate * self.coef


def test_positional_arguments_of_callbacks_and_their_own_parameters(blobs):
    estimator = make_mlp(
        optimizer="sgd",
        optimizer__learning_rate=0.5,
        epochs=3,
        callbacks=keras.callbacks.LearningRateScheduler,
        callbacks__0=Decay,
        callbacks__0__coef=0.5,
    ).fit(*blobs)
    assert estimator.history_["learning_rate"] == [0.5, 0.25, 0.125]


def test_callbacks_in_a_dict_with_lists_have_their_own_parameters(blobs):
    estimator = make_mlp(
        epochs=2,
        callbacks={
            "stop": keras.callbacks.EarlyStopping,
            "more": [keras.callbacks.ReduceLROnPlateau],
        },
        callbacks__monitor="loss",
        callbacks__stop__patience=4,
        callbacks__more__0__factor=0.5,
    ).fit(*blobs)
    stopping, plateau = estimator.callbacks_
    assert (stopping.monitor, stopping.patience) == ("loss", 4)
    assert (plateau.monitor, plateau.factor) == ("loss", 0.5)


def test_parameters_of_the_scorer_are_routed_to_it(blobs):
    X, y = blobs
    estimator = make_mlp(epochs=1, optimizer__learning_rate=0.001).fit(X, y)
    counted = clone(estimator).set_params(score__normalize=False).fit(X, y)
    assert counted.score(X, y) == (estimator.predict(X) == y).sum()
    assert estimator.score(X, y) == pytest.approx(counted.score(X, y) / 60)


class StopAbove(keras.callbacks.Callback):
    """As in the tutorial, without a call of the base class's constructor."""

    def __init__(self, monitor, threshold):
        self.monitor = monitor
        self.threshold = threshold

    def on_epoch_end(self, epoch, logs=None):
        if logs[self.monitor] > self.threshold:
            self.model.stop_training = True


def test_a_custom_callback_stops_training(rng):
    y = np.tile([0, 1], 30)
    X = rng.normal(size=(60, 2)) + 3 * y[:, None]
    callback = StopAbove("val_binary_accuracy", threshold=0.75)
    estimator = GuardedKerasClassifier(
        build_mlp_uncompiled_binary,
        loss="binary_crossentropy",
        optimizer="adam",
        optimizer__learning_rate=0.1,
        metrics=["binary_accuracy"],
        fit__validation_split=0.2,
        epochs=100,
        verbose=False,
        random_state=0,
        callbacks=[callback],
    ).fit(X, y)
    accuracies = estimator.history_["val_binary_accuracy"]
    assert len(accuracies) < 100
    assert accuracies[-1] > 0.75
    assert max(accuracies[:-1], default=0) <= 0.75
    assert estimator.stop_reason_ == "callback"


def test_a_pickled_estimator_is_still_trained(blobs):
    X, y = blobs
    estimator = make_mlp().fit(X, y)
    loaded = pickle.loads(pickle.dumps(estimator))
    assert np.array_equal(loaded.predict_proba(X), estimator.predict_proba(X))
    assert loaded.history_ == estimator.history_
    assert np.array_equal(clone(loaded).fit(X, y).predict_proba(X), estimator.predict_proba(X))


def test_a_saved_model_predicts_after_initialize(blobs, tmp_path):
    X, y = blobs
    estimator = make_mlp().fit(X, y)
    estimator.model_.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    again = GuardedKerasClassifier(loaded, verbose=0).initialize(X, y)
    assert np.array_equal(again.predict_proba(X), estimator.predict_proba(X))
    assert again.model_ is loaded


def test_a_pretrained_model_is_trained_further_from_its_weights(blobs, determinism):
    X, y = blobs
    pretrained = make_mlp(optimizer="sgd").fit(X, y).model_
    weights = pretrained.get_weights()
    estimator = GuardedKerasClassifier(
        pretrained, epochs=2, shuffle=False, verbose=0, random_state=0
    ).fit(X, y)
    assert estimator.model_ is not pretrained
    assert all(map(np.array_equal, pretrained.get_weights(), weights))
    again = clone(estimator).fit(X, y)
    assert again.history_ == estimator.history_
    history = pretrained.fit(X, y, epochs=2, shuffle=False, verbose=0).history
    assert estimator.history_["loss"] == history["loss"]
    assert all(map(np.array_equal, estimator.model_.get_weights(), pretrained.get_weights()))


def test_an_error_leaves_an_estimator_of_a_pretrained_model_as_it_was(blobs):
    X, y = blobs
    pretrained = make_mlp(epochs=1).fit(X, y).model_
    estimator = GuardedKerasClassifier(pretrained, verbose=0, random_state=0).fit(X, y)
    estimator.set_params(callbacks=[FailingCallback()])
    with raises_and_changes_nothing(estimator, X):
        estimator.fit(X, y)


class FailingCallback(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise TutorialError("epoch not ended, on purpose")


def test_partial_fit_extends_the_history_and_warm_start_begins_it_again(blobs):
    X, y = blobs
    estimator = make_mlp(epochs=3, warm_start=True).fit(X, y)
    model = estimator.model_
    first = list(estimator.history_["loss"])
    estimator.partial_fit(X, y)
    assert estimator.history_["loss"][:3] == first
    assert estimator.current_epoch == 4
    estimator.fit(X, y)
    assert estimator.current_epoch == len(estimator.history_["loss"]) == 3
    assert estimator.model_ is model
    assert estimator.history_["loss"][0] < first[0]


def test_calls_of_partial_fit_have_the_numbers_of_one_fit(blobs):
    X, y = blobs
    at_once = make_mlp(epochs=3, shuffle=False).fit(X, y)
    step_by_step = make_mlp(shuffle=False)
    for _ in range(3):
        step_by_step.partial_fit(X, y)
    assert step_by_step.history_["loss"] == at_once.history_["loss"]
    assert np.array_equal(step_by_step.predict_proba(X), at_once.predict_proba(X))


def test_an_error_in_partial_fit_keeps_the_model_and_its_history(blobs):
    X, y = blobs
    estimator = make_mlp().partial_fit(X, y)
    with raises_and_changes_nothing(estimator, X, ValueError, match="features"):
        estimator.partial_fit(X[:, :2], y)
    assert estimator.partial_fit(X, y).current_epoch == 2


def test_label_indicators_have_one_sigmoid_unit_each(blobs):
    X, y = blobs

    def build(meta):
        return keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(meta["n_classes_"], "sigmoid")]
        )

    indicators = np.column_stack([y != 0, y != 1]).astype(int)
    estimator = GuardedKerasClassifier(
        build,
        loss="binary_crossentropy",
        optimizer="adam",
        optimizer__learning_rate=0.1,
        epochs=40,
        verbose=0,
        random_state=0,
    ).fit(X, indicators)
    assert estimator.target_type_ == "multilabel-indicator"
    expected = (estimator.model_.predict(X, verbose=0) > 0.5).astype(int)
    assert np.array_equal(estimator.predict(X), expected)
    assert estimator.score(X, indicators) > 0.8


def test_categorical_crossentropy_encodes_labels_as_one_hot(blobs):
    X, y = blobs
    one_hot = GuardedKerasClassifier(
        build_classifier, loss="categorical_crossentropy", verbose=0, random_state=0
    ).fit(X, y)
    sparse = clone(one_hot).set_params(loss="sparse_categorical_crossentropy").fit(X, y)
    assert np.allclose(one_hot.predict_proba(X), sparse.predict_proba(X), atol=1e-5)


def test_sparse_and_dense_categories_train_the_same_model():
    X = np.arange(40).reshape(-1, 1)
    y = np.linspace(0, 1, 40)

    def build(meta):
        return keras.Sequential([keras.Input((meta["n_features_in_"],)), keras.layers.Dense(1)])

    predicted = []
    for sparse_output in (True, False):
        net = GuardedKerasRegressor(build, loss="mse", epochs=3, verbose=0, random_state=0)
        pipeline = Pipeline([("encode", OneHotEncoder(sparse_output=sparse_output)), ("net", net)])
        predicted.append(pipeline.fit(X, y).predict(X))
        assert pipeline["net"].n_features_in_ == 40
    assert np.allclose(*predicted, atol=1e-6)


def test_data_frames_give_the_numbers_of_arrays(blobs):
    pandas = pytest.importorskip("pandas")
    X, y = blobs
    frame = pandas.DataFrame(X, columns=list("abcd"))
    labels = pandas.Series(np.array(["x", "y", "z"])[y])
    estimator = make_mlp().fit(frame, labels)
    assert list(estimator.feature_names_in_) == list("abcd")
    by_array = make_mlp().fit(X, y)
    assert np.array_equal(estimator.predict_proba(frame), by_array.predict_proba(X))
    assert list(estimator.predict(frame[:1])) == ["x"]
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(frame.rename(columns={"a": "e"}))


def test_a_pipeline_is_searched_over_routed_names(blobs):
    grid = {
        "net__model__hidden_layer_sizes": [(4,), (5, 5)],
        "net__optimizer": ["adam", keras.optimizers.SGD],
        "net__optimizer__learning_rate": [0.0625],
    }
    settings = {"hidden_layer_sizes": (100,), "epochs": 3}
    pipeline = Pipeline([("scale", StandardScaler()), ("net", make_mlp(**settings))])
    search = GridSearchCV(pipeline, grid, cv=2, scoring="accuracy", error_score="raise")
    search.fit(*blobs)
    assert len(search.cv_results_["params"]) == 4
    net = search.best_estimator_["net"]
    best = search.best_params_
    sizes = [layer.units for layer in dense_layers(net.model_)]
    assert sizes == [*best["net__model__hidden_layer_sizes"], 3]
    chosen = {"adam": keras.optimizers.Adam}.get(best["net__optimizer"], keras.optimizers.SGD)
    assert type(net.model_.optimizer) is chosen
    assert float(net.model_.optimizer.learning_rate) == 0.0625
    again = clone(pipeline).set_params(**best).fit(*blobs)
    assert np.array_equal(again.predict_proba(blobs[0]), search.predict_proba(blobs[0]))


@pytest.mark.parametrize("ensemble", [AdaBoostClassifier, BaggingClassifier])
def test_members_of_an_ensemble_have_their_own_models(ensemble, blobs):
    X, y = blobs
    noisy = np.where(np.arange(60) % 6 == 0, (y + 1) % 3, y)  # or boosting ends at one member
    network = make_mlp(epochs=8)
    fitted = ensemble(network, n_estimators=2, random_state=0).fit(X, noisy)
    first, second = (member.model_.get_weights()[0] for member in fitted.estimators_)
    assert first.shape == second.shape == (4, 8)
    assert not np.array_equal(first, second)
    assert fitted.score(X, noisy) > 0.6
    assert not hasattr(network, "model_")
