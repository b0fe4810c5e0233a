"""Small models and the estimators that train them, shared by all tests."""

import keras


def build_classifier(meta, units=8):
    """Return a model for any classification, which the estimator compiles."""
    return keras.Sequential(
        [
            keras.Input(meta["X_shape_"][1:]),
            keras.layers.Dense(units, "relu"),
            keras.layers.Dense(meta["n_classes_"], "softmax"),
        ]
    )


def build_regressor(meta, units=8):
    """Return a model for any regression, which the estimator compiles."""
    return keras.Sequential(
        [
            keras.Input(meta["X_shape_"][1:]),
            keras.layers.Dense(units, "relu"),
            keras.layers.Dense(meta["n_outputs_"]),
        ]
    )


def make_classifier(model=build_classifier, **parameters):
    """Return a classifier that trains for one epoch."""
    from skguard import GuardedKerasClassifier

    defaults = {
        "loss": "sparse_categorical_crossentropy",
        "optimizer": "adam",
        "verbose": 0,
        "random_state": 0,
    }
    return GuardedKerasClassifier(model, **defaults | parameters)


def make_regressor(model=build_regressor, **parameters):
    """Return a regressor that trains for one epoch."""
    from skguard import GuardedKerasRegressor

    defaults = {"loss": "mse", "optimizer": "adam", "verbose": 0, "random_state": 0}
    return GuardedKerasRegressor(model, **defaults | parameters)
