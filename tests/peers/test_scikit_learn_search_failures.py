"""Where fits or scorers fail, a guarded search has the same results as scikit-learn's."""

import collections

import numpy as np
import pytest

from tests.peers.searches import (
    SAMPLES,
    VALUES,
    Picky,
    Y,
    assert_same_attributes,
    assert_same_errors,
    assert_same_fits,
    counts,
    fit,
    make_both,
    share_right,
    simple_search,
    warnings_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@simple_search
@pytest.mark.parametrize("return_train_score", [False, True])
@pytest.mark.parametrize("scoring", [None, "accuracy", ["accuracy", "f1"], share_right, counts])
@pytest.mark.parametrize(
    "estimator",
    [Picky(fails_for=(1, 4)), Picky(fails_at=2)],
    ids=["some candidates", "some splits"],
)
def test_some_fits_that_fail_leave_the_same_results(kind, scoring, return_train_score, estimator):
    refit = {"list": "accuracy", "function": False}.get(type(scoring).__name__, True)
    params = {"scoring": scoring, "refit": refit, "return_train_score": return_train_score}
    many = {"n_iter": 5} if kind == "random" else {}
    theirs, _ = assert_same_fits(kind, estimator, VALUES, SAMPLES, **params, **many)
    means = [v for name, v in theirs.cv_results_.items() if name.startswith("mean_test_")]
    assert all(np.isnan(mean).any() and not np.isnan(mean).all() for mean in means)


@simple_search
@pytest.mark.parametrize("error_score", [-1, -1.0, 0, np.float32(-2)], ids=repr)
@pytest.mark.parametrize("scoring", ["accuracy", ["accuracy", "balanced_accuracy"]], ids=str)
def test_a_numeric_error_score_below_the_others_leaves_the_same_results(kind, error_score, scoring):
    params = {"scoring": scoring, "refit": False, "error_score": error_score}
    assert_same_fits(
        kind, Picky(fails_for=(1, 4)), VALUES, SAMPLES, np.tile([0, 0, 1], 20), **params
    )


@pytest.mark.parametrize("kind", ["halving_grid", "halving_random"])
def test_halving_drops_candidates_that_fail(kind):
    params = {"scoring": "accuracy", "factor": 2}
    if kind == "halving_random":
        params["n_candidates"] = 5
    theirs, _ = assert_same_fits(
        kind, Picky(fails_for=(1, 4)), VALUES, SAMPLES, np.tile([0, 0, 1], 20), **params
    )
    assert theirs.best_params_["value"] not in (1, 4)


@simple_search
def test_an_error_in_fit_is_raised_if_that_is_requested(kind):
    error = assert_same_errors(
        kind, Picky(fails_for=(0, 1, 2, 3, 4)), VALUES, SAMPLES, error_score="raise"
    )
    assert isinstance(error, ValueError)


def raise_for_one(estimator, X, y):
    if estimator.value == 1:
        raise ZeroDivisionError("nothing to divide by")
    return 1.0 if estimator.value else 0.5


def several_or_raise_for_one(estimator, X, y):
    return {"score": raise_for_one(estimator, X, y), "other": 1}


@simple_search
@pytest.mark.parametrize("return_train_score", [False, True])
@pytest.mark.parametrize(
    "scoring",
    [raise_for_one, {"b": raise_for_one}, {"a": raise_for_one, "b": raise_for_one}],
    ids=["one", "one by name", "several"],
)
@pytest.mark.parametrize("error_score", [np.nan, -1.0], ids=repr)
def test_a_scorer_that_raises_for_some_leaves_the_same_results(
    kind, scoring, error_score, return_train_score
):
    params = {
        "scoring": scoring,
        "error_score": error_score,
        "return_train_score": return_train_score,
        "refit": "b" if isinstance(scoring, dict) else True,
    }
    assert_same_but_for_failed(kind, Picky(), VALUES, **params)


def assert_same_but_for_failed(kind, estimator, space, **params):
    """A score that could not be had is a failed fit here, so that there is one more warning."""
    if kind == "random":
        params["n_iter"] = 5
    theirs, ours = make_both(kind, estimator, space, **params)
    theirs, ours = fit(theirs, SAMPLES, Y), fit(ours, SAMPLES, Y)
    assert (theirs.error, ours.error) == (None, None)
    assert warnings_of(ours) == warnings_of(theirs) | collections.Counter(
        {("FitFailedWarning", ""): 1}
    )
    assert_same_attributes(theirs.search, ours.search)


@simple_search
def test_a_scorer_that_raises_spoils_no_other_score(kind):
    scoring = {"value": lambda e, X, y: float(e.value), "b": raise_for_one}
    assert_same_fits(kind, Picky(), VALUES, SAMPLES, Y, scoring=scoring, refit="value")


def raise_always(estimator, X, y):
    raise ZeroDivisionError("nothing to divide by")


@simple_search
def test_a_scorer_that_always_raises_ends_no_search_that_another_decides(kind):
    scoring = {"value": lambda e, X, y: float(e.value), "b": raise_always}
    assert_same_fits(kind, Picky(), VALUES, SAMPLES, Y, scoring=scoring, refit="value")


@simple_search
def test_a_scorer_that_raises_on_training_samples_spoils_no_test_score(kind):
    def fails_on_training_samples(estimator, X, y):
        if estimator.value == 4 and len(X) == 40:
            raise ZeroDivisionError("nothing to divide by")
        return float(estimator.value)

    params = {"scoring": fails_on_training_samples, "return_train_score": True, "cv": 3}
    assert_same_fits(kind, Picky(), VALUES, SAMPLES, Y, **params)


@simple_search
def test_a_function_of_several_scores_that_raises_for_some_ends_in_results_or_the_same_error(kind):
    params = {"scoring": several_or_raise_for_one, "refit": "score"}
    if kind == "random":
        params["n_iter"] = 5
    theirs, ours = make_both(kind, Picky(), VALUES, **params)
    theirs, ours = fit(theirs, SAMPLES, Y), fit(ours, SAMPLES, Y)
    assert ours.error is None or type(ours.error) is type(theirs.error)


@simple_search
def test_nan_of_one_score_spoils_no_other_score(kind):
    scoring = {"value": lambda e, X, y: float(e.value), "b": lambda e, X, y: np.nan}
    assert_same_fits(kind, Picky(), VALUES, SAMPLES, scoring=scoring, refit="value")


def best_known(results):
    return np.nanargmax(results["mean_test_score"])


def third(results):
    return 2


def one_for_each_value(results):
    assert len(results["params"]) == 5
    return 2


@pytest.mark.parametrize("refit", [best_known, *(f for f in (third, one_for_each_value))])
def test_a_function_chooses_the_same_where_fits_fail(refit):
    params = {"scoring": "accuracy", "refit": refit}
    assert_same_fits("grid", Picky(fails_for=(1, 4)), VALUES, SAMPLES, **params)


@simple_search
@pytest.mark.parametrize(
    "scoring",
    [raise_for_one, {"a": "accuracy", "b": raise_for_one}, several_or_raise_for_one],
    ids=["one", "several", "a function of several"],
)
def test_an_error_of_a_scorer_is_raised_if_that_is_requested(kind, scoring):
    params = {"scoring": scoring, "refit": False, "error_score": "raise"}
    if kind == "random":
        params["n_iter"] = 5
    error = assert_same_errors(kind, Picky(), VALUES, SAMPLES, **params)
    assert isinstance(error, ZeroDivisionError)


def test_an_error_in_the_refit_is_raised():
    class FailsOnAllSamples(Picky):
        def fit(self, X, y):
            if len(X) == 60:
                raise ArithmeticError("too many samples")
            return super().fit(X, y)

    assert_same_errors("grid", FailsOnAllSamples(), VALUES, SAMPLES)
