"""Optimizers that need each tensor whole: their formulas in NumPy, torch, any layout and team."""

from __future__ import annotations

import copy
import functools
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import autodiff
import pyfast_nn as fnn
from conftest import FULL, assert_same_bits
from pyfast_nn import _core
from pyfast_nn.optim import LAMB, Adafactor, AdamW, Muon
from test_dropin import LAYOUTS

STEPS = 1000
SHAPES = [(), (5,), (7, 4), (4, 7), (3, 4, 5), (1, 6), (6, 1), (2, 0, 3), (40, 33)]
# More numbers than one piece: vectors, many small matrices, matrices in blocks.
LARGE = [(70_000,), (300, 7, 40), (3, 300, 250), (260, 1030), (70_000, 2), (2, 70_000)]


def start(shapes, dtype="float64"):
    rng = np.random.default_rng(0)
    return [np.asarray(rng.normal(size=shape) * 0.3, dtype) for shape in shapes]


def gradients(shapes, steps, dtype="float64"):
    rng = np.random.default_rng(1)
    return [[np.asarray(rng.normal(size=s) + 0.1, dtype) for s in shapes] for _ in range(steps)]


def run(optimizer_class, options, shapes, steps, dtype, layout=np.copy):
    params = [layout(p) for p in start(shapes, dtype)]
    optimizer = optimizer_class(params, **options)
    for grads in gradients(shapes, steps, dtype):
        optimizer.step([layout(g) for g in grads])
    return params


def assert_near(params, expected, limit):
    for p, e in zip(params, expected, strict=True):
        assert p.shape == e.shape
        if p.size:
            assert np.abs(p - e).max() <= limit * np.abs(e).max()


# -------------------------------------------------------------------------------------------- LAMB


LAMB_OPTIONS = {
    "defaults": {},
    "all": {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1},
    "no decay": {"weight_decay": 0.0},
}


