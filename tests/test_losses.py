"""Every loss: values, derivatives, weights, what targets it takes, and what it makes of outputs."""

from __future__ import annotations

import numpy as np
import pytest

import autodiff
import oracle
import pyfast_nn as fnn
from conftest import FULL, THREADS, assert_close, assert_same_bits, tolerance
from problems import RELU, SIGMOID, TANH, Problem, core_network, dense, draw_parameters
from pyfast_nn import _core, losses

# How a test names a loss with its parameters, and the kind of targets.
CASES = {
    "cross_entropy": (oracle.CROSS_ENTROPY, "labels"),
    "smoothed": (("cross_entropy", {"label_smoothing": 0.2, "confidence_penalty": 0.0}), "labels"),
    "penalised": (
        ("cross_entropy", {"label_smoothing": 0.0, "confidence_penalty": 0.3}),
        "probabilities",
    ),
    "both": (("cross_entropy", {"label_smoothing": 0.1, "confidence_penalty": 2.0}), "labels"),
    "multi_margin": (("multi_margin", {"margin": 1.0}), "labels"),
    "wide margin": (("multi_margin", {"margin": 2.5}), "labels"),
    "binary_cross_entropy": (("binary_cross_entropy", {}), "binary"),
    "soft binary": (("binary_cross_entropy", {}), "chances"),
    "hinge": (("hinge", {}), "signs"),
    "mse": (oracle.MSE, "values"),
    "mae": (("mae", {}), "values"),
    "huber": (("huber", {"delta": 1.0}), "values"),
    "narrow huber": (("huber", {"delta": 0.3}), "values"),
    "poisson": (("poisson", {}), "counts"),
    "log_cosh": (("log_cosh", {}), "values"),
    "quantile": (("quantile", {"q": 0.5}), "values"),
    "high quantile": (("quantile", {"q": 0.9}), "values"),
}
every_case = pytest.mark.parametrize("case", CASES)
WIDTHS = (1, 2, 3, 10, 16, 17, 33, 70) if FULL else (1, 3, 16, 33)


def draw_targets(rng, rows, width, kind, dtype):
    if kind == "labels":
        return rng.integers(0, width, rows)
    y = {
        "probabilities": lambda: rng.dirichlet(np.ones(width), rows),
        "binary": lambda: rng.integers(0, 2, (rows, width)),
        "chances": lambda: rng.uniform(size=(rows, width)),
        "signs": lambda: rng.choice([-1, 1], (rows, width)),
        "values": lambda: rng.standard_normal((rows, width)),
        "counts": lambda: rng.poisson(2, (rows, width)),
    }[kind]()
    return y.astype(dtype)


class Outputs:
    """A network without hidden units on the rows of the identity: its weight is its output, so the
    gradient and the Hessian in the outputs are those in the parameters."""

    def __init__(self, Z):
        self.rows, self.width = Z.shape
        self.net = core_network(Z.dtype.name, self.rows, [dense(self.width)])
        self.X = np.eye(self.rows, dtype=Z.dtype)
        self.parameters = self.flat(Z)

    def flat(self, Z):
        return np.concatenate([Z.ravel(), np.zeros(self.width, Z.dtype)])

    def derivatives(self, y, loss, dz, weights=None):
        """Return the loss, its gradient in Z, and its Hessian times dz."""
        gradient, product = np.full((2, *self.parameters.shape), np.nan, self.net.dtype)
        call = (self.X, y, loss)
        value = self.net.loss_and_grad(self.parameters, *call, gradient, weights=weights)
        self.net.hvp(self.parameters, self.flat(dz), *call, product, weights=weights)
        np.testing.assert_equal(
            self.net.evaluate(self.parameters, *call, weights=weights)[0], value
        )
        size = self.rows * self.width
        return value, *(x[:size].reshape(self.rows, self.width) for x in (gradient, product))

    def accuracy(self, y, loss, weights=None):
        return self.net.evaluate(self.parameters, self.X, y, loss, weights=weights)[1]


