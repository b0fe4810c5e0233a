"""Weights that are not finite, and the last state in which all of them were."""

from __future__ import annotations

import keras
import numpy as np

from skguard._repairs import keras_internals

__all__ = ["WeightCheck"]


class WeightCheck:
    """Checks whether the weights of a model are finite, and can go back to where they were.

    Parameters
    ----------
    model : keras.Model
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        # Weights that are infinite before training are so on purpose, as a mask is.
        self._weights = [
            weight
            for weight in model.weights
            if "float" in str(weight.dtype) and _not_finite(weight) is None
        ]
        self._saved: list[np.ndarray] | None = None

    def first_not_finite(self) -> tuple[str, float] | None:
        """Return the path of a weight that is not finite and one of its values, or None."""
        for weight in self._weights:
            value = _not_finite(weight)
            if value is not None:
                return weight.path, value
        return None

    def save_if_finite(self) -> None:
        """Remember the variables of model and optimizer, if all weights are finite."""
        if self.first_not_finite() is None:
            self._saved = [np.copy(keras_internals.values_of(v)) for v in self._variables()]

    def restore(self) -> None:
        """Set the variables to the values that were remembered last, if any were."""
        if self._saved is not None:
            # An optimizer that was built in between has variables that were not remembered.
            for variable, values in zip(self._variables(), self._saved, strict=False):
                variable.assign(values)

    def _variables(self) -> list[keras.Variable]:
        model = self._model
        return [*model.variables, *(model.optimizer.variables if model.optimizer else [])]


def _not_finite(variable: keras.Variable) -> float | None:
    """Return one of a variable's values that are not finite, or None."""
    values = keras_internals.values_of(variable)
    if values.dtype.kind == "V":  # bfloat16, a type that NumPy does not have
        values = values.astype("float32")
    is_finite = np.isfinite(values)
    return None if is_finite.all() else float(values[~is_finite][0])
