"""Fits from labels give the numbers of plain Keras that is given a y prepared by hand."""

import functools

import keras
import numpy as np
import pytest
import scipy.special
from scikeras.utils.transformers import ClassifierLabelEncoder
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, cross_val_predict, cross_val_score
from sklearn.utils.class_weight import compute_class_weight

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard._repairs import seeding
from skguard.exceptions import InputValueError
from skguard.targets import Ordinal
from skguard.targets._losses import LOSSES, Takes
from tests.targets.outputs import dense, per_step

engines = pytest.mark.parametrize("engine", ["fused", "keras"])
LABELS = np.array(["b", "c", "a"])  # which are not sorted
SPARSE = "sparse_categorical_crossentropy"
DEFAULTS = {
    "optimizer": "adam",
    "epochs": 1,
    "batch_size": 16,
    "shuffle": False,
    "verbose": 0,
    "random_state": 0,
}


def classifier(model, loss, **parameters):
    return GuardedKerasClassifier(model, loss=loss, **DEFAULTS | parameters)


def regressor(model, loss, **parameters):
    return GuardedKerasRegressor(model, loss=loss, **DEFAULTS | parameters)


@pytest.fixture
def data(blobs):
    """Return X, text labels of three classes, and their numbers by hand."""
    X, y = blobs
    shuffled = np.random.default_rng(1).permutation(len(y))
    numbers = np.array([1, 2, 0])[y[shuffled]]  # of the sorted labels
    return X[shuffled].astype("float32"), LABELS[y[shuffled]], numbers


@pytest.fixture
def two_classes(data):
    X, y, _ = data
    return X, np.where(y == "b", "yes", "no"), (y == "b").astype(int)


def fit_by_keras(estimator, X, y, prepared, loss, **arguments):
    """Train plain Keras on a prepared y, from the initial weights of the estimator."""
    started = clone(estimator).initialize(X, y)
    model = keras.models.clone_model(started.model_)
    model.set_weights(started.model_.get_weights())
    model.compile("adam", loss)
    epochs = estimator.epochs
    with seeding.seeded(0):  # as a fit does, since it changes the rounding
        history = model.fit(
            X, prepared, epochs=epochs, batch_size=16, shuffle=False, verbose=0, **arguments
        )
    return model, history.history


