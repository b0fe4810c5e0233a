"""Layers that are frozen or made trainable by callbacks, or between two trainings of a model."""

import keras
import numpy as np
import pytest

from skguard import GuardedKerasRegressor
from skguard import _engine as engine
from skguard.exceptions import InputValueError
from tests.engine.parity import FIT, same, values_of

ENGINES = ["auto", "keras"]


def build(trainable=False, knows_all=True):
    """A model with a nested one that is frozen or not, and an optimizer with state for it or not.

    A model that is trainable, and not known, is one whose optimizer is built in the first fit.
    """
    keras.utils.set_random_seed(0)
    inner = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, "tanh"), keras.layers.BatchNormalization()]
    )
    model = keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam(0.01)
    if knows_all:
        optimizer.build(model.trainable_variables)
    inner.trainable = trainable
    model.compile(optimizer, "mse")
    return model


class Sets(keras.callbacks.Callback):
    """Sets the flag of the first layer in a hook, of one epoch if it is one of epochs."""

    def __init__(self, flag, hook, epoch=0, then=None):
        super().__init__()
        self.flag, self.hook, self.epoch, self.then = flag, hook, epoch, then

    def on_train_begin(self, logs=None):
        if self.hook == "on_train_begin":
            self.set()

    def on_epoch_begin(self, epoch, logs=None):
        if self.hook == "on_epoch_begin" and epoch == self.epoch:
            self.set()

    def set(self):
        self.model.layers[0].trainable = self.flag
        if self.then is not None:
            self.then(self.model)


def retrace(model):
    model.make_train_function(force=True)


def recompile(model):
    model.compile("adam", "mse")
    model.make_train_function()


CALLBACKS = {
    "when training begins": {"hook": "on_train_begin"},
    "in the first epoch": {"hook": "on_epoch_begin"},
    "later, without effect": {"hook": "on_epoch_begin", "epoch": 2},
    "later, and traced again": {"hook": "on_epoch_begin", "epoch": 2, "then": retrace},
    "later, and compiled again": {"hook": "on_epoch_begin", "epoch": 2, "then": recompile},
}


@pytest.mark.parametrize("used", ENGINES)
@pytest.mark.parametrize("flag", [True, False], ids=["made trainable", "frozen"])
@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_that_sets_trainable_has_the_effect_that_it_has_in_keras(name, flag, used, line):
    X, y = line
    ours, theirs = build(not flag), build(not flag)
    arguments = FIT | {"epochs": 5}
    callbacks = [[Sets(flag, **CALLBACKS[name])] for _ in range(2)]
    run = engine.train(ours, X, y, engine=used, callbacks=callbacks[0], **arguments)
    history = theirs.fit(X, y, callbacks=callbacks[1], **arguments).history
    assert same(run.history, history)
    assert same(values_of(ours), values_of(theirs))


@pytest.mark.parametrize("used", ENGINES)
@pytest.mark.parametrize("name", ["later, and traced again"])
def test_layers_that_the_optimizer_does_not_know_cannot_be_made_trainable(name, used, line):
    callbacks = [Sets(True, **CALLBACKS[name])]
    with pytest.raises((ValueError, RuntimeError), match="Unknown variable"):
        engine.train(build(knows_all=False), *line, engine=used, callbacks=callbacks, **FIT)


@pytest.mark.parametrize("used", ENGINES)
@pytest.mark.parametrize("flag", [True, False], ids=["made trainable", "frozen"])
def test_a_warm_start_trains_the_layers_that_are_trainable_then(flag, used, line):
    """``Model.fit`` does so once its training step is traced again."""
    X, y = line
    ours, theirs = build(not flag), build(not flag)
    engine.train(ours, X, y, engine=used, **FIT)
    theirs.fit(X, y, **FIT)
    ours.layers[0].trainable = theirs.layers[0].trainable = flag
    run = engine.train(ours, X, y, engine=used, **FIT)
    retrace(theirs)
    assert same(run.history, theirs.fit(X, y, **FIT).history)
    assert same(values_of(ours), values_of(theirs))


@pytest.mark.parametrize("used", ENGINES)
def test_a_warm_start_raises_unless_the_optimizer_knows_the_layers(used, line):
    model = build(knows_all=False)
    estimator = GuardedKerasRegressor(
        model, warm_start=True, engine=used, verbose=0, random_state=0
    ).fit(*line)
    before = [np.array(weight) for weight in estimator.model_.weights]
    estimator.model_.layers[0].trainable = True
    with pytest.raises(InputValueError, match=r"kernel, .* became trainable .* model_\.compile"):
        estimator.fit(*line)
    np.testing.assert_equal([np.array(weight) for weight in estimator.model_.weights], before)
    estimator.model_.compile("adam", "mse")
    estimator.fit(*line)
    kernel = estimator.model_.layers[0].weights[0]
    assert not np.array_equal(np.array(kernel), before[0])


@pytest.mark.parametrize("used", ENGINES)
def test_a_warm_start_without_changes_is_not_traced_again(used, line):
    model = build()
    engine.train(model, *line, engine=used, **FIT)
    traced = model.train_function
    engine.train(model, *line, engine=used, **FIT)
    assert model.train_function is traced
