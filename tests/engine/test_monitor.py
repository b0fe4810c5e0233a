"""Why training ends: time, numbers that are not finite, monitors; and what Keras is told."""

import threading
import time

import keras
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skguard import _engine as engine
from skguard._engine.tensorflow.graphs import EpochsGraph
from skguard._repairs import seeding
from skguard.exceptions import DivergedError
from tests.engine.parity import FIT, build, build_own, build_twins, same, values_of

HOOKS = [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]
LATER = 1e6  # seconds: a deadline that no test reaches
STALLS = 12  # seconds for which a machine that is shared may stand still, now and then


@pytest.fixture(params=["fused", "keras"])
def kind(request):
    return request.param


@pytest.fixture
def data():
    return make_data()


def make_data():
    X = np.random.default_rng(0).standard_normal((50, 4)).astype("float32")
    return X, X @ np.array([1, -2, 0.5, 0], "float32")[:, None]


WAYS = [
    pytest.param(build, "fused", id="epochs a call"),
    pytest.param(build_own, "fused", id="batch a call"),
    pytest.param(build, "keras", id="keras"),
]


def build_sgd():
    return build(keras.optimizers.SGD(0.05))


def build_clipped():
    """A model that a high rate makes worse, and never infinite."""
    return build(keras.optimizers.SGD(0.05, clipnorm=1.0))


def limits_until(seconds, on_nan="fail"):
    return engine.Limits(on_nan=on_nan, deadline=time.monotonic() + seconds)


def time_is_up(limits):
    """Move the deadline to this moment."""
    object.__setattr__(limits, "deadline", time.monotonic())


class Watch(keras.callbacks.Callback):
    """Counts hooks, keeps the weights after each epoch, and acts where a test says so."""

    def __init__(self, **acts):
        super().__init__()
        self.n_calls = dict.fromkeys(HOOKS, 0)
        self.weights = []
        for name, act in acts.items():
            setattr(self, name, self._hook(name, act))

    def _hook(self, name, act):
        def hook(at, logs=None):
            self.n_calls[name] += 1
            act(self, at, logs)

        return hook

    def on_epoch_end(self, epoch, logs=None):
        self.n_calls["on_epoch_end"] += 1
        self.weights.append(self.model.get_weights())

    def on_train_end(self, logs=None):
        self.n_calls["on_train_end"] += 1


class RaiseRate(keras.callbacks.Callback):
    """Another learning rate from one epoch on."""

    def __init__(self, epoch, rate):
        super().__init__()
        self.epoch, self.rate = epoch, rate

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            self.model.optimizer.learning_rate = self.rate


class Log(keras.callbacks.Callback):
    """Adds a value to the logs of each epoch; None leaves an epoch out."""

    def __init__(self, name, values):
        super().__init__()
        self.name, self.values = name, values

    def on_epoch_end(self, epoch, logs=None):
        if self.values[epoch] is not None:
            logs[self.name] = self.values[epoch]


def early(monitor="loss", **settings):
    return keras.callbacks.EarlyStopping(monitor, **settings)


# ---- time -------------------------------------------------------------------------------------


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
def test_an_epoch_that_time_cuts_is_in_no_history_and_told_to_nobody(hook, kind, data):
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
    # 30 rows in two batches, 20 in four: the last epoch ended where the hook was called.
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


def test_a_training_that_had_all_its_epochs_did_not_end_for_want_of_time(kind, data):
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


# ---- what a run says --------------------------------------------------------------------------


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


# ---- a loss that is not finite ------------------------------------------------------------------

FAIL, STOP, IGNORE = (engine.Limits(on_nan=value) for value in ("fail", "stop", "ignore"))
STOPPED = r"Training diverged.*weights are those of the last finite epoch"


