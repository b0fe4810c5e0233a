"""What names an estimator takes, and where each of them goes.

An estimator takes its constructor's own parameters (``epochs``), its model function's
arguments (``neurons``), and routed names (``optimizer__learning_rate``), whose first part
says who gets the rest. Everything here reads the estimator and changes nothing.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import keras
from sklearn.base import BaseEstimator

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

FROM_ESTIMATOR = frozenset({"meta", "compile_kwargs", "params"})
"""What a model function is given by the estimator itself where it asks for it."""

_KERAS_METHODS: dict[str, Callable[..., Any]] = {
    "fit": keras.Model.fit,
    "predict": keras.Model.predict,
    "compile": keras.Model.compile,
}
_KERAS_MODULES = {
    "optimizer": keras.optimizers,
    "loss": keras.losses,
    "metrics": keras.metrics,
    "callbacks": keras.callbacks,
}
_DATA_ARGUMENTS = frozenset({"self", "x", "y"})


class _Required:
    """Stands for the value of an argument that has no default and was not given yet."""

    def __repr__(self) -> str:
        return "<required>"

    def __reduce__(self) -> str:
        return "REQUIRED"

    def __bool__(self) -> bool:
        return False


REQUIRED = _Required()


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """The arguments that a callable takes by name.

    Parameters
    ----------
    arguments : dict
        Name to default, `REQUIRED` where there is none, in order.
    is_open : bool
        Whether it takes any further name.
    """

    arguments: dict[str, Any]
    is_open: bool = False

    def takes(self, name: str) -> bool:
        return self.is_open or name in self.arguments


def signature_of(callable_: Any) -> Signature:
    """The arguments of a function, method, class, partial, or object with ``__call__``."""
    if isinstance(callable_, type):
        return _class_signature(callable_)
    if isinstance(callable_, functools.partial):
        inner = signature_of(callable_.func)
        positional = list(inner.arguments)[: len(callable_.args)]
        arguments = {k: v for k, v in inner.arguments.items() if k not in positional}
        return Signature(arguments | callable_.keywords, inner.is_open)
    try:
        return _as_signature(inspect.signature(callable_).parameters.values())
    except ValueError:  # a builtin that does not tell
        return Signature({}, is_open=True)


@functools.lru_cache(maxsize=256)
def _class_signature(cls: type) -> Signature:
    """The names that `cls` and, through its ``**kwargs``, its bases take.

    ``inspect.signature`` of a Keras class shows ``*args, **kwargs`` only, because Keras wraps
    object creation.
    """
    arguments: dict[str, Any] = {}
    is_open = False
    for base in cls.__mro__:
        init = vars(base).get("__init__")
        if not isinstance(init, types.FunctionType):
            continue
        own = _as_signature(list(inspect.signature(init).parameters.values())[1:])
        arguments |= {k: v for k, v in own.arguments.items() if k not in arguments}
        # Keras's own constructors refuse what they do not know, so their **kwargs is none.
        is_open |= own.is_open and not _is_keras(base)
        # keras.Model inherits from trainers without arguments before it does from Layer.
        if not own.is_open and (own.arguments or not _is_keras(base)):
            break
    return Signature(arguments, is_open)


def _as_signature(parameters: Iterable[inspect.Parameter]) -> Signature:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = list(parameters)
    return Signature(
        {
            p.name: REQUIRED if p.default is inspect.Parameter.empty else p.default
            for p in parameters
            if p.kind in named
        },
        any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters),
    )


def _is_keras(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "keras"


@dataclasses.dataclass(frozen=True, slots=True)
class ModelFunction:
    """What builds the model, and which names it is called with.

    Parameters
    ----------
    call : callable or None
        None where ``model`` is a ``keras.Model`` instance, or is not usable.
    name : str
        For messages.
    arguments : dict
        The arguments that are hyperparameters: name to default.
    is_open : bool
        Whether it takes any name.
    from_estimator : frozenset of str
        Which of ``meta``, ``compile_kwargs`` and ``params`` it is given.
    sees_estimator : bool
        Whether it is a method of the estimator, and so can read every parameter.
    """

    call: Callable[..., keras.Model] | None
    name: str
    arguments: dict[str, Any]
    is_open: bool = False
    from_estimator: frozenset[str] = frozenset()
    sees_estimator: bool = False

    @property
    def may_compile_from_estimator(self) -> bool:
        """Whether the estimator's compile parameters can reach the model through it."""
        return self.sees_estimator or bool(self.from_estimator & {"compile_kwargs", "params"})


