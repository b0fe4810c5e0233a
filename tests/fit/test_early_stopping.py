"""Every fit ends for a good reason, with the weights that it should have."""

import pickle
import time

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.metrics import (
    accuracy_score,
    make_scorer,
    max_error,
    mean_absolute_error,
    roc_auc_score,
)
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate

from skguard import GuardedKerasRegressor
from skguard.exceptions import DivergedError
from tests.models import build_regressor, make_classifier, make_regressor

ENGINES = ["fused", "keras"]
NAN = float("nan")


def weights_of(estimator):
    return [np.array(weight) for weight in estimator.model_.get_weights()]


def same(some, others):
    return all(map(np.array_equal, some, others))


class Tells(keras.callbacks.Callback):
    """Logs the values that it was given, one an epoch; the last one for all epochs after."""

    def __init__(self, values, name="val_loss"):
        super().__init__()
        self.values, self.name = values, name

    def on_epoch_end(self, epoch, logs=None):
        value = self.values[min(epoch, len(self.values) - 1)]
        if value is not None:
            logs[self.name] = value


class SetsRate(keras.callbacks.Callback):
    """Sets a learning rate after an epoch, so that the next one diverges."""

    def __init__(self, after=2, rate=1e38):
        super().__init__()
        self.after, self.rate = after, rate

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.after:
            self.model.optimizer.learning_rate = self.rate


