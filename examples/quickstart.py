"""Tune a scaler and a network together, each fold with an early stop of its own."""

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


class StoppedAt(keras.callbacks.Callback):
    """Say when each fit ended: this callback is copied fresh for every fold."""

    def on_train_end(self, logs=None):
        epochs.append(len(self.model.history.epoch))


epochs = []
network = GuardedKerasRegressor(
    build,
    callbacks=StoppedAt(),
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
print(f"{'rank':>4} {'R2':>6} {'neurons':>8} {'learning_rate':>14}   stopped after epoch, per fold")
for i in results["rank_test_score"].argsort():
    params = results["params"][i]
    print(
        f"{results['rank_test_score'][i]:>4} {results['mean_test_score'][i]:>6.3f} "
        f"{params['model__neurons']:>8} {params['model__learning_rate']:>14.4f}   "
        f"{', '.join(map(str, epochs[3 * i : 3 * i + 3]))}"
    )
best = search.best_estimator_["model"]
print(
    f"The best, fitted on all rows, ended for {best.stop_reason_} after {best.n_epochs_} of 100 "
    f"epochs, with the weights of epoch {best.best_epoch_}."
)
