"""X, weights and batches that only some models take: text, shapes, NaN, weights per step."""

import functools
import pickle

import keras
import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from skguard import GuardedKerasRegressor
from skguard._repairs import seeding
from skguard.exceptions import InputValueError
from tests.fit.networks import (
    build_convolution,
    build_dense,
    build_embedding,
    build_lookup,
    build_nan_to_zero,
    build_per_step,
    build_recurrent,
    build_text,
)
from tests.models import build_regressor, make_classifier, make_regressor

ENGINES = ["auto", "keras"]
quick = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)

TEXTS = np.array(["good day", "bad", "good", "bad day"] * 4, object)
LABELS = np.array([1, 0, 1, 0] * 4)


def text_classifier(model=build_text, **parameters):
    return make_classifier(model, loss="binary_crossentropy", **parameters)


def plain(estimator, X, y, **arguments):
    """Return the model of `estimator`, trained by Keras on arrays prepared by hand."""
    function = estimator.model
    arity = {"meta": vars(estimator)} if "meta" in function.__code__.co_varnames else {}
    with seeding.seeded(0):
        model = function(**arity)
    model.compile(keras.optimizers.get(estimator.optimizer), estimator.loss)
    with seeding.seeded(seeding.derive(0, 0)):
        model.fit(X, y, shuffle=False, verbose=0, epochs=estimator.epochs, **arguments)
    return model


CONTAINERS = {
    "column": lambda texts: texts[:, None],
    "strings": lambda texts: texts.astype(str),
    "bytes": lambda texts: texts.astype("S"),
    "list": list,
    "lists": lambda texts: [[text] for text in texts],
    "pandas": lambda texts: pytest.importorskip("pandas").DataFrame({"text": texts}),
    "series": lambda texts: pytest.importorskip("pandas").Series(texts, np.arange(16)[::-1]),
    "polars": lambda texts: pytest.importorskip("polars").DataFrame({"text": list(texts)}),
}


@pytest.mark.parametrize("engine", ENGINES)
def test_text_is_trained_on_as_by_keras(engine):
    import tensorflow as tf

    estimator = text_classifier(epochs=2, shuffle=False, engine=engine)
    estimator.fit(TEXTS, LABELS, X_val=TEXTS[:4], y_val=LABELS[:4])
    assert estimator.engine_ == ("keras" if engine == "keras" else "fused")
    X = tf.constant(TEXTS[:, None])
    model = plain(estimator, X, LABELS, validation_data=(X[:4], LABELS[:4]))
    for name in ("loss", "val_loss"):
        assert estimator.history_[name] == model.history.history[name]
    expected = model.predict(X, verbose=0)[:, 0]
    np.testing.assert_array_equal(estimator.predict_proba(TEXTS)[:, 1], expected)


@functools.cache
def probabilities_of_text():
    return text_classifier().fit(TEXTS, LABELS).predict_proba(TEXTS)


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_text_in_any_container_gives_the_same_predictions(container):
    X = container(TEXTS)
    estimator = text_classifier().fit(X, LABELS)
    assert estimator.X_shape_ == (16, 1)
    np.testing.assert_array_equal(estimator.predict_proba(X), probabilities_of_text())
    estimator.partial_fit(X, LABELS)


@pytest.mark.parametrize("engine", ENGINES)
def test_text_is_passed_to_an_input_of_single_strings(engine):
    model = functools.partial(build_text, ())
    estimator = text_classifier(model, engine=engine).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(estimator.predict_proba(TEXTS), probabilities_of_text())


def test_text_is_kept_by_pickles_and_searches():
    search = GridSearchCV(text_classifier(), {"epochs": [1, 2]}, cv=2, error_score="raise")
    search.fit(list(TEXTS), LABELS)
    copy = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(copy.predict(TEXTS), search.predict(TEXTS))


def test_text_that_represents_numbers_is_text_for_a_model_that_takes_strings():
    X = np.array([["01"], ["1"], ["2"]] * 4)
    estimator = make_regressor(build_lookup, optimizer="sgd", epochs=30)
    estimator.fit(X, [0.0, 1.0, 2.0] * 4)
    assert estimator.X_dtype_.kind == "O"
    assert len(np.unique(estimator.predict(X[:3]))) == 3
    estimator.partial_fit(X, [0.0, 1.0, 2.0] * 4)
    assert len(np.unique(estimator.predict(X[:3]))) == 3
    unknown = estimator.predict([["9"]])
    np.testing.assert_array_equal(estimator.initialize(X, [0.0, 1.0, 2.0] * 4).X_dtype_, object)
    assert unknown.shape == (1,)


