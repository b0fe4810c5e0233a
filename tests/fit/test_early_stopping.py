"""Early stopping ends training in time, and restores the best weights."""

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import (
    accuracy_score,
    make_scorer,
    max_error,
    mean_absolute_error,
    roc_auc_score,
)
from sklearn.model_selection import StratifiedKFold, cross_validate

from skguard.exceptions import UnusedParameterWarning
from tests.fit.probes import ENGINES, LogsValues, RecordsEpochs, same, weights_of
from tests.models import make_classifier, make_regressor


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
    validation = estimator.validation_indices_
    assert len(validation) == 18
    seen = estimator.model_.evaluate(X[validation], y[validation], verbose=0)
    assert seen == pytest.approx(min(losses), rel=1e-5)
    assert seen != pytest.approx(losses[-1], rel=1e-3)


@pytest.mark.parametrize("name", ENGINES)
def test_early_stopping_restores_the_best_weights_after_the_last_epoch_too(name, noise):
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
    validation = estimator.validation_indices_
    seen = estimator.model_.evaluate(X[validation], y[validation], verbose=0)
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
    ("rule", "n_samples"),
    [({}, 6), ({"validation_fraction": 0.3}, 18), ({"validation_split": 4}, 15)],
    ids=["default", "fraction", "split"],
)
def test_the_validation_set_of_early_stopping_is_a_tenth_unless_specified(rule, n_samples, blobs):
    estimator = make_classifier(early_stopping=True, **rule).fit(*blobs)
    assert len(estimator.validation_indices_) == n_samples
    assert estimator.validation_fraction == rule.get("validation_fraction")


def test_without_early_stopping_all_epochs_run_and_no_samples_are_set_aside(noise):
    estimator = make_regressor(epochs=20).fit(*noise)
    assert estimator.n_epochs_ == 20
    assert estimator.validation_indices_ is None
    assert estimator.best_epoch_ is None


@pytest.mark.parametrize(
    ("tol", "patience", "best", "n_epochs"),
    [(0, 2, 3, 6), (0, 1, 3, 5), (0.15, 2, 0, 3), (0.15, 3, 3, 7), (5, 1, 0, 2)],
)
def test_tol_and_n_iter_no_change_define_an_improvement(tol, patience, best, n_epochs, line):
    losses = [1.0, 0.9, 0.9 - 1e-6, 0.8, 0.8, 0.8, 0.8]
    losses = losses if best == 0 or tol else [1.0, 0.9, 0.85, 0.8, 0.8, 0.9, 0.9]
    estimator = make_regressor(
        early_stopping=True,
        tol=tol,
        n_iter_no_change=patience,
        epochs=7,
        callbacks=LogsValues(losses),
    ).fit(*line)
    assert estimator.best_epoch_ == best
    assert estimator.n_epochs_ == n_epochs
    assert estimator.history_["val_loss"] == losses[:n_epochs]


def test_ten_epochs_without_improvement_are_the_default(line):
    estimator = make_regressor(early_stopping=True, epochs=99, callbacks=LogsValues([2.0, 1.0]))
    estimator.fit(*line)
    assert estimator.best_epoch_ == 1
    assert estimator.n_epochs_ == 12
    less = clone(estimator).set_params(callbacks=LogsValues([2.0, 1.0, 1.0 - 0.9e-4])).fit(*line)
    assert less.best_epoch_ == 1
    more = clone(estimator).set_params(callbacks=LogsValues([2.0, 1.0, 1.0 - 1.1e-4])).fit(*line)
    assert more.best_epoch_ == 2


def test_early_stopping_in_a_cross_validation_uses_samples_of_each_training_set(blobs):
    X, y = blobs
    cv = StratifiedKFold(3)
    estimator = make_classifier(
        early_stopping=True, n_iter_no_change=2, epochs=200, optimizer__learning_rate=0.1
    )
    folds = cross_validate(estimator, X, y, cv=cv, return_estimator=True)["estimator"]
    for (train, _), fitted in zip(cv.split(X, y), folds, strict=True):
        validation = train[fitted.validation_indices_]
        seen = fitted.model_.evaluate(X[validation], y[validation], verbose=0)
        expected = fitted.history_["val_loss"][fitted.best_epoch_]
        assert seen == pytest.approx(expected, rel=1e-4)
        assert set(y[validation]) == {0, 1, 2}


