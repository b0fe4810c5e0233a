"""Every fit ends, reports why, and keeps the weights that it should have."""

import keras
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from tests.fit.probes import ENGINES, LogsValues, same, weights_of
from tests.models import make_regressor


class Stops(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == 1


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    ("parameters", "reason", "n_epochs", "best_epoch"),
    [
        ({}, "max_epochs", 6, None),
        (
            {"validation_fraction": 0.2, "callbacks": LogsValues([3.0, 1.0, 2.0])},
            "max_epochs",
            6,
            1,
        ),
        (
            {
                "early_stopping": True,
                "n_iter_no_change": 2,
                "callbacks": LogsValues([3.0, 1.0, 2.0]),
            },
            "early_stopping",
            4,
            1,
        ),
        ({"callbacks": Stops}, "callback", 2, None),
        ({"callbacks": Stops, "early_stopping": True, "tol": 1e9}, "callback", 2, 0),
    ],
    ids=["alone", "validation", "early", "callback", "callback_early"],
)
def test_a_fit_reports_why_training_ended(name, parameters, reason, n_epochs, best_epoch, line):
    estimator = make_regressor(epochs=6, engine=name, **parameters).fit(*line)
    assert estimator.stop_reason_ == reason
    assert estimator.n_epochs_ == n_epochs
    assert estimator.best_epoch_ == best_epoch
    assert {len(values) for values in estimator.history_.values()} == {n_epochs}


@pytest.mark.parametrize("name", ENGINES)
def test_max_fit_seconds_ends_training_after_the_epoch(name, clock, line):
    class TimePasses(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            clock[0] += 100 * (epoch == 2)

    estimator = make_regressor(max_fit_seconds=50, epochs=20, callbacks=TimePasses, engine=name)
    estimator.fit(*line)
    assert estimator.stop_reason_ == "time_budget"
    assert estimator.n_epochs_ == len(estimator.history_["loss"]) == 3
    assert estimator.fit_seconds_ > 100


@pytest.mark.parametrize("name", ENGINES)
def test_max_fit_seconds_keeps_the_best_weights_so_far(name, clock, line):
    class TimePasses(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            clock[0] += 100 * (epoch == 3)

    estimator = make_regressor(
        max_fit_seconds=50,
        epochs=20,
        early_stopping=True,
        callbacks=[TimePasses, LogsValues([3.0, 1.0, 2.0])],
        engine=name,
    ).fit(*line)
    assert estimator.stop_reason_ == "time_budget"
    assert (estimator.n_epochs_, estimator.best_epoch_) == (4, 1)
    expected = make_regressor(epochs=2, validation_fraction=0.1, engine=name).fit(*line)
    assert same(weights_of(estimator), weights_of(expected))


@pytest.mark.parametrize("name", ENGINES)
def test_an_incomplete_epoch_does_not_count(name, clock, line):
    class TimePasses(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_begin(self, batch, logs=None):
            clock[0] += 100 * (self.epoch == 2 and batch == 3)

    estimator = make_regressor(
        max_fit_seconds=50, epochs=20, batch_size=4, callbacks=TimePasses, engine=name
    ).fit(*line)
    assert estimator.stop_reason_ == "time_budget"
    assert estimator.n_epochs_ == len(estimator.history_["loss"]) == 2


@pytest.mark.parametrize("name", ENGINES)
def test_a_fit_without_a_complete_epoch_warns(name, clock, line):
    class TimePasses(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            clock[0] += 20

    estimator = make_regressor(
        max_fit_seconds=50, epochs=20, batch_size=4, callbacks=TimePasses, engine=name
    )
    with pytest.warns(ConvergenceWarning, match="max_fit_seconds=50 elapsed before the end of"):
        estimator.fit(*line)
    assert (estimator.n_epochs_, estimator.stop_reason_) == (0, "time_budget")
    assert estimator.best_epoch_ is None
    assert estimator.history_ == {}
    assert np.isfinite(estimator.predict(line[0])).all()


def test_partial_fit_continues_after_a_fit_without_a_complete_epoch(clock, line):
    class TimePasses(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            clock[0] += 100

    estimator = make_regressor(max_fit_seconds=50, batch_size=4, callbacks=TimePasses)
    with pytest.warns(ConvergenceWarning, match="elapsed before the end of the first"):
        estimator.fit(*line)
    estimator.set_params(max_fit_seconds=None).partial_fit(*line)
    assert (estimator.n_epochs_, estimator.stop_reason_) == (1, "max_epochs")


def test_a_time_limit_that_is_not_reached_changes_nothing(line):
    estimator = make_regressor(max_fit_seconds=1000, epochs=3).fit(*line)
    expected = make_regressor(epochs=3).fit(*line)
    assert estimator.stop_reason_ == "max_epochs"
    assert estimator.history_ == expected.history_


def test_partial_fit_counts_all_epochs_and_finds_the_best_of_them(line):
    estimator = make_regressor(validation_fraction=0.2, callbacks=LogsValues([2.0, 1.0, 3.0]))
    for _ in range(3):
        estimator.partial_fit(*line)
    assert estimator.n_epochs_ == 3
    assert estimator.history_["val_loss"] == [2.0, 1.0, 3.0]
    assert estimator.best_epoch_ == 1
