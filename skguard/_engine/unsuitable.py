"""The error of a backend that cannot do what Keras does."""

from __future__ import annotations

__all__ = ["UnsuitableError"]


class UnsuitableError(Exception):
    """Raised if a backend cannot do something as Keras would; the message is a clause.

    Keras then does it instead, and the clause is part of ``engine_reason_``.
    """
