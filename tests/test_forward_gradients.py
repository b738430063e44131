"""Gradients by passes forward alone: unbiased, of the variance of theory, and a fit by them."""

from __future__ import annotations

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import FULL, assert_close, assert_same_bits
from pyfast_nn import _core, optim
from pyfast_nn.models import engine_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4))
Y = RNG.integers(0, 3, 12)
PROBES = 20_000 if FULL else 3000


def dense(dtype="float64"):
    layers = [fnn.Dense(5), fnn.Tanh(), fnn.Dense(3)]
    return fnn.Sequential(layers, dtype=dtype, seed=1).build(4)


def samples(model, x, y, kind, loss="cross_entropy", n=PROBES, **weights):
    each = [
        fnn.forward_gradient(model, x, y, loss, kind=kind, seed=seed, **weights)
        for seed in range(n)
    ]
    assert len({value for value, _ in each}) == 1
    return each[0][0], np.array([grad for _, grad in each], np.float64)


def check_mean(model, x, y, kind, loss="cross_entropy", n=PROBES, **weights):
    """Every element within five standard errors of the gradient, and most within two."""
    value, grads = samples(model, x, y, kind, loss, n, **weights)
    expected, exact = model.loss_and_grad(x, y, loss=loss, **weights)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    error = grads.std(axis=0) / np.sqrt(n)
    away = np.abs(grads.mean(axis=0) - exact)
    assert (away <= 5 * error + 1e-12).all()
    assert (away <= 2 * error + 1e-12).mean() > 0.85
    return grads, exact


@pytest.mark.parametrize("kind", ["weight", "activity"])
def test_unbiased(isa, kind):
    check_mean(dense(), X, Y, kind, sample_weight=RNG.uniform(0.5, 2, 12), n=1000)


def test_variance_of_weights(isa):
    """E|(v'g) v|^2 = (P + 2) |g|^2 for a normal v."""
    grads, exact = check_mean(dense(), X, Y, "weight")
    square = (grads**2).sum(axis=1)
    expected = (len(exact) + 2) * (exact**2).sum()
    assert abs(square.mean() - expected) < 5 * square.std() / np.sqrt(PROBES)


def test_variance_of_activities(isa):
    """Of one example, E s^2 |u|^2 = |d|^2 units + 2 |d of the layer|^2, times |a|^2 + 1."""
    grads, exact = check_mean(dense(), X, Y, "activity")
    w1, b1, w2, b2 = dense().named_parameters().values()
    h = np.tanh(X @ w1 + b1)
    z = h @ w2 + b2
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    d2 = (p - np.eye(3)[Y]) / 12
    d1 = d2 @ w2.T * (1 - h**2)
    squares = [(d**2).sum(1) for d in (d1, d2)]
    own = [((a**2).sum(1) + 1) for a in (X, h)]
    expected = (exact**2).sum() + sum(
        (a * (sum(squares) * units + d)).sum()
        for a, d, units in zip(own, squares, (5, 3), strict=True)
    )
    square = (grads**2).sum(axis=1)
    assert abs(square.mean() - expected) < 5 * square.std() / np.sqrt(PROBES)
    assert expected < (len(exact) + 2) * (exact**2).sum() / 2  # far less than by weights


SHARED = fnn.Dense(4)
OTHERS = {
    "convolution": ([fnn.Conv1d(3, 3, padding=1), fnn.GELU(), fnn.Flatten(), fnn.Dense(3)], (5, 2)),
    "positions": ([fnn.Dense(3), fnn.Tanh(), fnn.LayerNorm(), fnn.Dense(3)], (4, 2)),
    "attention": ([fnn.Reshape((3, 2)), fnn.MultiHeadAttention(1), fnn.Flatten(), fnn.Dense(3)], 6),
    "tied": ([SHARED, fnn.ReLU(), fnn.Residual([SHARED]), fnn.PReLU(), fnn.Dense(3)], 4),
    "norm": ([fnn.WeightNorm(fnn.Dense(4)), fnn.BatchNorm(), fnn.Scale(), fnn.Dense(3)], 4),
    "codes": ([fnn.Embedding(6, 3), fnn.Dense(3)], 1),
    "frozen": ([fnn.Dense(4, trainable=False), fnn.Tanh(), fnn.Dense(3), fnn.Softmax()], 4),
}


IMPLICIT = {
    "ode": fnn.NeuralODE([fnn.Dense(6), fnn.Tanh(), fnn.Dense(4)]),
    "steps": fnn.NeuralODE([fnn.Dense(4), fnn.Tanh()], method="rk4", steps=3, time=True),
    "equilibrium": fnn.DeepEquilibrium([fnn.Dense(5), fnn.Tanh()], tol=1e-14),
}


