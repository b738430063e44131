"""Networks on a GPU: what is said where there is none, and what is computed by an emulator."""

from __future__ import annotations

import copy
import ctypes
import functools
import gc
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import emulated
import pyfast_nn as fnn
from conftest import assert_close, assert_same_bits
from pyfast_nn import _core, cli

pytestmark = pytest.mark.once

WITHOUT = "device: expected 'cpu', got 'cuda', for which this build has no code; .*PYFAST_NN_CUDA=1"


def layers():
    return [fnn.Dense(8), fnn.ReLU(), fnn.Dense(3)]


def test_a_build_without(without):
    assert not fnn.cuda.is_available()
    assert fnn.build_config()["cuda"] is False
    model = fnn.Sequential(layers()).build(4)
    for call in (
        fnn.cuda.get_device_name,
        lambda: fnn.Sequential(layers(), device="cuda"),
        lambda: model.to("cuda"),
    ):
        with pytest.raises(RuntimeError, match=WITHOUT):
            call()
    assert model.device == "cpu"


def test_a_pickle_from_another_machine(without, rng):
    """It is there, computes nothing, and moves to the processor."""
    X = rng.normal(size=(5, 4))
    model = fnn.Sequential(layers()).build(4)
    expected = model.forward(X)
    model._engine.device = "cuda"
    there = pickle.loads(pickle.dumps(model))
    assert there.built and there.device == "cuda" and "cuda" in repr(there)
    assert_same_bits(there.parameters, model.parameters)
    v = model.parameters
    for call in (
        lambda: there.forward(X),
        lambda: there.fit(X, [0, 1, 2, 0, 1], loss="cross_entropy"),
        lambda: there.hvp(X, [0, 1, 2, 0, 1], v, loss="cross_entropy"),
        lambda: there.vjp(X),
        lambda: fnn.curvature.Hessian(there, X, [0, 1, 2, 0, 1], loss="cross_entropy"),
        lambda: copy.deepcopy(there).activations(X),
    ):
        with pytest.raises(RuntimeError, match=WITHOUT + r".*; model.to\(.cpu.\)"):
            call()
    assert_same_bits(there.to("cpu").forward(X), expected)


@pytest.mark.parametrize(
    ("device", "error"),
    [("gpu", ValueError), ("cuda:", ValueError), ("cuda:01", ValueError), (0, TypeError)],
)
def test_names_of_devices(device, error):
    for call in (
        lambda: fnn.Sequential(layers(), device=device),
        lambda: fnn.Sequential(layers()).to(device),
    ):
        with pytest.raises(error, match="device: expected 'cpu', 'cuda' or one of"):
            call()
    with pytest.raises(ValueError, match="device: expected 'cpu', or one that is open, got 'gpu'"):
        _core.Network("float32", 2, [{"kind": "relu"}], True, "gpu")


def test_the_processor():
    model = fnn.Sequential(layers()).build(4)
    assert model.device == "cpu" and model.to("cpu") is model
    assert "device" not in repr(model)


def test_files_that_are_no_library_of_a_device(tmp_path):
    nothing = tmp_path / "nothing.so"
    nothing.write_bytes(b"nothing")
    for path, why in ((nothing, "nothing.so"), (_core.__file__, "it is no library of a device")):
        with pytest.raises(RuntimeError, match=rf"device: expected a library .*{why}"):
            _core.open_device(str(path))


def test_nothing_is_opened_at_import():
    code = "import pyfast_nn; from pyfast_nn import _core; print(_core.is_open_device('cuda'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_command_line(without, capfd):
    with pytest.raises(SystemExit):
        cli.main(["train", "--device", "cuda", "--epochs", "1"])
    assert capfd.readouterr().err.startswith("pyfast-nn: error: --device: expected 'cpu', got")


# ----------------------------------------------------------------------- by an emulator of CUDA


def examples(rng, n=50):
    return rng.normal(size=(n, 6)), rng.integers(0, 3, n)


def on_both(layers, **options):
    """The same model on the processor and on the GPU."""
    make = functools.partial(fnn.Sequential, seed=3, **options)
    return make(copy.deepcopy(layers)).build(6), make(copy.deepcopy(layers), device="cuda").build(6)


def assert_alike(compute, models, inner=300):
    """What is computed of the two is the same but for rounding."""
    for expected, actual in zip(*map(compute, models), strict=True):
        assert_close(actual, expected, models[0].dtype, inner)


