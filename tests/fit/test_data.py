"""Data of a fit is divided and encoded once, and no sample is in two sets."""

import dataclasses
import re
import warnings

import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedShuffleSplit, TimeSeriesSplit
from sklearn.preprocessing import FunctionTransformer

from skguard._fit.arrays import Samples
from skguard._fit.data import FitData, FitInput, divide, prepare
from skguard._fit.settings import FitSettings
from skguard.exceptions import InputValueError
from tests.models import make_classifier, make_regressor

quick = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

EXHAUSTIVE = [
    {"validation_split": 0.25},
    {"validation_fraction": 0.3},
    {"validation_split": 3},
    {"validation_split": KFold(4)},
    {"validation_split": ShuffleSplit(1, test_size=0.4)},
    {"validation_split": StratifiedShuffleSplit(1, test_size=0.5)},
    {"early_stopping": True},
    {"early_stopping": True, "validation_fraction": 0.5},
]
WITH_GAP = [
    {"validation_split": TimeSeriesSplit(3, gap=1)},
    {"validation_split": ShuffleSplit(1, train_size=0.3, test_size=0.3)},
]
TOO_FEW = (
    "leaves none|have weight 0|nonzero for at least one sample|cannot be greater than|"
    "populated class in y|test_size = 1 should be greater|train set will be empty"
)
UNSET = [{}, {"validation_split": 0.0}]


def samples_of(y, weights=None):
    """Samples whose X is their index."""
    y = np.asarray(y)
    weights = None if weights is None else np.asarray(weights, np.float32)
    return Samples(np.arange(len(y), dtype=float)[:, None], y, weights)


