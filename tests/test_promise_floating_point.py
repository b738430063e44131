"""The promise about floating point: NaN is never hidden, and the rounding and denormal modes of the
thread that imports or calls are left as they are. The kernels one by one are in test_network.py,
test_activations.py and test_losses.py; here is every public layer, loss and method."""

from __future__ import annotations

import inspect
import os
import platform
import subprocess
import sys

import numpy as np
import pytest

import pyfast_nn as fnn
from problems import example_of, on_four_columns
from pyfast_nn.layers import Layer

ROWS, COLUMNS, OUT = 23, 6, 3
BAD_ROW = 11

LAYERS = {
    name: thing
    for name, thing in vars(fnn).items()
    if inspect.isclass(thing) and issubclass(thing, Layer) and not thing.takes_nan
}
LOSSES = {name: getattr(fnn.losses, name) for name in fnn.losses.__all__}
every_layer = pytest.mark.parametrize("name", LAYERS)
every_loss = pytest.mark.parametrize("name", LOSSES)


def make_layer(name):
    return example_of(LAYERS[name])


def make(layer, dtype):
    """A network with the layer in the midst, or in front if that is its place."""
    first, behind = ([layer], []) if layer.is_input else ([], on_four_columns(type(layer)))
    layers = [*first, fnn.Dense(4), *behind, fnn.Dense(OUT)]
    model = fnn.Sequential(layers, dtype=dtype, seed=2).build(COLUMNS)
    for vector in model.named_state().values():
        vector[:] = 1.5
    return model


def targets(loss, rng):
    if loss.task == "classes":
        return rng.integers(0, OUT, ROWS)
    if loss.task == "pairs":
        return np.arange(ROWS) // 2
    if loss.task == "binary":
        return np.array(loss.codes, float)[rng.integers(0, 2, (ROWS, OUT))]
    return rng.integers(0, 4, (ROWS, OUT)).astype(float)


def test_nothing_is_left_out():
    assert {"Dense", "ReLU", "Softmax", "Step", "Standardize"} <= set(LAYERS)
    assert {"CrossEntropy", "Quantile"} <= set(LOSSES)


@every_layer
def test_nan_in_features(isa, dtype, rng, name):
    """All outputs and derivatives of its row are NaN, and those of no other row."""
    model = make(make_layer(name), dtype)
    X, y = rng.normal(size=(ROWS, COLUMNS)), rng.normal(size=(ROWS, OUT))
    v = rng.normal(size=model.n_parameters)
    good = np.arange(ROWS) != BAD_ROW
    X[BAD_ROW, 3] = np.nan
    out, pullback = model.vjp(X)
    for found in (out, model.forward(X), *model.jvp(X, v)):
        assert np.isnan(found[BAD_ROW]).all()
        assert np.isfinite(found[good]).all()
    loss, grad = model.loss_and_grad(X, y, loss="mse")
    scores = model.evaluate(X, y, loss="mse", allow_nonfinite=True)
    assert np.isnan(loss) and np.isnan(scores["loss"])
    dparams, dX = pullback(np.ones_like(out))
    weight = list(model.named_parameters().values())[-2]  # behind the layer
    last = slice(-weight.size - OUT, -OUT)
    for gradient in (grad, dparams, model.hvp(X, y, v, loss="mse")):
        assert np.isnan(gradient[last]).all()
    assert np.isfinite(dX[good]).all()


@every_layer
def test_nan_in_parameters(isa, dtype, rng, name):
    model = make(make_layer(name), dtype)
    X, y = rng.normal(size=(ROWS, COLUMNS)), rng.normal(size=(ROWS, OUT))
    names = list(model.named_parameters())
    for parameter in names:
        copy = model.parameters.copy()
        model.named_parameters()[parameter].flat[0] = np.nan
        out = model.forward(X)
        columns = slice(0, 1) if parameter in names[-2:] else slice(None)
        is_nan = np.isnan(out[:, columns])
        if name == "PReLU" and parameter not in names[:2] + names[-2:]:
            assert is_nan.any()  # where that slope is read
        else:
            assert is_nan.all()
        assert np.isnan(model.evaluate(X, y, loss="mse")["loss"])
        assert np.isnan(model.loss_and_grad(X, y, loss="mse")[0])
        model.parameters = copy


