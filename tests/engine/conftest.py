"""Fixtures of the engine's tests."""

import pytest


@pytest.fixture(autouse=True)
def no_graphs_from_elsewhere():
    """Tests of the engine start without graphs, and leave none."""
    from skguard._engine import clear_graphs

    clear_graphs()
    yield
    clear_graphs()


@pytest.fixture(autouse=True)
def loops_from_the_first_batch_on(request, monkeypatch):
    """Tests of the engine train as long fits do; those of short ones are in test_short.py."""
    if request.path.name != "test_short.py":
        from skguard._engine import api

        monkeypatch.setattr(api, "FEW_BATCHES", -1)


@pytest.fixture
def n_traces(monkeypatch):
    """The training graphs that were traced, in a list."""
    from skguard._engine.tensorflow import graphs

    traced = []
    trace = graphs.TrainingGraph.__init__

    def count(self, *args):
        trace(self, *args)
        traced.append(self)

    monkeypatch.setattr(graphs.TrainingGraph, "__init__", count)
    return traced
