"""Metrics by the names of scikit-learn's scorers, beside its functions; and of training data."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import sklearn.metrics as sk
from sklearn.exceptions import UndefinedMetricWarning

import pyfast_nn as fnn
from pyfast_nn.metrics import larger_is_better

pytestmark = pytest.mark.once


def draw(rng, labels, n=150):
    """Inputs, and labels that are related to them."""
    X = rng.normal(size=(n, 4))
    noisy = X[:, 0] + rng.normal(size=n)
    numbers = np.searchsorted(np.linspace(-1, 1, len(labels) - 1), noisy)
    return X, np.array(labels)[numbers]


def trained(X, y, loss, outputs, dtype="float64", **options):
    layers = [fnn.Dense(8), fnn.Tanh(), fnn.Dense(outputs)]
    model = fnn.Sequential(layers, dtype=dtype, seed=1, **options)
    model.fit(X, y, loss=loss, epochs=3)
    return model


# name: of (y, labels, probabilities in the order of sorted classes, weights)
OF_CLASSES = {
    "f1_macro": lambda y, z, p, w: sk.f1_score(y, z, average="macro", sample_weight=w),
    "precision_weighted": lambda y, z, p, w: sk.precision_score(
        y, z, average="weighted", sample_weight=w
    ),
    "balanced_accuracy": lambda y, z, p, w: sk.balanced_accuracy_score(y, z, sample_weight=w),
    "matthews_corrcoef": lambda y, z, p, w: sk.matthews_corrcoef(y, z, sample_weight=w),
    "neg_log_loss": lambda y, z, p, w: -sk.log_loss(y, p, sample_weight=w),
    "roc_auc_ovr": lambda y, z, p, w: sk.roc_auc_score(y, p, multi_class="ovr", sample_weight=w),
    "roc_auc_ovr_weighted": lambda y, z, p, w: sk.roc_auc_score(
        y, p, multi_class="ovr", average="weighted", sample_weight=w
    ),
    "top_k_accuracy": lambda y, z, p, w: sk.top_k_accuracy_score(y, p, sample_weight=w),
}


class TestScorers:
    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("classes", [None, ["b", "c", "a"]])
    def test_of_several_classes(self, classes, weighted, dtype, rng):
        X, y = draw(rng, ["a", "b", "c"])
        model = trained(X, y, "cross_entropy", 3, dtype, classes=classes)
        w = rng.uniform(0, 3, len(y)) if weighted else None
        scores = model.evaluate(X, y, metrics=list(OF_CLASSES), sample_weight=w)
        probabilities = model.predict_proba(X).astype(np.float64)[:, np.argsort(model.classes_)]
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        for name, function in OF_CLASSES.items():
            expected = function(y, model.predict(X), probabilities, w)
            assert scores[name] == pytest.approx(
                expected, rel=1e-10 if dtype == "float64" else 1e-4
            )

    @pytest.mark.parametrize("labels", [[0, 1], [-1, 1], ["no", "yes"], [False, True]])
    @pytest.mark.parametrize(
        ("loss", "outputs"),
        [("cross_entropy", 2), ("binary_cross_entropy", 1), ("hinge", 1), ("multi_margin", 2)],
    )
    @pytest.mark.parametrize("turned", [False, True])
    def test_of_two_classes(self, loss, outputs, labels, turned, rng):
        X, y = draw(rng, labels)
        classes = labels[::-1] if turned else None
        model = trained(X, y, loss, outputs, classes=classes)
        out = model.forward(X)
        decision = out[:, 0] if outputs == 1 else out[:, 1] - out[:, 0]
        decision = -decision if turned else decision
        w = rng.uniform(0, 3, len(y))
        positive = y == labels[1]
        expected = {
            "roc_auc": sk.roc_auc_score(positive, decision, sample_weight=w),
            "recall_macro": sk.recall_score(y, model.predict(X), average="macro", sample_weight=w),
        }
        if loss.endswith("cross_entropy"):
            p = model.predict_proba(X)[:, 0 if turned else 1]
            expected["neg_log_loss"] = -sk.log_loss(positive, p, sample_weight=w)
        if labels != ["no", "yes"]:  # scikit-learn's "f1" is of the label 1
            expected["average_precision"] = sk.average_precision_score(
                positive, decision, sample_weight=w
            )
            guess = model.predict(X) == labels[1]
            expected["f1"] = sk.f1_score(positive, guess, sample_weight=w)
        scores = model.evaluate(X, y, metrics=list(expected), sample_weight=w)
        for name, value in expected.items():
            assert scores[name] == pytest.approx(value, rel=1e-10), name

    @pytest.mark.parametrize("loss", ["binary_cross_entropy", "hinge"])
    @pytest.mark.parametrize("outputs", [2, 3])
    def test_of_several_labels(self, outputs, loss, rng):
        X = rng.normal(size=(150, 4))
        y = (X[:, :outputs] + rng.normal(size=(150, outputs)) > 0).astype(int)
        model = trained(X, 2 * y - 1 if loss == "hinge" else y, loss, outputs)
        guess, out = model.predict(X) > 0, model.forward(X)
        expected = {
            "f1_samples": sk.f1_score(y, guess, average="samples", zero_division=0),
            "f1_micro": sk.f1_score(y, guess, average="micro"),
            "average_precision": sk.average_precision_score(y, out),
            "roc_auc": sk.roc_auc_score(y, out),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UndefinedMetricWarning)  # rows without any label
            scores = model.evaluate(X, 2 * y - 1 if loss == "hinge" else y, metrics=list(expected))
        for name, value in expected.items():
            assert scores[name] == pytest.approx(value, rel=1e-10), name

    @pytest.mark.parametrize("shape", [(90,), (90, 1), (90, 2)])
    def test_of_values(self, shape, rng):
        X, y = rng.normal(size=(90, 3)), rng.normal(size=shape)
        model = trained(X, y, "huber", 1 if len(shape) == 1 else shape[1])
        w, z = rng.uniform(0, 3, 90), model.predict(X).reshape(shape)
        expected = {
            "neg_mean_absolute_error": -sk.mean_absolute_error(y, z, sample_weight=w),
            "neg_root_mean_squared_error": -sk.root_mean_squared_error(y, z, sample_weight=w),
            "explained_variance": sk.explained_variance_score(y, z, sample_weight=w),
        }
        scores = model.evaluate(X, y, metrics=list(expected), sample_weight=w)
        for name, value in expected.items():
            assert scores[name] == pytest.approx(value, rel=1e-10), name

    def test_rates(self, rng):
        X = rng.normal(size=(90, 3))
        y = rng.poisson(np.exp(X[:, 0]))
        model = trained(X, y, "poisson", 1)
        expected = -sk.mean_poisson_deviance(y, model.predict(X))
        scores = model.evaluate(X, y, metrics="neg_mean_poisson_deviance")
        assert scores["neg_mean_poisson_deviance"] == pytest.approx(expected, rel=1e-10)

    def test_every_name_knows_its_direction(self):
        names = [name for name in sk.get_scorer_names() if name not in ("r2", "max_error")]
        assert len(names) > 50 and all(map(larger_is_better, names))
        assert all(larger_is_better(f"{kind}_f1_macro") for kind in ("val", "train"))
        assert not larger_is_better("mean_squared_error")  # a function
        with pytest.raises(ValueError, match="monitor: expected a name that tells"):
            larger_is_better("f2_macro")

    def test_as_monitor(self, rng):
        X, y = draw(rng, [0, 1, 2])
        model = fnn.Sequential([fnn.Dense(20), fnn.ReLU(), fnn.Dense(3)], seed=0)
        history = model.fit(
            *(X[:100], y[:100]),
            loss="cross_entropy",
            epochs=60,
            batch_size=10,
            validation_data=(X[100:], y[100:]),
            metrics=["neg_log_loss", "f1_macro"],
            monitor="val_neg_log_loss",
            patience=5,
        )
        assert history["val_neg_log_loss"] == pytest.approx(
            -np.array(history["val_loss"]), rel=1e-5
        )
        assert history.best_epoch == np.argmax(history["val_neg_log_loss"])
        assert history.stopped_early and 0 < history.best_epoch < history.epochs - 1
        f1 = sk.f1_score(y[100:], model.predict(X[100:]), average="macro")
        assert history["val_f1_macro"][history.best_epoch] == pytest.approx(f1, rel=1e-12)

    @pytest.mark.parametrize(
        ("loss", "metric", "match"),
        [
            ("cross_entropy", "f1", "Target is multiclass"),
            ("cross_entropy", "roc_auc", "multi_class must be in"),
            ("multi_margin", "neg_log_loss", "predict_proba"),
            ("cross_entropy", "max_error", "did you mean neg_max_error"),
            ("cross_entropy", "f1_makro", "did you mean f1_macro"),
            ("cross_entropy", "roc_auc_ovr", "[Cc]lasses"),  # one is not in the validation data
            ("mse", "f1_macro", "continuous"),
            ("mse", "neg_mean_squared_log_error", "negative|less than"),
        ],
    )
    def test_impossible_ones_are_refused_before_the_training(self, loss, metric, match, rng):
        X, y = draw(rng, [0, 1, 2])
        if loss == "mse":
            y = X[:, 0]
        model = fnn.Sequential([fnn.Dense(1 if loss == "mse" else 3)])
        kept = y[:100] > 0 if metric == "roc_auc_ovr" else np.ones(100, bool)
        validation = X[:100][kept], y[:100][kept]
        with pytest.raises(ValueError, match=f"^metrics: expected .*{metric}.*{match}"):
            model.fit(X, y, loss=loss, validation_data=validation, metrics=[metric])
        assert not model.built and model.epochs_trained == 0

    def test_probabilities_are_no_labels(self, rng):
        X, y = rng.normal(size=(20, 3)), rng.dirichlet([1, 1], 20)
        model = fnn.Sequential([fnn.Dense(2)])
        with pytest.raises(ValueError, match=r"^metrics: expected labels in y for scorers"):
            model.evaluate(X, y, loss="cross_entropy", metrics="f1_macro")
        model = fnn.Sequential([fnn.Dense(1)])
        with pytest.raises(ValueError, match=r"^metrics: expected labels in y for scorers"):
            model.evaluate(X, y[:, 0], loss="binary_cross_entropy", metrics="roc_auc")

    def test_outputs_that_are_not_finite(self, rng):
        X, y = draw(rng, [0, 1, 2])
        model = trained(X, y, "cross_entropy", 3)
        X[3, 0] = np.nan
        scores = model.evaluate(X, y, metrics=["f1_macro"], allow_nonfinite=True)
        assert np.isnan(scores["f1_macro"])

    def test_without_scikit_learn(self):
        code = (
            "import sys; sys.modules['sklearn'] = None\n"
            "import numpy as np, pyfast_nn as fnn\n"
            "X, y = np.eye(4), np.array([0, 1, 0, 1])\n"
            "model = fnn.Sequential([fnn.Dense(2)])\n"
            "print(model.evaluate(X, y, loss='cross_entropy', metrics=['accuracy', 'auc']))\n"
            "model.evaluate(X, y, loss='cross_entropy', metrics=['f1'])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        last = done.stderr.strip().splitlines()[-1]
        assert done.stdout and last.startswith("ImportError: metrics: expected one of accuracy, ")
        assert last.endswith("got 'f1'; pip install 'pyfast-nn[sklearn]'")


class TestTrainMetrics:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_are_of_the_same_pass_as_evaluate(self, weighted, rng):
        X, y = draw(rng, [0, 1, 2])
        w = rng.uniform(0, 3, len(y)) if weighted else None
        layers = [fnn.Dense(8), fnn.BatchNorm(), fnn.ReLU(), fnn.Dropout(0.5), fnn.Dense(3)]
        model = fnn.Sequential(layers, seed=0)
        found = []

        class Watch(fnn.Callback):
            def on_epoch_end(self, model, epoch, record):
                found.append(model.evaluate(X, y, sample_weight=w, metrics=["f1_macro"]))

        options = {"loss": "cross_entropy", "sample_weight": w, "metrics": ["f1_macro"]}
        history = model.fit(X, y, **options, train_metrics=True, epochs=3, callbacks=[Watch()])
        for name in ("loss", "accuracy", "f1_macro"):
            assert history[f"train_{name}"] == [scores[name] for scores in found]
        assert history["loss"] != history["train_loss"] and "val_loss" not in history
        plain = fnn.Sequential(layers, seed=0)
        plain.fit(X, y, loss="cross_entropy", sample_weight=w, epochs=3)
        np.testing.assert_array_equal(plain.parameters, model.parameters)

    def test_beside_validation_and_as_monitor(self, rng):
        X, y = draw(rng, [0, 1, 2])
        model = fnn.Sequential([fnn.Dense(3)], seed=0)
        options = {"loss": "cross_entropy", "validation_split": 0.3, "metrics": ["f1_macro"]}
        history = model.fit(
            X, y, **options, train_metrics=True, monitor="train_f1_macro", patience=3, epochs=30
        )
        assert history.best_epoch == np.argmax(history["train_f1_macro"])
        expected = {"loss", "accuracy", "f1_macro"}
        for prefix in ("train_", "val_"):
            assert {key for key in history if key.startswith(prefix)} == {
                prefix + name for name in expected
            }

    def test_monitor_of_what_is_not_computed(self, rng):
        X, y = draw(rng, [0, 1, 2])
        model = fnn.Sequential([fnn.Dense(3)])
        with pytest.raises(ValueError, match=r"^monitor: expected one of loss, accuracy"):
            model.fit(X, y, loss="cross_entropy", monitor="train_loss", patience=2)
        with pytest.raises(TypeError, match=r"^train_metrics: expected"):
            model.fit(X, y, loss="cross_entropy", train_metrics=1)
