"""The names that an estimator takes as parameters, and the checks of them.

An estimator takes its constructor's own parameters (``epochs``), its model function's
arguments (``neurons``), and routed names (``optimizer__learning_rate``), whose first part
decides where the rest is used. Everything here reads the estimator and changes nothing.

`signatures`, `model_function` and `routing` are the parts that do not depend on an estimator's
names; what other packages use of them is importable from here too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

import keras
from sklearn.base import BaseEstimator

from skguard._parameters.model_function import ModelFunction, model_function
from skguard._parameters.routing import (
    KERAS_MODULES,
    accepts,
    build_nested,
    routable_names,
    route,
)
from skguard._parameters.signatures import (
    REQUIRED,
    Signature,
    constructor_signature,
    signature_of,
)
from skguard._suggestions import ask, closest, did_you_mean
from skguard.exceptions import InputTypeError, InputValueError

if TYPE_CHECKING:
    from scikeras.wrappers import BaseWrapper

__all__ = [
    "REQUIRED",
    "ModelFunction",
    "Signature",
    "build_nested",
    "check_call_names",
    "check_names",
    "check_set_names",
    "constructor_names",
    "implied_names",
    "is_estimator",
    "is_free",
    "model_function",
    "nested_holder",
    "route",
    "same_argument",
    "signature_of",
]

_KERAS_METHODS: dict[str, Callable[..., Any]] = {
    "fit": keras.Model.fit,
    "predict": keras.Model.predict,
    "compile": keras.Model.compile,
}
_DATA_ARGUMENTS = frozenset({"self", "x", "y"})


def constructor_names(cls: type) -> dict[str, Any]:
    """Return the constructor parameters of an estimator class and its bases, with defaults.

    ``BaseEstimator._get_param_names`` knows those of the class itself only.
    """
    return _constructor_names(cls)


@functools.cache
def _constructor_names(cls: type) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for base in cls.__mro__:
        if base is BaseEstimator:
            break
        if "__init__" in vars(base):
            arguments = constructor_signature(vars(base)["__init__"]).arguments
            names |= {name: v for name, v in arguments.items() if name not in names}
    return names


def is_free(estimator: BaseWrapper, name: str) -> bool:
    """Return whether model-function argument `name` can be a parameter under its own name.

    One that the estimator itself uses (``optimizer``), or that would hide one of its methods
    (``score``) or look like a fitted attribute, is reachable as ``model__<name>`` only.
    """
    return not (
        name in constructor_names(type(estimator))
        or hasattr(type(estimator), name)
        or name.startswith("_")
        or name.endswith("_")
        or "__" in name
    )


def implied_names(estimator: BaseWrapper) -> dict[str, Any]:
    """Return the model function's arguments that are not stored yet, with their defaults."""
    stored = vars(estimator)
    implied = {}
    for name, default in model_function(estimator).arguments.items():
        key = _shortest_name(estimator, name)
        if key not in stored and f"model__{name}" not in stored:
            implied[key] = default
    return implied


def same_argument(estimator: BaseWrapper, name: str) -> str | None:
    """Return the other spelling of a model-function argument, if it has two.

    ``units`` and ``model__units`` are the same argument.
    """
    arguments = model_function(estimator).arguments
    prefix, _, argument = name.partition("__")
    if prefix == "model" and argument in arguments:
        return argument if is_free(estimator, argument) else None
    if name in arguments and is_free(estimator, name):
        return f"model__{name}"
    return None


def _shortest_name(estimator: BaseWrapper, argument: str) -> str:
    return argument if is_free(estimator, argument) else f"model__{argument}"


def is_estimator(value: Any) -> TypeGuard[BaseEstimator]:
    """Return whether `value` has parameters of its own, in scikit-learn's sense."""
    return hasattr(value, "get_params") and not inspect.isclass(value)


def nested_holder(estimator: BaseWrapper, name: str) -> tuple[BaseEstimator, str] | None:
    """Return the stored parameter that has `name` as its own parameter, and that one's name.

    ``optimizer__learning_rate__decay_rate`` is ``decay_rate`` of ``optimizer__learning_rate``, if
    that is a `skguard.schedules` schedule.
    """
    stored = vars(estimator)
    if name in stored:
        return None
    parts = name.split("__")
    for n in range(len(parts) - 1, 0, -1):
        value = stored.get("__".join(parts[:n]))
        if is_estimator(value):
            return value, "__".join(parts[n:])
    return None


