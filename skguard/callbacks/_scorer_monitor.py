"""Evaluate a scikit-learn scorer on the validation set at the end of each epoch."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.utils.multiclass import type_of_target

from skguard.callbacks._traits import Traits
from skguard.exceptions import InputTypeError, InputValueError

__all__ = ["ScorerMonitor", "scorer_name"]


@dataclasses.dataclass(frozen=True, slots=True)
class _Evaluation:
    """A scorer and the arguments that it is called with."""

    scorer: Callable[..., float]
    estimator: BaseEstimator
    X: Any
    y: Any
    sample_weight: Mapping[str, Any]

    def score(self) -> float:
        return float(self.scorer(self.estimator, self.X, self.y, **self.sample_weight))


class ScorerMonitor(keras.callbacks.Callback):
    """Evaluate a scorer on the validation set after each epoch, for other callbacks to monitor.

    The score is logged as ``val_<name>`` and kept in ``history_``. Callbacks such as
    EarlyStopping, ReduceLROnPlateau and ModelCheckpoint can monitor it with ``mode="max"``,
    because a higher value is better for every scikit-learn scorer.

    The scorer is called with an estimator whose ``predict`` and ``predict_proba`` use the
    current weights and return decoded labels, with the validation set of the fit, and with its
    sample weights if the scorer takes them.

    Parameters
    ----------
    scoring : str or callable
        Name of a scorer, or a callable ``scorer(estimator, X, y)``, as in scikit-learn [1]_.
    name : str, default=None
        Name of the score in the logs, without the prefix ``val_``. If None, the name of the
        scorer, such as ``"roc_auc"``.

    Attributes
    ----------
    scores : list of float
        One score per epoch with validation.

    Raises
    ------
    ValueError
        When a fit starts, if scikit-learn does not know `scoring`. Not retried.
    InputValueError
        When training starts, if the fit has no validation set. After the first epoch, if the
        scorer does not apply to its targets.

    References
    ----------
    .. [1] https://scikit-learn.org/stable/modules/model_evaluation.html

    Examples
    --------
    >>> import keras
    >>> from skguard import GuardedKerasClassifier
    >>> from skguard.callbacks import ScorerMonitor
    >>> callbacks = [
    ...     ScorerMonitor("roc_auc"),
    ...     keras.callbacks.EarlyStopping("val_roc_auc", mode="max", patience=5),
    ... ]
    >>> estimator = GuardedKerasClassifier(callbacks=callbacks, validation_fraction=0.2)
    """

    # Called first, so that the other callbacks find its score in the logs.
    traits = Traits(scores_validation_set=True, order=-1)

    def __init__(self, scoring: str | Callable[..., float], name: str | None = None) -> None:
        super().__init__()
        self.scoring = scoring
        self.name = name
        self.scores: list[float] = []
        self._evaluation: _Evaluation | None = None

    @property
    def logged_as(self) -> str:
        """Name of the score in the logs."""
        return f"val_{self.name if self.name is not None else scorer_name(self.scoring)}"

    def attach(self, estimator: BaseEstimator, X: Any, y: Any, sample_weight: Any = None) -> None:
        """Set the estimator and the validation set. Called by a fit before training.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator that predicts with the model in training.
        X : array-like of shape (n_samples, ...)
            Samples of the validation set.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets of the validation set, not encoded.
        sample_weight : array-like of shape (n_samples,), default=None
            Ignored by scorers that do not take sample weights.

        Raises
        ------
        ValueError
            If scikit-learn does not know `scoring`.
        """
        scorer = check_scoring(estimator, self.scoring)
        weights = {}
        if sample_weight is not None and _takes_sample_weight(scorer):
            weights["sample_weight"] = sample_weight
        self._evaluation = _Evaluation(scorer, estimator, X, y, weights)

    def detach(self) -> None:
        """Release the estimator and the validation set. Called by a fit after training."""
        self._evaluation = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._evaluation is None:
            raise InputValueError(
                f"ScorerMonitor({self.scoring!r}) has no validation set to score. Use it with "
                "skguard's estimators and set samples aside, for example by "
                "validation_fraction=0.1."
            )
        self.scores = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs if logs is not None else {}
        if "loss" in logs and "val_loss" not in logs:
            return  # an epoch without validation, by validation_freq
        assert self._evaluation is not None
        with self._input_errors(logs):
            score = self._evaluation.score()
        self.scores.append(score)
        logs[self.logged_as] = score

    @contextlib.contextmanager
    def _input_errors(self, logs: Mapping[str, Any]) -> Iterator[None]:
        """Raise as an `InputError` if the scorer does not apply to the target.

        The first score shows it, provided that the predictions are finite.
        """
        try:
            yield
        except (AttributeError, TypeError, ValueError) as error:
            losses = [float(logs[name]) for name in ("loss", "val_loss") if name in logs]
            if self.scores or not all(map(math.isfinite, losses)):
                raise
            assert self._evaluation is not None
            kind = type_of_target(self._evaluation.y)
            cls = InputTypeError if isinstance(error, TypeError) else InputValueError
            raise cls(
                f"scoring={self.scoring!r} cannot score the validation set, whose y is {kind}: "
                f"{error}\nPass a scorer for such a y, or None."
            ) from error


def _takes_sample_weight(scorer: Callable[..., float]) -> bool:
    # Scorers of make_scorer take any keyword; what counts is the function that they wrap, in an
    # attribute that is private in scikit-learn (1.6 to 1.9).
    function = getattr(scorer, "_score_func", scorer)
    try:
        return "sample_weight" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def scorer_name(scoring: str | Callable[..., float]) -> str:
    """Return the name of a scorer.

    Parameters
    ----------
    scoring : str or callable

    Returns
    -------
    str
        `scoring` itself if it is a str, else the name of the function that it is or wraps, else
        ``"score"``.
    """
    if isinstance(scoring, str):
        return scoring
    function = getattr(scoring, "_score_func", scoring)
    return getattr(function, "__name__", None) or "score"