def model_function(estimator: Any) -> ModelFunction:
    """The model function of `estimator`; never raises, so that ``get_params`` cannot."""
    model = estimator.model if estimator.model is not None else estimator.build_fn
    sees_estimator = model is None
    if model is None:
        model = getattr(estimator, "_keras_build_fn", None)
    if model is None or isinstance(model, keras.Model) or not callable(model):
        return ModelFunction(None, type(model).__name__, {})
    signature = signature_of(model)
    named = signature.arguments.keys() & FROM_ESTIMATOR
    innermost = model
    while isinstance(innermost, functools.partial):
        innermost = innermost.func
    # A class with **kwargs hands them to keras.Model, which takes none of these.
    given = FROM_ESTIMATOR if signature.is_open and not inspect.isclass(innermost) else named
    others = set(FROM_ESTIMATOR)
    if inspect.isclass(innermost):  # the name, dtype and so on of any layer tune nothing
        others |= signature_of(keras.layers.Layer).arguments.keys()
    return ModelFunction(
        call=model,
        name=getattr(model, "__name__", None) or type(model).__name__,
        arguments={k: v for k, v in signature.arguments.items() if k not in others},
        is_open=signature.is_open,
        from_estimator=frozenset(given),
        sees_estimator=sees_estimator or getattr(model, "__self__", None) is estimator,
    )


def constructor_names(cls: Any) -> dict[str, Any]:
    """The named constructor parameters of an estimator class, its bases' included."""
    return _constructor_names(cls)


@functools.cache
def _constructor_names(cls: type) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for base in cls.__mro__:
        if base is BaseEstimator:
            break
        if "__init__" in vars(base):
            parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
            for name, default in _as_signature(parameters).arguments.items():
                names.setdefault(name, default)
    return names


def is_free(estimator: Any, name: str) -> bool:
    """Whether model-function argument `name` can be a parameter under its own name.

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


def implied_names(estimator: Any) -> dict[str, Any]:
    """The model function's arguments that nothing was stored for, with their defaults."""
    stored = vars(estimator)
    implied = {}
    for name, default in model_function(estimator).arguments.items():
        key = name if is_free(estimator, name) else f"model__{name}"
        if key not in stored and f"model__{name}" not in stored:
            implied[key] = default
    return implied


def same_argument(estimator: Any, name: str) -> str | None:
    """The other spelling of a model-function argument: ``units`` and ``model__units``."""
    prefix, _, argument = name.partition("__")
    if prefix == "model" and argument in model_function(estimator).arguments:
        return argument if is_free(estimator, argument) else None
    if not argument and name in model_function(estimator).arguments and is_free(estimator, name):
        return f"model__{name}"
    return None


def route(params: Mapping[str, Any], destination: str) -> dict[str, Any]:
    """The parameters under ``destination__``, without that prefix."""
    prefix = f"{destination}__"
    return {k[len(prefix) :]: v for k, v in params.items() if k.startswith(prefix)}


def check_set_names(estimator: Any, names: Iterable[str]) -> None:
    """Refuse, in ``set_params``, names that `estimator` does not take.

    Parameters are set in any order, so ``optimizer__momentum`` passes here as long as some
    optimizer of Keras takes a momentum; `build_nested` asks the true one when a fit starts.
    """
    _refuse(estimator, [n for n in names if not _is_taken(estimator, n, lenient=True)])