def test_text_that_represents_numbers_is_converted_for_a_model_of_numbers(line):
    X, y = line[0].round(2), line[1]
    expected = make_regressor().fit(X.astype(np.float32), y)
    for given_X in (X.astype(str), X.astype(str).astype(object)):
        estimator = make_regressor().fit(given_X, y)
        np.testing.assert_array_equal(estimator.predict(given_X), expected.predict(X))


@quick
@given(columns=st.sets(st.integers(0, 3), min_size=1))
def test_text_in_columns_of_a_model_of_numbers_is_rejected_by_their_names(columns):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame({name: np.arange(8.0) for name in "abcd"})
    names = ["abcd"[j] for j in sorted(columns)]
    X = X.astype(dict.fromkeys(names, str)).assign(**{names[-1]: "Oslo"})
    with pytest.raises(InputValueError, match=rf"text in column '{names[-1]}', such as 'Oslo'"):
        make_regressor(max_retries=3).fit(X, np.arange(8.0))
    with pytest.raises(InputValueError, match=rf"OneHotEncoder\(\), \[{max(columns)}\]"):
        make_regressor().fit(X.to_numpy(object), np.arange(8))


def test_the_advice_for_text_works():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame({"a": np.arange(8.0), "city": ["Oslo", "Rome"] * 4})
    encode = make_column_transformer((OneHotEncoder(), ["city"]), remainder="passthrough")
    pipeline = make_pipeline(encode, make_regressor()).fit(X, np.arange(8.0))
    assert pipeline.predict(X).shape == (8,)


class Encodes(GuardedKerasRegressor):
    @property
    def feature_encoder(self):
        return OneHotEncoder(sparse_output=False, handle_unknown="ignore")


def test_text_is_passed_to_a_feature_encoder_as_it_was_in_fit():
    def build():
        return build_dense(3)

    X = np.array([["1"], ["x"], ["2"]] * 3, object)
    estimator = Encodes(build, loss="mse", verbose=0, random_state=0).fit(X, np.arange(9))
    np.testing.assert_allclose(estimator.predict(X[:1]), estimator.predict(X)[:1], rtol=1e-6)
    assert estimator.predict(X[:1]) != estimator.predict([["9"]])


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (None, "missing values among the text in column 'b'"),
        (np.nan, "missing values among the text in column 'b'"),
        (3, "values of the types int, str in column 'b'"),
    ],
    ids=str,
)
def test_text_with_values_of_other_types_is_rejected(value, match):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame({"a": range(4), "b": np.array(["x", "y", value, "z"], object)})
    with pytest.raises(InputValueError, match=match):
        make_regressor().fit(X, range(4))


def test_numbers_for_a_model_that_takes_strings_are_rejected(line):
    with pytest.raises(InputValueError, match=r"X has dtype float64, but .* takes strings"):
        text_classifier().fit(line[0][:, :1], line[1] > 0)


def sequences(lengths, width=2):
    rng = np.random.default_rng(1)
    return [rng.normal(size=(length, width)).astype(np.float32) for length in lengths]


LENGTHS = [2, 3, 2, 4, 3, 2, 4, 3]
TARGETS = np.arange(8, dtype=np.float32)


def in_order_of_shapes(X, y, weights, batch_size):
    """Yield the batches of samples of one length, in order."""
    for length in dict.fromkeys(map(len, X)):
        chosen = [i for i, sample in enumerate(X) if len(sample) == length]
        for begin in range(0, len(chosen), batch_size):
            part = chosen[begin : begin + batch_size]
            yield np.stack([X[i] for i in part]), y[part], weights[part]


