"""Fits of whose steps a callback is told: the same bits, and the model is there between two."""

from __future__ import annotations

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_same_bits
from pyfast_nn import optim, schedules

RNG = np.random.default_rng(0)
X = RNG.normal(size=(130, 6))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


def make(dtype="float64"):
    layers = [
        *(fnn.Standardize(), fnn.Dense(16, constraint=fnn.MaxNorm(1.0)), fnn.BatchNorm()),
        *(fnn.Dropout(0.2), fnn.Tanh(), fnn.Dense(2)),
    ]
    return fnn.Sequential(layers, dtype=dtype, seed=0)


def fit(model, optimizer, *callbacks, **options):
    options = {"batch_size": 32, "verbose": 0, "epochs": 3} | options
    arguments = {"loss": "cross_entropy", "optimizer": optimizer, "callbacks": callbacks}
    return model.fit(X, Y, **arguments, **options)


class Told(fnn.Callback):
    def __init__(self, does=lambda model, step, record: None):
        self.steps, self.does = [], does

    def on_step_end(self, model, step, record):
        self.steps.append((step, record))
        self.does(model, step, record)


OPTIMIZERS = {
    "fused": lambda: optim.Adam(lr=schedules.Cosine(0.1, 15), weight_decay=0.1),
    "nadam": lambda: optim.NAdam(lr=0.1),  # whose steps depend on their number
    "stepwise": lambda: optim.SGD(lr=0.3, momentum=0.9, clip_norm=0.5, ema=0.9),
    "sam": lambda: optim.SGD(lr=0.3, sam=0.1, lookahead=(2, 0.5), accumulate=2),
    "muon": lambda: optim.Muon(lr=0.01, fallback="adamw"),
}
OPTIONS = {
    "plain": {},
    "batches": {"gradient_accumulation_steps": 2},
    "weights": {"sample_weight": RNG.integers(0, 3, 130) * 1.0, "validation_split": 0.2},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_bits(isa, optimizer, options, dtype):
    one, other, told = make(dtype), make(dtype), Told()
    makes, options = OPTIMIZERS[optimizer], OPTIONS[options]
    of_one, of_other = makes(), makes()
    history = fit(one, of_one, **options)
    again = fit(other, of_other, told, **options)
    assert_same_bits(other.parameters, one.parameters)
    assert_same_bits(other.state, one.state)
    assert of_other.step_count == of_one.step_count
    assert again.keys() == history.keys()
    assert all(again[key] == history[key] for key in history if key != "seconds")
    steps = len(told.steps) // 3
    assert [step for step, _ in told.steps] == [*range(steps)] * 3
    assert [record["lr"] for _, record in told.steps][steps - 1 :: steps] == history["lr"]


@pytest.mark.once
@pytest.mark.parametrize("threads", [1, 3], indirect=True)
def test_records(threads):
    """Loss and accuracy of the rows of each step, at the parameters before it."""
    model, seen = fnn.Sequential([fnn.Dense(2)], dtype="float64", seed=0).build(6), []
    before = [model.parameters.copy()]
    told = Told(lambda model, step, record: before.append(model.parameters.copy()))
    weights = RNG.uniform(0.5, 2, size=130)
    history = fit(model, optim.SGD(lr=0.1), told, shuffle=False, epochs=1, sample_weight=weights)
    for (step, record), parameters in zip(told.steps, before, strict=False):
        rows = slice(32 * step, 32 * step + 32)
        p, w = parameters, weights[rows]
        z = X[rows] @ p[:12].reshape(6, 2) + p[12:]
        losses = np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), Y[rows]]
        assert list(record) == ["loss", "accuracy", "lr"]
        np.testing.assert_allclose(record["loss"], np.average(losses, weights=w), rtol=1e-10)
        right = np.average(z.argmax(1) == Y[rows], weights=w)
        np.testing.assert_allclose(record["accuracy"], right, rtol=1e-10)
        seen.append((record["loss"], w.sum()))
    assert len(seen) == 5
    losses, sums = np.transpose(seen)
    np.testing.assert_allclose(history["loss"][0], np.average(losses, weights=sums), rtol=1e-10)


