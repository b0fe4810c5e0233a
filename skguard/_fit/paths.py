"""Where the callbacks of one fit write.

The estimator that a user made writes where the user said. Its clones, which is what a search
or a cross-validation fits, write below a folder of their own beside that place, so that
folds and parallel workers never meet in one file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import uuid
from pathlib import PurePath
from typing import Any

import keras

from skguard._estimators.parameters import signature_of

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
        Whether this fit writes below a folder of its own, ``fit-<fit_id>``, beside the place
        that each path names.
    fit_id : str
        Unique to this fit, in this process and every other. ``{fit_id}`` in a path becomes it.
    """

    apart: bool
    fit_id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex[:12])
    _folders: list[str] = dataclasses.field(default_factory=list, repr=False)

    def place(self, path: Any) -> Any:
        """Where this fit writes what `path` names. The type of `path` is kept."""
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
        """`arguments` for the constructor of callback class `cls`, its paths placed.

        A path that is left to its default (``TensorBoard()`` writes to ``"logs"``) is placed
        as one that was given.
        """
        if not _writes_files(cls):
            return arguments
        defaults = signature_of(cls).arguments
        placed = dict(arguments)
        for name in defaults.keys() | arguments.keys():
            value = arguments.get(name, defaults.get(name))
            if _is_path(name, value) and (new := self.place(value)) != value:
                placed[name] = new
        return placed

    def place_callback(self, callback: keras.callbacks.Callback) -> None:
        """Move the paths that the constructor of `callback` stored, in place."""
        if not _writes_files(type(callback)):
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
        """Remove the folders made here that nothing was written to."""
        for folder in self._folders:
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    def _make_folder(self, folder: str) -> None:
        # A folder with a field such as {epoch} in its name gets that name from Keras later,
        # and an address such as gs://bucket has no folders to make.
        if folder and "{" not in folder and "://" not in folder and not os.path.isdir(folder):
            os.makedirs(folder, exist_ok=True)
            self._folders.append(folder)


def _writes_files(cls: type) -> bool:
    # RemoteMonitor's `path` is the path of a URL.
    return not issubclass(cls, keras.callbacks.RemoteMonitor)


def _is_path(name: str, value: Any) -> bool:
    if isinstance(value, os.PathLike):
        return True
    return isinstance(value, str) and bool(value) and (name in _NAMES or name.endswith(_ENDINGS))


def _replace_path(attributes: dict[str, Any], old: str, new: str) -> None:
    """Replace `old` in every attribute that holds it or a path that was derived from it."""
    for name, value in attributes.items():
        if not isinstance(value, str | PurePath):
            continue
        text = os.fspath(value)
        if text == old or text.startswith((old + "/", old + os.sep, old + ".")):
            moved = new + text[len(old) :]
            attributes[name] = type(value)(moved) if isinstance(value, PurePath) else moved
