"""Removal of what TensorFlow keeps of models that no longer exist.

Kernels
    TensorFlow caches one for every operation that was run eagerly, by its attributes. The name of
    a variable is one of them, and each traced function is an operation, so every new model adds
    some, for the life of the process. They are dropped here once there are many; the graphs in
    the cache are then optimized again at their next call, in about 0.2 s.
    https://github.com/tensorflow/tensorflow/issues/62854

Gradients
    Every trace of an optimizer's update registers the gradient of the sum over replicas, which
    is never used and which keeps the whole graph alive.

Both are in private modules of TensorFlow (2.18 to 2.21); where a release has moved them, nothing
is removed.
"""

from __future__ import annotations

import enum
import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Residue", "drop_gradients", "note"]


class Residue(enum.Enum):
    """Causes of memory that stays in use; the value is its size in bytes, for small models."""

    VARIABLE = 20_000
    GRAPH = 2_000_000
    TRAINING_BY_KERAS = 5_000_000


_MAX_BYTES = 20_000_000

_lock = threading.Lock()
_noted = 0


def note(residue: Residue, n: int = 1) -> None:
    """Count what stays in use, and free all of it if it is too much.

    Parameters
    ----------
    residue : Residue
    n : int, default=1
    """
    global _noted
    with _lock:
        _noted += n * residue.value
        if _noted < _MAX_BYTES:
            return
        _noted = 0
    _clear()()


def _clear() -> Callable[[], None]:
    """Return the function that drops the kernels in this release of TensorFlow."""
    if "tensorflow" not in sys.modules:
        return _nothing
    try:
        from tensorflow.python.eager import context
    except ImportError:
        return _nothing
    clear: Callable[[], None] = getattr(context.context(), "clear_kernel_cache", _nothing)
    return clear


def _nothing() -> None:
    """Drop no kernels."""


def drop_gradients() -> None:
    """Unregister the gradients of sums over replicas."""
    registered = _registered_gradients()
    for name in [n for n in registered if n.startswith("CustomGradient-")]:
        if "all_reduce" in _names_within(registered[name].get("type")):
            registered.pop(name, None)


def _registered_gradients() -> dict[str, Any]:
    """Return TensorFlow's registry, or an empty dict if a release has moved it."""
    if "tensorflow" not in sys.modules:
        return {}
    try:
        from tensorflow.python.framework.ops import gradient_registry
    except ImportError:
        return {}
    registered: dict[str, Any] = getattr(gradient_registry, "_registry", {})
    return registered


def _names_within(function: Any, depth: int = 2) -> str:
    """Return the names of the functions in the closure of a function, joined."""
    names = ""
    for cell in getattr(function, "__closure__", None) or ():
        inner = cell.cell_contents
        if callable(inner):
            names += getattr(inner, "__qualname__", "")
            names += _names_within(inner, depth - 1) if depth else ""
    return names
