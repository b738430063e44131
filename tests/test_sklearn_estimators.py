"""scikit-learn's own checks and tests, of our estimators."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="the extra sklearn is not installed")

from sklearn.utils.estimator_checks import parametrize_with_checks

from pyfast_nn.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.once


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)])
def test_checks(estimator, check):
    check(estimator)


# Tests of scikit-learn's file that look at what is private there.
PRIVATE = {"test_gradient": "calls _loss_grad_lbfgs"}

SETTINGS = """
import pytest

@pytest.fixture
def global_random_seed():
    return 42
"""


def test_tests_of_scikit_learn(tmp_path):
    """Its test_mlp.py, as it is installed, with our estimators for its own."""
    folder = Path(importlib.util.find_spec("sklearn.neural_network").origin).parent
    source = folder / "tests" / "test_mlp.py"
    if not source.exists():
        pytest.skip("this scikit-learn is installed without its tests")
    text, count = re.subn(
        r"from sklearn\.neural_network import (MLP\w+, MLP\w+)\n",
        r"from pyfast_nn.sklearn import \1\n",
        source.read_text(),
    )
    assert count == 1 and all(f"def {name}(" in text for name in PRIVATE)
    (tmp_path / "test_mlp.py").write_text(text)
    (tmp_path / "conftest.py").write_text(SETTINGS)
    without = [f"--deselect=test_mlp.py::{name}" for name in PRIVATE]
    root = str(Path(__file__).parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *without, "test_mlp.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 50
