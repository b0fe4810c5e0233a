"""The searches: parameters, their documentation, and fit as a list of steps."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import joblib
import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401, for what follows
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    check_cv,
)
from sklearn.utils import indexable

from skguard._fit.attempts import is_worth_another_try
from skguard._repairs import scikit_learn as repairs
from skguard.model_selection import _checks, _runners
from skguard.model_selection import _results as reports
from skguard.model_selection._book import NO_FITS, Book, level_of_user
from skguard.model_selection._fits import Work, time_limits, trained_network
from skguard.model_selection._trials import Rules, Trials

__all__ = [
    "GuardedGridSearchCV",
    "GuardedHalvingGridSearchCV",
    "GuardedHalvingRandomSearchCV",
    "GuardedRandomizedSearchCV",
]

_PARAMETERS = """\
    max_retries_per_trial : int, default=0
        How often a fit that failed is tried again, with the same parameters: of a trial, which
        is one candidate on all splits, only the split that failed. The refit is tried again as
        well. `skguard.FailedTrialError`, and errors that a guarded estimator raises about its
        input, are never tried again.
    max_consecutive_failed_trials : int or None, default=3
        How many trials in a row, in the order of ``cv_results_``, may fail before the search
        ends with `skguard.exceptions.TooManyFailedTrialsError`. A trial has failed when one of
        its fits has, retries included. None is no limit.
    retry_on : exception class or tuple of them, default=(Exception,)
        Which errors are worth another try. Workers that die raise
        `skguard.exceptions.WorkerDiedError`, fits that take too long `TrialTimeoutError`.
    nan_score : {"fail", "accept"}, default="fail"
        What a score of NaN is: a failure, like an error, or a score, as in scikit-learn. Of
        several scores the one that `refit` names is looked at, or all where it names none.
    isolate : bool, default=False
        Whether fits run in a worker process even with one job at a time.
    trial_timeout : float, default=None
        How long one fit may take, in seconds, scoring included. Then its worker process is
        killed and the fit has failed. Implies `isolate`. The refit, in this process, has no
        such limit. None is no limit.
    time_budget : float, default=None
        How long the whole search may take, in seconds. No fit starts after that time, less what
        the refit is expected to take. Keras estimators of this package get what is left as
        their ``max_fit_seconds``, such that a refit can take as long and, at first, the other
        splits too; those that it has cut short have "time_budget" as their ``stop_reason`` and
        a score like others. Other fits that run are waited for. Candidates that are not
        complete are no candidates for the best. The refit gets what is left, but no less than
        twice as long as expected from the winner's fits, or, where one of those was cut short,
        as long as they took. None is no limit.
    stop_score : float, default=None
        The search ends when the mean test score of a candidate is at least this.
    refit_epochs : {"best"} or None, default=None
        "best" refits a Keras estimator of this package on all rows, none held out, for the
        median over the splits of the winner's best epoch counts, rounded up, whatever the
        number of rows. Callbacks that monitor held-out rows are left out. None refits with
        the winner's parameters as they are, as scikit-learn does."""

_ATTRIBUTES = """\
    cv_results_ : dict of str to array
        As in scikit-learn, with one row for each candidate up to the last of which a fit has
        ended, and with ``status`` ("completed", "failed" or, where the search ended early,
        "incomplete" or "not_run") and ``split0_status`` ("completed", "failed", "timed_out",
        "worker_died" or "not_run");
        ``split0_attempts`` and ``mean_attempts``, the tries of the estimator itself included;
        and, for Keras estimators of this package, ``split0_n_epochs``, ``split0_best_epoch``
        (counted from 0), their means and ``split0_stop_reason``. Candidates that failed rank
        last.
    failed_trials_ : list of FailedTrial
        Every attempt that failed, in the order in which they ended, with ``candidate``,
        ``split``, ``params``, ``attempt``, ``error``, ``message``, ``traceback`` and
        ``seconds``.
    histories_ : list of list of dict or None
        ``histories_[candidate][split]`` is the ``history_`` of a Keras estimator, also of one
        in a Pipeline.
    stopped_ : {"completed", "time_budget", "stop_score", "failed_trials", "fatal_error", \
"interrupted", "error"}
        What ended the search.
    best_index_, best_params_, best_score_, best_estimator_, scorer_, n_splits_, refit_time_, \
multimetric_
        As in scikit-learn. A candidate that failed or is not complete is never the best: a
        callable `refit` that chooses one is asked again with the others alone. After an error
        all but the refitted estimator are there, for what had finished."""

