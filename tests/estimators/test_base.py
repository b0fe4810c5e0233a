"""The estimators behave as scikit-learn and its users expect of an estimator."""

import pickle

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, get_scorer, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from skguard import GuardedKerasBase, GuardedKerasClassifier, GuardedKerasRegressor
from tests.models import build_classifier, build_regressor, make_classifier, make_regressor


def build_sigmoids(meta):
    """Build one unit for two classes, or one per column for multilabel targets."""
    units = meta["n_classes_"] if meta["target_type_"] == "multilabel-indicator" else 1
    layer = keras.layers.Dense(units, "sigmoid")
    return keras.Sequential([keras.Input(meta["X_shape_"][1:]), layer])


def weights_of(estimator):
    return [np.array(weight) for weight in estimator.model_.get_weights()]


def same(some, others):
    return all(map(np.array_equal, some, others))


class Recorder(keras.callbacks.Callback):
    """Records the epochs that it is called in."""

    def __init__(self, name="recorder"):
        super().__init__()
        self.name = name
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(epoch)


class Fails(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise RuntimeError("no disk left")


def test_a_classifier_is_a_classifier_for_scikit_learn(classifier):
    assert is_classifier(classifier)
    assert not is_regressor(classifier)
    tags = get_tags(classifier)
    assert tags.classifier_tags.multi_class
    assert tags.classifier_tags.multi_label
    assert tags.target_tags.required
    assert tags.regressor_tags is None


def test_a_regressor_is_a_regressor_for_scikit_learn(regressor):
    assert is_regressor(regressor)
    assert not is_classifier(regressor)
    tags = get_tags(regressor)
    assert tags.target_tags.required
    assert tags.classifier_tags is None


def test_the_base_class_is_neither_and_needs_no_target():
    base = GuardedKerasBase(build_regressor)
    assert not is_classifier(base)
    assert not is_regressor(base)
    assert not get_tags(base).target_tags.required


def test_tags_include_sparse_samples_images_and_several_outputs(classifier):
    tags = get_tags(classifier)
    assert tags.input_tags.sparse
    assert tags.input_tags.three_d_array
    assert tags.target_tags.multi_output


def test_a_pipeline_has_the_type_of_its_last_step(classifier, regressor):
    assert is_classifier(make_pipeline(StandardScaler(), classifier))
    assert is_regressor(make_pipeline(StandardScaler(), regressor))


def test_folds_of_data_sorted_by_label_are_stratified(classifier):
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), classifier)
    assert cross_val_score(pipeline, X, y, cv=3).min() > 0.9


@pytest.mark.parametrize("scoring", ["roc_auc", "average_precision"])
def test_scores_that_need_probabilities_are_finite(scoring, blobs):
    X, y = blobs
    search = GridSearchCV(
        make_classifier(),
        {"units": [2, 8]},
        scoring=scoring,
        cv=2,
        refit=False,
        error_score="raise",
    ).fit(X[:40], y[:40])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize(
    ("make", "metric", "data"),
    [(make_classifier, accuracy_score, "blobs"), (make_regressor, r2_score, "line")],
    ids=["accuracy", "r2"],
)
def test_score_of_a_dataframe_uses_sample_weights(make, metric, data, request):
    X, y = request.getfixturevalue(data)
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(60) * 3 + 5)
    weights = pd.Series(np.arange(60) % 3, index=frame.index)
    estimator = make().fit(frame, y)
    expected = metric(y, estimator.predict(frame), sample_weight=weights)
    assert estimator.score(frame, y, sample_weight=weights) == expected
    assert estimator.score(frame, y) != expected


