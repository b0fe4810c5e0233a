"""The refit on all samples: for how many epochs, and with which callbacks."""

import math
import pickle
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau, TerminateOnNaN
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skguard import GuardedKerasRegressor
from skguard.callbacks import RevertWeights, ScorerMonitor, Shared
from skguard.model_selection import GuardedGridSearchCV, _refit
from skguard.model_selection._budget import TimeBudget
from skguard.model_selection._refit_epochs import (
    LeftOut,
    check_refit_epochs,
    n_best_epochs,
    without_validation_set,
)
from tests.model_selection.outcomes import make_trials
from tests.models import make_classifier, make_regressor

NAN = float("nan")


# How many epochs


def make_results(*best_epochs):
    """Of three candidates, the second of which has these best epochs."""
    splits = {
        f"split{number}_best_epoch": np.array([100.0, value, 100.0])
        for number, value in enumerate(best_epochs)
    }
    return splits | {"params": [{"a": 0}, {"a": 1}, {"a": 2}], "mean_best_epoch": np.full(3, 50.0)}


@pytest.mark.parametrize(
    ("best_epochs", "n_epochs"),
    [
        ([0], 1),
        ([4], 5),
        ([4, 4, 4], 5),
        ([0, 9, 2], 3),
        ([2, 9, 0], 3),
        ([3, 4], 5),
        ([3, 5], 5),
        ([0, 1], 2),
        ([1, 2, 3, 1000], 4),
        ([0, 0, 0, 0, 999], 1),
        (list(range(12)), 7),
    ],
    ids=str,
)
def test_the_refit_has_the_median_of_the_best_epoch_counts_rounded_up(best_epochs, n_epochs):
    found = n_best_epochs(make_results(*best_epochs), 1)
    assert found == n_epochs
    assert type(found) is int


@pytest.mark.parametrize("best_epochs", [[], [NAN], [3, NAN], [NAN, NAN, NAN]], ids=str)
def test_a_split_without_a_best_epoch_is_an_error_with_advice(best_epochs):
    with pytest.raises(ValueError, match=r"candidate {'a': 1} has none.*early_stopping=True or"):
        n_best_epochs(make_results(*best_epochs), 1)


@pytest.mark.parametrize(
    "estimator",
    [
        make_classifier(early_stopping=True),
        make_regressor(early_stopping=True),
        Pipeline([("scale", StandardScaler()), ("model", make_classifier(early_stopping=True))]),
        TransformedTargetRegressor(make_regressor(early_stopping=True)),
        Pipeline([("model", TransformedTargetRegressor(make_regressor(early_stopping=True)))]),
    ],
    ids=["classifier", "regressor", "pipeline", "target", "target in a pipeline"],
)
def test_keras_estimators_in_any_other_have_epochs_to_choose(estimator):
    check_refit_epochs(estimator, searched=[], fit_params={})


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        TransformedTargetRegressor(),
    ],
    ids=["alone", "pipeline", "target"],
)
def test_other_estimators_have_no_epochs_to_choose(estimator):
    with pytest.raises(ValueError, match="refit_epochs='best' needs a Keras estimator of skguard"):
        check_refit_epochs(estimator, searched=["validation_split"], fit_params={})


@pytest.mark.parametrize(
    ("params", "searched", "fit_params"),
    [
        ({"validation_split": 0.2}, [], {}),
        ({"validation_split": 5}, [], {}),
        ({"fit__validation_split": 0.2}, [], {}),
        ({}, ["model__validation_fraction"], {}),
        ({}, [], {"X_val": [[0]]}),
        ({}, [], {"model__validation_data": ()}),
        ({"fit__validation_data": ()}, [], {}),
    ],
    ids=str,
)
def test_a_validation_set_may_be_set_aside_in_any_way(params, searched, fit_params):
    estimator = make_classifier(**params)
    check_refit_epochs(estimator, searched, fit_params)


@pytest.mark.parametrize(
    "params", [{}, {"validation_split": 0}, {"early_stopping": False}], ids=str
)
def test_an_estimator_without_a_validation_set_has_no_best_epochs(params):
    with pytest.raises(ValueError, match="have no validation set"):
        check_refit_epochs(make_classifier(**params), searched=["units"], fit_params={})


