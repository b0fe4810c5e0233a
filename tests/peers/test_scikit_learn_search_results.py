"""A guarded search finds the same candidates and scores as scikit-learn's."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from scipy.stats import loguniform, randint, uniform
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.ensemble import (
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import (
    KFold,
    ShuffleSplit,
)
from sklearn.neighbors import KernelDensity, KNeighborsClassifier
from sklearn.svm import SVC

from tests.peers.searches import (
    COUNTS,
    ESTIMATORS,
    FRAME,
    C,
    X,
    Y,
    assert_same_attributes,
    assert_same_fits,
    counts,
    each_search,
    fit,
    make_both,
    same,
    share_right,
    simple_search,
    warnings_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")


class Shapes(ClassifierMixin, BaseEstimator):
    """Takes samples of any shape and type, and records which."""

    def __init__(self, value=0):
        self.value = value

    def fit(self, X, y):
        self.seen_ = type(X), type(y), np.shape(X)[1:], np.shape(y)[1:]
        return self

    def score(self, X, y):
        return np.shape(X)[0] + self.value


@each_search
@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.zeros((60, 3, 2, 2)), np.zeros((60, 4, 2))),
        (X.tolist(), X[:, 0].tolist()),
        (["a"] * 60, pd.Series(X[:, 0])),
        (FRAME, FRAME[["a"]]),
        (scipy.sparse.coo_matrix(COUNTS), X[:, 0]),
    ],
    ids=["axes", "lists", "texts", "frames", "coo"],
)
def test_samples_of_every_kind_reach_the_estimator_as_they_are(kind, X, y):
    theirs, ours = make_both(kind, Shapes(), {"value": [1, 2]}, cv=KFold(2))
    assert_same_attributes(theirs.fit(X, y), ours.fit(X, y))
    assert theirs.best_estimator_.seen_ == ours.best_estimator_.seen_


@each_search
@pytest.mark.parametrize("case", ESTIMATORS)
def test_a_search_finds_the_same(kind, case):
    estimator, space, X, y, *params = ESTIMATORS[case]
    assert_same_fits(kind, estimator, space, X, y, **dict(*params))


@pytest.mark.parametrize("kind", ["random", "halving_random"])
@pytest.mark.parametrize(
    ("estimator", "space"),
    [
        (SVC(), {"C": loguniform(1e-2, 1e2), "kernel": ["linear", "rbf"]}),
        (SVC(), [{"C": uniform(0.1, 2)}, {"kernel": ["poly"], "degree": randint(2, 4)}]),
        (KNeighborsClassifier(), {"n_neighbors": randint(1, 5)}),
    ],
    ids=["continuous", "a list of spaces", "integers"],
)
@pytest.mark.parametrize("make_seed", [lambda: 1, lambda: np.random.RandomState(1)])
def test_the_same_candidates_are_drawn(kind, estimator, space, make_seed):
    theirs, ours = make_both(kind, estimator, space)
    for search in (theirs, ours):
        search.set_params(random_state=make_seed()).fit(X, Y)
    assert_same_attributes(theirs, ours)


@each_search
def test_no_parameters_are_one_candidate(kind):
    params = {} if kind != "random" else {"n_iter": 1}
    assert_same_fits(kind, LogisticRegression(), {}, **params)


def test_more_draws_than_there_are_candidates_warn_the_same():
    assert_same_fits("random", LogisticRegression(), C, n_iter=5)


@each_search
def test_what_is_drawn_from_the_global_generator_is_the_same(kind):
    searches = make_both(
        kind,
        RandomForestClassifier(n_estimators=3),
        {"max_depth": [1, 2]},
        cv=KFold(2, shuffle=kind in ("grid", "random"), random_state=None),
    )
    state = np.random.get_state()
    try:
        for search in searches:
            np.random.seed(0)
            fit(search, X, Y)
    finally:
        np.random.set_state(state)
    assert_same_attributes(*searches)


def test_a_generator_as_random_state_is_copied_as_often():
    forest = RandomForestClassifier(n_estimators=3, random_state=np.random.RandomState(0))
    space = {"max_depth": [1, 2], "random_state": [np.random.RandomState(1)]}
    assert_same_fits("grid", forest, space)
    assert_same_fits("grid", forest, {"max_depth": [1, 2]})


@pytest.mark.parametrize("kind", ["halving_grid", "halving_random"])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"min_resources": "smallest", "cv": 2},
        {"factor": 3, "aggressive_elimination": True, "min_resources": 30},
        {"max_resources": 50, "min_resources": 20},
        {"resource": "n_estimators", "max_resources": 6, "min_resources": 1},
        {"return_train_score": False, "refit": False},
        {"cv": ShuffleSplit(2, random_state=0), "scoring": "accuracy"},
    ],
    ids=str,
)
def test_halving_goes_the_same_way(kind, params):
    forest = RandomForestClassifier(n_estimators=3, random_state=0)
    space = {"max_depth": [1, 2, 3], "max_features": [1, 2]}
    theirs, _ = assert_same_fits(kind, forest, space, **params)
    assert len(theirs.n_candidates_) >= 1


@pytest.mark.parametrize(
    "params",
    [{"n_candidates": 5}, {"n_candidates": 4, "min_resources": "exhaust"}],
    ids=str,
)
def test_halving_of_random_candidates_takes_as_many(params):
    assert_same_fits("halving_random", LogisticRegression(), {"C": loguniform(0.1, 10)}, **params)


def least_regularized_of_good(results):
    name = next(name for name in results if name.startswith("mean_test_"))
    good = results[name] >= results[name].max() - 0.2
    return int(np.flatnonzero(good).max())


SCORINGS = {
    "default": (None, True),
    "name": ("roc_auc", True),
    "loss": ("neg_log_loss", True),
    "scorer": (make_scorer(f1_score, average="macro"), True),
    "function": (share_right, True),
    "NumPy's float": (lambda e, X, y: np.float32(share_right(e, X, y)), True),
    "array without axes": (lambda e, X, y: np.array(share_right(e, X, y)), True),
    "integer": (lambda e, X, y: int(10 * share_right(e, X, y)), True),
    "bool": (lambda e, X, y: share_right(e, X, y) > 0.8, True),
    "no refit": ("accuracy", False),
    "chosen by a function": (None, least_regularized_of_good),
    "list": (["accuracy", "f1"], "f1"),
    "tuple": (("accuracy", "neg_brier_score"), "neg_brier_score"),
    "dict": ({"a": "accuracy", "b": make_scorer(f1_score), "c": share_right}, "c"),
    "list without refit": (["accuracy", "roc_auc"], False),
    "list, chosen by a function": (["accuracy", "roc_auc"], least_regularized_of_good),
    "function of several": (counts, "share"),
    "function of several without refit": (counts, False),
    "function of several, chosen by a function": (counts, least_regularized_of_good),
}


@simple_search
@pytest.mark.parametrize("return_train_score", [False, True])
@pytest.mark.parametrize("case", SCORINGS)
def test_scores_are_the_same(kind, case, return_train_score):
    scoring, refit = SCORINGS[case]
    params = {"scoring": scoring, "refit": refit, "return_train_score": return_train_score}
    theirs, ours = assert_same_fits(kind, LogisticRegression(), C, **params)
    if refit is not False and not (callable(refit) and theirs.multimetric_):
        assert same(theirs.score(X, Y), ours.score(X, Y))


@pytest.mark.parametrize("kind", ["halving_grid", "halving_random"])
@pytest.mark.parametrize("case", ["default", "name", "scorer", "function", "integer", "no refit"])
def test_halving_scores_are_the_same(kind, case):
    scoring, refit = SCORINGS[case]
    assert_same_fits(kind, LogisticRegression(), C, scoring=scoring, refit=refit)


def test_ties_rank_the_same():
    space = {"C": [1, 1.0001, 1e-6, 1e-7]}
    theirs, _ = assert_same_fits("grid", SVC(), space, return_train_score=True)
    assert len(set(theirs.cv_results_["rank_test_score"])) < 4


def test_infinite_scores_rank_the_same():
    def infinite(estimator, X, y):
        return {0.01: -np.inf, 1.0: 3.0, 10.0: np.inf}[estimator.C]

    assert_same_fits("grid", LogisticRegression(), C, scoring=infinite)


def test_nan_scores_that_are_accepted_rank_the_same():
    def unknown(estimator, X, y):
        return np.nan if estimator.C == 1 else estimator.C

    theirs, ours = make_both("grid", LogisticRegression(), C, scoring=unknown)
    theirs, ours = fit(theirs, X, Y), fit(ours.set_params(nan_score="accept"), X, Y)
    assert warnings_of(theirs) == warnings_of(ours)
    assert_same_attributes(theirs.search, ours.search)


def test_only_nan_scores_that_are_accepted_end_the_same():
    def unknown(estimator, X, y):
        return np.nan

    theirs, ours = make_both("grid", LogisticRegression(), C, scoring=unknown)
    theirs, ours = fit(theirs, X, Y), fit(ours.set_params(nan_score="accept"), X, Y)
    assert (theirs.error, ours.error) == (None, None)
    assert warnings_of(theirs) == warnings_of(ours)
    assert_same_attributes(theirs.search, ours.search)


@simple_search
def test_an_unsupervised_search_is_scored_by_a_function_of_x_alone(kind):
    def by_bandwidth(estimator, X):
        return 42 if estimator.bandwidth == 1 else 0

    space = {"bandwidth": [0.1, 1]}
    assert_same_fits(kind, KernelDensity(), space, y=None, scoring=by_bandwidth)


def test_a_clusterer_is_scored_against_labels():
    scoring = ["adjusted_rand_score", "fowlkes_mallows_score"]
    space = {"n_clusters": [2, 3, 4]}
    means = KMeans(random_state=0, n_init=1)
    assert_same_fits("grid", means, space, scoring=scoring, refit="fowlkes_mallows_score")
