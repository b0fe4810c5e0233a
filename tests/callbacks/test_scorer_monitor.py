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

from skguard.callbacks import ScorerMonitor, Shared

EPOCHS = 4


@pytest.fixture(params=["fused", "keras"])
def kind(request):
    return request.param


@pytest.fixture
def hard(rng):
    """60 rows of three classes that no model tells apart, shuffled."""
    return rng.normal(size=(60, 4)), rng.permutation(np.repeat([0, 1, 2], 20))


@pytest.fixture
def monitored(classifier):
    """The classifier with these callbacks, and rows held out."""

    def make(*callbacks, **params):
        params = {"epochs": EPOCHS, "validation_fraction": 0.3} | params
        return classifier.set_params(callbacks=list(callbacks), **params)

    return make


def n_wrong(estimator, X, y):
    return -float(np.sum(estimator.predict(X) != y))


def share_of_zeros(y, predicted):
    """A score function that takes no weights."""
    return float(np.mean(predicted == 0))


class Epochs(keras.callbacks.Callback):
    """Counts the batches and epochs that began."""

    n_begun = 0

    def on_train_batch_begin(self, batch, logs=None):
        self.n_begun += 1

    def on_epoch_begin(self, epoch, logs=None):
        self.n_begun += 1


# ---- what is scored -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scoring", "name", "logged"),
    [
        ("roc_auc_ovr", None, "val_roc_auc_ovr"),
        ("neg_log_loss", None, "val_neg_log_loss"),
        ("balanced_accuracy", "mine", "val_mine"),
        (make_scorer(fbeta_score, beta=2, average="macro"), None, "val_fbeta_score"),
        (n_wrong, None, "val_n_wrong"),
        (make_scorer(share_of_zeros), "zeros", "val_zeros"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:24],
)
def test_the_last_score_is_the_scorer_s_own_on_the_rows_held_out(
    scoring, name, logged, kind, monitored, hard
):
    X, y = hard
    estimator = monitored(ScorerMonitor(scoring, name), engine=kind).fit(X, y)
    assert estimator.engine_ == kind
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    rows = estimator.validation_indices_
    scores = estimator.history_[logged]
    assert len(rows) == 18
    assert len(scores) == EPOCHS
    assert all(type(score) is float for score in scores)
    assert scores[-1] == scorer(estimator, X[rows], y[rows])
    assert estimator.callbacks_[0].scores == scores


def test_each_epoch_is_scored_with_its_own_weights(kind, monitored, hard):
    X, y = hard
    whole = monitored(ScorerMonitor("neg_log_loss"), engine=kind).fit(X, y)
    scores = whole.history_["val_neg_log_loss"]
    assert len(set(scores)) == EPOCHS
    for epochs in (1, 2):
        short = clone(whole).set_params(epochs=epochs).fit(X, y)
        assert short.history_["val_neg_log_loss"] == scores[:epochs]


def test_labels_are_the_user_s_own(kind, monitored, hard):
    X, y = hard
    labels = np.array(["ant", "bee", "cat"])[y]
    seen = []

    def score(estimator, X, y):
        seen.append((set(y), set(estimator.predict(X)), list(estimator.classes_)))
        return float(np.mean(estimator.predict(X) == y))

    estimator = monitored(ScorerMonitor(score), ScorerMonitor("roc_auc_ovr"), engine=kind)
    estimator.fit(X, labels)
    assert all(truth == {"ant", "bee", "cat"} for truth, _, _ in seen)
    assert all(predicted <= {"ant", "bee", "cat"} for _, predicted, _ in seen)
    assert all(classes == ["ant", "bee", "cat"] for _, _, classes in seen)
    rows = estimator.validation_indices_
    assert estimator.history_["val_score"][-1] == np.mean(
        estimator.predict(X[rows]) == labels[rows]
    )


@pytest.mark.parametrize("scoring", ["r2", "neg_mean_absolute_error"])
def test_regressors_are_scored_too(scoring, kind, regressor, line):
    X, y = line
    monitor = ScorerMonitor(scoring)
    regressor.set_params(callbacks=monitor, validation_fraction=0.3, epochs=EPOCHS, engine=kind)
    regressor.fit(X, y)
    rows = regressor.validation_indices_
    by_hand = get_scorer(scoring)(regressor, X[rows], y[rows])
    assert regressor.history_[f"val_{scoring}"][-1] == by_hand


