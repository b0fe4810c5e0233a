"""A failed trial costs one trial, and whatever ends a search, nothing that finished is lost."""

import collections
import inspect
import pathlib
import pickle
import time
import types

import keras
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skguard import FailedTrialError, FatalError, GuardedKerasRegressor
from skguard.exceptions import FatalValueError, TooManyFailedTrialsError
from skguard.model_selection import (
    GuardedGridSearchCV,
    GuardedHalvingGridSearchCV,
    GuardedHalvingRandomSearchCV,
    GuardedRandomizedSearchCV,
    _search,
    _trials,
)
from tests.models import build_classifier, make_classifier

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*fits failed out of a total:sklearn.exceptions.FitFailedWarning",
    "ignore:One or more of the .* scores are non-finite:UserWarning",
)

# ---- KerasTuner's example: a model of more than 1200 parameters fails --------------------------

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
        # Retried three times each; five failures in a row are fewer than eight.
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
    if raised is FatalError and counted.get(8):  # which came first, and ended number 7
        counted[7] = 1
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


# ---- without Keras, for speed -------------------------------------------------------------------


class Numbered(ClassifierMixin, BaseEstimator):
    """Scores its number; `ways` says what each number raises, and in how many first attempts."""

    n_attempts = {}  # noqa: RUF012, for all clones

    def __init__(self, number=0, ways=None, seconds=0.0, max_fit_seconds=None):
        self.number = number
        self.ways = ways
        self.seconds = seconds
        self.max_fit_seconds = max_fit_seconds

    def fit(self, X, y=None):
        key = self.number, float(np.sum(X))
        self.n_attempts[key] = self.n_attempts.get(key, 0) + 1
        self.classes_ = np.unique(y)
        error, times = (self.ways or {}).get(self.number, (None, 0))
        if error is not None and self.n_attempts[key] <= times:
            raise error
        time.sleep(self.seconds)
        return self

    def predict(self, X):
        return np.zeros(len(X), int)

    def score(self, X, y=None):
        return float(self.number)


ALWAYS = 10**6
X, Y = np.arange(60.0).reshape(20, 3), np.arange(20) % 2


@pytest.fixture(autouse=True)
def no_attempts_before():
    Numbered.n_attempts.clear()


def search_of(ways=None, numbers=range(6), seconds=0.0, **kwargs):
    estimator = Numbered(ways=ways, seconds=seconds)
    return GuardedGridSearchCV(estimator, {"number": list(numbers)}, **{"cv": 2} | kwargs)


def attempts_of(number):
    return sorted(n for (k, _), n in Numbered.n_attempts.items() if k == number)


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
def test_retry_on_says_what_is_tried_again(error, retry_on, expected):
    search = search_of({2: (error, ALWAYS)}, max_retries_per_trial=2, retry_on=retry_on).fit(X, Y)
    assert attempts_of(2) == [expected] * 2
    assert search.cv_results_["split0_attempts"][2] == expected
    assert search.cv_results_["status"][2] == "failed"


def test_the_limit_counts_trials_in_a_row_and_says_what_happened():
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
    assert search.stopped_ == "failed_trials"
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


def test_failures_are_told_once_with_the_classes_and_numbers():
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
    assert search.stopped_ == "error"


@pytest.mark.parametrize("error", [FatalError("over"), SystemExit("over")], ids=repr)
def test_a_fatal_error_ends_the_search_and_keeps_what_had_finished(error):
    search = search_of({3: (error, ALWAYS)}, max_retries_per_trial=5)
    with pytest.raises(type(error), match="over"):
        search.fit(X, Y)
    assert attempts_of(3) == [1]
    assert list(search.cv_results_["status"]) == ["completed"] * 3 + ["incomplete"]
    assert search.failed_trials_[-1].message == "over"
    assert search.stopped_ == "fatal_error"
    assert search.best_params_ == {"number": 2}


def test_an_interrupt_keeps_what_had_finished():
    search = search_of({3: (KeyboardInterrupt(), ALWAYS)})
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    assert search.stopped_ == "interrupted"
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
    assert {f.error for f in search.failed_trials_} == {"NaN score"}
    search.set_params(nan_score="accept").fit(X, Y)
    assert set(search.cv_results_["status"]) == {"completed"}
    assert search.failed_trials_ == []
    assert search.cv_results_["rank_test_score"][2] == 6


