"""Workers may die, hang or be interrupted: each time it costs the one fit, and none is left."""

import concurrent.futures
import ctypes
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import joblib
import numpy as np
import psutil
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError

from skguard import FatalError
from skguard.exceptions import TooManyFailedTrialsError
from skguard.model_selection import GuardedGridSearchCV

ONE_SPLIT = [(np.arange(40), np.arange(40, 50))]
X, Y = np.arange(150.0).reshape(50, 3), np.arange(50) % 2


class Misbehaving(ClassifierMixin, BaseEstimator):
    """Scores its own number, unless `ways` says what happens at that number.

    Each fit leaves a mark in `folder`.
    """

    def __init__(self, number=0, folder=None, ways=None):
        self.number = number
        self.folder = folder
        self.ways = ways

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        with (pathlib.Path(self.folder) / str(self.number)).open("a") as file:
            file.write("x")
        way = (self.ways or {}).get(self.number)
        if way is not None:
            way(self)
        return self

    @property
    def n_fits(self):
        return len((pathlib.Path(self.folder) / str(self.number)).read_text())

    def predict(self, X):
        return np.zeros(len(X), int)

    def score(self, X, y):
        return self.number


def killed(estimator):
    os.kill(os.getpid(), signal.SIGKILL)


def left(estimator):
    os._exit(3)


def crashed(estimator):
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # no dump of the stack into the test's output
    ctypes.string_at(0)


def asleep(estimator):
    time.sleep(10**6)


def stuck_in_c(estimator):
    ctypes.PyDLL(None).usleep(10**9)  # holds the interpreter's lock all the time


def raising(estimator):
    raise ValueError(f"number {estimator.number}")


def fatal(estimator):
    raise FatalError("nothing can work")


def killed_at_first(estimator):
    if estimator.n_fits == 1:
        killed(estimator)


def search_of(folder, ways=None, numbers=range(6), **kwargs):
    settings = {"cv": ONE_SPLIT, "n_jobs": 2, "refit": False}
    estimator = Misbehaving(folder=folder, ways=ways)
    return GuardedGridSearchCV(estimator, {"number": list(numbers)}, **settings | kwargs)


def fitted(search):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of failed fits and their scores
        return search.fit(X, Y)


def n_fits(folder):
    return {int(file.name): len(file.read_text()) for file in pathlib.Path(folder).iterdir()}


