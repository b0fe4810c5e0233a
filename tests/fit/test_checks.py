"""A model, its loss and the data are checked before the first batch, and nothing is trained."""

import re

import keras
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard._fit.checks import check_compiled_model
from skguard._fit.data import Encoded
from skguard.exceptions import InputTypeError, InputValueError
from tests.fit.probes import RecordsEpochs
from tests.models import build_classifier, build_regressor, make_regressor

trainings = []


class RecordsTraining(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        trainings.append(self)


@pytest.fixture(autouse=True)
def _no_trainings():
    trainings.clear()


def dense(units, activation=None, loss=None, width=4):
    """Return a model function for any output layer, compiled if a loss is given."""

    def build():
        model = keras.Sequential([keras.Input((width,)), keras.layers.Dense(units, activation)])
        if loss is not None:
            model.compile("sgd", loss)
        return model

    return build


def two_outputs():
    inputs = keras.Input((4,))
    return keras.Model(inputs, [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(inputs)])


def compiled(model):
    model.compile("sgd", "mse")
    return model


def encoded(X):
    """Wrap X as the data of a fit without a target."""
    return Encoded(X, None, None, None, None, None)


def classifier(model=build_classifier, **kwargs):
    defaults = {"loss": "sparse_categorical_crossentropy", "verbose": 0, "random_state": 0}
    return GuardedKerasClassifier(model, callbacks=[RecordsTraining], **defaults | kwargs)


def regressor(model=build_regressor, **kwargs):
    defaults = {"loss": "mse", "verbose": 0, "random_state": 0}
    return GuardedKerasRegressor(model, callbacks=[RecordsTraining], **defaults | kwargs)


def assert_rejected(estimator, X, y, error, match, **fit_arguments):
    """Check that ``fit`` raises before training and changes no attribute."""
    before = dict(vars(estimator))
    with pytest.raises(error, match=match):
        estimator.fit(X, y, **fit_arguments)
    assert trainings == []
    after = vars(estimator)
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)


def test_a_fit_without_problems_trains(blobs):
    classifier().fit(*blobs)
    assert len(trainings) == 1


@pytest.mark.parametrize(
    ("model", "error", "match"),
    [
        (3, TypeError, "model=3 is a int. It must be a callable"),
        ("mlp", TypeError, "model='mlp' is a str. It must be a callable"),
        ([dense(1)], TypeError, "is a list. It must be a callable"),
        (None, ValueError, "model=None of GuardedKerasRegressor builds nothing"),
    ],
    ids=["int", "str", "list", "none"],
)
def test_an_unusable_model_parameter_is_rejected(model, error, match, line):
    assert_rejected(regressor(model), *line, error, match)


@pytest.mark.parametrize(
    "model",
    [
        keras.layers.Dense(3),
        keras.layers.Dense,
        keras.losses.MeanSquaredError(),
        keras.metrics.AUC(),
        keras.optimizers.Adam,
        keras.optimizers.schedules.CosineDecay(0.1, 10),
    ],
    ids=["layer", "layer_class", "loss", "metric", "optimizer_class", "schedule"],
)
@pytest.mark.parametrize("method", ["fit", "initialize"])
def test_a_part_of_a_model_as_model_is_rejected(method, model, line):
    estimator = regressor(model, units=3)
    with pytest.raises(InputTypeError, match=r"is a part of a model, .* def build\(meta\)"):
        getattr(estimator, method)(*line)


def test_a_model_beside_a_build_fn_is_rejected(line):
    estimator = regressor(dense(1), build_fn=dense(2))
    assert_rejected(estimator, *line, ValueError, "build_fn=.* both build a model. Leave out build")


@pytest.mark.parametrize("model", ["function", "with_kwargs", "of_y"])
def test_a_model_function_for_keras_wrappers_is_rejected(model, line):
    def function(X, y, units=3):
        raise AssertionError("called")

    def with_kwargs(X, y, **kwargs):
        raise AssertionError("called")

    def of_y(y):
        raise AssertionError("called")

    match = f"model function {model} takes '.', as those of keras.wrappers. Take meta instead"
    assert_rejected(regressor(locals()[model]), *line, ValueError, match)


