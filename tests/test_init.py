"""Initial parameters: the distributions against their formulas, and what they depend on."""

import math

import numpy as np
import pytest
from scipy import stats

import pyfast_nn as fnn
from pyfast_nn import branches
from pyfast_nn import initializers as I

pytestmark = pytest.mark.once

FAN_IN, FAN_OUT = 300, 200


def weights(init, seed=0, dtype="float64", follow=()):
    model = fnn.Sequential([fnn.Dense(FAN_OUT, init=init), *follow], dtype=dtype, seed=seed)
    return model.build(FAN_IN).named_parameters()["0.weight"]


NORMAL = {
    "he_normal": math.sqrt(2 / FAN_IN),
    "xavier_normal": math.sqrt(2 / (FAN_IN + FAN_OUT)),
    "lecun_normal": math.sqrt(1 / FAN_IN),
    "small_normal": 0.01,
    I.HeNormal(): math.sqrt(2 / FAN_IN),
    I.HeNormal(negative_slope=0.5): math.sqrt(2 / (1.25 * FAN_IN)),
    I.XavierNormal(): math.sqrt(2 / (FAN_IN + FAN_OUT)),
    I.LeCunNormal(): math.sqrt(1 / FAN_IN),
    I.Normal(): 0.01,
    I.Normal(std=0.3): 0.3,
}
UNIFORM = {
    "he_uniform": math.sqrt(6 / FAN_IN),
    "xavier_uniform": math.sqrt(6 / (FAN_IN + FAN_OUT)),
    "lecun_uniform": math.sqrt(3 / FAN_IN),
    I.HeUniform(): math.sqrt(6 / FAN_IN),
    I.HeUniform(negative_slope=2): math.sqrt(6 / (5 * FAN_IN)),
    I.XavierUniform(): math.sqrt(6 / (FAN_IN + FAN_OUT)),
    I.LeCunUniform(): math.sqrt(3 / FAN_IN),
    I.Uniform(-0.2, 0.2): 0.2,
}


@pytest.mark.parametrize("init", NORMAL, ids=str)
def test_normal(init, dtype):
    w = weights(init, dtype=dtype)
    assert w.dtype == dtype and w.shape == (FAN_IN, FAN_OUT)
    assert stats.kstest(w.ravel(), "norm", args=(0, NORMAL[init])).pvalue > 1e-3


@pytest.mark.parametrize("init", UNIFORM, ids=str)
def test_uniform(init, dtype):
    w = weights(init, dtype=dtype)
    limit = UNIFORM[init]
    assert stats.kstest(w.ravel(), "uniform", args=(-limit, 2 * limit)).pvalue > 1e-3
    assert abs(w).max() <= limit * (1 + 1e-6)


def test_uniform_between_any_bounds(dtype):
    w = weights(I.Uniform(1, 1.5), dtype=dtype)
    assert stats.kstest(w.ravel(), "uniform", args=(1, 0.5)).pvalue > 1e-3
    assert w.min() >= 1 and w.max() <= 1.5


@pytest.mark.parametrize(
    ("init", "std"), [("truncated_normal", 0.01), (I.TruncatedNormal(std=0.5), 0.5)], ids=str
)
def test_truncated_normal(init, std, dtype):
    w = weights(init, dtype=dtype)
    assert abs(w).max() <= 2 * std * (1 + 1e-6)
    assert stats.kstest(w.ravel(), "truncnorm", args=(-2, 2, 0, std)).pvalue > 1e-3
    assert np.std(w) == pytest.approx(0.8796 * std, rel=0.01)


@pytest.mark.parametrize(("fan_in", "fan_out"), [(30, 30), (50, 20), (20, 50), (1, 7), (7, 1)])
@pytest.mark.parametrize(("init", "gain"), [("orthogonal", 1), (I.Orthogonal(gain=3), 3)], ids=str)
def test_orthogonal(init, gain, fan_in, fan_out, dtype):
    model = fnn.Sequential([fnn.Dense(fan_out, init=init)], dtype=dtype, seed=2)
    w = model.build(fan_in).named_parameters()["0.weight"].astype(np.float64)
    gram = w @ w.T if fan_in <= fan_out else w.T @ w
    np.testing.assert_allclose(gram, gain**2 * np.eye(len(gram)), atol=1e-5 * gain**2)


def test_orthogonal_is_uniform_over_orthogonal_matrices():
    """The first entry of a uniform 3 x 3 orthogonal matrix is uniform on [-1, 1] (Archimedes);
    without the correction of signs it would never change its sign."""
    models = [fnn.Sequential([fnn.Dense(3, init="orthogonal")], seed=s) for s in range(400)]
    drawn = np.stack([model.build(3).named_parameters()["0.weight"] for model in models])
    for entry in drawn.reshape(400, 9).T:
        assert stats.kstest(entry, "uniform", args=(-1, 2)).pvalue > 1e-4


@pytest.mark.parametrize(
    ("init", "value"),
    [("zeros", 0), (0.25, 0.25), (-1, -1), (0, 0), (I.Constant(0.1), 0.1), (I.Normal(0), 0)],
    ids=str,
)
def test_constant(init, value):
    assert (weights(init) == value).all()


def test_the_variance_of_he_survives_relu_layers_and_that_of_xavier_tanh_layers():
    """What the two papers promise: the mean square of activations neither explodes nor vanishes."""
    X = np.random.default_rng(0).standard_normal((256, 512))
    for activation, init in ((fnn.ReLU, "he_normal"), (fnn.Tanh, "xavier_uniform")):
        stack = [layer for _ in range(10) for layer in (fnn.Dense(512, init=init), activation())]
        out = fnn.Sequential(stack).forward(X)
        assert 0.02 < np.mean(out**2) < 2


