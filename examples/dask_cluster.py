"""A search on a dask cluster: here two processes of this machine, elsewhere many machines.

For a cluster that runs already, replace LocalCluster by its address: Client("scheduler:8786").
Its machines need this package, and the packages that it needs, in the same versions.

Needs dask: ``pip install "skguard[dask]"``.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import joblib
import keras
from dask.distributed import Client, LocalCluster
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skguard import GuardedKerasClassifier
from skguard.model_selection import GuardedGridSearchCV


def build(meta, units=16):
    return keras.Sequential(
        [
            keras.Input((meta["n_features_in_"],)),
            keras.layers.Dense(units, "relu"),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )


def main():
    network = GuardedKerasClassifier(
        build,
        loss="binary_crossentropy",
        optimizer="adam",
        epochs=50,
        early_stopping=True,
        verbose=0,
        random_state=0,
    )
    search = GuardedGridSearchCV(
        Pipeline([("scale", StandardScaler()), ("network", network)]),
        {"network__units": [4, 8, 16]},
        cv=3,
        max_retries_per_trial=1,
    )
    # One thread each: a lock serializes the Keras fits in one process.
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with cluster, Client(cluster), joblib.parallel_config(backend="dask"):
        search.fit(*load_breast_cancer(return_X_y=True))
    search.results_summary()


if __name__ == "__main__":
    main()
