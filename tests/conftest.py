"""Fixtures over instruction set, dtype and threads, and the tolerances that all tests share.

PYFAST_NN_FULL=1 in the environment runs the large counts; PYFAST_NN_ISA=name runs on that
instruction set only, where otherwise the fixture `isa` goes over all that the processor has.
"""

from __future__ import annotations

import os
import shutil
import signal

import hypothesis
import numpy as np
import pytest

import emulated
from emulated import emulator, gpu, without  # noqa: F401 (fixtures)
from pyfast_nn import _core

FULL = os.environ.get("PYFAST_NN_FULL", "") not in ("", "0")
THREADS = tuple(range(1, 17)) if FULL else (1, 2, 3, 5, 8)

# A shell lets what it starts in the background ignore Ctrl-C, and tests of it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

_shared = {
    "deadline": None,
    "database": None,
    # `isa` and `threads` only switch the core over; they need no reset between examples.
    "suppress_health_check": [hypothesis.HealthCheck.function_scoped_fixture],
}
hypothesis.settings.register_profile("few", max_examples=15, derandomize=True, **_shared)
hypothesis.settings.register_profile("full", max_examples=500, **_shared)
hypothesis.settings.load_profile("full" if FULL else "few")


def _instruction_sets():
    return (
        [os.environ["PYFAST_NN_ISA"]] if "PYFAST_NN_ISA" in os.environ else _core.available_isas()
    )


@pytest.fixture(params=_instruction_sets())
def isa(request):
    """The instruction set in use during the test."""
    before = _core.isa()
    _core.use_isa(request.param)
    yield request.param
    _core.use_isa(before)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(params=THREADS)
def threads(request, restore_threads):
    """The number of threads in use during the test."""
    _core.set_num_threads(request.param)
    return request.param


@pytest.fixture
def restore_threads():
    """Lets a test call _core.set_num_threads as it likes."""
    before = _core.get_num_threads()
    yield
    _core.set_num_threads(before)


@pytest.fixture
def rng(request):
    """Random numbers that depend on the test's name only: the same data for every run."""
    return np.random.default_rng(list(request.node.name.encode()))


def tolerance(dtype, inner=1):
    """Relative rounding error to allow for sums of `inner` products: far above the usual
    sqrt(inner) eps, far below what one lost or doubled term would cause."""
    return float(np.finfo(dtype).eps) * (32 + 4 * inner)


def assert_close(actual, expected, dtype, inner=1):
    """Compare with a float64 reference, relative to its largest element; NaN equals NaN."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    if expected.size:
        allowed = tolerance(dtype, inner) * np.nanmax(np.abs(expected), initial=0.0)
        with np.errstate(invalid="ignore"):
            close = (np.abs(actual - expected) <= allowed).all()
        if not close:  # or there is NaN or infinity; it takes long, and tells where
            np.testing.assert_allclose(actual, expected, rtol=0, atol=allowed)


def assert_same_bits(actual, expected):
    """Equal in every bit: -0.0 differs from 0.0, and NaN equals the same NaN."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    bits = [np.ascontiguousarray(array).view(np.uint8) for array in (actual, expected)]
    if not np.array_equal(*bits):
        np.testing.assert_array_equal(*bits)  # it takes long, and tells where


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The library for GPUs, by an emulator."""
    return emulated.library(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def copied(library, tmp_path):
    """The library anew, as one that knows nothing of cuBLASLt yet."""
    path = shutil.copy(library, tmp_path / "_cuda_copied.so")
    _core.open_device(str(path))
    yield path
    _core.open_device(str(library))
