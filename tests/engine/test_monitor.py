"""Stop reason and best epoch of a training, and callbacks that are called as in Keras."""

import threading
import time

import keras
import numpy as np
import pytest

from skguard import _engine as engine
from skguard._repairs import seeding
from tests.engine.monitoring import (
    FAIL,
    LATER,
    STALLS,
    STOP,
    WAYS,
    RaiseRate,
    Watch,
    build_clipped,
    build_sgd,
    early,
    limits_until,
)
from tests.engine.parity import FIT, build, build_twins, same, values_of
from tests.engine.recording import HOOKS


@pytest.mark.filterwarnings("ignore:Early stopping conditioned on metric:UserWarning")
@pytest.mark.parametrize("with_early_stopping", [True, False])
def test_epochs_are_counted_from_the_first_of_the_training(with_early_stopping, kind, data):
    callbacks = [RaiseRate(4, 5.0)]
    (model,) = build_twins(build_clipped, 1)
    if with_early_stopping:
        callbacks.append(early("val_loss", patience=99))
    arguments = FIT | {"initial_epoch": 2, "epochs": 8, "validation_freq": 2}
    run = engine.train(
        model, *data, engine=kind, validation_split=0.3, callbacks=callbacks, **arguments
    )
    assert len(run.history["val_loss"]) == 3  # of epochs 3, 5 and 7, the second, fourth and sixth
    assert run.n_epochs == len(run.history["loss"]) == 6
    assert run.best_epoch == 2 * int(np.argmin(run.history["val_loss"])) + 1
    assert run.best_epoch < 5
    assert run.stop_reason == "max_epochs"


def test_no_epoch_is_the_best_where_nothing_says_which(kind, data):
    assert engine.train(build(), *data, engine=kind, **FIT).best_epoch is None


def stop_at(epoch):
    def act(watch, at, logs):
        watch.model.stop_training = watch.model.stop_training or at == epoch

    return Watch(on_epoch_end=act)


@pytest.mark.parametrize(
    ("reason", "make"),
    [
        ("max_epochs", lambda: []),
        ("max_epochs", lambda: [early(patience=99)]),
        ("early_stopping", lambda: [early(mode="max", patience=1)]),
        ("callback", lambda: [stop_at(1)]),
        ("callback", lambda: [stop_at(1), early(patience=99)]),
    ],
    ids=["no callback", "patient", "impatient", "callback", "callback before patience"],
)
def test_the_reason_names_what_ended_the_training(reason, make, kind, data):
    limits = limits_until(LATER)
    run = engine.train(build(), *data, engine=kind, limits=limits, callbacks=make(), **FIT)
    assert run.stop_reason == reason
    assert run.n_epochs == len(run.history["loss"]) == (3 if reason == "max_epochs" else 2)


def recorder(records):
    class Recorder(keras.callbacks.Callback):
        pass

    def make_hook(name):
        def hook(self, *args, **kwargs):
            args = [*args, *kwargs.values()]
            args = [dict(a) if isinstance(a, dict) else a for a in args]
            records.append((name, args, dict(self.params), self.model.stop_training))

        return hook

    for name in HOOKS:
        setattr(Recorder, name, make_hook(name))
    return Recorder()


class Batches(keras.utils.PyDataset):
    def __init__(self, X, y):
        super().__init__()
        self.X, self.y = X, y

    def __len__(self):
        return 5

    def __getitem__(self, i):
        return self.X[10 * i : 10 * i + 10], self.y[10 * i : 10 * i + 10]


def as_dataset(X, y):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, y)).batch(10), None


READERS = {
    "arrays": lambda X, y: (X, y),
    "PyDataset": lambda X, y: (Batches(X, y), None),
    "tf.data": as_dataset,
}
SPLIT = {"validation_split": 0.3}


@pytest.mark.parametrize(
    ("reader", "arguments", "limits"),
    [
        ("arrays", {}, engine.Limits()),
        ("arrays", SPLIT, engine.Limits()),
        ("arrays", SPLIT, limits_until(LATER, "fail")),
        ("arrays", SPLIT, limits_until(LATER, "stop")),
        ("arrays", SPLIT | {"validation_freq": 2, "initial_epoch": 1}, engine.Limits()),
        ("arrays", {"batch_size": None}, engine.Limits()),
        ("arrays", {"steps_per_epoch": 2}, engine.Limits()),
        ("arrays", {"verbose": 2}, engine.Limits()),
        ("arrays", {"verbose": "auto"}, engine.Limits()),
        ("PyDataset", {"batch_size": None}, engine.Limits()),
        ("tf.data", {"batch_size": None}, engine.Limits()),
    ],
    ids=lambda value: value.on_nan if isinstance(value, engine.Limits) else str(value),
)
def test_callbacks_get_the_arguments_that_keras_passes(reader, arguments, limits, data):
    X, y = READERS[reader](*data)
    arguments = FIT | arguments
    theirs, ours = build_twins(build)
    expected, records = [], []
    history = theirs.fit(X, y, callbacks=[recorder(expected)], **arguments).history
    run = engine.train(
        ours, X, y, engine="keras", limits=limits, callbacks=[recorder(records)], **arguments
    )
    assert same(run.history, history)
    assert same(values_of(ours), values_of(theirs))
    assert len(records) == len(expected) > 10
    for record, as_in_keras in zip(records, expected, strict=True):
        assert record[0] == as_in_keras[0]
        assert same(record[1], as_in_keras[1])
        assert record[2:] == as_in_keras[2:]


