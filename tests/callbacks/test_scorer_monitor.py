import gc
import pickle
import weakref

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import fbeta_score, get_scorer, make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skguard import GuardedKerasRegressor
from skguard.callbacks import ScorerMonitor, Shared
from skguard.exceptions import InputError
from tests.models import build_classifier, build_regressor, make_classifier, make_regressor

EPOCHS = 4


@pytest.fixture(params=["fused", "keras"])
def engine(request):
    return request.param


@pytest.fixture
def hard(rng):
    """60 shuffled samples of three classes that no model can separate."""
    return rng.normal(size=(60, 4)), rng.permutation(np.repeat([0, 1, 2], 20))


@pytest.fixture
def monitored(classifier):
    """The classifier with some callbacks and a validation set."""

    def make(*callbacks, **params):
        params = {"epochs": EPOCHS, "validation_fraction": 0.3} | params
        return classifier.set_params(callbacks=list(callbacks), **params)

    return make


def n_wrong(estimator, X, y):
    return -float(np.sum(estimator.predict(X) != y))


def fraction_of_zeros(y, predicted):
    """A score function that takes no sample weights."""
    return float(np.mean(predicted == 0))


class Epochs(keras.callbacks.Callback):
    """Count the batches and epochs that began."""

    n_begun = 0

    def on_train_batch_begin(self, batch, logs=None):
        self.n_begun += 1

    def on_epoch_begin(self, epoch, logs=None):
        self.n_begun += 1


