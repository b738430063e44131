"""Models that are graphs: names, widths, initial values, tied weights, files, sub-models."""

from __future__ import annotations

import copy
import json
import pickle
import struct

import numpy as np
import pytest

import autodiff
import pyfast_nn as fnn
from conftest import assert_same_bits
from pyfast_nn import curvature
from test_hessian import relative_error

LOSS = "cross_entropy"


def build(layers, in_features=5, rng=None, dtype="float64"):
    model = fnn.Sequential(layers, dtype=dtype).build(in_features)
    if rng is not None:
        model.parameters = rng.standard_normal(model.n_parameters) * 0.6
    return model


def draw(rng, rows=9, in_features=5, dtype="float64"):
    return rng.standard_normal((rows, in_features)).astype(dtype), rng.integers(0, 3, rows)


def relu(x):
    return np.maximum(x, 0)


def graphs():
    """{name: layers} of every kind of graph, for five inputs and three outputs."""
    tied, deep = fnn.Dense(5), fnn.Dense(6)
    return {
        "residual": [fnn.Dense(6), fnn.Residual([fnn.Dense(4), fnn.ReLU(), fnn.Dense(6)]),
                     fnn.ReLU(), fnn.Dense(3)],
        "first": [fnn.Residual([fnn.Dense(5), fnn.ReLU()]), fnn.Dense(3)],
        "last": [fnn.Dense(3), fnn.Residual([fnn.ReLU(), fnn.Dense(3)])],
        "shortcut": [fnn.Residual([fnn.Dense(6), fnn.ReLU(), fnn.Dense(4)], fnn.Dense(4)),
                     fnn.ReLU(), fnn.Dense(3)],
        "in each other": [fnn.Residual([fnn.Dense(5), fnn.Residual([fnn.ReLU(), fnn.Dense(5)])]),
                          fnn.Dense(3)],
        "wide and deep": [fnn.Concatenate(fnn.Identity(), [fnn.Dense(4), fnn.ReLU()]),
                          fnn.Dense(3)],
        "add": [fnn.Add(fnn.Dense(4), [fnn.Dense(6), fnn.ReLU(), fnn.Dense(4)], fnn.Dense(4)),
                fnn.ReLU(), fnn.Dense(3)],
        "gate": [fnn.Multiply(fnn.Dense(4), [fnn.Dense(4), fnn.Sigmoid()]), fnn.Dense(3)],
        "square": [fnn.Multiply(fnn.Identity(), fnn.Identity(), fnn.Dense(5)), fnn.Dense(3)],
        "scale": [fnn.Residual([fnn.Dense(5), fnn.ReLU(), fnn.Scale(0.3)]), fnn.Dense(3)],
        "lists": [[fnn.Dense(6), fnn.ReLU()], [[fnn.Dense(4)], fnn.Tanh()], fnn.Dense(3)],
        "tied": [tied, fnn.ReLU(), tied, fnn.ReLU(), fnn.Dense(3)],
        "tied in branches": [fnn.Concatenate(deep, [deep, fnn.ReLU()]), fnn.Dense(3)],
        "tied within": [tied, fnn.ReLU(), fnn.Residual([fnn.Dense(5), tied]), fnn.Dense(3)],
        "norms": [fnn.Dense(6), fnn.LayerNorm(), fnn.ReLU(),
                  fnn.Residual([fnn.RMSNorm(), fnn.Dense(6), fnn.PReLU()]), fnn.Dense(3)],
        "weight norm": [fnn.WeightNorm(fnn.Dense(6)), fnn.ReLU(),
                        fnn.Residual([fnn.Tanh(), fnn.WeightNorm(fnn.Dense(6))]), fnn.Dense(3)],
        "weight norm tied": [fnn.WeightNorm(tied), fnn.Tanh(), fnn.WeightNorm(tied), fnn.Dense(3)],
        "batch norm": [fnn.Dense(6), fnn.BatchNorm(), fnn.ReLU(), fnn.Dense(3)],
        "inputs": [fnn.Rescale(2.0), fnn.Standardize(),
                   fnn.Residual([fnn.Dense(5), fnn.Tanh()]), fnn.Dense(3)],
    }  # fmt: skip


NAMES = list(graphs())
EXACT = [name for name in NAMES if "tied" not in name and "weight norm" not in name]
INEXACT = r"(parameters of layer 0.* more than once|'weight_norm' \(layer 0\))"


