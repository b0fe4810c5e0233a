"""Last steps before a model is trained: batch sizes, and schedules that count epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from skguard import _engine as engine
from skguard._parameters import copies
from skguard.exceptions import InputValueError
from skguard.schedules import EpochSchedule

__all__ = ["set_steps_per_epoch", "with_batch_sizes"]


def with_batch_sizes(arguments: Mapping[str, Any], X: Any) -> dict[str, Any]:
    """Replace a batch size of -1, scikeras's value for all samples at once, by their number.

    Raises
    ------
    InputValueError
        If X is not one array.
    """
    resolved = dict(arguments)
    for name in ("batch_size", "validation_batch_size"):
        if resolved.get(name) == -1:
            if not hasattr(X, "shape"):
                raise InputValueError(
                    f"{name}=-1 means all samples in one batch, but X is a {type(X).__name__} "
                    "after feature_encoder, of unknown length. Pass a number."
                )
            resolved[name] = X.shape[0]
    return resolved


def set_steps_per_epoch(model: keras.Model, X: Any, arguments: Mapping[str, Any]) -> None:
    """Set the number of steps per epoch in a learning-rate schedule that counts epochs.

    Parameters
    ----------
    model : keras.Model
        Its optimizer gets a copy of the schedule, which a model function may share between
        models.
    X : array or nested arrays
        Encoded training samples.
    arguments : mapping
        Arguments of ``keras.Model.fit``.
    """
    schedule = engine.schedule_of(model.optimizer)
    if not isinstance(schedule, EpochSchedule):
        return
    schedule.check()
    if schedule.steps_per_epoch is not None:
        return  # set by the user, or by an earlier fit of this model
    own = copies.copy_keras_objects(schedule)
    own.steps_per_epoch = engine.steps_per_epoch(
        X,
        batch_size=arguments.get("batch_size"),
        steps_per_epoch=arguments.get("steps_per_epoch"),
    )
    engine.replace_schedule(model.optimizer, own)
