"""The estimators: parameters, their documentation, and fit as a list of steps."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from scikeras.wrappers import KerasClassifier, KerasRegressor
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_sample_weight

from skguard import _engine as engine
from skguard._estimators import copies, packing, parameters
from skguard._estimators.scikeras import RepairedWrapper
from skguard._fit import arrays, attempts, checks, validation
from skguard._repairs import forks, seeding
from skguard.callbacks import ScorerMonitor
from skguard.callbacks._scorer_monitor import scorer_name

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
    verbose : {0, 1, 2, "auto"}, default=1
        0 is silent, 1 shows a progress bar, 2 a line an epoch; "auto" is 1.
    callbacks : keras.callbacks.Callback, class, Shared, or list or dict of these, default=None
        For fit and predict. Objects are copied at every fit, classes constructed with
        ``callbacks__0__patience=3`` and the like (``callbacks__patience`` is for all). Paths
        are used as they are by the estimator that you construct; its clones, as in a search,
        write to ``fit-<id>/`` beside the path. ``{fit_id}`` in a path becomes that id.
        ``skguard.callbacks.Shared`` opts out of all this.
    validation_split : float, int, splitter or iterable of (train, test), default=0.0
        Which rows are held out, never to be trained on, to compute ``val_`` metrics. A float is
        a share of the rows, the last ones, as in Keras. A scikit-learn splitter gives its first
        split, ``TimeSeriesSplit`` its last; an int one fold of so many, stratified for
        classifiers.
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
    early_stopping : bool, default=False
        Whether to stop ``fit`` when the score on held-out rows no longer improves, and to go
        back to the weights of the best epoch. Holds out `validation_fraction` of the rows,
        unless `validation_split`, ``X_val`` or ``validation_data`` says which.
    validation_fraction : float, default=None
        Share of the rows that is held out, drawn at random, stratified for classifiers where
        every class has enough rows. None holds out 0.1 where `early_stopping` needs rows, and
        else nothing.
    n_iter_no_change : int, default=10
        After how many epochs without improvement `early_stopping` stops.
    tol : float, default=1e-4
        What counts as an improvement for `early_stopping`: more than this.
    scoring : str or callable, default=None
        A scikit-learn scorer that is computed on the held-out rows after each epoch, and that
        `early_stopping` looks at; in ``history_`` as ``val_<name>``. None looks at
        ``val_loss``. Without held-out rows it has no effect.
    on_nan : {"fail", "stop", "ignore"}, default="fail"
        What follows when the loss or a weight is not finite. "fail" raises `DivergedError`, so
        that a search gives the fit its ``error_score``; "stop" ends training with the weights
        of the last finite epoch, or of the best one where early stopping restores them;
        "ignore" trains on, as Keras does.
    max_fit_seconds : float, default=None
        Wall-clock time that ``fit`` may take, in seconds, building the model and retries
        included. Looked at several times a second, between batches: then training ends with
        the weights that it has, or the best ones where early stopping restores them. An epoch
        that was not over does not count. None is no limit.
    max_retries : int, default=0
        How often a fit that raised is tried again, with a new model and another seed, derived
        from `random_state`. Not after errors in the input, `FailedTrialError` and
        `ForkedProcessError`, and not where ``partial_fit`` or ``warm_start`` go on with a
        trained model.
    retry_on : exception class or tuple of them, default=(Exception,)
        Which errors are worth another try.
    retry_with : callable, default=None
        Called as ``retry_with(attempt, error, params)`` before each retry, with the number of
        the attempt that failed, counted from 0, and the parameters that it had; returns a dict
        of parameters to change for the next attempt alone, such as ``{"batch_size": 16}``.
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
        One value for each metric and epoch; ``learning_rate`` is the rate of its last step.
    n_epochs_ : int
        How many epochs the model was trained for: those in ``history_``.
    best_epoch_ : int or None
        The best epoch, counted from 0: where early stopping found it, or else where ``val_loss``
        is lowest; None without either.
    stop_reason_ : {"max_epochs", "early_stopping", "time_budget", "diverged", "callback"}
        Why training ended; "callback" is one that set ``stop_training``.
    validation_indices_ : ndarray of int, or None
        Which rows of X were held out.
    attempts_ : list of Attempt
        The tries of the last fit, with ``number``, ``seconds``, ``changes`` and, for those that
        failed, ``error``, ``message`` and ``traceback``. The last one succeeded; where none
        did, the list is the ``attempts`` of the exception.
    fit_seconds_ : float
        What the last fit took, all attempts together.
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
        validation_split: Any = 0.0,
        shuffle: bool = True,
        run_eagerly: bool = False,
        epochs: int = 1,
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
        """Build a model and train it on all rows but those that are held out.

        Parameters
        ----------
        X : array-like, sparse matrix or array, or dataframe of shape (n_samples, n_features, ...)
            Training rows. Sparse rows stay sparse on their way to Keras.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs, ...)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; never modified. Rows of weight 0 are left out.
        X_val, y_val, sample_weight_val : like X, y, sample_weight, default=None
            Rows to validate with, instead of rows of X. ``Pipeline(transform_input=["X_val"])``
            transforms them as it does X, once ``set_fit_request(X_val=True, y_val=True)`` asks
            for them.
        groups : array-like of shape (n_samples,), default=None
            For a splitter in ``validation_split``, such as ``GroupShuffleSplit``.
        **kwargs : dict
            Arguments of ``keras.Model.fit`` for this fit alone, such as ``epochs``.
            Parameters named ``fit__epochs`` do the same for every fit. ``validation_data`` is
            encoded as X and y are.

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
            After the first epoch: if a callback monitors what is not logged.
        TypeError
            Before training: if `model` or a callback is of a wrong type, ``**kwargs`` has a
            name that Keras does not know, or an object cannot be copied.
        DivergedError
            If the loss or a weight is not finite and ``on_nan="fail"``.
        ForkedProcessError
            If TensorFlow was used before this process was forked, and would hang.
        """
        self._train(
            X,
            y,
            sample_weight,
            given=_Given(X_val, y_val, sample_weight_val, groups),
            warm_start=self.warm_start,
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
            As in ``fit``, and with ``early_stopping=True``, which needs more than one epoch.
        """
        for name in ("epochs", "initial_epoch"):
            if name in kwargs:
                raise TypeError(
                    f"partial_fit() takes no argument {name!r}: it always trains for one epoch, "
                    "the one after the last. Use fit() to choose."
                )
        if self.early_stopping:
            raise ValueError(
                "early_stopping=True is for fit(): partial_fit() trains one epoch, and whoever "
                "calls it decides when to stop."
            )
        self._train(
            X,
            y,
            sample_weight,
            given=_Given(),
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
        *,
        given: _Given,
        warm_start: bool,
        fresh_callbacks: bool = False,
        **kwargs: Any,
    ) -> None:
        forks.check_not_forked()
        with seeding.LOCK, self._unchanged_on_error():
            started = time.monotonic()
            engine.take_share()
            parameters.check_names(self)
            parameters.check_call_names("fit", kwargs)
            self._check_settings(kwargs)
            deadline = None if self.max_fit_seconds is None else started + self.max_fit_seconds
            self._goes_on = goes_on = bool(warm_start and self.initialized_)

            def attempt(number: int, changes: dict[str, Any]) -> None:
                with self._unchanged_on_error(), self._with_params(changes):
                    if changes:
                        with attempts.no_retry():
                            parameters.check_names(self)
                            self._check_settings(kwargs)
                    self._attempt_number = number
                    self._attempt(
                        X,
                        y,
                        sample_weight,
                        given=given,
                        warm_start=warm_start,
                        deadline=deadline,
                        fresh_callbacks=fresh_callbacks,
                        **kwargs,
                    )
                    del self._attempt_number

            # What has been trained on cannot be had anew, so there is one attempt only.
            rule = attempts.Rule(
                0 if goes_on else self.max_retries, self.retry_on, self.retry_with, deadline
            )
            self.attempts_ = attempts.run(attempt, rule, self.get_params())
            self.fit_seconds_ = time.monotonic() - started

    def _check_settings(self, kwargs: dict[str, Any]) -> None:
        engine.check_engine(self.engine)
        checks.check_settings(
            self,
            epochs=self._fit_argument("epochs", kwargs),
            batch_size=self._fit_argument("batch_size", kwargs),
            validation_split=self._fit_argument("validation_split", kwargs),
        )

    def _fit_argument(self, name: str, kwargs: dict[str, Any]) -> Any:
        """An argument of ``keras.Model.fit``: of this call, of every fit, or the parameter."""
        routed = getattr(self, f"fit__{name}", getattr(self, name, None))
        return kwargs.get(name, routed)

    def _attempt(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        given: _Given,
        warm_start: bool,
        deadline: float | None,
        fresh_callbacks: bool,
        callbacks: Any = None,
        **kwargs: Any,
    ) -> None:
        with attempts.no_retry():
            weights = arrays.check_weights(sample_weight, X)
        if warm_start and self.initialized_:
            X, y = self._validate_data(X, y)
            if fresh_callbacks or not self._callbacks_are_current():
                self._initialize_callbacks()
        else:
            X, y = self._initialize(X, y)
        self.model_ = self._own_model()
        self._ensure_compiled_model()
        with attempts.no_retry():
            data = arrays.TrainingData(X, y, weights)
            train, held_out = self._hold_out(data, given, kwargs)
            # As in Keras, classes weigh in training alone.
            weights = self._weigh_classes(train.y, train.sample_weight)
            train = dataclasses.replace(train, sample_weight=weights)
            train = train.take(train.rows_that_weigh())
        encoded_X = self.feature_encoder_.transform(train.X)
        encoded_y = self.target_encoder_.transform(train.y)
        self._check_model_compatibility(encoded_y)
        with attempts.no_retry():
            checks.check_inputs(self.model_, encoded_X)
            kwargs |= {"validation_split": 0.0, "validation_data": self._encoded(held_out)}
        kwargs["epochs"] = self._fit_argument("epochs", kwargs)
        kwargs.setdefault("initial_epoch", 0)
        with self._with_callbacks(callbacks, held_out):
            with attempts.no_retry():
                checks.check_monitors(self.callbacks_, held_out is not None)
                checks.check_schedules(self.model_, self.callbacks_)
            self._fit_keras_model(
                encoded_X,
                encoded_y,
                sample_weight=train.sample_weight,
                warm_start=warm_start,
                limits=engine.Limits(self.on_nan, deadline),
                **kwargs,
            )
        if self.stop_reason_ == "time_budget" and not self.n_epochs_:
            warnings.warn(
                f"max_fit_seconds={self.max_fit_seconds!r} was over before the first epoch was: "
                "history_ is empty, and the model has seen part of the rows once, or none.",
                ConvergenceWarning,
                stacklevel=3,
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
        forks.check_not_forked()
        with seeding.LOCK, self._unchanged_on_error():
            parameters.check_names(self)
            self._initialize(X, y)
        return self

    def _weigh_classes(self, y: Any, weights: np.ndarray | None) -> np.ndarray | None:
        return weights

    def _hold_out(
        self, data: arrays.TrainingData, given: _Given, kwargs: dict[str, Any]
    ) -> tuple[arrays.TrainingData, Any]:
        """The rows to train on, and those to validate with.

        Returns
        -------
        train : TrainingData
        held_out : TrainingData, None, or what ``validation_data`` was if that is no tuple
        """
        rows = data.rows_that_weigh()
        validation_data = self._fit_argument("validation_data", kwargs)
        validation_split = self._fit_argument("validation_split", kwargs)
        self.validation_indices_: np.ndarray | None = None
        if given.X_val is None and not (given.y_val is None and given.sample_weight_val is None):
            raise ValueError("y_val and sample_weight_val are given without X_val. Give X_val too.")
        if given.X_val is not None:
            if given.y_val is None and data.y is not None:
                raise ValueError("X_val is given without y_val. Give y_val too.")
            if validation_data is not None:
                raise ValueError("X_val and validation_data are both given. Give one of them.")
            validation_data = (given.X_val, given.y_val, given.sample_weight_val)
        if validation_data is not None:
            return data.take(rows), self._validated(validation_data, supervised=data.y is not None)
        fraction = self.validation_fraction
        if self.early_stopping and fraction is None and not validation.is_set(validation_split):
            fraction = 0.1
        groups = _check_groups(given.groups, data)
        # Rows of weight 0 are none, unless it is by their place that rows are held out.
        split_at = np.arange(len(data)) if validation.names_rows(validation_split) else rows
        sides = validation.split(
            data.take(split_at),
            validation_split=validation_split,
            validation_fraction=fraction,
            groups=None if groups is None else groups[split_at],
            is_classifier=isinstance(self, ClassifierMixin),
            seed=self._seed_of_hold_out(),
        )
        if sides is None:
            return data.take(rows), None
        train, held_out = (at[np.isin(at, rows)] for at in (split_at[sides[0]], split_at[sides[1]]))
        if not len(train) or not len(held_out):
            side = "held out" if len(train) else "to train on"
            raise ValueError(f"All rows {side} by validation_split have a weight of 0.")
        self.validation_indices_ = held_out
        return data.take(train), data.take(held_out)

    def _seed_of_hold_out(self) -> int:
        """One for all calls that train a model, so that none trains on what another held out."""
        if not self._goes_on or not hasattr(self, "_hold_out_seed"):
            seed = seeding.resolve(self.random_state)
            self._hold_out_seed = int(np.random.randint(2**31)) if seed is None else seed
        return self._hold_out_seed

    def _validated(self, validation_data: Any, *, supervised: bool) -> Any:
        """Rows to validate with that the caller brought; datasets are Keras's to read."""
        if not isinstance(validation_data, tuple | list) or not 1 <= len(validation_data) <= 3:
            return validation_data
        X, y, sample_weight = (*validation_data, None, None)[:3]
        if y is None and supervised:
            raise ValueError("validation_data holds X alone. Give (X, y).")
        X, y = self._validate_data(X, y)
        return arrays.TrainingData(X, y, arrays.check_weights(sample_weight, X))

    def _encoded(self, held_out: Any) -> Any:
        if not isinstance(held_out, arrays.TrainingData):
            return held_out
        return (
            self.feature_encoder_.transform(held_out.X),
            None if held_out.y is None else self.target_encoder_.transform(held_out.y),
            held_out.sample_weight,
        )

    @contextlib.contextmanager
    def _with_callbacks(self, extra: Any, held_out: Any) -> Iterator[None]:
        """Train with more callbacks than the parameters': for this one call alone."""
        if self._n_extra_callbacks:  # those of the last partial_fit
            self.callbacks_ = self.callbacks_[: -self._n_extra_callbacks]
            self._n_extra_callbacks = 0
        added = self._own_callbacks(held_out)
        if extra is not None:
            added = self._make_callbacks({"callbacks": extra}, routed={})["callbacks"] + added
        self.callbacks_ = self.callbacks_ + added
        self._n_extra_callbacks = len(added)
        scores = [c for c in self.callbacks_ if isinstance(c, ScorerMonitor)]
        try:
            if isinstance(held_out, arrays.TrainingData):
                with attempts.no_retry():
                    for callback in scores:
                        callback.attach(
                            self._as_fitted(), held_out.X, held_out.y, held_out.sample_weight
                        )
            yield
        finally:
            for callback in scores:
                callback.detach()
            self._fit_paths.tidy()

    def _own_callbacks(self, held_out: Any) -> list[keras.callbacks.Callback]:
        """What ``scoring`` and ``early_stopping`` ask for."""
        if held_out is None:
            return []
        own: list[keras.callbacks.Callback] = []
        if self.scoring is not None:
            own.append(ScorerMonitor(self.scoring))
        if self.early_stopping:
            own.append(
                keras.callbacks.EarlyStopping(
                    "val_loss" if self.scoring is None else f"val_{scorer_name(self.scoring)}",
                    mode="min" if self.scoring is None else "max",
                    min_delta=self.tol,
                    patience=self.n_iter_no_change,
                    restore_best_weights=True,
                )
            )
        return own

    def _as_fitted(self) -> GuardedKerasBase:
        """This estimator, able to predict with the model that is being trained."""
        view = object.__new__(type(self))
        view.__dict__.update(vars(self))
        view._predict_callbacks = []
        view.verbose = 0
        return view

    @contextlib.contextmanager
    def _with_params(self, changes: dict[str, Any]) -> Iterator[None]:
        """Have other parameters inside; whoever catches what is raised puts them back."""
        if not changes:
            yield
            return
        before = {name: vars(self)[name] for name in self._get_param_names()}
        user_params = getattr(self, "_user_params", None)
        with attempts.no_retry():
            for name, value in before.items():
                if parameters.is_estimator(value):  # whose own parameters may be among these
                    setattr(self, name, copies.copy_parameter(value))
            self.set_params(**changes)
        yield
        for name in self._get_param_names():
            if name not in before:
                delattr(self, name)
        self.__dict__.update(before)
        if user_params is not None:
            self._user_params = user_params

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
        inner = [(v, v.get_params()) for v in before.values() if parameters.is_estimator(v)]
        try:
            # The model first: it decides which of the other names exist; then what others are in.
            for name in sorted(
                params, key=lambda name: (name not in ("model", "build_fn"), name.count("__"))
            ):
                self._set_param(name, params[name], params)
            # Nobody knows the arguments of a model that can build nothing; fit refuses it.
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
            trained = {
                name: copies.copy_trained_callbacks(state[name])
                for name in ("callbacks_", "_predict_callbacks")
                if name in state
            }
            given = {name: value for name, value in state.items() if "callbacks" in name}
            given = {name: given[name] for name in self._get_param_names() if name in given}
            state |= copies.copy_callbacks(given) | trained
            state.pop("_callbacks_made_from", None)
            return {name: packing.pack(value) for name, value in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if forks.is_forked_late():  # fit and predict will say so; unpacking would hang
            self.__dict__.update(state)
            return
        engine.take_share()  # what is unpickled below may start TensorFlow
        with seeding.preserved():
            super().__setstate__({name: packing.unpack(v) for name, v in state.items()})
        if "callbacks_" in vars(self):
            for callback in self.callbacks_:
                callback._model = self.model_
            self._callbacks_made_from = self._callback_parameters()


@dataclasses.dataclass(frozen=True, slots=True)
class _Given:
    """What ``fit`` is given besides X, y and weights, of which see there."""

    X_val: Any = None
    y_val: Any = None
    sample_weight_val: Any = None
    groups: Any = None


def _check_groups(groups: Any, data: arrays.TrainingData) -> np.ndarray | None:
    if groups is None:
        return None
    groups = np.asarray(groups)
    if groups.shape != (len(data),):
        raise ValueError(
            f"groups has shape {groups.shape}, and must have one group for each of the "
            f"{len(data)} rows of X."
        )
    return groups


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
        Weights of the classes in training, ``{label: weight}``; multiplied with
        ``sample_weight``. Held-out rows are without them, as in Keras.

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
        validation_split: Any = 0.0,
        shuffle: bool = True,
        run_eagerly: bool = False,
        epochs: int = 1,
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
            class_weight=class_weight,
            **kwargs,
        )

    def fit(  # type: ignore[override]
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        groups: Any = None,
        **kwargs: Any,
    ) -> GuardedKerasClassifier:
        """Build a classifier and train it; see `GuardedKerasBase.fit`."""
        forks.check_not_forked()
        with seeding.LOCK, self._unchanged_on_error():
            if not (self.warm_start and self.initialized_):
                self.classes_ = None
            super().fit(
                X,
                y,
                sample_weight,
                X_val=X_val,
                y_val=y_val,
                sample_weight_val=sample_weight_val,
                groups=groups,
                **kwargs,
            )
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
        forks.check_not_forked()
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
