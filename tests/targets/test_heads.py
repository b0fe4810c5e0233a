"""Several outputs: a list or a dict of heads, and y as columns of an array or a dataframe."""

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import KFold, cross_val_predict, cross_val_score

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard.exceptions import InputValueError
from skguard.targets import Heads, Labels, Quantiles
from skguard.targets._heads import as_columns
from skguard.targets._supplied_losses import QuantileLoss

SPARSE = "sparse_categorical_crossentropy"


def softmax(units, name):
    return lambda: keras.layers.Dense(units, "softmax", name=name)


def linear(units, name):
    return lambda: keras.layers.Dense(units, name=name)


def heads_model(*makers, as_dict=False, is_reversed=False):
    """Return a model function with one output per maker of a layer."""

    def build():
        inputs = keras.Input((4,))
        layers = [make() for make in makers]
        outputs = {layer.name: layer(inputs) for layer in layers}
        order = list(outputs)[::-1] if is_reversed else list(outputs)
        outputs = {name: outputs[name] for name in order}
        return keras.Model(inputs, outputs if as_dict else list(outputs.values()))

    return build


def classifier(model, target, **parameters):
    defaults = {"loss": SPARSE, "optimizer": "adam", "verbose": 0, "random_state": 0}
    return GuardedKerasClassifier(model, target=target, **defaults | parameters)


COLORS = np.array(["red", "blue", "green"])


@pytest.fixture
def two_columns(blobs):
    """Return X, a color and a size of each sample."""
    X, y = blobs
    return X, COLORS[y], np.where(y == 1, 7, 5)


TWO = heads_model(softmax(3, "color"), softmax(2, "size"))


