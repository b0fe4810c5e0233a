"""Every operation of ``keras.ops``: its graph is shared, and gives the numbers of Keras.

The names come from Keras, so that a release that adds one is tried.
"""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

from skguard import _engine as engine
from skguard._engine.tensorflow.cache import CACHE
from skguard._engine.tensorflow.signatures import Sharing, prediction_signature
from tests.engine.parity import assert_same_training, build_twins, trace_on_another

INPUTS = [(3, 4), (4, 3)]
# What is tried for an operation, in this order: arguments after the first, which is a tensor.
ARGUMENTS = [
    lambda x, z: (x,),
    lambda x, z: (x, x + 1),
    lambda x, z: (x, z),
    lambda x, z: (x, 2),
    lambda x, z: (x, -1),
    lambda x, z: (x, 0.5),
    lambda x, z: ([x, x],),
    lambda x, z: (x > 0,),
    lambda x, z: (x > 0, x, -x),
    lambda x, z: (x, -1.0, 1.0),
    lambda x, z: (x, (-1, 4, 3)),
    lambda x, z: (x, 1, 2),
    lambda x, z: (x, "float32"),
    lambda x, z: (ops.cast(ops.abs(x), "int32"),),
    lambda x, z: (ops.cast(ops.abs(x), "int32"), ops.cast(ops.abs(x) + 1, "int32")),
    lambda x, z: (ops.cast(ops.abs(x), "int32"), 5),
    lambda x, z: (ops.cast(ops.abs(x), "int32"), 1),
    lambda x, z: (x, ops.cast(ops.abs(x), "int32")),
    lambda x, z: (ops.cast(ops.abs(x[..., 0]), "int32"), x),
    lambda x, z: (x, [[0, 0], [1, 0], [0, 1]]),
    lambda x, z: (x, x, -1),
    lambda x, z: (x[..., :3], x[..., :3]),
    lambda x, z: (x[..., :2],),
    lambda x, z: (ops.matmul(x, ops.transpose(x, (0, 2, 1))) + 9 * np.eye(3, dtype="float32"),),
    lambda x, z: (x, 3, 1),
    lambda x, z: (x, 2, -1),
    lambda x, z: (x, ops.cast(x > 1, "int32"), 1),
    lambda x, z: ("nij,njk->nik", x, z),
    lambda x, z: (ops.matmul(x, z),),
    lambda x, z: (ops.matmul(x, z), ops.matmul(x, z)[..., 0]),
    lambda x, z: (ops.expand_dims(x, -1), 2),
    lambda x, z: (ops.expand_dims(x, -1), (4, 4)),
    lambda x, z: (x, ops.convert_to_tensor(np.ones((2, 4, 5), "float32"))),
    lambda x, z: (ops.expand_dims(x, -1), np.ones((2, 2, 1, 3), "float32")),
    lambda x, z: ((x, x),),
]
# Operations that take functions, whose code decides what they compute.
OF_FUNCTIONS = {
    "associative_scan", "cond", "custom_gradient", "fori_loop", "jvp", "map", "scan", "switch",
    "vectorize", "vectorized_map", "while_loop",
}  # fmt: skip
# What has no result per sample: it is computed when the model is made.
NOT_IN_MODELS = {
    "arange", "array", "bartlett", "blackman", "convert_to_numpy", "convert_to_tensor", "dtype",
    "empty", "eye", "full", "geomspace", "hamming", "hanning", "identity", "is_tensor",
    "kaiser", "linspace", "logspace", "ndim", "ones", "shape", "size", "tri", "zeros",
    # Over all samples of a batch at once, or of arrays that are known beforehand.
    "allclose", "broadcast_to", "correlate", "ctc_loss", "diag", "diagflat", "dot", "fold",
    "histogram", "inner", "istft", "lstsq", "meshgrid", "outer", "psnr", "scatter",
    "searchsorted", "segment_max", "segment_min", "segment_prod", "segment_sum", "slice",
    "vander", "vdot",
}  # fmt: skip
# What fails in a model, in some releases of Keras: TensorFlow has to know the size of the batch, or
# takes other types.
NOT_IN_BATCHES = {
    "array_split", "batch_normalization", "bincount", "conv_transpose", "corrcoef",
    "ctc_decode", "gcd", "in_top_k", "isin", "kron", "lcm", "lu_factor", "nanmedian",
    "rearrange", "scatter_update", "slice_update", "unfold", "unravel_index",
    "view_as_complex", "vsplit",
}  # fmt: skip
NAMES = sorted(
    name
    for name in dir(ops)
    if not name.startswith("_")
    and inspect.isfunction(getattr(ops, name))
    and name not in OF_FUNCTIONS | NOT_IN_MODELS | NOT_IN_BATCHES
)
# Operations that Keras predicts: the last bits of the first depend on what is known of the batch,
# and TensorFlow does not know the shapes of the others.
SEPARATE = {"fft", "fft2", "ifft2", "irfft", "rfft", "stft"} | {
    "median",
    "nanpercentile",
    "nanquantile",
    "squeeze",
}
# Calls that none of the above is.
CALLS = {
    "depth_to_space": lambda x, z: ops.depth_to_space(ops.reshape(x, (-1, 1, 3, 4)), 2),
    "digitize": lambda x, z: ops.digitize(x, np.array([-0.5, 0.0, 0.5])),
    "get_item": lambda x, z: x[:, 1:3],
    "hsplit": lambda x, z: ops.hsplit(x, 3),
    "dot_product_attention": lambda x, z: ops.dot_product_attention(*3 * (x[:, None],)),
    "rot90": lambda x, z: ops.rot90(x, 1, (1, 2)),
    "select": lambda x, z: ops.select([x > 0, x < -1], [x, -x], 0.5),
    "separable_conv": lambda x, z: ops.separable_conv(
        x, zeros(2, 4, 1) + 0.1, zeros(1, 4, 3) + 0.2
    ),
    "space_to_depth": lambda x, z: ops.space_to_depth(ops.reshape(x, (-1, 2, 2, 3)), 2),
    "sparse_categorical_crossentropy": lambda x, z: ops.sparse_categorical_crossentropy(
        ops.cast(x[..., 0] > 0, "int32"), ops.softmax(x)
    ),
    "stack": lambda x, z: ops.stack([x, -x], axis=1),
    "stft": lambda x, z: ops.stft(ops.reshape(x, (-1, 12)), 4, 2, 4),
    "take": lambda x, z: ops.take(x, [0, 2], axis=1),
    "take_along_axis": lambda x, z: ops.take_along_axis(x, ops.argsort(x), axis=-1),
    "transpose": lambda x, z: ops.transpose(x, (0, 2, 1)),
}


