"""Learning rates that change by the epoch, whatever the number of rows and the batch size.

Keras's own schedules count gradient steps, so that a decay over 1 000 steps is another one for
every batch size and every fold that a search tries. These count epochs. They are Keras
schedules all the same: part of the graph, saved with the model, and no Python at any batch.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import keras
import numpy as np
from sklearn.base import BaseEstimator

__all__ = [
    "CosineDecay",
    "Cyclical",
    "EpochSchedule",
    "ExponentialDecay",
    "OneCycle",
    "StepDecay",
]


class EpochSchedule(BaseEstimator, keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate as a function of the epoch, fractions of epochs included.

    Subclasses say what it is in `rate_at`. An estimator tells a copy of the schedule, at each
    fit, how many gradient steps an epoch of that fit has; elsewhere, give `steps_per_epoch`.

    Its parameters are those of a scikit-learn estimator, and so can be searched as
    ``optimizer__learning_rate__initial``.

    Parameters
    ----------
    initial : float
        The rate that `rate_at` starts from.
    warmup : float, default=0.0
        Epochs over which the rate first rises, in a line, from 0 to `initial`. The schedule
        itself begins after them.
    steps_per_epoch : int, default=None
        Gradient steps an epoch. None leaves it to the estimator.
    """

    def __init__(
        self, initial: float, *, warmup: float = 0.0, steps_per_epoch: int | None = None
    ) -> None:
        self.initial = initial
        self.warmup = warmup
        self.steps_per_epoch = steps_per_epoch

    def rate_at(self, epoch: Any) -> Any:
        """The rate after some epochs of the schedule, warm-up aside.

        Parameters
        ----------
        epoch : tensor of float
            0 or more, fractions included.

        Returns
        -------
        tensor of float
        """
        raise NotImplementedError

    def check(self) -> None:
        """Refuse parameters that mean nothing; the estimator asks before training.

        Raises
        ------
        ValueError
        """
        _check(self, "initial", above=0.0)
        _check(self, "warmup", least=0.0)

    def __call__(self, step: Any) -> Any:
        if not self.steps_per_epoch:
            raise ValueError(
                f"{self!r} counts epochs and does not know how many gradient steps one has. "
                "skguard's estimators tell it; elsewhere, give steps_per_epoch=."
            )
        self.check()
        epoch = keras.ops.cast(step, "float32") / float(self.steps_per_epoch)
        return self._rate(epoch)

    def _rate(self, epoch: Any) -> Any:
        after = self.rate_at(keras.ops.maximum(epoch - self.warmup, 0.0))
        if not self.warmup:
            return after
        rising = self.initial * epoch / self.warmup
        return keras.ops.where(epoch < self.warmup, rising, after)

    def preview(self, epochs: int, steps_per_epoch: int = 1) -> np.ndarray:
        """The rates that training would use.

        Parameters
        ----------
        epochs : int
        steps_per_epoch : int, default=1
            Gradient steps an epoch.

        Returns
        -------
        ndarray of shape (epochs * steps_per_epoch,)
            The rate of each gradient step.
        """
        self.check()
        steps = np.arange(epochs * steps_per_epoch, dtype="float32")
        return keras.ops.convert_to_numpy(self._rate(steps / np.float32(steps_per_epoch)))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, for Keras to save."""
        return dict(self.get_params(deep=False))


@keras.saving.register_keras_serializable("skguard")
class StepDecay(EpochSchedule):
    """Multiply the rate by `factor` every so many epochs.

    Parameters
    ----------
    initial : float
    every : float, default=10.0
        Epochs.
    factor : float, default=0.5
    least : float, default=0.0
        The rate never falls below it.
    warmup, steps_per_epoch
        As in `EpochSchedule`.

    Examples
    --------
    >>> from skguard.schedules import StepDecay
    >>> StepDecay(0.5, every=2).preview(5).tolist()
    [0.5, 0.5, 0.25, 0.25, 0.125]
    """

    def __init__(
        self,
        initial: float,
        every: float = 10.0,
        factor: float = 0.5,
        least: float = 0.0,
        *,
        warmup: float = 0.0,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(initial, warmup=warmup, steps_per_epoch=steps_per_epoch)
        self.every = every
        self.factor = factor
        self.least = least

    def check(self) -> None:
        super().check()
        _check(self, "every", above=0.0)
        _check(self, "factor", above=0.0)
        _check(self, "least", least=0.0)

    def rate_at(self, epoch: Any) -> Any:
        # Epochs are counted in steps, and a hair less than a whole one is a whole one.
        n_drops = keras.ops.floor(epoch / self.every + 1e-5)
        return keras.ops.maximum(self.initial * self.factor**n_drops, self.least)


@keras.saving.register_keras_serializable("skguard")
class ExponentialDecay(EpochSchedule):
    """Multiply the rate by `factor` over every epoch, steadily.

    Parameters
    ----------
    initial : float
    factor : float, default=0.95
    least : float, default=0.0
        The rate never falls below it.
    warmup, steps_per_epoch
        As in `EpochSchedule`.

    Examples
    --------
    >>> from skguard.schedules import ExponentialDecay
    >>> ExponentialDecay(1.0, factor=0.25).preview(2, steps_per_epoch=2).tolist()
    [1.0, 0.5, 0.25, 0.125]
    """

    def __init__(
        self,
        initial: float,
        factor: float = 0.95,
        least: float = 0.0,
        *,
        warmup: float = 0.0,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(initial, warmup=warmup, steps_per_epoch=steps_per_epoch)
        self.factor = factor
        self.least = least

    def check(self) -> None:
        super().check()
        _check(self, "factor", above=0.0)
        _check(self, "least", least=0.0)

    def rate_at(self, epoch: Any) -> Any:
        return keras.ops.maximum(self.initial * self.factor**epoch, self.least)


@keras.saving.register_keras_serializable("skguard")
class CosineDecay(EpochSchedule):
    """Fall from `initial` to `least` along half a cosine, and stay there [1]_.

    Parameters
    ----------
    initial : float
    epochs : float, default=50.0
        Over how many epochs, after the warm-up.
    least : float, default=0.0
    warmup, steps_per_epoch
        As in `EpochSchedule`.

    References
    ----------
    .. [1] Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017.

    Examples
    --------
    >>> from skguard.schedules import CosineDecay
    >>> CosineDecay(1.0, epochs=2).preview(4).round(3).tolist()
    [1.0, 0.5, 0.0, 0.0]
    """

    def __init__(
        self,
        initial: float,
        epochs: float = 50.0,
        least: float = 0.0,
        *,
        warmup: float = 0.0,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(initial, warmup=warmup, steps_per_epoch=steps_per_epoch)
        self.epochs = epochs
        self.least = least

    def check(self) -> None:
        super().check()
        _check(self, "epochs", above=0.0)
        _check(self, "least", least=0.0)

    def rate_at(self, epoch: Any) -> Any:
        return _cosine(self.initial, self.least, epoch / self.epochs)


@keras.saving.register_keras_serializable("skguard")
class OneCycle(EpochSchedule):
    """Rise to a peak and fall far below the start, once [1]_.

    Parameters
    ----------
    initial : float
        Where it starts.
    peak : float, default=None
        The highest rate; None is 25 times `initial`.
    epochs : float, default=50.0
        Of the whole cycle, after the warm-up.
    rise : float, default=0.3
        The share of the cycle in which the rate rises.
    least : float, default=None
        Where it ends, and stays; None is `initial` / 10 000.
    warmup, steps_per_epoch
        As in `EpochSchedule`.

    References
    ----------
    .. [1] Smith and Topin, "Super-Convergence", 2018; the defaults are those of PyTorch's
       OneCycleLR.

    Examples
    --------
    >>> from skguard.schedules import OneCycle
    >>> cycle = OneCycle(0.1, peak=1.0, epochs=4, rise=0.5, least=0.0)
    >>> cycle.preview(6).astype(float).round(2).tolist()
    [0.1, 0.55, 1.0, 0.5, 0.0, 0.0]
    """

    def __init__(
        self,
        initial: float,
        peak: float | None = None,
        epochs: float = 50.0,
        rise: float = 0.3,
        least: float | None = None,
        *,
        warmup: float = 0.0,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(initial, warmup=warmup, steps_per_epoch=steps_per_epoch)
        self.peak = peak
        self.epochs = epochs
        self.rise = rise
        self.least = least

    def check(self) -> None:
        super().check()
        _check(self, "epochs", above=0.0)
        _check(self, "rise", above=0.0, below=1.0)
        if self.peak is not None:
            _check(self, "peak", above=0.0)
        if self.least is not None:
            _check(self, "least", least=0.0)

    def rate_at(self, epoch: Any) -> Any:
        peak = 25 * self.initial if self.peak is None else self.peak
        least = self.initial / 1e4 if self.least is None else self.least
        top = self.rise * self.epochs
        rising = _cosine(self.initial, peak, epoch / top)
        falling = _cosine(peak, least, (epoch - top) / (self.epochs - top))
        return keras.ops.where(epoch < top, rising, falling)


@keras.saving.register_keras_serializable("skguard")
class Cyclical(EpochSchedule):
    """Go up and down between two rates, again and again [1]_.

    Parameters
    ----------
    initial : float
        The lower rate, where each cycle starts.
    peak : float, default=None
        The upper rate; None is 10 times `initial`.
    half_cycle : float, default=4.0
        Epochs from the one to the other.
    mode : {"triangular", "triangular2", "exp_range"}, default="triangular"
        "triangular2" halves the height of each cycle, "exp_range" multiplies it by `factor`
        for every epoch.
    factor : float, default=0.95
        For "exp_range".
    warmup, steps_per_epoch
        As in `EpochSchedule`.

    References
    ----------
    .. [1] Smith, "Cyclical Learning Rates for Training Neural Networks", 2017.

    Examples
    --------
    >>> from skguard.schedules import Cyclical
    >>> Cyclical(1.0, peak=3.0, half_cycle=2, mode="triangular2").preview(8).tolist()
    [1.0, 2.0, 3.0, 2.0, 1.0, 1.5, 2.0, 1.5]
    """

    def __init__(
        self,
        initial: float,
        peak: float | None = None,
        half_cycle: float = 4.0,
        mode: str = "triangular",
        factor: float = 0.95,
        *,
        warmup: float = 0.0,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(initial, warmup=warmup, steps_per_epoch=steps_per_epoch)
        self.peak = peak
        self.half_cycle = half_cycle
        self.mode = mode
        self.factor = factor

    def check(self) -> None:
        super().check()
        _check(self, "half_cycle", above=0.0)
        _check(self, "factor", above=0.0)
        if self.peak is not None:
            _check(self, "peak", above=0.0)
        modes = ("triangular", "triangular2", "exp_range")
        if self.mode not in modes:
            raise ValueError(
                f"mode={self.mode!r} of Cyclical is none of {', '.join(map(repr, modes))}."
            )

    def rate_at(self, epoch: Any) -> Any:
        peak = 10 * self.initial if self.peak is None else self.peak
        position = epoch / self.half_cycle
        n_cycles = keras.ops.floor(position / 2 + 1e-5)
        height = 1.0 - keras.ops.abs(position - 2 * n_cycles - 1.0)
        if self.mode == "triangular2":
            height = height * 0.5**n_cycles
        elif self.mode == "exp_range":
            height = height * self.factor**epoch
        return self.initial + (peak - self.initial) * height


def _cosine(start: float, end: float, share: Any) -> Any:
    """From `start` to `end` along half a cosine, for shares of the way from 0 to 1."""
    share = keras.ops.clip(share, 0.0, 1.0)
    return end + (start - end) * 0.5 * (1.0 + keras.ops.cos(math.pi * share))


def _check(
    schedule: EpochSchedule,
    name: str,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> None:
    value = getattr(schedule, name)
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (is_number and least <= float(value) < below and float(value) > above):
        bounds = [f"{least} or more"] if least > -math.inf else []
        bounds += [f"above {above}"] if above > -math.inf else []
        bounds += [f"below {below}"] if below < math.inf else []
        raise ValueError(
            f"{name}={value!r} of {type(schedule).__name__} must be {' and '.join(bounds)}."
        )
