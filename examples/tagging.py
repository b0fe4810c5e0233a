"""Label every step of a sequence."""

import keras
import numpy as np
from sklearn.model_selection import GridSearchCV

from skguard import GuardedKerasClassifier


def build(meta, units=8):
    return keras.Sequential(
        [
            keras.Input(meta["X_shape_"][1:]),
            keras.layers.Conv1D(units, 3, padding="same", activation="relu"),
            keras.layers.Dense(meta["n_classes_"], "softmax"),
        ]
    )


rng = np.random.default_rng(0)
X = rng.normal(size=(200, 10, 3)).astype("float32")
y = np.array(["down", "flat", "up"])[np.digitize(X[:, :, 0], [-0.5, 0.5])]  # a label per step

estimator = GuardedKerasClassifier(
    build,
    loss="sparse_categorical_crossentropy",
    optimizer="adam",
    optimizer__learning_rate=0.02,
    epochs=20,
    verbose=0,
    random_state=0,
)
search = GridSearchCV(estimator, {"units": [2, 8]}, cv=3).fit(X, y)

print(f"best units: {search.best_params_['units']}, accuracy of a step: {search.best_score_:.2f}")
print(f"labels: {search.predict(X[:1])}")
print(f"shape of the probabilities: {search.predict_proba(X).shape}")