@pytest.mark.parametrize("requested", [True, False], ids=["requested", "not_requested"])
def test_metadata_routing_passes_weights_through_a_search_over_a_pipeline(requested, blobs):
    X, y = blobs
    weights = np.where(y == 2, 0.0, 1.0)  # the third class has no effect
    with config_context(enable_metadata_routing=True):
        scale = StandardScaler().set_fit_request(sample_weight=False)
        model = make_classifier(optimizer__learning_rate=0.1, epochs=10)
        model.set_fit_request(sample_weight=requested)
        pipeline = Pipeline([("scale", scale), ("model", model)])
        accuracy = get_scorer("accuracy").set_score_request(sample_weight=True)
        search = GridSearchCV(pipeline, {}, scoring=accuracy, cv=2, error_score="raise")
        search.fit(X, y, sample_weight=weights)
        assert (2 in search.predict(X)) is not requested


def test_a_request_for_metadata_survives_a_clone():
    with config_context(enable_metadata_routing=True):
        twin = clone(make_classifier().set_fit_request(sample_weight=True))
        assert twin.get_metadata_routing().fit.requests["sample_weight"] is True


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score"])
def test_reordered_columns_are_rejected(method, blobs):
    X, y = blobs
    frame = pd.DataFrame(X, columns=list("abcd"))
    estimator = make_classifier().fit(frame, y)
    assert estimator.feature_names_in_.tolist() == list("abcd")
    further = (y,) if method == "score" else ()
    with pytest.raises(ValueError, match="must be in the same order"):
        getattr(estimator, method)(frame[list("dcba")], *further)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "partial_fit"])
def test_another_number_of_features_is_rejected(method, blobs):
    X, y = blobs
    estimator = make_classifier().fit(X, y)
    assert estimator.n_features_in_ == 4
    further = (y,) if method == "partial_fit" else ()
    with pytest.raises(ValueError, match="3 features, but GuardedKerasClassifier is expecting 4"):
        getattr(estimator, method)(X[:, :3], *further)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score"])
def test_methods_of_an_estimator_that_is_not_fitted_raise(method, blobs):
    arguments = blobs if method == "score" else blobs[:1]
    with pytest.raises(NotFittedError, match="GuardedKerasClassifier instance is not fitted yet"):
        getattr(make_classifier(), method)(*arguments)


