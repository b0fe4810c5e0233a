"""The documentation that the estimators share, written once.

`documented` fills the class docstrings and sets those of the methods, so that ``help`` of each
public estimator lists all of its parameters with their defaults and all of its fitted attributes.
Defaults are read from the signature, so that the two cannot differ.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = [
    "ATTRIBUTES",
    "CLASSIFIER_ATTRIBUTES",
    "CLASSIFIER_METHODS",
    "METHODS",
    "PARAMETERS",
    "REGRESSOR_METHODS",
    "documented",
]

T = TypeVar("T", bound=type)

# For each name its type, on the first line, and its description.
PARAMETERS = {
    "model": """callable or keras.Model
    Builds the model: a function, lambda, partial, bound method, object with ``__call__``, or
    ``keras.Model`` subclass, called once per fit. Its arguments are parameters of the estimator:
    ``def build(units=64)`` is searched as ``units`` or ``model__units``. An argument with the name
    of a parameter or method of the estimator, such as ``optimizer``, is searched as
    ``model__optimizer`` only. The estimator passes three arguments where the signature has them:

    - ``meta``: dict with what is known of the data (``n_features_in_``, ``X_shape_``,
      ``target_type_``, ``n_classes_``, ``n_outputs_`` and more);
    - ``compile_kwargs``: dict with the arguments for ``model.compile``;
    - ``params``: dict with all of ``get_params()``.

    The model may be returned compiled or not; if not, the estimator compiles it.

    A ``keras.Model`` instance is copied at every fit, with its weights at that time. Must be None
    where the class has a method ``_keras_build_fn``, which takes the same arguments.
""",
    "build_fn": """callable or keras.Model
    Former name of `model`, deprecated by scikeras.
""",
    "warm_start": """bool
    Whether ``fit`` continues training the model of the last fit, with new callbacks and a new
    ``history_``, instead of building a model. `model`, its arguments, and all that the model is
    compiled with must then be as in that fit.
""",
    "random_state": """int, numpy.random.RandomState or None
    Seed of everything that is random in a fit. The same int gives the same numbers, bit for bit,
    whatever ran before. A ``RandomState`` is read and never advanced. None uses the global random
    streams, as Keras does; where a validation set is drawn, that is done from NumPy's before the
    model is built. Training that continues keeps the seed of the fit that built the model.
""",
    "optimizer": """str, keras.optimizers.Optimizer or class
    Optimizer of models that the estimator compiles. Parameters such as
    ``optimizer__learning_rate=0.01`` are passed to the constructor of a name or class. An error
    if it is given, with any value, and the model function compiles the model without it.
""",
    "loss": """str, keras.losses.Loss, class, callable, or list or dict of these
    Loss of models that the estimator compiles, with parameters such as ``loss__from_logits=True``.
    The loss and the outputs of the built model determine how y is encoded: see `target`.
""",
    "metrics": """str, keras.metrics.Metric, class, callable, or list or dict of these
    Metrics of models that the estimator compiles, with parameters such as
    ``metrics__0__name="auc"`` for the first one of a list. An error if the model function
    compiles the model without them.
""",
    "batch_size": """int
    Number of samples per gradient update and per prediction batch. None means 32; -1 means all
    samples in one batch.
""",
    "validation_batch_size": """int
    Number of samples per validation batch. None means `batch_size`; -1 means all training samples.
""",
    "verbose": """{0, 1, 2, "auto"}
    0 is silent, 1 shows a progress bar, 2 prints one line per epoch; "auto" is 1.
""",
    "callbacks": """keras.callbacks.Callback, class, Shared, or list or dict of these
    Callbacks of ``fit`` and ``predict``; ``fit__callbacks`` and ``predict__callbacks`` are for one
    of the two. Instances are copied at every fit. Classes are constructed at every fit, with
    parameters such as ``callbacks__0__patience=3``, or ``callbacks__patience=3`` for all of them.
    An estimator that you construct uses the paths in its callbacks as they are; its clones, which
    a search fits, write to ``fit-<id>/`` beside the path. ``{fit_id}`` in a path is replaced by
    that id. Wrap a callback in ``skguard.callbacks.Shared`` to use the instance itself.
