"""What needs an extra: without it the message says which, and pyproject.toml has it."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyfast_nn as fnn

pytestmark = pytest.mark.once

PACKAGE = Path(fnn.__file__).parent
PROJECT = PACKAGE.parent / "pyproject.toml"

MODEL = """
import numpy as np
import pyfast_nn as fnn
rng = np.random.default_rng(0)
X, y = rng.random((40, 3)), np.arange(40) % 2
model = fnn.Sequential([fnn.Dense(4), fnn.ReLU(), fnn.Dense(2)], seed=0)
history = model.fit(X, y, loss="cross_entropy", epochs=2)
"""

# What runs without the package, and the extra that brings it.
WITHOUT = {
    "Hessian": ("scipy", "curvature", "fnn.curvature.Hessian(model, X, y)"),
    "top_eigenpairs": ("scipy", "curvature", "fnn.curvature.top_eigenpairs(np.eye(900), k=2)"),
    "condition_number": ("scipy", "curvature", "fnn.curvature.condition_number(np.eye(900))"),
    "sharpness": ("scipy", "curvature", "fnn.curvature.sharpness(model, X, y, kind='box')"),
    "local_features": ("scipy", "curvature", "fnn.inspect.local_features(model, X, 2)"),
    "history.plot": ("matplotlib", "plot", "history.plot()"),
    "a picture": ("matplotlib", "plot", "fnn.inspect.unit_activity(model, X).plot()"),
    "a scorer": ("sklearn", "sklearn", "model.evaluate(X, y, metrics=['f1'])"),
    "to_torch": ("torch", "torch", "model.to_torch()"),
    "from_torch": ("torch", "torch", "fnn.from_torch(None)"),
    "fnn.sklearn": ("sklearn", "sklearn", "fnn.sklearn.MLPClassifier()"),
    "fnn.metric_learning": ("sklearn", "sklearn", "fnn.metric_learning.NCA()"),
    "a DataFrame": (
        "narwhals",
        "table",
        "import pandas; from pyfast_nn.tabular.schema import Schema\n"
        "Schema.learn(pandas.DataFrame(X))",
    ),
    "to_onnx": ("onnx", "onnx", "model.to_onnx('m.onnx')"),
    "TensorBoard": ("tensorboardX", "tensorboard", "fnn.TensorBoard('runs')"),
    "fit_many": (
        *("joblib", "parallel"),
        "fnn.fit_many([model], X, y, backend='joblib')",
    ),
    "use_gemm": ("scipy", "blas", "fnn.runtime.use_gemm('blas')"),
}


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize("case", WITHOUT)
def test_message_of_what_is_missing(case):
    package, extra, call = WITHOUT[case]
    done = run(f"import sys; sys.modules[{package!r}] = None\n{MODEL}\nprint('begun')\n{call}")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and done.stdout == "begun\n"
    assert last.startswith("ImportError: ") and f"pip install 'pyfast-nn[{extra}]'" in last, last


def test_the_command_line_without_matplotlib(tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from pyfast_nn.cli import main; sys.exit(main(['train', '--plot', 'c.png']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2 and done.stdout == "", "before anything else happens"
    assert len(done.stderr.splitlines()) == 1 and "pip install 'pyfast-nn[plot]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_is_needed():
    """Networks, optimizers, files and the command line work where no optional package is."""
    optional = ["scipy", "matplotlib", "pandas", "sklearn", "torch", "onnx", "IPython", "joblib"]
    done = run(
        f"import sys; sys.modules.update(dict.fromkeys({optional}))\n{MODEL}"
        "import os, tempfile; os.chdir(tempfile.mkdtemp())\n"
        "model.predict(X), model.evaluate(X, y), model.hvp(X, y, model.parameters)\n"
        "model.save('m.safetensors'), fnn.load('m.safetensors')\n"
        "fnn.optim.Adam(w := np.ones(3)).step(w.copy())\n"
        "fnn.curvature.hutchinson_trace(np.eye(4), num_matvecs=3)\n"
        "fnn.inspect.unit_activity(model, X)\n"
        "from pyfast_nn.cli import main; assert main(['train', '--epochs', '1']) == 0\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not PROJECT.is_file(), reason="pyproject.toml is not beside the package")
def test_extras_that_messages_and_pages_name():
    """Each stands in pyproject.toml, and so does every package that is imported."""
    text = PROJECT.read_text()
    extras = re.search(r"\[project\.optional-dependencies\]\n(.*?)\n\n", text, re.DOTALL)[1]
    known = set(re.findall(r"^(\w+) = \[", extras, re.MULTILINE))
    assert known >= {"blas", "curvature", "plot", "sklearn", "test", "docs", "bench"}
    pages = [*PACKAGE.rglob("*.py"), PROJECT.parent / "README.md"]
    pages += (PROJECT.parent / "docs").glob("*.rst")
    named = {
        name
        for page in pages
        for name in re.findall(r"(?:pyfast-nn|'\.|\"\.|\$wheel)\[(\w+)\]", page.read_text())
    }
    assert len(named) > 3 and named <= known, named - known


def test_packages_that_are_imported():
    """Dependencies anywhere; what an extra brings not before it is asked for."""
    needed = {"numpy", "rich", "safetensors"}
    ours = sys.stdlib_module_names | {"pyfast_nn"}
    on_sklearn = {
        path for room in ("metric_learning", "sklearn") for path in (PACKAGE / room).glob("*")
    }
    for path in set(PACKAGE.rglob("*.py")) - on_sklearn:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for name in {name.split(".")[0] for name in names} - ours - needed:
                at_top = node in tree.body
                assert not at_top, f"{path.name}:{node.lineno} imports {name} for everybody"
