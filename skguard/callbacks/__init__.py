"""Callbacks for searches, and what wraps one."""

from skguard.callbacks.scorer_monitor import ScorerMonitor
from skguard.callbacks.shared import Shared

__all__ = ["ScorerMonitor", "Shared"]
