"""Train a model with two inputs, text and numbers, on the columns of a DataFrame."""

import keras
import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV

from skguard import GuardedKerasClassifier

WORDS = ["good", "bad", "fast", "slow", "again", "never"]


def build(units=8):
    numbers = keras.Input((2,), name="numbers")
    comment = keras.Input((), dtype="string", name="comment")
    words = keras.layers.TextVectorization(vocabulary=WORDS, output_mode="multi_hot")
    hidden = keras.layers.Concatenate()([numbers, words(comment)])
    hidden = keras.layers.Dense(units, "relu")(hidden)
    return keras.Model([numbers, comment], keras.layers.Dense(1, "sigmoid")(hidden))


def make_reviews(n_samples=200):
    rng = np.random.default_rng(0)
    stars = rng.integers(1, 6, n_samples)
    likes = stars + rng.normal(size=n_samples) > 3
    comments = [
        " ".join(rng.choice(WORDS[0 if liked else 1 :: 2], 2)) if rng.random() < 0.7 else "no idea"
        for liked in likes
    ]
    return pd.DataFrame(
        {"stars": stars, "comment": comments, "days": rng.integers(1, 9, n_samples)}
    ), np.where(likes, "liked", "disliked")


if __name__ == "__main__":
    X, y = make_reviews()
    network = GuardedKerasClassifier(
        build,
        inputs={"numbers": ["stars", "days"], "comment": "comment"},
        loss="binary_crossentropy",
        optimizer="adam",
        optimizer__learning_rate=0.02,
        epochs=15,
        verbose=0,
        random_state=0,
    )
    search = GridSearchCV(network, {"units": [4, 16]}, cv=2).fit(X, y)
    print(f"best units: {search.best_params_['units']}, accuracy {search.best_score_:.2f}")
    print(f"prediction for the first review: {search.predict(X[:1])[0]}")
    assert search.best_score_ > 0.8
