"""`training` and `seed`: every method and operator acts as in training, with the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
import pyfast_nn as fnn
import test_noise
from conftest import assert_same_bits
from pyfast_nn import _core, curvature
from test_hessian import relative_error

OPERATORS = [
    curvature.Hessian,
    curvature.GaussNewton,
    curvature.Fisher,
    curvature.EmpiricalFisher,
]
LOSS = "cross_entropy"
SPEC = oracle.CROSS_ENTROPY


def noisy(rng, dtype="float64", activation=None, in_features=5, out_features=3):
    """A model with dropout of its input, a residual with dropout in it, and noise."""
    activation = fnn.Tanh() if activation is None else activation
    block = fnn.Residual([fnn.Dense(6), activation, fnn.Dropout(0.4)])
    layers = [
        fnn.Dropout(0.2),
        fnn.Dense(6),
        activation,
        block,
        fnn.GaussianNoise(0.3),
        fnn.Dense(out_features),
    ]
    model = fnn.Sequential(layers, dtype=dtype).build(in_features)
    model.parameters = rng.standard_normal(model.n_parameters) * 0.7
    return model


def draw(rng, rows=9, dtype="float64"):
    return rng.standard_normal((rows, 5)).astype(dtype), rng.integers(0, 3, rows)


def matrix(operator):
    return operator @ np.eye(operator.shape[1])


def along(model, f, v, h=1e-5):
    """Central difference of f() along v."""
    centre, ends = model.parameters.copy(), []
    for t in (h, -h):
        model.parameters = centre + t * v
        ends.append(np.asarray(f()))
    model.parameters = centre
    return (ends[0] - ends[1]) / (2 * h)


# ------------------------------------------------------------------------ which numbers they are


@pytest.mark.parametrize("rows", [4, 1500])
@pytest.mark.parametrize("seed", [None, 0, 7, 2**64 - 1])
def test_forward_against_numpy(rng, rows, seed):
    model, (X, _) = noisy(rng), draw(rng, rows)
    w = list(model.named_parameters().values())
    numbers = {"seed": seed or 0, "step": 0}
    h = np.tanh((X * test_noise.factors(0.2, rows, 5, **numbers)) @ w[0] + w[1])
    drop = test_noise.factors(0.4, rows, 6, number=1, **numbers)
    h = h + drop * np.tanh(h @ w[2] + w[3])
    drawn = np.empty(h.size)
    # The third layer that is random; its noise stands where that of the first would not.
    only = _core.Network("float64", 6, [{"kind": "dropout", "values": [0.0]}] * 2 + [NOISE])
    only.forward(
        np.empty(0), np.zeros_like(h), drawn.reshape(h.shape), run=test_noise.run(**numbers)
    )
    expected = (h + drawn.reshape(h.shape)) @ w[4] + w[5]
    np.testing.assert_allclose(model.forward(X, training=True, seed=seed), expected, atol=1e-13)


NOISE = {"kind": "gaussian_noise", "values": [0.3]}


def test_seeds_are_told_apart_and_predictions_are_not_random(rng):
    model, (X, y) = noisy(rng), draw(rng)
    plain = model.forward(X)
    assert_same_bits(model.forward(X, training=False), plain)
    ones = [model.forward(X, training=True, seed=seed) for seed in (0, 0, 1)]
    assert_same_bits(ones[0], ones[1])
    assert_same_bits(model.forward(X, training=True), ones[0])
    assert not np.allclose(ones[0], ones[2]) and not np.allclose(ones[0], plain)
    assert_same_bits(model.predict(X, loss="mse"), plain)
    losses = {model.evaluate(X, y, loss=LOSS)["loss"] for _ in range(3)}
    assert losses == {model.loss_and_grad(X, y, loss=LOSS)[0]}


def test_a_network_without_random_layers_takes_a_seed(rng):
    X, y = draw(rng)
    model = fnn.Sequential([fnn.Dense(4), fnn.ReLU(), fnn.Dense(3)], dtype="float64").build(5)
    assert_same_bits(model.forward(X, training=True, seed=3), model.forward(X))
    for seed in (0, 3):
        grad = model.loss_and_grad(X, y, loss=LOSS, training=True, seed=seed)[1]
        assert_same_bits(grad, model.loss_and_grad(X, y, loss=LOSS)[1])


# ------------------------------------------------------------------------ derivatives


@pytest.mark.parametrize("seed", [0, 5])
def test_the_gradient_is_that_of_the_same_masks(rng, seed):
    model, (X, y) = noisy(rng), draw(rng)
    acts = {"training": True, "seed": seed}
    v = rng.standard_normal(model.n_parameters)
    value, grad = model.loss_and_grad(X, y, loss=LOSS, **acts)
    out = model.forward(X, **acts)
    own, dout = _core.loss(SPEC, out, y, None, None)
    np.testing.assert_allclose(value, own, rtol=1e-13)
    difference = along(model, lambda: model.loss_and_grad(X, y, loss=LOSS, **acts)[0], v)
    np.testing.assert_allclose(grad @ v, difference, rtol=1e-7)

    out_of_vjp, pullback = model.vjp(X, **acts)
    assert_same_bits(out_of_vjp, out)
    dparameters, dX = pullback(dout)
    np.testing.assert_allclose(dparameters, grad, rtol=1e-11, atol=1e-14)
    step = rng.standard_normal(X.shape)
    moved = [_core.loss(SPEC, model.forward(X + h * step, **acts), y, None, None)[0]
             for h in (1e-5, -1e-5)]  # fmt: skip
    np.testing.assert_allclose((dX * step).sum(), (moved[0] - moved[1]) / 2e-5, rtol=1e-7)

    out_of_jvp, derivative = model.jvp(X, v, **acts)
    assert_same_bits(out_of_jvp, out)
    expected = along(model, lambda: model.forward(X, **acts), v)
    assert relative_error(derivative, expected) < 1e-8


@pytest.mark.parametrize("seed", [0, 5])
def test_hvp_is_the_derivative_of_the_gradient(rng, seed):
    model, (X, y) = noisy(rng), draw(rng)
    acts = {"training": True, "seed": seed, "loss": LOSS}
    v = rng.standard_normal(model.n_parameters)
    expected = along(model, lambda: model.loss_and_grad(X, y, **acts)[1], v)
    assert relative_error(model.hvp(X, y, v, **acts), expected) < 1e-7
    other = model.hvp(X, y, v, training=True, seed=seed + 1, loss=LOSS)
    assert relative_error(other, expected) > 1e-3


@pytest.mark.parametrize("rows", [9, 1100])
def test_weights_of_examples_and_masks(rng, rows):
    """A row without weight is as if it were not there: the others move up, in all of them."""
    model, (X, y) = noisy(rng), draw(rng, rows)
    weight = rng.integers(0, 3, rows).astype(float)
    acts = {"training": True, "seed": 2, "loss": LOSS, "sample_weight": weight}
    v = rng.standard_normal(model.n_parameters)
    H = curvature.Hessian(model, X, y, **acts)
    assert relative_error(H @ v, model.hvp(X, y, v, **acts)) < 1e-13
    expected = along(model, lambda: model.loss_and_grad(X, y, **acts)[1], v)
    assert relative_error(H @ v, expected) < 1e-7


# ------------------------------------------------------------------------ operators


@pytest.mark.parametrize("kind", OPERATORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("budget", [0, 2**30])
def test_operators_are_symmetric_and_those_of_their_masks(rng, kind, budget):
    model, (X, y) = noisy(rng), draw(rng)
    acts = {"training": True, "seed": 4}
    A = kind(model, X, y, LOSS, memory_budget=budget, **acts)
    dense = matrix(A)
    assert relative_error(dense, dense.T) < 1e-12
    v = rng.standard_normal((len(dense), 2))
    assert relative_error(A @ v, dense @ v) < 1e-12
    np.testing.assert_allclose(A.quadratic_form(v), np.einsum("ij,ij->j", v, A @ v), rtol=1e-10)
    J = matrix(curvature.Jacobian(model, X, **acts))
    z = model.forward(X, **acts)
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    if kind is curvature.Hessian:
        basis = np.eye(len(dense))
        expected = np.stack([model.hvp(X, y, e, loss=LOSS, **acts) for e in basis])
    elif kind is curvature.EmpiricalFisher:
        g = np.einsum("ic,icp->ip", p - np.eye(3)[y], J.reshape(len(X), 3, -1))
        expected = g.T @ g / len(X)
    else:
        blocks = [np.diag(q) - np.outer(q, q) for q in p]
        rows = J.reshape(len(X), 3, -1)
        expected = sum(j.T @ b @ j for j, b in zip(rows, blocks, strict=True)) / len(X)
    assert relative_error(dense, expected) < 1e-11
    assert relative_error(matrix(kind(model, X, y, LOSS)), expected) > 1e-2


def test_jacobian_and_kernel(rng):
    model, (X, _) = noisy(rng), draw(rng, 6)
    acts = {"training": True, "seed": 4}
    J = curvature.Jacobian(model, X, **acts)
    v = rng.standard_normal(model.n_parameters)
    np.testing.assert_allclose((J @ v).reshape(6, 3), model.jvp(X, v, **acts)[1], rtol=1e-11)
    u = rng.standard_normal(len(X) * 3)
    expected = model.vjp(X, **acts)[1](u.reshape(6, 3))[0]
    np.testing.assert_allclose(J.T @ u, expected, rtol=1e-10, atol=1e-13)
    K = curvature.NTK(model, X, **acts)
    assert relative_error(matrix(K), matrix(J) @ matrix(J).T) < 1e-12


@pytest.mark.parametrize("kind", OPERATORS, ids=lambda kind: kind.__name__)
def test_exact_traces_and_diagonals(rng, kind):
    model, (X, y) = noisy(rng, activation=fnn.ReLU()), draw(rng)
    A = kind(model, X, y, LOSS, training=True, seed=4)
    dense = matrix(A)
    np.testing.assert_allclose(curvature.exact_trace(A), np.trace(dense), rtol=1e-11)
    np.testing.assert_allclose(curvature.exact_diagonal(A), np.diag(dense), rtol=1e-9, atol=1e-13)
    if kind is not curvature.EmpiricalFisher:
        estimate = curvature.sampled_trace(A, num_samples=400)
        assert abs(estimate.value - np.trace(dense)) < 5 * estimate.std_error


@pytest.mark.parametrize(("rows", "batch_size"), [(9, 64), (9, 4), (9, 1), (1300, 500)])
def test_gradients_of_examples(rng, rows, batch_size):
    """Their mean is the gradient of the mean: a batch sees the masks of its own rows."""
    model, (X, y) = noisy(rng), draw(rng, rows)
    acts = {"training": True, "seed": 4}
    batches = curvature.per_example_gradients(model, X, y, LOSS, batch_size=batch_size, **acts)
    gradients = np.concatenate(list(batches))
    expected = model.loss_and_grad(X, y, loss=LOSS, **acts)[1]
    assert relative_error(gradients.mean(0), expected) < 1e-11
    norms = curvature.per_example_gradient_norms(model, X, y, LOSS, **acts)
    np.testing.assert_allclose(norms, np.linalg.norm(gradients, axis=1), rtol=1e-10)


def test_same_bits_for_any_team(rng, restore_threads):
    model, (X, y) = noisy(rng), draw(rng, 2100)
    acts = {"training": True, "seed": 4}
    results = []
    for threads in (1, 3):
        fnn.set_num_threads(threads)
        grad = model.loss_and_grad(X, y, loss=LOSS, **acts)[1]
        hv = model.hvp(X, y, np.ones(model.n_parameters), loss=LOSS, **acts)
        results.append((model.forward(X, **acts), grad, hv))
    for one, other in zip(*results, strict=True):
        assert_same_bits(one, other)


# ------------------------------------------------------------------------ Monte-Carlo dropout


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    p = np.exp(z - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def passes(model, X, samples, seed):
    """Outputs of each: one step after the other of one seed."""
    net = model._engine.net
    for step in range(samples):
        out = np.empty((len(X), net.out_features), model.dtype)
        run = _core.Run(training=True, seed=seed, step=step)
        net.forward(model.parameters, X, out, run=run)
        yield out.astype(np.float64)


@pytest.mark.parametrize("seed", [None, 6])
def test_mean_probabilities(rng, dtype, seed):
    model, (X, _) = noisy(rng, dtype), draw(rng, 40, dtype)
    expected = np.mean([softmax(z) for z in passes(model, X, 30, seed or 0)], axis=0)
    given = model.predict_proba(X, loss=LOSS, samples=30, seed=seed)
    assert given.dtype == dtype
    np.testing.assert_allclose(given, expected, rtol=0, atol=20 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(
        model.predict(X, loss=LOSS, samples=30, seed=seed), expected.argmax(1)
    )
    assert not np.allclose(given, model.predict_proba(X, loss=LOSS), atol=1e-3)
    one = model.predict_proba(X, loss=LOSS, samples=1, seed=seed)
    out = model.forward(X, training=True, seed=seed)
    np.testing.assert_allclose(one, softmax(out), rtol=0, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("outputs", [1, 3])
def test_mean_of_binary_probabilities(rng, outputs):
    model, (X, _) = noisy(rng, out_features=outputs), draw(rng, 60)
    expected = np.mean([sigmoid(z) for z in passes(model, X, 25, 1)], axis=0)
    acts = {"loss": "binary_cross_entropy", "samples": 25, "seed": 1}
    given = model.predict_proba(X, **acts)
    if outputs == 1:
        np.testing.assert_allclose(given, np.hstack([1 - expected, expected]), atol=1e-14)
        expected = expected[:, 0]
    else:
        np.testing.assert_allclose(given, expected, atol=1e-14)
    np.testing.assert_array_equal(model.predict(X, **acts), expected > 0.5)


def test_means_of_values_and_scores(rng):
    model, (X, _) = noisy(rng), draw(rng, 60)
    acts = {"samples": 25, "seed": 1}
    outs = np.stack(list(passes(model, X, 25, 1)))
    given = model.predict(X, loss="mse", **acts)
    np.testing.assert_allclose(given, outs.mean(0), rtol=0, atol=1e-13)
    rates = model.predict(X, loss="poisson", **acts)
    np.testing.assert_allclose(rates, np.exp(outs).mean(0), rtol=1e-12)
    labels = model.predict(X, loss="multi_margin", **acts)
    np.testing.assert_array_equal(labels, outs.mean(0).argmax(1))
    sides = model.predict(X, loss="hinge", **acts)
    np.testing.assert_array_equal(sides, np.where(outs.mean(0) > 0, 1, -1))


def test_samples_of_rows_with_nan(rng):
    model, (X, _) = noisy(rng), draw(rng, 4)
    X[1, 2] = np.nan
    acts = {"loss": LOSS, "samples": 3, "allow_nonfinite": True}
    assert np.isnan(model.predict_proba(X, **acts)).any(1).tolist() == [False, True, False, False]
    assert model.predict(X, **acts)[1] is None


# ------------------------------------------------------------------------ coupled rows


def coupled(rng):
    layers = [fnn.Dense(6), fnn.BatchNorm(), fnn.ReLU(), fnn.Dropout(0.3), fnn.Dense(3)]
    model = fnn.Sequential(layers, dtype="float64").build(5)
    model.parameters = rng.standard_normal(model.n_parameters)
    model.state = rng.uniform(0.5, 2, model.state.size)
    return model


def test_batch_norm_takes_the_statistics_of_the_batch_and_learns_none(rng):
    model, (X, y) = coupled(rng), draw(rng)
    state, acts = model.state.copy(), {"training": True, "seed": 3}
    w = model.named_parameters()
    h = X @ w["0.weight"] + w["0.bias"]
    h = (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5) * w["1.weight"] + w["1.bias"]
    h = np.maximum(h, 0) * test_noise.factors(0.3, 9, 6, seed=3, step=0)
    expected = h @ w["4.weight"] + w["4.bias"]
    np.testing.assert_allclose(model.forward(X, **acts), expected, rtol=1e-11, atol=1e-12)
    v = rng.standard_normal(model.n_parameters)
    acts["loss"] = LOSS
    expected = along(model, lambda: model.loss_and_grad(X, y, **acts)[1], v)
    assert relative_error(model.hvp(X, y, v, **acts), expected) < 1e-6
    H = matrix(curvature.Hessian(model, X, y, **acts))
    assert relative_error(H, H.T) < 1e-11 and relative_error(H @ v, expected) < 1e-6
    assert_same_bits(model.state, state)


def test_what_counts_each_row_is_refused_for_coupled_rows(rng):
    model, (X, y) = coupled(rng), draw(rng)
    message = r"training: expected False where each row counts for itself, .* by BatchNorm"
    for kind in OPERATORS:
        A = kind(model, X, y, LOSS, training=True)
        estimates = [] if kind is curvature.EmpiricalFisher else [curvature.sampled_trace]
        for function in (curvature.exact_trace, curvature.exact_diagonal, *estimates):
            with pytest.raises(ValueError, match=message):
                function(A)
        curvature.exact_trace(kind(model, X, y, LOSS))
    for function in (curvature.per_example_gradients, curvature.per_example_gradient_norms):
        with pytest.raises(ValueError, match=message):
            function(model, X, y, LOSS, training=True)
        function(model, X, y, LOSS)


@pytest.mark.parametrize("n", [1, 9, 50])  # rows that go forward in different ways
def test_samples_beside_batch_norm_take_its_running_statistics(isa, rng, n):
    model, (X, _) = coupled(rng), draw(rng, n)
    w, mean, var = model.named_parameters(), *model.named_state().values()
    h = (X @ w["0.weight"] + w["0.bias"] - mean) / np.sqrt(var + 1e-5)
    h = np.maximum(h * w["1.weight"] + w["1.bias"], 0)
    outs = [
        h * test_noise.factors(0.3, n, 6, seed=3, step=i) @ w["4.weight"] + w["4.bias"]
        for i in range(20)
    ]
    state = model.state.copy()
    given = model.predict_proba(X, loss=LOSS, samples=20, seed=3)
    np.testing.assert_allclose(given, np.mean([softmax(z) for z in outs], axis=0), rtol=1e-12)
    assert_same_bits(model.state, state)


# ------------------------------------------------------------------------ what is refused


def calls(model, X, y):
    """Each method and operator that takes `training` and `seed`, as a function of those."""
    v = np.ones(model.n_parameters)
    data = {"loss": LOSS}
    of_model = [
        lambda **acts: model.forward(X, **acts),
        lambda **acts: model.loss_and_grad(X, y, **data, **acts),
        lambda **acts: model.vjp(X, **acts),
        lambda **acts: model.jvp(X, v, **acts),
        lambda **acts: model.hvp(X, y, v, **data, **acts),
        lambda **acts: curvature.Jacobian(model, X, **acts),
        lambda **acts: curvature.NTK(model, X, **acts),
        lambda **acts: curvature.per_example_gradients(model, X, y, **data, **acts),
        lambda **acts: curvature.per_example_gradient_norms(model, X, y, **data, **acts),
    ]
    return of_model + [
        lambda kind=kind, **acts: kind(model, X, y, LOSS, **acts) for kind in OPERATORS
    ]


def test_arguments(rng):
    model, (X, y) = noisy(rng), draw(rng)
    for call in calls(model, X, y):
        with pytest.raises(ValueError, match=r"seed: expected None without training=True, got 3"):
            call(seed=3)
        with pytest.raises(ValueError, match="seed: expected None without training=True"):
            call(training=False, seed=0)
        with pytest.raises(TypeError, match="training: expected True or False"):
            call(training=1)
        with pytest.raises(TypeError, match="seed: expected an integer"):
            call(training=True, seed="0")
        with pytest.raises(ValueError, match="seed: expected an integer from 0"):
            call(training=True, seed=-1)
        call(training=True, seed=np.uint64(3))


def test_arguments_of_samples(rng):
    model, (X, _) = noisy(rng), draw(rng)
    plain = fnn.Sequential([fnn.Dense(3)], dtype="float64").build(5)
    for name in ("predict", "predict_proba"):
        with pytest.raises(ValueError, match=r"seed: expected None without samples, got 0"):
            getattr(model, name)(X, loss=LOSS, seed=0)
        with pytest.raises(ValueError, match="samples: expected an integer from 1"):
            getattr(model, name)(X, loss=LOSS, samples=0)
        with pytest.raises(TypeError, match="samples: expected an integer"):
            getattr(model, name)(X, loss=LOSS, samples=True)
        with pytest.raises(ValueError, match="samples: expected None, as no layer draws random"):
            getattr(plain, name)(X, loss=LOSS, samples=5)
