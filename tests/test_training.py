"""What fit offers around the steps: accumulated gradients, changing hyper-parameters."""

from __future__ import annotations

import numpy as np
import pytest

import autodiff
import oracle
from conftest import assert_same_bits
from problems import SIGMOID, TANH, dense, draw
from pyfast_nn import _core

# ----------------------------------------------------------------------- the core's epoch

STEPS = np.arange(10)
LR = 0.02 * 0.9**STEPS
CHANGING = {
    "momentum": (
        "sgd",
        {"momentum": 0.5 + 0.04 * STEPS, "nesterov": 0.0, "weight_decay": 0.01 * (STEPS % 3)},
    ),
    "nesterov": (
        "sgd",
        {"momentum": 0.95 - 0.05 * STEPS, "nesterov": 1.0, "weight_decay": 0.01},
    ),
    "adam": (
        "adam",
        {
            "beta1": 0.95 - 0.01 * STEPS,
            "beta2": 0.9 + 0.009 * STEPS,
            "eps": 1e-3,
            "weight_decay": 0.0,
        },
    ),
    "adamw": (
        "adamw",
        {"beta1": 0.85 + 0.01 * STEPS, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.1},
    ),
}
CONSTANT = {
    "sgd": ("sgd", {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.1}),
    "adam": ("adam", {"beta1": 0.9, "beta2": 0.99, "eps": 1e-3, "weight_decay": 0.0}),
}
UPDATES = {**CHANGING, **CONSTANT}


def train(problem, order, batch_size, update, batches_per_step=1, lr=LR, weights=None):
    """Train a copy of the problem's parameters; return [parameters, states..., report]."""
    parameters = problem.parameters.copy()
    state = oracle.initial_state(update, parameters.size, problem.net.dtype)
    report = np.full(3, np.nan)
    problem.net.train(
        *(parameters, problem.X, problem.y, problem.loss),
        order=order,
        batch_size=batch_size,
        lr=lr,
        update=update,
        state=state,
        step=0,
        report=report,
        weights=weights,
        batches_per_step=batches_per_step,
    )
    return [parameters, *state, report]


def train_oracle(problem, order, batch_size, update, batches_per_step=1, lr=LR, weights=None):
    parameters = problem.parameters.astype(np.float64)
    state = oracle.initial_state(update, parameters.size)
    arguments = (problem.X, problem.y, problem.loss, order, batch_size, lr, update, state, 0)
    report = problem.reference.train(parameters, *arguments, weights, batches_per_step)
    return [parameters, *state, report]


def assert_near(actual, expected, dtype):
    limit = {"float64": 1e-11, "float32": 2e-4}[dtype]
    for a, b in zip(actual, expected, strict=True):
        assert np.abs(a - b).max() <= limit * max(1.0, np.abs(b).max())


@pytest.mark.parametrize("name", CHANGING)
def test_hyper_parameters_of_each_step(isa, dtype, rng, name):
    problem = draw(rng, 7, [dense(18), TANH, dense(4)], 80, dtype, "labels")
    order = rng.permutation(80)[:75]
    arguments = (problem, order, 8, CHANGING[name])
    assert_near(train(*arguments), train_oracle(*arguments), dtype)


@pytest.mark.parametrize("name", CHANGING)
def test_hyper_parameters_of_each_step_against_torch(isa, rng, name):
    torch = autodiff.torch()
    update = CHANGING[name]
    problem = draw(rng, 7, [dense(9), TANH, dense(4)], 80, "float64", "labels")
    parameters = train(problem, np.arange(80), 8, update)[0]

    leaf = torch.tensor(problem.parameters, requires_grad=True)
    for k in STEPS:
        now = {key: v[k] if np.ndim(v) else v for key, v in update[1].items()}
        if k == 0:
            optimizer = autodiff.optimizer((update[0], now), leaf, LR[0])
        group = optimizer.param_groups[0]
        group["lr"], group["weight_decay"] = LR[k], now["weight_decay"]
        if name in ("momentum", "nesterov"):
            group["momentum"] = now["momentum"]
        else:
            group["betas"] = (now["beta1"], now["beta2"])
        rows = slice(8 * k, 8 * k + 8)
        optimizer.zero_grad()
        autodiff.loss_function(problem.reference, problem.X[rows], problem.y[rows], problem.loss)(
            leaf
        ).backward()
        optimizer.step()
    assert_near([parameters], [leaf.detach().numpy()], "float64")


@pytest.mark.parametrize("threads", [1, 3], indirect=True)
@pytest.mark.parametrize(("batch_size", "batches"), [(450, 1), (300, 3)])
@pytest.mark.parametrize("in_features", [20, 300])
def test_blocks(isa, dtype, rng, threads, batch_size, batches, in_features):
    """Weights updated some rows at a time, or many panels together, the last one narrow."""
    problem = draw(rng, in_features, [dense(200), TANH, dense(72)], 900, dtype)
    steps = 900 // (batch_size * batches)
    arguments = (problem, rng.permutation(900), batch_size, CONSTANT["adam"], batches)
    arguments = (*arguments, LR[:steps].copy())
    assert_near(train(*arguments), train_oracle(*arguments), dtype)


