"""A failed trial costs one trial, and nothing that finished is lost, however a search ends."""

import collections
import pathlib
import pickle

import keras
import numpy as np
import pytest
from sklearn.exceptions import FitFailedWarning

from skguard import FailedTrialError, FatalError, GuardedKerasRegressor
from skguard.exceptions import FatalValueError, TooManyFailedTrialsError
from skguard.model_selection import GuardedGridSearchCV
from tests.model_selection.estimators import ALWAYS, Numbered, X, Y, attempts_of, search_of

pytestmark = [
    pytest.mark.usefixtures("no_attempts_before"),
    pytest.mark.filterwarnings(
        "ignore:.*fits failed out of a total:sklearn.exceptions.FitFailedWarning",
        "ignore:One or more of the .* scores are non-finite:UserWarning",
    ),
]

TOO_LARGE = (7, 8, 9, 10, 11)  # of the 12 candidates, in the order of the grid


def build_if_small(units_1, units_2, error, folder):
    model = keras.Sequential(
        [keras.Input((20,))] + [keras.layers.Dense(units) for units in (units_1, units_2, 1)]
    )
    candidate = (units_1 // 10 - 1) * 3 + units_2 // 10 - 1
    with (pathlib.Path(folder) / str(candidate)).open("a") as file:
        file.write("x")
    if model.count_params() > 1200:
        raise error(f"{model.count_params()} parameters are too many")
    return model


def runs(folder):
    return {int(file.name): len(file.read_text()) for file in folder.iterdir()}


@pytest.mark.parametrize(
    ("error", "limit", "raised", "expected", "perhaps"),
    [
        # Retried three times each; five consecutive failures are fewer than eight.
        (ValueError, 8, None, dict.fromkeys(range(7), 1) | dict.fromkeys(TOO_LARGE, 4), {}),
        (FailedTrialError, 8, None, dict.fromkeys(range(12), 1), {}),
        # The seventh ends all; two jobs have started the next one by then.
        (FatalError, 8, FatalError, dict.fromkeys(range(8), 1), {8: 1}),
        (FatalValueError, 8, FatalError, dict.fromkeys(range(8), 1), {8: 1}),
        (
            ValueError,
            3,
            TooManyFailedTrialsError,
            dict.fromkeys(range(7), 1) | {7: 4, 8: 4, 9: 4},
            {10: 4, 11: 4},
        ),
    ],
    ids=["retried", "not-retried", "fatal", "fatal-value", "limit"],
)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_exactly_the_trials_run_that_must(
    tmp_path, error, limit, raised, expected, perhaps, n_jobs
):
    rng = np.random.default_rng(0)
    estimator = GuardedKerasRegressor(
        build_if_small, loss="mse", verbose=0, error=error, folder=str(tmp_path), random_state=0
    )
    search = GuardedGridSearchCV(
        estimator,
        {"units_1": [10, 20, 30, 40], "units_2": [10, 20, 30]},
        cv=[(np.arange(100), np.arange(100, 200))],
        n_jobs=n_jobs,
        refit=False,
        max_retries_per_trial=3,
        max_consecutive_failed_trials=limit,
    )
    X, y = rng.random((200, 20)), rng.random(200)
    if raised is None:
        search.fit(X, y)
    else:
        with pytest.raises(raised):
            search.fit(X, y)
    counted = runs(tmp_path)
    if raised is FatalError and n_jobs == 2:
        # It ends the fit of the other worker, which may not have built its model yet.
        interrupted = expected.keys() - counted.keys()
        assert len(interrupted) <= 1
        counted |= dict.fromkeys(interrupted, 1)
    for candidate, most in perhaps.items():
        number = counted.pop(candidate, 0)
        assert number <= (most if n_jobs == 2 else 0)
    assert counted == expected
    completed = np.flatnonzero(search.cv_results_["status"] == "completed")
    # A fatal error does not wait for the other worker.
    n_running = int(raised is FatalError and n_jobs == 2)
    assert set(completed) <= set(range(7))
    assert len(completed) >= 7 - n_running
    assert search.best_index_ in completed
    n_failed = sum(count for candidate, count in expected.items() if candidate in TOO_LARGE)
    assert n_failed <= len(search.failed_trials_) <= n_failed + sum(perhaps.values())


def test_only_the_split_that_failed_is_tried_again():
    first_test, second_test = np.arange(10), np.arange(10, 20)
    Numbered.n_attempts[3, float(X[first_test].sum())] = ALWAYS  # this one never fails
    search = search_of(
        {3: (ValueError("no"), 2)},
        cv=[(second_test, first_test), (first_test, second_test)],
        max_retries_per_trial=2,
        refit=False,
    ).fit(X, Y)
    assert set(search.cv_results_["status"]) == {"completed"}
    assert [search.cv_results_[f"split{split}_attempts"][3] for split in (0, 1)] == [3, 1]
    assert [(f.split, f.attempt) for f in search.failed_trials_] == [(0, 0), (0, 1)]


@pytest.mark.parametrize(
    ("error", "retry_on", "expected"),
    [
        (ValueError("no"), (Exception,), 3),
        (ValueError("no"), ValueError, 3),
        (ValueError("no"), (KeyError, ValueError), 3),
        (ValueError("no"), (KeyError,), 1),
        (FailedTrialError("no"), (Exception,), 1),
    ],
    ids=["any", "class", "among", "another", "FailedTrialError"],
)
def test_retry_on_determines_what_is_retried(error, retry_on, expected):
    search = search_of({2: (error, ALWAYS)}, max_retries_per_trial=2, retry_on=retry_on).fit(X, Y)
    assert attempts_of(2) == [expected] * 2
    assert search.cv_results_["split0_attempts"][2] == expected
    assert search.cv_results_["status"][2] == "failed"


def test_the_limit_counts_consecutive_trials_and_reports_the_failures():
    ways = {n: (ValueError(f"no {n % 2}"), ALWAYS) for n in (0, 2, 3, 4)}
    search = search_of(ways)
    with pytest.raises(TooManyFailedTrialsError) as caught:
        search.fit(X, Y)
    message = str(caught.value)
    assert "max_consecutive_failed_trials=3" in message
    assert "6 x ValueError: no 0 (candidates 0, 2, 4)" in message
    assert "2 x ValueError: no 1 (candidate 3)" in message
    assert message.rstrip().endswith("ValueError: no 0")  # the last traceback
    assert list(search.cv_results_["param_number"]) == [0, 1, 2, 3, 4]
    assert search.failed_trials_[-1].candidate == 4
    assert (search.best_params_, search.best_score_) == ({"number": 1}, 1.0)
    assert search.stop_reason_ == "failed_trials"
    assert not hasattr(search, "best_estimator_")
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


def test_without_a_limit_a_search_ends_in_an_error_only_if_all_failed():
    ways = dict.fromkeys(range(5), (ValueError("no"), ALWAYS))
    search = search_of(ways, max_consecutive_failed_trials=None).fit(X, Y)
    assert search.best_params_ == {"number": 5}
    search.set_params(param_grid={"number": [0, 1]})
    with pytest.raises(TooManyFailedTrialsError, match=r"All 2 trials failed.\n4 x ValueError"):
        search.fit(X, Y)
    assert list(search.cv_results_["status"]) == ["failed"] * 2
    assert not hasattr(search, "best_params_")


@pytest.mark.parametrize("error_score", [np.nan, 0.0, 100.0])
def test_a_candidate_that_failed_is_never_the_best(error_score):
    search = search_of({5: (ValueError("no"), ALWAYS)}, error_score=error_score).fit(X, Y)
    assert search.best_params_ == {"number": 4}
    assert search.cv_results_["rank_test_score"].argmin() == search.best_index_
    assert search.cv_results_["rank_test_score"][5] == 6
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"][5], error_score)


def test_a_refit_function_that_chooses_a_failed_candidate_chooses_again_among_the_others():
    def last(results):
        return len(results["params"]) - 1

    ways = {2: (ValueError("no"), ALWAYS), 5: (ValueError("no"), ALWAYS)}
    search = search_of(ways, refit=last).fit(X, Y)
    assert search.best_index_ == 4
    assert search.best_params_ == {"number": 4}


def test_failures_are_reported_once_with_classes_and_counts():
    search = search_of({2: (ValueError("no"), ALWAYS)})
    with pytest.warns(FitFailedWarning, match=r"2 fits failed out of a total of 12(.|\n)*2 x "):
        search.fit(X, Y)
    failure = search.failed_trials_[0]
    assert (failure.candidate, failure.split, failure.params) == (2, 0, {"number": 2})
    assert (failure.error, failure.message, failure.attempt) == ("ValueError", "no", 0)
    assert "in fit" in failure.traceback
    assert failure.seconds >= 0
    with pytest.raises(AttributeError):
        failure.message = "another"


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_that_is_to_be_raised_is_raised_after_its_retries(n_jobs):
    search = search_of(
        {2: (ZeroDivisionError("no"), ALWAYS)},
        error_score="raise",
        max_retries_per_trial=1,
        n_jobs=n_jobs,
    )
    with pytest.raises(ZeroDivisionError, match="no"):
        search.fit(X, Y)
    attempts = collections.Counter(failed.split for failed in search.failed_trials_)
    assert max(attempts.values()) == 2
    assert n_jobs == 2 or len(attempts) == 1  # the other worker had the other split
    assert list(search.cv_results_["param_number"][:2]) == [0, 1]
    assert search.stop_reason_ == "error"


@pytest.mark.parametrize("error", [FatalError("over"), SystemExit("over")], ids=repr)
def test_a_fatal_error_ends_the_search_and_keeps_what_had_finished(error):
    search = search_of({3: (error, ALWAYS)}, max_retries_per_trial=5)
    with pytest.raises(type(error), match="over"):
        search.fit(X, Y)
    assert attempts_of(3) == [1]
    assert list(search.cv_results_["status"]) == ["completed"] * 3 + ["incomplete"]
    assert search.failed_trials_[-1].message == "over"
    assert search.stop_reason_ == "fatal_error"
    assert search.best_params_ == {"number": 2}


def test_an_interrupt_keeps_what_had_finished():
    search = search_of({3: (KeyboardInterrupt(), ALWAYS)})
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    assert search.stop_reason_ == "interrupted"
    assert search.best_params_ == {"number": 2}
    assert len(search.cv_results_["params"]) == 3


def test_an_interrupt_before_anything_finished_leaves_empty_results():
    search = search_of({0: (KeyboardInterrupt(), ALWAYS)})
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    assert search.cv_results_["params"] == []
    assert search.failed_trials_ == []


def nan_of_two(estimator, X, y):
    return np.nan if estimator.number == 2 else float(estimator.number)


def test_a_nan_score_is_a_failure_that_is_tried_again_unless_it_is_accepted():
    search = search_of(scoring=nan_of_two, max_retries_per_trial=1).fit(X, Y)
    assert attempts_of(2) == [2, 2]
    assert search.cv_results_["status"][2] == "failed"
    assert {f.error for f in search.failed_trials_} == {"InvalidScoreError"}
    search.set_params(nan_score="accept").fit(X, Y)
    assert set(search.cv_results_["status"]) == {"completed"}
    assert search.failed_trials_ == []
    assert search.cv_results_["rank_test_score"][2] == 6


def other_is_nan(estimator, X, y):
    return {"good": float(estimator.number), "other": np.nan}


def test_of_several_scores_the_one_that_decides_must_be_a_number():
    search = search_of(scoring=other_is_nan, refit="good").fit(X, Y)
    assert set(search.cv_results_["status"]) == {"completed"}
    with pytest.raises(TooManyFailedTrialsError, match="InvalidScoreError"):
        search.set_params(refit="other").fit(X, Y)


def raises_at_two(estimator, X, y):
    if estimator.number == 2:
        raise RuntimeError("cannot score")
    return float(estimator.number)


def test_every_warning_of_a_search_refers_to_the_line_of_the_user():
    search = search_of(scoring=raises_at_two)
    with pytest.warns(UserWarning, match="Scoring failed") as caught:
        search.fit(X, Y)
    ours = [w for w in caught if "non-finite" not in str(w.message)]
    assert {w.category for w in ours} == {UserWarning, FitFailedWarning}
    assert {w.filename for w in ours} == {__file__}


def test_a_refit_function_that_fails_ends_the_search_and_keeps_its_results():
    search = search_of(refit=lambda results: None)
    with pytest.raises(TypeError, match="not an integer"):
        search.fit(X, Y)
    assert search.stop_reason_ == "error"
    assert set(search.cv_results_["status"]) == {"completed"}
    assert not hasattr(search, "best_index_")


def test_statuses_and_reasons_are_plain_strings():
    search = search_of({2: (ValueError("no"), ALWAYS)}).fit(X, Y)
    results = search.cv_results_
    words = [search.stop_reason_, *results["status"], *results["split0_status"]]
    assert {type(word) for word in words} == {str}


def test_a_scorer_that_raises_is_a_failure():
    with pytest.warns(UserWarning, match="Scoring failed"):
        search = search_of(scoring=raises_at_two).fit(X, Y)
    assert search.cv_results_["status"][2] == "failed"
    assert search.failed_trials_[0].message == "cannot score"
