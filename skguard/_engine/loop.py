"""The epoch loop: runs a program, and calls callbacks when and as ``Model.fit`` would."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from skguard._engine.monitor import EpochContext, MonitoredCallbacks
from skguard._engine.plan import Plan
from skguard._engine.protocol import EpochCall, EpochResult, Program
from skguard._engine.unsuitable import UnsuitableError
from skguard._repairs import keras_internals
from skguard.callbacks._traits import any_overrides, has_trait, traits_of

__all__ = ["batches_per_call", "train"]

SECONDS_PER_CALL = 0.25  # within which Ctrl-C and stop flags take effect
BYTES_PER_CALL = 64 * 2**20  # of snapshots and orders of samples
_SECONDS_AT_RISK = 0.03  # of computation that is discarded when a callback stops training

_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
_TEST_HOOKS = ("on_test_begin", "on_test_end")
_TEST_BATCH_HOOKS = ("on_test_batch_begin", "on_test_batch_end")
_EPOCH_HOOKS = ("on_epoch_begin", "on_epoch_end")


def train(model: keras.Model, program: Program, plan: Plan) -> MonitoredCallbacks:
    """Train `model` as ``Model.fit`` does, callbacks included.

    Parameters
    ----------
    model : keras.Model
    program : Program
        Of this model and the data that `plan` is about.
    plan : Plan

    Returns
    -------
    MonitoredCallbacks
        The callbacks, which know why training ended; ``model.history`` is set.
    """
    return _Training(model, program, plan).run()


def batches_per_call(seconds_per_batch: float | None) -> int:
    """Return how many batches to run at once, so that the call ends in `SECONDS_PER_CALL`."""
    if seconds_per_batch is None:
        return 1
    return max(1, int(SECONDS_PER_CALL / max(seconds_per_batch, 1e-9)))


@dataclasses.dataclass(frozen=True, slots=True)
class _Hooks:
    """The hooks that some callback overrides, and so how often Python has to be in control.

    Parameters
    ----------
    train_batch, test_batch, test : bool
        Whether a callback overrides a hook of training batches, of validation batches, and of the
        validation at all.
    progress_bars : list of keras.callbacks.Callback
        Called once per call of the program.
    only_read_logs : bool
        Whether the callbacks can be called after several epochs have been run.
    restore_weights : bool
        Whether a callback copies weights at the end of an epoch.
    set_learning_rate, stop_early : bool
    """

    train_batch: bool
    test_batch: bool
    test: bool
    progress_bars: list[keras.callbacks.Callback]
    only_read_logs: bool
    restore_weights: bool
    set_learning_rate: bool
    stop_early: bool

    @classmethod
    def of(cls, callbacks: Sequence[keras.callbacks.Callback]) -> _Hooks:
        train_batch = any_overrides(callbacks, _BATCH_HOOKS)
        test_batch = any_overrides(callbacks, _TEST_BATCH_HOOKS)
        test = test_batch or any_overrides(callbacks, _TEST_HOOKS)
        bars = [c for c in callbacks if traits_of(c).shows_progress]
        stopping: list[Any] = [c for c in callbacks if traits_of(c).stops_early]
        return cls(
            train_batch=train_batch,
            test_batch=test_batch,
            test=test,
            progress_bars=bars,
            only_read_logs=not (train_batch or test or bars)
            and all(
                traits_of(c).reads_only_logs or not any_overrides([c], _EPOCH_HOOKS)
                for c in callbacks
            ),
            restore_weights=any(c.restore_best_weights for c in stopping),
            set_learning_rate=has_trait(callbacks, "sets_learning_rate"),
            stop_early=bool(stopping),
        )

    @property
    def may_discard_epochs(self) -> bool:
        """Whether a callback may end training, or change the rest of it, after any epoch."""
        return self.stop_early or self.set_learning_rate


class _Training:
    """State of one training."""

    def __init__(self, model: keras.Model, program: Program, plan: Plan) -> None:
        self.model, self.program, self.plan = model, program, plan
        self.n_batches, self.n_validation_batches = plan.n_batches, plan.n_validation_batches
        self.callbacks = MonitoredCallbacks(
            plan.callbacks,
            model,
            plan.limits,
            plan.verbose,
            epochs=plan.epochs,
            steps=self.n_batches,
        )
        self.hooks = _Hooks.of([])
        self.block_size = 1

    def run(self) -> MonitoredCallbacks:
        model, plan = self.model, self.plan
        self._begin()
        last_logs = None
        epoch = keras_internals.initial_epoch(model) or plan.initial_epoch
        while epoch < plan.epochs:
            n_epochs = self._epochs_per_call(plan.epochs - epoch)
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

    def _begin(self) -> None:
        model = self.model
        model.stop_training = False
        model.make_train_function()  # a callback may look for it, and use it
        if self.plan.n_validation_samples is not None:
            model.make_test_function()
        self.callbacks.on_train_begin()
        # Looked up now, because on_train_begin may set hooks on an instance.
        self.hooks = _Hooks.of(self.callbacks.callbacks)

    def _epochs_per_call(self, n_left: int) -> int:
        seconds = self._seconds_per_epoch()
        if seconds is None or not self._can_run_several_epochs():
            return 1
        discards = self.hooks.may_discard_epochs
        n_epochs = int((_SECONDS_AT_RISK if discards else SECONDS_PER_CALL) / seconds)
        order_bytes = 4 * self.plan.n_samples
        epoch_bytes = order_bytes + (self.program.bytes_per_snapshot if discards else 0)
        # The duration of one epoch is a poor estimate of the next, so the number only doubles.
        size = min(2 * self.block_size, n_epochs, BYTES_PER_CALL // epoch_bytes)
        self.block_size = max(size, 1)
        return min(self.block_size, n_left)

    def _can_run_several_epochs(self) -> bool:
        model, hooks = self.model, self.hooks
        return (
            hooks.only_read_logs
            and self.program.runs_whole_epochs
            and not model.stop_training  # Keras reads it after the first batch
            and not self.callbacks.needs_every_epoch
            # Of a schedule it is not known whether a callback has changed it.
            and not (
                hooks.set_learning_rate
                and not isinstance(model.optimizer.learning_rate, keras.Variable)
            )
        )

    def _seconds_per_epoch(self) -> float | None:
        seconds = self.program.seconds_per_batch
        if seconds is None:
            return None
        seconds *= self.n_batches
        if self.n_validation_batches:
            validation_seconds = self.program.seconds_per_validation_batch
            if validation_seconds is None:
                return None
            seconds += validation_seconds * self.n_validation_batches
        return seconds

    def _run_block(self, epoch: int, n_epochs: int) -> tuple[int, dict[str, Any]]:
        """Run some epochs, then report each to the callbacks as if it had just been run.

        Returns
        -------
        n_done : int
            Number of epochs that count: if a callback stops training or sets the learning rate,
            the model is restored to the end of that epoch.
        logs : dict
            Of the last of these.
        """
        plan = self.plan
        n_orders = n_epochs if plan.shuffle else 1
        call = EpochCall(
            orders=np.stack([plan.order(epoch + i) for i in range(n_orders)]),
            batches=(0, self.n_batches),
            validates=[plan.validates(epoch + i) for i in range(n_epochs)],
            validation_batches=(0, self.n_validation_batches),
            takes_snapshots=self.hooks.may_discard_epochs,
        )
        result = self._call(call)
        n_done, logs = self._report_block(epoch, call, result)
        self.callbacks.check_weights()
        return n_done, logs

    def _report_block(
        self, epoch: int, call: EpochCall, result: EpochResult
    ) -> tuple[int, dict[str, Any]]:
        n_epochs, n_done = len(call.validates), 0
        learning_rate = None
        logs: dict[str, Any] = {}
        try:
            while n_done < n_epochs:
                learning_rate = self._learning_rate()
                logs = self._report_epoch(epoch, n_done, call, result)
                n_done += 1
                if call.takes_snapshots and (
                    self.model.stop_training or self._learning_rate() != learning_rate
                ):
                    break
        except BaseException:
            if call.takes_snapshots and n_done < n_epochs:
                self.program.restore(result.snapshots, n_done)
            raise
        if n_done < n_epochs:
            self._discard_epochs_after(n_done - 1, result, learning_rate)
        return n_done, logs

    def _report_epoch(
        self, first_epoch: int, at: int, call: EpochCall, result: EpochResult
    ) -> dict[str, Any]:
        """Report the epoch at a place in the block; return its logs."""
        epoch = first_epoch + at
        self.callbacks.on_epoch_begin(epoch)
        if self.hooks.restore_weights:
            self.program.restore(result.snapshots, at, weights_only=True)
        logs = dict(result.training[at])
        if call.validates[at]:
            logs |= _validation_logs(result.validation[at])
        context = EpochContext(
            weights_are_current=False,
            learning_rate_is_fixed=not self.hooks.set_learning_rate,
            n_steps_ahead=(len(call.validates) - 1 - at) * self.n_batches,
        )
        self.callbacks.on_epoch_end(epoch, logs, context)
        return logs

    def _discard_epochs_after(self, at: int, result: EpochResult, before: float | None) -> None:
        """Restore the model to the end of an epoch of the block, but for the learning rate."""
        after = self._learning_rate()
        self.program.restore(result.snapshots, at)
        if after != before:
            self.model.optimizer.learning_rate = after

    def _learning_rate(self) -> float | None:
        if not self.hooks.set_learning_rate:
            return None
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def _run_epoch(self, epoch: int) -> dict[str, Any]:
        self.program.reset_metrics()
        self.callbacks.on_epoch_begin(epoch)
        order = self.plan.order(epoch)[np.newaxis]
        validates = self.plan.validates(epoch)
        if validates and self._fits_one_call():
            logs, validation_logs = self._train_and_validate(order)
        else:
            logs = self._train_in_chunks(order)
            if self.callbacks.is_cut:
                return logs
            validation_logs = self._validate_in_chunks(order) if validates else {}
        logs = logs | _validation_logs(validation_logs)
        self.callbacks.on_epoch_end(epoch, logs)
        return logs

    def _fits_one_call(self) -> bool:
        if self.hooks.train_batch or self.hooks.test or not self.program.runs_whole_epochs:
            return False
        seconds = self._seconds_per_epoch()
        return not self.model.stop_training and seconds is not None and seconds < SECONDS_PER_CALL

    def _train_and_validate(self, order: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
        """Run an epoch and its validation in one call."""
        call = EpochCall(order, (0, self.n_batches), [True], (0, self.n_validation_batches))
        result = self._call(call)
        logs, validation_logs = result.training[0], result.validation[0]
        self._show_progress(self.n_batches, logs)
        self.callbacks.on_test_begin()
        self.callbacks.on_test_end(validation_logs)
        return logs, validation_logs

    def _train_in_chunks(self, order: np.ndarray) -> dict[str, Any]:
        model, callbacks, has_hooks = self.model, self.callbacks, self.hooks.train_batch
        logs: dict[str, Any] = {}
        begin = 0
        while begin < self.n_batches:
            # Keras reads stop_training after each execution of its train function.
            by_execution = has_hooks or model.stop_training
            n = self._chunk_size(by_execution, self.program.seconds_per_batch)
            end = min(begin + n, self.n_batches)
            if has_hooks:
                callbacks.on_train_batch_begin(begin)
            logs = self._call(EpochCall(order, (begin, end), [False])).training[0]
            if has_hooks:
                callbacks.on_train_batch_end(keras_internals.reported_batch(begin, n), logs)
            self._show_progress(end, logs)
            begin = end
            if begin < self.n_batches:
                callbacks.check_within_epoch(logs)
            if model.stop_training:
                break
        return logs

    def _validate_in_chunks(self, order: np.ndarray) -> dict[str, Any]:
        model, callbacks, has_hooks = self.model, self.callbacks, self.hooks.test_batch
        model.stop_evaluating = False
        callbacks.on_test_begin()
        self.program.reset_metrics()
        logs: dict[str, Any] = {}
        begin = 0
        no_training = (self.n_batches, self.n_batches)
        while begin < self.n_validation_batches:
            by_execution = has_hooks or model.stop_evaluating
            n = self._chunk_size(by_execution, self.program.seconds_per_validation_batch)
            end = min(begin + n, self.n_validation_batches)
            if has_hooks:
                callbacks.on_test_batch_begin(begin)
            logs = self._call(EpochCall(order, no_training, [True], (begin, end))).validation[0]
            if has_hooks:
                callbacks.on_test_batch_end(keras_internals.reported_batch(begin, n), logs)
            begin = end
            if begin < self.n_validation_batches and not callbacks.is_cut:
                callbacks.check_within_epoch({})
            if model.stop_evaluating or callbacks.is_cut:
                break
        callbacks.on_test_end(logs)
        return logs

    def _chunk_size(self, by_execution: bool, seconds_per_batch: float | None) -> int:
        if by_execution:
            steps: int = self.model.steps_per_execution
            return steps
        return batches_per_call(seconds_per_batch)

    def _call(self, call: EpochCall) -> EpochResult:
        try:
            return self.program.run(call)
        except UnsuitableError as error:
            raise RuntimeError(
                f"A callback has changed the model during training, and this engine cannot train "
                f"it any more: {error}. Pass engine='keras'."
            ) from error

    def _show_progress(self, n_batches: int, logs: dict[str, Any]) -> None:
        for bar in self.hooks.progress_bars:
            bar.on_train_batch_end(n_batches - 1, dict(sorted(logs.items())))


def _validation_logs(logs: dict[str, Any]) -> dict[str, Any]:
    return {f"val_{name}": value for name, value in logs.items()}
