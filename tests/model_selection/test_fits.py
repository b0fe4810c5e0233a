"""One fit of a search, in this process: whatever happens is in its outcome."""

import dataclasses
import math
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import get_scorer, make_scorer
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skguard.exceptions import FailedTrialError, FatalError, FatalValueError
from skguard.model_selection import _budget
from skguard.model_selection._budget import Deadline
from skguard.model_selection._fits import Failure, Fit, Training, Work, run, trained_network
from skguard.model_selection._status import FitStatus

X = np.arange(24.0).reshape(12, 2)
Y = np.tile([0, 1], 6)
TRAIN, TEST = np.arange(8), np.arange(8, 12)
NAN = float("nan")


class Tiny(ClassifierMixin, BaseEstimator):
    """Records how it was fitted, and raises `error`."""

    def __init__(self, error=None, max_fit_seconds=None, label=0):
        self.error = error
        self.max_fit_seconds = max_fit_seconds
        self.label = label

    def fit(self, X, y, sample_weight=None):
        if self.error is not None:
            raise self.error
        self.X_, self.weight_ = X, sample_weight
        self.classes_ = np.unique(y)
        self.limit_ = self.max_fit_seconds
        return self

    def predict(self, X):
        return np.full(len(X), self.label)

    def predict_proba(self, X):
        return np.tile([1.0, 0.0], (len(X), 1))


class Trained(Tiny):
    """Has what a fitted Keras estimator has."""

    def fit(self, X, y):
        super().fit(X, y)
        self.n_epochs_, self.best_epoch_ = 5, 3
        self.stop_reason_ = "early_stopping"
        self.history_ = {"loss": [2.0, 1.0]}
        self.attempts_ = ["first", "second"]
        return self


def go(estimator=None, params=None, scorer=None, deadline=None, data=(X, Y), **work):
    defaults = {
        "estimator": Tiny() if estimator is None else estimator,
        "scorer": scorer or get_scorer("accuracy"),
        "fit_params": {},
        "score_params": {},
        "return_train_score": False,
        "error_score": NAN,
        "retry_on": (Exception,),
        "verbose": 0,
    }
    fit = Fit(candidate=3, split=1, params=params or {}, progress=(3, 4, 2))
    deadline = None if deadline is None else Deadline(deadline)
    return run(fit, Work(**defaults | work), *data, TRAIN, TEST, deadline)


def several(error_score=NAN, **scorers):
    """Several scorers, as a search makes them."""
    return _MultimetricScorer(scorers=scorers, raise_exc=error_score == "raise")


def fails(estimator, X, y):
    raise ZeroDivisionError("no score today")


def fitted_when_scored(**arguments):
    """The estimator as the scorer sees it."""
    seen = []

    def scorer(estimator, X, y):
        seen.append(estimator)
        return 1.0

    outcome = go(scorer=scorer, **arguments)
    assert outcome.failure is None
    return seen[-1]


# Fits that work


def test_a_fit_has_its_scores_and_times_and_no_failure():
    outcome = go(Tiny(), {"label": 1})
    assert outcome.failure is None
    assert outcome.fit.candidate == 3
    assert outcome.fit.params == {"label": 1}
    assert outcome.scores["test_scores"] == 0.5
    assert "train_scores" not in outcome.scores
    assert outcome.seconds >= outcome.scores["fit_time"] >= 0
    assert outcome.training == Training()


@pytest.mark.parametrize("return_train_score", [True, False])
def test_the_test_samples_are_scored_and_if_requested_the_training_samples(return_train_score):
    def n_samples(estimator, X, y):
        return len(X)

    outcome = go(scorer=n_samples, return_train_score=return_train_score)
    assert outcome.scores["test_scores"] == len(TEST)
    assert outcome.scores.get("train_scores") == (len(TRAIN) if return_train_score else None)


def test_a_fit_gets_only_its_training_samples_and_their_weights():
    weight = np.arange(12.0)
    fitted = fitted_when_scored(fit_params={"sample_weight": weight})
    np.testing.assert_array_equal(fitted.X_, X[TRAIN])
    np.testing.assert_array_equal(fitted.weight_, weight[TRAIN])


def test_parameters_of_the_scorer_are_indexed_by_the_test_samples():
    seen = []

    def scorer(estimator, X, y, sample_weight):
        seen.append(sample_weight)
        return 1.0

    go(scorer=scorer, score_params={"sample_weight": np.arange(12.0)})
    np.testing.assert_array_equal(seen, [TEST])


def test_neither_the_estimator_nor_what_is_in_the_parameters_is_fitted():
    estimator, step = Pipeline([("model", Tiny())]), Tiny(label=1)
    fitted = fitted_when_scored(estimator=estimator, params={"model": step})
    assert fitted.steps[-1][1].label == 1
    assert not hasattr(step, "classes_")
    assert estimator.steps[-1][1].label == 0


