"""Predictions batch by batch in one graph, as ``Model.predict`` computes them."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from skguard._engine.selection import UnsuitableError
from skguard._engine.tensorflow.cache import Graph
from skguard._engine.tensorflow.dataset import Rows, take
from skguard._repairs import keras_internals

__all__ = ["PredictionGraph", "predict"]

_SECONDS_A_CALL = 0.25
_BYTES_A_CALL = 64 * 2**20

_BATCH_HOOKS = ("on_predict_batch_begin", "on_predict_batch_end")


class PredictionGraph(Graph):
    """Predicts rows in memory, some batches at a call.

    Parameters
    ----------
    model : keras.Model
        Its own ``predict_step`` is traced.
    rows : Rows
        What the graph is traced for: it takes any number of rows of their kind.
    batch_size : int or None
        The one size of all batches, where there is but one.
    in_loops : bool
        Whether a call may take many batches, see ``proven.py``.

    Attributes
    ----------
    row_seconds : float or None
        What a row took lately.
    """

    def __init__(
        self, model: keras.Model, rows: Rows, batch_size: int | None, in_loops: bool
    ) -> None:
        self._outputs: Any = None
        self._in_loops = in_loops
        self.row_seconds: float | None = None
        step = self._trace_step(model, rows, batch_size)
        super().__init__(model, [_over_batches(step, rows) if in_loops else step])

    def _trace_step(self, model: keras.Model, rows: Rows, size: int | None) -> Any:
        def on_batch(*tensors: tf.Tensor) -> list[tf.Tensor]:
            *data, places = tensors
            outputs = model.predict_step(rows.batch(data, tf.ensure_shape(places, [size])))
            flat = keras.tree.flatten(outputs)
            if not all(isinstance(t, tf.Tensor) and t.shape.rank for t in flat):
                raise UnsuitableError("predict_step() returns more than dense tensors of rows")
            self._outputs = keras.tree.map_structure(lambda _: None, outputs)
            return list(flat)

        function = tf.function(on_batch, autograph=False, jit_compile=model.jit_compile or None)
        return function.get_concrete_function(*rows.specs, tf.TensorSpec((None,), tf.int32))

    def run(self, rows: Rows, batch_size: int) -> Any:
        """The outputs for all `rows`, nested as the model's, in NumPy arrays."""
        started = time.perf_counter()
        function = self.functions[0]
        if self._in_loops:
            flat = [t.numpy() for t in function(tf.constant(batch_size), *rows.tensors)]
        else:
            order = np.arange(rows.n_rows, dtype=np.int32)
            parts = [
                function(*rows.tensors, tf.constant(order[begin : begin + batch_size]))
                for begin in range(0, rows.n_rows, batch_size)
            ]
            flat = [np.concatenate([t.numpy() for t in part]) for part in zip(*parts, strict=True)]
        self.row_seconds = (time.perf_counter() - started) / rows.n_rows
        return keras.tree.pack_sequence_as(self._outputs, flat)


def _over_batches(step: Any, rows: Rows) -> Any:
    kinds = [(t.dtype, t.shape[1:]) for t in step.structured_outputs]

    def run(size: tf.Tensor, *tensors: tf.Tensor) -> list[tf.Tensor]:
        n_rows = rows.count(tensors)
        n_batches = (n_rows + size - 1) // size

        def body(batch: tf.Tensor, *written: tf.TensorArray) -> tuple[Any, ...]:
            places = tf.range(batch * size, tf.minimum((batch + 1) * size, n_rows))
            outputs = step(*tensors, places)
            return (batch + 1, *(w.write(batch, o) for w, o in zip(written, outputs, strict=True)))

        arrays = [
            tf.TensorArray(k, n_batches, infer_shape=False, element_shape=(None, *s))
            for k, s in kinds
        ]
        _, *written = tf.while_loop(
            lambda batch, *_: batch < n_batches,
            body,
            [tf.constant(0), *arrays],
            parallel_iterations=1,
        )
        return [array.concat() for array in written]

    return tf.function(run, autograph=False).get_concrete_function(
        tf.TensorSpec((), tf.int32), *rows.specs
    )


def predict(
    model: keras.Model,
    graph: PredictionGraph,
    x: Any,
    n_rows: int,
    batch_size: int,
    verbose: Any,
    callbacks: list[keras.callbacks.Callback],
) -> Any:
    """Predict as ``Model.predict`` does, callbacks and all, in bounded memory.

    Parameters
    ----------
    x : array, or nested tuple or dict of arrays of `n_rows` rows
    batch_size : int
    verbose : {"auto", 0, 1, 2}
    callbacks : list of keras.callbacks.Callback

    Returns
    -------
    ndarray, or nested lists, tuples and dicts of them
        As the model's outputs.
    """
    n_batches = -(-n_rows // batch_size)
    notified = keras.callbacks.CallbackList(
        callbacks,
        add_progbar=verbose != 0,
        verbose=verbose,
        epochs=1,
        steps=n_batches,
        model=model,
    )
    bars = [c for c in notified.callbacks if type(c) is keras.callbacks.ProgbarLogger]
    by_batch = any(_has(c, hook) for c in notified.callbacks for hook in _BATCH_HOOKS)
    steps = model.steps_per_execution if model.compiled else 1
    row_bytes = sum(
        int(np.prod(leaf.shape[1:], dtype=int)) * leaf.dtype.itemsize
        for leaf in keras.tree.flatten(x)
        if isinstance(leaf, np.ndarray)
    )
    model.stop_predicting = False
    notified.on_predict_begin()
    parts = []
    begin = 0
    while begin < n_batches:
        n = steps if by_batch else _chunk(graph.row_seconds, row_bytes, batch_size)
        end = min(begin + n, n_batches)
        if by_batch:
            notified.on_predict_batch_begin(begin)
        part = slice(begin * batch_size, min(end * batch_size, n_rows))
        outputs = graph.run(Rows.of(take(x, part)), batch_size)
        parts.append(outputs)
        if by_batch:
            tensors = keras.tree.map_structure(tf.convert_to_tensor, outputs)
            told = keras_internals.last_batch_told(begin, n)
            notified.on_predict_batch_end(told, {"outputs": tensors})
        for bar in bars:
            bar.on_predict_batch_end(end - 1)
        begin = end
        if model.stop_predicting:
            break
    notified.on_predict_end()
    if len(parts) == 1:
        return parts[0]
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)


def _has(callback: keras.callbacks.Callback, hook: str) -> bool:
    if type(callback) is keras.callbacks.ProgbarLogger:
        return False
    method = getattr(callback, hook)
    return getattr(method, "__func__", method) is not getattr(keras.callbacks.Callback, hook)


def _chunk(row_seconds: float | None, row_bytes: int, batch_size: int) -> int:
    rows = _BYTES_A_CALL // max(row_bytes, 1)
    if row_seconds is None:
        rows = min(rows, 32 * batch_size)
    else:
        rows = min(rows, int(_SECONDS_A_CALL / max(row_seconds, 1e-9)))
    return max(1, rows // batch_size)
