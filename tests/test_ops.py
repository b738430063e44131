"""`fnn.ops`: every function against float64 NumPy, on any array, with and without `out`.

The tables below describe each function once; most tests go over all of them.
"""

from __future__ import annotations

import inspect
import math
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

import oracle
from conftest import FULL, THREADS, assert_close, assert_same_bits, tolerance
from problems import example_of
from pyfast_nn import _core, layers, losses, ops


@dataclass
class Op:
    """A function of float64 arrays that `make(rng, n, k, m)` draws, and what it returns."""

    name: str
    make: Any
    reference: Any  # of the same arrays
    options: Any = ()  # keyword arguments
    inner: Any = lambda n, k, m: k  # products in the longest sum

    def __call__(self, *arrays, out=None):
        """The results as a tuple; `out` as the function takes it."""
        results = getattr(ops, self.name)(*arrays, **dict(self.options), out=out)
        return results if isinstance(results, tuple) else (results,)

    def expected(self, *arrays):
        results = self.reference(*(np.asarray(array, np.float64) for array in arrays))
        return results if isinstance(results, tuple) else (results,)

    def __str__(self):
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.options)])


def draw(*shapes):
    """A maker of arrays with these shapes, written as strings of the letters n, k, m."""

    def make(rng, n, k, m):
        sizes = {"n": n, "k": k, "m": m}
        return [rng.standard_normal([sizes[letter] for letter in shape]) for shape in shapes]

    return make


def softmax_backward(da, z):
    p = np.exp(oracle.log_softmax(z))
    return p * (da - (p * da).sum(axis=1, keepdims=True))


OPS = [
    Op("gemm", draw("nk", "km"), lambda a, b: a @ b),
    Op(
        "gemm",
        draw("kn", "mk"),
        lambda a, b: -0.5 * a.T @ b.T,
        [("trans_a", True), ("trans_b", True), ("alpha", -0.5)],
    ),
    Op("dense_forward", draw("nk", "km", "m"), lambda x, w, b: x @ w + b),
    Op(
        "dense_backward",
        draw("nm", "nk", "km"),
        lambda dz, x, w: (dz @ w.T, x.T @ dz, dz.sum(axis=0)),
        inner=lambda n, k, m: max(n, m),
    ),
    Op("softmax", draw("nm"), lambda z: np.exp(oracle.log_softmax(z))),
    Op("softmax_backward", draw("nm", "nm"), softmax_backward),
    Op("log_softmax", draw("nm"), oracle.log_softmax),
]

# Values of their parameters that are not the defaults.
ACTIVATIONS = {
    "leaky_relu": {"negative_slope": 0.2},
    "elu": {"alpha": 0.7},
    "softplus": {"beta": 1.5},
    "hardtanh": {"min_val": -0.4, "max_val": 0.7},
    "gelu_tanh": {"approximate": "tanh"},
}
for kind, (value, derivative, _) in oracle.ACTIVATIONS.items():
    name, options = kind.removesuffix("_tanh"), ACTIVATIONS.get(kind, {})
    values = [v for v in options.values() if not isinstance(v, str)]
    OPS += [
        Op(name, draw("nm"), lambda z, f=value, v=values: f(z, *v), list(options.items())),
        Op(
            f"{name}_backward",
            draw("nm", "nm"),
            lambda da, z, f=derivative, v=values: da * f(z, *v),
            list(options.items()),
        ),
    ]

all_ops = pytest.mark.parametrize("op", OPS, ids=str)

# Rows, inner columns, outer columns: one of each, odd ones, whole vectors, tails, beyond one chunk.
SIZES = [
    *[(1, 1, 1), (2, 3, 1), (1, 200, 65), (13, 17, 33), (16, 32, 64), (31, 64, 10)],
    *[(257, 3, 47), (1030, 70, 7), (2049, 5, 16)],
]
SHARED = [(1500, 70, 33), (40, 300, 260)]  # enough work for a team


def draw_as(dtype, op, rng, size):
    return [array.astype(dtype) for array in op.make(rng, *size)]


@all_ops
def test_values(isa, dtype, rng, op):
    for size in [*SIZES, *SHARED] if FULL else SIZES:
        arrays = draw_as(dtype, op, rng, size)
        for result, expected in zip(op(*arrays), op.expected(*arrays), strict=True):
            assert result.dtype == dtype
            assert_close(result, expected, dtype, op.inner(*size))


