"""The book of a search, with fits that never ran."""

import contextlib
import dataclasses
import decimal
import gc
import itertools
import math
import threading
import time
import weakref
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skguard.exceptions import (
    FailedTrialError,
    FatalError,
    ForkedProcessError,
    InputValueError,
    TooManyFailedTrialsError,
    TrialTimeoutError,
    WorkerDiedError,
)
from skguard.model_selection._fits import Failure
from skguard.model_selection._trials import FailedTrial, grouped
from tests.model_selection.outcomes import make_trials, with_failure, with_score

NAN = float("nan")


def key(fit):
    return fit.candidate, fit.split


def take_all(trials):
    """Every fit that may start now, by candidate and split."""
    return {key(fit): fit for fit in iter(trials.next, None)}


def end(trials, **scores):
    """End every queued fit with a score, until nothing is left."""
    while (fit := trials.next()) is not None:
        trials.done(with_score(fit, **scores))


def crash(trials, fit):
    trials.done(with_failure(fit, WorkerDiedError(-9), status="worker_died"))


# What is to do


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

        candidate, split = 0, 0

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
def test_no_fit_is_given_out_while_the_book_is_written(how):
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
    assert [key(fit) for fit in taken] == [(0, 0) if how == "unfinished" else (1, 0)]


def test_many_threads_take_and_end_every_fit_once():
    trials = make_trials(n_candidates=100, n_splits=3, max_retries=1)
    taken = []

    def work():
        while (fit := trials.next()) is not None:
            taken.append((*key(fit), fit.attempt))
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


def test_unfinished_fits_come_first_in_their_old_order_but_for_those_that_are_over():
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


# Retries


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
def test_a_fit_is_tried_no_more_than_max_retries_times_again(max_retries):
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
def test_only_errors_among_retry_on_that_another_try_may_mend_are_retried(
    error, retry_on, is_retried
):
    trials = make_trials(n_candidates=1, n_splits=1, max_retries=1)
    trials.done(with_failure(trials.next(), error, retry_on=retry_on))
    assert trials.n_queued == is_retried
    assert trials.status(0) == ("incomplete" if is_retried else "failed")


@pytest.mark.parametrize(
    ("error", "is_fatal", "stopped"),
    [
        (ValueError("no such parameter"), True, "error"),
        (FatalError("all over"), False, "fatal_error"),
        (SystemExit(3), False, "fatal_error"),
        (KeyboardInterrupt("by hand"), False, "interrupted"),
    ],
    ids=repr,
)
def test_a_fatal_error_is_raised_at_once_whatever_max_retries(error, is_fatal, stopped):
    trials = make_trials(max_retries=5, max_consecutive_failed=None)
    with pytest.raises(type(error), match=str(error)) as raised:
        trials.done(with_failure(trials.next(), error, is_fatal=is_fatal))
    assert raised.value is error
    assert trials.stopped == stopped
    assert trials.next() is None
    assert trials.n_queued == 3
    assert trials.status(0) == "incomplete"
    assert len(trials.failed) == 1


def test_a_fatal_error_that_could_not_travel_is_raised_with_its_text_and_traceback():
    trials = make_trials()
    failure = Failure("failed", "OddError", "the text", "the traceback", is_fatal=True)
    outcome = dataclasses.replace(with_failure(trials.next()), failure=failure)
    with pytest.raises(RuntimeError, match="OddError: the text\nthe traceback"):
        trials.done(outcome)


def test_errors_are_raised_with_error_score_raise_but_only_after_the_retries():
    trials = make_trials(max_retries=1, error_score="raise")
    trials.done(with_failure(trials.next(), ValueError("first")))
    assert trials.stopped is None
    with pytest.raises(ValueError, match="second"):
        trials.done(with_failure(trials.next(), ValueError("second")))
    assert trials.stopped == "error"


def test_an_error_is_raised_itself_even_if_it_is_false():
    class EmptyError(Exception):
        def __len__(self):
            return 0

    trials = make_trials(error_score="raise")
    with pytest.raises(EmptyError, match="nothing"):
        trials.done(with_failure(trials.next(), EmptyError("nothing")))


# Crashes


