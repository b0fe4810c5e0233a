"""One callback object for all fits."""

from __future__ import annotations

import copy
import uuid
import weakref
from collections.abc import Callable
from typing import Any

import keras

from skguard.exceptions import InputTypeError

__all__ = ["Shared"]

# Wrappers that are alive in this process: unpickling one returns the existing object.
_alive: weakref.WeakValueDictionary[str, Shared] = weakref.WeakValueDictionary()
# Wrappers that were created by unpickling, in a worker. They are kept for the life of the process,
# because nothing else refers to the callback between two fits.
_unpickled: dict[str, Shared] = {}


class Shared:
    """Use the same callback object in every fit of the process, instead of copies.

    Estimators copy the callbacks in their parameters for each fit. A wrapped callback is not
    copied: it is called in every fit of the estimator and of its clones, keeps its state between
    fits, and writes to the paths that it was constructed with. Each worker process has one
    object, unpickled from the original; a callback that cannot be pickled cannot be shared with
    workers.

    Parameters
    ----------
    callback : keras.callbacks.Callback
        An instance. Classes are rejected.

    Attributes
    ----------
    callback : keras.callbacks.Callback
        The same object.

    Raises
    ------
    InputTypeError
        If `callback` is not an instance of ``keras.callbacks.Callback``.

    Examples
    --------
    >>> import keras
    >>> from skguard.callbacks import Shared
    >>> log = Shared(keras.callbacks.History())
    >>> log.callback.on_train_begin()
    """

    def __init__(self, callback: keras.callbacks.Callback) -> None:
        if not isinstance(callback, keras.callbacks.Callback):
            raise InputTypeError(
                f"callback={callback!r} of Shared must be an instance of "
                "keras.callbacks.Callback. Pass a class to the estimator itself: it is "
                "instantiated for each fit."
            )
        self.callback = callback
        self._key = uuid.uuid4().hex
        _alive[self._key] = self

    def __repr__(self) -> str:
        return f"Shared({self.callback!r})"

    def __sklearn_clone__(self) -> Shared:
        return self

    def __copy__(self) -> Shared:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared:
        return self

    def __reduce__(
        self,
    ) -> tuple[Callable[..., Shared], tuple[str, keras.callbacks.Callback]]:
        without_model = copy.copy(self.callback)
        without_model._model = None  # Keras's attribute; the property `model` has no setter
        return _unpickle, (self._key, without_model)


def _unpickle(key: str, callback: keras.callbacks.Callback) -> Shared:
    if key in _alive:
        return _alive[key]
    shared = Shared(callback)
    del _alive[shared._key]
    shared._key = key
    _alive[key] = _unpickled[key] = shared
    return shared
