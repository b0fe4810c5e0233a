"""The backends of Keras that the engine can use."""

from __future__ import annotations

import importlib
from typing import Any

import keras

from skguard._engine.protocol import Backend
from skguard._engine.unsuitable import UnsuitableError

__all__ = ["current"]

# Module of each backend, which has a `Backend` named BACKEND. Imported at the first fit only.
_MODULES = {"tensorflow": "skguard._engine.tensorflow.backend"}


def current() -> Backend[Any]:
    """Return the entry into the backend that Keras uses.

    Raises
    ------
    UnsuitableError
        If the engine has none for it.
    """
    name = keras.config.backend()
    if name not in _MODULES:
        raise UnsuitableError(f"the backend of Keras is {name!r}")
    backend: Backend[Any] = importlib.import_module(_MODULES[name]).BACKEND
    return backend
