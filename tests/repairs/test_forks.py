"""Forked processes in which TensorFlow would hang raise an error at once.

Each script runs in a new process, which forks. Children that hang are killed after a time limit,
so that they fail their test only.
"""

import json
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from skguard.exceptions import ForkedProcessError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

SECONDS = 5.0  # the time limit within which a child has to raise

COMMON = """
import json, os, pickle, select, signal, sys, time, warnings
import numpy as np

results = {}

def in_child(act, limit=60):
    "Return the value or error of `act` in a forked process, and the seconds that it took."
    reader, writer = os.pipe()
    started = time.monotonic()
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's own, of forks beside threads
        pid = os.fork()
    if pid == 0:
        try:
            value, error, message = act(), None, ""
        except BaseException as raised:
            value, error, message = None, type(raised).__name__, str(raised)
        record = {"value": value, "error": error, "message": message}
        os.write(writer, json.dumps(record).encode())
        os._exit(0)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], limit)
    text = os.read(reader, 65536) if ready else b""
    if not text:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reader)
    record = json.loads(text or b'{"value": null, "error": "hang", "message": ""}')
    return record | {"seconds": time.monotonic() - started}

def make(**params):
    import keras
    from skguard import GuardedKerasClassifier

    def build(meta):
        layers = [keras.Input((meta["n_features_in_"],))]
        return keras.Sequential(layers + [keras.layers.Dense(meta["n_classes_"], "softmax")])

    params = {"loss": "sparse_categorical_crossentropy", "random_state": 0} | params
    return GuardedKerasClassifier(params.pop("model", build), verbose=0, **params)

X = np.random.default_rng(0).normal(size=(40, 3))
y = np.arange(40) % 2
"""


def run_script(script, folder):
    path = folder / "script.py"
    path.write_text(COMMON + textwrap.dedent(script) + "\nprint(json.dumps(results))\n")
    root = Path(__file__).parents[2]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


AFTER_USE = """
import functools, multiprocessing
import keras
from sklearn.base import clone

def build_function(meta):
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])

fitted = make(model=build_function).fit(X, y)
with_objects = clone(fitted).set_params(optimizer=keras.optimizers.Adam(0.1)).fit(X, y)
regular = make(model=build_function, max_retries=3)
sent = pickle.dumps(fitted)
sent_unfitted = pickle.dumps(make(model=build_function, optimizer=keras.optimizers.Adam(0.1)))

def unpickled(method, *args):
    return lambda: getattr(pickle.loads(sent), method)(*args)

def search():
    from sklearn.model_selection import GridSearchCV
    grid = {"epochs": [1, 2]}
    GridSearchCV(clone(fitted), grid, cv=2, error_score="raise").fit(X, y)

def grandchild():
    inner = in_child(lambda: fitted.predict(X), limit=20)
    return [inner["error"], inner["seconds"]]

actions = {
    "fit": lambda: fitted.fit(X, y),
    "fit of one never fitted": lambda: regular.fit(X, y),
    "fit of a clone": lambda: clone(fitted).fit(X, y),
    "fit with objects": lambda: with_objects.fit(X, y),
    "warm start": lambda: fitted.set_params(warm_start=True).fit(X, y),
    "partial_fit": lambda: fitted.partial_fit(X, y),
    "first partial_fit": lambda: clone(fitted).partial_fit(X, y, classes=[0, 1]),
    "initialize": lambda: clone(fitted).initialize(X, y),
    "predict": lambda: fitted.predict(X),
    "predict_proba": lambda: fitted.predict_proba(X),
    "score": lambda: fitted.score(X, y),
    "unpickle and predict": unpickled("predict", X),
    "unpickle and fit": unpickled("fit", X, y),
    "unpickle and score": unpickled("score", X, y),
    "unpickle and initialize": unpickled("initialize", X, y),
    "unpickle and partial_fit": unpickled("partial_fit", X, y),
    "unpickle unfitted and fit": lambda: pickle.loads(sent_unfitted).fit(X, y),
    "unpickle and clone and fit": lambda: clone(pickle.loads(sent)).fit(X, y),
    "pickle": lambda: len(pickle.dumps(fitted)),
    "search": search,
}
for name, act in actions.items():
    results[name] = in_child(act, limit=15)
results["grandchild"] = in_child(grandchild)
results["parent"] = {"value": fitted.fit(X, y).predict(X).tolist()}

started = time.monotonic()
try:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map_async(fitted.predict, [X, X]).get(timeout=15)
    error, message = None, ""
except BaseException as raised:
    error, message = type(raised).__name__, str(raised)
seconds = time.monotonic() - started
results["pool"] = {"error": error, "message": message, "seconds": seconds}
"""

JOBLIB = """
    import faulthandler
    import joblib, keras
    from sklearn.model_selection import cross_val_score

    def build_function(meta):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])

    faulthandler.dump_traceback_later(60, exit=True)
    estimator = make(model=build_function).fit(X, y)
    started = time.monotonic()
    try:
        with joblib.parallel_backend("multiprocessing"):
            cross_val_score(estimator, X, y, cv=2, n_jobs=2, error_score="raise")
        error, message = None, ""
    except BaseException as raised:
        error, message = type(raised).__name__, str(raised)
    seconds = time.monotonic() - started
    results["joblib"] = {"error": error, "message": message, "seconds": seconds}
"""

