"""Training and prediction in traced graphs, wherever these give the numbers of Keras."""

from skguard._engine import mapped
from skguard._engine.api import TrainingRun, predict, text_as_tensors, train
from skguard._engine.batches import (
    DEFAULT_BATCH_SIZE,
    n_batches,
    n_training_samples,
    steps_per_epoch,
)
from skguard._engine.mapped import MappedSamples
from skguard._engine.monitor import ON_NAN, Limits, OnNan, StopReason, uses_monitor
from skguard._engine.selection import ENGINES, Engine, check_engine
from skguard._engine.shapes import group_sizes, is_array_of_arrays
from skguard._engine.tensorflow.cache import clear_graphs
from skguard._engine.tensorflow.encoding import with_encoded_targets
from skguard._engine.tensorflow.threads import take_share
from skguard._repairs.keras_internals import replace_schedule, schedule_of

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "ENGINES",
    "ON_NAN",
    "Engine",
    "Limits",
    "MappedSamples",
    "OnNan",
    "StopReason",
    "TrainingRun",
    "check_engine",
    "clear_graphs",
    "group_sizes",
    "is_array_of_arrays",
    "mapped",
    "n_batches",
    "n_training_samples",
    "predict",
    "replace_schedule",
    "schedule_of",
    "steps_per_epoch",
    "take_share",
    "text_as_tensors",
    "train",
    "uses_monitor",
    "with_encoded_targets",
]