_NOTES = """\
    With ``n_jobs`` of 2 or more, or `isolate`, fits run in worker processes that are killed
    when the search ends. One that dies, whatever from, costs the fit that it was running; a fit
    that was in two such deaths is tried the third time while nothing else runs. Under
    ``joblib.parallel_config`` with a backend of its own, such as dask, fits run there.

    However ``fit`` ends, by an error, `skguard.FatalError` or Ctrl-C, what had finished is in
    ``cv_results_`` and ``failed_trials_``. The rules are those of KerasTuner [1]_.

    References
    ----------
    .. [1] https://keras.io/guides/keras_tuner/failed_trials/"""

_FIT = """Run fit with all sets of parameters.

Parameters
----------
X : array-like of shape (n_samples, n_features) or (n_samples, n_samples)
    Training rows.
y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
    Targets.
**params : dict
    For ``fit`` of the estimator, the scorer and the splitter, as in scikit-learn.

Returns
-------
self

Raises
------
ValueError
    Before any fit: if a parameter cannot be used, or a candidate has one that does not exist.
TooManyFailedTrialsError
    If `max_consecutive_failed_trials` did, or all of them.
TimeoutError
    If `time_budget` was over before one candidate was complete.
RuntimeError
    If no worker process could be started with the estimator and the data.
FatalError
    If a fit raised it.
"""

_Search = TypeVar("_Search", bound=type)


_RESULTS = (
    "best_estimator_",
    "best_index_",
    "best_params_",
    "best_score_",
    "cv_results_",
    "failed_trials_",
    "feature_names_in_",
    "histories_",
    "multimetric_",
    "n_candidates_",
    "n_iterations_",
    "n_possible_iterations_",
    "n_remaining_candidates_",
    "n_required_iterations_",
    "n_resources_",
    "n_splits_",
    "refit_time_",
    "scorer_",
    "stopped_",
)


class _Ended(Exception):  # noqa: N818, it is no error
    """The search is over, before it is through; there is no other way out of a search's loop."""


