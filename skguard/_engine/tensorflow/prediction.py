"""Predictors with the numbers of ``Model.predict``: in a shared graph, or in Keras's function."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from skguard._engine.tensorflow.cache import Graph
from skguard._engine.tensorflow.dataset import TensorDataset
from skguard._engine.unsuitable import UnsuitableError

__all__ = ["BatchPredictor", "PredictionGraph"]


class PredictionGraph(Graph):
    """Predicts samples in memory, some batches per call.

    Parameters
    ----------
    model : keras.Model
        Its own ``predict_step`` is traced.
    samples : TensorDataset
        An example: the graph takes any data of equal ``key``.
    batch_size : int or None
        The size of all batches, None if the last one is shorter.
    in_loops : bool
        Whether a call may have many batches, see ``signatures.py``.

    Attributes
    ----------
    seconds_per_sample : float or None
        Recent duration of a sample.
    """

    def __init__(
        self, model: keras.Model, samples: TensorDataset, batch_size: int | None, in_loops: bool
    ) -> None:
        self._outputs: Any = None
        self._in_loops = in_loops
        self.seconds_per_sample: float | None = None
        step = self._trace_step(model, samples, batch_size)
        super().__init__(model, [_over_batches(step, samples) if in_loops else step])

    def _trace_step(self, model: keras.Model, samples: TensorDataset, size: int | None) -> Any:
        def on_batch(*tensors: tf.Tensor) -> list[tf.Tensor]:
            *data, indices = tensors
            outputs = model.predict_step(samples.batch(data, tf.ensure_shape(indices, [size])))
            flat = keras.tree.flatten(outputs)
            if not all(isinstance(t, tf.Tensor) and t.shape.rank for t in flat):
                raise UnsuitableError("predict_step() returns more than one value per sample")
            if not all(t.shape[1:].is_fully_defined() for t in flat):
                raise UnsuitableError("the shape of an output is unknown")
            self._outputs = keras.tree.map_structure(lambda _: None, outputs)
            return list(flat)

        function = tf.function(on_batch, autograph=False, jit_compile=model.jit_compile or None)
        return function.get_concrete_function(*samples.specs, tf.TensorSpec((None,), tf.int32))

    def run(self, x: Any, batch_size: int) -> Any:
        """Return the outputs for all samples of `x` as NumPy arrays, nested as the model's."""
        samples = TensorDataset.of(x)
        started = time.perf_counter()
        function = self.functions[0]
        if self._in_loops:
            flat = [t.numpy() for t in function(tf.constant(batch_size), *samples.tensors)]
        else:
            order = np.arange(samples.n_samples, dtype=np.int32)
            parts = [
                function(*samples.tensors, tf.constant(order[begin : begin + batch_size]))
                for begin in range(0, samples.n_samples, batch_size)
            ]
            flat = [np.concatenate([t.numpy() for t in part]) for part in zip(*parts, strict=True)]
        self.seconds_per_sample = (time.perf_counter() - started) / samples.n_samples
        return keras.tree.pack_sequence_as(self._outputs, flat)


class BatchPredictor:
    """Predicts one batch at a time, in the function that ``Model.predict`` calls.

    For models that share no graph, of which it is not known whether a graph for batches of any
    size computes the same: where TensorFlow knows the size, it computes the parts of some layers
    (``ConvLSTM2D``) beforehand, and rounds the rest differently. Keras knows the size of the
    batches that it predicts first.

    Parameters
    ----------
    model : keras.Model

    Attributes
    ----------
    seconds_per_sample : float or None
        Recent duration of a sample.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self.seconds_per_sample: float | None = None

    def run(self, x: Any, batch_size: int) -> Any:
        """Return the outputs for all samples of `x` as NumPy arrays, nested as the model's."""
        started = time.perf_counter()
        samples = TensorDataset.of(x)
        parts = [
            self._predict(samples, slice(begin, min(begin + batch_size, samples.n_samples)))
            for begin in range(0, samples.n_samples, batch_size)
        ]
        self.seconds_per_sample = (time.perf_counter() - started) / samples.n_samples
        return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)

    def _predict(self, samples: TensorDataset, part: slice) -> Any:
        batch = samples.batch(samples.tensors, tf.range(part.start, part.stop))
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        outputs = self._model.predict_on_batch(x)
        if not all(np.ndim(array) for array in keras.tree.flatten(outputs)):
            raise UnsuitableError("predict_step() returns more than one value per sample")
        return outputs


def _over_batches(step: Any, samples: TensorDataset) -> Any:
    kinds = [(t.dtype, t.shape[1:]) for t in step.structured_outputs]

    def run(size: tf.Tensor, *tensors: tf.Tensor) -> list[tf.Tensor]:
        n_samples = samples.count(tensors)
        n_batches = (n_samples + size - 1) // size

        def body(batch: tf.Tensor, *written: tf.TensorArray) -> tuple[Any, ...]:
            indices = tf.range(batch * size, tf.minimum((batch + 1) * size, n_samples))
            outputs = step(*tensors, indices)
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
        tf.TensorSpec((), tf.int32), *samples.specs
    )
