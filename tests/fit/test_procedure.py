"""A fit as a whole: what it does once, what it repeats, and what it leaves alone."""

import functools

import keras
import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import KFold
from sklearn.preprocessing import FunctionTransformer

from skguard import GuardedKerasBase, GuardedKerasClassifier, GuardedKerasRegressor
from skguard.exceptions import (
    InputError,
    InputTypeError,
    InputValueError,
    TooManyFailedTrialsError,
)
from skguard.model_selection import GuardedGridSearchCV
from tests.models import build_classifier, build_regressor, make_classifier, make_regressor

HOOKS = [
    "set_model",
    "on_train_begin",
    "on_epoch_begin",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_end",
    "on_epoch_end",
    "on_train_end",
]


class InjectedError(RuntimeError):
    """The fault of a test."""


def raise_injected(*args, **kwargs):
    raise InjectedError


class CountingBuilder:
    """A model function that counts its calls and fails at some of them."""

    def __init__(self, build=build_regressor, failing=()):
        self.build = build
        self.failing = failing
        self.n_calls = 0

    def __call__(self, meta):
        self.n_calls += 1
        if self.n_calls - 1 in self.failing:
            raise InjectedError
        return self.build(meta)


def attributes_of(estimator):
    return dict(vars(estimator))


def assert_unchanged(estimator, before):
    now = vars(estimator)
    assert now.keys() == before.keys()
    assert [name for name in before if now[name] is not before[name]] == []


def failing_callback(hook):
    return type("Failing", (keras.callbacks.Callback,), {hook: raise_injected})()


class FailingEncoder(TransformerMixin, BaseEstimator):
    def __init__(self, failing="fit"):
        self.failing = failing

    def fit(self, X, y=None):
        if self.failing == "fit":
            raise InjectedError
        return self

    def transform(self, X):
        if self.failing == "transform":
            raise InjectedError
        return X


class FailingClassifier(GuardedKerasClassifier):
    """A classifier whose feature encoder fails on request."""

    failing = None

    @property
    def feature_encoder(self):
        return FailingEncoder(self.failing)


@pytest.mark.parametrize("is_fitted", [False, True], ids=["new", "fitted"])
@pytest.mark.parametrize(
    "fault",
    [
        {"epochs": 0},
        {"fit__unheard_of": 3},
        {"validation_split": 0.999},
        {"validation_fraction": 0.2, "scoring": "unheard_of"},
        {"model": raise_injected},
        {"model": lambda: None},
        {"loss": None},
        {"callbacks": [3]},
        {"callbacks": keras.callbacks.EarlyStopping("val_loss")},
        {"callbacks": keras.callbacks.EarlyStopping("unheard_of", mode="min")},
        {"optimizer": "unheard_of"},
        {"optimizer__unheard_of": 3},
    ],
    ids=lambda fault: "-".join(fault),
)
def test_a_fit_that_fails_changes_no_attribute(fault, is_fitted, blobs):
    estimator = make_classifier(validation_split=0.0)
    if is_fitted:
        estimator.fit(*blobs)
    for name, value in fault.items():
        setattr(estimator, name, value)
    before = attributes_of(estimator)
    with pytest.raises((InputError, InjectedError, ValueError)):
        estimator.fit(*blobs)
    assert_unchanged(estimator, before)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_a_callback_that_fails_at_a_hook_changes_no_attribute(hook, engine, blobs):
    estimator = make_classifier(engine=engine, validation_fraction=0.2).fit(*blobs)
    estimator.callbacks = failing_callback(hook)
    before = attributes_of(estimator)
    with pytest.raises(InjectedError):
        estimator.fit(*blobs)
    assert_unchanged(estimator, before)


@pytest.mark.parametrize("failing", ["fit", "transform"])
def test_an_encoder_that_fails_is_raised_before_a_model_is_built(failing, blobs):
    builder = CountingBuilder(build_classifier)
    estimator = FailingClassifier(
        builder, loss="sparse_categorical_crossentropy", verbose=0, random_state=0, max_retries=2
    ).fit(*blobs)
    before = attributes_of(estimator)
    FailingClassifier.failing = failing
    try:
        with pytest.raises(InjectedError) as raised:
            estimator.fit(*blobs)
    finally:
        FailingClassifier.failing = None
    assert raised.value.attempts == []
    assert builder.n_calls == 1
    assert_unchanged(estimator, before)


