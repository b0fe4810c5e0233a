"""Models with several inputs get the columns of X that ``inputs`` selects for each of them."""

import functools
import pickle

import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.compose import make_column_selector
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skguard import GuardedKerasRegressor
from skguard._fit.columns import InputColumns
from skguard.exceptions import InputError
from skguard.model_selection import GuardedGridSearchCV
from tests.fit.networks import build_ids, build_two_inputs
from tests.models import make_regressor

pandas = pytest.importorskip("pandas")

FRAME = pandas.DataFrame(
    {
        "age": np.arange(12.0),
        "comment": ["good", "bad", "good bad", "12"] * 3,
        "height": np.linspace(1, 2, 12),
    }
)
Y = np.arange(12.0)
NAMES = {"numbers": ["age", "height"], "text": "comment"}
SELECTIONS = {
    "names": NAMES,
    "indices": {"text": [1], "numbers": [0, -1]},
    "index": {"text": 1, "numbers": (0, 2)},
    "slices": {"text": slice("comment", "comment"), "numbers": slice(0, 3, 2)},
    "mask": {"text": np.array([False, True, False]), "numbers": [True, False, True]},
    "callable": {"text": lambda X: ["comment"], "numbers": make_column_selector("e|a.*t$")},
    "dtype": {
        "text": make_column_selector(dtype_exclude="number"),
        "numbers": make_column_selector(dtype_include="number"),
    },
    "list": [["age", "height"], "comment"],
    "tuple": (slice(0, None, 2), ["comment"]),
}
SELECTIONS["callable"]["numbers"] = lambda X: ["age", "height"]


def by_hand():
    """Return X as Keras takes it, prepared without this package."""
    import tensorflow as tf

    numbers = FRAME[["age", "height"]].to_numpy(np.float32)
    return {"numbers": numbers, "text": tf.constant(FRAME[["comment"]].to_numpy(object))}


def estimator(inputs, model=build_two_inputs, **parameters):
    return make_regressor(model, inputs=inputs, shuffle=False, epochs=2, **parameters)


@functools.cache
def expected(engine="auto"):
    fitted = estimator(NAMES, engine=engine).fit(FRAME, Y)
    model = fitted.model_
    return fitted.predict(FRAME), model.predict(by_hand(), verbose=0)[:, 0], fitted.history_


@pytest.mark.parametrize("engine", ["auto", "keras"])
def test_inputs_get_their_columns_as_keras_gets_them_prepared_by_hand(engine):
    from skguard._repairs import seeding

    predicted, by_keras, history = expected(engine)
    np.testing.assert_array_equal(predicted, by_keras)
    with seeding.seeded(0):
        model = build_two_inputs()
    model.compile("adam", "mse")
    with seeding.seeded(seeding.derive(0, 0)):
        run = model.fit(by_hand(), Y, epochs=2, shuffle=False, verbose=0)
    assert history["loss"] == run.history["loss"]


@pytest.mark.parametrize("inputs", SELECTIONS.values(), ids=SELECTIONS)
def test_columns_are_selected_as_in_a_column_transformer(inputs):
    fitted = estimator(inputs).fit(FRAME, Y, X_val=FRAME[:4], y_val=Y[:4])
    np.testing.assert_array_equal(fitted.predict(FRAME), expected()[0])
    fitted.partial_fit(FRAME, Y)
    assert list(fitted.feature_names_in_) == list(FRAME)


def test_a_model_whose_inputs_are_a_dict_gets_them_by_name():
    model = functools.partial(build_two_inputs, as_dict=True)
    fitted = estimator(NAMES, model).fit(FRAME, Y)
    np.testing.assert_array_equal(
        fitted.predict(FRAME), fitted.model_.predict(by_hand(), verbose=0)[:, 0]
    )
    with pytest.raises(
        InputError, match="inputs is a list, but the inputs of the model are a dict"
    ):
        estimator(SELECTIONS["list"], model).fit(FRAME, Y)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(data=st.data(), n_columns=st.integers(1, 6), sparse=st.booleans())
def test_any_indices_select_the_columns_that_numpy_selects(data, n_columns, sparse):
    index = st.integers(-n_columns, n_columns - 1)
    X = np.arange(3.0 * n_columns).reshape(3, n_columns)
    slices = st.slices(n_columns).filter(lambda s: len(range(*s.indices(n_columns))))
    selection = data.draw(st.one_of(st.lists(index, min_size=1), slices))
    given_X = scipy.sparse.csr_array(X) if sparse else X
    part = InputColumns({"a": selection}).fit(given_X).transform(given_X)["a"]
    np.testing.assert_array_equal(part.toarray() if sparse else part, X[:, selection])


