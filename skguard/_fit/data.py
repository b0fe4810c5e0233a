"""Data of one fit: validated, divided and encoded once, before a model is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight

from skguard._fit import arrays, batches, validation
from skguard._fit.arrays import Encoded, Samples
from skguard._fit.batched import is_batched
from skguard._fit.batches import BatchedData
from skguard._fit.scales import warn_of_other_scale
from skguard._fit.settings import FitSettings
from skguard._suggestions import did_you_mean
from skguard._warnings import warn
from skguard.exceptions import InputError, InputValueError, UnusedParameterWarning
from skguard.targets._base import Target

__all__ = ["FitData", "FitInput", "divide", "prepare"]


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

    def example(self, encoded: Encoded) -> Any:
        """Return samples as the model takes them, to call it with."""
        return encoded.X

    def encoded_by(self, feature_encoder: Any, target_encoder: Any) -> Encoded:
        """Return the encoded arrays, encoding only if the encoders are other ones than before."""
        done = self.encoded
        if (
            done is not None
            and done.feature_encoder is feature_encoder
            and done.target_encoder is target_encoder
        ):
            return done

        same_features = done is not None and done.feature_encoder is feature_encoder

        def encode_y(samples: Samples) -> Any:
            return None if samples.y is None else target_encoder.transform(samples.y)

        errors: list[InputError] = []
        held = self.validation_dataset
        if is_batched(held):
            held = batches.encoded(held, target_encoder, errors=errors)
        if done is not None and same_features:
            X = done.X
        else:
            X = arrays.encode_features(feature_encoder, self.training.X)
        y = target_encoder.transform(self.training.y)
        if self.validation is not None:
            if done is not None and same_features:
                X_held = done.validation_data[0]
            else:
                X_held = arrays.encode_features(feature_encoder, self.validation.X)
            held = X_held, encode_y(self.validation), self.validation.sample_weight
        weights = self.training.sample_weight
        return Encoded(X, y, weights, held, feature_encoder, target_encoder, errors)


def prepare(
    draft: Any, given: FitInput, settings: FitSettings, validation_seed: int | None
) -> FitData | BatchedData:
    """Validate, divide and encode the data of a fit.

    Parameters
    ----------
    draft : estimator
        Its attributes that describe the data are set, or checked if training is resumed.
    given : FitInput
    settings : FitSettings
    validation_seed : int or None
        Seeds what is drawn for the validation set.

    Returns
    -------
    FitData or BatchedData
    """
    if is_batched(given.X):
        return batches.prepare_batched(draft, given, settings)
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
        batches.check_validation_length(supplied, settings.arguments)
        chosen, validation_set, dataset = weighted, *_read(draft, supplied, samples.y is not None)
        validation_indices = None
        if validation_set is not None:
            is_regression = not isinstance(draft, ClassifierMixin)
            warn_of_other_scale(samples, validation_set, with_y=is_regression)
    else:
        chosen, validation_indices = _split(
            samples, weighted, given.groups, settings, validation_seed, _labels(draft, samples.y)
        )
        dataset = None
        validation_set = None if validation_indices is None else samples.take(validation_indices)
    return FitData(
        samples.X,
        samples.y,
        _weighted_by_class(draft, samples.take(chosen), settings.class_weight),
        validation_set,
        dataset,
        validation_indices,
    )


def _labels(draft: Any, y: Any) -> np.ndarray | None:
    """Return the labels of a classifier's y, one for each sample or step, or None."""
    if y is None or not isinstance(draft, ClassifierMixin):
        return None
    target = getattr(draft, "target_encoder_", None)
    if isinstance(target, Target):
        return target.labels(y)
    return y.reshape(-1) if y.shape[1:] in ((), (1,)) else None


def _weighted_by_class(draft: Any, training: Samples, class_weight: Any) -> Samples:
    """Multiply class weights into the sample weights: as in Keras, of the training set alone."""
    if class_weight is not None:
        labels = _labels(draft, training.y)
        if training.y.dtype.names:
            raise InputValueError(
                f"class_weight={class_weight!r} is for one kind of label, and target has several "
                "outputs. Pass sample_weight."
            )
        if labels is None:
            weights = compute_sample_weight(class_weight, training.y)
        else:
            _check_class_weight(draft, class_weight, labels)
            weights = compute_sample_weight(class_weight, labels.ravel()).reshape(labels.shape)
        if training.sample_weight is not None:
            weights = _product(weights, training.sample_weight)
        weights = arrays.check_weights(weights, training.y, per_step=True)
        training = dataclasses.replace(training, sample_weight=weights)
    return training.take(training.weighted_indices())


def _check_class_weight(draft: Any, class_weight: Any, labels: np.ndarray) -> None:
    """Raise if a label of the weights is a misspelt one, and warn of one that y does not have."""
    if not isinstance(class_weight, Mapping):
        return
    negative = {label: weight for label, weight in class_weight.items() if not weight >= 0}
    if negative:
        raise InputValueError(f"class_weight must be 0 or more, got {negative}.")
    classes = getattr(getattr(draft, "target_encoder_", None), "classes_", None)
    known = np.unique(labels).tolist() if classes is None else np.asarray(classes).tolist()
    unknown = [label for label in class_weight if label not in known]
    if not unknown:
        return
    message = (
        f"class_weight has the label {unknown[0]!r}, which is not among the classes {known}."
        f"{did_you_mean(str(unknown[0]), [str(label) for label in known])}"
    )
    if any(label not in class_weight for label in known):
        raise InputValueError(message)
    warn(
        f"{message} It has no effect. If y is one fold of a search, pass all labels: "
        "fit(..., classes=[...]).",
        UnusedParameterWarning,
    )


def _product(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Multiply weights, each per sample or per step."""
    n_axes = max(one.ndim, other.ndim)
    one, other = (w.reshape(*w.shape, *(1,) * (n_axes - w.ndim)) for w in (one, other))
    product: np.ndarray = one * other
    return product


def _supplied(given: FitInput, settings: FitSettings, *, supervised: bool) -> Any:
    """Return the validation data that the caller passed, or None."""
    if given.X_val is None:
        if given.y_val is not None or given.sample_weight_val is not None:
            raise InputValueError(
                "y_val and sample_weight_val were passed without X_val. Pass X_val too."
            )
        return settings.validation_data
    if is_batched(given.X_val):
        return given.X_val
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
    samples: Samples,
    weighted: np.ndarray,
    groups: Any,
    settings: FitSettings,
    seed: int | None,
    labels: np.ndarray | None,
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
        labels=None if labels is None or labels.ndim > 1 else labels[considered],
        seed=seed,
    )
    train, validation_indices = (
        indices[np.isin(indices, weighted)] for indices in (considered[side] for side in sides)
    )
    if not len(train) or not len(validation_indices):
        side = "validation" if len(train) else "training"
        raise InputValueError(f"All samples of the {side} set by {rule.label} have weight 0.")
    return train, validation_indices
