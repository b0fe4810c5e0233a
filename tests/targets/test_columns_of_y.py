"""Columns of y are those of fit, by their names, wherever y is passed."""

import numpy as np
import pandas as pd
import pytest

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard.exceptions import InputValueError
from tests.targets.outputs import dense

SETTINGS = {"verbose": 0, "random_state": 0}
X = np.random.default_rng(0).normal(size=(40, 4))
NUMBERS = np.random.default_rng(1).integers(3, size=40)
NAMES = ["ant", "bee", "cat"]
ONE_HOT = pd.DataFrame(np.eye(3)[NUMBERS], columns=NAMES)
KINDS = {
    "one_hot": (
        lambda **kw: GuardedKerasClassifier(
            dense(3, "softmax"), loss="categorical_crossentropy", **kw
        ),
        ONE_HOT,
    ),
    "multilabel": (
        lambda **kw: GuardedKerasClassifier(
            dense(3, "sigmoid"), loss="binary_crossentropy", target="multilabel", **kw
        ),
        ONE_HOT,
    ),
    "values": (
        lambda **kw: GuardedKerasRegressor(dense(3), loss="mse", **kw),
        pd.DataFrame(X[:, :3], columns=NAMES),
    ),
}
OTHERS = {
    "another_order": (lambda y: y[NAMES[::-1]], "in another order"),
    "another_name": (lambda y: y.set_axis(["ant", "bee", "cow"], axis=1), "unseen .*'cow'.*'cat'"),
    "one_less": (lambda y: y[NAMES[:2]], "missing: 'cat'"),
}
USES = {
    "score": lambda estimator, y, other: estimator.fit(X, y).score(X, other),
    "y_val": lambda estimator, y, other: estimator.fit(X, y, X_val=X, y_val=other),
    "validation_data": lambda e, y, other: e.fit(X, y, validation_data=(X, other)),
    "partial_fit": lambda e, y, other: e.partial_fit(X, y).partial_fit(X, other),
    "warm_start": lambda e, y, other: e.set_params(warm_start=True).fit(X, y).fit(X, other),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("other", OTHERS)
def test_other_columns_of_y_than_in_fit_are_an_error(kind, use, other):
    make, y = KINDS[kind]
    change, match = OTHERS[other]
    with pytest.raises(InputValueError, match=rf"columns of y .*{match}.*Pass y\[\['ant'"):
        USES[use](make(**SETTINGS), y, change(y))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", [lambda y: y, lambda y: y.to_numpy(), lambda y: y.copy()])
def test_the_same_columns_and_arrays_without_names_are_scored(kind, form):
    make, y = KINDS[kind]
    estimator = make(**SETTINGS).fit(X, y)
    assert estimator.score(X, form(y)) == estimator.score(X, y)
    estimator.fit(X, y[NAMES[::-1]])  # a fit from scratch has its own columns


def test_columns_that_are_found_by_name_may_be_in_any_order():
    import keras

    from tests.targets.outputs import two_heads

    layers = [lambda n=n: keras.layers.Dense(1, name=n) for n in ("ant", "bee")]
    y = pd.DataFrame(X[:, :2], columns=["ant", "bee"])
    estimator = GuardedKerasRegressor(
        two_heads(*layers), loss="mse", target={"ant": "values", "bee": "values"}, **SETTINGS
    ).fit(X, y)
    assert estimator.score(X, y[["bee", "ant"]]) == estimator.score(X, y)
