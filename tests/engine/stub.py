"""A backend that computes nothing and counts the calls."""

import contextlib

from skguard._engine.protocol import EpochResult
from skguard._engine.unsuitable import UnsuitableError


class StubProgram:
    """Counts epochs and batches; the loss of each training call is one lower.

    Its only state is `n_trained`, the number of epochs that the model has been trained for.
    """

    reason = "stub"

    def __init__(self, runs_whole_epochs=True, seconds_per_batch=1e-5):
        self.runs_whole_epochs = runs_whole_epochs
        self.seconds_per_batch = self.seconds_per_validation_batch = seconds_per_batch
        self.bytes_per_snapshot = 8
        self.calls, self.restored = [], []
        self.n_resets, self.n_trained = 0, 0

    def reset_metrics(self):
        self.n_resets += 1

    def run(self, call):
        self.calls.append(call)
        first = self.n_trained
        if call.n_batches:
            self.n_trained += len(call.validates)
        trained = range(first + 1, first + 1 + len(call.validates))
        return EpochResult(
            training=[{"loss": 100.0 - n} for n in trained],
            validation=[{"loss": 50.0 + n} for n in trained],
            snapshots=list(trained) if call.takes_snapshots else None,
        )

    def restore(self, snapshots, epoch, *, weights_only=False):
        self.restored.append((snapshots[epoch], weights_only))
        if not weights_only:
            self.n_trained = snapshots[epoch]


class StubDataset:
    def __init__(self, x):
        self.n_samples = len(x)


class StubPredictor:
    seconds_per_sample = None

    def __init__(self):
        self.n_calls = 0

    def run(self, x, batch_size):
        self.n_calls += 1
        return x[:, :1] * 0 + len(x)


class StubBackend:
    """Lends one program and one predictor, and counts how often they come back."""

    def __init__(self, unsuitable=None):
        self.stub_program, self.stub_predictor = StubProgram(), StubPredictor()
        self.unsuitable = unsuitable
        self.plan = None
        self.n_released = self.n_cleaned = 0

    def check(self, model):
        if self.unsuitable:
            raise UnsuitableError(self.unsuitable)

    def dataset(self, x, y=None, sample_weight=None):
        return StubDataset(x)

    @contextlib.contextmanager
    def program(self, model, training, validation, plan):
        self.plan = plan
        yield self.stub_program
        self.n_released += 1

    @contextlib.contextmanager
    def predictor(self, model, x, n_samples, batch_size):
        yield self.stub_predictor
        self.n_released += 1

    def clean_up(self):
        self.n_cleaned += 1
