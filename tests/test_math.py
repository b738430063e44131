"""exp, log, log1p, tanh, erf, and sine and cosine of turns: error, limits, signs and order.

Against wider arithmetic.
"""

from __future__ import annotations

import numpy as np
import pytest

from conftest import FULL, assert_same_bits
from pyfast_nn import _core

ULP = 1.7  # the promise is 2; dense searches found at most 1.65 (sin_2pi without fused operations)
WIDER = {"float32": np.float64, "float64": np.longdouble}
SAMPLES = 100_000 if FULL else 2_000  # of each kind of point
STRIDE = 997 if FULL else 200_003  # between the bit patterns of float32 that are tried

needs_longdouble = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 60, reason="long double is no wider than double"
)
dtypes = pytest.mark.parametrize(
    "dtype", ["float32", pytest.param("float64", marks=needs_longdouble)]
)


def erf(x):
    """erf in the precision of x: a series of positive terms (Abramowitz and Stegun 7.1.6)."""
    a = np.minimum(np.abs(x), x.dtype.type(7))
    term = a.copy()
    total = a.copy()
    for n in range(1, 200):
        term = term * (2 * a * a / (2 * n + 1))
        total += term
    two_over_sqrt_pi = 1 / np.sqrt(np.arctan(x.dtype.type(1)))
    return np.copysign(two_over_sqrt_pi * np.exp(-a * a) * total, x)


def sin_2pi(t):
    """sin(2 pi t) in the precision of t, of which nothing is lost: between 0 and 1/4 of a turn."""
    r = t - np.rint(t)
    y = np.where(np.abs(r) > 0.25, np.copysign(0.5, r) - r, r)
    pi = 4 * np.arctan(t.dtype.type(1))
    return np.where(r == 0, np.copysign(0, t), np.sin(2 * pi * y))


def cos_2pi(t):
    r = t - np.rint(t)
    return sin_2pi(t.dtype.type(0.25) - np.abs(r))


ORACLE = {"exp": np.exp, "log": np.log, "log1p": np.log1p, "tanh": np.tanh, "erf": erf}
ORACLE |= {"sin_2pi": sin_2pi, "cos_2pi": cos_2pi}
TURNS = ("sin_2pi", "cos_2pi")
functions = pytest.mark.parametrize("name", list(ORACLE))

# Where a formula changes hands, and where the result overflows, underflows or saturates.
SEAMS = {
    "exp": [88.72, -87.34, -103.28, -103.97, 709.78, -708.4, -744.4, -745.13],
    "log": [0.5**0.5, 2**0.5, 1.0, 2.0],
    "log1p": [0.5**0.5 - 1, 2**0.5 - 1, 2**1.5 - 1, -0.75, -1.0, 1.0],
    "tanh": [0.5652, 0.9117, 0.55, 9.01, 19.06, 10.0, 20.0],
    "erf": [0.9, 0.4769, 3.83, 3.95, 5.86, 5.95],
    "sin_2pi": [0.25, 0.5, 0.75, 1.0, 1e6, 2.0**23, 2.0**52],
    "cos_2pi": [0.25, 0.5, 0.75, 1.0, 1e6, 2.0**23, 2.0**52],
}


def points(name, dtype, rng):
    """Points of type dtype from everywhere, and more of them where it is hard."""
    real = np.dtype(dtype).type
    info = np.finfo(dtype)
    limits = [0.0, info.smallest_subnormal, info.smallest_normal, 1.0, info.max, np.inf, np.nan]
    if dtype == "float32":
        patterns = np.arange(rng.integers(STRIDE), 2**32, STRIDE, np.uint64).astype(np.uint32)
    else:
        patterns = rng.integers(2**64, size=10 * SAMPLES, dtype=np.uint64)
    spread = rng.uniform(-1, 1, SAMPLES) * 2.0 ** -rng.integers(0, info.nmant, SAMPLES)
    everywhere = [
        patterns.view(dtype),
        rng.uniform(-1.5, 1.5, 4 * SAMPLES),
        rng.uniform(-25, 25, 4 * SAMPLES),
        rng.uniform(-760, 720, SAMPLES),
        1 + spread / 2,
        -1 + spread / 2,
        np.log(2) / 2 * (rng.integers(-300, 300, SAMPLES) + 1e-3 * spread),  # halves of ln 2
    ]
    for seam in SEAMS[name]:
        everywhere += [seam * (1 + spread / 8), -seam * (1 + spread / 8)]
    x = np.concatenate([real(limits), -real(limits), *(real(v) for v in everywhere)])
    return np.unique(x)


def errors(name, actual, x):
    """|actual - exact| in units in the last place of the exact value; overflow counts as the power
    of two that it replaces."""
    wide = WIDER[x.dtype.name]
    info = np.finfo(x.dtype)
    with np.errstate(all="ignore"):
        exact = ORACLE[name](x.astype(wide))
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(exact))
    valid = ~np.isnan(exact)
    top = np.ldexp(wide(1), info.maxexp)
    exact = np.clip(exact[valid], -top, top)
    actual = np.clip(actual[valid].astype(wide), -top, top)
    digits = info.nmant + 1
    exponent = np.clip(np.frexp(exact)[1], info.minexp + 1, info.maxexp) - digits
    return x[valid], np.abs(actual - exact) / np.ldexp(wide(1), exponent)


