"""Signals during training: Ctrl-C and other handlers, and what they leave behind."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import oracle
import pyfast_nn as fnn
from conftest import FULL, assert_same_bits
from problems import RELU, TANH, dense, draw
from pyfast_nn import _core
from pyfast_nn.models import engine_of

pytestmark = pytest.mark.alone

ADAM = ("adam", {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0})
SGD = ("sgd", {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0})
MOMENTUM = ("sgd", {"momentum": 0.9, "nesterov": 0.0, "weight_decay": 0.0})

# in_features, layers, rows, batch size: steps of microseconds on one thread, of milliseconds on a
# team, and of a good part of a second
SHAPES = {
    "tiny": (8, [dense(16), RELU, dense(3)], 50, 4),
    "team": (64, [dense(200), TANH, dense(10)], 512, 256),
    "long steps": (256, [dense(512), TANH, dense(512), TANH, dense(10)], 6000, 6000),
}


class Alarm(Exception):
    """What the handler of a test raises."""


@pytest.fixture
def handlers():
    """Puts the signal handlers back, and stops the timer."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)}
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in kept.items():
        signal.signal(number, handler)


def make(name, dtype="float32"):
    in_features, layers, rows, batch_size = SHAPES[name]
    rng = np.random.default_rng(5)
    return draw(rng, in_features, layers, rows, dtype, "labels", margin=0.0), batch_size


