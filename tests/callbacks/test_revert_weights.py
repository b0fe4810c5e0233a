import logging

import keras
import numpy as np
import pytest

from skguard import _engine as engine
from skguard.callbacks import RevertWeights


class Losses(keras.callbacks.Callback):
    """Make the monitored values a given list, and the weights a count of epochs."""

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
    """What the weight was after each epoch, where it counts the epochs that stood."""
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
    "previous goes back to the start of the epoch that got worse": (
        [3, 2, 4, 1],
        {},
        [1, 2, 2, 3],
        [0, 0, 1, 0],
    ),
    "previous compares with the last epoch that stood": (
        [3, 1, 2, 2, 1],
        {},
        [1, 2, 2, 2, 3],
        [0, 0, 1, 1, 0],
    ),
    "best goes back to the best epoch": (
        [3, 1, 1.5, 2, 0.5],
        {"to": "best", "tolerance": 0.6},
        [1, 2, 3, 2, 3],
        [0, 0, 0, 1, 0],
    ),
    "a tolerance lets small rises pass": (
        [1, 1.5, 1.9, 2.5],
        {"tolerance": 0.5},
        [1, 2, 3, 3],
        [0, 0, 0, 1],
    ),
    "a relative tolerance is a share of the value": (
        [10, 10.9, 12.1],
        {"tolerance": 0.1, "relative": True},
        [1, 2, 2],
        [0, 0, 1],
    ),
    "patience lets epochs pass and then takes them back too": (
        [1, 2, 3, 0.5],
        {"patience": 1},
        [1, 2, 1, 2],
        [0, 0, 1, 0],
    ),
    "an epoch that is no worse ends the row": (
        [1, 2, 0.9, 2, 3],
        {"patience": 1},
        [1, 2, 3, 4, 3],
        [0, 0, 0, 0, 1],
    ),
    "cooldown judges nothing for a while": (
        [1, 2, 3, 4, 5],
        {"cooldown": 2, "to": "best"},
        [1, 1, 2, 3, 1],
        [0, 1, 0, 0, 1],
    ),
    "NaN is worse than anything": ([1, np.nan, 0.5], {}, [1, 1, 2], [0, 1, 0]),
    "the first epoch never goes back": ([np.nan, 5, 4], {}, [1, 2, 3], [0, 0, 0]),
    "after max_reverts training goes on": (
        [1, 2, 3, 4],
        {"max_reverts": 1, "on_max": "continue"},
        [1, 1, 2, 3],
        [0, 1, 0, 0],
    ),
    "after max_reverts training stops at the earlier state": (
        [1, 2, 3, 4],
        {"max_reverts": 1},
        [1, 1, 1],
        [0, 1, 1],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_trace_of_losses_leads_to_these_states(case):
    values, settings, counts, reverted = CASES[case]
    seen, logged, *_ = trace(values, **settings)
    assert seen == counts
    assert logged == reverted


def test_training_to_the_best_ends_on_the_best_epoch():
    *_, model = trace([3, 1, 2, 2.5], to="best", tolerance=5)
    assert model.weights[0].numpy() == 2


def test_more_is_better_where_the_mode_says_so():
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
        ({"to": "first"}, "to='first' is none of 'previous', 'best'"),
        ({"mode": "less"}, "mode='less'"),
        ({"on_max": "halt"}, "on_max='halt'"),
        ({"patience": -1}, "patience=-1"),
        ({"cooldown": -1}, "cooldown=-1"),
        ({"tolerance": -0.1}, "tolerance=-0.1"),
        ({"lr_factor": 0}, "lr_factor=0"),
        ({"lr_factor": 2}, "lr_factor=2"),
        ({"max_reverts": -1}, "max_reverts=-1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RevertWeights(**settings)


def network(units=4, optimizer="adam"):
    layers = [keras.layers.Dense(units, "relu"), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    return model


class States(keras.callbacks.Callback):
    """All variables after each epoch, before and after what stands later in the list."""

    def __init__(self):
        super().__init__()
        self.weights, self.slots, self.rates = [], [], []

    def on_epoch_end(self, epoch, logs=None):
        optimizer = self.model.optimizer
        rate = optimizer.learning_rate
        self.weights.append(self.model.get_weights())
        self.slots.append([np.array(v) for v in optimizer.variables if v is not rate])
        self.rates.append(float(rate.numpy()))


def equal(these, those):
    return all(np.array_equal(a, b) for a, b in zip(these, those, strict=True))


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize("name", ["fused", "keras"])
@pytest.mark.parametrize("with_optimizer", [True, False])
def test_slots_and_statistics_go_back_bit_for_bit(name, with_optimizer, rng):
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


def test_the_rate_falls_at_each_revert_and_does_not_go_back(rng):
    class Worse(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["watched"] = float(epoch)

    states = States()
    revert = RevertWeights("watched", mode="min", lr_factor=0.5, min_lr=0.02)
    network(optimizer=keras.optimizers.Adam(0.08)).fit(
        rng.normal(size=(8, 3)),
        rng.normal(size=(8, 1)),
        epochs=5,
        verbose=0,
        callbacks=[Worse(), revert, states],
    )
    np.testing.assert_allclose(states.rates, [0.08, 0.04, 0.02, 0.02, 0.02], rtol=1e-6)
    assert [r.learning_rate for r in revert.reverts_] == pytest.approx([0.04, 0.02, 0.02, 0.02])


def test_a_schedule_and_a_factor_are_refused_when_training_starts(line):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model = network(optimizer=keras.optimizers.Adam(schedule))
    with pytest.raises(ValueError, match=r"lr_factor=0\.5 of RevertWeights"):
        model.fit(np.zeros((4, 3)), np.zeros(4), verbose=0, callbacks=RevertWeights(lr_factor=0.5))


def test_a_monitor_that_is_not_logged_is_an_error():
    with pytest.raises(ValueError, match="monitor='los' of RevertWeights is not among"):
        network().fit(
            np.zeros((4, 3)), np.zeros(4), verbose=0, callbacks=RevertWeights("los", mode="min")
        )


def test_a_mode_that_no_name_tells_is_asked_for():
    with pytest.raises(ValueError, match="mode='auto' of RevertWeights does not know"):
        network().fit(np.zeros((4, 3)), np.zeros(4), verbose=0, callbacks=RevertWeights("watched"))


def test_each_revert_is_logged(caplog):
    with caplog.at_level(logging.INFO, logger="skguard"):
        trace([1, 2])
    assert "Epoch 1: watched was 2.0, worse than 1.0 in epoch 0" in caplog.text


def test_nothing_is_kept_after_training():
    *_, revert, _ = trace([1, 2, 0.5])
    assert revert._saved is None


def test_estimators_train_a_copy_and_tell_what_happened(regressor, line):
    revert = RevertWeights(to="best", lr_factor=0.5)
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


def test_on_a_problem_that_diverges_it_ends_lower():
    """Twenty seeds of a rate that is far too high, with the state of the best epoch kept."""
    lower, above_best = 0, 0
    for seed in range(20):
        losses = {}
        # "loss" is a mean over an epoch; the training rows evaluated after it are its state's.
        for revert in (None, RevertWeights("val_loss", to="best", lr_factor=0.5)):
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


def test_early_stopping_keeps_the_weights_that_its_value_belongs_to(regressor, line):
    class Worse(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["watched"] = float(epoch)  # every epoch after the first is taken back

    regressor.set_params(
        callbacks=[RevertWeights("watched", mode="min"), Worse()], early_stopping=True, epochs=4
    )
    regressor.fit(*line)
    held_out = [array[regressor.validation_indices_] for array in line]
    loss = np.mean((regressor.predict(held_out[0]) - held_out[1]) ** 2)
    assert regressor.history_["reverted"] == [0, 1, 1, 1]
    assert regressor.best_epoch_ > 0
    assert loss == pytest.approx(min(regressor.history_["val_loss"]), rel=1e-5)


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        ("val_loss", "computed on rows that are held out, and there are none"),
        ("los", "is not among the values logged.*Did you mean 'loss'"),
        ("watched", "mode='auto' of RevertWeights does not know"),
    ],
)
def test_an_estimator_refuses_it_once(monitor, message, regressor, line):
    mode = "auto" if monitor == "watched" else "min"
    regressor.set_params(callbacks=RevertWeights(monitor, mode=mode), max_retries=2)
    with pytest.raises(ValueError, match=message) as caught:
        regressor.fit(*line)
    assert len(caught.value.attempts) == 1


@pytest.mark.parametrize(
    ("monitor", "sign"),
    [("val_loss", 1), ("mae", 1), ("val_auc", -1), ("val_neg_log_loss", -1), ("f1_macro", -1)],
)
def test_usual_names_tell_what_is_better(monitor, sign):
    revert = RevertWeights(monitor)
    revert.set_model(network())
    revert.on_train_begin()
    assert revert._sign == sign
