"""When a search ends, and with which error: decisions about fits that never ran."""

import dataclasses
import decimal
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skguard.exceptions import FatalError, InvalidScoreError, TooManyFailedTrialsError
from skguard.model_selection._fits import Failure
from skguard.model_selection._status import FitStatus
from skguard.model_selection._trials import FailedTrial, grouped
from tests.model_selection.outcomes import (
    assert_ends,
    make_trials,
    take_all,
    with_failure,
    with_score,
)

NAN = float("nan")


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
def test_a_fatal_error_ends_the_search_at_once_whatever_max_retries(error, is_fatal, stopped):
    trials = make_trials(max_retries=5, max_consecutive_failed=None)
    raised = assert_ends(
        trials.done(with_failure(trials.next(), error, is_fatal=is_fatal)), type(error), str(error)
    )
    assert raised is error
    assert trials.stop_reason == stopped
    assert trials.next() is None
    assert trials.n_queued == 3
    assert trials.status(0) == "incomplete"
    assert len(trials.failed) == 1


def test_a_fatal_error_that_could_not_be_sent_is_raised_with_its_text_and_traceback():
    trials = make_trials()
    failure = Failure(FitStatus.FAILED, "OddError", "the text", "the traceback", is_fatal=True)
    outcome = dataclasses.replace(with_failure(trials.next()), failure=failure)
    assert_ends(trials.done(outcome), RuntimeError, "OddError: the text\nthe traceback")


def test_errors_are_raised_with_error_score_raise_but_only_after_the_retries():
    trials = make_trials(max_retries=1, error_score="raise")
    trials.done(with_failure(trials.next(), ValueError("first")))
    assert trials.stop_reason is None
    assert_ends(
        trials.done(with_failure(trials.next(), ValueError("second"))), ValueError, "second"
    )
    assert trials.stop_reason == "error"


def test_an_error_is_raised_itself_even_if_it_is_false():
    class EmptyError(Exception):
        def __len__(self):
            return 0

    trials = make_trials(error_score="raise")
    assert_ends(
        trials.done(with_failure(trials.next(), EmptyError("nothing"))), EmptyError, "nothing"
    )


def test_a_candidate_with_several_failed_splits_has_failed_once():
    trials = make_trials(n_candidates=2, n_splits=4, max_consecutive_failed=2)
    for _ in range(7):
        trials.done(with_failure(trials.next()))
    assert trials.stop_reason is None
    assert_ends(
        trials.done(with_failure(trials.next())),
        TooManyFailedTrialsError,
        "2 consecutive trials failed",
    )
    assert trials.stop_reason == "failed_trials"


def test_a_candidate_with_one_failed_split_has_failed():
    trials = make_trials(n_candidates=1, n_splits=3, max_consecutive_failed=1)
    trials.done(with_failure(trials.next()))
    trials.done(with_score(trials.next()))
    assert_ends(
        trials.done(with_score(trials.next())),
        TooManyFailedTrialsError,
        "1 consecutive trials failed",
    )
    assert trials.status(0) == "failed"


def test_a_candidate_that_completes_resets_the_count():
    trials = make_trials(n_candidates=7, n_splits=1, max_consecutive_failed=3)
    for fails in (True, True, False, True, True, False, True):
        fit = trials.next()
        trials.done(with_failure(fit) if fails else with_score(fit))
    assert trials.stop_reason is None


def test_a_limit_of_none_allows_all_trials_to_fail():
    trials = make_trials(n_candidates=50, n_splits=1, max_consecutive_failed=None)
    while (fit := trials.next()) is not None:
        trials.done(with_failure(fit))
    assert trials.stop_reason is None
    assert [trials.status(candidate) for candidate in range(50)] == ["failed"] * 50


def test_trials_that_another_search_has_pruned_are_not_counted_and_not_retried():
    pruned = type("TrialPruned", (Exception,), {"__module__": "optuna.exceptions"})
    trials = make_trials(n_candidates=9, n_splits=1, max_retries=5, max_consecutive_failed=2)
    for _ in range(3):
        trials.done(with_failure(trials.next(), pruned("epoch 1")))
    trials.done(with_failure(trials.next(), retry_on=()))
    trials.done(with_failure(trials.next(), pruned("epoch 1")))
    assert trials.stop_reason is None
    assert [trials.status(candidate) for candidate in range(5)] == ["failed"] * 5
    assert_ends(
        trials.done(with_failure(trials.next(), retry_on=())),
        TooManyFailedTrialsError,
        "2 consecutive trials failed",
    )


def test_a_failure_before_a_successful_retry_is_not_counted():
    trials = make_trials(n_candidates=3, n_splits=1, max_retries=1, max_consecutive_failed=1)
    for _ in range(3):
        trials.done(with_failure(trials.next()))
        trials.done(with_score(trials.next()))
    assert trials.stop_reason is None


