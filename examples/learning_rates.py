"""Learning rates that change during training: by a schedule, by callbacks, and in a search."""

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skguard import GuardedKerasClassifier
from skguard.schedules import CosineDecay, Cyclical, StepDecay


def build(meta):
    return keras.Sequential(
        [
            keras.Input((meta["n_features_in_"],)),
            keras.layers.Dense(32, "relu"),
            keras.layers.Dense(meta["n_classes_"], "softmax"),
        ]
    )


def network(rate, callbacks=None):
    return GuardedKerasClassifier(
        build,
        loss="sparse_categorical_crossentropy",
        optimizer="adam",
        optimizer__learning_rate=rate,
        callbacks=callbacks,
        validation_fraction=0.2,
        epochs=10,
        batch_size=64,
        verbose=0,
        random_state=0,
    )


class Halve(keras.callbacks.Callback):
    """A rule of one's own: assign to the optimizer's rate, and nothing else."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch % 4 == 3:
            rate = self.model.optimizer.learning_rate
            rate.assign(rate / 2)


X, y = load_digits(return_X_y=True)
X = MinMaxScaler().fit_transform(X)
WAYS = {
    "a wave": network(Cyclical(0.001, peak=0.02, half_cycle=2.5)),
    "steps": network(StepDecay(0.02, every=3, warmup=1)),
    "LearningRateScheduler": network(
        0.02, keras.callbacks.LearningRateScheduler(lambda epoch: 0.02 * 0.8**epoch)
    ),
    "ReduceLROnPlateau": network(0.02, keras.callbacks.ReduceLROnPlateau("val_loss", patience=1)),
    "a callback": network(0.02, Halve()),
}
for name, estimator in WAYS.items():
    estimator.fit(X, y)
    rates = " ".join(f"{rate:.4f}" for rate in estimator.history_["learning_rate"][::3])
    print(f"{name:22} accuracy {estimator.score(X, y):.3f}   rates {rates} ...")

# A schedule counts epochs, so it means the same for every batch size and fold; what it takes
# can be searched like any parameter.
search = GridSearchCV(
    make_pipeline(MinMaxScaler(), network(CosineDecay(0.01, epochs=10, warmup=1))),
    {
        "guardedkerasclassifier__optimizer__learning_rate__initial": [0.003, 0.03],
        "guardedkerasclassifier__batch_size": [32, 256],
    },
    cv=3,
).fit(X, y)
print(search.best_params_, f"{search.best_score_:.3f}")
print(CosineDecay(0.03, epochs=10, warmup=1).preview(epochs=10).round(4))
