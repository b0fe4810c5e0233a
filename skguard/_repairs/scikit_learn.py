"""The private parts of scikit-learn and joblib that the searches stand on.

Where scikit-learn has a public function, the searches use that one. What is here has had one
meaning from scikit-learn 1.6 to 1.9; ``tests/repairs/test_scikit_learn.py`` tells when it changes.
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
    "n_rows",
    "named_scorers",
    "nested_backend",
    "never_in_this_process",
    "validated_fit",
]

_Fit = TypeVar("_Fit", bound=Callable[..., Any])


def validated_fit(fit: _Fit) -> _Fit:
    """Check the parameters that scikit-learn knows, and end its callbacks in any case."""
    decorated: _Fit = _fit_context(prefer_skip_nested_validation=False)(fit)
    return decorated


_HAS_CALLBACKS = hasattr(BaseSearchCV, "_init_callback_context")  # scikit-learn 1.9


def check_fit_params(X: Any, params: dict[str, Any]) -> dict[str, Any]:
    """`params`, those with a value for each row of X made indexable."""
    checked: dict[str, Any] = _check_method_params(X, params=params)
    return checked


def n_rows(X: Any) -> int:
    """How many rows X has, whatever it is made of."""
    number: int = _num_samples(X)
    return number


def named_scorers(scorer: Any) -> dict[str, Any] | None:
    """The scorers by name where `scorer` stands for several, or None."""
    scorers: dict[str, Any] | None = getattr(scorer, "_scorers", None)
    return scorers


def errors_kept(scorer: Any, errors: dict[str, Exception]) -> Any:
    """`scorer`, which stands for several, such that `errors` gets by name what each raises.

    scikit-learn's own returns the text of a traceback in the place of the score.
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
    scorer = copy.copy(scorer)  # one of scikit-learn's, which share their predictions
    scorer._score = keeping(scorer._score)
    return scorer


class _CallableLike:
    """Another function, and all else as `original` has it, such as which metadata it wants."""

    def __init__(self, original: Any, function: Callable[..., Any]) -> None:
        self._original = original
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def __repr__(self) -> str:
        return repr(self._original)


def fit_and_score(estimator: Any, X: Any, y: Any, *, callbacks: Any, **kwargs: Any) -> Any:
    """scikit-learn's own: fit on the rows `train`, score on the rows `test`.

    Whatever ``fit`` raises goes through.

    Returns
    -------
    dict
        ``test_scores``, ``fit_time``, ``score_time``, ``n_test_samples`` and, if asked for,
        ``train_scores``.
    """
    if callbacks is not None:
        kwargs["caller"], kwargs["callback_ctx"] = callbacks
    return _fit_and_score(
        estimator,
        X,
        y,
        error_score="raise",
        return_n_test_samples=True,
        return_times=True,
        **kwargs,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Backend:
    """What joblib would run on now.

    Parameters
    ----------
    name : str
        Of its class.
    is_nested : bool
        Whether it is in a worker of joblib's, and so not what a user has set.
    n_threads : int or None
        The threads of a worker, where a user has set them.
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
    """What joblib's own workers run on if they are asked to run something in parallel."""
    return ThreadingBackend(nesting_level=1)


@contextlib.contextmanager
def never_in_this_process() -> Iterator[None]:
    """Have joblib send what it is given to dask, even while dask has one core left.

    It would run everything in this process then, and a fit that has just ended a worker of dask
    would end this one.
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
    """scikit-learn's callbacks (1.9) on a search and on what it fits; nothing before that.

    Parameters
    ----------
    search : BaseSearchCV
    X, y : array-like
    params : dict
        Of ``fit``.
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
        """The arguments that ``_run_search`` takes beside the function that evaluates."""
        if "callback_ctx" in inspect.signature(run_search).parameters:
            return {"callback_ctx": self.root}
        return {}

    def for_fits(self, context: Any, candidates: list[dict[str, Any]], n_splits: int) -> list[Any]:
        """For each fit what `fit_and_score` takes as `callbacks`."""
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
        """Around the refit of the best estimator, and again around each retry."""
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
