"""Mix-up: shares of Beta, partners within a step, and what is trained on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import pyfast_nn as fnn
from conftest import FULL, assert_same_bits
from oracle import softmax
from pyfast_nn import _core, optim
from test_random import philox

SAMPLES = 200_000 if FULL else 20_000
RARE = 1e-5  # the seeds are fixed: a sound generator passes for good
RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 6))
LABELS = RNG.integers(0, 3, 50)
VALUES = RNG.normal(size=(50, 3))
SHARES = RNG.dirichlet(np.ones(3), size=50)
WEIGHTS = RNG.integers(0, 4, 50) / 2
ALPHA, LR, SEED = 0.4, 0.3, 5


def beta(alpha, stream, n=2):
    out = np.empty(n)
    _core.random_beta(alpha, SEED, stream, out)
    return out


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 0.4, 1.0, 3.0, 200.0])
def test_shares_are_beta(isa, alpha):
    x = beta(alpha, 3, SAMPLES)
    assert ((x >= 0) & (x <= 1)).all()
    exact = stats.beta(alpha, alpha)
    if alpha > 0.01:
        assert stats.kstest(x, exact.cdf).pvalue > RARE
    for power in (1, 2, 3, 4):
        spread = np.sqrt(exact.moment(2 * power) - exact.moment(power) ** 2)
        assert abs(np.mean(x**power) - exact.moment(power)) < 5 * spread / np.sqrt(SAMPLES)
    assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 5 / np.sqrt(SAMPLES)
    assert_same_bits(beta(alpha, 3, 7), x[:7])


def log_unit(stream, index):
    words = philox(SEED, stream, index)
    return math.log(1 - (words[1] << 32 | words[0]) // 2**11 * 2.0**-53)


def normal(stream, index):
    words = philox(SEED, stream, index)
    angle = (words[3] << 32 | words[2]) // 2**11 * 2.0**-53
    return math.sqrt(-2 * log_unit(stream, index)) * math.cos(2 * math.pi * angle)


def log_gamma(shape, stream, index):
    """Marsaglia and Tsang's method, by pairs of numbers from an index on."""
    d = shape - 1 / 3
    while True:
        x = normal(stream, index)
        v = (1 + x / math.sqrt(9 * d)) ** 3
        if v > 0 and log_unit(stream, index + 1) < x**2 / 2 + d * (1 - v + math.log(v)):
            return math.log(d * v)
        index += 2


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 3.0, 200.0])
def test_shares_are_those_of_the_method(isa, alpha):
    """X / (X + Y) of two numbers of Gamma(alpha), made of those of Gamma(alpha + 1)."""
    found = beta(alpha, 3, 200)
    for i, share in enumerate(found):
        x, y = (
            log_unit(3, first) / alpha + log_gamma(alpha + 1, 3, first + 1)
            for first in (i << 32, (i << 32) + 2**31)
        )
        assert share == pytest.approx(np.exp(x - np.logaddexp(x, y)), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("alpha", [5e-324, 1e-300, 1e15, 1.7e308])
def test_shares_at_the_ends(isa, alpha):
    x = beta(alpha, 0, 100)
    expected = [0, 1] if alpha < 1 else [0.5]
    assert np.isin(x.round(6), expected).all() and len(np.unique(x.round(6))) == len(expected)


def mixed(order, step, alpha=ALPHA):
    """(share, rows, partners) of the step of the first epoch whose rows are those of `order`."""
    n = len(order)
    if n == 1:
        return 1.0, order, order
    stream = (3 << 62) + step
    words = philox(SEED, stream, 0)
    shift = 1 + ((words[1] << 32 | words[0]) * (n - 1) >> 64)
    return beta(alpha, stream)[1], order, np.roll(order, -shift)


def network(*layers, dtype="float64"):
    return fnn.Sequential([*layers, fnn.Dense(8), fnn.Tanh(), fnn.Dense(3)], dtype=dtype, seed=SEED)


def fit(model, y, **options):
    options = {"loss": "cross_entropy", "optimizer": optim.SGD(lr=LR), "epochs": 1} | options
    options = {"batch_size": 16, "shuffle": False, "mixup": ALPHA, "verbose": 0} | options
    return model.fit(X, y, **options)


def epoch_of_sgd(model, y, loss, weights, rows_of_step):
    """Parameters and mean loss after an epoch in float64 NumPy."""
    w1, b1, w2, b2 = (view.copy() for view in model.named_parameters().values())
    targets = np.eye(3)[y] if y.ndim == 1 else y
    kept = np.arange(50) if weights is None else np.flatnonzero(weights)
    w = np.ones(50) if weights is None else weights / weights[kept].mean()
    total = 0.0
    for step, first in enumerate(range(0, len(kept), rows_of_step)):
        share, rows, partners = mixed(kept[first : first + rows_of_step], step)
        x = share * X[rows] + (1 - share) * X[partners]
        own, other = share * w[rows], (1 - share) * w[partners]
        h = np.tanh(x @ w1 + b1)
        z = h @ w2 + b2
        if loss == "cross_entropy":  # the sum of the losses of two targets, by their weights
            log_p = np.log(softmax(z))
            losses = -own * (targets[rows] * log_p).sum(1)
            losses -= other * (targets[partners] * log_p).sum(1)
            dz = own[:, None] * (softmax(z) - targets[rows])
            dz += other[:, None] * (softmax(z) - targets[partners])
        else:
            t = own[:, None] * targets[rows] + other[:, None] * targets[partners]
            t /= (own + other)[:, None]
            losses = (own + other) * ((z - t) ** 2).mean(1)
            dz = (own + other)[:, None] * 2 * (z - t) / 3
        total += losses.sum()
        dz /= len(rows)
        dh = dz @ w2.T * (1 - h**2)
        w1, b1 = w1 - LR * x.T @ dh, b1 - LR * dh.sum(0)
        w2, b2 = w2 - LR * h.T @ dz, b2 - LR * dz.sum(0)
    return np.concatenate([w1.ravel(), b1, w2.ravel(), b2]), total / w[kept].sum()


@pytest.mark.parametrize("threads", [1, 3], indirect=True)
@pytest.mark.parametrize("stepwise", [False, True])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize(
    ("loss", "y"), [("cross_entropy", LABELS), ("cross_entropy", SHARES), ("mse", VALUES)]
)
def test_an_epoch_by_hand(isa, loss, y, weights, stepwise, threads):
    model = network().build(6)
    expected, mean = epoch_of_sgd(model, y, loss, weights, 16)
    optimizer = optim.SGD(lr=LR, clip_norm=1e9) if stepwise else optim.SGD(lr=LR)
    history = fit(model, y, loss=loss, optimizer=optimizer, sample_weight=weights)
    np.testing.assert_allclose(model.parameters, expected, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(history["loss"][0], mean, rtol=1e-10)


def test_partners_come_from_the_whole_step(isa):
    """However a step is cut into batches."""
    expected, _ = epoch_of_sgd(network().build(6), LABELS, "cross_entropy", None, 40)
    for batch_size, batches in ((40, 1), (20, 2), (8, 5)):
        model = network()
        fit(model, LABELS, batch_size=batch_size, gradient_accumulation_steps=batches)
        np.testing.assert_allclose(model.parameters, expected, rtol=1e-10, atol=1e-13)


def test_the_same_bits(isa, restore_threads, dtype):
    """For any team, where somebody is told of each step, and in batches."""

    def trained(threads, source=None, **options):
        _core.set_num_threads(threads)
        layers = (fnn.Standardize(), fnn.Dense(300), fnn.Dropout(0.2), fnn.BatchNorm(), fnn.ReLU())
        model = network(*layers, dtype=dtype).build(6)
        model.named_state()["0.mean"][:], model.named_state()["0.std"][:] = 0.1, 1.5
        options = {"mixup": 1.0, "epochs": 2, "batch_size": 16, "shuffle": False} | options
        data = (X, LABELS) if source is None else (source,)
        model.fit(*data, loss="cross_entropy", verbose=0, **options)
        return model.parameters

    class Told(fnn.Callback):
        def on_step_end(self, model, step, record):
            pass

    expected = trained(1)
    batches = [(X[first : first + 21], LABELS[first : first + 21]) for first in (0, 21, 42)]
    for threads in (2, 3):
        assert_same_bits(trained(threads), expected)
    assert_same_bits(trained(1, callbacks=Told()), expected)
    assert_same_bits(trained(2, batches), expected)
    assert not np.array_equal(trained(1, mixup=0.0), expected)


@pytest.mark.once
def test_mixed_behind_what_layers_make_of_columns():
    """NaN is filled first, codes become columns; a sparse X is as good as a dense one."""
    sparse = pytest.importorskip("scipy.sparse")
    codes = np.stack([RNG.integers(0, 3, 50), RNG.normal(size=50)], axis=1)
    codes[7, 1] = np.nan
    columns = fnn.Columns([(0, [fnn.OneHot(3)]), (1, [fnn.Impute()])])
    model = fnn.Sequential([columns, fnn.Dense(3)], dtype="float64", seed=SEED)
    arguments = {"loss": "mse", "mixup": ALPHA, "shuffle": False, "epochs": 1, "verbose": 0}
    model.fit(codes, VALUES, batch_size=50, optimizer=optim.SGD(lr=LR), **arguments)
    made = model.activations(codes)["0"]
    share, rows, partners = mixed(np.arange(50), 0)
    start = fnn.Sequential([columns, fnn.Dense(3)], dtype="float64", seed=SEED).build(2)
    w, b = start.named_parameters().values()
    x, t = (share * a[rows] + (1 - share) * a[partners] for a in (made, VALUES))
    dz = 2 * (x @ w + b - t) / 150
    np.testing.assert_allclose(model.named_parameters()["1.weight"], w - LR * x.T @ dz)
    dense, other = network(), network()
    thin = np.where(np.abs(X) > 1, X, 0)
    for each, given in ((dense, thin), (other, sparse.csr_array(thin))):
        each.fit(given, VALUES, **arguments)
    assert_same_bits(dense.parameters, other.parameters)


@pytest.mark.once
def test_positions():
    """Those of an example are mixed with the same of its partner; weights of 0 take no target."""
    x, y = RNG.normal(size=(12, 5, 2)), RNG.integers(0, 3, (12, 5))
    weights = RNG.integers(0, 2, (12, 5)) * 1.0
    weights[:, 0] = 1
    model = fnn.Sequential([fnn.Dense(3)], dtype="float64", seed=SEED).build((5, 2))
    w, b = (view.copy() for view in model.named_parameters().values())
    share, rows, partners = mixed(np.arange(12), 0)
    arguments = {"loss": "cross_entropy", "mixup": ALPHA, "shuffle": False, "epochs": 1}
    arguments |= {"optimizer": optim.SGD(lr=LR), "verbose": 0, "batch_size": 12}
    model.fit(x, np.where(weights > 0, y, 99), sample_weight=weights, **arguments)
    m = share * x[rows] + (1 - share) * x[partners]
    p = softmax((m @ w + b).reshape(60, 3)).reshape(12, 5, 3)
    scaled = weights / weights.mean()
    dz = (share * scaled)[..., None] * (p - np.eye(3)[y])
    dz += ((1 - share) * scaled[partners])[..., None] * (p - np.eye(3)[y[partners]])
    expected = w - LR * np.einsum("npi,npo->io", m, dz / 60)
    np.testing.assert_allclose(model.named_parameters()["0.weight"], expected, rtol=1e-10)


@pytest.mark.once
def test_history_and_binary_targets():
    """An example is right where its prediction is the target with the larger share."""
    y, model = (LABELS > 0).astype(int), fnn.Sequential([fnn.Dense(1)], dtype="float64", seed=SEED)
    w, b = (view.copy() for view in model.build(6).named_parameters().values())
    history = fit(model, y, loss="binary_cross_entropy", batch_size=50, train_metrics=True)
    share, rows, partners = mixed(np.arange(50), 0)
    x, t = (share * a[rows] + (1 - share) * a[partners] for a in (X, y))
    z = (x @ w + b)[:, 0]
    np.testing.assert_allclose(history["loss"][0], (np.logaddexp(0, z) - t * z).mean())
    np.testing.assert_allclose(history["accuracy"][0], ((z > 0) == (t > 0.5)).mean())
    given = model.evaluate(X, y)
    assert history["train_loss"] == [given["loss"]]


@pytest.mark.once
def test_a_step_of_one_row_is_as_it_is():
    model, other = network(), network()
    for each, alpha in ((model, ALPHA), (other, 0.0)):
        fit(each, LABELS, batch_size=1, mixup=alpha)
    assert_same_bits(model.parameters, other.parameters)


@pytest.mark.once
@pytest.mark.parametrize(
    ("layers", "data", "loss", "message"),
    [
        ([], (X, LABELS), "multi_margin", "0 for 'multi_margin', whose targets are labels and"),
        ([], (X, 2 * (VALUES > 0) - 1), "hinge", "0 for 'hinge', whose targets are labels and"),
        (
            [fnn.SetPool()],
            ((np.zeros((50, 4, 2)), np.ones(50, int)), LABELS),
            "cross_entropy",
            "0 for examples of different lengths",
        ),
        (
            [fnn.Embedding(3, 2)],
            (LABELS[:, None], LABELS),
            "cross_entropy",
            r"0 for layers\[0\], Embedding\(3, 2\), whose codes do not mix",
        ),
    ],
)
def test_what_is_not_mixed(layers, data, loss, message):
    with pytest.raises(ValueError, match="^mixup: expected " + message + ".*, got 0.2$"):
        network(*layers).fit(*data, loss=loss, mixup=0.2)


@pytest.mark.once
@pytest.mark.parametrize("wrong", [-0.1, np.nan, np.inf, "0.2"])
def test_a_wrong_alpha(wrong):
    with pytest.raises((TypeError, ValueError), match=r"^mixup: expected "):
        fit(network(), LABELS, mixup=wrong)
