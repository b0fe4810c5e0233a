"""What names an estimator takes, and where each of them goes."""

import functools
import pickle

import keras
import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skguard import GuardedKerasBase, GuardedKerasClassifier, GuardedKerasRegressor
from skguard._estimators.parameters import REQUIRED, signature_of
from tests.models import build_classifier, build_regressor


def network(width):
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(width, "relu"), keras.layers.Dense(1)]
    )


def build(neurons=6, learning_rate=0.01):
    """A model function that compiles."""
    model = network(neurons)
    model.compile(keras.optimizers.Adam(learning_rate), "mse")
    return model


def build_a(units_a=3):
    return network(units_a)


def build_b(units_b=5):
    return network(units_b)


def needs_units(units):
    return network(units)


def build_with_own_optimizer(optimizer=0.25):
    model = network(3)
    model.compile(keras.optimizers.SGD(optimizer), "mse")
    return model


def build_open(**kwargs):
    return network(kwargs["units"])


def open_arguments(**kwargs):
    """Only tells what it was called with."""
    open_arguments.seen = kwargs
    return network(3)


def width_of(estimator):
    return estimator.model_.layers[0].units


def rate_of(estimator):
    return float(estimator.model_.optimizer.learning_rate)


def fast(model, **kwargs):
    return GuardedKerasRegressor(model, **{"loss": "mse", "verbose": 0, "random_state": 0} | kwargs)


# The model function's arguments


def test_arguments_of_the_model_function_are_listed_with_their_defaults():
    params = GuardedKerasRegressor(build).get_params()
    assert (params["neurons"], params["learning_rate"]) == (6, 0.01)


@pytest.mark.parametrize("prefix", ["model__", "model__model__"])
def test_a_randomized_search_over_a_pipeline_tunes_them(prefix, line):
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
    assert rate_of(best) == pytest.approx(search.best_params_[f"{prefix}learning_rate"])


@pytest.mark.parametrize("name", ["neurons", "model__neurons"])
@pytest.mark.parametrize("how", ["constructor", "set_params", "set_params_after_clone"])
def test_both_spellings_reach_the_model_function(name, how, line):
    if how == "constructor":
        estimator = fast(build, **{name: 4})
    elif how == "set_params":
        estimator = fast(build).set_params(**{name: 4})
    else:
        estimator = clone(fast(build)).set_params(**{name: 4})
    assert width_of(estimator.initialize(*line)) == 4
    assert width_of(clone(estimator).initialize(*line)) == 4


@pytest.mark.parametrize(
    ("given", "then"), [("neurons", "model__neurons"), ("model__neurons", "neurons")]
)
def test_setting_one_spelling_replaces_the_other(given, then, line):
    estimator = clone(fast(build, **{given: 4})).set_params(**{then: 5})
    params = estimator.get_params()
    assert (params[given], params[then]) == (5, 5)
    assert width_of(clone(estimator).initialize(*line)) == 5


def test_two_values_for_one_argument_are_an_error(line):
    estimator = fast(build, neurons=3, model__neurons=4)
    with pytest.raises(ValueError, match="neurons=3 and model__neurons=4 name the same argument"):
        estimator.fit(*line)


def test_an_argument_named_like_an_estimator_parameter_is_reached_by_the_routed_name_only(line):
    estimator = fast(build_with_own_optimizer)
    params = estimator.get_params()
    assert (params["optimizer"], params["model__optimizer"]) == ("rmsprop", 0.25)
    assert rate_of(estimator.initialize(*line)) == 0.25
    assert rate_of(estimator.set_params(model__optimizer=0.5).initialize(*line)) == 0.5


def test_an_argument_named_like_a_method_does_not_hide_the_method(line):
    def scored(score=3):
        return network(score)

    estimator = fast(scored, model__score=4).fit(*line)
    assert width_of(estimator) == 4
    assert np.isfinite(estimator.score(*line))
    with pytest.raises(ValueError, match=r"'score' is not a parameter.*'model__score'"):
        estimator.set_params(score=5)


def test_a_required_argument_is_listed_and_asked_for(line):
    estimator = fast(needs_units)
    assert repr(estimator.get_params()["units"]) == "<required>"
    with pytest.raises(ValueError, match="needs_units needs 'units' and has no default"):
        estimator.fit(*line)
    assert width_of(estimator.set_params(units=4).initialize(*line)) == 4


