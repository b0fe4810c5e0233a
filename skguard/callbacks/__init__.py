"""Callbacks for searches, and what wraps one."""

from skguard.callbacks.shared import Shared

__all__ = ["Shared"]
