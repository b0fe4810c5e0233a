"""scikit-learn's own checks of the estimator interface."""

import keras
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skguard import GuardedKerasClassifier, GuardedKerasRegressor

EXPECTED_FAILURES = {
    # Both inspect every base class, and scikeras 0.13 fails them.
    "check_estimator_tags_renamed": "scikeras's BaseWrapper has _more_tags alone",
    "check_mixin_order": "scikeras's classes list BaseEstimator before the mixins",
    "check_sample_weight_equivalence_on_dense_data": (
        "compares to 1e-9; repeated and weighted samples are in other batches, and in float32"
    ),
    "check_sample_weight_equivalence_on_sparse_data": (
        "compares to 1e-9; repeated and weighted samples are in other batches, and in float32"
    ),
}


class ForAnyTarget:
    """One unit per class: softmax for labels, sigmoids for several labels at once."""

    def __init__(self, dtype="float32"):
        self.dtype = dtype

    def __call__(self, meta):
        several = meta["target_type_"] == "multilabel-indicator"
        activation, loss = (
            ("sigmoid", "binary_crossentropy")
            if several
            else ("softmax", "sparse_categorical_crossentropy")
        )
        layer = keras.layers.Dense(meta["n_classes_"], activation, dtype=self.dtype)
        model = keras.Sequential([keras.Input(meta["X_shape_"][1:]), layer])
        model.compile("adam", loss)
        return model

    def __repr__(self):  # in the ids of the tests, which must be the same in every process
        return type(self).__name__


class ForNumbers(ForAnyTarget):
    def __call__(self, meta):
        layer = keras.layers.Dense(meta["n_outputs_"], dtype=self.dtype)
        model = keras.Sequential([keras.Input(meta["X_shape_"][1:]), layer])
        model.compile("adam", "mse")
        return model


# check_class_weight_classifiers sets it on every estimator that has it.
@pytest.mark.filterwarnings("ignore:n_iter_no_change=20 has no effect")
@parametrize_with_checks(
    [
        GuardedKerasClassifier(ForAnyTarget(), verbose=0, random_state=0),
        GuardedKerasRegressor(ForNumbers(), verbose=0, random_state=0),
    ],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_the_estimator_passes_the_checks_of_scikit_learn(estimator, check):
    if check.func.__name__ == "check_methods_sample_order_invariance":
        # It compares to 1e-7. In float32, TensorFlow's rounding errors exceed that on some CPUs,
        # in Model.predict too, because they depend on the place of a sample in its batch.
        estimator.set_params(model=type(estimator.model)("float64"))
    check(estimator)
