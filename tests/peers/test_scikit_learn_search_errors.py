"""A guarded search raises the same errors as scikit-learn's."""

import threading

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import (
    GroupKFold,
    KFold,
)
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.validation import check_is_fitted

from tests.peers.searches import (
    WEIGHTS,
    C,
    X,
    Y,
    assert_same_errors,
    counts,
    each_search,
    make_both,
    neutral,
    share_right,
    simple_search,
    sklearn_callback,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def not_a_number(estimator, X, y):
    return "good"


def an_array(estimator, X, y):
    return np.ones(2)


def several_not_numbers(estimator, X, y):
    return {"a": "good"}


class WrongNumber(KFold):
    def get_n_splits(self, *args, **kwargs):
        return 1


class OnlyFit:
    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X))


class NoScore(BaseEstimator):
    def fit(self, X, y):
        return self


ERRORS = {
    "unknown parameter": {"space": {"c": [1, 2]}},
    "unknown deep parameter": {
        "estimator": make_pipeline(LogisticRegression()),
        "space": {"logisticregression__D": [1]},
    },
    "unknown step": {"estimator": make_pipeline(LogisticRegression()), "space": {"svc__C": [1]}},
    "no values": {"space": {"C": []}},
    "one value": {"space": {"C": 1}},
    "a text": {"space": {"C": "1"}},
    "values in two axes": {"space": {"C": np.ones((2, 2))}},
    "space of no kind": {"space": 0},
    "list of no spaces": {"space": [0]},
    "unknown score": {"params": {"scoring": "beauty"}},
    "one score twice": {"params": {"scoring": ["f1", "f1"], "refit": "f1"}},
    "scores that are not names": {"params": {"scoring": [f1_score], "refit": False}},
    "no scores": {"params": {"scoring": [], "refit": False}},
    "an empty dict of scores": {"params": {"scoring": {}, "refit": False}},
    "a metric as score": {"params": {"scoring": accuracy_score, "error_score": "raise"}},
    "no refit for several": {"params": {"scoring": ["accuracy", "f1"]}},
    "unknown refit": {"params": {"scoring": ["accuracy", "f1"], "refit": "recall"}},
    "no refit for a function of several": {"params": {"scoring": counts}},
    "unknown refit for a function of several": {"params": {"scoring": counts, "refit": "f1"}},
    "refit is not an integer": {"params": {"refit": lambda results: None}},
    "refit is too large": {"params": {"refit": lambda results: 100}},
    "refit is negative": {"params": {"refit": lambda results: -1}},
    "refit is a number": {"params": {"refit": 1.5}},
    "score is a text": {"params": {"scoring": not_a_number}},
    "score is an array": {"params": {"scoring": an_array}},
    "one of several scores is a text": {"params": {"scoring": several_not_numbers, "refit": "a"}},
    "error_score": {"params": {"error_score": "rise"}},
    "n_jobs": {"params": {"n_jobs": 1.5}},
    "verbose": {"params": {"verbose": -1}},
    "pre_dispatch": {"params": {"pre_dispatch": None}},
    "return_train_score": {"params": {"return_train_score": "yes"}},
    "cv": {"params": {"cv": "five"}},
    "cv of 1": {"params": {"cv": 1}},
    "cv with more folds than samples": {"params": {"cv": 70}},
    "empty cv": {"params": {"cv": []}},
    "wrong number of splits": {"params": {"cv": WrongNumber(3)}},
    "no groups": {"params": {"cv": GroupKFold(2)}},
    "lengths": {"data": (X[:-1], Y)},
    "no y": {"data": (X,), "params": {"error_score": "raise"}},
    "no estimator": {"estimator": "SVC"},
    "a class": {"estimator": LogisticRegression},
    "no score at all": {"estimator": NoScore(), "space": {}},
    "unknown fit parameter": {"fit_params": {"colour": 1}, "params": {"error_score": "raise"}},
    "kernel that is not square": {
        "estimator": SVC(kernel="precomputed"),
        "params": {"error_score": "raise"},
    },
    "no jobs": {"params": {"n_jobs": 0}},
    "a set of scores": {"params": {"scoring": {"f1", "accuracy"}, "refit": "f1"}},
    "weights of another length": {
        "fit_params": {"sample_weight": WEIGHTS[:-1]},
        "params": {"error_score": "raise"},
    },
    "a value that cannot be copied": {"space": {"C": [threading.Lock()]}},
    "a value of the wrong type": {"space": {"C": ["1"]}, "params": {"error_score": "raise"}},
    "no get_params": {"estimator": OnlyFit(), "params": {"scoring": share_right}},
}


