"""Cost per epoch of keeping a state to restore: RevertWeights and a hand-written callback.

    python benchmarks/revert_weights.py [rounds]

A network of a million parameters and 10 000 samples. First proves that both callbacks restore
the same weights. Then prints medians over epochs of the time in the hooks of each callback and of
the whole epoch with its training: a kept state is copied when training first assigns to its
variables, which shows in the latter only.
"""

import os
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from skguard import _engine as engine
from skguard.callbacks import RevertWeights

RNG = np.random.default_rng(0)
X = RNG.standard_normal((10_000, 64)).astype("float32")
Y = RNG.standard_normal((10_000, 1)).astype("float32")
EPOCHS = 6


def build():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(960, "relu"), keras.layers.Dense(960, "relu")]
    model = keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


class ByHand(keras.callbacks.Callback):
    """A callback as in tutorials: host copies of the weights."""

    def on_epoch_begin(self, epoch, logs=None):
        self.weights = self.model.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        if epoch > 0 and logs["loss"] > self.loss:
            self.model.set_weights(self.weights)
        else:
            self.loss = logs["loss"]


class Increases(keras.callbacks.Callback):
    """Log a loss that increases in every other epoch."""

    def on_epoch_end(self, epoch, logs=None):
        logs["loss"] = epoch % 2 - 1e-3 * epoch


class Clock(keras.callbacks.Callback):
    """Measure the time in the hooks of another callback, and of whole epochs."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.hooks, self.epochs = inner, [], []

    def set_model(self, model):
        super().set_model(model)
        if self.inner is not None:
            self.inner.set_model(model)

    def _call(self, hook, *args):
        started = time.perf_counter()
        if self.inner is not None:
            getattr(self.inner, hook)(*args)
        return time.perf_counter() - started

    def on_train_begin(self, logs=None):
        self._call("on_train_begin", logs)

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()
        self.begin = self._call("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self.hooks.append(self.begin + self._call("on_epoch_end", epoch, logs))
        self.epochs.append(time.perf_counter() - self.started)


PEERS = {
    "no callback": lambda: None,
    "by hand": ByHand,
    "RevertWeights": RevertWeights,
    "RevertWeights(to=best)": lambda: RevertWeights(to="best"),
}


def train(inner, epochs=EPOCHS):
    model, clock = build(), Clock(inner)
    engine.train(
        model,
        X,
        Y,
        engine="fused",
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[Increases(), clock],
    )
    return model, clock


def prove_equal():
    # Of two epochs, the second is reverted. A third would differ, because the hand-written
    # callback does not restore the moments of Adam.
    ours, _ = train(RevertWeights(), epochs=2)
    theirs, _ = train(ByHand(), epochs=2)
    assert all(map(np.array_equal, ours.get_weights(), theirs.get_weights()))


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    prove_equal()
    hooks, epochs = ({name: [] for name in PEERS} for _ in range(2))
    for _ in range(rounds):
        for name, make in PEERS.items():
            _, clock = train(make())
            hooks[name] += clock.hooks[1:]
            epochs[name] += clock.epochs[1:]
    print(f"{'':22} {'hooks':>10} {'hooks/epoch':>13} {'epoch':>10} {'ratio':>11}")
    alone = statistics.median(epochs["no callback"])
    for name in PEERS:
        hook, epoch = statistics.median(hooks[name]), statistics.median(epochs[name])
        print(
            f"{name:22} {1e3 * hook:7.3f} ms {hook / alone:12.2%} {1e3 * epoch:7.0f} ms "
            f"{epoch / alone:11.3f}"
        )


if __name__ == "__main__":
    main()