def assert_near(actual, expected, dtype, rows):
    """Compare relative to the largest number, or to the share of a row where those are small."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    atol = tolerance(dtype, 8) * max(abs(expected).max(), 1 / rows)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


def check_derivatives(Z, y, loss, dz, weights=None):
    actual = Outputs(Z).derivatives(y, loss, dz, weights)
    z = Z.astype(np.float64)
    expected = (
        oracle.loss_value(z, y, loss, weights),
        oracle.loss_gradient(z, y, loss, weights),
        oracle.loss_hvp(z, dz.astype(np.float64), y, loss, weights),
    )
    for a, e in zip(actual, expected, strict=True):
        assert_near(a, e, Z.dtype, len(Z))


# --------------------------------------------------------------------------------- in the outputs


@every_case
def test_against_the_oracle(isa, dtype, rng, case):
    loss, kind = CASES[case]
    for width in WIDTHS:
        for rows in (1, 2, 19, 40):
            Z, dz = rng.standard_normal((2, rows, width)).astype(dtype)
            y = draw_targets(rng, rows, width, kind, dtype)
            check_derivatives(2 * Z, y, loss, dz)
            weights = rng.uniform(0, 3, rows).astype(dtype)
            check_derivatives(2 * Z, y, loss, dz, weights)
            accuracy = Outputs(Z).accuracy(y, loss, weights)
            expected = oracle.right_rows(Z, y, loss) @ weights.astype(np.float64)
            assert accuracy == pytest.approx(expected / weights.sum(dtype=np.float64), rel=1e-12)


@every_case
def test_against_torch(isa, rng, case):
    torch, (loss, kind) = autodiff.torch(), CASES[case]
    for rows, width in [(1, 4), (23, 1), (23, 5), (9, 40)]:
        if width == 1 and loss[0] == "multi_margin":
            continue  # torch: inconsistent sizes
        Z, dz = rng.standard_normal((2, rows, width))
        y = draw_targets(rng, rows, width, kind, "float64")
        z = torch.tensor(2 * Z, requires_grad=True)
        value = autodiff.loss_of(z, torch.tensor(y), loss)
        (gradient,) = torch.autograd.grad(value, z, create_graph=True)
        product = torch.zeros_like(z)
        if loss[0] not in ("mae", "quantile", "hinge", "multi_margin"):  # of straight pieces
            (product,) = torch.autograd.grad(gradient, z, torch.tensor(dz))
        actual = Outputs(2 * Z).derivatives(y, loss, dz)
        for a, e in zip(actual, (value, gradient, product), strict=True):
            assert_near(a, e.detach().numpy(), "float64", rows)


@every_case
def test_central_differences(isa, rng, case):
    """The gradient is that of the value, the product that of the gradient."""
    loss, kind = CASES[case]
    rows, width, step = 7, 5, 1e-6
    Z, dz = rng.standard_normal((2, rows, width))
    y = draw_targets(rng, rows, width, kind, "float64")
    _, gradient, product = Outputs(Z).derivatives(y, loss, dz)
    ends = [Outputs(Z + sign * step * dz).derivatives(y, loss, dz) for sign in (1, -1)]
    assert (ends[0][0] - ends[1][0]) / (2 * step) == pytest.approx((gradient * dz).sum(), abs=1e-8)
    difference = (ends[0][1] - ends[1][1]) / (2 * step)
    np.testing.assert_allclose(product, difference, rtol=0, atol=1e-8)


@every_case
def test_extreme_outputs(isa, dtype, rng, case):
    """Each row by itself, so that small numbers show beside large ones."""
    loss, kind = CASES[case]
    eps = float(np.finfo(dtype).eps)
    for width in (1, 10, 33):
        direction = rng.standard_normal(width)
        rows = [direction * 0 - 200, direction * 0 + 200, direction - 200, direction * 1e-4]
        rows += [size * d for size in (20, 200, 1e4, -1e4) for d in (direction, np.abs(direction))]
        rows += [1e30 * direction, 1e4 * np.eye(width)[0]]
        Z = np.array(rows, dtype)
        if loss[0] == "poisson":
            Z = np.minimum(Z, 60)  # beyond 88 its float32 value is infinite
        y = draw_targets(rng, len(Z), width, kind, dtype)
        for z, target in zip(Z, y, strict=True):
            z, target = z[None], np.asarray(target)[None]
            dz = rng.uniform(-1, 1, z.shape).astype(dtype)
            actual = Outputs(z).derivatives(target, loss, dz)
            exact = z.astype(np.float64)
            if loss[0] == "mse" and abs(z).max() > 1e20 and dtype == "float32":
                assert np.isinf(actual[0])  # as the value is, rounded to float32
                continue
            expected = [
                oracle.loss_value(exact, target, loss),
                oracle.loss_gradient(exact, target, loss),
                oracle.loss_hvp(exact, dz.astype(np.float64), target, loss),
            ]
            scale = abs(expected[0]) + np.ptp(exact) * (loss[0] == "cross_entropy") + 1
            assert abs(actual[0] - expected[0]) <= 32 * eps * scale
            for a, e in zip(actual[1:], expected[1:], strict=True):
                assert np.isfinite(a).all()
                # a log p is as wrong as the logits are large
                size = (
                    1 + abs(e).max() + (np.ptp(exact) if loss[1].get("confidence_penalty") else 0)
                )
                np.testing.assert_allclose(a, e, rtol=0, atol=32 * eps * size)


@pytest.mark.parametrize("z", [1e-4, 0.01, 0.9999, 1.0001, 5.0, 15.0, 40.0])
def test_small_numbers_are_exact(isa, dtype, z):
    """Relative errors stay at rounding where a textbook formula would cancel."""
    z = np.array([[z, -z]], dtype)
    exact, ones = z.astype(np.float64), np.ones_like(z)
    for loss, y in [
        (CASES["binary_cross_entropy"][0], np.array([[1, 0]], dtype)),
        (CASES["log_cosh"][0], 0 * z),
    ]:
        value, gradient, product = Outputs(z).derivatives(y, loss, ones)
        rtol = 32 * float(np.finfo(dtype).eps)
        np.testing.assert_allclose(value, oracle.loss_value(exact, y, loss), rtol=rtol)
        np.testing.assert_allclose(gradient, oracle.loss_gradient(exact, y, loss), rtol=rtol)
        expected = oracle.loss_hvp(exact, ones.astype(np.float64), y, loss)
        np.testing.assert_allclose(product, expected, rtol=rtol)


@pytest.mark.parametrize("margin", [1e-4, 1.0, 5.0, 15.0, 40.0])
@pytest.mark.parametrize("right", [0, 1])
def test_sure_predictions_are_exact(isa, dtype, margin, right):
    """Of two classes, with p of the right one so near 1 that 1 - p cancels."""
    z = np.zeros((1, 2), dtype)
    z[0, right] = margin
    rest = np.exp(-float(z[0, right]))
    share, p = rest / (1 + rest), 1 / (1 + rest)
    sign = np.where(np.arange(2) == right, -1, 1)
    rtol = 32 * float(np.finfo(dtype).eps)
    loss, y = CASES["cross_entropy"][0], np.array([right])
    dz = np.array([[3, -2]], dtype)
    value, gradient, product = Outputs(z).derivatives(y, loss, dz)
    np.testing.assert_allclose(value, np.log1p(rest), rtol=rtol)
    np.testing.assert_allclose(gradient[0], share * sign, rtol=rtol)
    np.testing.assert_allclose(product[0], p * share * 5 * np.array([1, -1]), rtol=rtol)
    model = fnn.Sequential([fnn.Dense(2)], dtype=dtype).build(3)
    model.parameters = np.r_[np.zeros(6), z[0]]
    G = fnn.curvature.GaussNewton(model, np.ones((1, 3)), y, loss="cross_entropy")
    expected = (3 + 1) * 2 * p * share
    np.testing.assert_allclose(fnn.curvature.exact_trace(G), expected, rtol=rtol)


@every_case
@pytest.mark.parametrize("size", [1e30, np.inf, np.nan])
def test_rows_without_weight_may_overflow(isa, dtype, rng, case, size):
    """They have no part in anything: 0 times infinity does not become NaN."""
    loss, kind = CASES[case]
    Z, dz = rng.standard_normal((2, 20, 5)).astype(dtype)
    y, weights = draw_targets(rng, 20, 5, kind, dtype), rng.uniform(1, 2, 20).astype(dtype)
    weights[[3, 17]] = 0
    wild = Z.copy()
    wild[[3, 17]] = size * np.sign(Z[[3, 17]])
    value, gradient = _core.loss(loss, wild, y, weights, None)
    expected = _core.loss(loss, Z, y, weights, None)
    assert value == expected[0]
    np.testing.assert_array_equal(gradient, expected[1])
    if np.isfinite(size):
        expected = Outputs(Z).derivatives(y, loss, dz, weights)
        for a, e in zip(Outputs(wild).derivatives(y, loss, dz, weights), expected, strict=True):
            np.testing.assert_array_equal(a, e)


@every_case
@pytest.mark.parametrize("width", [1, 5])
def test_nan_is_not_right(isa, dtype, rng, case, width):
    loss, kind = CASES[case]
    Z = rng.standard_normal((20, width)).astype(dtype)
    y = draw_targets(rng, 20, width, kind, dtype)
    Z[::2, width // 2] = np.nan
    for z, target in zip(Z, y, strict=True):  # one by one: the rows of the identity spread NaN
        target = np.asarray(target)[None]
        value, gradient = _core.loss(loss, z[None], target, None, None)
        right = Outputs(z[None]).accuracy(target, loss)
        assert np.isnan(value) == np.isnan(gradient).any() == np.isnan(z).any()
        assert right == 0 if np.isnan(z).any() else right in (0, 1)


@every_case
def test_nan_arrives(isa, dtype, rng, case):
    """A NaN output is NaN in its row's loss and gradient, and in no other row."""
    loss, kind = CASES[case]
    net = core_network(dtype, 5, [TANH])  # X is as good as its output
    X = rng.standard_normal((20, 5)).astype(dtype)
    X[13, 2] = np.nan
    y = draw_targets(rng, 20, 5, kind, dtype)
    none = np.empty(0, dtype)
    assert np.isnan(net.evaluate(none, X, y, loss)[0])
    rest = np.delete(np.arange(20), 13)
    assert np.isfinite(net.evaluate(none, X[rest], y[rest], loss)[0])
    gradient = np.empty(5 * 5 + 5, dtype)
    net = core_network(dtype, 5, [dense(5)])
    parameters = np.concatenate([np.eye(5).ravel(), np.zeros(5)]).astype(dtype)
    assert np.isnan(net.loss_and_grad(parameters, X[13:14], y[13:14], loss, gradient))
    assert np.isnan(gradient[-5:]).any()


