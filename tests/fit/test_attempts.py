"""A fit that fails is retried if that may help, and every attempt is recorded."""

import copy
import pickle
import time

import keras
import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV

from skguard import (
    FailedTrialError,
    FatalError,
    GuardedKerasClassifier,
    exceptions,
)
from skguard._fit.attempts import Attempt
from skguard.exceptions import (
    DivergedError,
    FatalRuntimeError,
    FatalTypeError,
    FatalValueError,
    ForkedProcessError,
    InputValueError,
)
from tests.fit.probes import same
from tests.models import build_classifier, build_regressor, make_regressor


class BuildError(RuntimeError):
    """Raised by the model functions of these tests."""


class Builder:
    """A model function that records its calls and fails at some; copies share the record."""

    calls: list  # per call, the initial weights of the model, or None

    def __init__(self, failing=(), error=BuildError):
        self.failing, self.error, self.calls = failing, error, []

    def __deepcopy__(self, memo):
        return self

    def __sklearn_clone__(self):
        return self

    def __call__(self, meta, units=8):
        number = len(self.calls)
        self.calls.append(None)
        model = build_regressor(meta, units)
        self.calls[number] = [np.array(weight) for weight in model.get_weights()]
        if self.failing == "always" or number in self.failing:
            raise self.error(f"call {number}, {units} units")
        return model


def build_unless_many(meta, units=8):
    """Build a model, or raise for more than 10 units."""
    if units > 10:
        raise BuildError(f"no room for {units} units")
    return build_regressor(meta, units)


class FailsTraining(keras.callbacks.Callback):
    """Fails in the first trainings, at the end of an epoch, and counts them all."""

    n_trainings = 0
    n_failing = 0

    def on_epoch_end(self, epoch, logs=None):
        cls = FailsTraining
        cls.n_trainings += 1
        if cls.n_trainings <= cls.n_failing:
            raise BuildError(f"training {cls.n_trainings}")


@pytest.fixture
def fails_training():
    FailsTraining.n_trainings, FailsTraining.n_failing = 0, 1
    yield FailsTraining
    FailsTraining.n_trainings, FailsTraining.n_failing = 0, 0


def test_without_max_retries_a_fit_is_not_retried(line):
    build = Builder(failing=[0])
    with pytest.raises(BuildError, match="call 0, 8 units") as raised:
        make_regressor(build).fit(*line)
    assert len(build.calls) == 1
    assert [attempt.error for attempt in raised.value.attempts] == ["BuildError"]


def test_a_fit_that_fails_once_is_retried_and_both_attempts_are_recorded(line):
    build = Builder(failing=[0])
    started = time.monotonic()
    estimator = make_regressor(build, max_retries=3).fit(*line)
    took = time.monotonic() - started
    assert len(build.calls) == 2
    first, second = estimator.attempts_
    assert (first.number, first.error, first.message) == (0, "BuildError", "call 0, 8 units")
    assert "BuildError: call 0, 8 units" in first.traceback
    assert "in __call__" in first.traceback
    assert (second.number, second.error, second.message, second.traceback) == (1, None, None, None)
    assert first.changes == second.changes == {}
    assert first.seconds > 0
    assert first.seconds + second.seconds <= estimator.fit_seconds_ <= took
    assert estimator.n_epochs_ == 1
    assert np.isfinite(estimator.predict(line[0])).all()


def test_a_fit_that_succeeds_is_recorded_as_one_attempt(line):
    estimator = make_regressor(Builder(), max_retries=3).fit(*line)
    (attempt,) = estimator.attempts_
    assert isinstance(attempt, Attempt)
    assert (attempt.number, attempt.error) == (0, None)
    assert attempt.seconds <= estimator.fit_seconds_


@pytest.mark.parametrize("max_retries", [1, 2, np.int64(2)], ids=repr)
def test_a_fit_that_always_fails_raises_the_last_error_with_all_attempts(max_retries, line):
    build = Builder(failing="always")
    with pytest.raises(BuildError, match=f"call {max_retries}, 8 units") as raised:
        make_regressor(build, max_retries=max_retries).fit(*line)
    assert len(build.calls) == max_retries + 1
    attempts = raised.value.attempts
    assert [attempt.number for attempt in attempts] == list(range(max_retries + 1))
    assert [attempt.message for attempt in attempts] == [
        f"call {number}, 8 units" for number in range(max_retries + 1)
    ]


