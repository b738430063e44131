"""Streams, beside the sums written out for one example after the other."""

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import tolerance

pytestmark = pytest.mark.once


def linear(dtype="float64", outputs=1, features=4):
    model = fnn.Sequential([fnn.Dense(outputs, init=0.0)], dtype=dtype, seed=0)
    return model.build(features)


@pytest.fixture
def separable(rng):
    X = rng.uniform(-1, 1, (300, 4))
    w = np.array([1.0, -2.0, 0.5, 0.3])
    margins = X @ w / np.linalg.norm(w)
    X = X[np.abs(margins) > 0.05]
    return X, np.where(X @ w > 0, 1, -1), np.r_[w, 0]


def test_least_squares_by_hand(rng, dtype):
    X, y, u = rng.standard_normal((50, 4)), rng.standard_normal(50), rng.standard_normal(5)
    model, best = linear(dtype), linear(dtype)
    best.parameters = u
    seen = []
    run = fnn.online.run(
        model,
        zip(X, y, strict=True),
        fnn.optim.SGD(model.parameters, lr=0.05),
        loss="mse",
        comparator=best,
        on_example=seen.append,
    )
    w, losses, compared = np.zeros(5), [], []
    for x, target in zip(np.c_[X, np.ones(50)], y, strict=True):
        losses.append((x @ w - target) ** 2)
        compared.append((x @ u - target) ** 2)
        w -= 0.05 * 2 * (x @ w - target) * x
    rtol = 10 * tolerance(dtype, 50)
    np.testing.assert_allclose(run.losses, losses, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(run.comparator_losses, compared, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(model.parameters, w, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(run.cumulative_loss, np.cumsum(losses), rtol=rtol)
    regret = np.cumsum(np.subtract(losses, compared))
    np.testing.assert_allclose(run.regret, regret, rtol=rtol, atol=100 * rtol)
    assert run.mistakes is None and seen == run.losses.tolist()
    assert repr(run) == f"Run(50 examples, loss={run.losses.sum():.6g}, regret={regret[-1]:.6g})"


def test_perceptron(separable):
    X, y, w = separable
    model = linear()
    sgd = fnn.optim.SGD(model.parameters, lr=1.0)
    rows, plane, mistakes = np.c_[X, np.ones(len(X))], np.zeros(5), []
    stream = [*zip(X, y, strict=True)] * 5
    run = fnn.online.run(model, stream, sgd, loss="hinge", only_mistakes=True)
    for x, sign in [*zip(rows, y, strict=True)] * 5:
        mistakes.append((1 if x @ plane > 0 else -1) != sign)
        plane += mistakes[-1] * sign * x
    np.testing.assert_array_equal(run.mistakes, mistakes)
    np.testing.assert_allclose(model.parameters, plane, atol=1e-12)
    count = np.count_nonzero(mistakes)
    assert sgd.step_count == count and repr(run).endswith(f"mistakes={count})")
    bound = fnn.online.perceptron_bound(rows, y, w)
    assert 5 < count < bound
    margins = y * (rows @ w) / np.linalg.norm(w)
    assert bound == pytest.approx((np.linalg.norm(rows, axis=1).max() / margins.min()) ** 2)


def test_bound_of_what_is_not_separable(separable, rng):
    X, y, w = separable
    y = y * rng.choice([1, -1], len(y), p=[0.95, 0.05])
    rows = np.c_[X, np.ones(len(X))]
    model = linear()
    sgd = fnn.optim.SGD(model.parameters, lr=1.0)
    stream = zip(X, y, strict=True)
    run = fnn.online.run(model, stream, sgd, loss="hinge", only_mistakes=True)
    bounds = [fnn.online.perceptron_bound(rows, y, w, margin=m) for m in (0.3, 1.0, 3.0)]
    assert np.count_nonzero(run.mistakes) < min(bounds)
    lack = [max(0, 1 - sign * (x @ w) / np.linalg.norm(w)) for x, sign in zip(rows, y, strict=True)]
    longest = max(np.linalg.norm(x) for x in rows)
    assert bounds[1] == pytest.approx((longest + np.sqrt(np.sum(np.square(lack)))) ** 2)
    with pytest.raises(ValueError, match="margin: expected a number, as the plane of w does not"):
        fnn.online.perceptron_bound(rows, y, w)


def test_regret_of_gradient_descent_on_a_ball(rng):
    """Zinkevich's bound, 1.5 D G sqrt(T), against the best in the ball in hindsight."""
    n, radius = 400, 2.0
    X = rng.standard_normal((n, 4)) / 2
    y = rng.choice(["no", "yes"], n, p=[0.3, 0.7])
    largest = np.sqrt((X**2).sum(axis=1) + 1).max()  # of a logistic loss's gradient
    model = fnn.Sequential([fnn.Dense(1, init=0.0)], dtype="float64", classes=["no", "yes"])
    best = fnn.Sequential([fnn.Dense(1, init=0.0)], dtype="float64", classes=["no", "yes"])
    best.fit(X, y, loss="binary_cross_entropy", epochs=300, batch_size=n, optimizer="adam")
    model.build(4)
    assert np.linalg.norm(best.parameters) < radius

    def project(_):
        model.parameters *= min(1, radius / np.linalg.norm(model.parameters))

    sgd = fnn.optim.SGD(model.parameters, lr=lambda t: 2 * radius / (largest * np.sqrt(t + 1)))
    run = fnn.online.run(
        model,
        zip(X, y, strict=True),
        sgd,
        loss="binary_cross_entropy",
        comparator=best,
        on_example=project,
    )
    assert run.regret[-1] > 0
    assert (run.regret < 1.5 * 2 * radius * largest * np.sqrt(np.arange(1, n + 1))).all()
    assert np.mean(run.mistakes) < 0.5


def test_the_next_example_waits(rng):
    """A stream may look at the model, and so at what it has learned."""
    model = linear()
    parameters = []

    def stream():
        for _ in range(3):
            parameters.append(model.parameters.copy())
            yield rng.standard_normal(4), 1.0

    run = fnn.online.run(model, stream(), fnn.optim.SGD(model.parameters, lr=0.1), loss="mse")
    assert len(run.losses) == 3
    assert not np.array_equal(parameters[1], parameters[0])
    assert not np.array_equal(parameters[2], parameters[1])


def test_whatever_learns(rng):
    """An object with a method step, which is given the gradient of each example."""
    model, twin = linear(), linear()
    stream = [(rng.standard_normal(4), 1.0) for _ in range(5)]

    class Mine:
        def step(self, grad):
            model.parameters -= 0.1 * grad

    fnn.online.run(model, stream, Mine(), loss="mse")
    fnn.online.run(twin, stream, fnn.optim.SGD(twin.parameters, lr=0.1), loss="mse")
    np.testing.assert_allclose(model.parameters, twin.parameters, rtol=1e-13)


def test_nothing_comes():
    model = linear(outputs=3)
    run = fnn.online.run(model, [], fnn.optim.SGD(model.parameters), loss="cross_entropy")
    assert run.losses.shape == run.mistakes.shape == run.cumulative_loss.shape == (0,)
    assert repr(run) == "Run(0 examples, loss=0, mistakes=0)"


def test_picture(rng):
    pytest.importorskip("matplotlib", reason="it draws (extra: plot)")
    model = linear()
    stream = zip(rng.standard_normal((5, 4)), rng.standard_normal(5), strict=True)
    run = fnn.online.run(
        model, stream, fnn.optim.SGD(model.parameters), loss="mse", comparator=linear()
    )
    np.testing.assert_array_equal(run.plot().lines[0].get_ydata(), run.regret)
    alone = fnn.online.Run(run.losses, None, None)
    np.testing.assert_array_equal(alone.plot().lines[0].get_ydata(), run.cumulative_loss)
    with pytest.raises(ValueError, match="regret: expected a run with a comparator"):
        _ = alone.regret


def test_what_is_impossible(rng):
    model = linear()
    sgd = fnn.optim.SGD(model.parameters, lr=0.1)
    one = [(np.ones(4), 1)]
    for arguments, match in (
        ((model, one, "sgd"), "optimizer: expected one of the model's parameters, such as"),
        ((sgd, one, sgd), "model: expected a Sequential, got a value"),
        ((model, [3], sgd), r"stream, example 0: expected a pair, \(x, y\), got 3"),
        ((model, [(np.ones(3), 1)], sgd), "X: expected "),
    ):
        with pytest.raises((TypeError, ValueError), match=match):
            fnn.online.run(*arguments, loss="mse")
    with pytest.raises(ValueError, match="only_mistakes: expected False, as 'mse' is a loss of va"):
        fnn.online.run(model, one, sgd, loss="mse", only_mistakes=True)
    with pytest.raises(ValueError, match="loss: expected a loss"):
        fnn.online.run(model, one, sgd)
    with pytest.raises(ValueError, match="loss: expected one of each example by itself"):
        fnn.online.run(model, one, sgd, loss="supcon")
    with pytest.raises(TypeError, match="on_example: expected a function of a loss, got 3"):
        fnn.online.run(model, one, sgd, loss="mse", on_example=3)
    held = fnn.Sequential([fnn.Dense(1, constraint=fnn.MaxNorm(1.0))]).build(2)
    with pytest.raises(ValueError, match=r"model: expected layers without a constraint, .*\[0\]"):
        fnn.online.run(held, one, fnn.optim.SGD(held.parameters), loss="mse")
    other = linear()
    for wrong in (
        fnn.optim.SGD(),  # of whatever a fit gives it
        fnn.optim.SGD(other.parameters),
        fnn.optim.SGD(model.parameters.copy()),
        fnn.optim.SGD(model.parameters[1:]),
        fnn.optim.SGD(model.named_parameters()),
    ):
        with pytest.raises(ValueError, match="optimizer: expected one of the model's parameters"):
            fnn.online.run(model, one, wrong, loss="mse")
    fnn.online.run(model, one, fnn.optim.Adam(model.parameters), loss="mse")
    for wrong in (model, model[:], model[-1:]):
        with pytest.raises(ValueError, match="comparator: expected a model that stays as it is"):
            fnn.online.run(model, one, sgd, loss="mse", comparator=wrong)
    unbuilt = fnn.Sequential([fnn.Dense(1)])
    for wrong in ((unbuilt, one, sgd), (model, one, sgd, unbuilt)):
        with pytest.raises(RuntimeError, match="not built yet"):
            fnn.online.run(*wrong[:3], loss="mse", comparator=wrong[3] if wrong[3:] else None)
    far = fnn.optim.SGD(model.parameters, lr=1e200)
    with pytest.raises(FloatingPointError, match="run: the loss of example 1 is inf; likely cures"):
        fnn.online.run(model, one * 3, far, loss="mse")
    single = linear("float32")
    far = fnn.optim.SGD(single.parameters, lr=1e38)
    with pytest.raises(FloatingPointError, match="run: the parameters are not finite after exa"):
        fnn.online.run(single, [(np.full(4, 1e10), 1e10)], far, loss="mse")
    X, y, w = np.eye(2), [1, -1], [1, -1]
    for wrong, match in (
        ((X[0], y, w), "X: expected finite"),
        ((X * np.nan, y, w), "X: expected finite"),
        ((X, [1, 2], w), "y: expected 2 of -1 and 1"),
        ((X, [1], w), "y: expected 2 of -1 and 1"),
        ((X, y, [0, 0]), "w: expected 2 finite numbers, not all of them 0"),
    ):
        with pytest.raises(ValueError, match=match):
            fnn.online.perceptron_bound(*wrong)
    for name, wrong in (("X", (X * 1j, y, w)), ("y", (X, ["a", "b"], w)), ("w", (X, y, [1j, 1]))):
        with pytest.raises(TypeError, match=f"{name}: expected real numbers"):
            fnn.online.perceptron_bound(*wrong)
    with pytest.raises(ValueError, match="margin: expected a finite number > 0"):
        fnn.online.perceptron_bound(X, y, w, margin=0)
