"""Monitoring of a training, in either engine: time, numbers that are not finite, best epoch."""

from __future__ import annotations

import dataclasses
import enum
import math
import time
from collections.abc import Sequence
from typing import Any

import keras
from sklearn.exceptions import ConvergenceWarning

from skguard._engine.divergence import WeightCheck
from skguard._repairs import keras_internals
from skguard._suggestions import did_you_mean
from skguard._warnings import warn
from skguard.callbacks._traits import Traits, has_trait, monitored_metric, traits_of
from skguard.exceptions import DivergedError, InputValueError

__all__ = [
    "ON_NAN",
    "EpochContext",
    "Limits",
    "MonitoredCallbacks",
    "OnNan",
    "StopReason",
    "uses_monitor",
]

# Interval at which the loss and the time are checked within an epoch. Keras keeps the loss on the
# device between two epochs, and each check transfers it.
_SECONDS_BETWEEN_CHECKS = 0.25


class OnNan(str, enum.Enum):
    """Values of the parameter ``on_nan``: the consequence of numbers that are not finite."""

    FAIL = "fail"
    STOP = "stop"
    IGNORE = "ignore"

    __str__ = str.__str__


ON_NAN = tuple(choice.value for choice in OnNan)


class StopReason(str, enum.Enum):
    """Why a training ended."""

    MAX_EPOCHS = "max_epochs"
    EARLY_STOPPING = "early_stopping"
    TIME_BUDGET = "time_budget"
    DIVERGED = "diverged"
    CALLBACK = "callback"

    __str__ = str.__str__


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """When training has to end before its last epoch.

    Parameters
    ----------
    on_nan : {"fail", "stop", "ignore"}, default="ignore"
        What to do when the loss or a weight is not finite: raise `DivergedError`, end training
        with the weights of the last finite epoch, or nothing.
    deadline : float or None, default=None
        Time at which training ends, on the clock of ``time.monotonic()``, in seconds.
    soft_deadline : float or None, default=None
        Time at which it ends once `min_epochs` epochs are complete.
    min_epochs : int, default=0
    """

    on_nan: str = OnNan.IGNORE.value
    deadline: float | None = None
    soft_deadline: float | None = None
    min_epochs: int = 0

    def is_over(self, n_epochs: int) -> bool:
        """Whether a deadline has passed that applies after `n_epochs` epochs."""
        if self.deadline is None and self.soft_deadline is None:
            return False
        deadlines = [self.deadline]
        if n_epochs >= self.min_epochs:
            deadlines.append(self.soft_deadline)
        now = time.monotonic()
        return any(deadline is not None and now >= deadline for deadline in deadlines)


@dataclasses.dataclass(frozen=True, slots=True)
class EpochContext:
    """How the state of the model relates to the epoch that is reported to the callbacks.

    The defaults hold where the callbacks are called right after the epoch. An engine that runs
    several epochs at once reports them afterwards, when the model is ahead.

    Parameters
    ----------
    weights_are_current : bool, default=True
        Whether the weights are those at the end of the epoch. If not, the engine calls
        `MonitoredCallbacks.check_weights` after the last of the epochs.
    learning_rate_is_fixed : bool, default=False
        Whether no callback can have changed the learning rate since the last epoch.
    n_steps_ahead : int, default=0
        Number of gradient steps that the optimizer has taken since the end of the epoch.
    """

    weights_are_current: bool = True
    learning_rate_is_fixed: bool = False
    n_steps_ahead: int = 0


_RIGHT_AFTER_EPOCH = EpochContext()


