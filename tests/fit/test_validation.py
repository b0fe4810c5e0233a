"""A validation set is set aside from the training data of a fit, and never trained on."""

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import (
    GridSearchCV,
    GroupShuffleSplit,
    KFold,
    LeaveOneOut,
    PredefinedSplit,
    ShuffleSplit,
    StratifiedKFold,
    StratifiedShuffleSplit,
    TimeSeriesSplit,
    cross_validate,
)

from skguard import _engine as engine
from skguard._fit import validation
from skguard._repairs import seeding
from skguard.exceptions import InputValueError, ValidationSetWarning
from tests.models import build_regressor, make_classifier, make_regressor

INDICES = np.arange(60)
EVERY_FIFTH = np.where(INDICES % 5 == 0, 0, -1)


def validation_indices(X, y, fit=None, **parameters):
    """Fit a classifier and return the indices of its validation set."""
    return make_classifier(**parameters).fit(X, y, **fit or {}).validation_indices_


def plain_model(width=4):
    """Build and compile the model of `make_regressor` without it."""
    with seeding.seeded(0):
        model = build_regressor({"X_shape_": (60, width), "n_outputs_": 1})
    model.compile("adam", "mse")
    return model


def metrics_of(estimator):
    """Return the history without the learning rate, which Keras does not log."""
    return {k: v for k, v in estimator.history_.items() if k != "learning_rate"}


def counts(labels):
    return np.unique(labels, return_counts=True)[1].tolist()


@pytest.mark.parametrize("fraction", [1 / 3, 0.55], ids="{:.2f}".format)
def test_a_float_gives_the_history_of_validation_split_of_keras(fraction, line):
    X, y = line
    estimator = make_regressor(validation_split=fraction, epochs=3, engine="keras").fit(X, y)
    plain = plain_model()
    with seeding.seeded(0):
        history = plain.fit(X, y, epochs=3, verbose=0, validation_split=fraction).history
    assert metrics_of(estimator) == history
    assert len(history["val_loss"]) == 3
    assert np.array_equal(
        estimator.validation_indices_, INDICES[-len(estimator.validation_indices_) :]
    )


@pytest.mark.parametrize("name", ["fused", "keras"])
def test_a_float_gives_the_history_of_validation_split_of_the_engine(name, line):
    X, y = line
    estimator = make_regressor(validation_split=0.35, epochs=3, engine=name).fit(X, y)
    plain = plain_model()
    with seeding.seeded(0):
        run = engine.train(
            plain, X, y, engine=name, epochs=3, verbose=0, validation_split=0.35, batch_size=None
        )
    assert estimator.engine_ == run.engine == name
    assert metrics_of(estimator) == run.history


@pytest.mark.parametrize("fraction", [0.2, np.float64(0.2)], ids=["float", "numpy"])
def test_a_float_sets_the_last_samples_aside(fraction, line):
    estimator = make_regressor(validation_split=fraction).fit(*line)
    assert np.array_equal(estimator.validation_indices_, INDICES[48:])


def test_a_float_passed_to_fit_takes_precedence_over_the_parameter(line):
    estimator = make_regressor(validation_split=0.2).fit(*line, validation_split=0.5)
    assert np.array_equal(estimator.validation_indices_, INDICES[30:])
    assert np.array_equal(estimator.fit(*line).validation_indices_, INDICES[48:])


@pytest.mark.parametrize("rule", [0.0, 0, None], ids=repr)
def test_no_samples_are_set_aside_unless_requested(rule, blobs):
    estimator = make_classifier(validation_split=rule).fit(*blobs)
    assert estimator.validation_indices_ is None
    assert not [name for name in estimator.history_ if name.startswith("val_")]


def test_a_float_that_leaves_a_class_out_of_the_validation_set_warns(blobs):
    with pytest.warns(
        ValidationSetWarning, match=r"classes 0, 1 is among the 12 samples of the validation set"
    ):
        validation_indices(*blobs, validation_split=0.2)


