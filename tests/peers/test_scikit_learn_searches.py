"""Whatever was written for scikit-learn's searches goes on working after changing the import.

Each test makes the same search twice, of scikit-learn's class and of the guarded one, and asks
both for the same: what they found, what they said on the way, what they refuse.
"""

import collections
import dataclasses
import inspect
import pickle
import re
import threading
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from scipy.stats import loguniform, randint, uniform
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401, for what follows
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    RandomizedSearchCV,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity, KNeighborsClassifier, LocalOutlierFactor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from skguard.model_selection import (
    GuardedGridSearchCV,
    GuardedHalvingGridSearchCV,
    GuardedHalvingRandomSearchCV,
    GuardedRandomizedSearchCV,
)

try:
    import sklearn.callback as sklearn_callback
except ImportError:
    sklearn_callback = None

SEARCHES = {
    "grid": (GridSearchCV, GuardedGridSearchCV),
    "random": (RandomizedSearchCV, GuardedRandomizedSearchCV),
    "halving_grid": (HalvingGridSearchCV, GuardedHalvingGridSearchCV),
    "halving_random": (HalvingRandomSearchCV, GuardedHalvingRandomSearchCV),
}
# What makes each of them short and the same each time.
DEFAULTS = {
    "grid": {"cv": 2},
    "random": {"cv": 2, "n_iter": 2, "random_state": 0},
    "halving_grid": {"cv": 2, "min_resources": 30, "factor": 2, "random_state": 0},
    "halving_random": {"cv": 2, "min_resources": 30, "factor": 2, "random_state": 0},
}
METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "transform",
    "score_samples",
)

each_search = pytest.mark.parametrize("kind", SEARCHES)
simple_search = pytest.mark.parametrize("kind", ["grid", "random"])
needs_callbacks = pytest.mark.skipif(
    sklearn_callback is None, reason="scikit-learn has callbacks from 1.9 on"
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small matrices are slower with more, much so where other processes run."""
    with threadpool_limits(1):
        yield


X, Y = make_classification(60, 5, n_informative=3, random_state=0)
C = {"C": [0.01, 1.0, 10.0]}


@dataclasses.dataclass(frozen=True)
class Ran:
    """How a fit ended: `search` is fitted unless there is an `error`; with all warnings."""

    search: object
    error: Exception | None
    warnings: list


def make_both(kind, estimator, space, **params):
    return [
        cls(clone(estimator, safe=False), space, **(DEFAULTS[kind] | params))
        for cls in SEARCHES[kind]
    ]


def fit(search, *args, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            search.fit(*args, **kwargs)
        except Exception as error:
            return Ran(search, error, caught)
    return Ran(search, None, caught)


def neutral(text):
    """A message without what may differ: the name of the class, and where it lies in memory."""
    return re.sub(r"0[xX][0-9a-fA-F]+", "0x", str(text)).replace("Guarded", "")


def told(ran):
    """Which warnings there were; those of failed fits are worded differently, on purpose."""
    ignored = (DeprecationWarning, PendingDeprecationWarning, ResourceWarning, ImportWarning)
    return collections.Counter(
        (
            w.category.__name__,
            "" if w.category is FitFailedWarning else neutral(w.message).partition("\n")[0],
        )
        for w in ran.warnings
        if not issubclass(w.category, ignored)
    )


def same(a, b):
    """Whether two results are of one type and equal, NaN and what is masked included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ma.MaskedArray):
        return (
            a.dtype == b.dtype
            and np.array_equal(np.ma.getmaskarray(a), np.ma.getmaskarray(b))
            and same(a.filled().tolist(), b.filled().tolist())
        )
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and same(a.tolist(), b.tolist())
    if scipy.sparse.issparse(a):
        return same(a.toarray(), b.toarray())
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float | np.floating):
        return a == b or (np.isnan(a) and np.isnan(b))
    if isinstance(a, BaseEstimator):
        return same(a.get_params(deep=False), b.get_params(deep=False))
    if isinstance(a, pd.DataFrame | pd.Series):
        return a.equals(b)
    return neutral(repr(a)) == neutral(repr(b))


def assert_same_results(theirs, ours):
    """All columns, and those of times as far as time allows."""
    assert set(theirs) <= set(ours)
    for name, expected in theirs.items():
        if name.endswith("_time"):
            assert ours[name].dtype == expected.dtype
            assert ours[name].shape == expected.shape
            assert np.array_equal(np.isnan(expected), np.isnan(ours[name]))
        else:
            assert same(expected, ours[name]), (name, expected, ours[name])


def assert_same_attributes(theirs, ours):
    """Whatever scikit-learn's search has after fit."""
    for name, expected in vars(theirs).items():
        if not name.endswith("_") or name.startswith("_"):
            continue
        actual = getattr(ours, name)
        if name == "cv_results_":
            assert_same_results(expected, actual)
        elif name == "refit_time_":
            assert type(actual) is type(expected)
        else:
            assert same(expected, actual), (name, expected, actual)
    for name in ("best_score_", "best_estimator_", "n_features_in_", "feature_names_in_"):
        assert hasattr(theirs, name) == hasattr(ours, name), name
    for name in ("n_features_in_", "classes_"):
        expected = getattr(theirs, name, None)
        assert same(expected, getattr(ours, name, None)), name


def assert_same_predictions(theirs, ours, X):
    for method in METHODS:
        assert hasattr(theirs, method) == hasattr(ours, method), method
        if hasattr(theirs, method):
            with np.errstate(divide="ignore"):  # the logarithm of 0
                expected, actual = getattr(theirs, method)(X), getattr(ours, method)(X)
            assert same(expected, actual), method


def assert_same_fits(kind, estimator, space, X=X, y=Y, *, fit_params=(), **params):
    """Fit both, which must succeed, compare all there is, and return them."""
    theirs, ours = (
        fit(search, X, y, **dict(fit_params))
        for search in make_both(kind, estimator, space, **params)
    )
    if theirs.error is not None:
        raise theirs.error
    if ours.error is not None:
        raise ours.error
    assert told(ours) == told(theirs)
    assert_same_attributes(theirs.search, ours.search)
    if theirs.search.refit:
        assert_same_predictions(theirs.search, ours.search, X)
    return theirs.search, ours.search


def assert_same_errors(kind, estimator, space, X=X, y=Y, *, fit_params=(), **params):
    """Fit both, which must fail in the same way, and return scikit-learn's error."""
    theirs, ours = (
        fit(search, X, y, **dict(fit_params))
        for search in make_both(kind, estimator, space, **params)
    )
    assert theirs.error is not None
    assert type(ours.error) is type(theirs.error), ours.error
    assert neutral(ours.error) == neutral(theirs.error)
    return theirs.error


# ---- estimators ---------------------------------------------------------------------------------