def test_kinks():
    """At a kink the gradient is 0, and the second derivative that of a straight piece, or 0; at
    delta, that of Huber is still 1."""
    one = np.ones((1, 1))
    for loss, z, y, gradient, second in [
        (("mae", {}), 2.0, 2.0, 0, 0),
        (("quantile", {"q": 0.9}), 2.0, 2.0, 0, 0),
        (("hinge", {}), 1.0, 1.0, 0, 0),
        (("hinge", {}), -1.0, -1.0, 0, 0),
        (("huber", {"delta": 0.5}), 2.5, 2.0, 0.5, 1),
        (("huber", {"delta": 0.5}), 1.5, 2.0, -0.5, 1),
    ]:
        _, *derivatives = Outputs(z * one).derivatives(y * one, loss, one)
        assert [float(d[0, 0]) for d in derivatives] == [gradient, second], loss
    margin = ("multi_margin", {"margin": 1.0})
    Z = np.array([[2.0, 1.0, 0.0]])
    _, gradient, product = Outputs(Z).derivatives(np.array([0]), margin, np.ones_like(Z))
    assert not gradient.any() and not product.any()


def test_elements_of_a_multi_label_row_are_averaged(isa, dtype, rng):
    """(n, k) labels are the mean of k losses of one output."""
    Z, dz = rng.standard_normal((2, 12, 3)).astype(dtype)
    for loss, kind in (CASES["binary_cross_entropy"], CASES["hinge"]):
        y = draw_targets(rng, 12, 3, kind, dtype)
        value, gradient, _ = Outputs(Z).derivatives(y, loss, dz)
        columns = [Outputs(Z[:, [j]]).derivatives(y[:, [j]], loss, dz[:, [j]]) for j in range(3)]
        assert_close(value, np.mean([column[0] for column in columns]), dtype)
        assert_close(gradient, np.hstack([column[1] for column in columns]) / 3, dtype)


# ---------------------------------------------------------------------------- of whole networks


def draw(rng, in_features, layers, rows, dtype, case, margin):
    """A problem whose ReLU inputs and losses are at least `margin` away from a kink."""
    loss, kind = CASES[case]
    reference = oracle.Network(in_features, layers)
    parameters = draw_parameters(rng, reference, dtype)
    X = rng.standard_normal((4 * rows, in_features)).astype(dtype)
    y = draw_targets(rng, len(X), reference.out_features, kind, dtype)
    z = reference.forward(parameters, X)
    distance = reference.distance_to_kink(parameters, X)
    edges = {
        "mae": lambda: abs(z - y),
        "quantile": lambda: abs(z - y),
        "huber": lambda: abs(abs(z - y) - loss[1]["delta"]),
        "hinge": lambda: abs(1 - y * z),
        "multi_margin": lambda: abs(oracle._margins(z, y, **loss[1])),
    }
    if loss[0] in edges:
        distance = np.minimum(distance, edges[loss[0]]().min(axis=1))
    chosen = np.flatnonzero(distance > margin)[:rows]
    assert len(chosen) == rows
    net = core_network(dtype, in_features, layers)
    return Problem(net, reference, parameters, X[chosen], y[chosen], loss)


@every_case
@pytest.mark.parametrize("weighted", [False, True])
def test_dense_hessian(isa, rng, case, weighted):
    """Products with unit vectors are the differences of gradients, and the gradient is that of
    values, all of them weighted."""
    out = 3
    problem = draw(rng, 4, [dense(5), TANH, dense(4), RELU, dense(out)], 9, "float64", case, 1e-4)
    net, n = problem.net, problem.net.n_parameters
    call = (problem.X, problem.y, problem.loss)
    weights = rng.uniform(0, 2, 9) if weighted else None

    def at(parameters):
        gradient = np.empty(n)
        return net.loss_and_grad(parameters, *call, gradient, weights=weights), gradient

    hessian, by_differences, gradient = np.empty((n, n)), np.empty((n, n)), np.empty(n)
    step = 1e-5
    for i, unit in enumerate(np.eye(n)):
        net.hvp(problem.parameters, unit, *call, hessian[i], weights=weights)
        ends = [at(problem.parameters + sign * step * unit) for sign in (1, -1)]
        by_differences[i] = (ends[0][1] - ends[1][1]) / (2 * step)
        gradient[i] = (ends[0][0] - ends[1][0]) / (2 * step)
    scale = abs(by_differences).max()
    np.testing.assert_allclose(hessian, by_differences, rtol=0, atol=1e-8 + 1e-7 * scale)
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-13 * scale)
    np.testing.assert_allclose(at(problem.parameters)[1], gradient, rtol=0, atol=1e-8)


