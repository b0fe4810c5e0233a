"""Callbacks that monitor a metric or set the learning rate are checked for what they need."""

import keras
import pytest
from sklearn.model_selection import GridSearchCV

from skguard import GuardedKerasRegressor
from tests.fit.probes import ENGINES, LogsValues, RecordsEpochs
from tests.models import build_regressor, make_classifier, make_regressor


@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.EarlyStopping("val_loss"),
        keras.callbacks.EarlyStopping("val_accuracy", mode="max"),
        keras.callbacks.ReduceLROnPlateau("val_loss"),
        keras.callbacks.ModelCheckpoint("best.keras", "val_loss", save_best_only=True),
    ],
    ids=["EarlyStopping", "mode", "ReduceLROnPlateau", "ModelCheckpoint"],
)
def test_monitoring_a_validation_metric_without_a_validation_set_raises_before_training(
    callback, tmp_path, monkeypatch, blobs, begun
):
    monkeypatch.chdir(tmp_path)
    name, monitor = type(callback).__name__, callback.monitor
    estimator = make_classifier(callbacks=[RecordsEpochs(), callback])
    with pytest.raises(ValueError, match=rf"monitor='{monitor}' of {name} .* validation_fraction"):
        estimator.fit(*blobs)
    assert begun == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "make",
    [
        keras.callbacks.EarlyStopping,
        keras.callbacks.ReduceLROnPlateau,
        lambda monitor, **kwargs: keras.callbacks.ModelCheckpoint(
            "best.keras", monitor, save_best_only=True, **kwargs
        ),
    ],
    ids=["EarlyStopping", "ReduceLROnPlateau", "ModelCheckpoint"],
)
@pytest.mark.parametrize("mode", [{}, {"mode": "max"}], ids=["", "mode"])
def test_a_misspelt_monitor_raises_after_one_epoch_with_the_closest_name(
    make, mode, tmp_path, monkeypatch, blobs, begun
):
    monkeypatch.chdir(tmp_path)
    estimator = make_classifier(
        callbacks=[RecordsEpochs(), make("val_acuracy", **mode)],
        metrics=["accuracy"],
        validation_fraction=0.2,
        epochs=5,
    )
    with pytest.raises(ValueError, match=r"'val_acuracy' of .*Did you mean 'val_accuracy'"):
        estimator.fit(*blobs)
    assert begun == [0]
    assert not hasattr(estimator, "model_")


def test_a_misspelt_monitor_raises_in_a_search(blobs):
    estimator = make_classifier(
        callbacks=keras.callbacks.EarlyStopping("acuracy", mode="max"), metrics=["accuracy"]
    )
    with pytest.raises(ValueError, match=r"Did you mean 'accuracy'"):
        GridSearchCV(estimator, {"units": [2, 3]}, cv=2).fit(*blobs)


def test_an_unknown_monitor_raises_with_the_logged_names(line):
    stop = keras.callbacks.EarlyStopping("quality", mode="max")
    with pytest.raises(ValueError, match=r"'quality' .* in epoch 0: \['loss'\]\.$"):
        make_regressor(callbacks=stop).fit(*line)


@pytest.mark.parametrize("metric", ["accuracy", "acc", "mse", "auc", "AUC"])
@pytest.mark.parametrize("prefix", ["", "val_"])
def test_a_metric_that_the_model_does_not_have_raises_with_the_parameter_to_pass(
    prefix, metric, blobs
):
    callback = keras.callbacks.EarlyStopping(prefix + metric, mode="max")
    with pytest.raises(ValueError, match=rf"not among the values .* metrics=\['{metric}'\]"):
        make_classifier(callbacks=callback, validation_fraction=0.2, epochs=2).fit(*blobs)


def test_a_misspelt_monitor_of_a_callback_passed_to_fit_raises(line):
    stop = keras.callbacks.EarlyStopping("los", mode="min")
    with pytest.raises(ValueError, match=r"Did you mean 'loss'"):
        make_regressor().fit(*line, callbacks=[stop])


def test_a_checkpoint_of_every_epoch_monitors_nothing(tmp_path, line):
    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras"))
    assert checkpoint.monitor == "val_loss"
    make_regressor(callbacks=checkpoint, epochs=2).fit(*line)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.keras", "2.keras"]


