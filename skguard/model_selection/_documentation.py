"""The docstrings of the search classes: texts of what they share, composed by `documented`.

The types and meanings stand here, the defaults in the signatures of the classes.
"""

from __future__ import annotations

import inspect
import textwrap
from typing import TypeVar

__all__ = ["documented"]

_Class = TypeVar("_Class", bound=type)

# Name: type, meaning. The first group is scikit-learn's.
_PARAMETERS = {
    "estimator": (
        "estimator object",
        "Estimator with the scikit-learn interface. It is cloned for each fit, and needs a method "
        "``score`` unless `scoring` is passed.",
    ),
    "param_grid": (
        "dict or list of dict",
        "Values to try for each parameter name. All combinations of a dict are candidates.",
    ),
    "param_distributions": (
        "dict or list of dict",
        "Values, or distributions with a method ``rvs``, to sample from for each parameter name. "
        "Of several dicts one is chosen at random for each candidate.",
    ),
    "n_iter": ("int", "Number of candidates that are sampled."),
    "n_candidates": (
        '"exhaust" or int',
        'Number of candidates that are sampled for the first iteration. "exhaust": as many as '
        "make the last iteration use the maximum of the resource.",
    ),
    "factor": (
        "int or float",
        "Candidates are divided, and their resources multiplied, by this number in each iteration.",
    ),
    "resource": (
        '"n_samples" or str',
        "What increases with each iteration: the number of samples, or a parameter of the "
        "estimator with a positive integer value, such as ``epochs``.",
    ),
    "max_resources": (
        '"auto" or int',
        'Maximum of the resource for a candidate. "auto": the number of samples.',
    ),
    "min_resources": (
        '"exhaust", "smallest" or int',
        'Amount of the resource in the first iteration. "smallest": a small number that depends '
        'on the splits. "exhaust": as large as the maximum in the last iteration allows.',
    ),
    "aggressive_elimination": (
        "bool",
        "Whether the first iteration is repeated, without more resources, until few enough "
        "candidates are left for the last one.",
    ),
    "scoring": (
        "str, callable, list, tuple, dict or None",
        "Scores of the test samples, as in `sklearn.model_selection.cross_validate`. None is the "
        "estimator's own ``score``.",
    ),
    "n_jobs": (
        "int or None",
        "Number of fits that run at once, in worker processes if 2 or more; -1 means all cores. "
        "None means 1 unless in a ``joblib.parallel_config`` context.",
    ),
    "refit": (
        "bool, str or callable",
        "Whether the best candidate is fitted on all samples. With several scores, the name of "
        "the one that decides; a callable gets ``cv_results_`` and returns the best index.",
    ),
    "cv": (
        "int, splitter, iterable or None",
        "Splits of the data: a number of folds, a splitter, or pairs of train and test indices. "
        "None means 5 folds, stratified for classifiers.",
    ),
    "verbose": ("int", "0: no messages; 1: the number of fits; 2 or more: one line per fit."),
    "pre_dispatch": (
        "int or str",
        "Number of fits that are sent to a backend of joblib ahead of time, such as dask's. The "
        "worker processes of the search itself get one fit at a time.",
    ),
    "random_state": (
        "int, RandomState instance or None",
        "Seed of the sampling of candidates or, in successive halving, of samples.",
    ),
    "error_score": (
        '"raise" or float',
        'Score of a fit that failed, retries included. "raise": its error ends the search.',
    ),
    "return_train_score": (
        "bool",
        "Whether ``cv_results_`` has the scores of the training samples, which takes time.",
    ),
    "max_retries_per_trial": (
        "int",
        "Number of times that a failed fit is tried again with the same parameters. A trial is "
        "one candidate on all splits; only the split that failed is tried again. The same number "
        "applies to the refit. `skguard.FailedTrialError`, its counterparts in "
        "Optuna, Ray Tune and KerasTuner, and the errors that a guarded estimator raises about "
        "its input, are never retried.",
    ),
    "max_consecutive_failed_trials": (
        "int or None",
        "Number of consecutive failed trials, in the order of ``cv_results_``, that ends the "
        "search with `skguard.exceptions.TooManyFailedTrialsError`. A trial has failed if one of "
        "its fits has, retries included. Trials that another search has pruned, by Optuna's "
        "``TrialPruned``, are not counted. None means without limit.",
    ),
    "retry_on": (
        "exception class or tuple of exception classes",
        "Errors that are retried. A worker process that dies raises "
        "`skguard.exceptions.WorkerDiedError`, a fit that exceeds `trial_timeout` "
        "`skguard.exceptions.TrialTimeoutError`. Given without `max_retries_per_trial`, it "
        "causes a warning.",
    ),
    "nan_score": (
        '{"fail", "accept"}',
        'Meaning of a score of NaN. "fail": the fit has failed, with '
        '`skguard.exceptions.InvalidScoreError`. "accept": a score, as in scikit-learn. Of '
        "several scores, only the one that `refit` names counts, or all if it names none.",
    ),
    "isolate": ("bool", "Whether fits run in a worker process even with one job at a time."),
    "trial_timeout": (
        "float or None",
        "Limit of one fit, scoring included, in seconds. Its worker process is then killed, and "
        "the fit has failed. Implies `isolate`. Does not apply to the refit, which runs in this "
        "process. None means without limit.",
    ),
    "time_budget": (
        "float or None",
        "Limit of the whole search, in seconds. No fit starts after that time, less the expected "
        "duration of the refit. Keras estimators of this package get the time left as their "
        "``max_fit_seconds``, such that a refit of the same duration and, until a candidate is "
        "complete, the other splits have time too. Those that are cut short have the "
        '``stop_reason`` "time_budget" and a score like others. Other running fits are awaited. '
        "Candidates that are not complete cannot be the best. The refit gets the time left, but "
        "at least twice its expected duration or, if a fit of the best candidate was cut short, "
        "the duration of those fits. It is never cut short before it has as many epochs as the "
        "best candidate had on any split, with a warning where it ends late; ``stop_reason_`` is "
        '"time_budget" if it is cut short after that. None means without limit.',
    ),
    "stop_score": (
        "float or None",
        "The search ends when the mean test score of a candidate reaches this value.",
    ),
    "refit_epochs": (
        '{"best"} or None',
        '"best": refit a Keras estimator of this package on all samples, without a validation '
        "set, for the median over the splits of the best candidate's best number of epochs, "
        "rounded up. Callbacks that read the validation set are left out. None: refit with the "
        "parameters as they are, as in scikit-learn.",
    ),
}

