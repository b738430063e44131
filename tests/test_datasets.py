"""The digits, the readers, and the split."""

import gzip
import itertools
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

import pyfast_nn as fnn
from conftest import FULL
from pyfast_nn import _core, datasets

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

    @given(
        array=hnp.arrays(
            st.sampled_from(["u1", "i1", "i2", "i4", "f4", "f8"]),
            hnp.array_shapes(min_side=0, max_dims=4, max_side=4),
        ),
        compress=st.booleans(),
    )
    def test_any_array(self, array, compress, tmp_path_factory):
        code = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}[array.dtype.str[1:]]
        path = tmp_path_factory.getbasetemp() / "array.idx"
        path.write_bytes(gzip.compress(idx(array, code)) if compress else idx(array, code))
        got = datasets.read_idx(path)
        assert got.dtype == array.dtype
        np.testing.assert_array_equal(got, array)

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
        (other,) = datasets.read_npz(tmp_path / "a.npz", names=["other"])
        assert other.shape == () and other == 1

    @given(
        array=hnp.arrays(
            st.one_of(
                hnp.integer_dtypes(endianness="?"),
                hnp.floating_dtypes(endianness="?"),
                hnp.boolean_dtypes(),
                hnp.unicode_string_dtypes(min_len=1, max_len=3),
            ),
            hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
        ),
        fortran=st.booleans(),
        save=st.sampled_from([np.savez, np.savez_compressed]),
    )
    def test_as_numpy_reads_it(self, array, fortran, save, tmp_path_factory):
        path = tmp_path_factory.getbasetemp() / "any.npz"
        save(path, X=np.asfortranarray(array) if fortran and array.ndim else array)
        (got,) = datasets.read_npz(path, ["X"])
        with np.load(path) as file:
            np.testing.assert_array_equal(got, file["X"])
        assert got.dtype.isnative and got.dtype == array.dtype.newbyteorder("=")
        got[...] = np.zeros((), got.dtype)  # it is ours

    def test_mistakes(self, tmp_path):
        path = tmp_path / "a.npz"
        with pytest.raises(FileNotFoundError):
            datasets.read_npz(path)
        np.savez(path, X=1)
        with pytest.raises(ValueError, match=r"a.npz: expected .* X and y: there is no array y"):
            datasets.read_npz(path)
        with open(path, "wb") as file:
            np.save(file, np.ones(3))
        with pytest.raises(ValueError, match=r"a.npz: expected an intact .npz file"):
            datasets.read_npz(path)

    def test_objects_are_refused_and_not_unpickled(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "trapped"),)

        np.savez(tmp_path / "a.npz", X=np.array([Trap()]))
        with pytest.raises(ValueError, match=r"a.npz: .*Python objects"):
            datasets.read_npz(tmp_path / "a.npz", ["X"])
        assert not (tmp_path / "trapped").exists()

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_every_truncation(self, save, tmp_path):
        path = tmp_path / "a.npz"
        save(path, X=np.arange(30), y=np.arange(3))
        raw = path.read_bytes()
        for n in range(len(raw)):
            path.write_bytes(raw[:n])
            with pytest.raises(ValueError, match=r"a.npz: expected an intact .npz file"):
                datasets.read_npz(path)

    @given(data=st.data())
    def test_any_damage(self, data, tmp_path_factory):
        path = tmp_path_factory.getbasetemp() / "damaged.npz"
        np.savez(path, X=np.arange(6.0), y=np.arange(3))
        raw = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(raw)
        try:
            datasets.read_npz(path)
        except ValueError as error:
            assert "damaged.npz" in str(error)

    @pytest.mark.parametrize(
        ("header", "match"),
        [
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }", "shape"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", "more bytes"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }", "8 bytes too early"),
            ("{'descr': '|V0', 'fortran_order': False, 'shape': (2,), }", "itemsize"),
            ("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", "Python objects"),
            ("-" * 9000 + "1", "no header"),
            ("'", "no header"),
            ("", "no header"),
        ],
    )
    def test_headers(self, header, match, tmp_path):
        write_npz(tmp_path / "a.npz", header, np.ones(2).tobytes())
        with pytest.raises(ValueError, match=rf"a.npz: expected an intact .*{match}"):
            datasets.read_npz(tmp_path / "a.npz", ["X"])

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_other_compression(self, method, tmp_path):
        header = "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }"
        write_npz(tmp_path / "a.npz", header, np.ones(2).tobytes(), method)
        with pytest.raises(ValueError, match=r"a.npz: .* method that NumPy does not use"):
            datasets.read_npz(tmp_path / "a.npz", ["X"])


