"""What optimizers do around their update: clipping, accumulation, averages, SAM, their state."""

import copy
import functools
import json
import pickle
import signal

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import FULL, assert_same_bits
from pyfast_nn import _core
from pyfast_nn.optim import SGD, Adam

RULES = {
    "sgd": lambda params, **options: SGD(params, lr=0.05, momentum=0.9, **options),
    "adam": lambda params, **options: Adam(params, lr=0.05, **options),
}

OPTIONS = {
    "maximize": {"maximize": True},
    "clip_norm": {"clip_norm": 1.5},
    "clip_value": {"clip_value": 0.5},
    "clip_units": {"clip_units": 0.3},
    "clip_units, first axis": {"clip_units": 0.3, "unit_axis": 0},
    "skip_nonfinite": {"skip_nonfinite": True},
    "accumulate": {"accumulate": 3},
    "ema": {"ema": 0.7},
    "swa": {"swa": 2},
    "lookahead": {"lookahead": (3, 0.4)},
    "sam": {"sam": 0.3},
    "a norm of means": {"accumulate": 2, "clip_norm": 1.0, "ema": 0.6, "skip_nonfinite": True},
    "units of means": {"accumulate": 3, "clip_units": 0.2, "swa": 1, "lookahead": (2, 0.5)},
    "sam and all": {
        "sam": 0.2,
        "maximize": True,
        "clip_value": 0.7,
        "accumulate": 2,
        "lookahead": (2, 0.3),
        "ema": 0.5,
        "skip_nonfinite": True,
    },
}
STEPS = 12
NONFINITE = (4, 7)  # the steps with such a gradient, where they are skipped


# ---------------------------------------------------------------------- the formulas, in float64


class Reference:
    """The same by the formulas, on a list of float64 arrays; `options` may change between calls."""

    def __init__(self, rule, params, **options):
        self.p = [np.array(p, np.float64) for p in params]
        self.rule, self.options = rule, options
        self.m = [np.zeros_like(p) for p in self.p]
        self.v = [np.zeros_like(p) for p in self.p]
        self.t = self.skipped = 0
        self.grads, self.norm = [], None
        self.slow, self.since_lookahead = None, 0
        self.counted, self.ema = [], None  # what the averages are of, and that of ema
        self.origin = None
        self.lost = False  # ascend had no direction

    @staticmethod
    def norm_of(grads):
        with np.errstate(over="ignore", invalid="ignore"):
            return np.sqrt(sum((g**2).sum() for g in grads))

    def ascend(self, grads):
        sign = -1 if self.options.get("maximize") else 1
        self.origin = [p.copy() for p in self.p]
        norm = self.norm_of(grads)
        self.lost = not np.isfinite(norm)
        if norm > 0 and not self.lost:
            for p, g in zip(self.p, grads, strict=True):
                p += sign * self.options["sam"] * g / norm

    def descend(self):
        if self.origin is not None:
            self.p, self.origin = self.origin, None
        self.lost = False

    def forget(self):
        """What options that are no longer given have kept."""
        o = self.options
        if (self.ema is not None) != ("ema" in o):
            self.counted, self.ema = [], None
        if "ema" not in o and len(self.counted) > max(self.t - o.get("swa", self.t), 0):
            self.counted = []  # a step that does not count
        if "lookahead" not in o:
            self.slow, self.since_lookahead = None, 0

    def step(self, grads):
        o = self.options
        self.forget()
        lost = self.lost
        self.descend()
        if o.get("skip_nonfinite") and (lost or not np.isfinite(self.norm_of(grads))):
            self.skipped += 1
            return
        self.grads.append(grads)
        if len(self.grads) < o.get("accumulate", 1):
            return
        grads = [np.mean(g, axis=0) for g in zip(*self.grads, strict=True)]
        self.grads = []
        self.norm = self.norm_of(grads)
        if "clip_norm" in o and self.norm > o["clip_norm"]:
            grads = [g * (o["clip_norm"] / self.norm) for g in grads]
        if "clip_value" in o:
            grads = [np.clip(g, -o["clip_value"], o["clip_value"]) for g in grads]
        if "clip_units" in o:
            grads = [self.clip_units(g, p) for g, p in zip(grads, self.p, strict=True)]
        if o.get("maximize"):
            grads = [-g for g in grads]
        if "lookahead" in o and self.slow is None:
            self.slow = [p.copy() for p in self.p]
        self.t += 1
        for p, g, m, v in zip(self.p, grads, self.m, self.v, strict=True):
            if self.rule == "sgd":
                m *= 0.9
                m += g
                p -= 0.05 * m
            else:
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                p -= 0.05 * (m / (1 - 0.9**self.t)) / (np.sqrt(v / (1 - 0.999**self.t)) + 1e-8)
        self.since_lookahead += "lookahead" in o
        if "lookahead" in o and self.since_lookahead >= o["lookahead"][0]:
            self.since_lookahead = 0
            for p, slow in zip(self.p, self.slow, strict=True):
                slow += o["lookahead"][1] * (p - slow)
                p[...] = slow
        if "ema" in o or ("swa" in o and self.t > o["swa"]):
            self.counted.append([p.copy() for p in self.p])
        if "ema" in o:
            before = self.ema or self.p
            self.ema = [
                o["ema"] * a + (1 - o["ema"]) * p for a, p in zip(before, self.p, strict=True)
            ]

    def clip_units(self, g, p):
        axes = None
        if g.ndim > 1:
            axis = range(g.ndim)[self.options.get("unit_axis", -1)]
            axes = tuple(a for a in range(g.ndim) if a != axis)
        size = np.sqrt((p**2).sum(axis=axes, keepdims=True))
        norm = np.sqrt((g**2).sum(axis=axes, keepdims=True))
        limit = self.options["clip_units"] * np.maximum(size, 1e-3)
        return g * np.where(norm > limit, limit / np.where(norm > 0, norm, 1), 1)

    @property
    def averages(self):
        self.forget()
        if not self.counted:
            return self.p
        if "ema" in self.options:
            return self.ema
        return [np.mean(p, axis=0) for p in zip(*self.counted, strict=True)]


# ---------------------------------------------------------------------- problems


def one(rng):
    return rng.normal(size=(40, 3))


def nested(rng):
    return {
        "layers": [
            {"w": rng.normal(size=(4, 70)), "b": rng.normal(size=70).astype("f4")},
            {"w": rng.normal(size=(3, 5, 2)).astype("f4"), "b": np.array(rng.normal())},
        ],
        "tail": (np.zeros((2, 3), "f4"), np.zeros((0, 4)), 1e-3 * rng.normal(size=(1, 5))),
    }