def test_required_stays_the_one_object_when_it_is_copied():
    assert pickle.loads(pickle.dumps(REQUIRED)) is REQUIRED
    assert clone(fast(needs_units)).get_params()["units"] is REQUIRED


# Every kind of callable


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
    estimator = clone(fast(model)).set_params(units=4)
    assert estimator.get_params()["units"] == 4
    estimator.fit(*line)
    assert width_of(estimator) == 4
    assert estimator.predict(line[0]).shape == (60,)


@pytest.mark.parametrize(
    "model",
    [m for m in CALLABLES.values() if m is not OpenNet],
    ids=[k for k, m in CALLABLES.items() if m is not OpenNet],
)
def test_a_misspelt_argument_of_any_callable_is_refused(model):
    with pytest.raises(ValueError, match=r"'unit' is not a parameter.*'units'"):
        fast(model).set_params(unit=5)


def test_the_method_of_a_subclass_is_a_model_function(line):
    estimator = clone(WithMethod(loss="mse", verbose=0)).set_params(units=4)
    assert width_of(estimator.fit(*line)) == 4


def test_a_positional_argument_of_a_partial_is_no_parameter(line):
    def two(width, units=3):
        return network(width + units)

    estimator = fast(functools.partial(two, 2))
    assert "width" not in estimator.get_params()
    assert width_of(estimator.set_params(units=4).initialize(*line)) == 6


def test_an_argument_that_keras_refuses_fails_before_training(line):
    with pytest.raises(ValueError, match=r"Unrecognized keyword arguments.*unit"):
        fast(OpenNet, unit=5).fit(*line)


def test_a_keras_model_subclass_with_kwargs_passes_them_to_keras(line):
    estimator = fast(OpenNet, model__name="mine").initialize(*line)
    assert estimator.model_.name == "mine"


@pytest.mark.parametrize("name", ["meta", "compile_kwargs", "params"])
def test_a_model_function_is_given_what_it_asks_for(name, line):
    seen = {}

    def asks(params=None, meta=None, compile_kwargs=None):
        seen.update(params=params, meta=meta, compile_kwargs=compile_kwargs)
        return network(3)

    estimator = fast(asks).initialize(*line)
    assert name not in estimator.get_params()
    expected = {
        "meta": ("n_features_in_", 4),
        "params": ("verbose", 0),
        "compile_kwargs": ("run_eagerly", False),
    }
    key, value = expected[name]
    assert seen[name][key] == value


def test_a_model_function_with_kwargs_takes_any_name_and_is_given_everything(line):
    fast(open_arguments, model__units=4, depth=2).initialize(*line)
    assert {"units", "depth", "meta", "compile_kwargs", "params"} == open_arguments.seen.keys()
    assert (open_arguments.seen["units"], open_arguments.seen["depth"]) == (4, 2)


def test_a_model_function_with_kwargs_works_through_a_clone(line):
    estimator = clone(fast(build_open, units=4)).set_params(units=5)
    assert width_of(estimator.initialize(*line)) == 5


@pytest.mark.parametrize(
    "cls",
    [GuardedKerasBase, GuardedKerasClassifier, GuardedKerasRegressor],
    ids=lambda c: c.__name__,
)
def test_an_unusable_model_does_not_break_get_params(cls):
    assert cls(model=3).get_params()["model"] == 3


def test_the_signature_of_a_keras_class_holds_what_its_bases_take():
    signature = signature_of(keras.optimizers.SGD)
    assert {"learning_rate", "momentum", "clipnorm"} <= signature.arguments.keys()
    assert not signature.takes("beta_1")


# Names that nothing takes


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
def test_set_params_refuses_an_unknown_name_and_offers_the_closest(name, message):
    with pytest.raises(ValueError, match=f"{name!r} is not a parameter") as error:
        fast(build_a if "optimi" in name else build).set_params(**{name: 1})
    assert message in str(error.value)