class Stops(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == 1


begun = []


class NotesEpochs(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        begun.append(epoch)


@pytest.fixture(autouse=True)
def _nothing_begun():
    begun.clear()


@pytest.fixture
def noise(line, rng):
    """Rows of which nothing can be learned, so that the validation loss soon rises."""
    return line[0], rng.permutation(line[1])


@pytest.fixture
def two_blobs(rng):
    """60 rows of two classes, text and sorted, that overlap and are partly mislabelled."""
    y = np.repeat([0, 1], 30)
    X = rng.normal(size=(60, 4)) + 0.7 * y[:, None]
    return X, np.array(["no", "yes"])[np.where(rng.random(60) < 0.2, 1 - y, y)]


@pytest.fixture
def clock(monkeypatch):
    """Time that can be moved on: ``clock[0] += 100`` is 100 seconds later."""
    ahead, now = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + ahead[0])
    return ahead


# One switch


@pytest.mark.parametrize("name", ENGINES)
def test_early_stopping_stops_and_restores_the_best_weights(name, noise):
    X, y = noise
    estimator = make_regressor(
        early_stopping=True,
        validation_fraction=0.3,
        n_iter_no_change=4,
        tol=0,
        epochs=100,
        optimizer__learning_rate=0.1,
        engine=name,
    ).fit(X, y)
    losses = estimator.history_["val_loss"]
    assert estimator.engine_ == name
    assert estimator.stop_reason_ == "early_stopping"
    assert len(losses) == estimator.n_epochs_ < 100
    assert estimator.best_epoch_ == np.argmin(losses) == estimator.n_epochs_ - 1 - 4
    rows = estimator.validation_indices_
    assert len(rows) == 18
    seen = estimator.model_.evaluate(X[rows], y[rows], verbose=0)
    assert seen == pytest.approx(min(losses), rel=1e-5)
    assert seen != pytest.approx(losses[-1], rel=1e-3)


@pytest.mark.parametrize("name", ENGINES)
def test_the_best_weights_are_restored_where_nothing_stopped_training(name, noise):
    X, y = noise
    estimator = make_regressor(
        early_stopping=True,
        validation_fraction=0.3,
        n_iter_no_change=100,
        epochs=16,
        optimizer__learning_rate=0.1,
        engine=name,
    ).fit(X, y)
    losses = estimator.history_["val_loss"]
    assert estimator.stop_reason_ == "max_epochs"
    assert estimator.n_epochs_ == len(losses) == 16
    assert estimator.best_epoch_ < 15
    rows = estimator.validation_indices_
    seen = estimator.model_.evaluate(X[rows], y[rows], verbose=0)
    assert seen == pytest.approx(losses[estimator.best_epoch_], rel=1e-5)
    assert seen < losses[-1]


def test_both_engines_stop_at_the_same_epoch_with_the_same_weights(noise):
    fused, plain = (
        make_regressor(
            early_stopping=True,
            n_iter_no_change=2,
            epochs=40,
            optimizer__learning_rate=0.1,
            shuffle=False,
            engine=name,
        ).fit(*noise)
        for name in ENGINES
    )
    assert fused.stop_reason_ == plain.stop_reason_ == "early_stopping"
    assert fused.best_epoch_ == plain.best_epoch_
    assert fused.history_ == plain.history_
    assert same(weights_of(fused), weights_of(plain))


@pytest.mark.parametrize(
    ("rule", "n_rows"),
    [({}, 6), ({"validation_fraction": 0.3}, 18), ({"validation_split": 4}, 15)],
    ids=["default", "fraction", "split"],
)
def test_early_stopping_holds_out_a_tenth_unless_rows_are_named(rule, n_rows, blobs):
    estimator = make_classifier(early_stopping=True, **rule).fit(*blobs)
    assert len(estimator.validation_indices_) == n_rows
    assert estimator.validation_fraction == rule.get("validation_fraction")


def test_without_early_stopping_nothing_stops_and_nothing_is_held_out(noise):
    estimator = make_regressor(epochs=20, n_iter_no_change=1).fit(*noise)
    assert estimator.n_epochs_ == 20
    assert estimator.validation_indices_ is None
    assert estimator.best_epoch_ is None


@pytest.mark.parametrize(
    ("tol", "patience", "best", "n_epochs"),
    [(0, 2, 3, 6), (0, 1, 3, 5), (0.15, 2, 0, 3), (0.15, 3, 3, 7), (5, 1, 0, 2)],
)
def test_tol_and_n_iter_no_change_say_what_an_improvement_is(tol, patience, best, n_epochs, line):
    losses = [1.0, 0.9, 0.9 - 1e-6, 0.8, 0.8, 0.8, 0.8]
    losses = losses if best == 0 or tol else [1.0, 0.9, 0.85, 0.8, 0.8, 0.9, 0.9]
    estimator = make_regressor(
        early_stopping=True,
        tol=tol,
        n_iter_no_change=patience,
        epochs=7,
        callbacks=Tells(losses),
    ).fit(*line)
    assert estimator.best_epoch_ == best
    assert estimator.n_epochs_ == n_epochs
    assert estimator.history_["val_loss"] == losses[:n_epochs]


def test_ten_epochs_without_improvement_are_the_default(line):
    estimator = make_regressor(early_stopping=True, epochs=99, callbacks=Tells([2.0, 1.0]))
    estimator.fit(*line)
    assert estimator.best_epoch_ == 1
    assert estimator.n_epochs_ == 12
    less = clone(estimator).set_params(callbacks=Tells([2.0, 1.0, 1.0 - 0.9e-4])).fit(*line)
    assert less.best_epoch_ == 1
    more = clone(estimator).set_params(callbacks=Tells([2.0, 1.0, 1.0 - 1.1e-4])).fit(*line)
    assert more.best_epoch_ == 2


def test_early_stopping_stops_every_fold_on_rows_of_its_own(blobs):
    X, y = blobs
    cv = StratifiedKFold(3)
    estimator = make_classifier(
        early_stopping=True, n_iter_no_change=2, epochs=200, optimizer__learning_rate=0.1
    )
    folds = cross_validate(estimator, X, y, cv=cv, return_estimator=True)["estimator"]
    for (rows, _), fitted in zip(cv.split(X, y), folds, strict=True):
        held_out = rows[fitted.validation_indices_]
        seen = fitted.model_.evaluate(X[held_out], y[held_out], verbose=0)
        expected = fitted.history_["val_loss"][fitted.best_epoch_]
        assert seen == pytest.approx(expected, rel=1e-4)
        assert set(y[held_out]) == {0, 1, 2}


def test_a_second_fit_stops_as_the_first_did(noise):
    estimator = make_regressor(early_stopping=True, n_iter_no_change=2, epochs=100)
    first = estimator.fit(*noise).history_
    assert estimator.fit(*noise).history_ == first


def test_partial_fit_leaves_stopping_to_its_caller(line):
    estimator = make_regressor(early_stopping=True)
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match=r"early_stopping=True is for fit\(\)"):
        estimator.partial_fit(*line)
    assert vars(estimator) == before


# A user's own


def test_a_users_early_stopping_works_anew_in_every_fold(blobs):
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    before = dict(vars(stop))
    estimator = make_classifier(
        callbacks=[Tells([3.0, 2.0, 1.0, 1.5]), stop], validation_fraction=0.2, epochs=50
    )
    folds = cross_validate(estimator, *blobs, cv=3, return_estimator=True)["estimator"]
    assert [fitted.n_epochs_ for fitted in folds] == [5, 5, 5]
    assert [fitted.best_epoch_ for fitted in folds] == [2, 2, 2]
    assert {fitted.stop_reason_ for fitted in folds} == {"early_stopping"}
    assert len({id(fitted.callbacks_[1]) for fitted in folds} | {id(stop)}) == 4
    assert vars(stop) == before


def test_a_users_early_stopping_restores_the_weights_of_the_best_epoch(line):
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    estimator = make_regressor(
        callbacks=[Tells([3.0, 2.0, 1.0, 1.5]), stop], validation_fraction=0.2, epochs=50
    ).fit(*line)
    expected = make_regressor(validation_fraction=0.2, epochs=3).fit(*line)
    assert same(weights_of(estimator), weights_of(expected))