@all_ops
@pytest.mark.parametrize("size", [(0, 3, 4), (5, 0, 4), (0, 0, 1), (5, 3, 0), (0, 0, 0)])
def test_empty(dtype, rng, op, size):
    if "softmax" in op.name and size[2] == 0:
        with pytest.raises(ValueError, match="at least one column"):
            op(*draw_as(dtype, op, rng, size))
        return
    arrays = draw_as(dtype, op, rng, size)
    out = tuple(np.full_like(result, np.nan) for result in op(*arrays))
    for result in op(*arrays), op(*arrays, out=out if len(out) > 1 else out[0]):
        for actual, expected in zip(result, op.expected(*arrays), strict=True):
            assert_close(actual, expected, dtype, 1)


@all_ops
def test_bits_do_not_depend_on_threads(isa, dtype, rng, restore_threads, op):
    for size in [*SHARED, (3, 2000, 700)]:
        arrays, results = draw_as(dtype, op, rng, size), []
        for count in THREADS:
            _core.set_num_threads(count)
            results.append(op(*arrays))
        for result in results[1:]:
            for actual, expected in zip(result, results[0], strict=True):
                assert_same_bits(actual, expected)


@all_ops
def test_nan_arrives(isa, dtype, rng, op):
    """A NaN anywhere in an input is seen in what follows from it, as NumPy has it."""
    arrays = draw_as(dtype, op, rng, (19, 7, 5))
    for position, array in enumerate(arrays):
        spoilt = [array.copy() for array in arrays]
        spoilt[position].flat[rng.integers(array.size)] = np.nan
        with np.errstate(invalid="ignore"):
            everything = op.expected(*spoilt)
        for actual, expected in zip(op(*spoilt), everything, strict=True):
            np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))


# ---------------------------------------------------------------------------- arrays as they come

LAYOUTS = {
    "fortran": np.asfortranarray,
    "strided": lambda x: (
        np.repeat(np.repeat(x, 2, axis=-1), 3, axis=0)[::3][..., ::2]
        if x.ndim > 1
        else np.repeat(x, 2)[::2]
    ),
    "negative": lambda x: np.flip(np.flip(x).copy()),
    "read-only": lambda x: read_only(x.copy()),
    "swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "misaligned": lambda x: misaligned(x),
    "window": lambda x: np.pad(x, 2, constant_values=99)[(slice(2, -2),) * x.ndim],
    "list": lambda x: x.tolist(),
}


def read_only(x):
    x.flags.writeable = False
    return x


def misaligned(x):
    memory = np.zeros(x.nbytes + 1, np.uint8)
    view = memory[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


@pytest.mark.once
@given(
    op=st.sampled_from(OPS),
    size=st.tuples(*[st.integers(1, 40)] * 3),
    layouts=st.lists(st.sampled_from(sorted(LAYOUTS)), min_size=3, max_size=3),
    seed=st.integers(0, 2**32),
)
def test_any_layout_is_a_clean_copy(op, size, layouts, seed):
    arrays = op.make(np.random.default_rng(seed), *size)
    hostile = [LAYOUTS[layout](x) for x, layout in zip(arrays, layouts, strict=False)]
    for actual, expected in zip(op(*hostile), op(*arrays), strict=True):
        assert_same_bits(actual, expected)
    for after, before in zip(hostile, arrays, strict=True):
        np.testing.assert_array_equal(after, before)


@all_ops
@pytest.mark.parametrize("input_dtype", ["int8", "int64", "uint8", "bool", "float16", "longdouble"])
@pytest.mark.once
def test_input_dtypes(rng, op, input_dtype):
    """Each alone; and with float32 beside it, where integers do not decide the dtype."""
    drawn = op.make(rng, 9, 6, 5)
    arrays = [np.rint(abs(array)).astype(input_dtype) for array in drawn]
    dtype = "float32" if input_dtype == "float16" else "float64"
    for actual, expected in zip(op(*arrays), op.expected(*arrays), strict=True):
        assert actual.dtype == dtype
        assert_close(actual, expected, dtype, 9)
    if len(arrays) > 1:
        arrays[1:] = [array.astype(np.float32) for array in arrays[1:]]
        for actual, expected in zip(op(*arrays), op.expected(*arrays), strict=True):
            assert actual.dtype == ("float64" if input_dtype == "longdouble" else "float32")
            assert_close(actual, expected, "float32", 9)


@all_ops
@pytest.mark.parametrize(
    "bad",
    [None, "text", [["a"]], np.ones((3, 3), complex), [[1, 2], [3]], np.ma.masked_all((3, 3))],
)
@pytest.mark.once
def test_what_is_not_numbers(rng, op, bad):
    arrays = op.make(rng, 3, 3, 3)
    for position in range(len(arrays)):
        with pytest.raises((TypeError, ValueError), match=r"^\w+: expected"):
            op(*arrays[:position], bad, *arrays[position + 1 :])


# --------------------------------------------------------------------------------------------- out

OUT_LAYOUTS = {
    "contiguous": lambda x: np.full_like(x, np.nan, order="C"),
    "fortran": lambda x: np.full_like(x, np.nan, order="F"),
    "strided": lambda x: np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)[..., ::2],
    "negative": lambda x: np.full(x.shape, np.nan, x.dtype)[::-1],
    "misaligned": lambda x: misaligned(np.full(x.shape, np.nan, x.dtype)),
}