def test_no_targets_are_needed():
    outcome = go(StandardScaler(), scorer=lambda estimator, X: 0.5, data=(X, None))
    assert outcome.scores["test_scores"] == 0.5


def test_several_scores_come_by_name():
    outcome = go(scorer=several(acc=get_scorer("accuracy"), neg=lambda e, X, y: -1.0))
    assert outcome.scores["test_scores"] == {"acc": 0.5, "neg": -1.0}
    assert outcome.failure is None


@pytest.mark.parametrize(("verbose", "is_printed"), [(0, False), (1, False), (2, True), (3, True)])
def test_only_verbose_of_2_or_more_prints_each_fit(verbose, is_printed, capsys):
    go(params={"label": 1}, verbose=verbose)
    out = capsys.readouterr().out
    assert ("END" in out) == is_printed
    assert ("label=1" in out) == is_printed


# Fits that fail


@pytest.mark.parametrize(
    ("error", "retry_on", "may_retry", "is_fatal"),
    [
        (ValueError("no"), (Exception,), True, False),
        (ValueError("no"), (KeyError,), False, False),
        (FailedTrialError("no"), (Exception,), False, False),
        (MemoryError("no"), (Exception,), True, False),
        (SystemExit("no"), (Exception,), False, True),
        (GeneratorExit("no"), (Exception,), False, True),
        (FatalError("no"), (Exception,), False, True),
        (FatalValueError("no"), (Exception,), False, True),
    ],
    ids=repr,
)
def test_what_a_fit_raises_is_its_failure(error, retry_on, may_retry, is_fatal):
    outcome = go(Tiny(), {"error": error}, retry_on=retry_on)
    failure = outcome.failure
    assert outcome.scores is None
    assert outcome.seconds >= 0
    assert outcome.training == Training(n_attempts=1)
    assert (failure.status, failure.error, failure.message) == (
        "failed",
        type(error).__name__,
        "no",
    )
    assert type(failure.exception) is type(error)
    assert "in fit\n" in failure.traceback
    assert failure.traceback.endswith("no\n")
    assert (failure.may_retry, failure.is_fatal) == (may_retry, is_fatal)


@pytest.mark.parametrize("where", ["fit", "score"])
def test_ctrl_c_is_raised(where):
    def interrupted(estimator, X, y):
        raise KeyboardInterrupt("by hand")

    in_fit = {"params": {"error": KeyboardInterrupt("by hand")}}
    with pytest.raises(KeyboardInterrupt, match="by hand"):
        go(**in_fit if where == "fit" else {"scorer": interrupted})


def test_the_attempts_of_the_estimator_itself_are_counted():
    error = ValueError("no")
    error.attempts = ["first", "second", "third"]
    assert go(Tiny(error)).training.n_attempts == 3


@pytest.mark.parametrize("attempts", [[], 7, "text", None], ids=repr)
def test_other_things_named_attempts_are_not_counted(attempts):
    error = ValueError("no")
    error.attempts = attempts
    assert go(Tiny(error)).training.n_attempts == 1


@pytest.mark.parametrize(
    "params", [{"nothing": 1}, {"label__nothing": 1}, {"error": 1, "nothing": 2}], ids=str
)
def test_a_parameter_that_does_not_exist_is_fatal(params):
    failure = go(params=params).failure
    assert failure.is_fatal
    assert failure.error in ("ValueError", "AttributeError")


def test_a_value_that_a_fit_rejects_is_not_fatal():
    failure = go(LogisticRegression(), {"C": -1.0}).failure
    assert not failure.is_fatal
    assert failure.error == "InvalidParameterError"


def test_an_estimator_that_cannot_be_cloned_is_fatal():
    assert go(SimpleNamespace()).failure.is_fatal


class SpeechlessError(Exception):
    def __str__(self):
        raise RuntimeError("has no text")


def test_an_error_whose_str_raises_is_a_failure_like_others():
    assert go(params={"error": SpeechlessError()}).failure.error == "SpeechlessError"


# Scorers that fail


@pytest.mark.parametrize("error_score", [NAN, 0.0, -5], ids=str)
def test_a_scorer_that_raises_gives_the_error_score_and_a_failure(error_score):
    with pytest.warns(UserWarning, match="(?s)Scoring failed.*ZeroDivisionError: no score today"):
        outcome = go(scorer=fails, error_score=error_score)
    np.testing.assert_equal(outcome.scores["test_scores"], error_score)
    failure = outcome.scoring_failures["score"]
    assert (failure.error, failure.message) == ("ZeroDivisionError", "no score today")
    assert "in fails" in failure.traceback
    assert failure.may_retry
    assert not failure.is_fatal


