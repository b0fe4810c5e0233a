"""Keras models that scikit-learn can search, cross-validate and ship."""

from skguard.estimators import GuardedKerasBase, GuardedKerasClassifier, GuardedKerasRegressor
from skguard.versions import show_versions

__all__ = [
    "GuardedKerasBase",
    "GuardedKerasClassifier",
    "GuardedKerasRegressor",
    "show_versions",
]
