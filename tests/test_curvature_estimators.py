"""Estimators over operators known by their products, against dense matrices by numpy.linalg."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import pyfast_nn as fnn
from conftest import FULL, assert_same_bits
from pyfast_nn import _core
from pyfast_nn.curvature import (
    SpectralDensity,
    condition_number,
    hutch_pp,
    hutchinson_diagonal,
    hutchinson_trace,
    spectral_density,
    top_eigenpairs,
    xdiag,
    xtrace,
)

pytestmark = pytest.mark.once

N = 60
SPECTRA = {
    "flat": np.linspace(1, 3, N),
    "decaying": np.arange(1, N + 1.0) ** -2,
    "fast": 0.6 ** np.arange(N),
    "low rank": np.r_[np.linspace(1, 2, 7), np.zeros(N - 7)],
    "indefinite": np.r_[np.linspace(-1, 2, N - 3), -20, 10, 40],
}
spectra = pytest.mark.parametrize("name", SPECTRA)

TRACES = [hutchinson_trace, hutch_pp, xtrace]
DIAGONALS = [hutchinson_diagonal, xdiag]
ESTIMATORS = TRACES + DIAGONALS
estimators = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda f: f.__name__)


def symmetric(eigenvalues, seed=0):
    """A dense matrix with these eigenvalues and random eigenvectors."""
    n = len(eigenvalues)
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    A = (Q * eigenvalues) @ Q.T
    return (A + A.T) / 2


class Counted:
    """An operator by duck typing, which counts its products and keeps the widths of its blocks."""

    def __init__(self, A):
        self.A, self.shape, self.dtype = A, A.shape, A.dtype
        self.widths = []

    def matmat(self, V):
        assert V.dtype == self.dtype and V.flags.f_contiguous
        self.widths.append(V.shape[1])
        return self.A @ V

    @property
    def num_matvecs(self):
        return sum(self.widths)


class CountedForm(Counted):
    """One that gives quadratic forms, and nothing else."""

    def matmat(self, V):
        raise AssertionError("quadratic_form is cheaper")

    def quadratic_form(self, V):
        self.widths.append(V.shape[1])
        return np.sum(V * (self.A @ V), axis=0)


def rms(errors):
    return np.sqrt(np.mean(np.square(errors)))


class TestHutchinson:
    @spectra
    @pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
    def test_variance_is_that_of_the_formula(self, name, distribution):
        A = symmetric(SPECTRA[name])
        m = 20_000
        estimate = hutchinson_trace(
            A, num_matvecs=m, distribution=distribution, batch_size=5000, seed=1
        )
        off = A - np.diag(np.diag(A))
        variance = 2 * np.sum((off if distribution == "rademacher" else A) ** 2)
        assert estimate.samples.shape == (m,) and estimate.samples.dtype == np.float64
        assert np.isclose(estimate.samples.var(), variance, rtol=0.1)
        assert abs(estimate.value - np.trace(A)) < 4 * np.sqrt(variance / m)
        assert np.isclose(estimate.std_error, estimate.samples.std(ddof=1) / np.sqrt(m), rtol=1e-12)
        assert estimate.value == estimate.samples.mean()

    @pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
    @pytest.mark.parametrize(("name", "rate"), [("flat", 0.95), ("decaying", 0.91)])
    def test_interval_covers_at_its_rate(self, distribution, name, rate):
        """95 % intervals by Student's t, at a fixed number of probes, over 1,000 seeds."""
        A = symmetric(SPECTRA[name])
        m, seeds = 24, 10_000 if FULL else 1000
        t = scipy.stats.t.ppf(0.975, m - 1)
        estimates = [
            hutchinson_trace(A, num_matvecs=m, distribution=distribution, seed=seed)
            for seed in range(seeds)
        ]
        covered = sum(abs(e.value - np.trace(A)) <= t * e.std_error for e in estimates)
        assert abs(covered / seeds - rate) < 4 * np.sqrt(rate * (1 - rate) / seeds)
        off_by = np.mean([e.value for e in estimates]) - np.trace(A)
        assert abs(off_by) < 4 * rms([e.std_error for e in estimates]) / np.sqrt(seeds)

    @pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
    def test_variance_of_the_diagonal(self, distribution):
        A = symmetric(SPECTRA["indefinite"])
        m = 20_000
        estimate = hutchinson_diagonal(
            A, num_matvecs=m, distribution=distribution, batch_size=3000, seed=1
        )
        own = np.diag(A) ** 2
        variance = np.sum(A**2, axis=1) + (own if distribution == "gaussian" else -own)
        np.testing.assert_allclose(estimate.std_error, np.sqrt(variance / m), rtol=0.06)
        assert np.all(abs(estimate.value - np.diag(A)) < 5 * estimate.std_error)
        assert estimate.samples is None

    def test_running_moments_are_those_of_all_samples(self):
        """Blocks of the diagonal are merged as if they had been one."""
        A = symmetric(SPECTRA["flat"])
        whole = hutchinson_diagonal(A, num_matvecs=50, batch_size=50)
        for batch_size in (1, 7):
            parts = hutchinson_diagonal(A, num_matvecs=50, batch_size=batch_size)
            np.testing.assert_allclose(parts.value, whole.value, rtol=1e-12)
            np.testing.assert_allclose(parts.std_error, whole.std_error, rtol=1e-11)

    def test_quadratic_forms_are_used_where_offered(self):
        A = symmetric(SPECTRA["flat"])
        operator = CountedForm(A)
        estimate = hutchinson_trace(operator, num_matvecs=40)
        assert operator.num_matvecs == estimate.num_matvecs == 40
        np.testing.assert_allclose(
            estimate.samples, hutchinson_trace(A, num_matvecs=40).samples, rtol=1e-12
        )

    def test_trace_without_symmetry(self, rng):
        A = symmetric(SPECTRA["flat"]) + np.triu(rng.standard_normal((N, N)), 1)
        estimate = hutchinson_trace(A, num_matvecs=1000)
        assert abs(estimate.value - np.trace(A)) < 4 * estimate.std_error


def best_tail(eigenvalues, k):
    """Bound of E |A - QQ'A|_F^2 for the range Q of A times k normal vectors, at the best rank.

    N. Halko, P.-G. Martinsson, J. A. Tropp (2011), SIAM Review 53(2), theorem 10.5.
    """
    squares = np.sort(eigenvalues**2)[::-1]
    return min((1 + r / (k - r - 1)) * squares[r:].sum() for r in range(k - 1))


