"""Outcomes of fits that were never run."""


def make_trials(n_candidates=2, n_splits=2, **rules):
    """The book of a search whose candidates are ``{"a": 0}``, ``{"a": 1}`` and so on."""
    from skguard.model_selection._trials import Rules, Trials

    defaults = {
        "max_retries": 0,
        "max_consecutive_failed": None,
        "nan_score": "fail",
        "error_score": float("nan"),
        "refit_metric": None,
        "stop_score": None,
        "deadline": None,
        "n_jobs": 1,
        "expected_refit": lambda seconds: seconds,
    }
    trials = Trials(Rules(**defaults | rules), n_splits)
    candidates = [{"a": number} for number in range(n_candidates)]
    trials.add(candidates, [None] * (n_candidates * n_splits))
    return trials


def with_score(fit, score=0.5, train_score=0.75, fit_time=1.0, **training):
    """A made-up outcome of a fit that went well."""
    from skguard.model_selection._fits import Outcome, Training

    scores = {
        "test_scores": score,
        "train_scores": train_score,
        "fit_time": fit_time,
        "score_time": 0.25,
    }
    return Outcome(fit, 2 * fit_time, scores, training=Training(**training))


def with_failure(fit, error=None, scores=None, seconds=3.0, retry_on=(Exception,), **rest):
    """A made-up outcome of a fit that failed; `rest` is for `Failure.of`."""
    from skguard.model_selection._fits import Failure, Outcome

    error = ValueError("made up") if error is None else error
    failure = Failure.of(error, retry_on, **rest)
    return Outcome(fit, seconds, scores, failure)