def test_weights_count_where_the_scorer_takes_them(kind, monitored, hard, rng):
    X, y = hard
    weights = rng.uniform(0.1, 5, 60)
    estimator = monitored(ScorerMonitor("neg_log_loss"), engine=kind).fit(X, y, weights)
    rows, scorer = estimator.validation_indices_, get_scorer("neg_log_loss")
    weighted = scorer(estimator, X[rows], y[rows], sample_weight=weights[rows])
    assert abs(weighted - scorer(estimator, X[rows], y[rows])) > 1e-4
    # Keras takes the weights as float32, and so does the monitor.
    assert estimator.history_["val_neg_log_loss"][-1] == pytest.approx(weighted, rel=1e-6)


@pytest.mark.parametrize(
    "scoring", [n_wrong, make_scorer(share_of_zeros)], ids=["callable", "make_scorer"]
)
def test_weights_do_not_break_a_scorer_that_takes_none(scoring, monitored, hard, rng):
    X, y = hard
    estimator = monitored(ScorerMonitor(scoring, "own")).fit(X, y, rng.uniform(0.1, 5, 60))
    rows = estimator.validation_indices_
    assert estimator.history_["val_own"][-1] == scoring(estimator, X[rows], y[rows])


def test_weights_do_not_break_a_name_whose_score_takes_none(regressor, line, rng):
    X, y = line
    monitor = ScorerMonitor("neg_max_error")
    regressor.set_params(callbacks=monitor, validation_fraction=0.3, epochs=2)
    regressor.fit(X, y, sample_weight=rng.uniform(0.1, 5, 60))
    rows = regressor.validation_indices_
    by_hand = get_scorer("neg_max_error")(regressor, X[rows], y[rows])
    assert regressor.history_["val_neg_max_error"][-1] == by_hand


def test_rows_that_the_caller_brings_are_scored(kind, monitored, hard, rng):
    X, y = hard
    X_val, y_val = rng.normal(size=(12, 4)), np.arange(12) % 3
    estimator = monitored(ScorerMonitor("neg_log_loss"), engine=kind, validation_fraction=None).fit(
        X, y, X_val=X_val, y_val=y_val
    )
    by_hand = get_scorer("neg_log_loss")(estimator, X_val, y_val)
    assert estimator.history_["val_neg_log_loss"][-1] == by_hand


# ---- who may monitor it -------------------------------------------------------------------------


@pytest.mark.parametrize("monitor_first", [True, False])
def test_early_stopping_finds_the_score_wherever_it_stands(monitor_first, kind, monitored, hard):
    stop = keras.callbacks.EarlyStopping(
        "val_roc_auc_ovr", mode="max", patience=2, restore_best_weights=True
    )
    callbacks = [ScorerMonitor("roc_auc_ovr"), stop]
    if not monitor_first:
        callbacks.reverse()
    X, y = hard
    estimator = monitored(*callbacks, engine=kind, epochs=40).fit(X, y)
    scores = estimator.history_["val_roc_auc_ovr"]
    assert estimator.stop_reason_ == "early_stopping"
    assert estimator.best_epoch_ == int(np.argmax(scores))
    assert len(scores) == estimator.best_epoch_ + 3 < 40
    rows = estimator.validation_indices_
    assert get_scorer("roc_auc_ovr")(estimator, X[rows], y[rows]) == max(scores)


@pytest.mark.parametrize("monitor_first", [True, False])
def test_a_plateau_finds_the_score_wherever_it_stands(monitor_first, kind, monitored, hard):
    plateau = keras.callbacks.ReduceLROnPlateau(
        "val_own", mode="max", factor=0.5, patience=1, min_lr=0
    )
    callbacks = [ScorerMonitor(lambda estimator, X, y: 0.5, "own"), plateau]
    if not monitor_first:
        callbacks.reverse()
    estimator = monitored(*callbacks, engine=kind).fit(*hard)
    assert float(estimator.model_.optimizer.learning_rate) == pytest.approx(0.05 / 2**3)


