"""Features, targets and weights are validated: dtypes, sparse formats, feature names."""

import keras
import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler

from skguard import GuardedKerasRegressor
from skguard._fit.arrays import Samples, check_features, check_target, check_weights
from skguard.exceptions import InputTypeError
from tests.models import build_regressor, make_classifier, make_regressor

FORMATS = ["bsr", "coo", "csc", "csr", "dia", "dok", "lil"]
CONTAINERS = [f"{name}_{kind}" for name in FORMATS for kind in ("array", "matrix")]
FLOATS = [np.float16, np.float32, np.float64]
NUMBERS = [*FLOATS, np.int8, np.int64, np.uint16, bool]

quick = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
few = settings(quick, max_examples=3)


class Stub(BaseEstimator):
    """An estimator that only validates X."""

    def see(self, X):
        checked = check_features(self, X, reset=True)
        self.X_shape_ = checked.shape
        return checked

    def see_again(self, X):
        return check_features(self, X, reset=False)


def fast_classifier(**parameters):
    return make_classifier(**{"optimizer": "rmsprop"} | parameters)


@pytest.fixture(scope="module")
def fitted():
    """A regressor, and the data that it was fitted on, as float64."""
    X = np.random.default_rng(0).integers(0, 3, size=(20, 4)).astype(float)
    y = X @ np.array([1.0, -2.0, 0.5, 0.0])
    estimator = GuardedKerasRegressor(build_regressor, loss="mse", verbose=0, random_state=0)
    return estimator.fit(X, y), X, y


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_sparse_format_gives_the_predictions_of_dense_samples(container, fitted):
    estimator, X, y = fitted
    sparse = getattr(scipy.sparse, container)(X)
    np.testing.assert_allclose(estimator.predict(sparse), estimator.predict(X), rtol=1e-5)
    np.testing.assert_allclose(estimator.score(sparse, y), estimator.score(X, y), rtol=1e-5)


@pytest.mark.parametrize("container", CONTAINERS[::2])
def test_every_sparse_format_is_trained_on_like_dense_samples(container, fitted):
    dense, X, y = fitted
    sparse = getattr(scipy.sparse, container)(X)
    estimator = GuardedKerasRegressor(build_regressor, loss="mse", verbose=0, random_state=0)
    estimator.fit(sparse, y)
    np.testing.assert_allclose(estimator.predict(X), dense.predict(X), rtol=1e-4)


@pytest.mark.parametrize("container", CONTAINERS)
def test_sparse_samples_become_sorted_csr_and_the_input_is_unchanged(container):
    given = getattr(scipy.sparse, container)(np.array([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]]))
    checked = Stub().see(given)
    assert checked.format == "csr"
    assert checked.has_sorted_indices
    np.testing.assert_array_equal(checked.toarray(), given.toarray())
    assert given.format == container[:3]


@pytest.mark.parametrize("cls", [scipy.sparse.csr_array, scipy.sparse.csr_matrix])
def test_unsorted_indices_are_sorted_in_a_copy(cls):
    def unsorted():
        return cls((np.array([1.0, 2.0, 3.0]), np.array([2, 0, 1]), np.array([0, 3])), shape=(1, 3))

    given = unsorted()
    checked = Stub().see(given)
    np.testing.assert_array_equal(checked.indices, [0, 1, 2])
    np.testing.assert_array_equal(given.indices, [2, 0, 1])
    np.testing.assert_array_equal(given.data, [1.0, 2.0, 3.0])


@pytest.mark.parametrize("value", [np.inf, 1e300], ids=str)
def test_sparse_values_are_checked_as_dense_ones_are(value):
    with pytest.raises(ValueError, match="Input X contains infinity"):
        Stub().see(scipy.sparse.csr_array(np.array([[0.0, value]])))


def test_an_integer_sparse_array_without_a_value_is_accepted():
    assert Stub().see(scipy.sparse.csr_array((3, 2), dtype=int)).shape == (3, 2)


@pytest.mark.parametrize("at_predict", NUMBERS, ids=lambda t: np.dtype(t).name)
@pytest.mark.parametrize("at_fit", [np.float32, np.int64, bool], ids=lambda t: np.dtype(t).name)
def test_the_dtype_at_predict_may_differ_from_that_at_fit(at_fit, at_predict):
    X = np.array([[0, 1], [1, 0], [1, 1]])
    estimator = Stub()
    estimator.see(X.astype(at_fit))
    np.testing.assert_array_equal(estimator.see_again(X.astype(at_predict)), X)