def test_a_training_that_fails_is_retried_with_a_new_model(fails_training, line):
    build = Builder()
    estimator = make_regressor(build, max_retries=1, epochs=2, callbacks=fails_training)
    estimator.fit(*line)
    assert len(build.calls) == 2
    assert [attempt.message for attempt in estimator.attempts_] == ["training 1", None]
    assert estimator.n_epochs_ == 2
    assert len(estimator.history_["loss"]) == 2


def test_a_diverged_fit_is_retried(line):
    estimator = make_regressor(Builder(), optimizer__learning_rate=1e38, max_retries=1)
    with pytest.raises(DivergedError, match="Training diverged") as raised:
        estimator.fit(*line)
    assert [attempt.error for attempt in raised.value.attempts] == ["DivergedError"] * 2


def test_the_attempts_of_an_error_are_pickled_with_it(line):
    with pytest.raises(BuildError, match="call 1") as raised:
        make_regressor(Builder(failing="always"), max_retries=1).fit(*line)
    back = pickle.loads(pickle.dumps(raised.value))
    assert back.attempts == raised.value.attempts
    assert len(back.attempts) == 2


def test_every_attempt_has_another_seed_and_the_same_one_in_every_fit(line):
    builds = [Builder(failing=[0, 1]) for _ in range(2)]
    first, second = (make_regressor(build, max_retries=2).fit(*line) for build in builds)
    starts = builds[0].calls
    assert len(starts) == 3
    assert not any(same(starts[i], starts[j]) for i, j in [(0, 1), (0, 2), (1, 2)])
    assert all(map(same, starts, builds[1].calls))
    assert first.history_ == second.history_
    assert same(first.model_.get_weights(), second.model_.get_weights())


def test_attempts_of_another_random_state_have_other_seeds(line):
    builds = [Builder(failing=[0]) for _ in range(2)]
    for seed, build in enumerate(builds):
        make_regressor(build, max_retries=1, random_state=seed).fit(*line)
    assert not any(map(same, builds[0].calls, builds[1].calls))


def test_the_first_attempt_has_the_numbers_of_a_fit_without_retries(line):
    alone, retried = Builder(), Builder()
    expected = make_regressor(alone, epochs=2).fit(*line)
    estimator = make_regressor(retried, epochs=2, max_retries=5).fit(*line)
    assert same(alone.calls[0], retried.calls[0])
    assert estimator.history_ == expected.history_
    assert same(estimator.model_.get_weights(), expected.model_.get_weights())


def test_a_fit_after_a_retried_one_starts_with_the_first_seed(line):
    build = Builder(failing=[0])
    estimator = make_regressor(build, max_retries=1).fit(*line)
    estimator.fit(*line)
    assert len(build.calls) == 3
    assert same(build.calls[0], build.calls[2])
    assert len(estimator.attempts_) == 1


def test_every_attempt_has_the_same_validation_set(line):
    rule = {"validation_fraction": 0.2}
    estimator = make_regressor(Builder(failing=[0]), max_retries=1, **rule).fit(*line)
    assert len(estimator.attempts_) == 2
    assert np.array_equal(
        estimator.validation_indices_,
        make_regressor(Builder(), **rule).fit(*line).validation_indices_,
    )


@pytest.mark.parametrize(
    ("retry_on", "n_calls"),
    [
        (BuildError, 3),
        ((KeyError, RuntimeError), 3),
        ([BuildError], 3),
        ((Exception,), 3),
        (KeyError, 1),
        ((DivergedError, OSError), 1),
        ((), 1),
    ],
    ids=str,
)
def test_only_errors_in_retry_on_are_retried(retry_on, n_calls, line):
    build = Builder(failing="always")
    with pytest.raises(BuildError, match=f"call {n_calls - 1}") as raised:
        make_regressor(build, max_retries=2, retry_on=retry_on).fit(*line)
    assert len(build.calls) == len(raised.value.attempts) == n_calls


