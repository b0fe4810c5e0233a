"""How epochs are run: whole epochs inside one graph where that gives Keras's own numbers."""

from skguard._engine.api import TrainingRun, predict, train
from skguard._engine.monitor import ON_NAN, Limits, uses_monitor
from skguard._engine.selection import ENGINES, check_engine
from skguard._engine.tensorflow.cache import clear_graphs
from skguard._engine.tensorflow.threads import take_share
from skguard._repairs.keras_internals import replace_schedule, schedule_of

__all__ = [
    "ENGINES",
    "ON_NAN",
    "Limits",
    "TrainingRun",
    "check_engine",
    "clear_graphs",
    "predict",
    "replace_schedule",
    "schedule_of",
    "take_share",
    "train",
    "uses_monitor",
]
