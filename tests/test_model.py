"""What a built model computes, through the public names, against NumPy."""

import threading

import numpy as np
import pytest

import pyfast_nn as fnn

ACTIVATIONS = {
    fnn.ReLU: lambda z: np.maximum(z, 0),
    fnn.Tanh: np.tanh,
    fnn.Sigmoid: lambda z: 1 / (1 + np.exp(-z)),
}


def make(activation=fnn.Tanh, out=3, dtype="float64", seed=0):
    model = fnn.Sequential([fnn.Dense(5), activation(), fnn.Dense(out)], dtype=dtype, seed=seed)
    model.build(4)
    model.parameters = np.random.default_rng(seed).normal(size=model.n_parameters)
    return model


def outputs(model, X):
    """The same network in NumPy."""
    p = model.named_parameters()
    hidden = ACTIVATIONS[type(model.layers[1])](X @ p["0.weight"] + p["0.bias"])
    return hidden @ p["2.weight"] + p["2.bias"]


def differences(function, x, h=1e-6):
    """Central differences of `function` along each element of `x`: shape (*value, *x)."""
    columns = []
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = h
        step = step.reshape(x.shape)
        columns.append((function(x + step) - function(x - step)) / (2 * h))
    return np.moveaxis(np.array(columns), 0, -1)


@pytest.fixture
def X():
    return np.random.default_rng(1).normal(size=(7, 4))


@pytest.fixture
def y():
    return np.random.default_rng(2).integers(0, 3, 7)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward(activation, dtype, X):
    model = make(activation, dtype=dtype)
    out = model.forward(X)
    assert out.dtype == dtype and out.shape == (7, 3)
    np.testing.assert_allclose(out, outputs(model, X), rtol=1e-5)
    assert model.forward(X[:0]).shape == (0, 3)


class TestParameters:
    def test_a_writable_view_of_the_real_thing(self, X):
        model = make()
        view = model.parameters
        view[:] = 0
        assert (model.forward(X) == 0).all()
        model.named_parameters()["2.bias"][:] = [1, 2, 3]
        assert (model.forward(X) == [1, 2, 3]).all()
        view.shape = (-1, 1)
        assert model.parameters.shape == (model.n_parameters,)

    def test_begin_with_a_line_of_the_cache(self, dtype, tmp_path):
        for _ in range(5):
            model = make(dtype=dtype)
            model.save(tmp_path / "m.safetensors")
            for one in (model, fnn.load(tmp_path / "m.safetensors")):
                assert one.parameters.ctypes.data % 64 == 0 and one.parameters.dtype == dtype

    def test_names_and_shapes(self):
        model = make()
        named = model.named_parameters()
        assert {k: v.shape for k, v in named.items()} == {
            "0.weight": (4, 5),
            "0.bias": (5,),
            "2.weight": (5, 3),
            "2.bias": (3,),
        }
        np.testing.assert_array_equal(
            np.concatenate([v.ravel() for v in named.values()]), model.parameters
        )

    def test_assignment_copies_in(self):
        model = make(dtype="float32")
        before, values = model.parameters, np.arange(model.n_parameters, dtype=float)
        model.parameters = values
        values[:] = -1
        assert np.shares_memory(before, model.parameters)
        np.testing.assert_array_equal(model.parameters, np.arange(model.n_parameters))
        model.parameters -= 1
        assert model.parameters[0] == -1

    @pytest.mark.parametrize("shape", [(), (1,), (42,), (1, 43), (43, 1)])
    def test_assignment_checks_the_shape(self, shape):
        model = make()
        assert model.n_parameters == 43
        with pytest.raises(ValueError, match=r"parameters: expected shape \(43,\)"):
            model.parameters = np.zeros(shape)

    def test_not_built(self):
        model = fnn.Sequential([fnn.Dense(2)])
        assert not model.built
        for use in (
            lambda: model.parameters,
            lambda: model.n_parameters,
            model.named_parameters,
            lambda: model.save("x"),
        ):
            with pytest.raises(RuntimeError, match="not built"):
                use()

    def test_build(self):
        model = fnn.Sequential([fnn.Dense(2)])
        assert model.build(3) is model
        before = model.parameters.copy()
        model.parameters += 1
        model.build(3)  # nothing is made anew
        np.testing.assert_array_equal(model.parameters, before + 1)
        with pytest.raises(ValueError, match="in_features: expected 3"):
            model.build(4)
        assert (model.in_features, model.out_features, model.n_parameters) == (3, 2, 8)

    def test_using_an_unbuilt_model_builds_it(self, X):
        model = fnn.Sequential([fnn.Dense(3)], seed=4)
        model.forward(X)
        same = fnn.Sequential([fnn.Dense(3)], seed=4).build(4)
        np.testing.assert_array_equal(model.parameters, same.parameters)


