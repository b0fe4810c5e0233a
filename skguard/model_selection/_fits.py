"""One fit of a search: its input, how it runs, and its outcome."""

from __future__ import annotations

import dataclasses
import numbers
import sys
import time
import traceback
import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline

from skguard._fit.attempts import is_pruning, is_worth_another_try
from skguard._fit.limits import BudgetLimit
from skguard._repairs import scikit_learn as repairs
from skguard._warnings import level_of_user
from skguard.model_selection._budget import Deadline
from skguard.model_selection._status import FitStatus

__all__ = ["Failure", "Fit", "Outcome", "Training", "Work", "run", "time_limits", "trained_network"]

_MIN_FIT_SECONDS = 1e-3  # a limit must be positive


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """The input that all fits of a search share, except for the data.

    Parameters
    ----------
    estimator : estimator
        Cloned for each fit.
    scorer : callable
    fit_params, score_params : dict
        Arrays with one value per sample are indexed by the split.
    return_train_score : bool
    error_score : "raise" or float
        The score where the scorer raises.
    retry_on : exception class or tuple of them
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
        Index into ``cv_results_``.
    split : int
    params : dict
    progress : tuple of int
        Number of the candidate among those added with it, their count, and the number of
        splits, for messages.
    attempt : int, default=0
        0-based.
    alone : bool, default=False
        Whether no other fit may run at the same time.
    may_take_all : bool, default=False
        Whether the fit may use all the time that is left for fits.
    callbacks : tuple or None, default=None
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

    @property
    def key(self) -> tuple[int, int]:
        """Candidate and split, which all attempts have in common."""
        return self.candidate, self.split


@dataclasses.dataclass(frozen=True, slots=True)
class Training:
    """Results of the training of a Keras estimator; all None for other estimators.

    Parameters
    ----------
    n_epochs : int or None, default=None
    best_epoch : int or None, default=None
        0-based.
    stop_reason : str or None, default=None
    n_attempts : int, default=1
        Tries of the estimator itself.
    history : dict of str to list of float or None, default=None
    """

    n_epochs: int | None = None
    best_epoch: int | None = None
    stop_reason: str | None = None
    n_attempts: int = 1
    history: dict[str, list[float]] | None = None

    @classmethod
    def of(cls, estimator: BaseEstimator) -> Training:
        """Return the results in a fitted estimator or in the Keras estimator inside it."""
        network = trained_network(estimator)
        if network is None:
            return cls()
        history = getattr(network, "history_", None)
        attempts = getattr(network, "attempts_", None)
        return cls(
            n_epochs=network.n_epochs_,
            best_epoch=getattr(network, "best_epoch_", None),
            stop_reason=getattr(network, "stop_reason_", None),
            n_attempts=len(attempts) if attempts else 1,
            history=dict(history) if isinstance(history, dict) else None,
        )

    @classmethod
    def of_error(cls, error: BaseException) -> Training:
        """Return the number of attempts, which an error of a guarded estimator carries."""
        attempts = getattr(error, "attempts", None)
        return cls(n_attempts=len(attempts) if isinstance(attempts, list) and attempts else 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why a fit has no score.

    Parameters
    ----------
    status : FitStatus
    error : str
        Name of the class.
    message, traceback : str
    exception : BaseException or None, default=None
        None where it cannot be sent between processes.
    may_retry : bool, default=False
    is_fatal : bool, default=False
        Whether the search ends.
    is_pruned : bool, default=False
        Whether the fit was ended by decision, so that it counts as no consecutive failure.
    """

    status: FitStatus
    error: str
    message: str
    traceback: str
    exception: BaseException | None = None
    may_retry: bool = False
    is_fatal: bool = False
    is_pruned: bool = False

    @classmethod
    def of(
        cls,
        error: BaseException,
        retry_on: Any,
        status: FitStatus = FitStatus.FAILED,
        is_fatal: bool = False,
    ) -> Failure:
        """Return the failure of a fit that raised `error`."""
        return cls(
            status=status,
            error=type(error).__name__,
            message=_text_of(error),
            traceback="".join(traceback.format_exception(error)),
            exception=error,
            may_retry=is_worth_another_try(error, retry_on),
            is_fatal=is_fatal or not isinstance(error, Exception),
            is_pruned=is_pruning(error),
        )


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:
        return f"(no message: its __str__ raised {type(second).__name__})"


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a fit: with scores, a failure, or both where a score cannot be used.

    Parameters
    ----------
    fit : Fit
    seconds : float
        Duration, scoring included.
    scores : dict or None, default=None
        See `skguard._repairs.scikit_learn.fit_and_score`.
    failure : Failure or None, default=None
    scoring_failures : dict of str to Failure, default={}
        By the name of the score whose scorer raised on the test samples.
    training : Training
    is_untrained : bool, default=False
        Whether the deadline passed before the first epoch ended.
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
    deadline: Deadline | None = None,
) -> Outcome:
    """Fit and score. Every error is in the outcome; only KeyboardInterrupt is raised.

    Parameters
    ----------
    fit : Fit
    work : Work
    X, y : array-like
        All samples.
    train, test : ndarray of int
    deadline : Deadline or None, default=None
        The time left until then becomes the ``max_fit_seconds`` of an estimator that has it.
    """
    started = time.monotonic()
    estimator = None
    scoring = _RecordedScoring(work.scorer, work.error_score, work.retry_on)
    try:
        estimator = _prepared(fit, work, deadline)
        fitted, scores = repairs.fit_and_score(
            estimator,
            X,
            y,
            train=train,
            test=test,
            scorer=scoring,
            fit_params=work.fit_params,
            score_params=work.score_params,
            return_train_score=work.return_train_score,
            callbacks=fit.callbacks,
            **_messages(fit, work),
        )
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # A parameter that does not exist, or a scorer without numbers: every fit would raise.
        is_fatal = estimator is None or scoring.was_rejected()
        return _failed(fit, work, time.monotonic() - started, error, is_fatal)
    training = Training.of(fitted)
    is_late = deadline is not None and deadline.seconds_left() <= 0
    is_untrained = is_late and training.n_epochs == 0
    seconds = time.monotonic() - started
    return Outcome(fit, seconds, scores, None, scoring.calls[0].failures, training, is_untrained)


