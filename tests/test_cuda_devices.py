"""Which GPU computes, and what is said where none does, by an emulator that has two."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import emulated
import pyfast_nn as fnn
from conftest import assert_close, assert_same_bits
from pyfast_nn import cli
from pyfast_nn.inspect.stages import stages
from test_cuda import WITHOUT

pytestmark = pytest.mark.once


def examples(rng, n=40):
    return rng.normal(size=(n, 6)), rng.integers(0, 3, n)


def layers():
    return [fnn.Dense(8), fnn.BatchNorm(), fnn.Tanh(), fnn.Dropout(0.2), fnn.Dense(3)]


def all_that_is_computed(model, X, y):
    """Yield results of each kind of call; of a fit, too."""
    v = np.ones(model.n_parameters, model.dtype)
    loss = {"loss": "cross_entropy"}
    yield model.forward(X)
    yield from model.loss_and_grad(X, y, **loss)
    outputs, pullback = model.vjp(X)
    yield from (outputs, *pullback(np.ones_like(outputs)), *model.jvp(X, v))
    yield model.hvp(X, y, v, **loss)
    operator = fnn.curvature.GaussNewton(model, X, y, **loss)
    yield operator @ v
    yield operator.quadratic_form(v[:, None])
    yield from model.activations(X).values()
    model.fit(X, y, epochs=2, batch_size=16, validation_split=0.2, **loss)
    model.fit(X, y, epochs=1, optimizer=fnn.optim.LAMB(), **loss)  # step by step
    yield from (model.parameters, model.state, model.predict_proba(X))
    yield model.evaluate(X, y)["loss"]


def test_of_several_gpus(emulator, rng):
    X, y = examples(rng)
    found = []
    for device, number in (("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)):
        model = fnn.Sequential(layers(), device=device, seed=3).build(6)
        others = emulator.emulate_launches(1 - number)
        steps = [emulator.emulate_launches(number)]
        found.append([])
        for each in all_that_is_computed(model, X, y):
            found[-1].append(each)
            steps.append(emulator.emulate_launches(number))
            assert emulator.emulate_entered() == 0
        assert emulator.emulate_launches(1 - number) == others and steps[-1] > steps[0]
        assert model.device == device
    for other in found[1:]:
        for one, another in zip(found[0], other, strict=True):
            assert_same_bits(np.asarray(one), np.asarray(another))


def test_a_model_moves_between_gpus(emulator, rng):
    X, y = examples(rng)
    stays, moves = (fnn.Sequential(layers(), device="cuda", seed=3) for _ in range(2))
    optimizers = fnn.optim.Adam(), fnn.optim.Adam()
    for device in ("cuda:1", "cuda:0", "cuda:1"):
        assert moves.to(device).device == device
        for model, optimizer in zip((stays, moves), optimizers, strict=True):
            model.fit(X, y, loss="cross_entropy", optimizer=optimizer, epochs=1)
        assert_same_bits(moves.parameters, stays.parameters)
    for again in (copy.deepcopy(moves), pickle.loads(pickle.dumps(moves)), moves[:]):
        assert again.device == "cuda:1" and "device='cuda:1'" in repr(again)
        launches = emulator.emulate_launches(0)
        assert_same_bits(again.forward(X), stays.forward(X)[:])
        assert emulator.emulate_launches(0) > launches  # of `stays`


def test_many_models_on_gpus(gpu, rng):
    """Threads have streams of their own, on whichever GPU."""
    X, y = examples(rng)
    devices = ["cuda", "cuda:1", "cpu", "cuda:1"]
    side_by_side, alone = (
        [fnn.Sequential(layers(), device=d, seed=i) for i, d in enumerate(devices)]
        for _ in range(2)
    )
    fnn.fit_many(side_by_side, X, y, loss="cross_entropy", epochs=2, verbose=0)
    for model, other in zip(alone, side_by_side, strict=True):
        model.fit(X, y, loss="cross_entropy", epochs=2, verbose=0)
        assert_same_bits(other.parameters, model.parameters)


def test_how_many_there_are(gpu):
    assert fnn.cuda.device_count() == 2
    assert fnn.cuda.get_device_name("cuda:1") == "emulator 1"
    model = fnn.Sequential(layers())
    for call in (
        lambda: fnn.Sequential(layers(), device="cuda:2"),
        lambda: model.to("cuda:2"),
        lambda: fnn.cuda.get_device_name("cuda:2"),
    ):
        with pytest.raises(
            ValueError, match="device: expected 'cuda:0' to 'cuda:1', as there are 2 GPUs, got 'c"
        ):
            call()
    assert model.device == "cpu"
    with pytest.raises(ValueError, match="device: expected a GPU, 'cuda' or 'cuda:1', got 'cpu'"):
        fnn.cuda.get_device_name("cpu")


def test_a_pickle_from_a_machine_with_more(gpu, rng):
    X, _ = examples(rng)
    model = fnn.Sequential(layers()).build(6)
    expected = model.forward(X)
    model._engine.device = "cuda:5"
    there = pickle.loads(pickle.dumps(model))
    with pytest.raises(RuntimeError, match=r"as there are 2 GPUs, got 'cuda:5'; model.to\('cpu'\)"):
        there.forward(X)
    assert_close(there.to("cuda:1").forward(X), expected, "float32", 50)


def test_training_there_by_the_command_line(emulator, tmp_path, capfd):
    launches = emulator.emulate_launches(1)
    arguments = ["--hidden", "4", "--epochs", "1", "--out", str(tmp_path / "model")]
    assert cli.main(["train", "--device", "cuda:1", *arguments]) == 0
    assert emulator.emulate_launches(1) > launches
    for device, message in (("cuda:2", "as there are 2 GPUs"), ("gpu", "expected 'cpu', 'cuda'")):
        with pytest.raises(SystemExit):
            cli.main(["train", "--device", device, *arguments])
        assert f"pyfast-nn: error: --device: {message}"[:25] in (error := capfd.readouterr().err)
        assert message in error


# ------------------------------------------------------------------- machines without a GPU


ASK = """
print(fnn.cuda.is_available(), fnn.cuda.device_count())
for call in (fnn.cuda.get_device_name, lambda: fnn.Sequential([fnn.Dense(2)], device="cuda")):
    try:
        print(call())
    except RuntimeError as error:
        print(error)
