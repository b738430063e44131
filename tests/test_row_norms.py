"""LayerNorm, RMSNorm and GroupNorm: torch beside them, rows at the edge, and their layers."""

from __future__ import annotations

import numpy as np
import pytest

import autodiff
import pyfast_nn as fnn
from conftest import assert_close, assert_same_bits
from pyfast_nn import _core
from test_ops_of_networks import IN, OUT, Layers, Problem, check_maps, check_operators

GROUPS = [(4, 2), (12, 3), (33, 11), (33, 3), (60, 60), (64, 2), (64, 4), (96, 3), (100, 4)]
KINDS = ["layer_norm", "rms_norm", "group_norm"]

every_kind = pytest.mark.parametrize("kind", KINDS)


def values(kind, eps=1e-5, affine=1, groups=1):
    return (groups, eps, affine) if kind == "group_norm" else (eps, affine)


def normalised(kind, X, eps=1e-5, groups=1):
    """What the op alone makes of X, without parameters."""
    layer = {"kind": kind, "values": values(kind, eps, 0, groups)}
    net = _core.Network(X.dtype.name, X.shape[1], [layer])
    assert net.n_parameters == 0
    out = np.full(X.shape, np.nan, X.dtype)
    net.forward(np.empty(0, X.dtype), X, out)
    return out


def by_torch(kind, X, eps=1e-5, groups=1):
    torch = autodiff.torch()
    X, functional = torch.as_tensor(X), torch.nn.functional
    if kind == "group_norm":
        return functional.group_norm(X, groups, eps=eps).numpy()
    norm = functional.layer_norm if kind == "layer_norm" else functional.rms_norm
    return norm(X, X.shape[1:], eps=eps or None).numpy()


# ----------------------------------------------------------------------------------- more networks


@pytest.mark.parametrize(("features", "groups"), GROUPS)
def test_groups(isa, dtype, rng, features, groups):
    """That end within vectors, and with them; what is in front leaves padding that is not zero."""
    n = Layers("group_norm", features)
    x = n.add("sigmoid", n.dense(0, features))
    n.dense(n.add("tanh", n.op(x, values=values("group_norm", 0.1, 1, groups))), OUT)
    problem = Problem(rng, dtype, IN, n.list, 6)
    check_maps(problem)
    check_operators(problem)


@every_kind
@pytest.mark.parametrize("features", [3, 16, 33])
def test_without_parameters_and_behind_a_sigmoid(isa, dtype, rng, kind, features):
    n = Layers(kind, features)
    x = n.op(n.add("sigmoid", n.dense(0, features)), values=values(kind, 0.1, 0))
    n.op(n.add("softplus", n.dense(x, OUT), values=(1.0,)), values=values(kind, 0.1, 1))
    problem = Problem(rng, dtype, IN, n.list, 6)
    assert problem.net.n_parameters == (IN + 1) * features + (features + 1) * OUT + OUT * (
        1 if kind == "rms_norm" else 2
    )
    check_maps(problem)
    check_operators(problem)


# -------------------------------------------------------------------------------- rows at the edge


@every_kind
@pytest.mark.parametrize("features", [1, 2, 7, 16, 33, 256, 1000])
def test_as_torch(isa, dtype, rng, kind, features):
    X = rng.standard_normal((5, features)).astype(dtype) * 3 + 1
    expected = by_torch(kind, X.astype(np.float64))
    assert_close(
        normalised(kind, X), expected, dtype, 100 + features
    )  # of x - mean digits are lost


def test_rms_norm_takes_the_machine_epsilon(isa, dtype, rng):
    X = (np.sqrt(np.finfo(dtype).eps) * rng.standard_normal((4, 20))).astype(dtype)
    assert_close(normalised("rms_norm", X, 0.0), by_torch("rms_norm", X, None), dtype, 20)


@pytest.mark.parametrize("kind", ["layer_norm", "group_norm"])
@pytest.mark.parametrize("features", [1, 3, 10, 100, 999])
@pytest.mark.parametrize("value", [0.0, 0.1, -1 / 3, 12345.678, 1e30, -3e38])
def test_equal_numbers_give_zero(isa, dtype, kind, features, value):
    """Though their sum is rounded."""
    X = np.full((2, features), value, dtype)
    np.testing.assert_array_equal(normalised(kind, X), np.zeros_like(X))