@pytest.mark.parametrize(("name", "message"), WRONG_NAMES.items(), ids=WRONG_NAMES)
def test_fit_refuses_an_unknown_name_before_it_builds_anything(name, message, line):
    def never(neurons=3):
        raise AssertionError("the model function was called")

    with pytest.raises(ValueError, match=f"{name!r} is not a parameter") as error:
        fast(never, **{name: 1}).fit(*line)
    assert message in str(error.value)


def test_a_suggested_name_exists():
    with pytest.raises(ValueError, match="optimizer__learning_rat") as error:
        fast(build_a, optimizer="sgd").set_params(optimizer__learning_rat=1)
    assert "compile__learning_rat" not in str(error.value)


def test_all_unknown_names_are_in_one_message():
    with pytest.raises(ValueError, match=r"(?s)'neuron' is not.*'epoch' is not"):
        fast(build).set_params(neuron=1, epoch=2)


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
    estimator = fast(build, neurons=4)
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match="Invalid parameter"):
        estimator.set_params(**params)
    assert vars(estimator) == before


@pytest.mark.parametrize("method", ["fit", "predict"])
def test_keyword_arguments_of_a_method_are_checked(method, line):
    estimator = fast(build_a).fit(*line)
    data = line if method == "fit" else line[:1]
    with pytest.raises(TypeError, match=f"{method}.*'batchsize'.*Did you mean 'batch_size'"):
        getattr(estimator, method)(*data, batchsize=3)


# Names that would do nothing


NO_OPS = {
    "misspelt_prefix": (build_a, {"callbak__patience": 3}, "Did you mean 'callbacks__patience'"),
    "function_compiles": (build, {"optimizer__learning_rate": 3.0}, "build compiles the model"),
    "function_compiles_optimizer": (build, {"optimizer": "sgd"}, "build compiles the model"),
    "function_compiles_metrics": (build, {"metrics": ["mae"]}, "build compiles the model"),
    "item_out_of_range": (
        build_a,
        {"callbacks": [keras.callbacks.EarlyStopping], "callbacks__5__patience": 3},
        "callbacks__5__patience",
    ),
    "item_not_in_dict": (
        build_a,
        {"callbacks": {"stop": keras.callbacks.EarlyStopping}, "callbacks__halt__patience": 3},
        "callbacks__halt__patience",
    ),
    "no_callbacks": (build_a, {"callbacks__patience": 3}, "callbacks__patience"),
    "callback_instance": (
        build_a,
        {"callbacks": keras.callbacks.EarlyStopping("loss"), "callbacks__patience": 3},
        "callbacks__patience=3 can never be used.*is not a class",
    ),
    "callback_instance_in_list": (
        build_a,
        {"callbacks": [keras.callbacks.EarlyStopping("loss")], "callbacks__0__patience": 3},
        "callbacks__0__patience=3 can never be used.*is not a class",
    ),
    "wrong_argument_of_a_callback": (
        build_a,
        {"callbacks": keras.callbacks.EarlyStopping, "callbacks__patienc": 3},
        "Did you mean 'callbacks__patience'",
    ),
    "optimizer_instance": (
        build_a,
        {"optimizer": keras.optimizers.SGD(0.1), "optimizer__momentum": 0.5},
        "optimizer__momentum=0.5 can never be used.*is not a class",
    ),
    "loss_instance": (
        build_a,
        {"loss": keras.losses.Huber(), "loss__delta": 0.5},
        "loss__delta=0.5 can never be used.*is not a class",
    ),
    "other_optimizer": (
        build_a,
        {"optimizer": "adam", "optimizer__momentum": 0.5},
        "optimizer__momentum",
    ),
    "no_metrics": (build_a, {"metrics__0__name": "m"}, "metrics__0__name"),
}


@pytest.mark.parametrize(("model", "params", "message"), NO_OPS.values(), ids=NO_OPS)
def test_a_parameter_that_would_never_be_used_is_an_error(model, params, message, line):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        fast(model, **params).fit(*line)


def test_a_parameter_for_the_compilation_of_a_compiled_model_is_an_error(line):
    with pytest.raises(ValueError, match=r"optimizer__learning_rate=1\.0 would never be used"):
        fast(build(), optimizer__learning_rate=1.0).fit(*line)


