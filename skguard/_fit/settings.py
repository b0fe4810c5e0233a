"""Settings of one fit: read from an estimator and validated once, before any other work."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scikeras._utils import route_params
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer_names

from skguard import _engine as engine
from skguard import _parameters as parameters
from skguard._fit import attempts, validation
from skguard._fit.attempts import RetryRule
from skguard._repairs import seeding
from skguard._suggestions import did_you_mean
from skguard.exceptions import InputValueError

__all__ = ["FitSettings"]

_VALIDATION_FRACTION = 0.1  # of early stopping, as in scikit-learn


@dataclasses.dataclass(frozen=True, slots=True)
class FitSettings:
    """Validated parameters of an estimator and arguments of one call to ``fit``.

    Parameters
    ----------
    resume : bool
        Whether training continues with the model that the estimator has.
    is_classifier : bool
    seed : int or None
        Of everything random.
    engine : {"auto", "fused", "keras"}
    epochs, initial_epoch : int
        Number of epochs of this call, and of those before it.
    arguments : dict
        Other arguments of ``keras.Model.fit``.
    callbacks : object
        Callbacks of this call alone.
    validation_data : object
        As in ``keras.Model.fit``, or None.
    rule : ValidationRule or None
        Sets samples aside where no validation data is given.
    class_weight : dict, "balanced" or None
    early_stopping : bool
    n_iter_no_change : int
    tol : float
    scoring : str, callable or None
    on_nan : {"fail", "stop", "ignore"}
    max_fit_seconds : float or None
    retries : RetryRule
        Without a deadline.
    """

    resume: bool
    is_classifier: bool
    seed: int | None
    engine: str
    epochs: int
    initial_epoch: int
    arguments: Mapping[str, Any]
    callbacks: Any
    validation_data: Any
    rule: validation.ValidationRule | None
    class_weight: Any
    early_stopping: bool
    n_iter_no_change: int
    tol: float
    scoring: Any
    on_nan: str
    max_fit_seconds: float | None
    retries: RetryRule

    @classmethod
    def of(cls, estimator: Any, call: Mapping[str, Any], *, resume: bool) -> FitSettings:
        """Read and validate the settings of a fit.

        Parameters
        ----------
        estimator : estimator
        call : mapping
            Keyword arguments of ``fit``, which take precedence over the parameters.
        resume : bool

        Raises
        ------
        InputTypeError
            If ``fit`` was called with an argument that Keras does not have.
        InputValueError
            If parameters do not exist or cannot be used; all problems are in the message.
        """
        parameters.check_call_names("fit", call)
        arguments = route_params(
            estimator.get_params(), destination="fit", pass_filter=estimator._fit_kwargs
        )
        arguments = {k: v for k, v in arguments.items() if not k.startswith("callbacks")} | {
            k: v for k, v in call.items() if k != "callbacks"
        }
        _check(estimator, arguments)
        is_classifier = isinstance(estimator, ClassifierMixin)
        class_weight = _pop_class_weight(estimator, arguments)
        validation_split = arguments.pop("validation_split", None)
        fraction = estimator.validation_fraction
        needs_validation = estimator.early_stopping and not validation.is_set(validation_split)
        if needs_validation and fraction is None:
            fraction = _VALIDATION_FRACTION
        return cls(
            resume=resume,
            is_classifier=is_classifier,
            seed=seeding.resolve(estimator.random_state),
            engine=estimator.engine,
            epochs=arguments.pop("epochs"),
            initial_epoch=arguments.get("initial_epoch", 0),
            arguments={k: v for k, v in arguments.items() if k not in _NOT_PASSED_ON},
            callbacks=call.get("callbacks"),
            validation_data=arguments.get("validation_data"),
            rule=validation.choose_rule(validation_split, fraction, is_classifier),
            class_weight=class_weight,
            early_stopping=bool(estimator.early_stopping),
            n_iter_no_change=estimator.n_iter_no_change,
            tol=estimator.tol,
            scoring=estimator.scoring,
            on_nan=estimator.on_nan,
            max_fit_seconds=estimator.max_fit_seconds,
            # A model that was trained before cannot be trained again from scratch.
            retries=RetryRule(
                0 if resume else estimator.max_retries, estimator.retry_on, estimator.retry_with
            ),
        )


_NOT_PASSED_ON = ("initial_epoch", "sample_weight", "validation_data")


def _pop_class_weight(estimator: Any, arguments: dict[str, Any]) -> Any:
    """Return the class weights that become sample weights, by label; others are left to Keras."""
    if isinstance(estimator, RegressorMixin) and arguments.get("class_weight") is not None:
        raise InputValueError(
            f"class_weight={arguments['class_weight']!r} is for classifiers, and y of "
            f"{type(estimator).__name__} holds numbers. Pass sample_weight."
        )
    if not isinstance(estimator, ClassifierMixin):
        return None
    given = arguments.pop("class_weight", None)
    return getattr(estimator, "class_weight", None) if given is None else given


def _check(estimator: Any, arguments: Mapping[str, Any]) -> None:
    problems = [
        *_problems_of_names(estimator),
        *_problems_of_numbers(estimator, arguments),
        *_problems_of_choices(estimator, arguments),
        *_problems_of_scoring(estimator.scoring),
        *validation.problems(arguments.get("validation_split"), estimator.validation_fraction),
        *attempts.check_rule(estimator.max_retries, estimator.retry_on, estimator.retry_with),
    ]
    if problems:
        raise InputValueError("\n".join(problems))


def _problems_of_names(estimator: Any) -> list[str]:
    checks: list[tuple[Callable[[Any], object], Any]] = [
        (parameters.check_names, estimator),
        (seeding.resolve, estimator.random_state),
        (engine.check_engine, estimator.engine),
    ]
    problems = []
    for check, value in checks:
        try:
            check(value)
        except ValueError as error:
            problems.append(str(error))
    return problems


@dataclasses.dataclass(frozen=True, slots=True)
class _Range:
    """Allowed values of a numeric parameter."""

    kind: type
    advice: str
    minimum: float = -math.inf
    above: float = -math.inf
    below: float = math.nan
    is_optional: bool = False
    special: float | None = None

    def contains(self, value: Any) -> bool:
        if value is None:
            return self.is_optional
        if not isinstance(value, self.kind) or isinstance(value, bool):
            return False
        number = float(value)  # type: ignore[arg-type]
        in_range = number >= self.minimum and number > self.above and not number >= self.below
        return in_range or number == self.special


_RANGES = {
    "epochs": _Range(numbers.Integral, "must be an int of 1 or more.", minimum=1),
    "batch_size": _Range(
        numbers.Integral,
        "must be an int of 1 or more, None for 32 samples, or -1 for all samples at once.",
        minimum=1,
        is_optional=True,
        special=-1,
    ),
    "validation_batch_size": _Range(
        numbers.Integral,
        "must be an int of 1 or more, None for batch_size, or -1 for all samples at once.",
        minimum=1,
        is_optional=True,
        special=-1,
    ),
    "initial_epoch": _Range(numbers.Integral, "must be an int of 0 or more.", minimum=0),
    "steps_per_epoch": _Range(
        numbers.Integral,
        "must be an int of 1 or more, or None for all samples.",
        minimum=1,
        is_optional=True,
    ),
    "validation_steps": _Range(
        numbers.Integral,
        "must be an int of 1 or more, or None for all samples of the validation set.",
        minimum=1,
        is_optional=True,
    ),
    "n_iter_no_change": _Range(
        numbers.Integral, "must be a number of epochs, an int of 1 or more.", minimum=1
    ),
    "tol": _Range(
        numbers.Real, "must be a finite number of 0.0 or more.", minimum=0.0, below=math.inf
    ),
    "max_fit_seconds": _Range(
        numbers.Real, "must be a positive number of seconds, or None.", above=0.0, is_optional=True
    ),
}


def _problems_of_numbers(estimator: Any, arguments: Mapping[str, Any]) -> list[str]:
    defaults = {"initial_epoch": 0}
    values = {
        name: arguments.get(name, getattr(estimator, name, defaults.get(name))) for name in _RANGES
    }
    return [
        f"{name}={values[name]!r} {allowed.advice}"
        for name, allowed in _RANGES.items()
        if not allowed.contains(values[name])
    ]


_CHOICES: dict[str, tuple[tuple[Any, ...], str]] = {
    "early_stopping": ((True, False), "must be True or False. Pass a callback as callbacks=."),
    "on_nan": (engine.ON_NAN, f"must be one of {', '.join(map(repr, engine.ON_NAN))}."),
    "run_eagerly": ((True, False), "must be True or False."),
    "shuffle": (
        (True, False, "batch"),
        'must be True, False or "batch". Pass a seed as random_state=.',
    ),
    "verbose": (
        (0, 1, 2, "auto", True, False),
        'must be 0 (silent), 1 (progress bar), 2 (one line per epoch) or "auto".',
    ),
    "warm_start": (
        (True, False),
        "must be True or False. Pass a trained model as model=, to start every fit from a copy.",
    ),
}


def _problems_of_choices(estimator: Any, arguments: Mapping[str, Any]) -> list[str]:
    values = {name: arguments.get(name, getattr(estimator, name)) for name in _CHOICES}
    problems = [
        f"{name}={values[name]!r} {advice}"
        for name, (choices, advice) in _CHOICES.items()
        if not any(_is_choice(values[name], choice) for choice in choices)
    ]
    if arguments.get("sample_weight") is not None:
        problems.append(
            "fit__sample_weight would never be used, because weights belong to samples. Pass "
            "fit(X, y, sample_weight=...)."
        )
    return problems


def _is_choice(value: Any, choice: Any) -> bool:
    """Return whether `value` is `choice`, which 1 is not if `choice` is True."""
    if isinstance(value, np.generic):
        value = value.item()
    return type(value) is type(choice) and value == choice


def _problems_of_scoring(scoring: Any) -> list[str]:
    if scoring is None or callable(scoring):
        return []
    if not isinstance(scoring, str):
        return [
            f"scoring={scoring!r} must be a scorer or the name of one, such as 'roc_auc', or None."
        ]
    known = get_scorer_names()
    if scoring in known:
        return []
    advice = did_you_mean(scoring, known) or (
        " sklearn.metrics.get_scorer_names() lists the valid names."
    )
    return [f"scoring={scoring!r} is not the name of a scikit-learn scorer.{advice}"]