def other_is_nan(estimator, X, y):
    return {"good": float(estimator.number), "other": np.nan}


def test_of_several_scores_the_one_that_decides_must_be_a_number():
    search = search_of(scoring=other_is_nan, refit="good").fit(X, Y)
    assert set(search.cv_results_["status"]) == {"completed"}
    with pytest.raises(TooManyFailedTrialsError, match="NaN score"):
        search.set_params(refit="other").fit(X, Y)


def raises_at_two(estimator, X, y):
    if estimator.number == 2:
        raise RuntimeError("cannot score")
    return float(estimator.number)


def test_a_scorer_that_raises_is_a_failure():
    with pytest.warns(UserWarning, match="Scoring failed"):
        search = search_of(scoring=raises_at_two).fit(X, Y)
    assert search.cv_results_["status"][2] == "failed"
    assert search.failed_trials_[0].message == "cannot score"


# ---- budgets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_no_fit_starts_after_the_time_budget_less_what_the_refit_takes(n_jobs):
    budget = 3.0 if n_jobs == 1 else 12.0  # workers start first
    search = search_of(numbers=range(100), seconds=0.25, time_budget=budget, n_jobs=n_jobs)
    started = time.monotonic()
    search.fit(X, Y)
    assert time.monotonic() - started < budget + 5  # all fits together take 50 s
    assert search.stopped_ == "time_budget"
    assert 2 <= len(search.cv_results_["params"]) < 100
    complete = search.cv_results_["status"] == "completed"
    assert search.best_params_["number"] == search.cv_results_["param_number"][complete].max()
    assert search.best_estimator_.number == search.best_params_["number"]


@pytest.fixture
def a_second_a_fit(monkeypatch):
    """A clock by which every fit takes a second, and nothing else takes any time."""
    clock = types.SimpleNamespace(time=lambda: float(sum(Numbered.n_attempts.values())))
    monkeypatch.setattr(_search, "time", clock)
    monkeypatch.setattr(_trials, "time", clock)


@pytest.mark.usefixtures("a_second_a_fit")
def test_a_candidate_that_is_not_complete_is_not_the_best():
    search = search_of(numbers=range(100), time_budget=5.5, cv=4, refit=False).fit(X, Y)
    assert list(search.cv_results_["status"]) == ["completed", "incomplete"]
    assert search.cv_results_["split1_status"][1] == "completed"
    assert search.cv_results_["split2_status"][1] == "not_run"
    assert np.isnan(search.cv_results_["split2_test_score"][1])
    assert search.best_index_ == 0
    assert len(search.histories_) == 2


@pytest.mark.usefixtures("a_second_a_fit")
def test_a_budget_for_less_than_one_candidate_is_an_error_that_says_so():
    search = search_of(time_budget=0.1)
    with pytest.raises(TimeoutError, match=r"time_budget=0.1 was over before one candidate"):
        search.fit(X, Y)
    assert search.stopped_ == "time_budget"
    assert list(search.cv_results_["status"]) == ["incomplete"]


def test_the_time_kept_back_for_the_refit_counts_the_rows_of_the_fits():
    # 2 of 20 rows a fit: the refit will take ten times as long.
    splits = [(np.arange(2), np.arange(2, 20))]
    search = search_of(numbers=range(100), seconds=0.2, time_budget=4, cv=splits)
    search.set_params(estimator__seconds=0.2).fit(X, Y)
    assert len(search.cv_results_["params"]) <= 11  # in 2 s


def limit_of(estimator, X, y):
    return -1.0 if estimator.max_fit_seconds is None else estimator.max_fit_seconds