@pytest.mark.parametrize("case", [*OTHERS, *IMPLICIT])
def test_along_a_direction(isa, case):
    """Of weights it is (v'g) v, where v are the numbers of the stream, and 0 where none learns."""
    rng = np.random.default_rng(3)
    layers, shape = OTHERS[case] if case in OTHERS else ([IMPLICIT[case], fnn.Dense(3)], 4)
    model = fnn.Sequential(layers, dtype="float64", seed=2).build(shape)
    rows = 2500 if case == "frozen" else 6  # which do not all go forward together
    x = rng.normal(size=(rows, *model.in_shape))
    x = rng.integers(0, 6, (6, 1)) if case == "codes" else x
    y = rng.normal(size=(rows, *model.out_shape))
    value, exact = model.loss_and_grad(x, y, loss="mse")
    trained = np.ones(model.n_parameters)
    if case == "frozen":
        trained[:20] = 0
    for seed in (0, 7):
        v = np.empty((2, model.n_parameters))
        for probe in range(2):
            _core.random_normal(seed, 2**62 + probe, v[probe])
        v *= trained
        found = fnn.forward_gradient(model, x, y, "mse", seed=seed, probes=2)
        assert found[0] == pytest.approx(value, rel=1e-13)
        np.testing.assert_allclose(found[1], (v @ exact) @ v / 2, rtol=1e-7, atol=1e-12)


@pytest.mark.once
@pytest.mark.parametrize("case", IMPLICIT)
def test_no_activities_of_implicit_layers(case):
    model = fnn.Sequential([IMPLICIT[case], fnn.Dense(3)]).build(4)
    message = r"expected '{}' for layers\[0\], whose own steps would have to be perturbed"
    with pytest.raises(ValueError, match="^kind: " + message.format("weight")):
        fnn.forward_gradient(model, X, Y, "cross_entropy", kind="activity")
    with pytest.raises(ValueError, match="^gradient: " + message.format("backward")):
        model.fit(X, Y, loss="cross_entropy", gradient="forward")


