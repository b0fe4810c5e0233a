"""One graph that trains and evaluates, for a batch, an epoch or many epochs at a call."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from skguard._engine.selection import UnsuitableError
from skguard._engine.tensorflow.cache import Graph, variables_of
from skguard._engine.tensorflow.dataset import Rows

__all__ = ["BatchesGraph", "EpochsGraph", "EpochsResult", "TrainingGraph"]

# Operations that draw from a stream of their own, which another graph would draw otherwise.
_RANDOM = ("Random", "Multinomial", "TruncatedNormal", "Poisson")


@dataclasses.dataclass
class _Logs:
    """How a dict of metric values travels out of a graph: one vector for each dtype."""

    names: list[str] = dataclasses.field(default_factory=list)
    shapes: list[tuple[int, ...]] = dataclasses.field(default_factory=list)
    dtypes: list[tf.DType] = dataclasses.field(default_factory=list)

    @classmethod
    def like(cls, logs: dict[str, tf.Tensor]) -> _Logs:
        shapes = [value.shape for value in logs.values()]
        if not all(shape.is_fully_defined() for shape in shapes):
            raise UnsuitableError("a metric's value has no fixed shape")
        return cls(list(logs), [tuple(s) for s in shapes], [v.dtype for v in logs.values()])

    @property
    def kinds(self) -> list[tf.DType]:
        return list(dict.fromkeys(self.dtypes))

    def length(self, kind: tf.DType) -> int:
        return sum(
            int(np.prod(s, dtype=int))
            for s, d in zip(self.shapes, self.dtypes, strict=True)
            if d == kind
        )

    def pack(self, logs: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        values = [logs[name] for name in self.names]
        return [
            tf.concat(
                [
                    tf.reshape(v, [-1])
                    for v, d in zip(values, self.dtypes, strict=True)
                    if d == kind
                ],
                axis=0,
            )
            for kind in self.kinds
        ]

    def zeros(self) -> list[tf.Tensor]:
        return [tf.zeros([self.length(kind)], kind) for kind in self.kinds]

    def unpack(self, vectors: Sequence[np.ndarray]) -> dict[str, Any]:
        """Python floats, as Keras hands them to callbacks; arrays where it does not."""
        at = dict.fromkeys(self.kinds, 0)
        by_kind = dict(zip(self.kinds, vectors, strict=True))
        logs: dict[str, Any] = {}
        for name, shape, kind in zip(self.names, self.shapes, self.dtypes, strict=True):
            size = int(np.prod(shape, dtype=int))
            part = by_kind[kind][at[kind] : at[kind] + size]
            at[kind] += size
            logs[name] = float(part[0]) if size == 1 else part.reshape(shape)
        return logs


@dataclasses.dataclass(frozen=True)
class EpochsResult:
    """What one call of the graph did.

    Parameters
    ----------
    train, test : list of dict of str to float
        The metrics of each epoch; those of an epoch that was not evaluated mean nothing.
    states : list of ndarray of shape (n_epochs, n_values)
        Every variable after each epoch, if it was asked for, see `EpochsGraph.restore`.
    """

    train: list[dict[str, Any]]
    test: list[dict[str, Any]]
    states: list[np.ndarray]


class TrainingGraph(Graph):
    """Trains and evaluates a model on rows in memory.

    Parameters
    ----------
    model : keras.Model
        Compiled. Its own ``train_step`` and ``test_step`` are traced.
    rows, held_out : Rows
        What the graph is traced for: it takes any number of rows of their kind.
    batch_sizes : tuple of (int or None, int or None)
        The one size of all batches to train on, and to evaluate, where there is but one.
        Keras's pipeline knows it then, and TensorFlow optimizes for it.

    Attributes
    ----------
    runs_epochs : bool
        Whether it takes more than a batch at a call, and sets metrics back at batch 0.
        Otherwise whoever calls it sees to both.
    batch_seconds, evaluation_seconds : float or None
        What a batch took lately.
    """

    runs_epochs: bool

    def __init__(
        self,
        model: keras.Model,
        rows: Rows,
        held_out: Rows | None,
        batch_sizes: tuple[int | None, int | None],
    ) -> None:
        self.batch_seconds: float | None = None
        self.evaluation_seconds: float | None = None
        self._sizes = (1, 1)
        train_size, test_size = batch_sizes
        train = _trace_step(model, model.train_step, rows, train_size)
        test = None
        if held_out is not None:
            test = _trace_step(model, model.test_step, held_out, test_size)
        super().__init__(model, self._functions(model, train, test))

    def _functions(self, model: keras.Model, train: _Step, test: _Step | None) -> list[Any]:
        raise NotImplementedError

    def run(
        self,
        rows: Rows,
        held_out: Rows | None,
        *,
        orders: np.ndarray,
        batches: tuple[int, int],
        batch_size: int,
        evaluate: Sequence[bool],
        test_batches: tuple[int, int] = (0, 0),
        test_batch_size: int = 1,
        record: bool = False,
    ) -> EpochsResult:
        """Run some epochs, or some batches of one.

        Parameters
        ----------
        orders : ndarray of shape (n_epochs or 1, n_rows), dtype int32
            The row of the data that each epoch takes first, second and so on.
        batches, test_batches : tuple of int
            The first batch and the one after the last.
        evaluate : sequence of bool, one for each epoch
        record : bool, default=False
            Whether to keep the variables after each epoch.
        """
        raise NotImplementedError

    def expect(self, batch_size: int, test_batch_size: int) -> None:
        """Guess what a batch takes where it has another size than lately: rather too much."""
        size, test_size = self._sizes
        if self.batch_seconds:
            self.batch_seconds *= max(1.0, batch_size / size)
        if self.evaluation_seconds:
            self.evaluation_seconds *= max(1.0, test_batch_size / test_size)
        self._sizes = (batch_size, test_batch_size)

    def _measure(self, seconds: float, n_batches: int, n_test_batches: int) -> None:
        if not n_test_batches:
            self.batch_seconds = seconds / max(n_batches, 1)
        elif not n_batches:
            self.evaluation_seconds = seconds / n_test_batches
        elif self.batch_seconds and self.evaluation_seconds:
            expected = n_batches * self.batch_seconds + n_test_batches * self.evaluation_seconds
            self.batch_seconds *= seconds / expected
            self.evaluation_seconds *= seconds / expected


class BatchesGraph(TrainingGraph):
    """Takes one batch at a call, in the function that Keras would call for it.

    TensorFlow optimizes what stands in the body of a loop otherwise than the same operations
    outside of one: oneDNN's kernel for ``x * sigmoid(x)``, say, is found only outside, and its
    last bit differs. So this is for models of which it is not known that it makes no difference,
    and for trainings that are over before loops would be worth their while.

    Attributes
    ----------
    n_batches : int
        How many it has run.
    """

    runs_epochs = False
    n_batches = 0

    def _functions(self, model: keras.Model, train: _Step, test: _Step | None) -> list[Any]:
        self._train, self._test = train.logs, test.logs if test is not None else None
        functions = [step.function for step in (train, test) if step is not None]
        for function in functions:
            _check_draws(function)
        return functions

    def run(
        self,
        rows: Rows,
        held_out: Rows | None,
        *,
        orders: np.ndarray,
        batches: tuple[int, int],
        batch_size: int,
        evaluate: Sequence[bool],
        test_batches: tuple[int, int] = (0, 0),
        test_batch_size: int = 1,
        record: bool = False,
    ) -> EpochsResult:
        started = time.perf_counter()
        outputs: list[tf.Tensor] = []
        if evaluate[0] and held_out is not None and self._test is not None:
            logs = self._test
            order = np.arange(held_out.n_rows, dtype=np.int32)
            for batch in range(*test_batches):
                places = order[batch * test_batch_size : (batch + 1) * test_batch_size]
                outputs = self.functions[1](*held_out.tensors, tf.constant(places))
        else:
            logs = self._train
            for batch in range(*batches):
                places = orders[0, batch * batch_size : (batch + 1) * batch_size]
                outputs = self.functions[0](*rows.tensors, tf.constant(places))
        values = logs.unpack([output.numpy() for output in outputs])
        n_batches = batches[1] - batches[0]
        n_test_batches = int(evaluate[0]) * (test_batches[1] - test_batches[0])
        self.n_batches += n_batches + n_test_batches
        self._measure(time.perf_counter() - started, n_batches, n_test_batches)
        return EpochsResult([values], [values], [])


class EpochsGraph(TrainingGraph):
    """Takes a part of an epoch, an epoch or many of them at a call.

    For models whose numbers are known to be the same in the body of a loop, see ``proven.py``.
    An epoch of such a model changes nothing but its variables, and so can be taken back.
    """

    runs_epochs = True

    def _functions(self, model: keras.Model, train: _Step, test: _Step | None) -> list[Any]:
        self._train_logs = train.logs
        self._test_logs = test.logs if test is not None else _Logs()
        variables = variables_of(model)
        kinds = list(dict.fromkeys(v.dtype for v in variables))
        self._states = [
            (kind, [i for i, v in enumerate(variables) if v.dtype == kind]) for kind in kinds
        ]
        n_train = len(train.rows.tensors)

        def over(
            step: _Step, tensors: Sequence[tf.Tensor], order: tf.Tensor | None, plan: tf.Tensor
        ) -> list[tf.Tensor]:
            first, last, size, n_rows = tf.unstack(plan)
            tf.cond(first == 0, lambda: _reset(model), tf.no_op)

            def body(batch: tf.Tensor) -> tuple[tf.Tensor]:
                begin, end = batch * size, tf.minimum((batch + 1) * size, n_rows)
                places = tf.range(begin, end) if order is None else order[begin:end]
                step.function(*tensors, places)
                return (batch + 1,)

            tf.while_loop(lambda batch: batch < last, body, [first], parallel_iterations=1)
            return step.logs.pack(_flat(model.get_metrics_result()))

        def state() -> list[tf.Tensor]:
            return [
                tf.concat([tf.reshape(variables[i].value, [-1]) for i in places], axis=0)
                for _, places in self._states
            ]

        def run(
            orders: tf.Tensor,
            train_plan: tf.Tensor,
            evaluate: tf.Tensor,
            test_plan: tf.Tensor,
            record: tf.Tensor,
            *tensors: tf.Tensor,
        ) -> list[tf.Tensor]:
            n_epochs = tf.shape(evaluate)[0]

            def epoch(at: tf.Tensor, *written: tf.TensorArray) -> tuple[Any, ...]:
                order = orders[at % tf.shape(orders)[0]]
                values = over(train, tensors[:n_train], order, train_plan)
                if test is not None:
                    values += tf.cond(
                        evaluate[at],
                        lambda: over(test, tensors[n_train:], None, test_plan),
                        test.logs.zeros,
                    )
                values += tf.cond(
                    record, state, lambda: [tf.zeros([0], k) for k, _ in self._states]
                )
                return (at + 1, *(w.write(at, v) for w, v in zip(written, values, strict=True)))

            kinds = [*train.logs.kinds, *(test.logs.kinds if test else [])]
            kinds += [kind for kind, _ in self._states]
            arrays = [tf.TensorArray(k, n_epochs, infer_shape=False) for k in kinds]
            _, *written = tf.while_loop(
                lambda at, *_: at < n_epochs,
                epoch,
                [tf.constant(0), *arrays],
                parallel_iterations=1,
            )
            return [array.stack() for array in written]

        integers = tf.int32
        function = tf.function(run, autograph=False).get_concrete_function(
            tf.TensorSpec((None, None), integers),
            tf.TensorSpec((4,), integers),
            tf.TensorSpec((None,), tf.bool),
            tf.TensorSpec((4,), integers),
            tf.TensorSpec((), tf.bool),
            *train.rows.specs,
            *(test.rows.specs if test is not None else []),
        )
        return [function]

    def run(
        self,
        rows: Rows,
        held_out: Rows | None,
        *,
        orders: np.ndarray,
        batches: tuple[int, int],
        batch_size: int,
        evaluate: Sequence[bool],
        test_batches: tuple[int, int] = (0, 0),
        test_batch_size: int = 1,
        record: bool = False,
    ) -> EpochsResult:
        test_rows = held_out.n_rows if held_out is not None else 0
        tensors = [*rows.tensors, *(held_out.tensors if held_out is not None else [])]
        started = time.perf_counter()
        outputs = self.functions[0](
            tf.constant(orders),
            tf.constant([*batches, batch_size, rows.n_rows]),
            tf.constant(list(evaluate)),
            tf.constant([*test_batches, test_batch_size, test_rows]),
            tf.constant(record),
            *tensors,
        )
        arrays = [output.numpy() for output in outputs]
        self._measure(
            time.perf_counter() - started,
            n_batches=len(evaluate) * (batches[1] - batches[0]),
            n_test_batches=sum(evaluate) * (test_batches[1] - test_batches[0]),
        )
        n_train, n_test = len(self._train_logs.kinds), len(self._test_logs.kinds)
        train, test, states = (
            arrays[:n_train],
            arrays[n_train:][:n_test],
            arrays[n_train + n_test :],
        )
        epochs = range(len(evaluate))
        return EpochsResult(
            [self._train_logs.unpack([a[e] for a in train]) for e in epochs],
            [self._test_logs.unpack([a[e] for a in test]) for e in epochs] if n_test else [],
            states,
        )

    def state_bytes(self) -> int:
        """What one recorded epoch takes."""
        variables = variables_of(self.model)
        return sum(
            int(np.prod(v.shape, dtype=int)) * tf.as_dtype(kind).size
            for kind, places in self._states
            for v in (variables[i] for i in places)
        )

    def restore(self, states: list[np.ndarray], epoch: int, only: Sequence[Any] = ()) -> None:
        """Put the model's variables to what they were after an epoch of a recorded run.

        Parameters
        ----------
        only : sequence of keras.Variable, default=()
            Which variables; none means all.
        """
        variables, wanted = variables_of(self.model), {id(v) for v in only}
        for (_, places), values in zip(self._states, states, strict=True):
            at = 0
            for place in places:
                variable = variables[place]
                size = int(np.prod(variable.shape, dtype=int))
                if not wanted or id(variable) in wanted:
                    variable.value.assign(values[epoch, at : at + size].reshape(variable.shape))
                at += size


@dataclasses.dataclass(frozen=True)
class _Step:
    """A traced step on the rows of one batch, and what it returns."""

    function: Any
    rows: Rows
    logs: _Logs


def _trace_step(model: keras.Model, step: Any, rows: Rows, size: int | None) -> _Step:
    logs = _Logs()

    def on_batch(*tensors: tf.Tensor) -> list[tf.Tensor]:
        nonlocal logs
        *data, places = tensors
        returned = step(rows.batch(data, tf.ensure_shape(places, [size])))
        if not isinstance(returned, dict):
            raise UnsuitableError(f"{step.__name__}() returns a {type(returned).__name__}, no dict")
        # Keras reports a model's metrics at the end of an epoch, unless the step returned
        # something else: then what the last step returned.
        metrics = _flat(model.get_metrics_result())
        values = metrics if metrics.keys() == returned.keys() else _flat(returned)
        logs = _Logs.like(values)
        return logs.pack(values)

    # XLA, where the model asks for it, compiles the step, as it does in Keras.
    function = tf.function(on_batch, autograph=False, jit_compile=model.jit_compile or None)
    concrete = function.get_concrete_function(*rows.specs, tf.TensorSpec((None,), tf.int32))
    return _Step(concrete, rows, logs)


def _flat(logs: dict[str, Any]) -> dict[str, tf.Tensor]:
    flat: dict[str, tf.Tensor] = {}
    for name, value in logs.items():
        if isinstance(value, dict):
            flat |= _flat(value)
        else:
            flat[name] = tf.convert_to_tensor(value)
    return flat


def _reset(model: keras.Model) -> tf.Operation:
    model.reset_metrics()
    return tf.no_op()


def _check_draws(function: Any) -> None:
    definition = function.graph.as_graph_def()
    nodes = [node.op for node in definition.node]
    nodes += [node.op for inner in definition.library.function for node in inner.node_def]
    for op in sorted(set(nodes)):
        if not op.startswith("Stateless") and any(word in op for word in _RANDOM):
            raise UnsuitableError(
                f"the model draws from TensorFlow's global stream ({op}), which depends on the "
                "graph around it; keras.random with a SeedGenerator does not"
            )