@pytest.mark.parametrize("own_limit", [None, 1.0, 100.0])
def test_a_fit_gets_what_is_left_of_the_budget_where_it_can_heed_it(own_limit):
    search = search_of(numbers=[0], time_budget=20, refit=False, scoring=limit_of)
    search.set_params(estimator__max_fit_seconds=own_limit).fit(X, Y)
    given = [search.cv_results_[f"split{split}_test_score"][0] for split in range(2)]
    if own_limit == 1.0:
        assert given == [1.0, 1.0]
    else:
        assert 8 < given[0] <= 10  # the other split has its share
        assert 15 < given[1] <= 20
    assert search.cv_results_["params"] == [{"number": 0}]


def test_keras_fits_that_would_outlast_the_budget_are_cut_short_and_so_is_the_refit():
    X, y = load_iris(return_X_y=True)
    network = make_classifier(epochs=10**6)
    search = GuardedGridSearchCV(network, {"units": [4, 8]}, cv=2, time_budget=8)
    started = time.monotonic()
    with pytest.warns(ConvergenceWarning, match="time_budget=8 has cut the refit short, after"):
        search.fit(X, y)
    assert 7 < time.monotonic() - started < 12
    assert search.stopped_ == "time_budget"
    for split in range(2):
        assert search.cv_results_[f"split{split}_stop_reason"][0] == "time_budget"
        assert search.cv_results_[f"split{split}_n_epochs"][0] > 1
    assert search.cv_results_["status"][0] == "completed"
    assert search.best_estimator_.stop_reason_ == "time_budget"
    assert search.best_estimator_.n_epochs_ > 100
    assert search.best_estimator_.max_fit_seconds is None


def test_a_refit_that_its_own_limit_cut_short_is_no_warning_about_the_budget():
    X, y = load_iris(return_X_y=True)
    network = make_classifier(epochs=10**6, max_fit_seconds=0.5)
    search = GuardedGridSearchCV(network, {"units": [4]}, cv=2, time_budget=600).fit(X, y)
    assert search.best_estimator_.stop_reason_ == "time_budget"
    assert search.best_estimator_.max_fit_seconds == 0.5


def build_slowly(meta, units=8, seconds=0.5):
    time.sleep(seconds)
    return build_classifier(meta, units)


@pytest.mark.filterwarnings("ignore:max_fit_seconds=:sklearn.exceptions.ConvergenceWarning")
def test_a_network_whose_time_is_over_before_its_first_epoch_is_no_candidate():
    X, y = load_iris(return_X_y=True)
    network = make_classifier(build_slowly, epochs=2)
    search = GuardedGridSearchCV(network, {"batch_size": [50]}, cv=2, time_budget=0.4, refit=False)
    with pytest.raises(TimeoutError, match=r"complete: give more\. 0 fits had ended"):
        search.fit(X, y)
    assert search.cv_results_["params"] == []


def test_a_share_of_the_time_that_is_too_short_to_begin_does_not_end_the_search():
    X, y = load_iris(return_X_y=True)
    splits = [(np.arange(0, 150, 2), np.arange(1, 150, 2))] * 5
    network = make_classifier(build_slowly, epochs=2, model__seconds=1.2)
    grid = {"model__units": [13]}  # of which there is no graph yet, that would train at once
    search = GuardedGridSearchCV(network, grid, cv=splits, time_budget=5.0, refit=False)
    with pytest.warns(ConvergenceWarning, match="max_fit_seconds="), pytest.raises(TimeoutError):
        search.fit(X, y)
    assert search.cv_results_["split0_status"].tolist() == ["completed"]
    assert search.cv_results_["split0_n_epochs"].tolist() == [2]


class Cumulative(Numbered):
    """Goes on where it was, as with warm_start, and fails once in the midst of all rows."""

    n_fails = 1

    def fit(self, X, y=None):
        for _ in range(3):
            self.n_ = getattr(self, "n_", 0) + 1
            if len(X) == 20 and self.n_ == 2 and Cumulative.n_fails:
                Cumulative.n_fails -= 1
                raise OSError("flaky")
        return super().fit(X, y)


def test_a_refit_that_is_tried_again_starts_anew():
    Cumulative.n_fails = 1
    search = GuardedGridSearchCV(Cumulative(), {"number": [1]}, cv=2, max_retries_per_trial=1)
    assert search.fit(X, Y).best_estimator_.n_ == 3
    assert Cumulative.n_fails == 0


