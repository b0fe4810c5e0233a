"""Fixtures of searches over `Numbered` and `Misbehaving`."""

import types

import pytest

from skguard.model_selection import _budget
from tests.model_selection.estimators import Numbered
from tests.model_selection.misbehaving import children


@pytest.fixture
def no_attempts_before():
    Numbered.n_attempts.clear()


@pytest.fixture
def one_second_per_fit(monkeypatch):
    """A clock by which every fit takes a second, and nothing else takes any time."""

    def now():
        return float(sum(Numbered.n_attempts.values()))

    clock = types.SimpleNamespace(monotonic=now, time=now)
    monkeypatch.setattr(_budget, "time", clock)


@pytest.fixture
def nothing_is_left(tmp_path_factory, monkeypatch):
    """Assert that a test leaves neither processes nor shared files."""
    folder = tmp_path_factory.mktemp("shared")
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(folder))
    before = set(children())  # joblib keeps the workers of other tests in this process
    yield
    assert set(children()) <= before
    assert not list(folder.iterdir())