def assert_trained_as(estimator, X, y, prepared, loss, **arguments):
    """Fit to y, check that weights and losses are those of plain Keras, and return its outputs."""
    estimator.fit(X, y)
    model, history = fit_by_keras(estimator, X, y, prepared, loss, **arguments)
    for ours, theirs in zip(estimator.model_.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(estimator.history_["loss"], history["loss"], rtol=1e-5)
    return model.predict(X, verbose=0)


def columns(numbers, units=3):
    return np.eye(units, dtype="float32")[numbers]


@engines
@pytest.mark.parametrize(
    "loss",
    [
        "categorical_focal_crossentropy",
        keras.losses.CategoricalFocalCrossentropy,
        keras.losses.CategoricalFocalCrossentropy(),
        keras.losses.categorical_focal_crossentropy,
    ],
    ids=["name", "class", "object", "function"],
)
def test_labels_with_a_focal_loss_are_trained_as_one_hot_columns(loss, engine, data):
    X, y, numbers = data
    estimator = classifier(dense(3, "softmax"), loss, engine=engine)
    given = loss() if isinstance(loss, type) else loss
    outputs = assert_trained_as(estimator, X, y, columns(numbers), given)
    np.testing.assert_array_equal(estimator.predict(X), np.sort(LABELS)[outputs.argmax(axis=1)])
    np.testing.assert_allclose(estimator.predict_proba(X), outputs, rtol=1e-4)


def custom_focal(y, p):
    return -keras.ops.sum(y * (1 - p) ** 2 * keras.ops.log(p + 1e-7), axis=-1)


@engines
@pytest.mark.parametrize(
    "loss",
    [
        "kl_divergence",
        "cosine_similarity",
        "hinge",
        "squared_hinge",
        "categorical_hinge",
        "dice",
        "tversky",
        custom_focal,
    ],
)
def test_labels_with_other_losses_of_columns_are_trained_as_one_hot(loss, engine, data):
    X, y, numbers = data
    estimator = classifier(dense(3, "softmax"), loss, engine=engine)
    outputs = assert_trained_as(estimator, X, y, columns(numbers), loss)
    np.testing.assert_array_equal(estimator.predict(X), np.sort(LABELS)[outputs.argmax(axis=1)])


@pytest.mark.parametrize("loss", ["kl_divergence", keras.losses.Dice(), custom_focal])
def test_a_loss_that_the_model_function_compiles_is_trained_in_the_same_way(loss, data):
    X, y, _ = data
    settings = {name: value for name, value in DEFAULTS.items() if name != "optimizer"}
    estimator = GuardedKerasClassifier(dense(3, "softmax", loss), **settings)
    by_estimator = classifier(dense(3, "softmax"), loss)
    assert_same_weights(estimator.fit(X, y), by_estimator.fit(X, y))


@pytest.mark.parametrize("loss", ["categorical_focal_crossentropy", "dice", "hinge", custom_focal])
def test_separable_labels_are_learned(loss, data):
    X, y, _ = data
    optimizer = keras.optimizers.Adam(0.1)
    estimator = classifier(dense(3, "softmax"), loss, epochs=20, optimizer=optimizer)
    assert estimator.fit(X, y).score(X, y) > 0.9


@engines
def test_two_classes_may_have_two_units_of_one_hot_columns(engine, two_classes):
    X, y, numbers = two_classes
    loss = "categorical_crossentropy"
    estimator = classifier(dense(2, "softmax"), loss, engine=engine)
    outputs = assert_trained_as(estimator, X, y, columns(numbers, 2), loss)
    expected = np.array(["no", "yes"])[outputs.argmax(axis=1)]
    np.testing.assert_array_equal(estimator.predict(X), expected)


@engines
@pytest.mark.parametrize("loss", [SPARSE, "categorical_crossentropy"])
def test_a_fold_without_a_class_has_its_column_if_it_is_announced(loss, engine, data):
    X, y, numbers = data
    seen = y != "b"
    estimator = classifier(dense(3, "softmax"), loss, engine=engine)
    estimator.fit(X[seen], y[seen], classes=np.unique(y))
    prepared = numbers[seen] if loss == SPARSE else columns(numbers[seen])
    by_hand = pass_through(dense(3, "softmax"), loss, engine=engine).fit(X[seen], prepared)
    assert_same_weights(estimator, by_hand)
    np.testing.assert_array_equal(estimator.classes_, ["a", "b", "c"])
    assert estimator.predict_proba(X).shape == (60, 3)


def identity(y):
    return y


def pass_through(model, loss, **parameters):
    """Return an estimator that gives its model the y that it is given."""
    return regressor(model, loss, target=(identity, identity), **parameters)


def assert_same_weights(first, second):
    for one, other in zip(first.model_.get_weights(), second.model_.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@engines
@pytest.mark.parametrize("loss", [SPARSE, "categorical_crossentropy", "kl_divergence", "mse"])
def test_more_units_than_classes_leave_the_columns_of_the_classes(loss, engine, data):
    X, y, numbers = data
    estimator = classifier(dense(5, "softmax"), loss, engine=engine)
    prepared = numbers if loss == SPARSE else columns(numbers, 5)
    outputs = assert_trained_as(estimator, X, y, prepared, loss)[:, :3]
    expected = outputs / outputs.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(estimator.predict_proba(X), expected, rtol=1e-4)
    np.testing.assert_array_equal(estimator.predict(X), np.sort(LABELS)[outputs.argmax(axis=1)])


@engines
@pytest.mark.parametrize(
    ("loss", "is_sparse"),
    [
        (keras.losses.CategoricalCrossentropy(from_logits=True), False),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), True),
        (functools.partial(keras.losses.categorical_crossentropy, from_logits=True), False),
    ],
)
def test_logits_of_classes_become_probabilities(loss, is_sparse, engine, data):
    X, y, numbers = data
    estimator = classifier(dense(3), loss, engine=engine)
    prepared = numbers if is_sparse else columns(numbers)
    logits = assert_trained_as(estimator, X, y, prepared, loss)
    expected = scipy.special.softmax(logits, axis=1)
    np.testing.assert_allclose(estimator.predict_proba(X), expected, rtol=1e-4)
    np.testing.assert_array_equal(estimator.predict(X), np.sort(LABELS)[logits.argmax(axis=1)])
    assert np.isfinite(log_loss(y, estimator.predict_proba(X)))