def test_retry_on_decides_after_every_attempt(line):
    errors = iter([BuildError("first"), KeyError("second"), BuildError("third")])
    build = Builder(failing="always", error=lambda message: next(errors))
    with pytest.raises(KeyError, match="second") as raised:
        make_regressor(build, max_retries=2, retry_on=BuildError).fit(*line)
    assert [attempt.error for attempt in raised.value.attempts] == ["BuildError", "KeyError"]


@pytest.mark.parametrize("error", [FailedTrialError, ForkedProcessError])
def test_errors_that_no_retry_can_avoid_are_not_retried(error, line):
    build = Builder(failing="always", error=error)
    with pytest.raises(error, match="call 0") as raised:
        make_regressor(build, max_retries=2).fit(*line)
    assert len(build.calls) == 1
    assert [attempt.error for attempt in raised.value.attempts] == [error.__name__]


def error_class(module, name, *bases):
    return type(name, bases or (Exception,), {"__module__": module})


PRUNED = error_class("optuna.exceptions", "TrialPruned")
ELSEWHERE = {
    "TrialPruned": PRUNED,
    "subclass": error_class("project", "NotPromising", PRUNED),
    "KerasTuner's FailedTrialError": error_class("keras_tuner.src.errors", "FailedTrialError"),
    "KerasTuner's FatalValueError": error_class(
        "keras_tuner.src.errors",
        "FatalValueError",
        error_class("keras_tuner.src.errors", "FatalError"),
        ValueError,
    ),
    "Ray Tune's": error_class("ray.tune.error", "_TuneStopTrialError"),
}


@pytest.mark.parametrize("error", ELSEWHERE.values(), ids=ELSEWHERE)
def test_errors_by_which_other_searches_end_a_trial_are_not_retried(error, line):
    build = Builder(failing="always", error=error)
    with pytest.raises(error, match="call 0"):
        make_regressor(build, max_retries=2).fit(*line)
    assert len(build.calls) == 1


@pytest.mark.parametrize("module", ["project", "optunas", "project.optuna"])
def test_an_error_of_the_same_name_elsewhere_is_retried(module, line):
    build = Builder(failing=[0], error=error_class(module, "TrialPruned"))
    assert len(make_regressor(build, max_retries=2).fit(*line).attempts_) == 2


@pytest.mark.parametrize("error", [FatalError, FatalValueError, KeyboardInterrupt, SystemExit])
def test_a_base_exception_is_never_retried(error, line):
    build = Builder(failing="always", error=error)
    with pytest.raises(error, match="call 0"):
        make_regressor(build, max_retries=2).fit(*line)
    assert len(build.calls) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.zeros((59, 4))}, "inconsistent numbers of samples"),
        ({"y": np.full(60, np.nan)}, "NaN"),
        ({"sample_weight": np.ones(3)}, r"sample_weight\.shape"),
        ({"groups": np.ones(60), "validation_split": 0.5}, "groups were passed"),
        ({"y_val": np.zeros(5)}, "without X_val"),
    ],
    ids=["length", "y", "weights", "groups", "y_val"],
)
def test_input_errors_are_raised_before_the_first_attempt(change, message, line):
    build = Builder()
    estimator = make_regressor(build, max_retries=2)
    with pytest.raises(ValueError, match=message) as raised:
        estimator.fit(**dict(zip("Xy", line, strict=True)) | change)
    assert raised.value.attempts == []
    assert build.calls == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.full((60, 4), np.nan)}, "NaN"),
        (
            {"X_val": np.zeros((5, 3)), "y_val": np.zeros(5)},
            "X_val has|3 features",
        ),
    ],
    ids=["X", "X_val"],
)
def test_what_the_model_does_not_take_is_raised_before_training_and_not_retried(
    change, message, line
):
    build = Builder()
    estimator = make_regressor(build, max_retries=2)
    with pytest.raises(InputValueError, match=message) as raised:
        estimator.fit(**dict(zip("Xy", line, strict=True)) | change)
    assert len(raised.value.attempts) == len(build.calls) == 1


