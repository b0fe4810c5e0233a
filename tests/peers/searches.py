"""The same search of scikit-learn's class and of the guarded one, and comparisons of both."""

import collections
import dataclasses
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
)
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401, before the next imports
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity, KNeighborsClassifier, LocalOutlierFactor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

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


def warnings_of(ran):
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
    assert warnings_of(ours) == warnings_of(theirs)
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


GROUPS = np.arange(60) % 6
WEIGHTS = np.linspace(0.1, 2, 60)
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


def share_right(estimator, X, y):
    return float(np.mean(estimator.predict(X) == y))


def counts(estimator, X, y):
    right = estimator.predict(X) == y
    return {"right": int(right.sum()), "wrong": int((~right).sum()), "share": right.mean()}


class Picky(ClassifierMixin, BaseEstimator):
    """Predicts one class, and cannot be fitted with some parameters, or on some samples."""

    def __init__(self, value=0, fails_for=(), fails_at=None):
        self.value = value
        self.fails_for = fails_for
        self.fails_at = fails_at

    def fit(self, X, y):
        if self.value in self.fails_for:
            raise ValueError(f"value={self.value} cannot work")
        if self.fails_at is not None and self.fails_at == self.value and X[0, 0] == 0:
            raise RuntimeError("the first sample cannot be learned")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.value % 2)


SAMPLES = np.arange(120.0).reshape(60, 2)  # the first sample is 0, 1
VALUES = {"value": [0, 1, 2, 3, 4]}