def test_a_model_function_that_compiles_with_compile_kwargs_gets_them(line):
    def compiles(compile_kwargs):
        model = network(3)
        model.compile(**compile_kwargs)
        return model

    estimator = fast(compiles, optimizer="sgd", optimizer__learning_rate=0.25).initialize(*line)
    assert rate_of(estimator) == 0.25


# Routed parameters reach what they name


def bce(meta, activation=None):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, activation)])


@pytest.mark.parametrize(
    "loss",
    ["BinaryCrossentropy", "binary_crossentropy", keras.losses.BinaryCrossentropy],
    ids=["class_name", "function_name", "class"],
)
def test_settings_of_a_loss_reach_it_by_any_name(loss, blobs):
    X, y = blobs[0][:40], blobs[1][:40]
    classifier = GuardedKerasClassifier(bce, loss=loss, loss__from_logits=True, verbose=0)
    assert classifier.fit(X, y).model_.loss.from_logits is True
    assert set(classifier.predict(X)) <= {0, 1}


@pytest.mark.parametrize("metric", ["AUC", "auc", keras.metrics.AUC], ids=str)
def test_settings_of_a_metric_reach_the_item_they_name(metric, blobs):
    classifier = GuardedKerasClassifier(
        bce,
        model__activation="sigmoid",
        loss="binary_crossentropy",
        metrics=[metric, "accuracy"],
        metrics__0__name="area",
        verbose=0,
    ).fit(blobs[0][:40], blobs[1][:40])
    assert {"area", "accuracy"} <= classifier.history_.keys()


def test_settings_of_callbacks_reach_one_or_all(line):
    stop = keras.callbacks.EarlyStopping
    estimator = fast(
        build_a,
        callbacks=[stop, stop],
        callbacks__monitor="loss",
        callbacks__1__patience=7,
    ).fit(*line)
    assert [c.monitor for c in estimator.callbacks_] == ["loss", "loss"]
    assert [c.patience for c in estimator.callbacks_] == [0, 7]


@pytest.mark.parametrize("first", ["optimizer", "optimizer__momentum"])
def test_an_optimizer_and_its_settings_are_set_in_either_order(first, line):
    params = {"optimizer": "sgd", "optimizer__momentum": 0.5}
    second = next(name for name in params if name != first)
    estimator = clone(fast(build_a, optimizer="adam"))
    estimator.set_params(**{first: params[first]})
    estimator.set_params(**{second: params[second]})
    assert estimator.fit(*line).model_.optimizer.momentum == 0.5


def test_the_optimizers_setting_is_asked_of_the_optimizer_that_is_used(line):
    estimator = clone(fast(build_a, optimizer="adam")).set_params(optimizer__momentum=0.5)
    with pytest.raises(ValueError, match="'optimizer__momentum' is not a parameter"):
        estimator.fit(*line)


def test_a_search_may_choose_between_model_functions(line):
    search = GridSearchCV(fast(None), {"model": [build_a, build_b]}, cv=2, error_score="raise")
    search.fit(*line)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert width_of(search.best_estimator_) == (3 if search.best_params_["model"] is build_a else 5)


def test_a_search_may_choose_between_model_functions_and_their_own_arguments(line):
    grid = [{"model": [build_a], "units_a": [2]}, {"model": [build_b], "units_b": [7]}]
    search = GridSearchCV(fast(build_a), grid, cv=2, error_score="raise").fit(*line)
    assert width_of(search.best_estimator_) in (2, 7)
    assert len(search.cv_results_["params"]) == 2


def test_another_model_function_is_not_called_with_the_arguments_of_the_last(line):
    estimator = fast(build_a).set_params(units_a=2)
    assert estimator.get_params()["units_a"] == 2
    estimator = fast(build_a).set_params(model=build_b)
    assert "units_a" not in estimator.get_params()
    assert width_of(estimator.initialize(*line)) == 5


@pytest.mark.parametrize("model", [build_classifier, build_regressor], ids=lambda f: f.__name__)
def test_get_params_and_set_params_are_inverse(model):
    estimator = GuardedKerasBase(model, units=4, optimizer__learning_rate=0.1)
    params = estimator.get_params()
    assert clone(estimator).set_params(**params).get_params() == params


def test_defaults_that_a_subclass_settles_for_its_base_are_left_to_it(line):
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