# Without a validation set


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [
        (lambda network: network, ""),
        (lambda network: Pipeline([("scale", StandardScaler()), ("nn", network)]), "nn__"),
        (TransformedTargetRegressor, "regressor__"),
        (
            lambda network: Pipeline([("target", TransformedTargetRegressor(network))]),
            "target__regressor__",
        ),
        (lambda network: Pipeline([("callbacks", network)]), "callbacks__"),
    ],
    ids=["alone", "pipeline", "target", "target in a pipeline", "step named callbacks"],
)
def test_the_parameters_are_set_where_the_network_is(wrap, prefix):
    network = make_classifier(
        epochs=50,
        early_stopping=True,
        validation_split=0.25,
        validation_fraction=0.2,
        callbacks=[EarlyStopping(), TerminateOnNaN()],
    )
    estimator = wrap(network)
    params = without_validation_set(estimator, 7)
    callbacks = params.pop(f"{prefix}callbacks")
    assert params == {
        f"{prefix}epochs": 7,
        f"{prefix}early_stopping": False,
        f"{prefix}validation_split": 0.0,
        f"{prefix}validation_fraction": None,
    }
    assert isinstance(callbacks[0], LeftOut)
    assert callbacks[1] is network.callbacks[1]
    estimator.set_params(**params, **{f"{prefix}callbacks": callbacks})
    assert (network.epochs, network.early_stopping) == (7, False)


def test_of_two_networks_in_a_pipeline_the_last_is_the_one_whose_epochs_were_counted():
    pipeline = Pipeline([("nn", make_classifier()), ("head", make_classifier())])
    assert "head__epochs" in without_validation_set(pipeline, 7)


def refitted(callbacks, **routed):
    """The callbacks of the refit."""
    estimator = make_classifier(callbacks=callbacks, **routed)
    return without_validation_set(estimator, 3)["callbacks"]


STAY = {
    "None": None,
    "EarlyStopping loss": EarlyStopping("loss"),
    "ReduceLROnPlateau loss": ReduceLROnPlateau("loss"),
    "RevertWeights": RevertWeights(),
    "TerminateOnNaN": TerminateOnNaN(),
    "History": keras.callbacks.History(),
    "LambdaCallback": keras.callbacks.LambdaCallback(),
    "Shared loss": Shared(EarlyStopping("loss")),
    "class without a monitor": TerminateOnNaN,
    "class that monitors loss": RevertWeights,
}

GO = {
    "EarlyStopping": EarlyStopping(),
    "EarlyStopping val_loss": EarlyStopping("val_loss"),
    "EarlyStopping val_accuracy": EarlyStopping("val_accuracy", mode="max"),
    "ReduceLROnPlateau": ReduceLROnPlateau(),
    "ModelCheckpoint": ModelCheckpoint("m.keras", save_best_only=True),
    "RevertWeights val_loss": RevertWeights("val_loss"),
    "ScorerMonitor": ScorerMonitor("accuracy"),
    "Shared val_loss": Shared(EarlyStopping()),
    "Shared ScorerMonitor": Shared(ScorerMonitor("accuracy")),
    "class": EarlyStopping,
    "class ReduceLROnPlateau": ReduceLROnPlateau,
    "class ScorerMonitor": ScorerMonitor,
}


@pytest.mark.parametrize("callback", STAY.values(), ids=STAY)
def test_callbacks_that_do_not_read_the_validation_set_stay_the_same_objects(callback):
    assert refitted(callback) is callback
    assert refitted([callback])[0] is callback


@pytest.mark.parametrize("callback", GO.values(), ids=GO)
def test_callbacks_that_read_the_validation_set_are_left_out(callback):
    expected_type = type if isinstance(callback, type) else LeftOut
    for left in (refitted(callback), refitted([callback])[0], refitted({"a": callback})["a"]):
        assert isinstance(left, expected_type)
        assert left is LeftOut or isinstance(left, LeftOut)


