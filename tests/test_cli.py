"""The command line: what it prints and writes, and one line for a mistake."""

import csv
import gzip
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
from subprocess import PIPE

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

import pyfast_nn as fnn
from conftest import assert_same_bits
from pyfast_nn import cli, modelfile
from pyfast_nn.cli import main, report
from pyfast_nn.optim.rule import next_update
from pyfast_nn.report import mistakes

pytestmark = pytest.mark.once


def run(capfd, *arguments):
    """Run `pyfast-nn` here; return (exit code, stdout, stderr)."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as exit:
        code = exit.code
    out, err = capfd.readouterr()
    return code, out, err


@pytest.fixture(autouse=True)
def _restore(restore_threads):
    pass


@pytest.fixture
def out(tmp_path):
    return tmp_path / "m.safetensors"


def accuracy(text, part):
    return float(re.search(rf"{part} accuracy +([\d.]+)%", text)[1])


class TestTrain:
    def test_digits_by_default(self, out, capfd, monkeypatch):
        monkeypatch.chdir(out.parent)
        code, text, err = run(capfd, "train")
        assert code == 0 and err == ""
        assert accuracy(text, "test") > 96 and accuracy(text, "validation") > 95
        assert "divides them by 16" in text and re.search(r"time per epoch +[\d.e+]+ ms", text)
        assert "1,797 examples, 64 features, 10 classes; 1,258 train" in text
        model = fnn.load("model.safetensors")
        X, y = fnn.datasets.load_digits()
        assert model.layers[0] == fnn.Rescale(1 / 16)
        assert model.evaluate(X, y)["accuracy"] > 0.98
        assert model.epochs_trained == 40

    def test_options(self, out, capfd):
        options = "--hidden 20 --epochs 2 --batch-size 64 --lr 0.1 --optimizer sgd --seed 3"
        rest = f"--threads 1 --val 0 --test 0.5 --out {out}"
        code, text, _ = run(capfd, "train", "digits", *options.split(), *rest.split())
        assert code == 0 and "validation" not in text and "899 test" in text
        model = fnn.load(out)
        assert [repr(x) for x in model.layers[1:]] == ["Dense(20)", "ReLU()", "Dense(10)"]
        assert model.seed == 3
        assert model.epochs_trained == 2 and fnn.get_num_threads() == 1

    @pytest.mark.parametrize("name", cli.hidden.ACTIVATIONS)
    def test_activations(self, name, out, capfd):
        options = f"--activation {name} --hidden 30,20 --epochs 8 --dtype float64 --out {out}"
        code, text, _ = run(capfd, "train", *options.split())
        assert code == 0 and accuracy(text, "test") > 60
        model = fnn.load(out)
        assert model.layers[2].kind == model.layers[4].kind == name and model.dtype == np.float64

    def test_patience(self, out, capfd):
        options = f"--lr 0.02 --hidden 30 --patience 3 --epochs 500 --out {out}"
        _, text, _ = run(capfd, "train", *options.split())
        best, epochs = map(int, re.search(r"best epoch +(\d+) of (\d+)", text).groups())
        assert epochs == best + 3 == fnn.load(out).epochs_trained
        _, other, _ = run(capfd, "train", *options.replace("500", str(best)).split())
        assert accuracy(text, "test") == accuracy(other, "test")  # it went back to the best

    def test_no_hidden_layer(self, out, capfd):
        code, _, _ = run(capfd, "train", "--hidden", "none", "--epochs", 1, "--out", out)
        assert code == 0 and len(fnn.load(out).layers) == 2

    def test_dropout(self, out, capfd):
        options = f"--hidden 30,20 --dropout 0.25 --epochs 8 --out {out}"
        code, text, _ = run(capfd, "train", *options.split())
        assert code == 0 and accuracy(text, "test") > 80
        hidden = [[fnn.Dense(units), fnn.ReLU(), fnn.Dropout(0.25)] for units in (30, 20)]
        assert list(fnn.load(out).layers[1:]) == [*hidden[0], *hidden[1], fnn.Dense(10)]

    def test_mixup(self, out, capfd):
        options = f"--hidden 30 --epochs 8 --mixup 0.3 --out {out}"
        code, text, _ = run(capfd, "train", *options.split())
        assert code == 0 and accuracy(text, "test") > 80
        mixed = fnn.load(out).parameters
        run(capfd, "train", *options.replace("0.3", "0").split())
        assert not np.array_equal(fnn.load(out).parameters, mixed)

    @pytest.mark.parametrize("name, norm", [("batch", fnn.BatchNorm), ("layer", fnn.LayerNorm)])
    def test_norm(self, name, norm, out, capfd):
        options = f"--hidden 30,20 --norm {name} --dropout 0.1 --epochs 8 --out {out}"
        code, text, _ = run(capfd, "train", *options.split())
        assert code == 0 and accuracy(text, "test") > 90
        first, second = (
            [fnn.Dense(units), norm(), fnn.ReLU(), fnn.Dropout(0.1)] for units in (30, 20)
        )
        assert list(fnn.load(out).layers[1:]) == [*first, *second, fnn.Dense(10)]

    def test_no_example_is_alone_in_a_step_with_batch_norm(self, out, capfd):
        options = f"--batch-size 419 --epochs 1 --out {out}"  # 1,258 examples to train on
        code, text, _ = run(capfd, "train", "--norm", "batch", *options.split())
        assert code == 0 and "steps of 420 examples: with 419, the last one" in text
        code, text, _ = run(capfd, "train", "--norm", "layer", *options.split())
        assert code == 0 and "steps of" not in text

    def test_residual(self, out, capfd):
        options = "--hidden 40,40,20 --residual --norm layer --dropout 0.25 --epochs 8"
        code, text, _ = run(capfd, "train", *options.split(), "--out", out)
        assert code == 0 and accuracy(text, "test") > 90

        def block(units, shortcut=None):
            within = [fnn.Dense(units), fnn.ReLU(), fnn.Dropout(0.25), fnn.Dense(units)]
            return fnn.Residual([fnn.LayerNorm(), *within], shortcut)

        blocks = [fnn.Dense(40), block(40), block(20, fnn.Dense(20)), fnn.LayerNorm(), fnn.ReLU()]
        assert list(fnn.load(out).layers[1:]) == [*blocks, fnn.Dense(10)]

        code, text, _ = run(capfd, "info", out)
        assert code == 0 and re.search(r"^2\.3 +Dropout\(0.25\) ", text, re.MULTILINE)
        assert re.search(r"^3\.shortcut +Dense\(20\) ", text, re.MULTILINE)

    def test_npz_with_names(self, out, capfd, tmp_path):
        rng = np.random.default_rng(0)
        y = rng.integers(0, 2, 200)
        names = np.array(["cat", "dog"])[y]
        np.savez(tmp_path / "a.npz", X=rng.normal(size=(200, 3, 2)) + y[:, None, None], y=names)
        code, text, _ = run(capfd, "train", tmp_path / "a.npz", "--hidden", "8,8", "--out", out)
        assert code == 0 and accuracy(text, "test") > 80 and "divides" not in text
        assert fnn.load(out).classes_.tolist() == ["cat", "dog"]
        assert re.search(r"^cat +(0|1)\.\d{4} ", text, re.MULTILINE)

    def test_idx(self, out, capfd, tmp_path):
        X, y = fnn.datasets.load_digits()
        images = struct.pack(">HBBIII", 0, 8, 3, len(X), 8, 8) + X.tobytes()
        labels = struct.pack(">HBBI", 0, 8, 1, len(y)) + y.astype(np.uint8).tobytes()
        (tmp_path / "images.idx.gz").write_bytes(gzip.compress(images))
        (tmp_path / "labels.idx").write_bytes(labels)
        files = (tmp_path / "images.idx.gz", tmp_path / "labels.idx")
        code, text, _ = run(capfd, "train", *files, "--epochs", 5, "--out", out)
        assert code == 0 and accuracy(text, "test") > 90

    def test_lenet(self, out, capfd, tmp_path):
        """Of images, whose shape the model knows: others read them as they lie in files."""
        rng = np.random.default_rng(0)
        y = rng.integers(0, 2, 200)
        images = rng.integers(0, 100, (200, 13, 12), np.uint8)
        images[:, :6] += (100 * y).astype(np.uint8)[:, None, None]
        np.savez(tmp_path / "a.npz", X=images, y=y)
        arguments = ("--model", "lenet", "--epochs", 3, "--out", out)
        code, text, _ = run(capfd, "train", tmp_path / "a.npz", *arguments)
        assert code == 0 and accuracy(text, "test") > 90 and "13 x 12 x 1 images" in text
        assert fnn.load(out).in_shape == (13, 12, 1)
        code, text, _ = run(capfd, "evaluate", out, tmp_path / "a.npz")
        assert code == 0 and "accuracy" in text
        code, text, _ = run(capfd, "predict", out, tmp_path / "a.npz")
        assert code == 0 and (np.array(text.split(), int) == y).mean() > 0.9
        code, text, _ = run(capfd, "info", out)
        assert code == 0 and "(n, 13, 12, 6)" in text
        np.savez(tmp_path / "b.npz", X=images[:, :12], y=y)
        code, _, err = run(capfd, "evaluate", out, tmp_path / "b.npz")
        assert code == 2 and "X: expected shape (n, 13, 12, 1)" in err

    def test_predictions_at_positions(self, out, capfd, tmp_path):
        X, y = np.zeros((4, 3, 2)), np.arange(12).reshape(4, 3) % 2
        model = fnn.Sequential([fnn.Dense(2)])
        model.fit(X, y, loss="cross_entropy", epochs=1)
        model.save(out)
        np.savez(tmp_path / "a.npz", X=X, y=y)
        code, _, err = run(capfd, "predict", out, tmp_path / "a.npz")
        assert code == 2 and "--out: expected a name that ends in .npy or .npz" in err
        arguments = ("--out", tmp_path / "p.npy", "--proba")
        code, _, _ = run(capfd, "predict", out, tmp_path / "a.npz", *arguments)
        assert code == 0 and np.load(tmp_path / "p.npy").shape == (4, 3, 2)
        code, text, _ = run(capfd, "evaluate", out, tmp_path / "a.npz")
        assert code == 0 and "accuracy" in text

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ([], "data: expected images (n, height, width)"),
            (["--hidden", "8"], "--hidden: expected --model mlp"),
        ],
    )
    def test_lenet_is_of_images(self, out, capfd, options, message):
        code, _, err = run(capfd, "train", "digits", "--model", "lenet", *options, "--out", out)
        assert code == 2 and message in err

    def test_the_same_seed_gives_the_same_model(self, out, capfd):
        models = []
        for _ in range(2):
            run(capfd, "train", "--epochs", 1, "--out", out)
            models.append(fnn.load(out))
        assert_same_bits(models[0].parameters, models[1].parameters)


@pytest.fixture
def table(rng):
    """Columns of very different sizes (300, 4), and classes (300,) that follow from them."""
    X = rng.normal(size=(300, 4)) * [1, 100, 1e4, 1e-3] + [0, 7, 1e6, 0]
    return X, (X[:, 0] > 0.3).astype(np.int64) + (X[:, 1] > 50)


def train(capfd, folder, X, y, *options, epochs=20):
    """Run `pyfast-nn train` on such data; return what it prints and the model."""
    np.savez(folder / "data.npz", X=X, y=y)
    out = ("--out", folder / "m.safetensors", "--force")
    arguments = ("--hidden", "16", "--epochs", epochs, "--lr", "0.01", *out, *options)
    code, text, err = run(capfd, "train", folder / "data.npz", *arguments)
    assert code == 0, err
    return text, fnn.load(folder / "m.safetensors")


class TestLabels:
    """What is labels is told by the file, and the model predicts what the file calls them."""

    @pytest.mark.parametrize(
        "names",
        [
            [0, 1, 2],
            [1, 2, 3],
            [-1, 0, 1],
            [100, 200, 300],
            [0, 10**9, 2**62],
            [False, True, True],
            ["cat", "dog", "é"],
        ],
    )
    def test_kinds(self, names, table, capfd, tmp_path):
        X, places = table
        y = np.array(names)[places]
        text, model = train(capfd, tmp_path, X, y)
        assert f"300 examples, 4 features, {len(set(names))} classes; 210 train" in text
        assert model.classes_.tolist() == sorted(set(names))
        assert np.mean(model.predict(X) == y) > 0.9 and accuracy(text, "test") > 80
        assert re.search(rf"^{names[2]} +[01]\.\d{{4}} ", text, re.MULTILINE)
        _, text, _ = run(capfd, "evaluate", tmp_path / "m.safetensors", tmp_path / "data.npz")
        assert f"accuracy             {np.mean(model.predict(X) == y):.2%}" in text
        _, text, _ = run(capfd, "predict", tmp_path / "m.safetensors", tmp_path / "data.npz")
        assert text.splitlines() == list(map(str, model.predict(X).tolist()))

    @pytest.mark.parametrize(
        ("change", "classes"),
        [
            (lambda y: y[:, None], [0, 1, 2]),
            (lambda y: y.astype(np.uint8), [0, 1, 2]),
            (lambda y: y.astype(np.float32), [0, 1, 2]),
            (lambda y: np.array([b"a", b"b", "é".encode()])[y], ["a", "b", "é"]),
            (lambda y: np.array(["a", "b", "c"])[y][:, None], ["a", "b", "c"]),
        ],
    )
    def test_forms(self, change, classes, table, capfd, tmp_path):
        X, y = table
        text, model = train(capfd, tmp_path, X, change(y))
        assert model.classes_.tolist() == classes and accuracy(text, "test") > 80
        assert ("--task regression takes them as numbers" in text) == (change(y).dtype.kind == "f")

    def test_a_class_of_one_example(self, table, capfd, tmp_path):
        X, y = table
        y[17] = 9
        for test in (0.2, 0.8):  # whether the split puts it into the training or not
            _, model = train(capfd, tmp_path, X, y, "--test", test, epochs=1)
            assert model.classes_.tolist() == [0, 1, 2, 9]

    def test_many_different_whole_numbers_are_said_to_be_labels(self, table, capfd, tmp_path):
        X, _ = table
        text, model = train(capfd, tmp_path, X, np.arange(300) // 3, epochs=1)
        assert "100 different whole numbers: taken as labels (--task regression" in text
        assert len(model.classes_) == 100

    def test_balanced(self, capfd, tmp_path, rng):
        X, y = np.zeros((1000, 1)), (np.arange(1000) < 100).astype(int)
        _, model = train(capfd, tmp_path, X, y, "--hidden", "none", "--class-weight", "balanced")
        assert abs(model.predict_proba([[0]])[0, 1] - 0.5) < 0.1
        _, model = train(capfd, tmp_path, X, y, "--hidden", "none")
        assert model.predict_proba([[0]])[0, 1] < 0.2


class TestRegression:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("form", ["(n,)", "(n, 1)", "(n, 2)"])
    def test_numbers(self, form, dtype, capfd, tmp_path, rng):
        X = rng.normal(size=(500, 3))
        y = 2e5 + 3e4 * X[:, 0] - 1e4 * X[:, 1]  # far from what a network begins with
        y = {"(n,)": y, "(n, 1)": y[:, None], "(n, 2)": np.column_stack([y, 1e-3 * X[:, 2]])}[form]
        text, model = train(capfd, tmp_path, X, y, "--dtype", dtype, epochs=40)
        assert "number" in text and "targets are float64: a regression" in text
        assert "accuracy" not in text and "precision" not in text
        assert model.loss == "mse" and model.classes_ is None and model.dtype == dtype

        test = fnn.datasets.stratified_split(np.zeros(500), [0.7, 0.1, 0.2], seed=0)[2]
        predictions, true = model.predict(X[test]), np.squeeze(y[test])
        r2, mae, mse = map(float, re.search(r"test R2 +(\S+) +MAE (\S+) +MSE (\S+)", text).groups())
        assert r2 == pytest.approx(sklearn.metrics.r2_score(true, predictions), rel=1e-4)
        assert mae == pytest.approx(
            sklearn.metrics.mean_absolute_error(true, predictions), rel=1e-4
        )
        assert mse == pytest.approx(sklearn.metrics.mean_squared_error(true, predictions), rel=1e-4)
        assert r2 > 0.98

    def test_numbers_by_a_residual_network(self, capfd, tmp_path, rng):
        X = rng.normal(size=(500, 3))
        options = ("--hidden", "32,32", "--residual", "--norm", "batch", "--dropout", "0.1")
        text, _ = train(capfd, tmp_path, X, 2e5 + 3e4 * X[:, 0], *options, epochs=40)
        assert float(re.search(r"test R2 +(\S+)", text)[1]) > 0.9

    def test_asked_for(self, table, capfd, tmp_path):
        X, y = table
        text, model = train(capfd, tmp_path, X, y, "--task", "regression")
        assert "1 number to predict" in text and model.loss == "mse" and model.out_features == 1
        assert re.search(r"test R2 +0\.[4-9]", text)

    def test_whole_floats_of_many_values_are_numbers(self, capfd, tmp_path, rng):
        X = rng.normal(size=(300, 2))
        text, model = train(capfd, tmp_path, X, np.round(100 * X[:, 0]))
        assert "targets are float64: a regression" in text and model.loss == "mse"
        _, model = train(capfd, tmp_path, X, np.round(X[:, 0]), "--task", "classification")
        assert model.loss == "cross_entropy"

    @pytest.mark.parametrize("value", [0.5, 1e6 + 0.1])
    def test_targets_that_do_not_vary(self, value, capfd, tmp_path, rng):
        _, model = train(capfd, tmp_path, rng.normal(size=(300, 2)), np.full(300, value))
        assert abs(model.predict(np.zeros((1, 2))) - value) < 0.5

    def test_without_validation_and_with_patience_and_plot(self, capfd, tmp_path, rng):
        pytest.importorskip("matplotlib")
        X = rng.normal(size=(300, 2))
        train(capfd, tmp_path, X, X[:, 0], "--val", 0, "--plot", tmp_path / "a.png")
        text, model = train(
            capfd, tmp_path, X, X[:, 0], "--patience", 2, "--plot", tmp_path / "b.svg", epochs=200
        )
        best, epochs = map(int, re.search(r"best epoch +(\d+) of (\d+)", text).groups())
        assert model.epochs_trained == epochs == best + 2
        assert "r2" in (tmp_path / "b.svg").read_text()


class TestStandardize:
    def test_columns_by_default(self, table, capfd, tmp_path):
        X, y = table
        text, model = train(capfd, tmp_path, X, y)
        assert "the model standardizes each column (--no-standardize" in text
        assert model.layers[0] == fnn.Standardize()
        rows = fnn.datasets.stratified_split(y, [0.7, 0.1, 0.2], seed=0)[0]
        np.testing.assert_allclose(model.named_state()["0.mean"], X[rows].mean(axis=0), rtol=1e-12)
        assert accuracy(text, "test") > 80

    @pytest.mark.parametrize("kind", ["int64", "uint16", "bool", "float32"])
    def test_columns_of_other_kinds(self, kind, table, capfd, tmp_path):
        _, model = train(capfd, tmp_path, (table[0] > 50).astype(kind), table[1], epochs=1)
        assert model.layers[0] == fnn.Standardize()

    @pytest.mark.parametrize("kind", ["uint8", "int32", "float64"])
    def test_pixels(self, kind, capfd, tmp_path, rng):
        X, y = rng.integers(0, 200, (90, 4, 3)).astype(kind), np.arange(90) % 3
        X[0, 0, 0] = 200
        text, model = train(capfd, tmp_path, X, y, epochs=1)
        assert "pixels: the model divides them by 200, the largest" in text
        assert model.layers[0] == fnn.Rescale(1 / 200) and model.in_features == 12
        text, model = train(capfd, tmp_path, X, y, "--standardize", epochs=1)
        assert model.layers[0] == fnn.Standardize() and "pixels:" not in text
        flat = X.reshape(90, 12).astype(np.uint8)
        assert train(capfd, tmp_path, flat, y, epochs=1)[1].layers[0] == fnn.Rescale(1 / 200)

    def test_pixels_in_zero_to_one(self, capfd, tmp_path, rng):
        _, model = train(capfd, tmp_path, rng.random((90, 4, 3)), np.arange(90) % 3, epochs=1)
        assert isinstance(model.layers[0], fnn.Dense)

    def test_neither(self, table, capfd, tmp_path):
        text, model = train(capfd, tmp_path, *table, "--no-standardize", epochs=1)
        assert isinstance(model.layers[0], fnn.Dense) and "standardize" not in text


class TestRows:
    """The row in an error is that of the file, though the rows are shuffled and split."""

    @pytest.mark.parametrize("row", [0, 7, 150, 299])
    @pytest.mark.parametrize("options", ["", "--no-standardize", "--task regression --val 0"])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_of_features(self, value, options, row, table, folder, capfd):
        X, y = table
        X[row, 2] = value
        np.savez("bad.npz", X=X, y=y)
        code, text, err = run(capfd, "train", "bad.npz", *options.split())
        assert code == 2 and text == "" and re.search(rf"{value} in row {row}, column 2", err)

    def test_of_features_beyond_the_dtype(self, table, folder, capfd):
        X, y = table
        X[201, 1] = 1e39
        np.savez("bad.npz", X=X, y=y)
        _, _, err = run(capfd, "train", "bad.npz", "--no-standardize")
        assert "got 1e+39 in row 201, column 1" in err
        assert run(capfd, "train", "bad.npz", "--epochs", 1)[0] == 0

    @pytest.mark.parametrize("options", ["", "--task regression", "--task classification"])
    def test_of_targets(self, options, table, folder, capfd):
        X, y = table
        for y_bad in (y.astype(float), y + 0.5):
            y_bad[123] = np.nan
            np.savez("bad.npz", X=X, y=y_bad)
            code, text, err = run(capfd, "train", "bad.npz", *options.split())
            assert code == 2 and text == ""
            assert "y: expected a label or number in every row, got nan in row 123" in err

    def test_of_targets_beyond_the_dtype(self, table, folder, capfd):
        X, _ = table
        y = X[:, 0].copy()
        y[99] = 1e39
        np.savez("bad.npz", X=X, y=y)
        assert "got 1e+39 in row 99" in run(capfd, "train", "bad.npz")[2]

    def test_of_predictions(self, model_file, capfd, tmp_path):
        X = fnn.datasets.load_digits()[0].astype(float)
        X[1234, 5] = np.nan
        np.savez(tmp_path / "bad.npz", X=X, y=np.zeros(len(X), int))
        for command in ("predict", "evaluate"):
            code, text, err = run(capfd, command, model_file, tmp_path / "bad.npz")
            assert code == 2 and text == "" and "nan in row 1234, column 5" in err


def numbers_of(text, name):
    """The numbers in the last row that begins with `name`, of the tables in `text`."""
    rows = [line.removeprefix(name).split() for line in text.splitlines() if line.startswith(name)]
    return [[float(number) for number in row] for row in rows if row]


class TestReport:
    @given(
        labels=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30)
    )
    def test_as_scikit_learn_counts(self, labels):
        true, predicted = np.array(labels).T
        scores, support = mistakes.class_scores(true, predicted, 5)
        *expected, expected_support = sklearn.metrics.precision_recall_fscore_support(
            true, predicted, labels=range(5), zero_division=0
        )
        np.testing.assert_allclose(scores.T, expected, rtol=1e-15)
        np.testing.assert_array_equal(support, expected_support)
        np.testing.assert_array_equal(
            mistakes.confusion_matrix(true, predicted, 5),
            sklearn.metrics.confusion_matrix(true, predicted, labels=range(5)),
        )

    def test_printed_after_training(self, out, capfd):
        _, text, _ = run(capfd, "train", "--epochs", 1, "--hidden", "4", "--out", out)
        X, y = fnn.datasets.load_digits()
        test = fnn.datasets.stratified_split(y, [0.7, 0.1, 0.2], seed=0)[2]
        predictions = fnn.load(out).predict(X[test])
        expected = sklearn.metrics.classification_report(
            y[test], predictions, output_dict=True, zero_division=0
        )
        matrix = sklearn.metrics.confusion_matrix(y[test], predictions)
        assert 10 < np.trace(matrix) < 330  # there are mistakes to count
        columns = ("precision", "recall", "f1-score", "support")
        for c in range(10):
            scores, counts = numbers_of(text, f"{c} ")
            np.testing.assert_allclose(
                scores, [expected[str(c)][k] for k in columns], rtol=0, atol=6e-5
            )
            assert counts == matrix[c].tolist()
        for ours, theirs in (("macro average", "macro avg"), ("weighted average", "weighted avg")):
            (scores,) = numbers_of(text, ours)
            np.testing.assert_allclose(
                scores, [expected[theirs][k] for k in columns], rtol=0, atol=6e-5
            )

    def test_classes_with_odd_names(self, capfd):
        names = np.array(["[red]a[/red]", "\\b", "c d"])
        model = fnn.Sequential([fnn.Dense(3)])
        model.fit(np.eye(3), names, loss="cross_entropy", epochs=1)
        report.print_report(names, model.predict(np.eye(3)))
        text = capfd.readouterr().out
        assert len(numbers_of(text, "[red]a[/red]")) == 2 and len(numbers_of(text, "\\b")) == 2
        assert not any(line != line.rstrip() for line in text.splitlines())

    def test_twenty_classes_are_shown_one_by_one(self, capfd):
        report.print_report(np.arange(20), np.arange(20))
        text = capfd.readouterr().out
        assert all(len(numbers_of(text, f"{c} ")) == 2 for c in range(20))

    @pytest.mark.parametrize("named", [False, True])
    def test_of_many_classes_the_worst(self, named, capfd, rng):
        true = np.concatenate([np.arange(50), rng.integers(0, 50, 950)])
        predicted = np.where(rng.random(1000) < true / 50, (true * 7 + 1) % 50, true)
        predicted[true == 8] = 9
        names = np.array([f"class{c:03}" for c in range(50)]) if named else np.arange(50)
        report.print_report(names[true], names[predicted])
        text = capfd.readouterr().out
        assert len(text.splitlines()) < 40 and "10 of 50 classes" in text

        f1 = sklearn.metrics.f1_score(true, predicted, average=None)
        worst, confusions = text.split("taken for something else")
        shown = [
            line.split()
            for line in worst.splitlines()
            if line.startswith(("class0", *"0123456789"))
        ]
        expected = np.sort(f1)[:10]
        np.testing.assert_allclose([float(row[3]) for row in shown], expected, atol=6e-5)
        assert {row[0] for row in shown} >= set(map(str, names[f1 < expected[-1]]))
        (scores,) = numbers_of(worst, "macro average")
        assert scores[2] == pytest.approx(f1.mean(), abs=6e-5) and scores[3] == 1000

        matrix = sklearn.metrics.confusion_matrix(true, predicted)
        np.fill_diagonal(matrix, 0)
        rows = [line.split() for line in confusions.splitlines()[3:]]
        place = {str(name): i for i, name in enumerate(names)}
        counts = [matrix[place[a], place[b]] for a, b, _ in rows]
        assert counts == [int(n) for *_, n in rows] == sorted(matrix.ravel())[:-11:-1]

    def test_of_many_classes_without_a_mistake(self, capfd):
        report.print_report(np.arange(1000), np.arange(1000))
        text = capfd.readouterr().out
        assert "taken for" not in text and len(text.splitlines()) < 20

    def test_none_without_labels(self, capfd):
        report.print_report(np.arange(3.0), np.arange(3.0))
        assert capfd.readouterr().out == ""

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_none_of_probabilities(self, smoothing, capfd):
        X, y = np.eye(4), np.array([0.0, 1.0, 1.0, 0.0])
        model = fnn.Sequential([fnn.Dense(1)])
        model.fit(X, y, loss="binary_cross_entropy", epochs=1)
        report.print_report(y * (1 - smoothing), model.predict(X))
        assert ("precision" in capfd.readouterr().out) == (smoothing == 0)

    def test_formatted_on_a_terminal(self, model_file):
        text = run_on_a_terminal("evaluate", model_file, "digits")
        assert "\x1b[1m" in text and "─" in text and re.search(r"accuracy +\d", text)


class TestOptimizer:
    """What the options make of the optimizer; 5 epochs of 4 steps."""

    def optimizer(self, *options):
        arguments = cli._parser().parse_args(
            ["train", "--epochs", "5", "--batch-size", "3", *options]
        )
        arguments.network.settle(arguments)
        return cli.fitting.optimizer_of(arguments, 10)

    @pytest.mark.parametrize(
        ("name", "law"),
        [
            ("constant", lambda step: 0.5),
            ("linear", lambda step: 0.5 - 0.5 / 20 * step),
            ("cosine", lambda step: 0.5 * np.cos(np.pi * step / 40) ** 2),
            ("exponential", lambda step: 0.5 * np.exp(-step * np.log(100) / 20)),
        ],
    )
    def test_schedule(self, name, law):
        optimizer = self.optimizer("--lr", "0.5", "--schedule", name)
        rates = np.full(20, next_update(optimizer, 20)[1])
        np.testing.assert_allclose(rates, [law(step) for step in range(20)], rtol=1e-12)

    def test_defaults_are_those_of_the_optimizer(self):
        for name, expected in cli.fitting.OPTIMIZERS.items():
            assert repr(self.optimizer("--optimizer", name)) == repr(expected())
        optimizer = self.optimizer("--schedule", "linear", "--optimizer", "sgd")
        rates = next_update(optimizer, 20)[1]
        assert rates[0] == fnn.optim.SGD().lr

    def test_weight_decay(self):
        assert self.optimizer("--weight-decay", "0.25").weight_decay == 0.25


@pytest.fixture
def model_file(tmp_path):
    """A model of the digits, briefly trained, for the pixels as they are."""
    X, y = fnn.datasets.load_digits()
    model = fnn.Sequential([fnn.Dense(10)])
    model.fit(X, y, loss="cross_entropy", epochs=2)
    model.save(tmp_path / "digits.safetensors")
    return tmp_path / "digits.safetensors"


class TestPredict:
    def test_text(self, model_file, capfd):
        code, text, err = run(capfd, "predict", model_file, "digits")
        expected = fnn.load(model_file).predict(fnn.datasets.load_digits()[0])
        assert code == 0 and err == "" and text == "".join(f"{label}\n" for label in expected)

    def test_files(self, model_file, capfd, tmp_path):
        expected = fnn.load(model_file).predict(fnn.datasets.load_digits()[0])
        for ending in ("npy", "npz", "csv"):
            path = tmp_path / f"p.{ending}"
            code, text, _ = run(capfd, "predict", model_file, "digits", "--out", path)
            assert code == 0 and text == ""
        assert np.load(tmp_path / "p.npy").dtype == expected.dtype
        np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), expected)
        with np.load(tmp_path / "p.npz") as file:
            np.testing.assert_array_equal(file["predictions"], expected)
        np.testing.assert_array_equal(np.loadtxt(tmp_path / "p.csv"), expected)

    @pytest.mark.parametrize("ending", ["npy", "npz", "csv"])
    def test_a_failing_disk_leaves_the_old_file(
        self, ending, model_file, capfd, tmp_path, monkeypatch
    ):
        def fail(*args):
            raise OSError(28, "No space left on device")

        path = tmp_path / f"p.{ending}"
        path.write_text("old")
        before = sorted(os.listdir(tmp_path))
        arguments = ("predict", model_file, "digits", "--out", path, "--force")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            code, _, err = run(capfd, *arguments)
        assert code == 2 and "No space left" in err
        assert path.read_text() == "old" and sorted(os.listdir(tmp_path)) == before
        assert run(capfd, *arguments)[0] == 0
        assert path.read_bytes() != b"old" and sorted(os.listdir(tmp_path)) == before

    def test_data_without_labels(self, model_file, capfd, tmp_path):
        X, _ = fnn.datasets.load_digits()
        _, expected, _ = run(capfd, "predict", model_file, "digits")
        np.savez(tmp_path / "a.npz", X=X.reshape(-1, 8, 8))
        assert run(capfd, "predict", model_file, tmp_path / "a.npz")[1] == expected
        images = struct.pack(">HBBIII", 0, 8, 3, len(X), 8, 8) + X.tobytes()
        (tmp_path / "images").write_bytes(gzip.compress(images))
        assert run(capfd, "predict", model_file, tmp_path / "images")[1] == expected
        (tmp_path / "labels").write_bytes(b"\0\0 not read")
        files = (tmp_path / "images", tmp_path / "labels")
        assert run(capfd, "predict", model_file, *files)[1] == expected

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("outputs", [1, 3])
    def test_outputs(self, outputs, dtype, capfd, tmp_path, rng):
        X, y = rng.normal(size=(20, 4)), rng.normal(size=(20, outputs))
        np.savez(tmp_path / "a.npz", X=X, y=y)
        model = fnn.Sequential([fnn.Dense(outputs)], dtype=dtype)
        model.fit(X, y, loss="mse", epochs=1)
        model.save(tmp_path / "m")
        _, text, _ = run(capfd, "predict", tmp_path / "m", tmp_path / "a.npz")
        lines = text.splitlines()
        assert len(lines) == 20 and lines[0].count(",") == outputs - 1
        read = np.array([line.split(",") for line in lines], dtype).reshape(model.predict(X).shape)
        np.testing.assert_array_equal(read, model.predict(X))  # all digits that are needed
        code, text, _ = run(capfd, "evaluate", tmp_path / "m", tmp_path / "a.npz")
        assert code == 0 and "accuracy" not in text and "precision" not in text
        predictions = model.predict(X).reshape(y.shape)
        for name, score in (("R2", "r2_score"), ("MAE", "mean_absolute_error")):
            expected = getattr(sklearn.metrics, score)(y, predictions)
            np.testing.assert_allclose(numbers_of(text, name), [[expected]], rtol=1e-5)
        np.testing.assert_allclose(
            numbers_of(text, "loss"), [[model.evaluate(X, y)["loss"]]], rtol=1e-5
        )

    @pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
    @pytest.mark.parametrize("names", [[0, 1], [-1, 1], [False, True], ["a,b", "c"]])
    def test_probabilities(self, names, loss, capfd, tmp_path, rng):
        X = rng.normal(size=(30, 4))
        model = fnn.Sequential([fnn.Dense(2 if loss == "cross_entropy" else 1)])
        model.fit(X, np.array(names)[(X[:, 0] > 0).astype(int)], loss=loss)
        model.save(tmp_path / "m")
        np.savez(tmp_path / "a.npz", X=X)
        expected = model.predict_proba(X)
        arguments = ("predict", tmp_path / "m", tmp_path / "a.npz", "--proba")
        _, text, _ = run(capfd, *arguments)
        header, *rows = csv.reader(text.splitlines())
        assert header == list(map(str, names))
        np.testing.assert_array_equal(np.array(rows, np.float32), expected)
        for ending in ("csv", "npy", "npz"):
            assert run(capfd, *arguments, "--out", tmp_path / f"p.{ending}")[1] == ""
        assert (tmp_path / "p.csv").read_text() == text
        np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), expected)
        with np.load(tmp_path / "p.npz") as file:
            np.testing.assert_array_equal(file["probabilities"], expected)
            assert file["classes"].tolist() == names

    def test_probabilities_of_several_labels(self, capfd, tmp_path, rng):
        X, y = rng.normal(size=(30, 4)), rng.integers(0, 2, (30, 3))
        model = fnn.Sequential([fnn.Dense(3)])
        model.fit(X, y, loss="binary_cross_entropy")
        model.save(tmp_path / "m")
        np.savez(tmp_path / "a.npz", X=X)
        _, text, _ = run(capfd, "predict", tmp_path / "m", tmp_path / "a.npz", "--proba")
        assert text.startswith("0,1,2\n") and text.count("\n") == 31

    def test_no_file_is_replaced_by_mistake(self, model_file, capfd, tmp_path):
        path = tmp_path / "p.csv"
        arguments = ("predict", model_file, "digits", "--out", path)
        assert run(capfd, *arguments)[0] == 0
        before = path.read_bytes()
        path.write_text("mine")
        assert run(capfd, *arguments)[0] == 2 and path.read_text() == "mine"
        assert run(capfd, *arguments, "--force")[0] == 0 and path.read_bytes() == before

    def test_names_with_commas(self, capfd, tmp_path):
        X, names = np.eye(2), np.array(["a,b", 'say "c"'])
        model = fnn.Sequential([fnn.Dense(2)])
        model.fit(X, names, loss="cross_entropy", epochs=200, optimizer=fnn.optim.SGD(lr=1))
        model.save(tmp_path / "m")
        np.savez(tmp_path / "a.npz", X=X)
        run(capfd, "predict", tmp_path / "m", tmp_path / "a.npz", "--out", tmp_path / "p.csv")
        with open(tmp_path / "p.csv", newline="") as file:
            assert list(csv.reader(file)) == [["a,b"], ['say "c"']]

    @pytest.mark.parametrize("reader", ["head -n 1", "true"])
    def test_a_reader_that_leaves(self, reader, model_file):
        command = (
            f"{sys.executable} -m pyfast_nn predict {model_file} $0 | {reader}; echo $PIPESTATUS"
        )
        np.savez(model_file.parent / "many.npz", X=np.zeros((100_000, 64), np.uint8))
        done = subprocess.run(
            ["bash", "-c", command, model_file.parent / "many.npz"], capture_output=True, text=True
        )
        assert done.stderr == "" and done.stdout.splitlines()[-1] == "141"

    def test_a_full_disk(self, model_file):
        command = [sys.executable, "-m", "pyfast_nn", "predict", str(model_file), "digits"]
        with open("/dev/full", "w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 2
        assert "No space left" in done.stderr and done.stderr.count("\n") == 1


def test_evaluate(model_file, capfd):
    code, text, err = run(capfd, "evaluate", model_file, "digits")
    assert code == 0 and err == ""
    expected = fnn.load(model_file).evaluate(*fnn.datasets.load_digits())
    assert re.search(rf"^accuracy +{expected['accuracy']:.2%}$", text, re.MULTILINE)
    np.testing.assert_allclose(numbers_of(text, "loss"), [[expected["loss"]]], rtol=1e-5)
    assert len(numbers_of(text, "9 ")) == 2 and len(numbers_of(text, "macro average")) == 1


class TestPlot:
    @pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
    def test_a_picture_of_ours_is_replaced(self, ending, out, capfd, tmp_path):
        pytest.importorskip("matplotlib")
        arguments = ("--epochs", 1, "--out", out, "--plot", tmp_path / f"curves.{ending}")
        for _ in range(2):
            code, _, err = run(capfd, "train", *arguments)
            assert code == 0, err

    def test_png(self, out, capfd, tmp_path):
        pytest.importorskip("matplotlib")
        path = tmp_path / "curves.png"
        code, text, _ = run(capfd, "train", "--epochs", 3, "--out", out, "--plot", path)
        assert code == 0 and f"learning curves      {path}" in text
        from matplotlib.image import imread

        image = np.rint(imread(path)[..., :3] * 255)
        for colour in ((31, 119, 180), (255, 127, 14)):  # Matplotlib's first two: two curves
            assert (image == colour).all(axis=-1).sum() > 1000

    def test_without_validation(self, out, capfd, tmp_path):
        path = tmp_path / "curves.svg"
        pytest.importorskip("matplotlib")
        run(capfd, "train", "--epochs", 1, "--val", 0, "--out", out, "--plot", path)
        assert path.read_text().count("<svg") == 1

    @pytest.mark.parametrize("name", ["curves", "curves.txt", "no/such/folder/a.png", "folder.png"])
    def test_impossible_names(self, name, out, capfd, tmp_path, monkeypatch):
        pytest.importorskip("matplotlib")
        monkeypatch.chdir(tmp_path)
        os.mkdir("folder.png")
        code, text, err = run(capfd, "train", "--out", out, "--plot", name)
        assert code == 2 and "--plot: " in err and err.count("\n") == 1
        assert text == "" and not out.exists()

    def test_without_matplotlib(self, out):
        code = f"""
