"""What TensorFlow keeps of models that are gone.

Kernels: one for every operation that was run eagerly, by its settings. The name of a variable
is one of them, and each function that was traced is an operation of its own, so every new model
leaves some, for the life of the process. They are dropped here once they have become many;
the graphs in the store are optimized anew at their next call then, in about 0.2 s.

Gradients: every trace of an optimizer's update registers the gradient of the sum over replicas,
which nobody asks for and which holds the whole graph.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["drop_gradients", "note"]

# What was measured for small models, in bytes.
_BYTES = {"variable": 20_000, "graph": 2_000_000, "Keras's own training": 5_000_000}
_MAX_BYTES = 20_000_000

_lock = threading.Lock()
_noted = 0


def note(kind: str, n: int = 1) -> None:
    """Count what was left behind, and drop all of it when it is too much.

    Parameters
    ----------
    kind : {"variable", "graph", "Keras's own training"}
    n : int, default=1
    """
    global _noted
    with _lock:
        _noted += n * _BYTES[kind]
        if _noted < _MAX_BYTES:
            return
        _noted = 0
    _clear()()


def _clear() -> Callable[[], None]:
    """What drops the kernels, in this release of TensorFlow."""
    if "tensorflow" not in sys.modules:
        return _nothing
    try:
        from tensorflow.python.eager import context
    except ImportError:
        return _nothing
    clear: Callable[[], None] = getattr(context.context(), "clear_kernel_cache", _nothing)
    return clear


def _nothing() -> None:
    """They stay."""


def drop_gradients() -> None:
    """Forget the registered gradients of sums over replicas."""
    registered = _registered_gradients()
    for name in [n for n in registered if n.startswith("CustomGradient-")]:
        if "all_reduce" in _names_within(registered[name].get("type")):
            registered.pop(name, None)


def _registered_gradients() -> dict[str, Any]:
    """Where TensorFlow keeps them, or nothing where a release has moved it."""
    if "tensorflow" not in sys.modules:
        return {}
    try:
        from tensorflow.python.framework.ops import gradient_registry
    except ImportError:
        return {}
    registered: dict[str, Any] = getattr(gradient_registry, "_registry", {})
    return registered


def _names_within(function: Any, depth: int = 2) -> str:
    """The names of the functions that a function closes over."""
    names = ""
    for cell in getattr(function, "__closure__", None) or ():
        inner = cell.cell_contents
        if callable(inner):
            names += getattr(inner, "__qualname__", "")
            names += _names_within(inner, depth - 1) if depth else ""
    return names