@all_ops
@pytest.mark.parametrize("layout", OUT_LAYOUTS)
@pytest.mark.once
def test_out(dtype, rng, op, layout):
    arrays = draw_as(dtype, op, rng, (17, 6, 35))
    expected = op(*arrays)
    out = tuple(OUT_LAYOUTS[layout](result) for result in expected)
    results = op(*arrays, out=out if len(out) > 1 else out[0])
    for result, given_array, value in zip(results, out, expected, strict=True):
        assert result is given_array
        assert_same_bits(result, value)


@all_ops
@pytest.mark.once
def test_out_may_overlap_inputs(dtype, rng, op):
    """Out and an input in one memory, either before the other."""
    arrays = draw_as(dtype, op, rng, (1100, 9, 9))
    expected = op(*arrays)
    for which, value in enumerate(expected):
        for position, array in enumerate(arrays):
            for shift in (0, 1, -1, 9, -9, -100):
                memory = np.full(max(array.size, value.size) + abs(shift), np.nan, dtype)
                source = memory[max(shift, 0) :][: array.size].reshape(array.shape)
                target = memory[max(-shift, 0) :][: value.size].reshape(value.shape)
                if not np.shares_memory(source, target):
                    continue
                source[...] = array
                inputs = [*arrays[:position], source, *arrays[position + 1 :]]
                out = tuple(target if i == which else None for i in range(len(expected)))
                results = op(*inputs, out=out if len(out) > 1 else target)
                assert results[which] is target
                for actual, value_ in zip(results, expected, strict=True):
                    assert_same_bits(actual, value_)


@pytest.mark.once
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "gelu"])
def test_in_place(dtype, rng, name):
    """`out` may be the input itself; nothing is copied then."""
    function = getattr(ops, name)
    z = rng.standard_normal((300, 17)).astype(dtype)
    expected = function(z)
    assert function(z, out=z) is z
    assert_same_bits(z, expected)


@all_ops
@pytest.mark.once
def test_wrong_out(rng, op):
    arrays = op.make(rng, 4, 3, 6)
    for which, value in enumerate(op(*arrays)):
        one_place = as_strided(np.zeros(1), value.shape, [0] * value.ndim)
        wrongs = [
            (one_place, ValueError, "elements that overlap in memory"),
            (np.zeros((*value.shape, 1)), ValueError, r"\("),
            (np.zeros(value.shape, np.float32), TypeError, "float32"),
            (np.zeros(value.shape, ">f8"), TypeError, ">f8"),
            (read_only(np.zeros(value.shape)), ValueError, "read-only"),
            (np.zeros(value.shape).tolist(), TypeError, "list"),
        ]
        for wrong, error, text in wrongs:
            name = "out"
            out = wrong
            if op.name == "dense_backward":
                name = ("dx", "dw", "db")[which]
                out = tuple(wrong if i == which else None for i in range(3))
            with pytest.raises(error, match=rf"^{name}: expected .*, got .*{text}"):
                op(*arrays, out=out)
            assert not np.any(wrong)


@pytest.mark.once
def test_out_whose_rows_overlap(rng):
    a, b, memory = rng.random((5, 3)), rng.random((3, 4)), np.zeros(8)
    for beta in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"^out: .*, got elements that overlap in memory"):
            ops.gemm(a, b, beta=beta, out=as_strided(memory, (5, 4), (8, 8)))
    with pytest.raises(ValueError, match="overlap"):
        ops.clip_grad_norm(as_strided(memory, (5, 4), (8, 8)), 1.0)
    assert not memory.any()