class TestSketches:
    SEEDS = 1000 if FULL else 120

    def runs(self, estimator, A, num_matvecs):
        return [estimator(A, num_matvecs=num_matvecs, seed=seed) for seed in range(self.SEEDS)]

    @spectra
    def test_variance_promise_of_hutch_pp(self, name):
        A, k = symmetric(SPECTRA[name]), 10
        runs = self.runs(hutch_pp, A, 3 * k)
        error = rms([run.value - np.trace(A) for run in runs])
        rounding = 1e-13 * np.abs(SPECTRA[name]).sum()
        assert error <= 1.15 * np.sqrt(2 / k * best_tail(SPECTRA[name], k)) + rounding
        if name != "low rank":
            assert 0.7 < rms([run.std_error for run in runs]) / error < 1.4

    @spectra
    def test_variance_promise_of_xtrace(self, name):
        A, k = symmetric(SPECTRA[name]), 15
        runs = self.runs(xtrace, A, 2 * k)
        error = rms([run.value - np.trace(A) for run in runs])
        rounding = 1e-13 * np.abs(SPECTRA[name]).sum()
        # The dimension that is left is known, so sizes of u do not vary: (n - k + 1) / |u|^2.
        assert error <= 1.15 * np.sqrt(2 / k * best_tail(SPECTRA[name], k - 1)) + rounding
        if name != "low rank":
            assert 0.5 < rms([run.std_error for run in runs]) / error < 1.4

    @pytest.mark.parametrize("estimator", [hutch_pp, xtrace], ids=lambda f: f.__name__)
    @pytest.mark.parametrize(
        ("name", "factor"),
        [
            ("flat", 3.0),
            ("indefinite", 0.8),
            ("decaying", 0.05),
            ("fast", 0.05),
            ("low rank", 1e-12),
        ],
    )
    def test_beside_hutchinson(self, name, factor, estimator):
        """With the same number of products."""
        A = symmetric(SPECTRA[name])
        errors = {
            f: rms([run.value - np.trace(A) for run in self.runs(f, A, 30)])
            for f in (estimator, hutchinson_trace)
        }
        assert errors[estimator] < factor * errors[hutchinson_trace]

    @pytest.mark.parametrize("estimator", [hutch_pp, xtrace], ids=lambda f: f.__name__)
    def test_unbiased(self, estimator):
        A = symmetric(SPECTRA["indefinite"])
        values = np.array([run.value for run in self.runs(estimator, A, 18)])
        assert abs(values.mean() - np.trace(A)) < 4 * values.std() / np.sqrt(len(values))

    def test_relative_error_of_hutch_pp_falls_as_one_over_products(self):
        """For the worst case of its theory, rank k beside a flat rest: half with twice as many."""
        lam = 1 / np.arange(1.0, 201)
        A = symmetric(lam)
        errors = [
            rms([hutch_pp(A, num_matvecs=m, seed=s).value - lam.sum() for s in range(60)])
            for m in (15, 30, 60)
        ]
        assert errors[1] < 0.6 * errors[0] and errors[2] < 0.6 * errors[1]

    @spectra
    def test_xdiag(self, name):
        A, k = symmetric(SPECTRA[name]), 15
        exact, size = np.diag(A), np.linalg.norm(np.diag(A))
        runs = self.runs(xdiag, A, 2 * k)
        errors = np.array([run.value for run in runs]) - exact
        error = np.sqrt(np.mean(np.sum(errors**2, axis=1)))
        assert np.all(
            abs(errors.mean(axis=0)) < 5 * errors.std(axis=0) / np.sqrt(self.SEEDS) + 1e-13
        )
        plain = rms(
            [np.linalg.norm(run.value - exact) for run in self.runs(hutchinson_diagonal, A, 2 * k)]
        )
        factor = {"flat": 4, "indefinite": 0.7, "decaying": 0.06, "fast": 0.02, "low rank": 1e-12}
        assert error < factor[name] * plain
        if name != "low rank":
            claimed = rms([np.linalg.norm(run.std_error) for run in runs])
            assert 0.5 < claimed / error < 1.4
        else:
            assert error < 1e-13 * size

    def test_xtrace_is_the_mean_over_each_vector_left_out(self):
        """The definition, with a projector of its own for every vector."""
        A, k = symmetric(SPECTRA["indefinite"]), 7
        Omega = blocks(A, xtrace, 2 * k)[0]
        samples = []
        for i, w in enumerate(Omega.T):
            Q = np.linalg.qr(A @ np.delete(Omega, i, axis=1))[0]
            u = w - Q @ (Q.T @ w)
            u *= np.sqrt(N - k + 1) / np.linalg.norm(u)
            samples.append(np.trace(Q.T @ A @ Q) + u @ A @ u)
        estimate = xtrace(A, num_matvecs=2 * k)
        np.testing.assert_allclose(estimate.samples, samples, rtol=1e-10)
        assert estimate.value == estimate.samples.mean()
        assert np.isclose(estimate.std_error, np.std(samples, ddof=1) / np.sqrt(k), rtol=1e-9)

    def test_xdiag_is_the_mean_over_each_vector_left_out(self):
        A, k = symmetric(SPECTRA["indefinite"]), 7
        Omega = blocks(A, xdiag, 2 * k)[0]
        samples = []
        for i, w in enumerate(Omega.T):
            Q = np.linalg.qr(A @ np.delete(Omega, i, axis=1))[0]
            PA = Q @ (Q.T @ A)
            samples.append(np.diag(PA) + w * (A @ w - PA @ w))
        estimate = xdiag(A, num_matvecs=2 * k)
        np.testing.assert_allclose(estimate.value, np.mean(samples, axis=0), rtol=1e-10)
        np.testing.assert_allclose(
            estimate.std_error, np.std(samples, axis=0, ddof=1) / np.sqrt(k), rtol=1e-9
        )

    def test_hutch_pp_by_its_definition(self):
        A = symmetric(SPECTRA["indefinite"])
        Omega, Q, G = blocks(A, hutch_pp, 23)
        assert Omega.shape[1] == 7 and G.shape[1] == 9
        assert not (Omega[:, :, None] == G[:, None, :]).all(axis=0).any()  # vectors of their own
        Q = np.linalg.qr(A @ Omega)[0]
        U = G - Q @ (Q.T @ G)
        samples = np.trace(Q.T @ A @ Q) + np.sum(U * (A @ U), axis=0)
        np.testing.assert_allclose(hutch_pp(A, num_matvecs=23).samples, samples, rtol=1e-10)

    @pytest.mark.parametrize("rank", [0, 1, 3, 12])
    @pytest.mark.parametrize("estimator", [hutch_pp, xtrace, xdiag], ids=lambda f: f.__name__)
    def test_low_rank_is_exact_however_the_basis_grows(self, rank, estimator, dtype):
        A = symmetric(np.r_[np.linspace(1, 2, rank), np.zeros(N - rank)]).astype(dtype)
        exact = np.diag(A).astype(float) if estimator is xdiag else A.trace(dtype=float)
        eps = float(np.finfo(dtype).eps)
        for stop in ({"num_matvecs": 60}, {"rtol": 20 * eps, "max_matvecs": 100}):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                estimate = estimator(A, **stop)
            assert np.all(abs(estimate.value - exact) <= 200 * eps * max(rank, 1))
            assert np.all(estimate.std_error <= 100 * eps)
            assert np.all(np.isfinite(estimate.value))


def blocks(A, estimator, num_matvecs):
    """The blocks of vectors that an estimator multiplies by A."""
    seen = []

    def matmat(V):
        seen.append(V.copy())
        return A @ V

    operator = LinearOperator(A.shape, matvec=None, matmat=matmat, dtype=A.dtype)
    estimator(operator, num_matvecs=num_matvecs, batch_size=100)
    return seen