@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda t: np.dtype(t).name)
def test_the_dtype_of_equal_samples_does_not_change_predictions(dtype, fitted):
    estimator, X, _ = fitted
    binary = X > 1
    expected = estimator.predict(binary.astype(np.float32))
    np.testing.assert_allclose(estimator.predict(binary.astype(dtype)), expected, rtol=1e-6)


def test_text_that_represents_numbers_is_converted(fitted):
    estimator, X, _ = fitted
    np.testing.assert_allclose(estimator.predict(X.astype(str)), estimator.predict(X), rtol=1e-6)
    np.testing.assert_allclose(estimator.predict(X.astype(object)), estimator.predict(X), rtol=1e-6)


def test_extended_precision_becomes_the_float_type_of_keras():
    assert Stub().see(np.ones((2, 2), np.longdouble)).dtype == np.float32


@pytest.mark.parametrize("value", [1e39, -1e39], ids=str)
def test_a_float64_too_large_for_keras_is_rejected(value):
    with pytest.raises(ValueError, match=r"too large for dtype.'float32'.*set_floatx"):
        Stub().see(np.array([[0.0, value]]))


def test_the_largest_float32_is_accepted():
    largest = float(np.finfo(np.float32).max)
    assert Stub().see(np.array([[-largest, largest]]))[0, 1] == largest


def test_a_large_float64_is_accepted_if_it_is_the_float_type_of_keras():
    keras.config.set_floatx("float64")
    try:
        assert Stub().see(np.array([[1e39]]))[0, 0] == 1e39
    finally:
        keras.config.set_floatx("float32")


@pytest.mark.parametrize(
    "X", [np.array([["2020-01-01"]], "M8[D]"), np.array([[1]], "m8[s]")], ids=["date", "span"]
)
def test_dates_are_rejected(X):
    with pytest.raises(ValueError, match=r"X must be numeric, got dtype (datetime|timedelta)64"):
        Stub().see(X)


def test_samples_of_any_number_of_dimensions_are_trained_on(rng):
    def build(meta):
        return keras.Sequential(
            [keras.Input(meta["X_shape_"][1:]), keras.layers.Flatten(), keras.layers.Dense(1)]
        )

    X, y = rng.normal(size=(10, 3, 2, 2)), rng.normal(size=10)
    estimator = GuardedKerasRegressor(build, loss="mse", verbose=0).fit(X, y)
    assert estimator.predict(X).shape == (10,)
    assert estimator.n_features_in_ == 3
    with pytest.raises(
        ValueError, match=r"samples of shape \(3, 2, 3\).*fitted on samples of shape \(3, 2, 2\)"
    ):
        estimator.predict(np.zeros((10, 3, 2, 3)))
    with pytest.raises(ValueError, match=r"X has 4 features, but GuardedKerasRegressor"):
        estimator.predict(np.zeros((10, 4, 2, 2)))


def frame(library, X, names):
    module = pytest.importorskip(library)
    return module.DataFrame({name: X[:, i] for i, name in enumerate(names)})


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_feature_names_are_stored_and_compared(library, fitted):
    _, X, y = fitted
    estimator = GuardedKerasRegressor(build_regressor, loss="mse", verbose=0, random_state=0)
    named = frame(library, X, "abcd")
    if not hasattr(StandardScaler().fit(named), "feature_names_in_"):
        pytest.skip(f"this scikit-learn does not read the names of this {library}")
    estimator.fit(named, y)
    assert list(estimator.feature_names_in_) == list("abcd")
    np.testing.assert_array_equal(estimator.predict(named), fitted[0].predict(X))
    with pytest.raises(ValueError, match="same order as they were in fit"):
        estimator.predict(frame(library, X[:, ::-1], "dcba"))
    with pytest.raises(ValueError, match="unseen at fit time:\n- e"):
        estimator.predict(frame(library, X, "abce"))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        estimator.predict(X)


def test_a_fit_without_feature_names_removes_the_names(fitted):
    _, X, y = fitted
    estimator = GuardedKerasRegressor(build_regressor, loss="mse", verbose=0)
    estimator.fit(frame("pandas", X, "abcd"), y).fit(X, y)
    assert not hasattr(estimator, "feature_names_in_")


