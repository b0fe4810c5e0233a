"""Code written for scikeras works after changing the import."""

import keras
import numpy as np
import pytest
import scikeras.wrappers
import scipy.sparse
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.metrics import accuracy_score, make_scorer, r2_score
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tensorflow.python.framework import config

from skguard import GuardedKerasBase, GuardedKerasClassifier, GuardedKerasRegressor
from tests.models import make_regressor


def build_mlp(meta, compile_kwargs, hidden_layer_sizes=(8,), dropout=0.0):
    """The model function of scikeras's tutorials, which compiles with `compile_kwargs`."""
    model = keras.Sequential([keras.Input((meta["n_features_in_"],))])
    for size in hidden_layer_sizes:
        model.add(keras.layers.Dense(size, "relu"))
        model.add(keras.layers.Dropout(dropout))
    if meta["target_type_"] == "binary":
        model.add(keras.layers.Dense(1, "sigmoid"))
        compile_kwargs["loss"] = compile_kwargs["loss"] or "binary_crossentropy"
    elif meta["target_type_"] == "multiclass":
        model.add(keras.layers.Dense(meta["n_classes_"], "softmax"))
        compile_kwargs["loss"] = compile_kwargs["loss"] or "sparse_categorical_crossentropy"
    else:
        model.add(keras.layers.Dense(meta["n_outputs_"]))
        compile_kwargs["loss"] = compile_kwargs["loss"] or "mse"
    model.compile(**compile_kwargs)
    return model


def make_classifier(**params):
    settings = {"optimizer": "adam", "epochs": 2, "verbose": 0, "random_state": 0}
    return GuardedKerasClassifier(build_mlp, **(settings | params))


@pytest.fixture
def determinism():
    """Restore TensorFlow's determinism, which scikeras may leave changed."""
    was_on = config.is_op_determinism_enabled()
    yield
    (config.enable_op_determinism if was_on else config.disable_op_determinism)()


def test_model_parameters_reach_the_model_function(blobs):
    estimator = make_classifier(model__hidden_layer_sizes=(5, 3), model__dropout=0.25)
    model = estimator.fit(*blobs).model_
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.units for layer in dense] == [5, 3, 3]
    assert {layer.rate for layer in model.layers if hasattr(layer, "rate")} == {0.25}


def test_unprefixed_parameters_reach_the_model_function(blobs):
    model = make_classifier(hidden_layer_sizes=(5,)).fit(*blobs).model_
    assert model.layers[0].units == 5


def test_optimizer_parameters_reach_the_optimizer(blobs):
    estimator = make_classifier(
        optimizer=keras.optimizers.SGD, optimizer__learning_rate=0.125, optimizer__momentum=0.5
    )
    optimizer = estimator.fit(*blobs).model_.optimizer
    assert isinstance(optimizer, keras.optimizers.SGD)
    assert float(optimizer.learning_rate) == 0.125
    assert optimizer.momentum == 0.5


def test_loss_parameters_reach_the_loss(blobs):
    X, y = blobs
    estimator = make_classifier(
        loss=keras.losses.BinaryCrossentropy, loss__label_smoothing=0.25, loss__from_logits=False
    )
    loss = estimator.fit(X, y > 0).model_.loss
    assert isinstance(loss, keras.losses.BinaryCrossentropy)
    assert loss.get_config()["label_smoothing"] == 0.25


def test_metric_parameters_reach_the_metrics(blobs):
    X, y = blobs
    estimator = make_classifier(
        metrics=[keras.metrics.AUC, "accuracy"], metrics__0__name="area", metrics__0__curve="PR"
    )
    assert {"loss", "area", "accuracy"} <= set(estimator.fit(X, y > 0).history_)


def test_metric_names_in_the_history_are_the_full_ones(line):
    history = make_regressor(loss="mae", metrics=["mse"]).fit(*line).history_
    assert set(history) == {"loss", "mean_squared_error", "learning_rate"}