def model_of(name, rng, dtype="float64"):
    model = build(graphs()[name], rng=rng, dtype=dtype)
    if model.state.size:
        model.state = rng.uniform(0.5, 2, model.state.size)
    return model


# ------------------------------------------------------------------------ names and values


def test_names():
    block = fnn.Residual([fnn.Dense(8), fnn.ReLU(), fnn.Dense(6)], shortcut=fnn.Dense(6))
    model = build([fnn.Dense(4), block, [fnn.ReLU(), [fnn.Dense(3)]], fnn.Scale()])
    shapes = {name: view.shape for name, view in model.named_parameters().items()}
    assert shapes == {
        "0.weight": (5, 4),
        "0.bias": (4,),
        "1.0.weight": (4, 8),
        "1.0.bias": (8,),
        "1.2.weight": (8, 6),
        "1.2.bias": (6,),
        "1.shortcut.weight": (4, 6),
        "1.shortcut.bias": (6,),
        "2.1.0.weight": (6, 3),
        "2.1.0.bias": (3,),
        "3.weight": (3,),
    }
    assert sum(np.prod(shape) for shape in shapes.values()) == model.n_parameters
    for view in model.named_parameters().values():
        assert np.shares_memory(view, model.parameters)


def test_values_by_hand(rng):
    X, _ = draw(rng)
    for rows in (2, 9):
        x = X[:rows]
        model = model_of("shortcut", rng)
        w = list(model.named_parameters().values())
        h = relu(x @ w[0] + w[1]) @ w[2] + w[3] + x @ w[4] + w[5]
        np.testing.assert_allclose(model.forward(x), relu(h) @ w[6] + w[7], rtol=1e-12, atol=1e-13)
        model = model_of("wide and deep", rng)
        w = list(model.named_parameters().values())
        h = np.hstack([x, relu(x @ w[0] + w[1])])
        np.testing.assert_allclose(model.forward(x), h @ w[2] + w[3], rtol=1e-12, atol=1e-13)
        model = model_of("gate", rng)
        w = list(model.named_parameters().values())
        h = (x @ w[0] + w[1]) / (1 + np.exp(-(x @ w[2] + w[3])))
        np.testing.assert_allclose(model.forward(x), h @ w[4] + w[5], rtol=1e-12, atol=1e-13)
        model = model_of("scale", rng)
        w = list(model.named_parameters().values())
        h = x + relu(x @ w[0] + w[1]) * w[2]
        np.testing.assert_allclose(model.forward(x), h @ w[3] + w[4], rtol=1e-12, atol=1e-13)
        model = model_of("tied within", rng)
        w = list(model.named_parameters().values())
        h = relu(x @ w[0] + w[1])
        h = h + (h @ w[2] + w[3]) @ w[0] + w[1]
        np.testing.assert_allclose(model.forward(x), h @ w[4] + w[5], rtol=1e-12, atol=1e-13)


def test_lists_and_models_are_chains(rng):
    X, _ = draw(rng)
    flat = [fnn.Dense(6), fnn.ReLU(), fnn.Dense(4), fnn.Tanh(), fnn.Dense(3)]
    expected = fnn.Sequential(flat, dtype="float64", seed=3).forward(X)
    part = fnn.Sequential(flat[2:4])
    for layers in ([flat[:2], part, flat[4]], [[[flat[0]]], flat[1], [part, flat[4]]]):
        assert_same_bits(fnn.Sequential(layers, dtype="float64", seed=3).forward(X), expected)
    assert not part.built
    with pytest.raises(
        ValueError, match=r"layers\[1\]: expected layers or a model that is not bui"
    ):
        fnn.Sequential([fnn.Dense(3), fnn.Sequential([fnn.Dense(3)]).build(3)])


@pytest.mark.parametrize("name", NAMES)
def test_activations(rng, name):
    model, (X, _) = model_of(name, rng), draw(rng)
    activations = model.activations(X)
    assert_same_bits(activations[list(activations)[-1]], model.forward(X))
    paths = {key.rsplit(".", 1)[0] for key in model.named_parameters()}
    assert paths <= set(activations)
    if name == "residual":
        assert list(activations) == ["0", "1.0", "1.1", "1.2", "1", "2", "3"]
        summed = activations["0"] + activations["1.2"]
        np.testing.assert_array_equal(activations["1"], summed)
        np.testing.assert_array_equal(activations["2"], relu(summed))
    if name == "inputs":
        np.testing.assert_array_equal(activations["0"], 2 * X)
        mean, std = model.named_state()["1.mean"], model.named_state()["1.std"]
        np.testing.assert_allclose(activations["1"], (2 * X - mean) / std, rtol=1e-14)
    for first in range(1, len(model)):
        if name == "inputs" and first == 1:
            continue
        part = model[:first] if name != "inputs" or first > 2 else None
        if part is not None:
            assert_same_bits(part.forward(X), activations[f"{first - 1}"])


