"""Limits that a search with a time budget sets in an estimator: when they apply and are shown."""

import copy
import pickle

import keras
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import VotingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline

from skguard._fit.limits import BudgetLimit, Deadlines, remove_limits, without_limits
from tests.models import build_regressor, make_regressor


@pytest.mark.parametrize("own", [None, 60, 2.5, BudgetLimit(3.0, 7.0)], ids=repr)
def test_a_limit_of_a_search_is_shown_as_the_users_own(own):
    limit = BudgetLimit(1.5, own, 3)
    for twin in (
        limit,
        copy.copy(limit),
        copy.deepcopy(limit),
        pickle.loads(pickle.dumps(limit)),
        clone(make_regressor(max_fit_seconds=limit)).max_fit_seconds,
    ):
        assert (float(twin), twin.own, twin.min_epochs) == (1.5, own, 3)
        assert f"{twin!r} {twin}" == f"{own!r} {own!r}"
    assert "1.5" not in repr(make_regressor(max_fit_seconds=limit))
    users = 7.0 if isinstance(own, BudgetLimit) else own
    assert without_limits({"a": limit, "b": 1}) == {"a": users, "b": 1}


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, Deadlines(None, None)),
        (5, Deadlines(None, 105.0)),
        (BudgetLimit(5.0), Deadlines(105.0, None)),
        (BudgetLimit(5.0, 9.0, 3), Deadlines(105.0, 109.0, 3)),
        (BudgetLimit(5.0, BudgetLimit(7.0)), Deadlines(105.0, 107.0)),
    ],
    ids=str,
)
def test_a_search_and_its_estimator_have_deadlines_of_their_own(limit, expected):
    assert Deadlines.of(limit, 100.0) == expected
    assert expected.first in (None, 105.0)


class BatchHooks(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        pass

    def on_test_batch_end(self, batch, logs=None):
        pass


@pytest.mark.parametrize("callbacks", [None, BatchHooks], ids=["no hooks", "batch hooks"])
@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_a_limit_applies_after_its_number_of_epochs(engine, callbacks, line):
    settings = {
        "epochs": 50,
        "batch_size": 8,
        "validation_split": 0.2,
        "engine": engine,
        "callbacks": callbacks,
    }
    cut = make_regressor(max_fit_seconds=BudgetLimit(1e-3, None, 3), **settings).fit(*line)
    assert (cut.n_epochs_, cut.stop_reason_) == (3, "time_budget")
    whole = make_regressor(max_fit_seconds=BudgetLimit(1e-3, 600, 50), **settings).fit(*line)
    assert (whole.n_epochs_, whole.stop_reason_) == (50, "max_epochs")


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (BudgetLimit(1e-3), "The part of time_budget that the search has for this fit elapsed"),
        (BudgetLimit(1e-3, 500.0), "The part of time_budget"),
        (BudgetLimit(1e-4, 1e-3, 3), "max_fit_seconds=0.001 elapsed"),
        (1e-3, "max_fit_seconds=0.001 elapsed"),
    ],
    ids=["search", "stricter than the user's", "user's", "user's alone"],
)
def test_a_fit_without_an_epoch_names_the_limit_that_elapsed(limit, message, line):
    with pytest.warns(ConvergenceWarning, match=message):
        estimator = make_regressor(
            max_fit_seconds=limit, batch_size=1, epochs=9, engine="keras"
        ).fit(*line)
    assert estimator.n_epochs_ == 0


def test_retry_with_is_passed_the_users_limit(line):
    seen = []

    def fails_once(meta):
        if not seen:
            raise OSError("once")
        return build_regressor(meta)

    def retry_with(attempt, error, params):
        seen.append(params["max_fit_seconds"])
        return {}

    limit = BudgetLimit(60.0, 90.0)
    make_regressor(fails_once, max_fit_seconds=limit, max_retries=1, retry_with=retry_with).fit(
        *line
    )
    assert seen == [90.0]
    assert type(seen[0]) is float


@pytest.mark.parametrize(
    ("wrap", "inner"),
    [
        (lambda network: network, lambda e: [e]),
        (lambda network: make_pipeline(network), lambda e: [e[-1]]),
        (TransformedTargetRegressor, lambda e: [e.regressor, e.regressor_]),
        (
            lambda network: VotingRegressor([("a", network)]),
            lambda e: [e.estimators[0][1], *e.estimators_, e.named_estimators_["a"]],
        ),
    ],
    ids=["alone", "pipeline", "target", "voting"],
)
def test_no_limit_is_left_in_fitted_estimators(wrap, inner, line):
    estimator = wrap(make_regressor(max_fit_seconds=BudgetLimit(60.0, 90.0))).fit(*line)
    remove_limits(estimator)
    values = [network.get_params()["max_fit_seconds"] for network in inner(estimator)]
    assert values == [90.0] * len(values)
    assert {type(value) for value in values} == {float}


def test_the_limit_of_a_search_around_the_search_stays():
    outer = BudgetLimit(60.0, 90.0)
    estimator = make_regressor(max_fit_seconds=BudgetLimit(5.0, outer))
    remove_limits(estimator)
    assert estimator.max_fit_seconds is outer
