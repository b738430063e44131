"""Matrix products whose operands are rounded to tfloat32 or bfloat16, on an emulated GPU.

Numbers are whole and so small that every sum is exact: what is computed is what float64 computes of
rounded operands, bit for bit, in whatever order. Where cuBLASLt would multiply, a library of its
interface does (tests/cuda/cublaslt.cpp).
"""

from __future__ import annotations

import copy
import ctypes
import pickle
import shutil

import numpy as np
import pytest

import emulated
import pyfast_nn as fnn
from conftest import assert_close, assert_same_bits
from pyfast_nn import _core

pytestmark = pytest.mark.once

DIGITS = {"tfloat32": 11, "bfloat16": 8}
CODES = {"tfloat32": (77, 0), "bfloat16": (68, 14)}  # what cuBLASLt computes in, and of which type
WIDE, UNALIGNED, NARROW = (150, 20, 12), (150, 5, 3), (60, 20, 12)  # rows, inputs, outputs


def rounded(x, name):
    """Numbers of so many binary digits, to the nearest and then to even; those of float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        x = np.asarray(x, np.float64)
        exponent = np.maximum(np.frexp(x)[1], -125) - DIGITS[name]
        return np.ldexp(np.rint(np.ldexp(x, -exponent)), exponent).astype(np.float32)


@pytest.fixture(scope="module")
def built(library, tmp_path_factory):
    return emulated.cublaslt(tmp_path_factory.mktemp("cublaslt"))


@pytest.fixture
def cublaslt(copied, built, monkeypatch, tmp_path):
    """What stands for it where it is looked for; a GPU that has not opened it yet."""
    path = shutil.copy(built, tmp_path / "copied.so")
    monkeypatch.setattr(fnn.cuda, "places_of_cublaslt", lambda: [str(path)])
    return ctypes.CDLL(str(path))


@pytest.fixture(params=DIGITS)
def name(request):
    return request.param


def there(layers, name, in_features=6):
    return fnn.Sequential(layers, device="cuda", compute_dtype=name, seed=3).build(in_features)


def examples(rng, n=150):
    return rng.normal(size=(n, 6)), rng.integers(0, 3, n)


# --------------------------------------------------------------------- which numbers are multiplied


@pytest.mark.parametrize("by_library", [True, False])
def test_numbers_are_rounded(cublaslt, rng, name, by_library):
    cublaslt.cublaslt_knows_a_way(by_library)
    drop = 24 - DIGITS[name]
    ties = (np.arange(0x7F80_0000 >> drop, dtype=np.uint32) << drop | 1 << (drop - 1))[::97]
    special = [0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0xFFFFFFFF]
    bits = [special, ties, ties - 1, ties + 1, ties | 1 << 31, rng.integers(0, 2**32, 20_000)]
    x = np.concatenate([np.asarray(part, np.uint32) for part in bits]).view(np.float32)
    model = there([fnn.Dense(1)], name, 1)
    model.parameters[:] = 1, 0
    y = model.forward(x[:, None])[:, 0]
    np.testing.assert_array_equal(y, rounded(x, name))
    assert np.isnan(y).sum() == np.isnan(x).sum() > 0
    assert (cublaslt.cublaslt_calls() > 0) == by_library
    if name == "bfloat16":
        ml_dtypes = pytest.importorskip("ml_dtypes", reason="it has bfloat16, too")
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(y, x.astype(ml_dtypes.bfloat16).astype(np.float32))


@pytest.mark.parametrize("many", ["X", "w", "v", "d"])
@pytest.mark.parametrize("shape", [WIDE, UNALIGNED, NARROW])
@pytest.mark.parametrize("by_library", [True, False])
def test_products(cublaslt, rng, name, shape, many, by_library):
    """One operand has more digits than `name`, the others hardly any."""
    cublaslt.cublaslt_knows_a_way(by_library)
    n, width, out = shape

    def draw(which, *size):
        largest = 4095 if which == many else 1
        return rng.integers(-largest, largest, size, endpoint=True).astype(float)

    X, w, v, d = (
        draw("X", n, width),
        draw("w", width, out),
        draw("v", width, out),
        draw("d", n, out),
    )
    b, c = rng.integers(-99_999, 99_999, (2, out)).astype(float)
    model = there([fnn.Dense(out)], name, width)
    model.parameters[:] = np.concatenate([w.ravel(), b])
    x_, w_, v_, d_ = (rounded(array, name).astype(float) for array in (X, w, v, d))

    outputs, pullback = model.vjp(X)
    gradient, dX = pullback(d)
    again, tangent = model.jvp(X, np.concatenate([v.ravel(), c]))
    rectified = there([fnn.Dense(out), fnn.ReLU()], name, width)
    rectified.parameters[:] = model.parameters
    for got, expected in (
        (model.forward(X), x_ @ w_ + b),
        (outputs, x_ @ w_ + b),
        (again, x_ @ w_ + b),
        (rectified.forward(X), np.maximum(x_ @ w_ + b, 0)),
        (tangent, x_ @ v_ + c),
        (dX, d_ @ w_.T),
        (gradient, np.concatenate([(x_.T @ d_).ravel(), d.sum(axis=0)])),
    ):
        assert_same_bits(got, expected.astype(np.float32) + np.float32(0))
    operands = {"X": (X, x_), "w": (w, w_), "v": (v, v_), "d": (d, d_)}
    assert all(np.array_equal(*pair) == (which != many) for which, pair in operands.items())

    wide = by_library and n > 128
    assert (cublaslt.cublaslt_calls() > 0) == wide
    biased, plain = (cublaslt.cublaslt_calls_of(*CODES[name], epilogue) for epilogue in (4, 1))
    assert biased + plain == cublaslt.cublaslt_calls()
    assert (biased > 0) == (wide and width * out % 4 == 0)  # where the bias lies as it has to


# ------------------------------------------------------------------------------------ all together


def everything(model, X, y):
    how = {"loss": "cross_entropy"}
    v = np.ones(model.n_parameters, np.float32)
    yield model.forward(X)
    yield model.loss_and_grad(X, y, **how)[1]
    yield model.jvp(X, v)[1]
    yield model.hvp(X, y, v, **how)
    yield fnn.curvature.GaussNewton(model, X, y, **how) @ v
    yield fnn.curvature.exact_diagonal(fnn.curvature.GaussNewton(model, X, y, **how))
    model.fit(X, y, optimizer=fnn.optim.SGD(lr=0.1), epochs=2, batch_size=60, **how)
    yield model.parameters


def distance(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


@pytest.mark.parametrize("widths", [(130, 140), (9, 7)])
def test_networks(cublaslt, rng, name, widths):
    """Near those of float32, as far as digits go; and with the same bits again."""
    X, y = examples(rng)
    layers = [fnn.Dense(widths[0]), fnn.Tanh(), fnn.Dense(widths[1]), fnn.SiLU(), fnn.Dense(3)]
    models = [there(copy.deepcopy(layers), each) for each in ("float32", name, name)]
    for exact, one, again in zip(*(everything(model, X, y) for model in models), strict=True):
        assert_same_bits(one, again)
        assert 2.0 ** -(DIGITS[name] + 7) < distance(one, exact) < 2.0 ** -(DIGITS[name] - 4)
    assert cublaslt.cublaslt_calls() > 0


@pytest.mark.parametrize("units", [9, 130])
def test_a_step(cublaslt, rng, units):
    """It goes down the gradient of rounded operands at any width; parameters stay float32."""
    X, y = examples(rng, 32)
    models = [
        there([fnn.Dense(units), fnn.ReLU(), fnn.Dense(3)], each) for each in (None, "bfloat16")
    ]
    moved = []
    for model in models:
        before = model.parameters.copy()
        gradient = model.loss_and_grad(X, y, loss="cross_entropy")[1]
        sgd = fnn.optim.SGD(lr=2.0**-6)
        model.fit(X, y, loss="cross_entropy", optimizer=sgd, epochs=1, batch_size=32)
        moved.append((before - model.parameters) * 2**6)
        assert distance(moved[-1], gradient) < 2e-4
    assert distance(*moved) > 1e-3
    kept = models[1].parameters
    assert (kept != rounded(kept, "bfloat16")).mean() > 0.9


def test_what_is_not_finite(cublaslt, rng, name):
    X, _ = examples(rng)
    model = there([fnn.Dense(140), fnn.ReLU(), fnn.Dense(3)], name)
    X[3, 2] = np.nan
    X[5] = 1e30 * np.sign(X[5])
    outputs = model.forward(X)
    assert np.isnan(outputs[3]).all() and np.isfinite(np.delete(outputs, 3, axis=0)).all()
    rectified = model[:2].forward(X)
    assert np.isnan(rectified[3]).all() and (np.delete(rectified, 3, axis=0) >= 0).all()


def test_gradients_as_small_as_those_of_float32(cublaslt, name):
    """No type of these has fewer exponents: nothing has to be scaled."""
    model = there([fnn.Dense(1)], name, 1)
    model.parameters[:] = 0
    X, y = np.full((4, 1), 2.0**-60), np.full((4, 1), 2.0**-60)
    gradient = model.loss_and_grad(X, y, loss="mse")[1]
    assert_close(gradient, [-(2.0**-119), -(2.0**-59)], "float32")


# --------------------------------------------------------------------------------- one setting


def test_the_setting_stays(cublaslt, tmp_path, name):
    model = there([fnn.Dense(8), fnn.ReLU(), fnn.Dense(3)], name)
    assert model.compute_dtype == name and model.dtype == np.float32
    assert repr(model).endswith(f"device='cuda', compute_dtype={name!r})")
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model[1:], model[0]):
        assert (other.device, other.compute_dtype) == ("cuda", name)
    assert model.to("cuda") is model and model.compute_dtype == name
    model.save(tmp_path / "model")
    assert fnn.load(tmp_path / "model").compute_dtype == "float32"
    assert model.to("cpu").compute_dtype == "float32" and "compute_dtype" not in repr(model)
    assert model.to("cuda").compute_dtype == "float32"
    assert model.to("cuda", compute_dtype=name).compute_dtype == name


def test_it_is_in_force_at_once(cublaslt, rng, name):
    X, _ = examples(rng)
    model = there([fnn.Dense(130)], None)
    exact = model.forward(X)
    near = model.to("cuda", compute_dtype=name).forward(X)
    assert 1e-6 < distance(near, exact) < 1e-2
    assert_same_bits(model.activations(X)["0"], near)
    assert_same_bits(model.to("cuda", compute_dtype="float32").forward(X), exact)


def test_others_do_not_go_there_as_well(cublaslt, rng, name):
    X, _ = examples(rng)
    plain = there([fnn.Dense(130)], None)
    before = plain.forward(X)
    there([fnn.Dense(130)], name).forward(X)
    assert cublaslt.cublaslt_calls() == 1
    assert_same_bits(plain.forward(X), before)
    there([fnn.Dense(130)], "float32").forward(X)
    assert cublaslt.cublaslt_calls() == 1


def test_float64_is_float64(cublaslt, rng):
    X, y = examples(rng)
    model = fnn.Sequential(
        [fnn.Dense(130)], dtype="float64", device="cuda", compute_dtype="float64"
    )
    assert model.build(6).compute_dtype == "float64"
    rounding = there([fnn.Dense(3)], "bfloat16")
    exact = there([fnn.Dense(3)], None)
    v = np.ones(exact.n_parameters)
    products = [
        fnn.curvature.GaussNewton(each, X, y, loss="cross_entropy", dtype="float64") @ v
        for each in (rounding, exact)
    ]
    assert_same_bits(*products)


def test_where_it_is_refused():
    layers = [fnn.Dense(3)]
    for how, error, message in (
        (
            {"compute_dtype": "bfloat16"},
            ValueError,
            "expected 'float32' with device='cpu', got 'bfl",
        ),
        (
            {"compute_dtype": "float64"},
            ValueError,
            "expected 'float32' with that dtype, got 'float",
        ),
        (
            {"compute_dtype": "tfloat32", "dtype": "float64"},
            *(ValueError, "expected 'float64' with that dtype, got 'tfloat32'"),
        ),
        ({"compute_dtype": "bfloat"}, ValueError, "expected one of float32, .*'bfloat'; did you"),
        (
            {"compute_dtype": np.float32},
            TypeError,
            "expected one of float32, float64, tfloat32, bf",
        ),
    ):
        with pytest.raises(error, match=f"compute_dtype: {message}"):
            fnn.Sequential(layers, **how)
    model = fnn.Sequential(layers, compute_dtype="float32").build(2)
    with pytest.raises(ValueError, match="compute_dtype: expected 'float32' with device='cpu'"):
        model.to("cpu", compute_dtype="bfloat16")
    for dtype, device in (("float32", "cpu"), ("float64", "cpu")):
        with pytest.raises(ValueError, match=r"compute_dtype: expected .*, or of float32 on a GPU"):
            _core.Network(dtype, 2, [{"kind": "relu"}], True, device, "bfloat16")


def test_without_cublaslt(copied, monkeypatch, tmp_path):
    places = [str(tmp_path / "nowhere.so"), _core.__file__]
    monkeypatch.setattr(fnn.cuda, "places_of_cublaslt", lambda: places)
    model = there([fnn.Dense(3)], None)
    for call in (
        lambda: there([fnn.Dense(3)], "bfloat16"),
        lambda: model.to("cuda", compute_dtype="tfloat32"),
    ):
        with pytest.raises(RuntimeError, match="compute_dtype: expected cuBLASLt of CUDA") as error:
            call()
        assert all(place in str(error.value) for place in places)
        assert "pip install" in str(error.value)
    assert model.compute_dtype == "float32"