def test_a_refit_is_not_tried_again_when_the_budget_is_over():
    slow = RefitFails(number=1)
    search = GuardedGridSearchCV(slow, {}, cv=2, max_retries_per_trial=9, time_budget=0.5)
    with pytest.raises(OSError, match="late"):
        search.fit(X, Y)
    assert Numbered.n_attempts[1, float(np.sum(X))] == 1


class RefitFails(Numbered):
    def fit(self, X, y=None):
        super().fit(X, y)
        if len(X) == 20:
            time.sleep(0.6)
            raise OSError("late")
        return self


def test_a_warning_about_failures_is_possible_from_anywhere():
    search = search_of({2: (ValueError("no"), ALWAYS)})
    with pytest.warns(FitFailedWarning):
        exec("search.fit(X, Y)", {"search": search, "X": X, "Y": Y})
    assert search.best_index_ == 5


@pytest.mark.parametrize("cut", [False, True])
def test_the_refit_gets_what_is_left_or_as_long_as_the_winners_fits(cut, monkeypatch):
    search = search_of(numbers=[1], time_budget=100.0).fit(X, Y)  # a refit on twice the rows
    search.cv_results_["mean_fit_time"] = np.array([10.0])
    search.cv_results_["split0_stop_reason"] = np.array(["time_budget" if cut else "max_epochs"])
    monkeypatch.setattr(_search, "time", types.SimpleNamespace(time=lambda: 1000.0))
    assert search._seconds_for_refit(started=990.0) == 90.0
    assert search._seconds_for_refit(started=900.0) == (10.0 if cut else 40.0)
    assert search.set_params(time_budget=None)._seconds_for_refit(started=900.0) is None


def test_the_refit_is_tried_again_by_the_rules_of_the_fits():
    all_rows = 5, float(np.sum(X))
    search = search_of({5: (OSError("flaky"), 2)}, max_retries_per_trial=2).fit(X, Y)
    assert Numbered.n_attempts[all_rows] == 3
    assert search.best_estimator_.number == 5


@pytest.mark.parametrize(
    ("rules", "n_tries"),
    [({"max_retries_per_trial": 2}, 3), ({"max_retries_per_trial": 2, "retry_on": ValueError}, 1)],
)
def test_a_refit_that_fails_in_the_end_raises_its_error(rules, n_tries):
    all_rows = 5, float(np.sum(X))
    search = search_of({5: (OSError("no"), ALWAYS)}, error_score=9.0, **rules)
    halves = [(np.arange(10), np.arange(10, 20))]
    Numbered.n_attempts[5, float(np.sum(X[:10]))] = ALWAYS  # this one never fails
    with pytest.raises(OSError, match="no"):
        search.set_params(cv=halves).fit(X, Y)
    assert Numbered.n_attempts[all_rows] == n_tries
    assert search.stopped_ == "error"
    assert search.best_params_ == {"number": 5}
    assert not hasattr(search, "best_estimator_")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_score_that_is_good_enough_ends_the_search(n_jobs):
    search = search_of(numbers=range(50), stop_score=3, n_jobs=n_jobs, seconds=0.05).fit(X, Y)
    assert search.stopped_ == "stop_score"
    assert 3 <= search.best_score_ <= 5
    assert len(search.cv_results_["params"]) <= 6
    assert search.best_estimator_.number == search.best_params_["number"]


# ---- what is told -------------------------------------------------------------------------------


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
    with pytest.raises(AttributeError, match="no results before fit"):
        search_of().results_summary()


# ---- as scikit-learn's --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_retries_per_trial": -1}, "max_retries_per_trial=-1"),
        ({"max_consecutive_failed_trials": 0}, "max_consecutive_failed_trials=0"),
        ({"retry_on": KeyboardInterrupt}, "retry_on="),
        ({"nan_score": "ignore"}, "nan_score='ignore' is not known. Give 'fail' or 'accept'"),
        ({"isolate": "yes"}, "isolate='yes'"),
        ({"trial_timeout": 0}, "trial_timeout=0 leaves no time"),
        ({"time_budget": -1.0}, "time_budget=-1.0 leaves no time"),
        ({"time_budget": "1 h"}, "time_budget='1 h' is no number"),
        ({"stop_score": np.nan}, "stop_score=nan"),
        ({"stop_score": 1, "scoring": ["accuracy"], "refit": False}, "which of the scores"),
        ({"refit_epochs": "mean"}, "refit_epochs='mean'"),
        ({"refit_epochs": "best", "refit": False}, "no effect with refit=False"),
        ({"refit_epochs": "best"}, "is for Keras estimators"),
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


