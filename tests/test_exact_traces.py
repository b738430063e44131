"""Traces and diagonals of curvature without sampling, and the gradients of single examples."""

from __future__ import annotations

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import FULL, assert_close, assert_same_bits
from dense_curvature import ACTIVATIONS, PENALISED, PIECEWISE_LINEAR, SMOOTH, draw, network
from pyfast_nn import _core
from pyfast_nn.curvature import (
    NTK,
    EmpiricalFisher,
    Estimate,
    Fisher,
    GaussNewton,
    Hessian,
    Jacobian,
    exact_diagonal,
    exact_trace,
    hutchinson_trace,
    per_example_gradient_norms,
    per_example_gradients,
    sampled_diagonal,
    sampled_trace,
)
from test_hessian import relative_error
from test_losses import CASES

RELU = fnn.ReLU()
SYMMETRIC = [Hessian, GaussNewton, Fisher, EmpiricalFisher]
EXACT_CASES = [case for case in CASES if case not in PENALISED]
LIKELIHOODS = ("cross_entropy", "binary_cross_entropy", "mse", "poisson")
STRAIGHT = ("hinge", "multi_margin", "mae", "quantile")  # losses without second derivative

every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
every_smooth = pytest.mark.parametrize("activation", SMOOTH)
every_case = pytest.mark.parametrize("case", CASES)
exact_cases = pytest.mark.parametrize("case", EXACT_CASES)
symmetric = pytest.mark.parametrize("kind", SYMMETRIC, ids=lambda kind: kind.__name__)


def kinds_for(activation, case):
    """The classes of operators whose traces are known exactly."""
    kinds = [EmpiricalFisher]
    if case not in PENALISED:
        kinds += [GaussNewton] + [Fisher] * (CASES[case][0][0] in LIKELIHOODS)
        kinds += [Hessian] * (activation in PIECEWISE_LINEAR)
    return kinds


def keys_of(model):
    """The key of each number in the flat vector of parameters (n,)."""
    return np.concatenate([np.full(v.size, k) for k, v in model.named_parameters().items()])


def check(operator, dense, keys, dtype="float64", inner=8):
    """Compare trace, its parts, and diagonal with those of a dense matrix."""
    expected = np.diag(dense)
    diagonal = exact_diagonal(operator)
    assert diagonal.shape == expected.shape
    assert_close(diagonal, expected, dtype, inner)
    trace = exact_trace(operator)
    assert type(trace) is float
    size = abs(expected).sum()
    eps = float(np.finfo(dtype).eps) * (32 + 4 * inner)
    assert abs(trace - expected.sum()) <= eps * size
    parts = exact_trace(operator, per_parameter=True)
    assert list(parts) == list(operator.keys) == list(dict.fromkeys(keys))
    for key, part in parts.items():
        assert type(part) is float
        assert abs(part - expected[keys == key].sum()) <= eps * size, key
    assert abs(sum(parts.values()) - trace) <= eps * size


# --------------------------------------------------------------------------------- against dense


@every_activation
def test_every_activation(isa, rng, activation):
    for case in CASES if FULL else ("cross_entropy", "log_cosh"):
        example = draw(rng, network(ACTIVATIONS[activation]), case)
        for kind in kinds_for(activation, case):
            check(example.operator(kind), example.dense(kind), keys_of(example.model))


@every_case
@pytest.mark.parametrize("activation", ["leaky_relu", "gelu"])
def test_every_loss(isa, rng, activation, case):
    example = draw(rng, network(ACTIVATIONS[activation]), case, weighted=True)
    for kind in kinds_for(activation, case):
        check(example.operator(kind), example.dense(kind), keys_of(example.model))
    if example.loss.name in STRAIGHT:
        assert exact_trace(example.operator(GaussNewton)) == 0
        assert not exact_diagonal(example.operator(GaussNewton)).any()


