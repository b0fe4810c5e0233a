"""What "fresh" means: copies of what a fit would otherwise change.

Every fit trains copies of the callbacks, optimizers, losses, metrics and models in the
parameters. The objects themselves are read and nothing else.
"""

from __future__ import annotations

import collections
import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
from sklearn.base import clone

from skguard._estimators.packing import pack, unpack
from skguard.callbacks._shared import Shared
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
    "is_keras_object",
    "reachable_callbacks",
]

_KERAS_OBJECTS = (
    keras.layers.Layer,  # models too
    keras.losses.Loss,
    keras.metrics.Metric,
    keras.optimizers.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
)

# What Keras's own callbacks hold while they train, and need not keep.
_RUNNING_STATE: dict[type, dict[str, Any]] = {
    keras.callbacks.EarlyStopping: {"best_weights": None},
    # Keras 3.8 holds a lambda here, which pickle cannot carry; training makes it anew.
    keras.callbacks.ReduceLROnPlateau: {"monitor_op": None},
    keras.callbacks.CSVLogger: {"csv_file": None, "writer": None, "keys": None},
    keras.callbacks.TensorBoard: {
        "_writers": {},
        "_summary_module": None,
        "_prev_summary_state": [],
        "_train_step": None,
        "_val_step": None,
    },
}


def copy_parameters(params: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of an estimator's parameters, as ``sklearn.base.clone`` owes them.

    Parameters
    ----------
    params : mapping
        Name to value. Callbacks that refer to one another still do in the copies.

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
    """A copy of one parameter: the same settings, none of the training."""
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
    """Whether `value` is an object, and no class, that training could change."""
    return isinstance(value, _KERAS_OBJECTS)


def copy_keras_objects(value: Any) -> Any:
    """`value` with a copy of each Keras object in it; all else is passed on as it is."""
    return unpack(pack(value))


def copy_model(model: keras.Model) -> keras.Model:
    """A model with the weights of `model`, its own optimizer, and nothing trained yet."""
    return pack(model).unpack_fresh()


def copy_callbacks(named: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of callbacks in any nesting of lists, tuples and dicts, models left behind.

    Parameters
    ----------
    named : mapping
        Parameter name to callbacks. They are copied together, so that one callback in two
        places, or one that refers to another, is one copy.

    Returns
    -------
    dict
        The same names and nesting. Classes and `Shared` are passed on as they are.

    Raises
    ------
    NotCopyableError
        If a callback cannot be copied; the message names it and says what to pass instead.
    """
    memo: dict[int, Any] = {}
    for callback in reachable_callbacks(named):
        model = vars(callback).get("_model")
        if model is not None:
            memo[id(model)] = None
        for cls, idle in _RUNNING_STATE.items():
            if isinstance(callback, cls):
                for attribute, value in idle.items():
                    held = vars(callback).get(attribute)
                    if held is not None and held != value:
                        memo[id(held)] = copy.copy(value)

    def copied(name: str, value: Any) -> Any:
        if type(value) in (list, tuple):
            return type(value)(copied(f"{name}[{i}]", item) for i, item in enumerate(value))
        if type(value) is dict:
            return {key: copied(f"{name}[{key!r}]", item) for key, item in value.items()}
        if isinstance(value, type | Shared) or not isinstance(value, keras.callbacks.Callback):
            return value
        if id(value) in memo:
            return memo[id(value)]
        try:
            if hasattr(value, "__sklearn_clone__"):
                twin = memo[id(value)] = value.__sklearn_clone__()
                return twin
            return copy.deepcopy(value, memo)
        except Exception as error:
            cls = type(value).__name__
            raise NotCopyableError(
                f"{name}={value!r} cannot be copied, so no fit could start with a fresh one: "
                f"{type(error).__name__}: {error}\nPass the class, callbacks=[{cls}], with its "
                f"settings as callbacks__0__<argument>=..., or, to use this one object in every "
                f"fit knowingly, callbacks=[skguard.callbacks.Shared({cls}(...))]."
            ) from error

    return {name: copied(name, value) for name, value in named.items()}


def copy_trained_callbacks(
    callbacks: Iterable[keras.callbacks.Callback],
) -> list[keras.callbacks.Callback]:
    """What callbacks recorded while they trained, without their model, to be pickled.

    An attribute that cannot be copied, such as an open file, is left out as None.
    """
    kept = []
    for callback in callbacks:
        try:
            kept.append(copy_callbacks({"callbacks": callback})["callbacks"])
        except NotCopyableError:
            twin = copy.copy(callback)
            for name, value in vars(callback).items():
                try:
                    setattr(twin, name, None if name == "_model" else copy.deepcopy(value))
                except Exception:  # whatever a user's attribute raises when it is copied
                    setattr(twin, name, None)
            kept.append(twin)
    return kept


def flatten_callbacks(value: Any) -> list[Any]:
    """The items of any nesting of lists, tuples and dicts, in order, `Shared` ones unwrapped."""
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
    """The callbacks in `value`, and those that they hold themselves."""
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
            todo.extend(vars(item).values())
        elif isinstance(item, Mapping):
            todo.extend(item.values())
        elif isinstance(item, list | tuple | set):
            todo.extend(item)
    return found


@contextlib.contextmanager
def first_metric_names() -> Iterator[None]:
    """Name unnamed metrics as in the first model of the process.

    Keras counts the names that it gives, so the second model's ``AUC()`` logs ``auc_1`` and
    ``monitor="val_auc"`` would fit the first fold only. Layer names go on counting: a model
    function may join new layers to older ones, and those names must differ.
    """
    counts = _name_counts()
    before = dict(counts)
    for name in _metric_names():
        counts.pop(name, None)
    try:
        yield
    finally:
        for name in _metric_names():
            if before.get(name, 0) > counts.get(name, 0):
                counts[name] = before[name]


def _name_counts() -> dict[str, int]:
    try:
        from keras.src.backend.common.global_state import get_global_attribute
    except ImportError:
        return {}
    counts: dict[str, int] = get_global_attribute(
        "object_name_uids", default=collections.defaultdict(int), set_to_default=True
    )
    return counts


def _metric_names() -> set[str]:
    names = set()
    todo = [keras.metrics.Metric]
    while todo:
        cls = todo.pop()
        todo.extend(cls.__subclasses__())
        names.add(_snake(cls.__name__))
    return names


def _snake(name: str) -> str:
    try:
        from keras.src.utils.naming import to_snake_case
    except ImportError:
        return name.lower()
    snake: str = to_snake_case(name)
    return snake
