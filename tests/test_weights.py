"""Weights of examples: what is trained is the weighted risk, and a row of weight 0 is not there."""

import numpy as np
import pytest

import pyfast_nn as fnn
from pyfast_nn import curvature, inspect


def fitted(X, y, *, layers=None, dtype="float64", **options):
    """Return the parameters, the state and the history of a new model after a fit."""
    layers = layers or [fnn.Standardize(), fnn.Dense(5), fnn.Tanh(), fnn.Dense(3)]
    model = fnn.Sequential(layers, dtype=dtype, seed=3)
    options = {"loss": "cross_entropy", "epochs": 3, "batch_size": 16, "verbose": 0, **options}
    history = model.fit(X, y, **options)
    records = {key: history[key] for key in history if key != "seconds"}
    return model, [model.parameters.tobytes(), model.state.tobytes(), records]


class TestUnbiased:
    """The gradient of a step estimates that of sum(w l) / sum(w) whatever the batch size."""

    @pytest.mark.parametrize("batch_size", [1, 8, 32, 128, 1000])
    def test_balanced_classes(self, batch_size):
        """A constant input: all that can be learned is the share of the classes, here one half."""
        X, y = np.ones((1000, 1)), np.arange(1000) % 100 == 0
        model = fnn.Sequential([fnn.Dense(1)], dtype="float64", seed=0)
        steps = -(-1000 // batch_size)
        model.fit(
            X,
            y,
            loss="binary_cross_entropy",
            class_weight="balanced",
            optimizer=fnn.optim.SGD(lr=min(1.0, 0.1 * batch_size / 32)),
            batch_size=batch_size,
            epochs=40 if steps > 1 else 400,
            verbose=0,
        )
        # The mean over a further epoch, as the last steps are noisy.
        probabilities = []
        note = type("Note", (fnn.Callback,), {})()
        note.on_epoch_end = lambda m, *_: probabilities.append(m.predict_proba(X[:1])[0, 1])
        model.fit(
            X,
            y,
            class_weight="balanced",
            optimizer=fnn.optim.SGD(lr=min(1.0, 0.01 * batch_size / 32)),
            batch_size=batch_size,
            epochs=40,
            callbacks=[note],
            verbose=0,
        )
        assert np.mean(probabilities) == pytest.approx(0.5, abs=0.04)

    @pytest.mark.parametrize("batches_per_step", [1, 3])
    @pytest.mark.parametrize("stepwise", [False, True])
    def test_mean_of_an_epoch(self, isa, dtype, rng, batches_per_step, stepwise):
        """Steps so small that none matters add up to the gradient of the risk."""
        X, y = rng.normal(size=(48, 4)), rng.integers(0, 3, 48)
        w = rng.exponential(size=48) ** 3
        layers = [fnn.Dense(5), fnn.Tanh(), fnn.Dense(3)]
        model = fnn.Sequential(layers, dtype="float64", seed=0).build(4)
        _, gradient = model.loss_and_grad(X, y, loss="cross_entropy", sample_weight=w)
        before, lr = model.parameters.copy(), 1e-7
        options = {"clip_norm": 1e9} if stepwise else {}
        model.fit(
            X,
            y,
            loss="cross_entropy",
            sample_weight=w,
            optimizer=fnn.optim.SGD(lr=lr, **options),
            batch_size=4,
            gradient_accumulation_steps=batches_per_step,
            epochs=1,
            verbose=0,
        )
        steps = 12 / batches_per_step
        mean = (before - model.parameters) / (lr * steps)
        np.testing.assert_allclose(mean, gradient, rtol=1e-3, atol=1e-4 * abs(gradient).max())


def spoiled(rng, X, y, kind):
    """Return X, y and weights with further rows, of weight 0 and impossible, among those given."""
    n, extra = len(X), 11
    places = np.sort(rng.permutation(n + extra)[:n])
    w = np.zeros(n + extra)
    w[places] = rng.uniform(0.5, 2, n)
    all_X = np.full((n + extra, X.shape[1]), [np.nan, np.inf, 1e20][kind])
    all_X[places] = X
    all_y = np.full((n + extra, *y.shape[1:]), "unseen" if y.dtype.kind == "U" else 77, y.dtype)
    if y.dtype.kind == "f":
        all_y[:] = np.nan
    all_y[places] = y
    return all_X, all_y, w, places


class TestNotThere:
    """A row of weight 0 has no part in anything: the same bits as without it."""

    @pytest.fixture(params=["integers", "strings", "values"])
    def targets(self, request, rng):
        X = rng.normal(size=(50, 4))
        y = rng.integers(0, 3, 50)
        y[:3] = 0, 1, 2
        if request.param == "strings":
            return X, np.array(["a", "b", "c"])[y], "cross_entropy"
        return (
            (X, y, "cross_entropy")
            if request.param == "integers"
            else (X, rng.normal(size=(50, 3)), "mse")
        )

    @pytest.mark.parametrize("kind", range(3))
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"validation_split": 0.3, "patience": 2},
            {"shuffle": False, "gradient_accumulation_steps": 2},
            {"optimizer": "LAMB"},
        ],
        ids=str,
    )
    def test_fit(self, targets, kind, options, rng):
        X, y, loss = targets
        all_X, all_y, w, places = spoiled(rng, X, y, kind)

        def own():
            made = {"optimizer": fnn.optim.LAMB()} if "optimizer" in options else {}
            return {**options, **made, "loss": loss}

        before = all_X.copy(), all_y.copy()
        _, actual = fitted(all_X, all_y, sample_weight=w, **own())
        _, expected = fitted(X, y, sample_weight=w[places], **own())
        assert actual == expected
        np.testing.assert_array_equal(all_X, before[0])
        np.testing.assert_array_equal(all_y, before[1])

    @pytest.mark.parametrize("split", [None, 0.25])
    def test_class_of_weight_zero(self, rng, split):
        X, y = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
        X[y == 2] = np.nan
        options = {"validation_split": split}
        _, actual = fitted(X, y, class_weight={2: 0}, **options)
        _, expected = fitted(X[y != 2], y[y != 2], class_weight={2: 0}, **options)
        assert actual == expected

    def test_validation_data(self, targets, rng):
        X, y, loss = targets
        all_X, all_y, w, places = spoiled(rng, X, y, 0)
        _, actual = fitted(X, y, loss=loss, validation_data=(all_X, all_y, w))
        _, expected = fitted(X, y, loss=loss, validation_data=(X, y, w[places]))
        assert actual == expected

    @pytest.mark.parametrize("storage", ["csr", "frame", "float16", "strided"])
    def test_storage(self, rng, storage):
        X, y = rng.normal(size=(50, 4)).astype(np.float16), rng.integers(0, 3, 50)
        all_X, all_y, w, places = spoiled(rng, X.astype(float), y, 0)
        expected = fitted(X.astype(float), y, sample_weight=w[places])[1]
        if storage == "csr":
            all_X = pytest.importorskip("scipy.sparse").csr_matrix(all_X)
        elif storage == "frame":
            all_X = pytest.importorskip("pandas").DataFrame(all_X, columns=list("abcd"))
        elif storage == "float16":
            all_X = all_X.astype(np.float16)
        else:
            all_X = np.repeat(all_X, 2, axis=0)[::2]
        assert fitted(all_X, all_y, sample_weight=w)[1] == expected

    @pytest.mark.parametrize("kind", range(3))
    def test_derivatives_and_scores(self, isa, targets, kind, rng):
        X, y, loss = targets
        all_X, all_y, w, places = spoiled(rng, X, y, kind)
        model, _ = fitted(X, y, loss=loss)
        v = rng.normal(size=model.n_parameters)
        axes = rng.normal(size=(model.n_parameters, 2))

        def everything(X, y, w):
            given = {"loss": loss, "sample_weight": w}
            value, gradient = model.loss_and_grad(X, y, **given)
            scores = model.evaluate(
                X, y, metrics=["r2" if loss == "mse" else "top_5_accuracy"], **given
            )
            landscape = inspect.loss_landscape(model, X, y, directions=axes, **given)
            results = [
                value,
                gradient,
                model.hvp(X, y, v, **given),
                landscape.losses,
                *scores.values(),
            ]
            variances = inspect.layer_variances(model, X, y, **given)
            results += [variances.activations, variances.gradients]
            for operator in (curvature.Hessian, curvature.GaussNewton, curvature.EmpiricalFisher):
                for budget in (0, 2**30):
                    A = operator(model, X, y, memory_budget=budget, **given)
                    results += [A @ v, A.quadratic_form(axes)]
                    if operator is not curvature.Hessian:
                        results += [curvature.exact_trace(A), curvature.exact_diagonal(A)]
                    if operator is curvature.GaussNewton:
                        results += [curvature.sampled_trace(A, num_samples=2, seed=1).value]
            return results

        for actual, expected in zip(
            everything(all_X, all_y, w), everything(X, y, w[places]), strict=True
        ):
            assert np.isfinite(actual).all()
            np.testing.assert_array_equal(actual, expected)

    @pytest.mark.parametrize("names", [[0, 1, 2], ["a", "b", "c"]], ids=["integers", "strings"])
    def test_balanced_counts(self, names, rng):
        X, y = rng.normal(size=(50, 4)), np.array(names)[np.arange(50) ** 2 % 3]
        y[0] = names[2]  # every class occurs
        all_X, all_y, w, places = spoiled(rng, X, y, 0)
        model, _ = fitted(X, y)
        given = {"class_weight": "balanced"}
        actual = model.loss_and_grad(all_X, all_y, sample_weight=w, **given)
        expected = model.loss_and_grad(X, y, sample_weight=w[places], **given)
        np.testing.assert_array_equal(actual[1], expected[1])

    @pytest.mark.parametrize("name", ["cross_entropy", "multi_margin", "mse"])
    def test_ops(self, isa, dtype, name, rng):
        z = rng.normal(size=(40, 3)).astype(dtype)
        y = rng.normal(size=(40, 3)) if name == "mse" else rng.integers(0, 3, 40)
        all_z, all_y, w, places = spoiled(rng, z, y, 0)
        function = getattr(fnn.ops, name)
        value, gradient = function(all_z.astype(dtype), all_y, sample_weight=w)
        expected, expected_gradient = function(z, y, sample_weight=w[places])
        assert value == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(gradient[places], expected_gradient, rtol=1e-5, atol=1e-8)
        assert not np.delete(gradient, places, axis=0).any()

    def test_messages_name_the_users_row(self, rng):
        X, y = rng.normal(size=(20, 2)), rng.normal(size=20)
        w = np.ones(20)
        w[[0, 3]] = 0
        model = fnn.Sequential([fnn.Dense(1)], seed=0)
        given = {"loss": "mse", "sample_weight": w, "verbose": 0}
        X[7, 1] = np.nan
        with pytest.raises(ValueError, match="row 7, column 1"):
            model.fit(X, y, **given)
        X[7, 1], y[9] = 0, np.inf
        with pytest.raises(ValueError, match="row 9"):
            model.fit(X, y, **given)
        with pytest.raises(ValueError, match="sample_weight: expected at least one weight > 0"):
            model.fit(X, y, loss="mse", sample_weight=np.zeros(20), verbose=0)

    def test_a_missing_value_does_not_change_the_kind_of_labels(self, rng):
        """pandas makes floats of its own integers and bools where a value is missing."""
        pandas = pytest.importorskip("pandas")
        X, w = rng.normal(size=(20, 2)), np.arange(20) % 5 != 2
        for dtype, codes, loss in (
            ("boolean", np.arange(20) % 2 == 0, "binary_cross_entropy"),
            ("Int64", 2**53 + 1 + np.arange(20) % 2, "hinge"),
        ):
            y = pandas.Series(codes).astype(dtype).mask(~w, pandas.NA)
            layers = [fnn.Dense(1)]
            model, actual = fitted(X, y, layers=layers, loss=loss, sample_weight=w * 1.0)
            _, expected = fitted(X[w], codes[w], layers=layers, loss=loss)
            assert actual == expected
            assert model.classes_.tolist() == sorted(set(codes.tolist()))