# What stands between a dense layer of 8 units and one of 3, which puts out.
BETWEEN = {
    **{
        layer.__name__: [layer()]
        for layer in (
            *(fnn.Identity, fnn.ReLU, fnn.LeakyReLU, fnn.ELU, fnn.Softplus, fnn.GELU, fnn.SiLU),
            *(fnn.Tanh, fnn.Hardtanh, fnn.Sigmoid, fnn.Softmax, fnn.Step, fnn.Sign),
            *(fnn.PReLU, fnn.Scale, fnn.LayerNorm, fnn.RMSNorm, fnn.BatchNorm),
        )
    },
    "GELU, tanh": [fnn.GELU(approximate="tanh")],
    "Dropout": [fnn.Dropout(0.3)],
    "GaussianNoise": [fnn.GaussianNoise(0.2)],
    "GroupNorm": [fnn.GroupNorm(2)],
    "BatchNorm, plain": [fnn.BatchNorm(affine=False)],
    "Residual": [fnn.Residual([fnn.LayerNorm(), fnn.Dense(8), fnn.GELU()])],
    "Concatenate": [fnn.Concatenate([fnn.Dense(4), fnn.Tanh()], [fnn.Dropout(0.5)])],
    "Multiply": [fnn.Multiply([fnn.Dense(4), fnn.Sigmoid()], [fnn.Dense(4)])],
    "Add": [fnn.Add([fnn.Dense(4)], [fnn.Dense(4), fnn.BatchNorm(), fnn.ReLU()])],
    "MaxNorm": [fnn.Dense(8, constraint=fnn.MaxNorm(0.5)), fnn.ReLU()],
}


@pytest.mark.parametrize("between", ["Tanh", "ReLU", "LayerNorm", "Residual", "BatchNorm"])
def test_curvature(gpu, rng, dtype, between):
    X, y = examples(rng)
    models = on_both([fnn.Dense(8), *BETWEEN[between], fnn.Dense(3)], dtype=dtype)
    V = rng.normal(size=(models[0].n_parameters, 3)).astype(dtype)
    U = rng.normal(size=(3 * len(X), 2)).astype(dtype)
    weights = rng.uniform(size=len(X))
    kinds = [fnn.curvature.Hessian, fnn.curvature.GaussNewton, fnn.curvature.EmpiricalFisher]

    def products(model):
        yield model.hvp(X, y, V[:, 0], loss="cross_entropy", training=True, seed=1)
        for kind in kinds[: 2 if between == "BatchNorm" else 3]:
            A = kind(model, X, y, loss="cross_entropy", sample_weight=weights)
            yield from (A @ V, A.quadratic_form(V))
        J = fnn.curvature.Jacobian(model, X)
        yield from (J @ V, J.T @ U)

    def exact(model):
        A = fnn.curvature.GaussNewton(model, X, y, loss="cross_entropy")
        yield fnn.curvature.exact_trace(A)
        yield fnn.curvature.exact_diagonal(A)

    assert_alike(products, models)
    if between in ("Tanh", "ReLU"):
        assert_alike(exact, models)


@pytest.mark.filterwarnings("ignore:the deriv")  # of Step and Sign is 0
@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_layers(gpu, rng, dtype, between):
    X, y = examples(rng)
    models = on_both([fnn.Dense(8), *between, fnn.Dense(3)], dtype=dtype)
    v = rng.normal(size=models[0].n_parameters).astype(dtype)
    d = rng.normal(size=(len(X), 3)).astype(dtype)

    def derivatives(model):
        for how in ({}, {"training": True, "seed": 5}):
            yield from model.loss_and_grad(X, y, loss="cross_entropy", **how)
            outputs, pullback = model.vjp(X, **how)
            yield from (outputs, *pullback(d), *pullback(2 * d), *model.jvp(X, v, **how))

    def fit(model):
        optimizer = fnn.optim.SGD(lr=0.05, momentum=0.9)
        model.fit(X, y, loss="cross_entropy", optimizer=optimizer, epochs=2, batch_size=16)
        yield from (model.parameters, model.state, model.history["loss"], *optimizer.state)
        yield from (model.forward(X), model.predict_proba(X))
        yield from model.evaluate(X, y, metrics=["accuracy"]).values()

    assert_alike(derivatives, models)
    assert_alike(fit, models)