def check_set_names(estimator: BaseWrapper, names: Iterable[str]) -> None:
    """Validate names that ``set_params`` was called with.

    Parameters are set in any order, so ``optimizer__momentum`` is valid here if any optimizer
    of Keras takes a momentum; `build_nested` checks the one that is used when a fit starts.

    Raises
    ------
    InputValueError
        If `estimator` does not take a name. The message has all of them.
    """
    _check_are_taken(estimator, names, lenient=True)


def check_names(estimator: BaseWrapper) -> None:
    """Validate the names of the stored parameters, at the start of ``fit``.

    Raises
    ------
    InputValueError
        If a name is unknown, an argument of the model function is set by two names, or one
        without a default is not set.
    """
    stored = vars(estimator)
    names = _user_names(estimator) & stored.keys()
    names |= {name for name in stored if "__" in name and not name.startswith("_")}
    _check_are_taken(estimator, sorted(names), lenient=False)
    function = model_function(estimator)
    for name in function.arguments:
        _check_is_set_once(estimator, function, name)
        _check_is_given(estimator, function, name)


def check_call_names(method: str, names: Iterable[str]) -> None:
    """Validate the keyword arguments of a call.

    Parameters
    ----------
    method : {"fit", "predict"}
    names : iterable of str

    Raises
    ------
    InputTypeError
        If ``keras.Model`` does not take an argument of that name.
    """
    known = _method_arguments(method)
    for name in names:
        if name not in known:
            raise InputTypeError(
                f"{method}() got an argument that keras.Model.{method} does not take: {name!r}."
                f"{did_you_mean(name, known)}"
            )


def _user_names(estimator: BaseWrapper) -> set[str]:
    # Where scikeras 0.13 records the names that its constructor took as **kwargs.
    return set(getattr(estimator, "_user_params", ()))


def _method_arguments(method: str) -> set[str]:
    return set(signature_of(_KERAS_METHODS[method]).arguments) - _DATA_ARGUMENTS


def _spellings(estimator: BaseWrapper, argument: str) -> list[str]:
    """Return the stored names that set an argument of the model function."""
    names = [argument] if is_free(estimator, argument) else []
    return [name for name in (*names, f"model__{argument}") if name in vars(estimator)]


def _check_is_set_once(estimator: BaseWrapper, function: ModelFunction, argument: str) -> None:
    stored, spellings = vars(estimator), _spellings(estimator, argument)
    if len(spellings) == 2 and stored[spellings[0]] is not stored[spellings[1]]:
        one, other = (f"{name}={stored[name]!r}" for name in spellings)
        raise InputValueError(
            f"{one} and {other} name the same argument of {function.name}. Pass one of them."
        )


def _check_is_given(estimator: BaseWrapper, function: ModelFunction, argument: str) -> None:
    stored = vars(estimator)
    if function.arguments[argument] is not REQUIRED:
        return
    if argument in ("X", "y") and argument not in stored:
        raise InputValueError(
            f"The model function {function.name} takes {argument!r}, as those of keras.wrappers. "
            "Take meta instead, a dict that describes the data: meta['X_shape_'][1:] for "
            "X.shape[1:], meta['n_classes_'] or meta['n_outputs_'] for the number of units."
        )
    if all(stored[name] is REQUIRED for name in _spellings(estimator, argument)):
        key = _shortest_name(estimator, argument)
        raise InputValueError(
            f"The model function {function.name} needs {argument!r} and has no default for it. "
            f"Pass it: {type(estimator).__name__}({function.name}, {key}=...)."
        )


def _check_are_taken(estimator: BaseWrapper, names: Iterable[str], *, lenient: bool) -> None:
    unknown = [name for name in names if not _is_taken(estimator, name, lenient=lenient)]
    if not unknown:
        return
    known = _all_names(estimator) - set(unknown)
    problems = [
        f"{name!r} is not a parameter of this {type(estimator).__name__}."
        f"{_suggestion(estimator, name, known)}"
        for name in unknown
    ]
    raise InputValueError(
        "Invalid parameter: "
        + "\n".join(problems)
        + "\nget_params() lists the valid parameters, the model function's arguments among "
        "them; routed ones start with " + ", ".join(f"{r}__" for r in _routes(estimator)) + "."
    )


def _suggestion(estimator: BaseWrapper, name: str, known: set[str]) -> str:
    corrected = ask(_with_right_prefix(estimator, name))
    return (
        corrected
        or _of_missing_holder(estimator, name)
        or _of_callback(name)
        or did_you_mean(name, known)
    )


