"""Parts of a pack: its ensemble, its scores, held-out rows, quantiles, what is drawn."""

import itertools

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the extra sklearn is not installed")

from sklearn import metrics as theirs

import pyfast_nn as fnn
from pyfast_nn.tabular import networks, recipe, splits
from pyfast_nn.tabular.ensemble import select
from pyfast_nn.tabular.intervals import Residuals
from pyfast_nn.tabular.schema import Input
from pyfast_nn.tabular.scoring import Score

pytestmark = pytest.mark.once


# ---------------------------------------------------------------------------- ensemble


def error_of(y):
    return lambda mean: -np.sqrt(np.mean((mean - y) ** 2))


def greedy(predictions, score, rounds):
    """All bags that selection walks through, written down: the best of them."""
    bag, bags = [], []
    for _ in range(rounds):
        each = [[*bag, i] for i in range(len(predictions))]
        bag = max(each, key=lambda b: score(np.mean([predictions[i] for i in b], axis=0)))
        bags.append(bag)
    best = max(bags, key=lambda b: round(score(np.mean([predictions[i] for i in b], axis=0)), 12))
    return np.bincount(best, minlength=len(predictions)) / len(best)


@pytest.mark.parametrize("seed", range(5))
def test_selection_is_greedy(seed):
    rng = np.random.default_rng(seed)
    y = rng.standard_normal(40)
    predictions = y + rng.standard_normal((6, 40)) * rng.uniform(0.3, 2, (6, 1))
    weights = select(predictions, error_of(y), 8)
    np.testing.assert_allclose(weights, greedy(predictions, error_of(y), 8), atol=1e-15)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    # As good as the best network alone, and no better than the best bag there is.
    singles = [error_of(y)(p) for p in predictions]
    found = error_of(y)(weights @ predictions)
    every = itertools.chain.from_iterable(
        itertools.combinations_with_replacement(range(6), k) for k in range(1, 9)
    )
    best = max(error_of(y)(predictions[list(bag)].mean(axis=0)) for bag in every)
    assert max(singles) <= found <= best + 1e-12


def test_one_perfect_network_is_enough(rng):
    y = rng.standard_normal(30)
    predictions = np.array([y + 1, y, y - 3])
    np.testing.assert_array_equal(select(predictions, error_of(y), 10), [0, 1, 0])
    opposite = np.array([y + 1, y + 9, y - 1])  # whose errors cancel
    np.testing.assert_array_equal(select(opposite, error_of(y), 10), [0.5, 0, 0.5])


def test_networks_without_a_score(rng):
    y = rng.standard_normal(30)
    predictions = np.array([np.full(30, np.nan), y + 1])
    np.testing.assert_array_equal(select(predictions, error_of(y), 3), [0, 1])
    with pytest.raises(ValueError, match="eval_metric: expected a number as the score of some"):
        select(predictions[:1], error_of(y), 3)


# ---------------------------------------------------------------------------- scores


def draw(rng, classes, n=80):
    P = rng.dirichlet(np.ones(classes), n)
    names = np.array(["a", "b", "c", "d"])[:classes]
    y = names[[rng.choice(classes, p=p) for p in P]]
    return names, y, P, rng.uniform(0.5, 2, n)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
def test_scores_of_classes(rng, classes, weighted):
    names, y, P, weights = draw(rng, classes)
    w = weights if weighted else None
    labels = names[P.argmax(1)]
    expected = {
        None: -theirs.log_loss(y, P, sample_weight=w),
        "log_loss": -theirs.log_loss(y, P, sample_weight=w),
        "neg_log_loss": -theirs.log_loss(y, P, sample_weight=w),
        "accuracy": theirs.accuracy_score(y, labels, sample_weight=w),
        "f1_macro": theirs.f1_score(y, labels, average="macro", sample_weight=w),
        theirs.balanced_accuracy_score: theirs.balanced_accuracy_score(y, labels, sample_weight=w),
    }
    if classes == 2:
        expected["auc"] = theirs.roc_auc_score(y, P[:, 1], sample_weight=w)
        expected["roc_auc"] = expected["auc"]
    else:
        expected["roc_auc_ovr"] = theirs.roc_auc_score(y, P, multi_class="ovr", sample_weight=w)
    for metric, value in expected.items():
        score = Score(metric, y, names, w)
        score.check()
        assert score(P) == pytest.approx(value, rel=1e-12), metric
        assert score.value(P) == score.sign * score(P)