LOSSES = {
    "cross_entropy": (fnn.losses.CrossEntropy(label_smoothing=0.1), "labels"),
    "confident": (fnn.losses.CrossEntropy(confidence_penalty=0.1), "labels"),
    "probabilities": (fnn.losses.CrossEntropy(), "probabilities"),
    "multi_margin": (fnn.losses.MultiMargin(), "labels"),
    "binary_cross_entropy": (fnn.losses.BinaryCrossEntropy(), "flags"),
    "hinge": (fnn.losses.Hinge(), "signs"),
    "poisson": (fnn.losses.Poisson(), "probabilities"),
    **{
        type(loss).__name__: (loss, "values")
        for loss in (
            *(fnn.losses.MSE(), fnn.losses.MAE(), fnn.losses.Huber(delta=0.5)),
            *(fnn.losses.LogCosh(), fnn.losses.Quantile(q=0.3)),
        )
    },
}


@pytest.mark.parametrize(("loss", "targets"), LOSSES.values(), ids=LOSSES)
def test_losses(gpu, rng, dtype, loss, targets):
    X, labels = examples(rng)
    one = targets == "signs"
    values = rng.normal(size=(len(X), 1 if one else 3))
    y = {
        "labels": labels,
        "probabilities": np.abs(values) / np.abs(values).sum(axis=1, keepdims=True),
        "flags": (values > 0).astype(int),
        "signs": np.where(values[:, 0] > 0, 1, -1),
        "values": values,
    }[targets]
    weights = rng.uniform(size=len(X))
    models = on_both([fnn.Dense(8), fnn.Tanh(), fnn.Dense(1 if one else 3)], dtype=dtype)

    def computed(model):
        for weight in (None, weights):
            yield from model.loss_and_grad(X, y, loss=loss, sample_weight=weight)
            optimizer = fnn.optim.SGD(lr=0.01)
            model.fit(X, y, loss=loss, optimizer=optimizer, epochs=2, sample_weight=weight)
            yield from (model.parameters, model.history["loss"])
            yield from model.evaluate(X, y, sample_weight=weight).values()

    assert_alike(computed, models)