FRAME = pd.DataFrame(X, columns=list("abcde")).assign(kind=np.where(X[:, 0] > 0, "left", "right"))
COUNTS = np.abs(X).round()
ESTIMATORS = {
    "classifier": (LogisticRegression(), C, X, Y),
    "string labels": (
        KNeighborsClassifier(),
        {"n_neighbors": [1, 3]},
        X,
        np.array(["no", "yes"])[Y],
    ),
    "lists": (KNeighborsClassifier(), {"n_neighbors": [1, 3]}, X.tolist(), Y.tolist()),
    "regressor": (Ridge(), {"alpha": [0.1, 1, 10]}, X, X @ np.arange(5)),
    "multioutput": (DecisionTreeRegressor(random_state=0), {"max_depth": [1, 2]}, X, X[:, :2]),
    "multilabel": (
        DecisionTreeClassifier(random_state=0),
        {"max_depth": [1, 2]},
        X,
        (X[:, :3] > 0).astype(int),
    ),
    "clusterer": (KMeans(random_state=0, n_init=1), {"n_clusters": [2, 3]}, X, None),
    "density": (KernelDensity(), {"bandwidth": [0.1, 1.0]}, X, None),
    "transformer": (PCA(), {"n_components": [1, 2, 3]}, X, None),
    "outliers": (
        LocalOutlierFactor(novelty=True),
        {"n_neighbors": [3, 5]},
        X,
        np.where(Y, 1, -1),
        {"scoring": "precision"},
    ),
    "pipeline": (
        make_pipeline(StandardScaler(), SVC(random_state=0)),
        [{"svc__C": [1, 10]}, {"svc__kernel": ["linear"], "standardscaler": ["passthrough"]}],
        X,
        Y,
    ),
    "precomputed kernel": (SVC(kernel="precomputed"), C, X @ X.T, Y),
    "estimators as values": (
        Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())]),
        [
            {"scale": [StandardScaler(), "passthrough", None], "model": [LogisticRegression()]},
            {"model": [DecisionTreeClassifier(random_state=0)], "model__max_depth": [1, 2]},
        ],
        X,
        Y,
    ),
    "sparse": (LogisticRegression(), C, scipy.sparse.csr_matrix(COUNTS), Y),
    "sparse array": (LinearSVC(random_state=0), C, scipy.sparse.csr_array(COUNTS), Y),
    "frame": (LogisticRegression(), C, FRAME.drop(columns="kind"), pd.Series(Y, name="target")),
    "columns": (
        make_pipeline(
            ColumnTransformer([("one", OneHotEncoder(), ["kind"]), ("num", "passthrough", ["a"])]),
            LogisticRegression(),
        ),
        {"logisticregression__C": [0.1, 1]},
        FRAME,
        pd.Series(np.array(["no", "yes"])[Y], name="target"),
    ),
    "tuples": (
        MLPClassifier(max_iter=5, random_state=0),
        {"hidden_layer_sizes": [(2,), (3, 2), 2]},
        X,
        Y,
    ),
    "arrays": (
        GaussianNB(),
        {"priors": [None, np.array([0.5, 0.5]), [0.3, 0.7]], "var_smoothing": [1e-9, 1e-2]},
        X,
        Y,
    ),
    "dicts": (SVC(), {"class_weight": [None, "balanced", {0: 1, 1: 2}]}, X, Y),
    "deep": (
        BaggingClassifier(DecisionTreeClassifier(), n_estimators=3, random_state=0),
        {"estimator__max_depth": [1, 2], "n_estimators": range(2, 4)},
        X,
        Y,
    ),
    "functions": (
        make_pipeline(FunctionTransformer(), SelectKBest(k=3), LogisticRegression()),
        {"functiontransformer__func": [None, np.abs], "selectkbest__k": [2, "all"]},
        X,
        Y,
    ),
    "target transformer": (
        TransformedTargetRegressor(Ridge(), transformer=StandardScaler()),
        {"regressor__alpha": np.logspace(-1, 1, 2)},
        X,
        X @ np.arange(5),
    ),
}


class Shapes(ClassifierMixin, BaseEstimator):
    """Takes rows of any shape and type, and remembers which it got."""

    def __init__(self, value=0):
        self.value = value

    def fit(self, X, y):
        self.seen_ = type(X), type(y), np.shape(X)[1:], np.shape(y)[1:]
        return self

    def score(self, X, y):
        return np.shape(X)[0] + self.value


@each_search
@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.zeros((60, 3, 2, 2)), np.zeros((60, 4, 2))),
        (X.tolist(), X[:, 0].tolist()),
        (["a"] * 60, pd.Series(X[:, 0])),
        (FRAME, FRAME[["a"]]),
        (scipy.sparse.coo_matrix(COUNTS), X[:, 0]),
    ],
    ids=["axes", "lists", "texts", "frames", "coo"],
)
def test_rows_of_every_kind_reach_the_estimator_as_they_are(kind, X, y):
    theirs, ours = make_both(kind, Shapes(), {"value": [1, 2]}, cv=KFold(2))
    assert_same_attributes(theirs.fit(X, y), ours.fit(X, y))
    assert theirs.best_estimator_.seen_ == ours.best_estimator_.seen_


@each_search
@pytest.mark.parametrize("case", ESTIMATORS)
def test_a_search_finds_the_same(kind, case):
    estimator, space, X, y, *params = ESTIMATORS[case]
    assert_same_fits(kind, estimator, space, X, y, **dict(*params))


@pytest.mark.parametrize("kind", ["random", "halving_random"])
@pytest.mark.parametrize(
    ("estimator", "space"),
    [
        (SVC(), {"C": loguniform(1e-2, 1e2), "kernel": ["linear", "rbf"]}),
        (SVC(), [{"C": uniform(0.1, 2)}, {"kernel": ["poly"], "degree": randint(2, 4)}]),
        (KNeighborsClassifier(), {"n_neighbors": randint(1, 5)}),
    ],
    ids=["continuous", "a list of spaces", "integers"],
)
@pytest.mark.parametrize("make_seed", [lambda: 1, lambda: np.random.RandomState(1)])
def test_the_same_candidates_are_drawn(kind, estimator, space, make_seed):
    theirs, ours = make_both(kind, estimator, space)
    for search in (theirs, ours):
        search.set_params(random_state=make_seed()).fit(X, Y)
    assert_same_attributes(theirs, ours)


@each_search
def test_no_parameters_are_one_candidate(kind):
    params = {} if kind != "random" else {"n_iter": 1}
    assert_same_fits(kind, LogisticRegression(), {}, **params)


def test_more_draws_than_there_are_candidates_warn_the_same():
    assert_same_fits("random", LogisticRegression(), C, n_iter=5)


@each_search
def test_what_is_drawn_from_the_global_generator_is_the_same(kind):
    searches = make_both(
        kind,
        RandomForestClassifier(n_estimators=3),
        {"max_depth": [1, 2]},
        cv=KFold(2, shuffle=kind in ("grid", "random"), random_state=None),
    )
    state = np.random.get_state()
    try:
        for search in searches:
            np.random.seed(0)
            fit(search, X, Y)
    finally:
        np.random.set_state(state)
    assert_same_attributes(*searches)


def test_a_generator_as_random_state_is_copied_as_often():
    forest = RandomForestClassifier(n_estimators=3, random_state=np.random.RandomState(0))
    space = {"max_depth": [1, 2], "random_state": [np.random.RandomState(1)]}
    assert_same_fits("grid", forest, space)
    assert_same_fits("grid", forest, {"max_depth": [1, 2]})


@pytest.mark.parametrize("kind", ["halving_grid", "halving_random"])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"min_resources": "smallest", "cv": 2},
        {"factor": 3, "aggressive_elimination": True, "min_resources": 30},
        {"max_resources": 50, "min_resources": 20},
        {"resource": "n_estimators", "max_resources": 6, "min_resources": 1},
        {"return_train_score": False, "refit": False},
        {"cv": ShuffleSplit(2, random_state=0), "scoring": "accuracy"},
    ],
    ids=str,
)
def test_halving_goes_the_same_way(kind, params):
    forest = RandomForestClassifier(n_estimators=3, random_state=0)
    space = {"max_depth": [1, 2, 3], "max_features": [1, 2]}
    theirs, _ = assert_same_fits(kind, forest, space, **params)
    assert len(theirs.n_candidates_) >= 1


@pytest.mark.parametrize(
    "params",
    [{"n_candidates": 5}, {"n_candidates": 4, "min_resources": "exhaust"}],
    ids=str,
)
def test_halving_of_random_candidates_takes_as_many(params):
    assert_same_fits("halving_random", LogisticRegression(), {"C": loguniform(0.1, 10)}, **params)


# ---- scores -------------------------------------------------------------------------------------


def share_right(estimator, X, y):
    return float(np.mean(estimator.predict(X) == y))


def counts(estimator, X, y):
    right = estimator.predict(X) == y
    return {"right": int(right.sum()), "wrong": int((~right).sum()), "share": right.mean()}


def least_regularized_of_good(results):
    name = next(name for name in results if name.startswith("mean_test_"))
    good = results[name] >= results[name].max() - 0.2
    return int(np.flatnonzero(good).max())


