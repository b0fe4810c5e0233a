"""Fixtures of the engine's tests."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def no_cached_graphs():
    """Start without graphs in the cache, and leave none."""
    from skguard._engine import clear_graphs

    clear_graphs()
    yield
    clear_graphs()


@pytest.fixture(autouse=True)
def loops_also_in_short_fits(request, monkeypatch):
    """Train as long fits do, except in test_short.py."""
    if request.path.name != "test_short.py":
        from skguard._engine.tensorflow import program

        monkeypatch.setattr(program, "FEW_BATCHES", -1)


@pytest.fixture
def n_traces(monkeypatch):
    """List of the training graphs that were traced."""
    from skguard._engine.tensorflow import graphs

    traced = []
    trace = graphs.TrainingGraph.__init__

    def count(self, *args):
        trace(self, *args)
        traced.append(self)

    monkeypatch.setattr(graphs.TrainingGraph, "__init__", count)
    return traced


@pytest.fixture
def data():
    """50 samples, 4 features, one target that a linear model fits."""
    X = np.random.default_rng(0).standard_normal((50, 4)).astype("float32")
    return X, X @ np.array([1, -2, 0.5, 0], "float32")[:, None]


@pytest.fixture(params=["shared graph", "separate graph"])
def any_build(request):
    """A function that builds a model, one per kind of graph."""
    from tests.engine import parity

    return {"shared graph": parity.build, "separate graph": parity.build_custom}[request.param]


@pytest.fixture(params=["fused", "keras"])
def kind(request):
    """Name of an engine."""
    return request.param
