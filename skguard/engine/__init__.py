"""How epochs are run: whole epochs inside one graph where that gives Keras's own numbers."""

from skguard.engine.choosing import ENGINES, check_engine
from skguard.engine.graphs import clear_graphs
from skguard.engine.keras_internals import replace_schedule, schedule_of
from skguard.engine.running import TrainingRun, predict, train
from skguard.engine.threads import take_share
from skguard.engine.watching import ON_NAN, Limits, uses_monitor

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
