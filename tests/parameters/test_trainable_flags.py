"""Copies of models have the ``trainable`` flags of the original, and changes have equal effects."""

import pickle

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from skguard import GuardedKerasRegressor
from skguard._parameters import packing
from skguard._parameters.copies import copy_model

L = keras.layers


def sequential(*layers):
    return keras.Sequential([keras.Input((4,)), *layers])


def functional(*layers):
    tensor = inputs = keras.Input((4,))
    for layer in layers:
        tensor = layer(tensor)
    return keras.Model(inputs, tensor)


def flat(wrap=sequential):
    return wrap(L.Dense(4), L.BatchNormalization(), L.Dense(1))


def nested(outer=sequential, inner=sequential):
    return outer(inner(L.Dense(4), L.BatchNormalization()), L.Dense(1))


def deep():
    return sequential(functional(sequential(L.Dense(4)), L.Dense(4)), L.Dense(1))


def built_late():
    model = keras.Sequential([keras.Sequential([L.Dense(4)]), L.Dense(1)])
    model.build((None, 4))
    return model


class Custom(keras.Model):
    def __init__(self, units=3):
        super().__init__()
        self.units = units
        self.inner = keras.Sequential([L.Dense(units), L.Dense(units)])
        self.out = L.Dense(1)

    def call(self, x):
        return self.out(self.inner(x))


def custom():
    model = Custom()
    model(np.zeros((1, 4)))
    return model


MODELS = {
    "sequential": flat,
    "functional": lambda: flat(functional),
    "sequential in sequential": nested,
    "sequential in functional": lambda: nested(outer=functional),
    "functional in sequential": lambda: nested(inner=functional),
    "functional in functional": lambda: nested(functional, functional),
    "three levels": deep,
    "built late": built_late,
    "custom class": custom,
}

COPIES = {
    "with training state": lambda model: packing.unpack(packing.pack(model)),
    "pickled": lambda model: packing.unpack(pickle.loads(pickle.dumps(packing.pack(model)))),
    "without training state": copy_model,
    "copy of a copy": lambda model: copy_model(copy_model(model)),
    "clone": lambda model: clone(GuardedKerasRegressor(model)).model,
}


def parts_of(model):
    return model._flatten_layers()


def flags_of(model):
    return (
        [layer.trainable for layer in parts_of(model)],
        [variable.trainable for variable in model.variables],
        [variable.path.rpartition("/")[2] for variable in model.trainable_weights],
    )


def freeze_first(model):
    inner = next(layer for layer in parts_of(model)[1:] if layer.weights)
    inner.trainable = False


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_frozen_layer_of_a_copy_is_made_trainable_as_that_of_the_original(make, copied):
    model = make()
    freeze_first(model)
    twin = copied(model)
    assert flags_of(twin) == flags_of(model)
    for one in (model, twin):
        for layer in parts_of(one)[1:]:
            if not layer.trainable:
                layer.trainable = True
                break
    assert all(layer.trainable for layer in parts_of(twin) if layer.weights)
    assert flags_of(twin) == flags_of(model)


_CHANGE = st.tuples(st.integers(0, 20), st.booleans())


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(sorted(MODELS)),
    before=st.lists(_CHANGE, max_size=4),
    after=st.lists(_CHANGE, max_size=3),
)
def test_any_flags_are_copied_and_changes_reach_the_same_layers(name, before, after):
    model = MODELS[name]()
    for index, flag in before:
        parts_of(model)[index % len(parts_of(model))].trainable = flag
    twin = copy_model(model)
    assert flags_of(twin) == flags_of(model)
    for index, flag in after:
        for one in (model, twin):
            parts_of(one)[index % len(parts_of(one))].trainable = flag
    assert flags_of(twin) == flags_of(model)


def test_a_single_layer_keeps_the_flags_of_the_layers_in_it():
    layer = L.Bidirectional(L.LSTM(2))
    layer.build((None, 3, 2))
    layer.forward_layer.trainable = False
    twin = packing.unpack(packing.pack(layer))
    assert [not v.trainable for v in twin.variables] == [not v.trainable for v in layer.variables]
    assert not twin.forward_layer.trainable
    assert twin.backward_layer.trainable


def unfreeze_and_fit(model, line):
    model.layers[0].trainable = True
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model.fit(*line, shuffle=False, verbose=0).history


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_that_is_made_trainable_trains_as_the_original(copied, line):
    model = nested()
    model.layers[0].trainable = False
    twin = copied(model)
    assert unfreeze_and_fit(twin, line) == unfreeze_and_fit(model, line)


def test_the_optimizer_of_a_copy_has_the_variables_of_that_of_the_original(line):
    """A callback may freeze layers after the optimizer was built."""
    model = nested()
    model.compile("adam", "mse")
    estimator = GuardedKerasRegressor(model, verbose=0, random_state=0).fit(*line)
    estimator.model_.layers[0].trainable = False
    twin = pickle.loads(pickle.dumps(estimator)).model_
    theirs = [np.array(variable) for variable in estimator.model_.optimizer.variables]
    np.testing.assert_equal([np.array(variable) for variable in twin.optimizer.variables], theirs)
    twin.layers[0].trainable = True
    twin.fit(*line, verbose=0)
