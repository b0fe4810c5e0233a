"""Which fit is next, and what is recorded of those that have ended. No fit runs."""

import contextlib
import dataclasses
import gc
import itertools
import threading
import weakref

import pytest

from skguard.exceptions import (
    FailedTrialError,
    FatalError,
    ForkedProcessError,
    InputValueError,
    TrialTimeoutError,
    WorkerDiedError,
)
from skguard.model_selection._trials import FailedTrial
from tests.model_selection.outcomes import (
    assert_ends,
    make_trials,
    take_all,
    with_failure,
    with_score,
)

NAN = float("nan")


def crash(trials, fit):
    trials.done(with_failure(fit, WorkerDiedError(-9), status="worker_died"))


def test_fits_are_queued_candidate_by_candidate_and_split_by_split():
    trials = make_trials(n_candidates=3, n_splits=2)
    assert list(take_all(trials)) == list(itertools.product(range(3), range(2)))
    assert trials.next() is None
    assert trials.n_queued == 0


def test_candidates_that_are_added_later_are_numbered_on():
    trials = make_trials(n_candidates=2, n_splits=1)
    first = take_all(trials)
    trials.add(iter([{"b": 1}]), [None])
    second = take_all(trials)
    assert list(second) == [(2, 0)]
    assert second[2, 0].params == {"b": 1}
    assert trials.params == [{"a": 0}, {"a": 1}, {"b": 1}]
    assert [fit.progress for fit in (*first.values(), *second.values())] == [
        (0, 2, 1),
        (1, 2, 1),
        (0, 1, 1),
    ]


def test_each_fit_gets_the_callback_context_of_its_candidate_and_split():
    trials = make_trials(n_candidates=0, n_splits=2)
    trials.add([{"a": 0}, {"a": 1}], ["00", "01", "10", "11"])
    contexts = {place: fit.callbacks for place, fit in take_all(trials).items()}
    assert contexts == {(0, 0): "00", (0, 1): "01", (1, 0): "10", (1, 1): "11"}


def test_next_gives_each_fit_to_one_thread():
    trials = make_trials(n_candidates=0, n_splits=1)
    meeting = threading.Barrier(2)

    class SlowToLookAt:
        """A fit, between whose look and whose taking another thread has all the time."""

        candidate, split, key = 0, 0, (0, 0)

        @property
        def alone(self):
            # Without a lock both threads meet here; with it the first waits in vain.
            with contextlib.suppress(threading.BrokenBarrierError):
                meeting.wait(timeout=0.2)
            return False

    only = SlowToLookAt()
    trials.unfinished([only])
    taken, errors = [], []

    def take():
        try:
            taken.append(trials.next())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(taken, key=repr) == sorted([only, None], key=repr)


@pytest.mark.parametrize("how", ["done", "keep", "unfinished"])
def test_no_fit_is_taken_while_the_trials_are_updated(how):
    trials = make_trials(2, 1)
    fit = trials.next()
    is_writing, may_go_on = threading.Event(), threading.Event()

    def wait():
        is_writing.set()
        may_go_on.wait(timeout=10)

    class SlowScores(dict):
        def __getitem__(self, name):
            wait()
            return super().__getitem__(name)

    def slow_fits():
        wait()
        yield fit

    outcome = with_score(fit)
    outcome = dataclasses.replace(outcome, scores=SlowScores(outcome.scores))
    written = slow_fits() if how == "unfinished" else outcome
    taken = []
    writing = threading.Thread(target=getattr(trials, how), args=(written,))
    taking = threading.Thread(target=lambda: taken.append(trials.next()))
    writing.start()
    assert is_writing.wait(timeout=10)
    taking.start()
    taking.join(timeout=0.1)
    assert taken == []
    may_go_on.set()
    writing.join()
    taking.join()
    assert [fit.key for fit in taken] == [(0, 0) if how == "unfinished" else (1, 0)]


def test_many_threads_take_and_end_every_fit_once():
    trials = make_trials(n_candidates=100, n_splits=3, max_retries=1)
    taken = []

    def work():
        while (fit := trials.next()) is not None:
            taken.append((*fit.key, fit.attempt))
            fails = fit.attempt == 0 and fit.candidate % 2
            trials.done(with_failure(fit) if fails else with_score(fit))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [(c, s, 0) for c in range(100) for s in range(3)]
    expected += [(c, s, 1) for c in range(1, 100, 2) for s in range(3)]
    assert sorted(taken) == sorted(expected)
    assert all(trials.status(candidate) == "completed" for candidate in range(100))
    assert len(trials.failed) == 150


