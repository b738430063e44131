"""The public names, their signatures, and how light the import is."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

import pyfast_nn as fnn


def test_public_names():
    for name in fnn.__all__:
        assert hasattr(fnn, name)
    assert fnn.__version__ == fnn.build_config()["version"]
    assert fnn.build_config()["isa"] in fnn.build_config()["available_isas"]
    assert issubclass(fnn.ModelFileError, ValueError)


@pytest.mark.parametrize(
    "module",
    [
        fnn,
        *(fnn.curvature, fnn.datasets, fnn.initializers, fnn.inspect, fnn.losses, fnn.metrics),
        *(fnn.online, fnn.ops, fnn.optim, fnn.schedules, fnn.tabular),
    ],
    ids=lambda module: module.__name__,
)
def test_dir_shows_public_names_only(module):
    lazy = (
        ["metric_learning", "sklearn"] if module is fnn else []
    )  # which `import *` is not to import
    assert dir(module) == sorted([*module.__all__, *lazy])
    assert not [name for name in dir(module) if name.startswith("_") and name != "__version__"]
    assert fnn.models.Sequential is fnn.Sequential  # what is not shown is there


def test_everything_public_is_documented():
    for owner in (fnn.Sequential, fnn.Dense, fnn.datasets, fnn.optim, fnn.optim.Adam, fnn):
        for name, value in vars(owner).items():
            if not name.startswith("_") and (callable(value) or isinstance(value, property)):
                assert inspect.getdoc(value), f"{owner}.{name}"


def test_signatures():
    fit = inspect.signature(fnn.Sequential.fit).parameters
    assert list(fit)[:3] == ["self", "X", "y"]
    assert {name: p.default for name, p in fit.items() if p.kind is p.KEYWORD_ONLY} == {
        "loss": None,
        "optimizer": None,
        "epochs": None,
        "batch_size": None,
        "gradient_accumulation_steps": 1,
        "mixup": 0.0,
        "gradient": "backward",
        "shuffle": True,
        "groups": None,
        "per_class": None,
        "validation_split": None,
        "validation_data": None,
        "sample_weight": None,
        "class_weight": None,
        "metrics": (),
        "train_metrics": False,
        "patience": None,
        "min_delta": 0.0,
        "monitor": "val_loss",
        "callbacks": (),
        "resume": None,
        "verbose": "auto",
    }
    for name in set(fnn.optim.__all__) - {"Optimizer", "as_scipy"}:
        parameters = inspect.signature(getattr(fnn.optim, name)).parameters
        assert next(iter(parameters)) == "params" and parameters["params"].default is None
        kinds = {p.kind for name, p in parameters.items() if name != "params"}
        assert kinds == {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
    for name in ("forward", "loss_and_grad", "vjp", "jvp", "hvp"):
        assert (
            inspect.signature(getattr(fnn.Sequential, name)).parameters["training"].default is False
        )


def test_import_is_light():
    heavy = "scipy rich safetensors argparse json gzip zipfile dataclasses matplotlib sklearn torch"
    code = f"""
import sys, numpy
before = set(sys.modules)
import pyfast_nn
added = {{name.partition(".")[0] for name in set(sys.modules) - before}}
assert not added & set({heavy.split()!r}), added
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_threads(n, restore_threads):
    fnn.set_num_threads(n)
    assert fnn.get_num_threads() == n


@pytest.mark.parametrize(
    ("n", "error"),
    [(0, ValueError), (-1, ValueError), (1025, ValueError), (1.5, TypeError), (True, TypeError)],
)
def test_impossible_threads(n, error):
    before = fnn.get_num_threads()
    with pytest.raises(error, match="n: expected an integer"):
        fnn.set_num_threads(n)
    assert fnn.get_num_threads() == before


def test_stub_names_everything_in_the_core():
    import ast
    from pathlib import Path

    stub = Path(fnn.__file__).with_name("_core.pyi").read_text()
    names = {n.name for n in ast.parse(stub).body if isinstance(n, (ast.ClassDef, ast.FunctionDef))}
    assert names == {name for name in vars(fnn._core) if not name.startswith("__")}


