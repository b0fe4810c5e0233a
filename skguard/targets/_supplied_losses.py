"""Losses of targets for which Keras has none."""

from __future__ import annotations

import math
from typing import Any

import keras

__all__ = ["GaussianLoss", "QuantileLoss"]


@keras.saving.register_keras_serializable("skguard")
class QuantileLoss(keras.losses.Loss):
    """Pinball loss, the mean over several quantiles.

    Parameters
    ----------
    levels : list of float
        Levels of the quantiles, one per unit of the output.
    name : str
    reduction : str
    """

    def __init__(
        self,
        levels: list[float],
        name: str = "quantile_loss",
        reduction: str = "sum_over_batch_size",
    ) -> None:
        super().__init__(name=name, reduction=reduction)
        self.levels = [float(level) for level in levels]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample."""
        levels = keras.ops.convert_to_tensor(self.levels, dtype=y_pred.dtype)
        error = y_true - y_pred
        return keras.ops.mean(keras.ops.maximum(levels * error, (levels - 1) * error), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"levels": self.levels, "name": self.name, "reduction": self.reduction}


@keras.saving.register_keras_serializable("skguard")
class GaussianLoss(keras.losses.Loss):
    """Negative log likelihood of a normal distribution.

    Parameters
    ----------
    deviation : {"std", "variance", "log_std", "log_variance"}
        What the second unit of the output is.
    name : str
    reduction : str
    """

    def __init__(
        self,
        deviation: str = "log_variance",
        name: str = "gaussian_loss",
        reduction: str = "sum_over_batch_size",
    ) -> None:
        super().__init__(name=name, reduction=reduction)
        self.deviation = deviation

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample."""
        mean, second = y_pred[:, 0], y_pred[:, 1]
        if self.deviation in ("std", "variance"):
            second = keras.ops.log(keras.ops.maximum(second, keras.config.epsilon()))
        log_variance = 2 * second if self.deviation in ("std", "log_std") else second
        squared = keras.ops.square(y_true[:, 0] - mean) * keras.ops.exp(-log_variance)
        return (math.log(2 * math.pi) + log_variance + squared) / 2

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"deviation": self.deviation, "name": self.name, "reduction": self.reduction}
