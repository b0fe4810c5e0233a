"""Signatures: the arguments that functions, methods and classes take by name."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["REQUIRED", "Signature", "constructor_signature", "is_from_keras", "signature_of"]


class _Required:
    """The value of an argument that has no default and has not been set yet."""

    def __repr__(self) -> str:
        return "<required>"

    def __reduce__(self) -> str:
        return "REQUIRED"

    def __bool__(self) -> bool:
        return False


REQUIRED = _Required()


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """The arguments that a callable takes by name.

    Parameters
    ----------
    arguments : dict of str to object
        Default of each argument, `REQUIRED` if it has none, in the order of the signature.
    is_open : bool, default=False
        Whether the callable takes any further name.
    """

    arguments: dict[str, Any]
    is_open: bool = False

    def takes(self, name: str) -> bool:
        """Return whether the callable takes the argument `name`."""
        return self.is_open or name in self.arguments


def signature_of(callable_: Callable[..., Any]) -> Signature:
    """Return the signature of a callable.

    Parameters
    ----------
    callable_ : function, method, class, functools.partial or object with ``__call__``

    Returns
    -------
    Signature
        Open and without arguments for a builtin that does not have a signature.
    """
    if isinstance(callable_, type):
        return _class_signature(callable_)
    if isinstance(callable_, functools.partial):
        return _partial_signature(callable_)
    try:
        return _as_signature(inspect.signature(callable_).parameters.values())
    except ValueError:  # raised by inspect for builtins without a text signature
        return Signature({}, is_open=True)


def constructor_signature(init: Callable[..., Any]) -> Signature:
    """Return the signature of an ``__init__`` function without ``self``."""
    return _as_signature(list(inspect.signature(init).parameters.values())[1:])


def is_from_keras(thing: Callable[..., Any]) -> bool:
    """Return whether a class or function is defined by Keras itself."""
    return thing.__module__.partition(".")[0] == "keras"


def _partial_signature(partial: functools.partial[Any]) -> Signature:
    inner = signature_of(partial.func)
    positional = list(inner.arguments)[: len(partial.args)]
    arguments = {k: v for k, v in inner.arguments.items() if k not in positional}
    return Signature(arguments | partial.keywords, inner.is_open)


@functools.lru_cache(maxsize=256)
def _class_signature(cls: type) -> Signature:
    """Return the arguments of `cls` and, through its ``**kwargs``, of its base classes.

    ``inspect.signature`` does not look beyond ``**kwargs``, and shows ``(*args, **kwargs)`` only
    for classes with a ``__new__`` of that signature, such as ``keras.layers.Layer`` and
    ``keras.Sequential`` (Keras 3.8 to 3.15).
    """
    arguments: dict[str, Any] = {}
    is_open = False
    for base in cls.__mro__:
        init = vars(base).get("__init__")
        if not isinstance(init, types.FunctionType):
            continue
        own = constructor_signature(init)
        arguments |= {k: v for k, v in own.arguments.items() if k not in arguments}
        # Keras's own constructors raise on unknown names, so their **kwargs is not open.
        is_open |= own.is_open and not is_from_keras(base)
        # keras.Model inherits from trainers, whose constructors take no arguments, before it
        # does from Layer.
        if not own.is_open and (own.arguments or not is_from_keras(base)):
            break
    return Signature(arguments, is_open)


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _as_signature(parameters: Iterable[inspect.Parameter]) -> Signature:
    parameters = list(parameters)
    return Signature(
        {
            p.name: REQUIRED if p.default is inspect.Parameter.empty else p.default
            for p in parameters
            if p.kind in _BY_NAME
        },
        any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters),
    )
