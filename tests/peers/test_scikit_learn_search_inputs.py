"""Splits, metadata, messages and jobs of a guarded search are those of scikit-learn's."""

import re

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.stats import loguniform
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from tests.peers.searches import (
    ESTIMATORS,
    GROUPS,
    SAMPLES,
    VALUES,
    WEIGHTS,
    C,
    Picky,
    X,
    Y,
    assert_same_attributes,
    assert_same_errors,
    assert_same_fits,
    assert_same_predictions,
    each_search,
    fit,
    make_both,
    neutral,
    same,
    share_right,
    simple_search,
    warnings_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@each_search
@pytest.mark.parametrize("cv", [GroupKFold(3), LeaveOneGroupOut()], ids=repr)
def test_groups_reach_the_splitter(kind, cv):
    assert_same_fits(kind, LogisticRegression(), C, cv=cv, fit_params={"groups": GROUPS})


@each_search
@pytest.mark.parametrize("weights", [WEIGHTS, WEIGHTS.tolist(), pd.Series(WEIGHTS), None])
def test_weights_reach_fit(kind, weights):
    assert_same_fits(kind, LogisticRegression(), C, fit_params={"sample_weight": weights})


@pytest.mark.parametrize(
    ("scoring", "refit"),
    [
        (share_right, True),
        (make_scorer(lambda y, p: float(np.mean(y == p))), True),
        ({"plain": make_scorer(lambda y, p: 0.5), "accuracy": "accuracy"}, "accuracy"),
    ],
    ids=["function", "scorer", "one of two"],
)
def test_weights_that_a_scorer_cannot_take_warn_the_same(scoring, refit):
    params = {"scoring": scoring, "refit": refit, "fit_params": {"sample_weight": WEIGHTS}}
    assert_same_fits("grid", LogisticRegression(), C, **params)


class TakesMore(LogisticRegression):
    """Records the further arguments of its fit."""

    def fit(self, X, y, sample_weight=None, flag=None, per_row=None):
        self.flag_, self.n_per_row_ = flag, None if per_row is None else len(per_row)
        assert per_row is None or len(per_row) == len(y)
        return super().fit(X, y, sample_weight)


@each_search
@pytest.mark.parametrize(
    "fit_params", [{"flag": "on"}, {"flag": [1, 2]}, {"per_row": list(range(60))}], ids=str
)
def test_other_fit_parameters_reach_fit(kind, fit_params):
    theirs, ours = assert_same_fits(kind, TakesMore(), C, fit_params=fit_params)
    assert ours.best_estimator_.flag_ == theirs.best_estimator_.flag_
    assert ours.best_estimator_.n_per_row_ == theirs.best_estimator_.n_per_row_


def test_fit_parameters_reach_a_step_of_a_pipeline():
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    params = {"logisticregression__sample_weight": WEIGHTS}
    assert_same_fits("grid", pipe, {"logisticregression__C": [0.1, 1]}, fit_params=params)


@each_search
@pytest.mark.parametrize("wants", [True, False])
def test_routed_metadata_reach_all_that_request_them(kind, wants):
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = LogisticRegression().set_fit_request(sample_weight=wants)
        estimator.set_score_request(sample_weight=not wants)
        scorer = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        for scoring in [scorer] if kind.startswith("halving") else [scorer, {"a": scorer}]:
            theirs, ours = assert_same_fits(
                kind,
                estimator,
                C,
                cv=GroupKFold(3),
                scoring=scoring,
                refit="a" if isinstance(scoring, dict) else True,
                fit_params={"sample_weight": WEIGHTS, "groups": GROUPS},
            )
            assert same(
                theirs.score(X, Y, sample_weight=WEIGHTS), ours.score(X, Y, sample_weight=WEIGHTS)
            )


def test_routed_metadata_reach_a_step_of_a_pipeline():
    with sklearn.config_context(enable_metadata_routing=True):
        model = LogisticRegression().set_fit_request(sample_weight=True)
        pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        assert_same_fits(
            "grid",
            pipe,
            {"logisticregression__C": [0.1, 1]},
            scoring=make_scorer(accuracy_score).set_score_request(sample_weight=True),
            fit_params={"sample_weight": WEIGHTS},
        )


@each_search
def test_metadata_that_is_not_requested_is_an_error(kind):
    with sklearn.config_context(enable_metadata_routing=True):
        error = assert_same_errors(
            kind, LogisticRegression(), C, fit_params={"sample_weight": WEIGHTS}
        )
    assert "sample_weight" in str(error)


@each_search
def test_the_routing_of_metadata_is_described_the_same(kind):
    with sklearn.config_context(enable_metadata_routing=True):
        theirs, ours = make_both(kind, LogisticRegression(), C)
        routes = [neutral(search.get_metadata_routing()) for search in (theirs, ours)]
    assert routes[0] == routes[1]


class OnlyOnce:
    """A splitter that gives its splits a single time."""

    def __init__(self):
        self._splits = KFold(3).split(X)

    def split(self, X=None, y=None, groups=None):
        yield from self._splits

    def get_n_splits(self, X=None, y=None, groups=None):
        return 3


SPLITTERS = {
    "default": lambda: None,
    "number": lambda: 2,
    "stratified": lambda: StratifiedKFold(2, shuffle=True, random_state=0),
    "repeated": lambda: RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0),
    "a RandomState": lambda: ShuffleSplit(2, random_state=np.random.RandomState(0)),
    "time": lambda: TimeSeriesSplit(3),
    "predefined": lambda: PredefinedSplit(np.arange(60) % 3),
    "list": lambda: list(KFold(2).split(X)),
    "list of lists": lambda: [(list(range(40)), list(range(40, 60)))],
    "masks": lambda: [(np.arange(60) % 3 != 0, np.arange(60) % 3 == 0)],
    "generator": lambda: KFold(3, shuffle=True, random_state=0).split(X, Y),
    "once": OnlyOnce,
}


