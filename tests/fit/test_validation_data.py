"""Validation data passed to ``fit``, and validation sets inside pipelines and searches."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    BaseCrossValidator,
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    StratifiedKFold,
    cross_validate,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from tests.models import make_classifier

INDICES = np.arange(60)
LABELS = np.array(["ash", "birch", "cedar"])


class Fails(BaseCrossValidator):
    """A splitter that raises if it is used."""

    def split(self, X, y=None, groups=None):
        raise AssertionError("the splitter was used")

    def get_n_splits(self, X=None, y=None, groups=None):
        return 1


def test_with_x_val_all_of_x_is_trained_on(blobs, other_blobs):
    estimator = make_classifier(epochs=2).fit(*blobs, X_val=other_blobs[0], y_val=other_blobs[1])
    assert estimator.validation_indices_ is None
    evaluated = estimator.model_.evaluate(*other_blobs, verbose=0)
    assert evaluated == pytest.approx(estimator.history_["val_loss"][-1], rel=1e-5)
    assert estimator.history_["loss"] == make_classifier(epochs=2).fit(*blobs).history_["loss"]


@pytest.mark.parametrize("form", ["X_val", "tuple", "list"])
def test_labels_of_supplied_validation_data_are_encoded(form, blobs, other_blobs):
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
def test_weights_of_supplied_validation_data_are_used(form, blobs, other_blobs):
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
def test_y_val_or_weights_without_x_val_are_rejected(given, blobs):
    with pytest.raises(ValueError, match=r"passed without X_val\. Pass X_val too"):
        make_classifier().fit(*blobs, **given)


def test_x_val_without_y_val_is_rejected(blobs):
    with pytest.raises(ValueError, match=r"X_val was passed without y_val\. Pass y_val too"):
        make_classifier().fit(*blobs, X_val=blobs[0])


def test_x_val_and_validation_data_together_are_rejected(blobs):
    X, y = blobs
    with pytest.raises(ValueError, match=r"X_val and validation_data were both passed"):
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
def test_x_val_that_differs_from_x_is_rejected(X_val, y_val, message, blobs):
    with pytest.raises(ValueError, match=message):
        make_classifier().fit(*blobs, X_val=X_val, y_val=y_val)


def test_early_stopping_with_x_val_sets_no_samples_aside(blobs, other_blobs):
    estimator = make_classifier(early_stopping=True, epochs=2)
    estimator.fit(*blobs, X_val=other_blobs[0], y_val=other_blobs[1])
    assert estimator.validation_indices_ is None
    plain = make_classifier(epochs=2).fit(*blobs)
    assert estimator.history_["loss"] == plain.history_["loss"]


def test_no_splitter_is_used_with_supplied_validation_data(blobs, other_blobs):
    estimator = make_classifier(validation_split=Fails())
    estimator.fit(*blobs, X_val=other_blobs[0], y_val=other_blobs[1])
    assert "val_loss" in estimator.history_
    with pytest.raises(AssertionError, match="the splitter was used"):
        estimator.fit(*blobs)


def test_a_pipeline_transforms_x_val(blobs, other_blobs):
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
    for train, inner in zip([*trained_on, INDICES], sides, strict=True):
        inside, outside = groups[train][inner], np.delete(groups[train], inner)
        assert len(inside) >= 9
        assert len(outside) >= 27
        assert not set(inside) & set(outside)
        assert set(inside) | set(outside) == set(groups[train])


def test_samples_sorted_by_label_have_every_class_on_both_sides_in_every_fold(blobs):
    X, y = blobs
    cv = StratifiedKFold(3)
    scores = cross_validate(
        make_classifier(early_stopping=True, epochs=2), X, y, cv=cv, return_estimator=True
    )
    for (train, _), estimator in zip(cv.split(X, y), scores["estimator"], strict=True):
        assert len(estimator.validation_indices_) == 4
        assert set(y[train][estimator.validation_indices_]) == {0, 1, 2}
        assert set(np.delete(y[train], estimator.validation_indices_)) == {0, 1, 2}
        assert len(estimator.history_["val_loss"]) == 2