def test_a_fit_that_was_in_two_crashes_is_tried_alone():
    trials = make_trials(n_candidates=2, n_splits=1, max_retries=3)
    seen = []
    for _ in range(3):
        fit = trials.next()
        seen.append((*key(fit), fit.alone))
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
    assert key(fit) == (0, 0)
    assert key(trials.next(n_running=1)) == (2, 0)


def test_only_crashes_of_the_fit_itself_put_it_on_its_own():
    trials = make_trials(n_candidates=1, n_splits=2, max_retries=5)
    first, second = trials.next(), trials.next()
    crash(trials, first)
    crash(trials, second)
    assert not any(fit.alone for fit in take_all(trials).values())


@pytest.mark.parametrize("status", ["failed", "timed_out"])
def test_failures_that_are_no_crashes_put_no_fit_on_its_own(status):
    trials = make_trials(n_candidates=1, n_splits=1, max_retries=5)
    for _ in range(4):
        fit = trials.next(n_running=1)
        assert not fit.alone
        trials.done(with_failure(fit, status=status))


# Trials that failed in a row


def test_a_candidate_with_several_failed_splits_has_failed_once():
    trials = make_trials(n_candidates=2, n_splits=4, max_consecutive_failed=2)
    for _ in range(7):
        trials.done(with_failure(trials.next()))
    assert trials.stopped is None
    with pytest.raises(TooManyFailedTrialsError, match="2 trials in a row failed"):
        trials.done(with_failure(trials.next()))
    assert trials.stopped == "failed_trials"


def test_a_candidate_with_one_failed_split_has_failed():
    trials = make_trials(n_candidates=1, n_splits=3, max_consecutive_failed=1)
    trials.done(with_failure(trials.next()))
    trials.done(with_score(trials.next()))
    with pytest.raises(TooManyFailedTrialsError, match="1 trials in a row"):
        trials.done(with_score(trials.next()))
    assert trials.status(0) == "failed"


def test_a_candidate_that_completes_starts_the_count_anew():
    trials = make_trials(n_candidates=7, n_splits=1, max_consecutive_failed=3)
    for fails in (True, True, False, True, True, False, True):
        fit = trials.next()
        trials.done(with_failure(fit) if fails else with_score(fit))
    assert trials.stopped is None


def test_a_limit_of_none_lets_everything_fail():
    trials = make_trials(n_candidates=50, n_splits=1, max_consecutive_failed=None)
    while (fit := trials.next()) is not None:
        trials.done(with_failure(fit))
    assert trials.stopped is None
    assert [trials.status(candidate) for candidate in range(50)] == ["failed"] * 50


def test_a_failure_that_a_retry_mended_is_not_counted():
    trials = make_trials(n_candidates=3, n_splits=1, max_retries=1, max_consecutive_failed=1)
    for _ in range(3):
        trials.done(with_failure(trials.next()))
        trials.done(with_score(trials.next()))
    assert trials.stopped is None


def test_the_count_goes_on_over_candidates_that_were_added_later():
    trials = make_trials(n_candidates=1, n_splits=1, max_consecutive_failed=2)
    trials.done(with_failure(trials.next()))
    trials.add([{"a": 1}], [None])
    with pytest.raises(TooManyFailedTrialsError, match="2 trials in a row"):
        trials.done(with_failure(trials.next()))


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_failures_count_in_the_order_of_candidates_whichever_ends_first(order):
    """Candidates 0, 1 and 3 fail: never three in a row, though it be in time."""
    trials = make_trials(n_candidates=4, n_splits=1, max_consecutive_failed=3)
    fits = take_all(trials)
    for candidate in order:
        fit = fits[candidate, 0]
        trials.done(with_score(fit) if candidate == 2 else with_failure(fit))
    assert trials.stopped is None


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_the_search_ends_when_the_last_of_a_row_is_known_with_all_before_it(order):
    """Candidates 1 and 2 fail; that they are in a row is known once 0 has ended too."""
    trials = make_trials(n_candidates=4, n_splits=1, max_consecutive_failed=2)
    fits = take_all(trials)
    known = max(order.index(candidate) for candidate in (0, 1, 2))
    for number, candidate in enumerate(order[: known + 1]):
        fit = fits[candidate, 0]
        outcome = with_failure(fit) if candidate in (1, 2) else with_score(fit)
        if number < known:
            trials.done(outcome)
            continue
        with pytest.raises(TooManyFailedTrialsError, match="2 trials in a row"):
            trials.done(outcome)