@pytest.mark.parametrize("monitor_first", [True, False])
def test_a_checkpoint_finds_the_score_wherever_it_stands(
    monitor_first, kind, monitored, hard, tmp_path
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
    estimator = monitored(*callbacks, engine=kind, epochs=8).fit(X, y)
    best = max(estimator.history_["val_neg_log_loss"])
    estimator.model_.load_weights(tmp_path / "best.weights.h5")
    rows = estimator.validation_indices_
    assert get_scorer("neg_log_loss")(estimator, X[rows], y[rows]) == best


def test_epochs_that_are_not_validated_have_no_score(kind, monitored, hard):
    X, y = hard
    estimator = monitored(ScorerMonitor("neg_log_loss"), engine=kind, epochs=5)
    estimator.fit(X, y, validation_freq=2)
    assert len(estimator.history_["loss"]) == 5
    assert len(estimator.history_["val_loss"]) == 2
    assert len(estimator.history_["val_neg_log_loss"]) == 2


@pytest.mark.filterwarnings("ignore:Early stopping conditioned on metric:UserWarning")
def test_early_stopping_waits_for_an_epoch_that_is_validated(kind, monitored, hard):
    stop = keras.callbacks.EarlyStopping("val_neg_log_loss", mode="max", patience=99)
    estimator = monitored(ScorerMonitor("neg_log_loss"), stop, engine=kind, epochs=4)
    estimator.fit(*hard, validation_freq=2)
    scores = estimator.history_["val_neg_log_loss"]
    assert estimator.best_epoch_ == 2 * int(np.argmax(scores)) + 1


# ---- errors -------------------------------------------------------------------------------------


def test_nothing_held_out_is_an_error_before_training(kind, monitored, hard):
    epochs = Shared(Epochs())
    estimator = monitored(ScorerMonitor("accuracy"), epochs, engine=kind, validation_fraction=None)
    with pytest.raises(ValueError, match=r"ScorerMonitor.*'accuracy'.*held out"):
        estimator.fit(*hard)
    assert epochs.callback.n_begun == 0
    assert not hasattr(estimator, "history_")


@pytest.mark.parametrize("scoring", ["roc_auk", 3])
def test_what_is_no_scorer_is_an_error_before_training(scoring, kind, monitored, hard):
    epochs = Shared(Epochs())
    with pytest.raises(ValueError, match=f"{scoring}"):
        monitored(ScorerMonitor(scoring), epochs, engine=kind).fit(*hard)
    assert epochs.callback.n_begun == 0


def test_keras_s_own_fit_is_told_that_there_is_nothing_to_score(hard):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    epochs = Epochs()
    with pytest.raises(ValueError, match=r"ScorerMonitor.*skguard's estimators"):
        model.fit(*hard, verbose=0, validation_split=0.2, callbacks=[ScorerMonitor("r2"), epochs])
    assert epochs.n_begun == 0


def test_an_error_in_the_scorer_goes_through_and_leaves_nothing_held(kind, monitored, hard):
    def fail(estimator, X, y):
        raise RuntimeError("injected")

    shared = Shared(ScorerMonitor(fail))
    with pytest.raises(RuntimeError, match="injected"):
        monitored(shared, engine=kind).fit(*hard)
    with pytest.raises(ValueError, match="nothing to score"):
        shared.callback.on_train_begin()


# ---- it changes nothing else --------------------------------------------------------------------


def build_with_dropout(meta):
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.4)]
    last = keras.layers.Dense(meta["n_classes_"], "softmax")
    return keras.Sequential([keras.Input(meta["X_shape_"][1:]), *layers, last])


def test_all_other_numbers_are_as_without_it(kind, monitored, hard):
    plain = monitored(engine=kind, model=build_with_dropout, metrics=["accuracy"])
    watched = clone(plain).set_params(callbacks=[ScorerMonitor("roc_auc_ovr")])
    plain.fit(*hard)
    watched.fit(*hard)
    others = dict(watched.history_)
    assert len(others.pop("val_roc_auc_ovr")) == EPOCHS
    assert others == plain.history_
    assert all(map(np.array_equal, watched.model_.get_weights(), plain.model_.get_weights()))
    assert np.array_equal(watched.validation_indices_, plain.validation_indices_)