""",
    "validation_split": """float, int, cross-validation splitter or iterable of (train, test)
    Sets aside a validation set from the training data, for ``val_`` metrics:

    - float: fraction of the training data, taken from the last samples, as in Keras;
    - int: number of folds; the first fold is used, stratified for classifiers;
    - splitter: its first split, for ``TimeSeriesSplit`` the last;
    - iterable of (train, test) indices: the first pair.

    The value 0 sets nothing aside.
""",
    "shuffle": """bool or "batch"
    Whether to shuffle the training samples before each epoch. "batch" shuffles in chunks of the
    batch size, as in Keras.
""",
    "run_eagerly": """bool
    Whether to train without a graph, for debugging. Of models that the estimator compiles.
""",
    "epochs": """int
    Number of epochs.
""",
    "target": """str, object of skguard.targets, transformer, (encode, decode), list or dict
    How y is encoded for the loss, and how the outputs of the model are decoded. None finds it out
    from y, the loss and the outputs of the built model, and is an error before training if that
    is not possible. Words are "labels", "class_numbers", "one_hot", "multilabel", "ordinal",
    "probabilities", "logits" and "margins" for classes, "values", "quantiles" and
    "mean_and_deviation" for numbers; `skguard.targets` has classes with parameters. A transformer,
    or two functions, encode y and decode the outputs themselves. A list or dict of these has one
    item per output of the model, and y one column for each.
""",
    "engine": """{"auto", "fused", "keras"}
    Implementation of ``fit`` and ``predict``. "fused" runs whole epochs inside one graph, on
    samples that are converted to tensors once per fit, and shares that graph with later models of
    the same architecture. The model's own ``train_step``, callbacks and history are those of
    ``keras.Model.fit``, bit for bit, except that shuffled samples come in a different order, and
    in a different one in each epoch. "keras" is ``keras.Model.fit`` itself. "auto" uses "fused"
    wherever that is possible; ``engine_reason_`` states why it was not.
""",
    "early_stopping": """bool
    Whether to stop ``fit`` when the score on the validation set no longer improves, and to restore
    the weights of the best epoch. Sets aside `validation_fraction` of the training data, unless
    `validation_split`, ``X_val`` or ``validation_data`` defines the validation set.
""",
    "validation_fraction": """float
    Fraction of the training data to set aside as validation set, drawn at random, stratified for
    classifiers where every class has enough samples. Must be between 0 and 1. None means 0.1 where
    `early_stopping` needs a validation set, and no validation set otherwise.
""",
    "n_iter_no_change": """int
    Number of epochs without improvement after which `early_stopping` stops. Given without it, it
    causes a warning.
""",
    "tol": """float
    Minimum improvement of the monitored score for `early_stopping`. Smaller changes do not count.
    Given without it, it causes a warning.
""",
    "scoring": """str or callable
    A scikit-learn scorer, computed on the validation set after each epoch, logged in ``history_``
    as ``val_<name>`` and monitored by `early_stopping`. None monitors ``val_loss``. Has no effect,
    and causes a warning, without a validation set.
""",
    "on_nan": """{"fail", "stop", "ignore"}
    Reaction to a loss or weight that is not finite. "fail" raises `DivergedError`, so that a
    search assigns the fit its ``error_score``; "stop" ends training with the weights of the last
    finite epoch, or of the best one where early stopping restores them; "ignore" continues
    training, as Keras does.
""",
    "max_fit_seconds": """float
    Wall-clock limit of one fit, in seconds, including building the model and retries. Checked
    several times per second, between batches; training then ends with the current weights, or
    the best ones where early stopping restores them. An incomplete epoch does not count. None
    means no limit.
""",
    "max_retries": """int
    Number of times that a failed fit is retried, each time with a new model and another seed,
    derived from `random_state`. Errors about the input (`skguard.exceptions.InputError`),
    `FailedTrialError` and `ForkedProcessError` are not retried, nor is training that continues
    with a trained model (``partial_fit``, `warm_start`).
