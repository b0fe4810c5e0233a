"""The history of a model over several calls, and the fitted attributes."""

import dataclasses
import math

import numpy as np
import pytest

from skguard._engine import TrainingRun
from skguard._fit.attempts import Attempt
from skguard._fit.callbacks import FitCallbacks
from skguard._fit.paths import FitPaths
from skguard._fit.result import FitResult, History, TrainingState
from tests.models import make_regressor

NAN = math.nan


def run_of(n_epochs=None, best_epoch=None, learning_rates=(), has_early_stopping=False, **history):
    """A training run with some logged values, as an engine returns it."""
    n_epochs = max(map(len, history.values()), default=0) if n_epochs is None else n_epochs
    return TrainingRun(
        history=history,
        engine="fused",
        reason="for a test",
        n_epochs=n_epochs,
        best_epoch=best_epoch,
        has_early_stopping=has_early_stopping,
        learning_rates=list(learning_rates),
        stop_reason="max_epochs",
    )


def history_of(*runs, stops_early=False):
    history = History()
    for run in runs:
        history = history.extended(dataclasses.replace(run, has_early_stopping=stops_early))
    return history


def test_a_new_history_has_no_epochs():
    assert History() == History({}, 0, None)


def test_a_run_is_appended_to_the_epochs_before_it():
    history = history_of(
        run_of(loss=[3.0, 2.0], val_loss=[4.0, 3.0]), run_of(loss=[1.0], val_loss=[2.0])
    )
    assert history.metrics == {"loss": [3.0, 2.0, 1.0], "val_loss": [4.0, 3.0, 2.0]}
    assert history.n_epochs == 3


def test_a_run_without_a_complete_epoch_adds_nothing():
    before = history_of(run_of(loss=[3.0], val_loss=[2.0]))
    assert before.extended(run_of()) == before


def test_the_history_before_a_run_is_not_changed():
    before = history_of(run_of(loss=[3.0, 2.0], learning_rates=[0.1, 0.1]))
    after = before.extended(run_of(loss=[1.0], learning_rates=[0.1]))
    assert before.metrics == {"loss": [3.0, 2.0], "learning_rate": [0.1, 0.1]}
    assert after.metrics["loss"] is not before.metrics["loss"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.n_epochs = 5


def test_the_log_of_a_run_is_not_changed():
    first, second = run_of(loss=[2.0]), run_of(loss=[1.0])
    history_of(first, second)
    assert (first.history, second.history) == ({"loss": [2.0]}, {"loss": [1.0]})


def test_learning_rates_are_a_metric():
    history = history_of(
        run_of(loss=[3.0, 2.0], learning_rates=[0.1, 0.05]),
        run_of(loss=[1.0], learning_rates=[0.01]),
    )
    assert history.metrics["learning_rate"] == [0.1, 0.05, 0.01]
    assert "learning_rate" not in history_of(run_of(loss=[1.0])).metrics


@pytest.mark.parametrize(
    "name",
    [
        "loss",
        "mean_squared_error",
        "auc",
        "accuracy",
        "custom",
        "mean_io_u",
        "precision_at_recall",
        "val_mean_squared_error",
    ],
)
def test_metrics_have_the_names_that_keras_logged(name):
    assert list(history_of(run_of(**{name: [1.0]})).metrics) == [name]


def test_without_early_stopping_the_best_epoch_has_the_lowest_val_loss_of_all_calls():
    runs = [run_of(val_loss=[3.0, 1.0], best_epoch=1), run_of(val_loss=[2.0, 1.5], best_epoch=1)]
    assert history_of(*runs).best_epoch == 1
    runs.append(run_of(val_loss=[0.5], best_epoch=0))
    assert history_of(*runs).best_epoch == 4


def test_with_early_stopping_the_best_epoch_is_that_of_the_last_run():
    runs = [run_of(val_loss=[3.0, 1.0], best_epoch=1), run_of(val_loss=[2.0, 1.5], best_epoch=0)]
    assert history_of(*runs, stops_early=True).best_epoch == 2
    runs.append(run_of(val_loss=[9.0], best_epoch=None))
    assert history_of(*runs, stops_early=True).best_epoch is None


@pytest.mark.parametrize(
    ("val_loss", "best_epoch"), [([NAN, 2.0, 1.0], 2), ([2.0, NAN], 0), ([NAN, NAN], None)]
)
def test_a_val_loss_of_nan_is_never_the_best(val_loss, best_epoch):
    assert history_of(run_of(val_loss=val_loss)).best_epoch == best_epoch


@pytest.mark.parametrize("best_epoch", [None, 1])
def test_without_a_val_loss_of_every_epoch_the_best_epoch_is_that_of_the_run(best_epoch):
    run = run_of(loss=[3.0, 2.0], best_epoch=best_epoch)
    assert history_of(run).best_epoch == best_epoch
    rare = run_of(n_epochs=4, loss=[4.0, 3.0, 2.0, 1.0], val_loss=[2.0, 1.0], best_epoch=best_epoch)
    assert history_of(rare).best_epoch == best_epoch


def test_the_history_of_an_estimator_is_that_of_its_attributes(line):
    estimator = make_regressor()
    assert History.of(estimator) == History()
    estimator.fit(*line, epochs=2)
    assert History.of(estimator).metrics is estimator.history_
    assert History.of(estimator).n_epochs == 2


@pytest.fixture
def result():
    """The result of a fit of two attempts."""
    callbacks = FitCallbacks([], [], FitPaths(apart=False), {})
    run = run_of(loss=[2.0, 1.0])
    return FitResult(
        draft=None,
        callbacks=["a callback"],
        run=run,
        history=history_of(run),
        validation_indices=np.array([3, 4]),
        state=TrainingState(5, 6, callbacks),
        attempts=[Attempt(0, 0.5, {}, "OSError", "disk", "Traceback"), Attempt(1, 0.25, {})],
        seconds=0.8,
    )


def test_a_result_has_all_fitted_attributes(result):
    attributes = result.attributes()
    assert attributes.pop("validation_indices_") is result.validation_indices
    assert attributes.pop("_training_state") is result.state
    assert attributes == {
        "callbacks_": ["a callback"],
        "history_": {"loss": [2.0, 1.0]},
        "n_epochs_": 2,
        "best_epoch_": None,
        "stop_reason_": "max_epochs",
        "attempts_": result.attempts,
        "fit_seconds_": 0.8,
        "engine_": "fused",
        "engine_reason_": "for a test",
    }


def test_a_result_is_read_only(result):
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.seconds = 3


def test_the_attributes_of_an_estimator_are_those_of_the_result(result, line):
    estimator = make_regressor().fit(*line)
    assert result.attributes().keys() <= vars(estimator).keys()


def test_a_state_with_other_callbacks_keeps_its_seeds(result):
    copied = result.state.to_pickle(make_regressor(), ["fitting"], ["predicting"])
    assert (copied.seed, copied.validation_seed) == (5, 6)
    assert (copied.callbacks.fitting, copied.callbacks.predicting) == (["fitting"], ["predicting"])
    assert copied.callbacks.parameters == {}
    assert result.state.callbacks.fitting == []


def test_a_state_with_current_parameters_has_current_callbacks(result):
    estimator = make_regressor(callbacks=["a callback"])
    assert not result.state.callbacks.are_current(estimator)
    assert result.state.unpickled(estimator).callbacks.are_current(estimator)
