"""Workers may die, hang or be interrupted: each time it costs the one fit, and none is left."""

import concurrent.futures
import os
import pathlib
import signal
import threading
import time

import pytest
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError

from skguard import FatalError
from skguard.exceptions import TooManyFailedTrialsError
from skguard.model_selection import GuardedGridSearchCV
from tests.model_selection.misbehaving import (
    X,
    Y,
    asleep,
    children,
    crashed,
    fatal,
    fitted,
    killed,
    killed_at_first,
    left,
    n_fits,
    raising,
    search_of,
    stuck_in_c,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.mark.slow
def test_forty_fits_of_which_five_die_three_hang_and_four_raise(tmp_path):
    ways = (
        dict.fromkeys((3, 11, 17, 25, 38), killed)
        | dict.fromkeys((5, 20, 30), asleep)
        | dict.fromkeys((7, 14, 22, 33), raising)
    )
    started = time.monotonic()
    search = fitted(search_of(tmp_path, ways, range(40), trial_timeout=2))
    assert time.monotonic() - started < 3 * 2 + 30
    assert n_fits(tmp_path) == dict.fromkeys(range(40), 1)
    status = dict(enumerate(search.cv_results_["split0_status"]))
    assert {n for n, s in status.items() if s == "worker_died"} == {3, 11, 17, 25, 38}
    assert {n for n, s in status.items() if s == "timed_out"} == {5, 20, 30}
    assert {n for n, s in status.items() if s == "failed"} == {7, 14, 22, 33}
    assert sum(s == "completed" for s in status.values()) == 28
    assert search.best_params_ == {"number": 39}
    assert len(search.failed_trials_) == 12


@pytest.mark.parametrize(
    ("way", "status", "message"),
    [
        (killed, "worker_died", "worker died (signal 9)"),
        (left, "worker_died", "worker died (exit code 3)"),
        (crashed, "worker_died", "worker died (signal 11)"),
        (asleep, "timed_out", "trial_timeout=1 seconds"),
        (stuck_in_c, "timed_out", "trial_timeout=1 seconds"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_one_job_in_isolation_loses_the_one_fit_too(tmp_path, way, status, message):
    search = fitted(
        search_of(tmp_path, {1: way}, range(3), n_jobs=1, isolate=True, trial_timeout=1)
    )
    assert list(search.cv_results_["status"]) == ["completed", "failed", "completed"]
    assert search.cv_results_["split0_status"][1] == status
    (failure,) = search.failed_trials_
    assert message in failure.message
    assert (failure.candidate, failure.split, failure.params) == (1, 0, {"number": 1})


def test_a_fit_whose_worker_died_is_tried_again(tmp_path):
    search = fitted(search_of(tmp_path, {2: killed_at_first}, max_retries_per_trial=1))
    assert set(search.cv_results_["status"]) == {"completed"}
    assert search.cv_results_["split0_attempts"][2] == 2
    assert n_fits(tmp_path) == {0: 1, 1: 1, 2: 2, 3: 1, 4: 1, 5: 1}


def alone_or_killed(estimator):
    """Die, as for want of memory, unless nothing else runs."""
    busy = pathlib.Path(estimator.folder).parent / "busy"
    marks = list(busy.iterdir())
    if marks:
        killed(estimator)


def busy(estimator):
    mark = pathlib.Path(estimator.folder).parent / "busy" / str(estimator.number)
    mark.touch()
    time.sleep(1.5)
    mark.unlink()


def test_a_fit_that_was_in_two_crashes_runs_alone(tmp_path):
    folder = tmp_path / "marks"
    folder.mkdir()
    (tmp_path / "busy").mkdir()
    ways = dict.fromkeys(range(1, 6), busy) | {0: alone_or_killed, 1: busy}

    def wait_for_company(estimator):
        end = time.monotonic() + (4 if estimator.n_fits < 3 else 0.5)
        while time.monotonic() < end and not any((tmp_path / "busy").iterdir()):
            time.sleep(0.05)
        alone_or_killed(estimator)

    ways[0] = wait_for_company
    search = fitted(search_of(folder, ways, range(4), max_retries_per_trial=2))
    assert list(search.cv_results_["status"]) == ["completed"] * 4
    assert n_fits(folder)[0] == 3


def test_an_error_in_a_worker_is_raised_as_itself(tmp_path):
    with pytest.raises(ValueError, match="number 1"):
        fitted(search_of(tmp_path, {1: raising}, error_score="raise"))


def test_a_fatal_error_ends_all_workers_and_keeps_what_had_finished(tmp_path):
    search = search_of(tmp_path, {3: fatal, 4: asleep})
    with pytest.raises(FatalError, match="nothing can work"):
        fitted(search)
    assert search.stop_reason_ == "fatal_error"
    completed = search.cv_results_["param_number"][search.cv_results_["status"] == "completed"]
    assert set(completed) <= {0, 1, 2}
    assert len(completed) >= 2  # the other worker may be at the third
    assert search.failed_trials_[-1].error == "FatalError"
    assert search.best_params_ == {"number": max(completed)}


class UnloadableError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def raising_what_does_not_travel(estimator):
    raise UnloadableError("what", "it says")


def test_an_error_that_cannot_be_sent_is_still_reported(tmp_path):
    search = fitted(search_of(tmp_path, {1: raising_what_does_not_travel}, range(3)))
    (failure,) = search.failed_trials_
    assert (failure.error, failure.message) == ("UnloadableError", "what it says")
    assert "raising_what_does_not_travel" in failure.traceback


@pytest.fixture
def ctrl_c():
    """Python's own handler, which a process that was started in the background does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_interrupted_search_has_its_results_and_leaves_no_process(tmp_path, n_jobs):
    search = search_of(tmp_path, {3: asleep}, range(20), n_jobs=n_jobs, refit=True)
    before = set(children())
    interrupted = []

    def interrupt():
        interrupted.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    def when_done():
        try:
            wait_until(lambda: len(list(tmp_path.iterdir())) == (4 if n_jobs == 1 else 20), 120)
            time.sleep(0.5)
        finally:
            interrupt()

    threading.Thread(target=when_done).start()
    with pytest.raises(KeyboardInterrupt):
        fitted(search)
    assert time.monotonic() - interrupted[0] < 5
    assert set(children()) <= before
    assert search.stop_reason_ == "interrupted"
    n_done = 3 if n_jobs == 1 else 19  # number 3 keeps one of two workers
    done = search.cv_results_["status"] == "completed"
    assert done.sum() == n_done
    assert done.argmin() == (3 if n_jobs == 2 else 0)  # an entry that is not run
    assert search.best_params_ == {"number": max(search.cv_results_["param_number"][done])}
    assert not hasattr(search, "best_estimator_")


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("limit", ["trial_timeout", "time_budget"])
@pytest.mark.parametrize("seconds", [1e10, float("inf")])
def test_a_limit_may_be_so_far_off_that_it_is_none(tmp_path, n_jobs, limit, seconds):
    search = search_of(tmp_path, n_jobs=n_jobs, **{limit: seconds})
    assert fitted(search).stop_reason_ == "completed"


def test_fits_that_had_ended_when_an_error_came_are_kept(tmp_path, monkeypatch):
    wait = concurrent.futures.wait

    def wait_for_all(futures, timeout, return_when):
        return wait(futures, timeout)

    monkeypatch.setattr(concurrent.futures, "wait", wait_for_all)
    search = search_of(tmp_path, {0: fatal}, range(2))
    with pytest.raises(FatalError):
        fitted(search)
    assert search.cv_results_["status"].tolist() == ["failed", "completed"]


class UnsendableError(FatalError):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class UnsendableKeyError(KeyError):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class Coded:
    def __init__(self, code="?"):
        self.code = code


class CodedError(Coded, FatalError):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")
        self.lock = threading.Lock()


class UnsendableExit(SystemExit):
    def __init__(self, one, two):
        super().__init__(one + two)


def raising_coded(estimator):
    raise CodedError("one", "two")


def exiting(estimator):
    raise UnsendableExit(1, 2)


def raising_unsendable(estimator):
    raise UnsendableError("one", "two")


def raising_unsendable_key(estimator):
    raise UnsendableKeyError("one", "two")


def test_an_error_that_cannot_be_sent_is_raised_as_the_nearest_that_can(tmp_path):
    search = search_of(tmp_path, {2: raising_unsendable})
    with pytest.raises(FatalError, match="UnsendableError: one and two"):
        fitted(search)
    assert search.stop_reason_ == "fatal_error"
    with pytest.raises(FatalError, match="CodedError"):
        fitted(search_of(tmp_path, {2: raising_coded}))
    with pytest.raises(SystemExit) as caught:
        fitted(search_of(tmp_path, {2: exiting}))
    assert caught.value.code == 3
    search = search_of(tmp_path, {2: raising_unsendable_key}, error_score="raise")
    with pytest.raises(KeyError, match=r"UnsendableKeyError: .*one and two"):
        fitted(search)
    assert search.stop_reason_ == "error"


def test_a_failure_names_its_candidate_also_where_an_earlier_candidate_still_ran(tmp_path):
    search = search_of(tmp_path, {0: asleep, 1: raising, 3: fatal})
    with pytest.raises(FatalError):
        fitted(search)
    results = search.cv_results_
    assert [f.params["number"] for f in search.failed_trials_] == [1, 3]
    for failed in search.failed_trials_:
        assert results["params"][failed.candidate] == failed.params
        assert results["status"][failed.candidate] == "failed"
    assert results["status"].tolist() == ["not_run", "failed", "completed", "failed"]
    assert len(search.histories_) == 4


def test_too_many_failures_end_the_other_workers(tmp_path):
    search = search_of(tmp_path, dict.fromkeys((1, 2, 3), raising) | {4: asleep}, range(8))
    with pytest.raises(TooManyFailedTrialsError, match="3 consecutive trials failed"):
        fitted(search)
    assert search.stop_reason_ == "failed_trials"
    assert list(search.cv_results_["status"][:4]) == ["completed", "failed", "failed", "failed"]
    assert "7" not in n_fits(tmp_path)


def test_a_search_that_was_not_refitted_is_not_fitted(tmp_path):
    search = search_of(tmp_path, {1: fatal}, refit=True)
    with pytest.raises(FatalError):
        fitted(search)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        search.predict(X)


class FailsOnAllSamples(DummyClassifier):
    def fit(self, X, y):
        if len(X) == 50:
            raise ValueError("too many samples")
        return super().fit(X, y)


def test_a_refit_that_fails_is_what_ended_the_search(capsys):
    search = GuardedGridSearchCV(FailsOnAllSamples(), {}, cv=2)
    with pytest.raises(ValueError, match="too many samples"):
        search.fit(X, Y)
    assert search.stop_reason_ == "error"
    assert search.best_params_ == {}
    assert not hasattr(search, "best_estimator_")
