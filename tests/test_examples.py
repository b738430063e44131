"""The gallery: every script runs, draws, and what it claims is so.

The bounds are for the seeds in the scripts; comments say what was measured.
"""

from __future__ import annotations

import importlib
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import pyfast_nn as fnn

pytest.importorskip("matplotlib", reason="the gallery draws with Matplotlib (extra: plot)")
signal = pytest.importorskip("scipy.signal", reason="SciPy is the oracle here")
stats = pytest.importorskip("scipy.stats", reason="SciPy is the oracle here")

pytestmark = pytest.mark.once

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("[!_]*.py"))


@pytest.fixture
def load(monkeypatch):
    """Import a script by name."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module


@pytest.fixture
def run(load, tmp_path, capsys):
    """Run a script by name at small size; return its numbers, in the order in which it prints."""

    def run(name):
        picture = tmp_path / "picture.png"
        argv = ["--quick", "--out", str(picture)]
        numbers = load("_gallery").run(load(name).main, argv)
        assert picture.read_bytes().startswith(b"\x89PNG")
        printed = capsys.readouterr().out.splitlines()
        assert [line.rpartition(": ")[0] for line in printed] == list(numbers)
        return list(numbers.values())

    return run


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_has_its_title_its_line_and_its_test(name):
    source = (EXAMPLES / f"{name}.py").read_text()
    title, underline = source.splitlines()[1:3]
    assert source.startswith('"""\n') and underline == "=" * len(title)
    assert f"[`{name}.py`]({name}.py)" in (EXAMPLES / "README.md").read_text()
    assert f'run("{name}")' in pathlib.Path(__file__).read_text()
    assert not re.search(r"\b_core\b|\bfnn\._|\b(model|sgd|adam)\._", source), "only public names"


