"""A loss or a weight that is not finite ends a training, or is ignored."""

import time

import keras
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skguard import _engine as engine
from skguard._engine.tensorflow.graphs import EpochsGraph
from skguard.exceptions import DivergedError
from tests.engine.monitoring import (
    FAIL,
    IGNORE,
    STALLS,
    STOP,
    STOPPED,
    RaiseRate,
    Watch,
    build_sgd,
    early,
    make_data,
)
from tests.engine.parity import FIT, build, build_twins, same, values_of


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


def test_a_validation_target_that_is_not_finite_is_found(kind, data):
    validation_data = (data[0][:3], np.full((3, 1), np.nan, "float32"))
    with pytest.raises(DivergedError, match="val_loss was nan in epoch 0"):
        engine.train(
            build(), *data, engine=kind, limits=FAIL, validation_data=validation_data, **FIT
        )


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


def build_embedding():
    layers = [keras.layers.Embedding(5, 2, name="table"), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((1,)), *layers, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_an_embedding_that_no_batch_reads_is_found_when_it_is_not_finite(value, kind, data):
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


def test_weights_are_checked_also_when_many_epochs_run_in_one_call(drift, kind, data, monkeypatch):
    calls, run = [], EpochsGraph.run

    def counted(self, data, call):
        calls.append(len(call.validates))
        return run(self, data, call)

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


def test_weights_that_are_not_finite_can_be_ignored(drift, kind, data):
    (model,) = build_twins(build_drifting, 1)
    run = engine.train(model, *data, engine=kind, limits=IGNORE, **(FIT | {"epochs": 40}))
    assert run.n_epochs == 40


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_16_bits_are_checked(dtype, kind, data):
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
