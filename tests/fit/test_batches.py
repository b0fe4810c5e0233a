"""Data in batches, which Keras reads itself, gives the numbers of arrays."""

import keras
import numpy as np
import pytest

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard.exceptions import InputTypeError, InputValueError
from skguard.model_selection import GuardedGridSearchCV
from tests.models import build_classifier, build_regressor

tf = pytest.importorskip("tensorflow")
SIZE = 10
TEXT = np.array(["low", "mid", "top"])


class Sequence(keras.utils.PyDataset):
    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays
        self.ended = 0

    def __len__(self):
        return -(-len(self.arrays[0]) // SIZE)

    def __getitem__(self, index):
        part = slice(index * SIZE, (index + 1) * SIZE)
        found = tuple(array[part] for array in self.arrays)
        return found if len(found) > 1 else found[0]

    def on_epoch_end(self):
        self.ended += 1


def dataset(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(SIZE)


def generator(*arrays):
    while True:
        for start in range(0, len(arrays[0]), SIZE):
            yield tuple(array[start : start + SIZE] for array in arrays)


KINDS = {"dataset": dataset, "sequence": Sequence}


def classifier(**parameters):
    settings = {"loss": "sparse_categorical_crossentropy", "optimizer": "adam", "epochs": 2}
    settings |= {"batch_size": SIZE, "shuffle": False, "verbose": 0, "random_state": 0}
    return GuardedKerasClassifier(build_classifier, **settings | parameters)


def weights_of(estimator):
    return [variable.numpy() for variable in estimator.model_.weights]


def assert_same_weights(one, other):
    for left, right in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", ["text", "numbers"])
@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "categorical_crossentropy"])
def test_batches_give_the_model_of_arrays(kind, labels, loss, blobs):
    X, y = blobs
    X, y = X.astype("float32"), TEXT[y] if labels == "text" else y
    by_arrays = classifier(loss=loss, engine="keras").fit(X, y)
    by_batches = classifier(loss=loss).fit(KINDS[kind](X, y), classes=np.unique(y))
    assert_same_weights(by_arrays, by_batches)
    assert by_batches.engine_ == "keras"
    np.testing.assert_array_equal(by_batches.predict(X), by_arrays.predict(X))
    np.testing.assert_array_equal(by_batches.predict(KINDS[kind](X)), by_arrays.predict(X))
    assert by_batches.score(KINDS[kind](X, y)) == by_arrays.score(X, y)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_numbers_give_the_model_of_arrays(kind, line):
    X, y = (array.astype("float32") for array in line)
    settings = {"loss": "mse", "batch_size": SIZE, "shuffle": False, "verbose": 0}
    settings |= {"random_state": 0, "epochs": 2, "engine": "keras"}
    by_arrays = GuardedKerasRegressor(build_regressor, **settings).fit(X, y)
    by_batches = GuardedKerasRegressor(build_regressor, **settings).fit(KINDS[kind](X, y))
    assert_same_weights(by_arrays, by_batches)
    assert by_batches.score(KINDS[kind](X, y)) == pytest.approx(by_arrays.score(X, y))


def test_a_generator_trains_and_needs_steps(blobs):
    X, y = blobs[0].astype("float32"), TEXT[blobs[1]]
    by_arrays = classifier(engine="keras").fit(X, y)
    by_batches = classifier().fit(generator(X, y), classes=TEXT, steps_per_epoch=6)
    assert_same_weights(by_arrays, by_batches)
    with pytest.raises(InputValueError, match=r"how long an epoch is\. Pass steps_per_epoch"):
        classifier().fit(generator(X, y), classes=TEXT)


@pytest.mark.parametrize("kind", KINDS)
def test_a_validation_set_in_batches_is_encoded(kind, blobs):
    X, y = blobs[0].astype("float32"), TEXT[blobs[1]]
    settings = {"loss": "categorical_crossentropy", "metrics": ["accuracy"]}
    as_arrays = classifier(**settings).fit(X, y, X_val=X, y_val=y)
    as_batches = classifier(**settings).fit(X, y, X_val=KINDS[kind](X, y))
    both = classifier(**settings).fit(KINDS[kind](X, y), X_val=KINDS[kind](X, y), classes=TEXT)
    for found in (as_batches, both):
        assert found.history_["val_accuracy"] == as_arrays.history_["val_accuracy"]


@pytest.mark.parametrize("kind", KINDS)
def test_class_weights_by_label_weigh_batches(kind, blobs):
    X, y = blobs[0].astype("float32"), TEXT[blobs[1]]
    weights = {"low": 1.0, "mid": 3.0, "top": 0.5}
    by_arrays = classifier(engine="keras", class_weight=weights).fit(X, y)
    by_batches = classifier(class_weight=weights).fit(KINDS[kind](X, y), classes=TEXT)
    assert_same_weights(by_arrays, by_batches)


def test_a_sequence_hears_of_the_end_of_each_epoch_as_in_keras(blobs):
    X, y = blobs
    data, by_keras = Sequence(X, TEXT[y]), Sequence(X, y)
    estimator = classifier().fit(data, classes=TEXT)
    estimator.model_.fit(by_keras, epochs=2, verbose=0)
    assert data.ended == by_keras.ended >= 2


