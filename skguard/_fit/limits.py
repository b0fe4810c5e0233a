"""Time limits of a fit: that of its estimator, and that of a search with a time budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["BudgetLimit", "Deadlines", "remove_limits", "without_limits"]

_MAX_ITEMS = 1_000  # of a container that may hold estimators


class BudgetLimit(float):
    """A ``max_fit_seconds`` that a search sets because of its ``time_budget``.

    Its ``repr`` is that of the value that it replaces, so that no message shows it.

    Parameters
    ----------
    seconds : float
    own : float or None, default=None
        The value that it replaces, which still applies.
    min_epochs : int, default=0
        Number of epochs that have to be complete before the limit applies. The value that it
        replaces applies before.
    """

    own: float | None
    min_epochs: int

    def __new__(cls, seconds: float, own: float | None = None, min_epochs: int = 0) -> BudgetLimit:
        limit = super().__new__(cls, seconds)
        limit.own, limit.min_epochs = own, min_epochs
        return limit

    def __repr__(self) -> str:
        return repr(self.own)

    __str__ = __repr__

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (float(self), self.own, self.min_epochs)


@dataclasses.dataclass(frozen=True, slots=True)
class Deadlines:
    """When a fit has to end, in times of ``time.monotonic``.

    Parameters
    ----------
    soft : float or None
        Applies once `min_epochs` epochs are complete.
    hard : float or None
        Applies at once.
    min_epochs : int, default=0
    """

    soft: float | None
    hard: float | None
    min_epochs: int = 0

    @classmethod
    def of(cls, max_fit_seconds: float | None, started: float) -> Deadlines:
        """Return the deadlines of a fit that started at some time."""
        if max_fit_seconds is None:
            return cls(None, None)
        if not isinstance(max_fit_seconds, BudgetLimit):
            return cls(None, started + max_fit_seconds)
        soft, own = started + max_fit_seconds, max_fit_seconds.own
        min_epochs = max_fit_seconds.min_epochs
        if isinstance(own, BudgetLimit):  # of a search around the search
            own = float(own)
        return cls(soft, None if own is None else started + own, min_epochs)

    @property
    def first(self) -> float | None:
        """The earlier of the two, after which nothing is tried again."""
        return min((d for d in (self.soft, self.hard) if d is not None), default=None)


def without_limits(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with the user's limits instead of those of a search."""
    return {name: _users(value) for name, value in params.items()}


def _users(value: Any) -> Any:
    while isinstance(value, BudgetLimit):
        value = value.own
    return value


def remove_limits(estimator: Any) -> None:
    """Restore the user's limits in an estimator and in all that it holds, fitted clones included.

    A limit of a search that runs around this one stays.
    """
    todo, seen = [estimator], set()
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if hasattr(item, "get_params") and not isinstance(item, type):
            for name, value in list(vars(item).items()):
                if isinstance(value, BudgetLimit):
                    vars(item)[name] = value.own
        todo.extend(_held_by(item))


def _held_by(item: Any) -> Iterator[Any]:
    if isinstance(item, dict | list | tuple) and len(item) > _MAX_ITEMS:
        return  # such as values of a metric
    if isinstance(item, dict):
        yield from item.values()
    elif isinstance(item, list | tuple):
        yield from item
    elif hasattr(item, "get_params") and not isinstance(item, type):
        yield from vars(item).values()
