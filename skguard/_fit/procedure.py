"""A fit from beginning to end, as a function of an estimator, arrays and arguments.

Settings are validated and data is prepared once. Then `fit_once` builds and trains a model; if
it fails, it is repeated as a whole. Everything happens on drafts, which are copies of the
estimator, and the last of them is part of the result: the estimator is not changed, and after an
error there is nothing to restore.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skguard import _engine as engine
from skguard import _parameters as parameters
from skguard._fit import attempts, callbacks, checks, inputs, unused
from skguard._fit.arrays import Encoded, Samples, check_weights
from skguard._fit.attempts import input_errors
from skguard._fit.batches import BatchedData
from skguard._fit.callbacks import FitCallbacks
from skguard._fit.data import FitData, FitInput, divide, prepare
from skguard._fit.limits import BudgetLimit, Deadlines, without_limits
from skguard._fit.model import check_inputs, set_steps_per_epoch, with_batch_sizes, with_inputs
from skguard._fit.result import FitResult, History, TrainingState
from skguard._fit.settings import FitSettings
from skguard._parameters import copies
from skguard._repairs import forks, seeding
from skguard._repairs.logs import without_retracing_advice
from skguard._warnings import warn
from skguard.exceptions import InputError

__all__ = ["FitCall", "fit", "fit_once", "fit_session", "initialize"]


@dataclasses.dataclass(frozen=True, slots=True)
class FitCall:
    """One call to ``fit`` or ``partial_fit``.

    Parameters
    ----------
    given : FitInput
    arguments : mapping
        Keyword arguments for ``keras.Model.fit``.
    resume : bool
        Whether to continue with the model that the estimator has.
    keep_callbacks : bool
        Whether to continue with its callbacks too, unless their parameters have changed.
    attributes : mapping
        Fitted attributes to start with if the model is new.
    """

    given: FitInput
    arguments: Mapping[str, Any]
    resume: bool
    keep_callbacks: bool
    attributes: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class _Prepared:
    """A draft whose settings and data are validated, ready to build a model.

    Parameters
    ----------
    draft : estimator
    settings : FitSettings
    data : FitData, BatchedData or None
        None for a subclass that overrides ``_initialize``, which learns the data itself.
    state : TrainingState or None
        Where training is resumed from.
    validation_seed : int or None
    deadlines : Deadlines
    """

    draft: Any
    settings: FitSettings
    data: FitData | BatchedData | None
    state: TrainingState | None
    validation_seed: int | None
    deadlines: Deadlines


@contextlib.contextmanager
def fit_session() -> Iterator[None]:
    """Hold the lock of the global random streams, in a process that can run TensorFlow."""
    forks.check_not_forked()
    with seeding.LOCK:
        engine.take_share()
        yield


def fit(estimator: Any, call: FitCall) -> FitResult:
    """Fit a draft of an estimator.

    Parameters
    ----------
    estimator : estimator
        Read only.
    call : FitCall

    Returns
    -------
    FitResult

    Raises
    ------
    InputError
        If parameters or data cannot be used: before the first attempt or, if only the model
        shows it, before training.
    Exception
        The error of the last attempt.
    """
    started = time.monotonic()
    # Before the first attempt, since no retry changes what is wrong with the input.
    with attempts.with_record([]), input_errors():
        prepared = _prepared(estimator, call, started)
    result, record = attempts.run(
        functools.partial(_attempt, estimator, call, prepared),
        dataclasses.replace(prepared.settings.retries, deadline=prepared.deadlines.first),
        without_limits(estimator.get_params()),
    )
    return dataclasses.replace(result, attempts=record, seconds=time.monotonic() - started)


def initialize(estimator: Any, given: FitInput, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Build the model of a draft without training it.

    Returns
    -------
    dict
        Attributes of the draft.
    """
    with input_errors():
        checks.check_is_not_part(estimator)
        parameters.check_names(estimator)
    draft = estimator._draft(keep_fitted=False, attributes=attributes)
    X, _ = draft._initialize(given.X, given.y)
    if draft.model_.compiled or draft.loss is not None:
        with input_errors():
            X = draft.feature_encoder_.transform(X)
            draft._learn_outputs(inputs.as_model_takes(draft, X))
    state = TrainingState.of(draft)
    return vars(draft) | {"_training_state": state, "callbacks_": state.callbacks.fitting}