def zeros(*shape):
    return np.zeros(shape, "float32")


def called(name, x, z):
    """Return the symbolic results per sample of an operation, or None."""
    if name in CALLS:
        return _with_rows(CALLS[name](x, z))
    for arguments in ARGUMENTS:
        try:
            result = getattr(ops, name)(*arguments(x, z))
            getattr(ops, name)(*arguments(*some_numbers()))
        except Exception:  # of other arguments
            continue
        if found := _with_rows(result):
            return found
    return None


def some_numbers(n_samples=5):
    rng = np.random.default_rng(0)
    return [ops.convert_to_tensor(rng.normal(size=(n_samples, *s)), "float32") for s in INPUTS]


def _with_rows(result):
    tensors = [t for t in keras.tree.flatten(result) if isinstance(t, keras.KerasTensor)]
    return [t for t in tensors if t.shape and t.shape[0] is None and not t.sparse]


def model_of(names):
    """Return a model function with one output per result of some operations."""

    def build():
        keras.utils.clear_session()  # so that Keras's numbers start again
        x, z = map(keras.Input, INPUTS)
        h = keras.layers.Dense(4)(x)
        outputs = [t for name in names for t in called(name, h, z)]
        return keras.Model([x, z], outputs)

    return build


SHARED = [name for name in NAMES if name not in SEPARATE]


@pytest.mark.parametrize("first", range(0, len(SHARED), 40))
def test_operations_predict_as_with_keras_on_a_graph_traced_on_another_model(first):
    build = model_of(SHARED[first : first + 40])
    other, model = build_twins(build)
    assert Sharing.of(prediction_signature, model).obstacle is None
    for variable in other.weights:
        variable.assign(variable + 0.1)
    X = [np.array(x) for x in some_numbers(21)]
    engine.predict(other, X, engine="auto", verbose=0, batch_size=8)
    assert len(CACHE) == 1
    ours = engine.predict(model, X, engine="auto", verbose=0, batch_size=8)
    assert len(CACHE) == 1
    theirs = model.predict(X, verbose=0, batch_size=8)
    for tensor, one, another in zip(model.outputs, ours, theirs, strict=True):
        np.testing.assert_array_equal(one, another, err_msg=tensor.name, strict=True)


@pytest.mark.parametrize("name", sorted(SEPARATE))
def test_other_operations_predict_as_with_keras(name):
    (model,) = build_twins(model_of([name]), 1)
    X = [np.array(x) for x in some_numbers(21)]
    theirs = keras.tree.flatten(model.predict(X, verbose=0, batch_size=8))
    ours = engine.predict(model, X, engine="auto", verbose=0, batch_size=8)
    for one, another in zip(keras.tree.flatten(ours), theirs, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(another))


@pytest.mark.parametrize("name", NAMES)
def test_every_operation_is_tried(name):
    assert called(name, *map(keras.Input, INPUTS)), (
        f"keras.ops.{name} is new: add a call to CALLS, or its name to NOT_IN_MODELS"
    )


def test_operators_are_trained_on_a_graph_traced_on_another_model(rng, n_traces):
    def build():
        keras.utils.clear_session()
        inputs = keras.Input((4,))
        h = -(keras.layers.Dense(6)(inputs)[:, :4] ** 2) / 2
        h = ops.tanh(h) + 3 * ops.relu(h - 0.5)
        model = keras.Model(inputs, keras.layers.Dense(1)(h))
        model.compile("adam", "mse")
        return model

    X = rng.normal(size=(44, 4)).astype("float32")
    trace_on_another(build, X, X[:, :1])
    assert_same_training(build, X, X[:, :1])
    assert len(n_traces) == 1


@pytest.mark.parametrize(
    "gate",
    [
        ops.silu,
        lambda h: h * ops.sigmoid(h),
        lambda h: ops.sigmoid(h) * h,
        lambda h: keras.layers.Multiply()([h, keras.layers.Activation("sigmoid")(h)]),
        lambda h: keras.layers.Activation("silu")(h),
    ],
)
def test_what_rounds_differently_in_loops_is_trained_one_batch_after_the_other(gate, rng):
    def build():
        inputs = keras.Input((4,))
        h = gate(keras.layers.Dense(8)(inputs))
        model = keras.Model(inputs, keras.layers.Dense(1)(h))
        model.compile("adam", "mse")
        return model

    X = rng.normal(size=(44, 4)).astype("float32")
    for _ in range(2):  # a second fit would use the loops
        assert_same_training(build, X, X[:, :1], epochs=25)
