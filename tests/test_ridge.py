"""Ridge: the squares of the weights as a part of what an epoch of the core makes smaller."""

import numpy as np
import pytest

import oracle
from conftest import assert_same_bits
from problems import TANH, dense, draw
from pyfast_nn import Dense, ReLU, Sequential, _core, optim
from pyfast_nn.training import fit
from test_training import CONSTANT, LR, assert_near

RIDGE = 3.0
LAYERS = [dense(37), TANH, dense(21), TANH, dense(4)]


class WithRidge:
    """The reference network, to whose losses and gradients the penalty is added."""

    def __init__(self, problem, ridge):
        self.reference, self.ridge = problem.reference, ridge
        self.is_weight = np.concatenate(
            [
                np.full(int(np.prod(shape)), name == "weight")
                for _, name, _, shape in problem.net.parameter_layout
            ]
        )

    def train(self, parameters, X, y, loss, order, batch_size, update, lr):
        """Run one epoch in place; return the states and the sum of losses."""
        states, total = oracle.initial_state(update, parameters.size), 0.0
        for step, first in enumerate(range(0, len(order), batch_size)):
            rows = order[first : first + batch_size]
            value, gradient = self.reference.loss_and_grad(parameters, X[rows], y[rows], loss)
            weights = np.where(self.is_weight, parameters, 0)
            total += len(rows) * value + self.ridge / 2 * weights @ weights
            gradient = gradient + self.ridge / len(rows) * weights
            oracle.apply_update(update, parameters, gradient, states, lr[step], step)
        return states, total


def train(problem, order, update, ridge=RIDGE, batch_size=8, batches_per_step=1):
    """Train copies by the fused epoch; return [parameters, states..., report]."""
    parameters = problem.parameters.copy()
    states = oracle.initial_state(update, parameters.size, problem.net.dtype)
    report = np.empty(3)
    problem.net.train(
        *(parameters, problem.X, problem.y, problem.loss),
        order=order,
        batch_size=batch_size,
        batches_per_step=batches_per_step,
        lr=LR[: -(-len(order) // (batch_size * batches_per_step))],
        update=update,
        state=states,
        step=0,
        report=report,
        ridge=ridge,
    )
    return [parameters, *states, report]


@pytest.mark.parametrize("name", CONSTANT)
@pytest.mark.parametrize(("batch_size", "batches_per_step"), [(8, 1), (5, 3), (75, 1)])
def test_fused_epoch(isa, dtype, rng, name, batch_size, batches_per_step):
    problem = draw(rng, 7, LAYERS, 80, dtype, "labels")
    order = rng.permutation(80)[:75]  # the last step has fewer rows
    *trained, report = train(problem, order, CONSTANT[name], RIDGE, batch_size, batches_per_step)
    parameters = problem.parameters.astype(np.float64)
    states, loss = WithRidge(problem, RIDGE).train(
        *(parameters, problem.X, problem.y, problem.loss),
        *(order, batch_size * batches_per_step, CONSTANT[name], LR),
    )
    assert_near([*trained, report[:1]], [parameters, *states, np.array([loss])], dtype)


def test_stepwise_epoch(isa, dtype, rng):
    problem = draw(rng, 7, LAYERS, 80, dtype, "labels")
    order, update, batch_size = rng.permutation(80)[:75], CONSTANT["sgd"], 8
    expected = train(problem, order, update)
    parameters, gradient = problem.parameters.copy(), np.empty_like(problem.parameters)
    report, steps = np.empty(3), iter(range(len(LR)))

    def take_step(finite):
        oracle.apply_update(update, parameters, gradient, [], LR[next(steps)], 0)
        return False

    problem.net.train_stepwise(
        *(parameters, problem.X, problem.y, problem.loss),
        order=order,
        batch_size=batch_size,
        gradient=gradient,
        take_step=take_step,
        report=report,
        ridge=RIDGE,
    )
    assert_near([parameters, report], expected, dtype)


def test_bits_do_not_depend_on_the_team(isa, dtype, rng, threads):
    problem = draw(rng, 300, [dense(300), TANH, dense(4)], 300, dtype, "labels")
    order = np.arange(300)
    _core.set_num_threads(1)
    alone = train(problem, order, CONSTANT["adam"], batch_size=100)
    _core.set_num_threads(threads)
    for a, b in zip(train(problem, order, CONSTANT["adam"], batch_size=100), alone, strict=True):
        assert_same_bits(a, b)


def test_nothing_of_it_is_nothing(isa, rng):
    problem = draw(rng, 7, LAYERS, 80, "float32", "labels")
    tiny = train(problem, np.arange(80), CONSTANT["adam"], ridge=1e-300)
    for a, b in zip(train(problem, np.arange(80), CONSTANT["adam"], ridge=0.0), tiny, strict=True):
        assert_same_bits(a, b)


def test_frozen_weights_are_no_part_of_it(rng):
    X, y = rng.standard_normal((40, 6)), rng.integers(0, 3, 40)
    first = Dense(16, trainable=False)
    model = Sequential([first, ReLU(), Dense(3)], dtype="float64").build(6)
    weights = model.named_parameters()["2.weight"]
    expected = 40 * model.loss_and_grad(X, y, loss="cross_entropy")[0] + np.sum(weights**2)
    options = dict.fromkeys(
        ("validation_split", "validation_data", "sample_weight", "class_weight", "patience"), None
    )
    history = fit(
        *(model, model._engine, X, y),
        **{**options, "loss": "cross_entropy", "optimizer": optim.SGD(lr=0.01)},
        **{"epochs": 1, "batch_size": 40, "gradient_accumulation_steps": 1, "shuffle": True},
        **{"metrics": (), "min_delta": 0, "monitor": "loss", "callbacks": (), "verbose": False},
        **{"train_metrics": False, "mixup": 0.0, "gradient": "backward"},
        ridge=2.0,
    )
    assert history["loss"] == [pytest.approx(expected / 40, rel=1e-13)]


@pytest.mark.parametrize("ridge", [-1.0, np.nan, np.inf])
def test_impossible_values(rng, ridge):
    problem = draw(rng, 7, LAYERS, 16, "float64", "labels")
    with pytest.raises(ValueError, match="ridge: expected finite numbers, at least 0"):
        train(problem, np.arange(16), CONSTANT["sgd"], ridge)
