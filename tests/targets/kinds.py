"""Labels, outputs and losses that tests of targets draw, as hypothesis strategies."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

# The same examples in every run, without a limit that a slow machine would exceed.
tried = settings(max_examples=60, deadline=None, derandomize=True)

LABELS = {
    "text": lambda n: np.array([f"class {i:02}" for i in range(n)]),
    "objects": lambda n: np.array([f"{i:02}" for i in range(n)], dtype=object),
    "numbers": lambda n: np.arange(n),
    "gaps": lambda n: 10 * np.arange(n) - 7,
    "floats": lambda n: np.arange(n).astype(float),
    "bools": lambda n: np.array([False, True]),
}
"""Labels of n classes, sorted; two of them whatever n is for bools."""


@st.composite
def class_numbers(draw, max_classes=5, max_samples=8, steps=()):
    """Draw the number of classes, and class numbers in which each is present."""
    n_classes = draw(st.integers(2, max_classes))
    shape = (draw(st.integers(n_classes, n_classes + max_samples)), *steps)
    size = int(np.prod(shape))
    numbers = draw(st.lists(st.integers(0, n_classes - 1), min_size=size, max_size=size))
    numbers = np.array(numbers)
    numbers[:n_classes] = np.arange(n_classes)
    return n_classes, numbers.reshape(shape)


@st.composite
def raw_outputs(draw, *shape, low=-8, high=8):
    """Draw outputs of a model, without two equal ones next to each other."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    return rng.uniform(low, high, shape).astype("float32")
