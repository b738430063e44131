"""The command line: what it prints and writes, and one line for a mistake."""

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

import pyfast_nn as fnn
from pyfast_nn.cli import main

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
    with open("not.npz", "wb") as file:
        file.write(b"no")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ("", "COMMAND"),
        ("fly", "invalid choice"),
        ("train --epochs", "--epochs"),
        ("train --epochs many", "--epochs"),
        ("train --epochs 0", "epochs: expected"),
        ("train --batch-size -1", "batch_size: expected"),
        ("train --lr -1", "lr: expected"),
        ("train --lr nan", "lr: expected"),
        ("train --optimizer best", "invalid choice"),
        ("train --hidden 10,,20", "--hidden"),
        ("train --hidden 0", "--hidden"),
        ("train --seed -1", "seed: expected"),
        ("train --threads 0", "--threads: expected"),
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
        leader, follower = pty.openpty()
        command = [sys.executable, "-m", "pyfast_nn", "train", "--epochs", "3", "--out", str(out)]
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=follower, env=environment
        )
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
        assert process.wait() == 0 and b"val_accuracy" in seen and b"3/3" in seen
