"""The order of the samples in the fused engine."""

import keras
import numpy as np

from skguard import _engine as engine
from tests.engine.parity import (
    build_twins,
    same,
    values_of,
)
from tests.engine.recording import (
    diverging,
    watch_blocks,
)


class Watched(keras.layers.Layer):
    """Passes every training batch to a function."""

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


def test_every_sample_occurs_once_per_epoch_and_in_another_order_each_epoch():
    shuffled = orders(0)
    flat = [[i for batch in epoch for i in batch] for epoch in shuffled]
    assert all(sorted(order) == list(range(10)) for order in flat)
    assert flat[0] != flat[1] != flat[2] != flat[0]
    assert all(order != sorted(order) for order in flat)


def test_the_same_seed_gives_the_same_order():
    assert orders(0) == orders(0)
    assert orders(0) != orders(1)


def test_samples_shuffled_within_batches_stay_in_their_batch():
    shuffled = orders(0, shuffle="batch")
    assert all(
        [sorted(batch) for batch in epoch] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        for epoch in shuffled
    )
    assert shuffled[0] != shuffled[1]


def test_samples_that_are_not_shuffled_keep_their_order():
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
