"""Targets, class weights and losses that cannot be meant are errors that say what to pass."""

import copy
import pickle

import keras
import numpy as np
import pytest
from sklearn.base import clone

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard.exceptions import InputValueError, UnusedParameterWarning
from skguard.targets import Labels, MeanAndDeviation, MultiLabel, Ordinal, Quantiles, Values
from skguard.targets._choice import WORDS
from tests.targets.outputs import dense

SETTINGS = {"verbose": 0, "random_state": 0}
X = np.random.default_rng(0).normal(size=(40, 4))
NUMBERS = np.random.default_rng(1).integers(3, size=40)
OF_NUMBERS = ["values", "quantiles", "mean_and_deviation", Values(), Quantiles([0.5])]
OF_NUMBERS += [MeanAndDeviation()]
OF_CLASSES = [word for word in WORDS if word not in OF_NUMBERS]
OF_CLASSES += [Labels(), MultiLabel(), Ordinal()]


def build():
    return dense(3, "softmax")()


def build_of_two_inputs():
    inputs = [keras.Input((2,)), keras.Input((2,))]
    joined = keras.layers.Concatenate()(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, "softmax")(joined))


def classifier(model=build, **parameters):
    settings = {"loss": "sparse_categorical_crossentropy", **SETTINGS, **parameters}
    return GuardedKerasClassifier(model, **settings)


@pytest.mark.parametrize("target", OF_NUMBERS, ids=str)
def test_a_classifier_with_a_target_of_numbers_names_the_regressor(target):
    with pytest.raises(InputValueError, match=r"is for numbers\. Use GuardedKerasRegressor"):
        classifier(target=target).fit(X, NUMBERS)


@pytest.mark.parametrize("target", OF_CLASSES, ids=str)
def test_a_regressor_with_a_target_of_classes_names_the_classifier(target):
    estimator = GuardedKerasRegressor(dense(1), loss="mse", target=target, **SETTINGS)
    with pytest.raises(InputValueError, match=r"is for classes\. Use GuardedKerasClassifier"):
        estimator.fit(X, NUMBERS)


@pytest.mark.parametrize("target", ["quantiles", Quantiles()], ids=str)
def test_quantiles_without_levels_and_loss_name_the_levels(target):
    estimator = GuardedKerasRegressor(dense(3), target=target, **SETTINGS)
    with pytest.raises(InputValueError, match=r"Quantiles\(\[0.1, 0.5, 0.9\]\)"):
        estimator.fit(X, X[:, 0])


PATHS = {
    "itself": lambda estimator: estimator,
    "deepcopy": copy.deepcopy,
    "pickle": lambda estimator: pickle.loads(pickle.dumps(estimator)),
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "labels"),
        ("class_numbers", Labels(outputs="logits")),
        (Labels(), Labels(classes=[0, 1, 2])),
        pytest.param(None, (np.copy, np.copy), id="None-functions"),
    ],
    ids=str,
)
def test_another_target_for_the_same_model_is_an_error(path, before, after):
    estimator = path(classifier(target=before, warm_start=True).fit(X, NUMBERS))
    estimator.fit(X, NUMBERS)
    with pytest.raises(InputValueError, match=r"target=.* would never be used"):
        estimator.set_params(target=after).fit(X, NUMBERS)
    clone(estimator).set_params(target=before).fit(X, NUMBERS)


def test_an_equal_target_for_the_same_model_is_the_same():
    estimator = classifier(target=Labels(classes=[0, 1, 2]), warm_start=True).fit(X, NUMBERS)
    estimator.set_params(target=Labels(classes=[0, 1, 2])).fit(X, NUMBERS)
    with pytest.raises(InputValueError, match="target"):
        estimator.set_params(target__classes=[0, 1, 2, 3]).fit(X, NUMBERS)


def test_other_inputs_for_the_same_model_are_an_error():
    inputs = [[0, 1], [2, 3]]
    estimator = classifier(build_of_two_inputs, warm_start=True, inputs=inputs).fit(X, NUMBERS)
    estimator.fit(X, NUMBERS)
    with pytest.raises(InputValueError, match=r"inputs=.* would never be used"):
        estimator.set_params(inputs=[[2, 3], [0, 1]]).fit(X, NUMBERS)


LABELS = {
    "text": (np.array(["ant", "bee", "cat"])[NUMBERS], {"ant": 2.0, "bea": 1.0}, "bee"),
    "numbers": (NUMBERS, {0: 2.0, 3: 1.0}, "0, 1, 2"),
    "text_for_numbers": (NUMBERS, {"0": 2.0, "1": 1.0, "2": 1.0}, "0, 1, 2"),
    "columns": (np.eye(3)[NUMBERS], {0: 2.0, "ant": 1.0}, "0, 1, 2"),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("way", ["parameter", "fit", "fit__"])
def test_class_weights_of_a_misspelt_label_name_the_labels(kind, way):
    y, weights, match = LABELS[kind]
    loss = "categorical_crossentropy" if y.ndim > 1 else "sparse_categorical_crossentropy"
    estimator = classifier(loss=loss)
    arguments = {"class_weight": weights} if way == "fit" else {}
    name = {"parameter": "class_weight", "fit__": "fit__class_weight"}.get(way)
    if name is not None:
        estimator.set_params(**{name: weights})
    with pytest.raises(InputValueError, match=f"class_weight has the label .*{match}"):
        estimator.fit(X, y, **arguments)


def test_class_weights_of_a_label_that_a_fold_lacks_warn_unless_it_is_announced():
    estimator = classifier(class_weight={0: 1.0, 1: 2.0, 2: 3.0})
    y = NUMBERS % 2
    with pytest.warns(UnusedParameterWarning, match="the label 2.*no effect.*classes="):
        estimator.fit(X, y)
    estimator.fit(X, y, classes=[0, 1, 2])


def test_class_weights_of_some_labels_are_the_sample_weights_of_keras():
    weights = np.where(NUMBERS == 1, 5.0, 1.0)
    by_class = classifier(class_weight={1: 5.0}).fit(X, NUMBERS)
    by_sample = classifier().fit(X, NUMBERS, sample_weight=weights)
    assert np.array_equal(by_class.predict_proba(X), by_sample.predict_proba(X))
