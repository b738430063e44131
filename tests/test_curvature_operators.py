"""Curvature of models as operators, against dense matrices made in float64 (dense_curvature)."""

from __future__ import annotations

import copy
import gc
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
from scipy.sparse.linalg import LinearOperator, eigsh, svds

import pyfast_nn as fnn
from conftest import FULL, assert_close, assert_same_bits
from dense_curvature import ACTIVATIONS, PENALISED, draw, network
from pyfast_nn import _core
from pyfast_nn.curvature import (
    NTK,
    EmpiricalFisher,
    Fisher,
    GaussNewton,
    Hessian,
    Jacobian,
    exact_trace,
    hutchinson_trace,
    top_eigenpairs,
)
from pyfast_nn.curvature.operators import derivatives_of
from test_data import misaligned
from test_hessian import central_differences, relative_error
from test_losses import CASES

SYMMETRIC = [Hessian, GaussNewton, Fisher, EmpiricalFisher]
LIKELIHOODS = ("cross_entropy", "binary_cross_entropy", "mse", "poisson")
# Of bytes: for nothing, for some of the chunks of `large`, for all.
BUDGETS = (0, 1, 600_000, 800_000, 1_500_000, 2_000_000, 3_000_000, 2**40)
RELU = fnn.ReLU()

every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
every_case = pytest.mark.parametrize("case", CASES)
symmetric = pytest.mark.parametrize("kind", SYMMETRIC, ids=lambda kind: kind.__name__)
every_kind = pytest.mark.parametrize(
    "kind", [*SYMMETRIC, Jacobian, NTK], ids=lambda kind: kind.__name__
)


def matrix(operator):
    return operator @ np.eye(operator.shape[1], dtype=operator.dtype)


def kinds_for(case):
    """The classes of operators that the loss of a case has."""
    likelihood = CASES[case][0][0] in LIKELIHOODS and case not in PENALISED
    return [kind for kind in SYMMETRIC if kind is not Fisher or likelihood]


def large(rng, dtype="float32", rows=2500):
    """Several chunks of rows, and enough work for a team."""
    return draw(
        rng, network(RELU, (24, 17, 3)), in_features=20, rows=rows, dtype=dtype, weighted=True
    )


# ------------------------------------------------------------------------------ what they stand for


def check_against_dense(rng, example, kinds):
    V = example.vectors(rng, 3)
    for kind in kinds:
        operator, dense = example.operator(kind), example.dense(kind)
        assert isinstance(operator, LinearOperator)
        assert operator.shape == (example.n, example.n) and operator.dtype == np.float64
        full = matrix(operator)
        assert relative_error(full, dense) < 1e-11, kind
        assert relative_error(full, full.T) < 1e-13, kind
        assert relative_error(operator @ V[:, 0], dense @ V[:, 0]) < 1e-11, kind
        assert_same_bits(operator.T @ V, operator @ V)
        assert_same_bits(operator.H @ V, operator @ V)
        form = operator.quadratic_form(V)
        assert form.dtype == np.float64 and form.shape == (3,)
        size = np.linalg.norm(dense, 2) * (V**2).sum(axis=0)
        assert (abs(form - np.einsum("ij,ik,kj->j", V, dense, V)) <= 1e-12 * size).all(), kind


@every_activation
def test_every_activation(isa, rng, activation):
    for case in CASES if FULL else ("cross_entropy", "huber"):
        example = draw(rng, network(ACTIVATIONS[activation]), case)
        check_against_dense(rng, example, kinds_for(case))


@every_case
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_every_loss(isa, rng, activation, case):
    example = draw(rng, network(ACTIVATIONS[activation]), case, weighted=True)
    check_against_dense(rng, example, kinds_for(case))


@pytest.mark.parametrize(
    "layers",
    [
        [fnn.Dense(4)],
        [fnn.Dense(1)],
        [fnn.Dense(3), fnn.Dense(5), fnn.Dense(2)],
        [fnn.Tanh(), fnn.Dense(3), fnn.ReLU(), fnn.Tanh(), fnn.Dense(3)],
        [fnn.Dense(5), fnn.Softmax(), fnn.Dense(2), fnn.Softplus()],
        [fnn.Dense(4), fnn.ReLU(), fnn.Dense(17), fnn.SiLU(), fnn.Dense(1), fnn.LeakyReLU()],
        network(fnn.GELU(), (3,) * 8),
    ],
    ids=len,
)
def test_every_shape_of_network(isa, rng, layers):
    for rows in (1, 2, 40):
        example = draw(rng, layers, "mse", rows=rows)
        check_against_dense(rng, example, kinds_for("mse"))


def check_against_torch(example, case):
    matrices = example.by_torch()
    for kind in kinds_for(case):
        expected = matrices["GaussNewton" if kind is Fisher else kind.__name__]
        assert relative_error(matrix(example.operator(kind)), expected) < 1e-10, kind
    jacobian = matrices["Jacobian"]
    assert relative_error(matrix(example.operator(Jacobian)), jacobian) < 1e-10
    assert relative_error(matrix(example.operator(NTK)), jacobian @ jacobian.T) < 1e-10


@every_activation
def test_automatic_differentiation_of_every_activation(isa, rng, activation):
    if activation == "step":
        pytest.skip("torch does not differentiate heaviside")
    for case in CASES if FULL else ["cross_entropy"]:
        check_against_torch(draw(rng, network(ACTIVATIONS[activation]), case, rows=6), case)


@every_case
def test_automatic_differentiation_of_every_loss(isa, rng, case):
    check_against_torch(draw(rng, network(fnn.Tanh()), case, rows=6, weighted=True), case)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_differences_of_gradients(isa, rng, activation):
    """Of `loss_and_grad`, and of `forward`: nothing that operators are made of."""
    example = draw(rng, network(ACTIVATIONS[activation]), "both", weighted=True)
    model, X, y = example.model, example.X, example.y
    start, Jv = model.parameters.copy(), model.forward(X)

    def gradient(parameters):
        model.parameters = parameters
        weights = {"loss": example.loss, "sample_weight": example.weights}
        return model.loss_and_grad(X, y, **weights)[1]

    def outputs(parameters):
        model.parameters = parameters
        return model.forward(X)

    hessian, jacobian = (matrix(example.operator(kind)) for kind in (Hessian, Jacobian))
    assert relative_error(hessian, central_differences(gradient, start)) < 1e-7
    assert relative_error(jacobian, central_differences(outputs, start)) < 1e-8
    assert jacobian.shape == (Jv.size, start.size)


