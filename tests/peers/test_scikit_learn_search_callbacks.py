"""scikit-learn's callbacks are called the same on a guarded search."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skguard.model_selection import (
    GuardedGridSearchCV,
)
from tests.peers.searches import (
    SAMPLES,
    SEARCHES,
    VALUES,
    WEIGHTS,
    C,
    Picky,
    X,
    Y,
    each_search,
    fit,
    make_both,
    needs_callbacks,
    neutral,
    sklearn_callback,
)

pytestmark = pytest.mark.usefixtures("one_thread")


class Recorder:
    """Keeps which hook was called, for what, at which place of the fit's tasks."""

    def __init__(self):
        self.calls = []

    def _note(self, hook, estimator, context, **kwargs):
        path = tuple(
            (neutral(c.estimator_name), c.task_name, c.task_id, c.max_subtasks)
            for c in sklearn_callback._callback_context.get_context_path(context)
        )
        shapes = {
            name: value
            if value is None
            else np.shape(value.get("sample_weight"))
            if isinstance(value, dict)
            else np.shape(value)
            for name, value in kwargs.items()
        }
        self.calls.append((hook, neutral(type(estimator).__name__), path, shapes))

    def setup(self, estimator, context):
        self._note("setup", estimator, context)

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self._note("begin", estimator, context, X=X, y=y, metadata=metadata)

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None):
        self._note("end", estimator, context, X=X, y=y, metadata=metadata)

    def teardown(self, estimator, context):
        self._note("teardown", estimator, context)


class PassedOn(Recorder):
    """One that scikit-learn propagates to the estimators of a search."""

    max_propagation_depth = None


def record(search, callback_class=Recorder, on=None, **fit_params):
    callback = callback_class()
    (search if on is None else on(search)).set_callbacks(callback)
    ran = fit(search, X, Y, **fit_params)
    return callback.calls, ran


@needs_callbacks
@each_search
@pytest.mark.parametrize("callback_class", [Recorder, PassedOn])
@pytest.mark.parametrize("refit", [True, False])
def test_callbacks_of_a_search_are_called_the_same(kind, callback_class, refit):
    theirs, ours = (
        record(search, callback_class)
        for search in make_both(kind, LogisticRegression(), C, refit=refit)
    )
    assert ours[0] == theirs[0]
    assert {call[0] for call in ours[0]} == {"setup", "begin", "end", "teardown"}


@needs_callbacks
@each_search
def test_callbacks_get_the_weights(kind):
    theirs, ours = (
        record(search, sample_weight=WEIGHTS) for search in make_both(kind, LogisticRegression(), C)
    )
    assert ours[0] == theirs[0]


@needs_callbacks
@each_search
def test_callbacks_of_the_estimator_are_called_the_same(kind):
    theirs, ours = (
        record(search, on=lambda search: search.estimator)
        for search in make_both(kind, LogisticRegression(), C)
    )
    assert ours[0] == theirs[0]
    assert ours[0]


@needs_callbacks
def test_callbacks_of_a_step_are_called_the_same():
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    theirs, ours = (
        record(search, on=lambda search: search.estimator[-1])
        for search in make_both("grid", pipe, {"logisticregression__C": [1.0, 2.0]})
    )
    assert ours[0] == theirs[0]
    assert ours[0]


@needs_callbacks
@pytest.mark.parametrize("callback_class", [Recorder, PassedOn])
def test_callbacks_of_a_search_of_a_search_are_called_the_same(callback_class):
    found = []
    for cls in SEARCHES["grid"]:
        inner = cls(LogisticRegression(), C, cv=2)
        found.append(record(cls(inner, {"scoring": ["f1", "accuracy"]}, cv=2), callback_class)[0])
    assert found[0] == found[1]


@needs_callbacks
def test_callbacks_of_values_are_called_the_same():
    found = []
    for cls in SEARCHES["grid"]:
        callback = Recorder()
        models = [LogisticRegression(C=value).set_callbacks(callback) for value in (1, 2)]
        search = cls(Pipeline([("model", None)]), {"model": models}, cv=2, scoring="accuracy")
        search.fit(X, Y)
        found.append(callback.calls)
    assert found[0] == found[1]
    assert found[0]


@needs_callbacks
@pytest.mark.parametrize("error_score", [np.nan, "raise"], ids=str)
def test_callbacks_are_called_the_same_where_fits_fail(error_score):
    found = []
    for search in make_both("grid", Picky(fails_for=(1, 4)), VALUES, error_score=error_score):
        callback = Recorder()
        fit(search.set_callbacks(callback), SAMPLES, Y)
        found.append(callback.calls)
    assert found[0] == found[1]


@needs_callbacks
@pytest.mark.parametrize("hook", ["setup", "on_fit_task_begin", "on_fit_task_end", "teardown"])
def test_a_callback_that_fails_ends_the_search_the_same(hook):
    class Fails(Recorder):
        def _note(self, name, estimator, context, **kwargs):
            super()._note(name, estimator, context, **kwargs)
            if hook.endswith(name):
                raise ArithmeticError(f"{name} fails")

    theirs, ours = (record(search, Fails) for search in make_both("grid", LogisticRegression(), C))
    assert type(theirs[1].error) is type(ours[1].error)
    assert str(theirs[1].error) == str(ours[1].error)
    assert theirs[0] == ours[0]


@needs_callbacks
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_monitor_of_scores_logs_the_same(n_jobs):
    logs = []
    for search in make_both("grid", LogisticRegression(max_iter=5), {"C": [1.0, 2.0]}):
        monitor = sklearn_callback.ScoringMonitor(scoring="accuracy")
        search.estimator.set_callbacks(monitor)
        if isinstance(search, GuardedGridSearchCV):
            search.set_params(n_jobs=n_jobs)
        assert fit(search, X, Y).error is None
        entries = monitor.get_logs(include_lineage=True).data
        logs.append(sorted(neutral(sorted(entry.items(), key=str)) for entry in entries))
    assert logs[0] == logs[1]
    assert logs[0]


@needs_callbacks
@each_search
def test_a_progress_bar_shows_the_same_tasks(kind, capsys, monkeypatch):
    pytest.importorskip("rich", reason="the progress bar needs rich")
    monkeypatch.setenv("COLUMNS", "200")
    shown = []
    for search in make_both(kind, LogisticRegression(), C):
        search.set_callbacks(sklearn_callback.ProgressBar()).fit(X, Y)
        lines = neutral(capsys.readouterr().out).splitlines()
        shown.append([(line.split("  ")[0].rstrip(), "100%" in line) for line in lines])
    assert shown[0] == shown[1]
    assert shown[1]