def test_one_of_several_scorers_that_raises_costs_its_score_alone():
    scorers = several(acc=get_scorer("accuracy"), bad=fails)
    with pytest.warns(UserWarning, match="set to -1.0"):
        outcome = go(scorer=scorers, error_score=-1.0)
    assert outcome.scores["test_scores"] == {"acc": 0.5, "bad": -1.0}
    assert list(outcome.scoring_failures) == ["bad"]
    failure = outcome.scoring_failures["bad"]
    assert (failure.error, failure.message) == ("ZeroDivisionError", "no score today")
    assert failure.may_retry
    assert not failure.is_fatal


def rejects(estimator, X, y):
    raise FailedTrialError("not\nagain")


@pytest.mark.parametrize("scorer", [rejects, make_scorer(lambda y, p: rejects(0, y, p))])
def test_one_of_several_scorers_is_retried_by_the_rules_of_a_fit(scorer):
    with pytest.warns(UserWarning, match="Scoring failed"):
        outcome = go(scorer=several(good=get_scorer("accuracy"), bad=scorer, none=fails))
    assert list(outcome.scoring_failures) == ["bad", "none"]
    failure = outcome.scoring_failures["bad"]
    assert (failure.error, failure.message) == ("FailedTrialError", "not\nagain")
    assert not failure.may_retry
    with pytest.warns(UserWarning, match="Scoring failed"):
        outcome = go(scorer=several(none=fails), retry_on=(OSError,))
    assert not outcome.scoring_failures["none"].may_retry


@pytest.mark.parametrize("is_one_of_several", [False, True])
def test_an_error_of_a_scorer_is_raised_with_error_score_raise(is_one_of_several):
    scorer = several("raise", bad=fails) if is_one_of_several else fails
    outcome = go(scorer=scorer, error_score="raise")
    assert outcome.scores is None
    assert type(outcome.failure.exception) is ZeroDivisionError


def test_a_scorer_that_raises_may_be_retried_with_error_score_raise_as_a_fit_may():
    assert not go(Tiny(ValueError("no")), error_score="raise").failure.is_fatal
    assert not go(scorer=fails, error_score="raise").failure.is_fatal


def test_a_scorer_that_raises_on_the_training_samples_alone_leaves_the_test_score():
    def scorer(estimator, X, y):
        if len(X) == len(TRAIN):
            raise ZeroDivisionError("no score today")
        return 0.5

    with pytest.warns(UserWarning, match="Scoring failed"):
        outcome = go(scorer=scorer, return_train_score=True)
    assert outcome.scores["test_scores"] == 0.5
    assert math.isnan(outcome.scores["train_scores"])
    assert outcome.scoring_failures == {}


@pytest.mark.parametrize("error", [FatalError("all over"), SystemExit("all over")], ids=repr)
def test_a_base_exception_is_fatal_in_a_scorer_too(error):
    def scorer(estimator, X, y):
        raise error

    outcome = go(scorer=scorer)
    assert outcome.failure.is_fatal
    assert outcome.failure.exception is error
    assert outcome.scores is None


@pytest.mark.parametrize("score", ["text", None, [0.5], {"acc": "text"}, {"acc": None}], ids=repr)
def test_a_scorer_that_does_not_return_a_number_is_fatal(score):
    failure = go(scorer=lambda estimator, X, y: score).failure
    assert failure.is_fatal
    assert "scoring must return a number" in failure.message


@pytest.mark.parametrize("score", [1, True, np.float32(0.5), np.array(0.5), math.inf], ids=repr)
def test_every_number_is_a_score(score):
    outcome = go(scorer=lambda estimator, X, y: score)
    assert outcome.scores["test_scores"] == score
    assert outcome.failure is None


# Time


@pytest.fixture
def at(monkeypatch):
    """The time is 1000."""
    monkeypatch.setattr(_budget, "time", SimpleNamespace(time=lambda: 1000.0))


@pytest.mark.usefixtures("at")
@pytest.mark.parametrize(
    ("limit", "deadline", "expected"),
    [
        (None, None, None),
        (5.0, None, 5.0),
        (None, 1007.0, 7.0),
        (5.0, 1007.0, 5.0),
        (9.0, 1007.0, 7.0),
        (None, 1000.0, 1e-3),
        (9.0, 990.0, 1e-3),
    ],
)
@pytest.mark.parametrize("how", ["set", "param"])
def test_what_is_left_until_the_deadline_limits_the_fit(limit, deadline, expected, how):
    if how == "set":
        fitted = fitted_when_scored(estimator=Tiny(max_fit_seconds=limit), deadline=deadline)
    else:
        fitted = fitted_when_scored(
            estimator=Tiny(max_fit_seconds=3.0),
            params={"max_fit_seconds": limit},
            deadline=deadline,
        )
    assert fitted.limit_ == expected