@pytest.mark.parametrize(
    ("callbacks", "routed", "stays"),
    [
        (EarlyStopping, {"callbacks__monitor": "loss"}, True),
        (EarlyStopping, {"callbacks__monitor": "val_loss"}, False),
        (RevertWeights, {"callbacks__monitor": "val_loss"}, False),
        ([EarlyStopping], {"callbacks__0__monitor": "loss"}, True),
        ([EarlyStopping], {"callbacks__monitor": "loss"}, True),
        ([RevertWeights], {"callbacks__0__monitor": "val_loss"}, False),
        (
            [EarlyStopping],
            {"callbacks__monitor": "loss", "callbacks__0__monitor": "val_loss"},
            False,
        ),
        (
            [EarlyStopping],
            {"callbacks__monitor": "val_loss", "callbacks__0__monitor": "loss"},
            True,
        ),
        ({"stop": EarlyStopping}, {"callbacks__stop__monitor": "loss"}, True),
        ({"stop": EarlyStopping}, {"callbacks__monitor": "loss"}, True),
        ({"stop": RevertWeights}, {"callbacks__stop__monitor": "val_loss"}, False),
        ([EarlyStopping], {"callbacks__0__patience": 3}, False),
        ([[EarlyStopping]], {"callbacks__0__0__monitor": "loss"}, True),
    ],
    ids=str,
)
def test_a_class_is_left_out_by_what_its_routed_parameters_monitor(callbacks, routed, stays):
    (kept,) = flat(refitted(callbacks, **routed))
    (given,) = flat(callbacks)
    assert kept is (given if stays else LeftOut)


@pytest.mark.parametrize(
    ("callbacks", "routed", "stays"),
    [
        ({"a": [EarlyStopping]}, {"callbacks__a__monitor": "loss"}, True),
        ([[EarlyStopping]], {"callbacks__0__monitor": "loss"}, True),
        ({"a": [RevertWeights]}, {"callbacks__a__monitor": "val_loss"}, False),
    ],
    ids=str,
)
def test_a_monitor_that_is_routed_to_a_whole_list_counts_as_it_does_in_a_fit(
    callbacks, routed, stays
):
    test_a_class_is_left_out_by_what_its_routed_parameters_monitor(callbacks, routed, stays)


def flat(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in flat(item)]
    return [value]


def test_routed_parameters_are_found_in_a_pipeline_too():
    network = make_classifier(
        callbacks=[EarlyStopping, RevertWeights],
        callbacks__0__monitor="loss",
        callbacks__1__monitor="val_loss",
    )
    params = without_validation_set(make_pipeline(network), 3)
    assert params["guardedkerasclassifier__callbacks"] == [EarlyStopping, LeftOut]


def test_nested_callbacks_keep_their_form():
    stays = TerminateOnNaN()
    callbacks = {"a": [EarlyStopping(), (stays, ScorerMonitor)], "b": {"c": stays, "d": []}}
    left = refitted(callbacks)
    assert list(left) == ["a", "b"]
    assert isinstance(left["a"], list)
    assert isinstance(left["a"][0], LeftOut)
    assert left["a"][1] == (stays, LeftOut)
    assert left["b"] == {"c": stays, "d": []}


@pytest.mark.parametrize("make", [list, tuple, lambda items: {"a": items[0]}], ids=["l", "t", "d"])
def test_the_callbacks_of_the_caller_are_not_changed(make):
    callbacks = make([EarlyStopping()])
    before = flat(callbacks)
    assert flat(refitted(callbacks)) != before
    assert flat(callbacks) == before


def test_what_is_in_the_place_of_a_class_takes_its_parameters(blobs):
    network = make_classifier(
        callbacks=[EarlyStopping, {"lr": ReduceLROnPlateau}],
        callbacks__0__patience=3,
        callbacks__1__lr__factor=0.5,
    )
    network.set_params(**without_validation_set(network, 2)).fit(*blobs)
    assert network.n_epochs_ == 2


@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_a_callback_that_monitors_the_training_loss_still_stops_a_refit(engine, blobs):
    network = make_classifier(
        engine=engine,
        early_stopping=True,
        callbacks=[EarlyStopping("loss", min_delta=1e9, patience=1), EarlyStopping(patience=0)],
    )
    network.set_params(**without_validation_set(network, 30)).fit(*blobs)
    assert network.n_epochs_ == 2