def test_a_float_that_leaves_a_class_out_of_the_training_set_warns(blobs):
    with pytest.warns(ValidationSetWarning) as warned:
        validation_indices(*blobs, validation_split=0.5)
    first, second = (str(warning.message) for warning in warned)
    assert "class 2 is among the 30 samples of the training set" in first
    assert "class 0 is among the 30 samples of the validation set" in second
    assert "validation_fraction" in first


def test_a_float_with_all_classes_in_both_sets_does_not_warn(blobs):
    X, y = blobs
    order = np.random.default_rng(0).permutation(60)
    indices = validation_indices(X[order], y[order], validation_split=0.2)
    assert set(y[order][indices]) == {0, 1, 2}


@pytest.mark.parametrize(
    "splitter",
    [
        KFold(4, shuffle=True, random_state=3),
        StratifiedKFold(4),
        ShuffleSplit(3, test_size=0.3, random_state=3),
        StratifiedShuffleSplit(2, test_size=0.3, random_state=3),
        PredefinedSplit(EVERY_FIFTH),
    ],
    ids=lambda splitter: type(splitter).__name__,
)
def test_a_splitter_determines_the_validation_set_by_its_first_split(splitter, blobs):
    X, y = blobs
    indices = validation_indices(X, y, validation_split=splitter)
    assert np.array_equal(indices, next(iter(splitter.split(X, y)))[1])


def test_a_time_series_split_determines_the_validation_set_by_its_last_split(line):
    estimator = make_regressor(validation_split=TimeSeriesSplit(5, gap=2)).fit(*line)
    train, test = list(TimeSeriesSplit(5, gap=2).split(INDICES))[-1]
    assert np.array_equal(estimator.validation_indices_, test)
    assert test[-1] == 59
    assert train[-1] == test[0] - 3  # the gap is in neither set


def test_the_gap_of_a_time_series_split_is_not_trained_on(line):
    X, y = line
    splitter = TimeSeriesSplit(5, gap=2)
    estimator = make_regressor(validation_split=splitter, epochs=2, engine="keras").fit(X, y)
    train, test = list(splitter.split(INDICES))[-1]
    plain = plain_model()
    with seeding.seeded(0):
        expected = plain.fit(
            X[train], y[train], epochs=2, verbose=0, validation_data=(X[test], y[test])
        )
    assert metrics_of(estimator) == expected.history


