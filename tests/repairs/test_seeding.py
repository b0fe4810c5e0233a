"""One seed gives the same numbers everywhere, and every random stream is restored."""

import os
import pickle
import random
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from joblib import Parallel, delayed, parallel_backend
from keras.src.backend.common.global_state import set_global_attribute
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from tensorflow.python.framework import config

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard._repairs import seeding
from tests.models import build_regressor


def build_noisy(meta):
    """A model with weights, masks and an input noise to draw."""
    return keras.Sequential(
        [
            keras.Input(meta["X_shape_"][1:]),
            keras.layers.GaussianNoise(0.1),
            keras.layers.Dense(8, "relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(meta["n_classes_"], "softmax"),
        ]
    )


def make_noisy(**params):
    settings = {
        "loss": "sparse_categorical_crossentropy",
        "optimizer": "adam",
        "epochs": 2,
        "batch_size": 16,
        "verbose": 0,
        "random_state": 3,
    }
    return GuardedKerasClassifier(build_noisy, **(settings | params))


def numbers_of(estimator):
    """Return every value of the history and every weight of a fit."""
    history = [np.array(estimator.history_[name]) for name in sorted(estimator.history_)]
    return history + estimator.model_.get_weights()


def same(first, second):
    return len(first) == len(second) and all(map(np.array_equal, first, second))


def draw_python():
    return [random.random() for _ in range(3)]


def draw_numpy():
    return np.random.random(3).tolist()


def draw_keras():
    return keras.ops.convert_to_numpy(keras.random.uniform((3,))).tolist()


def draw_tensorflow():
    return tf.random.uniform((3,)).numpy().tolist()


@pytest.fixture
def noisy():
    return make_noisy()


@pytest.fixture
def determinism():
    """Restore TensorFlow's determinism after a test that changes it."""
    was_on = config.is_op_determinism_enabled()
    yield
    (config.enable_op_determinism if was_on else config.disable_op_determinism)()


class FailsAtTheEnd(keras.callbacks.Callback):
    """Draws from every stream, then fails."""

    def on_epoch_end(self, epoch, logs=None):
        random.random()
        np.random.random()
        keras.random.uniform(())
        tf.random.uniform(())
        raise RuntimeError("this fit fails")


@pytest.mark.parametrize(
    ("given", "seed"),
    [
        (None, None),
        (0, 0),
        (7, 7),
        (2**32 - 1, 2**32 - 1),
        (np.int64(7), 7),
        (np.int32(7), 7),
        (np.uint8(7), 7),
    ],
    ids=repr,
)
def test_none_and_integers_are_seeds(given, seed):
    resolved = seeding.resolve(given)
    assert resolved == seed
    assert resolved is None or type(resolved) is int


@pytest.mark.parametrize(
    "value",
    [-1, 2**32, 1.5, "0", np.float64(1), [1], np.random.default_rng(0), float("nan")],
    ids=lambda value: type(value).__name__,
)
def test_any_other_random_state_raises_before_training(value, blobs):
    estimator = make_noisy(random_state=value)
    with pytest.raises(ValueError, match=r"random_state=.* is not a seed\. Pass None"):
        estimator.fit(*blobs)
    assert not hasattr(estimator, "model_")


@pytest.mark.parametrize("kind", [np.int64, np.uint32], ids=lambda kind: kind.__name__)
def test_a_numpy_integer_is_the_seed_that_its_int_is(kind, blobs, noisy):
    expected = numbers_of(noisy.fit(*blobs))
    assert same(numbers_of(make_noisy(random_state=kind(3)).fit(*blobs)), expected)


def test_the_largest_seed_fits(blobs):
    estimator = make_noisy(random_state=2**32 - 1, epochs=1).fit(*blobs)
    assert np.isfinite(estimator.history_["loss"]).all()


def test_a_random_state_object_is_read_and_never_advanced(blobs):
    state = np.random.RandomState(5)
    before = pickle.dumps(state.get_state())
    estimator = make_noisy(random_state=state)
    first = numbers_of(estimator.fit(*blobs))
    assert pickle.dumps(state.get_state()) == before
    assert same(numbers_of(estimator.fit(*blobs)), first)
    assert same(numbers_of(clone(estimator).fit(*blobs)), first)
    assert estimator.random_state is state


def test_a_random_state_object_in_another_state_is_another_seed():
    state = np.random.RandomState(5)
    first = seeding.resolve(state)
    state.random_sample()
    assert seeding.resolve(state) != first


def test_derived_seeds_differ_and_repeat():
    seeds = [seeding.derive(3, epoch) for epoch in range(20)]
    assert seeds[0] == 3
    assert len(set(seeds)) == 20
    assert seeds == [seeding.derive(3, epoch) for epoch in range(20)]
    assert seeding.derive(None, 4) is None


def test_a_second_fit_gives_the_same_numbers(blobs, noisy):
    first = numbers_of(noisy.fit(*blobs))
    assert same(numbers_of(noisy.fit(*blobs)), first)


def test_a_clone_gives_the_same_numbers_before_and_after_a_fit(blobs, noisy):
    early = clone(noisy)
    first = numbers_of(noisy.fit(*blobs))
    assert same(numbers_of(early.fit(*blobs)), first)
    assert same(numbers_of(clone(noisy).fit(*blobs)), first)


def test_a_fit_gives_the_same_numbers_whatever_was_fitted_in_between(blobs, line, noisy):
    first = numbers_of(noisy.fit(*blobs))
    make_noisy(random_state=8).fit(*blobs)
    make_noisy(random_state=None).fit(*blobs)
    GuardedKerasRegressor(build_regressor, loss="mse", verbose=0, random_state=1).fit(*line)
    keras.utils.set_random_seed(99)
    tf.random.uniform((3,))
    assert same(numbers_of(noisy.fit(*blobs)), first)


@pytest.mark.parametrize(
    "draw", [draw_python, draw_numpy, draw_keras, draw_tensorflow], ids=lambda f: f.__name__[5:]
)
def test_a_callback_draws_the_same_numbers_in_every_fit(draw, blobs, noisy):
    drawn = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: drawn.append(draw()))
    for _ in range(2):
        noisy.fit(*blobs, callbacks=[watch])
        draw()
    assert drawn[:2] == drawn[2:]
    assert drawn[0] != drawn[1]


