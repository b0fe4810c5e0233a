"""Retries: a fit that fails is tried again from scratch, and every attempt is recorded."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import numbers
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from skguard.exceptions import (
    FailedTrialError,
    ForkedProcessError,
    InputError,
    InputTypeError,
    InputValueError,
)

__all__ = [
    "Attempt",
    "RetryRule",
    "check_rule",
    "input_errors",
    "is_pruning",
    "is_worth_another_try",
    "run",
    "with_record",
]

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a fit.

    Parameters
    ----------
    number : int
        0-based.
    seconds : float
        Duration.
    changes : dict
        Parameters that ``retry_with`` changed for this attempt alone.
    error : str or None
        Name of the class of the error that was raised; None for the attempt that succeeded.
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
class RetryRule:
    """Conditions under which a failed fit is tried again.

    Parameters
    ----------
    max_retries : int
    retry_on : exception class or sequence of them
    retry_with : callable or None
        Called with the number of the attempt that failed, its error and its parameters; returns
        the parameters to change for the next attempt.
    deadline : float or None
        Time of ``time.monotonic`` after which nothing is tried again.
    """

    max_retries: int
    retry_on: type[Exception] | Sequence[type[Exception]]
    retry_with: Callable[[int, Exception, dict[str, Any]], Mapping[str, Any] | None] | None
    deadline: float | None = None

    def allows(self, error: BaseException, number: int) -> bool:
        """Return whether attempt `number`, 0-based, may be followed by another."""
        if number >= self.max_retries:
            return False
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return False
        return is_worth_another_try(error, self.retry_on)


def check_rule(max_retries: Any, retry_on: Any, retry_with: Any) -> list[str]:
    """Return what is wrong with the parameters, one sentence per problem."""
    problems = []
    is_int = isinstance(max_retries, numbers.Integral) and not isinstance(max_retries, bool)
    if not is_int or max_retries < 0:
        problems.append(f"max_retries={max_retries!r} must be an int of 0 or more.")
    if not all(inspect.isclass(c) and issubclass(c, Exception) for c in _classes(retry_on)):
        problems.append(
            f"retry_on={retry_on!r} must be a subclass of Exception, or a tuple of them. Other "
            "exceptions, such as FatalError and KeyboardInterrupt, always end the search."
        )
    if retry_with is not None and not callable(retry_with):
        problems.append(
            f"retry_with={retry_with!r} must be a function of (attempt, error, params) that "
            "returns the parameters to change, or None."
        )
    return problems


def _classes(retry_on: Any) -> tuple[Any, ...]:
    return tuple(retry_on) if isinstance(retry_on, tuple | list) else (retry_on,)


def run(
    attempt: Callable[[int, dict[str, Any]], _Result], rule: RetryRule, params: dict[str, Any]
) -> tuple[_Result, list[Attempt]]:
    """Call `attempt` until it succeeds or must not be tried again.

    Parameters
    ----------
    attempt : callable
        Takes the number of the attempt and the parameters to change. Changes nothing outside
        its result.
    rule : RetryRule
    params : dict
        Parameters of the estimator, for ``retry_with``.

    Returns
    -------
    result : object
        Result of the attempt that succeeded.
    record : list of Attempt
        The last one succeeded.

    Raises
    ------
    BaseException
        Raised by the last attempt or by ``retry_with``, with the list of all attempts as its
        attribute ``attempts``.
    """
    record: list[Attempt] = []
    changes: dict[str, Any] = {}
    while True:
        number, started = len(record), time.monotonic()
        try:
            result = attempt(number, changes)
        except BaseException as error:
            seconds = time.monotonic() - started
            text = "".join(traceback.format_exception(error))
            record.append(Attempt(number, seconds, changes, type(error).__name__, str(error), text))
            with with_record(record):
                if not isinstance(error, Exception) or not rule.allows(error, number):
                    raise
                if rule.retry_with is not None:
                    changes = dict(rule.retry_with(number, error, params | changes) or {})
        else:
            record.append(Attempt(number, time.monotonic() - started, changes))
            return result, record


# Errors of other libraries that end one trial, or a search, by decision, by package and class.
_PRUNING = {"optuna": {"TrialPruned"}, "ray": {"_TuneStopTrialError"}}
_FINAL = _PRUNING | {
    "keras_tuner": {"FailedTrialError", "FatalError"},
    "kerastuner": {"FailedTrialError", "FatalError"},
}


def _is_one_of(error: BaseException, names: Mapping[str, set[str]]) -> bool:
    """Return whether the class of an error, or a base of it, has one of the names."""
    return any(
        cls.__name__ in names.get((cls.__module__ or "").partition(".")[0], ())
        for cls in type(error).__mro__
    )


def is_pruning(error: BaseException) -> bool:
    """Return whether a search of another library ends a trial that is not promising."""
    return _is_one_of(error, _PRUNING)


def is_worth_another_try(error: BaseException, retry_on: Any) -> bool:
    """Return whether another try at the fit that raised `error` may succeed.

    Never after `InputError`, `FailedTrialError` and `ForkedProcessError`, their counterparts in
    Optuna, Ray Tune and KerasTuner, nor after an error that an estimator raised before its first
    attempt, whatever `retry_on`.
    """
    if isinstance(error, FailedTrialError | ForkedProcessError | InputError):
        return False
    if _is_one_of(error, _FINAL):
        return False
    if getattr(error, "attempts", None) == []:
        return False
    return isinstance(error, Exception) and isinstance(error, _classes(retry_on))


@contextlib.contextmanager
def input_errors() -> Iterator[None]:
    """Raise a ValueError or TypeError about the input as an `InputError`.

    For the validation of parameters and data, much of which is scikit-learn's. Subclasses are
    raised as they are, so that whatever catches them still does.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        as_input_error = _AS_INPUT_ERROR.get(type(error))
        if as_input_error is None:
            raise
        raise as_input_error(*error.args).with_traceback(error.__traceback__) from error.__cause__


_AS_INPUT_ERROR: dict[type, type[InputError]] = {
    TypeError: InputTypeError,
    ValueError: InputValueError,
}


@contextlib.contextmanager
def with_record(record: list[Attempt]) -> Iterator[None]:
    """Attach the attempts to any exception raised inside."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(AttributeError):  # a class with slots
            error.attempts = record  # type: ignore[attr-defined]
        raise
