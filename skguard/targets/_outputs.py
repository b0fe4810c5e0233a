"""Outputs of a built model: shape of one sample, last activation, loss."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from skguard._repairs.keras_internals import all_layers, last_activation
from skguard.exceptions import InputValueError
from skguard.targets._losses import LossFormat, Outputs, Takes, format_of

__all__ = ["IS_PROBABILITY", "NOT_PROBABILITIES", "ModelOutput", "check_encoded", "outputs_of"]

# Without sparsemax, of which the values in Keras 3.15 do not add up to 1.
IS_PROBABILITY = frozenset({"softmax", "sigmoid", "hard_sigmoid"})
NOT_PROBABILITIES = frozenset(
    {
        "celu", "elu", "gelu", "glu", "hard_shrink", "hard_silu", "hard_tanh", "leaky_relu",
        "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "silu",
        "soft_shrink", "softsign", "sparse_plus", "squareplus", "tanh", "tanh_shrink",
    }
)  # fmt: skip


_TOLERANCE = 1e-3  # of half precision
_N_SAMPLES = 8  # with which a model is called


@dataclasses.dataclass(frozen=True, slots=True)
class ModelOutput:
    """One output of a model.

    Parameters
    ----------
    name : str
    shape : tuple of (int or None), or None
        Shape of one sample; None if it is unknown.
    activation : str or None
        Name of Keras's function that the output is a result of; None if it is unknown.
    loss : LossFormat or None
        None for an output that no compiled loss compares with y.
    is_in_mapping : bool
        Whether the model returns a dict, of which `name` is the key.
    extremes : tuple of float
        Smallest and largest value that was seen of an output of unknown activation, and 0 and 1.
    """

    name: str
    shape: tuple[int | None, ...] | None
    activation: str | None
    loss: LossFormat | None
    is_in_mapping: bool = False
    extremes: tuple[float, float] = (0.0, 1.0)

    @property
    def units(self) -> int | None:
        """Length of the last axis; 1 for an output of one number per sample without an axis."""
        if self.shape is None:
            return None
        return self.shape[-1] if self.shape else 1

    @property
    def steps(self) -> tuple[int | None, ...]:
        """The axes before the last one, such as time steps."""
        return (self.shape or ())[:-1]

    @property
    def are_probabilities(self) -> bool:
        """Whether the activation gives probabilities."""
        return self.activation in IS_PROBABILITY

    @property
    def is_out_of_range(self) -> bool:
        """Whether the values that were seen are none of probabilities."""
        compared_alone = self.loss is not None and self.loss.takes is Takes.ELEMENTS
        smallest, largest = self.extremes
        return smallest < -_TOLERANCE or (compared_alone and largest > 1 + _TOLERANCE)

    @property
    def loss_name(self) -> str:
        """Name of the loss, for messages."""
        return "the model computes" if self.loss is None else self.loss.name


def outputs_of(model: keras.Model, loss: Any, X: Any) -> list[ModelOutput] | None:
    """Return the outputs of a model, or None if they cannot be known before it is trained.

    Parameters
    ----------
    model : keras.Model
    loss : object
        As passed to ``compile``.
    X : array or nested arrays
        Encoded samples. A model is called with a few of them where the shape or the activation of
        an output is unknown.
    """
    _build_for_any_batch_size(model, X)
    tensors = getattr(model, "outputs", None)
    if tensors is not None:
        structure = getattr(model, "output", None)  # which a Sequential does not have
        names = _names(model, tensors, structure)
        shapes: list[Any] = [tuple(tensor.shape[1:]) for tensor in tensors]
        activations = [last_activation(tensor) for tensor in tensors]
        if any(str(tensor.dtype) == "string" for tensor in model.inputs):
            # Symbolic shapes of TextVectorization have an axis that its outputs do not have.
            called = _called(model, X)
            shapes = shapes if called is None else _known_shapes(shapes, called[1])
    else:
        found = _called(model, X)
        if found is None:
            return None
        names, shapes, structure = found
        activations = [None] * len(shapes)
    losses = _losses(loss, names)
    is_changed = type(model).predict_step is not keras.Model.predict_step
    seen = _extremes(model, X) if None in activations else None
    seen = seen or [(0.0, 1.0)] * len(shapes)
    return [
        ModelOutput(
            str(name),
            shape,
            activation,
            None if one is None else _format(one, is_changed),
            isinstance(structure, dict),
            extremes,
        )
        for name, shape, activation, one, extremes in zip(
            names, shapes, activations, losses, seen, strict=True
        )
    ]


def _format(loss: Any, is_changed: bool) -> LossFormat:
    """Return what a loss compares; a ``predict_step`` may give something else than logits."""
    found = format_of(loss)
    if is_changed and found.outputs is Outputs.LOGITS:
        return dataclasses.replace(found, outputs=Outputs.UNKNOWN)
    return found


def _build_for_any_batch_size(model: keras.Model, X: Any) -> None:
    """Build a Sequential without an input layer, which a call would bind to its batch size."""
    if isinstance(model, keras.Sequential) and not model.built and hasattr(X, "shape"):
        with contextlib.suppress(Exception):  # of which the call shows the cause
            model.build((None, *X.shape[1:]))


def check_encoded(y: np.ndarray, output: ModelOutput) -> None:
    """Raise if a loss of Keras would compare an array with an output of another shape.

    Parameters
    ----------
    y : ndarray of shape (n_samples, ...)
        As a target encoder has made it.
    output : ModelOutput

    Raises
    ------
    InputValueError
    """
    loss, units = output.loss, output.units
    if loss is None or not loss.is_known or output.shape is None or units is None:
        return
    if loss.takes is Takes.CLASS_NUMBERS:
        if y.ndim == len(output.shape) + 1 and y.shape[-1] != 1:
            raise InputValueError(
                f"y has shape {y.shape}, one column per class, but the loss {loss.name} takes "
                'class numbers. Use loss="categorical_crossentropy", or encode class numbers.'
            )
        if loss.ignored is None and y.max() >= units:
            raise InputValueError(
                f"y has {int(y.max()) + 1} classes, but the output of the model has {units} units. "
                f"The loss {loss.name} needs one unit per class."
            )
    elif loss.takes in (Takes.DISTRIBUTION, Takes.ELEMENTS):
        width = 1 if y.ndim == 1 else y.shape[-1]
        if y.ndim <= 2 and len(output.shape) == 1 and width != units:
            raise InputValueError(
                f"y has {width} {'column' if width == 1 else 'columns'}, but the output of the "
                f"model has {units} {'unit' if units == 1 else 'units'}, and the loss {loss.name} "
                "compares them. The output layer must have as many units as y has columns after "
                "target_encoder."
            )


def _known_shapes(symbolic: list[Any], seen: list[tuple[int, ...]]) -> list[Any]:
    """Return the shapes that were seen where a symbolic one has another number of axes."""
    pairs = zip(symbolic, seen, strict=True)
    return [one if len(one) == len(other) else other for one, other in pairs]


def _names(model: keras.Model, tensors: Sequence[Any], structure: Any) -> list[Any]:
    if isinstance(structure, dict):
        keys = {id(tensor): key for key, tensor in structure.items()}
        return [keys[id(tensor)] for tensor in tensors]
    names = getattr(model, "output_names", None)
    return list(names) if names else [layer.name for layer in model.layers[-len(tensors) :]]


def _call(model: keras.Model, X: Any) -> Any:
    """Call a model with some samples, which also creates its variables; None if it cannot be."""
    if any(getattr(layer, "stateful", False) for layer in all_layers(model)):
        return None
    # A model that only train_step calls, or one that cannot be called: training shows which.
    with contextlib.suppress(Exception):
        return model(keras.tree.map_structure(_first, X), training=False)
    return None


def _extremes(model: keras.Model, X: Any) -> list[tuple[float, float]] | None:
    """Return the extreme values of each output, and 0 and 1; None if the model cannot be called."""
    result = _call(model, X)
    if result is None:
        return None
    parts = [keras.ops.convert_to_numpy(part) for part in keras.tree.flatten(result)]
    return [
        (min(0.0, float(np.min(part))), max(1.0, float(np.max(part)))) if part.size else (0.0, 1.0)
        for part in parts
    ]


def _called(model: keras.Model, X: Any) -> tuple[list[Any], list[tuple[int, ...]], Any] | None:
    result = _call(model, X)
    if result is None:
        return None
    flat = keras.tree.flatten(result)
    names = sorted(result) if isinstance(result, dict) else list(range(len(flat)))
    return names, [tuple(tensor.shape[1:]) for tensor in flat], result


def _first(array: Any) -> Any:
    sample = array[:_N_SAMPLES]
    if hasattr(sample, "toarray"):
        sample = sample.toarray()
    if isinstance(sample, np.ndarray) and sample.dtype == np.float64:
        sample = sample.astype(keras.config.floatx())
    return keras.ops.convert_to_tensor(sample)


def _losses(loss: Any, names: Sequence[Any]) -> list[Any]:
    """Return the loss of each output, as Keras assigns them; None where there is none."""
    if isinstance(loss, dict):
        return [loss.get(name, loss.get(str(name))) for name in names]
    if isinstance(loss, list | tuple):
        if len(loss) == len(names):
            return list(loss)
        return [next((one for one in loss if one is not None), None)] * len(names)
    return [loss] * len(names)
