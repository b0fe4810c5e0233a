"""Which rows a fit validates with: always its own, and never one that it trains on."""

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    BaseCrossValidator,
    GridSearchCV,
    GroupKFold,
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
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skguard import GuardedKerasClassifier, GuardedKerasRegressor
from skguard import _engine as engine
from skguard._repairs import seeding
from skguard.exceptions import ValidationSetWarning
from tests.models import build_classifier, build_regressor

ROWS = np.arange(60)
EVERY_FIFTH = np.where(ROWS % 5 == 0, 0, -1)
LABELS = np.array(["ash", "birch", "cedar"])


def make_classifier(**parameters):
    """A classifier that trains for one epoch."""
    defaults = {
        "loss": "sparse_categorical_crossentropy",
        "optimizer": "adam",
        "verbose": 0,
        "random_state": 0,
    }
    return GuardedKerasClassifier(build_classifier, **defaults | parameters)


def make_regressor(**parameters):
    defaults = {"loss": "mse", "optimizer": "adam", "verbose": 0, "random_state": 0}
    return GuardedKerasRegressor(build_regressor, **defaults | parameters)


def held_out(X, y, fit=None, **parameters):
    """The rows that a classifier holds out."""
    return make_classifier(**parameters).fit(X, y, **fit or {}).validation_indices_


def plain_model(width=4):
    """What the regressor trains, built and compiled without it."""
    with seeding.seeded(0):
        model = build_regressor({"X_shape_": (60, width), "n_outputs_": 1})
    model.compile("adam", "mse")
    return model


def metrics_of(estimator):
    """Its history, as Keras would tell it."""
    return {k: v for k, v in estimator.history_.items() if k != "learning_rate"}


def counts(labels):
    return np.unique(labels, return_counts=True)[1].tolist()


class Fails(BaseCrossValidator):
    """A splitter that must not be asked."""

    def split(self, X, y=None, groups=None):
        raise AssertionError("asked for a split")

    def get_n_splits(self, X=None, y=None, groups=None):
        return 1


@pytest.fixture
def other_blobs():
    """21 rows like those of `blobs`, in any order, to validate with."""
    rng = np.random.default_rng(1)
    y = rng.permutation(np.repeat([0, 1, 2], 7))
    return rng.normal(size=(21, 4)) + 3 * np.eye(4)[y], y


# A float: the last rows


@pytest.mark.parametrize("share", [1 / 3, 0.55], ids="{:.2f}".format)
def test_a_float_gives_the_history_of_keras_own_validation_split(share, line):
    X, y = line
    estimator = make_regressor(validation_split=share, epochs=3, engine="keras").fit(X, y)
    plain = plain_model()
    with seeding.seeded(0):
        history = plain.fit(X, y, epochs=3, verbose=0, validation_split=share).history
    assert metrics_of(estimator) == history
    assert len(history["val_loss"]) == 3
    assert np.array_equal(
        estimator.validation_indices_, ROWS[-len(estimator.validation_indices_) :]
    )


@pytest.mark.parametrize("name", ["fused", "keras"])
def test_a_float_gives_the_history_of_the_engine_that_splits_itself(name, line):
    X, y = line
    estimator = make_regressor(validation_split=0.35, epochs=3, engine=name).fit(X, y)
    plain = plain_model()
    with seeding.seeded(0):
        run = engine.train(
            plain, X, y, engine=name, epochs=3, verbose=0, validation_split=0.35, batch_size=None
        )
    assert estimator.engine_ == run.engine == name
    assert metrics_of(estimator) == run.history


@pytest.mark.parametrize("share", [0.2, np.float64(0.2)], ids=["float", "numpy"])
def test_a_float_holds_out_the_last_rows(share, line):
    estimator = make_regressor(validation_split=share).fit(*line)
    assert np.array_equal(estimator.validation_indices_, ROWS[48:])


def test_a_float_for_one_fit_alone_counts_more_than_the_parameter(line):
    estimator = make_regressor(validation_split=0.2).fit(*line, validation_split=0.5)
    assert np.array_equal(estimator.validation_indices_, ROWS[30:])
    assert np.array_equal(estimator.fit(*line).validation_indices_, ROWS[48:])


