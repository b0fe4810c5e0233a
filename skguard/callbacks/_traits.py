"""Traits of callbacks: what each reads, does and needs, as far as a fit has to know.

A callback of this package declares its traits in the class attribute ``traits``. Those of
Keras's callbacks are in the table at the end, which is the only place in the package that names
their classes. A callback that declares nothing has the defaults: it is called like any other,
and nothing is assumed about what it reads.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras

__all__ = ["Traits", "any_overrides", "has_trait", "monitored_metric", "overrides", "traits_of"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """Declared properties of a callback class.

    Parameters
    ----------
    monitors : bool, default=False
        Compares the metric named by its attribute ``monitor`` between epochs.
    keeps_first_nan : bool, default=False
        Would keep a first value of NaN as the best one, so that it is called only once the
        monitored metric has been a number.
    scores_validation_set : bool, default=False
        Needs the validation set: a fit calls ``attach(estimator, X, y, sample_weight)`` before
        training and ``detach()`` after it. ``logged_as`` is the name of what it logs.
    stops_early : bool, default=False
        Decides when training stops and which epoch was the best: has ``best_epoch``, ``best``,
        ``stopped_epoch`` and ``restore_best_weights``, as Keras's EarlyStopping.
    sets_learning_rate : bool, default=False
        Assigns the learning rate, which a learning-rate schedule does not allow.
    reads_only_logs : bool, default=False
        Its epoch hooks read nothing but ``logs``, the epoch number, the weights that it
        restores and the learning rate that it sets. Never inherited by a subclass, which may
        read more.
    shows_progress : bool, default=False
        Is a progress bar: called once per chunk of batches. Never inherited.
    tolerates_nan : bool, default=False
        Handles a loss that is not finite itself, so that such an epoch does not end training.
    acts_in_training_only : bool, default=False
        Its prediction hooks must not be called by ``predict`` of a fitted estimator.
    batch_hooks_unless_per_epoch : bool, default=False
        Its batch hooks do nothing where its ``save_freq`` is ``"epoch"``. Never inherited.
    saves_best_only : bool, default=False
        Compares its ``monitor`` only if its attribute or argument ``save_best_only`` is true.
    writes_files : bool, default=True
        Constructor arguments that look like paths are paths of files.
    order : int, default=0
        Place among the callbacks: lower ones are called first in every hook.
    order_at_end : int, default=0
        Place in ``on_train_end`` alone.
    idle_state : mapping of str to object, default={}
        Attributes that hold resources during training, and the values that they have between
        two fits. Copies of the callback start with these.
    """

    monitors: bool = False
    keeps_first_nan: bool = False
    scores_validation_set: bool = False
    stops_early: bool = False
    sets_learning_rate: bool = False
    reads_only_logs: bool = False
    shows_progress: bool = False
    tolerates_nan: bool = False
    acts_in_training_only: bool = False
    batch_hooks_unless_per_epoch: bool = False
    saves_best_only: bool = False
    writes_files: bool = True
    order: int = 0
    order_at_end: int = 0
    idle_state: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    NONE: ClassVar[Traits]


Traits.NONE = Traits()


def traits_of(callback: Any) -> Traits:
    """Return the traits of a callback, or of a callback class.

    Parameters
    ----------
    callback : keras.callbacks.Callback or class

    Returns
    -------
    Traits
        Its own, or those of its base classes together. Traits that hold for exactly one class
        are not inherited.
    """
    cls = callback if inspect.isclass(callback) else type(callback)
    found: list[Traits] = []
    owners: list[type] = []
    for base in cls.__mro__:
        declared = vars(base).get("traits")
        traits = declared if isinstance(declared, Traits) else _KERAS.get(base)
        # The traits of a class replace those of its own bases.
        if traits is None or any(issubclass(owner, base) for owner in owners):
            continue
        owners.append(base)
        found.append(traits if base is cls else dataclasses.replace(traits, **_NOT_INHERITED))
    return functools.reduce(_combined, found, Traits.NONE)


def _combined(one: Traits, other: Traits) -> Traits:
    """Combine the traits of two base classes: whatever holds for one of them."""
    values = {}
    for field in dataclasses.fields(Traits):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "writes_files":
            values[field.name] = a and b
        else:  # for mappings, numbers and flags alike: what the first class has comes first
            values[field.name] = {**b, **a} if isinstance(a, Mapping) else a or b
    return Traits(**values)


def has_trait(callbacks: Sequence[Any], name: str) -> bool:
    """Return whether any of some callbacks has the trait `name`."""
    return any(getattr(traits_of(callback), name) for callback in callbacks)


def monitored_metric(callback: Any) -> str | None:
    """Return the name of the metric that a callback compares between epochs, if any."""
    traits = traits_of(callback)
    if not traits.monitors or (traits.saves_best_only and not callback.save_best_only):
        return None
    monitor = callback.monitor
    return monitor if isinstance(monitor, str) else None


def overrides(callback: keras.callbacks.Callback, hook: str) -> bool:
    """Return whether calling `hook` of a callback has any effect.

    A progress bar is called once per chunk of batches instead, and so counts as having none.
    """
    traits = traits_of(callback)
    if traits.shows_progress:
        return False
    if (
        traits.batch_hooks_unless_per_epoch
        and "batch" in hook
        and getattr(callback, "save_freq", None) == "epoch"
    ):
        return False
    method = getattr(callback, hook)
    return getattr(method, "__func__", method) is not getattr(keras.callbacks.Callback, hook)


def any_overrides(callbacks: Sequence[keras.callbacks.Callback], hooks: Sequence[str]) -> bool:
    """Return whether any of some callbacks overrides any of some hooks."""
    return any(overrides(callback, hook) for callback in callbacks for hook in hooks)


# A subclass may do more in its hooks.
_NOT_INHERITED: dict[str, Any] = {
    "reads_only_logs": False,
    "shows_progress": False,
    "batch_hooks_unless_per_epoch": False,
}

_KERAS: dict[type, Traits] = {
    keras.callbacks.BackupAndRestore: Traits(batch_hooks_unless_per_epoch=True),
    keras.callbacks.CSVLogger: Traits(
        reads_only_logs=True,
        idle_state={"csv_file": None, "writer": None, "keys": None},
    ),
    keras.callbacks.EarlyStopping: Traits(
        monitors=True,
        keeps_first_nan=True,
        stops_early=True,
        reads_only_logs=True,
        idle_state={"best_weights": None},
    ),
    keras.callbacks.History: Traits(reads_only_logs=True),
    keras.callbacks.LearningRateScheduler: Traits(sets_learning_rate=True),
    keras.callbacks.ModelCheckpoint: Traits(
        monitors=True,
        keeps_first_nan=True,
        saves_best_only=True,
        batch_hooks_unless_per_epoch=True,
    ),
    keras.callbacks.ProgbarLogger: Traits(shows_progress=True),
    keras.callbacks.ReduceLROnPlateau: Traits(
        monitors=True,
        keeps_first_nan=True,
        sets_learning_rate=True,
        reads_only_logs=True,
        # Keras 3.8 holds a lambda here, which pickle cannot serialize; training sets it again.
        idle_state={"monitor_op": None},
    ),
    # Its argument `path` is the path of a URL.
    keras.callbacks.RemoteMonitor: Traits(writes_files=False),
    # The weights of a finished fit are the averaged ones already, and Keras does not swap them
    # back after predict.
    keras.callbacks.SwapEMAWeights: Traits(acts_in_training_only=True),
    keras.callbacks.TensorBoard: Traits(
        idle_state={
            "_writers": {},
            "_summary_module": None,
            "_prev_summary_state": [],
            "_train_step": None,
            "_val_step": None,
        },
    ),
}
