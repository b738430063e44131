"""Layers that draw random numbers while training: which, and that all maps see the same ones."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

import oracle
import pyfast_nn as fnn
from conftest import assert_same_bits
from pyfast_nn import _core
from test_hessian import central_differences, relative_error

LOSS = oracle.MSE
TRAINING = 2**63  # streams of random numbers in training: this and the step


def layer(kind, *values, units=0, **more):
    return {"kind": kind, "values": values, "units": units, **more}


def run(seed=3, step=5):
    return _core.Run(training=True, seed=seed, step=step)


def philox(seed, stream, index):
    """Philox-4x32-10 of Salmon et al. (2011): four arrays of words for the array `index`."""
    low, index = np.uint64(2**32 - 1), np.asarray(index, np.uint64)
    half = np.uint64(32)
    a, b = index & low, index >> half
    c, d = (np.full_like(index, stream) & low, np.full_like(index, stream) >> half)
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p, q = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b = q >> half ^ b ^ np.uint64(key[0]), q & low
        c, d = p >> half ^ d ^ np.uint64(key[1]), p & low
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return a, b, c, d


def factors(rate, rows, cols, seed=3, step=5, number=0, first=0):
    """What the `number`-th dropout multiplies by (rows, cols), from row `first` of the step on.

    16 columns of a row are a group; all groups of all rows are numbered through. Eight groups are
    decided by 16 blocks of Philox: by column, and two groups by the halves of each word.
    """
    r, j = np.ogrid[first : first + rows, :cols]
    group = r * -(-cols // 16) + j // 16
    words = philox(seed, TRAINING | step, (number << 48) + group // 8 * 16 + j % 16)
    word = np.choose(group % 8 // 2, [w.astype(np.int64) for w in words])
    threshold = min(int(rate * 65536 + 0.5), 65535)
    return ((word >> group % 2 * 16 & 0xFFFF) >= threshold) * (65536 / (65536 - threshold))


def noise(std, rows, cols, seed=3, step=5):
    """What the first Gaussian noise of a network adds in float64 (rows, cols)."""
    out = np.empty(rows * cols)
    _core.random_normal(seed, TRAINING | step, out)
    return std * out.reshape(rows, cols)


def forward(layers, X, run, parameters=None):
    net = _core.Network(X.dtype.name, X.shape[1], layers)
    out = np.full((len(X), net.out_features), np.nan, X.dtype)
    parameters = np.empty(0, X.dtype) if parameters is None else parameters
    net.forward(parameters, X, out, run=run)
    return out


# ------------------------------------------------------------------------ which numbers they are


@pytest.mark.parametrize("cols", [1, 2, 3, 5, 8, 9, 16, 17, 31, 33, 64, 100, 128, 130, 300])
@pytest.mark.parametrize("rows", [1, 2, 7, 40])
def test_dropout_is_philox(isa, dtype, rng, rows, cols):
    X = rng.standard_normal((rows, cols)).astype(dtype)
    for rate in (0.5, 0.1):
        expected = X * factors(rate, rows, cols).astype(dtype)
        np.testing.assert_array_equal(forward([layer("dropout", rate)], X, run()), expected)


def test_dropout_of_many_rows(isa, dtype, rng):
    """More than are computed at a time: places go on."""
    X = rng.standard_normal((2500, 20)).astype(dtype)
    expected = X * factors(0.3, *X.shape).astype(dtype)
    np.testing.assert_array_equal(forward([layer("dropout", 0.3)], X, run()), expected)


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (3, 5), (40, 16), (7, 33), (2500, 20)])
def test_noise_is_normal(isa, dtype, rng, rows, cols):
    X = rng.standard_normal((rows, cols)).astype(dtype)
    expected = X.astype(np.float64) + noise(0.25, rows, cols)
    if dtype == "float32":  # which draws other numbers
        out = np.empty(rows * cols, dtype)
        _core.random_normal(3, TRAINING | 5, out)
        expected = X + 0.25 * np.float64(out).reshape(rows, cols)
    actual = forward([layer("gaussian_noise", 0.25)], X, run())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=16 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.9])
def test_statistics_of_dropout(rate):
    shape = (500, 203)
    kept = forward([layer("dropout", rate)], np.ones(shape), run()) > 0
    spread = np.sqrt(rate * (1 - rate))
    assert abs(kept.mean() - (1 - rate)) < 5 * spread / np.sqrt(kept.size)
    assert np.abs(kept.mean(0) - (1 - rate)).max() < 5 * spread / np.sqrt(shape[0])
    assert np.abs(kept.mean(1) - (1 - rate)).max() < 5 * spread / np.sqrt(shape[1])
    for a, b in ((kept[:, 1:], kept[:, :-1]), (kept[1:], kept[:-1])):  # neighbours
        correlation = np.corrcoef(a.ravel(), b.ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(kept.size)


def test_what_is_kept_keeps_the_mean(dtype):
    out = forward([layer("dropout", 0.2)], np.ones((400, 100), dtype), run())
    assert abs(out.mean() - 1) < 5 * np.sqrt(0.25 / out.size)
    assert len(np.unique(out)) == 2
    np.testing.assert_allclose(out.max(), 1 / (1 - 0.2), rtol=2**-15)  # of 16 bits


def test_statistics_of_noise(dtype):
    out = forward([layer("gaussian_noise", 2.0)], np.zeros((300, 70), dtype), run())
    assert stats.kstest(out.ravel() / 2, "norm").pvalue > 1e-5
    rows = np.abs(np.corrcoef(out) - np.eye(300)).max()
    assert rows < 6 / np.sqrt(70)


@pytest.mark.parametrize("kind", ["dropout", "gaussian_noise"])
def test_other_seeds_steps_layers_and_examples_draw_others(kind):
    X = np.ones((64, 96))
    draws = [
        forward([layer(kind, 0.5)], X, now)
        for now in (run(), run(step=6), run(step=5 + 2**32), run(seed=4), run(seed=3 + 2**32))
    ]
    both = [layer(kind, 0.5, inputs=[0]), layer(kind, 0.5, inputs=[0])]
    both.append(layer("concatenate", inputs=[1, 2]))
    first, second = np.hsplit(forward(both, X, run()), 2)
    assert_same_bits(first, draws[0])
    draws += [second, draws[0][::-1], draws[0][:, ::-1]]
    flat = np.array([x.ravel() for x in draws])
    correlation = np.corrcoef(flat) - np.eye(len(flat))
    assert np.abs(correlation).max() < 5 / np.sqrt(X.size)


@pytest.mark.parametrize("values", [("dropout", 0.5), ("gaussian_noise", 1.0)])
def test_otherwise_nothing_happens(isa, dtype, rng, values):
    X = rng.standard_normal((40, 33)).astype(dtype)
    assert_same_bits(forward([layer(*values)], X, _core.Run(seed=3, step=5)), X)
    nothing = layer(values[0], 0.0)
    np.testing.assert_array_equal(forward([nothing], X, run()), X)


def test_the_highest_rate(isa, dtype):
    """Below 1: some numbers are left, and finite."""
    out = forward([layer("dropout", 1 - 2**-30)], np.ones((2000, 100), dtype), run())
    assert set(np.unique(out)) == {0.0, 65536.0}


def test_what_is_dropped_is_zero_whatever_it_was(isa, dtype):
    X = np.full((50, 40), np.nan, dtype)
    out = forward([layer("dropout", 0.5)], X, run())
    np.testing.assert_array_equal(np.isnan(out), factors(0.5, 50, 40) > 0)
    assert (out[~np.isnan(out)] == 0).all()


# ------------------------------------------------------------------------------ all maps agree

# in_features, layers: on the input, behind an activation, behind another, and as the last.
NETWORKS = {
    "dropout": (
        9,
        [
            layer("dropout", 0.2),
            *(layer("dense", units=37), layer("tanh"), layer("dropout", 0.5)),
            *(layer("dense", units=5), layer("dropout", 0.25)),
        ],
    ),
    "noise": (
        9,
        [
            layer("gaussian_noise", 0.2),
            *(layer("dense", units=37), layer("tanh"), layer("gaussian_noise", 0.5)),
            *(layer("dense", units=5), layer("gaussian_noise", 0.1)),
        ],
    ),
    "both at once": (
        9,
        [
            layer("dense", units=37),
            layer("dropout", 0.4, inputs=[1]),
            layer("gaussian_noise", 0.3, inputs=[1]),
            layer("add", inputs=[1, 2, 3]),
            *(layer("tanh"), layer("dense", units=5)),
        ],
    ),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


class Case:
    def __init__(self, rng, name, rows, dtype="float64"):
        in_features, layers = NETWORKS[name]
        self.net = _core.Network(dtype, in_features, layers)
        self.X = rng.standard_normal((rows, in_features)).astype(dtype)
        self.y = rng.standard_normal((rows, self.net.out_features)).astype(dtype)
        self.parameters = (0.5 * rng.standard_normal(self.net.n_parameters)).astype(dtype)
        self.v = rng.standard_normal(self.net.n_parameters).astype(dtype)

    def astype(self, dtype, name):
        other = object.__new__(Case)
        other.net = _core.Network(dtype, *NETWORKS[name])
        for field in ("X", "y", "parameters", "v"):
            setattr(other, field, getattr(self, field).astype(dtype))
        return other

    def empty(self, *shape):
        return np.full(shape, np.nan, self.net.dtype)

    def forward(self, parameters, X, now):
        out = self.empty(len(X), self.net.out_features)
        self.net.forward(np.ascontiguousarray(parameters), X, out, run=now)
        return out

    def loss_and_grad(self, parameters, now):
        grad = self.empty(self.net.n_parameters)
        return self.net.loss_and_grad(parameters, self.X, self.y, LOSS, grad, run=now), grad

    def hvp(self, now):
        hv = self.empty(self.net.n_parameters)
        self.net.hvp(self.parameters, self.v, self.X, self.y, LOSS, hv, run=now)
        return hv

    def jvp(self, now):
        out, dout = (self.empty(len(self.X), self.net.out_features) for _ in range(2))
        self.net.jvp(self.parameters, self.v, self.X, out, dout, run=now)
        return out, dout

    def vjp(self, dout, now):
        out, grad = self.empty(*dout.shape), self.empty(self.net.n_parameters)
        dX = self.empty(*self.X.shape)
        self.net.vjp(self.parameters, self.X, out, run=now)(dout, grad, dX)
        return out, grad, dX

    def all_maps(self, now):
        return [
            self.forward(self.parameters, self.X, now),
            *self.loss_and_grad(self.parameters, now),
            *(self.hvp(now), *self.jvp(now), *self.vjp(self.y, now)),
        ]


@every_network
@pytest.mark.parametrize("rows", [3, 50])
def test_all_maps_against_differences(isa, rng, name, rows):
    case, now = Case(rng, name, rows), run()

    def outputs(parameters):
        return case.forward(parameters, case.X, now)

    out = outputs(case.parameters)
    loss, grad = case.loss_and_grad(case.parameters, now)
    np.testing.assert_allclose(loss, ((out - case.y) ** 2).mean(), rtol=1e-12)

    def loss_at(parameters):
        return np.atleast_1d(((outputs(parameters) - case.y) ** 2).mean())

    differences = central_differences(loss_at, case.parameters).ravel()
    assert relative_error(grad, differences) < 1e-7

    step = 1e-5
    there, back = case.parameters + step * case.v, case.parameters - step * case.v
    change = case.loss_and_grad(there, now)[1] - case.loss_and_grad(back, now)[1]
    assert relative_error(case.hvp(now), change / (2 * step)) < 1e-6

    jvp_out, dout = case.jvp(now)
    np.testing.assert_allclose(jvp_out, out, rtol=1e-12, atol=1e-12)
    assert relative_error(dout, (outputs(there) - outputs(back)) / (2 * step)) < 1e-6

    vjp_out, dparameters, dX = case.vjp(case.y, now)
    np.testing.assert_allclose(vjp_out, out, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose((dparameters * case.v).sum(), (dout * case.y).sum(), rtol=1e-10)
    U = rng.standard_normal(case.X.shape)
    moved = [case.forward(case.parameters, case.X + s * step * U, now) for s in (1, -1)]
    np.testing.assert_allclose(
        (dX * U).sum(), ((moved[0] - moved[1]) / (2 * step) * case.y).sum(), rtol=1e-6
    )


def test_masks_of_all_layers_against_numpy(isa, rng):
    case = Case(rng, "dropout", 30)
    W, b, V, c = np.split(case.parameters, np.cumsum([9 * 37, 37, 37 * 5]))
    a = np.tanh((case.X * factors(0.2, 30, 9)) @ W.reshape(9, 37) + b)
    z = (a * factors(0.5, 30, 37, number=1)) @ V.reshape(37, 5) + c
    expected = z * factors(0.25, 30, 5, number=2)
    actual = case.forward(case.parameters, case.X, run())
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-13)


def test_float32_draws_the_masks_of_float64(isa, rng):
    exact = Case(rng, "dropout", 41)
    rounded = exact.astype("float32", "dropout")
    for a, b in zip(rounded.all_maps(run()), exact.all_maps(run()), strict=True):
        assert np.abs(a - b).max() < 1e-4 * np.abs(b).max()


@every_network
def test_same_bits_for_any_team(isa, dtype, rng, restore_threads, name):
    case = Case(rng, name, 700, dtype)
    results = []
    for n in (1, 2, 3, 8):
        _core.set_num_threads(n)
        results.append(case.all_maps(run()))
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            assert_same_bits(np.asarray(a), np.asarray(b))


@every_network
def test_a_cut_of_the_examples_draws_the_same(isa, rng, name):
    """More examples than are computed at a time against the sum over examples of NumPy."""
    case = Case(rng, name, 2100)
    out = case.forward(case.parameters, case.X, run())
    loss, grad = case.loss_and_grad(case.parameters, run())
    np.testing.assert_allclose(loss, ((out - case.y) ** 2).mean(), rtol=1e-12)
    _, whole, _ = case.vjp(2 * (out - case.y) / out.size, run())  # all rows at a time
    np.testing.assert_allclose(grad, whole, rtol=1e-9, atol=1e-14)


def train(case, batch_size, batches_per_step=1, first_step=0, stepwise=False):
    """The parameters after an epoch of SGD."""
    parameters, report = case.parameters.copy(), np.full(3, np.nan)
    arguments = (parameters, case.X, case.y, LOSS)
    options = {
        "order": np.arange(len(case.X)),
        "batch_size": batch_size,
        "batches_per_step": batches_per_step,
        "report": report,
        "run": _core.Run(training=True, learns_state=True, seed=3, step=first_step),
    }
    if stepwise:
        gradient = np.full_like(parameters, np.nan)

        def take_step(finite):
            parameters[...] -= np.asarray(0.1, parameters.dtype) * gradient
            return False

        case.net.train_stepwise(*arguments, gradient=gradient, take_step=take_step, **options)
    else:
        update = ("sgd", {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0})
        case.net.train(*arguments, lr=0.1, update=update, state=[], step=0, **options)
    return parameters


@every_network
def test_batches_of_a_step_draw_what_the_step_would(isa, dtype, rng, name):
    case = Case(rng, name, 60, dtype)
    limit = 1e-12 if dtype == "float64" else 1e-5
    for batch_size, batches in ((10, 3), (7, 5)):
        expected = train(case, batch_size * batches)
        for stepwise in (False, True):
            actual = train(case, batch_size, batches, stepwise=stepwise)
            assert np.abs(actual - expected).max() < limit


@every_network
@pytest.mark.parametrize("rows", [40, 1200])
def test_training_has_the_same_bits_for_any_team(isa, dtype, rng, restore_threads, name, rows):
    """Few rows: a team that shares the columns of layers; many: one that shares rows."""
    case, results = Case(rng, name, rows, dtype), []
    for n in (1, 2, 3, 5):
        _core.set_num_threads(n)
        results.append(train(case, rows // 2 + 1))
        results.append(train(case, rows // 4, 2))
    for i, other in enumerate(results):
        assert_same_bits(other, results[i % 2])


def test_a_wide_layer_shared_by_columns(isa, dtype, rng, restore_threads):
    """Threads that draw for some panels of some rows draw the same."""
    layers = [layer("dense", units=700), layer("relu"), layer("dropout", 0.5)]
    layers += [layer("dense", units=700), layer("gaussian_noise", 0.5), layer("dense", units=3)]
    case = Case(rng, "noise", 10, dtype)
    case.net = _core.Network(dtype, 9, layers)
    case.parameters = (0.1 * rng.standard_normal(case.net.n_parameters)).astype(dtype)
    case.y = case.y[:, :3].copy()
    results = []
    for n in (1, 2, 3, 5):
        _core.set_num_threads(n)
        results.append(train(case, 5))
    for other in results[1:]:
        assert_same_bits(other, results[0])


def test_each_step_is_the_gradient_of_its_run(isa, rng):
    """The epoch draws what calls with the seed and the number of the step draw."""
    case = Case(rng, "dropout", 24)
    expected, whole = case.parameters.copy(), (case.X, case.y)
    for step, rows in enumerate(np.split(np.arange(24), 3)):
        case.X, case.y = whole[0][rows], whole[1][rows]
        expected -= 0.1 * case.loss_and_grad(expected, run(step=(2 << 32) + step))[1]
    case.X, case.y = whole
    np.testing.assert_allclose(train(case, 8, first_step=2 << 32), expected, rtol=1e-11)


# --------------------------------------------------------------------------------- as layers


@pytest.fixture
def blobs(rng):
    y = rng.integers(0, 3, 200)
    return rng.standard_normal((200, 8)) + 2 * np.eye(3, 8)[y], y


def make(*layers, seed=0):
    return fnn.Sequential([*layers, fnn.Dense(3)], dtype="float64", seed=seed)


RANDOM = [fnn.Dropout(0.4), fnn.GaussianNoise(0.4)]
every_layer = pytest.mark.parametrize("random", RANDOM, ids=repr)


@every_layer
def test_it_acts_in_training_alone(blobs, random):
    X, y = blobs
    with_it, without = make(fnn.Dense(20), fnn.ReLU(), random), make(fnn.Dense(20), fnn.ReLU())
    for model in (with_it, without):
        model.build(8)
    np.testing.assert_array_equal(with_it.forward(X), without.forward(X))
    assert (
        with_it.loss_and_grad(X, y, loss="cross_entropy")[0]
        == without.loss_and_grad(X, y, loss="cross_entropy")[0]
    )
    for model in (with_it, without):
        model.fit(X, y, loss="cross_entropy", epochs=1)
    assert not np.allclose(with_it.parameters, without.parameters)
    np.testing.assert_array_equal(with_it.predict_proba(X), with_it.predict_proba(X))


@every_layer
def test_it_learns(blobs, random):
    model = make(random, fnn.Dense(40), fnn.ReLU(), random, seed=1)
    model.fit(*blobs, loss="cross_entropy", epochs=60, optimizer=fnn.optim.Adam(lr=0.01))
    assert model.evaluate(*blobs)["accuracy"] > 0.8


@every_layer
def test_fits_repeat_and_epochs_differ(blobs, random):
    def fit(seed=0, epochs_before=0, **options):
        model = make(random, seed=seed).build(8)
        if epochs_before:
            start = model.parameters.copy()
            model.fit(*blobs, loss="cross_entropy", epochs=epochs_before)
            model.parameters = start
        model.fit(*blobs, loss="cross_entropy", epochs=1, shuffle=False, **options)
        return model.parameters.tobytes()

    assert fit() == fit() != fit(epochs_before=1)


@every_layer
def test_it_is_saved(blobs, random, tmp_path):
    model = make(random).build(8)
    model.save(tmp_path / "model.safetensors")
    loaded = fnn.load(tmp_path / "model.safetensors")
    assert repr(loaded.layers) == repr(model.layers)
    np.testing.assert_array_equal(loaded.forward(blobs[0]), model.forward(blobs[0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnn.Dropout(1), "rate: expected a finite number >= 0 and < 1, got 1"),
        (lambda: fnn.Dropout(-0.1), "rate: expected a finite number >= 0 and < 1, got -0.1"),
        (lambda: fnn.GaussianNoise(-1), "std: expected a finite number >= 0, got -1"),
        (lambda: fnn.GaussianNoise(np.inf), "std: expected a finite number >= 0, got inf"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
