"""Every optimizer against torch, the paper's formula, Keras' or scikit-learn's; fit with each."""

from __future__ import annotations

import functools
import itertools
import pickle

import numpy as np
import pytest

import autodiff
import oracle
import pyfast_nn as fnn
from conftest import FULL, assert_same_bits
from pyfast_nn import _core
from pyfast_nn.optim.rule import state_names

N, STEPS = (2001 if FULL else 83), 1000

# (class, hyper-parameters) with torch's names
TORCH = {
    "SGD": ("SGD", {"lr": 0.01}),
    "SGD, weight decay": ("SGD", {"lr": 0.01, "weight_decay": 0.1}),
    "momentum": ("SGD", {"momentum": 0.9, "weight_decay": 0.01}),
    "dampening": ("SGD", {"lr": 0.01, "momentum": 0.9, "dampening": 0.3}),
    "nesterov": ("SGD", {"momentum": 0.8, "weight_decay": 0.01, "nesterov": True}),
    "ASGD": ("ASGD", {}),
    "ASGD, averaging": ("ASGD", {"lambd": 0.1, "alpha": 0.5, "t0": 100, "weight_decay": 0.1}),
    "Adagrad": ("Adagrad", {}),
    "Adagrad, all": (
        "Adagrad",
        {"lr_decay": 0.01, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
    ),
    "Adadelta": ("Adadelta", {}),
    "Adadelta, all": ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1}),
    "RMSprop": ("RMSprop", {}),
    "RMSprop, all": (
        "RMSprop",
        {"alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.9, "centered": True},
    ),
    "RMSprop, momentum": ("RMSprop", {"lr": 1e-3, "momentum": 0.5}),
    "RMSprop, centered": ("RMSprop", {"centered": True}),
    "Adam": ("Adam", {}),
    "Adam, all": (
        "Adam",
        {"betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1, "amsgrad": True},
    ),
    "AMSGrad": ("Adam", {"amsgrad": True}),
    "AdamW": ("AdamW", {}),
    "AdamW, all": (
        "AdamW",
        {"lr": 0.01, "betas": (0.5, 0.99), "eps": 1e-3, "weight_decay": 0.5, "amsgrad": True},
    ),
    "Adamax": ("Adamax", {}),
    "Adamax, all": ("Adamax", {"betas": (0.5, 0.9), "eps": 1e-2, "weight_decay": 0.1}),
    "NAdam": ("NAdam", {}),
    "NAdam, all": (
        "NAdam",
        {"betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1, "momentum_decay": 0.05},
    ),
    "NAdam, decoupled": ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    "RAdam": ("RAdam", {}),
    "RAdam, all": ("RAdam", {"betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    "RAdam, decoupled": ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    "RAdam, never rectified": ("RAdam", {"betas": (0.9, 0.5)}),
    "Rprop": ("Rprop", {}),
    "Rprop, all": ("Rprop", {"lr": 1e-3, "etas": (0.3, 1.5), "step_sizes": (1e-4, 0.01)}),
}
OTHERS = {
    "Adam, keras": ("Adam", {"eps": 1e-2, "weight_decay": 0.1, "eps_mode": "keras"}),
    "AdamW, keras": (
        "AdamW",
        {"eps": 1e-2, "weight_decay": 0.1, "amsgrad": True, "eps_mode": "keras"},
    ),
    "Lion": ("Lion", {"lr": 1e-3}),
    "Lion, all": ("Lion", {"lr": 1e-3, "betas": (0.7, 0.9), "weight_decay": 0.5}),
}
ALL = TORCH | OTHERS


def over(cases):
    return pytest.mark.parametrize("case", cases.values(), ids=cases.keys())


def make(case):
    name, options = case
    return getattr(fnn.optim, name)(**options)


def step(opt, params, grads):
    """One step of an optimizer that has no parameters of its own, on a flat vector."""
    if opt._bound is None:  # as a fit binds it
        opt._bound = opt._bind({"p": params}, params)
        opt._bound.fused = True
    epoch = opt._bound.next_epoch(1)
    name, hyper = epoch["update"]
    hyper = {key: float(np.squeeze(value)) for key, value in hyper.items()}
    lr, state = float(np.squeeze(epoch["lr"])), epoch["states"]
    _core.update((name, hyper), params, grads, state, lr, epoch["step"])
    epoch["report"][2] = 1


def start():
    return np.random.default_rng(0).standard_normal(N).astype("float32").astype("float64")


def gradients():
    """Gradients (N,) for each step, of all sizes, that are float32 numbers."""
    rng = np.random.default_rng(1)
    size = 10 ** rng.uniform(-3, 1, N)
    for _ in range(STEPS):
        yield (size * rng.standard_normal(N)).astype("float32").astype("float64")


def run(opt, dtype):
    """Parameters (N,) and {name: state (N,)} after all steps."""
    params = start().astype(dtype)
    for grads in gradients():
        step(opt, params, grads.astype(dtype))
    return params, dict(zip(state_names(opt), opt.state, strict=True))


@pytest.fixture
def float64_torch():
    torch = autodiff.torch()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


@functools.cache
def run_torch(case):
    """The same in torch, in float64; `case` is a key of TORCH."""
    torch, (name, options) = autodiff.torch(), TORCH[case]
    leaf = torch.tensor(start(), requires_grad=True)
    optimizer = getattr(torch.optim, name)([leaf], **options)
    for grads in gradients():
        leaf.grad = torch.tensor(grads)
        optimizer.step()
    state = optimizer.state[leaf].items()
    return leaf.detach().numpy(), {k: v.numpy() for k, v in state if v is not None and v.ndim}


def assert_near(actual, expected, dtype):
    """float64: 1e-9 of the largest; float32: some roundings in each step."""
    limit = {"float64": 1e-9, "float32": 1e-5}[dtype]
    assert actual.dtype == dtype
    assert np.abs(actual - expected).max() <= limit * np.abs(expected).max()


# ----------------------------------------------------------------- a thousand steps


@pytest.mark.parametrize("case", TORCH)
def test_against_torch(isa, dtype, float64_torch, case):
    params, state = run(make(TORCH[case]), dtype)
    expected, expected_state = run_torch(case)
    assert np.abs(expected - start()).max() > 0.01  # it went somewhere
    assert_near(params, expected, dtype)
    assert state.keys() == expected_state.keys()
    for name, vector in state.items():
        assert_near(vector, expected_state[name], dtype)


def test_keras_eps_against_sklearn(isa, dtype):
    """With an eps so large that it matters where it stands."""
    module = pytest.importorskip(
        "sklearn.neural_network._stochastic_optimizers", reason="scikit-learn is not installed"
    )
    options = {"lr": 0.01, "betas": (0.8, 0.99), "eps": 0.1}
    params, _ = run(fnn.optim.Adam(eps_mode="keras", **options), dtype)
    expected = start()
    adam = module.AdamOptimizer([expected], 0.01, 0.8, 0.99, 0.1)
    for grads in gradients():
        adam.update_params([expected], [grads])
    assert_near(params, expected, dtype)
    other, _ = run(fnn.optim.Adam(**options), dtype)
    assert np.abs(other - expected).max() > 0.01


def test_keras_eps_with_the_rest(isa, dtype):
    """Decoupled weight decay and AMSGrad, as Keras has them."""
    options = {"lr": 0.01, "betas": (0.8, 0.99), "eps": 0.1, "weight_decay": 0.5, "amsgrad": True}
    params, _ = run(fnn.optim.AdamW(eps_mode="keras", **options), dtype)
    p, m, v, largest = start(), 0, 0, 0
    for t, g in enumerate(gradients(), 1):
        p = p - 0.01 * 0.5 * p
        m, v = m + 0.2 * (g - m), v + 0.01 * (g * g - v)
        largest = np.maximum(largest, v)
        rate = 0.01 * np.sqrt(1 - 0.99**t) / (1 - 0.8**t)
        p = p - rate * m / (np.sqrt(largest) + 0.1)
    assert_near(params, p, dtype)


@pytest.mark.parametrize("case", ["Lion", "Lion, all"])
def test_lion(isa, dtype, case):
    """Chen et al. (2023), algorithm 2; float32 may flip a sign that rounding decides."""
    params, state = run(make(OTHERS[case]), dtype)
    options = {"betas": (0.9, 0.99), "weight_decay": 0.0, **OTHERS[case][1]}
    (beta1, beta2), decay, lr = options["betas"], options["weight_decay"], options["lr"]
    p, m = start(), np.zeros(N)
    for g in gradients():
        p = p - lr * (np.sign(beta1 * m + (1 - beta1) * g) + decay * p)
        m = beta2 * m + (1 - beta2) * g
    flipped = np.abs(params - p) > lr
    assert flipped.sum() <= {"float64": 0, "float32": 2}[dtype]
    assert_near(np.where(flipped, p, params).astype(dtype), p, dtype)
    assert_near(state["exp_avg"], m, dtype)


@pytest.mark.once
def test_lion_against_optax():
    optax = pytest.importorskip("optax", reason="optax is not installed")
    opt = fnn.optim.Lion(lr=1e-3, betas=(0.8, 0.95), weight_decay=0.1)
    other = optax.lion(1e-3, b1=0.8, b2=0.95, weight_decay=0.1)
    params = start().astype("float32")
    expected = params.copy()
    state = other.init(expected)
    for _, grads in zip(range(100), gradients(), strict=False):
        step(opt, params, grads.astype("float32"))
        updates, state = other.update(grads.astype("float32"), state, expected)
        expected = np.asarray(optax.apply_updates(expected, updates))
    flipped = np.abs(params - expected) > 1e-3
    assert flipped.sum() <= 2
    assert_near(params[~flipped], expected[~flipped], "float32")


# ----------------------------------------------------------------- values that change


def fall(steps):
    return 1 / (1 + steps / 50)


# class: {hyper-parameter: function of the step}
CHANGING = {
    "SGD": {"momentum": lambda steps: 0.9 * fall(steps)},
    "Adadelta": {"rho": lambda steps: 0.9 * fall(steps)},
    "RMSprop": {
        "alpha": lambda steps: 1 - 0.1 * fall(steps),
        "momentum": lambda steps: 0.9 * fall(steps),
    },
    **{
        name: {"betas": (lambda steps: 0.9 * fall(steps), lambda steps: 1 - 0.1 * fall(steps))}
        for name in ("Adam", "AdamW", "Adamax", "RAdam")
    },
    "Adagrad": {},
    "NAdam": {},
}


@pytest.mark.once
@pytest.mark.parametrize("way", ["function", "array", "number"])
@pytest.mark.parametrize("name", CHANGING)
def test_changing_against_torch(float64_torch, name, way):
    functions = {"lr": lambda steps: 0.1 * fall(steps), **CHANGING[name]}

    def values(steps, convert=lambda value: value):
        return {
            key: tuple(convert(each(steps)) for each in of)
            if isinstance(of, tuple)
            else convert(of(steps))
            for key, of in functions.items()
        }

    given = functions if way == "function" else values(np.arange(200) if way == "array" else 0)
    opt, params = getattr(fnn.optim, name)(**given), start()
    leaf = float64_torch.tensor(start(), requires_grad=True)
    other = getattr(float64_torch.optim, name)([leaf], **values(0))
    for k, grads in zip(range(200), gradients(), strict=False):
        if way == "number":
            for key, value in values(k).items():
                setattr(opt, key, value)
        step(opt, params, grads)
        other.param_groups[0].update(values(k))
        leaf.grad = float64_torch.tensor(grads)
        other.step()
    assert_near(params, leaf.detach().numpy(), "float64")


@pytest.mark.once
def test_asgd_whose_lr_changes():
    """The rate of a step is that step's."""
    opt, params = fnn.optim.ASGD(lr=fall, lambd=0.1, alpha=0.5, t0=30), start()
    p, ax = start(), 0
    for k, g in zip(range(100), gradients(), strict=False):
        step(opt, params, g)
        eta = fall(k) / np.sqrt(1 + 0.1 * fall(k) * k)
        p = p - 0.1 * eta * p - eta * g
        ax = ax + (p - ax) / max(1, k - 30)
    assert_near(params, p, "float64")
    assert_near(opt.state[0], ax, "float64")


@pytest.mark.once
def test_rprop_starts_from_the_first_rate():
    given, first = fnn.optim.Rprop(lr=[0.3, 0.2, 0.1]), fnn.optim.Rprop(lr=0.3)
    params = [start(), start()]
    for _, grads in zip(range(3), gradients(), strict=False):
        step(given, params[0], grads)
        step(first, params[1], grads)
    assert_same_bits(*params)


@pytest.mark.once
def test_rprop_of_gradients_whose_product_underflows():
    opt, params = fnn.optim.Rprop(lr=0.25), np.zeros(2, "float32")
    step(opt, params, np.float32([1e-30, 1e-30]))
    step(opt, params, np.float32([1e-30, -1e-30]))
    np.testing.assert_allclose(opt.state[1], [0.3, 0.125], rtol=1e-6)
    np.testing.assert_allclose(params, [-0.55, -0.25], rtol=1e-6)


@pytest.mark.once
@pytest.mark.parametrize("own", [False, True])
def test_momentum_that_is_zero_for_a_while(own):
    """What it multiplies follows the formula meanwhile."""
    momentum = np.array([0.5, 0.0, 0.9])
    v, b, square, p = 0, 0, 0, [start(), start()]
    arrays = [start(), start()]
    opts = [
        fnn.optim.SGD(arrays[0] if own else None, lr=0.1, momentum=momentum),
        fnn.optim.RMSprop(arrays[1] if own else None, lr=0.1, alpha=0.5, momentum=momentum),
    ]
    for k, g in zip(range(3), gradients(), strict=False):
        for opt, array in zip(opts, arrays, strict=True):
            opt.step(g) if own else step(opt, array, g)
        v = momentum[k] * v + g
        square = (square + g * g) / 2
        b = momentum[k] * b + g / (np.sqrt(square) + 1e-8)
        p = [p[0] - 0.1 * v, p[1] - 0.1 * b]
    for actual, expected in zip(arrays, p, strict=True):
        assert_near(actual, expected, "float64")


@pytest.mark.once
@pytest.mark.parametrize("case", TORCH | OTHERS)
def test_own_parameters(case):
    """Arrays of one's own, however they lie, get the bits of the flat vector."""
    name, options = (TORCH | OTHERS)[case]
    flat, opt = start(), make((name, options))
    own = {"a": start()[:40].reshape(8, 5), "b": np.asfortranarray(start()[40:80].reshape(5, 8).T)}
    bound = getattr(fnn.optim, name)(own, **options)
    for _, g in zip(range(20), gradients(), strict=False):
        step(opt, flat, g)
        bound.step({"a": g[:40].reshape(8, 5), "b": g[40:80].reshape(5, 8).T})
    assert_same_bits(own["a"].ravel(), flat[:40])
    assert_same_bits(own["b"].T.ravel(), flat[40:80])


@pytest.mark.once
def test_groups_with_other_states():
    """Each tensor has the states that its group's options ask for, also when these change."""
    options = [{"centered": True}, {"momentum": 0.5}, {}]
    arrays = [start(), start(), start()]
    flat, opts = [start() for _ in options], [fnn.optim.RMSprop(**each) for each in options]
    groups = [{"params": p, **each} for p, each in zip(arrays, options, strict=True)]
    bound = fnn.optim.RMSprop(groups)
    for k, g in zip(range(10), gradients(), strict=False):
        if k == 4:
            opts[1].centered = opts[2].centered = True
            bound.param_groups[1]["centered"] = bound.param_groups[2]["centered"] = True
        bound.step([g, 2 * g, 3 * g])
        for i in range(3):
            step(opts[i], flat[i], (i + 1) * g)
    for a, b in zip(arrays, flat, strict=True):
        assert_same_bits(a, b)


@pytest.mark.once
def test_switched_on_later():
    """A state that an option adds starts when it is first needed; the others stay what they are."""
    opt, params = fnn.optim.RMSprop(alpha=0.5, momentum=0.9), np.zeros(3)
    step(opt, params, np.ones(3))
    opt.centered = True
    step(opt, params, np.ones(3))
    by_name = dict(zip(("square_avg", "momentum_buffer", "grad_avg"), opt.state, strict=True))
    np.testing.assert_allclose(by_name["square_avg"], 0.75)
    np.testing.assert_allclose(by_name["grad_avg"], 0.5)
    np.testing.assert_allclose(
        by_name["momentum_buffer"], 0.9 / np.sqrt(0.5) + 1 / np.sqrt(0.75 - 0.25), rtol=1e-7
    )
    assert state_names(opt) == ("square_avg", "grad_avg", "momentum_buffer")


@pytest.mark.once
@pytest.mark.parametrize("decay", [0.0, 0.004, 3.0])
def test_nadam_whose_betas_change(decay):
    """The product of the momenta is made of the present beta1."""
    betas = (lambda steps: 0.9 * fall(steps), 0.99)
    opt, params = fnn.optim.NAdam(lr=0.1, betas=betas, momentum_decay=decay), start()
    p, m, v = start(), 0, 0
    for t, g in zip(range(1, 301), gradients(), strict=False):
        step(opt, params, g)
        beta1 = 0.9 * fall(t - 1)
        mu = beta1 * (1 - 0.96 ** (decay * np.arange(1, t + 2)) / 2)
        m, v = m + (1 - beta1) * (g - m), v + 0.01 * (g * g - v)
        n = mu[-1] * m / (1 - np.prod(mu)) + (1 - mu[-2]) * g / (1 - np.prod(mu[:-1]))
        p = p - 0.1 * n / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
    assert_near(params, p, "float64")


# ----------------------------------------------------------------- any numbers


@over(ALL)
def test_any_cutting_gives_the_same_bits(isa, dtype, case):
    """Also into pieces that begin anywhere in a vector, and shared among threads."""
    rng = np.random.default_rng(2)
    n = 60001
    params = rng.standard_normal(n).astype(dtype)
    grads = rng.standard_normal((3, n)).astype(dtype)
    results = []
    for cuts in ([0, n], [0, 1, 2, 5, 22, 1001, 50000, 50003, n]):
        pieces = []
        for a, b in itertools.pairwise(cuts):
            opt, piece = make(case), params[a:b].copy()
            for g in grads:
                step(opt, piece, g[a:b].copy())
            pieces.append([piece, *opt.state])
        results.append([np.concatenate(parts) for parts in zip(*pieces, strict=True)])
    for whole, cut in zip(*results, strict=True):
        assert_same_bits(whole, cut)


@over(ALL)
@pytest.mark.parametrize("after", [0, 3])
def test_nan_reaches_parameters_and_stays(isa, dtype, case, after):
    """A NaN gradient makes a NaN parameter for good, and no other."""
    opt, params = make(case), np.ones(37, dtype)
    rng = np.random.default_rng(3)
    for k in range(after + 3):
        grads = rng.standard_normal(37).astype(dtype)
        if k == after:
            grads[20] = np.nan
        step(opt, params, grads)
        assert np.isnan(params[20]) == (k >= after)
        assert np.isfinite(np.delete(params, 20)).all()


def test_centered_of_gradients_that_do_not_change(isa, dtype):
    """The variance, which rounding can make negative, has no NaN as its root."""
    opt, params = fnn.optim.RMSprop(alpha=0.5, centered=True), np.zeros(64, dtype)
    grads = np.random.default_rng(4).standard_normal(64).astype(dtype)
    for _ in range(200):
        step(opt, params, grads)
    assert np.isfinite(params).all()
    assert (np.sign(params) == -np.sign(grads)).all()


def test_amsgrad_keeps_a_nan(isa, dtype):
    opt, params = fnn.optim.Adam(amsgrad=True), np.ones(5, dtype)
    step(opt, params, np.array([1, np.nan, 1, 1, 1], dtype))
    assert np.isnan(opt.state[2]).tolist() == [False, True, False, False, False]


# ----------------------------------------------------------------- fit


def problem(dtype):
    """Widths that fill no vector, so that numbers beside the parameters are computed with, too."""
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(90, 5)), rng.integers(0, 3, 90)
    layers = [fnn.Dense(19), fnn.Tanh(), fnn.Dense(3)]
    return fnn.Sequential(layers, dtype=dtype, seed=1).build(5), X + np.eye(3, 5)[y], y


def fit(model, X, y, opt, epochs):
    options = {"loss": "cross_entropy", "batch_size": 20, "verbose": 0}
    return model.fit(X, y, optimizer=opt, epochs=epochs, **options)


@over(ALL | {"eps zero": ("Adagrad", {"eps": 0.0, "initial_accumulator_value": 1e-8})})
def test_fit_is_this_loop(isa, dtype, case):
    """Gradients of the model, steps of the optimizer: the same bits."""
    model, X, y = problem(dtype)
    p, opt = model.parameters.copy(), make(case)
    looped, _, _ = problem(dtype)
    for epoch in range(4):
        order = _core.permutation(model.seed, 2**32 + epoch, 90)
        for first in range(0, 90, 20):
            rows = order[first : first + 20]
            looped.parameters = p
            step(opt, p, looped.loss_and_grad(X[rows], y[rows], loss="cross_entropy")[1])
    fitted = make(case)
    history = fit(model, X, y, fitted, 4)
    assert_same_bits(model.parameters, p)
    for a, b in zip(fitted.state, opt.state, strict=True):
        assert_same_bits(a, b)
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("case", TORCH)
def test_fit_against_torch(isa, float64_torch, case):
    """Gradients of the oracle, steps of torch."""
    model, X, y = problem("float64")
    network = oracle.Network(5, [("dense", 19, ()), ("tanh", 0, ()), ("dense", 3, ())])
    name, options = TORCH[case]
    leaf = float64_torch.tensor(model.parameters.copy(), requires_grad=True)
    other = getattr(float64_torch.optim, name)([leaf], **options)
    for epoch in range(4):
        order = _core.permutation(model.seed, 2**32 + epoch, 90)
        for first in range(0, 90, 20):
            rows = order[first : first + 20]
            p = leaf.detach().numpy()
            gradient = network.loss_and_grad(p, X[rows], y[rows], oracle.CROSS_ENTROPY)[1]
            leaf.grad = float64_torch.tensor(gradient)
            other.step()
    fit(model, X, y, make(TORCH[case]), 4)
    assert_near(model.parameters, leaf.detach().numpy(), "float64")


@pytest.mark.once
@over(ALL)
def test_interrupted_and_resumed(case):
    """Between two epochs, and within one: a loss that is not finite stops it after two steps."""
    model, X, y = problem("float64")
    opt = make(case)
    fit(model, X, y, opt, 4)
    parts, part_opt = problem("float64")[0], make(case)
    for _ in range(2):
        fit(parts, X, y, part_opt, 2)
        part_opt = pickle.loads(pickle.dumps(part_opt))
    assert_same_bits(parts.parameters, model.parameters)

    y = np.eye(3)[y]
    whole, parts = problem("float64")[0], problem("float64")[0]
    opt, part_opt = make(case), make(case)
    options = {"loss": "mse", "batch_size": 20, "epochs": 1, "verbose": 0, "shuffle": False}
    whole.fit(X, y, optimizer=opt, **options)
    broken = y.copy()
    broken[40:] = 1e200
    with pytest.raises(FloatingPointError):
        parts.fit(X, broken, optimizer=part_opt, **options)
    assert part_opt.step_count == 2
    parts.fit(X[40:], y[40:], optimizer=part_opt, **options)
    assert_same_bits(parts.parameters, whole.parameters)


@over(ALL)
def test_the_same_bits_on_any_number_of_threads(isa, case, restore_threads):
    rng = np.random.default_rng(6)
    X, y = rng.normal(size=(300, 20)), rng.integers(0, 4, 300)
    results = []
    for n in (1, 2, 3):
        fnn.set_num_threads(n)
        model = fnn.Sequential([fnn.Dense(150), fnn.Tanh(), fnn.Dense(4)], seed=2)
        opt = make(case)
        model.fit(X, y, loss="cross_entropy", optimizer=opt, epochs=2, batch_size=150, verbose=0)
        results.append([model.parameters.copy(), *opt.state])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_same_bits(a, b)
