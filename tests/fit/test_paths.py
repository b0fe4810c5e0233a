"""A constructed estimator writes to the paths that were passed, each clone to its own folder."""

import os
from pathlib import Path

import keras
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from skguard import GuardedKerasRegressor
from skguard._fit.paths import FitPaths
from skguard.callbacks import Shared
from skguard.callbacks._traits import Traits
from tests.models import build_regressor

MAKERS = {
    "CSVLogger": lambda folder: keras.callbacks.CSVLogger(os.path.join(folder, "out.csv")),
    "ModelCheckpoint": lambda folder: keras.callbacks.ModelCheckpoint(
        Path(folder, "{epoch}.keras"), monitor="loss"
    ),
    "TensorBoard": lambda folder: keras.callbacks.TensorBoard(Path(folder, "board")),
    "BackupAndRestore": lambda folder: keras.callbacks.BackupAndRestore(
        os.path.join(folder, "backup"), delete_checkpoint=False
    ),
    "custom": lambda folder: Note(Path(folder, "note.txt")),
}


class Note(keras.callbacks.Callback):
    def __init__(self, where):
        super().__init__()
        self._where = where

    def on_train_end(self, logs=None):
        with open(self._where, "a") as file:
            file.write("trained\n")


def network(**kwargs):
    return GuardedKerasRegressor(build_regressor, loss="mse", verbose=0, random_state=0, **kwargs)


def written(folder):
    """Return the files below `folder` as tuples of the parts of their paths."""
    files = (path.relative_to(folder).parts for path in Path(folder).rglob("*") if path.is_file())
    return {(parts[0], *parts[1:]) for parts in files}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_constructed_estimator_writes_to_the_paths_that_were_passed(make, line, tmp_path):
    network(callbacks=[make(str(tmp_path))]).fit(*line)
    assert written(tmp_path)
    assert not any(parts[0].startswith("fit-") for parts in written(tmp_path))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_every_fold_writes_to_another_folder(make, line, tmp_path):
    cross_val_score(network(callbacks=[make(str(tmp_path))]), *line, cv=2)
    folders = {parts[0] for parts in written(tmp_path)}
    assert len(folders) == 2
    assert all(folder.startswith("fit-") for folder in folders)


def test_parallel_folds_write_to_different_files(line, tmp_path):
    estimator = network(callbacks=[MAKERS["CSVLogger"](str(tmp_path))], epochs=2)
    cross_val_score(estimator, *line, cv=4, n_jobs=2)
    logs = [Path(tmp_path, *parts).read_text() for parts in written(tmp_path)]
    assert len(logs) == 4
    assert all(log.count("\n") == 3 for log in logs)  # a header and two epochs each


def test_callbacks_of_a_fitted_clone_have_the_paths_that_they_wrote_to(line, tmp_path):
    estimator = clone(network(callbacks=[MAKERS["CSVLogger"](str(tmp_path))])).fit(*line)
    (where,) = written(tmp_path)
    assert Path(estimator.callbacks_[0].filename) == Path(tmp_path, *where)


@pytest.mark.parametrize("make_estimator", [lambda e: e, clone], ids=["constructed", "clone"])
def test_fit_id_in_a_path_is_filled_in_for_estimators_and_clones(make_estimator, line, tmp_path):
    logger = keras.callbacks.CSVLogger(str(tmp_path / "run-{fit_id}" / "log.csv"))
    estimator = make_estimator(network(callbacks=[logger]))
    estimator.fit(*line).fit(*line)
    runs = sorted(path.parent.name for path in tmp_path.rglob("log.csv"))
    assert len(set(runs)) == 2
    assert all(run.startswith("run-") and "{" not in run for run in runs)


def test_a_default_path_is_replaced_like_one_that_was_passed(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clone(network(callbacks=keras.callbacks.TensorBoard)).fit(*line)
    ((folder, name, *_),) = {parts[:2] for parts in written(tmp_path)}
    assert folder.startswith("fit-")
    assert name == "logs"


def test_a_path_for_a_class_is_replaced_before_it_is_constructed(line, tmp_path):
    estimator = network(callbacks=[Opens], callbacks__0__filename=str(tmp_path / "log.txt"))
    clone(estimator).fit(*line)
    ((folder, name),) = written(tmp_path)
    assert folder.startswith("fit-")
    assert name == "log.txt"


class Opens(keras.callbacks.Callback):
    def __init__(self, filename):
        super().__init__()
        self.file = open(filename, "w")  # noqa: SIM115

    def on_train_end(self, logs=None):
        self.file.close()


def test_shared_callbacks_write_to_the_path_that_was_passed_in_clones_too(line, tmp_path):
    logger = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"), append=True)
    cross_val_score(network(callbacks=Shared(logger)), *line, cv=2)
    assert written(tmp_path) == {("log.csv",)}


def test_empty_folders_are_removed_after_a_fit(line, tmp_path):
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    clone(network(callbacks=backup)).fit(*line)
    assert list(tmp_path.iterdir()) == []


def test_a_fit_that_raises_leaves_no_folder(line, tmp_path):
    logger = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    estimator = clone(network(callbacks=[logger, "no callback"]))
    with pytest.raises(TypeError, match="no callback"):
        estimator.fit(*line)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["gs://bucket/logs", "runs/{epoch}/w.keras"])
def test_folders_of_urls_and_of_names_with_fields_are_not_created(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = FitPaths(apart=True, fit_id="x")
    assert paths.place(path) == f"{os.path.dirname(path)}/fit-x/{os.path.basename(path)}"
    assert list(tmp_path.iterdir()) == []


def test_the_path_of_a_url_is_not_replaced():
    monitor = keras.callbacks.RemoteMonitor(path="/publish/epoch/end/")
    FitPaths(apart=True).place_callback(monitor)
    assert monitor.path == "/publish/epoch/end/"


class Poster(keras.callbacks.Callback):
    """Declares that it does not write files."""

    traits = Traits(writes_files=False)

    def __init__(self, path="/publish"):
        super().__init__()
        self.path = path


def test_paths_of_a_callback_that_declares_not_to_write_files_are_not_replaced():
    callback, paths = Poster("/events"), FitPaths(apart=True)
    paths.place_callback(callback)
    assert callback.path == "/events"
    assert paths.place_arguments(Poster, {}) == {}


@pytest.mark.parametrize("kind", [str, Path])
def test_the_type_of_a_path_is_kept(kind, tmp_path):
    placed = FitPaths(apart=True).place(kind(tmp_path / "log.csv"))
    assert isinstance(placed, kind)