""",
    "retry_on": """exception class or tuple of exception classes
    Errors after which a fit is retried. Given without `max_retries`, it causes a warning.
""",
    "retry_with": """callable
    Called as ``retry_with(attempt, error, params)`` before each retry, with the 0-based number of
    the failed attempt, its error and its parameters. Returns a dict of the parameters to change in
    the next attempt alone, such as ``{"batch_size": 16}``. Given without `max_retries`, it causes
    a warning.
""",
    "inputs": """dict of str to columns, list of columns, or None
    Columns of X for each input of a model with several inputs: a dict with the names of the
    inputs, ``{"numbers": slice(0, 3), "words": "comment"}``, or a list in their order. Columns are
    given as to ``ColumnTransformer``: names of a DataFrame or 0-based indices, one or a list of
    them, a slice, a boolean mask, or a callable that takes X and returns one of these. A subclass
    that overrides ``feature_encoder`` divides X itself. None passes X as one array.
""",
    "class_weight": """dict, "balanced" or None
    Weights of the classes in training, ``{label: weight}``, multiplied with ``sample_weight``.
    "balanced" weights each class by ``n_samples / (n_classes * n_samples_of_the_class)``. The
    validation set is not weighted, as in Keras.
""",
    "**kwargs": """dict
    Arguments of the model function, and routed parameters: ``model__``, ``optimizer__``,
    ``loss__``, ``metrics__``, ``callbacks__``, ``compile__``, ``fit__``, ``predict__`` and
    ``score__``. ``set_params`` and ``fit`` raise an error on unknown names.
""",
}

ATTRIBUTES = {
    "model_": """keras.Model
    The trained model. Never an instance that was passed as a parameter, except after
    ``initialize``.
""",
    "callbacks_": """list of keras.callbacks.Callback
    The callbacks of the last training, with what they recorded and the paths that they wrote to.
""",
    "history_": """dict of str to list of float
    One value per metric and epoch. ``learning_rate`` is the learning rate of the last step of the
    epoch.
""",
    "n_epochs_": """int
    Number of epochs in ``history_``.
""",
    "best_epoch_": """int or None
    0-based index of the best epoch: the one that early stopping found, otherwise the one with the
    lowest ``val_loss``. None without either.
""",
    "stop_reason_": """{"max_epochs", "early_stopping", "time_budget", "diverged", "callback"}
    Why training ended. "callback" means that another callback set ``model.stop_training``.
""",
    "validation_indices_": """ndarray of int or None
    Indices of the samples of X in the validation set. None if X has no samples in it.
""",
    "attempts_": """list of Attempt
    The attempts of the last fit, with ``number`` (0-based), ``seconds``, ``changes`` and, for
    failed ones, ``error``, ``message`` and ``traceback``. The last one succeeded. If none does,
    the list is the ``attempts`` attribute of the exception.
""",
    "fit_seconds_": """float
    Duration of the last fit, in seconds, all attempts together.
""",
    "engine_": """{"fused", "keras"}
    The engine that trained the model.
""",
    "engine_reason_": """str
    "shared graph"; "separate graph: " and why the graph is not shared with other models; or why
    Keras trained.
""",
    "n_features_in_": """int
    Number of features of X. Not defined if the first axis of samples differs in length.
""",
    "feature_names_in_": """ndarray of shape (n_features_in_,)
    Names of the features of X. Defined only if all names are strings.
""",
    "X_shape_": """tuple of int or None
    Shape of X. None for axes in which samples differ.
""",
    "X_dtype_": """numpy.dtype
    Data type of X; ``object`` for text.
""",
    "y_dtype_": """numpy.dtype
    Data type of y.
""",
    "y_ndim_": """int
    Number of dimensions of y.
""",
    "target_type_": """str
    Type of y, as by ``sklearn.utils.multiclass.type_of_target``.
""",
    "n_outputs_": """int
    Number of columns of y; 1 for classifiers. Provided by the default target encoders of
    classifiers and regressors.