@pytest.mark.parametrize(
    "layers",
    [
        [fnn.Dense(4)],
        [fnn.Dense(1)],
        [fnn.Dense(3), fnn.Dense(5), fnn.Dense(2)],
        [fnn.ReLU(), fnn.Dense(3), fnn.ReLU(), fnn.Hardtanh(), fnn.Dense(3), fnn.Identity()],
        [fnn.Dense(4), fnn.ReLU(), fnn.Dense(17), fnn.LeakyReLU(), fnn.Dense(1), fnn.ReLU()],
        network(RELU, (3,) * 8),
    ],
    ids=len,
)
def test_every_shape_of_network(isa, dtype, rng, layers):
    for rows in (1, 2, 40):
        example = draw(rng, layers, "mse", rows=rows, dtype=dtype)
        for kind in (GaussNewton, EmpiricalFisher):  # that of the Hessian has the same diagonal
            operator = example.operator(kind)
            check(operator, example.dense(kind), keys_of(example.model), dtype, 8 * example.n)
        hessian = example.operator(Hessian)
        assert_same_bits(exact_diagonal(hessian), exact_diagonal(example.operator(GaussNewton)))


@pytest.mark.parametrize("activation", PIECEWISE_LINEAR)
def test_hessian_and_gauss_newton_have_the_same_diagonal(isa, rng, activation):
    """Though they differ: almost everywhere the network is linear in each parameter alone."""
    example = draw(rng, network(ACTIVATIONS[activation]))
    dense, hessian = example.hessian, example.operator(Hessian)
    assert relative_error(np.diag(dense), np.diag(example.gauss_newton)) < 1e-13
    assert relative_error(exact_diagonal(hessian), np.diag(dense)) < 1e-12
    products = np.diag(hessian @ np.eye(example.n))
    assert relative_error(exact_diagonal(hessian), products) < 1e-12
    if activation not in ("step", "sign"):
        assert relative_error(dense, example.gauss_newton) > 1e-3


def test_automatic_differentiation(isa, rng):
    for activation in ("relu", "tanh"):
        example = draw(rng, network(ACTIVATIONS[activation]), weighted=True)
        matrices = example.by_torch()
        for kind in set(kinds_for(activation, "cross_entropy")) - {Fisher}:
            diagonal = exact_diagonal(example.operator(kind))
            assert relative_error(diagonal, np.diag(matrices[kind.__name__])) < 1e-10


@pytest.mark.parametrize("outputs", [1, 3])
def test_linear_regression(isa, rng, outputs):
    """2 / n times the sum of |x|^2 + 1: the outputs share their mean's 1 / k."""
    example = draw(rng, [fnn.Dense(outputs)], "mse", rows=30)
    expected = 2 / 30 * ((example.X**2).sum() + 30)
    np.testing.assert_allclose(exact_trace(example.operator(Hessian)), expected, rtol=1e-13)
    parts = exact_trace(example.operator(Hessian), per_parameter=True)
    np.testing.assert_allclose(parts["0.bias"], 2, rtol=1e-14)


def test_softmax_regression(isa, rng):
    """The mean of (1 - |p|^2) (|x|^2 + 1)."""
    example = draw(rng, [fnn.Dense(5)], rows=30, weighted=True)
    e = np.exp(example.outputs)
    p = e / e.sum(axis=1, keepdims=True)
    factors = (1 - (p**2).sum(axis=1)) * ((example.X**2).sum(axis=1) + 1)
    trace = exact_trace(example.operator(Hessian))
    np.testing.assert_allclose(trace, example.shares @ factors, rtol=1e-13)


def test_empirical_fisher_is_of_squared_norms(isa, dtype, rng):
    """Of gradients of single examples, by `loss_and_grad`."""
    example = draw(rng, network(fnn.SiLU()), weighted=True, dtype=dtype)
    model, X, y = example.model, example.X, example.y
    squares = np.array(
        [model.loss_and_grad(X[[i]], y[[i]], loss="cross_entropy")[1] ** 2 for i in range(9)]
    ).astype(np.float64)
    operator = example.operator(EmpiricalFisher)
    assert_close(exact_diagonal(operator), example.shares @ squares, dtype, 27)
    assert_close(exact_trace(operator), example.shares @ squares.sum(axis=1), dtype, 27)


def test_many_classes(isa, dtype, rng):
    """One column of the factor for each."""
    for case in ("cross_entropy", "smoothed", "binary_cross_entropy"):
        example = draw(rng, network(RELU, (2, 70)), case, dtype=dtype, weighted=True)
        for kind in (Hessian, EmpiricalFisher):
            operator = example.operator(kind)
            check(operator, example.dense(kind), keys_of(example.model), dtype, 8 * example.n)


def test_rows_of_probabilities(isa, dtype, rng):
    example = draw(rng, network(RELU), dtype=dtype, weighted=True)
    example.y = rng.dirichlet(np.ones(3), 9)
    for kind in SYMMETRIC:
        check(example.operator(kind, dtype="float64"), example.dense(kind), keys_of(example.model))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 10.0, 50.0])
