"""Suggestions for misspelt names, for the end of an error message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

__all__ = ["ask", "closest", "did_you_mean"]


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the question for the known names closest to `name`.

    Parameters
    ----------
    name : str
        The name that does not exist.
    known : iterable of str
        The names that do.
    cutoff : float, default=0.6
        Minimum similarity between 0 and 1, as in ``difflib.get_close_matches``.

    Returns
    -------
    str
        Starts with a space, and is empty if no known name is similar.
    """
    return ask(closest(name, known, cutoff=cutoff))


def closest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> list[str]:
    """Return up to three of the known names that are similar to `name`, the closest first."""
    return difflib.get_close_matches(name, sorted(known), n=3, cutoff=cutoff)


def ask(names: Sequence[str]) -> str:
    """Return the question whether one of `names` was meant, empty without names."""
    return f" Did you mean {' or '.join(map(repr, names))}?" if names else ""
