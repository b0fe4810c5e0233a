import pickle

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skguard import GuardedKerasRegressor, schedules
from skguard.schedules import Cyclical, EpochCosineDecay, EpochExponentialDecay, OneCycle, StepDecay
from tests.models import build_regressor

ALL = {
    "StepDecay": StepDecay(0.1, decay_epochs=2, min_learning_rate=0.01, warmup_epochs=1.5),
    "EpochExponentialDecay": EpochExponentialDecay(
        0.1, decay_rate=0.8, min_learning_rate=0.01, warmup_epochs=1.5
    ),
    "EpochCosineDecay": EpochCosineDecay(
        0.1, decay_epochs=5, min_learning_rate=0.01, warmup_epochs=1.5
    ),
    "OneCycle": OneCycle(0.1, cycle_epochs=5, warmup_epochs=1.5),
    "Cyclical": Cyclical(0.1, half_cycle_epochs=1.5, mode="exp_range", warmup_epochs=1.5),
}


def network(schedule, **settings):
    settings = {"epochs": 3, "batch_size": 16, "verbose": 0, "random_state": 0} | settings
    return GuardedKerasRegressor(
        build_regressor,
        loss="mse",
        optimizer="sgd",
        optimizer__learning_rate=schedule,
        **settings,
    )


def final_learning_rate(estimator):
    return float(estimator.model_.optimizer.learning_rate)