def strided(rng):
    wide = rng.normal(size=(30, 8, 6))
    return [wide[::2, ::-1, 1:4], np.array(rng.normal(size=(5, 4)), "f4")[:, ::2]]


def fortran(rng):
    x = np.asfortranarray(rng.normal(size=(9, 70)))
    assert not x.flags.c_contiguous
    return {"w": x, "b": rng.normal(size=(2, 3, 4)).astype("f4", order="F")}


TREES = {"one": one, "nested": nested, "strided": strided, "fortran": fortran}


def leaves(tree):
    if isinstance(tree, dict):
        tree = tree.values()
    if isinstance(tree, np.ndarray):
        return [tree]
    return [leaf for child in tree for leaf in leaves(child)]


def like(tree, new):
    """The arrays of the list `new`, in the structure of `tree`."""
    new = iter(new)

    def rebuild(x):
        if isinstance(x, dict):
            return {k: rebuild(v) for k, v in x.items()}
        return next(new) if isinstance(x, np.ndarray) else type(x)(map(rebuild, x))

    return rebuild(tree)


class Problem:
    """Gradients of a function of the parameters that changes from step to step."""

    def __init__(self, params, options, seed=1):
        rng = np.random.default_rng(seed)
        self.noise = [[rng.normal(size=p.shape) for p in leaves(params)] for _ in range(STEPS)]
        if options.get("skip_nonfinite"):
            self.noise[NONFINITE[0]][0][1] = np.nan
            self.noise[NONFINITE[1]][-1][0] = np.inf

    def gradients(self, params, t):
        return [
            0.5 * p + noise.astype(p.dtype) for p, noise in zip(params, self.noise[t], strict=True)
        ]


def run(optimizer, params, problem, steps=range(STEPS)):
    """Make the steps, and return the norms that were reported."""
    norms = []
    for t in steps:
        if optimizer.options.get("sam") if isinstance(optimizer, Reference) else optimizer.sam:
            optimizer.ascend(arrange(optimizer, params, problem, t))
        optimizer.step(arrange(optimizer, params, problem, t))
        norms.append(getattr(optimizer, "grad_norm", None))
    return norms


def arrange(optimizer, params, problem, t):
    if isinstance(optimizer, Reference):
        return problem.gradients(optimizer.p, t)
    return like(params, problem.gradients(leaves(params), t))


def tolerance(p, params):
    """A norm carries the rounding of float32 to all others."""
    mixed = any(other.dtype == np.float32 for other in leaves(params))
    return 2e-5 if p.dtype == np.float32 else 1e-6 if mixed else 1e-12


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("option", OPTIONS)
def test_formulas(isa, option, tree, rule):
    options = OPTIONS[option]
    params = TREES[tree](np.random.default_rng(0))
    problem = Problem(params, options)
    reference = Reference(rule, leaves(params), **options)
    optimizer = RULES[rule](params, **options)
    run(optimizer, params, problem)
    run(reference, None, problem)
    for p, expected in zip(leaves(params), reference.p, strict=True):
        np.testing.assert_allclose(p, expected, rtol=0, atol=tolerance(p, params))
    assert optimizer.step_count == reference.t
    assert optimizer.skipped == reference.skipped == 2 * ("skip_nonfinite" in options)
    if "clip_norm" in options or "skip_nonfinite" in options:
        wide = all(p.dtype == np.float64 for p in leaves(params))
        assert optimizer.grad_norm == pytest.approx(reference.norm, rel=1e-12 if wide else 1e-5)
    else:
        assert optimizer.grad_norm is None
    if "ema" in options or "swa" in options:
        averages = optimizer.averages
        for mean, p, expected in zip(
            leaves(averages), leaves(params), reference.averages, strict=True
        ):
            assert mean.dtype == p.dtype and mean.shape == p.shape
            np.testing.assert_allclose(mean, expected, rtol=0, atol=tolerance(p, params))


@pytest.mark.once
@pytest.mark.parametrize("option", ["clip_norm", "clip_value", "maximize", "ema", "swa"])
def test_torch(option):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from torch.optim import swa_utils

    params = nested(np.random.default_rng(0))
    del params["tail"]
    theirs = [torch.nn.Parameter(torch.tensor(p)) for p in leaves(params)]
    module = torch.nn.ParameterList(theirs)
    options = OPTIONS[option]
    optimizer = Adam(params, lr=0.05, **options)
    other = torch.optim.Adam(theirs, lr=0.05, maximize=option == "maximize")
    averaged = swa_utils.AveragedModel(
        module, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.7) if option == "ema" else None
    )
    problem = Problem(params, {})
    for t in range(STEPS):
        grads = problem.gradients(leaves(params), t)
        optimizer.step(like(params, grads))
        for p, g in zip(theirs, grads, strict=True):
            p.grad = torch.tensor(g)
        if option == "clip_norm":
            norm = torch.nn.utils.clip_grad_norm_(theirs, 1.5)
            assert optimizer.grad_norm == pytest.approx(float(norm), rel=1e-6)
        if option == "clip_value":
            torch.nn.utils.clip_grad_value_(theirs, 0.5)
        other.step()
        if option != "swa" or t >= 2:
            averaged.update_parameters(module)
    expected, actual = theirs, params
    if option in ("ema", "swa"):
        expected, actual = averaged.module, optimizer.averages
    for p, q in zip(leaves(actual), expected, strict=True):
        # Torch divides by norm + 1e-6.
        np.testing.assert_allclose(p, q.detach().numpy(), atol=2e-5 if p.itemsize == 4 else 1e-7)


@pytest.mark.parametrize("rule", RULES)
def test_clip_norm_is_that_of_ops(isa, dtype, rule):
    rng = np.random.default_rng(0)
    p = rng.normal(size=(300, 70)).astype(dtype)
    q = p.copy()
    optimizer, plain = RULES[rule](p, clip_norm=0.7), RULES[rule](q)
    for _ in range(3):
        g = rng.normal(size=p.shape).astype(dtype)
        kept = g.copy()
        optimizer.step(g)
        np.testing.assert_array_equal(g, kept)
        assert fnn.ops.clip_grad_norm(g, 0.7) == optimizer.grad_norm
        plain.step(g)
    assert_same_bits(p, q)


