"""PeriodicEmbedding and Embedding: torch and NumPy beside them, codes of any kind, their layers."""

from __future__ import annotations

import numpy as np
import pytest

import pyfast_nn as fnn
from autodiff import torch
from conftest import assert_close, assert_same_bits
from test_hessian import central_differences, relative_error

CODES = [0.0, 4.0, 2.0, 5.0, -1.0, np.nan, 1.5, np.inf, -np.inf, 1e30, -0.0, 3.0, 4.999]
ROWS = [0, 4, 2, None, None, None, None, None, None, None, 0, 3, None]


def periodic(dtype="float64", features=5, **options):
    layers = [fnn.PeriodicEmbedding(7, 0.4), fnn.Dense(9), fnn.Tanh(), fnn.Dense(2)]
    return fnn.Sequential(layers, dtype=dtype, seed=3, **options).build(features)


def table(dtype="float64", n=6, units=4):
    layers = [fnn.Embedding(n, units), fnn.Dense(8), fnn.Tanh(), fnn.Dense(2)]
    return fnn.Sequential(layers, dtype=dtype, seed=3).build(1)


def gradients_of_torch(model, waves_or_rows, X, y):
    """Loss and flat gradient of mse, by torch's autograd of a formula of the test's own."""
    t = torch()
    leaves = [
        t.tensor(view, dtype=t.float64, requires_grad=True)
        for view in model.named_parameters().values()
    ]
    *own, w1, b1, w2, b2 = leaves
    hidden = t.tanh(waves_or_rows(t.tensor(X, dtype=t.float64), *own) @ w1 + b1)
    loss = ((hidden @ w2 + b2 - t.tensor(y)) ** 2).mean()
    loss.backward()
    return float(loss.detach()), np.concatenate([leaf.grad.numpy().ravel() for leaf in leaves])


def waves(x, w, b):
    t = torch()
    k = len(w) // x.shape[1]
    turns = x[:, :, None] * w.reshape(-1, k) + b.reshape(-1, k)
    return t.cat([x, t.cos(2 * t.pi * turns).flatten(1)], dim=1)


def rows(x, w):
    return torch().nn.functional.embedding(x[:, 0].long(), w)


@pytest.mark.parametrize("n", [3, 50, 1500])
def test_periodic_as_torch(isa, dtype, rng, n):
    model = periodic(dtype)
    X, y = rng.normal(size=(n, 5)).astype(dtype), rng.normal(size=(n, 2)).astype(dtype)
    loss, gradient = model.loss_and_grad(X, y, loss="mse")
    expected = gradients_of_torch(model, waves, X, y)
    assert_close(np.array(loss), np.array(expected[0]), dtype, 60)
    assert_close(gradient, expected[1], dtype, n + 60)


@pytest.mark.parametrize("n", [3, 50, 1500])
def test_embedding_as_torch(isa, dtype, rng, n):
    model = table(dtype, 40, 19)
    X, y = rng.integers(0, 40, (n, 1)), rng.normal(size=(n, 2)).astype(dtype)
    loss, gradient = model.loss_and_grad(X, y, loss="mse")
    expected = gradients_of_torch(model, rows, X, y)
    assert_close(np.array(loss), np.array(expected[0]), dtype, 60)
    assert_close(gradient, expected[1], dtype, n + 60)


@pytest.mark.parametrize("make", [periodic, table])
def test_derivatives_are_differences(isa, rng, make):
    model = make()
    columns = model.in_features
    X = rng.normal(size=(12, columns)) if make is periodic else rng.integers(0, 7, (12, 1))
    y, p = rng.normal(size=(12, 2)), model.parameters.copy()

    def at(parameters, call):
        model.parameters = parameters
        result = call()
        model.parameters = p
        return result

    def gradient(parameters):
        return at(parameters, lambda: model.loss_and_grad(X, y, loss="mse")[1])

    v = rng.normal(size=p.size)
    slope = central_differences(
        lambda q: np.atleast_1d(at(q, lambda: model.evaluate(X, y, loss="mse")["loss"])), p
    )
    assert relative_error(gradient(p), slope.ravel()) < 1e-8
    h = 1e-6  # waves bend much
    change = (gradient(p + h * v) - gradient(p - h * v)) / (2 * h)
    assert relative_error(model.hvp(X, y, v, loss="mse"), change) < 1e-7
    moved = [at(p + s * h * v, lambda: model.forward(X)) for s in (1, -1)]
    assert relative_error(model.jvp(X, v)[1], (moved[0] - moved[1]) / (2 * h)) < 1e-8


