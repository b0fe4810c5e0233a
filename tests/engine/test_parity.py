"""The numbers of ``Model.fit``, bit for bit, also with a graph traced on another model."""

import keras
import numpy as np
import pytest

from skguard._engine.tensorflow.dataset import TensorDataset
from skguard._engine.tensorflow.signatures import SUPPORTED, _kind
from skguard._repairs import keras_internals
from tests.engine.cases import CASES, data_of
from tests.engine.parity import assert_same_training, trace_on_another

# With batches of 16, 44 samples end in a short batch. 48 do not, which TensorFlow optimizes for.
FULL_BATCHES = ["transformer", "lstm", "batch normalization", "swish", "two outputs", "adamw"]


@pytest.mark.parametrize(
    ("name", "n_samples"),
    [*((name, 44) for name in CASES), *((name, 48) for name in FULL_BATCHES)],
)
def test_numbers_equal_those_of_keras_also_on_a_graph_traced_on_another_model(
    name, n_samples, n_traces
):
    build = CASES[name][0]
    (x, y), validation_data = data_of(name, n_samples), data_of(name, n_samples - 16)
    trace_on_another(build, x, y, validation_data=validation_data)
    assert_same_training(build, x, y, validation_data=validation_data)
    assert len(n_traces) == 1


def parts_of(model):
    """Every object of Keras in a model, as (part of Keras, class name)."""
    found, seen = set(), set()
    pending = [model.optimizer, model.loss, list(keras_internals.all_layers(model)), model.metrics]
    while pending:
        value = pending.pop()
        if id(value) in seen or isinstance(value, np.ndarray | str):
            continue
        seen.add(id(value))
        if isinstance(value, list | tuple):
            pending += list(value)
        elif isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, keras.metrics.Metric) and hasattr(value, "metrics"):
            pending += value.metrics
        elif isinstance(value, keras.Model):
            pending += value.layers
        elif callable(value) and value in vars(keras.activations).values():
            found.add(("activations", value.__name__))
        elif (kind := _kind(value)) is not None:
            module = type(value).__module__
            found.add((module if module in SUPPORTED else kind, type(value).__name__))
            pending += vars(value).values()
    return found


def test_every_class_whose_graphs_are_shared_has_a_case_here():
    tested = set()
    for name, (build, _, _) in CASES.items():
        model = build()
        x, y = data_of(name, 4)
        keras_internals.build(model, TensorDataset.of(x, y).example())
        tested |= parts_of(model)
        for loss in keras.tree.flatten(model.loss):
            found = keras.losses.get(loss)
            if not isinstance(found, keras.losses.Loss):
                tested |= {
                    ("losses", cls)
                    for cls in SUPPORTED["losses"]
                    if getattr(getattr(keras.losses, cls)(), "fn", None) is found
                }
    shared = {(kind, name) for kind, names in SUPPORTED.items() for name in names}
    assert shared - tested == set()
