"""Trainings of few batches have no loops, which take longer to trace, and the same numbers."""

import numpy as np
import pytest

from skguard import _engine as engine
from skguard._engine.monitor import Limits
from skguard._engine.plan import Plan
from skguard._engine.tensorflow import program
from skguard._engine.tensorflow.cache import CACHE
from skguard._engine.tensorflow.graphs import BatchesGraph, EpochsGraph
from tests.engine.cases import CASES, data_of
from tests.engine.parity import (
    FIT,
    assert_same_training,
    build,
    build_custom,
    build_twins,
    trace_on_another,
)

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(48, 4)).astype("float32"), rng.normal(size=48).astype("float32")
A_FIT = 9  # batches: 3 epochs of 3


@pytest.mark.parametrize("name", CASES)
def test_numbers_equal_those_of_keras_without_loops_too(name, n_traces):
    (x, y), validation_data = data_of(name, 44), data_of(name, 28)
    trace_on_another(CASES[name][0], x, y, validation_data=validation_data)
    assert_same_training(CASES[name][0], x, y, validation_data=validation_data)
    assert [type(graph) for graph in n_traces] == [BatchesGraph]


def train(model, **arguments):
    return engine.train(model, X, Y, engine="fused", **FIT | arguments)


def kinds():
    return [type(graph) for graph in CACHE._waiting.values()]


@pytest.mark.parametrize(
    ("arguments", "n_batches"),
    [
        ({}, A_FIT),
        ({"epochs": 10}, 30),
        ({"batch_size": 10}, 15),
        ({"initial_epoch": 2}, 3),
        ({"validation_data": (X, Y)}, 2 * A_FIT),
        ({"validation_data": (X, Y), "validation_freq": 3}, A_FIT + 3),
        ({"validation_data": (X, Y), "validation_batch_size": 48}, A_FIT + 3),
    ],
    ids=str,
)
def test_short_trainings_are_those_of_few_batches(monkeypatch, arguments, n_batches):
    for few, kind in ((n_batches, BatchesGraph), (n_batches - 1, EpochsGraph)):
        monkeypatch.setattr(program, "FEW_BATCHES", few)
        CACHE.clear()
        train(build(), **arguments)
        assert kinds() == [kind]


def test_a_short_training_takes_a_graph_with_loops_that_is_there(n_traces):
    first, second = build_twins(build)
    train(first, epochs=program.FEW_BATCHES)
    train(second)
    assert [type(graph) for graph in n_traces] == [EpochsGraph]


def test_after_many_short_trainings_loops_are_traced_and_the_other_graph_is_dropped(n_traces):
    n_fits = program.MAX_BATCHES // A_FIT + 3
    for model in build_twins(build, n_fits):
        train(model)
    assert [type(graph) for graph in n_traces] == [BatchesGraph, EpochsGraph]
    assert kinds() == [EpochsGraph]


def test_numbers_do_not_depend_on_the_kind_of_graph(monkeypatch):
    histories = []
    for few in (0, 100):
        monkeypatch.setattr(program, "FEW_BATCHES", few)
        (model,) = build_twins(build, 1)
        run = train(model, validation_data=(X, Y))
        histories.append((run.history, [np.array(v.value) for v in model.variables]))
    assert histories[0][0] == histories[1][0]
    for ours, theirs in zip(histories[0][1], histories[1][1], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_model_with_a_custom_layer_never_gets_loops():
    models = build_twins(build_custom, 2)
    for model in models:
        train(model, epochs=program.MAX_BATCHES)
        train(model)
    assert set(kinds()) == {BatchesGraph}


def test_a_training_of_a_million_epochs_is_not_counted_one_by_one(monkeypatch):
    monkeypatch.setattr(Plan, "validates", lambda self, epoch: pytest.fail("counted"))
    plan = Plan(
        n_samples=48,
        n_validation_samples=48,
        epochs=10**9,
        initial_epoch=0,
        batch_size=16,
        validation_batch_size=16,
        validation_freq=1,
        shuffle=False,
        verbose=0,
        callbacks=[],
        seed=0,
        limits=Limits(),
    )
    assert not plan.has_at_most(program.FEW_BATCHES)