def test_the_parameter_is_cloned_pickled_and_searched():
    fitted = pickle.loads(pickle.dumps(estimator(NAMES).fit(FRAME, Y)))
    np.testing.assert_array_equal(fitted.predict(FRAME), expected()[0])
    again = clone(fitted).fit(FRAME, Y)
    np.testing.assert_array_equal(again.predict(FRAME), expected()[0])
    assert again.get_params()["inputs"] == NAMES
    pipeline = make_pipeline(FunctionTransformer(), estimator(None))
    candidates = {"guardedkerasregressor__inputs": [NAMES, SELECTIONS["list"]]}
    search = GridSearchCV(pipeline, candidates, cv=2, error_score="raise").fit(FRAME, Y)
    scores = search.cv_results_["mean_test_score"]
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_workers_of_a_search_select_the_same_columns():
    search = GuardedGridSearchCV(estimator(NAMES), {"epochs": [1, 2]}, cv=2, n_jobs=2)
    search.fit(FRAME, Y)
    here = GuardedGridSearchCV(estimator(NAMES), {"epochs": [1, 2]}, cv=2).fit(FRAME, Y)
    for name in ("split0_test_score", "split1_test_score"):
        np.testing.assert_allclose(search.cv_results_[name], here.cv_results_[name], rtol=1e-5)


def test_large_whole_numbers_reach_an_input_of_integers_unchanged():
    ids = 2**24 + np.arange(12)  # float32 holds every second one
    X = np.column_stack([ids, np.ones((12, 2))])
    fitted = estimator([0, [1, 2]], build_ids).fit(X, Y)
    prepared = [ids[:, None], np.ones((12, 2), np.float32)]
    np.testing.assert_array_equal(
        fitted.predict(X), fitted.model_.predict(prepared, verbose=0)[:, 0]
    )
    assert len(np.unique(fitted.predict(X))) > 6


def test_a_feature_encoder_of_a_subclass_takes_precedence():
    class Divides(GuardedKerasRegressor):
        @property
        def feature_encoder(self):
            return FunctionTransformer(lambda X: {"numbers": X[:, [0, 2]], "text": X[:, [1]]})

    fitted = Divides(
        build_two_inputs, inputs={"other": 0}, loss="mse", optimizer="adam", verbose=0,
        random_state=0, shuffle=False, epochs=2,
    ).fit(FRAME, Y)  # fmt: skip
    np.testing.assert_array_equal(fitted.predict(FRAME), expected()[0])


def test_all_samples_may_be_one_batch():
    assert estimator(NAMES, batch_size=-1).fit(FRAME, Y).predict(FRAME).shape == (12,)


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        (3, "inputs=3 must be a dict of names of inputs to columns, or a list"),
        ({}, r"inputs=\{\} has no input"),
        ({"numbers": ["age", "heights"], "text": "comment"}, "'heights'.* Did you mean 'height'"),
        ({"numbers": [0, 7], "text": 1}, "has 7, which is neither the name nor the index of one"),
        ({"numbers": [True, False], "text": 1}, "has 2 booleans, but X has 3 columns"),
        ({"numbers": slice(3, None), "text": 1}, "selects none of 3 columns"),
        ({"number": [0, 2], "text": 1}, "named .*'numbers', 'text'.* Did you mean 'numbers'"),
        ({"numbers": [0, 2]}, r"inputs has the names \['numbers'\], but the inputs of the model"),
        ([[0, 2]], "inputs has 1 items, but the model has 2 inputs"),
        ({"numbers": [0, 1], "text": 1}, "text in column 'comment'.* the model's input 'numbers'"),
        (
            {"numbers": [0, 2], "text": 2},
            "numbers in column 'height', but the model's input 'text'",
        ),
        ({"numbers": [0], "text": 1}, r"input 'numbers' has samples of shape \(1,\)"),
        (None, r"model has 2 inputs, and X is one array. Pass inputs=, such as inputs=\{'numbers'"),
    ],
    ids=str,
)
def test_columns_that_do_not_fit_are_rejected_before_training(inputs, match):
    with pytest.raises(InputError, match=match):
        estimator(inputs, max_retries=2).fit(FRAME, Y)


def test_names_need_a_dataframe_and_samples_of_one_shape():
    with pytest.raises(InputError, match="has the name 'age', but X has no names of columns"):
        estimator(NAMES).fit(FRAME.to_numpy(object), Y)
    with pytest.raises(InputError, match="inputs= selects columns of X, but X has samples of diff"):
        estimator([0, 1]).fit([[1.0, 2.0], [1.0]] * 6, Y)


SEVERAL = {
    "dict": lambda X: {"left": X[:, :2], "right": X[:, 2:]},
    "list": lambda X: [X[:, :2], X[:, 2:]],
    "tuple": lambda X: (X[:, :2], X[:, 2:]),
    "list_of_one_shape": lambda X: [X, X],
    "single": lambda X: [X],
    "flat": lambda X: [X[:, 0], X[:, 1]],
}


@pytest.mark.parametrize("form", SEVERAL)
@pytest.mark.parametrize("where", ["fit", "X_val"])
def test_several_arrays_as_for_keras_name_the_parameter_inputs(form, where):
    X = np.random.default_rng(0).normal(size=(20, 4))
    given = SEVERAL[form](X)
    arrays = {"X": given} if where == "fit" else {"X": X, "X_val": given, "y_val": X[:, 0]}
    with pytest.raises(InputError, match=r"X is a .* Pass one array.*inputs=\{"):
        make_regressor().fit(y=X[:, 0], **arrays)
