"""Which models may share a traced graph.

What a layer holds as a number, array or tensor becomes a constant of the graph. Two models
may share one only if all such constants are equal, and that is known only of what Keras's own
classes say of themselves in ``get_config()``. So a model has a signature only if it is made of
nothing but the classes listed here, every one of which has a parity test on a graph traced on
another model, and holds no function, tensor or object of another origin.
"""

from __future__ import annotations

import json
import numbers
import re
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from skguard import schedules
from skguard._repairs import keras_internals, seeding

__all__ = [
    "PROVEN",
    "UnprovenError",
    "is_same_in_loops",
    "prediction_signature",
    "training_signature",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PROVEN: dict[str, frozenset[str]] = {
    "layers": _words(
        """
        Activation Add Average AveragePooling1D AveragePooling2D BatchNormalization
        Bidirectional Concatenate Conv1D Conv2D Dense DepthwiseConv2D EinsumDense Dropout ELU
        Embedding Flatten GRU GRUCell GaussianNoise GlobalAveragePooling1D
        GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D InputLayer LSTM
        LSTMCell LayerNormalization LeakyReLU MaxPooling1D MaxPooling2D Maximum
        MultiHeadAttention Multiply PReLU Permute ReLU RepeatVector Rescaling
        Reshape SeparableConv2D SimpleRNN SimpleRNNCell Softmax SpatialDropout1D
        Subtract UnitNormalization UpSampling2D ZeroPadding2D
        """
    ),
    "losses": _words(
        """
        BinaryCrossentropy BinaryFocalCrossentropy CategoricalCrossentropy
        CategoricalFocalCrossentropy CosineSimilarity Hinge Huber KLDivergence
        LogCosh MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError
        MeanSquaredLogarithmicError Poisson SparseCategoricalCrossentropy
        SquaredHinge
        """
    ),
    "metrics": _words(
        """
        AUC BinaryAccuracy BinaryCrossentropy CategoricalAccuracy
        CategoricalCrossentropy CosineSimilarity F1Score FalseNegatives
        FalsePositives Mean MeanAbsoluteError MeanAbsolutePercentageError
        MeanMetricWrapper MeanSquaredError MeanSquaredLogarithmicError Precision
        R2Score Recall RootMeanSquaredError SparseCategoricalAccuracy
        SparseCategoricalCrossentropy SparseTopKCategoricalAccuracy
        TopKCategoricalAccuracy TrueNegatives TruePositives
        """
    ),
    "optimizers": _words(
        """
        Adadelta Adagrad Adam AdamW Adamax Ftrl Lion LossScaleOptimizer Nadam
        RMSprop SGD
        """
    ),
    "optimizers.schedules": _words(
        """
        CosineDecay ExponentialDecay InverseTimeDecay PiecewiseConstantDecay
        PolynomialDecay
        """
    ),
    "skguard.schedules": _words("CosineDecay Cyclical ExponentialDecay OneCycle StepDecay"),
    "regularizers": _words("L1L2 L2"),
    "constraints": _words("MaxNorm MinMaxNorm NonNeg UnitNorm"),
    "initializers": _words(
        """
        Constant GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal
        LecunUniform Ones Orthogonal RandomNormal RandomUniform TruncatedNormal
        VarianceScaling Zeros
        """
    ),
    "activations": _words(
        """
        celu elu exponential gelu hard_sigmoid hard_silu hard_tanh leaky_relu linear log_sigmoid
        log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign
        squareplus tanh tanh_shrink
        """
    ),
}
"""For each part of Keras, what is known to compute alike in the graph of another model."""

_KINDS: dict[str, type] = {
    "layers": keras.layers.Layer,
    "losses": keras.losses.Loss,
    "metrics": keras.metrics.Metric,
    "optimizers": keras.optimizers.Optimizer,
    "optimizers.schedules": keras.optimizers.schedules.LearningRateSchedule,
    "regularizers": keras.regularizers.Regularizer,
    "constraints": keras.constraints.Constraint,
    "initializers": keras.initializers.Initializer,
}

_POLICIES = {"float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"}

# Parts of Keras's and TensorFlow's own bookkeeping, which no graph reads.
_OWN_MODULES = ("keras.src.", "tensorflow.python.trackable", "tensorflow.python.distribute")

_PLAIN = (type(None), str, bytes, numbers.Number, np.generic, tf.DType, tf.TensorShape)


# Arrays that follow from the config of the object that holds them, and become no tensors.
_FROM_CONFIG = {("AUC", "_thresholds")}


class UnprovenError(Exception):
    """A model that shares its graphs with no other; the message says why, in a clause."""


def training_signature(model: keras.Model) -> str:
    """Equal for models that train alike, their weights and constant learning rates aside.

    Raises
    ------
    UnprovenError
        If the model has something of which that is not known.
    """
    optimizer = model.optimizer
    layers = _layer_constants(model)
    metrics = [one for metric in model.metrics for one in _live_metrics(metric)]
    constants = [
        *_constants(metrics, "metrics"),
        *_constants([optimizer], "the optimizer"),
        *(value for loss in _losses(model.loss) for value in _loss_constants(loss)),
    ]
    compiled = dict(model.get_compile_config())
    compiled["optimizer"] = _without_rate(optimizer)
    return _as_text(
        [
            _signature(model, layers),
            compiled,
            constants,
            [metric.name for metric in metrics],
            list(model.output_names) if len(model.outputs) > 1 else None,
        ]
    )


def is_same_in_loops(signature: str) -> bool:
    """Whether the model computes in the body of a loop what it computes outside of one.

    oneDNN has a kernel for ``x * sigmoid(x)`` whose last bit differs from the two operations;
    TensorFlow finds the pattern in a function, and not in a loop within it.
    """
    return re.search(r"\bsilu\b", signature) is None


def prediction_signature(model: keras.Model) -> str:
    """Equal for models that predict alike, their weights aside.

    Raises
    ------
    UnprovenError
    """
    return _signature(model, _layer_constants(model))


def _signature(model: keras.Model, constants: list[Any]) -> str:
    uses_flash_attention = getattr(keras.config, "is_flash_attention_enabled", lambda: None)
    return _as_text(
        [
            _without_names(model.get_config(), {}),
            constants,
            [(v.path.rsplit("/", 1)[-1], v.shape, v.dtype, v.trainable) for v in model.variables],
            keras.config.epsilon(),
            keras.config.floatx(),
            uses_flash_attention(),
            seeding.is_deterministic(),
            str(model.jit_compile),
        ]
    )


def _layer_constants(model: keras.Model) -> list[Any]:
    constants = []
    for part in (model, *keras_internals.all_layers(model)):
        if isinstance(part, keras.Model):
            _check_is_plain(part)
            # Looked through only: what it holds is names and the ways between its layers.
            held = {k: v for k, v in vars(part).items() if k not in _COMPILED and _matters(k)}
            _constants(held.values(), "the model")
        else:
            constants += _constants([part], "the model")
    return constants


def _check_is_plain(model: keras.Model) -> None:
    """Whether it is made of layers and has no code of its own."""
    # keras.Model(inputs, outputs) makes an object of this class, which has no public name.
    cls = type(model)
    is_functional = cls.__name__ == "Functional" and cls.__module__.startswith("keras.src.models")
    if cls is not keras.Sequential and not is_functional:
        raise UnprovenError(f"{cls.__name__} is a class of its own")


# What compile() and fit() leave on a model. It is looked at by itself, or read by no graph.
_COMPILED = {
    "optimizer",
    "loss",
    "_compile_loss",
    "_compile_metrics",
    "_loss_tracker",
    "_compile_config",
    "train_function",
    "test_function",
    "predict_function",
    "history",
    "_compiled_trainable_state",
}


def _live_metrics(metric: keras.metrics.Metric) -> Iterator[keras.metrics.Metric]:
    inner = getattr(metric, "metrics", None)  # what compile() was given
    if inner is None:
        yield metric
        return
    if not type(metric).__module__.startswith("keras."):
        raise UnprovenError(f"metric {metric.name!r} is of a class of its own")
    if not metric.built:
        raise UnprovenError("the metrics are not known before training")
    for one in inner:
        yield from _live_metrics(one)


def _losses(loss: Any) -> Iterator[Any]:
    for one in keras.tree.flatten(loss):
        if one is not None:
            yield one


def _loss_constants(loss: Any) -> list[Any]:
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if isinstance(loss, types.FunctionType):
        _check_function(loss, "the loss")
        return []
    return _constants([loss], "the loss")


def _constants(values: Iterable[Any], where: str) -> list[Any]:
    """The plain values that some objects of Keras, and those within them, hold.

    Most are in the objects' configs; ``delta`` of some releases' ``Huber`` is not.

    Raises
    ------
    UnprovenError
        If there is something among the objects that is not known.
    """
    pending = [(value, where) for value in values]
    seen: set[int] = set()
    constants: list[Any] = []
    while pending:
        value, place = pending.pop()
        if isinstance(value, _PLAIN):
            constants.append([place, value])
            continue
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, list | tuple | set | frozenset):
            pending += [(item, place) for item in value]
        elif isinstance(value, dict | types.MappingProxyType):
            pending += [(item, f"{place}[{key!r}]") for key, item in value.items()]
        elif isinstance(value, types.FunctionType | types.MethodType):
            constants.append([place, _check_function(value, place)])
        elif isinstance(value, type):
            _check_origin(value, place)
        elif isinstance(value, keras.Model):
            _check_is_plain(value)  # its layers are among those of the whole model
        elif isinstance(value, keras.dtype_policies.DTypePolicy):
            if value.name not in _POLICIES:
                raise UnprovenError(f"{place} has the dtype policy {value.name!r}")
            constants.append([place, value.name])
        elif (kind := _kind(value)) is not None:
            name = type(value).__name__
            if type(value).__module__ == schedules.__name__:
                kind = schedules.__name__
            public = getattr(_namespace(kind), name, None)
            if public is not type(value) or name not in PROVEN[kind]:
                raise UnprovenError(f"{place} has a {name}, whose graph is not shared")
            if kind == "initializers":
                continue  # it has done its work
            pending += [
                (v, f"{name}.{k}")
                for k, v in vars(value).items()
                if _matters(k) and (name, k) not in _FROM_CONFIG
            ]
        elif isinstance(value, np.ndarray | tf.Tensor) and not isinstance(value, tf.Variable):
            raise UnprovenError(f"{place} is an array, a constant of the graph")
        else:
            _check_origin(type(value), place)
    return constants