@pytest.mark.parametrize("rule", [0.0, 0, None], ids=repr)
def test_nothing_is_held_out_unless_it_is_asked_for(rule, blobs):
    estimator = make_classifier(validation_split=rule).fit(*blobs)
    assert estimator.validation_indices_ is None
    assert not [name for name in estimator.history_ if name.startswith("val_")]


def test_a_float_that_leaves_a_class_out_of_the_hold_out_warns(blobs):
    with pytest.warns(ValidationSetWarning, match=r"classes 0, 1 is among the 12 rows held out"):
        held_out(*blobs, validation_split=0.2)


def test_a_float_that_leaves_a_class_out_of_the_training_rows_warns(blobs):
    with pytest.warns(ValidationSetWarning) as warned:
        held_out(*blobs, validation_split=0.5)
    first, second = (str(warning.message) for warning in warned)
    assert "class 2 is among the 30 rows to train on" in first
    assert "class 0 is among the 30 rows held out" in second
    assert "validation_fraction" in first


def test_a_float_that_has_all_classes_on_both_sides_does_not_warn(blobs):
    X, y = blobs
    order = np.random.default_rng(0).permutation(60)
    rows = held_out(X[order], y[order], validation_split=0.2)
    assert set(y[order][rows]) == {0, 1, 2}


# Splitters, ints and lists


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
def test_a_splitter_gives_its_first_split(splitter, blobs):
    X, y = blobs
    rows = held_out(X, y, validation_split=splitter)
    assert np.array_equal(rows, next(iter(splitter.split(X, y)))[1])


def test_a_time_series_split_gives_its_last_split(line):
    estimator = make_regressor(validation_split=TimeSeriesSplit(5, gap=2)).fit(*line)
    train, test = list(TimeSeriesSplit(5, gap=2).split(ROWS))[-1]
    assert np.array_equal(estimator.validation_indices_, test)
    assert test[-1] == 59
    assert train[-1] == test[0] - 3  # and the gap is trained on by nobody


def test_the_gap_of_a_time_series_split_is_not_trained_on(line):
    X, y = line
    splitter = TimeSeriesSplit(5, gap=2)
    estimator = make_regressor(validation_split=splitter, epochs=2, engine="keras").fit(X, y)
    train, test = list(splitter.split(ROWS))[-1]
    plain = plain_model()
    with seeding.seeded(0):
        expected = plain.fit(
            X[train], y[train], epochs=2, verbose=0, validation_data=(X[test], y[test])
        )
    assert metrics_of(estimator) == expected.history


