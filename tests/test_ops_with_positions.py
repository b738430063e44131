"""Ops at positions: those that mix them, and those that work on each by itself, in small networks.

All that can be computed of them, against float64 NumPy. The table OPS of tests/graphs.py is the
registry; the `cases` of an op say at which shapes.
"""

from __future__ import annotations

import numpy as np
import pytest

from conftest import assert_same_bits
from graphs import BY_ROWS, OPS, Graph
from pyfast_nn import _core
from test_ops_of_networks import OUT, Layers, Problem, check_maps, check_operators, everything

CASES = [
    pytest.param(kind, number, id=f"{kind}-{number}")
    for kind in OPS
    for number in range(max(len(OPS[kind].cases), 1))
]
every_case = pytest.mark.parametrize(("kind", "number"), CASES)
training_or_not = pytest.mark.parametrize("training", [False, True])


@pytest.mark.once
def test_every_op_that_mixes_positions_has_cases():
    assert all(OPS[kind].cases for kind in OPS if kind not in BY_ROWS)


class AtPositions(Layers):
    """Layers around an op whose inputs have the shapes of a case."""

    def __init__(self, kind, number):
        super().__init__(kind, width=5)
        op = OPS[kind]
        default = (((2, 3, 1 if op.codes else 5),) * min(op.inputs[-1], 2), {})
        self.shapes, self.fields = op.cases[number] if op.cases else default
        if op.matrix and not op.cases:
            self.fields = {"units": self.width}
        self.in_features = max(int(np.prod(shape)) for shape in self.shapes)

    def features(self, x):
        return Graph(self.in_features, self.list).widths[x]

    def columns(self, shape):
        """The first columns of X in a shape."""
        size, x = int(np.prod(shape)), 0
        if size < self.in_features:
            x = self.add("slice", 0, values=(0, size))
        return self.add("reshape", x, values=shape)

    def mixed(self, through, **fields):
        """The op; its first input, or all of one by rows, comes through a dense layer."""
        xs = [self.columns(shape) for shape in self.shapes]
        for i, x in enumerate(xs):
            if OPS[self.kind].codes:  # 0, 1 and 2, of which the last may be none
                xs[i] = self.add("add", *[self.add("step", self.dense(x, 1)) for _ in range(2)])
            elif through and i < self.moved():
                xs[i] = self.add(through, self.dense(x, self.shapes[i][-1]))
        return self.add(self.kind, *xs, **{**self.fields, **fields})

    def moved(self):
        """How many inputs have derivatives: all but lengths, which are the last, if any."""
        return len(self.shapes) - self.fields.get("lengths", 0)

    def add(self, kind, *inputs, **fields):
        fields.pop("lengths", None)
        return super().add(kind, *inputs, **fields)

    def flat(self, x):
        shape = Graph(self.in_features, self.list).shapes[x]
        return self.add("reshape", x, values=(1, 1, int(np.prod(shape))))


def alone(n):
    n.mixed(None)


def first(n):
    n.dense(n.flat(n.mixed(None)), OUT)


def in_the_middle(n):
    n.dense(n.flat(n.add("tanh", n.mixed("tanh"))), OUT)


def before_what_keeps_its_input(n):
    n.dense(n.add("softplus", n.mixed("tanh"), values=(1.5,)), OUT)


def with_two_readers(n):
    x = n.mixed("relu")
    n.add("multiply", n.dense(x, OUT), n.add("sigmoid", n.dense(n.add("tanh", x), OUT)))


def frozen_itself(n):
    n.dense(n.add("tanh", n.mixed("tanh", trainable=False)), OUT)


def under_a_frozen_layer(n):
    n.dense(n.flat(n.mixed("tanh")), OUT, trainable=False)


def beside_itself(n):
    """Two readers of one value, one of which adds its gradient."""
    x = n.mixed("tanh")
    inputs = n.list[-1]["inputs"]
    y = n.add(n.kind, *inputs, **n.fields)
    n.dense(n.add("add", x, y), OUT)


PLACES = [alone, first, in_the_middle, before_what_keeps_its_input, with_two_readers]
PLACES += [frozen_itself, under_a_frozen_layer, beside_itself]


@every_case
@training_or_not
@pytest.mark.parametrize("place", PLACES)
def test_in_every_place(isa, dtype, rng, kind, number, training, place):
    if place is frozen_itself and not OPS[kind].parameters:
        pytest.skip("nothing to freeze")
    n = AtPositions(kind, number)
    place(n)
    problem = Problem(rng, dtype, n.in_features, n.list, 5, training, "labels")
    check_maps(problem)
    if place in (alone, in_the_middle):
        small = Problem(rng, dtype, n.in_features, n.list, 2, training)
        check_operators(small)


@every_case
@training_or_not
def test_any_team_and_any_cut(isa, dtype, rng, restore_threads, kind, number, training):
    n = AtPositions(kind, number)
    n.dense(n.add("tanh", n.mixed("tanh")), OUT)
    problem = Problem(rng, dtype, n.in_features, n.list, 75, training)
    _core.set_num_threads(1)
    expected = everything(problem)
    for threads in (2, 5):
        _core.set_num_threads(threads)
        for name, result in everything(problem).items():
            assert np.isfinite(result).all(), name
            assert_same_bits(result, expected[name])
    if training and OPS[kind].couples_rows:
        return
    (out, _, dX), dout = problem.vjp(), problem.jvp()[1]
    for rows in (1, 2, 14, 33):
        some = slice(rows)
        here = problem.rows_of(some)
        few_out, _, few_dX = problem.vjp(some)
        for actual, whole in ((problem.forward(some), out), (few_out, out)):
            assert_same_bits(actual, whole[here])
        assert_same_bits(few_dX, dX[some])
        assert_same_bits(problem.jvp(some)[1], dout[here])


def test_traces_of_what_is_used_at_several_positions_are_refused():
    n = AtPositions("reshape", 0)
    n.dense(n.flat(n.dense(n.columns((2, 3, 4)), 4)), OUT)
    net = _core.Network("float64", n.in_features, n.list)
    assert net.inexact == "the parameters of layer 1 are used at several positions"
    n = AtPositions("reshape", 0)
    n.add("reshape", n.dense(0, 6), values=(1, 2, 3))
    net = _core.Network("float64", n.in_features, n.list)
    assert net.inexact == "outputs have several positions"
