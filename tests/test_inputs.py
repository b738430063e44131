"""Layers for the columns of a table: beside scikit-learn, and as NumPy has them."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import safetensors.numpy
from scipy import sparse, special
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import pyfast_nn as fnn
from conftest import assert_close, assert_same_bits
from problems import core_network
from pyfast_nn import _core

LEAST = 1e-7


def table(rng, n=400):
    """(n, 5) numbers with ties and holes: bells, few values, long tails, codes, a constant."""
    X = np.column_stack(
        [
            rng.normal(3, 2, n),
            rng.integers(0, 4, n),
            np.exp(3 * rng.normal(size=n)),
            rng.integers(0, 6, n),
            np.full(n, 2.5),
        ]
    )
    X[rng.random(n) < 0.2, 0] = np.nan
    X[rng.random(n) < 0.1, 2] = np.nan
    return X


# ----------------------------------------------------------------------- what they compute


def of_quantiles(x, quantiles):
    """One column, ranks interpolated by NumPy and turned into normal numbers by SciPy."""
    known = quantiles[~np.isnan(quantiles)]
    if len(known) == 1:
        return np.where(np.isnan(x), x, 0)
    ranks = np.interp(x, known, np.linspace(0, 1, len(known)))
    return special.ndtri(np.clip(ranks, LEAST, 1 - LEAST))


def of_edges(x, edges):
    """(n, bins) of one column, as in the paper, and no further outside than one bin."""
    known = edges[~np.isnan(edges)]
    out = np.zeros((len(x), len(edges) - 1))
    if len(known) > 1:
        w = (x[:, None] - known[:-1]) / np.diff(known)
        w[:, 1:] = np.maximum(w[:, 1:], 0)
        w[:, :-1] = np.minimum(w[:, :-1], 1)
        out[:, : w.shape[1]] = np.clip(w, -1, 2)
    return out


def of_counts(x, counts, min_count):
    out = np.zeros((len(x), len(counts) + (min_count > 1)))
    for i, code in enumerate(x):
        if code in range(len(counts)) and counts[int(code)] > 0:
            out[i, int(code) if counts[int(code)] >= min_count else -1] = 1
    return out


def expected_of(layer, own, X):
    """What a layer makes of X in float64, having learned its `own` state {name: array}."""
    columns = list(np.asarray(X, np.float64).T)
    if isinstance(layer, fnn.Rescale):
        out = [x * layer.scale + layer.offset for x in columns]
    elif isinstance(layer, fnn.Standardize):
        out = [(x - m) / s for x, m, s in zip(columns, own["mean"], own["std"], strict=True)]
    elif isinstance(layer, fnn.RobustScale):
        out = [(x - m) / s for x, m, s in zip(columns, own["center"], own["scale"], strict=True)]
        if layer.clip is not None:
            out = [z / np.sqrt(1 + (z / layer.clip) ** 2) for z in out]
    elif isinstance(layer, fnn.QuantileNormal):
        out = [of_quantiles(x, q) for x, q in zip(columns, own["quantiles"].T, strict=True)]
    elif isinstance(layer, fnn.PiecewiseLinear):
        out = [of_edges(x, e) for x, e in zip(columns, own["edges"].T, strict=True)]
    elif isinstance(layer, fnn.OneHot):
        out = [
            of_counts(x, c, layer.min_count) for x, c in zip(columns, own["counts"].T, strict=True)
        ]
    elif isinstance(layer, fnn.Impute):
        out = [np.where(np.isnan(x), v, x) for x, v in zip(columns, own["value"], strict=True)]
    else:
        out = [np.isnan(x) * 1.0 for x in columns]
    return np.column_stack(out)


def expected_of_chain(model, layers, path, X):
    state = model.named_state()
    for i, layer in enumerate(layers):
        at = f"{path}{i}."
        own = {k.removeprefix(at): v for k, v in state.items() if k.startswith(at)}
        X = expected_of(layer, own, X)
    return X


def expected(model, X):
    """What all input layers of a model make of X."""
    first = model.layers[0]
    X = np.asarray(X, np.float64)
    if not isinstance(first, fnn.Columns):
        layers = [layer for layer in model.layers if layer.is_input]
        return expected_of_chain(model, layers, "", X)
    parts = []
    for i, (which, layers) in enumerate(first.get_config()["parts"]):
        part = X[:, [which] if isinstance(which, int) else which]
        parts.append(expected_of_chain(model, layers, f"0.{i}.", part))
    return np.column_stack(parts)


CHAINS = {
    "robust": lambda: [fnn.Impute(), fnn.RobustScale()],
    "robust, no clip": lambda: [fnn.Impute("mean"), fnn.RobustScale(clip=None)],
    "quantiles": lambda: [fnn.Impute(), fnn.QuantileNormal()],
    "few quantiles": lambda: [fnn.QuantileNormal(7), fnn.Impute(0.25)],
    "bins": lambda: [fnn.Impute("most_frequent"), fnn.PiecewiseLinear(9)],
    "one bin": lambda: [fnn.Impute(-1), fnn.PiecewiseLinear(1)],
    "many bins": lambda: [fnn.Impute(), fnn.PiecewiseLinear(50)],
    "codes": lambda: [fnn.OneHot(5)],
    "rare codes": lambda: [fnn.OneHot(4, min_count=90)],
    "missing": lambda: [fnn.MissingIndicator()],
    "scaled": lambda: [fnn.Rescale(0.1, 2), fnn.Standardize(), fnn.Impute(0)],
    "behind bins": lambda: [fnn.Impute(), fnn.PiecewiseLinear(3), fnn.Standardize()],
    "behind codes": lambda: [fnn.OneHot(3), fnn.Rescale(2, -1), fnn.MissingIndicator()],
    "bins of bins": lambda: [fnn.Impute(), fnn.PiecewiseLinear(3), fnn.PiecewiseLinear(2)],
    "parts": lambda: [
        fnn.Columns(
            [
                ([2, 0], [fnn.Impute(), fnn.QuantileNormal()]),
                (slice(0, 3), [fnn.MissingIndicator()]),
                (-3, [fnn.Impute(), fnn.PiecewiseLinear(24)]),
                ([0, 0], [fnn.Standardize(), fnn.Impute(0)]),
                (3, []),
                (3, [fnn.OneHot(6)]),
            ]
        )
    ],
}


def made(chain, dtype="float64", columns=5):
    """A model that hands on what the layers put out."""
    return fnn.Sequential([*CHAINS[chain](), fnn.Identity()], dtype=dtype, seed=3).build(columns)


def learn(model, X, y=None):
    if not model.built:
        model.build(X.shape[1])
    y = np.zeros((X.shape[0], model.out_features)) if y is None else y
    model.fit(X, y, loss="mse", epochs=1, verbose=0)
    return model


every_chain = pytest.mark.parametrize("chain", CHAINS)


@every_chain
class TestAsNumPy:
    def test_outputs(self, chain, isa, dtype, rng):
        """Of many rows, of few, and of numbers that no training row had."""
        X = table(rng)
        model = learn(made(chain, dtype), X)
        others = table(rng, 100) * rng.uniform(0.5, 3, (100, 1))
        eps = np.finfo(dtype).eps
        # Far out, a rounding of the rank moves the number of that rank by millions of roundings.
        atol = max(1e-9, 20 * eps) if "QuantileNormal" in repr(model) else 20 * eps
        for rows in (X, others, others[:7], others[:1]):
            want = expected(model, rows)
            np.testing.assert_allclose(model.forward(rows), want, rtol=40 * eps, atol=atol)

    def test_the_same_bits(self, chain, isa, restore_threads, rng):
        """For any number of threads, and of rows that are computed together."""
        X, results = table(rng, 3000), []
        for threads in (1, 2, 5):
            _core.set_num_threads(threads)
            model = learn(made(chain, "float32"), X)
            results.append((model.state, model.forward(X)))
        for state, out in results[1:]:
            assert_same_bits(state, results[0][0])
            assert_same_bits(out, results[0][1])
        for rows in (1, 5, 33):
            assert_same_bits(model.forward(X[:rows]), results[0][1][:rows])

    @pytest.mark.parametrize("code", ["f4", ">f8", "f2", "i2", ">i8", "u1"])
    def test_any_dtype(self, chain, code, isa, rng):
        X = np.trunc(np.nan_to_num(table(rng), nan=3) * 2 % 7).astype(code)
        model = learn(made(chain), X.astype(np.float64))
        formats = [X, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]]
        if code != "f2":  # SciPy has no float16
            formats.append(sparse.csr_array(X.astype(X.dtype.newbyteorder("="))))
        for given in formats:
            other = learn(made(chain), given)
            assert_same_bits(other.state, model.state)
            assert_same_bits(other.forward(given), model.forward(X.astype(np.float64)))

    def test_sparse_with_holes(self, chain, isa, rng):
        X = table(rng)
        X[rng.random(X.shape) < 0.5] = 0
        other = sparse.csr_array(X)
        assert np.isnan(other.data).any() and other.nnz < X.size
        model, again = learn(made(chain), X), learn(made(chain), other)
        assert_same_bits(again.state, model.state)
        assert_same_bits(again.forward(other), model.forward(X))

        other.indptr, other.indices = other.indptr.astype(int), other.indices.astype(int)
        assert_same_bits(again.forward(other), model.forward(X))

    def test_mapped(self, chain, tmp_path, rng):
        X = table(rng)
        np.save(tmp_path / "X.npy", X)
        mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
        assert_same_bits(
            learn(made(chain), mapped).forward(mapped), learn(made(chain), X).forward(X)
        )

    def test_training(self, chain, isa, threads, rng):
        """As training on what they make of X."""
        X, y = table(rng), rng.normal(size=(400, 2))
        options = {"loss": "mse", "epochs": 2, "batch_size": 32, "verbose": 0}
        layers = [fnn.Dense(9), fnn.Tanh(), fnn.Dense(2)]
        model = fnn.Sequential([*CHAINS[chain](), *layers], dtype="float64")
        model.fit(X, y, **options)
        other = fnn.Sequential(layers, dtype="float64")
        other.fit(expected(model, X), y, **options)
        assert_close(model.parameters, other.parameters, "float64", 1e5)

    def test_gradient_in_the_inputs(self, chain, isa, dtype, rng):
        """By differences, away from edges and codes, where there are steps and kinks."""
        X = table(rng)
        layers = [fnn.Dense(9), fnn.Tanh(), fnn.Dense(2)]
        model = fnn.Sequential([*CHAINS[chain](), *layers], dtype=dtype)
        model.fit(X, rng.normal(size=(400, 2)), loss="mse", epochs=1, verbose=0)
        rows, dout = X[:40] + 0.01, rng.normal(size=(40, 2))
        given = rows.copy()
        _, pullback = model.vjp(given)
        given[:] = np.nan  # what was read is the pullback's own
        dX = pullback(dout)[1]
        assert dX.shape == rows.shape and dX.dtype == dtype
        exact = fnn.Sequential(model.layers, dtype="float64").build(5)
        exact.parameters, exact.state = model.parameters, model.state
        h = 1e-7
        for j in range(5):
            step = h * np.eye(5)[j]
            up, down = ((exact.forward(rows + s * step) * dout).sum(1) for s in (1, -1))
            slopes = np.where(np.isnan(rows[:, j]), 0, (up - down) / (2 * h))
            tolerance = 1e-3 if dtype == "float32" else 1e-4
            np.testing.assert_allclose(dX[:, j], slopes, rtol=tolerance, atol=tolerance)

    def test_what_layers_put_out(self, chain, rng):
        X = table(rng)
        model = learn(made(chain), X)
        outs = model.activations(X)
        last = str(len(model.layers) - 2)
        np.testing.assert_array_equal(outs[last], model.forward(X))
        layers = [layer for layer in model.layers if layer.is_input]
        if not isinstance(layers[0], fnn.Columns):
            for i in range(len(layers)):
                want = expected_of_chain(model, layers[: i + 1], "", X)
                np.testing.assert_allclose(outs[str(i)], want, rtol=1e-12, atol=1e-9)

    def test_file(self, chain, tmp_path, rng):
        X = table(rng)
        for model in (made(chain), learn(made(chain), X)):
            model.save(tmp_path / "m")
            again = fnn.load(tmp_path / "m")
            assert again.layers == model.layers and repr(again) == repr(model)
            assert_same_bits(again.state, model.state)
        assert_same_bits(again.forward(X), model.forward(X))
        copied = pickle.loads(pickle.dumps(model))
        assert_same_bits(copied.forward(X), model.forward(X))

    def test_elsewhere(self, chain, dtype, tmp_path, rng):
        """As files of ONNX and modules of torch."""
        onnxruntime, torch = pytest.importorskip("onnxruntime"), pytest.importorskip("torch")
        X = table(rng).astype(dtype)
        model = learn(made(chain, dtype), X)
        rows = np.vstack([X, [[0, 2, 1e6, 7, 2.5], [-50, -1, -1, 0.5, 3]]]).astype(dtype)
        want = model.forward(rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.to_onnx(tmp_path / "m.onnx", loss="mse")
            session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
            (onnx_out,) = session.run(None, {"X": rows})
        module = model.to_torch()
        torch_out = module(torch.tensor(rows)).numpy()
        for out in (onnx_out, torch_out):
            assert out.dtype == dtype
            np.testing.assert_allclose(out, want, rtol=1e-6, atol=1e-8)
        back = fnn.from_torch(module)
        assert back.layers == model.layers
        assert_same_bits(back.state, model.state)
        again = pickle.loads(pickle.dumps(module))
        assert torch.equal(again(torch.tensor(rows)), torch.tensor(torch_out))


# ----------------------------------------------------------------------- what they learn


def column_of(model, name):
    return model.named_state()[name]


class TestAsScikitLearn:
    def test_quantiles(self, isa, rng):
        """The same map by the same quantiles; and of numbers without ties nearly the same ones."""
        X = np.column_stack([rng.normal(size=6000), np.exp(rng.normal(size=6000))])
        model = learn(fnn.Sequential([fnn.QuantileNormal(), fnn.Identity()], dtype="float64"), X)
        quantiles = column_of(model, "0.quantiles")
        assert quantiles.shape == (1000, 2)
        known = quantiles[:200]
        assert not np.isnan(known).any() and np.isnan(quantiles[200:]).all()
        theirs = QuantileTransformer(
            n_quantiles=200, output_distribution="normal", subsample=10**9
        ).fit(X)
        np.testing.assert_allclose(known, theirs.quantiles_, rtol=0, atol=2e-3)
        theirs.quantiles_ = known.copy()
        inside = X[((known[0] < X) & (known[-1] > X)).all(1)]
        np.testing.assert_allclose(model.forward(inside), theirs.transform(inside), atol=1e-9)
        np.testing.assert_allclose(model.forward(X), theirs.transform(X), atol=1e-5)

    def test_ties_are_broken(self, rng):
        X = rng.integers(0, 3, (3000, 1)).astype(float)
        model = learn(fnn.Sequential([fnn.QuantileNormal(), fnn.Identity()], dtype="float64"), X)
        known = column_of(model, "0.quantiles")[:100, 0]
        assert (np.diff(known) > 0).all() and abs(known - np.round(known)).max() < 1e-3
        share = np.bincount(X[:, 0].astype(int)) / 3000
        middles = np.cumsum(share) - share / 2
        out = model.forward([[0.0], [1.0], [2.0]])[:, 0]
        np.testing.assert_allclose(out, special.ndtri(middles), atol=0.15)
        other = fnn.Sequential([fnn.QuantileNormal(), fnn.Identity()], dtype="float64", seed=1)
        np.testing.assert_array_equal(learn(other, X).state, model.state)  # whatever the seed

    @pytest.mark.parametrize(
        ("rows", "count"), [(2, 10), (299, 10), (331, 11), (30_000, 1000), (60_000, 1000)]
    )
    def test_number_of_quantiles(self, rows, count, rng):
        X = rng.normal(size=(rows, 1))
        model = learn(fnn.Sequential([fnn.QuantileNormal(), fnn.Identity()]), X)
        assert np.count_nonzero(~np.isnan(model.state)) == count
        few = learn(fnn.Sequential([fnn.QuantileNormal(5), fnn.Identity()]), X)
        assert np.count_nonzero(~np.isnan(few.state)) == 5

    def test_robust_scale(self, isa, rng):
        X = np.column_stack([rng.normal(5, 3, (500, 2)), rng.integers(0, 50, 500) // 49])
        model = learn(fnn.Sequential([fnn.RobustScale(None), fnn.Identity()], dtype="float64"), X)
        theirs = RobustScaler().fit(X[:, :2])
        np.testing.assert_allclose(model.forward(X)[:, :2], theirs.transform(X[:, :2]), atol=1e-12)
        assert column_of(model, "0.scale")[2] == 0.5  # half the range, where there are no quartiles

    def test_imputer(self, isa, rng):
        X = table(rng)
        X[:, 1] = np.where(rng.random(400) < 0.3, np.nan, X[:, 1])
        for strategy in ("median", "mean", "most_frequent"):
            layers = [fnn.Impute(strategy), fnn.Identity()]
            model = learn(fnn.Sequential(layers, dtype="float64"), X)
            theirs = SimpleImputer(strategy=strategy).fit_transform(X)
            np.testing.assert_allclose(model.forward(X), theirs, rtol=1e-12)
        model = fnn.Sequential([fnn.Impute(-7), fnn.Identity()], dtype="float64").build(5)
        theirs = SimpleImputer(strategy="constant", fill_value=-7).fit_transform(X)
        np.testing.assert_array_equal(model.forward(X), theirs)

    def test_missing_indicator(self, isa, rng):
        X = table(rng)
        model = fnn.Sequential([fnn.MissingIndicator(), fnn.Identity()]).build(5)
        theirs = MissingIndicator(features="all").fit_transform(X)
        np.testing.assert_array_equal(model.forward(X), theirs)

    def test_one_hot(self, isa, rng):
        X = rng.integers(0, 7, (300, 3)).astype(float)
        X[X == 2] = 1  # one that is not there
        mixed = np.vstack([X, np.full((9, 3), 2.5)])  # no codes, so not counted as such
        model = learn(fnn.Sequential([fnn.OneHot(7), fnn.Identity()]), mixed)
        encoder = OneHotEncoder(categories=[range(7)] * 3, sparse_output=False)
        encoder.set_params(handle_unknown="ignore")
        others = np.vstack([X, [[9, -1, 0.5], [np.nan, 1e300, 6]]])
        theirs = encoder.fit(X).transform(np.where(np.isnan(others), -1, others))
        np.testing.assert_array_equal(model.forward(others), theirs)
        unseen = model.forward([[2, 2, 2]])
        assert not unseen.any()

    def test_rare_codes_together(self, isa, rng):
        X = np.repeat([0, 1, 2, 4, 5], [30, 4, 5, 3, 40])[:, None].astype(float)
        model = learn(fnn.Sequential([fnn.OneHot(6, min_count=5), fnn.Identity()]), X)
        assert model.out_features == 7
        np.testing.assert_array_equal(
            model.forward(np.arange(6.0)[:, None]).argmax(1) * [1, 1, 1, 0, 1, 1],
            [0, 6, 2, 0, 6, 5],
        )
        assert not model.forward([[3.0]]).any()

    def test_columns(self, isa, rng):
        X = np.column_stack([rng.normal(size=(200, 3)), rng.integers(0, 4, 200)])
        parts = [
            ([2, 0], [fnn.Standardize()]),
            (slice(0, 3, 2), [fnn.RobustScale(None)]),
            (-1, [fnn.OneHot(4)]),
            (1, []),
        ]
        model = learn(fnn.Sequential([fnn.Columns(parts), fnn.Identity()], dtype="float64"), X)
        theirs = ColumnTransformer(
            [
                ("a", StandardScaler(), [2, 0]),
                ("b", RobustScaler(), [0, 2]),
                ("c", OneHotEncoder(sparse_output=False), [3]),
                ("d", "passthrough", [1]),
            ]
        )
        np.testing.assert_allclose(model.forward(X), theirs.fit_transform(X), atol=1e-12)

    @pytest.mark.parametrize("task", ["values", "classes"])
    def test_bins_of_a_tree(self, task, rng):
        x = np.round(rng.normal(size=800), 2)
        X = np.column_stack([x, np.where(rng.random(800) < 0.2, np.nan, rng.normal(size=800))])
        y = (x > 0.3) * 2.0 + (x > -1) if task == "values" else (x > 0.3) * 2 + (x > -1)
        layers = [
            fnn.PiecewiseLinear(6, bins="tree"),
            fnn.Impute(0),
            fnn.Dense(1 if task == "values" else 4),
        ]
        loss = "mse" if task == "values" else "cross_entropy"
        model = fnn.Sequential(layers, dtype="float64")
        model.fit(X, y, loss=loss, epochs=1, verbose=0)
        kind = DecisionTreeRegressor if task == "values" else DecisionTreeClassifier
        for j in range(2):
            there = ~np.isnan(X[:, j])
            tree = kind(max_leaf_nodes=6, min_samples_leaf=64, random_state=0)
            found = tree.fit(X[there, j : j + 1], y[there]).tree_
            cuts = found.threshold[found.children_left >= 0]
            edges = column_of(model, "0.edges")[:, j]
            known = edges[~np.isnan(edges)]
            np.testing.assert_allclose(known[1:-1], np.sort(cuts))
            assert known[0] == X[there, j].min() and known[-1] == X[there, j].max()
        assert np.nanmin(abs(column_of(model, "0.edges")[:, 0] - 0.3)) < 0.02


def test_normal_quantiles(isa):
    """The formula, over all ranks that there are, beside SciPy's."""
    model = fnn.Sequential([fnn.QuantileNormal(2), fnn.Identity()], dtype="float64").build(1)
    model.state = [0, 1]
    p = np.concatenate([np.linspace(LEAST, 1 - LEAST, 10_001), np.geomspace(LEAST, 0.1, 1000)])
    p = np.concatenate([p, 1 - np.geomspace(LEAST, 0.1, 1000)])
    out = model.forward(p[:, None])[:, 0]
    np.testing.assert_allclose(out, special.ndtri(p), rtol=2e-14, atol=2e-15)


