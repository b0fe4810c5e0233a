"""Formats of the losses of Keras: the form of y that each takes, and the meaning of the outputs."""

from __future__ import annotations

import dataclasses
import enum
import functools
from typing import Any

import keras

__all__ = ["LOSSES", "LossFormat", "Outputs", "Takes", "format_of"]


class Takes(enum.Enum):
    """The form of y that a loss takes."""

    CLASS_NUMBERS = "class numbers"
    """One number from 0 to ``units - 1`` per sample."""
    DISTRIBUTION = "one column per class"
    """As many columns as the output has units, which are compared as a whole."""
    ELEMENTS = "one column per unit"
    """As many columns as the output has units, each compared with its own unit."""
    EMBEDDINGS = "class numbers, compared with embeddings"
    """One number per sample; the outputs do not stand for classes."""
    SEQUENCES = "sequences of class numbers"
    """Sequences that are shorter than those of the outputs."""
    UNKNOWN = "unknown"
    """A loss that is not of Keras."""


class Outputs(enum.Enum):
    """The meaning of the outputs of a model."""

    PROBABILITIES = "probabilities"
    LOGITS = "logits"
    MARGINS = "margins"
    """Scores around 0.0: positive ones speak for the class."""
    VALUES = "values"
    """Numbers of the same scale as y."""
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, slots=True)
class LossFormat:
    """Form of y that a loss takes, and meaning of the outputs that it is compared with.

    Parameters
    ----------
    name : str
        For messages.
    takes : Takes
    outputs : Outputs
        What the outputs mean to the loss.
    loss : callable or None
        The loss itself, if it is not of Keras.
    ignored : int or None
        A number in y that is not a class: ``ignore_class`` of the loss.
    """

    name: str
    takes: Takes
    outputs: Outputs
    loss: Any = None
    ignored: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether the loss is one of Keras's."""
        return self.takes is not Takes.UNKNOWN


# By the name of the function. The class of each loss has the same name in camel case.
LOSSES: dict[str, tuple[Takes, Outputs]] = {
    "binary_crossentropy": (Takes.ELEMENTS, Outputs.PROBABILITIES),
    "binary_focal_crossentropy": (Takes.ELEMENTS, Outputs.PROBABILITIES),
    "categorical_crossentropy": (Takes.DISTRIBUTION, Outputs.PROBABILITIES),
    "categorical_focal_crossentropy": (Takes.DISTRIBUTION, Outputs.PROBABILITIES),
    "categorical_generalized_cross_entropy": (Takes.CLASS_NUMBERS, Outputs.PROBABILITIES),
    "categorical_hinge": (Takes.DISTRIBUTION, Outputs.MARGINS),
    "circle": (Takes.EMBEDDINGS, Outputs.VALUES),
    "cosine_similarity": (Takes.DISTRIBUTION, Outputs.MARGINS),
    "ctc": (Takes.SEQUENCES, Outputs.LOGITS),
    "dice": (Takes.ELEMENTS, Outputs.PROBABILITIES),
    "hinge": (Takes.ELEMENTS, Outputs.MARGINS),
    "huber": (Takes.ELEMENTS, Outputs.VALUES),
    "kl_divergence": (Takes.DISTRIBUTION, Outputs.PROBABILITIES),
    "log_cosh": (Takes.ELEMENTS, Outputs.VALUES),
    "mean_absolute_error": (Takes.ELEMENTS, Outputs.VALUES),
    "mean_absolute_percentage_error": (Takes.ELEMENTS, Outputs.VALUES),
    "mean_squared_error": (Takes.ELEMENTS, Outputs.VALUES),
    "mean_squared_logarithmic_error": (Takes.ELEMENTS, Outputs.VALUES),
    "poisson": (Takes.ELEMENTS, Outputs.VALUES),
    "sparse_categorical_crossentropy": (Takes.CLASS_NUMBERS, Outputs.PROBABILITIES),
    "squared_hinge": (Takes.ELEMENTS, Outputs.MARGINS),
    "tversky": (Takes.ELEMENTS, Outputs.PROBABILITIES),
}
_CLASSES = {
    "KLDivergence": "kl_divergence",
    "CTC": "ctc",
    **{"".join(part.capitalize() for part in name.split("_")): name for name in LOSSES},
}


def format_of(loss: Any) -> LossFormat:
    """Return what a loss compares.

    Parameters
    ----------
    loss : str, class, Loss or callable
        As ``keras.Model.compile`` takes one.

    Returns
    -------
    LossFormat
        Of takes ``UNKNOWN`` for a loss that is not of Keras.
    """
    known = keras.losses.get(loss) if isinstance(loss, str) else loss
    if isinstance(known, type):
        known = known()
    name, arguments = _identify(known)
    if name is None:
        label = getattr(known, "__name__", None) or getattr(known, "name", None) or repr(known)
        from_logits = getattr(known, "from_logits", False) is True
        outputs = Outputs.LOGITS if from_logits else Outputs.UNKNOWN
        return LossFormat(label, Takes.UNKNOWN, outputs, known)
    takes, outputs = LOSSES[name]
    if arguments.get("from_logits"):
        outputs = Outputs.LOGITS
    return LossFormat(name, takes, outputs, None, arguments.get("ignore_class"))


def _identify(loss: Any) -> tuple[str | None, dict[str, Any]]:
    """Return the name of Keras's loss that `loss` computes, or None, and its arguments."""
    if isinstance(loss, functools.partial):
        name, arguments = _identify(loss.func)
        return name, arguments | loss.keywords
    if isinstance(loss, keras.losses.Loss):
        return _identify_object(loss)
    name = getattr(loss, "__name__", None)
    is_own = name in LOSSES and getattr(keras.losses, name, None) is loss
    return (name if is_own else None), {}


def _identify_object(loss: keras.losses.Loss) -> tuple[str | None, dict[str, Any]]:
    for cls in type(loss).__mro__:
        name = _CLASSES.get(cls.__name__)
        if name is not None and getattr(keras.losses, cls.__name__, None) is cls:
            # A subclass that computes something else is a custom loss.
            same = type(loss).call is cls.call and type(loss).__call__ is cls.__call__
            return (name if same else None), vars(loss)
    # Keras wraps a function in an object whose class is not public, and is that of its own losses.
    wrapper = keras.losses.MeanSquaredError
    if not hasattr(loss, "fn") or not (
        type(loss).call is wrapper.call and type(loss).__call__ is wrapper.__call__
    ):
        return None, {}
    name, arguments = _identify(loss.fn)
    return name, arguments | _arguments(loss)


def _arguments(loss: keras.losses.Loss) -> dict[str, Any]:
    try:
        return dict(loss.get_config())
    except Exception:  # custom arguments that cannot be serialized
        return {}