def test_the_parameter_stays_as_it_was(monitored, hard):
    monitor = ScorerMonitor("neg_log_loss")
    estimator = monitored(monitor)
    for _ in range(2):
        estimator.fit(*hard)
        assert len(estimator.callbacks_[0].scores) == EPOCHS
    assert monitor.scores == []
    assert estimator.callbacks_[0] is not monitor


# ---- it holds on to nothing ---------------------------------------------------------------------


def test_nothing_of_a_fit_is_held_afterwards(kind, monitored, hard):
    seen = []

    def score(estimator, X, y):
        seen.extend([weakref.ref(estimator), weakref.ref(X), weakref.ref(y)])
        return 0.0

    estimator = monitored(ScorerMonitor(score), engine=kind).fit(*hard)
    gc.collect()
    assert len(seen) == 3 * EPOCHS
    assert [what() for what in seen if what() is not None] == []
    with pytest.raises(ValueError, match="nothing to score"):
        estimator.callbacks_[0].on_train_begin()


def test_a_fitted_estimator_with_it_pickles(kind, monitored, hard):
    X, y = hard
    estimator = monitored(ScorerMonitor("neg_log_loss"), engine=kind).fit(X, y)
    twin = pickle.loads(pickle.dumps(estimator))
    assert twin.callbacks_[0].scores == estimator.history_["val_neg_log_loss"]
    assert np.array_equal(twin.predict_proba(X), estimator.predict_proba(X))
    assert twin.fit(X, y).history_ == estimator.history_


def test_a_pickle_of_it_does_not_grow_with_the_rows(monitored, rng):
    sizes = []
    for n_rows in (60, 6000):
        X, y = rng.normal(size=(n_rows, 4)), np.arange(n_rows) % 3
        estimator = monitored(ScorerMonitor("accuracy"), epochs=1).fit(X, y)
        estimator.validation_indices_ = None
        sizes.append(len(pickle.dumps(estimator)))
    assert sizes[1] < sizes[0] + 2_000


def test_a_clone_has_one_of_its_own(monitored, hard):
    estimator = monitored(ScorerMonitor("neg_log_loss", name="mine")).fit(*hard)
    (twin,) = clone(estimator).callbacks
    assert (twin.scoring, twin.name, twin.scores) == ("neg_log_loss", "mine", [])
    assert twin is not estimator.callbacks[0]


# ---- within scikit-learn ------------------------------------------------------------------------


def test_every_candidate_of_a_search_is_scored(kind, monitored, hard):
    stop = keras.callbacks.EarlyStopping("val_neg_log_loss", mode="max", patience=2)
    estimator = monitored(ScorerMonitor("neg_log_loss"), stop, engine=kind, epochs=3)
    search = GridSearchCV(estimator, {"units": [2, 4]}, cv=2, error_score="raise", n_jobs=1).fit(
        *hard
    )
    X, y = hard
    best = search.best_estimator_
    rows = best.validation_indices_
    by_hand = get_scorer("neg_log_loss")(best, X[rows], y[rows])
    assert best.history_["val_neg_log_loss"][-1] == by_hand


def test_within_a_pipeline_the_rows_are_those_that_the_last_step_sees(kind, monitored, hard):
    X, y = hard
    estimator = monitored(ScorerMonitor("neg_log_loss"), engine=kind)
    pipeline = make_pipeline(StandardScaler(), estimator).fit(100 + 7 * X, y)
    rows, last = pipeline[-1].validation_indices_, pipeline[-1]
    by_hand = get_scorer("neg_log_loss")(pipeline, 100 + 7 * X[rows], y[rows])
    assert last.history_["val_neg_log_loss"][-1] == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("with_monitor", [True, False])
def test_scoring_and_a_monitor_of_another_score_live_together(with_monitor, kind, monitored, hard):
    callbacks = [ScorerMonitor("roc_auc_ovr")] if with_monitor else []
    estimator = monitored(*callbacks, engine=kind, scoring="neg_log_loss", early_stopping=True)
    estimator.fit(*hard)
    expected = {"loss", "val_loss", "val_neg_log_loss", "learning_rate"}
    assert estimator.history_.keys() == expected | ({"val_roc_auc_ovr"} if with_monitor else set())
    assert estimator.best_epoch_ == int(np.argmax(estimator.history_["val_neg_log_loss"]))