@pytest.mark.once
def test_outs_must_lie_apart(rng):
    dz, x, w = rng.random((6, 4)), rng.random((6, 6)), rng.random((6, 4))
    memory = np.zeros((6, 10))
    with pytest.raises(ValueError, match=r"(dw and dx|dx and dw): .* overlap"):
        ops.dense_backward(dz, x, w, out=(memory[:, :6], memory[:, 5:9], None))
    assert not memory.any()
    dx, dw, _ = ops.dense_backward(dz, x, w, out=(memory[:, :6], memory[:, 6:], None))
    for actual, expected in zip((dx, dw), ops.dense_backward(dz, x, w), strict=False):
        assert_same_bits(actual, expected)
    np.testing.assert_array_equal(memory[:, 6:], dw)


# -------------------------------------------------------------------------------- single functions


def test_gemm_adds_to_out(isa, dtype, rng):
    for m, n, k in [(1, 1, 1), (13, 33, 7), (70, 20, 600)]:
        a, b, c = (rng.standard_normal(s).astype(dtype) for s in ((m, k), (k, n), (m, n)))
        for layout in (np.array, lambda c: c.copy(order="F"), misaligned):
            for alpha, beta in [(1.0, 1.0), (-0.5, 0.25), (0.0, 2.0), (2.0, 0.0)]:
                out = layout(c)
                assert ops.gemm(a, b, alpha=alpha, beta=beta, out=out) is out
                assert_close(out, oracle.gemm(a, b, c, alpha, beta), dtype, k)
    square = rng.standard_normal((20, 20)).astype(dtype)
    expected = oracle.gemm(square, square, square, 1, 0.5)
    assert_close(ops.gemm(square, square, beta=0.5, out=square), expected, dtype, 20)


@pytest.mark.once
def test_wrong_arguments_are_named(rng):
    x, w, b, dz = rng.random((5, 12)), rng.random((16, 4)), rng.random(4), rng.random((5, 4))
    good = x[:, :4].repeat(4, axis=1)
    wrong = [
        (
            lambda: ops.dense_forward(x, w, b),
            r"x: expected 16 columns, .*, got 12",
        ),
        (
            lambda: ops.dense_forward(good, w, b[:3]),
            r"b: expected 4 elements, .*, got 3",
        ),
        (lambda: ops.dense_forward(good[0], w, b), r"x: expected 2 dimensions, got shape \(16,\)"),
        (lambda: ops.dense_forward(good, b, b), r"w: expected 2 dimensions, got shape \(4,\)"),
        (lambda: ops.dense_forward(good, w, w), r"b: expected 1 dimension, got shape \(16, 4\)"),
        (
            lambda: ops.dense_backward(dz, x, w),
            r"x: expected 16 columns, .*, got 12",
        ),
        (
            lambda: ops.dense_backward(x, good, w),
            r"dz: expected 4 columns, .*, got 12",
        ),
        (
            lambda: ops.dense_backward(dz[:3], good, w),
            r"dz: expected 5 rows, .*, got 3",
        ),
        (lambda: ops.gemm(x, w), r"op\(b\): expected 12 rows, .*, got 16"),
        (lambda: ops.gemm(x[0], w), r"a: expected 2 dimensions, got shape \(12,\)"),
        (lambda: ops.gemm(good, w, beta=1), "beta: expected 0 without out, got 1"),
        (lambda: ops.gemm(good, w, alpha=math.nan), "alpha: expected a finite number"),
        (lambda: ops.softmax(3.0), r"z: expected at least one column, got shape \(\)"),
        (lambda: ops.clip_grad_norm(np.ones(3), -1), "max_norm: expected a finite number >= 0"),
    ]
    for call, message in wrong:
        with pytest.raises(ValueError, match=message):
            call()
    for call, message in [
        (lambda: ops.gemm(x, x, trans_b=1), "trans_b: expected True or False"),
        (lambda: ops.dense_backward(dz, good, w, out=dz), "out: expected a tuple"),
        (
            lambda: ops.dense_backward(dz, good, w, input_gradient=1),
            "input_gradient: expected True",
        ),
        (lambda: ops.clip_grad_norm(3.0, 1), "grads: expected an array"),
        (lambda: ops.clip_grad_norm([[1.0]], 1), r"grads\[0\]: expected an array, .*, got list"),
        (
            lambda: ops.clip_grad_norm(np.ones(3, int), 1),
            r"grads\[0\]: .*, got int64",
        ),
        (
            lambda: ops.clip_grad_norm([x, x.astype("f4")], 1),
            r"grads\[1\]: .*, got float32",
        ),
    ]:
        with pytest.raises(TypeError, match=message):
            call()


