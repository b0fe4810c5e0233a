"""Epochs over memory-mapped arrays, a chunk of batches at a time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future

import numpy as np

from skguard._engine.tensorflow.dataset import MappedDataset, TensorDataset

__all__ = ["ChunkReader"]


class ChunkReader:
    """Reads the chunks of an epoch: the next one while the caller uses one.

    Parameters
    ----------
    samples : MappedDataset
    batch_size : int
    executor : concurrent.futures.Executor
        Its thread reads ahead.
    """

    def __init__(self, samples: MappedDataset, batch_size: int, executor: Executor) -> None:
        self._samples, self._executor = samples, executor
        self._n_batches = samples.batches_per_chunk(batch_size)
        self._n_samples = self._n_batches * batch_size
        self._orders: np.ndarray | None = None
        self._number = -1
        self._chunk: TensorDataset | None = None
        self._next: Future[list[np.ndarray]] | None = None

    def chunks(
        self, orders: np.ndarray, batches: tuple[int, int]
    ) -> Iterator[tuple[tuple[int, int], TensorDataset]]:
        """Yield some batches of an epoch by chunks: their numbers, and the samples of the chunk.

        Parameters
        ----------
        orders : ndarray of shape (1, n_samples), dtype int
            The order of the samples. What was read is used again in calls with the same object.
        batches : tuple of (int, int)
            The first batch and the one after the last, 0-based.
        """
        begin, end = batches
        while begin < end:
            number = begin // self._n_batches
            stop = min(end, (number + 1) * self._n_batches)
            yield (begin, stop), self._chunk_of(orders, number)
            begin = stop

    def _chunk_of(self, orders: np.ndarray, number: int) -> TensorDataset:
        is_same_epoch = orders is self._orders
        if is_same_epoch and number == self._number and self._chunk is not None:
            return self._chunk
        ahead = self._next if is_same_epoch and number == self._number + 1 else None
        order = orders[0]
        self._chunk = None  # not in memory beside the next one
        read = self._read(order, number) if ahead is None else ahead.result()
        self._orders, self._number = orders, number
        has_next = (number + 1) * self._n_samples < len(order)
        self._next = self._executor.submit(self._read, order, number + 1) if has_next else None
        self._chunk = self._samples.part(read, number * self._n_samples)
        return self._chunk

    def _read(self, order: np.ndarray, number: int) -> list[np.ndarray]:
        begin = number * self._n_samples
        return self._samples.read(order[begin : begin + self._n_samples])