def test_another_seed_gives_other_numbers(blobs, noisy):
    first = numbers_of(noisy.fit(*blobs))
    assert not same(numbers_of(make_noisy(random_state=4).fit(*blobs)), first)


def test_no_seed_gives_other_numbers_each_time(blobs):
    estimator = make_noisy(random_state=None)
    first = numbers_of(estimator.fit(*blobs))
    assert not same(numbers_of(estimator.fit(*blobs)), first)


def test_no_seed_uses_the_streams_that_the_caller_seeded(blobs):
    estimator = make_noisy(random_state=None)
    keras.utils.set_random_seed(11)
    first = numbers_of(estimator.fit(*blobs))
    keras.utils.set_random_seed(11)
    assert same(numbers_of(estimator.fit(*blobs)), first)


def test_a_model_object_gives_the_same_numbers_at_every_fit(blobs):
    keras.utils.set_random_seed(0)
    model = build_noisy({"X_shape_": (60, 4), "n_classes_": 3})
    estimator = GuardedKerasClassifier(
        model, loss="sparse_categorical_crossentropy", epochs=2, verbose=0, random_state=3
    )
    first = numbers_of(estimator.fit(*blobs))
    assert same(numbers_of(estimator.fit(*blobs)), first)
    assert same(numbers_of(clone(estimator).fit(*blobs)), first)


def test_processes_give_the_same_scores_as_one(blobs):
    estimator = make_noisy(epochs=1)
    serial = cross_val_score(estimator, *blobs, cv=2, n_jobs=1, error_score="raise")
    with parallel_backend("loky"):
        parallel = cross_val_score(estimator, *blobs, cv=2, n_jobs=2, error_score="raise")
    assert np.array_equal(parallel, serial)


def test_threads_give_the_same_numbers_as_one(blobs):
    X, y = blobs
    estimators = [make_noisy(random_state=seed) for seed in (0, 1, 2, 3)]
    serial = [numbers_of(clone(estimator).fit(X, y)) for estimator in estimators]
    with parallel_backend("threading", n_jobs=2):
        fitted = Parallel()(delayed(clone(est).fit)(X, y) for est in estimators)
    for one, other in zip(serial, fitted, strict=True):
        assert same(numbers_of(other), one)


