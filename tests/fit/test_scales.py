"""A validation set that was not transformed as the training set is named before training."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from skguard import GuardedKerasRegressor
from skguard._fit.arrays import Samples
from skguard._fit.scales import warn_of_other_scale
from skguard.exceptions import ValidationSetWarning
from tests.models import build_regressor


def warnings_of(training, validation, with_y=True):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_other_scale(Samples(*training), Samples(*validation), with_y=with_y)
    return [str(warning.message).partition(" ")[0] for warning in caught]


SCALERS = [StandardScaler(), MinMaxScaler(), RobustScaler(), MinMaxScaler((-1, 1))]
DATA = {"iris": load_iris(return_X_y=True), "diabetes": load_diabetes(return_X_y=True)}


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
@pytest.mark.parametrize("factor", [1.0, 100.0])
def test_a_validation_set_past_a_scaler_is_named(scaler, factor):
    X, y = DATA["iris"]
    X, y = X * factor, y.astype(float)
    scaled = scaler.fit_transform(X)
    assert warnings_of((scaled[:100], y[:100]), (X[100:], y[100:])) == ["X_val"]


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
def test_targets_past_a_scaler_are_named(scaler):
    X, y = DATA["diabetes"]
    scaled = scaler.fit_transform(y[:, np.newaxis])[:, 0]
    assert warnings_of((X[:300], scaled[:300]), (X[300:], y[300:])) == ["y_val"]


def test_a_logarithm_of_the_target_is_named():
    X, y = DATA["diabetes"]
    assert warnings_of((X[:300], np.log(y[:300])), (X[300:], y[300:])) == ["y_val"]


@pytest.mark.parametrize("data", DATA)
@given(st.integers(0, 2**31 - 1), st.integers(8, 60))
def test_a_random_part_of_the_samples_is_not_named(data, seed, n_validation):
    X, y = DATA[data]
    order = np.random.default_rng(seed).permutation(len(X))
    X, y = X[order], y[order].astype(float)
    assert not warnings_of(
        (X[n_validation:], y[n_validation:]), (X[:n_validation], y[:n_validation])
    )


def test_labels_are_not_compared():
    X, y = DATA["iris"]
    assert not warnings_of((X, y), (X, y * 100), with_y=False)


def test_one_sample_and_constant_columns_are_not_compared():
    X, y = np.ones((10, 2)), np.arange(10.0)
    assert not warnings_of((X, y), (X * 50, y))
    assert not warnings_of((X, y), (X[:1] * 50, y[:1] + 1000))


def test_a_transformed_target_regressor_names_y_val_before_training():
    X, y = DATA["diabetes"]
    inner = GuardedKerasRegressor(build_regressor, loss="mse", verbose=0, random_state=0)
    model = TransformedTargetRegressor(inner, transformer=StandardScaler())
    with pytest.warns(ValidationSetWarning, match="y_val has another scale than y"):
        model.fit(X[:300], y[:300], X_val=X[300:], y_val=y[300:])


def test_a_pipeline_names_x_val_before_training():
    X, y = DATA["diabetes"]
    inner = GuardedKerasRegressor(build_regressor, loss="mse", verbose=0, random_state=0)
    model = make_pipeline(StandardScaler(), inner)
    name = "guardedkerasregressor"
    with pytest.warns(ValidationSetWarning, match="X_val has another scale than X"):
        model.fit(
            X[:300] * 100 + 50,
            y[:300],
            **{f"{name}__X_val": X[300:] * 100 + 50, f"{name}__y_val": y[300:]},
        )
