"""Keras objects as plain records that copy and pickle, and back.

Keras can only write down classes that are registered or importable by name, and scikeras's
own hooks rely on that. These records carry the classes themselves, so an unregistered loss or
layer survives whatever can carry its class: ``copy.deepcopy`` any, ``pickle`` those of a
module, ``cloudpickle`` those of ``__main__`` and notebooks too.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import tempfile
import types
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from skguard._estimators.parameters import REQUIRED, signature_of
from skguard._repairs import forks, seeding
from skguard.exceptions import NotCopyableError

__all__ = ["Packed", "pack", "unpack"]

_CONFIGURABLE = (
    keras.optimizers.Optimizer,
    keras.losses.Loss,
    keras.metrics.Metric,
    keras.optimizers.schedules.LearningRateSchedule,
)


class Packed:
    """A record that `unpack` turns back into a Keras object."""

    def unpack(self) -> Any:
        raise NotImplementedError


def pack(value: Any) -> Any:
    """Replace the Keras objects in `value`, and in its lists, tuples and dicts, by records.

    Raises
    ------
    NotCopyableError
        If an object cannot be written down.
    ForkedProcessError
        If that would hang in this process.
    """
    if type(value) in (list, tuple):
        return type(value)(pack(item) for item in value)
    if type(value) is dict:
        return {key: pack(item) for key, item in value.items()}
    if isinstance(value, (*_CONFIGURABLE, keras.layers.Layer)):
        forks.check_not_forked()
    if isinstance(value, keras.Model):
        return _PackedModel.of(value)
    if isinstance(value, _CONFIGURABLE):
        return _pack_configurable(value)
    if isinstance(value, keras.layers.Layer):
        return _PackedLayer.of(value)
    return value


def unpack(value: Any) -> Any:
    """Undo `pack`."""
    if isinstance(value, Packed):
        forks.check_not_forked()
        return value.unpack()
    if type(value) in (list, tuple):
        return type(value)(unpack(item) for item in value)
    if type(value) is dict:
        return {key: unpack(item) for key, item in value.items()}
    return value


@dataclasses.dataclass(frozen=True)
class _PackedConfig(Packed):
    """An object that is what its configuration says."""

    cls: Any
    config: dict[str, Any]
    custom_objects: dict[str, Any]

    def unpack(self) -> Any:
        with keras.saving.custom_object_scope(self.custom_objects):
            return self.cls.from_config(self.config)


@dataclasses.dataclass(frozen=True)
class _PackedState(Packed):
    """An object whose configuration leaves something out: its attributes."""

    cls: type
    state: dict[str, Any]

    def unpack(self) -> Any:
        twin: Any = object.__new__(self.cls)
        # Several records of one attribute dictionary must not share what is in it.
        twin.__dict__.update(unpack(copy.deepcopy(self.state)))
        return twin


def _pack_configurable(value: Any) -> Packed:
    cls = type(value)
    try:
        config = value.get_config()
    except NotImplementedError:
        config = {}
    forgotten = [name for name in signature_of(cls).arguments if name not in config]
    if forgotten and isinstance(
        value, keras.losses.Loss | keras.optimizers.schedules.LearningRateSchedule
    ):
        return _PackedState(cls, {name: pack(item) for name, item in vars(value).items()})
    if forgotten and not _is_keras(cls):
        raise NotCopyableError(
            f"{value!r} cannot be copied: get_config() of {cls.__name__} leaves out "
            f"{', '.join(forgotten)}, which its constructor takes. Add them to get_config(), or "
            f"pass the class {cls.__name__} itself and its settings as routed parameters."
        )
    return _PackedConfig(cls, config, _custom_objects([value]))


def _custom_objects(objects: Iterable[Any]) -> dict[str, Any]:
    """The classes and functions, by name, that Keras needs to read the objects' configs."""
    found: dict[str, Any] = {}
    seen: set[int] = set()

    def look(value: Any, depth: int) -> None:
        if id(value) in seen or depth > 4:
            return
        seen.add(id(value))
        if isinstance(value, list | tuple | set):
            for item in value:
                look(item, depth + 1)
            return
        if isinstance(value, dict):
            for item in value.values():
                look(item, depth + 1)
            return
        thing = value if isinstance(value, types.FunctionType) or inspect.isclass(value) else None
        if thing is None:
            if not hasattr(type(value), "get_config"):
                return
            thing = type(value)
            for item in vars(value).values() if hasattr(value, "__dict__") else ():
                look(item, depth + 1)
        if not _is_keras(thing):
            for name in (thing.__name__, keras.saving.get_registered_name(thing)):
                if found.setdefault(name, thing) is not thing:
                    raise NotCopyableError(
                        f"{found[name]!r} and {thing!r} have one name, {name}, by which Keras "
                        "writes them down, so they cannot be copied. Rename one."
                    )

    for value in objects:
        look(value, 0)
    return found


