"""Result of one fit: a frozen record, which the estimator takes over once the fit succeeded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from scikeras.utils import metric_name

from skguard._engine import TrainingRun
from skguard._fit.attempts import Attempt
from skguard._fit.callbacks import FitCallbacks, build
from skguard._fit.unused import ModelParameters
from skguard._repairs import seeding

__all__ = ["FitResult", "History", "TrainingState"]


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingState:
    """State from which ``partial_fit`` and ``warm_start`` continue, beside the model.

    Parameters
    ----------
    seed : int or None
        Seed of the fit that built the model.
    validation_seed : int or None
        Seed of its validation set: one for all calls that train the model, so that none trains
        on what another validated with.
    callbacks : FitCallbacks
    built_with : ModelParameters
        Parameters of the model, all of which a later call must have too.
    """

    seed: int | None
    validation_seed: int | None
    callbacks: FitCallbacks
    built_with: ModelParameters = ModelParameters()  # noqa: RUF009 - it is frozen

    @classmethod
    def of(cls, estimator: Any) -> TrainingState:
        """Return the training state of an estimator, a new one if it was initialized only."""
        state = vars(estimator).get("_training_state")
        if state is not None:
            return state
        built = build(estimator, writes_apart=estimator._writes_apart)
        seed = seeding.resolve(estimator.random_state)
        return cls(seed, None, built, ModelParameters.of(estimator))

    def to_pickle(
        self,
        estimator: Any,
        fitting: list[keras.callbacks.Callback],
        predicting: list[keras.callbacks.Callback],
    ) -> TrainingState:
        """Return the state of `estimator` with copies of the callbacks, and no parameters."""
        copied = dataclasses.replace(
            self.callbacks, fitting=fitting, predicting=predicting, parameters={}
        )
        return dataclasses.replace(
            self, callbacks=copied, built_with=self.built_with.to_pickle(estimator)
        )

    def of_model(self, estimator: Any) -> TrainingState:
        """Return the state with the parameters of `estimator` as those of its model."""
        return dataclasses.replace(self, built_with=ModelParameters.of(estimator))

    def unpickled(self, estimator: Any) -> TrainingState:
        """Return the state with the parameters of `estimator`, whose objects are new."""
        return dataclasses.replace(
            self,
            callbacks=self.callbacks.of_parameters(estimator),
            built_with=self.built_with.unpickled(estimator),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """Epochs of all calls that trained a model.

    Parameters
    ----------
    metrics : dict of str to list of float
        One value per metric and epoch.
    n_epochs : int
    best_epoch : int or None
        0-based.
    """

    metrics: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    n_epochs: int = 0
    best_epoch: int | None = None

    @classmethod
    def of(cls, estimator: Any) -> History:
        """Read the history of a fitted estimator."""
        if not hasattr(estimator, "history_"):
            return cls()
        return cls(estimator.history_, estimator.n_epochs_)

    def extended(self, run: TrainingRun) -> History:
        """Append the epochs of a training run.

        The best epoch is the one that early stopping determined in the run, or else the one of
        the lowest ``val_loss`` of all runs.
        """
        logged = dict(run.history)
        if run.learning_rates:
            logged["learning_rate"] = run.learning_rates
        metrics = dict(self.metrics)
        for key, values in logged.items():
            name = key if key == "loss" or key.startswith("val_") else _full_name(key)
            metrics[name] = metrics.get(name, []) + list(values)
        n_epochs = self.n_epochs + run.n_epochs
        best_epoch = None if run.best_epoch is None else self.n_epochs + run.best_epoch
        val_loss = np.array(metrics.get("val_loss", []), dtype=float)
        is_known = len(val_loss) == n_epochs and not np.isnan(val_loss).all()
        if is_known and not run.has_early_stopping:
            best_epoch = int(np.nanargmin(val_loss))
        return History(metrics, n_epochs, best_epoch)


def _full_name(key: str) -> str:
    """Return scikeras's name of a logged metric: ``mse`` is ``mean_squared_error``."""
    try:
        if isinstance(keras.metrics.get(key), keras.metrics.Metric):
            return key  # scikeras turns auc into a_u_c
        name: str = metric_name(key)
    except (TypeError, ValueError):  # a custom metric, or one with required arguments
        return key
    return name


@dataclasses.dataclass(frozen=True, slots=True)
class FitResult:
    """Everything that a fit leaves on the estimator.

    Parameters
    ----------
    draft : estimator
        The copy of the estimator that was fitted; has its model, its encoders, and attributes
        that describe the data.
    callbacks : list of keras.callbacks.Callback
        All that trained.
    run : TrainingRun
    history : History
    validation_indices : ndarray of int or None
    state : TrainingState
    changes : mapping
        Parameters that ``retry_with`` changed for the attempt that succeeded.
    attempts : list of Attempt
    seconds : float
    """

    draft: Any
    callbacks: list[keras.callbacks.Callback]
    run: TrainingRun
    history: History
    validation_indices: np.ndarray | None
    state: TrainingState
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    attempts: list[Attempt] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    def attributes(self) -> dict[str, Any]:
        """Return the fitted attributes by name."""
        return {
            "callbacks_": self.callbacks,
            "history_": self.history.metrics,
            "n_epochs_": self.history.n_epochs,
            "best_epoch_": self.history.best_epoch,
            "stop_reason_": self.run.stop_reason,
            "validation_indices_": self.validation_indices,
            "attempts_": self.attempts,
            "fit_seconds_": self.seconds,
            "engine_": self.run.engine,
            "engine_reason_": self.run.reason,
            "_training_state": self.state,
        }
