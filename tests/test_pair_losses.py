"""Losses of pairs of rows: formulas, derivatives, curvature, refusals; and orders of rows."""

from __future__ import annotations

import numpy as np
import pytest

import autodiff
import pyfast_nn as fnn
from conftest import assert_same_bits
from problems import TANH, core_network, dense
from pyfast_nn import _core, curvature, losses, ops, orders

OBJECTS = {
    "info_nce": losses.InfoNCE(0.3),
    "info_nce of products": losses.InfoNCE(1.5, normalize=False),
    "supcon": losses.SupCon(0.4),
    "n_pair": losses.NPair(),
    "clip": losses.NPair(0.5, normalize=True),
    "nce": losses.NCE(0.4),
    "nce of products": losses.NCE(2, normalize=False),
    "contrastive": losses.Contrastive(2.5),
    "contrastive of directions": losses.Contrastive(normalize=True),
    "all triplets": losses.Triplet(0.7),
    "hard triplets": losses.Triplet(mining="hard"),
    "semi-hard triplets": losses.Triplet(0.5, mining="semi-hard", normalize=True),
}
every_loss = pytest.mark.parametrize("name", OBJECTS)
SGD = {"momentum": 0, "dampening": 0, "weight_decay": 0, "nesterov": 0}
PAIR_LOSSES = [name for name in losses.NAMES if losses.check(name).task == "pairs"]


def logsumexp(x):
    most = x.max(initial=-np.inf)
    return most + np.log(np.exp(x - most).sum()) if np.isfinite(most) else most


def of_anchors(loss, z, y):
    """The loss of each row of z (n, d) as an anchor, as the papers have it."""
    n, same = len(z), np.equal.outer(y, y)
    if loss.normalize:
        z = z / np.maximum(np.sqrt((z**2).sum(1)), 1e-12)[:, None]
    views = np.arange(n)
    if loss.name == "n_pair":
        views = np.array([np.sum(y[:i] == y[i]) for i in range(n)])
    result = np.zeros(n)
    for i in range(n):
        others = views != views[i]
        positives, negatives = np.flatnonzero(others & same[i]), np.flatnonzero(others & ~same[i])
        d = np.sqrt(((z - z[i]) ** 2).sum(1))
        if loss.name == "contrastive":
            terms = [d[p] ** 2 / 2 for p in positives]
            terms += [max(0, loss.margin - d[k]) ** 2 / 2 for k in negatives]
        elif loss.name == "triplet":
            terms = [0]
            if len(positives) and len(negatives):
                terms = [
                    max(0, d[p] - d[k] + loss.margin)
                    for p, k in chosen(loss, d, positives, negatives)
                ]
        else:
            s = z @ z[i] / loss.temperature
            if loss.name == "nce":
                with np.errstate(divide="ignore"):
                    odds = s - np.log(len(negatives) / max(1, len(positives)))
                wrong = [*-odds[positives], *odds[negatives]]
                terms = [np.logaddexp(0, wrong).sum() / max(1, len(positives))]
                terms *= len(positives) > 0
            elif loss.name == "supcon":
                terms = [logsumexp(s[others]) - s[p] for p in positives]
            else:
                terms = [logsumexp(s[[p, *negatives]]) - s[p] for p in positives]
        result[i] = np.mean(terms) if len(terms) else 0
    return result


def chosen(loss, d, positives, negatives):
    if loss.mining == "all":
        return [(p, k) for p in positives for k in negatives]
    if loss.mining == "hard":
        return [(positives[d[positives].argmax()], negatives[d[negatives].argmin()])]
    pairs = []
    for p in positives:
        beyond = negatives[d[negatives] > d[p]]
        pairs.append(
            (p, beyond[d[beyond].argmin()] if len(beyond) else negatives[d[negatives].argmax()])
        )
    return pairs


def draw(rng, n=101, d=37, classes=9):
    """Rows with labels, of which one has no second."""
    y = rng.integers(0, classes, n)
    y[-1] = classes
    return rng.standard_normal((n, d)), y


def compute(loss, z, y, weights=None):
    return _core.loss(loss.spec(), z, y, weights, None)