def test_a_target_may_be_a_pandas_series_with_any_index(fitted):
    estimator, X, y = fitted
    series = pytest.importorskip("pandas").Series(y, index=np.arange(20)[::-1])
    assert estimator.score(X, series) == estimator.score(X, y)


def test_a_target_may_be_a_polars_series(fitted):
    estimator, X, y = fitted
    assert estimator.score(X, pytest.importorskip("polars").Series(y)) == estimator.score(X, y)


@pytest.mark.parametrize("dtype", [np.float64, np.int64], ids=lambda t: t.__name__)
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 2, 1: 1, 2: 0.5}], ids=str)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "score"])
def test_the_callers_weights_are_never_modified(method, class_weight, dtype, blobs):
    weights = np.arange(60).astype(dtype)
    weights.flags.writeable = False
    classifier = fast_classifier(class_weight=class_weight)
    if method == "score":
        classifier.initialize(*blobs)
    getattr(classifier, method)(*blobs, sample_weight=weights)
    np.testing.assert_array_equal(weights, np.arange(60))


@pytest.mark.parametrize("dtype", [np.float64, np.int64], ids=lambda t: t.__name__)
def test_class_weights_are_multiplied_with_sample_weights(dtype, blobs):
    X, y = blobs
    weights = np.arange(1, 61).astype(dtype)
    by_class = fast_classifier(class_weight={0: 2, 1: 1, 2: 0.5}).fit(X, y, sample_weight=weights)
    by_sample = fast_classifier().fit(X, y, sample_weight=weights * np.array([2, 1, 0.5])[y])
    np.testing.assert_array_equal(by_class.predict_proba(X), by_sample.predict_proba(X))


def test_a_sample_of_weight_0_has_no_effect(blobs):
    X, y = blobs
    weights = np.ones(60)
    weights[::3] = 0
    weighted = fast_classifier().fit(X, y, sample_weight=weights)
    kept = fast_classifier().fit(X[weights > 0], y[weights > 0], sample_weight=np.ones(40))
    np.testing.assert_array_equal(weighted.predict_proba(X), kept.predict_proba(X))


def test_a_sample_of_weight_0_has_no_effect_on_the_score_of_a_dataframe(fitted):
    _, X, y = fitted
    estimator = GuardedKerasRegressor(build_regressor, loss="mse", verbose=0)
    named = frame("pandas", X, "abcd")
    named.index += 7
    estimator.fit(named, y)
    weights = np.ones(20)
    weights[:5] = 0
    spoilt = np.where(weights == 0, 1e6, y)
    expected = estimator.score(named[5:], y[5:])
    assert estimator.score(named, spoilt, sample_weight=weights) == pytest.approx(expected)


def test_one_number_is_the_weight_of_every_sample():
    np.testing.assert_array_equal(check_weights(3, np.zeros((4, 2))), np.full(4, 3.0))


def test_no_weights_stay_none():
    assert check_weights(None, np.zeros((4, 2))) is None


def test_samples_of_weight_0_are_left_out_of_all_arrays():
    data = Samples(np.eye(3), np.arange(3), np.array([1.0, 0.0, 2.0]))
    data = data.take(data.weighted_indices())
    np.testing.assert_array_equal(data.X, np.eye(3)[[0, 2]])
    np.testing.assert_array_equal(data.y, [0, 2])
    np.testing.assert_array_equal(data.sample_weight, [1, 2])


@pytest.mark.parametrize("weights", [None, np.array([1.0, -1.0])], ids=["none", "no_zero"])
def test_samples_without_a_weight_of_0_are_not_copied(weights):
    data = Samples(np.eye(2), np.arange(2), weights)
    assert data.take(data.weighted_indices()) is data


numbers = st.sampled_from(NUMBERS).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=2, max_dims=4, max_side=4),
        elements=st.booleans() if dtype is bool else st.integers(0, 100),
    )
)


@quick
@given(X=numbers)
def test_any_numeric_array_is_accepted_unchanged(X):
    estimator, before = Stub(), X.copy()
    checked = estimator.see(X)
    np.testing.assert_array_equal(checked, before)
    np.testing.assert_array_equal(X, before)
    assert checked.dtype.kind in "biuf"
    assert estimator.n_features_in_ == X.shape[1]
    np.testing.assert_array_equal(estimator.see_again(X), X)