@pytest.mark.once
def test_without_the_gradient_of_the_input(dtype, rng):
    arrays = [rng.standard_normal(s).astype(dtype) for s in ((1500, 33), (1500, 70), (70, 33))]
    _, dw, db = ops.dense_backward(*arrays)
    nothing, dw_alone, db_alone = ops.dense_backward(*arrays, input_gradient=False)
    assert nothing is None
    assert_same_bits(dw_alone, dw)
    assert_same_bits(db_alone, db)
    with pytest.raises(ValueError, match="None for dx"):
        ops.dense_backward(*arrays, input_gradient=False, out=(np.ones((3, 3)), None, None))


def test_softmax_of_large_and_of_many_axes(isa, dtype, rng):
    z = np.array([[1e30, 1e30, -1e30], [1e30, 0, 0], [-1e30, -1e30, -1e30], [-np.inf, 0, 0]], dtype)
    expected = [[0.5, 0.5, 0], [1, 0, 0], [1 / 3] * 3, [0, 0.5, 0.5]]
    assert_close(ops.softmax(z), expected, dtype)
    assert_close(ops.log_softmax(z)[[0, 3], [0, 1]], [-math.log(2)] * 2, dtype)
    assert ops.log_softmax(z)[3, 0] == -np.inf and np.isfinite(ops.log_softmax(z[:3])).all()
    deep = rng.standard_normal((3, 4, 5, 6)).astype(dtype)
    for function in (ops.softmax, ops.log_softmax):
        flat = function(deep.reshape(-1, 6))
        assert_same_bits(function(deep), flat.reshape(deep.shape))
        assert_same_bits(function(deep[0, 0, 0]), flat[0])


def test_activations_of_any_shape(isa, dtype, rng):
    for shape in [(), (1,), (0,), (3, 4, 5), (70001,)]:
        z, da = (np.array(rng.standard_normal(shape), dtype) for _ in range(2))
        assert_close(ops.gelu(z), oracle.ACTIVATIONS["gelu"][0](z.astype(np.float64)), dtype)
        expected = da * oracle.ACTIVATIONS["gelu"][1](z.astype(np.float64))
        assert_close(ops.gelu_backward(da, z), expected, dtype)
        for out in (z, da):
            arrays = {"da": da.copy(), "z": z.copy()}
            target = arrays["z" if out is z else "da"]
            assert ops.gelu_backward(**arrays, out=target) is target
            assert_same_bits(target, ops.gelu_backward(da, z))
    with pytest.raises(ValueError, match=r"da: expected shape \(4,\), got \(3,\)"):
        ops.tanh_backward(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="negative_slope: expected a finite number >= 0"):
        ops.leaky_relu(np.ones(3), -1)


# ------------------------------------------------------------------------------------------ losses

# Parameters that are not the defaults, and the kind of targets.
LOSSES = {
    "cross_entropy": ({"label_smoothing": 0.1, "confidence_penalty": 0.3}, "labels"),
    "multi_margin": ({"margin": 1.5}, "labels"),
    "binary_cross_entropy": ({}, "chances"),
    "hinge": ({}, "signs"),
    "mse": ({}, "values"),
    "mae": ({}, "values"),
    "huber": ({"delta": 0.6}, "values"),
    "poisson": ({}, "counts"),
    "log_cosh": ({}, "values"),
    "quantile": ({"q": 0.8}, "values"),
}
all_losses = pytest.mark.parametrize("name", LOSSES)


def draw_loss(rng, name, n, k, dtype):
    """The function with its parameters, z, targets, weights, and the loss as the oracle has it."""
    parameters, kind = LOSSES[name]
    y = {
        "labels": lambda: rng.integers(0, k, n),
        "chances": lambda: rng.uniform(size=(n, k)).astype(dtype),
        "signs": lambda: rng.choice([-1, 1], (n, k)),
        "values": lambda: rng.standard_normal((n, k)).astype(dtype),
        "counts": lambda: rng.poisson(2, (n, k)),
    }[kind]()
    z, weights = rng.standard_normal((n, k)).astype(dtype), rng.uniform(0.5, 2, n)
    return partial(getattr(ops, name), **parameters), z, y, weights, (name, parameters)