class TestOptimizers:
    def test_repr_shows_all(self):
        assert repr(fnn.optim.SGD()) == (
            "SGD(lr=0.001, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False)"
        )
        adam = "lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay="
        rest = ", amsgrad=False, eps_mode='torch')"
        assert repr(fnn.optim.Adam()) == f"Adam({adam}0.0{rest}"
        assert repr(fnn.optim.AdamW()) == f"AdamW({adam}0.01{rest}"

    def test_readable_and_writable(self):
        opt = fnn.optim.Adam(lr=1)
        assert opt.lr == 1.0 and opt.step_count == 0 and opt.state == []
        opt.lr = 0.5
        assert opt.lr == 0.5
        with pytest.raises(ValueError, match=r"lr: expected .* >= 0, got -1"):
            opt.lr = -1
        assert opt.lr == 0.5

    @pytest.mark.parametrize(
        ("name", "arguments", "error", "match"),
        [
            ("SGD", {"lr": -0.1}, ValueError, "lr"),
            ("SGD", {"lr": float("nan")}, ValueError, "lr"),
            ("SGD", {"lr": "fast"}, TypeError, "lr"),
            ("SGD", {"lr": True}, TypeError, "lr"),
            ("SGD", {"lr": 10**400}, ValueError, "lr"),
            ("SGD", {"lr": [0.1, -0.1]}, ValueError, "lr.* -0.1 at step 1"),
            ("SGD", {"lr": [[0.1]]}, TypeError, "lr"),
            ("SGD", {"lr": np.array([1j])}, TypeError, "lr"),
            ("SGD", {"momentum": -1}, ValueError, "momentum"),
            ("SGD", {"momentum": None}, TypeError, "momentum"),
            ("SGD", {"nesterov": 1, "momentum": 0.9}, TypeError, "nesterov"),
            ("SGD", {"nesterov": True}, ValueError, "nesterov"),
            ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, ValueError, "nesterov"),
            ("SGD", {"weight_decay": -1}, ValueError, "weight_decay"),
            ("Adam", {"betas": 0.9}, TypeError, "betas"),
            ("Adam", {"betas": (0.9, 1)}, ValueError, r"betas\[1\]"),
            ("Adam", {"betas": (-0.1, 0.9)}, ValueError, r"betas\[0\]"),
            ("Adam", {"eps": -1e-8}, ValueError, "eps"),
            ("Adam", {"amsgrad": 1}, TypeError, "amsgrad"),
            ("Adam", {"eps_mode": "jax"}, ValueError, "eps_mode: expected one of torch, keras"),
            ("AdamW", {"weight_decay": float("inf")}, ValueError, "weight_decay"),
            ("Adam", {"momentum": 0.9}, TypeError, "momentum"),
        ],
    )
    def test_impossible(self, name, arguments, error, match):
        with pytest.raises(error, match=match):
            getattr(fnn.optim, name)(**arguments)


class TestLayers:
    @pytest.mark.parametrize(
        "layer",
        [
            fnn.Dense(3),
            fnn.Dense(np.int16(3), init="he_uniform"),
            fnn.Dense(3, init=0.5, bias_init="small_normal"),
            fnn.Dense(3, bias_init="one_more_input"),
            fnn.Softmax(),
            fnn.ReLU(),
            fnn.Tanh(),
            fnn.Sigmoid(),
            fnn.Rescale(),
            fnn.Rescale(0.5, offset=np.float32(-1)),
            fnn.Standardize(),
        ],
    )
    def test_repr_and_config_round_trip(self, layer):
        from pyfast_nn import branches

        assert eval(repr(layer), vars(fnn)) == layer
        (again,) = branches.from_config(branches.to_config([layer]))
        assert again == layer and hash(again) == hash(layer)
        assert layer != fnn.Dense(4)

    def test_immutable(self):
        with pytest.raises(AttributeError):
            fnn.Dense(3).units = 4

    @pytest.mark.parametrize(
        ("arguments", "keywords", "error", "match"),
        [
            ((0,), {}, ValueError, "units: expected an integer from 1"),
            ((-3,), {}, ValueError, "units"),
            ((2.5,), {}, TypeError, "units"),
            (("3",), {}, TypeError, "units"),
            ((True,), {}, TypeError, "units"),
            ((10**30,), {}, ValueError, "units"),
            ((3,), {"init": "he"}, ValueError, "init: expected one of he_normal"),
            ((3,), {"init": float("inf")}, ValueError, "init"),
            ((3,), {"init": [1]}, TypeError, "init"),
            ((3,), {"bias_init": None}, TypeError, "bias_init"),
            ((3,), {"bias_init": True}, TypeError, "bias_init"),
        ],
    )
    def test_impossible(self, arguments, keywords, error, match):
        with pytest.raises(error, match=match):
            fnn.Dense(*arguments, **keywords)


class TestSequential:
    @pytest.mark.parametrize(
        ("arguments", "error", "match"),
        [
            ({"layers": []}, ValueError, "at least one layer"),
            ({"layers": fnn.Dense(2)}, TypeError, "layers: expected a list"),
            ({"layers": [fnn.Dense(2), fnn.ReLU]}, TypeError, r"layers\[1\].*parentheses"),
            ({"layers": [fnn.Dense(2), "relu"]}, TypeError, r"layers\[1\]"),
            ({"layers": [fnn.Dense(2)], "dtype": "float16"}, ValueError, "dtype"),
            ({"layers": [fnn.Dense(2)], "dtype": "floaty"}, ValueError, "dtype"),
            ({"layers": [fnn.Dense(2)], "dtype": None}, ValueError, "dtype"),
            ({"layers": [fnn.Dense(2)], "seed": -1}, ValueError, "seed"),
            ({"layers": [fnn.Dense(2)], "seed": 2**64}, ValueError, "seed"),
            ({"layers": [fnn.Dense(2)], "seed": "0"}, TypeError, "seed"),
        ],
    )
    def test_impossible(self, arguments, error, match):
        with pytest.raises(error, match=match):
            fnn.Sequential(**arguments)

    def test_repr_round_trips(self):
        layers = [fnn.Dense(3, init="zeros"), fnn.Tanh(), fnn.Dense(1)]
        model = fnn.Sequential(layers, dtype=np.float64, seed=5)
        again = eval(repr(model), vars(fnn))
        assert again.layers == model.layers and repr(again) == repr(model)
        assert again.dtype == np.float64 and again.seed == 5

    def test_summary(self):
        model = fnn.Sequential([fnn.Dense(3), fnn.ReLU(), fnn.Dense(2)])
        assert "not built" in model.summary() and "(n, ?)" not in model.summary().splitlines()[1]
        text = model.build(4).summary()
        assert "23 parameters, 4 inputs, float32" in text and "(n, 3)" in text
