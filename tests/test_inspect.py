"""What looks into networks, against small networks written out in NumPy."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse

import pyfast_nn as fnn
from conftest import assert_close
from pyfast_nn.inspect import (
    convergence_modes,
    layer_variances,
    local_features,
    loss_landscape,
    max_stable_lr,
    penultimate_features,
    random_directions,
    unit_activity,
)

pytestmark = pytest.mark.once


def one_hidden_layer(rng, activation=None, n=7, d=3, width=5, out=2, dtype="float64"):
    """Return a network with random parameters, rows, and W, b, V, c of ``f(x W + b) V + c``."""
    layers = [fnn.Dense(width), activation or fnn.ReLU(), fnn.Dense(out)]
    model = fnn.Sequential(layers, dtype=dtype).build(d)
    model.parameters = rng.standard_normal(model.n_parameters)
    return model, rng.standard_normal((n, d)), *map(np.float64, model.named_parameters().values())


class TestUnitActivity:
    # z of three units at three rows: never above 0, sometimes, always
    Z = np.array([[-1.0, -2.0, 3.0], [0.0, 2.0, 0.5], [-3.0, 0.0, 0.9]])

    @pytest.mark.parametrize(
        ("layer", "active", "dead", "linear"),
        [
            (fnn.ReLU(), [0, 1 / 3, 1], [1, 0, 0], [0, 0, 1]),
            (fnn.LeakyReLU(0.1), [0, 1 / 3, 1], [0, 0, 0], [1, 0, 1]),
            (fnn.LeakyReLU(0.0), [0, 1 / 3, 1], [1, 0, 0], [0, 0, 1]),
            (fnn.Hardtanh(), [1 / 3, 1 / 3, 2 / 3], [0, 0, 0], [0, 0, 0]),
            (fnn.Hardtanh(-4, 4), [1, 1, 1], [0, 0, 0], [1, 1, 1]),
            (fnn.Hardtanh(-10, -9), [0, 0, 0], [1, 1, 1], [0, 0, 0]),
        ],
    )
    def test_by_hand(self, layer, active, dead, linear, dtype):
        activity = unit_activity(fnn.Sequential([layer], dtype=dtype), self.Z)
        assert activity.layers == ("0",) and activity.names == (f"0 {type(layer).__name__}",)
        np.testing.assert_allclose(activity.active[0], active, rtol=1e-15)
        np.testing.assert_array_equal(activity.dead[0], dead)
        np.testing.assert_array_equal(activity.linear[0], linear)
        assert activity.dead[0].dtype == activity.linear[0].dtype == bool

    def test_nan_is_not_dead(self):
        model = fnn.Sequential([fnn.Dense(5), fnn.ReLU(), fnn.Dense(5), fnn.ReLU()]).build(3)
        model.parameters[1] = np.nan
        X = np.ones((4, 3))
        with pytest.raises(ValueError, match=r"layers\[1\], got NaN for 4 of 4 rows of X"):
            unit_activity(model, X)
        model.parameters[1] = np.inf
        X[2, 0] = 0  # times infinity it is NaN
        with pytest.raises(ValueError, match=r"layers\[1\], got NaN for 1 of 4 rows of X"):
            unit_activity(model, X)
        X[1, 2] = np.nan
        with pytest.raises(ValueError, match=r"X: expected finite .* in row 1, column 2"):
            unit_activity(model, X)

    def test_of_a_deep_network_with_input_layers(self, rng):
        layers = [fnn.Rescale(2.0), fnn.Standardize(), fnn.Dense(40), fnn.ReLU(), fnn.Tanh()]
        layers += [fnn.Dense(30), fnn.LeakyReLU(), fnn.Dense(1)]
        model = fnn.Sequential(layers, dtype="float64")
        X = rng.standard_normal((12, 4)) * [1, 2, 3, 4] + 5
        model.fit(X, X[:, 0], loss="mse", epochs=1, verbose=0)
        model.parameters += 2 * rng.standard_normal(model.n_parameters)
        named = model.named_parameters()
        z = (X - X.mean(axis=0)) / X.std(axis=0) @ named["2.weight"] + named["2.bias"]
        z2 = np.tanh(np.maximum(z, 0)) @ named["5.weight"] + named["5.bias"]
        activity = unit_activity(model, X)
        assert activity.layers == ("3", "6")
        for i, pre in enumerate((z, z2)):
            np.testing.assert_allclose(activity.active[i], np.mean(pre > 0, axis=0), rtol=1e-12)
        never, always = np.all(z <= 0, axis=0), np.all(z > 0, axis=0)
        np.testing.assert_array_equal(activity.dead[0], never)
        np.testing.assert_array_equal(activity.linear[0], always)
        np.testing.assert_array_equal(
            activity.linear[1], np.all(z2 > 0, axis=0) | np.all(z2 <= 0, axis=0)
        )
        assert never.any() and always.any() and activity.linear[1].any()  # or nothing is tested

    def test_a_dead_unit_has_no_gradient_and_a_linear_one_can_be_folded(self, rng):
        model, X, W, b, V, c = one_hidden_layer(rng, n=20, width=60, d=2)
        activity = unit_activity(model, X)
        dead, linear = activity.dead[0], activity.linear[0]
        assert dead.any() and linear.any()
        out, pullback = model.vjp(X)
        grad = pullback(np.ones_like(out))[0].reshape(-1)
        weight = grad[: W.size].reshape(W.shape)
        np.testing.assert_array_equal(np.all(weight == 0, axis=0), dead)
        bends = ~dead & ~linear
        folded = (X @ W[:, linear] + b[linear]) @ V[linear]
        rest = np.maximum(X @ W[:, bends] + b[bends], 0) @ V[bends]
        np.testing.assert_allclose(out, folded + rest + c, rtol=1e-10)

    def test_refusals(self, rng):
        model, X, *_ = one_hidden_layer(rng, fnn.Tanh())
        with pytest.raises(ValueError, match="model: expected a ReLU, LeakyReLU or Hardtanh"):
            unit_activity(model, X)
        with pytest.raises(ValueError, match="X: expected at least one row"):
            unit_activity(model, X[:0])
        with pytest.raises(RuntimeError, match="has not learned its mean yet"):
            unit_activity(fnn.Sequential([fnn.Standardize(), fnn.ReLU()]), X)


class TestLayerVariances:
    def test_by_hand(self, rng, dtype):
        model, X, W, b, V, c = one_hidden_layer(rng, fnn.Tanh(), n=9, dtype=dtype)
        y = rng.integers(0, 2, 9)
        z = X @ W + b
        a = np.tanh(z)
        out = a @ V + c
        p = np.exp(out) / np.exp(out).sum(axis=1, keepdims=True)
        dout = p - np.eye(2)[y]
        da = dout @ V.T
        dz = da * (1 - a**2)
        variances = layer_variances(model, X, y, loss="cross_entropy")
        assert variances.names == ("input", "0 Dense", "1 Tanh", "2 Dense")
        for name, values in (
            ("activations", (X, z, a, out)),
            ("gradients", (dz @ W.T, dz, da, dout)),
        ):
            assert_close(getattr(variances, name), [v.var() for v in values], dtype, 20)

    def test_weights_count_examples(self, rng):
        model, X, *_ = one_hidden_layer(rng, n=9)
        y, count = np.arange(9) % 2, rng.integers(0, 4, 9)
        rows = np.repeat(np.arange(9), count * (1 + 2 * y))
        expected = layer_variances(model, X[rows], y[rows], loss="cross_entropy")
        options = {"loss": "cross_entropy", "sample_weight": count, "class_weight": {1: 3}}
        actual = layer_variances(model, X, y, **options)
        np.testing.assert_allclose(actual.activations, expected.activations, rtol=1e-12)
        np.testing.assert_allclose(actual.gradients, expected.gradients, rtol=1e-12)

    def test_behind_input_layers(self, rng):
        layers = [fnn.Rescale(0.5, offset=1.0), fnn.Dense(6), fnn.ReLU(), fnn.Dense(1)]
        model = fnn.Sequential(layers, dtype="float64")
        X = rng.standard_normal((50, 3))
        variances = layer_variances(model, X, X[:, 0], loss="mse")
        assert variances.names[:2] == ("input", "1 Dense")
        np.testing.assert_allclose(variances.activations[0], np.var(X / 2 + 1), rtol=1e-12)

    def test_of_he_and_of_small_weights(self, rng):
        """In front of ReLU He keeps the size; 0.01 loses it, by 100 * 0.01^2 / 2 per layer."""
        X, y = rng.standard_normal((64, 100)), rng.integers(0, 10, 64)
        factors = []
        for init in ("he_normal", "small_normal"):
            hidden = [layer for _ in range(10) for layer in (fnn.Dense(100, init=init), fnn.ReLU())]
            model = fnn.Sequential([*hidden, fnn.Dense(10)], seed=1)
            v = layer_variances(model, X, y, loss="cross_entropy")
            pre, back = v.activations[1:-1:2], v.gradients[1:-1:2]
            factors += [(pre[-1] / pre[0]) ** (1 / 9), (back[0] / back[-1]) ** (1 / 9)]
        np.testing.assert_allclose(factors, [1, 1, 0.005, 0.005], rtol=0.2)

    def test_refusals(self, rng):
        model, X, *_ = one_hidden_layer(rng)
        with pytest.raises(ValueError, match="X: expected at least one row"):
            layer_variances(model, X[:0], [], loss="cross_entropy")
        with pytest.raises(ValueError, match=r"loss: .* this model has not been fitted"):
            layer_variances(model, X, np.zeros(7, int))


class TestStability:
    eigenvalues = np.array([3.0, 1.0, 0.2, 0.01, 0.0, -0.3])

    def test_without_momentum(self):
        modes = convergence_modes(self.eigenvalues, 0.4)
        np.testing.assert_allclose(modes.rates, np.abs(1 - 0.4 * self.eigenvalues), rtol=1e-14)
        np.testing.assert_allclose(modes.roots[:, 0], 1 - 0.4 * self.eigenvalues, rtol=1e-14)
        np.testing.assert_array_equal(modes.roots[:, 1], 0)

    @pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
    @pytest.mark.parametrize("lr", [0.1, 1.0, 5.0])
    def test_roots_are_eigenvalues_of_the_iteration(self, momentum, lr):
        modes = convergence_modes(self.eigenvalues, lr, momentum=momentum)
        for x, roots, rate in zip(self.eigenvalues, modes.roots, modes.rates, strict=True):
            M = np.array([[1 - lr * x + momentum, -momentum], [1, 0]])
            np.testing.assert_allclose(np.poly(roots), np.poly(M), rtol=1e-12, atol=1e-12)
            assert abs(roots[0]) >= abs(roots[1]) - 1e-12
            radius = np.abs(np.linalg.eigvals(M)).max()
            np.testing.assert_allclose(rate, radius, rtol=1e-7)  # eps^(1/2): roots may be double

    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    def test_optimizer_follows(self, momentum):
        """`optim.SGD` on a quadratic: w_k is a sum of k-th powers of the two roots."""
        w = np.ones(6)
        sgd = fnn.optim.SGD(w, lr=0.3, momentum=momentum)
        z1, z2 = convergence_modes(self.eigenvalues, 0.3, momentum=momentum).roots.T
        c1 = (1 - 0.3 * self.eigenvalues - z2) / (z1 - z2)  # so that w_0 = 1, and w_1
        for k in range(1, 40):
            sgd.step(self.eigenvalues * w)
            np.testing.assert_allclose(w, (c1 * z1**k + (1 - c1) * z2**k).real, rtol=1e-9)

    @pytest.mark.parametrize("momentum", [0.0, 0.5, 0.95])
    def test_largest_stable_rate_is_the_border(self, rng, momentum):
        Q = np.linalg.qr(rng.standard_normal((30, 30)))[0]
        values = np.linspace(-1, 7, 30)
        lr = max_stable_lr((Q * values) @ Q.T, momentum=momentum)
        np.testing.assert_allclose(lr, 2 * (1 + momentum) / 7, rtol=1e-9)
        assert convergence_modes([7.0], 0.999 * lr, momentum=momentum).rates < 1
        assert convergence_modes([7.0], 1.001 * lr, momentum=momentum).rates > 1

    def test_no_positive_eigenvalue(self):
        assert max_stable_lr(-np.eye(4)) == max_stable_lr(np.zeros((4, 4))) == np.inf

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([[1.0]], 0.1), "eigenvalues: expected finite numbers"),
            (([np.nan], 0.1), "eigenvalues: expected finite numbers"),
            (([1.0], 0.0), "lr: expected a finite number > 0"),
        ],
    )
    def test_refusals(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            convergence_modes(*arguments)
        with pytest.raises(ValueError, match="momentum: expected a finite number >= 0 and < 1"):
            convergence_modes([1.0], 0.1, momentum=1.0)


class TestLandscape:
    def test_of_least_squares_is_its_parabola(self, rng):
        X = rng.standard_normal((30, 3))
        A = np.c_[X, np.ones(30)]
        y = A @ rng.standard_normal(4) + rng.standard_normal(30)
        model = fnn.Sequential([fnn.Dense(1)], dtype="float64").build(3)
        w = model.parameters.copy()
        directions = rng.standard_normal((4, 2))
        s, t = np.linspace(-2, 1, 4), np.linspace(-1, 3, 5)
        expected = [[np.mean((A @ (w + directions @ [a, b]) - y) ** 2) for b in t] for a in s]
        plane = loss_landscape(model, X, y, directions, (s, t), loss="mse")
        np.testing.assert_allclose(plane.losses, expected, rtol=1e-12)
        np.testing.assert_array_equal(plane.coordinates[1], t)
        np.testing.assert_array_equal(model.parameters, w)
        line = loss_landscape(model, X, y, directions[:, 1], t, loss="mse")
        expected = [np.mean((A @ (w + b * directions[:, 1]) - y) ** 2) for b in t]
        np.testing.assert_allclose(line.losses, expected, rtol=1e-12)
        shared = loss_landscape(model, X, y, directions, s, loss="mse")
        assert shared.losses.shape == (4, 4)
        column = plane_at(model, X, y, directions, s)
        np.testing.assert_allclose(shared.losses[:, 0], column, rtol=1e-12)

    @pytest.mark.parametrize(
        ("front", "sparse"),
        [
            ([], False),
            ([], True),
            ([fnn.Rescale(0.5, 1.0)], True),
            ([fnn.Standardize()], False),
            ([fnn.Softplus(), fnn.Softmax()], False),
        ],
    )
    def test_equals_the_loss_of_a_model_that_was_moved(self, rng, isa, dtype, front, sparse):
        """More rows than are computed at a time; behind layers without parameters."""
        layers = [*front, fnn.Dense(37), fnn.Tanh(), fnn.Dense(20), fnn.ReLU(), fnn.Dense(3)]
        model = fnn.Sequential(layers, dtype=dtype).build(6)
        X, y = rng.standard_normal((2100, 6)), rng.integers(0, 3, 2100)
        X = scipy.sparse.csr_array(X * (X > 0)) if sparse else X
        if any(isinstance(layer, fnn.Standardize) for layer in front):
            model.fit(X, y, loss="cross_entropy", epochs=1)
        options = {"loss": "cross_entropy", "sample_weight": rng.random(2100)}
        directions, t = random_directions(model, 2), np.array([-0.5, 0.0, 2.0])
        losses = loss_landscape(model, X, y, directions, t, **options).losses
        here = model.parameters.copy()
        for i, a in enumerate(t):
            for j, b in enumerate(t):
                model.parameters = here + directions @ [a, b]
                expected = model.evaluate(X, y, **options)["loss"]
                np.testing.assert_allclose(losses[i, j], expected, rtol=30 * np.finfo(dtype).eps)
                assert losses[i, j] == expected or a or b

    @pytest.mark.parametrize(
        ("size", "scale"), [(1e-8, 1e-42), (1e-8, 1e-30), (1, 1e-30), (1e-8, 1e30), (1e-8, 1e42)]
    )
    def test_directions_may_be_far_from_one(self, rng, size, scale):
        """In float32, where numbers of the direction, steps, or products with inputs overflow."""
        model, X, *_ = one_hidden_layer(rng, fnn.Tanh(), dtype="float32")
        model.parameters *= size
        X, y, v = X * 1e9, rng.standard_normal((7, 2)), np.float64(model.parameters) / scale
        losses = loss_landscape(model, X, y, v, [0.5 * scale, scale], loss="mse").losses
        for factor, actual in zip((1.5, 2.0), losses, strict=True):
            moved = fnn.Sequential(model.layers).build(3)
            moved.parameters = model.parameters * np.float32(factor)
            expected = moved.evaluate(X, y, loss="mse")["loss"]
            np.testing.assert_allclose(actual, expected, rtol=1e-5)

    def test_directions_of_any_memory(self, rng):
        model, X, *_ = one_hidden_layer(rng)
        y, v = np.ones((7, 2)), rng.standard_normal((model.n_parameters, 2))
        expected = loss_landscape(model, X, y, v, [0, 1], loss="mse").losses
        shifted = np.empty(v.nbytes + 1, np.uint8)[1:].view(v.dtype).reshape(v.shape)
        shifted[...] = v
        for same in (
            shifted,
            np.asfortranarray(v),
            np.repeat(v, 2, axis=1)[:, ::2],
            v.astype(">f8"),
        ):
            actual = loss_landscape(model, X, y, same, [0, 1], loss="mse").losses
            np.testing.assert_array_equal(actual, expected)

    def test_a_direction_in_which_nobody_goes_is_not_read(self, rng):
        model, X, *_ = one_hidden_layer(rng)
        directions = np.full((model.n_parameters, 2), [1.0, np.nan])
        losses = loss_landscape(model, X, np.ones((7, 2)), directions, [0, 1], loss="mse").losses
        np.testing.assert_array_equal(np.isnan(losses), [[False, True], [False, True]])

    def test_weights_and_default_coordinates(self, rng):
        model, X, *_ = one_hidden_layer(rng)
        y, v = rng.integers(0, 2, 7), rng.standard_normal(model.n_parameters)
        weights = np.array([2, 1, 1, 1, 1, 1, 0.0])
        twice = [0, 0, 1, 2, 3, 4, 5]
        a = loss_landscape(model, X, y, v, loss="cross_entropy", sample_weight=weights)
        b = loss_landscape(model, X[twice], y[twice], v, loss="cross_entropy")
        np.testing.assert_allclose(a.losses, b.losses, rtol=1e-12)
        np.testing.assert_array_equal(a.coordinates[0], np.linspace(-1, 1, 51))
        plane = loss_landscape(model, X, y, np.c_[v, v], loss="cross_entropy")
        assert plane.losses.shape == (25, 25)

    def test_along_an_eigenvector_the_curvature_is_its_eigenvalue(self, rng):
        model, X, *_ = one_hidden_layer(rng, fnn.Tanh())
        y = rng.standard_normal((7, 2))
        n = model.n_parameters
        H = np.stack([model.hvp(X, y, e, loss="mse") for e in np.eye(n)])
        values, vectors = np.linalg.eigh(H)
        h = 1e-3
        line = loss_landscape(model, X, y, vectors[:, -1], [-h, 0, h], loss="mse").losses
        np.testing.assert_allclose(line @ [1, -2, 1] / h**2, values[-1], rtol=1e-4)

    def test_random_directions_are_normalised_by_unit(self, dtype):
        layers = [fnn.Dense(400), fnn.ReLU(), fnn.Dense(3, bias_init=1.0)]
        model = fnn.Sequential(layers, dtype=dtype, seed=3).build(20)
        model.named_parameters()["0.weight"][:, 7] *= 100
        model.named_parameters()["2.weight"][:, 1] = 0
        directions = random_directions(model, 2, seed=5)
        assert directions.shape == (model.n_parameters, 2) and directions.dtype == np.float64
        drawn = []
        for direction in directions.T:
            W, b, V, c = np.split(direction, [8000, 8400, 9600])
            named = model.named_parameters()
            for part, name in ((W.reshape(20, 400), "0.weight"), (V.reshape(400, 3), "2.weight")):
                lengths = np.linalg.norm(np.float64(named[name]), axis=0)
                np.testing.assert_allclose(np.linalg.norm(part, axis=0), lengths, rtol=1e-6)
            assert not b.any() and not c.any()
            z = W.reshape(20, 400) / np.linalg.norm(W.reshape(20, 400), axis=0) * np.sqrt(20)
            assert abs(z.mean()) < 0.06 and abs(np.mean(z**4) - 3 * 20 / 22) < 0.2  # of a sphere
            drawn.append(z.ravel())
        assert abs(np.corrcoef(drawn)[0, 1]) < 0.05
        np.testing.assert_array_equal(random_directions(model, seed=5)[:, 0], directions[:, 0])
        assert (random_directions(model, seed=6) != directions[:, :1]).any()

    def test_where_the_network_overflows(self):
        model = fnn.Sequential([fnn.Dense(1)]).build(1)
        line = loss_landscape(model, [[1.0]], [0.0], [1.0, 0.0], [0, 1e30], loss="mse")
        assert np.isfinite(line.losses[0]) and line.losses[1] == np.inf

    @pytest.mark.parametrize(
        ("directions", "coordinates", "message"),
        [
            (np.ones(28), None, r"directions: expected shape \(32, 1\) or \(32, 2\), got \(28, 1"),
            (np.ones((32, 3)), None, r"directions: expected shape .* got \(32, 3\)"),
            (np.ones(32), [[0.0, 1], [0, 1]], "coordinates: expected finite numbers"),
            (np.ones(32), 1.0, "coordinates: expected finite numbers"),
            (np.ones((32, 2)), [0.0, np.nan], "coordinates: expected finite numbers"),
            (np.ones((32, 2)), ([0.0], []), "coordinates: expected finite numbers"),
        ],
    )
    def test_refusals(self, rng, directions, coordinates, message):
        model, X, *_ = one_hidden_layer(rng)
        with pytest.raises(ValueError, match=message):
            loss_landscape(model, X, np.zeros(7, int), directions, coordinates, loss="mse")

    def test_without_parameters(self):
        model = fnn.Sequential([fnn.Tanh()]).build(2)
        with pytest.raises(ValueError, match="model: expected parameters"):
            loss_landscape(model, [[0.0, 1.0]], [[0.0, 1.0]], np.ones((0, 1)), loss="mse")


def plane_at(model, X, y, directions, s):
    """The first column of a plane, by its own line through ``s[0]`` times the second direction."""
    moved = fnn.Sequential(model.layers, dtype=model.dtype).build(model.in_features)
    column = []
    for a in s:
        moved.parameters = model.parameters + directions @ [a, s[0]]
        column.append(moved.evaluate(X, y, loss="mse")["loss"])
    return column


def dense_jacobian(X, W, b, V):
    """Rows i * out + c of the derivatives of max(x W + b, 0) V + c in W, b, V, c."""
    rows = []
    on = (X @ W + b > 0).astype(float)
    for x, mask, a in zip(X, on, np.maximum(X @ W + b, 0), strict=True):
        for k in range(V.shape[1]):
            unit = np.eye(V.shape[1])[k]
            back = mask * V[:, k]
            rows.append(np.r_[np.outer(x, back).ravel(), back, np.outer(a, unit).ravel(), unit])
    return np.array(rows)


def check_features(features, matrix, k, rtol=1e-9):
    """Compare with NumPy's SVD of the matrix, as subspaces up to signs."""
    U, sigma, Vt = np.linalg.svd(matrix)
    np.testing.assert_allclose(features.singular_values, sigma[:k], rtol=rtol, atol=rtol * sigma[0])
    for ours, theirs in ((features.synthetic, U.T), (features.directions, Vt)):
        assert ours.shape == (theirs.shape[1], k) and ours.dtype == np.float64
        np.testing.assert_allclose(ours.T @ ours, np.eye(k), atol=1e-9)
    rounding = 1e-11 * sigma[0]
    product = matrix @ features.directions
    np.testing.assert_allclose(product, features.synthetic * sigma[:k], atol=rounding)
    for ours, theirs in ((features.synthetic, U.T), (features.directions, Vt)):
        kept = sigma[:k] > 1e-3 * sigma[0]
        cosines = np.abs(np.sum(ours[:, kept].T * theirs[:k][kept], axis=1))
        np.testing.assert_allclose(cosines, 1, rtol=10 * rtol)


