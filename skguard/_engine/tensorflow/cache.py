"""Traced graphs that outlive the model they were traced on.

Tracing takes a few tenths of a second, most of the duration of a small fit. A traced graph reads
the variables of its model through handles, which TensorFlow passes as hidden inputs ("captures"):
given the handles of another model, it is the graph of that model. All else that a layer holds is a
constant in the graph, though, so only models of equal signature (see ``signatures.py``) share one,
and a graph that captured anything but variables is not shared at all.

A graph is lent to one user at a time. One that was in use when an error was raised is dropped.
"""

from __future__ import annotations

import collections
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar

import keras
import numpy as np

from skguard._engine.tensorflow import cleanup
from skguard._engine.tensorflow.cleanup import Residue

__all__ = ["CACHE", "Graph", "GraphCache", "clear_graphs", "variables_of"]

_MAX_GRAPHS = 16
_MAX_BYTES = 256 * 2**20


def variables_of(model: keras.Model) -> list[Any]:
    """Return all variables of a model and of its compiled parts, in a fixed order."""
    optimizer = model.optimizer if model.compiled else None
    candidates = [
        *model.trainable_variables,
        *model.non_trainable_variables,
        *(optimizer.variables if optimizer is not None else []),
        *model.metrics_variables,
    ]
    return list({id(v): v for v in candidates}.values())


class Graph:
    """Concrete functions and the model whose variables they use.

    ``set_external_captures`` is not documented (TensorFlow 2.18 to 2.21).

    Parameters
    ----------
    model : keras.Model
        The model on which the functions were traced.
    functions : list of tf.types.experimental.ConcreteFunction

    Attributes
    ----------
    is_portable : bool
        Whether the functions capture nothing but variables of the model, so that they can use
        those of another model.
    n_bytes : int
        Size of the variables of the model.
    """

    def __init__(self, model: keras.Model, functions: list[Any]) -> None:
        variables = variables_of(model)
        self.functions = functions
        index = {id(v.value.handle): i for i, v in enumerate(variables)}
        self._traced_on = [list(function.captured_inputs) for function in functions]
        self._orders = [[index.get(id(c)) for c in captures] for captures in self._traced_on]
        self._shapes = _shapes(variables)
        self.is_portable = all(None not in order for order in self._orders)
        self.n_bytes = sum(int(np.prod(v.shape, dtype=int)) * v.value.dtype.size for v in variables)
        self._own_model = weakref.ref(model)
        self._model: weakref.ref[keras.Model] | None = self._own_model

    @property
    def model(self) -> keras.Model:
        """The model whose variables the graph uses."""
        model = self._model() if self._model is not None else None
        if model is None:
            raise RuntimeError("The graph has no model: call bind() first.")
        return model

    def bind(self, model: keras.Model) -> None:
        """Use the variables of `model` from now on.

        Raises
        ------
        ValueError
            If its variables are not like those of the model that the graph was traced on.
        """
        if self.is_portable:
            variables = variables_of(model)
            if _shapes(variables) != self._shapes:
                raise ValueError("The model's variables differ from those the graph was traced on.")
            handles = [v.value.handle for v in variables]
            for function, order in zip(self.functions, self._orders, strict=True):
                function.set_external_captures([handles[i] for i in order if i is not None])
        elif model is not self._own_model():
            raise ValueError("The graph can only be used by the model that it was traced on.")
        self._model = weakref.ref(model)

    def release(self) -> None:
        """Drop the references to all models but the one that the graph was traced on."""
        self._model = None
        if self.is_portable:
            for function, captures in zip(self.functions, self._traced_on, strict=True):
                function.set_external_captures(captures)


def _shapes(variables: list[Any]) -> list[tuple[tuple[int, ...], str]]:
    return [(tuple(v.shape), str(v.dtype)) for v in variables]


_AnyGraph = TypeVar("_AnyGraph", bound=Graph)


class GraphCache:
    """Graphs that are not in use, in the order of their last use; the oldest is dropped first.

    Parameters
    ----------
    max_graphs : int
    max_bytes : int
        Bound on the total size of the variables that the graphs keep alive.
    """

    def __init__(self, max_graphs: int = _MAX_GRAPHS, max_bytes: int = _MAX_BYTES) -> None:
        self._max_graphs, self._max_bytes = max_graphs, max_bytes
        self._lock = threading.Lock()
        self._waiting: collections.OrderedDict[Hashable, Graph] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self, key: Hashable) -> Graph | None:
        """Return the graph of `key` if it is not in use, for reading its attributes only."""
        return self._waiting.get(key)

    def drop(self, key: Hashable) -> None:
        """Drop the graph of `key`, if it is not in use."""
        with self._lock:
            self._waiting.pop(key, None)

    @contextlib.contextmanager
    def lend(
        self, key: Hashable, model: keras.Model, trace: Callable[[], _AnyGraph]
    ) -> Iterator[_AnyGraph]:
        """Lend a graph of `key`, bound to `model`, for exclusive use.

        Parameters
        ----------
        key : hashable
            Equal for models that can share a graph. A tuple that contains a weak reference is
            valid for as long as its object lives.
        model : keras.Model
        trace : callable
            Makes the graph, on `model`, if the cache has none.
        """
        with self._lock:
            waiting = self._waiting.pop(key, None)
        graph: Any = waiting
        if graph is not None:
            try:
                graph.bind(model)
            except ValueError:
                graph = None
        if graph is None:
            graph = trace()
            cleanup.note(Residue.GRAPH)
            cleanup.drop_gradients()
        yield graph
        graph.release()
        self._keep(key, graph)

    def _keep(self, key: Hashable, graph: Graph) -> None:
        with self._lock:
            self._waiting.pop(key, None)
            self._waiting[key] = graph
            for dead in [k for k in self._waiting if _is_dead(k)]:
                del self._waiting[dead]
            while self._waiting and (
                len(self._waiting) > self._max_graphs
                or sum(g.n_bytes for g in self._waiting.values()) > self._max_bytes
            ):
                self._waiting.popitem(last=False)

    def clear(self) -> None:
        """Drop all graphs that are not in use."""
        with self._lock:
            self._waiting.clear()

    def abandon(self) -> None:
        """Start empty in a forked child, where even freeing a graph of TensorFlow can hang."""
        self._lock = threading.Lock()
        self._lost = self._waiting
        self._waiting = collections.OrderedDict()


def _is_dead(key: Hashable) -> bool:
    return isinstance(key, tuple) and any(
        isinstance(part, weakref.ref) and part() is None for part in key
    )


CACHE = GraphCache()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=CACHE.abandon)


def clear_graphs() -> None:
    """Free the memory of the graphs that are kept for later fits."""
    CACHE.clear()
