"""The private parts of scikit-learn and joblib that the searches depend on.

Where scikit-learn has a public function, the searches call that one. The parts used here have
the same meaning in scikit-learn 1.6 to 1.9; ``tests/repairs/test_scikit_learn.py`` fails when
they change.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from joblib.parallel import ThreadingBackend, get_active_backend
from sklearn.base import _fit_context
from sklearn.metrics._scorer import _BaseScorer
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import _fit_and_score
from sklearn.utils.validation import _check_method_params, _num_samples

__all__ = [
    "Backend",
    "BaseSearchCV",
    "Callbacks",
    "active_backend",
    "check_fit_params",
    "errors_kept",
    "fit_and_score",
    "n_samples",
    "named_scorers",
    "nested_backend",
    "never_in_this_process",
    "validated_fit",
]

_Fit = TypeVar("_Fit", bound=Callable[..., Any])


def validated_fit(fit: _Fit) -> _Fit:
    """Validate the parameters that scikit-learn knows, and always tear down its callbacks."""
    decorated: _Fit = _fit_context(prefer_skip_nested_validation=False)(fit)
    return decorated


_HAS_CALLBACKS = hasattr(BaseSearchCV, "_init_callback_context")  # scikit-learn 1.9


def check_fit_params(X: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Return `params`, with those that have one value per sample of X made indexable."""
    checked: dict[str, Any] = _check_method_params(X, params=params)
    return checked


def n_samples(X: Any) -> int:
    """Return the number of samples of X, of any type."""
    number: int = _num_samples(X)
    return number


def named_scorers(scorer: Any) -> dict[str, Any] | None:
    """Return the scorers by name if `scorer` combines several; None otherwise."""
    scorers: dict[str, Any] | None = getattr(scorer, "_scorers", None)
    return scorers


def errors_kept(scorer: Any, errors: dict[str, Exception]) -> Any:
    """Return `scorer`, which combines several, such that what each raises is put into `errors`.

    scikit-learn's own returns the text of a traceback instead of the score.
    """
    keeping = copy.copy(scorer)
    keeping._scorers = {
        name: _error_kept(name, one, errors) for name, one in scorer._scorers.items()
    }
    return keeping


def _error_kept(name: str, scorer: Any, errors: dict[str, Exception]) -> Any:
    def keeping(score: Callable[..., Any]) -> Callable[..., Any]:
        def keep_and_raise(*args: Any, **kwargs: Any) -> Any:
            try:
                return score(*args, **kwargs)
            except Exception as error:
                errors[name] = error
                raise

        return keep_and_raise

    if not isinstance(scorer, _BaseScorer):
        return _CallableLike(scorer, keeping(scorer))
    scorer = copy.copy(scorer)  # one of scikit-learn's, which share cached predictions
    scorer._score = keeping(scorer._score)
    return scorer


class _CallableLike:
    """A function with all other attributes of `original`, such as the metadata it requests."""

    def __init__(self, original: Any, function: Callable[..., Any]) -> None:
        self._original = original
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def __repr__(self) -> str:
        return repr(self._original)


def fit_and_score(
    estimator: Any, X: Any, y: Any, *, callbacks: Any, **kwargs: Any
) -> tuple[Any, dict[str, Any]]:
    """Call scikit-learn's ``_fit_and_score``: fit on the samples `train`, score on `test`.

    Everything that ``fit`` raises is raised.

    Returns
    -------
    estimator : estimator
        Fitted.
    scores : dict
        ``test_scores``, ``fit_time``, ``score_time``, ``n_test_samples`` and, if requested,
        ``train_scores``.
    """
    if callbacks is not None:
        kwargs["caller"], kwargs["callback_ctx"] = callbacks
    scores = _fit_and_score(
        estimator,
        X,
        y,
        error_score="raise",
        return_n_test_samples=True,
        return_times=True,
        return_estimator=True,
        **kwargs,
    )
    return scores.pop("estimator"), scores


