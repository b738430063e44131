"""`fit` on batches: bit for bit what it makes of one array of all their rows, in that order."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import scipy.sparse

import pyfast_nn as fnn
from conftest import assert_same_bits

ROWS, COLUMNS = 203, 6


def make(outputs=3, dtype="float32", layers=(), **options):
    hidden = [*layers, fnn.Dense(9), fnn.ReLU(), fnn.Dropout(0.3)]
    return fnn.Sequential([*hidden, fnn.Dense(outputs)], dtype=dtype, seed=3, **options)


@pytest.fixture
def arrays(rng):
    return rng.normal(size=(ROWS, COLUMNS)), rng.integers(0, 3, ROWS)


def cut(arrays, sizes):
    """Batches of these numbers of rows, over and over, until there are no more."""
    ends = [0]
    while ends[-1] < len(arrays[0]):
        ends.append(ends[-1] + sizes[(len(ends) - 1) % len(sizes)])
    return [tuple(a[i:j] for a in arrays) for i, j in itertools.pairwise(ends)]


def reusing(batches):
    """An iterator that gives the same memory again and again, as readers of files may."""
    memory = [np.empty((ROWS, *part.shape[1:]), part.dtype) for part in batches[0]]
    for batch in batches:
        n = len(batch[0])
        for to, part in zip(memory, batch, strict=True):
            to[:n] = part
        yield tuple(to[:n] for to in memory)
        for to in memory:
            to[...] = 0


class Loader:
    """What can be gone through again and again, and is no list."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return reusing(self.batches)


def assert_same_fit(model, expected, history, expected_history):
    assert_same_bits(model.parameters, expected.parameters)
    assert_same_bits(model.state, expected.state)
    assert model.epochs_trained == expected.epochs_trained
    for key in set(expected_history) - {"seconds"}:  # sums over calls are rounded
        np.testing.assert_allclose(history[key], expected_history[key], rtol=1e-14)


OPTIMIZERS = {
    "adam": lambda: fnn.optim.Adam(lr=fnn.schedules.Cosine(0.01, 30)),
    "array": lambda: fnn.optim.SGD(lr=np.linspace(0.1, 0.01, 200), momentum=0.9),
    "groups": lambda: fnn.optim.Adam(groups=lambda key: {"lr": 0.1 if "bias" in key else 0.01}),
    "sam": lambda: fnn.optim.SGD(lr=0.1, sam=0.05),
}


