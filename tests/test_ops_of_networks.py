"""Every op of the core, in small networks that are graphs: all that can be computed of a network,
against float64 NumPy (tests/graphs.py, whose table OPS is the registry)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import oracle
from conftest import assert_close, assert_same_bits
from graphs import ALL, BY_ROWS, OPS, Graph, positions
from pyfast_nn import _core

PLAN = Path(__file__).resolve().parent.parent / "csrc" / "net" / "plan.cpp"
SGD = ("sgd", {"momentum": 0.0, "weight_decay": 0.1, "nesterov": 0})
IN, OUT = 7, 3

every_op = pytest.mark.parametrize("kind", BY_ROWS)
training_or_not = pytest.mark.parametrize("training", [False, True])


@pytest.mark.once
@pytest.mark.skipif(not PLAN.is_file(), reason="the sources are not beside the tests")
def test_every_op_of_the_core_has_its_line():
    kinds = set(re.findall(r'\{"(\w+)",\s*\{OpKind::', PLAN.read_text()))
    assert kinds | {"identity"} == set(ALL)


# ----------------------------------------------------------------------------------------- networks


class Layers:
    """Adds one layer after the other; what `add` returns is how later ones name its output."""

    def __init__(self, kind, width):
        self.kind, self.width, self.list = kind, width, []

    def add(self, kind, *inputs, **fields):
        if "values" not in fields and kind in OPS:
            fields["values"] = OPS[kind].values_for(self.features(inputs[0]))
        self.list.append({"kind": kind, "inputs": list(inputs), **fields})
        return len(self.list)

    def dense(self, x, units, **fields):
        return self.add("dense", x, units=units, **fields)

    def op(self, *xs, **fields):
        """The op that is tested; what it needs besides are branches from the network's input."""
        if OPS[self.kind].codes:  # 0, 1 and 2, of which the last is none
            bits = [self.add("step", self.dense(xs[0], 1)) for _ in range(2)]
            xs = [self.add("add", *bits)]
        if OPS[self.kind].matrix:
            return self.add(self.kind, *xs, units=self.width, **fields)
        while len(xs) < min(max(OPS[self.kind].inputs), 2):
            xs = (*xs, self.add("tanh", self.dense(0, self.features(xs[0]))))
        return self.add(self.kind, *xs, **fields)

    def features(self, x):
        return Graph(IN, self.list).widths[x]


def alone(n):
    n.op(*[0] * max(OPS[n.kind].inputs))


def last(n):
    n.op(n.dense(0, n.width))


def first(n):
    n.dense(n.op(*[0] * min(OPS[n.kind].inputs)), OUT)


def after_dense(n):
    n.dense(n.add("tanh", n.op(n.dense(0, n.width))), OUT)


def before_what_keeps_its_input(n):
    n.dense(n.add("softplus", n.op(n.add("tanh", n.dense(0, n.width))), values=(1.5,)), OUT)


def twice_in_a_row(n):
    x = n.op(n.dense(0, n.width))
    more = [x] * (min(OPS[n.kind].inputs) - 1)
    n.dense(n.op(x, *more), OUT)


def beside_a_branch(n):
    x = n.add("tanh", n.dense(0, n.width))
    n.dense(n.add("concatenate", x, n.op(x), x), OUT)


def with_two_readers(n):
    x = n.op(n.dense(0, n.width))
    n.add("multiply", n.dense(x, OUT), n.add("sigmoid", n.dense(n.add("tanh", x), OUT)))


def of_one_value(n):
    """What has several inputs, with one value for all of them, and nothing else."""
    x = n.add("tanh", n.dense(0, n.width))
    n.dense(n.op(*[x] * max(OPS[n.kind].inputs)), OUT)


def frozen_itself(n):
    n.dense(n.add("tanh", n.op(n.dense(0, n.width), trainable=False)), OUT)


def over_a_frozen_layer(n):
    x = n.add("tanh", n.dense(0, n.width, trainable=False))
    n.dense(n.add("tanh", n.dense(n.op(x), 5)), OUT)


