"""The fused engine: early stopping, learning rates, blocks of epochs, interruption, display."""

import contextlib
import threading
import time

import keras
import numpy as np
import pytest

from skguard import _engine as engine
from skguard._engine.tensorflow.cache import CACHE
from skguard._engine.tensorflow.graphs import EpochsGraph
from tests.engine.parity import (
    FIT,
    assert_same_training,
    build,
    build_twins,
    same,
    train_both,
)
from tests.engine.recording import (
    HOOKS,
    assert_same_records,
    diverging,
    early,
    plateau,
    recorder,
    watch_blocks,
)

STOPPERS = {
    "patience": [early(patience=2)],
    "best weights": [early(patience=3, restore_best_weights=True)],
    "best weights without a stop": [early(patience=99, restore_best_weights=True)],
    "late start": [early(patience=1, start_from_epoch=4, restore_best_weights=True)],
    "of training loss": [early(monitor="loss", patience=1, min_delta=0.01)],
    "baseline": [early(patience=2, baseline=0.001)],
    "plateau": [plateau(patience=1, factor=0.3)],
    "plateau with a floor": [plateau(patience=0, factor=0.5, min_lr=0.01, cooldown=1)],
    "both": [plateau(patience=1), early(patience=4, restore_best_weights=True)],
    "both, other way round": [early(patience=3, restore_best_weights=True), plateau(patience=1)],
}


@pytest.mark.parametrize("in_blocks", [True, False], ids=["in blocks", "by epoch"])
@pytest.mark.parametrize("name", STOPPERS)
def test_early_stops_and_lower_rates_come_when_they_come_in_keras(
    name, in_blocks, data, monkeypatch
):
    blocks = watch_blocks(monkeypatch, 7 if in_blocks else 1)
    assert_same_training(
        diverging, *data, callbacks=STOPPERS[name], validation_split=0.3, epochs=30
    )
    assert bool(blocks) == in_blocks


def test_blocks_are_for_callbacks_that_read_nothing_but_logs(data, monkeypatch):
    blocks = watch_blocks(monkeypatch, 7)
    make, _ = recorder("on_epoch_end")
    train_both(build, *data, epochs=9, callbacks=[make])
    assert blocks == []

    class Custom(keras.callbacks.EarlyStopping):
        pass

    train_both(build, *data, epochs=9, callbacks=[lambda side: Custom("loss")])
    assert blocks == []
    make, records = recorder("on_train_begin", "on_train_end")
    assert_same_training(build, *data, epochs=9, callbacks=[make])
    assert blocks == [7, 2]
    assert_same_records(records)


def test_blocks_grow_with_the_speed_of_an_epoch(data, monkeypatch):
    calls, run = [], EpochsGraph.run

    def counted(self, data, call):
        calls.append(len(call.validates))
        return run(self, data, call)

    monkeypatch.setattr(EpochsGraph, "run", counted)
    for _ in range(2):
        calls.clear()
        engine.train(build(), *data, engine="fused", **(FIT | {"epochs": 200}))
    assert max(calls) >= 16
    assert len(calls) < 40


def csv(tmp_path):
    return lambda side: keras.callbacks.CSVLogger(str(tmp_path / f"{side}.csv"))


def test_what_keras_callbacks_write_is_the_same(data, tmp_path):
    assert_same_training(
        diverging,
        *data,
        epochs=12,
        validation_split=0.3,
        callbacks=[csv(tmp_path), plateau(patience=1), early(patience=3)],
    )
    assert (tmp_path / "ours.csv").read_text() == (tmp_path / "theirs.csv").read_text()


def test_a_moved_learning_rate_counts_at_once(any_build, data):
    def halve(epoch, rate):
        return rate * 0.5

    schedule = lambda side: keras.callbacks.LearningRateScheduler(halve)  # noqa: E731
    _, ours = assert_same_training(any_build, *data, epochs=5, callbacks=[schedule])
    assert float(ours.optimizer.learning_rate) == pytest.approx(0.001 / 32)


def test_averaged_weights_are_swapped_as_in_keras(data):
    def averaged():
        return build(keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5))

    swap = lambda side: keras.callbacks.SwapEMAWeights(swap_on_epoch=True)  # noqa: E731
    assert_same_training(averaged, *data, validation_split=0.3, callbacks=[swap])