@dataclasses.dataclass(frozen=True)
class _PackedLayer(Packed):
    """One layer: its configuration, how it was built, its weights."""

    cls: Any
    config: dict[str, Any]
    build_config: dict[str, Any] | None
    weights: list[np.ndarray]
    custom_objects: dict[str, Any]

    @classmethod
    def of(cls, layer: keras.layers.Layer) -> _PackedLayer:
        built = layer.get_build_config() if layer.built else None
        weights = layer.get_weights() if layer.built else []
        return cls(type(layer), layer.get_config(), built, weights, _custom_objects([layer]))

    def unpack(self) -> keras.layers.Layer:
        with keras.saving.custom_object_scope(self.custom_objects):
            layer = self.cls.from_config(self.config)
            if self.build_config is not None:
                layer.build_from_config(self.build_config)
        if self.weights:
            layer.set_weights(self.weights)
        return layer


@dataclasses.dataclass(frozen=True)
class _PackedModel(Packed):
    """A model in Keras's own file format, with what that format cannot hold beside it.

    Parameters
    ----------
    name : str
        For messages.
    archive : bytes
        The model without its compile settings, as ``.keras``; empty where `constructed` is used.
    constructed : tuple or None
        Class, arguments and build configuration of a model that Keras would write down wrongly.
    custom_objects : dict
        The classes and functions that the archive names.
    compiled : dict or None
        The arguments of ``compile``, packed; None where it was not called.
    trainable : list of bool
        Beside `constructed`, for the model and each layer in it: which are frozen.
    weights : list of ndarray
        Beside `constructed`; an archive holds its own.
    variables : list of ndarray
        Every variable of the model, the states of its random generators included.
    optimizer_variables : list of ndarray or None
        None where the optimizer was not built yet.
    """

    name: str
    archive: bytes
    constructed: tuple[Any, dict[str, Any], dict[str, Any] | None] | None
    custom_objects: dict[str, Any]
    compiled: dict[str, Any] | None
    trainable: list[bool]
    weights: list[np.ndarray]
    variables: list[np.ndarray]
    optimizer_variables: list[np.ndarray] | None

    @classmethod
    def of(cls, model: keras.Model) -> _PackedModel:
        layers = _all_layers(model)
        for inner in layers:
            if inner is not model and isinstance(inner, keras.Model):
                arguments = _constructor_arguments(inner)
                defaults = signature_of(type(inner)).arguments
                if any(value != defaults[name] for name, value in (arguments or {}).items()):
                    raise NotCopyableError(
                        f"{model!r} cannot be copied: {type(inner).__name__} within it has no "
                        "get_config(), and Keras forgets its constructor's arguments without it."
                    )
        arguments = _constructor_arguments(model)
        archive, constructed = b"", None
        if arguments is not None:
            constructed = (type(model), arguments, model.get_build_config())
        else:
            archive = _archive(model)
        optimizer = model.optimizer if model.compiled else None
        return cls(
            name=repr(model),
            archive=archive,
            constructed=constructed,
            trainable=[layer.trainable for layer in layers],
            weights=[] if constructed is None else model.get_weights(),
            custom_objects=_custom_objects(layers),
            compiled=_pack_compile_arguments(model),
            variables=[np.array(v) for v in model.variables],
            optimizer_variables=(
                [np.array(v) for v in optimizer.variables]
                if optimizer is not None and optimizer.built
                else None
            ),
        )

    def unpack(self) -> keras.Model:
        with seeding.preserved():
            model = self.unpack_fresh()
            for variable, saved in zip(model.variables, self.variables, strict=False):
                if tuple(variable.shape) == saved.shape:
                    variable.assign(saved)
            if self.optimizer_variables is not None:
                model.optimizer.build(model.trainable_variables)
                for variable, saved in zip(
                    model.optimizer.variables, self.optimizer_variables, strict=True
                ):
                    variable.assign(saved)
        return model

    def _rebuild(self) -> keras.Model:
        if self.constructed is None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.keras"
                path.write_bytes(self.archive)
                return keras.saving.load_model(
                    path, custom_objects=self.custom_objects, compile=False, safe_mode=False
                )
        cls, arguments, built = self.constructed
        model = cls(**arguments)
        if built:
            model.build_from_config(built)
            model.set_weights(self.weights)
            model.built = True  # Keras builds the layers from a config and forgets to say so
        layers = _all_layers(model)
        for layer, trainable in zip(layers, self.trainable, strict=False):
            layer.trainable = trainable
        for layer in layers:
            if isinstance(layer, keras.layers.Normalization) and layer.built:
                layer.finalize_state()
        return model

    def unpack_fresh(self) -> keras.Model:
        """The model with its weights, but a new optimizer and new random generators."""
        try:
            model = self._rebuild()
        except Exception as error:
            raise NotCopyableError(
                f"{self.name} was written down, and Keras cannot read it back: {error}\nGive "
                "lambdas in its layers a name with def, and layers of your own a get_config() "
                "that returns their constructor's arguments; or pass a function that builds the "
                "model."
            ) from error
        if self.compiled is not None:
            with keras.saving.custom_object_scope(self.custom_objects):
                if "config" in self.compiled:
                    model.compile_from_config(self.compiled["config"])
                else:
                    model.compile(**unpack(self.compiled["arguments"]))
        return model


