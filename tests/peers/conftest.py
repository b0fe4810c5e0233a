"""Fixtures of comparisons with other libraries."""

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="module")
def one_thread():
    """Small matrices are slower with more, much more where other processes run."""
    with threadpool_limits(1):
        yield
