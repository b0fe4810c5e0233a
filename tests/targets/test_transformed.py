"""Transformers and functions as targets."""

import keras
import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.preprocessing import (
    FunctionTransformer,
    LabelBinarizer,
    LabelEncoder,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard.exceptions import InputTypeError, InputValueError
from skguard.targets._transformed import Transformed, check_transformer
from tests.targets.outputs import dense, two_heads

TEXT = np.array(["b", "a", "c", "a"])


def test_a_transformer_encodes_and_decodes():
    target = Transformed(LabelBinarizer()).fit(TEXT)
    encoded = target.transform(TEXT)
    np.testing.assert_array_equal(encoded, [[0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(target.inverse_transform(encoded), TEXT)
    np.testing.assert_array_equal(target.classes_, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("transformer", "y"),
    [
        (LabelEncoder(), TEXT),
        (LabelBinarizer(), TEXT),
        (OneHotEncoder(), TEXT),
        (OneHotEncoder(), TEXT[:, np.newaxis]),
        (StandardScaler(), np.array([1.0, 2.0, 4.0])),
        (StandardScaler(), np.array([[1.0], [2.0], [4.0]])),
        (StandardScaler(), np.array([[1.0, 5.0], [2.0, 0.0]])),
        ((np.log, np.exp), np.array([1.0, 2.0, 4.0])),
        (FunctionTransformer(np.log, np.exp), np.array([[1.0, 2.0], [4.0, 3.0]])),
    ],
)
def test_what_is_encoded_is_decoded_in_the_shape_of_y(transformer, y):
    target = Transformed(transformer).fit(y)
    encoded = target.transform(y)
    assert isinstance(encoded, np.ndarray)
    decoded = target.inverse_transform(encoded)
    assert decoded.shape == y.shape
    if y.dtype.kind == "f":
        np.testing.assert_allclose(decoded, y)
    else:
        np.testing.assert_array_equal(decoded, y)


def test_the_transformer_itself_stays_as_it_was():
    transformer = StandardScaler()
    Transformed(transformer).fit(np.array([1.0, 2.0]))
    assert not hasattr(transformer, "mean_")


def test_an_error_of_a_transformer_is_raised():
    class Failing(TransformerMixin, BaseEstimator):
        def fit(self, y):
            raise ValueError("cannot learn, on purpose")

        def inverse_transform(self, y):
            return y

    for y in (TEXT, np.zeros((3, 2))):
        with pytest.raises(ValueError, match="cannot learn, on purpose"):
            Transformed(Failing()).fit(y)


class WithProbabilities(TransformerMixin, BaseEstimator):
    def fit(self, y):
        self.classes_ = np.unique(y)
        return self

    def transform(self, y):
        return (y == self.classes_[1]).astype(float)

    def inverse_transform(self, outputs, return_proba=False):
        if return_proba:
            return np.hstack([1 - outputs, outputs])
        return self.classes_[(outputs[:, 0] > 0.5).astype(int)]

    def get_metadata(self):
        return {"n_units_": 1}


def test_a_transformer_may_decode_probabilities(blobs):
    X, y = blobs
    y = np.where(y == 1, "b", "a")
    estimator = GuardedKerasClassifier(
        dense(1, "sigmoid"), loss="binary_crossentropy", target=WithProbabilities(), verbose=0
    ).fit(X, y)
    outputs = estimator.model_.predict(X, verbose=0)
    np.testing.assert_allclose(estimator.predict_proba(X), np.hstack([1 - outputs, outputs]))
    np.testing.assert_array_equal(estimator.predict(X), np.where(outputs[:, 0] > 0.5, "b", "a"))
    assert estimator.n_units_ == 1


def test_a_transformer_without_probabilities_is_an_error():
    target = Transformed(LabelBinarizer()).fit(TEXT)
    with pytest.raises(InputValueError, match="does not say how outputs become probabilities"):
        target.inverse_transform(np.eye(3), return_proba=True)


@pytest.mark.parametrize("value", [(np.log, np.exp), StandardScaler(), WithProbabilities()])
def test_transformers_and_pairs_of_functions_are_accepted(value):
    check_transformer(value)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (StandardScaler, "is a class. Pass a word such as 'one_hot', an object"),
        ((np.log,), r"must be two functions, \(encode, decode\)"),
        ((np.log, np.exp, np.sin), r"must be two functions, \(encode, decode\)"),
        ((np.log, "exp"), r"must be two functions, \(encode, decode\)"),
        (np.log, "has no fit. Pass a word"),
        (3, "target=3 has no fit"),
        (OneHotEncoder, "is a class"),
    ],
)
def test_other_objects_are_an_error(value, match):
    with pytest.raises(InputTypeError, match=match):
        check_transformer(value)


def test_labels_are_one_per_sample_or_none():
    np.testing.assert_array_equal(Transformed(LabelEncoder()).fit(TEXT).labels(TEXT), TEXT)
    y = np.zeros((3, 2))
    assert Transformed(StandardScaler()).fit(y).labels(y) is None


@pytest.mark.parametrize(("units", "columns"), [(1, 2), (3, 2), (2, 1)])
@pytest.mark.parametrize("target", [StandardScaler(), (np.sin, np.sin)], ids=["class", "functions"])
def test_what_a_transformer_encodes_is_not_broadcast(target, units, columns, rng):
    X, y = rng.normal(size=(20, 4)), rng.normal(size=(20, columns))
    estimator = GuardedKerasRegressor(dense(units), loss="mse", target=target, verbose=0)
    with pytest.raises(InputValueError, match=f"y has {columns} column.* has {units} unit"):
        estimator.fit(X, y)


@pytest.mark.parametrize("as_dict", [False, True])
def test_what_a_transformer_of_a_head_encodes_is_not_broadcast(as_dict, rng):
    X = rng.normal(size=(20, 4))
    model = two_heads(
        lambda: keras.layers.Dense(1, name="a"), lambda: keras.layers.Dense(3, name="b"), as_dict
    )
    target = {"a": "values", "b": StandardScaler()}
    estimator = GuardedKerasRegressor(model, loss="mse", target=target, verbose=0)
    y = {"a": rng.normal(size=20), "b": rng.normal(size=20)}
    with pytest.raises(InputValueError, match=r"y has 1 column.* has 3 units"):
        estimator.fit(X, y)


def test_a_scaled_target_is_predicted_on_its_own_scale(line):
    X, y = line
    estimator = GuardedKerasRegressor(
        dense(1), loss="mse", target=StandardScaler(), verbose=0, random_state=0
    ).fit(X, 1000 * y + 5)
    scaled = estimator.model_.predict(X, verbose=0)[:, 0]
    expected = scaled * (1000 * y).std() + (1000 * y + 5).mean()
    np.testing.assert_allclose(estimator.predict(X), expected, rtol=1e-4)


def _argmax(outputs):
    return np.array(["ant", "bee", "cat"])[outputs.argmax(axis=-1)]


class FakeEncoder(BaseEstimator):
    def fit(self, y):
        return self

    def transform(self, y):
        return np.zeros((len(y), 1))

    def inverse_transform(self, outputs):
        return np.full(len(outputs), "ant")


LABELS = np.array(["ant", "bee", "cat"] * 10)
FEATURES = np.random.default_rng(0).normal(size=(30, 4))
CANNOT_DECODE = {
    "label_encoder": (LabelEncoder(), 3, "softmax", "cannot decode outputs of the shape"),
    "label_encoder_of_one_unit": (LabelEncoder(), 1, None, "cannot decode outputs of the shape"),
    "ordinal_encoder": (OrdinalEncoder(), 3, "softmax", "cannot decode outputs of the shape"),
    "flattened": ((lambda y: y == "ant", np.ravel), 3, "sigmoid", "3 samples.* to 9 values"),
    "another_label": (FakeEncoder(), 1, None, "does not decode what it encodes: .*'bee'|'ant'"),
}


@pytest.mark.parametrize("kind", CANNOT_DECODE)
def test_a_target_that_cannot_decode_outputs_is_an_error_before_training(kind):
    target, units, activation, match = CANNOT_DECODE[kind]

    def loss(y, outputs):
        raise AssertionError("trained")

    estimator = GuardedKerasClassifier(
        dense(units, activation), loss=loss, target=target, verbose=0, max_retries=2
    )
    with pytest.raises(InputValueError, match=rf"(?s)target=.*({match}).*leave out target"):
        estimator.fit(FEATURES, LABELS)


CAN_DECODE = {
    "one_hot_encoder": (OneHotEncoder(sparse_output=False), 3, "softmax"),
    "binarizer": (LabelBinarizer(), 3, "softmax"),
    "argmax": ((lambda y: np.eye(3)[np.searchsorted(["ant", "bee", "cat"], y)], _argmax), 3, None),
}


@pytest.mark.parametrize("kind", CAN_DECODE)
def test_a_target_that_decodes_outputs_is_fitted_and_predicts(kind):
    target, units, activation = CAN_DECODE[kind]
    estimator = GuardedKerasClassifier(
        dense(units, activation), loss="mse", target=target, verbose=0
    )
    assert {*np.ravel(estimator.fit(FEATURES, LABELS).predict(FEATURES))} <= {*LABELS}
