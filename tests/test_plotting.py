import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="displays require matplotlib")

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt

from skguard.plotting import LearningRateDisplay
from skguard.schedules import StepDecay


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_from_schedule_draws_learning_rates_over_epochs():
    display = LearningRateDisplay.from_schedule(StepDecay(0.4, decay_epochs=1), 3, 2, color="k")
    x, y = display.line_.get_data()
    np.testing.assert_allclose(x, [0, 0.5, 1, 1.5, 2, 2.5])
    np.testing.assert_allclose(y, [0.4, 0.4, 0.2, 0.2, 0.1, 0.1])
    assert display.ax_.get_xlabel() == "epoch"
    assert display.line_.get_color() == "k"
    assert display.line_.get_label() == "StepDecay"


def test_from_estimator_draws_on_the_given_axes(regressor, line):
    _, ax = plt.subplots()
    regressor.set_params(epochs=2).fit(*line)
    display = LearningRateDisplay.from_estimator(regressor, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    np.testing.assert_allclose(display.line_.get_ydata(), [0.05, 0.05])
