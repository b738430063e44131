"""Bounds, margins and norms, against their formulas in float64 NumPy."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import scipy.optimize
import scipy.special

import pyfast_nn as fnn
from pyfast_nn.inspect import margins, norm_measures, pac_bayes_bound

pac_bayes = importlib.import_module("pyfast_nn.inspect.pac_bayes")

pytestmark = pytest.mark.once


def coins(q, p):
    """The divergence of a coin of probability p from one of q."""
    return scipy.special.rel_entr(q, p) + scipy.special.rel_entr(1 - q, 1 - p)


def inverse(q, c):
    """The largest p that is no more than c away from q, by SciPy."""
    if coins(q, 1 - 1e-15) <= c:
        return 1.0
    return scipy.optimize.brentq(lambda p: coins(q, p) - c, q, 1 - 1e-15, xtol=1e-15)


def halves(rng, n=400):
    """Rows and two classes that a line tells apart but for noise."""
    X = rng.standard_normal((n, 5))
    return X, (X[:, 0] - X[:, 1] + 0.3 * rng.standard_normal(n) > 0).astype(int)


def fitted(X, y, layers=(), loss="binary_cross_entropy", **options):
    outputs = 1 if loss == "binary_cross_entropy" else y.max() + 1
    model = fnn.Sequential([*layers, fnn.Dense(outputs)], dtype="float64", **options)
    model.fit(X, y, loss=loss, epochs=20, verbose=0)
    return model


class TestPACBayes:
    @pytest.mark.parametrize("q", [0.0, 1e-9, 0.1, 0.5, 0.99])
    @pytest.mark.parametrize("c", [1e-6, 0.01, 0.5, 5.0])
    def test_inverse_of_kl(self, q, c):
        p = pac_bayes.kl_inverse(q, c)
        np.testing.assert_allclose(p, inverse(q, c), rtol=1e-9)
        assert q < p <= 1 and coins(q, p) >= c * (1 - 1e-9)  # rounded up, not down
        if q == 0:
            np.testing.assert_allclose(p, -np.expm1(-c), rtol=1e-9)
        assert pac_bayes.kl_inverse(1.0, c) == 1.0

    @pytest.mark.parametrize("loss", ["binary_cross_entropy", "cross_entropy"])
    def test_the_bound_follows_from_what_is_returned(self, rng, loss):
        X, y = halves(rng)
        model = fitted(X, y, [fnn.Dense(4), fnn.Tanh()], loss)
        before = model.parameters.copy()
        options = {"steps": 300, "samples": 200, "delta": 0.1, "lr": 0.02}
        found = pac_bayes_bound(model, X, y, **options)
        np.testing.assert_array_equal(model.parameters, before)
        beginning = fnn.Sequential(model.layers, dtype="float64").build(5).parameters
        s, way, variance = found.std**2, found.mean - beginning, found.prior_variance
        kl = np.sum((s + way**2) / variance - 1 - np.log(s / variance)) / 2
        np.testing.assert_allclose(found.kl, kl, rtol=1e-10)
        j = -100 * np.log(variance)
        np.testing.assert_allclose(j, round(j), atol=1e-9)
        cost = np.log(2 * np.sqrt(400)) - np.log(0.05 * 6 / (np.pi * j) ** 2)
        middle = inverse(found.error, np.log(1 / 0.05) / 200)
        np.testing.assert_allclose(found.error_bound, middle, rtol=1e-9)
        np.testing.assert_allclose(found.bound, inverse(middle, (kl + cost) / 400), rtol=1e-9)
        assert found.confidence == 0.9 and found.objective.shape == (300,)
        again = pac_bayes_bound(model, X, y, **options)
        assert again.bound == found.bound
        np.testing.assert_array_equal(again.mean, found.mean)
        assert pac_bayes_bound(model, X, y, **options, seed=1).bound != found.bound

        # The posterior's error on the rows, and on new ones, by draws of NumPy.
        new = halves(np.random.default_rng(1), 4000)
        drawn = fnn.Sequential(model.layers, dtype="float64").build(5)
        errors = []
        for _ in range(200):
            drawn.parameters = found.mean + found.std * rng.standard_normal(len(way))
            errors.append(
                [1 - drawn.evaluate(*each, loss=loss)["accuracy"] for each in ((X, y), new)]
            )
        on_rows, on_new = np.mean(errors, axis=0)
        assert abs(on_rows - found.error) < 5 * np.std(errors, axis=0)[0] / np.sqrt(100)
        assert on_new < found.bound < 0.5

    def test_gradients_of_what_is_minimised(self, rng, monkeypatch):
        """At the first step, where one knows the noise: by finite differences."""
        X, y = halves(rng, 50)
        model = fitted(X, y)
        taken = []

        class Recorder:
            def __init__(self, params, lr):
                self.params = params

            def step(self, gradients):
                taken.append((self.params[0].copy(), gradients[0]))

        monkeypatch.setattr(pac_bayes.optim, "Adam", Recorder)
        found = pac_bayes_bound(model, X, y, steps=1, batch_size=1000, samples=1, seed=3)
        (mean, of_mean), (log_std, of_log_std) = taken
        noise = np.random.default_rng(3).standard_normal(6)
        beginning = fnn.Sequential(model.layers, dtype="float64").build(5).parameters

        def variance(z):
            return np.mean(np.exp(2 * z[6:]) + (z[:6] - beginning) ** 2)

        j = -100 * np.log(variance(np.r_[mean, log_std]))

        def objective(z):
            w = z[:6] + np.exp(z[6:]) * noise
            bits = np.mean(np.logaddexp(0, (1 - 2 * y) * (X @ w[:5] + w[5]))) / np.log(2)
            kl = 3 * np.log(variance(z)) - z[6:].sum()
            half = (kl + np.log(2 * np.sqrt(50) * np.pi**2 * j**2 / (6 * 0.025))) / 50 / 2
            return (np.sqrt(bits + half) + np.sqrt(half)) ** 2

        z = np.r_[mean, log_std]
        np.testing.assert_allclose(found.objective[0], objective(z), rtol=1e-12)
        difference = [(objective(z + e) - objective(z - e)) / 2e-5 for e in 1e-5 * np.eye(12)]
        np.testing.assert_allclose(np.r_[of_mean, of_log_std], difference, rtol=1e-6, atol=1e-8)

    def test_random_labels_have_no_bound_below_chance(self, rng):
        X = rng.standard_normal((400, 5))
        y = rng.integers(0, 2, 400)
        model = fitted(X, y, [fnn.Dense(30), fnn.ReLU()])
        assert pac_bayes_bound(model, X, y, steps=300, samples=100).bound > 0.5

    def test_what_is_not_trained_stays_and_costs_nothing(self, rng):
        X, y = halves(rng)
        model = fitted(X, y, [fnn.Dense(4, trainable=False), fnn.Tanh()])
        prior = model.parameters.copy()
        prior[-5:] = model.parameters[-5:] + 0.1
        found = pac_bayes_bound(model, X, y, prior=prior, steps=1, samples=10, lr=1e-9)
        np.testing.assert_array_equal(found.mean[:24], model.parameters[:24])
        assert not found.std[:24].any()
        np.testing.assert_allclose(found.std[24:], 0.1)  # as far as they are from the prior
        np.testing.assert_allclose(found.kl, 5 * np.log(2) / 2, rtol=1e-4)  # variance 0.02

    def test_what_is_not_trained_is_a_part_of_the_prior(self, rng):
        """Initial, or given: who freezes what was learned of the rows has to deny it."""
        X, y = halves(rng)
        model = fitted(X, y, [fnn.Dense(4), fnn.Tanh()])
        options = {"steps": 1, "samples": 2}
        pac_bayes_bound(model, X, y, **options)
        model.layers[0].trainable = False
        with pytest.raises(ValueError, match=r"prior: expected the model's own .* initial param"):
            pac_bayes_bound(model, X, y, **options)
        prior = np.zeros(model.n_parameters)
        with pytest.raises(ValueError, match=r"prior: expected the model's own .* others in 24"):
            pac_bayes_bound(model, X, y, prior=prior + 7, **options)
        prior[:24] = model.parameters[:24]
        pac_bayes_bound(model, X, y, prior=prior, **options)

    @pytest.mark.parametrize(
        ("layer", "options", "message"),
        [
            (fnn.Standardize(), {}, r"model: expected no state .* layers\[0\], Standardize"),
            (fnn.Tanh(), {"delta": 1.0}, "delta: expected a finite number > 0 and < 1"),
            (fnn.Tanh(), {"loss": "hinge"}, "loss: expected 'cross_entropy' or 'binary_cross"),
            (fnn.Tanh(), {"prior": [1.0]}, r"prior: expected finite numbers \(6,\)"),
            (fnn.Tanh(), {"prior": [np.nan] * 6}, r"prior: expected finite numbers \(6,\)"),
            (fnn.Tanh(), {"lr": 1e300}, "lr: expected a rate at which all is finite"),
            (fnn.Tanh(), {"lr": 1e300, "steps": 1}, "lr: expected a rate at which all is finite"),
        ],
    )
    def test_refusals(self, rng, layer, options, message):
        X, y = halves(rng, 40)
        with pytest.raises(ValueError, match=message):
            pac_bayes_bound(fitted(X, y, [layer]), X, y, **{"steps": 5, "samples": 2} | options)

    def test_more_refusals(self, rng):
        X, y = halves(rng, 40)
        with pytest.raises(ValueError, match="X: expected at least one row"):
            pac_bayes_bound(fitted(X, y), X[:0], y[:0])
        with pytest.raises(ValueError, match="model: expected parameters that are trained"):
            frozen = fnn.Sequential([fnn.Dense(1, trainable=False)])
            pac_bayes_bound(frozen, X, y, loss="binary_cross_entropy")
        with pytest.raises(ValueError, match="model: expected one output for each example"):
            places = fnn.Sequential([fnn.Dense(2)]).build((3, 5))
            at = rng.integers(0, 2, (4, 3))
            pac_bayes_bound(places, rng.standard_normal((4, 3, 5)), at, loss="cross_entropy")


class TestMargins:
    def test_of_classes(self, rng, dtype):
        X, y = rng.standard_normal((9, 4)), rng.integers(0, 3, 9)
        model = fnn.Sequential([fnn.Dense(3)], dtype=dtype).build(4)
        W, b = (np.float64(p) for p in model.named_parameters().values())
        out = np.float64(X.astype(dtype)) @ W + b
        expected = [z[k] - max(np.delete(z, k)) for z, k in zip(out, y, strict=True)]
        for loss in ("cross_entropy", "multi_margin"):
            found = margins(model, X, y, loss=loss).values
            assert found.dtype == np.float64
            np.testing.assert_allclose(found, expected, atol=20 * np.finfo(dtype).eps)

    @pytest.mark.parametrize(
        ("loss", "labels"),
        [("binary_cross_entropy", [0, 1]), ("hinge", [-1, 1]), ("hinge", ["no", "yes"])],
    )
    def test_of_two(self, rng, loss, labels):
        X, which = rng.standard_normal((9, 4)), rng.integers(0, 2, 9)
        model = fnn.Sequential([fnn.Dense(1)], dtype="float64", classes=labels).build(4)
        out = model.forward(X)[:, 0]
        found = margins(model, X, np.array(labels)[which], loss=loss).values
        np.testing.assert_array_equal(found, np.where(which, out, -out))

    def test_normalized(self, rng):
        X, y = rng.standard_normal((9, 4)), rng.integers(0, 3, 9)
        layers = [fnn.Rescale(0.5, 1.0), fnn.Dense(6), fnn.ReLU(), fnn.Dense(3)]
        model = fnn.Sequential(layers, dtype="float64").build(4)
        model.parameters += rng.standard_normal(model.n_parameters)
        raw = margins(model, X, y, loss="cross_entropy").values
        scale = norm_measures(model).spectral_complexity * np.linalg.norm(X / 2 + 1) / 9
        found = margins(model, X, y, loss="cross_entropy", normalized=True)
        np.testing.assert_allclose(found.values, raw / scale, rtol=1e-12)

        # Of zero biases: a layer twice as large changes none, with a reference of zeros.
        for name, view in model.named_parameters().items():
            view *= "weight" in name
        options = {"normalized": True, "reference": np.zeros(model.n_parameters)}
        before = margins(model, X, y, loss="cross_entropy", **options).values
        model.named_parameters()["1.weight"][...] *= 2
        after = margins(model, X, y, loss="cross_entropy", **options).values
        np.testing.assert_allclose(after, before, rtol=1e-12)

    def test_refusals(self, rng):
        model, X = fnn.Sequential([fnn.Dense(3)]), rng.standard_normal((5, 4))
        y = np.arange(5) % 3
        with pytest.raises(ValueError, match="X: expected at least one row"):
            margins(model, X[:0], y[:0], loss="cross_entropy")
        with pytest.raises(ValueError, match="y: expected one label for each example"):
            margins(model, X, np.full((5, 3), 1 / 3), loss="cross_entropy")
        with pytest.raises(ValueError, match="y: expected one label for each example"):
            margins(model, X, X[:, :3], loss="mse")
        with pytest.raises(TypeError, match="normalized: expected True or False"):
            margins(model, X, y, loss="cross_entropy", normalized="yes")
        with pytest.raises(ValueError, match="reference: expected None without normalized"):
            margins(model, X, y, loss="cross_entropy", reference=np.zeros(15))
        with pytest.raises(ValueError, match="normalized: expected weights, rows and a way from"):
            margins(model, X, y, loss="cross_entropy", normalized=True)  # where it began
        model = fnn.Sequential([fnn.Dense(3)], dtype="float64").build(4)
        options = {"normalized": True, "reference": np.zeros(15)}
        with pytest.raises(ValueError, match="and finite norms, got inf"):
            margins(model, X * 1e200, y, loss="cross_entropy", **options)


class TestNorms:
    def test_by_hand(self, rng, dtype):
        layers = [fnn.Dense(6), fnn.LeakyReLU(2.0), fnn.Dense(5), fnn.Sigmoid(), fnn.Dense(3)]
        model = fnn.Sequential([fnn.Flatten(), *layers], dtype=dtype, seed=2).build((2, 2))
        begin = [p.astype(np.float64) for p in model.named_parameters().values()]
        model.parameters += rng.standard_normal(model.n_parameters)
        now = [np.float64(p) for p in model.named_parameters().values()]
        found = norm_measures(model)
        assert found.names == ("1 Dense", "3 Dense", "5 Dense")
        ways = [w - v for w, v in zip(now[::2], begin[::2], strict=True)]
        spectral = [np.linalg.svd(w)[1][0] for w in now[::2]]
        two_one = [sum(np.sqrt(sum(column**2)) for column in w.T) for w in ways]
        for name, values in (
            ("spectral", spectral),
            ("frobenius", [np.sqrt((w**2).sum()) for w in now[::2]]),
            ("distance", [np.sqrt((w**2).sum()) for w in ways]),
            ("distance_2_1", two_one),
        ):
            np.testing.assert_allclose(getattr(found, name), values, rtol=1e-12)
        product = 2 * 0.25 * np.prod(spectral)
        np.testing.assert_allclose(found.spectral_product, product, rtol=1e-12)
        parts = (np.array(two_one) / spectral) ** (2 / 3)
        np.testing.assert_allclose(found.spectral_complexity, product * parts.sum() ** 1.5)
        zero = norm_measures(model, reference=np.zeros(model.n_parameters))
        np.testing.assert_allclose(zero.distance, found.frobenius, rtol=1e-12)

        total, (u, b, v, c, w, d) = 0.0, now  # each way from an input, or a bias, to an output
        for k in range(3):
            total += d[k] ** 2
            for j in range(5):
                total += (c[j] * w[j, k]) ** 2
                for i in range(6):
                    total += (b[i] * v[i, j] * w[j, k]) ** 2
                    total += sum((u[h, i] * v[i, j] * w[j, k]) ** 2 for h in range(4))
        np.testing.assert_allclose(found.path_norm, np.sqrt(total), rtol=1e-12)

    def test_no_change_is_larger_than_the_product(self, rng):
        layers = [fnn.Dense(8), fnn.Tanh(), fnn.Dense(8), fnn.ELU(3.0), fnn.Dense(2)]
        model = fnn.Sequential(layers, dtype="float64").build(4)
        X = rng.standard_normal((50, 4))
        Z = X + 1e-3 * rng.standard_normal((50, 4))
        moved = np.linalg.norm(model.forward(X) - model.forward(Z), axis=1)
        bound = norm_measures(model).spectral_product * np.linalg.norm(X - Z, axis=1)
        assert np.all(moved <= bound)

    def test_shared_layers_and_zeros(self):
        twice = fnn.Dense(3)
        model = fnn.Sequential([twice, fnn.ReLU(), twice], dtype="float64").build(3)
        W, b = model.named_parameters().values()
        found = norm_measures(model)
        assert found.names == ("0 Dense", "2 Dense") and found.spectral[0] == found.spectral[1]
        paths = (np.ones(3) @ W**2 + b**2) @ W**2 + b**2
        np.testing.assert_allclose(found.path_norm, np.sqrt(paths.sum()), rtol=1e-12)
        assert found.spectral_complexity == 0  # where it began
        W[...] = 0
        assert norm_measures(model).spectral_complexity == 0

    @pytest.mark.parametrize(
        ("layers", "shape", "message"),
        [
            ([fnn.Dense(3), fnn.GELU()], 4, r"layers\[1\]: expected Dense or an activation"),
            ([fnn.Residual([fnn.Dense(4)])], 4, r"layers\[0\]: expected Dense or an activation"),
            ([fnn.Dense(3)], (2, 4), r"layers\[0\]: expected Dense of vectors"),
            ([fnn.Tanh()], 4, "model: expected a Dense layer"),
        ],
    )
    def test_refusals(self, layers, shape, message):
        with pytest.raises(ValueError, match=message):
            norm_measures(fnn.Sequential(layers).build(shape))

    def test_parameters_that_are_not_finite(self, rng):
        X, y = halves(rng, 40)
        model = fitted(X, y)
        model.parameters[0] = np.nan
        for call in (lambda: norm_measures(model), lambda: pac_bayes_bound(model, X, y)):
            with pytest.raises(ValueError, match="model: expected finite parameters"):
                call()


def test_pictures_and_lines(rng):
    figure = pytest.importorskip("matplotlib.figure", reason="pictures need Matplotlib")
    X, y = halves(rng, 60)
    model = fitted(X, y, [fnn.Dense(3), fnn.ReLU()])
    for found, line, label in (
        (pac_bayes_bound(model, X, y, steps=20, samples=5), "PACBayesBound(bound=", "error"),
        (margins(model, X, y), "MarginDistribution(least ", "density"),
        (margins(model, X, y, normalized=True), "MarginDistribution(normalized, least ", "density"),
        (norm_measures(model), "NormMeasures(2 layers, spectral_product=", "norm of the weight"),
    ):
        assert repr(found).startswith(line) and "\n" not in repr(found)
        axes = figure.Figure().subplots()
        assert found.plot(axes) is axes
        assert axes.has_data() and axes.get_ylabel() == label == found.plot().get_ylabel()
