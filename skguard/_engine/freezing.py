"""Layers that are frozen, or made trainable, between two trainings of one model."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator

import keras

from skguard._repairs import keras_internals
from skguard.exceptions import InputValueError

__all__ = ["with_current_flags"]

_Flags = tuple[bool, ...]

# The flags at the beginning and at the end of the last training of each model. The training step
# that Keras has compiled is one for either of them, or for others in between.
_TRAINED_WITH: weakref.WeakKeyDictionary[keras.Model, frozenset[_Flags]] = (
    weakref.WeakKeyDictionary()
)


@contextlib.contextmanager
def with_current_flags(model: keras.Model) -> Iterator[None]:
    """Train a model inside, with the flags ``trainable`` that its layers have now.

    ``Model.fit`` would use the training step that it has compiled for the flags of an earlier
    training, without a warning (Keras 3.8 to 3.15).

    Raises
    ------
    InputValueError
        If a layer was made trainable since then whose variables the optimizer does not have.
    """
    flags = _flags_of(model)
    if _TRAINED_WITH.get(model, {flags}) != {flags}:
        _check_optimizer(model)
        model.make_train_function(force=True)
    try:
        yield
    finally:
        after = _flags_of(model)
        # A model that was built in this training has more of them now.
        _TRAINED_WITH[model] = frozenset({flags, after} if len(flags) == len(after) else {after})


def _flags_of(model: keras.Model) -> _Flags:
    layers = tuple(layer.trainable for layer in (model, *keras_internals.all_layers(model)))
    return layers + tuple(bool(variable.trainable) for variable in model.variables)


def _check_optimizer(model: keras.Model) -> None:
    optimizer = model.optimizer
    known = keras_internals.optimized_variables(optimizer)
    if not known or not optimizer.built:
        return
    ids = {id(variable) for variable in known}
    unknown = [variable.path for variable in model.trainable_variables if id(variable) not in ids]
    if unknown:
        raise InputValueError(
            f"{', '.join(unknown)} became trainable after the model was compiled, and its "
            "optimizer has no state for them. Call compile() of the model, model_.compile(...) of "
            "an estimator, after layers are made trainable."
        )
