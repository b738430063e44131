"""Rescale and Standardize: as a transformed copy of X, what they learn, where they live."""

import json

import numpy as np
import pytest
import safetensors.numpy
from scipy import sparse
from sklearn.preprocessing import StandardScaler

import pyfast_nn as fnn
from conftest import assert_close, assert_same_bits
from problems import core_network
from pyfast_nn import _core
from pyfast_nn.models import engine_of


def hard_columns(rng, n=300):
    """(n, 40) numbers on which careless formulas fail: large means, small spreads, constants."""
    X = rng.normal(size=(n, 40)) * 10.0 ** rng.integers(-3, 4, 40)
    X[:, 1] += 1e8
    X[:, 2] = X[:, 2] * 1e-9 - 3
    X[:, 3], X[:, 4], X[:, 5] = 0.1, 0, -1e20
    X[:, 6] = 7.7e8 + rng.integers(0, 2, n)
    X[:, 7] = np.where(np.arange(n) == n - 1, 5.0, 0.0)
    return X


def make(inputs, dtype="float64", in_features=40):
    layers = [*inputs, fnn.Dense(5), fnn.Tanh(), fnn.Dense(3)]
    return fnn.Sequential(layers, dtype=dtype, seed=1).build(in_features)


def bare(model):
    """The same network without its input layers."""
    layers = [x for x in model.layers if not isinstance(x, (fnn.Rescale, fnn.Standardize))]
    other = fnn.Sequential(layers, dtype=model.dtype, seed=1).build(model.in_features)
    other.parameters = model.parameters
    return other


def transformed(model, X):
    """What the input layers make of X, in float64 NumPy."""
    X, state = np.asarray(X, np.float64), model.named_state()
    for i, layer in enumerate(model.layers):
        if isinstance(layer, fnn.Rescale):
            X = X * layer.scale + layer.offset
        elif isinstance(layer, fnn.Standardize):
            X = (X - state[f"{i}.mean"]) / state[f"{i}.std"]
    return X


def learn(model, X):
    """Learn the statistics and forget the training."""
    before = model.parameters.copy()
    y = np.arange(X.shape[0]) % 3
    model.fit(X, y, loss="cross_entropy", epochs=1, verbose=0)
    model.parameters = before
    return model


INPUTS = {
    "rescale": lambda: [fnn.Rescale(-0.3, offset=0.7)],
    "standardize": lambda: [fnn.Standardize()],
    "both": lambda: [fnn.Rescale(-2.5, offset=3), fnn.Standardize()],
    "any number": lambda: [fnn.Standardize(), fnn.Rescale(0.5), fnn.Rescale(2, offset=-1)],
}


@pytest.fixture(params=INPUTS)
def inputs(request):
    return INPUTS[request.param]()


