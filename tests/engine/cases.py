"""Models that use every class whose graphs are shared, and data to train them with."""

import keras
import numpy as np
from keras import layers as L  # noqa: N812
from sklearn.base import clone

from skguard import schedules as by_epochs

rng = np.random.default_rng(0)


def sequential(shape, *stack, loss="sparse_categorical_crossentropy", optimizer="adam", **compiled):
    model = keras.Sequential([keras.Input(shape), *stack])
    return compile_(model, loss, optimizer, **compiled)


def compile_(model, loss, optimizer, metrics=(), **compiled):
    model.compile(optimizer=optimizer, loss=loss, metrics=list(metrics) or None, **compiled)
    return model


def softmax(n=3):
    return L.Dense(n, "softmax")


def dense(*stack, **compiled):
    return sequential((8,), *(stack or (L.Dense(16, "relu"),)), softmax(), **compiled)


def activated(names):
    stack = (L.Dense(8, name) for name in names.split() if hasattr(keras.activations, name))
    return dense(*stack, optimizer="sgd")


def initialized():
    names = """
        GlorotNormal HeNormal HeUniform LecunNormal LecunUniform Ones Orthogonal RandomUniform
        TruncatedNormal VarianceScaling Zeros
    """
    for name in names.split():
        yield L.Dense(6, kernel_initializer=name, bias_initializer="random_normal")
    yield L.Dense(6, bias_initializer=keras.initializers.Constant(0.5))


def regression(loss="mse", optimizer="adam", **compiled):
    stack = L.Dense(16, "tanh"), L.Dense(1)
    return sequential((8,), *stack, loss=loss, optimizer=optimizer, **compiled)


def binary(loss="binary_crossentropy", metrics=(), activation="sigmoid", **compiled):
    stack = L.Dense(16, "relu"), L.Dense(1, activation)
    return sequential((8,), *stack, loss=loss, metrics=metrics, **compiled)


def one_hot(loss="categorical_crossentropy", metrics=()):
    return sequential((8,), L.Dense(16, "relu"), softmax(), loss=loss, metrics=metrics)


def counts(loss):
    return sequential((8,), L.Dense(16, "relu"), L.Dense(1, "softplus"), loss=loss)


def merged(merge, optimizer="adam"):
    x = keras.Input((8,))
    a, b = L.Dense(6, "relu")(x), L.Dense(6, "tanh")(x)
    return compile_(
        keras.Model(x, softmax()(merge([a, b]))), "sparse_categorical_crossentropy", optimizer
    )


def two_inputs():
    a, b = keras.Input((8,), name="a"), keras.Input((3,), name="b")
    x = L.Concatenate()([L.Dense(8, "relu")(a), L.Dense(4, "relu")(b)])
    return compile_(keras.Model([a, b], softmax()(x)), "sparse_categorical_crossentropy", "adam")


def dict_inputs():
    a, b = keras.Input((8,), name="a"), keras.Input((3,), name="b")
    x = L.Concatenate()([a, L.Dense(4, "relu")(b)])
    model = keras.Model({"a": a, "b": b}, softmax()(x))
    return compile_(model, "sparse_categorical_crossentropy", "adam", metrics=["accuracy"])


def two_outputs():
    x = keras.Input((8,))
    shared = L.Dense(8, "relu")(x)
    outputs = [L.Dense(3, "softmax", name="kind")(shared), L.Dense(1, name="size")(shared)]
    losses = {"kind": "sparse_categorical_crossentropy", "size": "mse"}
    return compile_(
        keras.Model(x, outputs), losses, "adam", loss_weights={"kind": 1.0, "size": 0.5}
    )


def dict_outputs():
    x = keras.Input((8,))
    shared = L.Dense(8, "relu")(x)
    outputs = {
        "kind": L.Dense(3, "softmax", name="kind")(shared),
        "size": L.Dense(1, name="size")(shared),
    }
    model = keras.Model(x, outputs)
    losses = {"kind": "sparse_categorical_crossentropy", "size": "mse"}
    model.compile("adam", losses, metrics={"kind": ["accuracy"], "size": ["mae"]})
    return model