@pytest.mark.parametrize("rows", [12, 2500])
def test_along_noise(isa, rows):
    """Of activities, with the numbers of the stream as noise of the one layer that is trained.

    Examples have their own, also where they do not all go forward together.
    """
    x, y = np.resize(X, (rows, 4)), np.resize(Y, rows)
    layers = [fnn.Dense(5), fnn.Tanh(), fnn.Dense(3, trainable=False)]
    model = fnn.Sequential(layers, dtype="float64", seed=1).build(4)
    w1, b1, w2, b2 = model.named_parameters().values()
    h = np.tanh(x @ w1 + b1)
    e = np.exp(h @ w2 + b2)
    d = ((e / e.sum(1, keepdims=True) - np.eye(3)[y]) / rows) @ w2.T * (1 - h**2)
    noise = np.empty((rows, 5))
    _core.random_normal(3, 2**62, noise)
    d = (d * noise).sum(1, keepdims=True) * noise
    _, grad = fnn.forward_gradient(model, x, y, "cross_entropy", kind="activity", seed=3)
    expected = np.concatenate([(x.T @ d).ravel(), d.sum(0), np.zeros(18)])
    np.testing.assert_allclose(grad, expected, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("kind", ["weight", "activity"])
@pytest.mark.parametrize("case", OTHERS)
def test_other_layers(isa, case, kind):
    layers, shape = OTHERS[case]
    rng = np.random.default_rng(3)
    model = fnn.Sequential(layers, dtype="float64", seed=2).build(shape)
    model.parameters += 0.1 * rng.normal(size=model.n_parameters)
    x = rng.normal(size=(6, *model.in_shape)) if case != "codes" else rng.integers(0, 6, (6, 1))
    grads, exact = check_mean(model, x, rng.normal(size=(6, *model.out_shape)), kind, "mse", 1000)
    if case == "frozen":
        assert not grads[:, exact == 0].any()


def test_the_same_bits(isa, restore_threads, dtype):
    """For any team; chunks of many examples; the mean of several probes is that of each."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3000, 4)), rng.integers(0, 3, 3000)
    layers = [fnn.Dense(200), fnn.Tanh(), fnn.Dense(100), fnn.ReLU(), fnn.Dense(3)]
    model = fnn.Sequential(layers, dtype=dtype, seed=0).build(4)
    for kind in ("weight", "activity"):
        found = []
        for threads in (1, 3):
            _core.set_num_threads(threads)
            found.append(fnn.forward_gradient(model, x, y, "cross_entropy", kind=kind, probes=2))
        assert found[0][0] == found[1][0]
        assert_same_bits(found[1][1], found[0][1])
        assert found[0][1].dtype == model.dtype
    engine, ends = engine_of(model), [slice(0, 1500), slice(1500, 3000)]
    assert engine.positions == 1
    first = fnn.forward_gradient(model, x[ends[0]], y[ends[0]], "cross_entropy", kind="activity")
    other = fnn.forward_gradient(
        model, x, y, "cross_entropy", kind="activity", sample_weight=np.arange(3000) < 1500
    )
    assert_close(other[1], first[1], dtype, 1500)  # examples have noise by their place


@pytest.mark.parametrize("stepwise", [False, True])
def test_a_fit_steps_by_estimates(isa, stepwise, dtype, restore_threads):
    """Those of `forward_gradient`, as the core draws them for the step."""
    model, expected = dense(dtype), dense(dtype)
    clip = {"clip_norm": 1e9} if stepwise else {}
    arguments = {"epochs": 2, "batch_size": 5, "shuffle": False, "gradient": "forward"}
    for threads in (1, 3):
        _core.set_num_threads(threads)
        model = dense(dtype)
        model.fit(X, Y, loss="cross_entropy", optimizer=optim.SGD(lr=0.1, **clip), **arguments)
    engine = engine_of(expected)
    for epoch in range(2):
        for step, first in enumerate((0, 5, 10)):
            rows = slice(first, first + 5)
            examples = fnn.intake.examples(
                engine, X[rows], Y[rows], fnn.losses.CrossEntropy(), None, None
            )
            run = _core.Run(training=True, seed=1, step=(epoch << 32) + step)
            _, grad = engine.activity_gradient(examples, fnn.losses.CrossEntropy(), run)
            expected.parameters -= 0.1 * grad
    assert_close(model.parameters, expected.parameters, dtype, 5)


@pytest.mark.once
def test_a_fit_learns():
    """With accumulated batches and mix-up, as any fit; slower."""
    x = RNG.normal(size=(400, 4))
    y = (x[:, 0] > x[:, 1]).astype(int)
    model = fnn.Sequential([fnn.Dense(8), fnn.Tanh(), fnn.Dense(2)], seed=0)
    options = {"gradient_accumulation_steps": 2, "mixup": 0.2, "batch_size": 50}
    history = model.fit(
        x, y, loss="cross_entropy", gradient="forward", epochs=60, optimizer="adam", **options
    )
    assert history["loss"][-1] < history["loss"][0] and model.evaluate(x, y)["accuracy"] > 0.9


@pytest.mark.once
@pytest.mark.parametrize("layer", [fnn.BatchNorm(), fnn.RNN(3, outputs="last")], ids=repr)
def test_what_has_no_such_gradient(layer):
    recurrent = isinstance(layer, fnn.RNN)
    model = fnn.Sequential([layer, fnn.Dense(3)], seed=0)
    x = X.reshape(12, 2, 2) if recurrent else X
    with pytest.raises(ValueError, match=r"^gradient: expected 'backward' for layers\[0(\.l0)?\]"):
        model.fit(x, Y, loss="cross_entropy", gradient="forward")
    model.build(x.shape[1:])
    if recurrent:
        with pytest.raises(ValueError, match=r"^kind: expected 'weight' for layers\[0(\.l0)?\], w"):
            fnn.forward_gradient(model, x, Y, "cross_entropy", kind="activity")
        check_mean(model, x, Y, "weight", n=300)


@pytest.mark.once
def test_losses_of_pairs():
    with pytest.raises(ValueError, match=r"^loss: expected one of single examples, got 'n_pair'"):
        fnn.forward_gradient(dense(), X, Y, "n_pair")
    with pytest.raises(ValueError, match=r"^gradient: expected 'backward' for 'n_pair'"):
        dense().fit(X, Y, loss="n_pair", gradient="forward")


@pytest.mark.once
def test_arguments():
    with pytest.raises(ValueError, match=r"^kind: expected "):
        fnn.forward_gradient(dense(), X, Y, "cross_entropy", kind="units")
    with pytest.raises(ValueError, match=r"^probes: expected "):
        fnn.forward_gradient(dense(), X, Y, "cross_entropy", probes=0)
    with pytest.raises(ValueError, match=r"^loss: expected a loss"):
        fnn.forward_gradient(dense(), X, Y)
    with pytest.raises(ValueError, match=r"^gradient: expected "):
        dense().fit(X, Y, loss="cross_entropy", gradient="sideways")
