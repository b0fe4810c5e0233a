import copy
import inspect
import pickle

import cloudpickle
import pytest

from skguard import exceptions
from skguard.exceptions import (
    DivergedError,
    FailedTrialError,
    FatalError,
    FatalRuntimeError,
    FatalTypeError,
    FatalValueError,
    ForkedProcessError,
    InputError,
    InputTypeError,
    InputValueError,
    InvalidScoreError,
    NotCopyableError,
    TooManyFailedTrialsError,
    TrialTimeoutError,
    UnusedParameterWarning,
    ValidationSetWarning,
    WorkerDiedError,
)

EXAMPLES = [
    DivergedError(3, "val_loss", float("inf"), 0.1),
    DivergedError(epoch=0, metric="dense/kernel", value=-float("inf")),
    FailedTrialError("these units do not fit"),
    FailedTrialError("two", {"arguments": 2}),
    FatalError("the search must end"),
    FatalRuntimeError("the search must end"),
    FatalTypeError("a type"),
    FatalValueError("a value"),
    ForkedProcessError(),
    ForkedProcessError("another message"),
    UnusedParameterWarning("tol=0.1 has no effect"),
    ValidationSetWarning("few samples"),
    InputError("cannot be used"),
    InputTypeError("a type"),
    InputValueError("a value"),
    InvalidScoreError("The score is NaN."),
    NotCopyableError("names the object"),
    TooManyFailedTrialsError("3 consecutive trials\nand a traceback"),
    TrialTimeoutError("timed out: more than trial_timeout=1 seconds"),
    WorkerDiedError(),
    WorkerDiedError(-9),
    WorkerDiedError(exitcode=3),
]


def test_every_class_has_an_example():
    assert {type(example).__name__ for example in EXAMPLES} == set(exceptions.__all__)


def test_every_class_is_in_all():
    classes = {
        name
        for name, value in vars(exceptions).items()
        if inspect.isclass(value) and value.__module__ == exceptions.__name__
    }
    assert classes == set(exceptions.__all__)


@pytest.mark.parametrize(
    "round_trip",
    [
        lambda error: pickle.loads(pickle.dumps(error)),
        lambda error: pickle.loads(pickle.dumps(error, protocol=2)),
        lambda error: cloudpickle.loads(cloudpickle.dumps(error)),
        copy.copy,
        copy.deepcopy,
    ],
    ids=["pickle", "protocol 2", "cloudpickle", "copy", "deepcopy"],
)
@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_pickle_and_copy_round_trips(error, round_trip):
    back = round_trip(error)
    assert type(back) is type(error)
    assert str(back) == str(error) != ""
    assert back.args == error.args
    assert vars(back) == vars(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_args_suffice_to_construct_an_equal_error(error):
    twin = type(error)(*error.args)
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_attributes_set_on_an_error_are_pickled(error):
    error = copy.copy(error)
    error.attempts = ["the first", "the second"]
    assert pickle.loads(pickle.dumps(error)).attempts == ["the first", "the second"]


@pytest.mark.parametrize(
    ("cls", "base"),
    [
        (DivergedError, RuntimeError),
        (FailedTrialError, Exception),
        (ForkedProcessError, RuntimeError),
        (ValidationSetWarning, UserWarning),
        (InputTypeError, TypeError),
        (InputValueError, ValueError),
        (InputTypeError, InputError),
        (InputValueError, InputError),
        (InvalidScoreError, RuntimeError),
        (NotCopyableError, InputError),
        (NotCopyableError, TypeError),
        (TooManyFailedTrialsError, RuntimeError),
        (TrialTimeoutError, TimeoutError),
        (WorkerDiedError, RuntimeError),
        (FatalRuntimeError, FatalError),
        (FatalTypeError, FatalError),
        (FatalValueError, FatalError),
        (FatalError, BaseException),
    ],
)
def test_base_classes(cls, base):
    assert issubclass(cls, base)


@pytest.mark.parametrize("cls", [FatalError, FatalRuntimeError, FatalTypeError, FatalValueError])
def test_fatal_errors_are_not_caught_by_except_exception(cls):
    assert not issubclass(cls, Exception)


@pytest.mark.parametrize(
    ("exitcode", "text"),
    [
        (None, "worker died"),
        (-9, "worker died (signal 9), possibly because memory ran out"),
        (-11, "worker died (signal 11)"),
        (0, "worker died (exit code 0)"),
        (3, "worker died (exit code 3)"),
    ],
)
def test_worker_died_error_reports_the_signal_or_exit_code(exitcode, text):
    error = WorkerDiedError(exitcode)
    assert error.exitcode == exitcode
    assert str(error) == text


def test_diverged_error_reports_metric_epoch_and_learning_rate():
    text = str(DivergedError(3, "val_loss", float("inf"), 0.1))
    assert "val_loss was inf in epoch 3 at a learning rate of 0.1." in text
    assert "learning rate of" not in str(DivergedError(3, "val_loss", float("inf")))
