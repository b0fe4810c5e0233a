"""Return to earlier weights when a monitored metric gets worse."""

from __future__ import annotations

import dataclasses
import logging
import math
import numbers
from collections.abc import Sequence
from typing import Any

import keras

from skguard.callbacks._traits import Traits
from skguard.exceptions import InputValueError

__all__ = ["Revert", "RevertWeights"]

_LOGGER = logging.getLogger(__name__)

_CHOICES = {
    "mode": ("auto", "min", "max"),
    "to": ("previous", "best"),
    "on_max": ("stop", "continue"),
}

# Parts of names of metrics for which a higher, or a lower, value is better.
_HIGHER = ("acc", "auc", "precision", "recall", "f1", "r2", "iou", "score", "similarity")
_LOWER = ("loss", "error", "mse", "mae", "rmse", "crossentropy", "deviance", "poisson", "hinge")


@dataclasses.dataclass(frozen=True, slots=True)
class Revert:
    """Record of one return to an earlier state.

    Parameters
    ----------
    epoch : int
        0-based epoch at whose end the state was restored.
    value : float
        Monitored value in `epoch`.
    reference : float
        Monitored value that `value` was compared with, the one in `to_epoch`.
    to_epoch : int
        0-based epoch whose final state was restored.
    learning_rate : float or None
        Learning rate afterwards. None if a schedule sets it.
    """

    epoch: int
    value: float
    reference: float
    to_epoch: int
    learning_rate: float | None