@engines
def test_one_logit_is_cut_at_0_and_becomes_a_probability(engine, two_classes):
    X, y, numbers = two_classes
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    estimator = classifier(dense(1), loss, engine=engine)
    logits = assert_trained_as(estimator, X, y, numbers[:, np.newaxis].astype("float32"), loss)
    np.testing.assert_array_equal(estimator.predict(X), np.where(logits[:, 0] > 0, "yes", "no"))
    second = scipy.special.expit(logits[:, 0].astype(float))
    expected = np.column_stack([1 - second, second])
    np.testing.assert_allclose(estimator.predict_proba(X), expected, rtol=1e-4)


def test_soft_voting_averages_probabilities_of_logits(two_classes):
    X, y, _ = two_classes
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    estimators = [(f"e{i}", classifier(dense(1), loss, random_state=i)) for i in range(2)]
    voting = VotingClassifier(estimators, voting="soft").fit(X, y)
    found = voting.predict_proba(X)
    expected = np.mean([fitted.predict_proba(X) for fitted in voting.estimators_], axis=0)
    np.testing.assert_allclose(found, expected)
    assert found.min() >= 0


@engines
def test_logits_of_several_labels_become_0_and_1(engine, data, rng):
    X, _, _ = data
    y = rng.integers(2, size=(60, 4))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    estimator = classifier(dense(4), loss, engine=engine)
    logits = assert_trained_as(estimator, X, y, y, loss)
    np.testing.assert_array_equal(estimator.predict(X), logits > 0)
    np.testing.assert_allclose(estimator.predict_proba(X), scipy.special.expit(logits), rtol=1e-4)


@pytest.mark.parametrize("units", [1, 3])
def test_a_model_without_an_activation_is_an_error_before_training(units, data):
    X, y, _ = data
    y = y if units == 3 else np.where(y == "a", 1, 0)
    loss = SPARSE if units == 3 else "binary_crossentropy"
    with pytest.raises(InputValueError, match=r"needs probabilities, but the output layer"):
        classifier(dense(units), loss).fit(X, y)


def pinball(y, p):
    levels = keras.ops.convert_to_tensor([0.1, 0.5, 0.9])
    error = y - p
    return keras.ops.mean(keras.ops.maximum(levels * error, (levels - 1) * error), axis=-1)


@engines
def test_quantiles_are_trained_as_by_keras_and_keep_their_shape(engine, line):
    X, y = line
    X = X.astype("float32")
    estimator = regressor(dense(3), pinball, target="quantiles", engine=engine)
    outputs = assert_trained_as(estimator, X, y, y[:, np.newaxis].astype("float32"), pinball)
    np.testing.assert_allclose(estimator.predict(X), outputs, rtol=1e-4, atol=1e-6)
    found = cross_val_predict(estimator, X, y, cv=KFold(3))
    expected = np.empty((60, 3))
    for train, test in KFold(3).split(X):
        expected[test] = clone(estimator).fit(X[train], y[train]).predict(X[test])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("loss", ["mse", pinball])
