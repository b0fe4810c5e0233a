"""The subclasses of scikeras's tutorials work with the classes of skguard.

Data transformers, autoencoders, MLPClassifier and MLPRegressor, and what subclasses add to
``_initialize``: see https://adriangb.com/scikeras/stable/tutorials.html. The tests are written
against the documented behavior alone, with models of our own.
"""

import keras
import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.metrics import accuracy_score, mean_squared_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, LabelEncoder

from skguard import GuardedKerasBase, GuardedKerasClassifier, GuardedKerasRegressor
from tests.peers.tutorials import (
    TutorialError,
    dense_layers,
    make_mlp,
    raises_and_changes_nothing,
)


class MultiOutputTransformer(BaseEstimator, TransformerMixin):
    """Encodes a binary and a multiclass column of y as two outputs."""

    def fit(self, y):
        self.encoders_ = [LabelEncoder().fit(column) for column in y.T]
        self.n_classes_ = [encoder.classes_.size for encoder in self.encoders_]
        self.n_outputs_expected_ = 2
        return self

    def transform(self, y):
        return [
            encoder.transform(column) for encoder, column in zip(self.encoders_, y.T, strict=True)
        ]

    def inverse_transform(self, outputs, return_proba=False):
        if return_proba:
            return np.column_stack(outputs)
        codes = [(outputs[0] > 0.5).astype(int).ravel(), outputs[1].argmax(axis=1)]
        pairs = zip(self.encoders_, codes, strict=True)
        return np.column_stack([encoder.inverse_transform(code) for encoder, code in pairs])

    def get_metadata(self):
        return {"n_classes_": self.n_classes_, "n_outputs_expected_": self.n_outputs_expected_}


class MultiOutputClassifier(GuardedKerasClassifier):
    @property
    def target_encoder(self):
        return MultiOutputTransformer()

    @staticmethod
    def scorer(y_true, y_pred, **kwargs):
        return np.mean([accuracy_score(y_true[:, i], y_pred[:, i], **kwargs) for i in (0, 1)])


def build_two_heads(meta, n_heads=2):
    inputs = keras.Input((meta["n_features_in_"],))
    hidden = keras.layers.Dense(8, "relu")(inputs)
    heads = [
        keras.layers.Dense(1, "sigmoid")(hidden),
        keras.layers.Dense(meta["n_classes_"][1], "softmax")(hidden),
    ]
    losses = ["binary_crossentropy", "sparse_categorical_crossentropy"]
    model = keras.Model(inputs, heads[:n_heads])
    model.compile(keras.optimizers.Adam(0.05), losses[:n_heads])
    return model


@pytest.fixture
def two_targets(blobs):
    """Two columns of labels that no encoder may take for 0, 1, 2, ..."""
    X, y = blobs
    return X, np.column_stack([np.where(y == 1, 7, 5), 10 * y])


def make_two_heads(**params):
    return MultiOutputClassifier(build_two_heads, epochs=40, verbose=0, random_state=0, **params)


def test_a_multi_output_classifier_predicts_the_labels_of_each_column(two_targets):
    X, y = two_targets
    estimator = make_two_heads().fit(X, y)
    predicted = estimator.predict(X)
    assert predicted.shape == y.shape
    assert set(predicted[:, 0]) == {5, 7}
    assert set(predicted[:, 1]) == {0, 10, 20}
    binary, multiclass = estimator.model_.predict(X, verbose=0)
    assert np.array_equal(predicted[:, 0], np.where(binary.ravel() > 0.5, 7, 5))
    assert np.array_equal(predicted[:, 1], 10 * multiclass.argmax(axis=1))


def test_a_multi_output_classifier_is_scored_by_its_own_scorer(two_targets):
    X, y = two_targets
    estimator = make_two_heads().fit(X, y)
    assert estimator.score(X, y) == (estimator.predict(X) == y).mean() > 0.9
    halves = np.repeat([1.0, 0.0], 30)
    assert estimator.score(X, y, halves) == (estimator.predict(X) == y)[:30].mean()


def test_metadata_of_the_target_encoder_are_attributes_and_reach_the_model_function(two_targets):
    estimator = make_two_heads().fit(*two_targets)
    assert estimator.n_classes_ == [2, 3]  # which the model function read from meta
    assert estimator.n_outputs_expected_ == 2
    assert [output.shape[-1] for output in estimator.model_.outputs] == [1, 3]