@every_case
def test_network_against_the_oracle(isa, dtype, rng, case):
    """All maps with a loss, over enough rows for several chunks, and a trained epoch."""
    margin = 1e3 * float(np.finfo(dtype).eps)
    rows = 1100
    problem = draw(rng, 9, [dense(14), SIGMOID, dense(6)], rows, dtype, case, margin)
    net, reference = problem.net, problem.reference
    call = (problem.X, problem.y, problem.loss)
    for weights in (None, rng.uniform(0, 2, rows).astype(dtype)):
        value, gradient = reference.loss_and_grad(problem.parameters, *call, weights)
        actual, product = problem.empty_vector(), problem.empty_vector()
        core_value = net.loss_and_grad(problem.parameters, *call, actual, weights=weights)
        assert_close(core_value, value, dtype, problem.inner)
        assert_close(actual, gradient, dtype, problem.inner)
        v = problem.vector(rng)
        net.hvp(problem.parameters, v, *call, product, weights=weights)
        expected = reference.hvp(problem.parameters, v, *call, weights)
        assert_close(product, expected, dtype, problem.inner)

        trained, exact = problem.parameters.copy(), problem.parameters.astype(np.float64)
        order, lr, report = rng.permutation(rows)[:70], np.full(10, 0.01), np.zeros(3)
        update = ("sgd", {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0})
        epoch = {"order": order, "batch_size": 7, "lr": lr, "update": update}
        epoch |= {"state": [], "step": 0, "weights": weights}
        net.train(trained, *call, **epoch, report=report)
        expected = reference.train(exact, *call, **epoch)
        assert_close(trained, exact, dtype, 100)
        assert_close(report[0], expected[0], dtype, 100)
        assert report[2] == expected[2]


@every_case
def test_bits_do_not_depend_on_threads(isa, dtype, rng, restore_threads, case):
    rows = 300
    problem = draw(rng, 60, [dense(60), TANH, dense(35)], rows, dtype, case, 0)
    call = (problem.X, problem.y, problem.loss)
    weights = rng.uniform(0, 2, rows).astype(dtype)
    order, lr = rng.permutation(rows), np.full(2, 0.01)
    update = ("sgd", {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0})
    epoch = {"order": order, "batch_size": 150, "lr": lr, "update": update, "state": [], "step": 0}
    expected = None
    for count in THREADS if FULL else (1, 2, 5):
        _core.set_num_threads(count)
        trained, report = problem.parameters.copy(), np.zeros(3)
        problem.net.train(trained, *call, **epoch, report=report, weights=weights)
        product = problem.empty_vector()
        v = np.ones_like(problem.parameters)
        problem.net.hvp(problem.parameters, v, *call, product, weights=weights)
        scores = np.array(problem.net.evaluate(problem.parameters, *call, weights=weights))
        results = (trained, report, product, scores)
        expected = expected or results
        for a, e in zip(results, expected, strict=True):
            assert_same_bits(a, e)


# ------------------------------------------------------------------------------ objects and names

OBJECTS = [
    losses.CrossEntropy(),
    losses.CrossEntropy(label_smoothing=0.1),
    losses.CrossEntropy(confidence_penalty=0.1),
    losses.MultiMargin(),
    losses.MultiMargin(margin=2),
    losses.BinaryCrossEntropy(),
    losses.Hinge(),
    losses.MSE(),
    losses.MAE(),
    losses.Huber(),
    losses.Huber(delta=2),
    losses.Poisson(),
    losses.LogCosh(),
    losses.Quantile(),
    losses.Quantile(q=0.9),
]
every_object = pytest.mark.parametrize("loss", OBJECTS, ids=repr)


def targets_of(loss, rng, rows=40, out=1):
    if loss.task == "classes":
        return rng.integers(0, out, rows)
    kind = {"binary_cross_entropy": "binary", "hinge": "signs", "poisson": "counts"}
    return draw_targets(rng, rows, out, kind.get(loss.name, "values"), "float64")


def fitted(y, loss, out=1, dtype="float64", **keywords):
    model = fnn.Sequential([fnn.Dense(4), fnn.Tanh(), fnn.Dense(out)], dtype=dtype, seed=1)
    X = np.random.default_rng(0).normal(size=(len(y), 3))
    model.fit(X, y, loss=loss, epochs=2, batch_size=8, verbose=0, **keywords)
    return model, X