class GuardedSearch(repairs.BaseSearchCV):
    """What all guarded searches do; their own classes say which candidates they try."""

    def _set_guards(
        self,
        max_retries_per_trial: int,
        max_consecutive_failed_trials: int | None,
        retry_on: Any,
        nan_score: str,
        isolate: bool,
        trial_timeout: float | None,
        time_budget: float | None,
        stop_score: float | None,
        refit_epochs: str | None,
    ) -> None:
        self.max_retries_per_trial = max_retries_per_trial
        self.max_consecutive_failed_trials = max_consecutive_failed_trials
        self.retry_on = retry_on
        self.nan_score = nan_score
        self.isolate = isolate
        self.trial_timeout = trial_timeout
        self.time_budget = time_budget
        self.stop_score = stop_score
        self.refit_epochs = refit_epochs

    @repairs.validated_fit
    def fit(self, X: Any, y: Any = None, **params: Any) -> GuardedSearch:
        started = time.time()
        _checks.check(self, params)
        scorer, _ = self._get_scorers()
        X, y = indexable(X, y)
        params = repairs.check_fit_params(X, params)
        routed = self._get_routed_params_for_fit(params)
        callbacks = repairs.Callbacks(self, X, y, params)
        self._checked_cv_orig = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        self._forget()
        if hasattr(self, "_check_input_parameters"):  # of scikit-learn 1.9, and of halving
            self._check_input_parameters(X=X, y=y, split_params=routed.splitter.split)
        self.n_splits_ = self._checked_cv_orig.get_n_splits(X, y, **routed.splitter.split)
        base_estimator = clone(self.estimator)
        work = Work(
            estimator=base_estimator,
            scorer=scorer,
            fit_params=routed.estimator.fit,
            score_params=routed.scorer.score,
            return_train_score=self.return_train_score,
            error_score=self.error_score,
            retry_on=self.retry_on,
            verbose=self.verbose,
        )
        book = Book(self, Trials(self._rules(started), self.n_splits_), scorer)
        try:
            with _runners.choose(self, work, X, y) as runner:
                evaluate = self._evaluate_on(runner, book, callbacks, X, y, routed.splitter.split)
                try:
                    self._run_search(evaluate, **callbacks.for_search(self._run_search))
                except _Ended:
                    self._end_early()
            book.check_any_completed()
        except BaseException as error:
            self._end_early()
            book.close(error)
            raise
        book.close()
        if self.refit:
            try:
                self._refit(base_estimator, X, y, routed.estimator.fit, callbacks, started)
            except BaseException as error:
                self.stopped_ = book.reason_of(error)
                raise
        callbacks.end()
        return self

    fit.__doc__ = _FIT

    def results_summary(self, n: int = 10) -> None:
        """Print the best candidates and, grouped by error, all failures.

        Parameters
        ----------
        n : int, default=10
            How many candidates to show.
        """
        if not hasattr(self, "stopped_"):
            raise AttributeError("There are no results before fit.")
        sys.stdout.write(reports.summary(self, n))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "best_estimator_" if self.refit else "cv_results_")

    def _forget(self) -> None:
        """Drop what an earlier fit found, so that nothing of it is left if this one fails."""
        for name in _RESULTS:
            self.__dict__.pop(name, None)

    def _rules(self, started: float) -> Rules:
        def expected_refit(fit_seconds: float) -> float:
            return fit_seconds * self._refit_share if self.refit else 0.0

        return Rules(
            max_retries=self.max_retries_per_trial,
            max_consecutive_failed=self.max_consecutive_failed_trials,
            nan_score=self.nan_score,
            error_score=self.error_score,
            refit_metric=self.refit if isinstance(self.refit, str) else None,
            stop_score=self.stop_score,
            deadline=None if self.time_budget is None else started + self.time_budget,
            n_jobs=joblib.effective_n_jobs(self.n_jobs),
            expected_refit=expected_refit,
        )

    def _evaluate_on(
        self,
        runner: _runners.Runner,
        book: Book,
        callbacks: repairs.Callbacks,
        X: Any,
        y: Any,
        split_params: dict[str, Any],
    ) -> Callable[..., dict[str, Any]]:
        """The function that scikit-learn's loops over candidates call."""

        def evaluate_candidates(
            candidate_params: Any,
            cv: Any = None,
            more_results: dict[str, list[Any]] | None = None,
            callback_ctx: Any = None,
        ) -> dict[str, Any]:
            candidates = list(candidate_params)
            splits = list((cv or self._checked_cv_orig).split(X, y, **split_params))
            if len(splits) != self.n_splits_:
                raise ValueError(
                    "cv.split and cv.get_n_splits return inconsistent results. Expected "
                    f"{self.n_splits_} splits, got {len(splits)}"
                )
            n_fits = len(candidates) * len(splits)
            if n_fits == 0:
                raise ValueError(NO_FITS)
            if "status" in (more_results or {}):
                raise ValueError("more_results has a column 'status', as a guarded search has.")
            if self.verbose > 0:
                sys.stdout.write(
                    f"Fitting {len(splits)} folds for each of {len(candidates)} candidates, "
                    f"totalling {n_fits} fits\n"
                )
            _checks.check_names(self.estimator, candidates)
            # How many times the rows of a fit the refit will have.
            n_train = float(np.mean([len(train) for train, _ in splits]))
            self._refit_share = repairs.n_rows(X) / max(n_train, 1)
            book.add(
                candidates, more_results, callbacks.for_fits(callback_ctx, candidates, len(splits))
            )
            runner.run(book.trials, splits)
            if book.trials.stopped is not None:
                raise _Ended
            return book.results_for_search()

        return evaluate_candidates

    def _end_early(self) -> None:
        """Set what a loop that was left would have set at its end."""

    def _seconds_for_refit(self, started: float) -> float | None:
        """What the refit may take: the time left, or about as long as the winner's fits took."""
        if self.time_budget is None:
            return None
        results, best = self.cv_results_, self.best_index_
        fit_seconds = float(results["mean_fit_time"][best])
        reasons = [results.get(f"split{split}_stop_reason") for split in range(self.n_splits_)]
        was_cut = any(r is not None and r[best] == "time_budget" for r in reasons)
        seconds_left = started + self.time_budget - time.time()
        return max(seconds_left, fit_seconds if was_cut else 2 * self._refit_share * fit_seconds)

    def _refit(
        self,
        base_estimator: Any,
        X: Any,
        y: Any,
        fit_params: dict[str, Any],
        callbacks: repairs.Callbacks,
        search_started: float,
    ) -> None:
        """Fit the best candidate on all rows, by the rules of the other fits."""
        targets = () if y is None else (y,)
        for n_retries_left in reversed(range(self.max_retries_per_trial + 1)):
            best = self._winner(base_estimator)
            seconds = self._seconds_for_refit(search_started)
            limits = {} if seconds is None else time_limits(best, seconds)
            params = {name: best.get_params()[name] for name in limits}
            best.set_params(**limits)
            started = time.time()
            try:
                with callbacks.refitting(best):
                    best.fit(X, *targets, **fit_params)
                break
            except Exception as error:
                is_late = time.time() - search_started > (self.time_budget or math.inf)
                may_retry = n_retries_left and is_worth_another_try(error, self.retry_on)
                if is_late or not may_retry:
                    raise
        self.refit_time_ = time.time() - started
        self.best_estimator_ = best.set_params(**params)
        if hasattr(best, "feature_names_in_"):
            self.feature_names_in_ = best.feature_names_in_
        network = trained_network(best)
        was_limited = limits != params  # and not by the estimator's own max_fit_seconds
        if was_limited and getattr(network, "stop_reason_", None) == "time_budget":
            warnings.warn(
                f"time_budget={self.time_budget!r} has cut the refit short, after "
                f"{network.n_epochs_} epochs.",
                ConvergenceWarning,
                stacklevel=level_of_user(),
            )

    def _winner(self, base_estimator: Any) -> Any:
        """The best candidate, not fitted yet."""
        # Copies of the parameters too, which may be estimators.
        best = clone(base_estimator).set_params(**clone(self.best_params_, safe=False))
        if self.refit_epochs is not None:
            from skguard.model_selection import _refit

            n_epochs = _refit.n_best_epochs(self.cv_results_, self.best_index_)
            best.set_params(**_refit.without_hold_out(best, n_epochs))
        return best