import sys
sys.modules["matplotlib"] = None  # as if it were not installed
from pyfast_nn.cli import main
main(["train", "--out", {str(out)!r}, "--plot", "curves.png"])
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 2 and done.stdout == "" and not out.exists()
        assert done.stderr.count("\n") == 1 and "pip install 'pyfast-nn[plot]'" in done.stderr


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("text.npz", X=np.array([["a"]] * 9), y=np.arange(9))
    np.savez("flat.npz", X=np.ones(9), y=np.arange(9))
    np.savez("fraction.npz", X=np.ones((9, 2)), y=np.arange(9) / 2)
    np.savez("one.npz", X=np.ones((9, 2)), y=np.full(9, 7))
    np.savez("dates.npz", X=np.ones((9, 2)), y=np.arange(9).astype("M8[D]"))
    np.savez("names.npz", X=np.ones((9, 64)), y=["a", "b", "c"] * 3)
    np.savez("other_names.npz", data=np.ones((9, 2)), target=np.arange(9))
    with open("table.csv", "w") as file:
        file.write("a,b\n1,2\n")
    for name in ("notes", "photo.png", "book.xlsx"):
        with open(name, "w") as file:
            file.write("no picture, no data")
    open("empty", "w").close()
    np.save("labels.npy", np.arange(9))
    with open("short.idx", "wb") as file:
        file.write(bytes(3))
    np.savez("objects.npz", X=np.ones((9, 2)), y=np.array(["a", None, 1] * 3, object))
    fnn.optim.Adam([np.ones(2)]).save("adam")
    np.savez("nan.npz", X=np.full((9, 2), np.nan), y=[0, 1, 2] * 3)
    np.savez("lengths.npz", X=np.ones((9, 2)), y=[0, 1])
    np.savez("big.npz", X=np.full((90, 2), 1e30), y=[0, 1, 2] * 30)
    np.savez("columns.npz", X=np.ones((9, 2)), y=np.arange(27).reshape(9, 3) % 3)
    np.savez("no_labels.npz", X=np.ones((9, 64)))
    model = fnn.Sequential([fnn.Dense(10)]).build(64)
    model.save("unfitted")
    model.loss = "mse"
    model.save("numbers")
    model.loss = "poisson"
    model.save("rates")
    model.loss = "cross_entropy"
    model.save("model")
    with open("not.npz", "wb") as file:
        file.write(b"no")
    os.mkdir("folder.npy")
    for name in ("fifo", "fifo.csv"):
        os.mkfifo(name)
    os.symlink("/dev/null", "null.csv")
    os.symlink("a.png", "latest.png")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ("fly", "invalid choice"),
        ("train --epochs", "--epochs"),
        ("train --epochs many", "--epochs"),
        ("train --epochs 0", "epochs: expected"),
        ("train --batch-size -1", "--batch-size: expected"),
        ("train --mixup -1", "--mixup: expected"),
        ("train --lr -1", "lr: expected"),
        ("train --lr nan", "lr: expected"),
        ("train --optimizer best", "invalid choice"),
        ("train --patience 0", "patience: expected"),
        ("train --patience 2 --val 0", "--patience: expected examples for validation"),
        ("train --activation best", "invalid choice"),
        ("train --hidden 10,,20", "--hidden"),
        ("train --hidden 0", "--hidden"),
        ("train --dropout 1", "--dropout: expected a finite number >= 0 and < 1, got 1.0"),
        ("train --dropout nan", "--dropout"),
        ("train --hidden none --dropout 0.5", "--dropout: expected hidden layers"),
        ("train --hidden none --norm layer", "--norm: expected hidden layers"),
        ("train --norm batch --batch-size 1", "--norm batch: expected a --batch-size"),
        ("train --hidden none --residual", "hidden layers, got --hidden none"),
        ("train --hidden 64 --residual", "hidden layers, got --hidden 64;"),
        ("train --seed -1", "seed: expected"),
        ("train --threads 0", "--threads: expected"),
        ("train --threads 100000", "--threads: expected an integer from 1 to 1024, got 100000"),
        ("train --out a.png --plot ./a.png", "--plot: expected another file than --out"),
        ("train --out latest.png --plot a.png", "--plot: expected another file than --out"),
        ("train --val 1", "--val: expected"),
        ("train --val 0.5 --test 0.5", "sum below 1"),
        ("train --test 0.0001", "expected to leave examples for test, got none"),
        ("train --out no/such/folder/m", "--out: cannot write"),
        ("train --out no/such/folder/m", "there is no folder"),
        ("train --out .", "--out: cannot write"),
        ("train --out new/", "--out: expected the name of a file, got 'new/'"),
        ("train --out -", "--out: expected the name of a file, got '-'"),
        (
            "train --out table.csv",
            "--out: expected a new file, got 'table.csv'; --force replaces it",
        ),
        ("train --out adam", "--out: expected a new file, got 'adam'; --force replaces it"),
        ("train --out empty", "--out: expected a new file, got 'empty'; --force replaces it"),
        (
            "train --plot photo.png",
            "--plot: expected a new file, got 'photo.png'; --force replaces it",
        ),
        ("train nan.npz --out nan.npz", "--out: expected another file than those to read"),
        ("train nan.npz --out nan.npz --force", "--out: expected another file than those to read"),
        ("train --quiet --verbose", "not allowed with"),
        ("train missing.npz", "missing.npz: No such file"),
        ("train not.npz", "not.npz: expected an intact .npz file"),
        ("train a b c", "a: No such file"),
        ("train short.idx short.idx short.idx", "data: expected"),
        ("train mnist", "mnist: No such file"),
        ("train missing.csv", "missing.csv: No such file"),
        ("train table.csv labels.npy", "got .csv; a table comes alone"),
        ("train book.xlsx", "book.xlsx: expected 'digits' (built in), one .npz file"),
        ("train book.xlsx", "got .xlsx; save the table as .csv"),
        ("train notes", "notes: expected 'digits' (built in), one .npz file"),
        ("train .", ".: Is a directory"),
        ("train -", "standard input is not read"),
        ("train model", "model: expected data, 'digits'"),
        ("train other_names.npz", "there is no array X among data, target"),
        ("train flat.npz text.npz", "flat.npz: expected 'digits' (built in), one .npz file with"),
        ("train labels.npy labels.npy", "got .npy; numpy.savez("),
        ("train short.idx short.idx", "short.idx: expected an intact IDX file"),
        ("train objects.npz", "array y holds Python objects, which are not read; save what array."),
        ("train text.npz", "X: expected real numbers"),
        ("train flat.npz", "data: expected examples"),
        ("train lengths.npz", "data: expected examples"),
        ("train fraction.npz --task classification", "y: expected whole numbers"),
        ("train names.npz --task regression", "y: expected numbers (n,) or (n, outputs)"),
        ("train fraction.npz --class-weight balanced", "--class-weight: expected labels"),
        ("train one.npz", "y: expected at least 2 classes, got 7 in every row"),
        ("train dates.npz", "y: expected labels"),
        ("train nan.npz --val 0.2", "nan in row"),
        (
            "train big.npz --optimizer sgd --lr 1e30 --no-standardize",
            "the loss is not finite",
        ),
        ("train columns.npz", "expected labels (n,), got shape (9, 3)"),
        ("train no_labels.npz", "there is no array y"),
        ("train --out /dev/null", "--out: cannot write '/dev/null': exists and is not a regular"),
        ("train --out fifo", "--out: cannot write 'fifo': exists and is not a regular file"),
        ("train --schedule best", "invalid choice"),
        ("train --schedule cosine --batch-size 0", "--batch-size: expected"),
        ("train --schedule cosine --epochs 0", "--epochs: expected"),
        ("train --schedule cosine --lr -1", "lr: expected"),
        ("train --weight-decay -1", "weight_decay: expected"),
        ("train --dtype float16", "invalid choice"),
        ("predict", "MODEL"),
        ("predict model", "DATA"),
        ("predict missing digits", "missing: No such file"),
        ("predict not.npz digits", "not.npz: not an intact"),
        ("predict unfitted digits", "has not been fitted"),
        ("predict model a b c", "a: No such file"),
        ("predict model short.idx short.idx short.idx", "data: expected"),
        ("predict model table.csv", "table.csv: expected 'digits' (built in), one .npz file"),
        ("predict model model", "expected MODEL, then DATA, but model is the model file"),
        ("predict digits model", "expected MODEL, then DATA, but model is the model file"),
        ("predict nan.npz model", "expected MODEL, then DATA, but model is the model file"),
        ("predict model other_names.npz", "there is no array X among data, target"),
        ("predict model digits --out p.csv --force --proba --out model", "--out: expected a name"),
        ("predict numbers digits --proba", "--proba: expected a model that gives probabilities"),
        ("predict rates digits --proba", "--proba: expected a model that gives probabilities"),
        ("predict unfitted digits --proba", "expected a model that has been fitted"),
        ("predict model digits --out table.csv", "expected a new file, got 'table.csv'; --force"),
        (
            "predict model no_labels.npz --out no_labels.npz --force",
            "--out: expected another file than those to read",
        ),
        ("predict model missing.npz", "missing.npz: No such file"),
        ("predict model mnist", "mnist: No such file"),
        ("predict model not.npz", "not.npz: expected an intact .npz file with the arrays X:"),
        ("predict model flat.npz", "data: expected examples"),
        ("predict model lengths.npz", "expected 64 columns"),
        ("predict model text.npz", "X: expected real numbers"),
        ("predict model digits --out p.txt", "--out: expected a name that ends in .npy"),
        ("predict model digits --out no/such/folder/p.csv", "--out: cannot write"),
        (
            "predict model digits --out folder.npy",
            "--out: cannot write 'folder.npy': Is a directory",
        ),
        (
            "predict model digits --out fifo.csv",
            "--out: cannot write 'fifo.csv': exists and is not",
        ),
        (
            "predict model digits --out null.csv",
            "--out: cannot write 'null.csv': exists and is not",
        ),
        ("evaluate missing digits", "missing: No such file"),
        ("evaluate unfitted digits", "has not been fitted"),
        ("evaluate model no_labels.npz", "there is no array y"),
        ("evaluate model lengths.npz", "data: expected examples"),
        ("evaluate numbers names.npz", "y: expected"),
        ("evaluate model fraction.npz", "whole numbers"),
        ("evaluate no_labels.npz model", "expected MODEL, then DATA, but model is the model file"),
        ("info missing", "missing: No such file"),
        ("info not.npz", "not.npz: not an intact"),
        ("info .", "Is a directory"),
    ],
)
def test_a_mistake_ends_with_one_line(arguments, match, folder, capfd):
    code, text, err = run(capfd, *arguments.split())
    assert code == 2
    assert err.startswith("pyfast-nn: error: ") and err.count("\n") == 1 and err.endswith("\n")
    assert match in err and (text == "" or "not finite" in match)
    assert not os.path.exists("model.safetensors")