def test_every_epoch_of_partial_fit_has_another_order_that_repeats():
    samples = np.arange(40, dtype="float32").reshape(-1, 1)

    def orders():
        seen = []

        def record(y_true, y_pred):
            seen.append(y_true.numpy().ravel().tolist())
            return keras.ops.mean(keras.ops.square(y_true - y_pred))

        estimator = GuardedKerasRegressor(
            build_regressor,
            loss=record,
            run_eagerly=True,
            batch_size=40,
            verbose=0,
            random_state=3,
        )
        for _ in range(3):
            estimator.partial_fit(samples, samples.ravel())
        return seen

    first = orders()
    assert len(first) == 3
    assert all(sorted(order) == samples.ravel().tolist() for order in first)
    assert first[0] != first[1] != first[2] != first[0]
    assert orders() == first


def test_partial_fit_repeats_bit_for_bit(blobs, noisy):
    twin = clone(noisy)
    for estimator in (noisy, twin):
        for _ in range(3):
            estimator.partial_fit(*blobs, classes=np.unique(blobs[1]))
    assert len(noisy.history_["loss"]) == 3
    assert same(numbers_of(noisy), numbers_of(twin))


STREAMS = pytest.mark.parametrize(
    "draw",
    [draw_python, draw_numpy, draw_keras, draw_tensorflow],
    ids=["python", "numpy", "keras", "tensorflow"],
)


def stream_around(draw, between):
    """Draws before and after `between`, all from one seeded stream."""
    keras.utils.set_random_seed(7)
    set_global_attribute("global_seed_generator", None)  # which older releases of Keras keep
    before = draw()
    between()
    return [before, draw(), draw()]


@STREAMS
def test_a_seeded_fit_restores_every_stream(draw, blobs):
    undisturbed = stream_around(draw, lambda: None)
    assert undisturbed[0] != undisturbed[1] != undisturbed[2]
    assert stream_around(draw, lambda: make_noisy().fit(*blobs)) == undisturbed


@STREAMS
def test_a_fit_that_fails_restores_every_stream(draw, blobs):
    def fail():
        with pytest.raises(RuntimeError, match="this fit fails"):
            make_noisy(callbacks=FailsAtTheEnd).fit(*blobs)

    assert stream_around(draw, fail) == stream_around(draw, lambda: None)


@STREAMS
def test_a_model_function_that_fails_restores_every_stream(draw, blobs):
    def build():
        draw()
        raise RuntimeError("no model today")

    def fail():
        with pytest.raises(RuntimeError, match="no model today"):
            GuardedKerasClassifier(build, loss="mse", verbose=0, random_state=0).fit(*blobs)

    assert stream_around(draw, fail) == stream_around(draw, lambda: None)


@STREAMS
def test_copying_an_estimator_that_holds_a_model_restores_every_stream(draw):
    model = build_noisy({"X_shape_": (60, 4), "n_classes_": 3})
    estimator = GuardedKerasClassifier(model, loss="sparse_categorical_crossentropy", verbose=0)

    def copy():
        clone(estimator)
        pickle.loads(pickle.dumps(estimator))

    assert stream_around(draw, copy) == stream_around(draw, lambda: None)


@STREAMS
def test_predicting_restores_every_stream(draw, blobs, noisy):
    noisy.fit(*blobs)
    undisturbed = stream_around(draw, lambda: None)
    assert stream_around(draw, lambda: noisy.predict(blobs[0])) == undisturbed


def test_the_generator_object_of_keras_is_the_same_one_afterwards(blobs, noisy):
    from keras.src.random.seed_generator import global_seed_generator

    keras.utils.set_random_seed(7)
    generator = global_seed_generator()
    state = np.array(generator.state)
    noisy.fit(*blobs)
    assert global_seed_generator() is generator
    assert np.array_equal(generator.state, state)


def test_determinism_is_off_again_after_a_seeded_fit(blobs, noisy, determinism):
    config.disable_op_determinism()
    noisy.fit(*blobs)
    assert not config.is_op_determinism_enabled()


