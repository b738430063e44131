"""Inputs as they come, converted while they are gathered: the same bits as from a clean copy, no
copy of the whole, and the first number that is not finite found."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

import pyfast_nn as fnn
from conftest import assert_same_bits
from problems import core_network
from pyfast_nn import _core
from pyfast_nn.models import engine_of

REALS = [*"efd", *"bhiqBHIQ", "?"]
UPDATE = ("sgd", {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0})


def in_memory(X):
    """The same numbers in other memory, by name."""
    rows, columns = X.shape
    wide = np.zeros((2 * rows, 3 * columns), X.dtype)
    wide[::2, ::3] = X
    raw = np.zeros(X.nbytes + 1, np.uint8)[1:].view(X.dtype).reshape(X.shape)
    raw[...] = X
    memory = {
        "as it is": X,
        "fortran": np.asfortranarray(X),
        "strided": wide[::2, ::3],
        "reversed": X[::-1, ::-1].copy()[::-1, ::-1],
        "misaligned": raw,
    }
    if X.itemsize > 1:
        swapped = {name: x.astype(x.dtype.newbyteorder()) for name, x in memory.items()}
        swapped["misaligned"] = np.zeros(X.nbytes + 1, np.uint8)[1:].view(swapped["fortran"].dtype)
        swapped["misaligned"] = swapped["misaligned"].reshape(X.shape)
        swapped["misaligned"][...] = X
        assert not swapped["misaligned"].flags.aligned
        memory |= {f"byte-swapped, {name}": x for name, x in swapped.items()}
    return memory


def results(X, dtype):
    """Everything that reads X: trained parameters, outputs, scores and derivatives."""
    model = fnn.Sequential([fnn.Dense(5), fnn.Tanh(), fnn.Dense(3)], dtype=dtype, seed=1)
    y = np.arange(X.shape[0]) % 3
    with np.errstate(all="ignore"):
        model.fit(X, y, loss="cross_entropy", epochs=2, batch_size=7, verbose=0)
    out, pullback = model.vjp(X)
    v = np.linspace(-1, 1, model.n_parameters)
    loss, grad = model.loss_and_grad(X, y)
    scores = np.array([loss, *model.evaluate(X, y).values()])
    return [
        *(model.parameters, model.forward(X), out, *pullback(out), grad, scores),
        *(model.hvp(X, y, v), *model.jvp(X, v), model.predict(X)),
    ]


@pytest.mark.parametrize("code", REALS)
def test_any_memory_gives_the_bits_of_a_clean_copy(code, isa, dtype, rng):
    X = rng.integers(0, 2 if code == "?" else 100, (20, 37)).astype(code)
    if X.dtype.kind == "f":
        X = (X / 100 * rng.choice([1, -1], X.shape)).astype(code)
    expected = results(X.astype(dtype), dtype)
    for given in in_memory(X).values():
        before = given.copy()
        for actual, clean in zip(results(given, dtype), expected, strict=True):
            assert_same_bits(actual, clean)
        assert_same_bits(given, before)


@pytest.mark.parametrize("code", ["e", ">f8", "B"])
def test_any_number_of_threads(code, isa, threads, rng):
    X = rng.integers(0, 9, (1500, 70)).astype(code)  # rows for each thread, and two chunks
    y = np.arange(len(X)) % 9
    model = fnn.Sequential([fnn.Dense(40), fnn.ReLU(), fnn.Dense(9)]).build(70)
    clean = X.astype(np.float32)
    assert_same_bits(model.forward(X), model.forward(clean))
    for actual, expected in zip(
        model.loss_and_grad(X, y, loss="cross_entropy"),
        model.loss_and_grad(clean, y, loss="cross_entropy"),
        strict=True,
    ):
        assert_same_bits(actual, expected)


class TestFloat16:
    """All 65,536 of them, NumPy's conversion as oracle."""

    bits = np.arange(2**16, dtype=np.uint16)

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_one_by_one(self, order, isa, dtype):
        x = self.bits.view(np.float16).astype(f"{order}f2")[:, None]
        net = core_network(dtype, 1, [("dense", 1, ())])
        out = np.empty((len(x), 1), dtype)
        net.forward(np.array([1.0, -0.0], dtype), x, out)  # -0 + -0 keeps the sign
        expected = x.astype(dtype)
        np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))
        finite = ~np.isnan(expected)
        assert_same_bits(out[finite], expected[finite])

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_in_whole_vectors(self, order, isa, dtype):
        x = self.bits[: 2**15].view(np.float16).astype(f"{order}f2").reshape(-1, 64)  # sign + only
        net = core_network(dtype, 64, [("relu", 0, ())])
        out = np.empty(x.shape, dtype)
        net.forward(np.empty(0, dtype), x, out)
        np.testing.assert_array_equal(out, x.astype(dtype))
        assert np.isinf(out).sum() == 1 and np.isnan(out).sum() == 1023