def test_three_outputs_for_one_number_are_an_error_before_training(loss, line):
    with pytest.raises(InputValueError, match='For several outputs per target, pass target="quan'):
        regressor(dense(3), loss).fit(*line)


@engines
def test_ordered_classes_are_trained_as_levels(engine, data):
    X, y, numbers = data
    levels = (numbers[:, np.newaxis] > np.arange(2)).astype("float32")
    target = Ordinal(classes=["a", "b", "c"])
    estimator = classifier(dense(2, "sigmoid"), None, target=target, engine=engine)
    estimator.set_params(loss="binary_crossentropy")
    outputs = assert_trained_as(estimator, X, y, levels, "binary_crossentropy")
    above = np.minimum.accumulate(outputs, axis=1)
    np.testing.assert_array_equal(estimator.predict(X), np.sort(LABELS)[(above > 0.5).sum(axis=1)])
    expected = np.column_stack([1 - above[:, 0], above[:, 0] - above[:, 1], above[:, 1]])
    np.testing.assert_allclose(estimator.predict_proba(X), expected, atol=1e-5)


def test_one_unit_less_than_classes_is_an_error_before_training(data):
    X, y, _ = data
    with pytest.raises(InputValueError, match='pass target="ordinal"'):
        classifier(dense(2, "sigmoid"), "binary_crossentropy").fit(X, y)


@pytest.fixture
def sequences(rng):
    """Return 30 sequences of 6 steps, and the number of a tag for each step."""
    tags = rng.integers(3, size=(30, 6))
    return (rng.normal(size=(30, 6, 2)) + tags[..., np.newaxis]).astype("float32"), tags


@engines
@pytest.mark.parametrize("loss", [SPARSE, "categorical_crossentropy"])
@pytest.mark.parametrize("form", ["text", "numbers", "one_hot"])
def test_one_label_per_step_is_trained_as_by_keras(form, loss, engine, sequences):
    X, tags = sequences
    y = {"text": np.sort(LABELS)[tags], "numbers": tags, "one_hot": columns(tags)}[form]
    prepared = tags if loss == SPARSE else columns(tags)
    estimator = classifier(per_step(3, "softmax"), loss, engine=engine)
    outputs = assert_trained_as(estimator, X, y, prepared, loss)
    numbers = outputs.argmax(axis=-1)
    expected = np.sort(LABELS)[numbers] if form == "text" else numbers
    np.testing.assert_array_equal(estimator.predict(X), expected)
    np.testing.assert_allclose(estimator.predict_proba(X), outputs, rtol=1e-4)
    assert estimator.score(X, y) == pytest.approx((numbers == tags).mean())


@pytest.mark.parametrize("form", ["text", "one_hot"])
def test_labels_per_step_are_cross_validated(form, sequences):
    X, tags = sequences
    y = np.sort(LABELS)[tags] if form == "text" else columns(tags)
    estimator = classifier(per_step(3, "softmax"), "categorical_crossentropy")
    scores = cross_val_score(estimator, X, y, cv=KFold(2), error_score="raise")
    assert np.all((scores >= 0) & (scores <= 1))


@engines
@pytest.mark.parametrize("form", ["text", "one_hot"])
def test_balanced_weights_are_those_of_the_classes(form, engine, data):
    X, y, numbers = data
    kept = np.r_[0:20, np.flatnonzero(numbers == 0)]
    X, y, numbers = X[kept], y[kept], numbers[kept]
    given = y if form == "text" else columns(numbers)
    loss = "categorical_crossentropy"
    estimator = classifier(dense(3, "softmax"), loss, class_weight="balanced", engine=engine)
    by_class = compute_class_weight("balanced", classes=np.arange(3), y=numbers)
    weights = by_class[numbers].astype("float32")
    assert_trained_as(estimator, X, given, columns(numbers), loss, sample_weight=weights)


