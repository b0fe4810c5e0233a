import pickle

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skguard import GuardedKerasRegressor, schedules
from skguard.schedules import CosineDecay, Cyclical, ExponentialDecay, OneCycle, StepDecay
from tests.models import build_regressor

ALL = {
    "StepDecay": StepDecay(0.1, every=2, least=0.01, warmup=1.5),
    "ExponentialDecay": ExponentialDecay(0.1, factor=0.8, least=0.01, warmup=1.5),
    "CosineDecay": CosineDecay(0.1, epochs=5, least=0.01, warmup=1.5),
    "OneCycle": OneCycle(0.1, epochs=5, warmup=1.5),
    "Cyclical": Cyclical(0.1, half_cycle=1.5, mode="exp_range", warmup=1.5),
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


def final_rate(estimator):
    return float(estimator.model_.optimizer.learning_rate)


def by_hand(schedule, epoch):
    """The same rates in plain Python."""
    s, after = schedule, max(epoch - schedule.warmup, 0.0)
    if epoch < s.warmup:
        return s.initial * epoch / s.warmup

    def cosine(start, end, share):
        return end + (start - end) * (1 + np.cos(np.pi * min(max(share, 0), 1))) / 2

    if isinstance(s, StepDecay):
        return max(s.initial * s.factor ** int(after // s.every), s.least)
    if isinstance(s, ExponentialDecay):
        return max(s.initial * s.factor**after, s.least)
    if isinstance(s, CosineDecay):
        return cosine(s.initial, s.least, after / s.epochs)
    if isinstance(s, OneCycle):
        top = s.rise * s.epochs
        if after < top:
            return cosine(s.initial, 25 * s.initial, after / top)
        return cosine(25 * s.initial, s.initial / 1e4, (after - top) / (s.epochs - top))
    place = after / s.half_cycle % 2
    height = (place if place < 1 else 2 - place) * s.factor**after
    return s.initial + 9 * s.initial * height


def test_every_schedule_is_tried_here():
    public = set(schedules.__all__) - {"EpochSchedule"}
    assert public == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_the_rates_are_those_of_the_formula(name):
    rates = ALL[name].preview(9, steps_per_epoch=8)
    expected = [by_hand(ALL[name], step / 8) for step in range(72)]
    np.testing.assert_allclose(rates, expected, rtol=2e-4, atol=1e-7)


def test_triangular2_halves_each_cycle():
    rates = Cyclical(1.0, peak=3.0, half_cycle=1, mode="triangular2").preview(6)
    np.testing.assert_allclose(rates, [1, 3, 1, 2, 1, 1.5])


@pytest.mark.parametrize("name", ALL)
def test_keras_reads_a_schedule_back(name):
    schedule = clone(ALL[name]).set_params(steps_per_epoch=7)
    optimizer = keras.optimizers.SGD(schedule)
    twin = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert float(twin.learning_rate) == float(optimizer.learning_rate)
    assert schedule.get_config() == type(schedule).from_config(schedule.get_config()).get_config()


@pytest.mark.parametrize("engine", ["fused", "keras"])
@pytest.mark.parametrize("batch_size", [16, 256])
@pytest.mark.parametrize("n_rows", [40, 60])
def test_a_decay_over_50_epochs_ends_where_it_should_whatever_the_steps(
    engine, batch_size, n_rows, line
):
    X, y = line
    estimator = network(
        CosineDecay(0.01, epochs=50, least=0.001), epochs=50, batch_size=batch_size, engine=engine
    ).fit(X[:n_rows], y[:n_rows])
    assert final_rate(estimator) == np.float32(0.001)
    rates = estimator.history_["learning_rate"]
    assert len(rates) == 50
    steps = -(-n_rows // batch_size)
    np.testing.assert_allclose(
        rates,
        [by_hand(CosineDecay(0.01, 50, 0.001), epoch + 1 - 1 / steps) for epoch in range(50)],
        rtol=1e-4,
    )


def test_held_out_rows_make_no_steps(line):
    schedule = ExponentialDecay(1e-3, factor=0.5)
    estimator = network(schedule, validation_fraction=0.5, batch_size=10).fit(*line)
    assert (
        estimator.model_.optimizer.get_config()["learning_rate"]["config"]["steps_per_epoch"] == 3
    )
    assert final_rate(estimator) == pytest.approx(1e-3 / 8)


def test_the_parameter_itself_is_never_told(line):
    schedule = CosineDecay(0.01)
    network(schedule).fit(*line)
    assert schedule.steps_per_epoch is None


def test_a_schedule_of_the_module_serves_fits_of_any_size(line):
    shared = ExponentialDecay(1e-3, factor=0.5)

    def build(meta):
        model = build_regressor(meta)
        model.compile(keras.optimizers.SGD(shared), "mse")
        return model

    X, y = line
    for n_rows in (60, 20):
        estimator = GuardedKerasRegressor(build, epochs=2, batch_size=10, verbose=0)
        assert final_rate(estimator.fit(X[:n_rows], y[:n_rows])) == pytest.approx(2.5e-4)
    assert shared.steps_per_epoch is None


def test_model_functions_get_it_through_compile_kwargs(line):
    def build(meta, compile_kwargs):
        model = build_regressor(meta)
        model.compile(**compile_kwargs)
        return model

    estimator = network(ExponentialDecay(1e-3, factor=0.5)).set_params(model=build).fit(*line)
    assert final_rate(estimator) == pytest.approx(1e-3 / 8)


def test_its_parameters_can_be_searched(line):
    search = GridSearchCV(
        network(CosineDecay(0.01, epochs=3)),
        {"optimizer__learning_rate__initial": [1e-6, 0.05]},
        cv=2,
    ).fit(*line)
    assert search.best_params_ == {"optimizer__learning_rate__initial": 0.05}
    assert search.best_estimator_.get_params()["optimizer__learning_rate__epochs"] == 3


def test_schedule_and_its_parameter_are_set_together_in_any_order(line):
    estimator = network(0.1).set_params(
        optimizer__learning_rate__initial=0.5, optimizer__learning_rate=CosineDecay(0.01)
    )
    assert estimator.optimizer__learning_rate.initial == 0.5
    with pytest.raises(ValueError, match="Invalid parameter 'inital' for"):
        estimator.set_params(optimizer__learning_rate__inital=1.0)


def test_it_clones_and_pickles_with_the_estimator(line):
    estimator = network(CosineDecay(0.01, epochs=7)).fit(*line)
    assert (
        clone(estimator).optimizer__learning_rate.get_params()
        == CosineDecay(0.01, epochs=7).get_params()
    )
    twin = pickle.loads(pickle.dumps(estimator))
    assert final_rate(twin) == final_rate(estimator)
    np.testing.assert_array_equal(twin.predict(line[0]), estimator.predict(line[0]))


def test_a_saved_model_has_its_schedule(line, tmp_path):
    estimator = network(CosineDecay(0.01, epochs=7)).fit(*line)
    estimator.model_.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert float(loaded.optimizer.learning_rate) == final_rate(estimator)


def test_outside_of_an_estimator_it_asks_for_the_steps():
    with pytest.raises(ValueError, match="does not know how many gradient steps"):
        CosineDecay(0.1)(3)
    assert float(CosineDecay(0.1, epochs=2, steps_per_epoch=4)(8)) == 0


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (CosineDecay(-1.0), "initial=-1.0 of CosineDecay must be above 0"),
        (CosineDecay(0.1, warmup=-1), "warmup=-1 of CosineDecay must be 0.0 or more"),
        (CosineDecay(0.1, epochs=0), "epochs=0 of CosineDecay"),
        (StepDecay(0.1, every="x"), "every='x' of StepDecay"),
        (OneCycle(0.1, rise=1.0), "rise=1.0 of OneCycle must be above 0.0 and below 1.0"),
        (Cyclical(0.1, mode="square"), "mode='square' of Cyclical is none of"),
        (ExponentialDecay(0.1, factor=0), "factor=0 of ExponentialDecay"),
    ],
)
def test_parameters_that_mean_nothing_are_refused_before_training(schedule, message, line):
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
def test_a_callback_that_sets_the_rate_beside_it_is_refused(callback, line):
    with pytest.raises(ValueError, match="has a schedule that does so"):
        network(CosineDecay(0.1), callbacks=callback).fit(*line)


@pytest.mark.parametrize("engine", ["fused", "keras"])
@pytest.mark.parametrize("run_eagerly", [False, True])
def test_callbacks_move_the_rate_and_the_next_fit_starts_anew(engine, run_eagerly, line):
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
def test_keras_callbacks_for_the_rate_are_in_the_history(engine, line):
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=100)
    one = network(0.08, callbacks=scheduler, engine=engine).fit(*line)
    assert one.history_["learning_rate"] == pytest.approx([0.1, 0.05, 0.1 / 3])
    two = network(0.08, callbacks=plateau, engine=engine).fit(*line)
    assert two.history_["learning_rate"] == pytest.approx([0.08, 0.08, 0.04])
    again = network(0.08, callbacks=plateau, engine=engine).fit(*line)
    assert again.history_["learning_rate"] == two.history_["learning_rate"]


def test_a_retry_changes_a_copy_of_the_schedule(line):
    schedule = CosineDecay(1e30, epochs=3)
    estimator = network(
        schedule,
        max_retries=1,
        retry_with=lambda attempt, error, params: {"optimizer__learning_rate__initial": 0.01},
    ).fit(*line)
    assert estimator.attempts_[0].error == "DivergedError"
    assert estimator.attempts_[1].changes == {"optimizer__learning_rate__initial": 0.01}
    assert estimator.optimizer__learning_rate is schedule
    assert schedule.initial == 1e30


def test_retries_see_the_parameters_of_the_attempt_that_failed(line):
    seen = []

    def ten_times_lower(attempt, error, params):
        seen.append(params["optimizer__learning_rate"])
        return {"optimizer__learning_rate": params["optimizer__learning_rate"] / 10}

    network(1e30, max_retries=40, retry_with=ten_times_lower, epochs=2).fit(*line)
    assert seen[:3] == pytest.approx([1e30, 1e29, 1e28])


def test_no_parameter_of_a_schedule_is_set_if_another_name_is_wrong():
    estimator = network(CosineDecay(0.1))
    with pytest.raises(ValueError, match="nonsense"):
        estimator.set_params(optimizer__learning_rate__initial=7.0, nonsense=1)
    assert estimator.optimizer__learning_rate.initial == 0.1


@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_accumulated_gradients_are_steps_as_well(engine, line):
    estimator = network(
        ExponentialDecay(1e-3, factor=0.5),
        engine=engine,
        optimizer__gradient_accumulation_steps=2,
    ).fit(*line)
    rates = ExponentialDecay(1e-3, factor=0.5).preview(3, steps_per_epoch=4)
    assert estimator.history_["learning_rate"] == pytest.approx(rates[3::4])


def test_the_rate_of_epochs_without_validation_is_there_too(line):
    plateau = keras.callbacks.ReduceLROnPlateau("val_loss")
    estimator = network(
        0.05, callbacks=plateau, validation_split=0.2, fit__validation_freq=2, epochs=4
    ).fit(*line)
    assert estimator.history_["learning_rate"] == pytest.approx([0.05] * 4)