class TestWords:
    """What is said beside the results."""

    def test_alone_it_shows_its_commands(self, capfd):
        code, text, err = run(capfd)
        assert code == 0 and err == ""
        assert all(
            f"    {command} " in text for command in ("train", "evaluate", "predict", "info")
        )

    def test_version(self, capfd):
        assert run(capfd, "--version") == (0, f"pyfast-nn {fnn.__version__}\n", "")

    @pytest.mark.parametrize("option", ["-q", "--quiet"])
    def test_quiet(self, option, out, capfd):
        arguments = ("train", "--epochs", 2, "--hidden", 4, "--out", out)
        assert run(capfd, *arguments, option) == (0, "", "")
        quiet = fnn.load(out)
        run(capfd, *arguments)
        assert_same_bits(fnn.load(out).parameters, quiet.parameters)

    @pytest.mark.parametrize("option", ["-v", "--verbose"])
    def test_lines_where_there_is_no_terminal(self, option, out, capfd):
        code, _, err = run(capfd, "train", "--epochs", 2, "--hidden", 4, "--out", out, option)
        assert code == 0 and err.count("\n") == 2 and err.startswith("epoch 1/2  loss ")


class TestCheckpoint:
    @pytest.mark.parametrize("task", ["labels", "regression"])
    def test_goes_on(self, task, table, capfd, tmp_path):
        """3 epochs, and those that are left: the model of 7 in a row; then nothing more."""
        X, y = table
        y = y if task == "labels" else X[:, 0] * 3.0 + 1
        options = ("--patience", "5", "--dropout", "0.1")
        _, whole = train(capfd, tmp_path, X, y, *options, epochs=7)
        options += ("--checkpoint", tmp_path / "{run}")
        out = ("--out", tmp_path / "m.safetensors", "--force", "--hidden", "16", "--lr", "0.01")
        for epochs, expected in (
            (3, ""),
            (7, f"goes on after epoch 3 of 7, from {tmp_path / '{run}'}\n"),
            (7, f"goes on after epoch 7 of 7, from {tmp_path / '{run}'}\n"),
        ):
            arguments = ("train", tmp_path / "data.npz", *out, *options, "--epochs", epochs)
            code, text, err = run(capfd, *arguments)
            assert code == 0 and err == expected
            assert (" accuracy " if task == "labels" else "R2") in text
        assert_same_bits(fnn.load(tmp_path / "m.safetensors").parameters, whole.parameters)
        assert fnn.load(tmp_path / "{run}").history.epochs == 7

    def test_what_is_no_checkpoint(self, folder, capfd):
        digits = ("train", "--epochs", 1, "--hidden", 3, "--out", "new")
        for name, text in [
            ("notes", "notes: not an intact safetensors file"),
            ("new", "--checkpoint: expected another file than --out"),
            ("unfitted", "unfitted: a model without a fit"),
        ]:
            code, _, err = run(capfd, *digits, "--force", "--checkpoint", name)
            assert code == 2 and text in err.splitlines()[-1]
        run(capfd, *digits, "--checkpoint", "run")
        code, _, err = run(capfd, "train", "--hidden", 4, "--out", "new", "--checkpoint", "run")
        assert code == 2 and "resume: expected a checkpoint of this model's layers" in err