def test_a_model_with_fewer_outputs_than_the_encoder_expects_is_an_error(two_targets):
    estimator = make_two_heads().fit(*two_targets)
    estimator.set_params(n_heads=1)
    with raises_and_changes_nothing(
        estimator, two_targets[0], error=ValueError, match="1 outputs?.* 2"
    ):
        estimator.fit(*two_targets)


class FailingLabels(MultiOutputTransformer):
    def transform(self, y):
        raise TutorialError("cannot encode, on purpose")


def test_an_error_in_the_target_encoder_leaves_the_estimator_as_it_was(two_targets, monkeypatch):
    estimator = make_two_heads(callbacks=[]).fit(*two_targets)
    monkeypatch.setattr(
        MultiOutputClassifier, "target_encoder", property(lambda _: FailingLabels())
    )
    with raises_and_changes_nothing(estimator, two_targets[0]):
        estimator.fit(*two_targets)


class MultiInputRegressor(GuardedKerasRegressor):
    @property
    def feature_encoder(self):
        return FunctionTransformer(lambda X: [X[:, 0], X[:, 1:]])


def build_two_inputs():
    inputs = [keras.Input((1,)), keras.Input((3,))]
    hidden = [
        keras.layers.Dense(size, "relu")(one) for size, one in zip((16, 8), inputs, strict=True)
    ]
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Concatenate()(hidden)))
    model.compile(keras.optimizers.Adam(0.05), "mse")
    return model


def test_a_multi_input_regressor_gives_each_input_its_features(line):
    X, y = line
    estimator = MultiInputRegressor(build_two_inputs, epochs=30, verbose=0, random_state=0)
    estimator.fit(X, y)
    by_keras = estimator.model_.predict([X[:, 0], X[:, 1:]], verbose=0)
    assert np.allclose(estimator.predict(X), by_keras.ravel(), rtol=1e-6, atol=1e-6)
    assert estimator.score(X, y) > 0.8
    assert np.array_equal(clone(estimator).fit(X, y).predict(X), estimator.predict(X))


class NamedInputs(BaseEstimator, TransformerMixin):
    """Splits X for named inputs, and reports the width of each."""

    def fit(self, X):
        self.widths_ = {"left": 1, "right": X.shape[1] - 1}
        return self

    def transform(self, X):
        if np.isclose(X, 77).any():
            raise TutorialError("cannot split, on purpose")
        return {"left": X[:, :1], "right": X[:, 1:]}

    def get_metadata(self):
        return {"input_widths_": {"left": 1, "right": 3}}


class NamedInputsRegressor(GuardedKerasRegressor):
    @property
    def feature_encoder(self):
        return NamedInputs()

    def _keras_build_fn(self, meta):
        inputs = {
            name: keras.Input((width,), name=name) for name, width in meta["input_widths_"].items()
        }
        joined = keras.layers.Concatenate()([inputs["left"], inputs["right"]])
        return keras.Model(inputs, keras.layers.Dense(1)(joined))


def make_named_inputs():
    return NamedInputsRegressor(loss="mse", optimizer="sgd", verbose=0, random_state=0)


def test_inputs_by_name_and_metadata_of_the_feature_encoder(line):
    X, y = line
    estimator = make_named_inputs().fit(X, y)
    assert estimator.input_widths_ == {"left": 1, "right": 3}
    kernel, bias = estimator.model_.get_weights()
    assert np.allclose(estimator.predict(X), (X @ kernel + bias).ravel(), atol=1e-5)


def test_an_error_in_the_feature_encoder_leaves_the_estimator_as_it_was(line):
    X, y = line
    estimator = make_named_inputs().fit(X, y)
    with raises_and_changes_nothing(estimator, X):
        estimator.fit(np.full_like(X, 77), y)


class ImageClassifier(GuardedKerasClassifier):
    @property
    def feature_encoder(self):
        return FunctionTransformer(lambda X: X.reshape(len(X), 4, 4, 1))


def build_convolution(meta):
    return keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Conv2D(4, (3, 3), activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(meta["n_classes_"], "softmax"),
        ]
    )


def test_flat_images_are_reshaped_for_the_model_in_training_and_validation(rng):
    y = np.tile([0, 1], 20)
    X = rng.normal(size=(40, 16)) + 2 * y[:, None]
    estimator = ImageClassifier(
        build_convolution,
        loss="sparse_categorical_crossentropy",
        optimizer="adam",
        optimizer__learning_rate=0.05,
        epochs=8,
        batch_size=16,
        validation_split=0.1,
        verbose=0,
        random_state=0,
    ).fit(X, y)
    assert estimator.n_features_in_ == 16
    assert estimator.model_.input_shape == (None, 4, 4, 1)
    assert len(estimator.history_["val_loss"]) == 8
    assert estimator.score(X, y) > 0.9
    with pytest.raises(ValueError, match="reshape"):
        clone(estimator).fit(X[:, :9], y)