@pytest.mark.parametrize(
    "model", [build_regressor, lambda meta, compile_kwargs: build_regressor(meta)]
)
def test_a_missing_optimizer_is_rejected(model, line):
    match = 'optimizer=None: .*optimizer="adam"'
    assert_rejected(regressor(model, optimizer=None), *line, ValueError, match)


def test_a_model_parameter_beside_a_build_method_is_rejected(line):
    class WithMethod(GuardedKerasRegressor):
        def _keras_build_fn(self):
            return dense(1)()

    estimator = WithMethod(dense(1), loss="mse", callbacks=[RecordsTraining])
    assert_rejected(estimator, *line, ValueError, "_keras_build_fn of WithMethod both build")


@pytest.mark.parametrize("returned", [None, 3, "model", dense(1)])
def test_a_model_function_that_returns_another_object_is_rejected(returned, line):
    def build_none():
        return returned

    assert_rejected(
        regressor(build_none), *line, TypeError, r"build_none must return a keras\.Model, got "
    )


def test_a_model_function_that_returns_a_trained_model_is_rejected(line):
    once = dense(1)()
    estimator = regressor(lambda: once).fit(*line)
    trainings.clear()
    weights = [w.copy() for w in once.get_weights()]
    assert_rejected(
        estimator, *line, ValueError, "returned a model that an earlier fit has trained"
    )
    for kept, now in zip(weights, once.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_the_trained_model_of_another_estimator_is_rejected(line):
    trained = regressor(dense(1)).fit(*line).model_
    trainings.clear()
    assert_rejected(regressor(lambda: trained), *line, ValueError, "an earlier fit has trained")


@pytest.mark.parametrize("model", [dense(1), dense(1)()], ids=["function", "instance"])
def test_an_uncompiled_model_without_a_loss_is_rejected(model, line):
    assert_rejected(
        regressor(model, loss=None), *line, ValueError, "provide a loss or a compiled model"
    )


def test_a_model_compiled_without_a_loss_is_rejected(line):
    def build():
        model = dense(1)()
        model.compile("sgd")
        return model

    assert_rejected(
        regressor(build, loss=None), *line, ValueError, "provide a loss or a compiled model"
    )


def test_an_activity_regularizer_replaces_a_loss(line):
    def build():
        regularized = keras.layers.Dense(1, activity_regularizer="l2")
        return keras.Sequential([keras.Input((4,)), regularized])

    assert np.isfinite(regressor(build, loss=None).fit(*line).history_["loss"]).all()


def test_a_layer_that_adds_a_loss_replaces_a_loss(line):
    class Penalized(keras.layers.Layer):
        def call(self, x):
            self.add_loss(keras.ops.mean(x**2))
            return x

    def build():
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1), Penalized()])

    assert np.isfinite(regressor(build, loss=None).fit(*line).history_["loss"]).all()


def test_a_model_that_overrides_compute_loss_needs_no_loss(line):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.out = keras.layers.Dense(1)

        def call(self, x):
            return self.out(x)

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return keras.ops.mean((y - y_pred[:, 0]) ** 2)

    assert np.isfinite(regressor(Own, loss=None).fit(*line).history_["loss"]).all()


def test_another_number_of_outputs_is_rejected(line):
    assert_rejected(
        regressor(two_outputs), *line, ValueError, "model with 2 outputs, but y was prepared for 1"
    )


def test_another_number_of_outputs_of_a_classifier_is_rejected(blobs):
    assert_rejected(classifier(two_outputs), *blobs, ValueError, "model with 2 outputs")


def test_a_loss_that_differs_from_the_compiled_one_is_rejected(line):
    assert_rejected(
        regressor(dense(1, loss="mae"), loss="mse"),
        *line,
        ValueError,
        "loss='mse', but the model was compiled with 'mae'",
    )


@pytest.mark.parametrize(
    ("callbacks", "value"),
    [([3], "3"), (["EarlyStopping"], "'EarlyStopping'"), ({"a": object()}, "<object object at")],
    ids=["int", "str", "object"],
)
def test_an_object_that_is_not_a_callback_is_rejected(callbacks, value, line):
    estimator = regressor().set_params(callbacks=callbacks)
    match = rf"^callbacks must be a keras\.callbacks\.Callback object or class.*, got {value}"
    assert_rejected(estimator, *line, TypeError, match)


