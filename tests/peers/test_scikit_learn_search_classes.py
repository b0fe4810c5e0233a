"""Guarded searches can be used, subclassed and inspected like scikit-learn's."""

import inspect
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from tests.peers.searches import (
    DEFAULTS,
    FRAME,
    METHODS,
    SEARCHES,
    C,
    X,
    Y,
    assert_same_attributes,
    assert_same_predictions,
    assert_same_results,
    each_search,
    fit,
    make_both,
    same,
    simple_search,
)

pytestmark = pytest.mark.usefixtures("one_thread")


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


@each_search
def test_every_parameter_has_its_place_and_default(kind):
    theirs, ours = (list(inspect.signature(cls).parameters.values()) for cls in SEARCHES[kind])
    for expected, actual in zip(theirs, ours, strict=False):
        assert (actual.name, actual.kind) == (expected.name, expected.kind)
        assert same(expected.default, actual.default)
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in ours[len(theirs) :])


@each_search
def test_every_method_has_its_signature(kind):
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
def test_the_arguments_of_the_user_are_not_changed(kind):
    space = {"C": [1.0, 2.0], "class_weight": [None, {0: 1, 1: 2}]}
    estimator, X_given, y_given = LogisticRegression(), X.copy(), Y.copy()
    _, cls = SEARCHES[kind]
    cls(estimator, space, **DEFAULTS[kind]).fit(X_given, y_given)
    assert space == {"C": [1.0, 2.0], "class_weight": [None, {0: 1, 1: 2}]}
    assert not hasattr(estimator, "coef_")
    assert np.array_equal(X, X_given)
    assert np.array_equal(Y, y_given)


@each_search
def test_a_second_fit_starts_from_scratch(kind):
    searches = make_both(kind, LogisticRegression(), C)
    for search in searches:
        search.fit(FRAME.drop(columns="kind"), Y).fit(X[:, :3], 1 - Y)
    theirs, ours = searches
    names = hasattr(theirs, "feature_names_in_")
    if names:  # of the first fit, which scikit-learn forgets to drop
        del theirs.feature_names_in_
    assert_same_attributes(theirs, ours)


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
            # scikit-learn's own list of parameters continues to grow.
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
    with pytest.raises(ValueError, match="must not have the name 'status'"):
        search.fit(X, Y)


def test_a_custom_loop_that_evaluates_nothing_is_an_error():
    class Idle:
        def _run_search(self, evaluate_candidates):
            pass

    errors = [
        fit(
            type("Search", (Idle, cls), {"__init__": cls.__init__})(LogisticRegression(), {}), X, Y
        ).error
        for cls in SEARCHES["grid"]
    ]
    assert None not in errors  # scikit-learn's is an IndexError, by accident


def without_candidates(cls):
    class WithoutCandidates(cls):
        def _run_search(self, evaluate_candidates):
            evaluate_candidates([])

    return WithoutCandidates


def test_a_custom_loop_without_candidates_raises_the_same_error():
    errors = [
        fit(without_candidates(cls)(LogisticRegression(), {}), X, Y).error
        for cls in SEARCHES["grid"]
    ]
    assert type(errors[0]) is type(errors[1])
    assert str(errors[0]) == str(errors[1])
