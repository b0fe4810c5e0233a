"""Error and warning classes. This module imports nothing of the package."""

from __future__ import annotations

__all__ = [
    "DivergedError",
    "FailedTrialError",
    "FatalError",
    "FatalRuntimeError",
    "FatalTypeError",
    "FatalValueError",
    "ForkedProcessError",
    "InputError",
    "InputTypeError",
    "InputValueError",
    "InvalidScoreError",
    "NotCopyableError",
    "TooManyFailedTrialsError",
    "TrialTimeoutError",
    "UnusedParameterWarning",
    "ValidationSetWarning",
    "WorkerDiedError",
]


class InputError(Exception):
    """Base class of errors about parameters and data, which no retry can avoid.

    Raised as `InputValueError`, a ``ValueError``, or as `InputTypeError`, a ``TypeError``.
    Neither an estimator nor a guarded search retries a fit that raised one.
    """


class InputValueError(InputError, ValueError):
    """A value, or a combination of values, that cannot be used."""


class InputTypeError(InputError, TypeError):
    """An object of a type that cannot be used."""


class FailedTrialError(Exception):
    """The fit failed, and trying again with the same parameters would fail as well.

    For model functions and callbacks to raise. The fit is not retried, whatever `max_retries`
    is; a search assigns ``error_score`` to it and continues. Named as in KerasTuner.
    """


class FatalError(BaseException):
    """Neither this fit nor any other can succeed: the whole search ends.

    For model functions and callbacks to raise. A ``BaseException``, as KeyboardInterrupt is,
    because scikit-learn's searches catch every ``Exception`` of a fit and assign
    ``error_score``; so it ends any search. Catch it with ``except FatalError``. Named as in
    KerasTuner.
    """


class FatalValueError(FatalError):
    """A `FatalError` caused by an invalid value."""


class FatalTypeError(FatalError):
    """A `FatalError` caused by an object of an invalid type."""


class FatalRuntimeError(FatalError):
    """A `FatalError` caused by a failure at run time."""


class DivergedError(RuntimeError):
    """The loss or a weight is no longer finite.

    Raised by ``fit`` if ``on_nan="fail"``, the default.

    Parameters
    ----------
    epoch : int
        0-based epoch in which it was detected.
    metric : str
        ``"loss"``, ``"val_loss"`` or the path of a weight.
    value : float
        NaN or an infinity.
    learning_rate : float, default=None
        Learning rate in `epoch`. None if the optimizer does not report it.

    Attributes
    ----------
    epoch, metric, value, learning_rate
        The parameters.
    """

    def __init__(
        self, epoch: int, metric: str, value: float, learning_rate: float | None = None
    ) -> None:
        super().__init__(epoch, metric, value, learning_rate)
        self.epoch, self.metric, self.value = epoch, metric, value
        self.learning_rate = learning_rate

    def __str__(self) -> str:
        rate = "" if self.learning_rate is None else f" at a learning rate of {self.learning_rate}"
        return (
            f"Training diverged: {self.metric} was {self.value} in epoch {self.epoch}{rate}. Try "
            "a lower learning rate, clipnorm=1.0 in the optimizer, or scaled inputs. "
            "on_nan='stop' keeps the last finite weights; on_nan='ignore' continues, as Keras does."
        )


class ForkedProcessError(RuntimeError):
    """TensorFlow was used before this process was forked; using it would hang indefinitely.

    Parameters
    ----------
    message : str, default=""
        Text of the error. If empty, an explanation of the cause and of ways to avoid it.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message
            or "This process was forked from one that had used TensorFlow. The threads of "
            "TensorFlow do not exist in a forked process, so that any TensorFlow operation would "
            "hang indefinitely. Use joblib's loky backend, which is its default, or the 'spawn' "
            "or 'forkserver' start method of multiprocessing; a server that forks must do so "
            "before the first fit or prediction (gunicorn: without --preload)."
        )


class UnusedParameterWarning(UserWarning):
    """A parameter was given that only qualifies something that the fit does not do."""


class ValidationSetWarning(UserWarning):
    """The validation set is not representative, for example because a class is missing."""


class InvalidScoreError(RuntimeError):
    """The score of a fit is NaN, which ``nan_score="accept"`` of a guarded search allows."""


class NotCopyableError(InputTypeError):
    """An object in the parameters cannot be copied, so that no fit could start from scratch.

    Raised by ``fit``, ``sklearn.base.clone``, ``copy.deepcopy`` and ``pickle``, before any
    training. The message names the object and what to pass instead.
    """


class TooManyFailedTrialsError(RuntimeError):
    """A search ended because too many consecutive trials failed, or all of them.

    Results of finished fits are in ``cv_results_`` of the search, and all failures in
    ``failed_trials_``.
    """


class TrialTimeoutError(TimeoutError):
    """A fit exceeded `trial_timeout`, and its worker process was killed."""


class WorkerDiedError(RuntimeError):
    """The worker process of a fit was killed, crashed or ran out of memory.

    Parameters
    ----------
    exitcode : int, default=None
        As ``multiprocessing.Process.exitcode``: a negative number is that of a signal. None if
        it is unknown.

    Attributes
    ----------
    exitcode : int or None
        The parameter.
    """

    def __init__(self, exitcode: int | None = None) -> None:
        super().__init__(exitcode)
        self.exitcode = exitcode

    def __str__(self) -> str:
        if self.exitcode is None:
            return "worker died"
        if self.exitcode == -9:
            return "worker died (signal 9), possibly because memory ran out"
        if self.exitcode < 0:
            return f"worker died (signal {-self.exitcode})"
        return f"worker died (exit code {self.exitcode})"
