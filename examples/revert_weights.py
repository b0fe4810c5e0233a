"""Restore earlier weights when the loss increases, in a search and with ``Model.fit``."""

import keras
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skguard import GuardedKerasRegressor
from skguard.callbacks import RevertWeights


def build(meta):
    return keras.Sequential(
        [
            keras.Input((meta["n_features_in_"],)),
            keras.layers.Dense(32, "tanh"),
            keras.layers.Dense(1),
        ]
    )


X, y = load_diabetes(return_X_y=True)
y = (y - y.mean()) / y.std()

# 1. Restore the start of an epoch in which the loss increased by more than 1 %, and halve the
#    learning rate.
previous = RevertWeights(min_delta=0.01, relative=True, factor=0.5)
# 2. Restore the best epoch on the validation set, also at the end of training.
best = RevertWeights("val_loss", to="best", patience=2, factor=0.5, max_reverts=5)

network = GuardedKerasRegressor(
    build,
    loss="mse",
    optimizer="sgd",
    optimizer__learning_rate=0.1,  # too high without RevertWeights
    epochs=40,
    validation_fraction=0.2,
    verbose=0,
    random_state=0,
    on_nan="stop",
)
search = GridSearchCV(
    make_pipeline(StandardScaler(), network),
    {"guardedkerasregressor__callbacks": [None, previous, best]},
    cv=3,
).fit(X, y)
for name, score in zip(
    ("none", "to='previous'", "to='best'"), search.cv_results_["mean_test_score"], strict=True
):
    print(f"{name:15} R2 {score:6.3f}")
winner = search.best_estimator_[-1]
for revert in winner.callbacks_[0].reverts_[:3]:
    print(
        f"epoch {revert.epoch}: {revert.value:.3f} is worse than {revert.reference:.3f}, restored "
        f"epoch {revert.to_epoch}, learning rate {revert.learning_rate:.4f}"
    )

# 3. Without an estimator, as a callback of Keras.
model = build({"n_features_in_": X.shape[1]})
model.compile(keras.optimizers.SGD(0.1), "mse")
history = model.fit(
    StandardScaler().fit_transform(X),
    y,
    epochs=20,
    verbose=0,
    callbacks=[RevertWeights(to="best", factor=0.5)],
).history
print(f"loss {np.min(history['loss']):.3f} at best, {sum(history['reverted'])} epochs reverted")