SCORINGS = {
    "default": (None, True),
    "name": ("roc_auc", True),
    "loss": ("neg_log_loss", True),
    "scorer": (make_scorer(f1_score, average="macro"), True),
    "function": (share_right, True),
    "NumPy's float": (lambda e, X, y: np.float32(share_right(e, X, y)), True),
    "array without axes": (lambda e, X, y: np.array(share_right(e, X, y)), True),
    "integer": (lambda e, X, y: int(10 * share_right(e, X, y)), True),
    "bool": (lambda e, X, y: share_right(e, X, y) > 0.8, True),
    "no refit": ("accuracy", False),
    "chosen by a function": (None, least_regularized_of_good),
    "list": (["accuracy", "f1"], "f1"),
    "tuple": (("accuracy", "neg_brier_score"), "neg_brier_score"),
    "dict": ({"a": "accuracy", "b": make_scorer(f1_score), "c": share_right}, "c"),
    "list without refit": (["accuracy", "roc_auc"], False),
    "list, chosen by a function": (["accuracy", "roc_auc"], least_regularized_of_good),
    "function of several": (counts, "share"),
    "function of several without refit": (counts, False),
    "function of several, chosen by a function": (counts, least_regularized_of_good),
}


@simple_search
@pytest.mark.parametrize("return_train_score", [False, True])
@pytest.mark.parametrize("case", SCORINGS)
def test_scores_are_the_same(kind, case, return_train_score):
    scoring, refit = SCORINGS[case]
    params = {"scoring": scoring, "refit": refit, "return_train_score": return_train_score}
    theirs, ours = assert_same_fits(kind, LogisticRegression(), C, **params)
    if refit is not False and not (callable(refit) and theirs.multimetric_):
        assert same(theirs.score(X, Y), ours.score(X, Y))


@pytest.mark.parametrize("kind", ["halving_grid", "halving_random"])
@pytest.mark.parametrize("case", ["default", "name", "scorer", "function", "integer", "no refit"])
def test_halving_scores_are_the_same(kind, case):
    scoring, refit = SCORINGS[case]
    assert_same_fits(kind, LogisticRegression(), C, scoring=scoring, refit=refit)


def test_ties_rank_the_same():
    space = {"C": [1, 1.0001, 1e-6, 1e-7]}
    theirs, _ = assert_same_fits("grid", SVC(), space, return_train_score=True)
    assert len(set(theirs.cv_results_["rank_test_score"])) < 4


def test_infinite_scores_rank_the_same():
    def infinite(estimator, X, y):
        return {0.01: -np.inf, 1.0: 3.0, 10.0: np.inf}[estimator.C]

    assert_same_fits("grid", LogisticRegression(), C, scoring=infinite)


def test_nan_scores_that_are_accepted_rank_the_same():
    def unknown(estimator, X, y):
        return np.nan if estimator.C == 1 else estimator.C

    theirs, ours = make_both("grid", LogisticRegression(), C, scoring=unknown)
    theirs, ours = fit(theirs, X, Y), fit(ours.set_params(nan_score="accept"), X, Y)
    assert told(theirs) == told(ours)
    assert_same_attributes(theirs.search, ours.search)


def test_only_nan_scores_that_are_accepted_end_the_same():
    def unknown(estimator, X, y):
        return np.nan

    theirs, ours = make_both("grid", LogisticRegression(), C, scoring=unknown)
    theirs, ours = fit(theirs, X, Y), fit(ours.set_params(nan_score="accept"), X, Y)
    assert (theirs.error, ours.error) == (None, None)
    assert told(theirs) == told(ours)
    assert_same_attributes(theirs.search, ours.search)


@simple_search
def test_an_unsupervised_search_is_scored_by_a_function_of_x_alone(kind):
    def by_bandwidth(estimator, X):
        return 42 if estimator.bandwidth == 1 else 0

    space = {"bandwidth": [0.1, 1]}
    assert_same_fits(kind, KernelDensity(), space, y=None, scoring=by_bandwidth)


def test_a_clusterer_is_scored_against_labels():
    scoring = ["adjusted_rand_score", "fowlkes_mallows_score"]
    space = {"n_clusters": [2, 3, 4]}
    means = KMeans(random_state=0, n_init=1)
    assert_same_fits("grid", means, space, scoring=scoring, refit="fowlkes_mallows_score")


# ---- failures -----------------------------------------------------------------------------------


class Picky(ClassifierMixin, BaseEstimator):
    """Predicts one class, and cannot be fitted with some parameters, or on some rows."""

    def __init__(self, value=0, fails_for=(), fails_at=None):
        self.value = value
        self.fails_for = fails_for
        self.fails_at = fails_at

    def fit(self, X, y):
        if self.value in self.fails_for:
            raise ValueError(f"value={self.value} cannot work")
        if self.fails_at is not None and self.fails_at == self.value and X[0, 0] == 0:
            raise RuntimeError("the first row cannot be learned")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.value % 2)


ROWS = np.arange(120.0).reshape(60, 2)  # the first row is 0, 1
VALUES = {"value": [0, 1, 2, 3, 4]}


@simple_search
@pytest.mark.parametrize("return_train_score", [False, True])
@pytest.mark.parametrize("scoring", [None, "accuracy", ["accuracy", "f1"], share_right, counts])
@pytest.mark.parametrize(
    "estimator",
    [Picky(fails_for=(1, 4)), Picky(fails_at=2)],
    ids=["some candidates", "some splits"],
)
def test_some_fits_that_fail_leave_the_same_results(kind, scoring, return_train_score, estimator):
    refit = {"list": "accuracy", "function": False}.get(type(scoring).__name__, True)
    params = {"scoring": scoring, "refit": refit, "return_train_score": return_train_score}
    many = {"n_iter": 5} if kind == "random" else {}
    theirs, _ = assert_same_fits(kind, estimator, VALUES, ROWS, **params, **many)
    means = [v for name, v in theirs.cv_results_.items() if name.startswith("mean_test_")]
    assert all(np.isnan(mean).any() and not np.isnan(mean).all() for mean in means)


@simple_search
@pytest.mark.parametrize("error_score", [-1, -1.0, 0, np.float32(-2)], ids=repr)
@pytest.mark.parametrize("scoring", ["accuracy", ["accuracy", "balanced_accuracy"]], ids=str)
def test_a_numeric_error_score_below_the_others_leaves_the_same_results(kind, error_score, scoring):
    params = {"scoring": scoring, "refit": False, "error_score": error_score}
    assert_same_fits(kind, Picky(fails_for=(1, 4)), VALUES, ROWS, np.tile([0, 0, 1], 20), **params)


@pytest.mark.parametrize("kind", ["halving_grid", "halving_random"])
def test_halving_drops_candidates_that_fail(kind):
    params = {"scoring": "accuracy", "factor": 2}
    if kind == "halving_random":
        params["n_candidates"] = 5
    theirs, _ = assert_same_fits(
        kind, Picky(fails_for=(1, 4)), VALUES, ROWS, np.tile([0, 0, 1], 20), **params
    )
    assert theirs.best_params_["value"] not in (1, 4)


@simple_search
def test_an_error_in_fit_is_raised_if_that_is_wanted(kind):
    error = assert_same_errors(
        kind, Picky(fails_for=(0, 1, 2, 3, 4)), VALUES, ROWS, error_score="raise"
    )
    assert isinstance(error, ValueError)


def raise_for_one(estimator, X, y):
    if estimator.value == 1:
        raise ZeroDivisionError("nothing to divide by")
    return 1.0 if estimator.value else 0.5


def several_or_raise_for_one(estimator, X, y):
    return {"score": raise_for_one(estimator, X, y), "other": 1}