def test_command_line(tmp_path):
    script = EXAMPLES / "ridge_three_ways.py"
    subprocess.run([sys.executable, script, "--quick"], cwd=tmp_path, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["ridge_three_ways.png"]


def test_relu_elbows(run):
    trained, frozen, at_an_elbow, elsewhere = run("relu_elbows")
    assert trained < frozen / 2  # 0.087, 0.262
    assert elsewhere < 1e-9 < 1 < at_an_elbow  # 3e-12: rounding; 7.3


def test_elbows_at_initialisation(run, load):
    ks, normal, constant, stable, too_long = run("elbows_at_initialisation")
    module = load("elbows_at_initialisation")
    sample = module.elbows(2000)
    oracle = stats.kstest(sample.astype(np.float64), "cauchy")
    np.testing.assert_allclose(module.distance(sample), oracle.statistic, rtol=1e-4)  # float32
    assert stats.kstwobign.sf(ks) > 0.01  # 0.12
    assert abs(normal - 0.25) < 0.03 and constant < 0.03  # 0.237, 0.011; 4 deviations
    assert stable == 0 and too_long > 0.8  # 0.985


def test_variances_over_layers(run, load):
    *factors, error = run("variances_over_layers")  # of ReLU, 128 units
    theory = np.repeat([1, 0.5, 128 * 0.01**2 / 2], 2)  # He, Xavier, 0.01; forward and back
    np.testing.assert_allclose(factors, theory, rtol=0.12)  # 0.055
    assert error < 0.12

    rng = np.random.default_rng(0)  # the theory for tanh, by drawing instead of quadrature
    z = rng.standard_normal(400_000)
    forward, backward = load("variances_over_layers").predict("tanh", 2)
    np.testing.assert_allclose(forward[1], np.mean(np.tanh(np.sqrt(2) * z) ** 2), rtol=0.01)
    slope = 1 - np.tanh(np.sqrt(2) * z) ** 2
    np.testing.assert_allclose(backward[0] / backward[1], 2 * np.mean(slope**2), rtol=0.01)


def test_sgd_noise_ball(run, load):
    large, small, decaying = run("sgd_noise_ball")
    p, s = load("sgd_noise_ball").P, load("sgd_noise_ball").S
    ball = [m * p * s**2 / (2 - m * p) for m in (0.04, 0.01)]
    np.testing.assert_allclose([large, small], ball, rtol=0.08)  # 0.008
    assert 0.8 < decaying < 1.25  # 1.09


def test_online_learners(run, load):
    sgd, adagrad, of_sgd, of_adagrad, power, ratio = run("online_learners")
    assert 0.85 < sgd < 1.15 and 0.85 < adagrad < 1.15  # 0.94, 0.96; deviation 0.05
    assert of_sgd < 1 and of_adagrad < 1  # 0.30, 0.35
    assert 0.4 < power < 0.65 and 2 < ratio < 3.5  # 0.58, 2.9; with a constant step 4.5

    module, n = load("online_learners"), np.arange(1, 301)  # who stays at 0, by the binomial law
    regret, _ = module.play(lambda x: fnn.optim.SGD(x, lr=0.0), 0.0, rounds=300)
    worth = n * stats.binom.pmf((n - 1) // 2, n - 1, 0.5)  # mean distance of n steps of +-1
    expected = sum(stats.binom.pmf(n, 300, chance) @ worth for chance in module.CHANCE)
    assert abs(regret[-1] / expected - 1) < 0.15  # 0.03; deviation 0.05


def test_early_stopping_path(run, load):
    formula, step, least, end, ridge, ratio = run("early_stopping_path")
    assert formula < 1e-10  # 1e-13
    assert 20 < step < 500 and least < 0.7 * end  # 85 of 1000; 3.0, 6.5
    assert abs(least / ridge - 1) < 0.2 and ratio < 1.69  # 0.04; 1.35

    X, y, w = load("early_stopping_path").problem()  # the least error of ridge, by normal equations
    n, d = X.shape
    errors = []
    for c in np.geomspace(1e-3, 10, 200):
        fit = np.linalg.solve(2 / n * X.T @ X + c * np.eye(d), 2 / n * X.T @ y)
        errors.append(np.sum(((fit - w) * np.geomspace(1, 0.1, d)) ** 2))
    np.testing.assert_allclose(ridge, min(errors), rtol=0.01)


def test_momentum_low_pass(run, load):
    response, plain, momentum = run("momentum_low_pass")
    assert response < 1e-10  # 4e-13
    np.testing.assert_allclose([plain, momentum], [99 / 101, 9 / 11], rtol=2e-3)  # 1e-5

    f = np.array([0.0, 0.03, 0.2, 0.5])
    _, oracle = signal.freqz([1], [1, -0.8], worN=2 * np.pi * f)
    measured = load("momentum_low_pass").response(0.8, f, 300)
    np.testing.assert_allclose(measured, np.abs(oracle), rtol=1e-10)


@pytest.mark.parametrize("way", ["penalty", "fake_data", "fake_features", "kernel"])
def test_ridge_is_ridge(load, way):
    module = load("ridge_three_ways")
    X, y = module.problem()
    for c in (0.5, 20.0):
        expected = np.linalg.solve(X.T @ X + c * np.eye(X.shape[1]), X.T @ y)
        np.testing.assert_allclose(getattr(module, way)(X, y, c), expected, atol=1e-11)  # 1e-14


def test_ridge_three_ways(run):
    (difference,) = run("ridge_three_ways")
    assert difference < 1e-11  # 1e-14


def test_universal_approximation(run):
    deviation, parity, seen, left_out = run("universal_approximation")
    assert deviation < 1e-9 and parity < 1e-12  # 0, 0
    assert seen == 1 and left_out < 0.6  # 0.38 of 128 rows


def test_double_descent(run, load):
    peak, over_before, over_after, over_kernel, ridge = run("double_descent")
    assert 0.8 < peak < 1.25  # 1
    assert over_before > 10 and over_after > 10  # 770, 590
    assert 0.7 < over_kernel < 1.5 and ridge < 2  # 1.08, 1.25

    module = load("double_descent")  # the kernel is the limit of the features' products
    X, _ = module.data(8, np.random.default_rng(1))
    Z = module.features(X, 100_000, seed=1)
    np.testing.assert_allclose(Z @ Z.T, module.kernel(X, X), atol=8e-3)  # 2e-3


def test_ops_training(run):
    accuracy, difference = run("ops_training")
    assert accuracy > 0.88  # 0.93
    assert difference < 1e-12


def test_newton_trust_region(run, load):
    newton, lbfgs, cg, points, work, *others, smallest = run("newton_trust_region")
    assert newton < 1e-9 and lbfgs < 1e-7 and cg < 1e-7  # 1e-11, 2e-9, 5e-9
    assert points <= 6 and work < others[1] < others[3]  # 3; 239, 334, 642
    assert smallest > 0  # 5e-5

    module = load("newton_trust_region")  # the last steps square the norm, up to a constant
    _, norms = module.train("trust-ncg", *module.problem(8))
    a, b, c = np.log10(norms[-3:])
    assert c - b < 1.5 * (b - a) < 0  # -3.6, 1.5 * -1.8


def test_sharp_minima(run):
    small, *_, small_error, large, _, large_error = run("sharp_minima")  # on the small digits
    assert large > 1.3 * small  # 6.3, 3.4
    assert small_error < 10 and large_error < 10  # 6.4, 6.3 per cent


def test_looking_inside(run):
    first, second, forward, backward, local, penultimate, curvature = run("looking_inside")
    assert 0 < first < second < 0.6  # 0.17, 0.36
    assert 0.8 < forward < 1.25 and 0.8 < backward < 1.25  # 1.06, 1.05
    assert penultimate < local / 3  # 0.08, 0.58
    np.testing.assert_allclose(curvature, 1, rtol=1e-2)