def test_summary(rng):
    for name in NAMES:
        text = model_of(name, rng).summary()
        assert f"{model_of(name, rng).n_parameters:,} parameters" in text
    assert "(shared)" in model_of("tied", rng).summary()
    model = model_of("residual", rng)
    model.layers[0].trainable = False
    assert "36 (frozen)" in model.summary()
    assert "not built" in fnn.Sequential(graphs()["residual"]).summary()


# ------------------------------------------------------------------------ widths


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([fnn.Residual([fnn.Dense(4)])], r"layers\[0\]: expected layers that put out 5 features"),
        ([fnn.Dense(4), [fnn.Residual([fnn.Dense(3)])]], r"layers\[1\.0\]: .* 4 features.* got 3"),
        ([fnn.Residual([fnn.Dense(4)], fnn.Dense(3))], r"layers\[0\]: .*one width.* 3 and 4"),
        ([fnn.Add(fnn.Dense(4), fnn.Identity())], r"layers\[0\]: .*one width.* 4 and 5 features"),
        ([fnn.Multiply(fnn.Dense(4), [fnn.Dense(2)])], r"layers\[0\]: .*one width.* 2 and 4"),
    ],
)
def test_widths_that_differ(layers, message):
    with pytest.raises(ValueError, match=message):
        fnn.Sequential(layers).build(5)


