"""A parameter that is given has an effect, or the fit raises or warns, by one rule."""

import copy
import pickle
import re
import warnings

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit

from skguard import GuardedKerasRegressor
from skguard._fit.unused import ModelParameters
from skguard.exceptions import InputValueError, UnusedParameterWarning
from skguard.schedules import EpochExponentialDecay
from tests.fit.probes import RecordsEpochs
from tests.models import build_regressor, make_regressor

PATHS = {
    "itself": lambda estimator: estimator,
    "clone": clone,
    "deepcopy": copy.deepcopy,
    "pickle": lambda estimator: pickle.loads(pickle.dumps(estimator)),
    "set_params": lambda estimator: estimator.set_params(**estimator.get_params()),
    "constructor": lambda estimator: type(estimator)(**estimator.get_params()),
}


def build_compiled(meta, units=8, learning_rate=0.001):
    model = build_regressor(meta, units)
    model.compile(keras.optimizers.Adam(learning_rate), "mse")
    return model


def build_and_ignore(meta, compile_kwargs):
    return build_compiled(meta)


def build_with_optimizer(meta, compile_kwargs):
    model = build_regressor(meta)
    model.compile(compile_kwargs["optimizer"], "mse")
    return model


def scaled():
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())


def regressor(model, **parameters):
    """Return a regressor with the default optimizer, unless another is given."""
    defaults = {"verbose": 0, "random_state": 0}
    return GuardedKerasRegressor(model, **defaults | parameters)


def idle_in(record):
    return [str(w.message) for w in record if w.category is UnusedParameterWarning]


def test_an_optimizer_with_the_name_of_the_default_raises_if_it_is_never_used(line, begun):
    estimator = regressor(build_compiled, optimizer="rmsprop", callbacks=RecordsEpochs)
    with pytest.raises(InputValueError, match="optimizer='rmsprop' would never be used, because"):
        estimator.fit(*line)
    assert begun == []


@pytest.mark.parametrize("path", PATHS)
def test_the_default_optimizer_is_not_given_on_any_path(path, line):
    estimator = PATHS[path](regressor(build_compiled))
    assert estimator.optimizer == "rmsprop"
    assert PATHS[path](estimator).fit(*line).n_epochs_ == 1


@pytest.mark.parametrize("path", PATHS)
def test_a_given_optimizer_is_given_on_every_path(path, line):
    estimator = PATHS[path](regressor(build_compiled, optimizer="rmsprop"))
    with pytest.raises(InputValueError, match="would never be used"):
        estimator.fit(*line)


def test_no_candidate_of_a_search_wins_by_an_optimizer_that_is_never_used(line):
    search = GridSearchCV(regressor(build_compiled), {"optimizer": ["rmsprop", "sgd"]}, cv=2)
    with pytest.raises(ValueError, match="All the 4 fits failed"):
        search.fit(*line)


def test_a_default_optimizer_of_a_subclass_is_not_given(line):
    class WithDefault(GuardedKerasRegressor):
        def __init__(self, model=build_compiled, optimizer="rmsprop", **kwargs):
            super().__init__(model, optimizer=optimizer, **kwargs)

    assert clone(WithDefault(verbose=0)).fit(*line).n_epochs_ == 1
    with pytest.raises(InputValueError, match="optimizer='sgd' would never be used"):
        WithDefault(optimizer="sgd").fit(*line)


@pytest.mark.parametrize(
    "parameters",
    [
        {"optimizer": keras.optimizers.SGD()},
        {"optimizer": keras.optimizers.Adam},
        {"optimizer__learning_rate": 0.1},
        {"metrics": ["mae"]},
        {"metrics__name": "error", "metrics": "mae"},
        {"run_eagerly": True},
        {"compile__loss_weights": [1.0]},
        {"compile__optimizer": "sgd"},
    ],
    ids=lambda parameters: next(iter(parameters)),
)
@pytest.mark.parametrize("model", ["function", "object"])
def test_compile_parameters_raise_if_the_model_is_compiled_already(model, parameters, line):
    built = build_compiled({"X_shape_": (60, 4), "n_outputs_": 1})
    estimator = regressor(build_compiled if model == "function" else built, **parameters)
    with pytest.raises(InputValueError, match=f"{next(iter(parameters))}=.* would never be used"):
        estimator.fit(*line)