def test_unseeded_operations_run_after_a_seeded_fit(blobs, noisy, determinism):
    X, y = blobs
    config.disable_op_determinism()
    noisy.fit(X, y)
    # With determinism left on, each of these asks for a seed.
    tf.random.set_seed(None)
    tf.random.uniform((2,))
    model = build_noisy({"X_shape_": X.shape, "n_classes_": 3})
    model.compile(loss="sparse_categorical_crossentropy")
    model.fit(X, y, verbose=0)
    make_noisy(random_state=None, epochs=1).fit(X, y)


def test_determinism_is_off_again_after_a_fit_that_fails(blobs, determinism):
    config.disable_op_determinism()
    with pytest.raises(RuntimeError, match="this fit fails"):
        make_noisy(callbacks=FailsAtTheEnd).fit(*blobs)
    assert not config.is_op_determinism_enabled()


def test_determinism_stays_on_if_the_caller_enabled_it(blobs, noisy, determinism):
    config.enable_op_determinism()
    noisy.fit(*blobs)
    assert config.is_op_determinism_enabled()


def test_determinism_is_on_while_a_seeded_fit_trains(blobs, determinism):
    config.disable_op_determinism()
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(config.is_op_determinism_enabled())
    )
    make_noisy(epochs=1).fit(*blobs, callbacks=[watch])
    make_noisy(epochs=1, random_state=None).fit(*blobs, callbacks=[watch])
    assert seen == [True, False]


def test_a_fit_leaves_the_environment_variables_unchanged(blobs, noisy):
    before = dict(os.environ)
    noisy.fit(*blobs)
    with pytest.raises(RuntimeError, match="this fit fails"):
        make_noisy(callbacks=FailsAtTheEnd).fit(*blobs)
    assert dict(os.environ) == before


def test_every_stream_can_be_restored_with_the_installed_releases():
    assert seeding.restorable() == {"keras": True, "tensorflow": True, "determinism": True}


@pytest.mark.parametrize(
    ("module", "stream"),
    [
        ("keras.src.backend.common.global_state", "keras"),
        ("tensorflow.python.eager.context", "tensorflow"),
        ("tensorflow.python.framework.config", "determinism"),
    ],
)
def test_fits_are_seeded_also_if_a_release_moves_a_stream(
    module, stream, blobs, noisy, monkeypatch
):
    monkeypatch.setitem(sys.modules, module, None)
    package, _, name = module.rpartition(".")
    monkeypatch.delattr(sys.modules[package], name)
    assert seeding.restorable() == {
        name: name != stream for name in ("keras", "tensorflow", "determinism")
    }
    # Without determinism, the order of a sum is TensorFlow's to choose.
    compare = np.allclose if stream == "determinism" else np.array_equal
    first = numbers_of(noisy.fit(*blobs))
    for again in (noisy, clone(noisy)):
        assert all(map(compare, numbers_of(again.fit(*blobs)), first))


@pytest.fixture
def clears(monkeypatch):
    """A list with an item for each time that TensorFlow's kernels were discarded."""
    context = seeding._eager_context()
    cleared, clear = [], context.clear_kernel_cache

    def counted():
        cleared.append(1)
        clear()

    monkeypatch.setattr(context, "clear_kernel_cache", counted)
    monkeypatch.setattr(seeding._WatchedSeed, "was_used", False)
    return cleared


def test_seeding_keeps_kernels_if_no_operation_kept_its_place_in_a_stream(clears):
    for _ in range(2):
        with seeding.seeded(0):
            keras.random.normal((2,))
            keras.layers.Dense(2).build((None, 3))
    assert clears == []


def test_operations_with_a_place_in_a_stream_start_again_with_each_seeding(clears):
    def draw():
        with seeding.seeded(0):
            return [float(tf.random.uniform((), seed=5)) for _ in range(2)] + [
                float(tf.random.normal(())) for _ in range(2)
            ]

    with seeding.seeded(0):
        tf.function(lambda: tf.random.normal(()))()
    first = draw()
    assert len(set(first)) == 4
    assert draw() == first
    assert len(clears) > 0


def test_the_watched_seed_gives_the_numbers_of_keras():
    with seeding.preserved():
        keras.utils.set_random_seed(3)
        expected = float(tf.random.normal(())), float(tf.random.uniform((), seed=5))
    with seeding.seeded(3):
        assert (float(tf.random.normal(())), float(tf.random.uniform((), seed=5))) == expected
