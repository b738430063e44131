"""Optimizers on arrays of the user's own: where they lie, their structure, groups, copies."""

import copy
import pickle

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_same_bits
from pyfast_nn.optim import SGD, Adam
from pyfast_nn.schedules import Cosine, Sequence, Warmup


def adam_in_numpy(p, grads, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam's steps on one array, by the paper's formula in float64."""
    p, m, v = np.array(p, np.float64), 0.0, 0.0
    for t, g in enumerate(grads, start=1):
        g = np.asarray(g, np.float64)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        p -= lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return p


LAYOUTS = {
    "c": lambda x: x.copy(),
    "fortran": np.asfortranarray,
    "every other column": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "axes swapped": lambda x: np.ascontiguousarray(x.swapaxes(0, -1)).swapaxes(0, -1),
    "misaligned": lambda x: misaligned(x),
}


def misaligned(x):
    memory = np.empty(x.nbytes + 1, np.uint8)[1:]
    moved = memory.view(x.dtype).reshape(x.shape)
    moved[...] = x
    assert not moved.flags.aligned
    return moved


@pytest.mark.parametrize("of_gradient", LAYOUTS)
@pytest.mark.parametrize("of_parameter", LAYOUTS)
def test_arrays_as_they_lie(isa, dtype, of_parameter, of_gradient):
    rng = np.random.default_rng(0)
    start = rng.normal(size=(7, 5, 130)).astype(dtype)
    grads = rng.normal(size=(3, *start.shape)).astype(dtype)
    clean, p = start.copy(), LAYOUTS[of_parameter](start)
    optimizer, plain = Adam(p, lr=0.1), Adam(clean, lr=0.1)
    for g in grads:
        g = LAYOUTS[of_gradient](g)
        before = g.copy()
        optimizer.step(g)
        plain.step(before)
        np.testing.assert_array_equal(g, before)
    np.testing.assert_array_equal(p, clean)
    tolerance = 1e-5 if start.itemsize == 4 else 1e-13
    np.testing.assert_allclose(p, adam_in_numpy(start, grads, lr=0.1), atol=tolerance)


def tree(rng, scale=1.0):
    def normal(*shape, dtype="f8"):
        return np.array(scale * rng.normal(size=shape), dtype)

    return {
        "layers": [
            {"w": normal(4, 3), "b": normal(3, dtype="f4")},
            {"w": normal(3, 2), "b": normal(2, dtype="f4")},
        ],
        "scale": (normal(), normal(0, 5)),
    }


def leaves(x):
    if isinstance(x, dict):
        x = x.values()
    if isinstance(x, np.ndarray):
        return [x]
    return [x] if np.isscalar(x) else [leaf for child in x for leaf in leaves(child)]


def test_nested_structures(isa):
    rng = np.random.default_rng(0)
    params = tree(rng)
    start = copy.deepcopy(params)
    optimizer = Adam(params, lr=0.1)
    grads = [tree(rng) for _ in range(3)]
    grads[0]["scale"] = [np.float64(0.5), grads[0]["scale"][1]]  # what NumPy's reductions give
    for g in grads:
        optimizer.step(g)
    assert optimizer.step_count == 3
    series = zip(leaves(params), leaves(start), *map(leaves, grads), strict=True)
    for p, before, *of_leaf in series:
        expected = adam_in_numpy(before, of_leaf, lr=0.1)
        np.testing.assert_allclose(p, expected, atol=1e-13 if p.dtype == np.float64 else 1e-6)


def test_groups(isa):
    rng = np.random.default_rng(0)
    params, grads = tree(rng), tree(rng)
    expected = copy.deepcopy(params)

    def group(key):
        if key == "layers.0.w":
            return {"trainable": False}
        return {"lr": 0.5} if key.endswith("b") else {}

    optimizer = SGD(params, lr=0.1, groups=group)
    assert [g.params for g in optimizer.param_groups] == [
        ["layers.0.w"],
        ["layers.0.b", "layers.1.b"],
        ["layers.1.w", "scale.0", "scale.1"],
    ]
    optimizer.step(grads)
    rates = [0.0, 0.5, 0.1, 0.5, 0.1, 0.1]
    for p, before, g, lr in zip(
        leaves(params), leaves(expected), leaves(grads), rates, strict=True
    ):
        np.testing.assert_allclose(p, before - lr * g, atol=1e-6)

    before = copy.deepcopy(params)
    optimizer.param_groups[1]["lr"] = 0.25
    optimizer.lr = 0.0
    optimizer.step(grads)
    rates = [0.0, 0.25, 0.0, 0.25, 0.0, 0.0]
    for p, then, g, lr in zip(leaves(params), leaves(before), leaves(grads), rates, strict=True):
        np.testing.assert_allclose(p, then - lr * g, atol=1e-6)


@pytest.mark.once
def test_a_list_of_groups():
    w, b = np.zeros((2, 3)), np.zeros(3)
    optimizer = SGD([{"params": [w], "lr": 1.0}, {"params": {"b": b}, "momentum": 0.5}], lr=0.1)
    for _ in range(2):
        optimizer.step([[np.ones((2, 3))], {"b": np.ones(3)}])
    np.testing.assert_allclose(w, -2)
    np.testing.assert_allclose(b, -0.1 - 0.15)


@pytest.mark.once
@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda g: g.pop("scale"), ValueError, r"grads\['scale'\]: expected .*, got nothing"),
        (
            lambda g: g.update(extra=1),
            ValueError,
            r"grads\['extra'\]: expected a .*, got none",
        ),
        (lambda g: g["layers"].pop(), ValueError, r"grads\['layers'\]: expected 2 items, got 1"),
        (
            lambda g: g.update(layers=3),
            TypeError,
            r"grads\['layers'\]: expected a list .*, got int",
        ),
        (
            lambda g: g["layers"][1].update(w=np.ones((2, 3))),
            ValueError,
            r"grads\['layers'\]\[1\]\['w'\]: expected shape \(3, 2\).*, got \(2, 3\)",
        ),
        (
            lambda g: g["layers"][1].update(b=np.ones(2)),
            TypeError,
            r"grads\['layers'\]\[1\]\['b'\]: expected dtype float32.*, got float64",
        ),
        (
            lambda g: g["layers"][1].update(b=np.ones(2, ">f4")),
            TypeError,
            r"grads\['layers'\]\[1\]\['b'\]: expected dtype .*, got >f4",
        ),
        (
            lambda g: g["layers"][1].update(w="text"),
            TypeError,
            r"grads\['layers'\]\[1\]\['w'\]: expected a float32 or float64 array, got 'text'",
        ),
    ],
)
def test_a_wrong_gradient_changes_nothing(change, error, text):
    rng = np.random.default_rng(0)
    params, grads = tree(rng), tree(rng)
    optimizer = Adam(params, lr=0.1)
    optimizer.step(tree(rng))
    again, same = pickle.loads(pickle.dumps((optimizer, params)))
    change(grads)
    with pytest.raises(error, match=text):
        optimizer.step(grads)
    good = tree(rng)
    assert optimizer.step_count == again.step_count == 1
    optimizer.step(good)
    again.step(good)
    for a, b in zip(leaves(params), leaves(same), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.once
def test_gradients_that_share_memory_with_parameters():
    memory = np.zeros(10)
    optimizer = Adam({"a": memory[:4], "b": memory[6:]})
    optimizer.step({"a": np.ones(4), "b": np.ones(4)})
    with pytest.raises(ValueError, match=r"grads\['a'\] and params\['b'\]: .* that overlap"):
        optimizer.step({"a": memory[3:7], "b": np.ones(4)})
    optimizer.step({"a": np.ones(4), "b": np.ones(4)})


@pytest.mark.once
def test_parameters_that_cannot_be_updated():
    read_only = np.ones(3)
    read_only.flags.writeable = False
    memory = np.zeros(10)
    for params, error, text in [
        ([], ValueError, "params: expected at least one array, got none"),
        (
            [np.ones(3), 1.0],
            TypeError,
            r"params\[1\]: expected a float32 or float64 array, got 1.0",
        ),
        (np.ones(3, int), TypeError, "params: expected dtype float32 or float64, got int64"),
        ([np.ones(3, "f2")], TypeError, r"params\[0\]: expected dtype .*, got float16"),
        ([np.ones(3, ">f8")], TypeError, r"params\[0\]: expected dtype .*, got >f8"),
        ([np.float64(1)], TypeError, r"params\[0\]: .*np.array\(...\) of it can"),
        ({"w": read_only}, ValueError, r"params\['w'\]: .*, got one that is read-only"),
        (
            [memory[:5], memory[4:]],
            ValueError,
            r"params\[0\] and params\[1\]: .* overlap",
        ),
        (
            {"a": memory, "b": [memory]},
            ValueError,
            r"params\['a'\] and params\['b'\]\[0\]: .*, got",
        ),
        (
            np.lib.stride_tricks.as_strided(memory, (3, 4), (8, 8)),
            ValueError,
            "params: expected .*, got elements that overlap in memory",
        ),
    ]:
        with pytest.raises(error, match=text):
            Adam(params)
    endless = []
    endless.append(endless)
    with pytest.raises(ValueError, match="does one contain itself"):
        Adam(endless)
    Adam([memory[::2], memory[1::2]]).step([np.ones(5), np.ones(5)])  # lie between each other
    assert (memory < 0).all()


@pytest.mark.once
def test_copies():
    p = np.zeros(5)
    optimizer = Adam(p, lr=0.1)
    optimizer.step(np.ones(5))
    state = p.copy()

    deep, q = copy.deepcopy((optimizer, p))
    deep.step(np.ones(5))
    np.testing.assert_array_equal(p, state)
    assert (q < p).all()
    shallow = copy.copy(optimizer)
    shallow.step(np.ones(5))
    np.testing.assert_array_equal(p, q)
    assert (optimizer.step_count, shallow.step_count, deep.step_count) == (1, 2, 2)


@pytest.mark.once
def test_tensors_of_torch():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    w = torch.zeros(3, 4)
    memory = w.data_ptr()
    optimizer = SGD({"w": w}, lr=1.0)
    optimizer.step({"w": torch.ones(3, 4)})
    optimizer.step({"w": np.ones((3, 4), np.float32)})
    assert w.data_ptr() == memory
    assert (w == -2).all()
    with pytest.raises(TypeError, match=r"params\['w'\]: .* that requires them; .*\.detach\(\)"):
        SGD({"w": torch.zeros(3, requires_grad=True)})
    learned = torch.zeros(3, requires_grad=True)
    SGD(learned.detach(), lr=1.0).step(torch.ones(3))
    assert (learned == -1).all()


@pytest.mark.once
def test_roles_are_kept_apart():
    with pytest.raises(RuntimeError, match=r"with parameters of its own, got .* without"):
        Adam().step(np.ones(3))
    model = fnn.Sequential([fnn.Dense(1)], seed=0)
    with pytest.raises(ValueError, match="expected one made without params"):
        model.fit(np.ones((3, 2)), np.ones(3), loss="mse", optimizer=Adam(np.ones(3)))


def test_any_number_of_threads(isa, restore_threads):
    rng = np.random.default_rng(0)
    shapes = [(300_001,), (17, 3001), (1,), (0,), (130, 400)]
    start = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    grads = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    results = []
    for threads in (1, 2, 3, 8):
        fnn.set_num_threads(threads)
        params = copy.deepcopy(start)
        optimizer = Adam(params, lr=0.1)
        for _ in range(3):
            optimizer.step(grads)
        results.append(np.concatenate([p.ravel() for p in params]))
    whole = np.concatenate([p.ravel() for p in start])  # and however they are cut
    optimizer = Adam(whole, lr=0.1)
    for _ in range(3):
        optimizer.step(np.concatenate([g.ravel() for g in grads]))
    for result in results:
        np.testing.assert_array_equal(result, whole)


class Rates(list):
    """A function of steps that notes which it was asked for."""

    def __call__(self, step):
        self.extend(np.ravel(step).tolist())
        return 0.1 / (1.0 + step)


@pytest.mark.once
@pytest.mark.parametrize("options", [{}, {"accumulate": 3}, {"skip_nonfinite": True}])
def test_hyper_parameters_of_steps_to_come_are_those_of_single_steps(options):
    """Schedules and arrays are evaluated for many steps at once, what is assigned holds at once."""
    rng = np.random.default_rng(0)
    cosine = fnn.schedules.Cosine(0.1, steps=150)
    values = cosine(np.arange(200))
    rates = {"object": cosine, "array": values, "function": lambda step: values[step]}
    linear = fnn.schedules.Linear(0.5, 99, end=0.9)
    betas = {
        "object": linear,
        "array": linear(np.arange(200)),
        "function": lambda step: linear(step),
    }
    params = {kind: np.ones(5) for kind in rates}
    optimizers = {
        kind: Adam(params[kind], lr=rates[kind], betas=(betas[kind], 0.99), **options)
        for kind in rates
    }
    states = {}
    for k in range(200):
        grads = rng.normal(size=5)
        if options.get("skip_nonfinite") and k % 7 == 3:
            grads[0] = np.inf
        for kind, optimizer in optimizers.items():
            if 60 <= k < 70:
                optimizer.lr = 0.01 * k
            if k == 70:
                optimizer.lr = rates[kind]
            if k == 99:
                optimizer.betas = (0.8, 0.99)
            if k == 120:
                states[kind] = optimizer.state_dict()
            if k == 135:
                optimizer.load_state_dict(states[kind])
            optimizer.step(grads)
    assert_same_bits(params["object"], params["function"])
    assert_same_bits(params["array"], params["function"])


@pytest.mark.once
def test_functions_of_the_users_are_asked_for_one_step_at_a_time():
    """What they give may depend on what happens before that step."""
    rate = Rates()
    optimizer = Adam(np.ones(3), lr=rate)
    for _ in range(5):
        optimizer.step(np.ones(3))
    assert rate == [0, 1, 2, 3, 4]


@pytest.mark.once
@pytest.mark.parametrize(
    "made", [lambda f: Warmup(f, 2), lambda f: Sequence([0.1, Warmup(f, 1)], [1])]
)
def test_functions_of_the_users_within_a_schedule(made):
    """They are no less the user's."""
    rate = Rates()
    optimizer = SGD(np.ones(3), lr=made(rate))
    for k in range(6):
        optimizer.step(np.ones(3))
        assert max(rate, default=0) <= max(k - 2, 0)


@pytest.mark.once
def test_schedules_with_sam():
    """Its first half reads hyper-parameters, too, also where those of 64 steps have ended."""
    cosine = Cosine(0.1, 150)
    params = {"schedule": np.ones(5), "array": np.ones(5), "function": np.ones(5)}
    rates = {"schedule": cosine, "array": cosine(np.arange(150)), "function": lambda k: cosine(k)}
    for kind, p in params.items():
        optimizer = Adam(p, lr=rates[kind], sam=0.05)
        for _ in range(150):
            optimizer.ascend(2 * p)
            optimizer.step(2 * p)
    assert_same_bits(params["schedule"], params["function"])
    assert_same_bits(params["array"], params["function"])


@pytest.mark.once
def test_arrays_of_rates_are_used_to_their_ends():
    optimizer = Adam(np.ones(3), lr=np.full(70, 0.1))
    for _ in range(70):
        optimizer.step(np.ones(3))
    with pytest.raises(ValueError, match="lr: expected a value for each step up to 70"):
        optimizer.step(np.ones(3))
    assert optimizer.step_count == 70


# ---------------------------------------------------------------------- gradients that are None

ALL_RULES = [
    *(fnn.optim.SGD, fnn.optim.ASGD, fnn.optim.Adagrad, fnn.optim.Adadelta, fnn.optim.RMSprop),
    *(fnn.optim.Adam, fnn.optim.AdamW, fnn.optim.Adamax, fnn.optim.NAdam, fnn.optim.RAdam),
    *(fnn.optim.Rprop, fnn.optim.Lion, fnn.optim.LAMB, fnn.optim.Adafactor, fnn.optim.Muon),
]
SHAPES = {"a": (4, 3), "b": (5, 2), "c": (3, 7)}
# The steps in which each tensor has a gradient: never in the first for b, never at all for c.
GIVEN = {"a": range(8), "b": (1, 2, 5, 7), "c": ()}


def drawn(dtype, order="C"):
    rng = np.random.default_rng(3)
    params = {key: np.array(rng.normal(size=s), dtype, order=order) for key, s in SHAPES.items()}
    grads = [
        {k: rng.normal(size=s).astype(dtype) if t in GIVEN[k] else None for k, s in SHAPES.items()}
        for t in range(8)
    ]
    return params, grads


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("rule", ALL_RULES)
def test_none_is_no_step_for_a_tensor(isa, dtype, rule, order):
    options = {"momentum": 0.9, "dampening": 0.5} if rule is SGD else {}
    params, grads = drawn(dtype, order)
    alone = copy.deepcopy(params)
    optimizer = rule(params, **options)
    for g in grads:
        optimizer.step(g)
    assert optimizer.step_count == 8
    for key, p in alone.items():
        own = rule(p, **options)
        for g in grads:
            if g[key] is not None:
                own.step(g[key])
        assert_same_bits(params[key], p)
        for name, vector in own.state.get("", {}).items():
            assert_same_bits(optimizer.state[key][name], vector)


@pytest.mark.once
@pytest.mark.parametrize("name", ["Adam", "NAdam", "RAdam", "SGD", "Adagrad", "ASGD", "Rprop"])
def test_none_as_in_torch(name):
    torch = pytest.importorskip("torch")
    options = {"momentum": 0.9, "dampening": 0.5} if name == "SGD" else {}
    params, grads = drawn("float64")
    theirs = {key: torch.tensor(p.copy()) for key, p in params.items()}
    ours = getattr(fnn.optim, name)(params, lr=0.1, **options)
    torchs = getattr(torch.optim, name)(list(theirs.values()), lr=0.1, **options)
    for g in grads:
        ours.step(g)
        for key, p in theirs.items():
            p.grad = None if g[key] is None else torch.tensor(g[key])
        torchs.step()
    for key, p in params.items():
        # torch keeps some numbers of NAdam and ASGD in float32
        np.testing.assert_allclose(p, theirs[key].numpy(), rtol=1e-6)


@pytest.mark.once
@pytest.mark.parametrize("how", ["copy", "pickle", "state_dict", "file"])
@pytest.mark.parametrize(("stop", "accumulate"), [(3, 1), (5, 2), (6, 1), (3, 2), (4, 3)])
def test_steps_that_were_missed_are_saved(how, stop, accumulate, tmp_path):
    options = {"lr": 0.1, "accumulate": accumulate, "ema": 0.5}
    params, grads = drawn("float64")
    start = copy.deepcopy(params)
    whole, first = Adam(params, **options), Adam(start, **options)
    for g in grads:
        whole.step(g)
    for g in grads[:stop]:
        first.step(g)
    # All of it in another order of the keys.
    if how in ("copy", "pickle"):
        second = copy.deepcopy(first) if how == "copy" else pickle.loads(pickle.dumps(first))
        start = second._bound.params
    else:
        start = dict(reversed(start.items()))
        second = Adam(start, **options)
        if how == "file":
            first.save(tmp_path / "adam")
            second.load(tmp_path / "adam")
        else:
            second.load_state_dict(first.state_dict())
    for g in grads[stop:]:
        second.step(dict(reversed(g.items())))
    for key, p in params.items():
        assert_same_bits(start[key], p)
        assert_same_bits(second.averages[key], whole.averages[key])


@pytest.mark.once
def test_none_around_the_step():
    """By the formulas: what is clipped, accumulated and averaged where gradients are missing."""
    p, q = np.ones(2), np.ones(3)
    optimizer = SGD([p, q], lr=1.0, clip_norm=1.0)
    optimizer.step([np.array([3.0, 4.0]), None])
    np.testing.assert_allclose(p, [0.4, 0.2])
    np.testing.assert_array_equal(q, 1)
    assert optimizer.grad_norm == 5.0

    p, q = np.zeros(2), np.zeros(3)
    optimizer = SGD([p, q], lr=1.0, momentum=0.9, weight_decay=0.5, accumulate=2)
    for g in ([np.ones(2), None], [None, None], [None, np.ones(3)], [None, np.full(3, 3.0)]):
        optimizer.step(g)
    np.testing.assert_allclose(p, -0.5)  # (1 + 0) / 2, once: then it had no gradient
    np.testing.assert_allclose(q, -2)  # (1 + 3) / 2 in the second step alone

    p, q = np.ones(2), np.ones(3)
    optimizer = SGD([p, q], lr=1.0, swa=0)
    optimizer.step([np.ones(2), None])
    optimizer.step([None, np.ones(3)])
    np.testing.assert_allclose(optimizer.averages[0], 0.0)
    np.testing.assert_allclose(optimizer.averages[1], 0.5)

    p, q = np.array([3.0, 4.0]), np.ones(2)
    optimizer = SGD([p, q], lr=0.1, sam=0.5)
    optimizer.ascend([p.copy(), None])
    np.testing.assert_allclose(p, [3.3, 4.4])
    np.testing.assert_array_equal(q, 1)
    optimizer.step([p.copy(), None])
    np.testing.assert_allclose(p, [2.67, 3.56])
    np.testing.assert_array_equal(q, 1)

    p, q = np.zeros(1), np.zeros(1)
    optimizer = SGD([p, q], lr=1.0, lookahead=(2, 0.5))
    optimizer.step([np.ones(1), np.ones(1)])
    optimizer.step([None, np.ones(1)])
    np.testing.assert_allclose([p[0], q[0]], [-0.5, -1.0])

    p = np.ones(2)
    optimizer = Adam(p, skip_nonfinite=True)
    optimizer.step(None)
    np.testing.assert_array_equal(p, 1)
    assert optimizer.step_count == 1 and optimizer.skipped == 0


@pytest.mark.once
def test_none_has_no_share_in_a_norm():
    g, h = np.array([3.0, 4.0]), np.array([12.0])
    assert fnn.ops.clip_grad_norm([None, g, None, h], 6.5) == 13.0
    np.testing.assert_allclose([*g, *h], [1.5, 2.0, 6.0])
    assert fnn.ops.clip_grad_norm([None, None], 1.0) == 0.0


@pytest.mark.once
def test_schedules_count_all_steps():
    p, q = np.zeros(1), np.zeros(1)
    optimizer = SGD([p, q], lr=[1.0, 10.0, 100.0])
    for g in ([np.ones(1), None], [None, np.ones(1)], [np.ones(1), np.ones(1)]):
        optimizer.step(g)
    np.testing.assert_allclose([p[0], q[0]], [-101, -110])


@pytest.mark.once
@pytest.mark.parametrize("value", [np.float64(0), 0.0, 1])
def test_numbers_cannot_be_updated_in_place(value):
    for params, path in (({"b": value}, r"params\['b'\]"), ([value], r"params\[0\]")):
        with pytest.raises(TypeError, match=rf"{path}: .*in place, np.array\(...\) of it can"):
            Adam(params)
    with pytest.raises(TypeError, match=r"params\['w'\]: expected a float32 .* array, got None"):
        Adam({"w": None})
