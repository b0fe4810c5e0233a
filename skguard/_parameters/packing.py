"""Keras objects as plain records that can be copied and pickled, and back.

Keras can only serialize classes that are registered or importable by name, and scikeras's own
hooks rely on that. These records hold the classes themselves, so an unregistered loss or layer
is kept by whatever can serialize its class: ``copy.deepcopy`` any, ``pickle`` those of a
module, ``cloudpickle`` those of ``__main__`` and notebooks too.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import tempfile
import types
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from skguard._parameters.signatures import REQUIRED, is_from_keras, signature_of
from skguard._repairs import forks, seeding
from skguard._repairs.compile_arguments import compile_arguments
from skguard._repairs.keras_internals import (
    all_layers,
    optimized_variables,
    set_trainable_flags,
)
from skguard.exceptions import NotCopyableError

__all__ = ["Packed", "pack", "pack_model", "unpack"]

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
        If an object cannot be serialized.
    ForkedProcessError
        If serializing an object would hang in this process.
    """
    if type(value) in (list, tuple):
        return type(value)(pack(item) for item in value)
    if type(value) is dict:
        return {key: pack(item) for key, item in value.items()}
    if isinstance(value, keras.Model):
        return pack_model(value)
    if isinstance(value, _CONFIGURABLE):
        forks.check_not_forked()
        return _pack_configurable(value)
    if isinstance(value, keras.layers.Layer):
        forks.check_not_forked()
        return _PackedLayer.of(value)
    return value


def pack_model(model: keras.Model) -> PackedModel:
    """Return the record of a model; raises as `pack` does."""
    forks.check_not_forked()
    return PackedModel.of(model)


def unpack(value: Any) -> Any:
    """Replace the records in `value` by the Keras objects that they are of."""
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
    """An object that its configuration describes completely."""

    cls: Any  # has from_config
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
        # Several objects from one record must not share their attributes.
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
    if forgotten and not is_from_keras(cls):
        raise NotCopyableError(
            f"{value!r} cannot be copied: get_config() of {cls.__name__} leaves out "
            f"{', '.join(forgotten)}, which its constructor takes. Add them to get_config(), or "
            f"pass the class {cls.__name__} itself and its settings as routed parameters."
        )
    return _PackedConfig(cls, config, _custom_objects([value]))


@dataclasses.dataclass(frozen=True)
class _TrainableFlags:
    """Flags ``trainable`` of a layer or model, of its layers and of its variables.

    Configurations do not have all of it: that of a ``keras.Sequential`` is read without its flag
    (Keras 3.8 to 3.15), after which ``trainable = True`` does not reach the layers in it.

    Parameters
    ----------
    layers : list of bool
        For the layer itself and each layer within it.
    variables : list of bool
    """

    layers: list[bool]
    variables: list[bool]

    @classmethod
    def of(cls, layer: keras.layers.Layer) -> _TrainableFlags:
        layers = [part.trainable for part in _with_inner_layers(layer)]
        return cls(layers, [bool(variable.trainable) for variable in layer.variables])

    def restore(self, layer: keras.layers.Layer) -> None:
        set_trainable_flags(layer, self.layers)
        for variable, flag in zip(layer.variables, self.variables, strict=False):
            variable.trainable = flag


@dataclasses.dataclass(frozen=True)
class _PackedLayer(Packed):
    """One layer: its configuration, build configuration, weights, and what is trainable."""

    cls: Any  # has from_config
    config: dict[str, Any]
    build_config: dict[str, Any] | None
    weights: list[np.ndarray]
    trainable: _TrainableFlags
    custom_objects: dict[str, Any]

    @classmethod
    def of(cls, layer: keras.layers.Layer) -> _PackedLayer:
        built = layer.get_build_config() if layer.built else None
        weights = layer.get_weights() if layer.built else []
        return cls(
            type(layer),
            layer.get_config(),
            built,
            weights,
            _TrainableFlags.of(layer),
            _custom_objects([layer]),
        )

    def unpack(self) -> keras.layers.Layer:
        with keras.saving.custom_object_scope(self.custom_objects):
            layer = self.cls.from_config(self.config)
            if self.build_config is not None:
                layer.build_from_config(self.build_config)
        if self.weights:
            layer.set_weights(self.weights)
        self.trainable.restore(layer)
        return layer