IN_OTHER_WORDS = {
    "wrong number of splits": pytest.mark.xfail(
        sklearn_callback is None, strict=True, reason="scikit-learn 1.6 wrote 'returned'"
    ),
}


@simple_search
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=IN_OTHER_WORDS.get(case, ())) for case in ERRORS]
)
def test_what_cannot_work_raises_the_same_error(kind, case):
    error = ERRORS[case]
    data = (*error.get("data", (X, Y)), None)[:2]
    assert_same_errors(
        kind,
        error.get("estimator", LogisticRegression()),
        error.get("space", C),
        *data,
        fit_params=error.get("fit_params", ()),
        **error.get("params", {}),
    )


HALVING_ERRORS = {
    "several scores": {"scoring": ["accuracy", "f1"]},
    "a function of several scores": {"scoring": counts},
    "shuffled": {"cv": KFold(3, shuffle=True)},
    "resource": {"resource": "unknown"},
    "resource is searched": {"resource": "C", "max_resources": 9},
    "resource without a maximum": {"resource": "max_iter"},
    "min_resources": {"min_resources": 1000},
    "max_resources": {"max_resources": "all"},
    "factor": {"factor": -1},
    "too few": {"min_resources": "much"},
    "refit": {"refit": 1.5},
}


@pytest.mark.parametrize("kind", ["halving_grid", "halving_random"])
@pytest.mark.parametrize("case", HALVING_ERRORS)
def test_what_halving_cannot_do_raises_the_same_error(kind, case):
    assert_same_errors(kind, LogisticRegression(), C, **HALVING_ERRORS[case])


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("random", {"n_iter": 0}),
        ("random", {"n_iter": -1}),
        ("random", {"n_iter": 2.5}),
        ("random", {"random_state": "a"}),
        ("halving_random", {"n_candidates": 0}),
        ("halving_random", {"n_candidates": "exhaust", "min_resources": "exhaust"}),
    ],
)
def test_impossible_draws_raise_the_same_error(kind, params):
    assert_same_errors(kind, LogisticRegression(), C, **params)


@each_search
def test_nothing_is_there_before_fit(kind):
    messages = []
    for search in make_both(kind, LogisticRegression(), C):
        with pytest.raises(NotFittedError, match="not fitted yet") as error:
            check_is_fitted(search)
        messages.append(neutral(error.value))
        assert not hasattr(search, "n_features_in_")
        assert not hasattr(search, "cv_results_")
        assert hasattr(search, "predict_proba")
        with pytest.raises(NotFittedError, match="not fitted yet") as error:
            search.predict(X)
        messages.append(neutral(error.value))
    assert messages[:2] == messages[2:]


@each_search
def test_without_refit_nothing_can_be_predicted(kind):
    messages = []
    for search in make_both(kind, LogisticRegression(), C, refit=False):
        search.fit(X, Y)
        for method in ("predict", "score"):
            with pytest.raises(AttributeError, match=rf"{method}|refit") as error:
                getattr(search, method)(*[X, Y][: 1 + (method == "score")])
            messages.append((neutral(error.value), neutral(error.value.__cause__)))
    assert messages[:2] == messages[2:]


@each_search
def test_what_the_estimator_lacks_the_search_lacks(kind):
    messages = []
    for search in make_both(kind, LinearSVC(random_state=0), C):
        search.fit(X, Y)
        for method in ("predict_proba", "score_samples", "transform"):
            with pytest.raises(AttributeError, match=method) as error:
                getattr(search, method)
            messages.append((neutral(error.value), neutral(error.value.__cause__)))
    assert messages[:3] == messages[3:]
