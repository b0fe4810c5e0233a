import logging

import keras
import numpy as np
import pytest

from skguard import _engine as engine
from skguard.callbacks import RevertWeights


class Losses(keras.callbacks.Callback):
    """Log given values, and make the weight a count of the epochs that were not reverted."""

    def __init__(self, values):
        super().__init__()
        self.values = values
        self.counts = []

    def on_epoch_end(self, epoch, logs=None):
        count = float(self.model.weights[0].numpy().ravel()[0]) + 1
        self.model.weights[0].assign([[count]])
        self.counts.append(count)
        logs["watched"] = self.values[epoch]


class Counts(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.counts = []

    def on_epoch_end(self, epoch, logs=None):
        self.counts.append(float(self.model.weights[0].numpy().ravel()[0]))


def trace(values, **settings):
    """Train once; return the weight after each epoch, what was logged, the callback and model."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.layers[0].set_weights([np.zeros((1, 1))])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    revert, counts = RevertWeights("watched", mode="min", **settings), Counts()
    history = model.fit(
        np.zeros((2, 1)),
        np.zeros((2, 1)),
        epochs=len(values),
        verbose=0,
        callbacks=[Losses(values), revert, counts],
    ).history
    return counts.counts, history["reverted"], revert, model


CASES = {
    "previous restores the start of the epoch that got worse": (
        [3, 2, 4, 1],
        {},
        [1, 2, 2, 3],
        [0, 0, 1, 0],
    ),
    "previous compares with the last epoch that was not reverted": (
        [3, 1, 2, 2, 1],
        {},
        [1, 2, 2, 2, 3],
        [0, 0, 1, 1, 0],
    ),
    "best restores the best epoch": (
        [3, 1, 1.5, 2, 0.5],
        {"to": "best", "min_delta": 0.6},
        [1, 2, 3, 2, 3],
        [0, 0, 0, 1, 0],
    ),
    "min_delta ignores smaller changes": (
        [1, 1.5, 1.9, 2.5],
        {"min_delta": 0.5},
        [1, 2, 3, 3],
        [0, 0, 0, 1],
    ),
    "a relative min_delta is a fraction of the value": (
        [10, 10.9, 12.1],
        {"min_delta": 0.1, "relative": True},
        [1, 2, 2],
        [0, 0, 1],
    ),
    "patience tolerates epochs and then reverts them too": (
        [1, 2, 3, 0.5],
        {"patience": 1},
        [1, 2, 1, 2],
        [0, 0, 1, 0],
    ),
    "an epoch that is not worse resets patience": (
        [1, 2, 0.9, 2, 3],
        {"patience": 1},
        [1, 2, 3, 4, 3],
        [0, 0, 0, 0, 1],
    ),
    "no epoch counts as worse during cooldown": (
        [1, 2, 3, 4, 5],
        {"cooldown": 2, "to": "best"},
        [1, 1, 2, 3, 1],
        [0, 1, 0, 0, 1],
    ),
    "NaN is worse than anything": ([1, np.nan, 0.5], {}, [1, 1, 2], [0, 1, 0]),
    "the first epoch is never reverted": ([np.nan, 5, 4], {}, [1, 2, 3], [0, 0, 0]),
    "after max_reverts training continues": (
        [1, 2, 3, 4],
        {"max_reverts": 1, "on_max": "continue"},
        [1, 1, 2, 3],
        [0, 1, 0, 0],
    ),
    "after max_reverts training stops in the earlier state": (
        [1, 2, 3, 4],
        {"max_reverts": 1},
        [1, 1, 1],
        [0, 1, 1],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_monitored_values_lead_to_these_states(case):
    values, settings, counts, reverted = CASES[case]
    seen, logged, *_ = trace(values, **settings)
    assert seen == counts
    assert logged == reverted


def test_to_best_ends_training_with_the_best_epoch():
    *_, model = trace([3, 1, 2, 2.5], to="best", min_delta=5)
    assert model.weights[0].numpy() == 2


def test_a_higher_auc_is_better():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    revert = RevertWeights("val_auc")
    revert.set_model(model)
    revert.on_train_begin()
    for epoch, value in enumerate([0.5, 0.7, 0.6]):
        revert.on_epoch_end(epoch, {"val_auc": value, "loss": 1.0})
    assert [(r.epoch, r.to_epoch, r.value, r.reference) for r in revert.reverts_] == [
        (2, 1, 0.6, 0.7)
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"to": "first"}, "to='first' of RevertWeights must be one of 'previous', 'best'"),
        ({"mode": "less"}, "mode='less'"),
        ({"on_max": "halt"}, "on_max='halt'"),
        ({"patience": -1}, "patience=-1"),
        ({"cooldown": -1}, "cooldown=-1"),
        ({"min_delta": -0.1}, "min_delta=-0.1"),
        ({"factor": 0}, "factor=0"),
        ({"factor": 2}, "factor=2"),
        ({"max_reverts": -1}, "max_reverts=-1"),
    ],
)
def test_invalid_parameters_raise_in_the_constructor(settings, message):
    with pytest.raises(ValueError, match=message):
        RevertWeights(**settings)


def network(units=4, optimizer="adam"):
    layers = [keras.layers.Dense(units, "relu"), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    return model


class States(keras.callbacks.Callback):
    """Record all variables at the end of each epoch, at this place in the list of callbacks."""

    def __init__(self):
        super().__init__()
        self.weights, self.slots, self.learning_rates = [], [], []

    def on_epoch_end(self, epoch, logs=None):
        optimizer = self.model.optimizer
        learning_rate = optimizer.learning_rate
        self.weights.append(self.model.get_weights())
        self.slots.append([np.array(v) for v in optimizer.variables if v is not learning_rate])
        self.learning_rates.append(float(learning_rate.numpy()))


def equal(these, those):
    return all(np.array_equal(a, b) for a, b in zip(these, those, strict=True))


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize("name", ["fused", "keras"])
@pytest.mark.parametrize("with_optimizer", [True, False])
def test_all_variables_are_restored_bit_for_bit(name, with_optimizer, rng):
    class Worse(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["watched"] = [1.0, 0.5, 2.0][epoch]

    before, after = States(), States()
    revert = RevertWeights("watched", mode="min", restore_optimizer=with_optimizer)
    engine.train(
        network(),
        rng.normal(size=(40, 3)),
        rng.normal(size=(40, 1)),
        engine=name,
        epochs=3,
        verbose=0,
        callbacks=[Worse(), before, revert, after],
    )
    assert len(revert.reverts_) == 1
    assert not equal(before.weights[2], before.weights[1])
    assert equal(after.weights[2], before.weights[1])
    assert not equal(before.slots[2], before.slots[1])
    assert equal(after.slots[2], before.slots[1]) == with_optimizer


def test_the_learning_rate_is_reduced_at_each_revert_and_not_restored(rng):
    class Worse(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["watched"] = float(epoch)

    states = States()
    revert = RevertWeights("watched", mode="min", factor=0.5, min_lr=0.02)
    network(optimizer=keras.optimizers.Adam(0.08)).fit(
        rng.normal(size=(8, 3)),
        rng.normal(size=(8, 1)),
        epochs=5,
        verbose=0,
        callbacks=[Worse(), revert, states],
    )
    np.testing.assert_allclose(states.learning_rates, [0.08, 0.04, 0.02, 0.02, 0.02], rtol=1e-6)
    assert [r.learning_rate for r in revert.reverts_] == pytest.approx([0.04, 0.02, 0.02, 0.02])


def test_factor_and_a_schedule_raise_when_training_starts(line):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model = network(optimizer=keras.optimizers.Adam(schedule))
    with pytest.raises(ValueError, match=r"factor=0\.5 of RevertWeights reduces the learning rate"):
        model.fit(np.zeros((4, 3)), np.zeros(4), verbose=0, callbacks=RevertWeights(factor=0.5))


def test_a_monitor_that_is_not_logged_raises():
    with pytest.raises(ValueError, match="monitor='los' of RevertWeights is not among"):
        network().fit(
            np.zeros((4, 3)), np.zeros(4), verbose=0, callbacks=RevertWeights("los", mode="min")
        )


def test_mode_auto_raises_if_the_direction_cannot_be_inferred():
    with pytest.raises(ValueError, match="mode='auto' of RevertWeights cannot infer"):
        network().fit(np.zeros((4, 3)), np.zeros(4), verbose=0, callbacks=RevertWeights("watched"))


def test_each_revert_is_logged(caplog):
    with caplog.at_level(logging.INFO, logger="skguard"):
        trace([1, 2])
    assert "Epoch 1: watched was 2.0, worse than 1.0 in epoch 0" in caplog.text


def test_saved_states_are_released_after_training():
    *_, revert, _ = trace([1, 2, 0.5])
    assert revert._saved is None


def test_estimators_train_a_copy_and_keep_its_reverts(regressor, line):
    revert = RevertWeights(to="best", factor=0.5)
    regressor.set_params(callbacks=revert, optimizer__learning_rate=1.0, epochs=30)
    regressor.fit(*line)
    assert revert.reverts_ == []
    (trained,) = regressor.callbacks_
    assert trained.reverts_
    assert sum(regressor.history_["reverted"]) == len(trained.reverts_)


@pytest.mark.parametrize("name", ["fused", "keras"])
def test_a_fit_that_reverts_a_nan_does_not_fail(name, line, regressor):
    class Poison(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.model.layers[-1].bias.assign([np.nan])

    regressor.set_params(callbacks=[RevertWeights(), Poison()], epochs=5, engine=name)
    regressor.fit(*line)
    assert regressor.history_["reverted"][2] == 1
    assert np.isnan(regressor.history_["loss"][2])
    assert np.isfinite(regressor.history_["loss"][3:]).all()
    assert all(np.isfinite(w).all() for w in regressor.model_.get_weights())


def test_the_final_loss_is_lower_with_too_high_a_learning_rate():
    """20 seeds with a learning rate that is far too high, restoring the best epoch."""
    lower, above_best = 0, 0
    for seed in range(20):
        losses = {}
        # "loss" is a mean over an epoch. "val_loss" on the training samples is of its final state.
        for revert in (None, RevertWeights("val_loss", to="best", factor=0.5)):
            keras.utils.set_random_seed(seed)
            rng = np.random.default_rng(seed)
            X = rng.normal(size=(64, 4)).astype("float32")
            y = (X**2).sum(1, keepdims=True)
            model = keras.Sequential(
                [keras.Input((4,)), keras.layers.Dense(16, "tanh"), keras.layers.Dense(1)]
            )
            model.compile(keras.optimizers.SGD(0.3), "mse")
            run = engine.train(
                model,
                X,
                y,
                engine="fused",
                epochs=30,
                batch_size=16,
                verbose=0,
                callbacks=[revert] if revert else [],
                validation_data=(X, y),
            )
            predicted = engine.predict(model, X, engine="fused", verbose=0)
            losses[revert is not None] = np.mean((predicted - y) ** 2)
            if revert:
                above_best += losses[True] > np.nanmin(run.history["val_loss"]) * (1 + 1e-5)
        lower += not losses[False] <= losses[True]
    assert above_best == 0
    assert lower >= 18


def test_early_stopping_restores_the_weights_of_its_best_value(regressor, line):
    class Worse(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["watched"] = float(epoch)  # every epoch after the first is reverted

    regressor.set_params(
        callbacks=[RevertWeights("watched", mode="min"), Worse()], early_stopping=True, epochs=4
    )
    regressor.fit(*line)
    validation = [array[regressor.validation_indices_] for array in line]
    loss = np.mean((regressor.predict(validation[0]) - validation[1]) ** 2)
    assert regressor.history_["reverted"] == [0, 1, 1, 1]
    assert regressor.best_epoch_ > 0
    assert loss == pytest.approx(min(regressor.history_["val_loss"]), rel=1e-5)


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        ("val_loss", "monitor='val_loss' of RevertWeights is computed on"),
        ("los", "is not among the values logged.*Did you mean 'loss'"),
        ("watched", "mode='auto' of RevertWeights cannot infer"),
    ],
)
def test_an_estimator_raises_without_retry(monitor, message, regressor, line):
    mode = "auto" if monitor == "watched" else "min"
    regressor.set_params(callbacks=RevertWeights(monitor, mode=mode), max_retries=2)
    with pytest.raises(ValueError, match=message) as caught:
        regressor.fit(*line)
    assert len(caught.value.attempts) == 1


@pytest.mark.parametrize(
    ("monitor", "sign"),
    [("val_loss", 1), ("mae", 1), ("val_auc", -1), ("val_neg_log_loss", -1), ("f1_macro", -1)],
)
def test_the_direction_is_inferred_from_the_name(monitor, sign):
    revert = RevertWeights(monitor)
    revert.set_model(network())
    revert.on_train_begin()
    assert revert._sign == sign