def children():
    """The children of this process, but for Python's resource trackers, which stay."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.is_running() and "resource_tracker" not in " ".join(child.cmdline())
    ]


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("shared")
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(folder))
    before = set(children())  # joblib keeps the workers of other tests in this process
    yield
    assert set(children()) <= before
    assert not list(folder.iterdir())


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
    assert search.stopped_ == "fatal_error"
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


def test_an_error_that_cannot_be_sent_still_tells_what_it_was(tmp_path):
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
    assert search.stopped_ == "interrupted"
    n_done = 3 if n_jobs == 1 else 19  # number 3 keeps one of two workers
    done = search.cv_results_["status"] == "completed"
    assert done.sum() == n_done
    assert done.argmin() == (3 if n_jobs == 2 else 0)  # a row of its own that is not run
    assert search.best_params_ == {"number": max(search.cv_results_["param_number"][done])}
    assert not hasattr(search, "best_estimator_")


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("limit", ["trial_timeout", "time_budget"])
@pytest.mark.parametrize("seconds", [1e10, float("inf")])
def test_a_limit_may_be_so_far_off_that_it_is_none(tmp_path, n_jobs, limit, seconds):
    search = search_of(tmp_path, n_jobs=n_jobs, **{limit: seconds})
    assert fitted(search).stopped_ == "completed"


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
    assert search.stopped_ == "fatal_error"
    with pytest.raises(FatalError, match="CodedError"):
        fitted(search_of(tmp_path, {2: raising_coded}))
    with pytest.raises(SystemExit) as caught:
        fitted(search_of(tmp_path, {2: exiting}))
    assert caught.value.code == 3
    search = search_of(tmp_path, {2: raising_unsendable_key}, error_score="raise")
    with pytest.raises(KeyError, match=r"UnsendableKeyError: .*one and two"):
        fitted(search)
    assert search.stopped_ == "error"


def test_a_failure_names_its_row_also_where_an_earlier_candidate_still_ran(tmp_path):
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


@pytest.mark.parametrize("delay", [0.3, 1.0])
def test_no_data_is_left_if_all_processes_get_a_signal_while_workers_start(tmp_path, delay):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import numpy as np
            from sklearn.dummy import DummyClassifier
            from skguard.model_selection import GuardedGridSearchCV

            X = np.zeros((1000, 10))
            grid = {"strategy": ["prior"] * 1000}
            GuardedGridSearchCV(DummyClassifier(), grid, n_jobs=2).fit(X, X[:, 0] > 0)
            """
        )
    )
    shared = tmp_path / "shared"
    shared.mkdir()
    environment = os.environ | {"JOBLIB_TEMP_FOLDER": str(shared)}
    parent = subprocess.Popen(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, start_new_session=True
    )
    wait_until(lambda: list(shared.iterdir()), 60)
    time.sleep(delay)
    os.killpg(parent.pid, signal.SIGTERM)
    assert parent.wait(10) == -signal.SIGTERM
    wait_until(lambda: not list(shared.iterdir()), 20)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_ends_with_a_parent_that_could_not_end_it(tmp_path, how):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, pathlib, time
            from sklearn.dummy import DummyClassifier
            from skguard.model_selection import GuardedGridSearchCV

            class Sleeping(DummyClassifier):
                def fit(self, X, y, sample_weight=None):
                    pathlib.Path(f"pid-{os.getpid()}").touch()
                    time.sleep(1000)

            GuardedGridSearchCV(Sleeping(), {}, cv=2, n_jobs=2).fit([[0]] * 20, [0, 1] * 10)
            """
        )
    )
    shared = tmp_path / "shared"
    shared.mkdir()
    environment = os.environ | {"JOBLIB_TEMP_FOLDER": str(shared)}
    parent = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path, env=environment)
    try:
        wait_until(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
    finally:
        parent.send_signal(how)
        parent.wait()
    pids = [int(file.name.removeprefix("pid-")) for file in tmp_path.glob("pid-*")]
    assert list(shared.iterdir())
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    assert not list(shared.iterdir())  # the workers have seen to that


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.1)


def test_a_script_needs_no_main_guard_and_may_define_what_it_searches(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import numpy as np
            from sklearn.linear_model import LogisticRegression
            from skguard.model_selection import GuardedGridSearchCV
            print("main")

            class Mine(LogisticRegression):
                pass

            def scorer(estimator, X, y):
                return estimator.score(X, y)

            X = np.random.default_rng(0).normal(size=(60, 3))
            search = GuardedGridSearchCV(Mine(), {"C": [1.0, 2.0]}, cv=2, n_jobs=2, scoring=scorer)
            print(type(search.fit(X, X[:, 0] > 0).best_estimator_).__name__)
            """
        )
    )
    out = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=60
    )
    assert out.stdout.split() == ["main", "Mine"]


class Recording(DummyClassifier):
    """Scores what it sees of its surroundings."""

    def fit(self, X, y):
        self.seen_ = {
            "pid": os.getpid(),
            "threads": int(os.environ.get("OMP_NUM_THREADS", 0)),
            "tensorflow": "tensorflow" in sys.modules,
            "writes": X.flags.writeable,
        }
        return super().fit(X, y)


def seen(estimator, X, y):
    return estimator.seen_