def _matters(attribute: str) -> bool:
    return not attribute.startswith("_self_") and attribute not in {
        "_inbound_nodes",  # the ways between layers, which the config has too
        "_outbound_nodes",
        "_tracker",
        "_tracked",
        "_auto_config",
        "name",
        "_path",
        "_parent_path",
        "built",
        "_called",
        "build",  # which Keras wraps, and which is over
        "quantize",
        "seed",  # which a variable has been made of
        "_trainable_variables_indices",
    }


def _kind(value: Any) -> str | None:
    return next((kind for kind, base in _KINDS.items() if isinstance(value, base)), None)


def _namespace(kind: str) -> Any:
    if kind == schedules.__name__:
        return schedules
    return keras.optimizers.schedules if kind == "optimizers.schedules" else getattr(keras, kind)


def _check_function(function: Any, place: str) -> str:
    """The name of a function of Keras's; found by that name, not just said to be there."""
    module = getattr(function, "__module__", None) or ""
    name: str = getattr(function, "__qualname__", repr(function))
    found: Any = sys.modules.get(module) if module.startswith("keras.src.") else None
    for part in name.split("."):
        found = getattr(found, part, None)
    is_known = found is function
    if module.startswith("keras.src.activations"):
        is_known = is_known and name in PROVEN["activations"]
    if not is_known:
        raise UnprovenError(f"{place} is the function {name!r}")
    return name


