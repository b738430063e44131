"""Schedules that count epochs: torch's at each epoch's first step, and their formulas between."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_same_bits
from pyfast_nn import optim, schedules
from pyfast_nn.schedules import InEpochs

pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 4))
Y = (X[:, 0] > 0).astype(int)


class Rates(fnn.Callback):
    def __init__(self, *also):
        self.epochs, self.now, self.also = [], [], also

    def on_step_end(self, model, step, record):
        self.now.append(record["lr"])

    def on_epoch_end(self, model, epoch, record):
        assert self.now[-1] == record["lr"]
        self.epochs.append(self.now)
        self.now = []


def make():
    return fnn.Sequential([fnn.Dense(3), fnn.Tanh(), fnn.Dense(2)], dtype="float64", seed=0)


def fit(model, optimizer, *callbacks, **options):
    options = {"epochs": 12, "batch_size": 20, "verbose": 0} | options
    arguments = {"loss": "cross_entropy", "optimizer": optimizer, "callbacks": callbacks}
    return model.fit(X, Y, **arguments, **options)


def rates(schedule, **options):
    """(epochs, steps of each) learning rates of a fit."""
    told = Rates()
    fit(make(), optim.SGD(lr=InEpochs(schedule)), told, **options)
    return np.array(told.epochs)


# Ours, and torch's scheduler of an optimizer with rate 0.5.
TORCH = {
    "Linear": (
        schedules.Linear(0.5, 8, end=0.1),
        ("LinearLR", {"start_factor": 1.0, "end_factor": 0.2, "total_iters": 8}),
    ),
    "Step": (schedules.Step(0.5, 3), ("StepLR", {"step_size": 3})),
    "MultiStep": (schedules.MultiStep(0.5, [2, 7]), ("MultiStepLR", {"milestones": [2, 7]})),
    "Exponential": (schedules.Exponential(0.5, 0.8), ("ExponentialLR", {"gamma": 0.8})),
    "Polynomial": (
        schedules.Polynomial(0.5, 9, power=2),
        ("PolynomialLR", {"total_iters": 9, "power": 2}),
    ),
    "Cosine": (schedules.Cosine(0.5, 12), ("CosineAnnealingLR", {"T_max": 12})),
    "CosineWarmRestarts": (
        schedules.CosineWarmRestarts(0.5, 3, multiplier=2),
        ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2}),
    ),
    "one length of restarts": (
        schedules.CosineWarmRestarts(0.5, 5),
        ("CosineAnnealingWarmRestarts", {"T_0": 5}),
    ),
    "Cyclic": (
        schedules.Cyclic(0.1, 0.5, step_size_up=3, mode="triangular2"),
        ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 3, "mode": "triangular2"}),
    ),
    "OneCycle": (schedules.OneCycle(0.5, 12), ("OneCycleLR", {"max_lr": 0.5, "total_steps": 12})),
}


@pytest.mark.parametrize("name", TORCH)
def test_torch_once_an_epoch(name):
    torch = pytest.importorskip("torch")
    schedule, (kind, arguments) = TORCH[name]
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5, momentum=0.9)
    scheduler = getattr(torch.optim.lr_scheduler, kind)(sgd, **arguments)
    expected = []
    for _ in range(12):
        expected.append(sgd.param_groups[0]["lr"])
        sgd.step()
        scheduler.step()
    np.testing.assert_allclose(rates(schedule)[:, 0], expected, rtol=1e-12, atol=1e-15)


# The value after any number of epochs, from the definitions.
FORMULAS = {
    "Linear": (schedules.Linear(0.5, 8), lambda t: 0.5 * max(1 - t / 8, 0)),
    "Step": (schedules.Step(0.5, 3, gamma=0.5), lambda t: 0.5 / 2 ** int(t / 3)),
    "MultiStep": (
        schedules.MultiStep(0.5, [2, 7], gamma=0.5),
        lambda t: 0.5 / 2 ** ((t >= 2) + (t >= 7)),
    ),
    "Exponential": (schedules.Exponential(0.5, 0.8), lambda t: 0.5 * 0.8**t),
    "InverseSqrt": (
        schedules.InverseSqrt(0.5, 3),
        lambda t: 0.5 * min((t + 1) / 3, (3 / (t + 1)) ** 0.5),
    ),
    "Cosine": (schedules.Cosine(0.5, 10), lambda t: 0.25 * (1 + np.cos(np.pi * min(t / 10, 1)))),
    "restarts": (
        schedules.CosineWarmRestarts(0.5, 4),
        lambda t: 0.25 * (1 + np.cos(np.pi * (t % 4) / 4)),
    ),
    "Warmup": (
        schedules.Warmup(schedules.Cosine(0.5, 9), 2),
        lambda t: 0.25 * t if t < 2 else 0.25 * (1 + np.cos(np.pi * min((t - 2) / 9, 1))),
    ),
    "Sequence": (
        schedules.Sequence([0.5, schedules.Step(0.4, 2, gamma=0.5)], [3]),
        lambda t: 0.5 if t < 3 else 0.4 / 2 ** int((t - 3) / 2),
    ),
    "Constant": (0.25, lambda t: 0.25),
    "of one number": (lambda t: 0.5 if t < 4 else 0.1, lambda t: 0.5 if t < 4 else 0.1),
    "of an array": (lambda t: 0.5 / (1 + t), lambda t: 0.5 / (1 + t)),
}
WAYS = {
    "plain": ({}, 5),
    "batches": ({"gradient_accumulation_steps": 2}, 3),
    "whole": ({"batch_size": 1000}, 1),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_between(name, way):
    schedule, formula = FORMULAS[name]
    options, steps = WAYS[way]
    expected = [[formula(epoch + i / steps) for i in range(steps)] for epoch in range(12)]
    came = rates(schedule, **options)
    np.testing.assert_allclose(came, expected, rtol=1e-10, atol=1e-15)


MAKES = {
    "fused": lambda lr: optim.SGD(lr=lr),
    "stepwise": lambda lr: optim.SGD(lr=lr, clip_norm=100.0),
    "a group": lambda lr: optim.SGD(lr=0.9, groups=lambda key: {"lr": lr}),
    "momentum": lambda lr: optim.SGD(lr=0.1, momentum=lr),
    "betas": lambda lr: optim.Adam(lr=lr, betas=(lr, 0.9)),
    "muon": lambda lr: optim.Muon(lr=lr, fallback=optim.AdamW(lr=lr)),
    "accumulate": lambda lr: optim.Adam(lr=lr, accumulate=2),
}


@pytest.mark.parametrize("make_optimizer", MAKES.values(), ids=MAKES)
def test_the_same_as_in_steps(make_optimizer):
    """5 steps an epoch, or 2.5: told or not, the bits of the same schedule of steps."""
    one, two, three = make(), make(), make()
    cosine = schedules.Cosine(0.5, 12)
    steps = 5 / make_optimizer(0.1).accumulate
    explicit = InEpochs(cosine, steps_per_epoch=steps)
    fit(one, make_optimizer(explicit))
    fit(two, make_optimizer(InEpochs(cosine)))
    fit(three, make_optimizer(InEpochs(cosine)), Silent())
    np.testing.assert_allclose(two.parameters, one.parameters, rtol=1e-9, atol=1e-12)
    assert_same_bits(three.parameters, two.parameters)
    assert not np.allclose(one.parameters, make().build(4).parameters)


class Silent(fnn.Callback):
    def on_step_end(self, model, step, record):
        pass


def test_another_number_of_steps():
    """Of the second fit: epochs go on where they were, and so they do after an interrupt."""
    told, model = Rates(), make()
    sgd = optim.SGD(lr=InEpochs(schedules.Linear(1.0, 10)))
    fit(model, sgd, told, epochs=2)
    assert sgd.epoch_count == 2 and sgd.step_count == 10

    class Interrupts(fnn.Callback):
        def on_step_end(self, model, step, record):
            if step == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, sgd, Interrupts(), batch_size=10)
    assert sgd.epoch_count == 2 and sgd.step_count == 14
    fit(model, sgd, told, epochs=2, batch_size=50)
    np.testing.assert_allclose(told.epochs[1], [0.9, 0.88, 0.86, 0.84, 0.82])
    np.testing.assert_allclose(told.epochs[2:], [[0.8, 0.75], [0.7, 0.65]])


def test_skipped_steps_are_time():
    wrong = X.copy()
    wrong[:20] *= 1e200
    told, model = Rates(), fnn.Sequential([fnn.Dense(1)], dtype="float64", seed=0)
    sgd = optim.SGD(lr=InEpochs(schedules.Step(0.1, 1)), skip_nonfinite=True)
    model.fit(
        wrong,
        X[:, 0],
        loss="mse",
        optimizer=sgd,
        epochs=3,
        batch_size=20,
        callbacks=told,
        shuffle=False,
    )
    assert sgd.skipped == 3
    np.testing.assert_allclose([epoch[-1] for epoch in told.epochs], [0.1, 0.01, 0.001])


@pytest.mark.parametrize("way", ["file", "state_dict", "copy", "pickle"])
def test_goes_on(way, tmp_path):
    whole, parts = make(), make()
    schedule = InEpochs(schedules.Warmup(schedules.Cosine(0.5, 10), 2))
    fit(whole, optim.Adam(lr=schedule), epochs=6)
    adam = optim.Adam(lr=schedule)
    fit(parts, adam, epochs=2)
    if way == "file":
        parts.save(tmp_path / "m", optimizer=adam)
        parts, adam = fnn.load(tmp_path / "m", optimizer=True)
    elif way == "state_dict":
        state = adam.state_dict()
        arrays = state.pop("state")
        assert state["epoch_count"] == 2
        adam = optim.Adam()
        adam.load_state_dict(json.loads(json.dumps(state)) | {"state": arrays})
        parts = copy.deepcopy(parts)
    elif way == "copy":
        parts, adam = copy.deepcopy((parts, adam))
    else:
        parts, adam = pickle.loads(pickle.dumps((parts, adam)))
    assert adam.epoch_count == 2 and adam.lr == schedule
    fit(parts, adam, epochs=4)
    assert_same_bits(parts.parameters, whole.parameters)


def test_parameters_of_ones_own():
    """There steps_per_epoch says how long an epoch is."""
    p = np.zeros(1)
    sgd = optim.SGD(p, lr=InEpochs(schedules.Step(1.0, 1, gamma=0.5), steps_per_epoch=2.5))
    for _ in range(6):
        sgd.step(np.ones(1))
    assert p[0] == -(1 + 1 + 1 + 0.5 + 0.5 + 0.25)
    with pytest.raises(ValueError, match=r"steps_per_epoch: expected .* got None in InEpochs\(Lin"):
        optim.SGD(p, lr=InEpochs(schedules.Linear(1.0, 3))).step(np.ones(1))
    with pytest.raises(ValueError, match="steps_per_epoch: expected"):
        InEpochs(0.1)(3)


def test_arguments():
    schedule = InEpochs(schedules.Cosine(0.1, 9))
    assert repr(schedule) == "InEpochs(Cosine(0.1, 9))" and schedule.steps_per_epoch is None
    assert schedule == copy.deepcopy(schedule) == pickle.loads(pickle.dumps(schedule))
    assert InEpochs(0.1, steps_per_epoch=3)([0, 5]).tolist() == [0.1, 0.1]
    within = schedules.Warmup(InEpochs(schedules.Linear(1.0, 2), steps_per_epoch=2), 2)
    assert within(range(7)).tolist() == [0, 0.5, 1, 0.75, 0.5, 0.25, 0]
    for wrong in (
        lambda: schedules.Warmup(schedule, 3),
        lambda: schedules.Sequence([0.1, schedule], [3]),
        lambda: InEpochs(schedule),
    ):
        with pytest.raises(ValueError, match="expected InEpochs around the whole"):
            wrong()
    with pytest.raises(ValueError, match="steps_per_epoch: expected a finite number > 0, got 0"):
        InEpochs(0.1, steps_per_epoch=0)
    with pytest.raises(TypeError, match=r"schedule: expected a schedule, got .*parentheses"):
        InEpochs(schedules.Cosine)
