"""Graphs are shared only where that is right, held within bounds, and by one user at a time."""

import functools
import gc
import multiprocessing
import os
import pickle
import threading
import weakref

import keras
import numpy as np
import pytest

from skguard import GuardedKerasRegressor
from skguard import _engine as engine
from skguard._engine.tensorflow import signatures
from skguard._engine.tensorflow.cache import CACHE, Graph, GraphCache
from skguard._engine.tensorflow.dataset import TensorDataset
from skguard._repairs import keras_internals
from tests.engine.parity import (
    FIT,
    assert_same_training,
    build_twins,
    same,
    trace_on_another,
    train_both,
)


def sequential(*stack, loss="mse", optimizer="adam", **compiled):
    model = keras.Sequential([keras.Input((4,)), *stack, keras.layers.Dense(1)])
    model.compile(optimizer, loss, **compiled)
    return model


def dense(units=8, activation="relu", **settings):
    return sequential(keras.layers.Dense(units, activation, **settings))


@pytest.fixture
def data(rng):
    X = rng.standard_normal((50, 4)).astype("float32")
    return X, X[:, :1]


def signature(model, data):
    engine.train(model, *data, engine="auto", **(FIT | {"epochs": 1}))
    return signatures.training_signature(model)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: dense(8), lambda: dense(9)),
        (lambda: dense(8), lambda: dense(activation="tanh")),
        (lambda: dense(8), lambda: dense(use_bias=False)),
        (lambda: dense(8), lambda: dense(dtype="mixed_bfloat16")),
        (lambda: dense(8), lambda: dense(dtype="float16")),
        (lambda: dense(8), lambda: dense(trainable=False)),
        (lambda: dense(8), lambda: dense(kernel_regularizer="l2")),
        (
            lambda: dense(kernel_regularizer="l2"),
            lambda: dense(kernel_regularizer=keras.regularizers.L2(0.5)),
        ),
        (
            lambda: dense(kernel_constraint="max_norm"),
            lambda: dense(kernel_constraint=keras.constraints.MaxNorm(3)),
        ),
        (
            lambda: sequential(keras.layers.Dropout(0.1)),
            lambda: sequential(keras.layers.Dropout(0.2)),
        ),
        (
            lambda: sequential(keras.layers.LeakyReLU(0.1)),
            lambda: sequential(keras.layers.LeakyReLU(0.2)),
        ),
        (
            lambda: sequential(keras.layers.Activation("relu", name="a")),
            lambda: sequential(keras.layers.Activation("tanh", name="a")),
        ),
        (
            lambda: sequential(keras.layers.ReLU(name="relu")),
            lambda: sequential(keras.layers.ReLU(max_value=1.0, name="relu")),
        ),
        (lambda: sequential(loss="mse"), lambda: sequential(loss="mae")),
        (
            lambda: sequential(loss=keras.losses.Huber(1.0)),
            lambda: sequential(loss=keras.losses.Huber(2.0)),
        ),
        (lambda: sequential(), lambda: sequential(metrics=["mae"])),
        (lambda: sequential(metrics=["mae"]), lambda: sequential(weighted_metrics=["mae"])),
        (
            lambda: sequential(metrics=["mae"]),
            lambda: sequential(metrics=[keras.metrics.MeanAbsoluteError(name="x")]),
        ),
        (lambda: sequential(), lambda: sequential(loss_weights=[2.0])),
        (
            lambda: sequential(optimizer="sgd"),
            lambda: sequential(optimizer=keras.optimizers.SGD(momentum=0.5)),
        ),
        (
            lambda: sequential(optimizer=keras.optimizers.Adam(beta_1=0.8)),
            lambda: sequential(optimizer=keras.optimizers.Adam(beta_1=0.7)),
        ),
        (
            lambda: sequential(
                optimizer=keras.optimizers.SGD(
                    keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.5)
                )
            ),
            lambda: sequential(
                optimizer=keras.optimizers.SGD(
                    keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.6)
                )
            ),
        ),
    ],
)
def test_models_that_compute_something_else_have_other_signatures(one, other, data):
    first, second, again = signature(one(), data), signature(other(), data), signature(one(), data)
    assert first != second
    assert first == again


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            lambda: sequential(optimizer=keras.optimizers.Adam(0.1)),
            lambda: sequential(optimizer=keras.optimizers.Adam(0.2)),
        ),
        (lambda: dense(name="a"), lambda: dense(name="b")),
        (lambda: dense(kernel_initializer="ones"), lambda: dense(kernel_initializer="zeros")),
        (
            lambda: sequential(keras.layers.Dropout(0.1, seed=1)),
            lambda: sequential(keras.layers.Dropout(0.1, seed=2)),
        ),
    ],
    ids=["learning rate", "name", "initializer", "seed"],
)
def test_models_that_differ_in_nothing_that_a_graph_holds_share_one(one, other, data, n_traces):
    trace_on_another(one, *data)
    assert_same_training(other, *data)
    assert len(n_traces) == 1


