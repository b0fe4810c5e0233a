"""Callbacks that record what they see, for comparison with Keras, and control over blocks."""

import keras

from skguard._engine import loop
from tests.engine.parity import build, same

HOOKS = [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]


def recorder(*hooks, act=None):
    """A function that makes callbacks, and the calls of their hooks on each side."""
    records = {"theirs": [], "ours": []}

    def make(side):
        class Recorder(keras.callbacks.Callback):
            pass

        def make_hook(name):
            def hook(self, *args, **kwargs):
                args = [*args, *kwargs.values()]
                args = [dict(a) if isinstance(a, dict) else a for a in args]
                records[side].append((name, args, self.params, self.model.stop_training))
                if act is not None:
                    act(name, args, self.model)

            return hook

        for name in hooks:
            setattr(Recorder, name, make_hook(name))
        return Recorder()

    return make, records


def assert_same_records(records):
    assert len(records["ours"]) == len(records["theirs"]) > 0
    for ours, theirs in zip(records["ours"], records["theirs"], strict=True):
        assert ours[0] == theirs[0]
        assert same(ours[1], theirs[1]), (ours, theirs)
        assert ours[2:] == theirs[2:]


def early(**settings):
    return lambda side: keras.callbacks.EarlyStopping(**settings)


def plateau(**settings):
    return lambda side: keras.callbacks.ReduceLROnPlateau(**settings)


def diverging():
    return build(keras.optimizers.SGD(0.2, momentum=0.9))


def watch_blocks(monkeypatch, n_epochs):
    """Run blocks of some epochs, however long one takes, and list the blocks."""
    blocks, run_block = [], loop._Training._run_block

    def watched(self, epoch, n):
        blocks.append(n)
        return run_block(self, epoch, n)

    def choose(self, n_left):
        return min(n_epochs, n_left) if self.hooks.only_read_logs else 1

    monkeypatch.setattr(loop._Training, "_run_block", watched)
    monkeypatch.setattr(loop._Training, "_epochs_per_call", choose)
    return blocks
