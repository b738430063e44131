"""The second provider of matrix products, SciPy's BLAS: that it is used, and that both agree."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_close
from pyfast_nn import _core, ops, runtime

pytest.importorskip("scipy.linalg.cython_blas", reason="the BLAS is SciPy's")


@pytest.fixture(autouse=True)
def own_products():
    yield
    runtime.use_gemm("own")


def with_both(compute):
    """Results of compute() by our own products and by BLAS, as tuples."""
    results = []
    for provider in ("own", "blas"):
        runtime.use_gemm(provider)
        assert fnn.build_config()["gemm"] == provider
        result = compute()
        results.append(result if isinstance(result, tuple) else (result,))
    return results


def check(dtype, inner, compute):
    """Both agree but for rounding."""
    own, blas = with_both(compute)
    for one, other in zip(own, blas, strict=True):
        assert_close(one, other, dtype, inner)


@pytest.mark.parametrize(
    ("m", "n", "k"), [(1, 1, 1), (13, 33, 7), (65, 64, 63), (1, 100, 300), (90, 1, 3000), (3, 4, 0)]
)
@pytest.mark.parametrize(("trans_a", "trans_b"), list(itertools.product([False, True], repeat=2)))
def test_gemm(isa, dtype, rng, m, n, k, trans_a, trans_b):
    a = rng.standard_normal((k, m) if trans_a else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if trans_b else (k, n)).astype(dtype)
    whole = rng.standard_normal((m + 2, n + 5)).astype(dtype)

    def compute(alpha, beta):
        around = whole.copy()
        c = around[1:-1, 2:-3]
        if beta == 0:
            c[...] = np.nan
        ops.gemm(a, b, trans_a=trans_a, trans_b=trans_b, alpha=alpha, beta=beta, out=c)
        return around

    for alpha, beta in [(1.0, 0.0), (-0.5, 1.0), (2.0, 0.25)]:
        check(dtype, k, lambda alpha=alpha, beta=beta: compute(alpha, beta))


@pytest.mark.parametrize("size", [(1, 1, 1), (31, 64, 10), (257, 3, 47), (1500, 70, 33), (5, 0, 3)])
def test_dense(isa, dtype, rng, threads, size):
    n, k, m = size
    x, w, b, dz = (rng.standard_normal(s).astype(dtype) for s in ((n, k), (k, m), m, (n, m)))
    check(dtype, k, lambda: ops.dense_forward(x, w, b))
    check(dtype, max(n, m), lambda: ops.dense_backward(dz, x, w))


def test_networks(isa, dtype, rng):
    """A training, and gradient, Jacobian and Hessian products, of a smooth network."""
    layers = [fnn.Dense(70), fnn.Tanh(), fnn.Dense(33), fnn.Sigmoid(), fnn.Dense(5)]
    X, y = rng.standard_normal((300, 40)).astype(dtype), rng.integers(0, 5, 300)
    v = rng.standard_normal(40 * 70 + 70 + 70 * 33 + 33 + 33 * 5 + 5).astype(dtype)

    def compute():
        model = fnn.Sequential(layers, dtype=dtype, seed=0)
        history = model.fit(X, y, loss="cross_entropy", epochs=2, batch_size=64, verbose=0)
        _, gradient = model.loss_and_grad(X, y)
        _, dout = model.jvp(X, v)
        return gradient, dout, model.hvp(X, y, v), model.parameters, np.array(history["loss"])

    check(dtype, 1000, compute)


def test_blas_is_really_used(isa, rng):
    """It adds blocks of a long sum, where ours goes on adding: other rounding errors."""
    a, b = rng.standard_normal((30, 9000), "f4"), rng.standard_normal((9000, 30), "f4")
    own, blas = with_both(lambda: ops.gemm(a, b))
    assert (own[0] != blas[0]).any()


# ------------------------------------------------------------------------------------- the choice


def run(code, value=None):
    environment = {name: text for name, text in os.environ.items() if name != "PYFAST_NN_GEMM"}
    if value is not None:
        environment["PYFAST_NN_GEMM"] = value
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.once
@pytest.mark.parametrize(
    ("value", "provider"), [(None, "own"), ("", "own"), ("own", "own"), ("blas", "blas")]
)
def test_environment_chooses(value, provider):
    done = run(
        "import sys, pyfast_nn as fnn; print(fnn.build_config()['gemm'], 'scipy' in sys.modules)",
        value,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [provider, str(provider == "blas")]


@pytest.mark.once
def test_unknown_provider():
    done = run("import pyfast_nn", "mkl")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last == "ImportError: PYFAST_NN_GEMM: expected own or blas, got 'mkl'"


@pytest.mark.once
def test_without_scipy():
    done = run("import sys; sys.modules['scipy'] = None; import pyfast_nn", "blas")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("ImportError: PYFAST_NN_GEMM: blas needs SciPy: pip install")
    assert "pyfast-nn[blas]" in last


@pytest.mark.once
def test_only_functions_of_the_right_name_are_taken():
    from pyfast_nn import _blas

    for wrong in [(_blas.dgemm, _blas.sgemm), (3, 4), (_blas.sgemm, "dgemm")]:
        with pytest.raises((ValueError, TypeError)):
            _core.use_blas(*wrong)
    assert fnn.build_config()["gemm"] == "own"