def own_function(x):
    return keras.ops.relu(x)


own_function.__name__ = own_function.__qualname__ = "relu"


@functools.wraps(keras.activations.relu)
def in_disguise(x):
    return keras.ops.tanh(x)


def own_layer(base, **members):
    return type("Dense", (base,), members)


def constant_layer():
    layer = keras.layers.Dense(4)
    layer.scale = np.ones(3)
    return layer


def adapted():
    layer = keras.layers.Normalization()
    layer.adapt(np.arange(8.0).reshape(2, 4))
    return layer


def patched():
    layer = keras.layers.Dense(4)
    layer.call = lambda x: 2 * layer(x)
    return layer


def quantized_policy():
    return keras.layers.Dense(4, activation=keras.layers.Lambda(lambda x: x))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: dense(activation=own_function), "Dense.activation is the custom function 'relu'"),
        (lambda: dense(activation=in_disguise), "Dense.activation is the custom function 'relu'"),
        (
            lambda: dense(activation=keras.layers.ReLU(0.5).call),
            "custom function 'ReLU.call'",
        ),
        (
            lambda: dense(kernel_regularizer=own_layer(keras.regularizers.L2)()),
            "Dense is a custom regularizer",
        ),
        (
            lambda: sequential(keras.layers.Lambda(lambda x: x)),
            "^Lambda is not among the supported l",
        ),
        (lambda: sequential(adapted()), "^Normalization is not among the supported layers$"),
        (lambda: sequential(own_layer(keras.layers.Dense)(4)), "^Dense is a custom layer$"),
        (lambda: sequential(constant_layer()), "scale is an array"),
        (lambda: sequential(patched()), "function"),
        (
            lambda: dense(kernel_regularizer="l1"),
            r"^L1 is not .* regularizers \(Dense.kernel_regularizer\)$",
        ),
        (lambda: sequential(quantized_policy()), "Lambda"),
        (
            lambda: sequential(loss=lambda y, p: keras.ops.mean(y - p)),
            "the loss is the custom",
        ),
        (lambda: sequential(metrics=[lambda y, p: keras.ops.mean(y - p)]), "function"),
        (
            lambda: sequential(
                loss=type("MeanSquaredError", (keras.losses.MeanSquaredError,), {})()
            ),
            "^MeanSquaredError is a custom loss$",
        ),
        (
            lambda: sequential(metrics=[type("AUC", (keras.metrics.AUC,), {})()]),
            "AUC is a custom metric",
        ),
        (
            lambda: sequential(optimizer=type("Adam", (keras.optimizers.Adam,), {})()),
            "Adam is a custom opt",
        ),
        (lambda: sequential(optimizer=keras.optimizers.SGD(lambda: 0.1)), "function"),
        (
            lambda: sequential(optimizer=keras.optimizers.Lamb()),
            "^Lamb is not among the supported optimizers$",
        ),
    ],
)
def test_a_model_with_an_unsupported_part_has_no_signature_and_the_error_names_it(
    build, reason, data
):
    model = build()
    keras_internals.build(model, TensorDataset.of(*data).example())
    with pytest.raises(signatures.NotShareableError, match=reason):
        signatures.training_signature(model)


def test_metrics_that_are_not_built_share_nothing(data):
    with pytest.raises(signatures.NotShareableError, match="built in training only"):
        signatures.training_signature(sequential(metrics=["mae"]))


def test_a_subclass_of_model_shares_nothing(data):
    class Own(keras.Sequential):
        def train_step(self, data):
            return super().train_step(data)

    model = Own([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(signatures.NotShareableError, match="Own"):
        signatures.training_signature(model)


def test_layers_that_hold_constants_have_separate_graphs(data):
    def scaled(by):
        return lambda: sequential(keras.layers.Lambda(lambda x: x * by))

    for by in (1.0, 3.0):
        assert_same_training(scaled(by), *data)
        keras.utils.set_random_seed(0)
        (model,) = build_twins(scaled(by), 1)
        predicted = engine.predict(model, data[0], engine="auto", verbose=0)
        assert np.array_equal(predicted, model.predict(data[0], verbose=0))


def test_adapted_layers_have_separate_graphs(data):
    def normalized(shift):
        def build():
            layer = keras.layers.Normalization()
            layer.adapt(data[0] + shift)
            return sequential(layer)

        return build

    for shift in (0, 5):
        assert_same_training(normalized(shift), *data)


def test_the_settings_of_keras_are_part_of_what_must_be_equal(data):
    first = signature(dense(), data)
    before = keras.config.epsilon()
    try:
        keras.config.set_epsilon(1e-3)
        assert signature(dense(), data) != first
    finally:
        keras.config.set_epsilon(before)


def fit(data, **params):
    settings = {"loss": "mse", "epochs": 2, "verbose": 0, "random_state": 0}
    return GuardedKerasRegressor(build_for, **(settings | params)).fit(data[0], data[1][:, 0])


def build_for(units=8):
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(1)]
    )


