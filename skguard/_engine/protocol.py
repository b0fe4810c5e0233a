"""The protocol between the engine and a backend.

The epoch loop, the monitoring and the public functions know these classes only. A backend is a
package that implements `Backend`, and an entry in ``skguard/_engine/backends.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import keras
import numpy as np

from skguard._engine.plan import Plan

if TYPE_CHECKING:  # which imports this module
    from skguard._engine.shape_batches import ShapeBatches

__all__ = [
    "Backend",
    "Dataset",
    "EpochCall",
    "EpochResult",
    "Predictor",
    "Program",
]


@dataclasses.dataclass(frozen=True, slots=True)
class EpochCall:
    """Some epochs, or some batches of one epoch, to run at once.

    Parameters
    ----------
    orders : ndarray of shape (n_epochs or 1, n_samples), dtype int32
        For each epoch the indices of the samples in the order in which they are trained on. A
        single order is used in all epochs.
    batches : tuple of (int, int)
        The first batch to train on and the one after the last, 0-based.
    validates : sequence of bool of length n_epochs
        Whether to evaluate the validation set after each epoch.
    validation_batches : tuple of (int, int), default=(0, 0)
        The first batch to evaluate and the one after the last, 0-based.
    takes_snapshots : bool, default=False
        Whether to record the state of the model after each epoch.
    """

    orders: np.ndarray
    batches: tuple[int, int]
    validates: Sequence[bool]
    validation_batches: tuple[int, int] = (0, 0)
    takes_snapshots: bool = False

    @property
    def n_batches(self) -> int:
        """Number of batches that are trained on, in all epochs."""
        return len(self.validates) * (self.batches[1] - self.batches[0])

    @property
    def n_validation_batches(self) -> int:
        """Number of batches that are evaluated, in all epochs."""
        first, end = self.validation_batches
        return sum(self.validates) * (end - first)

    @property
    def starts_at_batch_0(self) -> bool:
        """Whether metrics start from zero."""
        first, _ = self.batches if self.n_batches else self.validation_batches
        return first == 0


@dataclasses.dataclass(frozen=True, slots=True)
class EpochResult:
    """Metrics, and snapshots if they were requested, of an `EpochCall`.

    Parameters
    ----------
    training : list of dict of str to float
        The metrics after the last training batch of each epoch.
    validation : list of dict of str to float
        The metrics after the last validation batch of each epoch. Undefined for epochs that were
        not validated.
    snapshots : object
        Argument of `Program.restore`; of the backend's own type.
    """

    training: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    snapshots: Any = None


class Program(Protocol):
    """A model and its data, ready to be trained by a backend.

    A program serves one fit. Its model is the one that the callbacks have, so that the state of
    the model between two calls of `run` is what Keras would show to them.
    """

    @property
    def reason(self) -> str:
        """Why this program was chosen, as ``engine_reason_`` shows it."""

    @property
    def runs_whole_epochs(self) -> bool:
        """Whether the next call may have more than one batch or epoch, training and validation.

        False before the first call at the latest: callbacks may have changed the model until
        then, and the program with it.
        """

    @property
    def seconds_per_batch(self) -> float | None:
        """Recent duration of one training batch; None before the first one."""

    @property
    def seconds_per_validation_batch(self) -> float | None:
        """Recent duration of one validation batch; None before the first one."""

    @property
    def bytes_per_snapshot(self) -> int:
        """Memory that the snapshot of one epoch takes."""

    def reset_metrics(self) -> None:
        """Reset the metrics before the first batch, unless `run` does that itself."""

    def run(self, call: EpochCall) -> EpochResult:
        """Train and evaluate.

        Raises
        ------
        UnsuitableError
            If a callback has changed the model into one that the backend cannot train.
        """

    def restore(self, snapshots: Any, epoch: int, *, weights_only: bool = False) -> None:
        """Set the model to its state after an epoch of a call that took snapshots.

        Parameters
        ----------
        snapshots : object
            `EpochResult.snapshots`.
        epoch : int
            Index within that call.
        weights_only : bool, default=False
            Leave the optimizer and the metrics as they are.
        """


class Predictor(Protocol):
    """A model that predicts arrays."""

    @property
    def seconds_per_sample(self) -> float | None:
        """Recent duration of one sample; None before the first call."""

    def run(self, x: Any, batch_size: int) -> Any:
        """Return the outputs for all samples of `x` as NumPy arrays, nested as the model's."""


class Dataset(Protocol):
    """Samples as a backend holds them."""

    @property
    def n_samples(self) -> int: ...


_Data = TypeVar("_Data", bound=Dataset)


class Backend(Protocol[_Data]):
    """The engine's entry into a backend of Keras."""

    def check(self, model: keras.Model) -> None:
        """Raise if the backend cannot run `model`, whatever the data.

        Raises
        ------
        UnsuitableError
        """

    def dataset(self, x: Any, y: Any = None, sample_weight: Any = None) -> _Data:
        """Convert arrays, as the input pipeline of Keras would.

        Memory-mapped arrays may be read later, see `skguard._engine.mapped`.

        Raises
        ------
        UnsuitableError
            If Keras would not read them as arrays, or would raise.
        """

    def program(
        self, model: keras.Model, training: _Data, validation: _Data | None, plan: Plan
    ) -> AbstractContextManager[Program]:
        """Prepare a program, and release what it holds afterwards.

        Raises
        ------
        UnsuitableError
        """

    def predictor(
        self, model: keras.Model, x: Any, n_samples: int, batch_size: int
    ) -> AbstractContextManager[Predictor]:
        """Prepare a predictor of `x`, and release what it holds afterwards.

        Raises
        ------
        UnsuitableError
        """

    def text(self, array: Any) -> Any:
        """Convert an array of strings to a tensor."""

    def stream(self, batches: ShapeBatches) -> Any:
        """Return a dataset for ``Model.fit`` that yields batches of different shapes."""

    def stream_mapped(
        self,
        data: Any,
        *,
        batch_size: int | None,
        steps: int | None = None,
        shuffle: bool | str = False,
    ) -> Any:
        """Return a dataset for Keras's trainer, of the batches that it would make of arrays.

        Parameters
        ----------
        data : tuple of (x, y, sample_weight)
            Memory-mapped arrays, of which the dataset reads a part at a time.
        batch_size, steps, shuffle
            As Keras takes them for arrays.
        """

    def clean_up(self) -> None:
        """Free what a training by ``Model.fit`` has left in the backend's global state."""
