"""Last steps before a model is trained: inputs, batch sizes, schedules that count epochs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from skguard import _engine as engine
from skguard._fit import inputs
from skguard._fit.arrays import Encoded
from skguard._fit.columns import InputColumns
from skguard._fit.data import FitData
from skguard._parameters import copies
from skguard.exceptions import InputValueError
from skguard.schedules import EpochSchedule

__all__ = ["check_inputs", "set_steps_per_epoch", "with_batch_sizes", "with_inputs"]


def with_inputs(draft: Any, data: FitData, encoded: Encoded) -> Encoded:
    """Convert encoded samples to what the inputs of the model of a draft take.

    Raises
    ------
    InputValueError
        If they do not take text, numbers, or the shape of the validation set.
    """
    inputs.check_validation_shape(draft, data.validation)
    if isinstance(draft.feature_encoder_, InputColumns):
        inputs.check_names_of_inputs(draft.model_, encoded.X)
    validation = encoded.validation_data
    if data.validation is not None:
        validation = (inputs.as_model_takes(draft, validation[0]), *validation[1:])
        weights = _per_step(draft.model_, validation[2])
        validation = (*validation[:2], weights)
    X = inputs.as_model_takes(draft, encoded.X)
    weights = _per_step(draft.model_, encoded.sample_weight)
    return dataclasses.replace(encoded, X=X, sample_weight=weights, validation_data=validation)


def _per_step(model: keras.Model, weights: Any) -> Any:
    """Repeat weights over the steps of the output, which Keras would take for the samples."""
    outputs = getattr(model, "outputs", None) or []
    if weights is None or weights.ndim > 1 or len(outputs) != 1:
        return weights
    steps = tuple(outputs[0].shape[1:-1])
    if not steps:
        return weights
    if None in steps:
        raise InputValueError(
            "sample_weight has one weight per sample, but the number of steps of the output is "
            "not known. Pass one weight per step."
        )
    return np.broadcast_to(weights.reshape(-1, *(1 for _ in steps)), (len(weights), *steps)).copy()


def check_inputs(draft: Any, encoded: Encoded, arguments: Mapping[str, Any]) -> None:
    """Raise if batches, weights per step or NaN cannot be used by the model of a draft.

    Raises
    ------
    InputValueError
    """
    model, size = draft.model_, arguments.get("batch_size")
    inputs.check_weights(model, encoded.y, encoded.sample_weight)
    inputs.check_nan(draft, encoded.X, size)
    validation = encoded.validation_data
    if isinstance(validation, tuple) and len(validation) == 3:
        X, y, weights = validation
        size = arguments.get("validation_batch_size") or size
        inputs.check_model_inputs(model, X)
        inputs.check_batches(model, X, size)
        inputs.check_weights(model, y, weights)
        inputs.check_nan(draft, X, size)


def with_batch_sizes(arguments: Mapping[str, Any], X: Any) -> dict[str, Any]:
    """Replace a batch size of -1, scikeras's value for all samples at once, by their number.

    Raises
    ------
    InputValueError
        If X does not consist of arrays.
    """
    resolved = dict(arguments)
    for name in ("batch_size", "validation_batch_size"):
        if resolved.get(name) == -1:
            first: Any = next(iter(keras.tree.flatten(X)), None)
            if not hasattr(first, "shape"):
                raise InputValueError(
                    f"{name}=-1 means all samples in one batch, but X is a {type(X).__name__} "
                    "after feature_encoder, of unknown length. Pass a number."
                )
            resolved[name] = first.shape[0]
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