@pytest.mark.parametrize(
    "arguments",
    [
        {"sample_weight": np.zeros(60)},
        {"sample_weight": np.ones(59)},
        {"X_val": np.zeros((5, 4))},
        {"y_val": np.zeros(5)},
        {"groups": np.zeros(3)},
        {"validation_data": (np.zeros((5, 4)),)},
        {"validation_split": 0.999},
        {"validation_split": [([0, 1], [1, 2])]},
        {"validation_split": [([0, 1], [60])]},
        {"unheard_of": 3},
    ],
    ids=lambda arguments: "-".join(arguments),
)
def test_input_errors_are_raised_before_a_model_is_built(arguments, line):
    builder = CountingBuilder()
    estimator = make_regressor(builder, max_retries=3)
    with pytest.raises(InputError) as raised:
        estimator.fit(*line, **arguments)
    assert raised.value.attempts == []
    assert builder.n_calls == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"X_val": np.zeros((5, 3)), "y_val": np.zeros(5)},
        {"X_val": np.full((5, 4), np.nan), "y_val": np.zeros(5)},
        {"X_val": np.full((5, 4), "a"), "y_val": np.zeros(5)},
        {"sample_weight": np.ones((60, 2))},
    ],
    ids=["features", "NaN", "text", "weights"],
)
def test_input_errors_that_only_the_model_shows_are_raised_once(arguments, line):
    builder = CountingBuilder()
    with pytest.raises(InputError) as raised:
        make_regressor(builder, max_retries=3).fit(*line, **arguments)
    assert len(raised.value.attempts) == 1
    assert builder.n_calls == 1


@pytest.mark.parametrize(
    ("X", "y", "base"),
    [
        (np.zeros((6, 4)), np.zeros(5), ValueError),
        (np.zeros(6), np.zeros(6), ValueError),
        (np.zeros((6, 4)), None, ValueError),
        (np.zeros((6, 4), dtype=complex), np.zeros(6), ValueError),
    ],
    ids=["lengths", "1D", "no y", "complex"],
)
def test_errors_of_scikit_learns_validation_are_input_errors(X, y, base):
    with pytest.raises(InputError) as raised:
        make_regressor(max_retries=3).fit(X, y)
    assert isinstance(raised.value, base)
    assert raised.value.attempts == []


def test_the_estimator_is_unchanged_while_a_fit_runs(blobs):
    estimator = make_classifier(validation_fraction=0.2, scoring="accuracy", epochs=2)
    before = attributes_of(estimator)
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(attributes_of(estimator) == before)

    estimator.callbacks = Look
    before = attributes_of(estimator)
    estimator.fit(*blobs)
    assert seen == [True, True]


class CountingEncoder(FunctionTransformer):
    n_fits = 0
    n_transformed = 0

    def fit(self, X, y=None):
        CountingEncoder.n_fits += 1
        return super().fit(X, y)

    def transform(self, X):
        CountingEncoder.n_transformed += 1
        return super().transform(X)


class Counting(GuardedKerasRegressor):
    @property
    def feature_encoder(self):
        return CountingEncoder()


@pytest.fixture
def counting():
    CountingEncoder.n_fits = CountingEncoder.n_transformed = 0
    return CountingEncoder


def test_data_is_prepared_once_for_all_attempts(counting, line):
    builder = CountingBuilder(failing=[0, 1])
    estimator = Counting(builder, loss="mse", verbose=0, max_retries=2, random_state=0)
    estimator.fit(*line)
    assert builder.n_calls == 3
    assert (counting.n_fits, counting.n_transformed) == (1, 1)


def test_data_is_prepared_again_for_an_attempt_with_other_parameters(counting, line):
    estimator = Counting(
        CountingBuilder(failing=[0]),
        loss="mse",
        verbose=0,
        max_retries=1,
        retry_with=lambda attempt, error, params: {"validation_fraction": 0.5},
        random_state=0,
    ).fit(*line)
    assert len(estimator.validation_indices_) == 30
    assert counting.n_fits == 2
    assert estimator.validation_fraction is None


def test_a_retry_has_another_seed_and_leaves_random_state(line):
    seeds = []

    def build(meta, params):
        seeds.append(params["random_state"])
        if len(seeds) < 3:
            raise InjectedError
        return build_regressor(meta)

    estimator = make_regressor(build, max_retries=2, random_state=5).fit(*line)
    assert seeds[0] == estimator.random_state == 5
    assert len(set(seeds)) == 3