def check_names(estimator: Any) -> None:
    """Refuse, at the start of ``fit``, stored names that nothing takes or given twice."""
    stored = vars(estimator)
    candidates = getattr(estimator, "_user_params", set()) & stored.keys()
    candidates |= {name for name in stored if "__" in name and not name.startswith("_")}
    _refuse(estimator, [n for n in sorted(candidates) if not _is_taken(estimator, n)])
    function = model_function(estimator)
    for name, default in function.arguments.items():
        spelled = [n for n in (name, f"model__{name}") if n in stored]
        if not is_free(estimator, name):
            spelled = [n for n in spelled if n != name]
        if len(spelled) == 2 and stored[name] is not stored[spelled[1]]:
            raise ValueError(
                f"{name}={stored[name]!r} and model__{name}={stored[spelled[1]]!r} name the same "
                f"argument of {function.name}. Give one of them."
            )
        key = name if is_free(estimator, name) else f"model__{name}"
        if all(stored[n] is REQUIRED for n in spelled) and default is REQUIRED:
            raise ValueError(
                f"The model function {function.name} needs {name!r} and has no default for it. "
                f"Pass it: {type(estimator).__name__}({function.name}, {key}=...)."
            )


def check_call_names(method: str, names: Iterable[str]) -> None:
    """Refuse keyword arguments of ``fit`` or ``predict`` that Keras would not take."""
    known = sorted(set(signature_of(_KERAS_METHODS[method]).arguments) - _DATA_ARGUMENTS)
    for name in names:
        if name not in known:
            raise TypeError(
                f"{method}() got an argument that keras.Model.{method} does not take: {name!r}."
                f"{_did_you_mean(name, known)}"
            )


def _refuse(estimator: Any, unknown: list[str]) -> None:
    if not unknown:
        return
    known = _all_names(estimator) - set(unknown)
    problems = [
        f"{name!r} is not a parameter of this {type(estimator).__name__}."
        f"{_ask(_right_prefix(estimator, name)) or _did_you_mean(name, known)}"
        for name in unknown
    ]
    raise ValueError(
        "Invalid parameter: "
        + "\n".join(problems)
        + "\nget_params() lists the valid parameters, the model function's arguments among "
        "them; routed ones start with " + ", ".join(f"{r}__" for r in _routes(estimator)) + "."
    )


def _right_prefix(estimator: Any, name: str) -> list[str]:
    """The names that `name` would be if only its first part were misspelt or missing."""
    prefix, routed, rest = name.partition("__")
    routes = _routes(estimator)
    if not routed:
        corrected = [f"model__{name}"] if name in model_function(estimator).arguments else []
    elif prefix not in routes:
        corrected = [f"{route}__{rest}" for route in _closest(prefix, routes)]
    else:
        return []
    return [name for name in corrected if _is_taken(estimator, name, lenient=True)]


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    return _ask(_closest(name, known))


def _closest(name: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)


def _ask(names: Sequence[str]) -> str:
    return f" Did you mean {' or '.join(map(repr, names))}?" if names else ""


def _routes(estimator: Any) -> list[str]:
    return sorted(set(estimator._routing_prefixes) | {"callbacks", "score"})


def _all_names(estimator: Any) -> set[str]:
    names = set(estimator.get_params(deep=False))
    names |= {f"model__{argument}" for argument in model_function(estimator).arguments}
    for method, function in _KERAS_METHODS.items():
        names |= {f"{method}__{a}" for a in signature_of(function).arguments} - {
            f"{method}__{a}" for a in _DATA_ARGUMENTS
        }
    for kind in _KERAS_MODULES:
        names |= {f"{kind}__{a}" for a in _names_of(kind, getattr(estimator, kind, None))}
    return names


def _names_of(kind: str, value: Any) -> set[str]:
    """The routed names that `value` takes, for suggestions."""
    cls = as_class(kind, value)
    if cls is not None:
        return set(signature_of(cls).arguments)
    if isinstance(value, Mapping):
        items: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return set()
    names: set[str] = set()
    for key, item in items:
        inner = _names_of(kind, item)
        names |= inner | {f"{key}__{name}" for name in inner}
    return names