"""
NEEDS = "device: expected a GPU and its driver, of CUDA 13.0 or later, got"
OLD = "'CUDA driver version is insufficient for CUDA runtime version'"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"EMULATE_GPUS": "0"},
            f"{NEEDS} 'no CUDA-capable device is detected'; the driver is that of CUDA 13.0",
        ),
        ({"EMULATE_DRIVER": "0"}, f"{NEEDS} {OLD}; there is no driver"),
        ({"EMULATE_DRIVER": "12040"}, f"{NEEDS} {OLD}; the driver is that of CUDA 12.4"),
    ],
)
def test_no_gpu_or_no_driver_for_it(library, environment, said):
    said += "; device='cpu' needs neither\n"
    assert emulated.run_elsewhere(ASK, library, **environment) == "False 0\n" + 2 * said


@pytest.mark.parametrize(
    ("capability", "has"), [("70", False), ("75", True), ("89", True), ("103", True), ("100", True)]
)
def test_gpus_that_the_build_has_code_for(library, capability, has):
    found = emulated.run_elsewhere(ASK, library, EMULATE_CAPABILITY=capability)
    if has:
        assert found.startswith("True 2\nemulator\n")
        return
    said = (
        "device: expected a GPU that this build has code for, got emulator of compute capability "
        "7.0; PYFAST_NN_CUDA=1 pip install . builds for all from 7.5 on\n"
    )
    assert found == "False 2\n" + 2 * said


def test_one_gpu(library):
    code = """
print(fnn.cuda.device_count())
try:
    fnn.Sequential([fnn.Dense(2)], device="cuda:1")
except ValueError as error:
    print(error)
"""
    said = "device: expected 'cuda:0', as there is one GPU, got 'cuda:1'\n"
    assert emulated.run_elsewhere(code, library, EMULATE_GPUS="1") == "1\n" + said


def test_counting_in_a_build_without(without):
    assert fnn.cuda.device_count() == 0
    with pytest.raises(RuntimeError, match=WITHOUT):
        fnn.cuda.get_device_name("cuda:1")


def test_calls_that_find_no_memory(library):
    """Nothing has changed after them, and smaller ones go on."""
    code = """