def test_waves_stand_beside_the_features_feature_by_feature(isa, dtype, rng):
    model = fnn.Sequential([fnn.PeriodicEmbedding(3, 2.0)], dtype=dtype).build(4)
    weight, bias = model.named_parameters().values()
    X = (100 * rng.normal(size=(30, 4))).astype(dtype)
    out = model.forward(X)
    assert_same_bits(out[:, :4], X)
    for feature in range(4):
        own = slice(3 * feature, 3 * feature + 3)
        turns = X[:, [feature]].astype(float) * weight[own].astype(float) + bias[own].astype(float)
        # Of a few hundred turns the rounding is what can be told from none.
        limit = 4 * np.pi * np.finfo(dtype).eps * (np.abs(turns) + 1)
        assert (np.abs(out[:, 4:][:, own] - np.cos(2 * np.pi * turns)) <= limit).all()


@pytest.mark.once
def test_initial_waves():
    model = fnn.Sequential([fnn.PeriodicEmbedding(50, 0.3)], dtype="float64", seed=1).build(40)
    weight, bias = model.named_parameters().values()
    assert weight.shape == bias.shape == (2000,)
    assert abs(weight.mean()) < 0.03 and abs(weight.std() - 0.3) < 0.02
    assert bias.min() >= -0.5 and bias.max() < 0.5 and abs(bias.std() - 12**-0.5) < 0.01
    other = fnn.Sequential([fnn.PeriodicEmbedding(50, 0.3)], dtype="float64", seed=2).build(40)
    assert (other.parameters != model.parameters).all()


@pytest.mark.once
def test_initial_rows():
    model = fnn.Sequential([fnn.Embedding(500, 40)], dtype="float64", seed=1).build(1)
    assert abs(model.parameters.mean()) < 0.03 and abs(model.parameters.std() - 1) < 0.02
    for init, value in (("zeros", 0), (0.25, 0.25)):
        model = fnn.Sequential([fnn.Embedding(5, 4, init=init)]).build(1)
        assert (model.parameters == value).all()


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("units", [1, 16, 33])
def test_codes(isa, dtype, few, units):
    """Integers within the range name a row; anything else has zeros, and no gradient."""
    model = fnn.Sequential([fnn.Embedding(5, units)], dtype=dtype, seed=3).build(1)
    weight = model.named_parameters()["0.weight"]
    times = 1 if few else 9
    X = np.tile(np.array(CODES), times)[:, None]
    out = model.forward(X)
    expected = np.array([np.zeros(units) if row is None else weight[row] for row in ROWS])
    assert_same_bits(out, np.tile(expected, (times, 1)).astype(dtype))
    out, pullback = model.vjp(X)
    gradient, dX = pullback(np.ones_like(out))
    counts = times * np.array([ROWS.count(row) for row in range(5)])
    np.testing.assert_array_equal(gradient.reshape(5, units), np.outer(counts, np.ones(units)))
    assert (dX == 0).all()


@pytest.mark.parametrize("kind", ["int8", "uint16", "int64", "float16", ">f4", "sparse", "bool"])
def test_codes_of_any_dtype(dtype, rng, kind):
    model = fnn.Sequential([fnn.Embedding(5, 3)], dtype=dtype, seed=3).build(1)
    codes = rng.integers(0, 2 if kind == "bool" else 5, (40, 1))
    X = pytest.importorskip("scipy.sparse").csr_array(codes) if kind == "sparse" else None
    X = codes.astype(kind) if X is None else X
    expected = model.named_parameters()["0.weight"][codes[:, 0]]
    assert_same_bits(model.forward(X), expected)


@pytest.mark.parametrize("units", [8, 50])
def test_large_tables_train_the_same_for_any_team(isa, dtype, rng, restore_threads, units):
    """Whose gradient is NumPy's sum in the order of the examples."""
    n, categories = 3000, 5000
    X = rng.integers(0, categories, (n, 1))
    X[::50] = 4321  # one that many have
    y = rng.normal(size=(n, 2)).astype(dtype)

    def trained(threads):
        fnn.set_num_threads(threads)
        layers = [fnn.Embedding(categories, units), fnn.Dense(300), fnn.ReLU(), fnn.Dense(2)]
        model = fnn.Sequential(layers, dtype=dtype, seed=3).build(1)
        _, gradient = model.loss_and_grad(X, y, loss="mse")
        rest = model[1:]
        out, pullback = rest.vjp(model.named_parameters()["0.weight"][X[:, 0]])
        _, rows = pullback((out - y) / n)
        expected = np.zeros((categories, units))
        np.add.at(expected, X[:, 0], rows)
        own = gradient[: categories * units].reshape(expected.shape)
        assert_close(own, expected, dtype, 100)
        assert (own[np.setdiff1d(np.arange(categories), X)] == 0).all()
        model.fit(X, y, loss="mse", epochs=2, batch_size=700, verbose=0)
        return model.parameters

    one = trained(1)
    for threads in (2, 5):
        assert_same_bits(trained(threads), one)