def write_npz(path, header, content, method=zipfile.ZIP_STORED):
    """An archive whose array X has any header and any content."""
    with zipfile.ZipFile(path, "w", method) as archive:
        magic = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1)
        archive.writestr("X.npy", magic + header.encode() + b"\n" + content)


@pytest.mark.parametrize("kind", ["idx", "idx.gz", "npz"])
def test_memory_is_bounded_by_what_a_file_holds(kind, tmp_path):
    """2^50 bytes promised, 2^16 there."""
    path = tmp_path / f"a.{kind}"
    if kind == "npz":
        header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**50},), }}"
        write_npz(path, header, bytes(2**16))
    else:
        raw = b"\0\0\10\2" + struct.pack(">II", 2**25, 2**25) + bytes(2**16)
        path.write_bytes(gzip.compress(raw) if kind == "idx.gz" else raw)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="bytes too early"):
            datasets.read_npz(path, ["X"]) if kind == "npz" else datasets.read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


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

    @pytest.mark.parametrize("fraction", [0.01, 0.25, 0.5, 0.8])
    def test_two_parts_beside_many_rare_classes(self, fraction):
        """Every share is right to within one, however many classes have a row or two only."""
        counts = np.array([5000, 300, *[1] * 400, *[2] * 150])
        y = np.repeat(np.arange(len(counts)), counts)
        parts = datasets.stratified_split(y, [fraction, 1 - fraction])
        for part in parts:
            shares = counts * len(part) / len(y)
            assert (abs(np.bincount(y[part], minlength=len(counts)) - shares) < 1).all()

    def test_the_largest_remainder_gets_what_is_left(self):
        y = np.repeat([0, 1, 2], [50, 30, 20])  # shares of 11: 5.5, 3.3, 2.2
        assert np.bincount(y[datasets.stratified_split(y, [0.11, 0.89])[0]]).tolist() == [6, 3, 2]

    def test_shuffled_by_seed(self):
        y = np.array(["a", "b"] * 50)
        a, b = (datasets.stratified_split(y, [0.5, 0.5], seed=seed)[0] for seed in (0, 1))
        assert not np.array_equal(a, b) and len(set(a) & set(b)) < 45
        np.testing.assert_array_equal(a, datasets.stratified_split(y, [0.5, 0.5])[0])

    @pytest.mark.parametrize(
        ("y", "fractions", "error", "match"),
        [
            (np.ones((3, 2)), [1], ValueError, "y: expected labels"),
            (np.ones(3), [0.5, 0.6], ValueError, "fractions: .* sum 1.1"),
            (np.ones(3), [1.5, -0.5], ValueError, r"fractions\[1\]"),
            (np.ones(3), [], ValueError, "fractions"),
            (np.ones(3), ["all"], TypeError, r"fractions\[0\]"),
            (np.ones(3), 0.5, TypeError, r"fractions: expected a sequence .*, got 0.5 \(float\)"),
            (np.array([1, "a", 2], object), [1], TypeError, "y: expected .* of one kind"),
        ],
    )
    def test_impossible(self, y, fractions, error, match):
        with pytest.raises(error, match=match):
            datasets.stratified_split(y, fractions)


RARE = 1e-4  # the seeds are fixed: a sound maker passes for good
MANY = 1_000_000 if FULL else 20_000