class TestDerivatives:
    def losses(self, X, y):
        """Both losses as functions of the outputs, in NumPy, with their targets."""

        def cross_entropy(out):
            logp = out - np.log(np.exp(out).sum(axis=1, keepdims=True))
            return -logp[np.arange(len(y)), y].mean()

        target = np.sin(np.arange(len(X) * 3)).reshape(-1, 3)
        return {
            "cross_entropy": (y, cross_entropy),
            "mse": (target, lambda out: np.mean((out - target) ** 2)),
        }

    @pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
    def test_loss_and_grad(self, loss, X, y):
        model = make()
        target, value = self.losses(X, y)[loss]
        got, grad = model.loss_and_grad(X, target, loss=loss)
        assert isinstance(got, float)
        np.testing.assert_allclose(got, value(outputs(model, X)), rtol=1e-12)
        np.testing.assert_allclose(model.evaluate(X, target, loss=loss)["loss"], got, rtol=1e-12)

        def at(p):
            other = make()
            other.parameters = p
            return value(outputs(other, X))

        np.testing.assert_allclose(grad, differences(at, model.parameters), atol=1e-8)

    @pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
    def test_hvp(self, loss, X, y):
        model = make()
        target, _ = self.losses(X, y)[loss]

        def at(p):
            other = make()
            other.parameters = p
            return other.loss_and_grad(X, target, loss=loss)[1]

        hessian = differences(at, model.parameters)
        v = np.random.default_rng(3).normal(size=model.n_parameters)
        np.testing.assert_allclose(
            model.hvp(X, target, v, loss=loss), hessian @ v, atol=1e-7 * abs(hessian).sum()
        )

    def test_jvp_and_vjp(self, X):
        model = make()

        def at(p):
            other = make()
            other.parameters = p
            return outputs(other, X)

        jacobian = differences(at, model.parameters)  # (n, out, parameters)
        v = np.random.default_rng(3).normal(size=model.n_parameters)
        out, dout = model.jvp(X, v)
        np.testing.assert_allclose(out, outputs(model, X), rtol=1e-12)
        np.testing.assert_allclose(dout, jacobian @ v, atol=1e-6)

        out, pullback = model.vjp(X)
        np.testing.assert_allclose(out, outputs(model, X), rtol=1e-12)
        jacobian_x = differences(lambda x: outputs(model, x), X)
        for seed in (4, 5):  # a pullback may be called again
            g = np.random.default_rng(seed).normal(size=out.shape)
            dparams, dX = pullback(g)
            np.testing.assert_allclose(dparams, np.tensordot(g, jacobian, 2), atol=1e-6)
            np.testing.assert_allclose(dX, np.tensordot(g, jacobian_x, 2).reshape(7, 4), atol=1e-6)

    def test_a_pullback_ends_with_its_parameters(self, X):
        model = make()
        out, pullback = model.vjp(X)
        before = model.parameters.copy()
        X[:] = 0  # it owns its activations
        model.forward(X)
        expected = model.n_parameters
        assert pullback(np.ones_like(out))[0].shape == (expected,)
        model.parameters[3] = np.nextafter(model.parameters[3], 9)
        with pytest.raises(RuntimeError, match="parameters have changed"):
            pullback(np.ones_like(out))
        model.parameters = before
        pullback(np.ones_like(out))

    def test_a_pullback_does_not_follow_the_data(self, X):
        model = make()
        out, pullback = model.vjp(X)
        first = pullback(np.ones_like(out))
        X[:] = 0
        for a, b in zip(first, pullback(np.ones_like(out)), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_wrong_shapes(self, X, y):
        model = make()
        out, pullback = model.vjp(X)
        with pytest.raises(ValueError, match="dout"):
            pullback(out[:3])
        with pytest.raises(ValueError, match="v"):
            model.jvp(X, np.ones(3))
        with pytest.raises(ValueError, match="v"):
            model.hvp(X, y, np.ones((1, model.n_parameters)), loss="cross_entropy")
        with pytest.raises(ValueError, match=r"X.*12 columns.*4|4.*12"):
            model.forward(np.ones((2, 12)))
        with pytest.raises(TypeError, match="v: expected real numbers"):
            model.jvp(X, np.ones(model.n_parameters, complex))

    def test_a_step_down_the_gradient_from_a_loss_of_ones_own(self, X):
        model = make()
        target = np.ones((7, 3))

        def loss():
            return np.mean(abs(model.forward(X) - target) ** 3)

        before = loss()
        out, pullback = model.vjp(X)
        dparams, _ = pullback(3 * (out - target) * abs(out - target) / out.size)
        model.parameters -= 0.01 * dparams
        assert loss() < before


class TestPredict:
    def test_needs_a_loss(self, X, y):
        model = make()
        for use in (
            lambda: model.predict(X),
            lambda: model.predict_proba(X),
            lambda: model.evaluate(X, y),
            lambda: model.fit(X, y),
        ):
            with pytest.raises(ValueError, match="not been fitted, got None; pass loss="):
                use()

    @pytest.mark.parametrize(
        ("loss", "out"),
        [
            ("cross_entropy", 3),
            (fnn.losses.CrossEntropy(label_smoothing=0.1), 3),
            ("multi_margin", 3),
            *[("binary_cross_entropy", n) for n in (1, 2)],
            *[("hinge", n) for n in (1, 2)],
            *[("mse", n) for n in (1, 3)],
        ],
    )
    def test_a_loss_for_this_call(self, loss, out, X):
        """A model that was trained through `vjp`, beside one that fit left at the same values."""
        own, fitted = make(out=out), make(out=out)
        for _ in range(5):
            z, pullback = own.vjp(X)
            own.parameters -= 0.1 * pullback(z - np.arange(out) + 0.5)[0]
        labels = np.arange(7) % 2
        targets = {1: labels, 2: np.stack([labels, 1 - labels], 1), 3: np.arange(7) % 3}[out]
        if loss == "mse":
            targets = np.ones((7, out))
        if loss == "hinge":
            targets = 2 * targets - 1
        fitted.fit(X, targets, loss=loss, verbose=0)
        fitted.parameters = own.parameters
        np.testing.assert_array_equal(own.predict(X, loss=loss), fitted.predict(X), strict=True)
        if fnn.losses.check(loss).outputs == "logits":
            expected = fitted.predict_proba(X)
            np.testing.assert_array_equal(own.predict_proba(X, loss=loss), expected, strict=True)
        else:
            with pytest.raises(ValueError, match="loss: expected 'cross_entropy' or"):
                own.predict_proba(X, loss=loss)
        assert own.loss is None

    def test_the_loss_of_the_call_precedes_that_of_the_fit(self, X, y):
        model = make()
        model.fit(X, y, loss="cross_entropy", verbose=0)
        np.testing.assert_array_equal(model.predict(X, loss="mse"), model.forward(X))
        assert model.loss == "cross_entropy" and model.predict(X).shape == (7,)
        with pytest.raises(ValueError, match="loss: expected one of cross_entropy"):
            model.predict(X, loss="nonsense")

    def test_classification(self, X, y):
        model = make()
        model.fit(X, y, loss="cross_entropy", verbose=0)
        out = outputs(model, X)
        p = np.exp(out) / np.exp(out).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(model.predict_proba(X), p, rtol=1e-10)
        np.testing.assert_array_equal(model.predict(X), out.argmax(axis=1))
        assert model.evaluate(X, y)["accuracy"] == np.mean(model.predict(X) == y)
        assert model.predict(X[:0]).shape == (0,) and model.predict_proba(X[:0]).shape == (0, 3)

    def test_probabilities_of_huge_outputs(self):
        model = fnn.Sequential([fnn.Dense(3, init=1.0, bias_init=0.0)], dtype="float32")
        model.fit(np.zeros((3, 1)), [0, 1, 2], loss="cross_entropy", verbose=0)
        model.named_parameters()["0.bias"][:] = [1e4, -200, 1e4]
        np.testing.assert_array_equal(model.predict_proba([[0.0]]), [[0.5, 0, 0.5]])

    @pytest.mark.parametrize(("out", "shape"), [(1, (7,)), (3, (7, 3))])
    def test_regression(self, out, shape, X):
        model = make(out=out)
        model.fit(X, np.ones(shape), loss="mse", verbose=0)
        assert model.predict(X).shape == shape
        np.testing.assert_allclose(model.predict(X).ravel(), outputs(model, X).ravel(), rtol=1e-10)
        assert set(model.evaluate(X, np.ones(shape))) == {"loss"}
        with pytest.raises(ValueError, match=r"loss: expected 'cross_entropy' or .*, got 'mse'"):
            model.predict_proba(X)

    def test_evaluate_without_rows(self, X, y):
        with pytest.raises(ValueError, match="at least one row"):
            make().evaluate(X[:0], y[:0], loss="cross_entropy")

    def test_two_threads(self):
        model = make()
        X = np.random.default_rng(0).normal(size=(2000, 4))
        expected = model.forward(X)
        wrong = []

        def work():
            for _ in range(30):
                if not np.array_equal(model.forward(X), expected):
                    wrong.append(1)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