OPTIMIZERS = {
    name: getattr(fnn.optim, name)
    for name in sorted(set(fnn.optim.__all__) - {"Optimizer", "as_scipy"})
}
OPTIMIZERS["Muon"] = functools.partial(fnn.optim.Muon, fallback="adam")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_sees_the_same_gradients(isa, name):
    """The plain one is given the mean, clipped and negated."""
    rng = np.random.default_rng(0)
    for tree in (strided, fortran):
        params = leaves(tree(rng))
        params = [p for p in params if p.dtype == np.float64]  # for `ops.clip_grad_norm`
        same = [p.copy(order="K") for p in params]
        optimizer = OPTIMIZERS[name](params, lr=0.1, clip_norm=2.0, accumulate=2, maximize=True)
        plain = OPTIMIZERS[name](same, lr=0.1)
        for _ in range(3):
            one, two = ([rng.normal(size=p.shape) for p in params] for _ in range(2))
            optimizer.step(one)
            optimizer.step(two)
            mean = [np.asarray(a + 0.5 * (b - a), order="K") for a, b in zip(one, two, strict=True)]
            norm = fnn.ops.clip_grad_norm(mean, 2.0)
            plain.step([-g for g in mean])
            assert optimizer.grad_norm == pytest.approx(norm, rel=1e-14)
        for p, q in zip(params, same, strict=True):
            np.testing.assert_allclose(p, q, rtol=1e-12, atol=1e-14)


def test_clipping_of_extreme_gradients(isa):
    p = np.ones((3, 2))
    start = p.copy()
    optimizer = SGD(p, lr=1.0, clip_units=0.1)
    optimizer.step(np.array([[1e300, 1.0], [1e300, 0.0], [-1e300, np.inf]]))
    expected = start - [[0.1, 1.0], [0.1, 0.0], [-0.1, np.inf]]  # infinity is not hidden
    np.testing.assert_allclose(p, expected, rtol=1e-14)

    p = np.full(4, 1e200)
    optimizer = SGD(p, lr=1.0, clip_units=1e-3)
    optimizer.step(np.full(4, 1e250))
    np.testing.assert_allclose(p, 1e200 - 1e197, rtol=1e-14)

    p = np.zeros(2)
    optimizer = SGD(p, lr=1.0, clip_norm=1.0)
    optimizer.step(np.full(2, 1e300))
    np.testing.assert_allclose(p, -np.sqrt(0.5), rtol=1e-14)
    optimizer.clip_norm, optimizer.clip_value = None, 2.0
    optimizer.step(np.array([np.nan, -np.inf]))
    assert np.isnan(p[0]) and p[1] == pytest.approx(2 - np.sqrt(0.5))
    assert optimizer.grad_norm is None


def test_parameters_left_alone(isa):
    rng = np.random.default_rng(0)
    params = {"w": rng.normal(size=(4, 3)), "fixed": rng.normal(size=(4, 3))}
    start = copy.deepcopy(params)
    optimizer = SGD(
        params,
        lr=0.1,
        sam=0.5,
        clip_norm=1.0,
        lookahead=(2, 0.5),
        ema=0.5,
        skip_nonfinite=True,
        groups=lambda key: {"trainable": key == "w"},
    )
    for _ in range(4):
        g = {"w": rng.normal(size=(4, 3)), "fixed": np.full((4, 3), np.nan)}
        optimizer.ascend(g)
        assert not np.isnan(params["w"]).any() and (params["w"] != start["w"]).all()
        assert_same_bits(params["fixed"], start["fixed"])
        optimizer.param_groups[1]["trainable"] = False
        optimizer.step(g)
        assert optimizer.grad_norm == pytest.approx(np.linalg.norm(g["w"]))
    assert_same_bits(params["fixed"], start["fixed"])
    assert_same_bits(optimizer.averages["fixed"], start["fixed"])
    assert optimizer.skipped == 0 and optimizer.step_count == 4


def test_who_is_left_alone_changes_between_ascend_and_step(isa):
    p = [np.ones(3), np.ones(3)]
    optimizer = SGD(p, lr=0.0, sam=1.0, groups=lambda key: {"trainable": key == "0"})
    optimizer.ascend([np.ones(3), np.ones(3)])
    p[1][:] = 5
    for group in optimizer.param_groups:
        group["trainable"] = not group["trainable"]
    optimizer.step([np.ones(3), np.ones(3)])
    np.testing.assert_array_equal(p, [[1, 1, 1], [5, 5, 5]])


def test_any_number_of_threads(isa, restore_threads):
    rng = np.random.default_rng(0)
    shapes = [(90_001,), (170, 401), (1,), (0,), (130, 400), (60, 1000)]
    start = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    start[-1] = np.asfortranarray(start[-1])
    start[-2] = start[-2][:, ::3]
    grads = [[rng.normal(size=p.shape).astype(np.float32) for p in start] for _ in range(4)]
    for name in ("sam and all", "units of means", "a norm of means"):
        options = OPTIONS[name] | {"accumulate": 2}
        results = []
        for threads in (1, 2, 3):
            fnn.set_num_threads(threads)
            params = [p.copy(order="K") for p in start]
            optimizer = Adam(params, lr=0.1, **options)
            for g in grads:
                if optimizer.sam:
                    optimizer.ascend(g)
                optimizer.step(g)
            assert optimizer.step_count == 2
            results.append((params, optimizer.averages, optimizer.grad_norm))
        for params, averages, norm in results[1:]:
            assert norm == results[0][2]
            for a, b in zip(params + averages, results[0][0] + results[0][1], strict=True):
                assert_same_bits(a, b)


# ---------------------------------------------------------------------- options as attributes


@pytest.mark.once
def test_assigned_between_steps():
    p, g = np.zeros(2), np.array([3.0, 4.0])
    optimizer = SGD(p, lr=1.0)
    optimizer.step(g)
    assert optimizer.grad_norm is None
    optimizer.clip_norm = 1.0
    optimizer.step(g)
    np.testing.assert_allclose(p, [-3.6, -4.8])
    assert optimizer.grad_norm == 5.0
    optimizer.clip_norm = None
    optimizer.maximize = True
    optimizer.step(g)
    np.testing.assert_allclose(p, [-0.6, -0.8])
    assert optimizer.grad_norm is None
    optimizer.accumulate = 4
    for _ in range(3):
        optimizer.step(g)
    optimizer.accumulate = 2  # the next call makes the step, with the mean of all four
    optimizer.step(-3 * g)
    np.testing.assert_allclose(p, [-0.6, -0.8], atol=1e-15)
    assert optimizer.step_count == 4
    assert optimizer.accumulate == 2 and repr(optimizer).endswith("maximize=True, accumulate=2)")


