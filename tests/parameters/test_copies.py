"""Every fit trains copies, and the objects in the parameters stay as they were."""

import copy
import functools
import pickle

import cloudpickle
import joblib
import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import cross_val_score

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard._parameters import copies
from skguard.callbacks import Shared
from skguard.callbacks._traits import Traits
from skguard.exceptions import NotCopyableError
from tests.models import build_regressor

CALLBACKS = keras.callbacks


def network(**kwargs):
    defaults = {"loss": "mse", "epochs": 2, "verbose": 0, "random_state": 0}
    return GuardedKerasRegressor(**{"model": build_regressor, **defaults, **kwargs})


def dense_model(compiled=True, layer=keras.layers.Dense):
    model = keras.Sequential([keras.Input((4,)), layer(3), keras.layers.Dropout(0.5), layer(1)])
    if compiled:
        model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


def state_of(value):
    """Return the attributes or variables of objects, which training could change."""
    if isinstance(value, keras.Model):
        optimizer = value.optimizer if value.compiled else None
        slots = [] if optimizer is None else [np.array(v) for v in optimizer.variables]
        return [id(optimizer), *map(np.array, value.variables), *slots]
    if hasattr(value, "variables"):
        return [np.array(v) for v in value.variables]
    if isinstance(value, list | tuple):
        return [part for item in value for part in state_of(item)]
    if isinstance(value, dict):
        return state_of(list(value.values()))
    return [copy.copy(vars(value))] if not isinstance(value, type | str) else [value]


def assert_same_state(before, after):
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_equal(new, old)


@keras.saving.register_keras_serializable("tests")
class Registered(keras.layers.Dense):
    pass


class CustomDense(keras.layers.Dense):
    """Not registered with Keras."""