class TestClassWeights:
    def test_a_series_is_read_by_its_labels(self, rng):
        pandas = pytest.importorskip("pandas")
        X, y = rng.normal(size=(60, 4)), np.array(["a"] * 10 + ["b"] * 35 + ["c"] * 15)
        counts = pandas.Series(y).value_counts()  # the most frequent first
        balanced = 60 / (3 * counts)
        assert list(balanced.index) == ["b", "c", "a"]
        by_label = fitted(X, y, class_weight=balanced.to_dict())[1]
        assert fitted(X, y, class_weight=balanced)[1] == by_label

    @pytest.mark.parametrize("scale", [1e-300, 1e300])
    @pytest.mark.parametrize("class_weight", ["balanced", [1.0, 2.0, 3.0]])
    def test_scales(self, rng, scale, class_weight):
        """Only ratios matter, also where products of both weights would leave the range."""
        X, y, w = rng.normal(size=(60, 4)), rng.integers(0, 3, 60), rng.uniform(1, 2, 60)
        model, _ = fitted(X, y)
        scaled = class_weight if isinstance(class_weight, str) else np.array(class_weight) * scale
        actual = model.loss_and_grad(X, y, sample_weight=w * scale, class_weight=scaled)
        expected = model.loss_and_grad(X, y, sample_weight=w, class_weight=class_weight)
        assert actual[0] == pytest.approx(expected[0], rel=1e-13)
        np.testing.assert_allclose(actual[1], expected[1], rtol=1e-11, atol=1e-14)
