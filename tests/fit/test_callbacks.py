"""Callbacks of a fit are built from the parameters, ordered, attached and detached."""

import keras
import numpy as np
import pytest

from skguard._fit.arrays import Samples
from skguard._fit.callbacks import FitCallbacks, attached, build, of_call, ordered
from skguard._fit.paths import FitPaths
from skguard._fit.settings import FitSettings
from skguard.callbacks import RevertWeights, ScorerMonitor, Shared
from skguard.callbacks._traits import Traits, traits_of
from skguard.exceptions import InputError, InputTypeError, NotCopyableError
from tests.models import make_classifier, make_regressor

VALIDATION = Samples(np.zeros((3, 4)), np.zeros(3), np.arange(3.0))


class InjectedError(RuntimeError):
    """The fault of a test."""


class RecordsAttachment(keras.callbacks.Callback):
    """A user-defined callback that scores the validation set, and fails on request."""

    traits = Traits(scores_validation_set=True)
    scoring = "custom"

    def __init__(self, error=None):
        super().__init__()
        self.error = error
        self.calls = []

    def attach(self, estimator, X, y, sample_weight=None):
        self.calls.append(("attach", estimator, X, y, sample_weight))
        if self.error is not None:
            raise self.error

    def detach(self):
        self.calls.append(("detach",))


def built_from(**parameters):
    return build(make_regressor(**parameters), writes_apart=False)


def names_of(callbacks):
    return [type(callback).__name__ for callback in callbacks]


def test_objects_are_copied_and_classes_are_instantiated():
    stop = keras.callbacks.EarlyStopping("loss", patience=7)
    built = built_from(
        callbacks=[stop, keras.callbacks.ReduceLROnPlateau],
        callbacks__1__monitor="loss",
        callbacks__1__factor=0.5,
    )
    copied, plateau = built.fitting
    assert copied is not stop
    assert copied.patience == 7
    assert (plateau.monitor, plateau.factor) == ("loss", 0.5)


def test_every_build_makes_other_objects():
    estimator = make_regressor(callbacks=keras.callbacks.History())
    first, second = (build(estimator, writes_apart=False).fitting[0] for _ in range(2))
    assert first is not second
    assert first is not estimator.callbacks


def test_a_shared_callback_is_not_copied():
    log = keras.callbacks.History()
    assert built_from(callbacks=[Shared(log)]).fitting == [log]


@pytest.mark.parametrize(
    "callbacks",
    [
        keras.callbacks.History,
        [keras.callbacks.History],
        {"log": keras.callbacks.History()},
        [{"log": [keras.callbacks.History]}],
    ],
    ids=["class", "list", "dict", "nested"],
)
def test_callbacks_may_be_nested(callbacks):
    assert names_of(built_from(callbacks=callbacks).fitting) == ["History"]


def test_callbacks_of_fit_and_predict_are_for_that_method_only():
    built = built_from(
        callbacks=keras.callbacks.History,
        fit__callbacks=keras.callbacks.TerminateOnNaN,
        predict__callbacks=keras.callbacks.LambdaCallback,
    )
    assert names_of(built.fitting) == ["History", "TerminateOnNaN"]
    assert names_of(built.predicting) == ["History", "LambdaCallback"]
    assert built.fitting[0] is built.predicting[0]


def test_a_callback_that_acts_in_training_only_does_not_predict():
    built = built_from(callbacks=[keras.callbacks.SwapEMAWeights(), keras.callbacks.History()])
    assert names_of(built.fitting) == ["SwapEMAWeights", "History"]
    assert names_of(built.predicting) == ["History"]


@pytest.mark.parametrize("name", ["callbacks", "fit__callbacks", "predict__callbacks"])
@pytest.mark.parametrize("value", [3, "EarlyStopping", object()], ids=["int", "str", "object"])
def test_another_object_than_a_callback_is_rejected_with_its_parameter(name, value):
    with pytest.raises(InputTypeError, match=f"^{name} must be a keras.*, got {value!r}"):
        built_from(**{name: [value]})