def _documented(cls: _Search) -> _Search:
    """Fill in what all guarded searches have in common."""
    assert cls.__doc__ is not None
    cls.__doc__ = cls.__doc__.format(
        parameters=_PARAMETERS.strip(), attributes=_ATTRIBUTES.strip(), notes=_NOTES.strip()
    )
    return cls


@_documented
class GuardedGridSearchCV(GridSearchCV, GuardedSearch):
    """Every combination of parameter values, by cross-validation, whatever fails.

    Parameters
    ----------
    estimator, param_grid, scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score, \
    return_train_score
        As in `sklearn.model_selection.GridSearchCV`.
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    sklearn.model_selection.GridSearchCV : What this subclasses.

    Notes
    -----
    {notes}
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
        retry_on: Any = (Exception,),
        nan_score: str = "fail",
        isolate: bool = False,
        trial_timeout: float | None = None,
        time_budget: float | None = None,
        stop_score: float | None = None,
        refit_epochs: str | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self._set_guards(
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            retry_on=retry_on,
            nan_score=nan_score,
            isolate=isolate,
            trial_timeout=trial_timeout,
            time_budget=time_budget,
            stop_score=stop_score,
            refit_epochs=refit_epochs,
        )


@_documented
class GuardedRandomizedSearchCV(RandomizedSearchCV, GuardedSearch):
    """Parameter values drawn at random, by cross-validation, whatever fails.

    Parameters
    ----------
    estimator, param_distributions, n_iter, scoring, n_jobs, refit, cv, verbose, pre_dispatch, \
    random_state, error_score, return_train_score
        As in `sklearn.model_selection.RandomizedSearchCV`.
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    sklearn.model_selection.RandomizedSearchCV : What this subclasses.

    Notes
    -----
    {notes}
    """

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
        retry_on: Any = (Exception,),
        nan_score: str = "fail",
        isolate: bool = False,
        trial_timeout: float | None = None,
        time_budget: float | None = None,
        stop_score: float | None = None,
        refit_epochs: str | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self._set_guards(
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            retry_on=retry_on,
            nan_score=nan_score,
            isolate=isolate,
            trial_timeout=trial_timeout,
            time_budget=time_budget,
            stop_score=stop_score,
            refit_epochs=refit_epochs,
        )


class _GuardedHalving(GuardedSearch):
    """What both searches by successive halving do."""

    def _end_early(self) -> None:
        if not getattr(self, "n_candidates_", None) or hasattr(self, "n_iterations_"):
            return
        factor = self.factor
        self.n_iterations_ = len(self.n_resources_)
        self.n_remaining_candidates_ = self.n_candidates_[-1]
        self.n_required_iterations_ = 1 + math.floor(math.log(self.n_candidates_[0], factor))
        n_growths = math.floor(math.log(self.max_resources_ // self.min_resources_, factor))
        self.n_possible_iterations_ = 1 + n_growths


@_documented
class GuardedHalvingGridSearchCV(HalvingGridSearchCV, _GuardedHalving):
    """A grid by successive halving: the better candidates get more resources, whatever fails.

    Parameters
    ----------
    estimator, param_grid, factor, resource, max_resources, min_resources, \
    aggressive_elimination, cv, scoring, refit, error_score, return_train_score, random_state, \
    n_jobs, verbose
        As in `sklearn.model_selection.HalvingGridSearchCV`.
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    sklearn.model_selection.HalvingGridSearchCV : What this subclasses.

    Notes
    -----
    {notes}
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        factor: float = 3,
        resource: str = "n_samples",
        max_resources: Any = "auto",
        min_resources: Any = "exhaust",
        aggressive_elimination: bool = False,
        cv: Any = 5,
        scoring: Any = None,
        refit: bool = True,
        error_score: Any = np.nan,
        return_train_score: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
        retry_on: Any = (Exception,),
        nan_score: str = "fail",
        isolate: bool = False,
        trial_timeout: float | None = None,
        time_budget: float | None = None,
        stop_score: float | None = None,
        refit_epochs: str | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            factor=factor,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            aggressive_elimination=aggressive_elimination,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            return_train_score=return_train_score,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self._set_guards(
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            retry_on=retry_on,
            nan_score=nan_score,
            isolate=isolate,
            trial_timeout=trial_timeout,
            time_budget=time_budget,
            stop_score=stop_score,
            refit_epochs=refit_epochs,
        )