@pytest.mark.parametrize(
    ("scoring", "name", "logged"),
    [
        ("roc_auc_ovr", None, "val_roc_auc_ovr"),
        ("neg_log_loss", None, "val_neg_log_loss"),
        ("balanced_accuracy", "mine", "val_mine"),
        (make_scorer(fbeta_score, beta=2, average="macro"), None, "val_fbeta_score"),
        (n_wrong, None, "val_n_wrong"),
        (make_scorer(fraction_of_zeros), "zeros", "val_zeros"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:24],
)
def test_the_last_score_is_that_of_the_scorer_on_the_validation_set(
    scoring, name, logged, engine, monitored, hard
):
    X, y = hard
    estimator = monitored(ScorerMonitor(scoring, name), engine=engine).fit(X, y)
    assert estimator.engine_ == engine
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    validation = estimator.validation_indices_
    scores = estimator.history_[logged]
    assert len(validation) == 18
    assert len(scores) == EPOCHS
    assert all(type(score) is float for score in scores)
    assert scores[-1] == scorer(estimator, X[validation], y[validation])
    assert estimator.callbacks_[0].scores == scores


def test_each_epoch_is_scored_with_the_weights_at_its_end(engine, monitored, hard):
    X, y = hard
    whole = monitored(ScorerMonitor("neg_log_loss"), engine=engine).fit(X, y)
    scores = whole.history_["val_neg_log_loss"]
    assert len(set(scores)) == EPOCHS
    for epochs in (1, 2):
        short = clone(whole).set_params(epochs=epochs).fit(X, y)
        assert short.history_["val_neg_log_loss"] == scores[:epochs]


def test_scorers_get_decoded_labels(engine, monitored, hard):
    X, y = hard
    labels = np.array(["ant", "bee", "cat"])[y]
    seen = []

    def score(estimator, X, y):
        seen.append((set(y), set(estimator.predict(X)), list(estimator.classes_)))
        return float(np.mean(estimator.predict(X) == y))

    estimator = monitored(ScorerMonitor(score), ScorerMonitor("roc_auc_ovr"), engine=engine)
    estimator.fit(X, labels)
    assert all(truth == {"ant", "bee", "cat"} for truth, _, _ in seen)
    assert all(predicted <= {"ant", "bee", "cat"} for _, predicted, _ in seen)
    assert all(classes == ["ant", "bee", "cat"] for _, _, classes in seen)
    validation = estimator.validation_indices_
    assert estimator.history_["val_score"][-1] == np.mean(
        estimator.predict(X[validation]) == labels[validation]
    )


@pytest.mark.parametrize("scoring", ["r2", "neg_mean_absolute_error"])
def test_regressors_are_scored_too(scoring, engine, regressor, line):
    X, y = line
    monitor = ScorerMonitor(scoring)
    regressor.set_params(callbacks=monitor, validation_fraction=0.3, epochs=EPOCHS, engine=engine)
    regressor.fit(X, y)
    validation = regressor.validation_indices_
    expected = get_scorer(scoring)(regressor, X[validation], y[validation])
    assert regressor.history_[f"val_{scoring}"][-1] == expected


def test_sample_weights_are_passed_to_scorers_that_take_them(engine, monitored, hard, rng):
    X, y = hard
    weights = rng.uniform(0.1, 5, 60)
    estimator = monitored(ScorerMonitor("neg_log_loss"), engine=engine).fit(X, y, weights)
    validation, scorer = estimator.validation_indices_, get_scorer("neg_log_loss")
    weighted = scorer(estimator, X[validation], y[validation], sample_weight=weights[validation])
    assert abs(weighted - scorer(estimator, X[validation], y[validation])) > 1e-4
    # Keras takes the weights as float32, and so does the monitor.
    assert estimator.history_["val_neg_log_loss"][-1] == pytest.approx(weighted, rel=1e-6)


@pytest.mark.parametrize(
    "scoring", [n_wrong, make_scorer(fraction_of_zeros)], ids=["callable", "make_scorer"]
)
def test_sample_weights_are_not_passed_to_other_scorers(scoring, monitored, hard, rng):
    X, y = hard
    estimator = monitored(ScorerMonitor(scoring, "custom")).fit(X, y, rng.uniform(0.1, 5, 60))
    validation = estimator.validation_indices_
    assert estimator.history_["val_custom"][-1] == scoring(estimator, X[validation], y[validation])


def test_sample_weights_are_not_passed_to_other_scorers_given_by_name(regressor, line, rng):
    X, y = line
    monitor = ScorerMonitor("neg_max_error")
    regressor.set_params(callbacks=monitor, validation_fraction=0.3, epochs=2)
    regressor.fit(X, y, sample_weight=rng.uniform(0.1, 5, 60))
    validation = regressor.validation_indices_
    expected = get_scorer("neg_max_error")(regressor, X[validation], y[validation])
    assert regressor.history_["val_neg_max_error"][-1] == expected


def test_x_val_and_y_val_are_scored(engine, monitored, hard, rng):
    X, y = hard
    X_val, y_val = rng.normal(size=(12, 4)), np.arange(12) % 3
    estimator = monitored(
        ScorerMonitor("neg_log_loss"), engine=engine, validation_fraction=None
    ).fit(X, y, X_val=X_val, y_val=y_val)
    expected = get_scorer("neg_log_loss")(estimator, X_val, y_val)
    assert estimator.history_["val_neg_log_loss"][-1] == expected


@pytest.mark.parametrize("monitor_first", [True, False])
def test_early_stopping_finds_the_score_in_any_order_of_callbacks(
    monitor_first, engine, monitored, hard
):
    stop = keras.callbacks.EarlyStopping(
        "val_roc_auc_ovr", mode="max", patience=2, restore_best_weights=True
    )
    callbacks = [ScorerMonitor("roc_auc_ovr"), stop]
    if not monitor_first:
        callbacks.reverse()
    X, y = hard
    estimator = monitored(*callbacks, engine=engine, epochs=40).fit(X, y)
    scores = estimator.history_["val_roc_auc_ovr"]
    assert estimator.stop_reason_ == "early_stopping"
    assert estimator.best_epoch_ == int(np.argmax(scores))
    assert len(scores) == estimator.best_epoch_ + 3 < 40
    validation = estimator.validation_indices_
    assert get_scorer("roc_auc_ovr")(estimator, X[validation], y[validation]) == max(scores)


@pytest.mark.parametrize("monitor_first", [True, False])
def test_reduce_lr_on_plateau_finds_the_score_in_any_order_of_callbacks(
    monitor_first, engine, monitored, hard
):
    plateau = keras.callbacks.ReduceLROnPlateau(
        "val_custom", mode="max", factor=0.5, patience=1, min_lr=0
    )
    callbacks = [ScorerMonitor(lambda estimator, X, y: 0.5, "custom"), plateau]
    if not monitor_first:
        callbacks.reverse()
    estimator = monitored(*callbacks, engine=engine).fit(*hard)
    assert float(estimator.model_.optimizer.learning_rate) == pytest.approx(0.05 / 2**3)


@pytest.mark.parametrize("monitor_first", [True, False])
def test_model_checkpoint_finds_the_score_in_any_order_of_callbacks(
    monitor_first, engine, monitored, hard, tmp_path
):
    save = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "best.weights.h5"),
        "val_neg_log_loss",
        mode="max",
        save_best_only=True,
        save_weights_only=True,
    )
    callbacks = [ScorerMonitor("neg_log_loss"), save]
    if not monitor_first:
        callbacks.reverse()
    X, y = hard
    estimator = monitored(*callbacks, engine=engine, epochs=8).fit(X, y)
    best = max(estimator.history_["val_neg_log_loss"])
    estimator.model_.load_weights(tmp_path / "best.weights.h5")
    validation = estimator.validation_indices_
    assert get_scorer("neg_log_loss")(estimator, X[validation], y[validation]) == best