class TestFinite:
    def first(self, X, dtype):
        return _core.first_non_finite_row(X, dtype)

    @pytest.mark.parametrize("code", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
    @pytest.mark.parametrize("columns", [1, 7, 70])
    def test_the_first_row(self, code, columns, isa, dtype, rng):
        clean = rng.normal(size=(3000, columns)).astype(code)
        for given in (clean, np.asfortranarray(clean), clean[::-1]):
            X = given.copy(order="K")
            assert self.first(X, dtype) is None
            for row in (2999, 1500, 257, 256, 255, 0):  # from the last to the first
                X[row, rng.integers(columns)] = rng.choice([np.nan, np.inf, -np.inf])
                assert self.first(X, dtype) == row

    def test_any_number_of_threads(self, isa, threads, rng):
        X = rng.normal(size=(20_000, 40))
        rows = np.sort(rng.choice(20_000, 5, replace=False))
        X[rows, rng.integers(0, 40, 5)] = np.nan
        assert self.first(X, "float32") == rows[0]
        assert self.first(X[rows[-1] + 1 :], "float64") is None

    def test_large_numbers(self, isa):
        X = np.full((5, 3), 1e300)
        assert self.first(X, "float64") is None and self.first(X, "float32") == 0
        X = np.full((5, 3), np.finfo(np.float32).max)  # whose sum overflows
        assert self.first(X, "float32") is None

    @pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
    def test_nothing(self, shape):
        assert self.first(np.empty(shape), "float32") is None

    @pytest.mark.parametrize("code", ["<f2", ">f4", "<f8"])
    def test_fit_names_row_and_column(self, code):
        X = np.ones((400, 3), code)
        X[301, 2] = X[399, 0] = np.inf
        with pytest.raises(ValueError, match=r"X: .*float32 numbers, got inf in row 301, column 2"):
            fnn.Sequential([fnn.Dense(1)]).fit(X, np.ones(400), loss="mse", verbose=0)


# Peaks of memory are measured in a process of its own, from the moment when X is there.
PEAK = """
import importlib.util, sys, numpy as np, pyfast_nn as fnn
rows, columns = 20_000, 800
def peak_of(kind, X):
    def memory(field):
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(field)) * 1024
    model = fnn.Sequential([fnn.Standardize(), fnn.Dense(4), fnn.ReLU(), fnn.Dense(2)])
    y = np.arange(rows) % 2
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is what there is now
    before = memory("VmRSS")
    model.fit(X, y, loss="cross_entropy", epochs=1, verbose=0)
    model.evaluate(X, y), model.predict(X), model.loss_and_grad(X, y)
    print(kind, memory("VmHWM") - before)
X = np.zeros((rows, columns), np.uint8)
X[::3] = 1
peak_of("uint8", X)
peak_of("float16", X.astype(np.float16))
peak_of("byte-swapped", X.astype(">i2"))
peak_of("misaligned", np.zeros(X.size * 2 + 1, np.uint8)[1:].view("f2").reshape(X.shape))
np.save(sys.argv[1], X)
del X
if importlib.util.find_spec("scipy"):
    from scipy.sparse import random
    peak_of("sparse", random(rows, columns, density=0.01, dtype=np.float32, format="csr"))
peak_of("memory-mapped", np.load(sys.argv[1], mmap_mode="r"))
"""


@pytest.mark.once
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_converted_copy_of_the_whole(tmp_path):
    command = [sys.executable, "-c", PEAK, str(tmp_path / "X.npy")]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    peaks = {line.split()[0]: int(line.split()[1]) for line in lines}
    assert len(peaks) >= 5
    copy = 20_000 * 800 * 4
    peaks["memory-mapped"] -= copy // 4  # the pages of the file, which the system may take back
    for kind, peak in peaks.items():
        assert peak < copy / 4, kind


def available_memory():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvail")) * 1024


@pytest.mark.once
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_more_than_2_to_the_31_numbers():
    columns = 4096
    rows = 2**31 // columns + 5
    if available_memory() < 2**32:
        pytest.skip("less than 4 GiB of memory are available")
    X = np.zeros((rows, columns), np.uint8)  # memory that is never written costs nothing
    X[-3:, -1] = 1, 2, 3
    model = fnn.Sequential([fnn.Dense(1, init=1.0)]).build(columns)
    order = np.array([rows - 1, 0, rows - 3, 1])
    report, y = np.zeros(3), np.zeros((rows, 1), np.float32)
    epoch = {"order": order, "batch_size": 4, "lr": 0.0, "update": UPDATE, "state": [], "step": 0}
    engine_of(model).net.train(model.parameters, X, y, ("mse", {}), **epoch, report=report)
    assert report[0] == 3**2 + 1**2
    np.testing.assert_array_equal(model.forward(X)[-4:, 0], [0, 1, 2, 3])


class TestSparse:
    """scipy.sparse, densified row by row."""

    def dense(self, rng, code="d", shape=(23, 70)):
        return (
            rng.integers(1, 2 if code == "?" else 100, shape) * (rng.random(shape) < 0.2)
        ).astype(code)

    @pytest.mark.parametrize("code", [c for c in REALS if c != "e"])
    def test_the_bits_of_a_dense_copy(self, code, isa, dtype, rng):
        X = self.dense(rng, code)
        X[[3, 22]] = 0  # rows without numbers
        for actual, expected in zip(
            results(sparse.csr_array(X), dtype), results(X.astype(dtype), dtype), strict=True
        ):
            assert_same_bits(actual, expected)

    @pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "lil", "dok", "dia"])
    @pytest.mark.parametrize("suffix", ["array", "matrix"])
    def test_formats(self, kind, suffix, rng):
        X = self.dense(rng)
        given = getattr(sparse, f"{kind}_{suffix}")(X)
        model = fnn.Sequential([fnn.Dense(3)]).build(70)
        assert_same_bits(model.forward(given), model.forward(X))
        assert given.format == kind and (given.toarray() == X).all()

    @pytest.mark.parametrize("integer", [np.int32, np.int64])
    def test_indices(self, integer, isa, rng):
        X = self.dense(rng)
        csr = sparse.csr_array(X)
        csr.indptr, csr.indices = csr.indptr.astype(integer), csr.indices.astype(integer)
        model = fnn.Sequential([fnn.Dense(3)], dtype="float64").build(70)
        assert_same_bits(model.forward(csr), model.forward(X))
        assert csr.indices.dtype == integer

    def test_duplicates_are_summed(self, rng):
        places = np.array([0, 3, 3, 0, 3]), np.array([5, 1, 1, 5, 0])
        coo = sparse.coo_array((np.arange(1.0, 6.0), places), shape=(4, 7))
        csr = sparse.csr_array(
            (np.array([1.0, 4, 5, 2, 3]), [5, 5, 0, 1, 1], [0, 2, 2, 2, 5]), shape=(4, 7)
        )
        model = fnn.Sequential([fnn.Dense(3)], dtype="float64").build(7)
        expected = model.forward(coo.toarray())
        assert_same_bits(model.forward(coo), expected)
        before = csr.data.copy(), csr.indices.copy(), csr.indptr.copy()
        assert_same_bits(model.forward(csr), expected)
        for actual, was in zip((csr.data, csr.indices, csr.indptr), before, strict=True):
            assert_same_bits(actual, was)

    def test_unsorted_columns_zeros_and_spare_memory(self):
        csr = sparse.csr_array(
            (np.array([1.0, 2, 0, 9, 9]), [4, 1, 0, 77, 88], [0, 3, 3]), shape=(2, 5)
        )
        model = fnn.Sequential([fnn.Dense(3)], dtype="float64").build(5)
        assert_same_bits(model.forward(csr), model.forward([[0, 2.0, 0, 0, 1], [0] * 5]))

    def test_any_number_of_threads(self, isa, threads, rng):
        X = self.dense(rng, "f", (1500, 70))
        model = fnn.Sequential([fnn.Dense(40), fnn.ReLU(), fnn.Dense(9)]).build(70)
        assert_same_bits(model.forward(sparse.csr_array(X)), model.forward(X))

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_not_finite(self, bad, rng):
        X = self.dense(rng)
        X[17, 3] = X[18, 0] = bad
        with pytest.raises(ValueError, match=r"X: .*(nan|inf) in row 17, column 3"):
            fnn.Sequential([fnn.Dense(1)]).fit(
                sparse.csc_array(X), np.ones(23), loss="mse", verbose=0
            )
        X = sparse.csr_array(np.full((2, 2), 1e300))
        with pytest.raises(ValueError, match=r"float32 numbers, got 1e\+300 in row 0, column 0"):
            fnn.Sequential([fnn.Dense(1)]).fit(X, np.ones(2), loss="mse", verbose=0)

    @pytest.mark.parametrize(
        ("X", "error", "match"),
        [
            (sparse.csr_array((3, 4)), ValueError, r"X: expected 7 columns, got shape \(3, 4\)"),
            (sparse.csr_array((3, 7), dtype=complex), TypeError, "X: .*complex128"),
            (sparse.coo_array(np.ones(7)), ValueError, "X: expected 2 dimensions"),
        ],
    )
    def test_impossible(self, X, error, match):
        with pytest.raises(error, match=match):
            fnn.Sequential([fnn.Dense(1)]).build(7).forward(X)

    @pytest.mark.parametrize(
        ("format_", "part"),
        [
            *((f, part) for f in ("csr", "csc", "bsr") for part in ("indices", "indptr")),
            *(("coo", "row"), ("coo", "col"), ("lil", "rows"), ("dia", "offsets")),
        ],
    )
    @pytest.mark.parametrize("value", [-1, -5, 77, 10**8, -(10**8), 2**31 - 1, -(2**31)])
    def test_places_that_are_not_in_the_matrix(self, format_, part, value, rng):
        """Each of them is refused by name, before SciPy writes where it points."""
        X = sparse.csr_array(self.dense(rng, shape=(20, 70))).asformat(format_)
        if format_ == "lil":
            X.rows[3][0] = value
        elif format_ == "dia":
            X.offsets = X.offsets.astype(np.int64)
            X.offsets[3] = value + np.sign(value) * 2**31
        else:
            getattr(X, part)[3] = value
        before = getattr(X, part).copy()
        model = fnn.Sequential([fnn.Dense(3)]).build(70)
        with pytest.raises(ValueError, match=rf"^X\.{part}: expected .*-?\d+"):
            model.forward(X)
        np.testing.assert_array_equal(getattr(X, part), before)

    @pytest.mark.parametrize(
        ("format_", "part", "change"),
        [
            *((f, "indices", lambda a: a[:-1]) for f in ("csr", "csc", "bsr")),
            *((f, "indptr", lambda a: a[:-1]) for f in ("csr", "csc", "bsr")),
            *((f, "indptr", lambda a: a + 1) for f in ("csr", "csc", "bsr")),
            *((f, "indices", lambda a: a.astype(float)) for f in ("csr", "csc", "bsr")),
            *((f, "data", np.ndarray.tolist) for f in ("csr", "csc", "bsr", "coo")),
            *((f, "data", lambda a: a[..., None]) for f in ("csr", "csc", "bsr", "coo", "dia")),
            *((f, "data", lambda a: a.astype(object)) for f in ("csr", "csc", "bsr", "coo")),
            ("bsr", "data", lambda a: np.ones((len(a), 7, 3))),
            ("coo", "data", lambda a: a[:-1]),
            ("dia", "offsets", lambda a: np.arange(10**6)[::-1]),
            ("dia", "data", lambda a: a[:-1]),
            ("lil", "rows", lambda a: a[:-1]),
            ("lil", "data", lambda a: np.array([row + [1.0] * 10**6 for row in a], object)),
        ],
    )
    def test_parts_that_do_not_fit_each_other(self, format_, part, change, rng):
        X = sparse.csr_array(self.dense(rng, shape=(4, 70))).asformat(format_)
        setattr(X, part, change(getattr(X, part)))
        with pytest.raises((TypeError, ValueError), match=r"^X\b.*: expected .*, got "):
            fnn.Sequential([fnn.Dense(3)]).build(70).forward(X)

    @pytest.mark.parametrize("threads_", [1, 3])
    @pytest.mark.parametrize("part", ["indices", "indptr"])
    @pytest.mark.parametrize("value", [-1, 70, 2**31 - 1, -(2**31)])
    def test_places_outside_are_never_read(self, threads_, part, value, isa, restore_threads, rng):
        """The core trusts nobody: the arrays may have changed since SciPy checked them."""
        _core.set_num_threads(threads_)
        csr = sparse.csr_array(self.dense(rng, "f", (2000, 70)))
        getattr(csr, part)[700] = value
        net = core_network("float32", 70, [("dense", 9, ())])
        with pytest.raises(ValueError, match="of a sparse matrix"):
            net.forward(np.zeros(639, np.float32), csr, np.empty((2000, 9), np.float32))

    def test_parts_that_do_not_fit(self, rng):
        net = core_network("float64", 70, [("dense", 1, ())])

        def forward(**parts):
            csr = sparse.csr_array(self.dense(rng))
            for name, value in parts.items():
                setattr(csr, name, value(getattr(csr, name)))
            net.forward(np.zeros(71), csr, np.empty((23, 1)))

        forward()
        for parts in (
            {"indptr": lambda a: a[:-1]},
            {"indptr": lambda a: a.astype(np.int64)},  # and the other int32
            {"indices": lambda a: a.astype(np.int64)},
            {"indices": lambda a: a.astype(np.float64)},
            {"indices": lambda a: np.repeat(a, 2)[::2]},
            {"indices": lambda a: a[:-1]},
            {"data": lambda a: a[:-1]},
            {"data": lambda a: a.astype(complex)},
            {"data": lambda a: a[:, None]},
            {"data": list},
        ):
            with pytest.raises((TypeError, ValueError)):
                forward(**parts)
        forward(data=lambda a: np.repeat(a, 2)[::2])  # strides do not matter here
