"""Go back to earlier weights when a monitored value gets worse."""

from __future__ import annotations

import dataclasses
import logging
import math
import numbers
from typing import Any

import keras

from skguard.callbacks._traits import Traits
from skguard.exceptions import InputValueError

__all__ = ["Revert", "RevertWeights"]

_LOGGER = logging.getLogger(__name__)

# What is better when greater, or smaller, where a metric's name says so.
_GREATER = ("acc", "auc", "precision", "recall", "f1", "r2", "iou", "score", "similarity")
_SMALLER = ("loss", "error", "mse", "mae", "rmse", "crossentropy", "deviance", "poisson", "hinge")


@dataclasses.dataclass(frozen=True, slots=True)
class Revert:
    """One return to an earlier state.

    Parameters
    ----------
    epoch : int
        At the end of which it happened, counted from 0.
    value : float
        What was monitored there.
    reference : float
        What it was compared with: that of the epoch whose end the model went back to.
    to_epoch : int
        That epoch.
    learning_rate : float or None
        Afterwards; None where a schedule sets it.
    """

    epoch: int
    value: float
    reference: float
    to_epoch: int
    learning_rate: float | None


class RevertWeights(keras.callbacks.Callback):
    """Put the model back to an earlier epoch when an epoch has made it worse.

    Weights, the other state of layers and the optimizer's variables go back together: with
    ``set_weights`` alone, Adam would go on with the moments that led astray. The states are
    kept on the device, two at most, and copied only where training changes them.

    Parameters
    ----------
    monitor : str, default="loss"
        The logged value to judge by.
    mode : {"auto", "min", "max"}, default="auto"
        Whether less or more is better. "auto" knows it from usual names.
    to : {"previous", "best"}, default="previous"
        Where to go back to: to the start of the epoch that got worse, or to the end of the best
        epoch. With "best", training also ends there.
    tolerance : float, default=0.0
        By how much a value may be worse before it counts as worse.
    relative : bool, default=False
        Whether `tolerance` is a share of the value compared with.
    patience : int, default=0
        How many worse epochs in a row are let pass. The one after them is taken back, and they
        with it.
    cooldown : int, default=0
        For how many epochs after a revert none counts as worse.
    max_reverts : int, default=None
        How often to go back at most.
    on_max : {"stop", "continue"}, default="stop"
        What follows when an epoch would have to be taken back once more: training stops,
        back at the earlier state (the last of ``reverts_``), or goes on without reverts.
    lr_factor : float, default=1.0
        What the learning rate is multiplied with at each revert, on top of what it was before;
        it does not go back.
    min_lr : float, default=0.0
        The least learning rate that `lr_factor` leads to.
    restore_optimizer : bool, default=True
        Whether the optimizer's variables go back, the learning rate aside.

    Attributes
    ----------
    reverts_ : list of Revert
        What happened, in order. In the logs, and so in ``history_``, ``reverted`` is 1 for an
        epoch that was taken back and 0 for others.

    Raises
    ------
    ValueError
        In the constructor, for values that mean nothing; when training starts, where "auto"
        does not know the mode or `lr_factor` meets a schedule; after the first epoch, where
        `monitor` is not logged.

    Notes
    -----
    A value that is NaN is worse than any. The first epoch is never taken back.

    Examples
    --------
    >>> from skguard import GuardedKerasRegressor
    >>> from skguard.callbacks import RevertWeights
    >>> estimator = GuardedKerasRegressor(callbacks=RevertWeights(to="best", lr_factor=0.5))
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
        tolerance: float = 0.0,
        relative: bool = False,
        patience: int = 0,
        cooldown: int = 0,
        max_reverts: int | None = None,
        on_max: str = "stop",
        lr_factor: float = 1.0,
        min_lr: float = 0.0,
        restore_optimizer: bool = True,
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("mode", mode, ("auto", "min", "max")),
            ("to", to, ("previous", "best")),
            ("on_max", on_max, ("stop", "continue")),
        ):
            if value not in allowed:
                raise ValueError(f"{name}={value!r} is none of {', '.join(map(repr, allowed))}.")
        for name, number in (("patience", patience), ("cooldown", cooldown)):
            if not isinstance(number, numbers.Integral) or number < 0:
                raise ValueError(f"{name}={number!r} is no number of epochs. Give 0 or more.")
        if tolerance < 0 or min_lr < 0:
            raise ValueError(f"tolerance={tolerance!r} and min_lr={min_lr!r} must be 0 or more.")
        if not 0 < lr_factor <= 1:
            raise ValueError(f"lr_factor={lr_factor!r} must be above 0, and 1 at most.")
        if max_reverts is not None and max_reverts < 0:
            raise ValueError(f"max_reverts={max_reverts!r} must be None, or 0 or more.")
        self.monitor = monitor
        self.mode = mode
        self.to = to
        self.tolerance = tolerance
        self.relative = relative
        self.patience = patience
        self.cooldown = cooldown
        self.max_reverts = max_reverts
        self.on_max = on_max
        self.lr_factor = lr_factor
        self.min_lr = min_lr
        self.restore_optimizer = restore_optimizer
        self.reverts_: list[Revert] = []
        self._forget()

    def _forget(self) -> None:
        self._saved: _State | None = None
        self._n_worse = 0
        self._n_cooling = 0
        self._is_over = False
        self._is_at_saved = False

    def on_train_begin(self, logs: Any = None) -> None:
        self.reverts_ = []
        self._forget()
        self._sign = _sign(self.monitor, self.mode)
        if self.lr_factor < 1 and _has_schedule(self.model.optimizer):
            raise InputValueError(
                f"lr_factor={self.lr_factor!r} of RevertWeights changes the learning rate, and "
                "the optimizer has a schedule that sets it. Leave one out."
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = logs if logs is not None else {}
        if self.monitor not in logs:
            if self.monitor.startswith("val_") and not any(n.startswith("val_") for n in logs):
                logs["reverted"] = 0  # an epoch without validation
                return
            raise InputValueError(
                f"monitor={self.monitor!r} of RevertWeights is not among the values logged in "
                f"epoch {epoch}: {sorted(logs)}."
            )
        value = float(logs[self.monitor])
        logs["reverted"] = int(self._judge(epoch, value))

    def on_train_end(self, logs: Any = None) -> None:
        if self.to == "best" and self._saved is not None and not self._is_at_saved:
            self._saved.restore(self.model, self.restore_optimizer)
        self._forget()

    def _judge(self, epoch: int, value: float) -> bool:
        """Whether the epoch was taken back."""
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
        self._n_worse += 1
        if self._n_worse <= self.patience or self._is_over:
            return False
        if self.max_reverts is not None and len(self.reverts_) >= self.max_reverts:
            return self._give_up(epoch, value)
        self._revert(epoch, value)
        return True

    def _is_better(self, value: float, reference: float) -> bool:
        return self._sign * (value - reference) < 0

    def _is_worse(self, value: float, reference: float) -> bool:
        allowed = self.tolerance * (abs(reference) if self.relative else 1.0)
        return math.isnan(value) or self._sign * (value - reference) > allowed

    def _save(self, epoch: int, value: float) -> None:
        self._saved = _State.of(self.model, epoch, value)
        self._is_at_saved = True

    def _go_back(self) -> None:
        assert self._saved is not None
        self._saved.restore(self.model, self.restore_optimizer)
        self._is_at_saved = True

    def _revert(self, epoch: int, value: float) -> None:
        saved = self._saved
        assert saved is not None
        self._go_back()
        rate = self._lower_rate()
        self._n_worse, self._n_cooling = 0, self.cooldown
        self.reverts_.append(Revert(epoch, value, saved.value, saved.epoch, rate))
        _LOGGER.info(
            "Epoch %d: %s was %s, worse than %s in epoch %d; back to the end of that epoch.",
            epoch,
            self.monitor,
            value,
            saved.value,
            saved.epoch,
        )

    def _give_up(self, epoch: int, value: float) -> bool:
        self._is_over = True
        stops = self.on_max == "stop"
        _LOGGER.info(
            "Epoch %d: %s was %s, and max_reverts=%d are used up; training %s.",
            epoch,
            self.monitor,
            value,
            self.max_reverts,
            "stops" if stops else "goes on without reverts",
        )
        if stops:
            self._revert(epoch, value)
            self.model.stop_training = True
        return stops

    def _lower_rate(self) -> float | None:
        optimizer = self.model.optimizer
        if _has_schedule(optimizer):
            return None
        rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        if self.lr_factor < 1 and rate > self.min_lr:
            rate = max(rate * self.lr_factor, self.min_lr)
            optimizer.learning_rate = rate
        return rate


@dataclasses.dataclass(frozen=True)
class _State:
    """A model after an epoch: the values of its variables, on their device."""

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


def _values(variables: list[Any]) -> list[Any]:
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        # What is read shares the variable's memory until something writes to the variable.
        read, own = tf.raw_ops.ReadVariableOp, [variable.value for variable in variables]
        return [read(resource=variable.handle, dtype=variable.dtype) for variable in own]
    return [keras.ops.copy(variable.value) for variable in variables]


def _assign(variables: list[Any], values: list[Any]) -> None:
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        # variable.assign() converts and checks what is of the variable's own making here.
        for variable, value in zip(variables, values, strict=True):
            tf.raw_ops.AssignVariableOp(resource=variable.value.handle, value=value)
        return
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _slots(model: keras.Model) -> list[Any]:
    """The optimizer's variables, the learning rate aside: that is for `lr_factor` and others."""
    optimizer = model.optimizer
    if optimizer is None:
        return []
    rate = None if _has_schedule(optimizer) else getattr(optimizer, "learning_rate", None)
    return [variable for variable in optimizer.variables if variable is not rate]


def _has_schedule(optimizer: Any) -> bool:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return inner is not None and not isinstance(
        getattr(inner, "learning_rate", None), keras.Variable
    )


def _sign(monitor: str, mode: str) -> int:
    """1 where less is better, -1 where more is."""
    if mode == "auto":
        name = monitor.removeprefix("val_").lower()
        if name.startswith("neg_"):  # scikit-learn's scorers: more of all of them is better
            return -1
        is_less, is_more = (any(word in name for word in words) for words in (_SMALLER, _GREATER))
        if is_less == is_more:
            raise InputValueError(
                f"mode='auto' of RevertWeights does not know whether less or more of "
                f"monitor={monitor!r} is better. Give mode='min' or mode='max'."
            )
        return 1 if is_less else -1
    return 1 if mode == "min" else -1