class TestFeatures:
    # 80 rows and 122 columns; 80 and 32
    @pytest.mark.parametrize("width", [20, 5], ids=["wide", "tall"])
    @pytest.mark.parametrize("way", ["gram", "products"])
    def test_local_ones_by_hand(self, rng, monkeypatch, width, way):
        model, X, W, b, V, _ = one_hidden_layer(rng, n=40, width=width)
        matrix = dense_jacobian(X, W, b, V)
        if way == "products":
            features = importlib.import_module("pyfast_nn.inspect.features")
            monkeypatch.setattr(features, "_DENSE", 0)
        check_features(local_features(model, X, 5), matrix, 5)

    def test_all_of_them(self, rng):
        """Of parallel rows: as many zeros as there are copies, and orthonormal vectors still."""
        model, X, W, b, V, _ = one_hidden_layer(rng, n=3)
        X = np.r_[X, X]
        check_features(local_features(model, X, 12), dense_jacobian(X, W, b, V), 12, rtol=1e-12)

    def test_of_a_float32_model_in_float64(self, rng):
        model, X, W, b, V, _ = one_hidden_layer(rng, dtype="float32")
        X = np.float32(X).astype(np.float64)
        check_features(local_features(model, X, 4), dense_jacobian(X, W, b, V), 4)

    def test_penultimate_ones_by_hand(self, rng):
        model, X, W, b, *_ = one_hidden_layer(rng, n=20)
        a = np.maximum(X @ W + b, 0)
        features = penultimate_features(model, X)
        np.testing.assert_allclose(features.values, a, rtol=1e-12)
        check_features(features, a, 5)
        check_features(penultimate_features(model, X, 2), a, 2)

    def test_penultimate_ones_with_layers_behind(self, rng):
        model = fnn.Sequential([fnn.Rescale(2.0), fnn.Dense(3), fnn.Tanh()], dtype="float64")
        X = rng.standard_normal((9, 4))
        np.testing.assert_allclose(penultimate_features(model, X).values, 2 * X, rtol=1e-14)

    def test_refusals(self, rng):
        model, X, *_ = one_hidden_layer(rng)
        with pytest.raises(ValueError, match="k: expected an integer from 1 to 14, got 15"):
            local_features(model, X, 15)
        with pytest.raises(ValueError, match="k: expected an integer from 1 to 5, got 6"):
            penultimate_features(model, X, 6)
        with pytest.raises(ValueError, match="model: expected a Dense layer"):
            penultimate_features(fnn.Sequential([fnn.ReLU()]), X)