class RevertWeights(keras.callbacks.Callback):
    """Restore the state of an earlier epoch when a monitored metric gets worse.

    The weights, the other variables of layers and the variables of the optimizer are restored
    together: with ``set_weights`` alone, an optimizer such as Adam would continue with stale
    moments. At most two states are kept, on the device of the model.

    Parameters
    ----------
    monitor : str, default="loss"
        Name of the logged metric to monitor.
    mode : {"auto", "min", "max"}, default="auto"
        Whether a lower ("min") or a higher ("max") value is better. "auto" infers it from the
        name of the metric.
    to : {"previous", "best"}, default="previous"
        State to restore: that before the epoch that got worse ("previous"), or that after the
        best epoch ("best"), which is then also restored at the end of training.
    min_delta : float, default=0.0
        Minimum change of the metric that counts as worse: a smaller one is ignored.
    relative : bool, default=False
        Whether `min_delta` is a fraction of the value compared with, instead of an absolute
        difference.
    patience : int, default=0
        Number of consecutive worse epochs tolerated. The next worse epoch is reverted together
        with them.
    cooldown : int, default=0
        Number of epochs after a revert in which no epoch counts as worse.
    max_reverts : int, default=None
        Maximum number of reverts. None means unlimited.
    on_max : {"stop", "continue"}, default="stop"
        Action when an epoch would have to be reverted after `max_reverts` reverts: restore the
        earlier state once more (the last item of ``reverts_``) and stop training, or continue
        without reverts.
    factor : float, default=1.0
        Factor, above 0 and at most 1, by which the learning rate is multiplied at each revert.
        The reduced learning rate is not restored by later reverts.
    min_lr : float, default=0.0
        Lower bound of the learning rate when it is reduced by `factor`.
    restore_optimizer : bool, default=True
        Whether the variables of the optimizer, except the learning rate, are restored.

    Attributes
    ----------
    reverts_ : list of Revert
        Reverts of the last training, in order. The logs, and so ``history_``, have an entry
        ``reverted``: 1 for an epoch that was reverted and 0 for others.

    Raises
    ------
    InputValueError
        By the constructor, if a parameter has a value that is not allowed. When training
        starts, if ``mode="auto"`` cannot infer the direction of `monitor`, or `factor` is below
        1 and a schedule sets the learning rate. After the first epoch, if `monitor` is not
        logged.

    Notes
    -----
    NaN is worse than any other value. The first epoch is never reverted.

    Examples
    --------
    >>> from skguard import GuardedKerasRegressor
    >>> from skguard.callbacks import RevertWeights
    >>> estimator = GuardedKerasRegressor(callbacks=RevertWeights(to="best", factor=0.5))
    """

    # Called after the callbacks that keep weights, and first at the end of training, so that the
    # weights that early stopping restores take precedence.
    traits = Traits(monitors=True, tolerates_nan=True, order=1, order_at_end=-1)

    def __init__(
        self,
        monitor: str = "loss",
        *,
        mode: str = "auto",
        to: str = "previous",
        min_delta: float = 0.0,
        relative: bool = False,
        patience: int = 0,
        cooldown: int = 0,
        max_reverts: int | None = None,
        on_max: str = "stop",
        factor: float = 1.0,
        min_lr: float = 0.0,
        restore_optimizer: bool = True,
    ) -> None:
        super().__init__()
        self.monitor = monitor
        self.mode = mode
        self.to = to
        self.min_delta = min_delta
        self.relative = relative
        self.patience = patience
        self.cooldown = cooldown
        self.max_reverts = max_reverts
        self.on_max = on_max
        self.factor = factor
        self.min_lr = min_lr
        self.restore_optimizer = restore_optimizer
        self._check_choices()
        self._check_numbers()
        self.reverts_: list[Revert] = []
        self._reset()

    def _check_choices(self) -> None:
        for name, allowed in _CHOICES.items():
            if (value := getattr(self, name)) not in allowed:
                raise InputValueError(
                    f"{name}={value!r} of RevertWeights must be one of "
                    f"{', '.join(map(repr, allowed))}."
                )

    def _check_numbers(self) -> None:
        for name in ("patience", "cooldown"):
            number = getattr(self, name)
            if not isinstance(number, numbers.Integral) or number < 0:
                raise InputValueError(
                    f"{name}={number!r} of RevertWeights must be a number of epochs, an int >= 0."
                )
        for name in ("min_delta", "min_lr"):
            if (number := getattr(self, name)) < 0:
                raise InputValueError(f"{name}={number!r} of RevertWeights must be >= 0.")
        if not 0 < self.factor <= 1:
            raise InputValueError(f"factor={self.factor!r} of RevertWeights must be > 0 and <= 1.")
        if self.max_reverts is not None and self.max_reverts < 0:
            raise InputValueError(
                f"max_reverts={self.max_reverts!r} of RevertWeights must be an int >= 0 or None."
            )

    def _reset(self) -> None:
        self._saved: _State | None = None
        self._n_worse = 0
        self._n_cooling = 0
        self._is_over = False
        self._is_at_saved = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.reverts_ = []
        self._reset()
        self._sign = _sign(self.monitor, self.mode)
        if self.factor < 1 and _has_schedule(self.model.optimizer):
            raise InputValueError(
                f"factor={self.factor!r} of RevertWeights reduces the learning rate, which a "
                "schedule of the optimizer sets. Pass factor=1.0, or a number as the learning "
                "rate of the optimizer."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs if logs is not None else {}
        if self.monitor in logs:
            logs["reverted"] = int(self._judge(epoch, float(logs[self.monitor])))
        elif self.monitor.startswith("val_") and not any(n.startswith("val_") for n in logs):
            logs["reverted"] = 0  # an epoch without validation
        else:
            raise InputValueError(
                f"monitor={self.monitor!r} of RevertWeights is not among the metrics logged in "
                f"epoch {epoch}: {sorted(logs)}."
            )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.to == "best" and self._saved is not None and not self._is_at_saved:
            self._saved.restore(self.model, self.restore_optimizer)
        self._reset()

    def _judge(self, epoch: int, value: float) -> bool:
        """Save or restore the state as the value of an epoch requires.

        Returns
        -------
        bool
            Whether the epoch was reverted.
        """
        saved = self._saved
        if saved is None:
            if not math.isnan(value):
                self._save(epoch, value)
            return False
        self._is_at_saved = False
        is_cooling, self._n_cooling = self._n_cooling > 0, max(0, self._n_cooling - 1)
        if not self._is_worse(value, saved.value):
            self._n_worse = 0
            if self.to == "previous" or self._is_better(value, saved.value):
                self._save(epoch, value)
            return False
        if is_cooling:
            if self.to == "previous" and not math.isnan(value):
                self._save(epoch, value)
            return False
        return self._handle_worse(epoch, value, saved)

    def _handle_worse(self, epoch: int, value: float, saved: _State) -> bool:
        self._n_worse += 1
        if self._n_worse <= self.patience or self._is_over:
            return False
        if self.max_reverts is not None and len(self.reverts_) >= self.max_reverts:
            return self._exceed_max_reverts(epoch, value, saved)
        self._revert(epoch, value, saved)
        return True

    def _is_better(self, value: float, reference: float) -> bool:
        return self._sign * (value - reference) < 0

    def _is_worse(self, value: float, reference: float) -> bool:
        allowed = self.min_delta * (abs(reference) if self.relative else 1.0)
        return math.isnan(value) or self._sign * (value - reference) > allowed

    def _save(self, epoch: int, value: float) -> None:
        self._saved = _State.of(self.model, epoch, value)
        self._is_at_saved = True

    def _revert(self, epoch: int, value: float, saved: _State) -> None:
        saved.restore(self.model, self.restore_optimizer)
        self._is_at_saved = True
        learning_rate = self._reduce_learning_rate()
        self._n_worse, self._n_cooling = 0, self.cooldown
        self.reverts_.append(Revert(epoch, value, saved.value, saved.epoch, learning_rate))
        _LOGGER.info(
            "Epoch %d: %s was %s, worse than %s in epoch %d, whose final state was restored.",
            epoch,
            self.monitor,
            value,
            saved.value,
            saved.epoch,
        )

    def _exceed_max_reverts(self, epoch: int, value: float, saved: _State) -> bool:
        self._is_over = True
        stops = self.on_max == "stop"
        _LOGGER.info(
            "Epoch %d: %s was %s, and max_reverts=%d is exhausted; training %s.",
            epoch,
            self.monitor,
            value,
            self.max_reverts,
            "stops" if stops else "continues without reverts",
        )
        if stops:
            self._revert(epoch, value, saved)
            self.model.stop_training = True
        return stops

    def _reduce_learning_rate(self) -> float | None:
        optimizer = self.model.optimizer
        if _has_schedule(optimizer):
            return None
        learning_rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        if self.factor < 1 and learning_rate > self.min_lr:
            learning_rate = max(learning_rate * self.factor, self.min_lr)
            optimizer.learning_rate = learning_rate
        return learning_rate


@dataclasses.dataclass(frozen=True)
class _State:
    """Values of the variables of a model after an epoch, on their device."""

    epoch: int
    value: float
    weights: list[Any]
    slots: list[Any]

    @classmethod
    def of(cls, model: keras.Model, epoch: int, value: float) -> _State:
        return cls(epoch, value, _values(model.weights), _values(_slots(model)))

    def restore(self, model: keras.Model, with_optimizer: bool) -> None:
        _assign(model.weights, self.weights)
        if with_optimizer:
            _assign(_slots(model), self.slots)


def _values(variables: Sequence[keras.Variable]) -> list[Any]:
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        # The result shares the memory of the variable until something assigns to the variable,
        # so that variables that do not change are never copied (checked with TensorFlow 2.21).
        return [
            tf.raw_ops.ReadVariableOp(resource=variable.value.handle, dtype=variable.value.dtype)
            for variable in variables
        ]
    return [keras.ops.copy(variable.value) for variable in variables]


def _assign(variables: Sequence[keras.Variable], values: Sequence[Any]) -> None:
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        # variable.assign() converts and checks its argument, which is unnecessary here: the
        # values were read from the same variables.
        for variable, value in zip(variables, values, strict=True):
            tf.raw_ops.AssignVariableOp(resource=variable.value.handle, value=value)
        return
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _slots(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of the optimizer, except the learning rate."""
    optimizer = model.optimizer
    if optimizer is None:
        return []
    if _has_schedule(optimizer):
        return list(optimizer.variables)
    learning_rate = getattr(optimizer, "learning_rate", None)
    return [variable for variable in optimizer.variables if variable is not learning_rate]


def _has_schedule(optimizer: keras.optimizers.Optimizer | None) -> bool:
    # LossScaleOptimizer wraps the optimizer that has the schedule.
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return inner is not None and not isinstance(
        getattr(inner, "learning_rate", None), keras.Variable
    )


def _sign(monitor: str, mode: str) -> int:
    """Return 1 if a lower value is better, -1 if a higher one is."""
    if mode != "auto":
        return 1 if mode == "min" else -1
    name = monitor.removeprefix("val_").lower()
    if name.startswith("neg_"):  # scorers of scikit-learn: higher is always better
        return -1
    lower, higher = (any(word in name for word in words) for words in (_LOWER, _HIGHER))
    if lower == higher:
        raise InputValueError(
            f"mode='auto' of RevertWeights cannot infer whether a lower or a higher value of "
            f"monitor={monitor!r} is better. Pass mode='min' or mode='max'."
        )
    return 1 if lower else -1
