"""One callback object for every fit, on purpose."""

from __future__ import annotations

import copy
import uuid
import weakref
from typing import Any

import keras

__all__ = ["Shared"]

# The wrappers alive in this process, so that one that comes back from a pickle finds its twin.
_alive: weakref.WeakValueDictionary[str, Shared] = weakref.WeakValueDictionary()
# Those that only a pickle brought here; nothing else would keep their callback between fits.
_arrived: dict[str, Shared] = {}


class Shared:
    """Use the one callback object in every fit of the process, instead of a copy.

    Estimators copy the callbacks in their parameters for each fit. Wrap one to opt out: it
    then sees every fit, keeps its state from one to the next, and writes where it says,
    clones of the estimator included. A worker process has one object of its own, which
    reaches it by pickle: a callback that cannot be pickled cannot be shared with workers.

    Parameters
    ----------
    callback : keras.callbacks.Callback
        The object, not a class.

    Raises
    ------
    TypeError
        If `callback` is no callback object.

    Examples
    --------
    >>> import keras
    >>> from skguard.callbacks import Shared
    >>> log = Shared(keras.callbacks.History())
    >>> log.callback.on_train_begin()
    """

    def __init__(self, callback: keras.callbacks.Callback) -> None:
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(
                f"Shared takes a callback object, and got {callback!r}. A class has nothing to "
                "share: pass it to the estimator as it is."
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

    def __reduce__(self) -> tuple[Any, ...]:
        without_model = copy.copy(self.callback)
        without_model._model = None
        return _arrive, (self._key, without_model)


def _arrive(key: str, callback: keras.callbacks.Callback) -> Shared:
    if key in _alive:
        return _alive[key]
    shared = Shared(callback)
    del _alive[shared._key]
    shared._key = key
    _alive[key] = _arrived[key] = shared
    return shared