def _is_taken(estimator: Any, name: str, *, lenient: bool = False) -> bool:
    prefix, routed, rest = name.partition("__")
    function = model_function(estimator)
    holder = nested_holder(estimator, name)
    if holder is not None:
        return holder[1] in holder[0].get_params()
    if not routed:
        return (
            name in constructor_names(type(estimator))
            or (name in function.arguments and is_free(estimator, name))
            or (function.is_open and is_free(estimator, name))
            or (name in vars(estimator) and name not in getattr(estimator, "_user_params", ()))
        )
    if prefix == "model":
        return rest in function.arguments or (function.is_open and "__" not in rest)
    if prefix == "score":
        return True
    if prefix in _KERAS_METHODS:
        inner, _, deeper = rest.partition("__")
        if inner == "callbacks" and prefix != "compile":
            value = getattr(estimator, f"{prefix}__callbacks", None)
            return not deeper or _accepts("callbacks", value, deeper.split("__"), lenient)
        known = signature_of(_KERAS_METHODS[prefix]).arguments.keys() - _DATA_ARGUMENTS
        return inner in known and not deeper
    if prefix in _KERAS_MODULES:
        return _accepts(prefix, getattr(estimator, prefix, None), rest.split("__"), lenient)
    return prefix in _routes(estimator)  # a subclass added a route of its own


def nested_holder(estimator: Any, name: str) -> tuple[Any, str] | None:
    """The parameter that has `name` as a parameter of its own, and what it calls it.

    ``optimizer__learning_rate__initial`` is ``initial`` of ``optimizer__learning_rate``, where
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


def is_estimator(value: Any) -> TypeGuard[BaseEstimator]:
    """Whether `value` has parameters of its own, in scikit-learn's sense."""
    return hasattr(value, "get_params") and not inspect.isclass(value)


def _accepts(kind: str, value: Any, path: Sequence[str], lenient: bool) -> bool:
    """Whether the class at `path` within `value` takes the last name of `path`."""
    if lenient and path[-1] in _names_in_keras(kind):
        return True
    head, *rest = path
    cls = as_class(kind, value)
    if cls is not None:
        return head.isdigit() or bool(rest) or signature_of(cls).takes(head)
    if isinstance(value, Mapping):
        if head in {str(key) for key in value} and rest:
            return _accepts(kind, next(v for k, v in value.items() if str(k) == head), rest, False)
        return any(_accepts(kind, item, path, False) for item in value.values())
    if isinstance(value, list | tuple):
        if head.isdigit() and rest:
            return int(head) < len(value) and _accepts(kind, value[int(head)], rest, False)
        return any(_accepts(kind, item, path, False) for item in value)
    # An instance or a function: build_nested says that it takes nothing, and what would.
    return value is not None and not lenient


@functools.cache
def _names_in_keras(kind: str) -> frozenset[str]:
    classes = [c for c in vars(_KERAS_MODULES[kind]).values() if inspect.isclass(c)]
    return frozenset(name for cls in classes for name in signature_of(cls).arguments)


def as_class(kind: str, value: Any) -> type | None:
    """The class that `value` stands for, if it is one or the Keras name of one."""
    if inspect.isclass(value):
        return value
    if not isinstance(value, str) or kind == "callbacks":
        return None
    module = _KERAS_MODULES[kind]
    if kind == "optimizer":
        try:
            return type(keras.optimizers.get(value))
        except ValueError:
            return None
    known = _get(module, value)  # a function, or an object of the class
    for name in (value, _camel(value), _camel(getattr(known, "__name__", ""))):
        cls = getattr(module, name, None)
        if inspect.isclass(cls):
            return cls
    return None if known is None or inspect.isroutine(known) else type(known)