@_documented
class GuardedHalvingRandomSearchCV(HalvingRandomSearchCV, _GuardedHalving):
    """Random candidates by successive halving: the better get more resources, whatever fails.

    Parameters
    ----------
    estimator, param_distributions, n_candidates, factor, resource, max_resources, \
    min_resources, aggressive_elimination, cv, scoring, refit, error_score, return_train_score, \
    random_state, n_jobs, verbose
        As in `sklearn.model_selection.HalvingRandomSearchCV`.
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    sklearn.model_selection.HalvingRandomSearchCV : What this subclasses.

    Notes
    -----
    {notes}
    """

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_candidates: Any = "exhaust",
        factor: float = 3,
        resource: str = "n_samples",
        max_resources: Any = "auto",
        min_resources: Any = "smallest",
        aggressive_elimination: bool = False,
        cv: Any = 5,
        scoring: Any = None,
        refit: bool = True,
        error_score: Any = np.nan,
        return_train_score: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
        retry_on: Any = (Exception,),
        nan_score: str = "fail",
        isolate: bool = False,
        trial_timeout: float | None = None,
        time_budget: float | None = None,
        stop_score: float | None = None,
        refit_epochs: str | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_candidates=n_candidates,
            factor=factor,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            aggressive_elimination=aggressive_elimination,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            return_train_score=return_train_score,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self._set_guards(
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            retry_on=retry_on,
            nan_score=nan_score,
            isolate=isolate,
            trial_timeout=trial_timeout,
            time_budget=time_budget,
            stop_score=stop_score,
            refit_epochs=refit_epochs,
        )
