"""Helpers of the tests that follow scikeras's tutorials."""

import contextlib

import keras
import numpy as np
import pytest

from skguard import GuardedKerasClassifier


class TutorialError(Exception):
    """Raised by the parts of the tests that fail on purpose."""


def public_attributes(estimator):
    return {name: value for name, value in vars(estimator).items() if not name.startswith("_")}


@contextlib.contextmanager
def raises_and_changes_nothing(estimator, X, error=TutorialError, match="on purpose"):
    """Check that the body raises, and that the fitted `estimator` is as it was before.

    All public attributes are the same objects, and the predictions for X the same numbers.
    """
    attributes, predicted = public_attributes(estimator), estimator.predict(X)
    weights = estimator.model_.get_weights()
    with pytest.raises(error, match=match):
        yield
    after = public_attributes(estimator)
    assert after.keys() == attributes.keys()
    assert [name for name, value in attributes.items() if after[name] is not value] == []
    assert all(map(np.array_equal, estimator.model_.get_weights(), weights))
    assert np.array_equal(estimator.predict(X), predicted)


def dense_layers(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]


def build_mlp(hidden_layer_sizes, meta, compile_kwargs):
    """Build the perceptron of most tutorials, compiled with the estimator's optimizer."""
    model = keras.Sequential([keras.Input((meta["n_features_in_"],))])
    for size in hidden_layer_sizes:
        model.add(keras.layers.Dense(size, "relu"))
    if meta["target_type_"] == "binary":
        model.add(keras.layers.Dense(1, "sigmoid"))
        loss = "binary_crossentropy"
    elif meta["target_type_"] == "multiclass":
        model.add(keras.layers.Dense(meta["n_classes_"], "softmax"))
        loss = "sparse_categorical_crossentropy"
    else:
        raise TutorialError(f"{meta['target_type_']} is not supported, on purpose")
    model.compile(loss=loss, optimizer=compile_kwargs["optimizer"])
    return model


def make_mlp(**params):
    settings = {
        "hidden_layer_sizes": (8,),
        "optimizer": "adam",
        "optimizer__learning_rate": 0.05,
        "epochs": 15,
        "verbose": 0,
        "random_state": 0,
    }
    return GuardedKerasClassifier(build_mlp, **settings | params)
