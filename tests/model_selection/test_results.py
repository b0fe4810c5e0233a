"""The results of a search: complete, failed and incomplete trials, one metric and several."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, ClassifierMixin

from skguard.model_selection import GuardedGridSearchCV
from skguard.model_selection._summary import summary
from skguard.model_selection._table import (
    columns,
    completed_only,
    histories,
    metric_names,
    rank_failed_last,
    raw_scores,
)
from skguard.model_selection._trials import FailedTrial
from tests.model_selection.outcomes import make_trials, with_failure, with_score

NAN = float("nan")


def play(trials, *ends):
    """End the fits in their order: with a score, an error, or not at all (None)."""
    for ended in ends:
        fit = trials.next()
        if isinstance(ended, BaseException):
            trials.done(with_failure(fit, ended, seconds=3.0))
        elif ended is not None:
            trials.done(with_score(fit, ended))
    return trials


def check_equal(found, expected):
    np.testing.assert_equal(
        {name: np.asarray(values).tolist() for name, values in found.items()}, expected
    )


# Scores for scikit-learn


DONE = {"test_scores": 0.5, "fit_time": 1.0, "score_time": 0.25}
NOT_RUN = {"test_scores": NAN, "fit_time": NAN, "score_time": NAN}


@pytest.mark.parametrize(
    ("error_score", "failed_score"), [(NAN, NAN), (0.0, 0.0), (-7, -7), ("raise", NAN)], ids=str
)
def test_raw_scores_have_an_entry_for_each_fit_whether_it_ran_or_not(error_score, failed_score):
    trials = make_trials(2, 2, error_score=NAN)
    play(trials, 0.5, ValueError("no"), None, 0.5)
    object.__setattr__(trials.rules, "error_score", error_score)
    failed = {"test_scores": failed_score, "fit_time": 3.0, "score_time": 0.0}
    np.testing.assert_equal(
        raw_scores(trials, [0, 1], None, with_train=False), [DONE, failed, NOT_RUN, DONE]
    )


def test_raw_scores_are_those_of_the_requested_candidates_in_order():
    trials = play(make_trials(3, 1), 0.1, 0.2, 0.3)
    entries = raw_scores(trials, [2, 0], None, with_train=False)
    assert [entry["test_scores"] for entry in entries] == [0.3, 0.1]


def test_raw_scores_of_several_metrics_have_all_of_them_in_every_entry():
    trials = make_trials(1, 3, error_score=-1.0)
    play(trials, {"f1": 0.5, "r2": 0.25}, ValueError("no"), None)
    entries = raw_scores(trials, [0], ["f1", "r2"], with_train=True)
    np.testing.assert_equal(
        [entry["test_scores"] for entry in entries],
        [{"f1": 0.5, "r2": 0.25}, {"f1": -1.0, "r2": -1.0}, {"f1": NAN, "r2": NAN}],
    )
    np.testing.assert_equal(
        [entry["train_scores"] for entry in entries],
        # A function that returns several scores has raised on the training samples.
        [{"f1": 0.75, "r2": 0.75}, {"f1": -1.0, "r2": -1.0}, {"f1": NAN, "r2": NAN}],
    )


@pytest.mark.parametrize("with_train", [True, False])
def test_raw_scores_have_those_of_training_only_if_requested(with_train):
    trials = play(make_trials(1, 3), 0.5, ValueError("no"), None)
    for entry in raw_scores(trials, [0], None, with_train):
        assert ("train_scores" in entry) == with_train


def test_a_fit_whose_score_is_not_usable_keeps_its_scores():
    trials = play(make_trials(1, 1), {"f1": NAN, "r2": 0.25})
    assert trials.status(0) == "failed"
    (entry,) = raw_scores(trials, [0], ["f1", "r2"], with_train=False)
    np.testing.assert_equal(entry["test_scores"], {"f1": NAN, "r2": 0.25})


@pytest.mark.parametrize(
    ("ends", "names"),
    [
        ([0.5, 0.5], None),
        ([ValueError("no"), ValueError("no")], None),
        ([{"f1": 0.5, "r2": 0.5}, ValueError("no")], ["f1", "r2"]),
        ([ValueError("no"), {"f1": 0.5, "r2": 0.5}], ["f1", "r2"]),
        ([None, None], None),
    ],
    ids=str,
)
def test_the_names_of_scores_are_those_that_any_fit_returned(ends, names):
    assert metric_names(play(make_trials(2, 1), *ends)) == names


# Columns


def test_columns_show_how_each_fit_ended():
    trials = make_trials(4, 2, max_retries=1)
    fits = [trials.next() for _ in range(8)]
    trials.done(with_score(fits[0]))
    trials.done(with_score(fits[1], n_attempts=2))
    trials.done(with_failure(fits[2], status="worker_died"))
    trials.done(with_failure(trials.next(), status="timed_out"))
    trials.done(with_score(fits[3]))
    trials.done(with_failure(fits[4], retry_on=()))
    trials.done(with_failure(fits[7]))
    trials.done(with_score(trials.next()))
    found = columns(trials, [0, 1, 2, 3])
    check_equal(
        found,
        {
            "status": ["completed", "failed", "incomplete", "incomplete"],
            "split0_status": ["completed", "timed_out", "failed", "not_run"],
            "split1_status": ["completed", "completed", "not_run", "completed"],
            "split0_attempts": [1, 2, 1, 0],
            "split1_attempts": [2, 1, 0, 2],
            "mean_attempts": [1.5, 1.5, 0.5, 1.0],
        },
    )
    assert found["split0_attempts"].dtype.kind == "i"
    assert all(values.dtype == object for name, values in found.items() if "status" in name)


def test_columns_of_keras_estimators_include_epochs():
    trials = make_trials(3, 2)
    fits = [trials.next() for _ in range(6)]
    early = {"n_epochs": 7, "best_epoch": 3, "stop_reason": "early_stopping"}
    trials.done(with_score(fits[0], **early))
    trials.done(with_score(fits[1], **early | {"n_epochs": 10, "best_epoch": 0}))
    trials.done(with_failure(fits[2]))
    trials.done(with_score(fits[3], n_epochs=4, stop_reason="max_epochs"))
    trials.done(with_failure(fits[4]))
    found = columns(trials, [0, 1, 2])
    trained = {name: v for name, v in found.items() if "epoch" in name or "reason" in name}
    check_equal(
        trained,
        {
            "split0_n_epochs": [7, NAN, NAN],
            "split1_n_epochs": [10, 4, NAN],
            "mean_n_epochs": [8.5, 4, NAN],
            "split0_best_epoch": [3, NAN, NAN],
            "split1_best_epoch": [0, NAN, NAN],
            "mean_best_epoch": [1.5, NAN, NAN],
            "split0_stop_reason": ["early_stopping", None, None],
            "split1_stop_reason": ["early_stopping", "max_epochs", None],
        },
    )


def test_columns_of_other_estimators_do_not_include_epochs():
    found = columns(play(make_trials(1, 1), 0.5), [0])
    assert set(found) == {"status", "split0_status", "split0_attempts", "mean_attempts"}


def test_columns_have_an_entry_for_each_requested_candidate():
    trials = play(make_trials(3, 1), 0.1, ValueError("no"), 0.3)
    assert columns(trials, [1, 2])["status"].tolist() == ["failed", "completed"]


def test_histories_are_by_candidate_and_split():
    trials = make_trials(2, 2)
    fits = [trials.next() for _ in range(4)]
    trials.done(with_score(fits[0], history={"loss": [2.0, 1.0]}))
    trials.done(with_failure(fits[1]))
    trials.done(with_score(fits[3], history={"loss": [3.0]}))
    assert histories(trials, [0, 1]) == [
        [{"loss": [2.0, 1.0]}, None],
        [None, {"loss": [3.0]}],
    ]
    assert histories(trials, [1]) == [[None, {"loss": [3.0]}]]


# Ranks

SCORES = st.one_of(st.just(NAN), st.integers(-3, 3).map(float), st.floats(-1e6, 1e6))
STATUSES = st.sampled_from(["completed", "completed", "failed", "incomplete"])


def as_sklearn_ranks(means):
    if np.isnan(means).all():
        return np.ones(len(means), np.int32)
    worst = np.nanmin(means) - 1
    return rankdata(-np.nan_to_num(means, nan=worst), method="min").astype(np.int32)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(STATUSES, SCORES, SCORES), min_size=1, max_size=12))
def test_ranks_are_those_of_scipy_with_all_failed_candidates_last(candidates):
    status = np.array([candidate[0] for candidate in candidates], dtype=object)
    results = {"status": status}
    for number, name in enumerate(("f1", "r2"), start=1):
        means = np.array([candidate[number] for candidate in candidates])
        results |= {
            f"mean_test_{name}": means,
            f"rank_test_{name}": as_sklearn_ranks(means),
        }
    rank_failed_last(results)
    for name in ("f1", "r2"):
        means = results[f"mean_test_{name}"]
        behind = np.where(status == "completed", np.nan_to_num(means, nan=-1e9), -1e9)
        np.testing.assert_array_equal(results[f"rank_test_{name}"], rankdata(-behind, method="min"))
        assert results[f"rank_test_{name}"].dtype == np.int32


def test_ranks_of_a_search_without_failures_are_scikit_learns_own():
    ranks = np.array([2, 1], np.int32)
    results = {
        "status": np.array(["completed", "completed"], dtype=object),
        "mean_test_score": np.array([0.1, 0.2]),
        "rank_test_score": ranks,
    }
    rank_failed_last(results)
    assert results["rank_test_score"] is ranks


def test_a_failed_candidate_with_the_greatest_score_ranks_last():
    results = {
        "status": np.array(["completed", "failed", "completed"], dtype=object),
        "mean_test_score": np.array([-2.0, 0.0, -1.0]),
        "rank_test_score": np.array([3, 1, 2], np.int32),
    }
    rank_failed_last(results)
    assert results["rank_test_score"].tolist() == [2, 3, 1]


def test_a_failed_candidate_ranks_behind_one_that_could_not_be_worse():
    results = {
        "status": np.array(["completed", "failed", "completed"], dtype=object),
        "mean_test_score": np.array([-np.inf, -5.0, 1.0]),
        "rank_test_score": np.array([3, 2, 1], np.int32),
    }
    rank_failed_last(results)
    assert results["rank_test_score"].tolist() == [2, 3, 1]


def test_completed_only_drops_all_other_candidates():
    results = {
        "params": [{"a": 0}, {"a": 1}, {"a": 2}, {"a": 3}],
        "param_a": np.ma.masked_array([0, 1, 2, 3], [False, False, False, True]),
        "status": np.array(["failed", "completed", "incomplete", "completed"], dtype=object),
        "mean_test_score": np.arange(4.0),
    }
    left, entries = completed_only(results)
    assert entries.tolist() == [1, 3]
    assert left["params"] == [{"a": 1}, {"a": 3}]
    assert left["mean_test_score"].tolist() == [1.0, 3.0]
    assert left["param_a"].mask.tolist() == [False, True]
    assert left["status"].tolist() == ["completed", "completed"]
    assert set(left) == set(results)
    assert len(results["params"]) == len(results["mean_test_score"]) == 4


def test_completed_only_leaves_a_complete_search_as_it_is():
    results = {"params": [{}, {}], "status": np.array(["completed"] * 2, dtype=object)}
    left, entries = completed_only(results)
    assert left is results
    assert entries.tolist() == [0, 1]


def test_completed_only_may_leave_nothing():
    results = {"params": [{}], "status": np.array(["failed"], dtype=object), "x": np.ones(1)}
    left, entries = completed_only(results)
    assert left["params"] == []
    assert not len(entries)
    assert not len(left["x"])


# The summary


def make_search(**attributes):
    """A search that has ended, with three candidates."""
    defaults = {
        "stop_reason_": "completed",
        "n_splits_": 2,
        "refit": True,
        "time_budget": 9.5,
        "stop_score": 0.9,
        "failed_trials_": [],
        "cv_results_": {
            "params": [{"a": 0}, {"a": 1}, {"a": 2}],
            "status": np.array(["completed"] * 3, dtype=object),
            "mean_test_score": np.array([0.5, 0.75, 1 / 3]),
            "std_test_score": np.array([0.0, 0.125, 1 / 3]),
            "rank_test_score": np.array([2, 1, 3], np.int32),
        },
    }
    return SimpleNamespace(**defaults | attributes)


def test_the_summary_of_a_complete_search_has_the_best_first():
    assert summary(make_search(), 10) == (
        "The search is complete: 3 candidates, 2 splits each.\n"
        "\n"
        "The best 3 of 3 complete ones by test_score:\n"
        "   1. 0.75 +- 0.125: {'a': 1}\n"
        "   2. 0.5 +- 0: {'a': 0}\n"
        "   3. 0.333333 +- 0.333: {'a': 2}\n"
    )


def test_the_summary_shows_n_candidates():
    text = summary(make_search(), 1)
    assert "The best 1 of 3 complete ones" in text
    assert text.count("+-") == 1
    assert "{'a': 1}" in text


def test_the_summary_leaves_out_what_failed_and_lists_the_failures():
    search = make_search(
        failed_trials_=[
            FailedTrial(1, split, {"a": 1}, 0, "ValueError", "no", "", 1.0) for split in range(2)
        ]
    )
    search.cv_results_["status"][1] = "failed"
    search.cv_results_["status"][2] = "incomplete"
    assert summary(search, 10) == (
        "The search is complete: 3 candidates, 2 splits each.\n"
        "\n"
        "The best 1 of 1 complete ones by test_score:\n"
        "   2. 0.5 +- 0: {'a': 0}\n"
        "\n"
        "2 failed attempts:\n"
        "  2 x ValueError: no (candidate 1)\n"
    )


@pytest.mark.parametrize(
    ("refit", "metric", "best"),
    [("r2", "test_r2", 2), ("f1", "test_f1", 0), (False, "test_f1", 0), (len, "test_f1", 0)],
    ids=str,
)
def test_the_summary_of_several_metrics_is_by_the_one_of_refit_or_the_first(refit, metric, best):
    search = make_search(refit=refit)
    for name, order in (("f1", [1, 2, 3]), ("r2", [3, 2, 1])):
        search.cv_results_ |= {
            f"mean_test_{name}": np.array([0.1, 0.2, 0.3]),
            f"std_test_{name}": np.zeros(3),
            f"rank_test_{name}": np.array(order, np.int32),
        }
    for part in ("mean", "std", "rank"):
        del search.cv_results_[f"{part}_test_score"]
    lines = summary(search, 10).splitlines()
    assert lines[2] == f"The best 3 of 3 complete ones by {metric}:"
    assert lines[3].startswith("   1.")
    assert lines[3].endswith(f"{{'a': {best}}}")


def test_the_summary_shows_epochs_where_there_are_any():
    search = make_search()
    search.cv_results_["mean_n_epochs"] = np.array([4.0, 7.25, 1.0])
    assert "   1. 0.75 +- 0.125, 7.2 epochs: {'a': 1}\n" in summary(search, 10)


@pytest.mark.parametrize(
    ("stop_reason", "text"),
    [
        ("completed", "The search is complete"),
        ("time_budget", "The time budget of 9.5 s ended the search"),
        ("stop_score", "A score of 0.9 or more ended the search"),
        ("failed_trials", "Too many failed trials ended the search"),
        ("fatal_error", "A fatal error ended the search"),
        ("interrupted", "The search was interrupted"),
        ("error", "An error ended the search"),
    ],
)
def test_the_summary_begins_with_what_ended_the_search(stop_reason, text):
    empty = {"params": [], "status": np.array([], dtype=object)}
    search = make_search(stop_reason_=stop_reason, cv_results_=empty)
    assert summary(search, 10) == f"{text}: 0 candidates, 2 splits each.\n"


# Whole searches


class Scores(ClassifierMixin, BaseEstimator):
    """Scores `scores`, unless `fails` is an error to raise."""

    def __init__(self, scores=0.5, fails=False):
        self.scores, self.fails = scores, fails

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        if self.fails:
            raise self.fails
        return self

    def predict(self, X):
        return np.zeros(len(X))

    def score(self, X, y):
        return self.scores


def of_estimator(name):
    return lambda estimator, X, y: estimator.scores * {"same": 1, "reverse": -1}[name]


X, Y = np.zeros((12, 1)), np.tile([0, 1], 6)


@pytest.mark.filterwarnings("ignore:2 fits failed:sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite:UserWarning")
@pytest.mark.parametrize("error_score", [NAN, 99.0], ids=str)
@pytest.mark.parametrize("several", [False, True])
def test_a_candidate_that_failed_is_last_and_never_the_best(several, error_score):
    search = GuardedGridSearchCV(
        Scores(),
        [{"scores": [0.2, 0.6]}, {"fails": [ValueError("no")]}, {"scores": [0.4]}],
        scoring={n: of_estimator(n) for n in ("same", "reverse")} if several else None,
        refit="reverse" if several else True,
        error_score=error_score,
        cv=2,
    ).fit(X, Y)
    results = search.cv_results_
    assert results["status"].tolist() == ["completed", "completed", "failed", "completed"]
    if several:
        assert results["rank_test_same"].tolist() == [3, 1, 4, 2]
        assert results["rank_test_reverse"].tolist() == [1, 3, 4, 2]
        assert search.best_index_ == 0
    else:
        assert results["rank_test_score"].tolist() == [3, 1, 4, 2]
        assert search.best_index_ == 1
    assert results["split1_status"].tolist()[2] == "failed"
    assert search.histories_ == [[None, None]] * 4


def test_an_incomplete_search_reports_what_had_ended(capsys):
    search = GuardedGridSearchCV(
        Scores(), [{"scores": [0.2, 0.95]}, {"scores": [0.4]}], stop_score=0.9, cv=2
    ).fit(X, Y)
    assert search.stop_reason_ == "stop_score"
    assert search.cv_results_["params"] == [{"scores": 0.2}, {"scores": 0.95}]
    assert search.cv_results_["status"].tolist() == ["completed", "completed"]
    search.results_summary(n=1)
    assert capsys.readouterr().out == (
        "A score of 0.9 or more ended the search: 2 candidates, 2 splits each.\n"
        "\n"
        "The best 1 of 2 complete ones by test_score:\n"
        "   1. 0.95 +- 0: {'scores': 0.95}\n"
    )


def test_a_search_that_was_interrupted_reports_what_had_ended(capsys):
    search = GuardedGridSearchCV(
        Scores(), [{"scores": [0.2]}, {"fails": [KeyboardInterrupt("by hand")]}], cv=2
    )
    with pytest.raises(KeyboardInterrupt, match="by hand"):
        search.fit(X, Y)
    assert search.best_params_ == {"scores": 0.2}
    search.results_summary()
    out = capsys.readouterr().out
    assert out.startswith("The search was interrupted: 1 candidate, 2 splits each.\n")
    assert "   1. 0.2 +- 0: {'scores': 0.2}" in out


def test_there_is_no_summary_before_fit():
    with pytest.raises(AttributeError, match="needs a fitted search"):
        GuardedGridSearchCV(Scores(), {"scores": [0.2]}).results_summary()


def raises_for_half(estimator, X, y):
    if estimator.scores < 0.5:
        raise ValueError("no score")
    return {"same": estimator.scores}


@pytest.mark.filterwarnings("ignore:Scoring failed:UserWarning")
@pytest.mark.filterwarnings("ignore:2 fits failed:sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite:UserWarning")
@pytest.mark.parametrize("scores", [[0.2, 0.6], [0.6, 0.2]], ids=str)
def test_a_function_that_returns_several_scores_may_raise_for_one_candidate(scores):
    search = GuardedGridSearchCV(
        Scores(), {"scores": scores}, scoring=raises_for_half, refit="same", cv=2
    ).fit(X, Y)
    assert search.best_params_ == {"scores": 0.6}
    assert sorted(search.cv_results_["status"]) == ["completed", "failed"]


def names_another_score(estimator, X, y):
    scores = {"same": estimator.scores}
    return scores | {"other": 1.0} if estimator.scores > 0.5 else scores


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite:UserWarning")
@pytest.mark.parametrize("refit", ["same", "other"])
@pytest.mark.parametrize("scores", [[0.2, 0.6], [0.6, 0.2]], ids=str)
def test_a_score_that_one_candidate_lacks_is_nan_there(scores, refit):
    search = GuardedGridSearchCV(
        Scores(), {"scores": scores}, scoring=names_another_score, refit=refit, cv=2
    ).fit(X, Y)
    assert search.best_params_ == {"scores": 0.6}
    np.testing.assert_equal(
        search.cv_results_["mean_test_other"], [1.0 if score > 0.5 else NAN for score in scores]
    )