class CustomLoss(keras.losses.Loss):
    """Not registered, and without a get_config."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale

    def call(self, y_true, y_pred):
        return self.scale * keras.ops.mean((y_true - y_pred) ** 2, axis=-1)


class CustomMetric(keras.metrics.MeanSquaredError):
    pass


class CustomOptimizer(keras.optimizers.SGD):
    pass


SCHEDULE = keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)
PARAMETERS = {
    "callback": {"callbacks": CALLBACKS.EarlyStopping("loss", patience=0)},
    "list of callbacks": {"callbacks": [CALLBACKS.ReduceLROnPlateau("loss", patience=0)]},
    "dict of callbacks": {"callbacks": {"stop": CALLBACKS.EarlyStopping("loss", patience=0)}},
    "nested callbacks": {"callbacks": [[CALLBACKS.History()], {"x": CALLBACKS.TerminateOnNaN}]},
    "callback class": {"callbacks": CALLBACKS.EarlyStopping, "callbacks__monitor": "loss"},
    "optimizer": {"optimizer": keras.optimizers.Adam(0.1)},
    "optimizer with schedule": {"optimizer": keras.optimizers.SGD(SCHEDULE)},
    "loss scaling": {"optimizer": keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))},
    "schedule": {"optimizer": "sgd", "optimizer__learning_rate": SCHEDULE},
    "loss": {"loss": keras.losses.Huber(0.5)},
    "metrics": {"metrics": [keras.metrics.MeanAbsoluteError(), "mse"]},
    "custom loss": {"loss": CustomLoss(3.0)},
    "custom metric": {"metrics": [CustomMetric(name="custom")]},
    "custom optimizer": {"optimizer": CustomOptimizer(0.1, momentum=0.5)},
    "compiled model": {"model": dense_model(), "loss": None},
    "uncompiled model": {"model": dense_model(compiled=False)},
    "model of registered layers": {"model": dense_model(layer=Registered), "loss": None},
    "model of custom layers": {"model": dense_model(layer=CustomDense), "loss": None},
}


@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS)
def test_two_fits_give_the_same_numbers_and_leave_the_parameters_unchanged(parameters, line):
    estimator = network(**parameters)
    objects = {k: v for k, v in parameters.items() if not isinstance(v, str | type(None))}
    before = state_of(objects)
    first = estimator.fit(*line).predict(line[0])
    histories = [estimator.history_]
    second = estimator.fit(*line).predict(line[0])
    histories += [estimator.history_, clone(estimator).fit(*line).history_]
    assert_same_state(before, state_of(objects))
    np.testing.assert_array_equal(second, first)
    assert histories[0] == histories[1] == histories[2]


def dumped(estimator, path):
    joblib.dump(estimator, path / "estimator.joblib")
    return joblib.load(path / "estimator.joblib")


COPIES = {
    "clone": lambda estimator, path: clone(estimator),
    "deepcopy": lambda estimator, path: copy.deepcopy(estimator),
    "pickle": lambda estimator, path: pickle.loads(pickle.dumps(estimator)),
    "cloudpickle": lambda estimator, path: pickle.loads(cloudpickle.dumps(estimator)),
    "joblib": dumped,
}


@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS)
def test_an_estimator_can_be_copied_before_and_after_a_fit(parameters, line, tmp_path):
    estimator = network(**parameters, epochs=1)
    before = {name: make_copy(estimator, tmp_path) for name, make_copy in COPIES.items()}
    expected = estimator.fit(*line).predict(line[0])
    after = {name: make_copy(estimator, tmp_path) for name, make_copy in COPIES.items()}
    for name in COPIES.keys() - {"clone"}:
        np.testing.assert_array_equal(after[name].predict(line[0]), expected)
        assert len(after[name].callbacks_) == len(estimator.callbacks_)
        assert all(callback.model is after[name].model_ for callback in after[name].callbacks_)
    for twin in (before["pickle"], after["clone"]):
        np.testing.assert_array_equal(twin.fit(*line).predict(line[0]), expected)


def test_an_estimator_with_a_local_class_is_copied_by_cloudpickle(line):
    class LocalDense(keras.layers.Dense):
        pass

    estimator = network(model=dense_model(layer=LocalDense), loss=None).fit(*line)
    twin = pickle.loads(cloudpickle.dumps(estimator))
    np.testing.assert_array_equal(twin.predict(line[0]), estimator.predict(line[0]))


def test_an_estimator_is_small_unless_it_is_fitted(line):
    estimator = network(units=20_000, callbacks=CALLBACKS.EarlyStopping("loss")).fit(*line)
    assert len(pickle.dumps(estimator)) > 400_000
    assert len(pickle.dumps(clone(estimator))) < 20_000


def test_a_model_that_was_fitted_before_scores_at_chance_level_on_noise(rng):
    X, y = rng.normal(size=(80, 5)), np.tile([0, 1], 40)
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(1, "sigmoid")]
    )
    initial = model.get_weights()
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
    estimator = GuardedKerasClassifier(model, epochs=60, verbose=0, random_state=0)
    assert estimator.fit(X, y).score(X, y) > 0.9
    assert cross_val_score(estimator, X, y, cv=4).mean() == pytest.approx(0.5, abs=0.15)
    np.testing.assert_equal(model.get_weights(), initial)
    assert estimator.model_ is not model


def test_a_fit_starts_from_the_weights_of_the_model_without_its_optimizers_state(line):
    model = dense_model()
    model.fit(*line, verbose=0)
    estimator = network(model=model, loss=None, epochs=1)
    copied = copies.copy_model(model)
    np.testing.assert_equal(copied.get_weights(), model.get_weights())
    assert int(copied.optimizer.iterations) == 0 < int(model.optimizer.iterations)
    assert int(estimator.fit(*line).model_.optimizer.iterations) == 2


def test_initialize_uses_the_model_itself_and_training_then_takes_a_copy(line):
    model = dense_model()
    estimator = network(model=model, loss=None).initialize(*line)
    assert estimator.model_ is model
    before = state_of(model)
    estimator.partial_fit(*line)
    assert estimator.model_ is not model
    assert_same_state(before, state_of(model))


def test_a_learning_rate_that_one_fit_lowered_is_restored_in_the_next(line):
    plateau = CALLBACKS.ReduceLROnPlateau("loss", patience=1, min_delta=1e9, factor=0.1)
    estimator = network(optimizer=keras.optimizers.SGD(0.1), callbacks=plateau, epochs=4)
    for _ in range(2):
        rates = estimator.fit(*line).history_["learning_rate"]
        assert rates[0] == pytest.approx(0.1)
        assert rates[-1] < 0.05


def test_unnamed_metrics_log_under_one_name_in_every_fit(line):
    X, y = line
    estimator = GuardedKerasClassifier(
        lambda: _binary_model([keras.metrics.AUC()]), verbose=0, validation_split=0.2
    )
    for _ in range(2):
        assert {"auc", "val_auc"} <= estimator.fit(X, y > 0).history_.keys()
    keras.metrics.AUC()
    assert {"auc", "val_auc"} <= estimator.fit(X, y > 0).history_.keys()


def _binary_model(metrics):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy", metrics=metrics)
    return model


def make_every_callback(path):
    return {
        "BackupAndRestore": lambda: CALLBACKS.BackupAndRestore(path / "backup"),
        "CSVLogger": lambda: CALLBACKS.CSVLogger(path / "log.csv"),
        "EarlyStopping": lambda: CALLBACKS.EarlyStopping("loss", restore_best_weights=True),
        "History": CALLBACKS.History,
        "LambdaCallback": lambda: CALLBACKS.LambdaCallback(on_epoch_end=print_nothing),
        "LearningRateScheduler": lambda: CALLBACKS.LearningRateScheduler(halve),
        "ModelCheckpoint": lambda: CALLBACKS.ModelCheckpoint(path / "m.keras", monitor="loss"),
        "ProgbarLogger": CALLBACKS.ProgbarLogger,
        "ReduceLROnPlateau": lambda: CALLBACKS.ReduceLROnPlateau("loss"),
        "SwapEMAWeights": CALLBACKS.SwapEMAWeights,
        "TensorBoard": lambda: CALLBACKS.TensorBoard(path / "board"),
        "TerminateOnNaN": CALLBACKS.TerminateOnNaN,
    }


def print_nothing(epoch, logs):
    pass


def halve(epoch, rate):
    return rate / 2


EVERY_CALLBACK = sorted(make_every_callback(None))


def test_every_callback_of_keras_is_tested():
    out_of_reach = {"Callback", "CallbackList", "MonitorCallback", "OrbaxCheckpoint"}
    out_of_reach |= {"RemoteMonitor"}  # needs a server
    found = {name for name, value in vars(CALLBACKS).items() if isinstance(value, type)}
    assert found - out_of_reach == set(EVERY_CALLBACK)


@pytest.mark.parametrize("name", EVERY_CALLBACK)
def test_a_callback_that_trained_elsewhere_is_copied_without_its_model(name, line, tmp_path):
    callback = make_every_callback(tmp_path)[name]()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01, use_ema=True), "mse")
    model.fit(*line, verbose=0, callbacks=[callback])
    twin = copies.copy_callbacks({"callbacks": [callback]})["callbacks"][0]
    assert twin is not callback
    assert twin.model is None
    assert callback.model is model
    model.fit(*line, verbose=0, callbacks=[twin])


@pytest.mark.parametrize("name", EVERY_CALLBACK)
def test_an_estimator_with_a_callback_is_cloned_and_pickled_after_a_fit(name, line, tmp_path):
    optimizer = keras.optimizers.SGD(0.01, use_ema=True)
    callback = make_every_callback(tmp_path)[name]()
    estimator = network(callbacks=callback, optimizer=optimizer).fit(*line)
    clone(estimator).fit(*line)
    twin = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(twin.predict(line[0]), estimator.predict(line[0]))
    assert type(twin.callbacks_[0]) is type(callback)
    assert callback.model is None


def test_a_callback_that_refers_to_another_refers_to_its_copy(line):
    stop = CALLBACKS.EarlyStopping("loss", patience=0)
    follower = CALLBACKS.Callback()
    follower.other = stop
    estimator = network(callbacks=[follower, stop]).fit(*line)
    copied_follower, copied_stop = estimator.callbacks_
    assert copied_follower.other is copied_stop is not stop


def test_one_callback_for_fit_and_predict_is_one_copy(line):
    counter = Counter()
    estimator = network(callbacks=counter).fit(*line)
    estimator.predict(line[0])
    assert (estimator.callbacks_[0].fits, estimator.callbacks_[0].predictions) == (1, 1)
    assert (counter.fits, counter.predictions) == (0, 0)


class Counter(CALLBACKS.Callback):
    def __init__(self):
        super().__init__()
        self.fits = self.predictions = 0

    def on_train_begin(self, logs=None):
        self.fits += 1

    def on_predict_begin(self, logs=None):
        self.predictions += 1


class Reopened(CALLBACKS.Callback):
    """Has a file, which cannot be copied."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.file = open(path, "a")  # noqa: SIM115

    def on_train_end(self, logs=None):
        self.file.write("trained\n")
        self.file.close()


