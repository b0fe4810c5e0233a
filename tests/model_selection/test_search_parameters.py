"""Parameters, documentation, copies and reports of the guarded searches."""

import inspect
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skguard import FatalError
from skguard.exceptions import UnusedParameterWarning
from skguard.model_selection import (
    GuardedGridSearchCV,
    GuardedHalvingGridSearchCV,
    GuardedHalvingRandomSearchCV,
    GuardedRandomizedSearchCV,
)
from tests.model_selection.estimators import ALWAYS, Numbered, X, Y, search_of
from tests.models import build_classifier, make_classifier

pytestmark = [
    pytest.mark.usefixtures("no_attempts_before"),
    pytest.mark.filterwarnings(
        "ignore:.*fits failed out of a total:sklearn.exceptions.FitFailedWarning",
        "ignore:One or more of the .* scores are non-finite:UserWarning",
    ),
]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_keeps_epochs_reasons_and_histories_also_in_a_pipeline(n_jobs):
    X, y = load_iris(return_X_y=True)
    network = make_classifier(
        epochs=40, early_stopping=True, n_iter_no_change=2, optimizer__learning_rate=0.3
    )
    pipeline = Pipeline([("scale", StandardScaler()), ("net", network)])
    search = GuardedGridSearchCV(pipeline, {"net__units": [2, 4]}, cv=2, n_jobs=n_jobs).fit(X, y)
    results = search.cv_results_
    for candidate in range(2):
        for split in range(2):
            history = search.histories_[candidate][split]
            assert len(history["val_loss"]) == results[f"split{split}_n_epochs"][candidate]
            best = int(results[f"split{split}_best_epoch"][candidate])
            assert np.argmin(history["val_loss"]) >= best >= 0
            assert results[f"split{split}_stop_reason"][candidate] in (
                "early_stopping",
                "max_epochs",
            )
    both = [results["split0_n_epochs"], results["split1_n_epochs"]]
    np.testing.assert_array_equal(results["mean_n_epochs"], np.mean(both, axis=0))


def test_the_tries_of_the_estimator_itself_are_counted():
    X, y = load_iris(return_X_y=True)
    network = make_classifier(build_first_badly, max_retries=1)
    FAILED_ONCE.clear()
    search = GuardedGridSearchCV(network, {"units": [4]}, cv=2, refit=False).fit(X, y)
    assert [search.cv_results_[f"split{split}_attempts"][0] for split in range(2)] == [2, 1]


FAILED_ONCE = []


def build_first_badly(meta, units=4):
    if not FAILED_ONCE:
        FAILED_ONCE.append(True)
        raise RuntimeError("by chance")
    return build_classifier(meta, units)


def test_the_summary_ranks_the_best_and_groups_the_failures(capsys):
    search = search_of({2: (ValueError("no"), ALWAYS)}).fit(X, Y)
    search.results_summary(2)
    out = capsys.readouterr().out
    assert "The search is complete: 6 candidates, 2 splits each" in out
    assert out.index("1. 5 +- 0: {'number': 5}") < out.index("2. 4 +- 0: {'number': 4}")
    assert "{'number': 3}" not in out
    assert "2 x ValueError: no (candidate 2)" in out


def test_there_is_no_summary_before_a_fit():
    with pytest.raises(AttributeError, match="needs a fitted search"):
        search_of().results_summary()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_retries_per_trial": -1}, "max_retries_per_trial"),
        (
            {"max_consecutive_failed_trials": 0},
            "max_consecutive_failed_trials must be an int >= 1, .* got 0",
        ),
        ({"retry_on": KeyboardInterrupt}, "retry_on"),
        ({"nan_score": "ignore"}, "nan_score must be 'fail' or 'accept', got 'ignore'"),
        ({"isolate": "yes"}, "isolate must be True or False, got 'yes'"),
        ({"trial_timeout": 0}, "trial_timeout must be a positive number of seconds, .* got 0"),
        ({"time_budget": -1.0}, "time_budget must be a positive number of seconds, .* got -1.0"),
        ({"time_budget": "1 h"}, "time_budget must be a positive number of seconds, .* got '1 h'"),
        ({"stop_score": np.nan}, "stop_score must be a number, .* got nan"),
        (
            {"stop_score": 1, "scoring": ["accuracy"], "refit": False},
            "stop_score=1 needs one score .* got refit=False",
        ),
        ({"refit_epochs": "mean"}, "refit_epochs must be 'best' or None, got 'mean'"),
        ({"refit_epochs": "best", "refit": False}, "no effect with refit=False"),
        ({"refit_epochs": "best"}, "needs a Keras estimator"),
    ],
    ids=str,
)
def test_a_wrong_parameter_is_an_error_before_any_fit_and_loses_no_results(wrong, message):
    search = search_of().fit(X, Y)
    results = search.cv_results_
    Numbered.n_attempts.clear()
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        search.set_params(**wrong).fit(X, Y)
    assert not Numbered.n_attempts
    assert search.cv_results_ is results


def test_errors_to_retry_on_without_retries_warn():
    with pytest.warns(UnusedParameterWarning, match="retry_on=.* max_retries_per_trial=0"):
        search_of(retry_on=OSError).fit(X, Y)


def test_a_name_that_does_not_exist_is_an_error_before_any_fit():
    Numbered.n_attempts.clear()
    search = search_of().set_params(param_grid=[{"number": [1]}, {"number": [2], "nmber": [3]}])
    with pytest.raises(ValueError, match="nmber"):
        search.fit(X, Y)
    assert not Numbered.n_attempts
    assert search.stop_reason_ == "error"