@dataclasses.dataclass(frozen=True)
class _Archive:
    """A model without its compile settings, as a ``.keras`` file."""

    content: bytes

    @classmethod
    def of(cls, model: keras.Model) -> _Archive:
        # Saving a model may draw from the random streams.
        with (
            seeding.preserved(),
            tempfile.TemporaryDirectory() as folder,
            warnings.catch_warnings(),
        ):
            # An unbuilt model has no weights to lose; Keras warns that none are saved.
            warnings.simplefilter("ignore", UserWarning)
            path = Path(folder) / "model.keras"
            try:
                keras.saving.save_model(model, path)
            except Exception as error:
                raise NotCopyableError(
                    f"{model!r} cannot be copied, and every fit trains a copy: {error}\nAdd a "
                    f"get_config() to {type(model).__name__} that returns its constructor's "
                    "arguments, or pass a function that builds the model."
                ) from error
            return cls(path.read_bytes())

    def rebuild(self, custom_objects: dict[str, Any]) -> keras.Model:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            path.write_bytes(self.content)
            # safe_mode=False reads lambdas: this process wrote the archive, or unpickled it,
            # which runs code anyway.
            return keras.saving.load_model(
                path, custom_objects=custom_objects, compile=False, safe_mode=False
            )


@dataclasses.dataclass(frozen=True)
class _Constructed:
    """A model that Keras would serialize with the defaults of its constructor.

    Parameters
    ----------
    cls : class
    arguments : dict of str to object
        Of the constructor.
    build_config : dict or None
    weights : list of ndarray
    """

    cls: Callable[..., keras.Model]
    arguments: dict[str, Any]
    build_config: dict[str, Any] | None
    weights: list[np.ndarray]

    @classmethod
    def of(cls, model: keras.Model, arguments: dict[str, Any]) -> _Constructed:
        return cls(type(model), arguments, model.get_build_config(), model.get_weights())

    def rebuild(self, custom_objects: dict[str, Any]) -> keras.Model:
        model = self.cls(**self.arguments)
        if self.build_config:
            model.build_from_config(self.build_config)
            model.set_weights(self.weights)
            # build_from_config builds the layers and leaves this False (Keras 3.8 to 3.15).
            model.built = True
        for layer in all_layers(model):
            if isinstance(layer, keras.layers.Normalization) and layer.built:
                layer.finalize_state()
        return model


@dataclasses.dataclass(frozen=True)
class PackedModel(Packed):
    """A model in Keras's own file format, with what that format cannot hold beside it.

    Parameters
    ----------
    name : str
        For messages.
    structure : _Archive or _Constructed
        The layers and their weights.
    custom_objects : dict of str to class or function
        Those that the structure names.
    compiled : dict or None
        The arguments of ``compile``, packed; None if it was not called.
    trainable : _TrainableFlags
    variables : list of ndarray
        Every variable of the model, the states of its random generators included.
    optimizer_variables : list of ndarray or None
        None if the optimizer was not built yet.
    optimized : list of int or None
        Indices of the variables that the optimizer was built for; None means those that are
        trainable.
    """

    name: str
    structure: _Archive | _Constructed
    custom_objects: dict[str, Any]
    compiled: dict[str, Any] | None
    trainable: _TrainableFlags
    variables: list[np.ndarray]
    optimizer_variables: list[np.ndarray] | None
    optimized: list[int] | None

    @classmethod
    def of(cls, model: keras.Model) -> PackedModel:
        _check_inner_models(model)
        arguments = _constructor_arguments(model)
        return cls(
            name=repr(model),
            structure=(
                _Archive.of(model) if arguments is None else _Constructed.of(model, arguments)
            ),
            custom_objects=_custom_objects(_with_inner_layers(model)),
            compiled=_pack_compile_arguments(model),
            trainable=_TrainableFlags.of(model),
            variables=_as_arrays(model.variables),
            optimizer_variables=_optimizer_variables(model),
            optimized=_optimized(model),
        )

    def unpack(self) -> keras.Model:
        with seeding.preserved():
            model = self.unpack_without_training_state()
            for variable, saved in zip(model.variables, self.variables, strict=False):
                if tuple(variable.shape) == saved.shape:
                    variable.assign(saved)
            if self.optimizer_variables is not None:
                model.optimizer.build(self._variables_to_optimize(model))
                for variable, saved in zip(
                    model.optimizer.variables, self.optimizer_variables, strict=True
                ):
                    variable.assign(saved)
        return model

    def _variables_to_optimize(self, model: keras.Model) -> list[keras.Variable]:
        if self.optimized is None:
            variables: list[keras.Variable] = model.trainable_variables
            return variables
        return [model.variables[index] for index in self.optimized]

    def unpack_without_training_state(self) -> keras.Model:
        """Return the model with its weights, a new optimizer and new random generators."""
        try:
            model = self.structure.rebuild(self.custom_objects)
        except Exception as error:
            raise NotCopyableError(
                f"{self.name} was serialized, and Keras cannot read it back: {error}\nReplace "
                "lambdas in its layers by functions with a name, and add a get_config() that "
                "returns the constructor's arguments to custom layers; or pass a function that "
                "builds the model."
            ) from error
        self.trainable.restore(model)  # before compile(), which remembers it
        if self.compiled is not None:
            with keras.saving.custom_object_scope(self.custom_objects):
                if "config" in self.compiled:
                    model.compile_from_config(self.compiled["config"])
                else:
                    model.compile(**unpack(self.compiled["arguments"]))
        return model