def test_a_users_early_stopping_needs_no_hold_out_where_it_monitors_the_loss(line):
    stop = keras.callbacks.EarlyStopping("loss", min_delta=1e9, patience=2)
    estimator = make_regressor(callbacks=stop, epochs=50).fit(*line)
    assert estimator.stop_reason_ == "early_stopping"
    assert estimator.best_epoch_ == 0
    assert estimator.n_epochs_ == 3


# What a fit says of its end


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    ("parameters", "reason", "n_epochs", "best_epoch"),
    [
        ({}, "max_epochs", 6, None),
        ({"validation_fraction": 0.2, "callbacks": Tells([3.0, 1.0, 2.0])}, "max_epochs", 6, 1),
        (
            {
                "early_stopping": True,
                "n_iter_no_change": 2,
                "callbacks": Tells([3.0, 1.0, 2.0]),
            },
            "early_stopping",
            4,
            1,
        ),
        ({"callbacks": Stops}, "callback", 2, None),
        ({"callbacks": Stops, "early_stopping": True, "tol": 1e9}, "callback", 2, 0),
    ],
    ids=["alone", "held_out", "early", "callback", "callback_early"],
)
def test_a_fit_tells_why_it_ended(name, parameters, reason, n_epochs, best_epoch, line):
    estimator = make_regressor(epochs=6, engine=name, **parameters).fit(*line)
    assert estimator.stop_reason_ == reason
    assert estimator.n_epochs_ == n_epochs
    assert estimator.best_epoch_ == best_epoch
    assert {len(values) for values in estimator.history_.values()} == {n_epochs}


