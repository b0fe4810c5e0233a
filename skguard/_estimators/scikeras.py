"""The adapter to scikeras: what its ``BaseWrapper`` needs on today's scikit-learn and Keras.

The only module that overrides a private method of scikeras, so that scikeras can one day be
replaced here. Methods keep scikeras's names and meanings, because its users override them:
``_keras_build_fn``, ``_initialize``, ``target_encoder``, ``feature_encoder``, ``scorer``.

A fit calls these methods on a draft, a copy of the estimator that becomes part of the result:
what they set on ``self`` reaches the estimator once the fit has succeeded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from scikeras._utils import route_params
from scikeras.wrappers import BaseWrapper
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import ClassifierTags, RegressorTags, Tags
from sklearn.utils.validation import check_is_fitted

from skguard import _engine as engine
from skguard import _parameters as parameters
from skguard._fit import arrays, checks, inputs, unused
from skguard._fit.attempts import input_errors
from skguard._fit.batched import is_batched
from skguard._fit.batches import Batch, inputs_of
from skguard._fit.columns import InputColumns
from skguard._fit.model import with_batch_sizes
from skguard._fit.result import TrainingState
from skguard._fit.text import holds_text
from skguard._parameters import copies
from skguard._parameters.given import is_given
from skguard._repairs import forks, seeding
from skguard._repairs.logs import without_retracing_advice
from skguard._warnings import warn
from skguard.exceptions import InputValueError
from skguard.targets import Labels, MultiLabel, Ordinal
from skguard.targets._base import Target
from skguard.targets._choice import TargetChooser, default_loss, has_heads, heads_of
from skguard.targets._heads import as_columns
from skguard.targets._outputs import outputs_of

__all__ = ["ScikerasAdapter"]


class _NewTags:
    """Makes scikit-learn 1.6 call ``__sklearn_tags__``.

    scikit-learn 1.6 calls scikeras's ``_more_tags`` if a class has only that, and then fails. It
    collects which methods each class has by the name of the class, and the last class of a name
    counts.
    """

    def __sklearn_tags__(self) -> Tags:
        raise NotImplementedError("ScikerasAdapter comes first in the MRO")


_NewTags.__name__ = BaseWrapper.__name__


class ScikerasAdapter(BaseWrapper, _NewTags):
    """scikeras's ``BaseWrapper``, adapted step by step."""

    callbacks_: list[keras.callbacks.Callback]
    model_: keras.Model
    X_dtype_: np.dtype[Any]

    def __sklearn_tags__(self) -> Tags:
        # scikeras's classes have scikit-learn's mixins after BaseEstimator in the MRO, whose
        # __sklearn_tags__ does not call super(), so that those of the mixins are never called.
        tags = BaseEstimator.__sklearn_tags__(self)
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        tags.target_tags.multi_output = True
        # Poor, because the default is one epoch.
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
            arrays.check_is_not_list_of_inputs(X, y)
            X = self._check_features(X, reset)
        if y is not None or (reset and isinstance(self, ClassifierMixin | RegressorMixin)):
            self._check_target_names(y, reset)
            y = self._as_heads(y, reset)
            y = arrays.check_target(
                self,
                X,
                y,
                numeric=y_numeric or isinstance(self, RegressorMixin),
                classes=isinstance(self, ClassifierMixin),
            )
            if reset:
                self.target_type_ = "heads" if y.dtype.names else self._type_of_target(y)
                self.y_dtype_, self.y_ndim_ = y.dtype, y.ndim
            elif y.ndim != self.y_ndim_:
                raise InputValueError(
                    f"y has {y.ndim} dimensions, but {type(self).__name__} was fitted on a y of "
                    f"{self.y_ndim_}."
                )
        return X, y

    def _check_target_names(self, y: Any, reset: bool) -> None:
        """Set or check the names of the columns of y, unless these are found by name."""
        if isinstance(heads_of(self.target), Mapping):
            return
        names = arrays.names_of_columns(y)
        if reset:
            self._target_names = names
        else:
            arrays.check_same_names(self, getattr(self, "_target_names", None), names)

    def _check_features(self, X: Any, reset: bool) -> Any:
        """Validate X, of which the model decides whether it is text, and which axes are free."""
        model = vars(self).get("model_")
        X = arrays.check_features(
            self,
            X,
            reset=reset,
            keep_text=inputs.takes_text(model) or (not reset and self.X_dtype_.kind == "O"),
            free_axes=() if reset else inputs.free_axes(self),
        )
        if reset:
            self.X_dtype_, self.X_shape_ = arrays.dtype_of(X), arrays.shape_of(X)
        return X

    def _learn_features(self, X: Any) -> Any:
        """Validate X again, for a model that takes it as text, and fit the encoder of features."""
        checked = self._check_features(X, reset=True)
        self._fit_feature_encoder(checked, X)
        return checked

    def _fit_feature_encoder(self, X: Any, given: Any) -> None:
        """Fit the encoder on validated X; one that selects columns needs X as it was given."""
        encoder = self.feature_encoder
        arguments = {"given": given} if isinstance(encoder, InputColumns) else {}
        self.feature_encoder_ = encoder.fit(X, **arguments)
        self.__dict__.update(getattr(self.feature_encoder_, "get_metadata", dict)())

    def _has_text_as_numbers(self, X: Any) -> bool:
        """Return whether X was converted to numbers, but the model takes it as the text it is."""
        return self.X_dtype_.kind != "O" and inputs.takes_text(self.model_) and holds_text(X)

    def _as_heads(self, y: Any, reset: bool) -> Any:
        """Return y as one field per head, if ``target`` has heads."""
        if y is None or not has_heads(self.target):
            arrays.check_is_not_dict("y", y, _advice_on_heads(y))
            return y
        fitted = None if reset else self.y_dtype_.names
        return as_columns(y, heads_of(self.target), fitted)

    @property
    def target_encoder(self) -> Any:
        """Transformer of y: chooses a target of ``skguard.targets`` when it is fitted.

        A subclass may return another transformer, of which ``inverse_transform`` is called with
        the outputs of the model.
        """
        is_classifier = isinstance(self, ClassifierMixin)
        is_regressor = isinstance(self, RegressorMixin)
        if self.target is None and not (is_classifier or is_regressor):
            return super().target_encoder
        classes = getattr(self, "classes_", None)
        return TargetChooser(self.target, is_classifier, classes, is_regressor)

    def _check_model_param(self) -> Callable[..., keras.Model]:
        checks.check_model_parameter(self)
        if self.model is None and self.build_fn is not None:
            warn(
                "build_fn is the old name of model, which scikeras will remove. Pass model=.",
                FutureWarning,
            )
        model = self.model if self.model is not None else self.build_fn
        if isinstance(model, keras.Model):
            # As in scikeras, so that initialize() connects models that share layers. A fit
            # trains a copy: see _model_to_train.
            return lambda: model
        call = parameters.model_function(self).call
        assert call is not None  # checked above
        return call

    def _model_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the model function."""
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
            if copies.is_keras_object(default):  # one object, which all calls would share
                arguments.setdefault(name, default)
        arguments = {name: copies.copy_keras_objects(value) for name, value in arguments.items()}
        from_estimator: dict[str, Callable[[], Any]] = {
            "meta": self._get_metadata,
            "compile_kwargs": self._get_compile_kwargs,
            "params": self._copied_params,
        }
        with input_errors():
            return arguments | {name: from_estimator[name]() for name in function.from_estimator}

    def _build_keras_model(self) -> keras.Model:
        build = self._check_model_param()
        seed = seeding.resolve(self.random_state)
        with seeding.seeded(seed), copies.first_metric_names():
            if isinstance(self.model, keras.Model) or isinstance(self.build_fn, keras.Model):
                return build()
            model = build(**self._model_arguments())
        checks.check_built_model(self, model)
        return model

    def _model_to_train(self, seed: int | None) -> keras.Model:
        """Return the model of this draft, or a copy if it is an object of the parameters."""
        if self.model_ is not self.model and self.model_ is not self.build_fn:
            return self.model_
        unused.check_compile_parameters(self, compiled_by_function=self.model_.compiled)
        with seeding.seeded(seed):
            return copies.copy_model(self.model_)

    def _copied_params(self) -> dict[str, Any]:
        """Return the parameters, with copies of those that a model is compiled with."""
        kinds = ("optimizer", "loss", "metrics", "compile__")
        return {
            name: copies.copy_keras_objects(value) if name.startswith(kinds) else value
            for name, value in self.get_params().items()
        }

    def _get_compile_kwargs(self) -> dict[str, Any]:
        # Without the parameters of parameters, such as those of a schedule.
        own = self.get_params(deep=False)
        params = {name: v for name, v in self._copied_params().items() if name in own}
        compile_kwargs: dict[str, Any] = route_params(
            params, destination="compile", pass_filter=self._compile_kwargs
        )
        for kind in ("optimizer", "loss", "metrics"):
            compile_kwargs[kind] = parameters.build_nested(
                kind,
                compile_kwargs[kind],  # of compile__<kind>, if that is set
                parameters.route(params, kind),
                construct=lambda cls, args, kwargs: cls(*args, **kwargs),
            )
        if compile_kwargs["optimizer"] is None and is_given(self, "optimizer"):
            raise InputValueError(
                "optimizer=None: a model cannot be trained without an optimizer. Pass the name, "
                'the class or an instance of one, such as optimizer="adam".'
            )
        compile_kwargs["optimizer"] = _from_name(compile_kwargs["optimizer"], keras.optimizers.get)
        compile_kwargs["loss"] = _from_name(compile_kwargs["loss"], keras.losses.get)
        if self.loss is None:
            compile_kwargs["loss"] = default_loss(self.target)
        metrics = compile_kwargs["metrics"] = _from_name(compile_kwargs["metrics"], _metric)
        if metrics is not None and not isinstance(metrics, dict | list):
            compile_kwargs["metrics"] = [metrics]
        return compile_kwargs

    def _ensure_compiled_model(self) -> None:
        if not self.model_.compiled:
            with copies.first_metric_names():
                kwargs = self._get_compile_kwargs()
                self.model_.compile(**kwargs)

    def _learn_data(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Validate X and y, fit the encoders, and set the attributes that describe the data."""
        given = X
        X, y = self._validate_data(X, y, reset=True)
        checks.check_classes(self, y)
        self.target_encoder_ = self.target_encoder.fit(y)
        self.__dict__.update(getattr(self.target_encoder_, "get_metadata", dict)())
        self._fit_feature_encoder(X, given)
        return X, y

    def _learn_first_batch(self, batch: Batch) -> None:
        """Learn from one batch what `_learn_data` learns from all samples."""
        if hasattr(batch.x, "shape"):
            self.X_shape_, self.X_dtype_ = batch.x.shape, batch.x.dtype
            self.n_features_in_ = batch.x.shape[1] if batch.x.ndim > 1 else 1
        if has_heads(self.target) or self._overrides_initialize:
            raise InputValueError(
                "A target with one item per output, and a subclass that overrides _initialize, "
                "need arrays, not a dataset or generator."
            )
        self.y_dtype_, self.y_ndim_ = None, None
        if batch.y is not None:
            self.target_type_ = self._type_of_target(batch.y)
            self.y_dtype_, self.y_ndim_ = batch.y.dtype, batch.y.ndim
            if batch.y.ndim == 0:
                raise InputValueError("X has single samples, not batches. Call .batch(32) on it.")
        self.target_encoder_ = self.target_encoder.fit(batch.y)
        self._check_classes_are_known()
        self.__dict__.update(getattr(self.target_encoder_, "get_metadata", dict)())
        self.feature_encoder_ = FunctionTransformer().fit(None)

    def _check_classes_are_known(self) -> None:
        """Raise if labels come from one batch alone, which need not have all of them."""
        target = self.target_encoder_
        if isinstance(target, MultiLabel):
            self.target_encoder_ = target.without_entries()
        elif isinstance(target, Labels | Ordinal) and not target.has_all_classes:
            raise InputValueError(
                "The labels of a dataset or generator are not known before it has been read. Pass "
                "all of them: fit(..., classes=[...])."
            )

    def _initialize(self, X: Any, y: Any = None) -> tuple[Any, Any]:
        """Learn the data and build the model: scikeras's template method.

        A subclass may override it, call ``super()._initialize(X, y)`` and use or replace the
        attributes that it has set: ``model_``, ``target_encoder_``, ``feature_encoder_``.

        Returns
        -------
        X, y : arrays
            Validated.
        """
        self._drop_model()
        with input_errors():
            learned, y = self._learn_data(X, y)
        self._build_model()
        if self._has_text_as_numbers(X):
            with input_errors():
                learned = self._learn_features(X)
        return learned, y

    @property
    def feature_encoder(self) -> Any:
        """Transformer of X: divides it if ``inputs`` is set, otherwise passes it to the model.

        A subclass may override it.
        """
        selections = vars(self).get("inputs")
        return super().feature_encoder if selections is None else InputColumns(selections)

    @property
    def _overrides_initialize(self) -> bool:
        """Whether a subclass has to be the first to see the data, and builds the model with it."""
        return type(self)._initialize is not ScikerasAdapter._initialize

    def _drop_model(self) -> None:
        """Delete the attributes that belong to a trained model."""
        for name in ("model_", "history_", "callbacks_", "_training_state"):
            self.__dict__.pop(name, None)

    def _build_model(self) -> None:
        """Build the model of this draft, which has learned the data."""
        self.model_ = self._build_keras_model()

    def _learn_outputs(self, X: Any) -> None:
        """Let the target learn the outputs and the loss of the built model.

        Parameters
        ----------
        X : array or nested arrays
            Encoded samples.
        """
        target = self.target_encoder_
        if not isinstance(target, Target):
            return
        loss = self.model_.loss if self.model_.compiled else self._get_compile_kwargs()["loss"]
        # A copy: other attempts at this fit share the target.
        self.target_encoder_ = target.for_outputs(outputs_of(self.model_, loss, X))
        self.__dict__.update(self.target_encoder_.get_metadata())

    def _predict_raw(self, X: Any, **kwargs: Any) -> Any:
        forks.check_not_forked()
        check_is_fitted(self)
        parameters.check_call_names("predict", kwargs)
        if is_batched(X):
            X = inputs_of(X)
        else:
            X, _ = self._validate_data(X=X)
            with input_errors():
                X = arrays.encode_features(self.feature_encoder_, X)
                X = inputs.as_model_takes(self, X)
        arguments = route_params(
            self.get_params(), destination="predict", pass_filter=self._predict_kwargs, strict=True
        )
        arguments["callbacks"] = TrainingState.of(self).callbacks.predicting
        arguments = with_batch_sizes(arguments | kwargs, X)
        inputs.check_batches(self.model_, X, arguments.get("batch_size"))
        with without_retracing_advice():
            outputs = engine.predict(self.model_, X, engine=self.engine, **arguments)
        inputs.check_predicted_nan(X, outputs)
        if isinstance(outputs, dict) and len(outputs) == 1 and not has_heads(self.target):
            return next(iter(outputs.values()))
        return outputs


def _advice_on_heads(y: Any) -> str:
    words = ", ".join(f"{name!r}: 'labels'" for name in y) if isinstance(y, Mapping) else ""
    return f"For several outputs, state what each one is: target={{{words}}}, for instance."


def _from_name(value: Any, get: Callable[[str], Any]) -> Any:
    """Replace names in `value`, in any nesting, by the objects that Keras has under them."""
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
    return name if name.lower() in chosen_by_keras else keras.metrics.get(name)
