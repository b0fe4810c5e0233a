"""What a search tells of its trials: columns of ``cv_results_``, histories, a summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from skguard.model_selection._fits import Outcome
from skguard.model_selection._trials import Trials, grouped

__all__ = ["columns", "completed_only", "histories", "rank_failed_last", "raw_scores", "summary"]


def raw_scores(
    trials: Trials, candidates: Sequence[int], metrics: list[str] | None, with_train: bool
) -> list[dict[str, Any]]:
    """For each fit of `candidates` what scikit-learn's own search would have got.

    Parameters
    ----------
    trials : Trials
    candidates : sequence of int
    metrics : list of str or None
        Names, where there are several scores.
    with_train : bool
        Whether there are scores on the training rows.
    """
    names = ["test_scores", *(["train_scores"] if with_train else []), "fit_time", "score_time"]
    rows = []
    for candidate in candidates:
        for split in range(trials.n_splits):
            outcome = trials.outcomes.get((candidate, split))
            if outcome is not None and outcome.scores is not None:
                row = {name: outcome.scores[name] for name in names}
                if metrics is not None:
                    for name in names[:-2]:
                        row[name] = _scores_by_name(row[name], metrics)
                rows.append(row)
                continue
            score, times = np.nan, (np.nan, np.nan)
            if outcome is not None:
                times = outcome.seconds, 0.0
                if trials.rules.error_score != "raise":
                    score = trials.rules.error_score
            scores = score if metrics is None else dict.fromkeys(metrics, score)
            n_scores = len(names) - 2
            rows.append(dict(zip(names, [scores] * n_scores + list(times), strict=True)))
    return rows


def _scores_by_name(scores: Any, metrics: list[str]) -> dict[str, Any]:
    if isinstance(scores, dict):  # which a scorer need not fill in the same way each time
        return {name: scores.get(name, np.nan) for name in metrics}
    return dict.fromkeys(metrics, scores)  # the error_score of a scorer that raised


def metric_names(trials: Trials) -> list[str] | None:
    """What a scorer returned that names its scores itself; None if it returns one score."""
    scores = [trials.outcomes[key].scores for key in sorted(trials.outcomes)]
    named = [s["test_scores"] for s in scores if s and isinstance(s["test_scores"], dict)]
    names = dict.fromkeys(name for by_name in named for name in by_name)
    return list(names) if named else None


def columns(trials: Trials, candidates: Sequence[int]) -> dict[str, Any]:
    """The columns that a guarded search adds."""
    table = [
        [trials.outcomes.get((candidate, split)) for split in range(trials.n_splits)]
        for candidate in candidates
    ]
    attempts = [[trials.n_attempts[c, s] for s in range(trials.n_splits)] for c in candidates]
    result = _per_split("status", _objects(table, _status))
    result["status"] = np.array([trials.status(c) for c in candidates], dtype=object)
    result |= _per_split("attempts", np.array(attempts, dtype=int)) | {
        "mean_attempts": np.mean(attempts, axis=1)
    }
    trained = [o for row in table for o in row if o is not None and o.training.n_epochs is not None]
    if not trained:
        return result
    for name in ("n_epochs", "best_epoch"):
        values = np.array([[_number(o, name) for o in row] for row in table])
        known = ~np.isnan(values)
        sums, counts = np.where(known, values, 0).sum(axis=1), known.sum(axis=1)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        result |= _per_split(name, values) | {f"mean_{name}": means}
    reasons = _objects(table, lambda o: None if o is None else o.training.stop_reason)
    return result | _per_split("stop_reason", reasons)


def _status(outcome: Outcome | None) -> str:
    if outcome is None:
        return "not_run"
    return "completed" if outcome.failure is None else outcome.failure.status


def _number(outcome: Outcome | None, name: str) -> float:
    value = None if outcome is None else getattr(outcome.training, name)
    return np.nan if value is None else float(value)


def _objects(table: list[list[Any]], get: Callable[[Any], Any]) -> np.ndarray:
    array = np.empty((len(table), len(table[0]) if table else 0), dtype=object)
    for row, outcomes in enumerate(table):
        for split, outcome in enumerate(outcomes):
            array[row, split] = get(outcome)
    return array


def _per_split(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    return {f"split{split}_{name}": values[:, split] for split in range(values.shape[1])}


def histories(
    trials: Trials, candidates: Sequence[int]
) -> list[list[dict[str, list[float]] | None]]:
    """For each candidate and split what the Keras estimator logged, where there is one."""
    found = []
    for candidate in candidates:
        outcomes = [trials.outcomes.get((candidate, split)) for split in range(trials.n_splits)]
        found.append([None if o is None else o.training.history for o in outcomes])
    return found


def rank_failed_last(results: dict[str, Any]) -> None:
    """Give candidates that failed the worst rank, whatever ``error_score`` made of them."""
    for name in [name for name in results if name.startswith("rank_test_")]:
        means = results["mean_test_" + name.removeprefix("rank_test_")]
        usable = (results["status"] == "completed") & ~np.isnan(means)
        if not usable.all():
            n_better = usable.sum() - np.searchsorted(np.sort(means[usable]), means, side="right")
            results[name] = (np.where(usable, n_better, usable.sum()) + 1).astype(np.int32)


def completed_only(results: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
    """`results` without candidates that failed or are not complete, and which are left."""
    kept = np.flatnonzero(results["status"] == "completed")
    if len(kept) == len(results["status"]):
        return results, kept
    left = {name: values[kept] for name, values in results.items() if name != "params"}
    return left | {"params": [results["params"][row] for row in kept]}, kept


def summary(search: Any, n: int) -> str:
    """The text of ``results_summary``."""
    results = search.cv_results_
    n_candidates = len(results["params"])
    ended = {
        "completed": "The search is complete",
        "time_budget": f"The time budget of {search.time_budget} s ended the search",
        "stop_score": f"A score of {search.stop_score} or more ended the search",
        "failed_trials": "Too many failed trials ended the search",
        "fatal_error": "A fatal error ended the search",
        "interrupted": "The search was interrupted",
        "error": "An error ended the search",
    }[search.stopped_]
    noun = "candidate" if n_candidates == 1 else "candidates"
    lines = [f"{ended}: {n_candidates} {noun}, {search.n_splits_} splits each."]
    if (results["status"] == "completed").any():
        names = [name.removeprefix("rank_") for name in results if name.startswith("rank_test_")]
        refit = search.refit if isinstance(search.refit, str) else "score"
        metric = f"test_{refit}" if f"test_{refit}" in names else names[0]
        kept, rows = completed_only(results)
        order = np.argsort(kept[f"rank_{metric}"], kind="stable")[:n]
        lines.append(f"\nThe best {len(order)} of {len(rows)} complete ones by {metric}:")
        for place in order:
            mean, std = kept[f"mean_{metric}"][place], kept[f"std_{metric}"][place]
            epochs = ""
            if "mean_n_epochs" in kept:
                epochs = f", {kept['mean_n_epochs'][place]:.1f} epochs"
            rank = kept[f"rank_{metric}"][place]
            # NumPy's numbers as plain ones
            params = {
                name: value.item() if isinstance(value, np.generic) else value
                for name, value in kept["params"][place].items()
            }
            lines.append(f"{rank:>4}. {mean:.6g} +- {std:.3g}{epochs}: {params}")
    if search.failed_trials_:
        lines.append(f"\n{len(search.failed_trials_)} failed attempts:")
        lines += ["  " + line for line in grouped(search.failed_trials_)]
    return "\n".join(lines) + "\n"