@pytest.mark.parametrize("name", ENGINES)
def test_time_that_is_up_ends_training_after_the_epoch(name, clock, line):
    class TimePasses(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            clock[0] += 100 * (epoch == 2)

    estimator = make_regressor(max_fit_seconds=50, epochs=20, callbacks=TimePasses, engine=name)
    estimator.fit(*line)
    assert estimator.stop_reason_ == "time_budget"
    assert estimator.n_epochs_ == len(estimator.history_["loss"]) == 3
    assert estimator.fit_seconds_ > 100


@pytest.mark.parametrize("name", ENGINES)
def test_time_that_is_up_keeps_the_best_weights_so_far(name, clock, line):
    class TimePasses(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            clock[0] += 100 * (epoch == 3)

    estimator = make_regressor(
        max_fit_seconds=50,
        epochs=20,
        early_stopping=True,
        callbacks=[TimePasses, Tells([3.0, 1.0, 2.0])],
        engine=name,
    ).fit(*line)
    assert estimator.stop_reason_ == "time_budget"
    assert (estimator.n_epochs_, estimator.best_epoch_) == (4, 1)
    expected = make_regressor(epochs=2, validation_fraction=0.1, engine=name).fit(*line)
    assert same(weights_of(estimator), weights_of(expected))


@pytest.mark.parametrize("name", ENGINES)
def test_an_epoch_that_time_cut_short_does_not_count(name, clock, line):
    class TimePasses(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_begin(self, batch, logs=None):
            clock[0] += 100 * (self.epoch == 2 and batch == 3)

    estimator = make_regressor(
        max_fit_seconds=50, epochs=20, batch_size=4, callbacks=TimePasses, engine=name
    ).fit(*line)
    assert estimator.stop_reason_ == "time_budget"
    assert estimator.n_epochs_ == len(estimator.history_["loss"]) == 2


@pytest.mark.parametrize("name", ENGINES)
def test_a_fit_without_a_whole_epoch_says_so(name, clock, line):
    class TimePasses(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            clock[0] += 20

    estimator = make_regressor(
        max_fit_seconds=50, epochs=20, batch_size=4, callbacks=TimePasses, engine=name
    )
    with pytest.warns(ConvergenceWarning, match=r"max_fit_seconds=50 was over before the first"):
        estimator.fit(*line)
    assert (estimator.n_epochs_, estimator.stop_reason_) == (0, "time_budget")
    assert estimator.best_epoch_ is None
    assert estimator.history_ == {}
    assert np.isfinite(estimator.predict(line[0])).all()


def test_time_enough_changes_nothing(line):
    estimator = make_regressor(max_fit_seconds=1000, epochs=3).fit(*line)
    expected = make_regressor(epochs=3).fit(*line)
    assert estimator.stop_reason_ == "max_epochs"
    assert estimator.history_ == expected.history_


def test_partial_fit_counts_all_epochs_and_knows_the_best_of_them(line):
    estimator = make_regressor(validation_fraction=0.2, callbacks=Tells([2.0, 1.0, 3.0]))
    for _ in range(3):
        estimator.partial_fit(*line)
    assert estimator.n_epochs_ == 3
    assert estimator.history_["val_loss"] == [2.0, 1.0, 3.0]
    assert estimator.best_epoch_ == 1


# Scorers


def test_scoring_decides_by_a_scorer_on_the_rows_held_out(two_blobs):
    X, y = two_blobs
    estimator = make_classifier(
        early_stopping=True,
        validation_fraction=0.4,
        scoring="roc_auc",
        tol=0,
        n_iter_no_change=5,
        epochs=60,
        optimizer__learning_rate=0.1,
    ).fit(X, y)
    scores = estimator.history_["val_roc_auc"]
    assert estimator.best_epoch_ == np.argmax(scores)
    assert estimator.stop_reason_ == "early_stopping"
    assert estimator.n_epochs_ == estimator.best_epoch_ + 6
    rows = estimator.validation_indices_
    restored = roc_auc_score(y[rows] == "yes", estimator.predict_proba(X[rows])[:, 1])
    assert restored == pytest.approx(max(scores))
    assert scores[-1] < max(scores)


@pytest.mark.parametrize(
    ("scoring", "logged"),
    [
        ("r2", "val_r2"),
        ("neg_mean_absolute_error", "val_neg_mean_absolute_error"),
        (make_scorer(max_error, greater_is_better=False), "val_max_error"),
        (lambda estimator, X, y: -mean_absolute_error(y, estimator.predict(X)), "val_<lambda>"),
    ],
    ids=["r2", "mae", "make_scorer", "function"],
)
def test_scoring_takes_any_scorer_of_which_more_is_better(scoring, logged, noise):
    X, y = noise
    estimator = make_regressor(
        early_stopping=True,
        validation_fraction=0.3,
        scoring=scoring,
        tol=0,
        n_iter_no_change=3,
        epochs=60,
        optimizer__learning_rate=0.05,
    ).fit(X, y)
    assert estimator.best_epoch_ == np.argmax(estimator.history_[logged])
    assert estimator.best_epoch_ < estimator.n_epochs_ - 1
    assert estimator.n_epochs_ == len(estimator.history_["val_loss"]) < 60


def test_scoring_without_early_stopping_is_only_written_down(two_blobs):
    X, y = two_blobs
    estimator = make_classifier(validation_fraction=0.4, scoring="accuracy", epochs=3).fit(X, y)
    rows = estimator.validation_indices_
    assert len(estimator.history_["val_accuracy"]) == 3
    expected = accuracy_score(y[rows], estimator.predict(X[rows]))
    assert estimator.history_["val_accuracy"][-1] == pytest.approx(expected)


def test_scoring_counts_the_rows_by_their_weights(two_blobs):
    X, y = two_blobs
    weights = np.random.default_rng(3).uniform(0.1, 9, 60)
    estimator = make_classifier(validation_fraction=0.4, scoring="accuracy", epochs=2)
    estimator.fit(X, y, sample_weight=weights)
    rows = estimator.validation_indices_
    predicted = estimator.predict(X[rows])
    expected = accuracy_score(y[rows], predicted, sample_weight=weights[rows])
    assert estimator.history_["val_accuracy"][-1] == pytest.approx(expected)
    assert expected != pytest.approx(accuracy_score(y[rows], predicted), rel=1e-3)


def test_scoring_without_a_hold_out_has_no_effect(line):
    history = make_regressor(scoring="r2").fit(*line).history_
    assert [name for name in history if "val_" in name or "r2" in name] == []


def test_a_scorer_that_scikit_learn_does_not_know_is_refused(line):
    estimator = make_regressor(early_stopping=True, scoring="rok_auc", callbacks=NotesEpochs)
    with pytest.raises(ValueError, match="rok_auc"):
        estimator.fit(*line)
    assert begun == []


# Parameters


def test_all_that_is_wrong_is_in_one_message(line):
    wrong = {
        "epochs": 0,
        "batch_size": 0,
        "early_stopping": "yes",
        "n_iter_no_change": 0,
        "tol": -1.0,
        "on_nan": "raise",
        "max_fit_seconds": 0,
        "scoring": 5,
        "validation_split": 1.5,
        "validation_fraction": 2.0,
        "max_retries": -1,
        "retry_on": "all",
        "retry_with": 3,
    }
    with pytest.raises(ValueError, match="epochs=0") as raised:
        make_regressor(callbacks=NotesEpochs, **wrong).fit(*line)
    message = str(raised.value)
    assert [name for name in wrong if f"{name}={wrong[name]!r}" not in message] == []
    assert begun == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"early_stopping": 1},
        {"early_stopping": keras.callbacks.EarlyStopping()},
        {"n_iter_no_change": 2.5},
        {"n_iter_no_change": True},
        {"n_iter_no_change": None},
        {"tol": NAN},
        {"tol": float("inf")},
        {"tol": "0.1"},
        {"tol": True},
        {"on_nan": None},
        {"max_fit_seconds": -1},
        {"max_fit_seconds": "60"},
        {"max_fit_seconds": NAN},
        {"max_fit_seconds": True},
        {"scoring": ["r2"]},
    ],
    ids=lambda wrong: "{}={!r:.20}".format(*next(iter(wrong.items()))),
)
def test_a_parameter_that_means_nothing_is_refused(wrong, line):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"^{name}=.* (is|none) "):
        make_regressor(callbacks=NotesEpochs, **wrong).fit(*line)
    assert begun == []