@pytest.mark.parametrize("name", UPDATES)
@pytest.mark.parametrize(("target", "weighted"), [("labels", False), ("mse", True)])
def test_accumulation(isa, dtype, rng, name, target, weighted):
    """75 rows, 8 at a time, 3 such to a step: the last step has one batch, of 3 rows."""
    problem = draw(rng, 7, [dense(18), TANH, dense(11), SIGMOID, dense(4)], 80, dtype, target)
    order = rng.permutation(80)[:75]
    update = (
        UPDATES[name][0],
        {k: v[:4] if np.ndim(v) else v for k, v in UPDATES[name][1].items()},
    )
    weights = rng.uniform(0, 1, 80).astype(dtype) if weighted else None
    arguments = (problem, order, 8, update, 3, LR[:4].copy(), weights)
    actual = train(*arguments)
    assert_near(actual, train_oracle(*arguments), dtype)
    assert actual[-1][2] == 4


@pytest.mark.parametrize(
    ("batch_size", "batches", "steps"), [(10, 5, 2), (100, 7, 1), (1, 2**40, 1)]
)
def test_accumulation_is_a_larger_batch(isa, rng, batch_size, batches, steps):
    problem = draw(rng, 7, [dense(18), TANH, dense(4)], 80, "float64", "labels")
    order = rng.permutation(80)
    at_once = train(problem, order, min(80, batch_size * batches), CONSTANT["adam"], 1, LR[:steps])
    in_parts = train(problem, order, batch_size, CONSTANT["adam"], batches, LR[:steps].copy())
    assert_near(in_parts, at_once, "float64")


@pytest.mark.parametrize("bad", [0, 25, 55, 74])
def test_accumulation_stops_before_the_update(isa, dtype, rng, bad):
    """A loss that is not finite in any of a step's batches: that step leaves no trace."""
    problem = draw(rng, 6, [dense(300), TANH, dense(3)], 75, dtype)
    problem.y[bad] = np.inf
    done = bad // 24
    parameters, report = problem.parameters.copy(), np.full(3, np.nan)
    state = oracle.initial_state(CONSTANT["adam"], parameters.size, dtype)
    with pytest.raises(FloatingPointError, match=rf"step {done}\b"):
        problem.net.train(
            *(parameters, problem.X, problem.y, problem.loss),
            order=np.arange(75),
            batch_size=8,
            lr=LR[:4],
            update=CONSTANT["adam"],
            state=state,
            step=0,
            report=report,
            batches_per_step=3,
        )
    expected = train(problem, np.arange(24 * done), 8, CONSTANT["adam"], 3, LR[:done])
    for a, b in zip([parameters, *state, report], expected, strict=True):
        assert_same_bits(a, b)


@pytest.mark.parametrize("width", [18, 400])
def test_accumulation_on_any_number_of_threads(isa, threads, rng, width):
    problem = draw(rng, 33, [dense(width), TANH, dense(40)], 500, "float32", "mse", margin=0.0)
    order = rng.permutation(500)
    arguments = (problem, order, 120, CONSTANT["adam"], 3, LR[:2])
    actual = train(*arguments)
    _core.set_num_threads(1)
    for a, b in zip(actual, train(*arguments), strict=True):
        assert_same_bits(a, b)


# ----------------------------------------------------------------- updates made by the caller


def train_stepwise(problem, order, batch_size, take_step, batches_per_step=1, weights=None):
    """Run an epoch by take_step(parameters, gradient, finite); return [parameters, report]."""
    parameters, gradient = problem.parameters.copy(), problem.empty_vector()
    report = np.full(3, np.nan)
    problem.net.train_stepwise(
        parameters,
        problem.X,
        problem.y,
        problem.loss,
        order=order,
        batch_size=batch_size,
        gradient=gradient,
        take_step=lambda finite: take_step(parameters, gradient, finite),
        report=report,
        weights=weights,
        batches_per_step=batches_per_step,
    )
    return [parameters, report]