def test_an_unknown_label_in_y_val_is_raised_before_the_first_attempt(blobs):
    X, y = blobs
    estimator = GuardedKerasClassifier(
        build_classifier, loss="sparse_categorical_crossentropy", verbose=0, max_retries=2
    )
    with pytest.raises(ValueError, match=r"7") as raised:
        estimator.fit(X, y, X_val=X, y_val=np.full(60, 7))
    assert raised.value.attempts == []


@pytest.mark.parametrize(
    ("parameters", "message", "n_attempts"),
    [
        (
            {"callbacks": keras.callbacks.EarlyStopping("val_loss")},
            "is computed on a validation set, and there is none",
            1,
        ),
        ({"callbacks": keras.callbacks.EarlyStopping("los", mode="min")}, "Did you mean 'loss'", 1),
        ({"random_state": -1}, "random_state=-1 is not a seed", 0),
        ({"validation_split": 0.999}, "leaves none to train on", 0),
    ],
    ids=["val_loss", "los", "random_state", "validation_split"],
)
def test_parameters_that_no_retry_changes_are_not_retried(parameters, message, n_attempts, line):
    build = Builder()
    with pytest.raises(ValueError, match=message) as raised:
        make_regressor(build, max_retries=2, **parameters).fit(*line)
    assert len(build.calls) == len(raised.value.attempts) == n_attempts


def test_unknown_names_are_raised_before_the_first_attempt(line):
    build = Builder()
    with pytest.raises(ValueError, match="neurons") as of_parameter:
        make_regressor(build, max_retries=2, neurons=3).fit(*line)
    with pytest.raises(TypeError, match="epoch_size") as of_call:
        make_regressor(build, max_retries=2).fit(*line, epoch_size=3)
    assert of_parameter.value.attempts == of_call.value.attempts == []
    assert build.calls == []


def test_a_model_that_does_not_fit_the_input_is_not_retried(line):
    X, y = line

    def build():
        calls.append(1)
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])

    calls = []
    with pytest.raises(ValueError, match="samples of shape") as raised:
        make_regressor(build, max_retries=2).fit(X, y)
    assert len(calls) == len(raised.value.attempts) == 1


def test_max_fit_seconds_ends_the_retries(clock, line):
    class Slow(Builder):
        def __call__(self, meta):
            clock[0] += 300
            return super().__call__(meta)

    build = Slow(failing="always")
    with pytest.raises(BuildError, match="call 1") as raised:
        make_regressor(build, max_retries=50, max_fit_seconds=450).fit(*line)
    assert len(build.calls) == len(raised.value.attempts) == 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_retries": -1}, r"max_retries=-1 must be an int of 0 or more"),
        ({"max_retries": 1.5}, r"max_retries=1\.5 must be an int of 0 or more"),
        ({"max_retries": True}, r"max_retries=True must be an int of 0 or more"),
        ({"retry_on": BaseException}, r"retry_on=.* must be a subclass of Exception"),
        ({"retry_on": (FatalError,)}, r"retry_on=.* must be a subclass of Exception"),
        ({"retry_on": "RuntimeError"}, r"retry_on='RuntimeError' must be a subclass of Exception"),
        ({"retry_with": {"batch_size": 4}}, r"retry_with=.* must be a function of"),
    ],
    ids=str,
)
def test_retry_parameters_that_cannot_be_used_are_rejected(parameters, message, line):
    build = Builder()
    with pytest.raises(ValueError, match=message):
        make_regressor(build, **parameters).fit(*line)
    assert build.calls == []


def test_retry_with_changes_parameters_for_the_next_attempt_only(line):
    called = []

    def halve(attempt, error, params):
        called.append((attempt, str(error), params["units"]))
        return {"units": 4} if attempt == 0 else {}

    build = Builder(failing=[0, 1])
    estimator = make_regressor(build, units=16, max_retries=2, retry_with=halve).fit(*line)
    assert called == [(0, "call 0, 16 units", 16), (1, "call 1, 4 units", 4)]
    assert [attempt.changes for attempt in estimator.attempts_] == [{}, {"units": 4}, {}]
    assert [weights[0].shape[1] for weights in build.calls] == [16, 4, 16]


