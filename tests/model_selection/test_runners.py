"""Fits run where joblib is set to; a lost machine costs what it was running, and no search."""

import os
import pathlib
import signal
import sys
import threading
import time

import joblib
import numpy as np
import pytest
from distributed import Client, LocalCluster
from joblib.parallel import ThreadingBackend
from sklearn.base import BaseEstimator, ClassifierMixin

from skguard import FatalError
from skguard.model_selection import GuardedGridSearchCV
from skguard.model_selection._runners import OnBackend, _backend_errors
from skguard.model_selection._trials import Decision
from tests.model_selection.outcomes import make_trials, with_score

X, Y = np.random.default_rng(0).normal(size=(2000, 10)), np.arange(2000) % 2


class Marking(ClassifierMixin, BaseEstimator):
    """Scores its number; the first fits of the numbers in `killers` kill their process."""

    def __init__(self, number=0, folder=None, killers=(), error=None):
        self.number = number
        self.folder = folder
        self.killers = killers
        self.error = error

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        mark = pathlib.Path(self.folder) / f"{self.number}-{np.asarray(X)[0, 0]}"
        with mark.open("a") as file:
            file.write("x")
        killed = pathlib.Path(self.folder) / f"killed-{self.number}"
        if self.number in self.killers and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.error is not None and self.number == 2:
            raise self.error
        self.thread_ = threading.get_ident()
        time.sleep(0.1)
        return self

    def predict(self, X):
        return np.zeros(len(X), int)

    def score(self, X, y):
        return float(self.number)


def search_of(folder, **kwargs):
    estimator = Marking(folder=str(folder), **kwargs)
    return GuardedGridSearchCV(estimator, {"number": list(range(6))}, cv=2)


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster


@pytest.mark.parametrize("killers", [(), (2,), (1, 4)], ids=str)
def test_a_search_on_dask_has_all_its_results_though_workers_are_killed(tmp_path, cluster, killers):
    search = search_of(tmp_path, killers=killers)
    with Client(cluster), joblib.parallel_config(backend="dask"):
        search.fit(X, Y)
    assert list(search.cv_results_["status"]) == ["completed"] * 6
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], np.arange(6.0))
    assert search.best_estimator_.number == 5
    assert len(list(tmp_path.glob("killed-*"))) == len(killers)
    pids = {file.name for file in tmp_path.iterdir()}
    assert len(pids) >= 12


def test_fits_never_run_in_this_process_even_if_one_worker_is_left(tmp_path):
    def scorer(estimator, X, y):
        return {"pid": os.getpid()}

    search = search_of(tmp_path).set_params(scoring=scorer, refit=False)
    one = LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0")
    with one, Client(one), joblib.parallel_config(backend="dask"):
        search.fit(X, Y)
    assert os.getpid() not in search.cv_results_["split0_test_pid"]


def test_rules_hold_on_dask_too(tmp_path, cluster):
    search = search_of(tmp_path, error=ValueError("no"))
    with Client(cluster), joblib.parallel_config(backend="dask"):
        with pytest.warns(match="2 fits failed"), pytest.warns(match="non-finite"):
            search.set_params(max_retries_per_trial=1).fit(X, Y)
        assert search.cv_results_["status"][2] == "failed"
        assert search.cv_results_["split0_attempts"][2] == 2
        with pytest.raises(FatalError, match="over"):
            search.set_params(estimator__error=FatalError("over")).fit(X, Y)
    assert search.stop_reason_ == "fatal_error"
    assert search.failed_trials_[-1].error == "FatalError"


def test_threads_are_used_where_joblib_is_set_to_them(tmp_path):
    threads = []

    def scorer(estimator, X, y):
        threads.append(estimator.thread_)
        return float(estimator.number)

    search = search_of(tmp_path).set_params(scoring=scorer, n_jobs=2)
    with joblib.parallel_config(backend="threading"):
        search.fit(X, Y)
    assert len(set(threads)) == 2
    assert list(search.cv_results_["param_number"]) == list(range(6))
    assert search.best_index_ == 5


@pytest.mark.parametrize("wrong", [{"isolate": True}, {"trial_timeout": 5}], ids=str)
def test_isolate_and_trial_timeout_are_errors_on_another_backend(tmp_path, wrong):
    search = search_of(tmp_path).set_params(n_jobs=2, **wrong)
    with (
        joblib.parallel_config(backend="threading"),
        pytest.raises(ValueError, match="joblib's active backend is ThreadingBackend"),
    ):
        search.fit(X, Y)
    assert not list(tmp_path.iterdir())


class Broken(ThreadingBackend):
    """A backend on which every round fails."""

    n_rounds = 0

    def submit(self, func, callback=None):
        Broken.n_rounds += 1
        raise OSError("the cluster is gone")


def test_a_backend_that_fails_again_and_again_ends_the_search_with_its_own_error(tmp_path):
    with (
        joblib.parallel_config(backend=Broken()),
        pytest.raises(OSError, match="the cluster is gone") as caught,
    ):
        search_of(tmp_path).set_params(n_jobs=2).fit(X, Y)
    assert Broken.n_rounds == 3
    if sys.version_info >= (3, 11):
        (note,) = caught.value.__notes__
        assert "failed 3 consecutive times. Perhaps one of the candidates 0, 1, 2" in note


class EndsOneFitARound(OnBackend):
    def _run_round(self, trials, splits):
        trials.done(with_score(trials.next()))
        with _backend_errors():
            raise OSError("a machine is gone")


def test_a_backend_that_fails_again_and_again_is_retried_while_fits_end():
    trials = make_trials(n_candidates=5, n_splits=2)
    decision = EndsOneFitARound(2, "2*n_jobs", None, X, Y).run(trials, [])
    assert decision == Decision()
    assert {trials.status(candidate) for candidate in trials.started_candidates()} == {"completed"}


class Waiting(Marking):
    def fit(self, X, y):
        super().fit(X, y)
        if self.number == 1:
            time.sleep(15)
        return self


def test_a_good_score_does_not_wait_for_the_fits_that_run(tmp_path, cluster):
    search = search_of(tmp_path)
    search.set_params(estimator=Waiting(folder=str(tmp_path)), cv=[(np.arange(9), np.arange(9))])
    with Client(cluster), joblib.parallel_config(backend="dask"):
        started = time.monotonic()
        search.set_params(stop_score=4, refit=False).fit(X, Y)
        assert time.monotonic() - started < 10
    assert search.stop_reason_ == "stop_score"
    assert search.cv_results_["status"][1] == "not_run"


def test_the_number_of_jobs_may_come_from_joblib(tmp_path):
    def scorer(estimator, X, y):
        return {"pid": os.getpid()}

    search = search_of(tmp_path).set_params(scoring=scorer, refit=False)
    with joblib.parallel_config(n_jobs=2):
        search.fit(X, Y)
    pids = {
        search.cv_results_[f"split{split}_test_pid"][number]
        for split in (0, 1)
        for number in (0, 1)
    }
    assert os.getpid() not in pids
