"""Random streams: seeds all of them for a fit and restores them afterwards.

Python, NumPy, Keras and TensorFlow each keep one random stream for the whole process, and
TensorFlow one switch that makes its operations deterministic. A fit needs all of them for
itself, so a fit holds `LOCK`: fits in several threads are serialized by it, and none draws from
another's stream.

Keras and TensorFlow can set their streams through public functions, but have none that return
their state. The private places that hold it (Keras 3.8 to 3.15, TensorFlow 2.18 to 2.21) are
read here and nowhere else. If a release moves them, `restorable` reports it and the streams are
seeded through the public functions alone.

One state cannot be restored: TensorFlow's eager operations with a seed of their own, such as
``tf.random.uniform((), seed=5)``, count their calls in kernels that seeding discards. Such a
sequence starts again after a seeded fit, as it does after ``tf.random.set_seed``.
"""

from __future__ import annotations

import contextlib
import numbers
import random
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import keras
import numpy as np

from skguard.exceptions import InputValueError

__all__ = ["LOCK", "derive", "is_deterministic", "preserved", "resolve", "restorable", "seeded"]

LOCK = threading.RLock()
"""Held by every fit, and by any other code that must not draw from a fit's random streams."""

_LARGEST = 2**32 - 1  # the maximum that numpy.random.seed accepts

# Keys of Keras's global state. Keras 3.8 has no constants for them.
_KERAS_SEED = "global_random_seed"
_KERAS_GENERATOR = "global_seed_generator"


def resolve(random_state: Any) -> int | None:
    """Turn a `random_state` parameter into a seed.

    Parameters
    ----------
    random_state : None, int or numpy.random.RandomState
        A ``RandomState`` is read, never advanced, so that the parameter stays as it was and
        every fit draws the same seed from it.

    Returns
    -------
    int or None
        Between 0 and ``2**32 - 1``; None leaves the streams as they are.

    Raises
    ------
    InputValueError
        For any other value, or an int out of range.
    """
    if random_state is None:
        return None
    if isinstance(random_state, np.random.RandomState):
        twin = np.random.RandomState()
        twin.set_state(random_state.get_state())
        return int(twin.randint(low=1, high=np.iinfo(np.int32).max))
    if isinstance(random_state, numbers.Integral) and 0 <= int(random_state) <= _LARGEST:
        return int(random_state)
    raise InputValueError(
        f"random_state={random_state!r} is not a seed. Pass None, an int from 0 to {_LARGEST}, "
        "or a numpy.random.RandomState."
    )


def derive(seed: int | None, *keys: int) -> int | None:
    """Return another seed for each combination of `keys`, always the same one.

    It is `seed` itself for keys that are all 0, and None for ``seed=None``.
    """
    if seed is None or not any(keys):
        return seed
    return int(np.random.SeedSequence([seed, *keys]).generate_state(1)[0])


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Set every stream to `seed` and make TensorFlow deterministic; afterwards, undo both.

    With ``seed=None`` the streams are used as they are, as Keras itself would.
    """
    with LOCK:
        if seed is None:
            yield
            return
        with preserved():
            _seed_streams(seed)
            _renew_keras_generator()
            _make_deterministic()
            yield


@contextlib.contextmanager
def preserved() -> Iterator[None]:
    """Restore every random stream at the end, whatever is drawn inside."""
    with LOCK, contextlib.ExitStack() as undo:
        undo.callback(random.setstate, random.getstate())
        undo.callback(np.random.set_state, np.random.get_state())
        for restore in (_keras_restorer(), _tensorflow_restorer(), _determinism_restorer()):
            if restore is not None:
                undo.callback(restore)
        yield


def restorable() -> dict[str, bool]:
    """Return which streams this release of Keras and TensorFlow can restore exactly."""
    return {
        "keras": _keras_restorer() is not None,
        "tensorflow": _tensorflow_restorer() is not None,
        "determinism": _determinism_restorer() is not None,
    }


def is_deterministic() -> bool:
    """Return whether TensorFlow's operations are deterministic now."""
    config = _determinism_config()
    return config is not None and config.is_op_determinism_enabled()


def _keras_global_state() -> ModuleType | None:
    try:
        from keras.src.backend.common import global_state
    except ImportError:
        return None
    return global_state