def test_the_cache_holds_a_handful_of_graphs(data):
    for units in range(1, 20):
        fit(data, units=units)
    assert len(CACHE) == 16


class _Fake(Graph):
    def __init__(self, n_bytes):
        self.n_bytes = n_bytes

    def bind(self, model):
        pass

    def release(self):
        pass


def lend(store, key, n_bytes=1):
    with store.lend(key, None, lambda: _Fake(n_bytes)) as graph:
        return graph


def test_the_cache_is_bounded_by_bytes_and_drops_the_least_recently_used():
    store = GraphCache(max_graphs=10, max_bytes=100)
    a, b = lend(store, "a", 40), lend(store, "b", 40)
    assert lend(store, "a") is a
    c = lend(store, "c", 40)
    assert lend(store, "a") is a
    assert lend(store, "c") is c
    assert lend(store, "b", 10) is not b


def test_a_graph_that_is_too_large_is_not_kept():
    store = GraphCache(max_bytes=10)
    lend(store, "a", 11)
    assert len(store) == 0


def test_a_graph_is_lent_to_one_user_at_a_time():
    store = GraphCache()
    with (
        store.lend("a", None, lambda: _Fake(1)) as one,
        store.lend("a", None, lambda: _Fake(1)) as other,
    ):
        assert one is not other
    assert len(store) == 1


def test_a_graph_that_was_in_use_when_something_failed_is_dropped():
    store = GraphCache()
    with pytest.raises(KeyboardInterrupt), store.lend("a", None, lambda: _Fake(1)):
        raise KeyboardInterrupt
    assert len(store) == 0


def test_two_threads_that_fit_and_predict_the_same_do_not_meet(data):
    expected = {seed: fit(data, random_state=seed) for seed in range(4)}
    predictions = {seed: e.predict(data[0]) for seed, e in expected.items()}
    failures = []

    def work(seed):
        for _ in range(3):
            estimator = fit(data, random_state=seed)
            if not np.array_equal(estimator.predict(data[0]), predictions[seed]):
                failures.append(seed)
            if not np.array_equal(expected[seed].predict(data[0]), predictions[seed]):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_models_that_were_trained_do_not_change_when_others_are(data):
    first = fit(data)
    weights, predicted = first.model_.get_weights(), first.predict(data[0])
    fit(data, random_state=1)
    assert same(first.model_.get_weights(), weights)
    assert np.array_equal(first.predict(data[0]), predicted)


def test_graphs_are_dropped_on_request(data):
    fit(data).predict(data[0])
    assert len(CACHE) == 2
    engine.clear_graphs()
    assert len(CACHE) == 0


def test_the_cache_keeps_no_model_alive(data):
    first, second = fit(data), fit(data)
    variable = weakref.ref(second.model_.trainable_variables[0].value)
    models = weakref.ref(first.model_), weakref.ref(second.model_)
    del first, second
    gc.collect()
    assert [m() for m in models] == [None, None]
    assert variable() is None


def test_the_graph_of_a_model_of_its_own_goes_with_the_model(data):
    def build():
        return sequential(keras.layers.Lambda(lambda x: x + 1))

    model = build()
    engine.train(model, *data, engine="fused", **FIT)
    assert len(CACHE) == 1
    del model
    gc.collect()
    engine.train(dense(), *data, engine="fused", **FIT)
    assert len(CACHE) == 1


def test_nothing_of_the_cache_is_in_pickles(data):
    before = fit(data)
    size = len(pickle.dumps(before))
    before.predict(data[0])
    assert len(pickle.dumps(before)) == size
    engine.clear_graphs()
    assert len(pickle.dumps(before)) == size


def _count_after_fork(pipe):
    pipe.send(len(CACHE))
    pipe.close()
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_without_graphs(data):
    fit(data)
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_count_after_fork, args=(send,))
    process.start()
    assert receive.poll(30)
    assert receive.recv() == 0
    process.join(10)
    assert process.exitcode == 0
    assert len(CACHE) > 0


def test_a_graph_cannot_be_bound_to_a_model_with_other_variables(data):
    engine.train(dense(8), *data, engine="fused", **FIT)
    ((_, graph),) = CACHE._waiting.items()
    with pytest.raises(ValueError, match="differ"):
        graph.bind(dense(9))


def test_models_of_different_learning_rates_share_a_graph(data, n_traces):
    def with_rate(rate):
        return lambda: sequential(optimizer=keras.optimizers.SGD(rate))

    for rate in (0.1, 0.01):
        (history, _), (ours, _) = train_both(with_rate(rate), *data)
        assert ours == history
    assert len(n_traces) == 1
