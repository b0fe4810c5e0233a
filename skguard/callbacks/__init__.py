"""Callbacks for searches, and what wraps one."""

from skguard.callbacks._revert_weights import RevertWeights
from skguard.callbacks._scorer_monitor import ScorerMonitor
from skguard.callbacks._shared import Shared

__all__ = ["RevertWeights", "ScorerMonitor", "Shared"]