def test_folders_made_for_callbacks_that_cannot_be_built_are_removed(tmp_path):
    logger = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    estimator = make_regressor(callbacks=[logger, "wrong"])
    with pytest.raises(InputTypeError, match="got 'wrong'"):
        build(estimator, writes_apart=True)
    assert list(tmp_path.iterdir()) == []


def test_a_callback_that_cannot_be_copied_is_rejected_by_name():
    class Uncopyable(keras.callbacks.Callback):
        def __deepcopy__(self, memo):
            raise InjectedError

    with pytest.raises(NotCopyableError, match="Uncopyable"):
        built_from(callbacks=Uncopyable())


def test_callbacks_are_current_while_their_parameters_are_the_same_objects():
    estimator = make_regressor(callbacks=keras.callbacks.EarlyStopping, callbacks__patience=3)
    built = build(estimator, writes_apart=False)
    assert built.are_current(estimator)
    assert built.are_current(estimator.set_params(epochs=5, optimizer="sgd"))


@pytest.mark.parametrize(
    "changes",
    [
        {"callbacks": keras.callbacks.History},
        {"callbacks": None},
        {"callbacks__patience": 4},
        {"callbacks__monitor": "loss"},
        {"fit__callbacks": keras.callbacks.History},
        {"predict__callbacks": keras.callbacks.History},
    ],
    ids=lambda changes: "{}-{!r:.9}".format(*next(iter(changes.items()))),
)
def test_callbacks_are_not_current_after_a_change_of_their_parameters(changes):
    estimator = make_regressor(callbacks=keras.callbacks.EarlyStopping, callbacks__patience=3)
    built = build(estimator, writes_apart=False)
    for name, value in changes.items():
        setattr(estimator, name, value)
    assert not built.are_current(estimator)
    assert built.of_parameters(estimator).are_current(estimator)


def test_a_fitted_attribute_is_not_a_parameter_of_callbacks(line):
    estimator = make_regressor(callbacks=keras.callbacks.History)
    built = build(estimator, writes_apart=False)
    estimator.fit(*line)
    assert built.are_current(estimator)


def call_of(has_validation=True, callbacks=None, **parameters):
    estimator = make_regressor(**parameters)
    call = {} if callbacks is None else {"callbacks": callbacks}
    settings = FitSettings.of(estimator, call, resume=False)
    return of_call(settings, FitPaths(apart=False), has_validation=has_validation)


def test_a_call_adds_passed_callbacks_scoring_and_early_stopping_in_this_order():
    passed, scorer, stop = call_of(
        callbacks=[keras.callbacks.History()],
        early_stopping=True,
        scoring="r2",
        tol=0.5,
        n_iter_no_change=4,
    )
    assert isinstance(passed, keras.callbacks.History)
    assert (type(scorer), scorer.scoring) == (ScorerMonitor, "r2")
    assert (stop.monitor, stop.patience, stop.min_delta) == ("val_r2", 4, 0.5)
    assert stop.restore_best_weights


def test_early_stopping_without_scoring_monitors_val_loss():
    (stop,) = call_of(early_stopping=True, tol=0.5)
    assert stop.monitor == "val_loss"
    assert stop.monitor_op is None or stop.monitor_op(1.0, 2.0)


def test_without_a_validation_set_a_call_adds_passed_callbacks_only():
    added = call_of(
        has_validation=False,
        callbacks=keras.callbacks.History(),
        early_stopping=True,
        scoring="r2",
    )
    assert names_of(added) == ["History"]


def test_a_call_without_callbacks_adds_none():
    assert call_of() == []


def test_callbacks_are_ordered_by_their_traits_and_else_as_passed():
    class First(keras.callbacks.Callback):
        traits = Traits(order=-5)

    class Last(keras.callbacks.Callback):
        traits = Traits(order=5)

    passed = [
        Last(),
        keras.callbacks.History(),
        RevertWeights("loss"),
        ScorerMonitor("r2"),
        keras.callbacks.EarlyStopping("loss"),
        First(),
    ]
    in_order = names_of(ordered(passed))
    assert (in_order[0], in_order[-1]) == ("First", "Last")
    assert in_order.index("ScorerMonitor") < in_order.index("History")
    assert in_order.index("History") < in_order.index("EarlyStopping")
    assert in_order.index("EarlyStopping") < in_order.index("RevertWeights")
    assert names_of(passed)[0] == "Last"