def lamb_in_numpy(p, grads, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01):
    """The steps of one tensor, as the paper's algorithm 2 writes them."""
    p, m, v = np.array(p, np.float64), 0.0, 0.0
    for t, g in enumerate(grads, start=1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        u = m / (1 - betas[0] ** t) / (np.sqrt(v / (1 - betas[1] ** t)) + eps) + weight_decay * p
        norms = np.linalg.norm(p), np.linalg.norm(u)
        p = p - lr * (norms[0] / norms[1] if min(norms) > 0 else 1.0) * u
    return p


@functools.cache
def lamb_expected(case, large):
    shapes, steps = (LARGE, 4) if large else (SHAPES, STEPS)
    by_tensor = zip(*gradients(shapes, steps), strict=True)
    pairs = zip(start(shapes), by_tensor, strict=True)
    return [lamb_in_numpy(p, grads, **LAMB_OPTIONS[case]) for p, grads in pairs]


@pytest.mark.parametrize("case", LAMB_OPTIONS)
def test_lamb(isa, dtype, case):
    params = run(LAMB, LAMB_OPTIONS[case], SHAPES, STEPS, dtype)
    assert_near(params, lamb_expected(case, False), {"float64": 1e-13, "float32": 1e-5}[dtype])


@pytest.mark.parametrize("case", ["all"])
def test_lamb_of_large_tensors(isa, dtype, case):
    params = run(LAMB, LAMB_OPTIONS[case], LARGE, 4, dtype)
    assert_near(params, lamb_expected(case, True), {"float64": 1e-14, "float32": 1e-6}[dtype])


@pytest.mark.once
def test_lamb_against_optax():
    if importlib.util.find_spec("optax") is None:
        pytest.skip("optax is not installed")
    script = """
import sys; sys.path.insert(0, "tests")
import jax, numpy as np, optax
jax.config.update("jax_enable_x64", True)
from test_whole_tensor import SHAPES, gradients, start
params = start(SHAPES)
lamb = optax.lamb(1e-3, weight_decay=0.01)
state = lamb.init(params)
update = jax.jit(lambda *a: lamb.update(*a))
for grads in gradients(SHAPES, 100):
    updates, state = update(grads, state, params)
    params = optax.apply_updates(params, updates)
np.savez(sys.argv[1], *params)
"""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "params.npz"
        root = Path(__file__).parents[1]
        subprocess.run([sys.executable, "-c", script, file], check=True, cwd=root)
        expected = list(np.load(file).values())
    assert_near(run(LAMB, {}, SHAPES, 100, "float64"), expected, 1e-12)


@pytest.mark.once
def test_lamb_where_a_norm_is_zero():
    zeros, ones = np.zeros(5), np.ones(5)
    LAMB(zeros, lr=0.1).step(np.full(5, 2.0))
    np.testing.assert_allclose(zeros, -0.1, rtol=1e-6)
    LAMB(ones, lr=0.1, weight_decay=0.0).step(np.zeros(5))
    assert (ones == 1).all()


# --------------------------------------------------------------------------------------- Adafactor


ADAFACTOR_OPTIONS = {
    "defaults": {},
    "all": {"lr": 0.05, "beta2_decay": -0.5, "eps": (1e-4, 0.5), "d": 1.25, "weight_decay": 0.1},
    "no clipping": {"d": 100.0},
}


@functools.cache
def adafactor_of_torch(case, large):
    torch = autodiff.torch()
    shapes, steps = (LARGE, 4) if large else (SHAPES, STEPS)
    kept = [i for i, shape in enumerate(shapes) if 0 not in shape]  # torch divides by their size
    leaves = [torch.tensor(p, requires_grad=True) for p in start(shapes)]
    of_torch = [leaves[i] for i in kept]
    optimizer = torch.optim.Adafactor(of_torch, **ADAFACTOR_OPTIONS[case])
    for grads in gradients(shapes, steps):
        for i in kept:
            leaves[i].grad = torch.tensor(grads[i])
        optimizer.step()
    return [leaf.detach().numpy() for leaf in leaves]


@pytest.mark.parametrize("case", ADAFACTOR_OPTIONS)
def test_adafactor(isa, dtype, case):
    options = dict(ADAFACTOR_OPTIONS[case])
    if dtype == "float32" and options.get("eps", (None,))[0] is None:
        options["eps"] = (float(np.finfo(np.float64).eps), 1e-3)  # what float64 has as its own
    params = run(Adafactor, options, SHAPES, STEPS, dtype)
    expected = adafactor_of_torch(case, False)
    assert_near(params, expected, {"float64": 1e-13, "float32": 1e-5}[dtype])


@pytest.mark.parametrize("case", ["all", "defaults"])
def test_adafactor_of_large_tensors(isa, dtype, case):
    params = run(Adafactor, ADAFACTOR_OPTIONS[case], LARGE, 4, dtype)
    expected = adafactor_of_torch(case, True)
    assert_near(params, expected, {"float64": 1e-14, "float32": 2e-6}[dtype])


def test_adafactor_with_the_epsilon_of_the_dtype(isa, dtype):
    """Gradients so small that only the first of the epsilons counts: u = g / eps."""
    eps = np.finfo(dtype).eps
    for shape in [(6,), (3, 2)]:
        p = np.ones(shape, dtype)
        Adafactor(p, lr=1.0, d=1.0).step(np.full(shape, eps / 8, dtype))
        np.testing.assert_allclose(p, 1 - 1 / 8, rtol=1e-6)


# -------------------------------------------------------------------------------------------- Muon


MATRICES = [(7, 4), (4, 7), (1, 6), (6, 1), (2, 0), (40, 33), (5, 5)]
LARGE_MATRICES = [(300, 260), (130, 300), (300, 130), (20_000, 20), (5000, 4), (4, 900)]
MUON_OPTIONS = {
    "defaults": {},
    "all": {
        "lr": 0.02,
        "weight_decay": 0.01,
        "momentum": 0.8,
        "nesterov": False,
        "ns_coefficients": (2.0, -1.5, 0.5),
        "eps": 1e-3,
        "ns_steps": 4,
        "adjust_lr_fn": "match_rms_adamw",
    },
    "torch's layout": {"lr": 0.02, "adjust_lr_fn": "original", "unit_axis": 0},
}


def muon_in_numpy(
    p,
    grads,
    lr=1e-3,
    weight_decay=0.1,
    momentum=0.95,
    nesterov=True,
    ns_coefficients=(3.4445, -4.775, 2.0315),
    eps=1e-7,
    ns_steps=5,
    adjust_lr_fn=None,
    unit_axis=-1,
):
    """The steps of one matrix, in float64."""
    (a, b, c), m = ns_coefficients, 0.0
    n_in, n_out = p.shape if unit_axis == -1 else p.shape[::-1]
    scale = 0.2 * max(p.shape) ** 0.5 if adjust_lr_fn == "match_rms_adamw" else 1.0
    if adjust_lr_fn in (None, "original") and n_in:
        scale = max(1, n_out / n_in) ** 0.5
    for g in grads:
        m = momentum * m + (1 - momentum) * g
        x = (1 - momentum) * g + momentum * m if nesterov else m
        x = x / max(np.linalg.norm(x), eps)
        for _ in range(ns_steps):
            gram = x.T @ x
            x = a * x + x @ (b * gram + c * gram @ gram)
        p = p - lr * weight_decay * p - lr * scale * x
    return p


@functools.cache
def muon_expected(case, large):
    shapes, steps = (LARGE_MATRICES, 2) if large else (MATRICES, STEPS)
    pairs = zip(start(shapes), zip(*gradients(shapes, steps), strict=True), strict=True)
    return [muon_in_numpy(p, grads, **MUON_OPTIONS[case]) for p, grads in pairs]


@pytest.mark.parametrize("case", MUON_OPTIONS)
def test_muon(isa, dtype, case):
    params = run(Muon, MUON_OPTIONS[case], MATRICES, STEPS, dtype)
    assert_near(params, muon_expected(case, False), {"float64": 1e-13, "float32": 2e-5}[dtype])


@pytest.mark.parametrize("case", ["defaults", "all"])
def test_muon_of_large_matrices(isa, dtype, case):
    params = run(Muon, MUON_OPTIONS[case], LARGE_MATRICES, 2, dtype)
    assert_near(params, muon_expected(case, True), {"float64": 1e-14, "float32": 2e-6}[dtype])


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (300, 280), (64, 1000)])
def test_muon_moves_singular_values_towards_one(isa, dtype, rng, shape):
    """A step of size 1: the gradient's singular vectors, and the iterated polynomial of its
    singular values, all of which end in the band of these coefficients."""
    U, s, Vt = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    s = np.linspace(0.1, 1, len(s))
    p = np.zeros(shape, dtype)
    scale = max(1, shape[1] / shape[0]) ** 0.5
    optimizer = Muon(p, lr=1 / scale, momentum=0.0, nesterov=False, weight_decay=0.0)
    optimizer.step((U * s @ Vt).astype(dtype))
    values = s / np.linalg.norm(s)
    for _ in range(5):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    expected = np.diag(-values)
    tolerance = {"float64": 1e-12, "float32": 1e-4}[dtype]
    np.testing.assert_allclose(U.T @ p @ Vt.T, expected, atol=tolerance)
    of_step = np.linalg.svd(p, compute_uv=False)
    assert of_step.min() > 0.68 and of_step.max() < 1.16


