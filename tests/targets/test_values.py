"""Targets of regressors: numbers, quantiles, a mean and a deviation."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import mean_pinball_loss, r2_score
from sklearn.model_selection import cross_val_predict

from skguard import GuardedKerasRegressor
from skguard.exceptions import InputValueError
from skguard.targets import MeanAndDeviation, Quantiles, Values
from skguard.targets._supplied_losses import GaussianLoss, QuantileLoss
from tests.targets.kinds import tried
from tests.targets.outputs import dense, output

LEVELS = [0.1, 0.5, 0.9]


def regressor(model, **parameters):
    defaults = {"optimizer": "adam", "verbose": 0, "random_state": 0}
    return GuardedKerasRegressor(model, **defaults | parameters)


shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)


@tried
@given(shapes, st.integers(1, 5))
def test_predictions_have_the_shape_of_y(shape, n_samples):
    y = np.arange(n_samples * int(np.prod(shape)), dtype=float).reshape(n_samples, *shape)
    found = output(*shape, loss="mse") if shape else output(1, loss="mse")
    target = Values().fit(y).for_outputs([found])
    np.testing.assert_array_equal(target.transform(y), y)
    outputs = y if shape else y[:, np.newaxis]
    np.testing.assert_array_equal(target.inverse_transform(outputs), y)
    assert target.n_outputs_ == (shape[0] if shape else 1)


@tried
@given(shapes, shapes, st.sampled_from(["mse", "mae", "huber", lambda y, p: p]))
def test_a_loss_is_never_broadcast(shape, other, loss):
    y = np.zeros((2, *shape))
    target = Values().fit(y)
    squeezed, squeezed_other = (s[:-1] if s[-1:] == (1,) else s for s in (shape, other))
    if squeezed == squeezed_other:
        target.for_outputs([output(*other, loss=loss)])
        return
    with pytest.raises(InputValueError, match=r"y has \d columns?, but the output of the model"):
        target.for_outputs([output(*other, loss=loss)])


def test_unknown_steps_are_accepted():
    Values().fit(np.zeros((2, 5, 3))).for_outputs([output(None, 3, loss="mse")])


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "circle", "ctc"])
def test_a_loss_of_classes_is_an_error(loss):
    with pytest.raises(InputValueError, match="Use GuardedKerasClassifier for classes, or say how"):
        Values().fit(np.zeros(3)).for_outputs([output(1, loss=loss)])


def test_outputs_and_targets_of_another_shape_are_an_error():
    target = Values().fit(np.zeros((4, 2)))
    with pytest.raises(InputValueError, match=r"outputs of shape \(3,\) per sample, but y has"):
        target.inverse_transform(np.zeros((4, 3)))
    with pytest.raises(InputValueError, match=r"y has samples of shape \(3,\), but \(2,\) was exp"):
        target.transform(np.zeros((4, 3)))


def test_the_quantile_loss_is_the_mean_pinball_loss(rng):
    y, p = rng.normal(size=(8, 1)).astype("float32"), rng.normal(size=(8, 3)).astype("float32")
    expected = np.mean([mean_pinball_loss(y[:, 0], p[:, i], alpha=LEVELS[i]) for i in range(3)])
    assert float(QuantileLoss(LEVELS)(y, p)) == pytest.approx(expected, rel=1e-5)


TO_STD = {
    "std": (lambda s: s),
    "variance": (lambda s: s**2),
    "log_std": np.log,
    "log_variance": (lambda s: np.log(s**2)),
}


@pytest.mark.parametrize("deviation", TO_STD)
def test_the_gaussian_loss_is_the_negative_log_likelihood(deviation, rng):
    mean, std = rng.normal(size=8), rng.uniform(0.2, 3, size=8)
    y = rng.normal(size=(8, 1))
    outputs = np.column_stack([mean, TO_STD[deviation](std)]).astype("float32")
    expected = -norm.logpdf(y[:, 0], mean, std).mean()
    found = GaussianLoss(deviation)(y.astype("float32"), outputs)
    assert float(found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("loss", [QuantileLoss(LEVELS), GaussianLoss("std")])
def test_losses_of_targets_can_be_saved(loss, rng):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    y, p = rng.random((4, 1)).astype("float32"), rng.random((4, 3)).astype("float32")
    assert float(again(y, p)) == float(loss(y, p))


@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_quantiles_are_predicted_scored_and_cross_validated(engine, line):
    X, y = line
    target = Quantiles(LEVELS)
    estimator = regressor(dense(3), target=target, engine=engine, epochs=3, loss=None).fit(X, y)
    predicted = estimator.predict(X)
    assert predicted.shape == (60, 3)
    np.testing.assert_allclose(predicted, estimator.model_.predict(X, verbose=0), rtol=1e-6)
    pinball = [
        1
        - mean_pinball_loss(y, predicted[:, i], alpha=a)
        / mean_pinball_loss(y, np.full_like(y, np.quantile(y, a)), alpha=a)
        for i, a in enumerate(LEVELS)
    ]
    assert estimator.score(X, y) == pytest.approx(np.mean(pinball), rel=1e-6)
    assert cross_val_predict(estimator, X, y, cv=2).shape == (60, 3)


def test_quantiles_without_levels_are_predicted_and_have_no_score(line):
    X, y = line
    estimator = regressor(dense(3), target="quantiles", loss=QuantileLoss(LEVELS)).fit(X, y)
    assert estimator.predict(X).shape == (60, 3)
    with pytest.raises(InputValueError, match="A score of quantiles needs to know which they are"):
        estimator.score(X, y)


@pytest.mark.parametrize(
    ("levels", "found", "match"),
    [
        (LEVELS, output(2, loss=None), "needs a model with 3 units"),
        (None, output(4, 2, loss=None), "needs a model with one unit per quantile"),
        (LEVELS, output(3, loss="mse"), "needs a loss that compares one number with several units"),
        ([0.5, 1.0], output(2), r"levels=\[0.5, 1.0\] of Quantiles must be a list of numbers in"),
        ([], output(2), "must be a list of numbers in"),
    ],
)
def test_quantiles_that_cannot_be_predicted_are_an_error(levels, found, match):
    with pytest.raises(InputValueError, match=match):
        Quantiles(levels).fit(np.zeros(3)).for_outputs([found])


@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_a_mean_and_its_deviation_are_predicted(engine, line):
    X, y = line
    estimator = regressor(dense(2), target="mean_and_deviation", engine=engine, epochs=3, loss=None)
    estimator.fit(X, y)
    outputs = estimator.model_.predict(X, verbose=0)
    mean, std = estimator.predict(X, return_std=True)
    np.testing.assert_allclose(mean, outputs[:, 0], rtol=1e-6)
    np.testing.assert_allclose(std, np.exp(outputs[:, 1] / 2), rtol=1e-6)
    np.testing.assert_array_equal(estimator.predict(X), mean)
    assert estimator.score(X, y) == r2_score(y, mean)


@pytest.mark.parametrize("deviation", TO_STD)
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_every_form_of_deviation_is_a_std_in_the_shape_of_y(deviation, shape, rng):
    std = rng.uniform(0.2, 3, size=6)
    loss = GaussianLoss(deviation)
    for target in (MeanAndDeviation(deviation), MeanAndDeviation()):
        target = target.fit(np.zeros(shape)).for_outputs([output(2, loss=loss)])
        outputs = np.column_stack([np.zeros(6), TO_STD[deviation](std)])
        np.testing.assert_allclose(target.std(outputs), std.reshape(shape))
        assert target.inverse_transform(outputs).shape == shape


def custom(y, p):
    return keras.ops.square(y[:, 0] - p[:, 0])


def test_a_deviation_of_a_custom_loss_has_to_be_stated():
    target = MeanAndDeviation().fit(np.zeros(3)).for_outputs([output(2, loss=custom)])
    with pytest.raises(InputValueError, match="return_std=True needs to know what the second unit"):
        target.std(np.zeros((3, 2)))
    target = MeanAndDeviation("variance").fit(np.zeros(3)).for_outputs([output(2, loss=custom)])
    np.testing.assert_array_equal(target.std(np.full((3, 2), 4.0)), [2, 2, 2])


@pytest.mark.parametrize(
    ("target", "found", "match"),
    [
        (MeanAndDeviation("sd"), output(2), "deviation='sd' of MeanAndDeviation must be one of"),
        (MeanAndDeviation(), output(3), "needs a model with 2 units"),
        (
            MeanAndDeviation(),
            output(2, loss="mse"),
            "mean_squared_error would compare it",
        ),
        (MeanAndDeviation("std"), output(2, loss=GaussianLoss()), "but the loss takes 'log_varia"),
    ],
)
def test_a_deviation_that_cannot_be_predicted_is_an_error(target, found, match):
    with pytest.raises(InputValueError, match=match):
        target.fit(np.zeros(3)).for_outputs([found])


@pytest.mark.parametrize("target", [Quantiles(LEVELS), MeanAndDeviation()])
def test_several_numbers_per_sample_are_an_error(target):
    with pytest.raises(InputValueError, match="needs a y with one number per sample"):
        target.fit(np.zeros((3, 2)))


def test_return_std_of_another_target_is_an_error(line):
    X, y = line
    estimator = regressor(dense(1), loss="mse").fit(X, y)
    with pytest.raises(InputValueError, match="return_std=True needs a model that predicts"):
        estimator.predict(X, return_std=True)


@pytest.mark.parametrize("loss", ["binary_crossentropy", "kl_divergence", "dice"])
def test_a_linear_output_beside_a_loss_of_probabilities_is_an_error(loss, rng):
    X, y = rng.normal(size=(20, 4)), rng.uniform(size=(20, 2))
    estimator = GuardedKerasRegressor(build_linear, loss=loss, verbose=0)
    with pytest.raises(InputValueError, match="needs probabilities"):
        estimator.fit(X, y)


def test_logits_of_a_regressor_are_predicted_as_probabilities(rng):
    X, y = rng.normal(size=(20, 4)).astype("float32"), rng.uniform(size=(20, 2))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    estimator = GuardedKerasRegressor(build_linear, loss=loss, verbose=0, random_state=0).fit(X, y)
    logits = estimator.model_.predict(X, verbose=0)
    np.testing.assert_allclose(estimator.predict(X), 1 / (1 + np.exp(-logits)), rtol=1e-5)


def build_linear(meta):
    inputs = keras.Input((meta["n_features_in_"],))
    return keras.Model(inputs, keras.layers.Dense(meta["n_outputs_"])(inputs))
