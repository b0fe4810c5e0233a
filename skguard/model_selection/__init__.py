"""scikit-learn's searches, that survive what goes wrong in them."""

from skguard.model_selection._search import (
    GuardedGridSearchCV,
    GuardedHalvingGridSearchCV,
    GuardedHalvingRandomSearchCV,
    GuardedRandomizedSearchCV,
)
from skguard.model_selection._trials import FailedTrial

__all__ = [
    "FailedTrial",
    "GuardedGridSearchCV",
    "GuardedHalvingGridSearchCV",
    "GuardedHalvingRandomSearchCV",
    "GuardedRandomizedSearchCV",
]
