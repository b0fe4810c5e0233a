"""Which parameters count as given, whatever way the estimator took."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone

from skguard._parameters.given import DEFAULT_OPTIMIZER, is_given
from skguard._parameters.names import constructor_names
from tests.parameters.networks import build, make


def test_a_name_that_is_passed_is_given_even_if_it_is_that_of_the_default():
    assert not is_given(make(build), "optimizer")
    assert is_given(make(build, optimizer="rmsprop"), "optimizer")
    assert is_given(make(build).set_params(optimizer="".join("rmsprop")), "optimizer")


@pytest.mark.parametrize("name", sorted(constructor_names(type(make(build)))))
def test_no_default_is_given(name):
    estimator = pickle.loads(pickle.dumps(clone(type(make(build))(build))))
    assert is_given(estimator, name) is (name == "model")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("tol", 1e-4, False),
        ("tol", 1e-3, True),
        ("metrics", [], True),
        ("retry_on", (Exception,), False),
        ("validation_split", np.array([[1], [2]]), True),
        ("unheard_of", None, False),
    ],
    ids=str,
)
def test_another_value_than_the_default_is_given(name, value, expected):
    estimator = make(build)
    setattr(estimator, name, value)
    assert is_given(estimator, name) is expected


def test_the_default_is_a_plain_string():
    assert type(DEFAULT_OPTIMIZER) is str
    assert DEFAULT_OPTIMIZER == "rmsprop"