def test_gauss_newton_is_of_gradients_pulled_back(isa, rng):
    """J' H J of squared errors, where H is 2 / outputs, by pullbacks of unit vectors."""
    example = draw(rng, network(fnn.SiLU()), "mse")
    out, pullback = example.model.vjp(example.X)
    units = np.eye(out.size).reshape(-1, *out.shape)
    J = np.stack([pullback(unit)[0] for unit in units])
    assert relative_error(matrix(example.operator(Jacobian)), J) < 1e-13
    assert relative_error(matrix(example.operator(GaussNewton)), 2 / out.size * J.T @ J) < 1e-12


# ------------------------------------------------------------------------------------ closed forms


def with_ones(X):
    return np.hstack([X, np.ones((len(X), 1))])


@pytest.mark.parametrize("outputs", [1, 3])
def test_linear_regression(isa, rng, outputs):
    """2 / (n k) X'X for each output, whatever the parameters and the targets."""
    example = draw(rng, [fnn.Dense(outputs)], "mse", rows=30, weighted=True)
    X = with_ones(example.X)
    expected = 2 / outputs * np.kron(X.T @ (example.shares[:, None] * X), np.eye(outputs))
    for kind in (Hessian, GaussNewton, Fisher):
        assert relative_error(matrix(example.operator(kind)), expected) < 1e-13


def test_logistic_regression(isa, rng):
    """X' diag(p (1 - p)) X / n."""
    example = draw(rng, [fnn.Dense(1)], "binary_cross_entropy", rows=30)
    X = with_ones(example.X)
    p = 1 / (1 + np.exp(-(X @ example.parameters)))
    expected = X.T @ ((p * (1 - p))[:, None] * X) / 30
    for kind in (Hessian, GaussNewton, Fisher):
        assert relative_error(matrix(example.operator(kind)), expected) < 1e-13


def test_softmax_regression(isa, rng):
    """The sum over examples of x x' (x) (diag(p) - p p'): Böhning (1992)."""
    example = draw(rng, [fnn.Dense(4)], "cross_entropy", rows=30, weighted=True)
    X = with_ones(example.X)
    e = np.exp(X @ example.parameters.reshape(4, 4))
    p = e / e.sum(axis=1, keepdims=True)
    expected = sum(
        share * np.kron(np.outer(x, x), np.diag(q) - np.outer(q, q))
        for share, x, q in zip(example.shares, X, p, strict=True)
    )
    for kind in (Hessian, GaussNewton, Fisher):
        assert relative_error(matrix(example.operator(kind)), expected) < 1e-12


def test_jacobian_of_one_hidden_layer_by_hand(isa, rng):
    """f(x) = a' max(W'x + b, 0) + c, and its singular values."""
    example = draw(rng, [fnn.Dense(5), fnn.ReLU(), fnn.Dense(1)], "mse", rows=25)
    W, b, a, _ = example.model.named_parameters().values()
    z = example.X @ W + b
    on = (z > 0).astype(np.float64)
    in_W = example.X[:, :, None] * (on * a[:, 0])[:, None, :]
    expected = np.hstack([in_W.reshape(25, -1), on * a[:, 0], z * on, np.ones((25, 1))])
    J = example.operator(Jacobian)
    assert relative_error(matrix(J), expected) < 1e-14
    largest = np.linalg.svd(expected, compute_uv=False)[:4]
    start = np.ones(25)
    values = svds(J, k=4, v0=start, return_singular_vectors=False)
    np.testing.assert_allclose(np.sort(values)[::-1], largest, rtol=1e-10)
    in_ntk = eigsh(example.operator(NTK), k=4, v0=start, return_eigenvectors=False)
    np.testing.assert_allclose(np.sort(in_ntk)[::-1], largest**2, rtol=1e-10)


# ---------------------------------------------------------------------- Fisher and empirical Fisher


def expectation(example, labels):
    """Mean over examples of E[g g'], g the gradient of a log-likelihood: from what `labels` yields
    for each row of outputs, probabilities (m,) and gradients in the outputs (m, out)."""
    fisher = np.zeros((example.n, example.n))
    for share, z, J in zip(example.shares, example.outputs, example.jacobian, strict=True):
        p, in_outputs = labels(z)
        g = in_outputs @ J
        fisher += share * (g.T @ (p[:, None] * g))
    return fisher


def classes(z):
    p = np.exp(z - z.max())
    p /= p.sum()
    return p, p - np.eye(len(z))


def bits(z):
    """Every combination of labels; a loss is a mean over the outputs, a log-likelihood a sum."""
    y = np.array(list(itertools.product([0, 1], repeat=len(z))))
    s = 1 / (1 + np.exp(-z))
    return np.where(y, s, 1 - s).prod(axis=1), (s - y) / np.sqrt(len(z))


def normal(z):
    """Of (z - t)^2: t is normal around z with variance 1/2; Gauss-Hermite quadrature is exact."""
    t, w = np.polynomial.hermite.hermgauss(5)
    return w / np.sqrt(np.pi), -2 * t[:, None]


def counts(z):
    t = np.arange(200)
    return scipy.stats.poisson.pmf(t, np.exp(z[0])), (np.exp(z[0]) - t)[:, None]