@pytest.mark.parametrize("k", [2, 5, np.int64(5)], ids=repr)
def test_an_int_holds_out_one_stratified_fold_for_a_classifier(k, blobs):
    X, y = blobs
    rows = held_out(X, y, validation_split=k)
    assert counts(y[rows]) == [20 // k] * 3


def test_an_int_holds_out_one_fold_for_a_regressor(line):
    estimator = make_regressor(validation_split=5).fit(*line)
    assert np.array_equal(estimator.validation_indices_, ROWS[:12])


def test_a_list_of_splits_gives_its_first(blobs):
    splits = [(ROWS[::2], ROWS[1::2]), (ROWS[1::2], ROWS[::2])]
    assert np.array_equal(held_out(*blobs, validation_split=splits), ROWS[1::2])


def test_a_list_of_splits_may_hold_masks(blobs):
    mask = EVERY_FIFTH == 0
    rows = held_out(*blobs, validation_split=[(~mask, mask)])
    assert np.array_equal(rows, np.flatnonzero(mask))


def test_a_list_of_splits_serves_every_fit(blobs):
    estimator = make_classifier(validation_split=[(ROWS[::2], ROWS[1::2])])
    first = estimator.fit(*blobs).validation_indices_
    assert np.array_equal(estimator.fit(*blobs).validation_indices_, first)


def test_a_splitter_that_leaves_a_class_out_of_the_training_rows_warns(blobs):
    with pytest.warns(
        ValidationSetWarning, match=r"class 0 is among the 40 rows to train on. Stratify"
    ):
        held_out(*blobs, validation_split=[(ROWS[20:], ROWS[:20])])


@pytest.mark.parametrize(
    "splitter",
    [ShuffleSplit(1, test_size=0.2), StratifiedKFold(5, shuffle=True), GroupShuffleSplit(1)],
    ids=lambda splitter: type(splitter).__name__,
)
def test_a_splitter_without_a_random_state_follows_the_estimators(splitter, blobs):
    fit = {"groups": ROWS // 2} if isinstance(splitter, GroupShuffleSplit) else None
    rows = [
        sorted(held_out(*blobs, fit, validation_split=splitter, random_state=seed))
        for seed in (1, 1, 2)
    ]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_a_fit_leaves_numpys_stream_where_it_was(blobs):
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    held_out(*blobs, validation_split=ShuffleSplit(1, test_size=0.2))
    held_out(*blobs, validation_fraction=0.2)
    assert np.random.random() == expected


@pytest.mark.parametrize("random_state", [None, 3], ids=repr)
def test_a_fit_leaves_the_splitter_as_it_was(random_state, blobs):
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


def test_a_clone_holds_out_the_same_rows_with_a_splitter_of_its_own(blobs):
    estimator = make_classifier(validation_split=ShuffleSplit(2, test_size=0.2))
    twin = clone(estimator)
    assert twin.validation_split is not estimator.validation_split
    assert repr(twin.validation_split) == repr(estimator.validation_split)
    assert np.array_equal(
        twin.fit(*blobs).validation_indices_, estimator.fit(*blobs).validation_indices_
    )


# A fraction: drawn at random


def test_a_fraction_is_stratified_for_a_classifier(blobs):
    X, y = blobs
    assert counts(y[held_out(X, y, validation_fraction=0.2)]) == [4, 4, 4]


def test_a_fraction_is_drawn_at_random_for_a_regressor(line):
    rows = make_regressor(validation_fraction=0.25).fit(*line).validation_indices_
    assert len(set(rows)) == 15
    assert not np.array_equal(np.sort(rows), ROWS[45:])


def test_a_fraction_is_not_stratified_for_several_labels_at_once(rng):
    X, y = rng.normal(size=(60, 4)), rng.integers(2, size=(60, 3))

    def build(meta):
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "sigmoid")])

    estimator = make_classifier(validation_fraction=0.2).set_params(
        model=build, loss="binary_crossentropy"
    )
    assert len(estimator.fit(X, y).validation_indices_) == 12


def test_the_same_random_state_draws_the_same_rows(blobs):
    rows = [held_out(*blobs, validation_fraction=0.2, random_state=seed) for seed in (1, 1, 2)]
    assert np.array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])


@pytest.mark.parametrize("rule", [{"validation_fraction": 0.3}, {"validation_split": 3}], ids=str)
def test_the_rows_that_are_held_out_are_not_trained_on(rule, line):
    X, y = line
    estimator = make_regressor(**rule, epochs=2, shuffle=False, engine="keras").fit(X, y)
    test = estimator.validation_indices_
    train = np.setdiff1d(ROWS, test)
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
def test_a_class_too_rare_to_stratify_gives_a_plain_draw_with_a_warning(blobs, dtype):
    X, y = blobs
    y = np.where(ROWS == 59, 3, y).astype(str if dtype is object else dtype).astype(dtype)
    with pytest.warns(
        ValidationSetWarning, match="3'? has one row only.* without regard to the classes"
    ):
        rows = held_out(X, y, validation_fraction=0.2, random_state=1)
    assert len(rows) == 12


def test_a_hold_out_too_small_for_the_classes_is_drawn_plainly_with_a_warning(blobs):
    with pytest.warns(
        ValidationSetWarning, match=r"cannot have rows of each of the 3 classes on both sides"
    ):
        rows = held_out(*blobs, validation_fraction=0.03)
    assert len(rows) == 2