@simple_search
@pytest.mark.parametrize("return_train_score", [False, True])
@pytest.mark.parametrize(
    "scoring",
    [raise_for_one, {"b": raise_for_one}, {"a": raise_for_one, "b": raise_for_one}],
    ids=["one", "one by name", "several"],
)
@pytest.mark.parametrize("error_score", [np.nan, -1.0], ids=repr)
def test_a_scorer_that_raises_for_some_leaves_the_same_results(
    kind, scoring, error_score, return_train_score
):
    params = {
        "scoring": scoring,
        "error_score": error_score,
        "return_train_score": return_train_score,
        "refit": "b" if isinstance(scoring, dict) else True,
    }
    assert_same_but_for_failed(kind, Picky(), VALUES, **params)


def assert_same_but_for_failed(kind, estimator, space, **params):
    """A score that could not be had is a failed fit here, so that there is one more warning."""
    if kind == "random":
        params["n_iter"] = 5
    theirs, ours = make_both(kind, estimator, space, **params)
    theirs, ours = fit(theirs, ROWS, Y), fit(ours, ROWS, Y)
    assert (theirs.error, ours.error) == (None, None)
    assert told(ours) == told(theirs) | collections.Counter({("FitFailedWarning", ""): 1})
    assert_same_attributes(theirs.search, ours.search)


@simple_search
def test_a_scorer_that_raises_spoils_no_other_score(kind):
    scoring = {"value": lambda e, X, y: float(e.value), "b": raise_for_one}
    assert_same_fits(kind, Picky(), VALUES, ROWS, Y, scoring=scoring, refit="value")


def raise_always(estimator, X, y):
    raise ZeroDivisionError("nothing to divide by")


@simple_search
def test_a_scorer_that_always_raises_ends_no_search_that_another_decides(kind):
    scoring = {"value": lambda e, X, y: float(e.value), "b": raise_always}
    assert_same_fits(kind, Picky(), VALUES, ROWS, Y, scoring=scoring, refit="value")


@simple_search
def test_a_scorer_that_raises_on_training_rows_spoils_no_test_score(kind):
    def fails_on_training_rows(estimator, X, y):
        if estimator.value == 4 and len(X) == 40:
            raise ZeroDivisionError("nothing to divide by")
        return float(estimator.value)

    params = {"scoring": fails_on_training_rows, "return_train_score": True, "cv": 3}
    assert_same_fits(kind, Picky(), VALUES, ROWS, Y, **params)


@simple_search
def test_a_function_of_several_scores_that_raises_for_some_ends_in_results_or_the_same_error(kind):
    params = {"scoring": several_or_raise_for_one, "refit": "score"}
    if kind == "random":
        params["n_iter"] = 5
    theirs, ours = make_both(kind, Picky(), VALUES, **params)
    theirs, ours = fit(theirs, ROWS, Y), fit(ours, ROWS, Y)
    assert ours.error is None or type(ours.error) is type(theirs.error)


@simple_search
def test_nan_of_one_score_spoils_no_other_score(kind):
    scoring = {"value": lambda e, X, y: float(e.value), "b": lambda e, X, y: np.nan}
    assert_same_fits(kind, Picky(), VALUES, ROWS, scoring=scoring, refit="value")


def best_known(results):
    return np.nanargmax(results["mean_test_score"])


def third(results):
    return 2


def one_for_each_value(results):
    assert len(results["params"]) == 5
    return 2


@pytest.mark.parametrize("refit", [best_known, *(f for f in (third, one_for_each_value))])
def test_a_function_chooses_the_same_where_fits_fail(refit):
    params = {"scoring": "accuracy", "refit": refit}
    assert_same_fits("grid", Picky(fails_for=(1, 4)), VALUES, ROWS, **params)


@simple_search
@pytest.mark.parametrize(
    "scoring",
    [raise_for_one, {"a": "accuracy", "b": raise_for_one}, several_or_raise_for_one],
    ids=["one", "several", "a function of several"],
)
def test_an_error_of_a_scorer_is_raised_if_that_is_wanted(kind, scoring):
    params = {"scoring": scoring, "refit": False, "error_score": "raise"}
    if kind == "random":
        params["n_iter"] = 5
    error = assert_same_errors(kind, Picky(), VALUES, ROWS, **params)
    assert isinstance(error, ZeroDivisionError)


def test_an_error_in_the_refit_is_raised():
    class FailsOnAllRows(Picky):
        def fit(self, X, y):
            if len(X) == 60:
                raise ArithmeticError("too many rows")
            return super().fit(X, y)

    assert_same_errors("grid", FailsOnAllRows(), VALUES, ROWS)


# ---- data that goes along -----------------------------------------------------------------------


GROUPS = np.arange(60) % 6
WEIGHTS = np.linspace(0.1, 2, 60)


@each_search
@pytest.mark.parametrize("cv", [GroupKFold(3), LeaveOneGroupOut()], ids=repr)
def test_groups_reach_the_splitter(kind, cv):
    assert_same_fits(kind, LogisticRegression(), C, cv=cv, fit_params={"groups": GROUPS})


@each_search
@pytest.mark.parametrize("weights", [WEIGHTS, WEIGHTS.tolist(), pd.Series(WEIGHTS), None])
def test_weights_reach_fit(kind, weights):
    assert_same_fits(kind, LogisticRegression(), C, fit_params={"sample_weight": weights})


@pytest.mark.parametrize(
    ("scoring", "refit"),
    [
        (share_right, True),
        (make_scorer(lambda y, p: float(np.mean(y == p))), True),
        ({"plain": make_scorer(lambda y, p: 0.5), "accuracy": "accuracy"}, "accuracy"),
    ],
    ids=["function", "scorer", "one of two"],
)
def test_weights_that_a_scorer_cannot_take_warn_the_same(scoring, refit):
    params = {"scoring": scoring, "refit": refit, "fit_params": {"sample_weight": WEIGHTS}}
    assert_same_fits("grid", LogisticRegression(), C, **params)


class TakesMore(LogisticRegression):
    """Keeps what else than rows its fit got."""

    def fit(self, X, y, sample_weight=None, flag=None, per_row=None):
        self.flag_, self.n_per_row_ = flag, None if per_row is None else len(per_row)
        assert per_row is None or len(per_row) == len(y)
        return super().fit(X, y, sample_weight)


@each_search
@pytest.mark.parametrize(
    "fit_params", [{"flag": "on"}, {"flag": [1, 2]}, {"per_row": list(range(60))}], ids=str
)
def test_other_fit_parameters_reach_fit(kind, fit_params):
    theirs, ours = assert_same_fits(kind, TakesMore(), C, fit_params=fit_params)
    assert ours.best_estimator_.flag_ == theirs.best_estimator_.flag_
    assert ours.best_estimator_.n_per_row_ == theirs.best_estimator_.n_per_row_


def test_fit_parameters_reach_a_step_of_a_pipeline():
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    params = {"logisticregression__sample_weight": WEIGHTS}
    assert_same_fits("grid", pipe, {"logisticregression__C": [0.1, 1]}, fit_params=params)


@each_search
@pytest.mark.parametrize("wants", [True, False])
def test_routed_metadata_reach_all_who_want_them(kind, wants):
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = LogisticRegression().set_fit_request(sample_weight=wants)
        estimator.set_score_request(sample_weight=not wants)
        scorer = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        for scoring in [scorer] if kind.startswith("halving") else [scorer, {"a": scorer}]:
            theirs, ours = assert_same_fits(
                kind,
                estimator,
                C,
                cv=GroupKFold(3),
                scoring=scoring,
                refit="a" if isinstance(scoring, dict) else True,
                fit_params={"sample_weight": WEIGHTS, "groups": GROUPS},
            )
            assert same(
                theirs.score(X, Y, sample_weight=WEIGHTS), ours.score(X, Y, sample_weight=WEIGHTS)
            )


def test_routed_metadata_reach_a_step_of_a_pipeline():
    with sklearn.config_context(enable_metadata_routing=True):
        model = LogisticRegression().set_fit_request(sample_weight=True)
        pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        assert_same_fits(
            "grid",
            pipe,
            {"logisticregression__C": [0.1, 1]},
            scoring=make_scorer(accuracy_score).set_score_request(sample_weight=True),
            fit_params={"sample_weight": WEIGHTS},
        )