@pytest.fixture
def axes():
    figure = pytest.importorskip("matplotlib.figure", reason="pictures need Matplotlib")
    return figure.Figure().subplots()


def results(rng):
    """Each object that has pictures, and the names of the methods that draw them."""
    model, X, *_ = one_hidden_layer(rng, n=12, d=1)
    y = rng.integers(0, 2, 12)
    flat = np.zeros((model.n_parameters, 2))
    options = {"loss": "cross_entropy"}
    plane = loss_landscape(model, X, y, random_directions(model, 2), [-1, 0, 1], **options)
    overflow = fnn.inspect.LossLandscape(plane.coordinates, np.where(np.eye(3), np.inf, 1.0))
    return {
        "units": (unit_activity(model, X).plot, {"ylabel": "share of units"}),
        "variances": (layer_variances(model, X, y, **options).plot, {"ylabel": "variance"}),
        "modes": (convergence_modes([1.0, 0.1], 0.5).plot, {"ylabel": "factor per step"}),
        "no modes": (convergence_modes([], 0.5).plot, {"ylabel": "factor per step"}),
        "roots": (convergence_modes([1.0], 1.0, momentum=0.5).plot_roots, {"aspect": 1}),
        "line": (loss_landscape(model, X, y, flat[:, 0], **options).plot, {"ylabel": "loss"}),
        "plane": (plane.plot, {"ylabel": "second direction"}),
        "flat": (loss_landscape(model, X, y, flat, [-1, 1], **options).plot, {}),
        "overflow": (overflow.plot, {}),
        "features": (penultimate_features(model, X).plot, {"yscale": "log"}),
        "synthetic": (
            lambda ax=None: penultimate_features(model, X).plot_synthetic(X, ax=ax),
            {"xlabel": "input"},
        ),
    }