@pytest.mark.once
def test_averages_begin_anew():
    p = np.zeros(1)
    optimizer = SGD(p, lr=1.0, ema=0.5)
    np.testing.assert_array_equal(optimizer.averages, [0])  # of no step yet
    for _ in range(3):
        optimizer.step(np.ones(1))
    np.testing.assert_allclose(optimizer.averages, -(0.25 * 1 + 0.25 * 2 + 0.5 * 3))
    optimizer.ema = None
    optimizer.swa = 5
    np.testing.assert_array_equal(optimizer.averages, [-3])
    for _ in range(4):
        optimizer.step(np.ones(1))
    np.testing.assert_allclose(optimizer.averages, -6.5)
    with pytest.raises(ValueError, match=r"ema: expected None where swa is given, got 0\.5"):
        optimizer.ema = 0.5
    assert optimizer.ema is None


def test_skipping_begins_or_ends_between_ascend_and_step(isa):
    for before in (True, False):
        p = np.array([1.0, 2.0])
        optimizer = SGD(p, lr=1.0, sam=0.5, skip_nonfinite=before)
        optimizer.ascend(np.array([np.nan, 1.0]))
        optimizer.skip_nonfinite = not before
        optimizer.step(np.array([3.0, 4.0]))
        assert (optimizer.step_count, optimizer.skipped) == ((1, 0) if before else (0, 1))
        np.testing.assert_array_equal(p, [-2, -2] if before else [1, 2])
        assert optimizer.grad_norm == (None if before else 5)


@pytest.mark.parametrize("sam", [None, 0.5])
def test_what_ascend_met_is_forgotten_on_the_way_back(isa, sam):
    p = np.ones(2)
    optimizer = SGD(p, lr=1.0, sam=0.5, skip_nonfinite=True)
    optimizer.ascend(np.full(2, np.nan))
    optimizer._bound.descend()  # as a fit does that was interrupted there
    optimizer.sam = sam
    if sam is not None:
        optimizer.ascend(np.ones(2))
    optimizer.step(np.ones(2))
    np.testing.assert_array_equal(p, [0, 0])
    assert (optimizer.step_count, optimizer.skipped) == (1, 0)


@pytest.mark.once
def test_averages_begin_anew_where_steps_no_longer_count():
    p = np.zeros(1)
    optimizer = SGD(p, lr=1.0, swa=0)
    for _ in range(3):
        optimizer.step(np.ones(1))
    np.testing.assert_allclose(optimizer.averages, [-2])
    optimizer.swa = 4
    np.testing.assert_array_equal(optimizer.averages, [-3])
    for _ in range(3):
        optimizer.step(np.ones(1))
    np.testing.assert_allclose(optimizer.averages, [-5.5])
    optimizer.swa = 1  # of steps that are over no more is known
    optimizer.step(np.ones(1))
    np.testing.assert_allclose(optimizer.averages, [-6])


@pytest.mark.once
def test_a_step_that_fails_forgets_nothing():
    p = np.zeros(1)
    optimizer = SGD(p, lr=1.0, swa=0, lookahead=(3, 0.5))
    for _ in range(2):
        optimizer.step(np.ones(1))
    before = optimizer.state_dict()
    optimizer.swa = optimizer.lookahead = None
    with pytest.raises(ValueError, match="grads: expected shape"):
        optimizer.step(np.ones(2))
    optimizer.swa, optimizer.lookahead = 0, (3, 0.5)
    assert_same_state(optimizer.state_dict(), before)


@pytest.mark.once
def test_the_end_of_averages_that_were_never_shown():
    p = np.ones(2)
    optimizer = SGD(p, lr=1.0, sam=0.5, ema=0.5)
    optimizer.ascend(np.ones(2))
    optimizer.sam = None
    optimizer.averaged().__exit__(None, None, None)
    optimizer.step(np.ones(2))
    np.testing.assert_array_equal(p, [0, 0])


@pytest.mark.once
def test_what_does_not_fit_the_core():
    optimizer = Adam([np.ones(3), np.ones(2)], ema=0.5)
    optimizer.step([np.ones(3), np.ones(2)])
    updater, around = optimizer._bound.updater, optimizer._bound.around
    with pytest.raises(ValueError, match="missed: expected 2 items, one for each tensor, got 1"):
        updater.missed = [0]
    with pytest.raises(ValueError, match="rates: expected 1 items, got 2"):
        updater.set_rates([0.1, 0.1])
    with pytest.raises(ValueError, match="arrays: expected one for each tensor, got 1"):
        around.set_buffer("average", [np.ones(3)])
    with pytest.raises(ValueError, match=r"average: expected shape \(2,\), got \(3,\)"):
        around.set_buffer("average", [np.ones(3), np.ones(3)])
    with pytest.raises(ValueError, match="name: expected 'gradient', 'average' or 'slow', got"):
        around.set_buffer("original", [np.ones(3), np.ones(2)])
    with pytest.raises(TypeError, match="set_options"):
        around.set_options(ema=0.5)


@pytest.mark.once
def test_options_do_not_change_within_a_step():
    p = np.ones(3)
    optimizer = SGD([p], lr=1.0, clip_norm=1.0)

    class Gradient:
        def __dlpack__(self, **_):
            optimizer.clip_norm = None
            with pytest.raises(RuntimeError, match="being updated by another call"):
                optimizer.state  # noqa: B018 (which hands the options over)
            return np.ones(3).__dlpack__()

        def __dlpack_device__(self):
            return (1, 0)

    optimizer.step([Gradient()])
    np.testing.assert_allclose(p, 1 - np.sqrt(1 / 3))
    optimizer.step([np.ones(3)])
    np.testing.assert_allclose(p, -np.sqrt(1 / 3))


# What a walk assigns to each option, None for its default.
VALUES = {
    "maximize": [None, True],
    "clip_norm": [None, None, 1.0],
    "clip_value": [None, None, 0.5],
    "clip_units": [None, None, 0.2],
    "unit_axis": [None, 0],
    "skip_nonfinite": [None, True],
    "accumulate": [None, 2, 3],
    "ema": [None, None, 0.4],
    "swa": [None, None, 0, 6],
    "lookahead": [None, (1, 0.3), (3, 0.6)],
    "sam": [None, 0.1, 0.4],
}


def assign_some(rng, optimizer, reference):
    """Give some options other values, and to both the same."""
    for name in rng.permutation(list(VALUES))[: rng.integers(4)]:
        values = VALUES[name]
        value = values[rng.integers(len(values))]
        default = getattr(type(optimizer), name).default
        try:
            setattr(optimizer, name, default if value is None else value)
        except ValueError as error:  # one of those that exclude each other
            assert "expected None where" in str(error)
            continue
        reference.options.pop(name, None)
        if value is not None:
            reference.options[name] = value