@pytest.mark.parametrize("case", ["cross_entropy", "binary_cross_entropy", "log_cosh"])
def test_sure_and_unsure_predictions(isa, dtype, rng, case, scale):
    """However small 1 - p is: no difference of nearly equal numbers."""
    example = draw(rng, [fnn.Dense(3)], case, rows=30, dtype=dtype)
    example.model.parameters *= scale
    z = example.outputs
    if case == "log_cosh":
        factors = (1 / np.cosh(z - example.y) ** 2).mean(axis=1)
    elif case == "binary_cross_entropy":
        factors = (1 / (2 + 2 * np.cosh(z))).mean(axis=1)
    else:
        e = np.exp(z - z.max(axis=1, keepdims=True))
        p, others = e / e.sum(axis=1, keepdims=True), e @ (1 - np.eye(3))
        factors = (p * others / e.sum(axis=1, keepdims=True)).sum(axis=1)
    sizes = with_ones(example.X.astype(np.float64))
    for shown in (slice(None), factors.argmin(keepdims=True)):  # all, and the surest alone
        operator = GaussNewton(example.model, example.X[shown], example.y[shown], example.loss)
        expected = (factors[:, None] * sizes**2)[shown].mean(axis=0)
        eps = 40 * np.finfo(dtype).eps * max(1, abs(z).max())
        sums = exact_diagonal(operator).astype(np.float64).reshape(4, 3).sum(axis=1)
        np.testing.assert_allclose(sums, expected, rtol=eps, atol=1e-35)
        np.testing.assert_allclose(exact_trace(operator), expected.sum(), rtol=eps, atol=1e-35)


def with_ones(X):
    return np.hstack([X, np.ones((len(X), 1))])


# ------------------------------------------------------------------------ weights, damping, blocks


@symmetric
def test_weights_and_damping(isa, dtype, rng, kind):
    example = draw(rng, network(RELU), dtype=dtype, weighted=True)
    keys, inner = keys_of(example.model), 4 * example.inner
    example.weights[:3] = 0
    dense = draw_again(example).dense(kind)
    check(example.operator(kind), dense, keys, dtype, inner)
    for damping in (0.5, rng.uniform(0, 1, example.n)):
        damped = dense + np.diag(np.broadcast_to(damping, example.n))
        check(example.operator(kind, damping=damping), damped, keys, dtype, inner)
    of_class = {0: 0.5, 2: 3.0}
    example.weights = example.weights * np.array([0.5, 1, 3])[example.y]
    weighted = example.operator(kind, sample_weight=example.weights)
    dense = draw_again(example).dense(kind)
    check(weighted, dense, keys, dtype, inner)
    example.weights = None
    balanced = 1 / np.bincount(example.y)[example.y]
    assert_close(
        exact_trace(example.operator(kind, class_weight="balanced")),
        exact_trace(example.operator(kind, sample_weight=balanced)),
        dtype,
    )
    assert exact_trace(example.operator(kind, class_weight=of_class)) > 0


def draw_again(example):
    """The same example without what it has computed."""
    return type(example)(**{name: getattr(example, name) for name in example.__match_args__})


@symmetric
def test_restricted(isa, rng, kind):
    """The trace of a block is that part of the trace."""
    example = draw(rng, network(RELU), weighted=True)
    keys, dense = keys_of(example.model), example.dense(kind)
    for restrict, own in [
        (0, ["0.weight", "0.bias"]),
        ("2.weight", ["2.weight"]),
        (["4.bias", "0.weight"], ["0.weight", "4.bias"]),
    ]:
        some = np.isin(keys, own)
        block, damping = dense[np.ix_(some, some)], rng.uniform(0, 1, some.sum())
        check(example.operator(kind, restrict=restrict), block, keys[some])
        damped = example.operator(kind, restrict=restrict, damping=damping)
        check(damped, block + np.diag(damping), keys[some])
    whole = exact_trace(example.operator(kind), per_parameter=True)
    for key, part in whole.items():
        alone = exact_trace(example.operator(kind, restrict=key))
        np.testing.assert_allclose(alone, part, rtol=1e-12)


# ------------------------------------------------------------------------ many rows, dtypes, inputs


def large(rng, dtype, rows):
    """Several chunks of rows, and enough work for a team."""
    layers = network(RELU, (24, 17, 3))
    return draw(rng, layers, in_features=20, rows=rows, dtype=dtype, weighted=True)