NAMES = ["units", "variances", "modes", "no modes", "roots"]
NAMES += ["line", "plane", "flat", "overflow", "features", "synthetic"]


@pytest.mark.parametrize("name", NAMES)
def test_pictures(rng, axes, tmp_path, name):
    plot, settings = results(rng)[name]
    assert plot(ax=axes) is axes
    for drawn in (axes, plot()):
        for key, value in settings.items():
            assert getattr(drawn, f"get_{key}")() == value
        assert drawn.has_data()
        drawn.figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("shape", [(2,), (2, 2)])
def test_a_landscape_without_a_finite_loss(axes, shape):
    landscape = fnn.inspect.LossLandscape([np.arange(2.0)] * len(shape), np.full(shape, np.inf))
    with pytest.raises(ValueError, match="losses: expected a finite one"):
        landscape.plot(axes)


def test_pictures_show_the_numbers(rng, axes):
    activity = unit_activity(fnn.Sequential([fnn.ReLU()]), TestUnitActivity.Z)
    heights = [bar.get_height() for bar in activity.plot(axes).patches]
    np.testing.assert_allclose(heights, [1 / 3, 1 / 3, 1 / 3])  # bends, linear, dead
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0 ReLU"]


def test_without_matplotlib_and_scipy():
    code = """
import sys
sys.modules["matplotlib"] = sys.modules["matplotlib.figure"] = sys.modules["scipy"] = None
import pyfast_nn as fnn
modes = fnn.inspect.convergence_modes([1.0], 0.1)
try:
    modes.plot()
except ImportError as error:
    assert "pip install 'pyfast-nn[plot]'" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_they_print_in_a_line(rng):
    model, X, *_ = one_hidden_layer(rng, n=12)
    y = rng.integers(0, 2, 12)
    variances = layer_variances(model, X, y, loss="cross_entropy")
    landscape = loss_landscape(model, X, y, np.zeros(32), [0.0, 1.0], loss="cross_entropy")
    for result, expected in (
        (unit_activity(fnn.Sequential([fnn.ReLU()]), TestUnitActivity.Z), "1 dead, 1 linear of 3"),
        (variances, f"1 ReLU: {variances.activations[2]:.3g}, {variances.gradients[2]:.3g}; 2"),
        (convergence_modes([1.0], 0.5), "(lr=0.5, momentum=0, rates=array([0.5]))"),
        (landscape, f"LossLandscape(2 points, from {landscape.losses[0]:g} to "),
        (penultimate_features(model, X), "Features(5 singular values of 12 rows, 5 features)"),
    ):
        assert expected in repr(result) and "\n" not in repr(result)


@pytest.mark.parametrize("function", [fnn.inspect.local_features, fnn.inspect.penultimate_features])
def test_features_of_no_examples(function):
    model = fnn.Sequential([fnn.Dense(3), fnn.ReLU(), fnn.Dense(2)])
    with pytest.raises(ValueError, match=r"X: expected at least one row, got shape \(0, 4\)"):
        function(model, np.empty((0, 4)))


@pytest.mark.parametrize("function", [fnn.inspect.local_features, fnn.inspect.penultimate_features])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite(function, value):
    model = fnn.Sequential([fnn.Dense(3), fnn.ReLU(), fnn.Dense(2)])
    X = np.ones((5, 4))
    model.build(4).parameters[0] = value
    with pytest.raises(ValueError, match=r"model: expected finite .*, got NaN or infinity for X"):
        function(model, X)