@pytest.mark.parametrize(
    ("case", "outputs", "labels"),
    [
        ("cross_entropy", 4, classes),
        ("smoothed", 4, classes),
        ("binary_cross_entropy", 1, bits),
        ("binary_cross_entropy", 3, bits),
        ("mse", 1, normal),
        ("poisson", 1, counts),
    ],
)
def test_fisher_is_the_expectation_over_labels(isa, rng, case, outputs, labels):
    example = draw(rng, network(fnn.Tanh(), (5, outputs)), case, weighted=True)
    fisher = example.operator(Fisher)
    assert relative_error(matrix(fisher), expectation(example, labels)) < 1e-10
    assert_same_bits(matrix(fisher), matrix(example.operator(GaussNewton)))


@pytest.mark.once
@every_case
def test_fisher_only_of_likelihoods(rng, case):
    example = draw(rng, network(RELU), case)
    if Fisher in kinds_for(case):
        example.operator(Fisher)
        return
    with pytest.raises(ValueError, match=f"likelihood.*got {type(example.loss).__name__}"):
        example.operator(Fisher)


@every_case
def test_empirical_fisher_is_of_each_example_alone(isa, rng, case):
    """Not of the batch: the weight of an example counts once, not squared."""
    example = draw(rng, network(fnn.Tanh()), case, weighted=True)
    model, X, y = example.model, example.X, example.y
    alone = [model.loss_and_grad(X[[i]], y[[i]], loss=example.loss)[1] for i in range(len(X))]
    expected = sum(share * np.outer(g, g) for share, g in zip(example.shares, alone, strict=True))
    assert relative_error(matrix(example.operator(EmpiricalFisher)), expected) < 1e-12


# ------------------------------------------------------------------------------ weights and labels


@symmetric
def test_weights_are_repetitions(isa, rng, kind):
    example = draw(rng, network(RELU))
    times = np.arange(9) % 4  # of some none
    weighted = matrix(example.operator(kind, sample_weight=times))
    X, y = (np.repeat(a, times, axis=0) for a in (example.X, example.y))
    repeated = matrix(kind(example.model, X, y, example.loss))
    assert relative_error(weighted, repeated) < 1e-13
    assert relative_error(matrix(example.operator(kind)), repeated) > 1e-3


@symmetric
def test_weights_of_any_size(isa, dtype, rng, kind):
    """Only their ratios matter, and they may be large."""
    example = draw(rng, network(RELU), dtype=dtype, rows=20)
    example.weights = 10.0 ** rng.uniform(-25, 0, 20)
    example.weights[5:9] = [0, 1e-300, 1, 3]
    V, dense = example.vectors(rng, 3), example.dense(kind)
    for scale in (1.0, 1e200, 1e-200):
        operator = example.operator(kind, sample_weight=scale * example.weights)
        assert_close(operator @ V, dense @ V, dtype, example.inner)
        form = np.einsum("ij,ik,kj->j", V, dense, V)
        assert_close(operator.quadratic_form(V), form, dtype, 4 * example.inner)


@symmetric
def test_rows_of_probabilities(isa, dtype, rng, kind):
    """As targets; also of another dtype than the operator's, and not contiguous."""
    example = draw(rng, network(fnn.GELU()), dtype=dtype, weighted=True)
    wide = np.zeros((18, 6))
    wide[::2, ::2] = rng.dirichlet(np.ones(3), 9)
    example.y = wide[::2, ::2]
    full = example.operator(kind, dtype="float64")
    assert relative_error(matrix(full), example.dense(kind)) < 1e-11
    assert_close(matrix(example.operator(kind)), example.dense(kind), dtype, 27)


@symmetric
def test_class_weight(isa, rng, kind):
    example = draw(rng, network(RELU), rows=20, weighted=True)
    of_class = np.array([0.5, 3.0, 1.0])
    expected = matrix(example.operator(kind, sample_weight=example.weights * of_class[example.y]))
    for class_weight in (of_class, {0: 0.5, 1: 3.0}):
        actual = matrix(example.operator(kind, class_weight=class_weight))
        assert relative_error(actual, expected) < 1e-14
    balanced = 1 / np.bincount(example.y)[example.y]
    assert (
        relative_error(
            matrix(example.operator(kind, sample_weight=None, class_weight="balanced")),
            matrix(example.operator(kind, sample_weight=balanced)),
        )
        < 1e-13
    )


@pytest.mark.once
@symmetric
def test_loss_and_labels_of_the_last_fit(rng, kind):
    X, numbers = rng.standard_normal((12, 4)), np.arange(12) % 3
    y = np.array(["cat", "dog", "owl"])[numbers]
    model = fnn.Sequential(network(RELU), dtype="float64")
    with pytest.raises(ValueError, match="loss"):
        kind(model.build(4), X, numbers)
    model.fit(X, y, loss="cross_entropy", epochs=1)
    expected = matrix(kind(model, X, numbers, loss="cross_entropy"))
    assert_same_bits(matrix(kind(model, X, y)), expected)
    np.testing.assert_allclose(expected[:, 0], matrix(kind(model, X, y))[:, 0], rtol=0)
    weighted = kind(model, X, y, class_weight={"owl": 2.0})
    assert_same_bits(
        matrix(weighted), matrix(kind(model, X, numbers, sample_weight=1.0 + (numbers == 2)))
    )


# --------------------------------------------------------------------------------------- Jacobians


@every_activation
def test_jacobians(isa, rng, activation):
    """Row i * out + c is that of output c of example i."""
    example = draw(rng, network(ACTIVATIONS[activation]))
    J, expected = example.operator(Jacobian), example.flat_jacobian
    assert J.shape == (27, example.n)
    assert relative_error(matrix(J), expected) < 1e-12
    assert relative_error(J.T @ np.eye(27), expected.T) < 1e-12
    V, W = example.vectors(rng, 5), rng.standard_normal((27, 5))
    assert relative_error(J @ V, expected @ V) < 1e-12
    assert relative_error(J.T @ W, expected.T @ W) < 1e-12
    assert relative_error(J @ V[:, 0], example.model.jvp(example.X, V[:, 0])[1].ravel()) < 1e-13
    assert_same_bits(J.rmatvec(W[:, 0]), (J.T @ W)[:, 0])
    K = example.operator(NTK)
    assert K.shape == (27, 27)
    assert relative_error(matrix(K), expected @ expected.T) < 1e-12
    assert_same_bits(K.T @ W, K @ W)