OPTIMIZERS = {
    **{name: getattr(fnn.optim, name) for name in fnn.optim.__all__ if name[0].isupper()},
    "Nesterov": functools.partial(fnn.optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "AMSGrad": functools.partial(fnn.optim.Adam, amsgrad=True),
    "clipped": functools.partial(fnn.optim.Adam, clip_norm=0.1, ema=0.9, skip_nonfinite=True),
    "scheduled": functools.partial(fnn.optim.AdamW, lr=fnn.schedules.Cosine(0.01, 20)),
}
OPTIMIZERS["Muon"] = functools.partial(fnn.optim.Muon, fallback=fnn.optim.Adam())
del OPTIMIZERS["Optimizer"]


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizers(gpu, rng, make):
    X, y = examples(rng)

    def fit(model):
        optimizer = make()
        for _ in range(2):
            model.fit(X, y, loss="cross_entropy", optimizer=optimizer, epochs=2, batch_size=16)
            yield from (model.parameters, model.history["loss"])

    assert_alike(fit, on_both([fnn.Dense(8), fnn.Tanh(), fnn.Dense(3)], dtype="float64"))


def test_options_of_fits(gpu, rng):
    X, y = examples(rng)
    layers = [fnn.Dense(8), fnn.BatchNorm(), fnn.Dropout(0.2), fnn.ReLU(), fnn.Dense(3)]
    layers[0].trainable = False

    def fit(model):
        model.fit(
            X, y, loss="cross_entropy", optimizer=fnn.optim.SGD(lr=0.1), epochs=4, batch_size=7,
            gradient_accumulation_steps=3, validation_split=0.2, metrics=["accuracy"], patience=2,
            class_weight="balanced",
        )  # fmt: skip
        yield from (model.parameters, model.state, model.history["loss"])
        yield from (model.history["val_loss"], model.history["val_accuracy"])

    assert_alike(fit, on_both(layers, dtype="float64"))


def test_inputs_that_are_prepared(gpu, rng):
    X, y = examples(rng)
    layers = [fnn.Standardize(), fnn.Rescale(2.0), fnn.Dense(8), fnn.ReLU(), fnn.Dense(3)]

    def fit(model):
        model.fit(3 * X + 1, y, loss="cross_entropy", optimizer=fnn.optim.SGD(lr=0.1), epochs=2)
        yield from (model.parameters, model.state, model.forward(X), model.vjp(X)[1](d)[1])

    d = np.ones((len(X), 3))
    assert_alike(fit, on_both(layers, dtype="float64"))


def test_inputs_of_any_kind(gpu, rng):
    X = rng.integers(0, 200, (40, 12))
    cpu, there = on_both([fnn.Dense(8), fnn.ReLU(), fnn.Dense(3)], dtype="float64")
    arrays = [X[:, ::2].astype(kind) for kind in "efdbhilBHIL"]
    arrays += [X[::-1, 5::-1], np.asfortranarray(X[:, :6]), X[:, :6].astype(">f4").tolist()]
    for array in arrays:
        assert_close(there.forward(array), cpu.forward(array), "float64", 50)
    sparse = pytest.importorskip("scipy.sparse").csr_array(X[:, :6] * (X[:, :6] > 100))
    assert_close(there.forward(sparse), cpu.forward(sparse), "float64", 50)


def test_the_same_bits_run_after_run(gpu, rng):
    X, y = examples(rng, 333)
    found = []
    for threads in (1, 3, 3):
        _core.set_num_threads(threads)
        layers = [fnn.Dense(40), fnn.BatchNorm(), fnn.ReLU(), fnn.Dropout(0.1), fnn.Dense(3)]
        model = fnn.Sequential(layers, device="cuda", seed=1)
        model.fit(X, y, loss="cross_entropy", epochs=2)
        found.append([model.parameters, model.state, np.array(model.history["loss"])])
    for other in found[1:]:
        for actual, expected in zip(other, found[0], strict=True):
            assert_same_bits(actual, expected)


def test_the_same_bits_in_any_order_of_threads(library):
    """Of those of a block; what they do side by side would come out differently."""
    code = """
X, y = fnn.datasets.load_digits()
layers = [fnn.Dense(40), fnn.BatchNorm(), fnn.ReLU(), fnn.LayerNorm(), fnn.Dropout(0.1)]
model = fnn.Sequential([*layers, fnn.Dense(10), fnn.PReLU()], device="cuda", seed=1)
model.fit(X[:300] / 16, y[:300], loss="cross_entropy", epochs=1)
v = model.parameters.copy()
print(v.tobytes().hex(), model.hvp(X[:50] / 16, y[:50], v, training=True, seed=1).tobytes().hex())
"""
    first, *others = (emulated.run_elsewhere(code, library, EMULATE_ORDER=order) for order in "017")
    assert others == [first, first]


def test_memory_that_is_not_there(library):
    code = """
X, y = fnn.datasets.load_digits()
large = fnn.Sequential([fnn.Dense(500), fnn.ReLU(), fnn.Dense(10)], device="cuda").build(64)
before = large.parameters.copy()
try:
    large.fit(X, y, loss="cross_entropy", epochs=1)
except MemoryError as error:
    print("device: expected memory" in str(error), (large.parameters == before).all())
small = fnn.Sequential([fnn.Dense(10)], device="cuda")
print(small.fit(X[:100], y[:100], loss="cross_entropy", epochs=1).epochs)
"""
    assert emulated.run_elsewhere(code, library, EMULATE_BYTES="400000") == "True True\n1\n"


def test_a_model_moves(gpu, rng, tmp_path):
    X, y = examples(rng)
    layers = [fnn.Dense(8), fnn.ReLU(), fnn.Dense(3)]
    fit = {"loss": "cross_entropy", "epochs": 2}
    stays, moves = (fnn.Sequential(copy.deepcopy(layers), dtype="float64") for _ in range(2))
    optimizers = fnn.optim.Adam(), fnn.optim.Adam()
    for device in ("cpu", "cuda", "cpu"):
        moves.to(device)
        for model, optimizer in zip((stays, moves), optimizers, strict=True):
            model.fit(X, y, optimizer=optimizer, **fit)
        assert_close(moves.parameters, stays.parameters, "float64", 2000)
    there = moves.to("cuda")
    assert there is moves and there.device == "cuda" and "device='cuda'" in repr(there)
    part, copied = there[1:], copy.deepcopy(there)
    assert (part.device, copied.device) == ("cuda", "cuda")
    assert pickle.loads(pickle.dumps(there)).device == "cuda"
    assert_same_bits(copied.forward(X), there.forward(X))
    assert_close(part.forward(there[:1].forward(X)), there.forward(X), "float64", 50)
    there.save(tmp_path / "model")
    assert fnn.load(tmp_path / "model").device == "cpu"


def test_training_by_the_command_line(gpu, tmp_path, capfd):
    out = ["--hidden", "16", "--epochs", "2", "--out"]
    for device in ("cpu", "cuda"):
        assert cli.main(["train", "--device", device, *out, str(tmp_path / device)]) == 0
    cpu, there = (fnn.load(tmp_path / device) for device in ("cpu", "cuda"))
    assert_close(there.parameters, cpu.parameters, "float32", 1000)


def test_layers_that_a_gpu_lacks(gpu, rng):
    _, y = examples(rng)
    images = fnn.Sequential([fnn.Conv2d(4, 3), fnn.Flatten(), fnn.Dense(3)], device="cuda")
    before = images.build((5, 5, 1)).parameters.copy()
    with pytest.raises(ValueError, match=r"device: expected layers that CUDA has .*layers\[0\]"):
        images.fit(rng.normal(size=(20, 5, 5, 1)), y[:20], loss="cross_entropy")
    assert_same_bits(images.parameters, before)


def test_what_is_not_finite(gpu, rng):
    X, y = examples(rng)
    cpu, there = on_both([fnn.Dense(8), fnn.ReLU(), fnn.Dense(1)], dtype="float64")
    messages = []
    for model in (cpu, there):
        with pytest.raises(FloatingPointError) as error:
            model.fit(X, 1e160 * y, loss="mse", optimizer=fnn.optim.SGD(lr=1.0), epochs=2)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert_close(there.parameters, cpu.parameters, "float64", 200)
    X[3, 2] = np.nan
    assert np.isnan(there.forward(X)[3]).all() and np.isfinite(np.delete(there.forward(X), 3)).all()


# ------------------------------------------------------------------ what stays there during a fit


@pytest.fixture
def counts(library, gpu):
    """Return what the emulator has counted since it was asked before."""
    names = ["uploaded", "downloaded", "taken", "captured", "in_use"]
    all_counts = (ctypes.c_uint64 * len(names)).in_dll(ctypes.CDLL(str(library)), "emulate_counts")
    before = dict.fromkeys(names, 0)

    def counted():
        now = dict(zip(names, all_counts, strict=True))
        since = {name: now[name] - before[name] for name in names[:-1]}
        before.update(now)
        return since | {"in_use": now["in_use"]}

    counted()
    return counted


def left(model, counts):
    """Return the bytes of the device that are in use behind a call on one row."""
    model.forward(np.zeros((1, 6)))
    return counts()["in_use"]


class AfterEpochs:
    """Calls a function after each epoch of a fit."""

    def __init__(self, function):
        self.function = function

    def on_epoch_end(self, model, epoch, record):
        self.function(epoch)


class AfterSteps:
    def on_step_end(self, model, step, record):
        pass


ADAM = functools.partial(fnn.optim.Adam, lr=0.01)
DEEP = [fnn.Dense(8), fnn.BatchNorm(), fnn.ReLU(), fnn.Dropout(0.3), fnn.Dense(3)]
WIDE = [fnn.Dense(140), fnn.ReLU(), fnn.Dense(3)]  # no kernel makes steps of that by itself
FITS = {
    "narrow": (layers(), ADAM, {"batch_size": 4}),
    "graphs": (DEEP, ADAM, {"batch_size": 16}),
    "inputs": ([fnn.Standardize(), *WIDE], ADAM, {"batch_size": 16}),
    "schedule": (
        WIDE,
        functools.partial(fnn.optim.Adam, lr=fnn.schedules.Cosine(0.1, 9)),
        {"batch_size": 20},
    ),
    "step by step": (DEEP, functools.partial(ADAM, clip_norm=0.1), {"batch_size": 16}),
    "averages": (WIDE, functools.partial(ADAM, ema=0.9), {"batch_size": 16}),
    "told of steps": (DEEP, ADAM, {"batch_size": 16, "callbacks": [AfterSteps()]}),
    "constraint": (
        [fnn.Dense(8, constraint=fnn.MaxNorm(0.5)), fnn.ReLU(), fnn.Dense(3)],
        functools.partial(ADAM, clip_norm=0.1),
        {"batch_size": 16},
    ),
    "parts": (
        DEEP,
        ADAM,
        {"batch_size": 7, "gradient_accumulation_steps": 3, "validation_split": 0.3},
    ),
    "mixed": (WIDE, ADAM, {"mixup": 0.4, "batch_size": 16, "shuffle": False}),
    "classes": (WIDE, ADAM, {"per_class": 2, "batch_size": 6, "train_metrics": True}),
}


@pytest.mark.parametrize(("layers", "make", "options"), FITS.values(), ids=FITS)
def test_what_stays_changes_nothing(gpu, rng, layers, make, options):
    """A fit of three epochs is three fits of one, which begin anew."""
    X, y = examples(rng)
    options = options | {"loss": "cross_entropy"}
    if options.get("mixup"):
        y = np.eye(3)[y]
    if "per_class" not in options:
        options["sample_weight"] = rng.uniform(size=len(X))
    found = []
    for epochs in ([3], [1, 1, 1]):
        model = fnn.Sequential(copy.deepcopy(layers), device="cuda", dtype="float64", seed=3)
        optimizer, records = make(), []
        for some in epochs:
            history = model.fit(X, y, optimizer=optimizer, epochs=some, **options)
            records.append([history[key] for key in sorted(history) if key != "seconds"])
        kept = optimizer.state_dict()["state"]
        moments = [kept[key][name] for key in sorted(kept) for name in sorted(kept[key])]
        found.append([model.parameters, model.state, *moments, np.hstack(records).ravel()])
    for actual, expected in zip(*found, strict=True):
        assert_same_bits(actual, expected)


def test_what_callbacks_change_between_epochs(gpu, rng):
    X, y = examples(rng)
    layers = [fnn.Standardize(), fnn.Dense(140), fnn.BatchNorm(), fnn.ReLU(), fnn.Dense(3)]
    found = []
    for epochs in ([6], [1] * 6):
        model = fnn.Sequential(copy.deepcopy(layers), device="cuda", seed=3).build(6)
        optimizer, done = ADAM(), []

        def change(model=model, optimizer=optimizer, done=done):
            done.append(None)
            if len(done) == 1:
                model.parameters[::3] *= 0.5
            elif len(done) == 2:
                model.named_state()["2.running_mean"][:] += 0.1
                optimizer.state[1][5:9] *= 2
            elif len(done) == 3:
                model.named_state()["0.mean"][2] += 0.3  # of what stays there
            elif len(done) == 4:
                model.layers[1].trainable = False
            else:
                model.to("cpu")

        for some in epochs:
            model.fit(
                X, y, loss="cross_entropy", optimizer=optimizer, epochs=some, batch_size=16,
                callbacks=[AfterEpochs(lambda epoch, change=change: change())],
            )  # fmt: skip
        found.append([model.parameters, model.state, *optimizer.state])
    for actual, expected in zip(*found, strict=True):
        assert_same_bits(actual, expected)


def test_what_crosses_in_a_fit(gpu, rng, counts):
    X, y = examples(rng)
    now, rows, found = 24, 8, []  # bytes of `Now` and of the place of a row

    def fit(layers, **options):
        model = fnn.Sequential(copy.deepcopy(layers), device="cuda", dtype="float64")
        found.clear()
        counts()
        model.fit(
            X, y, loss="cross_entropy", epochs=3, batch_size=16,
            callbacks=[AfterEpochs(lambda epoch: found.append(counts()))], **options,
        )  # fmt: skip
        return model

    momentum = functools.partial(fnn.optim.SGD, lr=0.1, momentum=0.9)
    model = fit(WIDE, optimizer=momentum())
    learned = 8 * model.n_parameters
    assert found[0]["uploaded"] > X.nbytes + 2 * learned and found[0]["captured"] == 2
    for later in found[1:]:
        assert (later["taken"], later["captured"]) == (0, 0)
        assert later["uploaded"] == rows * len(X) + now
        assert 2 * learned <= later["downloaded"] < 2 * learned + 1000
    # In an order that stays, with rules that change from step to step.
    fit(WIDE, optimizer=ADAM(), shuffle=False)
    assert found[1]["uploaded"] == now + 4 * 16 * 8
    # What is evaluated stays, too; each time parameters go there.
    model = fit(WIDE, optimizer=momentum(), validation_data=(X, y), train_metrics=True)
    assert found[0]["uploaded"] > 2 * X.nbytes
    assert found[1]["uploaded"] == rows * len(X) + now + 2 * (learned + now)
    assert left(model, counts) == left(copy.deepcopy(model), counts)


def test_calls_on_examples_that_stay(gpu, rng, dtype):
    """A walk: calls that differ in all that may change, beside a network that keeps nothing."""
    X, others = rng.normal(size=(2, 40, 6)).astype(dtype)
    values, weights = rng.normal(size=(40, 3)).astype(dtype), rng.uniform(size=40).astype(dtype)
    rows = np.sort(rng.permutation(40)[:30])
    described = [{"kind": "dense", "units": 20}, {"kind": "dropout", "values": [0.3]}]
    described += [{"kind": "dense", "units": 3}]
    nets = [_core.Network(dtype, 6, described, True, "cuda") for _ in range(2)]
    nets[0].keep_memory(True, [(X, values, rows), (X, values, None), (others, values, None)])
    start = rng.normal(size=nets[0].n_parameters).astype(dtype) / 10
    vectors = [[start.copy(), np.zeros_like(start)] for _ in nets]
    sgd = ("sgd", {"momentum": 0.9, "weight_decay": 0.1, "nesterov": 0, "heavy": 1})
    draws = {
        "inputs": lambda: (X, X, others, X.copy())[rng.integers(4)],
        "order": lambda: (rows, rng.integers(0, 40, rng.integers(1, 60)))[rng.integers(2)],
        "batch_size": lambda: int(rng.choice([7, 16])),
        "batches_per_step": lambda: int(rng.choice([1, 2])),
        "weights": lambda: (None, weights * rng.uniform())[rng.integers(2)],
        "mixup": lambda: float(rng.choice([0, 0.4])),
        "ridge": lambda: float(rng.choice([0, 0.1])),
        "loss": lambda: (("mse", {}), ("mae", {}))[rng.integers(2)],
        "seed": lambda: int(rng.integers(3)),
    }
    now = {name: draw() for name, draw in draws.items()}
    for step in range(40):
        name = rng.choice(list(draws))  # what is not as it was
        options = now | {"order": rng.permutation(now["order"])}
        now[name] = options[name] = draws[name]()
        inputs, loss = options.pop("inputs"), options.pop("loss")
        seed = options.pop("seed")
        options["run"] = _core.Run(training=True, learns_state=True, seed=seed, step=step << 32)
        lr, changed = float(rng.choice([0.01, 0.02])), rng.integers(3) == 0
        scores, reports = [], []
        for net, (parameters, momentum) in zip(nets, vectors, strict=True):
            if changed:
                parameters[step] += 0.5
                momentum *= 0.5
            report = np.zeros(4)
            net.train(
                parameters, inputs, values, loss, lr=lr, update=sgd, state=[momentum], step=step,
                report=report, **options,
            )  # fmt: skip
            reports.append(report)
            scores.append(
                [
                    net.evaluate(parameters, inputs, values, loss, order=some, weights=weight)
                    for some, weight in ((rows, weights), (None, options["weights"]))
                ]
            )
        assert_same_bits(*reports)
        assert scores[0] == scores[1]
        for actual, expected in zip(*vectors, strict=True):
            assert_same_bits(actual, expected)


def test_a_fit_that_is_interrupted(gpu, rng, counts):
    X, y = examples(rng)
    model = fnn.Sequential(copy.deepcopy(WIDE), device="cuda", seed=3).build(6)
    before, seen = left(model, counts), []

    def interrupt(epoch):
        seen.append(model.parameters.copy())
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y, loss="cross_entropy", epochs=3, callbacks=[AfterEpochs(interrupt)])
    assert_same_bits(model.parameters, seen[-1])
    assert left(model, counts) == before
    model.fit(X[::-1], y, epochs=1)  # of other examples
    again = fnn.Sequential(copy.deepcopy(WIDE), device="cuda", seed=3)
    again.fit(X, y, loss="cross_entropy", epochs=2)
    assert_same_bits(again.parameters, seen[-1])


