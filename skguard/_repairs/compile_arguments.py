"""The arguments that a model was compiled with, as the objects that were passed.

``get_compile_config()`` serializes them by name, which loses classes and functions that are not
registered with Keras. ``_compile_config`` holds the objects themselves from Keras 3.8 to 3.15.
"""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["compile_arguments"]


def compile_arguments(model: keras.Model) -> dict[str, Any] | None:
    """Return the arguments of ``compile`` by name.

    Returns
    -------
    dict or None
        None if Keras does not hold them, or if the model's class overrides ``compile``, so that
        they are not all that it takes.
    """
    if type(model).compile is not keras.Model.compile:
        return None
    arguments: dict[str, Any] | None = getattr(
        getattr(model, "_compile_config", None), "config", None
    )
    return arguments
