"""The columns of ``cv_results_``, and what is read from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from skguard.model_selection._fits import Outcome
from skguard.model_selection._status import CandidateStatus, FitStatus
from skguard.model_selection._trials import Trials

__all__ = [
    "columns",
    "completed_only",
    "histories",
    "metric_names",
    "rank_failed_last",
    "raw_scores",
]

_Outcomes = list[list[Outcome | None]]  # of each candidate on each split


def raw_scores(
    trials: Trials, candidates: Sequence[int], metrics: list[str] | None, with_train: bool
) -> list[dict[str, Any]]:
    """Return for each fit of `candidates` what scikit-learn's search works on.

    Parameters
    ----------
    trials : Trials
    candidates : sequence of int
    metrics : list of str or None
        Names of the scores where there are several.
    with_train : bool
        Whether there are scores on the training samples.

    Returns
    -------
    list of dict
        One for each candidate and split, in order, with ``test_scores``, ``fit_time``,
        ``score_time`` and, if `with_train`, ``train_scores``.
    """
    names = ["test_scores", "train_scores"] if with_train else ["test_scores"]
    error_score = trials.rules.error_score
    return [
        _scores_of_fit(outcome, names, metrics, np.nan if error_score == "raise" else error_score)
        for outcomes in _outcomes(trials, candidates)
        for outcome in outcomes
    ]


def _scores_of_fit(
    outcome: Outcome | None, names: list[str], metrics: list[str] | None, error_score: float
) -> dict[str, Any]:
    if outcome is not None and outcome.scores is not None:
        scores = {name: _by_name(outcome.scores[name], metrics) for name in names}
        return scores | {name: outcome.scores[name] for name in ("fit_time", "score_time")}
    if outcome is None:
        score, fit_time, score_time = np.nan, np.nan, np.nan
    else:
        score, fit_time, score_time = error_score, outcome.seconds, 0.0
    scores = {name: _by_name(score, metrics) for name in names}
    return scores | {"fit_time": fit_time, "score_time": score_time}


def _by_name(scores: Any, metrics: list[str] | None) -> Any:
    """Return one score for each of `metrics`, if there are several."""
    if metrics is None:
        return scores
    if isinstance(scores, dict):  # a scorer need not return the same names each time
        return {name: scores.get(name, np.nan) for name in metrics}
    return dict.fromkeys(metrics, scores)  # the error_score of a scorer that raised


def metric_names(trials: Trials) -> list[str] | None:
    """Return the names in what a scorer returned; None if it returns one score."""
    scores = [trials.outcomes[key].scores for key in sorted(trials.outcomes)]
    named = [s["test_scores"] for s in scores if s and isinstance(s["test_scores"], dict)]
    names = dict.fromkeys(name for by_name in named for name in by_name)
    return list(names) if named else None


def columns(trials: Trials, candidates: Sequence[int]) -> dict[str, Any]:
    """Return the columns that scikit-learn's ``cv_results_`` has not."""
    outcomes = _outcomes(trials, candidates)
    status = [trials.status(candidate).value for candidate in candidates]
    attempts = [[trials.n_attempts[c, s] for s in range(trials.n_splits)] for c in candidates]
    return {
        **_per_split("status", _objects(outcomes, _status)),
        "status": np.array(status, dtype=object),
        **_per_split("attempts", np.array(attempts, dtype=int)),
        "mean_attempts": np.mean(attempts, axis=1),
        **_training_columns(outcomes),
    }


def _training_columns(table: _Outcomes) -> dict[str, np.ndarray]:
    """Return the columns about epochs; none where no Keras estimator was trained."""
    trained = (o for outcomes in table for o in outcomes if o is not None)
    if all(outcome.training.n_epochs is None for outcome in trained):
        return {}
    result: dict[str, np.ndarray] = {}
    for name in ("n_epochs", "best_epoch"):
        values = np.array([[_number(outcome, name) for outcome in outcomes] for outcomes in table])
        result |= _per_split(name, values) | {f"mean_{name}": _mean_of_known(values)}
    reasons = _objects(table, lambda o: None if o is None else o.training.stop_reason)
    return result | _per_split("stop_reason", reasons)


def _outcomes(trials: Trials, candidates: Sequence[int]) -> _Outcomes:
    splits = range(trials.n_splits)
    return [[trials.outcomes.get((c, split)) for split in splits] for c in candidates]


def _status(outcome: Outcome | None) -> str:
    if outcome is None:
        return FitStatus.NOT_RUN.value
    status = FitStatus.COMPLETED if outcome.failure is None else outcome.failure.status
    return status.value


def _number(outcome: Outcome | None, name: str) -> float:
    value = None if outcome is None else getattr(outcome.training, name)
    return np.nan if value is None else float(value)


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Return the means over splits without NaN, and NaN where there is nothing else."""
    known = ~np.isnan(values)
    sums, counts = np.where(known, values, 0).sum(axis=1), known.sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _objects(table: _Outcomes, get: Callable[[Outcome | None], Any]) -> np.ndarray:
    array = np.empty((len(table), len(table[0]) if table else 0), dtype=object)
    for candidate, outcomes in enumerate(table):
        for split, outcome in enumerate(outcomes):
            array[candidate, split] = get(outcome)
    return array


def _per_split(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    return {f"split{split}_{name}": values[:, split] for split in range(values.shape[1])}


def histories(
    trials: Trials, candidates: Sequence[int]
) -> list[list[dict[str, list[float]] | None]]:
    """Return for each candidate and split the history of the Keras estimator, if there is one."""
    return [
        [None if outcome is None else outcome.training.history for outcome in outcomes]
        for outcomes in _outcomes(trials, candidates)
    ]


def rank_failed_last(results: dict[str, Any]) -> None:
    """Set the rank of failed candidates to the worst, whatever their ``error_score``."""
    for name in [name for name in results if name.startswith("rank_test_")]:
        means = results["mean_test_" + name.removeprefix("rank_test_")]
        usable = (results["status"] == CandidateStatus.COMPLETED.value) & ~np.isnan(means)
        if not usable.all():
            n_better = usable.sum() - np.searchsorted(np.sort(means[usable]), means, side="right")
            results[name] = (np.where(usable, n_better, usable.sum()) + 1).astype(np.int32)


def completed_only(results: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
    """Return `results` of the completed candidates alone, and the indices of these."""
    kept = np.flatnonzero(results["status"] == CandidateStatus.COMPLETED.value)
    if len(kept) == len(results["status"]):
        return results, kept
    left = {name: values[kept] for name, values in results.items() if name != "params"}
    return left | {"params": [results["params"][index] for index in kept]}, kept