# What is refused


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (True, r"validation_split=True is no share of the rows"),
        (False, r"validation_split=False is no share of the rows"),
        (1.5, r"validation_split=1\.5 is no share of the rows"),
        (1.0, r"validation_split=1\.0 is no share of the rows"),
        (-0.1, r"validation_split=-0\.1 is no share of the rows"),
        (float("nan"), r"validation_split=nan is no share of the rows"),
        (1, r"validation_split=1 is an int, which means one fold of so many: give 2"),
        (-3, r"validation_split=-3 is an int"),
        ("stratified", r"validation_split='stratified' is neither"),
        (object, r"validation_split=.* is neither"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_rule_that_means_nothing_is_refused(rule, message, blobs):
    estimator = make_classifier(validation_split=rule)
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match=message):
        estimator.fit(*blobs)
    assert vars(estimator) == before


@pytest.mark.parametrize("fraction", [0, 0.0, 1.0, 1.5, -0.1, True, "0.1", 5], ids=repr)
def test_a_fraction_that_is_none_is_refused(fraction, blobs):
    with pytest.raises(ValueError, match=r"validation_fraction=.* is no share of the rows"):
        make_classifier(validation_fraction=fraction).fit(*blobs)


def test_an_iterator_is_refused_because_the_next_fit_would_find_it_empty(blobs):
    splits = iter([(ROWS[::2], ROWS[1::2])])
    with pytest.raises(ValueError, match=r"is an iterator, which is empty after one fit"):
        make_classifier(validation_split=splits).fit(*blobs)
    assert len(list(splits)) == 1


@pytest.mark.parametrize("rule", [0.2, 5, ShuffleSplit()], ids=repr)
def test_two_rules_at_once_are_refused(rule, blobs):
    with pytest.raises(ValueError, match=r"validation_fraction=0\.1 and validation_split=.* both"):
        make_classifier(validation_split=rule, validation_fraction=0.1).fit(*blobs)


@pytest.mark.parametrize(
    ("rule", "side"),
    [
        ({"validation_split": 0.999}, "train on"),
        ({"validation_split": 1e-20}, "hold out"),
        ({"validation_split": [(ROWS, ROWS[:0])]}, "hold out"),
        ({"validation_split": [(ROWS[:0], ROWS)]}, "train on"),
        ({"validation_fraction": 0.999}, "train on"),
    ],
    ids=["all", "none", "list_none", "list_all", "fraction_all"],
)
def test_a_side_without_rows_is_refused(rule, side, line):
    with pytest.raises(ValueError, match=rf"of 60 rows leaves none to {side}"):
        make_regressor(**rule).fit(*line)


@pytest.mark.parametrize(
    ("row", "message"),
    [(39, "gives rows both to train on and to hold out"), (-60, "names rows from -60 to 59")],
)
def test_rows_on_both_sides_are_refused(row, message, line):
    splits = [(ROWS[:40], np.array([row, 58, 59]))]
    with pytest.raises(ValueError, match=message):
        make_regressor(validation_split=splits).fit(*line)


def test_a_list_without_a_split_is_refused(blobs):
    with pytest.raises(ValueError, match=r"validation_split=\[\]"):
        held_out(*blobs, validation_split=[])


def test_a_split_with_rows_that_do_not_exist_is_refused(line):
    splits = [(ROWS[:40], np.array([41, 60]))]
    with pytest.raises(ValueError, match=r"validation_split"):
        make_regressor(validation_split=splits).fit(*line)