@pytest.mark.parametrize("k", [2, 5, np.int64(5)], ids=repr)
def test_an_int_sets_one_stratified_fold_aside_for_a_classifier(k, blobs):
    X, y = blobs
    indices = validation_indices(X, y, validation_split=k)
    assert counts(y[indices]) == [20 // k] * 3


def test_an_int_sets_one_fold_aside_for_a_regressor(line):
    estimator = make_regressor(validation_split=5).fit(*line)
    assert np.array_equal(estimator.validation_indices_, INDICES[:12])


def test_the_first_of_a_list_of_splits_is_used(blobs):
    splits = [(INDICES[::2], INDICES[1::2]), (INDICES[1::2], INDICES[::2])]
    assert np.array_equal(validation_indices(*blobs, validation_split=splits), INDICES[1::2])


def test_a_list_of_splits_may_have_masks(blobs):
    mask = EVERY_FIFTH == 0
    indices = validation_indices(*blobs, validation_split=[(~mask, mask)])
    assert np.array_equal(indices, np.flatnonzero(mask))


def test_a_list_of_splits_is_used_by_every_fit(blobs):
    estimator = make_classifier(validation_split=[(INDICES[::2], INDICES[1::2])])
    first = estimator.fit(*blobs).validation_indices_
    assert np.array_equal(estimator.fit(*blobs).validation_indices_, first)


def test_a_splitter_that_leaves_a_class_out_of_the_training_set_warns(blobs):
    with pytest.warns(
        ValidationSetWarning, match=r"class 0 is among the 40 samples of the training set. Stratify"
    ):
        validation_indices(*blobs, validation_split=[(INDICES[20:], INDICES[:20])])


@pytest.mark.parametrize(
    "splitter",
    [ShuffleSplit(1, test_size=0.2), StratifiedKFold(5, shuffle=True), GroupShuffleSplit(1)],
    ids=lambda splitter: type(splitter).__name__,
)
def test_a_splitter_without_a_random_state_is_seeded_by_the_estimator(splitter, blobs):
    fit = {"groups": INDICES // 2} if isinstance(splitter, GroupShuffleSplit) else None
    indices = [
        sorted(validation_indices(*blobs, fit, validation_split=splitter, random_state=seed))
        for seed in (1, 1, 2)
    ]
    assert indices[0] == indices[1]
    assert indices[0] != indices[2]


def test_a_fit_does_not_advance_the_random_stream_of_numpy(blobs):
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    validation_indices(*blobs, validation_split=ShuffleSplit(1, test_size=0.2))
    validation_indices(*blobs, validation_fraction=0.2)
    assert np.random.random() == expected


@pytest.mark.parametrize("random_state", [None, 3], ids=repr)
def test_a_fit_does_not_change_the_splitter(random_state, blobs):
    splitter = ShuffleSplit(2, test_size=0.2, random_state=random_state)
    before = dict(vars(splitter))
    estimator = make_classifier(validation_split=splitter).fit(*blobs)
    assert estimator.validation_split is splitter
    assert vars(splitter) == before


def test_a_fit_does_not_advance_the_random_state_in_a_splitter(blobs):
    stream = np.random.RandomState(0)
    estimator = make_classifier(
        validation_split=ShuffleSplit(1, test_size=0.2, random_state=stream)
    )
    first = estimator.fit(*blobs).validation_indices_
    assert np.array_equal(estimator.fit(*blobs).validation_indices_, first)
    assert stream.randint(1000) == np.random.RandomState(0).randint(1000)


def test_a_clone_has_the_same_validation_set_with_another_splitter(blobs):
    estimator = make_classifier(validation_split=ShuffleSplit(2, test_size=0.2))
    twin = clone(estimator)
    assert twin.validation_split is not estimator.validation_split
    assert repr(twin.validation_split) == repr(estimator.validation_split)
    assert np.array_equal(
        twin.fit(*blobs).validation_indices_, estimator.fit(*blobs).validation_indices_
    )


def test_a_fraction_is_stratified_for_a_classifier(blobs):
    X, y = blobs
    assert counts(y[validation_indices(X, y, validation_fraction=0.2)]) == [4, 4, 4]


def test_a_fraction_is_drawn_at_random_for_a_regressor(line):
    indices = make_regressor(validation_fraction=0.25).fit(*line).validation_indices_
    assert len(set(indices)) == 15
    assert not np.array_equal(np.sort(indices), INDICES[45:])


def test_a_fraction_is_not_stratified_for_several_labels_at_once(rng):
    X, y = rng.normal(size=(60, 4)), rng.integers(2, size=(60, 3))

    def build(meta):
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "sigmoid")])

    estimator = make_classifier(validation_fraction=0.2).set_params(
        model=build, loss="binary_crossentropy"
    )
    assert len(estimator.fit(X, y).validation_indices_) == 12


def test_the_same_random_state_draws_the_same_validation_set(blobs):
    indices = [
        validation_indices(*blobs, validation_fraction=0.2, random_state=seed) for seed in (1, 1, 2)
    ]
    assert np.array_equal(indices[0], indices[1])
    assert not np.array_equal(indices[0], indices[2])