@pytest.mark.parametrize("engine", ENGINES)
def test_sequences_of_different_length_are_trained_on_in_batches_of_one_length(engine):
    X, weights = sequences(LENGTHS), np.arange(1, 9, dtype=np.float32)
    estimator = make_regressor(
        build_recurrent, epochs=3, shuffle=False, engine=engine, batch_size=2
    ).fit(X, TARGETS, weights, X_val=X[3:6], y_val=TARGETS[3:6])
    assert estimator.X_shape_ == (8, None, 2)
    assert estimator.engine_ == "keras"
    batches = list(in_order_of_shapes(X, TARGETS, weights, 2))
    with seeding.seeded(0):
        model = build_recurrent({"X_shape_": (8, None, 2)})
    model.compile("adam", "mse")
    sizes = [len(y) for _, y, _ in batches]
    losses = [
        np.average([float(model.train_on_batch(*batch)) for batch in batches], weights=sizes)
        for _ in range(3)
    ]
    np.testing.assert_allclose(estimator.history_["loss"], losses, rtol=1e-5)
    expected = [model.predict(x[None], verbose=0)[0, 0] for x in X]
    np.testing.assert_allclose(estimator.predict(X), expected, rtol=1e-5)
    one_by_one = [estimator.predict(x[None])[0] for x in X]
    np.testing.assert_allclose(estimator.predict(X), one_by_one, rtol=1e-5)
    assert len(estimator.history_["val_loss"]) == 3
    estimator.partial_fit(X[:3], TARGETS[:3])


@quick
@given(lengths=st.lists(st.integers(1, 4), min_size=2, max_size=8), data=st.data())
def test_samples_of_different_shapes_are_predicted_in_their_order(lengths, data):
    X = sequences(lengths)
    estimator = fitted_recurrent()
    order = data.draw(st.permutations(range(len(X))))
    expected = estimator.predict(X)[list(order)]
    np.testing.assert_allclose(estimator.predict([X[i] for i in order]), expected, rtol=1e-5)


@functools.cache
def fitted_recurrent():
    return make_regressor(build_recurrent).fit(sequences(LENGTHS), TARGETS)