@simple_search
@pytest.mark.parametrize("case", SPLITTERS)
def test_splits_are_the_same(kind, case):
    searches = make_both(kind, LogisticRegression(), C, return_train_score=True)
    for search in searches:
        search.set_params(cv=SPLITTERS[case]()).fit(X, Y)
    assert_same_attributes(*searches)
    assert_same_predictions(*searches, X)


@pytest.mark.parametrize("kind", ["halving_grid", "halving_random"])
@pytest.mark.parametrize("case", ["stratified", "list", "predefined"])
def test_halving_splits_are_the_same(kind, case):
    searches = make_both(kind, LogisticRegression(), C)
    for search in searches:
        search.set_params(cv=SPLITTERS[case]()).fit(X, Y)
    assert_same_attributes(*searches)


def without_times(output):
    output = re.sub(r"total time= *[\d.]+(min|s)", "total time=0s", output)
    return re.sub(r"\.{2,}", "..", output)  # as many dots as leave room for the time


@each_search
@pytest.mark.parametrize("verbose", [0, 1, 2, 3, 10])
def test_what_is_printed_is_the_same(kind, verbose, capsys):
    searches = make_both(
        kind, LogisticRegression(), C, verbose=verbose, return_train_score=verbose == 3
    )
    printed = []
    for search in searches:
        search.fit(X, Y)
        printed.append(without_times(capsys.readouterr().out))
    assert printed[0] == printed[1]
    assert bool(printed[0]) == (verbose > 0)


@simple_search
def test_what_is_printed_of_several_scores_is_the_same(kind, capsys):
    params = {"scoring": ["accuracy", "f1"], "refit": "f1", "return_train_score": True}
    printed = []
    for search in make_both(kind, LogisticRegression(), C, verbose=3, **params):
        search.fit(X, Y)
        printed.append(without_times(capsys.readouterr().out))
    assert printed[0] == printed[1]
    assert "f1: (train=" in printed[0]


def test_what_is_printed_of_estimators_as_values_is_the_same(capsys):
    pipe = Pipeline([("model", SVC())])
    space = {"model": [SVC(), LogisticRegression()], "model__C": [1, 2]}
    printed = []
    for search in make_both("grid", pipe, space, verbose=3):
        search.fit(X, Y)
        printed.append(without_times(capsys.readouterr().out))
    assert printed[0] == printed[1]


def test_a_fit_that_fails_has_a_line_with_its_error(capsys):
    _, ours = make_both("grid", Picky(fails_for=(1,)), VALUES, verbose=2, scoring="accuracy")
    fit(ours, SAMPLES, Y)
    assert "FAILED {'value': 1}: ValueError: value=1 cannot work" in capsys.readouterr().out


@pytest.mark.parametrize("case", ["columns", "estimators as values"])
def test_two_jobs_find_the_same_as_one(case):
    estimator, space, X, y = ESTIMATORS[case]
    theirs, ours = make_both("grid", estimator, space)
    assert_same_attributes(theirs.fit(X, y), ours.set_params(n_jobs=2).fit(X, y))
    assert_same_predictions(theirs, ours, X)


def test_two_jobs_of_halving_find_the_same_as_one():
    theirs, ours = make_both("halving_random", SVC(random_state=0), {"C": loguniform(0.1, 10)})
    assert_same_attributes(theirs.fit(X, Y), ours.set_params(n_jobs=2).fit(X, Y))


def test_two_jobs_fail_the_same_as_one():
    theirs, ours = make_both("grid", Picky(fails_for=(1, 4)), VALUES, scoring=["accuracy", "f1"])
    params = {"refit": "f1", "return_train_score": True, "error_score": -1}
    theirs.set_params(**params)
    theirs, ours = fit(theirs, SAMPLES, Y), fit(ours.set_params(**params, n_jobs=2), SAMPLES, Y)
    assert (theirs.error, ours.error) == (None, None)
    assert warnings_of(theirs).keys() == warnings_of(ours).keys()
    assert_same_attributes(theirs.search, ours.search)


@each_search
def test_threads_find_the_same(kind):
    with joblib.parallel_config("threading", n_jobs=2):
        assert_same_fits(kind, LogisticRegression(), C)


@pytest.mark.parametrize("pre_dispatch", ["all", "n_jobs", 1])
def test_threads_find_the_same_however_many_are_dispatched(pre_dispatch):
    with joblib.parallel_config("threading", n_jobs=2):
        assert_same_fits("grid", LogisticRegression(), C, pre_dispatch=pre_dispatch)


def test_the_number_of_jobs_may_be_set_from_outside():
    theirs, ours = make_both("grid", LogisticRegression(), C)
    theirs.fit(X, Y, sample_weight=WEIGHTS)
    with joblib.parallel_config(n_jobs=2):
        ours.fit(X, Y, sample_weight=WEIGHTS)
    assert_same_attributes(theirs, ours)


def test_threads_fail_the_same():
    with joblib.parallel_config("threading", n_jobs=2):
        assert_same_fits("grid", Picky(fails_for=(1, 4)), VALUES, SAMPLES)