def _check_origin(cls: type, place: str) -> None:
    if not f"{cls.__module__}.".startswith(_OWN_MODULES) and cls.__module__ not in (
        "inspect",
        "weakref",
        "builtins",
    ):
        raise UnprovenError(f"{place} is a {cls.__name__}")


def _without_rate(optimizer: keras.optimizers.Optimizer) -> Any:
    """What an optimizer says of itself, but for a rate that is a variable, and its names."""
    config = dict(optimizer.get_config())
    inner = getattr(optimizer, "inner_optimizer", None)
    if inner is not None:
        config["inner_optimizer"] = _without_rate(inner)
    if isinstance(config.get("learning_rate"), numbers.Number):
        config.pop("learning_rate")
    config.pop("name", None)
    return [type(optimizer).__name__, config]


def _without_names(config: Any, names: dict[str, int], is_layer: bool = True) -> Any:
    """A config with numbers for the names of layers, which Keras counts on from 1.

    Only names in the places of names: ``"softmax"`` may be a layer and an activation.
    """
    if isinstance(config, list | tuple):
        return [_without_names(item, names, is_layer) for item in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "__keras_tensor__":
        tensor = config["config"]
        return [tensor["shape"], tensor["dtype"], _numbered(tensor["keras_history"], names)]
    if "class_name" in config:
        is_layer = config["class_name"] in PROVEN["layers"] | {"Functional", "Sequential"}
    plain = {}
    for key, value in config.items():
        if key == "name" and is_layer and isinstance(value, str):
            plain[key] = names.setdefault(value, len(names))
        elif key in ("input_layers", "output_layers"):
            plain[key] = _numbered(value, names)
        elif "initializer" not in key and key != "seed":  # which have done their work
            plain[key] = _without_names(value, names, is_layer)
    return plain


def _numbered(history: Any, names: dict[str, int]) -> Any:
    """Where a tensor comes from: ``[layer, node, output]``, or a nest of such."""
    if isinstance(history, dict):
        return {key: _numbered(value, names) for key, value in history.items()}
    if not isinstance(history, list | tuple):
        return history
    if len(history) == 3 and isinstance(history[0], str):
        return [names.setdefault(history[0], len(names)), *history[1:]]
    return [_numbered(item, names) for item in history]


def _as_text(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True, default=_plain)
    except TypeError as error:
        raise UnprovenError(f"its config holds what cannot be compared: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tf.TensorShape):
        return value.as_list()
    if isinstance(value, tf.DType):
        return value.name
    raise TypeError(f"a {type(value).__name__}")