@all_losses
def test_losses(isa, dtype, rng, name):
    for n, k in [(1, 1), (1, 10), (19, 1), (40, 3), (16, 16), (7, 33), (2100, 10)]:
        loss, z, y, weights, spec = draw_loss(rng, name, n, k, dtype)
        exact = z.astype(np.float64)
        for w in (None, weights):
            value, dz = loss(z, y, sample_weight=w)
            assert type(value) is float and dz.dtype == dtype
            expected = oracle.loss_value(exact, y, spec, w)
            assert value == pytest.approx(expected, rel=tolerance(dtype, 8), abs=tolerance(dtype))
            assert_close(dz, oracle.loss_gradient(exact, y, spec, w), dtype, 8)


@all_losses
def test_losses_in_place_and_threads(isa, dtype, rng, restore_threads, name):
    loss, z, y, weights, _ = draw_loss(rng, name, 2100, 33, dtype)
    results = []
    for count in THREADS:
        _core.set_num_threads(count)
        results.append(loss(z, y, sample_weight=weights))
        assert results[-1][0] == results[0][0]
        assert_same_bits(results[-1][1], results[0][1])
    out = z.copy()
    assert loss(out, y, sample_weight=weights, out=out)[1] is out
    assert_same_bits(out, results[0][1])


@pytest.mark.once
def test_out_of_a_loss_may_overlap_all(rng):
    n, k = 2100, 5
    z, y, w = rng.standard_normal((n, k)), rng.standard_normal((n, k)), rng.uniform(1, 2, n)
    value, dz = ops.huber(z, y, sample_weight=w)
    for shift in (0, 1, k, -1, -k):
        for position in (0, 1):
            memory = np.zeros(n * k + abs(shift))
            source = memory[max(shift, 0) :][: n * k].reshape(n, k)
            out = memory[max(-shift, 0) :][: n * k].reshape(n, k)
            source[...] = (z, y)[position]
            arrays = (source, y) if position == 0 else (z, source)
            assert ops.huber(*arrays, sample_weight=w, out=out)[0] == value
            assert_same_bits(out, dz)
    out = LAYOUTS["strided"](np.zeros((n, k)))
    ops.huber(z, y, sample_weight=w, out=out)
    assert_same_bits(out, dz)
    for wrong, error in [(np.zeros((n, 4)), ValueError), (np.zeros((n, k), "f4"), TypeError)]:
        with pytest.raises(error, match=r"^out: expected .*, got"):
            ops.huber(z, y, out=wrong)


@pytest.mark.once
@given(
    name=st.sampled_from(sorted(LOSSES)),
    layouts=st.lists(st.sampled_from(sorted(LAYOUTS)), min_size=3, max_size=3),
    seed=st.integers(0, 2**32),
)
def test_losses_of_any_layout(name, layouts, seed):
    arrays = draw_loss(np.random.default_rng(seed), name, 11, 4, "float64")
    loss, *clean = arrays[:4]
    z, y, w = (LAYOUTS[layout](x) for x, layout in zip(clean, layouts, strict=True))
    value, dz = loss(z, y, sample_weight=w)
    expected, expected_dz = loss(clean[0], clean[1], sample_weight=clean[2])
    assert value == expected
    assert_same_bits(dz, expected_dz)


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "y", "k"),
    [
        ("cross_entropy", np.arange(9) % 3, 3),
        ("multi_margin", np.arange(9) % 3, 3),
        ("binary_cross_entropy", np.arange(9) % 2, 1),
        ("hinge", np.arange(9) % 2 * 2 - 1, 1),
    ],
)
def test_class_weights_multiply_those_of_the_rows(name, y, k, rng):
    z, w, loss = rng.standard_normal((9, k)), rng.uniform(1, 2, 9), getattr(ops, name)
    classes = np.unique(y)
    for weights in (rng.uniform(1, 2, len(classes)), [0, *range(1, len(classes))]):
        expected, dz = loss(z, y, sample_weight=w * np.array(weights)[np.searchsorted(classes, y)])
        for form in (weights, dict(zip(classes.tolist(), map(float, weights), strict=True))):
            value, actual = loss(z, y, sample_weight=w, class_weight=form)
            assert value == pytest.approx(expected, rel=1e-14)
            np.testing.assert_allclose(actual, dz, rtol=1e-14)
    assert loss(z, y, class_weight="balanced")[0] > 0
    with pytest.raises(ValueError, match=r"^class_weight: expected"):
        loss(z, y, class_weight="even")


