"""Every loss of Keras, in each form, from each kind of label: the numbers of Keras, or an error.

Plain Keras gets a y that is prepared by hand. What trains must end with its weights and its
classes, so that no loss gives a score that is silently wrong.
"""

import functools
import warnings

import keras
import numpy as np
import pytest

from skguard import GuardedKerasClassifier
from skguard._repairs import seeding
from skguard.exceptions import DivergedError, InputValueError
from skguard.targets._losses import _CLASSES, LOSSES, Outputs, Takes
from tests.targets.outputs import dense

FORMS = ("name", "class", "object", "compiled", "from_logits")
# Sorted, so that a label's place is its class number.
LABELS = {
    "text": ["bee", "cat", "dog"],
    "ints": [3, 5, 9],
    "bools": [False, True],
    "one-hot": None,
}
# Pairs of units and activation, by the number of classes.
HEADS = {
    2: [(1, "sigmoid"), (1, None), (2, "softmax"), (2, None)],
    3: [(3, "softmax"), (3, None)],
}
# What these compare does not stand for classes: they raise.
UNUSABLE = {"circle", "ctc"}
# What may become of a fit. A loss can be NaN from the first epoch: a logarithm of negative outputs.
FAIR = {"equal", "error", "diverged"}
# Keras 3.15 does not find its newest loss by its name.
NOT_NAMED = {"categorical_generalized_cross_entropy"}


def class_of(name):
    """Return the class of a loss, or None: three functions of Keras have none."""
    return next(
        (
            getattr(keras.losses, label)
            for label, function in _CLASSES.items()
            if function == name and hasattr(keras.losses, label)
        ),
        None,
    )


def has_form(name, form):
    cls = class_of(name)
    if form == "from_logits":
        return cls is not None and "from_logits" in vars(cls())
    if form == "name":
        return name not in NOT_NAMED
    return cls is not None or form == "compiled"


def form_of(name, form):
    """Return a loss as a user would pass it."""
    if form in ("name", "compiled"):
        return name if name not in NOT_NAMED else class_of(name)()
    cls = class_of(name)
    if form == "from_logits":
        return cls(from_logits=True)
    return cls if form == "class" else cls()


def prepared(name, numbers, units):
    """Return the y that plain Keras needs."""
    if LOSSES[name][0] is Takes.CLASS_NUMBERS:
        return numbers
    if units == 1:
        return numbers[:, None].astype("float32")
    return np.eye(units, dtype="float32")[numbers]


@functools.lru_cache
def data(n_classes):
    """Return 60 samples, each class around its own corner, in random order, and class numbers."""
    rng = np.random.default_rng(0)
    numbers = rng.permutation(np.repeat(np.arange(n_classes), 60 // n_classes))
    X = rng.normal(size=(60, 4)) + 6 * np.eye(4)[numbers]
    return X.astype("float32"), numbers


@functools.lru_cache
def by_keras(name, from_logits, n_classes, units, activation):
    """Return the weights and outputs of plain Keras that is trained on a prepared y."""
    X, numbers = data(n_classes)
    model = dense(units, activation)()
    model.set_weights(initial_weights(units))
    loss = form_of(name, "from_logits" if from_logits else "name")
    model.compile(keras.optimizers.Adam(0.1), loss)
    with seeding.seeded(0), warnings.catch_warnings():  # seeded as a fit, for the same rounding
        warnings.filterwarnings("ignore", ".*received `from_logits=True`")
        y = prepared(name, numbers, units)
        model.fit(X, y, epochs=15, batch_size=32, shuffle=False, verbose=0)
    return model.get_weights(), model.predict(X, verbose=0)


def initial_weights(units):
    rng = np.random.default_rng(units)
    return [rng.normal(size=(4, units)).astype("float32"), np.zeros(units, "float32")]


def starting_alike(units, activation, loss=None):
    """Return a model function whose models have the same initial weights."""

    def build():
        optimizer = keras.optimizers.Adam(0.1)
        model = dense(units, activation, loss, optimizer=optimizer)()
        model.set_weights(initial_weights(units))
        return model

    return build


def expected_classes(name, from_logits, activation, outputs):
    """Return class numbers from outputs, by what the outputs mean to the loss."""
    if outputs.shape[1] > 1:
        return outputs.argmax(axis=1)
    around_zero = from_logits or LOSSES[name][1] is Outputs.MARGINS
    boundary = 0.0 if around_zero and activation is None else 0.5
    return (outputs[:, 0] > boundary).astype(int)


def outcome(name, form, labels, n_classes, units, activation):
    """Fit an estimator and compare it: return "equal", "error" or what differs."""
    X, numbers = data(n_classes)
    if LABELS[labels] is None:
        y = np.eye(n_classes, dtype=int)[numbers]
    else:
        y = np.array(LABELS[labels][:n_classes])[numbers]
    settings = {"epochs": 15, "batch_size": 32, "shuffle": False, "verbose": 0, "random_state": 0}
    loss, from_logits = form_of(name, form), form == "from_logits"
    if form == "compiled":
        model = starting_alike(units, activation, loss=loss)
        estimator = GuardedKerasClassifier(model, **settings)
    else:
        model = starting_alike(units, activation)
        adam = keras.optimizers.Adam(0.1)
        estimator = GuardedKerasClassifier(model, loss=loss, optimizer=adam, **settings)
    try:
        with warnings.catch_warnings():
            if from_logits and activation is not None:  # the next test
                warnings.filterwarnings("ignore", "The model ends with a")
                warnings.filterwarnings("ignore", ".*received `from_logits=True`")
            estimator.fit(X, y)
    except InputValueError:
        return "error"
    except DivergedError:
        return "diverged"
    if name in UNUSABLE:
        return "trained although it cannot be"
    weights, outputs = by_keras(name, from_logits, n_classes, units, activation)
    for ours, theirs in zip(estimator.model_.get_weights(), weights, strict=True):
        if not np.array_equal(ours, theirs):
            return "other weights"
    classes = expected_classes(name, from_logits, activation, outputs)
    right = np.eye(n_classes)[classes] if labels == "one-hot" else estimator.classes_[classes]
    if not np.array_equal(estimator.predict(X), right):
        return "other classes"
    accuracy = np.mean(classes == numbers)
    return "equal" if abs(estimator.score(X, y) - accuracy) < 1e-9 else "another score"


def cases(name):
    """Yield all combinations for a loss."""
    for n_classes, heads in HEADS.items():
        for units, activation in heads:
            for form in filter(functools.partial(has_form, name), FORMS):
                for labels in LABELS:
                    if n_classes == 2 or labels != "bools":
                        yield form, labels, n_classes, units, activation


def every_third(cases, first):
    """Return a third of the cases; over three losses each combination comes once."""
    return list(cases)[first % 3 :: 3]


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_form_of_a_loss_gives_the_numbers_of_keras_or_an_error(name):
    some = every_third(cases(name), sorted(LOSSES).index(name))
    outcomes = {case: outcome(name, *case) for case in some}
    wrong = {case: what for case, what in outcomes.items() if what not in FAIR}
    assert not wrong
    assert ("error" if name in UNUSABLE else "equal") in outcomes.values()
