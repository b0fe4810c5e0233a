"""Versions of Python and of the packages in use, for bug reports."""

from __future__ import annotations

import importlib.metadata
import platform
import sys

__all__ = ["show_versions"]

_PACKAGES = (
    "skguard",
    "scikit-learn",
    "scikeras",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "numpy",
    "scipy",
    "joblib",
    "loky",
    "cloudpickle",
    "pandas",
    "distributed",
)


def show_versions() -> None:
    """Print the versions of Python, of skguard and of its dependencies, for bug reports."""
    lines = {"python": sys.version.split()[0], "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            lines[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            lines[package] = "not installed"
    width = max(map(len, lines))
    sys.stdout.write("".join(f"{name:>{width}}: {value}\n" for name, value in lines.items()))
