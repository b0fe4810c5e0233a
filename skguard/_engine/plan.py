"""The plan of one training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from skguard._engine.batches import DEFAULT_BATCH_SIZE, n_batches
from skguard._engine.monitor import Limits

__all__ = ["Plan"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Arguments of ``keras.Model.fit``, which have their meaning there, and what follows from them.

    Parameters
    ----------
    n_samples : int
    n_validation_samples : int or None
        None without a validation set.
    seed : int
        Seed of the order of the samples. Each epoch has an order of its own that depends on the
        seed and the epoch only, and so not on how many epochs are run at once.
    limits : Limits
        When training has to end before its last epoch.
    """

    n_samples: int
    n_validation_samples: int | None
    epochs: int
    initial_epoch: int
    batch_size: int
    validation_batch_size: int
    validation_freq: int | Sequence[int]
    shuffle: bool | str
    verbose: int | str
    callbacks: list[keras.callbacks.Callback] | None
    seed: int
    limits: Limits

    @classmethod
    def of(
        cls,
        arguments: Mapping[str, Any],
        limits: Limits,
        n_samples: int,
        n_validation_samples: int | None,
    ) -> Plan:
        """Make a plan from the arguments of ``Model.fit``, all of which are there.

        If samples are shuffled, the seed is drawn from NumPy's global random state, which is
        seeded for a fit with a ``random_state``.
        """
        batch_size = arguments["batch_size"] or DEFAULT_BATCH_SIZE
        copied = ("epochs", "initial_epoch", "validation_freq", "shuffle", "verbose", "callbacks")
        return cls(
            n_samples=n_samples,
            n_validation_samples=n_validation_samples,
            batch_size=batch_size,
            validation_batch_size=arguments["validation_batch_size"] or batch_size,
            seed=int(np.random.randint(2**31)) if arguments["shuffle"] else 0,
            limits=limits,
            **{name: arguments[name] for name in copied},
        )

    @property
    def n_batches(self) -> int:
        """Training batches per epoch."""
        return n_batches(self.n_samples, self.batch_size)

    @property
    def n_validation_batches(self) -> int:
        """Validation batches per evaluation; 0 without a validation set."""
        return n_batches(self.n_validation_samples or 0, self.validation_batch_size)

    def validates(self, epoch: int) -> bool:
        """Whether the validation set is evaluated after an epoch."""
        if self.n_validation_samples is None:
            return False
        if isinstance(self.validation_freq, int):
            return (epoch + 1) % self.validation_freq == 0
        return epoch + 1 in self.validation_freq

    def has_at_most(self, limit: int) -> bool:
        """Whether the whole training has at most `limit` batches, those of validation included."""
        epochs = range(self.initial_epoch, self.epochs)
        total = len(epochs) * self.n_batches
        # Epochs are counted one by one only where there are few of them.
        if self.n_validation_samples is not None and total <= limit:
            total += sum(map(self.validates, epochs)) * self.n_validation_batches
        return total <= limit

    def order(self, epoch: int) -> np.ndarray:
        """Return the indices of the samples in the order of an epoch."""
        order = np.arange(self.n_samples, dtype=np.int32)
        if not self.shuffle:
            return order
        rng = np.random.default_rng([self.seed, epoch])
        if self.shuffle == "batch":
            for start in range(0, self.n_samples, self.batch_size):
                rng.shuffle(order[start : start + self.batch_size])
        else:
            rng.shuffle(order)
        return order