@every_layer
def test_nan_in_directions(isa, dtype, rng, name):
    """In v and dout; behind a layer whose derivative is 0 there is nothing that it could reach."""
    layer = make_layer(name)
    model = make(layer, dtype)
    X, y = rng.normal(size=(ROWS, COLUMNS)), rng.normal(size=(ROWS, OUT))
    for place in (-1, 0):
        v = np.ones(model.n_parameters)
        v[place] = np.nan
        if place == 0 and layer.flat:
            continue
        assert np.isnan(model.jvp(X, v)[1]).any()
        assert np.isnan(model.hvp(X, y, v, loss="mse")).any()
    out, pullback = model.vjp(X)
    dout = np.ones_like(out)
    dout[BAD_ROW, 1] = np.nan
    dparams, dX = pullback(dout)
    assert np.isnan(dparams[-2]) and np.isfinite(dparams[[-1, -3]]).all()
    good = np.arange(ROWS) != BAD_ROW
    assert np.isfinite(dX[good]).all()
    assert np.isnan(dX[BAD_ROW]).all() or layer.flat


@every_loss
def test_nan_through_losses(isa, dtype, rng, name):
    """In the loss, the gradient and the product with the Hessian; fit refuses to go on."""
    loss = LOSSES[name]()
    model = fnn.Sequential([fnn.Dense(OUT)], dtype=dtype, seed=2).build(COLUMNS)
    X, y = rng.normal(size=(ROWS, COLUMNS)), targets(loss, rng)
    v = rng.normal(size=model.n_parameters)
    bad = X.copy()
    bad[BAD_ROW, 3] = np.nan
    assert np.isfinite(model.evaluate(X, y, loss=loss)["loss"])
    assert np.isnan(model.evaluate(bad, y, loss=loss, allow_nonfinite=True)["loss"])
    value, grad = model.loss_and_grad(bad, y, loss=loss)
    assert np.isnan(value) and np.isnan(grad).any()
    assert np.isnan(model.hvp(bad, y, v, loss=loss)).any()
    model.parameters[0] = np.nan
    before = model.parameters.copy()
    with pytest.raises(FloatingPointError, match="step 1"):
        model.fit(X, y, loss=loss, epochs=1, verbose=0)
    np.testing.assert_array_equal(model.parameters, before)


@pytest.mark.parametrize("name", ["CrossEntropy", "BinaryCrossEntropy"])
def test_nan_through_probabilities(isa, dtype, rng, name):
    model = fnn.Sequential([fnn.Dense(OUT)], dtype=dtype).build(COLUMNS)
    model.loss = LOSSES[name]()
    X = rng.normal(size=(ROWS, COLUMNS))
    X[BAD_ROW, 3] = np.nan
    p = model.predict_proba(X, allow_nonfinite=True)
    assert np.isnan(p[BAD_ROW]).all() and np.isfinite(np.delete(p, BAD_ROW, axis=0)).all()


@pytest.mark.once
@pytest.mark.parametrize(
    ("metric", "loss", "columns"),
    [
        *((name, "mse", 2) for name in ("mae", "mse", "rmse", "r2")),
        *(("auc", "binary_cross_entropy", 1), ("auc", "cross_entropy", 2)),
        ("top_5_accuracy", "cross_entropy", 7),
    ],
)
def test_nan_through_metrics(rng, metric, loss, columns):
    model = fnn.Sequential([fnn.Dense(columns)]).build(COLUMNS)
    X, y = rng.normal(size=(ROWS, COLUMNS)), np.arange(ROWS) % 2
    y = np.stack([y] * columns, axis=1) if loss == "mse" else y

    def score():
        return model.evaluate(X, y, loss=loss, metrics=[metric], allow_nonfinite=True)[metric]

    assert np.isfinite(score())
    X[:] = np.nan
    # an example without an answer is not right
    assert score() == 0 if metric == "top_5_accuracy" else np.isnan(score())