@pytest.mark.parametrize(
    "right",
    [
        {"early_stopping": np.True_},
        {"n_iter_no_change": np.int64(3)},
        {"tol": np.float32(0.1)},
        {"tol": 0},
        {"max_fit_seconds": np.int64(100)},
    ],
    ids=str,
)
def test_numpys_numbers_are_numbers(right, line):
    assert make_regressor(**{"early_stopping": True} | right).fit(*line).n_epochs_ == 1


# Monitors


@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.EarlyStopping("val_loss"),
        keras.callbacks.EarlyStopping("val_accuracy", mode="max"),
        keras.callbacks.ReduceLROnPlateau("val_loss"),
        keras.callbacks.ModelCheckpoint("best.keras", "val_loss", save_best_only=True),
    ],
    ids=["EarlyStopping", "mode", "ReduceLROnPlateau", "ModelCheckpoint"],
)
def test_a_validation_metric_without_a_hold_out_is_refused_before_training(
    callback, tmp_path, monkeypatch, blobs
):
    monkeypatch.chdir(tmp_path)
    name, monitor = type(callback).__name__, callback.monitor
    estimator = make_classifier(callbacks=[NotesEpochs(), callback])
    with pytest.raises(ValueError, match=rf"monitor='{monitor}' of {name} .* validation_fraction"):
        estimator.fit(*blobs)
    assert begun == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "make",
    [
        keras.callbacks.EarlyStopping,
        keras.callbacks.ReduceLROnPlateau,
        lambda monitor, **kwargs: keras.callbacks.ModelCheckpoint(
            "best.keras", monitor, save_best_only=True, **kwargs
        ),
    ],
    ids=["EarlyStopping", "ReduceLROnPlateau", "ModelCheckpoint"],
)
@pytest.mark.parametrize("mode", [{}, {"mode": "max"}], ids=["", "mode"])
def test_a_misspelt_monitor_is_an_error_within_one_epoch_that_suggests_another(
    make, mode, tmp_path, monkeypatch, blobs
):
    monkeypatch.chdir(tmp_path)
    estimator = make_classifier(
        callbacks=[NotesEpochs(), make("val_acuracy", **mode)],
        metrics=["accuracy"],
        validation_fraction=0.2,
        epochs=5,
    )
    with pytest.raises(ValueError, match=r"'val_acuracy' of .*Did you mean 'val_accuracy'"):
        estimator.fit(*blobs)
    assert begun == [0]
    assert not hasattr(estimator, "model_")


def test_a_misspelt_monitor_scores_as_an_error_in_a_search(blobs):
    estimator = make_classifier(
        callbacks=keras.callbacks.EarlyStopping("acuracy", mode="max"), metrics=["accuracy"]
    )
    with pytest.raises(ValueError, match=r"Did you mean 'accuracy'"):
        GridSearchCV(estimator, {"units": [2, 3]}, cv=2).fit(*blobs)


def test_a_monitor_like_nothing_that_is_logged_is_shown_what_there_is(line):
    stop = keras.callbacks.EarlyStopping("quality", mode="max")
    with pytest.raises(ValueError, match=r"'quality' .* in epoch 0: \['loss'\]\.$"):
        make_regressor(callbacks=stop).fit(*line)


def test_a_misspelt_monitor_for_one_fit_alone_is_an_error_too(line):
    stop = keras.callbacks.EarlyStopping("los", mode="min")
    with pytest.raises(ValueError, match=r"Did you mean 'loss'"):
        make_regressor().fit(*line, callbacks=[stop])


def test_a_checkpoint_of_every_epoch_monitors_nothing(tmp_path, line):
    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras"))
    assert checkpoint.monitor == "val_loss"
    make_regressor(callbacks=checkpoint, epochs=2).fit(*line)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.keras", "2.keras"]


def test_a_callback_that_is_not_keras_may_monitor_what_it_likes(line):
    class Watches(keras.callbacks.Callback):
        monitor = "val_whatever"

    assert make_regressor(callbacks=Watches).fit(*line).n_epochs_ == 1


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("mode", [{}, {"mode": "max"}], ids=["", "mode"])
def test_early_stopping_finds_what_a_callback_before_it_logs(mode, name, line):
    tells = Tells([1.0, 2.0, 1.0], name="val_own")
    stop = keras.callbacks.EarlyStopping("val_own", patience=1, **{"mode": "max"} | mode)
    estimator = make_regressor(
        callbacks=[tells, stop], validation_fraction=0.2, epochs=9, engine=name
    ).fit(*line)
    assert estimator.history_["val_own"] == [1.0, 2.0, 1.0]
    assert estimator.best_epoch_ == 1