def test_a_shared_layer_has_one_width():
    shared = fnn.Dense(4)
    with pytest.raises(
        ValueError, match=r"layers\[1\]: expected 5 features, as at layers\[0\], .*4"
    ):
        fnn.Sequential([shared, shared]).build(5)
    assert fnn.Sequential([shared, shared]).build(4).n_parameters == 20
    scale = fnn.Scale()
    with pytest.raises(ValueError, match=r"layers\[2\]: expected 5 features"):
        fnn.Sequential([scale, fnn.Dense(4), scale]).build(5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnn.Residual(fnn.Dense(3)), r"layers: expected a list of layers.*\[Dense\(3\)\]"),
        (lambda: fnn.Residual([]), "layers: expected at least one layer"),
        (lambda: fnn.Residual(["relu"]), r"layers\[0\]: expected a layer.*write ReLU\(\)"),
        (lambda: fnn.Residual([fnn.Rescale()]), r"layers\[0\]: .*stands in front of all other"),
        (lambda: fnn.Add(fnn.Dense(3)), "branches: expected at least 2"),
        (lambda: fnn.Concatenate(fnn.Dense(3), 4), r"branches\[1\]: .*write Dense\(4\)"),
        (lambda: fnn.Residual([fnn.ReLU()], shortcut=3), r"shortcut: .*write Dense\(3\)"),
    ],
)
def test_what_is_no_layer(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


# ------------------------------------------------------------------------ initial values


@pytest.mark.parametrize(
    "between",
    [
        [],
        [fnn.Dropout(0.5)],
        [fnn.Scale(), fnn.Dropout(0.1), fnn.GaussianNoise(0.1)],
        [fnn.Identity()],
    ],
)
def test_initial_values_look_through_what_passes_on(between):
    def weight(last, *more):
        layers = [fnn.Dense(400), *more, last, fnn.Dense(3)]
        return fnn.Sequential(layers, dtype="float64").build(400).named_parameters()["0.weight"]

    assert abs(weight(fnn.ReLU(), *between).std() / np.sqrt(2 / 400) - 1) < 0.02  # He
    assert abs(weight(fnn.Tanh(), *between).std() / np.sqrt(1 / 400) - 1) < 0.02  # Xavier


def test_initial_values_look_through_sums_and_lists():
    block = fnn.Residual([fnn.Dense(300), fnn.Tanh(), fnn.Dense(300)])
    model = fnn.Sequential([[fnn.Dense(300)], block, [fnn.ReLU()], fnn.Dense(3)]).build(300)
    he, xavier = np.sqrt(2 / 300), np.sqrt(1 / 300)
    named = model.named_parameters()
    # What comes first behind the first one is the block's own Dense, not the sum.
    for key, expected in (("0.0", xavier), ("1.0", xavier), ("1.2", he)):
        assert abs(named[f"{key}.weight"].std() / expected - 1) < 0.03, key


# ------------------------------------------------------------------------ tied weights


def test_tied_weights_against_torch(rng):
    torch = autodiff.torch()
    X, y = draw(rng)
    shared = fnn.Dense(5)
    block = fnn.Residual([fnn.Dense(5), fnn.Tanh(), shared])
    model = build([shared, fnn.Tanh(), shared, block, fnn.Dense(3)], rng=rng)
    named = model.named_parameters()
    assert list(named) == [f"{i}.{n}" for i in ("0", "3.0", "4") for n in ("weight", "bias")]
    tensors = {k: torch.tensor(v, requires_grad=True) for k, v in named.items()}

    def dense(x, i):
        return x @ tensors[f"{i}.weight"] + tensors[f"{i}.bias"]

    h = dense(torch.tanh(dense(torch.tensor(X), 0)), 0)
    h = h + dense(torch.tanh(dense(h, "3.0")), 0)
    z = dense(h, 4)
    np.testing.assert_allclose(model.forward(X), z.detach().numpy(), rtol=1e-12)
    loss = torch.nn.functional.cross_entropy(z, torch.tensor(y))
    grads = torch.autograd.grad(loss, list(tensors.values()), create_graph=True)
    value, grad = model.loss_and_grad(X, y, loss=LOSS)
    flat = torch.cat([g.ravel() for g in grads])
    np.testing.assert_allclose(value, loss.item(), rtol=1e-13)
    np.testing.assert_allclose(grad, flat.detach().numpy(), rtol=1e-10, atol=1e-13)
    v = rng.standard_normal(model.n_parameters)
    products = torch.autograd.grad(flat @ torch.tensor(v), list(tensors.values()))
    expected = np.concatenate([p.numpy().ravel() for p in products])
    np.testing.assert_allclose(model.hvp(X, y, v, loss=LOSS), expected, rtol=1e-9, atol=1e-12)


def test_training_of_tied_weights_against_torch(rng):
    torch = autodiff.torch()
    X, y = draw(rng, 12)
    shared = fnn.Dense(5)
    model = build([shared, fnn.Tanh(), shared, fnn.Tanh(), fnn.Dense(3)], rng=rng)
    linear, last = torch.nn.Linear(5, 5).double(), torch.nn.Linear(5, 3).double()
    theirs = torch.nn.Sequential(linear, torch.nn.Tanh(), linear, torch.nn.Tanh(), last)
    with torch.no_grad():
        for parameter, ours in zip(
            theirs.parameters(), model.named_parameters().values(), strict=True
        ):
            parameter.copy_(torch.tensor(ours.T))
    sgd = torch.optim.Adam(theirs.parameters(), lr=0.05)
    for _ in range(10):
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(theirs(torch.tensor(X)), torch.tensor(y)).backward()
        sgd.step()
    adam = fnn.optim.Adam(lr=0.05)
    model.fit(X, y, loss=LOSS, optimizer=adam, epochs=10, batch_size=12, shuffle=False, verbose=0)
    for parameter, ours in zip(theirs.parameters(), model.named_parameters().values(), strict=True):
        np.testing.assert_allclose(ours.T, parameter.detach().numpy(), rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------------------ curvature


def dense_hessian(model, X, y, h=1e-5):
    centre, columns = model.parameters.copy(), []
    for i in range(len(centre)):
        ends = []
        for sign in (h, -h):
            moved = centre.copy()
            moved[i] += sign
            model.parameters = moved
            ends.append(model.loss_and_grad(X, y, loss=LOSS)[1])
        columns.append((ends[0] - ends[1]) / (2 * h))
    model.parameters = centre
    return np.stack(columns, axis=1)


def of_keys(model, picks):
    """Which numbers of the flat vector belong to parameters whose path begins with one of these."""
    parts = [
        np.full(view.size, any(key == p or key.startswith(f"{p}.") for p in picks))
        for key, view in model.named_parameters().items()
    ]
    return np.concatenate(parts)


@pytest.mark.parametrize("frozen", [None, "0", "1"])
@pytest.mark.parametrize("name", NAMES)
def test_hessians(rng, name, frozen):
    """Against differences of gradients; zero for what is not trained."""
    model, (X, y) = model_of(name, rng), draw(rng)
    free = np.ones(model.n_parameters, bool)
    full = dense_hessian(model, X, y)
    if frozen is not None:
        layer = model.layers[int(frozen)]
        if not layer.learns:
            return
        layer.trainable = False
        free = ~of_keys(model, [frozen])
        if name == "tied within" and frozen == "0":
            free = ~of_keys(model, ["0"])
    expected = full * np.outer(free, free)
    H = curvature.Hessian(model, X, y, LOSS)
    dense = H @ np.eye(model.n_parameters)
    assert relative_error(dense, expected) < 1e-6
    G = curvature.GaussNewton(model, X, y, LOSS)
    E = curvature.EmpiricalFisher(model, X, y, LOSS)
    for A in (H, G, E):
        matrix = A @ np.eye(model.n_parameters)
        if name not in EXACT:
            with pytest.raises(ValueError, match="A: .*" + INEXACT):
                curvature.exact_trace(A)
            with pytest.raises(ValueError, match="A: .*" + INEXACT):
                curvature.exact_diagonal(A)
        elif A is H and not model._engine.net.piecewise_linear:
            with pytest.raises(ValueError, match=r"A: expected the Hessian of a network that is p"):
                curvature.exact_trace(A)
        else:
            np.testing.assert_allclose(curvature.exact_trace(A), np.trace(matrix), rtol=1e-10)
            diagonal = curvature.exact_diagonal(A)
            np.testing.assert_allclose(diagonal, np.diag(matrix), rtol=1e-9, atol=1e-12)
    if name in EXACT:
        g = np.concatenate(list(curvature.per_example_gradients(model, X, y, LOSS, batch_size=4)))
        assert relative_error(g.T @ g / len(X), E @ np.eye(model.n_parameters)) < 1e-11
        assert relative_error(g.mean(0), model.loss_and_grad(X, y, loss=LOSS)[1]) < 1e-11
        norms = curvature.per_example_gradient_norms(model, X, y, LOSS)
        np.testing.assert_allclose(norms, np.linalg.norm(g, axis=1), rtol=1e-10)
    else:
        for function in (curvature.per_example_gradients, curvature.per_example_gradient_norms):
            with pytest.raises(ValueError, match="model: .*" + INEXACT):
                function(model, X, y, LOSS)


def test_restrict_by_path(rng):
    model, (X, y) = model_of("residual", rng), draw(rng)
    dense = curvature.Hessian(model, X, y, LOSS) @ np.eye(model.n_parameters)
    for restrict, picks in (
        ("1", ["1"]),
        (1, ["1"]),
        ("1.0", ["1.0"]),
        (["1.2", "0.bias", 3], ["1.2", "0.bias", "3"]),
    ):
        H = curvature.Hessian(model, X, y, LOSS, restrict=restrict)
        chosen = of_keys(model, picks)
        assert H.keys == [
            key
            for key in model.named_parameters()
            if any(key == p or key.startswith(f"{p}.") for p in picks)
        ]
        block = dense[np.ix_(chosen, chosen)]
        np.testing.assert_allclose(H @ np.eye(len(block)), block, rtol=1e-10, atol=1e-13)
    for wrong in ("1.1", "1.", 7, "1.0.w"):
        with pytest.raises(ValueError, match="restrict: expected layers or keys among"):
            curvature.Hessian(model, X, y, LOSS, restrict=wrong)


def test_monitor_and_sharpness_of_frozen_layers(rng):
    model, (X, y) = model_of("residual", rng), draw(rng, 20)
    model.layers[0].trainable = False
    monitor = fnn.CurvatureMonitor(X, y)
    history = model.fit(X, y, loss=LOSS, epochs=2, callbacks=[monitor], verbose=0)
    free = ~of_keys(model, ["0"])
    eigenvalues = np.linalg.eigvalsh(dense_hessian(model, X, y) * np.outer(free, free))
    assert abs(history["max_eigenvalue"][-1] / eigenvalues[-1] - 1) < 1e-2
    before = model.parameters.copy()
    np.testing.assert_allclose(curvature.sharpness(model, X, y), eigenvalues[-1], rtol=1e-3)
    assert curvature.sharpness(model, X, y, "ball") > 0
    assert curvature.sharpness(model, X, y, "box") > 0
    assert_same_bits(model.parameters, before)
    tied = model_of("tied", rng)
    with pytest.raises(ValueError, match="parameters of layer 0 are used more than once"):
        tied.fit(X, y, loss=LOSS, callbacks=[monitor], verbose=0)


# ------------------------------------------------------------------------ looking inside


@pytest.mark.parametrize("name", NAMES)
def test_inspect(rng, name):
    model, (X, y) = model_of(name, rng), draw(rng, 30)
    activations = model.activations(X)
    places = {path: i for i, path in enumerate(activations)}
    assert places

    features = fnn.inspect.local_features(model, X, k=3)
    J = curvature.Jacobian(model, X) @ np.eye(model.n_parameters)
    np.testing.assert_allclose(
        features.singular_values, np.linalg.svd(J, compute_uv=False)[:3], rtol=1e-8
    )
    directions = fnn.inspect.random_directions(model, 2)
    grid = np.linspace(-1, 1, 3)
    landscape = fnn.inspect.loss_landscape(model, X, y, directions, grid, loss=LOSS)
    centre = model.parameters.copy()
    for i, a in enumerate(grid):
        for j, b in enumerate(grid):
            model.parameters = centre + directions @ [a, b]
            expected = model.evaluate(X, y, loss=LOSS)["loss"]
            np.testing.assert_allclose(landscape.losses[i, j], expected, rtol=1e-11)
    model.parameters = centre

    variances = fnn.inspect.layer_variances(model, X, y, loss=LOSS)
    first = sum(layer.is_input for layer in model.layers)
    spread = [np.var(activations[f"{i}"]) for i in range(first, len(model))]
    np.testing.assert_allclose(variances.activations[1:], spread, rtol=1e-9)
    out, _ = model.vjp(X)
    p = np.exp(out - out.max(1, keepdims=True))
    in_outputs = p / p.sum(1, keepdims=True) - np.eye(3)[y]
    in_inputs = model.vjp(X)[1](in_outputs)[1]
    np.testing.assert_allclose(variances.gradients[-1], np.var(in_outputs), rtol=1e-9)
    if first == 0:
        np.testing.assert_allclose(variances.gradients[0], np.var(in_inputs), rtol=1e-9)


def test_unit_activity_within_layers(rng):
    model, (X, _) = model_of("residual", rng), draw(rng, 30)
    activity = fnn.inspect.unit_activity(model, X)
    assert activity.layers == ("1.1", "2") and activity.names == ("1.1 ReLU", "2 ReLU")
    activations = model.activations(X)
    for i, before in enumerate(("1.0", "1")):
        np.testing.assert_allclose(activity.active[i], (activations[before] > 0).mean(0))
    layers = [fnn.ReLU(), fnn.Multiply(*[fnn.Dense(4) for _ in range(3)]), [fnn.ReLU()]]
    model = build([*layers, fnn.ReLU()], rng=rng)
    X = rng.standard_normal((1500, 5))
    activity = fnn.inspect.unit_activity(model, X)
    assert activity.layers == ("0", "2.0", "3")
    product = model.activations(X)["1"]
    for active, z in zip(activity.active, (X, product, relu(product)), strict=True):
        np.testing.assert_allclose(active, (z > 0).mean(0), rtol=1e-14)


def test_penultimate_features_within_layers(rng):
    model, (X, _) = model_of("last", rng), draw(rng, 30)
    features = fnn.inspect.penultimate_features(model, X)
    np.testing.assert_array_equal(features.values, model.activations(X)["1.0"])
    wide = model_of("wide and deep", rng)
    values = fnn.inspect.penultimate_features(wide, X).values
    np.testing.assert_array_equal(values, wide.activations(X)["0"])
    first = build([fnn.Dense(3)], rng=rng)
    np.testing.assert_array_equal(fnn.inspect.penultimate_features(first, X).values, X)


def test_random_directions_hold_what_is_not_trained(rng):
    model = model_of("scale", rng)
    free = fnn.inspect.random_directions(model)
    model.layers[1].trainable = False
    held = fnn.inspect.random_directions(model)
    named = model._engine.named_parameters(held[:, 0].copy())
    assert not named["1.weight"].any() and not named["0.2.weight"].any()
    weight = named["0.0.weight"]
    ours = model.named_parameters()["0.0.weight"]
    np.testing.assert_allclose(np.linalg.norm(weight, axis=0), np.linalg.norm(ours, axis=0))
    assert free.any(axis=1).sum() > held.any(axis=1).sum()


# ------------------------------------------------------------------------ files


@pytest.mark.parametrize("name", NAMES)
def test_files_and_copies(rng, name, tmp_path, dtype):
    model, (X, y) = model_of(name, rng, dtype), draw(rng, dtype=dtype)
    learning = [layer for layer in model.layers if layer.learns]
    learning[-1].trainable = False
    adam = fnn.optim.Adam()
    if name != "inputs":
        model.fit(X, y, loss=LOSS, optimizer=adam, epochs=2, verbose=0)
    model.save(tmp_path / "m")
    others = (
        fnn.load(tmp_path / "m"),
        copy.copy(model),
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
    )
    for other in others:
        assert repr(other) == repr(model) and other.summary() == model.summary()
        assert list(other.named_parameters()) == list(model.named_parameters())
        assert_same_bits(other.forward(X), model.forward(X))
        assert other.n_parameters == model.n_parameters
        assert [x.trainable for x in other.layers] == [x.trainable for x in model.layers]
        before = other.parameters.copy()
        other.fit(X, y, loss=LOSS, epochs=1, verbose=0)
        assert not np.array_equal(other.parameters, before)
        fixed = ~of_keys(model, [str(model.layers.index(learning[-1]))])
        assert_same_bits(other.parameters[~fixed], before[~fixed])
        assert not np.shares_memory(other.parameters, model.parameters)
        other.layers[model.layers.index(learning[-1])].trainable = True
    assert not learning[-1].trainable


def describe(path, change):
    """Rewrite the layers in the description of a file by change(layers)."""
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    key = next(iter(header["__metadata__"]))
    description = json.loads(header["__metadata__"][key])
    layers = change(description["layers"])
    description["layers"] = description["layers"] if layers is None else layers
    header["__metadata__"][key] = json.dumps(description)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])


