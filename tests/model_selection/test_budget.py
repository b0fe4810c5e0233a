"""The division of a search's time budget among its fits and the refit."""

import dataclasses
import pickle

import pytest

from skguard.model_selection import _budget
from skguard.model_selection._budget import Deadline, TimeBudget
from tests.model_selection.outcomes import make_trials, with_failure, with_score

NAN = float("nan")


class Clock:
    """A clock that stands still; the time of day has nothing to do with its other time."""

    now = 1000.0

    def monotonic(self):
        return self.now

    def time(self):
        return 1.7e9 - 3 * self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(_budget, "time", clock)
    return clock


# When fits may start


def test_no_fit_starts_after_the_time_budget(clock):
    trials = make_trials(time_budget=80.0)
    clock.now = 1079.9
    assert trials.check_budget().stop is None
    assert trials.next() is not None
    clock.now = 1080.0
    decision = trials.check_budget()
    assert decision.stop == "time_budget"
    assert decision.error is None
    assert not decision.ends_now  # the fits that run may end
    assert trials.next() is None
    assert trials.stop_reason == "time_budget"
    assert trials.n_queued == 3


def test_only_the_check_of_the_budget_stops_a_search(clock):
    trials = make_trials(time_budget=80.0)
    clock.now = 2000.0
    assert trials.next() is not None
    assert trials.stop_reason is None
    assert trials.check_budget().stop == "time_budget"


def test_the_budget_stops_no_search_that_has_nothing_left_to_do(clock):
    trials = make_trials(1, 1, time_budget=80.0)
    trials.done(with_score(trials.next()))
    clock.now = 2000.0
    assert trials.check_budget().stop is None
    assert trials.next() is None
    assert trials.stop_reason is None


def test_without_a_budget_there_is_no_limit():
    trials = make_trials()
    first = trials.next()
    trials.done(with_score(first, fit_time=1e9))
    trials.done(with_score(trials.next(), fit_time=1e9))
    assert trials.seconds_for_fits() is None
    assert trials.seconds_for(first) is None
    assert trials.deadline_of(first) is None
    budget = TimeBudget(None)
    assert budget.seconds_left() is None
    assert not budget.is_over()
    assert budget.seconds_for_refit(10.0, 2.0, was_cut_short=True) is None


