"""Predict a class and a number with one network that has two outputs."""

import keras
import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, cross_val_predict

from skguard import GuardedKerasClassifier


def build(meta, units=32):
    inputs = keras.Input((meta["n_features_in_"],))
    hidden = keras.layers.Dense(units, "relu")(inputs)
    n_kinds = meta["n_classes_"][0]  # one entry per column of y
    kind = keras.layers.Dense(n_kinds, "softmax", name="kind")(hidden)
    size = keras.layers.Dense(1, name="size")(hidden)
    model = keras.Model(inputs, [kind, size])
    model.compile(
        keras.optimizers.Adam(0.01), {"kind": "sparse_categorical_crossentropy", "size": "mse"}
    )
    return model


rng = np.random.default_rng(0)
X = rng.normal(size=(300, 4)).astype("float32")
y = pd.DataFrame(
    {
        "kind": np.array(["small", "medium", "large"])[np.digitize(X[:, 0], [-0.5, 0.5])],
        "size": X @ [1.0, -2.0, 0.5, 0.0] + rng.normal(scale=0.1, size=300),
    }
)

estimator = GuardedKerasClassifier(
    build, target={"kind": "labels", "size": "values"}, epochs=40, verbose=0, random_state=0
)
predicted = cross_val_predict(estimator, X, y, cv=KFold(3))
kind, size = predicted[:, 0], predicted[:, 1].astype(float)
print(f"accuracy of the kind: {np.mean(kind == y['kind']):.2f}")
print(f"mean absolute error of the size: {np.abs(size - y['size']).mean():.2f}")

probabilities = estimator.fit(X, y).predict_proba(X)  # one array per head of classes
print(f"probabilities of {estimator.classes_[0].tolist()}: {probabilities[0][0].round(2)}")
