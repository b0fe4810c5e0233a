"""Displays in scikit-learn's style; they need matplotlib."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["LearningRateDisplay"]


class LearningRateDisplay:
    """The learning rate of each epoch.

    Make one with `from_schedule` or `from_estimator`.

    Parameters
    ----------
    epochs : array-like of shape (n_points,)
        When, in epochs; fractions allowed.
    learning_rates : array-like of shape (n_points,)
    name : str, default=None
        For the legend.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
    line_ : matplotlib.lines.Line2D

    Examples
    --------
    >>> from skguard.plotting import LearningRateDisplay
    >>> from skguard.schedules import CosineDecay
    >>> display = LearningRateDisplay.from_schedule(CosineDecay(0.1), epochs=50)
    >>> display.ax_.get_ylabel()
    'learning rate'
    """

    def __init__(self, epochs: Any, learning_rates: Any, name: str | None = None) -> None:
        self.epochs = np.asarray(epochs)
        self.learning_rates = np.asarray(learning_rates)
        self.name = name

    @classmethod
    def from_schedule(
        cls, schedule: Any, epochs: int, steps_per_epoch: int = 20, *, ax: Any = None, **kwargs: Any
    ) -> LearningRateDisplay:
        """Plot what a schedule will do.

        Parameters
        ----------
        schedule : skguard.schedules.EpochSchedule
        epochs : int
        steps_per_epoch : int, default=20
            Points an epoch.
        ax : matplotlib.axes.Axes, default=None
            None makes a figure.
        **kwargs : dict
            For ``ax.plot``.

        Returns
        -------
        LearningRateDisplay
        """
        if not hasattr(schedule, "preview"):
            raise TypeError(f"{schedule!r} is no schedule of skguard.schedules.")
        rates = schedule.preview(epochs, steps_per_epoch)
        times = np.arange(len(rates)) / steps_per_epoch
        return cls(times, rates, type(schedule).__name__).plot(ax, **kwargs)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, **kwargs: Any
    ) -> LearningRateDisplay:
        """Plot what the rate was at the end of each epoch of a fit.

        Parameters
        ----------
        estimator : estimator of skguard
            Fitted.
        ax, **kwargs
            As in `from_schedule`.

        Returns
        -------
        LearningRateDisplay
        """
        if "learning_rate" not in getattr(estimator, "history_", {}):
            raise TypeError(
                f"{estimator!r} has no history_ with learning rates. Give a fitted estimator of "
                "skguard's itself: of a pipeline, its last step."
            )
        rates = estimator.history_["learning_rate"]
        times = np.arange(1, len(rates) + 1)
        return cls(times, rates, type(estimator).__name__).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> LearningRateDisplay:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
        **kwargs : dict
            For ``ax.plot``.

        Returns
        -------
        LearningRateDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                'LearningRateDisplay needs matplotlib: pip install "matplotlib"'
            ) from (error)
        if ax is None:
            _, ax = plt.subplots()
        (self.line_,) = ax.plot(self.epochs, self.learning_rates, **{"label": self.name} | kwargs)
        ax.set(xlabel="epoch", ylabel="learning rate")
        self.ax_, self.figure_ = ax, ax.figure
        return self
