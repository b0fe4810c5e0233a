import pytest

from skguard.engine import clear_graphs, epochs


@pytest.fixture(autouse=True)
def no_graphs_from_elsewhere():
    clear_graphs()
    yield
    clear_graphs()


@pytest.fixture
def n_traces(monkeypatch):
    """The training graphs that were traced, in a list."""
    traced = []
    trace = epochs.TrainingGraph.__init__

    def count(self, *args):
        trace(self, *args)
        traced.append(self)

    monkeypatch.setattr(epochs.TrainingGraph, "__init__", count)
    return traced
