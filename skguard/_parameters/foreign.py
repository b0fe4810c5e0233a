"""Objects in callbacks that belong to others, such as a list that the caller wants to have filled.

A fit trains copies of the callbacks, and so fills copies of such objects. Where sharing the object
is right, it is not copied; otherwise the change is found after the fit, to be reported.

An object belongs to others if it is referred to from outside of the callbacks that hold it. This
distinguishes ``Log(records)`` from a callback that creates ``self.records = []``.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import io
import sys
import types
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from skguard.callbacks._shared import Shared

__all__ = ["Holdings", "changed"]

# Packages whose objects report what happens in a fit to a study or search that is under way.
_REPORTING = ("optuna", "keras_tuner", "kerastuner")

# Packages whose objects are not looked into.
_OPAQUE = ("keras", "tensorflow", "sklearn", "scikeras", "skguard", "joblib", "logging")

_BASE_ATTRIBUTES = ("params", "_model", "model")  # Keras assigns them

_MAX_DEPTH = 5
_MAX_ITEMS = 1_000  # of a container that is looked into
_MAX_VISITS = 10_000  # of objects, in all callbacks together
_MAX_BYTES = 2**16  # of an array whose values are compared

_CONTAINERS = (
    list,
    dict,
    set,
    bytearray,
    collections.deque,
    np.ndarray,
    io.StringIO,
    io.BytesIO,
)

_Mark = tuple[int, Any]
"""The identity of the value of an attribute, and its state when the callback was copied."""

_MARKS: weakref.WeakKeyDictionary[keras.callbacks.Callback, dict[str, _Mark]] = (
    weakref.WeakKeyDictionary()
)
"""The attributes of copied callbacks that are copies of objects of others, by name."""


@dataclasses.dataclass(frozen=True, slots=True)
class Holdings:
    """Objects of others that some callbacks hold, before they are copied.

    Parameters
    ----------
    shared : dict of int to object
        Objects that their copies share with them, by identity: those that report to a study, and
        methods of objects of others, which are functions to the callback.
    foreign : list of (callback, set of str)
        Each callback with its attributes that hold objects of others.
    """

    shared: dict[int, Any]
    foreign: list[tuple[keras.callbacks.Callback, set[str]]]

    @classmethod
    def of(cls, callbacks: Sequence[keras.callbacks.Callback]) -> Holdings:
        walk = _Walk()
        for callback in callbacks:
            walk.enter(vars(callback))
        outside = walk.referred_to_from_outside()
        shared = {id(value): value for value in walk.reporting}
        for method in walk.methods:
            if id(method.__self__) in outside:
                shared[id(method)] = method
        foreign = []
        for callback, owned in zip(callbacks, walk.owned, strict=True):
            names = {name for name, found in owned.items() if found & outside}
            if type(callback).__module__.partition(".")[0] in ("keras", "skguard"):
                names = set()  # they create what they fill
            with contextlib.suppress(TypeError):  # a class without a hash
                names |= _MARKS.get(callback, {}).keys()
            foreign.append((callback, names))
        return cls(shared, foreign)

    def mark(self, copies: Mapping[int, Any]) -> None:
        """Remember the state of the copies of objects of others.

        Parameters
        ----------
        copies : mapping of int to object
            By the identity of the original, as the memo of ``copy.deepcopy``.
        """
        for callback, names in self.foreign:
            twin = copies.get(id(callback))
            if twin is None or twin is callback:
                continue
            before, after = vars(callback), vars(twin)
            marks = {
                name: (id(after[name]), _state(after[name]))
                for name in names
                if name in after and after[name] is not before.get(name)
            }
            if marks:
                with contextlib.suppress(TypeError):
                    _MARKS[twin] = marks


def changed(callbacks: Iterable[keras.callbacks.Callback]) -> list[str]:
    """Return the copies of objects of others that training has changed, each of them once.

    Returns
    -------
    list of str
        Such as ``"records of Log (a list)"``.
    """
    found = []
    for callback in callbacks:
        try:
            marks = _MARKS.pop(callback, {})
        except TypeError:
            continue
        for name, (identity, state) in marks.items():
            value = vars(callback).get(name)
            # A callback that has assigned another object fills its own.
            if id(value) == identity and _state(value) != state:
                kind = type(value).__name__
                found.append(f"{name} of {type(callback).__name__} (of type {kind})")
    return found


class _Walk:
    """The mutable objects in the attributes of callbacks, and the references to each.

    Attributes
    ----------
    owned : list of dict of str to set of int
        For each callback, the identities of the objects in each attribute.
    reporting, methods : list of object
    """

    def __init__(self) -> None:
        self.owned: list[dict[str, set[int]]] = []
        self.reporting: list[Any] = []
        self.methods: list[types.MethodType] = []
        self._objects: dict[int, Any] = {}
        self._n_references: collections.Counter[int] = collections.Counter()
        self._n_visits = 0

    def enter(self, attributes: Mapping[str, Any]) -> None:
        """Walk through the attributes of one callback."""
        found: dict[str, set[int]] = {}
        for name, value in attributes.items():
            if name not in _BASE_ATTRIBUTES:
                found[name] = set()
                self._visit(value, found[name], 0)
        self.owned.append(found)

    def _visit(self, value: Any, found: set[int], depth: int) -> None:
        self._n_visits += 1
        if self._n_visits > _MAX_VISITS:
            return
        if _reports(value):
            self.reporting.append(value)
            return
        if isinstance(value, types.MethodType):
            self.methods.append(value)
        elif _is_mutable(value):
            found.add(id(value))
            self._n_references[id(value)] += 1
            if id(value) in self._objects:
                return
            self._objects[id(value)] = value
        if depth < _MAX_DEPTH:
            for part in _parts_of(value):
                self._visit(part, found, depth + 1)

    def referred_to_from_outside(self) -> set[int]:
        """Return the identities of the objects with references that are not in the callbacks."""
        if self._n_visits > _MAX_VISITS:
            return set()  # not all references were counted
        return {
            key for key, n in self._excess().items() if n > _excess_of_an_object_of_its_callback()
        }

    def _excess(self) -> dict[int, int]:
        counts = {}
        for key in self._objects:
            counts[key] = sys.getrefcount(self._objects[key]) - self._n_references[key]
        return counts


@functools.cache
def _excess_of_an_object_of_its_callback() -> int:
    """Return what `_Walk` itself adds to the references, which differs between Pythons."""
    attributes: dict[str, Any] = {"records": []}
    walk = _Walk()
    walk.enter(attributes)
    (excess,) = walk._excess().values()
    return excess


def _root(value: Any) -> set[str]:
    return {(cls.__module__ or "").partition(".")[0] for cls in type(value).__mro__}


def _reports(value: Any) -> bool:
    return not isinstance(value, type) and not _root(value).isdisjoint(_REPORTING)


def _is_mutable(value: Any) -> bool:
    """Whether a callback could leave a record in `value`, which a copy would not show."""
    return isinstance(value, _CONTAINERS) or _has_state(value)


def _has_state(value: Any) -> bool:
    """Whether `value` is an object with attributes, of a class that is not opaque."""
    no_records = type | types.ModuleType | types.FunctionType | types.MethodType
    return (
        hasattr(value, "__dict__")
        and not isinstance(value, no_records | keras.callbacks.Callback | Shared)
        and not isinstance(value, functools.partial)
        and _root(value).isdisjoint(_OPAQUE)
    )


def _parts_of(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values() if len(value) <= _MAX_ITEMS else ()
    if isinstance(value, list | tuple | collections.deque):
        return value if len(value) <= _MAX_ITEMS else ()
    if isinstance(value, types.MethodType):
        return (value.__self__,)
    if isinstance(value, functools.partial):
        return (value.func, *value.args, *value.keywords.values())
    return vars(value).values() if _has_state(value) else ()


def _state(value: Any, depth: int = 0) -> Any:
    """Return something that differs from an earlier one if `value` has changed since then."""
    if isinstance(value, bool | int | float | complex | str | bytes | None):
        return value
    if isinstance(value, io.StringIO | io.BytesIO):
        return None if value.closed else value.getvalue()
    if isinstance(value, np.ndarray):
        is_small = value.nbytes <= _MAX_BYTES and not value.dtype.hasobject
        return value.shape, value.tobytes() if is_small else None
    n_items = len(value) if hasattr(type(value), "__len__") else None
    if isinstance(value, set | frozenset):
        return n_items, frozenset(map(id, value))
    if depth >= _MAX_DEPTH:
        return id(value), n_items
    if isinstance(value, dict):
        parts: Iterable[Any] = [*map(id, value)] if n_items and n_items <= _MAX_ITEMS else ()
        return n_items, *parts, *(_state(part, depth + 1) for part in _parts_of(value))
    return id(value), n_items, *(_state(part, depth + 1) for part in _parts_of(value))