def test_callback_parameters_reach_the_callbacks(blobs):
    estimator = make_classifier(
        callbacks=[keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau],
        callbacks__monitor="loss",
        callbacks__0__patience=4,
        callbacks__1__factor=0.5,
    )
    stopping, plateau = estimator.fit(*blobs).callbacks_
    assert (stopping.monitor, plateau.monitor) == ("loss", "loss")
    assert (stopping.patience, plateau.factor) == (4, 0.5)


def test_callbacks_in_a_dict_are_reached_by_their_key(blobs):
    estimator = make_classifier(
        callbacks={"stop": keras.callbacks.EarlyStopping},
        callbacks__stop__monitor="loss",
        callbacks__stop__patience=4,
    )
    assert estimator.fit(*blobs).callbacks_[0].patience == 4


class BatchCounter(keras.callbacks.Callback):
    """Counts batches in lists that all copies share."""

    fitted, predicted = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.fitted.append(batch)

    def on_predict_batch_end(self, batch, logs=None):
        self.predicted.append(batch)


@pytest.fixture
def counter():
    BatchCounter.fitted.clear()
    BatchCounter.predicted.clear()
    return BatchCounter


def test_fit_and_predict_parameters_go_to_their_own_method(blobs, counter):
    X, y = blobs
    estimator = make_classifier(
        epochs=9, fit__epochs=1, fit__batch_size=20, predict__batch_size=30, callbacks=counter
    )
    estimator.fit(X, y).predict(X)
    assert len(estimator.history_["loss"]) == 1
    assert counter.fitted == [0, 1, 2]
    assert counter.predicted == [0, 1]


@pytest.mark.parametrize(
    ("where", "fitted", "predicted"),
    [("fit__callbacks", 2, 0), ("predict__callbacks", 0, 2)],
)
def test_callbacks_of_one_method_are_called_by_that_method_only(
    where, fitted, predicted, blobs, counter
):
    X, y = blobs
    make_classifier(epochs=1, batch_size=30, **{where: counter}).fit(X, y).predict(X)
    assert (len(counter.fitted), len(counter.predicted)) == (fitted, predicted)


def test_arguments_of_the_fit_call_are_for_that_fit_only(blobs):
    estimator = make_classifier()
    assert len(estimator.fit(*blobs, epochs=3).history_["loss"]) == 3
    assert len(estimator.fit(*blobs).history_["loss"]) == 2


def test_a_batch_size_of_minus_one_is_all_samples(blobs, counter):
    make_classifier(epochs=1, batch_size=-1, callbacks=counter).fit(*blobs)
    assert counter.fitted == [0]


def test_compile_parameters_reach_compile(blobs):
    model = make_classifier(compile__run_eagerly=True, epochs=1).fit(*blobs).model_
    assert model.run_eagerly


def test_meta_describes_the_data(blobs):
    seen = {}

    def build(meta):
        seen.update(meta)
        return build_mlp(meta, {"loss": None})

    X, y = blobs
    GuardedKerasClassifier(build, verbose=0).fit(X, np.array(["a", "b", "c"])[y])
    assert seen["n_features_in_"] == 4
    assert seen["X_shape_"] == (60, 4)
    assert seen["X_dtype_"] == X.dtype
    assert seen["target_type_"] == "multiclass"
    assert seen["n_classes_"] == 3
    assert list(seen["classes_"]) == ["a", "b", "c"]
    assert seen["n_outputs_"] == seen["n_outputs_expected_"] == 1


def test_params_are_all_parameters(blobs):
    def build(params, compile_kwargs, meta):
        assert isinstance(compile_kwargs["optimizer"], keras.optimizers.Adam)
        return build_mlp(meta, compile_kwargs, hidden_layer_sizes=(params["batch_size"],))

    estimator = GuardedKerasClassifier(build, optimizer="adam", batch_size=7, verbose=0)
    assert estimator.fit(*blobs).model_.layers[0].units == 7


def test_the_former_name_build_fn_works_with_a_warning(blobs):
    estimator = GuardedKerasClassifier(build_fn=build_mlp, verbose=0)
    with pytest.warns(FutureWarning, match="build_fn is the old name of model"):
        estimator.fit(*blobs)
    assert estimator.predict(blobs[0]).shape == (60,)