def test_a_user_defined_callback_is_attached_to_the_validation_set_and_detached():
    callback, other = RecordsAttachment(), keras.callbacks.History()
    with attached([other, callback], VALIDATION, lambda: "an estimator"):
        ((name, estimator, X, y, weights),) = callback.calls
        assert (name, estimator) == ("attach", "an estimator")
        assert X is VALIDATION.X
        assert y is VALIDATION.y
        assert weights is VALIDATION.sample_weight
    assert callback.calls[1:] == [("detach",)]


@pytest.mark.parametrize("error", [InjectedError, KeyboardInterrupt, SystemExit])
def test_every_callback_is_detached_after_any_error(error):
    callbacks = [RecordsAttachment(), RecordsAttachment()]
    with pytest.raises(error), attached(callbacks, VALIDATION, lambda: None):
        raise error
    assert [callback.calls[-1] for callback in callbacks] == [("detach",)] * 2


def test_every_callback_is_detached_if_one_cannot_be_attached():
    callbacks = [RecordsAttachment(), RecordsAttachment(InjectedError()), RecordsAttachment()]
    with pytest.raises(InjectedError), attached(callbacks, VALIDATION, lambda: None):
        raise AssertionError("never reached")
    assert [callback.calls[-1] for callback in callbacks] == [("detach",)] * 3
    assert len(callbacks[2].calls) == 1


@pytest.mark.parametrize("error", [ValueError("no such scorer"), TypeError("no such scorer")])
def test_an_error_of_attach_is_an_input_error(error):
    with (
        pytest.raises(InputError, match="no such scorer") as raised,
        attached([RecordsAttachment(error)], VALIDATION, lambda: None),
    ):
        raise AssertionError("never reached")
    assert isinstance(raised.value, type(error))


def test_without_samples_to_score_no_callback_is_attached():
    callback = RecordsAttachment()
    with attached([callback], None, lambda: None):
        assert callback.calls == []


@pytest.mark.parametrize("fails", [False, True], ids=["success", "error"])
def test_a_fit_detaches_a_user_defined_callback(fails, line):
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if fails:
                raise InjectedError

    callback = RecordsAttachment()
    estimator = make_regressor(callbacks=[Shared(callback), Fails], validation_fraction=0.2)
    if fails:
        with pytest.raises(InjectedError):
            estimator.fit(*line)
    else:
        estimator.fit(*line)
    (_, fitted, X, y, weights), last = callback.calls
    assert last == ("detach",)
    assert (X.shape, y.shape, weights) == ((12, 4), (12,), None)
    assert fitted.predict(X).shape == (12,)


def test_a_user_defined_callback_that_scores_the_validation_set_needs_one(line):
    estimator = make_regressor(callbacks=RecordsAttachment())
    with pytest.raises(InputError, match=r"RecordsAttachment\('custom'\) needs a validation set"):
        estimator.fit(*line)


def test_a_user_defined_trait_decides_about_a_schedule(line):
    class SetsRate(keras.callbacks.Callback):
        traits = Traits(sets_learning_rate=True)

    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)
    estimator = make_regressor(callbacks=SetsRate, optimizer=keras.optimizers.SGD(schedule))
    with pytest.raises(InputError, match="SetsRate sets the learning rate"):
        estimator.fit(*line)


def test_a_user_defined_trait_decides_about_predictions(blobs):
    class InTraining(keras.callbacks.Callback):
        traits = Traits(acts_in_training_only=True)

        def on_predict_begin(self, logs=None):
            raise InjectedError

    estimator = make_classifier(callbacks=InTraining).fit(*blobs)
    assert estimator.predict(blobs[0]).shape == (60,)
    assert traits_of(estimator.callbacks_[0]).acts_in_training_only


def test_the_callbacks_of_a_fit_are_read_only():
    built = FitCallbacks([], [], FitPaths(apart=False), {})
    with pytest.raises(AttributeError):
        built.fitting = [3]
