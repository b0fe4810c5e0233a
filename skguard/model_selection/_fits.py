"""One fit of a search: what it needs, how it runs, what is told of it."""

from __future__ import annotations

import dataclasses
import sys
import time
import traceback
import warnings
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skguard._fit.attempts import is_worth_another_try
from skguard._repairs import scikit_learn as repairs

__all__ = ["Failure", "Fit", "Outcome", "Training", "Work", "run", "time_limits", "trained_network"]


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What all fits of a search share, but for the rows.

    Parameters
    ----------
    estimator : estimator
        Cloned for each fit.
    scorer : callable
    fit_params, score_params : dict
        Arrays with a value for each row are cut to the split.
    return_train_score : bool
    error_score : "raise" or float
        What a scorer that raises counts for.
    retry_on : tuple of exception classes
    verbose : int
    """

    estimator: Any
    scorer: Any
    fit_params: dict[str, Any]
    score_params: dict[str, Any]
    return_train_score: bool
    error_score: Any
    retry_on: Any
    verbose: int


@dataclasses.dataclass(frozen=True, slots=True)
class Fit:
    """One candidate on one split.

    Parameters
    ----------
    candidate : int
        Row of ``cv_results_``.
    split : int
    params : dict
    progress : tuple of int
        Number of the candidate, of all candidates, of all splits, for messages.
    attempt : int
        Counted from 0.
    alone : bool
        Whether nothing else may run meanwhile.
    may_take_all : bool
        Whether it may take all the time that a search has left.
    callbacks : object
        See `skguard._repairs.scikit_learn.fit_and_score`.
    """

    candidate: int
    split: int
    params: dict[str, Any]
    progress: tuple[int, int, int]
    attempt: int = 0
    alone: bool = False
    may_take_all: bool = False
    callbacks: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Training:
    """What a fitted Keras estimator tells of its training."""

    n_epochs: int | None = None
    best_epoch: int | None = None
    stop_reason: str | None = None
    n_attempts: int = 1
    history: dict[str, list[float]] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why a fit has no score.

    Parameters
    ----------
    status : {"failed", "timed_out", "worker_died"}
    error : str
        Name of the class.
    message, traceback : str
    exception : BaseException or None
        None where it cannot travel between processes.
    may_retry : bool
    is_fatal : bool
        Whether the whole search is over.
    """

    status: str
    error: str
    message: str
    traceback: str
    exception: BaseException | None = None
    may_retry: bool = False
    is_fatal: bool = False

    @classmethod
    def of(
        cls, error: BaseException, retry_on: Any, status: str = "failed", is_fatal: bool = False
    ) -> Failure:
        return cls(
            status=status,
            error=type(error).__name__,
            message=_text_of(error),
            traceback="".join(traceback.format_exception(error)),
            exception=error,
            may_retry=is_worth_another_try(error, retry_on),
            is_fatal=is_fatal or not isinstance(error, Exception),
        )


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:
        return f"(its text cannot be had: {type(second).__name__})"


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How a fit ended: with scores, or with a failure, or with both where a score is unusable.

    Parameters
    ----------
    fit : Fit
    seconds : float
    scores : dict or None
        See `skguard._repairs.scikit_learn.fit_and_score`.
    failure : Failure or None
    scoring_failures : dict of str to Failure
        By the name of the score that was not to be had, where the others were.
    training : Training
    is_untrained : bool
        Whether the search's time was over before the first epoch was.
    """

    fit: Fit
    seconds: float
    scores: dict[str, Any] | None = None
    failure: Failure | None = None
    scoring_failures: dict[str, Failure] = dataclasses.field(default_factory=dict)
    training: Training = Training()
    is_untrained: bool = False


def run(
    fit: Fit,
    work: Work,
    X: Any,
    y: Any,
    train: np.ndarray,
    test: np.ndarray,
    deadline: float | None = None,
) -> Outcome:
    """Fit and score; whatever is raised is in the outcome, but for KeyboardInterrupt.

    Parameters
    ----------
    fit : Fit
    work : Work
    X, y : array-like
        All rows.
    train, test : ndarray of int
    deadline : float or None
        See ``time.time``. What is left until then becomes the ``max_fit_seconds`` of an
        estimator that has it.

    Returns
    -------
    Outcome
    """
    started = time.perf_counter()
    candidate, n_candidates, n_splits = fit.progress
    scoring = _Scoring(work.scorer, work.error_score, work.retry_on)
    is_fatal = True  # parameters that do not exist, and the like: every fit would raise it
    try:
        params = fit.params
        estimator = clone(work.estimator).set_params(**clone(params, safe=False))
        if deadline is not None:
            limits = time_limits(estimator, deadline - time.time())
            params = params | limits
            estimator.set_params(**limits)
        is_fatal = False
        scores = repairs.fit_and_score(
            estimator,
            X,
            y,
            callbacks=fit.callbacks,
            train=train,
            test=test,
            scorer=scoring,
            # They are set already, and here for messages alone.
            parameters=params if work.verbose > 1 else None,
            fit_params=work.fit_params,
            score_params=work.score_params,
            return_train_score=work.return_train_score,
            verbose=work.verbose,
            split_progress=(fit.split, n_splits),
            candidate_progress=(candidate, n_candidates),
        )
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # Once it is fitted, scikit-learn itself has refused what the scorer returned.
        is_fatal = is_fatal or (scoring.training is not None and not scoring.has_raised)
        failure = Failure.of(error, work.retry_on, is_fatal=is_fatal)
        attempts = getattr(error, "attempts", None)
        n_attempts = len(attempts) if isinstance(attempts, list) and attempts else 1
        if work.verbose > 1:
            sys.stdout.write(
                f"[CV {fit.split + 1}/{n_splits}] FAILED {fit.params}: {failure.error}: "
                f"{failure.message.partition(chr(10))[0]}\n"
            )
        return Outcome(
            fit,
            time.perf_counter() - started,
            failure=failure,
            training=Training(n_attempts=n_attempts),
        )
    assert scoring.training is not None
    return Outcome(
        fit,
        time.perf_counter() - started,
        scores=scores,
        scoring_failures=scoring.failures,
        training=scoring.training,
        is_untrained=(
            deadline is not None and time.time() >= deadline and scoring.training.n_epochs == 0
        ),
    )


def time_limits(estimator: Any, seconds_left: float) -> dict[str, float]:
    """The parameters to set for a fit that takes no longer, where the estimator has such."""
    limits = {}
    for name, value in estimator.get_params().items():
        if name.rpartition("__")[2] == "max_fit_seconds":
            limits[name] = max(min(seconds_left, value or seconds_left), 1e-3)
    return limits


class _Scoring:
    """A scorer that does not raise, unless that is wanted, and looks at what was fitted.

    scikit-learn scores with it on the rows to test, and then on those to train.

    Attributes
    ----------
    training : Training or None
        None until the estimator is fitted.
    failures : dict of str to Failure
        What the scorers raised on the rows to test, by the name of the score.
    has_raised : bool
        Whether an error has gone through.
    """

    def __init__(self, scorer: Any, error_score: Any, retry_on: Any) -> None:
        self._scorer = scorer
        self._errors: dict[str, Exception] = {}  # of the last call
        self._has_names = repairs.named_scorers(scorer) is not None
        if self._has_names:
            self._scorer = repairs.errors_kept(scorer, self._errors)
        self._error_score = error_score
        self._retry_on = retry_on
        self.training: Training | None = None
        self.failures: dict[str, Failure] = {}
        self.has_raised = False

    def __repr__(self) -> str:
        return repr(self._scorer)  # scikit-learn shows it in errors

    def __call__(self, estimator: Any, *args: Any, **kwargs: Any) -> Any:
        failures: dict[str, Failure] = {}
        if self.training is None:
            self.training = _training_of(estimator)
            self.failures = failures
        self._errors.clear()
        try:
            scores = self._scorer(estimator, *args, **kwargs)
        except Exception as error:
            if self._error_score == "raise":
                self.has_raised = True
                raise
            failures["score"] = Failure.of(error, self._retry_on)
            scores = self._error_score
        if self._has_names:
            for name, score in scores.items():
                raised = self._errors.get(name)
                if raised is None and isinstance(score, str):  # scikit-learn's text of a traceback
                    raised = RuntimeError(score)
                if raised is not None:
                    failures[name] = Failure.of(raised, self._retry_on)
                    scores[name] = self._error_score
        for failure in failures.values():
            warnings.warn(
                "Scoring failed. The score on this train-test partition for these parameters "
                f"will be set to {self._error_score}. Details: \n{failure.traceback}",
                UserWarning,
                stacklevel=2,
            )
        return scores


def _training_of(estimator: Any) -> Training:
    network = trained_network(estimator)
    if network is None:
        return Training()
    history = getattr(network, "history_", None)
    attempts = getattr(network, "attempts_", None)
    return Training(
        n_epochs=network.n_epochs_,
        best_epoch=getattr(network, "best_epoch_", None),
        stop_reason=getattr(network, "stop_reason_", None),
        n_attempts=len(attempts) if attempts else 1,
        history=dict(history) if isinstance(history, dict) else None,
    )


def trained_network(estimator: Any) -> Any:
    """The Keras estimator in a fitted estimator, such as a Pipeline; None if there is none."""
    while estimator is not None and not hasattr(estimator, "n_epochs_"):
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
            continue
        fitted = ("best_estimator_", "regressor_", "classifier_", "estimator_")
        estimator = next((getattr(estimator, n) for n in fitted if hasattr(estimator, n)), None)
    return estimator
