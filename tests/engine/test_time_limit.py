"""A training ends when its time is up, and an epoch that is cut does not count."""

import time

import numpy as np
import pytest

from skguard import _engine as engine
from tests.engine.monitoring import (
    LATER,
    STALLS,
    WAYS,
    Log,
    RaiseRate,
    Watch,
    build_clipped,
    early,
    limits_until,
    time_is_up,
)
from tests.engine.parity import FIT, build, build_twins, same


@pytest.mark.parametrize(("builder", "kind"), WAYS)
def test_a_training_of_a_million_epochs_ends_within_a_second_of_its_time(builder, kind, data):
    model = builder()
    engine.train(model, *data, engine=kind, **FIT)
    limits = limits_until(0.5)
    started = time.monotonic()
    run = engine.train(model, *data, engine=kind, limits=limits, **(FIT | {"epochs": 10**6}))
    assert 0.5 <= time.monotonic() - started < 1.5 + STALLS
    assert run.stop_reason == "time_budget"
    assert 0 < run.n_epochs == len(run.history["loss"]) < 10**6


def test_early_stopping_does_not_lengthen_a_training_beyond_its_time(kind, data):
    model = build()
    engine.train(model, *data, engine=kind, **FIT)
    started = time.monotonic()
    arguments = FIT | {"epochs": 10**6, "callbacks": [early(patience=10**6)]}
    run = engine.train(model, *data, engine=kind, limits=limits_until(0.5), **arguments)
    assert 0.5 <= time.monotonic() - started < 1.5 + STALLS
    assert run.stop_reason == "time_budget"


def test_time_ends_a_training_in_the_middle_of_a_long_epoch(kind, data):
    model = build()
    engine.train(model, *data, engine=kind, **(FIT | {"batch_size": 1}))
    X = np.tile(data[0], (20_000, 1))
    watch = Watch()
    arguments = FIT | {"batch_size": 1, "callbacks": [watch]}
    started = time.monotonic()
    run = engine.train(model, X, X[:, :1], engine=kind, limits=limits_until(0.7), **arguments)
    assert 0.7 <= time.monotonic() - started < 1.7 + STALLS
    assert (run.stop_reason, run.n_epochs, run.best_epoch) == ("time_budget", 0, None)
    assert run.history == {}
    assert (watch.n_calls["on_epoch_end"], watch.n_calls["on_train_end"]) == (0, 1)


def test_time_ends_a_training_in_the_middle_of_a_long_validation(kind, data):
    model = build()
    arguments = FIT | {"validation_batch_size": 1}
    engine.train(model, *data, engine=kind, validation_data=data, **arguments)
    X = np.tile(data[0], (20_000, 1))
    watch = Watch()
    started = time.monotonic()
    run = engine.train(
        model,
        *data,
        engine=kind,
        limits=limits_until(0.7),
        validation_data=(X, X[:, :1]),
        callbacks=[watch],
        **arguments,
    )
    assert 0.7 <= time.monotonic() - started < 1.7 + STALLS
    assert (run.stop_reason, run.n_epochs, run.history) == ("time_budget", 0, {})
    assert (watch.n_calls["on_epoch_end"], watch.n_calls["on_train_end"]) == (0, 1)


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_test_batch_end"])
def test_an_epoch_that_time_cuts_is_in_no_history_and_reported_to_no_callback(hook, kind, data):
    limits = limits_until(LATER)

    def act(watch, batch, logs):
        if watch.n_calls["on_epoch_end"] == 2 and batch == 0:
            time_is_up(limits)

    watch = Watch(**{hook: act})
    log = Log("val_own", [0.1] * 5)
    arguments = FIT | {"epochs": 5, "validation_split": 0.4, "validation_batch_size": 5}
    (model,) = build_twins(build, 1)
    run = engine.train(
        model, *data, engine=kind, limits=limits, callbacks=[log, watch], **arguments
    )
    assert run.stop_reason == "time_budget"
    assert run.n_epochs == watch.n_calls["on_epoch_end"] == 2
    assert {name: len(values) for name, values in run.history.items()} == dict.fromkeys(
        ("loss", "mae", "val_loss", "val_mae", "val_own"), 2
    )
    assert watch.n_calls["on_train_end"] == 1
    # 30 samples in two batches, 20 in four: the last epoch ended where the hook was called.
    in_training = hook == "on_train_batch_end"
    assert int(model.optimizer.iterations) == 2 * 2 + (1 if in_training else 2)
    assert 0 < watch.n_calls[hook] - 2 * (2 if in_training else 4) <= 2