@dataclasses.dataclass(frozen=True, slots=True)
class Backend:
    """The active backend of joblib.

    Parameters
    ----------
    name : str
        Name of its class.
    is_nested : bool
        Whether this is a worker of joblib, whose backend the user has not chosen.
    n_threads : int or None
        Number of threads of a worker, if the user has set it.
    """

    name: str
    is_nested: bool
    n_threads: int | None


def active_backend() -> Backend:
    backend, _ = get_active_backend()
    return Backend(
        name=type(backend).__name__,
        is_nested=bool(backend.nesting_level),
        n_threads=getattr(backend, "inner_max_num_threads", None),
    )


def nested_backend() -> Any:
    """Return the backend that joblib's workers use for parallel tasks of their own."""
    return ThreadingBackend(nesting_level=1)


@contextlib.contextmanager
def never_in_this_process() -> Iterator[None]:
    """Make joblib send tasks to dask even while dask has one core.

    It would run all of them in this process then, and a fit that has just killed a worker of
    dask would kill this process.
    """
    backend, _ = get_active_backend()
    if type(backend).__name__ != "DaskDistributedBackend":
        yield
        return
    effective_n_jobs = backend.effective_n_jobs
    backend.effective_n_jobs = lambda n_jobs: max(effective_n_jobs(n_jobs), 2)
    try:
        yield
    finally:
        del backend.effective_n_jobs


class Callbacks:
    """Calls scikit-learn's callbacks on a search and its fits; before 1.9 there are none.

    Parameters
    ----------
    search : BaseSearchCV
    X, y : array-like
    params : dict
        Keyword arguments of ``fit``.
    """

    def __init__(self, search: Any, X: Any, y: Any, params: dict[str, Any]) -> None:
        self.root = None
        self._refit: Any = None
        self._search = search
        if not _HAS_CALLBACKS:
            return
        weight = params.get("sample_weight")
        self._data = {
            "X": X,
            "y": y,
            "metadata": None if weight is None else {"sample_weight": weight},
        }
        self.root = search._init_callback_context(max_subtasks=1 + (search.refit is not False))
        self.root.call_on_fit_task_begin(estimator=search, **self._data)

    def for_search(self, run_search: Any) -> dict[str, Any]:
        """Return the further arguments of ``_run_search``."""
        if "callback_ctx" in inspect.signature(run_search).parameters:
            return {"callback_ctx": self.root}
        return {}

    def for_fits(self, context: Any, candidates: list[dict[str, Any]], n_splits: int) -> list[Any]:
        """Return the argument `callbacks` of `fit_and_score` for each fit."""
        n_fits = len(candidates) * n_splits
        holders = [self._search, self._search.estimator]
        holders += [value for params in candidates for value in params.values()]
        if context is None or not any(map(_has_callbacks, holders)):
            return [None] * n_fits
        return [
            (
                self._search,
                context.subcontext(task_name="candidate-split-evaluation", task_id=number),
            )
            for number in range(n_fits)
        ]

    @contextlib.contextmanager
    def refitting(self, estimator: Any) -> Iterator[None]:
        """Call the callbacks around the refit; all its retries are one task."""
        if self.root is None:
            yield
            return
        is_retry = self._refit is not None
        if self._refit is None:
            self._refit = self.root.subcontext(task_name="refit-with-best-params")
        with self._refit.propagate_callback_context(estimator):
            if not is_retry:
                self._refit.call_on_fit_task_begin(estimator=self._search, **self._data)
            yield
        self._refit.call_on_fit_task_end(estimator=self._search, **self._data)

    def end(self) -> None:
        if self.root is not None:
            self.root.call_on_fit_task_end(estimator=self._search, **self._data)


def _has_callbacks(value: Any) -> bool:
    if not hasattr(value, "get_params") or inspect.isclass(value):
        return False
    holders = [value, *value.get_params().values()]
    return any(getattr(holder, "_skl_callbacks", None) for holder in holders)