def test_partial_fit_trains_one_more_epoch_each_time(blobs):
    estimator = make_classifier(epochs=9)
    model = estimator.partial_fit(*blobs).model_
    for epoch in (2, 3):
        estimator.partial_fit(*blobs)
        assert estimator.current_epoch == len(estimator.history_["loss"]) == epoch
    assert estimator.model_ is model


def test_partial_fit_accepts_the_classes_of_later_calls(blobs):
    X, y = blobs
    estimator = make_classifier().partial_fit(X[:40], y[:40], classes=[0, 1, 2])
    estimator.partial_fit(X[40:], y[40:])
    assert estimator.predict_proba(X).shape == (60, 3)


def test_warm_start_continues_with_the_same_model(blobs):
    estimator = make_classifier(warm_start=True)
    model = estimator.fit(*blobs).model_
    steps = int(model.optimizer.iterations)
    assert estimator.fit(*blobs).model_ is model
    assert int(model.optimizer.iterations) == 2 * steps


def test_without_warm_start_a_fit_builds_a_new_model(blobs):
    estimator = make_classifier()
    model = estimator.fit(*blobs).model_
    assert estimator.fit(*blobs).model_ is not model


def test_initialize_builds_and_does_not_train(blobs):
    X, y = blobs
    estimator = make_classifier().initialize(X, y)
    assert not hasattr(estimator, "history_")
    untrained = [w.copy() for w in estimator.model_.get_weights()]
    assert estimator.predict(X).shape == (60,)
    assert all(map(np.array_equal, estimator.model_.get_weights(), untrained))


def test_initialize_predicts_with_the_weights_of_a_trained_model(blobs):
    X, y = blobs
    trained = make_classifier().fit(X, y)
    estimator = GuardedKerasClassifier(trained.model_, verbose=0).initialize(X, y)
    assert np.array_equal(estimator.predict_proba(X), trained.predict_proba(X))


class TwoTargets(BaseEstimator, TransformerMixin):
    """One binary and one three-class column of y, as the two outputs of a model."""

    def fit(self, y):
        self.n_outputs_expected_ = 2
        return self

    def transform(self, y):
        return [y[:, 0].astype("float32"), y[:, 1].astype("int32")]

    def inverse_transform(self, outputs):
        first, second = outputs
        return np.column_stack([first.ravel() > 0.5, second.argmax(axis=1)]).astype("int64")

    def get_metadata(self):
        return {"n_outputs_expected_": 2}


class TwoHeads(GuardedKerasClassifier):
    @property
    def target_encoder(self):
        return TwoTargets()

    def _type_of_target(self, y):
        return "multilabel-indicator"

    @staticmethod
    def scorer(y_true, y_pred, **kwargs):
        return np.mean([accuracy_score(y_true[:, i], y_pred[:, i], **kwargs) for i in (0, 1)])

    def _keras_build_fn(self):
        inputs = keras.Input((self.n_features_in_,))
        hidden = keras.layers.Dense(8, "relu")(inputs)
        heads = [
            keras.layers.Dense(1, "sigmoid")(hidden),
            keras.layers.Dense(3, "softmax")(hidden),
        ]
        model = keras.Model(inputs, heads)
        losses = ["binary_crossentropy", "sparse_categorical_crossentropy"]
        model.compile(keras.optimizers.Adam(0.05), losses)
        return model


def test_a_model_with_two_outputs_and_its_own_target_encoder(blobs):
    X, y = blobs
    targets = np.column_stack([y == 1, y])
    estimator = TwoHeads(epochs=40, verbose=0, random_state=0).fit(X, targets)
    assert estimator.predict(X).shape == targets.shape
    assert estimator.score(X, targets) > 0.9
    assert clone(estimator).fit(X, targets).score(X, targets) == estimator.score(X, targets)


