"""The classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scikeras.wrappers import KerasClassifier
from sklearn.utils.metaestimators import available_if

from skguard._estimators.base import GuardedKerasBase
from skguard._estimators.documentation import (
    CLASSIFIER_ATTRIBUTES,
    CLASSIFIER_METHODS,
    documented,
)
from skguard._fit.data import FitInput
from skguard._parameters.given import DEFAULT_OPTIMIZER
from skguard.exceptions import InputValueError
from skguard.targets._base import Target

__all__ = ["GuardedKerasClassifier"]


def _has_decision(estimator: Any) -> bool:
    """Return whether the outputs of a fitted model are logits or margins."""
    target = getattr(estimator, "target_encoder_", None)
    return isinstance(target, Target) and target.has_decision


@documented(attributes=CLASSIFIER_ATTRIBUTES, methods=CLASSIFIER_METHODS)
class GuardedKerasClassifier(GuardedKerasBase, KerasClassifier):
    """A Keras classifier with the interface of scikit-learn.

    Labels of any kind are encoded for the loss, and decoded by ``predict``. Every fit starts from
    scratch: it builds the model, and trains with copies of the callbacks, optimizers, losses,
    metrics and models in the parameters, which are never changed.

    {parameters}

    {attributes}

    See Also
    --------
    GuardedKerasRegressor : Predicts numbers.
    skguard.model_selection : Fault-tolerant hyperparameter searches.

    Examples
    --------
    >>> import keras
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from skguard import GuardedKerasClassifier
    >>> def build(meta, units=16):
    ...     return keras.Sequential([
    ...         keras.Input((meta["n_features_in_"],)),
    ...         keras.layers.Dense(units, "relu"),
    ...         keras.layers.Dense(meta["n_classes_"], "softmax"),
    ...     ])
    >>> model = GuardedKerasClassifier(
    ...     build, loss="sparse_categorical_crossentropy", optimizer="adam", epochs=60,
    ...     optimizer__learning_rate=0.01, verbose=0, random_state=0)
    >>> X, y = load_iris(return_X_y=True)
    >>> bool(cross_val_score(model, X, y, cv=3).min() > 0.9)
    True
    """

    classes_: np.ndarray | None

    def __init__(
        self,
        model: Any = None,
        *,
        build_fn: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
        optimizer: Any = DEFAULT_OPTIMIZER,
        loss: Any = None,
        metrics: Any = None,
        batch_size: int | None = None,
        validation_batch_size: int | None = None,
        verbose: int = 1,
        callbacks: Any = None,
        validation_split: Any = 0.0,
        shuffle: bool = True,
        run_eagerly: bool = False,
        epochs: int = 1,
        target: Any = None,
        engine: str = "auto",
        early_stopping: bool = False,
        validation_fraction: float | None = None,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        scoring: Any = None,
        on_nan: str = "fail",
        max_fit_seconds: float | None = None,
        max_retries: int = 0,
        retry_on: Any = (Exception,),
        retry_with: Callable[[int, Exception, dict[str, Any]], Any] | None = None,
        inputs: Any = None,
        class_weight: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            model,
            build_fn=build_fn,
            warm_start=warm_start,
            random_state=random_state,
            optimizer=optimizer,
            loss=loss,
            metrics=metrics,
            batch_size=batch_size,
            validation_batch_size=validation_batch_size,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            shuffle=shuffle,
            run_eagerly=run_eagerly,
            epochs=epochs,
            target=target,
            engine=engine,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            scoring=scoring,
            on_nan=on_nan,
            max_fit_seconds=max_fit_seconds,
            max_retries=max_retries,
            retry_on=retry_on,
            retry_with=retry_with,
            inputs=inputs,
            class_weight=class_weight,
            **kwargs,
        )

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        groups: Any = None,
        classes: Any = None,
        **kwargs: Any,
    ) -> GuardedKerasClassifier:
        given = FitInput(X, y, sample_weight, X_val, y_val, sample_weight_val, groups)
        self._fit(given, kwargs, self._announced(classes, "fit", self.warm_start))
        return self

    def partial_fit(  # type: ignore[override]
        self, X: Any, y: Any = None, classes: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> GuardedKerasClassifier:
        attributes = self._announced(classes, "partial_fit", True)
        self._fit_one_epoch(X, y, sample_weight, kwargs, attributes)
        return self

    def _announced(self, classes: Any, method: str, resumes: bool) -> dict[str, Any]:
        """Return the attributes of a new model for which `classes` are announced."""
        if (
            resumes
            and self.initialized_
            and not (classes is None or _same_labels(self.classes_, classes))
        ):
            raise InputValueError(
                f"classes={classes!r} is not the same as on the last call to {method}, "
                f"which was {self.classes_!r}."
            )
        return {"classes_": None if classes is None else np.unique(classes)}

    def initialize(  # type: ignore[override]
        self, X: Any, y: Any
    ) -> GuardedKerasClassifier:
        super().initialize(X, y)
        return self

    def _attributes_of_new_model(self) -> dict[str, Any]:
        return {"classes_": None}  # found in y

    def predict_proba(self, X: Any, **kwargs: Any) -> np.ndarray:
        outputs = self._predict_raw(X, **kwargs)
        probabilities = self.target_encoder_.inverse_transform(outputs, return_proba=True)
        is_one_array = isinstance(probabilities, np.ndarray) and isinstance(outputs, np.ndarray)
        if is_one_array and probabilities.ndim == 1:
            # Encoders of scikeras drop the axis of the samples if there is one sample only.
            probabilities = probabilities.reshape(len(outputs), -1)
        return probabilities

    @available_if(_has_decision)  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any, **kwargs: Any) -> np.ndarray:
        """Return the logits or margins that the model has as outputs.

        Available only for a fitted model whose outputs are one of these for each sample.

        Parameters
        ----------
        X : array-like, dataset or generator
            As for ``predict``.
        **kwargs : object
            Arguments of ``keras.Model.predict``.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Of two classes, the score of the second: the output of one unit, or the difference of
            two.
        """
        outputs = self._predict_raw(X, **kwargs)
        decision: np.ndarray = self.target_encoder_.decision(outputs)
        return decision


def _same_labels(known: np.ndarray | None, announced: Any) -> bool:
    return known is not None and np.array_equal(known, np.unique(announced))