def nested(depth):
    layers = [{"type": "ReLU"}]
    for _ in range(depth):
        layers = [{"type": "Chain", "layers": layers}]
    return layers


@pytest.mark.parametrize(
    "change",
    [
        lambda layers: layers[2].update({"as": 7}),
        lambda layers: layers[2].update({"as": 1}),  # a ReLU
        lambda layers: layers[2].update({"as": 2}),  # itself
        lambda layers: layers[2].update({"as": -1}),
        lambda layers: layers[2].update({"as": True}),
        lambda layers: layers[2].update({"as": "0"}),
        lambda layers: layers[2].update({"more": 1}),
        lambda layers: layers[0].update({"trainable": 1}),
        lambda layers: layers[1].update({"trainable": False}),
        lambda layers: layers[3].update({"layers": []}),
        lambda layers: layers[3].update({"layers": {"type": "ReLU"}}),
        lambda layers: layers[3].update({"layers": [3]}),
        lambda layers: layers[3].update({"layers": [{"type": "same", "as": 3}]}),  # in itself
        lambda layers: layers[3].update({"shortcut": "ReLU"}),
        lambda layers: layers[3].update({"shortcut": [1, 2]}),
        lambda layers: layers[3].update({"branches": layers[3].pop("layers")}),
        lambda layers: layers[3].update({"type": "Add"}),
        lambda layers: layers[3].update({"type": "Nothing"}),
        lambda layers: layers[3].pop("type") and None,
        lambda layers: layers[4].update({"branches": layers[4]["branches"][:1]}),
        lambda layers: layers[4].update({"branches": 3}),
        lambda layers: layers[4].update({"layers": []}),
        lambda layers: layers[4].update({"branches": [{"type": "Rescale"}, {"type": "ReLU"}]}),
        lambda layers: layers[5].update({"layer": {"type": "ReLU"}}),
        lambda layers: layers[5].update({"layer": "Dense"}),
        lambda layers: layers[5].update({"layer": {"type": "same", "as": 1}}),
        lambda layers: layers[5].update({"layer": {"type": "same", "as": 0}}),  # as itself, too
        lambda layers: layers[5].update({"layer": [layers[5]["layer"]]}),
        lambda layers: layers[5].update({"trainable": 1}),
        lambda layers: layers[5].pop("layer") and None,
        lambda layers: layers[5]["layer"].update(constraint={"type": "MaxNorm", "max_norm": 1}),
        lambda layers: layers[::-1],
        lambda layers: [layers],
        lambda layers: nested(150),
        lambda layers: nested(300),
        lambda layers: {},
    ],
)
def test_malformed_descriptions(rng, tmp_path, change):
    tied = fnn.Dense(5)
    block = fnn.Residual([fnn.Dense(5), fnn.ReLU()])
    join = fnn.Concatenate(fnn.Identity(), fnn.Dense(4))
    last = fnn.WeightNorm(fnn.Dense(3))
    model = build([tied, fnn.ReLU(), tied, block, join, last], rng=rng)
    model.save(path := tmp_path / "m")
    fnn.load(path)
    describe(path, change)
    with pytest.raises(fnn.ModelFileError):
        fnn.load(path)