def test_the_monitor_of_a_custom_callback_is_not_checked(line):
    class Watches(keras.callbacks.Callback):
        monitor = "val_whatever"

    assert make_regressor(callbacks=Watches).fit(*line).n_epochs_ == 1


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("mode", [{}, {"mode": "max"}], ids=["", "mode"])
def test_early_stopping_finds_a_metric_that_an_earlier_callback_logs(mode, name, line):
    logs = LogsValues([1.0, 2.0, 1.0], name="val_custom")
    stop = keras.callbacks.EarlyStopping("val_custom", patience=1, **{"mode": "max"} | mode)
    estimator = make_regressor(
        callbacks=[logs, stop], validation_fraction=0.2, epochs=9, engine=name
    ).fit(*line)
    assert estimator.history_["val_custom"] == [1.0, 2.0, 1.0]
    assert estimator.best_epoch_ == 1


@pytest.mark.filterwarnings("ignore:Early stopping conditioned on:UserWarning")
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    "parameters",
    [
        {"early_stopping": True},
        {"early_stopping": True, "scoring": "accuracy"},
        {"callbacks": keras.callbacks.EarlyStopping("val_loss"), "validation_fraction": 0.2},
        {
            "callbacks": keras.callbacks.EarlyStopping("val_accuracy", mode="max"),
            "metrics": ["accuracy"],
            "validation_fraction": 0.2,
        },
    ],
    ids=["early", "scoring", "callback", "metric"],
)
def test_a_metric_of_every_second_epoch_may_be_monitored(parameters, name, blobs):
    estimator = make_classifier(epochs=4, fit__validation_freq=2, engine=name, **parameters).fit(
        *blobs
    )
    assert estimator.n_epochs_ == 4
    assert len(estimator.history_["val_loss"]) == 2


@pytest.mark.filterwarnings("ignore:Early stopping conditioned on:UserWarning")
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("freq", [1, 2])
def test_a_misspelt_monitor_raises_after_the_first_validation(freq, name, blobs, begun):
    estimator = make_classifier(
        callbacks=[RecordsEpochs(), keras.callbacks.EarlyStopping("val_acuracy", mode="max")],
        metrics=["accuracy"],
        validation_fraction=0.2,
        epochs=6,
        fit__validation_freq=freq,
        engine=name,
    )
    with pytest.raises(ValueError, match=r"'val_acuracy'.*Did you mean '(val_)?accuracy'"):
        estimator.fit(*blobs)
    assert begun in ([0], [0, 1][:freq])


def sgd(schedule):
    return keras.optimizers.SGD(
        keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9) if schedule else 0.01
    )


@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.ReduceLROnPlateau("loss"),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
    ],
    ids=["ReduceLROnPlateau", "LearningRateScheduler"],
)
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "loss_scale"])
def test_a_schedule_with_a_callback_that_sets_the_learning_rate_raises(
    callback, wrapped, line, begun
):
    optimizer = sgd(schedule=True)
    if wrapped:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    estimator = make_regressor(callbacks=[RecordsEpochs(), callback], optimizer=optimizer)
    with pytest.raises(ValueError, match=rf"{type(callback).__name__} sets the learning rate"):
        estimator.fit(*line)
    assert begun == []


def test_a_callback_may_set_the_learning_rate_without_a_schedule(line):
    callback = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.25)
    estimator = make_regressor(callbacks=callback, optimizer=sgd(schedule=False)).fit(*line)
    assert float(estimator.model_.optimizer.learning_rate) == 0.25


def test_a_schedule_from_the_model_function_with_such_a_callback_raises(line, begun):
    def build(meta):
        model = build_regressor(meta)
        model.compile(sgd(schedule=True), "mse")
        return model

    estimator = GuardedKerasRegressor(
        build, verbose=0, callbacks=[RecordsEpochs(), keras.callbacks.ReduceLROnPlateau("loss")]
    )
    with pytest.raises(ValueError, match=r"ReduceLROnPlateau sets the learning rate"):
        estimator.fit(*line)
    assert begun == []


def test_a_schedule_with_early_stopping_is_accepted(line):
    estimator = make_regressor(optimizer=sgd(schedule=True), early_stopping=True, epochs=2)
    assert estimator.fit(*line).n_epochs_ == 2