def test_examples_that_have_no_room_beside_others(library):
    """Where not all can stay there, each call brings what it needs."""
    code = """
import numpy as np
rng = np.random.default_rng(0)
X, y = rng.normal(size=(400, 30)).astype("float32"), rng.integers(0, 3, 400)
model = fnn.Sequential([fnn.Dense(3)], device="cuda", seed=1)
fit = {"loss": "cross_entropy", "epochs": 3, "validation_data": (X[::-1].copy(), y)}
model.fit(X, y, **fit)
print(model.parameters.tobytes().hex(), model.history["val_loss"])
"""
    roomy, narrow = (
        emulated.run_elsewhere(code, library, EMULATE_BYTES=n) for n in ("400000", "120000")
    )
    assert roomy == narrow


def test_operators_keep_what_they_are_made_of(gpu, rng, counts):
    X, y = examples(rng)
    model = fnn.Sequential(copy.deepcopy(WIDE), device="cuda", dtype="float64").build(6)
    before, V = left(model, counts), rng.normal(size=(model.n_parameters, 2))
    for kind in (fnn.curvature.Hessian, fnn.curvature.EmpiricalFisher):
        weights = rng.uniform(size=len(X))
        kept, anew = (
            kind(model, X, y, loss="cross_entropy", sample_weight=weights, memory_budget=budget)
            for budget in (2**20, 0)
        )
        first = kept @ V
        counts()
        assert_same_bits(kept @ V, first)
        assert counts()["uploaded"] == V.nbytes + 24
        assert_same_bits(anew @ V, first)
        assert counts()["uploaded"] > V.nbytes + X.nbytes
        assert_same_bits(kept.quadratic_form(V), anew.quadratic_form(V))
    del kept, anew
    gc.collect()
    assert left(model, counts) == before
    A = fnn.curvature.GaussNewton(model, X, y, loss="cross_entropy")
    first = A @ V
    model.parameters[:] += 1  # the operator has its own
    with ThreadPoolExecutor(4) as pool:
        for product in pool.map(A.dot, [V] * 8):
            assert_same_bits(product, first)


