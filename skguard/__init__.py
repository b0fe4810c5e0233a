"""scikit-learn compatible estimators for Keras models, with fault-tolerant searches."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skguard._estimators.base import GuardedKerasBase
    from skguard._estimators.classifier import GuardedKerasClassifier
    from skguard._estimators.regressor import GuardedKerasRegressor
    from skguard._versions import show_versions
    from skguard.exceptions import FailedTrialError, FatalError

__all__ = [
    "FailedTrialError",
    "FatalError",
    "GuardedKerasBase",
    "GuardedKerasClassifier",
    "GuardedKerasRegressor",
    "show_versions",
]

_ROOMS = {
    "FailedTrialError": "exceptions",
    "FatalError": "exceptions",
    "GuardedKerasBase": "_estimators.base",
    "GuardedKerasClassifier": "_estimators.classifier",
    "GuardedKerasRegressor": "_estimators.regressor",
    "show_versions": "_versions",
}
_MODULES = ("callbacks", "exceptions", "model_selection", "plotting", "schedules")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    # Keras and TensorFlow, 3 s and 650 MB, only where they are used: a search over estimators
    # of scikit-learn needs neither, nor do its workers.
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
