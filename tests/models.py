"""Small models and the estimators that train them, shared by all tests."""

import keras


def build_classifier(meta, units=8):
    """A model function for any classification, left to the estimator to compile."""
    return keras.Sequential(
        [
            keras.Input(meta["X_shape_"][1:]),
            keras.layers.Dense(units, "relu"),
            keras.layers.Dense(meta["n_classes_"], "softmax"),
        ]
    )


def build_regressor(meta, units=8):
    return keras.Sequential(
        [
            keras.Input(meta["X_shape_"][1:]),
            keras.layers.Dense(units, "relu"),
            keras.layers.Dense(meta["n_outputs_"]),
        ]
    )


def make_classifier(model=build_classifier, **parameters):
    """A classifier that trains for one epoch."""
    from skguard import GuardedKerasClassifier

    defaults = {
        "loss": "sparse_categorical_crossentropy",
        "optimizer": "adam",
        "verbose": 0,
        "random_state": 0,
    }
    return GuardedKerasClassifier(model, **defaults | parameters)


def make_regressor(model=build_regressor, **parameters):
    from skguard import GuardedKerasRegressor

    defaults = {"loss": "mse", "optimizer": "adam", "verbose": 0, "random_state": 0}
    return GuardedKerasRegressor(model, **defaults | parameters)
