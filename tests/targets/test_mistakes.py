"""Targets that would be scored wrongly without a word are named before training, or work."""

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_score
from sklearn.preprocessing import (
    LabelBinarizer,
    LabelEncoder,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard.exceptions import InputValueError, ValidationSetWarning
from skguard.targets import Quantiles
from tests.models import build_classifier

SETTINGS = {"verbose": 0, "random_state": 0}


def without_input(units, activation=None):
    return lambda: keras.Sequential([keras.layers.Dense(units, activation)])


@pytest.mark.parametrize("n_samples", [31, 32, 50])
@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_a_sequential_model_without_an_input_layer_is_for_any_batch_size(n_samples, engine, rng):
    X, y = rng.normal(size=(n_samples, 3)), rng.normal(size=n_samples)
    estimator = GuardedKerasRegressor(without_input(1), loss="mse", engine=engine, **SETTINGS)
    assert estimator.fit(X, y).predict(X[:7]).shape == (7,)
    estimator.initialize(X, y)
    assert estimator.predict(X[:7]).shape == (7,)


def test_a_fold_without_a_column_of_one_hot_targets_is_named(blobs):
    X, y = blobs
    order = np.argsort(y)
    X, y = X[order], np.eye(3)[y[order]]
    estimator = GuardedKerasClassifier(
        build_classifier, loss="categorical_crossentropy", **SETTINGS
    )
    with pytest.warns(ValidationSetWarning, match=r"No sample of y belongs to column 0.*KFold"):
        estimator.fit(X[20:], y[20:])
    shuffled = KFold(3, shuffle=True, random_state=0)
    cross_val_score(estimator, X, y, cv=shuffled, error_score="raise")


def test_an_ordinal_model_with_a_softmax_is_rejected(blobs):
    X, y = blobs
    for activation, match in [
        ("softmax", 'Use activation="sigmoid"'),
        (None, '"sigmoid", or pass'),
    ]:
        estimator = GuardedKerasClassifier(
            without_input(2, activation), loss="binary_crossentropy", target="ordinal", **SETTINGS
        )
        with pytest.raises(InputValueError, match=match):
            estimator.fit(X, y)


def test_logits_are_not_what_a_softmax_returns(blobs):
    estimator = GuardedKerasClassifier(
        build_classifier, loss="sparse_categorical_crossentropy", target="logits", **SETTINGS
    )
    with pytest.raises(InputValueError, match="ends with a softmax"):
        estimator.fit(*blobs)


def build_steps(meta):
    layers = [keras.Input((8, 3)), keras.layers.Dense(meta["n_classes_"], "softmax")]
    return keras.Sequential(layers)


@pytest.mark.parametrize("engine", ["fused", "keras"])
@pytest.mark.parametrize("batch_size", [8, 32])
def test_one_weight_per_sample_weighs_all_steps_of_the_sample(engine, batch_size, rng):
    X, weights = rng.normal(size=(64, 8, 3)).astype("float32"), rng.uniform(size=64)
    y = (X[..., 0] > 0).astype(int)
    estimator = GuardedKerasClassifier(
        build_steps,
        loss="sparse_categorical_crossentropy",
        batch_size=batch_size,
        engine=engine,
        **SETTINGS,
    )
    per_sample = estimator.fit(X, y, sample_weight=weights).predict_proba(X)
    per_step = estimator.fit(X, y, sample_weight=np.repeat(weights[:, None], 8, 1))
    assert np.array_equal(per_step.predict_proba(X), per_sample)


class OwnMeanSquaredError(keras.losses.Loss):
    """Compares its arguments as they are, where Keras's own losses drop a last axis of length 1."""

    def call(self, y, p):
        return keras.ops.mean(keras.ops.square(y - p), axis=-1)


@pytest.mark.parametrize("engine", ["fused", "keras"])
@pytest.mark.parametrize("target", [None, (np.negative, np.negative)], ids=["values", "functions"])
def test_a_custom_loss_of_a_regressor_is_not_broadcast(engine, target, rng):
    X = rng.normal(size=(40, 3))
    y = X @ [1.0, 2.0, 3.0]
    settings = {"target": target, "engine": engine, "epochs": 3, "shuffle": False, **SETTINGS}
    own, known = (
        GuardedKerasRegressor(without_input(1), loss=loss, **settings).fit(X, y)
        for loss in (OwnMeanSquaredError(), "mse")
    )
    np.testing.assert_allclose(own.predict(X), known.predict(X), rtol=1e-5)


def two_summands():
    inputs = keras.Input((4,))
    summands = [keras.layers.Dense(3)(inputs), keras.layers.Dense(3)(inputs)]
    return keras.Model(inputs, keras.layers.Add()(summands))


class Subclass(keras.Model):
    def __init__(self):
        super().__init__()
        self.last = keras.layers.Dense(3)

    def call(self, x):
        return self.last(x)


@pytest.mark.parametrize(
    "model",
    [two_summands, Subclass, without_input(3, lambda x: x), without_input(3, "relu")],
    ids=["sum", "subclass", "lambda", "relu"],
)
def test_outputs_that_are_no_probabilities_are_an_error(model, blobs):
    estimator = GuardedKerasClassifier(model, loss="sparse_categorical_crossentropy", **SETTINGS)
    with pytest.raises(InputValueError, match="needs probabilities"):
        estimator.fit(*blobs)


@pytest.mark.parametrize(
    ("y_val", "match"),
    [(np.eye(2)[[0, 1]], "2 columns"), (np.array([[1, 1, 0], [0, 0, 1]]), "several")],
    ids=["width", "several"],
)
def test_other_columns_than_in_fit_are_an_error(y_val, match, blobs):
    X, y = blobs
    estimator = GuardedKerasClassifier(
        build_classifier, loss="categorical_crossentropy", **SETTINGS
    )
    with pytest.raises(InputValueError, match=match):
        estimator.fit(X, np.eye(3)[y], X_val=X[:2], y_val=y_val)


def two_heads(names=("a", "b"), as_dict=False):
    inputs = keras.Input((4,))
    heads = [keras.layers.Dense(2, "softmax", name=name)(inputs) for name in names]
    outputs = {f"key {name}": head for name, head in zip(names, heads, strict=True)}
    return keras.Model(inputs, outputs if as_dict else heads)


def test_text_of_a_head_is_not_cut_to_the_length_of_the_text_in_y(rng):
    pandas = pytest.importorskip("pandas")
    X = rng.normal(size=(40, 4)).astype("float32")
    y = pandas.DataFrame({"a": np.arange(40) % 2, "b": np.where(X[:, 0] > 0, "cat", "catfish")})
    estimator = GuardedKerasClassifier(
        two_heads,
        target={"a": "labels", "b": "labels"},
        loss="sparse_categorical_crossentropy",
        **SETTINGS,
    ).fit(X, y)
    predicted = estimator.predict(X)
    short = pandas.DataFrame({"a": predicted[:, 0].astype(int), "b": ["cat"] * 40})
    assert estimator.score(X, short) == (1 + np.mean(predicted[:, 1] == "cat")) / 2


def test_a_list_of_heads_reaches_the_outputs_of_a_dict(rng):
    X = rng.normal(size=(40, 4)).astype("float32")
    y = np.column_stack([X[:, 0] > 0, X[:, 1] > 0]).astype(int)
    estimator = GuardedKerasClassifier(
        two_heads,
        as_dict=True,
        target=["labels", "labels"],
        loss="sparse_categorical_crossentropy",
        **SETTINGS,
    )
    assert estimator.fit(X, y).predict(X).shape == (40, 2)


def test_one_output_in_a_dict_is_that_output(blobs):
    def build():
        inputs = keras.Input((4,))
        return keras.Model(inputs, {"kind": keras.layers.Dense(3, "softmax")(inputs)})

    X, y = blobs
    for loss in ("sparse_categorical_crossentropy", {"kind": "sparse_categorical_crossentropy"}):
        estimator = GuardedKerasClassifier(build, loss=loss, **SETTINGS).fit(X, y)
        assert estimator.predict(X).shape == y.shape


def test_steps_may_be_more_or_fewer_than_in_fit(rng):
    X = rng.normal(size=(20, 6, 3)).astype("float32")
    y = (X[..., 0] > 0).astype(int)
    kinds = [
        (GuardedKerasClassifier, "sparse_categorical_crossentropy", (2, "softmax")),
        (GuardedKerasRegressor, "mse", (1, None)),
    ]
    for kind, loss, last in kinds:

        def build(last=last):
            return keras.Sequential([keras.Input((None, 3)), keras.layers.Dense(*last)])

        estimator = kind(build, loss=loss, **SETTINGS).fit(X, y)
        assert estimator.predict(X[:, :4]).shape == (20, 4)
        assert np.isfinite(estimator.score(X[:, :4], y[:, :4]))


def test_probabilities_of_half_precision_add_up_to_1(blobs):
    layer = {"dtype": "mixed_float16"}
    estimator = GuardedKerasClassifier(
        lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax", **layer)]),
        loss="sparse_categorical_crossentropy",
        **SETTINGS,
    )
    probabilities = estimator.fit(*blobs).predict_proba(blobs[0])
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


def two_outputs(names=("a", "b"), as_dict=True):
    def build():
        inputs = keras.Input((4,))
        outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in names}
        return keras.Model(inputs, outputs if as_dict else list(outputs.values()))

    return build