def _prepared(estimator: Any, call: FitCall, started: float) -> _Prepared:
    checks.check_is_not_part(estimator)
    settings = FitSettings.of(estimator, call.arguments, resume=call.resume)
    state = TrainingState.of(estimator) if call.resume else None
    if state is not None:
        unused.check_same_model(estimator, state.built_with)
    seed = _validation_seed(settings, call.given, state)
    draft = estimator._draft(keep_fitted=call.resume, attributes=call.attributes)
    data = _data(draft, call, settings, seed)
    unused.warn_of_idle(estimator, settings, call.given, is_partial=call.keep_callbacks)
    return _Prepared(
        draft,
        settings,
        data,
        state,
        seed,
        Deadlines.of(settings.max_fit_seconds, started),
    )


def _data(
    draft: Any, call: FitCall, settings: FitSettings, validation_seed: int | None
) -> FitData | BatchedData | None:
    if draft._overrides_initialize and not call.resume:
        return None
    return prepare(draft, call.given, settings, validation_seed)


def _validation_seed(
    settings: FitSettings, given: FitInput, state: TrainingState | None
) -> int | None:
    """Return the seed of the validation set: one for all attempts and all calls to a model."""
    if state is not None and state.validation_seed is not None:
        return state.validation_seed
    if settings.seed is not None:
        return settings.seed
    if given.X_val is not None or settings.validation_data is not None:
        return None  # nothing is drawn
    return int(np.random.randint(2**31))


def _attempt(
    estimator: Any, call: FitCall, prepared: _Prepared, number: int, changes: dict[str, Any]
) -> FitResult:
    """Fit once, as attempt `number`, with some parameters changed by ``retry_with``."""
    if changes:
        with input_errors():
            prepared = _with_changes(estimator, call, prepared, changes)
    draft = prepared.draft._draft(keep_fitted=True)
    seed = prepared.settings.seed
    if number:
        # A retry is the fit of another seed, for whatever reads random_state.
        seed = draft.random_state = seeding.derive(seed, number)
    if prepared.state is not None:
        seed = prepared.state.seed
    result = fit_once(draft, call, prepared, seed)
    return dataclasses.replace(result, changes=changes)


def _with_changes(
    estimator: Any, call: FitCall, prepared: _Prepared, changes: Mapping[str, Any]
) -> _Prepared:
    """Prepare settings and data again, on a draft with other parameters."""
    draft = estimator._draft(keep_fitted=call.resume, attributes=call.attributes, changes=changes)
    settings = FitSettings.of(draft, call.arguments, resume=call.resume)
    # Without a seed, the validation set is the same one in all attempts.
    seed = prepared.validation_seed if settings.seed is None else settings.seed
    data = _data(draft, call, settings, seed)
    return dataclasses.replace(
        prepared, draft=draft, settings=settings, data=data, validation_seed=seed
    )


def fit_once(draft: Any, call: FitCall, prepared: _Prepared, seed: int | None) -> FitResult:
    """Build a model, train it, and return the result.

    Parameters
    ----------
    draft : estimator
        Gets the model; of no use if anything is raised.
    call : FitCall
    prepared : _Prepared
    seed : int or None
    """
    prepared, data = _build(draft, call, prepared)
    settings, state = prepared.settings, prepared.state
    draft.model_ = draft._model_to_train(seed)
    with input_errors():
        draft._ensure_compiled_model()
        checks.check_loss(draft.model_, draft.target_encoder_)
        encoded = data.encoded_by(draft.feature_encoder_, draft.target_encoder_)
        if state is None:
            with seeding.seeded(seed):  # a model may create its variables when it is called
                draft._learn_outputs(inputs.as_model_takes(draft, data.example(encoded)))
            if isinstance(data, FitData):
                data = dataclasses.replace(data, encoded=encoded)
            encoded = data.encoded_by(draft.feature_encoder_, draft.target_encoder_)
        if isinstance(data, FitData):
            encoded = with_inputs(draft, data, encoded)
    arguments = with_batch_sizes(settings.arguments, encoded.X)
    checks.check_compiled_model(draft, draft.model_, encoded, arguments.get("batch_size"))
    if isinstance(data, FitData):
        check_inputs(draft, encoded, arguments)
    built = _callbacks(draft, call, state)
    try:
        of_call = callbacks.of_call(settings, built.paths, has_validation=data.has_validation)
        trained = built.fitting + of_call
        checks.check_callbacks(draft.model_, trained, data.has_validation)
        if data.has_validation and data.validation is None:
            checks.check_scored_arrays(trained)
        new_state = TrainingState(seed, prepared.validation_seed, built)
        as_fitted = functools.partial(_as_fitted, draft, new_state)
        with callbacks.attached(trained, data.validation, as_fitted):
            run = _train(draft, prepared, encoded, arguments, trained, seed)
    finally:
        built.paths.tidy()
    copies.warn_of_lost_records(trained)
    continues = settings.resume and settings.initial_epoch
    before = History.of(draft) if continues else History()
    history = before.extended(run)
    _warn_if_not_trained(settings, history, run)
    return FitResult(draft, trained, run, history, data.validation_indices, new_state)