@pytest.mark.filterwarnings("ignore:Early stopping conditioned on:UserWarning")
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    "parameters",
    [
        {"early_stopping": True},
        {"early_stopping": True, "scoring": "accuracy"},
        {"callbacks": keras.callbacks.EarlyStopping("val_loss"), "validation_fraction": 0.2},
        {
            "callbacks": keras.callbacks.EarlyStopping("val_accuracy", mode="max"),
            "metrics": ["accuracy"],
            "validation_fraction": 0.2,
        },
    ],
    ids=["early", "scoring", "callback", "metric"],
)
def test_a_monitor_that_comes_with_every_second_epoch_is_waited_for(parameters, name, blobs):
    estimator = make_classifier(epochs=4, fit__validation_freq=2, engine=name, **parameters).fit(
        *blobs
    )
    assert estimator.n_epochs_ == 4
    assert len(estimator.history_["val_loss"]) == 2


@pytest.mark.filterwarnings("ignore:Early stopping conditioned on:UserWarning")
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("freq", [1, 2])
def test_a_misspelt_monitor_is_found_however_seldom_is_validated(freq, name, blobs):
    estimator = make_classifier(
        callbacks=[NotesEpochs(), keras.callbacks.EarlyStopping("val_acuracy", mode="max")],
        metrics=["accuracy"],
        validation_fraction=0.2,
        epochs=6,
        fit__validation_freq=freq,
        engine=name,
    )
    with pytest.raises(ValueError, match=r"'val_acuracy'.*Did you mean '(val_)?accuracy'"):
        estimator.fit(*blobs)
    assert begun in ([0], [0, 1][:freq])


# Schedules, and batches of one size


def sgd(schedule):
    return keras.optimizers.SGD(
        keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9) if schedule else 0.01
    )


@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.ReduceLROnPlateau("loss"),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
    ],
    ids=["ReduceLROnPlateau", "LearningRateScheduler"],
)
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "loss_scale"])
def test_a_schedule_and_a_callback_that_sets_the_rate_are_refused(callback, wrapped, line):
    optimizer = sgd(schedule=True)
    if wrapped:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    estimator = make_regressor(callbacks=[NotesEpochs(), callback], optimizer=optimizer)
    with pytest.raises(ValueError, match=rf"{type(callback).__name__} sets the learning rate"):
        estimator.fit(*line)
    assert begun == []


def test_a_callback_may_set_the_rate_where_no_schedule_does(line):
    callback = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.25)
    estimator = make_regressor(callbacks=callback, optimizer=sgd(schedule=False)).fit(*line)
    assert float(estimator.model_.optimizer.learning_rate) == 0.25


def test_a_schedule_that_the_model_function_compiles_with_is_seen_too(line):
    def build(meta):
        model = build_regressor(meta)
        model.compile(sgd(schedule=True), "mse")
        return model

    estimator = GuardedKerasRegressor(
        build, verbose=0, callbacks=[NotesEpochs(), keras.callbacks.ReduceLROnPlateau("loss")]
    )
    with pytest.raises(ValueError, match=r"ReduceLROnPlateau sets the learning rate"):
        estimator.fit(*line)
    assert begun == []


def test_a_schedule_goes_with_early_stopping(line):
    estimator = make_regressor(optimizer=sgd(schedule=True), early_stopping=True, epochs=2)
    assert estimator.fit(*line).n_epochs_ == 2


def build_for_tens(meta):
    return keras.Sequential([keras.Input(batch_shape=(10, 4)), keras.layers.Dense(1)])


@pytest.mark.parametrize(
    "parameters",
    [
        {"batch_size": None},
        {"batch_size": 20},
        {"batch_size": 10, "validation_fraction": 0.25},
        {"batch_size": -1},
    ],
    ids=str,
)
def test_batches_that_do_not_fill_a_fixed_input_are_refused(parameters, line):
    estimator = make_regressor(build_for_tens, callbacks=NotesEpochs, **parameters)
    with pytest.raises(ValueError, match=r"takes batches of 10 rows and no other"):
        estimator.fit(*line)
    assert begun == []


@pytest.mark.parametrize("rule", [{}, {"validation_fraction": 0.5}], ids=["alone", "held_out"])
def test_batches_that_fill_a_fixed_input_are_trained_on(rule, line):
    assert make_regressor(build_for_tens, batch_size=10, **rule).fit(*line).n_epochs_ == 1


def test_a_batch_larger_than_the_rows_is_fine_where_any_number_is(line):
    X, y = line
    assert make_regressor(batch_size=500).fit(X[:7], y[:7]).n_epochs_ == 1


# Numbers that are not finite


