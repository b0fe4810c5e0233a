"""Keras models that scikit-learn can search, cross-validate and ship."""

from skguard.estimators import GuardedKerasBase, GuardedKerasClassifier, GuardedKerasRegressor
from skguard.exceptions import FailedTrialError, FatalError
from skguard.versions import show_versions

__all__ = [
    "FailedTrialError",
    "FatalError",
    "GuardedKerasBase",
    "GuardedKerasClassifier",
    "GuardedKerasRegressor",
    "show_versions",
]