class TestSameBits:
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    @pytest.mark.parametrize("accumulated", [1, 3])
    @pytest.mark.parametrize("sizes", [[1], [7, 50, 3], [203], [16]])
    def test_cut_anew(self, optimizer, accumulated, sizes, arrays, dtype, monkeypatch):
        monkeypatch.setattr(fnn.batches, "_BATCHES_OF_CALL", 2)
        options = {"loss": "cross_entropy", "epochs": 3, "batch_size": 16}
        options["gradient_accumulation_steps"] = accumulated
        models = [make(dtype=dtype, layers=[fnn.Dense(5), fnn.BatchNorm()]) for _ in range(2)]
        optimizers = [OPTIMIZERS[optimizer]() for _ in range(2)]
        expected = models[0].fit(*arrays, shuffle=False, optimizer=optimizers[0], **options)
        batches = Loader(cut(arrays, sizes))
        history = models[1].fit(batches, optimizer=optimizers[1], **options)
        assert_same_fit(models[1], models[0], history, expected)
        assert optimizers[1].step_count == optimizers[0].step_count

    @pytest.mark.parametrize("enough", [1, 3, 64])
    def test_batches_as_they_are(self, enough, arrays, monkeypatch):
        monkeypatch.setattr(fnn.batches, "_BATCHES_OF_CALL", enough)
        models = [make() for _ in range(2)]
        options = {"loss": "cross_entropy", "epochs": 2}
        expected = models[0].fit(*arrays, shuffle=False, batch_size=32, **options)
        history = models[1].fit(Loader(cut(arrays, [32])), **options)
        assert_same_fit(models[1], models[0], history, expected)

    def test_batches_of_different_sizes_are_steps(self, arrays, monkeypatch):
        """Each as large as it came: the same as a fit of one step on each."""
        batches = cut(arrays, [5, 20, 20, 4, 30])
        monkeypatch.setattr(fnn.batches, "_BATCHES_OF_CALL", 3)
        model, plain = (fnn.Sequential([fnn.Dense(3)], seed=1) for _ in range(2))
        optimizers = [fnn.optim.Adam(), fnn.optim.Adam()]
        history = model.fit(iter(batches), loss="cross_entropy", optimizer=optimizers[0])
        losses = [
            plain.fit(X, y, loss="cross_entropy", optimizer=optimizers[1], epochs=1, shuffle=False)[
                "loss"
            ][0]
            for X, y in batches
        ]
        assert_same_bits(model.parameters, plain.parameters)
        assert optimizers[0].step_count == len(batches)
        sizes = [len(X) for X, _ in batches]
        assert history["loss"] == [pytest.approx(np.average(losses, weights=sizes), rel=1e-6)]

    @pytest.mark.parametrize("bytes_", [100, 4000, 32 << 20])
    def test_by_any_number_of_bytes_a_call(self, bytes_, arrays, monkeypatch):
        monkeypatch.setattr(fnn.batches, "_BYTES_OF_CALL", bytes_)
        models = [make() for _ in range(2)]
        options = {"loss": "cross_entropy", "epochs": 2, "batch_size": 10}
        expected = models[0].fit(*arrays, shuffle=False, **options)
        history = models[1].fit(Loader(cut(arrays, [33])), **options)
        assert_same_fit(models[1], models[0], history, expected)

    @pytest.mark.parametrize("batch_size", [None, 10])
    def test_weights(self, batch_size, arrays, rng, dtype):
        """As they are: of mean 1, they are those of one array; rows of weight 0 are not there."""
        w = rng.permutation(np.repeat([0, 0.5, 1.0, 1.5], 50).tolist() + [1.0] * 3)
        arrays[0][w == 0] = np.nan
        models = [make(dtype=dtype) for _ in range(2)]
        options = {"loss": "cross_entropy", "epochs": 2}
        kept = w > 0
        size = {None: 50, 10: 10}[batch_size]
        expected = models[0].fit(
            *(a[kept] for a in arrays),
            sample_weight=w[kept],
            shuffle=False,
            batch_size=size,
            **options,
        )
        order = np.r_[np.flatnonzero(kept), np.flatnonzero(~kept)]
        weighted = [a[order] for a in (*arrays, w)]
        sizes = [50] if batch_size is None else [13]  # the last batches are all zeros
        history = models[1].fit(Loader(cut(weighted, sizes)), batch_size=batch_size, **options)
        assert_same_fit(models[1], models[0], history, expected)

    def test_some_batches_with_weights(self, arrays):
        batches = cut((*arrays, np.ones(ROWS)), [20])
        mixed = [batch[: 2 + i % 2] for i, batch in enumerate(batches)]
        models = [make() for _ in range(2)]
        for model, each in zip(models, (batches, mixed), strict=True):
            model.fit(each, loss="cross_entropy", epochs=2, batch_size=16)
        assert_same_bits(models[0].parameters, models[1].parameters)

    @pytest.mark.parametrize("kind", ["f2", ">f4", "u1", "fortran", "csr", "list", "frame"])
    def test_kinds_of_inputs(self, kind, arrays):
        X, y = np.round(abs(arrays[0]) * 16), arrays[1]
        make_X = {
            "fortran": np.asfortranarray,
            "csr": scipy.sparse.csr_array,
            "list": np.ndarray.tolist,
            "frame": lambda X: pytest.importorskip("pandas").DataFrame(X, columns=list("abcdef")),
        }.get(kind, lambda X: X.astype(kind))
        models = [make(dtype="float64") for _ in range(2)]
        options = {"loss": "cross_entropy", "epochs": 2, "batch_size": 16}
        expected = models[0].fit(make_X(X), y, shuffle=False, **options)
        batches = [(make_X(X), y) for X, y in cut((X, y), [33])]
        if kind == "frame":
            batches = [(X[list("fedcba")] if i else X, y) for i, (X, y) in enumerate(batches)]
        history = models[1].fit(batches, **options)
        assert_same_fit(models[1], models[0], history, expected)

    @pytest.mark.parametrize("loss", ["mse", "binary_cross_entropy"])
    def test_other_targets(self, loss, arrays):
        y = arrays[0][:, :2] if loss == "mse" else np.array(["no", "yes"])[arrays[1] // 2]
        models = [make(2 if loss == "mse" else 1) for _ in range(2)]
        options = {"loss": loss, "epochs": 2, "batch_size": 16}
        expected = models[0].fit(arrays[0], y, shuffle=False, **options)
        history = models[1].fit(Loader(cut((arrays[0], y), [33])), **options)
        assert_same_fit(models[1], models[0], history, expected)
        if loss != "mse":
            assert list(models[1].classes_) == ["no", "yes"]

    def test_data_loader_of_torch(self, arrays):
        torch = pytest.importorskip("torch", reason="reads its DataLoader")
        from torch.utils.data import DataLoader, TensorDataset

        tensors = torch.tensor(arrays[0].astype(np.float32)), torch.tensor(arrays[1])
        loader = DataLoader(TensorDataset(*tensors), batch_size=32)
        models = [make() for _ in range(2)]
        options = {"loss": "cross_entropy", "epochs": 2}
        expected = models[0].fit(
            arrays[0].astype(np.float32), arrays[1], shuffle=False, batch_size=32, **options
        )
        history = models[1].fit(loader, **options)
        assert_same_fit(models[1], models[0], history, expected)

    def test_early_stopping_and_validation(self, arrays):
        models = [make() for _ in range(2)]
        options = {"loss": "cross_entropy", "epochs": 20, "batch_size": 16, "patience": 3}
        options |= {"validation_data": tuple(a[:50] for a in arrays)}
        expected = models[0].fit(*arrays, shuffle=False, **options)
        history = models[1].fit(lambda: reusing(cut(arrays, [33])), **options)
        assert_same_fit(models[1], models[0], history, expected)
        assert history.best_epoch == expected.best_epoch


class TestStandardize:
    def test_learns_from_all_batches_first(self, arrays, rng):
        X = (arrays[0] * [1, 2, 3, 1e-3, 0, 1] + [0, 1e3, 0, 1, 5, 0]).astype(np.float32)
        models = [make(layers=[fnn.Standardize()]) for _ in range(2)]
        options = {"loss": "cross_entropy", "epochs": 2, "batch_size": 16}
        models[0].fit(X, arrays[1], shuffle=False, **options)
        models[1].fit(Loader(cut((X, arrays[1]), [33])), **options)
        for name, view in models[0].named_state().items():
            np.testing.assert_allclose(models[1].named_state()[name], view, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(
            models[1].named_state()["0.mean"], X.mean(0, dtype=np.float64), rtol=1e-9, atol=1e-9
        )
        np.testing.assert_allclose(models[1].parameters, models[0].parameters, atol=1e-5)

    def test_of_an_iterator(self, arrays):
        model = make(layers=[fnn.Standardize()])
        batches = cut(arrays, [33])
        with pytest.raises(ValueError, match=r"^X: expected batches that come more than once"):
            model.fit(iter(batches), loss="cross_entropy")
        assert not model.built
        other = make(layers=[fnn.Standardize()])
        for each in (model, other):
            each.build(COLUMNS)
            each.named_state()["0.mean"][:] = 0.5
            each.named_state()["0.std"][:] = 2
        options = {"loss": "cross_entropy", "epochs": 1, "batch_size": 16}
        history = model.fit(iter(batches), **options)
        expected = other.fit(*arrays, shuffle=False, **options)
        assert_same_fit(model, other, history, expected)


class TestErrors:
    def refused(self, match, X, error=ValueError, model=None, **options):
        model = make() if model is None else model
        with pytest.raises(error, match=match):
            model.fit(X, **({"loss": "cross_entropy", "epochs": 2} | options))
        return model

    def test_iterators_come_once(self, arrays):
        batches = cut(arrays, [50])
        for X in (iter(batches), (batch for batch in batches), reusing(batches)):
            model = self.refused("^epochs: expected 1, as X is an iterator.*got 2", X)
            assert not model.built
        model = make()
        history = model.fit(iter(batches), loss="cross_entropy")
        assert history.epochs == 1
        once = iter(batches)
        self.refused("^X: expected batches in every epoch, got none", lambda: once)

    def test_what_is_none(self, arrays):
        X, y = arrays
        self.refused("^y: expected targets beside X, an array", X, TypeError)
        self.refused("^X: expected an array with y, an iterable of batches", 3, TypeError)
        self.refused("^X: expected at least one batch", [])
        self.refused(r"^X: expected an iterable of batches \(X, y\).*batch 0", [X], TypeError)
        self.refused("batch 1", [(X, y), (X, y, y, y)], TypeError)
        self.refused(
            "^X: expected batches that are all arrays",
            [
                (X, y),
                (scipy.sparse.csr_array(X), y),
            ],
            TypeError,
        )

    def test_impossible_batches_are_named(self, arrays):
        X, y = arrays
        bad = X.copy()
        bad[4, 2] = np.inf
        for batch, match in [
            ((bad, y), "X of batch 1: expected finite float32 numbers, got inf in row 4"),
            ((X[:, :4], y), f"X of batch 1: expected {COLUMNS} columns"),
            ((X[:0], y[:0]), "X of batch 1: expected at least one row"),
            ((X, y[:5]), "y of batch 1: expected 203 rows"),
            ((X, y + 1), "y of batch 1: expected one of the classes of this model"),
            ((X, y, -np.ones(ROWS)), "sample_weight of batch 1: expected finite numbers >= 0"),
            ((X, y, np.ones(3)), "sample_weight of batch 1: expected shape"),
        ]:
            model = self.refused("^" + re.escape(match), [(X, y), batch])
            assert model.epochs_trained == 0
            model.fit([(X, y)], loss="cross_entropy", epochs=1)  # may be trained on

    def test_options_of_arrays(self, arrays):
        batches = cut(arrays, [50])
        for name, value in {
            "validation_split": 0.2,
            "sample_weight": np.ones(ROWS),
            "class_weight": "balanced",
            "train_metrics": True,
        }.items():
            self.refused(f"^{name}: expected none beside batches", batches, **{name: value})
        self.refused("^batch_size: expected a number", batches, gradient_accumulation_steps=2)

    def test_labels_that_the_first_batch_lacks(self, arrays):
        names = np.array(["a", "b", "c"])
        order = np.argsort(arrays[1], kind="stable")
        batches = cut((arrays[0][order], names[arrays[1][order]]), [50])
        self.refused("^y of batch 0: expected 3 classes, got 1 .*classes=", batches)
        model = make(classes=names)
        model.fit(batches, loss="cross_entropy", epochs=1)
        assert set(model.predict(arrays[0])) <= set(names)

    def test_a_step_that_is_not_finite_is_counted_within_the_epoch(self, arrays, monkeypatch):
        monkeypatch.setattr(fnn.batches, "_BATCHES_OF_CALL", 2)
        batches = cut((arrays[0], arrays[0][:, 0]), [20])
        batches[7] = batches[7][0], batches[7][1] * 1e30
        model = fnn.Sequential([fnn.Dense(1)], seed=0)
        with pytest.raises(FloatingPointError, match="in epoch 1, step 8 of it"):
            model.fit(batches, loss="mse", epochs=2)