class AutoEncoder(GuardedKerasBase, TransformerMixin):
    """Two nested models, each with an estimator of its own, and the one that trains them."""

    def _keras_build_fn(self, encoding_dim, meta, hidden_layer_sizes=()):
        n_features = meta["n_features_in_"]
        encoder = keras.Sequential([keras.Input((n_features,))], name="encoder")
        for size in (*hidden_layer_sizes, encoding_dim):
            encoder.add(keras.layers.Dense(size, "tanh"))
        decoder = keras.Sequential([keras.Input((encoding_dim,))], name="decoder")
        for size in reversed(hidden_layer_sizes):
            decoder.add(keras.layers.Dense(size, "tanh"))
        decoder.add(keras.layers.Dense(n_features))
        inputs = keras.Input((n_features,))
        self.encoder_model_ = GuardedKerasBase(encoder, verbose=self.verbose)
        self.decoder_model_ = GuardedKerasBase(decoder, verbose=self.verbose)
        return keras.Model(inputs, decoder(encoder(inputs)))

    def _initialize(self, X, y=None):
        X, _ = super()._initialize(X=X, y=y)
        codes = self.encoder_model_.initialize(X).predict(X)
        self.decoder_model_.initialize(codes)
        return X, X

    def initialize(self, X):
        self._initialize(X=X, y=X)
        return self

    def fit(self, X, y=None, *, sample_weight=None):
        super().fit(X=X, y=X, sample_weight=sample_weight)
        return self

    def score(self, X):
        return 1 - mean_squared_error(self.predict(X), X)

    def transform(self, X):
        return self.encoder_model_.predict(self.feature_encoder_.transform(X))

    def inverse_transform(self, codes):
        return self.feature_encoder_.inverse_transform(self.decoder_model_.predict(codes))


def make_autoencoder(**params):
    settings = {
        "loss": "mse",
        "optimizer": "adam",
        "optimizer__learning_rate": 0.02,
        "encoding_dim": 2,
        "epochs": 5,
        "verbose": 0,
        "random_state": 0,
    }
    return AutoEncoder(**settings | params)


@pytest.mark.parametrize("hidden_layer_sizes", [(), (6, 5)], ids=["simple", "deep"])
def test_both_halves_of_an_autoencoder_are_trained_with_the_whole(hidden_layer_sizes, line):
    X, _ = line
    estimator = make_autoencoder(hidden_layer_sizes=hidden_layer_sizes).fit(X)
    codes = estimator.transform(X)
    assert codes.shape == (60, 2)
    assert np.allclose(codes, estimator.model_.get_layer("encoder").predict(X, verbose=0))
    assert np.allclose(estimator.inverse_transform(codes), estimator.predict(X), atol=1e-6)
    untrained = make_autoencoder(hidden_layer_sizes=hidden_layer_sizes).initialize(X)
    assert not np.allclose(codes, untrained.transform(X), atol=1e-3)
    assert estimator.score(X) > untrained.score(X)


def test_an_initialized_autoencoder_transforms_with_its_first_weights(line):
    X, _ = line
    estimator = make_autoencoder().initialize(X)
    kernel, bias = estimator.model_.get_layer("encoder").get_weights()
    assert np.allclose(estimator.transform(X), np.tanh(X @ kernel + bias), atol=1e-6)
    assert np.allclose(estimator.inverse_transform(estimator.transform(X)), estimator.predict(X))


def test_an_autoencoder_in_a_pipeline_and_its_clone(line):
    X, y = line
    pipeline = Pipeline([("codes", make_autoencoder()), ("net", make_linear())])
    predicted = pipeline.fit(X, y).predict(X)
    assert predicted.shape == (60,)
    assert np.array_equal(clone(pipeline).fit(X, y).predict(X), predicted)
    assert np.array_equal(make_autoencoder().fit_transform(X), pipeline[:-1].transform(X))


def make_linear():
    def build(meta):
        return keras.Sequential(
            [keras.Input((meta["n_features_in_"],)), keras.layers.Dense(meta["n_outputs_"])]
        )

    return GuardedKerasRegressor(build, loss="mse", verbose=0, random_state=0)


