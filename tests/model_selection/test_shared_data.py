"""Objects written once and mapped by many processes: equal, not copied, changed in private."""

import dataclasses
import functools
import mmap
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skguard.model_selection import _shared_data


@pytest.fixture
def round_trip(tmp_path):
    numbers = iter(range(1000))

    def go(value):
        return _shared_data.load(_shared_data.write(value, tmp_path / f"{next(numbers)}.bin"))

    return go


def another_reader(path):
    """As another process loads it: without what this one has mapped already."""
    return _shared_data.load.__wrapped__(path)


def is_mapped(array):
    """Whether the memory of `array` is that of the file."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(getattr(array, "obj", array), mmap.mmap)


def check_equal(back, array):
    assert type(back) is type(array)
    # NumPy's own pickles turn >M8 into <M8, with the values that it had.
    assert back.dtype == (
        array.dtype.newbyteorder("=") if array.dtype.kind in "mM" else array.dtype
    )
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)


NUMBERS = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "g", "c8", "c16"]
DTYPES = [*NUMBERS, ">i4", ">f8", "<u2", "S5", "U3", "M8[ns]", "m8[s]", "V4", "O"]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (5, 4), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_every_dtype_shape_and_order_come_back(dtype, shape, order, round_trip):
    n_values = int(np.prod(shape))
    if dtype == "V4":
        array = np.frombuffer(bytes(range(4 * n_values)), dtype).reshape(shape)
    else:
        array = np.arange(n_values).astype("i8" if dtype in ("M8[ns]", "m8[s]") else dtype)
        array = array.astype(dtype).reshape(shape)
    array = np.asarray(array, order=order)
    back = round_trip(array)
    check_equal(back, array)
    assert back.flags.f_contiguous == array.flags.f_contiguous
    assert back.flags.c_contiguous == array.flags.c_contiguous


BASE = np.arange(60.0).reshape(6, 10)


@pytest.mark.parametrize(
    "array",
    [
        BASE[::2],
        BASE[:, ::3],
        BASE[::-1, ::-1],
        BASE[1:4, 2:5],
        BASE.T[3:],
        np.broadcast_to(np.arange(3.0), (4, 3)),
        np.zeros((3, 2), dtype=[("a", "f4"), ("b", "i8", (2,)), ("c", "U2")]),
        np.zeros(3, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
        np.zeros(3, dtype=[("a", "O"), ("b", "f8")]),
        np.array([None, "text", {"a": 1}, [1, 2]], dtype=object),
        np.array([np.arange(2), np.arange(3)], dtype=object),
        np.array([np.nan, np.inf, -0.0]),
    ],
    ids=[
        "every second entry",
        "every third column",
        "backwards",
        "a window",
        "transposed",
        "broadcast",
        "structured",
        "aligned",
        "structured of objects",
        "objects",
        "arrays in an array",
        "special values",
    ],
)
def test_views_and_unusual_arrays_come_back(array, round_trip):
    back = round_trip(array)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    if array.dtype == object:
        for twin, value in zip(back, array, strict=True):
            np.testing.assert_equal(twin, value)
    else:
        np.testing.assert_array_equal(back, array)


def test_masked_arrays_come_back(round_trip):
    masked = np.ma.masked_array(np.arange(4.0), [True, False, False, True])
    back = round_trip(masked)
    np.testing.assert_array_equal(back.mask, masked.mask)
    np.testing.assert_array_equal(back.compressed(), masked.compressed())


def test_a_map_of_another_file_comes_back(tmp_path, round_trip):
    array = np.memmap(tmp_path / "raw", np.float64, "w+", shape=(3, 2))
    array[:] = 7
    np.testing.assert_array_equal(round_trip(array), array)


def test_read_only_arrays_come_back_read_only(round_trip):
    array = np.arange(5.0)
    array.flags.writeable = False
    back = round_trip({"X": array})["X"]
    np.testing.assert_array_equal(back, array)
    assert is_mapped(back)
    assert not back.flags.writeable


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        hnp.arrays(
            hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
        ),
        max_size=6,
    )
)
def test_any_number_of_any_arrays_comes_back_in_order(tmp_path_factory, arrays):
    path = tmp_path_factory.mktemp("many") / "arrays.bin"
    back = _shared_data.load(_shared_data.write(arrays, path))
    assert len(back) == len(arrays)
    for twin, array in zip(back, arrays, strict=True):
        check_equal(twin, array)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 4095, 4096, 4097])
def test_arrays_are_aligned_whatever_stands_before_them(size, round_trip):
    _, _, array = round_trip([b"x" * size, np.ones(size, np.uint8), np.arange(9.0)])
    assert array.ctypes.data % 64 == 0
    np.testing.assert_array_equal(array, np.arange(9.0))


# Other containers


FRAME = pd.DataFrame(
    {
        "float": [1.5, np.nan, 3.0],
        "int": [1, 2, 3],
        "text": ["a", "b", None],
        "category": pd.Categorical(["u", "v", "u"], ["v", "u", "w"], ordered=True),
        "time": pd.to_datetime(["2020-01-01", "2021-01-01", None]),
        "nullable": pd.array([1, None, 3], dtype="Int64"),
    },
    index=pd.Index([10, 20, 30], name="key"),
)


@pytest.mark.parametrize(
    "frame",
    [
        FRAME,
        FRAME.iloc[:0],
        FRAME[["float"]],
        FRAME.set_index("text", append=True),
        pd.DataFrame(np.arange(12.0).reshape(4, 3)),
        pd.DataFrame(),
    ],
    ids=["all dtypes", "empty frame", "one column", "two indexes", "numbers", "empty"],
)
def test_pandas_frames_come_back(frame, round_trip):
    pd.testing.assert_frame_equal(round_trip(frame), frame)


def test_pandas_series_come_back(round_trip):
    for name in FRAME:
        pd.testing.assert_series_equal(round_trip(FRAME[name]), FRAME[name])


def test_polars_frames_and_series_come_back(round_trip):
    frame = pl.DataFrame(
        {"float": [1.5, None], "text": ["a", "b"], "list": [[1], [2, 3]]},
        schema_overrides={"text": pl.Categorical},
    )
    back = round_trip({"X": frame, "y": frame["float"], "none": frame.clear()})
    assert back["X"].equals(frame)
    assert back["X"].schema == frame.schema
    assert back["y"].equals(frame["float"])
    assert back["none"].equals(frame.clear())


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("layout", ["csr", "csc", "coo", "bsr", "lil", "dok", "dia"])
def test_sparse_matrices_and_arrays_come_back(layout, kind, round_trip):
    dense = np.diag([1.0, 0.0, 3.0, 4.0])
    sparse = getattr(sp, f"{layout}_{kind}")(dense)
    back = round_trip(sparse)
    assert type(back) is type(sparse)
    np.testing.assert_array_equal(back.toarray(), dense)


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        "text",
        b"",
        (),
        [1, "a", None],
        {"a": {"b": {"c": [1, (2, {"d": 3})]}}, 4: frozenset({5})},
        np.float32(1.5),
        np.dtype("f4"),
        slice(1, 2),
    ],
    ids=repr,
)
def test_plain_objects_come_back(value, round_trip):
    assert round_trip(value) == value


def test_an_array_that_stands_twice_is_one_array(round_trip):
    array = np.arange(1000.0)
    first, second = round_trip([array, {"again": array}])
    assert first is second["again"]


def test_functions_of_every_kind_come_back(round_trip):
    offset = 10

    def closure(number):
        return number + offset

    functions = [
        lambda number: 2 * number,
        closure,
        functools.partial(closure, 5),
        np.sqrt,
        len,
        str.upper,
    ]
    double, plus_ten, fifteen, root, length, upper = round_trip(functions)
    assert (double(4), plus_ten(4), fifteen(), root(4), length("ab"), upper("a")) == (
        8,
        14,
        15,
        2,
        2,
        "A",
    )


def test_classes_that_no_module_has_come_back(round_trip):
    @dataclasses.dataclass
    class Local:
        values: np.ndarray

        def total(self):
            return float(self.values.sum())

    back = round_trip(Local(np.arange(4.0)))
    assert back.total() == 6.0
    assert is_mapped(back.values)


LOADING = """
import importlib.util
spec = importlib.util.spec_from_file_location("_shared_data", {module!r})
_shared_data = importlib.util.module_from_spec(spec)
spec.loader.exec_module(_shared_data)
from pathlib import Path
path = Path({path!r})
"""

WRITER = """
import numpy as np

