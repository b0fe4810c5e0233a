"""Training in the fused engine: arguments, callbacks and data as in ``Model.fit``."""

import contextlib
import threading
import time

import keras
import numpy as np
import pytest
import scipy.sparse

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard import _engine as engine
from skguard._engine import loop
from skguard._engine.tensorflow.cache import STORE
from skguard._engine.tensorflow.graphs import BatchesGraph, EpochsGraph
from tests.engine.parity import (
    FIT,
    assert_same_training,
    build,
    build_own,
    build_twins,
    same,
    train_both,
    values_of,
)

BUILDERS = {"shared graph": build, "own graph": build_own}


@pytest.fixture(params=BUILDERS)
def any_build(request):
    return BUILDERS[request.param]


@pytest.fixture
def data(rng):
    X = rng.standard_normal((50, 4)).astype("float32")
    return X, X @ np.array([1, -2, 0.5, 0], "float32")[:, None]


def test_kinds_of_graphs_are_what_the_tests_below_take_them_for(data, n_traces):
    for builder in (build, build_own):
        engine.train(builder(), *data, engine="fused", **FIT)
    assert [type(graph) for graph in n_traces] == [EpochsGraph, BatchesGraph]


# ---- arguments ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"validation_split": 0.3},
        {"validation_split": 0.3, "validation_batch_size": 4},
        {"validation_split": 0.3, "validation_freq": 2, "epochs": 5},
        {"validation_split": 0.3, "validation_freq": [1, 4], "epochs": 5},
        {"initial_epoch": 2, "epochs": 5, "validation_split": 0.3, "validation_freq": 2},
        {"batch_size": None},
        {"batch_size": 1000},
        {"batch_size": 50},
        {"sample_weight": np.linspace(0.1, 2, 50)},
        {"sample_weight": np.linspace(0.1, 2, 50), "validation_split": 0.3},
        {"epochs": 40, "validation_split": 0.3, "batch_size": 7},
    ],
    ids=str,
)
def test_arguments_mean_what_they_mean_in_keras(arguments, any_build, data):
    assert_same_training(any_build, *data, **arguments)


def test_no_epoch_left_to_train_changes_nothing(data):
    (model,) = build_twins(build, 1)
    before = model.get_weights()
    run = engine.train(model, *data, engine="fused", **(FIT | {"initial_epoch": 3}))
    assert run.history == {}
    assert same(model.get_weights(), before)


def test_held_out_weights_count(data):
    X, y = data
    held_out = X[:9], y[:9], np.linspace(0, 3, 9)
    assert_same_training(build, X, y, validation_data=held_out)


@pytest.mark.parametrize("steps", [2, 3, 100])
def test_steps_per_execution_change_nothing_but_the_calls_of_callbacks(steps, data):
    def builder():
        model = build()
        model.steps_per_execution = steps
        return model

    assert_same_training(builder, *data, validation_split=0.3)


def build_for_classes():
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    return model


def build_for_one_hot():
    model = build_for_classes()
    model.compile("adam", "categorical_crossentropy")
    return model


@pytest.mark.parametrize(
    ("builder", "encode"),
    [
        (build_for_classes, lambda y: y),
        (build_for_classes, lambda y: y[:, None].astype("float64")),
        (build_for_one_hot, lambda y: np.eye(3)[y]),
    ],
    ids=["numbers", "column", "one-hot"],
)
def test_class_weights_count(builder, encode, data, rng):
    y = encode(rng.integers(0, 3, 50))
    assert_same_training(builder, data[0], y, class_weight={0: 0.2, 2: 3.0}, validation_split=0.2)


def test_sparse_rows_give_the_numbers_of_keras(rng):
    def builder():
        x = keras.Input((6,), sparse=True)
        model = keras.Model(x, keras.layers.Dense(1)(keras.layers.Dense(5, "relu")(x)))
        model.compile("sgd", "mse")
        return model

    X = scipy.sparse.random(50, 6, 0.3, format="lil", dtype="float32", random_state=0)
    X[7] = 0
    X = X.tocsr()
    y = rng.standard_normal((50, 1)).astype("float32")
    arguments = {"batch_size": 16, "epochs": 3}
    theirs, ours = build_twins(builder)
    expected = theirs.fit(X, y, shuffle=False, verbose=0, **arguments).history
    run = engine.train(ours, X, y, engine="fused", shuffle=False, verbose=0, **arguments)
    assert run.history == expected
    assert same(values_of(ours), values_of(theirs))
    predicted = engine.predict(ours, X, engine="auto", verbose=0, batch_size=16)
    assert np.array_equal(predicted, theirs.predict(X, verbose=0, batch_size=16))


