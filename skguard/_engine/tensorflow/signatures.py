"""Signatures of models: which models may share a traced graph, and why others may not.

Tracing turns every number, array and tensor that a layer, loss, metric or optimizer holds into a
constant of the graph; only variables remain inputs. So two models may share a graph only if all
these constants are equal. That is known for the classes of Keras listed in `SUPPORTED`, because
``get_config()`` and the plain attributes of their objects are all that they compute from, and each
of them has a parity test on a graph that was traced on another model. A model that consists of
such objects has a signature, and models of equal signatures share their graphs.

The operations of ``keras.ops`` in a functional model, operators such as ``h / 2`` included, are
not listed: an operation of Keras computes from the attributes of its object, which are compared,
and from the arguments that it was called with, which the config of the model has. Names count for
nothing, as Keras starts to number them again after ``keras.utils.clear_session()``.

A model with anything else has none: a class that is not in the list, a custom layer or loss, a
function such as a ``Lambda`` layer's or that of ``keras.ops.map``, or an array that a layer holds.
It has a separate graph, which is traced again for each model. To add a class to the list, add a
case to ``tests/engine/cases.py`` too.
"""

from __future__ import annotations

import dataclasses
import json
import numbers
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from skguard import schedules
from skguard._repairs import keras_internals, seeding