@pytest.mark.once
def test_what_losses_refuse():
    z = np.zeros((3, 2))
    for call, error, message in [
        (lambda: ops.mse(np.zeros(3), np.zeros(3)), ValueError, "z: expected 2 dimensions"),
        (lambda: ops.mse(z, np.zeros((3, 3))), ValueError, "y: expected shape"),
        (lambda: ops.mse(z, np.full((3, 2), np.nan)), ValueError, "y: expected finite"),
        (
            lambda: ops.mse(z[:0], np.zeros((0, 2))),
            ValueError,
            r"z: expected .*, got shape \(0, 2\)",
        ),
        (
            lambda: ops.cross_entropy(z, [0, 1, 2]),
            ValueError,
            "y: expected whole numbers from 0 to 1",
        ),
        (lambda: ops.cross_entropy(z, [0, 1]), ValueError, "y: expected 3 rows"),
        (lambda: ops.cross_entropy(z, ["a", "b", "a"]), ValueError, "y: expected .*string labels"),
        (lambda: ops.hinge(z, z), ValueError, "y: expected -1 and 1"),
        (lambda: ops.huber(z, z, delta=0), ValueError, "delta: expected"),
        (lambda: ops.mse(z, z, sample_weight=[1, 2]), ValueError, "sample_weight: expected shape"),
        (lambda: ops.mse(z, z, sample_weight=[1, 2, -1]), ValueError, "sample_weight: expected"),
    ]:
        with pytest.raises(error, match=message):
            call()
    value, dz = ops.cross_entropy(np.array([[np.nan, 0.0], [0.0, 0.0]]), [0, 1])
    assert math.isnan(value) and np.isnan(dz[0]).any() and np.isfinite(dz[1]).all()


def parameters_of(function, skip=("da", "z", "y", "sample_weight", "class_weight", "out")):
    signature = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in signature if p.name not in skip}


@pytest.mark.once
def test_every_layer_and_loss_is_here():
    """With the parameters of its object, and tested above."""
    tested = {op.name for op in OPS}
    for loss in losses._BY_NAME.values():
        assert parameters_of(getattr(ops, loss.name)) == parameters_of(loss)
        assert (loss.name in LOSSES) != (loss.task == "pairs")  # those: test_pair_losses.py
    for layer in layers.LAYERS:
        kind = example_of(layer).kind
        if kind not in (*oracle.ACTIVATIONS, "softmax"):
            continue
        for name in (kind, f"{kind}_backward"):
            assert parameters_of(getattr(ops, name)) == parameters_of(layer)
            assert name in tested


# ---------------------------------------------------------------------------------------- clipping


def norm_of(arrays):
    return math.sqrt(math.fsum(float(x) ** 2 for array in arrays for x in array.flat))


def test_clip_grad_norm(isa, dtype, rng, threads):
    shapes = [(3,), (64, 10), (), (0, 4), (200, 700), (5, 1, 7), (65536,), (65537,)]
    before = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    norm = norm_of(before)
    for max_norm in (norm / 7, norm * 1.01, 0.0):
        grads = [np.array(g) for g in before]
        assert ops.clip_grad_norm(grads, max_norm) == pytest.approx(norm, rel=1e-14)
        factor = min(1.0, max_norm / norm)
        for actual, expected in zip(grads, before, strict=True):
            assert_close(actual, factor * expected.astype(np.float64), dtype)
        if factor == 1:
            for actual, expected in zip(grads, before, strict=True):
                assert_same_bits(actual, expected)


def test_bits_of_clipping_do_not_depend_on_threads(isa, dtype, rng, restore_threads):
    before = [rng.standard_normal(n).astype(dtype) for n in (70000, 5, 300000)]
    results = []
    for count in THREADS:
        _core.set_num_threads(count)
        grads = [g.copy() for g in before]
        results.append((ops.clip_grad_norm(grads, 1.0), grads))
    for norm, grads in results[1:]:
        assert norm == results[0][0]
        for actual, expected in zip(grads, results[0][1], strict=True):
            assert_same_bits(actual, expected)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-150, 1e150, 1e200, 1e300])
def test_norms_whose_squares_leave_the_range(isa, rng, scale):
    base = rng.standard_normal(1000)
    g = base * scale
    assert ops.clip_grad_norm(g, 1e308) == pytest.approx(norm_of([base]) * scale, rel=1e-12)
    assert_same_bits(g, base * scale)
    ops.clip_grad_norm(g, scale)
    assert_close(g / scale, base / norm_of([base]), "float64")
    g32 = base.astype(np.float32) * np.float32(1e36)
    norm = norm_of([g32])
    assert ops.clip_grad_norm(g32, 1.0) == pytest.approx(norm, rel=1e-12)
    assert norm_of([g32]) == pytest.approx(1, rel=1e-5)


