"""Smith's range test, beside the same training written in NumPy."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_same_bits
from pyfast_nn import optim
from pyfast_nn.inspect import LRRangeTest, lr_range_test

pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4))
Y = X @ RNG.normal(size=(4, 2))


def make(**options):
    return fnn.Sequential([fnn.Dense(2)], dtype="float64", seed=3, **options)


def test_losses_by_hand():
    """Gradient descent on least squares over all rows."""
    model = make().build(4)
    A, W = np.c_[X, np.ones(90)], np.vstack(list(model.named_parameters().values()))
    found = lr_range_test(model, X, Y, loss="mse", optimizer="sgd", max_lr=1e3, steps=60)
    assert (found.lrs[0], len(found.lrs)) == (1e-6, len(found.losses))
    np.testing.assert_allclose(found.lrs[1:] / found.lrs[:-1], 1e9 ** (1 / 59), rtol=1e-12)
    for lr, loss in zip(found.lrs, found.losses, strict=True):
        error = A @ W - Y
        np.testing.assert_allclose(loss, np.mean(error**2), rtol=1e-9)
        W -= lr * 2 * A.T @ error / error.size
    # Means with weights 6, 5, ..., 1, 0 by distance; the largest fall over the logarithm.
    m = len(found.losses)
    weights = np.maximum(6 - np.abs(np.subtract.outer(np.arange(m), np.arange(m))), 0)
    smoothed = weights @ found.losses / weights.sum(axis=1)
    np.testing.assert_allclose(found.smoothed, smoothed, rtol=1e-12)
    until = smoothed.argmin() + 1
    assert found.suggestion == found.lrs[np.gradient(smoothed[:until]).argmin()]
    # It has gone beyond what is stable, where the loss explodes; the suggestion is below.
    stable = 2 / np.linalg.eigvalsh(A.T @ A / len(A)).max()
    assert found.lrs[-1] > stable > found.suggestion > stable / 1000
    assert m < 60


@pytest.mark.parametrize("fitted", [False, True])
def test_nothing_changes(fitted):
    layers = [fnn.Standardize(), fnn.Dense(8), fnn.BatchNorm(), fnn.ReLU(), fnn.Dense(2)]
    model, adam = fnn.Sequential(layers, seed=1), optim.Adam(lr=0.01, clip_norm=1.0, ema=0.9)
    labels = (X[:, 0] > 0).astype(int)
    arguments = {"loss": "cross_entropy", "optimizer": adam}
    if fitted:
        model.fit(X, labels, **arguments, epochs=2)
        twin, its = copy.deepcopy((model, adam))
        before = adam.state_dict()
    found = lr_range_test(model, X, labels, **arguments, batch_size=16, steps=50)
    assert found.suggestion > 0 and len(found.losses) <= 50
    assert adam.lr == 0.01
    if not fitted:
        assert not model.built and model.history is None and model.loss is None
        assert adam.step_count == 0
        return
    assert_same_bits(model.parameters, twin.parameters)
    assert_same_bits(model.state, twin.state)
    assert model.epochs_trained == 2 == model.history.epochs
    after = adam.state_dict()
    for key, arrays in before["state"].items():
        for name, array in arrays.items():
            assert_same_bits(after["state"][key][name], array)
    model.fit(X, labels, **arguments, epochs=1)
    twin.fit(X, labels, loss="cross_entropy", optimizer=its, epochs=1)
    assert_same_bits(model.parameters, twin.parameters)


@pytest.mark.parametrize(
    "optimizer",
    [
        None,
        "adam",
        optim.SGD(momentum=0.9, lr=fnn.schedules.Cosine(0.1, 5)),
        optim.SGD(groups=lambda key: {}, lr=np.ones(3)),
        optim.Muon(fallback="adamw"),
        optim.SGD(sam=0.1, accumulate=2),
    ],
)
def test_any_optimizer(optimizer):
    model = fnn.Sequential([fnn.Dense(8), fnn.Tanh(), fnn.Dense(2)], seed=1)
    again = [
        lr_range_test(model, X, Y, loss="mse", optimizer=optimizer, steps=30, batch_size=32)
        for _ in range(2)
    ]
    assert again[0].losses.tolist() == again[1].losses.tolist() and len(again[0].losses) > 10


def test_losses_that_are_not_finite():
    found = lr_range_test(
        make(), X, Y * 1e100, loss="mse", optimizer="sgd", min_lr=1e200, max_lr=1e300
    )
    assert len(found.losses) < 5 and np.isfinite(found.losses).all()
    assert found.suggestion is None and repr(found).endswith("suggestion=None)")


def test_weights_and_losses_below_zero():
    """Poisson's loss may be negative: a fall is no explosion."""
    model = fnn.Sequential([fnn.Dense(1)], seed=0)
    counts = np.full(90, 50.0)
    found = lr_range_test(
        model, X, counts, loss="poisson", max_lr=0.1, sample_weight=np.ones(90), batch_size=30
    )
    assert len(found.losses) == 100 and found.losses[-1] < 0 and found.suggestion > 1e-4


def test_nothing_falls():
    found = LRRangeTest(np.geomspace(1, 8, 4), np.array([1.0, 2.0, 3.0, 4.0]))
    assert found.suggestion is None
    assert repr(LRRangeTest(np.ones(0), np.ones(0))) == "LRRangeTest(0 steps, suggestion=None)"


def test_plot():
    pytest.importorskip("matplotlib")
    found = lr_range_test(make(), X, Y, loss="mse", optimizer="sgd")
    ax = found.plot()
    lines = {line.get_label().split()[0]: line for line in ax.lines}
    np.testing.assert_array_equal(lines["loss"].get_ydata(), found.losses)
    np.testing.assert_array_equal(lines["smoothed"].get_xdata(), found.lrs)
    assert lines["suggestion"].get_xdata()[0] == found.suggestion and ax.get_xscale() == "log"
    assert found.plot(ax) is ax
    low, high = ax.get_ylim()  # the fall is seen, whatever comes after it
    assert low < found.smoothed.min() and found.smoothed[0] < high < 2 * found.smoothed[0]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"min_lr": 0}, ValueError, "min_lr: expected a finite number > 0"),
        ({"max_lr": 1e-7}, ValueError, "max_lr: expected a finite number > 1e-06"),
        ({"steps": 1}, ValueError, "steps: expected an integer from 2"),
        ({"optimizer": 3}, TypeError, "optimizer: expected an optimizer such as"),
        ({"optimizer": "adm"}, ValueError, "optimizer: expected one of"),
        ({"loss": "mes"}, ValueError, "loss: expected"),
        ({"batch_size": 0}, ValueError, "batch_size: expected"),
    ],
)
def test_impossible_arguments(options, error, text):
    with pytest.raises(error, match=text):
        lr_range_test(make(), X, Y, **{"loss": "mse"} | options)
    with pytest.raises(TypeError, match="model: expected a Sequential"):
        lr_range_test(3, X, Y)