def results(example, **arguments):
    found = []
    for kind in SYMMETRIC:
        operator = example.operator(kind, **arguments)
        parts = exact_trace(operator, per_parameter=True).values()
        found += [exact_trace(operator), np.array(list(parts)), exact_diagonal(operator)]
        if kind is not EmpiricalFisher:
            found.append(sampled_trace(operator, num_samples=3, seed=1).samples)
    return found


def test_any_number_of_threads(isa, dtype, threads, rng):
    example = large(rng, dtype, 1500)
    norms = per_example_gradient_norms(example.model, example.X, example.y, example.loss)
    actual = [*results(example), norms]
    _core.set_num_threads(1)
    norms = per_example_gradient_norms(example.model, example.X, example.y, example.loss)
    for a, e in zip(actual, [*results(example), norms], strict=True):
        assert_same_bits(a, e)


def test_any_memory_budget(isa, dtype, rng):
    example = large(rng, dtype, 2500)
    expected = results(example)
    for budget in (0, 1, 800_000, 1_500_000, 2_000_000, 2**40):
        for a, e in zip(results(example, memory_budget=budget), expected, strict=True):
            assert_same_bits(a, e)


@pytest.mark.parametrize("rows", [1024, 1025, 2500])
def test_chunks(isa, dtype, rng, rows):
    example = draw(rng, network(RELU, (3, 2)), rows=rows, dtype=dtype, weighted=True)
    keys = keys_of(example.model)
    for kind in SYMMETRIC:
        check(example.operator(kind), example.dense(kind), keys, dtype, rows)


@every_activation
def test_float32_to_within_rounding(isa, rng, activation):
    example = draw(rng, network(ACTIVATIONS[activation]), dtype="float32", weighted=True)
    keys = keys_of(example.model)
    for kind in kinds_for(activation, "cross_entropy"):
        check(example.operator(kind), example.dense(kind), keys, "float32", 27)
        fine = example.operator(kind, dtype="float64")
        check(fine, example.dense(kind), keys, "float64", 27)


def test_layers_in_front(isa, dtype, rng):
    """Rescale and Standardize do not count as layers of the network that is to be linear."""
    X, y = rng.integers(0, 256, (20, 4)).astype(np.uint8), rng.integers(0, 3, 20)
    inner = network(RELU)
    model = fnn.Sequential([fnn.Rescale(), fnn.Standardize(), *inner], dtype=dtype).build(4)
    model.state = [0.5, 0.4, 0.6, 0.5, 0.3, 0.2, 0.4, 0.3]
    plain = fnn.Sequential(inner, dtype=dtype).build(4)
    plain.parameters = model.parameters
    mapped = (X / 255 - model.state[:4]) / model.state[4:]
    for kind in SYMMETRIC:
        actual = exact_diagonal(kind(model, X, y, "cross_entropy"))
        expected = exact_diagonal(kind(plain, mapped, y, "cross_entropy"))
        assert_close(actual, expected, dtype, 60)


@symmetric
def test_nan_arrives(isa, dtype, rng, kind):
    for where in ("parameters", "X"):
        example = draw(rng, network(RELU), dtype=dtype)
        if where == "X":
            example.X[3, 1] = np.nan
        else:
            example.model.parameters[-1] = np.nan
        operator = example.operator(kind)
        assert np.isnan(exact_trace(operator))
        assert np.isnan(exact_diagonal(operator)).any()


# ------------------------------------------------------------------------------------- refusals


@pytest.mark.once
@every_smooth
@pytest.mark.parametrize("place", ["inside", "at the end"])
def test_hessians_of_smooth_networks(rng, activation, place):
    """The message names the layer and what to do instead."""
    smooth = ACTIVATIONS[activation]
    layers = [fnn.Dense(5), fnn.ReLU(), fnn.Dense(4), smooth, fnn.Dense(3)]
    if place == "at the end":
        layers = [fnn.Dense(5), fnn.ReLU(), fnn.Dense(3), smooth]
    operator = draw(rng, layers, "mse").operator(Hessian)
    for function in (exact_trace, exact_diagonal, sampled_trace):
        with pytest.raises(ValueError) as caught:
            function(operator)
        message = str(caught.value)
        assert repr(smooth) in message or type(smooth).__name__ in message
        assert "3" in message  # of the layers
        assert "GaussNewton" in message or "hutchinson_trace" in message