__all__ = [
    "SUPPORTED",
    "NotShareableError",
    "Sharing",
    "prediction_signature",
    "training_signature",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SUPPORTED: dict[str, frozenset[str]] = {
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
    "skguard.schedules": _words(
        "Cyclical EpochCosineDecay EpochExponentialDecay OneCycle StepDecay"
    ),
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
"""Names of the supported classes, and functions, of each part of Keras and of ``skguard``."""

_KINDS: dict[str, type] = {
    "layers": keras.layers.Layer,
    "losses": keras.losses.Loss,
    "metrics": keras.metrics.Metric,
    "optimizers": keras.optimizers.Optimizer,
    "optimizers.schedules": keras.optimizers.schedules.LearningRateSchedule,
    "regularizers": keras.regularizers.Regularizer,
    "constraints": keras.constraints.Constraint,
    "initializers": keras.initializers.Initializer,
    "operations": keras.Operation,  # layers are operations too, and come first
}

# One and many, as messages name them.
_NOUNS = {
    "layers": ("layer", "layers"),
    "losses": ("loss", "losses"),
    "metrics": ("metric", "metrics"),
    "optimizers": ("optimizer", "optimizers"),
    "optimizers.schedules": ("learning-rate schedule", "learning-rate schedules"),
    "skguard.schedules": ("learning-rate schedule", "learning-rate schedules"),
    "regularizers": ("regularizer", "regularizers"),
    "constraints": ("constraint", "constraints"),
    "initializers": ("initializer", "initializers"),
    "activations": ("activation", "activations"),
    "operations": ("operation", "operations"),
}

_POLICIES = {"float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"}

# Modules of objects that Keras and TensorFlow keep for bookkeeping, which no graph reads.
_BOOKKEEPING = ("keras.src.", "tensorflow.python.trackable", "tensorflow.python.distribute")
_STANDARD_LIBRARY = ("inspect", "weakref", "builtins")

# Where the operations of Keras are defined.
_OPERATIONS = "keras.src.ops."

# Their last bits depend on whether the size of a batch is known.
_FOURIER_TRANSFORMS = {"FFT", "FFT2", "IFFT2", "RFFT", "IRFFT", "STFT", "ISTFT"}

# Classes, in a config, of arguments of operations whose config has their values.
_ARGUMENTS = {
    "__bytes__",
    "__ellipsis__",
    "__keras_tensor__",
    "__numpy__",
    "__slice__",
    "__tensor__",
}

_PLAIN = (type(None), str, bytes, numbers.Number, np.generic, tf.DType, tf.TensorShape)

# Arrays that follow from the config of the object that holds them, and become no tensors.
_FROM_CONFIG = {("AUC", "_thresholds")}

# Attributes that compile() and fit() set on a model. These are looked at on their own, or are not
# read by graphs.
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

# Attributes of layers and other objects that no graph reads (keras 3.8 to 3.15).
_IGNORED = {
    "_inbound_nodes",  # connections between layers, which the config has too
    "_outbound_nodes",
    "_tracker",
    "_tracked",
    "_auto_config",
    "name",
    "_path",
    "_parent_path",
    "built",
    "_called",
    "build",  # wrapped by Keras, and no longer called
    "quantize",
    "seed",  # a variable has been made of it
    "_trainable_variables_indices",
}


class NotShareableError(Exception):
    """Raised if a model cannot share its graphs with others; the message is a clause."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sharing:
    """Whether, and with which other models, a model shares its graphs.

    Parameters
    ----------
    signature : str or None
        Equal for models that share graphs; None for a model that shares none.
    obstacle : str or None
        The reason for None, in a clause.
    """

    signature: str | None
    obstacle: str | None = None

    @classmethod
    def of(cls, describe: Callable[[keras.Model], str], model: keras.Model) -> Sharing:
        """Describe a model by `training_signature` or `prediction_signature`."""
        try:
            return cls(describe(model))
        except NotShareableError as error:
            return cls(None, str(error))
        except Exception as error:  # from user code, such as the get_config() of a custom layer
            return cls(None, f"the model cannot be described ({type(error).__name__})")

    @property
    def is_same_in_loops(self) -> bool:
        """Whether the model computes in the body of a loop what it computes outside of one.

        oneDNN has a kernel for ``x * sigmoid(x)`` whose last bit differs from the two operations.
        TensorFlow (2.18 to 2.21) finds the pattern in a function, and not in a loop within it.
        """
        signature = self.signature
        if signature is None or re.search(r"\bsilu\b", signature, re.IGNORECASE):
            return False
        has_sigmoid = '"Sigmoid"' in signature or (
            '"Activation"' in signature and '"sigmoid"' in signature
        )
        return not (has_sigmoid and '"Multiply"' in signature)


def training_signature(model: keras.Model) -> str:
    """Return a text that is equal for models that are trained alike.

    Values of weights, and a learning rate that is a variable, are not part of it.

    Raises
    ------
    NotShareableError
        If a part of the model is not supported.
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
    compiled["optimizer"] = _without_learning_rate(optimizer)
    return _as_text(
        [
            _signature(model, layers),
            compiled,
            constants,
            [metric.name for metric in metrics],
            list(model.output_names) if len(model.outputs) > 1 else None,
        ]
    )


def prediction_signature(model: keras.Model) -> str:
    """Return a text that is equal for models that predict alike, the values of weights aside.

    Raises
    ------
    NotShareableError
        If a part of the model is not supported.
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
            keras.config.image_data_format(),
            [keras.tree.map_structure(lambda tensor: tensor.dtype, model.outputs)],
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
            # For unsupported objects only: the rest is names, and connections between layers.
            held = {k: v for k, v in vars(part).items() if k not in _COMPILED and _is_read(k)}
            _constants(held.values(), "the model")
            constants += _constants(_operations(part), "the model")
        else:
            constants += _constants([part], "the model")
    return constants


def _operations(model: keras.Model) -> list[keras.Operation]:
    """Return the operations of a functional model that are not layers."""
    operations = getattr(model, "operations", ())
    return [part for part in operations if not isinstance(part, keras.layers.Layer)]


def _check_is_plain(model: keras.Model) -> None:
    """Raise if a model is not made of layers alone, without code of its own."""
    # keras.Model(inputs, outputs) makes an object of this class, which has no public name.
    cls = type(model)
    is_functional = cls.__name__ == "Functional" and cls.__module__.startswith("keras.src.models")
    if cls is not keras.Sequential and not is_functional:
        raise NotShareableError(f"{cls.__name__} is a custom model class")


def _live_metrics(metric: keras.metrics.Metric) -> Iterator[keras.metrics.Metric]:
    """Yield the metrics that are updated: those within the containers that Keras makes."""
    inner = getattr(metric, "metrics", None)  # those that compile() was given
    if inner is None:
        yield metric
        return
    if not type(metric).__module__.startswith("keras."):
        raise NotShareableError(f"{type(metric).__name__} is a custom metric")
    if not metric.built:
        raise NotShareableError("the metrics are built in training only")
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
    """Return the plain values that some objects of Keras, and those within them, hold.

    Most are in the objects' configs; ``delta`` of some releases' ``Huber`` is not.

    Parameters
    ----------
    values : iterable of object
    where : str
        What holds them, for messages.

    Raises
    ------
    NotShareableError
        If one of the objects is not supported.
    """
    search = _Search()
    search.pending += [(value, where) for value in values]
    while search.pending:
        search.visit(*search.pending.pop())
    return search.constants


@dataclasses.dataclass(slots=True)
class _Search:
    """Search for constants through objects that hold each other.

    Parameters
    ----------
    pending : list of (object, str)
        Objects that were not visited, and the place of each, for messages.
    constants : list of [str, object]
        Place and value of what was found.
    seen : set of int
    """

    pending: list[tuple[Any, str]] = dataclasses.field(default_factory=list)
    constants: list[Any] = dataclasses.field(default_factory=list)
    seen: set[int] = dataclasses.field(default_factory=set)

    def visit(self, value: Any, place: str) -> None:
        if isinstance(value, _PLAIN):
            self.constants.append([place, value])
            return
        if id(value) in self.seen:
            return
        self.seen.add(id(value))
        if isinstance(value, list | tuple | set | frozenset):
            self.pending += [(item, place) for item in value]
        elif isinstance(value, dict | types.MappingProxyType):
            self.pending += [(item, f"{place}[{key!r}]") for key, item in value.items()]
        elif isinstance(value, types.FunctionType | types.MethodType):
            self.constants.append([place, _check_function(value, place)])
        elif isinstance(value, type):
            _check_is_bookkeeping(value, place)
        else:
            self._visit_object(value, place)

    def _visit_object(self, value: Any, place: str) -> None:
        if isinstance(value, keras.Model):
            _check_is_plain(value)  # its layers are among those of the whole model
        elif isinstance(value, keras.dtype_policies.DTypePolicy):
            if value.name not in _POLICIES:
                raise NotShareableError(f"the dtype policy {value.name!r} is not supported")
            self.constants.append([place, value.name])
        elif (kind := _kind(value)) is not None:
            self._visit_part_of_keras(value, kind, place)
        elif isinstance(value, np.ndarray | tf.Tensor) and not isinstance(value, tf.Variable):
            raise NotShareableError(f"{place} is an array, which is a constant in the graph")
        else:
            _check_is_bookkeeping(type(value), place)

    def _visit_part_of_keras(self, value: Any, kind: str, place: str) -> None:
        _check_is_supported(type(value), kind, place)
        if kind == "initializers":
            return  # it was called when the model was built
        name = type(value).__name__
        self.pending += [
            (held, f"{name}.{attribute}")
            for attribute, held in vars(value).items()
            if _is_read(attribute) and (name, attribute) not in _FROM_CONFIG
        ]


def _is_read(attribute: str) -> bool:
    """Whether a graph may have read an attribute as a constant."""
    return not attribute.startswith("_self_") and attribute not in _IGNORED


def _kind(value: Any) -> str | None:
    return next((kind for kind, base in _KINDS.items() if isinstance(value, base)), None)


def _check_is_supported(cls: type, kind: str, place: str) -> None:
    """Raise unless a class is the one that Keras, or ``skguard``, has under its name."""
    if kind == "operations":
        _check_is_operation_of_keras(cls)
        return
    if cls.__module__ == schedules.__name__:
        kind = schedules.__name__
    one, many = _NOUNS[kind]
    # "Dense.kernel_regularizer" helps to find it; "the model" does not.
    of = f" ({place})" if "." in place else ""
    if getattr(_namespace(kind), cls.__name__, None) is not cls:
        raise NotShareableError(f"{cls.__name__} is a custom {one}{of}")
    if cls.__name__ not in SUPPORTED[kind]:
        raise NotShareableError(f"{cls.__name__} is not among the supported {many}{of}")


def _check_is_operation_of_keras(cls: type) -> None:
    found = getattr(sys.modules.get(cls.__module__), cls.__name__, None)
    if found is not cls or not cls.__module__.startswith(_OPERATIONS):
        raise NotShareableError(f"{cls.__name__} is a custom operation")
    if cls.__name__ in _FOURIER_TRANSFORMS:
        raise NotShareableError(f"{cls.__name__} is not among the supported operations")


def _namespace(kind: str) -> Any:
    if kind == schedules.__name__:
        return schedules
    return keras.optimizers.schedules if kind == "optimizers.schedules" else getattr(keras, kind)


def _check_function(function: Any, place: str) -> str:
    """Return the name of a function of Keras, under which it is found in its module.

    The name alone proves nothing: ``functools.wraps`` copies it.
    """
    module = getattr(function, "__module__", None) or ""
    name: str = getattr(function, "__qualname__", repr(function))
    found: Any = sys.modules.get(module) if module.startswith("keras.src.") else None
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not function:
        short_name = name.rpartition("<locals>.")[2]
        raise NotShareableError(f"{place} is the custom function {short_name!r}")
    if module.startswith("keras.src.activations") and name not in SUPPORTED["activations"]:
        raise NotShareableError(f"{name!r} is not among the supported activations ({place})")
    return name


def _check_is_bookkeeping(cls: type, place: str) -> None:
    is_bookkeeping = f"{cls.__module__}.".startswith(_BOOKKEEPING)
    if not is_bookkeeping and cls.__module__ not in _STANDARD_LIBRARY:
        raise NotShareableError(f"{place} holds a {cls.__name__}")


def _without_learning_rate(optimizer: keras.optimizers.Optimizer) -> Any:
    """Return the config of an optimizer without its name and, if a number, its learning rate."""
    config = dict(optimizer.get_config())
    inner = getattr(optimizer, "inner_optimizer", None)
    if inner is not None:
        config["inner_optimizer"] = _without_learning_rate(inner)
    if isinstance(config.get("learning_rate"), numbers.Number):
        config.pop("learning_rate")
    config.pop("name", None)
    return [type(optimizer).__name__, config]


def _without_names(config: Any, names: dict[str, int], is_layer: bool = True) -> Any:
    """Return a config with numbers for the names of layers, which are unique in a process.

    Only where a name is expected: ``"softmax"`` may be a layer and an activation.
    """
    if isinstance(config, list | tuple):
        return [_without_names(item, names, is_layer) for item in config]
    if not isinstance(config, dict):
        return config
    class_name = config.get("class_name")
    if class_name == "__keras_tensor__":
        tensor = config["config"]
        return [tensor["shape"], tensor["dtype"], _numbered(tensor["keras_history"], names)]
    if "class_name" in config:
        is_layer = class_name in SUPPORTED["layers"] | {"Functional", "Sequential"} or (
            str(config.get("module")).startswith(_OPERATIONS)
        )
    return _with_numbered_layers(config, names, is_layer)


def _with_numbered_layers(
    config: dict[str, Any], names: dict[str, int], is_layer: bool
) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, value in config.items():
        if key == "name" and is_layer and isinstance(value, str):
            plain[key] = names.setdefault(value, len(names))
        elif key == "inbound_nodes":
            _check_arguments(value)
            plain[key] = _without_names(value, names, is_layer)
        elif key in ("input_layers", "output_layers"):
            plain[key] = _numbered(value, names)
        elif "initializer" not in key and key != "seed":  # used when the model was built
            plain[key] = _without_names(value, names, is_layer)
    return plain


def _check_arguments(config: Any) -> None:
    """Raise unless the config of the arguments of operations has all that they are.

    That of a function is its name.
    """
    if isinstance(config, list | tuple):
        for item in config:
            _check_arguments(item)
    elif isinstance(config, dict):
        class_name = config.get("class_name")
        if class_name is not None and class_name not in _ARGUMENTS:
            raise NotShareableError(f"an operation is called with a {class_name}")
        _check_arguments(list(config.values()))


def _numbered(history: Any, names: dict[str, int]) -> Any:
    """Number the layers in origins of tensors, ``[layer, node, output]``, in any nesting."""
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
        raise NotShareableError(f"its configuration cannot be compared: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tf.TensorShape):
        return value.as_list()
    if isinstance(value, tf.DType):
        return value.name
    raise TypeError(f"it holds a {type(value).__name__}")