@pytest.mark.parametrize(
    ("activation", "init"),
    [
        (fnn.ReLU(), "he_normal"),
        (fnn.ELU(), "he_normal"),
        (fnn.GELU(), "he_normal"),
        (fnn.SiLU(), "he_normal"),
        (fnn.LeakyReLU(), I.HeNormal(negative_slope=0.01)),
        (fnn.LeakyReLU(0.5), I.HeNormal(negative_slope=0.5)),
        (fnn.Softplus(), "xavier_uniform"),
        (fnn.Hardtanh(), "xavier_uniform"),
        (fnn.Tanh(), "xavier_uniform"),
        (fnn.Sigmoid(), "xavier_uniform"),
        (fnn.Softmax(), "xavier_uniform"),
        (fnn.Step(), "xavier_uniform"),
        (fnn.Identity(), "xavier_uniform"),
        (fnn.Dense(2), "xavier_uniform"),
        (None, "xavier_uniform"),
    ],
    ids=repr,
)
def test_defaults(activation, init):
    behind = [] if activation is None else [activation]
    plain = fnn.Sequential([fnn.Dense(FAN_OUT), *behind]).build(FAN_IN)
    explicit = fnn.Sequential([fnn.Dense(FAN_OUT, init=init), *behind]).build(FAN_IN)
    np.testing.assert_array_equal(plain.parameters, explicit.parameters)
    assert not plain.named_parameters()["0.bias"].any()


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


@pytest.mark.parametrize("name", [name for name, _ in I._BY_NAME.items()])
def test_a_name_means_its_object(name):
    np.testing.assert_array_equal(weights(name), weights(I.resolve(name)))


@pytest.mark.parametrize(
    "init", [None, "lecun_normal", "he_uniform", I.Orthogonal(2), 0.3], ids=str
)
def test_bias_as_one_more_input(init):
    """Weight and bias together are the weight of a layer with one more input."""
    together = fnn.Dense(5, init=init, bias_init="one_more_input")
    named = fnn.Sequential([together, fnn.ReLU()], seed=4).build(7).named_parameters()
    wider = fnn.Sequential([fnn.Dense(5, init=init), fnn.ReLU()], seed=4).build(8)
    both = np.concatenate([named["0.weight"], named["0.bias"][None]])
    np.testing.assert_array_equal(both, wider.named_parameters()["0.weight"])


INITIALIZERS = [
    *(I.HeNormal(), I.HeNormal(negative_slope=0.2), I.HeUniform(), I.XavierNormal()),
    *(I.XavierUniform(), I.LeCunNormal(), I.LeCunUniform(), I.Normal(), I.Normal(std=2)),
    *(I.TruncatedNormal(), I.TruncatedNormal(std=0.1), I.Uniform(-1, 2), I.Orthogonal()),
    *(I.Orthogonal(gain=2), I.Constant(0.5)),
]


@pytest.mark.parametrize("init", INITIALIZERS, ids=repr)
def test_object(init, tmp_path):
    """It prints as it is written, equals its equal, and survives a model file."""
    assert eval(repr(init), vars(I)) == init
    assert len({init, eval(repr(init), vars(I))}) == 1
    assert sum(init == other for other in INITIALIZERS) == 1
    bias = 0 if isinstance(init, I.Orthogonal) else init
    model = fnn.Sequential([fnn.Dense(3, init=init, bias_init=bias)], seed=1).build(4)
    model.save(tmp_path / "m.safetensors")
    loaded = fnn.load(tmp_path / "m.safetensors")
    assert loaded.layers == model.layers
    assert repr(loaded.layers[0].init) == repr(init)
    np.testing.assert_array_equal(loaded.parameters, model.parameters)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: I.HeNormal("steep"), "negative_slope"),
        (lambda: I.HeUniform(math.nan), "negative_slope"),
        (lambda: I.Normal(-1), "std"),
        (lambda: I.TruncatedNormal(-1), "std"),
        (lambda: I.Uniform(1, 1), "high"),
        (lambda: I.Uniform(math.inf, 1), "low"),
        (lambda: I.Orthogonal(None), "gain"),
        (lambda: I.Constant("zero"), "value"),
        (lambda: fnn.Dense(2, init="he"), "init"),
        (lambda: fnn.Dense(2, init="one_more_input"), "init"),
        (lambda: fnn.Dense(2, init=I.HeNormal), "init"),
        (lambda: fnn.Dense(2, bias_init="orthogonal"), "bias_init"),
        (lambda: fnn.Dense(2, bias_init=I.Orthogonal()), "bias_init"),
        (lambda: fnn.Dense(2, bias_init=None), "bias_init"),
    ],
)
def test_wrong_settings(make, name):
    with pytest.raises((TypeError, ValueError), match=rf"\b{name}\b"):
        make()


def test_wrong_descriptions():
    """What a damaged model file may say."""
    (good,) = branches.to_config([fnn.Dense(2, init=I.HeNormal())])
    assert branches.from_config([good]) == [fnn.Dense(2, init=I.HeNormal())]
    for init in (
        {},
        {"type": "Dense", "units": 3},
        {"type": "HeNormal", "slope": 1},
        {"type": "HeNormal", "negative_slope": "1"},
        {"type": "Constant"},
        {"type": ["HeNormal"]},
        {"type": "Constant", "value": {"type": "Constant", "value": 1.0}},
        ["HeNormal"],
    ):
        with pytest.raises((TypeError, ValueError)):
            branches.from_config([{**good, "init": init}])