class TestTheSameAsATransformedCopy:
    def test_outputs_and_derivatives(self, inputs, isa, dtype, rng):
        X, y = rng.normal(3, 2, size=(30, 40)).astype(dtype), np.arange(30) % 3
        model = learn(make(inputs, dtype), X)
        clean, other = transformed(model, X), bare(model)
        assert_close(model.forward(X), other.forward(clean), dtype, 40)
        v = rng.normal(size=model.n_parameters)
        for actual, expected in zip(model.jvp(X, v), other.jvp(clean, v), strict=True):
            assert_close(actual, expected, dtype, 40)
        expected = other.hvp(clean, y, v, loss="cross_entropy")
        assert_close(model.hvp(X, y, v), expected, dtype, 400)
        for actual, expected in zip(
            model.loss_and_grad(X, y),
            other.loss_and_grad(clean, y, loss="cross_entropy"),
            strict=True,
        ):
            assert_close(actual, expected, dtype, 400)
        expected = other.evaluate(clean, y, loss="cross_entropy")
        assert model.evaluate(X, y)["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        other.loss = "cross_entropy"
        assert_close(model.predict_proba(X), other.predict_proba(clean), dtype, 40)

    def test_training(self, inputs, isa, threads, rng):
        X, y = rng.normal(3, 2, size=(500, 40)), np.arange(500) % 3
        model = learn(make(inputs), X)
        other, clean = bare(model), transformed(model, X)
        for trained, data in ((model, X), (other, clean)):
            trained.fit(
                data, y, loss="cross_entropy", epochs=2, batch_size=64, shuffle=False, verbose=0
            )
        assert_close(model.parameters, other.parameters, "float64", 4000)

    def test_one_rounding(self, isa, dtype, rng):
        """Every input as NumPy has it in float64, rounded once; ReLU passes it on."""
        X = hard_columns(rng)
        layers = [fnn.Standardize(), fnn.Rescale(offset=1000.0, scale=1), fnn.ReLU()]
        model = fnn.Sequential(layers, dtype=dtype).build(40)
        model.fit(X, np.zeros(X.shape), loss="mse", epochs=1, verbose=0)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(model.forward(X), transformed(model, X), rtol=3 * eps)

    @pytest.mark.parametrize("code", [*"efdbhiqBHIQ?", ">f4", ">i8", ">e"])
    @pytest.mark.parametrize("columns", [5, 70])
    def test_any_dtype(self, code, columns, isa, dtype, rng):
        X = rng.integers(0, 2 if code == "?" else 100, (50, columns)).astype(code)
        model = make([fnn.Rescale(), fnn.Standardize()], dtype, columns)
        expected = learn(model, X.astype(np.float64)).forward(X.astype(np.float64))
        formats = [X, np.asfortranarray(X)]
        if X.itemsize != 2 or X.dtype.kind != "f":  # SciPy has no float16
            formats.append(sparse.csr_array(X.astype(X.dtype.newbyteorder("="))))
        for given in formats:
            other = learn(make([fnn.Rescale(), fnn.Standardize()], dtype, columns), given)
            assert_same_bits(other.state, model.state)
            assert_same_bits(other.forward(given), expected)

    def test_gradient_in_the_inputs(self, inputs, isa, rng):
        X = rng.normal(3, 2, size=(4, 40))
        model = learn(make(inputs), X)
        dout = rng.normal(size=(4, 3))
        _, dX = model.vjp(X)[1](dout)
        direction, h = rng.normal(size=X.shape), 1e-6
        sides = [(model.forward(X + s * h * direction) * dout).sum() for s in (1, -1)]
        slope = (sides[0] - sides[1]) / (2 * h)
        assert (dX * direction).sum() == pytest.approx(slope, rel=1e-6)
        np.testing.assert_array_equal(model.vjp(X.astype(np.float32))[1](dout)[1].shape, X.shape)


class TestStatistics:
    @pytest.mark.parametrize("n", [1, 2, 300, 5000])
    def test_as_scikit_learn(self, n, isa, threads, rng):
        X = hard_columns(rng, n)
        X[:, 5] = -1e20  # constant
        model = learn(make([fnn.Standardize()]), X)
        exact = X.astype(np.longdouble)
        mean, std = exact.mean(0), exact.std(0)
        state, eps = model.named_state(), 2.0**-52
        std[std**2 <= n * eps * std**2 + (n * eps * mean) ** 2] = 1
        assert (abs(state["0.mean"] - mean) <= 16 * eps * (abs(mean) + std)).all()
        assert (abs(state["0.std"] / std - 1) <= 16 * eps * (1 + abs(mean) / std)).all()
        easy = [j for j in range(40) if j not in (1, 2, 3, 5, 6)]
        scaler = StandardScaler().fit(X[:, easy])
        np.testing.assert_allclose(state["0.mean"][easy], scaler.mean_, rtol=1e-10)
        np.testing.assert_allclose(state["0.std"][easy], scaler.scale_, rtol=1e-10)

    @pytest.mark.once
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    @pytest.mark.parametrize("scale", [1, 1000.0, -3e-4])
    def test_what_varies_by_rounding_alone_is_constant(self, dtype, scale, rng):
        shares = rng.dirichlet([1, 1, 1], 500).astype(dtype)
        X = np.column_stack([shares, (shares * dtype(scale)).sum(1, dtype=dtype)])
        assert len(np.unique(X[:, 3])) > 1 and X.dtype == dtype
        for layers in ([], [fnn.Rescale(4, -4 * scale)], [fnn.Standardize()]):
            model = learn(make([*layers, fnn.Standardize()], in_features=4), X)
            std = model.named_state()[f"{len(layers)}.std"]
            assert std[3] == 1 and (std[:3] != 1).all() != bool(layers[:1] == [fnn.Standardize()])
            assert abs(model.forward(X)).max() < 1e3
            X[0, 3] = 2 * scale  # a number of another day
            assert abs(model.forward(X)).max() < 1e4
            X[0, 3] = scale
        if dtype != np.float16:
            model = learn(make([fnn.Standardize()], in_features=4), sparse.csr_array(X))
            assert model.named_state()["0.std"][3] == 1

    @pytest.mark.once
    @pytest.mark.parametrize("n", [3, 500, 20_000])
    def test_the_bound_is_that_of_scikit_learn(self, n, rng):
        noise, bound = rng.normal(size=n), n * 2.0**-52
        noise = (noise - noise.mean()) / noise.std()
        X = 3 + np.outer(noise, bound * 3 * np.array([0.3, 0.9, 1.1, 3, 1e3]))
        std = learn(make([fnn.Standardize()], in_features=5), X).named_state()["0.std"]
        np.testing.assert_array_equal(std == 1, StandardScaler().fit(X).scale_ == 1)
        assert (std != 1).any()

    @pytest.mark.once
    def test_a_small_spread_is_no_rounding(self, rng):
        """Nothing is lost of columns whose spread is small, and larger than rounding."""
        step = rng.integers(0, 2, 1000)
        step[:2] = 0, 1
        for column in (
            1_700_000_000 + step,
            (1_700_000_000 + step).astype(np.uint64),
            1e150 + 1e138 * step,
            np.float32(1000) + np.float32(0.001) * step.astype(np.float32),
            np.float16(100) + step.astype(np.float16),
        ):
            model = learn(make([fnn.Standardize()], in_features=1), column[:, None])
            exact = float(column.astype(np.longdouble).std())
            assert model.named_state()["0.std"][0] == pytest.approx(exact, rel=1e-3)

    def test_the_same_bits_for_any_number_of_threads(self, isa, restore_threads, rng):
        X, states = rng.normal(size=(3000, 500)), []
        for threads in (1, 2, 5):
            _core.set_num_threads(threads)
            state = np.empty(500), np.empty(500)
            _core.column_statistics(X, *state)
            states.append(state)
        for mean, std in states[1:]:
            assert_same_bits(mean, states[0][0])
            assert_same_bits(std, states[0][1])

    def test_some_rows(self, isa, rng):
        X, rows = rng.normal(size=(50, 3)), np.array([4, 4, 49, 0, 7])
        mean, std = np.empty(3), np.empty(3)
        for given in (X, sparse.csr_array(X)):
            _core.column_statistics(given, mean, std, rows)
            np.testing.assert_allclose(mean, X[rows].mean(0), rtol=1e-14)
            np.testing.assert_allclose(std, X[rows].std(0), rtol=1e-14)

    @pytest.mark.parametrize(
        "arguments",
        [
            (np.ones((2, 3)), np.empty(3), np.empty(3), np.array([0, 2])),
            (np.ones((2, 3)), np.empty(3), np.empty(3), np.array([-1])),
            (np.ones((2, 3)), np.empty(3), np.empty(3), np.array([], int)),
            (np.ones((0, 3)), np.empty(3), np.empty(3), None),
            (np.ones((2, 0)), np.empty(0), np.empty(0), None),
            (np.ones((2, 3)), np.empty(4), np.empty(4), None),
            (np.ones((2, 3)), np.empty(3), np.empty(4), None),
        ],
    )
    def test_impossible(self, arguments):
        with pytest.raises(ValueError, match=r"X|order|std"):
            _core.column_statistics(*arguments)

    def test_too_large(self):
        X = np.array([[1, 1e200, 0], [2, -1e200, 0]])
        with pytest.raises(ValueError, match=r"X: expected numbers whose .* in column 1"):
            make([fnn.Standardize()], in_features=3).fit(X, [0, 1], loss="cross_entropy", verbose=0)

    def test_numbers_beyond_the_model_s_dtype(self):
        X = np.array([[1e200, 3e100], [3e200, 1e100]])
        model = make([fnn.Rescale(1e-100), fnn.Standardize()], "float32", 2)
        learn(model, X * [1e-100, 1])
        assert np.isfinite(model.forward(X * [1e-100, 1])).all()


@pytest.mark.once
class TestState:
    def test_learned_once(self, rng):
        X, y = rng.normal(5, 2, size=(20, 40)), np.arange(20) % 3
        model = make([fnn.Standardize()])
        assert np.isnan(model.state).all() and model.state.dtype == np.float64
        model.fit(X, y, loss="cross_entropy", epochs=1, verbose=0)
        before = model.state.copy()
        assert np.isfinite(before).all()
        model.fit(X * 9 + 1, y, epochs=1, verbose=0)
        assert_same_bits(model.state, before)
        assert_same_bits(model.named_state()["0.mean"], before[:40])
        assert_same_bits(model.named_state()["0.std"], before[40:])

    def test_views(self):
        model = make([fnn.Rescale(2), fnn.Standardize()])
        state = model.named_state()
        assert list(state) == ["1.mean", "1.std"]
        state["1.mean"][:], state["1.std"][:] = 3, 2
        np.testing.assert_array_equal(model.state, [3.0] * 40 + [2.0] * 40)
        assert_close(
            model.forward(np.full((1, 40), 2.5)), bare(model).forward(np.ones((1, 40))), "float64"
        )
        model.state = np.ones(80, np.float32)
        assert (state["1.mean"] == 1).all()
        with pytest.raises(ValueError, match=r"state: expected shape \(80,\), got \(3,\)"):
            model.state = np.ones(3)

    def test_none(self):
        model = make([fnn.Rescale()])
        assert model.state.shape == (0,) and model.named_state() == {}
        assert (
            not engine_of(model).net.has_state
            and engine_of(make([fnn.Standardize()])).net.has_state
        )

    def test_use_before_the_first_fit(self, rng):
        X, y, model = (
            rng.normal(size=(6, 40)),
            [0, 1, 2] * 2,
            make([fnn.Rescale(), fnn.Standardize()]),
        )
        v = np.ones(model.n_parameters)
        for use in (
            lambda: model.forward(X),
            lambda: model.vjp(X),
            lambda: model.jvp(X, v),
            lambda: model.evaluate(X, y, loss="cross_entropy"),
            lambda: model.loss_and_grad(X, y, loss="cross_entropy"),
            lambda: model.hvp(X, y, v, loss="cross_entropy"),
        ):
            with pytest.raises(
                RuntimeError, match=r"layers\[1\], Standardize\(\), .*fit the model"
            ):
                use()

    def test_nothing_is_learned_by_a_fit_that_is_refused(self, rng):
        model = make([fnn.Standardize()])
        with pytest.raises(ValueError, match="y: "):
            model.fit(rng.normal(size=(6, 40)), [0, 1], loss="cross_entropy", verbose=0)
        assert np.isnan(model.state).all()

    def test_the_core_wants_it(self):
        net = engine_of(make([fnn.Standardize()])).net
        X, out = np.ones((2, 40)), np.empty((2, 3))
        parameters = np.zeros(net.n_parameters)
        for state in (None, np.ones(79), np.ones(80, np.float32), np.ones((80, 1)), [1.0] * 80):
            with pytest.raises((TypeError, ValueError), match="model_state"):
                net.forward(parameters, X, out, model_state=state)

    def test_validation_data_are_not_learned_from(self, rng):
        X, y = rng.normal(size=(20, 40)), np.arange(20) % 3
        model = make([fnn.Standardize()])
        model.fit(X, y, loss="cross_entropy", epochs=1, validation_data=(X + 9, y), verbose=0)
        np.testing.assert_allclose(model.named_state()["0.mean"], X.mean(0), atol=1e-14)


@pytest.mark.once
class TestFile:
    @pytest.mark.parametrize("fitted", [True, False])
    def test_round_trip(self, fitted, inputs, dtype, tmp_path, rng):
        model, X = make(inputs, dtype), rng.normal(3, 2, size=(9, 40))
        if fitted:
            learn(model, X)
        model.save(tmp_path / "m")
        again = fnn.load(tmp_path / "m")
        assert again.layers == model.layers and repr(again) == repr(model)
        assert_same_bits(again.state, model.state)
        if fitted:
            assert_same_bits(again.forward(X), model.forward(X))
        else:
            learn(again, X)

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"0.std": np.zeros(40)}, "0.std.*positive"),
            ({"0.std": np.full(40, -1.0)}, "0.std.*positive"),
            ({"0.std": np.full(40, np.inf)}, "0.std.*positive"),
            ({"0.mean": np.full(40, np.nan)}, "0.mean.*finite"),
            ({"0.mean": np.zeros(40, np.float32)}, "0.mean.*float32.*float64"),
            ({"0.mean": np.zeros(41)}, "0.mean.*41"),
            ({"1.mean": np.zeros(40)}, "unknown tensors: '1.mean'"),
            ({"0.mean": None}, "missing .*'0.mean'"),
        ],
    )
    def test_impossible_statistics(self, change, match, tmp_path, rng):
        model = learn(make([fnn.Standardize()]), rng.normal(size=(9, 40)))
        model.save(tmp_path / "m")
        tensors = safetensors.numpy.load((tmp_path / "m").read_bytes()) | change
        tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        with safetensors.safe_open(tmp_path / "m", "np") as file:
            metadata = dict(file.metadata())
        assert json.loads(metadata["pyfast_nn"])["layers"][0] == {"type": "Standardize"}
        safetensors.numpy.save_file(tensors, tmp_path / "m", metadata)
        with pytest.raises(fnn.ModelFileError, match=match):
            fnn.load(tmp_path / "m")


