"""The product of matrices: every shape, transpose and stride, against float64 NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from conftest import FULL, THREADS, assert_same_bits
from pyfast_nn import _core

SENTINEL = 7.25  # around c: must survive
transposes = pytest.mark.parametrize(
    ("transpose_a", "transpose_b"), list(itertools.product([False, True], repeat=2))
)


def embed(matrix, fill, pad):
    """A copy of `matrix` in the middle of a larger array full of `fill`; returns (view, whole)."""
    rows, columns = matrix.shape
    whole = np.full((rows + 2, columns + 2 * pad), fill, matrix.dtype)
    view = whole[1 : rows + 1, pad : pad + columns]
    view[...] = matrix
    return view, whole


def check(rng, m, n, k, dtype, alpha=1.0, beta=0.0, transpose_a=False, transpose_b=False, pad=3):
    """Compare with the oracle within the error bound of any order of summation, and look at the
    memory around c. NaN surrounds a and b, and fills c where beta is 0: none may arrive."""
    a = rng.standard_normal((k, m) if transpose_a else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if transpose_b else (k, n)).astype(dtype)
    c = rng.standard_normal((m, n)).astype(dtype)
    if beta == 0:
        c[...] = np.nan
    expected = oracle.gemm(a, b, c, alpha, beta, transpose_a, transpose_b)
    sizes = oracle.gemm(abs(a), abs(b), abs(c), abs(alpha), abs(beta), transpose_a, transpose_b)
    (a_view, _), (b_view, _) = embed(a, np.nan, pad), embed(b, np.nan, pad)
    c_view, c_whole = embed(c, SENTINEL, pad)

    _core.gemm(a_view, b_view, c_view, alpha, beta, transpose_a, transpose_b)

    result = c_view.astype(np.float64)
    bound = (k + 8) * float(np.finfo(dtype).eps) * sizes
    assert (np.abs(result - expected) <= bound).all(), np.abs(result - expected).max(initial=0)
    c_view[...] = SENTINEL
    assert (c_whole == SENTINEL).all(), "memory around c was written"
    np.testing.assert_array_equal(a_view, a)
    np.testing.assert_array_equal(b_view, b)


@transposes
def test_every_tail(isa, dtype, rng, transpose_a, transpose_b):
    sizes = [*range(1, 35), 47, 48, 49, 63, 64, 65]  # each as m, as n, and mixed
    pairs = itertools.product(sizes, sizes)
    if not FULL:
        pairs = zip(sizes * 3, rng.permutation(sizes * 3).tolist(), strict=True)
    for m, n in pairs:
        k = int(rng.integers(1, 40))
        check(rng, m, n, k, dtype, transpose_a=transpose_a, transpose_b=transpose_b)


@transposes
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 31, 32, 33, 255, 257, 512, 1024, 1025, 2049, 4500])
def test_every_inner_size(isa, dtype, rng, k, transpose_a, transpose_b):
    check(rng, 19, 37, k, dtype, transpose_a=transpose_a, transpose_b=transpose_b)
    check(rng, 1, 1, k, dtype, transpose_a=transpose_a, transpose_b=transpose_b)


@transposes
@pytest.mark.parametrize(
    ("m", "n", "k"),
    [(257, 130, 300), (1, 1000, 65), (1000, 1, 65), (700, 10, 70), (10, 700, 600), (129, 515, 17)],
)
def test_large(isa, dtype, rng, m, n, k, transpose_a, transpose_b):
    check(rng, m, n, k, dtype, transpose_a=transpose_a, transpose_b=transpose_b)


@pytest.mark.skipif(not FULL, reason="PYFAST_NN_FULL=1 runs this")
@transposes
@pytest.mark.parametrize("sizes", [(1030, 517, 2049), (2049, 1030, 517), (3, 5000, 3000)])
def test_larger_than_caches(isa, dtype, rng, sizes, transpose_a, transpose_b):
    check(rng, *sizes, dtype, transpose_a=transpose_a, transpose_b=transpose_b)


@transposes
@pytest.mark.parametrize("alpha", [1.0, -0.5])
@pytest.mark.parametrize("beta", [0.0, 1.0, 0.25])
def test_alpha_and_beta(isa, dtype, rng, alpha, beta, transpose_a, transpose_b):
    for m, n, k in [(1, 1, 1), (13, 33, 7), (70, 20, 600)]:
        check(rng, m, n, k, dtype, alpha, beta, transpose_a, transpose_b)


@transposes
@pytest.mark.parametrize("sizes", [s for s in itertools.product([0, 1, 5], repeat=3) if 0 in s])
def test_empty(isa, dtype, rng, sizes, transpose_a, transpose_b):
    for beta in (0.0, 0.5):  # with an inner size of 0 this is c = beta c
        check(rng, *sizes, dtype, 1.0, beta, transpose_a, transpose_b)


@transposes
def test_nothing_to_add_up_for_many_rows(isa, dtype, rng, transpose_a, transpose_b):
    check(rng, 100_000, 70, 0, dtype, 1.0, 0.5, transpose_a, transpose_b)


@transposes
@pytest.mark.parametrize("sizes", [(300, 136, 1600), (260, 70, 2100)])
def test_blocks_and_slabs(isa, dtype, rng, sizes, transpose_a, transpose_b):
    """Sizes that are cut along m and along k, the latter twice."""
    check(rng, *sizes, dtype, 1.0, 0.5, transpose_a, transpose_b)


@pytest.mark.parametrize("transpose_a", [False, True])
def test_bits_do_not_depend_on_the_columns_beside(isa, dtype, rng, transpose_a):
    """Columns are computed alone, by panels and by pairs of them: always the same sums."""
    m, n, k = 37, 3 * 32 + 7, 301
    a = rng.standard_normal((k, m) if transpose_a else (m, k)).astype(dtype)
    b = rng.standard_normal((k, n)).astype(dtype)
    whole = _core.gemm(a, b, None, 1.0, 0.0, transpose_a, False)
    for columns in (1, 16, 32, 64, 96):
        part = _core.gemm(a, b[:, -columns:], None, 1.0, 0.0, transpose_a, False)
        assert_same_bits(part, np.ascontiguousarray(whole[:, -columns:]))


def test_contiguous(isa, dtype, rng):
    for m, n, k in [(16, 32, 64), (15, 31, 63), (128, 64, 10)]:
        check(rng, m, n, k, dtype, pad=0)


@given(
    m=st.integers(0, 90),
    n=st.integers(0, 90),
    k=st.integers(0, 400),
    alpha=st.sampled_from([1.0, -1.0, 0.3]),
    beta=st.sampled_from([0.0, 1.0, -0.7]),
    transpose_a=st.booleans(),
    transpose_b=st.booleans(),
    pad=st.integers(0, 20),
    seed=st.integers(0, 2**32),
)
def test_anything(isa, dtype, m, n, k, alpha, beta, transpose_a, transpose_b, pad, seed):
    rng = np.random.default_rng(seed)
    check(rng, m, n, k, dtype, alpha, beta, transpose_a, transpose_b, pad)


@transposes
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_arrive(isa, dtype, rng, special, transpose_a, transpose_b):
    """In exactly the row (of a) or the column (of b) where they belong."""
    m, n, k = 21, 37, 19
    for row, inner in [(0, 0), (m - 1, k - 1), (8, 3)]:
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.random((k, n)).astype(dtype) + 0.5
        a[row, inner] = special
        ours = np.zeros((m, n), dtype)
        operands = [(a, transpose_a), (b, transpose_b)]
        operands = [np.ascontiguousarray(x.T if t else x) for x, t in operands]
        _core.gemm(*operands, ours, 1.0, 0.0, transpose_a, transpose_b)
        assert np.isfinite(np.delete(ours, row, axis=0)).all()
        np.testing.assert_array_equal(ours[row], np.full(n, special, dtype))

        ours = np.zeros((n, m), dtype)
        operands = [(b.T, transpose_a), (a.T, transpose_b)]
        operands = [np.ascontiguousarray(x.T if t else x) for x, t in operands]
        _core.gemm(*operands, ours, 1.0, 0.0, transpose_a, transpose_b)
        assert np.isfinite(np.delete(ours, row, axis=1)).all()
        np.testing.assert_array_equal(ours[:, row], np.full(n, special, dtype))


def test_nan_in_c_arrives_unless_beta_is_zero(isa, dtype):
    a, b = np.ones((5, 3), dtype), np.ones((3, 7), dtype)
    for beta, finite in [(0.0, True), (1.0, False), (0.5, False)]:
        c = np.full((5, 7), np.nan, dtype)
        _core.gemm(a, b, c, 1.0, beta, False, False)
        assert np.isfinite(c).all() if finite else np.isnan(c).all()


@pytest.mark.parametrize(
    ("m", "n", "k"),
    [
        (1, 1, 1),
        (3, 5, 7),
        (1, 257, 64),
        (301, 1, 64),
        (64, 10, 5000),  # long inner dimension, small output: a weight gradient
        (1, 1, 20000),
        (2000, 10, 12),
        (300, 200, 100),
        (128, 513, 300),
    ],
)
@transposes
def test_bits_do_not_depend_on_threads(
    isa, dtype, rng, restore_threads, m, n, k, transpose_a, transpose_b
):
    a = rng.standard_normal((k, m) if transpose_a else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if transpose_b else (k, n)).astype(dtype)
    start = rng.standard_normal((m, n)).astype(dtype)
    for beta in (0.0, 1.0):
        results = []
        for count in THREADS:
            _core.set_num_threads(count)
            results.append(start.copy())
            _core.gemm(a, b, results[-1], 1.0, beta, transpose_a, transpose_b)
        for result in results[1:]:
            assert_same_bits(result, results[0])


def good():
    return {"a": np.ones((4, 3)), "b": np.ones((3, 5)), "c": np.ones((4, 5))}


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("a", np.ones(4)),
        ("a", np.ones((4, 3), "float32")),
        ("a", np.ones((4, 3), "int64")),
        ("a", [[1.0] * 3] * 4),
        ("b", np.ones((4, 5))),
        ("b", np.ones((3, 5, 1))),
        ("b", np.ones((3, 5), "float16")),
        ("c", np.ones((4, 4))),
        ("c", np.ones((5, 5))),
        ("c", read_only(np.ones((4, 5)))),
        ("c", np.ones((4, 5)).tolist()),
    ],
)
def test_wrong_arguments(name, bad):
    arguments = {**good(), name: bad}
    before = np.array(arguments["c"])
    # which of two operands that do not fit together is to blame is a matter of taste
    pattern = "a|b|out" if name != "c" else "out"
    with pytest.raises((ValueError, TypeError), match=rf"\b({pattern})\b"):
        _core.gemm(arguments["a"], arguments["b"], arguments["c"], 1.0, 0.0, False, False)
    np.testing.assert_array_equal(arguments["c"], before)
