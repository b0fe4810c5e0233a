"""A search ends in time, or once a score is reached, and the refit has its part of the time."""

import re
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning

from skguard.model_selection import GuardedGridSearchCV, _refit
from skguard.model_selection._budget import TimeBudget
from skguard.model_selection._results import Refitted
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
def test_no_fit_starts_after_the_time_budget_less_what_the_refit_takes(n_jobs):
    budget = 3.0 if n_jobs == 1 else 12.0  # workers start first
    search = search_of(numbers=range(100), seconds=0.25, time_budget=budget, n_jobs=n_jobs)
    started = time.monotonic()
    search.fit(X, Y)
    assert time.monotonic() - started < budget + 5  # all fits together take 50 s
    assert search.stop_reason_ == "time_budget"
    assert 2 <= len(search.cv_results_["params"]) < 100
    complete = search.cv_results_["status"] == "completed"
    assert search.best_params_["number"] == search.cv_results_["param_number"][complete].max()
    assert search.best_estimator_.number == search.best_params_["number"]


@pytest.mark.usefixtures("one_second_per_fit")
def test_a_candidate_that_is_not_complete_is_not_the_best():
    search = search_of(numbers=range(100), time_budget=5.5, cv=4, refit=False).fit(X, Y)
    assert list(search.cv_results_["status"]) == ["completed", "incomplete"]
    assert search.cv_results_["split1_status"][1] == "completed"
    assert search.cv_results_["split2_status"][1] == "not_run"
    assert np.isnan(search.cv_results_["split2_test_score"][1])
    assert search.best_index_ == 0
    assert len(search.histories_) == 2


@pytest.mark.usefixtures("one_second_per_fit")
def test_a_budget_for_less_than_one_candidate_is_an_error_that_names_the_budget():
    search = search_of(time_budget=0.1)
    with pytest.raises(TimeoutError, match=r"time_budget=0.1 was over before one candidate"):
        search.fit(X, Y)
    assert search.stop_reason_ == "time_budget"
    assert list(search.cv_results_["status"]) == ["incomplete"]


def test_the_time_reserved_for_the_refit_depends_on_the_number_of_samples():
    # 2 of 20 samples per fit: the refit will take ten times as long.
    splits = [(np.arange(2), np.arange(2, 20))]
    search = search_of(numbers=range(100), seconds=0.2, time_budget=4, cv=splits)
    search.set_params(estimator__seconds=0.2).fit(X, Y)
    assert len(search.cv_results_["params"]) <= 11  # in 2 s


def limit_of(estimator, X, y):
    return -1.0 if estimator.max_fit_seconds is None else estimator.max_fit_seconds


@pytest.mark.parametrize("own_limit", [None, 1.0, 100.0])
def test_a_fit_gets_what_is_left_of_the_budget_where_it_has_a_limit(own_limit):
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
    with pytest.warns(ConvergenceWarning, match="time_budget=8 has cut the refit short") as caught:
        search.fit(X, y)
    assert caught[-1].filename == __file__
    assert 7 < time.monotonic() - started < 12
    assert search.stop_reason_ == "time_budget"
    for split in range(2):
        assert search.cv_results_[f"split{split}_stop_reason"][0] == "time_budget"
        assert search.cv_results_[f"split{split}_n_epochs"][0] > 1
    assert search.cv_results_["status"][0] == "completed"
    assert search.best_estimator_.stop_reason_ == "time_budget"
    assert search.best_estimator_.n_epochs_ > 100
    assert search.best_estimator_.max_fit_seconds is None


def test_a_refit_that_its_own_limit_cut_short_does_not_warn_about_the_budget():
    X, y = load_iris(return_X_y=True)
    network = make_classifier(epochs=10**6, max_fit_seconds=0.5)
    search = GuardedGridSearchCV(network, {"units": [4]}, cv=2, time_budget=600).fit(X, y)
    assert search.best_estimator_.stop_reason_ == "time_budget"
    assert search.best_estimator_.max_fit_seconds == 0.5


