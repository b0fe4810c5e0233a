"""The private parts of scikit-learn and joblib are as they were when the searches were written.

A failure here says which of them a new release has changed.
"""

import contextlib
import inspect

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import check_scoring
from sklearn.model_selection import GridSearchCV
from sklearn.utils.metadata_routing import MetadataRequest

from skguard._repairs import scikit_learn as repairs

X, Y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("_get_scorers", ["self"]),
        ("_get_routed_params_for_fit", ["self", "params"]),
        ("_check_refit_for_multimetric", ["self", "scores"]),
        ("_select_best_index", ["refit", "refit_metric", "results"]),
        ("_format_results", ["self", "candidate_params", "n_splits", "out", "more_results"]),
    ],
)
def test_the_methods_of_a_search_have_their_signatures(method, parameters):
    assert list(inspect.signature(getattr(repairs.BaseSearchCV, method)).parameters) == parameters


def test_the_loop_over_candidates_takes_a_function_and_perhaps_callbacks():
    parameters = list(inspect.signature(GridSearchCV._run_search).parameters)
    assert parameters in (
        ["self", "evaluate_candidates"],
        ["self", "evaluate_candidates", "callback_ctx"],
    )


def test_routed_parameters_have_three_places():
    routed = GridSearchCV(LogisticRegression(), {})._get_routed_params_for_fit({"groups": Y})
    assert routed.estimator.fit == {}
    assert routed.splitter.split == {"groups": Y} or "groups" in routed.splitter.split
    assert routed.scorer.score == {}


def fit_and_score(estimator, **kwargs):
    arguments = {
        "callbacks": None,
        "scorer": check_scoring(estimator),
        "train": np.arange(8),
        "test": np.arange(8, 10),
        "parameters": None,
        "fit_params": None,
        "score_params": None,
        "return_train_score": True,
        "verbose": 0,
        "split_progress": (0, 1),
        "candidate_progress": (0, 1),
    }
    return repairs.fit_and_score(estimator, X, Y, **arguments | kwargs)


def test_fitting_and_scoring_returns_scores_and_times():
    fitted, result = fit_and_score(LogisticRegression())
    assert hasattr(fitted, "coef_")
    assert {"test_scores", "train_scores", "fit_time", "score_time"} <= result.keys()
    assert isinstance(result["test_scores"], float)


def test_an_error_of_fit_is_raised():
    class Raising(BaseEstimator):
        def fit(self, X, y):
            raise ZeroDivisionError("in fit")

        def score(self, X, y):
            return 1.0

    with pytest.raises(ZeroDivisionError, match="in fit"):
        fit_and_score(Raising())


def test_the_scorer_is_called_with_the_fitted_estimator_for_the_test_samples_first():
    calls = []

    def scorer(estimator, X, y):
        calls.append((hasattr(estimator, "coef_"), len(X)))
        return 1.0

    fit_and_score(LogisticRegression(), scorer=scorer)
    assert calls == [(True, 2), (True, 8)]


def test_several_scorers_have_names_and_one_has_none():
    several = check_scoring(LogisticRegression(), ["accuracy", "roc_auc"])
    assert list(repairs.named_scorers(several)) == ["accuracy", "roc_auc"]
    assert repairs.named_scorers(check_scoring(LogisticRegression())) is None
    assert repairs.named_scorers(lambda estimator, X, y: 1.0) is None


def test_of_several_scorers_one_that_raises_returns_its_traceback():
    search = GridSearchCV(LogisticRegression(), {}, scoring={"bad": raising}, refit=False)
    scorer, _ = search._get_scorers()
    scores = scorer(LogisticRegression().fit(X, Y), X, Y)
    assert scores["bad"].rstrip().endswith("RuntimeError: in scorer")


def test_several_scorers_share_their_predictions_and_keep_their_errors():
    class Counting(LogisticRegression):
        n_predictions = 0

        def predict(self, X):
            self.n_predictions += 1
            return super().predict(X)

    scoring = {"accuracy": "accuracy", "f1": "f1", "bad": raising}
    search = GridSearchCV(LogisticRegression(), {}, scoring=scoring, refit=False)
    scorer, _ = search._get_scorers()
    errors = {}
    estimator = Counting().fit(X, Y)
    scores = repairs.errors_kept(scorer, errors)(estimator, X, Y)
    assert estimator.n_predictions == 1
    assert scores.keys() == scoring.keys()
    assert {name: str(error) for name, error in errors.items()} == {"bad": "in scorer"}
    errors.clear()
    scorer(estimator, X, Y)
    assert errors == {}


class OwnScorer:
    """A user's scorer with attribute names of scikit-learn's own, that requests metadata."""

    __slots__ = ("_score",)

    def __init__(self):
        self._score = 0.25

    def __call__(self, estimator, X, y, sample_weight=None):
        if sample_weight is None:
            raise RuntimeError("no weights came")
        return self._score

    def get_metadata_routing(self):
        request = MetadataRequest(owner="OwnScorer")
        request.score.add_request(param="sample_weight", alias=True)
        return request


def test_a_custom_scorer_keeps_its_attributes():
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(LogisticRegression(), {}, scoring={"own": OwnScorer()}, refit=False)
        scorer, _ = search._get_scorers()
        errors = {}
        keeping = repairs.errors_kept(scorer, errors)
        estimator = LogisticRegression().fit(X, Y)
        assert keeping(estimator, X, Y, sample_weight=np.ones(len(X))) == {"own": 0.25}
        assert not errors
        keeping(estimator, X, Y)
    assert str(errors["own"]) == "no weights came"


def test_a_refit_that_is_tried_again_is_one_task_of_the_callbacks():
    pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 has callbacks")
    search = GridSearchCV(LogisticRegression(), {})
    search._checked_cv_orig = search.n_splits_ = None
    callbacks = repairs.Callbacks(search, X, Y, {})
    for error in (OSError, None):
        with contextlib.suppress(OSError), callbacks.refitting(LogisticRegression()):
            if error is not None:
                raise error
    callbacks.end()


def raising(estimator, X, y):
    raise RuntimeError("in scorer")


@pytest.mark.parametrize(
    ("backend", "name"),
    [("loky", "LokyBackend"), ("threading", "ThreadingBackend"), ("sequential", "Sequential")],
)
def test_the_active_backend_has_its_name(backend, name):
    with joblib.parallel_config(backend):
        assert repairs.active_backend().name.startswith(name)
    assert repairs.active_backend() == repairs.Backend("LokyBackend", False, None)


def test_the_threads_of_a_worker_are_known():
    with joblib.parallel_config("loky", inner_max_num_threads=3):
        assert repairs.active_backend().n_threads == 3


def test_a_backend_in_a_worker_is_known_as_nested():
    with joblib.parallel_config(repairs.nested_backend()):
        assert repairs.active_backend() == repairs.Backend("ThreadingBackend", True, None)
    (inside,) = joblib.Parallel(2)(joblib.delayed(repairs.active_backend)() for _ in range(1))
    assert inside.is_nested


def test_fit_params_with_one_value_per_sample_are_made_indexable():
    checked = repairs.check_fit_params(X, {"weight": list(range(10)), "other": "text"})
    assert checked["other"] == "text"
    assert len(checked["weight"]) == 10