# ----------------------------------------------------------------------- parts that learn


def parts_that_learn():
    return [
        ([0, 2], [fnn.Impute(0.5), fnn.Standardize(), fnn.Dense(3), fnn.Tanh()]),
        (1, [fnn.OneHot(4)]),
        ([1, 3], []),
        ([3], [fnn.Embedding(6, 2)]),
        ([0], [fnn.MissingIndicator(), fnn.Dense(1)]),
    ]


class TestPartsThatLearn:
    def test_as_branches(self, isa, dtype, rng):
        """As a network on the parts by themselves, made of what other tests compare."""
        X, y = table(rng), rng.normal(size=(400, 2))
        layers = [fnn.Columns(parts_that_learn()), fnn.Dense(5), fnn.Tanh(), fnn.Dense(2)]
        model = fnn.Sequential(layers, dtype=dtype)
        model.fit(X, y, loss="mse", epochs=1, verbose=0)
        own, state = model.named_parameters(), model.named_state()
        assert list(own)[:4] == ["0.0.2.weight", "0.0.2.bias", "0.3.0.weight", "0.4.1.weight"]
        filled = np.where(np.isnan(X), 0.5, X)
        scaled = (filled[:, [0, 2]] - state["0.0.1.mean"]) / state["0.0.1.std"]
        inside = {name: view.astype(np.float64) for name, view in own.items()}
        h = np.column_stack(
            [
                np.tanh(scaled @ inside["0.0.2.weight"] + inside["0.0.2.bias"]),
                np.eye(4)[X[:, 1].astype(int)],
                X[:, [1, 3]],
                inside["0.3.0.weight"][X[:, 3].astype(int)],
                np.isnan(X[:, :1]) @ inside["0.4.1.weight"] + inside["0.4.1.bias"],
            ]
        )
        assert_close(model.activations(X)["0"], h, dtype, 8)
        h = np.tanh(h @ inside["1.weight"] + inside["1.bias"])
        assert_close(model.forward(X), h @ inside["3.weight"] + inside["3.bias"], dtype, 20)
        assert_close(model.forward(X[:3]), model.forward(X)[:3], dtype, 8)

    def test_gradients(self, isa, rng):
        X, y = table(rng), rng.normal(size=(400, 2))
        layers = [fnn.Columns(parts_that_learn()), fnn.Dense(2)]
        model = fnn.Sequential(layers, dtype="float64")
        model.fit(X, y, loss="mse", epochs=1, verbose=0)
        _, gradient = model.loss_and_grad(X, y)
        direction, h, at = rng.normal(size=gradient.shape), 1e-6, model.parameters.copy()
        losses = []
        for side in (1, -1):
            model.parameters = at + side * h * direction
            losses.append(model.evaluate(X, y)["loss"])
        model.parameters = at
        slope = (losses[0] - losses[1]) / (2 * h)
        assert gradient @ direction == pytest.approx(slope, rel=1e-6)
        H = [model.hvp(X, y, v) for v in np.eye(len(at))]
        np.testing.assert_allclose(H, np.transpose(H), atol=1e-12)

    def test_files(self, dtype, tmp_path, rng):
        onnxruntime, torch = pytest.importorskip("onnxruntime"), pytest.importorskip("torch")
        X, y = table(rng).astype(dtype), rng.normal(size=(400, 2))
        layers = [fnn.Columns(parts_that_learn()), fnn.Dense(2)]
        model = fnn.Sequential(layers, dtype=dtype)
        model.fit(X, y, loss="mse", epochs=1, verbose=0)
        model.save(tmp_path / "m")
        again = fnn.load(tmp_path / "m")
        assert repr(again) == repr(model) and again.layers == model.layers
        assert_same_bits(again.forward(X), model.forward(X))
        module = model.to_torch()
        out = module(torch.tensor(X)).detach().numpy()
        np.testing.assert_allclose(out, model.forward(X), rtol=1e-5, atol=1e-6)
        back = fnn.from_torch(module)
        assert back.layers == model.layers
        assert_same_bits(back.forward(X), model.forward(X))
        model.to_onnx(tmp_path / "m.onnx", loss="mse")
        session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
        (out,) = session.run(None, {"X": X})
        np.testing.assert_allclose(out, model.forward(X), rtol=1e-5, atol=1e-6)

    def test_frozen(self, rng):
        X, y = table(rng), rng.normal(size=(400, 2))
        columns = fnn.Columns(parts_that_learn())
        model = fnn.Sequential([columns, fnn.Dense(2)]).build(5)
        columns.trainable = False
        before = model.parameters.copy()
        model.fit(X, y, loss="mse", epochs=1, verbose=0)
        changed = model.parameters != before
        assert changed[-2:].all() and not changed[: -2 * 13 - 2].any()

    def test_part_of_a_model(self, rng):
        X = table(rng)
        layers = [fnn.Columns(parts_that_learn()), fnn.Dense(4), fnn.ReLU(), fnn.Dense(2)]
        model = fnn.Sequential(layers)
        model.fit(X, np.zeros((400, 2)), loss="mse", epochs=1, verbose=0)
        h = model[:2].forward(X)
        assert_same_bits(model[2:].forward(h), model.forward(X))
        assert_same_bits(model[0:1].forward(X), model.activations(X)["0"])


