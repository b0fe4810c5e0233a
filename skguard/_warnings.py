"""Warnings that point at the line that called into the package, however deep they start."""

from __future__ import annotations

import inspect
import warnings

__all__ = ["level_of_user", "warn"]

_PACKAGES = frozenset({"keras", "scikeras", "skguard", "sklearn"})


def warn(message: str, category: type[Warning]) -> None:
    """Issue a warning about the line that called into the package."""
    warnings.warn(message, category, stacklevel=level_of_user())


def level_of_user() -> int:
    """Return the ``stacklevel``, in the calling function, of the first line outside the package."""
    level, frame = 0, inspect.currentframe()
    while frame is not None:
        package = (frame.f_globals.get("__name__") or "").partition(".")[0]
        if package not in _PACKAGES:
            break
        level, frame = level + 1, frame.f_back
    return level