def test_a_name_that_one_estimator_among_the_values_lacks_is_an_error_before_any_fit():
    Numbered.n_attempts.clear()
    grid = {"model": [Numbered(), Ridge()], "model__number": [1, 2]}
    search = GuardedGridSearchCV(Pipeline([("model", Numbered())]), grid, cv=2)
    with pytest.raises(ValueError, match="number"):
        search.fit(X, Y)
    assert not Numbered.n_attempts


def test_all_wrong_parameters_are_in_one_message():
    with pytest.raises(ValueError, match=r"isolate must(.|\n)*trial_timeout must") as caught:
        search_of(isolate=3, trial_timeout=-1).fit(X, Y)
    assert len(str(caught.value).splitlines()) == 2


def test_a_new_fit_removes_the_results_of_the_last():
    search = search_of().fit(X, Y)
    search.set_params(estimator__ways={0: (KeyboardInterrupt(), ALWAYS)})
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    assert not hasattr(search, "best_estimator_")
    assert not hasattr(search, "best_score_")


def test_the_searched_objects_are_left_as_they_were():
    grid = {"number": [1, 2]}
    estimator = Numbered()
    search = GuardedGridSearchCV(estimator, grid, cv=2, time_budget=60).fit(X, Y)
    assert search.estimator is estimator
    assert search.param_grid is grid
    assert grid == {"number": [1, 2]}
    assert set(vars(estimator)) == {"number", "ways", "seconds", "max_fit_seconds"}


def test_the_refit_trains_a_copy_of_an_estimator_among_the_parameters():
    ridges = [Ridge(1.0), Ridge(2.0)]
    pipeline = Pipeline([("scale", StandardScaler()), ("model", Ridge())])
    search = GuardedGridSearchCV(pipeline, {"model": ridges}, cv=2).fit(X, Y)
    assert search.best_estimator_["model"].coef_.shape == (3,)
    assert search.best_params_["model"] in ridges
    assert not any(hasattr(ridge, "coef_") for ridge in ridges)


ALL = [
    (GuardedGridSearchCV, {}),
    (GuardedRandomizedSearchCV, {"n_iter": 3, "random_state": 0}),
    (GuardedHalvingGridSearchCV, {"random_state": 0}),
    (GuardedHalvingRandomSearchCV, {"random_state": 0, "n_candidates": 4}),
]


@pytest.mark.parametrize(("cls", "kwargs"), ALL, ids=lambda v: getattr(v, "__name__", ""))
def test_every_search_documents_its_parameters_and_can_be_cloned_and_pickled(cls, kwargs):
    X, y = load_iris(return_X_y=True)
    for name, parameter in inspect.signature(cls).parameters.items():
        (heading,) = (line for line in cls.__doc__.splitlines() if line.startswith(f"{name} : "))
        assert ("default=" in heading) == (parameter.default is not parameter.empty)
    search = cls(Ridge(), {"alpha": [0.1, 1.0, 10.0, 100.0]}, **kwargs)
    assert clone(search).get_params().keys() == search.get_params().keys()
    search.fit(X, y)
    copy = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(copy.predict(X), search.predict(X))
    assert copy.cv_results_["params"] == search.cv_results_["params"]


@pytest.mark.parametrize("cls", [GuardedHalvingGridSearchCV, GuardedHalvingRandomSearchCV])
def test_halving_drops_candidates_that_failed_first(cls):
    grid = {"number": list(range(9))}
    kwargs = {"resource": "seconds", "max_resources": 9, "min_resources": 1, "random_state": 0}
    estimator = Numbered(ways={8: (ValueError("no"), ALWAYS)})
    search = cls(estimator, grid, cv=2, error_score=100.0, refit=False, **kwargs)
    if cls is GuardedHalvingRandomSearchCV:
        search.set_params(n_candidates=9)
    search.set_params(resource="max_fit_seconds").fit(X, Y)
    results = search.cv_results_
    assert 8 not in results["param_number"][results["iter"] > 0]
    assert search.best_params_["number"] == 7


@pytest.mark.usefixtures("one_second_per_fit")
def test_halving_that_ends_early_has_its_attributes_and_a_best():
    search = GuardedHalvingGridSearchCV(
        Numbered(),
        {"number": list(range(9))},
        cv=2,
        resource="max_fit_seconds",
        max_resources=9,
        min_resources=1,
        time_budget=20.5,  # 18 fits in the first round, 6 in the second
        refit=False,
    ).fit(X, Y)
    assert search.stop_reason_ == "time_budget"
    assert search.n_iterations_ == len(search.n_resources_) == 2
    assert search.n_remaining_candidates_ == 3
    assert search.best_params_["number"] in (6, 7, 8)


def test_halving_that_an_error_ends_has_its_attributes_too():
    search = GuardedHalvingGridSearchCV(
        Numbered(ways={3: (FatalError("over"), ALWAYS)}), {"number": list(range(9))}, cv=2
    )
    search.set_params(resource="max_fit_seconds", max_resources=9, min_resources=1)
    with pytest.raises(FatalError):
        search.fit(X, Y)
    assert (search.n_iterations_, search.n_remaining_candidates_) == (1, 9)
    assert (search.n_required_iterations_, search.n_possible_iterations_) == (3, 3)
    with pytest.raises(ValueError, match="nothing"):
        search.set_params(param_grid={"nothing": [1, 2]}).fit(X, Y)
    assert search.n_candidates_ == [2]