# ------------------------------------------------------------------------------------------- blocks


@every_kind
def test_blocks(isa, dtype, rng, kind):
    """A column has the same bits alone as in a block, in whatever order the block lies."""
    example = draw(rng, network(fnn.GELU()), rows=11, dtype=dtype)
    for k in (0, 1, 2, 17, 40):
        check_block(rng, example, kind, k)


def check_block(rng, example, kind, k):
    operator, dtype = example.operator(kind), example.model.dtype
    V = rng.standard_normal((operator.shape[1], k)).astype(dtype)
    before = V.copy()
    AV = operator @ V
    assert AV.dtype == dtype and AV.shape == (operator.shape[0], k)
    assert_close(AV, example.dense(kind) @ V, dtype, example.inner)
    wide = np.full((2 * len(V) + 1, 3 * k + 1), np.nan, dtype)
    wide[1::2, 1::3] = V
    read_only = V.copy()
    read_only.flags.writeable = False
    reversed_columns = V[:, ::-1].copy()[:, ::-1]
    kinds = (np.asfortranarray(V), wide[1::2, 1::3], reversed_columns, read_only, misaligned(V))
    for W in kinds:
        assert_same_bits(operator @ W, AV)
    for j in range(k):
        assert_same_bits(operator @ V[:, j], AV[:, j])
        assert_same_bits(operator @ V[:, [j]], AV[:, [j]])
    if kind in SYMMETRIC:
        form = operator.quadratic_form(V)
        assert form.shape == (k,) and form.dtype == np.float64
        assert_same_bits(operator.quadratic_form(np.asfortranarray(V)), form)
        for j in range(k):
            assert_same_bits(operator.quadratic_form(V[:, [j]]), form[[j]])
    if kind is Jacobian:
        W = rng.standard_normal((operator.shape[0], k)).astype(dtype)
        AtW = operator.T @ W
        assert_close(AtW, example.flat_jacobian.T @ W, dtype, example.inner)
        for j in range(k):
            assert_same_bits(operator.T @ W[:, j], AtW[:, j])
    np.testing.assert_array_equal(V, before)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (19, 5), (513, 33), (1500, 64)])
def test_columns_become_rows(isa, dtype, threads, rng, shape):
    A = rng.standard_normal(shape).astype(dtype)
    out = np.full(shape[::-1], np.nan, dtype)
    _core.transpose(A, out)
    assert_same_bits(out, A.T)


@pytest.mark.once
def test_columns_become_rows_of_the_same_type_and_shape(dtype):
    A, out = np.ones((4, 3), dtype), np.ones((3, 4), dtype)
    for arguments, name in [
        ((A[0], out), "A"),
        ((A[:, ::2], out[:2]), "A"),
        ((A.astype("f2"), out), "A"),
        ((A, out[:2]), "out"),
        ((A, out.astype(int)), "out"),
        ((A, A.T), "out"),
    ]:
        with pytest.raises((TypeError, ValueError), match=rf"^{name}\b"):
            _core.transpose(*arguments)


@every_case
def test_quadratic_forms(isa, rng, case):
    """v'Av without Av: of every loss, and of activations with and without second derivative."""
    for activation in ACTIVATIONS if FULL else ("leaky_relu", "silu", "softmax"):
        example = draw(rng, network(ACTIVATIONS[activation], (4, 3)), case, weighted=True)
        for kind, k in itertools.product(kinds_for(case), (1, 2, 17, 40)):
            V, dense = example.vectors(rng, k), example.dense(kind)
            expected = np.einsum("ij,ik,kj->j", V, dense, V)
            error = abs(example.operator(kind).quadratic_form(V) - expected)
            assert (error <= 1e-12 * np.linalg.norm(dense, 2) * (V**2).sum(axis=0)).all(), kind


@every_kind
def test_other_numbers_are_converted(isa, rng, kind):
    example = draw(rng, network(RELU), dtype="float32")
    operator = example.operator(kind)
    V = rng.integers(-3, 4, (operator.shape[1], 2))
    expected = operator @ V.astype(np.float32)
    for W in (V, V.astype(np.float64), V.astype(np.int8), V.astype(">f4")):
        result = operator @ W
        assert result.dtype == np.float32
        assert_same_bits(result, expected)


@every_kind
def test_results_are_not_shared(isa, rng, kind):
    """What an operator returned does not change with its next product."""
    operator = draw(rng, network(RELU)).operator(kind)
    V = np.eye(operator.shape[1])[:, :3]
    first = operator @ V
    kept = first.copy()
    operator @ (2 * V)
    assert_same_bits(first, kept)
    assert_same_bits(operator @ V, kept)


# ---------------------------------------------------------------------------------- the same bits


def all_operators(example, **arguments):
    return [example.operator(kind, **arguments) for kind in (*SYMMETRIC, Jacobian, NTK)]


def results(operators, k=3):
    """All that they compute for k directions, for comparisons of bits."""
    found = []
    for operator in operators:
        m, n = operator.shape
        V = np.random.default_rng(0).standard_normal((n, k)).astype(operator.dtype)
        AV = operator @ V
        found.append(AV)
        assert_same_bits(operator @ V[:, k - 1], AV[:, k - 1])
        if type(operator) in SYMMETRIC:
            found.append(operator.quadratic_form(V))
            assert_same_bits(operator.quadratic_form(V[:, k - 1 :]), found[-1][k - 1 :])
        if type(operator) is Jacobian:
            W = np.random.default_rng(1).standard_normal((m, 2)).astype(operator.dtype)
            found.append(operator.T @ W)
    return found