@pytest.mark.parametrize("weighted", [False, True])
def test_scores_of_values(rng, weighted):
    y, z, weights = rng.standard_normal(50), rng.standard_normal(50), rng.uniform(0.5, 2, 50)
    w = weights if weighted else None
    for metric, value in {
        None: -theirs.root_mean_squared_error(y, z, sample_weight=w),
        "mae": -theirs.mean_absolute_error(y, z, sample_weight=w),
        "r2": theirs.r2_score(y, z, sample_weight=w),
        "neg_mean_pinball_loss": None,
        "neg_median_absolute_error": -theirs.median_absolute_error(y, z, sample_weight=w),
        theirs.d2_pinball_score: theirs.d2_pinball_score(y, z, sample_weight=w),
    }.items():
        if value is None:
            with pytest.raises(ValueError, match="eval_metric: expected one of accuracy"):
                Score(metric, y, None, w)
            continue
        assert Score(metric, y, None, w)(z) == pytest.approx(value, rel=1e-12), metric


def test_metrics_that_cannot_be(rng):
    names, y, _, _ = draw(rng, 4)
    for metric, match in (
        ("auc", "eval_metric: expected those defined for CrossEntropy"),
        ("rmse", "eval_metric: expected those defined for"),
        ("acuracy", "eval_metric: .*did you mean accuracy"),
        (5, "eval_metric: expected names or functions"),
        (lambda a, b: 0, "eval_metric: expected a name that tells whether larger is better"),
    ):
        with pytest.raises((TypeError, ValueError), match=match):
            Score(metric, y, names, None)
    with pytest.raises(ValueError, match=r"eval_metric: expected scorers that .* 'roc_auc'"):
        Score("roc_auc", y, names, None).check()


# ---------------------------------------------------------------------------- rows


@pytest.mark.parametrize("kind", ["plain", "strata", "groups"])
def test_folds(rng, kind):
    n, k = 103, 5
    strata = rng.choice(3, n, p=[0.6, 0.3, 0.1]) if kind == "strata" else None
    groups = np.array([*"abcdefghij"])[rng.integers(0, 10, n)] if kind == "groups" else None
    found = splits.folds(n, k, strata, groups, np.random.default_rng(0))
    held = np.concatenate([out for _, out in found])
    np.testing.assert_array_equal(np.sort(held), np.arange(n))  # each row once
    for trained, out in found:
        np.testing.assert_array_equal(np.union1d(trained, out), np.arange(n))
        assert len(trained) + len(out) == n
        assert n / k * 0.5 < len(out) < n / k * 1.6
        if groups is not None:
            assert not set(groups[trained]) & set(groups[out])
        if strata is not None:
            for value in range(3):
                share = (strata == value).sum() / k
                assert abs((strata[out] == value).sum() - share) <= 1
    again = splits.folds(n, k, strata, groups, np.random.default_rng(0))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(found, again, strict=True))
    other = splits.folds(n, k, strata, groups, np.random.default_rng(1))
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(found, other, strict=True))


def test_too_few_groups():
    with pytest.raises(ValueError, match="groups: expected at least 2 different ones, got 1"):
        splits.folds(4, 2, None, np.array([*"aaaa"]), np.random.default_rng(0))


# ---------------------------------------------------------------------------- quantiles


def test_quantiles_of_one_group_are_those_of_the_residuals(rng):
    predicted, y = rng.standard_normal((2, 99))
    residuals = Residuals.of(predicted, y)
    assert len(residuals.edges) == 0
    found = residuals.quantiles(np.array([0.0, 7.0]), np.array([0.25, 0.9]))
    rising = np.sort(y - predicted)
    np.testing.assert_allclose(found[0], rising[[24, 89]])  # the 25th and the 90th of 99
    np.testing.assert_allclose(found[1], 7 + rising[[24, 89]])


def test_coverage(rng):
    """As many of new rows are below each quantile as should be, also where errors grow."""
    quantiles = np.array([0.05, 0.25, 0.5, 0.9, 0.95])

    def rows(n):
        predicted = rng.uniform(0, 10, n)
        return predicted, predicted + (0.2 + predicted) * rng.gumbel(size=n)

    residuals = Residuals.of(*rows(4000))
    assert len(residuals.sizes) == recipe.GROUPS
    predicted, y = rows(20000)
    below = y[:, None] <= residuals.quantiles(predicted, quantiles)
    np.testing.assert_allclose(below.mean(axis=0), quantiles, atol=0.015)
    for part in (predicted < 2, predicted > 8):  # one width for all would miss both
        np.testing.assert_allclose(below[part].mean(axis=0), quantiles, atol=0.05)