def _as_arrays(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    return [np.array(variable) for variable in variables]


def _optimizer_variables(model: keras.Model) -> list[np.ndarray] | None:
    optimizer = model.optimizer if model.compiled else None
    if optimizer is None or not optimizer.built:
        return None
    return _as_arrays(optimizer.variables)


def _optimized(model: keras.Model) -> list[int] | None:
    """Return the indices of the variables that the optimizer of a model was built for."""
    optimizer = model.optimizer if model.compiled else None
    variables = None if optimizer is None else optimized_variables(optimizer)
    index = {id(variable): number for number, variable in enumerate(model.variables)}
    if not variables or any(id(variable) not in index for variable in variables):
        return None
    return [index[id(variable)] for variable in variables]


def _with_inner_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    return [layer, *all_layers(layer)]


def _pack_compile_arguments(model: keras.Model) -> dict[str, Any] | None:
    if not model.compiled:
        return None
    arguments = compile_arguments(model)
    if arguments is None:
        return {"config": model.get_compile_config()}
    return {"arguments": {name: pack(value) for name, value in arguments.items()}}


def _check_inner_models(model: keras.Model) -> None:
    """Raise if a model within `model` was constructed with arguments that Keras would lose."""
    for layer in all_layers(model):
        if not isinstance(layer, keras.Model):
            continue
        defaults = signature_of(type(layer)).arguments
        arguments = _constructor_arguments(layer) or {}
        if any(value != defaults[name] for name, value in arguments.items()):
            raise NotCopyableError(
                f"{model!r} cannot be copied: {type(layer).__name__} within it has no "
                "get_config(), and Keras forgets its constructor's arguments without it."
            )


def _constructor_arguments(model: keras.Model) -> dict[str, Any] | None:
    """Return the arguments that a model of a user-defined class was constructed with.

    Unless such a class has a get_config(), Keras serializes the defaults of its constructor,
    whatever it was called with. The attributes of the same names are used instead, if they are
    plain values.

    Returns
    -------
    dict or None
        None if there is nothing that Keras could lose.

    Raises
    ------
    NotCopyableError
        If an argument is not among the attributes.
    """
    cls = type(model)
    if is_from_keras(cls) or not is_from_keras(inspect.unwrap(cls.get_config)):
        return None
    own = signature_of(cls).arguments.keys() - signature_of(keras.layers.Layer).arguments.keys()
    if not own:
        return None
    plain = (str, int, float, bool, type(None))
    arguments = {name: vars(model).get(name, REQUIRED) for name in sorted(own)}
    unknown = [name for name, value in arguments.items() if not isinstance(value, plain)]
    if unknown:
        raise NotCopyableError(
            f"{model!r} cannot be copied: {cls.__name__} has no get_config(), and Keras forgets "
            f"the constructor's {', '.join(unknown)} without it. Add a get_config() that returns "
            "them, or pass the class or a function that builds the model."
        )
    return arguments


def _custom_objects(objects: Iterable[Any]) -> dict[str, Any]:
    """Return the classes and functions, by name, that Keras needs to read the objects' configs.

    Raises
    ------
    NotCopyableError
        If two of them have one name.
    """
    search = _CustomObjects()
    for value in objects:
        search.add_from(value)
    return search.found


_MAX_DEPTH = 4  # of attributes and containers, which may refer to one another endlessly


class _CustomObjects:
    """A search for the classes and functions that are not Keras's own."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self._seen: set[int] = set()

    def add_from(self, value: Any, depth: int = 0) -> None:
        if id(value) in self._seen or depth > _MAX_DEPTH:
            return
        self._seen.add(id(value))
        for inner in _parts_of(value):
            self.add_from(inner, depth + 1)
        thing = _named_in_config(value)
        if thing is not None and not is_from_keras(thing):
            self._add(thing)

    def _add(self, thing: Any) -> None:
        for name in (thing.__name__, keras.saving.get_registered_name(thing)):
            if self.found.setdefault(name, thing) is not thing:
                raise NotCopyableError(
                    f"{self.found[name]!r} and {thing!r} have one name, {name}, by which Keras "
                    "serializes them, so they cannot be copied. Rename one."
                )


def _parts_of(value: Any) -> Iterable[Any]:
    """Return the items of a container, or the attributes of an object with a configuration."""
    if isinstance(value, list | tuple | set):
        return value
    if isinstance(value, dict):
        return value.values()
    if _is_named(value) or not _has_config(value) or not hasattr(value, "__dict__"):
        return ()
    return vars(value).values()


def _named_in_config(value: Any) -> Any:
    """Return the class or function that a configuration with `value` in it names, if any."""
    if isinstance(value, list | tuple | set | dict):
        return None
    if _is_named(value):
        return value
    return type(value) if _has_config(value) else None


def _is_named(value: Any) -> bool:
    return isinstance(value, types.FunctionType) or inspect.isclass(value)


def _has_config(value: Any) -> bool:
    return hasattr(type(value), "get_config")
