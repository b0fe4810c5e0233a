"""The text of ``results_summary``."""

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from skguard.model_selection import GuardedGridSearchCV
from skguard.model_selection._summary import summary


def test_a_summary_has_why_the_search_ended_and_the_best_candidates():
    search = GuardedGridSearchCV(LogisticRegression(max_iter=500), {"C": [1e-5, 1.0]}, cv=2)
    text = summary(search.fit(*load_iris(return_X_y=True)), 1)
    first, *others = text.strip().splitlines()
    assert "2 candidates, 2 splits" in first
    assert "{'C': 1.0}" in others[-1]
    assert "1e-05" not in text
