"""``standardize_targets=True``: beside a plain model of targets that NumPy has standardized."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import sklearn.metrics

import pyfast_nn as fnn
from conftest import assert_same_bits

pytestmark = pytest.mark.once

MEAN, STD = np.array([1e6, -3.0]), np.array([0.5, 200.0])


def make(scaled=True, dtype="float32", outputs=2, layers=()):
    layers = [fnn.Dense(8), fnn.Tanh(), *layers, fnn.Dense(outputs)]
    return fnn.Sequential(layers, dtype=dtype, seed=2, standardize_targets=scaled)


@pytest.fixture
def arrays(rng):
    X = rng.normal(size=(90, 3))
    return X, (X @ rng.normal(size=(3, 2)) + 0.1 * rng.normal(size=(90, 2))) * STD + MEAN


def standardized(y):
    return (y - y.mean(axis=0)) / y.std(axis=0)


def trained(arrays, dtype="float32", **options):
    model = make(dtype=dtype)
    model.fit(*arrays, **({"loss": "huber", "epochs": 5} | options))
    return model


class TestBesideAPlainModel:
    @pytest.mark.parametrize("shape", ["(n, 2)", "(n, 1)", "(n,)"])
    def test_fit_predict_evaluate(self, shape, arrays, dtype):
        X, y = arrays
        y = {"(n, 2)": y, "(n, 1)": y[:, :1], "(n,)": y[:, 0]}[shape]
        outputs = y[0].size
        models = [make(scaled, dtype, outputs) for scaled in (True, False)]
        options = {"loss": "huber", "epochs": 5, "validation_data": (X[:30], y[:30])}
        history = models[0].fit(X, y, metrics=["mae"], **options)
        z = standardized(y)
        expected = models[1].fit(X, z, **options | {"validation_data": (X[:30], z[:30])})
        np.testing.assert_allclose(models[0].parameters, models[1].parameters, rtol=0, atol=1e-6)
        for name in ("loss", "val_loss"):  # of what is trained on
            np.testing.assert_allclose(history[name], expected[name], rtol=1e-5)
        np.testing.assert_allclose(models[0].target_mean_, np.atleast_1d(y.mean(0)), rtol=1e-12)
        np.testing.assert_allclose(models[0].target_std_, np.atleast_1d(y.std(0)), rtol=1e-9)
        out = models[0].forward(X).astype(np.float64)
        predictions = (out * models[0].target_std_ + models[0].target_mean_).astype(dtype)
        assert_same_bits(models[0].predict(X), predictions if outputs > 1 else predictions[:, 0])
        assert np.abs(models[0].predict(X) - np.squeeze(y)).max() < 3000
        mae = sklearn.metrics.mean_absolute_error(y[:30], models[0].predict(X[:30]))
        assert history["val_mae"][-1] == pytest.approx(mae, rel=1e-6)
        assert models[1].target_mean_ is None

    def test_metrics_are_of_the_scale_of_the_targets(self, arrays):
        X, y = arrays
        model = trained(arrays, "float64")

        def largest_error(y_true, y_pred):
            return np.abs(y_true - y_pred).max()

        names = ["mse", "r2", "neg_mean_absolute_error", largest_error]
        scores = model.evaluate(X, y, metrics=names)
        z = model.predict(X)
        assert scores["mse"] == pytest.approx(sklearn.metrics.mean_squared_error(y, z), rel=1e-10)
        assert scores["r2"] == pytest.approx(sklearn.metrics.r2_score(y, z), rel=1e-10)
        mae = sklearn.metrics.mean_absolute_error(y, z)
        assert scores["neg_mean_absolute_error"] == pytest.approx(-mae, rel=1e-10)
        assert scores["largest_error"] == np.abs(y - z).max()

    def test_derivatives_are_of_what_is_trained_on(self, arrays):
        X, y = arrays
        model, plain = trained(arrays, "float64"), make(False, "float64").build(3)
        plain.parameters = model.parameters
        z = (y - model.target_mean_) / model.target_std_
        v = np.cos(np.arange(model.n_parameters))
        loss, gradient = model.loss_and_grad(X, y)
        expected = plain.loss_and_grad(X, z, loss="huber")
        assert loss == expected[0] == pytest.approx(model.evaluate(X, y)["loss"], rel=1e-12)
        assert_same_bits(gradient, expected[1])
        assert_same_bits(model.hvp(X, y, v), plain.hvp(X, z, v, loss="huber"))
        pytest.importorskip("scipy", reason="operators are its")
        H = fnn.curvature.Hessian(model, X, y)
        assert_same_bits(H @ v, fnn.curvature.Hessian(plain, X, z, loss="huber") @ v)
        traces = [
            fnn.curvature.exact_trace(fnn.curvature.GaussNewton(m, X, t, loss="mse"))
            for m, t in ((model, y), (plain, z))
        ]
        assert traces[0] == traces[1]

    def test_mean_of_random_passes(self, arrays):
        model = make(layers=[fnn.Dropout(0.5)])
        model.fit(*arrays, loss="mse", epochs=3)
        X = arrays[0]
        passes = [model.forward(X, training=True, seed=4) for _ in range(1)]
        one = model.predict(X, samples=1, seed=4)
        np.testing.assert_allclose(
            one, passes[0] * model.target_std_ + model.target_mean_, rtol=1e-6
        )
        many = model.predict(X, samples=50, seed=4)
        assert np.abs(standardized(many) - standardized(model.predict(X))).max() < 3


class TestWhatIsLearned:
    def test_once_and_of_the_training_rows(self, arrays):
        X, y = arrays
        model = trained(arrays, validation_split=0.5)
        held_out = model.history
        assert "val_loss" in held_out
        mean = model.target_mean_.copy()
        assert not np.allclose(mean, y.mean(0), rtol=1e-9)
        model.fit(X, 5 * y, epochs=1)
        assert_same_bits(model.target_mean_, mean)
        w = (np.arange(90) < 40).astype(float)
        weighted = trained((X, np.where(w[:, None] > 0, y, np.nan)), sample_weight=w)
        np.testing.assert_allclose(weighted.target_mean_, y[:40].mean(0), rtol=1e-12)

    def test_digits_that_float32_does_not_have(self, arrays):
        """A million and a half: the half is what matters."""
        X, y = arrays
        model = make(outputs=1)
        model.fit(X, y[:, 0], loss="mse", epochs=300, optimizer=fnn.optim.Adam(lr=0.01))
        out = model.forward(X)[:, 0]
        assert sklearn.metrics.r2_score(standardized(y[:, 0]), out) > 0.9

    def test_constant_targets(self, arrays):
        X, y = arrays
        y = y.copy()
        y[:, 1] = 0.1
        model = trained((X, y))
        assert model.target_std_[1] == 1
        model.fit(X, y, epochs=100, optimizer=fnn.optim.Adam(lr=0.01))
        np.testing.assert_allclose(model.predict(X)[:, 1], 0.1, atol=0.4)

    def test_integers(self, arrays):
        model = make(outputs=1)
        model.fit(arrays[0], np.arange(90), loss="mse", epochs=2)
        assert model.target_mean_ == 44.5

    def test_from_batches(self, arrays):
        X, y = arrays
        models = [make() for _ in range(2)]
        options = {"loss": "mse", "epochs": 3, "batch_size": 16}
        models[0].fit(X, y, shuffle=False, **options)
        batches = [(X[i : i + 25], y[i : i + 25]) for i in range(0, 90, 25)]
        with pytest.raises(ValueError, match=r"^X: expected batches that come more than once"):
            make().fit(iter(batches), loss="mse")
        models[1].fit(batches, **options)
        np.testing.assert_allclose(models[1].target_mean_, models[0].target_mean_, rtol=1e-14)
        np.testing.assert_allclose(models[1].target_std_, models[0].target_std_, rtol=1e-9)
        np.testing.assert_allclose(models[1].parameters, models[0].parameters, atol=1e-5)
        models[1].fit(iter(batches), epochs=1)  # it knows by now


WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "whole": lambda model: model[:],
}


class TestIsKept:
    @pytest.mark.parametrize("way", [*WAYS, "file"])
    def test_in_copies(self, way, arrays, tmp_path):
        model = trained(arrays)
        if way == "file":
            model.save(tmp_path / "m.safetensors")
            other = fnn.load(tmp_path / "m.safetensors")
        else:
            other = WAYS[way](model)
        assert_same_bits(other.predict(arrays[0]), model.predict(arrays[0]))
        assert_same_bits(other.target_std_, model.target_std_)
        assert repr(other).endswith("standardize_targets=True)")
        if way != "whole":
            for each in (model, other):
                each.fit(*arrays, epochs=2)
            assert_same_bits(other.parameters, model.parameters)

    def test_before_the_first_fit(self, tmp_path):
        make().build(3).save(tmp_path / "m.safetensors")
        other = fnn.load(tmp_path / "m.safetensors")
        assert other.target_mean_ is None and "standardize_targets=True" in repr(other)

    def test_parts_of_a_model_have_no_targets(self, arrays):
        part = trained(arrays)[:-1]
        assert part.target_mean_ is None and "standardize_targets" not in repr(part)

    def test_resumed_fit(self, arrays, tmp_path):
        path = tmp_path / "c.safetensors"
        whole = trained(arrays, epochs=6)
        first = make()
        stop = fnn.ModelCheckpoint(path)
        first.fit(*arrays, loss="huber", epochs=3, callbacks=[stop])
        second = make()
        second.fit(
            *arrays, loss="huber", epochs=6, callbacks=[fnn.ModelCheckpoint(path)], resume=path
        )
        assert_same_bits(second.parameters, whole.parameters)
        assert_same_bits(second.predict(arrays[0]), whole.predict(arrays[0]))

    def test_onnx(self, arrays, tmp_path):
        onnx = pytest.importorskip("onnx", reason="writes its files")
        from onnx.reference import ReferenceEvaluator

        model = trained(arrays, "float64")
        model.to_onnx(tmp_path / "m.onnx")
        session = ReferenceEvaluator(onnx.load(tmp_path / "m.onnx"))
        (out,) = session.run(None, {"X": arrays[0]})
        np.testing.assert_allclose(out, model.predict(arrays[0]), rtol=1e-12)


class TestErrors:
    def test_losses_without_values(self, arrays):
        X, y = arrays
        for loss in ("cross_entropy", "hinge", "poisson"):
            with pytest.raises(ValueError, match=r"^loss: expected one of values of any sign"):
                make().fit(X, abs(y), loss=loss)
        with pytest.raises(TypeError, match=r"^standardize_targets: expected"):
            make(scaled=1)
        with pytest.raises(
            ValueError, match=r"^standardize_targets: expected False beside classes"
        ):
            fnn.Sequential([fnn.Dense(2)], classes=[3, 4], standardize_targets=True)

    def test_before_the_first_fit(self, arrays):
        X, y = arrays
        model = make().build(3)
        for call in (
            lambda: model.predict(X, loss="mse"),
            lambda: model.evaluate(X, y, loss="mse"),
            lambda: model.loss_and_grad(X, y, loss="mse"),
        ):
            with pytest.raises(RuntimeError, match="has not learned mean and deviation"):
                call()
        assert model.forward(X).shape == (90, 2)

    def test_targets_whose_spread_overflows(self, arrays):
        y = np.where(np.arange(90) % 2, 1e308, -1e308)
        with pytest.raises(ValueError, match=r"^y: expected numbers whose standard deviation"):
            make(outputs=1).fit(arrays[0], y, loss="mse")
