"""Outcomes of fits that never ran."""

import pytest


def make_trials(
    n_candidates=2,
    n_splits=2,
    *,
    time_budget=None,
    n_jobs=1,
    with_refit=True,
    size_ratio=1.0,
    **rules,
):
    """The trials of a search whose candidates are ``{"a": 0}``, ``{"a": 1}`` and so on."""
    from skguard.model_selection._budget import TimeBudget
    from skguard.model_selection._trials import TrialRules, Trials

    defaults = {
        "max_retries": 0,
        "max_consecutive_failed": None,
        "nan_score": "fail",
        "error_score": float("nan"),
        "refit_metric": None,
        "stop_score": None,
    }
    budget = TimeBudget(time_budget, n_jobs, with_refit)
    trials = Trials(TrialRules(**defaults | rules), n_splits, budget)
    candidates = [{"a": number} for number in range(n_candidates)]
    trials.add(candidates, [None] * (n_candidates * n_splits), size_ratio)
    return trials


def with_score(fit, score=0.5, train_score=0.75, fit_time=1.0, **training):
    """The outcome of a fit that succeeded."""
    from skguard.model_selection._fits import Outcome, Training

    scores = {
        "test_scores": score,
        "train_scores": train_score,
        "fit_time": fit_time,
        "score_time": 0.25,
    }
    return Outcome(fit, 2 * fit_time, scores, training=Training(**training))


def with_failure(
    fit, error=None, scores=None, seconds=3.0, retry_on=(Exception,), status="failed", **rest
):
    """The outcome of a fit that failed; `rest` is for `Failure.of`."""
    from skguard.model_selection._fits import Failure, Outcome
    from skguard.model_selection._status import FitStatus

    error = ValueError("on purpose") if error is None else error
    failure = Failure.of(error, retry_on, FitStatus(status), **rest)
    return Outcome(fit, seconds, scores, failure)


def take_all(trials):
    """Every fit that may start now, by candidate and split."""
    return {fit.key: fit for fit in iter(trials.next, None)}


def assert_ends(decision, error, match):
    """Assert that a decision ends the search at once with such an error, and return that."""
    assert decision.stop is not None
    assert decision.ends_now
    with pytest.raises(error, match=match) as raised:
        raise decision.error
    return raised.value