@pytest.mark.parametrize("epoch", [0, 2])
def test_an_epoch_whose_loss_is_not_finite_fails_the_fit_and_is_named(epoch, kind, data):
    watch = Watch()
    with pytest.raises(DivergedError, match=f"loss was .* in epoch {epoch}") as caught:
        engine.train(
            build_sgd(),
            *data,
            engine=kind,
            limits=FAIL,
            callbacks=[RaiseRate(epoch, 1e30), watch],
            **(FIT | {"epochs": 6}),
        )
    error = caught.value
    assert (error.epoch, error.metric) == (epoch, "loss")
    assert not np.isfinite(error.value)
    assert error.learning_rate == pytest.approx(1e30)
    assert watch.n_calls["on_epoch_end"] == epoch


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_training_that_stops_has_the_weights_of_its_last_finite_epoch(epoch, kind, data):
    reference, model = build_twins(build_sgd)
    if epoch:
        expected = engine.train(reference, *data, engine=kind, **(FIT | {"epochs": epoch})).history
    else:
        expected = {}
    with pytest.warns(ConvergenceWarning, match=STOPPED):
        run = engine.train(
            model,
            *data,
            engine=kind,
            limits=STOP,
            callbacks=[RaiseRate(epoch, 1e30)],
            **(FIT | {"epochs": 6}),
        )
    assert (run.stop_reason, run.n_epochs) == ("diverged", epoch)
    assert run.history == expected
    assert same(model.get_weights(), reference.get_weights())
    assert int(model.optimizer.iterations) == 4 * epoch


RATE = 1.8


