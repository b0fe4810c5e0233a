"""Which modules count as touched by the tests that ran."""

import pytest

from tools import check_quick

MODULE = '''
"""A module."""
import math

SIZE = 3

def area(x):
    """Return the area."""
    return x * SIZE
'''


@pytest.mark.parametrize(
    ("lines_run", "is_touched"),
    [([], False), ([2, 3, 5, 7], False), ([3, 5, 7, 8], False), ([3, 5, 7, 9], True)],
    ids=["never imported", "imported", "docstring", "called"],
)
def test_a_module_is_touched_if_a_function_of_it_is_called(lines_run, is_touched):
    assert check_quick.is_touched(MODULE, lines_run) is is_touched


def test_methods_and_nested_functions_are_functions():
    source = """
class A:
    def outer(self):
        def inner():
            return 1
        return inner
"""
    assert not check_quick.is_touched(source, [2, 3])
    assert check_quick.is_touched(source, [4, 6])
    assert check_quick.is_touched(source, [5])


def test_a_module_without_functions_needs_no_test():
    assert check_quick.is_touched("__all__ = []\n", [])
