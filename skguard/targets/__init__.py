"""Targets: how y is encoded for the loss of a model, and how its outputs are decoded.

An estimator finds this out by itself from y, the loss and the outputs of the built model. Pass
one of these as its parameter ``target`` where it says that it cannot know, or for outputs that
are not classes or numbers.
"""

from skguard.targets._heads import Heads
from skguard.targets._labels import Labels
from skguard.targets._multilabel import MultiLabel
from skguard.targets._ordinal import Ordinal
from skguard.targets._values import MeanAndDeviation, Quantiles, Values

__all__ = [
    "Heads",
    "Labels",
    "MeanAndDeviation",
    "MultiLabel",
    "Ordinal",
    "Quantiles",
    "Values",
]