class TwoInputs(GuardedKerasRegressor):
    @property
    def feature_encoder(self):
        return FunctionTransformer(lambda X: [X[:, :1], X[:, 1:]])

    def _keras_build_fn(self):
        inputs = [keras.Input((1,)), keras.Input((3,))]
        deep = keras.layers.Dense(8, "relu")(inputs[1])
        joined = keras.layers.Concatenate()([inputs[0], deep])
        model = keras.Model(inputs, keras.layers.Dense(1)(joined))
        model.compile(keras.optimizers.Adam(0.05), "mse")
        return model


def test_a_model_with_two_inputs_and_its_own_feature_encoder(line):
    X, y = line
    estimator = TwoInputs(epochs=15, verbose=0, random_state=0).fit(X, y)
    assert estimator.predict(X).shape == y.shape
    assert estimator.score(X, y) > 0.5
    assert clone(estimator).fit(X, y).score(X, y) == estimator.score(X, y)


def test_class_weights_are_weights_of_the_samples(blobs):
    X, y = blobs
    by_class = make_classifier(class_weight={0: 1.0, 1: 3.0, 2: 0.5}).fit(X, y)
    by_sample = make_classifier().fit(X, y, sample_weight=np.array([1.0, 3.0, 0.5])[y])
    unweighted = make_classifier().fit(X, y)
    assert by_class.history_ == by_sample.history_ != unweighted.history_


def test_balanced_class_weights_find_a_rare_class(rng):
    y = np.r_[np.zeros(90), np.ones(10)].astype(int)
    X = rng.normal(size=(100, 2)) + 1.5 * y[:, None]
    found = [
        make_classifier(class_weight=weight, epochs=20, optimizer__learning_rate=0.02)
        .fit(X, y)
        .predict(X)
        .sum()
        for weight in (None, "balanced")
    ]
    assert found[0] < found[1]


@pytest.mark.parametrize(
    "kind", [scipy.sparse.csr_matrix, scipy.sparse.csr_array], ids=lambda kind: kind.__name__
)
def test_sparse_samples_give_the_numbers_of_dense_samples(kind, blobs):
    X, y = blobs
    dense, sparse = make_classifier().fit(X, y), make_classifier().fit(kind(X), y)
    assert np.allclose(dense.predict_proba(X), sparse.predict_proba(kind(X)), atol=1e-5)


