"""Time per epoch of ``Model.fit`` and of the fused engine, for 50 to 200 000 samples.

    python benchmarks/fit_sizes.py [--quick]

For each case, first proves that both give equal histories and weights without shuffling. Then
measures an epoch with shuffling and validation on a fifth of the samples, as the difference of
two trainings of different lengths, so that tracing and set-up, which both do once, do not count.
Prints medians of pairs that run one after the other, and the median of their ratios.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from skguard import _engine as engine

LINE = "{:15} {:>8} {:>6} {:>10} {:>10} {:>7}"
RNG = np.random.default_rng(0)


def mlp(units=64, depth=1):
    hidden = [keras.layers.Dense(units, "relu") for _ in range(depth)]
    return (20,), [*hidden, keras.layers.Dense(2, "softmax")]


def cnn():
    layers = keras.layers
    return (28, 28, 1), [
        layers.Conv2D(16, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(2, "softmax"),
    ]


def lstm():
    return (20, 8), [keras.layers.LSTM(32), keras.layers.Dense(2, "softmax")]


def transformer():
    x = keras.Input((20, 16))
    y = keras.layers.LayerNormalization()(x + keras.layers.MultiHeadAttention(2, 8)(x, x))
    y = keras.layers.LayerNormalization()(y + keras.layers.Dense(16, "relu")(y))
    y = keras.layers.GlobalAveragePooling1D()(y)
    return keras.Model(x, keras.layers.Dense(2, "softmax")(y))


ARCHITECTURES = {
    "MLP 64": mlp,
    "MLP 1024x1024": lambda: mlp(1024, 2),
    "CNN 28x28": cnn,
    "LSTM 32": lstm,
    "transformer": transformer,
}

CASES = [
    ("MLP 64", 50, 32),
    ("MLP 64", 1_000, 32),
    ("MLP 64", 1_000, 256),
    ("MLP 64", 10_000, 32),
    ("MLP 64", 10_000, 256),
    ("MLP 64", 50_000, 32),
    ("MLP 64", 50_000, 256),
    ("MLP 64", 200_000, 256),
    ("MLP 64", 200_000, 1024),
    ("MLP 1024x1024", 1_000, 32),
    ("MLP 1024x1024", 10_000, 256),
    ("CNN 28x28", 1_000, 32),
    ("CNN 28x28", 10_000, 128),
    ("LSTM 32", 1_000, 32),
    ("LSTM 32", 10_000, 128),
    ("transformer", 1_000, 32),
    ("transformer", 10_000, 128),
]


def build(name):
    keras.utils.set_random_seed(1)
    made = ARCHITECTURES[name]()
    if isinstance(made, tuple):
        shape, layers = made
        made = keras.Sequential([keras.Input(shape), *layers])
    made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


def data_of(name, n_samples):
    shape = build(name).input_shape[1:]
    X = RNG.standard_normal((n_samples, *shape)).astype("float32")
    return X, (X.reshape(n_samples, -1)[:, 0] > 0).astype("int64")


def fit_keras(model, X, y, **arguments):
    return model.fit(X, y, verbose=0, validation_split=0.2, **arguments).history


def fit_fused(model, X, y, **arguments):
    run = engine.train(model, X, y, engine="fused", verbose=0, validation_split=0.2, **arguments)
    return run.history


def prove_equal(name, X, y, batch_size):
    theirs, ours = build(name), build(name)
    arguments = {"batch_size": batch_size, "epochs": 1, "shuffle": False}
    assert fit_keras(theirs, X, y, **arguments) == fit_fused(ours, X, y, **arguments)
    assert all(map(np.array_equal, theirs.get_weights(), ours.get_weights()))


def seconds_per_epoch(fit, model, X, y, batch_size, n_epochs):
    seconds = []
    for epochs in (1, 1 + n_epochs):
        started = time.perf_counter()
        fit(model, X, y, batch_size=batch_size, epochs=epochs)
        seconds.append(time.perf_counter() - started)
    return max(seconds[1] - seconds[0], 1e-9) / n_epochs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="up to 10 000 samples, one pair")
    quick = parser.parse_args().quick
    print(LINE.format("model", "samples", "batch", "Keras ms", "fused ms", "ratio"))
    for name, n_samples, batch_size in CASES:
        if quick and n_samples > 10_000:
            continue
        X, y = data_of(name, n_samples)
        prove_equal(name, X, y, batch_size)
        theirs, ours = build(name), build(name)
        for fit, model in ((fit_keras, theirs), (fit_fused, ours)):
            fit(model, X, y, batch_size=batch_size, epochs=1)
        n_epochs = 10 if n_samples <= 1_000 else 2
        pairs = []
        for _ in range(1 if quick else 3):
            keras_seconds = seconds_per_epoch(fit_keras, theirs, X, y, batch_size, n_epochs)
            fused_epochs = n_epochs * (10 if n_samples <= 1_000 else 1)
            fused_seconds = seconds_per_epoch(fit_fused, ours, X, y, batch_size, fused_epochs)
            pairs.append((keras_seconds, fused_seconds))
        theirs_ms, ours_ms = (1e3 * statistics.median(p) for p in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        figures = f"{theirs_ms:.1f}", f"{ours_ms:.2f}", f"{ratio:.1f}"
        print(LINE.format(name, n_samples, batch_size, *figures), flush=True)


if __name__ == "__main__":
    main()