@each_search
def test_metadata_nobody_asked_for_are_refused(kind):
    with sklearn.config_context(enable_metadata_routing=True):
        error = assert_same_errors(
            kind, LogisticRegression(), C, fit_params={"sample_weight": WEIGHTS}
        )
    assert "sample_weight" in str(error)


@each_search
def test_the_routing_of_metadata_is_described_the_same(kind):
    with sklearn.config_context(enable_metadata_routing=True):
        theirs, ours = make_both(kind, LogisticRegression(), C)
        routes = [neutral(search.get_metadata_routing()) for search in (theirs, ours)]
    assert routes[0] == routes[1]


# ---- splits -------------------------------------------------------------------------------------


class OnlyOnce:
    """A splitter that gives its splits a single time."""

    def __init__(self):
        self._splits = KFold(3).split(X)

    def split(self, X=None, y=None, groups=None):
        yield from self._splits

    def get_n_splits(self, X=None, y=None, groups=None):
        return 3


SPLITTERS = {
    "default": lambda: None,
    "number": lambda: 2,
    "stratified": lambda: StratifiedKFold(2, shuffle=True, random_state=0),
    "repeated": lambda: RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0),
    "a RandomState": lambda: ShuffleSplit(2, random_state=np.random.RandomState(0)),
    "time": lambda: TimeSeriesSplit(3),
    "predefined": lambda: PredefinedSplit(np.arange(60) % 3),
    "list": lambda: list(KFold(2).split(X)),
    "list of lists": lambda: [(list(range(40)), list(range(40, 60)))],
    "masks": lambda: [(np.arange(60) % 3 != 0, np.arange(60) % 3 == 0)],
    "generator": lambda: KFold(3, shuffle=True, random_state=0).split(X, Y),
    "once": OnlyOnce,
}


@simple_search
@pytest.mark.parametrize("case", SPLITTERS)
def test_splits_are_the_same(kind, case):
    searches = make_both(kind, LogisticRegression(), C, return_train_score=True)
    for search in searches:
        search.set_params(cv=SPLITTERS[case]()).fit(X, Y)
    assert_same_attributes(*searches)
    assert_same_predictions(*searches, X)


@pytest.mark.parametrize("kind", ["halving_grid", "halving_random"])
@pytest.mark.parametrize("case", ["stratified", "list", "predefined"])
def test_halving_splits_are_the_same(kind, case):
    searches = make_both(kind, LogisticRegression(), C)
    for search in searches:
        search.set_params(cv=SPLITTERS[case]()).fit(X, Y)
    assert_same_attributes(*searches)


# ---- messages -----------------------------------------------------------------------------------


def without_times(output):
    output = re.sub(r"total time= *[\d.]+(min|s)", "total time=0s", output)
    return re.sub(r"\.{2,}", "..", output)  # as many dots as leave room for the time


@each_search
@pytest.mark.parametrize("verbose", [0, 1, 2, 3, 10])
def test_what_is_printed_is_the_same(kind, verbose, capsys):
    searches = make_both(
        kind, LogisticRegression(), C, verbose=verbose, return_train_score=verbose == 3
    )
    printed = []
    for search in searches:
        search.fit(X, Y)
        printed.append(without_times(capsys.readouterr().out))
    assert printed[0] == printed[1]
    assert bool(printed[0]) == (verbose > 0)


@simple_search
def test_what_is_printed_of_several_scores_is_the_same(kind, capsys):
    params = {"scoring": ["accuracy", "f1"], "refit": "f1", "return_train_score": True}
    printed = []
    for search in make_both(kind, LogisticRegression(), C, verbose=3, **params):
        search.fit(X, Y)
        printed.append(without_times(capsys.readouterr().out))
    assert printed[0] == printed[1]
    assert "f1: (train=" in printed[0]


def test_what_is_printed_of_estimators_as_values_is_the_same(capsys):
    pipe = Pipeline([("model", SVC())])
    space = {"model": [SVC(), LogisticRegression()], "model__C": [1, 2]}
    printed = []
    for search in make_both("grid", pipe, space, verbose=3):
        search.fit(X, Y)
        printed.append(without_times(capsys.readouterr().out))
    assert printed[0] == printed[1]


def test_a_fit_that_fails_has_a_line_with_its_error(capsys):
    _, ours = make_both("grid", Picky(fails_for=(1,)), VALUES, verbose=2, scoring="accuracy")
    fit(ours, ROWS, Y)
    assert "FAILED {'value': 1}: ValueError: value=1 cannot work" in capsys.readouterr().out


# ---- several at a time --------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["columns", "estimators as values"])
def test_two_jobs_find_the_same_as_one(case):
    estimator, space, X, y = ESTIMATORS[case]
    theirs, ours = make_both("grid", estimator, space)
    assert_same_attributes(theirs.fit(X, y), ours.set_params(n_jobs=2).fit(X, y))
    assert_same_predictions(theirs, ours, X)


def test_two_jobs_of_halving_find_the_same_as_one():
    theirs, ours = make_both("halving_random", SVC(random_state=0), {"C": loguniform(0.1, 10)})
    assert_same_attributes(theirs.fit(X, Y), ours.set_params(n_jobs=2).fit(X, Y))


def test_two_jobs_fail_the_same_as_one():
    theirs, ours = make_both("grid", Picky(fails_for=(1, 4)), VALUES, scoring=["accuracy", "f1"])
    params = {"refit": "f1", "return_train_score": True, "error_score": -1}
    theirs.set_params(**params)
    theirs, ours = fit(theirs, ROWS, Y), fit(ours.set_params(**params, n_jobs=2), ROWS, Y)
    assert (theirs.error, ours.error) == (None, None)
    assert told(theirs).keys() == told(ours).keys()
    assert_same_attributes(theirs.search, ours.search)


@each_search
def test_threads_find_the_same(kind):
    with joblib.parallel_config("threading", n_jobs=2):
        assert_same_fits(kind, LogisticRegression(), C)


@pytest.mark.parametrize("pre_dispatch", ["all", "n_jobs", 1])
def test_threads_find_the_same_however_many_are_dispatched(pre_dispatch):
    with joblib.parallel_config("threading", n_jobs=2):
        assert_same_fits("grid", LogisticRegression(), C, pre_dispatch=pre_dispatch)


def test_jobs_may_be_asked_for_from_outside():
    theirs, ours = make_both("grid", LogisticRegression(), C)
    theirs.fit(X, Y, sample_weight=WEIGHTS)
    with joblib.parallel_config(n_jobs=2):
        ours.fit(X, Y, sample_weight=WEIGHTS)
    assert_same_attributes(theirs, ours)


def test_threads_fail_the_same():
    with joblib.parallel_config("threading", n_jobs=2):
        assert_same_fits("grid", Picky(fails_for=(1, 4)), VALUES, ROWS)


# ---- what is refused ----------------------------------------------------------------------------


def not_a_number(estimator, X, y):
    return "good"


def an_array(estimator, X, y):
    return np.ones(2)


def several_not_numbers(estimator, X, y):
    return {"a": "good"}


class WrongNumber(KFold):
    def get_n_splits(self, *args, **kwargs):
        return 1


class OnlyFit:
    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X))


class NoScore(BaseEstimator):
    def fit(self, X, y):
        return self