@pytest.mark.parametrize("shape", [(120, 40), (40, 120), (90, 80)])
@pytest.mark.parametrize("ns_steps", [0, 1, 2, 3, 5])
def test_muon_keeps_the_digits_of_small_singular_values(isa, dtype, rng, shape, ns_steps):
    """As if each iteration had a Gram matrix of its own; with one for four some would be lost."""
    U, s, Vt = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    s = np.geomspace(1e-4, 1, len(s))
    p = np.zeros(shape, dtype)
    scale = max(1, shape[1] / shape[0]) ** 0.5
    options = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "ns_steps": ns_steps}
    Muon(p, lr=1 / scale, **options).step((U * s @ Vt).astype(dtype))
    values = s / np.linalg.norm(s)
    for _ in range(ns_steps):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    error = p.astype(np.float64) + U * values @ Vt
    assert np.linalg.norm(error, 2) < 800 * np.finfo(dtype).eps


@pytest.mark.once
@pytest.mark.parametrize("adjust", [None, "match_rms_adamw"])
def test_muon_against_torch(adjust):
    """Our weights are torch's transposed. It computes in bfloat16: two digits."""
    torch = autodiff.torch()
    shapes = [(4, 32), (32, 4), (24, 24)]
    options = {"lr": 0.05, "adjust_lr_fn": adjust}
    before, grads = start(shapes, "float32"), gradients(shapes, 5, "float32")
    leaves = [torch.tensor(p.T.copy(), requires_grad=True) for p in before]
    other = torch.optim.Muon(leaves, **options)
    ours = copy.deepcopy(before)
    as_torch = [p.T.copy() for p in before]
    of_ours, of_torchs = Muon(ours, **options), Muon(as_torch, unit_axis=0, **options)
    for of_step in grads:
        for leaf, g in zip(leaves, of_step, strict=True):
            leaf.grad = torch.tensor(g.T.copy())
        other.step()
        of_ours.step(of_step)
        of_torchs.step([g.T for g in of_step])
    for p, q, leaf, first in zip(ours, as_torch, leaves, before, strict=True):
        expected = leaf.detach().numpy().T
        moved = np.linalg.norm(expected - first)
        assert np.linalg.norm(p - expected) < 0.03 * moved
        assert np.linalg.norm(q.T - expected) < 0.03 * moved