@pytest.mark.once
@pytest.mark.parametrize("seed", range(400 if FULL else 40))
def test_options_change_at_any_time(seed):
    """Walks of calls between which options change, beside the formulas."""
    rng = np.random.default_rng(seed)
    params = {"w": rng.normal(size=(4, 3)), "b": np.asfortranarray(rng.normal(size=(3, 2)))}
    rule = list(RULES)[seed % 2]
    optimizer, reference = RULES[rule](params), Reference(rule, leaves(params))
    for _ in range(60):
        assign_some(rng, optimizer, reference)
        grads = [rng.normal(size=p.shape) for p in leaves(params)]
        if rng.random() < 0.1:
            grads[rng.integers(2)][0, 0] = rng.choice([np.nan, np.inf])
        moved = reference.origin is not None
        call = rng.choice(["step", "step", "step", "ascend", "descend", "averaged", "resumed"])
        if moved and call not in ("step", "descend"):
            with pytest.raises(RuntimeError, match="where ascend has moved them"):
                optimizer.ascend(like(params, grads)) if optimizer.sam else optimizer.state_dict()
        elif call == "descend":
            optimizer._bound.descend()
            reference.descend()
        elif call == "ascend" or (call == "step" and optimizer.sam and not moved):
            if optimizer.sam:
                optimizer.ascend(like(params, grads))
                reference.forget()
                reference.ascend(grads)
        elif call == "step":
            if not all(np.isfinite(g).all() for g in grads) and not optimizer.skip_nonfinite:
                continue  # or all would be NaN from here on
            optimizer.step(like(params, grads))
            reference.step(grads)
        elif call == "resumed":
            again = RULES[rule](copy.deepcopy(params))
            again.load_state_dict(optimizer.state_dict())
            reference.forget()
            optimizer, params = again, again._bound.params
        elif optimizer.ema is not None or optimizer.swa is not None:
            with optimizer.averaged():
                for p, expected in zip(leaves(params), reference.averages, strict=True):
                    np.testing.assert_allclose(p, expected, rtol=0, atol=1e-11)
        for p, expected in zip(leaves(params), reference.p, strict=True):
            np.testing.assert_allclose(p, expected, rtol=0, atol=1e-11)
        assert (optimizer.step_count, optimizer.skipped) == (reference.t, reference.skipped)


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"maximize": 1}, TypeError, "maximize: expected True or False, got 1"),
        ({"clip_norm": -1}, ValueError, "clip_norm: expected a finite number >= 0, got -1"),
        ({"clip_value": "a"}, TypeError, "clip_value: expected a number, got 'a'"),
        ({"clip_units": np.nan}, ValueError, "clip_units: expected a finite number >= 0, got nan"),
        (
            {"clip_norm": 1, "clip_value": 1},
            ValueError,
            "clip_value: expected None where clip_norm is given, got 1",
        ),
        (
            {"clip_norm": 1, "clip_units": 1},
            ValueError,
            "clip_units: expected None where clip_norm is given, got 1",
        ),
        ({"unit_axis": 0.5}, TypeError, "unit_axis: expected an integer, got 0.5"),
        ({"skip_nonfinite": None}, TypeError, "skip_nonfinite: expected True or False, got None"),
        ({"accumulate": 0}, ValueError, "accumulate: expected an integer from 1"),
        ({"ema": 1.0}, ValueError, "ema: expected a finite number >= 0 and < 1, got 1.0"),
        ({"swa": -1}, ValueError, "swa: expected an integer from 0"),
        ({"ema": 0.5, "swa": 1}, ValueError, "swa: expected None where ema is given, got 1"),
        ({"lookahead": 5}, TypeError, "lookahead: expected a pair, .* got 5"),
        ({"lookahead": (0, 0.5)}, ValueError, r"lookahead\[0\]: expected an integer from 1"),
        ({"lookahead": (5, 0)}, ValueError, r"lookahead\[1\]: expected a finite number > 0, got 0"),
        ({"lookahead": (5, 1.5)}, ValueError, r"lookahead\[1\]: expected .* <= 1, got 1.5"),
        ({"sam": 0}, ValueError, "sam: expected a finite number > 0, got 0"),
        ({"clip": 1}, TypeError, "an unknown clip; did you mean clip_norm"),
    ],
)
def test_impossible_options(options, error, text):
    for params in (None, np.ones(3)):
        with pytest.raises(error, match=text):
            Adam(params, **options)


@pytest.mark.once
def test_a_unit_axis_that_is_not_there():
    p = {"a": np.ones(3), "b": np.ones((2, 3))}
    optimizer = SGD(p, lr=1.0, clip_units=0.1, unit_axis=2)
    with pytest.raises(
        ValueError, match=r"unit_axis: expected -2 to 1, as params\['b'\] has shape \(2, 3\), got 2"
    ):
        optimizer.step(p | {"a": np.ones(3), "b": np.ones((2, 3))})
    assert (p["b"] == 1).all() and optimizer.step_count == 0


# ---------------------------------------------------------------------- SAM


def test_sam_goes_back_to_the_same_bits(isa):
    p = np.array([1e-30, 5e-324, -0.0, 1.0, 1e300, np.nan])
    kept = p.copy()
    optimizer = SGD(p, lr=0.0, sam=0.5, skip_nonfinite=True)
    optimizer.ascend(np.ones(6))
    assert not np.isnan(p[:5]).any() and p[3] == 1 + 0.5 / np.sqrt(6)
    optimizer.step(np.full(6, np.nan))
    assert_same_bits(p, kept)
    assert (optimizer.step_count, optimizer.skipped) == (0, 1)


def test_sam_without_a_direction(isa):
    p = np.array([1.0, -0.0])
    kept = p.copy()
    optimizer = SGD(p, lr=1.0, sam=0.5)
    for g in (np.zeros(2), np.array([np.inf, 1.0]), np.array([1.0, np.nan])):
        optimizer.ascend(g)
        assert_same_bits(p, kept)
        optimizer.step(np.zeros(2))
        np.testing.assert_array_equal(p, kept)
    optimizer.skip_nonfinite = True
    optimizer.ascend(np.array([np.inf, 1.0]))
    optimizer.step(np.ones(2))  # not where SAM wanted them
    assert_same_bits(p, kept)
    assert (optimizer.step_count, optimizer.skipped) == (3, 1)
    optimizer.ascend(np.ones(2))
    optimizer.step(np.ones(2))
    assert (optimizer.step_count, optimizer.skipped) == (4, 1)


def test_sam_forgets_the_gradients_it_followed(isa):
    """They may be gone when it goes back: here their memory is, as it was mapped for them alone."""
    p = np.zeros((2, 2_000_000), "float32")
    optimizer = SGD(p, lr=1.0, sam=0.5)
    optimizer.ascend(np.ones((2, 4_000_000), "float32")[:, ::2])
    optimizer.step(np.full_like(p, 2))
    assert (p == -2).all()


