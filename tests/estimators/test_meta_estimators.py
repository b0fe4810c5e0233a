"""scikit-learn's meta-estimators and inspection tools, one small use of each."""

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFE, SelectFromModel, SequentialFeatureSelector
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import RocCurveDisplay
from sklearn.model_selection import (
    FixedThresholdClassifier,
    HalvingRandomSearchCV,
    TunedThresholdClassifierCV,
    learning_curve,
    validation_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier


@pytest.fixture
def two_blobs(blobs):
    """Two of the classes, as text."""
    X, y = blobs
    return X[:40], np.array(["no", "yes"])[y[:40]]


@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_a_voting_classifier_learns_with_a_network_among_its_members(voting, classifier, blobs):
    X, y = blobs
    members = [("net", classifier), ("linear", LogisticRegression())]
    assert VotingClassifier(members, voting=voting).fit(X, y).score(X, y) > 0.9


def test_a_voting_regressor_learns_with_a_network_among_its_members(regressor, line):
    members = [("net", regressor), ("linear", LinearRegression())]
    assert VotingRegressor(members).fit(*line).score(*line) > 0.8


def test_a_stacking_classifier_uses_the_probabilities_of_a_network(classifier, blobs):
    members = [("net", classifier), ("linear", LogisticRegression())]
    stack = StackingClassifier(members, cv=2).fit(*blobs)
    assert stack.stack_method_ == ["predict_proba", "predict_proba"]
    assert stack.score(*blobs) > 0.9


def test_a_stacking_regressor_learns_from_a_network(regressor, line):
    stack = StackingRegressor([("net", regressor)], LinearRegression(), cv=2).fit(*line)
    assert stack.score(*line) > 0.5


def test_a_bagging_classifier_gives_each_network_a_seed(classifier, blobs):
    bag = BaggingClassifier(classifier, n_estimators=2, random_state=0).fit(*blobs)
    assert bag.score(*blobs) > 0.9
    first, second = bag.estimators_
    assert first.random_state != second.random_state


def test_a_bagging_regressor_trains_networks_on_subsets_of_the_features(regressor, line):
    bag = BaggingRegressor(regressor, n_estimators=2, max_features=0.75, random_state=0)
    assert bag.fit(*line).predict(line[0]).shape == (60,)
    assert [member.n_features_in_ for member in bag.estimators_] == [3, 3]


def test_an_adaboost_classifier_boosts_networks(classifier, blobs):
    X, y = blobs
    mislabelled = np.where(np.arange(60) % 6 == 0, (y + 1) % 3, y)  # or one member would be enough
    boosted = AdaBoostClassifier(classifier, n_estimators=2, random_state=0).fit(X, mislabelled)
    assert len(boosted.estimators_) == 2
    assert boosted.predict_proba(X[:1]).shape == (1, 3)
    assert boosted.score(X, mislabelled) > 0.6


def test_an_adaboost_regressor_boosts_networks(regressor, line):
    boosted = AdaBoostRegressor(regressor, n_estimators=2, random_state=0).fit(*line)
    assert boosted.score(*line) > 0.5


@pytest.mark.parametrize("ensemble", [True, False], ids=["ensemble", "single"])
def test_a_calibrated_classifier_has_probabilities_of_two_classes(ensemble, classifier, two_blobs):
    X, y = two_blobs
    calibrated = CalibratedClassifierCV(classifier, cv=2, ensemble=ensemble).fit(X, y)
    assert calibrated.predict_proba(X[:1]).shape == (1, 2)
    assert calibrated.score(X, y) > 0.9


def test_a_tuned_threshold_classifier_finds_a_threshold(classifier, two_blobs):
    X, y = two_blobs
    tuned = TunedThresholdClassifierCV(classifier, cv=2, store_cv_results=True).fit(X, y)
    assert np.isfinite(tuned.cv_results_["scores"]).all()
    assert tuned.best_score_ > 0.8


def test_a_fixed_threshold_classifier_applies_its_threshold(classifier, two_blobs):
    X, y = two_blobs
    fixed = FixedThresholdClassifier(
        classifier, threshold=1.1, pos_label="yes", response_method="predict_proba"
    ).fit(X, y)
    assert set(fixed.predict(X)) == {"no"}


def test_a_one_vs_rest_classifier_trains_a_network_per_class(classifier, blobs):
    one_vs_rest = OneVsRestClassifier(classifier).fit(*blobs)
    assert len(one_vs_rest.estimators_) == 3
    assert one_vs_rest.predict_proba(blobs[0][:1]).shape == (1, 3)
    assert one_vs_rest.score(*blobs) > 0.9


def test_a_multi_output_classifier_trains_a_network_per_output(classifier, blobs):
    X, y = blobs
    several = MultiOutputClassifier(classifier).fit(X, np.column_stack([y, y == 1]))
    assert [p.shape for p in several.predict_proba(X[:1])] == [(1, 3), (1, 2)]
    assert several.score(X, np.column_stack([y, y == 1])) > 0.8


def test_a_multi_output_regressor_trains_a_network_per_output(regressor, line):
    X, y = line
    several = MultiOutputRegressor(regressor).fit(X, np.column_stack([y, -y]))
    assert several.predict(X[:1]).shape == (1, 2)
    assert several.score(X, np.column_stack([y, -y])) > 0.5


def test_a_self_training_classifier_labels_samples_with_a_network(classifier, blobs):
    X, y = blobs
    known = np.where(np.arange(60) % 2, y, -1)
    trained = SelfTrainingClassifier(classifier, max_iter=2).fit(X, known)
    assert (trained.transduction_ != -1).sum() > 30
    assert trained.score(X, y) > 0.9


def first_layer(estimator):
    """Return the importance of each feature, for scikit-learn's selectors."""
    return np.abs(estimator.model_.layers[0].get_weights()[0]).sum(axis=1)


def test_recursive_feature_elimination_keeps_the_requested_number_of_features(regressor, line):
    selector = RFE(regressor, n_features_to_select=2, step=2, importance_getter=first_layer)
    selector.fit(*line)
    assert selector.support_.sum() == 2
    assert selector.predict(line[0]).shape == (60,)


def test_select_from_model_reads_importances_of_a_network(regressor, line):
    selector = SelectFromModel(
        regressor, importance_getter=first_layer, threshold=-np.inf, max_features=2
    )
    assert selector.fit_transform(*line).shape == (60, 2)


def test_a_sequential_feature_selector_finds_the_informative_feature(regressor, line):
    X, y = line
    selector = SequentialFeatureSelector(regressor, n_features_to_select=1, cv=2)
    assert selector.fit(X[:, [1, 3]], y).get_support().tolist() == [True, False]


def test_a_transformed_target_regressor_learns_a_scaled_target(regressor, line):
    X, y = line
    transformed = TransformedTargetRegressor(regressor, transformer=StandardScaler())
    assert transformed.fit(X, 1000 * y + 5000).score(X, 1000 * y + 5000) > 0.5


def test_a_learning_curve_refits_for_each_size(classifier, blobs):
    sizes, _, scores = learning_curve(
        classifier, *blobs, train_sizes=[0.5, 1.0], cv=2, shuffle=True, error_score="raise"
    )
    assert sizes.tolist() == [15, 30]
    assert scores[-1].min() > 0.9


def test_a_learning_curve_may_use_partial_fit(classifier, blobs):
    _, _, scores = learning_curve(
        classifier,
        *blobs,
        train_sizes=[0.5, 1.0],
        cv=2,
        exploit_incremental_learning=True,
        shuffle=True,
        random_state=0,
        error_score="raise",
    )
    assert np.isfinite(scores).all()


def test_a_validation_curve_over_epochs_improves(classifier, blobs):
    _, scores = validation_curve(
        classifier,
        *blobs,
        param_name="epochs",
        param_range=[1, 20],
        cv=2,
        error_score="raise",
    )
    few, many = scores.mean(axis=1)
    assert few < many


def test_permutation_importance_finds_the_most_important_feature(regressor, line):
    found = permutation_importance(regressor.fit(*line), *line, n_repeats=2, random_state=0)
    assert found.importances_mean.argmax() == 1


@pytest.mark.parametrize("kind", ["average", "individual"])
def test_partial_dependence_of_a_regressor_follows_the_slope(kind, regressor, line):
    found = partial_dependence(
        regressor.fit(*line), line[0], [1], grid_resolution=5, kind=kind, method="brute"
    )
    curve = found[kind].reshape(-1, 5).mean(axis=0)
    assert curve[0] > curve[-1]  # the second feature's slope is -2


def test_partial_dependence_of_a_classifier_has_a_curve_per_class(classifier, blobs):
    found = partial_dependence(classifier.fit(*blobs), blobs[0], [2], grid_resolution=5)
    assert found["average"].shape == (3, 5)
    assert found["average"][2, -1] > found["average"][2, 0]


def test_a_roc_curve_is_drawn_from_a_fitted_classifier(classifier, two_blobs):
    pytest.importorskip("matplotlib", reason="RocCurveDisplay draws with matplotlib")
    display = RocCurveDisplay.from_estimator(classifier.fit(*two_blobs), *two_blobs)
    assert display.roc_auc > 0.9


def test_a_halving_search_may_use_epochs_as_its_resource(classifier, blobs):
    search = HalvingRandomSearchCV(
        classifier,
        {"optimizer__learning_rate": loguniform(1e-2, 1e-1)},
        resource="epochs",
        n_candidates=3,
        min_resources=1,
        max_resources=3,
        cv=2,
        random_state=0,
        error_score="raise",
    ).fit(*blobs)
    assert search.n_resources_ == [1, 3]
    assert len(search.best_estimator_.history_["loss"]) == search.best_params_["epochs"] == 3
