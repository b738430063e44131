"""Counter-based random numbers: known answers, independence of how they are drawn, distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from conftest import FULL, assert_same_bits
from pyfast_nn import _core

SAMPLES = 1_000_000 if FULL else 50_000
RARE = 1e-5  # the seeds are fixed: a sound generator passes for good
MASK = 2**32 - 1
KEYS = [(0, 0), (1, 0), (0, 1), (2**64 - 1, 2**64 - 1), (0x0123456789ABCDEF, 0xFEDCBA9876543210)]


def philox(seed, stream, index):
    """Philox-4x32-10 of Salmon et al. (2011) in Python's integers: four words."""
    a, b = index & MASK, index >> 32
    c, d = stream & MASK, stream >> 32
    key = [seed & MASK, seed >> 32]
    for _ in range(10):
        p, q = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = q >> 32 ^ b ^ key[0], q & MASK, p >> 32 ^ d ^ key[1], p & MASK
        key = [(key[0] + 0x9E3779B9) & MASK, (key[1] + 0xBB67AE85) & MASK]
    return a, b, c, d


def unit(high, low, dtype):
    """[0, 1) with all the bits that the type has."""
    return (high >> 8) * 2.0**-24 if dtype == "float32" else (high << 32 | low) // 2**11 * 2.0**-53


def uniform(seed, stream, n, dtype):
    out = np.empty(n, dtype)
    _core.random_uniform(seed, stream, out)
    return out


def normal(seed, stream, n, dtype):
    out = np.empty(n, dtype)
    _core.random_normal(seed, stream, out)
    return out


draws = pytest.mark.parametrize("draw", [uniform, normal])


def test_known_answers_of_the_reference():
    """The vectors published with Random123."""
    assert philox(0, 0, 0) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    ones = 2**64 - 1
    assert philox(ones, ones, ones) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    pi = philox(0x299F31D0A4093822, 0x0370734413198A2E, 0x85A308D3243F6A88)
    assert pi == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


@pytest.mark.parametrize(("seed", "stream"), KEYS)
def test_uniform_is_philox(seed, stream, dtype, isa):
    blocks = [philox(seed, stream, i) for i in range(100)]
    expected = np.array([unit(w[1], w[0], dtype) for w in blocks], dtype)
    assert_same_bits(uniform(seed, stream, 100, dtype), expected)


@pytest.mark.parametrize(("seed", "stream"), KEYS)
def test_normal_is_box_muller_of_philox(seed, stream, dtype, isa):
    blocks = [philox(seed, stream, i) for i in range(1000)]
    angle = np.array([unit(w[3], w[2], dtype) for w in blocks])
    if dtype == "float32":
        one = np.float32(1)
        first = np.array([(np.float32(w[1] >> 1) + one) * 2.0**-31 for w in blocks])
    else:
        first = np.array([1 - unit(w[1], w[0], dtype) for w in blocks])
    expected = np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * angle)
    tolerance = 16 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(normal(seed, stream, 1000, dtype), expected, rtol=0, atol=tolerance)


@draws
def test_an_element_depends_on_its_index_alone(draw, dtype, isa):
    whole = draw(3, 5, 200, dtype)
    for n in [*range(70), 199]:
        assert_same_bits(draw(3, 5, n, dtype), whole[:n])


@draws
def test_seeds_and_streams_are_unrelated(draw, dtype, isa):
    n = SAMPLES // 10
    keys = [(0, 0), (1, 0), (2**32, 0), (2**63, 0), (0, 1), (0, 2**32), (0, 2**63)]
    samples = np.array([draw(seed, stream, n, dtype) for seed, stream in keys], np.float64)
    correlation = np.corrcoef(samples) - np.eye(len(keys))
    assert np.abs(correlation).max() < 5 / np.sqrt(n)
    shifted = np.corrcoef(samples[0, 1:], samples[1, :-1])[0, 1]
    assert abs(shifted) < 5 / np.sqrt(n)


@pytest.mark.parametrize("seed", [0, 1, 12345])
@pytest.mark.parametrize(("draw", "cdf"), [(uniform, "uniform"), (normal, "norm")])
def test_distribution(draw, cdf, seed, dtype, isa):
    x = draw(seed, 0, SAMPLES, dtype).astype(np.float64)
    assert np.all(np.isfinite(x))
    assert stats.kstest(x, cdf).pvalue > RARE
    assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 5 / np.sqrt(SAMPLES)
    exact = getattr(stats, cdf)
    for power in (1, 2, 3, 4):
        spread = np.sqrt(exact.moment(2 * power) - exact.moment(power) ** 2)
        error = abs(np.mean(x**power) - exact.moment(power))
        assert error < 5 * spread / np.sqrt(SAMPLES)


def test_uniform_is_below_one_and_uses_all_bits(dtype, isa):
    x = uniform(7, 0, SAMPLES, dtype)
    assert x.min() >= 0 and x.max() < 1
    bits = 24 if dtype == "float32" else 53
    last = np.ldexp(x.astype(np.float64), bits) % 2
    assert np.all((last == 0) | (last == 1))
    assert abs(last.mean() - 0.5) < 5 * 0.5 / np.sqrt(SAMPLES)


def permutation_of_philox(seed, stream, n):
    """Fisher and Yates, with index i of the stream for the choice among i + 1."""
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        words = philox(seed, stream, i)
        j = (words[1] << 32 | words[0]) * (i + 1) >> 64
        order[i], order[j] = order[j], order[i]
    return order


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 1000])
@pytest.mark.parametrize(("seed", "stream"), KEYS)
def test_permutation_is_philox(n, seed, stream, isa):
    order = _core.permutation(seed, stream, n)
    assert order.dtype == np.int64
    assert order.tolist() == permutation_of_philox(seed, stream, n)


@pytest.mark.parametrize("n", [257, 100_000])
def test_permutation_is_a_permutation(n, isa):
    order = _core.permutation(11, 4, n)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    assert np.mean(order == np.arange(n)) < 0.05
    assert not np.array_equal(order, _core.permutation(11, 5, n))
    assert not np.array_equal(order, _core.permutation(12, 4, n))


def test_every_permutation_is_as_likely(isa):
    """All orders of four over many streams; and all positions of each of twelve elements."""
    count = SAMPLES // 10
    few = np.array([_core.permutation(0, stream, 4) for stream in range(count)])
    _, seen = np.unique(few @ [64, 16, 4, 1], return_counts=True)
    assert len(seen) == 24
    assert stats.chisquare(seen).pvalue > RARE

    more = np.array([_core.permutation(1, stream, 12) for stream in range(count)])
    for position in range(12):
        assert stats.chisquare(np.bincount(more[:, position], minlength=12)).pvalue > RARE
