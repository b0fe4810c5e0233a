"""Callbacks in the fused engine are called when and as in ``Model.fit``."""

import threading
import time

import keras
import pytest

from skguard import _engine as engine
from skguard._engine.tensorflow.graphs import BatchesGraph, EpochsGraph
from tests.engine.parity import (
    FIT,
    assert_same_training,
    build,
    build_custom,
    build_twins,
)
from tests.engine.recording import (
    HOOKS,
    assert_same_records,
    recorder,
)


def test_the_models_of_these_tests_have_graphs_of_both_kinds(data, n_traces):
    for builder in (build, build_custom):
        engine.train(builder(), *data, engine="fused", **FIT)
    assert [type(graph) for graph in n_traces] == [EpochsGraph, BatchesGraph]


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
    set_at = []

    def make(side):
        class Watch(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                threading.Timer(0.7, self.stop).start()

            def stop(self):
                set_at.append(time.perf_counter())
                self.model.stop_training = True

        return Watch()

    model = build()
    arguments = FIT | {"epochs": 10**6, "callbacks": [make("ours")]}
    run = engine.train(model, *data, engine="fused", **arguments)
    assert time.perf_counter() - set_at[0] < 2
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


def test_a_callback_can_make_the_engine_trace_again(any_build, data):
    def freeze(name, args, model):
        if args[0] == 1:
            model.layers[0].trainable = False
            model.make_train_function(force=True)

    make, _ = recorder("on_epoch_begin", act=freeze)
    assert_same_training(any_build, *data, callbacks=[make], epochs=4)


def test_metrics_of_an_earlier_training_do_not_count_where_a_callback_changes_the_model(data):
    class Regularize(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.layers[0].kernel_regularizer = keras.regularizers.L1(0.1)

    models = build_twins(build)
    for model in models:
        engine.train(model, *data, engine="keras", **FIT)
    assert_same_training(build, *data, models=models, callbacks=[lambda side: Regularize()])


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
def test_changes_by_callbacks_before_the_first_batch_have_an_effect(name, hook, data):
    make, _ = recorder(hook, act=lambda _, args, model: CHANGES[name](model))
    assert_same_training(build_with_dropout, *data, callbacks=[make], epochs=3)