def test_a_name_that_does_not_exist_is_an_error_before_any_fit():
    Numbered.n_attempts.clear()
    search = search_of().set_params(param_grid=[{"number": [1]}, {"number": [2], "nmber": [3]}])
    with pytest.raises(ValueError, match="nmber"):
        search.fit(X, Y)
    assert not Numbered.n_attempts
    assert search.stopped_ == "error"


def test_a_name_that_one_estimator_among_the_values_lacks_is_an_error_before_any_fit():
    Numbered.n_attempts.clear()
    grid = {"model": [Numbered(), Ridge()], "model__number": [1, 2]}
    search = GuardedGridSearchCV(Pipeline([("model", Numbered())]), grid, cv=2)
    with pytest.raises(ValueError, match="number"):
        search.fit(X, Y)
    assert not Numbered.n_attempts


def test_all_wrong_parameters_are_told_at_once():
    with pytest.raises(ValueError, match=r"isolate=(.|\n)*trial_timeout=") as caught:
        search_of(isolate=3, trial_timeout=-1).fit(X, Y)
    assert len(str(caught.value).splitlines()) == 2


def test_a_new_fit_forgets_the_results_of_the_last():
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
    for name in inspect.signature(cls).parameters:
        assert name in cls.__doc__
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


@pytest.mark.usefixtures("a_second_a_fit")
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
    assert search.stopped_ == "time_budget"
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


# ---- the refit with the best number of epochs ---------------------------------------------------


def test_the_refit_trains_all_rows_for_the_median_of_the_best_epochs():
    X, y = load_iris(return_X_y=True)
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2)
    network = make_classifier(
        epochs=30,
        callbacks=[stop],
        validation_fraction=0.2,
        optimizer__learning_rate=0.3,
    )
    search = GuardedGridSearchCV(network, {"units": [4, 8]}, cv=3, refit_epochs="best").fit(X, y)
    best = [search.cv_results_[f"split{s}_best_epoch"][search.best_index_] for s in range(3)]
    refitted = search.best_estimator_
    assert refitted.n_epochs_ == np.median(best) + 1
    assert refitted.validation_indices_ is None
    assert "val_loss" not in refitted.history_
    assert pickle.loads(pickle.dumps(refitted)).predict(X).shape == (150,)
    assert network.callbacks == [stop]


def test_the_default_refit_is_that_of_scikit_learn():
    X, y = load_iris(return_X_y=True)
    network = make_classifier(epochs=8, early_stopping=True)
    ours = GuardedGridSearchCV(network, {"units": [4]}, cv=2).fit(X, y)
    theirs = GridSearchCV(network, {"units": [4]}, cv=2).fit(X, y)
    np.testing.assert_array_equal(ours.predict_proba(X), theirs.predict_proba(X))
    assert ours.best_score_ == theirs.best_score_
    assert len(ours.best_estimator_.validation_indices_) == 15


@pytest.mark.parametrize("where", ["alone", "pipeline", "target"])
def test_a_network_that_holds_nothing_out_is_refused_before_any_fit(where, line):
    network = GuardedKerasRegressor(build_never, loss="mse", verbose=0)
    estimator = {
        "alone": network,
        "pipeline": Pipeline([("scale", StandardScaler()), ("net", network)]),
        "target": TransformedTargetRegressor(network),
    }[where]
    name = {"alone": "", "pipeline": "net__", "target": "regressor__"}[where] + "batch_size"
    search = GuardedGridSearchCV(estimator, {name: [8]}, cv=2, refit_epochs="best")
    with pytest.raises(ValueError, match="hold no rows out"):
        search.fit(*line)


def build_never(meta):
    raise AssertionError("a fit was started")
