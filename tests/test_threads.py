"""The promise of equal bits for any number of threads, and what happens when things go wrong."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import oracle
import pyfast_nn as fnn
from conftest import FULL, THREADS, assert_same_bits
from problems import RELU, SIGMOID, TANH, dense, draw
from pyfast_nn import _core

pytestmark = pytest.mark.alone

ADAM = ("adam", {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01})
NESTEROV = ("sgd", {"momentum": 0.9, "nesterov": 1.0, "weight_decay": 0.0})

# name: in_features, layers, rows, batch size. Steps of the first two are so small that one thread
# does them alone; the others are shared by a team, along one axis or another.
SHAPES = {
    "tiny": (8, [dense(16), RELU, dense(3)], 50, 4),
    "small": (64, [dense(64), RELU, dense(10)], 300, 32),
    "wide": (70, [dense(256), RELU, dense(259), TANH, dense(10)], 200, 128),
    "wide, one row": (500, [dense(600), TANH, dense(2)], 3, 1),
    "many rows": (12, [dense(9), TANH, dense(3)], 5000, 2400),
    "one column": (300, [dense(1)], 2400, 1200),
    "one column inside": (200, [dense(1), TANH, dense(200)], 1050, 600),
    "deep": (40, [layer for _ in range(12) for layer in (dense(41), SIGMOID)], 150, 80),
    "blocks of a weight": (300, [dense(200), TANH, dense(72)], 1100, 1000),
    "only activations": (200, [SIGMOID, TANH], 2200, 2200),
    "activations at both ends": (64, [TANH, dense(130), RELU, dense(33), TANH], 300, 133),
}
every_shape = pytest.mark.parametrize("name", SHAPES)


def make(rng, name, dtype, target="labels"):
    in_features, layers, rows, batch_size = SHAPES[name]
    # margin 0: here nothing is compared with other arithmetic
    return draw(rng, in_features, layers, rows, dtype, target, margin=0.0), batch_size


def train(problem, batch_size, update=ADAM, epochs=1, order=None, parameters=None, state=None):
    """Train from the problem's parameters; returns every array that it writes."""
    order = np.arange(len(problem.X))[::-1].copy() if order is None else order
    steps = -(-len(order) // batch_size)
    parameters = problem.parameters.copy() if parameters is None else parameters
    state = oracle.initial_state(update, parameters.size, problem.net.dtype) or state
    reports = np.full((epochs, 3), np.nan)
    for epoch, report in enumerate(reports):
        problem.net.train(
            *(parameters, problem.X, problem.y, problem.loss),
            order=order,
            batch_size=batch_size,
            lr=np.full(steps, 1e-3),
            update=update,
            state=state,
            step=epoch * steps,
            report=report,
        )
    return [parameters, *state, reports]


def every_result(problem, batch_size, rng):
    """What all calls return, as a list of arrays."""
    v = problem.vector(rng)
    dout = rng.standard_normal((len(problem.X), problem.net.out_features)).astype(problem.net.dtype)
    value, grad = problem.loss_and_grad()
    arguments = (problem.parameters, problem.X, problem.y, problem.loss)
    scalars = np.array([value, *problem.net.evaluate(*arguments)])
    if problem.net.n_parameters:
        steps = np.linspace(-0.5, 0.5, 14).reshape(7, 2)
        scalars = np.append(scalars, problem.losses_along(np.stack([v, -v[::-1]]), steps))
    results = [problem.forward(), grad, scalars, problem.hvp(v), *problem.jvp(v)]
    results += [*problem.vjp(dout), *train(problem, batch_size, ADAM)]
    return results + train(problem, batch_size, NESTEROV)


@every_shape
@pytest.mark.parametrize("target", ["labels", "mse"] if FULL else ["labels"])
def test_bits_do_not_depend_on_threads(isa, dtype, rng, restore_threads, name, target):
    problem, batch_size = make(rng, name, dtype, target)
    expected = None
    for count in THREADS:
        _core.set_num_threads(count)
        results = every_result(problem, batch_size, np.random.default_rng(0))
        expected = expected or results
        for actual, first in zip(results, expected, strict=True):
            assert np.isfinite(actual).all()
            assert_same_bits(actual, first)


@every_shape
def test_shapes_use_one_thread_or_a_team(rng, restore_threads, name):
    """So that the shapes above keep covering both, an exception is planted in the second thread:
    steps that have none never meet it."""
    _core.set_num_threads(2)
    problem, batch_size = make(rng, name, "float32")
    _core.fail_in_team(1)
    try:
        if name in ("tiny", "small"):
            train(problem, batch_size)
        else:
            with pytest.raises(RuntimeError):
                train(problem, batch_size)
    finally:
        _core.fail_in_team(-1)


@pytest.mark.parametrize("update", [ADAM, NESTEROV], ids=["adam", "sgd"])
def test_bits_of_update_do_not_depend_on_threads(isa, dtype, rng, restore_threads, update):
    params, grads = rng.standard_normal((2, 150_001)).astype(dtype)
    expected = None
    for count in THREADS:
        _core.set_num_threads(count)
        results = [params.copy(), *oracle.initial_state(update, params.size, dtype)]
        for step in range(2):
            _core.update(update, results[0], grads, results[1:], 1e-3, step)
        expected = expected or results
        for actual, first in zip(results, expected, strict=True):
            assert_same_bits(actual, first)


@pytest.mark.parametrize("name", ["wide", "many rows", "small"])
def test_bits_do_not_change_between_calls(isa, dtype, rng, restore_threads, name):
    """Races show up as differences between calls: the same call, many times."""
    problem, batch_size = make(rng, name, dtype)
    _core.set_num_threads(5)
    expected = every_result(problem, batch_size, np.random.default_rng(0))
    for _ in range(100 if FULL else 2):
        results = every_result(problem, batch_size, np.random.default_rng(0))
        for actual, first in zip(results, expected, strict=True):
            assert_same_bits(actual, first)


def test_number_of_threads(restore_threads):
    for count in (1, 2, 7):
        _core.set_num_threads(count)
        assert _core.get_num_threads() == count
    for bad in (0, -1):
        with pytest.raises(ValueError, match=r"\bn\b|threads"):
            _core.set_num_threads(bad)
    assert _core.get_num_threads() == 7


# ------------------------------------------------------------------------------ threads of Python


def test_predicting_at_once(isa, dtype, rng, restore_threads):
    """Python threads share one network; every call gets its own answer."""
    _core.set_num_threads(2)
    problem, _ = make(rng, "wide", dtype)
    net, parameters = problem.net, problem.parameters
    inputs = [rng.standard_normal((rows, 70)).astype(dtype) for rows in (1, 40, 150, 400)]
    expected = [np.full((len(X), 10), np.nan, dtype) for X in inputs]
    for X, out in zip(inputs, expected, strict=True):
        net.forward(parameters, X, out)
    wrong, start = [], threading.Barrier(len(inputs))

    def predict(X, right):
        start.wait()
        for _ in range(200 if FULL else 8):
            out, grad = np.full_like(right, np.nan), np.empty_like(parameters)
            net.forward(parameters, X, out)
            net.loss_and_grad(parameters, X, np.zeros(len(X), np.int64), oracle.CROSS_ENTROPY, grad)
            if out.tobytes() != right.tobytes():
                wrong.append(len(X))

    workers = [
        threading.Thread(target=predict, args=pair) for pair in zip(inputs, expected, strict=True)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.parametrize("name", ["tiny", "wide"])
def test_training_keeps_other_calls_out(rng, restore_threads, name):
    """While a network trains, each of its calls from another thread raises RuntimeError; other
    networks, and pullbacks (which own all that they need), go on. Afterwards all work again. The
    training is ended by Ctrl-C."""
    _core.set_num_threads(2)
    problem, batch_size = make(rng, name, "float32")
    other, _ = make(rng, "small", "float32")
    expected, v = problem.forward(), problem.vector(rng)
    dout = np.ones_like(expected)
    pullback = problem.net.vjp(problem.parameters, problem.X, expected.copy())
    gradients = [(problem.empty_vector(), np.empty_like(problem.X)) for _ in range(2)]
    pullback(dout, *gradients[0])
    calls = {
        "forward": problem.forward,
        "evaluate": lambda: problem.net.evaluate(
            problem.parameters, problem.X, problem.y, problem.loss
        ),
        "losses_along": lambda: problem.losses_along(v[None], np.zeros((3, 1))),
        "loss_and_grad": problem.loss_and_grad,
        "vjp": lambda: problem.vjp(dout),
        "jvp": lambda: problem.jvp(v),
        "hvp": lambda: problem.hvp(v),
        "train": lambda: train(problem, batch_size),
    }
    refused, deadline = set(), threading.Event()

    def intrude():
        # ends the training when each of the calls has been refused once, or time is over
        try:
            while refused != calls.keys() and not deadline.is_set():
                for call_name, call in calls.items():
                    try:
                        call()
                    except RuntimeError:
                        refused.add(call_name)
                other.forward()
                pullback(dout, *gradients[1])
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    intruder = threading.Thread(target=intrude)
    timer = threading.Timer(20, deadline.set)
    order = np.tile(np.arange(len(problem.X)), 4_000_000 // len(problem.X))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        intruder.start()
        while True:
            with contextlib.suppress(RuntimeError):  # the intruder may have come first
                train(problem, batch_size, order=order)
    timer.cancel()
    timer.join()
    intruder.join()
    assert refused == calls.keys()
    for actual, right in zip(*gradients, strict=True):
        assert_same_bits(actual, right)
    assert_same_bits(problem.forward(), expected)
    for call in calls.values():
        call()


FORKS = """
import os, signal, sys, time
sys.path.insert(0, {tests!r})
import numpy as np
import test_threads
from pyfast_nn import _core

_core.set_num_threads(4)

def results():
    bits = []
    for name in ("wide", "tiny", "many rows"):
        rng = np.random.default_rng(0)
        problem, batch_size = test_threads.make(rng, name, "float32")
        bits += [array.tobytes() for array in test_threads.every_result(problem, batch_size, rng)]
    return b"".join(bits)

expected = results()
for k in range({count}):
    child = os.fork()
    if child == 0:
        os._exit(0 if results() == expected else 1)
    for _ in range(6000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.005)
    else:
        os.kill(child, signal.SIGKILL)
        sys.exit("fork %d hangs" % k)
    if status != 0:
        sys.exit("fork %d ended with status %d" % (k, status))
    assert results() == expected  # the parent's threads live on
print("all right")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_after_threads():
    """A child computes the same bits, though the threads of its parent are gone."""
    script = FORKS.format(tests=os.path.dirname(__file__), count=1000 if FULL else 6)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600 if FULL else 120)
    assert done.stdout.strip() == "all right", done.stderr


# ------------------------------------------------------------------------------------------ failure


def calls_that_may_fail(dtype):
    """name: a function that makes a new network and returns the results of one call, as arrays.
    All networks are large enough for a team of threads; the data are the same each time."""

    def problem():
        rng = np.random.default_rng(1)
        return draw(rng, 60, [dense(300), TANH, dense(70)], 256, dtype, margin=0.0)

    def vjp():
        return problem().vjp(np.ones((256, 70), dtype))

    def gemm():
        a = np.random.default_rng(1).standard_normal((300, 300)).astype(dtype)
        c = np.full((300, 300), np.nan, dtype)
        _core.gemm(a, a, c, 1.0, 0.0, False, True)
        return [c]

    return {
        "forward": lambda: [problem().forward()],
        "loss_and_grad": lambda: [problem().loss_and_grad()[1]],
        "vjp": vjp,
        "jvp": lambda: problem().jvp(np.ones(39370, dtype)),
        "hvp": lambda: [problem().hvp(np.ones(39370, dtype))],
        "train": lambda: train(problem(), 128),
        "gemm": gemm,
    }


every_call = pytest.mark.parametrize("name", calls_that_may_fail("float32"))


@every_call
def test_exception_in_the_team(isa, dtype, restore_threads, name):
    """It arrives as RuntimeError, whichever thread it left; the next call is right."""
    call = calls_that_may_fail(dtype)[name]
    _core.set_num_threads(4)
    expected = call()
    try:
        for rank in (0, 3, 1):
            _core.fail_in_team(rank)
            with pytest.raises(RuntimeError):
                call()
            _core.fail_in_team(-1)
            for actual, right in zip(call(), expected, strict=True):
                assert_same_bits(actual, right)
    finally:
        _core.fail_in_team(-1)


@every_call
def test_failed_allocation(isa, dtype, restore_threads, name):
    """The k-th allocation fails, k rising until there is none: MemoryError, and the next call is
    right."""
    call = calls_that_may_fail(dtype)[name]
    _core.set_num_threads(4)
    expected = call()
    failures = 0
    try:
        for k in range(1, 1000):
            _core.fail_allocation(k)
            try:
                results = call()
            except MemoryError:
                failures += 1
                _core.fail_allocation(0)
                results = call()
            else:
                break
            finally:
                _core.fail_allocation(0)
            for actual, right in zip(results, expected, strict=True):
                assert_same_bits(actual, right)
    finally:
        _core.fail_allocation(0)
    assert failures == k - 1
    # the product of matrices may live on memory that its thread already has
    assert failures >= 1 or name == "gemm"


def test_failed_allocation_leaves_parameters_alone(dtype):
    """Training that could not get its memory has changed nothing."""
    rng = np.random.default_rng(1)
    problem = draw(rng, 60, [dense(300), TANH, dense(70)], 256, dtype, margin=0.0)
    parameters, state = problem.parameters.copy(), [np.ones(39370, dtype) for _ in range(2)]
    _core.fail_allocation(1)
    try:
        with pytest.raises(MemoryError):
            epoch = {"order": np.arange(256), "batch_size": 64, "lr": 1.0, "update": ADAM}
            epoch |= {"state": state, "step": 0, "report": np.zeros(3)}
            problem.net.train(parameters, problem.X, problem.y, oracle.MSE, **epoch)
    finally:
        _core.fail_allocation(0)
    assert_same_bits(parameters, problem.parameters)
    assert all((vector == 1).all() for vector in state)


@pytest.mark.parametrize("name", ["tiny", "wide"])
def test_allocations_do_not_depend_on_steps(isa, dtype, rng, restore_threads, name):
    _core.set_num_threads(2)
    counts = []
    for steps in (1, 2, 30, 300 if name == "tiny" else 31):
        problem, batch_size = make(np.random.default_rng(0), name, dtype)
        order = np.resize(np.arange(len(problem.X)), steps * batch_size)
        before = _core.allocations()
        train(problem, batch_size, order=order)
        counts.append(_core.allocations() - before)
    assert counts[0] > 0
    assert len(set(counts)) == 1
    before = _core.allocations()
    train(problem, batch_size)
    assert _core.allocations() == before, "the second epoch uses the memory of the first"


# --------------------------------------------------------------------- floating point environment


def assert_subnormals_live(dtype):
    tiny = np.full(1000, np.finfo(dtype).tiny, dtype)
    assert (tiny / 4 > 0).all(), "results flushed to zero"
    assert ((tiny / 4) * 4 == tiny).all(), "operands treated as zero"
    assert 5e-324 > 0.0
    assert float(np.finfo(np.float64).tiny) / 4 > 0.0


@pytest.mark.parametrize("count", [1, 4])
def test_floating_point_environment_is_restored(isa, dtype, rng, restore_threads, count):
    """Inside the team subnormal numbers may be zero; outside they are not, on any way out."""
    _core.set_num_threads(count)
    assert_subnormals_live(dtype)
    for name in ("tiny", "wide"):
        problem, batch_size = make(rng, name, dtype, "mse")
        every_result(problem, batch_size, rng)
        assert_subnormals_live(dtype)
        problem.y[0] = np.nan
        with pytest.raises(FloatingPointError):
            train(problem, batch_size)
        assert_subnormals_live(dtype)
    _core.fail_in_team(count - 1)
    try:
        with pytest.raises(RuntimeError):
            calls_that_may_fail(dtype)["forward"]()
    finally:
        _core.fail_in_team(-1)
    assert_subnormals_live(dtype)


class TestChangingTeams:
    """The team of a training may change after any step."""

    @pytest.fixture(autouse=True)
    def unsettled(self, restore_threads):
        _core.unsettle_teams(True)
        yield
        _core.unsettle_teams(False)

    @pytest.mark.parametrize("name", ["wide", "wide, one row", "many rows", "deep"])
    def test_same_bits(self, isa, dtype, rng, name):
        problem, batch_size = make(rng, name, dtype)
        _core.set_num_threads(1)
        expected = [train(problem, batch_size, rule) for rule in (ADAM, NESTEROV)]
        for count in THREADS[1:]:
            _core.set_num_threads(count)
            for rule, results in zip((ADAM, NESTEROV), expected, strict=True):
                for actual, right in zip(train(problem, batch_size, rule), results, strict=True):
                    assert_same_bits(actual, right)

    @pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}], ids=["fused", "stepwise"])
    def test_fits(self, options):
        X, y = fnn.datasets.load_digits()
        results = []
        for count in (1, 2, 5):
            _core.set_num_threads(count)
            model = fnn.Sequential([fnn.Dense(200), fnn.ReLU(), fnn.Dense(10)], seed=0)
            for _ in range(3):
                model.fit(
                    X,
                    y,
                    loss="cross_entropy",
                    optimizer=fnn.optim.Adam(**options),
                    epochs=1,
                    batch_size=100,
                    validation_split=0.2,
                    verbose=0,
                )
            results.append((model.parameters.tobytes(), model.history["val_loss"]))
        assert results[0] == results[1] == results[2]

    def test_exception_while_others_rest(self, rng):
        """What leaves the last of those who work reaches those who rest, and the caller."""
        problem, batch_size = make(rng, "deep", "float32")
        _core.set_num_threads(4)
        X = problem.X.copy()
        for row in (-1, len(X) // 2):
            problem.X[:] = X
            problem.X[row] = np.nan
            for _ in range(5):
                with pytest.raises(FloatingPointError):
                    train(problem, batch_size, ADAM)
        problem.X[:] = X
        assert np.isfinite(train(problem, batch_size, ADAM)[0]).all()

    def test_ctrl_c(self):
        """It stops an epoch whoever works at that moment."""
        X, y = fnn.datasets.load_digits()
        X, y = np.tile(X, (200, 1)), np.tile(y, 200)
        _core.set_num_threads(3)
        for delay in (0.05, 0.11, 0.2):
            model = fnn.Sequential([fnn.Dense(300), fnn.ReLU(), fnn.Dense(10)], seed=0)
            signal.setitimer(signal.ITIMER_REAL, delay)
            handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
            try:
                with pytest.raises(KeyboardInterrupt):
                    model.fit(X, y, loss="cross_entropy", epochs=50, verbose=0)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, handler)
            assert np.isfinite(model.parameters).all()