def test_a_second_fit_stops_at_the_same_epoch(noise):
    estimator = make_regressor(early_stopping=True, n_iter_no_change=2, epochs=100)
    first = estimator.fit(*noise).history_
    assert estimator.fit(*noise).history_ == first


def test_partial_fit_with_early_stopping_raises(line):
    estimator = make_regressor(early_stopping=True)
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match=r"early_stopping=True is for fit\(\)"):
        estimator.partial_fit(*line)
    assert vars(estimator) == before


def test_an_early_stopping_callback_starts_fresh_in_every_fold(blobs):
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    before = dict(vars(stop))
    estimator = make_classifier(
        callbacks=[LogsValues([3.0, 2.0, 1.0, 1.5]), stop], validation_fraction=0.2, epochs=50
    )
    folds = cross_validate(estimator, *blobs, cv=3, return_estimator=True)["estimator"]
    assert [fitted.n_epochs_ for fitted in folds] == [5, 5, 5]
    assert [fitted.best_epoch_ for fitted in folds] == [2, 2, 2]
    assert {fitted.stop_reason_ for fitted in folds} == {"early_stopping"}
    assert len({id(fitted.callbacks_[1]) for fitted in folds} | {id(stop)}) == 4
    assert vars(stop) == before


def test_an_early_stopping_callback_restores_the_weights_of_the_best_epoch(line):
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    estimator = make_regressor(
        callbacks=[LogsValues([3.0, 2.0, 1.0, 1.5]), stop], validation_fraction=0.2, epochs=50
    ).fit(*line)
    expected = make_regressor(validation_fraction=0.2, epochs=3).fit(*line)
    assert same(weights_of(estimator), weights_of(expected))


def test_an_early_stopping_callback_on_the_training_loss_needs_no_validation_set(line):
    stop = keras.callbacks.EarlyStopping("loss", min_delta=1e9, patience=2)
    estimator = make_regressor(callbacks=stop, epochs=50).fit(*line)
    assert estimator.stop_reason_ == "early_stopping"
    assert estimator.best_epoch_ == 0
    assert estimator.n_epochs_ == 3


def test_early_stopping_monitors_the_scorer_on_the_validation_set(two_blobs):
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
    validation = estimator.validation_indices_
    restored = roc_auc_score(y[validation] == "yes", estimator.predict_proba(X[validation])[:, 1])
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
def test_scoring_accepts_any_scorer(scoring, logged, noise):
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


def test_scoring_without_early_stopping_is_only_logged(two_blobs):
    X, y = two_blobs
    estimator = make_classifier(validation_fraction=0.4, scoring="accuracy", epochs=3).fit(X, y)
    validation = estimator.validation_indices_
    assert len(estimator.history_["val_accuracy"]) == 3
    expected = accuracy_score(y[validation], estimator.predict(X[validation]))
    assert estimator.history_["val_accuracy"][-1] == pytest.approx(expected)


def test_scoring_uses_sample_weights(two_blobs):
    X, y = two_blobs
    weights = np.random.default_rng(3).uniform(0.1, 9, 60)
    estimator = make_classifier(validation_fraction=0.4, scoring="accuracy", epochs=2)
    estimator.fit(X, y, sample_weight=weights)
    validation = estimator.validation_indices_
    predicted = estimator.predict(X[validation])
    expected = accuracy_score(y[validation], predicted, sample_weight=weights[validation])
    assert estimator.history_["val_accuracy"][-1] == pytest.approx(expected)
    assert expected != pytest.approx(accuracy_score(y[validation], predicted), rel=1e-3)


def test_scoring_without_a_validation_set_has_no_effect_and_warns(line):
    with pytest.warns(UnusedParameterWarning, match="scoring='r2' has no effect"):
        history = make_regressor(scoring="r2").fit(*line).history_
    assert [name for name in history if "val_" in name or "r2" in name] == []


def test_an_unknown_scorer_is_rejected_before_training(line, begun):
    estimator = make_regressor(early_stopping=True, scoring="rok_auc", callbacks=RecordsEpochs)
    with pytest.raises(ValueError, match="rok_auc"):
        estimator.fit(*line)
    assert begun == []


def test_a_score_that_is_nan_in_every_epoch_warns(blobs):
    def nothing(estimator, X, y):
        return np.nan

    estimator = make_classifier(early_stopping=True, scoring=nothing, epochs=2)
    with pytest.warns(ConvergenceWarning, match="monitor='val_nothing' .* was NaN in every epoch"):
        estimator.fit(*blobs)
    assert estimator.best_epoch_ is None
