"""Callbacks of Keras in a search do in each fold what they do in a separate ``Model.fit``."""

import contextlib
import http.server
import importlib.util
import json
import pickle
import threading

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import KFold, RandomizedSearchCV, cross_validate

from skguard import GuardedKerasRegressor

CALLBACKS = keras.callbacks
EPOCHS = 6
FOLDS = KFold(3)
ONE_TEST_ONLY = {"RemoteMonitor"}  # its server runs during one test


def build(units=6):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9, use_ema=True), "mse")
    return model


def halve(epoch, rate):
    return rate / 2


class Records(CALLBACKS.Callback):
    """Callback with a list of records."""

    def __init__(self):
        super().__init__()
        self.records = []

    def on_epoch_end(self, epoch, logs=None):
        self.records.append((epoch, logs["loss"]))


class Writes(CALLBACKS.Callback):
    """Callback with an open file."""

    def __init__(self, filepath):
        super().__init__()
        self.filepath = filepath

    def on_train_begin(self, logs=None):
        self.file = open(self.filepath, "w")  # noqa: SIM115

    def on_epoch_end(self, epoch, logs=None):
        self.file.write(f"{epoch} {logs['loss']}\n")

    def on_train_end(self, logs=None):
        self.file.close()
        del self.file


class StopsWith(CALLBACKS.Callback):
    """Callback that is constructed with another one and reads its records."""

    def __init__(self, records):
        super().__init__()
        self.records = records

    def on_epoch_end(self, epoch, logs=None):
        if len(self.records.records) == 4:
            self.model.stop_training = True


def referring():
    records = Records()
    return [records, StopsWith(records)]


MAKE = {
    "BackupAndRestore": lambda path: CALLBACKS.BackupAndRestore(path / "backup"),
    "CSVLogger": lambda path: CALLBACKS.CSVLogger(path / "log.csv"),
    "EarlyStopping": lambda path: CALLBACKS.EarlyStopping(
        "loss", patience=0, min_delta=0.3, restore_best_weights=True
    ),
    "History": lambda path: CALLBACKS.History(),
    "LambdaCallback": lambda path: CALLBACKS.LambdaCallback(on_epoch_end=print),
    "LearningRateScheduler": lambda path: CALLBACKS.LearningRateScheduler(halve),
    "ModelCheckpoint": lambda path: CALLBACKS.ModelCheckpoint(
        path / "best.weights.h5", monitor="loss", save_best_only=True, save_weights_only=True
    ),
    "ProgbarLogger": lambda path: CALLBACKS.ProgbarLogger(),
    "ReduceLROnPlateau": lambda path: CALLBACKS.ReduceLROnPlateau(
        "loss", patience=1, min_delta=0.5, factor=0.5
    ),
    "RemoteMonitor": lambda path: CALLBACKS.RemoteMonitor(
        json.loads((path / "server.json").read_text()), send_as_json=True
    ),
    "SwapEMAWeights": lambda path: CALLBACKS.SwapEMAWeights(),
    "TensorBoard": lambda path: CALLBACKS.TensorBoard(path / "board"),
    "TerminateOnNaN": lambda path: CALLBACKS.TerminateOnNaN(),
    "a list of records": lambda path: Records(),
    "an open file": lambda path: Writes(path / "losses.txt"),
    "a reference to another": lambda path: referring(),
}


@pytest.fixture
def path(tmp_path, request):
    """A folder; for RemoteMonitor, with the address of a running server in it."""
    if "RemoteMonitor" not in request.node.name:
        yield tmp_path
        return
    if importlib.util.find_spec("requests") is None:
        pytest.skip("keras.callbacks.RemoteMonitor needs requests")

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        (tmp_path / "server.json").write_text(json.dumps(address))
        yield tmp_path
        server.shutdown()


def estimator(callbacks, **settings):
    settings = {"epochs": EPOCHS, "batch_size": 8, "shuffle": False, "verbose": 0} | settings
    return GuardedKerasRegressor(build, callbacks=callbacks, random_state=0, **settings)


def fit_by_keras(callbacks, X, y):
    keras.utils.set_random_seed(0)
    model = build()
    keras.utils.set_random_seed(0)
    history = model.fit(
        X, y, epochs=EPOCHS, batch_size=8, shuffle=False, verbose=0, callbacks=callbacks
    ).history
    return model, history


def test_every_callback_of_keras_is_among_the_cases():
    not_tested = {"Callback", "CallbackList", "MonitorCallback"}  # base classes
    not_tested |= {"OrbaxCheckpoint"}  # for JAX, and needs orbax
    found = {name for name, value in vars(CALLBACKS).items() if isinstance(value, type)}
    assert found - not_tested == {name for name in MAKE if name[0].isupper()}


@pytest.mark.parametrize("name", MAKE)
def test_each_fold_equals_a_separate_training_by_keras(name, line, path):
    X, y = line
    apart = path / "apart"
    apart.mkdir()
    with contextlib.suppress(FileNotFoundError):
        (apart / "server.json").write_text((path / "server.json").read_text())
    expected = [fit_by_keras(MAKE[name](apart), X[train], y[train]) for train, _ in FOLDS.split(X)]
    for engine in ("fused", "keras"):
        passed = MAKE[name](path)
        network = estimator(passed, engine=engine)
        result = cross_validate(network, X, y, cv=FOLDS, return_estimator=True)
        for fitted, (model, history) in zip(result["estimator"], expected, strict=True):
            assert {key: fitted.history_[key] for key in history} == history
            assert all(map(np.array_equal, fitted.model_.get_weights(), model.get_weights()))
        for callback in [passed] if isinstance(passed, CALLBACKS.Callback) else passed:
            assert callback.model is None  # the object in the parameters is not trained with
            assert not isinstance(callback, Records) or callback.records == []
    last = result["estimator"][-1]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(last)).predict(X), last.predict(X))
    train = next(FOLDS.split(X))[0]
    again = clone(last).set_params(engine="fused").fit(X[train], y[train])
    np.testing.assert_array_equal(again.predict(X), result["estimator"][0].predict(X))


def test_two_workers_give_the_scores_of_one(line, path):
    candidates = {
        "callbacks": [make(path) for name, make in MAKE.items() if name not in ONE_TEST_ONLY]
    }
    results = {}
    for n_jobs in (1, 2):
        search = RandomizedSearchCV(
            estimator(None),
            candidates,
            n_iter=len(candidates["callbacks"]),
            cv=2,
            n_jobs=n_jobs,
            random_state=0,
        ).fit(*line)
        results[n_jobs] = search.cv_results_["mean_test_score"]
    np.testing.assert_array_equal(results[1], results[2])
    pickle.loads(pickle.dumps(search.best_estimator_))


@pytest.mark.parametrize("name", ["a list of records", "an open file"])
def test_a_custom_callback_records_its_own_fold(name, line, path):
    X, y = line
    result = cross_validate(estimator(MAKE[name](path)), X, y, cv=FOLDS, return_estimator=True)
    for fitted in result["estimator"]:
        (callback,) = fitted.callbacks_
        if name == "a list of records":
            records = callback.records
        else:
            with open(callback.filepath) as file:
                records = [(int(a), float(b)) for a, b in map(str.split, file)]
        assert records == list(enumerate(fitted.history_["loss"]))