@pytest.mark.once
def test_the_model_may_be_used_and_changed():
    """Between two steps: predictions, a file, other parameters, another rate."""
    model = fnn.Sequential([fnn.Dense(2)], dtype="float64", seed=0)
    sgd, expected = optim.SGD(lr=0.1), None

    def does(model, step, record):
        nonlocal expected
        if step == 0:
            model.parameters *= 0.5
            sgd.lr = 0.7
        if step == 1:
            _, grad = last
            np.testing.assert_allclose(model.parameters, last[0] - 0.7 * grad, rtol=1e-12)
            assert record["lr"] == 0.7
        rows = slice(32 * step + 32, 32 * step + 64)
        if step < 4:
            last[:] = [model.parameters.copy(), model.loss_and_grad(X[rows], Y[rows])[1]]
        assert model.predict(X).shape == (130,)
        with pytest.raises(RuntimeError, match="fit: this model is within a fit already"):
            fit(model, sgd)

    last = []
    fit(model, sgd, Told(does), shuffle=False, epochs=1)


@pytest.mark.once
def test_options_given_between_steps():
    """A fused fit goes on step by step from there."""
    model, adam = make(), optim.Adam(lr=0.01)

    def does(model, step, record):
        if step == 2:
            adam.clip_norm = 0.01

    fit(model, adam, Told(does))
    assert adam.step_count == 15 and adam.grad_norm > 0


@pytest.mark.once
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_ends_the_fit(error):
    """After its step, which is whole."""
    model, expected, adam = make(), [], optim.Adam(lr=0.01)

    def does(model, step, record):
        expected.append(model.parameters.copy())
        if len(expected) == 7:
            raise error("on step")

    with pytest.raises(error, match="on step"):
        fit(model, adam, Told(does))
    assert adam.step_count == 7 and model.history.epochs == 1 == model.epochs_trained
    assert_same_bits(model.parameters, expected[-1])


@pytest.mark.once
@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}])
def test_a_loss_that_is_not_finite(options):
    wrong = X.copy()
    wrong[70] *= 1e200
    model = fnn.Sequential([fnn.Dense(2)], dtype="float64", seed=0).build(6)
    told = Told()
    arguments = {"loss": "mse", "batch_size": 32, "shuffle": False, "verbose": 0}
    optimizer = optim.SGD(lr=0.01, **options)
    with pytest.raises(FloatingPointError, match=r"in epoch 1, step 3 of it.*\(it is 0.01\)"):
        model.fit(wrong, np.zeros((130, 2)), optimizer=optimizer, callbacks=told, **arguments)
    assert len(told.steps) == 2 == optimizer.step_count


@pytest.mark.once
def test_nobody_asks_nothing_costs(monkeypatch):
    """One call of the core makes all steps of an epoch; with a hook one makes one."""
    calls = []
    train_epoch = fnn.engine.Engine.train_epoch

    def counts(self, *arguments, **options):
        calls.append(1)
        train_epoch(self, *arguments, **options)

    monkeypatch.setattr(fnn.engine.Engine, "train_epoch", counts)
    fit(make(), optim.Adam(), fnn.Callback())
    assert len(calls) == 3
    fit(make(), optim.Adam(), fnn.Callback(), Told())
    assert len(calls) == 3 + 15


@pytest.mark.once
def test_resumed(tmp_path):
    whole, model, path = make(), make(), tmp_path / "m"
    fit(whole, OPTIMIZERS["fused"](), epochs=4)
    fit(make(), OPTIMIZERS["fused"](), Told(), fnn.ModelCheckpoint(path), epochs=2)
    fit(model, OPTIMIZERS["fused"](), Told(), epochs=4, resume=path)
    assert_same_bits(model.parameters, whole.parameters)


@pytest.mark.once
@pytest.mark.parametrize("method", ["on_step_end", "on_epoch_recorded"])
def test_what_cannot_end_a_fit(method):
    callback = fnn.Callback()
    vars(callback)[method] = lambda *arguments: True
    with pytest.raises(TypeError, match=rf"Callback.{method} returned: expected None, got True"):
        fit(make(), optim.Adam(), callback)