def test_epochs_without_validation_have_no_score(engine, monitored, hard):
    X, y = hard
    estimator = monitored(ScorerMonitor("neg_log_loss"), engine=engine, epochs=5)
    estimator.fit(X, y, validation_freq=2)
    assert len(estimator.history_["loss"]) == 5
    assert len(estimator.history_["val_loss"]) == 2
    assert len(estimator.history_["val_neg_log_loss"]) == 2


@pytest.mark.filterwarnings("ignore:Early stopping conditioned on metric:UserWarning")
def test_early_stopping_waits_for_an_epoch_with_validation(engine, monitored, hard):
    stop = keras.callbacks.EarlyStopping("val_neg_log_loss", mode="max", patience=99)
    estimator = monitored(ScorerMonitor("neg_log_loss"), stop, engine=engine, epochs=4)
    estimator.fit(*hard, validation_freq=2)
    scores = estimator.history_["val_neg_log_loss"]
    assert estimator.best_epoch_ == 2 * int(np.argmax(scores)) + 1


def test_a_missing_validation_set_raises_before_training(engine, monitored, hard):
    epochs = Shared(Epochs())
    estimator = monitored(
        ScorerMonitor("accuracy"), epochs, engine=engine, validation_fraction=None
    )
    with pytest.raises(ValueError, match=r"ScorerMonitor\('accuracy'\) needs a validation set"):
        estimator.fit(*hard)
    assert epochs.callback.n_begun == 0
    assert not hasattr(estimator, "history_")


@pytest.mark.parametrize("scoring", ["roc_auk", 3])
def test_an_unknown_scorer_raises_before_training(scoring, engine, monitored, hard):
    epochs = Shared(Epochs())
    with pytest.raises(ValueError, match=f"{scoring}"):
        monitored(ScorerMonitor(scoring), epochs, engine=engine).fit(*hard)
    assert epochs.callback.n_begun == 0


def test_fit_of_a_keras_model_raises_before_training(hard):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    epochs = Epochs()
    with pytest.raises(ValueError, match=r"ScorerMonitor.*skguard's estimators"):
        model.fit(*hard, verbose=0, validation_split=0.2, callbacks=[ScorerMonitor("r2"), epochs])
    assert epochs.n_begun == 0


