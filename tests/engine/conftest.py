import pytest

from skguard.engine import clear_graphs, epochs


@pytest.fixture(autouse=True)
def no_graphs_from_elsewhere():
    clear_graphs()
    yield
    clear_graphs()


@pytest.fixture
def n_traces(monkeypatch):
    """How many training graphs were traced, as the length of a list."""
    traced = []
    trace = epochs.EpochsGraph._trace

    def count(self, model, rows, held_out):
        traced.append(model)
        return trace(self, model, rows, held_out)

    monkeypatch.setattr(epochs.EpochsGraph, "_trace", count)
    return traced