@pytest.mark.parametrize(
    ("model", "parameters", "match"),
    [
        (build_and_ignore, {"optimizer": "rmsprop"}, "optimizer='rmsprop' .*compiles .*with Adam"),
        (build_and_ignore, {"optimizer": keras.optimizers.SGD}, "optimizer=.* with Adam"),
        (build_and_ignore, {"optimizer": keras.optimizers.SGD(0.1)}, "optimizer=.* with Adam"),
        (build_and_ignore, {"metrics": ["mae"]}, "metrics=.*compiles the model without metrics"),
        (build_with_optimizer, {"metrics": ["mae"]}, "metrics=.*compiles the model without"),
        (build_and_ignore, {"optimizer__learning_rate": 0.1}, "optimizer__learning_rate=.*Adam"),
    ],
    ids=["default_name", "class", "instance", "metrics", "metrics_alone", "routed"],
)
def test_a_model_function_that_ignores_compile_kwargs_raises(model, parameters, match, line):
    with pytest.raises(InputValueError, match=f"{match}.*compile_kwargs"):
        regressor(model, max_retries=2, **parameters).fit(*line)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (build_and_ignore, {}),
        (build_and_ignore, {"optimizer": "adam"}),
        (build_with_optimizer, {"optimizer": "rmsprop"}),
        (build_with_optimizer, {"optimizer__learning_rate": 0.1}),
        (build_with_optimizer, {"compile__optimizer": "sgd", "optimizer": "adam"}),
        (build_with_optimizer, {"optimizer": scaled()}),
        (build_and_ignore, {"optimizer": scaled()}),
    ],
    ids=["nothing_given", "the_same", "followed", "routed", "compile", "scaled", "same_inside"],
)
def test_a_model_function_that_follows_compile_kwargs_is_accepted(model, parameters, line):
    assert regressor(model, **parameters).fit(*line).n_epochs_ == 1


def test_a_custom_optimizer_may_hold_the_given_one(line):
    class Wrapping(keras.optimizers.SGD):
        pass

    def build(meta, compile_kwargs):
        model = build_regressor(meta)
        model.compile(Wrapping(float(compile_kwargs["optimizer"].learning_rate)), "mse")
        return model

    assert regressor(build, optimizer="adam").fit(*line).n_epochs_ == 1


@pytest.mark.parametrize(
    ("routed", "read"),
    [
        ({"compile__optimizer": "sgd"}, lambda e: type(e.model_.optimizer) is keras.optimizers.SGD),
        ({"compile__loss": "mae"}, lambda e: e.model_.loss is keras.losses.mean_absolute_error),
        ({"compile__metrics": ["mae"]}, lambda e: "mean_absolute_error" in e.history_),
        ({"fit__initial_epoch": 3}, lambda e: e.callbacks_[0].params["epochs"] == 4),
    ],
    ids=lambda value: "" if callable(value) else next(iter(value)),
)
def test_a_routed_parameter_has_an_effect(routed, read, line):
    assert read(make_regressor(callbacks=RecordsEpochs, **routed).fit(*line))


def test_routed_sample_weights_raise():
    estimator = make_regressor(fit__sample_weight=np.ones(60))
    with pytest.raises(InputValueError, match=r"fit__sample_weight would never .* fit\(X, y, samp"):
        estimator.fit(np.zeros((60, 4)), np.zeros(60))


CHANGES = {
    "optimizer": {"optimizer": "sgd"},
    "optimizer__learning_rate": {"optimizer__learning_rate": 0.5},
    "compile__loss_weights": {"compile__loss_weights": [2.0]},
    "loss": {"loss": "mae"},
    "metrics": {"metrics": ["mae"]},
    "run_eagerly": {"run_eagerly": True},
    "model__units": {"units": 3},
    "model": {"model": lambda meta, units: build_regressor(meta, units)},
}