def endless(problem, batch_size):
    """An order of many repeated rows, and the rates of its steps."""
    rows = len(problem.X)
    order = np.tile(np.arange(rows), max(4_000_000, 1000 * batch_size) // rows)
    return order, np.full(-(-len(order) // batch_size), 1e-3)


class Training:
    """A training that goes on until a signal ends it."""

    def __init__(self, problem, batch_size, update):
        self.problem, self.batch_size, self.update = problem, batch_size, update
        self.parameters = problem.parameters.copy()
        self.state = oracle.initial_state(update, problem.net.n_parameters, problem.net.dtype)
        self.report, self.steps = np.full(3, np.nan), 0
        self.order, self.lr = endless(problem, batch_size)

    def run(self, steps):
        order, lr = self.order[: steps * self.batch_size], self.lr[:steps]
        self.problem.net.train(
            *(self.parameters, self.problem.X, self.problem.y, self.problem.loss),
            order=order,
            batch_size=self.batch_size,
            lr=lr,
            update=self.update,
            state=self.state,
            step=self.steps,
            report=self.report,
        )

    def run_until_raised(self, exception):
        """Epoch after epoch, were no signal to come."""
        with pytest.raises(exception):
            while True:
                self.run(len(self.lr))
                self.steps += int(self.report[2])

    def check_against_uninterrupted(self):
        """Parameters, state and report are those of a run of so many steps, bit for bit."""
        if np.isnan(self.report).all():  # the signal came before the core was called
            return assert_same_bits(self.parameters, self.problem.parameters)
        assert self.report[2] == int(self.report[2])
        other = Training(self.problem, self.batch_size, self.update)
        for _ in range(self.steps // len(self.lr)):
            other.run(len(self.lr))
            other.steps += len(self.lr)
        other.run(int(self.report[2]))
        assert_same_bits(self.parameters, other.parameters)
        for actual, expected in zip(self.state, other.state, strict=True):
            assert_same_bits(actual, expected)
        assert_same_bits(self.report, other.report)


@contextlib.contextmanager
def interrupt_after(seconds):
    """Ctrl-C once, `seconds` from now; gives the list of the moments when it was sent."""
    sent = []

    def send():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(seconds, send)
    timer.start()
    try:
        yield sent
    finally:
        timer.join()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("update", [SGD, MOMENTUM, ADAM], ids=["sgd", "momentum", "adam"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_ctrl_c(restore_threads, handlers, name, update, count):
    """KeyboardInterrupt arrives soon; the steps already done are kept; the next call is right."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _core.set_num_threads(count)
    problem, batch_size = make(name)
    expected = problem.loss_and_grad()
    for delay in np.linspace(0.0, 0.5, 30) if FULL else [0.08]:
        training = Training(problem, batch_size, update)
        with interrupt_after(delay) as sent:
            training.run_until_raised(KeyboardInterrupt)
            late = time.monotonic() - sent[0]
        # an interrupt that comes between two calls is Python's; then the report is of a whole one
        if name != "long steps" or FULL:
            training.check_against_uninterrupted()
        assert late < (1.0 if name != "long steps" else 3.0)
        value, grad = problem.loss_and_grad()
        assert value == expected[0]
        assert_same_bits(grad, expected[1])


def test_ctrl_c_in_every_moment(restore_threads, handlers):
    """Interrupted again and again, a training ends where an uninterrupted one does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _core.set_num_threads(2)
    problem, batch_size = make("team")
    training, steps, interrupts = Training(problem, batch_size, ADAM), 600, 0
    for delay in itertools.cycle([0.03, 0.07, 0.005]):
        remaining = steps - training.steps
        order = training.order[training.steps * batch_size : steps * batch_size]
        assert len(order) == remaining * batch_size
        timer = threading.Timer(delay, lambda: os.kill(os.getpid(), signal.SIGINT))
        try:
            timer.start()
            problem.net.train(
                *(training.parameters, problem.X, problem.y, problem.loss),
                order=order,
                batch_size=batch_size,
                lr=training.lr[:remaining],
                update=ADAM,
                state=training.state,
                step=training.steps,
                report=training.report,
            )
            timer.cancel()
            timer.join()
        except KeyboardInterrupt:
            interrupts += 1
        timer.join()
        training.steps += int(training.report[2])
        if training.steps == steps:
            break
    other = Training(problem, batch_size, ADAM)
    other.run(steps)
    assert_same_bits(training.parameters, other.parameters)
    for actual, expected in zip(training.state, other.state, strict=True):
        assert_same_bits(actual, expected)


@pytest.mark.parametrize("name", ["tiny", "team"])
def test_handler_that_raises(handlers, name):
    """Whatever a handler raises arrives as it is."""

    def handler(number, frame):
        raise Alarm("from the handler")

    signal.signal(signal.SIGALRM, handler)
    problem, batch_size = make(name)
    training = Training(problem, batch_size, ADAM)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    training.run_until_raised(Alarm)
    training.check_against_uninterrupted()


@pytest.mark.parametrize("name", ["tiny", "team"])
def test_handler_that_returns(handlers, name):
    """Training goes on, bit for bit; and a handler that uses the busy network is refused, not
    stuck."""
    seen = []
    problem, batch_size = make(name)

    def handler(number, frame):
        try:
            problem.forward()
        except RuntimeError as error:
            seen.append(error)

    signal.signal(signal.SIGALRM, handler)
    steps = 60_000 if name == "tiny" else 300
    training, other = (Training(problem, batch_size, ADAM) for _ in range(2))
    begin = time.monotonic()
    other.run(steps)
    seconds = time.monotonic() - begin
    signal.setitimer(signal.ITIMER_REAL, min(0.02, seconds / 4), 0.02)
    training.run(steps)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert_same_bits(training.parameters, other.parameters)
    assert_same_bits(training.report, other.report)
    assert training.report[2] == steps
    assert seen or seconds < 0.3


REENTRY = """
import signal, sys
sys.path.insert(0, {tests!r})
import numpy as np
from test_interrupt import SGD, make

problem, _ = make("long steps")
X = np.broadcast_to(problem.X[:1], (40000, 256))  # a call of some tenths of a second
out, dparameters, dX = problem.empty(40000, 10), problem.empty_vector(), problem.empty(*X.shape)
pullback = problem.net.vjp(problem.parameters, X, out)

def forward():
    problem.net.forward(problem.parameters, X, np.empty_like(out))  # two calls, two arrays

def pull():
    pullback(out, dparameters, dX)

def train():
    examples = problem.X, problem.y, problem.loss
    epoch = dict(order=np.arange(10), batch_size=10, lr=1.0, update=SGD, state=[], step=0)
    problem.net.train(problem.parameters.copy(), *examples, **epoch, report=np.zeros(3))

calls, answers = {{"pull": pull, "train": train, "forward": forward}}, []

def handler(number, frame):
    try:
        calls[{inner!r}]()
    except RuntimeError:
        pass
    answers.append(1)

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.02)
while not answers:
    calls[{outer!r}]()
"""


@pytest.mark.parametrize(
    ("outer", "inner"),
    [("forward", "train"), ("forward", "forward"), ("pull", "pull"), ("pull", "train")],
)
def test_handler_that_calls_again(outer, inner):
    """A handler that runs in the midst of a call and makes another one gets an answer or a
    RuntimeError: the two must not wait for each other."""
    script = REENTRY.format(tests=os.path.dirname(__file__), outer=outer, inner=inner)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, timeout=20, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def long_layers():
    """name: (layer, an example that takes it a good part of a second or more)."""
    field = [fnn.Dense(2), fnn.Tanh()]
    return {
        "steps": (fnn.NeuralODE(field, method="euler", steps=1_000_000), np.ones((1, 2))),
        # which never arrives
        "iterations": (fnn.DeepEquilibrium(field, max_iter=10_000_000), np.full((1, 2), np.nan)),
        "positions": (fnn.RNN(256, outputs="last"), np.ones((1, 20_000, 1))),
        "heads": (fnn.MultiHeadAttention(8), np.ones((1, 6000, 64))),
    }


@pytest.mark.once
@pytest.mark.parametrize("name", long_layers())
def test_ctrl_c_within_a_layer(restore_threads, handlers, name):
    """It does not wait for the outputs of one example through one layer."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _core.set_num_threads(1)
    layer, X = long_layers()[name]
    model = fnn.Sequential([layer], dtype="float64").build(X.shape[1:])
    net = engine_of(model).net
    out = np.full((net.out_positions, net.out_features), np.inf)
    with interrupt_after(0.05), pytest.raises(KeyboardInterrupt):
        net.forward(model.parameters, X.reshape(1, -1), out)
    assert np.isinf(out).all()
