"""Tune a scaler and a network together, with early stopping in each fold."""

import keras
from scipy.stats import loguniform
from sklearn.datasets import load_diabetes
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skguard import GuardedKerasRegressor


def build(meta, neurons=64, learning_rate=0.01):
    model = keras.Sequential(
        [
            keras.Input((meta["n_features_in_"],)),
            keras.layers.Dense(neurons, activation="relu"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(learning_rate), "mse")
    return model


class EpochCounter(keras.callbacks.Callback):
    """Records the number of epochs of each fit. Every fit uses a copy of the callback."""

    def on_train_end(self, logs=None):
        epochs.append(len(self.model.history.epoch))


epochs = []
network = GuardedKerasRegressor(
    build,
    callbacks=EpochCounter(),
    early_stopping=True,
    validation_fraction=0.2,
    n_iter_no_change=5,
    epochs=100,
    batch_size=32,
    verbose=0,
    random_state=0,
)
search = RandomizedSearchCV(
    Pipeline([("scale", StandardScaler()), ("model", network)]),
    {"model__neurons": [16, 32, 64], "model__learning_rate": loguniform(3e-3, 1e-1)},
    n_iter=4,
    cv=3,
    random_state=0,
)
X, y = load_diabetes(return_X_y=True)
search.fit(X, y)

results = search.cv_results_
print(f"{'rank':>4} {'R2':>6} {'neurons':>8} {'learning_rate':>14}   epochs per fold")
for i in results["rank_test_score"].argsort():
    params = results["params"][i]
    print(
        f"{results['rank_test_score'][i]:>4} {results['mean_test_score'][i]:>6.3f} "
        f"{params['model__neurons']:>8} {params['model__learning_rate']:>14.4f}   "
        f"{', '.join(map(str, epochs[3 * i : 3 * i + 3]))}"
    )
best = search.best_estimator_["model"]
print(
    f"The best estimator, refitted, stopped after {best.n_epochs_} of 100 epochs "
    f"({best.stop_reason_}), with the weights of epoch {best.best_epoch_} (0-based)."
)
