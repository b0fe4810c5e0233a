"""The names that an estimator takes, and the errors about all others."""

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skguard import GuardedKerasBase
from skguard.exceptions import InputTypeError, InputValueError
from tests.models import build_classifier, build_regressor
from tests.parameters.networks import build, build_a, build_b, make, needs_units, network, width_of

WRONG_NAMES = {
    "neuron": "Did you mean 'neurons'",
    "model__neuron": "Did you mean 'model__neurons'",
    "epoch": "Did you mean 'epochs'",
    "optimizer__learning_rat": "Did you mean 'optimizer__learning_rate'",
    "optimiser__learning_rate": "Did you mean 'optimizer__learning_rate'",
    "callbak__patience": "Did you mean 'callbacks__patience'",
    "fit__epoch": "Did you mean 'fit__epochs'",
    "predict__batch_siz": "Did you mean 'predict__batch_size'",
    "loss__frm_logits": "is not a parameter",
    "qqq": "is not a parameter of this GuardedKerasRegressor.\n",
}


@pytest.mark.parametrize(("name", "message"), WRONG_NAMES.items(), ids=WRONG_NAMES)
def test_set_params_raises_for_an_unknown_name_and_suggests_the_closest(name, message):
    with pytest.raises(ValueError, match=f"{name!r} is not a parameter") as error:
        make(build_a if "optimi" in name else build).set_params(**{name: 1})
    assert message in str(error.value)


@pytest.mark.parametrize(("name", "message"), WRONG_NAMES.items(), ids=WRONG_NAMES)
def test_fit_raises_for_an_unknown_name_before_it_builds_the_model(name, message, line):
    def never(neurons=3):
        raise AssertionError("the model function was called")

    with pytest.raises(ValueError, match=f"{name!r} is not a parameter") as error:
        make(never, **{name: 1}).fit(*line)
    assert message in str(error.value)


class Fading(keras.callbacks.Callback):
    def __init__(self, fade=1):
        super().__init__()


MISPLACED = {
    "optimizer__lr": ({}, "Did you mean 'optimizer__learning_rate'"),
    "learning_rate": ({}, "Did you mean 'optimizer__learning_rate'"),
    "from_logits": ({"loss": "binary_crossentropy"}, "Did you mean 'loss__from_logits'"),
    "thresholds": ({"metrics": [keras.metrics.Precision]}, "'metrics__thresholds'"),
    "patience": ({}, "EarlyStopping and ReduceLROnPlateau: pass callbacks=.*patience="),
    "save_best_only": ({}, "ModelCheckpoint.*: pass callbacks="),
    "fade": ({"callbacks": Fading}, "Did you mean 'callbacks__fade'"),
    "min_delta": ({"callbacks": [keras.callbacks.EarlyStopping()]}, "'callbacks__min_delta'"),
    "monitor": ({"callbacks": {"stop": keras.callbacks.EarlyStopping}}, "'callbacks__monitor'"),
}


@pytest.mark.parametrize("name", MISPLACED)
def test_a_name_that_lacks_its_prefix_raises_with_what_to_write(name, line):
    parameters, message = MISPLACED[name]
    with pytest.raises(InputValueError, match=f"{name!r} is not a parameter.*{message}"):
        make(build_a, **{"loss": "mse"} | parameters | {name: 3}).fit(*line)


def test_only_names_that_exist_are_suggested():
    with pytest.raises(ValueError, match="optimizer__learning_rat") as error:
        make(build_a, optimizer="sgd").set_params(optimizer__learning_rat=1)
    assert "compile__learning_rat" not in str(error.value)


def test_all_unknown_names_are_in_one_message():
    with pytest.raises(ValueError, match=r"(?s)'neuron' is not.*'epoch' is not"):
        make(build).set_params(neuron=1, epoch=2)


@pytest.mark.parametrize(
    "params",
    [
        {"neurons": 9, "neuron": 1},
        {"epochs": 9, "callbak__patience": 1},
        {"model": build_a, "units_b": 1},
        {"model__neurons": 9, "model__neuron": 1},
    ],
    ids=lambda p: next(iter(p)),
)
def test_a_failed_set_params_changes_nothing(params):
    estimator = make(build, neurons=4)
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match="Invalid parameter"):
        estimator.set_params(**params)
    assert vars(estimator) == before


@pytest.mark.parametrize("method", ["fit", "predict"])
def test_keyword_arguments_of_a_method_are_checked(method, line):
    estimator = make(build_a).fit(*line)
    data = line if method == "fit" else line[:1]
    with pytest.raises(TypeError, match=f"{method}.*'batchsize'.*Did you mean 'batch_size'"):
        getattr(estimator, method)(*data, batchsize=3)


def test_a_search_may_choose_between_model_functions(line):
    search = GridSearchCV(make(None), {"model": [build_a, build_b]}, cv=2, error_score="raise")
    search.fit(*line)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert width_of(search.best_estimator_) == (3 if search.best_params_["model"] is build_a else 5)


def test_a_search_may_choose_between_model_functions_and_their_own_arguments(line):
    grid = [{"model": [build_a], "units_a": [2]}, {"model": [build_b], "units_b": [7]}]
    search = GridSearchCV(make(build_a), grid, cv=2, error_score="raise").fit(*line)
    assert width_of(search.best_estimator_) in (2, 7)
    assert len(search.cv_results_["params"]) == 2


def test_another_model_function_is_not_called_with_the_arguments_of_the_last(line):
    estimator = make(build_a).set_params(units_a=2)
    assert estimator.get_params()["units_a"] == 2
    estimator = make(build_a).set_params(model=build_b)
    assert "units_a" not in estimator.get_params()
    assert width_of(estimator.initialize(*line)) == 5


@pytest.mark.parametrize("model", [build_classifier, build_regressor], ids=lambda f: f.__name__)
def test_get_params_and_set_params_are_inverse(model):
    estimator = GuardedKerasBase(model, units=4, optimizer__learning_rate=0.1)
    params = estimator.get_params()
    assert clone(estimator).set_params(**params).get_params() == params


NAME_ERRORS = {
    "unknown": ({"neuron": 1}, "'neuron' is not a parameter"),
    "given_twice": ({"neurons": 3, "model__neurons": 4}, "name the same argument"),
    "no_such_item": (
        {
            "callbacks": {"stop": keras.callbacks.EarlyStopping},
            "callbacks__halt__patience": 3,
        },
        "is for item 'halt' of callbacks, which has 'stop'",
    ),
    "routed_to_an_instance": (
        {"metrics": [keras.metrics.MeanSquaredError()], "metrics__name": "m"},
        "can never be used",
    ),
}


@pytest.mark.parametrize(("params", "message"), NAME_ERRORS.values(), ids=NAME_ERRORS)
def test_an_error_about_a_name_is_an_input_error_without_a_retry(params, message, line):
    calls = []

    def counted(neurons=3):
        calls.append(neurons)
        return network(neurons)

    with pytest.raises(InputValueError, match=message):
        make(counted, max_retries=2, **params).fit(*line)
    assert len(calls) <= 1


def test_a_required_argument_that_is_not_set_is_an_input_error(line):
    with pytest.raises(InputValueError, match="needs_units needs 'units'"):
        make(needs_units, max_retries=2).fit(*line)


def test_an_unknown_argument_of_fit_is_an_input_error(line):
    with pytest.raises(InputTypeError, match="batchsize"):
        make(build).fit(*line, batchsize=3)
