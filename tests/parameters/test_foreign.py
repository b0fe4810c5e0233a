"""Objects of others in callbacks: shared with the copies, or named once the copies have changed."""

import collections
import functools
import io
import logging
import types

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from skguard._parameters import copies, foreign
from skguard.callbacks import RevertWeights, ScorerMonitor, Shared
from tests.models import make_regressor

CALLBACKS = keras.callbacks


class Log(CALLBACKS.Callback):
    """Calls a function with the object that it was constructed with, after each epoch."""

    def __init__(self, target, write):
        super().__init__()
        self._target = target
        self.write = write

    def on_epoch_end(self, epoch, logs=None):
        self.write(self._target, logs["loss"])


class Recorder:
    def __init__(self):
        self.losses = []
        self.last = None

    def save(self, epoch, logs):
        self.losses.append(logs["loss"])

    def set_last(self, loss):
        self.last = loss


def assign_first(target, loss):
    target[0] = loss


RECORDS = {
    "list": (list, list.append),
    "dict": (dict, lambda target, loss: target.update(loss=loss)),
    "nested": (lambda: {"loss": []}, lambda target, loss: target["loss"].append(loss)),
    "set": (set, set.add),
    "deque": (collections.deque, collections.deque.append),
    "replaced value": (lambda: [None], assign_first),
    "array": (lambda: np.zeros(2), assign_first),
    "text": (io.StringIO, lambda target, loss: target.write(str(loss))),
    "object": (Recorder, Recorder.set_last),
    "list of an object": (Recorder, lambda target, loss: target.losses.append(loss)),
    "subclass": (collections.Counter, lambda target, loss: target.update([loss])),
}

LOST = r"has changed _target of Log \(of type {}\), in the copies.*Shared\(callback\)"


@pytest.mark.parametrize("copied", [lambda e: e, clone], ids=["fit", "clone"])
@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_only_a_copy_of_the_callback_has_filled_is_named(name, copied, line):
    make, write = RECORDS[name]
    record = make()
    estimator = copied(make_regressor(callbacks=[Log(record, write)], epochs=2))
    with pytest.warns(UserWarning, match=LOST.format(type(record).__name__)) as caught:
        estimator.fit(*line)
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", RECORDS)
def test_a_shared_callback_fills_the_record_without_a_warning(name, line):
    make, write = RECORDS[name]
    record, seen = make(), []
    shared = Shared(Log(record, lambda target, loss: (write(target, loss), seen.append(target))))
    make_regressor(callbacks=[shared], epochs=2).fit(*line)
    assert seen == [record, record] or seen[0] is record


@pytest.mark.parametrize("name", RECORDS)
def test_nothing_is_said_of_a_record_that_nobody_else_has(name, line):
    make, write = RECORDS[name]
    make_regressor(callbacks=[Log(make(), write)], epochs=2).fit(*line)


class Own(CALLBACKS.Callback):
    """Creates its records itself, in all ways that come to mind."""

    def __init__(self, records=None, sizes=(1, 2)):
        super().__init__()
        self.records = [] if records is None else records
        self.sizes = sizes
        self.by_name = {"records": self.records}
        self.recorder = Recorder()
        self.save = self.recorder.save
        self.partial = functools.partial(self.recorder.save, 0)

    def on_epoch_end(self, epoch, logs=None):
        self.records.append(logs["loss"])
        self.by_name[epoch] = logs["loss"]
        self.save(epoch, logs)
        self.partial(logs)


class Renews(Log):
    """Fills a list of its own, whatever it was constructed with."""

    def on_train_begin(self, logs=None):
        self._target = []


def test_nothing_is_said_of_records_that_a_callback_creates(line):
    unused = []
    callbacks = [Own(), Own(), Renews(unused, list.append)]
    estimator = make_regressor(callbacks=callbacks, epochs=2).fit(*line)
    assert len(estimator.callbacks_[0].records) == 2
    assert len(estimator.callbacks_[0].recorder.losses) == 4
    assert callbacks[0].records == callbacks[0].recorder.losses == []
    cross_val_score(estimator, *line, cv=2)


def test_nothing_is_said_of_data_that_a_callback_only_reads(line):
    data = {"X": line[0], "names": ["a"], "deep": {"y": line[1]}, "recorder": Recorder()}
    callback = Log(data, lambda target, loss: len(target["names"]))
    make_regressor(callbacks=[callback]).fit(*line)


def callbacks_of_the_package(path):
    C = CALLBACKS
    return [
        C.EarlyStopping("loss", restore_best_weights=True),
        C.ModelCheckpoint(path / "m.weights.h5", monitor="loss", save_weights_only=True),
        C.CSVLogger(path / "log.csv"),
        C.TensorBoard(path / "board"),
        C.LearningRateScheduler(lambda epoch, rate: rate),
        C.LambdaCallback(on_epoch_end=print_nothing),
        C.History(),
        C.TerminateOnNaN(),
        RevertWeights("loss"),
        ScorerMonitor("r2"),
    ]