ERRORS = {
    "unknown parameter": {"space": {"c": [1, 2]}},
    "unknown deep parameter": {
        "estimator": make_pipeline(LogisticRegression()),
        "space": {"logisticregression__D": [1]},
    },
    "unknown step": {"estimator": make_pipeline(LogisticRegression()), "space": {"svc__C": [1]}},
    "no values": {"space": {"C": []}},
    "one value": {"space": {"C": 1}},
    "a text": {"space": {"C": "1"}},
    "values in two axes": {"space": {"C": np.ones((2, 2))}},
    "space of no kind": {"space": 0},
    "list of no spaces": {"space": [0]},
    "unknown score": {"params": {"scoring": "beauty"}},
    "one score twice": {"params": {"scoring": ["f1", "f1"], "refit": "f1"}},
    "scores that are no names": {"params": {"scoring": [f1_score], "refit": False}},
    "no scores": {"params": {"scoring": [], "refit": False}},
    "an empty dict of scores": {"params": {"scoring": {}, "refit": False}},
    "a metric as score": {"params": {"scoring": accuracy_score, "error_score": "raise"}},
    "no refit for several": {"params": {"scoring": ["accuracy", "f1"]}},
    "unknown refit": {"params": {"scoring": ["accuracy", "f1"], "refit": "recall"}},
    "no refit for a function of several": {"params": {"scoring": counts}},
    "unknown refit for a function of several": {"params": {"scoring": counts, "refit": "f1"}},
    "refit is no integer": {"params": {"refit": lambda results: None}},
    "refit is too large": {"params": {"refit": lambda results: 100}},
    "refit is negative": {"params": {"refit": lambda results: -1}},
    "refit is a number": {"params": {"refit": 1.5}},
    "score is a text": {"params": {"scoring": not_a_number}},
    "score is an array": {"params": {"scoring": an_array}},
    "one of several scores is a text": {"params": {"scoring": several_not_numbers, "refit": "a"}},
    "error_score": {"params": {"error_score": "rise"}},
    "n_jobs": {"params": {"n_jobs": 1.5}},
    "verbose": {"params": {"verbose": -1}},
    "pre_dispatch": {"params": {"pre_dispatch": None}},
    "return_train_score": {"params": {"return_train_score": "yes"}},
    "cv": {"params": {"cv": "five"}},
    "cv of 1": {"params": {"cv": 1}},
    "cv with more folds than rows": {"params": {"cv": 70}},
    "empty cv": {"params": {"cv": []}},
    "wrong number of splits": {"params": {"cv": WrongNumber(3)}},
    "no groups": {"params": {"cv": GroupKFold(2)}},
    "lengths": {"data": (X[:-1], Y)},
    "no y": {"data": (X,), "params": {"error_score": "raise"}},
    "no estimator": {"estimator": "SVC"},
    "a class": {"estimator": LogisticRegression},
    "no score at all": {"estimator": NoScore(), "space": {}},
    "unknown fit parameter": {"fit_params": {"colour": 1}, "params": {"error_score": "raise"}},
    "kernel that is not square": {
        "estimator": SVC(kernel="precomputed"),
        "params": {"error_score": "raise"},
    },
    "no jobs": {"params": {"n_jobs": 0}},
    "a set of scores": {"params": {"scoring": {"f1", "accuracy"}, "refit": "f1"}},
    "weights of another length": {
        "fit_params": {"sample_weight": WEIGHTS[:-1]},
        "params": {"error_score": "raise"},
    },
    "a value that cannot be copied": {"space": {"C": [threading.Lock()]}},
    "a value of the wrong type": {"space": {"C": ["1"]}, "params": {"error_score": "raise"}},
    "no get_params": {"estimator": OnlyFit(), "params": {"scoring": share_right}},
}


IN_OTHER_WORDS = {
    "wrong number of splits": pytest.mark.xfail(
        sklearn_callback is None, strict=True, reason="scikit-learn 1.6 wrote 'returned'"
    ),
}


@simple_search
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=IN_OTHER_WORDS.get(case, ())) for case in ERRORS]
)
def test_what_cannot_work_is_refused_in_the_same_words(kind, case):
    error = ERRORS[case]
    data = (*error.get("data", (X, Y)), None)[:2]
    assert_same_errors(
        kind,
        error.get("estimator", LogisticRegression()),
        error.get("space", C),
        *data,
        fit_params=error.get("fit_params", ()),
        **error.get("params", {}),
    )


HALVING_ERRORS = {
    "several scores": {"scoring": ["accuracy", "f1"]},
    "a function of several scores": {"scoring": counts},
    "shuffled": {"cv": KFold(3, shuffle=True)},
    "resource": {"resource": "unknown"},
    "resource is searched": {"resource": "C", "max_resources": 9},
    "resource without a maximum": {"resource": "max_iter"},
    "min_resources": {"min_resources": 1000},
    "max_resources": {"max_resources": "all"},
    "factor": {"factor": -1},
    "too few": {"min_resources": "much"},
    "refit": {"refit": 1.5},
}


@pytest.mark.parametrize("kind", ["halving_grid", "halving_random"])
@pytest.mark.parametrize("case", HALVING_ERRORS)
def test_what_halving_cannot_do_is_refused_in_the_same_words(kind, case):
    assert_same_errors(kind, LogisticRegression(), C, **HALVING_ERRORS[case])


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("random", {"n_iter": 0}),
        ("random", {"n_iter": -1}),
        ("random", {"n_iter": 2.5}),
        ("random", {"random_state": "a"}),
        ("halving_random", {"n_candidates": 0}),
        ("halving_random", {"n_candidates": "exhaust", "min_resources": "exhaust"}),
    ],
)
def test_impossible_draws_are_refused_in_the_same_words(kind, params):
    assert_same_errors(kind, LogisticRegression(), C, **params)


@each_search
def test_nothing_is_there_before_fit(kind):
    messages = []
    for search in make_both(kind, LogisticRegression(), C):
        with pytest.raises(NotFittedError, match="not fitted yet") as error:
            check_is_fitted(search)
        messages.append(neutral(error.value))
        assert not hasattr(search, "n_features_in_")
        assert not hasattr(search, "cv_results_")
        assert hasattr(search, "predict_proba")
        with pytest.raises(NotFittedError, match="not fitted yet") as error:
            search.predict(X)
        messages.append(neutral(error.value))
    assert messages[:2] == messages[2:]


@each_search
def test_without_refit_nothing_can_be_predicted(kind):
    messages = []
    for search in make_both(kind, LogisticRegression(), C, refit=False):
        search.fit(X, Y)
        for method in ("predict", "score"):
            with pytest.raises(AttributeError, match=rf"{method}|refit") as error:
                getattr(search, method)(*[X, Y][: 1 + (method == "score")])
            messages.append((neutral(error.value), neutral(error.value.__cause__)))
    assert messages[:2] == messages[2:]


@each_search
def test_what_the_estimator_lacks_the_search_lacks(kind):
    messages = []
    for search in make_both(kind, LinearSVC(random_state=0), C):
        search.fit(X, Y)
        for method in ("predict_proba", "score_samples", "transform"):
            with pytest.raises(AttributeError, match=method) as error:
                getattr(search, method)
            messages.append((neutral(error.value), neutral(error.value.__cause__)))
    assert messages[:3] == messages[3:]


# ---- inside of others ---------------------------------------------------------------------------


@each_search
def test_cross_validation_of_a_search_is_the_same(kind):
    searches = make_both(kind, LogisticRegression(), C, cv=2, **halving_of(15, kind))
    scores = [cross_val_score(search, X, Y, cv=2) for search in searches]
    assert same(*scores)
    predictions = [
        cross_val_predict(search, X, Y, cv=2, method="predict_proba") for search in searches
    ]
    assert same(*predictions)


def halving_of(min_resources, kind):
    return {"min_resources": min_resources} if kind.startswith("halving") else {}


def test_cross_validation_gives_back_fitted_searches():
    results = [
        cross_validate(search, X, Y, cv=2, return_estimator=True)["estimator"]
        for search in make_both("grid", LogisticRegression(), C)
    ]
    for theirs, ours in zip(*results, strict=True):
        assert_same_attributes(theirs, ours)


@each_search
def test_a_search_is_a_step_of_a_pipeline(kind):
    pipes = [
        make_pipeline(StandardScaler(), search, memory=None).fit(X, Y)
        for search in make_both(kind, LogisticRegression(), C)
    ]
    assert_same_attributes(pipes[0][-1], pipes[1][-1])
    assert_same_predictions(*pipes, X)


