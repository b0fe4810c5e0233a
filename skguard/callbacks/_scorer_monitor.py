"""A scikit-learn scorer on the rows that are held out, at the end of each epoch."""

from __future__ import annotations

import inspect
from typing import Any

import keras
from sklearn.metrics import check_scoring

from skguard.callbacks._traits import Traits

__all__ = ["ScorerMonitor", "scorer_name"]


class ScorerMonitor(keras.callbacks.Callback):
    """Score the model on the hold-out at each epoch, for other callbacks to monitor.

    The score is in the logs and in ``history_`` as ``val_<name>``, so that EarlyStopping,
    ReduceLROnPlateau and ModelCheckpoint find it; give them ``mode="max"``, because greater is
    better for every scikit-learn scorer. The model is scored as the estimator's ``predict`` and
    ``predict_proba`` would be, labels decoded, on the rows that the fit holds out, with their
    weights where the scorer takes them.

    Parameters
    ----------
    scoring : str or callable
        Any name or scorer that scikit-learn knows [1]_.
    name : str, default=None
        None takes the scorer's own, such as ``"roc_auc"``.

    Attributes
    ----------
    scores : list of float
        One for each epoch that was validated.

    Raises
    ------
    ValueError
        When a fit starts: if scikit-learn does not know `scoring`, or nothing is held out.

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

    References
    ----------
    .. [1] https://scikit-learn.org/stable/modules/model_evaluation.html
    """

    # Called first, so that the other callbacks find its score in the logs.
    traits = Traits(scores_validation_set=True, order=-1)

    def __init__(self, scoring: Any, name: str | None = None) -> None:
        super().__init__()
        self.scoring = scoring
        self.name = name
        self.scores: list[float] = []
        self._subject: Any = None

    @property
    def logged_as(self) -> str:
        """The score's name among the logs."""
        return f"val_{self.name if self.name is not None else scorer_name(self.scoring)}"

    def attach(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> None:
        """Say what to score: estimators do so when a fit starts.

        Parameters
        ----------
        estimator : estimator
            Predicts with the model that trains.
        X, y, sample_weight
            The rows that are held out, as the user gave them.
        """
        scorer = check_scoring(estimator, self.scoring)
        weighs = sample_weight is not None and _takes_weights(scorer)
        self._subject = (
            scorer,
            estimator,
            X,
            y,
            {"sample_weight": sample_weight} if weighs else {},
        )

    def detach(self) -> None:
        """Let go of estimator and rows."""
        self._subject = None

    def on_train_begin(self, logs: Any = None) -> None:
        if self._subject is None:
            raise ValueError(
                f"ScorerMonitor({self.scoring!r}) has nothing to score: it is for skguard's "
                "estimators, with rows held out, such as validation_fraction=0.1."
            )
        self.scores = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = logs if logs is not None else {}
        if "val_loss" not in logs and any(name == "loss" for name in logs):
            return  # validation_freq leaves this epoch out
        scorer, estimator, X, y, weights = self._subject
        score = float(scorer(estimator, X, y, **weights))
        self.scores.append(score)
        logs[self.logged_as] = score


def _takes_weights(scorer: Any) -> bool:
    """Whether a scorer, and the function that scikit-learn wrapped in one, takes weights."""
    inner = getattr(scorer, "_score_func", scorer)
    try:
        return "sample_weight" in inspect.signature(inner).parameters
    except (TypeError, ValueError):
        return False


def scorer_name(scoring: Any) -> str:
    """What to call a scorer: ``"roc_auc"``, or the name of the function in it."""
    if isinstance(scoring, str):
        return scoring
    inner = getattr(scoring, "_score_func", scoring)
    return getattr(inner, "__name__", None) or "score"
