"""The examples in the documentation run: docstrings, the pages in docs/, the code in the README."""

import doctest
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import pyfast_nn as fnn

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def names():
    """What the examples of docstrings may use without saying where it comes from."""
    X, y = fnn.datasets.load_digits()
    X = X / 16
    model = fnn.Sequential([fnn.Dense(32), fnn.ReLU(), fnn.Dense(10)], seed=0)
    model.fit(X[300:], y[300:], loss="cross_entropy", epochs=3)
    return {
        "fnn": fnn,
        "np": np,
        "X": X[600:],
        "y": y[600:],
        "Xv": X[300:600],
        "yv": y[300:600],
        "Xt": X[:300],
        "yt": y[:300],
        "model": model,
        "v": np.ones(model.n_parameters),
    }


def examples():
    modules = [fnn] + [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(fnn.__path__, "pyfast_nn.")
        if "._" not in module.name
    ]
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [test for module in modules for test in finder.find(module) if test.examples]


def run(test):
    for example in test.examples:  # of another library, where it is
        for name in re.findall(r"^import (\w+)", example.source, re.MULTILINE):
            if importlib.util.find_spec(name) is None:
                pytest.skip(f"{test.name} shows it beside {name}")
    results = doctest.DocTestRunner(optionflags=FLAGS).run(test)
    assert results.failed == 0, f"{results.failed} of {results.attempted} examples, printed above"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch, restore_threads):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_docstring(test):
    test.globs.update(names())
    run(test)


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the pages are not beside the tests")
def test_reference_lists_every_public_name():
    listed = set(
        re.findall(r"^   ([\w.]+)$", (ROOT / "docs" / "api.rst").read_text(), re.MULTILINE)
    )
    public = set()
    for name in fnn.__all__:
        value = getattr(fnn, name)
        if inspect.ismodule(value):
            public |= {f"{name}.{member}" for member in value.__all__}
        elif not name.startswith("_"):
            public.add(name)
    if importlib.util.find_spec("sklearn") is not None:
        for room in (fnn.metric_learning, fnn.sklearn):
            name = room.__name__.removeprefix("pyfast_nn.")
            public |= {f"{name}.{member}" for member in room.__all__}
    assert listed >= public, f"docs/api.rst lacks {sorted(public - listed)}"


# Of Keras on torch, which new versions of NumPy tell of.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.rst")), ids=lambda page: page.name)
def test_page(page):
    run(doctest.DocTestParser().get_doctest(page.read_text(), {}, page.name, str(page), 0))


@pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="no benchmarks beside the tests")
def test_numbers_of_the_readme_are_those_of_the_page(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import pages

    page, readme = pages.SPEED.read_text(), pages.README.read_text()
    assert f"{pages.BEGIN}\n\n{pages.six_rows(page)}\n{pages.END}" in readme
    # Measured again, a section is replaced, and the README follows.
    for path in (pages.SPEED, pages.README):
        (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(pages, "SPEED", tmp_path / "speed.rst")
    monkeypatch.setattr(pages, "README", tmp_path / "README.md")
    table = "| network, rows | library | us | times ours |\n| --- | --- | ---: | ---: |\n"
    table += "| 64-64-10, 1 | pyfast_nn | 1,234 | 1.0 |\n| 64-64-10, 1 | torch eager | 5 | 17.3 |\n"
    text = f"Inference: `X`.\n\n{table}"
    pages.publish("inference", text, "`python compare.py` on a machine\n")
    assert "64-64-10 | 1,234 us | 17x |  |  |  |" in (tmp_path / "README.md").read_text()
    changed = (tmp_path / "speed.rst").read_text()
    assert '"64-64-10, 1",pyfast_nn,"1,234",1.0\n' in changed and "``X``" in changed
    assert "784-512-512-10, 1000" not in changed and changed.count(".. csv-table::") == page.count(
        ".. csv-table::"
    )


@pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="the README is not beside the tests")
def test_links_to_files():
    """In what one reads before installing, each link within the repository leads somewhere."""
    for page in ("README.md", "CONTRIBUTING.md", "examples/README.md"):
        links = re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / page).read_text())
        assert links or page == "CONTRIBUTING.md"
        for link in links:
            assert ((ROOT / page).parent / link).exists(), f"{page}: {link}"


@pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="the README is not beside the tests")
def test_readme():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    names = {}
    for code in blocks:  # each goes on from those before
        exec(compile(code, "README.md", "exec"), names)
    A, b, params = (names[name] for name in ("A", "b", "params"))
    exact = np.linalg.lstsq(np.c_[A, np.ones(len(A))], b, rcond=None)[0]
    np.testing.assert_allclose([*params["w"], params["offset"]], exact, atol=1e-6)