# Whole searches


@pytest.fixture
def noisy(rng):
    """60 samples of three classes that no model can separate."""
    return rng.normal(size=(60, 4)), rng.permutation(np.repeat([0, 1, 2], 20))


@pytest.fixture
def search():
    """Of a network that overfits at once, with callbacks that read its validation set."""
    callbacks = [
        ScorerMonitor("accuracy"),
        ReduceLROnPlateau(patience=1),
        EarlyStopping("val_accuracy", mode="max", patience=4),
        EarlyStopping("loss", patience=50),
    ]
    network = make_classifier(
        optimizer__learning_rate=0.02,
        epochs=8,
        early_stopping=True,
        n_iter_no_change=5,
        validation_fraction=0.3,
        callbacks=callbacks,
    )
    return GuardedGridSearchCV(
        network, {"batch_size": [8, 16]}, cv=StratifiedKFold(4), refit_epochs="best"
    )


def expected_epochs(search):
    best = [
        search.cv_results_[f"split{split}_best_epoch"][search.best_index_]
        for split in range(search.n_splits_)
    ]
    return math.ceil(np.median(best) + 1)


def test_a_search_refits_on_all_samples_for_the_median_of_the_best_epochs(search, noisy):
    given = search.estimator.callbacks
    states = [dict(vars(callback)) for callback in given]
    search.fit(*noisy)
    best = search.best_estimator_
    assert 1 <= expected_epochs(search) < 8
    assert best.n_epochs_ == best.epochs == expected_epochs(search)
    assert getattr(best, "validation_indices_", None) is None
    assert best.stop_reason_ == "max_epochs"
    assert not any(name.startswith("val_") for name in best.history_)
    assert best.batch_size == search.best_params_["batch_size"]
    assert [type(callback) for callback in best.callbacks] == [LeftOut] * 3 + [EarlyStopping]
    # Those of the caller are as they were.
    assert search.estimator.callbacks is given
    assert [vars(callback) for callback in given] == states
    assert search.estimator.epochs == 8
    assert search.estimator.early_stopping
    # And what came out travels and can be fitted again.
    twin = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(twin.predict_proba(noisy[0]), best.predict_proba(noisy[0]))
    again = clone(best).fit(*noisy)
    np.testing.assert_array_equal(again.predict_proba(noisy[0]), best.predict_proba(noisy[0]))


def test_a_search_over_a_pipeline_refits_the_network_in_it(search, noisy):
    pipeline = Pipeline([("scale", StandardScaler()), ("nn", search.estimator)])
    search.set_params(estimator=pipeline, param_grid={"nn__batch_size": [16]}, cv=2).fit(*noisy)
    network = search.best_estimator_["nn"]
    assert network.n_epochs_ == expected_epochs(search)
    assert getattr(network, "validation_indices_", None) is None
    pickle.loads(pickle.dumps(search.best_estimator_)).predict(noisy[0])


def test_a_search_over_transformed_targets_refits_the_network_in_it(line):
    network = make_regressor(epochs=4, validation_fraction=0.2)
    search = GuardedGridSearchCV(
        TransformedTargetRegressor(network, transformer=StandardScaler()),
        {"regressor__batch_size": [16]},
        cv=2,
        refit_epochs="best",
    ).fit(*line)
    network = search.best_estimator_.regressor_
    assert network.n_epochs_ == expected_epochs(search)
    assert getattr(network, "validation_indices_", None) is None


@pytest.mark.parametrize(
    "routed",
    [
        {"fit__validation_split": 0.3, "epochs": 3},
        {"fit__epochs": 8, "validation_fraction": 0.3, "optimizer__learning_rate": 0.05},
        {"fit__callbacks": [EarlyStopping()], "validation_fraction": 0.3},
    ],
    ids=lambda routed: next(iter(routed)),
)
def test_parameters_that_are_routed_to_fit_do_not_change_the_refit(routed, noisy):
    search = GuardedGridSearchCV(
        make_classifier(**routed), {"batch_size": [16]}, cv=2, refit_epochs="best"
    ).fit(*noisy)
    assert search.best_estimator_.n_epochs_ == expected_epochs(search)
    assert getattr(search.best_estimator_, "validation_indices_", None) is None