MAKERS = {
    "two spirals": lambda n, **k: datasets.make_two_spirals(n, **({"noise": 0.1} | k)),
    "noisy sine": lambda n, **k: datasets.make_noisy_sine(n, **k),
    "parity": lambda n, **k: datasets.make_parity(n, 3, **({"noise": 0.1} | k)),
    "xor": lambda n, **k: datasets.make_xor(n, **({"noise": 0.1} | k)),
    "mixture": lambda n, **k: datasets.make_gaussian_mixture(n, [[0, 1], [2, 3], [4, 5]], **k),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
class TestAllMakers:
    def test_shapes_and_dtypes(self, make):
        X, y = make(7)
        assert X.ndim == 2 and len(X) == 7 and X.dtype == np.float64 and y.shape == (7,)
        assert y.dtype == (np.float64 if make is MAKERS["noisy sine"] else np.int64)

    def test_a_function_of_the_seed(self, make):
        (X, y), (again, _), (other, _) = make(50, seed=3), make(50, seed=3), make(50, seed=4)
        np.testing.assert_array_equal(X, again)
        assert not np.isclose(X, other).any()
        np.testing.assert_array_equal(make(20, seed=3)[0], X[:20])  # and each row on its number
        np.testing.assert_array_equal(make(20, seed=3)[1], y[:20])

    def test_the_same_on_every_instruction_set(self, make):
        before = _core.isa()
        try:
            for isa in _core.available_isas():
                _core.use_isa(isa)
                X, y = make(500, seed=1)
                _core.use_isa(before)
                np.testing.assert_allclose(X, make(500, seed=1)[0], rtol=0, atol=1e-14)
                np.testing.assert_allclose(y, make(500, seed=1)[1], rtol=0, atol=1e-14)
        finally:
            _core.use_isa(before)

    @pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "0", True])
    def test_impossible_seed(self, make, seed):
        with pytest.raises((TypeError, ValueError), match="seed: expected an integer"):
            make(5, seed=seed)

    @pytest.mark.parametrize("n", [0, -3, 2.5, "5"])
    def test_impossible_n_samples(self, make, n):
        with pytest.raises((TypeError, ValueError), match="n_samples: expected an integer"):
            make(n)


def test_data_and_initial_weights_of_one_seed_are_other_numbers():
    X, _ = datasets.make_gaussian_mixture(1000, [[0, 0]], seed=0)
    weights = np.empty(2000)
    for stream in range(10):  # those of the first parameters of a model
        _core.random_normal(0, stream, weights)
        assert not np.isin(X, weights).any()


def assert_normal_noise(noise, std):
    assert stats.kstest(noise.ravel() / std, "norm").pvalue > RARE
    if noise.ndim == 2:
        assert abs(np.corrcoef(noise.T)[0, 1]) < 6 / np.sqrt(len(noise))


class TestTwoSpirals:
    @pytest.mark.parametrize("turns", [0, 0.5, 3])
    def test_law(self, turns):
        X, y = datasets.make_two_spirals(MANY, turns=turns)
        assert abs(np.sum(y == 0) - np.sum(y == 1)) <= 1
        radius = np.hypot(*X.T)
        assert stats.kstest(radius**2, "uniform").pvalue > RARE
        points = (X[:, 0] + 1j * X[:, 1]) * np.where(y, -1, 1)  # half a turn brings them together
        np.testing.assert_allclose(points, radius * np.exp(2j * np.pi * turns * radius), atol=1e-12)

    def test_noise(self):
        clean, y = datasets.make_two_spirals(MANY, seed=5)
        noisy, same = datasets.make_two_spirals(MANY, noise=0.3, seed=5)
        np.testing.assert_array_equal(y, same)
        assert_normal_noise(noisy - clean, 0.3)


class TestNoisySine:
    def test_law(self):
        X, y = datasets.make_noisy_sine(MANY, noise=0.2)
        assert X.shape == (MANY, 1) and stats.kstest(X[:, 0], "uniform").pvalue > RARE
        residual = y - np.sin(2 * np.pi * X[:, 0])
        assert_normal_noise(residual, 0.2)
        assert abs(np.corrcoef(residual, X[:, 0])[0, 1]) < 6 / np.sqrt(MANY)

    def test_without_noise(self):
        X, y = datasets.make_noisy_sine(9, noise=0)
        np.testing.assert_allclose(y, np.sin(2 * np.pi * X[:, 0]), rtol=0, atol=1e-15)


