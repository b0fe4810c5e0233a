"""Whether data comes in batches, found without importing Keras: searches ask it in each worker."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["is_batched", "is_generator", "is_tf_dataset"]


def is_batched(X: Any) -> bool:
    """Return whether X comes in batches, which Keras reads itself."""
    return _is_py_dataset(X) or is_tf_dataset(X) or is_generator(X)


def is_generator(X: Any) -> bool:
    """Return whether X can be iterated over only once."""
    return isinstance(X, Iterator) and not hasattr(X, "shape")


def _is_py_dataset(X: Any) -> bool:
    keras = sys.modules.get("keras")  # no dataset of Keras's exists before Keras is imported
    return keras is not None and isinstance(X, keras.utils.PyDataset)


def is_tf_dataset(X: Any) -> bool:
    """Return whether X is a dataset of TensorFlow."""
    return hasattr(X, "element_spec") and hasattr(X, "map")
