"""Callbacks for searches, and what wraps one."""

from skguard.callbacks.revert_weights import RevertWeights
from skguard.callbacks.scorer_monitor import ScorerMonitor
from skguard.callbacks.shared import Shared

__all__ = ["RevertWeights", "ScorerMonitor", "Shared"]