@pytest.mark.parametrize("name", CHANGES)
def test_training_does_not_continue_with_another_value_of_a_parameter(name, line):
    estimator = make_regressor(warm_start=True, units=2).fit(*line)
    before = [np.array(w) for w in estimator.model_.get_weights()]
    estimator.set_params(**CHANGES[name])
    for fit in (estimator.fit, estimator.partial_fit):
        with pytest.raises(InputValueError, match=rf"^{name}=.* would never be used"):
            fit(*line)
    after = estimator.model_.get_weights()
    assert all(map(np.array_equal, before, after))
    assert estimator.set_params(warm_start=False).fit(*line).n_epochs_ == 1


def test_parameters_of_training_may_change_between_warm_starts(line):
    estimator = make_regressor(warm_start=True, units=2).fit(*line)
    estimator.set_params(
        epochs=2,
        batch_size=8,
        callbacks=RecordsEpochs,
        validation_fraction=0.2,
        units=2,
        random_state=4,
    )
    assert estimator.fit(*line).n_epochs_ == 2


def test_a_schedule_that_is_changed_in_place_raises(line):
    schedule = EpochExponentialDecay(0.01, decay_rate=0.5)
    estimator = make_regressor(warm_start=True, optimizer__learning_rate=schedule).fit(*line)
    assert estimator.fit(*line).n_epochs_ == 1
    estimator.set_params(optimizer__learning_rate__initial_learning_rate=0.1)
    with pytest.raises(InputValueError, match=r"initial_learning_rate=0\.1 would.*=0\.01"):
        estimator.fit(*line)


def test_an_untrained_model_is_compiled_with_the_current_parameters(line):
    estimator = make_regressor(warm_start=True).initialize(*line).set_params(optimizer="sgd")
    assert type(estimator.fit(*line).model_.optimizer) is keras.optimizers.SGD
    estimator = make_regressor(warm_start=True).initialize(*line).set_params(units=3)
    with pytest.raises(InputValueError, match=r"model__units=3 would never .*model__units=8"):
        estimator.fit(*line)


@pytest.mark.parametrize("path", ["deepcopy", "pickle"])
def test_a_copy_knows_what_its_model_was_built_with(path, line):
    estimator = make_regressor(warm_start=True, metrics=[keras.metrics.MeanSquaredError()])
    estimator.fit(*line)
    assert PATHS[path](estimator).fit(*line).n_epochs_ == 1
    estimator.set_params(loss="mae")
    with pytest.raises(InputValueError, match=r"^loss='mae' would .* built with loss='mse'"):
        PATHS[path](estimator).fit(*line)


def test_parameters_of_a_retry_do_not_count_as_changed(line):
    calls = []

    def build(meta, units=4):
        calls.append(units)
        if units == 4:
            raise RuntimeError("made up")
        return build_regressor(meta, units)

    estimator = make_regressor(
        build, max_retries=1, retry_with=lambda *_: {"units": 2}, warm_start=True
    )
    estimator.fit(*line).fit(*line)
    assert calls == [4, 2]


VALUES = {
    "optimizer": ["adam", "sgd", "rmsprop"],
    "loss": ["mse", "mae"],
    "units": [2, 3],
    "optimizer__learning_rate": [0.1, 0.2],
    "run_eagerly": [True, False],
    "epochs": [1, 2],
    "batch_size": [8, 16],
    "tol": [0.1, 0.2],
}
ANY_VALUES = st.fixed_dictionaries({n: st.sampled_from(v) for n, v in VALUES.items()})
OF_TRAINING = {"epochs", "batch_size", "tol"}


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(then=ANY_VALUES, now=ANY_VALUES)
def test_exactly_the_parameters_of_the_model_that_differ_count_as_changed(then, now):
    estimator = make_regressor(**then)
    built_with = ModelParameters.of(estimator)
    changed = built_with.changed(estimator.set_params(**now))
    differ = {n for n in VALUES if then[n] != now[n]} - OF_TRAINING
    assert set(changed) == {"model__units" if name == "units" else name for name in differ}