@pytest.mark.parametrize("name", ENGINES)
def test_a_loss_that_is_not_finite_ends_the_fit_with_an_error_that_tells_where(name, line):
    estimator = make_regressor(epochs=9, engine=name, callbacks=[NotesEpochs(), SetsRate()])
    with pytest.raises(DivergedError, match=r"was (nan|inf) in epoch 3.*clipnorm") as raised:
        estimator.fit(*line)
    error = raised.value
    assert (error.epoch, error.metric) == (3, "loss")
    assert not np.isfinite(error.value)
    assert error.learning_rate == pytest.approx(1e38)
    assert begun == [0, 1, 2, 3]
    assert not hasattr(estimator, "model_")


@pytest.mark.parametrize("name", ENGINES)
def test_a_weight_that_is_not_finite_ends_the_fit_though_the_loss_was(name, line):
    X, y = line
    estimator = make_regressor(
        optimizer="sgd", optimizer__learning_rate=1e38, batch_size=-1, engine=name
    )
    with pytest.raises(DivergedError, match=r"the weight .*(kernel|bias) was .* in epoch 0"):
        estimator.fit(X, 1000 * y)


@pytest.mark.parametrize("name", ENGINES)
def test_a_validation_loss_that_is_not_finite_ends_the_fit(name, line):
    X, y = line
    estimator = make_regressor(engine=name)
    with pytest.raises(DivergedError, match=r"val_loss was (nan|inf) in epoch 0"):
        estimator.fit(X, y, X_val=X * 1e30, y_val=y)


@pytest.mark.parametrize("name", ENGINES)
def test_stop_keeps_the_weights_of_the_last_finite_epoch(name, line):
    held_out = {"validation_fraction": 0.2} if name == "keras" else {}
    estimator = make_regressor(
        epochs=9, engine=name, callbacks=SetsRate(), on_nan="stop", **held_out
    )
    with pytest.warns(ConvergenceWarning, match=r"diverged: .* epoch 3.*last finite epoch"):
        estimator.fit(*line)
    expected = make_regressor(epochs=3, engine=name, **held_out).fit(*line)
    assert (estimator.stop_reason_, estimator.n_epochs_) == ("diverged", 3)
    assert estimator.history_ == expected.history_
    assert same(weights_of(estimator), weights_of(expected))


@pytest.mark.parametrize("name", ENGINES)
def test_stop_keeps_the_best_weights_where_early_stopping_restores_them(name, line):
    estimator = make_regressor(
        epochs=9,
        engine=name,
        callbacks=[SetsRate(), Tells([3.0, 1.0, 2.0])],
        early_stopping=True,
        on_nan="stop",
    )
    with pytest.warns(ConvergenceWarning, match=r"diverged"):
        estimator.fit(*line)
    expected = make_regressor(epochs=2, validation_fraction=0.1, engine=name).fit(*line)
    assert (estimator.stop_reason_, estimator.best_epoch_) == ("diverged", 1)
    assert same(weights_of(estimator), weights_of(expected))


@pytest.mark.parametrize("name", ENGINES)
def test_stop_in_the_first_epoch_leaves_a_model_that_predicts_numbers(name, blobs):
    estimator = make_classifier(
        optimizer__learning_rate=1e38, early_stopping=True, on_nan="stop", epochs=5, engine=name
    )
    with pytest.warns(ConvergenceWarning, match="the ones it began with"):
        estimator.fit(*blobs)
    assert (estimator.n_epochs_, estimator.stop_reason_) == (0, "diverged")
    assert estimator.best_epoch_ is None
    assert estimator.history_ == {}
    assert np.isfinite(estimator.predict_proba(blobs[0])).all()


@pytest.mark.parametrize("name", ENGINES)
def test_fail_in_the_first_epoch_leaves_the_estimator_as_new(name, blobs):
    estimator = make_classifier(optimizer__learning_rate=1e38, engine=name)
    before = dict(vars(estimator))
    with pytest.raises(DivergedError, match=r"in epoch 0 at a learning rate of 9\.99"):
        estimator.fit(*blobs)
    assert vars(estimator) == before


@pytest.mark.parametrize("name", ENGINES)
def test_ignore_trains_on_and_takes_no_nan_for_the_best(name, blobs):
    estimator = make_classifier(
        optimizer__learning_rate=1e38, early_stopping=True, on_nan="ignore", epochs=3, engine=name
    )
    with pytest.warns(ConvergenceWarning, match="monitor='val_loss' .* was NaN in every epoch"):
        estimator.fit(*blobs)
    assert np.isnan(estimator.history_["loss"]).all()
    assert estimator.n_epochs_ == 3
    assert estimator.best_epoch_ is None


