"""A target with one part per output of the model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, r2_score

from skguard.exceptions import InputValueError
from skguard.targets._base import Target
from skguard.targets._metric_checks import TargetFormat
from skguard.targets._outputs import ModelOutput

__all__ = ["Heads", "as_columns", "head_specs"]


class Heads(Target):
    """Several outputs: each column of y is the target of one output of the model.

    Parameters
    ----------
    heads : list or dict of (str, target)
        A target, or the word for one, per output. A list is in the order of the columns of y and
        of the outputs of the model. The keys of a dict are the names of the outputs and of the
        columns of a dataframe, whose order predictions and all attributes have.

    Attributes
    ----------
    classes_ : list
        ``classes_`` of each head.
    n_classes_ : list
        ``n_classes_`` of each head.
    n_outputs_ : list of int
        ``n_outputs_`` of each head.
    n_outputs_expected_ : int
        Number of heads.
    """

    _names: list[str] | None = None  # of the outputs of the model
    _is_mapping = False  # whether the model returns a dict

    def __init__(self, heads: Any) -> None:
        self.heads = heads

    def fit(  # type: ignore[override]
        self, y: np.ndarray, choose: Callable[[Any], Target]
    ) -> Heads:
        """Learn each column of y.

        Parameters
        ----------
        y : structured ndarray of shape (n_samples,)
            One field per head: see `as_columns`.
        choose : callable
            Returns the target that a word stands for.

        Returns
        -------
        Heads
        """
        specs = head_specs(self.heads)
        # In the order of the columns of y, which predictions have too.
        self._targets = {name: choose(specs[name]).fit(y[name]) for name in y.dtype.names or ()}
        self._order = list(self._targets)
        targets = list(self._targets.values())
        self.classes_ = [target.classes_ for target in targets]
        self.n_classes_ = [target.n_classes_ for target in targets]
        self.n_outputs_ = [target.n_outputs_ for target in targets]  # type: ignore[assignment]
        self.n_outputs_expected_ = len(targets)
        return self

    def for_outputs(self, outputs: list[ModelOutput] | None) -> Heads:
        """Return this target for the outputs of a model: see `Target.for_outputs`."""
        if outputs is None:
            bound = {name: target.for_outputs(None) for name, target in self._targets.items()}
            return self._copy(_targets=bound)
        if len(outputs) != len(self._targets):
            raise InputValueError(
                f"Detected a Keras model with {len(outputs)} outputs, but target has "
                f"{len(self._targets)} heads. Return a model with one output per head."
            )
        by_head = self._by_head(outputs)
        _check_losses(by_head)
        bound = {n: target.for_outputs([by_head[n]]) for n, target in self._targets.items()}
        order = {id(output): name for name, output in by_head.items()}
        return self._copy(
            _targets=bound,
            _order=[order[id(output)] for output in outputs],
            _names=[output.name for output in outputs],
            _is_mapping=any(output.is_in_mapping for output in outputs),
        )

    def _by_head(self, outputs: list[ModelOutput]) -> dict[str, ModelOutput]:
        if not isinstance(self.heads, Mapping):
            return dict(zip(self._targets, outputs, strict=True))
        by_name = {output.name: output for output in outputs}
        missing = [name for name in self._targets if name not in by_name]
        if missing:
            raise InputValueError(
                f"target has the head {missing[0]!r}, but the outputs of the model are "
                f"{', '.join(map(repr, by_name))}. Name the output layers as the heads, "
                'such as Dense(1, name="age").'
            )
        return {name: by_name[name] for name in self._targets}

    def transform(self, y: np.ndarray) -> list[Any] | dict[str, Any]:
        """Return one array per output of the model, in the order or by the names of the outputs.

        Parameters
        ----------
        y : structured ndarray of shape (n_samples,)
        """
        encoded = [self._targets[name].transform(y[name]) for name in self._order]
        return dict(zip(self._names or (), encoded, strict=True)) if self._is_mapping else encoded

    def formats(self) -> list[TargetFormat | None]:
        """Return the form of y for each output of the model."""
        found = [self._targets[name].formats()[0] for name in self._order]
        if self._names is None:
            return [None] * len(found)
        return [
            None if format_ is None else dataclasses.replace(format_, name=name)
            for name, format_ in zip(self._names, found, strict=True)
        ]

    def labels(self, y: np.ndarray) -> np.ndarray | None:
        """Return the labels of the first head that has one per sample, for stratification."""
        for name, target in self._targets.items():
            labels = target.labels(y[name])
            if labels is not None and labels.ndim == 1:
                return labels
        return None

    def _decoded(self, outputs: Any, return_proba: bool) -> dict[str, Any]:
        if isinstance(outputs, Mapping):
            outputs = [outputs[name] for name in self._names or ()]
        by_name = dict(zip(self._order, outputs, strict=True))
        return {
            name: target.inverse_transform(by_name[name], return_proba)
            for name, target in self._targets.items()
            if target.classes_ is not None or not return_proba
        }

    def inverse_transform(self, outputs: Any, return_proba: bool = False) -> Any:
        """Return predictions, or probabilities, for the outputs of a model.

        Parameters
        ----------
        outputs : list or dict of ndarray
        return_proba : bool, default=False

        Returns
        -------
        ndarray of shape (n_samples, n_heads), or list of ndarray
            A list, with one array per head, if a head has more than one value per sample.
            Probabilities are a list with one array of shape (n_samples, n_classes) per head of
            classes, as those of scikit-learn's multioutput classifiers.
        """
        decoded = list(self._decoded(outputs, return_proba).values())
        if return_proba:
            if not decoded:
                raise InputValueError("No head of target has classes, which have probabilities.")
            return decoded
        if any(math.prod(part.shape[1:]) != 1 for part in decoded):
            return decoded
        columns = [part.reshape(-1) for part in decoded]
        if len({column.dtype.kind in "biuf" for column in columns}) > 1:
            columns = [column.astype(object) for column in columns]
        return np.column_stack(columns)

    def score(self, y: np.ndarray, predicted: Any, sample_weight: Any = None) -> float:
        """Return the mean of the accuracies, or of the R2, of the heads.

        Raises
        ------
        InputValueError
            If some heads have classes and others numbers.
        """
        has_classes = {target.classes_ is not None for target in self._targets.values()}
        if len(has_classes) > 1:
            raise InputValueError(
                "target has heads of classes and heads of numbers, of which the scores cannot be "
                "averaged. Pass scoring= a function of (estimator, X, y)."
            )
        parts = predicted if isinstance(predicted, list) else list(predicted.T)
        score_of = accuracy_score if has_classes.pop() else r2_score
        scores = []
        for (name, target), part in zip(self._targets.items(), parts, strict=True):
            true = y[name]
            if part.dtype == object:  # of which text must not be cut to the length of that in y
                part = part.astype(str if true.dtype.kind == "U" else true.dtype)
            own = target.score(true, part, sample_weight)
            scores.append(score_of(true, part, sample_weight=sample_weight) if own is None else own)
        return float(np.mean(scores))


def _check_losses(outputs: Mapping[str, ModelOutput]) -> None:
    """Raise if some heads have a loss and others have none, which would not be trained."""
    without = [name for name, output in outputs.items() if output.loss is None]
    if without and len(without) < len(outputs):
        raise InputValueError(
            f"The head {without[0]!r} of target has no loss, and would not be trained. Pass "
            "loss= a list or dict with one loss per output."
        )


def head_specs(heads: Any) -> dict[str, Any]:
    """Return the heads by their names, which are their places in a list."""
    items = heads.items() if isinstance(heads, Mapping) else enumerate(heads)
    return {str(name): spec for name, spec in items}


def as_columns(y: Any, heads: Any, order: Sequence[str] | None = None) -> np.ndarray:
    """Return y as a structured array with one field per head.

    Parameters
    ----------
    y : dataframe, mapping, list of arrays, or array of shape (n_samples, n_heads)
        Columns are found by name in a dataframe or mapping, if `heads` is one, else by place.
    heads : list or mapping
    order : sequence of str, default=None
        Names of the fields in ``fit``, in which columns without names are too. None means the
        order of named columns in y, else that of the heads.

    Raises
    ------
    InputValueError
        If y does not have one column per head, of one length.
    """
    by_name = isinstance(heads, Mapping)
    names = list(head_specs(heads) if order is None else order)
    if order is None and by_name and (isinstance(y, Mapping) or hasattr(y, "columns")):
        names = [str(name) for name in getattr(y, "columns", y) if str(name) in names] + [
            name for name in names if name not in y
        ]
    if getattr(getattr(y, "dtype", None), "names", None):
        return y if order is None else y[names]
    columns = _columns_of(y, names, by_name=by_name)
    if len(columns) != len(names) or len({len(column) for column in columns}) != 1:
        raise InputValueError(
            f"target has the heads {', '.join(map(repr, names))}, and y needs one column for each, "
            f"of one length; got {len(columns)} of the lengths {[len(c) for c in columns]}."
        )
    fields = [(n, c.dtype, c.shape[1:]) for n, c in zip(names, columns, strict=True)]
    table = np.empty(len(columns[0]), dtype=fields)
    for name, column in zip(names, columns, strict=True):
        table[name] = column
    return table


def _columns_of(y: Any, names: list[str], *, by_name: bool) -> list[np.ndarray]:
    if by_name and (isinstance(y, Mapping) or hasattr(y, "columns")):
        missing = [name for name in names if name not in y]
        if missing:
            found = ", ".join(repr(name) for name in getattr(y, "columns", y))
            raise InputValueError(f"target has the head {missing[0]!r}, but y has {found}.")
        return [_natural(np.asarray(y[name])) for name in names]
    if hasattr(y, "columns"):
        return [_natural(np.asarray(y[name])) for name in y.columns]
    if isinstance(y, Mapping):
        return [_natural(np.asarray(column)) for column in y.values()]
    if isinstance(y, list | tuple) and len(y) == len(names) and np.ndim(y[0]) > 0:
        return [_natural(np.asarray(column)) for column in y]
    table = np.asarray(y)
    return [_natural(column) for column in table.T] if table.ndim == 2 else [table]


def _natural(column: np.ndarray) -> np.ndarray:
    """Return a column of objects in the type of its entries."""
    return np.array(column.tolist()) if column.dtype == object else column