@quick
@given(X=numbers, axis=st.integers(1, 3), extra=st.integers(1, 2))
def test_samples_of_another_shape_than_the_first_are_rejected(X, axis, extra):
    estimator = Stub()
    estimator.see(X)
    other = np.concatenate([X] * (extra + 1), axis=min(axis, X.ndim - 1))
    with pytest.raises(ValueError, match=r"features, but Stub|was fitted on samples of shape"):
        estimator.see_again(other)


@quick
@given(
    X=hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.just(1)),
    bad=st.sampled_from([np.inf, -np.inf, 1e200]),
    is_nan=st.booleans(),
    data=st.data(),
)
def test_a_value_that_is_infinite_or_too_large_is_rejected(X, bad, is_nan, data):
    if is_nan:  # beside NaN, which the model decides about
        X[:] = np.nan
        assert np.isnan(Stub().see(X)).all()
    place = tuple(data.draw(st.integers(0, size - 1)) for size in X.shape)
    X[place] = bad
    with pytest.raises(ValueError, match="Input X contains infinity"):
        Stub().see(X)


@quick
@given(X=hnp.arrays(np.float32, st.sampled_from([(0, 3), (3, 0), (0, 0), (3,), (), (0,)])))
def test_an_array_that_is_empty_or_has_one_dimension_is_rejected(X):
    with pytest.raises(ValueError, match=r"0 sample|0 feature|Expected 2D array"):
        Stub().see(X)


@quick
@given(
    y=st.one_of(
        hnp.arrays(np.int64, st.integers(1, 6)),
        hnp.arrays(np.bool_, st.integers(1, 6)),
        hnp.arrays("U5", st.integers(1, 6), elements=st.text("abc", max_size=5)),
        st.lists(st.text("abc", max_size=3), min_size=1, max_size=6),
        st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=6),
    )
)
def test_labels_of_any_kind_are_accepted_unchanged(y):
    checked = check_target(Stub(), None, y, numeric=False, classes=True)
    assert checked.tolist() == np.asarray(y).tolist()


@quick
@given(y=hnp.arrays(np.float64, hnp.array_shapes(max_dims=3), elements=st.floats(-1e6, 1e6)))
def test_any_numeric_target_is_accepted_unchanged(y):
    checked = check_target(Stub(), np.zeros((len(y), 1)), y, numeric=True, classes=False)
    np.testing.assert_array_equal(checked, y)


@quick
@given(y=hnp.arrays("U5", st.integers(1, 6), elements=st.text("abc", min_size=1, max_size=5)))
def test_text_as_target_of_a_regressor_is_rejected(y):
    with pytest.raises(ValueError, match=r"y of Stub must be numeric, got '[abc]+'"):
        check_target(Stub(), None, y, numeric=True, classes=False)


@quick
@given(n_samples=st.integers(1, 6), n_targets=st.integers(1, 6))
def test_another_number_of_targets_than_samples_is_rejected(n_samples, n_targets):
    X, y = np.zeros((n_samples, 2)), np.zeros(n_targets)
    if n_samples == n_targets:
        assert len(check_target(Stub(), X, y, numeric=True, classes=False)) == n_samples
        return
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        check_target(Stub(), X, y, numeric=True, classes=False)


@pytest.mark.parametrize("y", [[], np.zeros((0, 2))], ids=["list", "array"])
def test_an_empty_target_is_rejected(y):
    with pytest.raises(ValueError, match="0 sample"):
        check_target(Stub(), None, y, numeric=True, classes=False)


def test_a_missing_target_is_rejected():
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        check_target(Stub(), np.zeros((2, 2)), None, numeric=True, classes=False)


@pytest.mark.parametrize(
    ("y", "error", "match"),
    [
        (np.array([1e39, 0.0]), ValueError, "Input y contains infinity or a value too large"),
        (
            np.array(["2020-01-01"] * 2, "M8[D]"),
            ValueError,
            "y of Stub must be numeric, got dtype da",
        ),
        (scipy.sparse.csr_array(np.eye(2)), TypeError, "Sparse data was passed for y"),
        (np.array([1j, 2j]), ValueError, "Complex data not supported"),
    ],
    ids=["too_large", "date", "sparse", "complex"],
)
def test_a_target_that_keras_cannot_use_as_numbers_is_rejected(y, error, match):
    with pytest.raises(error, match=match):
        check_target(Stub(), None, y, numeric=True, classes=False)