def test_an_error_in_the_model_function_of_an_autoencoder_leaves_both_halves(line):
    X, _ = line
    estimator = make_autoencoder().fit(X)
    halves = estimator.encoder_model_, estimator.decoder_model_
    codes = estimator.transform(X)
    estimator.set_params(hidden_layer_sizes=("wide",))
    with raises_and_changes_nothing(estimator, X, error=Exception, match="wide|units"):
        estimator.fit(X, None)
    assert (estimator.encoder_model_, estimator.decoder_model_) == halves
    assert np.array_equal(estimator.transform(X), codes)


class MLPRegressor(GuardedKerasRegressor):
    """As in the tutorial, ``optimizer__learning_rate`` is in the signature and not stored."""

    def __init__(
        self,
        hidden_layer_sizes=(8,),
        optimizer="adam",
        optimizer__learning_rate=0.001,
        epochs=20,
        verbose=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden_layer_sizes = hidden_layer_sizes
        self.optimizer = optimizer
        self.epochs = epochs
        self.verbose = verbose

    def _keras_build_fn(self, compile_kwargs):
        model = keras.Sequential([keras.Input((self.n_features_in_,))])
        for size in self.hidden_layer_sizes:
            model.add(keras.layers.Dense(size, "relu"))
        model.add(keras.layers.Dense(1))
        model.compile(loss="mse", optimizer=compile_kwargs["optimizer"])
        return model


def test_a_subclass_reads_its_parameters_and_the_data_in_its_build_method(line):
    X, y = line
    estimator = MLPRegressor((6, 5), random_state=0).fit(X, y)
    assert [layer.units for layer in dense_layers(estimator.model_)] == [6, 5, 1]
    assert estimator.model_.input_shape == (None, 4)
    assert len(estimator.history_["loss"]) == 20
    assert estimator.predict(X).shape == (60,)
    assert isinstance(estimator.model_.optimizer, keras.optimizers.Adam)


def test_parameters_of_a_subclass_are_searched_with_routed_ones(line):
    grid = {"hidden_layer_sizes": [(4,), (5, 4)], "optimizer__learning_rate": [0.0625]}
    search = GridSearchCV(MLPRegressor(epochs=2, random_state=0), grid, cv=2, error_score="raise")
    best = search.fit(*line).best_estimator_
    assert best.hidden_layer_sizes == search.best_params_["hidden_layer_sizes"]
    assert float(best.model_.optimizer.learning_rate) == 0.0625
    assert [e.units for e in dense_layers(best.model_)[:-1]] == list(best.hidden_layer_sizes)


def test_an_error_in_the_build_method_leaves_the_estimator_as_it_was(line):
    estimator = MLPRegressor((6,), epochs=2, random_state=0).fit(*line)
    estimator.set_params(hidden_layer_sizes=("wide",))
    with raises_and_changes_nothing(estimator, line[0], error=Exception, match="wide|units"):
        estimator.fit(*line)


def test_a_model_function_chooses_its_last_layer_by_the_type_of_the_target(blobs):
    X, y = blobs
    multiclass = make_mlp().fit(X, y)
    binary = clone(multiclass).fit(X, np.where(y == 1, "yes", "no"))
    assert multiclass.model_.output_shape == (None, 3)
    assert binary.model_.output_shape == (None, 1)
    assert multiclass.score(X, y) > 0.9
    assert set(binary.predict(X)) == {"yes", "no"}
    assert np.allclose(binary.predict_proba(X).sum(axis=1), 1, atol=1e-6)
    with raises_and_changes_nothing(multiclass, X):
        multiclass.fit(X, np.column_stack([y == 0, y == 1]).astype(int))


def test_compile_kwargs_hold_what_the_parameters_say_as_objects(blobs):
    seen = []

    def build(meta, compile_kwargs):
        seen.append(compile_kwargs)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
        model.compile(**compile_kwargs)
        return model

    estimator = GuardedKerasClassifier(
        build,
        loss="sparse_categorical_crossentropy",
        metrics=["sparse_categorical_accuracy"],
        optimizer="sgd",
        optimizer__learning_rate=0.25,
        optimizer__momentum=0.5,
        verbose=0,
    ).fit(*blobs)
    assert isinstance(seen[0]["optimizer"], keras.optimizers.SGD)
    assert float(estimator.model_.optimizer.learning_rate) == 0.25
    assert estimator.model_.optimizer.momentum == 0.5
    assert "sparse_categorical_accuracy" in estimator.history_


class Finetuned(GuardedKerasClassifier):
    """Starts from known weights, freezes the first layer, and notes what it has seen."""

    n_failures = 0

    def _initialize(self, X, y=None):
        X, y = super()._initialize(X, y)
        self.feature_means_ = X.mean(axis=0)
        first = self.model_.layers[0]
        first.set_weights([np.ones_like(weights) for weights in first.get_weights()])
        first.trainable = False
        if type(self).n_failures > 0:
            type(self).n_failures -= 1
            raise TutorialError("not initialized, on purpose")
        return X, y


def build_uncompiled(meta):
    return keras.Sequential(
        [
            keras.Input((meta["n_features_in_"],)),
            keras.layers.Dense(4, "tanh"),
            keras.layers.Dense(meta["n_classes_"], "softmax"),
        ]
    )


@pytest.fixture
def finetuned():
    return Finetuned(
        build_uncompiled,
        loss="sparse_categorical_crossentropy",
        optimizer="adam",
        epochs=2,
        verbose=0,
        random_state=0,
    )


def test_fitted_attributes_and_changes_of_the_model_in_initialize_are_kept(blobs, finetuned):
    X, y = blobs
    finetuned.fit(X, y)
    first, last = finetuned.model_.layers
    assert np.array_equal(finetuned.feature_means_, X.mean(axis=0))
    assert all((weights == 1).all() for weights in first.get_weights())
    assert len(finetuned.model_.trainable_weights) == 2
    by_hand = np.tanh(X @ np.ones((4, 4)) + 1) @ np.array(last.kernel) + np.array(last.bias)
    assert np.array_equal(finetuned.predict(X), by_hand.argmax(axis=1))
    finetuned.partial_fit(X[:50], y[:50])
    assert np.array_equal(finetuned.feature_means_, X.mean(axis=0))  # not initialized again


def test_initialize_without_training_calls_the_overridden_step(blobs, finetuned):
    finetuned.initialize(*blobs)
    assert np.array_equal(finetuned.feature_means_, blobs[0].mean(axis=0))
    assert (finetuned.model_.layers[0].get_weights()[0] == 1).all()
    assert not hasattr(finetuned, "history_")


def test_an_error_in_initialize_leaves_the_estimator_as_it_was(blobs, finetuned, monkeypatch):
    X, y = blobs
    finetuned.fit(X, y)
    monkeypatch.setattr(Finetuned, "n_failures", 1)
    with raises_and_changes_nothing(finetuned, X):
        finetuned.fit(X, y)
    assert np.array_equal(finetuned.feature_means_, X.mean(axis=0))


def test_an_error_in_initialize_may_be_retried(blobs, finetuned, monkeypatch):
    monkeypatch.setattr(Finetuned, "n_failures", 1)
    finetuned.set_params(max_retries=1).fit(*blobs)
    assert [attempt.error for attempt in finetuned.attempts_] == ["TutorialError", None]
    assert (finetuned.model_.layers[0].get_weights()[0] == 1).all()


class Reencoded(GuardedKerasRegressor):
    """Replaces both encoders once the data are known."""

    def _initialize(self, X, y=None):
        X, y = super()._initialize(X, y)
        scale = float(np.abs(y).max())
        self.target_encoder_ = FunctionTransformer(
            lambda y: y / scale, lambda y: y.ravel() * scale
        ).fit(y)
        self.feature_encoder_ = FunctionTransformer(lambda X: X - 5).fit(X)
        self.scale_ = scale
        return X, y


def test_encoders_that_initialize_replaces_are_used_in_fit_and_predict(line):
    X, y = line[0], 100 * line[1]

    def build(meta):
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])

    estimator = Reencoded(build, loss="mse", epochs=3, verbose=0, random_state=0).fit(X, y)
    assert estimator.scale_ == np.abs(y).max()
    kernel, bias = estimator.model_.get_weights()
    by_hand = ((X - 5) @ kernel + bias).ravel() * estimator.scale_
    assert np.allclose(estimator.predict(X), by_hand, rtol=1e-4, atol=1e-2)
    # The loss is that of scaled targets.
    scaled = GuardedKerasRegressor(build, loss="mse", epochs=3, verbose=0, random_state=0)
    assert scaled.fit(X - 5, y / estimator.scale_).history_["loss"] == pytest.approx(
        estimator.history_["loss"], rel=1e-5
    )