ACTIONS = [
    "fit",
    "fit of one never fitted",
    "fit of a clone",
    "fit with objects",
    "warm start",
    "partial_fit",
    "first partial_fit",
    "initialize",
    "predict",
    "predict_proba",
    "score",
    "unpickle and predict",
    "unpickle and fit",
    "unpickle and score",
    "unpickle and initialize",
    "unpickle and partial_fit",
    "unpickle unfitted and fit",
    "unpickle and clone and fit",
    "pickle",
    "search",
    "pool",
]


@pytest.fixture(scope="module")
def after_use(tmp_path_factory):
    """Values and errors of the children of a process that has fitted."""
    return run_script(AFTER_USE, tmp_path_factory.mktemp("after"))


@pytest.mark.parametrize("action", ACTIONS)
def test_a_child_that_would_hang_raises_at_once(action, after_use):
    record = after_use[action]
    assert record["error"] == "ForkedProcessError", record
    assert "loky" in record["message"]
    assert record["seconds"] < SECONDS


def test_a_grandchild_that_would_hang_raises_at_once(after_use):
    error, seconds = after_use["grandchild"]["value"]
    assert error == "ForkedProcessError"
    assert seconds < SECONDS


def test_the_parent_continues_to_fit_and_predict(after_use):
    assert len(after_use["parent"]["value"]) == 40


def test_the_multiprocessing_backend_of_joblib_raises_at_once_after_a_fit(tmp_path):
    record = run_script(JOBLIB, tmp_path)["joblib"]
    assert record["error"] == "ForkedProcessError", record
    assert "loky" in record["message"]
    assert record["seconds"] < SECONDS


BEFORE_USE = """
    import skguard
    import tensorflow as tf

    pools = tf.config.threading

    def threads():
        return [
            pools.get_inter_op_parallelism_threads(),
            pools.get_intra_op_parallelism_threads(),
        ]

    def child():
        before = threads()
        fitted = make().fit(X, y)
        return [before, threads(), fitted.predict(X).tolist()]

    def child_that_has_children():
        make().fit(X, y)
        inner = in_child(lambda: make().fit(X, y), limit=20)
        return [inner["error"], inner["seconds"]]

    def child_that_uses_nothing():
        return in_child(child, limit=60)

    results["defaults"] = [threads(), in_child(child), threads()]
    pools.set_inter_op_parallelism_threads(3)
    pools.set_intra_op_parallelism_threads(2)
    results["set"] = [threads(), in_child(child), threads()]
    results["used in between"] = in_child(child_that_has_children)
    results["grandchild"] = in_child(child_that_uses_nothing)
    make().fit(X, y)
    results["parent"] = threads()
    results["after"] = in_child(lambda: make().fit(X, y), limit=15)
"""


@pytest.fixture(scope="module")
def before_use(tmp_path_factory):
    """Values and errors of the children of a process that has imported TensorFlow only."""
    return run_script(BEFORE_USE, tmp_path_factory.mktemp("before"))


@pytest.mark.parametrize("kind", ["defaults", "set"])
def test_a_child_from_before_the_first_use_trains_with_the_settings_of_its_parent(kind, before_use):
    before, child, after = before_use[kind]
    assert before == after == ([0, 0] if kind == "defaults" else [3, 2])
    assert child["error"] is None, child
    at_start, at_end, predicted = child["value"]
    assert at_start == at_end == before
    assert len(predicted) == 40


def test_a_grandchild_from_before_the_first_use_trains(before_use):
    assert before_use["grandchild"]["error"] is None
    inner = before_use["grandchild"]["value"]
    assert inner["error"] is None, inner
    assert len(inner["value"][2]) == 40


def test_a_grandchild_from_after_the_first_use_of_its_parent_raises_at_once(before_use):
    error, seconds = before_use["used in between"]["value"]
    assert error == "ForkedProcessError"
    assert seconds < SECONDS


def test_a_parent_trains_after_its_children_and_the_next_child_raises(before_use):
    assert before_use["parent"] == [3, 2]
    assert before_use["after"]["error"] == "ForkedProcessError"
    assert before_use["after"]["seconds"] < SECONDS


IMPORTED_LATE = """
    import keras
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.predict(X, verbose=0)
    results["late"] = in_child(lambda: make().fit(X, y), limit=12)
"""


def test_a_child_that_imports_this_package_after_the_fork_raises(tmp_path):
    record = run_script(IMPORTED_LATE, tmp_path)["late"]
    assert record["error"] == "ForkedProcessError", record
    assert record["seconds"] < 2 * SECONDS  # it imports scikit-learn and more


def test_the_error_survives_pickling():
    twin = pickle.loads(pickle.dumps(ForkedProcessError()))
    assert type(twin) is ForkedProcessError
    assert str(twin) == str(ForkedProcessError())
    assert "loky" in str(twin)