def divided(samples, parameters, seed=0, **arguments):
    """Divide samples as a classifier with some parameters does."""
    estimator = make_classifier(**parameters)
    fit_settings = FitSettings.of(estimator, {}, resume=False)
    fit_input = FitInput(samples.X, samples.y, samples.sample_weight, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return divide(estimator, samples, fit_input, fit_settings, seed)


def indices_of(samples):
    return samples.X[:, 0].astype(int)


@st.composite
def weighted_samples(draw):
    """Samples of two classes, some of weight 0, or without weights."""
    n_samples = draw(st.integers(8, 30))
    y = draw(st.lists(st.integers(0, 1), min_size=n_samples, max_size=n_samples))
    assume(2 <= sum(y) <= n_samples - 2)
    weight = st.sampled_from([0.0, 0.5, 1.0, 3.0])
    weights = draw(st.none() | st.lists(weight, min_size=n_samples, max_size=n_samples))
    assume(weights is None or np.any(weights))
    return samples_of(y, weights)


class_weights = st.sampled_from([None, "balanced", {0: 2.0, 1: 0.5}, {0: 1.0, 1: 0.0}])
seeds = st.integers(0, 3)


def divided_if_possible(samples, parameters, seed):
    """Divide samples, unless those of nonzero weight are too few for the rule."""
    try:
        return divided(samples, parameters, seed)
    except ValueError as error:
        assume(not re.search(TOO_FEW, str(error)))
        raise


@quick
@given(weighted_samples(), st.sampled_from(EXHAUSTIVE + WITH_GAP), class_weights, seeds)
def test_training_and_validation_set_are_disjoint(samples, parameters, class_weight, seed):
    data = divided_if_possible(samples, parameters | {"class_weight": class_weight}, seed)
    training, validation = indices_of(data.training), indices_of(data.validation)
    assert np.intersect1d(training, validation).size == 0
    assert len(np.unique(training)) == len(training)
    assert len(np.unique(validation)) == len(validation)
    assert len(training) > 0
    assert len(validation) > 0


@quick
@given(weighted_samples(), st.sampled_from(EXHAUSTIVE), seeds)
def test_the_two_sets_have_all_samples_of_nonzero_weight(samples, parameters, seed):
    data = divided_if_possible(samples, parameters, seed)
    both = np.concatenate([indices_of(data.training), indices_of(data.validation)])
    assert np.array_equal(np.sort(both), samples.weighted_indices())


@quick
@given(weighted_samples(), st.sampled_from(UNSET), seeds)
def test_without_a_rule_all_samples_of_nonzero_weight_are_trained_on(samples, parameters, seed):
    data = divided(samples, parameters, seed)
    assert np.array_equal(indices_of(data.training), samples.weighted_indices())
    assert data.validation is None
    assert data.validation_indices is None
    assert not data.has_validation


@quick
@given(weighted_samples(), st.sampled_from(EXHAUSTIVE + WITH_GAP), class_weights, seeds)
def test_every_sample_keeps_its_target_and_weight(samples, parameters, class_weight, seed):
    data = divided_if_possible(samples, parameters | {"class_weight": class_weight}, seed)
    assert np.array_equal(data.training.y, samples.y[indices_of(data.training)])
    assert np.array_equal(data.validation.y, samples.y[indices_of(data.validation)])
    if samples.sample_weight is None:
        assert data.validation.sample_weight is None
    else:
        expected = samples.sample_weight[indices_of(data.validation)]
        assert np.array_equal(data.validation.sample_weight, expected)
        assert np.all(expected != 0)


@quick
@given(weighted_samples(), st.sampled_from(EXHAUSTIVE + UNSET), seeds)
def test_class_weights_are_multiplied_into_the_weights_of_the_training_set(
    samples, parameters, seed
):
    by_class = {0: 3.0, 1: 0.0}
    plain = divided_if_possible(samples, parameters, seed).training
    assume(np.any(plain.y == 0))
    weighted = divided(samples, parameters | {"class_weight": by_class}, seed).training
    is_weighted = plain.y == 0  # those of class 1 have weight 0, and so are left out
    assert np.array_equal(indices_of(weighted), indices_of(plain)[is_weighted])
    before = np.ones(len(plain)) if plain.sample_weight is None else plain.sample_weight
    assert np.array_equal(weighted.sample_weight, 3 * before[is_weighted])


@quick
@given(weighted_samples(), st.sampled_from(EXHAUSTIVE + WITH_GAP), seeds)
def test_validation_indices_are_indices_of_x(samples, parameters, seed):
    data = divided_if_possible(samples, parameters, seed)
    assert np.array_equal(data.validation_indices, indices_of(data.validation))
    assert data.X is samples.X
    assert data.y is samples.y


@quick
@given(weighted_samples(), st.sampled_from(EXHAUSTIVE + WITH_GAP), seeds)
def test_one_seed_gives_one_division(samples, parameters, seed):
    first = divided_if_possible(samples, parameters, seed)
    np.random.random(3)
    second = divided(samples, parameters, seed)
    assert np.array_equal(first.validation_indices, second.validation_indices)
    assert np.array_equal(first.training.X, second.training.X)


@quick
@given(weighted_samples(), st.sampled_from(EXHAUSTIVE), class_weights)
def test_dividing_does_not_change_the_arrays(samples, parameters, class_weight):
    for array in (samples.X, samples.y, samples.sample_weight):
        if array is not None:
            array.flags.writeable = False
    divided_if_possible(samples, parameters | {"class_weight": class_weight}, 0)


@pytest.mark.parametrize("class_weight", [{0: 1.0, 1: 0.0}, "balanced"], ids=str)
def test_balanced_class_weights_are_those_of_the_training_set(class_weight):
    samples = samples_of([0, 0, 0, 1, 1, 1, 1, 1])
    parameters = {"validation_split": 0.25, "class_weight": class_weight}
    training = divided(samples, parameters).training
    expected = [1, 1, 1] if class_weight != "balanced" else [1, 1, 1, 1, 1, 1]
    assert training.sample_weight.tolist() == expected


def test_class_weights_of_zero_for_all_samples_are_rejected():
    with pytest.raises(ValueError, match="must be nonzero for at least one sample"):
        divided(samples_of([0, 0, 1, 1]), {"class_weight": {0: 0.0, 1: 0.0}})


@pytest.mark.parametrize(("first", "side"), [(0, "training"), (6, "validation")])
def test_a_set_without_samples_of_nonzero_weight_is_rejected(first, side):
    splits = [(np.arange(6), np.arange(6, 10))]
    weights = np.ones(10)
    weights[first : first + 6] = 0
    with pytest.raises(InputValueError, match=rf"samples of the {side} set by .* have weight 0"):
        divided(samples_of([0, 1] * 5, weights), {"validation_split": splits})


def test_samples_stay_sparse():
    X = scipy.sparse.csr_array(np.eye(10))
    data = divided(Samples(X, np.arange(10) % 2), {"validation_fraction": 0.2})
    assert scipy.sparse.issparse(data.training.X)
    assert scipy.sparse.issparse(data.validation.X)
    assert np.array_equal(data.validation.X.toarray(), np.eye(10)[data.validation_indices])


@pytest.mark.parametrize("form", ["X_val", "validation_data"])
def test_supplied_validation_data_takes_precedence_over_a_rule(form, blobs, other_blobs):
    X_val, y_val = other_blobs
    weights = np.arange(1.0, 22.0)
    estimator = make_classifier(validation_split=0.25)
    names = ("X_val", "y_val", "sample_weight_val")
    supplied = (X_val, y_val, weights)
    call = {"validation_data": supplied} if form == "validation_data" else {}
    fit_input = FitInput(*blobs, **dict(zip(names, supplied, strict=True)) if not call else {})
    draft = estimator._draft(keep_fitted=False, attributes={"classes_": None})
    data = prepare(draft, fit_input, FitSettings.of(estimator, call, resume=False), None)
    assert len(data.training) == 60
    assert np.array_equal(data.validation.X, X_val)
    assert np.array_equal(data.validation.y, y_val)
    assert np.array_equal(data.validation.sample_weight, weights)
    assert data.validation_indices is None


def test_a_dataset_is_passed_on_as_it_is(blobs):
    dataset = object()
    settings_ = FitSettings.of(make_classifier(), {"validation_data": dataset}, resume=False)
    data = divide(None, samples_of([0, 1] * 5), FitInput(None), settings_, 0)
    assert data.has_validation
    assert data.validation is None
    encoded = data.encoded_by(FunctionTransformer(), FunctionTransformer())
    assert encoded.validation_data is dataset


class Scaling(TransformerMixin, BaseEstimator):
    """An encoder that counts what it transforms."""

    def __init__(self, factor):
        self.factor = factor
        self.lengths = []

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        self.lengths.append(len(X))
        return self.factor * X


@pytest.fixture
def fit_data():
    samples = samples_of(np.arange(10), np.arange(10))
    training, validation = np.arange(7), np.arange(7, 10)
    return FitData(
        samples.X, samples.y, samples.take(training), samples.take(validation), None, validation
    )


def test_both_sets_are_encoded_and_keep_their_weights(fit_data):
    encoded = fit_data.encoded_by(Scaling(2), Scaling(-1))
    assert encoded.X[:, 0].tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert encoded.y.tolist() == [0, -1, -2, -3, -4, -5, -6]
    assert encoded.sample_weight.tolist() == [0, 1, 2, 3, 4, 5, 6]
    X, y, weights = encoded.validation_data
    assert X[:, 0].tolist() == [14, 16, 18]
    assert y.tolist() == [-7, -8, -9]
    assert weights.tolist() == [7, 8, 9]


def test_without_a_validation_set_none_is_encoded(fit_data):
    encoded = dataclasses.replace(fit_data, validation=None).encoded_by(Scaling(2), Scaling(-1))
    assert encoded.validation_data is None


def test_data_is_encoded_once_by_the_same_encoders(fit_data):
    features, target = Scaling(2), Scaling(-1)
    data = dataclasses.replace(fit_data, encoded=fit_data.encoded_by(features, target))
    assert data.encoded_by(features, target) is data.encoded
    assert features.lengths == target.lengths == [7, 3]


@pytest.mark.parametrize("other", ["features", "target"])
def test_data_is_encoded_again_by_another_encoder(other, fit_data):
    encoders = {"features": Scaling(2), "target": Scaling(-1)}
    data = dataclasses.replace(fit_data, encoded=fit_data.encoded_by(*encoders.values()))
    encoders[other] = Scaling(5)
    again = data.encoded_by(*encoders.values())
    assert again.X[1, 0] == (5 if other == "features" else 2)
    assert again.y[1] == (5 if other == "target" else -1)
    assert again.validation_data[0][0, 0] == (35 if other == "features" else 14)


def test_targets_may_be_missing():
    samples = Samples(np.arange(6.0)[:, None], None)
    data = FitData(samples.X, None, samples, samples)
    encoded = data.encoded_by(FunctionTransformer(), FunctionTransformer(lambda y: y))
    assert encoded.y is None
    assert encoded.validation_data[1] is None


def test_preparing_sets_attributes_of_the_draft_only(line):
    estimator = make_regressor(validation_fraction=0.25)
    before = dict(vars(estimator))
    draft = estimator._draft(keep_fitted=False)
    data = prepare(draft, FitInput(*line), FitSettings.of(estimator, {}, resume=False), 0)
    assert draft.n_features_in_ == 4
    assert len(data.encoded.X) == 45
    assert len(data.encoded.validation_data[0]) == 15
    assert vars(estimator) == before


def test_preparing_resumed_training_checks_the_data_against_the_first(line):
    estimator = make_regressor().fit(*line)
    resumed = FitSettings.of(estimator, {}, resume=True)
    draft = estimator._draft(keep_fitted=True)
    with pytest.raises(ValueError, match="3 features, but GuardedKerasRegressor is expecting 4"):
        prepare(draft, FitInput(line[0][:, :3], line[1]), resumed, 0)
    encoded = prepare(draft, FitInput(*line), resumed, 0).encoded
    assert encoded.feature_encoder is estimator.feature_encoder_
    assert encoded.target_encoder is estimator.target_encoder_