""",
    "n_outputs_expected_": """int
    Number of outputs, each of any number of units, that the model must have. Provided by the
    target encoder, and not checked without it.
""",
    "target_encoder_": """transformer
    Encodes y for the model, and decodes predictions.
""",
    "feature_encoder_": """transformer
    Encodes X for the model.
""",
    "initialized_": """bool
    Whether the estimator has a model, and so can predict.
""",
    "current_epoch": """int
    Number of epochs in ``history_``; 0 before the first fit.
""",
}

CLASSIFIER_ATTRIBUTES = {
    "classes_": """ndarray of shape (n_classes,) or None
    The labels, in the order of the columns of ``predict_proba``.
""",
    "n_classes_": """int or None
    Number of classes.
""",
}

_FIT = """
Build a model and train it on all samples but those of the validation set.

Parameters
----------
X : array-like, sparse matrix or array, or dataframe of shape (n_samples, n_features, ...)
    Training samples. Sparse samples are passed to Keras as sparse. Depending on the model, also
    strings, of shape (n_samples,) or in columns, for an input of ``dtype="string"``; a list of
    arrays of different shapes, such as sequences of different length, which are trained on in
    batches of one shape, for an input whose shape has None there; and NaN, if the model has
    finite outputs for it. A ``tf.data.Dataset``, ``keras.utils.PyDataset`` or generator of batches
    ``(x, y)`` or ``(x, y, sample_weight)`` is read by Keras.
y : array-like of shape (n_samples,) or (n_samples, n_outputs, ...)
    Targets.
sample_weight : array-like of shape (n_samples,) or (n_samples, n_steps, ...), default=None
    One weight per sample; never modified. Samples of weight 0 are left out. None means 1 for
    each. If the loss is computed per step, also one weight per step.
X_val, y_val, sample_weight_val : like X, y, sample_weight, default=None
    Validation set, instead of one set aside from X. ``Pipeline(transform_input=["X_val"])``
    transforms X_val as it does X, once it is requested by
    ``set_fit_request(X_val=True, y_val=True)``.
groups : array-like of shape (n_samples,), default=None
    Groups of the samples, for a splitter in ``validation_split`` such as
    ``GroupShuffleSplit``.{classes}
**kwargs : dict
    Arguments of ``keras.Model.fit`` for this fit alone, such as ``epochs``. Parameters named
    ``fit__epochs`` do the same for every fit. ``validation_data`` is encoded as X and y are.

Returns
-------
self : estimator
    The fitted estimator. After an error it is as before, except that a model that ``warm_start``
    or ``partial_fit`` continues to train keeps the steps that it took.

Raises
------
ValueError
    Before training: if a name is unknown or a parameter would never be used, a value is not
    valid, X, y or the weights cannot be used, or the model and its loss do not fit y. After the
    first epoch: if a callback monitors a metric that is not logged. These errors are
    `skguard.exceptions.InputValueError`, and are never retried.
TypeError
    Before training: if `model` or a callback is of a wrong type, ``**kwargs`` has an argument
    that Keras does not have, or an object cannot be copied. These errors are
    `skguard.exceptions.InputTypeError`, and are never retried.
DivergedError
    If the loss or a weight is not finite and ``on_nan="fail"``.
ForkedProcessError
    If this process was forked after TensorFlow was used, where TensorFlow would hang.

Warns
-----
ValidationSetWarning
    If a class has no samples in the training or the validation set, or the validation set could
    not be stratified.
UnusedParameterWarning
    If a parameter only qualifies what another one switches off, such as `n_iter_no_change` without
    `early_stopping`.
ConvergenceWarning
    If `max_fit_seconds` elapsed before the first epoch was complete.
"""

_PARTIAL_FIT = """
Train for one more epoch, with the model and the callbacks of the last call.

Parameters
----------
X : array-like, sparse matrix or array, or dataframe of shape (n_samples, n_features, ...)
    Training samples. The first call builds the model.
y : array-like of shape (n_samples,) or (n_samples, n_outputs, ...)
    Targets.{classes}