def _keras_restorer() -> Callable[[], None] | None:
    state = _keras_global_state()
    if state is None:
        return None
    # The generator object is replaced while a seed is set, not advanced, so the reference
    # alone restores its state; its counter moves only when it is used unseeded.
    before = {name: state.get_global_attribute(name) for name in (_KERAS_SEED, _KERAS_GENERATOR)}
    generator = before[_KERAS_GENERATOR]
    counter = None if generator is None else np.array(generator.state)

    def restore() -> None:
        for name, value in before.items():
            state.set_global_attribute(name, value)
        if generator is not None:
            generator.state.assign(counter)

    return restore


def _renew_keras_generator() -> None:
    """Have Keras make its generator again from the seed; Keras 3.8 keeps the old one."""
    state = _keras_global_state()
    if state is not None:
        state.set_global_attribute(_KERAS_GENERATOR, None)


def _seed_streams(seed: int) -> None:
    """Do as ``keras.utils.set_random_seed``, but keep TensorFlow's kernels if possible.

    ``tf.random.set_seed`` drops all kernels, because an operation with a seed keeps its place
    in its stream there (``Context._set_global_seed`` of TensorFlow 2.18 to 2.21). The traced
    graphs are dropped with them and optimized again at their next call, which takes longer than
    a small fit. So kernels are dropped only in processes that have used such an operation.
    """
    context = _eager_context()
    state = _keras_global_state()
    if context is None or state is None or not hasattr(context, "clear_kernel_cache"):
        keras.utils.set_random_seed(seed)
        return
    random.seed(seed)
    np.random.seed(seed)
    state.set_global_attribute(_KERAS_SEED, seed)
    context._seed = _WatchedSeed(seed)
    context._rng = random.Random(seed)  # noqa: S311 - the class that TensorFlow itself uses
    if _WatchedSeed.was_used:
        context.clear_kernel_cache()


class _WatchedSeed(int):
    """A seed that records that TensorFlow derived the seed of an operation from it.

    ``tensorflow.python.framework.random_seed.get_seed`` takes it modulo the largest int for an
    operation with a seed (TensorFlow 2.18 to 2.21).
    """

    was_used = False

    def __mod__(self, other: int) -> int:
        import tensorflow as tf

        # Datasets keep their streams in their iterators, and Keras makes new ones for each fit.
        graph = getattr(tf.compat.v1.get_default_graph(), "name", "")
        if not _WatchedSeed.was_used and not graph.startswith("Dataset"):
            _WatchedSeed.was_used = True
            context = _eager_context()
            if context is not None:
                context.clear_kernel_cache()
        return int(self) % other


def _eager_context() -> Any:
    """Return the object that holds TensorFlow's stream, None if a release has moved it."""
    if "tensorflow" not in sys.modules:
        return None
    try:
        from tensorflow.python.eager import context as eager
    except ImportError:
        return None
    context = eager.context()
    return context if hasattr(context, "_seed") else None


def _tensorflow_restorer() -> Callable[[], None] | None:
    context = _eager_context()
    if context is None:
        return None
    # tf.random.set_seed(old) would start the stream of operation seeds again from its first
    # value, so the old stream itself is restored.
    seed, stream = context._seed, getattr(context, "_rng", None)
    position = None if stream is None else stream.getstate()

    def restore() -> None:
        context._seed = seed
        context._rng = stream
        if stream is not None:
            stream.setstate(position)

    return restore


def _determinism_config() -> ModuleType | None:
    if "tensorflow" not in sys.modules:
        return None
    try:
        from tensorflow.python.framework import config
    except ImportError:
        return None
    if hasattr(config, "is_op_determinism_enabled") and hasattr(config, "disable_op_determinism"):
        return config
    return None


def _determinism_restorer() -> Callable[[], None] | None:
    config = _determinism_config()
    if config is None:
        return None
    # Asked before determinism is enabled here: the first call reads TF_DETERMINISTIC_OPS, and
    # TensorFlow keeps the answer for the life of the process.
    was_enabled = config.is_op_determinism_enabled()

    def restore() -> None:
        if not was_enabled:
            config.disable_op_determinism()

    return restore


def _make_deterministic() -> None:
    if _determinism_config() is not None:
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