@every_kind
def test_far_from_zero(isa, rng, kind):
    """Nothing is lost but what float32 inputs have lost."""
    X = (10000 + rng.standard_normal((6, 300))).astype(np.float32)
    expected = by_torch(kind, X.astype(np.float64))
    np.testing.assert_allclose(normalised(kind, X), expected, rtol=0, atol=2e-3)


@every_kind
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e15, 1e18])
def test_tiny_and_large_numbers(isa, rng, kind, scale):
    X = (scale * rng.standard_normal((4, 40))).astype(np.float32)
    expected = by_torch(kind, X.astype(np.float64))
    np.testing.assert_allclose(normalised(kind, X), expected, rtol=1e-4, atol=1e-6)


@every_kind
@pytest.mark.parametrize("scale", [1e25, 1e37])
def test_squares_that_overflow_give_zero(isa, rng, kind, scale):
    """As in torch's rms_norm; its layer_norm gives NaN."""
    X = (scale * rng.standard_normal((4, 40))).astype(np.float32)
    np.testing.assert_array_equal(normalised(kind, X), np.zeros_like(X))


@every_kind
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_row(isa, dtype, rng, kind, bad):
    X = rng.standard_normal((6, 20)).astype(dtype)
    right = normalised(kind, X)
    X[2, 3] = bad
    out = normalised(kind, X)
    assert not np.isfinite(out[2]).all()
    assert_same_bits(np.delete(out, 2, 0), np.delete(right, 2, 0))


@pytest.mark.parametrize("groups", [0, 5, 13, -1])
def test_groups_that_do_not_divide_are_refused(groups):
    layer = {"kind": "group_norm", "values": values("group_norm", groups=groups)}
    with pytest.raises(
        ValueError, match=f"groups: expected a divisor of 12 features, got {groups}"
    ):
        _core.Network("float32", 12, [layer])
    if groups > 0:
        with pytest.raises(ValueError, match=r"layers\[1\].*groups: expected a divisor of 12"):
            fnn.Sequential([fnn.Dense(12), fnn.GroupNorm(groups)]).build(3)


# ------------------------------------------------------------------------------------------ layers


LAYERS = [fnn.LayerNorm(), fnn.RMSNorm(), fnn.GroupNorm(4)]
every_layer = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.kind)


@every_layer
def test_names_shapes_and_first_values(layer):
    model = fnn.Sequential([fnn.Dense(8), layer, fnn.Dense(2)]).build(3)
    named = model.named_parameters()
    own = {name: view for name, view in named.items() if name.startswith("1.")}
    expected = {"1.weight": np.ones(8), "1.bias": np.zeros(8)}
    if layer.kind == "rms_norm":
        del expected["1.bias"]
    assert list(own) == list(expected)
    for name, first in expected.items():
        np.testing.assert_array_equal(own[name], first)


@every_layer
def test_init_looks_through(layer):
    """At what follows: weights in front of ReLU are He's."""
    through, plain = (
        fnn.Sequential([fnn.Dense(8), *more, fnn.ReLU(), fnn.Dense(2)], seed=1).build(3)
        for more in ([layer], [])
    )
    a, b = (model.named_parameters()["0.weight"] for model in (through, plain))
    assert_same_bits(a, b)


@pytest.mark.parametrize("affine", [True, False])
@every_layer
def test_fit_save_and_load(tmp_path, rng, layer, affine):
    kind = type(layer)
    own = kind(4, affine=affine) if kind is fnn.GroupNorm else kind(affine=affine)
    assert kind(**own.get_config()) == own
    X, y = rng.standard_normal((120, 5)), rng.integers(0, 3, 120)
    block = fnn.Residual([own, fnn.Dense(8), fnn.ReLU(), fnn.Dense(8)])
    model = fnn.Sequential([fnn.Dense(8), block, fnn.Dense(3)], seed=0)
    losses = model.fit(X, y, epochs=15, loss="cross_entropy")["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.safetensors")
    assert_same_bits(fnn.load(tmp_path / "model.safetensors").forward(X), model.forward(X))


def test_arguments():
    for kind in (fnn.LayerNorm, fnn.RMSNorm, lambda **fields: fnn.GroupNorm(2, **fields)):
        for eps in (0, -1, np.nan):
            with pytest.raises(ValueError, match="eps"):
                kind(eps=eps)
        with pytest.raises(TypeError, match="affine"):
            kind(affine=1.5)
    with pytest.raises(ValueError, match="groups"):
        fnn.GroupNorm(0)
    assert repr(fnn.RMSNorm()) == "RMSNorm()" and fnn.RMSNorm().values == (0.0, 1.0)