SCALE = 3

class Scaled:
    def __init__(self, values):
        self.values = values

    def total(self):
        return scaled(self.values.sum())

def scaled(number):
    return SCALE * number

_shared_data.write({"of": Scaled(np.arange(4.0)), "function": scaled, "class": Scaled}, path)
"""

READER = """
value = _shared_data.load(path)
assert "Scaled" not in globals() and "scaled" not in globals()
assert value["of"].total() == 18
assert value["function"](2) == 6
assert isinstance(value["of"], value["class"])
print("read")
"""


def test_functions_and_classes_of_a_main_script_reach_another_process(tmp_path):
    head = LOADING.format(module=_shared_data.__file__, path=str(tmp_path / "of_main.bin"))
    printed = []
    for script in (WRITER, READER):
        process = subprocess.run(
            [sys.executable, "-c", head + script], capture_output=True, text=True, check=False
        )
        assert process.returncode == 0, process.stderr
        printed.append(process.stdout.strip())
    assert printed == ["", "read"]


# Memory


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "?", "U8", ">f4"])
def test_large_arrays_are_mapped_and_not_copied(dtype, order, round_trip):
    array = np.ones((300, 50), dtype=dtype, order=order)
    back = round_trip((array, {"nested": [array[0].copy()]}))
    assert is_mapped(back[0])
    assert is_mapped(back[1]["nested"][0])


def test_numbers_in_a_frame_and_in_a_sparse_matrix_are_mapped(round_trip):
    frame, sparse = round_trip((pd.DataFrame(np.ones((500, 4))), sp.eye_array(500, format="csr")))
    assert is_mapped(frame.to_numpy())
    assert all(map(is_mapped, (sparse.data, sparse.indices, sparse.indptr)))


def resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * mmap.PAGESIZE


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_large_array_takes_no_memory_until_it_is_read(tmp_path):
    n_bytes = 64 << 20
    path = _shared_data.write([np.ones(n_bytes // 8)], tmp_path / "large.bin")
    before = resident_bytes()
    (array,) = another_reader(path)
    assert array[-1] == 1.0
    assert resident_bytes() - before < n_bytes / 4


def test_one_process_loads_a_file_once(tmp_path):
    path = _shared_data.write(np.arange(1000.0), tmp_path / "once.bin")
    assert _shared_data.load(path) is _shared_data.load(path)


def test_the_pickle_in_the_file_contains_no_arrays(tmp_path):
    X = np.random.default_rng(0).normal(size=(1000, 10))
    path = _shared_data.write({"X": X, "y": X[:, 0].copy()}, tmp_path / "X.bin")
    assert path.stat().st_size < X.nbytes + X.nbytes / 10 + 2000


# Writes


def test_what_a_reader_writes_is_seen_by_no_other_and_not_in_the_file(tmp_path):
    path = _shared_data.write({"X": np.zeros((500, 20))}, tmp_path / "X.bin")
    before = path.read_bytes()
    first, second = another_reader(path)["X"], another_reader(path)["X"]
    assert not np.shares_memory(first, second)
    first[:] = 7
    assert not second.any()
    assert path.read_bytes() == before
    assert not another_reader(path)["X"].any()
    assert (first == 7).all()


def test_the_original_and_what_was_loaded_do_not_share_memory(round_trip):
    array = np.zeros(1000)
    back = round_trip(array)
    back[:] = 1
    assert not array.any()


def test_arrays_stay_readable_after_the_file_is_deleted(tmp_path):
    path = _shared_data.write(np.arange(10_000.0), tmp_path / "gone.bin")
    array = another_reader(path)
    path.unlink()
    assert array.sum() == 49_995_000


# The file


def test_a_file_that_is_there_is_not_overwritten(tmp_path):
    path = _shared_data.write("first", tmp_path / "taken.bin")
    with pytest.raises(FileExistsError, match=r"taken\.bin"):
        _shared_data.write("second", path)
    assert another_reader(path) == "first"


def test_write_returns_the_path(tmp_path):
    assert _shared_data.write(1, tmp_path / "one.bin") == tmp_path / "one.bin"


def test_what_cannot_be_pickled_leaves_no_file(tmp_path):
    with (
        open(tmp_path / "log.txt", "w") as file,
        pytest.raises((TypeError, pickle.PicklingError), match="pickle"),
    ):
        _shared_data.write({"file": file}, tmp_path / "none.bin")
    assert not (tmp_path / "none.bin").exists()