def _get(module: types.ModuleType, name: str) -> Any:
    try:
        return module.get(name)
    except (ValueError, TypeError):
        return None


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def build_nested(
    kind: str,
    value: Any,
    params: Mapping[str, Any],
    *,
    construct: Callable[[type, list[Any], dict[str, Any]], Any],
    name: str | None = None,
    inherited: Mapping[str, Any] | None = None,
) -> Any:
    """Instantiate the classes in `value` with their routed parameters.

    Parameters
    ----------
    kind : {"optimizer", "loss", "metrics", "callbacks"}
        What the classes are; decides which Keras names stand for a class.
    value : object, class, str, or a list, tuple or dict of such, nested freely
        Objects are returned as they are.
    params : mapping
        Routed parameters, their prefix removed. In a list or dict, ``0__patience`` or
        ``stop__patience`` is for one item, ``patience`` for all.
    construct : callable
        Called with a class, its positional and its keyword arguments.
    name : str, default=kind
        The parameter, for messages.
    inherited : mapping, optional
        Parameters meant for all items of the enclosing list or dict.

    Returns
    -------
    object
        `value` with every class replaced by an object; strings are kept unless parameters
        were routed to them.

    Raises
    ------
    ValueError
        If a parameter would reach nothing, or something that does not take it.
    """
    name = kind if name is None else name
    inherited = dict(inherited or {})
    own = {k: v for k, v in params.items() if "__" not in k}
    if isinstance(value, list | tuple | Mapping):
        pairs: Iterable[tuple[Any, Any]]
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        items = {str(key): item for key, item in pairs}
        for key in params:
            head = key.partition("__")[0]
            if "__" in key and head not in items:
                raise ValueError(
                    f"{name}__{key} is for item {head!r} of {name}, which has "
                    f"{', '.join(map(repr, items)) or 'none'}."
                    f"{_did_you_mean(head, items)}"
                )
        built = {
            key: build_nested(
                kind,
                item,
                route(params, key),
                construct=construct,
                name=f"{name}__{key}",
                inherited=inherited | own,
            )
            for key, item in items.items()
        }
        if isinstance(value, Mapping):
            return dict(zip(value, built.values(), strict=True))
        return type(value)(built.values())
    arguments = inherited | own
    cls = as_class(kind, value) if (arguments or inspect.isclass(value)) else None
    if cls is not None:
        return _construct_class(kind, cls, arguments, params, name, construct)
    if params or inherited:
        given = ", ".join(
            f"{name}__{key}={item!r}" for key, item in (inherited | dict(params)).items()
        )
        instead = (
            "Pass a class, or the name of one"
            if value is None or isinstance(value, str) or inspect.isroutine(value)
            else f"Pass the class itself ({type(value).__name__} and not an object of it), or "
            "give the object its settings directly"
        )
        raise ValueError(
            f"{given} can never be used: {name}={value!r} is not a class, so it takes no "
            f"parameters. {instead}."
        )
    return value


def _construct_class(
    kind: str,
    cls: type,
    arguments: dict[str, Any],
    params: Mapping[str, Any],
    name: str,
    construct: Callable[[type, list[Any], dict[str, Any]], Any],
) -> Any:
    signature = signature_of(cls)
    for key in arguments:
        if not (key.isdigit() or signature.takes(key)):
            raise ValueError(
                f"{name}__{key}={arguments[key]!r}: {cls.__name__} takes no argument {key!r}."
                f"{_did_you_mean(key, signature.arguments)}"
            )
    for key in params:
        head, routed, _ = key.partition("__")
        if routed and head not in arguments:
            raise ValueError(
                f"{name}__{key} can never be used: {name}__{head} is not given. Give it as the "
                "class that this parameter is for."
            )
    filled = {
        key: build_nested(
            kind, item, route(params, key), construct=construct, name=f"{name}__{key}"
        )
        if inspect.isclass(item) or route(params, key) or isinstance(item, list | tuple | dict)
        else item
        for key, item in arguments.items()
    }
    positional = [filled[key] for key in sorted((k for k in filled if k.isdigit()), key=int)]
    return construct(cls, positional, {k: v for k, v in filled.items() if not k.isdigit()})