class MonitoredCallbacks(keras.callbacks.CallbackList):
    """List of callbacks that ends training where Keras would not.

    An epoch that is not whole because time was up, or whose numbers are not finite, is not
    reported to the callbacks: it is in no history, and cannot be the best one.

    Parameters
    ----------
    callbacks : keras.callbacks.Callback, nested lists of them, or None
    model : keras.Model
    limits : Limits
    verbose : {0, 1, 2, "auto"}
    **params : dict
        ``epochs`` and ``steps``, which callbacks find in their ``params``.

    Attributes
    ----------
    n_epochs : int
        Number of whole epochs.
    is_cut : bool
        Whether the current epoch has to end now, and does not count.
    learning_rates : list of float
        Learning rate of the last step of each epoch, if the optimizer reports it.
    """

    callbacks: list[keras.callbacks.Callback]

    def __init__(
        self,
        callbacks: Any,
        model: keras.Model,
        limits: Limits,
        verbose: int | str,
        **params: Any,
    ) -> None:
        super().__init__(
            callbacks,
            add_history=True,
            add_progbar=verbose != 0,
            model=model,
            verbose=verbose,
            **params,
        )
        self.n_epochs = 0
        self.is_cut = False
        self.learning_rates: list[float] = []
        self._limits = limits
        # A callback may repair a loss that is not finite, and decides then.
        self._is_strict = limits.on_nan != OnNan.IGNORE and not has_trait(
            self.callbacks, "tolerates_nan"
        )
        self._stop_reason: StopReason | None = None
        self._checked_at = time.monotonic()
        self._weights: WeightCheck | None = None
        self._metrics = _MonitoredMetrics(self.callbacks)
        self._first_epoch: int | None = None
        self._epoch = 0
        self._lowest_loss: tuple[float, int] | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        if self._limits.on_nan != OnNan.IGNORE:
            self._weights = WeightCheck(self.model)
        self._save_if_finite()

    def on_train_end(self, logs: Any = None) -> None:
        self.callbacks = sorted(self.callbacks, key=lambda c: traits_of(c).order_at_end)
        super().on_train_end(logs)
        self.check_weights()
        self._metrics.warn_of_nan()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._first_epoch is None:
            self._first_epoch = epoch
        self._epoch = epoch
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        super().on_train_batch_end(batch, logs)
        if batch + 1 != self.params.get("steps") and self._is_time_to_check():
            self.check_within_epoch(logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        super().on_test_batch_end(batch, logs)
        if not self.is_cut and self._limits.is_over(self.n_epochs):
            self._cut(StopReason.TIME_BUDGET)
        if self.is_cut:
            self.model.stop_evaluating = True

    def on_epoch_end(
        self, epoch: int, logs: Any = None, context: EpochContext = _RIGHT_AFTER_EPOCH
    ) -> None:
        if not self.is_cut and self._is_strict:
            self._check_losses(logs or {})
            if context.weights_are_current and not self.is_cut:
                self.check_weights()
        if self.is_cut:
            return
        self._save_if_finite()  # before callbacks, which may make weights infinite
        self._call_epoch_end(epoch, logs, context)
        if not self._is_strict:
            self.check_weights()
        self.n_epochs += 1
        self._save_if_finite()  # and after them, as they may set the weights
        is_last = epoch + 1 == self.params.get("epochs")
        if self._limits.is_over(self.n_epochs) and not self.model.stop_training and not is_last:
            self._stop_reason = StopReason.TIME_BUDGET
            self.model.stop_training = True

    def _call_epoch_end(self, epoch: int, logs: Any, context: EpochContext) -> None:
        """Let the base class convert the logs, and call each callback as `_notify` does.

        The base class waits for batch hooks that run in threads and converts the logs by private
        functions (keras.src.utils.python_utils, keras 3.8 to 3.15), and then calls the callbacks
        in its list: here a single one, which stands for all.
        """
        callbacks = self.callbacks

        def notify(epoch: int, logs: dict[str, Any]) -> None:
            self._notify(callbacks, epoch, logs, context)

        self.callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=notify)]
        try:
            super().on_epoch_end(epoch, logs)
        finally:
            self.callbacks = callbacks

    def _notify(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        epoch: int,
        logs: dict[str, Any],
        context: EpochContext,
    ) -> None:
        learning_rate = self._learning_rate(context)
        if learning_rate is not None:
            self.learning_rates.append(learning_rate)
        for callback in callbacks:
            if self._metrics.can_be_called(callback, epoch, logs):
                callback.on_epoch_end(epoch, logs)
        loss = _as_float(logs.get("val_loss"))
        if not math.isnan(loss) and (self._lowest_loss is None or loss < self._lowest_loss[0]):
            self._lowest_loss = (loss, epoch)

    def _learning_rate(self, context: EpochContext) -> float | None:
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        schedule = keras_internals.schedule_of(optimizer)
        if schedule is not None:
            n_steps = keras_internals.steps_taken(optimizer) - context.n_steps_ahead
            return _as_float(schedule(max(n_steps - 1, 0)))
        if context.learning_rate_is_fixed and self.learning_rates:
            return self.learning_rates[-1]
        learning_rate = getattr(optimizer, "learning_rate", None)
        if not isinstance(learning_rate, keras.Variable):
            return None
        return float(keras_internals.values_of(learning_rate))

    @property
    def history(self) -> dict[str, list[float]]:
        """One value per metric and whole epoch."""
        logged: dict[str, list[float]] = self._history.history
        return logged

    @property
    def stop_reason(self) -> StopReason:
        """Why training ended."""
        if self._stop_reason is not None:
            return self._stop_reason
        if not self.model.stop_training:
            return StopReason.MAX_EPOCHS
        if any(callback.stopped_epoch > 0 for callback in self._early_stopping()):
            return StopReason.EARLY_STOPPING
        return StopReason.CALLBACK

    @property
    def has_early_stopping(self) -> bool:
        """Whether an early-stopping callback decides which epoch is the best."""
        return bool(self._early_stopping())

    @property
    def best_epoch(self) -> int | None:
        """The best epoch, counted from the first one of this training, 0-based.

        As the early stopping has it whose weights the model ends with, or else the epoch with the
        lowest ``val_loss``. None if there is neither.
        """
        if self._first_epoch is None:
            return None
        callbacks = self._early_stopping()
        if callbacks:
            # All are called when training ends, so the last one that restores weights decides.
            _, decides = max(enumerate(callbacks), key=lambda c: (c[1].restore_best_weights, c[0]))
            if getattr(decides, "best", None) is None or self.n_epochs == 0:
                return None
            return int(decides.best_epoch) - self._first_epoch
        return None if self._lowest_loss is None else self._lowest_loss[1] - self._first_epoch

    def _early_stopping(self) -> list[Any]:
        return [callback for callback in self.callbacks if traits_of(callback).stops_early]

    @property
    def needs_every_epoch(self) -> bool:
        """Whether epochs must be reported right after they were run.

        To go back to the last finite epoch, its state is copied when it is reported.
        """
        return self._limits.on_nan == OnNan.STOP

    def check_within_epoch(self, logs: Any) -> None:
        """Check loss and time between two batches of an epoch, and cut it if it has to end."""
        if self._is_strict:
            self._check_losses(logs or {})
        if not self.is_cut and self._limits.is_over(self.n_epochs):
            self._cut(StopReason.TIME_BUDGET)

    def _is_time_to_check(self) -> bool:
        now = time.monotonic()
        if now - self._checked_at < _SECONDS_BETWEEN_CHECKS and not self._limits.is_over(
            self.n_epochs
        ):
            return False
        self._checked_at = now
        return True

    def _check_losses(self, logs: dict[str, Any]) -> None:
        for name in ("loss", "val_loss"):
            value = _as_float(logs[name]) if name in logs else 0.0
            if not math.isfinite(value):
                self._diverge(name, value)
                return

    def check_weights(self) -> None:
        """Check whether the model's weights are finite, unless that is ignored."""
        found = None if self._weights is None else self._weights.first_not_finite()
        if found is not None:
            path, value = found
            self._diverge(f"the weight {path}", value)

    def _save_if_finite(self) -> None:
        if self._weights is not None and self._limits.on_nan == OnNan.STOP:
            self._weights.save_if_finite()

    def _diverge(self, name: str, value: float) -> None:
        learning_rate = getattr(self.model.optimizer, "learning_rate", None)
        error = DivergedError(
            self._epoch, name, value, None if learning_rate is None else _as_float(learning_rate)
        )
        if self._limits.on_nan == OnNan.FAIL:
            raise error
        if self._weights is not None:
            self._weights.restore()
        self._cut(StopReason.DIVERGED)
        warn(
            f"{str(error).partition(' Try')[0]} Training stopped there, and the weights are those "
            f"of the last finite epoch{'' if self.n_epochs else ': the ones it began with'}.",
            ConvergenceWarning,
        )

    def _cut(self, reason: StopReason) -> None:
        self.is_cut = True
        self._stop_reason = reason
        self.model.stop_training = True


