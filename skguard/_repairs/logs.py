"""Log messages of TensorFlow that do not apply to many small fits."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

__all__ = ["without_retracing_advice"]


@contextlib.contextmanager
def without_retracing_advice() -> Iterator[None]:
    """Hold back TensorFlow's advice on retracing: a search builds many new models."""
    logger = logging.getLogger("tensorflow")

    def is_other(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)