def assert_all_same_bits(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        assert_same_bits(a, e)


def test_any_number_of_threads(isa, dtype, threads, rng):
    """Also if an operator is made by another number than uses it."""
    example = large(rng, dtype, rows=1500)
    operators = all_operators(example)
    actual = results(operators)
    _core.set_num_threads(1)
    expected = results(all_operators(example))
    assert_all_same_bits(actual, expected)
    assert_all_same_bits(results(operators), expected)


def test_any_memory_budget(isa, dtype, rng):
    example, seen = large(rng, dtype), set()
    expected = results(all_operators(example), k=20)
    for budget in BUDGETS:
        operators = all_operators(example, memory_budget=budget)
        seen |= {
            (type(x), derivatives_of(x).core.kept_chunks) for x in operators if type(x) is not NTK
        }
        assert_all_same_bits(results(operators, k=20), expected)
    for kind in (*SYMMETRIC, Jacobian):
        kept = {chunks for found, chunks in seen if found is kind}
        assert {0, 3} < kept  # of the three chunks also some


def test_in_several_threads_at_once(isa, rng):
    """One operator, used by several threads of Python."""
    operators = all_operators(large(rng))
    expected = results(operators)
    with ThreadPoolExecutor(4) as pool:
        for actual in pool.map(results, [operators] * 4):
            assert_all_same_bits(actual, expected)


@every_kind
def test_operators_keep_what_they_need(isa, rng, kind):
    """Whoever made model, data and weights may forget them."""
    example = large(rng)
    operator = example.operator(kind, memory_budget=0)
    V = np.ones((operator.shape[1], 1), np.float32)
    expected = operator @ V

    def only_here():
        X, weights = example.X.astype(np.float64), example.weights.tolist()
        X[:] += 0
        model = copy.deepcopy(example.model)
        if kind not in SYMMETRIC:
            return kind(model, X, memory_budget=0)
        y = example.y.astype(np.int16)
        return kind(model, X, y, "cross_entropy", sample_weight=weights, memory_budget=0)

    alone = only_here()
    gc.collect()
    rubbish = [np.full(size, np.nan) for size in (20, 100, 2500, 50_000, 100_000)]
    assert_same_bits(alone @ V, expected)
    assert len(rubbish) == 5


@pytest.mark.parametrize("rows", [1024, 1025, 2500])
def test_chunks(isa, dtype, rng, rows):
    """More rows than are computed with at a time."""
    example = draw(rng, network(fnn.Tanh(), (3, 2)), rows=rows, dtype=dtype, weighted=True)
    for kind, budget in itertools.product((*SYMMETRIC, Jacobian, NTK), (0, 2**30)):
        operator = example.operator(kind, memory_budget=budget)
        V = rng.standard_normal((operator.shape[1], 3)).astype(dtype)
        if kind is NTK:  # without a matrix (2 rows, 2 rows)
            J = example.flat_jacobian
            expected = J @ (J.T @ V)
        else:
            expected = example.dense(kind) @ V
        assert_close(operator @ V, expected, dtype, rows)
        assert_close(operator @ V[:, 0], expected[:, 0], dtype, rows)
        if kind in SYMMETRIC:
            size = np.linalg.norm(example.dense(kind), 2) * np.square(V, dtype=np.float64).sum(
                axis=0
            )
            error = operator.quadratic_form(V) - np.einsum("ij,ij->j", V, expected)
            assert (abs(error) <= 32 * np.finfo(dtype).eps * size).all(), kind


# ------------------------------------------------------------------------------------------- dtypes


@every_activation
def test_float32_to_within_rounding(isa, rng, activation):
    """Beside float64 with the same parameters and data."""
    example = draw(rng, network(ACTIVATIONS[activation]), dtype="float32", weighted=True)
    for kind in (*SYMMETRIC, Jacobian, NTK):
        operator, expected = example.operator(kind), example.dense(kind)
        actual = matrix(operator)
        assert operator.dtype == actual.dtype == np.float32
        assert_close(actual, expected, "float32", 27)
        if kind in SYMMETRIC:
            V = example.vectors(rng, 4)
            size = np.linalg.norm(expected, 2) * (V**2).sum(axis=0)
            error = operator.quadratic_form(V) - np.einsum("ij,ik,kj->j", V, expected, V)
            assert (abs(error) <= 1e-5 * size).all(), kind


@every_kind
def test_float64_operator_of_a_float32_model(isa, rng, kind):
    """The parameters are those of the model, and nothing is rounded to float32 on the way."""
    example = draw(rng, network(fnn.Tanh()), dtype="float32", weighted=True)
    operator = example.operator(kind, dtype="float64")
    assert operator.dtype == np.float64
    assert relative_error(matrix(operator), example.dense(kind)) < 1e-11
    example.X = example.X.astype(np.float64) + 1e-9  # nor are inputs
    fine = draw_again(example)
    assert relative_error(matrix(fine.operator(kind, dtype="float64")), fine.dense(kind)) < 1e-11
    assert example.model.dtype == np.float32


def draw_again(example):
    """The same example without what it has computed."""
    return type(example)(**{name: getattr(example, name) for name in example.__match_args__})


# ---------------------------------------------------------------------------- damping and restrict


@symmetric
def test_damping(isa, dtype, rng, kind):
    example = draw(rng, network(RELU), dtype=dtype)
    n, plain = example.n, example.operator(kind)
    V = example.vectors(rng, 3)
    for damping in (0.25, np.float32(0.25), 1, rng.uniform(0, 2, n), [0.5] * n):
        added = np.broadcast_to(np.asarray(damping, np.float64), n)
        operator = example.operator(kind, damping=damping)
        assert operator.dtype == dtype
        expected = example.dense(kind) + np.diag(added)
        assert_close(matrix(operator), expected, dtype, example.inner)
        assert_close(operator @ V, expected @ V, dtype, example.inner)
        form = np.einsum("ij,ik,kj->j", V, expected, V)
        assert_close(operator.quadratic_form(V), form, dtype, 4 * example.inner)
    for nothing in (0, 0.0, np.zeros(n)):
        assert_same_bits(example.operator(kind, damping=nothing) @ V, plain @ V)


def positions(model):
    """{key: positions of its parameters in the flat vector}"""
    found, first = {}, 0
    for key, view in model.named_parameters().items():
        found[key] = np.arange(first, first + view.size)
        first += view.size
    return found


RESTRICTIONS = [
    (0, ["0.weight", "0.bias"]),
    (np.int64(4), ["4.weight", "4.bias"]),
    ("2.weight", ["2.weight"]),
    ("4.bias", ["4.bias"]),
    (["0.bias", "4.weight"], ["0.bias", "4.weight"]),
    (["4.weight", "0.bias"], ["0.bias", "4.weight"]),  # the order is the model's
    ([4, "0.weight"], ["0.weight", "4.weight", "4.bias"]),
    ((0, 2, 4), ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]),
]