def test_unfinished_fits_come_first_in_their_old_order_except_those_that_have_ended():
    trials = make_trials(n_candidates=4, n_splits=1)
    fits = [trials.next() for _ in range(3)]
    trials.done(with_score(fits[1]))
    trials.unfinished(fits)
    assert trials.n_queued == 3
    assert list(take_all(trials)) == [(0, 0), (2, 0), (3, 0)]


def test_unfinished_fits_keep_their_attempt_and_their_callbacks():
    trials = make_trials(n_candidates=1, n_splits=1, max_retries=2)
    trials.done(with_failure(trials.next()))
    second = trials.next()
    trials.unfinished([second])
    assert trials.next() is second
    assert second.attempt == 1


def test_only_the_split_that_failed_is_tried_again_and_it_is_the_next():
    trials = make_trials(n_candidates=2, n_splits=3, max_retries=1)
    fits = [trials.next() for _ in range(2)]
    trials.done(with_failure(fits[1]))
    trials.done(with_score(fits[0]))
    again = trials.next()
    assert again == dataclasses.replace(fits[1], attempt=1)
    assert not again.alone
    assert list(take_all(trials)) == [(0, 2), (1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_a_fit_is_retried_max_retries_times(max_retries):
    trials = make_trials(n_candidates=1, n_splits=1, max_retries=max_retries)
    attempts = []
    while (fit := trials.next()) is not None:
        attempts.append(fit.attempt)
        trials.done(with_failure(fit))
    assert attempts == list(range(max_retries + 1))
    assert [failure.attempt for failure in trials.failed] == attempts
    assert trials.n_attempts[0, 0] == max_retries + 1
    assert trials.status(0) == "failed"


def test_a_fit_that_succeeds_at_last_is_completed_and_its_failures_are_on_record():
    trials = make_trials(n_candidates=1, n_splits=1, max_retries=2)
    trials.done(with_failure(trials.next(), KeyError("first"), seconds=1.5))
    trials.done(with_failure(trials.next(), ValueError("second"), seconds=2.5))
    trials.done(with_score(trials.next(), 0.9))
    assert trials.status(0) == "completed"
    assert trials.outcomes[0, 0].scores["test_scores"] == 0.9
    assert trials.failed == [
        FailedTrial(0, 0, {"a": 0}, 0, "KeyError", "'first'", "KeyError: 'first'\n", 1.5),
        FailedTrial(0, 0, {"a": 0}, 1, "ValueError", "second", "ValueError: second\n", 2.5),
    ]
    assert trials.next() is None


@pytest.mark.parametrize(
    ("error", "retry_on", "is_retried"),
    [
        (ValueError("no"), (Exception,), True),
        (ValueError("no"), Exception, True),
        (ValueError("no"), (KeyError, ValueError), True),
        (ValueError("no"), [ValueError], True),
        (ValueError("no"), (KeyError,), False),
        (ValueError("no"), (), False),
        (KeyError("no"), (LookupError,), True),
        (FailedTrialError("no"), (Exception,), False),
        (FailedTrialError("no"), (FailedTrialError,), False),
        (ForkedProcessError(), (Exception,), False),
        (InputValueError("no"), (Exception,), False),
        (WorkerDiedError(-9), (WorkerDiedError,), True),
        (WorkerDiedError(-9), (TrialTimeoutError,), False),
        (TrialTimeoutError("late"), (TimeoutError,), True),
    ],
    ids=repr,
)
def test_only_errors_among_retry_on_that_a_retry_may_avoid_are_retried(error, retry_on, is_retried):
    trials = make_trials(n_candidates=1, n_splits=1, max_retries=1)
    trials.done(with_failure(trials.next(), error, retry_on=retry_on))
    assert trials.n_queued == is_retried
    assert trials.status(0) == ("incomplete" if is_retried else "failed")


def test_a_fit_that_was_in_two_crashes_is_tried_alone():
    trials = make_trials(n_candidates=2, n_splits=1, max_retries=3)
    seen = []
    for _ in range(3):
        fit = trials.next()
        seen.append((*fit.key, fit.alone))
        crash(trials, fit)
    assert seen == [(0, 0, False), (0, 0, False), (0, 0, True)]


def test_a_fit_that_is_to_run_alone_is_held_back_while_others_run():
    trials = make_trials(n_candidates=3, n_splits=1, max_retries=3)
    running = [trials.next() for _ in range(2)]
    crash(trials, running[0])
    crash(trials, trials.next(n_running=1))
    assert trials.next(n_running=1) is None
    assert trials.next(n_running=1) is None
    assert trials.n_queued == 2
    trials.done(with_score(running[1]))
    fit = trials.next(n_running=0)
    assert fit.alone
    assert fit.key == (0, 0)
    assert trials.next(n_running=1).key == (2, 0)


def test_only_crashes_of_the_fit_itself_make_it_run_alone():
    trials = make_trials(n_candidates=1, n_splits=2, max_retries=5)
    first, second = trials.next(), trials.next()
    crash(trials, first)
    crash(trials, second)
    assert not any(fit.alone for fit in take_all(trials).values())


@pytest.mark.parametrize("status", ["failed", "timed_out"])
def test_failures_other_than_crashes_make_no_fit_run_alone(status):
    trials = make_trials(n_candidates=1, n_splits=1, max_retries=5)
    for _ in range(4):
        fit = trials.next(n_running=1)
        assert not fit.alone
        trials.done(with_failure(fit, status=status))


def test_what_is_kept_is_on_record_but_neither_queued_nor_raised():
    trials = make_trials(
        2, 3, max_retries=5, error_score="raise", max_consecutive_failed=1, stop_score=0.0
    )
    fits = take_all(trials)
    trials.keep(with_failure(fits[0, 0]))
    trials.keep(with_failure(fits[0, 1], FatalError("all over")))
    trials.keep(with_score(fits[0, 2], NAN))
    for split in range(3):
        trials.keep(with_score(fits[1, split], 1.0))
    assert trials.n_queued == 0
    assert trials.stop_reason is None
    assert [trials.status(candidate) for candidate in range(2)] == ["failed", "completed"]
    assert [f.error for f in trials.failed] == ["ValueError", "FatalError", "InvalidScoreError"]
    assert len(trials.outcomes) == 6


@pytest.mark.parametrize("how", ["done", "keep"])
def test_a_fit_that_has_ended_is_not_recorded_twice(how):
    trials = make_trials(1, 1)
    fit = trials.next()
    trials.done(with_score(fit, 0.5))
    getattr(trials, how)(with_failure(fit))
    assert trials.failed == []
    assert trials.n_attempts[0, 0] == 1
    assert trials.outcomes[0, 0].scores["test_scores"] == 0.5


def test_attempts_within_a_fit_and_those_of_the_search_add_up():
    trials = make_trials(1, 1, max_retries=1)
    first = with_failure(trials.next())
    training = dataclasses.replace(first.training, n_attempts=3)
    trials.done(dataclasses.replace(first, training=training))
    trials.done(with_score(trials.next(), n_attempts=2))
    assert trials.n_attempts[0, 0] == 5


class Heavy:
    """An object in a frame of a fit, such as data or a model."""


class HeavyError(Exception):
    pass


def heavy_failure(fit, **rest):
    held = Heavy()
    try:
        raise HeavyError("with frames")
    except HeavyError as error:
        return with_failure(fit, error, **rest), weakref.ref(held), weakref.ref(error)


@pytest.mark.parametrize("how", ["done", "keep", "retried", "raised"])
def test_no_reference_to_an_error_or_its_frames_is_kept(how):
    trials = make_trials(1, 1, max_retries=int(how == "retried"))
    fit = trials.next()
    outcome, held, error = heavy_failure(fit, is_fatal=how == "raised")
    assert held() is not None
    if how == "keep":
        trials.keep(outcome)
    elif how == "raised":
        assert_ends(trials.done(outcome), HeavyError, "with frames")
    else:
        trials.done(outcome)
    del outcome
    gc.collect()
    assert held() is None
    assert error() is None
    assert trials.failed[0].traceback.endswith("HeavyError: with frames\n")


@pytest.mark.parametrize(
    ("splits", "status"),
    [
        ([None, None], "not_run"),
        ([True, None], "incomplete"),
        ([False, None], "incomplete"),
        ([True, True], "completed"),
        ([True, False], "failed"),
        ([False, False], "failed"),
    ],
    ids=str,
)
def test_the_status_of_a_candidate_says_how_its_splits_ended(splits, status):
    trials = make_trials(2, 2)
    fits = take_all(trials)
    for split, works in enumerate(splits):
        if works is not None:
            fit = fits[1, split]
            trials.done(with_score(fit) if works else with_failure(fit))
    assert trials.status(1) == status
    assert trials.status(0) == "not_run"
    assert trials.started_candidates() == range(0 if status == "not_run" else 2)


def test_a_candidate_whose_failed_attempt_is_retried_has_an_entry():
    trials = make_trials(2, 2, max_retries=1)
    fits = take_all(trials)
    trials.done(with_failure(fits[1, 1]))
    assert trials.started_candidates() == range(2)
    assert [trials.status(candidate) for candidate in trials.started_candidates()] == [
        "not_run",
        "incomplete",
    ]
    assert trials.failed[0].candidate == 1
