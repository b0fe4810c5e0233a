"""Private parts of Keras that the engine uses are where it expects them, or not needed."""

import keras
import numpy as np
import pytest

from skguard._repairs import keras_internals
from tests.engine.parity import assert_same_training


def build():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


class Unbuilt(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = keras.layers.Dense(1)

    def call(self, x):
        return self.inner(x)


def build_unbuilt():
    model = Unbuilt()
    model.compile("adam", "mse", metrics=["mae"])
    return model


@pytest.mark.parametrize(
    "name",
    [
        "_symbolic_build",
        "_compile_loss",
        "_compile_metrics",
        "_flatten_layers",
        "_initial_epoch",
        "_distribute_strategy",
    ],
)
def test_keras_still_has(name):
    assert hasattr(build(), name)


def test_keras_still_has_the_flag_behind_trainable():
    model = build()
    layer = model.layers[0]
    layer.trainable = False
    assert layer._trainable is False
    model._trainable = False
    model.trainable = False  # has no effect, as the model has the value already
    layer._trainable = True
    model.trainable = False
    assert layer.trainable


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD(), keras.optimizers.Adam()])
@pytest.mark.parametrize("scaled", [False, True])
def test_an_optimizer_reports_the_variables_that_it_was_built_for(optimizer, scaled):
    optimizer = optimizer.from_config(optimizer.get_config())
    outer = keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer
    variables = build().trainable_variables
    outer.build(variables)
    found = keras_internals.optimized_variables(outer)
    assert [id(variable) for variable in found] == [id(variable) for variable in variables]


def test_everything_is_built_before_tracing(rng):
    batch = rng.random((2, 4)).astype("float32"), rng.random((2, 1)).astype("float32")
    for builder in (build, build_unbuilt):
        model = builder()
        keras_internals.build(model, batch)
        assert model.built
        assert model.optimizer.built
        assert len(model.metrics_variables) == 4


@pytest.mark.parametrize("builder", [build, build_unbuilt])
def test_training_is_the_same_without_them(builder, rng, monkeypatch):
    monkeypatch.setattr(keras_internals, "_build_compiled", lambda model, batch: False)
    monkeypatch.setattr(keras.Model, "_symbolic_build", property(lambda self: None))
    X = rng.random((20, 4)).astype("float32")
    assert_same_training(builder, X, X[:, :1], validation_split=0.2)


def test_layers_within_layers_are_found_without_them():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="deep")])

    class Plain:
        layers = [inner]  # noqa: RUF012

    assert "deep" in [layer.name for layer in keras_internals.all_layers(Plain())]


def test_settings_do_not_change_by_use(rng):
    X = rng.random((20, 4))
    model = build()
    model.fit(X, X[:, 0], verbose=0)
    before = keras_internals.settings(model)
    model.fit(X, X[:, 0], verbose=0)
    model.predict(X, verbose=0)
    assert keras_internals.settings(model) == before
    model.layers[0].use_bias = False
    assert keras_internals.settings(model) != before
    assert np.isfinite(model.predict(X, verbose=0)).all()


def test_a_model_without_an_input_layer_is_built_for_batches_of_any_size(rng):
    import tensorflow as tf

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    batch = tf.constant(rng.random((2, 4)), tf.float32), tf.constant(rng.random((2, 1)), tf.float32)
    keras_internals.build(model, batch)
    assert model.inputs[0].shape == (None, 4)


def functional(*layers, shape=(4,)):
    """Return the symbolic output of layers that are called one after the other."""
    tensor = keras.Input(shape)
    for layer in layers:
        tensor = layer(tensor)
    return tensor


L = keras.layers


def nested(*layers):
    return keras.Sequential([keras.Input((4,)), *layers])