# ------------------------------------------------------------------------ sub-models


@pytest.mark.parametrize("name", ["residual", "shortcut", "wide and deep", "lists", "tied"])
def test_parts_share_what_they_have_learned(rng, name):
    model, (X, _) = model_of(name, rng), draw(rng)
    n = len(model)
    activations = model.activations(X)
    for index in (0, 1, -1, -n, slice(None, -1), slice(0, 2), slice(None), slice(-3, None)):
        numbers = range(n)[index]
        numbers = [numbers] if isinstance(numbers, int) else list(numbers)
        if name == "tied" and numbers[0] > 0 and len(numbers) > 1:
            continue  # refused, see below
        part = model[index]
        assert part.built and part.layers == tuple(model.layers[i] for i in numbers)
        x = X if numbers[0] == 0 else activations[f"{numbers[0] - 1}"]
        assert_same_bits(part.forward(x), activations[f"{numbers[-1]}"])
        if part.n_parameters:
            assert np.shares_memory(part.parameters, model.parameters)
            before = model.parameters.copy()
            part.parameters += 1
            assert (model.parameters != before).sum() == part.n_parameters
            model.parameters = before
            assert_same_bits(part.forward(x), activations[f"{numbers[-1]}"])
    for wrong, error in ((n, IndexError), (-n - 1, ValueError), ("0", TypeError), (1.5, TypeError)):
        with pytest.raises((error, IndexError)):
            model[wrong]
    with pytest.raises(ValueError, match="index: expected layers in a row"):
        model[::2]
    with pytest.raises(ValueError, match="layers: expected at least one layer"):
        model[2:2]


