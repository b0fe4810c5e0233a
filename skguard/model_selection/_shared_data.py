"""Objects that are written to a file once, for worker processes to map into their memory.

The file holds a pickle and, beside it, the arrays that the pickle refers to. A worker maps the
file, so that all workers together hold each array once. What a worker changes in an array is
its own copy of that page: neither the file nor another process sees it.
"""

from __future__ import annotations

import functools
import mmap
import pickle
import struct
from pathlib import Path
from typing import Any

import cloudpickle

__all__ = ["load", "write"]

_ALIGNMENT = 64
_COUNT = struct.Struct("<Q")


def write(value: Any, path: Path) -> Path:
    """Write `value`, functions and classes of ``__main__`` included, and return the path.

    Parameters
    ----------
    value : object
    path : Path
        A file that does not exist yet.
    """
    buffers: list[pickle.PickleBuffer] = []
    pickled = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    pieces = [memoryview(pickled), *(buffer.raw() for buffer in buffers)]
    with path.open("xb") as file:
        position = file.write(_COUNT.pack(len(pieces)))
        for piece in pieces:
            position += file.write(_COUNT.pack(piece.nbytes))
        for piece in pieces:
            position += file.write(b"\0" * (-position % _ALIGNMENT))
            position += file.write(piece)
    return path


@functools.lru_cache(maxsize=4)
def load(path: Path) -> Any:
    """Read what `write` wrote; the arrays in it stay on file until they are used."""
    with path.open("rb") as file:
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    (n_pieces,) = _COUNT.unpack_from(mapped)
    end = _COUNT.size * (1 + n_pieces)
    pieces = []
    for number in range(n_pieces):
        (size,) = _COUNT.unpack_from(mapped, _COUNT.size * (1 + number))
        start = end + -end % _ALIGNMENT
        end = start + size
        pieces.append(mapped[start:end])
    return pickle.loads(pieces[0], buffers=pieces[1:])