class TestParity:
    @pytest.mark.parametrize("n_features", [1, 2, 3, 7])
    def test_every_row_once(self, n_features):
        X, y = datasets.make_parity(n_features=n_features)
        rows = list(itertools.product([0, 1], repeat=n_features))
        np.testing.assert_array_equal(X, rows)
        np.testing.assert_array_equal(y, [row.count(1) % 2 for row in rows])

    def test_random_rows(self):
        X, y = datasets.make_parity(MANY, 3, seed=2)
        counts = np.bincount(X.astype(int) @ [4, 2, 1], minlength=8)
        assert stats.chisquare(counts).pvalue > RARE
        np.testing.assert_array_equal((-1) ** y, np.prod(1 - 2 * X, axis=1))

    def test_noise(self):
        clean, y = datasets.make_parity(MANY, 2, seed=5)
        noisy, same = datasets.make_parity(MANY, 2, noise=0.3, seed=5)
        np.testing.assert_array_equal(y, same)
        assert_normal_noise(noisy - clean, 0.3)
        X, y = datasets.make_parity(n_features=12, noise=0.1)
        assert_normal_noise(X - datasets.make_parity(n_features=12)[0], 0.1)

    def test_xor(self):
        X, y = datasets.make_xor()
        assert X.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]] and y.tolist() == [0, 1, 1, 0]
        X, y = datasets.make_xor(100, noise=0.05, seed=1)
        bits = np.rint(X)
        assert set(bits.ravel()) == {0, 1} and (bits != X).all()
        np.testing.assert_array_equal(y, bits[:, 0] != bits[:, 1])

    @pytest.mark.parametrize("n_features", [0, 21, 2.5])
    def test_impossible(self, n_features):
        with pytest.raises((TypeError, ValueError), match="n_features: expected an integer"):
            datasets.make_parity(n_features=n_features)


class TestGaussianMixture:
    MEANS = ((0.0, 0.0, 5.0), (10.0, 0.0, 0.0), (0.0, -10.0, 0.0))

    @pytest.mark.parametrize("weights", [None, (0.2, 0.5, 0.3), (0.0, 1.0, 0.0), (0.4, 0.6, 0.0)])
    @pytest.mark.parametrize("std", [0.5, (0.1, 1.0, 2.0)])
    def test_law(self, weights, std):
        X, y = datasets.make_gaussian_mixture(MANY, self.MEANS, std=std, weights=weights)
        weights = np.full(3, 1 / 3) if weights is None else np.array(weights)
        counts, possible = np.bincount(y, minlength=3), weights > 0
        assert (counts[~possible] == 0).all()
        if possible.sum() > 1:
            assert stats.chisquare(counts[possible], MANY * weights[possible]).pvalue > RARE
        for k in np.flatnonzero(possible):
            assert_normal_noise(X[y == k] - self.MEANS[k], np.broadcast_to(std, 3)[k])

    def test_std_zero_gives_the_means(self):
        X, y = datasets.make_gaussian_mixture(50, self.MEANS, std=0)
        np.testing.assert_array_equal(X, np.array(self.MEANS)[y])

    @pytest.mark.parametrize(
        ("arguments", "error", "match"),
        [
            ({"means": [0, 1]}, ValueError, r"means: expected shape .* got \(2,\)"),
            ({"means": np.ones((0, 2))}, ValueError, "means"),
            ({"means": [[np.nan]]}, ValueError, "means: expected finite"),
            ({"means": "ab"}, TypeError, "means"),
            ({"std": -1}, ValueError, "std"),
            ({"std": [1]}, ValueError, "std: .* 2 means"),
            ({"std": np.inf}, ValueError, "std: expected finite"),
            ({"weights": [0.5, 0.6]}, ValueError, "weights"),
            ({"weights": [1.5, -0.5]}, ValueError, "weights"),
            ({"weights": [1.0]}, ValueError, "weights: expected 2"),
            ({"weights": [np.nan, 1]}, ValueError, "weights"),
        ],
    )
    def test_impossible(self, arguments, error, match):
        with pytest.raises(error, match=match):
            datasets.make_gaussian_mixture(5, **{"means": [[0, 1], [2, 3]], **arguments})


@pytest.mark.parametrize(
    "make", [datasets.make_two_spirals, datasets.make_noisy_sine, datasets.make_parity]
)
@pytest.mark.parametrize("noise", [-0.1, np.inf, "loud"])
def test_impossible_noise(make, noise):
    with pytest.raises((TypeError, ValueError), match="noise: expected"):
        make(5, noise=noise)


def test_impossible_turns():
    with pytest.raises(ValueError, match="turns: expected"):
        datasets.make_two_spirals(5, turns=-1)


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