def build_slowly(meta, units=8, seconds=0.5):
    time.sleep(seconds)
    return build_classifier(meta, units)


@pytest.mark.filterwarnings("ignore:The part of time_budget:sklearn.exceptions.ConvergenceWarning")
def test_a_network_whose_time_is_over_before_its_first_epoch_is_no_candidate():
    X, y = load_iris(return_X_y=True)
    network = make_classifier(build_slowly, epochs=2, model__units=11)  # a new graph, see below
    search = GuardedGridSearchCV(network, {"batch_size": [50]}, cv=2, time_budget=0.4, refit=False)
    with pytest.raises(TimeoutError, match=r"complete: pass more seconds\. 0 fits had ended"):
        search.fit(X, y)
    assert search.cv_results_["params"] == []


def test_a_limit_that_is_too_short_for_the_first_epoch_does_not_end_the_search():
    X, y = load_iris(return_X_y=True)
    splits = [(np.arange(0, 150, 2), np.arange(1, 150, 2))] * 5
    network = make_classifier(build_slowly, epochs=2, model__seconds=1.2)
    grid = {"model__units": [13]}  # a new graph, as a cached one would train at once
    search = GuardedGridSearchCV(network, grid, cv=splits, time_budget=5.0, refit=False)
    match = "The part of time_budget that the search has for this fit elapsed"
    with pytest.warns(ConvergenceWarning, match=match), pytest.raises(TimeoutError):
        search.fit(X, y)
    assert search.cv_results_["split0_status"].tolist() == ["completed"]
    assert search.cv_results_["split0_n_epochs"].tolist() == [2]


class BatchHooks(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        pass


@pytest.fixture
def no_time_for_the_refit(monkeypatch):
    """The limit of a refit is over before it starts, as where starting TensorFlow takes longer."""
    monkeypatch.setattr(TimeBudget, "seconds_for_refit", lambda *args, **kwargs: 0.001)


def search_of_networks(**settings):
    network = make_classifier(optimizer__learning_rate=0.05, batch_size=8, **settings)
    return GuardedGridSearchCV(network, {"units": [16]}, cv=2, time_budget=600)


@pytest.mark.usefixtures("no_time_for_the_refit")
@pytest.mark.parametrize("callbacks", [None, BatchHooks], ids=["no hooks", "batch hooks"])
def test_a_refit_is_trained_for_as_many_epochs_as_the_fits(callbacks, capsys):
    X, y = load_iris(return_X_y=True)
    search = search_of_networks(epochs=15, callbacks=callbacks).set_params(verbose=3).fit(X, y)
    assert search.best_estimator_.n_epochs_ == 15
    assert search.best_estimator_.stop_reason_ == "max_epochs"
    assert search.stop_reason_ == "completed"
    assert search.best_estimator_.score(X, y) > 0.8
    assert search.best_estimator_.max_fit_seconds is None
    assert "max_fit_seconds" not in capsys.readouterr().out


class StopsFits(keras.callbacks.Callback):
    """Ends training after 4 epochs, unless it is that of all samples, of 19 batches."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 3 and self.params["steps"] < 19:
            self.model.stop_training = True


@pytest.mark.usefixtures("no_time_for_the_refit")
def test_a_refit_that_is_cut_short_is_reported_and_has_the_epochs_of_the_fits():
    X, y = load_iris(return_X_y=True)
    search = search_of_networks(epochs=1000, callbacks=StopsFits)
    with pytest.warns(ConvergenceWarning, match="time_budget=600 has cut the refit short, after 4"):
        search.fit(X, y)
    assert search.cv_results_["mean_n_epochs"].tolist() == [4]
    assert search.best_estimator_.n_epochs_ == 4
    assert search.best_estimator_.stop_reason_ == search.stop_reason_ == "time_budget"
    assert "max_fit_seconds" not in repr(search.best_estimator_)


class PassesTime(keras.callbacks.Callback):
    """Lets 1000 s pass in the second epoch of a fit on all samples, of 19 batches."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1 and self.params["steps"] == 19:
            AHEAD[0] += 1000.0


AHEAD = [0.0]


@pytest.mark.usefixtures("no_time_for_the_refit")
def test_the_limit_of_the_estimator_ends_a_refit_in_any_epoch(monkeypatch):
    X, y = load_iris(return_X_y=True)
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + AHEAD[0])
    search = search_of_networks(epochs=4, max_fit_seconds=900.0, callbacks=PassesTime)
    search.set_params(time_budget=5000).fit(X, y)
    assert search.best_estimator_.n_epochs_ == 2
    assert search.best_estimator_.stop_reason_ == "time_budget"
    assert search.best_estimator_.max_fit_seconds == 900.0
    assert search.stop_reason_ == "completed"