def test_an_error_in_the_scorer_propagates_and_releases_the_validation_set(engine, monitored, hard):
    def fail(estimator, X, y):
        raise RuntimeError("injected")

    shared = Shared(ScorerMonitor(fail))
    with pytest.raises(RuntimeError, match="injected"):
        monitored(shared, engine=engine).fit(*hard)
    with pytest.raises(ValueError, match="has no validation set"):
        shared.callback.on_train_begin()


@pytest.mark.parametrize(
    ("scoring", "match"),
    [
        ("roc_auc", "y is multiclass: multi_class must be in"),
        ("f1", "y is multiclass: Target is multiclass"),
        (make_scorer(fbeta_score), "y is multiclass: "),
    ],
    ids=["roc_auc", "f1", "object"],
)
def test_a_scorer_that_does_not_apply_to_the_target_is_an_input_error(scoring, match, hard):
    n_builds = []

    def build(meta):
        n_builds.append(1)
        return build_classifier(meta)

    estimator = make_classifier(
        build, scoring=scoring, validation_fraction=0.3, epochs=3, max_retries=2
    )
    match = f"scoring=.* cannot score the validation set, whose {match}"
    with pytest.raises(InputError, match=match):
        estimator.fit(*hard)
    assert len(n_builds) == 1


def test_a_scorer_of_probabilities_is_an_input_error_for_a_regressor(line):
    estimator = make_regressor(scoring="neg_log_loss", validation_fraction=0.3, max_retries=2)
    with pytest.raises(InputError, match=r"y is continuous: .*predict_proba") as raised:
        estimator.fit(*line)
    assert len(raised.value.attempts) == 1


def test_a_scorer_that_fails_after_the_first_epoch_may_be_retried(hard):
    calls = []

    def fails_once(estimator, X, y):
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("made up")
        return 0.5

    estimator = make_classifier(
        scoring=fails_once, validation_fraction=0.3, epochs=2, max_retries=1
    )
    assert [attempt.error for attempt in estimator.fit(*hard).attempts_] == ["ValueError", None]


def test_a_score_of_a_diverged_model_may_be_retried(line):
    rates = iter([1e30, 0.01])

    def build(meta):
        model = build_regressor(meta)
        model.compile(keras.optimizers.SGD(next(rates)), "mse")
        return model

    estimator = GuardedKerasRegressor(
        build,
        scoring="r2",
        validation_fraction=0.3,
        on_nan="ignore",
        max_retries=1,
        verbose=0,
        random_state=0,
    )
    assert [attempt.error for attempt in estimator.fit(*line).attempts_] == ["ValueError", None]


def build_with_dropout(meta):
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.4)]
    last = keras.layers.Dense(meta["n_classes_"], "softmax")
    return keras.Sequential([keras.Input(meta["X_shape_"][1:]), *layers, last])


def test_a_monitor_changes_no_other_number(engine, monitored, hard):
    plain = monitored(engine=engine, model=build_with_dropout, metrics=["accuracy"])
    watched = clone(plain).set_params(callbacks=[ScorerMonitor("roc_auc_ovr")])
    plain.fit(*hard)
    watched.fit(*hard)
    others = dict(watched.history_)
    assert len(others.pop("val_roc_auc_ovr")) == EPOCHS
    assert others == plain.history_
    assert all(map(np.array_equal, watched.model_.get_weights(), plain.model_.get_weights()))
    assert np.array_equal(watched.validation_indices_, plain.validation_indices_)


def test_the_monitor_in_the_parameters_is_not_changed_by_a_fit(monitored, hard):
    monitor = ScorerMonitor("neg_log_loss")
    estimator = monitored(monitor)
    for _ in range(2):
        estimator.fit(*hard)
        assert len(estimator.callbacks_[0].scores) == EPOCHS
    assert monitor.scores == []
    assert estimator.callbacks_[0] is not monitor