def test_labels_of_different_types_are_rejected():
    y = np.array([None, "a", 3], object)
    with pytest.raises(
        ValueError, match="labels of different types, NoneType, int, str, which Stub"
    ):
        check_target(Stub(), None, y, numeric=False, classes=True)


def test_text_that_represents_numbers_is_converted_for_a_regressor():
    checked = check_target(Stub(), None, np.array(["1", "2.5"]), numeric=True, classes=False)
    np.testing.assert_array_equal(checked, np.array([1, 2.5], np.float32))


def test_labels_of_three_dimensions_are_accepted():
    y = np.zeros((2, 2, 2))
    assert check_target(Stub(), None, y, numeric=False, classes=True) is y


@quick
@given(
    weights=st.sampled_from([*FLOATS, np.int8, np.int64, bool]).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            st.integers(1, 6),
            elements=st.booleans() if dtype is bool else st.integers(0, 3),
        )
    )
)
def test_any_weights_become_a_copy_in_the_float_type_of_keras(weights):
    X, before = np.zeros((len(weights), 2)), weights.copy()
    if not weights.any():
        with pytest.raises(ValueError, match="must be nonzero for at least one sample"):
            check_weights(weights, X)
        return
    checked = check_weights(weights, X)
    assert checked.dtype == np.float32
    np.testing.assert_array_equal(checked, before)
    checked *= 2
    np.testing.assert_array_equal(weights, before)


label_kinds = st.sampled_from(
    [
        [3, 7],
        [-1, 1],
        ["a", "bbb"],
        [False, True],
        [0.0, 1.0],
        [2.0, 5.0, 7.0],
        np.array([0, 1], np.int8),
        np.array([0, 1, 2], np.float32),
        np.array(["x", "yy"], object),
    ]
)


@settings(quick, max_examples=6)
@given(labels=label_kinds)
def test_labels_of_any_kind_come_back_from_predict(labels):
    classes = np.unique(labels)
    y = np.resize(np.asarray(labels), 12)
    X = np.random.default_rng(0).normal(size=(12, 3))
    classifier = fast_classifier().fit(X, y)
    predicted = classifier.predict(X)
    assert predicted.dtype == y.dtype
    assert set(predicted.tolist()) <= set(classes.tolist())
    np.testing.assert_array_equal(classifier.classes_, classes)
    assert classifier.predict_proba(X[:1]).shape == (1, len(classes))


@few
@given(order=st.permutations([["a", "b"], ["a", "ccc"], ["ccc", "b"]]))
def test_longer_labels_may_come_in_a_later_partial_fit(order):
    X = np.random.default_rng(0).normal(size=(2, 3))
    classifier = fast_classifier()
    classifier.partial_fit(X, np.array(order[0]), classes=["a", "b", "ccc"])
    for y in order[1:]:
        classifier.partial_fit(X, np.array(y))
    assert classifier.classes_.tolist() == ["a", "b", "ccc"]
    assert set(classifier.predict(X)) <= {"a", "b", "ccc"}
    assert classifier.current_epoch == 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64], ids=lambda t: t.__name__)
def test_the_dtype_of_a_regression_target_may_change_in_a_partial_fit(dtype, fitted):
    _, X, y = fitted
    estimator = GuardedKerasRegressor(build_regressor, loss="mse", verbose=0)
    estimator.partial_fit(X, y.astype(np.float32)).partial_fit(X.astype(dtype), y.astype(dtype))
    assert estimator.predict(X).dtype == np.float32


@pytest.mark.parametrize("data", [{}, {"a": [1.0]}, {"a": [1.0], "b": [2.0]}], ids=len)
def test_a_dict_as_input_or_target_raises_with_what_to_pass(data, line):
    X, y = line
    names = ", ".join(map(repr, data)) or "nothing"
    with pytest.raises(InputTypeError, match=f"^X is a dict of {names}.* feature_encoder"):
        make_regressor().fit(data, y)
    for make in (make_regressor, make_classifier):
        with pytest.raises(InputTypeError, match=f"^y is a dict of {names}.*target={{"):
            make().fit(X, data)
