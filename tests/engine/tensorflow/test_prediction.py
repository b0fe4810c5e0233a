"""``Model.predict``'s numbers, batch by batch, without its pipeline."""

import keras
import numpy as np
import pytest

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard import _engine as engine
from skguard._engine import prediction as prediction_loop
from skguard._engine.tensorflow import prediction
from skguard._engine.tensorflow.cache import CACHE
from tests.engine.cases import CASES, data_of
from tests.engine.parity import build_twins


@pytest.mark.parametrize("n_samples", [1, 37, 64])
@pytest.mark.parametrize("name", [
    "dense", "batch normalization", "swish", "cnn", "lstm", "transformer", "two inputs",
    "inputs by name", "two outputs", "outputs by name", "mixed precision", "embedding",
])  # fmt: skip
def test_predictions_are_those_of_keras_also_on_a_graph_traced_on_another_model(name, n_samples):
    build = CASES[name][0]
    x, _ = data_of(name, n_samples)
    other, model = build_twins(build)
    for variable in other.weights:
        variable.assign(variable + 0.1)
    for batch_size in (None, 16):
        engine.predict(other, x, engine="auto", verbose=0, batch_size=batch_size)
        n_graphs = len(CACHE)
        ours = engine.predict(model, x, engine="auto", verbose=0, batch_size=batch_size)
        assert len(CACHE) == n_graphs
        theirs = model.predict(x, verbose=0, batch_size=batch_size)
        assert type(ours) is type(theirs)
        equal = keras.tree.map_structure(np.array_equal, ours, theirs)
        assert all(keras.tree.flatten(equal))


@pytest.fixture
def model():
    (model,) = build_twins(CASES["dense"][0], 1)
    return model


@pytest.fixture
def X(rng):  # noqa: N802 - the name that it has everywhere
    return rng.standard_normal((100, 8)).astype("float32")


def test_samples_become_tensors_in_parts_of_bounded_size(model, X, monkeypatch):
    expected, sizes, run = model.predict(X, verbose=0), [], prediction.PredictionGraph.run

    def counted(self, x, batch_size):
        sizes.append(len(x))
        return run(self, x, batch_size)

    monkeypatch.setattr(prediction.PredictionGraph, "run", counted)
    monkeypatch.setattr(prediction_loop, "BYTES_PER_CALL", 32 * 64)
    assert np.array_equal(engine.predict(model, X, engine="auto", verbose=0), expected)
    assert sizes == [64, 36]


class Hooks(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_predict_begin(self, logs=None):
        self.seen.append(("begin", self.params))

    def on_predict_batch_begin(self, batch, logs=None):
        self.seen.append(("batch begin", batch))

    def on_predict_batch_end(self, batch, logs=None):
        self.seen.append(("batch end", batch, np.array(logs["outputs"]).tolist()))

    def on_predict_end(self, logs=None):
        self.seen.append(("end", logs))


@pytest.mark.parametrize(("steps", "n_hooks"), [(1, 10), (3, 6)])
def test_callbacks_see_what_they_see_in_keras(model, X, steps, n_hooks):
    model.compile(loss="mse", steps_per_execution=steps)
    ours, theirs = Hooks(), Hooks()
    engine.predict(model, X, engine="auto", verbose=0, callbacks=[ours])
    model.predict(X, verbose=0, callbacks=[theirs])
    assert len(ours.seen) == n_hooks
    assert ours.seen == theirs.seen


def test_a_callback_can_stop(model, X):
    class Stop(keras.callbacks.Callback):
        def on_predict_batch_end(self, batch, logs=None):
            self.model.stop_predicting = True

    assert len(engine.predict(model, X, engine="auto", verbose=0, callbacks=[Stop()])) == 32


def test_the_bar_of_keras_is_shown(model, X, capsys):
    engine.predict(model, X, engine="auto", verbose=1)
    assert "4/4" in capsys.readouterr().out


def test_other_data_is_predicted_by_keras(model, X):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(X).batch(10)
    expected = model.predict(X, verbose=0)
    assert np.allclose(
        engine.predict(model, dataset, engine="auto", verbose=0), expected, atol=1e-6
    )
    assert engine.predict(model, X, engine="auto", verbose=0, steps=2).shape == (100, 3)


def test_a_custom_predict_is_called(X):
    class Custom(keras.Sequential):
        def predict(self, x, **kwargs):
            return "custom"

    model = Custom([keras.Input((8,)), keras.layers.Dense(1)])
    assert engine.predict(model, X, engine="auto", verbose=0) == "custom"


def test_a_custom_predict_step_is_used(X):
    class Custom(keras.Sequential):
        def predict_step(self, data):
            return super().predict_step(data) + 1

    model = Custom([keras.Input((8,)), keras.layers.Dense(1)])
    ours = engine.predict(model, X, engine="auto", verbose=0)
    assert np.array_equal(ours, model.predict(X, verbose=0))


class Rough(keras.layers.Layer):
    """Its last bits depend on whether the number of samples is known, in any order of sizes."""

    def call(self, x):
        known = x.shape[0] is not None
        return x * (1 + 2e-7) if known else x


@pytest.mark.parametrize("sizes", [(100, 100), (7, 9, 7, 100), (64, 100, 32), (1, 2, 40)])
def test_a_layer_that_knows_the_batch_size_predicts_as_with_keras(X, sizes):
    layers = [keras.layers.Dense(3), Rough(), keras.layers.Dense(2)]
    ours = keras.Sequential([keras.Input((8,)), *layers])
    theirs = keras.models.clone_model(ours)
    theirs.set_weights(ours.get_weights())
    for size in sizes:
        expected = theirs.predict(X[:size], verbose=0)
        assert np.array_equal(engine.predict(ours, X[:size], engine="auto", verbose=0), expected)


def test_a_convolutional_lstm_predicts_as_with_keras(rng):
    x = rng.standard_normal((45, 3, 6, 6, 2)).astype("float32")
    layers = [keras.layers.ConvLSTM2D(3, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((3, 6, 6, 2)), *layers])
    ours = engine.predict(model, x, engine="auto", verbose=0)
    assert np.array_equal(ours, model.predict(x, verbose=0))


def test_errors_are_those_of_keras(model, X):
    with pytest.raises(ValueError, match="incompatible"):
        engine.predict(model, X[:, :5], engine="auto", verbose=0)


def test_folds_predict_without_a_new_trace(blobs, monkeypatch):
    traces, trace = [], prediction.PredictionGraph.__init__

    def counted(self, *args):
        traces.append(self)
        trace(self, *args)

    monkeypatch.setattr(prediction.PredictionGraph, "__init__", counted)
    X, y = blobs
    for seed in range(3):
        estimator = GuardedKerasClassifier(
            lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")]),
            loss="sparse_categorical_crossentropy",
            verbose=0,
            random_state=seed,
        ).fit(X, y)
        expected = estimator.model_.predict(X, verbose=0)
        assert np.array_equal(estimator.predict_proba(X), expected)
    assert len(traces) == 1


def test_routed_arguments_have_an_effect(line, capsys):
    estimator = GuardedKerasRegressor(
        lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]),
        loss="mse",
        verbose=0,
        predict__verbose=1,
        predict__batch_size=7,
    ).fit(*line)
    estimator.predict(line[0])
    assert "9/9" in capsys.readouterr().out