import numpy as np
X, y = fnn.datasets.load_digits()
large = fnn.Sequential([fnn.Dense(500), fnn.BatchNorm(), fnn.Dense(10)], device="cuda").build(64)
before = [large.parameters.copy(), large.state.copy()]
v, loss = np.ones(large.n_parameters, "float32"), {"loss": "cross_entropy"}
optimizer = fnn.optim.Adam()
for call in (
    lambda: large.forward(X),
    lambda: large.loss_and_grad(X, y, **loss),
    lambda: large.vjp(X)[1](np.ones((len(X), 10), "float32")),
    lambda: large.hvp(X, y, v, **loss),
    lambda: large.calibrate(X),
    lambda: large.fit(X, y, epochs=1, optimizer=optimizer, **loss),
    lambda: large.fit(X, y, epochs=1, optimizer="lamb", **loss),
):
    try:
        call()
        print("there was some")
    except MemoryError as error:
        same = [(a == b).all() for a, b in zip(before, [large.parameters, large.state])]
        print("device: expected memory" in str(error), *same, large.epochs_trained)
print(optimizer.step_count, large.to("cpu").fit(X, y, optimizer=optimizer, epochs=1, **loss).epochs)
"""
    expected = "True True True 0\n" * 7 + "0 1\n"
    assert emulated.run_elsewhere(code, library, EMULATE_BYTES="100000") == expected


# ------------------------------------------------------------------- estimators of scikit-learn


def estimators(**options):
    """Return each that has a network, small."""
    sklearn = pytest.importorskip("sklearn")
    assert sklearn
    from pyfast_nn.sklearn import MLPClassifier, MLPRegressor, NeuralClassifier, NeuralRegressor

    small = {"random_state": 0, "batch_size": 20, **options}
    stack = [fnn.Dense(8), fnn.ReLU()]
    return [
        NeuralClassifier(stack, epochs=2, **small),
        NeuralRegressor(stack, epochs=2, **small),
        MLPClassifier(hidden_layer_sizes=(8,), max_iter=2, tol=0, **small),
        MLPRegressor(hidden_layer_sizes=(8,), max_iter=2, tol=0, **small),
    ]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("number", range(4))
def test_estimators(emulator, rng, number, tmp_path):
    from sklearn.base import clone

    from pyfast_nn.sklearn import load

    X, y = examples(rng, 60)
    cpu, there = estimators()[number], estimators(device="cuda:1")[number]
    launches = emulator.emulate_launches(1)
    cpu.fit(X, y), there.fit(X, y)
    assert there.model_.device == "cuda:1" and emulator.emulate_launches(1) > launches
    assert_close(there.model_.parameters, cpu.model_.parameters, "float64", 2000)
    assert_close(there.predict(X), cpu.predict(X), "float64", 2000)
    # What it is asked for is a parameter like others.
    assert there.get_params()["device"] == "cuda:1" and clone(there).device == "cuda:1"
    assert pickle.loads(pickle.dumps(there)).model_.device == "cuda:1"
    there.save(tmp_path / "file")
    again = load(tmp_path / "file")
    assert again.device == "cuda:1" and again.model_.device == "cpu"
    assert_close(again.predict(X), there.predict(X), "float64", 2000)
    # Fits that go on do so where the parameter says by then.
    for estimator in (cpu, there.set_params(device="cpu"), again):
        estimator.partial_fit(X, y)
    assert there.model_.device == "cpu" and again.model_.device == "cuda:1"
    assert_close(there.model_.parameters, cpu.model_.parameters, "float64", 2000)
    with pytest.raises(ValueError, match="device: expected 'cpu', 'cuda' or one of several"):
        there.set_params(device="gpu").fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_by_lbfgs(emulator, rng):
    pytest.importorskip("sklearn")
    from pyfast_nn.sklearn import MLPClassifier

    X, y = examples(rng, 60)
    options = {"solver": "lbfgs", "max_iter": 5, "random_state": 0}
    for dtype in ("float32", "float64"):
        cpu, there = (MLPClassifier((8,), device=device, **options) for device in ("cpu", "cuda:1"))
        launches = emulator.emulate_launches(1)
        cpu.fit(X.astype(dtype), y), there.fit(X.astype(dtype), y)
        assert emulator.emulate_launches(1) > launches
        assert_close(there.model_.parameters, cpu.model_.parameters, dtype, 5000)


def test_layers_one_by_one(gpu, rng):
    """What looks into a network computes where it does."""
    X, _ = examples(rng)
    model = fnn.Sequential(layers(), device="cuda:1").build(6)
    out = X
    for _, stage in stages(model):
        assert stage.device == "cuda:1"
        out = stage.forward(out)
    assert_close(out, model.forward(X), "float32", 50)