@pytest.mark.once
class TestObjects:
    def test_names(self):
        pairs = {name for name in losses.NAMES if losses.check(name).task == "pairs"}
        assert {loss.name for loss in OBJECTS} == set(losses.NAMES) - pairs  # test_pair_losses.py
        for name in losses.NAMES:
            assert losses.check(name).name == name
        with pytest.raises(ValueError, match=f"loss: expected one of {', '.join(losses.NAMES)}, "):
            losses.check("huber_loss")
        for wrong in (losses.Huber, 3, None, ("mse", {})):
            with pytest.raises(
                TypeError, match=r"loss: expected an object .* one of cross_entropy"
            ):
                losses.check(wrong)

    @every_object
    def test_equality_and_repr(self, loss):
        equal = [other for other in OBJECTS if other == loss]
        assert equal == [loss]
        again = eval(repr(loss), vars(losses))
        assert again == loss and again is not loss and hash(again) == hash(loss)
        assert type(loss)(**loss.get_config()) == loss
        assert loss != loss.name
        for name in loss.get_config():
            with pytest.raises(AttributeError):
                setattr(loss, name, 0.5)

    @pytest.mark.parametrize(
        ("make", "error", "match"),
        [
            (lambda: losses.CrossEntropy(label_smoothing=1), ValueError, "label_smoothing: .* < 1"),
            (lambda: losses.CrossEntropy(label_smoothing=-0.1), ValueError, "label_smoothing"),
            (lambda: losses.CrossEntropy(confidence_penalty=-1), ValueError, "confidence_penalty"),
            (lambda: losses.CrossEntropy(confidence_penalty=None), TypeError, "confidence_penalty"),
            (
                lambda: losses.MultiMargin(margin=0),
                ValueError,
                "margin: expected a finite number > 0",
            ),
            (
                lambda: losses.Huber(delta=0),
                ValueError,
                "delta: expected a finite number > 0, got 0",
            ),
            (lambda: losses.Huber(delta=np.inf), ValueError, "delta"),
            (lambda: losses.Huber(delta="1"), TypeError, "delta"),
            (lambda: losses.Quantile(q=0), ValueError, "q"),
            (lambda: losses.Quantile(q=1), ValueError, "q"),
            (lambda: losses.Quantile(q=True), TypeError, "q"),
        ],
    )
    def test_impossible_parameters(self, make, error, match):
        with pytest.raises(error, match=match):
            make()

    @every_object
    def test_whatever_takes_a_loss_takes_an_object(self, loss, rng):
        out = 3 if loss.task == "classes" else 1
        y = targets_of(loss, rng, out=out)
        model, X = fitted(y, loss, out)
        assert model.loss is loss
        value, gradient = model.loss_and_grad(X, y)
        assert value == model.evaluate(X, y)["loss"] == model.loss_and_grad(X, y, loss=loss)[0]
        spec, z = (loss.name, loss.get_config()), model.forward(X)
        np.testing.assert_allclose(value, oracle.loss_value(z, y, spec), rtol=1e-12)
        assert model.hvp(X, y, gradient).shape == gradient.shape
        assert ("accuracy" in model.history) == (loss.task != "values")
        assert set(model.evaluate(X, y)) == {"loss", "accuracy"} & {"loss", *model.history}

    @pytest.mark.parametrize("loss", [loss for loss in OBJECTS if loss == type(loss)()], ids=repr)
    def test_a_name_is_the_object_of_defaults(self, loss, rng):
        out = 3 if loss.task == "classes" else 1
        y = targets_of(loss, rng, out=out)
        by_name, by_object = fitted(y, loss.name, out)[0], fitted(y, loss, out)[0]
        assert by_name.loss == loss.name
        assert_same_bits(by_name.parameters, by_object.parameters)

    @every_object
    @pytest.mark.parametrize("named", [False, True])
    def test_model_file(self, loss, named, rng, tmp_path):
        out = 3 if loss.task == "classes" else 1
        y = targets_of(loss, rng, out=out)
        model, X = fitted(y, loss.name if named else loss, out)
        model.save(tmp_path / "model")
        again = fnn.load(tmp_path / "model")
        assert again.loss == model.loss and type(again.loss) is type(model.loss)
        assert again.evaluate(X, y) == model.evaluate(X, y)
        assert_same_bits(again.predict(X), model.predict(X))
        assert repr(again.classes_) == repr(model.classes_)
        again.fit(X, y, verbose=0)


# --------------------------------------------------------------------------- targets and outputs


