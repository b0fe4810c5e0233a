"""Large memory-mapped arrays are read in parts, with the numbers of arrays in memory."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

from skguard import GuardedKerasClassifier
from skguard._engine import mapped
from skguard._engine.mapped import MappedSamples
from skguard._engine.tensorflow import dataset as datasets
from skguard.callbacks import ScorerMonitor
from skguard.exceptions import InputValueError
from tests.engine import parity
from tests.engine.parity import same, values_of
from tests.models import build_classifier, make_classifier, make_regressor

N_SAMPLES, N_FEATURES = 203, 4
VALIDATION = [{}, {"validation_split": 0.3}, {"validation_fraction": 0.3}]


@pytest.fixture
def parts(monkeypatch):
    """Divide all mapped arrays, into parts of some 40 samples; list the sizes of the parts."""
    monkeypatch.setattr(mapped, "MIN_BYTES", 1)
    monkeypatch.setattr(mapped, "CHUNK_BYTES", 40 * N_FEATURES * 8)
    sizes = []
    read = datasets.MappedDataset.read

    def count(self, indices):
        sizes.append(len(indices))
        return read(self, indices)

    monkeypatch.setattr(datasets.MappedDataset, "read", count)
    return sizes


@pytest.fixture
def as_map(tmp_path):
    """A function that writes an array to a file, and maps it."""

    def write(array, mode="r"):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode=mode)

    return write


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    X = random.standard_normal((N_SAMPLES, N_FEATURES)).astype("float32")
    return X, (X[:, 0] + X[:, 1] > 0).astype(int), random.uniform(0.5, 2, N_SAMPLES)


def build_custom(meta):
    """A model that is trained one batch per call."""
    layers = [parity.CustomLayer(), keras.layers.Dense(meta["n_classes_"], "softmax")]
    return keras.Sequential([keras.Input(meta["X_shape_"][1:]), *layers])


def assert_same_fit(make, X, X_mapped, y, **arguments):
    """Assert that two fits, one of a mapped array, give the same numbers; return the second."""
    ours, theirs = make(), make()
    theirs.fit(X, y, **arguments)
    ours.fit(X_mapped, y, **arguments)
    assert ours.engine_ == theirs.engine_
    assert ours.engine_reason_ == theirs.engine_reason_
    assert same(ours.history_, theirs.history_)
    assert same(values_of(ours.model_), values_of(theirs.model_))
    assert same(ours.validation_indices_, theirs.validation_indices_)
    assert same(ours.predict(X_mapped), theirs.predict(X))
    return ours


@pytest.mark.parametrize(
    "validation", [{}, {"validation_split": 0.3}, {"validation_fraction": 0.3}]
)
@pytest.mark.parametrize("shuffle", [True, False, "batch"])
@pytest.mark.parametrize("model", [build_classifier, build_custom])
def test_a_mapped_array_gives_the_numbers_of_one_in_memory(
    kind, model, shuffle, validation, arrays, as_map, parts
):
    X, y, _ = arrays

    def make():
        parameters = {"epochs": 3, "batch_size": 16, "shuffle": shuffle, "metrics": ["accuracy"]}
        return make_classifier(model, engine=kind, **parameters, **validation)

    assert_same_fit(make, X, as_map(X), y)
    assert len(parts) > 6
    assert max(parts) <= 80


CASES = {
    "early stopping": {"early_stopping": True, "n_iter_no_change": 2, "epochs": 8, "tol": 0.05},
    "its scores": {"early_stopping": True, "scoring": "accuracy", "epochs": 4},
    "class weights": {"class_weight": {0: 1.0, 1: 3.0}, "validation_fraction": 0.2},
    "all batches of one size": {"batch_size": 29},
    "batches larger than a part": {"batch_size": 100, "validation_fraction": 0.3},
    "one batch": {"batch_size": -1},
    "other validation batches": {"validation_batch_size": 7, "validation_split": 0.2},
    "splitter": {"validation_split": 3},
}


@pytest.mark.parametrize("case", CASES)
def test_parameters_have_the_same_effect_on_a_mapped_array(kind, case, arrays, as_map, parts):
    X, y, _ = arrays

    def make():
        defaults = {"epochs": 2, "batch_size": 16}
        parameters = dict(CASES[case])
        weights = parameters.pop("class_weight", None)
        if weights:
            parameters["fit__class_weight"] = weights
        return make_classifier(engine=kind, **defaults | parameters)

    assert_same_fit(make, X, as_map(X), y)
    assert parts


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("validation", [{}, {"validation_fraction": 0.3}])
def test_sample_weights_belong_to_the_samples_of_a_mapped_array(
    kind, zeros, validation, arrays, as_map, parts
):
    X, y, weights = arrays
    if zeros:
        weights[::3] = 0

    def make():
        return make_classifier(engine=kind, epochs=2, **validation)

    ours = assert_same_fit(make, X, as_map(X), y, sample_weight=weights)
    assert parts
    assert ours.score(as_map(X), y, weights) == ours.score(X, y, weights)


@pytest.mark.parametrize("dtype", ["float64", "float16", ">f4", "int32", "uint8", "bool"])
def test_other_dtypes_are_converted_part_by_part(kind, dtype, arrays, as_map, parts):
    X = (10 * arrays[0]).astype("int32" if dtype == "uint8" else dtype).astype(dtype)

    def make():
        return make_classifier(engine=kind, epochs=2, validation_fraction=0.3)

    assert_same_fit(make, X, as_map(X), arrays[1])
    assert parts


def test_whole_numbers_stay_integers_for_an_input_of_integers(kind, as_map, parts):
    X = np.random.default_rng(0).integers(0, 50, (N_SAMPLES, N_FEATURES)).astype("float64")
    y = X[:, 0] % 2

    def build(meta):
        inputs = keras.Input(meta["X_shape_"][1:], dtype="int64")
        hidden = keras.layers.Flatten()(keras.layers.Embedding(50, 3)(inputs))
        return keras.Model(inputs, keras.layers.Dense(2, "softmax")(hidden))

    def make():
        return make_classifier(build, engine=kind, epochs=2, validation_fraction=0.3)

    assert_same_fit(make, X, as_map(X), y)
    assert parts


def build_two_inputs(meta):
    inputs = {"a": keras.Input((2,), name="a"), "b": keras.Input((3,), name="b")}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    outputs = keras.layers.Dense(meta["n_classes_"], "softmax")(joined)
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize(
    "validation", [{}, {"validation_split": 0.3}, {"validation_fraction": 0.3}]
)
def test_several_inputs_are_read_from_one_mapped_array(kind, validation, arrays, as_map, parts):
    X, y, _ = arrays

    def make():
        inputs = {"a": [1, 0], "b": slice(1, None)}
        return make_classifier(build_two_inputs, engine=kind, epochs=2, inputs=inputs, **validation)

    assert_same_fit(make, X, as_map(X), y)
    assert parts


@pytest.mark.parametrize("validation", [{"validation_split": 0.3}, {"validation_fraction": 0.3}])
def test_a_custom_encoder_gets_arrays(kind, validation, arrays, as_map, parts):
    class Divided(GuardedKerasClassifier):
        @property
        def feature_encoder(self):
            from sklearn.preprocessing import FunctionTransformer

            return FunctionTransformer(lambda X: {"a": X[:, :2] + 0, "b": X[:, 1:]})

    X, y, _ = arrays

    def make():
        parameters = {"verbose": 0, "random_state": 0, "engine": kind, **validation}
        return Divided(build_two_inputs, loss="sparse_categorical_crossentropy", **parameters)

    assert_same_fit(make, X, as_map(X), y)


def test_supplied_validation_data_may_be_mapped(kind, arrays, as_map, parts):
    X, y, _ = arrays

    def make():
        return make_regressor(engine=kind, epochs=2, batch_size=16)

    theirs = make().fit(X, y, X_val=X[:90], y_val=y[:90])
    for training, validation in [(X, as_map(X[:90])), (as_map(X), X[:90])]:
        ours = make().fit(training, y, X_val=validation, y_val=y[:90])
        assert same(ours.history_, theirs.history_)
        assert same(values_of(ours.model_), values_of(theirs.model_))


def test_targets_may_be_mapped(kind, arrays, as_map, parts):
    X, _, _ = arrays

    def make():
        return make_regressor(engine=kind, epochs=2)

    ours, theirs = make().fit(as_map(X), as_map(X)), make().fit(X, X)
    assert same(values_of(ours.model_), values_of(theirs.model_))
    assert ours.score(as_map(X), as_map(X)) == theirs.score(X, X)


def test_callbacks_of_every_batch_are_called_as_often(kind, arrays, as_map, parts):
    X, y, _ = arrays

    calls = []

    class Count(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            calls.append((batch, logs["loss"]))

        def on_test_batch_end(self, batch, logs=None):
            calls.append((batch, logs["loss"]))

    def make():
        return make_classifier(
            engine=kind, epochs=2, batch_size=16, validation_fraction=0.3, callbacks=[Count()]
        )

    assert_same_fit(make, X, as_map(X), y)
    assert calls[: len(calls) // 2] == calls[len(calls) // 2 :]


def test_training_continues_with_a_mapped_array(kind, arrays, as_map, parts):
    X, y, _ = arrays
    theirs = make_classifier(engine=kind, validation_fraction=0.3).fit(X, y).partial_fit(X, y)
    ours = make_classifier(engine=kind, validation_fraction=0.3)
    ours.fit(as_map(X), y).partial_fit(as_map(X), y)
    assert same(values_of(ours.model_), values_of(theirs.model_))


def test_a_writeable_map_is_not_changed(kind, arrays, as_map, parts):
    X, y, _ = arrays
    changeable = as_map(X, mode="r+")
    make_classifier(engine=kind, validation_fraction=0.3).fit(changeable, y)
    assert np.array_equal(changeable, X)


def test_a_model_with_its_own_methods_gets_arrays(arrays, as_map, parts):
    X, y, _ = arrays

    class Own(keras.Sequential):
        def fit(self, x=None, y=None, **arguments):
            assert isinstance(x, np.ndarray)
            return super().fit(x, y, **arguments)

    def build(meta):
        return Own([keras.Input(meta["X_shape_"][1:]), keras.layers.Dense(1)])

    def make():
        return make_regressor(build, validation_fraction=0.3)

    assert_same_fit(make, X, as_map(X), y.astype("float32"))


@pytest.mark.parametrize("value", [np.inf, 1e300])
def test_values_that_are_not_finite_are_errors_in_any_part(value, arrays, as_map, parts):
    X = arrays[0].astype("float64")
    X[150, 2] = value
    with pytest.raises(ValueError, match="Input X contains infinity or a value too large"):
        make_classifier().fit(as_map(X), arrays[1])


def test_nan_is_an_error_unless_the_model_takes_it(kind, arrays, as_map, parts):
    X, y, _ = arrays
    X[150, 2] = np.nan

    def build(meta):
        return keras.Sequential(
            [
                keras.Input(meta["X_shape_"][1:]),
                keras.layers.Lambda(keras.ops.nan_to_num),
                keras.layers.Dense(2, "softmax"),
            ]
        )

    with pytest.raises(InputValueError, match="NaN"):
        make_classifier(engine=kind, validation_fraction=0.3).fit(as_map(X), y)
    assert_same_fit(
        lambda: make_classifier(build, engine=kind, validation_fraction=0.3), X, as_map(X), y
    )


def test_small_maps_are_loaded(kind, arrays, as_map, monkeypatch):
    monkeypatch.setattr(datasets.MappedDataset, "read", lambda *_: pytest.fail("read in parts"))
    X, y, _ = arrays
    make_classifier(engine=kind, validation_fraction=0.3).fit(as_map(X), y)


def test_scorers_get_samples_that_they_can_index(arrays, as_map, parts):
    X, y, _ = arrays
    seen = []

    def scorer(estimator, X, y):
        seen.append((np.array(X), X[:, 0] + X[3, 0], X[2:5], len(X), X.shape))
        return estimator.score(X, y)

    for given in (X, as_map(X)):
        callbacks = [ScorerMonitor(scorer)]
        make_classifier(validation_fraction=0.3, callbacks=callbacks).fit(given, y)
    assert same(seen[0], seen[1])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("columns", [None, np.array([2, 0])])
@pytest.mark.parametrize("indices", [None, np.array([5, 1, 1, 7, 0]), np.array([2, 3, 4, 5, 6])])
def test_mapped_samples_are_indexed_as_an_array_is(indices, columns, order):
    array = np.asarray(np.arange(80.0).reshape(8, 5, 2), order=order)
    samples = MappedSamples(array, indices, columns, "float32")
    expected = array if indices is None else array[indices]
    expected = (expected if columns is None else expected[:, columns]).astype("float32")
    assert samples.shape == expected.shape
    assert samples.dtype == expected.dtype
    assert (len(samples), samples.ndim, samples.size, samples.nbytes) == (
        len(expected),
        expected.ndim,
        expected.size,
        expected.nbytes,
    )
    mask = np.arange(len(expected)) % 2 == 0
    keys = [slice(1, 4), 2, -1, np.array([4, 0, 2]), [1, 2], np.array([], int), mask]
    for key in [*keys, (slice(1, 3), 1), (2, 1, 0), (np.array([3, 1]), slice(0, 1))]:
        assert same(samples[key], expected[key])
    assert same(np.asarray(samples.take(np.array([3, 1]))), expected[[3, 1]])
    assert same(np.asarray(samples.select(np.array([1]))), expected[:, [1]])


_FIT_LARGE = """
    import sys, threading, time
    import keras, numpy as np
    from skguard import GuardedKerasRegressor

    path, engine, validation = sys.argv[1:]

    def anonymous_bytes():
        with open("/proc/self/status") as status:
            lines = [line for line in status if line.startswith("RssAnon")]
        return int(lines[0].split()[1]) * 1024

    def build(meta):
        return keras.Sequential([keras.Input(meta["X_shape_"][1:]), keras.layers.Dense(1)])

    def make():
        return GuardedKerasRegressor(
            build, loss="mse", engine=engine, verbose=0, batch_size=256, epochs=1,
            **{validation: 0.2},
        )

    X = np.load(path, mmap_mode="r")
    y = np.array(X[:, 0])
    make().fit(np.array(X[:2000]), y[:2000]).predict(np.array(X[:2000]))
    before = peak = anonymous_bytes()
    ended = threading.Event()

    def sample():
        global peak
        while not ended.wait(0.002):
            peak = max(peak, anonymous_bytes())

    thread = threading.Thread(target=sample)
    thread.start()
    make().fit(X, y).score(X, y)
    ended.set()
    thread.join()
    print(peak - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("dtype", "validation"), [("float32", "validation_split"), ("float64", "validation_fraction")]
)
def test_a_fit_does_not_take_memory_for_a_mapped_array(kind, dtype, validation, tmp_path):
    path, itemsize = tmp_path / "X.npy", np.dtype(dtype).itemsize
    shape = (400 * 2**20 // itemsize // 512, 512)
    X = np.lib.format.open_memmap(path, "w+", dtype, shape)
    for begin in range(0, len(X), 10_000):
        X[begin : begin + 10_000] = np.random.default_rng(begin).random((1, 512))
    X.flush()
    del X
    script = [sys.executable, "-c", textwrap.dedent(_FIT_LARGE), str(path), kind, validation]
    process = subprocess.run(script, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert int(process.stdout.split()[-1]) < 160 * 2**20