Y3 = np.repeat([0, 1, 2], 20)
BAD_TARGETS = {
    "too_few_units": (dense(2, "softmax"), "sparse_categorical_crossentropy", Y3, "3 classes.*2 u"),
    "categorical_width": (
        dense(2, "softmax"),
        "categorical_crossentropy",
        Y3,
        "y has 3 classes, but the output of the model has 2 units",
    ),
    "binary_loss_three_classes": (
        dense(1, "sigmoid"),
        "binary_crossentropy",
        Y3,
        "3 classes, and the loss binary_crossentropy takes two",
    ),
    "multilabel_width": (
        dense(2, "sigmoid"),
        "binary_crossentropy",
        np.eye(3, dtype=int)[Y3] | np.eye(3, dtype=int)[::-1][Y3],
        "y has 3 columns, but the output of the model has 2 units",
    ),
}


@pytest.mark.parametrize(("model", "loss", "y", "match"), BAD_TARGETS.values(), ids=BAD_TARGETS)
@pytest.mark.parametrize("compiled_by", ["estimator", "function"])
def test_a_target_that_does_not_fit_the_loss_is_rejected(compiled_by, model, loss, y, match, rng):
    if compiled_by == "function":
        layer = model().layers[0]
        model, loss = dense(layer.units, layer.activation, loss), None
    assert_rejected(
        classifier(model, loss=loss), rng.normal(size=(60, 4)), y, ValueError, f"(?s){match}"
    )


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", keras.losses.LogCosh()])
@pytest.mark.parametrize(("units", "columns"), [(2, 1), (1, 2), (3, 2)])
def test_a_regression_target_of_another_width_than_the_output_is_rejected(
    loss, units, columns, rng
):
    X, y = rng.normal(size=(20, 4)), rng.normal(size=(20, columns))
    match = f"y has {columns} columns?, but the output of the model has {units} units?"
    assert_rejected(
        regressor(dense(units), loss=loss), X, y[:, 0] if columns == 1 else y, ValueError, match
    )


@pytest.mark.parametrize("dtype", [int, str, bool, float], ids=lambda t: t.__name__)
def test_a_single_class_is_rejected(dtype, rng):
    y = np.ones(10).astype(dtype)
    assert_rejected(
        classifier(),
        rng.normal(size=(10, 4)),
        y,
        ValueError,
        f"two classes or more, got one class only, {y.tolist()[0]!r}.*stratified",
    )


def test_a_single_class_in_a_column_is_rejected(rng):
    X, y = rng.normal(size=(10, 4)), np.full((10, 1), "a")
    assert_rejected(classifier(), X, y, ValueError, "got one class only, 'a'")


def test_one_class_in_a_first_partial_fit_is_accepted_with_classes(rng):
    estimator = classifier().partial_fit(rng.normal(size=(5, 4)), np.zeros(5), classes=[0, 1])
    assert estimator.predict_proba(np.zeros((2, 4))).shape == (2, 2)


def test_a_label_that_is_not_in_classes_is_rejected(rng):
    X = rng.normal(size=(4, 4))
    estimator = classifier().partial_fit(X, [0, 1, 0, 1])
    trainings.clear()
    with pytest.raises(ValueError, match=r"(?i)unknown categories|not in|previously unseen"):
        estimator.partial_fit(X, [0, 1, 2, 1])
    assert trainings == []


@pytest.mark.parametrize(
    "y",
    [["low", "high"] * 10, np.array(["low", "high"] * 10), np.array(["low", "x"] * 10, object)],
    ids=["list", "str", "object"],
)
def test_text_labels_of_a_regressor_are_rejected(y, rng):
    assert_rejected(
        regressor(),
        rng.normal(size=(20, 4)),
        y,
        ValueError,
        "must be numeric, got 'low'. Use GuardedKerasClassifier",
    )


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_a_target_that_is_not_finite_is_rejected(value, line):
    X, y = line
    y[3] = value
    assert_rejected(regressor(), X, y, ValueError, r"(?i)input y contains (nan|infinity)")