def growing():
    """A model whose loss is multiplied in each epoch until float32 cannot hold it."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(RATE), "mse")
    return model


@pytest.fixture(scope="module")
def overflow():
    """The first epoch in which the loss of `growing` is not finite."""
    (model,) = build_twins(growing, 1)
    losses = model.fit(*make_data(), **(FIT | {"epochs": 40})).history["loss"]
    first = int(np.flatnonzero(~np.isfinite(losses))[0])
    assert first > 10
    return first


def test_the_epoch_of_an_overflow_is_right_however_many_run_in_a_call(overflow, kind, data):
    (model,) = build_twins(growing, 1)
    with pytest.raises(DivergedError, match="loss was") as caught:
        engine.train(model, *data, engine=kind, limits=FAIL, **(FIT | {"epochs": 40}))
    assert (caught.value.epoch, caught.value.metric) == (overflow, "loss")
    assert caught.value.learning_rate == pytest.approx(RATE)


def test_weights_before_an_overflow_are_kept_bit_for_bit(overflow, kind, data):
    reference, model = build_twins(growing)
    expected = reference.fit(*data, **(FIT | {"epochs": overflow})).history
    with pytest.warns(ConvergenceWarning, match=STOPPED):
        run = engine.train(model, *data, engine=kind, limits=STOP, **(FIT | {"epochs": 40}))
    assert run.history == expected
    assert same(model.get_weights(), reference.get_weights())


@pytest.mark.parametrize("callbacks", [[], [lambda: early(patience=99)]], ids=["none", "early"])
def test_ignored_nan_is_trained_on_as_keras_does(callbacks, overflow, kind, data):
    theirs, ours = build_twins(growing)
    arguments = FIT | {"epochs": overflow + 15}
    expected = theirs.fit(*data, callbacks=[make() for make in callbacks], **arguments).history
    made = [make() for make in callbacks]
    run = engine.train(ours, *data, engine=kind, limits=IGNORE, callbacks=made, **arguments)
    assert not np.isfinite(expected["loss"][-1])
    assert same(run.history, expected)
    assert same(values_of(ours), values_of(theirs))
    assert run.n_epochs == overflow + 15


def test_early_stopping_that_restores_decides_where_training_diverged(kind, data):
    watch = Watch()
    stop = early("val_loss", mode="max", patience=99, restore_best_weights=True)
    (model,) = build_twins(build_sgd, 1)
    with pytest.warns(ConvergenceWarning, match=STOPPED):
        run = engine.train(
            model,
            *data,
            engine=kind,
            limits=STOP,
            callbacks=[RaiseRate(3, 1e30), watch, stop],
            **(FIT | {"epochs": 6, "validation_split": 0.3}),
        )
    best = int(np.argmax(run.history["val_loss"]))
    assert best < 2
    assert (run.best_epoch, run.n_epochs) == (best, 3)
    assert same(model.get_weights(), watch.weights[best])


def test_a_held_out_row_that_is_not_finite_is_seen(kind, data):
    held_out = (data[0][:3], np.full((3, 1), np.nan, "float32"))
    with pytest.raises(DivergedError, match="val_loss was nan in epoch 0"):
        engine.train(build(), *data, engine=kind, limits=FAIL, validation_data=held_out, **FIT)


def test_a_long_epoch_ends_soon_after_its_loss_is_not_finite(kind, data):
    model = build()
    engine.train(model, *data, engine=kind, **(FIT | {"batch_size": 1}))
    X = np.tile(data[0], (20_000, 1))
    X[100] = np.nan
    started = time.monotonic()
    with pytest.raises(DivergedError, match="loss was nan in epoch 0"):
        engine.train(model, X, X[:, :1], engine=kind, limits=FAIL, **(FIT | {"batch_size": 1}))
    assert time.monotonic() - started < 2 + STALLS


def test_a_callback_that_spoils_a_weight_after_an_epoch_costs_no_epoch_before(kind, data):
    def spoil(watch, epoch, logs):
        if epoch == 1:
            weight = watch.model.trainable_weights[0]
            weight.assign(weight + np.inf)

    reference, model = build_twins(build)
    reference.fit(*data, **(FIT | {"epochs": 2}))
    with pytest.warns(ConvergenceWarning, match=STOPPED):
        run = engine.train(
            model, *data, engine=kind, limits=STOP, callbacks=[Watch(on_epoch_end=spoil)], **FIT
        )
    assert (run.stop_reason, run.n_epochs) == ("diverged", 2)
    assert same(model.get_weights(), reference.get_weights())


def test_a_callback_that_spoils_a_weight_after_an_epoch_fails_the_next(kind, data):
    def spoil(watch, epoch, logs):
        if epoch == 1:
            watch.model.trainable_weights[-1].assign([np.nan])

    with pytest.raises(DivergedError, match="loss was nan in epoch 2"):
        engine.train(
            build(), *data, engine=kind, limits=FAIL, callbacks=[Watch(on_epoch_end=spoil)], **FIT
        )


# ---- a weight that is not finite ----------------------------------------------------------------


def build_embedding():
    layers = [keras.layers.Embedding(5, 2, name="table"), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((1,)), *layers, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_a_row_that_no_batch_reads_is_seen_when_it_is_not_finite(value, kind, data):
    def spoil(watch, epoch, logs):
        if epoch == 1:
            table = watch.model.layers[0].embeddings
            values = np.array(table)
            values[4] = value
            table.assign(values)

    ids = np.arange(50)[:, None] % 4
    with pytest.raises(DivergedError, match=rf"weight .*table.* was {value} in epoch 1") as caught:
        engine.train(
            build_embedding(),
            ids,
            data[1],
            engine=kind,
            limits=FAIL,
            callbacks=[Watch(on_epoch_begin=spoil)],
            **FIT,
        )
    assert caught.value.epoch == 1
    assert caught.value.learning_rate == pytest.approx(0.01)


def build_drifting():
    """Its moving averages grow without end, which the loss of a training batch never sees."""
    norm = keras.layers.BatchNormalization(momentum=2.5, name="drifting")
    model = keras.Sequential([keras.Input((4,)), norm, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


@pytest.fixture(scope="module")
def drift():
    """The first epoch after which a weight of `build_drifting` is not finite."""
    watch = Watch()
    (model,) = build_twins(build_drifting, 1)
    arguments = FIT | {"epochs": 40, "callbacks": [watch]}
    losses = model.fit(*make_data(), **arguments).history["loss"]
    assert np.isfinite(losses).all()
    finite = [all(np.isfinite(w).all() for w in weights) for weights in watch.weights]
    assert finite[10]
    assert not finite[-1]
    return finite.index(False)


def test_a_weight_is_looked_at_also_when_many_epochs_run_in_one_call(
    drift, kind, data, monkeypatch
):
    calls, run = [], EpochsGraph.run

    def counted(self, *args, **kwargs):
        calls.append(len(kwargs["evaluate"]))
        return run(self, *args, **kwargs)

    monkeypatch.setattr(EpochsGraph, "run", counted)
    (model,) = build_twins(build_drifting, 1)
    with pytest.raises(DivergedError, match=r"the weight .*drifting/moving_") as caught:
        engine.train(model, *data, engine=kind, limits=FAIL, **(FIT | {"epochs": 10_000}))
    if kind == "keras":
        assert caught.value.epoch == drift
    else:
        assert max(calls) > 1
        assert drift <= caught.value.epoch < drift + calls[-1]


def test_weights_before_one_of_them_is_not_finite_are_kept_bit_for_bit(drift, kind, data):
    reference, model = build_twins(build_drifting)
    expected = reference.fit(*data, **(FIT | {"epochs": drift})).history
    with pytest.warns(ConvergenceWarning, match=STOPPED):
        run = engine.train(model, *data, engine=kind, limits=STOP, **(FIT | {"epochs": 40}))
    assert (run.stop_reason, run.n_epochs) == ("diverged", drift)
    assert run.history == expected
    assert same(model.get_weights(), reference.get_weights())


def test_weights_that_are_not_finite_are_keras_s_own_business_when_ignored(drift, kind, data):
    (model,) = build_twins(build_drifting, 1)
    run = engine.train(model, *data, engine=kind, limits=IGNORE, **(FIT | {"epochs": 40}))
    assert run.n_epochs == 40


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_floats_are_looked_at(dtype, kind, data):
    def builder():
        layers = [keras.layers.Dense(2, dtype=dtype), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((4,)), *layers])
        model.compile(keras.optimizers.SGD(0.001), "mse")
        return model

    assert engine.train(builder(), *data, engine=kind, limits=FAIL, **FIT).n_epochs == 3
    model = builder()
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    model.layers[0].kernel.assign(np.full((4, 2), np.nan))
    X = np.zeros((50, 4), "float32")
    with pytest.raises(DivergedError, match=r"nan in epoch 0"):
        engine.train(model, X, data[1], engine=kind, limits=FAIL, **FIT)


# ---- monitors -----------------------------------------------------------------------------------

FIRST_NAN = [np.nan, np.nan, 0.5, 0.7, 0.6]


def test_a_first_nan_is_never_the_best_of_early_stopping(kind, data):
    watch = Watch()
    stop = early("val_auc", mode="max", patience=99, restore_best_weights=True)
    callbacks = [Log("val_auc", FIRST_NAN), watch, stop]
    model = build()
    run = engine.train(
        model, *data, engine=kind, limits=FAIL, callbacks=callbacks, **(FIT | {"epochs": 5})
    )
    assert (stop.best, run.best_epoch) == (0.7, 3)
    assert same(model.get_weights(), watch.weights[3])
    assert same(run.history["val_auc"], FIRST_NAN)


def test_early_stopping_still_stops_after_a_first_nan(kind, data):
    stop = early("val_auc", mode="max", patience=2)
    values = [np.nan, 0.5, 0.4, 0.4, 0.9, 0.9]
    callbacks = [Log("val_auc", values), stop]
    run = engine.train(
        build(), *data, engine=kind, limits=FAIL, callbacks=callbacks, **(FIT | {"epochs": 6})
    )
    assert (run.stop_reason, run.n_epochs, run.best_epoch) == ("early_stopping", 4, 1)


def test_a_first_nan_is_never_the_best_of_a_plateau(kind, data):
    plateau = keras.callbacks.ReduceLROnPlateau("val_auc", mode="max", patience=2, factor=0.5)
    callbacks = [Log("val_auc", FIRST_NAN), plateau]
    model = build_sgd()
    engine.train(
        model, *data, engine=kind, limits=FAIL, callbacks=callbacks, **(FIT | {"epochs": 5})
    )
    assert plateau.best == 0.7
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05)


def test_a_first_nan_is_never_saved_as_the_best(kind, data, tmp_path):
    save = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch}.weights.h5",
        "val_auc",
        mode="max",
        save_best_only=True,
        save_weights_only=True,
    )
    watch = Watch()
    callbacks = [Log("val_auc", FIRST_NAN), watch, save]
    model = build()
    engine.train(
        model, *data, engine=kind, limits=FAIL, callbacks=callbacks, **(FIT | {"epochs": 5})
    )
    assert save.best == 0.7
    # Keras counts from 1 in file names.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3.weights.h5", "4.weights.h5"]
    model.load_weights(tmp_path / "4.weights.h5")
    assert same(model.get_weights(), watch.weights[3])


@pytest.mark.filterwarnings("ignore:Early stopping conditioned on metric:UserWarning")
def test_a_first_nan_is_never_the_best_where_not_every_epoch_is_validated(kind, data):
    values = [None, np.nan, None, 0.7, None, 0.5]
    stop = early("val_mae", mode="max", patience=99)
    arguments = FIT | {"epochs": 6, "validation_freq": 2, "validation_split": 0.3}
    run = engine.train(
        build(),
        *data,
        engine=kind,
        limits=FAIL,
        callbacks=[Log("val_mae", values), stop],
        **arguments,
    )
    assert (stop.best, run.best_epoch) == (0.7, 3)


def monitors(tmp_path):
    return {
        "EarlyStopping": keras.callbacks.EarlyStopping,
        "ReduceLROnPlateau": keras.callbacks.ReduceLROnPlateau,
        "ModelCheckpoint": lambda monitor, **settings: keras.callbacks.ModelCheckpoint(
            tmp_path / "best.keras", monitor, save_best_only=True, **settings
        ),
    }


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("EarlyStopping", "auto"),
        ("EarlyStopping", "max"),
        ("ReduceLROnPlateau", "max"),
        ("ModelCheckpoint", "max"),
    ],
)
def test_a_misspelt_monitor_is_an_error_in_the_first_epoch(name, mode, kind, data, tmp_path):
    watch = Watch()
    callback = monitors(tmp_path)[name]("val_mea", mode=mode)
    with pytest.raises(
        ValueError,
        match=rf"monitor='val_mea' of {name} is not among.*epoch 0.*'val_loss'.*"
        r"Did you mean 'val_mae'",
    ):
        engine.train(
            build(), *data, engine=kind, validation_split=0.3, callbacks=[callback, watch], **FIT
        )
    assert watch.n_calls["on_epoch_end"] == 0


@pytest.mark.filterwarnings("ignore:Early stopping conditioned on metric:UserWarning")
@pytest.mark.parametrize("monitor", ["val_mae", "val_mea"])
def test_a_monitor_may_wait_for_validation_but_not_for_nothing(monitor, kind, data):
    arguments = FIT | {"validation_freq": 2, "validation_split": 0.3, "epochs": 4}
    arguments["callbacks"] = [early(monitor, mode="min", patience=99)]
    if monitor == "val_mae":
        assert engine.train(build(), *data, engine=kind, **arguments).n_epochs == 4
        return
    with pytest.raises(ValueError, match="epoch 0"):
        engine.train(build(), *data, engine=kind, **arguments)


def test_a_checkpoint_of_every_epoch_monitors_nothing(kind, data, tmp_path):
    save = keras.callbacks.ModelCheckpoint(tmp_path / "last.keras", "val_unknown", mode="max")
    run = engine.train(build(), *data, engine=kind, limits=FAIL, callbacks=[save], **FIT)
    assert run.n_epochs == 3
    assert (tmp_path / "last.keras").exists()


@pytest.mark.parametrize("name", ["EarlyStopping", "ReduceLROnPlateau", "ModelCheckpoint"])
def test_what_an_earlier_callback_logs_can_be_monitored(name, kind, data, tmp_path):
    callback = monitors(tmp_path)[name]("own", mode="max")
    values = [0.1, 0.3, 0.2]
    callbacks = [Log("own", values), callback]
    run = engine.train(build(), *data, engine=kind, limits=FAIL, callbacks=callbacks, **FIT)
    assert callback.best == 0.3
    assert run.history["own"] == values


# ---- as Keras -----------------------------------------------------------------------------------


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
def test_callbacks_are_told_what_keras_tells_them(reader, arguments, limits, data):
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


def test_a_weight_that_was_infinite_before_training_is_let_be(kind, data):
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
            logs |= {name: told[epoch] for name, told in values.items()}

    callbacks = [
        Both(),
        early("first", mode="min", patience=9),
        early("second", mode="min", patience=9, restore_best_weights=True),
    ]
    run = engine.train(build(), *data, engine=kind, callbacks=callbacks, **FIT)
    assert run.best_epoch == 1
