"""A search whose trials fail, hang and kill their worker, and which completes all the others.

Two worker processes fit 8 candidates in 2 folds. One candidate raises an error, one hangs,
one kills the process that it runs in. Only that trial fails; then a summary is printed, and the
best network is trained again on all samples, for the number of epochs that was best.
"""

import os
import signal
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skguard import FailedTrialError, GuardedKerasClassifier
from skguard.model_selection import GuardedGridSearchCV


def build(meta, units=16):
    if units == 3:
        raise FailedTrialError("3 units cannot work, and a second try would not help")
    if units == 5:
        time.sleep(10**6)
    if units == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return keras.Sequential(
        [
            keras.Input((meta["n_features_in_"],)),
            keras.layers.Dense(units, "relu"),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )


network = GuardedKerasClassifier(
    build,
    loss="binary_crossentropy",
    optimizer="adam",
    optimizer__learning_rate=0.01,
    epochs=100,
    early_stopping=True,
    n_iter_no_change=5,
    verbose=0,
    random_state=0,
)
search = GuardedGridSearchCV(
    Pipeline([("scale", StandardScaler()), ("network", network)]),
    {"network__units": [2, 3, 4, 5, 6, 7, 8, 16]},
    scoring="roc_auc",
    cv=2,
    n_jobs=2,
    trial_timeout=8,
    time_budget=300,
    refit_epochs="best",
)

if __name__ == "__main__":
    search.fit(*load_breast_cancer(return_X_y=True))
    search.results_summary()
    print(f"\nThe best network was trained for {search.best_estimator_[-1].n_epochs_} epochs.")
