"""The text of ``results_summary``."""

from __future__ import annotations

from typing import Any

import numpy as np

from skguard.model_selection._status import StopReason
from skguard.model_selection._table import completed_only
from skguard.model_selection._trials import grouped

__all__ = ["summary"]


def summary(search: Any, n: int) -> str:
    """Return why the search ended, its best `n` candidates, and its failures by error.

    Parameters
    ----------
    search : GuardedSearch
        Fitted.
    n : int
    """
    n_candidates = len(search.cv_results_["params"])
    noun = "candidate" if n_candidates == 1 else "candidates"
    lines = [f"{_ended(search)}: {n_candidates} {noun}, {search.n_splits_} splits each."]
    lines += _best_candidates(search, n)
    if search.failed_trials_:
        lines.append(f"\n{len(search.failed_trials_)} failed attempts:")
        lines += ["  " + line for line in grouped(search.failed_trials_)]
    return "\n".join(lines) + "\n"


def _ended(search: Any) -> str:
    return {
        StopReason.COMPLETED: "The search is complete",
        StopReason.TIME_BUDGET: f"The time budget of {search.time_budget} s ended the search",
        StopReason.STOP_SCORE: f"A score of {search.stop_score} or more ended the search",
        StopReason.FAILED_TRIALS: "Too many failed trials ended the search",
        StopReason.FATAL_ERROR: "A fatal error ended the search",
        StopReason.INTERRUPTED: "The search was interrupted",
        StopReason.ERROR: "An error ended the search",
    }[StopReason(search.stop_reason_)]


def _best_candidates(search: Any, n: int) -> list[str]:
    completed, indices = completed_only(search.cv_results_)
    if not len(indices):
        return []
    metric = _metric(search)
    order = np.argsort(completed[f"rank_{metric}"], kind="stable")[:n]
    heading = f"\nThe best {len(order)} of {len(indices)} complete ones by {metric}:"
    return [heading, *(_candidate(completed, metric, index) for index in order)]


def _metric(search: Any) -> str:
    """Return the score that `refit` names, or the first."""
    ranks = [name for name in search.cv_results_ if name.startswith("rank_test_")]
    refit = search.refit if isinstance(search.refit, str) else "score"
    name = f"rank_test_{refit}"
    return (name if name in ranks else ranks[0]).removeprefix("rank_")


def _candidate(results: dict[str, Any], metric: str, index: int) -> str:
    mean, std = results[f"mean_{metric}"][index], results[f"std_{metric}"][index]
    epochs = ""
    if "mean_n_epochs" in results:
        epochs = f", {results['mean_n_epochs'][index]:.1f} epochs"
    params = {
        # NumPy 2 shows its numbers as np.float64(0.5).
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in results["params"][index].items()
    }
    return f"{results[f'rank_{metric}'][index]:>4}. {mean:.6g} +- {std:.3g}{epochs}: {params}"
