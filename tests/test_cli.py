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
import time

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

import pyfast_nn as fnn
from pyfast_nn import cli
from pyfast_nn.cli import main, report

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

    @pytest.mark.parametrize("name", cli.train._ACTIVATIONS)
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

    def test_the_same_seed_gives_the_same_file(self, out, capfd):
        files = []
        for _ in range(2):
            run(capfd, "train", "--epochs", 1, "--out", out)
            files.append(out.read_bytes())
        assert files[0] == files[1]


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
        scores, support = report.class_scores(true, predicted, 5)
        *expected, expected_support = sklearn.metrics.precision_recall_fscore_support(
            true, predicted, labels=range(5), zero_division=0
        )
        np.testing.assert_allclose(scores.T, expected, rtol=1e-15)
        np.testing.assert_array_equal(support, expected_support)
        np.testing.assert_array_equal(
            report.confusion_matrix(true, predicted, 5),
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

    def test_classes_with_odd_names_or_many(self, capfd):
        names = np.array(["[red]a[/red]", "\\b", "c d"])
        model = fnn.Sequential([fnn.Dense(3)])
        model.fit(np.eye(3), names, loss="cross_entropy", epochs=1)
        report.print_report(model, np.eye(3), names)
        text = capfd.readouterr().out
        assert len(numbers_of(text, "[red]a[/red]")) == 2 and len(numbers_of(text, "\\b")) == 2
        assert not any(line != line.rstrip() for line in text.splitlines())

        model = fnn.Sequential([fnn.Dense(31)])
        model.fit(np.eye(31), np.arange(31), loss="cross_entropy", epochs=1)
        report.print_report(model, np.eye(31), np.arange(31.0))
        text = capfd.readouterr().out
        assert len(numbers_of(text, "30 ")) == 1 and "true" not in text

    def test_none_without_labels(self, capfd):
        model = fnn.Sequential([fnn.Dense(1)])
        model.fit(np.eye(3), np.arange(3.0), loss="mse", epochs=1)
        report.print_report(model, np.eye(3), np.arange(3.0))
        assert capfd.readouterr().out == ""

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_none_of_probabilities(self, smoothing, capfd):
        X, y = np.eye(4), np.array([0.0, 1.0, 1.0, 0.0])
        model = fnn.Sequential([fnn.Dense(1)])
        model.fit(X, y, loss="binary_cross_entropy", epochs=1)
        report.print_report(model, X, y * (1 - smoothing))
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
        return cli.train._optimizer(arguments, 10)

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
        rates = np.full(20, optimizer._next(optimizer.lr, "lr", 20))
        np.testing.assert_allclose(rates, [law(step) for step in range(20)], rtol=1e-12)

    def test_defaults_are_those_of_the_optimizer(self):
        for name, expected in cli.train._OPTIMIZERS.items():
            assert repr(self.optimizer("--optimizer", name)) == repr(expected())
        optimizer = self.optimizer("--schedule", "linear", "--optimizer", "sgd")
        rates = optimizer._next(optimizer.lr, "lr", 20)
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
        arguments = ("predict", model_file, "digits", "--out", path)
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
        assert run(capfd, "predict", model_file, tmp_path / "images", "labels")[1] == expected

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
        np.testing.assert_allclose(
            numbers_of(text, "loss"), [[model.evaluate(X, y)["loss"]]], rtol=1e-5
        )

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
    np.savez("negative.npz", X=np.ones((9, 2)), y=np.arange(9) - 20)
    np.savez("huge.npz", X=np.ones((9, 2)), y=np.arange(9) * 10**9)
    np.savez("nan.npz", X=np.full((9, 2), np.nan), y=[0, 1, 2] * 3)
    np.savez("lengths.npz", X=np.ones((9, 2)), y=[0, 1])
    np.savez("big.npz", X=np.full((90, 2), 1e30), y=[0, 1, 2] * 30)
    np.savez("columns.npz", X=np.ones((9, 2)), y=np.arange(27).reshape(9, 3) % 3)
    np.savez("no_labels.npz", X=np.ones((9, 64)))
    model = fnn.Sequential([fnn.Dense(10)]).build(64)
    model.save("unfitted")
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
        ("", "COMMAND"),
        ("fly", "invalid choice"),
        ("train --epochs", "--epochs"),
        ("train --epochs many", "--epochs"),
        ("train --epochs 0", "epochs: expected"),
        ("train --batch-size -1", "--batch-size: expected"),
        ("train --lr -1", "lr: expected"),
        ("train --lr nan", "lr: expected"),
        ("train --optimizer best", "invalid choice"),
        ("train --patience 0", "patience: expected"),
        ("train --patience 2 --val 0", "--patience: needs examples for validation"),
        ("train --activation best", "invalid choice"),
        ("train --hidden 10,,20", "--hidden"),
        ("train --hidden 0", "--hidden"),
        ("train --seed -1", "seed: expected"),
        ("train --threads 0", "--threads: expected"),
        ("train --threads 100000", "--threads: expected an integer from 1 to 1024, got 100000"),
        ("train --out a.png --plot ./a.png", "--plot: expected another file than --out"),
        ("train --out latest.png --plot a.png", "--plot: expected another file than --out"),
        ("train --val 1", "--val: expected"),
        ("train --val 0.5 --test 0.5", "sum below 1"),
        ("train --test 0.0001", "no examples are left for test"),
        ("train --out no/such/folder/m", "--out: cannot write"),
        ("train --out .", "--out: cannot write"),
        ("train missing.npz", "missing.npz: No such file"),
        ("train not.npz", "not.npz: expected an intact .npz file"),
        ("train a b c", "data: expected"),
        ("train mnist", "data: expected"),
        ("train not.npz text.npz", "not.npz: expected an intact IDX file"),
        ("train text.npz", "X: expected real numbers"),
        ("train flat.npz", "data: expected examples"),
        ("train lengths.npz", "data: expected examples"),
        ("train fraction.npz --val 0.2", "whole numbers"),
        ("train negative.npz", "labels: expected whole numbers"),
        ("train huge.npz", "labels: expected whole numbers"),
        ("train nan.npz --val 0.2", "nan in row"),
        ("train big.npz --optimizer sgd --lr 1e30", "the loss is not finite"),
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
        ("predict model a b c", "data: expected"),
        ("predict model missing.npz", "missing.npz: No such file"),
        ("predict model mnist", "mnist: No such file"),
        ("predict model not.npz", "not.npz: expected an intact .npz file with the arrays X:"),
        ("predict model flat.npz", "data: expected examples"),
        ("predict model lengths.npz", "2 columns"),
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
        ("evaluate model fraction.npz", "whole numbers"),
        ("info missing", "missing: No such file"),
        ("info not.npz", "not.npz: not an intact"),
        ("info .", "Is a directory"),
    ],
)
def test_a_mistake_ends_with_one_line(arguments, match, folder, capfd):
    code, _, err = run(capfd, *arguments.split())
    assert code == 2
    assert err.startswith("pyfast-nn: error: ") and err.count("\n") == 1 and err.endswith("\n")
    assert match in err
    assert not os.path.exists("model.safetensors")


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

    def test_ctrl_c(self, out):
        command = [sys.executable, "-m", "pyfast_nn", "train", "--epochs", "1000000"]
        process = subprocess.Popen(
            [*command, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while "parameters" not in process.stdout.readline():
            pass
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130 and err == "interrupted\n" and not out.exists()

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