@pytest.mark.parametrize(
    ("ended", "reserved"),
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
def test_the_time_of_the_best_candidate_is_reserved_for_the_refit(ended, reserved):
    trials = make_trials(4, 1, time_budget=1e6, size_ratio=1.5)
    for score, seconds in ended:
        fit = trials.next()
        if score == "fails":
            trials.done(with_failure(fit, seconds=seconds))
        else:
            trials.done(with_score(fit, score, fit_time=seconds))
    assert trials.seconds_for_fits() == 1e6 - 1.5 * reserved


def test_the_reserved_time_is_a_mean_over_splits():
    trials = make_trials(2, 2, time_budget=1e6)
    trials.done(with_score(trials.next(), fit_time=2.0))
    assert trials.seconds_for_fits() == 1e6
    trials.done(with_score(trials.next(), fit_time=6.0))
    assert trials.seconds_for_fits() == 1e6 - 4.0


def test_the_reserved_time_is_that_of_the_best_after_a_score_that_is_nan():
    trials = make_trials(2, 1, nan_score="accept", time_budget=1e6)
    trials.done(with_score(trials.next(), NAN, fit_time=1.0))
    trials.done(with_score(trials.next(), 0.9, fit_time=100.0))
    assert trials.seconds_for_fits() == 1e6 - 100.0


def test_no_time_is_reserved_without_a_refit():
    trials = make_trials(2, 1, time_budget=1e6, with_refit=False)
    trials.done(with_score(trials.next(), fit_time=100.0))
    assert trials.seconds_for_fits() == 1e6


# How long a fit may take


def test_a_fit_is_cut_short_in_time_for_the_other_splits_and_the_refit():
    trials = make_trials(2, 2, time_budget=80.0, size_ratio=2.0)
    fits = [trials.next() for _ in range(4)]
    assert trials.seconds_for(fits[0]) == 80 / (2 + 1)
    trials.done(with_score(fits[0], fit_time=1.0))
    assert trials.seconds_for(fits[1]) == 80 / (1 + 1)
    assert trials.seconds_for(fits[2]) == 80 / (2 + 1)
    trials.done(with_score(fits[1], fit_time=3.0))  # one is complete
    assert trials.seconds_for(fits[2]) == 80 / (1 + 1)
    assert trials.seconds_for_fits() == 80 - 2 * 2.0


@pytest.mark.parametrize(("n_jobs", "n_rounds"), [(1, 5), (2, 3), (4, 2), (5, 1), (9, 1)])
def test_splits_that_run_at_once_share_no_time(n_jobs, n_rounds):
    trials = make_trials(1, 5, time_budget=60.0, n_jobs=n_jobs, with_refit=False)
    assert trials.seconds_for(trials.next()) == 60 / n_rounds


def test_a_fit_is_never_cut_short_later_than_fits_may_start():
    trials = make_trials(2, 1, time_budget=80.0)
    trials.done(with_score(trials.next(), fit_time=70.0))
    assert trials.seconds_for(trials.next()) == 10.0


def test_a_fit_whose_time_was_over_before_its_first_epoch_is_not_run():
    trials = make_trials(3, 1, time_budget=80.0)
    first, second = trials.next(), trials.next()
    decision = trials.done(dataclasses.replace(with_score(first), is_untrained=True))
    assert decision.stop is None  # only its part of the time was over
    assert trials.stop_reason is None
    again = trials.next()
    assert (again.candidate, again.attempt) == (0, 0)
    assert trials.seconds_for(again) == trials.seconds_for_fits() == 80.0
    decision = trials.done(dataclasses.replace(with_score(again), is_untrained=True))
    assert decision.stop == "time_budget"
    trials.keep(dataclasses.replace(with_score(second), is_untrained=True))
    assert trials.stop_reason == "time_budget"
    assert trials.started_candidates() == range(0)
    assert trials.next() is None


def test_the_limit_of_a_fit_is_counted_from_its_start(clock):
    trials = make_trials(1, 1, time_budget=80.0, with_refit=False)
    clock.now = 1030.0
    assert trials.seconds_for(trials.next()) == 50.0


# How long the refit may take


@pytest.mark.parametrize(
    ("now", "was_cut_short", "expected"),
    [
        (1010.0, False, 90.0),
        (1010.0, True, 90.0),
        (1100.0, False, 40.0),
        (1100.0, True, 10.0),
        (5000.0, False, 40.0),
    ],
)
def test_the_refit_gets_what_is_left_or_as_long_as_the_fits_of_the_best_took(
    clock, now, was_cut_short, expected
):
    budget = TimeBudget(100.0)
    clock.now = now
    assert budget.seconds_for_refit(10.0, 2.0, was_cut_short) == expected


@pytest.mark.parametrize(("now", "is_over"), [(1000.0, False), (1100.0, False), (1100.1, True)])
def test_a_budget_is_over_after_its_seconds(clock, now, is_over):
    budget = TimeBudget(100.0)
    clock.now = now
    assert budget.is_over() == is_over


# Deadlines


def test_a_deadline_is_a_time_of_day_that_other_processes_know(clock):
    deadline = Deadline.after(80.0)
    assert deadline.timestamp == clock.time() + 80.0
    assert pickle.loads(pickle.dumps(deadline)) == deadline
    clock.now -= 10  # 30 s later, by the time of day of this clock
    assert deadline.seconds_left() == 50.0


@pytest.mark.parametrize("seconds", [1e10, float("inf")])
def test_a_deadline_may_be_any_number_of_seconds_away(seconds):
    assert Deadline.after(seconds).seconds_left() == pytest.approx(seconds)


def test_no_limit_is_no_deadline():
    assert Deadline.after(None) is None