@pytest.mark.once
class TestPlace:
    @pytest.mark.parametrize("layer", [fnn.Rescale(0.5), fnn.Standardize()])
    def test_only_in_front(self, layer):
        with pytest.raises(ValueError, match=r"layers\[2\]: .* in front of all other layers"):
            fnn.Sequential([fnn.Rescale(), fnn.Dense(3), layer, fnn.Dense(2)])
        with pytest.raises(ValueError, match="layers: expected a layer after"):
            fnn.Sequential([fnn.Rescale(), layer])
        kind = (layer.kind, 0, layer.values)
        with pytest.raises(ValueError, match="in front of all layers of other kinds"):
            core_network("float32", 3, [("dense", 2, ()), kind])
        with pytest.raises(ValueError, match="values"):
            core_network("float32", 3, [(layer.kind, 0, (1.0, 2.0, 3.0)), ("dense", 2, ())])

    @pytest.mark.parametrize(
        ("arguments", "error", "match"),
        [
            ({"scale": 0}, ValueError, "scale"),
            ({"scale": np.nan}, ValueError, "scale"),
            ({"scale": np.inf}, ValueError, "scale"),
            ({"scale": "2"}, TypeError, "scale"),
            ({"offset": np.inf}, ValueError, "offset"),
            ({"offset": None}, TypeError, "offset"),
        ],
    )
    def test_impossible(self, arguments, error, match):
        with pytest.raises(error, match=match):
            fnn.Rescale(**arguments)

    def test_in_the_summary(self):
        assert "Standardize()" in make([fnn.Rescale(), fnn.Standardize()]).summary()


@pytest.mark.parametrize("n", [1, 3, 32])
def test_few_rows_on_a_team(rng, restore_threads, n):
    """Inputs mapped and gathered by some threads are whole before others read them."""
    X, y = rng.normal(2, 3, (60, 799)), rng.integers(0, 4, 60)
    layers = [fnn.Standardize(), fnn.Rescale(0.5), fnn.Dense(801), fnn.ReLU(), fnn.Dense(400)]
    model = fnn.Sequential([*layers, fnn.ReLU(), fnn.Dense(4)], seed=0)
    model.fit(X, y, loss="cross_entropy", optimizer=fnn.optim.SGD(lr=0.0), epochs=1, verbose=False)
    many = model.predict_proba(X)
    for threads in (1, 2, 5):
        fnn.set_num_threads(threads)
        for few in (X[:n], sparse.csr_array(X[:n])):
            assert_same_bits(model.predict_proba(few), many[:n])