@pytest.mark.once
@pytest.mark.parametrize("case", PENALISED)
@pytest.mark.parametrize("kind", [Hessian, GaussNewton], ids=lambda kind: kind.__name__)
def test_confidence_penalty(rng, kind, case):
    operator = draw(rng, network(RELU), case).operator(kind)
    for function in (exact_trace, exact_diagonal, sampled_trace):
        with pytest.raises(ValueError, match="confidence_penalty"):
            function(operator)


@pytest.mark.once
@pytest.mark.parametrize("function", [exact_trace, exact_diagonal, sampled_trace])
def test_what_has_no_exact_trace(rng, function):
    example = draw(rng, network(RELU))
    others = [np.eye(3), None, "H", example.model, example.operator(Jacobian)]
    others += [2 * example.operator(Hessian), Hessian]
    for other in others:
        with pytest.raises(TypeError, match=r"A: .*Hessian, GaussNewton, Fisher or Emp"):
            function(other)
    with pytest.raises(TypeError):
        exact_trace(example.operator(Hessian), True)
    with pytest.raises(TypeError):
        exact_trace(example.operator(NTK), per_parameter=True)


# ------------------------------------------------------------------------------- sampled traces


@exact_cases
def test_sampled_trace_is_unbiased(isa, rng, case):
    example = draw(rng, network(RELU), case, weighted=True)
    operator = example.operator(GaussNewton, damping=0.01)
    m = 4000 if FULL else 400
    exact, estimate = exact_trace(operator), sampled_trace(operator, num_samples=m, seed=3)
    assert isinstance(estimate, Estimate)
    assert estimate.samples.shape == (m,) and estimate.samples.dtype == np.float64
    np.testing.assert_allclose(estimate.value, estimate.samples.mean(), rtol=1e-12)
    error = estimate.samples.std(ddof=1) / np.sqrt(m)
    np.testing.assert_allclose(estimate.std_error, error, rtol=1e-9, atol=1e-15)
    assert abs(estimate.value - exact) <= 4 * estimate.std_error + 1e-12 * exact
    if example.loss.name not in (*STRAIGHT, "huber"):  # of few outputs, and the cut is exact
        assert 0 < estimate.std_error < exact


def test_sampled_trace_over_seeds(isa, rng):
    """Single samples of different seeds are independent; of a smooth network, too."""
    operator = draw(rng, network(fnn.Tanh())).operator(GaussNewton)
    seeds = 2000 if FULL else 300
    values = np.array([sampled_trace(operator, seed=seed).value for seed in range(seeds)])
    assert len(np.unique(values)) > 0.9 * seeds
    error = values.std(ddof=1) / np.sqrt(seeds)
    assert abs(values.mean() - exact_trace(operator)) < 4 * error
    neighbours = np.corrcoef(values[:-1], values[1:])[0, 1]
    assert abs(neighbours) < 4 / np.sqrt(seeds)
    assert sampled_trace(operator, seed=5).value == values[5]


def test_sampled_trace_varies_less_than_hutchinson(isa, rng):
    """For the price of one probe: its only noise is that of the columns within an example."""
    operator = draw(rng, network(RELU), rows=200).operator(GaussNewton)
    sampled = sampled_trace(operator, num_samples=200).samples
    assert sampled.std() < 0.5 * hutchinson_trace(operator, num_matvecs=200).samples.std()


def test_sampled_trace_by_parameters(isa, rng):
    operator = draw(rng, network(fnn.Tanh())).operator(GaussNewton, restrict=[0, "2.bias"])
    exact = exact_trace(operator, per_parameter=True)
    parts = sampled_trace(operator, num_samples=100, per_parameter=True)
    assert list(parts) == list(exact)
    for key, part in parts.items():
        assert abs(part.value - exact[key]) <= 5 * part.std_error + 1e-12, key
    whole = sampled_trace(operator, num_samples=100).samples
    np.testing.assert_allclose(sum(part.samples for part in parts.values()), whole, rtol=1e-12)
    with pytest.raises(TypeError, match="per_parameter"):
        sampled_trace(operator, per_parameter="all")


@pytest.mark.once
def test_one_sample_has_no_error(rng):
    operator = draw(rng, network(RELU)).operator(Fisher)
    estimate = sampled_trace(operator)
    assert np.isnan(estimate.std_error) and estimate.samples.tolist() == [estimate.value]
    default = sampled_trace(operator, num_samples=1, seed=0)
    assert default.value == estimate.value
    assert sampled_trace(operator, num_samples=4, seed=0).samples[0] == estimate.value