def test_a_search_of_a_transformer_is_a_step_of_a_pipeline():
    pipes = [
        make_pipeline(search, LogisticRegression()).fit(X, Y)
        for search in make_both("grid", PCA(), {"n_components": [1, 2]})
    ]
    assert_same_predictions(*pipes, X)
    inverses = [pipe[0].inverse_transform(pipe[0].transform(X)) for pipe in pipes]
    assert same(*inverses)


@each_search
def test_a_search_has_a_vote(kind):
    votes = [
        VotingClassifier([("s", search), ("t", GaussianNB())], voting="soft").fit(X, Y)
        for search in make_both(kind, LogisticRegression(), C)
    ]
    assert_same_predictions(*votes, X)


def test_a_search_is_the_estimator_of_others():
    def wrapped(search):
        return [
            OneVsRestClassifier(search),
            StackingClassifier([("s", search)], LogisticRegression(), cv=2),
            BaggingClassifier(search, n_estimators=2, random_state=0),
        ]

    for theirs, ours in zip(*map(wrapped, make_both("grid", SVC(), C)), strict=True):
        assert_same_predictions(theirs.fit(X, Y), ours.fit(X, Y), X)


@simple_search
def test_a_search_of_a_search_finds_the_same(kind):
    inner = make_both("grid", LogisticRegression(), C, cv=2)
    space = {"estimator__fit_intercept": [True, False], "scoring": ["f1", "accuracy"]}
    searches = [
        cls(search, space, **DEFAULTS[kind]).fit(X, Y)
        for cls, search in zip(SEARCHES[kind], inner, strict=True)
    ]
    theirs, ours = searches
    assert_same_results(
        {k: v for k, v in theirs.cv_results_.items() if k != "params"}, ours.cv_results_
    )
    assert_same_attributes(theirs.best_estimator_, ours.best_estimator_)
    assert_same_predictions(theirs, ours, X)


@each_search
def test_a_search_has_the_tags_of_its_estimator(kind):
    for estimator in (LogisticRegression(), Ridge(), SVC(kernel="precomputed"), KMeans()):
        theirs, ours = make_both(kind, estimator, {})
        assert theirs.__sklearn_tags__() == ours.__sklearn_tags__()


# ---- the class ----------------------------------------------------------------------------------


@each_search
def test_every_parameter_stands_where_it_stood(kind):
    theirs, ours = (list(inspect.signature(cls).parameters.values()) for cls in SEARCHES[kind])
    for expected, actual in zip(theirs, ours, strict=False):
        assert (actual.name, actual.kind) == (expected.name, expected.kind)
        assert same(expected.default, actual.default)
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in ours[len(theirs) :])


@each_search
def test_every_method_takes_what_it_took(kind):
    theirs, ours = SEARCHES[kind]
    for name in ("fit", "score", *METHODS, "inverse_transform", "get_params", "set_params"):
        expected = [(p.name, p.kind, p.default) for p in signature_of(theirs, name)]
        assert [(p.name, p.kind, p.default) for p in signature_of(ours, name)] == expected
    assert issubclass(ours, theirs)


def signature_of(cls, name):
    return inspect.signature(getattr(cls, name)).parameters.values()


@each_search
def test_a_search_is_copied_with_all_its_parameters(kind):
    _, search = make_both(kind, LogisticRegression(), C, scoring="f1", verbose=0)
    copied = clone(search)
    assert same(search.get_params(), copied.get_params())
    assert copied.estimator is not search.estimator
    assert not hasattr(clone(search.fit(X, Y)), "cv_results_")


@each_search
def test_a_fitted_search_survives_pickling(kind):
    searches = make_both(kind, LogisticRegression(), C)
    copies = [pickle.loads(pickle.dumps(search.fit(X, Y))) for search in searches]
    assert_same_attributes(*copies)
    assert_same_predictions(*copies, X)


@each_search
def test_parameters_are_read_and_set_by_the_same_names(kind):
    theirs, ours = make_both(kind, make_pipeline(StandardScaler(), LogisticRegression()), C)
    expected, actual = theirs.get_params(), ours.get_params()
    assert same(expected, {name: actual[name] for name in expected})
    for search in (theirs, ours):
        search.set_params(estimator__logisticregression__C=7.0, refit=False)
        assert search.estimator[-1].C == 7.0
        with pytest.raises(ValueError, match="Invalid parameter 'colour' for estimator"):
            search.set_params(colour=1)


@each_search
def test_the_results_are_a_table_for_pandas(kind):
    tables = [pd.DataFrame(search.fit(X, Y).cv_results_) for search in make_both(kind, SVC(), C)]
    shared = [name for name in tables[0] if not name.endswith("_time")]
    assert tables[0][shared].equals(tables[1][shared])


@each_search
def test_a_search_shows_itself_the_same(kind):
    theirs, ours = make_both(kind, LogisticRegression(C=3), C, scoring="f1")
    assert re.sub(r"\s+", " ", repr(ours).replace("Guarded", "")) == re.sub(
        r"\s+", " ", repr(theirs)
    )
    for search in (theirs, ours):
        assert "LogisticRegression" in search._repr_html_()
        assert "LogisticRegression" in search.fit(X, Y)._repr_html_()


@each_search
def test_what_the_user_gave_is_left_as_it_was(kind):
    space = {"C": [1.0, 2.0], "class_weight": [None, {0: 1, 1: 2}]}
    estimator, X_given, y_given = LogisticRegression(), X.copy(), Y.copy()
    _, cls = SEARCHES[kind]
    cls(estimator, space, **DEFAULTS[kind]).fit(X_given, y_given)
    assert space == {"C": [1.0, 2.0], "class_weight": [None, {0: 1, 1: 2}]}
    assert not hasattr(estimator, "coef_")
    assert np.array_equal(X, X_given)
    assert np.array_equal(Y, y_given)


@each_search
def test_a_second_fit_starts_anew(kind):
    searches = make_both(kind, LogisticRegression(), C)
    for search in searches:
        search.fit(FRAME.drop(columns="kind"), Y).fit(X[:, :3], 1 - Y)
    theirs, ours = searches
    names = hasattr(theirs, "feature_names_in_")
    if names:  # of the first fit, which scikit-learn forgets to drop
        del theirs.feature_names_in_
    assert_same_attributes(theirs, ours)


# ---- searches of one's own ----------------------------------------------------------------------


def with_steps(cls):
    """A search that looks at its results between its candidates, as for scikit-learn's."""

    class InSteps(cls):
        seen = ()

        def _run_search(self, evaluate_candidates):
            first = evaluate_candidates([{"C": 1}, {"C": 10}])
            better = 0.1 if first["mean_test_score"][0] >= first["mean_test_score"][1] else 100
            second = evaluate_candidates(
                ({"C": value, "fit_intercept": True} for value in (better, 3)),
            )
            # scikit-learn's own list of parameters goes on growing.
            self.seen = dict(first, params=first["params"][:2]), second

    return InSteps


def test_a_custom_loop_sees_the_same_between_its_candidates():
    searches = [
        with_steps(cls)(LogisticRegression(), {}, cv=2, return_train_score=True).fit(X, Y)
        for cls in SEARCHES["grid"]
    ]
    assert_same_attributes(*searches)
    for theirs, ours in zip(searches[0].seen, searches[1].seen, strict=True):
        assert_same_results(theirs, ours)


@each_search
def test_a_subclass_may_set_attributes_before_it_fits(kind):
    def counting(cls):
        def fit(self, X, y=None, **params):
            self.n_rows_ = len(X)
            return cls.fit(self, X, y, **params)

        return type("Counting", (cls,), {"fit": fit, "__init__": cls.__init__})

    theirs, ours = (
        counting(cls)(LogisticRegression(), C, **DEFAULTS[kind]).fit(X, Y) for cls in SEARCHES[kind]
    )
    assert_same_attributes(theirs, ours)


def with_more(cls):
    class WithMore(cls):
        def _run_search(self, evaluate_candidates):
            for turn in range(2):
                evaluate_candidates(
                    [{"C": 1 + turn}, {"C": 5 + turn}],
                    cv=KFold(2, shuffle=True, random_state=turn),
                    more_results={"turn": [turn, turn], "note": ["a", "b"]},
                )

    return WithMore


