"""Routing: parameters such as ``optimizer__learning_rate`` and the classes that they are for."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from skguard._parameters.signatures import signature_of
from skguard._suggestions import did_you_mean
from skguard.exceptions import InputValueError

__all__ = [
    "KERAS_MODULES",
    "accepts",
    "as_class",
    "build_nested",
    "routable_names",
    "route",
]

KERAS_MODULES: dict[str, types.ModuleType] = {
    "optimizer": keras.optimizers,
    "loss": keras.losses,
    "metrics": keras.metrics,
    "callbacks": keras.callbacks,
}
"""The kinds of routed classes, and the modules in which Keras defines its own."""

Construct = Callable[[type, list[Any], dict[str, Any]], Any]


def route(params: Mapping[str, Any], destination: str) -> dict[str, Any]:
    """Return the parameters that start with ``destination__``, without that prefix."""
    prefix = f"{destination}__"
    return {k[len(prefix) :]: v for k, v in params.items() if k.startswith(prefix)}


def as_class(kind: str, value: Any) -> type | None:
    """Return the class that `value` is or, as one of Keras's names, stands for.

    Parameters
    ----------
    kind : {"optimizer", "loss", "metrics", "callbacks"}
        Decides where names are looked up. No name stands for a callback.
    value : object

    Returns
    -------
    type or None
        None if `value` is neither a class nor the name of one.
    """
    if inspect.isclass(value):
        return value
    if not isinstance(value, str) or kind == "callbacks":
        return None
    if kind == "optimizer":
        return _optimizer_class(value)
    return _class_in(KERAS_MODULES[kind], value)


def _optimizer_class(name: str) -> type | None:
    try:
        return type(keras.optimizers.get(name))
    except ValueError:
        return None


def _class_in(module: types.ModuleType, name: str) -> type | None:
    """Return the class that ``BinaryCrossentropy``, ``binary_crossentropy`` or ``bce`` names."""
    try:
        known = module.get(name)  # a function, or an instance of the class
    except (ValueError, TypeError):
        known = None
    for candidate in (name, _camel(name), _camel(getattr(known, "__name__", ""))):
        cls = getattr(module, candidate, None)
        if inspect.isclass(cls):
            return cls
    return None if known is None or inspect.isroutine(known) else type(known)


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _items_of(value: Any) -> dict[str, Any] | None:
    """Return the items of a list, tuple or dict by the names that address them."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, list | tuple):
        return {str(index): item for index, item in enumerate(value)}
    return None


def routable_names(kind: str, value: Any) -> set[str]:
    """Return the routed names that the classes in `value` take, for suggestions."""
    cls = as_class(kind, value)
    if cls is not None:
        return set(signature_of(cls).arguments)
    names: set[str] = set()
    for key, item in (_items_of(value) or {}).items():
        inner = routable_names(kind, item)
        names |= inner | {f"{key}__{name}" for name in inner}
    return names


def accepts(kind: str, value: Any, path: Sequence[str], *, lenient: bool) -> bool:
    """Return whether the class at `path` within `value` takes the last name of `path`.

    Parameters
    ----------
    kind : {"optimizer", "loss", "metrics", "callbacks"}
    value : object
        The parameter: a class, a name, or a list, tuple or dict of these.
    path : sequence of str
        The parts of the routed name, its first part removed.
    lenient : bool
        Whether it is enough that some class of this kind in Keras takes the name, since
        `value` may still be set to another class.
    """
    if lenient and path[-1] in _all_arguments(kind):
        return True
    head, *rest = path
    cls = as_class(kind, value)
    if cls is not None:
        # A digit is a positional argument, and `rest` is routed to the argument `head`.
        return head.isdigit() or bool(rest) or signature_of(cls).takes(head)
    items = _items_of(value)
    if items is not None:
        is_sequence = not isinstance(value, Mapping)
        return _item_accepts(kind, items, path, is_sequence=is_sequence)
    # build_nested raises for an instance or a function, and says what to pass instead.
    return value is not None and not lenient


def _item_accepts(
    kind: str, items: Mapping[str, Any], path: Sequence[str], *, is_sequence: bool
) -> bool:
    head, *rest = path
    if rest and head in items:
        return accepts(kind, items[head], rest, lenient=False)
    if rest and head.isdigit() and is_sequence:
        return False  # the index is out of range
    return any(accepts(kind, item, path, lenient=False) for item in items.values())


@functools.cache
def _all_arguments(kind: str) -> frozenset[str]:
    """Return the arguments of all classes of this kind in Keras."""
    classes = [c for c in vars(KERAS_MODULES[kind]).values() if inspect.isclass(c)]
    return frozenset(name for cls in classes for name in signature_of(cls).arguments)


