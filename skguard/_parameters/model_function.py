"""The model function: the callable that builds the model, and its hyperparameters."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras

from skguard._parameters.signatures import Signature, signature_of

if TYPE_CHECKING:
    from scikeras.wrappers import BaseWrapper

__all__ = ["FROM_ESTIMATOR", "ModelFunction", "model_function"]

FROM_ESTIMATOR = frozenset({"meta", "compile_kwargs", "params"})
"""Arguments whose values come from the estimator, if the model function has them."""


@dataclasses.dataclass(frozen=True, slots=True)
class ModelFunction:
    """The callable that builds the model, and the names that it is called with.

    Parameters
    ----------
    call : callable or None
        None if ``model`` is a ``keras.Model`` instance, or cannot build one.
    name : str
        For messages.
    arguments : dict of str to object
        Defaults of the arguments that are hyperparameters.
    is_open : bool, default=False
        Whether it takes any name.
    from_estimator : frozenset of str, default=frozenset()
        Those of ``meta``, ``compile_kwargs`` and ``params`` that it is called with.
    sees_estimator : bool, default=False
        Whether it is a method of the estimator, and so can read every parameter.
    """

    call: Callable[..., keras.Model] | None
    name: str
    arguments: dict[str, Any]
    is_open: bool = False
    from_estimator: frozenset[str] = frozenset()
    sees_estimator: bool = False

    @property
    def may_compile_from_estimator(self) -> bool:
        """Whether the estimator's compile parameters can reach the model through it."""
        return self.sees_estimator or bool(self.from_estimator & {"compile_kwargs", "params"})


def model_function(estimator: BaseWrapper) -> ModelFunction:
    """Return the model function of an estimator.

    Never raises, because ``get_params`` must not.
    """
    model = estimator.model if estimator.model is not None else estimator.build_fn
    is_method = model is None
    if is_method:
        model = getattr(estimator, "_keras_build_fn", None)
    if model is None or isinstance(model, keras.Model) or not callable(model):
        return ModelFunction(None, type(model).__name__, {})
    signature = signature_of(model)
    is_class = inspect.isclass(_innermost(model))
    return ModelFunction(
        call=model,
        name=getattr(model, "__name__", None) or type(model).__name__,
        arguments=_hyperparameters(signature, is_class=is_class),
        is_open=signature.is_open,
        from_estimator=_from_estimator(signature, is_class=is_class),
        sees_estimator=is_method or getattr(model, "__self__", None) is estimator,
    )


def _innermost(model: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(model, functools.partial):
        model = model.func
    return model


def _hyperparameters(signature: Signature, *, is_class: bool) -> dict[str, Any]:
    others = set(FROM_ESTIMATOR)
    if is_class:
        # The arguments of every layer, such as name and dtype, are not worth tuning.
        others |= signature_of(keras.layers.Layer).arguments.keys()
    return {k: v for k, v in signature.arguments.items() if k not in others}


def _from_estimator(signature: Signature, *, is_class: bool) -> frozenset[str]:
    # A class with **kwargs passes them to keras.Model, which takes none of these.
    if signature.is_open and not is_class:
        return FROM_ESTIMATOR
    return FROM_ESTIMATOR & signature.arguments.keys()
