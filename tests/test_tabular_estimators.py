"""Packs of networks as estimators of scikit-learn: TabularClassifier, TabularRegressor."""

import pickle
import subprocess
import sys
import time

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_same_bits

pytest.importorskip("sklearn", reason="the extra sklearn is not installed")
pytest.importorskip("narwhals", reason="the extra table is not installed")
pytest.importorskip("pandas")

import pandas as pd
from sklearn.base import clone
from sklearn.inspection import permutation_importance
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from pyfast_nn.sklearn import TabularClassifier, TabularRegressor, load
from pyfast_nn.tabular import recipe

pytestmark = pytest.mark.once

WEIGHTS = "which rows are held out depends on how many there are"


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """A recipe of small networks, few epochs and few folds: what is tested holds of any."""
    monkeypatch.setattr(recipe, "EPOCHS", (20, 20))
    monkeypatch.setattr(recipe, "WIDTHS", (32,))
    monkeypatch.setattr(recipe, "LR", (1e-2, 2e-2))
    monkeypatch.setattr(recipe, "FOLDS", 2)
    monkeypatch.setattr(recipe, "SMALL_BATCH_SIZE", 8)


def expected_to_fail(estimator):
    return {"check_sample_weight_equivalence_on_dense_data": WEIGHTS}


@parametrize_with_checks(
    [
        TabularClassifier(n_networks=1, random_state=0),
        TabularRegressor(n_networks=1, random_state=0),
    ],
    expected_failed_checks=expected_to_fail,
)
def test_checks(estimator, check):
    check(estimator)


def make(n, seed=0):
    """A table of each kind of column, and what it says: a number, and one of three words."""
    rng = np.random.default_rng(seed)
    size, colour = rng.uniform(0, 10, n), rng.choice(["red", "green", "blue"], n, p=[0.6, 0.3, 0.1])
    big = rng.random(n) < 0.5
    value = size + 4 * (colour == "red") - 3 * big + 0.3 * rng.standard_normal(n)
    X = pd.DataFrame(
        {
            "size": np.where(rng.random(n) < 0.1, np.nan, size),
            "colour": np.where(rng.random(n) < 0.1, None, colour),
            "big": big,
            "noise": rng.standard_normal(n),
            "same": 1,
        }
    )
    return X, value, np.array(["low", "mid", "top"])[np.digitize(value, [3, 8])]


def small(kind, **options):
    return kind(**{"n_networks": 3, "random_state": 0, **options})


@pytest.fixture(scope="module")
def fitted():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "EPOCHS", (30, 30))
        patch.setattr(recipe, "FOLDS", 2)
        patch.setattr(recipe, "LR", (5e-3, 1e-2))
        X, value, word = make(500)
        return small(TabularClassifier).fit(X, word), small(TabularRegressor).fit(X, value)


# ---------------------------------------------------------------------------- what it learns