@pytest.mark.parametrize(
    ("budget", "seconds_left", "message"),
    [
        (None, None, None),
        (100, 1.0, None),
        (100, -9.0, None),
        (100, -11.0, r"refit ended 11.0 seconds after time_budget=100.*refit=False"),
        (2, -0.9, None),
        (2, -1.1, r"refit ended 1.1 seconds after time_budget=2"),
    ],
)
def test_a_refit_that_ends_late_is_reported(budget, seconds_left, message, recwarn):
    time_budget = SimpleNamespace(seconds=budget, seconds_left=lambda: seconds_left)
    refitted = Refitted(Numbered(), 1.0, was_cut_short=False)
    _refit.warn_of_budget(refitted, SimpleNamespace(budget=time_budget))
    assert len(recwarn) == (message is not None)
    assert message is None or re.search(message, str(recwarn[0].message))


class Cumulative(Numbered):
    """Continues where it was, as with warm_start, and fails once in a fit on all samples."""

    n_fails = 1

    def fit(self, X, y=None):
        for _ in range(3):
            self.n_ = getattr(self, "n_", 0) + 1
            if len(X) == 20 and self.n_ == 2 and Cumulative.n_fails:
                Cumulative.n_fails -= 1
                raise OSError("flaky")
        return super().fit(X, y)


def test_a_refit_that_is_retried_starts_from_scratch():
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


def test_the_refit_is_tried_again_by_the_rules_of_the_fits():
    all_samples = 5, float(np.sum(X))
    search = search_of({5: (OSError("flaky"), 2)}, max_retries_per_trial=2).fit(X, Y)
    assert Numbered.n_attempts[all_samples] == 3
    assert search.best_estimator_.number == 5


@pytest.mark.parametrize(
    ("rules", "n_tries"),
    [({"max_retries_per_trial": 2}, 3), ({"max_retries_per_trial": 2, "retry_on": ValueError}, 1)],
)
def test_a_refit_that_fails_in_the_end_raises_its_error(rules, n_tries):
    all_samples = 5, float(np.sum(X))
    search = search_of({5: (OSError("no"), ALWAYS)}, error_score=9.0, **rules)
    halves = [(np.arange(10), np.arange(10, 20))]
    Numbered.n_attempts[5, float(np.sum(X[:10]))] = ALWAYS  # this one never fails
    with pytest.raises(OSError, match="no"):
        search.set_params(cv=halves).fit(X, Y)
    assert Numbered.n_attempts[all_samples] == n_tries
    assert search.stop_reason_ == "error"
    assert search.best_params_ == {"number": 5}
    assert not hasattr(search, "best_estimator_")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_score_that_is_good_enough_ends_the_search(n_jobs):
    search = search_of(numbers=range(50), stop_score=3, n_jobs=n_jobs, seconds=0.05).fit(X, Y)
    assert search.stop_reason_ == "stop_score"
    assert 3 <= search.best_score_ <= 5
    assert len(search.cv_results_["params"]) <= 6
    assert search.best_estimator_.number == search.best_params_["number"]