def test_shuffled_batches_of_one_shape_follow_the_seed():
    X = sequences(LENGTHS)
    losses = [
        make_regressor(build_recurrent, epochs=3, batch_size=1, random_state=seed)
        .fit(X, TARGETS)
        .history_["loss"]
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


def as_objects(samples):
    array = np.empty(len(samples), object)
    array[:] = samples
    return array


@pytest.mark.parametrize("container", [list, tuple, as_objects], ids=["list", "tuple", "objects"])
def test_sequences_may_be_in_any_container(container):
    X = container(sequences(LENGTHS))
    expected = fitted_recurrent().predict(sequences(LENGTHS))
    estimator = make_regressor(build_recurrent).fit(X, TARGETS)
    np.testing.assert_array_equal(estimator.predict(X), expected)


def test_sequences_of_word_numbers_and_images_of_different_size_are_trained_on(rng):
    words = [[1, 2, 3], [4], [5, 6], [7, 8]]
    estimator = make_regressor(build_embedding).fit(words, np.arange(4.0))
    assert estimator.predict([[1, 2, 3, 4]]).shape == (1,)
    assert not hasattr(estimator, "n_features_in_")
    images = [rng.random((h, w, 1)) for h, w in [(3, 5), (4, 5), (3, 6), (3, 5)]]
    estimator = make_regressor(build_convolution, epochs=2).fit(images, np.arange(4.0))
    assert estimator.X_shape_ == (4, None, None, 1)
    assert estimator.predict(images[:2]).shape == (2,)


def test_searches_and_validation_sets_take_sequences_of_different_length():
    X, y = sequences(LENGTHS * 2), np.arange(16.0)
    estimator = make_regressor(build_recurrent, validation_split=0.25, scoring="r2")
    scores = cross_val_score(estimator, X, y, cv=2, error_score="raise")
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_another_length_than_in_fit_is_predicted_where_the_input_layer_has_none(engine, rng):
    X = rng.normal(size=(8, 3, 2))
    estimator = make_regressor(build_recurrent, engine=engine)
    longer = rng.normal(size=(4, 5, 2)).astype(np.float32)
    estimator.fit(X, TARGETS, X_val=longer, y_val=TARGETS[:4])
    expected = estimator.model_.predict(longer, verbose=0)[:, 0]
    np.testing.assert_allclose(estimator.predict(longer), expected, rtol=1e-5)
    estimator.partial_fit(longer, TARGETS[:4])
    with pytest.raises(ValueError, match=r"samples of shape \(5, 3\), but .* \(3, 2\)"):
        estimator.predict(rng.normal(size=(4, 5, 3)))
    words = make_regressor(build_embedding).fit(np.ones((4, 3), int), np.arange(4.0))
    assert words.predict(np.ones((2, 7), int)).shape == (2,)


def test_another_length_is_rejected_where_the_input_layer_has_a_length(line, rng):
    X, y = line
    with pytest.raises(InputValueError, match=r"X has 5 features, but .* is expecting 4 features"):
        make_regressor().fit(X, y, X_val=rng.normal(size=(3, 5)), y_val=y[:3])

    def build():
        return keras.Sequential([keras.Input((3, 2)), keras.layers.GRU(2), keras.layers.Dense(1)])

    with pytest.raises(InputValueError, match=r"different shapes.*pad_sequences"):
        make_regressor(build, max_retries=2).fit(sequences(LENGTHS), TARGETS)
    estimator = make_regressor(build).fit(rng.normal(size=(8, 3, 2)), TARGETS)
    for other in (sequences([2, 4]), rng.normal(size=(2, 4, 2))):
        with pytest.raises(ValueError, match=r"was fitted on samples of shape|X has 4 features"):
            estimator.predict(other)


@pytest.mark.parametrize(
    ("X", "match"),
    [
        ([np.ones((2, 2)), np.ones(3)], "different numbers of axes"),
        ([["a", "b"], ["c"]], r"must be arrays of numbers, but X\[0\] has dtype"),
        ([[1.0, 2.0], []], r"X\[1\] has the shape \(0,\), without a value"),
        ([[1.0, np.inf], [1.0]], "contains infinity"),
    ],
    ids=["axes", "text", "empty", "infinite"],
)
def test_samples_of_different_shapes_that_cannot_be_used_are_rejected(X, match):
    with pytest.raises(InputValueError, match=match):
        make_regressor(build_embedding).fit(X, np.arange(2.0))


@pytest.mark.parametrize("engine", ENGINES)
def test_nan_is_trained_on_by_a_model_that_handles_it(engine, line):
    X, y = line[0].copy(), line[1]
    X[::7, 1] = np.nan
    estimator = make_regressor(build_nan_to_zero, engine=engine, shuffle=False, epochs=2)
    estimator.fit(X, y, X_val=X[:9], y_val=y[:9])
    model = plain(estimator, X.astype(np.float32), y, validation_data=(X[:9], y[:9]))
    assert estimator.history_["loss"] == model.history.history["loss"]
    np.testing.assert_array_equal(estimator.predict(X), model.predict(X, verbose=0)[:, 0])


def without_input_layer():
    return keras.Sequential([keras.layers.Dense(1)])


def masks_nan():
    layers = [keras.layers.Reshape((4, 1)), keras.layers.Masking(np.nan), keras.layers.GRU(2)]
    return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1)])


@pytest.mark.parametrize("model", [build_dense, without_input_layer, masks_nan])
@pytest.mark.parametrize("kind", ["fit", "validation", "predict", "sequences"])
def test_nan_is_rejected_before_training_where_the_output_is_nan(kind, model, line):
    X, y = line
    bad = X.copy()
    bad[50, 2] = np.nan
    match = "Input X contains NaN, and so does the output of the model"
    if kind == "predict":
        estimator = make_regressor(model).fit(X, y)
        with pytest.raises(InputValueError, match=match):
            estimator.predict(bad)
        return
    estimator = make_regressor(model, on_nan="ignore", max_retries=2)
    steps = sequences(LENGTHS)
    steps[6][1] = np.nan
    fit = {
        "fit": lambda: estimator.fit(bad, y),
        "validation": lambda: estimator.fit(X, y, X_val=bad, y_val=y),
        "sequences": lambda: estimator.set_params(model=build_recurrent).fit(steps, TARGETS),
    }[kind]
    with pytest.raises(InputValueError, match=match) as raised:
        fit()
    assert len(raised.value.attempts) == 1
    with pytest.raises(InputValueError, match=match):
        make_regressor().fit(scipy.sparse.csr_array(bad), y)


