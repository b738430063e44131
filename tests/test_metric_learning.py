"""Learned metrics beside formulas of the papers, written down for one pair at a time."""

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_same_bits

pytest.importorskip("sklearn", reason="the extra sklearn is not installed")

from scipy.optimize import approx_fprime
from scipy.spatial.distance import mahalanobis
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from pyfast_nn.metric_learning import ITML, LMNN, MMC, NCA, groups, itml, lmnn, mmc, nca
from pyfast_nn.metric_learning.base import factor

pytestmark = pytest.mark.once
METHODS = [NCA(), LMNN(n_neighbors=2), MMC(random_state=0), ITML(random_state=0)]


def name(method):
    return type(method).__name__


@parametrize_with_checks(METHODS)
def test_checks(estimator, check):
    check(estimator)


@pytest.fixture
def few(rng):
    """Thirteen examples of three classes, in no order, and a map to two numbers."""
    y = rng.permutation(np.repeat(["a", "b", "c"], [6, 4, 3]))
    X = rng.standard_normal((13, 3)) + (y == "a")[:, None]
    return X, y, rng.standard_normal((2, 3))


@pytest.fixture(scope="module")
def wine():
    X, y = load_wine(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.fixture(scope="module")
def pairs(wine):
    X, y = wine
    drawn = np.random.default_rng(0).integers(len(X), size=(160, 2))
    return X[drawn], np.where(y[drawn[:, 0]] == y[drawn[:, 1]], 1, -1)


def assert_gradient(objective, at):
    _, gradient = objective(at)
    numeric = approx_fprime(at.ravel(), lambda x: objective(x.reshape(at.shape))[0], 1e-7)
    np.testing.assert_allclose(gradient.ravel(), numeric, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------------- what is minimised


def expected_right_neighbours(X, y, L):
    total = 0
    for i in range(len(X)):
        near = np.exp([-np.sum((L @ (X[i] - x)) ** 2) for x in X])
        near[i] = 0
        total += near[y == y[i]].sum() / near.sum()
    return total


def margin_loss(X, y, L, n_neighbors, pull):
    def distance(i, j):
        return np.sum((L @ (X[i] - X[j])) ** 2)

    loss = 0
    for i in range(len(X)):
        same = [j for j in range(len(X)) if y[j] == y[i] and j != i]
        for t in sorted(same, key=lambda j: np.sum((X[i] - X[j]) ** 2))[:n_neighbors]:
            loss += pull * distance(i, t)
            for other in np.flatnonzero(y != y[i]):
                loss += (1 - pull) * max(0, 1 + distance(i, t) - distance(i, other))
    return loss


@pytest.mark.parametrize("block", [1, 4, 256])
def test_objective_of_nca(few, monkeypatch, block):
    X, y, L = few
    for module in (groups, nca):
        monkeypatch.setattr(module, "BLOCK", block)
    order = groups.grouped(y)
    objective = nca.right_neighbours(X[order.order], order)
    assert -objective(L)[0] == pytest.approx(expected_right_neighbours(X, y, L), rel=1e-12)
    assert_gradient(objective, L)


@pytest.mark.parametrize("block", [1, 4, 256])
@pytest.mark.parametrize("pull", [0.0, 0.3])
def test_objective_of_lmnn(few, monkeypatch, block, pull):
    X, y, L = few
    for module in (groups, lmnn):
        monkeypatch.setattr(module, "BLOCK", block)
    order = groups.grouped(y)
    ordered = X[order.order]
    objective = lmnn.pull_and_push(ordered, order, lmnn.nearest(ordered, order, 2), pull)
    for scale in (1, 0.01, 100):  # some, all and none of the margins are violated
        expected = margin_loss(X, y, scale * L, 2, pull)
        assert objective(scale * L)[0] == pytest.approx(expected, rel=1e-9)
    assert_gradient(objective, L)


def test_nca_is_that_of_scikit_learn(wine):
    X, y = wine
    for n_components, init in ((2, "pca"), (2, "lda"), (None, "identity"), (3, "auto")):
        arguments = {"n_components": n_components, "init": init, "max_iter": 30}
        ours = NCA(**arguments).fit(X, y)
        theirs = NeighborhoodComponentsAnalysis(**arguments, random_state=0).fit(X, y)
        right = [expected_right_neighbours(X, y, each.components_) for each in (ours, theirs)]
        assert right[0] == pytest.approx(right[1], rel=1e-5) and right[0] > 170
        assert ours.transform(X).shape == theirs.transform(X).shape


def test_lmnn_learns(wine):
    X, y = wine
    fitted = LMNN(tol=1e-7).fit(X, y)
    loss = margin_loss(X, y, fitted.components_, 3, 0.5)
    # metric-learn 0.7, its rate of 1e-3, 1,000 iterations: 210.4
    assert loss < 209 < margin_loss(X, y, np.eye(13), 3, 0.5)
    again = LMNN(tol=1e-7, init=fitted.components_).fit(X, y)
    assert margin_loss(X, y, again.components_, 3, 0.5) == pytest.approx(loss, rel=1e-3)


def test_mmc_is_the_maximum(pairs):
    """Of a concave function of the metric, by the gap to its tangent over all feasible metrics."""
    X, signs = pairs
    fitted = MMC(tol=1e-9).fit_pairs(X, signs)
    near, far = (X[signs == sign, 0] - X[signs == sign, 1] for sign in (1, -1))
    assert np.mean(fitted.pair_distance(X[signs == 1]) ** 2) == pytest.approx(1)
    M, S = fitted.get_mahalanobis_matrix(), near.T @ near / len(near)
    distances = np.sqrt(np.einsum("ij,jk,ik->i", far, M, far))
    slope = far.T @ (far / distances[:, None]) / 2
    largest = np.max(np.linalg.eigvals(np.linalg.solve(S, slope)).real)
    gap = largest - np.sum(slope * M)  # what any metric could gain, at most
    assert 0 <= gap + 1e-9 < 1e-5 * distances.sum()
    assert_gradient(mmc.spread(far), np.eye(13) + 0.1)


def project_in_turn(near, far, bounds, gamma, sweeps):
    """Algorithm 1 of Davis et al., from the identity."""
    A = np.eye(near.shape[1])
    V = np.concatenate([near, far])
    delta = np.repeat([1, -1], [len(near), len(far)])
    slack = np.repeat(bounds, [len(near), len(far)])
    dual = np.zeros(len(V))
    for _ in range(sweeps):
        for i, v in enumerate(V):
            p = v @ A @ v
            alpha = min(dual[i], delta[i] * gamma / (gamma + 1) * (1 / p - 1 / slack[i]))
            beta = delta[i] * alpha / (1 - delta[i] * alpha * p)
            slack[i] = gamma * slack[i] / (gamma + delta[i] * alpha * slack[i])
            dual[i] -= alpha
            A += beta * np.outer(A @ v, v @ A)
    return A


@pytest.mark.parametrize("gamma", [0.2, 2.0])
def test_itml_is_where_the_paper_ends(rng, gamma):
    X, bounds = rng.standard_normal((30, 2, 3)), np.array([1.5, 4.0])
    signs = np.repeat([1, -1], 15)
    fitted = ITML(gamma=gamma, bounds=bounds, tol=1e-12).fit_pairs(X, signs)
    near, far = (X[signs == sign, 0] - X[signs == sign, 1] for sign in (1, -1))
    expected = project_in_turn(near, far, bounds, gamma, sweeps=2000)
    np.testing.assert_allclose(fitted.get_mahalanobis_matrix(), expected, atol=2e-5)
    np.testing.assert_array_equal(fitted.bounds_, bounds)
    M = rng.standard_normal((3, 3))
    assert_gradient(itml.divergence(np.concatenate([near, far]), 15, np.diag([1, 2, 3]), gamma), M)


def test_itml_stays_at_a_prior_that_fits(rng):
    root = rng.standard_normal((4, 4))
    prior = root @ root.T + np.eye(4)
    X, signs = rng.standard_normal((20, 2, 4)), np.repeat([1, -1], 10)
    fitted = ITML(prior=prior, bounds=(1e9, 1e-9)).fit_pairs(X, signs)
    np.testing.assert_allclose(fitted.get_mahalanobis_matrix(), prior, rtol=1e-4, atol=1e-4)
    points = X.reshape(-1, 4)
    distances = [
        mahalanobis(a, b, prior) ** 2 for i, a in enumerate(points) for b in points[i + 1 :]
    ]
    bounds = ITML(prior=prior).fit_pairs(X, signs).bounds_
    np.testing.assert_allclose(bounds, np.percentile(distances, (5, 95)))


# ---------------------------------------------------------------------------- what users call


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_distances(wine, method):
    X, y = wine
    method = method.fit(X, y)
    M = method.get_mahalanobis_matrix()
    some = np.stack([X[:5], X[5:10]], axis=1)
    expected = [mahalanobis(a, b, M) for a, b in some]
    np.testing.assert_allclose(method.pair_distance(some), expected)
    np.testing.assert_array_equal(method.pair_score(some), -method.pair_distance(some))
    a, b = method.transform(some[:, 0]), method.transform(some[:, 1])
    np.testing.assert_allclose(np.linalg.norm(a - b, axis=1), expected)
    assert method.get_feature_names_out()[0] == f"{name(method).lower()}0"


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_any_order_of_labels_and_any_number_of_threads(wine, method, restore_threads):
    X, y = wine
    fits = []
    for threads in (1, 3):
        fnn.set_num_threads(threads)
        fits.append(method.fit(X, np.array(["b", "c", "a"])[y]).components_)
    assert_same_bits(*fits)


def test_pairs_that_are_drawn(rng):
    """Each example as often as any, with each that it goes with as often."""
    y = np.array([2, 0, 1, 2, 2, 0, 3])
    X = np.arange(7.0)[:, None]
    alike, apart = MMC(n_constraints=40_000, random_state=0)._draw(X, y)
    for drawn, goes in (
        (alike, lambda i, j: y[i] == y[j] and i != j),
        (apart, lambda i, j: y[i] != y[j]),
    ):
        count = np.zeros((7, 7))
        np.add.at(count, tuple(drawn[:, :, 0].T.astype(int)), 1)
        expected = np.array([[float(goes(i, j)) for j in range(7)] for i in range(7)])
        partners = expected.sum(axis=1, keepdims=True)
        expected /= np.maximum(partners, 1) * np.count_nonzero(partners)
        np.testing.assert_allclose(count / 40_000, expected, atol=0.01)
        assert (count[expected == 0] == 0).all()


@pytest.mark.parametrize("method", METHODS[2:], ids=name)
def test_equal_examples_that_are_not_alike(pairs, method):
    X, signs = pairs
    expected = method.fit_pairs(X, signs).components_
    twins = np.stack([X[:5, 0], X[:5, 0]], axis=1)
    found = method.fit_pairs(np.concatenate([X, twins]), np.r_[signs, -np.ones(5)]).components_
    assert_same_bits(found, expected)


def test_axes_are_in_order(rng):
    root = rng.standard_normal((5, 5))
    L = factor(root @ root.T)
    np.testing.assert_allclose(L.T @ L, root @ root.T)
    lengths = np.linalg.norm(L, axis=1)
    assert (np.diff(lengths) < 0).all() and np.abs(L @ L.T - np.diag(lengths**2)).max() < 1e-12


@pytest.mark.parametrize(
    ("method", "match"),
    [
        (NCA(n_components=0), "n_components: expected an integer from 1 to 13, got 0"),
        (NCA(n_components=14), "n_components: expected an integer from 1 to 13, got 14"),
        (NCA(init="pcs"), "init: expected one of auto, pca, lda, identity, got 'pcs'"),
        (NCA(init=np.eye(3)), r"init: expected .* shape \(n_components, 13\), got an array"),
        (NCA(2, init=np.eye(3, 13)), r"init: expected .* shape \(2, 13\), got an array"),
        (NCA(max_iter=0), "max_iter: expected an integer from 1"),
        (NCA(tol=-1), "tol: expected a finite number >= 0, got -1"),
        (LMNN(n_neighbors=48), "n_neighbors: expected fewer than .* got 48 where one has 48"),
        (LMNN(regularization=1), "regularization: expected .* >= 0 and < 1, got 1"),
        (MMC(n_constraints=0), "n_constraints: expected an integer from 1"),
        (MMC(n_constraints=5), "pairs: expected ones alike that differ wherever others do"),
        (ITML(gamma=0), "gamma: expected a finite number > 0, got 0"),
        (ITML(bounds=(1,)), "bounds: expected a pair"),
        (ITML(bounds=(0, 1)), "bounds: expected a finite number > 0, got 0"),
        (ITML(prior="covariance"), "prior: expected real numbers"),
        (NCA(init=[["a"] * 13]), "init: expected real numbers"),
        (ITML(prior=-np.eye(13)), "prior: expected None or a symmetric and positive definite"),
        (ITML(prior=np.eye(2)), r"prior: .* shape \(13, 13\), got an array of shape \(2, 2\)"),
    ],
    ids=repr,
)
def test_what_is_impossible(wine, method, match):
    with pytest.raises((TypeError, ValueError), match=match):
        method.fit(*wine)


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_squares_that_overflow(wine, method):
    X, y = wine
    with pytest.raises(ValueError, match="X: expected numbers whose squares have a finite sum"):
        method.fit(X * 1e160, y)


def test_squares_that_underflow(wine):
    X, y = wine
    with pytest.raises(ValueError, match=r"bounds: expected .* 5th percentile; StandardScaler"):
        ITML().fit(X * 1e-170, y)


def test_pairs_have_no_names(wine, pairs):
    frame = pytest.importorskip("pandas").DataFrame(wine[0]).add_prefix("column")
    method = ITML(max_iter=1000).fit(frame, wine[1]).fit_pairs(*pairs)
    assert not hasattr(method, "feature_names_in_")
    method.transform(wine[0])  # without a warning


def test_pairs_that_are_impossible(pairs):
    X, signs = pairs
    with pytest.raises(ValueError, match=r"pairs: expected .* \(n_pairs, 2, n_features\), got sh"):
        ITML().fit_pairs(X[:, :1], signs)
    with pytest.raises(ValueError, match="y: expected 160 signs, got an array"):
        ITML().fit_pairs(X, signs[1:])
    with pytest.raises(ValueError, match="y: expected -1 and 1, got "):
        ITML().fit_pairs(X, signs == 1)
    with pytest.raises(ValueError, match="pairs: expected some not alike that differ"):
        MMC().fit_pairs(np.where(signs[:, None, None] == 1, X, X[:, :1]), signs)
    with pytest.raises(ValueError, match="pairs: expected some not alike that differ"):
        ITML().fit_pairs(np.ones((2, 2, 3)), [1, -1])
    with pytest.raises(ValueError, match="pairs: expected numbers whose squares have a finite sum"):
        ITML().fit_pairs(X * 1e160, signs)
    with pytest.raises(
        ValueError, match=r"y: expected more than one .* labels \[0, 1, 2, 3\] of 4"
    ):
        MMC().fit(X[:4, 0], [0, 1, 2, 3])
    with pytest.raises(NotFittedError):
        ITML().pair_distance(X)
    with pytest.raises(ValueError, match=r"shape \(n_pairs, 2, 13\), got shape \(160, 2, 12\)"):
        ITML().fit_pairs(X, signs).pair_distance(X[:, :, 1:])
    with pytest.warns(ConvergenceWarning, match="ITML has not converged after 1 iterations"):
        ITML(max_iter=1).fit_pairs(X, signs)