def is_over(n_candidates, n_splits, failures, max_retries, limit, ends):
    """Whether a search has ended: the rule, from the beginning each time, without a book."""
    in_a_row = 0
    for candidate in range(n_candidates):
        failed = False
        for split in range(n_splits):
            n_needed = min(failures[candidate][split], max_retries) + 1
            if ends.count((candidate, split)) < n_needed:
                return False
            failed = failed or failures[candidate][split] > max_retries
        in_a_row = in_a_row + 1 if failed else 0
        if limit is not None and in_a_row >= limit:
            return True
    return False


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_search_ends_at_the_same_fit_as_by_the_plain_rule(data):
    n_candidates = data.draw(st.integers(1, 6))
    n_splits = data.draw(st.integers(1, 3))
    max_retries = data.draw(st.integers(0, 2))
    limit = data.draw(st.sampled_from([None, 1, 2, 3]))
    n_workers = data.draw(st.integers(1, 5))
    # How often each fit fails before it succeeds.
    one_split = st.lists(st.integers(0, 3), min_size=n_splits, max_size=n_splits)
    failures = data.draw(st.lists(one_split, min_size=n_candidates, max_size=n_candidates))
    trials = make_trials(
        n_candidates, n_splits, max_retries=max_retries, max_consecutive_failed=limit
    )
    running, ends = [], []
    while True:
        while len(running) < n_workers and (fit := trials.next(len(running))) is not None:
            running.append(fit)
        if not running:
            break
        fit = running.pop(data.draw(st.integers(0, len(running) - 1)))
        ends.append(key(fit))
        assert fit.attempt == ends.count(key(fit)) - 1
        fails = fit.attempt < failures[fit.candidate][fit.split]
        outcome = with_failure(fit) if fails else with_score(fit)
        if not is_over(n_candidates, n_splits, failures, max_retries, limit, ends):
            trials.done(outcome)
            continue
        with pytest.raises(TooManyFailedTrialsError, match=f"{limit} trials in a row"):
            trials.done(outcome)
        return
    assert trials.stopped is None
    has_failed = [max(splits) > max_retries for splits in failures]
    for candidate, failed in enumerate(has_failed):
        assert trials.status(candidate) == ("failed" if failed else "completed")
    assert len(trials.failed) == sum(min(n, max_retries + 1) for splits in failures for n in splits)


def test_the_error_for_too_many_failures_groups_them_and_ends_with_the_last_traceback():
    trials = make_trials(n_candidates=3, n_splits=1, max_consecutive_failed=3)
    trials.done(with_failure(trials.next(), KeyError("rare")))
    trials.done(with_failure(trials.next(), ValueError("common")))

    def fails_here():
        raise ValueError("common")

    try:
        fails_here()
    except ValueError as caught:
        error = caught
    with pytest.raises(TooManyFailedTrialsError, match="max_consecutive_failed_trials=3") as raised:
        trials.done(with_failure(trials.next(), error))
    lines = str(raised.value).splitlines()
    assert lines[:4] == [
        "3 trials in a row failed, which is what max_consecutive_failed_trials=3 allows.",
        "2 x ValueError: common (candidates 1, 2)",
        "1 x KeyError: 'rare' (candidate 0)",
        "The last traceback:",
    ]
    assert any("in fails_here" in line for line in lines[4:])
    assert lines[-1] == "ValueError: common"


def test_failures_without_a_traceback_show_none():
    trials = make_trials(n_candidates=1, n_splits=1)
    trials.done(with_score(trials.next(), NAN))
    assert "traceback" not in trials.failures()
    assert trials.failures().startswith("1 x NaN score: ")


def test_the_last_traceback_is_the_last_that_there_is():
    trials = make_trials(n_candidates=2, n_splits=1)
    trials.done(with_failure(trials.next(), ValueError("with one")))
    trials.done(with_score(trials.next(), NAN))
    assert trials.failures().endswith("The last traceback:\nValueError: with one\n")


def failure(candidate, error="ValueError", message="no"):
    return FailedTrial(candidate, 0, {}, 0, error, message, "", 1.0)