@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_parameters_are_unchanged_after_a_retry_with_others(outcome, line):
    build = Builder(failing=[0] if outcome == "success" else "always")

    def change(attempt, error, params):
        return {"units": 4, "batch_size": 7, "optimizer__learning_rate": 0.5, "epochs": 3}

    estimator = make_regressor(build, max_retries=1, retry_with=change)
    before = estimator.get_params()
    if outcome == "success":
        estimator.fit(*line)
        assert estimator.n_epochs_ == 3
        assert estimator.model_.layers[0].units == 4
        assert float(estimator.model_.optimizer.learning_rate) == 0.5
    else:
        with pytest.raises(BuildError, match="call 1, 4 units") as raised:
            estimator.fit(*line)
        assert raised.value.attempts[1].changes == change(0, None, None)
    assert estimator.get_params() == before
    assert clone(estimator).get_params() == before


def test_retry_with_can_lower_the_learning_rate_after_a_divergence(line):
    def lower(attempt, error, params):
        assert isinstance(error, DivergedError)
        return {"optimizer__learning_rate": params["optimizer__learning_rate"] * 1e-41}

    estimator = make_regressor(
        Builder(), optimizer__learning_rate=1e38, max_retries=1, retry_with=lower
    ).fit(*line)
    first, second = estimator.attempts_
    assert (first.error, second.error) == ("DivergedError", None)
    assert second.changes == {"optimizer__learning_rate": pytest.approx(1e-3)}
    assert np.isfinite(estimator.history_["loss"]).all()


def test_changes_to_the_params_of_retry_with_have_no_effect(line):
    def spoil(attempt, error, params):
        params["units"] = 3
        params.clear()

    build = Builder(failing=[0])
    estimator = make_regressor(build, max_retries=1, retry_with=spoil).fit(*line)
    assert [weights[0].shape[1] for weights in build.calls] == [8, 8]
    assert estimator.attempts_[1].changes == {}


def test_an_unknown_name_from_retry_with_raises(line):
    build = Builder(failing="always")
    estimator = make_regressor(build, max_retries=5, retry_with=lambda *_: {"unitz": 4})
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match="unitz") as raised:
        estimator.fit(*line)
    assert len(build.calls) == 1
    assert len(raised.value.attempts) == 2
    assert vars(estimator) == before


def test_an_unusable_value_from_retry_with_raises(line):
    build = Builder(failing="always")
    estimator = make_regressor(build, max_retries=5, retry_with=lambda *_: {"epochs": 0})
    with pytest.raises(ValueError, match="epochs=0 must be an int of 1 or more"):
        estimator.fit(*line)
    assert len(build.calls) == 1
    assert estimator.epochs == 1


def test_an_error_in_retry_with_has_the_error_of_the_fit_as_context(line):
    def broken(attempt, error, params):
        raise ZeroDivisionError("in retry_with")

    with pytest.raises(ZeroDivisionError, match="in retry_with") as raised:
        make_regressor(Builder(failing="always"), max_retries=5, retry_with=broken).fit(*line)
    assert str(raised.value.__context__) == "call 0, 8 units"


def test_a_fitted_estimator_is_unchanged_after_all_attempts_failed(line):
    build = Builder(failing=[1, 2])
    estimator = make_regressor(build, max_retries=1).fit(*line)
    before = dict(vars(estimator))
    predicted = estimator.predict(line[0])
    with pytest.raises(BuildError, match="call 2"):
        estimator.fit(*line)
    after = vars(estimator)
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    assert np.array_equal(estimator.predict(line[0]), predicted)
    assert len(estimator.attempts_) == 1


def test_a_new_estimator_is_unchanged_after_all_attempts_failed(line):
    estimator = make_regressor(Builder(failing="always"), max_retries=1)
    before = dict(vars(estimator))
    with pytest.raises(BuildError, match="call 1"):
        estimator.fit(*line)
    assert vars(estimator) == before


def test_random_streams_are_unchanged_after_a_failure(line):
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    with pytest.raises(BuildError, match="call 2"):
        make_regressor(Builder(failing="always"), max_retries=2).fit(*line)
    assert np.random.random() == expected