@functions
@dtypes
def test_error(name, dtype, isa, rng):
    x = points(name, dtype, rng)
    x, error = errors(name, _core.unary(name, x), x)
    assert len(x) > 1000
    worst = np.argmax(error)
    assert error[worst] <= ULP, f"{float(error[worst]):.3f} ulp at {x[worst]!r}"


inf, nan = np.inf, np.nan
LIMITS = {
    "exp": {-inf: 0, inf: inf, -1e4: 0, 1e4: inf, 0.0: 1},
    "log": {-inf: nan, inf: inf, -1: nan, -1e-30: nan, 0.0: -inf, 1: 0},
    "log1p": {-inf: nan, inf: inf, -1.5: nan, -1: -inf, 0.0: 0.0},
    "tanh": {-inf: -1, inf: 1, -50: -1, 50: 1, 0.0: 0.0},
    "erf": {-inf: -1, inf: 1, -50: -1, 50: 1, 0.0: 0.0},
    "sin_2pi": {-inf: nan, inf: nan, 0.25: 1, 0.75: -1, -1e30: -0.0, 0.0: 0.0},
    "cos_2pi": {-inf: nan, inf: nan, 0.25: 0, 0.5: -1, 1e30: 1, 0.0: 1},
}


@functions
def test_limits(name, dtype, isa):
    at_minus_zero = {"exp": 1, "log": -inf, "cos_2pi": 1}.get(name, -0.0)
    limits = [*LIMITS[name].items(), (-0.0, at_minus_zero), (nan, nan)]
    x, expected = np.array(limits, dtype).T
    for length in (1, 67):  # in what is left over of a loop, and in its vectors
        for i in range(len(x)):
            actual = _core.unary(name, np.full(length, x[i]))
            np.testing.assert_array_equal(actual, np.full(length, expected[i]))
            if not np.isnan(expected[i]):
                np.testing.assert_array_equal(np.signbit(actual), np.signbit(expected[i]))


@functions
def test_extremes_are_not_nan(name, dtype, isa):
    info = np.finfo(dtype)
    x = np.array([info.max, info.smallest_normal, info.smallest_subnormal, info.eps], dtype)
    assert not np.isnan(_core.unary(name, x)).any()
    if name != "log":
        assert np.isnan(_core.unary(name, -x)).tolist() == [name == "log1p", False, False, False]


def test_exp_underflows_gradually(dtype, isa):
    """The smallest number is the image of some x, and half of it is rounded to zero."""
    info = np.finfo(dtype)
    smallest = np.log(2) * (info.minexp - info.nmant)
    x = np.array([smallest, smallest + 0.01, smallest - np.log(2) - 0.01], dtype)
    expected = np.array([1, 1, 0], dtype) * info.smallest_subnormal
    assert_same_bits(_core.unary("exp", x), expected)


@pytest.mark.parametrize("name", ["tanh", "log1p"])
def test_tiny_is_unchanged(name, dtype, isa, rng):
    info = np.finfo(dtype)
    tiny = rng.uniform(-1, 1, 1000).astype(dtype) * np.array(
        [info.eps**2, info.smallest_normal], dtype
    ).reshape(2, 1)
    x = np.ascontiguousarray(tiny.ravel())
    assert_same_bits(_core.unary(name, x), x)


@pytest.mark.parametrize("name", ["tanh", "erf", "sin_2pi"])
def test_odd(name, dtype, isa, rng):
    x = points(name, dtype, rng)
    x = x[~np.isnan(x)]
    assert_same_bits(_core.unary(name, -x), -_core.unary(name, x))


@pytest.mark.parametrize("name", [name for name in ORACLE if name not in TURNS])
def test_order(name, dtype, isa, rng):
    """No step backwards by more than the rounding of two neighbours."""
    x = points(name, dtype, rng)
    x = x[x > -1] if name == "log1p" else x[x > 0] if name == "log" else x[~np.isnan(x)]
    y = _core.unary(name, x)
    y = y[np.isfinite(y)]
    assert np.all(y[1:] >= y[:-1] - 2 * np.spacing(np.abs(y[:-1])))
    assert name not in ("tanh", "erf") or np.all(np.abs(y) <= 1)


@functions
def test_same_bits_at_every_position(name, dtype, isa, rng):
    """A value does not depend on where its loop found it: in a vector, or in what is left over."""
    x = rng.uniform(0, 3, 150).astype(dtype)
    one_by_one = np.concatenate([_core.unary(name, x[i : i + 1]) for i in range(len(x))])
    for length in range(len(x)):
        assert_same_bits(_core.unary(name, x[:length]), one_by_one[:length])
