"""Learning-rate schedules whose unit of time is the epoch.

The schedules in `keras.optimizers.schedules` count gradient steps, so the same parameters give a
different decay for each batch size and training-set size that a search tries. These schedules
count epochs. They are ordinary Keras schedules otherwise: compiled into the training graph and
saved with the model.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Iterator
from typing import Any, ClassVar, TypeAlias

import keras
import numpy as np
from sklearn.base import BaseEstimator

from skguard.exceptions import InputValueError

__all__ = [
    "Cyclical",
    "EpochCosineDecay",
    "EpochExponentialDecay",
    "EpochSchedule",
    "OneCycle",
    "StepDecay",
]

# Of whichever backend is in use, so that no type is common to all.
Tensor: TypeAlias = Any

# Epochs are computed as steps / steps_per_epoch in float32: without this margin, the end of an
# epoch may fall below its whole number by a rounding error.
_ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True, slots=True)
class _Range:
    """Values that a numeric parameter may have."""

    minimum: float = -math.inf
    above: float = -math.inf
    below: float = math.inf
    none_allowed: bool = False

    def contains(self, value: object) -> bool:
        if value is None:
            return self.none_allowed
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            return False
        return self.minimum <= float(value) < self.below and float(value) > self.above

    def __str__(self) -> str:
        limits = (
            (">=", self.minimum, -math.inf),
            (">", self.above, -math.inf),
            ("<", self.below, math.inf),
        )
        text = " and ".join(f"{sign} {limit}" for sign, limit, none in limits if limit != none)
        return f"a number {text}{' or None' if self.none_allowed else ''}"


_POSITIVE = _Range(above=0.0)
_NON_NEGATIVE = _Range(minimum=0.0)
_FRACTION = _Range(above=0.0, below=1.0)


class EpochSchedule(BaseEstimator, keras.optimizers.schedules.LearningRateSchedule):
    """Base class for learning rates that are a function of the epoch.

    A subclass implements `rate_at`. At the start of each fit, an estimator of this package sets
    `steps_per_epoch` on a copy of the schedule; pass it yourself to use a schedule elsewhere.

    Parameters are those of a scikit-learn estimator, so that a search can vary them, for
    example as ``optimizer__learning_rate__initial_learning_rate``.

    Parameters
    ----------
    initial_learning_rate : float
        Learning rate at the start of the schedule, after the warm-up. Must be positive.
    warmup_epochs : float, default=0.0
        Duration of the warm-up in epochs: the learning rate increases linearly from 0 to
        `initial_learning_rate`, and the schedule starts afterwards.
    steps_per_epoch : int, default=None
        Number of gradient steps per epoch. If None, the estimator sets it.
    """

    _ranges: ClassVar[dict[str, _Range]] = {
        "initial_learning_rate": _POSITIVE,
        "warmup_epochs": _NON_NEGATIVE,
    }

    def __init__(
        self,
        initial_learning_rate: float,
        *,
        warmup_epochs: float = 0.0,
        steps_per_epoch: int | None = None,
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.warmup_epochs = warmup_epochs
        self.steps_per_epoch = steps_per_epoch

    def rate_at(self, epoch: Tensor) -> Tensor:
        """Return the learning rate at a given time.

        Parameters
        ----------
        epoch : tensor of float
            Epochs since the end of the warm-up, fractions included. Never negative.

        Returns
        -------
        tensor of float
            Learning rates, of the shape of `epoch`.
        """
        raise NotImplementedError

    def check(self) -> None:
        """Validate the parameters. Estimators do so before training.

        Raises
        ------
        InputValueError
            If any parameter has a value that is not allowed. The message lists all of them.
        """
        if problems := list(self._problems()):
            raise InputValueError(" ".join(problems))

    def _problems(self) -> Iterator[str]:
        for name, allowed in self._ranges.items():
            value = getattr(self, name)
            if not allowed.contains(value):
                yield f"{name}={value!r} of {type(self).__name__} must be {allowed}."

    def __call__(self, step: Tensor) -> Tensor:
        """Return the learning rate of a gradient step. Called by the optimizer.

        Parameters
        ----------
        step : tensor of int
            0-based number of the gradient step.

        Returns
        -------
        scalar tensor of float32

        Raises
        ------
        InputValueError
            If `steps_per_epoch` is not set, or a parameter has a value that is not allowed.
        """
        if not self.steps_per_epoch:
            raise InputValueError(
                f"{self!r} cannot convert gradient steps to epochs: steps_per_epoch="
                f"{self.steps_per_epoch!r}. skguard's estimators set it; elsewhere, pass the "
                "number of samples divided by the batch size, rounded up."
            )
        self.check()
        epoch = keras.ops.cast(step, "float32") / float(self.steps_per_epoch)
        return self._rate(epoch)

    def _rate(self, epoch: Tensor) -> Tensor:
        scheduled = self.rate_at(keras.ops.maximum(epoch - self.warmup_epochs, 0.0))
        if not self.warmup_epochs:
            return scheduled
        warming_up = self.initial_learning_rate * epoch / self.warmup_epochs
        return keras.ops.where(epoch < self.warmup_epochs, warming_up, scheduled)

    def preview(self, epochs: int, steps_per_epoch: int = 1) -> np.ndarray:
        """Compute the learning rates of a training.

        Parameters
        ----------
        epochs : int
            Number of epochs.
        steps_per_epoch : int, default=1
            Number of gradient steps per epoch. The parameter of the same name is ignored.

        Returns
        -------
        ndarray of shape (epochs * steps_per_epoch,)
            Learning rate of each gradient step.

        Raises
        ------
        InputValueError
            If a parameter has a value that is not allowed.
        """
        self.check()
        steps = np.arange(epochs * steps_per_epoch, dtype="float32")
        return keras.ops.convert_to_numpy(self._rate(steps / np.float32(steps_per_epoch)))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, as Keras saves them with a model.

        Returns
        -------
        dict
        """
        return dict(self.get_params(deep=False))