def test_it_learns(fitted):
    classifier, regressor = fitted
    X, value, word = make(1000, seed=1)
    assert classifier.score(X, word) > 0.75 and regressor.score(X, value) > 0.75
    assert classifier.classes_.tolist() == ["low", "mid", "top"]
    P = classifier.predict_proba(X)
    np.testing.assert_allclose(P.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(classifier.predict(X), classifier.classes_[P.argmax(axis=1)])
    assert [row["kind"] for row in classifier.describe_columns()] == [
        *("number", "category", "category", "number", "constant")
    ]
    assert classifier.n_features_in_ == 5
    assert classifier.feature_names_in_.tolist() == [*X.columns]


def test_it_is_the_average_of_its_networks(fitted):
    X, _, _ = make(50, seed=2)
    for estimator, predict in zip(fitted, ("predict_proba", "predict"), strict=True):
        Z = estimator.schema_.encode(X)
        each = [getattr(network, predict)(Z) for network in estimator.networks_]
        mean = np.tensordot(estimator.weights_, each, axes=1)
        np.testing.assert_allclose(getattr(estimator, predict)(X), mean, rtol=1e-6)
        assert estimator.weights_.sum() == pytest.approx(1)
        assert len(estimator.networks_) == len(estimator.weights_)
        rows = estimator.leaderboard_
        chosen = sum(row["weight"] > 0 for row in rows)
        assert len(rows) == 3 and len(estimator.networks_) == 2 * chosen  # of two folds
        scores = [row[estimator.model_.eval_metric] for row in rows]
        assert scores == sorted(scores)  # both metrics are losses


def test_same_numbers_from_any_library(fitted):
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    X, _, _ = make(60, seed=3)
    for estimator in fitted:
        expected = estimator.predict(X)
        for other in (pl.from_pandas(X), pa.Table.from_pandas(X), X[X.columns[::-1]]):
            np.testing.assert_array_equal(estimator.predict(other), expected)
    X, value, _ = make(60)
    short = small(TabularRegressor, n_networks=1)
    first = short.fit(X, value).predict(X)
    np.testing.assert_array_equal(short.fit(pl.from_pandas(X), value).predict(X), first)


@pytest.mark.parametrize("n", [60, 3000])  # folds, and rows held out once
@pytest.mark.parametrize("kind", [TabularClassifier, TabularRegressor])
def test_same_bits(kind, n, restore_threads, monkeypatch):
    monkeypatch.setattr(recipe, "EPOCHS", (2, 2))
    X, value, word = make(n)
    y = word if kind is TabularClassifier else value
    predicted = []
    for threads in (1, 3):
        fnn.set_num_threads(threads)
        estimator = small(kind).fit(X, y)
        assert len(estimator.networks_) >= (2 if n == 60 else 1)
        predict = estimator.predict_proba if kind is TabularClassifier else estimator.predict
        predicted.append(predict(X))
    assert_same_bits(*predicted)
    other = small(kind, random_state=1).fit(X, y)
    assert [row["lr"] for row in other.leaderboard_] != [
        row["lr"] for row in estimator.leaderboard_
    ]


@pytest.mark.parametrize("classes", [2, 3])
def test_labels_of_any_kind(classes):
    X, value, _ = make(80)
    places = np.digitize(value, [5] if classes == 2 else [3, 8])
    for names in (np.array([7, -1, 40]), np.array(["b", "a", "c"]), np.array([True, False, True])):
        if names.dtype == bool and classes == 3:
            continue
        estimator = small(TabularClassifier, n_networks=1).fit(X, pd.Series(names[places]))
        np.testing.assert_array_equal(estimator.classes_, np.unique(names[:classes]))
        assert set(estimator.predict(X)) <= set(names[:classes])
        assert estimator.predict_proba(X).shape == (80, classes)
        outputs = estimator.networks_[0].out_features
        assert outputs == (1 if classes == 2 else 3)


# ---------------------------------------------------------------------------- options


def test_eval_metric(fitted):
    X, value, word = make(200)
    for metric in ("accuracy", "neg_log_loss", "roc_auc_ovr"):
        estimator = small(TabularClassifier, n_networks=1, eval_metric=metric).fit(X, word)
        assert list(estimator.leaderboard_[0])[1] == metric
    with pytest.raises(ValueError, match=r"eval_metric: .*did you mean accuracy"):
        small(TabularClassifier, eval_metric="acuracy").fit(X, word)
    with pytest.raises(ValueError, match="eval_metric: expected scorers"):
        small(TabularClassifier, eval_metric="roc_auc").fit(X, word)
    estimator = small(TabularRegressor, n_networks=1, eval_metric="mae").fit(X, value)
    assert list(estimator.leaderboard_[0])[1] == "mae"


def test_the_leaderboard_scores_rows_that_were_held_out():
    X, value, _ = make(300)
    Xv, value_v, _ = make(100, seed=5)
    regressor = small(TabularRegressor).fit(X, value, X_val=Xv, y_val=value_v)
    best = regressor.leaderboard_[0]
    assert sum(row["weight"] for row in regressor.leaderboard_) == pytest.approx(1)
    number = max(range(len(regressor.weights_)), key=lambda i: regressor.weights_[i])
    mine = regressor.networks_[number].predict(regressor.schema_.encode(Xv))
    errors = [row["rmse"] for row in regressor.leaderboard_ if row["weight"] > 0]
    assert np.isclose(errors, root_mean_squared_error(value_v, mine), rtol=1e-5).any()
    assert root_mean_squared_error(value_v, regressor.predict(Xv)) <= best["rmse"] * 1.001


def test_groups_stay_together(monkeypatch):
    from pyfast_nn.tabular import splits

    seen = []
    original = splits.folds
    monkeypatch.setattr(splits, "folds", lambda *args: seen.extend(original(*args)) or seen)
    X, value, _ = make(120)
    groups = np.repeat(np.arange(12), 10)
    small(TabularRegressor, n_networks=1).fit(X, value, groups=groups)
    for trained, held_out in seen:
        assert not set(groups[trained]) & set(groups[held_out])
    with pytest.raises(ValueError, match="groups: expected at least 2 different ones, got 1"):
        small(TabularRegressor).fit(X, value, groups=np.zeros(120))
    with pytest.raises(ValueError, match="groups: expected None beside X_val"):
        small(TabularRegressor).fit(X, value, groups=groups, X_val=X, y_val=value)


def test_weights(rng):
    """Rows of weight 0 are as if they were not there; heavy ones pull the value to them."""
    X, value, word = make(200)
    w = np.r_[np.ones(150), np.zeros(50)]
    wrong = np.r_[value[:150], np.full(50, 1e6)]
    with_them = small(TabularRegressor).fit(X, wrong, sample_weight=w)
    assert abs(with_them.predict(X)).max() < 100
    assert with_them.schema_.columns[0].n_missing == X["size"].isna().sum()
    numbers, ones = X[["noise", "big"]].to_numpy(float), np.ones(150)
    without = small(TabularRegressor).fit(numbers[:150], value[:150], sample_weight=ones)
    among = small(TabularRegressor).fit(numbers, wrong, sample_weight=w)
    assert_same_bits(among.predict(numbers), without.predict(numbers))
    flat = pd.DataFrame({"a": np.arange(200.0)})
    y = np.tile([0.0, 1.0], 100)
    heavy = small(TabularRegressor).fit(flat, y, sample_weight=np.tile([1.0, 9.0], 100))
    assert heavy.predict(flat).mean() == pytest.approx(0.9, abs=0.15)
    seldom = np.where(word == "low", "low", "not")
    plain = small(TabularClassifier).fit(X[["noise"]], seldom)
    balanced = small(TabularClassifier, class_weight="balanced").fit(X[["noise"]], seldom)
    share = (seldom == "low").mean()
    assert plain.predict_proba(X[["noise"]])[:, 0].mean() == pytest.approx(share, abs=0.1)
    assert balanced.predict_proba(X[["noise"]])[:, 0].mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.alone
def test_time_limit():
    X, value, _ = make(3000)
    began = time.monotonic()
    some = small(TabularRegressor, n_networks=10_000, time_limit=1).fit(X, value)
    assert time.monotonic() - began < 20  # on a busy machine
    assert 1 <= len(some.leaderboard_) < 10_000
    least = small(TabularRegressor, time_limit=1e-9).fit(X, value)
    assert len(least.leaderboard_) >= 1 and np.isfinite(least.predict(X)).all()
    assert least.leaderboard_[0]["epochs"] == 1


def test_an_interrupt_keeps_what_was_learned(monkeypatch):
    from pyfast_nn.tabular import pack

    X, value, _ = make(100)
    whole = small(TabularRegressor, n_networks=1).fit(X, value)
    done = [0, 2, 3]  # models that are trained before Ctrl-C; two folds are a network
    train = pack.fit_many

    def interrupted(models, *args, each, **options):
        train([models[i] for i in done], *args, each=[each[i] for i in done], **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(pack, "fit_many", interrupted)
    regressor = small(TabularRegressor)
    with pytest.raises(KeyboardInterrupt):
        regressor.fit(X, value)
    assert [row["network"] for row in regressor.leaderboard_] == [1]
    assert regressor.score(X, value) > 0
    done[:] = [0, 1]
    with pytest.raises(KeyboardInterrupt):
        regressor.fit(X, value)
    np.testing.assert_array_equal(regressor.predict(X), whole.predict(X))
    done[:] = [1]
    unfitted = small(TabularRegressor)
    with pytest.raises(KeyboardInterrupt):
        unfitted.fit(X, value)
    assert not hasattr(unfitted, "model_")


# ---------------------------------------------------------------------------- what it says


def test_quantiles_cover(fitted):
    X, value, _ = make(2000, seed=4)
    quantiles = [0.05, 0.5, 0.95]
    below = value[:, None] <= fitted[1].predict_quantiles(X, quantiles)
    np.testing.assert_allclose(below.mean(axis=0), quantiles, atol=0.08)
    with pytest.raises(ValueError, match="quantiles: expected numbers greater than 0 and less"):
        fitted[1].predict_quantiles(X, [0, 0.5])


def test_importances_are_those_of_scikit_learn(fitted):
    X, value, word = make(150, seed=6)
    for estimator, y, scoring in zip(
        fitted, (word, value), ("neg_log_loss", "neg_root_mean_squared_error"), strict=True
    ):
        mine = estimator.feature_importances(X, y, n_repeats=3, random_state=7)
        theirs = permutation_importance(
            estimator, X, y, scoring=scoring, n_repeats=3, random_state=7
        )
        np.testing.assert_allclose(mine.importances, theirs.importances, atol=1e-6)
        np.testing.assert_allclose(mine.importances_mean, theirs.importances_mean, atol=1e-6)
        np.testing.assert_allclose(mine.importances_std, theirs.importances_std, atol=1e-6)
        assert mine.feature_names == [*X.columns]
        assert mine.importances_mean.argmax() == 0 and (mine.importances[4] == 0).all()


def test_importances_in_pieces(fitted, monkeypatch):
    from pyfast_nn.tabular import model

    X, value, _ = make(50, seed=6)
    whole = fitted[1].feature_importances(X, value, random_state=0)
    monkeypatch.setattr(model, "_NUMBERS_AT_ONCE", 500)
    np.testing.assert_allclose(
        fitted[1].feature_importances(X, value, random_state=0).importances,
        whole.importances,
        atol=1e-6,
    )


# ---------------------------------------------------------------------------- files and others


WITHOUT = """
import sys
sys.modules["sklearn"] = None
import numpy as np, pandas as pd
import pyfast_nn as fnn
X = pd.read_pickle("X.pkl")
expected = np.load("expected.npz")
classifier, regressor = fnn.tabular.load("c.safetensors"), fnn.tabular.load("r.safetensors")
np.testing.assert_array_equal(classifier.predict_proba(X), expected["P"])
np.testing.assert_array_equal(classifier.predict(X), expected["c"])
np.testing.assert_array_equal(regressor.predict(X), expected["r"])
np.testing.assert_array_equal(regressor.predict_quantiles(X, [0.1, 0.9]), expected["q"])
assert classifier.describe_columns()[1]["kind"] == "category"
assert regressor.feature_importances(X, expected["r"]).importances_mean[0] > 0
"""


def test_files_predict_without_scikit_learn(fitted, tmp_path):
    X, _, _ = make(40, seed=8)
    classifier, regressor = fitted
    classifier.save(tmp_path / "c.safetensors")
    regressor.save(tmp_path / "r.safetensors")
    X.to_pickle(tmp_path / "X.pkl")
    np.savez(
        tmp_path / "expected.npz",
        P=classifier.predict_proba(X),
        c=classifier.predict(X),
        r=regressor.predict(X),
        q=regressor.predict_quantiles(X, [0.1, 0.9]),
    )
    subprocess.run([sys.executable, "-c", WITHOUT], cwd=tmp_path, check=True)


def test_files(fitted, tmp_path):
    X, _, _ = make(40, seed=8)
    path = tmp_path / "m.safetensors"
    for estimator in fitted:
        estimator.save(path)
        again = load(path)
        assert type(again) is type(estimator) and again.get_params() == estimator.get_params()
        np.testing.assert_array_equal(again.predict(X), estimator.predict(X))
        assert again.leaderboard_ == estimator.leaderboard_
        assert str(again.describe_columns()) == str(estimator.describe_columns())
        assert again.feature_names_in_.tolist() == [*X.columns] and again.n_features_in_ == 5
        copied = pickle.loads(pickle.dumps(estimator))
        np.testing.assert_array_equal(copied.predict(X), estimator.predict(X))
        with pytest.raises(fnn.ModelFileError, match=r"of a tabular model, which .*tabular\.load"):
            fnn.load(path)
    fnn.Sequential([fnn.Dense(2)], seed=0).build(3).save(path)
    with pytest.raises(fnn.ModelFileError, match=r"of a model, which pyfast_nn\.load reads"):
        fnn.tabular.load(path)
    with_function = clone(fitted[0]).set_params(eval_metric=log_loss)
    with_function.model_ = fitted[0].model_
    with pytest.raises(ValueError, match="eval_metric: expected what a file can hold"):
        with_function.save(path)


def test_damaged_files(fitted, tmp_path, rng):
    """Each is a ModelFileError, or as it was where what is damaged are numbers."""
    path = tmp_path / "m.safetensors"
    fitted[1].save(path)
    raw = path.read_bytes()
    header = int.from_bytes(raw[:8], "little")
    refused = 0
    for place in rng.integers(0, header, 60):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << rng.integers(0, 7)
        path.write_bytes(damaged)
        try:
            fnn.tabular.load(path)
        except fnn.ModelFileError:
            refused += 1
    assert refused > 20
    path.write_bytes(raw[:-10])
    with pytest.raises(fnn.ModelFileError, match="not an intact safetensors file"):
        fnn.tabular.load(path)


def test_in_pipelines_and_cross_validation():
    X, value, word = make(120)
    pipe = make_pipeline(
        FunctionTransformer(lambda X: X.drop(columns="noise")),
        small(TabularRegressor, n_networks=1),
    )
    assert pipe.fit(X, value).predict(X).shape == (120,)
    assert len(cross_val_score(small(TabularClassifier, n_networks=1), X, word, cv=2)) == 2
    assert clone(small(TabularClassifier, dates="parts")).get_params()["dates"] == "parts"


# ---------------------------------------------------------------------------- mistakes


def test_mistakes_end_in_one_line(fitted):
    X, value, word = make(60)
    hole = value.copy()
    hole[3] = np.nan
    objects = word.astype(object)
    objects[7] = None
    C, R = TabularClassifier(n_networks=1), TabularRegressor(n_networks=1)
    never = TabularRegressor(time_limit=0)
    infinite = np.r_[np.inf, np.arange(59)]
    for run, match in (
        (lambda: C.fit(X, None), "requires y to be passed"),
        (lambda: C.fit(X, np.full(60, "a")), "y: expected at least 2 classes, got 1 class, 'a'"),
        (lambda: C.fit(X, objects), "y: expected a label or number in every row, got None in row"),
        (lambda: C.fit(X, np.c_[word, word]), r"y: expected one label .* shape \(60, 2\)"),
        (lambda: C.fit(X, value), "Unknown label type: continuous"),
        (lambda: R.fit(X, hole), r"y: expected .*, got nan \(NaN or infinity\) in row 3"),
        (lambda: R.fit(X, word), "y: expected numbers, .* TabularClassifier takes labels"),
        (lambda: R.fit(X, np.ones(60)), "y: expected different values, got 1.0 in every row"),
        (lambda: R.fit(X, 1e40 * value), r"y: expected numbers up to 3.4e\+38, which float32"),
        (lambda: R.fit(X[:4], value[:4]), "X: expected at least 10 rows, got n_samples=4"),
        (lambda: R.fit(X, value[:-1]), "inconsistent numbers of samples"),
        (lambda: R.fit(X, value, X_val=X), "X_val, y_val: expected both or none of them"),
        (lambda: C.fit(X, word, X_val=X, y_val=[*word[1:], "new"]), "y_val: .*, got .*'new'"),
        (lambda: TabularRegressor(n_networks=0).fit(X, value), "n_networks: expected an integer"),
        (lambda: never.fit(X, value), "time_limit: expected"),
        (lambda: R.fit(X.assign(size=infinite), value), "got inf in row 0, column 'size'"),
        (lambda: fitted[0].predict(X.drop(columns="big")), "expected the 5 columns .* 'big'"),
        (
            lambda: fitted[0].feature_importances(X, [*word[1:], "new"]),
            "y: expected labels of the training, got 'new'",
        ),
        (lambda: fitted[1].model_.predict_proba(X), "predict_proba: expected a model of classes"),
        (lambda: fitted[0].model_.predict_quantiles(X), "predict_quantiles: expected a model of"),
    ):
        with pytest.raises((TypeError, ValueError), match=match):
            run()