@pytest.mark.parametrize(
    ("failed", "lines"),
    [
        ([], []),
        ([failure(2), failure(0), failure(2)], ["3 x ValueError: no (candidates 0, 2)"]),
        ([failure(0, message=" \n")], ["1 x ValueError: (no message) (candidate 0)"]),
        (
            [failure(number) for number in range(11)],
            ["11 x ValueError: no (candidates 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...)"],
        ),
        (
            [failure(number) for number in range(10)],
            ["10 x ValueError: no (candidates 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)"],
        ),
        (
            [failure(0), failure(1, "KeyError"), failure(2, "KeyError"), failure(3, message="x")],
            [
                "2 x KeyError: no (candidates 1, 2)",
                "1 x ValueError: no (candidate 0)",
                "1 x ValueError: x (candidate 3)",
            ],
        ),
    ],
    ids=["none", "sorted", "no message", "eleven", "ten", "commonest first"],
)
def test_each_different_error_has_a_line(failed, lines):
    assert grouped(failed) == lines


# Scores


@pytest.mark.parametrize(
    ("nan_score", "refit_metric", "score", "status"),
    [
        ("fail", None, NAN, "failed"),
        ("fail", None, 0.5, "completed"),
        ("fail", None, math.inf, "completed"),
        ("fail", None, {"f1": 0.5, "r2": NAN}, "failed"),
        ("fail", None, {"f1": 0.5, "r2": 0.5}, "completed"),
        ("fail", "f1", {"f1": 0.5, "r2": NAN}, "completed"),
        ("fail", "r2", {"f1": 0.5, "r2": NAN}, "failed"),
        ("fail", "other", {"f1": 0.5, "r2": NAN}, "failed"),
        ("fail", "f1", NAN, "failed"),
        ("accept", None, NAN, "completed"),
        ("accept", "r2", {"f1": 0.5, "r2": NAN}, "completed"),
    ],
    ids=str,
)
def test_a_score_that_is_nan_fails_where_it_decides_and_is_not_accepted(
    nan_score, refit_metric, score, status
):
    trials = make_trials(1, 1, nan_score=nan_score, refit_metric=refit_metric)
    trials.done(with_score(trials.next(), score))
    assert trials.status(0) == status
    assert [failure.error for failure in trials.failed] == ["NaN score"] * (status == "failed")


def test_a_nan_score_is_retried_and_its_failure_says_what_to_write():
    trials = make_trials(1, 1, max_retries=1)
    trials.done(with_score(trials.next(), NAN, fit_time=4.0))
    assert trials.failed[0].message == "the score is NaN. nan_score='accept' lets it be."
    assert trials.failed[0].seconds == 8.0
    assert trials.next().attempt == 1


def test_a_nan_score_is_raised_with_error_score_raise():
    trials = make_trials(1, 1, error_score="raise")
    with pytest.raises(RuntimeError, match="NaN score: the score is NaN"):
        trials.done(with_score(trials.next(), NAN))
    assert trials.stopped == "error"


def test_a_nan_on_the_training_rows_decides_nothing():
    trials = make_trials(1, 1)
    trials.done(with_score(trials.next(), 0.5, train_score=NAN))
    assert trials.status(0) == "completed"


@pytest.mark.parametrize(
    ("scores", "stop_score", "refit_metric", "stopped"),
    [
        ([0.5, 0.7], 0.6, None, "stop_score"),
        ([0.5, 0.5], 0.5, None, "stop_score"),
        ([0.5, 0.6], 0.6, None, None),
        ([1.0, 0.0], 0.6, None, None),
        ([NAN, 1.0], 0.1, None, None),
        ([{"f1": 0.9, "r2": 0.1}] * 2, 0.9, "f1", "stop_score"),
        ([{"f1": 0.9, "r2": 0.1}] * 2, 0.9, "r2", None),
    ],
    ids=str,
)
def test_the_search_ends_at_a_mean_score_of_stop_score(scores, stop_score, refit_metric, stopped):
    trials = make_trials(2, 2, stop_score=stop_score, refit_metric=refit_metric)
    first, second = trials.next(), trials.next()
    trials.done(with_score(first, scores[0]))
    assert trials.stopped is None  # one split alone is no mean
    trials.done(with_score(second, scores[1]))
    assert trials.stopped == stopped
    assert (trials.next() is None) == (stopped is not None)