class TestStops:
    @estimators
    @pytest.mark.parametrize("num_matvecs", [3, 4, 7, 16, 33, 40])
    def test_number_of_products(self, estimator, num_matvecs):
        operator = Counted(symmetric(SPECTRA["flat"]))
        estimate = estimator(operator, num_matvecs=num_matvecs, batch_size=6)
        expected = num_matvecs - num_matvecs % 2 if estimator in (xtrace, xdiag) else num_matvecs
        assert operator.num_matvecs == estimate.num_matvecs == expected
        assert max(operator.widths) <= 6
        assert estimate.converged is True

    @estimators
    def test_more_products_than_max_matvecs_if_asked_for(self, estimator):
        estimate = estimator(symmetric(SPECTRA["flat"]), num_matvecs=36, max_matvecs=12)
        assert estimate.num_matvecs == 36 and estimate.converged

    @estimators
    @spectra
    def test_relative_standard_error(self, estimator, name):
        operator = Counted(symmetric(SPECTRA[name]))
        estimate = estimator(operator, rtol=0.1, max_matvecs=10_000)
        assert estimate.converged is True
        size = np.linalg.norm(estimate.value)
        assert np.linalg.norm(estimate.std_error) <= 0.1 * size
        diagonal = np.diag(operator.A)
        exact = diagonal if estimator in DIAGONALS else diagonal.sum()
        assert np.linalg.norm(estimate.value - exact) < 0.4 * np.linalg.norm(exact)
        assert operator.num_matvecs == estimate.num_matvecs >= 8

    def test_no_earlier_and_no_later_than_the_block_that_reaches_it(self):
        A = symmetric(SPECTRA["decaying"])
        estimate = hutchinson_trace(A, rtol=0.05, batch_size=20, max_matvecs=10_000)
        before = hutchinson_trace(A, num_matvecs=estimate.num_matvecs - 20)
        assert estimate.num_matvecs > 100
        assert estimate.std_error <= 0.05 * estimate.value
        assert before.std_error > 0.05 * before.value
        assert_same_bits(estimate.samples[:-20], before.samples)

    @estimators
    def test_max_matvecs_warns(self, estimator):
        operator = Counted(symmetric(SPECTRA["flat"]))
        with pytest.warns(RuntimeWarning, match="stopped at max_matvecs=30 before rtol") as caught:
            estimate = estimator(operator, rtol=1e-9, max_matvecs=30)
        assert caught[0].filename == __file__
        assert operator.num_matvecs == estimate.num_matvecs == 30
        assert estimate.converged is False
        assert np.linalg.norm(estimate.std_error) > 1e-9 * np.linalg.norm(estimate.value)

    @pytest.mark.alone
    @estimators
    def test_time(self, estimator):
        A = symmetric(SPECTRA["flat"])

        def slow(V):
            time.sleep(0.02)
            return A @ V

        operator = LinearOperator(A.shape, matvec=None, matmat=slow, dtype=A.dtype)
        for rtol, converged in ((None, True), (1e-9, False)):
            start = time.perf_counter()
            estimate = estimator(operator, time_limit=0.03, rtol=rtol, batch_size=4)
            assert time.perf_counter() - start >= 0.03
            assert estimate.converged is converged
            assert estimate.num_matvecs < 100

    def test_max_matvecs_before_the_time(self):
        with pytest.warns(RuntimeWarning, match="max_matvecs=50 before time_limit"):
            estimate = hutchinson_trace(np.eye(3), time_limit=1e6, max_matvecs=50)
        assert estimate.num_matvecs == 50 and not estimate.converged

    def test_one_sample_has_no_error(self):
        A = symmetric(SPECTRA["flat"])
        for estimate in (
            hutchinson_trace(A, num_matvecs=1),
            hutchinson_diagonal(A, num_matvecs=1),
            hutch_pp(A, num_matvecs=3),
            xtrace(A, num_matvecs=2),
            xdiag(A, num_matvecs=3),
        ):
            assert np.all(np.isfinite(estimate.value)) and np.all(np.isnan(estimate.std_error))

    def test_few_samples_that_agree_by_chance_are_not_believed(self):
        """Of [[0, 1], [1, 0]] every sample is 2 or -2: two that agree have no spread."""
        A = np.array([[1.0, 1.0], [1.0, 1.0]])
        for seed in range(20):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                estimate = hutchinson_trace(A, rtol=0.3, batch_size=2, seed=seed)
            assert estimate.num_matvecs >= 8

    @pytest.mark.parametrize("n", [1, 2, 3, 9])
    @pytest.mark.parametrize("estimator", [hutch_pp, xtrace, xdiag], ids=lambda f: f.__name__)
    def test_a_complete_basis_is_exact(self, n, estimator):
        A = symmetric(np.linspace(-1, 2, n))
        exact = np.diag(A) if estimator is xdiag else np.trace(A)
        for stop in ({"num_matvecs": 100}, {"rtol": 1e-13}):
            operator = Counted(A)
            estimate = estimator(operator, **stop)
            np.testing.assert_allclose(estimate.value, exact, atol=1e-14)
            assert np.all(estimate.std_error == 0) and estimate.converged is True
            assert estimate.num_matvecs == operator.num_matvecs <= 3 * n

    @pytest.mark.parametrize(
        ("arguments", "error", "match"),
        [
            ({}, ValueError, "num_matvecs: expected either it, or rtol or time_limit"),
            ({"rtol": 0.1, "num_matvecs": 5}, ValueError, "num_matvecs: expected either it"),
            ({"time_limit": 0.1, "num_matvecs": 5}, ValueError, "num_matvecs: expected either it"),
            ({"rtol": 0}, ValueError, "rtol: expected .* > 0"),
            ({"rtol": "1 %"}, TypeError, "rtol: expected a number"),
            ({"time_limit": -1}, ValueError, "time_limit"),
            ({"num_matvecs": 0}, ValueError, "num_matvecs: expected an integer from"),
            ({"num_matvecs": 2.5}, TypeError, "num_matvecs"),
            ({"rtol": 0.1, "max_matvecs": 0}, ValueError, "max_matvecs"),
            ({"num_matvecs": 4, "batch_size": 0}, ValueError, "batch_size"),
            ({"num_matvecs": 4, "seed": -1}, ValueError, "seed"),
            ({"num_matvecs": 4, "n": 3}, ValueError, "n: expected 5, as A has shape"),
        ],
    )
    @estimators
    def test_impossible(self, estimator, arguments, error, match):
        with pytest.raises(error, match=match):
            estimator(np.eye(5), **arguments)

    @pytest.mark.parametrize("estimator", [hutchinson_trace, hutchinson_diagonal])
    def test_impossible_distribution(self, estimator):
        with pytest.raises(ValueError, match="distribution: expected one of rademacher, gaussian"):
            estimator(np.eye(5), num_matvecs=4, distribution="uniform")