@pytest.mark.once
def test_sam_in_the_wrong_order():
    p, g = np.ones(2), np.ones(2)
    optimizer = Adam(p, sam=0.1, ema=0.5)
    with pytest.raises(RuntimeError, match="step: expected ascend before"):
        optimizer.step(g)
    optimizer.ascend(g)
    moved = p.copy()
    for wrong in (
        lambda: optimizer.ascend(g),
        lambda: optimizer.averaged().__enter__(),
        optimizer.state_dict,
        lambda: copy.deepcopy(optimizer),
        lambda: optimizer.load_state_dict({}),
    ):
        with pytest.raises(RuntimeError, match="where ascend has moved them, expected step"):
            wrong()
        assert_same_bits(p, moved)
    with pytest.raises(ValueError, match=r"grads: expected shape \(2,\).*, got \(3,\)"):
        optimizer.step(np.ones(3))
    assert_same_bits(p, moved)
    optimizer.step(g)
    assert optimizer.step_count == 1
    with pytest.raises(RuntimeError, match="ascend: expected an optimizer with sam"):
        Adam(p).ascend(g)
    with pytest.raises(RuntimeError, match="ascend: expected an optimizer with sam"):
        Adam(p, ema=0.5).ascend(g)


# ---------------------------------------------------------------------- averages in place


@pytest.mark.parametrize("tree", TREES)
def test_averaged(isa, tree):
    params = TREES[tree](np.random.default_rng(0))
    problem = Problem(params, {})
    optimizer = Adam(params, lr=0.1, swa=0)
    optimizer.swa = 2
    for _ in range(2):  # of no step yet: the parameters themselves
        same = [p.copy() for p in leaves(params)]
        with optimizer.averaged():
            for p, before in zip(leaves(params), same, strict=True):
                assert_same_bits(p, before)
        for p, before in zip(leaves(params), same, strict=True):
            assert_same_bits(p, before)
        run(optimizer, params, problem, [0])
    optimizer.swa = 0
    run(optimizer, params, problem, range(3))
    before = [p.copy() for p in leaves(params)]
    averages = leaves(optimizer.averages)
    with pytest.raises(KeyError), optimizer.averaged():
        for p, mean in zip(leaves(params), averages, strict=True):
            assert_same_bits(p, mean)
            p[...] = np.nan  # nobody's business, and undone
        for call in (lambda: optimizer.step(params), optimizer.averaged().__enter__):
            with pytest.raises(RuntimeError, match="the parameters hold their averages"):
                call()
        with pytest.raises(RuntimeError, match="the parameters hold their averages"):
            copy.copy(optimizer)
        raise KeyError
    for p, old in zip(leaves(params), before, strict=True):
        assert_same_bits(p, old)
    for mean, old in zip(leaves(optimizer.averages), averages, strict=True):
        assert_same_bits(mean, old)
    run(optimizer, params, problem, range(3, 5))


@pytest.mark.once
def test_averages_that_nobody_asked_for():
    optimizer = Adam(np.ones(2))
    for call in (lambda: optimizer.averages, optimizer.averaged):
        with pytest.raises(RuntimeError, match="expected an optimizer with ema or swa"):
            call()
    groups = [{"params": np.ones(2)}, {"params": {"b": np.zeros(1)}}]
    one, two = Adam(groups, ema=0.5).averages
    assert (one == 1).all() and list(two) == ["b"]


# ---------------------------------------------------------------------- resumed


def by_state_dict(optimizer, params, make):
    state = json_round_trip(optimizer.state_dict())
    again = make(copy.deepcopy(params))
    again.load_state_dict(state)
    return again, again._bound.params


def json_round_trip(state):
    arrays = state.pop("state")
    return json.loads(json.dumps(state)) | {"state": arrays}


def by_file(optimizer, params, make, path):
    optimizer.save(path)
    again = make(copy.deepcopy(params))
    again.load(path)
    return again, again._bound.params


WAYS = {
    "state_dict": lambda o, p, make, path: by_state_dict(o, p, make),
    "file": by_file,
    "pickle": lambda o, p, make, path: pickle.loads(pickle.dumps((o, p))),
    "deepcopy": lambda o, p, make, path: copy.deepcopy((o, p)),
}


@pytest.mark.once
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("option", OPTIONS)
def test_resumed_equals_uninterrupted(option, way, tmp_path):
    make = SGD if option == "ema" else Adam
    for tree in TREES if way == "state_dict" else ["nested"]:
        params = TREES[tree](np.random.default_rng(0))
        check_resumed(make, params, OPTIONS[option], WAYS[way], tmp_path / "it")


@pytest.mark.once
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_resumes(name, tmp_path):
    params = nested(np.random.default_rng(0))
    check_resumed(OPTIMIZERS[name], params, {}, by_file, tmp_path / "it")


def check_resumed(make, params, options, way, path):
    problem = Problem(params, options)
    optimizer = make(params, lr=0.05, **options, groups=lambda key: {"lr": 0.1 * ("b" in key)})

    def other(params):  # hyper-parameters and options come with the state
        return make(params, groups=lambda key: {"lr": 0.3 * ("b" in key)})

    for t in range(6):
        run(optimizer, params, problem, [t])
        again, copied = way(optimizer, params, other, path)
        assert repr(again) == repr(optimizer)
        expected = copy.deepcopy((optimizer, params))
        rest = range(t + 1, t + 6)
        norms = run(again, copied, problem, rest)
        assert repr(norms) == repr(run(*expected, problem, rest))  # NaN among them
        for a, b in zip(leaves(copied), leaves(expected[1]), strict=True):
            assert_same_bits(a, b)
        assert_same_state(again.state_dict(), expected[0].state_dict())


def assert_same_state(one, other):
    one, other = one.copy(), other.copy()
    assert list(one["state"]) == list(other["state"])
    for key, arrays in one.pop("state").items():
        assert list(arrays) == list(other["state"][key])
        for name, array in arrays.items():
            assert_same_bits(array, other["state"][key][name])
    del other["state"]
    assert one == other


