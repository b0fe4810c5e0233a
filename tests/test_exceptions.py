import pickle

from skguard.exceptions import NotCopyableError


def test_an_error_survives_the_way_home_from_a_worker():
    error = pickle.loads(pickle.dumps(NotCopyableError("names the object")))
    assert isinstance(error, TypeError)
    assert str(error) == "names the object"
