"""Which parameters of an estimator were given, and which have the defaults of its constructor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skguard._parameters.names import constructor_names

__all__ = ["DEFAULT_OPTIMIZER", "as_pickled", "is_given"]

DEFAULT_OPTIMIZER = "".join(("rms", "prop"))
"""Default of ``optimizer``: equal to every other ``"rmsprop"``, but another object.

An optimizer that is passed must reach the model, and only its identity distinguishes this default
from the same name in a constructor call or a search. ``clone``, ``copy.deepcopy`` and
``set_params(**get_params())`` keep it, because none of them copies a string; for pickle there is
`as_pickled`. It is not of a subclass of str, which scikit-learn does not allow as a default.
"""


def is_given(estimator: Any, name: str) -> bool:
    """Return whether a constructor parameter was set, to another value than its default.

    An optimizer was also set if it is the one of the default.
    """
    value, default = getattr(estimator, name, None), constructor_names(type(estimator)).get(name)
    if value is default:
        return False
    if default is DEFAULT_OPTIMIZER:
        return True
    try:
        return bool(value != default)
    except (TypeError, ValueError):  # an array has no single truth value
        return True


def as_pickled(state: Mapping[str, Any]) -> dict[str, Any]:
    """Replace `DEFAULT_OPTIMIZER` in the state of an estimator by what unpickles to itself."""
    return {
        name: _PickledDefault() if value is DEFAULT_OPTIMIZER else value
        for name, value in state.items()
    }


class _PickledDefault:
    def __reduce__(self) -> tuple[Any, ...]:
        return _default_optimizer, ()


def _default_optimizer() -> str:
    return DEFAULT_OPTIMIZER