def test_workers_share_the_cores_and_import_nothing_that_is_not_needed(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    search = GuardedGridSearchCV(Recording(), {}, cv=4, n_jobs=2, scoring=seen, refit="pid")
    search.fit(*load_iris(return_X_y=True))
    pids = {search.cv_results_[f"split{split}_test_pid"][0] for split in range(4)}
    assert os.getpid() not in pids
    assert search.cv_results_["mean_test_threads"] == max(os.cpu_count() // 2, 1)
    assert search.cv_results_["mean_test_tensorflow"] == 0
    assert search.cv_results_["mean_test_writes"] == 1


class WritesIntoEveryRow(DummyClassifier):
    def fit(self, X, y):
        root = X if X.base is None else X.base
        root[:] = 0
        return super().fit(X, y)


def test_rows_are_sent_once_and_never_changed(tmp_path, monkeypatch):
    from skguard.model_selection import _shared_data

    written = []
    write = _shared_data.write
    monkeypatch.setattr(
        _shared_data,
        "write",
        lambda value, path: (
            written.append(path.stat().st_size if path.exists() else path) or write(value, path)
        ),
    )
    rows = np.random.default_rng(0).normal(size=(200_000, 5))
    before = rows.copy()
    labels = rows[:, 0] > 0
    search = GuardedGridSearchCV(
        WritesIntoEveryRow(), {"strategy": ["prior", "uniform"]}, cv=2, n_jobs=2
    )
    search.refit = False
    search.fit(rows, labels)
    np.testing.assert_array_equal(rows, before)
    assert len(written) == 2  # what all fits share, and the splits


def test_what_a_worker_prints_and_warns_arrives(tmp_path):
    script = (
        "import warnings, numpy as np\n"
        "from sklearn.dummy import DummyClassifier\n"
        "from skguard.model_selection import GuardedGridSearchCV\n"
        "class Loud(DummyClassifier):\n"
        "    def fit(self, X, y):\n"
        "        print('printed')\n"
        "        warnings.warn('silenced'); warnings.warn('told', FutureWarning)\n"
        "        return super().fit(X, y)\n"
        "warnings.simplefilter('ignore', UserWarning)\n"
        "GuardedGridSearchCV(Loud(), {}, cv=2, n_jobs=2, refit=False).fit(\n"
        "    np.ones((9, 2)), np.arange(9) % 2)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert out.stdout.count("printed") == 2
    assert "told" in out.stderr
    assert "silenced" not in out.stderr


class Unimportable:
    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return (__import__, ("a_module_that_no_worker_has",))


def test_data_that_no_worker_can_load_is_an_error_and_no_search_that_fails_thrice(tmp_path):
    search = search_of(tmp_path, {1: Unimportable()})
    with pytest.raises(RuntimeError, match=r"could not be started.*a_module_that_no_worker_has"):
        fitted(search)
    assert search.failed_trials_ == []


class KillsWhoLoadsIt:
    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return (os._exit, (7,))


def test_workers_that_die_at_the_start_are_not_started_for_ever(tmp_path):
    with pytest.raises(RuntimeError, match=r"could not be started.*exit code 7"):
        fitted(search_of(tmp_path, {1: KillsWhoLoadsIt()}))


class KillsOnceWhoLoadsIt:
    def __init__(self, mark):
        self.mark = mark

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return (left_at_first, (self.mark,))


def left_at_first(mark):
    if not mark.exists():
        mark.touch()
        os._exit(7)
    return asleep


def test_a_worker_that_dies_at_the_start_is_started_again(tmp_path):
    folder = tmp_path / "fits"
    folder.mkdir()
    way = KillsOnceWhoLoadsIt(tmp_path / "mark")
    search = fitted(search_of(folder, {99: way}, n_jobs=None, isolate=True))
    assert search.cv_results_["status"].tolist() == ["completed"] * 6
    assert search.failed_trials_ == []
    assert way.mark.exists()


def test_too_many_failures_end_the_other_workers(tmp_path):
    search = search_of(tmp_path, dict.fromkeys((1, 2, 3), raising) | {4: asleep}, range(8))
    with pytest.raises(TooManyFailedTrialsError, match="3 trials in a row"):
        fitted(search)
    assert search.stopped_ == "failed_trials"
    assert list(search.cv_results_["status"][:4]) == ["completed", "failed", "failed", "failed"]
    assert "7" not in n_fits(tmp_path)


def test_a_search_in_a_fit_of_a_search_starts_no_workers_of_its_own():
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV

    inner = GridSearchCV(RandomForestClassifier(2, n_jobs=2), {"max_depth": [1, 2]}, cv=2, n_jobs=2)
    search = GuardedGridSearchCV(inner, {"cv": [2, 3]}, cv=2, n_jobs=2, refit=False)
    search.set_params(scoring=number_of_children).fit(*load_iris(return_X_y=True))
    assert set(search.cv_results_["status"]) == {"completed"}
    assert search.best_score_ == 0.0


def number_of_children(estimator, X, y):
    return float(len(children()))


class DiesLater(DummyClassifier):
    """Its worker dies a moment after the fit, when it has nothing to do."""

    def fit(self, X, y):
        threading.Timer(0.3, os._exit, [5]).start()
        return super().fit(X, y)


class TwoRounds(GuardedGridSearchCV):
    def _run_search(self, evaluate_candidates):
        for strategy in ("prior", "uniform"):
            evaluate_candidates([{"strategy": strategy}])
            time.sleep(1)


def test_a_worker_that_dies_with_nothing_to_do_costs_nothing():
    search = TwoRounds(DiesLater(), {}, cv=2, n_jobs=1, isolate=True, refit=False)
    search.set_params(cv=[(np.arange(40), np.arange(40, 50))]).fit(X, Y)
    assert list(search.cv_results_["status"]) == ["completed"] * 2
    assert search.failed_trials_ == []


def test_a_search_with_a_timeout_works_within_another_search():
    inner = GuardedGridSearchCV(DummyClassifier(), {}, cv=2, trial_timeout=20, refit=False)
    search = GuardedGridSearchCV(
        inner, {"cv": [2]}, cv=2, scoring=inner_status, isolate=True, refit=False
    ).fit(X, Y)
    assert search.best_score_ == 1.0


def inner_status(estimator, X, y):
    return float(list(estimator.cv_results_["status"]) == ["completed"])


def test_a_process_that_may_have_no_workers_is_told_so():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        message = pool.apply(message_of_isolated_search)
    assert "this is a daemonic process" in message


def message_of_isolated_search():
    try:
        GuardedGridSearchCV(DummyClassifier(), {}, cv=2, isolate=True).fit(X, Y)
    except ValueError as error:
        return str(error)


def test_a_time_budget_holds_while_workers_start(tmp_path):
    class SlowToLoad:
        def __deepcopy__(self, memo):
            return self

        def __reduce__(self):
            return (time.sleep, (30,))

    started = time.monotonic()
    with pytest.raises(TimeoutError, match="0 fits had ended"):
        fitted(search_of(tmp_path, {1: SlowToLoad()}, time_budget=1))
    assert time.monotonic() - started < 20


def test_a_search_that_was_not_refitted_says_so(tmp_path):
    search = search_of(tmp_path, {1: fatal}, refit=True)
    with pytest.raises(FatalError):
        fitted(search)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        search.predict(X)


def test_what_cannot_be_sent_to_workers_is_refused_with_a_way_out(tmp_path):
    class Locked:
        def __deepcopy__(self, memo):
            return self

        def __reduce__(self):
            raise TypeError("cannot pickle a lock")

    with pytest.raises(TypeError, match=r"cannot pickle a lock.*n_jobs=1"):
        fitted(search_of(tmp_path, {1: Locked()}))


class FailsOnAllRows(DummyClassifier):
    def fit(self, X, y):
        if len(X) == 50:
            raise ValueError("too many rows")
        return super().fit(X, y)


def test_a_refit_that_fails_is_what_ended_the_search(capsys):
    search = GuardedGridSearchCV(FailsOnAllRows(), {}, cv=2)
    with pytest.raises(ValueError, match="too many rows"):
        search.fit(X, Y)
    assert search.stopped_ == "error"
    assert search.best_params_ == {}
    assert not hasattr(search, "best_estimator_")


def with_a_child(estimator):
    child = subprocess.Popen(["sleep", "1000"])
    (pathlib.Path(estimator.folder).parent / "child").write_text(str(child.pid))
    killed(estimator)


def test_what_a_fit_has_started_ends_with_its_worker(tmp_path):
    folder = tmp_path / "marks"
    folder.mkdir()
    fitted(search_of(folder, {0: with_a_child}, range(2), n_jobs=1, isolate=True))
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: not psutil.pid_exists(child) or is_dead(child), seconds=5)


def is_dead(pid):
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


class Growing(DummyClassifier):
    """Holds on to more than loky lets a process grow by."""

    kept = []  # noqa: RUF012, for as long as the process lives

    def fit(self, X, y):
        self.kept.append(np.ones(50_000_000))
        time.sleep(1.2)  # loky looks once a second
        self.pid_ = os.getpid()
        return super().fit(X, y)


def pid_of(estimator, X, y):
    return {"pid": estimator.pid_}


def test_a_worker_that_grows_stays(tmp_path):
    search = GuardedGridSearchCV(
        Growing(), {}, cv=3, isolate=True, scoring=pid_of, refit=False, trial_timeout=20
    ).fit(X, Y)
    assert search.cv_results_["std_test_pid"][0] == 0


def test_the_shared_files_are_where_joblib_would_put_them(tmp_path, monkeypatch):
    folder = tmp_path / "not" / "there yet, à côté"
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(folder))
    search = GuardedGridSearchCV(
        DummyClassifier(), {}, cv=2, isolate=True, refit=False, scoring=SeesFilesIn(folder)
    )
    assert search.fit(X, Y).best_score_ == 1.0
    assert not list(folder.iterdir())


class SeesFilesIn:
    def __init__(self, folder):
        self.folder = folder

    def __call__(self, estimator, X, y):
        return float(len(list(self.folder.glob("skguard-*/*.bin"))) == 2)


@pytest.mark.parametrize("n_threads", [None, 3])
def test_the_threads_of_a_worker_are_its_share_or_what_joblib_is_told(monkeypatch, n_threads):
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "17")  # which the user has set
    search = GuardedGridSearchCV(
        DummyClassifier(), {}, cv=2, isolate=True, scoring=mkl_threads, refit=False
    )
    with joblib.parallel_config("loky", inner_max_num_threads=n_threads):
        assert search.fit(X, Y).best_score_ == (n_threads or joblib.cpu_count())


def mkl_threads(estimator, X, y):
    assert os.environ["OMP_NUM_THREADS"] == "17"
    return int(os.environ["MKL_NUM_THREADS"])