def under_a_frozen_layer(n):
    x = n.op(n.dense(0, n.width))
    n.dense(n.add("tanh", n.dense(x, 5)), OUT, trainable=False)


def used_twice(n):
    x = n.op(n.dense(0, n.width))
    n.dense(n.op(n.add("tanh", x), shares=x - 1), OUT)


def in_a_residual(n):
    x = n.dense(0, n.width)
    y = n.dense(n.add("relu", n.op(x)), n.width)
    n.dense(n.add("identity", n.add("add", n.add("identity", x), y)), OUT)


def piecewise_linear(n):
    x = n.add("relu", n.dense(0, n.width))
    n.dense(n.add("relu", n.op(x)), OUT)


PLACES = [
    alone,
    last,
    first,
    after_dense,
    before_what_keeps_its_input,
    twice_in_a_row,
    beside_a_branch,
    with_two_readers,
    of_one_value,
    frozen_itself,
    over_a_frozen_layer,
    under_a_frozen_layer,
    used_twice,
    in_a_residual,
    piecewise_linear,
]


def is_possible(kind, place):
    if place is used_twice and (OPS[kind].states or kind == "spread"):  # which makes it wider
        return False
    if place in (frozen_itself, used_twice):
        return bool(OPS[kind].parameters)
    return place is not in_a_residual or kind not in ("concatenate", "slice")


every_op_in_every_place = pytest.mark.parametrize(
    ("kind", "place"),
    [
        pytest.param(kind, place, id=f"{kind}-{place.__name__}")
        for kind in BY_ROWS
        for place in PLACES
        if is_possible(kind, place)
    ],
)


def layers_of(kind, place, width):
    layers = Layers(kind, width)
    place(layers)
    return layers.list


# ------------------------------------------------------------------------------------------ problem