def _constructor_arguments(model: keras.Model) -> dict[str, Any] | None:
    """The arguments that a model of the user's own class was constructed with.

    Keras writes such a model down with the defaults of its constructor, whatever it was given,
    unless the class has a get_config(). The attributes of the same names tell the truth, where
    they are plain values.

    Returns
    -------
    dict or None
        None where Keras's own way is right, since there is nothing that it could lose.

    Raises
    ------
    NotCopyableError
        If an argument is not among the attributes.
    """
    cls = type(model)
    if _is_keras(cls) or not _is_keras_method(cls.get_config):
        return None
    ours = signature_of(cls).arguments.keys() - signature_of(keras.layers.Layer).arguments.keys()
    if not ours:
        return None
    plain = (str, int, float, bool, type(None))
    arguments = {name: vars(model).get(name, REQUIRED) for name in sorted(ours)}
    unknown = [name for name, value in arguments.items() if not isinstance(value, plain)]
    if unknown:
        raise NotCopyableError(
            f"{model!r} cannot be copied: {cls.__name__} has no get_config(), and Keras forgets "
            f"the constructor's {', '.join(unknown)} without it. Add a get_config() that returns "
            "them, or pass the class or a function that builds the model."
        )
    return arguments


def _is_keras(thing: Any) -> bool:
    return thing.__module__.partition(".")[0] == "keras"


def _is_keras_method(method: Any) -> bool:
    return _is_keras(inspect.unwrap(method))


def _archive(model: keras.Model) -> bytes:
    # Writing a model down may draw from the random streams.
    with seeding.preserved(), tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # An unbuilt model has no weights to lose; Keras warns that none are saved.
        warnings.simplefilter("ignore", UserWarning)
        path = Path(folder) / "model.keras"
        try:
            keras.saving.save_model(model, path)
        except Exception as error:
            raise NotCopyableError(
                f"{model!r} cannot be copied, so it cannot be trained without being changed: "
                f"{error}\nGive {type(model).__name__} a get_config() that returns its "
                "constructor's arguments, or pass a function that builds the model."
            ) from error
        return path.read_bytes()


def _pack_compile_arguments(model: keras.Model) -> dict[str, Any] | None:
    if not model.compiled:
        return None
    # Keras keeps the very objects that compile() was given; get_compile_config() would write
    # them down by name and so lose unregistered ones.
    given = getattr(getattr(model, "_compile_config", None), "config", None)
    if given is None or type(model).compile is not keras.Model.compile:
        return {"config": model.get_compile_config()}
    return {"arguments": {name: pack(value) for name, value in given.items()}}


def _all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """`model` and every layer in it, however deep."""
    flatten: Callable[[], Iterable[Any]] | None = getattr(model, "_flatten_layers", None)
    if flatten is not None:
        return list(flatten())
    layers: list[Any] = [model]
    for layer in model.layers:
        layers += _all_layers(layer) if hasattr(layer, "layers") else [layer]
    return layers
