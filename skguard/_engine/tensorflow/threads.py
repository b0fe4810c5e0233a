"""The share of a machine that a worker process takes.

joblib tells the workers of its loky backend how many threads each may use, through the
variables that NumPy's libraries read. TensorFlow reads none of them, takes all cores in each
worker, and on a GPU all memory.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os

import keras

__all__ = ["take_share"]


def take_share() -> None:
    """Have TensorFlow use a worker's share of the cores, and GPU memory as it needs it.

    Only in worker processes of loky, only before TensorFlow has started its threads, and
    nothing that is set already.
    """
    in_worker = multiprocessing.current_process().name.startswith("LokyProcess")
    if not in_worker or keras.config.backend() != "tensorflow":
        return
    import tensorflow as tf

    share = os.environ.get("OMP_NUM_THREADS", "")
    pools = tf.config.threading
    for name in ("intra", "inter"):
        is_set = f"TF_NUM_{name.upper()}OP_THREADS" in os.environ
        if is_set or getattr(pools, f"get_{name}_op_parallelism_threads")() or not share.isdigit():
            continue
        with contextlib.suppress(RuntimeError):  # TensorFlow is running: too late
            getattr(pools, f"set_{name}_op_parallelism_threads")(int(share))
    if "TF_FORCE_GPU_ALLOW_GROWTH" in os.environ:
        return
    for device in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError, ValueError):  # too late, or limited by the user
            if tf.config.get_logical_device_configuration(device) is None:
                tf.config.experimental.set_memory_growth(device, True)
