"""Everything that mends scikeras for today's scikit-learn and Keras.

The only module that overrides a private method of scikeras, so that scikeras can one day be
replaced here. Methods keep scikeras's names and meanings, because its users override them:
``_keras_build_fn``, ``_initialize``, ``target_encoder``, ``feature_encoder``, ``scorer``.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from scikeras._utils import route_params
from scikeras.utils import metric_name
from scikeras.utils.transformers import ClassifierLabelEncoder
from scikeras.wrappers import BaseWrapper
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import ClassifierTags, RegressorTags, Tags
from sklearn.utils.validation import check_is_fitted

from skguard import _engine as engine
from skguard._estimators import copies, parameters
from skguard._fit import arrays, attempts, checks
from skguard._fit.paths import FitPaths
from skguard._repairs import forks, seeding
from skguard.callbacks import RevertWeights, ScorerMonitor
from skguard.schedules import EpochSchedule

__all__ = ["RepairedWrapper"]

_CALLBACK_PARAMETERS = ("callbacks", "fit__callbacks", "predict__callbacks")


class _NewTags:
    """Makes scikit-learn 1.6 ask for ``__sklearn_tags__``.

    It asks for scikeras's ``_more_tags`` instead where a class has only that, and then fails.
    It notes what each class has by the class's name, and the last of one name counts.
    """

    def __sklearn_tags__(self) -> Tags:
        raise NotImplementedError("RepairedWrapper answers first")


_NewTags.__name__ = BaseWrapper.__name__


class RepairedWrapper(BaseWrapper, _NewTags):
    """scikeras's ``BaseWrapper`` with each of its steps mended."""

    _attempt_number = 0  # of the fit that runs, more than 0 in a retry
    _writes_apart = False  # whether this estimator is a clone, and so has folders of its own
    callbacks_: list[keras.callbacks.Callback]
    model_: keras.Model

    def __sklearn_tags__(self) -> Tags:
        # scikeras's classes list scikit-learn's mixins after BaseEstimator, whose
        # __sklearn_tags__ asks no further, so the mixins' tags never arrive.
        tags = BaseEstimator.__sklearn_tags__(self)
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        tags.target_tags.multi_output = True
        # One epoch, the default, is no training to speak of.
        if isinstance(self, ClassifierMixin):
            tags.estimator_type = "classifier"
            tags.target_tags.required = True
            tags.classifier_tags = ClassifierTags(poor_score=True, multi_label=True)
        elif isinstance(self, RegressorMixin):
            tags.estimator_type = "regressor"
            tags.target_tags.required = True
            tags.regressor_tags = RegressorTags(poor_score=True)
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return self.initialized_

    def _get_param_names(self) -> list[str]:
        return sorted(k for k in vars(self) if not k.startswith("_") and not k.endswith("_"))

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        representation: str = BaseEstimator.__repr__(self, N_CHAR_MAX)
        return representation

    def _validate_data(
        self, X: Any = None, y: Any = None, reset: bool = False, y_numeric: bool = False
    ) -> tuple[Any, Any]:
        if X is not None or reset:
            X = arrays.check_features(self, X, reset=reset)
            if reset:
                self.X_dtype_, self.X_shape_ = X.dtype, X.shape
        if y is not None or (reset and isinstance(self, ClassifierMixin | RegressorMixin)):
            y = arrays.check_target(
                self,
                X,
                y,
                numeric=y_numeric or isinstance(self, RegressorMixin),
                classes=isinstance(self, ClassifierMixin),
            )
            if reset:
                self.target_type_ = self._type_of_target(y)
                self.y_dtype_, self.y_ndim_ = y.dtype, y.ndim
            elif y.ndim != self.y_ndim_:
                raise ValueError(
                    f"y has {y.ndim} dimensions, but {type(self).__name__} was fitted on a y of "
                    f"{self.y_ndim_}."
                )
        return X, y

    def _check_model_param(self) -> Callable[..., keras.Model]:
        checks.check_model(self)
        if self.model is None and self.build_fn is not None:
            warnings.warn(
                "build_fn is the old name of model, and scikeras will drop it. Pass model=.",
                FutureWarning,
                stacklevel=2,
            )
        model = self.model if self.model is not None else self.build_fn
        if isinstance(model, keras.Model):
            # As scikeras does, so that initialize() joins models that share layers. Whoever
            # trains takes a copy first: see _own_model.
            return lambda: model
        call = parameters.model_function(self).call
        assert call is not None  # check_model has seen to it
        return call

    def _model_arguments(self) -> dict[str, Any]:
        """What the model function is called with."""
        function = parameters.model_function(self)
        stored = vars(self)
        names = set(function.arguments)
        if function.is_open:
            names |= getattr(self, "_user_params", set()) & stored.keys()
        arguments = {
            name: stored[name]
            for name in names
            if name in stored and "__" not in name and parameters.is_free(self, name)
        }
        arguments |= {k: v for k, v in parameters.route(stored, "model").items() if "__" not in k}
        arguments = {k: v for k, v in arguments.items() if v is not parameters.REQUIRED}
        for name, default in function.arguments.items():
            if copies.is_keras_object(default):  # which every call would share
                arguments.setdefault(name, default)
        arguments = {name: copies.copy_keras_objects(value) for name, value in arguments.items()}
        given: dict[str, Callable[[], Any]] = {
            "meta": self._get_metadata,
            "compile_kwargs": self._get_compile_kwargs,
            "params": self._copied_params,
        }
        return arguments | {name: given[name]() for name in function.from_estimator}

    def _build_keras_model(self) -> keras.Model:
        build = self._check_model_param()
        with seeding.seeded(self._random_state), copies.first_metric_names():
            if isinstance(self.model, keras.Model) or isinstance(self.build_fn, keras.Model):
                return build()
            model = build(**self._model_arguments())
        with attempts.no_retry():
            checks.check_is_fresh(self, model)
            checks.check_unused(self, compiled_by_function=model.compiled)
        return model

    def _own_model(self) -> keras.Model:
        """The model to train: a copy where ``model_`` is an object of the user's."""
        if self.model_ is not self.model and self.model_ is not self.build_fn:
            return self.model_
        checks.check_unused(self, compiled_by_function=self.model_.compiled)
        with seeding.seeded(self._random_state):
            return copies.copy_model(self.model_)

    def _copied_params(self) -> dict[str, Any]:
        """The parameters with copies of what a model is compiled with."""
        kinds = ("optimizer", "loss", "metrics", "compile__")
        return {
            name: copies.copy_keras_objects(value) if name.startswith(kinds) else value
            for name, value in self.get_params().items()
        }

    def _get_compile_kwargs(self) -> dict[str, Any]:
        # Not what parameters, such as a schedule, have as parameters of their own.
        own = self.get_params(deep=False)
        params = {name: v for name, v in self._copied_params().items() if name in own}
        compile_kwargs: dict[str, Any] = route_params(
            params, destination="compile", pass_filter=self._compile_kwargs
        )
        for kind in ("optimizer", "loss", "metrics"):
            compile_kwargs[kind] = parameters.build_nested(
                kind,
                params[kind],
                parameters.route(params, kind),
                construct=lambda cls, args, kwargs: cls(*args, **kwargs),
            )
        compile_kwargs["optimizer"] = _from_name(compile_kwargs["optimizer"], keras.optimizers.get)
        compile_kwargs["loss"] = _from_name(compile_kwargs["loss"], keras.losses.get)
        metrics = compile_kwargs["metrics"] = _from_name(compile_kwargs["metrics"], _metric)
        if metrics is not None and not isinstance(metrics, dict | list):
            compile_kwargs["metrics"] = [metrics]
        return compile_kwargs

    def _ensure_compiled_model(self) -> None:
        if not self.model_.compiled:
            with copies.first_metric_names():
                kwargs = self._get_compile_kwargs()
                self.model_.compile(**kwargs)
        checks.check_loss(self.model_)

    def _check_model_compatibility(self, y: Any) -> None:
        with attempts.no_retry():
            checks.check_outputs(self, self.model_)
            checks.check_target_fits(self.model_, y)

    def _make_callbacks(
        self, given: dict[str, Any], routed: dict[str, Any]
    ) -> dict[str, list[Any]]:
        """Fresh callbacks for each name in `given`, with the parameters `routed` to it."""
        paths = self._fit_paths
        fresh = copies.copy_callbacks(given)

        def construct(cls: type, args: list[Any], kwargs: dict[str, Any]) -> Any:
            return cls(*args, **paths.place_arguments(cls, kwargs))

        for callback in copies.reachable_callbacks(fresh):
            paths.place_callback(callback)
        built = {}
        for name, value in fresh.items():
            nested = parameters.build_nested(
                "callbacks", value, parameters.route(routed, name), construct=construct, name=name
            )
            built[name] = copies.flatten_callbacks(nested)
            checks.check_callbacks(name, built[name])
        return built

    def _initialize_callbacks(self) -> None:
        self._fit_paths = FitPaths(apart=self._writes_apart)
        given = {name: getattr(self, name, None) for name in _CALLBACK_PARAMETERS}
        built = self._make_callbacks(given, routed=dict(vars(self)))
        self._n_extra_callbacks = 0
        self.callbacks_ = built["callbacks"] + built["fit__callbacks"]
        # The weights of a finished fit are the averaged ones already, and SwapEMAWeights
        # forgets to swap back after predict.
        self._predict_callbacks = [
            callback
            for callback in built["callbacks"] + built["predict__callbacks"]
            if not isinstance(callback, keras.callbacks.SwapEMAWeights)
        ]
        self._callbacks_made_from = self._callback_parameters()

    def _callback_parameters(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in vars(self).items()
            if name.startswith(_CALLBACK_PARAMETERS) and not name.endswith("_")
        }

    def _callbacks_are_current(self) -> bool:
        """Whether the callbacks were made from the parameters as they are now."""
        now, then = self._callback_parameters(), getattr(self, "_callbacks_made_from", None)
        return (
            then is not None and now.keys() == then.keys() and all(now[k] is then[k] for k in now)
        )

    def _initialize(self, X: Any, y: Any = None) -> tuple[Any, Any]:
        with attempts.no_retry():
            seed = seeding.resolve(self.random_state)
            self._random_state = seeding.derive(seed, self._attempt_number)
            for name in ("model_", "history_", "callbacks_"):
                self.__dict__.pop(name, None)
            X, y = self._validate_data(X, y, reset=True)
            checks.check_classes(self, y)
        self.target_encoder_ = self.target_encoder.fit(y)
        self.__dict__.update(getattr(self.target_encoder_, "get_metadata", dict)())
        self.feature_encoder_ = self.feature_encoder.fit(X)
        self.__dict__.update(getattr(self.feature_encoder_, "get_metadata", dict)())
        self.model_ = self._build_keras_model()
        self._one_hot_for_compiled_loss(y)
        self._initialize_callbacks()
        return X, y

    def _one_hot_for_compiled_loss(self, y: Any) -> None:
        """Encode for categorical crossentropy also where only the model knows of it."""
        encoder = self.target_encoder_
        if not (isinstance(encoder, ClassifierLabelEncoder) and self.loss is None):
            return
        compiled = getattr(self.model_, "loss", None) if self.model_.compiled else None
        if compiled is not None and not isinstance(compiled, list | dict):
            self.target_encoder_ = encoder.set_params(loss=compiled).fit(y)

    def _fit_keras_model(
        self,
        X: Any,
        y: Any,
        sample_weight: np.ndarray | None,
        warm_start: bool,
        epochs: int,
        initial_epoch: int,
        limits: engine.Limits,
        **kwargs: Any,
    ) -> None:
        params = self.get_params()
        fit_args = route_params(params, destination="fit", pass_filter=self._fit_kwargs)
        fit_args |= {
            "sample_weight": sample_weight,
            "epochs": initial_epoch + epochs,
            "initial_epoch": initial_epoch,
        }
        fit_args |= kwargs
        fit_args = {k: v for k, v in fit_args.items() if not k.startswith("callbacks")}
        # What scores comes before what monitors the scores, and what puts the model back comes
        # after what keeps its weights.
        fit_args["callbacks"] = sorted(
            self.callbacks_,
            key=lambda c: (not isinstance(c, ScorerMonitor), isinstance(c, RevertWeights)),
        )
        with attempts.no_retry():
            _resolve_batch_sizes(fit_args, X)
            checks.check_batches(self.model_, X, fit_args.get("batch_size"))
        self._tell_schedule(X, fit_args)
        checks.remember_trained(self.model_)
        seed = seeding.derive(self._random_state, initial_epoch)
        with seeding.seeded(seed), copies.first_metric_names(), _retracing_unmentioned():
            run = engine.train(self.model_, X, y, engine=self.engine, limits=limits, **fit_args)
        self.engine_, self.engine_reason_ = run.engine, run.reason
        if not warm_start or not hasattr(self, "history_") or initial_epoch == 0:
            self.history_: dict[str, list[float]] = {}
            self.n_epochs_ = 0
        self.best_epoch_ = None if run.best_epoch is None else self.n_epochs_ + run.best_epoch
        self.n_epochs_ += run.n_epochs
        self.stop_reason_ = run.stop_reason
        history = dict(run.history)
        if run.learning_rates:
            history["learning_rate"] = run.learning_rates
        stops = any(isinstance(c, keras.callbacks.EarlyStopping) for c in self.callbacks_)
        for key, values in history.items():
            name = key if key == "loss" or key.startswith("val_") else _full_name(key)
            self.history_[name] = self.history_.get(name, []) + list(values)
        val_loss = self.history_.get("val_loss", [])
        if not stops and len(val_loss) == self.n_epochs_ and not np.isnan(val_loss).all():
            self.best_epoch_ = int(np.nanargmin(val_loss))  # of all calls to partial_fit

    def _tell_schedule(self, X: Any, fit_args: dict[str, Any]) -> None:
        """Tell a schedule that counts epochs how many gradient steps one has."""
        schedule = engine.schedule_of(self.model_.optimizer)
        if not isinstance(schedule, EpochSchedule):
            return
        with attempts.no_retry():
            schedule.check()
            if schedule.steps_per_epoch is not None:
                return  # the user knows, or an earlier fit of this model
            steps = fit_args.get("steps_per_epoch")
            if steps is None:
                n_rows = keras.tree.flatten(X)[0].shape[0]
                steps = -(-n_rows // (fit_args.get("batch_size") or 32))
            # A copy: the model function may have used an object of its module's.
            told = copies.copy_keras_objects(schedule)
            told.steps_per_epoch = int(steps)
            engine.replace_schedule(self.model_.optimizer, told)

    def _predict_raw(self, X: Any, **kwargs: Any) -> Any:
        forks.check_not_forked()
        check_is_fitted(self)
        parameters.check_call_names("predict", kwargs)
        X, _ = self._validate_data(X=X)
        X = self.feature_encoder_.transform(X)
        arguments = route_params(
            self.get_params(), destination="predict", pass_filter=self._predict_kwargs, strict=True
        )
        arguments["callbacks"] = self._predict_callbacks
        arguments |= kwargs
        _resolve_batch_sizes(arguments, X)
        with _retracing_unmentioned():
            return engine.predict(self.model_, X, engine=self.engine, **arguments)


@contextlib.contextmanager
def _retracing_unmentioned() -> Iterator[None]:
    """Hold back TensorFlow's advice on retracing: a search makes many new models."""
    logger = logging.getLogger("tensorflow")

    def mentions(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger.addFilter(mentions)
    try:
        yield
    finally:
        logger.removeFilter(mentions)


def _from_name(value: Any, get: Callable[[str], Any]) -> Any:
    """Replace the names in `value`, in any nesting, by what Keras calls so."""
    if isinstance(value, str):
        return get(value)
    if isinstance(value, list | tuple):
        return type(value)(_from_name(item, get) for item in value)
    if isinstance(value, dict):
        return {key: _from_name(item, get) for key, item in value.items()}
    return value


def _metric(name: str) -> Any:
    # These mean another function for each loss, which Keras chooses when it compiles.
    chosen_by_keras = ("acc", "accuracy", "ce", "crossentropy")
    return name if name in chosen_by_keras else keras.metrics.get(name)


def _full_name(key: str) -> str:
    """What scikeras calls a logged metric: ``mse`` is ``mean_squared_error``."""
    try:
        if isinstance(keras.metrics.get(key), keras.metrics.Metric):
            return key  # scikeras would make a_u_c of auc
        name: str = metric_name(key)
    except ValueError:  # a metric of the user's
        return key
    return name


def _resolve_batch_sizes(arguments: dict[str, Any], X: Any) -> None:
    """Replace a batch size of -1, scikeras's word for all rows at once."""
    for name in ("batch_size", "validation_batch_size"):
        if arguments.get(name) == -1:
            if not hasattr(X, "shape"):
                raise ValueError(
                    f"{name}=-1 means all rows in one batch, and X, a {type(X).__name__} after "
                    "feature_encoder, does not tell how many it has. Give a number."
                )
            arguments[name] = X.shape[0]