def test_a_custom_loop_has_splits_and_columns_of_its_own():
    searches = [
        with_more(cls)(LogisticRegression(), {}, cv=2).fit(X, Y) for cls in SEARCHES["grid"]
    ]
    assert_same_attributes(*searches)
    assert searches[1].cv_results_["turn"].tolist() == [0, 0, 1, 1]


def test_a_custom_loop_cannot_take_the_name_of_a_column_that_is_there():
    class Named:
        def _run_search(self, evaluate_candidates):
            evaluate_candidates([{"C": 1}, {"C": 2}], more_results={"status": ["new", "old"]})

    cls = SEARCHES["grid"][1]
    search = type("Search", (Named, cls), {"__init__": cls.__init__})(LogisticRegression(), {})
    with pytest.raises(ValueError, match="a column 'status'"):
        search.fit(X, Y)


def test_a_custom_loop_that_evaluates_nothing_is_refused():
    class Idle:
        def _run_search(self, evaluate_candidates):
            pass

    errors = [
        fit(
            type("Search", (Idle, cls), {"__init__": cls.__init__})(LogisticRegression(), {}), X, Y
        ).error
        for cls in SEARCHES["grid"]
    ]
    assert None not in errors  # scikit-learn's is an IndexError, of nobody's making


def without_candidates(cls):
    class WithoutCandidates(cls):
        def _run_search(self, evaluate_candidates):
            evaluate_candidates([])

    return WithoutCandidates


def test_a_custom_loop_without_candidates_is_refused_in_the_same_words():
    errors = [
        fit(without_candidates(cls)(LogisticRegression(), {}), X, Y).error
        for cls in SEARCHES["grid"]
    ]
    assert type(errors[0]) is type(errors[1])
    assert str(errors[0]) == str(errors[1])


# ---- callbacks ----------------------------------------------------------------------------------


class Recorder:
    """Keeps which hook was called, for what, at which place of the fit's tasks."""

    def __init__(self):
        self.calls = []

    def _note(self, hook, estimator, context, **kwargs):
        path = tuple(
            (neutral(c.estimator_name), c.task_name, c.task_id, c.max_subtasks)
            for c in sklearn_callback._callback_context.get_context_path(context)
        )
        shapes = {
            name: value
            if value is None
            else np.shape(value.get("sample_weight"))
            if isinstance(value, dict)
            else np.shape(value)
            for name, value in kwargs.items()
        }
        self.calls.append((hook, neutral(type(estimator).__name__), path, shapes))

    def setup(self, estimator, context):
        self._note("setup", estimator, context)

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self._note("begin", estimator, context, X=X, y=y, metadata=metadata)

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None):
        self._note("end", estimator, context, X=X, y=y, metadata=metadata)

    def teardown(self, estimator, context):
        self._note("teardown", estimator, context)


class PassedOn(Recorder):
    """One that scikit-learn hands on to what a search fits."""

    max_propagation_depth = None


def record(search, callback_class=Recorder, on=None, **fit_params):
    callback = callback_class()
    (search if on is None else on(search)).set_callbacks(callback)
    ran = fit(search, X, Y, **fit_params)
    return callback.calls, ran


@needs_callbacks
@each_search
@pytest.mark.parametrize("callback_class", [Recorder, PassedOn])
@pytest.mark.parametrize("refit", [True, False])
def test_callbacks_of_a_search_are_called_the_same(kind, callback_class, refit):
    theirs, ours = (
        record(search, callback_class)
        for search in make_both(kind, LogisticRegression(), C, refit=refit)
    )
    assert ours[0] == theirs[0]
    assert {call[0] for call in ours[0]} == {"setup", "begin", "end", "teardown"}


@needs_callbacks
@each_search
def test_callbacks_get_the_weights(kind):
    theirs, ours = (
        record(search, sample_weight=WEIGHTS) for search in make_both(kind, LogisticRegression(), C)
    )
    assert ours[0] == theirs[0]


@needs_callbacks
@each_search
def test_callbacks_of_the_estimator_are_called_the_same(kind):
    theirs, ours = (
        record(search, on=lambda search: search.estimator)
        for search in make_both(kind, LogisticRegression(), C)
    )
    assert ours[0] == theirs[0]
    assert ours[0]


@needs_callbacks
def test_callbacks_of_a_step_are_called_the_same():
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    theirs, ours = (
        record(search, on=lambda search: search.estimator[-1])
        for search in make_both("grid", pipe, {"logisticregression__C": [1.0, 2.0]})
    )
    assert ours[0] == theirs[0]
    assert ours[0]


@needs_callbacks
@pytest.mark.parametrize("callback_class", [Recorder, PassedOn])
def test_callbacks_of_a_search_of_a_search_are_called_the_same(callback_class):
    found = []
    for cls in SEARCHES["grid"]:
        inner = cls(LogisticRegression(), C, cv=2)
        found.append(record(cls(inner, {"scoring": ["f1", "accuracy"]}, cv=2), callback_class)[0])
    assert found[0] == found[1]


@needs_callbacks
def test_callbacks_of_values_are_called_the_same():
    found = []
    for cls in SEARCHES["grid"]:
        callback = Recorder()
        models = [LogisticRegression(C=value).set_callbacks(callback) for value in (1, 2)]
        search = cls(Pipeline([("model", None)]), {"model": models}, cv=2, scoring="accuracy")
        search.fit(X, Y)
        found.append(callback.calls)
    assert found[0] == found[1]
    assert found[0]


@needs_callbacks
@pytest.mark.parametrize("error_score", [np.nan, "raise"], ids=str)
def test_callbacks_are_called_the_same_where_fits_fail(error_score):
    found = []
    for search in make_both("grid", Picky(fails_for=(1, 4)), VALUES, error_score=error_score):
        callback = Recorder()
        fit(search.set_callbacks(callback), ROWS, Y)
        found.append(callback.calls)
    assert found[0] == found[1]


@needs_callbacks
@pytest.mark.parametrize("hook", ["setup", "on_fit_task_begin", "on_fit_task_end", "teardown"])
def test_a_callback_that_fails_ends_the_search_the_same(hook):
    class Fails(Recorder):
        def _note(self, name, estimator, context, **kwargs):
            super()._note(name, estimator, context, **kwargs)
            if hook.endswith(name):
                raise ArithmeticError(f"{name} fails")

    theirs, ours = (record(search, Fails) for search in make_both("grid", LogisticRegression(), C))
    assert type(theirs[1].error) is type(ours[1].error)
    assert str(theirs[1].error) == str(ours[1].error)
    assert theirs[0] == ours[0]


@needs_callbacks
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_monitor_of_scores_logs_the_same(n_jobs):
    logs = []
    for search in make_both("grid", LogisticRegression(max_iter=5), {"C": [1.0, 2.0]}):
        monitor = sklearn_callback.ScoringMonitor(scoring="accuracy")
        search.estimator.set_callbacks(monitor)
        if isinstance(search, GuardedGridSearchCV):
            search.set_params(n_jobs=n_jobs)
        assert fit(search, X, Y).error is None
        rows = monitor.get_logs(include_lineage=True).data
        logs.append(sorted(neutral(sorted(row.items(), key=str)) for row in rows))
    assert logs[0] == logs[1]
    assert logs[0]


@needs_callbacks
@each_search
def test_a_progress_bar_shows_the_same_tasks(kind, capsys, monkeypatch):
    pytest.importorskip("rich", reason="the progress bar needs rich")
    monkeypatch.setenv("COLUMNS", "200")
    shown = []
    for search in make_both(kind, LogisticRegression(), C):
        search.set_callbacks(sklearn_callback.ProgressBar()).fit(X, Y)
        lines = neutral(capsys.readouterr().out).splitlines()
        shown.append([(line.split("  ")[0].rstrip(), "100%" in line) for line in lines])
    assert shown[0] == shown[1]
    assert shown[1]