def _build(
    draft: Any, call: FitCall, prepared: _Prepared
) -> tuple[_Prepared, FitData | BatchedData]:
    """Build the model of a draft, unless it has one, and return its final settings and data.

    A subclass may learn the data while it builds the model, and set parameters.
    """
    data = prepared.data
    if data is not None and prepared.state is not None:
        return prepared, data
    before = draft._stored_params()
    if data is not None:
        draft._build_model()
        prepared = _with_current_settings(draft, call, prepared, before)
        if isinstance(data, BatchedData) or not draft._has_text_as_numbers(call.given.X):
            return prepared, data
        with input_errors():
            X, y = draft._learn_features(call.given.X), data.y
    else:
        X, y = draft._initialize(call.given.X, call.given.y)
        prepared = _with_current_settings(draft, call, prepared, before)
    with input_errors():
        weights = check_weights(call.given.sample_weight, X, per_step=True)
        samples = Samples(X, y, weights)
        data = divide(draft, samples, call.given, prepared.settings, prepared.validation_seed)
    return prepared, data


def _with_current_settings(
    draft: Any, call: FitCall, prepared: _Prepared, before: Mapping[str, Any]
) -> _Prepared:
    """Read the settings again if parameters of the draft have changed."""
    now = draft._stored_params()
    if now.keys() == before.keys() and all(now[name] is before[name] for name in now):
        return prepared
    with input_errors():
        settings = FitSettings.of(draft, call.arguments, resume=call.resume)
    return dataclasses.replace(prepared, settings=settings)


def _callbacks(draft: Any, call: FitCall, state: TrainingState | None) -> FitCallbacks:
    if state is not None and call.keep_callbacks and state.callbacks.are_current(draft):
        return state.callbacks
    return callbacks.build(draft, writes_apart=draft._writes_apart)


def _as_fitted(draft: Any, state: TrainingState) -> Any:
    """Return an estimator that predicts, in silence, with the model that is being trained."""
    view = draft._draft(keep_fitted=True)
    view.verbose = 0
    silent = dataclasses.replace(state.callbacks, predicting=[])
    view._training_state = dataclasses.replace(state, callbacks=silent)
    return view


def _train(
    draft: Any,
    prepared: _Prepared,
    encoded: Encoded,
    arguments: dict[str, Any],
    trained: list[Any],
    seed: int | None,
) -> engine.TrainingRun:
    settings, model = prepared.settings, draft.model_
    with input_errors():
        set_steps_per_epoch(model, encoded.X, arguments)
    if isinstance(prepared.data, BatchedData) and not prepared.data.is_shuffled_by_keras:
        arguments = arguments | {"shuffle": False}  # with which Keras does not warn
    checks.remember_trained(model)
    of_these_epochs = seeding.derive(seed, settings.initial_epoch)
    with (
        _errors_of_batches(encoded),
        seeding.seeded(of_these_epochs),
        copies.first_metric_names(),
        without_retracing_advice(),
    ):
        return engine.train(
            model,
            encoded.X,
            encoded.y,
            engine=settings.engine,
            limits=engine.Limits(
                settings.on_nan,
                prepared.deadlines.hard,
                prepared.deadlines.soft,
                prepared.deadlines.min_epochs,
            ),
            **arguments
            | {
                "sample_weight": encoded.sample_weight,
                "validation_data": encoded.validation_data,
                "validation_split": 0.0,
                "epochs": settings.initial_epoch + settings.epochs,
                "initial_epoch": settings.initial_epoch,
                "callbacks": callbacks.ordered(trained),
            },
        )


@contextlib.contextmanager
def _errors_of_batches(encoded: Encoded) -> Iterator[None]:
    """Raise the error about the targets of a batch in place of TensorFlow's error about it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if encoded.errors:
            raise encoded.errors[0] from error
        raise


def _warn_if_not_trained(settings: FitSettings, history: History, run: engine.TrainingRun) -> None:
    if run.stop_reason != "time_budget" or history.n_epochs:
        return
    limit = settings.max_fit_seconds
    if isinstance(limit, BudgetLimit) and not limit.min_epochs:
        elapsed = "The part of time_budget that the search has for this fit"
    else:
        elapsed = f"max_fit_seconds={limit!r}"
    warn(
        f"{elapsed} elapsed before the end of the first epoch: history_ is empty, and the model "
        "was trained on some of the samples or none.",
        ConvergenceWarning,
    )