class TestOut:
    def test_a_model_file_is_replaced(self, out, capfd):
        for units in (3, 4):
            assert run(capfd, "train", "--epochs", 1, "--hidden", units, "--out", out)[0] == 0
            assert fnn.load(out).layers[1].units == units

    def test_other_files_by_force_only(self, folder, capfd):
        for name in ("notes", "adam", "empty", "nan.npz", "unfitted.link"):
            if name == "unfitted.link":
                os.symlink("notes", name)
            with open(name, "rb") as file:
                before = file.read()
            code, text, err = run(capfd, "train", "--out", name)
            assert code == 2 and text == "" and "--force" in err
            with open(name, "rb") as file:
                assert file.read() == before
        assert run(capfd, "train", "--epochs", 1, "--out", "notes", "--force")[0] == 0
        assert fnn.load("notes").epochs_trained == 1

    def test_a_damaged_model_is_ours(self, model_file, capfd):
        model_file.write_bytes(model_file.read_bytes()[:-7])
        assert run(capfd, "train", "--epochs", 1, "--out", model_file)[0] == 0

    @given(raw=st.binary(max_size=40))
    def test_anything_is_no_model(self, raw):
        with tempfile.NamedTemporaryFile() as file:
            for beginning in (b"", len(raw).to_bytes(8, "little"), b"\2" + bytes(7) + b"{}"):
                file.seek(0)
                file.truncate()
                file.write(beginning + raw)
                file.flush()
                assert not modelfile.is_model(file.name)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_without_permission(self, tmp_path, capfd):
        (tmp_path / "shut").mkdir(mode=0o500)
        code, text, err = run(capfd, "train", "--out", tmp_path / "shut" / "m")
        assert code == 2 and text == "" and "no permission" in err

    def test_home(self, tmp_path, monkeypatch, capfd):
        monkeypatch.setenv("HOME", str(tmp_path))
        np.savez(tmp_path / "a.npz", X=np.eye(20), y=np.arange(20) % 2)
        arguments = ("--epochs", 1, "--out=~/m", "--hidden", "none")
        assert run(capfd, "train", "~/a.npz", *arguments)[0] == 0
        assert run(capfd, "predict", "~/m", "~/a.npz", "--out=~/p.npy")[0] == 0
        assert len(np.load(tmp_path / "p.npy")) == 20