def test_all_attempts_have_one_validation_set(line):
    seen = []

    def build(meta):
        seen.append(meta)
        if len(seen) < 2:
            raise InjectedError
        return build_regressor(meta)

    settings = {"validation_fraction": 0.3, "random_state": None}
    keras.utils.set_random_seed(3)
    first = make_regressor(build_regressor, **settings).fit(*line)
    keras.utils.set_random_seed(3)
    second = make_regressor(build, max_retries=1, **settings).fit(*line)
    assert np.array_equal(first.validation_indices_, second.validation_indices_)


def test_a_method_of_the_estimator_as_model_reads_attributes_of_the_fit(line):
    class WithMethod(GuardedKerasRegressor):
        def build(self):
            return build_regressor({"X_shape_": self.X_shape_, "n_outputs_": self.n_outputs_})

    estimator = WithMethod(loss="mse", verbose=0)
    estimator.model = method = estimator.build
    estimator.fit(*line)
    assert estimator.model is method
    assert estimator.predict(line[0]).shape == (60,)


class Initializing(GuardedKerasClassifier):
    """A subclass that overrides scikeras's template method."""

    def _initialize(self, X, y=None):
        self.before_ = hasattr(self, "model_")
        X, y = super()._initialize(X, y)
        self.units_ = self.model_.count_params()
        self.feature_encoder_ = FunctionTransformer(lambda X: 2 * X).fit(X)
        return X, y


def test_an_overridden_initialize_uses_the_model_and_replaces_encoders(blobs):
    X, y = blobs
    settings = {
        "loss": "sparse_categorical_crossentropy",
        "verbose": 0,
        "random_state": 0,
        "epochs": 3,
    }
    estimator = Initializing(build_classifier, **settings).fit(X, y)
    doubled = GuardedKerasClassifier(build_classifier, **settings).fit(2 * X, y)
    assert estimator.before_ is False
    assert estimator.units_ == estimator.model_.count_params()
    assert np.array_equal(estimator.predict_proba(X), doubled.predict_proba(2 * X))
    assert estimator.history_ == doubled.history_


def test_an_overridden_initialize_may_return_other_arrays(line):
    X, y = line

    class FirstHalf(GuardedKerasRegressor):
        def _initialize(self, X, y=None):
            X, y = super()._initialize(X, y)
            return X[:30], y[:30]

    settings = {"loss": "mse", "verbose": 0, "random_state": 0, "validation_split": 0.2}
    half = FirstHalf(build_regressor, **settings).fit(X, y)
    assert np.array_equal(half.validation_indices_, np.arange(24, 30))
    expected = make_regressor(optimizer="rmsprop", validation_split=0.2).fit(X[:30], y[:30])
    assert half.history_ == expected.history_


def test_an_overridden_initialize_keeps_feature_names(blobs):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(blobs[0], columns=list("abcd"))
    estimator = Initializing(build_classifier, loss="sparse_categorical_crossentropy", verbose=0)
    estimator.fit(X, blobs[1])
    assert estimator.feature_names_in_.tolist() == list("abcd")


def test_an_encoding_for_the_compiled_loss_is_for_one_attempt_only(blobs):
    losses = iter([InjectedError, "categorical_crossentropy", "sparse_categorical_crossentropy"])

    def build(meta):
        model = build_classifier(meta)
        loss = next(losses)
        if loss is InjectedError:
            raise InjectedError
        model.compile("adam", loss)
        return model

    estimator = GuardedKerasClassifier(build, verbose=0, random_state=0, max_retries=1)
    estimator.fit(*blobs)
    X, y = blobs
    assert np.array_equal(estimator.target_encoder_.transform(y), np.eye(3)[y])
    assert np.array_equal(estimator.fit(X, y).target_encoder_.transform(y), y)


def test_transformers_without_a_target_are_fitted(line):
    def build(meta):
        inputs = keras.Input(meta["X_shape_"][1:])
        return keras.Model(inputs, keras.layers.Dense(4)(inputs))

    class Autoencoder(GuardedKerasBase):
        pass

    estimator = Autoencoder(build, loss="mse", verbose=0, random_state=0)
    estimator.fit(line[0], line[0])
    assert estimator.predict(line[0]).shape == (60, 4)
    assert not hasattr(estimator, "classes_")


def test_input_errors_are_value_errors_and_type_errors():
    estimator = make_regressor()
    with pytest.raises(InputTypeError, match="unheard_of"):
        estimator.fit(np.zeros((4, 2)), np.zeros(4), unheard_of=3)
    with pytest.raises(InputValueError, match="epochs=0"):
        make_regressor(epochs=0).fit(np.zeros((4, 2)), np.zeros(4))


