"""The errors and warnings of this package. It imports nothing of the package."""

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
    "NotCopyableError",
    "TooManyFailedTrialsError",
    "TrialTimeoutError",
    "ValidationSetWarning",
    "WorkerDiedError",
]


class InputError(Exception):
    """Base class of errors about the input, which no retry can avoid.

    Raised as `InputValueError` or `InputTypeError`, which are a ``ValueError`` and a
    ``TypeError``. Neither an estimator nor a guarded search retries a fit that raised one.
    """


class InputValueError(InputError, ValueError):
    """A value, or a combination of values, that cannot be used."""


class InputTypeError(InputError, TypeError):
    """An object of a type that cannot be used."""


class FailedTrialError(Exception):
    """This setting cannot work: the fit has failed, and trying again would not help.

    For model functions and callbacks to raise. A search gives the fit its ``error_score`` and
    goes on, whatever ``max_retries`` is. The name and the meaning are KerasTuner's.
    """


class FatalError(BaseException):
    """Nothing can work: the whole search ends here.

    For model functions and callbacks to raise. It is no ``Exception``, as KeyboardInterrupt is
    none, because scikit-learn's searches turn every ``Exception`` in a fit into a score; so it
    ends any search at once, whatever ``error_score``. Catch it with ``except FatalError``. The
    name and the meaning are KerasTuner's.
    """


class FatalValueError(FatalError):
    """A `FatalError` about a value."""


class FatalTypeError(FatalError):
    """A `FatalError` about a type."""


class FatalRuntimeError(FatalError):
    """A `FatalError` about what happened while running."""


class DivergedError(RuntimeError):
    """The loss or a weight was not finite any more.

    Parameters
    ----------
    epoch : int
        In which it was seen, counted from 0.
    metric : str
        What was not finite: ``"loss"``, ``"val_loss"`` or the path of a weight.
    value : float
        What it was: NaN or an infinity.
    learning_rate : float or None
        At that time, where the optimizer tells it.
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
            "on_nan='stop' keeps the last finite weights, on_nan='ignore' trains on as Keras does."
        )


class ForkedProcessError(RuntimeError):
    """TensorFlow was used before this process was forked, and would hang in it for ever."""

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message
            or "This process was forked from one that had used TensorFlow. TensorFlow's threads "
            "do not live on in a forked process, so that whatever asks it for something hangs for "
            "ever. Use joblib's loky backend, which is its default, or multiprocessing's 'spawn' "
            "or 'forkserver' start method; a server that forks must do so before the first fit or "
            "prediction (gunicorn: without --preload)."
        )


class ValidationSetWarning(UserWarning):
    """The rows that were held out are not what they should be."""


class NotCopyableError(InputTypeError):
    """An object in the parameters cannot be copied, so no fit could start fresh.

    Raised by ``fit``, ``sklearn.base.clone``, ``copy.deepcopy`` and ``pickle``, before any
    training. The message names the object and says what to pass instead.
    """


class TooManyFailedTrialsError(RuntimeError):
    """A search ended because too many of its trials failed, one after the other.

    What had finished is in the search's ``cv_results_``, every failure in ``failed_trials_``.
    """


class TrialTimeoutError(TimeoutError):
    """A fit took longer than ``trial_timeout``; its worker process was killed."""


class WorkerDiedError(RuntimeError):
    """The worker process in which a fit ran is no more: killed, crashed or out of memory.

    Parameters
    ----------
    exitcode : int or None
        As ``multiprocessing.Process.exitcode``: the negative number of a signal; None if unknown.
    """

    def __init__(self, exitcode: int | None = None) -> None:
        super().__init__(exitcode)
        self.exitcode = exitcode

    def __str__(self) -> str:
        if self.exitcode is None:
            return "worker died"
        if self.exitcode == -9:
            return "worker died (signal 9), as one that takes too much memory does"
        if self.exitcode < 0:
            return f"worker died (signal {-self.exitcode})"
        return f"worker died (exit code {self.exitcode})"
