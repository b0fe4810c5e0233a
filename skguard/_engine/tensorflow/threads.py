"""The fraction of a machine that a worker process uses.

joblib sets the number of threads that each worker of its loky backend may use, in the environment
variables that the libraries of NumPy read. TensorFlow reads none of them: it uses all cores in
each worker, and all memory of a GPU.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os

import keras

__all__ = ["take_share"]


def take_share() -> None:
    """Restrict TensorFlow to a worker's number of threads, and to the GPU memory that it needs.

    Does nothing outside worker processes of loky or once TensorFlow has started its threads, and
    leaves alone what the user has set.
    """
    in_worker = multiprocessing.current_process().name.startswith("LokyProcess")
    if not in_worker or keras.config.backend() != "tensorflow":
        return
    import tensorflow as tf

    n_threads = os.environ.get("OMP_NUM_THREADS", "")
    pools = tf.config.threading
    for name in ("intra", "inter"):
        is_set = f"TF_NUM_{name.upper()}OP_THREADS" in os.environ
        in_use = is_set or getattr(pools, f"get_{name}_op_parallelism_threads")()
        if in_use or not n_threads.isdigit():
            continue
        with contextlib.suppress(RuntimeError):  # TensorFlow has started its threads
            getattr(pools, f"set_{name}_op_parallelism_threads")(int(n_threads))
    if "TF_FORCE_GPU_ALLOW_GROWTH" in os.environ:
        return
    for device in tf.config.list_physical_devices("GPU"):
        # An error if the device is in use already, or has a memory limit.
        with contextlib.suppress(RuntimeError, ValueError):
            if tf.config.get_logical_device_configuration(device) is None:
                tf.config.experimental.set_memory_growth(device, True)