def test_each_column_is_the_target_of_one_output(two_columns):
    X, color, size = two_columns
    y = pd.DataFrame([color, size]).T.to_numpy()
    estimator = classifier(TWO, ["labels", "labels"], epochs=2).fit(X, y)
    outputs = estimator.model_.predict(X, verbose=0)
    predicted = estimator.predict(X)
    assert predicted.shape == (60, 2)
    np.testing.assert_array_equal(predicted[:, 0], np.unique(color)[outputs[0].argmax(axis=1)])
    np.testing.assert_array_equal(predicted[:, 1], np.array([5, 7])[outputs[1].argmax(axis=1)])
    probabilities = estimator.predict_proba(X)
    assert [p.shape for p in probabilities] == [(60, 3), (60, 2)]
    np.testing.assert_allclose(probabilities[0], outputs[0], rtol=1e-6)
    assert [list(c) for c in estimator.classes_] == [["blue", "green", "red"], [5, 7]]
    assert estimator.n_classes_ == [3, 2]


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_heads_by_name_are_trained_as_keras_trains_them(as_dict, is_reversed, two_columns):
    X, color, size = two_columns
    build = heads_model(
        softmax(3, "color"), softmax(2, "size"), as_dict=as_dict, is_reversed=is_reversed
    )
    y = pd.DataFrame({"other": 0, "size": size, "color": color})
    estimator = classifier(
        build, {"color": "labels", "size": "labels"}, epochs=3, batch_size=60, shuffle=False
    )
    model = build()
    model.set_weights(estimator.initialize(X, y).model_.get_weights())
    model.compile("adam", SPARSE)
    hand = {
        "color": np.unique(color, return_inverse=True)[1].astype("float32"),
        "size": np.unique(size, return_inverse=True)[1].astype("float32"),
    }
    names = ["size", "color"] if is_reversed else ["color", "size"]
    encoded = hand if as_dict else [hand[name] for name in names]
    model.fit(X.astype("float32"), encoded, epochs=3, batch_size=60, shuffle=False, verbose=0)
    estimator.fit(X, y)
    for trained, expected in zip(estimator.model_.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(trained, expected, rtol=1e-5, atol=1e-7)
    outputs = model.predict(X, verbose=0)
    outputs = outputs if as_dict else dict(zip(names, outputs, strict=True))
    predicted = estimator.predict(X)
    numbers = {name: outputs[name].argmax(axis=1) for name in names}
    # In the order of the columns of y.
    np.testing.assert_array_equal(predicted[:, 0], np.unique(size)[numbers["size"]])
    np.testing.assert_array_equal(predicted[:, 1], np.unique(color)[numbers["color"]])


def test_the_score_is_the_mean_of_the_accuracies(two_columns):
    X, color, size = two_columns
    y = pd.DataFrame({"color": color, "size": size})
    estimator = classifier(TWO, {"color": "labels", "size": "labels"}).fit(X, y)
    predicted = estimator.predict(X)
    accuracies = [
        accuracy_score(color, predicted[:, 0]),
        accuracy_score(size, predicted[:, 1].astype(int)),
    ]
    assert estimator.score(X, y) == pytest.approx(np.mean(accuracies))
    weights = np.arange(60.0)
    accuracies = [
        accuracy_score(color, predicted[:, 0], sample_weight=weights),
        accuracy_score(size, predicted[:, 1].astype(int), sample_weight=weights),
    ]
    assert estimator.score(X, y, weights) == pytest.approx(np.mean(accuracies))


FORMS = {
    "dataframe": lambda color, size: pd.DataFrame({"size": size, "color": color}),
    "dict": lambda color, size: {"color": color, "size": size},
    "array": lambda color, size: pd.DataFrame([color, size]).T.to_numpy(),
    "list": lambda color, size: [color, size],
    "lists": lambda color, size: [color.tolist(), size.tolist()],
}


@pytest.mark.parametrize("form", FORMS)
def test_columns_come_in_any_form(form, two_columns):
    _, color, size = two_columns
    heads = {"color": "labels", "size": "labels"}
    table = as_columns(FORMS[form](color, size), heads)
    assert table.shape == (60,)
    np.testing.assert_array_equal(table["color"], color)
    np.testing.assert_array_equal(table["size"], size)
    assert as_columns(table, heads) is table


def test_a_dataframe_for_a_list_of_heads_goes_by_place():
    table = as_columns(pd.DataFrame({"b": [1, 2], "a": ["x", "y"]}), ["labels", "labels"])
    np.testing.assert_array_equal(table["0"], [1, 2])
    np.testing.assert_array_equal(table["1"], ["x", "y"])


def test_the_same_model_is_trained_from_every_form(two_columns):
    X, color, size = two_columns
    weights = []
    for form in ("dataframe", "dict", "list"):
        estimator = classifier(TWO, {"color": "labels", "size": "labels"})
        weights.append(estimator.fit(X, FORMS[form](color, size)).model_.get_weights())
    for others in weights[1:]:
        for first, other in zip(weights[0], others, strict=True):
            np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize("form", ["dataframe", "array"])
def test_heads_are_cross_validated(form, two_columns):
    X, color, size = two_columns
    y = FORMS[form](color, size)
    heads = ["labels", "labels"] if form == "array" else {"color": "labels", "size": "labels"}
    cv = KFold(2, shuffle=True, random_state=0)
    estimator = classifier(TWO, heads, epochs=20, optimizer=keras.optimizers.Adam(0.1))
    assert cross_val_score(estimator, X, y, cv=cv, error_score="raise").min() > 0.8
    assert cross_val_predict(estimator, X, y, cv=cv).shape == (60, 2)


def test_a_number_and_a_class_are_predicted_together(two_columns, rng):
    X, color, _ = two_columns
    ages = rng.normal(size=60)
    model = heads_model(softmax(3, "color"), linear(1, "age"))
    target = Heads({"color": "labels", "age": "values"})
    loss = {"color": SPARSE, "age": "mse"}
    y = pd.DataFrame({"color": color, "age": ages})
    estimator = classifier(model, target, loss=loss).fit(X, y)
    outputs = estimator.model_.predict(X, verbose=0)
    predicted = estimator.predict(X)
    assert predicted.dtype == object
    np.testing.assert_allclose(predicted[:, 1].astype(float), outputs[1][:, 0], rtol=1e-6)
    (probabilities,) = estimator.predict_proba(X)
    np.testing.assert_allclose(probabilities, outputs[0], rtol=1e-6)
    with pytest.raises(InputValueError, match="of which the scores cannot be averaged"):
        estimator.score(X, y)


def test_numbers_are_scored_by_the_mean_of_r2(line, rng):
    X, y = line
    model = heads_model(linear(1, "a"), linear(1, "b"))
    table = np.column_stack([y, rng.normal(size=60)])
    estimator = GuardedKerasRegressor(
        model, loss="mse", target=["values", "values"], verbose=0, random_state=0
    ).fit(X, table)
    predicted = estimator.predict(X)
    assert predicted.shape == (60, 2)
    expected = np.mean([r2_score(table[:, i], predicted[:, i]) for i in (0, 1)])
    assert estimator.score(X, table) == pytest.approx(expected)


def test_a_head_with_several_numbers_makes_a_list(line):
    X, y = line
    model = heads_model(linear(1, "mean"), linear(2, "quantiles"))
    levels = [0.1, 0.9]
    estimator = GuardedKerasRegressor(
        model,
        loss=["mse", QuantileLoss(levels)],
        target=["values", Quantiles(levels)],
        verbose=0,
    ).fit(X, np.column_stack([y, y]))
    assert [part.shape for part in estimator.predict(X)] == [(60,), (60, 2)]
    assert np.isfinite(estimator.score(X, np.column_stack([y, y])))


@pytest.mark.parametrize(
    ("y", "heads", "match"),
    [
        ({"a": [1], "b": [2]}, {"a": "labels", "c": "labels"}, "the head 'c', but y has 'a', 'b'"),
        ({"a": [1, 2], "b": [2]}, {"a": "labels", "b": "labels"}, "of one length; got 2 of the"),
        (np.zeros((4, 3)), ["labels", "labels"], "one column for each, of one length; got 3"),
        (np.zeros(4), ["labels", "labels"], "one column for each, of one length; got 1"),
    ],
)
def test_columns_that_are_not_those_of_the_heads_are_an_error(y, heads, match):
    with pytest.raises(InputValueError, match=match):
        as_columns(y, heads)


@pytest.mark.parametrize(
    ("model", "target", "match"),
    [
        (
            heads_model(softmax(3, "color")),
            ["labels"] * 2,
            "with 1 outputs, but target has 2",
        ),
        (TWO, {"color": "labels", "height": "labels"}, "has the head 'height', but"),
        (heads_model(softmax(2, "color"), softmax(2, "size")), ["labels"] * 2, "y has 3 classes"),
        (TWO, ["labels", "labelz"], "Did you mean 'labels'"),
        (TWO, ["labels", "values"], "takes class numbers. Use GuardedKerasClassifier"),
    ],
)
def test_heads_that_do_not_fit_the_model_are_an_error(model, target, match, two_columns):
    X, color, size = two_columns
    columns = {"color": color, "size": size, "height": size}
    y = {k: columns[k] for k in target} if isinstance(target, dict) else [color, size]
    estimator = classifier(model, target)
    with pytest.raises(InputValueError, match=match):
        estimator.fit(X, y)
    assert not hasattr(estimator, "model_")


def test_text_for_a_head_of_numbers_is_an_error(two_columns):
    X, color, size = two_columns
    model = heads_model(softmax(2, "size"), linear(1, "color"))
    target = {"size": "labels", "color": "values"}
    estimator = classifier(model, target, loss=[SPARSE, "mse"])
    with pytest.raises(InputValueError, match="numeric"):
        estimator.fit(X, {"color": color, "size": size})


def test_labels_that_a_fold_lacks_are_announced_by_their_head(two_columns):
    X, color, size = two_columns
    target = {"color": Labels(classes=["blue", "green", "red"]), "size": "labels"}
    y = pd.DataFrame({"color": color, "size": size})
    estimator = classifier(TWO, target).fit(X[:40], y[:40])
    assert estimator.predict_proba(X)[0].shape == (60, 3)


def test_a_head_of_logits_is_decoded_by_itself(two_columns):
    X, color, size = two_columns
    model = heads_model(softmax(3, "color"), linear(1, "size"))
    losses = [SPARSE, keras.losses.BinaryCrossentropy(from_logits=True)]
    estimator = classifier(model, ["labels", "labels"], loss=losses).fit(X, [color, size])
    logits = estimator.model_.predict(X, verbose=0)[1][:, 0]
    second = estimator.predict_proba(X)[1][:, 1]
    np.testing.assert_allclose(second, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    np.testing.assert_array_equal(
        estimator.predict(X)[:, 1].astype(int), np.where(logits > 0, 7, 5)
    )


def test_a_head_of_one_hot_columns_is_a_head_of_classes(two_columns):
    X, color, size = two_columns
    columns = np.eye(3)[np.unique(color, return_inverse=True)[1]]
    losses = ["categorical_crossentropy", SPARSE]
    estimator = classifier(TWO, {"color": "labels", "size": "labels"}, loss=losses)
    estimator.fit(X, {"color": columns, "size": size})
    first, second = estimator.predict(X)
    assert (first.shape, second.shape) == ((60, 3), (60,))


def test_heads_of_numbers_have_no_probabilities(line):
    X, y = line
    model = heads_model(linear(1, "a"), linear(1, "b"))
    estimator = classifier(model, ["values", "values"], loss="mse").fit(X, np.column_stack([y, y]))
    with pytest.raises(InputValueError, match="No head of target has classes"):
        estimator.predict_proba(X)


@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_heads_are_validated_in_both_engines(engine, two_columns):
    X, color, size = two_columns
    y = pd.DataFrame({"color": color, "size": size})
    target = {"color": "labels", "size": "labels"}
    estimator = classifier(TWO, target, engine=engine, epochs=2)
    estimator.fit(X, y, X_val=X, y_val=y)
    assert len(estimator.history_["val_loss"]) == 2