LABELS = {
    "str": ["anna", "bo", "cleo"],
    "int": [-1, 3, 7],
    "int8": np.array([0, 1, 2], np.int8),
    "object": np.array(["x", "yy", "z"], object),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_predictions_are_the_labels_of_the_fit(labels, blobs, classifier):
    X, y = blobs
    y = np.asarray(labels)[y]
    predicted = classifier.fit(X, y).predict(X)
    assert predicted.dtype == y.dtype
    assert predicted.shape == y.shape
    assert np.mean(predicted == y) > 0.9


def make_sigmoid_classifier():
    return make_classifier(
        build_sigmoids, loss="binary_crossentropy", epochs=15, optimizer__learning_rate=0.1
    )


def parts_of(X):
    """Return one sample, which squeezing would lose, two, and all."""
    return X[:1], X[:2], X


@pytest.mark.parametrize("labels", [[False, True], ["no", "yes"]], ids=["bool", "str"])
def test_one_sigmoid_unit_gives_two_probabilities_per_sample(labels, blobs):
    X, y = blobs[0][:40], np.array(labels)[blobs[1][:40]]
    estimator = make_sigmoid_classifier().fit(X, y)
    for part in parts_of(X):
        probabilities = estimator.predict_proba(part)
        assert probabilities.shape == (len(part), 2)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
        predicted = estimator.predict(part)
        assert predicted.dtype == y.dtype
        assert np.array_equal(predicted, np.array(labels)[probabilities.argmax(axis=1)])
    assert estimator.score(X, y) > 0.9


def test_every_class_has_a_probability(blobs):
    estimator = make_classifier().fit(*blobs)
    for part in parts_of(blobs[0]):
        probabilities = estimator.predict_proba(part)
        assert probabilities.shape == (len(part), 3)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_every_label_of_a_multilabel_target_has_a_probability(blobs):
    X, y = blobs
    y = np.column_stack([y == 0, y != 1]).astype(int)
    estimator = make_sigmoid_classifier().fit(X, y)
    for part in parts_of(X):
        probabilities = estimator.predict_proba(part)
        assert probabilities.shape == (len(part), 2)
        predicted = estimator.predict(part)
        assert predicted.dtype == y.dtype
        assert np.array_equal(predicted, probabilities > 0.5)
    assert estimator.score(X, y) > 0.7


@pytest.mark.parametrize(
    ("at_fit", "at_predict"),
    [(np.float32, np.float32), (np.float64, np.float64), (np.int64, np.float64)],
    ids=lambda dtype: dtype.__name__,
)
def test_a_regressor_predicts_the_float_type_of_its_target(at_fit, at_predict, line):
    X, y = line
    estimator = make_regressor().fit(X, (10 * y).astype(at_fit))
    assert estimator.predict(X).dtype == at_predict


@pytest.mark.parametrize("shape", [(60,), (60, 1), (60, 2)], ids=str)
def test_a_regressor_predicts_the_shape_of_its_target(shape, line):
    X, y = line
    y = np.resize(y, shape)
    estimator = make_regressor().fit(X, y)
    assert estimator.predict(X).shape == shape
    assert estimator.predict(X[:1]).shape == (1, *shape[1:])


@pytest.mark.parametrize("compiled_by", ["function", "estimator"])
@pytest.mark.parametrize(
    "loss",
    [
        "categorical_crossentropy",
        "sparse_categorical_crossentropy",
        keras.losses.CategoricalCrossentropy(),
    ],
    ids=["categorical", "sparse", "categorical_object"],
)
def test_labels_are_encoded_for_the_loss(loss, compiled_by, blobs):
    def build_compiled(meta):
        model = build_classifier(meta)
        model.compile("adam", loss)
        return model

    if compiled_by == "function":
        estimator = GuardedKerasClassifier(build_compiled, verbose=0, random_state=0)
    else:
        estimator = make_classifier(loss=loss)
    X, y = blobs
    estimator.fit(X, y)
    truth = estimator.predict_proba(X)[np.arange(60), y]
    evaluated = estimator.model_.evaluate(X, estimator.target_encoder_.transform(y), verbose=0)
    assert evaluated == pytest.approx(-np.log(truth).mean(), rel=1e-4)


def test_class_weight_is_the_weight_of_the_samples_of_a_label(blobs):
    X, y = blobs
    names = np.array(["a", "b", "c"])[y]
    by_class = make_classifier(class_weight={"a": 1, "b": 3, "c": 0.5}).fit(X, names)
    by_sample = make_classifier().fit(X, names, sample_weight=np.array([1, 3, 0.5])[y])
    assert by_class.history_ == by_sample.history_ != make_classifier().fit(X, names).history_


def test_balanced_class_weight_raises_the_probability_of_a_rare_class(blobs):
    X, y = blobs[0][:25], blobs[1][:25]  # 20 samples of one class and 5 of the other
    settings = {"epochs": 5, "optimizer__learning_rate": 0.02}
    plain, balanced = (
        make_classifier(class_weight=weight, **settings).fit(X, y).predict_proba(X)[:, 1].mean()
        for weight in (None, "balanced")
    )
    assert balanced > plain


def test_class_weight_does_not_change_the_passed_weights(blobs):
    weights = np.ones(60)
    make_classifier(class_weight={0: 5, 1: 1, 2: 1}).fit(*blobs, sample_weight=weights)
    assert np.array_equal(weights, np.ones(60))


def test_partial_fit_continues_where_the_last_one_ended(blobs):
    X, y = blobs
    steps = make_classifier()
    for _ in range(3):
        steps.partial_fit(X, y)
    assert len(steps.history_["loss"]) == 3
    assert steps.history_["loss"][2] < steps.history_["loss"][0]


def test_partial_fit_keeps_its_callbacks(blobs):
    estimator = make_classifier(callbacks=Recorder()).partial_fit(*blobs).partial_fit(*blobs)
    assert estimator.callbacks_[0].epochs == [0, 1]


def test_partial_fit_accepts_classes_that_come_later(blobs):
    X, y = blobs
    estimator = make_classifier().partial_fit(X[:20], y[:20], classes=[0, 1, 2])
    assert estimator.partial_fit(X[40:], y[40:]).predict_proba(X[:1]).shape == (1, 3)


def test_partial_fit_with_other_classes_than_at_first_raises(blobs):
    estimator = make_classifier().partial_fit(*blobs, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"classes=\[0, 1\] is not the same as on the last call"):
        estimator.partial_fit(*blobs, classes=[0, 1])


def test_a_fit_does_not_use_the_classes_of_an_earlier_fit(blobs):
    X, y = blobs
    estimator = make_classifier().partial_fit(X, y, classes=[0, 1, 2, 9]).fit(X, y)
    assert estimator.classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["epochs", "initial_epoch"])
