"""Why training ends: what is watched while the epochs run, in either engine."""

from __future__ import annotations

import dataclasses
import difflib
import math
import time
import warnings
from typing import Any

import keras
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skguard._repairs import keras_internals
from skguard.callbacks._revert_weights import RevertWeights
from skguard.callbacks._traits import traits_of
from skguard.exceptions import DivergedError, InputValueError

__all__ = ["ON_NAN", "Limits", "WatchedCallbacks", "uses_monitor"]

ON_NAN = ("fail", "stop", "ignore")

_SECONDS_BETWEEN_LOOKS = 0.25  # at the loss, where Keras would otherwise not convert it

# What decides by a monitored value; Keras's take one that is NaN for the best if it is the first.
_TAKE_NAN_FOR_BEST = (
    keras.callbacks.EarlyStopping,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.ModelCheckpoint,
)
_MONITORS = (*_TAKE_NAN_FOR_BEST, RevertWeights)


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """When training has to end.

    Parameters
    ----------
    on_nan : {"fail", "stop", "ignore"}
        What follows when the loss or a weight is not finite.
    deadline : float or None
        What ``time.monotonic()`` says when time is up.
    """

    on_nan: str = "ignore"
    deadline: float | None = None

    def is_over(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline


class WatchedCallbacks(keras.callbacks.CallbackList):
    """Keras's list of callbacks, and an eye on what Keras lets pass.

    An epoch that is not whole, because time was up, or whose numbers are not finite, is not
    told to the callbacks: it is in no history, and cannot be the best one.

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
        How many whole epochs there were.
    weights_are_current : bool
        Whether the model is as after the epoch that the callbacks are told of. Whoever runs
        several epochs at once says so, and calls `check_weights` afterwards.
    rate_is_fixed : bool
        Whether no callback can have changed the learning rate since the last epoch.
    steps_ahead : int
        By how many gradient steps the optimizer is past that epoch.
    learning_rates : list of float
        The rate of the last step of each epoch, where the optimizer tells it.
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
        self.weights_are_current = True
        self.rate_is_fixed = False
        self.steps_ahead = 0
        self.learning_rates: list[float] = []
        self._limits = limits
        self._reason: str | None = None
        self._epoch = 0
        self._is_cut = False
        self._looked = time.monotonic()
        self._checked: set[int] = set()  # monitors whose name was found among the logs
        self._has_seen_number: set[int] = set()
        self._has_seen_nan: set[int] = set()
        self._lowest_loss: tuple[float, int] | None = None
        self._first_epoch: int | None = None
        self._weights: list[Any] = []  # which were finite when training began
        self._finite: list[np.ndarray] | None = None
        self._told: list[keras.callbacks.Callback] = []
        self._each = keras.callbacks.LambdaCallback(on_epoch_end=self._end_epoch)

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        if self._limits.on_nan != "ignore":
            # A mask, say, may be infinite on purpose.
            weights = [v for v in self.model.weights if "float" in str(v.dtype)]
            self._weights = [v for v in weights if not _not_finite(v)]
        self._keep_finite()

    def on_train_end(self, logs: Any = None) -> None:
        # Where early stopping restores weights, these are the last word.
        self.callbacks = sorted(self.callbacks, key=lambda c: not isinstance(c, RevertWeights))
        super().on_train_end(logs)
        self.check_weights()
        for callback in self.callbacks:
            if id(callback) in self._has_seen_nan - self._has_seen_number:
                warnings.warn(
                    f"monitor={callback.monitor!r} of {type(callback).__name__} was NaN in every "
                    "epoch, so that it had nothing to go by.",
                    ConvergenceWarning,
                    stacklevel=2,
                )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._first_epoch is None:
            self._first_epoch = epoch
        self._epoch = epoch
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        super().on_train_batch_end(batch, logs)
        if batch + 1 != self.params.get("steps") and self._is_time_to_look():
            self.look(logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        super().on_test_batch_end(batch, logs)
        if not self._is_cut and self._limits.is_over():
            self._cut("time_budget")
        if self._is_cut:
            self.model.stop_evaluating = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self._is_cut and self._is_strict:
            self._check_losses(logs or {})
            if self.weights_are_current and not self._is_cut:
                self.check_weights()
        if self._is_cut:
            return
        self._keep_finite()  # a callback may spoil them, or put them right
        everyone = self.callbacks
        self._told, self.callbacks = everyone, [self._each]
        try:
            super().on_epoch_end(epoch, logs)
        finally:
            self.callbacks = everyone
        if not self._is_strict:
            self.check_weights()
        self.n_epochs += 1
        self._keep_finite()
        is_last = epoch + 1 == self.params.get("epochs")
        if self._limits.is_over() and not self.model.stop_training and not is_last:
            self._reason = "time_budget"
            self.model.stop_training = True

    def _end_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        rate = self._rate()
        if rate is not None:
            self.learning_rates.append(rate)
        for callback in self._told:
            if uses_monitor(callback):
                self._check_monitor(callback, epoch, logs)
                if isinstance(callback, _TAKE_NAN_FOR_BEST) and not self._may_see(callback, logs):
                    continue
            callback.on_epoch_end(epoch, logs)
        loss = _number(logs.get("val_loss"))
        if not math.isnan(loss) and (self._lowest_loss is None or loss < self._lowest_loss[0]):
            self._lowest_loss = (loss, epoch)

    def _rate(self) -> float | None:
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        schedule = keras_internals.schedule_of(optimizer)
        if schedule is not None:
            steps = keras_internals.steps_taken(optimizer) - self.steps_ahead
            return _number(schedule(max(steps - 1, 0)))
        if self.rate_is_fixed and self.learning_rates:
            return self.learning_rates[-1]
        rate = getattr(optimizer, "learning_rate", None)
        return float(_array(rate)) if isinstance(rate, keras.Variable) else None

    @property
    def stop_reason(self) -> str:
        """Why training ended, in a word of `skguard`'s."""
        if self._reason is not None:
            return self._reason
        if not self.model.stop_training:
            return "max_epochs"
        stopped = [
            c
            for c in self.callbacks
            if isinstance(c, keras.callbacks.EarlyStopping) and c.stopped_epoch > 0
        ]
        return "early_stopping" if stopped else "callback"

    @property
    def best_epoch(self) -> int | None:
        """Which epoch was the best, counted from the first of this training.

        By the early stopping whose weights the model ends with, or else by ``val_loss``.
        """
        if self._first_epoch is None:
            return None
        stops = [c for c in self.callbacks if isinstance(c, keras.callbacks.EarlyStopping)]
        if stops:
            # The last that restores its weights has the last word on the model.
            stop = max(enumerate(stops), key=lambda s: (s[1].restore_best_weights, s[0]))[1]
            if getattr(stop, "best", None) is None or self.n_epochs == 0:
                return None
            return int(stop.best_epoch) - self._first_epoch
        return None if self._lowest_loss is None else self._lowest_loss[1] - self._first_epoch

    @property
    def is_cut(self) -> bool:
        """Whether the epoch that runs is to end here, and not to count."""
        return self._is_cut

    @property
    def _is_strict(self) -> bool:
        """Whether a loss that is not finite ends training, and no callback puts it right."""
        return self._limits.on_nan != "ignore" and not any(
            traits_of(callback).tolerates_nan for callback in self.callbacks
        )

    @property
    def needs_every_epoch(self) -> bool:
        """Whether the model must be as after an epoch when the callbacks are told of it."""
        return self._limits.on_nan == "stop"

    def look(self, logs: Any) -> None:
        """See in the middle of an epoch whether it has to end."""
        if self._is_strict:
            self._check_losses(logs or {})
        if not self._is_cut and self._limits.is_over():
            self._cut("time_budget")

    def _is_time_to_look(self) -> bool:
        now = time.monotonic()
        if now - self._looked < _SECONDS_BETWEEN_LOOKS and not self._limits.is_over():
            return False
        self._looked = now
        return True

    def _check_losses(self, logs: dict[str, Any]) -> None:
        for name in ("loss", "val_loss"):
            value = _number(logs[name]) if name in logs else 0.0
            if not math.isfinite(value):
                self._diverge(name, value)
                return

    def check_weights(self) -> None:
        """See whether the model's weights are finite."""
        if self._limits.on_nan == "ignore":
            return
        wrong = self._weight_that_is_not_finite()
        if wrong is not None:
            self._diverge(*wrong)

    def _weight_that_is_not_finite(self) -> tuple[str, float] | None:
        for variable in self._weights:
            wrong = _not_finite(variable)
            if wrong:
                return f"the weight {variable.path}", wrong[0]
        return None

    def _diverge(self, name: str, value: float) -> None:
        rate = getattr(self.model.optimizer, "learning_rate", None)
        error = DivergedError(self._epoch, name, value, _number(rate) if rate is not None else None)
        if self._limits.on_nan == "fail":
            raise error
        if self._finite is not None:
            for variable, values in zip(self._all_variables(), self._finite, strict=False):
                variable.assign(values)
        self._cut("diverged")
        warnings.warn(
            f"{str(error).partition(' Try')[0]} Training stopped there, and the weights are those "
            f"of the last finite epoch{'' if self.n_epochs else ': the ones it began with'}.",
            ConvergenceWarning,
            stacklevel=2,
        )

    def _keep_finite(self) -> None:
        if self._limits.on_nan == "stop" and self._weight_that_is_not_finite() is None:
            self._finite = [np.copy(_array(v)) for v in self._all_variables()]

    def _all_variables(self) -> list[Any]:
        model = self.model
        return [*model.variables, *(model.optimizer.variables if model.optimizer else [])]

    def _cut(self, reason: str) -> None:
        self._is_cut = True
        self._reason = reason
        self.model.stop_training = True

    def _check_monitor(
        self, callback: keras.callbacks.Callback, epoch: int, logs: dict[str, Any]
    ) -> None:
        if id(callback) in self._checked:
            return
        monitor = callback.monitor
        if monitor in logs:
            self._checked.add(id(callback))
            return
        was_evaluated = any(name.startswith("val_") for name in logs)
        scores = {getattr(callback, "logged_as", None) for callback in self._told}
        is_known = monitor[4:] in logs or monitor in scores
        if monitor.startswith("val_") and not was_evaluated and is_known:
            return  # validation_freq: it comes with another epoch
        closest = difflib.get_close_matches(monitor, logs, n=3, cutoff=0.5)
        advice = f" Did you mean {' or '.join(map(repr, closest))}?" if closest else ""
        raise InputValueError(
            f"monitor={monitor!r} of {type(callback).__name__} is not among the values logged "
            f"in epoch {epoch}: {sorted(logs)}.{advice}"
        )

    def _may_see(self, callback: keras.callbacks.Callback, logs: dict[str, Any]) -> bool:
        """Whether a value is fit to be compared: Keras would take a first NaN as the best."""
        if callback.monitor not in logs:
            return False  # an epoch without validation, of which Keras would warn each time
        if id(callback) not in self._has_seen_number:
            if math.isnan(_number(logs[callback.monitor])):
                self._has_seen_nan.add(id(callback))
                return False
            self._has_seen_number.add(id(callback))
        return True


def uses_monitor(callback: Any) -> bool:
    """Whether `callback` is one that is known to decide by the value of its ``monitor``."""
    if isinstance(callback, keras.callbacks.ModelCheckpoint) and not callback.save_best_only:
        return False
    return isinstance(callback, _MONITORS) and isinstance(callback.monitor, str)


def _not_finite(variable: Any) -> list[float]:
    """One of a variable's values that are not finite, if there are any."""
    values = _array(variable)
    if values.dtype.kind == "V":  # bfloat16, of which NumPy knows nothing
        values = values.astype("float32")
    is_finite = np.isfinite(values)
    return [] if is_finite.all() else [float(values[~is_finite][0])]


def _array(variable: Any) -> np.ndarray:
    """The values of a Keras variable, without a copy where they lie in the main memory."""
    if keras.config.backend() == "tensorflow":
        return variable.value.numpy()  # keras.ops.convert_to_numpy takes a copy
    return keras.ops.convert_to_numpy(variable.value)


def _number(value: Any) -> float:
    """A logged value as a float; 0 for what is no number, such as a matrix."""
    if isinstance(value, float | int):
        return float(value)
    if value is None:
        return math.nan
    try:
        return float(keras.ops.convert_to_numpy(value))
    except (TypeError, ValueError):
        return 0.0