def _of_missing_holder(estimator: BaseWrapper, name: str) -> str:
    """Return the advice for an argument of callbacks or metrics where there are none, or empty."""
    kind, _, argument = name.partition("__")
    if kind not in ("callbacks", "metrics") or not argument:
        return ""
    if getattr(estimator, kind, None) not in (None, [], {}, ()):
        return ""
    classes = vars(getattr(keras, kind)).values()
    owners = sorted(
        c.__name__ for c in classes if inspect.isclass(c) and argument in signature_of(c).arguments
    )
    what = f"keras.{kind}.{owners[0]}" if owners else "a class that takes it"
    given = getattr(estimator, kind, None)
    return f" It is for objects in {kind}, and {kind}={given!r} has none. Pass {kind}={what} too."


def _is_taken(estimator: BaseWrapper, name: str, *, lenient: bool) -> bool:
    """Return whether `estimator` takes a name; see `accepts` for `lenient`."""
    holder = nested_holder(estimator, name)
    if holder is not None:
        return holder[1] in holder[0].get_params()
    prefix, is_routed, rest = name.partition("__")
    if not is_routed:
        return _is_plain_name(estimator, name)
    if prefix == "model":
        function = model_function(estimator)
        return rest in function.arguments or (function.is_open and "__" not in rest)
    if prefix in _KERAS_METHODS:
        return _is_method_argument(estimator, prefix, rest, lenient=lenient)
    if prefix in KERAS_MODULES:
        value = getattr(estimator, prefix, None)
        return accepts(prefix, value, rest.split("__"), lenient=lenient)
    # "score", since any scorer may be set, or a route that a subclass adds.
    return prefix in _routes(estimator)


def _is_plain_name(estimator: BaseWrapper, name: str) -> bool:
    function = model_function(estimator)
    if name in constructor_names(type(estimator)):
        return True
    if (name in function.arguments or function.is_open) and is_free(estimator, name):
        return True
    # An attribute that a subclass sets in its constructor.
    return name in vars(estimator) and name not in _user_names(estimator)


def _is_method_argument(estimator: BaseWrapper, method: str, rest: str, *, lenient: bool) -> bool:
    name, _, deeper = rest.partition("__")
    if name == "callbacks" and method != "compile":
        value = getattr(estimator, f"{method}__callbacks", None)
        return not deeper or accepts("callbacks", value, deeper.split("__"), lenient=lenient)
    return name in _method_arguments(method) and not deeper


def _with_right_prefix(estimator: BaseWrapper, name: str) -> list[str]:
    """Return the valid names that differ from `name` in a misspelt or missing first part."""
    prefix, is_routed, rest = name.partition("__")
    routes = _routes(estimator)
    if not is_routed:
        corrected = [f"model__{name}"] if name in model_function(estimator).arguments else []
        corrected += [f"{kind}__{name}" for kind in _kinds_with(estimator, name)]
    elif prefix not in routes:
        corrected = [f"{route}__{rest}" for route in closest(prefix, routes)]
    elif prefix == "optimizer":
        corrected = [f"optimizer__{_FORMER_NAMES.get(rest, rest)}"]
    else:
        return []
    return [name for name in corrected if _is_taken(estimator, name, lenient=True)]


_FORMER_NAMES = {"lr": "learning_rate"}  # of Keras 2


def _kinds_with(estimator: BaseWrapper, argument: str) -> list[str]:
    """Return the parameters that hold a class, or an object of one, with an argument."""
    return [
        kind
        for kind in KERAS_MODULES
        if argument in routable_names(kind, _as_classes(getattr(estimator, kind, None)))
    ]


def _as_classes(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_classes(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_classes(item) for item in value]
    return value if isinstance(value, str) or inspect.isclass(value) else type(value)


def _of_callback(name: str) -> str:
    """Return the advice for the name of a callback's argument, empty for other names."""
    classes = [c for c in vars(keras.callbacks).values() if inspect.isclass(c)]
    owners = sorted(c.__name__ for c in classes if name in signature_of(c).arguments)
    if "__" in name or not owners:
        return ""
    return (
        f" It is an argument of {' and '.join(owners)}: pass callbacks="
        f"keras.callbacks.{owners[0]}({name}=...), or callbacks=keras.callbacks.{owners[0]} and "
        f"callbacks__{name}=..."
    )


def _routes(estimator: BaseWrapper) -> list[str]:
    return sorted(set(estimator._routing_prefixes) | {"callbacks", "score"})


def _all_names(estimator: BaseWrapper) -> set[str]:
    names = set(estimator.get_params(deep=False))
    names |= {f"model__{argument}" for argument in model_function(estimator).arguments}
    for method in _KERAS_METHODS:
        names |= {f"{method}__{argument}" for argument in _method_arguments(method)}
    for kind in KERAS_MODULES:
        routed = routable_names(kind, getattr(estimator, kind, None))
        names |= {f"{kind}__{name}" for name in routed}
    return names
