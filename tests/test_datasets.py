"""The digits, the readers, and the split."""

import gzip
import os
import struct

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given
from hypothesis import strategies as st

import pyfast_nn as fnn
from pyfast_nn import datasets

pytestmark = pytest.mark.once


def test_digits_are_those_of_scikit_learn():
    X, y = datasets.load_digits()
    expected = sklearn.datasets.load_digits()
    assert X.dtype == np.uint8 and y.dtype == np.int64
    np.testing.assert_array_equal(X, expected.data)
    np.testing.assert_array_equal(y, expected.target)


def test_the_digits_name_source_and_licence():
    folder = os.path.join(os.path.dirname(fnn.__file__), "_data")
    with open(os.path.join(folder, "README.md")) as file:
        text = file.read()
    assert "Alpaydin" in text and "CC BY 4.0" in text


def idx(array, code):
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


class TestIdx:
    @pytest.mark.parametrize("compress", [bytes, gzip.compress])
    @pytest.mark.parametrize(
        ("code", "dtype"),
        [(0x08, "u1"), (0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")],
    )
    def test_round_trip(self, code, dtype, compress, tmp_path):
        array = np.arange(24).reshape(2, 3, 4).astype(dtype)
        (tmp_path / "a.idx").write_bytes(compress(idx(array, code)))
        got = datasets.read_idx(tmp_path / "a.idx")
        assert got.dtype == array.dtype and got.dtype.isnative
        np.testing.assert_array_equal(got, array)
        got[...] = 0  # it is ours

    def test_empty(self, tmp_path):
        (tmp_path / "a").write_bytes(idx(np.zeros((0, 3), np.uint8), 8))
        assert datasets.read_idx(tmp_path / "a").shape == (0, 3)

    @pytest.mark.parametrize("compress", [bytes, gzip.compress])
    def test_every_truncation_and_a_trailing_byte(self, compress, tmp_path):
        raw = compress(idx(np.arange(12, dtype=np.uint8).reshape(3, 4), 8))
        for content in [raw[:n] for n in range(len(raw))] + [raw + b"\0x"]:
            (tmp_path / "a").write_bytes(content)
            with pytest.raises(ValueError, match="a: expected an intact IDX file"):
                datasets.read_idx(tmp_path / "a")

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"PK\3\4 something else",
            b"\0\0\7\1\0\0\0\1x",  # no such type
            b"\0\0\10\0x",  # no dimensions
            b"\0\0\16\3" + b"\xff" * 12,  # 2^99 bytes declared
            b"\0\0\10\3" + b"\xff" * 8 + b"\0" * 4,  # 2^64 times 0
            b"\x1f\x8bnonsense",
        ],
    )
    def test_not_idx(self, raw, tmp_path):
        (tmp_path / "a").write_bytes(raw)
        with pytest.raises(ValueError, match="expected an intact IDX file"):
            datasets.read_idx(tmp_path / "a")

    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            datasets.read_idx(tmp_path / "a")

    @given(raw=st.binary(max_size=40), compress=st.booleans())
    def test_any_bytes(self, raw, compress, tmp_path_factory):
        path = tmp_path_factory.getbasetemp() / "any.idx"
        path.write_bytes(gzip.compress(raw) if compress else raw)
        try:
            datasets.read_idx(path)
        except ValueError as error:
            assert "any.idx" in str(error)