@pytest.mark.once
@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("num_samples", 0, ValueError),
        ("num_samples", 1.5, TypeError),
        ("num_samples", None, TypeError),
        ("num_samples", True, TypeError),
        ("seed", -1, ValueError),
        ("seed", 2**64, ValueError),
    ],
)
def test_wrong_arguments_of_sampled_trace(rng, argument, value, error):
    operator = draw(rng, network(RELU)).operator(GaussNewton)
    with pytest.raises(error, match=argument):
        sampled_trace(operator, **{argument: value})


@pytest.mark.parametrize("kind", [Hessian, GaussNewton], ids=lambda kind: kind.__name__)
def test_sampled_diagonal(isa, dtype, rng, kind):
    """Unbiased, with errors that are those of its spread; its sum is the sampled trace."""
    operator = draw(rng, network(RELU), dtype=dtype, weighted=True).operator(kind, damping=0.1)
    exact, m = exact_diagonal(operator).astype(float), 4000
    estimate = sampled_diagonal(operator, num_samples=m, seed=3)
    assert estimate.value.shape == exact.shape and estimate.num_matvecs == m
    known = estimate.std_error > 1e-6  # where a column has one element the sample is exact
    off_by = (estimate.value - exact)[known] / estimate.std_error[known]
    assert known.any() and np.abs(off_by).max() < 5
    np.testing.assert_allclose(estimate.value[~known], exact[~known], rtol=1e-4, atol=1e-6)
    trace = sampled_trace(operator, num_samples=m, seed=3)
    np.testing.assert_allclose(estimate.value.sum(), trace.value, rtol=1e-5)
    few = [sampled_diagonal(operator, num_samples=200, seed=s) for s in range(20)]
    spread = np.std([e.value for e in few], axis=0, ddof=1)[known]
    reported = np.sqrt(np.mean([e.std_error**2 for e in few], axis=0))[known]
    assert 0.8 < np.median(reported / spread) < 1.25


# ------------------------------------------------------------------------- gradients of examples


def gradients(example, **arguments):
    """All of them (rows, n)."""
    chunks = per_example_gradients(example.model, example.X, example.y, example.loss, **arguments)
    return np.concatenate(list(chunks))


def check_gradients(example, inner=27):
    dtype = example.model.dtype
    actual = gradients(example)
    assert actual.dtype == dtype
    assert_close(actual, example.gradients, dtype, inner)
    norms = per_example_gradient_norms(example.model, example.X, example.y, example.loss)
    assert norms.shape == (example.rows,)
    assert_close(norms, np.linalg.norm(example.gradients, axis=1), dtype, inner)


@every_activation
def test_gradients_of_every_activation(isa, dtype, rng, activation):
    for case in CASES if FULL else ("cross_entropy", "huber"):
        check_gradients(draw(rng, network(ACTIVATIONS[activation]), case, dtype=dtype))


@every_case
def test_gradients_of_every_loss(isa, dtype, rng, case):
    check_gradients(draw(rng, network(fnn.Tanh()), case, dtype=dtype))


def test_gradients_are_those_of_examples_alone(isa, dtype, rng):
    """By `loss_and_grad` of one row; and their mean is that of all."""
    example = draw(rng, network(RELU), dtype=dtype)
    model, X, y = example.model, example.X, example.y
    own = [model.loss_and_grad(X[[i]], y[[i]], loss=example.loss)[1] for i in range(9)]
    assert_close(gradients(example), own, dtype, 8)
    whole = model.loss_and_grad(X, y, loss=example.loss)[1]
    assert_close(gradients(example).mean(axis=0), whole, dtype, 32)


def test_gradients_are_those_of_the_parameters_at_the_call(rng):
    example = draw(rng, network(RELU))
    batches = per_example_gradients(example.model, example.X, example.y, example.loss, batch_size=4)
    first = next(batches)
    before = example.gradients
    example.model.parameters *= 3
    np.testing.assert_allclose(np.concatenate([first, *batches]), before, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 1024, 1025, 2500])
def test_gradients_of_many_examples(isa, dtype, rng, rows):
    check_gradients(draw(rng, network(fnn.GELU(), (3, 2)), rows=rows, dtype=dtype))