class Problem:
    """A network of the core, the reference, and arrays for both."""

    def __init__(self, rng, dtype, in_features, layers, rows, training=False, loss="mse"):
        self.dtype, self.training = dtype, training
        self.net = _core.Network(dtype, in_features, layers)
        self.reference = Graph(in_features, layers, training, seed=3, step=2, dtype=dtype)
        self.run = _core.Run(training=training, seed=3, step=2)
        parameters = rng.standard_normal(self.reference.n_parameters)
        for _, _, offset, shape in self.reference.slots:
            if len(shape) == 2:
                parameters[offset : offset + shape[0] * shape[1]] /= np.sqrt(shape[0])
        self.parameters = parameters.astype(dtype)
        self.state = self.draw_state(rng)
        self.X = rng.standard_normal((rows, in_features)).astype(dtype)
        out, out_rows = self.reference.out_features, rows * self.reference.out_positions
        self.loss = oracle.MSE if loss == "mse" else oracle.CROSS_ENTROPY
        self.y = (
            rng.standard_normal((out_rows, out)).astype(dtype)
            if loss == "mse"
            else rng.integers(0, out, out_rows)
        )
        self.V = rng.standard_normal((3, self.net.n_parameters)).astype(dtype)
        self.U = rng.standard_normal((2, out_rows, out)).astype(dtype)
        self.options = {"model_state": self.state, "run": self.run}

    def draw_state(self, rng):
        if self.reference.n_state == 0:
            return None
        state = np.empty(self.reference.n_state)
        for i, name, offset, (features,) in self.reference.state_slots:
            draw = dict(OPS[self.reference.layers[i]["kind"]].states)[name]
            state[offset : offset + features] = draw(rng, features)
        self.reference.state = state.copy()
        return state

    @property
    def inner(self):
        rows = len(self.X) * max(positions(shape) for shape in self.reference.shapes)
        return max(rows, *self.reference.widths) + 8 * len(self.reference.layers)

    def outputs(self, rows):
        """Room for the outputs of so many examples."""
        return self.empty(rows * self.net.out_positions, self.net.out_features)

    def rows_of(self, some):
        """The rows of outputs that the first examples have."""
        return slice(None if some.stop is None else some.stop * self.net.out_positions)

    def empty(self, *shape):
        return np.full(shape, np.nan, self.dtype)

    def forward(self, rows=slice(None)):
        X = self.X[rows]
        out = self.outputs(len(X))
        self.net.forward(self.parameters, X, out, **self.options)
        return out

    def loss_and_grad(self):
        grad = self.empty(self.net.n_parameters)
        arguments = (self.parameters, self.X, self.y, self.loss, grad)
        return self.net.loss_and_grad(*arguments, **self.options), grad

    def vjp(self, rows=slice(None)):
        X, dout = self.X[rows], self.U[0][self.rows_of(rows)]
        out, dX = self.outputs(len(X)), self.empty(*X.shape)
        dparameters = self.empty(self.net.n_parameters)
        self.net.vjp(self.parameters, X, out, **self.options)(dout, dparameters, dX)
        return out, dparameters, dX

    def jvp(self, rows=slice(None)):
        X = self.X[rows]
        out, dout = self.outputs(len(X)), self.outputs(len(X))
        self.net.jvp(self.parameters, self.V[0], X, out, dout, **self.options)
        return out, dout

    def hvp(self):
        hv = self.empty(self.net.n_parameters)
        arguments = (self.parameters, self.V[0], self.X, self.y, self.loss, hv)
        self.net.hvp(*arguments, **self.options)
        return hv

    def operator(self, kind, memory_budget=0.0):
        target = {} if kind == "jacobian" else {"y": self.y, "loss": self.loss}
        options = {"memory_budget": memory_budget, **target, **self.options}
        return _core.Operator(self.net, kind, self.parameters, self.X, **options)

    def products(self, kind, memory_budget=0.0):
        out = self.empty(*self.V.shape)
        self.operator(kind, memory_budget).products(self.V, out)
        return out

    def quadratic_forms(self, kind):
        forms = np.full(len(self.V), np.nan)
        self.operator(kind).quadratic_forms(self.V, forms)
        return forms

    def losses_along(self, steps):
        losses = np.full(len(steps), np.nan)
        arguments = (self.parameters, self.V[:2], steps, self.X, self.y, self.loss, losses)
        self.net.losses_along(*arguments, model_state=self.state)
        return losses

    def train(self, batch_size, batches_per_step=1):
        """Parameters after an epoch of gradient descent."""
        parameters, state = self.parameters.copy(), None
        if self.state is not None:
            state = self.state.copy()
        run = _core.Run(training=self.training, seed=3, step=2)
        order = np.arange(len(self.X))
        steps = -(-len(order) // (batch_size * batches_per_step))
        self.net.train(
            parameters,
            self.X,
            self.y,
            self.loss,
            order=order,
            batch_size=batch_size,
            lr=np.full(steps, 0.02),
            update=SGD,
            state=[],
            step=0,
            report=np.zeros(3),
            model_state=state,
            batches_per_step=batches_per_step,
            run=run,
        )
        return parameters


def check_maps(problem):
    """Outputs and first and second derivatives are those of the reference."""
    reference, X, y, loss = problem.reference, problem.X, problem.y, problem.loss
    parameters = problem.parameters.astype(np.float64)

    def close(actual, expected):
        assert_close(actual, expected, problem.dtype, problem.inner)

    layout = [(str(i), *slot) for i, *slot in reference.slots]
    assert problem.net.parameter_layout == layout
    states = [(str(i), name, at, shape) for i, name, at, shape in reference.state_slots]
    assert problem.net.state_layout == states

    outputs = reference.forward(parameters, X)
    close(problem.forward(), outputs)
    value, gradient = reference.loss_and_grad(parameters, X, y, loss)
    core_value, core_gradient = problem.loss_and_grad()
    close(core_value, value)
    close(core_gradient, gradient)
    close(
        problem.net.evaluate(parameters.astype(problem.dtype), X, y, loss, **problem.options)[0],
        value,
    )

    out, dparameters, dX = problem.vjp()
    close(out, outputs)
    expected = reference.vjp(parameters, X, problem.U[0])
    close(dparameters, expected[0])
    close(dX, expected[1])
    out, dout = problem.jvp()
    close(out, outputs)
    close(dout, reference.jvp(parameters, problem.V[0], X)[1])
    close(problem.hvp(), reference.hvp(parameters, problem.V[0], X, y, loss))

    if problem.net.n_parameters > 0 and not problem.training:
        steps = np.array([[0.0, 0.0], [0.3, 0.0], [0.0, -0.2], [0.1, 0.2]])
        moved = parameters + steps @ problem.V[:2].astype(np.float64)
        along = [reference.loss_and_grad(there, X, y, loss)[0] for there in moved]
        close(problem.losses_along(steps), along)

    step = np.where(reference.is_trained(), 0.02 * (gradient + 0.1 * parameters), 0)
    close(problem.train(len(X)), parameters - step)


def check_operators(problem):
    """Products, quadratic forms, traces, diagonals and gradients of examples."""
    reference, X, y, loss, V = problem.reference, problem.X, problem.y, problem.loss, problem.V
    parameters, n = problem.parameters.astype(np.float64), len(problem.X)

    def close(actual, expected, terms=1):
        assert_close(actual, expected, problem.dtype, problem.inner + terms)

    jacobian = reference.jacobian(parameters, X)  # (rows, out, n)
    directions = np.where(reference.is_trained(), V.astype(np.float64), 0)
    outputs = reference.forward(parameters, X)
    curved = np.stack(
        [
            oracle.loss_hvp(outputs, np.broadcast_to(e, outputs.shape), y, loss)
            for e in np.eye(outputs.shape[1])
        ],
        axis=1,
    )  # (rows, out, out)
    rows = len(outputs)
    gradients = rows * np.einsum("rop,ro->rp", jacobian, oracle.loss_gradient(outputs, y, loss))
    ways = np.einsum("rop,kp->rko", jacobian, directions)
    products = {
        "hessian": np.stack([reference.hvp(parameters, v, X, y, loss) for v in V]),
        "gauss_newton": np.einsum("rop,roq,rkq->kp", jacobian, curved, ways, optimize=True),
        "empirical_fisher": directions @ gradients.T @ gradients / n,
    }
    if reference.out_positions > 1:
        del products["empirical_fisher"]
        with pytest.raises(ValueError, match="kind: expected another"):
            problem.operator("empirical_fisher")
    for kind, expected in products.items():
        close(problem.products(kind), expected)
        assert_same_bits(problem.products(kind, 1e9), problem.products(kind))
        forms = (expected * directions).sum(axis=1)
        scale = np.abs(expected * directions).sum(axis=1).max(initial=0.0)
        limit = 4 * np.finfo(problem.dtype).eps * (32 + 4 * problem.inner)
        assert np.abs(problem.quadratic_forms(kind) - forms).max(initial=0) <= limit * scale

    operator = problem.operator("jacobian")
    flat = jacobian.reshape(outputs.size, problem.net.n_parameters)
    out = problem.empty(len(V), len(flat))
    operator.jacobian_products(V, out)
    close(out, V.astype(np.float64) @ flat.T)
    out = problem.empty(len(problem.U), V.shape[1])
    operator.jacobian_transposed_products(problem.U.reshape(2, -1), out)
    close(out, problem.U.reshape(2, -1).astype(np.float64) @ flat)

    kinds = [ALL[layer["kind"]] for layer in reference.layers if layer["kind"] in ALL]
    shared = any("shares" in layer for layer in reference.layers)
    coupled = problem.training and any(op.couples_rows for op in kinds)
    at_positions = bool(problem.net.inexact) and any(positions(s) > 1 for s in reference.shapes)
    gradient_rows = problem.empty(n, problem.net.n_parameters)
    if shared or coupled or at_positions or not all(op.exact for op in kinds):
        for call in (
            problem.operator("gauss_newton").traces,
            lambda: problem.operator("gauss_newton").diagonal(V[0].copy()),
            lambda: problem.operator("gauss_newton").example_gradients(gradient_rows),
        ):
            with pytest.raises(ValueError, match="example's part is known"):
                call()
        return
    problem.operator("empirical_fisher").example_gradients(gradient_rows)
    close(gradient_rows, gradients)
    is_linear = all(op.piecewise_linear for op in kinds) and problem.net.piecewise_linear
    for kind in ["gauss_newton", "empirical_fisher"] + ["hessian"] * is_linear:
        if kind == "empirical_fisher":
            diagonal = (gradients**2).mean(axis=0)
        else:
            diagonal = (jacobian * np.einsum("roq,rqp->rop", curved, jacobian)).sum(axis=(0, 1))
        traces = [
            diagonal[offset : offset + int(np.prod(shape))].sum()
            for _, _, offset, shape in reference.slots
        ]
        actual, of_rows = problem.operator(kind).traces()
        close(actual, traces, terms=problem.net.n_parameters)
        close(sum(of_rows), sum(traces), terms=problem.net.n_parameters)
        out = problem.empty(problem.net.n_parameters)
        problem.operator(kind).diagonal(out)
        close(out, diagonal, terms=problem.net.n_parameters)


# -------------------------------------------------------------------------------------------- tests


@every_op_in_every_place
@training_or_not
def test_in_every_place(isa, dtype, rng, kind, training, place):
    for rows, width, loss in ((40, 9, "mse"), (5, 4, "labels")):
        layers = layers_of(kind, place, width)
        problem = Problem(rng, dtype, IN, layers, rows, training, loss)
        check_maps(problem)
        if rows == 5:
            check_operators(problem)


@every_op
@training_or_not
def test_every_width(isa, dtype, rng, kind, training):
    for width in OPS[kind].widths:
        for place in (after_dense, in_a_residual):
            if not is_possible(kind, place):
                continue
            problem = Problem(rng, dtype, IN, layers_of(kind, place, width), 6, training)
            check_maps(problem)
            check_operators(problem)
        if not OPS[kind].matrix:
            inputs = [0] * min(OPS[kind].inputs)
            layers = [{"kind": kind, "inputs": inputs, "values": OPS[kind].values_for(width)}]
            check_maps(Problem(rng, dtype, width, layers, 6, training))


def wide(kind):
    """A network whose steps a team shares, with branches."""
    n = Layers(kind, 130)
    x = n.add("relu", n.op(n.dense(0, n.width)))
    y = n.op(n.add("tanh", n.dense(x, n.width)))
    z = n.add("concatenate", y, x)
    n.op(n.dense(z, n.width), *[y] * (min(OPS[kind].inputs) - 1))
    return n.list


def everything(problem):
    """All results of a problem, by name."""
    results = {
        "forward": problem.forward(),
        "few": problem.forward(slice(20)),
        "loss_and_grad": problem.loss_and_grad()[1],
        "vjp": np.concatenate([a.ravel() for a in problem.vjp()]),
        "jvp": problem.jvp()[1],
        "hvp": problem.hvp(),
        "forms": problem.quadratic_forms("hessian"),
        "kept": problem.products("hessian", 1e9),
        "train": problem.train(50),
        "accumulated": problem.train(24, 2),
    }
    fisher = ["empirical_fisher"] * (problem.net.out_positions == 1)
    for kind in ("hessian", "gauss_newton", *fisher):
        results[kind] = problem.products(kind)
    return results


@every_op
@training_or_not
@pytest.mark.parametrize("rows", [60, 300])
def test_the_same_bits_for_any_team(isa, dtype, rng, restore_threads, kind, training, rows):
    """With rows, and with columns of each layer, for each thread."""
    problem = Problem(rng, dtype, 20, wide(kind), rows, training)
    _core.set_num_threads(1)
    expected = everything(problem)
    for threads in (2, 5):
        _core.set_num_threads(threads)
        for name, result in everything(problem).items():
            assert np.isfinite(result).all(), name
            assert_same_bits(result, expected[name])


@every_op
@training_or_not
@pytest.mark.parametrize("width", [9, 130])
def test_any_cut_of_the_rows(isa, dtype, rng, kind, training, width):
    """A row has the same bits in any batch, unless rows are coupled."""
    if training and OPS[kind].couples_rows:
        pytest.skip("in training the rows are coupled")
    n = Layers(kind, width)
    n.dense(n.op(n.add("tanh", n.op(n.dense(0, width)))), OUT)
    problem = Problem(rng, dtype, IN, n.list, 1100, training)
    (out, _, dX), dout = problem.vjp(), problem.jvp()[1]
    assert_same_bits(problem.forward(), out)
    for rows in (1, 2, 14, 32, 33, 600, 1030):
        some = slice(rows)
        assert_same_bits(problem.forward(some), out[some])
        few_out, _, few_dX = problem.vjp(some)
        assert_same_bits(few_out, out[some])
        assert_same_bits(few_dX, dX[some])
        assert_same_bits(problem.jvp(some)[1], dout[some])


@every_op
@training_or_not
def test_more_rows_than_a_chunk(isa, dtype, rng, kind, training):
    n = Layers(kind, 9)
    n.dense(n.add("tanh", n.op(n.dense(0, 9))), OUT)
    check_maps(Problem(rng, dtype, IN, n.list, 1030, training))


@every_op
def test_training_is_deterministic_and_what_runs_without_it_is_not_random(isa, dtype, rng, kind):
    n = Layers(kind, 20)
    n.op(n.dense(0, 20))
    problem = Problem(rng, dtype, IN, n.list, 50, training=True)
    first = problem.forward()
    assert_same_bits(problem.forward(), first)
    problem.options["run"] = _core.Run(training=True, seed=4, step=2)
    assert (problem.forward() != first).any() == OPS[kind].random
    problem.options["run"] = _core.Run(training=True, seed=3, step=1)
    assert (problem.forward() != first).any() == OPS[kind].random
    assert problem.net.is_random == OPS[kind].random
    assert problem.net.couples_rows == OPS[kind].couples_rows
    still = [_core.Run(training=False, seed=seed) for seed in (3, 4)]
    a, b = (problem.forward() for problem.options["run"] in still)
    assert_same_bits(a, b)


def test_traces_and_diagonal_by_one_random_column(isa, dtype, rng):
    """What is not exact: the mean over signs is."""
    n = Layers("scale", 4)
    after_dense(n)
    problem = Problem(rng, dtype, IN, n.list, 3)
    operator = problem.operator("gauss_newton")
    exact = np.sum(operator.traces()[0])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    estimates = [np.sum(operator.traces(np.tile(s, (3, 1)).astype(dtype))[0]) for s in signs]
    assert_close(np.mean(estimates), exact, dtype, 100)


# ------------------------------------------------------------------------------------ what is wrong


def refused(in_features, layers, message):
    with pytest.raises(ValueError, match=message):
        _core.Network("float32", in_features, layers)


@every_op
def test_wrong_numbers_of_inputs_and_values_are_refused(kind):
    op = OPS[kind]
    units = {"units": 3} if op.matrix else {}
    for count in range(4):
        fields = {"kind": kind, "inputs": [0] * count, "values": op.values_for(4), **units}
        if count in op.inputs:
            _core.Network("float32", 1 if op.codes else 4, [fields])
        else:
            refused(4, [fields], r"layers\[0\]: inputs: expected")
    fields = {"kind": kind, "inputs": [0] * min(op.inputs), **units}
    refused(4, [{**fields, "values": (*op.values_for(4), 1.0)}], "expected .* values, got")


def test_inputs_of_different_widths_are_refused():
    for kind in ("add", "multiply"):
        layers = [{"kind": "dense", "units": 5}, {"kind": kind, "inputs": [0, 1]}]
        refused(4, layers, "expected inputs of one width, got 4 and 5 features")


def test_parameters_can_only_be_shared_with_a_layer_before_of_the_same_shape():
    dense = {"kind": "dense", "units": 4}
    refused(4, [{**dense, "shares": 0}], "shares: expected a layer before it with parameters")
    refused(4, [dense, {"kind": "tanh"}, {**dense, "shares": 1}], "shares: expected a layer before")
    refused(5, [dense, {**dense, "shares": 0}], "as wide as where it was used first, got 4")
    refused(4, [dense, {"kind": "scale", "shares": 0}], "shares: expected a layer of its own kind")
