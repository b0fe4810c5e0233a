"""The loop and the monitoring know a protocol, and nothing of TensorFlow."""

import ast
from pathlib import Path

import keras
import numpy as np
import pytest

import skguard
from skguard import _engine as engine
from skguard._engine import backends
from skguard._engine.unsuitable import UnsuitableError
from tests.engine.parity import build
from tests.engine.stub import StubBackend

X = np.ones((50, 4), "float32")
Y = np.ones((50, 1), "float32")
FIT = {"batch_size": 16, "verbose": 0, "shuffle": False}


@pytest.fixture
def backend(monkeypatch):
    stub = StubBackend()
    monkeypatch.setattr(backends, "current", lambda: stub)
    return stub


def test_a_training_without_callbacks_takes_many_epochs_per_call(backend):
    run = engine.train(build(), X, Y, engine="fused", epochs=100, **FIT)
    assert (run.engine, run.reason, run.stop_reason) == ("fused", "stub", "max_epochs")
    assert run.history == {"loss": [100.0 - n for n in range(1, 101)]}
    sizes = [len(call.validates) for call in backend.stub_program.calls]
    assert sizes == [2, 4, 8, 16, 32, 38]
    assert not any(call.takes_snapshots for call in backend.stub_program.calls)
    assert (backend.n_released, backend.n_cleaned) == (1, 0)


def test_each_epoch_has_its_order_of_samples(backend):
    engine.train(build(), X, Y, engine="fused", epochs=7, **(FIT | {"shuffle": True}))
    orders = np.concatenate([call.orders for call in backend.stub_program.calls])
    assert orders.shape == (7, 50)
    assert len(np.unique(orders, axis=0)) == 7
    assert (np.sort(orders) == np.arange(50)).all()


def test_epochs_after_an_early_stop_are_discarded(backend):
    stop = keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True)
    arguments = FIT | {"epochs": 100, "validation_data": (X, Y), "callbacks": [stop]}
    run = engine.train(build(), X, Y, engine="fused", **arguments)
    # val_loss only grows: the first epoch is the best, and three more are tolerated.
    assert (run.stop_reason, run.n_epochs, run.best_epoch) == ("early_stopping", 4, 0)
    assert run.has_early_stopping
    program = backend.stub_program
    assert [len(call.validates) for call in program.calls] == [2, 4]
    assert all(call.takes_snapshots for call in program.calls)
    assert program.restored == [(n, True) for n in (1, 2, 3, 4)] + [(4, False)]
    assert program.n_trained == 4


def test_a_callback_with_epoch_hooks_gets_one_epoch_per_call(backend):
    epochs = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch))
    arguments = FIT | {"epochs": 5, "validation_data": (X, Y), "callbacks": [watch]}
    engine.train(build(), X, Y, engine="fused", **arguments)
    calls = backend.stub_program.calls
    assert epochs == [0, 1, 2, 3, 4]
    assert [(call.batches, call.validation_batches) for call in calls] == [((0, 4), (0, 4))] * 5


def test_a_callback_with_batch_hooks_gets_one_batch_per_call(backend):
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    engine.train(build(), X, Y, engine="fused", epochs=2, callbacks=[watch], **FIT)
    calls = backend.stub_program.calls
    assert [call.batches for call in calls] == [(0, 1), (1, 2), (2, 3), (3, 4)] * 2
    assert backend.stub_program.n_resets == 2


def test_a_program_that_cannot_run_whole_epochs_is_called_by_epoch(backend):
    program = backend.stub_program
    program.runs_whole_epochs = False
    run = engine.train(build(), X, Y, engine="fused", epochs=3, validation_data=(X, Y), **FIT)
    assert len(run.history["val_loss"]) == 3
    assert [(call.n_batches, call.n_validation_batches) for call in program.calls] == [
        (4, 0),
        (0, 4),
    ] * 3
    assert program.n_resets == 6


def test_a_slow_program_is_called_in_chunks(backend):
    backend.stub_program.seconds_per_batch = 0.1
    engine.train(build(), X, Y, engine="fused", epochs=1, **FIT)
    assert [call.batches for call in backend.stub_program.calls] == [(0, 2), (2, 4)]