BAD_FEATURES = {
    "nan": (lambda X: np.where(X[2, 1] == X, np.nan, X), "Input X contains NaN"),
    "inf": (lambda X: np.where(X[2, 1] == X, np.inf, X), "Input X contains infinity"),
    "too_large": (lambda X: X * 1e300, "infinity or a value too large for dtype.'float32'"),
    "no_samples": (lambda X: X[:0], "Found array with 0 sample"),
    "no_features": (lambda X: X[:, :0], "0 feature"),
    "one_dimension": (lambda X: X[:, 0], "Expected 2D array, got 1D array"),
    "scalar": (lambda X: 3.0, "Expected 2D array, got scalar array"),
    "text": (lambda X: np.full(X.shape, "a"), "could not convert string to float"),
    "complex": (lambda X: X + 1j, "Complex data not supported"),
    "fewer_samples_than_y": (lambda X: X[:-1], "inconsistent numbers of samples"),
}


@pytest.mark.parametrize(("spoil", "match"), BAD_FEATURES.values(), ids=BAD_FEATURES)
def test_features_that_cannot_be_used_are_rejected(spoil, match, line):
    X, y = line
    X = spoil(X)
    assert_rejected(regressor(), X, y, ValueError, match)


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        (np.ones(59), r"sample_weight.shape == \(59,\), expected \(60,\)"),
        (np.ones((60, 1)), "Sample weights must be 1D array or scalar, got 2D array"),
        (np.zeros(60), "sample_weight must be nonzero for at least one sample, got zeros only"),
        (np.full(60, np.nan), "sample_weight contains NaN"),
        (["a"] * 60, "could not convert string to float"),
    ],
    ids=["short", "2d", "zeros", "nan", "text"],
)
def test_weights_that_cannot_be_used_are_rejected(weights, match, line):
    assert_rejected(regressor(), *line, ValueError, match, sample_weight=weights)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 4), (3,)),
        ((5, 4, 2), (4, 3)),
        ((5, 4), (4, 2)),
        ((5, 4, 2), (4,)),
        ((5, 4), (None, 2)),
    ],
    ids=str,
)
def test_samples_of_another_shape_than_the_input_layer_are_rejected(shape, expected):
    inputs = keras.Input(expected)
    model = compiled(keras.Model(inputs, keras.layers.Flatten()(inputs)))
    with pytest.raises(InputValueError, match=f"samples of shape {re.escape(str(shape[1:]))}, but"):
        check_compiled_model(regressor(), model, encoded(np.zeros(shape)), None)
    with pytest.raises(ValueError, match=r"(?i)invalid input shape|incompatible"):
        model(np.zeros(shape))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 4), (4,)),
        ((5, 4, 1), (4,)),
        ((5, 4), (4, 1)),
        ((5, 4, 2), (None, 2)),
        ((5, 4), (None,)),
    ],
    ids=str,
)
def test_samples_of_a_shape_that_keras_adapts_are_accepted(shape, expected):
    inputs = keras.Input(expected)
    model = compiled(keras.Model(inputs, keras.layers.Activation("relu")(inputs)))
    check_compiled_model(regressor(), model, encoded(np.zeros(shape)), None)
    model(np.zeros(shape))


def test_one_array_for_a_model_of_two_inputs_is_rejected():
    inputs = [keras.Input((4,)), keras.Input((4,))]
    model = compiled(keras.Model(inputs, keras.layers.Add()(inputs)))
    with pytest.raises(InputValueError, match="model has 2 inputs, and X is one array"):
        check_compiled_model(regressor(), model, encoded(np.zeros((5, 4))), None)
    check_compiled_model(regressor(), model, encoded([np.zeros((5, 4))] * 2), None)


def test_features_of_another_width_than_the_input_layer_are_rejected(line):
    match = r"samples of shape \(4,\), but the model's input layer .* \(7,\)"
    assert_rejected(regressor(dense(1, width=7)), *line, ValueError, match)


@pytest.mark.parametrize("make", [classifier, regressor], ids=lambda f: f.__name__)
def test_a_missing_target_is_rejected(make, line):
    assert_rejected(make(), line[0], None, ValueError, "requires y to be passed")


