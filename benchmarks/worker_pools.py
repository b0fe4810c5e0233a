"""Process pools and the events of a search of long fits: workers that are killed, crash and hang.

    python benchmarks/worker_pools.py

loky's pool of two, as scikit-learn uses it; two loky pools of one, as skguard uses them; and
pebble's pool of two. In each case one worker gets into trouble while the other has a task that
takes half a second. The table shows what became of that other task, whether the pool reports the
cause of the trouble, and how long it took until the pool had a new worker.

Needs pebble: ``pip install "skguard[benchmarks]"``.
"""

import concurrent.futures
import ctypes
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import loky
import pebble


def work(seconds):
    time.sleep(seconds)
    return seconds


def killed(_):
    os.kill(os.getpid(), signal.SIGKILL)


def left(_):
    os._exit(3)


def crashed(_):
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    ctypes.string_at(0)


TROUBLES = {"SIGKILL": killed, "os._exit": left, "segfault": crashed, "hangs, 1 s": work}


class LokyOfTwo:
    def __enter__(self):
        self.pool = loky.ProcessPoolExecutor(2)
        return self

    def __exit__(self, *error):
        self.pool.shutdown(kill_workers=True)

    def submit(self, slot, function, argument, timeout=None):
        return self.pool.submit(function, argument)

    def end(self, slot):
        self.pool.shutdown(kill_workers=True)
        self.pool = loky.ProcessPoolExecutor(2)


class TwoLokysOfOne(LokyOfTwo):
    def __enter__(self):
        self.pools = [loky.ProcessPoolExecutor(1) for _ in range(2)]
        return self

    def __exit__(self, *error):
        for pool in self.pools:
            pool.shutdown(kill_workers=True)

    def submit(self, slot, function, argument, timeout=None):
        return self.pools[slot].submit(function, argument)

    def end(self, slot):
        self.pools[slot].shutdown(kill_workers=True)
        self.pools[slot] = loky.ProcessPoolExecutor(1)


class Pebble:
    def __enter__(self):
        context = multiprocessing.get_context("spawn")
        self.pool = pebble.ProcessPool(2, context=context)
        return self

    def __exit__(self, *error):
        self.pool.stop()
        self.pool.join()

    def submit(self, slot, function, argument, timeout=None):
        return self.pool.schedule(function, [argument], timeout=timeout)

    def end(self, slot):
        pass  # it does that itself


POOLS = {"loky, one of two": LokyOfTwo, "loky, two of one": TwoLokysOfOne, "pebble": Pebble}


def in_trouble(pool, name):
    """Return the fate of the other task, the cause that is reported, and the time to recover."""
    for slot in range(2):
        pool.submit(slot, work, 0).result()
    other = pool.submit(1, work, 0.5)
    hangs = TROUBLES[name] is work
    trouble = pool.submit(0, TROUBLES[name], 1000 if hangs else 0, timeout=1 if hangs else None)
    started = time.perf_counter()
    try:
        trouble.result(timeout=1.2)
    except concurrent.futures.TimeoutError:
        known = "timed out"
        pool.end(0)
    except Exception as error:
        code = getattr(error, "exitcode", None)
        text = str(error).partition("{")[2].partition("}")[0]
        known = f"exit code {code}" if code is not None else text or type(error).__name__
        pool.end(0)
    try:
        survived = "done" if other.result() == 0.5 else "wrong"
    except Exception as error:
        survived = f"lost ({type(error).__name__})"
    pool.submit(0, work, 0).result()
    return survived, known, time.perf_counter() - started


def runs_without_main_guard(library):
    start = {
        "loky": "import loky; p = loky.ProcessPoolExecutor(1); f = p.submit(mine, 2)",
        "pebble": "import pebble, multiprocessing as m\n"
        "p = pebble.ProcessPool(1, context=m.get_context('spawn')); f = p.schedule(mine, [2])",
    }[library]
    script = f"def mine(x):\n    return x\n{start}\nassert f.result(timeout=20) == 2\n"
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "script.py"
        path.write_text(script + ("p.shutdown()" if library == "loky" else "p.stop(); p.join()"))
        command = [sys.executable, str(path)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=60, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0


def main():
    print(f"{'':18}{'':14}{'the other task':32}{'what is known':20}{'recovered, s':>12}")
    for name, make in POOLS.items():
        for trouble in TROUBLES:
            with make() as pool:
                survived, known, seconds = in_trouble(pool, trouble)
            print(f"{name:18}{trouble:14}{survived:32}{known:20}{seconds:12.2f}")
    print()
    for name, make in POOLS.items():
        with make() as pool:
            pool.submit(0, work, 0).result()
            started = time.perf_counter()
            for _ in range(300):
                pool.submit(0, work, 0).result()
            print(f"{name:18}{(time.perf_counter() - started) / 300 * 1e3:.2f} ms per task")
    print()
    for library in ("loky", "pebble"):
        answer = "yes" if runs_without_main_guard(library) else "no"
        print(f"{library:18}a script's own functions, without a main guard: {answer}")


if __name__ == "__main__":
    main()