# ------------------------------------------------------------------------------------------- modes

MODES = """
import ctypes, os, sys
libm = ctypes.CDLL("libm.so.6")
UPWARD, FLUSH = 0x800, 0x8040  # of fesetround; and of MXCSR: flush to zero, denormals are zeros

def environment():
    "Rounding and denormal modes, also as a computation shows them."
    fenv = (ctypes.c_uint32 * 8)()  # fenv_t of x86-64; MXCSR is the last of it
    assert libm.fegetenv(fenv) == 0
    # the exception flags (the low bits) are a record of what happened, and no mode
    modes = libm.fegetround(), fenv[7] & ~0x3F, fenv[0] & 0xFFFF
    tiny = float(os.environ["TINY"])
    return *modes, tiny / 4 > 0

def set_mode(name):
    if name == "upward":
        assert libm.fesetround(UPWARD) == 0
    if name == "flush":
        fenv = (ctypes.c_uint32 * 8)()
        assert libm.fegetenv(fenv) == 0
        fenv[7] |= FLUSH
        assert libm.fesetenv(fenv) == 0

mode, before_numpy = sys.argv[1], sys.argv[2] == "before"
if before_numpy:
    set_mode(mode)
    expected = environment()
    import pyfast_nn
    assert environment() == expected, "import"
import numpy as np
set_mode(mode)
expected = environment()
import pyfast_nn as fnn
assert environment() == expected, "import"
assert (expected[0] == UPWARD) == (mode == "upward")
assert (expected[1] & FLUSH == FLUSH) == (mode == "flush") and expected[3] == (mode != "flush")

rng = np.random.default_rng(0)
X, y = rng.normal(size=(600, 70)), rng.integers(0, 9, 600)
for threads in (1, 4):
    fnn.set_num_threads(threads)
    for layers in ([fnn.Dense(9)], [fnn.Standardize(), fnn.Dense(250), fnn.Tanh(), fnn.Dense(9)]):
        model = fnn.Sequential(layers)
        def later(name, *arguments, **keywords):
            return name, lambda: getattr(model, name)(*arguments, **keywords)
        out = np.ones((600, 9))
        def diverge():
            try:
                model.fit(X * 1e30, y, optimizer=fnn.optim.SGD(lr=1e30), epochs=3, verbose=0)
            except FloatingPointError:
                pass
        calls = [
            later("fit", X, y, loss="cross_entropy", epochs=2, batch_size=256, verbose=0),
            *(later(name, X) for name in ("forward", "predict", "predict_proba")),
            *(later(name, X, y) for name in ("evaluate", "loss_and_grad")),
            ("hvp", lambda: model.hvp(X, y, model.parameters)),
            ("jvp", lambda: model.jvp(X, model.parameters)),
            ("vjp", lambda: model.vjp(X)[1](out)),
            ("save", lambda: model.save(sys.argv[3])),
            ("load", lambda: fnn.load(sys.argv[3])),
            ("a fit that diverges", diverge),
        ]
        for name, call in calls:
            call()
            assert environment() == expected, (name, threads, environment(), expected)
print("all right")
"""


@pytest.mark.once
@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="reads MXCSR by glibc's fenv_t",
)
@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("mode", ["default", "upward", "flush"])
def test_modes_are_left_alone(mode, order, tmp_path):
    """By the import and by every method, whatever they are; `order` is that of our import and
    NumPy's."""
    command = [sys.executable, "-c", MODES, mode, order, str(tmp_path / "model.safetensors")]
    environment = {**os.environ, "TINY": str(np.finfo(np.float64).tiny)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "all right", done.stderr