@pytest.mark.parametrize("weights", [None, np.ones(60)], ids=["unweighted", "weighted"])
def test_missing_features_are_rejected(weights, line):
    with pytest.raises(ValueError, match="Expected 2D array"):
        regressor().fit(None, line[1], sample_weight=weights)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"epochs": 0}, "epochs=0 must be an int of 1 or more"),
        ({"epochs": -1}, "epochs=-1 must be an int of 1 or more"),
        ({"epochs": 2.5}, "epochs=2.5 must be an int of 1 or more"),
        ({"batch_size": 0}, "batch_size=0 must be an int of 1 or more"),
        ({"batch_size": "32"}, "batch_size='32' must be an int of 1 or more"),
    ],
    ids=str,
)
def test_numbers_that_train_nothing_are_rejected(parameters, match, line):
    assert_rejected(regressor().set_params(**parameters), *line, ValueError, match)


def test_a_rejected_fit_leaves_a_fitted_estimator_fitted(blobs):
    X, y = blobs
    estimator = classifier().fit(X, y)
    predicted = estimator.predict_proba(X)
    trainings.clear()
    assert_rejected(estimator, X[:, :3], np.zeros(60), ValueError, "one class only")
    np.testing.assert_array_equal(estimator.predict_proba(X), predicted)


def test_a_rejected_fit_leaves_an_unfitted_estimator_unfitted(blobs):
    X, _ = blobs
    estimator = classifier()
    assert_rejected(estimator, X, np.zeros(60), ValueError, "one class only")
    with pytest.raises(NotFittedError, match="not fitted yet"):
        estimator.predict(X)


def test_a_corrected_estimator_fits_after_an_error(line):
    estimator = regressor(dense(2))
    assert_rejected(estimator, *line, ValueError, "has 2 units")
    estimator.set_params(model=dense(1)).fit(*line)
    assert len(trainings) == 1


def test_an_unused_parameter_raises_with_the_argument_of_the_model_function(line):
    def build(optimizer="sgd"):
        model = dense(1)()
        model.compile(optimizer, "mse")
        return model

    match = r"optimizer='adam' would never be used, .* use model__optimizer\."
    assert_rejected(regressor(build, optimizer="adam"), *line, ValueError, match)


def test_an_unused_parameter_of_a_compiled_model_object_raises(line):
    model = dense(1)()
    model.compile("sgd", "mse")
    match = "compiled before it was passed. Pass a model that is not compiled"
    assert_rejected(regressor(model, optimizer="adam"), *line, ValueError, match)


def test_a_required_argument_with_the_name_of_a_parameter_raises_with_its_prefix(line):
    def build(optimizer):
        return dense(1)()

    match = r"needs 'optimizer' .*model__optimizer=\.\.\."
    assert_rejected(regressor(build, optimizer="adam"), *line, ValueError, match)


def build_for_tens(meta):
    return keras.Sequential([keras.Input(batch_shape=(10, 4)), keras.layers.Dense(1)])


@pytest.mark.parametrize(
    "parameters",
    [
        {"batch_size": None},
        {"batch_size": 20},
        {"batch_size": 10, "validation_fraction": 0.25},
        {"batch_size": -1},
    ],
    ids=str,
)
def test_batches_of_another_size_than_a_fixed_input_are_rejected(parameters, line, begun):
    estimator = make_regressor(build_for_tens, callbacks=RecordsEpochs, **parameters)
    with pytest.raises(
        ValueError,
        match=r"has a fixed batch size of 10, but (60|45) samples would be divided into batches of",
    ):
        estimator.fit(*line)
    assert begun == []


@pytest.mark.parametrize("rule", [{}, {"validation_fraction": 0.5}], ids=["alone", "validation"])
def test_batches_of_the_size_of_a_fixed_input_are_accepted(rule, line):
    assert make_regressor(build_for_tens, batch_size=10, **rule).fit(*line).n_epochs_ == 1


def test_a_batch_size_above_the_number_of_samples_is_accepted(line):
    X, y = line
    assert make_regressor(batch_size=500).fit(X[:7], y[:7]).n_epochs_ == 1
