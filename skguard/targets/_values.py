"""Targets of regressors: numbers, quantiles, a mean and a deviation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special
from sklearn.metrics import d2_pinball_score, r2_score

from skguard.exceptions import InputValueError
from skguard.targets._base import Target
from skguard.targets._class_head import meaning_of
from skguard.targets._losses import Outputs, Takes
from skguard.targets._metric_checks import TargetFormat
from skguard.targets._outputs import ModelOutput
from skguard.targets._supplied_losses import GaussianLoss, QuantileLoss

__all__ = ["MeanAndDeviation", "Quantiles", "Values", "with_rank"]


class Values(Target):
    """Numbers, each predicted by one unit of the output.

    Attributes
    ----------
    n_outputs_ : int
        Number of columns of y.
    """

    def fit(self, y: np.ndarray) -> Values:
        """Learn the shape of y.

        Parameters
        ----------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs, ...)

        Returns
        -------
        Values
        """
        _check_numeric("values", y)
        self._sample_shape = tuple(y.shape[1:])
        self._activate: Callable[[np.ndarray], np.ndarray] | None = None
        self._rank: int | None = None
        self._is_free = False  # whether the output may have another number of steps
        self._is_fraction = bool(y.min() >= 0 and y.max() <= 1)
        self.n_outputs_ = y.shape[1] if y.ndim > 1 else 1
        return self

    def _for_output(self, output: ModelOutput) -> Values:
        if output.loss is None:
            return self
        if output.shape is not None:
            _check_values(output, self._sample_shape)
        # A loss of Keras drops a last axis of length 1; another one may compare (n, 1) with (n,).
        rank = None if output.loss.is_known or output.shape is None else len(output.shape) + 1
        is_free = output.shape is not None and None in output.shape
        bound: Values = self._copy(_activate=None, _rank=rank, _is_free=is_free)
        is_of_probabilities = output.loss.outputs in (Outputs.PROBABILITIES, Outputs.LOGITS)
        if is_of_probabilities and meaning_of(output) is Outputs.LOGITS:
            is_whole = output.loss.takes is Takes.DISTRIBUTION
            bound._activate = _softmax if is_whole else scipy.special.expit
        return bound

    @property
    def keeps_y(self) -> bool:
        """Whether y is passed to the loss as it is."""
        return self._rank is None

    def formats(self) -> list[TargetFormat | None]:
        """Return the form of y for the output of the model."""
        return [
            TargetFormat(
                "numbers",
                (Takes.ELEMENTS, Takes.DISTRIBUTION),
                Outputs.VALUES if self._activate is None else Outputs.LOGITS,
                units=self.n_outputs_,
                may_be_classes=self._is_fraction,
                advice="Use GuardedKerasClassifier for classes.",
            )
        ]

    def transform(self, y: np.ndarray) -> np.ndarray:
        """Return y as it is, or with as many axes as the output.

        Raises
        ------
        InputValueError
            If samples of y have another shape than in ``fit``.
        """
        if tuple(y.shape[1:]) != self._sample_shape and not self._is_free:
            raise InputValueError(
                f"y has samples of shape {y.shape[1:]}, but {self._sample_shape} was expected."
            )
        return with_rank(y, self._rank)

    def inverse_transform(self, outputs: np.ndarray, return_proba: bool = False) -> np.ndarray:
        """Return the outputs in the shape of y.

        Parameters
        ----------
        outputs : ndarray of shape (n_samples, ...)
        return_proba : bool, default=False
            Not used.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs, ...)
        """
        rank = len(self._sample_shape) + 1
        if outputs.ndim == rank + 1 and outputs.shape[-1] == 1:
            outputs = outputs[..., 0]
        elif outputs.ndim == rank - 1 and self._sample_shape[-1:] == (1,):
            outputs = outputs[..., np.newaxis]
        has_width = self._is_free or outputs.shape[1:] == self._sample_shape
        if outputs.ndim != rank or not has_width:
            raise InputValueError(
                f"The model has outputs of shape {outputs.shape[1:]} per sample, but y has "
                f"{self._sample_shape}. {_SEVERAL_UNITS}"
            )
        return outputs if self._activate is None else self._activate(outputs)


def with_rank(y: np.ndarray, rank: int | None) -> np.ndarray:
    """Return y with as many axes as an output, by a last axis of length 1 more or less."""
    if y.ndim + 1 == rank:
        return y[..., np.newaxis]
    return y[..., 0] if y.ndim - 1 == rank and y.shape[-1] == 1 else y


def _softmax(outputs: np.ndarray) -> np.ndarray:
    probabilities: np.ndarray = scipy.special.softmax(outputs, axis=-1)
    return probabilities


_SEVERAL_UNITS = (
    'For several outputs per target, pass target="quantiles", "mean_and_deviation", or two '
    "functions, target=(encode, decode)."
)


def _check_values(output: ModelOutput, shape: tuple[int, ...]) -> None:
    """Raise if a loss would compare y with outputs of another shape."""
    loss, given = output.loss, output.shape
    assert loss is not None
    assert given is not None
    if loss.takes in (Takes.CLASS_NUMBERS, Takes.EMBEDDINGS, Takes.SEQUENCES):
        raise InputValueError(
            f"The loss {loss.name} takes {loss.takes.value}. Use GuardedKerasClassifier for "
            "classes, or say how y is encoded: target=(encode, decode), two functions."
        )
    without = given[:-1] if given[-1:] == (1,) else given
    without_y = shape[:-1] if shape[-1:] == (1,) else shape
    if len(without) == len(without_y) and all(
        size in (None, width) for size, width in zip(without, without_y, strict=True)
    ):
        return
    width, units = shape[-1] if shape else 1, given[-1] if given else 1
    raise InputValueError(
        f"y has {width} {'column' if width == 1 else 'columns'}, but the output of the model has "
        f"{units} {'unit' if units == 1 else 'units'} (shape {shape} and {given} per sample), and "
        f"the loss {loss.name} compares them element by element. The output layer must have as "
        "many units as y has columns: meta['n_outputs_'] of a model function. "
        f"{_SEVERAL_UNITS}"
    )


class Quantiles(Target):
    """Quantiles of one number: one unit of the output per quantile.

    ``predict`` returns all of them. The score is the mean over the quantiles of
    ``sklearn.metrics.d2_pinball_score``, which is 1.0 at best.

    Parameters
    ----------
    levels : array-like of float of shape (n_quantiles,), default=None
        Which quantiles, in (0.0, 1.0), such as ``[0.05, 0.5, 0.95]``. Required for ``score``, and
        for ``loss=None``, which minimizes the pinball loss [1]_.

    Attributes
    ----------
    n_outputs_ : int
        Number of units, if `levels` is given.

    References
    ----------
    .. [1] https://scikit-learn.org/stable/modules/model_evaluation.html#pinball-loss

    Examples
    --------
    >>> import keras, numpy as np
    >>> from skguard import GuardedKerasRegressor
    >>> from skguard.targets import Quantiles
    >>> def build(meta):
    ...     return keras.Sequential([keras.layers.Dense(meta["n_outputs_"])])
    >>> estimator = GuardedKerasRegressor(build, target=Quantiles([0.1, 0.5, 0.9]), verbose=0)
    >>> X = np.linspace(0, 1, 50)[:, np.newaxis]
    >>> estimator.fit(X, X[:, 0]).predict(X).shape
    (50, 3)
    """

    def __init__(self, levels: Any = None) -> None:
        self.levels = levels

    def default_loss(self) -> QuantileLoss | None:
        """Return the pinball loss of the levels."""
        return None if self.levels is None else QuantileLoss(list(self.levels))

    def fit(self, y: np.ndarray) -> Quantiles:
        """Check that y has one column.

        Parameters
        ----------
        y : ndarray of shape (n_samples,) or (n_samples, 1)

        Returns
        -------
        Quantiles
        """
        _check_one_column("quantiles", y)
        if self.levels is not None:
            levels = np.asarray(self.levels, float)
            if levels.ndim != 1 or not levels.size or not ((levels > 0) & (levels < 1)).all():
                raise InputValueError(
                    f"levels={self.levels!r} of Quantiles must be a list of numbers in (0.0, 1.0)."
                )
            self.n_outputs_ = len(levels)
        return self

    def _for_output(self, output: ModelOutput) -> Quantiles:
        _check_units(output, "Quantiles", None if self.levels is None else self.n_outputs_)
        if output.activation == "softmax":
            raise InputValueError(
                "Quantiles are numbers of the scale of y, but the model ends with a softmax, whose "
                "units add up to 1. End it without an activation."
            )
        return self

    def formats(self) -> list[TargetFormat | None]:
        """Return a form that no metric of Keras takes."""
        return [_one_number_for("several units, one per quantile")]

    def transform(self, y: np.ndarray) -> np.ndarray:
        """Return y as one column, for the loss to compare with each unit."""
        return y.reshape(-1, 1)

    def inverse_transform(self, outputs: np.ndarray, return_proba: bool = False) -> np.ndarray:
        """Return the outputs, of shape (n_samples, n_quantiles)."""
        return outputs

    def score(self, y: np.ndarray, predicted: np.ndarray, sample_weight: Any = None) -> float:
        """Return the mean over the quantiles of ``d2_pinball_score``."""
        if self.levels is None:
            raise InputValueError(
                "A score of quantiles needs to know which they are. Pass "
                "target=Quantiles([0.1, 0.5, 0.9]), of skguard.targets, or scoring=."
            )
        y = y.reshape(-1)
        scores = [
            d2_pinball_score(y, column, alpha=level, sample_weight=sample_weight)
            for column, level in zip(predicted.T, self.levels, strict=True)
        ]
        return float(np.mean(scores))


class MeanAndDeviation(Target):
    """A mean and a standard deviation: two units of the output for one number.

    ``predict`` returns the mean, and ``predict(X, return_std=True)`` both, as scikit-learn's
    ``GaussianProcessRegressor``. The score is the R2 of the mean.

    Parameters
    ----------
    deviation : {"std", "variance", "log_std", "log_variance"}, default=None
        What the second unit is. Required for ``return_std``. If None, "log_variance" with
        ``loss=None``, which minimizes the negative log likelihood of a normal distribution [1]_.

    References
    ----------
    .. [1] Nix and Weigend, "Estimating the mean and variance of the target probability
       distribution", 1994. https://doi.org/10.1109/ICNN.1994.374138
    """

    n_outputs_ = 2

    def __init__(self, deviation: str | None = None) -> None:
        self.deviation = deviation

    def default_loss(self) -> GaussianLoss:
        """Return the negative log likelihood of a normal distribution."""
        return GaussianLoss(self.deviation or "log_variance")

    def fit(self, y: np.ndarray) -> MeanAndDeviation:
        """Check that y has one column.

        Parameters
        ----------
        y : ndarray of shape (n_samples,) or (n_samples, 1)

        Returns
        -------
        MeanAndDeviation
        """
        if self.deviation not in (None, *_TO_STD):
            allowed = ", ".join(map(repr, _TO_STD))
            raise InputValueError(
                f"deviation={self.deviation!r} of MeanAndDeviation must be one of {allowed}."
            )
        _check_one_column("mean_and_deviation", y)
        self._sample_shape = tuple(y.shape[1:])
        self._deviation = self.deviation
        return self

    def _for_output(self, output: ModelOutput) -> MeanAndDeviation:
        _check_units(output, "MeanAndDeviation", 2)
        own = output.loss is not None and isinstance(output.loss.loss, GaussianLoss)
        if not own:
            return self
        minimized = output.loss.loss.deviation  # type: ignore[union-attr]
        if self.deviation not in (None, minimized):
            raise InputValueError(
                f"deviation={self.deviation!r}, but the loss takes {minimized!r}. Pass loss=None."
            )
        bound: MeanAndDeviation = self._copy(_deviation=minimized)
        return bound

    def formats(self) -> list[TargetFormat | None]:
        """Return a form that no metric of Keras takes."""
        return [_one_number_for("two units, a mean and a deviation")]

    def transform(self, y: np.ndarray) -> np.ndarray:
        """Return y as one column."""
        return y.reshape(-1, 1)

    def inverse_transform(self, outputs: np.ndarray, return_proba: bool = False) -> np.ndarray:
        """Return the means, in the shape of y."""
        return outputs[:, 0].reshape(len(outputs), *self._sample_shape)

    def std(self, outputs: np.ndarray) -> np.ndarray:
        """Return the standard deviations, in the shape of y."""
        if self._deviation is None:
            raise InputValueError(
                "return_std=True needs to know what the second unit of the output is. Pass "
                'target=MeanAndDeviation("std"), of skguard.targets, or "variance", "log_std", '
                '"log_variance".'
            )
        std = _TO_STD[self._deviation](outputs[:, 1])
        return std.reshape(len(outputs), *self._sample_shape)

    def score(self, y: np.ndarray, predicted: np.ndarray, sample_weight: Any = None) -> float:
        """Return the R2 of the mean."""
        return float(r2_score(y, predicted, sample_weight=sample_weight))


_TO_STD: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "std": lambda x: x,
    "variance": np.sqrt,
    "log_std": np.exp,
    "log_variance": lambda x: np.exp(x / 2),
}


def _one_number_for(units: str) -> TargetFormat:
    form = f"one number for {units}"
    return TargetFormat(form, (), Outputs.VALUES, units=2, advice=_OTHER_METRIC)


_OTHER_METRIC = (
    "Pass a function of your own, or score the validation set: scoring=, and early_stopping=True."
)


def _check_numeric(name: str, y: np.ndarray) -> None:
    if y.dtype.kind not in "biuf":
        raise InputValueError(
            f"target={name!r} needs a y of numbers, got {y.ravel()[:1].tolist()[0]!r}: y must be "
            "numeric."
        )


def _check_one_column(name: str, y: np.ndarray) -> None:
    _check_numeric(name, y)
    if y.shape[1:] not in ((), (1,)):
        raise InputValueError(
            f"target={name!r} needs a y with one number per sample, got the shape {y.shape}."
        )


def _check_units(output: ModelOutput, name: str, units: int | None) -> None:
    """Raise if the output does not have the units, or the loss takes one target per unit."""
    if output.shape is not None and (
        len(output.shape) != 1 or (units is not None and output.shape[0] not in (None, units))
    ):
        raise InputValueError(
            f"target={name} needs a model with {units or 'one'} "
            f"{'units' if units else 'unit per quantile'}, got the output shape {output.shape}. "
            "Use meta['n_outputs_'] in the model function."
        )
    loss = output.loss
    if loss is not None and loss.is_known:
        raise InputValueError(
            f"target={name} needs a loss that compares one number with several units; "
            f"{loss.name} would compare it with each in the same way. Pass loss=None for the loss "
            "of the target, or a function of your own."
        )
