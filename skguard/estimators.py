"""The estimators: parameters, their documentation, and fit as a list of steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from scikeras.wrappers import KerasClassifier, KerasRegressor
from sklearn.base import BaseEstimator
from sklearn.utils.class_weight import compute_sample_weight

from skguard import arrays, engine, fresh, packing, parameters, preflight, seeding
from skguard.repairs import RepairedWrapper

__all__ = ["GuardedKerasBase", "GuardedKerasClassifier", "GuardedKerasRegressor"]


class GuardedKerasBase(RepairedWrapper):
    """A Keras model as a scikit-learn estimator, without a head of its own.

    Subclass it for transformers and other heads; `GuardedKerasClassifier` and
    `GuardedKerasRegressor` are the two that most need.

    Every fit starts fresh: it builds the model anew, and trains copies of the callbacks,
    optimizers, losses, metrics and models in the parameters, which it never changes.

    Parameters
    ----------
    model : callable or keras.Model, default=None
        What builds the model: a function, lambda, partial, bound method, object with
        ``__call__``, or ``keras.Model`` subclass, called at every fit. Its arguments are
        parameters of the estimator: ``def build(units=64)`` is searched as ``units`` or
        ``model__units``. One that is called like a parameter or method of the estimator,
        such as ``optimizer``, is searched as ``model__optimizer`` only. Three names are
        given by the estimator where the function asks for them: ``meta``, a dict of what is
        known of the data (``n_features_in_``, ``X_shape_``, ``target_type_``, ``n_classes_``,
        ``n_outputs_expected_`` and more); ``compile_kwargs``, the arguments for
        ``model.compile``; ``params``, all of ``get_params()``. The model may be returned
        compiled or not; if not, the estimator compiles it.

        A ``keras.Model`` object is copied at every fit, with the weights that it has then.
        None where the class has a method ``_keras_build_fn``.
    build_fn : callable or keras.Model, default=None
        The old name of `model`.
    warm_start : bool, default=False
        Whether ``fit`` goes on training the model of the last fit, with fresh callbacks.
    random_state : int, numpy.random.RandomState or None, default=None
        Seeds everything that is random in a fit. The same int gives the same numbers, bit
        for bit, whatever ran before. A ``RandomState`` is read and never advanced. None uses
        Keras's own streams.
    optimizer : str, keras.optimizers.Optimizer or class, default="rmsprop"
        For models that the estimator compiles. ``optimizer__learning_rate=0.01`` and the
        like go to its constructor, where a name or class is given.
    loss : str, keras.losses.Loss, class or callable, default=None
        As `optimizer`; also says how a classifier's y is encoded.
    metrics : list, dict, str, keras.metrics.Metric or class, default=None
        As `optimizer`; ``metrics__0__name="auc"`` goes to the first.
    batch_size : int, default=None
        Rows a gradient step, and rows a prediction step. None means 32; -1 all rows.
    validation_batch_size : int, default=None
        Rows an evaluation step. None means `batch_size`.
    verbose : {0, 1, 2}, default=1
        0 is silent, 1 shows a progress bar, 2 a line an epoch.
    callbacks : keras.callbacks.Callback, class, Shared, or list or dict of these, default=None
        For fit and predict. Objects are copied at every fit, classes constructed with
        ``callbacks__0__patience=3`` and the like (``callbacks__patience`` is for all). Paths
        are used as they are by the estimator that you construct; its clones, as in a search,
        write to ``fit-<id>/`` beside the path. ``{fit_id}`` in a path becomes that id.
        ``skguard.callbacks.Shared`` opts out of all this.
    validation_split : float, default=0.0
        Share of the rows, the last ones, that is held out to compute ``val_`` metrics.
    shuffle : bool, default=True
        Whether to shuffle the rows before each epoch.
    run_eagerly : bool, default=False
        Whether to run without a graph, to debug.
    epochs : int, default=1
        How often to go through all rows.
    engine : {"auto", "fused", "keras"}, default="auto"
        What runs the epochs of ``fit`` and the batches of ``predict``. "fused" runs whole
        epochs inside one graph, on rows that are put into tensors once a fit, and shares that
        graph with later models of the same architecture; the model's own ``train_step``,
        callbacks and history are those of ``keras.Model.fit``, bit for bit, but the order of
        shuffled rows is another, and another in each epoch. "keras" is Keras's own ``fit``.
        "auto" is "fused" wherever that is possible; ``engine_reason_`` says why not.
    **kwargs : dict
        Arguments of the model function, and routed parameters: ``model__``, ``optimizer__``,
        ``loss__``, ``metrics__``, ``callbacks__``, ``compile__``, ``fit__``, ``predict__`` and
        ``score__``. Checked in ``set_params`` and when ``fit`` starts.

    Attributes
    ----------
    model_ : keras.Model
        The trained model; never an object that was passed.
    callbacks_ : list of keras.callbacks.Callback
        The callbacks that trained, with what they recorded and the paths that they wrote to.
    history_ : dict of str to list of float
        One value for each metric and epoch.
    engine_ : {"fused", "keras"}
        Which engine trained the model.
    engine_reason_ : str
        Why that one, in a line.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Where X had names, all of them text.
    target_encoder_, feature_encoder_ : transformer
        What turns y and X into what the model takes.

    See Also
    --------
    skguard.callbacks.Shared : Use one callback object in every fit.

    Notes
    -----
    The parameters and the model function's protocol are those of scikeras's ``BaseWrapper``
    [1]_, which this subclasses.

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
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        batch_size: int | None = None,
        validation_batch_size: int | None = None,
        verbose: int = 1,
        callbacks: Any = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        run_eagerly: bool = False,
        epochs: int = 1,
        engine: str = "auto",
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
        self.engine = engine

    # ---- training -------------------------------------------------------------------------

    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> GuardedKerasBase:
        """Build a model and train it on all rows.

        Parameters
        ----------
        X : array-like, sparse matrix or array, or dataframe of shape (n_samples, n_features, ...)
            Training rows. Sparse rows stay sparse on their way to Keras.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs, ...)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; never modified. Rows of weight 0 are left out.
        **kwargs : dict
            Arguments of ``keras.Model.fit`` for this fit alone, such as ``epochs``.
            Parameters named ``fit__epochs`` do the same for every fit.

        Returns
        -------
        self
            Fitted. After an error the estimator is as it was before, except that a model that
            ``warm_start`` or ``partial_fit`` trains on keeps the steps that it took.

        Raises
        ------
        ValueError
            Before training: if a parameter is one that nothing takes or that would never be
            used, X, y or the weights are not usable, or the model and its loss do not fit y.
        TypeError
            Before training: if `model` or a callback is of a wrong type, ``**kwargs`` has a
            name that Keras does not know, or an object cannot be copied.
        """
        epochs = kwargs.pop("epochs", getattr(self, "fit__epochs", self.epochs))
        initial_epoch = kwargs.pop("initial_epoch", 0)
        self._train(
            X,
            y,
            sample_weight,
            warm_start=self.warm_start,
            epochs=epochs,
            initial_epoch=initial_epoch,
            fresh_callbacks=True,
            **kwargs,
        )
        return self

    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> GuardedKerasBase:
        """Train one more epoch, with the model and callbacks of the last.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``. The first call builds the model.
        **kwargs : dict
            Arguments of ``keras.Model.fit``, ``epochs`` and ``initial_epoch`` excepted.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If ``epochs`` or ``initial_epoch`` is given.
        ValueError
            As in ``fit``.
        """
        for name in ("epochs", "initial_epoch"):
            if name in kwargs:
                raise TypeError(
                    f"partial_fit() takes no argument {name!r}: it always trains for one epoch, "
                    "the one after the last. Use fit() to choose."
                )
        self._train(
            X,
            y,
            sample_weight,
            warm_start=True,
            epochs=1,
            initial_epoch=self.current_epoch,
            **kwargs,
        )
        return self

    def _train(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        warm_start: bool,
        epochs: int,
        initial_epoch: int,
        fresh_callbacks: bool = False,
        **kwargs: Any,
    ) -> None:
        with seeding.LOCK, self._unchanged_on_error():
            engine.take_share()
            parameters.check_names(self)
            parameters.check_call_names("fit", kwargs)
            extra_callbacks = kwargs.pop("callbacks", None)
            batch_size = getattr(self, "fit__batch_size", self.batch_size)
            batch_size = kwargs.get("batch_size", batch_size)
            preflight.check_numbers(epochs=epochs, batch_size=batch_size)
            engine.check_engine(self.engine)
            weights = arrays.check_weights(sample_weight, X)
            if warm_start and self.initialized_:
                X, y = self._validate_data(X, y)
                if fresh_callbacks or not self._callbacks_are_current():
                    self._initialize_callbacks()
            else:
                X, y = self._initialize(X, y)
            self.model_ = self._own_model()
            self._ensure_compiled_model()
            weights = self._weigh_classes(y, weights)
            data = arrays.TrainingData(X, y, weights).without_zero_weights()
            encoded_y = self.target_encoder_.transform(data.y)
            encoded_X = self.feature_encoder_.transform(data.X)
            self._check_model_compatibility(encoded_y)
            preflight.check_inputs(self.model_, encoded_X)
            self._encode_validation_data(kwargs)
            with self._with_callbacks(extra_callbacks):
                self._fit_keras_model(
                    encoded_X,
                    encoded_y,
                    sample_weight=data.sample_weight,
                    warm_start=warm_start,
                    epochs=epochs,
                    initial_epoch=initial_epoch,
                    **kwargs,
                )

    def initialize(self, X: Any, y: Any = None) -> GuardedKerasBase:
        """Build the model and do not train it, to predict with weights that it brings along.

        A ``keras.Model`` object in `model` is used itself here, as scikeras does, so that
        models that share layers go on sharing them. Training later takes a copy first.

        Parameters
        ----------
        X, y
            As in ``fit``.

        Returns
        -------
        self
        """
        with seeding.LOCK, self._unchanged_on_error():
            parameters.check_names(self)
            self._initialize(X, y)
        return self

    def _weigh_classes(self, y: Any, weights: np.ndarray | None) -> np.ndarray | None:
        return weights

    def _encode_validation_data(self, kwargs: dict[str, Any]) -> None:
        """Encode ``fit(validation_data=(X, y))`` as X and y are; leave datasets alone."""
        data = kwargs.get("validation_data")
        if not isinstance(data, tuple | list) or len(data) < 2 or not hasattr(data[0], "shape"):
            return
        X, y = self._validate_data(data[0], data[1])
        kwargs["validation_data"] = (
            self.feature_encoder_.transform(X),
            self.target_encoder_.transform(y),
            *data[2:],
        )

    @contextlib.contextmanager
    def _with_callbacks(self, extra: Any) -> Iterator[None]:
        """Train with callbacks that were given to ``fit`` itself, beside the parameters'."""
        if self._n_extra_callbacks:  # those of the last partial_fit were for that one alone
            self.callbacks_ = self.callbacks_[: -self._n_extra_callbacks]
            self._n_extra_callbacks = 0
        if extra is not None:
            made = self._make_callbacks({"callbacks": extra}, routed={})["callbacks"]
            self.callbacks_ = self.callbacks_ + made
            self._n_extra_callbacks = len(made)
        try:
            yield
        finally:
            self._fit_paths.tidy()

    @contextlib.contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Leave the estimator's attributes as they were if a fit fails."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            if self.__dict__.get("_fit_paths") is not before.get("_fit_paths"):
                self._fit_paths.tidy()
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    # ---- predicting -----------------------------------------------------------------------

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compare predictions with `y` by the method ``scorer``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; 0 leaves a row out.

        Returns
        -------
        float
            Accuracy for classifiers, R² for regressors, unless ``scorer`` is overridden.
        """
        weights = arrays.check_weights(sample_weight, X)
        predicted = self.predict(X)
        _, y = self._validate_data(y=y)
        arguments = parameters.route(self.get_params(), "score")
        score: float = self.scorer(y, predicted, sample_weight=weights, **arguments)
        return score

    # ---- parameters -----------------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters, the model function's arguments among them.

        Parameters
        ----------
        deep : bool, default=True
            Whether to list the parameters of parameters that are estimators.

        Returns
        -------
        dict
            Arguments of the model function that were not set have its defaults, or
            ``<required>`` where it has none.
        """
        params = {name: getattr(self, name) for name in self._get_param_names()}
        params |= parameters.implied_names(self)
        if deep:
            for name, value in list(params.items()):
                if parameters.is_estimator(value):
                    nested = value.get_params().items()
                    params |= {f"{name}__{key}": item for key, item in nested}
        return params

    def set_params(self, **params: Any) -> GuardedKerasBase:
        """Set parameters, routed ones and the model function's arguments included.

        Parameters
        ----------
        **params : dict
            ``neurons`` and ``model__neurons`` are the same argument of the model function.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a name is one that nothing takes. No parameter is changed then. While `model`
            is not what can build a model, ``fit`` looks at the names.
        """
        before = dict(vars(self))
        try:
            # The model first: it decides which of the other names exist.
            for name in sorted(params, key=lambda name: name not in ("model", "build_fn")):
                self._set_param(name, params[name], params)
            # Nobody knows the arguments of a model that can build nothing; fit refuses it.
            if self.model is None or callable(self.model):
                parameters.check_set_names(self, params)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self

    def _set_param(self, name: str, value: Any, together: dict[str, Any]) -> None:
        prefix, routed, rest = name.partition("__")
        nested = getattr(self, prefix, None)
        if routed and name not in vars(self) and parameters.is_estimator(nested):
            nested.set_params(**{rest: value})
            return
        if not routed and name not in vars(self):
            self._user_params = {*getattr(self, "_user_params", ()), name}
        setattr(self, name, value)
        other = parameters.same_argument(self, name)
        if other is not None and other in vars(self) and other not in together:
            setattr(self, other, value)

    # ---- copies ---------------------------------------------------------------------------

    def __sklearn_clone__(self) -> GuardedKerasBase:
        stored = {name: getattr(self, name) for name in self._get_param_names()}
        copies = {name: _Held(value) for name, value in fresh.copy_parameters(stored).items()}
        # scikit-learn's own clone sees to everything but the parameters: constructor checks,
        # metadata requests, output configuration. It copies parameters with deepcopy, which
        # would take a trained model along, so it is given ones that are copied already.
        stand_in = object.__new__(type(self))
        stand_in.__dict__.update(vars(self))
        stand_in.__dict__.update(copies)
        twin: GuardedKerasBase = BaseEstimator.__sklearn_clone__(stand_in)
        for name, held in copies.items():
            setattr(twin, name, held.value)
        twin._writes_apart = True
        return twin

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        with seeding.preserved():
            trained = {
                name: fresh.copy_trained_callbacks(state[name])
                for name in ("callbacks_", "_predict_callbacks")
                if name in state
            }
            given = {name: value for name, value in state.items() if "callbacks" in name}
            given = {name: given[name] for name in self._get_param_names() if name in given}
            state |= fresh.copy_callbacks(given) | trained
            state.pop("_callbacks_made_from", None)
            return {name: packing.pack(value) for name, value in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        engine.take_share()  # what is unpickled below may start TensorFlow
        with seeding.preserved():
            super().__setstate__({name: packing.unpack(v) for name, v in state.items()})
        if "callbacks_" in vars(self):
            for callback in self.callbacks_:
                callback._model = self.model_
            self._callbacks_made_from = self._callback_parameters()


def _same_labels(known: np.ndarray | None, announced: Any) -> bool:
    return known is not None and np.array_equal(known, np.unique(announced))


class _Held:
    """A parameter that is copied already."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __sklearn_clone__(self) -> _Held:
        return self


class GuardedKerasClassifier(GuardedKerasBase, KerasClassifier):
    """A Keras classifier that scikit-learn can search, cross-validate and ship.

    Labels of any kind are encoded for the loss, and decoded by ``predict``. Every fit starts
    fresh, as `GuardedKerasBase` says.

    Parameters
    ----------
    model, optimizer, loss, metrics, callbacks, epochs, batch_size, random_state, engine, ...
        All parameters of `GuardedKerasBase`, with the same defaults.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, ``{label: weight}``; multiplied with ``sample_weight``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, in the order of the columns of ``predict_proba``.
    n_classes_ : int
    model_, callbacks_, history_, engine_, engine_reason_, n_features_in_, ...
        As in `GuardedKerasBase`.

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
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        batch_size: int | None = None,
        validation_batch_size: int | None = None,
        verbose: int = 1,
        callbacks: Any = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        run_eagerly: bool = False,
        epochs: int = 1,
        engine: str = "auto",
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
            engine=engine,
            class_weight=class_weight,
            **kwargs,
        )

    def fit(  # type: ignore[override]
        self, X: Any, y: Any, sample_weight: Any = None, **kwargs: Any
    ) -> GuardedKerasClassifier:
        """Build a classifier and train it; see `GuardedKerasBase.fit`."""
        with seeding.LOCK, self._unchanged_on_error():
            if not (self.warm_start and self.initialized_):
                self.classes_ = None
            super().fit(X, y, sample_weight, **kwargs)
        return self

    def partial_fit(  # type: ignore[override]
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> GuardedKerasClassifier:
        """Train one more epoch; see `GuardedKerasBase.partial_fit`.

        Parameters
        ----------
        X, y, sample_weight, **kwargs
            As in `GuardedKerasBase.partial_fit`.
        classes : array-like of shape (n_classes,), default=None
            All labels that any call will bring. Only the first call needs it, where its y
            does not hold them all.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `classes` is not what the first call had, or y has a label that is not in it.
        """
        with seeding.LOCK, self._unchanged_on_error():
            if not self.initialized_:
                self.classes_ = None if classes is None else np.unique(classes)
            elif not (classes is None or _same_labels(self.classes_, classes)):
                raise ValueError(
                    f"classes={classes!r} is not the same as on the last call to partial_fit, "
                    f"which was {self.classes_!r}."
                )
            super().partial_fit(X, y, sample_weight=sample_weight, **kwargs)
        return self

    def initialize(  # type: ignore[override]
        self, X: Any, y: Any
    ) -> GuardedKerasClassifier:
        """Build the classifier and do not train it; see `GuardedKerasBase.initialize`."""
        with self._unchanged_on_error():
            self.classes_ = None
            super().initialize(X, y)
        return self

    def _weigh_classes(self, y: Any, weights: np.ndarray | None) -> np.ndarray | None:
        if self.class_weight is None:
            return weights
        by_class = compute_sample_weight(self.class_weight, y)
        return arrays.check_weights(by_class if weights is None else by_class * weights, y)

    def predict_proba(self, X: Any, **kwargs: Any) -> np.ndarray:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like, sparse matrix or array, or dataframe of shape (n_samples, n_features, ...)
        **kwargs : dict
            Arguments of ``keras.Model.predict``.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``. A model with one sigmoid unit gives two.
        """
        outputs = self._predict_raw(X, **kwargs)
        probabilities = self.target_encoder_.inverse_transform(outputs, return_proba=True)
        if isinstance(probabilities, np.ndarray) and isinstance(outputs, np.ndarray):
            # scikeras squeezes away the row of a single row.
            probabilities = probabilities.reshape(len(outputs), -1)
        return probabilities


class GuardedKerasRegressor(GuardedKerasBase, KerasRegressor):
    """A Keras regressor that scikit-learn can search, cross-validate and ship.

    Every fit starts fresh, as `GuardedKerasBase` says.

    Parameters
    ----------
    model, optimizer, loss, metrics, callbacks, epochs, batch_size, random_state, engine, ...
        All parameters of `GuardedKerasBase`, with the same defaults.

    Attributes
    ----------
    model_, callbacks_, history_, engine_, engine_reason_, n_features_in_, ...
        As in `GuardedKerasBase`.

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

    def predict(self, X: Any, **kwargs: Any) -> np.ndarray:
        """Predict targets.

        Parameters
        ----------
        X : array-like, sparse matrix or array, or dataframe of shape (n_samples, n_features, ...)
        **kwargs : dict
            Arguments of ``keras.Model.predict``.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Of the float type of y in ``fit``, or float64 if that held integers.
        """
        predicted = super().predict(X, **kwargs)
        if not isinstance(predicted, np.ndarray):  # an encoder of the user's
            return predicted
        return predicted.astype(np.result_type(predicted.dtype, self.y_dtype_), copy=False)
