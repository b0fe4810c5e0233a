"""The four public search classes: scikit-learn's, with the ``fit`` of `GuardedSearch`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.experimental import enable_halving_search_cv  # noqa: F401, before the next import
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
)

from skguard.model_selection._base import GuardedSearch
from skguard.model_selection._documentation import documented

__all__ = [
    "GuardedGridSearchCV",
    "GuardedHalvingGridSearchCV",
    "GuardedHalvingRandomSearchCV",
    "GuardedRandomizedSearchCV",
]


@documented
class GuardedGridSearchCV(GridSearchCV, GuardedSearch):
    """Fault-tolerant exhaustive search over specified parameter values."""

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


@documented
class GuardedRandomizedSearchCV(RandomizedSearchCV, GuardedSearch):
    """Fault-tolerant randomized search over parameter distributions."""

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
    """Base class of both searches by successive halving."""

    def _complete_loop(self) -> None:
        if not getattr(self, "n_candidates_", None) or hasattr(self, "n_iterations_"):
            return
        factor = self.factor  # what follows is as in scikit-learn's BaseSuccessiveHalving
        self.n_iterations_ = len(self.n_resources_)
        self.n_remaining_candidates_ = self.n_candidates_[-1]
        self.n_required_iterations_ = 1 + math.floor(math.log(self.n_candidates_[0], factor))
        n_growths = math.floor(math.log(self.max_resources_ // self.min_resources_, factor))
        self.n_possible_iterations_ = 1 + n_growths


@documented
class GuardedHalvingGridSearchCV(HalvingGridSearchCV, _GuardedHalving):
    """Fault-tolerant successive-halving search over specified parameter values.

    All candidates start with a small amount of a resource, such as samples or epochs; in each
    iteration, the best fraction of them continues with more.
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


@documented
class GuardedHalvingRandomSearchCV(HalvingRandomSearchCV, _GuardedHalving):
    """Fault-tolerant successive-halving search over randomly sampled candidates.

    All candidates start with a small amount of a resource, such as samples or epochs; in each
    iteration, the best fraction of them continues with more.
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
