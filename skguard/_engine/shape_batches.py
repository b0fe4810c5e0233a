"""Batches of samples of one shape, where samples differ in shape.

A batch has to be one array. Padding would change what a model computes, unless it masks the
padding, so that nothing is padded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from skguard._engine import samples
from skguard._engine.batches import DEFAULT_BATCH_SIZE, n_batches
from skguard._engine.shapes import groups, is_array_of_arrays

__all__ = ["ShapeBatches", "take"]


def take(data: Any, indices: np.ndarray) -> Any:
    """Return some samples of one shape as plain arrays, nested as `data` is."""

    def stacked(leaf: Any) -> Any:
        return np.stack(list(leaf)) if is_array_of_arrays(leaf) else leaf

    return keras.tree.map_structure(stacked, samples.take(data, indices))


class ShapeBatches(keras.utils.PyDataset):
    """Batches of samples of one shape, drawn again in each epoch.

    Parameters
    ----------
    data : tuple of (x, y, sample_weight)
        Nested arrays.
    batch_size : int or None
        The last batch of each shape may be smaller.
    seed : int or None
        Shuffles the samples of each shape and the batches. None keeps their order.
    """

    def __init__(self, data: Any, batch_size: int | None, seed: int | None = None) -> None:
        super().__init__()
        self._data = data
        self._size = batch_size or DEFAULT_BATCH_SIZE
        self._groups = groups(data)
        self._random = None if seed is None else np.random.default_rng(seed)
        self._batches = self._draw()

    def _draw(self) -> list[np.ndarray]:
        shuffle: Callable[[Any], Any] = list if self._random is None else self._shuffled
        batches = [
            group[begin : begin + self._size]
            for group in (np.asarray(shuffle(group)) for group in self._groups)
            for begin in range(0, len(group), self._size)
        ]
        return list(shuffle(batches))

    def _shuffled(self, items: Any) -> list[Any]:
        assert self._random is not None
        return [items[i] for i in self._random.permutation(len(items))]

    @property
    def num_batches(self) -> int:
        return sum(n_batches(len(group), self._size) for group in self._groups)

    def __getitem__(self, index: int) -> Any:
        return self._batch(self._batches[index])

    def _batch(self, indices: np.ndarray) -> Any:
        x, y, sample_weight = take(self._data, indices)
        packed = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        return packed if isinstance(packed, tuple) else (packed,)

    def on_epoch_end(self) -> None:
        self._batches = self._draw()

    def epoch(self) -> Iterator[Any]:
        """Yield the batches of one epoch, and draw those of the next."""
        yield from (self[index] for index in range(self.num_batches))
        self.on_epoch_end()

    def examples(self) -> list[Any]:
        """Return one batch of each shape."""
        return [self._batch(group[:1]) for group in self._groups]