@every_loss
@pytest.mark.parametrize("shape", [(2, 1), (11, 3), (101, 37)], ids=str)
def test_value_and_gradient(isa, dtype, name, shape, rng):
    loss = OBJECTS[name]
    z, y = draw(rng, *shape, classes=max(2, shape[0] // 10))
    y[:2] = 0
    z = z.astype(dtype)
    value, dz = compute(loss, z, y)
    exact, h = z.astype(np.float64), 1e-6
    assert value == pytest.approx(
        of_anchors(loss, exact, y).mean(), rel=1e-5 if dtype == "float32" else 1e-13
    )
    v = rng.standard_normal(z.shape)
    there, back = (of_anchors(loss, exact + step * v, y).mean() for step in (h, -h))
    allowed = 1e-3 if dtype == "float32" else 1e-6
    assert np.sum(dz * v) == pytest.approx(
        (there - back) / (2 * h), rel=allowed, abs=allowed * 1e-2
    )


@every_loss
@pytest.mark.once
def test_gradient_is_that_of_torch(name, rng):
    torch = autodiff.torch()
    loss = OBJECTS[name]
    z, y = draw(rng)
    leaf = torch.tensor(z, requires_grad=True)
    rows = torch.nn.functional.normalize(leaf, dim=1) if loss.normalize else leaf
    labels = torch.tensor(y)
    same, eye = labels[:, None] == labels[None], torch.eye(len(z), dtype=torch.bool)
    if loss.name == "nce":
        positive = same & ~eye
        count = positive.sum(1, keepdim=True).clamp(min=1).double()
        odds = rows @ rows.T / loss.temperature - torch.log((~same).sum(1, keepdim=True) / count)
        terms = torch.nn.functional.softplus(torch.where(same, -odds, odds))
        per_anchor = torch.where(eye, 0, terms).sum(1) / count[:, 0] * positive.any(1)
    elif loss.name in ("info_nce", "supcon", "n_pair"):
        s = rows @ rows.T / loss.temperature
        views = torch.tril(same.int(), -1).sum(1) if loss.name == "n_pair" else torch.arange(len(z))
        others = views[:, None] != views[None]
        counts = others if loss.name == "supcon" else others & ~same
        log_sum = torch.where(counts, s, -torch.inf).logsumexp(1, keepdim=True)
        terms = log_sum - s if loss.name == "supcon" else torch.logaddexp(log_sum, s) - s
        positive = others & same
        per_anchor = torch.where(positive, terms, 0).sum(1) / positive.sum(1).clamp(min=1)
    else:
        square = (rows[:, None] - rows[None]).square().sum(2) + eye  # no root of 0
        d, positive, negative = square.sqrt(), same & ~eye, ~same
        if loss.name == "contrastive":
            terms = torch.where(positive, square / 2, (loss.margin - d).relu().square() / 2)
            per_anchor = torch.where(eye, 0, terms).sum(1) / (len(z) - 1)
        else:
            triplets = (d[:, :, None] - d[:, None, :] + loss.margin).relu()
            valid = (positive[:, :, None] & negative[:, None, :]).double()
            if loss.mining == "hard":
                furthest = torch.where(positive, d, -1).argmax(1)
                nearest = torch.where(negative, d, torch.inf).argmin(1)
                valid *= torch.nn.functional.one_hot(furthest, len(z))[:, :, None]
                valid *= torch.nn.functional.one_hot(nearest, len(z))[:, None, :]
            if loss.mining == "semi-hard":
                beyond = negative[:, None, :] & (d[:, None, :] > d[:, :, None])
                nearest = torch.where(beyond, d[:, None, :], torch.inf).argmin(2)
                last = torch.where(negative, d, -1).argmax(1)[:, None]
                other = torch.where(beyond.any(2), nearest, last)
                valid *= torch.nn.functional.one_hot(other, len(z))
            per_anchor = (triplets * valid).sum((1, 2)) / valid.sum((1, 2)).clamp(min=1)
    weights = rng.uniform(0.5, 2, len(z))
    (per_anchor @ torch.tensor(weights) / weights.sum()).backward()
    value, dz = compute(loss, z, y, weights)
    assert value == pytest.approx((of_anchors(loss, z, y) @ weights) / weights.sum(), rel=1e-13)
    np.testing.assert_allclose(dz, leaf.grad.numpy(), rtol=0, atol=1e-13)


@pytest.mark.once
def test_values_are_those_of_pytorch_metric_learning(rng):
    theirs = pytest.importorskip("pytorch_metric_learning.losses", reason="it is not installed")
    torch = autodiff.torch()
    z, y = rng.standard_normal((40, 8)), np.repeat(np.arange(20), 2)

    def value(loss):
        return float(loss(torch.tensor(z), torch.tensor(y)))

    assert ops.info_nce(z, y)[0] == pytest.approx(value(theirs.NTXentLoss(temperature=0.1)))
    assert ops.supcon(z, y)[0] == pytest.approx(value(theirs.SupConLoss(temperature=0.1)))
    y = rng.integers(0, 4, 40)
    assert ops.supcon(z, y)[0] == pytest.approx(value(theirs.SupConLoss(temperature=0.1)))


@every_loss
def test_same_bits_for_any_team(dtype, name, threads, rng):
    z, y = draw(rng)
    z = z.astype(dtype)
    value, dz = compute(OBJECTS[name], z, y)
    _core.set_num_threads(1)
    alone, expected = compute(OBJECTS[name], z, y)
    assert value == alone
    assert_same_bits(dz, expected)


@pytest.mark.parametrize("rows, units", [(64, 300), (700, 40)], ids=["by columns", "by rows"])
@pytest.mark.parametrize("name", ["supcon", "all triplets"])
def test_same_bits_in_a_network(name, rows, units, threads, rng):
    """Of a gradient, a Hessian product and an epoch, whichever way a team goes through it."""
    net = core_network("float32", 50, [dense(units), TANH, dense(16)])
    X, y = rng.standard_normal((rows, 50)), rng.integers(0, 8, rows)
    p, v = (rng.standard_normal((2, net.n_parameters)) / 5).astype(np.float32)
    loss = OBJECTS[name].spec()

    def results():
        gradient, product, trained = np.empty_like(p), np.empty_like(p), p.copy()
        value = net.loss_and_grad(p, X, y, loss, gradient)
        net.hvp(p, v, X, y, loss, product)
        report = np.zeros(3)
        net.train(
            *(trained, X, y, loss),
            order=rng_order,
            batch_size=rows // 2,
            lr=0.1,
            update=("sgd", SGD),
            state=[],
            step=0,
            report=report,
        )
        return value, gradient, product, trained, report

    rng_order = rng.permutation(rows)
    mine = results()
    _core.set_num_threads(1)
    for actual, expected in zip(mine, results(), strict=True):
        assert_same_bits(actual, expected)


@every_loss
@pytest.mark.once
def test_rows_may_come_in_any_order(name, rng):
    z, y = draw(rng)
    order = rng.permutation(len(z))
    if "n_pair" in OBJECTS[name].name:  # the first of a label and the second may change places
        y = np.repeat(np.arange(51), 2)[:101]
    value, dz = compute(OBJECTS[name], z, y)
    other, moved = compute(OBJECTS[name], z[order], y[order])
    assert other == pytest.approx(value, rel=1e-13) or name in ("n_pair", "clip")
    if name not in ("n_pair", "clip"):
        np.testing.assert_allclose(moved, dz[order], rtol=0, atol=1e-14)


@every_loss
def test_curvature(isa, name, rng):
    """Products with the Hessian, in several ways; what the Gauss-Newton matrix is."""
    loss = OBJECTS[name].spec()
    net = core_network("float64", 3, [dense(5), TANH, dense(4)])
    p = rng.standard_normal(net.n_parameters)
    X, y = rng.standard_normal((53, 3)), rng.integers(0, 6, 53)
    h = 1e-6

    def gradient(p):
        g = np.empty_like(p)
        return net.loss_and_grad(p, X, y, loss, g), g

    v = rng.standard_normal(p.size)
    expected = (gradient(p + h * v)[1] - gradient(p - h * v)[1]) / (2 * h)
    hv, form = np.empty_like(p), np.empty(1)
    net.hvp(p, v, X, y, loss, hv)
    np.testing.assert_allclose(hv, expected, rtol=0, atol=1e-6 * abs(expected).max())
    for budget in (0.0, 1e9):
        operator = _core.Operator(net, "hessian", p, X, y=y, loss=loss, memory_budget=budget)
        products = np.empty((3, p.size))
        operator.products(np.stack([v, -v, v]), products)
        np.testing.assert_allclose(products, [hv, -hv, hv], rtol=1e-12)
        operator.quadratic_forms(v[None], form)
        assert form[0] == pytest.approx(v @ hv, rel=1e-10)
    newton = _core.Operator(net, "gauss_newton", p, X, y=y, loss=loss)
    matrix = np.empty((p.size, p.size))
    newton.products(np.eye(p.size), matrix)
    size = abs(matrix).max()
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-13 * size)
    assert np.linalg.eigvalsh(matrix)[0] >= -1e-12 * size and size > 0
    values = np.empty(2)
    net.losses_along(p, v[None], np.array([[0.0], [h]]), X, y, loss, values)
    np.testing.assert_allclose(values, [gradient(p)[0], gradient(p + h * v)[0]], rtol=1e-14)


@pytest.mark.once
def test_gauss_newton_leaves_nothing_convex_out(rng):
    """Where all rows attract each other, and outputs are linear, it is the Hessian."""
    net = core_network("float64", 6, [dense(2)])
    p, v = rng.standard_normal((2, net.n_parameters))
    loss, products = losses.Contrastive().spec(), np.empty((2, 1, p.size))
    for kind, product in zip(("hessian", "gauss_newton"), products, strict=True):
        operator = _core.Operator(net, kind, p, np.eye(6), y=np.zeros(6, int), loss=loss)
        operator.products(v[None], product)
    np.testing.assert_allclose(*products, rtol=1e-13)
    assert np.any(products)


@pytest.mark.once
def test_gauss_newton_of_triplets_is_that_of_what_attracts(rng):
    """With no hinge at its kink, and linear outputs: the Hessian of distances to positives."""
    net = core_network("float64", 3, [dense(4)])
    p, v = rng.standard_normal((2, net.n_parameters))
    X, y = rng.standard_normal((8, 3)), np.array([0, 0, 0, 1, 1, 2, 2, 2])
    positive = np.equal.outer(y, y) & ~np.eye(8, dtype=bool)
    share = positive / positive.sum(1, keepdims=True) / 8

    def gradient(p):
        z = X @ p[:12].reshape(3, 4) + p[12:]
        apart = z[:, None] - z[None]
        d = np.sqrt((apart**2).sum(2)) + ~positive
        dz = ((share + share.T) / d)[:, :, None] * apart
        dz = dz.sum(1)
        return np.concatenate([(X.T @ dz).ravel(), dz.sum(0)])

    expected = (gradient(p + 1e-6 * v) - gradient(p - 1e-6 * v)) / 2e-6
    loss, product = losses.Triplet(100.0).spec(), np.empty((1, p.size))
    operator = _core.Operator(net, "gauss_newton", p, X, y=y, loss=loss)
    operator.products(v[None], product)
    np.testing.assert_allclose(product[0], expected, rtol=0, atol=1e-7 * abs(expected).max())


@pytest.mark.once
class TestDegenerate:
    def test_no_partners_and_no_negatives(self, rng):
        z = rng.standard_normal((5, 3))
        for name, loss in OBJECTS.items():
            alone, dz = compute(loss, z, np.arange(5))
            assert np.isfinite(dz).all(), name
            if loss.name != "contrastive":
                assert alone == 0 and not dz.any(), name
            together, dz = compute(loss, z, np.zeros(5, int))
            assert np.isfinite(together) and np.isfinite(dz).all(), name
            if loss.name in ("info_nce", "nce", "triplet"):
                assert together == 0 and not dz.any(), name
            one, dz = compute(loss, z[:1], np.zeros(1, int))
            assert one == 0 and not dz.any(), name

    def test_equal_rows_have_no_direction(self):
        z = np.ones((4, 3))
        for name, loss in OBJECTS.items():
            value, dz = compute(loss, z, np.array([0, 0, 1, 1]))
            assert np.isfinite(value) and np.isfinite(dz).all(), name
            if name != "nce of products":  # which judges how long they are
                assert abs(dz).max() < 1e-12, name

    def test_a_row_of_zeros(self, rng):
        """As torch's normalize: its length counts as 1e-12."""
        z = rng.standard_normal((4, 3))
        z[1] = 0
        value, dz = compute(losses.InfoNCE(), z, np.array([0, 0, 1, 1]))
        assert np.isfinite(value) and np.isfinite(dz).all() and abs(dz[1]).max() > 1e9

    def test_a_row_that_is_almost_zero(self, rng):
        """Its length counts as 1e-12, and so as a constant."""
        z, y, loss = rng.standard_normal((4, 3)), np.array([0, 0, 1, 1]), losses.InfoNCE()
        z[1] *= 1e-13
        v = np.zeros((4, 3))
        v[1] = z[1] * 1e13
        _, dz = compute(loss, z, y)
        there, back = (of_anchors(loss, z + step * v, y).mean() for step in (1e-17, -1e-17))
        assert np.sum(dz * v) == pytest.approx((there - back) / 2e-17, rel=1e-5)

    def test_large_numbers(self, rng):
        z = rng.standard_normal((6, 3)).astype(np.float32)
        y = np.array([0, 0, 1, 1, 2, 2])
        for loss in (losses.InfoNCE(1e-3), losses.NPair(), losses.SupCon(1e-3), losses.NCE(1e-3)):
            value, dz = compute(loss, z * 1e3, y)
            assert np.isfinite(value) and np.isfinite(dz).all()

    def test_nan_comes_through(self, rng):
        z, y = draw(rng, 12, 3, 3)
        y[:2] = 0
        z[1, 2] = np.nan
        for name, loss in OBJECTS.items():
            value, dz = compute(loss, z, y)
            assert np.isnan(value) and np.isnan(dz[1]).all(), name
        z[:, 2] = 0
        z[-1, 2] = np.nan  # alone with its label, and so nobody's positive
        for name, loss in OBJECTS.items():
            assert np.isnan(compute(loss, z, y)[0]), name


def encoder(**keywords):
    layers = [fnn.Dense(12), fnn.Tanh(), fnn.Dense(4)]
    return fnn.Sequential(layers, dtype="float64", seed=1, **keywords)


def clusters(rng, per_class=12, columns=10):
    """Four classes that differ in two of the columns."""
    y = np.repeat(np.arange(4), per_class)
    X = rng.standard_normal((len(y), columns))
    X[:, :2] += 3 * np.stack([np.cos(y * np.pi / 2), np.sin(y * np.pi / 2)], axis=1)
    return X, y


@pytest.mark.once
class TestModels:
    @every_loss
    def test_calls_agree(self, name, rng):
        """What is trained on is a batch; everywhere else all rows are one."""
        loss = OBJECTS[name]
        X, y = clusters(rng, 5)
        model = encoder().build(10)
        expected = of_anchors(loss, model.forward(X), y).mean()
        assert model.evaluate(X, y, loss=loss) == {"loss": pytest.approx(expected)}
        value, gradient = model.loss_and_grad(X, y, loss=loss)
        assert value == pytest.approx(expected)
        model.parameters[:] -= 1e-7 * gradient
        lower = model.evaluate(X, y, loss=loss)["loss"]
        assert value - lower == pytest.approx(1e-7 * gradient @ gradient, rel=1e-3)
        names = np.array(["d", "a", "c", "b"])[y]
        assert model.evaluate(X, names, loss=loss)["loss"] == pytest.approx(lower)

    @every_loss
    def test_batches_of_a_fit(self, name, rng):
        loss = OBJECTS[name]
        X, y = clusters(rng, 5)
        order = rng.permutation(20)
        X, y = X[order], y[order]
        model = encoder().build(10)
        out = model.forward(X)
        batches = [slice(0, 8), slice(8, 16), slice(16, 20)]
        expected = np.concatenate([of_anchors(loss, out[rows], y[rows]) for rows in batches])

        def fit(*data, **options):
            standing = fnn.optim.SGD(lr=1e-12)
            return encoder().fit(*data, loss=loss, optimizer=standing, epochs=1, **options)

        history = fit(X, y, shuffle=False, batch_size=8)
        assert list(history) == ["loss", "lr", "seconds"]
        assert history["loss"][0] == pytest.approx(expected.mean(), rel=1e-9)
        assert fit([(X[rows], y[rows]) for rows in batches])["loss"] == history["loss"]
        as_one = fit(X, y, shuffle=False, batch_size=8, gradient_accumulation_steps=3)
        assert as_one["loss"][0] == pytest.approx(expected.mean(), rel=1e-9)

    @pytest.mark.parametrize("name", PAIR_LOSSES)
    def test_it_learns(self, name, restore_threads):
        """What a nearest neighbour reads off the outputs; measured: from 0.56-0.67 to 0.78-0.94."""
        rng = np.random.default_rng(0)
        X, y = clusters(rng, 50, 20)
        Xt, yt = clusters(rng, 50, 20)
        loss = losses.Contrastive(5) if name == "contrastive" else name

        def right(model):
            a, b = model.forward(X), model.forward(Xt)
            return np.mean(y[((b[:, None] - a[None]) ** 2).sum(2).argmin(1)] == yt)

        fits = []
        for threads in (1, 3):
            fnn.set_num_threads(threads)
            model = fnn.Sequential([fnn.Dense(32), fnn.ReLU(), fnn.Dense(8)], seed=1).build(20)
            before = right(model)
            history = model.fit(
                *(X, y),
                loss=loss,
                per_class=4,
                batch_size=40,
                epochs=30,
                validation_data=(Xt, yt),
            )
            fits.append(model.parameters.copy())
        assert_same_bits(*fits)
        assert history["loss"][-1] < 0.6 * history["loss"][0] and "val_loss" in history
        assert right(model) > before + 0.1

    def test_weights_are_those_of_anchors(self, rng):
        X, y = clusters(rng, 5)
        weights = rng.uniform(0.5, 2, 20)
        model, loss = encoder().build(10), losses.SupCon()
        each = of_anchors(loss, model.forward(X), y)
        weighted = model.evaluate(X, y, loss=loss, sample_weight=weights)["loss"]
        assert weighted == pytest.approx(each @ weights / weights.sum())
        weights[:7] = 0  # as if these were not there
        some = model.evaluate(X, y, loss=loss, sample_weight=weights > 0)["loss"]
        assert some == pytest.approx(model.evaluate(X[7:], y[7:], loss=loss)["loss"])

    def test_beside_layers_that_couple_rows(self, rng):
        """Batch norm in training: rows meet in both."""
        X, y = clusters(rng, 5)
        layers = [fnn.Dense(8), fnn.BatchNorm(), fnn.Tanh(), fnn.Dropout(0.2), fnn.Dense(4)]
        model = fnn.Sequential(layers, dtype="float64", seed=1).build(10)
        options, h = {"loss": "supcon", "training": True, "seed": 3}, 1e-6
        value, gradient = model.loss_and_grad(X, y, **options)
        out = model.forward(X, training=True, seed=3)
        assert value == pytest.approx(of_anchors(losses.SupCon(), out, y).mean())
        v = rng.standard_normal(model.n_parameters)
        product, start = model.hvp(X, y, v, **options), model.parameters.copy()
        near = []
        for step in (h, -h):
            model.parameters[:] = start + step * v
            near.append(model.loss_and_grad(X, y, **options))
        assert (near[0][0] - near[1][0]) / (2 * h) == pytest.approx(gradient @ v, rel=1e-6)
        expected = (near[0][1] - near[1][1]) / (2 * h)
        np.testing.assert_allclose(product, expected, rtol=0, atol=1e-6 * abs(expected).max())

    def test_what_a_model_makes_of_it(self, tmp_path, rng):
        X, y = clusters(rng)
        model = encoder()
        loss = losses.Triplet(0.5, mining="semi-hard")
        model.fit(X, y, loss=loss, epochs=2)
        assert model.classes_ is None
        np.testing.assert_array_equal(model.predict(X), model.forward(X))
        with pytest.raises(ValueError, match="probabilities"):
            model.predict_proba(X)
        model.save(tmp_path / "model.safetensors")
        assert fnn.load(tmp_path / "model.safetensors").loss == loss
        head = fnn.Sequential([*model.layers, fnn.ReLU(), fnn.Dense(4)])
        assert head.fit(X, y, loss="cross_entropy", epochs=1)["accuracy"]

    def test_what_is_refused(self, rng):
        X, y = clusters(rng)
        order, others = np.arange(48).reshape(4, 12).T.ravel(), np.tile(np.arange(24), 2)
        model = encoder().build(10)
        operator = curvature.GaussNewton(model, X, y, loss="supcon")
        for call, message in [
            (lambda: curvature.EmpiricalFisher(model, X, y, loss="supcon"), "pairs of rows"),
            (lambda: curvature.exact_trace(operator), "loss: .* by itself, got 'supcon'"),
            (lambda: curvature.sampled_trace(operator), "loss: .* by itself, got 'supcon'"),
            (
                lambda: curvature.per_example_gradients(model, X, y, loss="supcon"),
                "loss: .* by itself, got 'supcon'",
            ),
            (
                lambda: model.fit(X, y, loss="supcon", callbacks=[fnn.CurvatureMonitor(X, y)]),
                "loss: .* by itself, got 'supcon'",
            ),
            (
                lambda: model.fit(X, y, loss="supcon", class_weight="balanced"),
                "class_weight: .*'supcon'",
            ),
            (
                lambda: model.fit(X, np.arange(48), loss="info_nce"),
                "y: expected labels that rows share",
            ),
            (
                lambda: model.fit(X, np.arange(48) // 2, loss="info_nce", batch_size=4),
                "groups: expected groups=y",
            ),
            (  # as they come, no batch has two of one label
                lambda: model.fit(X[order], y[order], loss="supcon", shuffle=False, batch_size=4),
                "groups: expected groups=y",
            ),
            (
                lambda: model.fit(X, y, loss="supcon", groups=others, batch_size=2),
                "groups: expected rows that share a label in each, .*, got others",
            ),
            (  # of each label one
                lambda: model.fit(X, np.arange(48) // 4, loss="supcon", validation_split=0.25),
                "validation_split: expected labels that rows share",
            ),
            (lambda: model.fit(X, y, loss="supcon", metrics="accuracy"), "metrics"),
            (lambda: model.fit(X, y[:, None] + [0, 1], loss="supcon"), r"y: expected shape \(n,\)"),
            (lambda: model.fit(X, y, loss="supcon", monitor="accuracy", patience=1), "monitor"),
            (lambda: model.fit(X, y, loss="supcon", mixup=0.2), "mixup: expected 0"),
            (lambda: losses.Triplet(mining="soft"), "mining: expected"),
            (lambda: losses.InfoNCE(0), "temperature: expected"),
            (lambda: losses.Contrastive(-1), "margin: expected"),
        ]:
            with pytest.raises(ValueError, match=message):
                call()
        with pytest.raises(ValueError, match="batch_size: expected None beside batches"):
            model.fit([(X, y)], loss="supcon", batch_size=8)
        with pytest.raises(ValueError, match="loss: expected one of values"):
            encoder(standardize_targets=True).fit(X, y, loss="supcon")


def over_positions(**keywords):
    """A network of each position by itself, of examples with three of them."""
    return encoder(**keywords).build((3, 10))


def as_rows(values):
    """What has a row for each example, as it is with one for each position."""
    return values.reshape(-1, *values.shape[2:])


@pytest.mark.once
class TestPositions:
    """Each position of the outputs is a row: as if it were an example."""

    @every_loss
    def test_all_that_is_computed(self, name, rng):
        loss = OBJECTS[name]
        X, y = rng.standard_normal((11, 3, 10)), rng.integers(0, 7, (11, 3))
        weights = rng.uniform(0.5, 2, (11, 3))
        model, alone = over_positions(), encoder().build(10)
        out = as_rows(model.forward(X))
        each = of_anchors(loss, out, y.ravel())
        assert model.evaluate(X, y, loss=loss)["loss"] == pytest.approx(each.mean())
        weighted = each @ weights.ravel() / weights.sum()
        options = {"loss": loss, "sample_weight": weights}
        assert model.evaluate(X, y, **options)["loss"] == pytest.approx(weighted)

        v = rng.standard_normal(model.n_parameters)
        results = []
        for each_model, data in (
            (model, (X, y, weights)),
            (alone, (as_rows(X), y.ravel(), weights.ravel())),
        ):
            options = {"loss": loss, "sample_weight": data[2]}
            newton = curvature.GaussNewton(each_model, *data[:2], **options)
            hessian = curvature.Hessian(each_model, *data[:2], **options)
            line = fnn.inspect.loss_landscape(each_model, *data[:2], v, [-0.1, 0.2], loss=loss)
            results.append(
                [
                    *each_model.loss_and_grad(*data[:2], **options),
                    each_model.hvp(*data[:2], v, **options),
                    *(hessian @ v, newton @ v, line.losses),
                ]
            )
        for actual, expected in zip(*results, strict=True):
            size = np.abs(expected).max()
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12 * size)

    @every_loss
    def test_a_fit(self, name, rng):
        X, y = rng.standard_normal((11, 3, 10)), rng.integers(0, 4, (11, 3))
        weights = rng.uniform(0.5, 2, (11, 3))
        options = {"loss": OBJECTS[name], "shuffle": False, "epochs": 3}
        model, alone = over_positions(), encoder()
        mine = model.fit(X, y, batch_size=4, sample_weight=weights, **options)
        rows = as_rows(X), y.ravel()
        theirs = alone.fit(*rows, batch_size=12, sample_weight=weights.ravel(), **options)
        np.testing.assert_allclose(mine["loss"], theirs["loss"], rtol=1e-9)
        np.testing.assert_allclose(model.parameters, alone.parameters, rtol=0, atol=1e-9)

    @every_loss
    def test_what_does_not_exist_is_compared_with_nothing(self, name, rng):
        """Positions of weight 0, and those behind the length of an example."""
        loss = OBJECTS[name]
        X, y = rng.standard_normal((11, 3, 10)), rng.integers(0, 4, (11, 3))
        lengths = rng.integers(0, 4, 11)
        lengths[:2] = 3, 1
        exist = np.arange(3) < lengths[:, None]
        X[~exist] = 1e30
        weights = rng.uniform(0.5, 2, (11, 3))
        alone = encoder().build(10)
        kept = {"loss": loss, "sample_weight": weights[exist]}
        value, gradient = alone.loss_and_grad(X[exist], y[exist], **kept)
        v = rng.standard_normal(alone.n_parameters)
        product = alone.hvp(X[exist], y[exist], v, **kept)
        with_lengths = encoder().build((3, 10), lengths=True)
        for model, data, own in (
            (with_lengths, (X, lengths), weights),
            (over_positions(), X, np.where(exist, weights, 0)),
        ):
            options = {"loss": loss, "sample_weight": own}
            actual = model.loss_and_grad(data, y, **options)
            assert actual[0] == pytest.approx(value, rel=1e-12)
            size = np.abs(gradient).max()
            np.testing.assert_allclose(actual[1], gradient, rtol=0, atol=1e-12 * size)
            moved = model.hvp(data, y, v, **options)
            size = np.abs(product).max()
            np.testing.assert_allclose(moved, product, rtol=0, atol=1e-11 * size)

        standing = {"loss": loss, "optimizer": fnn.optim.SGD(lr=1e-12), "epochs": 1}
        out = alone.forward(as_rows(X)).reshape(11, 3, -1)
        total, some = 0.0, np.flatnonzero(exist.any(axis=1))  # others are in no batch
        for rows in (some[:4], some[4:8], some[8:]):
            there = exist[rows]
            total += of_anchors(loss, out[rows][there], y[rows][there]).sum()
        model = encoder()
        history = model.fit((X, lengths), y, shuffle=False, batch_size=4, **standing)
        assert history["loss"][0] == pytest.approx(total / exist.sum(), rel=1e-9)

    def test_two_parts_of_a_network_meet(self, rng):
        """The loss of CLIP, by torch: which prediction belongs to which encoding."""
        torch = autodiff.torch()
        here, there = [fnn.Dense(6), fnn.Tanh(), fnn.Dense(8)], [fnn.Dense(8)]
        parts = fnn.Columns([(slice(4), here), (slice(4, 10), there)])
        layers = [parts, fnn.Reshape((4, 4))]  # two predictions, then what they are of
        model = fnn.Sequential(layers, dtype="float64", seed=1).build(10)
        X = rng.standard_normal((15, 10))
        y = np.arange(30).reshape(15, 2)[:, [0, 1, 0, 1]]
        loss = losses.NPair(0.3, normalize=True)
        out, pullback = model.vjp(X)
        leaf = torch.tensor(out, requires_grad=True)
        rows = torch.nn.functional.normalize(leaf, dim=-1).reshape(15, 2, 2, 4)
        logits = rows[:, 0].reshape(30, 4) @ rows[:, 1].reshape(30, 4).T / 0.3
        cross_entropy, own = torch.nn.functional.cross_entropy, torch.arange(30)
        expected = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
        expected.backward()
        value, gradient = model.loss_and_grad(X, y, loss=loss)
        assert value == pytest.approx(float(expected.detach()), rel=1e-13)
        dparameters, _ = pullback(leaf.grad.numpy())
        np.testing.assert_allclose(gradient, dparameters, rtol=0, atol=1e-14)

    @pytest.mark.parametrize("name", ["supcon", "clip", "all triplets"])
    def test_same_bits_for_any_team(self, name, threads, rng):
        X, y = rng.standard_normal((90, 3, 10)), rng.integers(0, 30, (90, 3))
        weights = rng.uniform(0.5, 2, (90, 3)) * (rng.random((90, 3)) > 0.3)
        v = rng.standard_normal(over_positions().n_parameters)
        options = {"loss": OBJECTS[name], "sample_weight": weights}

        def results():
            model = over_positions()
            computed = [*model.loss_and_grad(X, y, **options), model.hvp(X, y, v, **options)]
            model.fit(X, y, epochs=2, batch_size=40, **options)
            return [np.asarray(each) for each in (*computed, model.parameters)]

        mine = results()
        _core.set_num_threads(1)
        for actual, expected in zip(mine, results(), strict=True):
            assert_same_bits(actual, expected)

    def test_other_ways_of_a_fit(self, rng):
        X, y = rng.standard_normal((12, 3, 10)), rng.integers(0, 3, (12, 3))
        weights = np.where(rng.random((12, 3)) > 0.3, 1.0, 0)
        parts = [(X[i : i + 4], y[i : i + 4]) for i in (0, 4, 8)]
        stream, whole = over_positions(), over_positions()
        stream.fit(parts, loss="supcon", epochs=2)
        whole.fit(X, y, loss="supcon", epochs=2, batch_size=4, shuffle=False)
        assert_same_bits(stream.parameters, whole.parameters)
        again = over_positions()
        history = again.fit(
            X, y, loss="info_nce", epochs=2, sample_weight=weights, validation_split=0.25
        )
        assert np.isfinite(history["val_loss"]).all()
        pairs = np.arange(12) // 2
        again.fit(X, y, loss="info_nce", groups=pairs, batch_size=4, epochs=1)

    def test_what_is_refused(self, rng):
        X, y = rng.standard_normal((12, 3, 10)), rng.integers(0, 3, (12, 3))
        model = over_positions()
        for labels, options, message in [
            (y[:, 0], {}, r"y: expected shape \(12, 3\)"),
            (y[:, :2], {}, r"y: expected shape \(12, 3\)"),
            (np.arange(36).reshape(12, 3), {}, "y: expected labels that rows share"),
            (
                np.arange(36).reshape(12, 3) % 18,
                {"shuffle": False, "batch_size": 2},
                "groups: expected rows that share a label in each, .*, got None",
            ),
            (y, {"per_class": 2}, "per_class: expected one label for each example"),
        ]:
            with pytest.raises(ValueError, match=message):
                model.fit(X, labels, loss="supcon", epochs=1, **options)


@pytest.mark.once
class TestOrders:
    """Rows that belong together come in one batch."""

    def test_groups(self, rng):
        groups = rng.permutation(np.repeat(np.arange(12), 2))
        order = orders.by_groups(groups, 6, shuffle=True)
        first, again, later = order(3, 0), order(3, 0), order(3, 1)
        assert sorted(first) == list(range(24))
        assert (first == again).all() and (first != later).any() and (first != order(4, 0)).any()
        np.testing.assert_array_equal(groups[first][::2], groups[first][1::2])
        kept = orders.by_groups(groups, 6, shuffle=False)(3, 0)
        np.testing.assert_array_equal(groups[kept][::2], groups[kept][1::2])
        _, firsts = np.unique(groups, return_index=True)
        np.testing.assert_array_equal(kept[::2], np.sort(firsts))

    def test_per_class(self):
        y = np.repeat([7, 8, 9], [4, 8, 12])
        order = orders.by_classes(y, 2, 6)
        for batch in order(3, 0).reshape(4, 6):
            assert len(set(batch)) == 6 and sorted(y[batch]) == [7, 7, 8, 8, 9, 9]
        epochs = [order(3, epoch) for epoch in range(30)]
        assert (epochs[0] != epochs[1]).any() and (epochs[0] == order(3, 0)).all()
        counts = np.bincount(np.concatenate(epochs), minlength=24)
        assert (counts[:4] == 60).all() and (counts[4:12] == 30).all()
        assert counts[12:].min() > 10 and counts[12:].sum() == 240

    def test_in_a_fit(self, rng):
        X, y = clusters(rng)
        pairs = np.arange(48) // 2
        model = encoder()
        first = model.fit(X, pairs, loss="info_nce", groups=pairs, batch_size=8, epochs=2)
        again = encoder().fit(
            X, pairs, loss="info_nce", groups=pairs.astype(str), batch_size=8, epochs=2
        )
        assert first["loss"] == again["loss"] and min(first["loss"]) > 0
        hashes = pairs.astype("u8") * 3 + 2**63 - 5  # some of which are no int64
        again = encoder().fit(X, hashes, loss="info_nce", groups=hashes, batch_size=8, epochs=2)
        assert first["loss"] == again["loss"]
        classifier = fnn.Sequential([fnn.Dense(4)], seed=0)
        assert classifier.fit(X, y, loss="cross_entropy", per_class=2, epochs=1)["accuracy"]
        weights = np.repeat([1.0, 0.0, 2.0], 16)
        encoder().fit(
            X, pairs, loss="info_nce", groups=pairs, batch_size=8, epochs=1, sample_weight=weights
        )

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"groups": np.arange(600) // 3}, 126),
            ({"groups": np.arange(600) // 60}, 120),
            ({"groups": np.arange(600) // 100}, 200),
            ({"groups": np.arange(600) // 150}, 300),
            ({"per_class": 5}, 125),
            ({"per_class": 2}, 128),
            ({}, 128),
        ],
    )
    def test_batches_that_fit(self, rng, options, expected):
        """Unless their size is said."""
        X, y = rng.standard_normal((600, 3)), rng.integers(0, 3, 600)
        y = options.get("groups", y)
        models = []
        for given in ({}, {"batch_size": expected}):
            model, sgd = fnn.Sequential([fnn.Dense(3)], seed=0), fnn.optim.SGD(lr=0.1)
            model.fit(X, y, loss="supcon", epochs=1, optimizer=sgd, **given, **options)
            assert sgd.step_count == -(-600 // expected)
            models.append(model)
        assert_same_bits(models[0].parameters, models[1].parameters)

    def test_what_is_refused(self, rng):
        X, y = clusters(rng)
        pairs = np.arange(48) // 2
        for options, message in [
            ({"groups": pairs, "batch_size": 7}, "batch_size: expected a multiple of 2"),
            ({"groups": np.arange(48) // 5}, "groups: expected two rows or more in each"),
            ({"groups": np.arange(48)}, "groups: expected two rows or more in each"),
            ({"groups": pairs[:-1]}, r"groups: expected shape \(48,\)"),
            ({"groups": pairs, "per_class": 2}, "per_class: expected None beside groups"),
            (
                {"groups": pairs, "validation_split": 0.5},
                "validation_split: expected None beside groups",
            ),
            ({"per_class": 1}, "per_class: expected"),
            ({"per_class": 13, "batch_size": 26}, "per_class: expected at most 12"),
            (
                {"per_class": 5, "batch_size": 128},
                "batch_size: expected a multiple of per_class",
            ),
            ({"per_class": 2, "shuffle": False}, "per_class: expected None with shuffle=False"),
        ]:
            with pytest.raises(ValueError, match=message):
                encoder().fit(X, y, loss="supcon", epochs=1, **options)
        with pytest.raises(ValueError, match="per_class: expected one label for each"):
            encoder().fit(X, X[:, :4], loss="mse", per_class=2)
        with pytest.raises(ValueError, match="groups: expected none beside batches"):
            encoder().fit([(X, y)], loss="supcon", groups=y)
