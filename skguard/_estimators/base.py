"""The base class: parameters, fit, predict, copies."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from scikeras.wrappers import BaseWrapper, KerasClassifier, KerasRegressor
from sklearn.base import BaseEstimator

from skguard import _engine as engine
from skguard import _parameters as parameters
from skguard._estimators.documentation import documented
from skguard._estimators.scikeras import ScikerasAdapter
from skguard._fit import arrays, batches, procedure
from skguard._fit.batched import is_batched
from skguard._fit.data import FitInput
from skguard._fit.result import FitResult, History, TrainingState
from skguard._parameters import copies, packing
from skguard._parameters.given import DEFAULT_OPTIMIZER, as_pickled
from skguard._repairs import forks, seeding
from skguard.exceptions import InputTypeError, InputValueError
from skguard.targets._base import Target

__all__ = ["GuardedKerasBase"]


@documented()
class GuardedKerasBase(ScikerasAdapter):
    """Base class for estimators that wrap a Keras model.

    Subclass it for transformers and for other estimators that neither `GuardedKerasClassifier` nor
    `GuardedKerasRegressor` serves. The subclass defines ``scorer`` to be scored.

    Every fit starts from scratch: it builds the model, and trains with copies of the callbacks,
    optimizers, losses, metrics and models in the parameters, which are never changed.

    {parameters}

    {attributes}

    See Also
    --------
    GuardedKerasClassifier : Encodes labels and predicts classes.
    GuardedKerasRegressor : Predicts numbers.
    skguard.callbacks.Shared : Uses one callback instance in every fit.

    Notes
    -----
    The parameters and the arguments of the model function are those of scikeras's ``BaseWrapper``
    [1]_, of which this is a subclass.

    References
    ----------
    .. [1] https://adriangb.com/scikeras/stable/
    """

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
            **kwargs,
        )
        self.target = target
        self.engine = engine
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.scoring = scoring
        self.on_nan = on_nan
        self.max_fit_seconds = max_fit_seconds
        self.max_retries = max_retries
        self.retry_on = retry_on
        self.retry_with = retry_with
        self.inputs = inputs

    _writes_apart = False  # whether this estimator is a clone, whose fits write to own folders

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
        **kwargs: Any,
    ) -> GuardedKerasBase:
        given = FitInput(X, y, sample_weight, X_val, y_val, sample_weight_val, groups)
        self._fit(given, kwargs, self._attributes_of_new_model())
        return self

    def _fit(
        self, given: FitInput, arguments: dict[str, Any], attributes: Mapping[str, Any]
    ) -> None:
        with procedure.fit_session():
            resume = bool(self.warm_start and self.initialized_)
            call = procedure.FitCall(given, arguments, resume, False, attributes)
            before = frozenset(vars(self))
            self._take_over(procedure.fit(self, call), before)

    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> GuardedKerasBase:
        self._fit_one_epoch(X, y, sample_weight, kwargs, self._attributes_of_new_model())
        return self

    def _fit_one_epoch(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        arguments: dict[str, Any],
        attributes: Mapping[str, Any],
    ) -> None:
        for name in ("epochs", "initial_epoch"):
            if name in arguments:
                raise InputTypeError(
                    f"partial_fit() does not take the argument {name!r}: it always trains for one "
                    "epoch, the one after the last. Use fit() to choose."
                )
        if self.early_stopping:
            raise InputValueError(
                "early_stopping=True is for fit(): partial_fit() trains for one epoch, and its "
                "caller decides when to stop."
            )
        given = FitInput(X, y, sample_weight)
        with procedure.fit_session():
            arguments |= {"epochs": 1, "initial_epoch": History.of(self).n_epochs}
            call = procedure.FitCall(given, arguments, self.initialized_, True, attributes)
            before = frozenset(vars(self))
            self._take_over(procedure.fit(self, call), before)

    def _attributes_of_new_model(self) -> dict[str, Any]:
        """Return the fitted attributes that the fit of a new model starts with."""
        return {}

    def initialize(self, X: Any, y: Any = None) -> GuardedKerasBase:
        with procedure.fit_session():
            attributes = self._attributes_of_new_model()
            initialized = procedure.initialize(self, FitInput(X, y), attributes)
            own = self._stored_params()
            own = {name: own[name] for name in _SET_IN_DRAFT if name in own}
            self.__dict__ = initialized | own
            self._training_state = TrainingState.of(self).of_model(self)
        return self

    def _draft(
        self,
        *,
        keep_fitted: bool,
        attributes: Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> GuardedKerasBase:
        """Return a copy of this estimator for a fit to work on.

        Parameters
        ----------
        keep_fitted : bool
            Whether it keeps the model, its history and its callbacks.
        attributes : mapping, default=None
            Fitted attributes to set if it does not.
        changes : mapping, default=None
            Parameters to set.
        """
        draft: GuardedKerasBase = object.__new__(type(self))
        draft.__dict__.update(vars(self))
        if not keep_fitted:
            draft._drop_model()
            draft.__dict__.update(attributes or {})
        for name in {"model", "build_fn"} & vars(self).keys():
            draft.__dict__[name] = _rebound(vars(self)[name], self, draft)
        if changes:
            for name, value in draft._stored_params().items():
                if parameters.is_estimator(value):  # whose own parameters may be among these
                    setattr(draft, name, copies.copy_parameter(value))
            draft.set_params(**changes)
        return draft

    def _take_over(self, result: FitResult, before: frozenset[str]) -> None:
        """Replace the fitted attributes by those of a successful fit.

        Parameters
        ----------
        result : FitResult
        before : frozenset of str
            Names of the attributes before the fit. Those that appeared since were set by a
            callback, and stay.
        """
        fitted = vars(result.draft) | result.attributes()
        own = self._stored_params()
        if result.changes:  # which are for one attempt alone
            names = result.draft._stored_params().keys() - own.keys()
            fitted = {name: value for name, value in fitted.items() if name not in names}
            fitted["_user_params"] = getattr(self, "_user_params", set())
        else:  # model functions and overridden methods may have set others
            own = {name: own[name] for name in _SET_IN_DRAFT if name in own}
        appeared = {name: value for name, value in vars(self).items() if name not in before}
        self.__dict__ = appeared | fitted | own
        self._training_state = result.state.of_model(self)

    def _stored_params(self) -> dict[str, Any]:
        return {name: vars(self)[name] for name in self._get_param_names()}

    def predict(self, X: Any, **kwargs: Any) -> Any:
        outputs = self._predict_raw(X, **kwargs)
        return self.target_encoder_.inverse_transform(outputs)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        if is_batched(X):
            predicted, y, weights = self._predict_batches(X)
        else:
            weights = arrays.check_weights(sample_weight, X)
            predicted = self.predict(X)
        _, y = self._validate_data(y=y)
        arguments = parameters.route(self.get_params(), "score")
        if isinstance(self.target_encoder_, Target) and not arguments:
            own = self.target_encoder_.score(y, predicted, weights)
            if own is not None and self._has_default_scorer:
                return own
        score: float = self.scorer(y, predicted, sample_weight=weights, **arguments)
        return score

    def _predict_batches(self, X: Any) -> tuple[Any, Any, Any]:
        """Return predictions, targets and weights of all samples of a dataset, in its order."""
        if batches.is_endless(X):
            raise InputValueError("X repeats without end, and has no score. Call .take(n) on it.")
        outputs, targets, weights = [], [], []
        for batch in batches.batches_of(X):
            if batch.y is None:
                raise InputValueError("A score needs batches of (x, y), got x alone.")
            outputs.append(engine.predict(self.model_, batch.x, engine=self.engine, verbose=0))
            targets.append(batch.y)
            weights.append(batch.sample_weight)
        joined = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *outputs)
        predicted = self.target_encoder_.inverse_transform(joined)
        has_weights = weights[0] is not None
        return predicted, np.concatenate(targets), np.concatenate(weights) if has_weights else None

    @property
    def _has_default_scorer(self) -> bool:
        return type(self).scorer in (
            BaseWrapper.scorer,
            KerasClassifier.scorer,
            KerasRegressor.scorer,
        )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        params = {name: getattr(self, name) for name in self._get_param_names()}
        params |= parameters.implied_names(self)
        if deep:
            for name, value in list(params.items()):
                if parameters.is_estimator(value):
                    nested = value.get_params().items()
                    params |= {f"{name}__{key}": item for key, item in nested}
        return params

    def set_params(self, **params: Any) -> GuardedKerasBase:
        before = dict(vars(self))
        inner = [(v, v.get_params()) for v in before.values() if parameters.is_estimator(v)]
        try:
            # The model first, which decides which other names exist; then holders before parts.
            for name in sorted(
                params, key=lambda name: (name not in ("model", "build_fn"), name.count("__"))
            ):
                self._set_param(name, params[name], params)
            # The arguments of an invalid model are unknown; fit raises for it.
            if self.model is None or callable(self.model):
                parameters.check_set_names(self, params)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            for value, params_before in inner:
                value.set_params(**params_before)
            raise
        return self

    def _set_param(self, name: str, value: Any, together: dict[str, Any]) -> None:
        holder = parameters.nested_holder(self, name)
        if holder is not None:
            holder[0].set_params(**{holder[1]: value})
            return
        if "__" not in name and name not in vars(self):
            self._user_params = {*getattr(self, "_user_params", ()), name}
        setattr(self, name, value)
        other = parameters.same_argument(self, name)
        if other is not None and other in vars(self) and other not in together:
            setattr(self, other, value)

    def __sklearn_clone__(self) -> GuardedKerasBase:
        stored = {name: getattr(self, name) for name in self._get_param_names()}
        held = {name: _Held(value) for name, value in copies.copy_parameters(stored).items()}
        # scikit-learn's own clone sees to everything but the parameters: constructor checks,
        # metadata requests, output configuration. It copies parameters with deepcopy, which
        # would take a trained model along, so it is given ones that are copied already.
        stand_in = object.__new__(type(self))
        stand_in.__dict__.update(vars(self))
        stand_in.__dict__.update(held)
        twin: GuardedKerasBase = BaseEstimator.__sklearn_clone__(stand_in)
        for name, copied in held.items():
            setattr(twin, name, copied.value)
        twin._writes_apart = True
        return twin

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        with seeding.preserved():
            given = {name: value for name, value in state.items() if "callbacks" in name}
            given = {name: given[name] for name in self._get_param_names() if name in given}
            state |= copies.copy_callbacks(given) | self._copied_training_state(state)
            return {name: packing.pack(value) for name, value in as_pickled(state).items()}

    def _copied_training_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the callbacks of the last fit without their model, each of them copied once."""
        if "_training_state" not in state:
            return {}
        training, trained = state["_training_state"], state.get("callbacks_", [])
        groups = trained, training.callbacks.fitting, training.callbacks.predicting
        unique = list({id(callback): callback for group in groups for callback in group}.values())
        twins = dict(zip(map(id, unique), copies.copy_trained_callbacks(unique), strict=True))
        trained, fitting, predicting = ([twins[id(c)] for c in group] for group in groups)
        copied = training.to_pickle(self, fitting, predicting)
        return {"_training_state": copied} | ({"callbacks_": trained} if trained else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        if forks.is_forked_late():  # unpacking would hang; fit and predict raise
            self.__dict__.update(state)
            return
        engine.take_share()  # before unpickling starts TensorFlow
        with seeding.preserved():
            super().__setstate__({name: packing.unpack(v) for name, v in state.items()})
        if "_training_state" in vars(self):
            self._training_state = TrainingState.of(self).unpickled(self)
        for callback in vars(self).get("callbacks_", []):
            callback._model = self.model_


# Parameters that differ between an estimator and its drafts.
_SET_IN_DRAFT = ("build_fn", "model", "random_state")


def _rebound(function: Any, estimator: Any, draft: Any) -> Any:
    """Replace a method of the estimator by that of the draft, which has learned the data."""
    if isinstance(function, functools.partial):
        inner = _rebound(function.func, estimator, draft)
        if inner is not function.func:
            return functools.partial(inner, *function.args, **function.keywords)
    if isinstance(function, types.MethodType) and function.__self__ is estimator:
        return types.MethodType(function.__func__, draft)
    return function


class _Held:
    """A parameter that is copied already."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __sklearn_clone__(self) -> _Held:
        return self
