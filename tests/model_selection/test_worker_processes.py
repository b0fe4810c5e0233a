"""How worker processes start, what they share with the search and each other, and how they end."""

import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time

import joblib
import numpy as np
import psutil
import pytest
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier

from skguard.model_selection import GuardedGridSearchCV
from tests.model_selection.misbehaving import (
    X,
    Y,
    asleep,
    children,
    fitted,
    killed,
    search_of,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("nothing_is_left")


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


class WritesIntoItsData(DummyClassifier):
    def fit(self, X, y):
        root = X if X.base is None else X.base
        root[:] = 0
        return super().fit(X, y)


def test_data_is_sent_once_and_never_changed(tmp_path, monkeypatch):
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
    data = np.random.default_rng(0).normal(size=(200_000, 5))
    before = data.copy()
    labels = data[:, 0] > 0
    search = GuardedGridSearchCV(
        WritesIntoItsData(), {"strategy": ["prior", "uniform"]}, cv=2, n_jobs=2
    )
    search.refit = False
    search.fit(data, labels)
    np.testing.assert_array_equal(data, before)
    assert len(written) == 2  # what all fits share, and the splits


def test_what_a_worker_prints_and_warns_arrives(tmp_path):
    script = (
        "import warnings, numpy as np\n"
        "from sklearn.dummy import DummyClassifier\n"
        "from skguard.model_selection import GuardedGridSearchCV\n"
        "class Loud(DummyClassifier):\n"
        "    def fit(self, X, y):\n"
        "        print('printed')\n"
        "        warnings.warn('silenced'); warnings.warn('shown', FutureWarning)\n"
        "        return super().fit(X, y)\n"
        "warnings.simplefilter('ignore', UserWarning)\n"
        "GuardedGridSearchCV(Loud(), {}, cv=2, n_jobs=2, refit=False).fit(\n"
        "    np.ones((9, 2)), np.arange(9) % 2)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert out.stdout.count("printed") == 2
    assert "shown" in out.stderr
    assert "silenced" not in out.stderr


class Unimportable:
    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return (__import__, ("a_module_that_no_worker_has",))


def test_data_that_no_worker_can_load_is_an_error_of_the_search_and_not_of_three_trials(tmp_path):
    search = search_of(tmp_path, {1: Unimportable()})
    with pytest.raises(RuntimeError, match=r"could not be started.*a_module_that_no_worker_has"):
        fitted(search)
    assert search.failed_trials_ == []


class KillsWhoLoadsIt:
    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return (os._exit, (7,))


def test_workers_that_die_at_the_start_are_not_started_indefinitely(tmp_path):
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


def test_a_process_that_must_not_start_workers_is_an_error():
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


def test_what_cannot_be_sent_to_workers_is_an_error_with_advice(tmp_path):
    class Locked:
        def __deepcopy__(self, memo):
            return self

        def __reduce__(self):
            raise TypeError("cannot pickle a lock")

    with pytest.raises(TypeError, match=r"cannot pickle a lock.*n_jobs=1"):
        fitted(search_of(tmp_path, {1: Locked()}))


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
    """Keeps more memory than loky allows a process to grow by."""

    kept = []  # noqa: RUF012, for as long as the process lives

    def fit(self, X, y):
        self.kept.append(np.ones(50_000_000))
        time.sleep(1.2)  # loky looks every second
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
def test_the_threads_of_a_worker_are_its_part_or_the_number_set_in_joblib(monkeypatch, n_threads):
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
