"""Initial parameters: the distributions against their formulas, and what they depend on."""

import math

import numpy as np
import pytest
from scipy import stats

import pyfast_nn as fnn

pytestmark = pytest.mark.once

FAN_IN, FAN_OUT = 300, 200


def weights(init, seed=0, dtype="float64", follow=()):
    model = fnn.Sequential([fnn.Dense(FAN_OUT, init=init), *follow], dtype=dtype, seed=seed)
    return model.build(FAN_IN).named_parameters()["0.weight"]


NORMAL = {
    "he_normal": math.sqrt(2 / FAN_IN),
    "xavier_normal": math.sqrt(2 / (FAN_IN + FAN_OUT)),
    "small_normal": 0.01,
}
UNIFORM = {
    "he_uniform": math.sqrt(6 / FAN_IN),
    "xavier_uniform": math.sqrt(6 / (FAN_IN + FAN_OUT)),
}


@pytest.mark.parametrize("name", NORMAL)
def test_normal(name, dtype):
    w = weights(name, dtype=dtype)
    assert w.dtype == dtype and w.shape == (FAN_IN, FAN_OUT)
    assert stats.kstest(w.ravel(), "norm", args=(0, NORMAL[name])).pvalue > 1e-3


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform(name, dtype):
    w = weights(name, dtype=dtype)
    limit = UNIFORM[name]
    assert stats.kstest(w.ravel(), "uniform", args=(-limit, 2 * limit)).pvalue > 1e-3
    assert abs(w).max() <= limit * (1 + 1e-6)


@pytest.mark.parametrize(("init", "value"), [("zeros", 0), (0.25, 0.25), (-1, -1), (0, 0)])
def test_constant(init, value):
    assert (weights(init) == value).all()


def test_the_variance_of_he_survives_relu_layers_and_that_of_xavier_tanh_layers():
    """What the two papers promise: the mean square of activations neither explodes nor vanishes."""
    X = np.random.default_rng(0).standard_normal((256, 512))
    for activation, init in ((fnn.ReLU, "he_normal"), (fnn.Tanh, "xavier_uniform")):
        stack = [layer for _ in range(10) for layer in (fnn.Dense(512, init=init), activation())]
        out = fnn.Sequential(stack).forward(X)
        assert 0.02 < np.mean(out**2) < 2


def test_defaults():
    relu = fnn.Sequential([fnn.Dense(FAN_OUT), fnn.ReLU(), fnn.Dense(5), fnn.Tanh(), fnn.Dense(2)])
    named = relu.build(FAN_IN).named_parameters()
    explicit = [
        fnn.Dense(FAN_OUT, init="he_normal"),
        fnn.ReLU(),
        fnn.Dense(5, init="xavier_uniform"),
        fnn.Tanh(),
        fnn.Dense(2, init="xavier_uniform"),
    ]
    np.testing.assert_array_equal(
        relu.parameters, fnn.Sequential(explicit).build(FAN_IN).parameters
    )
    assert all((value == 0).all() for name, value in named.items() if name.endswith("bias"))


def test_bias_init():
    layers = [fnn.Dense(4, bias_init=0.5), fnn.Dense(2000, bias_init="small_normal")]
    named = fnn.Sequential(layers, dtype="float64").build(3).named_parameters()
    assert (named["0.bias"] == 0.5).all()
    assert stats.kstest(named["1.bias"], "norm", args=(0, 0.01)).pvalue > 1e-3


def test_a_function_of_the_seed():
    np.testing.assert_array_equal(weights("he_normal", seed=3), weights("he_normal", seed=3))
    a, b = weights("he_normal", seed=3).ravel(), weights("he_normal", seed=4).ravel()
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.02


def test_layers_are_independent_of_each_other():
    model = fnn.Sequential([fnn.Dense(100, init="he_normal"), fnn.Dense(100, init="he_normal")])
    named = model.build(100).named_parameters()
    a, b = named["0.weight"].ravel(), named["1.weight"].ravel()
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05