def test_the_count_continues_over_candidates_that_were_added_later():
    trials = make_trials(n_candidates=1, n_splits=1, max_consecutive_failed=2)
    trials.done(with_failure(trials.next()))
    trials.add([{"a": 1}], [None])
    assert_ends(
        trials.done(with_failure(trials.next())),
        TooManyFailedTrialsError,
        "2 consecutive trials failed",
    )


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_failures_count_in_the_order_of_candidates_whichever_ends_first(order):
    """Candidates 0, 1 and 3 fail: never three consecutive ones, though perhaps in time."""
    trials = make_trials(n_candidates=4, n_splits=1, max_consecutive_failed=3)
    fits = take_all(trials)
    for candidate in order:
        fit = fits[candidate, 0]
        trials.done(with_score(fit) if candidate == 2 else with_failure(fit))
    assert trials.stop_reason is None


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_the_search_ends_when_enough_consecutive_failures_are_known(order):
    """Candidates 1 and 2 fail; that they are consecutive is known once 0 has ended too."""
    trials = make_trials(n_candidates=4, n_splits=1, max_consecutive_failed=2)
    fits = take_all(trials)
    known = max(order.index(candidate) for candidate in (0, 1, 2))
    for number, candidate in enumerate(order[: known + 1]):
        fit = fits[candidate, 0]
        outcome = with_failure(fit) if candidate in (1, 2) else with_score(fit)
        if number < known:
            trials.done(outcome)
            continue
        assert_ends(trials.done(outcome), TooManyFailedTrialsError, "2 consecutive trials failed")


def is_over(n_candidates, n_splits, failures, max_retries, limit, ends):
    """Whether a search has ended: the rule, from the beginning each time, without `Trials`."""
    n_consecutive = 0
    for candidate in range(n_candidates):
        failed = False
        for split in range(n_splits):
            n_needed = min(failures[candidate][split], max_retries) + 1
            if ends.count((candidate, split)) < n_needed:
                return False
            failed = failed or failures[candidate][split] > max_retries
        n_consecutive = n_consecutive + 1 if failed else 0
        if limit is not None and n_consecutive >= limit:
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
        ends.append(fit.key)
        assert fit.attempt == ends.count(fit.key) - 1
        fails = fit.attempt < failures[fit.candidate][fit.split]
        outcome = with_failure(fit) if fails else with_score(fit)
        if not is_over(n_candidates, n_splits, failures, max_retries, limit, ends):
            trials.done(outcome)
            continue
        assert_ends(
            trials.done(outcome), TooManyFailedTrialsError, f"{limit} consecutive trials failed"
        )
        return
    assert trials.stop_reason is None
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
    raised = assert_ends(
        trials.done(with_failure(trials.next(), error)),
        TooManyFailedTrialsError,
        "max_consecutive_failed_trials=3",
    )
    lines = str(raised).splitlines()
    assert lines[:4] == [
        "3 consecutive trials failed, which is the limit that "
        "max_consecutive_failed_trials=3 sets.",
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
    assert trials.failures().startswith("1 x InvalidScoreError: ")


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
    assert [failure.error for failure in trials.failed] == ["InvalidScoreError"] * (
        status == "failed"
    )


def test_a_nan_score_is_retried_and_its_failure_has_advice():
    trials = make_trials(1, 1, max_retries=1)
    trials.done(with_score(trials.next(), NAN, fit_time=4.0))
    assert trials.failed[0].message == "The score is NaN. Pass nan_score='accept' to allow that."
    assert trials.failed[0].seconds == 8.0
    assert trials.next().attempt == 1


def test_a_nan_score_is_raised_with_error_score_raise():
    trials = make_trials(1, 1, error_score="raise")
    assert_ends(trials.done(with_score(trials.next(), NAN)), InvalidScoreError, "The score is NaN")
    assert trials.stop_reason == "error"


def test_a_nan_on_the_training_samples_decides_nothing():
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
    assert trials.stop_reason is None  # the mean needs both splits
    trials.done(with_score(second, scores[1]))
    assert trials.stop_reason == stopped
    assert (trials.next() is None) == (stopped is not None)


def test_stop_score_must_know_which_of_several_scores_decides():
    trials = make_trials(2, 1, stop_score=0.5)
    assert_ends(
        trials.done(with_score(trials.next(), {"f1": 0.9, "r2": 0.1})),
        ValueError,
        r"stop_score=0.5 .*Pass one of \['f1', 'r2'\] as refit",
    )
    assert trials.stop_reason == "error"
    assert trials.status(0) == "completed"


def test_every_number_that_scikit_learn_takes_for_a_score_counts():
    trials = make_trials(1, 1, stop_score=0.5)
    trials.done(with_score(trials.next(), decimal.Decimal("0.9")))
    assert trials.stop_reason == "stop_score"


def test_the_score_of_a_candidate_that_failed_stops_nothing():
    trials = make_trials(1, 2, stop_score=0.1, error_score=1.0)
    trials.done(with_failure(trials.next(), scores={"test_scores": 1.0, "fit_time": 1.0}))
    trials.done(with_score(trials.next(), 1.0))
    assert trials.stop_reason is None
