"""BatchNorm: its maps in training and elsewhere, what it keeps, what it refuses, calibration."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import oracle
import pyfast_nn as fnn
from conftest import assert_same_bits
from pyfast_nn import _core
from test_hessian import relative_error

EPS = 1e-5


def layer(kind, *values, units=0):
    return {"kind": kind, "values": values, "units": units}


def dense(units):
    return layer("dense", units=units)


def norm(affine=True, momentum=0.1):
    return layer("batch_norm", EPS, float(affine), momentum)


TANH, SIGMOID = layer("tanh"), layer("sigmoid")

# name: (in_features, layers). Smooth, so that differences and complex steps are derivatives.
NETWORKS = {
    "between": (5, [dense(33), norm(), TANH, dense(3)]),
    "first": (5, [norm(), dense(4)]),
    "last": (3, [dense(2), norm()]),
    "alone": (7, [norm()]),
    "not affine": (5, [norm(False), TANH, dense(4), norm(False), SIGMOID]),
    "after activations": (6, [TANH, norm(), TANH, norm(), dense(9), norm(), TANH]),
    "wide": (40, [dense(70), norm(), dense(65), TANH, norm(), dense(3)]),
}
# More parameters than numbers of a small batch: a team goes through them by columns. Some layers
# are a panel wide.
LARGE = {
    "wide": (64, [dense(300), norm(), TANH, dense(257), norm(), TANH, dense(3)]),
    "narrow": (300, [dense(400), norm(), dense(16), norm(), TANH, dense(300), norm(False)]),
}

every_network = pytest.mark.parametrize("name", NETWORKS)
in_both_modes = pytest.mark.parametrize("training", [True, False], ids=["training", "running"])


def views(layout, vector):
    return {
        f"{path}.{name}": vector[offset : offset + int(np.prod(shape))].reshape(shape)
        for path, name, offset, shape in layout
    }


class Problem:
    """A network of the core, and the same in NumPy, for real or complex parameters and inputs."""

    def __init__(self, rng, in_features, layers, rows, dtype="float64", training=True):
        self.layers, self.training = layers, training
        self.net = net = _core.Network(dtype, in_features, layers)
        self.parameters = rng.standard_normal(net.n_parameters).astype(dtype)
        for name, view in views(net.parameter_layout, self.parameters).items():
            if name.endswith("weight") and view.ndim == 2:
                view /= np.sqrt(len(view))
        self.X = (1 + 2 * rng.standard_normal((rows, in_features))).astype(dtype)
        self.y = rng.standard_normal((rows, net.out_features)).astype(dtype)
        self.state = np.abs(rng.standard_normal(net.n_state)) + 0.3
        self.v, self.w = rng.standard_normal((2, net.n_parameters)).astype(dtype)
        self.beside = {"model_state": self.state, "run": _core.Run(training=training)}
        self.of_loss = (self.X, self.y, oracle.MSE)

    def empty(self, *shape):
        return np.full(shape, np.nan, self.net.dtype)

    def outputs(self, parameters, X):
        parameters = views(self.net.parameter_layout, parameters)
        state = views(self.net.state_layout, self.state)
        x = X + 0.0
        for i, spec in enumerate(self.layers):
            if spec["kind"] == "dense":
                x = x @ parameters[f"{i}.weight"] + parameters[f"{i}.bias"]
            elif spec["kind"] == "tanh":
                x = np.tanh(x)
            elif spec["kind"] == "sigmoid":
                x = 1 / (1 + np.exp(-x))
            else:
                mean, var = state[f"{i}.running_mean"], state[f"{i}.running_var"]
                if self.training:
                    mean = x.mean(axis=0)
                    var = ((x - mean) ** 2).mean(axis=0)
                x = (x - mean) / np.sqrt(var + EPS)
                if spec["values"][1]:
                    x = x * parameters[f"{i}.weight"] + parameters[f"{i}.bias"]
        return x

    def along(self, parameters, v=0.0, dX=0.0):
        """The outputs and their derivative along v and dX, by a complex step."""
        step = 1e-100
        parameters, X = np.asarray(parameters, float), np.asarray(self.X, float)
        out = self.outputs(parameters + 1j * step * np.asarray(v), X + 1j * step * np.asarray(dX))
        return out.real, out.imag / step

    def slope(self, v, parameters=None):
        """The derivative of the loss along v."""
        out, change = self.along(self.parameters if parameters is None else parameters, v)
        return 2 * ((out - self.y) * change).mean()

    def bend(self, v, w):
        """The change of that along w, by differences."""
        step = 1e-3 / np.linalg.norm(w)
        near, far = (
            self.slope(v, self.parameters + i * step * w)
            - self.slope(v, self.parameters - i * step * w)
            for i in (1, 2)
        )
        return (8 * near - far) / (12 * step)

    # ---- the maps of the core

    def forward(self):
        out = self.empty(len(self.X), self.net.out_features)
        self.net.forward(self.parameters, self.X, out, **self.beside)
        return out

    def loss_and_grad(self):
        grad = self.empty(self.net.n_parameters)
        loss = self.net.loss_and_grad(self.parameters, *self.of_loss, grad, **self.beside)
        assert loss == self.net.evaluate(self.parameters, *self.of_loss, **self.beside)[0]
        return np.array([loss]), grad

    def jvp(self):
        out = self.empty(len(self.X), self.net.out_features)
        dout = out.copy()
        self.net.jvp(self.parameters, self.v, self.X, out, dout, **self.beside)
        return out, dout

    def vjp(self, dout):
        out = self.empty(*dout.shape)
        pullback = self.net.vjp(self.parameters, self.X, out, **self.beside)
        dparameters, dX = self.empty(self.net.n_parameters), self.empty(*self.X.shape)
        pullback(dout, dparameters, dX)
        return out, dparameters, dX

    def hvp(self):
        hv = self.empty(self.net.n_parameters)
        self.net.hvp(self.parameters, self.v, *self.of_loss, hv, **self.beside)
        return hv

    def operator(self, kind, **options):
        of_loss = {} if kind == "jacobian" else {"y": self.y, "loss": oracle.MSE}
        return _core.Operator(
            self.net, kind, self.parameters, self.X, **of_loss, **self.beside, **options
        )

    def products(self, kind, **options):
        operator = self.operator(kind, **options)
        V = np.stack([self.v, self.w])
        out, forms = np.empty_like(V), np.empty(2)
        operator.products(V, out)
        operator.quadratic_forms(V, forms)
        return out, forms

    def everything(self, dout):
        hessian, forms = self.products("hessian", memory_budget=1e9)
        gauss_newton, more = self.products("gauss_newton")
        return (
            *(self.forward(), *self.loss_and_grad(), *self.jvp(), *self.vjp(dout), self.hvp()),
            *(hessian, forms, gauss_newton, more),
        )


def check_all_maps(problem, rng):
    tolerance = 1e-10 if problem.net.dtype == "float64" else 2e-3

    def close(actual, expected, scale=None):
        scale = np.abs(expected).max() if scale is None else scale
        assert np.abs(actual - expected).max() <= tolerance * (scale + 1e-30)

    v, w = np.float64(problem.v), np.float64(problem.w)
    size = np.linalg.norm
    expected, along = problem.along(problem.parameters, v)
    close(problem.forward(), expected)
    (loss,), grad = problem.loss_and_grad()
    close(loss, ((expected - problem.y) ** 2).mean())
    for way in (v, w):
        close(grad @ way, problem.slope(way), size(grad) * size(way))
    for actual, exact in zip(problem.jvp(), (expected, along), strict=True):
        close(actual, exact)

    dout = rng.standard_normal(expected.shape).astype(problem.net.dtype)
    out, dparameters, dX = problem.vjp(dout)
    close(out, expected)
    close(dparameters @ v, (dout * along).sum(), size(dparameters) * size(v))
    way = rng.standard_normal(dX.shape)
    close((dX * way).sum(), (dout * problem.along(problem.parameters, 0, way)[1]).sum(), size(dX))

    hv, (hessian, forms) = problem.hvp(), problem.products("hessian")
    for way in (v, w):
        error = abs(hv @ way - problem.bend(v, way))
        assert error <= max(tolerance, 1e-6) * size(hv) * size(way)
    close(hessian[0], hv)
    close(forms[0], hv @ v, size(hv) * size(v))
    close(forms[1], hessian[1] @ w, size(hessian[1]) * size(w))
    products, forms = problem.products("gauss_newton")
    close(forms[0], 2 * (along**2).mean())
    close(products[0] @ v, forms[0], size(products[0]) * size(v))


@in_both_modes
@every_network
def test_all_maps(isa, dtype, rng, name, training):
    for rows in (5, 7, 64, 65):
        check_all_maps(Problem(rng, *NETWORKS[name], rows, dtype, training), rng)


@in_both_modes
@pytest.mark.parametrize("rows", [1024, 1025, 2500])
def test_many_rows(isa, dtype, rng, rows, training):
    """Sums over so many rows that they are cut."""
    check_all_maps(Problem(rng, *NETWORKS["between"], rows, dtype, training), rng)


@pytest.mark.parametrize("name", ["between", "first", "not affine"])
@in_both_modes
def test_hvp_by_differences_of_gradients(isa, rng, name, training):
    problem = Problem(rng, *NETWORKS[name], 9, training=training)
    start, ends, step = problem.parameters.copy(), [], 1e-6
    for sign in (1, -1):
        problem.parameters = start + sign * step * problem.v
        ends.append(problem.loss_and_grad()[1])
    problem.parameters = start
    assert relative_error(problem.hvp(), (ends[0] - ends[1]) / (2 * step)) < 1e-6


@in_both_modes
@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("rows", [5, 33, 130, 1100])
def test_the_same_bits_for_any_team(isa, dtype, rng, restore_threads, name, rows, training):
    problem = Problem(rng, *LARGE[name], rows, dtype, training)
    dout = rng.standard_normal((rows, problem.net.out_features)).astype(dtype)
    results = []
    for threads in (1, 2, 3, 5):
        _core.set_num_threads(threads)
        results.append(problem.everything(dout))
    for result in results[1:]:
        for actual, expected in zip(result, results[0], strict=True):
            assert_same_bits(actual, expected)
    check_all_maps(problem, rng)


def test_a_mean_far_from_zero(isa, dtype, rng):
    """The statistics are right to the last digits that the inputs have."""
    for rows in (100, 5000):
        X = (1000 + rng.standard_normal((rows, 3))).astype(dtype)
        net = _core.Network(dtype, 3, [norm(False)])
        out, exact = np.empty_like(X), np.float64(X)
        net.forward(np.empty(0, dtype), X, out, model_state=np.zeros(6), run=training_run())
        exact = (exact - exact.mean(axis=0)) / np.sqrt(exact.var(axis=0) + EPS)
        assert np.abs(out - exact).max() < (1e-4 if dtype == "float32" else 1e-11)


def test_a_constant_column_is_its_bias(isa, dtype):
    X = np.full((70, 5), 0.1, dtype)
    net = _core.Network(dtype, 5, [norm()])
    parameters, out = np.arange(10).astype(dtype), np.empty_like(X)
    net.forward(parameters, X, out, model_state=np.zeros(10), run=training_run())
    np.testing.assert_allclose(out, np.tile(parameters[5:], (70, 1)), atol=1e-4)


def training_run(**options):
    return _core.Run(training=True, **options)


# ------------------------------------------------------------------------------------------- fits


def data(rng, n=150, columns=6):
    X = 1 + 2 * rng.standard_normal((n, columns))
    return X, np.tanh(X[:, :2]) + X[:, 2:4] * 0.1


def small_model(dtype="float64", seed=3, **options):
    layers = [fnn.Dense(8), fnn.BatchNorm(**options), fnn.Tanh(), fnn.Dense(2)]
    return fnn.Sequential(layers, dtype=dtype, seed=seed)


def torch_model(torch, model, momentum=0.1):
    size = model.layers[0].units
    layers = [
        torch.nn.Linear(model.in_features, size),
        torch.nn.BatchNorm1d(size, eps=1e-5, momentum=momentum),
        torch.nn.Tanh(),
        torch.nn.Linear(size, 2),
    ]
    other = torch.nn.Sequential(*layers).double()
    with torch.no_grad():
        for name, values in model.named_parameters().items():
            other.get_parameter(name).copy_(torch.tensor(values.T))
    return other


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("momentum", [0.1, 0.6])
def test_fit_is_that_of_torch(isa, rng, momentum, accumulated):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    X, y = data(rng)
    model = small_model(momentum=momentum).build(6)
    other = torch_model(torch, model, momentum)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    step = 40 * accumulated
    for _ in range(3):
        for first in range(0, len(X), step):
            optimizer.zero_grad()
            rows = slice(first, first + step)
            n = len(X[rows])
            for begin in range(first, first + n, 40):
                part = slice(begin, min(begin + 40, first + n))
                out, target = other(torch.tensor(X[part])), torch.tensor(y[part])
                (((out - target) ** 2).mean() * (len(target) / n)).backward()
            optimizer.step()
    model.fit(
        *(X, y),
        loss="mse",
        optimizer=fnn.optim.SGD(lr=0.1, momentum=0.9),
        epochs=3,
        batch_size=40,
        gradient_accumulation_steps=accumulated,
        shuffle=False,
    )
    for name, values in {**model.named_parameters(), **model.named_state()}.items():
        np.testing.assert_allclose(values.T, other.state_dict()[name].numpy(), rtol=1e-9, atol=1e-9)
    other.eval()
    np.testing.assert_allclose(
        model.forward(X), other(torch.tensor(X)).detach().numpy(), rtol=1e-9, atol=1e-9
    )


def test_running_statistics(isa, dtype, rng):
    """After each batch (1 - momentum) running + momentum batch, with the unbiased variance."""
    X, y = data(rng, 90)
    model = fnn.Sequential([fnn.BatchNorm(0.3), fnn.Dense(2)], dtype=dtype)
    model.fit(X, y, loss="mse", epochs=2, batch_size=40, shuffle=False)
    mean, var = np.zeros(6), np.ones(6)
    for _ in range(2):
        for batch in (X[:40], X[40:80], X[80:]):
            mean = 0.7 * mean + 0.3 * batch.mean(axis=0)
            var = 0.7 * var + 0.3 * batch.var(axis=0, ddof=1)
    rtol = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(model.named_state()["0.running_mean"], mean, rtol=rtol)
    np.testing.assert_allclose(model.named_state()["0.running_var"], var, rtol=rtol)


def test_only_fit_changes_the_state(rng):
    X, y = data(rng)
    model = small_model().build(6)
    np.testing.assert_array_equal(model.named_state()["1.running_mean"], np.zeros(8))
    np.testing.assert_array_equal(model.named_state()["1.running_var"], np.ones(8))
    before = model.state.copy()
    model.forward(X)
    model.forward(X, training=True)
    model.evaluate(X, y, loss="mse")
    for training in (False, True):
        model.loss_and_grad(X, y, loss="mse", training=training)
        model.hvp(X, y, model.parameters, loss="mse", training=training)
    assert_same_bits(model.state, before)
    # also in training, where the state may not even be written
    before.flags.writeable = False
    net = model._engine.net
    out, grad = np.empty((len(X), 2)), np.empty(model.n_parameters)
    beside = {"model_state": before, "run": training_run()}
    net.forward(model.parameters, X, out, **beside)
    net.loss_and_grad(model.parameters, X, y, oracle.MSE, grad, **beside)


@pytest.mark.parametrize("options", [{"sam": 0.05}, {"clip_norm": 1e-3}, {}])
def test_sam_and_other_options_learn_once_a_step(rng, options):
    """The second gradient of a step of SAM is of the same batch."""
    X, y = data(rng, 80)
    model = fnn.Sequential([fnn.BatchNorm(0.3), fnn.Dense(2)], dtype="float64")
    optimizer = fnn.optim.SGD(lr=1e-3, **options)
    model.fit(X, y, loss="mse", optimizer=optimizer, epochs=1, batch_size=40, shuffle=False)
    mean = 0.7 * 0.3 * X[:40].mean(axis=0) + 0.3 * X[40:].mean(axis=0)
    np.testing.assert_allclose(model.named_state()["0.running_mean"], mean, rtol=1e-12)


@pytest.mark.parametrize("skips", [False, True])
def test_nothing_is_learned_of_a_step_whose_loss_is_not_finite(rng, skips):
    X, y = data(rng, 80)
    y[50] = 1e308  # its square is not finite
    model = fnn.Sequential([fnn.BatchNorm(0.3), fnn.Dense(2)], dtype="float64")
    optimizer = fnn.optim.SGD(lr=1e-3, skip_nonfinite=skips)
    arguments = {"loss": "mse", "optimizer": optimizer, "epochs": 1, "batch_size": 40}
    if skips:
        model.fit(X, y, shuffle=False, **arguments)
    else:
        with pytest.raises(FloatingPointError, match="step 2"):
            model.fit(X, y, shuffle=False, **arguments)
    mean = 0.3 * X[:40].mean(axis=0)
    np.testing.assert_allclose(model.named_state()["0.running_mean"], mean, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [16, 100, 700])
def test_fits_have_the_same_bits_for_any_team(isa, dtype, rng, restore_threads, batch_size):
    X, y = data(rng, 720, 40)
    results = []
    for threads in (1, 2, 3, 5):
        _core.set_num_threads(threads)
        layers = [
            fnn.Dense(300),
            fnn.BatchNorm(),
            fnn.ReLU(),
            fnn.Dense(16),
            fnn.BatchNorm(),
            fnn.Dense(2),
        ]
        model = fnn.Sequential(layers, dtype=dtype, seed=1)
        model.fit(X, y, loss="mse", epochs=2, batch_size=batch_size)
        results.append((model.parameters.copy(), model.state.copy()))
    for result in results[1:]:
        for actual, expected in zip(result, results[0], strict=True):
            assert_same_bits(actual, expected)


def test_a_fit_goes_on_from_a_file(dtype, rng, tmp_path):
    X, y = data(rng)
    whole, part = small_model(dtype), small_model(dtype)
    options = {"loss": "mse", "batch_size": 20}
    whole.fit(X, y, optimizer=fnn.optim.Adam(lr=1e-2), epochs=4, **options)
    adam = fnn.optim.Adam(lr=1e-2)
    part.fit(X, y, optimizer=adam, epochs=2, **options)
    part.save(tmp_path / "m.safetensors", optimizer=adam)
    part, adam = fnn.load(tmp_path / "m.safetensors", optimizer=True)
    part.fit(X, y, optimizer=adam, epochs=2, **options)
    assert_same_bits(part.parameters, whole.parameters)
    assert_same_bits(part.state, whole.state)
    assert part.layers == whole.layers


@pytest.mark.parametrize("standardized", [False, True])
def test_a_file_of_a_model_that_was_not_fitted(tmp_path, standardized):
    layers = [fnn.Standardize()] * standardized + [fnn.Dense(3), fnn.BatchNorm()]
    model = fnn.Sequential(layers).build(4)
    model.save(tmp_path / "m.safetensors")
    assert_same_bits(fnn.load(tmp_path / "m.safetensors").state, model.state)


def test_a_file_of_impossible_statistics(tmp_path):
    model = fnn.Sequential([fnn.Dense(3), fnn.BatchNorm()]).build(4)
    for name, value in (("running_var", -1), ("running_mean", np.nan)):
        broken = copy.deepcopy(model)
        broken.named_state()[f"1.{name}"][1] = value
        broken.save(tmp_path / "m.safetensors")
        with pytest.raises(fnn.ModelFileError, match=f"'1.{name}' has impossible values"):
            fnn.load(tmp_path / "m.safetensors")


def test_torch_reads_a_file(rng, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    reader = pytest.importorskip("safetensors.torch")
    X, y = data(rng)
    model = small_model()
    model.fit(X, y, loss="mse", batch_size=25)
    model.save(tmp_path / "m.safetensors")
    other = torch_model(torch, small_model(seed=9).build(6)).eval()
    other.load_state_dict(reader.load_file(tmp_path / "m.safetensors"))
    np.testing.assert_allclose(model.forward(X), other(torch.tensor(X)).detach(), rtol=1e-10)


def test_copies(rng):
    X, y = data(rng)
    model = small_model()
    model.fit(X, y, loss="mse", batch_size=25, epochs=2)
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_same_bits(other.state, model.state)
        assert_same_bits(other.forward(X), model.forward(X))
        other.state[:] = 7
        assert (model.state != 7).all()


def test_early_stopping_restores_the_state(rng):
    X, y = data(rng)
    kept = {}

    def keep(model, epoch, record):
        kept[epoch] = model.state.copy(), model.parameters.copy()

    class Keep(fnn.Callback):
        def on_epoch_end(self, model, epoch, record):
            keep(model, epoch, record)

    model = small_model()
    history = model.fit(
        *(X, y),
        loss="mse",
        optimizer=fnn.optim.SGD(lr=1.5),
        batch_size=10,
        epochs=8,
        validation_split=0.3,
        patience=8,
        callbacks=Keep(),
    )
    assert history.best_epoch < 7
    for actual, expected in zip(
        (model.state, model.parameters), kept[history.best_epoch], strict=True
    ):
        assert_same_bits(actual, expected)
    # what the history says of that epoch holds for the model
    assert history["val_loss"][history.best_epoch] == min(history["val_loss"])


# -------------------------------------------------------------------------- before the first fit


def test_a_model_may_be_used_before_a_fit(rng):
    X, _ = data(rng)
    model = small_model()
    hidden = X @ model.build(6).named_parameters()["0.weight"]
    expected = np.tanh(hidden / np.sqrt(1 + 1e-5)) @ model.named_parameters()["3.weight"]
    np.testing.assert_allclose(model.forward(X), expected, rtol=1e-10)
    np.testing.assert_allclose(model.predict(X, loss="mse"), expected, rtol=1e-10)


def test_standardize_beside_it_still_has_to_learn(rng):
    X, y = data(rng)
    model = fnn.Sequential([fnn.Standardize(), fnn.Dense(4), fnn.BatchNorm(), fnn.Dense(2)])
    with pytest.raises(
        RuntimeError, match=r"layers\[0\], Standardize\(\), has not learned its mean"
    ):
        model.forward(X)
    model.fit(X, y, loss="mse")
    np.testing.assert_allclose(model.named_state()["0.mean"], X.mean(axis=0))
    # a state of NaN that is not to be learned is not taken for one
    model.named_state()["2.running_mean"][:] = np.nan
    before = model.named_state()["0.mean"].copy()
    assert np.isnan(model.forward(X)).all()
    model.named_state()["2.running_mean"][:] = 0
    model.fit(X + 1, y, loss="mse")
    assert_same_bits(model.named_state()["0.mean"], before)


# ----------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("rows", "batch_size", "cure"),
    [(150, 1, 2), (151, 50, 51), (151, 10, 11), (3, 2, 3), (7, 2, 4)],
)
def test_a_batch_of_one_row_is_refused(rng, rows, batch_size, cure):
    X, y = data(rng, rows)
    model = small_model()
    message = rf"batch_size: expected .*layers\[1\], BatchNorm\(\).*batch_size={cure}, say"
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, loss="mse", batch_size=batch_size)
    assert not model.built and model.loss is None
    model.fit(X, y, loss="mse", batch_size=cure, epochs=1)


def test_one_row_is_refused(rng):
    X, y = data(rng, 5)
    with pytest.raises(ValueError, match="X: expected at least two rows to train on"):
        small_model().fit(X[:1], y[:1], loss="mse")
    with pytest.raises(ValueError, match="batch_size: expected"):  # rows of weight 0 are not there
        small_model().fit(X, y, loss="mse", batch_size=3, sample_weight=[1, 1, 1, 0, 1])
    fnn.Sequential([fnn.Dense(2)]).fit(X, y, loss="mse", batch_size=1, epochs=1)


def test_the_core_refuses_one_row_too(rng):
    problem = Problem(rng, *NETWORKS["between"], 1)
    calls = (problem.forward, problem.loss_and_grad, problem.jvp, problem.hvp)
    for call in (*calls, lambda: problem.vjp(problem.empty(1, 3))):
        with pytest.raises(ValueError, match="X: expected batches of two rows or more"):
            call()
    options = {
        "order": np.zeros(5, np.int64),
        "batch_size": 4,
        "lr": 0.1,
        "update": ("sgd", {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0}),
        "state": [],
        "step": 0,
        "report": np.zeros(3),
    }
    with pytest.raises(ValueError, match="batch_size: expected batches of two rows"):
        problem.net.train(problem.parameters, *problem.of_loss, **options, **problem.beside)
    Problem(rng, *NETWORKS["between"], 1, training=False).forward()
    problem = Problem(rng, *NETWORKS["between"], 0)
    assert problem.forward().shape == (0, 3)


def test_what_is_refused_of_coupled_rows(rng):
    n = 12
    coupled = Problem(rng, *NETWORKS["between"], n)
    free = Problem(rng, *NETWORKS["between"], n, training=False)
    size = coupled.net.n_parameters
    for kind in ("hessian", "gauss_newton", "empirical_fisher"):
        calls = {
            "traces": lambda op: op.traces(),
            "diagonal": lambda op: op.diagonal(np.empty(size)),
            "example_gradients": lambda op: op.example_gradients(np.empty((n, size))),
        }
        for name, call in calls.items():
            with pytest.raises(ValueError, match=f"{name}: .*the rows depend on each other"):
                call(coupled.operator(kind))
            call(free.operator(kind))


def test_what_is_refused_of_coupled_rows_by_name(rng):
    X, y = data(rng)
    model = small_model().build(6)
    options = {"loss": "mse", "training": True}
    operator = fnn.curvature.GaussNewton(model, X, y, **options)
    for refused in (
        lambda: fnn.curvature.exact_trace(operator),
        lambda: fnn.curvature.exact_diagonal(operator),
        lambda: fnn.curvature.per_example_gradient_norms(model, X, y, **options),
        lambda: fnn.curvature.per_example_gradients(model, X, y, **options),
    ):
        with pytest.raises(ValueError, match="BatchNorm"):
            refused()
    with pytest.raises(ValueError, match="X: expected batches of two rows or more"):
        model.forward(X[:1], training=True)
    model.forward(X[:1])


def test_exact_parts_with_running_statistics(isa, rng):
    """They are constants, and rows do not know of each other."""
    problem = Problem(rng, *NETWORKS["between"], 6, training=False)
    size = problem.net.n_parameters
    rows = np.empty((6, size))
    problem.operator("empirical_fisher").example_gradients(rows)
    for i in range(6):
        for v in (problem.v, problem.w):
            out, change = problem.along(problem.parameters, v)
            slope = 2 * ((out - problem.y) * change)[i].mean()
            np.testing.assert_allclose(rows[i] @ v, slope, rtol=1e-10, atol=1e-12)
    for kind in ("gauss_newton", "empirical_fisher"):
        matrix, diagonal = np.empty((size, size)), np.empty(size)
        operator = problem.operator(kind)
        operator.products(np.eye(size), matrix)
        operator.diagonal(diagonal)
        np.testing.assert_allclose(diagonal, np.diag(matrix), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(sum(operator.traces()[0]), np.trace(matrix), rtol=1e-9)


def test_arguments():
    assert repr(fnn.BatchNorm()) == "BatchNorm()"
    assert fnn.BatchNorm(0.2, affine=False).values == (1e-5, 0.0, 0.2)
    for wrong in ({"momentum": 1.5}, {"momentum": -0.1}, {"eps": 0}, {"eps": np.inf}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            fnn.BatchNorm(**wrong)
    with pytest.raises(TypeError, match="affine"):
        fnn.BatchNorm(affine=1)
    with pytest.raises(ValueError, match="eps"):  # 0 in float32
        fnn.Sequential([fnn.BatchNorm(eps=1e-60)], dtype="float32")
    norm = fnn.BatchNorm()
    with pytest.raises(ValueError, match="its statistics are those of one place"):
        fnn.Sequential([norm, fnn.Dense(2), norm]).build(2)


def test_statistics_are_of_one_place():
    with pytest.raises(ValueError, match="its statistics are those of one place"):
        _core.Network("float64", 4, [dense(3), norm(), TANH, {**norm(), "shares": 1}])


def test_in_a_branch(isa, rng):
    """Names by path; statistics, refusals and calibration as in a chain."""
    X, y = data(rng)
    branch = [fnn.Dense(6), fnn.BatchNorm(0.4), fnn.Tanh(), fnn.Dense(6)]
    layers = [fnn.Residual(branch), fnn.BatchNorm(), fnn.Dense(2)]
    model = fnn.Sequential(layers, dtype="float64", seed=2)
    with pytest.raises(ValueError, match=r"batch_size: .* layers\[0\.1\], BatchNorm"):
        model.fit(X, y, loss="mse", batch_size=149)
    model.fit(X, y, loss="mse", batch_size=150, epochs=1, optimizer=fnn.optim.SGD(lr=1e-300))
    state, parameters = model.named_state(), model.named_parameters()
    assert list(state) == [f"{path}.running_{x}" for path in ("0.1", "1") for x in ("mean", "var")]
    hidden = X @ parameters["0.0.weight"]
    np.testing.assert_allclose(state["0.1.running_mean"], 0.4 * hidden.mean(axis=0), rtol=1e-10)
    model.calibrate(X)
    np.testing.assert_allclose(state["0.1.running_mean"], hidden.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(state["0.1.running_var"], hidden.var(axis=0), rtol=1e-10)
    hidden = (hidden - hidden.mean(axis=0)) / np.sqrt(hidden.var(axis=0) + 1e-5)
    joined = X + np.tanh(hidden) @ parameters["0.3.weight"]
    np.testing.assert_allclose(state["1.running_mean"], joined.mean(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(state["1.running_var"], joined.var(axis=0), rtol=1e-9)
    # a part of a model has its state in common with it
    part = model[:2]
    np.testing.assert_allclose(part.forward(X).mean(axis=0), 0, atol=1e-9)
    part.calibrate(X[:50])
    assert_same_bits(part.state, model.state)
    assert np.abs(part.forward(X).mean(axis=0)).max() > 1e-3


def test_frozen(rng):
    """Frozen weights stay; the statistics go on."""
    X, y = data(rng)
    model = small_model()
    model.layers[1].trainable = False
    model.fit(X, y, loss="mse", batch_size=50)
    named = model.named_parameters()
    np.testing.assert_array_equal(named["1.weight"], np.ones(8))
    np.testing.assert_array_equal(named["1.bias"], np.zeros(8))
    assert np.abs(model.named_state()["1.running_mean"]).min() > 0


# --------------------------------------------------------------------------------------- calibrate


def statistics(model, X):
    """The exact ones of each BatchNorm, and what comes out, in NumPy."""
    parameters, found, x = model.named_parameters(), {}, np.float64(X)
    for i, each in enumerate(model.layers):
        if isinstance(each, fnn.Dense):
            x = x @ parameters[f"{i}.weight"] + parameters[f"{i}.bias"]
        elif isinstance(each, fnn.Tanh):
            x = np.tanh(x)
        elif isinstance(each, fnn.Standardize):
            state = model.named_state()
            x = (x - state[f"{i}.mean"]) / state[f"{i}.std"]
        else:
            mean, var = x.mean(axis=0), x.var(axis=0)
            found[f"{i}.running_mean"], found[f"{i}.running_var"] = mean, var
            x = (x - mean) / np.sqrt(var + each.eps)
            if each.affine:
                x = x * parameters[f"{i}.weight"] + parameters[f"{i}.bias"]
    return found, x


@pytest.mark.parametrize("rows", [2, 150, 1024, 5000])
def test_calibrate(isa, dtype, rng, restore_threads, rows):
    X, y = data(rng, rows, 7)
    layers = [
        fnn.Standardize(),
        fnn.BatchNorm(affine=False),
        fnn.Dense(40),
        fnn.BatchNorm(),
        fnn.Tanh(),
    ]
    model = fnn.Sequential(
        [*layers, fnn.Dense(300), fnn.Tanh(), fnn.BatchNorm(), fnn.Dense(2)], dtype=dtype
    )
    model.fit(X, y, loss="mse", epochs=2, batch_size=1000 if rows == 5000 else 90)
    before, results = model.state.copy(), []
    for threads in (1, 2, 5):
        _core.set_num_threads(threads)
        model.state = before
        assert model.calibrate(X) is model
        results.append(model.state.copy())
    assert_same_bits(results[1], results[0])
    assert_same_bits(results[2], results[0])
    expected, out = statistics(model, X)
    rtol = 1e-9 if dtype == "float64" else 2e-3
    for name, values in expected.items():
        np.testing.assert_allclose(model.named_state()[name], values, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(model.forward(X), out, rtol=10 * rtol, atol=10 * rtol)
    assert_same_bits(model.state[:14], before[:14])  # Standardize's


def test_calibrate_gives_the_outputs_of_one_large_batch(isa, rng):
    X, y = data(rng, 1500)
    model = small_model()
    model.fit(X, y, loss="mse", epochs=1)
    out = model.forward(X, training=True)
    assert np.abs(model.forward(X) - out).max() > 1e-3
    np.testing.assert_allclose(model.calibrate(X).forward(X), out, rtol=1e-9, atol=1e-9)


def test_what_calibrate_refuses(rng):
    X, y = data(rng)
    model = small_model()
    with pytest.raises(ValueError, match="expected a model with a BatchNorm"):
        fnn.Sequential([fnn.Dense(2)]).calibrate(X)
    with pytest.raises(ValueError, match="X: expected at least two rows"):
        model.calibrate(X[:1])
    with pytest.raises(ValueError, match="X"):
        model.calibrate(np.where(np.arange(6) == 2, np.nan, X))
    model.fit(X, y, loss="mse", epochs=10)
    before = model.state.copy()
    with pytest.raises(FloatingPointError, match="nothing was changed"):
        model.calibrate(np.full((10, 6), [1e307] * 6) * np.linspace(-1, 1, 10)[:, None])
    assert_same_bits(model.state, before)


@pytest.mark.once
@pytest.mark.parametrize("affine", [True, False])
def test_one_layer_in_two_places_is_refused(affine):
    norm = fnn.BatchNorm(affine=affine)
    message = r"layers\[3\]: expected a BatchNorm of its own.*layers\[1\]"
    with pytest.raises(ValueError, match=message):
        fnn.Sequential([fnn.Dense(3), norm, fnn.ReLU(), norm, fnn.Dense(2)])


@pytest.mark.parametrize("shape", [(1100, 3), (5, 4, 40)], ids=str)
def test_positions_are_rows(isa, dtype, rng, restore_threads, shape):
    """Statistics are those of all positions, which are tallied by example, for any team."""
    X = (2 * rng.standard_normal((6, *shape)) + 100).astype(dtype)
    rows = X.reshape(-1, shape[-1])
    results = []
    for of, data in ((shape, X), (shape[-1], rows)):
        model = fnn.Sequential([fnn.BatchNorm()], dtype=dtype).build(of)
        z = model.forward(data, training=True, seed=0).reshape(rows.shape)
        model.calibrate(data)
        results.append((z, model.state))
    tolerance = {"float32": 2e-4, "float64": 1e-9}[dtype]
    for of_positions, of_rows in zip(*results, strict=True):
        np.testing.assert_allclose(of_positions, of_rows, atol=tolerance, rtol=1e-5)
    mean, variance = rows.astype(np.float64).mean(axis=0), rows.astype(np.float64).var(axis=0)
    np.testing.assert_allclose(results[0][1], np.concatenate([mean, variance]), rtol=1e-6)