def test_a_best_candidate_without_a_validation_set_is_an_error_of_the_refit_that_keeps_the_results(
    blobs,
):
    search = GuardedGridSearchCV(
        make_classifier(), {"validation_fraction": [None]}, cv=2, refit_epochs="best"
    )
    with pytest.raises(ValueError, match="have no validation set"):
        search.fit(*blobs)
    assert search.cv_results_["status"].tolist() == ["completed"]
    assert search.best_params_ == {"validation_fraction": None}


def test_without_refit_epochs_the_refit_has_a_validation_set_as_the_fits_had(noisy):
    network = make_classifier(epochs=2, validation_fraction=0.3)
    search = GuardedGridSearchCV(network, {"batch_size": [16]}, cv=2).fit(*noisy)
    assert search.best_estimator_.validation_indices_ is not None
    assert search.best_estimator_.n_epochs_ == 2


def test_the_refit_trains_on_all_samples_for_the_median_of_the_best_epochs():
    X, y = load_iris(return_X_y=True)
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2)
    network = make_classifier(
        epochs=30,
        callbacks=[stop],
        validation_fraction=0.2,
        optimizer__learning_rate=0.3,
    )
    search = GuardedGridSearchCV(network, {"units": [4, 8]}, cv=3, refit_epochs="best").fit(X, y)
    best = [search.cv_results_[f"split{s}_best_epoch"][search.best_index_] for s in range(3)]
    refitted = search.best_estimator_
    assert refitted.n_epochs_ == np.median(best) + 1
    assert refitted.validation_indices_ is None
    assert "val_loss" not in refitted.history_
    assert pickle.loads(pickle.dumps(refitted)).predict(X).shape == (150,)
    assert network.callbacks == [stop]


def test_the_default_refit_is_that_of_scikit_learn():
    X, y = load_iris(return_X_y=True)
    network = make_classifier(epochs=8, early_stopping=True)
    ours = GuardedGridSearchCV(network, {"units": [4]}, cv=2).fit(X, y)
    theirs = GridSearchCV(network, {"units": [4]}, cv=2).fit(X, y)
    np.testing.assert_array_equal(ours.predict_proba(X), theirs.predict_proba(X))
    assert ours.best_score_ == theirs.best_score_
    assert len(ours.best_estimator_.validation_indices_) == 15


@pytest.mark.parametrize("where", ["alone", "pipeline", "target"])
def test_a_network_without_a_validation_set_is_an_error_before_any_fit(where, line):
    network = GuardedKerasRegressor(build_never, loss="mse", verbose=0)
    estimator = {
        "alone": network,
        "pipeline": Pipeline([("scale", StandardScaler()), ("net", network)]),
        "target": TransformedTargetRegressor(network),
    }[where]
    name = {"alone": "", "pipeline": "net__", "target": "regressor__"}[where] + "batch_size"
    search = GuardedGridSearchCV(estimator, {name: [8]}, cv=2, refit_epochs="best")
    with pytest.raises(ValueError, match="have no validation set"):
        search.fit(*line)


def build_never(meta):
    raise AssertionError("a fit was started")


@pytest.mark.parametrize(
    ("reasons", "seconds"),
    [(["time_budget", "max_epochs"], 10.0), (["max_epochs", None], 40.0), ([], 40.0)],
    ids=str,
)
def test_a_refit_after_the_budget_gets_as_long_as_the_fits_of_the_best_needed(reasons, seconds):
    table = {f"split{n}_stop_reason": np.array([None, r]) for n, r in enumerate(reasons)}
    results = SimpleNamespace(
        best_index=1, cv_results=table | {"mean_fit_time": np.array([99.0, 10.0])}
    )
    trials = make_trials(2, 2, size_ratio=2.0)
    run = SimpleNamespace(trials=trials, budget=TimeBudget(0.0))
    assert _refit._seconds(run, results) == seconds
