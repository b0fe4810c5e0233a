"""Data of one fit: validated, divided and encoded once, before a model is built."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight

from skguard._fit import arrays, validation
from skguard._fit.arrays import Samples
from skguard._fit.settings import FitSettings
from skguard.exceptions import InputValueError

__all__ = ["Encoded", "FitData", "FitInput", "divide", "prepare"]


@dataclasses.dataclass(frozen=True, slots=True)
class FitInput:
    """Arrays as they were passed to ``fit``."""

    X: Any
    y: Any = None
    sample_weight: Any = None
    X_val: Any = None
    y_val: Any = None
    sample_weight_val: Any = None
    groups: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Encoded:
    """Arrays as the model takes them, and the encoders that made them.

    Parameters
    ----------
    X, y : array, or nested lists, tuples and dicts of arrays
    sample_weight : ndarray of shape (n_samples,) or (n_samples, n_steps, ...), or None
    validation_data : tuple of (X, y, sample_weight), dataset or None
    feature_encoder, target_encoder : transformer
    """

    X: Any
    y: Any
    sample_weight: np.ndarray | None
    validation_data: Any
    feature_encoder: Any
    target_encoder: Any


@dataclasses.dataclass(frozen=True, slots=True)
class FitData:
    """Samples of one fit.

    Parameters
    ----------
    X, y : ndarray or sparse array
        All validated samples.
    training : Samples
        Without those of weight 0; class weights are multiplied into the weights.
    validation : Samples or None
    validation_dataset : object
        Validation data that Keras reads itself, such as a ``tf.data.Dataset``, or None.
    validation_indices : ndarray of int or None
        Indices in X of the samples that were set aside.
    encoded : Encoded or None
    """

    X: Any
    y: Any
    training: Samples
    validation: Samples | None = None
    validation_dataset: Any = None
    validation_indices: np.ndarray | None = None
    encoded: Encoded | None = None

    @property
    def has_validation(self) -> bool:
        return self.validation is not None or self.validation_dataset is not None

    def encoded_by(self, feature_encoder: Any, target_encoder: Any) -> Encoded:
        """Return the encoded arrays, encoding only if the encoders are other ones than before."""
        done = self.encoded
        if (
            done is not None
            and done.feature_encoder is feature_encoder
            and done.target_encoder is target_encoder
        ):
            return done

        def encode(samples: Samples) -> tuple[Any, Any, np.ndarray | None]:
            y = None if samples.y is None else target_encoder.transform(samples.y)
            return feature_encoder.transform(samples.X), y, samples.sample_weight

        X = feature_encoder.transform(self.training.X)
        y = target_encoder.transform(self.training.y)
        held = self.validation_dataset if self.validation is None else encode(self.validation)
        return Encoded(X, y, self.training.sample_weight, held, feature_encoder, target_encoder)


def prepare(
    draft: Any, given: FitInput, settings: FitSettings, validation_seed: int | None
) -> FitData:
    """Validate, divide and encode the data of a fit.

    Parameters
    ----------
    draft : estimator
        Its attributes that describe the data are set, or checked if training is resumed.
    given : FitInput
    settings : FitSettings
    validation_seed : int or None
        Seeds what is drawn for the validation set.
    """
    weights = arrays.check_weights(given.sample_weight, given.X, per_step=True)
    validate = draft._validate_data if settings.resume else draft._learn_data
    X, y = validate(given.X, given.y)
    data = divide(draft, Samples(X, y, weights), given, settings, validation_seed)
    encoded = data.encoded_by(draft.feature_encoder_, draft.target_encoder_)
    return dataclasses.replace(data, encoded=encoded)


def divide(
    draft: Any,
    samples: Samples,
    given: FitInput,
    settings: FitSettings,
    validation_seed: int | None,
) -> FitData:
    """Divide validated samples into those to train on and those to validate with."""
    weighted = samples.weighted_indices()
    supplied = _supplied(given, settings, supervised=samples.y is not None)
    if supplied is not None:
        chosen, validation_set, dataset = weighted, *_read(draft, supplied, samples.y is not None)
        validation_indices = None
    else:
        chosen, validation_indices = _split(
            samples, weighted, given.groups, settings, validation_seed
        )
        dataset = None
        validation_set = None if validation_indices is None else samples.take(validation_indices)
    return FitData(
        samples.X,
        samples.y,
        _weighted_by_class(samples.take(chosen), settings.class_weight),
        validation_set,
        dataset,
        validation_indices,
    )


def _weighted_by_class(training: Samples, class_weight: Any) -> Samples:
    """Multiply class weights into the sample weights: as in Keras, of the training set alone."""
    if class_weight is not None:
        weights = compute_sample_weight(class_weight, training.y)
        if training.sample_weight is not None:
            steps = (1,) * (training.sample_weight.ndim - 1)
            weights = weights.reshape(-1, *steps) * training.sample_weight
        weights = arrays.check_weights(weights, training.y, per_step=True)
        training = dataclasses.replace(training, sample_weight=weights)
    return training.take(training.weighted_indices())


def _supplied(given: FitInput, settings: FitSettings, *, supervised: bool) -> Any:
    """Return the validation data that the caller passed, or None."""
    if given.X_val is None:
        if given.y_val is not None or given.sample_weight_val is not None:
            raise InputValueError(
                "y_val and sample_weight_val were passed without X_val. Pass X_val too."
            )
        return settings.validation_data
    if given.y_val is None and supervised:
        raise InputValueError("X_val was passed without y_val. Pass y_val too.")
    if settings.validation_data is not None:
        raise InputValueError("X_val and validation_data were both passed. Pass one of them.")
    return given.X_val, given.y_val, given.sample_weight_val


def _read(draft: Any, supplied: Any, supervised: bool) -> tuple[Samples | None, Any]:
    """Validate supplied validation data; a dataset is left to Keras."""
    if hasattr(supplied, "shape"):
        raise InputValueError(
            f"validation_data must be (X, y) or (X, y, sample_weight), got one "
            f"{type(supplied).__name__}."
        )
    if not isinstance(supplied, tuple | list) or not 1 <= len(supplied) <= 3:
        return None, supplied
    X, y, sample_weight = (*supplied, None, None)[:3]
    if y is None and supervised:
        raise InputValueError("validation_data has X alone. Pass (X, y).")
    X, y = draft._validate_data(X, y)
    return Samples(X, y, arrays.check_weights(sample_weight, X, per_step=True)), None


def _split(
    samples: Samples, weighted: np.ndarray, groups: Any, settings: FitSettings, seed: int | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the indices of the samples to train on, and of those that are set aside."""
    rule = settings.rule
    groups = validation.as_groups(groups, len(samples))
    if rule is None:
        return weighted, None
    considered = np.arange(len(samples)) if rule.uses_positions else weighted
    sides = validation.split(
        rule,
        samples.take(considered),
        groups=None if groups is None else groups[considered],
        is_classifier=settings.is_classifier,
        seed=seed,
    )
    train, validation_indices = (
        indices[np.isin(indices, weighted)] for indices in (considered[side] for side in sides)
    )
    if not len(train) or not len(validation_indices):
        side = "validation" if len(train) else "training"
        raise InputValueError(f"All samples of the {side} set by {rule.label} have weight 0.")
    return train, validation_indices
