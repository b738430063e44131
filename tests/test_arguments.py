"""Arguments as people write them: what has one meaning is taken, the rest named with its cure."""

from __future__ import annotations

import numpy as np
import pytest

import pyfast_nn as fnn
from pyfast_nn import checks
from pyfast_nn.optim import SGD

pytestmark = pytest.mark.once


def digits(n=200):
    X, y = fnn.datasets.load_digits()
    return X[:n] / 16, y[:n]


def network(*layers, **options):
    return fnn.Sequential([fnn.Dense(8), fnn.ReLU(), *layers, fnn.Dense(10)], **options)


# ---------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    "value",
    [
        *(32, 32.0, np.int8(32), np.uint64(32), np.float16(32), np.float64(32), np.longdouble(32)),
        *(np.array(32), np.array(32.0), np.array(32, np.uint8)),
    ],
)
def test_an_integer_is_any_integral_number(value):
    result = checks.integer(value, "x", minimum=1)
    assert type(result) is int and result == 32


@pytest.mark.parametrize(
    "value",
    [
        *(True, np.True_, np.array(True), 2.5, np.float32(2.5), np.inf, np.nan, -np.inf, "3", None),
        *(np.array([3]), np.array(2.5), 3 + 0j, [3]),
    ],
)
def test_what_is_no_integer(value):
    with pytest.raises(TypeError, match="x: expected an integer, got"):
        checks.integer(value, "x", minimum=1)


@pytest.mark.parametrize(
    "value", [0.5, np.float32(0.5), np.float16(0.5), np.longdouble(0.5), np.array(0.5)]
)
def test_hyper_parameters_are_any_real_numbers(value):
    p, q = np.ones(3), np.ones(3)
    for params, lr in ((p, value), (q, 0.5)):
        optimizer = SGD(params, lr=lr, momentum=lr, weight_decay=lr)
        optimizer.step(np.ones(3))
        assert type(optimizer.lr) is float and optimizer.lr == 0.5
    np.testing.assert_array_equal(p, q)
    assert fnn.LeakyReLU(value) == fnn.LeakyReLU(0.5)
    assert fnn.schedules.Constant(value) == fnn.schedules.Constant(0.5)


@pytest.mark.parametrize(
    "value", [True, np.True_, np.array(True), "0.5", 1j, np.array([0.5]), None]
)
def test_what_is_no_number(value):
    with pytest.raises(TypeError, match="x: expected a number, got"):
        checks.real(value, "x")


def test_sizes_of_a_fit_may_be_integral_floats():
    X, y = digits()
    models = [network(seed=1), network(seed=1.0)]
    models[0].fit(X, y, loss="cross_entropy", epochs=2, batch_size=32)
    models[1].fit(X, y, loss="cross_entropy", epochs=2.0, batch_size=np.float32(32))
    np.testing.assert_array_equal(models[0].parameters, models[1].parameters)
    with pytest.raises(TypeError, match=r"epochs: expected an integer, got True \(bool\)"):
        models[0].fit(X, y, epochs=True)


def test_a_seed_of_none_is_drawn_and_kept():
    models = [network(seed=None).build(64) for _ in range(2)]
    assert models[0].seed != models[1].seed
    again = network(seed=models[0].seed).build(64)
    np.testing.assert_array_equal(models[0].parameters, again.parameters)
    assert eval(repr(models[0]), vars(fnn)).seed == models[0].seed
    y = np.arange(100) % 2
    draws = [fnn.datasets.stratified_split(y, [0.5, 0.5], seed=None)[0] for _ in range(2)]
    assert (draws[0] != draws[1]).any()
    assert (
        fnn.datasets.make_xor(20, noise=0.1, seed=None)[0]
        != fnn.datasets.make_xor(20, noise=0.1, seed=None)[0]
    ).any()
    fnn.CurvatureMonitor(np.ones((3, 2)), np.zeros(3), seed=None)


# ---------------------------------------------------------------------- shapes


def test_images_get_the_hint_of_how_to_flatten_them():
    images, y = np.zeros((20, 8, 8)), np.zeros(20, int)
    hint = r"got shape \(20, 8, 8\); images and the like are X.reshape\(len\(X\), -1\)"
    model = network().build(64)
    for call in (
        lambda: model.fit(images, y, loss="cross_entropy"),
        lambda: model.forward(images),
        lambda: model.evaluate(images, y, loss="cross_entropy"),
        lambda: fnn.CurvatureMonitor(images, y),
    ):
        with pytest.raises(ValueError, match=hint):
            call()
    Xt = np.zeros((20, 64))
    name = r"validation_data\[0\]"
    with pytest.raises(ValueError, match=rf"are {name}.reshape\(len\({name}\), -1\)"):
        model.fit(Xt, y, loss="cross_entropy", validation_data=(images, y))
