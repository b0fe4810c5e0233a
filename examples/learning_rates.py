"""Change the learning rate during training by a schedule or a callback, and search schedules."""

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skguard import GuardedKerasClassifier
from skguard.schedules import Cyclical, EpochCosineDecay, StepDecay


def build(meta):
    return keras.Sequential(
        [
            keras.Input((meta["n_features_in_"],)),
            keras.layers.Dense(32, "relu"),
            keras.layers.Dense(meta["n_classes_"], "softmax"),
        ]
    )


def network(learning_rate, callbacks=None):
    return GuardedKerasClassifier(
        build,
        loss="sparse_categorical_crossentropy",
        optimizer="adam",
        optimizer__learning_rate=learning_rate,
        callbacks=callbacks,
        validation_fraction=0.2,
        epochs=10,
        batch_size=64,
        verbose=0,
        random_state=0,
    )


class Halve(keras.callbacks.Callback):
    """A custom rule: assigning to the learning rate of the optimizer is all it takes."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch % 4 == 3:
            learning_rate = self.model.optimizer.learning_rate
            learning_rate.assign(learning_rate / 2)


X, y = load_digits(return_X_y=True)
X = MinMaxScaler().fit_transform(X)
NETWORKS = {
    "Cyclical": network(Cyclical(0.001, max_learning_rate=0.02, half_cycle_epochs=2.5)),
    "StepDecay": network(StepDecay(0.02, decay_epochs=3, warmup_epochs=1)),
    "LearningRateScheduler": network(
        0.02, keras.callbacks.LearningRateScheduler(lambda epoch: 0.02 * 0.8**epoch)
    ),
    "ReduceLROnPlateau": network(0.02, keras.callbacks.ReduceLROnPlateau("val_loss", patience=1)),
    "custom callback": network(0.02, Halve()),
}
for name, estimator in NETWORKS.items():
    estimator.fit(X, y)
    rates = " ".join(f"{rate:.4f}" for rate in estimator.history_["learning_rate"][::3])
    print(f"{name:22} accuracy {estimator.score(X, y):.3f}   learning rates {rates} ...")

# The schedule counts epochs, so that it is the same for every batch size and fold. Its parameters
# can be searched like any other.
search = GridSearchCV(
    make_pipeline(
        MinMaxScaler(), network(EpochCosineDecay(0.01, decay_epochs=10, warmup_epochs=1))
    ),
    {
        "guardedkerasclassifier__optimizer__learning_rate__initial_learning_rate": [0.003, 0.03],
        "guardedkerasclassifier__batch_size": [32, 256],
    },
    cv=3,
).fit(X, y)
print(search.best_params_, f"{search.best_score_:.3f}")
print(EpochCosineDecay(0.03, decay_epochs=10, warmup_epochs=1).preview(epochs=10).round(4))