class TestInfo:
    def test_build(self, capfd):
        code, text, _ = run(capfd, "info")
        assert code == 0 and re.search(rf"version +{re.escape(fnn.__version__)}\n", text)
        assert re.search(rf"isa +{fnn.build_config()['isa']}\n", text)

    def test_model(self, out, capfd):
        run(capfd, "train", "--epochs", 1, "--hidden", 7, "--out", out)
        code, text, _ = run(capfd, "info", out)
        assert code == 0 and "Dense(7)" in text and "64 inputs" in text
        assert re.search("classes +0, 1, 2", text) and re.search("epochs trained +1\n", text)


@pytest.mark.alone
class TestProcess:
    def test_module_and_exit_code(self):
        done = subprocess.run(
            [sys.executable, "-m", "pyfast_nn", "train", "none"], capture_output=True, text=True
        )
        assert done.returncode == 2 and done.stderr.startswith("pyfast-nn: error: ")
        done = subprocess.run(
            [sys.executable, "-m", "pyfast_nn", "--help"], capture_output=True, text=True
        )
        assert done.returncode == 0 and "train" in done.stdout

    @pytest.mark.parametrize("options", ["", "--patience 1000000"])
    def test_ctrl_c_keeps_what_was_learned(self, options, out):
        out.write_bytes(self.other_model())
        process = self.start_training(out, *options.split())
        process.send_signal(signal.SIGINT)
        text, err = process.communicate(timeout=60)
        assert process.returncode == 130
        last = err.splitlines()[-1]
        epochs = int(re.fullmatch(rf"interrupted after (\d+) of 1000000 epochs; {out} .*", last)[1])
        model = fnn.load(out)
        assert model.epochs_trained == epochs and len(model.layers) == 4
        X, y = fnn.datasets.load_digits()
        test = fnn.datasets.stratified_split(y, [0.7, 0.1, 0.2], seed=0)[2]
        right = model.evaluate(X[test], y[test])["accuracy"]
        assert right > 0.5  # something was learned
        assert accuracy(text, "test") == pytest.approx(100 * right, abs=0.01)
        if options:
            best, done = map(int, re.search(r"best epoch +(\d+) of (\d+)", text).groups())
            assert epochs - 1 <= done <= epochs and best <= done  # interrupted where it counts

    def test_ctrl_c_twice(self, out):
        process = self.start_training(out)
        process.send_signal(signal.SIGINT)
        time.sleep(1e-3)  # while the first is seen to, or the file written
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130 and "Traceback" not in err
        assert fnn.load(out).epochs_trained >= 20

    def test_ctrl_c_of_a_regression(self, out, tmp_path, rng):
        X = rng.normal(size=(300, 2))
        np.savez(tmp_path / "a.npz", X=X, y=1e6 + X[:, 0])
        process = self.start_training(out, tmp_path / "a.npz")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130 and abs(fnn.load(out).predict(X) - 1e6).max() < 100

    def test_ctrl_c_when_quiet(self, out, monkeypatch, capfd):
        fit = fnn.Sequential.fit

        def fit_a_little(*args, **options):
            fit(*args, **options | {"epochs": 2})
            raise KeyboardInterrupt

        monkeypatch.setattr(fnn.Sequential, "fit", fit_a_little)
        code, text, err = run(capfd, "train", "--quiet", "--out", out)
        assert code == 130 and text == ""
        assert err == f"interrupted after 2 of 40 epochs; {out} is what was learned\n"
        assert fnn.load(out).epochs_trained == 2

    def test_ctrl_c_before_the_first_step(self, out, monkeypatch, capfd):
        def interrupt(*args, **keywords):
            raise KeyboardInterrupt

        monkeypatch.setattr(fnn.Sequential, "fit", interrupt)
        out.write_bytes(before := self.other_model())
        code, _, err = run(capfd, "train", "--out", out)
        assert code == 130 and err == "interrupted\n" and out.read_bytes() == before

    def test_a_reader_of_the_progress_who_leaves(self, out):
        """The training ends, and its model is kept."""
        command = f"{sys.executable} -m pyfast_nn train --epochs 100000 -v --out {out} 2>&1"
        done = subprocess.run(
            ["bash", "-c", f"{command} | head -n 7; echo $PIPESTATUS"],
            capture_output=True,
            text=True,
        )
        assert done.stderr == "" and done.stdout.splitlines()[-1] == "141"
        assert "epoch 3/100000  loss" in done.stdout and fnn.load(out).epochs_trained >= 3

    @staticmethod
    def other_model():
        """The bytes of a model file that is there before."""
        model = fnn.Sequential([fnn.Dense(2)]).build(3)
        with tempfile.TemporaryDirectory() as folder:
            model.save(f"{folder}/m")
            with open(f"{folder}/m", "rb") as file:
                return file.read()

    @staticmethod
    def start_training(out, *options):
        """Return the process, which has trained for some epochs."""
        command = [sys.executable, "-m", "pyfast_nn", "train", *map(str, options), "--verbose"]
        command += ["--epochs", "1000000", "--hidden", "16", "--out", str(out)]
        process = subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True)
        while not (line := process.stderr.readline()).startswith("epoch 20/"):
            assert line.startswith("epoch ")
        return process

    @pytest.mark.parametrize("command", ["--help", "train --help", "evaluate {model} digits"])
    def test_a_reader_that_has_left(self, command, model_file):
        command = f"{sys.executable} -m pyfast_nn {command.format(model=model_file)}"
        buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
        done = subprocess.run(
            ["bash", "-c", f"{command} | true; echo $PIPESTATUS"],
            capture_output=True,
            text=True,
            env=buffered,
        )
        assert done.stderr == "" and done.stdout == "141\n"

    @pytest.mark.parametrize("command", ["train --epochs 1 --out {out}", "evaluate {model} digits"])
    def test_closed_output(self, command, model_file, out):
        command = f"{sys.executable} -m pyfast_nn {command.format(model=model_file, out=out)} >&-"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == ""

    def test_a_terminal_sees_progress(self, out):
        seen = run_on_a_terminal("train", "--epochs", "3", "--out", out)
        assert "val_accuracy" in seen and "3/3" in seen


def run_on_a_terminal(*arguments):
    """Run `pyfast-nn` on a terminal of its own; return all that it shows there."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "pyfast_nn", *map(str, arguments)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    seen = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # Linux says so when the other end is closed
            break
        if not piece:
            break
        seen += piece
    os.close(leader)
    assert process.wait() == 0, seen
    return seen.decode()
