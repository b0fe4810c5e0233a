"""Model functions for inputs of many kinds: text, sequences, images, several inputs."""

import keras


def build_text(shape=(1,)):
    words = keras.layers.TextVectorization(
        vocabulary=["good", "bad", "day", "12", "7"], output_mode="multi_hot"
    )
    return keras.Sequential(
        [keras.Input(shape, dtype="string"), words, keras.layers.Dense(1, "sigmoid")]
    )


def build_lookup(meta):
    """Return a model that looks up each column of strings."""
    inputs = keras.Input(meta["X_shape_"][1:], dtype="string")
    lookup = keras.layers.StringLookup(vocabulary=["01", "1", "2"], output_mode="multi_hot")
    return keras.Model(inputs, keras.layers.Dense(1)(lookup(inputs)))


def build_recurrent(meta):
    """Return a model of sequences of vectors, of any length if they differ in length."""
    return keras.Sequential(
        [keras.Input((None, meta["X_shape_"][2])), keras.layers.GRU(3), keras.layers.Dense(1)]
    )


def build_embedding():
    """Return a model of sequences of word numbers of any length."""
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(10, 3),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(1),
        ]
    )


def build_convolution(meta):
    """Return a model of images of any size."""
    return keras.Sequential(
        [
            keras.Input(meta["X_shape_"][1:]),
            keras.layers.Conv2D(2, 2),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1),
        ]
    )


def build_per_step():
    """Return a model with one output per step."""
    return keras.Sequential(
        [
            keras.Input((None, 2)),
            keras.layers.GRU(3, return_sequences=True),
            keras.layers.Dense(1),
        ]
    )


def build_two_inputs(as_dict=False):
    """Return a model with an input of two numbers and one of text."""
    numbers = keras.Input((2,), name="numbers")
    text = keras.Input((), dtype="string", name="text")
    words = keras.layers.TextVectorization(vocabulary=["good", "bad"], output_mode="multi_hot")
    joined = keras.layers.Concatenate()([numbers, words(text)])
    inputs = {"text": text, "numbers": numbers} if as_dict else [numbers, text]
    return keras.Model(inputs, keras.layers.Dense(1)(joined))


def build_ids():
    """Return a model with an input of whole numbers and one of other numbers."""
    ids = keras.Input((1,), dtype="int64", name="ids")
    numbers = keras.Input((2,), name="numbers")
    bits = keras.layers.Hashing(16, output_mode="one_hot")(ids)
    return keras.Model(
        [ids, numbers], keras.layers.Dense(1)(keras.layers.Concatenate()([bits, numbers]))
    )


def build_dense(width=4, batch_size=None):
    return keras.Sequential([keras.Input((width,), batch_size=batch_size), keras.layers.Dense(1)])


def build_nan_to_zero(width=4):
    """Return a model that replaces NaN by 0."""
    inputs = keras.Input((width,))
    return keras.Model(inputs, keras.layers.Dense(1)(keras.ops.nan_to_num(inputs)))