def test_the_plan_has_the_sizes_of_the_data(backend):
    engine.train(build(), X, Y, engine="fused", epochs=1, validation_split=0.3, verbose=0)
    plan = backend.plan
    assert (plan.n_samples, plan.n_validation_samples) == (35, 15)
    assert (plan.batch_size, plan.n_batches, plan.n_validation_batches) == (32, 2, 1)


def test_a_program_is_not_released_after_an_error(backend, monkeypatch):
    def fail(call):
        raise OSError("injected")

    monkeypatch.setattr(backend.stub_program, "run", fail)
    with pytest.raises(OSError, match="injected"):
        engine.train(build(), X, Y, engine="fused", epochs=1, **FIT)
    assert backend.n_released == 0


def test_a_model_that_becomes_unsuitable_during_training_is_an_error(backend, monkeypatch):
    def change(call):
        raise UnsuitableError("it has changed")

    monkeypatch.setattr(backend.stub_program, "run", change)
    with pytest.raises(RuntimeError, match=r"callback has changed.*it has changed.*engine='keras'"):
        engine.train(build(), X, Y, engine="auto", epochs=1, **FIT)


def test_keras_trains_what_the_backend_cannot_and_the_backend_cleans_up(backend):
    backend.unsuitable = "a clause"
    with pytest.raises(ValueError, match="engine='fused' cannot run this training: a clause"):
        engine.train(build(), X, Y, engine="fused", epochs=1, **FIT)
    run = engine.train(build(), X, Y, engine="auto", epochs=1, **FIT)
    assert (run.engine, run.reason) == ("keras", "keras.Model.fit: a clause")
    assert (len(backend.stub_program.calls), backend.n_cleaned) == (0, 1)


def test_a_predictor_gets_the_samples_in_parts(backend):
    predicted = engine.predict(build(), X, engine="auto", verbose=0, batch_size=1)
    assert predicted[:, 0].tolist() == [32.0] * 32 + [18.0] * 18
    assert (backend.stub_predictor.n_calls, backend.n_released) == (2, 1)


def test_a_backend_without_an_engine_is_left_to_keras(monkeypatch):
    monkeypatch.setattr(backends, "_MODULES", {})
    run = engine.train(build(), X, Y, engine="auto", epochs=1, **FIT)
    assert run.reason == "keras.Model.fit: the backend of Keras is 'tensorflow'"
    assert engine.predict(build(), X, engine="auto", verbose=0).shape == (50, 1)


SOURCES = sorted((Path(skguard.__file__).parent / "_engine").glob("*.py"))
# These export what belongs to TensorFlow, by modules that import it only where it is running.
ALLOWED = {
    "__init__.py": {
        "skguard._engine.tensorflow.cache",
        "skguard._engine.tensorflow.threads",
        "skguard._engine.tensorflow.encoding",
    },
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_module_outside_the_backend_imports_tensorflow(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            assert path.name == "backends.py", "imports a module by its name"
    allowed = ALLOWED.get(path.name, set())
    found = {name for name in imported if "tensorflow" in name.split(".")}
    assert {name for name in found if not any(name.startswith(a) for a in allowed)} == set()


def test_the_loop_the_monitoring_and_the_protocol_are_among_those_modules():
    names = {path.name for path in SOURCES}
    assert {"loop.py", "monitor.py", "protocol.py", "prediction.py", "api.py"} <= names


def callback_classes_named_in(tree):
    """Classes of callbacks that `isinstance`, or a comparison of types, names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            yield from (a for a in node.args[1:] if "callbacks." in ast.unparse(a))
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            yield from (s for s in sides if "keras.callbacks." in ast.unparse(s))


@pytest.mark.parametrize(
    "path", sorted((Path(skguard.__file__).parent / "_engine").rglob("*.py")), ids=lambda p: p.name
)
def test_no_module_of_the_engine_tests_the_class_of_a_callback(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [ast.unparse(node) for node in callback_classes_named_in(tree)] == []