class TestSpectralDensity:
    @spectra
    def test_moments_of_one_vector_are_exact(self, name):
        """v'A^d v / v'v for d up to 2 m - 1, and not beyond."""
        A, m = symmetric(SPECTRA[name]), 5
        v = blocks_of_density(A)[:, 0]
        spectrum = spectral_density(A, num_probes=1, lanczos_steps=m)
        size = np.abs(SPECTRA[name]).max()
        power = v
        for degree in range(2 * m + 2):
            exact, value = v @ power / (v @ v), spectrum.moment(degree).value
            if degree < 2 * m:
                assert abs(value - exact) < 1e-12 * size**degree
            power = A @ power
        if name != "low rank":
            assert abs(value - exact) > 1e-12 * size**degree

    @spectra
    def test_all_steps_have_no_error_but_that_of_the_vectors(self, name):
        """Weights and nodes of a full run are eigenvalues and squared shares of the vector."""
        A = symmetric(SPECTRA[name])
        eigenvalues, eigenvectors = np.linalg.eigh(A)
        V = blocks_of_density(A, num_probes=3)
        spectrum = spectral_density(A, num_probes=3, lanczos_steps=2 * N)
        shares = (eigenvectors.T @ V) ** 2 / np.sum(V**2, axis=0)
        f = lambda x: np.exp(0.1 * x)  # noqa: E731
        np.testing.assert_allclose(
            spectrum.spectral_sum(f).samples, N * f(eigenvalues) @ shares, rtol=1e-11
        )
        for x in (eigenvalues[:-1] + eigenvalues[1:])[np.diff(eigenvalues) > 1e-3] / 2:
            exact = shares[eigenvalues <= x].sum(axis=0).mean()
            assert abs(spectrum.cdf(x) - exact) < 1e-8

    def test_reorthogonalisation(self):
        """Without it the largest eigenvalue would appear again and again."""
        lam = np.r_[np.linspace(0, 1, 99), 100.0]
        spectrum = spectral_density(symmetric(lam), num_probes=4, lanczos_steps=100)
        assert np.all(np.sum(spectrum.nodes > 50, axis=1) == 1)
        np.testing.assert_allclose(spectrum.nodes, np.tile(lam, (4, 1)), atol=1e-9)

    def test_vectors_are_orthogonal(self, dtype, monkeypatch):
        """Up to half the digits; what a step expects of a row that it leaves is near the truth."""
        eps = np.finfo(dtype).eps
        ratios, step = [], _core.lanczos_step

        def watched(basis, probe, *rest):
            alpha, state = step(basis, probe, *rest)
            scale, noise, growth = state[1:4]
            rows = basis[:, probe].astype(float)
            along = np.abs(rows[:-1] @ rows[-1]).max()
            assert along < (np.sqrt(eps) if growth else 20 * eps)
            if growth:
                ratios.append(along / (growth * max(noise, eps * scale)))
            return alpha, state

        monkeypatch.setattr(_core, "lanczos_step", watched)
        lam = np.r_[np.linspace(0, 1, 280), 30 * np.linspace(0, 1, 20) ** 3]
        spectral_density(symmetric(lam).astype(dtype), num_probes=2, lanczos_steps=60)
        # In double precision several rows are left before all are read.
        assert len(ratios) > {"float32": 40, "float64": 70}[dtype]
        assert np.max(ratios) < 10 and np.median(ratios) > 1e-3

    def test_vectors_are_orthogonal_where_few_eigenvalues_are_large(self, monkeypatch):
        """Vectors that were left show in those that are made orthogonal later, in one reading."""
        n, along, step = 300, [], _core.lanczos_step

        def watched(basis, probe, *rest):
            alpha, state = step(basis, probe, *rest)
            if state[0] > rest[2] * state[1]:
                along.append(np.abs(basis[:-1, probe] @ basis[-1, probe]).max())
            return alpha, state

        monkeypatch.setattr(_core, "lanczos_step", watched)
        for seed in range(400) if FULL else (234, 341, 32):  # with one reading 4e3 for 234
            rng = np.random.default_rng(seed)
            large, size = int(rng.integers(5, 35)), 10 ** rng.uniform(-9, -7)
            lam = np.logspace(-rng.uniform(1, 7), 0, large)
            A = symmetric(np.r_[lam, size * rng.standard_normal(n - large)], seed=1)
            spectral_density(A, num_probes=1, lanczos_steps=100)
        assert np.max(along) < 10 * np.sqrt(np.finfo(float).eps)

    @pytest.mark.parametrize("inexact", ["float32", "11 bits", "not quite symmetric"])
    def test_products_less_exact_than_the_vectors(self, inexact):
        """Nodes are off by the error of products, and not by what that would grow to."""
        A = symmetric(10.0 ** (-0.2 * np.arange(200)))
        error = {"float32": 1e-6, "11 bits": 1e-3, "not quite symmetric": 1e-5}[inexact]
        rng = np.random.default_rng(4)
        products = {
            "float32": lambda v: A.astype(np.float32) @ v.astype(np.float32),
            "11 bits": lambda v: rounded(A @ v, 11),
            "not quite symmetric": (
                A + 1e-6 * rng.normal(size=A.shape) / np.sqrt(len(A))
            ).__matmul__,
        }
        spectrum = spectral_density(products[inexact], n=len(A))
        exact = spectral_density(A)
        assert spectrum.nodes.min() > -error and spectrum.nodes.max() < 1 + error
        for function in (np.square, np.exp):
            np.testing.assert_allclose(
                spectrum.spectral_sum(function).samples,
                exact.spectral_sum(function).samples,
                atol=error * len(A),
            )

    def test_error_bars_cover(self):
        """Every function of the spectrum, over 200 seeds, by Student's t."""
        lam = SPECTRA["decaying"] * 10 + 0.01
        A, d = symmetric(lam), 0.5
        exact = {
            "log_determinant": np.linalg.slogdet(A + d * np.eye(N))[1],
            "trace_inverse": np.trace(np.linalg.inv(A + d * np.eye(N))),
            "effective_dimension": np.trace(A @ np.linalg.inv(A + d * np.eye(N))),
        }
        t, seeds = scipy.stats.t.ppf(0.95, 7), 2000 if FULL else 200
        spectra = [spectral_density(A, lanczos_steps=16, seed=seed) for seed in range(seeds)]
        for name, value in exact.items():
            estimates = [getattr(spectrum, name)(d) for spectrum in spectra]
            covered = np.mean([abs(e.value - value) <= t * e.std_error for e in estimates])
            assert abs(covered - 0.9) < 4 * np.sqrt(0.9 * 0.1 / seeds), name
            mean = np.mean([e.value for e in estimates])
            assert abs(mean / value - 1) < 0.01, name

    def test_without_damping(self):
        A = symmetric(SPECTRA["flat"])
        spectrum = spectral_density(A, num_probes=30)
        for estimate, exact in (
            (spectrum.log_determinant(), np.linalg.slogdet(A)[1]),
            (spectrum.trace_inverse(), np.trace(np.linalg.inv(A))),
            (spectrum.effective_dimension(0), N),
        ):
            assert abs(estimate.value - exact) <= 4 * estimate.std_error + 1e-9
            assert estimate.samples.shape == (30,) and estimate.num_matvecs == spectrum.num_matvecs

    def test_density_and_distribution(self):
        spectrum = spectral_density(symmetric(SPECTRA["indefinite"]), num_probes=20)
        width = 0.5
        grid = np.linspace(-30, 50, 4001)
        density = spectrum.density(grid, width)
        assert density.shape == grid.shape and np.all(density >= 0)
        step = grid[1] - grid[0]
        assert np.isclose(density.sum() * step, 1, atol=1e-12)
        lam = SPECTRA["indefinite"]
        exact = scipy.stats.norm.pdf(grid[:, None], lam, width).mean(axis=1)
        assert np.abs(density - exact).max() < 0.1 * exact.max()
        assert np.isclose((density * grid).sum() * step, spectrum.moment(1).value, atol=1e-9)
        assert spectrum.density(0.5, width).shape == ()
        assert_same_bits(spectrum.cdf([[-31, 41]]), np.array([[0, spectrum.cdf(41)]]))
        assert np.isclose(spectrum.cdf(41), 1, rtol=1e-14)
        assert np.all(np.diff(spectrum.cdf(grid)) >= 0)
        steps = SpectralDensity(np.array([[1.0, 2.0]]), np.array([[0.25, 0.75]]), 4, 2)
        np.testing.assert_array_equal(steps.cdf([0.5, 1, 1.5, 2, 3]), [0, 0.25, 0.25, 1, 1])

    def test_nodes_and_weights(self):
        operator = Counted(symmetric(SPECTRA["flat"]))
        spectrum = spectral_density(operator, num_probes=5, lanczos_steps=12)
        assert operator.widths == [5] * 12 and spectrum.num_matvecs == 60 and spectrum.n == N
        assert spectrum.nodes.shape == spectrum.weights.shape == (5, 12)
        assert np.all(np.diff(spectrum.nodes) > 0) and np.all(spectrum.weights >= 0)
        np.testing.assert_allclose(spectrum.weights.sum(axis=1), 1, rtol=1e-14)
        assert spectrum.nodes.min() >= 1 and spectrum.nodes.max() <= 3

    @pytest.mark.parametrize("scale", [0.0, 1e-200, 1.0, 1e150])
    def test_invariant_subspaces(self, scale):
        """Each vector stops when its space is complete; the others go on."""
        operator = Counted(scale * np.eye(7))
        spectrum = spectral_density(operator, num_probes=3)
        assert operator.widths == [3]
        np.testing.assert_allclose(spectrum.nodes, np.full((3, 1), scale), rtol=1e-14)

        # v is an eigenvector of the first block if its two signs are equal and one if not; the
        # other block is diagonal, so that two or three steps make the space of v complete.
        A = np.zeros((3, 3))
        A[:2, :2] = [[2, 1], [1, 2]]
        A[2, 2] = 3
        operator = Counted(scale * A)
        spectrum = spectral_density(operator, num_probes=8, lanczos_steps=3)
        V = blocks_of_density(A, num_probes=8)
        equal = V[0] == V[1]
        assert 0 < equal.sum() < 8  # or the test would test less
        if scale:
            assert operator.widths == [8, 8 - equal.sum()]
        samples = spectrum.spectral_sum(np.abs).samples
        np.testing.assert_allclose(samples, scale * np.sum(V * (A @ V), axis=0), rtol=1e-13)
        assert np.all(spectrum.weights.sum(axis=1) > 1 - 1e-14)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_any_scale(self, dtype):
        """Lengths are squared in a unit near that of the products: powers of two change nothing."""
        A = symmetric(SPECTRA["indefinite"]).astype(dtype)
        one = spectral_density(A, num_probes=3, lanczos_steps=9)
        last = 80 if dtype == "float32" else 1000
        for exponent in (-last, -last // 2, last // 2, last):
            scale = 2.0**exponent
            spectrum = spectral_density(
                A * np.dtype(dtype).type(scale), lanczos_steps=9, num_probes=3
            )
            np.testing.assert_allclose(spectrum.nodes, one.nodes * scale, rtol=1e-12)
            np.testing.assert_allclose(spectrum.weights, one.weights, rtol=1e-9, atol=1e-14)

    @pytest.mark.parametrize(("dtype", "large"), [("float32", 2.0**70), ("float64", 2.0**560)])
    def test_probes_of_very_different_scale(self, dtype, large):
        """A probe orthogonal to the large eigenvector sees the others as it would alone."""
        A = np.diag(np.arange(60) / 8).astype(dtype)
        A[:2, :2] = large  # its vector is (1, 1): a probe with two different signs does not see it
        V = blocks_of_density(A, num_probes=8)
        sees_it = V[0] == V[1]
        assert 0 < sees_it.sum() < 8  # or the test would test less
        spectrum = spectral_density(A, num_probes=8, lanczos_steps=6)
        rest = np.diag(np.append([0, 0], np.diag(A)[2:]))
        alone = spectral_density(rest, num_probes=8, lanczos_steps=6)
        np.testing.assert_allclose(
            spectrum.nodes[~sees_it], alone.nodes[~sees_it], rtol=1e-4, atol=1e-4
        )

    def test_probes_a_few_at_a_time(self, monkeypatch):
        """As memory allows; at least one."""
        A = symmetric(SPECTRA["decaying"])
        whole = spectral_density(A, num_probes=5, lanczos_steps=7)
        monkeypatch.setattr("pyfast_nn.curvature.lanczos._VECTOR_BYTES", 1)
        operator = Counted(A)
        parts = spectral_density(operator, num_probes=5, lanczos_steps=7)
        assert operator.widths == [1] * 35
        np.testing.assert_allclose(parts.nodes, whole.nodes, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(parts.weights, whole.weights, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("n", [1, 2, 5])
    def test_more_steps_than_eigenvalues(self, n, dtype):
        A = symmetric(np.linspace(1, 2, n)).astype(dtype)
        operator = Counted(A)
        spectrum = spectral_density(operator, num_probes=4)
        assert len(operator.widths) <= n and operator.num_matvecs == spectrum.num_matvecs
        V = blocks_of_density(A, num_probes=4)
        expected = np.sum(V * np.linalg.inv(A).dot(V), axis=0)
        np.testing.assert_allclose(spectrum.trace_inverse().samples, expected, rtol=1e-5)

    def test_float32(self):
        A = symmetric(SPECTRA["indefinite"]).astype(np.float32)
        single = spectral_density(A, lanczos_steps=30)
        double = spectral_density(A.astype(float), lanczos_steps=30)
        assert single.nodes.dtype == single.weights.dtype == np.float64
        np.testing.assert_allclose(
            single.spectral_sum(np.cos).samples, double.spectral_sum(np.cos).samples, atol=0.02
        )
        assert np.isclose(single.moment(2).value, double.moment(2).value, rtol=1e-5)

    def test_what_the_operator_returns_is_not_written(self):
        def matmat(V):
            AV = np.arange(9.0)[:, None] * V
            AV.flags.writeable = False
            return AV

        operator = LinearOperator((9, 9), matvec=None, matmat=matmat, dtype=float)
        assert np.isclose(spectral_density(operator).moment(1).value, 4)
        assert spectral_density(lambda v: v, n=9).num_matvecs == 8

    def test_impossible(self):
        A = symmetric(SPECTRA["indefinite"])
        for arguments, match in (
            ({"num_probes": 0}, "num_probes"),
            ({"lanczos_steps": 0}, "lanczos_steps"),
            ({"seed": -1}, "seed"),
        ):
            with pytest.raises(ValueError, match=match):
                spectral_density(A, **arguments)
        spectrum = spectral_density(A)
        for function in (
            spectrum.log_determinant,
            spectrum.trace_inverse,
            spectrum.effective_dimension,
        ):
            with pytest.raises(ValueError, match=r"A has an eigenvalue of at most -20.*is 1"):
                function(1)
            with pytest.raises(ValueError, match="damping: expected a finite number >= 0"):
                function(-1)
        with pytest.raises(ValueError, match="width"):
            spectrum.density([0, 1], 0)
        with pytest.raises(TypeError, match="grid: expected real numbers"):
            spectrum.density([1j], 1)
        with pytest.raises(ValueError, match="f: expected real values of shape"):
            spectrum.spectral_sum(lambda x: x.sum())
        with pytest.raises(ValueError, match="degree"):
            spectrum.moment(-1)


def rounded(x, bits):
    """The numbers with so many bits."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits)


def blocks_of_density(A, num_probes=1):
    """The sign vectors (n, num_probes) that spectral_density starts from."""
    seen = []

    def matmat(V):
        seen.append(V.copy())
        return A @ V

    operator = LinearOperator(A.shape, matvec=None, matmat=matmat, dtype=A.dtype)
    spectral_density(operator, num_probes=num_probes, lanczos_steps=1)
    V = seen[0] * np.sqrt(len(A))
    np.testing.assert_allclose(np.abs(V), 1, rtol=1e-5)
    return np.sign(V)


ORDER = {"LA": lambda x: -x, "SA": lambda x: x, "LM": lambda x: -abs(x), "SM": abs}


class TestEigenpairs:
    @pytest.mark.parametrize("n", [3, 18, 50])
    @pytest.mark.parametrize("k", [1, 2, 3])
    @pytest.mark.parametrize("which", ["LA", "SA", "LM", "SM", "BE"])
    def test_against_dense(self, n, k, which):
        lam = np.linspace(-3, 4.1, n) + 0.01
        A = symmetric(lam)
        values, vectors = top_eigenpairs(A, k, which=which, tol=1e-10, max_matvecs=5000)
        if which == "BE":
            falling = np.sort(lam)[::-1]
            expected = np.r_[falling[: (k + 1) // 2], falling[n - k // 2 :]]
        else:
            expected = sorted(lam, key=ORDER[which])[:k]
        np.testing.assert_allclose(values, expected, atol=1e-9)
        assert values.dtype == np.float64 and vectors.shape == (n, k)
        np.testing.assert_allclose(A @ vectors, vectors * values, atol=1e-8)
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(k), atol=1e-12)

    @spectra
    def test_spectra(self, name):
        A = symmetric(SPECTRA[name])
        values, vectors = top_eigenpairs(A, 4)
        np.testing.assert_allclose(values, np.sort(SPECTRA[name])[:-5:-1], rtol=1e-6)
        assert np.linalg.norm(A @ vectors - vectors * values, axis=0).max() < 2e-6 * values[0]

    def test_multiple_eigenvalues(self):
        values, vectors = top_eigenpairs(np.eye(50), 3)
        np.testing.assert_allclose(values, 1, rtol=1e-12)
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)

    @pytest.mark.parametrize("which", ["LA", "SA", "LM", "BE"])
    @pytest.mark.parametrize("tol", [1e-6, 1e-2, 0])
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_all_copies_of_multiple_eigenvalues(self, which, tol, seed):
        """As in regression with four outputs; one start vector has only one copy of each."""
        copies = np.repeat([6.2, 1.24, 1.11, 0.99, 0.93, 0.75], 4)
        lam = np.r_[copies, np.linspace(-0.4, 0.6, 100), -copies * 0.9]
        A = symmetric(lam)
        values, vectors = top_eigenpairs(A, 7, which=which, tol=tol, seed=seed)
        expected = {
            "LA": [6.2] * 4 + [1.24] * 3,
            "SA": [-5.58] * 4 + [-1.116] * 3,
            "LM": [6.2] * 4 + [-5.58] * 3,
            "BE": [6.2] * 4 + [-5.58] * 3,
        }[which]
        np.testing.assert_allclose(values, expected, rtol=max(tol, 1e-9))
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(7), atol=1e-9 + tol)
        residuals = np.linalg.norm(A @ vectors - vectors * values, axis=0)
        assert (residuals < 1e-9 + 2 * tol * abs(values)).all()

    def test_one_eigenvalue_costs_no_search_for_copies(self):
        """There is no worse one in place of which a copy belongs."""
        A = symmetric(np.r_[np.linspace(0, 1, 80), 2, 3])
        one, two = Counted(A), Counted(A)
        top_eigenpairs(one, 1)
        top_eigenpairs(two, 2)
        assert two.num_matvecs - 20 <= one.num_matvecs <= two.num_matvecs - 5

    @pytest.mark.parametrize("n", [4, 50])
    def test_zero(self, n):
        values, vectors = top_eigenpairs(np.zeros((n, n)), 2)
        np.testing.assert_array_equal(values, [0, 0])
        np.testing.assert_array_equal(vectors.T @ vectors, np.eye(2))

    def test_all(self, dtype):
        A = symmetric(np.linspace(-1, 1, 30)).astype(dtype)
        values, vectors = top_eigenpairs(A, 30)
        np.testing.assert_allclose(values, np.linspace(1, -1, 30), atol=1e-6)
        assert vectors.dtype == dtype

    def test_float32(self):
        A = symmetric(SPECTRA["indefinite"]).astype(np.float32)
        values, vectors = top_eigenpairs(A, 2)
        np.testing.assert_allclose(values, [40, 10], rtol=1e-5)
        assert vectors.dtype == np.float32

    def test_number_of_products_is_bounded(self):
        operator = Counted(symmetric(np.linspace(0, 1, 300)))
        with pytest.raises(RuntimeError, match=r"2 eigenpairs \(SA\) not converged .* 40\) or tol"):
            top_eigenpairs(operator, 2, which="SA", max_matvecs=40)
        assert operator.num_matvecs == 40
        operator.widths.clear()
        with pytest.raises(RuntimeError, match="max_matvecs"):
            top_eigenpairs(Counted(np.eye(10)), 2, max_matvecs=9)

    def test_condition_number(self):
        for lam in (np.linspace(1, 50, 40), -np.linspace(1, 50, 40), np.linspace(1, 50, 4)):
            assert np.isclose(condition_number(symmetric(lam), tol=1e-6), 50, rtol=1e-9)
        lam = np.r_[-5, np.linspace(-2, 2.1, 40), 10]
        found = condition_number(symmetric(lam), tol=1e-6)
        assert np.isclose(found, 10 / abs(lam).min(), rtol=1e-6)
        for n in (4, 50):
            assert condition_number(np.zeros((n, n))) == np.inf
        assert condition_number(np.diag([2.0, 0, 0])) == np.inf
        assert condition_number(np.array([[-3.0]])) == 1

    @pytest.mark.parametrize("damping", [0.01, 0.1, 1])
    def test_condition_number_of_many_parameters_with_damping(self, damping):
        """As of a Gauss-Newton matrix of more parameters than examples, within 1000 products."""
        lam = np.r_[np.geomspace(10, 1e-5, 500), np.zeros(1500)] + damping
        found = condition_number(lambda v: lam * v, n=2000)
        assert np.isclose(found, lam.max() / lam.min(), rtol=1e-2)

    def test_impossible(self):
        A = np.eye(5)
        for arguments, match in (
            ({"k": 0}, "k: expected an integer from 1 to 5"),
            ({"k": 6}, "k: expected an integer from 1 to 5"),
            ({"k": 1, "which": "LR"}, "which: expected one of LA, SA"),
            ({"k": 1, "tol": -1}, "tol"),
            ({"k": 1, "max_matvecs": 0}, "max_matvecs"),
            ({"k": 1, "seed": -1}, "seed"),
        ):
            with pytest.raises(ValueError, match=match):
                top_eigenpairs(A, **arguments)

    def test_without_scipy(self):
        code = """
import sys
sys.modules["scipy"] = None  # as if it were not installed
import numpy as np, pyfast_nn as fnn
A = np.diag(np.arange(30.0))
fnn.curvature.xtrace(A, num_matvecs=10)
fnn.curvature.spectral_density(A)
try:
    fnn.curvature.top_eigenpairs(A, 2)
except ImportError as error:
    assert "eigenpairs need SciPy: pip install 'pyfast-nn[curvature]'" in str(error)
else:
    raise SystemExit("no error")
"""
        subprocess.run([sys.executable, "-c", code], check=True)


def lanczos_step_by_threads(Q, Aq, dtype, *rest):
    """All rows and numbers of a step from Q (m, n), for the second of three probes."""
    rng = np.random.default_rng(9)
    together = np.resize(rng.normal(size=997).astype(dtype), (len(Q) + 1, 3, Q.shape[1]))
    results = []
    for threads in (1, 2, 5):
        _core.set_num_threads(threads)
        basis = together.copy()
        basis[:-1, 1] = Q
        numbers = _core.lanczos_step(basis, 1, Aq.astype(dtype), *rest)
        results.append((basis[:, 1].astype(float), numbers))
        assert_same_bits(basis[:, [0, 2]], together[:, [0, 2]])
    for others in results[1:]:
        assert_same_bits(others[0], results[0][0])
        assert others[1] == results[0][1]
    return results[0]


# The longest rows take more than one block of them.
@pytest.mark.parametrize(
    ("m", "n"),
    [(m, n) for m in (1, 2, 7, 17, 19) for n in (3, 20, 4096, 4097) if m < n] + [(19, 140_001)],
)
def test_lanczos_step(isa, dtype, restore_threads, m, n):
    rng = np.random.default_rng(m + n)
    eps = np.finfo(dtype).eps
    Q = np.ascontiguousarray(np.linalg.qr(rng.normal(size=(n, m)))[0].T)
    rest = rng.normal(size=n)
    rest -= Q.T @ (Q @ rest)
    rest /= np.linalg.norm(rest)
    alpha, beta = 0.3, 1.1 if m > 1 else 0.0
    noise = np.sqrt(eps) * rng.normal(size=(2, m - 1)) / np.sqrt(m)  # along all rows but the last

    def product(size, noise):
        return alpha * Q[-1] + beta * Q[m - 2] * (m > 1) + size * rest + noise @ Q[:-1]

    def step(Q, Aq, scale, noise, growth, unit=8, negligible=10 * eps):
        """All rows; the length of the last, what was seen of noise, and growth."""
        before = beta, scale, noise, growth, True
        out, (seen_alpha, state) = lanczos_step_by_threads(
            Q, unit * Aq, dtype, 1 / unit, negligible, before
        )
        close = {"rtol": 100 * eps, "atol": 100 * eps}
        np.testing.assert_allclose(seen_alpha, alpha, **close)
        np.testing.assert_allclose(state[1], max(np.linalg.norm(Aq), scale), **close)
        assert state[4] == (state[3] > 0)  # the next reading is the other way round
        return out, state[0], state[2], state[3]

    # A long row is left as the recurrence makes it, once there were rows to see rounding in.
    exact = product(0.7, np.zeros(m - 1))
    out, length, seen, growth = step(Q, exact, 0.0, 0.0, 0.0)
    np.testing.assert_allclose(growth, 1 / 0.7 if m > 3 else 0, rtol=100 * eps)
    assert seen <= (0 if growth or m < 3 else 20 * eps)
    np.testing.assert_allclose(length, 0.7, rtol=100 * eps)
    np.testing.assert_allclose(out[-1], rest, rtol=0, atol=20 * eps)
    np.testing.assert_array_equal(out[:-1], Q.astype(dtype))

    # The next as well, if what the first may have does not become too much in it.
    out, _, _, growth = step(Q, exact, 0.0, 0.0, 0.01 / np.sqrt(eps))
    allowed = (1 + 2 * np.linalg.norm(exact) * 0.01 / np.sqrt(eps)) / 0.7
    np.testing.assert_allclose(growth, allowed if m > 3 else 0, rtol=100 * eps)
    np.testing.assert_allclose(out[-1], rest, rtol=0, atol=20 * eps)

    # Not if products were seen to be inexact, or if it is short; even if it was mostly noise.
    short = 2 * np.sqrt(eps)
    for size, scale, before, along in (
        (0.7, 0.0, 0.71 * np.sqrt(eps), noise[1]),
        (short, 3.0, 0.0, noise[1]),
        (short, 3.0, 0.3, noise[1] * 0.3 / np.sqrt(eps)),
    ):
        out, length, seen, growth = step(Q, product(size, along), scale, before, 0.0)
        assert growth == 0
        np.testing.assert_allclose(length, size, rtol=100 * eps, atol=100 * eps)
        shown = max(before, np.linalg.norm(along[: max(m - 2, 0)]))
        np.testing.assert_allclose(seen, shown, rtol=1e-3, atol=20 * eps)
        np.testing.assert_allclose(out[-1], rest, rtol=0, atol=20 * eps / size)
        assert np.abs(out[:-1] @ out[-1]).max() < 20 * eps
        np.testing.assert_array_equal(out[:-1], Q.astype(dtype))

    # After a row that was left, both are made orthogonal to all before, and to each other.
    before = np.vstack([Q[:-1], Q[-1] + noise[0] @ Q[:-1]])
    much = 4 / np.sqrt(eps)
    for size in (0.7, short):
        out, length, seen, growth = step(before, product(size, noise[1]), 0.0, 0.0, much * (m > 1))
        assert growth == 0
        np.testing.assert_allclose(length, size, rtol=100 * eps, atol=100 * eps)
        np.testing.assert_allclose(seen, np.linalg.norm(noise[0]) / much, rtol=1e-3, atol=20 * eps)
        np.testing.assert_allclose(out[:-1], Q, rtol=0, atol=20 * eps)
        np.testing.assert_allclose(out[-1], rest, rtol=0, atol=20 * eps / size)
        assert np.abs(out @ out.T - np.eye(m + 1)).max() < 20 * eps

    # What is left of a product that is in the space already is rounding, and stays as it is.
    inside = product(0, 1e-2 * noise[1])
    out, length, _, growth = step(Q, inside, 5.0, 0.0, 0.0, unit=1, negligible=np.sqrt(eps))
    assert length < 5 * np.sqrt(eps) and growth == 0
    np.testing.assert_allclose(out[-1], 1e-2 * noise[1] @ Q[:-1], rtol=0, atol=20 * eps)


@pytest.mark.once
def test_lanczos_step_refuses(dtype):
    Q, Aq = np.eye(3, 5, dtype=dtype).reshape(3, 1, 5), np.ones(5, dtype)
    other = "float32" if dtype == "float64" else "float64"
    fixed = Q.copy()
    fixed.flags.writeable = False
    before = (0.0, 0.0, 0.0, 0.0, False)
    for arguments, name in [
        ((Q[:0], Aq), "Q"),
        ((Q[:1], Aq), "Q"),
        ((Q[:, :, :0].copy(), Aq[:0]), "Q"),
        ((Q[:, :, ::2], Aq[::2]), "Q"),
        ((Q[0], Aq), "Q"),
        ((Q.astype(int), Aq), "Q"),
        ((fixed, Aq), "Q"),
        ((Q, Aq[:4]), "Aq"),
        ((Q, Aq.astype(other)), "Aq"),
    ]:
        with pytest.raises((TypeError, ValueError), match=rf"^{name}\b"):
            _core.lanczos_step(arguments[0], 0, arguments[1], 1.0, 1e-6, before)
    for probe in (-1, 1):
        with pytest.raises(ValueError, match=r"^probe: expected one of 1, got"):
            _core.lanczos_step(Q, probe, Aq, 1.0, 1e-6, before)


def everything(A, n=None, seed=3):
    """All numbers that all functions return."""
    numbers = []
    for estimator in ESTIMATORS:
        estimate = estimator(A, num_matvecs=18, seed=seed, n=n)
        numbers += [np.ravel(estimate.value), np.ravel(estimate.std_error)]
    spectrum = spectral_density(A, num_probes=3, lanczos_steps=6, seed=seed, n=n)
    numbers += [spectrum.nodes.ravel(), spectrum.weights.ravel()]
    values, vectors = top_eigenpairs(A, 2, seed=seed, n=n)
    return np.concatenate([*numbers, values, vectors.ravel()])


FUNCTIONS = [
    *(lambda A, f=f, **kwargs: f(A, num_matvecs=18, **kwargs) for f in ESTIMATORS),
    spectral_density,
    lambda A, **kwargs: top_eigenpairs(A, 2, **kwargs),
    condition_number,
]


class TestOperators:
    def test_whatever_has_products(self):
        A = symmetric(SPECTRA["flat"])
        expected = everything(A)
        for operator in (
            aslinearoperator(A),
            LinearOperator(A.shape, matvec=lambda v: A @ v, dtype=float),
            Counted(A),
            scipy.sparse.csr_matrix(A),
            scipy.sparse.coo_array(A),
            A.tolist(),
            np.asfortranarray(A),
            A.astype(">f8"),
            fnn.datasets and type("M", (), {"shape": A.shape, "matvec": staticmethod(A.dot)})(),
        ):
            np.testing.assert_allclose(everything(operator), expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(everything(A.dot, n=N), expected, rtol=1e-9, atol=1e-9)
        out = np.empty(N)
        np.testing.assert_allclose(
            everything(lambda v: np.dot(A, v, out=out), n=N), expected, rtol=1e-9, atol=1e-9
        )

    def test_integers_and_bool(self):
        A = np.diag(np.arange(-3, 5))
        assert hutchinson_trace(A, num_matvecs=3).value == A.trace()
        assert hutchinson_trace(np.eye(3, dtype=bool), num_matvecs=3).value == 3
        assert hutchinson_trace(scipy.sparse.csr_array(A), num_matvecs=3).value == A.trace()

    def test_float32_operators_get_float32_blocks(self):
        A = symmetric(SPECTRA["decaying"]).astype(np.float32)
        expected = everything(A.astype(float))
        operator = Counted(A)  # checks it
        np.testing.assert_allclose(everything(operator), expected, atol=2e-4)

    def test_sums_are_in_float64(self):
        """A float32 sum of 300,000 ones and one 1e8 would lose most of them."""
        n = 300_000
        scale = np.ones((n, 1), np.float32)
        scale[0] = 1e8
        operator = LinearOperator((n, n), matvec=None, matmat=lambda V: scale * V, dtype=np.float32)
        assert hutchinson_trace(operator, num_matvecs=2).value == 1e8 + n - 1

    def test_reproducible(self):
        A = symmetric(SPECTRA["indefinite"])
        assert_same_bits(everything(A), everything(A))
        assert not np.array_equal(everything(A), everything(A, seed=4))

    @estimators
    def test_the_size_of_blocks_changes_nothing(self, estimator):
        A = np.round(symmetric(SPECTRA["indefinite"]) * 64) / 64  # sums of products without error
        results = [estimator(A, num_matvecs=30, batch_size=size) for size in (1, 7, 30, 1000)]
        for result in results:
            np.testing.assert_allclose(result.value, results[0].value, rtol=1e-9)

    def test_probes_are_independent_of_the_initialisation_of_models(self):
        """Seed 0 here and seed 0 of a model are not the same numbers."""
        layer = fnn.Dense(10, init=fnn.initializers.Normal(1.0))
        weights = fnn.Sequential([layer], seed=0, dtype="float64").build(20).parameters[:200]
        for estimator in (hutch_pp, xtrace):
            for V in blocks(np.eye(200), estimator, 30)[::2]:
                assert np.abs(np.sign(weights) @ np.sign(V)).max() < 5 * np.sqrt(200)

    def test_inputs_are_not_written(self):
        A = symmetric(SPECTRA["flat"])
        before = A.copy()
        A.flags.writeable = False
        everything(A)
        assert_same_bits(A, before)

    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_what_is_no_operator(self, function):
        for A, error, match in (
            (np.ones((2, 3)), ValueError, r"A: expected shape \(n, n\).*got \(2, 3\)"),
            (np.ones(3), ValueError, r"A: expected shape \(n, n\)"),
            (np.ones((0, 0)), ValueError, r"A: expected shape \(n, n\) with n >= 1"),
            (np.eye(30) * 1j, TypeError, "A: expected real numbers, got dtype complex128"),
            (aslinearoperator(np.eye(30) * 1j), TypeError, "A: expected real numbers"),
            (scipy.sparse.eye(30) * 1j, TypeError, "A: expected real numbers"),
            ("matrix", TypeError, "A: expected real numbers"),
            (lambda v: v, TypeError, "n: expected the length of vectors"),
        ):
            with pytest.raises(error, match=match):
                function(A)
        for returns, error, match in (
            (lambda v: v * 1j, TypeError, "to be real, got dtype complex128"),
            (lambda v: v[1:], ValueError, r"A\(v\) of shape \(30,\), got \(29,\)"),
            (lambda v: v[:, None], ValueError, r"A\(v\) of shape \(30,\), got \(30, 1\)"),
            (lambda v: v * np.nan, ValueError, r"A: expected finite A @ V, .* got NaN or infinity"),
            (lambda v: v + np.inf, ValueError, r"A: expected finite A @ V, .* got NaN or infinity"),
        ):
            with pytest.raises(error, match=match):
                function(returns, n=30)
        with pytest.raises(ValueError, match="n: expected an integer from 1"):
            function(lambda v: v, n=0)

    @pytest.mark.parametrize("function", [hutchinson_diagonal, spectral_density, top_eigenpairs])
    @pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
    def test_numbers_that_are_not_finite_in_any_product(self, function, number, dtype):
        A = symmetric(np.linspace(1, 2, 40)).astype(dtype)
        for bad in (1, 2, 3, 5):
            operator = Counted(A)

            def matmat(V, operator=operator, bad=bad):
                AV = Counted.matmat(operator, V)
                if len(operator.widths) == bad:
                    AV[7, -1] = number
                return AV

            operator.matmat = matmat
            arguments = {top_eigenpairs: {"k": 2}}
            arguments[hutchinson_diagonal] = {"num_matvecs": 12, "batch_size": 2}
            with pytest.raises(
                ValueError, match=r"^A: expected finite A @ V, .* got NaN or infinity"
            ):
                function(operator, **arguments.get(function, {}))

    def test_products_that_leave_the_range(self):
        products = itertools.count()

        def product(v):
            return np.linspace(1, 2, 60) * v * (1e305 if next(products) > 6 else 1e-3)

        with pytest.raises(ValueError, match="A: expected products that stay in the range"):
            spectral_density(product, num_probes=1, lanczos_steps=20, n=60)

    def test_wrong_quadratic_forms(self):
        operator = CountedForm(np.eye(4))
        for returns, match in ((np.ones((2, 1)), r"of shape \(2,\)"), ([1, np.nan], "NaN")):
            operator.quadratic_form = lambda V, returns=returns: returns
            with pytest.raises(ValueError, match=r"A: .*A\.quadratic_form\(V\).*" + match):
                hutchinson_trace(operator, num_matvecs=2)

    @pytest.mark.parametrize(
        ("function", "arguments"),
        [
            (hutch_pp, {"num_matvecs": 12}),
            (xtrace, {"num_matvecs": 12}),
            (xdiag, {"num_matvecs": 12}),
            (spectral_density, {}),
            (spectral_density, {"num_probes": 1, "lanczos_steps": 2}),
            (top_eigenpairs, {"k": 2}),
        ],
    )
    @pytest.mark.parametrize("n", [12, 400])
    def test_asymmetric_operators_are_refused(self, function, arguments, n, rng):
        A = rng.standard_normal((n, n))
        symmetric_part = (A + A.T) / 2
        with pytest.raises(ValueError, match="A: expected a symmetric operator"):
            function(symmetric_part + 0.1 * (A - A.T), **arguments)
        single = symmetric_part.astype(np.float32)
        single += rng.uniform(-1e-6, 1e-6, (n, n)).astype(np.float32)  # as rounding would
        if function is top_eigenpairs:
            arguments = arguments | {"max_matvecs": 10_000}
        function(single, **arguments)