class TestNpz:
    def test_round_trip(self, tmp_path):
        X, y = np.arange(6.0).reshape(2, 3), np.array(["a", "b"])
        np.savez(tmp_path / "a.npz", X=X, y=y, other=1)
        for got, expected in zip(datasets.read_npz(tmp_path / "a.npz"), (X, y), strict=True):
            np.testing.assert_array_equal(got, expected)

    def test_mistakes(self, tmp_path):
        path = tmp_path / "a.npz"
        with pytest.raises(FileNotFoundError):
            datasets.read_npz(path)
        np.savez(path, X=1)
        with pytest.raises(ValueError, match=r"a.npz: expected the arrays X and y: .*y"):
            datasets.read_npz(path)
        np.savez(path, X=np.array([None]), y=1)
        with pytest.raises(ValueError, match=r"a.npz: expected a .npz file"):
            datasets.read_npz(path)
        with open(path, "wb") as file:
            np.save(file, np.ones(3))
        with pytest.raises(ValueError, match=r"a.npz"):
            datasets.read_npz(path)

    def test_truncations(self, tmp_path):
        path = tmp_path / "a.npz"
        np.savez_compressed(path, X=np.arange(100), y=np.arange(100))
        raw = path.read_bytes()
        for n in range(0, len(raw), 7):
            path.write_bytes(raw[:n])
            with pytest.raises(ValueError, match=r"a.npz"):
                datasets.read_npz(path)


class TestSplit:
    @given(
        counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
        cuts=st.lists(st.integers(0, 100), max_size=3),
        seed=st.integers(0, 2**64 - 1),
    )
    def test_each_class_has_its_share_in_each_part(self, counts, cuts, seed):
        y = np.repeat(np.arange(len(counts)), counts)
        fractions = np.diff([0, *sorted(cuts), 100]) / 100
        parts = datasets.stratified_split(y, fractions, seed=seed)
        assert sorted(np.concatenate(parts)) == list(range(len(y)))
        for part, fraction in zip(parts, fractions, strict=True):
            assert abs(len(part) - fraction * len(y)) <= 1
            for c, count in enumerate(counts):
                assert abs(np.sum(y[part] == c) - fraction * count) < 2

    def test_shuffled_by_seed(self):
        y = np.array(["a", "b"] * 50)
        a, b = (datasets.stratified_split(y, [0.5, 0.5], seed=seed)[0] for seed in (0, 1))
        assert not np.array_equal(a, b) and len(set(a) & set(b)) < 45
        np.testing.assert_array_equal(a, datasets.stratified_split(y, [0.5, 0.5])[0])

    @pytest.mark.parametrize(
        ("y", "fractions", "error", "match"),
        [
            (np.ones((3, 1)), [1], ValueError, "y: expected labels"),
            (np.ones(3), [0.5, 0.6], ValueError, "fractions: .* sum 1.1"),
            (np.ones(3), [1.5, -0.5], ValueError, r"fractions\[1\]"),
            (np.ones(3), [], ValueError, "fractions"),
            (np.ones(3), ["all"], TypeError, r"fractions\[0\]"),
        ],
    )
    def test_impossible(self, y, fractions, error, match):
        with pytest.raises(error, match=match):
            datasets.stratified_split(y, fractions)


@pytest.mark.skipif(
    not (os.environ.get("PYFAST_NN_FULL") and os.environ.get("PYFAST_NN_MNIST")),
    reason="needs PYFAST_NN_FULL=1 and the folder of MNIST in PYFAST_NN_MNIST",
)
def test_mnist_accuracy():
    """784-256-128-10, Adam 1e-3, batch 128, 10 epochs: mean test accuracy of five seeds."""
    folder = os.environ["PYFAST_NN_MNIST"]

    def read(name):
        return datasets.read_idx(os.path.join(folder, f"{name}-ubyte.gz"))

    X, Xt = (
        read(f"{part}-images-idx3").reshape(-1, 784).astype(np.float32) / 255
        for part in ("train", "t10k")
    )
    y, yt = (read(f"{part}-labels-idx1") for part in ("train", "t10k"))
    accuracies = []
    for seed in range(5):
        layers = [fnn.Dense(256), fnn.ReLU(), fnn.Dense(128), fnn.ReLU(), fnn.Dense(10)]
        model = fnn.Sequential(layers, seed=seed)
        model.fit(X, y, loss="cross_entropy", optimizer=fnn.optim.Adam(lr=1e-3))
        accuracies.append(model.evaluate(Xt, yt)["accuracy"])
    assert np.mean(accuracies) >= 0.977, accuracies
