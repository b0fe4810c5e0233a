"""Parameters that are given and would have no effect in a fit.

One rule, which the README states. A parameter that defines the model, and that the trained model
would not follow, is an error: results would be attributed to a value that was never used. A
parameter that only qualifies what another one switches off, such as ``n_iter_no_change`` without
``early_stopping``, causes an `UnusedParameterWarning`: the fit is the one that was requested, and
a search may have both in its candidates.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from skguard import _parameters as parameters
from skguard._fit.data import FitInput
from skguard._fit.settings import FitSettings
from skguard._parameters import model_function
from skguard._parameters.given import is_given
from skguard._parameters.routing import as_class
from skguard._parameters.signatures import is_from_keras
from skguard._repairs.compile_arguments import compile_arguments
from skguard._warnings import warn
from skguard.exceptions import InputValueError, UnusedParameterWarning
from skguard.targets._base import Target

__all__ = [
    "ModelParameters",
    "check_compile_parameters",
    "check_is_followed",
    "check_same_model",
    "warn_of_idle",
]

_COMPILE_PREFIXES = ("optimizer__", "loss__", "metrics__", "compile__")
_COMPILE_NAMES = ("optimizer", "metrics", "run_eagerly")  # a loss also encodes y


def check_compile_parameters(estimator: Any, compiled_by_function: bool) -> None:
    """Raise if compile parameters were given that cannot reach the model.

    Raises
    ------
    InputValueError
    """
    function = model_function(estimator)
    if not compiled_by_function or function.may_compile_from_estimator:
        return
    unused = [name for name in vars(estimator) if name.startswith(_COMPILE_PREFIXES)]
    unused += [name for name in _COMPILE_NAMES if is_given(estimator, name)]
    if not unused:
        return
    given = ", ".join(f"{name}={getattr(estimator, name)!r}" for name in sorted(unused))
    if function.call is None:
        raise InputValueError(
            f"{given} would never be used, because the model was compiled before it was passed. "
            "Pass a model that is not compiled, so that the estimator compiles its copies with "
            "these, or compile it with them yourself."
        )
    taken = [f"model__{name}" for name in unused if name in function.arguments]
    if taken:
        advice = f"To pass it to {function.name} as its own argument, use {', '.join(taken)}."
    else:
        advice = (
            "Leave out model.compile(), so that the estimator compiles the model with its "
            "parameters, or let the model function take `compile_kwargs` and call "
            "model.compile(**compile_kwargs), or make the setting an argument of the model "
            "function."
        )
    raise InputValueError(
        f"{given} would never be used, because the model function {function.name} compiles the "
        f"model itself. {advice}"
    )


def check_is_followed(estimator: Any, model: keras.Model) -> None:
    """Raise if a model function took the compile parameters and compiled with others.

    Only for what is certain: optimizers of Keras, since a custom one may hold the one that was
    given, and metrics where the model has none.

    Raises
    ------
    InputValueError
    """
    function = model_function(estimator)
    if not model.compiled or not function.may_compile_from_estimator:
        return
    for kind, instead in (
        ("optimizer", _other_optimizer(estimator, model)),
        ("metrics", _without_metrics(model)),
    ):
        names = [name for name in vars(estimator) if name.startswith(f"{kind}__")]
        names += [kind] if is_given(estimator, kind) else []
        if not names or instead is None or f"compile__{kind}" in vars(estimator):
            continue
        given = ", ".join(f"{name}={getattr(estimator, name)!r}" for name in sorted(names))
        raise InputValueError(
            f"{given} would never be used, because the model function {function.name} compiles "
            f"the model {instead}. Call model.compile(**compile_kwargs) in {function.name}, or "
            "leave it out."
        )


def _other_optimizer(estimator: Any, model: keras.Model) -> str | None:
    given, compiled = _optimizer_class(estimator.optimizer), _optimizer_class(model.optimizer)
    if given is None or compiled is None or given is compiled or not is_from_keras(compiled):
        return None
    return f"with {compiled.__name__}"


def _optimizer_class(value: Any) -> type | None:
    """Return the class of an optimizer, None if that may hold another optimizer."""
    if isinstance(value, keras.optimizers.LossScaleOptimizer):
        value = value.inner_optimizer
    cls = type(value) if isinstance(value, keras.optimizers.Optimizer) else None
    cls = cls or as_class("optimizer", value)
    return None if cls is keras.optimizers.LossScaleOptimizer else cls


def _without_metrics(model: keras.Model) -> str | None:
    passed = compile_arguments(model)
    if passed is None or passed.get("metrics") or passed.get("weighted_metrics"):
        return None
    return "without metrics"


@dataclasses.dataclass(frozen=True, slots=True)
class ModelParameters:
    """Parameters that a model was built and compiled with.

    Parameters
    ----------
    values : mapping of str to object
        By the names ``model__<argument>`` for the arguments of the model function.
    """

    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, estimator: Any) -> ModelParameters:
        """Read the current parameters of an estimator."""
        params = estimator.get_params()
        found = {name: v for name, v in params.items() if name.split("__")[0] in _OF_MODELS}
        function = model_function(estimator)
        free = set(function.arguments)
        if function.is_open:
            free |= set(getattr(estimator, "_user_params", ()))
        for name in free & params.keys():
            if parameters.is_free(estimator, name):
                found.setdefault(f"model__{name}", params[name])
        return cls(found)

    def changed(self, estimator: Any) -> dict[str, tuple[Any, Any]]:
        """Return the values before and now of the parameters that have others now, by name."""
        then, now = self.values, ModelParameters.of(estimator).values
        pairs = {name: (then.get(name), now.get(name)) for name in sorted({*then, *now})}
        return {name: pair for name, pair in pairs.items() if not _same(*pair)}

    def to_pickle(self, estimator: Any) -> ModelParameters:
        """Return a record of nothing but the former values that have changed, as text."""
        changed = self.changed(estimator).items()
        return ModelParameters({name: _Former(repr(then)) for name, (then, _) in changed})

    def unpickled(self, estimator: Any) -> ModelParameters:
        """Return the record whose `to_pickle` this is, for the unpickled `estimator`."""
        return ModelParameters({**ModelParameters.of(estimator).values, **self.values})


_BEFORE_COMPILING = ("build_fn", "inputs", "model", "target")
_OF_MODELS = (*_BEFORE_COMPILING, "compile", "loss", "metrics", "optimizer", "run_eagerly")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Former:
    """A value that a parameter had before it was changed and pickled."""

    text: str

    def __repr__(self) -> str:
        return self.text


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, Target) and type(one) is type(other):
        params, others = one.get_params(deep=False), other.get_params(deep=False)
        return all(_same(params[name], others[name]) for name in params)
    try:
        return bool(np.all(one == other))
    except (TypeError, ValueError):
        return False


def check_same_model(estimator: Any, built_with: ModelParameters) -> None:
    """Raise if a model that continues to train was built with other parameters.

    Raises
    ------
    InputValueError
    """
    changed = built_with.changed(estimator)
    if not estimator.model_.compiled:  # which happens later, with the current parameters
        changed = {k: v for k, v in changed.items() if k.split("__")[0] in _BEFORE_COMPILING}
    if not changed:
        return
    now = ", ".join(f"{name}={value!r}" for name, (_, value) in changed.items())
    then = ", ".join(f"{name}={value!r}" for name, (value, _) in changed.items())
    raise InputValueError(
        f"{now} would never be used, because training continues with the model that was built "
        f"with {then}. Restore that, or start with a new model: fit() with warm_start=False, or a "
        "clone of the estimator. To continue with another learning rate, assign it to "
        "model_.optimizer.learning_rate."
    )


def warn_of_idle(
    estimator: Any, settings: FitSettings, given: FitInput, *, is_partial: bool
) -> None:
    """Warn of parameters that only qualify something that this fit does not do.

    Parameters
    ----------
    estimator : estimator
    settings : FitSettings
    given : FitInput
    is_partial : bool
        Whether it is a call to ``partial_fit``, which never stops early.
    """
    is_supplied = given.X_val is not None or settings.validation_data is not None
    if not settings.early_stopping and not is_partial:
        idle = _given(estimator, "n_iter_no_change", "tol")
        _warn(idle, "early_stopping=False. Pass early_stopping=True")
    if not is_supplied and settings.rule is None:
        idle = _given(estimator, "scoring") | {
            name: settings.arguments[name]
            for name, default in _OF_VALIDATION.items()
            if settings.arguments.get(name, default) != default
        }
        _warn(idle, "the fit has no validation set. Pass validation_fraction=0.1, for instance")
    if estimator.max_retries == 0:
        idle = _given(estimator, "retry_on", "retry_with")
        _warn(idle, "max_retries=0. Pass max_retries=1, for instance")
    if given.groups is not None and (is_supplied or settings.rule is None):
        _warn(
            {"groups": given.groups},
            "groups only divide the samples into training and validation set, which this fit does "
            "not do. Pass validation_split=GroupShuffleSplit(), for instance",
        )


_OF_VALIDATION = {"validation_batch_size": None, "validation_steps": None, "validation_freq": 1}


def _given(estimator: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(estimator, name) for name in names if is_given(estimator, name)}


def _warn(idle: Mapping[str, Any], reason: str) -> None:
    if not idle:
        return
    listed = " and ".join(f"{name}={reprlib.repr(value)}" for name, value in idle.items())
    verb = "has" if len(idle) == 1 else "have"
    without = "it" if len(idle) == 1 else "them"
    warn(
        f"{listed} {verb} no effect, because {reason}, or leave {without} out.",
        UnusedParameterWarning,
    )