@every_kind
def test_restricted_to_some_parameters(isa, rng, kind):
    """The operator of a block is the block of the operator."""
    example = draw(rng, network(fnn.Tanh()), weighted=True)
    for restrict, keys in RESTRICTIONS:
        check_restricted(rng, example, kind, restrict, keys)


def check_restricted(rng, example, kind, restrict, keys):
    own = np.concatenate([positions(example.model)[key] for key in keys])
    operator = example.operator(kind, restrict=restrict)
    assert list(operator.keys) == keys
    if kind is Jacobian:
        expected = example.flat_jacobian[:, own]
        W = rng.standard_normal((27, 3))
        assert relative_error(operator.T @ W, expected.T @ W) < 1e-11
    elif kind is NTK:
        expected = example.flat_jacobian[:, own] @ example.flat_jacobian[:, own].T
    else:
        expected = example.dense(kind)[np.ix_(own, own)]
        V, damping = rng.standard_normal((own.size, 2)), rng.uniform(0, 1, own.size)
        form = operator.quadratic_form(V)
        size = np.linalg.norm(expected, 2) * (V**2).sum(axis=0)
        assert (abs(form - np.einsum("ij,ik,kj->j", V, expected, V)) <= 1e-11 * size).all()
        damped = example.operator(kind, restrict=restrict, damping=damping)
        assert relative_error(matrix(damped), expected + np.diag(damping)) < 1e-11
    assert operator.shape == expected.shape
    assert relative_error(matrix(operator), expected) < 1e-11


@pytest.mark.once
@every_kind
def test_keys(rng, kind):
    example = draw(rng, network(RELU))
    assert list(example.operator(kind).keys) == list(example.model.named_parameters())


# ----------------------------------------------------------------------------------- a snapshot


@pytest.mark.parametrize("budget", [0, 2**30])
@every_kind
def test_a_snapshot_of_the_parameters(isa, dtype, rng, kind, budget):
    """Whatever becomes of the model, its parameters and statistics."""
    layers = [fnn.Standardize(), *network(fnn.Tanh())]
    model = fnn.Sequential(layers, dtype=dtype).build(4)
    X, y = rng.standard_normal((30, 4)).astype(dtype), rng.integers(0, 3, 30)
    model.fit(X, y, loss="cross_entropy", epochs=1)
    arguments = (X,) if kind in (Jacobian, NTK) else (X, y)
    operator = kind(model, *arguments, memory_budget=budget)
    V = np.eye(operator.shape[1], dtype=dtype)[:, :4]
    parameters, state = model.parameters.copy(), model.state.copy()
    early = operator @ V
    model.parameters += 0.1
    model.state += 0.5
    assert_same_bits(operator @ V, early)
    late = kind(model, *arguments, memory_budget=budget)
    assert relative_error(late @ V, early) > 1e-3
    model.fit(X, (y + 1) % 3, loss="multi_margin", epochs=1)
    del model, late
    assert_same_bits(operator @ V, early)
    again = fnn.Sequential(layers, dtype=dtype).build(4)
    again.parameters, again.state = parameters, state
    loss = {} if kind in (Jacobian, NTK) else {"loss": "cross_entropy"}
    assert_same_bits(kind(again, *arguments, **loss) @ V, early)


@pytest.mark.once
def test_operators_do_not_touch_their_model(rng):
    example = draw(rng, network(RELU))
    model, before = example.model, example.model.parameters.copy()
    X, y = example.X.copy(), example.y.copy()
    for kind in (*SYMMETRIC, Jacobian, NTK):
        operator = example.operator(kind)
        operator @ np.ones(operator.shape[1])
    assert_same_bits(model.parameters, before)
    assert_same_bits(example.X, X)
    assert_same_bits(example.y, y)
    assert model.loss is None and model.epochs_trained == 0


# --------------------------------------------------------------------------------------- inputs


@every_kind
def test_layers_in_front(isa, dtype, rng, kind):
    """What Rescale and Standardize make of the inputs is what the operator is of."""
    X = rng.integers(0, 256, (20, 4)).astype(np.uint8)
    y = rng.integers(0, 3, 20)
    inner = network(fnn.Tanh())
    model = fnn.Sequential([fnn.Rescale(), fnn.Standardize(), *inner], dtype=dtype).build(4)
    mean, std = np.array([0.5, 0.4, 0.6, 0.5]), np.array([0.3, 0.2, 0.4, 0.3])
    model.state = np.concatenate([mean, std])
    plain = fnn.Sequential(inner, dtype=dtype).build(4)
    plain.parameters = model.parameters
    arguments, loss = ((), {}) if kind in (Jacobian, NTK) else ((y,), {"loss": "cross_entropy"})
    actual = matrix(kind(model, X, *arguments, **loss))
    expected = matrix(kind(plain, (X / 255 - mean) / std, *arguments, **loss))
    assert_close(actual, expected, dtype, 20)
    unlearned = fnn.Sequential([fnn.Standardize(), *inner], dtype=dtype).build(4)
    with pytest.raises(RuntimeError, match="Standardize"):
        kind(unlearned, X, *arguments, **loss)