@pytest.mark.once
def test_layers(tmp_path, rng):
    layers = [fnn.Embedding(6, 4, init="zeros"), fnn.PeriodicEmbedding(3, 0.5), fnn.Dense(2)]
    model = fnn.Sequential(layers, seed=3).build(1)
    shapes = {name: view.shape for name, view in model.named_parameters().items()}
    assert shapes == {
        **{"0.weight": (6, 4), "1.weight": (12,), "1.bias": (12,)},
        **{"2.weight": (16, 2), "2.bias": (2,)},
    }
    assert repr(layers[0]) == "Embedding(6, 4, init='zeros')"
    assert repr(layers[1]) == "PeriodicEmbedding(n_frequencies=3, scale=0.5)"
    for layer in layers[:2]:
        assert eval(repr(layer), vars(fnn)) == layer
        assert layer.learns
    layers[0].trainable = False
    X = rng.integers(0, 6, (9, 1))
    model.save(tmp_path / "m.safetensors")
    loaded = fnn.load(tmp_path / "m.safetensors")
    assert loaded.layers == model.layers and not loaded.layers[0].trainable
    assert_same_bits(loaded.forward(X), model.forward(X))
    assert list(model.activations(X)) == ["0", "1", "2"]
    assert model.activations(X)["1"].shape == (9, 16)
    summary = model.summary().splitlines()
    assert summary[1].split()[-3:] == ["24", "(frozen)", "4"]  # a row is looked up, not multiplied
    before = model.parameters.copy()
    model.fit(X, np.zeros(9, int), loss="cross_entropy", epochs=1, verbose=0)
    assert_same_bits(model.parameters[:24], before[:24])
    assert (model.parameters[24:48] != before[24:48]).any()


@pytest.mark.once
def test_two_places_of_one_layer(rng):
    shared = fnn.PeriodicEmbedding(2, trainable=True)
    model = fnn.Sequential([fnn.Concatenate(shared, [shared, fnn.Dense(2)])], dtype="float64")
    X = rng.normal(size=(5, 3))
    out = model.build(3).forward(X)
    assert model.n_parameters == 2 * 6 + 9 * 2 + 2
    assert_same_bits(out[:, :3], X)


@pytest.mark.once
def test_what_is_refused(rng):
    with pytest.raises(ValueError, match=r"layers\[0\]: expected codes, one at each position, got"):
        fnn.Sequential([fnn.Embedding(6, 4)]).build((5, 3))
    with pytest.raises(ValueError, match=f"n_categories: expected an integer from 1 to {2**24}"):
        fnn.Embedding(2**24 + 1, 4)
    for make, name in (
        (lambda: fnn.Embedding(5, 0), "units"),
        (lambda: fnn.Embedding("5", 2), "n_categories"),
        (lambda: fnn.Embedding(5, 2, init="nothing"), "init"),
        (lambda: fnn.PeriodicEmbedding(0), "n_frequencies"),
        (lambda: fnn.PeriodicEmbedding(4, 0.0), "scale"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^{name}: expected"):
            make()
    model, X = table(), rng.integers(0, 6, (9, 1))
    operator = fnn.curvature.GaussNewton(model, X, rng.normal(size=(9, 2)), loss="mse")
    with pytest.raises(ValueError, match="'embedding'"):
        fnn.curvature.exact_trace(operator)


@pytest.mark.once
def test_what_stands_in_front_of_codes_does_not_learn(rng):
    model = fnn.Sequential([fnn.Dense(1), fnn.Sign(), fnn.Embedding(2, 3), fnn.Dense(1)])
    with pytest.warns(UserWarning, match=r"layers\[0\] will not learn"):
        model.fit(rng.normal(size=(8, 2)), np.zeros(8), loss="mse", epochs=1, verbose=0)


@pytest.mark.once
def test_files_of_others_take_any_code(tmp_path):
    """ONNX and torch: zeros for what is none."""
    model = fnn.Sequential([fnn.Embedding(5, 3)], seed=3).build(1)
    X = np.array(CODES, "float32")[:, None]
    expected = model.forward(X)
    with torch().no_grad():
        assert_same_bits(model.to_torch()(torch().tensor(X)).numpy(), expected)
    onnxruntime = pytest.importorskip("onnxruntime")
    model.to_onnx(tmp_path / "m.onnx", loss="mse")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert_same_bits(session.run(None, {"X": X})[0], expected)