@pytest.mark.usefixtures("at")
@pytest.mark.parametrize(("limit", "expected"), [(None, 7.0), (5.0, 5.0), (9.0, 7.0)])
def test_the_deadline_reaches_estimators_in_others(limit, expected):
    inner = Tiny(max_fit_seconds=limit)
    estimator = make_pipeline(StandardScaler(), FixedThresholdClassifier(inner))
    seen = []

    def scorer(estimator, X, y):
        seen.append(estimator.steps[-1][1].estimator_.limit_)
        return 1.0

    assert go(estimator, scorer=scorer, deadline=1007.0).failure is None
    assert seen == [expected]
    assert inner.max_fit_seconds == limit


@pytest.mark.usefixtures("at")
def test_the_deadline_reaches_an_estimator_that_the_parameters_bring():
    pipeline = Pipeline([("model", LogisticRegression())])
    fitted = fitted_when_scored(
        estimator=pipeline, params={"model": Tiny(max_fit_seconds=9.0)}, deadline=1007.0
    )
    assert fitted.steps[-1][1].limit_ == 7.0


@pytest.mark.usefixtures("at")
def test_the_deadline_is_not_among_the_parameters_of_the_candidate():
    assert go(params={"label": 1}, deadline=1007.0).fit.params == {"label": 1}


def test_estimators_without_a_limit_have_no_deadline():
    assert go(LogisticRegression(), deadline=time.time() + 60).failure is None


# What was trained


REPORTED = Training(5, 3, "early_stopping", n_attempts=2, history={"loss": [2.0, 1.0]})


@pytest.mark.parametrize(
    "estimator",
    [
        Trained(),
        make_pipeline(StandardScaler(), Trained()),
        FixedThresholdClassifier(Trained()),
        make_pipeline(StandardScaler(), FixedThresholdClassifier(make_pipeline(Trained()))),
        GridSearchCV(Trained(), {"label": [0, 1]}, cv=2),
        make_pipeline(GridSearchCV(make_pipeline(Trained()), {"trained__label": [0]}, cv=2)),
    ],
    ids=["alone", "pipeline", "meta", "nested", "search", "search in a pipeline"],
)
def test_the_training_of_a_network_in_any_estimator_is_reported(estimator):
    outcome = go(estimator)
    assert outcome.failure is None
    assert outcome.training == REPORTED


def test_the_training_of_a_network_is_reported_where_its_scorer_raises():
    with pytest.warns(UserWarning, match="Scoring failed"):
        outcome = go(Trained(), scorer=fails)
    assert outcome.scoring_failures
    assert outcome.training == REPORTED


@pytest.mark.parametrize("error_score", [NAN, 0.0, "raise"], ids=str)
def test_the_training_of_a_network_is_reported_whatever_error_score(error_score):
    outcome = go(Trained(), error_score=error_score)
    assert outcome.failure is None
    assert outcome.training == REPORTED


class TrainedRegressor(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        self.n_epochs_ = 5
        self.mean_ = y.mean()
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def test_the_network_in_a_transformed_target_regressor_is_found():
    estimator = TransformedTargetRegressor(TrainedRegressor()).fit(X, X[:, 0])
    assert trained_network(estimator) is estimator.regressor_
    wrapped = make_pipeline(StandardScaler(), estimator).fit(X, X[:, 0])
    assert trained_network(wrapped) is wrapped.steps[-1][1].regressor_


def test_the_network_in_a_search_is_the_best():
    search = GridSearchCV(Trained(), {"label": [0, 1]}, cv=2).fit(X, Y)
    assert trained_network(search) is search.best_estimator_


@pytest.mark.parametrize(
    "estimator",
    [
        LinearRegression(),
        make_pipeline(StandardScaler(), LinearRegression()),
        Pipeline([("scale", StandardScaler()), ("none", "passthrough")]),
        TransformedTargetRegressor(LinearRegression()),
        None,
    ],
    ids=str,
)
def test_other_estimators_have_no_network(estimator):
    if estimator is not None:
        estimator = estimator.fit(X, X[:, 0])
    assert trained_network(estimator) is None


def test_the_history_in_an_outcome_is_a_copy():
    seen = []

    def scorer(estimator, X, y):
        seen.append(estimator)
        return 1.0

    outcome = go(Trained(), scorer=scorer)
    seen[0].history_["added"] = [1.0]
    assert "added" not in outcome.training.history


def test_a_failure_is_complete_without_its_exception():
    failure = Failure.of(ValueError("no"), (Exception,), status=FitStatus.TIMED_OUT)
    assert failure.status == "timed_out"
    without = dataclasses.replace(failure, exception=None)
    assert (without.error, without.message) == ("ValueError", "no")


def test_a_fit_that_succeeds_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert go().failure is None