def nested():
    inner = keras.Sequential([keras.Input((8,)), L.Dense(6, "relu"), L.BatchNormalization()])
    x = keras.Input((8,))
    model = keras.Model(x, softmax()(inner(x)))
    return compile_(model, "sparse_categorical_crossentropy", "adam")


def transformer():
    x = keras.Input((6, 8))
    attended = L.MultiHeadAttention(2, 4, dropout=0.1, seed=3)(x, x)
    y = L.LayerNormalization()(L.Add()([x, attended]))
    y = L.GlobalAveragePooling1D()(L.Dense(8, "gelu")(y))
    return compile_(keras.Model(x, softmax()(y)), "sparse_categorical_crossentropy", "adam")


def schedule(rate):
    return keras.optimizers.SGD(rate, momentum=0.9)


def mixed(**compiled):
    with_policy = [
        L.Dense(16, "relu", dtype="mixed_float16"),
        L.Dense(3, "softmax", dtype="float32"),
    ]
    return sequential((8,), *with_policy, **compiled)


schedules = keras.optimizers.schedules
optimizers = keras.optimizers
regularized = {
    "kernel_regularizer": "l2",
    "bias_regularizer": keras.regularizers.L1L2(0.1, 0.0),
    "activity_regularizer": keras.regularizers.L1L2(0.01, 0.01),
}

