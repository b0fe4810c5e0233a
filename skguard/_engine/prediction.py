"""The prediction loop: runs a predictor, and calls callbacks as ``Model.predict`` would."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from skguard._engine import mapped
from skguard._engine.batches import n_batches
from skguard._engine.loop import BYTES_PER_CALL, SECONDS_PER_CALL
from skguard._engine.mapped import MappedSamples
from skguard._engine.protocol import Predictor
from skguard._engine.samples import take
from skguard._repairs import keras_internals
from skguard.callbacks._traits import any_overrides, traits_of

__all__ = ["predict"]

_BATCH_HOOKS = ("on_predict_batch_begin", "on_predict_batch_end")
_FIRST_BATCHES = 32  # in the first call, of which the duration is unknown


def predict(
    model: keras.Model,
    predictor: Predictor,
    x: Any,
    n_samples: int,
    *,
    batch_size: int,
    verbose: int | str,
    callbacks: list[keras.callbacks.Callback],
) -> Any:
    """Predict as ``Model.predict`` does, callbacks included, in bounded memory.

    Parameters
    ----------
    model : keras.Model
    predictor : Predictor
        Of this model.
    x : array, or nested tuple or dict of arrays, of `n_samples` samples
    n_samples : int
    batch_size : int
    verbose : {"auto", 0, 1, 2}
    callbacks : list of keras.callbacks.Callback

    Returns
    -------
    ndarray, or nested lists, tuples and dicts of ndarray
        As the outputs of the model.
    """
    steps = n_batches(n_samples, batch_size)
    notified = keras.callbacks.CallbackList(
        callbacks,
        add_progbar=verbose != 0,
        verbose=verbose,
        epochs=1,
        steps=steps,
        model=model,
    )
    model.stop_predicting = False
    notified.on_predict_begin()
    parts = list(_predict_parts(model, predictor, x, n_samples, batch_size, notified))
    notified.on_predict_end()
    if len(parts) == 1:
        return parts[0]
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)


def _predict_parts(
    model: keras.Model,
    predictor: Predictor,
    x: Any,
    n_samples: int,
    batch_size: int,
    notified: keras.callbacks.CallbackList,
) -> Iterator[Any]:
    """Yield the outputs of some batches at a time, until all are done or a callback stops."""
    bars = [c for c in notified.callbacks if traits_of(c).shows_progress]
    has_hooks = any_overrides(notified.callbacks, _BATCH_HOOKS)
    steps_per_execution = model.steps_per_execution if model.compiled else 1
    steps = n_batches(n_samples, batch_size)
    sample_bytes = _bytes_per_sample(x)
    call_bytes = mapped.CHUNK_BYTES if mapped.streams(x) else BYTES_PER_CALL
    most = call_bytes // sample_bytes
    begin = 0
    while begin < steps:
        if has_hooks:
            n = steps_per_execution
            notified.on_predict_batch_begin(begin)
        else:
            n = _batches_per_call(predictor.seconds_per_sample, most, batch_size)
        end = min(begin + n, steps)
        part = slice(begin * batch_size, min(end * batch_size, n_samples))
        outputs = predictor.run(take(x, part), batch_size)
        if has_hooks:
            tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, outputs)
            last = keras_internals.reported_batch(begin, n)
            notified.on_predict_batch_end(last, {"outputs": tensors})
        for bar in bars:
            bar.on_predict_batch_end(end - 1)
        yield outputs
        begin = end
        if model.stop_predicting:
            break


def _bytes_per_sample(x: Any) -> int:
    leaves = keras.tree.flatten(x)
    return mapped.bytes_per_sample(
        leaf for leaf in leaves if isinstance(leaf, np.ndarray | MappedSamples)
    )


def _batches_per_call(seconds_per_sample: float | None, n_samples: int, batch_size: int) -> int:
    """Return how many batches to predict at once, of at most `n_samples` if possible."""
    if seconds_per_sample is None:
        n_samples = min(n_samples, _FIRST_BATCHES * batch_size)
    else:
        n_samples = min(n_samples, int(SECONDS_PER_CALL / max(seconds_per_sample, 1e-9)))
    return max(1, n_samples // batch_size)
