"""Training with whole epochs inside one graph, and everything around them as in Keras."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from skguard._engine.monitor import Limits, WatchedCallbacks
from skguard._engine.selection import UnsuitableError
from skguard._engine.tensorflow.dataset import Rows
from skguard._engine.tensorflow.graphs import EpochsGraph, TrainingGraph
from skguard._repairs import keras_internals

__all__ = ["Plan", "train"]

_SECONDS_A_CALL = 0.25  # within which Ctrl-C and stop flags act
_SECONDS_AT_RISK = 0.03  # that may be computed in vain, where a callback may stop training
_BYTES_A_CALL = 64 * 2**20  # for recorded states and orders of rows

_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
_TEST_HOOKS = ("on_test_begin", "on_test_end")
_TEST_BATCH_HOOKS = ("on_test_batch_begin", "on_test_batch_end")
_EPOCH_HOOKS = ("on_epoch_begin", "on_epoch_end")

# Keras's callbacks that read nothing but logs at the end of an epoch, but for the weights and
# the learning rate, which are put right for them. Exactly these: a subclass may do more.
_READ_LOGS = (
    keras.callbacks.History,
    keras.callbacks.EarlyStopping,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.CSVLogger,
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to train: the arguments of ``keras.Model.fit``, which have their meaning there.

    Parameters
    ----------
    seed : int
        Of the order of rows, a new one each epoch that depends on the seed and the epoch.
    limits : Limits
        When training has to end before its last epoch.
    """

    epochs: int
    initial_epoch: int
    batch_size: int
    validation_batch_size: int
    validation_freq: Any
    shuffle: bool | str
    verbose: int | str
    callbacks: list[keras.callbacks.Callback]
    seed: int
    limits: Limits = dataclasses.field(default_factory=Limits)

    def evaluates(self, epoch: int) -> bool:
        if isinstance(self.validation_freq, int):
            return (epoch + 1) % self.validation_freq == 0
        return epoch + 1 in self.validation_freq

    def order(self, epoch: int, n_rows: int) -> np.ndarray:
        """Which row comes first, second and so on in an epoch."""
        order = np.arange(n_rows, dtype=np.int32)
        if not self.shuffle:
            return order
        rng = np.random.default_rng([self.seed, epoch])
        if self.shuffle == "batch":
            for start in range(0, n_rows, self.batch_size):
                rng.shuffle(order[start : start + self.batch_size])
        else:
            rng.shuffle(order)
        return order


class _Hooks:
    """Which hooks some callback fills, and so how often Python has to be asked."""

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        self.train_batch = _any_has(callbacks, _BATCH_HOOKS)
        self.test_batch = _any_has(callbacks, _TEST_BATCH_HOOKS)
        self.test = self.test_batch or _any_has(callbacks, _TEST_HOOKS)
        self.bars = [c for c in callbacks if type(c) is keras.callbacks.ProgbarLogger]
        self.only_reads_logs = not (self.train_batch or self.test or self.bars) and all(
            type(c) in _READ_LOGS or not _any_has([c], _EPOCH_HOOKS) for c in callbacks
        )
        stops = [c for c in callbacks if type(c) is keras.callbacks.EarlyStopping]
        self.reads_weights = any(c.restore_best_weights for c in stops)
        self.moves_rate = any(type(c) is keras.callbacks.ReduceLROnPlateau for c in callbacks)
        self.may_go_back = bool(stops) or self.moves_rate


def _any_has(callbacks: Sequence[keras.callbacks.Callback], hooks: Sequence[str]) -> bool:
    return any(_has(callback, hook) for callback in callbacks for hook in hooks)


def _has(callback: keras.callbacks.Callback, hook: str) -> bool:
    if type(callback) is keras.callbacks.ProgbarLogger:
        return False  # it is told of every chunk instead
    if (
        type(callback) in (keras.callbacks.ModelCheckpoint, keras.callbacks.BackupAndRestore)
        and hook in _BATCH_HOOKS
        and callback.save_freq == "epoch"
    ):
        return False
    method = getattr(callback, hook)
    return getattr(method, "__func__", method) is not getattr(keras.callbacks.Callback, hook)


def train(
    model: keras.Model,
    borrow: Callable[[], TrainingGraph],
    rows: Rows,
    held_out: Rows | None,
    plan: Plan,
) -> WatchedCallbacks:
    """Train `model` as ``Model.fit`` does, callbacks and all.

    Parameters
    ----------
    model : keras.Model
    borrow : callable
        Returns a graph that is bound to the model as it is now. It is called at once, before
        anything else, and again when a callback has changed what Keras would then trace.
    rows : Rows
    held_out : Rows or None
        What to evaluate on.
    plan : Plan

    Returns
    -------
    WatchedCallbacks
        The callbacks, which know why training ended; ``model.history`` is set.
    """
    return _Training(model, borrow, rows, held_out, plan).run()