class MLPClassifier(GuardedKerasClassifier):
    """The multi-layer perceptron of scikeras's documentation."""

    def __init__(
        self,
        hidden_layer_sizes=(10,),
        optimizer="adam",
        optimizer__learning_rate=0.001,
        epochs=2,
        verbose=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden_layer_sizes = hidden_layer_sizes
        self.optimizer = optimizer
        self.optimizer__learning_rate = optimizer__learning_rate
        self.epochs = epochs
        self.verbose = verbose

    def _keras_build_fn(self, compile_kwargs):
        model = keras.Sequential([keras.Input((self.n_features_in_,))])
        for size in self.hidden_layer_sizes:
            model.add(keras.layers.Dense(size, "relu"))
        model.add(keras.layers.Dense(self.n_classes_, "softmax"))
        compile_kwargs["loss"] = "sparse_categorical_crossentropy"
        model.compile(**compile_kwargs)
        return model


def test_a_subclass_with_its_own_init_fits_and_clones(blobs):
    X, y = blobs
    estimator = MLPClassifier((6, 5), optimizer__learning_rate=0.01, random_state=0).fit(X, y)
    assert [layer.units for layer in estimator.model_.layers] == [6, 5, 3]
    twin = clone(estimator)
    assert twin.get_params() == estimator.get_params()
    assert twin.fit(X, y).history_ == estimator.history_


def test_a_subclass_with_its_own_init_is_searched(blobs):
    grid = [
        {"hidden_layer_sizes": [(4,)], "optimizer__learning_rate": [0.05]},
        {"hidden_layer_sizes": [(5, 4)], "optimizer__learning_rate": [0.01]},
    ]
    search = GridSearchCV(MLPClassifier(random_state=0), grid, cv=2, error_score="raise")
    search.fit(*blobs)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    assert best.hidden_layer_sizes == search.best_params_["hidden_layer_sizes"]
    rate = float(best.model_.optimizer.learning_rate)
    assert rate == pytest.approx(search.best_params_["optimizer__learning_rate"])


class AutoEncoder(GuardedKerasBase, TransformerMixin):
    """The transformer of scikeras's tutorial, whose halves share layers with the whole."""

    def _keras_build_fn(self, encoding_dim, meta):
        n_features = meta["n_features_in_"]
        inputs = keras.Input((n_features,))
        encoded = keras.layers.Dense(encoding_dim, "relu", name="narrow")(inputs)
        outputs = keras.layers.Dense(n_features, name="wide")(encoded)
        whole = keras.Model(inputs, outputs)
        codes = keras.Input((encoding_dim,))
        self.encoder_model_ = GuardedKerasBase(keras.Model(inputs, encoded), verbose=0)
        self.decoder_model_ = GuardedKerasBase(
            keras.Model(codes, whole.layers[-1](codes)), verbose=0
        )
        return whole

    def _initialize(self, X, y=None):
        X, _ = super()._initialize(X=X, y=X)
        codes = np.zeros((len(X), self.get_params()["encoding_dim"]))
        self.encoder_model_.initialize(X, codes)
        self.decoder_model_.initialize(codes, X)
        return X, X

    def initialize(self, X, y=None):
        self._initialize(X=X, y=X)
        return self

    def fit(self, X, y=None, *, sample_weight=None, **kwargs):
        return super().fit(X=X, y=X, sample_weight=sample_weight, **kwargs)

    def score(self, X):
        return super().score(X, X)

    def transform(self, X):
        return self.encoder_model_.predict(X)

    def inverse_transform(self, X_tf):
        return self.decoder_model_.predict(X_tf)


def make_autoencoder(**params):
    settings = {"loss": "mse", "encoding_dim": 3, "epochs": 3, "verbose": 0, "random_state": 0}
    return AutoEncoder(**(settings | params))


def test_the_halves_of_an_autoencoder_hold_the_trained_weights(line):
    X, _ = line
    estimator = make_autoencoder().fit(X)
    untrained = make_autoencoder().initialize(X)
    narrow = estimator.model_.get_layer("narrow")
    by_hand = np.maximum(X @ np.array(narrow.kernel) + np.array(narrow.bias), 0)
    codes = estimator.transform(X)
    assert np.allclose(codes, by_hand, atol=1e-5)
    assert not np.allclose(codes, untrained.transform(X), atol=1e-4)
    assert np.allclose(estimator.inverse_transform(codes), estimator.predict(X), atol=1e-5)


def test_an_autoencoder_learns_and_a_clone_learns_the_same(line):
    X, _ = line
    estimator = make_autoencoder().fit(X)
    assert estimator.history_["loss"][-1] < estimator.history_["loss"][0]
    twin = clone(estimator).fit(X)
    assert np.array_equal(twin.transform(X), estimator.transform(X))


def test_an_autoencoder_is_a_step_of_a_pipeline(line):
    X, y = line
    head = GuardedKerasRegressor(
        lambda meta: build_mlp(meta, {"loss": None}), epochs=1, verbose=0, random_state=0
    )
    pipeline = make_pipeline(StandardScaler(), make_autoencoder(), head).fit(X, y)
    assert pipeline.predict(X).shape == y.shape
    assert pipeline[:-1].transform(X).shape == (60, 3)
    assert np.isfinite(cross_val_score(pipeline, X, y, cv=2, error_score="raise")).all()


def build_for_numbers(meta):
    model = keras.Sequential(
        [
            keras.Input((meta["n_features_in_"],)),
            keras.layers.Dense(8, "relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    return model


def test_a_seeded_fit_has_the_numbers_of_scikeras(line, determinism):
    X, y = line
    settings = {"epochs": 3, "batch_size": 16, "verbose": 0, "random_state": 5}
    config.is_op_determinism_enabled()
    ours = GuardedKerasRegressor(build_for_numbers, engine="keras", **settings).fit(X, y)
    theirs = scikeras.wrappers.KerasRegressor(build_for_numbers, **settings).fit(X, y)
    assert ours.history_.pop("learning_rate") == [np.float32(0.001)] * 3  # which Keras leaves out
    assert ours.history_ == theirs.history_
    assert all(map(np.array_equal, ours.model_.get_weights(), theirs.model_.get_weights()))
    assert np.array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize(("engine", "shuffle"), [("keras", True), ("fused", False)])
def test_a_seeded_fit_has_the_numbers_of_keras_alone(engine, shuffle, line, determinism):
    X, y = line
    settings = {"epochs": 3, "batch_size": 16, "shuffle": shuffle, "verbose": 0}
    ours = GuardedKerasRegressor(build_for_numbers, random_state=5, engine=engine, **settings).fit(
        X, y
    )
    config.enable_op_determinism()
    keras.utils.set_random_seed(5)
    model = build_for_numbers({"n_features_in_": 4})
    keras.utils.set_random_seed(5)
    history = model.fit(X, y, **settings).history
    assert ours.history_.pop("learning_rate") == [np.float32(0.001)] * 3  # which Keras leaves out
    assert ours.history_ == history
    assert all(map(np.array_equal, ours.model_.get_weights(), model.get_weights()))


def build_regressor(neurons=64, learning_rate=0.01):
    model = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(neurons, activation="relu"),
            keras.layers.Dense(1, activation="linear"),
        ]
    )
    optimizer = keras.optimizers.Adam(learning_rate=learning_rate)
    model.compile(optimizer=optimizer, loss="mean_squared_error", metrics=["mean_squared_error"])
    return model


def build_regressor_of(neurons, learning_rate):
    return build_regressor(neurons, learning_rate)


class LambdaCallback(keras.callbacks.Callback):
    """Forwards its model and epochs to another callback."""

    def __init__(self, callback):
        super().__init__()
        self.callback = callback

    def on_train_begin(self, logs=None):
        self.callback.set_model(self.model)

    def on_epoch_end(self, epoch, logs=None):
        self.callback.on_epoch_end(epoch, logs)


def wrapped_early_stopping():
    stopping = keras.callbacks.EarlyStopping(
        monitor="val_mean_squared_error", patience=5, restore_best_weights=True
    )
    return [LambdaCallback(stopping)]


@pytest.mark.parametrize(
    ("build", "callbacks", "rates"),
    [
        (build_regressor, None, loguniform(1e-4, 1e-1)),
        pytest.param(
            build_regressor_of,
            wrapped_early_stopping,
            [0.001, 0.01, 0.1],
            marks=pytest.mark.skipif(
                not hasattr(keras.callbacks.EarlyStopping(), "best"),
                reason="this Keras's EarlyStopping needs on_train_begin, in plain Keras too",
            ),
        ),
    ],
    ids=["arguments with defaults", "arguments without, a callback within a callback"],
)
def test_a_randomized_search_over_a_pipeline_runs_to_its_end(build, callbacks, rates, rng):
    X, y = rng.random((100, 10)), rng.random(100)
    given = {} if callbacks is None else {"callbacks": callbacks()}
    regressor = GuardedKerasRegressor(
        build, epochs=2, batch_size=32, verbose=0, validation_split=0.2, **given
    )
    pipeline = Pipeline([("scaler", StandardScaler()), ("model", regressor)])
    search = RandomizedSearchCV(
        pipeline,
        param_distributions={"model__neurons": [32, 64, 128], "model__learning_rate": rates},
        n_iter=2,
        scoring=make_scorer(r2_score),
        cv=3,
        random_state=0,
        error_score="raise",
    )
    search.fit(X, y)
    assert all(np.isfinite(search.cv_results_[f"split{i}_test_score"]).all() for i in range(3))
    fitted = search.best_estimator_["model"]
    assert fitted.model_.layers[0].units == search.best_params_["model__neurons"]
    rate = float(fitted.model_.optimizer.learning_rate)
    assert rate == pytest.approx(search.best_params_["model__learning_rate"])
    if callbacks is not None:
        (wrapper,) = fitted.callbacks_
        assert wrapper.callback.best == min(fitted.history_["val_mean_squared_error"])
        assert given["callbacks"][0].callback.model is None
