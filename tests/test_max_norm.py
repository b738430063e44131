"""The constraint on norms of incoming weights, after each step."""

from __future__ import annotations

import re

import numpy as np
import pytest

import oracle
import pyfast_nn as fnn
from conftest import assert_same_bits
from pyfast_nn import _core

SGD = ("sgd", {"momentum": 0.9, "nesterov": 0.0, "weight_decay": 0.0})
ADAM = ("adam", {"beta1": 0.9, "beta2": 0.99, "eps": 1e-3, "weight_decay": 0.0})
LIMITS = (0.9, 0.0, 1.1)  # of three dense layers; 0: any


def layers(widths, limits=LIMITS, trainable=(True, True, True)):
    result = []
    for units, limit, trained in zip(widths, limits, trainable, strict=True):
        dense = {"kind": "dense", "units": units, "max_norm": limit, "trainable": trained}
        result += [dense, {"kind": "tanh"}]
    return result[:-1]


class Case:
    def __init__(self, rng, dtype, in_features, widths, rows=40, **options):
        self.net = _core.Network(dtype, in_features, layers(widths, **options))
        self.X = rng.standard_normal((rows, in_features)).astype(dtype)
        self.y = rng.standard_normal((rows, widths[-1])).astype(dtype)
        self.parameters = rng.standard_normal(self.net.n_parameters).astype(dtype)
        for _, name, offset, shape in self.net.parameter_layout:
            if name == "weight":  # norms of about 1: some columns are too long, others not
                self.parameters[offset : offset + np.prod(shape)] /= np.sqrt(shape[0])

    def weights(self, parameters):
        return [
            parameters[offset : offset + np.prod(shape)].reshape(shape)
            for _, name, offset, shape in self.net.parameter_layout
            if name == "weight"
        ]

    def train(self, update=SGD, batch_size=10, lr=0.3):
        parameters, report = self.parameters.copy(), np.full(3, np.nan)
        state = oracle.initial_state(update, self.net.n_trainable, self.net.dtype)
        options = {"order": np.arange(len(self.X)), "batch_size": batch_size, "report": report}
        options |= {"lr": lr, "update": update, "state": state, "step": 0}
        self.net.train(parameters, self.X, self.y, oracle.MSE, **options)
        return parameters

    def train_stepwise(self, update=SGD, batch_size=10, lr=0.3, asks_again=False):
        parameters, report = self.parameters.copy(), np.full(3, np.nan)
        gradient, state = (np.zeros_like(parameters) for _ in range(2))
        calls = []

        def take_step(finite):
            calls.append([np.linalg.norm(w, axis=0) for w in self.weights(parameters)])
            if asks_again and len(calls) % 2:
                parameters[...] *= 4
                return True
            if asks_again:
                parameters[...] /= 4
            state[...] = np.asarray(0.9, state.dtype) * state + gradient
            parameters[...] -= np.asarray(lr, state.dtype) * state
            return False

        options = {"order": np.arange(len(self.X)), "batch_size": batch_size, "report": report}
        options |= {"gradient": gradient, "take_step": take_step}
        self.net.train_stepwise(parameters, self.X, self.y, oracle.MSE, **options)
        return parameters, calls

    def train_numpy(self, update=SGD, batch_size=10, lr=0.3, limits=LIMITS):
        """One update of the oracle after the other, with gradients of the core."""
        parameters = self.parameters.copy()
        state = oracle.initial_state(update, parameters.size, self.net.dtype)
        cut = 0
        for step, rows in enumerate(np.split(np.arange(len(self.X)), len(self.X) // batch_size)):
            gradient = np.empty_like(parameters)
            X, y = self.X[rows], self.y[rows]
            self.net.loss_and_grad(parameters, X, y, oracle.MSE, gradient)
            oracle.apply_update(update, parameters, gradient, state, lr, step)
            for w, limit in zip(self.weights(parameters), limits, strict=True):
                norms = np.linalg.norm(w.astype(np.float64), axis=0)
                cut += (norms > limit).sum() if limit else 0
                w *= np.where(norms > limit, limit / norms, 1) if limit else 1
        return parameters, cut


@pytest.mark.parametrize("update", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("widths", [(33, 17, 5), (1, 2, 3), (64, 100, 70)])
def test_against_numpy(isa, dtype, rng, update, widths):
    case = Case(rng, dtype, 7, widths)
    expected, cut = case.train_numpy(update)
    assert cut > 0 or max(widths) < 4  # of few columns none may be too long
    limit = 1e-12 if dtype == "float64" else 1e-4
    assert np.abs(case.train(update) - expected).max() < limit
    if update is SGD:
        assert np.abs(case.train_stepwise()[0] - expected).max() < limit


def test_no_norm_is_above_it_after_any_step(isa, dtype, rng):
    case = Case(rng, dtype, 7, (33, 17, 5))
    parameters, calls = case.train_stepwise()
    calls.append([np.linalg.norm(w, axis=0) for w in case.weights(parameters)])
    above = 1 + 8 * float(np.finfo(dtype).eps)
    assert any(norms[0].max() > LIMITS[0] * above for norms in calls[:1])
    for first, second, third in calls[1:]:
        assert first.max() <= LIMITS[0] * above and third.max() <= LIMITS[2] * above
        assert second.max() > 1
    norms = [np.linalg.norm(w, axis=0) for w in case.weights(case.train())]
    assert norms[0].max() <= LIMITS[0] * above and norms[2].max() <= LIMITS[2] * above


def test_columns_that_fit_keep_their_bits(isa, dtype, rng):
    case = Case(rng, dtype, 50, (70, 9, 5))
    free = Case(rng, dtype, 50, (70, 9, 5), limits=(0, 0, 0))
    free.parameters, free.X, free.y = case.parameters, case.X, case.y
    actual = case.weights(case.train(batch_size=40))[0]
    expected = free.weights(free.train(batch_size=40))[0]
    fits = np.linalg.norm(expected, axis=0) < LIMITS[0]
    assert 0 < fits.sum() < 70
    assert_same_bits(actual[:, fits].copy(), expected[:, fits].copy())
    np.testing.assert_allclose(np.linalg.norm(actual[:, ~fits], axis=0), LIMITS[0], rtol=1e-6)


@pytest.mark.parametrize("rows", [16, 1200])
def test_same_bits_for_any_team(isa, dtype, rng, restore_threads, rows):
    case, results = Case(rng, dtype, 90, (300, 170, 60), rows=rows), []
    for n in (1, 2, 3, 5, 8):
        _core.set_num_threads(n)
        results.append((case.train(ADAM, rows // 4), case.train_stepwise(SGD, rows // 4)[0]))
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            assert_same_bits(a, b)


def test_frozen_layers_are_left_alone(isa, dtype, rng):
    case = Case(rng, dtype, 7, (33, 17, 5), trainable=(False, True, True))
    for trained in (case.train(), case.train_stepwise()[0]):
        before, after = case.weights(case.parameters), case.weights(trained)
        assert_same_bits(after[0].copy(), before[0].copy())
        assert np.linalg.norm(after[2], axis=0).max() < 1.1001


def test_a_step_that_looks_elsewhere_is_constrained_at_its_end(rng):
    """As sharpness-aware minimisation does: in between, parameters are where they are put."""
    case = Case(rng, "float64", 7, (33, 17, 5))
    parameters, calls = case.train_stepwise(asks_again=True)
    for norms in calls[3::2]:
        assert norms[0].max() > 2 * LIMITS[0]
    assert np.linalg.norm(case.weights(parameters)[0], axis=0).max() <= LIMITS[0] * (1 + 1e-14)


# --------------------------------------------------------------------------------- in a model


@pytest.mark.parametrize(
    "optimizer",
    [
        fnn.optim.SGD(lr=0.5, momentum=0.9),
        fnn.optim.Adam(lr=0.05),
        fnn.optim.Adam(lr=0.05, groups=lambda key: {"weight_decay": float("bias" in key)}),
        fnn.optim.SGD(lr=0.5, sam=0.05),
    ],
    ids=["fused", "adam", "groups", "sam"],
)
def test_fit(rng, optimizer, tmp_path):
    X, y = rng.standard_normal((100, 5)), rng.integers(0, 3, 100)
    layers = [fnn.Dense(20, constraint=fnn.MaxNorm(0.5)), fnn.ReLU(), fnn.Dense(3)]
    model = fnn.Sequential(layers, seed=1)
    model.fit(X, y, loss="cross_entropy", epochs=5, optimizer=optimizer)
    norms = [np.linalg.norm(model.named_parameters()[f"{i}.weight"], axis=0) for i in (0, 2)]
    assert norms[0].max() < 0.5001 < norms[1].max()
    assert norms[0].max() == pytest.approx(0.5, abs=1e-6)
    model.save(tmp_path / "model.safetensors")
    assert fnn.load(tmp_path / "model.safetensors").layers == model.layers
    assert model.layers[0].constraint == fnn.MaxNorm(0.5) != fnn.MaxNorm(1)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fnn.MaxNorm(0), ValueError, "max_norm: expected a finite number > 0, got 0"),
        (lambda: fnn.MaxNorm("3"), TypeError, "max_norm: expected a number, got"),
        (lambda: fnn.Dense(3, constraint=3.0), TypeError, "constraint: expected None or a MaxNorm"),
        (
            lambda: _core.Network("float32", 3, [{"kind": "relu", "max_norm": 1.0}]),
            ValueError,
            "layers[0]: max_norm: expected that of a dense layer, got one of 'relu'",
        ),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make()