sample_weight : array-like of shape (n_samples,) or (n_samples, n_steps, ...), default=None
    One weight per sample or per step, as in ``fit``.
**kwargs : dict
    Arguments of ``keras.Model.fit``, except ``epochs`` and ``initial_epoch``.

Returns
-------
self : estimator
    The fitted estimator.

Raises
------
ValueError
    As in ``fit``; with ``early_stopping=True``, which needs more than one epoch; if parameters of
    the model have changed since it was built{also}.
TypeError
    As in ``fit``; if ``epochs`` or ``initial_epoch`` is passed.
"""

_CLASSES = """
classes : array-like of shape (n_classes,), default=None
    All labels that occur in any call. Needed in the first call only, if its y does not have all
    of them."""

_CLASSES_OF_FIT = """
classes : array-like of shape (n_classes,), default=None
    All labels, if y may lack some, as a fold does, or comes in batches. None means those in y."""

_PREDICT = """
Predict {what}.

Parameters
----------
X : array-like, sparse matrix or array, or dataframe of shape (n_samples, n_features, ...)
    Samples.{arguments}
**kwargs : dict
    Arguments of ``keras.Model.predict`` for this call alone. Parameters named
    ``predict__batch_size`` do the same for every call.

Returns
-------
{returns}

Raises
------
NotFittedError
    If neither ``fit`` nor ``initialize`` has been called.
ValueError
    If X does not have the features and the number of dimensions of X in ``fit``, except for the
    length of axes that are None in the shape of the model's input; if it has text or NaN that the
    model does not take, or does not fill the batches of an input with a fixed batch size.
TypeError
    If ``**kwargs`` has an argument that Keras does not have.
ForkedProcessError
    If this process was forked after TensorFlow was used.
"""

METHODS = {
    "fit": _FIT.replace("{classes}", ""),
    "partial_fit": _PARTIAL_FIT.format(classes="", also=""),
    "initialize": """
Build the model without training it, to predict with the weights that it has.

A ``keras.Model`` instance in `model` is used itself, as in scikeras, so that models with common
layers keep them. Later training uses a copy.

Parameters
----------
X : array-like, sparse matrix or array, or dataframe of shape (n_samples, n_features, ...)
    Samples such as those to predict.
y : array-like of shape (n_samples,) or (n_samples, n_outputs, ...)
    Targets, for the target encoder.

Returns
-------
self : estimator
    The initialized estimator.

Raises
------
ValueError, TypeError
    As in ``fit``, where no training is needed to find the error.
ForkedProcessError
    If this process was forked after TensorFlow was used.
""",
    "predict": _PREDICT.format(
        what="the targets",
        arguments="",
        returns="""predicted : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    Outputs of the model, decoded by ``target_encoder_``: labels for classifiers.""",
    ),
    "score": """
Score the predictions for X with the method ``scorer``.

Parameters
----------
X : array-like, sparse matrix or array, or dataframe of shape (n_samples, n_features, ...)
    Samples.
y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    True targets.
sample_weight : array-like of shape (n_samples,), default=None
    One weight per sample. Samples of weight 0 do not count. None means 1 for each.

Returns
-------
score : float
    Accuracy for classifiers, R² for regressors, unless ``scorer`` is overridden.
    Higher is better.

Raises
------
NotFittedError
    If neither ``fit`` nor ``initialize`` has been called.
ValueError
    If X, y or the weights cannot be used.
NotImplementedError
    If the class has no ``scorer``, as `GuardedKerasBase`.
""",
    "get_params": """
Get the parameters, including the arguments of the model function.

Parameters
----------
deep : bool, default=True
    Whether to include the parameters of parameters that are estimators.

Returns
-------
params : dict
    Names and values. Arguments of the model function that are not set have its defaults, or
    ``<required>`` where it has none.
""",
    "set_params": """
Set parameters, including routed ones and the arguments of the model function.

Parameters
----------
**params : dict
    Names and values. ``units`` and ``model__units`` are the same argument of the model function.

Returns
-------
self : estimator
    The estimator.