def test_partial_fit_with_a_number_of_epochs_raises(name, blobs):
    with pytest.raises(TypeError, match=f"does not take the argument '{name}'"):
        make_classifier().partial_fit(*blobs, **{name: 2})


def test_warm_start_continues_training_the_same_model(blobs):
    estimator = make_classifier(warm_start=True).fit(*blobs)
    model, first = estimator.model_, estimator.history_["loss"][0]
    estimator.fit(*blobs)
    assert estimator.model_ is model
    assert estimator.history_["loss"][0] < first


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_continued_training_uses_changed_callbacks(method, blobs):
    estimator = make_classifier(callbacks=Recorder("old"), warm_start=True).fit(*blobs)
    estimator.set_params(callbacks=Recorder("new"))
    getattr(estimator, method)(*blobs)
    assert [callback.name for callback in estimator.callbacks_] == ["new"]
    assert len(estimator.callbacks_[0].epochs) == 1


def test_continued_training_uses_changed_parameters_of_callbacks(blobs):
    stop = keras.callbacks.EarlyStopping
    estimator = make_classifier(
        callbacks=stop, callbacks__monitor="loss", callbacks__patience=3, warm_start=True
    ).fit(*blobs)
    estimator.set_params(callbacks__patience=5).fit(*blobs)
    assert estimator.callbacks_[0].patience == 5


def test_initialize_predicts_without_training(blobs):
    X, y = blobs
    estimator = make_classifier().initialize(X, y)
    assert not hasattr(estimator, "history_")
    assert estimator.predict_proba(X).shape == (60, 3)
    before = weights_of(estimator)
    assert not same(before, weights_of(estimator.partial_fit(X, y)))


def test_initialize_builds_the_callbacks(blobs):
    estimator = make_classifier(callbacks=Recorder("parameter")).initialize(*blobs)
    assert [callback.name for callback in estimator.callbacks_] == ["parameter"]


class Initializing(GuardedKerasRegressor):
    """Calls ``_initialize`` itself, as the autoencoder of scikeras's tutorial."""

    def initialize(self, X, y):
        self._initialize(X, y)
        return self


def make_initializing(**parameters):
    return Initializing(build_regressor, loss="mse", verbose=0, random_state=0, **parameters)


def test_a_subclass_that_calls_initialize_itself_predicts(line):
    X, y = line
    expected = GuardedKerasRegressor(build_regressor, loss="mse", verbose=0, random_state=0)
    estimator = make_initializing().initialize(X, y)
    assert np.array_equal(estimator.predict(X), expected.initialize(X, y).predict(X))
    twin = pickle.loads(pickle.dumps(estimator))
    assert np.array_equal(twin.predict(X), estimator.predict(X))


@pytest.mark.parametrize("fitted", [False, True], ids=["new", "fitted"])
def test_a_subclass_that_calls_initialize_itself_trains_from_the_first_epoch(fitted, line):
    estimator = make_initializing(callbacks=Recorder())
    if fitted:
        estimator.fit(*line, epochs=3)
    estimator.initialize(*line)
    assert not hasattr(estimator, "history_")
    estimator.partial_fit(*line)
    assert estimator.n_epochs_ == len(estimator.history_["loss"]) == 1
    assert estimator.callbacks_[0].epochs == [0]
    expected = make_initializing().fit(*line)
    assert estimator.history_ == expected.history_