@keras.saving.register_keras_serializable("skguard")
class StepDecay(EpochSchedule):
    """Multiply the learning rate by a factor at regular intervals.

    In Keras, this is ``ExponentialDecay`` with ``staircase=True``; in PyTorch, ``StepLR``.

    Parameters
    ----------
    initial_learning_rate : float
        Learning rate at the start.
    decay_epochs : float, default=10.0
        Number of epochs between two decays.
    decay_rate : float, default=0.5
        Factor of each decay.
    min_learning_rate : float, default=0.0
        Lower bound of the learning rate.
    warmup_epochs : float, default=0.0
        Duration of the linear warm-up from 0, in epochs. The schedule starts afterwards.
    steps_per_epoch : int, default=None
        Number of gradient steps per epoch. If None, the estimator sets it.

    Examples
    --------
    >>> from skguard.schedules import StepDecay
    >>> StepDecay(0.5, decay_epochs=2).preview(5).tolist()
    [0.5, 0.5, 0.25, 0.25, 0.125]
    """

    _ranges = EpochSchedule._ranges | {
        "decay_epochs": _POSITIVE,
        "decay_rate": _POSITIVE,
        "min_learning_rate": _NON_NEGATIVE,
    }

    def __init__(
        self,
        initial_learning_rate: float,
        decay_epochs: float = 10.0,
        decay_rate: float = 0.5,
        min_learning_rate: float = 0.0,
        *,
        warmup_epochs: float = 0.0,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(
            initial_learning_rate, warmup_epochs=warmup_epochs, steps_per_epoch=steps_per_epoch
        )
        self.decay_epochs = decay_epochs
        self.decay_rate = decay_rate
        self.min_learning_rate = min_learning_rate

    def rate_at(self, epoch: Tensor) -> Tensor:
        n_decays = keras.ops.floor(epoch / self.decay_epochs + _ROUNDING)
        return keras.ops.maximum(
            self.initial_learning_rate * self.decay_rate**n_decays, self.min_learning_rate
        )


@keras.saving.register_keras_serializable("skguard")
class EpochExponentialDecay(EpochSchedule):
    """Decrease the learning rate exponentially, by a constant factor per epoch.

    Has another name than ``keras.optimizers.schedules.ExponentialDecay``, which counts gradient
    steps, so that one is not imported for the other.

    Parameters
    ----------
    initial_learning_rate : float
        Learning rate at the start.
    decay_rate : float, default=0.95
        Factor per epoch, applied continuously within the epoch.
    min_learning_rate : float, default=0.0
        Lower bound of the learning rate.
    warmup_epochs : float, default=0.0
        Duration of the linear warm-up from 0, in epochs. The schedule starts afterwards.
    steps_per_epoch : int, default=None
        Number of gradient steps per epoch. If None, the estimator sets it.

    Examples
    --------
    >>> from skguard.schedules import EpochExponentialDecay
    >>> EpochExponentialDecay(1.0, decay_rate=0.25).preview(2, steps_per_epoch=2).tolist()
    [1.0, 0.5, 0.25, 0.125]
    """

    _ranges = EpochSchedule._ranges | {
        "decay_rate": _POSITIVE,
        "min_learning_rate": _NON_NEGATIVE,
    }

    def __init__(
        self,
        initial_learning_rate: float,
        decay_rate: float = 0.95,
        min_learning_rate: float = 0.0,
        *,
        warmup_epochs: float = 0.0,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(
            initial_learning_rate, warmup_epochs=warmup_epochs, steps_per_epoch=steps_per_epoch
        )
        self.decay_rate = decay_rate
        self.min_learning_rate = min_learning_rate

    def rate_at(self, epoch: Tensor) -> Tensor:
        return keras.ops.maximum(
            self.initial_learning_rate * self.decay_rate**epoch, self.min_learning_rate
        )


@keras.saving.register_keras_serializable("skguard")
class EpochCosineDecay(EpochSchedule):
    """Decrease the learning rate along half a cosine, then keep it constant [1]_.

    Has another name than ``keras.optimizers.schedules.CosineDecay``, which counts gradient
    steps, so that one is not imported for the other.

    Parameters
    ----------
    initial_learning_rate : float
        Learning rate at the start.
    decay_epochs : float, default=50.0
        Duration of the decay in epochs, without the warm-up.
    min_learning_rate : float, default=0.0
        Learning rate at the end: a value, where Keras's ``alpha`` is a fraction of the initial
        learning rate.
    warmup_epochs : float, default=0.0
        Duration of the linear warm-up from 0, in epochs. The schedule starts afterwards.
    steps_per_epoch : int, default=None
        Number of gradient steps per epoch. If None, the estimator sets it.

    References
    ----------
    .. [1] Loshchilov and Hutter, `"SGDR: Stochastic Gradient Descent with Warm Restarts"
       <https://arxiv.org/abs/1608.03983>`_, ICLR 2017.

    Examples
    --------
    >>> from skguard.schedules import EpochCosineDecay
    >>> EpochCosineDecay(1.0, decay_epochs=2).preview(4).round(3).tolist()
    [1.0, 0.5, 0.0, 0.0]
    """

    _ranges = EpochSchedule._ranges | {
        "decay_epochs": _POSITIVE,
        "min_learning_rate": _NON_NEGATIVE,
    }

    def __init__(
        self,
        initial_learning_rate: float,
        decay_epochs: float = 50.0,
        min_learning_rate: float = 0.0,
        *,
        warmup_epochs: float = 0.0,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(
            initial_learning_rate, warmup_epochs=warmup_epochs, steps_per_epoch=steps_per_epoch
        )
        self.decay_epochs = decay_epochs
        self.min_learning_rate = min_learning_rate

    def rate_at(self, epoch: Tensor) -> Tensor:
        return _half_cosine(
            self.initial_learning_rate, self.min_learning_rate, epoch / self.decay_epochs
        )


@keras.saving.register_keras_serializable("skguard")
class OneCycle(EpochSchedule):
    """Increase the learning rate to a maximum, then decrease it to a minimum [1]_.

    Both parts are halves of a cosine. Defaults are those of PyTorch's ``OneCycleLR``.

    Parameters
    ----------
    initial_learning_rate : float
        Learning rate at the start.
    max_learning_rate : float, default=None
        Highest learning rate. If None, 25 times `initial_learning_rate`.
    cycle_epochs : float, default=50.0
        Duration of the cycle in epochs, without the warm-up.
    pct_start : float, default=0.3
        Fraction of the cycle during which the learning rate increases, between 0 and 1. Named
        as in PyTorch and fastai.
    min_learning_rate : float, default=None
        Learning rate at the end of the cycle and afterwards. If None, `initial_learning_rate`
        divided by 10 000.
    warmup_epochs : float, default=0.0
        Duration of a linear warm-up from 0 before the cycle, in epochs.
    steps_per_epoch : int, default=None
        Number of gradient steps per epoch. If None, the estimator sets it.

    References
    ----------
    .. [1] Smith and Topin, `"Super-Convergence: Very Fast Training of Neural Networks Using
       Large Learning Rates" <https://arxiv.org/abs/1708.07120>`_, 2018.

    Examples
    --------
    >>> from skguard.schedules import OneCycle
    >>> schedule = OneCycle(
    ...     0.1, max_learning_rate=1.0, cycle_epochs=4, pct_start=0.5, min_learning_rate=0.0
    ... )
    >>> schedule.preview(6).astype(float).round(2).tolist()
    [0.1, 0.55, 1.0, 0.5, 0.0, 0.0]
    """

    _ranges = EpochSchedule._ranges | {
        "cycle_epochs": _POSITIVE,
        "pct_start": _FRACTION,
        "max_learning_rate": dataclasses.replace(_POSITIVE, none_allowed=True),
        "min_learning_rate": dataclasses.replace(_NON_NEGATIVE, none_allowed=True),
    }

    def __init__(
        self,
        initial_learning_rate: float,
        max_learning_rate: float | None = None,
        cycle_epochs: float = 50.0,
        pct_start: float = 0.3,
        min_learning_rate: float | None = None,
        *,
        warmup_epochs: float = 0.0,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(
            initial_learning_rate, warmup_epochs=warmup_epochs, steps_per_epoch=steps_per_epoch
        )
        self.max_learning_rate = max_learning_rate
        self.cycle_epochs = cycle_epochs
        self.pct_start = pct_start
        self.min_learning_rate = min_learning_rate

    def rate_at(self, epoch: Tensor) -> Tensor:
        start = self.initial_learning_rate
        highest = 25 * start if self.max_learning_rate is None else self.max_learning_rate
        end = start / 1e4 if self.min_learning_rate is None else self.min_learning_rate
        top = self.pct_start * self.cycle_epochs
        increasing = _half_cosine(start, highest, epoch / top)
        decreasing = _half_cosine(highest, end, (epoch - top) / (self.cycle_epochs - top))
        return keras.ops.where(epoch < top, increasing, decreasing)


@keras.saving.register_keras_serializable("skguard")
class Cyclical(EpochSchedule):
    """Vary the learning rate linearly between two bounds, periodically [1]_.

    In PyTorch, this is ``CyclicLR``.

    Parameters
    ----------
    initial_learning_rate : float
        Lower bound, at which each cycle starts.
    max_learning_rate : float, default=None
        Upper bound. If None, 10 times `initial_learning_rate`.
    half_cycle_epochs : float, default=4.0
        Duration of half a cycle, from one bound to the other, in epochs.
    mode : {"triangular", "triangular2", "exp_range"}, default="triangular"
        Amplitude of the cycles: constant ("triangular"), halved after each cycle
        ("triangular2"), or multiplied by `decay_rate` per epoch ("exp_range").
    decay_rate : float, default=0.95
        Factor per epoch of the amplitude. Used only if ``mode="exp_range"``.
    warmup_epochs : float, default=0.0
        Duration of a linear warm-up from 0 before the first cycle, in epochs.
    steps_per_epoch : int, default=None
        Number of gradient steps per epoch. If None, the estimator sets it.

    References
    ----------
    .. [1] Smith, `"Cyclical Learning Rates for Training Neural Networks"
       <https://arxiv.org/abs/1506.01186>`_, WACV 2017.

    Examples
    --------
    >>> from skguard.schedules import Cyclical
    >>> schedule = Cyclical(
    ...     1.0, max_learning_rate=3.0, half_cycle_epochs=2, mode="triangular2"
    ... )
    >>> schedule.preview(8).tolist()
    [1.0, 2.0, 3.0, 2.0, 1.0, 1.5, 2.0, 1.5]
    """

    _ranges = EpochSchedule._ranges | {
        "half_cycle_epochs": _POSITIVE,
        "decay_rate": _POSITIVE,
        "max_learning_rate": dataclasses.replace(_POSITIVE, none_allowed=True),
    }
    _modes: ClassVar[tuple[str, ...]] = ("triangular", "triangular2", "exp_range")

    def __init__(
        self,
        initial_learning_rate: float,
        max_learning_rate: float | None = None,
        half_cycle_epochs: float = 4.0,
        mode: str = "triangular",
        decay_rate: float = 0.95,
        *,
        warmup_epochs: float = 0.0,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(
            initial_learning_rate, warmup_epochs=warmup_epochs, steps_per_epoch=steps_per_epoch
        )
        self.max_learning_rate = max_learning_rate
        self.half_cycle_epochs = half_cycle_epochs
        self.mode = mode
        self.decay_rate = decay_rate

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        if self.mode not in self._modes:
            allowed = ", ".join(map(repr, self._modes))
            yield f"mode={self.mode!r} of Cyclical must be one of {allowed}."

    def rate_at(self, epoch: Tensor) -> Tensor:
        highest = self.max_learning_rate
        if highest is None:
            highest = 10 * self.initial_learning_rate
        position = epoch / self.half_cycle_epochs
        n_cycles = keras.ops.floor(position / 2 + _ROUNDING)
        amplitude = 1.0 - keras.ops.abs(position - 2 * n_cycles - 1.0)
        if self.mode == "triangular2":
            amplitude = amplitude * 0.5**n_cycles
        elif self.mode == "exp_range":
            amplitude = amplitude * self.decay_rate**epoch
        return self.initial_learning_rate + (highest - self.initial_learning_rate) * amplitude


def _half_cosine(start: float, end: float, fraction: Tensor) -> Tensor:
    """Interpolate between two values along half a cosine; `fraction` is clipped to [0, 1]."""
    fraction = keras.ops.clip(fraction, 0.0, 1.0)
    return end + (start - end) * 0.5 * (1.0 + keras.ops.cos(math.pi * fraction))