def test_stop_score_must_know_which_of_several_scores_decides():
    trials = make_trials(2, 1, stop_score=0.5)
    with pytest.raises(ValueError, match=r"stop_score=0.5 .* give one of \['f1', 'r2'\] as refit"):
        trials.done(with_score(trials.next(), {"f1": 0.9, "r2": 0.1}))
    assert trials.stopped == "error"
    assert trials.status(0) == "completed"


def test_every_number_that_scikit_learn_takes_for_a_score_counts():
    trials = make_trials(1, 1, stop_score=0.5)
    trials.done(with_score(trials.next(), decimal.Decimal("0.9")))
    assert trials.stopped == "stop_score"


def test_the_score_of_a_candidate_that_failed_stops_nothing():
    trials = make_trials(1, 2, stop_score=0.1, error_score=1.0)
    trials.done(with_failure(trials.next(), scores={"test_scores": 1.0, "fit_time": 1.0}))
    trials.done(with_score(trials.next(), 1.0))
    assert trials.stopped is None


# Time


def test_no_fit_starts_after_the_deadline(monkeypatch):
    trials = make_trials(deadline=1000.0)
    monkeypatch.setattr(time, "time", lambda: 999.9)
    assert trials.next() is not None
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    assert trials.next() is None
    assert trials.stopped == "time_budget"
    assert trials.n_queued == 3


