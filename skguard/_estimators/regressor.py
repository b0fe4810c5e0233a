"""The regressor."""

from __future__ import annotations

from typing import Any

import numpy as np
from scikeras.wrappers import KerasRegressor

from skguard._estimators.base import GuardedKerasBase
from skguard._estimators.documentation import REGRESSOR_METHODS, documented
from skguard.exceptions import InputValueError
from skguard.targets import MeanAndDeviation

__all__ = ["GuardedKerasRegressor"]


@documented(methods=REGRESSOR_METHODS)
class GuardedKerasRegressor(GuardedKerasBase, KerasRegressor):
    """A Keras regressor with the interface of scikit-learn.

    Every fit starts from scratch: it builds the model, and trains with copies of the callbacks,
    optimizers, losses, metrics and models in the parameters, which are never changed.

    {parameters}

    {attributes}

    See Also
    --------
    GuardedKerasClassifier : Encodes labels and predicts classes.
    skguard.model_selection : Fault-tolerant hyperparameter searches.

    Examples
    --------
    >>> import keras
    >>> from sklearn.datasets import load_diabetes
    >>> from skguard import GuardedKerasRegressor
    >>> def build(meta, units=16):
    ...     return keras.Sequential([
    ...         keras.Input((meta["n_features_in_"],)),
    ...         keras.layers.Dense(units, "relu"),
    ...         keras.layers.Dense(1),
    ...     ])
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = GuardedKerasRegressor(build, loss="mse", units=8, verbose=0).fit(X, y)
    >>> model.predict(X).shape
    (442,)
    """

    def predict(
        self, X: Any, return_std: bool = False, **kwargs: Any
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        outputs = self._predict_raw(X, **kwargs)
        predicted = self._as_y(self.target_encoder_.inverse_transform(outputs))
        if not return_std:
            return predicted
        if not isinstance(self.target_encoder_, MeanAndDeviation):
            raise InputValueError(
                "return_std=True needs a model that predicts a standard deviation: pass "
                "target=MeanAndDeviation(), of skguard.targets."
            )
        return predicted, self._as_y(self.target_encoder_.std(outputs))

    def _as_y(self, predicted: Any) -> Any:
        """Return predictions in the floating-point type of y."""
        is_array = isinstance(predicted, np.ndarray) and predicted.dtype.kind in "biuf"
        if not is_array or self.y_dtype_.names:  # of a custom encoder, or of heads
            return predicted
        return predicted.astype(np.result_type(predicted.dtype, self.y_dtype_), copy=False)