# ----------------------------------------------------------------------- what is wrong


class TestMissing:
    def fit(self, layers, X):
        model = fnn.Sequential([*layers, fnn.Dense(1)])
        model.fit(X, np.zeros(X.shape[0]), loss="mse", epochs=1, verbose=0)
        return model

    def test_where_it_is_taken(self, rng):
        X = table(rng)
        for layers in (
            [fnn.Impute()],
            [fnn.Standardize(), fnn.Impute(0)],
            [fnn.MissingIndicator()],
            [fnn.OneHot(3), fnn.Standardize()],
            [fnn.Columns([([0, 2], [fnn.Impute()]), (1, [])])],
            [fnn.Columns([(1, [])])],  # nobody reads the others
            [fnn.Columns([(0, [fnn.Embedding(3, 2)]), (2, [fnn.Impute()])])],
        ):
            model = self.fit(layers, X)
            for given in (X, sparse.csr_array(X), X.astype(np.float32), np.asfortranarray(X)):
                assert np.isfinite(model.predict(given)).all()

    @pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, np.asfortranarray])
    def test_where_it_is_not(self, form, rng):
        X = np.nan_to_num(table(rng))
        X[300:, 0], X[200, 2] = np.nan, np.nan
        message = r"X: expected finite float64 numbers, got nan in row {}, column {}"
        for layers, row, column in (
            ([fnn.Standardize()], 200, 2),
            ([fnn.Columns([(0, [fnn.Impute()]), (2, [])])], 200, 2),
            ([fnn.Columns([([2, 0], [fnn.Impute()]), (0, [fnn.QuantileNormal()])])], 300, 0),
            ([fnn.Columns([(2, [fnn.Impute()]), ([0], [fnn.Dense(2)])])], 300, 0),
        ):
            with pytest.raises(ValueError, match=message.format(row, column)):
                self.fit(layers, form(X))
        X[350, 4] = np.inf
        layers = [fnn.Columns([(0, [fnn.Impute()]), (1, [])])]
        with pytest.raises(ValueError, match=r"got nan in row 200, column 2|got inf in row 350"):
            self.fit([fnn.Impute()], form(X))
        X[350, 4] = 0
        model = self.fit([fnn.Columns([(0, [fnn.Impute()]), (2, [fnn.Impute()])])], form(X))
        X[5, 2] = -np.inf
        with pytest.raises(ValueError, match="got -inf in row 5, column 2"):
            model.predict(form(X))
        del layers

    def test_rows_without_weight(self, rng):
        X, weight = table(rng), np.ones(400)
        X[7, 1], weight[7] = np.nan, 0
        model = fnn.Sequential([fnn.Columns([(0, [fnn.Impute()]), (1, [])]), fnn.Dense(1)])
        model.fit(X, np.zeros(400), loss="mse", epochs=1, sample_weight=weight, verbose=0)
        value = np.nanmedian(np.delete(X[:, 0], 7))
        assert model.named_state()["0.0.0.value"] == value