@pytest.mark.filterwarnings("ignore:Early stopping conditioned on:UserWarning")
@pytest.mark.parametrize(
    ("own", "freq", "name"),
    [(True, 1, "fused"), (False, 1, "keras"), (False, 2, "fused"), (True, 2, "keras")],
)
def test_a_nan_in_the_first_epoch_is_never_the_best(own, freq, name, line):
    told = [NAN, 3.0, 1.0, 2.0] if freq == 1 else [None, NAN, None, 3.0, None, 1.0, None, 2.0]
    stop = keras.callbacks.EarlyStopping("val_loss", patience=50, restore_best_weights=True)
    estimator = make_regressor(
        callbacks=[Tells(told), stop] if own else Tells(told),
        early_stopping=not own,
        n_iter_no_change=50,
        validation_fraction=0.2,
        epochs=len(told),
        fit__validation_freq=freq,
        engine=name,
    ).fit(*line)
    best = told.index(1.0)
    assert estimator.best_epoch_ == best
    expected = make_regressor(epochs=best + 1, validation_fraction=0.2, engine=name).fit(*line)
    assert same(weights_of(estimator), weights_of(expected))


def test_a_nan_in_the_first_epoch_is_no_checkpoints_best(tmp_path, line):
    path = tmp_path / "best.weights.h5"
    checkpoint = keras.callbacks.ModelCheckpoint(
        str(path), save_best_only=True, save_weights_only=True
    )
    estimator = make_regressor(
        callbacks=[Tells([NAN, 3.0, 1.0, 2.0]), checkpoint], validation_fraction=0.2, epochs=4
    ).fit(*line)
    expected = make_regressor(epochs=3, validation_fraction=0.2).fit(*line)
    estimator.model_.load_weights(path)
    assert same(weights_of(estimator), weights_of(expected))


@pytest.mark.filterwarnings("ignore:One or more of the test scores:UserWarning")
def test_a_candidate_that_diverges_scores_nan_and_does_not_win(rng):
    y = np.repeat([0, 1], [100, 20])
    X = rng.normal(size=(120, 4))  # where the larger class alone is right 5 times in 6
    search = GridSearchCV(
        make_classifier(epochs=2), {"optimizer__learning_rate": [1e38, 1e-2]}, cv=2
    )
    with pytest.warns(FitFailedWarning, match=r"DivergedError: Training diverged"):
        search.fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [True, False]
    assert search.best_params_ == {"optimizer__learning_rate": 1e-2}


# Copies

ALL = {
    "early_stopping": True,
    "validation_fraction": 0.3,
    "n_iter_no_change": 3,
    "tol": 1e-3,
    "scoring": "r2",
    "on_nan": "stop",
    "max_fit_seconds": 100.0,
    "max_retries": 2,
    "retry_on": (RuntimeError, OSError),
    "retry_with": dict,
}


def test_a_clone_has_all_parameters_and_gives_the_same_numbers(line):
    estimator = make_regressor(epochs=3, **ALL).fit(*line)
    twin = clone(estimator)
    assert {name: getattr(twin, name) for name in ALL} == ALL
    assert not hasattr(twin, "stop_reason_")
    assert twin.fit(*line).history_ == estimator.history_


def test_a_pickled_estimator_knows_all_that_it_knew(line):
    estimator = make_regressor(epochs=3, **ALL).fit(*line)
    twin = pickle.loads(pickle.dumps(estimator))
    assert {name: getattr(twin, name) for name in ALL} == ALL
    for name in ("history_", "best_epoch_", "n_epochs_", "stop_reason_", "attempts_"):
        assert getattr(twin, name) == getattr(estimator, name)
    assert np.array_equal(twin.validation_indices_, estimator.validation_indices_)
    assert np.array_equal(twin.predict(line[0]), estimator.predict(line[0]))
    assert twin.fit(*line).history_ == estimator.history_


def test_all_parameters_are_set_and_searched_like_any_other(line):
    estimator = make_regressor(epochs=2)
    defaults = {name: estimator.get_params()[name] for name in ALL}
    assert defaults == {
        "early_stopping": False,
        "validation_fraction": None,
        "n_iter_no_change": 10,
        "tol": 1e-4,
        "scoring": None,
        "on_nan": "fail",
        "max_fit_seconds": None,
        "max_retries": 0,
        "retry_on": (Exception,),
        "retry_with": None,
    }
    assert estimator.set_params(**ALL).get_params().items() >= ALL.items()
    search = GridSearchCV(estimator, {"n_iter_no_change": [1, 2]}, cv=2, error_score="raise")
    assert np.isfinite(search.fit(*line).cv_results_["mean_test_score"]).all()


def test_a_score_that_is_always_nan_is_mentioned(blobs):
    def nothing(estimator, X, y):
        return np.nan

    estimator = make_classifier(early_stopping=True, scoring=nothing, epochs=2)
    with pytest.warns(ConvergenceWarning, match="monitor='val_nothing' .* was NaN in every epoch"):
        estimator.fit(*blobs)
    assert estimator.best_epoch_ is None


def test_a_scorer_that_nobody_knows_is_refused_with_the_closest(blobs):
    with pytest.raises(ValueError, match=r"scoring='roc_acu' is no scorer.*'roc_auc'"):
        make_classifier(scoring="roc_acu").fit(*blobs)
