"""Data that comes in batches: ``tf.data.Dataset``, ``keras.utils.PyDataset`` and generators.

Keras reads it itself. What has to be known before the model is built comes from the first batch.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.preprocessing import FunctionTransformer

from skguard import _engine as engine
from skguard._fit import arrays
from skguard._fit.arrays import Encoded, Samples
from skguard._fit.attempts import input_errors
from skguard._fit.batched import is_batched, is_generator, is_tf_dataset
from skguard._fit.settings import FitSettings
from skguard.exceptions import InputError, InputTypeError, InputValueError
from skguard.targets._base import Target

__all__ = [
    "Batch",
    "BatchedData",
    "batches_of",
    "check_validation_length",
    "encoded",
    "inputs_of",
    "is_endless",
    "prepare_batched",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """One batch, as NumPy arrays."""

    x: Any
    y: Any = None
    sample_weight: Any = None

    @classmethod
    def of(cls, item: Any) -> Batch:
        """Return what a dataset or a generator has given."""
        x, y, weight = keras.utils.unpack_x_y_sample_weight(item)
        return cls(*(keras.tree.map_structure(_as_array, part) for part in (x, y, weight)))


def _as_array(leaf: Any) -> Any:
    if leaf is None:
        return None
    array = leaf.numpy() if hasattr(leaf, "numpy") else np.asarray(leaf)
    if isinstance(array, np.ndarray) and array.dtype.kind in "OS":  # strings of TensorFlow
        return np.char.decode(array.astype(bytes)) if _holds_bytes(array) else array
    return array


def _holds_bytes(array: np.ndarray) -> bool:
    return array.dtype.kind == "S" or (array.size > 0 and isinstance(array.flat[0], bytes))


def batches_of(X: Any) -> Iterator[Batch]:
    """Iterate over the batches of one epoch."""
    if isinstance(X, keras.utils.PyDataset):
        n_batches = X.num_batches
        items = (X[i] for i in (range(n_batches) if n_batches is not None else itertools.count()))
    else:
        items = iter(X)
    return map(Batch.of, items)


@dataclasses.dataclass(frozen=True, slots=True)
class _Encode:
    """Encodes the targets of a batch, and weights its samples by class.

    Parameters
    ----------
    target : transformer
    class_weight : dict or None
    errors : list of InputError
        Filled with what is raised, which TensorFlow replaces by an error of its own.
    """

    target: Any
    class_weight: Mapping[Any, float] | None = None
    errors: list[InputError] = dataclasses.field(default_factory=list)

    def __call__(self, item: Any) -> tuple[Any, ...]:
        batch = Batch.of(item)
        y, weight = self.of_targets(batch.y, batch.sample_weight)
        return (batch.x, y) if weight is None else (batch.x, y, weight)

    def of_targets(self, y: np.ndarray, weight: Any = None) -> tuple[Any, Any]:
        try:
            with input_errors():
                return self._encoded(y, weight)
        except InputError as error:
            self.errors.append(error)
            raise

    def _encoded(self, y: np.ndarray, weight: Any) -> tuple[Any, Any]:
        if self.class_weight is not None:
            labels = self.target.labels(y)
            weights = [self.class_weight.get(label, 1.0) for label in labels.ravel().tolist()]
            by_class = np.array(weights, np.float32).reshape(labels.shape)
            weight = by_class if weight is None else weight * by_class
        return self.target.transform(y), weight


class _EncodedPyDataset(keras.utils.PyDataset):
    """A PyDataset of which the targets are encoded."""

    def __init__(self, inner: keras.utils.PyDataset, encode: Callable[[Any], Any]) -> None:
        super().__init__(
            workers=inner.workers,
            use_multiprocessing=inner.use_multiprocessing,
            max_queue_size=inner.max_queue_size,
        )
        self._inner = inner
        self._encode = encode

    @property
    def num_batches(self) -> int | None:
        """Number of batches of one epoch."""
        n_batches: int | None = self._inner.num_batches
        return n_batches

    def __getitem__(self, index: int) -> Any:
        return self._encode(self._inner[index])

    def on_epoch_begin(self) -> None:
        self._inner.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._inner.on_epoch_end()


def encoded(
    X: Any, target: Any, class_weight: Any = None, errors: list[InputError] | None = None
) -> Any:
    """Return batched data of which the targets are encoded.

    Parameters
    ----------
    X : dataset or generator
    target : transformer
    class_weight : dict or None
    errors : list of InputError, default=None
        Filled with errors about the targets.
    """
    if class_weight is None and _keeps(target):
        return X
    encode = _Encode(target, class_weight, [] if errors is None else errors)
    if isinstance(X, keras.utils.PyDataset):
        return _EncodedPyDataset(X, encode)
    if is_tf_dataset(X):
        return engine.with_encoded_targets(X, encode.of_targets)
    return (encode(item) for item in X)  # Keras does not take other iterators


def inputs_of(X: Any) -> Any:
    """Return batched data without its targets, which may be text, for prediction."""
    if isinstance(X, keras.utils.PyDataset):
        return _EncodedPyDataset(X, _input)
    return X if is_tf_dataset(X) else (_input(item) for item in X)


def _input(item: Any) -> Any:
    return Batch.of(item).x


def _keeps(target: Any) -> bool:
    """Return whether a target encoder leaves y as it is, whatever it has."""
    if isinstance(target, Target):
        return target.keeps_y and target.classes_ is None  # else labels are checked
    return isinstance(target, FunctionTransformer) and target.func is None


@dataclasses.dataclass(frozen=True, slots=True)
class BatchedData:
    """Data of a fit that comes in batches; it has what `FitData` has.

    Parameters
    ----------
    X : dataset or generator
    first : Batch
    class_weight : dict or None
    validation : Samples or None
    validation_dataset : dataset or None
    """

    X: Any
    first: Batch
    class_weight: Any
    validation: Samples | None
    validation_dataset: Any
    y: None = None
    validation_indices: None = None
    encoded: None = None

    @property
    def is_shuffled_by_keras(self) -> bool:
        """Whether Keras can draw the order of the batches."""
        return isinstance(self.X, keras.utils.PyDataset)

    @property
    def has_validation(self) -> bool:
        """Whether there is a validation set."""
        return self.validation is not None or self.validation_dataset is not None

    def example(self, encoded: Any) -> Any:
        """Return samples as the model takes them, to call it with."""
        return self.first.x

    def encoded_by(self, feature_encoder: Any, target_encoder: Any) -> Encoded:
        """Return the data as Keras reads it: see `FitData.encoded_by`."""
        held = self.validation_dataset
        errors: list[InputError] = []
        if held is not None:
            held = encoded(held, target_encoder, errors=errors)
        elif self.validation is not None:
            v = self.validation
            held = feature_encoder.transform(v.X), target_encoder.transform(v.y), v.sample_weight
        X = encoded(self.X, target_encoder, self.class_weight, errors)
        return Encoded(X, None, None, held, feature_encoder, target_encoder, errors)


def prepare_batched(draft: Any, given: Any, settings: FitSettings) -> BatchedData:
    """Learn what the first batch says, and check what batched data cannot have.

    Parameters
    ----------
    draft : estimator
    given : FitInput
    settings : FitSettings

    Raises
    ------
    InputValueError, InputTypeError
    """
    _check_given(given, settings)
    X = given.X
    first = next(batches_of(X), None)
    if first is None:
        raise InputValueError("X has no batches.")
    if is_generator(X):
        X = _chained(first, X)
    is_supervised = isinstance(draft, ClassifierMixin | RegressorMixin)
    if first.y is None and is_supervised:
        raise InputValueError(
            f"{type(draft).__name__} needs batches of (x, y) or (x, y, sample_weight), got x alone."
        )
    if settings.resume:
        draft.target_encoder_.transform(first.y)
    else:
        draft._learn_first_batch(first)
    _check_class_weight(draft, settings.class_weight)
    validation, dataset = _validation(draft, given, settings)
    return BatchedData(X, first, settings.class_weight, validation, dataset)


def _chained(first: Batch, rest: Iterator[Any]) -> Iterator[Any]:
    parts = (first.x, first.y, first.sample_weight)
    yield tuple(part for part in parts if part is not None)
    yield from rest


def _check_class_weight(draft: Any, class_weight: Any) -> None:
    classes = getattr(draft.target_encoder_, "classes_", None)
    if class_weight is None or classes is None:
        return
    known = np.asarray(classes).tolist()
    unknown = [label for label in class_weight if label not in known]
    if unknown:
        raise InputValueError(
            f"class_weight has the label {unknown[0]!r}, which is not among the classes {known}."
        )


def _check_length(name: str, X: Any, steps: str, arguments: Mapping[str, Any]) -> None:
    """Raise if an epoch over X has no end, or a second epoch would have no batches."""
    if arguments.get(steps) is None and (is_generator(X) or is_endless(X)):
        raise InputValueError(
            f"{name}, a {type(X).__name__}, does not state how long an epoch is. Pass {steps}= to "
            "fit, or a keras.utils.PyDataset or tf.data.Dataset that ends."
        )


def check_validation_length(held: Any, arguments: Mapping[str, Any]) -> None:
    """Raise if a validation set in batches would be empty in the second epoch, or has no end."""
    if held is not None and is_batched(held):
        _check_length("X_val", held, "validation_steps", arguments)


def is_endless(X: Any) -> bool:
    """Return whether X is a ``tf.data.Dataset`` that repeats without end."""
    return is_tf_dataset(X) and int(X.cardinality()) == -1


def _check_given(given: Any, settings: FitSettings) -> None:
    kind = type(given.X).__name__
    for name in ("y", "sample_weight", "groups"):
        if getattr(given, name) is not None:
            raise InputTypeError(
                f"{name} was passed beside X, a {kind} of batches. A batch is (x, y) or "
                "(x, y, sample_weight): let it have them."
            )
    if settings.rule is not None and given.X_val is None and settings.validation_data is None:
        raise InputValueError(
            f"{settings.rule.label} cannot set samples of a {kind} aside. Pass a validation set: "
            "X_val= another one, or X_val= and y_val= arrays."
        )
    if settings.class_weight is not None and not isinstance(settings.class_weight, Mapping):
        raise InputValueError(
            f"class_weight={settings.class_weight!r} needs all labels, which a {kind} does not "
            "show. Pass a dict of label: weight."
        )
    _check_length("X", given.X, "steps_per_epoch", settings.arguments)


def _validation(draft: Any, given: Any, settings: FitSettings) -> tuple[Samples | None, Any]:
    held = given.X_val if given.X_val is not None else settings.validation_data
    if held is None or is_batched(held):
        check_validation_length(held, settings.arguments)
        return None, held
    if isinstance(held, tuple | list) and given.X_val is None:
        X, y, weight = (*held, None, None)[:3]
    else:
        X, y, weight = held, given.y_val, given.sample_weight_val
    X, y = draft._validate_data(X, y)
    return Samples(X, y, arrays.check_weights(weight, X)), None