class TestFrames:
    def test_names(self, tmp_path, rng):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame(table(rng), columns=["age", "rooms", "price", "kind", "same"])
        columns = fnn.Columns(
            [
                (["price", "age"], [fnn.Impute(), fnn.QuantileNormal()]),
                ("kind", [fnn.OneHot(6)]),
                ([1], []),
            ]
        )
        model = fnn.Sequential([columns, fnn.Dense(2)])
        model.fit(frame, np.zeros((400, 2)), loss="mse", epochs=1, verbose=0)
        by_number = fnn.Columns(
            [
                ([2, 0], [fnn.Impute(), fnn.QuantileNormal()]),
                (3, [fnn.OneHot(6)]),
                ([1], []),
            ]
        )
        other = fnn.Sequential([by_number, fnn.Dense(2)])
        other.fit(frame.to_numpy(), np.zeros((400, 2)), loss="mse", epochs=1, verbose=0)
        assert_same_bits(model.forward(frame), other.forward(frame.to_numpy()))
        shuffled = frame[["same", "kind", "age", "price", "rooms"]]
        assert_same_bits(model.forward(shuffled), model.forward(frame))
        model.save(tmp_path / "m")
        assert_same_bits(fnn.load(tmp_path / "m").forward(shuffled), model.forward(frame))
        with pytest.raises(ValueError, match=r"X: expected columns with names.*layers\[0\]"):
            fnn.Sequential([columns, fnn.Dense(2)]).fit(
                frame.to_numpy(), np.zeros((400, 2)), loss="mse", verbose=0
            )
        wrong = fnn.Columns([("prize", [])])
        with pytest.raises(ValueError, match=r"parts\[0\].*'prize'; did you mean price"):
            fnn.Sequential([wrong, fnn.Dense(2)]).fit(
                frame, np.zeros((400, 2)), loss="mse", verbose=0
            )