def test_frames_and_tensors_are_read_as_keras_reads_them(data):
    pandas = pytest.importorskip("pandas")
    import tensorflow as tf

    X, y = data
    frame = pandas.DataFrame(X.astype("float64"), columns=list("abcd"))
    assert_same_training(build, frame, pandas.Series(y[:, 0]))
    assert_same_training(build, tf.constant(X), tf.constant(y, tf.float64))


# ---- code of the user's ---------------------------------------------------------------------


class OwnSteps(keras.Model):
    """Own training, own evaluation, own logs, and state that counts in a variable."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        self.calls.assign_add(1.0)
        logs = super().train_step(data)
        return {"own": logs["loss"] * 2, "calls": self.calls.value}

    def test_step(self, data):
        return {"own": super().test_step(data)["loss"] + 1}


class OwnReset(keras.metrics.Metric):
    """Its values depend on how often it was reset, which only Python counts."""

    def __init__(self, name="resets"):
        super().__init__(name=name)
        self.n, self.level = 0, self.add_variable((), "zeros", name="level")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.level.assign_add(1.0)

    def result(self):
        return self.level * 1.0

    def reset_state(self):
        if float(self.level) > 0:  # Keras cannot reset what it has not built yet
            self.n += 1
        self.level.assign(float(10 * self.n))


def own_steps():
    model = OwnSteps()
    model.compile("sgd", "mse")
    return model


def own_loss():
    model = build()
    model.compile("sgd", lambda y, p: keras.ops.mean(keras.ops.abs(y - p) ** 1.5, -1))
    return model


def own_reset():
    model = build()
    model.compile("sgd", "mse", metrics=[OwnReset()])
    return model


class OwnLoss(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, activity_regularizer="l2")

    def call(self, x, training=False):
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean((y - y_pred) ** 4) + sum(self.losses)


def own_compute_loss():
    model = OwnLoss()
    model.compile("adam")
    return model


def own_initializer_and_activation():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(
                5,
                activation=lambda x: keras.ops.relu(x) - 0.1,
                kernel_initializer=lambda shape, dtype: keras.ops.ones(shape, dtype) / 7,
            ),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


@pytest.mark.parametrize(
    "builder",
    [own_steps, own_loss, own_reset, own_compute_loss, own_initializer_and_activation],
    ids=lambda f: f.__name__,
)
def test_code_of_the_users_runs_as_in_keras(builder, data):
    assert_same_training(builder, *data, validation_split=0.3)


# ---- callbacks ------------------------------------------------------------------------------

HOOKS = [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]


def recorder(*hooks, act=None):
    """A class of callbacks that records the calls of some hooks, and what it saw."""
    records = {"theirs": [], "ours": []}

    def make(side):
        class Recorder(keras.callbacks.Callback):
            pass

        def make_hook(name):
            def hook(self, *args, **kwargs):
                args = [*args, *kwargs.values()]
                args = [dict(a) if isinstance(a, dict) else a for a in args]
                records[side].append((name, args, self.params, self.model.stop_training))
                if act is not None:
                    act(name, args, self.model)

            return hook

        for name in hooks:
            setattr(Recorder, name, make_hook(name))
        return Recorder()

    return make, records


def assert_same_records(records):
    assert len(records["ours"]) == len(records["theirs"]) > 0
    for ours, theirs in zip(records["ours"], records["theirs"], strict=True):
        assert ours[0] == theirs[0]
        assert same(ours[1], theirs[1]), (ours, theirs)
        assert ours[2:] == theirs[2:]


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize(
    "hooks",
    [
        HOOKS,
        ["on_epoch_begin", "on_epoch_end"],
        ["on_train_begin", "on_train_end"],
        ["on_train_batch_begin", "on_train_batch_end"],
        ["on_batch_begin", "on_batch_end"],
        ["on_test_begin", "on_test_end"],
        ["on_test_batch_begin", "on_test_batch_end", "on_epoch_end"],
        ["on_test_end", "on_epoch_end"],
    ],
    ids=lambda hooks: "all" if hooks is HOOKS else " ".join(hooks),
)
def test_callbacks_see_the_same_hooks_and_logs(hooks, steps, any_build, data):
    def builder():
        model = any_build() if steps == 1 else build()
        model.steps_per_execution = steps
        return model

    make, records = recorder(*hooks)
    arguments = {"validation_split": 0.3, "epochs": 4, "validation_freq": 2}
    assert_same_training(builder, *data, callbacks=[make], **arguments)
    assert_same_records(records)


@pytest.mark.parametrize(
    ("hook", "n"),
    [
        ("on_train_begin", 1),
        ("on_epoch_begin", 1),
        ("on_epoch_begin", 2),
        ("on_train_batch_end", 2),
        ("on_train_batch_begin", 5),
        ("on_test_begin", 2),
        ("on_test_batch_end", 3),
        ("on_test_end", 1),
        ("on_epoch_end", 3),
    ],
)
def test_training_stops_where_keras_would_stop(hook, n, any_build, data):
    counts = {}

    def stop(name, args, model):
        counts[id(model)] = counts.get(id(model), 0) + (name == hook)
        if counts[id(model)] == n:
            model.stop_training = True

    make, records = recorder(*HOOKS, act=stop)
    assert_same_training(
        any_build, *data, callbacks=[make], validation_split=0.3, validation_batch_size=5, epochs=6
    )
    assert_same_records(records)


def test_evaluation_stops_where_keras_would_stop(data):
    def stop(name, args, model):
        if name == "on_test_batch_end" and args[0] == 1:
            model.stop_evaluating = True

    make, records = recorder(*HOOKS, act=stop)
    assert_same_training(
        build, *data, callbacks=[make], validation_split=0.3, validation_batch_size=2
    )
    assert_same_records(records)


@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin"])
def test_a_flag_set_before_the_first_batch_lets_keras_run_one(hook, any_build, data):
    def stop(name, args, model):
        model.stop_training = True

    make, _ = recorder(hook, act=stop)
    theirs, _ = assert_same_training(
        any_build, *data, callbacks=[make], validation_split=0.3, epochs=6
    )
    assert int(theirs.optimizer.iterations) == 1


def test_a_flag_set_from_outside_stops_epochs_that_run_many_at_a_call(data):
    def make(side):
        class Watch(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                threading.Timer(0.7, lambda: setattr(self.model, "stop_training", True)).start()

        return Watch()

    model = build()
    started = time.perf_counter()
    arguments = FIT | {"epochs": 10**6, "callbacks": [make("ours")]}
    run = engine.train(model, *data, engine="fused", **arguments)
    assert time.perf_counter() - started < 3
    n_epochs = len(run.history["loss"])
    assert int(model.optimizer.iterations) == 4 * n_epochs > 0


def test_evaluation_that_is_stopped_before_it_begins_runs_one_batch(data):
    def stop(name, args, model):
        model.stop_evaluating = True

    make, _ = recorder("on_test_begin", act=stop)
    assert_same_training(
        build, *data, callbacks=[make], validation_split=0.3, validation_batch_size=2
    )


def test_hooks_that_appear_when_training_begins_are_called(data):
    counts = {"ours": 0, "theirs": 0}

    def make(side):
        class Late(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                self.on_train_batch_end = lambda batch, logs=None: self.count()

            def count(self):
                counts[side] += 1

        return Late()

    assert_same_training(build, *data, callbacks=[make])
    assert counts["ours"] == counts["theirs"] == 12


def test_what_a_callback_makes_keras_trace_anew_is_traced_anew(any_build, data):
    def freeze(name, args, model):
        if args[0] == 1:
            model.layers[0].trainable = False
            model.make_train_function(force=True)

    make, _ = recorder("on_epoch_begin", act=freeze)
    assert_same_training(any_build, *data, callbacks=[make], epochs=4)


def build_with_dropout():
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.5, seed=1)]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


CHANGES = {
    "rate": lambda model: setattr(model.layers[1], "rate", 0.1),
    "frozen": lambda model: setattr(model.layers[0], "trainable", False),
    "activation": lambda model: setattr(model.layers[0], "activation", keras.activations.tanh),
    "clipnorm": lambda model: setattr(model.optimizer, "clipnorm", 0.01),
}


@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin", "on_train_batch_begin"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_callbacks_change_before_keras_would_have_traced_counts(name, hook, data):
    make, _ = recorder(hook, act=lambda _, args, model: CHANGES[name](model))
    assert_same_training(build_with_dropout, *data, callbacks=[make], epochs=3)


def early(**settings):
    return lambda side: keras.callbacks.EarlyStopping(**settings)


def plateau(**settings):
    return lambda side: keras.callbacks.ReduceLROnPlateau(**settings)


def diverging():
    return build(keras.optimizers.SGD(0.2, momentum=0.9))


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


def watch_blocks(monkeypatch, n_epochs):
    """Run blocks of some epochs, however long one takes, and list the blocks."""
    blocks, run_block = [], loop._Training._run_block

    def watched(self, epoch, n):
        blocks.append(n)
        return run_block(self, epoch, n)

    def choose(self, n_left):
        return min(n_epochs, n_left) if self.hooks.only_reads_logs else 1

    monkeypatch.setattr(loop._Training, "_run_block", watched)
    monkeypatch.setattr(loop._Training, "_epochs_a_call", choose)
    return blocks


def test_blocks_are_for_callbacks_that_read_nothing_but_logs(data, monkeypatch):
    blocks = watch_blocks(monkeypatch, 7)
    make, _ = recorder("on_epoch_end")
    train_both(build, *data, epochs=9, callbacks=[make])
    assert blocks == []

    class Own(keras.callbacks.EarlyStopping):
        pass

    train_both(build, *data, epochs=9, callbacks=[lambda side: Own("loss")])
    assert blocks == []
    make, records = recorder("on_train_begin", "on_train_end")
    assert_same_training(build, *data, epochs=9, callbacks=[make])
    assert blocks == [7, 2]
    assert_same_records(records)


def test_blocks_grow_with_the_speed_of_an_epoch(data, monkeypatch):
    calls, run = [], EpochsGraph.run

    def counted(self, *args, **kwargs):
        calls.append(len(kwargs["evaluate"]))
        return run(self, *args, **kwargs)

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


# ---- display, time, interruption --------------------------------------------------------------


def test_verbose_2_writes_a_line_an_epoch(data, capsys):
    engine.train(build(), *data, engine="fused", **(FIT | {"verbose": 2}))
    lines = [line for line in capsys.readouterr().out.splitlines() if "loss:" in line]
    assert len(lines) == 3


def test_verbose_1_shows_the_bar_of_keras(data, capsys):
    engine.train(build(), *data, engine="fused", **(FIT | {"verbose": 1}))
    shown = capsys.readouterr().out
    assert "Epoch 3/3" in shown
    assert "4/4" in shown


class Slow(keras.layers.Layer):
    """20 ms a batch."""

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
    assert len(STORE) == 0
    assert_same_training(build, *data, validation_split=0.3)


def test_an_error_in_a_replayed_epoch_leaves_the_weights_of_that_epoch(data, monkeypatch):
    watch_blocks(monkeypatch, 10)

    class Opened:
        """What a callback leaves open when training fails, as it does in Keras."""

        def __init__(self, log):
            self.log = log

        def close(self):
            self.log.csv_file.close()

    class Broken:
        def writerow(self, row):
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


# ---- shuffling --------------------------------------------------------------------------------


class Watched(keras.layers.Layer):
    """Hands every batch that it is trained on to a function."""

    def __init__(self, watch):
        super().__init__()
        self.watch = watch

    def call(self, x, training=False):
        import tensorflow as tf

        if training:
            tf.py_function(self.watch, [x], [])
        return x


def orders(seed, shuffle=True, epochs=3, batch_size=4):
    seen = []
    watched = Watched(lambda batch: seen.append(batch.numpy()[:, 0].tolist()))
    model = keras.Sequential([keras.Input((1,)), watched, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    X = np.arange(10.0)[:, None]
    np.random.seed(seed)
    run = engine.train(
        model, X, X, engine="auto", shuffle=shuffle, epochs=epochs, batch_size=batch_size, verbose=0
    )
    assert run.engine == "fused"
    per_epoch = -(-10 // batch_size)
    return [seen[i : i + per_epoch] for i in range(0, len(seen), per_epoch)]


def test_every_row_comes_once_an_epoch_and_in_another_order_each_epoch():
    shuffled = orders(0)
    flat = [[row for batch in epoch for row in batch] for epoch in shuffled]
    assert all(sorted(rows) == list(range(10)) for rows in flat)
    assert flat[0] != flat[1] != flat[2] != flat[0]
    assert all(rows != sorted(rows) for rows in flat)


def test_the_same_seed_gives_the_same_order():
    assert orders(0) == orders(0)
    assert orders(0) != orders(1)


def test_rows_shuffled_within_batches_stay_in_their_batch():
    shuffled = orders(0, shuffle="batch")
    assert all(
        [sorted(batch) for batch in epoch] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        for epoch in shuffled
    )
    assert shuffled[0] != shuffled[1]


def test_rows_that_are_not_shuffled_keep_their_order():
    assert orders(0, shuffle=False)[1] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_numbers_do_not_depend_on_how_many_epochs_a_call_runs(data, monkeypatch):
    histories = []
    for n in (1, 2, 5, 11):
        with monkeypatch.context() as patched:
            watch_blocks(patched, n)
            np.random.seed(0)
            (model,) = build_twins(diverging, 1)
            run = engine.train(
                model,
                *data,
                engine="fused",
                epochs=11,
                verbose=0,
                validation_split=0.3,
                callbacks=[keras.callbacks.ReduceLROnPlateau(patience=0, factor=0.7)],
            )
            histories.append((run.history, values_of(model)))
    assert all(same(one, histories[0]) for one in histories[1:])


# ---- estimators -------------------------------------------------------------------------------


def build_regressor(meta, units=8):
    layers = [keras.layers.Dense(units, "relu"), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((meta["n_features_in_"],)), *layers])


def regressor(**params):
    settings = {"loss": "mse", "epochs": 3, "verbose": 0, "random_state": 0}
    return GuardedKerasRegressor(build_regressor, **(settings | params))


def test_estimators_say_which_engine_trained_and_why(line):
    fused_one = regressor().fit(*line)
    assert fused_one.engine_ == "fused"
    eager = regressor(compile__run_eagerly=True).fit(*line)
    assert eager.engine_ == "keras"
    assert eager.engine_reason_ == "the model runs eagerly"
    asked = regressor(engine="keras").fit(*line)
    assert (asked.engine_, asked.engine_reason_) == ("keras", "engine='keras' asks for it")


def test_engine_fused_is_an_error_where_it_cannot_be(line):
    with pytest.raises(ValueError, match=r"engine='fused'.*runs eagerly.*engine='auto'"):
        regressor(engine="fused", compile__run_eagerly=True).fit(*line)


def test_an_unknown_engine_is_an_error_before_training(line):
    with pytest.raises(ValueError, match=r"engine='fast'.*auto.*fused.*keras"):
        regressor(engine="fast").fit(*line)


def test_resumed_training_gives_the_numbers_of_keras(line):
    pair = [regressor(engine=e, shuffle=False, epochs=2) for e in ("fused", "keras")]
    for estimator in pair:
        estimator.fit(*line)
        for _ in range(3):
            estimator.partial_fit(*line)
    ours, theirs = pair
    assert ours.history_ == theirs.history_
    assert len(ours.history_["loss"]) == 5
    assert same(values_of(ours.model_), values_of(theirs.model_))


def test_warm_starts_trace_nothing_anew(line, n_traces):
    estimator = regressor(warm_start=True)
    for _ in range(3):
        estimator.fit(*line)
    assert len(n_traces) == 1


def test_a_model_with_its_own_graph_keeps_it_until_it_is_compiled_anew(data, n_traces):
    model = build_own()
    for _ in range(2):
        engine.train(model, *data, engine="fused", **FIT)
    assert len(n_traces) == 1
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    before = model.layers[0].get_weights()
    engine.train(model, *data, engine="fused", **FIT)
    assert len(n_traces) == 2
    assert same(model.layers[0].get_weights(), before)


def test_fits_of_one_seed_are_equal_whatever_was_fitted_between(line, blobs):
    def fit():
        return regressor(callbacks=keras.callbacks.EarlyStopping("loss", patience=1)).fit(*line)

    first = fit()
    GuardedKerasClassifier(
        lambda meta: keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")]),
        loss="sparse_categorical_crossentropy",
        verbose=0,
    ).fit(*blobs)
    regressor(units=3, random_state=5).fit(*line)
    second = fit()
    assert first.history_ == second.history_
    assert same(first.model_.get_weights(), second.model_.get_weights())