def test_an_overridden_initialize_is_the_first_to_see_the_data():
    words = np.array(["one", "three", "five5", "a"] * 10)
    targets = np.array([f"{len(word)} letters" for word in words])

    class Lengths(GuardedKerasRegressor):
        def _initialize(self, X, y=None):
            lengths = np.char.str_len(X).reshape(-1, 1).astype(float)
            return super()._initialize(lengths, np.array([float(text[0]) for text in y]))

    estimator = Lengths(build_regressor, loss="mse", verbose=0, validation_split=0.25)
    estimator.fit(words, targets, sample_weight=np.ones(40))
    assert estimator.n_features_in_ == 1
    assert np.array_equal(estimator.validation_indices_, np.arange(30, 40))


def test_input_errors_in_an_overridden_initialize_are_not_retried(blobs):
    estimator = Initializing(
        build_classifier, loss="sparse_categorical_crossentropy", verbose=0, max_retries=2
    )
    with pytest.raises(InputValueError, match="NaN") as raised:
        estimator.fit(np.full((60, 4), np.nan), blobs[1])
    assert len(raised.value.attempts) == 1


def test_a_random_state_from_retry_with_seeds_the_whole_attempt(line):
    retried = make_regressor(
        CountingBuilder(failing=[0]),
        validation_fraction=0.2,
        max_retries=1,
        retry_with=lambda attempt, error, params: {"random_state": 17},
    ).fit(*line)
    plain = make_regressor(validation_fraction=0.2, random_state=17).fit(*line)
    assert np.array_equal(retried.validation_indices_, plain.validation_indices_)
    assert retried.random_state == 0


def test_one_array_as_validation_data_is_an_input_error(line):
    with pytest.raises(InputValueError, match=r"validation_data must be \(X, y\)"):
        make_regressor(max_retries=2).fit(*line, validation_data=line[0])


def test_parameters_that_an_overridden_initialize_sets_hold_for_this_fit(line):
    class HalfBatches(GuardedKerasRegressor):
        def _initialize(self, X, y=None):
            self.batch_size = len(X) // 2
            return super()._initialize(X, y)

    estimator = HalfBatches(build_regressor, loss="mse", verbose=0, epochs=2, batch_size=8)
    estimator.fit(*line)
    assert int(estimator.model_.optimizer.iterations.numpy()) == 4
    assert estimator.batch_size == 30


def test_parameters_that_a_build_method_sets_hold_for_this_fit(line):
    class HalfBatches(GuardedKerasRegressor):
        def _keras_build_fn(self, meta):
            self.batch_size = 30
            return build_regressor(meta)

    estimator = HalfBatches(loss="mse", verbose=0, epochs=2, batch_size=8).fit(*line)
    assert int(estimator.model_.optimizer.iterations.numpy()) == 4


def test_a_partial_of_a_method_of_the_estimator_reads_what_the_fit_has_learned(line):
    class Own(GuardedKerasRegressor):
        def build(self, units):
            return build_regressor(
                {"X_shape_": self.X_shape_, "n_outputs_": self.n_outputs_}, units
            )

    estimator = Own(loss="mse", verbose=0)
    estimator.model = partial = functools.partial(estimator.build, units=3)
    estimator.fit(*line)
    assert estimator.model is partial
    assert estimator.model_.layers[0].units == 3


def test_a_resumed_fit_has_the_seed_of_the_first(line):
    series = []
    for random_state in (0, 9):
        estimator = make_regressor(batch_size=16).partial_fit(*line)
        estimator.set_params(random_state=random_state)
        series.append(estimator.partial_fit(*line).history_)
    assert series[0] == series[1]


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
@pytest.mark.parametrize("error", [KeyError, IndexError, OSError])
def test_an_error_before_the_first_attempt_is_never_retried(error, line):
    n_splits = []

    class Failing(KFold):
        def split(self, X, y=None, groups=None):
            n_splits.append(1)
            raise error("made up")

    search = GuardedGridSearchCV(
        make_regressor(validation_split=Failing(3)), {"units": [2]}, cv=2, max_retries_per_trial=2
    )
    with pytest.raises(TooManyFailedTrialsError):
        search.fit(*line)
    assert len(n_splits) == len(search.failed_trials_) == 2


def test_what_a_callback_sets_on_the_estimator_stays(line):
    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            estimator.n_seen_ = epoch + 1

    estimator = make_regressor(callbacks=Note, epochs=3)
    assert estimator.fit(*line).n_seen_ == 3