def print_nothing(epoch, logs):
    pass


def test_nothing_is_said_of_the_callbacks_of_keras_and_of_this_package(line, tmp_path):
    callbacks = callbacks_of_the_package(tmp_path)
    held = [dict(vars(callback)) for callback in callbacks]  # a second reference to all they hold
    estimator = make_regressor(callbacks=callbacks, validation_split=0.2, epochs=3)
    estimator.fit(*line).fit(*line)
    clone(estimator).fit(*line)
    assert len(held) == len(callbacks)


def test_a_list_that_a_function_closes_over_is_filled(line):
    losses = []
    callbacks = [
        CALLBACKS.LambdaCallback(on_epoch_end=lambda epoch, logs: losses.append(epoch)),
        CALLBACKS.LambdaCallback(on_train_end=losses.append),
    ]
    make_regressor(callbacks=callbacks, epochs=2).fit(*line)
    assert losses[:2] == [0, 1]
    assert len(losses) == 3


def test_a_method_that_is_passed_as_a_function_is_that_of_the_same_object(line):
    recorder = Recorder()
    callback = CALLBACKS.LambdaCallback(on_epoch_end=recorder.save)
    clone(make_regressor(callbacks=[callback], epochs=2)).fit(*line)
    assert len(recorder.losses) == 2


def test_a_logger_is_the_same_in_every_copy(line, caplog):
    logger = logging.getLogger("epochs")
    callback = Log(logger, lambda target, loss: target.warning("loss %s", loss))
    make_regressor(callbacks=[callback]).fit(*line)
    assert len(caplog.records) == 1


def test_a_warm_start_names_what_was_lost_in_each_fit(line):
    record = []
    estimator = make_regressor(callbacks=[Log(record, list.append)], warm_start=True)
    for _ in range(2):
        with pytest.warns(UserWarning, match="_target of Log"):
            estimator.fit(*line)
    assert record == []


# Objects of Optuna, or of a module of its name, as it is not among the dependencies.


def make_optuna():
    module = types.ModuleType("optuna.trial")

    class Study:
        def __init__(self):
            self.reports = []

    class Trial:
        def __init__(self, study):
            self.study = study

        def report(self, value, step):
            self.study.reports.append((step, value))

        def should_prune(self):
            return len(self.study.reports) >= 2

    class TrialPruned(Exception):  # noqa: N818, its name in Optuna
        pass

    for cls in (Study, Trial, TrialPruned):
        cls.__module__ = module.__name__
        setattr(module, cls.__name__, cls)
    return module


OPTUNA = make_optuna()


class Pruning(CALLBACKS.Callback):
    """As ``optuna_integration.KerasPruningCallback``."""

    def __init__(self, trial):
        super().__init__()
        self._trial = trial

    def on_epoch_end(self, epoch, logs=None):
        self._trial.report(logs["loss"], step=epoch)
        if self._trial.should_prune():
            raise OPTUNA.TrialPruned(f"Trial was pruned at epoch {epoch}.")


@pytest.mark.parametrize("held", ["trial", "list of trials", "subclass of Trial"])
def test_a_copy_of_a_pruning_callback_reports_to_the_study_itself(held, line):
    study = OPTUNA.Study()
    trial = OPTUNA.Trial(study)
    if held == "subclass of Trial":
        trial = type("MyTrial", (OPTUNA.Trial,), {})(study)
    callback = Pruning(trial)
    if held == "list of trials":
        callback.trials = [trial]
    estimator = clone(make_regressor(callbacks=[callback], epochs=5, max_retries=3))
    with pytest.raises(OPTUNA.TrialPruned, match="epoch 1") as raised:
        estimator.fit(*line)
    assert [step for step, _ in study.reports] == [0, 1]
    assert len(raised.value.attempts) == 1
    twin = copies.copy_callbacks({"callbacks": callback})["callbacks"]
    assert twin._trial is trial
    assert held != "list of trials" or twin.trials[0] is trial


def test_references_from_outside_are_told_from_those_of_the_callback():
    kept = {"list": [], "dict": {}, "object": Recorder(), "array": np.zeros(3)}
    attributes = dict(kept)
    walk = foreign._Walk()
    walk.enter(attributes)
    assert walk.referred_to_from_outside() == {id(value) for value in kept.values()}
    attributes = {"list": [[]], "dict": {"a": {}}, "object": Recorder(), "array": np.zeros(3)}
    walk = foreign._Walk()
    walk.enter(attributes)
    assert not walk.referred_to_from_outside()


def test_callbacks_with_many_objects_are_not_searched_for_long(line):
    pairs = [(number, (number, number)) for number in range(1000)]
    callback = Log(pairs, lambda target, loss: None)
    callback.tree = [[[list(pairs) for _ in range(50)] for _ in range(10)] for _ in range(10)]
    assert foreign.Holdings.of([callback]).foreign == [(callback, set())]
    make_regressor(callbacks=[callback]).fit(*line)
