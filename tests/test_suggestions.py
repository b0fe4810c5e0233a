"""Error messages suggest the closest known names, or nothing."""

import pytest

from skguard._suggestions import did_you_mean


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("epoch", " Did you mean 'epochs'?"),
        ("tols", " Did you mean 'tools' or 'tol'?"),
        ("zzz", ""),
    ],
)
def test_the_closest_names_are_suggested_in_order(name, message):
    assert did_you_mean(name, {"tools", "epochs", "tol"}) == message


def test_a_higher_cutoff_suggests_fewer_names():
    assert did_you_mean("epoch", ["epochs"], cutoff=0.95) == ""
