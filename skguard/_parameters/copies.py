"""Copies of the objects in an estimator's parameters that training would change.

Every fit trains copies of the callbacks, optimizers, losses, metrics and models in the
parameters. The objects themselves are only read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import keras
from sklearn.base import clone

from skguard._parameters.foreign import Holdings, changed
from skguard._parameters.packing import pack, pack_model, unpack
from skguard._repairs.metric_names import first_metric_names
from skguard._warnings import warn
from skguard.callbacks._shared import Shared
from skguard.callbacks._traits import traits_of
from skguard.exceptions import NotCopyableError

__all__ = [
    "copy_callbacks",
    "copy_keras_objects",
    "copy_model",
    "copy_parameter",
    "copy_parameters",
    "copy_trained_callbacks",
    "first_metric_names",
    "flatten_callbacks",
    "is_keras_class",
    "is_keras_object",
    "reachable_callbacks",
    "warn_of_lost_records",
]

_KERAS_OBJECTS = (
    keras.layers.Layer,  # models too
    keras.losses.Loss,
    keras.metrics.Metric,
    keras.optimizers.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
)

# The attribute in which Keras's callbacks hold their model (Keras 3.8 to 3.15); the public
# `model` is a property without a setter.
_MODEL = "_model"

Memo = dict[int, Any]
"""The copies made so far by the ids of the originals, as in ``copy.deepcopy``."""


def copy_parameters(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return copies of an estimator's parameters, as ``sklearn.base.clone`` promises.

    Parameters
    ----------
    params : mapping of str to object
        The parameters. Callbacks that refer to one another still do in the copies.

    Returns
    -------
    dict of str to object

    Raises
    ------
    NotCopyableError
        If an object cannot be copied; the message names the parameter.
    """
    holds_callbacks = {name: value for name, value in params.items() if "callbacks" in name}
    copies = copy_callbacks(holds_callbacks)
    for name, value in params.items():
        if name not in copies:
            copies[name] = copy_parameter(value)
    return {name: copies[name] for name in params}


def copy_parameter(value: Any) -> Any:
    """Return a copy of one parameter, with the same settings and without training state."""
    if type(value) in (list, tuple, set):
        return type(value)(copy_parameter(item) for item in value)
    if type(value) is dict:
        return {key: copy_parameter(item) for key, item in value.items()}
    if isinstance(value, keras.callbacks.Callback | Shared):
        return copy_callbacks({"callbacks": value})["callbacks"]
    if isinstance(value, _KERAS_OBJECTS):
        return unpack(pack(value))
    return clone(value, safe=False)


def is_keras_object(value: Any) -> bool:
    """Return whether `value` is an instance that training could change, and not a class."""
    return isinstance(value, _KERAS_OBJECTS)


def is_keras_class(cls: type) -> bool:
    """Return whether `cls` is a class of layers, losses, metrics, optimizers or schedules."""
    return issubclass(cls, _KERAS_OBJECTS)


def copy_keras_objects(value: Any) -> Any:
    """Return `value` with a copy of each Keras object in it and everything else as it is."""
    return unpack(pack(value))


def copy_model(model: keras.Model) -> keras.Model:
    """Return a model with the weights of `model` and a new, untrained optimizer."""
    return pack_model(model).unpack_without_training_state()


def copy_callbacks(named: Mapping[str, Any]) -> dict[str, Any]:
    """Return copies of callbacks in any nesting of lists, tuples and dicts.

    The copies have no model, and the ``idle_state`` of their traits. They share functions, methods
    of objects of others, and objects of Optuna or KerasTuner, which report to a running search.

    Parameters
    ----------
    named : mapping of str to object
        Callbacks by the name of the parameter that holds them. They are copied together, so
        that one callback in two places, or one that refers to another, is one copy.

    Returns
    -------
    dict of str to object
        The same names and nesting. Classes and `Shared` are passed on as they are.

    Raises
    ------
    NotCopyableError
        If a callback cannot be copied; the message names it and says what to pass instead.
    """
    originals = reachable_callbacks(named)
    holdings = Holdings.of(originals)
    memo: Memo = dict(holdings.shared)
    for callback in originals:
        _replace_running_state(callback, memo)
    copied = {name: _copy_nested(name, value, memo) for name, value in named.items()}
    holdings.mark(memo)
    return copied


