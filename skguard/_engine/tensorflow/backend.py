"""The engine's entry into TensorFlow."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import keras
import tensorflow as tf

from skguard._engine import mapped
from skguard._engine.plan import Plan
from skguard._engine.samples import take
from skguard._engine.shape_batches import ShapeBatches
from skguard._engine.tensorflow import cleanup, program
from skguard._engine.tensorflow.cleanup import Residue
from skguard._engine.tensorflow.dataset import (
    MappedDataset,
    TensorDataset,
    stream,
    stream_mapped,
    text_tensor,
)
from skguard._engine.tensorflow.prediction import BatchPredictor, PredictionGraph
from skguard._engine.tensorflow.program import GraphProgram
from skguard._engine.unsuitable import UnsuitableError
from skguard._repairs import keras_internals

__all__ = ["BACKEND", "TensorFlowBackend"]


class TensorFlowBackend:
    """A `Backend` that trains and predicts in traced graphs, which similar models share."""

    def check(self, model: keras.Model) -> None:
        if tf.config.functions_run_eagerly():
            raise UnsuitableError("tf.config.run_functions_eagerly(True)")
        if keras_internals.has_distribution(model):
            raise UnsuitableError("the model is distributed over devices")

    def dataset(self, x: Any, y: Any = None, sample_weight: Any = None) -> TensorDataset:
        data = x, y, sample_weight
        if mapped.streams(data):
            return MappedDataset.of(*data)
        return TensorDataset.of(*mapped.loaded(data))

    def program(
        self,
        model: keras.Model,
        training: TensorDataset,
        validation: TensorDataset | None,
        plan: Plan,
    ) -> AbstractContextManager[GraphProgram]:
        return program.lease_program(model, training, validation, plan)

    def predictor(
        self, model: keras.Model, x: Any, n_samples: int, batch_size: int
    ) -> AbstractContextManager[BatchPredictor | PredictionGraph]:
        example = TensorDataset.of(take(x, slice(0, 1)))
        return program.lease_predictor(model, example, n_samples, batch_size)

    def text(self, array: Any) -> tf.Tensor:
        return text_tensor(array)

    def stream(self, batches: ShapeBatches) -> tf.data.Dataset:
        return stream(batches)

    def stream_mapped(self, data: Any, **options: Any) -> tf.data.Dataset:
        return stream_mapped(data, **options)

    def clean_up(self) -> None:
        cleanup.note(Residue.TRAINING_BY_KERAS)
        cleanup.drop_gradients()


BACKEND = TensorFlowBackend()