@pytest.mark.parametrize("heads", [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("columns", [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_predictions_of_heads_have_the_columns_of_y_in_any_order(heads, columns, names, blobs):
    X = blobs[0].astype("float32")
    both = pd.DataFrame({"a": X[:, 0], "b": 5 - X[:, 1]})[list(columns)]
    estimator = GuardedKerasRegressor(
        two_outputs(names, as_dict=False),
        target=dict.fromkeys(heads, "values"),
        loss=["mse", "mse"],
        optimizer=keras.optimizers.Adam(0.05),
        epochs=150,
        **SETTINGS,
    ).fit(X, both)
    assert r2_score(both, estimator.predict(X), multioutput="raw_values").min() > 0.9
    assert estimator.score(X, both[["b", "a"]]) > 0.9
    assert estimator.score(X, both.to_numpy()) > 0.9


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_a_validation_set_of_heads_is_scored_by_the_names_of_its_columns(order, blobs):
    X = blobs[0].astype("float32")
    both = pd.DataFrame({"a": X[:, 0], "b": 5 - X[:, 1]})
    estimator = GuardedKerasRegressor(
        two_outputs(),
        target={"a": "values", "b": "values"},
        loss=["mse", "mse"],
        optimizer=keras.optimizers.Adam(0.05),
        early_stopping=True,
        n_iter_no_change=200,
        scoring="r2",
        epochs=150,
        **SETTINGS,
    ).fit(X, both, X_val=X, y_val=both[order])
    assert estimator.history_["val_r2"][-1] > 0.9


def test_a_head_without_a_loss_is_rejected(blobs):
    X = blobs[0]
    estimator = GuardedKerasRegressor(
        two_outputs(), target=["values", "values"], loss={"a": "mse"}, **SETTINGS
    )
    with pytest.raises(InputValueError, match="head '1' of target has no loss"):
        estimator.fit(X, X[:, :2])


@pytest.mark.parametrize("heads", [["values", "values"], {"a": "values", "b": "values"}])
def test_early_stopping_scores_heads_of_numbers(heads, blobs):
    X = blobs[0]
    estimator = GuardedKerasRegressor(
        two_outputs(),
        target=heads,
        loss=["mse", "mse"],
        early_stopping=True,
        scoring="r2",
        epochs=2,
        **SETTINGS,
    ).fit(X, pd.DataFrame(X[:, :2], columns=["a", "b"]))
    assert len(estimator.history_["val_r2"]) == 2


@pytest.mark.parametrize("said", ["logits", "margins"])
@pytest.mark.parametrize("loss", ["mse", "binary_crossentropy", "huber"])
def test_outputs_around_zero_need_a_loss_for_them(said, loss, blobs):
    X, y = blobs
    estimator = GuardedKerasClassifier(without_input(1), loss=loss, target=said, **SETTINGS)
    with pytest.raises(InputValueError, match=r"around 0\.0, but the loss"):
        estimator.fit(X, y == 0)


@pytest.mark.parametrize("weights", [{0: -1, 1: 1, 2: 1}, {0: 1, 1: np.nan, 2: 1}])
def test_class_weights_below_zero_are_rejected(weights, blobs):
    estimator = GuardedKerasClassifier(
        build_classifier,
        loss="sparse_categorical_crossentropy",
        class_weight=weights,
        **SETTINGS,
    )
    with pytest.raises(InputValueError, match="class_weight must be 0 or more"):
        estimator.fit(*blobs)


def test_quantiles_of_a_softmax_are_rejected(line):
    estimator = GuardedKerasRegressor(
        without_input(3, "softmax"), target=Quantiles([0.1, 0.5, 0.9]), **SETTINGS
    )
    with pytest.raises(InputValueError, match="ends with a softmax"):
        estimator.fit(*line)


@pytest.mark.parametrize(
    ("transformer", "loss", "activation"),
    [
        (OrdinalEncoder(), "binary_crossentropy", "sigmoid"),
        (OrdinalEncoder(), "mse", None),
        (LabelEncoder(), "binary_crossentropy", "sigmoid"),
        (LabelBinarizer(), keras.losses.BinaryCrossentropy(from_logits=True), None),
    ],
)
def test_a_transformer_that_decodes_nearby_outputs_to_other_labels_is_rejected(
    transformer, loss, activation, blobs
):
    X, y = blobs
    estimator = GuardedKerasClassifier(
        without_input(1, activation), loss=loss, target=transformer, **SETTINGS
    )
    with pytest.raises(InputValueError, match="not with classes"):
        estimator.fit(X, np.where(y == 0, "no", "yes"))


@pytest.mark.parametrize(
    ("transformer", "units", "loss", "activation"),
    [
        (LabelBinarizer(), 1, "binary_crossentropy", "sigmoid"),
        (OneHotEncoder(sparse_output=False), 2, "categorical_crossentropy", "softmax"),
        (
            OneHotEncoder(sparse_output=False),
            2,
            keras.losses.CategoricalCrossentropy(from_logits=True),
            None,
        ),
    ],
)
def test_a_transformer_that_decodes_outputs_is_used(transformer, units, loss, activation, blobs):
    X, y = blobs
    labels = np.where(y == 0, "no", "yes")
    estimator = GuardedKerasClassifier(
        without_input(units, activation),
        loss=loss,
        target=transformer,
        optimizer=keras.optimizers.Adam(0.1),
        epochs=20,
        **SETTINGS,
    )
    assert estimator.fit(X, labels).score(X, labels) > 0.9


@pytest.mark.parametrize("transformer", [StandardScaler(), MinMaxScaler()])
def test_a_transformer_of_numbers_is_used(transformer, line):
    X, y = line
    y = np.round(y)  # so that nearby outputs could be other values of y
    estimator = GuardedKerasRegressor(without_input(1), loss="mse", target=transformer, **SETTINGS)
    assert estimator.fit(X, y).predict(X).shape == y.shape


class Sigmoid(keras.Sequential):
    """Trains logits and predicts probabilities."""

    def predict_step(self, data):
        return keras.ops.sigmoid(super().predict_step(data))


@pytest.mark.parametrize("target", [None, "probabilities"])
def test_logits_that_a_predict_step_changes_are_rejected_or_said(target, blobs):
    X, y = blobs
    y = np.where(y == 0, "no", "yes")

    def build():
        return Sigmoid([keras.Input((4,)), keras.layers.Dense(1)])

    estimator = GuardedKerasClassifier(
        build,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        target=target,
        optimizer=keras.optimizers.Adam(0.1),
        epochs=20,
        **SETTINGS,
    )
    if target is None:
        with pytest.raises(InputValueError, match="It is not known what the output"):
            estimator.fit(X, y)
    else:
        assert estimator.fit(X, y).score(X, y) > 0.9
        assert estimator.predict_proba(X).min() < 0.5


@pytest.mark.parametrize("units", [3, 5])
def test_labels_of_a_dataset_that_are_not_announced_are_named(units, blobs):
    import tensorflow as tf

    X, y = blobs
    dataset = tf.data.Dataset.from_tensor_slices((X.astype("float32"), y + 1)).batch(20)
    estimator = GuardedKerasClassifier(
        without_input(units, "softmax"), loss="sparse_categorical_crossentropy", **SETTINGS
    )
    with pytest.raises(InputValueError, match="y has the label 3, previously unseen"):
        estimator.fit(dataset, classes=[0, 1, 2])
