"""Any callable that builds a model, and its arguments as parameters."""

import functools
import pickle

import keras
import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skguard import GuardedKerasBase, GuardedKerasClassifier, GuardedKerasRegressor
from skguard._parameters.signatures import REQUIRED, signature_of
from tests.parameters.networks import (
    build,
    learning_rate_of,
    make,
    needs_units,
    network,
    width_of,
)


def build_with_optimizer_argument(optimizer=0.25):
    model = network(3)
    model.compile(keras.optimizers.SGD(optimizer), "mse")
    return model


def build_open(**kwargs):
    return network(kwargs["units"])


def open_arguments(**kwargs):
    """Records the arguments that it was called with."""
    open_arguments.seen = kwargs
    return network(3)


def test_get_params_lists_the_arguments_of_the_model_function_with_their_defaults():
    params = GuardedKerasRegressor(build).get_params()
    assert (params["neurons"], params["learning_rate"]) == (6, 0.01)


@pytest.mark.parametrize("prefix", ["model__", "model__model__"])
def test_a_randomized_search_over_a_pipeline_tunes_arguments_of_the_model_function(prefix, line):
    pipe = Pipeline([("scale", StandardScaler()), ("model", GuardedKerasRegressor(build))])
    pipe.set_params(model__verbose=0, model__random_state=0)
    search = RandomizedSearchCV(
        pipe,
        {f"{prefix}neurons": [3, 5], f"{prefix}learning_rate": loguniform(1e-4, 1e-1)},
        n_iter=2,
        cv=2,
        random_state=0,
        error_score="raise",
    ).fit(*line)
    best = search.best_estimator_["model"]
    assert width_of(best) == search.best_params_[f"{prefix}neurons"]
    assert learning_rate_of(best) == pytest.approx(search.best_params_[f"{prefix}learning_rate"])


@pytest.mark.parametrize("name", ["neurons", "model__neurons"])
@pytest.mark.parametrize("how", ["constructor", "set_params", "set_params_after_clone"])
def test_both_spellings_reach_the_model_function(name, how, line):
    if how == "constructor":
        estimator = make(build, **{name: 4})
    elif how == "set_params":
        estimator = make(build).set_params(**{name: 4})
    else:
        estimator = clone(make(build)).set_params(**{name: 4})
    assert width_of(estimator.initialize(*line)) == 4
    assert width_of(clone(estimator).initialize(*line)) == 4


@pytest.mark.parametrize(
    ("given", "then"), [("neurons", "model__neurons"), ("model__neurons", "neurons")]
)
def test_setting_one_spelling_replaces_the_other(given, then, line):
    estimator = clone(make(build, **{given: 4})).set_params(**{then: 5})
    params = estimator.get_params()
    assert (params[given], params[then]) == (5, 5)
    assert width_of(clone(estimator).initialize(*line)) == 5


def test_two_values_for_one_argument_raise(line):
    estimator = make(build, neurons=3, model__neurons=4)
    with pytest.raises(ValueError, match="neurons=3 and model__neurons=4 name the same argument"):
        estimator.fit(*line)


def test_an_argument_named_like_an_estimator_parameter_is_reached_by_the_routed_name_only(line):
    estimator = make(build_with_optimizer_argument)
    params = estimator.get_params()
    assert (params["optimizer"], params["model__optimizer"]) == ("rmsprop", 0.25)
    assert learning_rate_of(estimator.initialize(*line)) == 0.25
    assert learning_rate_of(estimator.set_params(model__optimizer=0.5).initialize(*line)) == 0.5


def test_an_argument_named_like_a_method_does_not_hide_the_method(line):
    def scored(score=3):
        return network(score)

    estimator = make(scored, model__score=4).fit(*line)
    assert width_of(estimator) == 4
    assert np.isfinite(estimator.score(*line))
    with pytest.raises(ValueError, match=r"'score' is not a parameter.*'model__score'"):
        estimator.set_params(score=5)


def test_a_required_argument_is_listed_and_fit_raises_without_it(line):
    estimator = make(needs_units)
    assert repr(estimator.get_params()["units"]) == "<required>"
    with pytest.raises(ValueError, match="needs_units needs 'units' and has no default"):
        estimator.fit(*line)
    assert width_of(estimator.set_params(units=4).initialize(*line)) == 4


def test_required_is_one_object_after_pickle_and_clone():
    assert pickle.loads(pickle.dumps(REQUIRED)) is REQUIRED
    assert clone(make(needs_units)).get_params()["units"] is REQUIRED


class Factory:
    def __init__(self, extra=0):
        self.extra = extra

    def method(self, units=3):
        return network(units + self.extra)

    def __call__(self, units=3):
        return network(units + self.extra)


class Net(keras.Model):
    def __init__(self, units=3):
        super().__init__()
        self.hidden = keras.layers.Dense(units)
        self.out = keras.layers.Dense(1)

    def call(self, x):
        return self.out(self.hidden(x))


class OpenNet(Net):
    def __init__(self, units=3, **kwargs):
        keras.Model.__init__(self, **kwargs)
        self.hidden = keras.layers.Dense(units)
        self.out = keras.layers.Dense(1)