def test_norms_that_are_not_finite_change_nothing(isa, dtype):
    for bad, expected in [(np.nan, math.nan), (np.inf, math.inf), (-np.inf, math.inf)]:
        grads = [np.ones(70000, dtype), np.full(3, bad, dtype)]
        norm = ops.clip_grad_norm(grads, 1.0)
        assert norm == expected or (math.isnan(norm) and math.isnan(expected))
        assert (grads[0] == 1).all()
        np.testing.assert_array_equal(grads[1], bad)
    both = np.array([np.inf, np.nan], dtype)
    assert math.isnan(ops.clip_grad_norm(both, 1.0))
    huge = np.full(2, np.finfo(np.float64).max)
    assert ops.clip_grad_norm(huge, 1.0) == math.inf
    assert ops.clip_grad_norm([], 1.0) == ops.clip_grad_norm(np.zeros(3), 1.0) == 0


@pytest.mark.once
def test_clipping_of_hostile_arrays(rng):
    base = rng.standard_normal((30, 7))
    clean = base.copy()
    norm = ops.clip_grad_norm(clean, 0.5)
    for layout in ("fortran", "strided", "negative", "misaligned", "window"):
        hostile = LAYOUTS[layout](base)
        if not np.shares_memory(hostile, base):
            assert ops.clip_grad_norm(hostile, 0.5) == norm
            assert_same_bits(hostile, clean)
    interleaved = base.copy()
    ops.clip_grad_norm([interleaved[:, :3], interleaved[:, 3:]], 0.5)
    assert_close(interleaved, clean, "float64")
    for grads in ([base, base], [base[:20], np.zeros(3), base[10:]], (base[:, :4], base[:, 3:])):
        before = base.copy()
        with pytest.raises(ValueError, match=r"grads\[\d\] and grads\[\d\]: .* overlap"):
            ops.clip_grad_norm(grads, 0.5)
        assert_same_bits(base, before)
    with pytest.raises(ValueError, match=r"grads\[1\]: .*, got one that is read-only"):
        ops.clip_grad_norm([clean, read_only(base.copy())], 0.1)


# ------------------------------------------------------------------------- memory, signals, threads


@pytest.mark.once
def test_memory_that_is_not_there_is_a_memory_error():
    code = """
import numpy as np
from pyfast_nn import _core, layers, losses, ops
x = np.ones((20, 20))
calls = [
    lambda: ops.gemm(x, x), lambda: ops.dense_forward(x, x, x[0]), lambda: ops.softmax(x),
    lambda: ops.dense_backward(x, x, x), lambda: ops.clip_grad_norm(x, 1.0), lambda: ops.mse(x, x),
]
for call in calls:
    _core.fail_allocation(1)
    try:
        call()
    except MemoryError:
        continue
    raise SystemExit("no MemoryError")
assert (x == 1).all()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.once
@pytest.mark.parametrize(
    "name", ["dense_forward", "dense_backward", "softmax", "gelu_backward", "poisson"]
)
@pytest.mark.alone
def test_ctrl_c(restore_threads, name):
    """It ends the call before all rows of the result are written."""
    _core.set_num_threads(1)
    n, k, m = 300_000, 512, 64
    wide, w = np.broadcast_to(np.ones((1, k), "f4"), (n, k)), np.ones((k, m), "f4")
    z = np.zeros((n, m), "f4") if name.startswith("dense") else np.zeros((2 * n, m))
    calls = {
        "dense_forward": lambda out: ops.dense_forward(wide, w, w[0], out=out),
        "dense_backward": lambda out: ops.dense_backward(wide, z, w.T, out=(out, None, None)),
        "softmax": lambda out: ops.softmax(z, out=out),
        "gelu_backward": lambda out: ops.gelu_backward(z, z, out=out),
        "poisson": lambda out: _core.loss(("poisson", {}), z, z, None, out),
    }

    def stop(*_):
        raise KeyboardInterrupt

    out = np.full_like(z, np.nan)
    start = time.perf_counter()
    calls[name](out)
    duration = time.perf_counter() - start
    before = signal.signal(signal.SIGALRM, stop)
    try:
        for _ in range(10):  # the signal may come when all is done
            out[...] = np.nan
            signal.setitimer(signal.ITIMER_REAL, duration / 4)
            with pytest.raises(KeyboardInterrupt):
                calls[name](out)
                time.sleep(10 * duration)
            if np.isnan(out).any():
                return
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    pytest.fail("no call ended before its end")
