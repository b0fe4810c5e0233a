"""Paths of the files that the callbacks of one fit write.

The estimator that a user constructed writes to the paths that were passed. Its clones, which a
search or a cross-validation fits, write to another folder beside each of these paths, so that
no two folds or parallel workers write to one file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import uuid
from pathlib import PurePath
from typing import Any, TypeGuard

import keras

from skguard._parameters.signatures import signature_of
from skguard.callbacks._traits import traits_of

__all__ = ["FitPaths"]

_NAMES = frozenset({"path", "dir", "directory", "folder", "file", "filename", "filepath", "logdir"})
_ENDINGS = ("_path", "_dir", "_directory", "_folder", "_file", "_filename", "_filepath")
_PLACEHOLDER = "{fit_id}"


@dataclasses.dataclass(frozen=True)
class FitPaths:
    """The paths of one fit.

    Parameters
    ----------
    apart : bool
        Whether this fit writes to a folder ``fit-<fit_id>`` beside each path.
    fit_id : str, default=a random one
        Unique to this fit, in this process and every other. Replaces ``{fit_id}`` in a path.
    """

    apart: bool
    fit_id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex[:12])
    _folders: list[str] = dataclasses.field(default_factory=list, repr=False)

    def place(self, path: str | os.PathLike[str]) -> str | os.PathLike[str]:
        """Return the path that this fit uses instead of `path`, of the same type."""
        text = os.fspath(path)
        if _PLACEHOLDER in text:
            placed = text.replace(_PLACEHOLDER, self.fit_id)
        elif self.apart:
            parent, name = os.path.split(text.rstrip("/" + os.sep))
            placed = os.path.join(parent, f"fit-{self.fit_id}", name)
        else:
            return path
        self._make_folder(os.path.dirname(placed))
        return type(path)(placed) if isinstance(path, PurePath) else placed

    def place_arguments(self, cls: type, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the constructor arguments of a callback class with this fit's paths.

        A path that is left to its default (``TensorBoard()`` writes to ``"logs"``) is replaced
        like one that was passed.

        Parameters
        ----------
        cls : subclass of keras.callbacks.Callback
        arguments : dict of str to object

        Returns
        -------
        dict of str to object
        """
        if not traits_of(cls).writes_files:
            return arguments
        defaults = signature_of(cls).arguments
        placed = dict(arguments)
        for name in defaults.keys() | arguments.keys():
            value: Any = arguments.get(name, defaults.get(name))
            if not _is_path(name, value):
                continue
            new = self.place(value)
            if new != value:
                placed[name] = new
        return placed

    def place_callback(self, callback: keras.callbacks.Callback) -> None:
        """Replace the paths that the constructor of `callback` stored, in place."""
        if not traits_of(callback).writes_files:
            return
        attributes = vars(callback)
        for name in signature_of(type(callback)).arguments:
            stored = next((n for n in (name, f"_{name}") if n in attributes), None)
            if stored is None or not _is_path(name, attributes[stored]):
                continue
            old = attributes[stored]
            new = self.place(old)
            if new != old:
                _replace_path(attributes, os.fspath(old), os.fspath(new))

    def tidy(self) -> None:
        """Remove the folders that were created for this fit and are empty."""
        for folder in self._folders:
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    def _make_folder(self, folder: str) -> None:
        # Keras fills in a field such as {epoch} later and creates that folder itself, and a URL
        # such as gs://bucket does not name a local folder.
        if folder and "{" not in folder and "://" not in folder and not os.path.isdir(folder):
            os.makedirs(folder, exist_ok=True)
            self._folders.append(folder)


def _is_path(name: str, value: Any) -> TypeGuard[str | os.PathLike[str]]:
    if isinstance(value, os.PathLike):
        return True
    return isinstance(value, str) and bool(value) and (name in _NAMES or name.endswith(_ENDINGS))


def _replace_path(attributes: dict[str, Any], old: str, new: str) -> None:
    """Replace `old` in every attribute that holds it or a path derived from it."""
    for name, value in attributes.items():
        if not isinstance(value, str | PurePath):
            continue
        text = os.fspath(value)
        if text == old or text.startswith((old + "/", old + os.sep, old + ".")):
            moved = new + text[len(old) :]
            attributes[name] = type(value)(moved) if isinstance(value, PurePath) else moved
