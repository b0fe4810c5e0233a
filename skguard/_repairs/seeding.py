"""One seed in, every stream out; nothing global is left changed.

Python, NumPy, Keras and TensorFlow each keep one random stream for the whole process, and
TensorFlow one switch that makes its operations deterministic. A fit needs all of them for
itself, so a fit holds `LOCK`: two fits in two threads take turns, and neither draws from the
other's stream.

Keras and TensorFlow can set their streams through public functions but cannot say what they
were. The private places that know are read here and nowhere else; where a release has moved
them, `restorable` says so and the streams are seeded through the public functions alone.

One thing cannot be put back: TensorFlow's eager operations with a seed of their own, such as
``tf.random.uniform((), seed=5)``, count their calls in kernels that seeding throws away. Such
a sequence starts again after a seeded fit, as it does after ``tf.random.set_seed``.
"""

from __future__ import annotations

import contextlib
import numbers
import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

__all__ = ["LOCK", "derive", "preserved", "resolve", "restorable", "seeded"]

LOCK = threading.RLock()
"""Held by every fit, and by whatever else must not see a fit's random streams."""

_LARGEST = 2**32 - 1  # numpy.random.seed takes no more

# What Keras calls them in its global state; older releases have no constants for these.
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
    ValueError
        For anything else, or an int out of range.
    """
    if random_state is None:
        return None
    if isinstance(random_state, np.random.RandomState):
        twin = np.random.RandomState()
        twin.set_state(random_state.get_state())
        return int(twin.randint(low=1, high=np.iinfo(np.int32).max))
    if isinstance(random_state, numbers.Integral) and 0 <= int(random_state) <= _LARGEST:
        return int(random_state)
    raise ValueError(
        f"random_state={random_state!r} is not a seed. Pass None, an int from 0 to {_LARGEST}, "
        "or a numpy.random.RandomState."
    )


def derive(seed: int | None, *keys: int) -> int | None:
    """A seed of its own for each combination of `keys`, the same one every time."""
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
    """Put every random stream back to where it was, whatever is drawn inside."""
    with LOCK, contextlib.ExitStack() as undo:
        undo.callback(random.setstate, random.getstate())
        undo.callback(np.random.set_state, np.random.get_state())
        for restore in (_keras_restorer(), _tensorflow_restorer(), _determinism_restorer()):
            undo.callback(restore)
        yield


def restorable() -> dict[str, bool]:
    """Which streams this release of Keras and TensorFlow lets us put back exactly."""
    return {
        "keras": _keras_restorer() is not _nothing,
        "tensorflow": _tensorflow_restorer() is not _nothing,
        "determinism": _determinism_restorer() is not _nothing,
    }


def _nothing() -> None:
    """There is nothing to restore, or no way to."""


def _keras_restorer() -> Callable[[], None]:
    try:
        from keras.src.backend.common.global_state import (
            get_global_attribute,
            set_global_attribute,
        )
    except ImportError:
        return _nothing
    # The generator object is replaced while a seed is set, not advanced, so the reference
    # alone brings its state back; its counter moves only when it is used unseeded.
    before = {name: get_global_attribute(name) for name in (_KERAS_SEED, _KERAS_GENERATOR)}
    generator = before[_KERAS_GENERATOR]
    state = None if generator is None else np.array(generator.state)

    def restore() -> None:
        for name, value in before.items():
            set_global_attribute(name, value)
        if generator is not None:
            generator.state.assign(state)

    return restore


def _seed_streams(seed: int) -> None:
    """What ``keras.utils.set_random_seed`` does, but for what it throws away.

    ``tf.random.set_seed`` drops all of TensorFlow's kernels, because an operation with a seed
    keeps its place in its stream there. The traced graphs go with them, and are optimized
    anew at their next call, which takes longer than a small fit. So they are dropped only in
    processes where some such operation was seen.
    """
    context = _eager_context()
    try:
        from keras.src.backend.common.global_state import set_global_attribute
    except ImportError:
        context = None
    if context is None or not hasattr(context, "clear_kernel_cache"):
        keras.utils.set_random_seed(seed)
        return
    random.seed(seed)
    np.random.seed(seed)
    set_global_attribute(_KERAS_SEED, seed)
    context._seed = _WatchedSeed(seed)
    context._rng = random.Random(seed)  # noqa: S311 - what TensorFlow itself uses
    if _WatchedSeed.was_used:
        context.clear_kernel_cache()


class _WatchedSeed(int):
    """A seed that notices when TensorFlow derives the seed of an operation from it."""

    was_used = False

    def __mod__(self, other: int) -> int:
        # Datasets keep their streams in their iterators; Keras makes new ones for each fit.
        import tensorflow as tf

        graph = getattr(tf.compat.v1.get_default_graph(), "name", "")
        if not _WatchedSeed.was_used and not graph.startswith("Dataset"):
            _WatchedSeed.was_used = True
            context = _eager_context()
            if context is not None:
                context.clear_kernel_cache()
        return int(self) % other


def _renew_keras_generator() -> None:
    """Have Keras make its generator anew from the seed, which older releases leave as it is."""
    try:
        from keras.src.backend.common.global_state import set_global_attribute
    except ImportError:
        return
    set_global_attribute(_KERAS_GENERATOR, None)


def _eager_context() -> Any:
    """Where TensorFlow keeps its stream, or None where a release has moved it."""
    if "tensorflow" not in sys.modules:
        return None
    try:
        from tensorflow.python.eager import context as eager
    except ImportError:
        return None
    context = eager.context()
    return context if hasattr(context, "_seed") else None


def _tensorflow_restorer() -> Callable[[], None]:
    context = _eager_context()
    if context is None:
        return _nothing
    # tf.random.set_seed(old) would start the stream of operation seeds again from its first
    # value, so the old stream itself is put back.
    seed, stream = context._seed, getattr(context, "_rng", None)
    position = None if stream is None else stream.getstate()

    def restore() -> None:
        context._seed = seed
        context._rng = stream
        if stream is not None:
            stream.setstate(position)

    return restore


def _determinism_restorer() -> Callable[[], None]:
    if "tensorflow" not in sys.modules:
        return _nothing
    try:
        from tensorflow.python.framework.config import (
            disable_op_determinism,
            is_op_determinism_enabled,
        )
    except ImportError:
        return _nothing

    # Asked before anything switches it on: the first question reads TF_DETERMINISTIC_OPS
    # and the answer is kept for the life of the process.
    def leave() -> None:
        """It was on already: leave it on."""

    return leave if is_op_determinism_enabled() else disable_op_determinism


def is_deterministic() -> bool:
    """Whether TensorFlow is held to deterministic operations just now."""
    restorer = _determinism_restorer()
    return restorer is not _nothing and restorer.__name__ == "leave"


def _make_deterministic() -> None:
    if _determinism_restorer() is not _nothing:
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