def build_nested(
    kind: str,
    value: Any,
    params: Mapping[str, Any],
    *,
    construct: Construct,
    name: str | None = None,
) -> Any:
    """Instantiate the classes in `value` with their routed parameters.

    Parameters
    ----------
    kind : {"optimizer", "loss", "metrics", "callbacks"}
        Decides which of Keras's names stand for a class.
    value : object, class, str, or a list, tuple or dict of such, nested freely
        Objects are returned as they are.
    params : mapping of str to object
        Routed parameters, their prefix removed. In a list or dict, ``0__patience`` or
        ``stop__patience`` is for one item, ``patience`` for all.
    construct : callable
        Called with a class, its positional and its keyword arguments.
    name : str, default=kind
        The parameter that holds `value`, for messages.

    Returns
    -------
    object
        `value` with every class replaced by an object; strings are kept unless parameters
        were routed to them.

    Raises
    ------
    InputValueError
        If a parameter would reach nothing, or something that does not take it.
    """
    routed = _Routed(kind if name is None else name, params)
    return _Builder(kind, construct).build(value, routed)


@dataclasses.dataclass(frozen=True, slots=True)
class _Routed:
    """The parameters that are routed to one value.

    Parameters
    ----------
    name : str
        The value's own name, such as ``callbacks__0``.
    params : mapping of str to object
        Those that start with `name`, without it.
    inherited : mapping of str to object
        Those for all items of the list or dict that holds the value.
    """

    name: str
    params: Mapping[str, Any]
    inherited: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        """The parameters that are constructor arguments of the value itself."""
        own = {k: v for k, v in self.params.items() if "__" not in k}
        return {**self.inherited, **own}

    def to(self, key: str, inherited: Mapping[str, Any]) -> _Routed:
        """Return the parameters that are routed to an item or argument of the value."""
        return _Routed(f"{self.name}__{key}", route(self.params, key), inherited)


@dataclasses.dataclass(frozen=True, slots=True)
class _Builder:
    """Instantiates classes of one kind; see `build_nested`."""

    kind: str
    construct: Construct

    def build(self, value: Any, routed: _Routed) -> Any:
        items = _items_of(value)
        if items is not None:
            return self._build_items(value, items, routed)
        cls = None
        if routed.arguments or inspect.isclass(value):
            cls = as_class(self.kind, value)
        if cls is not None:
            return self._build_class(cls, routed)
        if routed.params or routed.inherited:
            raise _never_used(value, routed)
        return value

    def _build_items(self, value: Any, items: dict[str, Any], routed: _Routed) -> Any:
        _check_items_exist(items, routed)
        for_all = routed.arguments
        built = [self.build(item, routed.to(key, for_all)) for key, item in items.items()]
        if isinstance(value, Mapping):
            return dict(zip(value, built, strict=True))
        return type(value)(built)

    def _build_class(self, cls: type, routed: _Routed) -> Any:
        arguments = routed.arguments
        _check_arguments(cls, routed)
        filled = {
            key: self.build(item, routed.to(key, {}))
            if _holds_classes(item) or route(routed.params, key)
            else item
            for key, item in arguments.items()
        }
        positional = [filled[key] for key in sorted((k for k in filled if k.isdigit()), key=int)]
        return self.construct(cls, positional, {k: v for k, v in filled.items() if not k.isdigit()})


def _holds_classes(argument: Any) -> bool:
    return inspect.isclass(argument) or isinstance(argument, list | tuple | dict)


def _check_items_exist(items: Mapping[str, Any], routed: _Routed) -> None:
    for key, value in routed.params.items():
        head, is_routed, _ = key.partition("__")
        if is_routed and head not in items:
            raise InputValueError(
                f"{routed.name}__{key}={value!r} is for item {head!r} of {routed.name}, which "
                f"has {', '.join(map(repr, items)) or 'no items'}.{did_you_mean(head, items)}"
            )


def _check_arguments(cls: type, routed: _Routed) -> None:
    arguments, signature = routed.arguments, signature_of(cls)
    for key, value in arguments.items():
        if not (key.isdigit() or signature.takes(key)):
            raise InputValueError(
                f"{routed.name}__{key}={value!r}: {cls.__name__} does not take an argument "
                f"{key!r}.{did_you_mean(key, signature.arguments)}"
            )
    for key, value in routed.params.items():
        head, is_routed, rest = key.partition("__")
        if is_routed and head not in arguments:
            raise InputValueError(
                f"{routed.name}__{key}={value!r} can never be used, because "
                f"{routed.name}__{head} is not set. Pass {routed.name}__{head}= as a class that "
                f"takes {rest!r}."
            )


def _never_used(value: Any, routed: _Routed) -> InputValueError:
    params = {**routed.inherited, **routed.params}
    given = ", ".join(f"{routed.name}__{key}={item!r}" for key, item in params.items())
    if value is None or isinstance(value, str) or inspect.isroutine(value):
        instead = "Pass a class, or the name of one"
    else:
        instead = (
            f"Pass the class {type(value).__name__} itself, or set these on the object that is "
            "passed"
        )
    return InputValueError(
        f"{given} can never be used: {routed.name}={value!r} is not a class, so it takes no "
        f"parameters. {instead}."
    )