def expected_rate(schedule, epoch):
    """The learning rate that a schedule should have, computed in plain Python."""
    start, after = schedule.initial_learning_rate, max(epoch - schedule.warmup_epochs, 0.0)
    if epoch < schedule.warmup_epochs:
        return start * epoch / schedule.warmup_epochs

    def cosine(start, end, fraction):
        return end + (start - end) * (1 + np.cos(np.pi * min(max(fraction, 0), 1))) / 2

    match schedule:
        case StepDecay():
            n_decays = int(after // schedule.decay_epochs)
            return max(start * schedule.decay_rate**n_decays, schedule.min_learning_rate)
        case EpochExponentialDecay():
            return max(start * schedule.decay_rate**after, schedule.min_learning_rate)
        case EpochCosineDecay():
            return cosine(start, schedule.min_learning_rate, after / schedule.decay_epochs)
        case OneCycle():
            top = schedule.pct_start * schedule.cycle_epochs
            if after < top:
                return cosine(start, 25 * start, after / top)
            fraction = (after - top) / (schedule.cycle_epochs - top)
            return cosine(25 * start, start / 1e4, fraction)
    position = after / schedule.half_cycle_epochs % 2
    amplitude = (position if position < 1 else 2 - position) * schedule.decay_rate**after
    return start + 9 * start * amplitude


def test_every_public_schedule_is_among_the_cases():
    public = set(schedules.__all__) - {"EpochSchedule"}
    assert public == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_learning_rates_follow_the_formula(name):
    rates = ALL[name].preview(9, steps_per_epoch=8)
    expected = [expected_rate(ALL[name], step / 8) for step in range(72)]
    np.testing.assert_allclose(rates, expected, rtol=2e-4, atol=1e-7)


def test_triangular2_halves_the_amplitude_after_each_cycle():
    rates = Cyclical(1.0, max_learning_rate=3.0, half_cycle_epochs=1, mode="triangular2").preview(6)
    np.testing.assert_allclose(rates, [1, 3, 1, 2, 1, 1.5])


@pytest.mark.parametrize("name", ALL)
def test_keras_serialization_round_trip(name):
    schedule = clone(ALL[name]).set_params(steps_per_epoch=7)
    optimizer = keras.optimizers.SGD(schedule)
    twin = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert float(twin.learning_rate) == float(optimizer.learning_rate)
    assert schedule.get_config() == type(schedule).from_config(schedule.get_config()).get_config()


@pytest.mark.parametrize("engine", ["fused", "keras"])
@pytest.mark.parametrize("batch_size", [16, 256])
@pytest.mark.parametrize("n_samples", [40, 60])
def test_a_decay_over_50_epochs_ends_at_epoch_50_for_any_number_of_steps(
    engine, batch_size, n_samples, line
):
    X, y = line
    estimator = network(
        EpochCosineDecay(0.01, decay_epochs=50, min_learning_rate=0.001),
        epochs=50,
        batch_size=batch_size,
        engine=engine,
    ).fit(X[:n_samples], y[:n_samples])
    assert final_learning_rate(estimator) == np.float32(0.001)
    rates = estimator.history_["learning_rate"]
    assert len(rates) == 50
    steps = -(-n_samples // batch_size)
    np.testing.assert_allclose(
        rates,
        [
            expected_rate(EpochCosineDecay(0.01, 50, 0.001), epoch + 1 - 1 / steps)
            for epoch in range(50)
        ],
        rtol=1e-4,
    )


def test_steps_per_epoch_do_not_count_the_validation_set(line):
    schedule = EpochExponentialDecay(1e-3, decay_rate=0.5)
    estimator = network(schedule, validation_fraction=0.5, batch_size=10).fit(*line)
    assert (
        estimator.model_.optimizer.get_config()["learning_rate"]["config"]["steps_per_epoch"] == 3
    )
    assert final_learning_rate(estimator) == pytest.approx(1e-3 / 8)


def test_the_schedule_in_the_parameters_is_not_changed_by_a_fit(line):
    schedule = EpochCosineDecay(0.01)
    network(schedule).fit(*line)
    assert schedule.steps_per_epoch is None


def test_a_global_schedule_of_a_model_function_serves_fits_of_any_size(line):
    shared = EpochExponentialDecay(1e-3, decay_rate=0.5)

    def build(meta):
        model = build_regressor(meta)
        model.compile(keras.optimizers.SGD(shared), "mse")
        return model

    X, y = line
    for n_samples in (60, 20):
        estimator = GuardedKerasRegressor(build, epochs=2, batch_size=10, verbose=0)
        assert final_learning_rate(estimator.fit(X[:n_samples], y[:n_samples])) == pytest.approx(
            2.5e-4
        )
    assert shared.steps_per_epoch is None


def test_model_functions_get_the_schedule_through_compile_kwargs(line):
    def build(meta, compile_kwargs):
        model = build_regressor(meta)
        model.compile(**compile_kwargs)
        return model

    estimator = (
        network(EpochExponentialDecay(1e-3, decay_rate=0.5)).set_params(model=build).fit(*line)
    )
    assert final_learning_rate(estimator) == pytest.approx(1e-3 / 8)


def test_parameters_of_a_schedule_can_be_searched(line):
    search = GridSearchCV(
        network(EpochCosineDecay(0.01, decay_epochs=3)),
        {"optimizer__learning_rate__initial_learning_rate": [1e-6, 0.05]},
        cv=2,
    ).fit(*line)
    assert search.best_params_ == {"optimizer__learning_rate__initial_learning_rate": 0.05}
    assert search.best_estimator_.get_params()["optimizer__learning_rate__decay_epochs"] == 3


def test_a_schedule_and_its_parameters_are_set_together_in_any_order(line):
    estimator = network(0.1).set_params(
        optimizer__learning_rate__initial_learning_rate=0.5,
        optimizer__learning_rate=EpochCosineDecay(0.01),
    )
    assert estimator.optimizer__learning_rate.initial_learning_rate == 0.5
    with pytest.raises(ValueError, match="Invalid parameter 'initial_rate' for"):
        estimator.set_params(optimizer__learning_rate__initial_rate=1.0)


def test_a_schedule_is_cloned_and_pickled_with_the_estimator(line):
    estimator = network(EpochCosineDecay(0.01, decay_epochs=7)).fit(*line)
    assert (
        clone(estimator).optimizer__learning_rate.get_params()
        == EpochCosineDecay(0.01, decay_epochs=7).get_params()
    )
    twin = pickle.loads(pickle.dumps(estimator))
    assert final_learning_rate(twin) == final_learning_rate(estimator)
    np.testing.assert_array_equal(twin.predict(line[0]), estimator.predict(line[0]))


def test_a_saved_model_keeps_its_schedule(line, tmp_path):
    estimator = network(EpochCosineDecay(0.01, decay_epochs=7)).fit(*line)
    estimator.model_.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert float(loaded.optimizer.learning_rate) == final_learning_rate(estimator)


def test_a_schedule_without_steps_per_epoch_cannot_be_called():
    with pytest.raises(
        ValueError, match="cannot convert gradient steps to epochs: steps_per_epoch=None"
    ):
        EpochCosineDecay(0.1)(3)
    assert float(EpochCosineDecay(0.1, decay_epochs=2, steps_per_epoch=4)(8)) == 0


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (
            EpochCosineDecay(-1.0),
            "initial_learning_rate=-1.0 of EpochCosineDecay must be a number > 0",
        ),
        (
            EpochCosineDecay(0.1, warmup_epochs=-1),
            "warmup_epochs=-1 of EpochCosineDecay must be a number >= 0.0",
        ),
        (EpochCosineDecay(0.1, decay_epochs=0), "decay_epochs=0 of EpochCosineDecay"),
        (StepDecay(0.1, decay_epochs="x"), "decay_epochs='x' of StepDecay"),
        (
            OneCycle(0.1, pct_start=1.0),
            "pct_start=1.0 of OneCycle must be a number > 0.0 and < 1.0",
        ),
        (Cyclical(0.1, mode="square"), "mode='square' of Cyclical must be one of 'triangular'"),
        (EpochExponentialDecay(0.1, decay_rate=0), "decay_rate=0 of EpochExponentialDecay"),
    ],
)
def test_invalid_parameters_raise_before_training(schedule, message, line):
    with pytest.raises(ValueError, match=message):
        network(schedule).fit(*line)
    with pytest.raises(ValueError, match=message):
        schedule.preview(3)