def test_a_fit_sets_the_fitted_attributes(blobs):
    passed = Recorder()
    estimator = make_classifier(epochs=2, callbacks=passed, metrics=["accuracy"]).fit(*blobs)
    assert isinstance(estimator.model_, keras.Model)
    assert [type(callback) for callback in estimator.callbacks_] == [Recorder]
    assert estimator.callbacks_[0].epochs == [0, 1]
    assert passed.epochs == []
    assert {name: len(values) for name, values in estimator.history_.items()} == {
        "loss": 2,
        "accuracy": 2,
        "learning_rate": 2,
    }
    assert estimator.classes_.tolist() == [0, 1, 2]
    assert estimator.n_classes_ == 3


def test_fit_returns_the_estimator(blobs):
    estimator = make_classifier()
    assert estimator.fit(*blobs) is estimator
    assert estimator.partial_fit(*blobs) is estimator
    assert estimator.initialize(*blobs) is estimator


def test_a_fit_on_data_of_another_shape_starts_from_scratch(blobs):
    X, y = blobs
    estimator = make_classifier(epochs=2).fit(X, y)
    estimator.fit(X[:40, :2], np.array(["a", "b"])[y[:40]])
    assert estimator.n_features_in_ == 2
    assert estimator.classes_.tolist() == ["a", "b"]
    assert len(estimator.history_["loss"]) == 2
    assert estimator.predict_proba(X[:1, :2]).shape == (1, 2)


@pytest.mark.parametrize("fitted", [False, True], ids=["unfitted", "fitted"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_fit_that_fails_does_not_change_the_estimator(method, fitted, blobs):
    X, y = blobs
    estimator = make_classifier()
    if fitted:
        estimator.fit(X, y)
    estimator.set_params(callbacks=Fails)
    before = dict(vars(estimator))
    with pytest.raises(RuntimeError, match="no disk left"):
        getattr(estimator, method)(X[:40], y[:40])
    assert vars(estimator) == before


def test_callbacks_passed_to_fit_are_used_beside_the_parameters(blobs):
    given = Recorder("given")
    estimator = make_classifier(callbacks=Recorder("parameter"))
    estimator.fit(*blobs, callbacks=[given])
    assert [(c.name, c.epochs) for c in estimator.callbacks_] == [
        ("parameter", [0]),
        ("given", [0]),
    ]
    assert given.epochs == []
    estimator.fit(*blobs)
    assert [c.name for c in estimator.callbacks_] == ["parameter"]


def test_epochs_passed_to_fit_are_for_that_fit(blobs):
    estimator = make_classifier().fit(*blobs, epochs=3)
    assert len(estimator.history_["loss"]) == 3
    assert len(estimator.fit(*blobs).history_["loss"]) == 1


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "sparse_categorical_crossentropy"])
def test_labels_in_validation_data_are_encoded_as_y_is(loss, blobs):
    X, y = blobs[0], np.array(["a", "b", "c"])[blobs[1]]
    estimator = make_classifier(loss=loss).fit(X, y, validation_data=(X, y))
    np.testing.assert_allclose(
        estimator.history_["val_loss"][0],
        -np.log(estimator.predict_proba(X)[np.arange(60), blobs[1]]).mean(),
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    ("method", "name", "known"),
    [
        ("fit", "validation_splt", "validation_split"),
        ("partial_fit", "suffle", "shuffle"),
        ("predict", "batch_siz", "batch_size"),
        ("predict_proba", "batchsize", "batch_size"),
    ],
)
def test_an_unknown_argument_is_rejected_with_the_closest_name(method, name, known, blobs):
    estimator = make_classifier().initialize(*blobs)
    arguments = blobs if "fit" in method else blobs[:1]
    with pytest.raises(TypeError, match=f"does not take: '{name}'.*Did you mean '{known}'"):
        getattr(estimator, method)(*arguments, **{name: 1})