def test_the_deadline_stops_no_search_that_has_nothing_left_to_do(monkeypatch):
    trials = make_trials(1, 1, deadline=1000.0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    trials.done(with_score(trials.next()))
    monkeypatch.setattr(time, "time", lambda: 2000.0)
    assert trials.next() is None
    assert trials.stopped is None


def test_without_a_deadline_there_is_none_for_fits():
    trials = make_trials()
    end(trials, fit_time=1e9)
    assert trials.fit_deadline() is None


@pytest.mark.parametrize(
    ("ended", "kept_back"),
    [
        ([], 0),
        ([(0.5, 4.0)], 4),
        ([(0.5, 4.0), (0.4, 9.0)], 4),
        ([(0.5, 4.0), (0.6, 9.0)], 9),
        ([(0.5, 4.0), (0.6, 2.0)], 2),
        ([(-5.0, 4.0), (-6.0, 2.0)], 4),
        ([("fails", 4.0)], 0),
        ([("fails", 4.0), (0.1, 2.0)], 2),
    ],
    ids=str,
)
def test_the_time_of_the_best_candidate_is_kept_back_for_the_refit(ended, kept_back):
    trials = make_trials(
        4, 1, deadline=time.time() + 1e6, expected_refit=lambda seconds: 1.5 * seconds
    )
    for score, seconds in ended:
        fit = trials.next()
        if score == "fails":
            trials.done(with_failure(fit, seconds=seconds))
        else:
            trials.done(with_score(fit, score, fit_time=seconds))
    assert trials.fit_deadline() == trials.rules.deadline - 1.5 * kept_back


def test_the_time_kept_back_is_a_mean_over_splits():
    trials = make_trials(2, 2, deadline=time.time() + 1e6)
    trials.done(with_score(trials.next(), fit_time=2.0))
    assert trials.fit_deadline() == trials.rules.deadline
    trials.done(with_score(trials.next(), fit_time=6.0))
    assert trials.fit_deadline() == trials.rules.deadline - 4.0


def test_the_time_kept_back_is_that_of_the_best_after_a_score_that_is_nan():
    trials = make_trials(2, 1, nan_score="accept", deadline=time.time() + 1e6)
    trials.done(with_score(trials.next(), NAN, fit_time=1.0))
    trials.done(with_score(trials.next(), 0.9, fit_time=100.0))
    assert trials.fit_deadline() == trials.rules.deadline - 100.0


@pytest.fixture
def noon(monkeypatch):
    """A clock that stands still at 1000 s."""
    monkeypatch.setattr(
        "skguard.model_selection._trials.time", SimpleNamespace(time=lambda: 1000.0)
    )


@pytest.mark.usefixtures("noon")
def test_a_fit_is_cut_short_in_time_for_the_other_splits_and_the_refit():
    trials = make_trials(2, 2, deadline=1080.0, expected_refit=lambda seconds: 2 * seconds)
    fits = [trials.next() for _ in range(4)]
    assert trials.fit_end(fits[0]) == 1000 + 80 / (2 + 1)
    trials.done(with_score(fits[0], fit_time=1.0))
    assert trials.fit_end(fits[1]) == 1000 + 80 / (1 + 1)
    assert trials.fit_end(fits[2]) == 1000 + 80 / (2 + 1)
    trials.done(with_score(fits[1], fit_time=3.0))  # one is complete
    assert trials.fit_end(fits[2]) == 1000 + 80 / (1 + 1)
    assert trials.fit_deadline() == 1080 - 2 * 2.0


@pytest.mark.usefixtures("noon")
@pytest.mark.parametrize(("n_jobs", "n_rounds"), [(1, 5), (2, 3), (4, 2), (5, 1), (9, 1)])
def test_splits_that_run_at_once_share_no_time(n_jobs, n_rounds):
    trials = make_trials(1, 5, deadline=1060.0, n_jobs=n_jobs, expected_refit=lambda seconds: 0.0)
    assert trials.fit_end(trials.next()) == 1000 + 60 / n_rounds


@pytest.mark.usefixtures("noon")
def test_a_fit_is_never_cut_short_later_than_fits_may_start():
    trials = make_trials(2, 1, deadline=1080.0)
    trials.done(with_score(trials.next(), fit_time=70.0))
    second = trials.next()
    assert trials.fit_end(second) == 1010.0
    assert make_trials().fit_end(second) is None


@pytest.mark.usefixtures("noon")
def test_a_fit_whose_time_was_over_before_its_first_epoch_is_not_run():
    trials = make_trials(3, 1, deadline=1080.0)
    first, second = trials.next(), trials.next()
    trials.done(dataclasses.replace(with_score(first), is_untrained=True))
    assert trials.stopped is None  # it was its own share of the time that was over
    again = trials.next()
    assert (again.candidate, again.attempt) == (0, 0)
    assert trials.fit_end(again) == trials.fit_deadline() == 1080.0
    trials.done(dataclasses.replace(with_score(again), is_untrained=True))
    trials.keep(dataclasses.replace(with_score(second), is_untrained=True))
    assert trials.stopped == "time_budget"
    assert trials.rows() == range(0)
    assert trials.next() is None


# What is kept


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
    assert trials.stopped is None
    assert [trials.status(candidate) for candidate in range(2)] == ["failed", "completed"]
    assert [f.error for f in trials.failed] == ["ValueError", "FatalError", "NaN score"]
    assert len(trials.outcomes) == 6


@pytest.mark.parametrize("how", ["done", "keep"])
def test_what_is_over_is_not_recorded_twice(how):
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
    """What a frame of a fit holds, such as rows and models."""


class HeavyError(Exception):
    pass


def heavy_failure(fit, **rest):
    held = Heavy()
    try:
        raise HeavyError("with frames")
    except HeavyError as error:
        return with_failure(fit, error, **rest), weakref.ref(held), weakref.ref(error)


@pytest.mark.parametrize("how", ["done", "keep", "retried", "raised"])
def test_no_error_and_none_of_its_frames_is_held_on_to(how):
    trials = make_trials(1, 1, max_retries=int(how == "retried"))
    fit = trials.next()
    outcome, held, error = heavy_failure(fit, is_fatal=how == "raised")
    assert held() is not None
    if how == "keep":
        trials.keep(outcome)
    elif how == "raised":
        with pytest.raises(HeavyError, match="with frames"):
            trials.done(outcome)
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
    assert trials.rows() == range(0 if status == "not_run" else 2)


def test_a_failed_attempt_that_is_tried_again_has_a_row():
    trials = make_trials(2, 2, max_retries=1)
    fits = take_all(trials)
    trials.done(with_failure(fits[1, 1]))
    assert trials.rows() == range(2)
    assert [trials.status(candidate) for candidate in trials.rows()] == ["not_run", "incomplete"]
    assert trials.failed[0].candidate == 1