class SelfCopying(Reopened):
    """Copies itself by opening its file again."""

    def __sklearn_clone__(self):
        return type(self)(self.path)


def test_a_callback_that_cannot_be_copied_is_named_before_training(line, tmp_path):
    callback = Reopened(tmp_path / "log.txt")
    estimator = network(callbacks={"log": callback})
    match = r"(?s)callbacks\['log'\]=.*Reopened.*callbacks=\[Reopened\].*Shared\(Reopened"
    for attempt in (lambda: estimator.fit(*line), lambda: clone(estimator)):
        with pytest.raises(NotCopyableError, match=match):
            attempt()
    assert not hasattr(estimator, "model_")
    callback.file.close()


def test_a_callback_class_is_constructed_at_every_fit(line, tmp_path):
    estimator = network(callbacks=[Reopened], callbacks__0__path=str(tmp_path / "log.txt"))
    estimator.fit(*line).fit(*line)
    assert (tmp_path / "log.txt").read_text() == "trained\ntrained\n"
    pickle.dumps(estimator)


def test_a_callback_is_copied_by_its_sklearn_clone_method(line, tmp_path):
    callback = SelfCopying(tmp_path / "log.txt")
    estimator = network(callbacks=[callback]).fit(*line)
    assert not callback.file.closed
    assert estimator.callbacks_[0].file.closed
    callback.file.close()