@pytest.mark.parametrize("on_nan", ["fail", "stop"])
@pytest.mark.parametrize(("builder", "kind"), WAYS)
def test_limits_that_nothing_reaches_change_no_number(builder, on_nan, kind, data):
    results = []
    for limits in (engine.Limits(), limits_until(LATER, on_nan)):
        (model,) = build_twins(builder, 1)
        with seeding.preserved():
            keras.utils.set_random_seed(2)
            arguments = FIT | {"epochs": 10, "shuffle": True, "validation_split": 0.3}
            arguments["callbacks"] = [early("val_loss", patience=99, restore_best_weights=True)]
            run = engine.train(model, *data, engine=kind, limits=limits, **arguments)
        results.append((run.history, values_of(model), run.best_epoch))
    assert len(results[0][0]["loss"]) == 10
    assert same(results[0], results[1])


@pytest.mark.parametrize(
    "hook",
    ["on_train_begin", "on_epoch_begin", "on_train_batch_end", "on_test_batch_end", "on_epoch_end"],
)
def test_ctrl_c_goes_through(hook, kind, data):
    def interrupt(*args):
        raise KeyboardInterrupt("injected")

    if hook == "on_train_begin":
        watch = Watch()
        watch.on_train_begin = interrupt
    else:
        watch = Watch(**{hook: interrupt})
    with pytest.raises(KeyboardInterrupt, match="injected"):
        engine.train(
            build(),
            *data,
            engine=kind,
            limits=STOP,
            callbacks=[watch],
            validation_split=0.3,
            **FIT,
        )


def test_a_callback_that_stops_within_an_epoch_stops_as_in_keras(kind, data):
    def make():
        def act(watch, batch, logs):
            if watch.n_calls["on_epoch_end"] == 1 and batch == 1:
                watch.model.stop_training = True

        return Watch(on_train_batch_end=act)

    theirs, ours = build_twins(build)
    arguments = FIT | {"validation_split": 0.3}
    expected = theirs.fit(*data, callbacks=[make()], **arguments).history
    watch = make()
    limits = limits_until(LATER)
    run = engine.train(ours, *data, engine=kind, limits=limits, callbacks=[watch], **arguments)
    assert same(run.history, expected)
    assert same(values_of(ours), values_of(theirs))
    assert (run.n_epochs, run.stop_reason) == (2, "callback")
    assert watch.n_calls["on_epoch_end"] == 2
    assert int(ours.optimizer.iterations) == 3 + 2


def test_a_flag_set_from_outside_stops_a_training_with_limits(kind, data):
    model = build()
    engine.train(model, *data, engine=kind, **FIT)
    timer = threading.Timer(0.3, lambda: setattr(model, "stop_training", True))
    timer.start()
    started = time.monotonic()
    limits = limits_until(LATER)
    run = engine.train(model, *data, engine=kind, limits=limits, **(FIT | {"epochs": 10**6}))
    timer.join()
    assert time.monotonic() - started < 1.5 + STALLS
    assert run.stop_reason == "callback"
    assert run.n_epochs == len(run.history["loss"]) > 0


def test_a_training_after_one_that_was_ended_is_as_any_other(kind, data):
    reference, model = build_twins(build_sgd)
    first = engine.train(model, *data, engine=kind, limits=limits_until(-1), **FIT)
    assert (first.stop_reason, first.n_epochs) == ("time_budget", 0)
    model.set_weights(reference.get_weights())
    expected = reference.fit(*data, **FIT).history
    run = engine.train(model, *data, engine=kind, limits=limits_until(LATER), **FIT)
    assert (run.stop_reason, run.n_epochs) == ("max_epochs", 3)
    assert same(run.history, expected)
    assert same(model.get_weights(), reference.get_weights())


def test_a_weight_that_was_infinite_before_training_is_ignored(kind, data):
    class Masked(keras.layers.Layer):
        def build(self, shape):
            self.mask = self.add_weight(shape=(2,), initializer="zeros", trainable=False)
            self.mask.assign([0.0, -np.inf])

        def call(self, x):
            return x

    model = keras.Sequential([keras.Input((4,)), Masked(), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    run = engine.train(model, *data, engine=kind, limits=FAIL, **FIT)
    assert run.stop_reason == "max_epochs"


def test_the_best_epoch_is_that_of_the_stop_whose_weights_stay(kind, data):
    values = {"first": [1.0, 2.0, 3.0], "second": [3.0, 1.0, 2.0]}

    class Both(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs |= {name: logged[epoch] for name, logged in values.items()}

    callbacks = [
        Both(),
        early("first", mode="min", patience=9),
        early("second", mode="min", patience=9, restore_best_weights=True),
    ]
    run = engine.train(build(), *data, engine=kind, callbacks=callbacks, **FIT)
    assert run.best_epoch == 1


def test_reasons_are_plain_strings(kind, data):
    run = engine.train(build(), *data, engine=kind, **FIT)
    for value in (run.engine, run.reason, run.stop_reason):
        assert type(value) is str
    assert f"{engine.StopReason.MAX_EPOCHS}" == str(engine.StopReason.MAX_EPOCHS) == "max_epochs"


def test_the_run_reports_whether_early_stopping_decided_which_epoch_is_the_best(kind, data):
    arguments = FIT | {"validation_split": 0.3}
    with_stop = engine.train(
        build(), *data, engine=kind, callbacks=[early("loss", patience=9)], **arguments
    )
    without = engine.train(build(), *data, engine=kind, **arguments)
    assert (with_stop.has_early_stopping, without.has_early_stopping) == (True, False)
    assert without.best_epoch == int(np.argmin(without.history["val_loss"]))
