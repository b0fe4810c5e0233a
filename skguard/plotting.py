"""Plots in the style of scikit-learn's displays. Drawing requires matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from sklearn.base import BaseEstimator

    from skguard.schedules import EpochSchedule

__all__ = ["LearningRateDisplay"]


class LearningRateDisplay:
    """Plot of the learning rate over the epochs of a training.

    Create one with `from_schedule` or `from_estimator`.

    Parameters
    ----------
    epochs : array-like of shape (n_points,)
        Times in epochs, fractions included.
    learning_rates : array-like of shape (n_points,)
        Learning rates at these times.
    name : str, default=None
        Label of the line in the legend.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes of the plot.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.
    line_ : matplotlib.lines.Line2D
        Line of the learning rates.

    Examples
    --------
    >>> from skguard.plotting import LearningRateDisplay
    >>> from skguard.schedules import EpochCosineDecay
    >>> display = LearningRateDisplay.from_schedule(EpochCosineDecay(0.1), epochs=50)
    >>> display.ax_.get_ylabel()
    'learning rate'
    """

    def __init__(
        self, epochs: npt.ArrayLike, learning_rates: npt.ArrayLike, name: str | None = None
    ) -> None:
        self.epochs = np.asarray(epochs)
        self.learning_rates = np.asarray(learning_rates)
        self.name = name

    @classmethod
    def from_schedule(
        cls,
        schedule: EpochSchedule,
        epochs: int,
        steps_per_epoch: int = 20,
        *,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> LearningRateDisplay:
        """Plot the learning rates of a schedule.

        Parameters
        ----------
        schedule : skguard.schedules.EpochSchedule
            Schedule to plot.
        epochs : int
            Number of epochs to plot.
        steps_per_epoch : int, default=20
            Number of points per epoch.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. If None, a new figure is created.
        **kwargs : dict
            Keyword arguments of ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        LearningRateDisplay

        Raises
        ------
        TypeError
            If `schedule` is not a schedule of `skguard.schedules`.
        ImportError
            If matplotlib is not installed.
        """
        if not hasattr(schedule, "preview"):
            raise TypeError(
                f"schedule={schedule!r} must be a schedule of skguard.schedules, such as "
                "EpochCosineDecay(0.01)."
            )
        learning_rates = schedule.preview(epochs, steps_per_epoch)
        times = np.arange(len(learning_rates)) / steps_per_epoch
        return cls(times, learning_rates, type(schedule).__name__).plot(ax, **kwargs)

    @classmethod
    def from_estimator(
        cls, estimator: BaseEstimator, *, ax: Axes | None = None, **kwargs: Any
    ) -> LearningRateDisplay:
        """Plot the learning rate at the end of each epoch of a fit.

        Parameters
        ----------
        estimator : GuardedKerasClassifier or GuardedKerasRegressor
            Fitted estimator.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. If None, a new figure is created.
        **kwargs : dict
            Keyword arguments of ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        LearningRateDisplay

        Raises
        ------
        TypeError
            If `estimator` has no learning rates in ``history_``.
        ImportError
            If matplotlib is not installed.
        """
        if "learning_rate" not in getattr(estimator, "history_", {}):
            raise TypeError(
                f"estimator={estimator!r} must have learning rates in history_. Pass a fitted "
                "estimator of skguard; of a Pipeline, pass its last step."
            )
        learning_rates = estimator.history_["learning_rate"]
        times = np.arange(1, len(learning_rates) + 1)
        return cls(times, learning_rates, type(estimator).__name__).plot(ax, **kwargs)

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> LearningRateDisplay:
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. If None, a new figure is created.
        **kwargs : dict
            Keyword arguments of ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        LearningRateDisplay
            This object.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                'LearningRateDisplay requires matplotlib: pip install "matplotlib"'
            ) from error
        if ax is None:
            _, ax = plt.subplots()
        (self.line_,) = ax.plot(self.epochs, self.learning_rates, **{"label": self.name} | kwargs)
        ax.set(xlabel="epoch", ylabel="learning rate")
        self.ax_, self.figure_ = ax, ax.figure
        return self