@pytest.mark.once
def test_state_dict_is_plain():
    params = {"w": np.asfortranarray(np.ones((3, 2), "f4")), "b": np.ones(2)}
    optimizer = Adam(
        params,
        lr=lambda step: 0.1,
        betas=(0.9, [0.999, 0.99]),
        ema=0.5,
        lookahead=(3, 0.5),
        accumulate=2,
        groups=lambda key: {"lr": 0.5} if key == "b" else {},
    )
    g = {"w": np.arange(6, dtype="f4").reshape(3, 2), "b": np.ones(2)}
    for _ in range(3):
        optimizer.step(g)
    state = optimizer.state_dict()
    arrays = state.pop("state")
    assert state == {
        "optimizer": "Adam",
        "step_count": 1,
        "epoch_count": 0,
        "skipped": 0,
        "accumulated": 1,
        "averaged": 1,
        "since_lookahead": 1,
        "missed_steps": {},
        "hyper_parameters": {
            "lr": "function",
            "betas": [0.9, [0.999, 0.99]],
            "eps": 1e-8,
            "weight_decay": 0.0,
            "amsgrad": False,
            "eps_mode": "torch",
        },
        "options": {
            "maximize": False,
            "clip_norm": None,
            "clip_value": None,
            "clip_units": None,
            "unit_axis": -1,
            "skip_nonfinite": False,
            "accumulate": 2,
            "ema": 0.5,
            "swa": None,
            "lookahead": [3, 0.5],
            "sam": None,
        },
        "param_groups": [{"params": ["w"]}, {"params": ["b"], "lr": 0.5}],
    }
    names = ["accumulated_grad", "average", "exp_avg", "exp_avg_sq", "slow"]
    assert {k: sorted(v) for k, v in arrays.items()} == {"w": names, "b": names}
    np.testing.assert_array_equal(arrays["w"]["accumulated_grad"], g["w"])
    np.testing.assert_allclose(arrays["w"]["exp_avg"], 0.1 * g["w"], rtol=1e-6)
    np.testing.assert_array_equal(arrays["w"]["average"], params["w"])
    for name, array in optimizer.state["w"].items():
        assert_same_bits(array, arrays["w"][name])
        assert not np.shares_memory(array, arrays["w"][name])

    state["state"] = arrays
    with pytest.raises(ValueError, match=r"lr: expected .* a function there, .* got 0\.001"):
        Adam(params, groups=optimizer_groups).load_state_dict(state)
    other = Adam(params, lr=abs, groups=optimizer_groups)
    other.load_state_dict(state)
    assert other.lr is abs and list(other.betas[1]) == [0.999, 0.99]
    assert [group["lr"] for group in other.param_groups] == [abs, 0.5]


def optimizer_groups(key):
    return {"lr": 1.0} if key == "b" else {}


def nested_set(state, *path):
    *path, last, value = path
    for name in path:
        state = state[name]
    if value is None:
        del state[last]
    else:
        state[last] = value


WRONG_STATES = [
    (("optimizer", "SGD"), ValueError, r"\['optimizer'\]: expected 'Adam', got 'SGD'"),
    (("skipped", None), ValueError, r"state_dict\['skipped'\]: expected a value, got none"),
    (("more", 1), ValueError, r"state_dict\['more'\]: expected nothing of this name"),
    (("step_count", -1), ValueError, "step_count: expected an integer from 0"),
    (("accumulated", 1.5), TypeError, "accumulated: expected an integer, got 1.5"),
    (("averaged", 0), ValueError, r"state\['a'\]\['average'\]: expected nothing of this name"),
    (("since_lookahead", 2), ValueError, "since_lookahead: expected None without lookahead, got 2"),
    (("options", "ema", 2.0), ValueError, "ema: expected a finite number >= 0 and < 1, got 2.0"),
    (("options", "swa", 2), ValueError, "swa: expected None where ema is given, got 2"),
    (("options", "clip", 2), ValueError, r"state_dict\['options'\]\['clip'\]: expected nothing"),
    (("options", "sam", None), ValueError, r"state_dict\['options'\]\['sam'\]: expected a value"),
    (("options", []), TypeError, r"state_dict\['options'\]: expected a dict, got \[\]"),
    (("hyper_parameters", "lr", "a"), TypeError, "lr: expected a number, got 'a'"),
    (
        ("hyper_parameters", "lr", "function"),
        ValueError,
        "lr: expected this optimizer to have a function",
    ),
    (("hyper_parameters", "betas", [0.5]), TypeError, r"betas: expected a pair, .* got \[0.5\]"),
    (("hyper_parameters", "betas", [0.5, 1]), ValueError, r"betas\[1\]: expected a finite number"),
    (("param_groups", []), ValueError, "param_groups: expected 2, as many as there are, got 0"),
    (("param_groups", 1), TypeError, r"param_groups: expected a list, got 1"),
    (("param_groups", 0, []), TypeError, r"param_groups\[0\]: expected a dict, got \[\]"),
    (
        ("param_groups", 0, "params", ["c"]),
        ValueError,
        r"param_groups\[0\]\['params'\]: expected \['a'\], got \['c'\]",
    ),
    (("param_groups", 0, "l", 1), ValueError, r"param_groups\[0\]\['l'\]: expected nothing"),
    (("param_groups", 1, "lr", -1), ValueError, "lr: expected a finite number >= 0, got -1"),
    (("state", "a", None), ValueError, r"state\['a'\]: expected a value"),
    (("state", "c", {}), ValueError, r"state\['c'\]: expected nothing of this name"),
    (("state", "a", "exp_avg", None), ValueError, r"state\['a'\]\['exp_avg'\]: expected a value"),
    (("state", "a", "average", None), ValueError, r"state\['a'\]\['average'\]: expected a value"),
    (
        ("state", "a", "exp_avg", [0.0, 0.0]),
        TypeError,
        r"state\['a'\]\['exp_avg'\]: expected an array, got \[0.0, 0.0\]",
    ),
    (
        ("state", "a", "exp_avg", np.zeros(3)),
        ValueError,
        r"state\['a'\]\['exp_avg'\]: expected shape \(2,\), got \(3,\)",
    ),
    (
        ("state", "b", "average", np.zeros((2, 2), "f4")),
        TypeError,
        r"state\['b'\]\['average'\]: expected dtype float64, got float32",
    ),
]


@pytest.mark.once
@pytest.mark.parametrize(("change", "error", "text"), WRONG_STATES)
def test_a_wrong_state_changes_nothing(change, error, text):
    params = {"a": np.ones(2), "b": np.ones((2, 2))}
    optimizer = Adam(params, lr=0.1, ema=0.5, groups=optimizer_groups)
    g = {"a": np.ones(2), "b": np.ones((2, 2))}
    optimizer.step(g)
    before = optimizer.state_dict()
    state = Adam(params, lr=0.2, ema=0.9, groups=optimizer_groups).state_dict()
    state = optimizer.state_dict() | {"hyper_parameters": state["hyper_parameters"]}
    nested_set(state, *change)
    with pytest.raises(error, match=text):
        optimizer.load_state_dict(state)
    assert_same_state(optimizer.state_dict(), before)