_ATTRIBUTES = {
    "cv_results_": (
        "dict of str to array",
        "As in scikit-learn, with one entry per candidate up to the last of which a fit has "
        'ended. Further columns: ``status`` ("completed", "failed" or, if the search ended early, '
        '"incomplete" or "not_run"); ``split0_status`` ("completed", "failed", "timed_out", '
        '"worker_died" or "not_run"); ``split0_attempts`` and ``mean_attempts``, retries of the '
        "estimator itself included; and for Keras estimators of this package ``split0_n_epochs``, "
        "``split0_best_epoch`` (0-based), their means and ``split0_stop_reason``. Failed "
        "candidates have the last rank.",
    ),
    "failed_trials_": (
        "list of FailedTrial",
        "Every failed attempt, in the order in which they ended, with ``candidate``, ``split``, "
        "``params``, ``attempt``, ``error``, ``message``, ``traceback`` and ``seconds``.",
    ),
    "histories_": (
        "list of list of dict or None",
        "``histories_[candidate][split]`` is the ``history_`` of a Keras estimator, also of one "
        "in a Pipeline.",
    ),
    "stop_reason_": (
        '{"completed", "time_budget", "stop_score", "failed_trials", "fatal_error", '
        '"interrupted", "error"}',
        "Why the search ended.",
    ),
    "best_index_, best_params_, best_score_, best_estimator_, scorer_, n_splits_, refit_time_, "
    "multimetric_": (
        "",
        "As in scikit-learn. A candidate that failed or is not complete is never the best: a "
        "callable `refit` that chooses one is called again with the others alone. After an error "
        "all except the refitted estimator are set, for the fits that had ended.",
    ),
}

_HALVING_ATTRIBUTES = {
    "n_resources_, n_candidates_, n_remaining_candidates_, n_iterations_, "
    "n_required_iterations_, n_possible_iterations_": (
        "",
        "As in scikit-learn, also if the search ended early.",
    ),
}

_NOTES = (
    "With ``n_jobs`` of 2 or more, or `isolate`, fits run in worker processes, which are killed "
    "when the search ends. If a worker dies for any reason, only its current fit fails; a fit "
    "that was in two such deaths is tried the third time while no other fit runs. In a "
    "``joblib.parallel_config`` context with another backend, such as dask, fits run there.",
    "However ``fit`` ends, by an error, `skguard.FatalError` or Ctrl-C, the fits that had ended "
    "are in ``cv_results_`` and ``failed_trials_``. The rules are those of KerasTuner [1]_.",
)
_REFERENCE = ".. [1] https://keras.io/guides/keras_tuner/failed_trials/"

_WIDTH = 96  # of a line, without the indentation of a class


def documented(cls: _Class) -> _Class:
    """Complete the docstring of a search class after its summary."""
    base = next(base for base in cls.__mro__ if base.__module__.startswith("sklearn."))
    signature = inspect.signature(cls)
    parameters = [
        _entry(name, *_with_default(*_PARAMETERS[name], parameter.default))
        for name, parameter in signature.parameters.items()
    ]
    attributes = _ATTRIBUTES | (_HALVING_ATTRIBUTES if "factor" in signature.parameters else {})
    sections = {
        "Parameters": parameters,
        "Attributes": [_entry(name, *texts) for name, texts in attributes.items()],
        "See Also": [f"sklearn.model_selection.{base.__name__} : The base class."],
        "Notes": ["\n\n".join(textwrap.fill(text, _WIDTH) for text in _NOTES)],
        "References": [_REFERENCE],
    }
    body = "\n\n".join(
        f"{title}\n{'-' * len(title)}\n" + "\n".join(entries) for title, entries in sections.items()
    )
    cls.__doc__ = f"{inspect.cleandoc(cls.__doc__ or '')}\n\n{body}\n"
    return cls


def _entry(name: str, kind: str, text: str) -> str:
    heading = f"{name} : {kind}" if kind else name
    return f"{heading}\n" + textwrap.fill(
        text, _WIDTH, initial_indent="    ", subsequent_indent="    "
    )


def _with_default(kind: str, text: str, default: object) -> tuple[str, str]:
    if default is inspect.Parameter.empty:
        return kind, text
    if isinstance(default, str):
        shown = f'"{default}"'
    elif isinstance(default, tuple):
        shown = "(Exception,)"
    elif isinstance(default, float) and default != default:
        shown = "np.nan"
    else:
        shown = repr(default)
    return f"{kind}, default={shown}", text
