"""Training: every parameter and every state after every step, against the oracle and torch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodiff
import oracle
from conftest import assert_same_bits
from problems import NETWORKS, RELU, SIGMOID, TANH, TARGETS, dense, draw
from pyfast_nn import _core


def sgd(momentum=0.0, nesterov=0.0, weight_decay=0.0):
    options = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    return ("sgd", options)


def adam(name="adam", beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    options = {"beta1": beta1, "beta2": beta2, "eps": eps, "weight_decay": weight_decay}
    return (name, options)


UPDATES = {
    "sgd": sgd(),
    "sgd, weight decay": sgd(weight_decay=0.1),
    "momentum": sgd(0.9),
    "momentum, weight decay": sgd(0.5, weight_decay=0.03),
    "nesterov": sgd(0.9, 1.0),
    "nesterov, weight decay": sgd(0.8, 1.0, 0.02),
    "adam": adam(),
    "adam, other betas": adam(beta1=0.5, beta2=0.7, eps=1e-3),
    "adam, weight decay": adam(weight_decay=0.1),
    "adamw": adam("adamw", weight_decay=0.1),
    "adamw, no decay": adam("adamw"),
    "adamw, beta1 zero": adam("adamw", beta1=0.0, beta2=0.9, weight_decay=0.5),
}
every_update = pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES.keys())
rates = (0.02 * 0.9 ** np.arange(1000)).astype(np.float64)  # another one for each step


def smooth(update):
    """With an eps above the rounding errors of gradients that almost vanish, which Adam would
    otherwise blow up to the size of a step."""
    name, options = update
    return update if name == "sgd" else (name, {**options, "eps": 1e-3})


def train(problem, parameters, state, order, batch_size, update, step=0):
    """Train in place on `order`; the rates go on where `step` earlier steps ended."""
    report = np.full(3, np.nan)
    steps = -(-len(order) // batch_size)
    problem.net.train(
        *(parameters, problem.X, problem.y, problem.loss),
        order=order,
        batch_size=batch_size,
        lr=rates[step:][:steps].copy(),
        update=update,
        state=state,
        step=step,
        report=report,
    )
    return report


def assert_near(actual, expected, dtype):
    """After ten steps: errors are those of the gradients, amplified a little by each step."""
    limit = {"float64": 1e-11, "float32": 2e-4}[dtype]
    difference = np.abs(np.asarray(actual, np.float64) - expected).max(initial=0)
    assert difference <= limit * max(1.0, np.abs(expected).max(initial=0))


@every_update
@pytest.mark.parametrize("target", TARGETS)
def test_ten_steps(isa, dtype, rng, update, target):
    """Shuffled rows, some of them never used, the last batch smaller than the others."""
    # no ReLU: one flipped by rounding would be another trajectory
    update = smooth(update) if dtype == "float32" else update
    problem = draw(rng, 7, [dense(18), TANH, dense(11), SIGMOID, dense(4)], 80, dtype, target)
    order = rng.permutation(80)[:75]
    parameters = problem.parameters.copy()
    state = oracle.initial_state(update, parameters.size, dtype)
    expected = problem.parameters.astype(np.float64)
    expected_state = oracle.initial_state(update, parameters.size)
    X, y = problem.X.copy(), problem.y.copy()

    report = train(problem, parameters, state, order, 8, update)

    arguments = (problem.X, problem.y, problem.loss, order, 8, rates, update, expected_state, 0)
    expected_report = problem.reference.train(expected, *arguments)
    assert_near(parameters, expected, dtype)
    for actual, exact in zip(state, expected_state, strict=True):
        assert_near(actual, exact, dtype)
    assert report[2] == expected_report[2] == 10
    assert abs(report[0] - expected_report[0]) <= 1e3 * np.finfo(dtype).eps * expected_report[0]
    if target == "labels":
        assert report[1] == expected_report[1]
    assert_same_bits(problem.X, X)
    assert_same_bits(problem.y, y)


@every_update
@pytest.mark.parametrize(
    ("name", "target"), [("deep", "labels"), ("wide", "mse"), ("two in a row", "probabilities")]
)
def test_ten_steps_against_torch(isa, rng, update, name, target):
    torch = autodiff.torch()
    problem = draw(rng, *NETWORKS[name], 60, "float64", target)
    order = rng.permutation(60)[:49]
    parameters = problem.parameters.copy()
    state = oracle.initial_state(update, parameters.size)

    report = train(problem, parameters, state, order, 5, update)

    leaf = torch.tensor(problem.parameters, requires_grad=True)
    optimizer = autodiff.optimizer(update, leaf, rates[0])
    total = 0.0
    for k in range(10):
        rows = order[5 * k : 5 * k + 5]
        function = autodiff.loss_function(
            problem.reference, problem.X[rows], problem.y[rows], problem.loss
        )
        optimizer.param_groups[0]["lr"] = rates[k]
        optimizer.zero_grad()
        value = function(leaf)
        value.backward()
        optimizer.step()
        total += value.item() * len(rows)
    assert_near(parameters, leaf.detach().numpy(), "float64")
    names = ["momentum_buffer"] if update[0] == "sgd" else ["exp_avg", "exp_avg_sq"]
    for vector, key in zip(state, names, strict=False):
        assert_near(vector, optimizer.state[leaf][key].numpy(), "float64")
    assert report[0] == pytest.approx(total, rel=1e-11)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_trains(isa, dtype, rng, name):
    """A step each of one row, of all rows, and of more rows than there are."""
    problem = draw(rng, *NETWORKS[name], 19, dtype)
    for batch_size in (1, 19, 1000):
        parameters, expected = problem.parameters.copy(), problem.parameters.astype(np.float64)
        order = np.arange(19)[: max(1, min(batch_size, 19))]
        report = train(problem, parameters, [], order, batch_size, sgd())
        arguments = (problem.X, problem.y, problem.loss, order, batch_size, rates, sgd(), [], 0)
        problem.reference.train(expected, *arguments)
        assert_near(parameters, expected, dtype)
        assert report[2] == 1


@every_update
def test_resuming_equals_going_on(isa, dtype, rng, update):
    """An epoch cut in two, with `step` and `state` handed over, gives the same bits."""
    problem = draw(rng, 9, [dense(33), RELU, dense(5)], 60, dtype, "labels")
    order = rng.permutation(60)
    results = []
    for cut in (0, 8, 40, 60):
        parameters = problem.parameters.copy()
        state = oracle.initial_state(update, parameters.size, dtype)
        reports = [
            train(problem, parameters, state, part, 8, update, step)
            for part, step in [(order[:cut], 0), (order[cut:], cut // 8)]
            if cut < 60 or step == 0
        ]
        results.append((parameters, *state))
        assert sum(report[2] for report in reports) == 8
    for result in results[1:]:
        for actual, expected in zip(result, results[0], strict=True):
            assert_same_bits(actual, expected)


def test_repeated_rows(isa, dtype, rng):
    """The order may use a row many times: it is the same as an epoch over copies."""
    problem = draw(rng, 6, [dense(8), TANH, dense(3)], 10, dtype, "labels")
    order = rng.integers(0, 10, 64)
    results = []
    for X, y, rows in [
        (problem.X, problem.y, order),
        (problem.X[order], problem.y[order], np.arange(64)),
    ]:
        results.append((problem.parameters.copy(), np.zeros(3)))
        epoch = {"order": rows, "batch_size": 7, "lr": rates[:10].copy(), "update": sgd()}
        epoch |= {"state": [], "step": 0, "report": results[-1][1]}
        problem.net.train(results[-1][0], X, y, oracle.CROSS_ENTROPY, **epoch)
    assert_same_bits(results[0][0], results[1][0])
    assert_same_bits(results[0][1], results[1][1])


def test_no_steps(isa, dtype, rng):
    problem = draw(rng, 6, [dense(8), TANH, dense(3)], 10, dtype, "labels")
    parameters, state = problem.parameters.copy(), [np.ones(problem.net.n_parameters, dtype)]
    report = train(problem, parameters, state, np.arange(0), 8, sgd(0.9))
    assert_same_bits(parameters, problem.parameters)
    assert (state[0] == 1).all()
    assert (report == 0).all()


@pytest.mark.parametrize("bad", [0, 1, 4])
@pytest.mark.parametrize("update", [sgd(), sgd(0.9), adam()], ids=["sgd", "momentum", "adam"])
@pytest.mark.parametrize("width", [8, 400])
def test_nonfinite_loss_stops_before_the_update(isa, dtype, rng, update, bad, width):
    """Parameters, state and report are those of the steps before, bit for bit."""
    problem = draw(rng, 6, [dense(width), TANH, dense(3)], 50, dtype)
    kept, report = [], []
    problem.y[10 * bad + 3] = np.inf
    for order in (np.arange(50), np.arange(10 * bad)):
        parameters = problem.parameters.copy()
        state = oracle.initial_state(update, parameters.size, dtype)
        kept.append((parameters, *state))
        arguments = (parameters, problem.X, problem.y, oracle.MSE)
        report.append(np.full(3, np.nan))
        epoch = {"order": order, "batch_size": 10, "lr": rates[: len(order) // 10].copy()}
        epoch |= {"update": update, "state": state, "step": 0, "report": report[-1]}
        if len(order) == 50:
            with pytest.raises(FloatingPointError, match=rf"step {bad}\b"):
                problem.net.train(*arguments, **epoch)
        else:
            problem.net.train(*arguments, **epoch)
    for actual, expected in zip(*kept, strict=True):
        assert_same_bits(actual, expected)
    assert_same_bits(report[0], report[1])
    assert report[0][2] == bad


# ------------------------------------------------------------------------------------ _core.update


def update_twice(update, n, dtype, rng, start):
    """Three updates by the core and by the oracle from the same arrays; returns both results."""
    update, params = smooth(update), rng.standard_normal(n).astype(dtype)
    state = oracle.initial_state(update, n, dtype)
    expected, expected_state = params.astype(np.float64), oracle.initial_state(update, n)
    for k in range(3):
        grads = rng.standard_normal(n).astype(dtype)
        before = grads.copy()
        _core.update(update, params, grads, state, rates[k], start + k)
        oracle.apply_update(
            update, expected, grads.astype(np.float64), expected_state, rates[k], start + k
        )
        assert_same_bits(grads, before)
    return [params, *state], [expected, *expected_state]


def assert_few_roundings(pairs, dtype):
    for actual, expected in pairs:
        limit = 32 * np.finfo(dtype).eps * np.maximum(np.abs(expected), 1.0)
        assert (np.abs(actual.astype(np.float64) - expected) <= limit).all()


@every_update
@pytest.mark.parametrize("n", [0, 1, 3, 8, 15, 16, 17, 31, 33, 64, 100, 1001, 20001])
def test_update(isa, dtype, rng, update, n):
    for start in (0, 100000):
        assert_few_roundings(zip(*update_twice(update, n, dtype, rng, start), strict=True), dtype)


@given(n=st.integers(0, 300), start=st.integers(0, 10**6), seed=st.integers(0, 2**32))
@every_update
def test_any_update(isa, dtype, update, n, start, seed):
    rng = np.random.default_rng(seed)
    assert_few_roundings(zip(*update_twice(update, n, dtype, rng, start), strict=True), dtype)


@every_update
def test_update_against_torch(isa, rng, update):
    torch = autodiff.torch()
    params, state = rng.standard_normal(53), oracle.initial_state(update, 53)
    leaf = torch.tensor(params, requires_grad=True)
    optimizer = autodiff.optimizer(update, leaf, rates[0])
    for k in range(10):
        grads = rng.standard_normal(53)
        optimizer.param_groups[0]["lr"] = rates[k]
        leaf.grad = torch.tensor(grads)
        optimizer.step()
        _core.update(update, params, grads, state, rates[k], k)
        assert np.abs(params - leaf.detach().numpy()).max() < 1e-14


@every_update
def test_update_is_the_kernel_of_train(isa, dtype, rng, update):
    """One step of training equals the gradient followed by an update, bit for bit."""
    problem = draw(rng, 9, [dense(21), TANH, dense(5)], 12, dtype, "labels")
    trained, updated = problem.parameters.copy(), problem.parameters.copy()
    states = [oracle.initial_state(update, trained.size, dtype) for _ in range(2)]
    train(problem, trained, states[0], np.arange(12), 12, update)
    _core.update(update, updated, problem.loss_and_grad()[1], states[1], rates[0], 0)
    assert_same_bits(trained, updated)
    for actual, expected in zip(*states, strict=True):
        assert_same_bits(actual, expected)


def test_nan_reaches_parameters(isa, dtype):
    """A NaN gradient makes a NaN parameter, and no other."""
    for update in UPDATES.values():
        params, grads = np.ones(37, dtype), np.ones(37, dtype)
        grads[20] = np.nan
        _core.update(update, params, grads, oracle.initial_state(update, 37, dtype), 0.1, 0)
        assert np.isnan(params[20])
        assert np.isfinite(np.delete(params, 20)).all()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("update", ("nonsense", {})),
        ("params", np.ones(6)),
        ("params", np.ones((5, 1))),
        ("params", np.ones(5, "int64")),
        ("params", np.ones(10)[::2]),
        ("grads", np.ones(6)),
        ("grads", np.ones(5, "float32")),
        ("grads", np.ones(10)[::2]),
        ("state", []),
        ("state", [np.ones(5)]),
        ("state", [np.ones(5), np.ones(6)]),
        ("state", [np.ones(5), np.ones(5, "float32")]),
        ("step", -1),
    ],
)
def test_wrong_arguments_of_update(argument, value):
    arguments = {
        "update": adam(),
        "params": np.ones(5),
        "grads": np.ones(5),
        "state": [np.ones(5), np.ones(5)],
        "lr": 0.1,
        "step": 0,
        argument: value,
    }
    # of two arrays that do not fit together, either may be named
    pattern = "params|grads|state" if argument in ("params", "grads") else argument
    with pytest.raises((ValueError, TypeError), match=rf"\b({pattern})\b"):
        _core.update(*arguments.values())
