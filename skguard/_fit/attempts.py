"""Retries: a fit that fails is tried again, anew, and every attempt is on record."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from skguard.exceptions import (
    FailedTrialError,
    ForkedProcessError,
    InputError,
    InputTypeError,
    InputValueError,
)

__all__ = ["Attempt", "Rule", "check_rule", "is_worth_another_try", "no_retry", "run"]


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a fit.

    Parameters
    ----------
    number : int
        Counted from 0.
    seconds : float
        What it took.
    changes : dict
        Parameters that ``retry_with`` changed for this attempt alone.
    error : str or None
        The class of what was raised; None for the attempt that succeeded.
    message : str or None
    traceback : str or None
    """

    number: int
    seconds: float
    changes: dict[str, Any]
    error: str | None = None
    message: str | None = None
    traceback: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """When to try again.

    Parameters
    ----------
    max_retries : int
    retry_on : exception class or sequence of them
    retry_with : callable or None
        Called with the number of the attempt that failed, its error and the parameters that
        it had; returns those to change for the next attempt.
    deadline : float or None
        After which nothing is tried again, see ``time.monotonic``.
    """

    max_retries: int
    retry_on: type[Exception] | Sequence[type[Exception]]
    retry_with: Callable[[int, Exception, dict[str, Any]], Mapping[str, Any] | None] | None
    deadline: float | None = None


def check_rule(max_retries: Any, retry_on: Any, retry_with: Any) -> list[str]:
    """What is wrong with the parameters, a sentence each."""
    problems = []
    is_int = isinstance(max_retries, int) and not isinstance(max_retries, bool)
    if not is_int and hasattr(max_retries, "__index__") and not isinstance(max_retries, bool):
        is_int = True  # NumPy's
    if not is_int or max_retries < 0:
        problems.append(f"max_retries={max_retries!r} is no number of retries. Give 0 or more.")
    if not all(inspect.isclass(c) and issubclass(c, Exception) for c in _classes(retry_on)):
        problems.append(
            f"retry_on={retry_on!r} is not made of subclasses of Exception. What is none of them, "
            "such as FatalError and KeyboardInterrupt, always ends the search."
        )
    if retry_with is not None and not callable(retry_with):
        problems.append(
            f"retry_with={retry_with!r} is no function of (attempt, error, params) that returns "
            "the parameters to change."
        )
    return problems


def _classes(retry_on: Any) -> tuple[Any, ...]:
    return tuple(retry_on) if isinstance(retry_on, tuple | list) else (retry_on,)


def run(
    attempt: Callable[[int, dict[str, Any]], None], rule: Rule, params: dict[str, Any]
) -> list[Attempt]:
    """Try until it works or must not be tried again.

    Parameters
    ----------
    attempt : callable
        Takes the number of the attempt and the parameters to change. Undoes all that it did
        if it raises.
    rule : Rule
    params : dict
        The estimator's parameters, for ``retry_with``.

    Returns
    -------
    list of Attempt
        The last one succeeded.

    Raises
    ------
    BaseException
        What the last attempt, or ``retry_with``, raised, with the list of all attempts as its
        ``attempts``.
    """
    record: list[Attempt] = []
    changes: dict[str, Any] = {}
    while True:
        number, started = len(record), time.monotonic()
        try:
            attempt(number, changes)
        except BaseException as error:
            seconds = time.monotonic() - started
            text = "".join(traceback.format_exception(error))
            record.append(Attempt(number, seconds, changes, type(error).__name__, str(error), text))
            with _carrying(record):
                if not isinstance(error, Exception) or not _may_retry(error, rule, number):
                    raise
                if rule.retry_with is not None:
                    changes = dict(rule.retry_with(number, error, params | changes) or {})
        else:
            record.append(Attempt(number, time.monotonic() - started, changes))
            return record


def _may_retry(error: Exception, rule: Rule, number: int) -> bool:
    if number >= rule.max_retries:
        return False
    if rule.deadline is not None and time.monotonic() >= rule.deadline:
        return False
    return is_worth_another_try(error, rule.retry_on)


def is_worth_another_try(error: BaseException, retry_on: Any) -> bool:
    """Whether `error` is among `retry_on`, and none that every other try would raise too."""
    if isinstance(error, FailedTrialError | ForkedProcessError | InputError):
        return False
    return isinstance(error, Exception) and isinstance(error, _classes(retry_on))


@contextlib.contextmanager
def no_retry() -> Iterator[None]:
    """What is raised inside is about the input, which no retry changes."""
    try:
        yield
    except (ValueError, TypeError) as error:
        # Only the builtin classes themselves: what a subclass is caught by must not change.
        as_input_error = _AS_INPUT_ERROR.get(type(error))
        if as_input_error is None:
            raise
        raise as_input_error(*error.args).with_traceback(error.__traceback__) from error.__cause__


_AS_INPUT_ERROR: dict[type, type[InputError]] = {
    TypeError: InputTypeError,
    ValueError: InputValueError,
}


@contextlib.contextmanager
def _carrying(record: list[Attempt]) -> Iterator[None]:
    """Have whatever is raised inside tell of the attempts."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(AttributeError):  # a class with slots
            error.attempts = record  # type: ignore[attr-defined]
        raise