class TestBatches:
    def test_as_the_whole(self, rng):
        X, y = table(rng), rng.normal(size=(400, 1))
        whole = fnn.Sequential([*CHAINS["parts"](), fnn.Dense(1)])
        whole.fit(X, y, loss="mse", epochs=1, batch_size=50, shuffle=False, verbose=0)
        room = np.empty((50, 5))

        def batches():
            for first in range(0, 400, 50):
                room[:] = X[first : first + 50]  # the same array again and again
                yield room, y[first : first + 50]

        model = fnn.Sequential([*CHAINS["parts"](), fnn.Dense(1)])
        model.fit(batches, loss="mse", epochs=1, verbose=0)
        assert_same_bits(model.state, whole.state)
        assert_same_bits(model.parameters, whole.parameters)

    def test_once_is_too_few(self):
        model = fnn.Sequential([fnn.QuantileNormal(), fnn.Dense(1)])
        with pytest.raises(ValueError, match="X: expected batches that come more than once"):
            model.fit(iter([(np.ones((4, 2)), np.ones(4))]), loss="mse", verbose=0)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: fnn.Columns([]), ValueError, "parts: expected at least one"),
        (lambda: fnn.Columns(3), TypeError, "parts: expected a list of pairs"),
        (lambda: fnn.Columns([3]), TypeError, r"parts\[0\]: expected a pair"),
        (lambda: fnn.Columns([([], [])]), ValueError, r"parts\[0\]\[0\]: expected at least one"),
        (lambda: fnn.Columns([(1.5, [])]), TypeError, r"parts\[0\]\[0\]: expected the number"),
        (lambda: fnn.Columns([([0, None], [])]), TypeError, r"parts\[0\]\[0\]\[1\]: expected an"),
        (lambda: fnn.Columns([(slice(0, 9, 0), [])]), ValueError, r"parts\[0\]\[0\]: .* step"),
        (lambda: fnn.Columns([(0, fnn.Impute())]), TypeError, r"parts\[0\]\[1\]: .*\[Impute\(\)\]"),
        (
            lambda: fnn.Columns([(0, [fnn.Dense(2), fnn.Impute()])]),
            ValueError,
            r"parts\[0\]\[1\]\[1\]: expected Impute\(\) in front of other layers",
        ),
        (
            lambda: fnn.Columns([(0, [fnn.Columns([(0, [])])])]),
            ValueError,
            r"parts\[0\]\[1\]\[0\]: expected layers for these columns",
        ),
        (
            lambda: fnn.Sequential([fnn.Rescale(), fnn.Columns([(0, [])]), fnn.Dense(1)]),
            ValueError,
            r"layers\[1\]: expected Columns in front of all",
        ),
        (
            lambda: fnn.Sequential([fnn.Columns([(0, [fnn.Impute()])])]),
            ValueError,
            "layers: expected a layer after Columns",
        ),
        (
            lambda: fnn.Sequential([fnn.Columns([(0, [fnn.Dense(1)])]), fnn.Impute()]),
            ValueError,
            r"layers\[1\]: expected Impute\(\) in front of all other layers",
        ),
        (
            lambda: fnn.Residual([fnn.Columns([(0, [])])]),
            ValueError,
            r"layers\[0\]: expected a layer, got Columns",
        ),
        (
            lambda: fnn.Sequential([fnn.Columns([(4, [])]), fnn.Dense(1)]).build(4),
            ValueError,
            r"layers\[0\]: parts\[0\]\[0\]: expected numbers of 4 columns, got 4",
        ),
        (
            lambda: fnn.Sequential([fnn.Columns([(slice(4, 9), [])]), fnn.Dense(1)]).build(4),
            ValueError,
            r"expected some of 4 columns, got none",
        ),
    ],
)
def test_impossible(make, error, match):
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("0.quantiles", lambda x: x[:, ::-1]),
        ("0.quantiles", lambda x: np.full_like(x, np.nan)),
        ("0.quantiles", lambda x: np.where(x == x[0, 3], np.nan, x)),
        ("0.quantiles", lambda x: x * np.inf),
        ("0.quantiles", lambda x: x.T.copy()),
        ("1.scale", lambda x: -x),
        ("1.scale", lambda x: x * np.nan),
        ("1.center", lambda x: x + np.inf),
    ],
)
def test_damaged_files(name, change, tmp_path, rng):
    layers = [fnn.QuantileNormal(), fnn.RobustScale(), fnn.Dense(1)]
    model = fnn.Sequential(layers)
    model.fit(rng.normal(size=(400, 2)), np.zeros(400), loss="mse", epochs=1, verbose=0)
    model.save(tmp_path / "m")
    tensors = safetensors.numpy.load((tmp_path / "m").read_bytes())
    with safetensors.safe_open(tmp_path / "m", "np") as file:
        metadata = dict(file.metadata())
    tensors[name] = np.ascontiguousarray(change(tensors[name]))
    safetensors.numpy.save_file(tensors, tmp_path / "m", metadata)
    with pytest.raises(fnn.ModelFileError, match=name):
        fnn.load(tmp_path / "m")