def test_a_shared_callback_sees_every_fit(line):
    counter = Counter()
    estimator = network(callbacks=[Shared(counter)])
    cross_val_score(estimator, *line, cv=2)
    estimator.fit(*line)
    assert counter.fits == 3
    assert estimator.callbacks_ == [counter]


def test_checkpoints_of_one_fit_are_not_compared_to_those_of_the_last(line, tmp_path):
    X, y = line
    checkpoint = CALLBACKS.ModelCheckpoint(
        tmp_path / "best.keras", monitor="loss", save_best_only=True
    )
    estimator = network(callbacks=checkpoint, epochs=1).fit(X, y)
    first = (tmp_path / "best.keras").read_bytes()
    estimator.fit(X, y * 100)  # a far greater loss, and still the best of its own fit
    assert (tmp_path / "best.keras").read_bytes() != first


class Crash(CALLBACKS.Callback):
    crashes = 1

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1 and Crash.crashes:
            Crash.crashes -= 1
            raise RuntimeError("this fold crashes")


def test_a_crash_in_one_fold_does_not_change_the_next(line, tmp_path, monkeypatch):
    monkeypatch.setattr(Crash, "crashes", 1)
    backup = CALLBACKS.BackupAndRestore(tmp_path / "backup")
    estimator = network(callbacks=[backup, Crash()], epochs=3)
    with pytest.warns(FitFailedWarning, match="this fold crashes"):
        scores = cross_val_score(estimator, *line, cv=2, error_score=np.nan)
    expected = cross_val_score(network(epochs=3), *line, cv=2)
    assert np.isnan(scores[0])
    assert scores[1] == expected[1]


def test_the_same_estimator_resumes_after_a_crash_as_keras_does(line, tmp_path, monkeypatch):
    monkeypatch.setattr(Crash, "crashes", 1)
    backup = CALLBACKS.BackupAndRestore(tmp_path / "backup")
    estimator = network(callbacks=[backup, Crash()], epochs=3)
    with pytest.raises(RuntimeError, match="this fold crashes"):
        estimator.fit(*line)
    assert len(estimator.fit(*line).history_["loss"]) == 2


