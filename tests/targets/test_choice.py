"""The parameter target: words, objects, and the choice by y without one."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from skguard import GuardedKerasClassifier, GuardedKerasRegressor, targets
from skguard.exceptions import InputTypeError, InputValueError
from skguard.targets import Heads, Labels, MeanAndDeviation, MultiLabel, Ordinal, Quantiles, Values
from skguard.targets._choice import WORDS, TargetChooser, default_loss, has_heads
from skguard.targets._transformed import Transformed
from tests.targets.outputs import dense

NUMBERS = np.array([0, 1, 2, 1])
TEXT = np.array(["a", "b", "b"])
SEVERAL = np.array([[1, 1, 0], [0, 1, 0]])


def choose(y, target=None, is_classifier=True, classes=None):
    return TargetChooser(target, is_classifier, classes).fit(y)


@pytest.mark.parametrize(
    ("word", "cls", "parameters"),
    [
        ("labels", Labels, {}),
        ("class_numbers", Labels, {"encoding": "class_numbers"}),
        ("one_hot", Labels, {"encoding": "one_hot"}),
        ("probabilities", Labels, {"outputs": "probabilities"}),
        ("logits", Labels, {"outputs": "logits"}),
        ("margins", Labels, {"outputs": "margins"}),
        ("multilabel", MultiLabel, {}),
        ("ordinal", Ordinal, {}),
        ("values", Values, {}),
        ("quantiles", Quantiles, {}),
        ("mean_and_deviation", MeanAndDeviation, {}),
    ],
)
def test_a_word_stands_for_a_target(word, cls, parameters):
    assert type(WORDS[word]()) is cls
    found = choose(SEVERAL if cls is MultiLabel else NUMBERS, word, is_classifier=False)
    assert type(found) is cls
    assert found.get_params().items() >= parameters.items()


def test_every_word_has_a_case():
    marks = test_a_word_stands_for_a_target.pytestmark
    assert {case[0] for case in marks[0].args[1]} == set(WORDS)


def test_every_public_target_has_a_word_or_is_of_several():
    public = {getattr(targets, name) for name in targets.__all__}
    assert public == {type(make()) for make in WORDS.values()} | {Heads}


@pytest.mark.parametrize(
    ("y", "is_classifier", "cls"),
    [
        (NUMBERS, True, Labels),
        (TEXT, True, Labels),
        (NUMBERS[:, np.newaxis], True, Labels),
        (np.eye(3), True, Labels),
        (np.array([[0.2, 0.8], [0.5, 0.5]]), True, Labels),
        (np.array([[3, 4], [5, 4]]), True, Labels),
        (SEVERAL, True, MultiLabel),
        (SEVERAL.astype(bool), True, MultiLabel),
        (SEVERAL, False, Values),
        (NUMBERS, False, Values),
        (np.zeros((2, 3, 4)), False, Values),
    ],
)
def test_without_a_parameter_y_decides(y, is_classifier, cls):
    assert type(choose(y, is_classifier=is_classifier)) is cls


@pytest.mark.parametrize(
    ("word", "meant"),
    [("quantile", "quantiles"), ("onehot", "one_hot"), ("logit", "logits"), ("label", "labels")],
)
def test_a_word_that_is_misspelled_is_an_error_that_names_the_right_one(word, meant):
    match = f"target='{word}' must be one of 'labels', .* Did you mean '{meant}'"
    with pytest.raises(InputValueError, match=match):
        choose(NUMBERS, word)


@pytest.mark.parametrize("make", [GuardedKerasClassifier, GuardedKerasRegressor])
@pytest.mark.parametrize(
    ("target", "error", "match"),
    [
        ("nonsense", InputValueError, "target='nonsense' must be one of"),
        (3, InputTypeError, "target=3 has no fit"),
        (Labels, InputTypeError, "is a class"),
        ((np.log,), InputTypeError, "must be two functions"),
    ],
)
def test_an_unusable_target_is_an_error_before_training(make, target, error, match, blobs):
    estimator = make(dense(3, "softmax"), loss="mse", target=target, verbose=0)
    with pytest.raises(error, match=match):
        estimator.fit(*blobs)
    assert not hasattr(estimator, "model_")


def test_a_target_of_the_user_is_copied_and_stays_as_it_was():
    given = Quantiles([0.5])
    found = choose(NUMBERS, given, is_classifier=False)
    assert found is not given
    assert vars(given) == {"levels": [0.5]}
    assert isinstance(choose(NUMBERS, StandardScaler()), Transformed)


def test_announced_classes_reach_the_targets_that_have_them():
    for word in (None, "labels", "one_hot", "ordinal"):
        found = choose(np.array([0, 2]), word, classes=[0, 1, 2])
        np.testing.assert_array_equal(found.classes_, [0, 1, 2])
    found = choose(np.array([0, 1]), Labels(classes=[0, 1]), classes=[0, 1, 2])
    np.testing.assert_array_equal(found.classes_, [0, 1])


@pytest.mark.parametrize("target", [["labels"], {"a": "labels"}, Heads(["labels"])])
def test_a_list_or_dict_has_heads(target):
    assert has_heads(target)


@pytest.mark.parametrize("target", [None, "labels", Labels(), (np.log, np.exp), StandardScaler()])
def test_other_targets_have_no_heads(target):
    assert not has_heads(target)


def test_targets_that_have_a_loss_bring_it():
    assert default_loss("ordinal") == "binary_crossentropy"
    assert default_loss(Quantiles([0.1, 0.9])).levels == [0.1, 0.9]
    assert default_loss("mean_and_deviation").deviation == "log_variance"
    for target in ("quantiles", "labels", None, "nonsense", StandardScaler(), ["labels"]):
        assert default_loss(target) is None


@pytest.mark.parametrize("word", WORDS)
def test_targets_can_be_cloned(word):
    target = WORDS[word]()
    assert clone(target).get_params() == target.get_params()
    estimator = GuardedKerasRegressor(dense(1), target=target)
    assert clone(estimator).target.get_params() == target.get_params()