def _prepared(fit: Fit, work: Work, deadline: Deadline | None) -> Any:
    """Return a clone with the parameters of the candidate, and what is left as its limit."""
    estimator = clone(work.estimator).set_params(**clone(fit.params, safe=False))
    if deadline is not None:
        estimator.set_params(**time_limits(estimator, deadline.seconds_left()))
    return estimator


def _messages(fit: Fit, work: Work) -> dict[str, Any]:
    """Return the arguments of scikit-learn's ``_fit_and_score`` that only messages need."""
    candidate, n_candidates, n_splits = fit.progress
    return {
        "parameters": fit.params if work.verbose > 1 else None,  # they are set already
        "verbose": work.verbose,
        "split_progress": (fit.split, n_splits),
        "candidate_progress": (candidate, n_candidates),
    }


def _failed(fit: Fit, work: Work, seconds: float, error: BaseException, is_fatal: bool) -> Outcome:
    failure = Failure.of(error, work.retry_on, is_fatal=is_fatal)
    if work.verbose > 1:
        first_line = failure.message.partition("\n")[0]
        sys.stdout.write(
            f"[CV {fit.split + 1}/{fit.progress[2]}] FAILED {fit.params}: {failure.error}: "
            f"{first_line}\n"
        )
    return Outcome(fit, seconds, failure=failure, training=Training.of_error(error))


def time_limits(estimator: Any, seconds_left: float, min_epochs: int = 0) -> dict[str, BudgetLimit]:
    """Return the parameters that limit a fit to `seconds_left`, where the estimator has any.

    Parameters
    ----------
    estimator : estimator
    seconds_left : float
    min_epochs : int, default=0
        Number of epochs after which the limit applies.

    Returns
    -------
    dict of str to BudgetLimit
        Without those whose values are stricter.
    """
    seconds = max(seconds_left, _MIN_FIT_SECONDS)
    limits = {}
    for name, value in estimator.get_params().items():
        if name.rpartition("__")[2] != "max_fit_seconds":
            continue
        is_number = isinstance(value, numbers.Real)  # an invalid value is reported by the fit
        if value is None or (is_number and value > seconds):
            limits[name] = BudgetLimit(seconds, value, min_epochs)
    return limits


@dataclasses.dataclass(frozen=True, slots=True)
class _ScorerCall:
    """One call of a scorer: what it raised, by the name of the score."""

    failures: dict[str, Failure]
    was_raised: bool = False


class _RecordedScoring:
    """A scorer that replaces what raises by ``error_score`` and keeps the errors.

    scikit-learn's ``_fit_and_score`` returns numbers alone and drops what a scorer raised, which
    decides about a retry. So the errors have to be recorded while it calls this.

    Attributes
    ----------
    calls : list of _ScorerCall
        On the test samples, then on the training samples where their score is wanted.
    """

    def __init__(self, scorer: Any, error_score: Any, retry_on: Any) -> None:
        self._scorer = scorer
        self._errors: dict[str, Exception] = {}  # of the last call
        self._has_names = repairs.named_scorers(scorer) is not None
        if self._has_names:
            self._scorer = repairs.errors_kept(scorer, self._errors)
        self._error_score = error_score
        self._retry_on = retry_on
        self.calls: list[_ScorerCall] = []

    def __repr__(self) -> str:
        return repr(self._scorer)  # scikit-learn's errors show it

    def was_rejected(self) -> bool:
        """Return whether scikit-learn raised because of a value that the scorer returned."""
        return bool(self.calls) and not self.calls[-1].was_raised

    def __call__(self, estimator: Any, *args: Any, **kwargs: Any) -> Any:
        self._errors.clear()
        failures: dict[str, Failure] = {}
        try:
            scores = self._scorer(estimator, *args, **kwargs)
        except Exception as error:
            if self._error_score == "raise":
                self.calls.append(_ScorerCall({}, was_raised=True))
                raise
            failures["score"] = Failure.of(error, self._retry_on)
            scores = self._error_score
        else:
            if self._has_names:
                failures = self._failures_by_name(scores)
                scores |= dict.fromkeys(failures, self._error_score)
        for failure in failures.values():
            warnings.warn(
                "Scoring failed. The score on this train-test partition for these parameters "
                f"will be set to {self._error_score}. Details: \n{failure.traceback}",
                UserWarning,
                stacklevel=level_of_user(),
            )
        self.calls.append(_ScorerCall(failures))
        return scores

    def _failures_by_name(self, scores: dict[str, Any]) -> dict[str, Failure]:
        failures = {}
        for name, score in scores.items():
            error = self._errors.get(name)
            if error is None and isinstance(score, str):  # scikit-learn's text of a traceback
                error = RuntimeError(score)
            if error is not None:
                failures[name] = Failure.of(error, self._retry_on)
        return failures


def trained_network(estimator: Any) -> Any:
    """Return the Keras estimator in a fitted estimator such as a Pipeline; None without one."""
    while estimator is not None and not hasattr(estimator, "n_epochs_"):
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
            continue
        fitted = ("best_estimator_", "regressor_", "classifier_", "estimator_")
        estimator = next((getattr(estimator, n) for n in fitted if hasattr(estimator, n)), None)
    return estimator
