"""scikit-learn's own checks of what an estimator owes."""

import keras
from sklearn.utils.estimator_checks import parametrize_with_checks

from skguard import GuardedKerasClassifier, GuardedKerasRegressor

EXPECTED_FAILURES = {
    # These two read every class that ours inherits from, scikeras's among them.
    "check_estimator_tags_renamed": "scikeras's BaseWrapper has _more_tags alone",
    "check_mixin_order": "scikeras's classes list BaseEstimator before the mixins",
    "check_sample_weight_equivalence_on_dense_data": (
        "compares to 1e-9; rows repeated or weighted end in other batches, and in float32"
    ),
    "check_sample_weight_equivalence_on_sparse_data": (
        "compares to 1e-9; rows repeated or weighted end in other batches, and in float32"
    ),
}


class ForAnyTarget:
    """One unit a class: softmax for labels, sigmoids for several labels at once."""

    def __call__(self, meta):
        several = meta["target_type_"] == "multilabel-indicator"
        activation, loss = (
            ("sigmoid", "binary_crossentropy")
            if several
            else ("softmax", "sparse_categorical_crossentropy")
        )
        layer = keras.layers.Dense(meta["n_classes_"], activation)
        model = keras.Sequential([keras.Input(meta["X_shape_"][1:]), layer])
        model.compile("adam", loss)
        return model

    def __repr__(self):  # names the tests, so it must be the same in every process
        return type(self).__name__


class ForNumbers(ForAnyTarget):
    def __call__(self, meta):
        layer = keras.layers.Dense(meta["n_outputs_"])
        model = keras.Sequential([keras.Input(meta["X_shape_"][1:]), layer])
        model.compile("adam", "mse")
        return model


@parametrize_with_checks(
    [
        GuardedKerasClassifier(ForAnyTarget(), verbose=0, random_state=0),
        GuardedKerasRegressor(ForNumbers(), verbose=0, random_state=0),
    ],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_the_estimator_keeps_scikit_learns_contract(estimator, check):
    check(estimator)
