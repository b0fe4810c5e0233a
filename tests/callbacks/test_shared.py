import copy
import pickle

import keras
import pytest
from sklearn.base import clone

from skguard.callbacks import Shared
from skguard.callbacks import _shared as shared_module


def test_copies_clones_and_pickles_are_the_same_object():
    shared = Shared(keras.callbacks.History())
    copies = [copy.copy(shared), copy.deepcopy(shared), clone(shared, safe=False)]
    copies.append(pickle.loads(pickle.dumps(shared)))
    assert all(twin is shared for twin in copies)


def test_a_callback_that_cannot_be_copied_can_be_shared(tmp_path):
    callback = keras.callbacks.History()
    with open(tmp_path / "log.txt", "w") as callback.file:
        shared = Shared(callback)
        assert copy.deepcopy([shared])[0] is shared
        assert clone(shared, safe=False) is shared


def test_another_process_unpickles_one_object(monkeypatch):
    shared = Shared(keras.callbacks.EarlyStopping(patience=7))
    sent = pickle.dumps(shared)
    monkeypatch.setattr(shared_module, "_alive", {})
    first, second = pickle.loads(sent), pickle.loads(sent)
    assert first is second is not shared
    assert first.callback.patience == 7


def test_the_trained_model_is_not_pickled():
    callback = keras.callbacks.History()
    callback.set_model(keras.Sequential([keras.Input((50,)), keras.layers.Dense(1000)]))
    assert len(pickle.dumps(Shared(callback))) < 2_000
    assert callback.model is not None


@pytest.mark.parametrize("wrong", [keras.callbacks.History, "History", None])
def test_only_instances_of_callbacks_can_be_shared(wrong):
    with pytest.raises(TypeError, match="of Shared must be an instance of keras"):
        Shared(wrong)