@pytest.mark.once
class TestTargets:
    @pytest.mark.parametrize(
        ("loss", "y", "match"),
        [
            (
                "binary_cross_entropy",
                [0, 1, 2],
                r"y: expected 0 and 1, or 2 .*, got 3 \(0, 1, 2\), with 2 in row 2",
            ),
            ("binary_cross_entropy", [0, 1, -0.5], "got -0.5 in row 2"),
            ("binary_cross_entropy", [0, 1, np.nan], "y: expected a label .* got nan in row 2"),
            ("binary_cross_entropy", ["a", "b", "c"], r"y: expected 2 classes, got 3 \(a, b, c\)"),
            ("binary_cross_entropy", ["a", "a", "a"], r"y: expected 2 classes, got 1 \(a\)"),
            (
                "hinge",
                [1, -1, 0],
                r"y: expected -1 and 1, or 2 classes, got 3 \(-1, 0, 1\), with 0 in row 2",
            ),
            ("hinge", [1, -1, 0.5], "got 0.5 in row 2"),
            ("poisson", [0, 3, -1], "expected counts, at least 0 under .*, got -1 in row 2"),
            ("huber", [0, 3, np.inf], "y: expected finite .* inf in row 2"),
            ("multi_margin", [0, 0, 1], "loss: .* 'multi_margin', .* take 'hinge' for two classes"),
            ("cross_entropy", [0, 0, 1], r"loss: .*'binary_cross_entropy'.*, or end it with D"),
            ("mae", [[1, 2]] * 3, r"y: expected shape \(3, 1\)"),
            ("binary_cross_entropy", [[1, 0]] * 3, r"y: expected shape \(3, 1\)"),
        ],
    )
    def test_impossible(self, loss, y, match):
        with pytest.raises(ValueError, match=match):
            fitted(y, loss)

    def test_impossible_multi_label(self):
        with pytest.raises(ValueError, match=r"got 1\.5 in row 1, column 1"):
            fitted([[0, 1], [1, 1.5], [0, 0]], "binary_cross_entropy", out=2)
        with pytest.raises(ValueError, match=r"y: expected shape \(3, 2\)"):
            fitted([0, 1, 0], "binary_cross_entropy", out=2)
        with pytest.raises(ValueError, match=r"y: expected shape \(3,\) labels, got \(3, 2\)"):
            fitted([[0, 1]] * 3, "multi_margin", out=2)
        with pytest.raises(TypeError, match="y: expected real numbers"):
            fitted([["a", "b"]] * 3, "binary_cross_entropy", out=2)

    @pytest.mark.parametrize(("loss", "no"), [("binary_cross_entropy", 0), ("hinge", -1)])
    def test_two_classes_of_one_output(self, loss, no):
        """Numbers, bool and strings train alike, and come back."""
        yes = np.random.default_rng(1).integers(0, 2, 30).astype(bool)
        numbers = np.where(yes, 1, no)
        expected, X = fitted(numbers, loss)
        proper = expected.forward(X)[:, 0] > 0
        assert 0 < proper.sum() < 30
        for y, classes in [
            (numbers, [no, 1]),
            (numbers[:, None].astype(np.float32), [no, 1]),
            (yes, [False, True]),
            (np.where(yes, "spam", "ham"), ["ham", "spam"]),
        ]:
            model, _ = fitted(y, loss)
            assert_same_bits(model.parameters, expected.parameters)
            assert model.classes_.tolist() == classes
            predicted = model.predict(X)
            assert predicted.shape == (30,)
            np.testing.assert_array_equal(predicted, np.array(classes)[proper.astype(int)])
            accuracy = np.mean(predicted == np.ravel(y))
            assert model.evaluate(X, y)["accuracy"] == pytest.approx(accuracy, rel=1e-15)
            if loss == "hinge":
                with pytest.raises(ValueError, match="gives probabilities, got 'hinge'"):
                    model.predict_proba(X)
                continue
            z = model.forward(X)[:, 0]
            p = oracle.sigmoid(np.stack([-z, z], 1))
            np.testing.assert_allclose(model.predict_proba(X), p, rtol=1e-13)
        with pytest.raises(ValueError, match="got eggs in row 1"):
            model.evaluate(X[:2], ["spam", "eggs"])

    @pytest.mark.parametrize(("loss", "no"), [("binary_cross_entropy", 0), ("hinge", -1)])
    def test_several_labels(self, loss, no, rng):
        y = np.where(rng.integers(0, 2, (50, 3)) == 1, 1, no)
        model, X = fitted(y, loss, out=3)
        z = model.forward(X)
        assert model.classes_ is None
        np.testing.assert_array_equal(model.predict(X), np.where(z > 0, 1, no))
        accuracy = (model.predict(X) == y).all(axis=1).mean()  # as accuracy_score of scikit-learn
        assert model.evaluate(X, y)["accuracy"] == pytest.approx(accuracy, rel=1e-15)
        if loss == "binary_cross_entropy":
            np.testing.assert_allclose(model.predict_proba(X), oracle.sigmoid(z), rtol=1e-13)
            assert_same_bits(fitted(y == 1, loss, out=3)[0].parameters, model.parameters)

    def test_multi_margin(self, rng):
        y = np.array(["a", "b", "c"])[rng.integers(0, 3, 50)]
        model, X = fitted(y, "multi_margin", out=3)
        best = model.forward(X).argmax(axis=1)
        np.testing.assert_array_equal(model.predict(X), np.array(["a", "b", "c"])[best])
        accuracy = np.mean(model.predict(X) == y)
        assert model.evaluate(X, y)["accuracy"] == pytest.approx(accuracy, rel=1e-15)
        with pytest.raises(ValueError, match="gives probabilities, got 'multi_margin'"):
            model.predict_proba(X)

    def test_the_probability_of_the_other_class(self, isa, dtype):
        """It is no difference from 1, which would be 0 where the one of the class rounds to 1."""
        z = np.array([-700, -100, -40, -17, -1e-3, 0, 1e-3, 17, 40, 100, 700])
        z = z[abs(z) < (80 if dtype == "float32" else 800)].astype(dtype)
        model = fnn.Sequential([fnn.Identity()], dtype=dtype)
        p = model.predict_proba(z[:, None], loss="binary_cross_entropy")
        expected = oracle.sigmoid(np.stack([-z, z], 1).astype(np.float64))
        np.testing.assert_allclose(p, expected, rtol=8 * np.finfo(dtype).eps, atol=0)
        assert p.dtype == dtype and (p > 0).all()
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=2 * np.finfo(dtype).eps)
        of_two = fnn.Sequential([fnn.Identity()], dtype=dtype).predict_proba(
            np.stack([0 * z, z], 1), loss="cross_entropy"
        )
        np.testing.assert_allclose(p, of_two, rtol=8 * np.finfo(dtype).eps)

    @pytest.mark.parametrize("out", [1, 3])
    def test_rates(self, isa, dtype, out, rng):
        """Under Poisson, predictions and metrics are on the scale of the counts."""
        metrics = pytest.importorskip("sklearn.metrics", reason="no scikit-learn")
        y = rng.poisson(3, (60, out) if out > 1 else 60)
        model, X = fitted(y, "poisson", out, dtype=dtype)
        rates = np.exp(model.forward(X).astype(np.float64))
        rates = rates[:, 0] if out == 1 else rates
        rtol = 4 * np.finfo(dtype).eps
        np.testing.assert_allclose(model.predict(X), rates, rtol=rtol)
        assert model.predict(X).dtype == dtype and model.predict(X).shape == y.shape

        def mean_poisson_deviance(y_true, y_pred, sample_weight=None):
            return metrics.mean_poisson_deviance(y_true.ravel(), y_pred.ravel())

        names = ["mae", "mse", "rmse", "r2", mean_poisson_deviance]
        scores = model.evaluate(X, y, metrics=names)
        residual = rates - y
        assert scores["mae"] == pytest.approx(abs(residual).mean(), rel=1e-5)
        assert scores["mse"] == pytest.approx((residual**2).mean(), rel=1e-5)
        assert scores["rmse"] == pytest.approx((residual**2).mean() ** 0.5, rel=1e-5)
        assert scores["r2"] == pytest.approx(metrics.r2_score(y, rates), rel=1e-4)
        deviance = metrics.mean_poisson_deviance(y.ravel(), rates.ravel())
        assert scores["mean_poisson_deviance"] == pytest.approx(deviance, rel=1e-5)
        options = {"validation_data": (X, y), "metrics": names, "verbose": 0, "epochs": 1}
        history = model.fit(X, y, **options)
        scores = model.evaluate(X, y, metrics=names)
        assert {k: history[f"val_{k}"] for k in scores} == {k: [v] for k, v in scores.items()}
        with pytest.raises(ValueError, match="gives probabilities, got 'poisson'"):
            model.predict_proba(X)

    @pytest.mark.parametrize("loss", ["mae", "log_cosh", "quantile"])
    def test_regression(self, loss, rng):
        y = rng.poisson(3, 30)
        model, X = fitted(y, loss)
        np.testing.assert_array_equal(model.predict(X), model.forward(X)[:, 0])
        with pytest.raises(ValueError, match=f"gives probabilities, got '{loss}'"):
            model.predict_proba(X)

    def test_another_loss_later(self):
        """Numbers mean what the loss of the fit says; names stay those of the first fit."""
        model, X = fitted([0, 1] * 10, "binary_cross_entropy")
        model.fit(X, [-1, 1] * 10, loss="hinge", verbose=0)
        assert model.classes_.tolist() == [-1, 1] and set(model.predict(X)) <= {-1, 1}
        model.fit(X, np.arange(20.0), loss="mse", verbose=0)
        assert model.predict(X).dtype == np.float64
        with pytest.raises(ValueError, match=r"this model \(-1, 1\), got string"):
            model.fit(X, ["a", "b"] * 10, loss="hinge", verbose=0)
        model, X = fitted(["a", "b"] * 10, "hinge")
        model.fit(X, ["b", "a"] * 10, loss="binary_cross_entropy", verbose=0)
        assert model.classes_.tolist() == ["a", "b"]
        with pytest.raises(ValueError, match=r"loss: expected an output for each class"):
            model.fit(X, ["a"] * 20, loss="cross_entropy", verbose=0)