@every_kind
def test_kinds_of_inputs(isa, dtype, rng, kind):
    example = draw(rng, network(fnn.Tanh()), rows=1100, dtype=dtype)
    X = rng.integers(0, 3, (1100, 3)).astype(np.uint8)
    arguments = () if kind in (Jacobian, NTK) else (example.y, example.loss)
    V = None
    for form in (
        X.astype(dtype),
        X,
        X.astype(np.int64),
        X[:, ::-1].copy()[:, ::-1],
        np.asfortranarray(X.astype(np.float64)),
        X.tolist(),
        scipy.sparse.csr_matrix(X.astype(dtype)),
        scipy.sparse.csc_array(X.astype(np.float64)),
    ):
        for budget in (0, 2**30):
            operator = kind(example.model, form, *arguments, memory_budget=budget)
            if V is None:
                V = rng.standard_normal((operator.shape[1], 2)).astype(dtype)
                expected = operator @ V
            assert_same_bits(operator @ V, expected)


@pytest.mark.once
@symmetric
def test_kinds_of_targets(rng, kind):
    example = draw(rng, network(RELU))
    expected = matrix(example.operator(kind))
    for y in (example.y.tolist(), example.y.astype(np.uint8), example.y.astype(np.float64)):
        assert_same_bits(matrix(kind(example.model, example.X, y, "cross_entropy")), expected)
    one_hot = matrix(kind(example.model, example.X, np.eye(3)[example.y], "cross_entropy"))
    assert relative_error(one_hot, expected) < 1e-13


@every_kind
def test_training_is_the_same_without_layers_that_train_differently(isa, rng, kind):
    example = draw(rng, network(RELU))
    assert_same_bits(matrix(example.operator(kind, training=True)), matrix(example.operator(kind)))


@every_kind
def test_nan_arrives(isa, dtype, rng, kind):
    """In the column that it is in, and nowhere else; from parameters and inputs, everywhere."""
    example = draw(rng, network(fnn.Tanh()), dtype=dtype)
    operator = example.operator(kind)
    V = rng.standard_normal((operator.shape[1], 3)).astype(dtype)
    expected = operator @ V
    V[0, 1] = np.nan
    AV = operator @ V
    assert np.isnan(AV[:, 1]).any()
    assert_same_bits(AV[:, [0, 2]], expected[:, [0, 2]])
    if kind in SYMMETRIC:
        assert np.isnan(operator.quadratic_form(V)).tolist() == [False, True, False]
    example.model.parameters[0] = np.nan
    assert np.isnan(example.operator(kind) @ V[:, 0]).any()
    example.model.parameters[0], example.X[2, 0] = 0, np.nan
    assert np.isnan(example.operator(kind) @ V[:, 0]).any()


# ------------------------------------------------------------------------------ among other things


def test_with_scipy_and_estimators(isa, rng):
    example = draw(rng, network(fnn.Tanh()), rows=40)
    H, G = example.operator(Hessian), example.operator(GaussNewton)
    v = rng.standard_normal(example.n)
    np.testing.assert_allclose((2 * H - G) @ v, 2 * (H @ v) - G @ v, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose((H @ G) @ v, H @ (G @ v), rtol=1e-14)
    values = np.linalg.eigvalsh(example.hessian)
    ends = eigsh(H, k=3, which="BE", v0=np.ones(example.n), return_eigenvectors=False)
    np.testing.assert_allclose(np.sort(ends), values[[0, -2, -1]], rtol=1e-10)
    found = top_eigenpairs(H, k=3)
    np.testing.assert_allclose(found[0], values[:-4:-1], rtol=1e-6)


def test_hutchinson_asks_for_quadratic_forms(rng, monkeypatch):
    example = draw(rng, network(RELU))
    H, forms = example.operator(Hessian), example.operator(Hessian).quadratic_form
    expected = hutchinson_trace(example.hessian, num_matvecs=20)
    monkeypatch.setattr(H, "quadratic_form", lambda V: forms(V) + 1)
    shifted = hutchinson_trace(H, num_matvecs=20)
    np.testing.assert_allclose(shifted.samples, expected.samples + 1, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("restrict", [None, [2, "0.bias"]])
def test_hutchinson_by_parameters(rng, restrict):
    """The samples of a block are its terms of v'Hv, and their mean has the block's trace."""
    example = draw(rng, network(fnn.Tanh()))
    H = example.operator(Hessian, restrict=restrict)
    own = np.concatenate([positions(example.model)[key] for key in H.keys])
    dense = example.hessian[np.ix_(own, own)]
    m = 400
    parts = hutchinson_trace(H, num_matvecs=m, per_parameter=True, seed=7)
    assert list(parts) == H.keys
    whole = hutchinson_trace(H, num_matvecs=m, seed=7)
    total = sum(part.samples for part in parts.values())
    np.testing.assert_allclose(total, whole.samples, rtol=1e-9, atol=1e-11)
    first = 0
    for key, part in parts.items():
        size = positions(example.model)[key].size
        trace = np.trace(dense[first : first + size, first : first + size])
        first += size
        assert type(part.value) is type(part.std_error) is float
        assert part.num_matvecs == len(part.samples) == m and part.converged
        np.testing.assert_allclose(part.value, part.samples.mean(), rtol=1e-12)
        assert abs(part.value - trace) < 5 * part.std_error + 1e-12, key
    found = hutchinson_trace(H, rtol=0.2, per_parameter=True, max_matvecs=10_000)
    errors = np.linalg.norm([part.std_error for part in found.values()])
    assert errors <= 0.2 * np.linalg.norm([part.value for part in found.values()])
    assert len({part.num_matvecs for part in found.values()}) == 1
    for A in (example.hessian, example.operator(NTK)):
        with pytest.raises(TypeError, match="A: expected Hessian, GaussNewton"):
            hutchinson_trace(A, num_matvecs=8, per_parameter=True)
    with pytest.raises(TypeError, match="per_parameter"):
        hutchinson_trace(H, num_matvecs=8, per_parameter=1)


@pytest.mark.once
@pytest.mark.parametrize("kind", [Hessian, GaussNewton], ids=lambda kind: kind.__name__)
def test_hutchinson_covers_the_exact_trace_at_its_rate(rng, kind):
    """95 % intervals by Student's t at a fixed number of probes."""
    operator = draw(rng, network(RELU), rows=12).operator(kind)
    trace, m, seeds = exact_trace(operator), 40, 1000
    t = scipy.stats.t.ppf(0.975, m - 1)
    covered, off_by = 0, []
    for seed in range(seeds):
        estimate = hutchinson_trace(operator, num_matvecs=m, batch_size=m, seed=seed)
        covered += abs(estimate.value - trace) <= t * estimate.std_error
        off_by.append((estimate.value - trace) / estimate.std_error)
    assert abs(covered / seeds - 0.95) < 4 * np.sqrt(0.95 * 0.05 / seeds)
    assert abs(np.mean(off_by)) < 4 / np.sqrt(seeds) + 0.1  # the sampled error is a little skewed


# --------------------------------------------------------------------------- what is not accepted


@pytest.mark.once
@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("model", "a model", TypeError),
        ("model", None, TypeError),
        ("model", np.ones((3, 3)), TypeError),
        ("X", np.ones((9, 4)), ValueError),
        ("X", np.ones(9), ValueError),
        ("X", np.ones((9, 3), complex), TypeError),
        ("X", "data", (TypeError, ValueError)),
        ("X", None, (TypeError, ValueError)),
        ("restrict", "1.weight", ValueError),
        ("restrict", "0.weigth", ValueError),
        ("restrict", 1, ValueError),  # an activation
        ("restrict", 5, ValueError),
        ("restrict", [], (TypeError, ValueError)),
        ("restrict", 0.0, TypeError),
        ("restrict", True, (TypeError, ValueError)),
        ("restrict", [None], (TypeError, ValueError)),
        ("restrict", ["0.weight", "9.bias"], ValueError),
        ("dtype", "float16", ValueError),
        ("dtype", "int64", ValueError),
        ("dtype", "complex128", ValueError),
        ("dtype", 3, (TypeError, ValueError)),
        ("memory_budget", -1, ValueError),
        ("memory_budget", "1 GiB", TypeError),
        ("memory_budget", None, TypeError),
        ("memory_budget", np.nan, (TypeError, ValueError)),
    ],
    ids=repr,
)
def test_wrong_arguments(rng, argument, value, error):
    example = draw(rng, network(RELU))
    for kind in (*SYMMETRIC, Jacobian, NTK):
        call = {"model": example.model, "X": example.X}
        if kind in SYMMETRIC:
            call |= {"y": example.y, "loss": "cross_entropy"}
        kind(**call)
        with pytest.raises(error, match=argument):
            kind(**call | {argument: value})


