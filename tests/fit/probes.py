"""Callbacks that log given values or record what a fit does, and small comparisons."""

import keras
import numpy as np

ENGINES = ["fused", "keras"]
BEGUN: list[int] = []
"""Epochs that any `RecordsEpochs` saw begin; the fixture ``begun`` empties it."""


class LogsValues(keras.callbacks.Callback):
    """Logs given values, one per epoch; the last one for all epochs after it."""

    def __init__(self, values, name="val_loss"):
        super().__init__()
        self.values, self.name = values, name

    def on_epoch_end(self, epoch, logs=None):
        value = self.values[min(epoch, len(self.values) - 1)]
        if value is not None:
            logs[self.name] = value


class SetsLearningRate(keras.callbacks.Callback):
    """Sets a learning rate after an epoch, so that the next one diverges."""

    def __init__(self, after=2, learning_rate=1e38):
        super().__init__()
        self.after, self.learning_rate = after, learning_rate

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.after:
            self.model.optimizer.learning_rate = self.learning_rate


class RecordsEpochs(keras.callbacks.Callback):
    """Records the epochs that begin, in a list that all copies share."""

    def on_epoch_begin(self, epoch, logs=None):
        BEGUN.append(epoch)


def weights_of(estimator):
    return [np.array(weight) for weight in estimator.model_.get_weights()]


def same(some, others):
    """Whether two lists of arrays are equal, bit for bit."""
    return len(some) == len(others) and all(map(np.array_equal, some, others))