@pytest.mark.parametrize(
    "rule", [{"validation_split": 0.2}, {"validation_fraction": 0.2}, {"early_stopping": True}]
)
def test_groups_that_would_be_on_both_sides_are_refused(rule, blobs):
    with pytest.raises(ValueError, match=r"groups were given, and .* does not look at groups"):
        held_out(*blobs, {"groups": ROWS // 2}, **rule)


@pytest.mark.parametrize("rule", [5, ShuffleSplit(1, test_size=0.2)], ids=repr)
def test_groups_that_scikit_learn_would_ignore_are_refused(rule, blobs):
    with pytest.raises(ValueError, match=r"groups were given, and .* does not look at groups"):
        held_out(*blobs, {"groups": ROWS // 2}, validation_split=rule)


@pytest.mark.parametrize(
    "groups", [np.arange(59), np.arange(61), np.zeros((60, 1))], ids=["few", "many", "matrix"]
)
def test_groups_that_are_not_one_a_row_are_refused(groups, blobs):
    with pytest.raises(ValueError, match=r"groups has shape .* one group for each"):
        held_out(*blobs, {"groups": groups}, validation_split=GroupShuffleSplit(1))


# Weights


def test_weights_are_split_with_the_rows(line):
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


def test_validation_indices_counts_rows_of_x_and_none_that_weighs_nothing(line):
    X, y = line
    weights = np.where(ROWS % 3 == 0, 0.0, 1.0)
    estimator = make_regressor(validation_split=0.25, epochs=2).fit(X, y, sample_weight=weights)
    weighing = np.flatnonzero(weights)
    assert np.array_equal(estimator.validation_indices_, weighing[30:])
    evaluated = estimator.model_.evaluate(
        X[estimator.validation_indices_], y[estimator.validation_indices_], verbose=0
    )
    assert evaluated == pytest.approx(estimator.history_["val_loss"][-1], rel=1e-5)


def test_groups_follow_the_rows_that_weigh_something(blobs):
    weights, groups = np.where(ROWS % 3 == 0, 0.0, 1.0), ROWS // 4
    rows = held_out(
        *blobs,
        {"sample_weight": weights, "groups": groups},
        validation_split=GroupShuffleSplit(1, test_size=0.3, random_state=0),
    )
    weighing = np.flatnonzero(weights)
    assert set(rows) <= set(weighing)
    assert not set(groups[rows]) & set(groups[np.setdiff1d(weighing, rows)])


@pytest.mark.parametrize(
    "rule",
    [
        [(np.flatnonzero(EVERY_FIFTH), ROWS[::5])],
        [(EVERY_FIFTH != 0, EVERY_FIFTH == 0)],
        PredefinedSplit(EVERY_FIFTH),
    ],
    ids=["list", "masks", "PredefinedSplit"],
)
def test_a_rule_that_names_rows_names_rows_of_x_whatever_they_weigh(rule, blobs):
    weights = np.where(ROWS < 7, 0.0, 1.0)
    rows = held_out(*blobs, {"sample_weight": weights}, validation_split=rule)
    assert np.array_equal(rows, ROWS[10::5])


# Rows that the caller brings


def test_x_val_is_validated_with_and_all_of_x_trained_on(blobs, other_blobs):
    estimator = make_classifier(epochs=2).fit(*blobs, X_val=other_blobs[0], y_val=other_blobs[1])
    assert estimator.validation_indices_ is None
    evaluated = estimator.model_.evaluate(*other_blobs, verbose=0)
    assert evaluated == pytest.approx(estimator.history_["val_loss"][-1], rel=1e-5)
    assert estimator.history_["loss"] == make_classifier(epochs=2).fit(*blobs).history_["loss"]


@pytest.mark.parametrize("form", ["X_val", "tuple", "list"])
def test_labels_of_rows_that_the_caller_brings_are_encoded(form, blobs, other_blobs):
    X, y = blobs
    X_val, y_val = other_blobs
    given = {
        "X_val": {"X_val": X_val, "y_val": LABELS[y_val]},
        "tuple": {"validation_data": (X_val, LABELS[y_val])},
        "list": {"validation_data": [X_val, LABELS[y_val]]},
    }[form]
    estimator = make_classifier(epochs=2).fit(X, LABELS[y], **given)
    expected = log_loss(LABELS[y_val], estimator.predict_proba(X_val))
    assert estimator.history_["val_loss"][-1] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("form", ["X_val", "validation_data"])
def test_rows_that_the_caller_brings_count_by_their_weights(form, blobs, other_blobs):
    X, y = blobs
    X_val, y_val = other_blobs
    weights = np.random.default_rng(2).uniform(0.1, 5, 21)
    given = (
        {"X_val": X_val, "y_val": LABELS[y_val], "sample_weight_val": weights}
        if form == "X_val"
        else {"validation_data": (X_val, LABELS[y_val], weights)}
    )
    estimator = make_classifier(epochs=2).fit(X, LABELS[y], **given)
    losses = -np.log(estimator.predict_proba(X_val)[np.arange(21), y_val])
    assert estimator.history_["val_loss"][-1] == pytest.approx((weights * losses).mean(), rel=1e-4)
    assert estimator.history_["val_loss"][-1] != pytest.approx(losses.mean(), rel=1e-3)


def test_x_val_may_be_a_dataframe_with_the_columns_of_x(blobs, other_blobs):
    frame, frame_val = (
        pd.DataFrame(data[0], columns=list("abcd")) for data in (blobs, other_blobs)
    )
    estimator = make_classifier().fit(frame, blobs[1], X_val=frame_val, y_val=other_blobs[1])
    plain = make_classifier().fit(*blobs, X_val=other_blobs[0], y_val=other_blobs[1])
    assert estimator.history_ == plain.history_
    with pytest.raises(ValueError, match="feature names"):
        make_classifier().fit(frame, blobs[1], X_val=frame_val[list("badc")], y_val=other_blobs[1])


@pytest.mark.parametrize(
    "given",
    [{"y_val": np.zeros(3)}, {"sample_weight_val": np.ones(3)}],
    ids=["y_val", "sample_weight_val"],
)
def test_what_belongs_to_x_val_is_refused_without_it(given, blobs):
    with pytest.raises(ValueError, match=r"given without X_val\. Give X_val too"):
        make_classifier().fit(*blobs, **given)


def test_x_val_without_y_val_is_refused(blobs):
    with pytest.raises(ValueError, match=r"y_val"):
        make_classifier().fit(*blobs, X_val=blobs[0])


def test_x_val_and_validation_data_at_once_are_refused(blobs):
    X, y = blobs
    with pytest.raises(ValueError, match=r"X_val and validation_data are both given"):
        make_classifier().fit(X, y, X_val=X, y_val=y, validation_data=(X, y))


@pytest.mark.parametrize(
    ("X_val", "y_val", "message"),
    [
        (np.zeros((5, 3)), np.zeros(5), r"3 features, but .* expecting 4"),
        (np.zeros((5, 4)), np.zeros(4), r"inconsistent numbers of samples"),
        (np.full((5, 4), np.nan), np.zeros(5), r"NaN"),
        (np.zeros((5, 4)), np.full(5, 7), r"7"),
    ],
    ids=["width", "length", "nan", "label"],
)
def test_x_val_that_does_not_go_with_x_is_refused(X_val, y_val, message, blobs):
    with pytest.raises(ValueError, match=message):
        make_classifier().fit(*blobs, X_val=X_val, y_val=y_val)


def test_early_stopping_takes_x_val_and_holds_nothing_else_out(blobs, other_blobs):
    estimator = make_classifier(early_stopping=True, epochs=2)
    estimator.fit(*blobs, X_val=other_blobs[0], y_val=other_blobs[1])
    assert estimator.validation_indices_ is None
    plain = make_classifier(epochs=2).fit(*blobs)
    assert estimator.history_["loss"] == plain.history_["loss"]


def test_no_splitter_is_asked_where_the_caller_brings_rows(blobs, other_blobs):
    estimator = make_classifier(validation_split=Fails())
    estimator.fit(*blobs, X_val=other_blobs[0], y_val=other_blobs[1])
    assert "val_loss" in estimator.history_
    with pytest.raises(AssertionError, match="asked for a split"):
        estimator.fit(*blobs)


# Inside pipelines and searches


def test_the_network_of_a_pipeline_validates_with_scaled_rows(blobs, other_blobs):
    X, y = 50 + 20 * blobs[0], LABELS[blobs[1]]
    X_val, y_val = 50 + 20 * other_blobs[0], LABELS[other_blobs[1]]
    with config_context(enable_metadata_routing=True):
        net = make_classifier(epochs=2).set_fit_request(X_val=True, y_val=True)
        pipeline = Pipeline([("scale", StandardScaler()), ("net", net)], transform_input=["X_val"])
        pipeline.fit(X, y, X_val=X_val, y_val=y_val)
    scaled = pipeline["scale"].transform(X_val)
    model, history = pipeline["net"].model_, pipeline["net"].history_
    seen = model.evaluate(scaled, other_blobs[1], verbose=0)
    assert history["val_loss"][-1] == pytest.approx(seen, rel=1e-5)
    raw = model.evaluate(X_val, other_blobs[1], verbose=0)
    assert history["val_loss"][-1] != pytest.approx(raw, rel=0.1)


def test_no_group_is_on_both_sides_in_any_fit_of_a_search_over_a_pipeline(blobs):
    X, y = blobs
    groups = np.random.default_rng(4).permutation(np.repeat(np.arange(20), 3))
    sides = []

    def record(pipeline, X, y):
        sides.append(pipeline["net"].validation_indices_)
        return pipeline.score(X, y)

    with config_context(enable_metadata_routing=True):
        splitter = GroupShuffleSplit(1, test_size=0.25)
        net = make_classifier(validation_split=splitter).set_fit_request(groups=True)
        pipeline = Pipeline([("scale", StandardScaler()), ("net", net)])
        search = GridSearchCV(
            pipeline,
            {"net__units": [2, 3]},
            cv=GroupKFold(3),
            scoring=record,
            error_score="raise",
        ).fit(X, y, groups=groups)
    trained_on = [train for train, _ in GroupKFold(3).split(X, y, groups)] * 2
    sides.append(search.best_estimator_["net"].validation_indices_)
    for rows, inner in zip([*trained_on, ROWS], sides, strict=True):
        inside, outside = groups[rows][inner], np.delete(groups[rows], inner)
        assert len(inside) >= 9
        assert len(outside) >= 27
        assert not set(inside) & set(outside)
        assert set(inside) | set(outside) == set(groups[rows])


def test_rows_sorted_by_label_have_every_class_on_both_sides_in_every_fold(blobs):
    X, y = blobs
    cv = StratifiedKFold(3)
    scores = cross_validate(
        make_classifier(early_stopping=True, epochs=2), X, y, cv=cv, return_estimator=True
    )
    for (rows, _), estimator in zip(cv.split(X, y), scores["estimator"], strict=True):
        assert len(estimator.validation_indices_) == 4
        assert set(y[rows][estimator.validation_indices_]) == {0, 1, 2}
        assert set(np.delete(y[rows], estimator.validation_indices_)) == {0, 1, 2}
        assert len(estimator.history_["val_loss"]) == 2


def test_a_failed_fit_leaves_the_hold_out_of_the_last(blobs):
    X, y = blobs
    estimator = make_classifier(validation_fraction=0.2).fit(X, y)
    before = estimator.validation_indices_
    with pytest.raises(ValueError, match="NaN"):
        estimator.fit(X * np.nan, y)
    assert estimator.validation_indices_ is before


def test_classes_weigh_in_training_and_not_among_the_rows_held_out(blobs):
    X, y = blobs
    settings = {"validation_fraction": 0.2, "epochs": 1, "optimizer__learning_rate": 0.0}
    plain = make_classifier(**settings).fit(X, y)
    weighted = make_classifier(**settings, class_weight={0: 9.0, 1: 1.0, 2: 0.0}).fit(X, y)
    assert weighted.history_["val_loss"] == plain.history_["val_loss"]
    assert weighted.history_["loss"] != plain.history_["loss"]


def test_a_splitter_that_needs_groups_says_how_they_come(blobs):
    with pytest.raises(ValueError, match=r"needs groups.*enable_metadata_routing"):
        held_out(*blobs, validation_split=GroupShuffleSplit(1))


def test_a_splitter_class_is_refused(blobs):
    with pytest.raises(ValueError, match=r"validation_split=ShuffleSplit is a class"):
        held_out(*blobs, validation_split=ShuffleSplit)


def test_rows_held_out_of_one_call_to_partial_fit_are_held_out_of_the_next(line):
    estimator = make_regressor(validation_fraction=0.2, random_state=None)
    rows = [estimator.partial_fit(*line).validation_indices_.tolist() for _ in range(3)]
    assert rows[0] == rows[1] == rows[2]
    assert estimator.fit(*line).validation_indices_.tolist() != rows[0]


def test_a_splitter_of_many_splits_makes_one(blobs):
    class Counting(LeaveOneOut):
        made = 0

        def split(self, X, y=None, groups=None):
            for split in super().split(X, y, groups):
                type(self).made += 1
                yield split

    held_out(*blobs, validation_split=Counting())
    assert Counting.made == 1