class _Training:
    def __init__(
        self,
        model: keras.Model,
        borrow: Callable[[], TrainingGraph],
        rows: Rows,
        held_out: Rows | None,
        plan: Plan,
    ) -> None:
        self.model, self.rows, self.held_out, self.plan = model, rows, held_out, plan
        self.borrow, self.graph = borrow, borrow()
        # Keras traces at the first batch, so what callbacks set before that counts.
        self.settings: Any = keras_internals.settings(model)
        self.n_batches = -(-rows.n_rows // plan.batch_size)
        self.n_test_batches = (
            0 if held_out is None else -(-held_out.n_rows // plan.validation_batch_size)
        )
        self.callbacks = WatchedCallbacks(
            plan.callbacks,
            model,
            plan.limits,
            plan.verbose,
            epochs=plan.epochs,
            steps=self.n_batches,
        )
        self.block = 1

    def run(self) -> WatchedCallbacks:
        model, plan = self.model, self.plan
        model.stop_training = False
        model.make_train_function()  # a callback may look for it, and use it
        if self.held_out is not None:
            model.make_test_function()
        self.traced = model.train_function
        self.callbacks.on_train_begin()
        self.hooks = _Hooks(self.callbacks.callbacks)
        last_logs = None
        epoch = keras_internals.initial_epoch(model) or plan.initial_epoch
        while epoch < plan.epochs:
            n_epochs = self._epochs_a_call(plan.epochs - epoch)
            if n_epochs > 1:
                n_done, last_logs = self._run_block(epoch, n_epochs)
            else:
                n_done, last_logs = 1, self._run_epoch(epoch)
            epoch += n_done
            if model.stop_training:
                break
        if isinstance(model.optimizer, keras.optimizers.Optimizer) and plan.epochs > 0:
            model.optimizer.finalize_variable_values(model.trainable_weights)
        self.callbacks.on_train_end(logs=last_logs)
        return self.callbacks

    def _epochs_a_call(self, n_left: int) -> int:
        graph = self.graph
        hooks = self.hooks
        if not (hooks.only_reads_logs and isinstance(graph, EpochsGraph)):
            return 1
        if self.model.stop_training or self.settings is not None:
            return 1
        if self.callbacks.needs_every_epoch:
            return 1
        if hooks.moves_rate and not isinstance(self.model.optimizer.learning_rate, keras.Variable):
            return 1
        epoch_seconds = self._epoch_seconds()
        if epoch_seconds is None:
            return 1
        at_risk = hooks.may_go_back
        n = int((_SECONDS_AT_RISK if at_risk else _SECONDS_A_CALL) / epoch_seconds)
        epoch_bytes = 4 * self.rows.n_rows + (graph.state_bytes() if at_risk else 0)
        # What one epoch took says little of the next, so there are never many more at once.
        self.block = min(2 * self.block, n, _BYTES_A_CALL // epoch_bytes)
        self.block = max(self.block, 1)
        return min(self.block, n_left)

    def _epoch_seconds(self) -> float | None:
        seconds = self.graph.batch_seconds
        if seconds is None:
            return None
        seconds *= self.n_batches
        if self.n_test_batches:
            if self.graph.evaluation_seconds is None:
                return None
            seconds += self.graph.evaluation_seconds * self.n_test_batches
        return seconds

    def _run_block(self, epoch: int, n_epochs: int) -> tuple[int, dict[str, Any]]:
        """Run epochs, then tell the callbacks of each as if it had just been run.

        Returns
        -------
        n_done : int
            How many epochs count: if a callback stops training or moves the learning rate,
            the model goes back to the end of that epoch.
        logs : dict
            Of the last of these.
        """
        model, plan, hooks, graph = self.model, self.plan, self.hooks, self.graph
        assert isinstance(graph, EpochsGraph)
        evaluates = [
            self.held_out is not None and plan.evaluates(epoch + i) for i in range(n_epochs)
        ]
        n_orders = n_epochs if plan.shuffle else 1
        result = graph.run(
            self.rows,
            self.held_out,
            orders=np.stack([plan.order(epoch + i, self.rows.n_rows) for i in range(n_orders)]),
            batches=(0, self.n_batches),
            batch_size=plan.batch_size,
            evaluate=evaluates,
            test_batches=(0, self.n_test_batches),
            test_batch_size=plan.validation_batch_size,
            record=hooks.may_go_back,
        )
        done = 0
        logs: dict[str, Any] = {}
        self.callbacks.weights_are_current = False
        self.callbacks.rate_is_fixed = not hooks.moves_rate
        try:
            while done < n_epochs:
                before = self._rate()
                self.callbacks.on_epoch_begin(epoch + done)
                if hooks.reads_weights:
                    graph.restore(result.states, done, only=model.weights)
                self.callbacks.steps_ahead = (n_epochs - 1 - done) * self.n_batches
                logs = dict(result.train[done])
                if evaluates[done]:
                    logs |= {f"val_{name}": value for name, value in result.test[done].items()}
                self.callbacks.on_epoch_end(epoch + done, logs)
                done += 1
                if hooks.may_go_back and (model.stop_training or self._rate() != before):
                    break
        except BaseException:
            if hooks.may_go_back and done < n_epochs:
                graph.restore(result.states, done)
            raise
        finally:
            self.callbacks.weights_are_current, self.callbacks.rate_is_fixed = True, False
            self.callbacks.steps_ahead = 0
        if done < n_epochs:
            after = self._rate()
            graph.restore(result.states, done - 1)
            if after != before:
                model.optimizer.learning_rate = after
        self.callbacks.check_weights()
        return done, logs

    def _rate(self) -> float | None:
        if not self.hooks.moves_rate:
            return None
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def _run_epoch(self, epoch: int) -> dict[str, Any]:
        plan = self.plan
        if not self.graph.runs_epochs:
            self.model.reset_metrics()
        self.callbacks.on_epoch_begin(epoch)
        order = plan.order(epoch, self.rows.n_rows)[np.newaxis]
        evaluates = self.held_out is not None and plan.evaluates(epoch)
        if evaluates and self._fits_one_call():
            result = self._call(order, (0, self.n_batches), (0, self.n_test_batches))
            logs, test_logs = result.train[0], result.test[0]
            self._show(self.n_batches, logs)
            self.callbacks.on_test_begin()
            self.callbacks.on_test_end(test_logs)
        else:
            logs = self._train_in_chunks(order)
            if self.callbacks.is_cut:
                return logs
            test_logs = self._test_in_chunks(order) if evaluates else {}
        logs = logs | {f"val_{name}": value for name, value in test_logs.items()}
        self.callbacks.on_epoch_end(epoch, logs)
        return logs

    def _fits_one_call(self) -> bool:
        hooks = self.hooks
        if hooks.train_batch or hooks.test or not self.graph.runs_epochs:
            return False
        if self.model.stop_training or self.settings is not None:
            return False
        seconds = self._epoch_seconds()
        return seconds is not None and seconds < _SECONDS_A_CALL

    def _train_in_chunks(self, order: np.ndarray) -> dict[str, Any]:
        model, batch_hooks = self.model, self.hooks.train_batch
        steps = model.steps_per_execution
        logs: dict[str, Any] = {}
        begin = 0
        while begin < self.n_batches:
            one_execution = batch_hooks or model.stop_training  # after which Keras looks
            n = steps if one_execution else _chunk(self.graph.batch_seconds)
            end = min(begin + n, self.n_batches)
            if batch_hooks:
                self.callbacks.on_train_batch_begin(begin)
            logs = self._call(order, (begin, end)).train[0]
            if batch_hooks:
                self.callbacks.on_train_batch_end(keras_internals.last_batch_told(begin, n), logs)
            self._show(end, logs)
            begin = end
            if begin < self.n_batches:
                self.callbacks.look(logs)
            if model.stop_training:
                break
        return logs

    def _test_in_chunks(self, order: np.ndarray) -> dict[str, Any]:
        model, batch_hooks = self.model, self.hooks.test_batch
        steps = model.steps_per_execution
        model.stop_evaluating = False
        self.callbacks.on_test_begin()
        if not self.graph.runs_epochs:
            model.reset_metrics()
        logs: dict[str, Any] = {}
        begin = 0
        nothing = (self.n_batches, self.n_batches)
        while begin < self.n_test_batches:
            one_execution = batch_hooks or model.stop_evaluating
            n = steps if one_execution else _chunk(self.graph.evaluation_seconds)
            end = min(begin + n, self.n_test_batches)
            if batch_hooks:
                self.callbacks.on_test_batch_begin(begin)
            logs = self._call(order, nothing, (begin, end)).test[0]
            if batch_hooks:
                self.callbacks.on_test_batch_end(keras_internals.last_batch_told(begin, n), logs)
            begin = end
            if begin < self.n_test_batches and not self.callbacks.is_cut:
                self.callbacks.look({})
            if model.stop_evaluating or self.callbacks.is_cut:
                break
        self.callbacks.on_test_end(logs)
        return logs

    def _call(
        self, order: np.ndarray, batches: tuple[int, int], test_batches: tuple[int, int] = (0, 0)
    ) -> Any:
        self._keep_up()
        return self.graph.run(
            self.rows,
            self.held_out,
            orders=order,
            batches=batches,
            batch_size=self.plan.batch_size,
            evaluate=[test_batches[0] < test_batches[1]],
            test_batches=test_batches,
            test_batch_size=self.plan.validation_batch_size,
        )

    def _keep_up(self) -> None:
        """Take another graph where Keras would trace anew: a callback has seen to that."""
        model = self.model
        changed = self.settings not in (None, keras_internals.settings(model))
        self.settings = None
        if not changed and model.train_function is self.traced:
            return
        model.make_train_function(force=changed)
        self.traced = model.train_function
        try:
            self.graph = self.borrow()
        except UnsuitableError as error:
            raise RuntimeError(
                f"A callback has changed the model so that {error}, which this engine cannot "
                "train. Use engine='keras'."
            ) from error

    def _show(self, n_batches: int, logs: dict[str, Any]) -> None:
        for bar in self.hooks.bars:
            bar.on_train_batch_end(n_batches - 1, dict(sorted(logs.items())))


def _chunk(batch_seconds: float | None) -> int:
    """How many batches to run at a call."""
    if batch_seconds is None:
        return 1
    return max(1, int(_SECONDS_A_CALL / max(batch_seconds, 1e-9)))
