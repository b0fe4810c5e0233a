"""The ``fit`` that all guarded searches have in common."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from typing import Any

import joblib
from sklearn.base import clone, is_classifier
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import check_cv
from sklearn.utils import indexable

from skguard._repairs import scikit_learn as repairs
from skguard._warnings import level_of_user
from skguard.model_selection import _checks, _runners
from skguard.model_selection._budget import TimeBudget
from skguard.model_selection._evaluation import Evaluation, SearchRun
from skguard.model_selection._fits import Work
from skguard.model_selection._refit import refit, warn_of_budget
from skguard.model_selection._results import (
    ResultSettings,
    SearchResults,
    conclusion,
    search_results,
)
from skguard.model_selection._status import StopReason
from skguard.model_selection._summary import summary
from skguard.model_selection._trials import Decision, TrialRules, Trials

__all__ = ["GuardedSearch"]

# The attributes that fit sets, those of scikit-learn's loops over candidates included.
_FITTED = (
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
    "stop_reason_",
)


class GuardedSearch(repairs.BaseSearchCV):
    """Base class of all guarded searches, which differ in the candidates that they try."""

    def _set_guards(
        self,
        max_retries_per_trial: int,
        max_consecutive_failed_trials: int | None,
        retry_on: type[Exception] | tuple[type[Exception], ...],
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
        """Evaluate all candidates by cross-validation, and refit the best one.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, n_samples)
            Training data. Other shapes and types reach the estimator as they are.
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
            Before any fit: if a parameter cannot be used, or a candidate has one that does not
            exist.
        TooManyFailedTrialsError
            If `max_consecutive_failed_trials` trials failed, or all of them.
        TimeoutError
            If `time_budget` was over before one candidate was complete.
        RuntimeError
            If no worker process could be started with the estimator and the data.
        FatalError
            If a fit raised it.
        """
        budget = TimeBudget(
            self.time_budget, joblib.effective_n_jobs(self.n_jobs), with_refit=bool(self.refit)
        )
        _checks.check(self, params)
        _checks.check_arrays(X)
        run = self._prepare(X, y, params, budget)
        ended, table = self._evaluate(run)
        results = search_results(run.trials, run.settings, ended, table)
        self._store(results)
        if results.error is not None:
            try:
                raise results.error
            finally:
                del ended, results  # its traceback refers to this frame
        self._warn_about_failures(run.trials)
        if self.refit:
            self._refit(run, results)
        run.callbacks.end()
        return self

    def _prepare(self, X: Any, y: Any, params: dict[str, Any], budget: TimeBudget) -> SearchRun:
        """Validate the input, and forget the results of an earlier fit."""
        scorer, _ = self._get_scorers()
        X, y = indexable(X, y)
        params = repairs.check_fit_params(X, params)
        routed = self._get_routed_params_for_fit(params)
        callbacks = repairs.Callbacks(self, X, y, params)
        # scikit-learn's loops over candidates read this attribute and n_splits_.
        self._checked_cv_orig = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        for name in _FITTED:
            self.__dict__.pop(name, None)
        split_params = routed.splitter.split
        if hasattr(self, "_check_input_parameters"):  # halving, and all from scikit-learn 1.9 on
            self._check_input_parameters(X=X, y=y, split_params=split_params)
        self.n_splits_ = self._checked_cv_orig.get_n_splits(X, y, **split_params)
        work = Work(
            estimator=clone(self.estimator),
            scorer=scorer,
            fit_params=routed.estimator.fit,
            score_params=routed.scorer.score,
            return_train_score=self.return_train_score,
            error_score=self.error_score,
            retry_on=self.retry_on,
            verbose=self.verbose,
        )
        return SearchRun(
            X=X,
            y=y,
            cv=self._checked_cv_orig,
            split_params=split_params,
            work=work,
            callbacks=callbacks,
            budget=budget,
            trials=Trials(self._rules(), self.n_splits_, budget),
            settings=self._result_settings(scorer),
        )

    def _rules(self) -> TrialRules:
        return TrialRules(
            max_retries=self.max_retries_per_trial,
            max_consecutive_failed=self.max_consecutive_failed_trials,
            nan_score=self.nan_score,
            error_score=self.error_score,
            refit_metric=self.refit if isinstance(self.refit, str) else None,
            stop_score=self.stop_score,
        )

    def _result_settings(self, scorer: Any) -> ResultSettings:
        return ResultSettings(
            scorer=scorer,
            refit=self.refit,
            return_train_score=self.return_train_score,
            format_results=self._format_results,
            select_best_index=self._select_best_index,
            check_refit=self._check_refit_for_multimetric,
        )

    def _evaluate(self, run: SearchRun) -> tuple[Decision, dict[str, Any] | None]:
        """Run the fits of all candidates; return why that ended, and the table if it is complete.

        Every error becomes a decision, so that the results are stored before `fit` raises it.
        """
        placement = _runners.Placement(
            n_jobs=self.n_jobs,
            pre_dispatch=getattr(self, "pre_dispatch", "2*n_jobs"),  # halving has none
            isolate=self.isolate,
            trial_timeout=self.trial_timeout,
        )
        try:
            with _runners.choose(placement, run.work, run.X, run.y) as runner:
                evaluation = Evaluation(run, runner)
                extra = run.callbacks.for_search(self._run_search)
                ended, table = evaluation.all_of(self._run_search, **extra)
            ended = conclusion(run.trials, ended, self.time_budget)
        except BaseException as error:
            ended, table = _decision_of(error, run.trials.stop_reason), None
        self._complete_loop()
        return ended, table

    def _complete_loop(self) -> None:
        """Set the attributes that scikit-learn's loop sets at its end, if it was left early."""

    def _refit(self, run: SearchRun, results: SearchResults) -> None:
        """Fit the best candidate on all samples, and store it."""
        try:
            refitted = refit(run, results, self.refit_epochs)
        except BaseException as error:
            self._store(dataclasses.replace(results, stop_reason=StopReason.of_error(error)))
            raise
        results = dataclasses.replace(results, refitted=refitted)
        if refitted.was_cut_short:
            results = dataclasses.replace(results, stop_reason=StopReason.TIME_BUDGET)
        self._store(results)
        warn_of_budget(refitted, run)

    def _store(self, results: SearchResults) -> None:
        """Set the attributes that report the results; nothing else does."""
        self.stop_reason_ = results.stop_reason.value
        self.cv_results_ = results.cv_results
        self.failed_trials_ = results.failed_trials
        self.histories_ = results.histories
        self.scorer_ = results.scorer
        self.multimetric_ = results.multimetric
        if results.best_index is not None:
            self.best_index_ = results.best_index
            self.best_params_ = results.best_params
        if results.best_score is not None:
            self.best_score_ = results.best_score
        if results.refitted is not None:
            self.best_estimator_ = results.refitted.estimator
            self.refit_time_ = results.refitted.seconds
            if hasattr(self.best_estimator_, "feature_names_in_"):
                self.feature_names_in_ = self.best_estimator_.feature_names_in_

    def _warn_about_failures(self, trials: Trials) -> None:
        n_failed = sum(outcome.failure is not None for outcome in trials.outcomes.values())
        if n_failed:
            warnings.warn(
                f"{n_failed} fits failed out of a total of {len(trials.outcomes)}; their score is "
                f"{self.error_score}. failed_trials_ lists the {len(trials.failed)} attempts that "
                f"failed:\n{trials.failures()}",
                FitFailedWarning,
                stacklevel=level_of_user(),
            )

    def results_summary(self, n: int = 10) -> None:
        """Print the best candidates and, grouped by error, all failures.

        Parameters
        ----------
        n : int, default=10
            Number of candidates to show.
        """
        if not hasattr(self, "stop_reason_"):
            raise AttributeError("results_summary needs a fitted search: call fit first.")
        sys.stdout.write(summary(self, n))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "best_estimator_" if self.refit else "cv_results_")


def _decision_of(error: BaseException, stop_reason: StopReason | None) -> Decision:
    """Return the decision to raise `error`, which may have come after another reason to stop."""
    if stop_reason is None or isinstance(error, KeyboardInterrupt):
        return Decision(StopReason.of_error(error), error)
    return Decision(stop_reason, error)