def test_terminate_on_nan_stops_within_the_epoch(data):
    def exploding():
        return build(keras.optimizers.SGD(1e20))

    make, records = recorder(*HOOKS)
    stop = lambda side: keras.callbacks.TerminateOnNaN()  # noqa: E731
    (history, _), (ours, _) = train_both(exploding, *data, epochs=4, callbacks=[stop, make])
    assert same(ours, history)
    assert_same_records(records)


def test_what_fit_leaves_on_a_model_is_there(data):
    _, ours = assert_same_training(build, *data, validation_split=0.3)
    assert ours.train_function is not None
    assert ours.test_function is not None
    assert ours.history.model is ours
    assert ours.history.epoch == [0, 1, 2]


def test_verbose_2_prints_a_line_per_epoch(data, capsys):
    engine.train(build(), *data, engine="fused", **(FIT | {"verbose": 2}))
    lines = [line for line in capsys.readouterr().out.splitlines() if "loss:" in line]
    assert len(lines) == 3


def test_verbose_1_shows_the_bar_of_keras(data, capsys):
    engine.train(build(), *data, engine="fused", **(FIT | {"verbose": 1}))
    shown = capsys.readouterr().out
    assert "Epoch 3/3" in shown
    assert "4/4" in shown


class Slow(keras.layers.Layer):
    """Takes 20 ms per batch."""

    def call(self, x):
        import tensorflow as tf

        def wait(values):
            time.sleep(0.02)
            return values

        y = tf.numpy_function(wait, [x], x.dtype)
        y.set_shape(x.shape)
        return y


def test_a_flag_set_from_outside_stops_within_a_second(data):
    X, y = np.tile(data[0], (20, 1)), np.tile(data[1], (20, 1))
    model = keras.Sequential([keras.Input((4,)), Slow(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    timer = threading.Timer(1.5, lambda: setattr(model, "stop_training", True))
    timer.start()
    started = time.perf_counter()
    run = engine.train(model, X, y, engine="auto", batch_size=2, epochs=50, verbose=0)
    assert run.engine == "fused"
    assert time.perf_counter() - started < 3.5


def test_a_long_epoch_is_run_in_chunks_of_a_quarter_of_a_second(data, monkeypatch):
    spans, run = [], EpochsGraph.run

    def timed(self, *args, **kwargs):
        started = time.perf_counter()
        result = run(self, *args, **kwargs)
        spans.append(time.perf_counter() - started)
        return result

    monkeypatch.setattr(EpochsGraph, "run", timed)
    X = np.tile(data[0], (3000, 1))
    engine.train(build(), X, X[:, :1], engine="fused", epochs=1, batch_size=2, verbose=0)
    assert len(spans) > 5
    assert np.median(spans) < 0.4


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_train_batch_end", "on_test_end"])
def test_a_fit_that_fails_half_way_leaves_no_graph_behind(hook, error, data):
    def fail(name, args, model):
        if name == hook:
            raise error("injected")

    make, _ = recorder(hook, act=fail)
    callbacks = [make("ours")]
    with pytest.raises(error, match="injected"):
        engine.train(
            build(), *data, engine="fused", **(FIT | {"validation_split": 0.3}), callbacks=callbacks
        )
    assert len(CACHE) == 0
    assert_same_training(build, *data, validation_split=0.3)


def test_an_error_in_a_replayed_epoch_leaves_the_weights_of_that_epoch(data, monkeypatch):
    watch_blocks(monkeypatch, 10)

    class Opened:
        """Closes the file that a callback leaves open when training fails, as in Keras."""

        def __init__(self, log):
            self.log = log

        def close(self):
            self.log.csv_file.close()

    class Broken:
        def writerow(self, *args):
            raise OSError("injected: disk full")

    log = keras.callbacks.CSVLogger("/dev/null")
    end = log.on_epoch_end

    def fail_at_3(epoch, logs=None):
        if epoch == 3:
            log.writer = Broken()
        end(epoch, logs)

    log.on_epoch_end = fail_at_3
    stop = keras.callbacks.EarlyStopping("loss", patience=99)
    reference, model = build_twins(build)
    with pytest.raises(OSError, match="disk full"), contextlib.closing(Opened(log)):
        engine.train(model, *data, engine="fused", **(FIT | {"epochs": 10}), callbacks=[stop, log])
    reference.fit(*data, **(FIT | {"epochs": 4}))
    assert same(model.get_weights(), reference.get_weights())
