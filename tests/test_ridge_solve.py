"""`Ridge`, fits to differentiate through, beside scikit-learn, torch and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

import pyfast_nn as fnn

pytestmark = pytest.mark.once

SHAPES = {"fewer rows": (5, 9), "as many": (6, 6), "more rows": (12, 4), "one": (1, 1)}


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def task(request, rng):
    """Support, targets, query and the gradient of a number in the predictions."""
    n, d = request.param
    shapes = ((n, d), (n, 3), (7, d), (7, 3))
    return [rng.standard_normal(shape) for shape in shapes]


@pytest.mark.parametrize("lam", [1e-3, 0.7, 50.0])
def test_predictions_are_those_of_scikit_learn(task, lam):
    linear_model = pytest.importorskip("sklearn.linear_model", reason="the oracle")
    S, Y, Q, _ = task
    model = linear_model.Ridge(alpha=lam, fit_intercept=False, solver="svd").fit(S, Y)
    out = fnn.Ridge(lam).forward(S, Y, Q)
    np.testing.assert_allclose(out, model.predict(Q).reshape(7, 3), rtol=1e-9, atol=1e-10)
    np.testing.assert_array_equal(fnn.Ridge(lam).vjp(S, Y, Q)[0], out)


@pytest.mark.parametrize("lam", [1e-3, 0.7, 50.0])
def test_gradients_are_those_of_torch(task, lam):
    torch = pytest.importorskip("torch", reason="the oracle")
    S, Y, Q, L = (torch.tensor(a, requires_grad=True) for a in (*task[:3], np.float64(lam)))
    W = torch.linalg.solve(S.T @ S + L * torch.eye(S.shape[1], dtype=S.dtype), S.T @ Y)
    (Q @ W).backward(torch.tensor(task[3]))
    gradients = fnn.Ridge(lam).vjp(*task[:3])[1](task[3])
    for actual, there in zip(gradients, (S, Y, Q, L), strict=True):
        scale = 1 + there.grad.abs().max().item()
        np.testing.assert_allclose(actual, there.grad.numpy(), rtol=1e-8, atol=1e-9 * scale)


def test_gradients_by_finite_differences(task, rng):
    *arrays, dout = task
    gradients = fnn.Ridge(0.7).vjp(*arrays)[1](dout)
    ways = [rng.standard_normal(a.shape) for a in arrays]

    def along(t, s=0.0):
        moved = [a + t * way for a, way in zip(arrays, ways, strict=True)]
        return np.sum(dout * fnn.Ridge(0.7 + s).forward(*moved))

    slope = sum(np.sum(g * way) for g, way in zip(gradients[:3], ways, strict=True))
    np.testing.assert_allclose(slope, (along(1e-6) - along(-1e-6)) / 2e-6, rtol=1e-5, atol=1e-7)
    change = (along(0, 1e-6) - along(0, -1e-6)) / 2e-6
    np.testing.assert_allclose(gradients.lam, change, rtol=1e-6, atol=1e-8)


def test_both_forms_are_one_fit(rng):
    """Columns of zeros change nothing, but that there are more of them than rows."""
    S, Y, Q, dout = (rng.standard_normal(s) for s in ((5, 4), (5, 2), (6, 4), (6, 2)))
    out, pullback = fnn.Ridge(0.3).vjp(S, Y, Q)
    wide_out, wide_pullback = fnn.Ridge(0.3).vjp(
        *(np.pad(a, [(0, 0), (0, w)]) for a, w in ((S, 3), (Y, 0), (Q, 3)))
    )
    np.testing.assert_allclose(wide_out, out, rtol=1e-12, atol=1e-13)
    for a, b in zip(pullback(dout), wide_pullback(dout), strict=True):
        b = b[:, : a.shape[1]] if np.ndim(b) else b
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n", [3, 8])
def test_tasks_side_by_side(rng, n):
    arrays = [rng.standard_normal((2, 4, *s)) for s in ((n, 5), (n, 2), (6, 5), (6, 2))]
    out, pullback = fnn.Ridge(0.3).vjp(*arrays[:3])
    gradients, lam = pullback(arrays[3]), 0.0
    for task in np.ndindex(2, 4):
        *one, dout = (a[task] for a in arrays)
        out_1, pullback_1 = fnn.Ridge(0.3).vjp(*one)
        gradients_1 = pullback_1(dout)
        np.testing.assert_allclose(out[task], out_1, rtol=1e-12, atol=1e-13)
        for a, b in zip(gradients[:3], gradients_1[:3], strict=True):
            np.testing.assert_allclose(a[task], b, rtol=1e-10, atol=1e-12)
        lam += gradients_1.lam
    np.testing.assert_allclose(gradients.lam, lam, rtol=1e-12)


def test_dtypes_and_inputs(task):
    singles = [a.astype(np.float32) for a in task]
    before = [a.copy() for a in singles]
    out, pullback = fnn.Ridge(0.5).vjp(*singles[:3])
    gradients = pullback(singles[3])
    for a in (out, *gradients[:3]):
        assert a.dtype == np.float32
    doubles = [a.astype(np.float64) for a in singles]
    expected, pullback = fnn.Ridge(0.5).vjp(*doubles[:3])
    np.testing.assert_array_equal(out, expected.astype(np.float32))
    np.testing.assert_array_equal(gradients.support, pullback(doubles[3])[0].astype(np.float32))
    for a, b in zip(singles, before, strict=True):
        np.testing.assert_array_equal(a, b)
    ints = fnn.Ridge(0.5).forward(singles[0], singles[1] > 0, singles[2].tolist())
    assert ints.dtype == np.float64 and isinstance(gradients.lam, float)


def test_nan_stays():
    S = np.ones((3, 2))
    S[1, 0] = np.nan
    assert np.isnan(fnn.Ridge().forward(S, np.ones((3, 1)), np.ones((2, 2)))).all()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(4,), (4, 1), (2, 3)], r"support: expected shape \(..., n, d\) of 1 or more, got \(4,\)"),
        ([(0, 3), (0, 1), (2, 3)], r"support: expected shape .* got \(0, 3\)"),
        ([(4, 3), (4,), (2, 3)], r"targets: expected shape \(4, k\), got \(4,\)"),
        ([(4, 3), (5, 1), (2, 3)], r"targets: expected shape \(4, k\), got \(5, 1\)"),
        ([(4, 3), (4, 1), (2, 2)], r"query: expected shape \(m, 3\), got \(2, 2\)"),
        ([(6, 4, 3), (6, 4, 1), (5, 2, 3)], r"query: expected shape \(6, m, 3\), got \(5, 2, 3\)"),
    ],
)
def test_shapes_that_do_not_fit(shapes, message):
    arrays = [np.ones(shape) for shape in shapes]
    for method in (fnn.Ridge().forward, fnn.Ridge().vjp):
        with pytest.raises(ValueError, match=message):
            method(*arrays)


def test_other_refusals():
    with pytest.raises(ValueError, match="lam: expected a finite number > 0, got 0"):
        fnn.Ridge(0)
    with pytest.raises(TypeError, match="query: expected real numbers"):
        fnn.Ridge().forward(np.ones((2, 1)), np.ones((2, 1)), np.ones((2, 1), complex))
    pullback = fnn.Ridge().vjp(np.ones((2, 1)), np.ones((2, 3)), np.ones((4, 1)))[1]
    with pytest.raises(ValueError, match=r"dout: expected shape \(4, 3\), got \(3, 4\)"):
        pullback(np.ones((3, 4)))
    for rows in (np.ones((5, 3)), np.ones((3, 5))):
        with pytest.raises(ValueError, match=r"lam: expected a number that counts .*, got 1e-30"):
            fnn.Ridge(1e-30).forward(rows, rows, rows)
    assert repr(fnn.Ridge(0.5)) == "Ridge(lam=0.5)" and fnn.Ridge(0.5) == fnn.Ridge(0.5)
    assert repr(fnn.Ridge()) == "Ridge()"