NO_STOPPING = r"early_stopping=False\. Pass early_stopping=True, or leave it out"
NO_VALIDATION = r"no validation set\. Pass validation_fraction=0\.1, for instance, or leave it out"
NO_RETRIES = r"max_retries=0\. Pass max_retries=1, for instance, or leave it out"
IDLE = [
    ({"n_iter_no_change": 5}, {"early_stopping": True}, NO_STOPPING),
    ({"tol": 0.1}, {"early_stopping": True}, NO_STOPPING),
    ({"scoring": "r2"}, {"validation_fraction": 0.2}, NO_VALIDATION),
    ({"validation_batch_size": 7}, {"validation_split": 0.2}, NO_VALIDATION),
    ({"fit__validation_freq": 2}, {"validation_split": 3}, NO_VALIDATION),
    ({"fit__validation_steps": 1}, {"early_stopping": True}, NO_VALIDATION),
    ({"retry_on": OSError}, {"max_retries": 1}, NO_RETRIES),
    ({"retry_with": dict}, {"max_retries": 1}, NO_RETRIES),
]


@pytest.mark.parametrize(
    ("idle", "needed", "match"), IDLE, ids=[next(iter(idle)) for idle, _, _ in IDLE]
)
def test_a_parameter_that_qualifies_what_is_off_warns_and_has_an_effect_with_it(
    idle, needed, match, line
):
    name = next(iter(idle)).removeprefix("fit__")
    with pytest.warns(UnusedParameterWarning, match=f"^{name}=.* has no effect, because .*{match}"):
        estimator = make_regressor(epochs=2, **idle).fit(*line)
    assert estimator.history_ == make_regressor(epochs=2).fit(*line).history_
    assert make_regressor(epochs=2, **idle, **needed).fit(*line).n_epochs_ == 2


def test_validation_data_of_a_call_is_a_validation_set(line):
    X, y = line
    estimator = make_regressor(scoring="r2", validation_batch_size=7)
    assert "val_r2" in estimator.fit(X, y, X_val=X, y_val=y).history_
    assert "val_r2" in estimator.fit(X, y, validation_data=(X, y)).history_


def test_several_idle_parameters_are_in_one_warning(line):
    with pytest.warns(UnusedParameterWarning) as record:
        make_regressor(n_iter_no_change=5, tol=0.1).fit(*line)
    assert idle_in(record) == [
        "n_iter_no_change=5 and tol=0.1 have no effect, because early_stopping=False. Pass "
        "early_stopping=True, or leave them out."
    ]


def test_groups_that_divide_nothing_warn(line):
    groups = np.repeat(np.arange(6), 10)
    rule = GroupShuffleSplit(1, test_size=0.5, random_state=0)
    with pytest.warns(UnusedParameterWarning, match=r"^groups=.*GroupShuffleSplit"):
        make_regressor().fit(*line, groups=groups)
    with pytest.warns(UnusedParameterWarning, match=r"^groups=.* no effect"):
        make_regressor(validation_split=rule).fit(
            *line, X_val=line[0], y_val=line[1], groups=groups
        )
    make_regressor(validation_split=rule).fit(*line, groups=groups)


def test_a_warning_points_at_the_call(line):
    with pytest.warns(UnusedParameterWarning, match="tol") as record:
        make_regressor(tol=0.5).fit(*line)
    assert record[0].filename == __file__


def test_each_fit_warns_once_however_often_it_is_retried(line):
    failures = iter([1, 1])

    def build(meta):
        if next(failures, None):
            raise RuntimeError("made up")
        return build_regressor(meta)

    with pytest.warns(UnusedParameterWarning, match="tol") as record:
        make_regressor(build, max_retries=2, tol=0.5).fit(*line)
    assert len(idle_in(record)) == 1


def test_partial_fit_ignores_the_parameters_of_early_stopping(line):
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        make_regressor(n_iter_no_change=5, max_retries=1).partial_fit(*line).partial_fit(*line)
    assert idle_in(record) == []


def test_an_idle_parameter_costs_no_candidate_of_a_search(line):
    grid = {"early_stopping": [True, False], "n_iter_no_change": [1, 2]}
    search = GridSearchCV(make_regressor(epochs=3), grid, cv=2, refit=False)
    with pytest.warns(UnusedParameterWarning, match=re.escape("early_stopping=False")):
        search.fit(*line)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