# ----------------------------------------------------------- wide products, by another library


def test_wide_products_by_cublaslt(copied, rng, dtype, tmp_path):
    X, y = rng.normal(size=(150, 6)), rng.integers(0, 3, 150)
    layers = [fnn.Dense(130), fnn.Tanh(), fnn.Dense(140), fnn.ReLU(), fnn.Dense(3)]
    models = on_both(layers, dtype=dtype)
    path = emulated.cublaslt(tmp_path)
    _core.use_cublaslt("cuda", str(path), True)

    def computed(model):
        yield from (model.forward(X), *model.loss_and_grad(X, y, loss="cross_entropy"))
        v = np.ones(model.n_parameters, dtype)
        yield model.hvp(X, y, v, loss="cross_entropy")
        sgd = fnn.optim.SGD(lr=0.1)
        model.fit(X, y, loss="cross_entropy", optimizer=sgd, epochs=2, batch_size=60)
        yield model.parameters

    assert_alike(computed, models, inner=2000)
    assert ctypes.CDLL(str(path)).cublaslt_calls() > 20


def test_cublaslt_that_is_not_there(copied, monkeypatch, tmp_path):
    monkeypatch.setenv("PYFAST_NN_CUDA_GEMM", "cublaslt")
    monkeypatch.setattr(fnn.cuda, "_with_products", set())
    places = [str(tmp_path / "nowhere.so"), _core.__file__]
    monkeypatch.setattr(fnn.cuda, "places_of_cublaslt", lambda: places)
    for _ in range(2):  # and it stays so
        with pytest.raises(RuntimeError, match="PYFAST_NN_CUDA_GEMM: expected cuBLASLt") as error:
            fnn.Sequential(layers(), device="cuda")
        assert all(place in str(error.value) for place in places)
    places.append(str(emulated.cublaslt(tmp_path)))
    assert fnn.Sequential(layers(), device="cuda").device == "cuda"
    monkeypatch.setenv("PYFAST_NN_CUDA_GEMM", "cublas")
    monkeypatch.setattr(fnn.cuda, "_with_products", set())
    with pytest.raises(ValueError, match="PYFAST_NN_CUDA_GEMM: expected one of own, cublaslt, got"):
        fnn.Sequential(layers(), device="cuda")


def test_where_cublaslt_is_looked_for():
    assert fnn.cuda.places_of_cublaslt()[-1] == "libcublasLt.so.13"
