"""A loss or weight that is not finite ends a fit as ``on_nan`` requests."""

import keras
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.model_selection import GridSearchCV

from skguard.exceptions import DivergedError
from tests.fit.probes import (
    ENGINES,
    LogsValues,
    RecordsEpochs,
    SetsLearningRate,
    same,
    weights_of,
)
from tests.models import make_classifier, make_regressor

NAN = float("nan")


@pytest.mark.parametrize("name", ENGINES)
def test_a_loss_that_is_not_finite_raises_with_the_epoch(name, line, begun):
    estimator = make_regressor(
        epochs=9, engine=name, callbacks=[RecordsEpochs(), SetsLearningRate()]
    )
    with pytest.raises(DivergedError, match=r"was (nan|inf) in epoch 3.*clipnorm") as raised:
        estimator.fit(*line)
    error = raised.value
    assert (error.epoch, error.metric) == (3, "loss")
    assert not np.isfinite(error.value)
    assert error.learning_rate == pytest.approx(1e38)
    assert begun == [0, 1, 2, 3]
    assert not hasattr(estimator, "model_")


@pytest.mark.parametrize("name", ENGINES)
def test_a_weight_that_is_not_finite_raises_even_if_the_loss_is_finite(name, line):
    X, y = line
    estimator = make_regressor(
        optimizer="sgd", optimizer__learning_rate=1e38, batch_size=-1, engine=name
    )
    with pytest.raises(DivergedError, match=r"the weight .*(kernel|bias) was .* in epoch 0"):
        estimator.fit(X, 1000 * y)


@pytest.mark.filterwarnings("ignore:X_val has another scale")
@pytest.mark.parametrize("name", ENGINES)
def test_a_validation_loss_that_is_not_finite_raises(name, line):
    X, y = line
    estimator = make_regressor(engine=name)
    with pytest.raises(DivergedError, match=r"val_loss was (nan|inf) in epoch 0"):
        estimator.fit(X, y, X_val=X * 1e30, y_val=y)


@pytest.mark.parametrize("name", ENGINES)
def test_stop_keeps_the_weights_of_the_last_finite_epoch(name, line):
    validation = {"validation_fraction": 0.2} if name == "keras" else {}
    estimator = make_regressor(
        epochs=9, engine=name, callbacks=SetsLearningRate(), on_nan="stop", **validation
    )
    with pytest.warns(ConvergenceWarning, match=r"diverged: .* epoch 3.*last finite epoch"):
        estimator.fit(*line)
    expected = make_regressor(epochs=3, engine=name, **validation).fit(*line)
    assert (estimator.stop_reason_, estimator.n_epochs_) == ("diverged", 3)
    assert estimator.history_ == expected.history_
    assert same(weights_of(estimator), weights_of(expected))


@pytest.mark.parametrize("name", ENGINES)
def test_stop_keeps_the_best_weights_where_early_stopping_restores_them(name, line):
    estimator = make_regressor(
        epochs=9,
        engine=name,
        callbacks=[SetsLearningRate(), LogsValues([3.0, 1.0, 2.0])],
        early_stopping=True,
        on_nan="stop",
    )
    with pytest.warns(ConvergenceWarning, match=r"diverged"):
        estimator.fit(*line)
    expected = make_regressor(epochs=2, validation_fraction=0.1, engine=name).fit(*line)
    assert (estimator.stop_reason_, estimator.best_epoch_) == ("diverged", 1)
    assert same(weights_of(estimator), weights_of(expected))


@pytest.mark.parametrize("name", ENGINES)
def test_stop_in_the_first_epoch_keeps_the_initial_weights(name, blobs):
    estimator = make_classifier(
        optimizer__learning_rate=1e38, early_stopping=True, on_nan="stop", epochs=5, engine=name
    )
    with pytest.warns(ConvergenceWarning, match="the ones it began with"):
        estimator.fit(*blobs)
    assert (estimator.n_epochs_, estimator.stop_reason_) == (0, "diverged")
    assert estimator.best_epoch_ is None
    assert estimator.history_ == {}
    assert np.isfinite(estimator.predict_proba(blobs[0])).all()


@pytest.mark.parametrize("name", ENGINES)
def test_fail_in_the_first_epoch_changes_no_attribute(name, blobs):
    estimator = make_classifier(optimizer__learning_rate=1e38, engine=name)
    before = dict(vars(estimator))
    with pytest.raises(DivergedError, match=r"in epoch 0 at a learning rate of 9\.99"):
        estimator.fit(*blobs)
    assert vars(estimator) == before


@pytest.mark.parametrize("name", ENGINES)
def test_ignore_continues_training_and_nan_is_never_the_best(name, blobs):
    estimator = make_classifier(
        optimizer__learning_rate=1e38, early_stopping=True, on_nan="ignore", epochs=3, engine=name
    )
    with pytest.warns(ConvergenceWarning, match="monitor='val_loss' .* was NaN in every epoch"):
        estimator.fit(*blobs)
    assert np.isnan(estimator.history_["loss"]).all()
    assert estimator.n_epochs_ == 3
    assert estimator.best_epoch_ is None


@pytest.mark.filterwarnings("ignore:Early stopping conditioned on:UserWarning")
@pytest.mark.parametrize(
    ("is_callback", "freq", "name"),
    [(True, 1, "fused"), (False, 1, "keras"), (False, 2, "fused"), (True, 2, "keras")],
)
def test_a_nan_in_the_first_epoch_is_never_the_best(is_callback, freq, name, line):
    values = [NAN, 3.0, 1.0, 2.0] if freq == 1 else [None, NAN, None, 3.0, None, 1.0, None, 2.0]
    stop = keras.callbacks.EarlyStopping("val_loss", patience=50, restore_best_weights=True)
    estimator = make_regressor(
        callbacks=[LogsValues(values), stop] if is_callback else LogsValues(values),
        early_stopping=not is_callback,
        **({} if is_callback else {"n_iter_no_change": 50}),
        validation_fraction=0.2,
        epochs=len(values),
        fit__validation_freq=freq,
        engine=name,
    ).fit(*line)
    best = values.index(1.0)
    assert estimator.best_epoch_ == best
    expected = make_regressor(epochs=best + 1, validation_fraction=0.2, engine=name).fit(*line)
    assert same(weights_of(estimator), weights_of(expected))


def test_a_nan_in_the_first_epoch_is_never_the_best_of_a_checkpoint(tmp_path, line):
    path = tmp_path / "best.weights.h5"
    checkpoint = keras.callbacks.ModelCheckpoint(
        str(path), save_best_only=True, save_weights_only=True
    )
    estimator = make_regressor(
        callbacks=[LogsValues([NAN, 3.0, 1.0, 2.0]), checkpoint], validation_fraction=0.2, epochs=4
    ).fit(*line)
    expected = make_regressor(epochs=3, validation_fraction=0.2).fit(*line)
    estimator.model_.load_weights(path)
    assert same(weights_of(estimator), weights_of(expected))


@pytest.mark.filterwarnings("ignore:One or more of the test scores:UserWarning")
def test_a_candidate_that_diverges_scores_nan_and_is_never_the_best(rng):
    y = np.repeat([0, 1], [100, 20])
    X = rng.normal(size=(120, 4))  # where the larger class alone is right 5 times in 6
    search = GridSearchCV(
        make_classifier(epochs=2), {"optimizer__learning_rate": [1e38, 1e-2]}, cv=2
    )
    with pytest.warns(FitFailedWarning, match=r"DivergedError: Training diverged"):
        search.fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [True, False]
    assert search.best_params_ == {"optimizer__learning_rate": 1e-2}