def test_the_checkpoint_of_a_retried_fit_is_of_the_attempt_that_succeeded(
    tmp_path, fails_training, line
):
    checkpoint = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "last.weights.h5"), save_weights_only=True
    )
    estimator = make_regressor(Builder(), callbacks=[checkpoint, fails_training], max_retries=1)
    estimator = clone(estimator).fit(*line)
    assert len(estimator.attempts_) == 2
    written = estimator.callbacks_[0].filepath
    model = clone(estimator).fit(*line, epochs=1).model_
    model.load_weights(written)
    assert same(model.get_weights(), estimator.model_.get_weights())


def test_partial_fit_of_a_trained_model_is_not_retried(fails_training, line):
    fails_training.n_failing = 0
    build = Builder()
    estimator = make_regressor(build, max_retries=3, callbacks=fails_training)
    estimator.partial_fit(*line)
    fails_training.n_failing = 99
    with pytest.raises(BuildError, match="training 2") as raised:
        estimator.partial_fit(*line)
    assert len(raised.value.attempts) == 1
    assert len(build.calls) == 1
    fails_training.n_failing = 0
    estimator.partial_fit(*line)
    assert estimator.n_epochs_ == 2
    assert [attempt.error for attempt in estimator.attempts_] == [None]


def test_warm_start_of_a_trained_model_is_not_retried(fails_training, line):
    build = Builder()
    estimator = make_regressor(build, max_retries=3, callbacks=fails_training, warm_start=True)
    estimator.fit(*line)  # builds a new model, so that this is retried
    assert len(estimator.attempts_) == len(build.calls) == 2
    fails_training.n_failing = 99
    with pytest.raises(BuildError, match="training 3") as raised:
        estimator.fit(*line)
    assert len(raised.value.attempts) == 1
    assert len(build.calls) == 2


def test_the_first_partial_fit_is_retried(line):
    build = Builder(failing=[0])
    estimator = make_regressor(build, max_retries=1).partial_fit(*line)
    assert len(estimator.attempts_) == 2


@pytest.mark.filterwarnings("ignore:One or more of the test scores:UserWarning")
@pytest.mark.parametrize("error_score", [np.nan, -7.0], ids=str)
def test_candidates_that_always_fail_get_the_error_score(error_score, line):
    search = GridSearchCV(
        make_regressor(build_unless_many, max_retries=1),
        {"units": [4, 12, 8]},
        cv=2,
        error_score=error_score,
    )
    with pytest.warns(FitFailedWarning, match="(?s)2 fits failed out of .* 6.*no room for 12"):
        search.fit(*line)
    scores = search.cv_results_["mean_test_score"]
    np.testing.assert_equal(scores[1], error_score)
    assert np.isfinite(scores[[0, 2]]).all()
    assert search.best_params_["units"] != 12


def test_candidates_that_fail_once_are_scored_like_all_others(line):
    build = Builder(failing=[0, 3])  # the first fit, and the third
    search = GridSearchCV(make_regressor(build, max_retries=1), {"units": [4, 8]}, cv=2)
    search.fit(*line)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(build.calls) == 4 + 1 + 2


@pytest.mark.filterwarnings("ignore:One or more of the test scores:UserWarning")
def test_a_failed_trial_error_ends_a_candidate_but_not_the_search(line):
    build = Builder(failing=[0], error=FailedTrialError)
    search = GridSearchCV(make_regressor(build, max_retries=5), {"units": [4, 8]}, cv=2)
    with pytest.warns(FitFailedWarning, match="FailedTrialError: call 0"):
        search.fit(*line)
    assert np.isnan(search.cv_results_["split0_test_score"]).tolist() == [True, False]
    assert len(build.calls) == 4 + 1
    assert search.best_params_ == {"units": 8}