def test_edge_cases_of_columns(rng):
    """What is missing altogether, constant, or of one row."""
    for X in (np.full((5, 1), np.nan), np.full((5, 1), 3.0), np.full((1, 1), -2.0)):
        chains = [
            [fnn.QuantileNormal(), fnn.Impute(0)],
            [fnn.PiecewiseLinear(3), fnn.Impute(0)],
            [fnn.RobustScale(), fnn.Impute(0)],
            [fnn.Standardize(), fnn.Impute(0)],
            [fnn.Impute("mean"), fnn.Standardize()],
            [fnn.Impute("most_frequent"), fnn.Standardize()],
        ]
        for layers in chains:
            model = learn(fnn.Sequential([*layers, fnn.Identity()], dtype="float64"), X)
            assert not model.forward(X).any()
    model = learn(fnn.Sequential([fnn.RobustScale(), fnn.Identity()]), np.full((5, 1), 3.0))
    assert model.forward([[7.0]]) == 0


# ----------------------------------------------------------------------- what the core refuses


@pytest.mark.parametrize("threads_", [1, 3])
@pytest.mark.parametrize("part", ["indices", "indptr"])
@pytest.mark.parametrize("value", [-1, 70, 2**31 - 1, -(2**31)])
def test_places_outside_are_never_read(threads_, part, value, isa, restore_threads, rng):
    """The core trusts nobody: the arrays may have changed since SciPy checked them."""
    _core.set_num_threads(threads_)
    csr = sparse.csr_array((rng.random((2000, 70)) < 0.3) * 1.0)
    getattr(csr, part)[700] = value
    net = core_network("float32", 70, [("missing_indicator", 0, ()), ("dense", 9, ())])
    with pytest.raises(ValueError, match="of a sparse matrix"):
        net.forward(np.zeros(639, np.float32), csr, np.empty((2000, 9), np.float32))