Raises
------
ValueError
    If a name is unknown; then no parameter is changed. The error has the closest known names.
    While `model` cannot build a model, unknown names are errors in ``fit`` instead.
""",
}

CLASSIFIER_METHODS = {
    "fit": _FIT.replace("{classes}", _CLASSES_OF_FIT),
    "partial_fit": _PARTIAL_FIT.format(
        classes=_CLASSES,
        also=""";
    if `classes` differ from those of the first call, or y has a label that is not among them""",
    ),
    "predict_proba": _PREDICT.format(
        what="the probabilities of the classes",
        arguments="",
        returns="""probabilities : ndarray of shape (n_samples, n_classes)
    Columns are in the order of ``classes_``. Of shape ``(n_samples, n_steps, n_classes)`` for a
    label per step, ``(n_samples, n_outputs)`` for several labels per sample, and a list of arrays
    for several outputs of the model.""",
    ),
}

_RETURN_STD = """
return_std : bool, default=False
    Whether to return the standard deviation too, of a model with
    ``target="mean_and_deviation"``."""

REGRESSOR_METHODS = {
    "predict": _PREDICT.format(
        what="the targets",
        arguments=_RETURN_STD,
        returns="""predicted : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    Targets, of the floating-point type of y in ``fit``, or float64 if y was of integers. Of
    shape ``(n_samples, n_quantiles)`` with ``target="quantiles"``.
std : ndarray of the shape of `predicted`
    Only with ``return_std=True``.""",
    ),
}


def documented(
    *,
    attributes: Mapping[str, str] | None = None,
    methods: Mapping[str, str] | None = None,
) -> Callable[[T], T]:
    """Decorate an estimator class: fill its docstring and those of its methods.

    ``{parameters}`` and ``{attributes}`` in the docstring of the class are replaced by the
    sections of these names. Methods that the class defines without a docstring get theirs.

    Parameters
    ----------
    attributes : mapping of str to str, default=None
        Fitted attributes of the class in addition to `ATTRIBUTES`.
    methods : mapping of str to str, default=None
        Docstrings of methods of the class that differ from those in `METHODS`.

    Returns
    -------
    callable
        Takes the class and returns it.

    Raises
    ------
    KeyError
        If the constructor has a parameter without documentation.
    """
    all_attributes = {**(attributes or {}), **ATTRIBUTES}
    all_methods = {**METHODS, **(methods or {})}

    def fill(cls: T) -> T:
        if cls.__doc__ is None:  # python -OO
            return cls
        # Unindented, as the sections are: help() strips only the indentation common to all lines.
        doc = inspect.cleandoc(cls.__doc__)
        doc = doc.replace("{parameters}", _parameters_section(cls))
        cls.__doc__ = doc.replace("{attributes}", _section("Attributes", all_attributes))
        for name, method in vars(cls).items():
            if name in all_methods and inspect.isfunction(method) and method.__doc__ is None:
                method.__doc__ = all_methods[name].strip("\n") + "\n"
        return cls

    return fill


def _parameters_section(cls: type) -> str:
    entries = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        shown = f"**{name}" if parameter.kind is parameter.VAR_KEYWORD else name
        kind, _, description = PARAMETERS[shown].strip("\n").partition("\n")
        if parameter.default is not parameter.empty:
            kind = f"{kind}, default={_as_source(parameter.default)}"
        entries[shown] = f"{kind}\n{description}"
    return _section("Parameters", entries)


def _section(title: str, entries: Mapping[str, str]) -> str:
    lines = [title, "-" * len(title)]
    lines += [f"{name} : {text.strip(chr(10))}" for name, text in entries.items()]
    return "\n".join(lines)


def _as_source(value: Any) -> str:
    """Return `value` as it is written in a signature: classes by their names."""
    if isinstance(value, tuple):
        items = ", ".join(map(_as_source, value))
        return f"({items},)" if len(value) == 1 else f"({items})"
    if isinstance(value, str):
        return f'"{value}"'
    return value.__name__ if inspect.isclass(value) else repr(value)