def test_nan_is_replaced_by_a_feature_encoder(line):
    class Imputes(GuardedKerasRegressor):
        @property
        def feature_encoder(self):
            return FunctionTransformer(np.nan_to_num)

    X, y = line[0].copy(), line[1]
    X[3] = np.nan
    estimator = Imputes(build_regressor, loss="mse", verbose=0, random_state=0).fit(X, y)
    assert np.isfinite(estimator.predict(X)).all()


def test_the_check_of_nan_changes_no_number(line):
    X, y = line[0].copy(), line[1]
    X[3] = np.nan

    def build():
        inputs = keras.Input((4,))
        hidden = keras.layers.Dropout(0.5)(keras.ops.nan_to_num(inputs))
        return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.BatchNormalization()(hidden)))

    with_nan = make_regressor(build).fit(X, y)
    without = make_regressor(build).fit(np.nan_to_num(X), y)
    assert with_nan.history_["loss"] == without.history_["loss"]


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_per_step_are_those_of_keras(engine, rng):
    X = rng.normal(size=(12, 5, 2)).astype(np.float32)
    y = X.sum(-1, keepdims=True)
    weights = rng.integers(0, 3, size=(12, 5)).astype(np.float32)
    weights[4] = 0
    estimator = make_regressor(build_per_step, shuffle=False, epochs=2, engine=engine)
    validation = {"X_val": X[:3], "y_val": y[:3], "sample_weight_val": weights[:3]}
    estimator.fit(X, y, weights, **validation)
    kept = weights.any(axis=1)
    model = plain(
        estimator,
        X[kept],
        y[kept],
        sample_weight=weights[kept],
        validation_data=(X[:3], y[:3], weights[:3]),
    )
    for name in ("loss", "val_loss"):
        assert estimator.history_[name] == model.history.history[name]
    unweighted = make_regressor(build_per_step, shuffle=False, epochs=2).fit(X, y)
    assert unweighted.history_["loss"] != estimator.history_["loss"]


def test_weights_per_step_are_rejected_for_a_scorer_before_training(rng):
    X, y = rng.normal(size=(12, 5, 2)), rng.normal(size=(12, 5, 1))
    estimator = make_regressor(build_per_step, scoring="r2", validation_split=0.5)
    with pytest.raises(InputValueError, match="one per step, and scikit-learn's scorers"):
        estimator.fit(X, y, np.ones((12, 5)))


@pytest.mark.parametrize("columns", [2, 3])
def test_weights_per_step_are_rejected_where_the_loss_is_not_per_step(columns, rng):
    X, y = rng.normal(size=(12, 5, 2)), rng.normal(size=(12, 5, 1))
    with pytest.raises(InputValueError, match=r"one weight per step.*Pass y with a last axis"):
        make_regressor(build_per_step).fit(X, y[..., 0], np.ones((12, 5)))
    with pytest.raises(InputValueError, match="Sample weights must be 1D array or scalar, got 2D"):
        make_regressor(build_per_step).fit(X, y, np.ones((12, 4)))
    with pytest.raises(InputValueError, match="Sample weights must be 1D array or scalar, got 2D"):
        make_regressor().fit(X[:, 0], rng.normal(size=(12, columns)), np.ones((12, columns)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("call", ["predict", "score", "validation"])
def test_a_fixed_batch_size_is_checked_in_every_use_of_the_model(call, engine, line):
    X, y = line

    def build():
        return build_dense(batch_size=10)

    estimator = make_regressor(build, batch_size=10, engine=engine)
    match = "fixed batch size of 10, but 55 samples would be divided into batches of 10"
    if call == "validation":
        with pytest.raises(InputValueError, match=match):
            estimator.fit(X, y, X_val=X[:55], y_val=y[:55])
        return
    estimator.fit(X, y, X_val=X[:20], y_val=y[:20])
    assert estimator.predict(X).shape == (60,)
    with pytest.raises(InputValueError, match=match):
        getattr(estimator, call)(X[:55], *([y[:55]] if call == "score" else []))
    with pytest.raises(InputValueError, match="60 samples would be divided into batches of 32"):
        estimator.predict(X, batch_size=32)


def test_a_model_without_an_input_layer_is_not_bound_to_a_batch_size(line):
    estimator = make_regressor(without_input_layer).fit(*line)
    assert estimator.predict(line[0][:7]).shape == (7,)
    estimator.partial_fit(line[0][:7], line[1][:7])
    assert estimator.engine_ == "fused"
