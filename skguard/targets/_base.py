"""The interface of targets: how y is encoded for a model, and how its outputs are decoded."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from skguard.exceptions import InputValueError
from skguard.targets._metric_checks import TargetFormat
from skguard.targets._outputs import ModelOutput

__all__ = ["Target", "shape_of_samples"]


class Target(BaseEstimator, TransformerMixin):
    """How y is encoded for the loss of a model, and how the outputs of the model are decoded.

    A target is a scikit-learn transformer of y that is fitted in two steps: ``fit`` learns y,
    before the model is built; `for_outputs` learns the outputs and the loss of the built model.

    Attributes
    ----------
    classes_ : ndarray, list of ndarray or None
    n_classes_ : int, list of int or None
    n_outputs_ : int
        Number of units that the output layer needs, where that is known before a model is built.
    n_outputs_expected_ : int
        Number of outputs that the model must have.
    """

    classes_: Any = None
    n_classes_: Any = None
    n_outputs_: int = 1
    n_outputs_expected_: int = 1

    def default_loss(self) -> Any:
        """Return the loss of models for which the user has not chosen one, or None."""
        return None

    def fit(self, y: np.ndarray) -> Target:
        """Learn y."""
        raise NotImplementedError

    def for_outputs(self, outputs: list[ModelOutput] | None) -> Target:
        """Return this target for a model.

        Parameters
        ----------
        outputs : list of ModelOutput or None
            None if they cannot be known before the model is trained.

        Returns
        -------
        Target
            A fitted copy.

        Raises
        ------
        InputValueError
            If the loss cannot compare y with the outputs, or the outputs cannot be decoded.
        """
        if outputs is None:
            return self._for_output(ModelOutput("output", None, None, None))
        if len(outputs) != 1:
            raise InputValueError(
                f"Detected a Keras model with {len(outputs)} outputs, but y was prepared for "
                "1. Return a model with 1 output, or pass target=, one word per output, such as "
                f"target={['labels', 'values'][: len(outputs)]!r}, with one column of y each; or "
                "override target_encoder to split y into one array per output."
            )
        return self._for_output(outputs[0])

    def _for_output(self, output: ModelOutput) -> Target:
        raise NotImplementedError

    def _copy(self, **attributes: Any) -> Any:
        copied = copy.copy(self)
        copied.__dict__.update(attributes)
        return copied

    def transform(self, y: np.ndarray) -> Any:
        """Return y as the loss takes it."""
        raise NotImplementedError

    def inverse_transform(self, outputs: Any, return_proba: bool = False) -> Any:
        """Return predictions, or probabilities, for the outputs of a model."""
        raise NotImplementedError

    def formats(self) -> list[TargetFormat | None]:
        """Return the form of y for each output of the model; None where it is unknown."""
        return [None]

    @property
    def keeps_y(self) -> bool:
        """Whether y is passed to the loss as it is."""
        return False

    def labels(self, y: np.ndarray) -> np.ndarray | None:
        """Return one label per sample, for class weights and stratification; None without."""
        return None

    def score(self, y: np.ndarray, predicted: Any, sample_weight: Any = None) -> float | None:
        """Return a score; None to leave it to the estimator's ``scorer``."""
        return None

    @property
    def has_decision(self) -> bool:
        """Whether outputs are scores around 0.0 per sample: logits or margins."""
        return False

    def decision(self, outputs: np.ndarray) -> np.ndarray:
        """Return outputs as ``decision_function`` does, if `has_decision`."""
        raise NotImplementedError

    def get_metadata(self) -> dict[str, Any]:
        """Return what becomes attributes of the estimator, and ``meta`` of model functions."""
        classes = {"classes_": self.classes_, "n_classes_": self.n_classes_}
        outputs = {
            "n_outputs_": self.n_outputs_,
            "n_outputs_expected_": self.n_outputs_expected_,
        }
        return outputs if self.classes_ is None else classes | outputs


def shape_of_samples(y: np.ndarray) -> tuple[int, ...]:
    """Return the shape of the targets of one sample; () also for a y of shape (n_samples, 1)."""
    shape = tuple(y.shape[1:])
    return () if shape == (1,) else shape