def test_a_clone_has_the_parameters_and_no_fitted_attribute(blobs):
    estimator = make_classifier(units=3, epochs=2).fit(*blobs)
    twin = clone(estimator)
    assert twin.get_params() == estimator.get_params()
    assert not [name for name in vars(twin) if name.endswith("_")]


def test_the_constructor_only_stores_its_arguments():
    callback = Recorder()
    estimator = make_classifier(units=3, callbacks=callback, optimizer__learning_rate=0.5)
    parameters = estimator.get_params()
    assert parameters["model"] is build_classifier
    assert parameters["callbacks"] is callback
    assert (parameters["units"], parameters["optimizer__learning_rate"]) == (3, 0.5)


def test_the_representation_has_the_parameters_that_were_set(blobs):
    estimator = make_classifier(units=3)
    representation = repr(estimator)
    assert representation.startswith("GuardedKerasClassifier(")
    assert "units=3" in representation
    assert "random_state=0" in representation
    assert repr(estimator.fit(*blobs)) == representation


def test_a_pipeline_reaches_parameters_of_the_model_function(line):
    pipeline = Pipeline([("scale", StandardScaler()), ("net", make_regressor())])
    pipeline.set_params(net__units=5, net__optimizer__learning_rate=0.25).fit(*line)
    model = pipeline["net"].model_
    assert model.layers[0].units == 5
    assert float(model.optimizer.learning_rate) == 0.25


def test_names_are_checked_once_the_model_is_usable(line):
    estimator = make_regressor(model=-1).set_params(units=3)
    assert estimator.set_params(model=build_regressor).fit(*line).model_.layers[0].units == 3
    estimator = make_regressor(model=-1).set_params(unitz=3)
    with pytest.raises(ValueError, match="'unitz' is not a parameter"):
        estimator.fit(*line)


def test_score_parameters_reach_the_scorer(blobs):
    estimator = make_classifier(score__normalize=False).fit(*blobs)
    assert estimator.score(*blobs) == (estimator.predict(blobs[0]) == blobs[1]).sum()


def test_a_subclass_may_have_more_parameters(line):
    class Sized(GuardedKerasRegressor):
        def __init__(self, width=3, **kwargs):
            super().__init__(**kwargs)
            self.width = width

        def _keras_build_fn(self, meta):
            return build_regressor(meta, self.width)

    estimator = clone(Sized(width=5, loss="mse", verbose=0)).fit(*line)
    assert estimator.model_.layers[0].units == 5
    assert estimator.get_params()["width"] == 5


def test_callbacks_passed_to_partial_fit_are_for_that_call_only(line):
    estimator = make_regressor(callbacks=[keras.callbacks.History()])
    estimator.partial_fit(*line, callbacks=[keras.callbacks.TerminateOnNaN])
    assert len(estimator.callbacks_) == 2
    kept = estimator.callbacks_[0]
    assert estimator.partial_fit(*line).callbacks_ == [kept]


def test_callbacks_passed_to_fit_are_checked_and_their_paths_placed(line, tmp_path):
    with pytest.raises(
        TypeError, match=r"callbacks must be a keras\.callbacks\.Callback .*, got 'early'"
    ):
        make_regressor().fit(*line, callbacks=["early"])
    logger = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    clone(make_regressor()).fit(*line, callbacks=logger)
    assert [path.parent.name[:4] for path in tmp_path.rglob("log.csv")] == ["fit-"]


def test_routed_parameters_of_callbacks_are_not_for_those_passed_to_fit(line):
    estimator = make_regressor(
        callbacks=[keras.callbacks.EarlyStopping],
        callbacks__0__monitor="loss",
        callbacks__patience=7,
    )
    stop, extra = estimator.fit(*line, callbacks=[keras.callbacks.History()]).callbacks_
    assert stop.patience == 7
    assert isinstance(extra, keras.callbacks.History)