@pytest.mark.once
def test_muon_falls_back_for_what_is_no_matrix():
    rng = np.random.default_rng(0)
    params = {
        "w": rng.normal(size=(4, 3)),
        "b": rng.normal(size=3),
        "c": rng.normal(size=(2, 2, 2)),
    }
    single = copy.deepcopy(params)
    ours = Muon(params, lr=0.1, fallback=AdamW(lr=0.3, weight_decay=0.2))
    matrix = Muon(single["w"], lr=0.1)
    others = AdamW([single["b"], single["c"]], lr=0.3, weight_decay=0.2)
    for k in range(4):
        grads = {key: rng.normal(size=p.shape) for key, p in params.items()}
        if k == 2:  # is seen by the next step
            ours.fallback.lr = others.lr = 0.01
        if k == 3:
            ours.lr = matrix.lr = 0.5
        ours.step(grads)
        matrix.step(grads["w"])
        others.step([grads["b"], grads["c"]])
    for key in params:
        assert_same_bits(params[key], single[key])
    assert Muon(fallback="adamw").fallback.weight_decay == AdamW().weight_decay
    assert Muon(fallback={"optimizer": "sgd", "lr": 0.25}).fallback.lr == 0.25
    with pytest.raises(ValueError, match="unit_axis: expected an axis of a matrix, got 2"):
        Muon(single["w"], unit_axis=2).step(grads["w"])


@pytest.mark.once
def test_muon_with_groups():
    w, b = np.ones((3, 2)), np.ones(2)
    groups = [{"params": [w]}, {"params": [b], "fallback": "sgd"}]
    optimizer = Muon(groups, lr=0.1)
    optimizer.step([[np.ones((3, 2))], [np.ones(2)]])
    np.testing.assert_allclose(b, 1 - fnn.optim.SGD().lr)
    del optimizer.param_groups[1]["fallback"]
    with pytest.raises(ValueError, match=r"params\[1\]\[0\]: expected a matrix, got shape \(2,\)"):
        optimizer.step([[np.ones((3, 2))], [np.ones(2)]])
    optimizer.param_groups[1]["trainable"] = False
    optimizer.step([[np.ones((3, 2))], [np.ones(2)]])


@pytest.mark.once
def test_muon_without_fallback_names_what_is_no_matrix():
    layers = {"layers": [{"w": np.ones((3, 2)), "b": np.ones(2)}]}
    with pytest.raises(ValueError, match=r"params\['layers'\]\[0\]\['b'\]: expected a matrix"):
        Muon(layers)
    for shape in [(), (2, 2, 2)]:
        with pytest.raises(ValueError, match="params: expected a matrix"):
            Muon(np.ones(shape))
    Muon(layers, groups=lambda key: {"trainable": not key.endswith("b")})
    model = fnn.Sequential([fnn.Dense(1)], seed=0)
    with pytest.raises(
        ValueError, match=r"params\['0.bias'\]: expected a matrix, got shape \(1,\)"
    ):
        model.fit(np.ones((3, 2)), np.ones(3), loss="mse", optimizer=Muon())


# ----------------------------------------------------------------------------------- what all share


