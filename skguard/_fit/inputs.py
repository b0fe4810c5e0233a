"""Inputs that a model takes: what only the model decides about X, weights and batches.

Data is validated before there is a model, whose function may read what is known of the data. What
depends on the model is decided here, before training: whether text, NaN, samples of another shape
than in ``fit`` and one weight per step can be used. Nothing is padded, dropped or filled in.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import scipy.sparse

from skguard import _engine as engine
from skguard._fit.arrays import Samples, check_sample_shape, shape_of
from skguard._fit.columns import InputColumns
from skguard._fit.text import as_numbers, as_strings, is_text
from skguard._parameters import copies
from skguard._repairs import seeding
from skguard._repairs.keras_internals import all_layers
from skguard._suggestions import did_you_mean
from skguard.exceptions import InputTypeError, InputValueError

__all__ = [
    "as_model_takes",
    "check_batches",
    "check_model_inputs",
    "check_names_of_inputs",
    "check_nan",
    "check_predicted_nan",
    "check_validation_shape",
    "check_weights",
    "free_axes",
    "symbolic_inputs",
    "takes_text",
]

_TEXT_LAYERS = ("StringLookup", "TextVectorization")


def symbolic_inputs(model: Any) -> list[Any]:
    """Return the input tensors of a model; none if they are unknown, as of a subclassed model."""
    try:
        return list(model.inputs or [])
    except (AttributeError, TypeError, ValueError):
        return []


def _named_inputs(model: Any) -> dict[str, Any]:
    """Return the input tensors under the names by which data is passed to them."""
    if _takes_dict(model):
        return dict(model.input)
    return {tensor.name: tensor for tensor in symbolic_inputs(model)}


def _takes_dict(model: Any) -> bool:
    try:
        return isinstance(model.input, dict)
    except (AttributeError, ValueError):  # a Sequential model, or one without symbolic inputs
        return False


def takes_text(model: Any) -> bool:
    """Return whether an input of a model takes strings."""
    inputs = symbolic_inputs(model)
    if inputs:
        return any(tensor.dtype == "string" for tensor in inputs)
    return isinstance(model, keras.Model) and any(
        type(layer).__name__ in _TEXT_LAYERS for layer in all_layers(model)
    )


def free_axes(estimator: Any) -> tuple[bool, ...] | None:
    """Return for each axis of a sample whether its length may differ from that in ``fit``.

    Returns
    -------
    tuple of bool or None
        None before the model is built. An axis is free where the shape of the model's input layer
        has None; with several input layers or an encoder of features, all are fixed.
    """
    if not _passes_features_on(estimator):
        return ()
    model = getattr(estimator, "model_", None)
    if model is None:
        return None
    inputs = symbolic_inputs(model)
    return tuple(size is None for size in inputs[0].shape[1:]) if len(inputs) == 1 else ()


def _passes_features_on(estimator: Any) -> bool:
    """Return whether X reaches the model as it is validated."""
    encoder = getattr(estimator, "feature_encoder_", None)
    return getattr(encoder, "func", encoder) is None and hasattr(encoder, "inverse_func")


def check_validation_shape(estimator: Any, validation: Samples | None) -> None:
    """Raise if the validation set has another shape than the training set and the model takes.

    Raises
    ------
    ValueError
    """
    if validation is not None and hasattr(estimator, "X_shape_"):
        check_sample_shape(estimator, validation.X, free_axes(estimator) or ())


def as_model_takes(estimator: Any, X: Any) -> Any:
    """Convert text and whole numbers in encoded features to what the model's inputs take.

    Parameters
    ----------
    estimator : estimator
        With a model.
    X : array, or nested list, tuple or dict of arrays

    Raises
    ------
    InputValueError
        If an input takes numbers and is passed other text, or takes strings and is passed numbers.
    """
    return _map_inputs(estimator, X, _converted)


def _map_inputs(estimator: Any, X: Any, function: Callable[..., Any]) -> Any:
    """Call ``function(array, tensor, column_names, label)`` for each input."""
    tensors, known = symbolic_inputs(estimator.model_), _named_inputs(estimator.model_)
    encoder = estimator.feature_encoder_
    selects = isinstance(encoder, InputColumns)

    def of(key: Any, array: Any, tensor: Any, where: str) -> Any:
        columns = encoder.names_of(key) if selects else _feature_names(estimator, array)
        return function(array, tensor, columns, where)

    if isinstance(X, dict):
        return {
            name: of(name, array, known.get(name), f"the model's input {name!r}")
            for name, array in X.items()
        }
    if isinstance(X, list | tuple):
        padded = [*tensors, *[None] * len(X)] if len(tensors) == len(X) else [None] * len(X)
        return type(X)(
            of(i, array, padded[i], f"input {i} of the model") for i, array in enumerate(X)
        )
    if len(tensors) > 1:  # check_model_inputs raises for it
        return X
    return of(0, X, tensors[0] if tensors else None, "the model's input layer")


def _feature_names(estimator: Any, array: Any) -> Sequence[str] | None:
    names = getattr(estimator, "feature_names_in_", None)
    is_table = names is not None and np.shape(array)[1:] == (len(names),)
    return list(names) if is_table and names is not None else None


def _converted(array: Any, tensor: Any, names: Sequence[Any] | None, where: str) -> Any:
    is_array = isinstance(array, np.ndarray | engine.MappedSamples)
    if not is_array or engine.is_array_of_arrays(array):
        return array
    dtype = None if tensor is None else str(tensor.dtype)
    if is_text(array):
        if dtype == "string" or (dtype is None and _is_all_text(array)):
            return as_strings(array, names, where)
        array = as_numbers(array, names, where)
    elif dtype == "string":
        raise InputValueError(
            f"X has dtype {array.dtype}, but {where} takes strings. Pass text, or X.astype(str)."
        )
    if dtype is not None and dtype.startswith(("int", "uint")) and array.dtype == np.float64:
        # Keras casts to float32 first, which does not hold all integers.
        return _as_whole(array)
    return array


def _as_whole(array: Any) -> Any:
    """Convert numbers to integers, if all of them are whole."""
    if engine.mapped.is_large(array):
        parts = engine.mapped.chunks(array)
        is_whole = all(np.array_equal(part.astype(np.int64), part) for part in parts)
        return engine.mapped.as_type(array, np.int64) if is_whole else array
    whole = np.asarray(array).astype(np.int64)
    return whole if np.array_equal(whole, array) else array


def _is_all_text(array: np.ndarray) -> bool:
    return array.dtype.kind != "O" or all(isinstance(value, str | bytes) for value in array.flat)


def check_model_inputs(model: keras.Model, X: Any) -> None:
    """Raise if encoded samples do not have the shapes of the input layers.

    Only for a model with known inputs, which a subclassed model does not have.

    Raises
    ------
    InputValueError
    """
    inputs = symbolic_inputs(model)
    if not inputs:
        return
    if hasattr(X, "shape"):
        if len(inputs) != 1:
            raise InputValueError(
                f"The model has {len(inputs)} inputs, and X is one array. Pass inputs=, such as "
                f"{_example_of_inputs(model)}, or override feature_encoder to split X into one "
                "array per input."
            )
        _check_shape(X, inputs[0], "X has samples", "the model's input layer")
    elif isinstance(X, dict):
        known = _named_inputs(model)
        for name in known.keys() & X.keys():
            _check_shape(X[name], known[name], *_of_input(repr(name)))
    elif isinstance(X, list | tuple) and len(X) == len(inputs):
        for i, (array, tensor) in enumerate(zip(X, inputs, strict=True)):
            _check_shape(array, tensor, *_of_input(str(i)))


def _of_input(name: str) -> tuple[str, str]:
    return f"The array for input {name} has samples", "the model's input layer"


def _example_of_inputs(model: keras.Model) -> str:
    names = list(_named_inputs(model))
    pairs = ", ".join(f"{name!r}: [columns]" for name in names[:2])
    return f"inputs={{{pairs}{', ...' if len(names) > 2 else ''}}}"


def check_names_of_inputs(model: keras.Model, X: Any) -> None:
    """Raise if ``inputs`` of an estimator does not have the names of the model's inputs.

    Raises
    ------
    InputValueError
    """
    names = list(_named_inputs(model))
    if not names:
        return
    is_dict = isinstance(X, dict)
    if not is_dict and _takes_dict(model):
        raise InputValueError(
            f"inputs is a list, but the inputs of the model are a dict. Pass a dict with the "
            f"names {names}."
        )
    if not is_dict and len(X) != len(names):
        raise InputValueError(
            f"inputs has {len(X)} items, but the model has {len(names)} inputs: {names}."
        )
    if is_dict and set(X) != set(names):
        unknown = sorted(set(X) - set(names))
        advice = did_you_mean(unknown[0], names) if unknown else ""
        raise InputValueError(
            f"inputs has the names {sorted(X)}, but the inputs of the model are named "
            f"{names}.{advice} Use keras.Input(..., name=) to name them."
        )


def _check_shape(X: Any, tensor: Any, what: str, where: str) -> None:
    if not hasattr(X, "shape"):
        return
    given, expected = tuple(shape_of(X)[1:]), tuple(tensor.shape[1:])
    # Keras itself adds or drops a last axis of length 1.
    candidates = [given, (*given, 1), *([given[:-1]] if given[-1:] == (1,) else [])]
    if any(_fits(shape, expected) for shape in candidates):
        return
    if None in given:
        raise InputValueError(
            f"{what} of different shapes, {given} where None differs, but {where} takes samples "
            f'of shape {expected}. Use keras.Input(meta["X_shape_"][1:]), or pad them to one '
            "shape, for example by keras.utils.pad_sequences with Masking or "
            "Embedding(mask_zero=True) in the model."
        )
    raise InputValueError(
        f"{what} of shape {given}, but {where} takes samples of shape {expected}. Let the model "
        'function take `meta` and use keras.Input(meta["X_shape_"][1:]).'
    )


def _fits(shape: tuple[int | None, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        size in (None, actual) for actual, size in zip(shape, expected, strict=True)
    )


def check_batches(model: Any, X: Any, batch_size: int | None) -> None:
    """Raise if batches do not fill an input layer of a fixed batch size.

    Raises
    ------
    InputValueError
    """
    sizes = {tensor.shape[0] for tensor in symbolic_inputs(model) if tensor.shape} - {None}
    if not sizes:
        return
    first = next(iter(keras.tree.flatten(X)), None)
    if not hasattr(first, "shape"):
        return
    batch_size = batch_size or engine.DEFAULT_BATCH_SIZE
    for size in sizes:
        for n_samples in engine.group_sizes(first):
            if n_samples % size or batch_size != size:
                raise InputValueError(
                    f"The model's input layer has a fixed batch size of {size}, but {n_samples} "
                    f"samples would be divided into batches of {batch_size}. Leave the batch size "
                    "out of the input's shape, or make the numbers fit."
                )


def check_weights(model: Any, y: Any, weights: np.ndarray | None) -> None:
    """Raise if there is one weight per step and the loss is not computed per step.

    Raises
    ------
    InputValueError
    """
    if weights is None or weights.ndim == 1:
        return
    targets = [array for array in keras.tree.flatten(y) if array is not None]
    outputs = [tuple(output.shape) for output in getattr(model, "outputs", None) or []]
    for i, output in enumerate(outputs or [(*np.shape(array),) for array in targets] or [()]):
        y_shape = np.shape(targets[i]) if i < len(targets) else output
        _check_steps(weights, output, y_shape)


def _check_steps(
    weights: np.ndarray, output: tuple[int | None, ...], y_shape: tuple[int, ...]
) -> None:
    per_step = output[:-1]
    advice = ""
    if len(y_shape) < len(output) and output[-1:] == (1,):
        per_step = output[:-2]  # Keras drops the last axis, and the loss averages over the steps
        advice = " Pass y with a last axis of length 1, y[..., np.newaxis]."
    steps, n_axes = weights.shape[1:], weights.ndim
    if not (_fits(steps, per_step[1:n_axes]) and _fits(steps, y_shape[1:n_axes])):
        raise InputValueError(
            f"Sample weights must be 1D array or scalar, got {weights.ndim}D array of shape "
            f"{weights.shape}: one weight per step needs a loss per step, but the output of the "
            f"model has the shape {output} and y {y_shape}.{advice}"
        )


def check_nan(estimator: Any, X: Any, batch_size: int | None) -> None:
    """Raise if X has NaN and the outputs of the model for these samples are NaN too.

    The model is called as for prediction, without a change of its state. One that is not built is
    copied, because the first call creates its weights. If it cannot be copied it is not called:
    if it does not handle NaN, its loss is NaN, which is monitored.

    Raises
    ------
    InputValueError
    """
    has_nan = _samples_with_nan(X)
    if has_nan is None:
        return
    with seeding.preserved():
        call = _predicting(estimator.model_)
        if call is None:
            return
        for batch in _batches(X, np.flatnonzero(has_nan), estimator.model_, batch_size):
            try:
                outputs = call(batch)
            except Exception as error:
                raise InputValueError(
                    f"Input X contains NaN, and the model fails with {type(error).__name__}: "
                    f"{error}. {_NAN_ADVICE}"
                ) from error
            _raise_if_nan(outputs)


def _predicting(model: Any) -> Callable[[Any], Any] | None:
    """Return a function that predicts without changing `model`, or None."""
    if not model.built:
        try:
            return functools.partial(copies.copy_model(model), training=False)
        except (InputTypeError, ValueError):
            return None
    kinds = model.trainable_variables, model.non_trainable_variables
    values = [[variable.value for variable in variables] for variables in kinds]

    def call(batch: Any) -> Any:
        return model.stateless_call(*values, batch, training=False)[0]

    return call


def check_predicted_nan(X: Any, outputs: Any) -> None:
    """Raise if outputs are NaN for samples that have NaN.

    Raises
    ------
    InputValueError
    """
    has_nan = _samples_with_nan(X)
    if has_nan is not None:
        flat = [a for a in keras.tree.flatten(outputs) if len(a) == len(has_nan)]
        _raise_if_nan([array[has_nan] for array in flat])


_NAN_ADVICE = (
    "Replace NaN, for example by "
    "SimpleImputer in a pipeline, or let the first layer do so; to mask steps, replace NaN by a "
    "number for Masking(mask_value=number), because Masking(mask_value=nan) masks nothing."
)


def _raise_if_nan(outputs: Any) -> None:
    for array in keras.tree.flatten(outputs):
        values = keras.ops.convert_to_numpy(array)
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise InputValueError(
                f"Input X contains NaN, and so does the output of the model. {_NAN_ADVICE}"
            )


def _samples_with_nan(X: Any) -> np.ndarray | None:
    """Return for each sample whether it has NaN in any input, or None if no sample has."""
    found = [mask for mask in map(_nan_per_sample, keras.tree.flatten(X)) if mask is not None]
    any_input: np.ndarray | None = np.logical_or.reduce(found) if found else None
    return any_input


def _nan_per_sample(array: Any) -> np.ndarray | None:
    if scipy.sparse.issparse(array):
        if not np.isnan(array.data).any():
            return None
        matrix = array.tocsr()
        of_sample = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        return np.isin(np.arange(matrix.shape[0]), of_sample[np.isnan(matrix.data)])
    if not isinstance(array, np.ndarray | engine.MappedSamples) or not array.size:
        return None
    if engine.mapped.is_large(array):
        return _nan_per_mapped_sample(array)
    array = np.asarray(array)
    if engine.is_array_of_arrays(array):
        in_sample = np.array([s.dtype.kind == "f" and bool(np.isnan(s).any()) for s in array])
        return in_sample if bool(in_sample.any()) else None
    if array.dtype.kind != "f" or not np.isnan(array.min()):  # min is NaN if any value is
        return None
    return np.asarray(np.isnan(array).reshape(len(array), -1).any(axis=1))


def _nan_per_mapped_sample(array: Any) -> np.ndarray | None:
    has_nan = np.zeros(len(array), bool)
    begin = 0
    for part in engine.mapped.chunks(array):
        found = _nan_per_sample(np.array(part))  # in memory, so that it is not divided again
        if found is not None:
            has_nan[begin : begin + len(part)] = found
        begin += len(part)
    return has_nan if has_nan.any() else None


def _batches(X: Any, indices: np.ndarray, model: Any, batch_size: int | None) -> Iterator[Any]:
    """Yield the samples at `indices` in batches of one shape, as a model is called with them."""
    fixed = {tensor.shape[0] for tensor in symbolic_inputs(model) if tensor.shape} - {None}
    size = next(iter(fixed), batch_size or engine.DEFAULT_BATCH_SIZE)

    def take(array: Any, part: np.ndarray) -> Any:
        if scipy.sparse.issparse(array):
            return array.tocsr()[part].toarray()
        taken = array[part] if isinstance(array, engine.MappedSamples) else np.asarray(array)[part]
        if engine.is_array_of_arrays(taken):
            return np.stack(list(taken))
        return engine.text_as_tensors(taken)

    if engine.is_array_of_arrays(X):
        size = 1
    for begin in range(0, len(indices), size):
        part = indices[begin : begin + size]
        if fixed:  # repeated to fill the batch
            part = np.resize(part, size)
        yield keras.tree.map_structure(lambda array, part=part: take(array, part), X)
