"""A target that is a user-defined transformer, or two functions."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.preprocessing import FunctionTransformer

from skguard.exceptions import InputTypeError, InputValueError
from skguard.targets._base import Target
from skguard.targets._losses import Outputs
from skguard.targets._outputs import ModelOutput, check_encoded

__all__ = ["Transformed", "check_transformer"]


_N_TRIED = 8  # samples
_ADVICE = (
    "inverse_transform, or decode, is called with the outputs of the model, not with classes. "
    "For labels, leave out target, which encodes and decodes labels of any kind for every loss; or "
    "pass (encode, decode), where decode takes the outputs."
)


class Transformed(Target):
    """y as a transformer encodes it, and outputs as it decodes them.

    Parameters
    ----------
    transformer : transformer, or (encode, decode)
        ``inverse_transform``, or `decode`, is called with the outputs of the model.
    holds_classes : bool, default=False
        Whether y has labels, of which outputs that are close to an encoded one must become that.
    """

    _rank: int | None = None

    def __init__(self, transformer: Any, holds_classes: bool = False) -> None:
        self.transformer = transformer
        self.holds_classes = holds_classes

    def fit(self, y: np.ndarray) -> Transformed:
        """Fit a clone of the transformer.

        Parameters
        ----------
        y : ndarray of shape (n_samples, ...)
            A transformer that does not take one dimension gets one column.

        Returns
        -------
        Transformed
        """
        if isinstance(self.transformer, tuple):
            encode, decode = self.transformer
            transformer = FunctionTransformer(encode, decode, check_inverse=False)
        else:
            transformer = clone(self.transformer)
        self._sample_shape = tuple(y.shape[1:])
        self._example = _of_each_label(y)[:_N_TRIED]
        self._needs_column = False
        try:
            transformer.fit(y)
        except ValueError:
            if y.ndim != 1:
                raise
            self._needs_column = True
            transformer.fit(y.reshape(-1, 1))
        self._transformer = transformer
        classes = getattr(transformer, "classes_", None)
        if classes is None and self._sample_shape in ((), (1,)):
            classes = np.unique(y)
        self.classes_ = classes
        self.n_classes_ = None if classes is None else len(classes)
        self._metadata: dict[str, Any] = getattr(transformer, "get_metadata", dict)()
        self.__dict__.update(self._metadata)
        return self

    def get_metadata(self) -> dict[str, Any]:
        """Return the attributes of all targets, and those of the transformer."""
        return super().get_metadata() | self._metadata

    def for_outputs(self, outputs: list[ModelOutput] | None) -> Transformed:
        """Return this target; a custom loss gets y with as many axes as the output."""
        if outputs is None or len(outputs) != 1 or outputs[0].shape is None:
            return self
        loss = outputs[0].loss
        rank = None if loss is None or loss.is_known else len(outputs[0].shape) + 1
        bound: Transformed = self._copy(_rank=rank)
        bound._check_decoding(outputs[0])
        return bound

    def _check_decoding(self, output: ModelOutput) -> None:
        """Raise if outputs cannot be decoded, which would show only in ``predict``.

        Outputs that are equal to the encoded y, if they have its shape, must become y; others are
        only decoded.
        """
        given, encoded = self._example, self.transform(self._example)
        shape = tuple(size for size in output.shape or () if size is not None)
        if not isinstance(encoded, np.ndarray) or encoded.dtype.kind not in "biuf":
            return
        if shape != output.shape:
            return
        check_encoded(encoded, output)
        outputs = np.full((len(given), *shape), 1 / (shape[-1] if shape else 1), np.float32)
        is_same = outputs.size == encoded.size and shape[-1:] in (encoded.shape[1:], (1,))
        if is_same:
            outputs = encoded.reshape(outputs.shape).astype(np.float32)
        try:
            decoded = np.asarray(self.inverse_transform(outputs))
        except Exception as error:
            raise InputValueError(
                f"{self._name} cannot decode outputs of the shape {shape} per sample: "
                f"{type(error).__name__}: {error}. {_ADVICE}"
            ) from error
        if len(decoded) != len(given):
            raise InputValueError(
                f"{self._name} decodes outputs of {len(given)} samples, of the shape {shape} each, "
                f"to {len(decoded)} values. {_ADVICE}"
            )
        if is_same and self.holds_classes and given.ndim == 1:
            self._check_nearby(outputs, given, output)
        if is_same and given.dtype.kind in "OUS" and not np.array_equal(decoded, given):
            raise InputValueError(
                f"{self._name} does not decode what it encodes: {given[0]!r} becomes "
                f"{decoded[0]!r}. {_ADVICE}"
            )

    def _check_nearby(self, outputs: np.ndarray, given: np.ndarray, output: ModelOutput) -> None:
        """Raise if outputs that are close to the encoded labels are decoded to others."""
        loss = output.loss
        if loss is not None and loss.outputs is Outputs.LOGITS and np.isin(outputs, (0, 1)).all():
            tried = [np.where(outputs > 0, 0.3, -0.2).astype(np.float32)]
        else:
            tried = [outputs - np.float32(0.1), outputs + np.float32(0.1)]
        for nearby in tried:
            decoded = np.asarray(self.inverse_transform(nearby)).reshape(-1)
            if len(decoded) != len(given):
                return
            wrong = np.flatnonzero(decoded != given)
            if len(wrong):
                at = wrong[0]
                raise InputValueError(
                    f"{self._name} decodes the output {nearby[at].tolist()} of the label "
                    f"{given.tolist()[at]!r} to {decoded.tolist()[at]!r}. {_ADVICE}"
                )

    @property
    def _name(self) -> str:
        return f"target={self.transformer!r}"

    def transform(self, y: np.ndarray) -> Any:
        """Return y as the transformer encodes it."""
        encoded = self._transformer.transform(y.reshape(-1, 1) if self._needs_column else y)
        encoded = encoded.toarray() if hasattr(encoded, "toarray") else encoded
        is_flat = isinstance(encoded, np.ndarray) and encoded.ndim == 1 and self._rank == 2
        return encoded[:, np.newaxis] if is_flat else encoded

    def inverse_transform(self, outputs: Any, return_proba: bool = False) -> Any:
        """Return what the transformer makes of the outputs."""
        decode = self._transformer.inverse_transform
        if return_proba:
            if "return_proba" not in inspect.signature(decode).parameters:
                raise InputValueError(
                    f"target={self.transformer!r} does not say how outputs become probabilities. "
                    "Pass a transformer with inverse_transform(outputs, return_proba=False)."
                )
            return decode(outputs, return_proba=True)
        decoded = decode(outputs)
        if self._sample_shape == () and getattr(decoded, "shape", ())[1:] == (1,):
            return decoded[:, 0]
        return decoded

    def labels(self, y: np.ndarray) -> np.ndarray | None:
        """Return one label per sample, or None if y has several columns."""
        return y.reshape(-1) if self._sample_shape in ((), (1,)) else None


def _of_each_label(y: np.ndarray) -> np.ndarray:
    """Return the first sample of each label, or all samples if each has several values."""
    if y.ndim != 1:
        return y
    _, first = np.unique(y, return_index=True)
    return y[np.sort(first)]


def check_transformer(value: Any) -> None:
    """Raise if a value cannot encode and decode.

    Raises
    ------
    InputTypeError
    """
    if isinstance(value, tuple):
        if len(value) == 2 and all(map(callable, value)):
            return
        raise InputTypeError(
            f"target={value!r} must be two functions, (encode, decode). Several outputs are a "
            "list or a dict."
        )
    missing = [m for m in ("fit", "transform", "inverse_transform") if not hasattr(value, m)]
    if inspect.isclass(value) or missing:
        what = f"has no {missing[0]}" if missing else "is a class"
        raise InputTypeError(
            f"target={value!r} {what}. Pass a word such as 'one_hot', an object of "
            "skguard.targets, a transformer, (encode, decode), or a list or dict of these."
        )