class _MonitoredMetrics:
    """Checks of the metrics that callbacks monitor.

    Keras warns once per epoch about a metric that is not logged, or not at all, and its callbacks
    take a first value of NaN as the best one, so that nothing is better afterwards.

    Parameters
    ----------
    callbacks : list of keras.callbacks.Callback
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        self._callbacks = callbacks
        # Looked up once: `can_be_called` is on the path of every epoch.
        self._traits: dict[int, Traits] = {
            id(callback): traits
            for callback in callbacks
            if (traits := traits_of(callback)).monitors
        }
        self._found: set[int] = set()  # callbacks whose metric was logged
        self._seen_number: set[int] = set()
        self._seen_nan: set[int] = set()

    def can_be_called(
        self, callback: keras.callbacks.Callback, epoch: int, logs: dict[str, Any]
    ) -> bool:
        """Whether to report an epoch to a callback.

        Raises
        ------
        InputValueError
            If it monitors a metric that is not logged.
        """
        traits = self._traits.get(id(callback))
        if traits is None:
            return True
        monitor = monitored_metric(callback)
        if monitor is None:
            return True
        self._check_is_logged(callback, monitor, epoch, logs)
        return not traits.keeps_first_nan or self._is_comparable(callback, monitor, logs)

    def _check_is_logged(
        self, callback: keras.callbacks.Callback, monitor: str, epoch: int, logs: dict[str, Any]
    ) -> None:
        if id(callback) in self._found:
            return
        if monitor in logs:
            self._found.add(id(callback))
            return
        was_validated = any(name.startswith("val_") for name in logs)
        scores = {getattr(callback, "logged_as", None) for callback in self._callbacks}
        is_known = monitor[4:] in logs or monitor in scores
        if monitor.startswith("val_") and not was_validated and is_known:
            return  # with validation_freq, another epoch will have it
        advice = _advice_on_metric(monitor) or did_you_mean(monitor, logs, cutoff=0.5)
        raise InputValueError(
            f"monitor={monitor!r} of {type(callback).__name__} is not among the values logged "
            f"in epoch {epoch}: {sorted(logs)}.{advice}"
        )

    def _is_comparable(
        self, callback: keras.callbacks.Callback, monitor: str, logs: dict[str, Any]
    ) -> bool:
        if monitor not in logs:
            return False  # an epoch without validation, about which Keras would warn each time
        if id(callback) not in self._seen_number:
            if math.isnan(_as_float(logs[monitor])):
                self._seen_nan.add(id(callback))
                return False
            self._seen_number.add(id(callback))
        return True

    def warn_of_nan(self) -> None:
        """Warn of callbacks whose metric was never a number."""
        for callback in self._callbacks:
            if id(callback) in self._seen_nan - self._seen_number:
                warn(
                    f"monitor={callback.monitor!r} of {type(callback).__name__} was NaN in every "
                    "epoch, so the callback did nothing.",
                    ConvergenceWarning,
                )


def _advice_on_metric(monitor: str) -> str:
    """Return the advice to compile a metric of Keras, empty if `monitor` is not one."""
    name = monitor.removeprefix("val_")
    try:
        keras.metrics.get(name)
    except ValueError:
        if name not in _CHOSEN_BY_KERAS:
            return ""
    return f" Pass metrics=[{name!r}], or compile the model with it."


_CHOSEN_BY_KERAS = ("acc", "accuracy", "ce", "crossentropy")  # functions that depend on the loss


def uses_monitor(callback: Any) -> bool:
    """Whether a callback compares the metric named by its ``monitor`` between epochs."""
    return monitored_metric(callback) is not None


def _as_float(value: Any) -> float:
    """Return a logged value as a float; 0 if it is not a single number, such as a matrix."""
    if isinstance(value, float | int):
        return float(value)
    if value is None:
        return math.nan
    try:
        return float(keras.ops.convert_to_numpy(value))
    except (TypeError, ValueError):
        return 0.0