@pytest.mark.parametrize("error_score", [np.nan, 0, "raise"], ids=str)
@pytest.mark.parametrize("error", [FatalError, FatalRuntimeError, FatalTypeError])
def test_a_fatal_error_in_candidate_3_of_6_ends_the_search_at_once(error, error_score, line):
    build = Builder(failing=[2], error=error)
    search = GridSearchCV(
        make_regressor(build, max_retries=5),
        {"units": [1, 2, 3, 4, 5, 6]},
        cv=[(np.arange(30), np.arange(30, 60))],
        error_score=error_score,
    )
    with pytest.raises(FatalError, match="call 2, 3 units") as raised:
        search.fit(*line)
    assert type(raised.value) is error
    assert len(build.calls) == 3
    assert not hasattr(search, "cv_results_")


def test_a_fatal_error_in_a_callback_ends_the_search(line):
    class Ends(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise FatalValueError("no disk left")

    build = Builder()
    estimator = make_regressor(build, callbacks=Ends, max_retries=5)
    with pytest.raises(FatalError, match="no disk left"):
        GridSearchCV(estimator, {"units": [1, 2]}, cv=2, error_score=0).fit(*line)
    assert len(build.calls) == 1


def test_a_fatal_error_in_a_worker_ends_the_search(line, tmp_path):
    folder = str(tmp_path)

    def build(meta, units=8):
        import pathlib

        from skguard import FatalError

        (pathlib.Path(folder) / f"{units}").touch()
        if units == 3:
            raise FatalError("nothing can work")
        return keras.Sequential([keras.Input(meta["X_shape_"][1:]), keras.layers.Dense(1)])

    search = GridSearchCV(
        make_regressor(build, max_retries=2),
        {"units": [1, 2, 3, *range(4, 31)]},
        cv=[(np.arange(30), np.arange(30, 60))],
        n_jobs=2,
        pre_dispatch="n_jobs",
        error_score=0,
    )
    with parallel_config("loky"), pytest.raises(FatalError, match="nothing can work"):
        search.fit(*line)
    begun = {int(path.name) for path in tmp_path.iterdir()}
    assert 3 in begun
    assert 30 not in begun
    assert not hasattr(search, "cv_results_")


@pytest.mark.parametrize(
    "error",
    [
        DivergedError(3, "val_loss", float("inf"), 0.5),
        DivergedError(3, "loss", -1.5),
        ForkedProcessError(),
        ForkedProcessError("in a server"),
        FailedTrialError("this setting", 3),
        FatalError("all settings"),
        FatalRuntimeError("a"),
        FatalTypeError("b"),
        FatalValueError("c", 4),
    ],
    ids=lambda error: f"{type(error).__name__}-{len(error.args)}",
)
@pytest.mark.parametrize("carry", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_an_error_is_pickled_and_copied_with_its_attributes(carry, error):
    error.attempts = [Attempt(0, 0.5, {"units": 3}, "BuildError", "no", "Traceback")]
    back = carry(error)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert str(error)
    assert back.args == error.args
    assert vars(back) == vars(error)


def test_the_message_of_a_diverged_error_has_the_epoch_and_the_learning_rate():
    error = DivergedError(3, "val_loss", float("inf"), 0.5)
    assert (error.epoch, error.metric, error.value) == (3, "val_loss", float("inf"))
    assert error.learning_rate == 0.5
    assert "val_loss was inf in epoch 3 at a learning rate of 0.5" in str(error)
    assert "learning rate of" not in str(DivergedError(3, "loss", float("nan")))
    assert "loky" in str(ForkedProcessError())


def test_fatal_errors_have_one_base_class_that_is_not_an_exception():
    fatal = [getattr(exceptions, name) for name in exceptions.__all__ if name.startswith("Fatal")]
    assert len(fatal) == 4
    for cls in fatal:
        assert issubclass(cls, FatalError)
        assert not issubclass(cls, Exception)
    assert issubclass(FailedTrialError, Exception)


def test_an_estimator_with_retry_parameters_is_pickled_and_cloned(line):
    estimator = make_regressor(
        build_unless_many, max_retries=2, retry_on=(BuildError, KeyError), retry_with=dict
    ).fit(*line)
    for twin in (clone(estimator), pickle.loads(pickle.dumps(estimator))):
        assert twin.max_retries == 2
        assert twin.retry_on == (BuildError, KeyError)
        assert twin.retry_with is dict
    assert twin.attempts_ == estimator.attempts_
    assert twin.fit_seconds_ == estimator.fit_seconds_