# --------------------------------------------------------------------------------------- weights


def every_result(model, X, y, v, **weights):
    """Loss, gradient and Hessian-vector product, end to end in one vector."""
    value, gradient = model.loss_and_grad(X, y, **weights)
    assert model.evaluate(X, y, **weights)["loss"] == value
    product = model.hvp(X, y, v, **weights)
    return np.concatenate([[value], gradient.astype(float), product.astype(float)])


class TestWeights:
    def data(self, rng, loss, rows=30):
        out = 3 if loss.task == "classes" else 1
        y = targets_of(loss, rng, rows, out)
        model, X = fitted(y, loss, out)
        return model, X, y, rng.standard_normal(model.n_parameters)

    @every_object
    def test_whole_weights_are_repetitions(self, isa, loss, rng):
        model, X, y, v = self.data(rng, loss)
        weights = rng.integers(0, 4, len(X))
        repeated = np.repeat(np.arange(len(X)), weights)
        actual = every_result(model, X, y, v, sample_weight=weights)
        expected = every_result(model, X[repeated], y[repeated], v)
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)
        scores = model.evaluate(X, y, sample_weight=weights)
        assert scores == pytest.approx(model.evaluate(X[repeated], y[repeated]), rel=1e-12)

    @every_object
    def test_zeros_are_removals(self, isa, loss, rng):
        model, X, y, v = self.data(rng, loss)
        weights = rng.uniform(1, 2, len(X)) * rng.integers(0, 2, len(X))
        rest = weights > 0
        expected = every_result(model, X[rest], y[rest], v, sample_weight=weights[rest])
        X[~rest] *= 100
        actual = every_result(model, X, y, v, sample_weight=weights)
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)

    def test_only_ratios_matter(self, isa, dtype, rng):
        """Equal weights give the bits of none, and no scale is too small or too large."""
        y = rng.integers(0, 3, 30)
        X, weights = rng.normal(size=(30, 3)), rng.uniform(size=30)
        model = fnn.Sequential([fnn.Dense(4), fnn.Tanh(), fnn.Dense(3)], dtype=dtype).build(3)
        v = rng.normal(size=model.n_parameters)
        given = {"loss": "cross_entropy"}
        expected = every_result(model, X, y, v, **given)
        actual = every_result(model, X, y, v, **given, sample_weight=weights)
        for scale in (1e-300, 7e-3, 1.0, 1e300):
            equal = every_result(model, X, y, v, **given, sample_weight=np.full(30, scale))
            assert_same_bits(equal, expected)
            scaled = every_result(model, X, y, v, **given, sample_weight=scale * weights)
            assert_close(scaled, actual, dtype, 30)
        weights[3:] *= 1e-200  # alone in their batch, such weights still make a mean
        model.fit(X, y, **given, sample_weight=weights, batch_size=3, shuffle=False, verbose=0)
        assert np.isfinite(model.parameters).all()

    def test_fit(self, isa, rng):
        """The trajectory and the history are those of a loop of gradients of sum(w l) / n."""
        y = rng.integers(0, 3, 40)
        weights = rng.uniform(0, 2, 40)
        validation = rng.normal(size=(9, 3)), rng.integers(0, 3, 9), rng.uniform(0, 2, 9)
        model = fnn.Sequential([fnn.Dense(4), fnn.Tanh(), fnn.Dense(3)], dtype="float64", seed=1)
        other = fnn.Sequential(model.layers, dtype="float64", seed=1).build(3)
        X = np.random.default_rng(0).normal(size=(40, 3))
        history = model.fit(
            X,
            y,
            loss="cross_entropy",
            optimizer=fnn.optim.SGD(lr=0.5),
            sample_weight=weights,
            class_weight={0: 2, 2: 0.5},
            validation_data=validation,
            epochs=2,
            batch_size=7,
            shuffle=False,
            verbose=0,
        )
        weights = weights * np.array([2, 1, 0.5])[y]
        weights /= weights.mean()
        for epoch in range(2):
            scores = np.zeros(2)
            for first in range(0, 40, 7):
                rows = slice(first, first + 7)
                batch = {"loss": "cross_entropy", "sample_weight": weights[rows]}
                before = other.evaluate(X[rows], y[rows], **batch)
                _, gradient = other.loss_and_grad(X[rows], y[rows], **batch)
                other.parameters -= 0.5 * weights[rows].mean() * gradient
                scores += weights[rows].sum() * np.array([before["loss"], before["accuracy"]])
            scores /= weights.sum()
            assert history["loss"][epoch] == pytest.approx(scores[0], rel=1e-12)
            assert history["accuracy"][epoch] == pytest.approx(scores[1], rel=1e-12)
        np.testing.assert_allclose(model.parameters, other.parameters, rtol=1e-11, atol=1e-14)
        scores = model.evaluate(*validation[:2], sample_weight=validation[2])
        assert history["val_loss"][-1] == scores["loss"]
        assert history["val_accuracy"][-1] == scores["accuracy"]

    @pytest.mark.once
    @pytest.mark.parametrize("loss", ["cross_entropy", "multi_margin", "binary_cross_entropy"])
    @pytest.mark.parametrize("named", [False, True])
    def test_class_weights(self, rng, loss, named):
        names = np.array(["a", "b"]) if named else np.array([0, 1])
        y = names[(rng.uniform(size=50) < 0.2).astype(int)]
        model, X = fitted(y, loss, out=1 if loss.startswith("b") else 2)
        by_hand = np.where(y == names[1], 3.0, 0.5)
        expected = model.loss_and_grad(X, y, sample_weight=by_hand)
        for weight in ({names[0].item(): 0.5, names[1].item(): 3}, [0.5, 3], np.array([0.5, 3])):
            actual = model.loss_and_grad(X, y, class_weight=weight)
            assert actual[0] == expected[0]
            assert_same_bits(actual[1], expected[1])
        partial = model.evaluate(X, y, class_weight={names[1].item(): 3.0})["loss"]
        by_hand = np.where(y == names[1], 3.0, 1.0)
        assert partial == model.evaluate(X, y, sample_weight=by_hand)["loss"]

    @pytest.mark.once
    @pytest.mark.parametrize("weighted", [False, True])
    def test_balanced_is_that_of_scikit_learn(self, rng, weighted):
        utils = pytest.importorskip("sklearn.utils.class_weight", reason="no scikit-learn")
        y = np.array(["a", "b", "c", "c", "c"])[rng.integers(0, 5, 60)]
        model, X = fitted(y, "cross_entropy", out=3)
        weights = rng.uniform(0.5, 2, 60) if weighted else np.ones(60)
        classes = np.unique(y)
        counts = np.array([weights[y == name].sum() for name in classes])
        balanced = counts.sum() / (3 * counts)
        if not weighted:
            expected = utils.compute_class_weight("balanced", classes=classes, y=y)
            np.testing.assert_allclose(balanced, expected, rtol=1e-14)
        actual = model.loss_and_grad(X, y, sample_weight=weights, class_weight="balanced")
        by_hand = weights * balanced[np.searchsorted(classes, y)]
        expected = model.loss_and_grad(X, y, sample_weight=by_hand)
        np.testing.assert_allclose(actual[0], expected[0], rtol=1e-13)
        np.testing.assert_allclose(actual[1], expected[1], rtol=1e-10, atol=1e-14)
        model.evaluate(X[y != "a"], y[y != "a"], class_weight="balanced")  # of those that occur

    def test_accuracy_is_that_of_scikit_learn(self, isa, rng):
        metrics = pytest.importorskip("sklearn.metrics", reason="no scikit-learn")
        for loss in ("cross_entropy", "hinge"):
            y = rng.integers(0, 2, 80) if loss == "cross_entropy" else rng.choice([-1, 1], 80)
            weights = rng.uniform(size=80)
            model, X = fitted(y, loss, out=2 if loss == "cross_entropy" else 1)
            accuracy = model.evaluate(X, y, sample_weight=weights)["accuracy"]
            expected = metrics.accuracy_score(y, model.predict(X), sample_weight=weights)
            assert accuracy == pytest.approx(expected, rel=1e-12)

    @pytest.mark.once
    @pytest.mark.parametrize(
        ("weights", "error", "match"),
        [
            ({"sample_weight": np.ones(5)}, ValueError, r"sample_weight: .*\(6,\).* got \(5,\)"),
            ({"sample_weight": np.ones((6, 2))}, ValueError, "sample_weight"),
            ({"sample_weight": 1.0}, ValueError, "sample_weight"),
            ({"sample_weight": [1, 1, -1, 1, 1, 1]}, ValueError, "got -1.0 at position 2"),
            ({"sample_weight": [1, 1, 1, np.nan, 1, 1]}, ValueError, "got nan at position 3"),
            ({"sample_weight": [1, 1, 1, np.inf, 1, 1]}, ValueError, "got inf at position 3"),
            ({"sample_weight": [0] * 6}, ValueError, "at least one weight > 0"),
            ({"sample_weight": ["1"] * 6}, TypeError, "sample_weight: expected real numbers"),
            ({"class_weight": {3: 1.0}}, ValueError, r"class_weight: .*\(0, 1, 2\), got 3"),
            ({"class_weight": {"0": 1.0}}, ValueError, "class_weight: .*got '0'"),
            ({"class_weight": {0: -1.0}}, ValueError, r"class_weight\[0\]: .*>= 0, got -1"),
            ({"class_weight": {0: "1"}}, TypeError, r"class_weight\[0\]"),
            ({"class_weight": [1, 2]}, ValueError, r"class_weight: expected shape \(3,\)"),
            ({"class_weight": [1, 2, -3]}, ValueError, "class_weight: .*got -3.0 at position 2"),
            ({"class_weight": "even"}, ValueError, "class_weight: expected one of balanced"),
            ({"class_weight": 2.0}, ValueError, "class_weight"),
            ({"class_weight": {0: 0, 1: 0, 2: 0}}, ValueError, "at least one weight > 0"),
        ],
    )
    def test_impossible(self, weights, error, match):
        y = [0, 1, 2] * 2
        model, X = fitted(y, "cross_entropy", out=3)
        before = model.parameters.copy()
        for call in (
            lambda: model.fit(X, y, verbose=0, **weights),
            lambda: model.evaluate(X, y, **weights),
            lambda: model.loss_and_grad(X, y, **weights),
            lambda: model.hvp(X, y, before, **weights),
        ):
            with pytest.raises(error, match=match):
                call()
        assert_same_bits(model.parameters, before)

    @pytest.mark.once
    def test_class_weights_need_classes(self):
        for y, loss, out in [
            (np.ones(6), "mse", 1),
            (np.full((6, 2), 0.5), "cross_entropy", 2),
            (np.ones((6, 2)), "binary_cross_entropy", 2),
            (np.full(6, 0.5), "binary_cross_entropy", 1),
        ]:
            with pytest.raises(ValueError, match=r"class_weight: expected .* in y, got"):
                fitted(y, loss, out, class_weight="balanced")

    @pytest.mark.once
    def test_impossible_validation_weights(self):
        y = [0, 1, 2] * 2
        X = np.ones((6, 3))
        for wrong, match in [([1] * 5, r"validation_data\[2\]"), ([0] * 6, r"data\[2\]: .* > 0")]:
            with pytest.raises(ValueError, match=match):
                fitted(y, "cross_entropy", 3, validation_data=(X, y, wrong))
        for wrong in ((X,), (X, y, y, y), 3):
            with pytest.raises(TypeError, match=r"validation_data: expected \(X, y\) or"):
                fitted(y, "cross_entropy", 3, validation_data=wrong)
