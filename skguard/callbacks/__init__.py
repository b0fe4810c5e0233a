"""Keras callbacks for estimators and searches, and a wrapper to share a callback between fits."""

from skguard.callbacks._revert_weights import RevertWeights
from skguard.callbacks._scorer_monitor import ScorerMonitor
from skguard.callbacks._shared import Shared

__all__ = ["RevertWeights", "ScorerMonitor", "Shared"]