@pytest.mark.once
def test_groups_that_were_taken_stay_groups():
    p = [np.zeros(1), np.zeros(1)]
    optimizer = SGD(p, lr=1.0, groups=lambda key: {"lr": 2.0} if key == "1" else {})
    state = optimizer.state_dict()
    group = optimizer.param_groups[1]
    group["lr"] = 3.0
    optimizer.load_state_dict(state)
    assert group["lr"] == 2.0 and optimizer.param_groups[1] is group
    group["lr"] = 4.0
    optimizer.step([np.ones(1), np.ones(1)])
    np.testing.assert_array_equal(p, [[-1], [-4]])


@pytest.mark.once
def test_files_that_are_not_states(tmp_path):
    p = {"w": np.ones(3)}
    optimizer = Adam(p)
    optimizer.step(p | {"w": np.ones(3)})
    path = tmp_path / "a"
    optimizer.save(path)
    raw = path.read_bytes()
    before = optimizer.state_dict()
    for wrong, text in [
        (raw[:-1], "not an intact safetensors file"),
        (b"", "not an intact safetensors file"),
        (raw.replace(b"exp_avg_sq", b"exp_avg_xx"), r"state\['w'\]\['exp_avg_sq'\]: expected"),
        (raw.replace(b'"w.exp', b'"v.exp'), r"state\['v'\]: expected nothing of this name"),
        (raw.replace(b"format_version", b"format_versiom"), "format version None"),
        (raw.replace(b"skipped", b"skapped"), "missing or unknown fields"),
        (raw.replace(b"pyfast_nn_optimizer", b"pyfast_nn_optimizes"), "no metadata"),
        (raw.replace(b"0.001", b"-.001"), "is not valid JSON"),
        (raw.replace(b"0.001", b"-0.01"), "lr: expected a finite number >= 0"),
        (raw.replace(b"0.001", b"[[3]]"), "lr: expected one real number per step"),
    ]:
        assert wrong != raw
        path.write_bytes(wrong)
        with pytest.raises(fnn.ModelFileError, match=text) as caught:
            optimizer.load(path)
        assert str(path) in str(caught.value)
        assert_same_state(optimizer.state_dict(), before)
    model = fnn.Sequential([fnn.Dense(2)], seed=0)
    model.build(3)
    model.save(path)
    with pytest.raises(fnn.ModelFileError, match=r"of a model, which pyfast_nn.load reads"):
        optimizer.load(path)
    optimizer.save(path)
    with pytest.raises(fnn.ModelFileError, match="of an optimizer, which the load method"):
        fnn.load(path)
    with pytest.raises(FileNotFoundError):
        optimizer.load(tmp_path / "nothing")


@pytest.mark.once
def test_without_parameters_of_its_own():
    optimizer, g = Adam(ema=0.5), np.ones(3)
    for call in (
        lambda: optimizer.step(g),
        lambda: optimizer.ascend(g),
        lambda: optimizer.averages,
        optimizer.averaged,
        optimizer.state_dict,
        lambda: optimizer.save("x"),
    ):
        with pytest.raises(RuntimeError, match=r"with parameters of its own.*, got .* without"):
            call()
    assert optimizer.grad_norm is None and optimizer.skipped == 0 and optimizer.state == []


# ---------------------------------------------------------------------- whole or not at all


@pytest.mark.once
@pytest.mark.parametrize("option", OPTIONS)
def test_a_wrong_gradient_changes_nothing(option):
    params = nested(np.random.default_rng(0))
    problem = Problem(params, {})
    optimizer = Adam(params, lr=0.05, **OPTIONS[option])
    wrong = like(params, problem.gradients(leaves(params), 0))
    wrong["tail"] = (wrong["tail"][0], np.zeros((0, 4), "f4"), wrong["tail"][2])
    for t in range(5):
        before = optimizer.state_dict(), copy.deepcopy(params)
        calls = [optimizer.ascend] if optimizer.sam else [optimizer.step]
        for call in [*calls, *calls]:
            with pytest.raises(TypeError, match=r"grads\['tail'\]\[1\]: .*, got float32"):
                call(wrong)
        assert_same_state(optimizer.state_dict(), before[0])
        for p, q in zip(leaves(params), leaves(before[1]), strict=True):
            assert_same_bits(p, q)
        run(optimizer, params, problem, [t])
    with pytest.raises(TypeError, match=r"grads: expected a dict of .*, got NoneType"):
        optimizer.ascend(None) if optimizer.sam else optimizer.step(None)


class Alarm(Exception):
    pass


@pytest.mark.alone
@pytest.mark.once
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
@pytest.mark.parametrize("option", ["sam and all", "units of means", "a norm of means"])
def test_signals_come_before_or_after_a_step(option):
    def alarm(number, frame):
        raise Alarm

    rng = np.random.default_rng(0)
    params = [rng.normal(size=2000), rng.normal(size=(100, 9)).astype("f4")[:, ::2]]
    # By their number of calls: what the parameters and the state are.
    expected = copy.deepcopy(params)
    options = {k: v for k, v in OPTIONS[option].items() if k != "sam"}
    optimizer, plain = Adam(params, **options), Adam(expected, **options)
    grads = [rng.normal(size=p.shape).astype(p.dtype) for p in params]

    def calls(of):
        return of.step_count * of.accumulate + of.state_dict()["accumulated"]

    kept = signal.signal(signal.SIGALRM, alarm)
    try:
        for _ in range(200 if FULL else 30):
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 3e-3))
                while True:
                    optimizer.step(grads)
            except Alarm:
                pass
            while calls(plain) < calls(optimizer):
                plain.step(grads)
            for p, q in zip(params, expected, strict=True):
                assert_same_bits(p, q)
            assert_same_state(optimizer.state_dict(), plain.state_dict())
        assert optimizer.step_count > 30
        for _ in range(200 if FULL else 30):
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 2e-3))
                while True:
                    with optimizer.averaged():
                        pass
            except Alarm:
                pass
            for p, q in zip(params, expected, strict=True):
                assert_same_bits(p, q)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, kept)


@pytest.mark.once
def test_memory_that_is_not_there():
    p, g = np.ones((300, 300)), np.ones((300, 300))
    optimizer = fnn.optim.Adafactor(p, clip_norm=1.0, accumulate=2)
    for _ in range(2):  # for the norm, and the scratch memory of the update
        _core.fail_allocation(1)
        with pytest.raises(MemoryError):
            optimizer.step(g)
        assert (p == 1).all() and optimizer.state_dict()["accumulated"] == 0
    optimizer.step(g)
    before = _core.allocations()
    optimizer.step(g)
    assert optimizer.step_count == 1 and (p < 1).all()
    assert _core.allocations() == before  # once the mean has grown, nothing may fail
