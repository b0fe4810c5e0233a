"""Traced graphs that outlive the model they were traced on.

Tracing takes a few tenths of a second, most of what a small fit costs. A traced graph reads
its model's variables through handles, which are inputs of a kind: given another model's, it
is that model's graph. What else a layer holds, though, is a constant in the graph, so only
models of equal signature (see ``proven.py``) share one, and a graph that captured anything
but variables is not shared at all.

A graph is lent to one user at a time. One that was in use when something failed is dropped.
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

__all__ = ["STORE", "Graph", "GraphStore", "clear_graphs", "variables_of"]

_MAX_GRAPHS = 16
_MAX_BYTES = 256 * 2**20


def variables_of(model: keras.Model) -> list[Any]:
    """All variables of a model and of what it was compiled with, in a fixed order."""
    optimizer = model.optimizer if model.compiled else None
    candidates = [
        *model.trainable_variables,
        *model.non_trainable_variables,
        *(optimizer.variables if optimizer is not None else []),
        *model.metrics_variables,
    ]
    return list({id(v): v for v in candidates}.values())


class Graph:
    """Concrete functions and the model whose variables they work on.

    Parameters
    ----------
    model : keras.Model
        What they were traced on.
    functions : list of tf.types.experimental.ConcreteFunction

    Attributes
    ----------
    is_portable : bool
        Whether they read nothing but variables of the model, so that they can work on another's.
    """

    def __init__(self, model: keras.Model, functions: list[Any]) -> None:
        self.functions = functions
        handles = [v.value.handle for v in variables_of(model)]
        index = {id(handle): i for i, handle in enumerate(handles)}
        self._traced_on = [list(function.captured_inputs) for function in functions]
        self._orders = [[index.get(id(c)) for c in captures] for captures in self._traced_on]
        self._shapes = [(tuple(v.shape), str(v.dtype)) for v in variables_of(model)]
        self.is_portable = all(None not in order for order in self._orders)
        self.n_bytes = sum(
            int(np.prod(v.shape, dtype=int)) * v.value.dtype.size for v in variables_of(model)
        )
        self._own_model = weakref.ref(model)
        self._model: weakref.ref[keras.Model] | None = self._own_model

    @property
    def model(self) -> keras.Model:
        """The model that the graph works on."""
        model = self._model() if self._model is not None else None
        if model is None:
            raise RuntimeError("This graph works on no model: bind it first.")
        return model

    def bind(self, model: keras.Model) -> None:
        """Work on the variables of `model` from now on.

        Raises
        ------
        ValueError
            If its variables are not like those of the model that the graph was traced on.
        """
        if self.is_portable:
            variables = variables_of(model)
            if [(tuple(v.shape), str(v.dtype)) for v in variables] != self._shapes:
                raise ValueError("The model's variables differ from those the graph was traced on.")
            handles = [v.value.handle for v in variables]
            for function, order in zip(self.functions, self._orders, strict=True):
                function.set_external_captures([handles[i] for i in order if i is not None])
        elif model is not self._own_model():
            raise ValueError("The graph works on the model that it was traced on alone.")
        self._model = weakref.ref(model)

    def release(self) -> None:
        """Hold on to no model but the one that the graph was traced on."""
        self._model = None
        if self.is_portable:
            for function, captures in zip(self.functions, self._traced_on, strict=True):
                function.set_external_captures(captures)


_AnyGraph = TypeVar("_AnyGraph", bound=Graph)


class GraphStore:
    """The graphs that wait for their next model, the least used ones dropped first.

    Parameters
    ----------
    max_graphs : int
    max_bytes : int
        For the variables that the graphs hold on to, in bytes.
    """

    def __init__(self, max_graphs: int = _MAX_GRAPHS, max_bytes: int = _MAX_BYTES) -> None:
        self._max_graphs, self._max_bytes = max_graphs, max_bytes
        self._lock = threading.Lock()
        self._waiting: collections.OrderedDict[Hashable, Graph] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self, key: Hashable) -> Graph | None:
        """The graph of `key`, if it waits, to be looked at only."""
        return self._waiting.get(key)

    def drop(self, key: Hashable) -> None:
        """Forget the graph of `key`, if it waits."""
        with self._lock:
            self._waiting.pop(key, None)

    @contextlib.contextmanager
    def lend(
        self, key: Hashable, model: keras.Model, trace: Callable[[], _AnyGraph]
    ) -> Iterator[_AnyGraph]:
        """A graph of `key` that works on `model` and that nobody else has.

        Parameters
        ----------
        key : hashable
            Equal for models that can share a graph; a tuple with a weak reference in it is
            for as long as its object lives.
        model : keras.Model
        trace : callable
            Makes the graph, on `model`, where none waits.
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
            cleanup.note("graph")
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
        """Forget all graphs."""
        with self._lock:
            self._waiting.clear()

    def abandon(self) -> None:
        """Start anew in a forked child, where TensorFlow cannot even free a graph."""
        self._lock = threading.Lock()
        self._lost = self._waiting
        self._waiting = collections.OrderedDict()


def _is_dead(key: Hashable) -> bool:
    return isinstance(key, tuple) and any(
        isinstance(part, weakref.ref) and part() is None for part in key
    )


STORE = GraphStore()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=STORE.abandon)


def clear_graphs() -> None:
    """Free the memory of the graphs that are kept for the next fit of their kind."""
    STORE.clear()
