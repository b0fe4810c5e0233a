"""A worker uses its number of threads; other processes are left alone."""

import joblib
import pytest

from skguard._engine.tensorflow import threads


def threads_after_a_fit(before=None):
    import os

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    if before == "environment":
        os.environ["TF_NUM_INTRAOP_THREADS"] = "5"
    elif before == "set":
        tf.config.threading.set_intra_op_parallelism_threads(7)
    elif before == "running":
        tf.constant(1) + 1
    import keras
    import numpy as np

    from skguard import GuardedKerasRegressor

    def build():
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    GuardedKerasRegressor(build, loss="mse", verbose=0).fit(np.ones((8, 2)), np.arange(8.0))
    pools = tf.config.threading
    return pools.get_intra_op_parallelism_threads(), pools.get_inter_op_parallelism_threads()


def in_worker(before, share):
    with joblib.parallel_config("loky", inner_max_num_threads=share):
        (result,) = joblib.Parallel(2)(joblib.delayed(threads_after_a_fit)(b) for b in [before])
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)
    return result


@pytest.mark.parametrize(
    ("before", "expected"),
    [(None, (3, 3)), ("environment", (0, 3)), ("set", (7, 3)), ("running", (0, 0))],
    ids=str,
)
def test_a_worker_uses_its_share_of_threads_unless_they_are_set(before, expected):
    assert in_worker(before, 3) == expected


def test_the_main_process_is_left_alone(monkeypatch):
    import tensorflow as tf

    def fail(*args):
        raise AssertionError("set in the main process")

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("set_intra_op_parallelism_threads", "set_inter_op_parallelism_threads"):
        monkeypatch.setattr(tf.config.threading, name, fail)
    threads.take_share()