OPTIMIZERS = {
    "lamb": (LAMB, {"lr": 0.05}),
    "adafactor": (Adafactor, {"lr": 0.05, "weight_decay": 0.1}),
    "muon": (Muon, {"lr": 0.05, "fallback": "adam"}),
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


@pytest.mark.parametrize("of_gradient", LAYOUTS)
@pytest.mark.parametrize("of_parameter", LAYOUTS)
@every_optimizer
def test_arrays_as_they_lie(isa, dtype, name, of_parameter, of_gradient):
    optimizer, options = OPTIMIZERS[name]
    shapes = [(7, 5, 13), (9, 14), (14, 9)]
    if FULL or of_parameter == of_gradient or "c" in (of_parameter, of_gradient):
        shapes += [(110, 5, 130), (260, 270), (270, 260), (4, 3, 200, 30)]
    expected, grads = start(shapes, dtype), gradients(shapes, 3, dtype)
    params = [LAYOUTS[of_parameter](p) for p in expected]
    plain, other = optimizer(expected, **options), optimizer(params, **options)
    for of_step in grads:
        plain.step(of_step)
        other.step([LAYOUTS[of_gradient](g) for g in of_step])
    assert_near(params, expected, 1e-5 if dtype == "float32" else 1e-13)


@every_optimizer
def test_any_number_of_threads(isa, dtype, restore_threads, name):
    optimizer, options = OPTIMIZERS[name]
    shapes = [*SHAPES, *LARGE, (300, 280), *SHAPES]
    grads, results = gradients(shapes, 2, dtype), []
    for threads in (1, 2, 3, 8):
        fnn.set_num_threads(threads)
        params = start(shapes, dtype)
        of_threads = optimizer(params, **options)
        for of_step in grads:
            of_threads.step(of_step)
        results.append(params)
    for params in results[1:]:
        for p, expected in zip(params, results[0], strict=True):
            assert_same_bits(p, expected)


@every_optimizer
def test_nan_reaches_the_parameters_of_its_tensor(isa, dtype, name):
    optimizer, options = OPTIMIZERS[name]
    for shapes in ([(9,), (6, 5)], LARGE):
        shapes = [shape for shape in shapes if name != "muon" or len(shape) == 2] * 2
        params = start(shapes, dtype)
        grads = gradients(shapes, 1, dtype)[0]
        half = len(shapes) // 2
        for g in grads[:half]:
            g.flat[g.size // 2] = np.nan
        optimizer(params, **options).step(grads)
        for p in params[:half]:
            assert np.isnan(p).all()
        for p in params[half:]:
            assert np.isfinite(p).all()


@every_optimizer
def test_gradients_of_zero(isa, dtype, name):
    optimizer, options = OPTIMIZERS[name]
    shapes = [*SHAPES, (300, 400)]
    params = start(shapes, dtype)
    stepped = optimizer(params, **{**options, "weight_decay": 0.0})
    for _ in range(2):
        stepped.step([np.zeros_like(p) for p in params])
    for p, before in zip(params, start(shapes, dtype), strict=True):
        assert_same_bits(p, before)


@every_optimizer
@pytest.mark.once
def test_copies_go_on_alike(name):
    optimizer, options = OPTIMIZERS[name]
    shapes = [*SHAPES, (300, 400)]
    params = start(shapes)
    first = optimizer(params, **options)
    grads = gradients(shapes, 4)
    for of_step in grads[:2]:
        first.step(of_step)
    second, copies = copy.deepcopy((first, params))
    for of_step in grads[2:]:
        first.step(of_step)
        second.step(of_step)
    for p, q in zip(params, copies, strict=True):
        assert_same_bits(p, q)


@every_optimizer
@pytest.mark.once
def test_resumed_equals_uninterrupted(tmp_path, name):
    optimizer, options = OPTIMIZERS[name]
    if name == "muon":
        fallback = AdamW(lr=lambda step: 0.1 / (step + 1), betas=(0.8, 0.9))
        options = {**options, "fallback": fallback}
    shapes = [*SHAPES, (300, 400)]
    params, grads = start(shapes), gradients(shapes, 4)
    first = optimizer(params, **options)
    for of_step in grads[:2]:
        first.step(of_step)
    first.save(tmp_path / "state")
    copies = copy.deepcopy(params)
    if name == "muon":  # a function is not part of the state
        options["fallback"] = {"optimizer": "adamw", "lr": fallback.lr}
    second = optimizer(copies, **options)
    second.load(tmp_path / "state")
    for of_step in grads[2:]:
        first.step(of_step)
        second.step(of_step)
    for p, q in zip(params, copies, strict=True):
        assert_same_bits(p, q)


@every_optimizer
@pytest.mark.once
def test_groups_and_dtypes(name):
    """Each group with its own rate, tensors of both dtypes, one left alone."""
    optimizer, options = OPTIMIZERS[name]
    rng = np.random.default_rng(0)
    params = {
        "a": {"w": rng.normal(size=(4, 3)), "b": rng.normal(size=3).astype("f4")},
        "c": {"w": rng.normal(size=(3, 2)).astype("f4"), "b": rng.normal(size=2)},
        "fixed": rng.normal(size=(2, 2)),
    }
    alone = copy.deepcopy(params)

    def own(key):
        return {"trainable": False} if key == "fixed" else {"lr": 0.1} if key[-1] == "b" else {}

    grouped = optimizer(params, groups=own, **options)
    for _ in range(3):
        grouped.step(copy.deepcopy(params))
    for tensors in (alone["a"], alone["c"]):
        for key, p in tensors.items():
            single = optimizer(p, **{**options, **own(key)})
            for _ in range(3):
                single.step(p.copy())
    for one, other in zip(
        [*params["a"].values(), *params["c"].values(), params["fixed"]],
        [*alone["a"].values(), *alone["c"].values(), alone["fixed"]],
        strict=True,
    ):
        assert_same_bits(one, other)


@every_optimizer
@pytest.mark.once
def test_no_memory_for_a_step_changes_nothing(name):
    optimizer, options = OPTIMIZERS[name]
    shapes = [(300, 400), (300, 400)]
    params, grads = start(shapes), gradients(shapes, 1)[0]
    params[1], grads[1] = params[1].astype("f4"), grads[1].astype("f4")
    before = copy.deepcopy(params)
    stepped = optimizer(params, **options)
    for k in (1, 2):  # the memory for float32, that for float64
        _core.fail_allocation(k)
        with pytest.raises(MemoryError):
            stepped.step(grads)
        for p, q in zip(params, before, strict=True):
            assert_same_bits(p, q)
    assert stepped.step_count == 0
    stepped.step(grads)
    optimizer(before, **options).step(grads)
    for p, q in zip(params, before, strict=True):
        assert_same_bits(p, q)


@pytest.mark.once
@pytest.mark.parametrize(
    ("optimizer", "options", "error", "text"),
    [
        (LAMB, {"betas": (0.9, 1.0)}, ValueError, r"betas\[1\]"),
        (LAMB, {"eps": -1.0}, ValueError, "eps"),
        (Adafactor, {"beta2_decay": 0.5}, ValueError, "beta2_decay: expected a number <= 0"),
        (Adafactor, {"eps": 1e-3}, TypeError, "eps: expected a pair"),
        (Adafactor, {"eps": (-1.0, 1e-3)}, ValueError, r"eps\[0\]"),
        (Adafactor, {"eps": (None, None)}, TypeError, r"eps\[1\]: expected a number"),
        (Adafactor, {"d": 0.5}, ValueError, "d: expected a finite number >= 1"),
        (Adafactor, {"weight_decay": -0.1}, ValueError, "weight_decay"),
        (Muon, {"momentum": 1.0}, ValueError, "momentum"),
        (Muon, {"ns_coefficients": (1, 2)}, TypeError, "ns_coefficients: expected three numbers"),
        (Muon, {"ns_coefficients": (1, 2, "3")}, TypeError, r"ns_coefficients\[2\]"),
        (Muon, {"ns_steps": 100}, ValueError, "ns_steps: expected an integer from 0 to 99"),
        (Muon, {"adjust_lr_fn": "none"}, ValueError, "adjust_lr_fn: expected one of original"),
        (Muon, {"fallback": "adamz"}, ValueError, "fallback: expected one of .*, got 'adamz'"),
        (Muon, {"fallback": {"lr": 0.1}}, TypeError, "fallback: expected the name of an optimizer"),
        (Muon, {"fallback": 3}, TypeError, "fallback: expected None, the name of"),
        (Muon, {"fallback": Muon()}, TypeError, "fallback"),
        (Muon, {"fallback": AdamW(np.ones(3))}, ValueError, "without params, groups and options"),
        (Muon, {"fallback": AdamW(maximize=True)}, ValueError, "without params, groups and"),
    ],
)
def test_hyper_parameters(optimizer, options, error, text):
    with pytest.raises(error, match=text):
        optimizer(np.ones(3), **options)