DENSE = {"kind": "dense", "units": 2}


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([{"kind": "select", "values": [0, 3]}, DENSE], "columns: expected whole numbers below 3"),
        ([{"kind": "select", "values": [0.5]}, DENSE], "columns: expected whole numbers below 3"),
        ([{"kind": "select", "values": [-1]}, DENSE], "columns: expected whole numbers below 3"),
        ([{"kind": "select", "values": []}, DENSE], "expected 1 to"),
        (
            [{"kind": "rescale", "values": [1, 0]}, {"kind": "select", "values": [0]}, DENSE],
            "expected the columns of X, got those of a layer",
        ),
        ([DENSE, {"kind": "missing_indicator"}], "in front of all layers of other kinds"),
        ([{"kind": "one_hot", "values": [0, 1]}, DENSE], "expected sizes from 1"),
        ([{"kind": "one_hot", "values": [3]}, DENSE], "expected 2 values, got 1"),
        ([{"kind": "quantile_normal", "values": [1e300]}, DENSE], "expected sizes from 1"),
        ([{"kind": "piecewise_linear", "values": [2.0**31]}, DENSE], "expected 1 to"),
        (
            [{"kind": "missing_indicator"}, {"kind": "dense", "units": 2, "inputs": [0]}],
            "expected something that reads what it puts out",
        ),
        (
            [
                {"kind": "select", "values": [0]},
                {"kind": "select", "values": [1], "inputs": [0]},
                {"kind": "dense", "units": 2, "inputs": [2]},
                {"kind": "dense", "units": 2, "inputs": [1]},
                {"kind": "add", "inputs": [3, 4]},
            ],
            "expected what the last input layer puts out",
        ),
        ([{"kind": "slice", "values": [1, 3]}], "expected a slice of 3 features"),
        ([{"kind": "slice", "values": [0, 0]}], "expected a slice of 3 features"),
    ],
)
def test_impossible_networks(layers, message):
    with pytest.raises(ValueError, match=message):
        _core.Network("float32", 3, layers)
    sound = [{"kind": "one_hot", "values": [4, 2]}, DENSE]
    net = _core.Network("float32", 3, sound)
    assert (net.in_features, net.n_parameters, net.n_state) == (3, 15 * 2 + 2, 12)
    assert net.state_layout == [("0", "counts", 0, (4, 3))]