@pytest.mark.once
@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("y", np.zeros(8, int), ValueError),
        ("y", np.full(9, 3), ValueError),
        ("y", np.full(9, 0.5), ValueError),
        ("y", np.full((9, 3), np.nan), ValueError),
        ("y", None, (TypeError, ValueError)),
        ("loss", None, ValueError),
        ("loss", "crossentropy", ValueError),
        ("loss", 3, TypeError),
        ("loss", fnn.losses.MSE, TypeError),
        ("sample_weight", np.ones(8), ValueError),
        ("sample_weight", -np.ones(9), ValueError),
        ("sample_weight", np.zeros(9), ValueError),
        ("sample_weight", np.full(9, np.nan), ValueError),
        ("class_weight", {7: 1.0}, ValueError),
        ("class_weight", "fair", ValueError),
        ("damping", -1, ValueError),
        ("damping", np.nan, ValueError),
        ("damping", np.inf, ValueError),
        ("damping", "1", TypeError),
        ("damping", True, TypeError),
        ("damping", 1j, TypeError),
        ("damping", np.ones(5), ValueError),
        ("damping", np.ones((59, 59)), ValueError),
        ("damping", -np.ones(59), ValueError),
        ("damping", np.full(59, np.nan), ValueError),
    ],
    ids=repr,
)
def test_wrong_arguments_of_symmetric_operators(rng, argument, value, error):
    example = draw(rng, network(RELU))
    call = {"model": example.model, "X": example.X, "y": example.y, "loss": "cross_entropy"}
    for kind in SYMMETRIC:
        assert kind(**call).shape == (59, 59)
        with pytest.raises(error, match=argument):
            kind(**call | {argument: value})


@pytest.mark.once
@every_kind
def test_wrong_vectors(rng, kind):
    operator = draw(rng, network(RELU)).operator(kind)
    n = operator.shape[1]
    for wrong in (np.ones(n + 1), np.ones((n - 1, 2)), np.ones((1, n)), np.ones((0, 3))):
        with pytest.raises(ValueError):
            operator @ wrong
    with pytest.raises((TypeError, ValueError)):
        operator @ np.full(n, 1j)
    with pytest.raises((TypeError, ValueError)):
        operator.matvec(np.full(n, "a"))
    if kind in SYMMETRIC:
        for wrong in (np.ones((n + 1, 2)), np.ones((2, n)), np.ones((n, 2, 1))):
            with pytest.raises(ValueError, match=str(n)):
                operator.quadratic_form(wrong)
        with pytest.raises((TypeError, ValueError)):
            operator.quadratic_form(np.full((n, 2), 1j))


@pytest.mark.once
@every_kind
def test_no_rows(rng, kind):
    example = draw(rng, network(RELU))
    if kind in SYMMETRIC:
        with pytest.raises(ValueError, match=r"no rows|at least one row"):
            kind(example.model, example.X[:0], example.y[:0], example.loss)


@pytest.mark.once
def test_what_is_alike_is_called_alike():
    """Keyword-only from the weights on, and the names of `Sequential.hvp`."""
    example = draw(np.random.default_rng(0), network(RELU))
    with pytest.raises(TypeError, match="positional"):
        Hessian(example.model, example.X, example.y, "cross_entropy", np.ones(9))
    with pytest.raises(TypeError, match="positional"):
        Jacobian(example.model, example.X, "0.weight")