def test_time_that_is_up_early_in_an_epoch_ends_it_there(kind, data):
    limits = limits_until(LATER)

    def act(watch, batch, logs):
        if watch.n_calls["on_epoch_end"] == 1 and batch == 0:
            time_is_up(limits)

    model = build()
    run = engine.train(
        model, *data, engine=kind, limits=limits, **FIT, callbacks=[Watch(on_train_batch_end=act)]
    )
    assert run.n_epochs == 1
    assert int(model.optimizer.iterations) == 4 + 1


def test_an_epoch_at_whose_end_time_is_up_counts(kind, data):
    limits = limits_until(LATER)
    watch = Watch(on_epoch_end=lambda watch, epoch, logs: epoch == 1 and time_is_up(limits))
    run = engine.train(build(), *data, engine=kind, limits=limits, callbacks=[watch], **FIT)
    assert (run.stop_reason, run.n_epochs, len(run.history["loss"])) == ("time_budget", 2, 2)


def test_a_training_that_had_all_its_epochs_has_no_time_budget_as_its_reason(kind, data):
    limits = limits_until(LATER)
    watch = Watch(on_epoch_end=lambda watch, epoch, logs: epoch == 2 and time_is_up(limits))
    run = engine.train(build(), *data, engine=kind, limits=limits, callbacks=[watch], **FIT)
    assert (run.stop_reason, run.n_epochs) == ("max_epochs", 3)


@pytest.mark.parametrize("monitor", ["loss", "val_loss"])
def test_the_best_weights_are_back_when_time_is_up(monitor, kind, data):
    limits = limits_until(LATER)

    def act(watch, batch, logs):
        if watch.n_calls["on_epoch_end"] == 5:
            time_is_up(limits)

    watch = Watch(on_train_batch_begin=act)
    stop = early(monitor, patience=99, restore_best_weights=True)
    (model,) = build_twins(build_clipped, 1)
    run = engine.train(
        model,
        *data,
        engine=kind,
        limits=limits,
        callbacks=[RaiseRate(3, 5.0), watch, stop],
        **(FIT | {"epochs": 9, "validation_split": 0.3}),
    )
    best = int(np.argmin(run.history[monitor]))
    assert (run.stop_reason, run.n_epochs, run.best_epoch) == ("time_budget", 5, best)
    assert best < 4
    assert same(model.get_weights(), watch.weights[best])
    assert not same(watch.weights[best], watch.weights[4])


def test_the_best_weights_are_back_when_time_is_up_among_many_epochs_a_call(data):
    """The fused engine with callbacks that read nothing but logs."""
    (model,) = build_twins(build, 1)
    engine.train(model, *data, engine="fused", **FIT)
    stop = early(mode="max", patience=10**6, restore_best_weights=True)  # the first is the best
    (reference,) = build_twins(build, 1)
    arguments = FIT | {"validation_split": 0.0}
    reference.fit(*data, **arguments)
    reference.fit(*data, **(arguments | {"epochs": 1}))
    run = engine.train(
        model,
        *data,
        engine="fused",
        limits=limits_until(1.5),
        callbacks=[stop],
        **(arguments | {"epochs": 10**6}),
    )
    assert run.stop_reason == "time_budget"
    assert run.n_epochs > 10
    assert run.best_epoch == 0
    assert same(model.get_weights(), reference.get_weights())
