"""Names of metrics, which Keras numbers through a process and a fit needs to be the same.

Stands on ``keras.src``'s count of the names that it gave, where it has been from Keras 3.8 to
3.15. If a release moves it, metrics are named as Keras names them. What the numbers break:
https://github.com/tensorflow/tensorflow/issues/43645
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator

import keras

__all__ = ["first_metric_names"]


@contextlib.contextmanager
def first_metric_names() -> Iterator[None]:
    """Name unnamed metrics as in the first model of the process.

    Keras numbers the names that it gives, so the second model's ``AUC()`` logs ``auc_1`` and
    ``monitor="val_auc"`` would exist in the first fold only. Names of layers continue to be
    numbered: a model function may join new layers to older ones, and those names must differ.
    """
    counts = _name_counts()
    before = dict(counts)
    for name in _metric_names():
        counts.pop(name, None)
    try:
        yield
    finally:
        for name in _metric_names():
            if before.get(name, 0) > counts.get(name, 0):
                counts[name] = before[name]


def _name_counts() -> dict[str, int]:
    try:
        from keras.src.backend.common.global_state import get_global_attribute
    except ImportError:
        return {}
    counts: dict[str, int] = get_global_attribute(
        "object_name_uids", default=collections.defaultdict(int), set_to_default=True
    )
    return counts


def _metric_names() -> set[str]:
    names = set()
    todo = [keras.metrics.Metric]
    while todo:
        cls = todo.pop()
        todo.extend(cls.__subclasses__())
        names.add(_snake(cls.__name__))
    return names


def _snake(name: str) -> str:
    try:
        from keras.src.utils.naming import to_snake_case
    except ImportError:
        return name.lower()
    snake: str = to_snake_case(name)
    return snake