def test_parts_of_tied_layers(rng):
    model = model_of("tied", rng)
    assert np.shares_memory(model[2].parameters, model.named_parameters()["0.weight"])
    assert model[2].n_parameters == model[0].n_parameters == 30
    assert model[:3].n_parameters == 30
    within = model_of("tied within", rng)
    with pytest.raises(ValueError, match=r"index: .*layers\[2\.1\] with those of"):
        within[2]


def test_training_of_a_part(rng):
    """It moves its own parameters alone, in the model, too; and the other way round."""
    model, (X, y) = model_of("residual", rng), draw(rng, 40)
    before = model.parameters.copy()
    head = model[2:]
    hidden = model.activations(X)["1"]
    head.fit(hidden, y, loss=LOSS, epochs=3, verbose=0)
    moved = model.parameters != before
    np.testing.assert_array_equal(moved, of_keys(model, ["3"]))
    assert_same_bits(model.forward(X), head.forward(hidden))
    model.fit(X, y, loss=LOSS, epochs=1, verbose=0)
    assert_same_bits(head.forward(model.activations(X)["1"]), model.forward(X))
    model.layers[3].trainable = False
    gradient = head.loss_and_grad(hidden, y)[1]
    assert not gradient.any()
    assert fnn.Sequential(graphs()["residual"])[:2].built is False


def test_parts_with_input_layers(rng):
    model, (X, y) = model_of("inputs", rng), draw(rng, 30)
    model = fnn.Sequential(model.layers, dtype="float64")
    model.fit(X, y, loss=LOSS, epochs=1, verbose=0)
    part = model[:3]
    assert_same_bits(part.state, model.state)
    assert np.shares_memory(part.state, model.state)
    assert_same_bits(part.forward(X), model.activations(X)["2"])
    assert part.loss is None and model[2:].loss == LOSS
    assert model[2:].predict(model.activations(X)["1"]).tolist() == model.predict(X).tolist()
    for copied in (copy.deepcopy(part), pickle.loads(pickle.dumps(part))):
        assert_same_bits(copied.forward(X), part.forward(X))
        assert not np.shares_memory(copied.parameters, part.parameters)