def warn_of_lost_records(callbacks: Iterable[keras.callbacks.Callback]) -> None:
    """Warn about objects of others that were to be changed by the callbacks of a fit."""
    lost = changed(callbacks)
    if lost:
        warn(
            f"Training has changed {', '.join(lost)}, in the copies of the callbacks that the fit "
            "has trained with. What was passed to the callbacks is as before. To have it changed, "
            "pass callbacks=[skguard.callbacks.Shared(callback)]; callbacks_ has the copies.",
            UserWarning,
        )


def _replace_running_state(callback: keras.callbacks.Callback, memo: Memo) -> None:
    """Have ``copy.deepcopy`` replace what a callback holds only while it trains."""
    attributes = vars(callback)
    model = attributes.get(_MODEL)
    if model is not None:
        memo[id(model)] = None
    for name, idle in traits_of(callback).idle_state.items():
        held = attributes.get(name)
        if held is not None and held != idle:
            memo[id(held)] = copy.copy(idle)


def _copy_nested(name: str, value: Any, memo: Memo) -> Any:
    if type(value) in (list, tuple):
        return type(value)(_copy_nested(f"{name}[{i}]", item, memo) for i, item in enumerate(value))
    if type(value) is dict:
        return {key: _copy_nested(f"{name}[{key!r}]", v, memo) for key, v in value.items()}
    if isinstance(value, keras.callbacks.Callback):
        return _copy_callback(name, value, memo)
    return value


_Callback = TypeVar("_Callback", bound=keras.callbacks.Callback)


def _copy_callback(name: str, callback: _Callback, memo: Memo) -> _Callback:
    if id(callback) in memo:
        return memo[id(callback)]
    try:
        if hasattr(callback, "__sklearn_clone__"):
            memo[id(callback)] = callback.__sklearn_clone__()
            return memo[id(callback)]
        return copy.deepcopy(callback, memo)
    except Exception as error:
        cls = type(callback).__name__
        raise NotCopyableError(
            f"{name}={callback!r} cannot be copied, and every fit trains a copy: "
            f"{type(error).__name__}: {error}\nPass the class, callbacks=[{cls}], with its "
            f"settings as callbacks__0__<argument>=..., or, to use this one object in every "
            f"fit knowingly, callbacks=[skguard.callbacks.Shared({cls}(...))]."
        ) from error


def copy_trained_callbacks(
    callbacks: Iterable[keras.callbacks.Callback],
) -> list[keras.callbacks.Callback]:
    """Return copies of trained callbacks, with their records and without a model, to pickle.

    An attribute that cannot be copied, such as an open file, is None in the copy.
    """
    return [_copy_trained(callback) for callback in callbacks]


def _copy_trained(callback: _Callback) -> _Callback:
    try:
        return copy_callbacks({"callbacks": callback})["callbacks"]
    except NotCopyableError:
        twin = copy.copy(callback)
    for name, value in vars(callback).items():
        setattr(twin, name, None if name == _MODEL else _copy_or_none(value))
    return twin


def _copy_or_none(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:  # a user-defined attribute may raise anything when it is copied
        return None


def flatten_callbacks(value: Any) -> list[Any]:
    """Return the items of any nesting of lists, tuples and dicts, in order.

    The callback of a `Shared` takes its place.
    """
    if value is None:
        return []
    if isinstance(value, Shared):
        return [value.callback]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in flatten_callbacks(item)]
    return [value]


def reachable_callbacks(value: Any) -> list[keras.callbacks.Callback]:
    """Return the callbacks in `value`, and those that they hold themselves."""
    found: list[keras.callbacks.Callback] = []
    todo = [value]
    seen: set[int] = set()
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, keras.callbacks.Callback):
            found.append(item)
        todo.extend(_held_by(item))
    return found


def _held_by(value: Any) -> Iterable[Any]:
    if isinstance(value, keras.callbacks.Callback):
        return vars(value).values()
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple | set) else ()