@pytest.mark.parametrize("each_epoch", [True, False])
def test_predict_does_not_change_averaged_weights_or_a_later_partial_fit(each_epoch, line):
    def fitted():
        optimizer = keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9)
        swap = CALLBACKS.SwapEMAWeights(swap_on_epoch=each_epoch)
        return network(optimizer=optimizer, callbacks=swap, validation_split=0.2).fit(*line)

    one, other = fitted(), fitted()
    weights = one.model_.get_weights()
    first = one.predict(line[0])
    np.testing.assert_array_equal(one.predict(line[0]), first)
    np.testing.assert_equal(one.model_.get_weights(), weights)
    one.partial_fit(*line)
    other.partial_fit(*line)
    np.testing.assert_equal(one.model_.get_weights(), other.model_.get_weights())


SHARED_OPTIMIZER = keras.optimizers.Adam(0.1)


def compiled_by(optimizer):
    model = dense_model(compiled=False)
    model.compile(optimizer, "mse")
    return model


def from_default(optimizer=SHARED_OPTIMIZER):
    return compiled_by(optimizer)


def from_params(params):
    return compiled_by(params["optimizer"])


OTHER_ROUTES = {
    "default": {"model": from_default, "loss": None},
    "partial": {
        "model": functools.partial(compiled_by, optimizer=SHARED_OPTIMIZER),
        "loss": None,
    },
    "params": {"model": from_params, "optimizer": SHARED_OPTIMIZER, "loss": None},
    "inner": {
        "optimizer": keras.optimizers.LossScaleOptimizer,
        "optimizer__inner_optimizer": SHARED_OPTIMIZER,
    },
}


@pytest.mark.parametrize("parameters", OTHER_ROUTES.values(), ids=OTHER_ROUTES)
def test_an_optimizer_is_copied_however_it_was_passed(parameters, line):
    estimator = network(**parameters)
    first = estimator.fit(*line).history_
    assert estimator.fit(*line).history_ == first
    assert int(SHARED_OPTIMIZER.iterations) == 0


def test_routed_metrics_are_copied(line):
    metric = keras.metrics.MeanSquaredError()
    network(compile__weighted_metrics=[metric]).fit(*line)
    assert float(metric.total) == 0


def test_an_early_stopping_that_trained_elsewhere_is_copied_without_its_weights(line):
    stop = CALLBACKS.EarlyStopping("loss", restore_best_weights=True)
    dense_model().fit(*line, callbacks=[stop], verbose=0)
    assert stop.best_weights is not None
    assert clone(network(callbacks=stop)).callbacks.best_weights is None


class Recorder(CALLBACKS.Callback):
    """Declares that its file is open during training only."""

    traits = Traits(idle_state={"file": None})

    def __init__(self, path):
        super().__init__()
        self.path, self.file = path, None

    def on_train_begin(self, logs=None):
        self.file = open(self.path, "a")  # noqa: SIM115

    def on_epoch_end(self, epoch, logs=None):
        self.file.write(f"{epoch}\n")


def test_a_callback_that_declares_its_idle_state_is_copied_while_it_trains(line, tmp_path):
    callback = Recorder(tmp_path / "log.txt")
    dense_model().fit(*line, callbacks=[callback], verbose=0)
    twin = copies.copy_callbacks({"callbacks": callback})["callbacks"]
    assert (twin.path, twin.file) == (callback.path, None)
    assert not callback.file.closed
    callback.file.close()


def test_an_attribute_that_cannot_be_copied_is_none_in_a_copy_of_a_trained_callback(tmp_path):
    callback = Reopened(tmp_path / "log.txt")
    callback.seen = [3]
    (twin,) = copies.copy_trained_callbacks([callback])
    callback.file.close()
    assert (twin.path, twin.seen, twin.file, twin.model) == (callback.path, [3], None, None)
    assert twin.seen is not callback.seen