def test_quantiles_of_predictions_with_ties():
    predicted = np.repeat([0.0, 1.0], [1500, 500])
    residuals = Residuals.of(predicted, predicted + np.tile([-1.0, 1.0], 1000))
    assert residuals.edges.tolist() == [1.0] and residuals.sizes.tolist() == [1500, 500]


# ---------------------------------------------------------------------------- what is drawn


@pytest.mark.parametrize("encoding", sorted(set(recipe.ENCODINGS)))
@pytest.mark.parametrize("classes", [0, 2, 3])
def test_what_a_network_is_made_of(rng, encoding, classes):
    many = recipe.ONE_HOT_UP_TO + 1
    inputs = [
        Input(0, 0, True, 60),
        Input(1, 0, False, 4),
        Input(2, 3, False, 3),
        Input(3, many, False, many),
        Input(1, 4, False, 4, again=True),
    ]
    drawn = recipe.draw(0, 0)._replace(
        encoding=encoding, depth=2, width=5, n_bins=7, dropout=0.1, activation="gelu", codes=False
    )
    model = networks.make(drawn, inputs, classes)
    columns = [rng.random(60), *(rng.integers(0, k, 60) for k in (4, 3, many, 4))]
    X = np.column_stack(columns).astype(float)
    X[rng.random(60) < 0.3, 0] = np.nan
    loss = ("mse", None, "binary_cross_entropy", "cross_entropy")[classes]
    y = rng.random(60) if classes == 0 else np.arange(60) % classes
    model.fit(X, y, loss=loss, optimizer=networks.optimizer(drawn, 60), epochs=1, verbose=0)
    into = model.activations(X)["0"]
    # Of four values, three bins.
    of_numbers = 2 * (1 + recipe.N_FREQUENCIES) if encoding == "periodic" else 2 + 7 + 3
    ends = np.cumsum([of_numbers, 1, 3, recipe.EMBEDDING_UNITS])
    assert into.shape == (60, ends[-1])
    _, missing, codes, vectors, _ = np.split(into, ends, axis=1)
    np.testing.assert_array_equal(missing[:, 0], np.isnan(X[:, 0]))
    np.testing.assert_array_equal(codes, np.eye(3)[X[:, 2].astype(int)])
    (table,) = (p for p in model.named_parameters().values() if len(p) == many)
    np.testing.assert_array_equal(vectors, table[X[:, 3].astype(int)])
    hidden = [fnn.Dense(5), fnn.GELU(), fnn.Dropout(0.1)]
    assert [*model.layers[1:]] == [*hidden, *hidden, fnn.Dense(3 if classes == 3 else 1)]
    assert (model.target_mean_ is not None) == (classes == 0)
    with_codes = networks.make(drawn._replace(codes=True), inputs, classes).build(5)
    assert with_codes.layers[0].units == ends[-1] + 4


def test_many_columns_have_fewer_bins_each():
    inputs = [Input(i, 0, False, 1000) for i in range(100)]
    drawn = recipe.draw(0, 0)._replace(encoding="tree", n_bins=96)
    width = networks.make(drawn, inputs, 0).layers[0].units
    assert width == 100 * (1 + recipe.FEWEST_BINS)
    assert networks.make(drawn, inputs[:8], 0).layers[0].units == 8 + recipe.BINS_IN_ALL


def test_networks_are_drawn_within_the_ranges():
    drawn = [recipe.draw(number, 3) for number in range(300)]
    assert drawn[:10] == [recipe.draw(number, 3) for number in range(10)]
    assert drawn[0] != recipe.draw(0, 4)
    assert {each.depth for each in drawn} == {*recipe.DEPTHS}
    assert {each.width for each in drawn} == {*recipe.WIDTHS}
    assert {each.n_bins for each in drawn} == {*recipe.N_BINS}
    assert {each.activation for each in drawn} == {*recipe.ACTIVATIONS}
    assert {each.dropout for each in drawn} == {*recipe.DROPOUT}
    assert 0.8 < sum(each.codes for each in drawn) / (300 * recipe.CODES_SHARE) < 1.2
    assert [each.encoding for each in drawn[: len(recipe.ENCODINGS)]] == [*recipe.ENCODINGS]
    for name, (low, high) in {
        "lr": recipe.LR,
        "weight_decay": recipe.WEIGHT_DECAY,
        "scale": recipe.SCALE,
    }.items():
        values = np.log([getattr(each, name) for each in drawn])
        assert np.log(low) <= values.min() and values.max() <= np.log(high)
        middle = (np.log(low) + np.log(high)) / 2
        assert abs(values.mean() - middle) < 0.1 * (np.log(high) - np.log(low))