WRONG = {
    "labels": ({}, InputValueError, "not known before .*classes="),
    "y": ({"classes": [0, 1, 2], "y": np.zeros(60)}, InputTypeError, "y was passed beside X"),
    "weights": (
        {"classes": [0, 1, 2], "sample_weight": np.ones(60)},
        InputTypeError,
        "sample_weight was passed beside",
    ),
    "class_weight": (
        {"classes": [0, 1, 2], "class_weight": "balanced"},
        InputValueError,
        "needs all labels",
    ),
}


@pytest.mark.parametrize(("arguments", "error", "match"), WRONG.values(), ids=WRONG)
def test_what_batches_cannot_have_is_an_error(arguments, error, match, blobs):
    X, y = blobs
    with pytest.raises(error, match=match):
        classifier().fit(dataset(X, y), **arguments)


@pytest.mark.parametrize(
    "parameters", [{"validation_split": 0.2}, {"early_stopping": True}], ids=str
)
def test_batches_cannot_be_divided(parameters, blobs):
    with pytest.raises(
        InputValueError, match=r"cannot set samples .* aside\. Pass a validation set"
    ):
        classifier(**parameters).fit(dataset(*blobs), classes=[0, 1, 2])


def test_batches_without_targets_are_an_error(blobs):
    with pytest.raises(InputValueError, match=r"needs batches of \(x, y\)"):
        classifier().fit(dataset(blobs[0]), classes=[0, 1, 2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_over_batches_says_what_to_do_instead(kind, blobs):
    search = GuardedGridSearchCV(classifier(), {"units": [2, 4]})
    with pytest.raises(InputTypeError, match=r"divides samples by their indices\. Pass arrays"):
        search.fit(KINDS[kind](*blobs))


@pytest.mark.parametrize("target", [None, "logits", "class_numbers"])
def test_labels_of_the_first_batch_are_not_taken_for_all_labels(target, blobs):
    with pytest.raises(InputValueError, match=r"not known before .*classes="):
        classifier(target=target).fit(dataset(*blobs))


def test_samples_with_several_classes_after_a_first_batch_with_one_are_an_error(blobs):
    X, _ = blobs
    y = np.eye(3, dtype=int)[np.arange(60) % 3]
    y[30:] = 1
    estimator = classifier(loss="categorical_crossentropy")
    with pytest.raises(Exception, match="several"):
        estimator.fit(Sequence(X, y))


def test_class_weights_of_unknown_labels_are_an_error(blobs):
    with pytest.raises(InputValueError, match="class_weight has the label 'low'"):
        classifier(class_weight={"low": 2.0}).fit(dataset(*blobs), classes=[0, 1, 2])


def test_batches_without_end_and_single_samples_are_an_error(blobs):
    X, y = blobs
    endless = dataset(X, y).repeat()
    with pytest.raises(InputValueError, match="Pass steps_per_epoch="):
        classifier().fit(endless, classes=[0, 1, 2])
    with pytest.raises(InputValueError, match="Pass validation_steps="):
        classifier().fit(X, y, X_val=generator(X, y))
    with pytest.raises(InputValueError, match="repeats without end"):
        classifier().fit(X, y).score(endless)
    with pytest.raises(InputValueError, match=r"Call \.batch\(32\)"):
        classifier().fit(dataset(X, y).unbatch(), classes=[0, 1, 2])


@pytest.mark.parametrize("kind", KINDS)
def test_text_labels_in_batches_are_not_needed_for_prediction(kind, blobs):
    X, y = blobs[0].astype("float32"), TEXT[blobs[1]]
    estimator = classifier().fit(KINDS[kind](X, y), classes=TEXT)
    np.testing.assert_array_equal(estimator.predict(KINDS[kind](X, y)), estimator.predict(X))


def test_a_scorer_needs_a_validation_set_of_arrays(blobs):
    estimator = classifier(early_stopping=True, scoring="accuracy")
    with pytest.raises(InputValueError, match="Pass X_val= and y_val= arrays"):
        estimator.fit(*blobs, X_val=dataset(*blobs))
    estimator.fit(dataset(*blobs), classes=[0, 1, 2], X_val=blobs[0], y_val=blobs[1])


@pytest.mark.parametrize("kind", ["dataset", "sequence", "generator"])
@pytest.mark.parametrize("engine", ["auto", "keras"])
@pytest.mark.parametrize("where", ["training", "validation"])
def test_an_unknown_label_in_a_later_batch_is_named_and_not_retried(kind, engine, where, blobs):
    X, y = blobs
    labels, wrong = TEXT[y], TEXT[y]
    wrong[SIZE + 3] = "tip"
    make = KINDS.get(kind, generator)
    arguments = {"steps_per_epoch": 3} if kind == "generator" else {}
    if where == "validation":
        arguments |= {"validation_steps": 3} if kind == "generator" else {}
        arguments["X_val"] = make(X, wrong)
        wrong = labels
    estimator = classifier(max_retries=2, engine=engine)
    match = r"'tip'.*not in the classes \['low', 'mid', 'top'\]"
    with pytest.raises(InputValueError, match=match) as caught:
        estimator.fit(make(X, wrong), classes=TEXT, **arguments)
    assert len(caught.value.attempts) == 1
    estimator.fit(make(X, labels), classes=TEXT, steps_per_epoch=3)
