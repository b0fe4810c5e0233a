"""Settings are validated once, all problems in one message."""

import math
import pickle

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skguard._fit import validation
from skguard._fit.settings import FitSettings
from skguard.exceptions import InputValueError
from tests.fit.probes import RecordsEpochs
from tests.models import build_regressor, make_classifier, make_regressor

ALL = {
    "early_stopping": True,
    "validation_fraction": 0.3,
    "n_iter_no_change": 3,
    "tol": 1e-3,
    "scoring": "r2",
    "on_nan": "stop",
    "max_fit_seconds": 100.0,
    "max_retries": 2,
    "retry_on": (RuntimeError, OSError),
    "retry_with": dict,
}


def settings_of(estimator, **call):
    return FitSettings.of(estimator, call, resume=False)


def test_all_problems_are_in_one_message():
    wrong = {
        "epochs": 0,
        "batch_size": 1.5,
        "tol": -1,
        "n_iter_no_change": 0,
        "max_fit_seconds": 0,
        "early_stopping": "yes",
        "on_nan": "cry",
        "scoring": "roc_acu",
        "validation_split": 1.5,
        "validation_fraction": 2,
        "max_retries": -1,
        "retry_on": 3,
        "retry_with": 4,
        "engine": "steam",
        "random_state": "lucky",
        "unheard_of": 1,
    }
    estimator = make_classifier()
    for name, value in wrong.items():
        setattr(estimator, name, value)
    estimator._user_params = {"unheard_of"}
    with pytest.raises(InputValueError) as raised:
        settings_of(estimator)
    message = str(raised.value)
    missing = [name for name, value in wrong.items() if f"{name}={value!r}" not in message]
    assert missing == ["unheard_of"]
    assert "'unheard_of' is not a parameter" in message
    assert "Did you mean 'roc_auc'" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", True),
        ("epochs", 2.0),
        ("epochs", None),
        ("batch_size", 0),
        ("batch_size", -2),
        ("batch_size", True),
        ("tol", math.nan),
        ("tol", math.inf),
        ("tol", None),
        ("n_iter_no_change", 1.5),
        ("max_fit_seconds", -1),
        ("max_fit_seconds", math.nan),
        ("max_fit_seconds", "10"),
    ],
)
def test_a_number_out_of_range_is_named_with_its_value(name, value):
    with pytest.raises(InputValueError, match=f"^{name}={value!r} must be"):
        settings_of(make_regressor(**{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", np.int64(3)),
        ("batch_size", None),
        ("batch_size", -1),
        ("batch_size", np.int32(7)),
        ("tol", 0),
        ("tol", np.float32(0.5)),
        ("max_fit_seconds", None),
        ("max_fit_seconds", math.inf),
        ("max_fit_seconds", 1),
    ],
)
def test_a_number_in_range_is_accepted(name, value):
    settings_of(make_regressor(**{name: value}))


def test_arguments_of_the_call_take_precedence_over_routed_and_plain_parameters():
    estimator = make_regressor(epochs=2, fit__epochs=3, batch_size=4, fit__shuffle=False)
    assert settings_of(estimator).epochs == 3
    settings = settings_of(estimator, epochs=5, batch_size=6)
    assert (settings.epochs, settings.arguments["batch_size"]) == (5, 6)
    assert settings.arguments["shuffle"] is False


def test_an_argument_that_keras_does_not_have_is_a_type_error():
    with pytest.raises(TypeError, match=r"epoch.*Did you mean 'epochs'"):
        settings_of(make_regressor(), epoch=3)


def test_problems_with_arguments_of_the_call_are_in_the_message_too():
    with pytest.raises(InputValueError, match=r"epochs=0.*\n.*validation_split=2"):
        settings_of(make_regressor(), epochs=0, validation_split=2.0)


@pytest.mark.parametrize(
    ("parameters", "rule"),
    [
        ({}, None),
        ({"validation_split": 0}, None),
        ({"validation_split": 0.2}, validation.LastSamples(0.2)),
        ({"validation_split": 3}, validation.OneSplit(3, False)),
        ({"validation_fraction": 0.2}, validation.RandomFraction(0.2, False)),
        ({"early_stopping": True}, validation.RandomFraction(0.1, False)),
        (
            {"early_stopping": True, "validation_split": 0.3},
            validation.LastSamples(0.3),
        ),
    ],
)
def test_validation_parameters_choose_a_rule(parameters, rule):
    assert settings_of(make_regressor(**parameters)).rule == rule


def test_settings_are_read_only():
    settings = settings_of(make_regressor())
    with pytest.raises(AttributeError):
        settings.epochs = 3


def test_a_resumed_fit_is_never_retried():
    estimator = make_regressor(max_retries=3)
    assert settings_of(estimator).retries.max_retries == 3
    assert FitSettings.of(estimator, {}, resume=True).retries.max_retries == 0


def test_a_fit_with_several_wrong_parameters_raises_before_training(line, begun):
    wrong = {
        "epochs": 0,
        "batch_size": 0,
        "early_stopping": "yes",
        "n_iter_no_change": 0,
        "tol": -1.0,
        "on_nan": "raise",
        "max_fit_seconds": 0,
        "scoring": 5,
        "validation_split": 1.5,
        "validation_fraction": 2.0,
        "max_retries": -1,
        "retry_on": "all",
        "retry_with": 3,
    }
    with pytest.raises(ValueError, match="epochs=0") as raised:
        make_regressor(callbacks=RecordsEpochs, **wrong).fit(*line)
    message = str(raised.value)
    assert [name for name in wrong if f"{name}={wrong[name]!r}" not in message] == []
    assert begun == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"early_stopping": 1},
        {"early_stopping": keras.callbacks.EarlyStopping()},
        {"n_iter_no_change": 2.5},
        {"n_iter_no_change": True},
        {"n_iter_no_change": None},
        {"tol": math.nan},
        {"tol": math.inf},
        {"tol": "0.1"},
        {"tol": True},
        {"on_nan": None},
        {"max_fit_seconds": -1},
        {"max_fit_seconds": "60"},
        {"max_fit_seconds": math.nan},
        {"max_fit_seconds": True},
        {"scoring": ["r2"]},
    ],
    ids=lambda wrong: "{}={!r:.20}".format(*next(iter(wrong.items()))),
)
def test_a_parameter_that_cannot_be_used_is_rejected_before_training(wrong, line, begun):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"^{name}=.* must be "):
        make_regressor(callbacks=RecordsEpochs, **wrong).fit(*line)
    assert begun == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("shuffle", ["yes", None, 1, np.ones(2)]),
        ("verbose", [3, -1, None, "loud", 1.0]),
        ("warm_start", ["no", None, 1, build_regressor]),
        ("run_eagerly", [None, 0, "auto"]),
        ("fit__steps_per_epoch", [0, 1.5, True, "3"]),
        ("fit__validation_steps", [0, -1, False]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_choice_of_another_type_or_value_is_rejected(name, values, line, begun):
    for value in values:
        estimator = make_regressor(callbacks=RecordsEpochs, **{name: value})
        with pytest.raises(InputValueError, match=f"^{name.removeprefix('fit__')}=.* must be "):
            estimator.fit(*line)
    assert begun == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("shuffle", [True, False, "batch", np.True_]),
        ("verbose", [0, 1, 2, "auto", True, np.int64(2)]),
        ("warm_start", [True, np.False_]),
        ("run_eagerly", [True, np.False_]),
        ("fit__steps_per_epoch", [None, 3, np.int64(3)]),
        ("fit__validation_steps", [None, 1]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_all_choices_are_accepted(name, values):
    for value in values:
        settings_of(make_regressor(**{name: value}))


@pytest.mark.parametrize(
    "right",
    [
        {"early_stopping": np.True_},
        {"n_iter_no_change": np.int64(3)},
        {"tol": np.float32(0.1)},
        {"tol": 0},
        {"max_fit_seconds": np.int64(100)},
    ],
    ids=str,
)
def test_numbers_of_numpy_are_accepted(right, line):
    assert make_regressor(**{"early_stopping": True} | right).fit(*line).n_epochs_ == 1


def test_an_unknown_scorer_is_rejected_with_the_closest_name(blobs):
    with pytest.raises(
        ValueError, match=r"scoring='roc_acu' is not the name of a scikit-learn scorer.*'roc_auc'"
    ):
        make_classifier(scoring="roc_acu").fit(*blobs)


def test_a_clone_has_all_settings_and_gives_the_same_numbers(line):
    estimator = make_regressor(epochs=3, **ALL).fit(*line)
    twin = clone(estimator)
    assert {name: getattr(twin, name) for name in ALL} == ALL
    assert not hasattr(twin, "stop_reason_")
    assert twin.fit(*line).history_ == estimator.history_


def test_a_pickled_estimator_has_all_settings_and_results(line):
    estimator = make_regressor(epochs=3, **ALL).fit(*line)
    twin = pickle.loads(pickle.dumps(estimator))
    assert {name: getattr(twin, name) for name in ALL} == ALL
    for name in ("history_", "best_epoch_", "n_epochs_", "stop_reason_", "attempts_"):
        assert getattr(twin, name) == getattr(estimator, name)
    assert np.array_equal(twin.validation_indices_, estimator.validation_indices_)
    assert np.array_equal(twin.predict(line[0]), estimator.predict(line[0]))
    assert twin.fit(*line).history_ == estimator.history_


def test_all_settings_have_defaults_and_can_be_set_and_searched(line):
    estimator = make_regressor(epochs=2)
    defaults = {name: estimator.get_params()[name] for name in ALL}
    assert defaults == {
        "early_stopping": False,
        "validation_fraction": None,
        "n_iter_no_change": 10,
        "tol": 1e-4,
        "scoring": None,
        "on_nan": "fail",
        "max_fit_seconds": None,
        "max_retries": 0,
        "retry_on": (Exception,),
        "retry_with": None,
    }
    assert estimator.set_params(**ALL).get_params().items() >= ALL.items()
    search = GridSearchCV(estimator, {"n_iter_no_change": [1, 2]}, cv=2, error_score="raise")
    assert np.isfinite(search.fit(*line).cv_results_["mean_test_score"]).all()