@pytest.mark.parametrize("rule", [{"validation_fraction": 0.3}, {"validation_split": 3}], ids=str)
def test_the_validation_set_is_not_trained_on(rule, line):
    X, y = line
    estimator = make_regressor(**rule, epochs=2, shuffle=False, engine="keras").fit(X, y)
    test = estimator.validation_indices_
    train = np.setdiff1d(INDICES, test)
    assert len(train) + len(test) == 60
    moved = X.copy()
    moved[test] += 100
    other = clone(estimator).fit(moved, y)
    assert np.array_equal(other.validation_indices_, test)
    assert other.history_["loss"] == estimator.history_["loss"]
    assert other.history_["val_loss"] != estimator.history_["val_loss"]
    evaluated = estimator.model_.evaluate(X[test], y[test], verbose=0)
    assert evaluated == pytest.approx(estimator.history_["val_loss"][-1], rel=1e-5)


@pytest.mark.parametrize("dtype", [int, str, object])
def test_a_class_too_rare_to_stratify_warns_and_is_not_stratified(blobs, dtype):
    X, y = blobs
    y = np.where(INDICES == 59, 3, y).astype(str if dtype is object else dtype).astype(dtype)
    with pytest.warns(
        ValidationSetWarning, match="3'? has one sample only.* drawn without stratification"
    ):
        indices = validation_indices(X, y, validation_fraction=0.2, random_state=1)
    assert len(indices) == 12


def test_a_validation_set_too_small_for_the_classes_warns_and_is_not_stratified(blobs):
    with pytest.warns(
        ValidationSetWarning, match=r"cannot have samples of each of the 3 classes on both sides"
    ):
        indices = validation_indices(*blobs, validation_fraction=0.03)
    assert len(indices) == 2


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (True, r"validation_split=True must be a fraction of the samples"),
        (False, r"validation_split=False must be a fraction of the samples"),
        (1.5, r"validation_split=1\.5 must be a fraction of the samples in \[0\.0, 1\.0\)"),
        (1.0, r"validation_split=1\.0 must be a fraction of the samples in \[0\.0, 1\.0\)"),
        (-0.1, r"validation_split=-0\.1 must be a fraction of the samples in \[0\.0, 1\.0\)"),
        (float("nan"), r"validation_split=nan must be a fraction of the samples in \[0\.0, 1\.0\)"),
        (1, r"validation_split=1 is an int, the number of folds, and must be 2 or more"),
        (-3, r"validation_split=-3 is an int"),
        (
            "stratified",
            r"validation_split='stratified' must be a fraction of the samples, a number of folds",
        ),
        (object, r"validation_split=object is a class\. Pass an object"),
        (object(), r"validation_split=<object .* must be a fraction of the samples, a number of"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_validation_split_that_cannot_be_used_is_rejected(rule, message, blobs):
    estimator = make_classifier(validation_split=rule)
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match=message):
        estimator.fit(*blobs)
    assert vars(estimator) == before


@pytest.mark.parametrize("fraction", [0, 0.0, 1.0, 1.5, -0.1, True, "0.1", 5], ids=repr)
def test_a_validation_fraction_out_of_range_is_rejected(fraction, blobs):
    with pytest.raises(
        ValueError,
        match=r"validation_fraction=.* must be a fraction of the samples in \(0\.0, 1\.0\)",
    ):
        make_classifier(validation_fraction=fraction).fit(*blobs)


def test_an_iterator_is_rejected_because_one_fit_exhausts_it(blobs):
    splits = iter([(INDICES[::2], INDICES[1::2])])
    with pytest.raises(ValueError, match=r"is an iterator, which is exhausted after one fit"):
        make_classifier(validation_split=splits).fit(*blobs)
    assert len(list(splits)) == 1


@pytest.mark.parametrize("rule", [0.2, 5, ShuffleSplit()], ids=repr)
def test_validation_split_and_validation_fraction_together_raise(rule, blobs):
    with pytest.raises(
        ValueError,
        match=r"validation_fraction=0\.1 and validation_split=.* both request a validation set",
    ):
        make_classifier(validation_split=rule, validation_fraction=0.1).fit(*blobs)