@pytest.mark.parametrize(
    "rule",
    [{"validation_fraction": 0.2}, {"early_stopping": True, "validation_fraction": 0.2}],
    ids=["fraction", "early_stopping"],
)
def test_one_hot_columns_are_stratified_as_labels(rule, data):
    X, y, numbers = data
    chosen = []
    for given in (y, columns(numbers)):
        estimator = classifier(dense(3, "softmax"), "categorical_crossentropy", **rule)
        chosen.append(estimator.fit(X, given).validation_indices_)
    np.testing.assert_array_equal(*chosen)
    assert np.bincount(numbers[chosen[0]]).tolist() == [4, 4, 4]


def test_one_hot_columns_of_which_a_class_is_missing_in_training_are_a_warning(blobs):
    X, y = blobs  # sorted by label, so that the last samples are one class
    messages = []
    for given in (y, columns(y)):
        estimator = classifier(
            dense(3, "softmax"), "categorical_crossentropy", validation_split=1 / 3
        )
        with pytest.warns(UserWarning, match=r"validation_split.*") as caught:
            estimator.fit(X, given)
        messages.append([str(warning.message) for warning in caught])
    assert messages[0] == messages[1]


class EncoderWithConstructor(ClassifierLabelEncoder):
    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def fit(self, y):
        self.n_classes_ = len(np.unique(y))
        self.classes_ = np.unique(y)
        return self

    def transform(self, y):
        return np.searchsorted(self.classes_, y)

    def inverse_transform(self, outputs, return_proba=False):
        return outputs if return_proba else self.classes_[outputs.argmax(axis=1)]

    def get_metadata(self):
        return {"classes_": self.classes_, "n_classes_": self.n_classes_}


def test_an_encoder_of_scikeras_with_its_own_constructor_works(data):
    class WithEncoder(GuardedKerasClassifier):
        @property
        def target_encoder(self):
            return EncoderWithConstructor("a", 2)

    X, y, _ = data
    estimator = WithEncoder(dense(3, "softmax"), loss=SPARSE, **DEFAULTS).fit(X, y)
    plain = classifier(dense(3, "softmax"), SPARSE).fit(X, y)
    assert_same_weights(estimator, plain)
    np.testing.assert_array_equal(estimator.predict(X), plain.predict(X))


# The function of this loss has an argument without a default.
OBJECTS = {
    "categorical_generalized_cross_entropy": getattr(
        keras.losses, "CategoricalGeneralizedCrossEntropy", keras.losses.MeanSquaredError
    )()
}
FUNCTIONS = sorted(name for name in LOSSES if hasattr(keras.losses, name))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("n_classes", "units", "activation"), [(3, 3, "softmax"), (2, 2, "softmax"), (2, 1, "sigmoid")]
)
def test_every_loss_trains_on_labels_as_on_a_prepared_y_or_raises(
    name, n_classes, units, activation, data
):
    X, y, numbers = data
    kept = numbers < n_classes
    X, y, numbers = X[kept], y[kept], numbers[kept]
    loss = OBJECTS.get(name, name)
    estimator = classifier(dense(units, activation), loss)
    takes = LOSSES[name][0]
    is_compared = takes is Takes.ELEMENTS or (
        units > 1 and takes in (Takes.DISTRIBUTION, Takes.CLASS_NUMBERS)
    )
    if not is_compared:
        with pytest.raises(InputValueError, match=r"do not stand for classes|has 1 unit\b"):
            estimator.fit(X, y)
        return
    prepared = numbers if takes is Takes.CLASS_NUMBERS else columns(numbers, n_classes)
    prepared = numbers[:, np.newaxis] if units == 1 else prepared
    by_hand = pass_through(dense(units, activation), loss).fit(X, prepared)
    assert_same_weights(estimator.fit(X, y), by_hand)
    assert estimator.history_["loss"] == by_hand.history_["loss"]
    outputs = by_hand.model_.predict(X, verbose=0)
    decided = outputs[:, 0] > 0.5 if units == 1 else outputs.argmax(axis=1)
    np.testing.assert_array_equal(estimator.predict(X), np.sort(LABELS)[decided.astype(int)])