LAST_ACTIVATIONS = {
    "dense": ((L.Dense(3, "softmax"),), "softmax"),
    "linear": ((L.Dense(3),), "linear"),
    "function": ((L.Dense(3, keras.activations.sigmoid),), "sigmoid"),
    "operation": ((L.Dense(3, keras.ops.sigmoid),), None),
    "custom_function": ((L.Dense(3, lambda x: x),), None),
    "activation": ((L.Dense(3), L.Activation("softmax")), "softmax"),
    "softmax_layer": ((L.Dense(3), L.Softmax()), "softmax"),
    "softmax": ((L.Dense(3), keras.ops.softmax), "softmax"),
    "sigmoid": ((L.Dense(3), keras.ops.sigmoid), "sigmoid"),
    "activation_after_softmax": ((L.Dense(3, "softmax"), L.Activation("tanh")), "tanh"),
    "dropout": ((L.Dense(3, "softmax"), L.Dropout(0.5)), "softmax"),
    "identity": ((L.Dense(3, "softmax"), L.Identity()), "softmax"),
    "flatten": ((L.Dense(3, "softmax"), L.Flatten()), "softmax"),
    "reshape": ((L.Dense(6), L.Reshape((2, 3)), L.Softmax()), "softmax"),
    "reshape_sigmoid": ((L.Dense(6, "sigmoid"), L.Reshape((2, 3))), "sigmoid"),
    "reshape_to_steps": ((L.Dense(3, "softmax"), L.Reshape((1, 3))), "softmax"),
    "reshape_softmax": ((L.Dense(6, "softmax"), L.Reshape((2, 3))), None),
    "permuted": ((L.Dense(6), L.Reshape((2, 3)), L.Softmax(), L.Permute((2, 1))), None),
    "permuted_square": ((L.Dense(4), L.Reshape((2, 2)), L.Softmax(), L.Permute((2, 1))), None),
    "kept_order": ((L.Dense(4), L.Reshape((2, 2)), L.Softmax(), L.Permute((1, 2))), "softmax"),
    "over_steps": ((L.Dense(6), L.Reshape((2, 3)), L.Softmax(axis=1)), None),
    "over_the_last_axis": ((L.Dense(6), L.Reshape((2, 3)), L.Softmax(axis=2)), "softmax"),
    "operation_over_steps": (
        (L.Dense(6), L.Reshape((2, 3)), lambda x: keras.ops.softmax(x, axis=1)),
        None,
    ),
    "nested": ((nested(L.Dense(3, "softmax")),), "softmax"),
    "nested_twice": ((nested(nested(L.Dense(3, "softmax"))), L.Dropout(0.1)), "softmax"),
    "nested_linear": ((nested(L.Dense(3)), L.Softmax()), "softmax"),
    "steps": ((L.Reshape((2, 2)), L.TimeDistributed(L.Dense(3, "softmax"))), "softmax"),
    "dense_per_step": ((L.Reshape((2, 2)), L.Dense(3, "softmax")), "softmax"),
    "convolution": ((L.Reshape((2, 2)), L.Conv1D(3, 1, activation="sigmoid")), "sigmoid"),
    "input": ((), None),
    "sum": ((lambda x: x + 1.0,), None),
    "normalization": ((L.Dense(3, "softmax"), L.BatchNormalization()), None),
    "rescaled": ((L.Dense(1, "sigmoid"), L.Rescaling(10.0)), None),
    "recurrent": ((L.Reshape((2, 2)), L.SimpleRNN(3)), None),
}


@pytest.mark.parametrize(("layers", "name"), LAST_ACTIVATIONS.values(), ids=LAST_ACTIVATIONS)
def test_the_activation_that_an_output_is_the_result_of_is_found(layers, name):
    assert keras_internals.last_activation(functional(*layers)) == name


def test_the_activation_of_a_custom_layer_is_unknown():
    class Scaled(L.Dense):
        def call(self, inputs):
            return 10 * super().call(inputs)

    @keras.saving.register_keras_serializable("tests")
    class Softmax(L.Layer):
        def call(self, inputs):
            return inputs

    assert keras_internals.last_activation(functional(Scaled(3, "softmax"))) is None
    assert keras_internals.last_activation(functional(Softmax())) is None
    subclass = type("Renamed", (L.Dense,), {})
    assert keras_internals.last_activation(functional(subclass(3, "softmax"))) == "softmax"


def test_the_activation_of_a_subclassed_model_is_unknown():
    assert keras_internals.last_activation(functional(Unbuilt())) is None


def test_a_shared_layer_has_the_activation_of_each_of_its_calls():
    inputs = keras.Input((4,))
    shared, dropout = L.Activation("softmax"), L.Dropout(0.1)
    outputs = [
        shared(L.Dense(3)(inputs)),
        dropout(L.Dense(3, "sigmoid")(inputs)),
        dropout(L.Dense(3, "tanh")(inputs)),
        shared(L.Dense(3, "relu")(inputs)),
    ]
    found = [keras_internals.last_activation(tensor) for tensor in outputs]
    assert found == ["softmax", "sigmoid", "tanh", "softmax"]


def test_each_output_of_a_nested_model_has_its_activation():
    inputs = keras.Input((4,))
    heads = [L.Dense(3, "softmax")(inputs), L.Dense(1, "sigmoid")(inputs)]
    inner = keras.Model(inputs, heads)
    outer = [inner(keras.Input((4,))), inner(keras.Input((4,)))]
    found = [[keras_internals.last_activation(t) for t in pair] for pair in outer]
    assert found == [["softmax", "sigmoid"]] * 2


def test_the_activation_of_something_else_than_a_symbolic_tensor_is_unknown():
    assert keras_internals.last_activation(np.zeros(3)) is None


@pytest.mark.parametrize("shuffle", [False, True, "batch"])
def test_indices_are_in_the_order_in_which_keras_draws_samples(shuffle):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    drawn = []
    model.train_step = lambda data: drawn.extend(data[0].numpy().ravel()) or {"loss": 0.0}
    X = np.arange(50, dtype="float32")[:, np.newaxis]
    keras.utils.set_random_seed(3)
    model.fit(X, X, batch_size=8, shuffle=shuffle, verbose=0)
    keras.utils.set_random_seed(3)
    batches = keras_internals.batched_indices(50, 8, shuffle)
    assert [int(i) for batch in batches for i in batch] == [int(i) for i in drawn]


def test_mapped_arrays_are_loaded_without_the_order_of_keras(monkeypatch, tmp_path):
    from skguard import _engine as engine

    monkeypatch.setattr(engine.mapped, "MIN_BYTES", 1)
    monkeypatch.setattr(keras_internals, "batched_indices", property(lambda self: None))
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", "float32", (20, 4))
    X[:] = np.random.default_rng(0).normal(size=X.shape)
    model = build()
    run = engine.train(model, X, np.array(X[:, :1]), engine="keras", epochs=1, verbose=0)
    assert np.isfinite(run.history["loss"][0])