@pytest.mark.parametrize(
    ("rule", "side"),
    [
        ({"validation_split": 0.999}, "train on"),
        ({"validation_split": 1e-20}, "validate with"),
        ({"validation_split": [(INDICES, INDICES[:0])]}, "validate with"),
        ({"validation_split": [(INDICES[:0], INDICES)]}, "train on"),
        ({"validation_fraction": 0.999}, "train on"),
    ],
    ids=["all", "none", "list_none", "list_all", "fraction_all"],
)
def test_a_split_without_samples_on_one_side_is_rejected(rule, side, line):
    with pytest.raises(ValueError, match=rf"of 60 samples leaves none to {side}"):
        make_regressor(**rule).fit(*line)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (39, "has samples in both training and validation set"),
        (-60, r"has indices from -60 to 59, which must be in \[0, 60\)"),
    ],
)
def test_samples_on_both_sides_are_rejected(index, message, line):
    splits = [(INDICES[:40], np.array([index, 58, 59]))]
    with pytest.raises(ValueError, match=message):
        make_regressor(validation_split=splits).fit(*line)


def test_a_list_without_a_split_is_rejected(blobs):
    with pytest.raises(ValueError, match=r"validation_split=\[\] has no split"):
        validation_indices(*blobs, validation_split=[])


def test_a_split_with_indices_out_of_range_is_rejected(line):
    splits = [(INDICES[:40], np.array([41, 60]))]
    with pytest.raises(ValueError, match=r"validation_split=.* has indices from 41 to 60"):
        make_regressor(validation_split=splits).fit(*line)