@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_steps_of_the_caller(isa, dtype, rng, threads, batches, weighted):
    """The same bits as the fused epoch, if the caller's update is the same."""
    problem = draw(rng, 40, [dense(180), TANH, dense(110), SIGMOID, dense(4)], 80, dtype, "labels")
    order = rng.permutation(80)[:75]
    weights = rng.uniform(0, 1, 80).astype(dtype) if weighted else None
    steps = -(-75 // (8 * batches))
    lr = LR[:1].repeat(steps)
    update = CONSTANT["adam"]
    state = oracle.initial_state(update, problem.parameters.size, dtype)
    taken = []

    def take_step(parameters, gradient, finite):
        assert finite
        _core.update(update, parameters, gradient, state, lr[0], len(taken))
        taken.append(1)
        return False

    parameters, report = train_stepwise(problem, order, 8, take_step, batches, weights)
    expected = train(problem, order, 8, update, batches, lr, weights)
    assert len(taken) == steps
    for a, b in zip([parameters, *state, report], expected, strict=True):
        assert_same_bits(a, b)


def test_the_same_examples_again(isa, rng):
    """What is asked for again is computed at the parameters as they are by then."""
    problem = draw(rng, 5, [dense(6), TANH, dense(2)], 20, "float64")
    start = problem.parameters.copy()
    seen = []

    def take_step(parameters, gradient, finite):
        seen.append((parameters.copy(), gradient.copy()))
        parameters += 0.1 * gradient
        return len(seen) % 2 == 1

    _, report = train_stepwise(problem, np.arange(20), 10, take_step)
    assert len(seen) == 4 and report[2] == 2
    for i, (at, gradient) in enumerate(seen):
        rows = slice(0, 10) if i < 2 else slice(10, 20)
        _, expected = problem.reference.loss_and_grad(
            at, problem.X[rows], problem.y[rows], problem.loss
        )
        np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-14)
    first, _ = problem.reference.loss_and_grad(start, problem.X[:10], problem.y[:10], problem.loss)
    third, _ = problem.reference.loss_and_grad(
        seen[2][0], problem.X[10:], problem.y[10:], problem.loss
    )
    np.testing.assert_allclose(report[0], 10 * (first + third))


def test_steps_of_the_caller_that_fail(isa, rng):
    problem = draw(rng, 5, [dense(6), TANH, dense(2)], 20, "float64")
    taken = []

    def take_step(parameters, gradient, finite):
        taken.append(finite)
        if len(taken) == 2:
            raise KeyError("enough")
        return False

    with pytest.raises(KeyError, match="enough"):
        train_stepwise(problem, np.arange(20), 5, take_step)
    assert taken == [True, True]
    problem.y[7] = np.inf
    taken = [True, True]  # no error this time
    train_stepwise(problem, np.arange(20), 5, take_step)
    assert taken == [True, True, True, False, True, True]


@pytest.mark.parametrize(
    ("values", "error", "match"),
    [
        (np.ones(3), ValueError, r"update 'sgd': momentum: expected shape \(10,\), got \(3,\)"),
        (
            np.ones(10, "f4"),
            TypeError,
            "update 'sgd': momentum: expected dtype float64",
        ),
        ([1.0] * 10, TypeError, "update 'sgd': momentum: expected a number, got"),
    ],
)
def test_wrong_schedules(rng, values, error, match):
    problem = draw(rng, 7, [dense(4)], 80, "float64", "labels")
    update = ("sgd", {"momentum": values, "nesterov": 0.0, "weight_decay": 0.0})
    with pytest.raises(error, match=match):
        train(problem, np.arange(80), 8, update)


def test_wrong_number_of_batches(rng):
    problem = draw(rng, 7, [dense(4)], 80, "float64", "labels")
    with pytest.raises(ValueError, match="batches_per_step: expected at least 1, got 0"):
        train(problem, np.arange(80), 8, CONSTANT["sgd"], 0)


@pytest.mark.parametrize("rows", [1, 700, 3000])
def test_some_rows_only(isa, dtype, rng, rows):
    """Evaluation and outputs over an order: repeated, missing and shuffled rows."""
    problem = draw(rng, 9, [dense(20), TANH, dense(5)], 1500, dtype, "labels")
    order = rng.integers(0, 1500, rows)
    net, parameters = problem.net, problem.parameters
    X, y = problem.X[order], problem.y[order]
    out, expected = (np.full((rows, 5), np.nan, dtype) for _ in range(2))
    net.forward(parameters, problem.X, out, order=order)
    net.forward(parameters, X, expected)
    assert_same_bits(out, expected)
    scores = net.evaluate(parameters, problem.X, problem.y, problem.loss, order=order)
    assert scores == net.evaluate(parameters, X, y, problem.loss)


@pytest.mark.parametrize(
    ("order", "match"),
    [
        (np.array([0, 10]), r"order\[1\]: expected a row of X in \[0, 10\), got 10"),
        (np.array([[0]]), r"order: expected shape \(m,\), got \(1, 1\)"),
        (np.arange(0), "X: expected at least one row, .*, got none"),
    ],
)
def test_wrong_rows(rng, order, match):
    problem = draw(rng, 7, [dense(4)], 10, "float64", "labels")
    with pytest.raises(ValueError, match=match):
        problem.net.evaluate(problem.parameters, problem.X, problem.y, problem.loss, order=order)