@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.ReduceLROnPlateau("loss"),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_a_callback_that_sets_the_learning_rate_beside_a_schedule_raises(callback, line):
    with pytest.raises(ValueError, match="and so does the schedule of"):
        network(EpochCosineDecay(0.1), callbacks=callback).fit(*line)


@pytest.mark.parametrize("engine", ["fused", "keras"])
@pytest.mark.parametrize("run_eagerly", [False, True])
def test_a_callback_changes_the_learning_rate_of_its_own_fit_only(engine, run_eagerly, line):
    if run_eagerly and engine == "fused":
        engine = "auto"

    class Halve(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            rate = self.model.optimizer.learning_rate
            rate.assign(rate / 2)

    estimator = network(
        0.08, callbacks=Halve(), engine=engine, run_eagerly=run_eagerly, validation_split=0.2
    )
    for _ in range(2):
        estimator.fit(*line)
        assert estimator.history_["learning_rate"] == pytest.approx([0.08, 0.04, 0.02])


@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_learning_rates_set_by_keras_callbacks_are_in_the_history(engine, line):
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=100)
    one = network(0.08, callbacks=scheduler, engine=engine).fit(*line)
    assert one.history_["learning_rate"] == pytest.approx([0.1, 0.05, 0.1 / 3])
    two = network(0.08, callbacks=plateau, engine=engine).fit(*line)
    assert two.history_["learning_rate"] == pytest.approx([0.08, 0.08, 0.04])
    again = network(0.08, callbacks=plateau, engine=engine).fit(*line)
    assert again.history_["learning_rate"] == two.history_["learning_rate"]


def test_a_retry_changes_a_copy_of_the_schedule(line):
    schedule = EpochCosineDecay(1e30, decay_epochs=3)
    estimator = network(
        schedule,
        max_retries=1,
        retry_with=lambda attempt, error, params: {
            "optimizer__learning_rate__initial_learning_rate": 0.01
        },
    ).fit(*line)
    assert estimator.attempts_[0].error == "DivergedError"
    assert estimator.attempts_[1].changes == {
        "optimizer__learning_rate__initial_learning_rate": 0.01
    }
    assert estimator.optimizer__learning_rate is schedule
    assert schedule.initial_learning_rate == 1e30


def test_retry_with_gets_the_parameters_of_the_failed_attempt(line):
    seen = []

    def ten_times_lower(attempt, error, params):
        seen.append(params["optimizer__learning_rate"])
        return {"optimizer__learning_rate": params["optimizer__learning_rate"] / 10}

    network(1e30, max_retries=40, retry_with=ten_times_lower, epochs=2).fit(*line)
    assert seen[:3] == pytest.approx([1e30, 1e29, 1e28])


def test_set_params_changes_no_schedule_if_another_name_is_invalid():
    estimator = network(EpochCosineDecay(0.1))
    with pytest.raises(ValueError, match="nonsense"):
        estimator.set_params(optimizer__learning_rate__initial_learning_rate=7.0, nonsense=1)
    assert estimator.optimizer__learning_rate.initial_learning_rate == 0.1


@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_steps_that_only_accumulate_gradients_count_as_steps(engine, line):
    estimator = network(
        EpochExponentialDecay(1e-3, decay_rate=0.5),
        engine=engine,
        optimizer__gradient_accumulation_steps=2,
    ).fit(*line)
    rates = EpochExponentialDecay(1e-3, decay_rate=0.5).preview(3, steps_per_epoch=4)
    assert estimator.history_["learning_rate"] == pytest.approx(rates[3::4])


def test_history_has_the_learning_rate_of_epochs_without_validation(line):
    plateau = keras.callbacks.ReduceLROnPlateau("val_loss")
    estimator = network(
        0.05, callbacks=plateau, validation_split=0.2, fit__validation_freq=2, epochs=4
    ).fit(*line)
    assert estimator.history_["learning_rate"] == pytest.approx([0.05] * 4)