@pytest.mark.parametrize("batch_size", [1, 2, 7, 9, 10, 1000])
def test_gradients_come_in_batches(isa, rng, batch_size):
    example = draw(rng, network(RELU))
    chunks = per_example_gradients(
        example.model, example.X, example.y, example.loss, batch_size=batch_size
    )
    assert iter(chunks) is chunks
    kept = list(chunks)  # each an array of its own
    sizes = [min(batch_size, 9 - first) for first in range(0, 9, batch_size)]
    assert [chunk.shape for chunk in kept] == [(size, example.n) for size in sizes]
    assert relative_error(np.concatenate(kept), example.gradients) < 1e-12


@pytest.mark.once
def test_without_parameters(rng):
    model = fnn.Sequential([fnn.ReLU()], dtype="float64").build(3)
    X, y = rng.standard_normal((2, 5, 3))
    operator = GaussNewton(model, X, y, "mse")
    assert operator.shape == (0, 0) and exact_diagonal(operator).shape == (0,)
    assert type(exact_trace(operator)) is float and exact_trace(operator) == 0
    assert not per_example_gradient_norms(model, X, y, "mse").any()
    assert next(per_example_gradients(model, X, y, "mse")).shape == (5, 0)


@pytest.mark.once
def test_only_the_batches_that_are_asked_for(rng):
    """An iterator over gradients that together would not fit into memory."""
    layers = [fnn.Dense(2000), fnn.ReLU(), fnn.Dense(10)]
    model = fnn.Sequential(layers, dtype="float32").build(500)
    X = np.broadcast_to(np.float32(1), (300_000, 500))  # 1 TB of gradients
    chunks = per_example_gradients(
        model, X, np.zeros(300_000, np.int64), "cross_entropy", batch_size=2
    )
    first, second = next(chunks), next(chunks)
    assert first.shape == second.shape == (2, model.n_parameters)
    assert_same_bits(first, second)


@pytest.mark.once
def test_gradients_for_the_loss_of_the_last_fit(rng):
    X, y = rng.standard_normal((12, 4)), np.array(["a", "b", "c"] * 4)
    model = fnn.Sequential(network(RELU), dtype="float64")
    with pytest.raises(ValueError, match="loss"):
        list(per_example_gradients(model.build(4), X, np.arange(12) % 3, None))
    with pytest.raises(ValueError, match="loss"):
        per_example_gradient_norms(model, X, np.arange(12) % 3, None)
    model.fit(X, y, loss="cross_entropy", epochs=1)
    expected = per_example_gradient_norms(model, X, np.arange(12) % 3, "cross_entropy")
    assert_same_bits(per_example_gradient_norms(model, X, y, None), expected)
    chunks = list(per_example_gradients(model, X, y, None))
    np.testing.assert_allclose(np.linalg.norm(np.concatenate(chunks), axis=1), expected, rtol=1e-12)


@pytest.mark.once
@pytest.mark.parametrize("function", [per_example_gradients, per_example_gradient_norms])
@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("model", None, TypeError),
        ("X", np.ones((9, 4)), ValueError),
        ("y", np.zeros(8, int), ValueError),
        ("y", np.full(9, 3), ValueError),
        ("loss", "nothing", ValueError),
        ("dtype", "float16", ValueError),
    ],
    ids=repr,
)
def test_wrong_arguments_of_gradients(rng, function, argument, value, error):
    """Said when called, not when the first batch is asked for."""
    example = draw(rng, network(RELU))
    call = {"model": example.model, "X": example.X, "y": example.y, "loss": example.loss}
    with pytest.raises(error, match=argument):
        function(**call | {argument: value})


@pytest.mark.once
@pytest.mark.parametrize("value", [0, -1, 1.5, True, None, "all"])
def test_wrong_batch_sizes(rng, value):
    example = draw(rng, network(RELU))
    with pytest.raises((TypeError, ValueError), match="batch_size"):
        per_example_gradients(example.model, example.X, example.y, example.loss, batch_size=value)


@pytest.mark.once
def test_nan_in_one_example_stays_there(rng):
    example = draw(rng, network(RELU))
    example.X[4, 1] = np.nan
    rows = np.isnan(gradients(example)).any(axis=1)
    norms = per_example_gradient_norms(example.model, example.X, example.y, example.loss)
    assert rows.tolist() == np.isnan(norms).tolist() == [i == 4 for i in range(9)]