# name: (model function, shape of one sample of X, kind of y)
CASES = {
    # layers
    "dense": (lambda: dense(metrics=["accuracy"]), (8,), "class"),
    "float64 samples": (dense, (8,), "class"),
    "batch normalization": (
        lambda: dense(L.Dense(8), L.BatchNormalization(), L.ReLU(), metrics=["accuracy"]),
        (8,),
        "class",
    ),
    "dropout and noise": (
        lambda: dense(L.GaussianNoise(0.1, seed=2), L.Dense(16, "relu"), L.Dropout(0.3, seed=1)),
        (8,),
        "class",
    ),
    "dropout without a seed": (lambda: dense(L.Dense(16, "relu"), L.Dropout(0.3)), (8,), "class"),
    "activations": (
        lambda: dense(
            L.Dense(8),
            L.LeakyReLU(),
            L.Dense(8),
            L.PReLU(),
            L.Dense(8),
            L.ELU(),
            L.Activation("relu"),
            L.UnitNormalization(),
            L.Softmax(),
            L.Rescaling(2.0, 0.5),
        ),
        (8,),
        "class",
    ),
    "activations, unbounded": (
        lambda: activated("celu elu gelu leaky_relu linear mish relu relu6 selu softplus"),
        (8,),
        "class",
    ),
    "activations, bounded": (
        lambda: activated("hard_sigmoid hard_tanh log_sigmoid log_softmax sigmoid softmax"),
        (8,),
        "class",
    ),
    "activations, others": (
        lambda: activated("exponential hard_silu soft_shrink softsign squareplus tanh tanh_shrink"),
        (8,),
        "class",
    ),
    "swish": (lambda: activated("silu"), (8,), "class"),
    "cnn": (
        lambda: sequential(
            (8, 8, 1),
            L.Conv2D(4, 3, activation="relu", padding="same"),
            L.MaxPooling2D(),
            L.Flatten(),
            softmax(),
        ),
        (8, 8, 1),
        "class",
    ),
    "more of images": (
        lambda: sequential(
            (8, 8, 2),
            L.ZeroPadding2D(1),
            L.SeparableConv2D(3, 3),
            L.DepthwiseConv2D(3),
            L.AveragePooling2D(2),
            L.UpSampling2D(2),
            L.Permute((3, 1, 2)),
            L.GlobalMaxPooling2D(),
            softmax(),
        ),
        (8, 8, 2),
        "class",
    ),
    "global average of images": (
        lambda: sequential(
            (8, 8, 1), L.Conv2D(4, 3), L.BatchNormalization(), L.GlobalAveragePooling2D(), softmax()
        ),
        (8, 8, 1),
        "class",
    ),
    "convolution of sequences": (
        lambda: sequential(
            (10, 4),
            L.SpatialDropout1D(0.2, seed=1),
            L.Conv1D(5, 3, activation="relu"),
            L.MaxPooling1D(2),
            L.AveragePooling1D(2),
            L.GlobalAveragePooling1D(),
            softmax(),
        ),
        (10, 4),
        "class",
    ),
    "lstm": (lambda: sequential((6, 4), L.LSTM(8), softmax()), (6, 4), "class"),
    "gru": (
        lambda: sequential(
            (6, 4), L.GRU(8, return_sequences=True), L.GlobalMaxPooling1D(), softmax()
        ),
        (6, 4),
        "class",
    ),
    "simple rnn": (
        lambda: sequential((6, 4), L.Bidirectional(L.SimpleRNN(5)), softmax()),
        (6, 4),
        "class",
    ),
    "embedding": (
        lambda: sequential((5,), L.Embedding(7, 4), L.Flatten(), softmax()),
        (5,),
        "class of words",
    ),
    "reshape": (
        lambda: sequential(
            (8,), L.Dense(4), L.RepeatVector(3), L.Reshape((6, 2)), L.Flatten(), softmax()
        ),
        (8,),
        "class",
    ),
    "transformer": (transformer, (6, 8), "class"),
    "add": (lambda: merged(L.Add()), (8,), "class"),
    "average": (lambda: merged(L.Average()), (8,), "class"),
    "maximum": (lambda: merged(L.Maximum()), (8,), "class"),
    "multiply": (lambda: merged(L.Multiply()), (8,), "class"),
    "subtract": (lambda: merged(L.Subtract()), (8,), "class"),
    "nested model": (nested, (8,), "class"),
    "two inputs": (two_inputs, [(8,), (3,)], "class"),
    "inputs by name": (dict_inputs, {"a": (8,), "b": (3,)}, "class"),
    "two outputs": (two_outputs, (8,), ["class", "number"]),
    "outputs by name": (dict_outputs, (8,), {"kind": "class", "size": "number"}),
    "frozen layer": (lambda: dense(L.Dense(16, "relu", trainable=False)), (8,), "class"),
    "regularizers": (
        lambda: dense(
            L.Dense(8, "relu", **regularized),
        ),
        (8,),
        "class",
    ),
    "constraints": (
        lambda: dense(
            L.Dense(8, "relu", kernel_constraint="max_norm", bias_constraint="non_neg"),
            L.Dense(8, kernel_constraint=keras.constraints.UnitNorm()),
            L.Dense(8, kernel_constraint=keras.constraints.MinMaxNorm(0.1, 0.9)),
        ),
        (8,),
        "class",
    ),
    "initializers": (lambda: dense(*initialized()), (8,), "class"),
    "mixed precision": (mixed, (8,), "class"),
    # losses
    "binary": (binary, (8,), "sign"),
    "binary focal": (lambda: binary("binary_focal_crossentropy"), (8,), "sign"),
    "hinge": (lambda: binary("hinge", activation="tanh"), (8,), "sign"),
    "squared hinge": (lambda: binary("squared_hinge", activation="tanh"), (8,), "sign"),
    "categorical": (one_hot, (8,), "one-hot"),
    "categorical focal": (lambda: one_hot("categorical_focal_crossentropy"), (8,), "one-hot"),
    "divergence": (lambda: one_hot("kl_divergence"), (8,), "one-hot"),
    "cosine": (lambda: one_hot("cosine_similarity"), (8,), "one-hot"),
    "label smoothing": (
        lambda: one_hot(keras.losses.CategoricalCrossentropy(label_smoothing=0.1)),
        (8,),
        "one-hot",
    ),
    "from logits": (
        lambda: sequential(
            (8,),
            L.Dense(3),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ),
        (8,),
        "class",
    ),
    "poisson": (lambda: counts("poisson"), (8,), "count"),
    "squared logarithms": (lambda: counts("msle"), (8,), "count"),
    "percentages": (lambda: counts("mape"), (8,), "count"),
    "absolute error": (lambda: regression("mae"), (8,), "number"),
    "huber": (lambda: regression(keras.losses.Huber(0.5)), (8,), "number"),
    "log cosh": (lambda: regression(keras.losses.LogCosh()), (8,), "number"),
    "all loss classes": (
        lambda: one_hot(keras.losses.CategoricalFocalCrossentropy(gamma=1.0)),
        (8,),
        "one-hot",
    ),
    # metrics
    "binary metrics": (
        lambda: binary(
            metrics=[
                "accuracy",
                keras.metrics.BinaryCrossentropy(),
                keras.metrics.AUC(name="auc"),
                keras.metrics.Precision(),
                keras.metrics.Recall(),
                keras.metrics.TruePositives(),
                keras.metrics.TrueNegatives(),
                keras.metrics.FalsePositives(),
                keras.metrics.FalseNegatives(),
            ]
        ),
        (8,),
        "sign",
    ),
    "multi-class metrics": (
        lambda: dense(
            metrics=[
                "accuracy",
                keras.metrics.SparseCategoricalCrossentropy(),
                keras.metrics.SparseTopKCategoricalAccuracy(2),
            ]
        ),
        (8,),
        "class",
    ),
    "one-hot metrics": (
        lambda: one_hot(
            metrics=[
                "accuracy",
                keras.metrics.CategoricalCrossentropy(),
                keras.metrics.TopKCategoricalAccuracy(2),
                keras.metrics.F1Score(average="macro"),
                keras.metrics.F1Score(name="by_class"),
                keras.metrics.CosineSimilarity(),
            ]
        ),
        (8,),
        "one-hot",
    ),
    "regression metrics": (
        lambda: regression(
            metrics=[
                "mae",
                "mse",
                "mape",
                "msle",
                keras.metrics.RootMeanSquaredError(),
                keras.metrics.R2Score(),
                keras.losses.log_cosh,
            ]
        ),
        (8,),
        "number",
    ),
    "weighted metrics": (
        lambda: dense(weighted_metrics=["accuracy"], metrics=["accuracy"]),
        (8,),
        "class",
    ),
    # optimizers
    "sgd": (lambda: dense(optimizer=optimizers.SGD(0.05)), (8,), "class"),
    "nesterov, clipped by value": (
        lambda: dense(optimizer=optimizers.SGD(0.05, 0.9, nesterov=True, clipvalue=0.1)),
        (8,),
        "class",
    ),
    "momentum, clipped by norm": (
        lambda: dense(optimizer=optimizers.SGD(0.05, momentum=0.9, clipnorm=1.0)),
        (8,),
        "class",
    ),
    "clipped by global norm": (
        lambda: dense(optimizer=optimizers.Adam(0.01, global_clipnorm=0.5)),
        (8,),
        "class",
    ),
    "amsgrad": (lambda: dense(optimizer=optimizers.Adam(0.01, amsgrad=True)), (8,), "class"),
    "adamw": (lambda: dense(optimizer=optimizers.AdamW(0.01, 0.1)), (8,), "class"),
    "nadam": (lambda: dense(optimizer="nadam"), (8,), "class"),
    "adamax": (lambda: dense(optimizer="adamax"), (8,), "class"),
    "adagrad": (lambda: dense(optimizer="adagrad"), (8,), "class"),
    "adadelta": (lambda: dense(optimizer="adadelta"), (8,), "class"),
    "ftrl": (lambda: dense(optimizer="ftrl"), (8,), "class"),
    "lion": (lambda: dense(optimizer="lion"), (8,), "class"),
    "rmsprop": (
        lambda: dense(optimizer=optimizers.RMSprop(0.01, momentum=0.5, centered=True)),
        (8,),
        "class",
    ),
    "moving average": (
        lambda: dense(optimizer=optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9)),
        (8,),
        "class",
    ),
    "moving average, written back": (
        lambda: dense(
            optimizer=optimizers.SGD(0.1, use_ema=True, ema_overwrite_frequency=2),
        ),
        (8,),
        "class",
    ),
    "gradient accumulation": (
        lambda: dense(optimizer=optimizers.Adam(0.01, gradient_accumulation_steps=2)),
        (8,),
        "class",
    ),
    "loss scale": (
        lambda: dense(optimizer=optimizers.LossScaleOptimizer(optimizers.Adam(0.01))),
        (8,),
        "class",
    ),
    "loss scale factor": (
        lambda: dense(optimizer=optimizers.Adam(0.01, loss_scale_factor=4.0)),
        (8,),
        "class",
    ),
    # schedules
    "exponential": (
        lambda: dense(optimizer=schedule(schedules.ExponentialDecay(0.1, 3, 0.8))),
        (8,),
        "class",
    ),
    "cosine decay": (
        lambda: dense(optimizer=schedule(schedules.CosineDecay(0.1, 9, warmup_target=0.2))),
        (8,),
        "class",
    ),
    "inverse time": (
        lambda: dense(optimizer=schedule(schedules.InverseTimeDecay(0.1, 3, 0.5))),
        (8,),
        "class",
    ),
    "piecewise": (
        lambda: dense(
            optimizer=schedule(schedules.PiecewiseConstantDecay([3, 6], [0.1, 0.05, 0.01]))
        ),
        (8,),
        "class",
    ),
    "polynomial": (
        lambda: dense(optimizer=schedule(schedules.PolynomialDecay(0.1, 9, 0.01))),
        (8,),
        "class",
    ),
}
# counted in epochs
CASES |= {
    f"{rate.__class__.__name__} by epochs": (
        lambda rate=rate: dense(optimizer=schedule(clone(rate))),
        (8,),
        "class",
    )
    for rate in (
        by_epochs.EpochCosineDecay(0.1, decay_epochs=2, warmup_epochs=0.5, steps_per_epoch=3),
        by_epochs.Cyclical(0.01, half_cycle_epochs=0.7, steps_per_epoch=3),
        by_epochs.EpochExponentialDecay(0.1, decay_rate=0.7, steps_per_epoch=3),
        by_epochs.OneCycle(0.01, max_learning_rate=0.1, cycle_epochs=2, steps_per_epoch=3),
        by_epochs.StepDecay(0.1, decay_epochs=1, warmup_epochs=0.5, steps_per_epoch=3),
    )
}


def inputs(shape, n=44):
    if isinstance(shape, list):
        return [inputs(s, n) for s in shape]
    if isinstance(shape, dict):
        return {name: inputs(s, n) for name, s in shape.items()}
    return rng.standard_normal((n, *shape)).astype("float32")


def targets(kind, n=44):
    if isinstance(kind, list):
        return [targets(k, n) for k in kind]
    if isinstance(kind, dict):
        return {name: targets(k, n) for name, k in kind.items()}
    classes = rng.integers(0, 3, n)
    made = {
        "class": classes,
        "class of words": classes,
        "one-hot": np.eye(3, dtype="float32")[classes],
        "sign": (classes > 0).astype("float32")[:, None],
        "count": (classes + 1).astype("float32")[:, None],
        "number": rng.standard_normal((n, 1)).astype("float32"),
    }
    return made[kind]


def data_of(name, n=44):
    _, shape, kind = CASES[name]
    x = rng.integers(0, 7, (n, *shape)) if kind == "class of words" else inputs(shape, n)
    return (x.astype("float64") if name == "float64 samples" else x), targets(kind, n)
