"""Callbacks that monitor a metric: names that are not logged, and NaN."""

import keras
import numpy as np
import pytest

from skguard import _engine as engine
from tests.engine.monitoring import (
    FAIL,
    Log,
    Watch,
    build_sgd,
    early,
)
from tests.engine.parity import FIT, build, same

FIRST_NAN = [np.nan, np.nan, 0.5, 0.7, 0.6]


def test_a_first_nan_is_never_the_best_of_early_stopping(kind, data):
    watch = Watch()
    stop = early("val_auc", mode="max", patience=99, restore_best_weights=True)
    callbacks = [Log("val_auc", FIRST_NAN), watch, stop]
    model = build()
    run = engine.train(
        model, *data, engine=kind, limits=FAIL, callbacks=callbacks, **(FIT | {"epochs": 5})
    )
    assert (stop.best, run.best_epoch) == (0.7, 3)
    assert same(model.get_weights(), watch.weights[3])
    assert same(run.history["val_auc"], FIRST_NAN)


def test_early_stopping_still_stops_after_a_first_nan(kind, data):
    stop = early("val_auc", mode="max", patience=2)
    values = [np.nan, 0.5, 0.4, 0.4, 0.9, 0.9]
    callbacks = [Log("val_auc", values), stop]
    run = engine.train(
        build(), *data, engine=kind, limits=FAIL, callbacks=callbacks, **(FIT | {"epochs": 6})
    )
    assert (run.stop_reason, run.n_epochs, run.best_epoch) == ("early_stopping", 4, 1)


def test_a_first_nan_is_never_the_best_of_a_plateau(kind, data):
    plateau = keras.callbacks.ReduceLROnPlateau("val_auc", mode="max", patience=2, factor=0.5)
    callbacks = [Log("val_auc", FIRST_NAN), plateau]
    model = build_sgd()
    engine.train(
        model, *data, engine=kind, limits=FAIL, callbacks=callbacks, **(FIT | {"epochs": 5})
    )
    assert plateau.best == 0.7
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05)


def test_a_first_nan_is_never_saved_as_the_best(kind, data, tmp_path):
    save = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch}.weights.h5",
        "val_auc",
        mode="max",
        save_best_only=True,
        save_weights_only=True,
    )
    watch = Watch()
    callbacks = [Log("val_auc", FIRST_NAN), watch, save]
    model = build()
    engine.train(
        model, *data, engine=kind, limits=FAIL, callbacks=callbacks, **(FIT | {"epochs": 5})
    )
    assert save.best == 0.7
    # Keras counts from 1 in file names.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3.weights.h5", "4.weights.h5"]
    model.load_weights(tmp_path / "4.weights.h5")
    assert same(model.get_weights(), watch.weights[3])


@pytest.mark.filterwarnings("ignore:Early stopping conditioned on metric:UserWarning")
def test_a_first_nan_is_never_the_best_where_not_every_epoch_is_validated(kind, data):
    values = [None, np.nan, None, 0.7, None, 0.5]
    stop = early("val_mae", mode="max", patience=99)
    arguments = FIT | {"epochs": 6, "validation_freq": 2, "validation_split": 0.3}
    run = engine.train(
        build(),
        *data,
        engine=kind,
        limits=FAIL,
        callbacks=[Log("val_mae", values), stop],
        **arguments,
    )
    assert (stop.best, run.best_epoch) == (0.7, 3)


def monitors(tmp_path):
    return {
        "EarlyStopping": keras.callbacks.EarlyStopping,
        "ReduceLROnPlateau": keras.callbacks.ReduceLROnPlateau,
        "ModelCheckpoint": lambda monitor, **settings: keras.callbacks.ModelCheckpoint(
            tmp_path / "best.keras", monitor, save_best_only=True, **settings
        ),
    }


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("EarlyStopping", "auto"),
        ("EarlyStopping", "max"),
        ("ReduceLROnPlateau", "max"),
        ("ModelCheckpoint", "max"),
    ],
)
def test_a_misspelt_monitor_is_an_error_in_the_first_epoch(name, mode, kind, data, tmp_path):
    watch = Watch()
    callback = monitors(tmp_path)[name]("val_mea", mode=mode)
    with pytest.raises(
        ValueError,
        match=rf"monitor='val_mea' of {name} is not among.*epoch 0.*'val_loss'.*"
        r"Did you mean 'val_mae'",
    ):
        engine.train(
            build(), *data, engine=kind, validation_split=0.3, callbacks=[callback, watch], **FIT
        )
    assert watch.n_calls["on_epoch_end"] == 0


@pytest.mark.filterwarnings("ignore:Early stopping conditioned on metric:UserWarning")
@pytest.mark.parametrize("monitor", ["val_mae", "val_mea"])
def test_a_monitor_may_wait_for_validation_but_not_for_nothing(monitor, kind, data):
    arguments = FIT | {"validation_freq": 2, "validation_split": 0.3, "epochs": 4}
    arguments["callbacks"] = [early(monitor, mode="min", patience=99)]
    if monitor == "val_mae":
        assert engine.train(build(), *data, engine=kind, **arguments).n_epochs == 4
        return
    with pytest.raises(ValueError, match="epoch 0"):
        engine.train(build(), *data, engine=kind, **arguments)


def test_a_checkpoint_of_every_epoch_monitors_nothing(kind, data, tmp_path):
    save = keras.callbacks.ModelCheckpoint(tmp_path / "last.keras", "val_unknown", mode="max")
    run = engine.train(build(), *data, engine=kind, limits=FAIL, callbacks=[save], **FIT)
    assert run.n_epochs == 3
    assert (tmp_path / "last.keras").exists()


@pytest.mark.parametrize("name", ["EarlyStopping", "ReduceLROnPlateau", "ModelCheckpoint"])
def test_what_an_earlier_callback_logs_can_be_monitored(name, kind, data, tmp_path):
    callback = monitors(tmp_path)[name]("own", mode="max")
    values = [0.1, 0.3, 0.2]
    callbacks = [Log("own", values), callback]
    run = engine.train(build(), *data, engine=kind, limits=FAIL, callbacks=callbacks, **FIT)
    assert callback.best == 0.3
    assert run.history["own"] == values