class WithMethod(GuardedKerasRegressor):
    def _keras_build_fn(self, units=3):
        return network(units)


def nested():
    def inner(units=3):
        return network(units)

    return inner


CALLABLES = {
    "plain": needs_units,
    "nested": nested(),
    "lambda": lambda units=3: network(units),
    "partial": functools.partial(needs_units, units=3),
    "partial_of_a_class": functools.partial(Net, units=3),
    "partial_of_a_partial": functools.partial(functools.partial(needs_units), units=3),
    "bound_method": Factory().method,
    "callable_object": Factory(),
    "subclass": Net,
    "subclass_with_kwargs": OpenNet,
}


@pytest.mark.parametrize("model", CALLABLES.values(), ids=CALLABLES)
def test_any_callable_is_a_model_function_whose_arguments_are_parameters(model, line):
    estimator = clone(make(model)).set_params(units=4)
    assert estimator.get_params()["units"] == 4
    estimator.fit(*line)
    assert width_of(estimator) == 4
    assert estimator.predict(line[0]).shape == (60,)


@pytest.mark.parametrize(
    "model",
    [m for m in CALLABLES.values() if m is not OpenNet],
    ids=[k for k, m in CALLABLES.items() if m is not OpenNet],
)
def test_a_misspelt_argument_of_any_callable_raises(model):
    with pytest.raises(ValueError, match=r"'unit' is not a parameter.*'units'"):
        make(model).set_params(unit=5)


def test_the_method_of_a_subclass_is_a_model_function_whose_arguments_are_parameters(line):
    estimator = clone(WithMethod(loss="mse", verbose=0)).set_params(units=4)
    assert width_of(estimator.fit(*line)) == 4


def test_a_positional_argument_of_a_partial_is_not_a_parameter(line):
    def two(width, units=3):
        return network(width + units)

    estimator = make(functools.partial(two, 2))
    assert "width" not in estimator.get_params()
    assert width_of(estimator.set_params(units=4).initialize(*line)) == 6


def test_an_argument_that_keras_rejects_raises_before_training(line):
    with pytest.raises(ValueError, match=r"Unrecognized keyword arguments.*unit"):
        make(OpenNet, unit=5).fit(*line)


def test_a_keras_model_subclass_with_kwargs_may_pass_them_to_keras(line):
    estimator = make(OpenNet, model__name="mine").initialize(*line)
    assert estimator.model_.name == "mine"


@pytest.mark.parametrize("name", ["meta", "compile_kwargs", "params"])
def test_a_model_function_is_called_with_the_values_of_the_estimator_that_it_names(name, line):
    seen = {}

    def build_and_record(params=None, meta=None, compile_kwargs=None):
        seen.update(params=params, meta=meta, compile_kwargs=compile_kwargs)
        return network(3)

    estimator = make(build_and_record).initialize(*line)
    assert name not in estimator.get_params()
    expected = {
        "meta": ("n_features_in_", 4),
        "params": ("verbose", 0),
        "compile_kwargs": ("run_eagerly", False),
    }
    key, value = expected[name]
    assert seen[name][key] == value


def test_a_model_function_with_kwargs_takes_any_name_and_all_values_of_the_estimator(line):
    make(open_arguments, model__units=4, depth=2).initialize(*line)
    assert {"units", "depth", "meta", "compile_kwargs", "params"} == open_arguments.seen.keys()
    assert (open_arguments.seen["units"], open_arguments.seen["depth"]) == (4, 2)


def test_a_model_function_with_kwargs_works_through_a_clone(line):
    estimator = clone(make(build_open, units=4)).set_params(units=5)
    assert width_of(estimator.initialize(*line)) == 5


def test_a_model_function_may_compile_with_the_parameters_of_the_estimator(line):
    def compiles(compile_kwargs):
        model = network(3)
        model.compile(**compile_kwargs)
        return model

    estimator = make(compiles, optimizer="sgd", optimizer__learning_rate=0.25).initialize(*line)
    assert learning_rate_of(estimator) == 0.25


def test_an_argument_that_a_subclass_sets_for_its_base_is_not_a_parameter(line):
    class Sized(keras.Model):
        def __init__(self, units=3, **kwargs):
            super().__init__(**kwargs)
            self.units, self.out = units, keras.layers.Dense(1)

        def call(self, x):
            return self.out(x)

    class Five(Sized):
        def __init__(self, **kwargs):
            super().__init__(units=5, **kwargs)

    assert GuardedKerasRegressor(Five, loss="mse", verbose=0).fit(*line).model_.units == 5


@pytest.mark.parametrize(
    "cls",
    [GuardedKerasBase, GuardedKerasClassifier, GuardedKerasRegressor],
    ids=lambda c: c.__name__,
)
def test_an_unusable_model_does_not_break_get_params(cls):
    assert cls(model=3).get_params()["model"] == 3


def test_the_signature_of_a_keras_class_has_the_arguments_of_its_bases():
    signature = signature_of(keras.optimizers.SGD)
    assert {"learning_rate", "momentum", "clipnorm"} <= signature.arguments.keys()
    assert not signature.takes("beta_1")