@pytest.mark.parametrize(
    "rule", [{"validation_split": 0.2}, {"validation_fraction": 0.2}, {"early_stopping": True}]
)
def test_groups_with_a_fraction_are_rejected(rule, blobs):
    with pytest.raises(ValueError, match=r"groups were passed, and .* does not use groups"):
        validation_indices(*blobs, {"groups": INDICES // 2}, **rule)


@pytest.mark.parametrize("rule", [5, ShuffleSplit(1, test_size=0.2)], ids=repr)
def test_groups_with_a_splitter_that_ignores_them_are_rejected(rule, blobs):
    with pytest.raises(ValueError, match=r"groups were passed, and .* does not use groups"):
        validation_indices(*blobs, {"groups": INDICES // 2}, validation_split=rule)


@pytest.mark.parametrize(
    "groups", [np.arange(59), np.arange(61), np.zeros((60, 1))], ids=["few", "many", "matrix"]
)
def test_groups_of_another_shape_than_one_per_sample_are_rejected(groups, blobs):
    with pytest.raises(
        ValueError, match=r"groups has shape .*, expected \(60,\): one group per sample"
    ):
        validation_indices(*blobs, {"groups": groups}, validation_split=GroupShuffleSplit(1))


def test_weights_are_split_with_the_samples(line):
    X, y = line
    weights = np.random.default_rng(2).uniform(0.1, 5, 60)
    estimator = make_regressor(validation_split=0.25, epochs=2, engine="keras")
    estimator.fit(X, y, sample_weight=weights)
    plain = plain_model()
    with seeding.seeded(0):
        expected = plain.fit(
            X[:45],
            y[:45],
            sample_weight=weights[:45].astype("float32"),
            epochs=2,
            verbose=0,
            validation_data=(X[45:], y[45:], weights[45:].astype("float32")),
        ).history
    assert metrics_of(estimator) == expected
    assert metrics_of(clone(estimator).fit(X, y)) != expected


def test_validation_indices_are_indices_of_x_without_samples_of_weight_0(line):
    X, y = line
    weights = np.where(INDICES % 3 == 0, 0.0, 1.0)
    estimator = make_regressor(validation_split=0.25, epochs=2).fit(X, y, sample_weight=weights)
    weighted = np.flatnonzero(weights)
    assert np.array_equal(estimator.validation_indices_, weighted[30:])
    evaluated = estimator.model_.evaluate(
        X[estimator.validation_indices_], y[estimator.validation_indices_], verbose=0
    )
    assert evaluated == pytest.approx(estimator.history_["val_loss"][-1], rel=1e-5)


def test_groups_are_split_with_the_samples_of_nonzero_weight(blobs):
    weights, groups = np.where(INDICES % 3 == 0, 0.0, 1.0), INDICES // 4
    indices = validation_indices(
        *blobs,
        {"sample_weight": weights, "groups": groups},
        validation_split=GroupShuffleSplit(1, test_size=0.3, random_state=0),
    )
    weighted = np.flatnonzero(weights)
    assert set(indices) <= set(weighted)
    assert not set(groups[indices]) & set(groups[np.setdiff1d(weighted, indices)])


@pytest.mark.parametrize(
    "rule",
    [
        [(np.flatnonzero(EVERY_FIFTH), INDICES[::5])],
        [(EVERY_FIFTH != 0, EVERY_FIFTH == 0)],
        PredefinedSplit(EVERY_FIFTH),
    ],
    ids=["list", "masks", "PredefinedSplit"],
)
def test_indices_of_a_splitter_are_indices_of_x_whatever_the_weights(rule, blobs):
    weights = np.where(INDICES < 7, 0.0, 1.0)
    indices = validation_indices(*blobs, {"sample_weight": weights}, validation_split=rule)
    assert np.array_equal(indices, INDICES[10::5])


def test_a_failed_fit_keeps_the_validation_indices_of_the_last(blobs):
    X, y = blobs
    estimator = make_classifier(validation_fraction=0.2).fit(X, y)
    before = estimator.validation_indices_
    with pytest.raises(ValueError, match="NaN"):
        estimator.fit(X * np.nan, y)
    assert estimator.validation_indices_ is before


def test_class_weights_apply_to_the_training_set_only(blobs):
    X, y = blobs
    settings = {"validation_fraction": 0.2, "epochs": 1, "optimizer__learning_rate": 0.0}
    plain = make_classifier(**settings).fit(X, y)
    weighted = make_classifier(**settings, class_weight={0: 9.0, 1: 1.0, 2: 0.0}).fit(X, y)
    assert weighted.history_["val_loss"] == plain.history_["val_loss"]
    assert weighted.history_["loss"] != plain.history_["loss"]


def test_a_splitter_that_needs_groups_raises_with_the_ways_to_pass_them(blobs):
    with pytest.raises(ValueError, match=r"needs groups.*enable_metadata_routing"):
        validation_indices(*blobs, validation_split=GroupShuffleSplit(1))


def test_a_splitter_class_is_rejected(blobs):
    with pytest.raises(ValueError, match=r"validation_split=ShuffleSplit is a class"):
        validation_indices(*blobs, validation_split=ShuffleSplit)


def test_all_calls_to_partial_fit_have_one_validation_set(line):
    estimator = make_regressor(validation_fraction=0.2, random_state=None)
    indices = [estimator.partial_fit(*line).validation_indices_.tolist() for _ in range(3)]
    assert indices[0] == indices[1] == indices[2]
    assert estimator.fit(*line).validation_indices_.tolist() != indices[0]


def test_only_one_split_of_a_splitter_is_computed(blobs):
    class Counting(LeaveOneOut):
        made = 0

        def split(self, X, y=None, groups=None):
            for split in super().split(X, y, groups):
                type(self).made += 1
                yield split

    validation_indices(*blobs, validation_split=Counting())
    assert Counting.made == 1


class EveryThird:
    """A user-defined rule, with nothing but scikit-learn's interface of a splitter."""

    def __init__(self, first=0):
        self.first = first

    def split(self, X, y=None, groups=None):
        indices = np.arange(X.shape[0])
        validation = indices[self.first :: 3]
        yield np.setdiff1d(indices, validation), validation


class WholeGroup:
    """A user-defined rule that sets the samples of one group aside."""

    def split(self, X, y, groups):
        yield np.flatnonzero(groups != "c"), np.flatnonzero(groups == "c")


def test_an_object_with_the_interface_of_a_splitter_determines_the_validation_set(line):
    rule = EveryThird(first=1)
    estimator = make_regressor(validation_split=rule, epochs=2).fit(*line)
    assert np.array_equal(estimator.validation_indices_, INDICES[1::3])
    twin = clone(estimator)
    assert twin.validation_split is not rule
    assert twin.fit(*line).history_ == estimator.history_


def test_an_object_with_the_interface_of_a_splitter_is_searched(line):
    parameters = {"validation_split": [EveryThird(0), EveryThird(2)]}
    search = GridSearchCV(make_regressor(), parameters, cv=2, error_score="raise").fit(*line)
    first = search.best_params_["validation_split"].first
    assert np.array_equal(search.best_estimator_.validation_indices_, INDICES[first::3])


def test_an_object_with_the_interface_of_a_splitter_gets_groups(line):
    groups = np.resize(np.array(["a", "b", "c"]), 60)
    estimator = make_regressor(validation_split=WholeGroup()).fit(*line, groups=groups)
    assert np.array_equal(estimator.validation_indices_, INDICES[2::3])


RULES = {
    "LastSamples": (validation.LastSamples(0.25), 15),
    "RandomFraction": (validation.RandomFraction(0.25, stratify=False), 15),
    "RandomFraction-stratified": (validation.RandomFraction(0.25, stratify=True), 15),
    "OneSplit-int": (validation.OneSplit(4, is_classifier=True), 15),
    "OneSplit-splitter": (validation.OneSplit(TimeSeriesSplit(5), is_classifier=False), 10),
    "OneSplit-list": (
        validation.OneSplit([(INDICES[:50], INDICES[50:])], is_classifier=True),
        10,
    ),
}


@pytest.mark.parametrize(("rule", "n_validation"), RULES.values(), ids=RULES)
def test_a_built_in_rule_is_a_splitter_of_one_split(rule, n_validation, blobs):
    with seeding.seeded(0):
        ((train, test),) = rule.split(*blobs)
    assert len(test) == n_validation
    assert np.array_equal(np.sort(np.concatenate([train, test])), INDICES)


@pytest.mark.parametrize(("rule", "n_validation"), RULES.values(), ids=RULES)
@pytest.mark.filterwarnings("ignore:No sample of class")
def test_a_built_in_rule_is_accepted_as_validation_split(rule, n_validation, blobs):
    estimator = make_classifier(validation_split=rule).fit(*blobs)
    assert len(estimator.validation_indices_) == n_validation


@pytest.mark.parametrize(("rule", "n_validation"), RULES.values(), ids=RULES)
def test_a_built_in_rule_is_accepted_as_cv_of_scikit_learn(rule, n_validation, blobs):
    with seeding.seeded(0):
        result = cross_validate(
            DummyClassifier(), *blobs, cv=rule, return_indices=True, error_score="raise"
        )
    assert len(result["test_score"]) == 1
    assert len(result["indices"]["test"][0]) == n_validation


def test_the_test_samples_of_last_samples_are_the_validation_set_of_the_float(line):
    ((_, test),) = validation.LastSamples(0.3).split(*line)
    estimator = make_regressor(validation_split=0.3).fit(*line)
    assert np.array_equal(test, estimator.validation_indices_)


def test_a_rule_that_is_passed_keeps_its_attributes(blobs):
    rule = validation.LastSamples(0.2)
    assert validation.choose_rule(rule, None, is_classifier=True) is rule
    with pytest.raises(InputValueError, match="does not use groups"):
        make_classifier(validation_split=rule).fit(*blobs, groups=np.arange(60))
    with pytest.warns(ValidationSetWarning, match="takes the last samples"):
        make_classifier(validation_split=rule).fit(*blobs)