def test_the_validation_set_and_the_estimator_are_released_after_a_fit(engine, monitored, hard):
    seen = []

    def score(estimator, X, y):
        seen.extend([weakref.ref(estimator), weakref.ref(X), weakref.ref(y)])
        return 0.0

    estimator = monitored(ScorerMonitor(score), engine=engine).fit(*hard)
    gc.collect()
    assert len(seen) == 3 * EPOCHS
    assert [what() for what in seen if what() is not None] == []
    with pytest.raises(ValueError, match="has no validation set"):
        estimator.callbacks_[0].on_train_begin()


def test_a_fitted_estimator_with_a_monitor_can_be_pickled(engine, monitored, hard):
    X, y = hard
    estimator = monitored(ScorerMonitor("neg_log_loss"), engine=engine).fit(X, y)
    twin = pickle.loads(pickle.dumps(estimator))
    assert twin.callbacks_[0].scores == estimator.history_["val_neg_log_loss"]
    assert np.array_equal(twin.predict_proba(X), estimator.predict_proba(X))
    assert twin.fit(X, y).history_ == estimator.history_


def test_the_size_of_a_pickle_does_not_depend_on_n_samples(monitored, rng):
    sizes = []
    for n_samples in (60, 6000):
        X, y = rng.normal(size=(n_samples, 4)), np.arange(n_samples) % 3
        estimator = monitored(ScorerMonitor("accuracy"), epochs=1).fit(X, y)
        estimator.validation_indices_ = None
        sizes.append(len(pickle.dumps(estimator)))
    assert sizes[1] < sizes[0] + 2_000


def test_a_clone_has_a_copy_of_the_monitor(monitored, hard):
    estimator = monitored(ScorerMonitor("neg_log_loss", name="mine")).fit(*hard)
    (twin,) = clone(estimator).callbacks
    assert (twin.scoring, twin.name, twin.scores) == ("neg_log_loss", "mine", [])
    assert twin is not estimator.callbacks[0]


def test_every_candidate_of_a_search_is_scored(engine, monitored, hard):
    stop = keras.callbacks.EarlyStopping("val_neg_log_loss", mode="max", patience=2)
    estimator = monitored(ScorerMonitor("neg_log_loss"), stop, engine=engine, epochs=3)
    search = GridSearchCV(estimator, {"units": [2, 4]}, cv=2, error_score="raise", n_jobs=1).fit(
        *hard
    )
    X, y = hard
    best = search.best_estimator_
    validation = best.validation_indices_
    expected = get_scorer("neg_log_loss")(best, X[validation], y[validation])
    assert best.history_["val_neg_log_loss"][-1] == expected


def test_in_a_pipeline_the_scorer_gets_transformed_samples(engine, monitored, hard):
    X, y = hard
    estimator = monitored(ScorerMonitor("neg_log_loss"), engine=engine)
    pipeline = make_pipeline(StandardScaler(), estimator).fit(100 + 7 * X, y)
    validation, last = pipeline[-1].validation_indices_, pipeline[-1]
    expected = get_scorer("neg_log_loss")(pipeline, 100 + 7 * X[validation], y[validation])
    assert last.history_["val_neg_log_loss"][-1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("with_monitor", [True, False])
def test_scoring_and_a_monitor_of_another_score_are_both_logged(
    with_monitor, engine, monitored, hard
):
    callbacks = [ScorerMonitor("roc_auc_ovr")] if with_monitor else []
    estimator = monitored(*callbacks, engine=engine, scoring="neg_log_loss", early_stopping=True)
    estimator.fit(*hard)
    expected = {"loss", "val_loss", "val_neg_log_loss", "learning_rate"}
    assert estimator.history_.keys() == expected | ({"val_roc_auc_ovr"} if with_monitor else set())
    assert estimator.best_epoch_ == int(np.argmax(estimator.history_["val_neg_log_loss"]))
