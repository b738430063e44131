"""The house rules that a reader of the sources can check: who may know whom."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not CSRC.is_dir(), reason="the sources are not beside the tests"),
]

# Which rooms the headers of a room may come from; files directly in csrc/ belong to "common".
MAY_INCLUDE = {
    "common": {"common"},
    "rules": {"common", "rules"},
    "exec": {"common", "exec"},
    "optim": {"common", "rules", "exec", "optim"},
    "net": {"common", "rules", "exec", "optim", "net"},
    "isa": {"common", "rules", "exec", "optim", "net", "isa"},
    "cuda": {"common", "rules", "exec", "optim", "net", "isa", "cuda"},
    "bindings": {"common", "rules", "exec", "optim", "net", "isa", "bindings"},
}

# What only one room may contain, as a pattern of the code without its comments.
ONLY_IN = {
    "pybind11 and Python's own headers": (
        "bindings",
        r"pybind11|\bPython\.h|\bpy::|\bPy[A-Z]\w+_\w",
    ),
    "OpenMP": ("exec", r"#\s*pragma\s+omp|_Pragma|\bomp\.h|\bomp_\w+\("),
    "intrinsics": ("exec", r"\w+intrin\.h|\barm_neon\.h|\b_mm\d*_\w+\(|\b__m(128|256|512)"),
    "CUDA": ("cuda", r"cuda\w*\.h|<<<|>>>\("),
}

# What a room must not contain: bindings check and call, and compute nothing.
NOT_IN = {
    "bindings": ("arithmetic", r"\bcmath\b|\bstd::(sqrt|pow|exp|log|hypot|fma|isfinite|isnan)\b"),
}

FORBIDDEN_FLAGS = re.compile(
    r"fast-math|Ofast|march=native|mtune=native|mcpu=native|unsafe-math|finite-math|"
    r"associative-math|reciprocal-math|ffp-contract=(fast|on)"
)


def sources(csrc):
    suffixes = {".h", ".hpp", ".c", ".cc", ".cpp", ".cu", ".cuh", ".inc"}
    return sorted(path for path in csrc.rglob("*") if path.suffix in suffixes)


def room_of(path, csrc):
    parts = path.relative_to(csrc).parts
    return parts[0] if len(parts) > 1 else "common"


def without_comments(code):
    return re.sub(r"//[^\n]*|/\*.*?\*/", " ", code, flags=re.DOTALL)


def violations(csrc):
    """Every broken rule of the C++ sources under `csrc`, as a line of text."""
    found = []
    for path in sources(csrc):
        room, name = room_of(path, csrc), path.relative_to(csrc)
        code = without_comments(path.read_text())
        if room not in MAY_INCLUDE:
            found.append(f"{name}: no such room")
            continue
        for header in re.findall(r'^\s*#\s*include\s*"([^"]+)"', code, flags=re.MULTILINE):
            candidates = [folder / header for folder in (csrc, path.parent)]
            target = next((candidate for candidate in candidates if candidate.is_file()), None)
            if target is None:
                found.append(f"{name}: there is no {header}")
            elif room_of(target.resolve(), csrc.resolve()) not in MAY_INCLUDE[room]:
                found.append(f"{name}: {room} must not include {header}")
        for header in re.findall(r"^\s*#\s*include\s*<([^>]+)>", code, flags=re.MULTILINE):
            if (csrc / header).exists():
                found.append(f'{name}: <{header}> should be "{header}"')
        for what, (home, pattern) in ONLY_IN.items():
            if room != home and (match := re.search(pattern, code)):
                found.append(f"{name}: {what} ({match[0]!r}) belong to {home}/ only")
        what, pattern = NOT_IN.get(room, ("", r"(?!)"))
        if match := re.search(pattern, code):
            found.append(f"{name}: {what} ({match[0]!r}) does not belong to {room}/")
        if path.suffix == ".h" and "#pragma once" not in code:
            found.append(f"{name}: #pragma once is missing")
    return found


def test_dependencies_point_one_way():
    assert len(sources(CSRC)) > 10
    assert {room_of(path, CSRC) for path in sources(CSRC)} == MAY_INCLUDE.keys()
    assert violations(CSRC) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("rules/a.h", '#include "exec/e.h"'),
        ("rules/a.h", '#include "../exec/e.h"'),
        ("rules/a.h", '#include "net/n.h"'),
        ("rules/a.h", "#pragma omp simd"),
        ("rules/a.h", "#include <immintrin.h>"),
        ("exec/a.h", '#include "rules/r.h"'),
        ("exec/a.h", '#include "optim/o.h"'),
        ("exec/gemm/a.h", '#include "net/n.h"'),
        ("optim/a.h", '#include "net/n.h"'),
        ("net/a.h", '#include "isa/i.h"'),
        ("net/ops/a.h", "  # pragma omp parallel"),
        ("net/a.h", "__m256 x = _mm256_setzero_ps();"),
        ("net/a.h", "int n = omp_get_max_threads();"),
        ("net/a.h", "#include <pybind11/pybind11.h>"),
        ("isa/a.cpp", '#include "bindings/b.h"'),
        ("exec/a.cpp", "#include <Python.h>"),
        ("exec/a.cpp", "PyErr_CheckSignals();"),
        ("bindings/a.cpp", "double y = std::hypot(a, b);"),
        ("exec/a.cpp", "#include <common.h>"),
        ("exec/a.cpp", '#include "missing.h"'),
        ("net/a.cpp", "kernel<<<1, 1>>>();"),
        ("metal/a.cpp", ""),
    ],
)
def test_a_broken_rule_is_seen(tmp_path, file, line):
    """The reader above, on small trees: one without fault, and the same with one bad line."""
    for name in ("common.h", *(f"{room}/{room[0]}.h" for room in MAY_INCLUDE if room != "common")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('#pragma once\n#include "common.h"  // #pragma omp\n')
    assert violations(tmp_path) == []
    bad = tmp_path / file
    bad.parent.mkdir(parents=True, exist_ok=True)
    bad.write_text(f"#pragma once\n{line}\n")
    assert len(violations(tmp_path)) == 1


# ----------------------------------------------------------------------- Python

PACKAGE = ROOT / "pyfast_nn"

# Each module or package may know those of its own room and of those above it; none in a circle.
PYTHON_ROOMS = [
    "_core _blas typing guidance checks config graph",
    "columns rounding labels scorers sparse atomic pictures cuda runtime threads once",
    "initializers layers convolution pooling recurrent shapes sets augmentation inputs branches"
    " attention implicit losses schedules metrics data datasets history progress bar ops ridge",
    "engine intake outcome",
    "optim listeners modelfile checkpoint exchange orders sources batches early_stopping",
    "training",
    "models",
    "callbacks loggers loading online forward_gradients many pool workers",
    "curvature",
    "inspect",
    "tabular",
    "sklearn",
    "metric_learning",
    "report",
    "cli",
    "__main__ __init__",
]
ROOM_OF = {name: i for i, names in enumerate(PYTHON_ROOMS) for name in names.split()}
COMPILED = ("_core", "_blas")
OF_NAMED_TUPLES = ("_replace", "_asdict", "_fields", "_make")  # public, for all their looks


def module_name(path, package):
    """``"optim.base"`` of ``optim/base.py``, ``"optim"`` of ``optim/__init__.py``."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports(tree, path, package, known):
    """The modules that one imports, also within functions and for its annotations only."""
    here = path.relative_to(package).parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = node.module.split(".") if node.module else []
            if node.level:
                base = [*here[: len(here) - node.level + 1], *base]
            elif base[0] == package.name:
                base = base[1:]
            else:
                continue
            for alias in node.names:
                inner = ".".join([*base, alias.name])
                yield inner if inner in known else ".".join(base) or "__init__"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == package.name:
                    yield ".".join(alias.name.split(".")[1:]) or "__init__"


def a_circle(graph):
    """Modules of which each imports the next, and the last the first; None if there are none."""
    done = set()

    def visit(name, above):
        if name in above:
            return [*above[above.index(name) :], name]
        if name in done or name not in graph:
            return None
        found = next(filter(None, (visit(each, [*above, name]) for each in graph[name])), None)
        done.add(name)
        return found

    return next(filter(None, (visit(name, []) for name in sorted(graph))), None)


def is_private(name):
    return name.startswith("_") and not name.startswith("__") and name not in OF_NAMED_TUPLES


def foreign_private_names(tree):
    """Private names that a module uses and neither defines nor has by inheritance."""
    nodes = list(ast.walk(tree))
    own = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    own |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "cls"):
            own |= {node.attr} if isinstance(node.ctx, ast.Store) else set()
    for node in nodes:
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            if ast.unparse(node.value) not in ("self", "cls", "super()"):
                yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            yield from (name for name in names if is_private(name) and name not in COMPILED)


def python_violations(package):
    """Every broken rule of the Python sources of a package, as a line of text."""
    paths = {module_name(path, package): path for path in sorted(package.rglob("*.py"))}
    trees = {name: ast.parse(path.read_text()) for name, path in paths.items()}
    graph = {}
    found = []
    for name, path in paths.items():
        room, known = ROOM_OF.get(name.split(".")[0]), {*paths, *COMPILED}
        if room is None:
            found.append(f"{name}: in no room")
            continue
        imported = {*imports(trees[name], path, package, known)} - {name}
        upward = {each for each in imported if ROOM_OF.get(each.split(".")[0], -1) > room}
        found += [f"{name} must not import {each}" for each in sorted(upward)]
        found += [f"{name} uses {each}" for each in foreign_private_names(trees[name])]
        graph[name] = sorted(imported - upward)
    circle = a_circle(graph)
    return found + ([] if circle is None else ["circle: " + " > ".join(circle)])


def test_rooms_of_python():
    modules = {module_name(path, PACKAGE).split(".")[0] for path in PACKAGE.rglob("*.py")}
    assert len(modules) > 20 and modules | {*COMPILED} == ROOM_OF.keys()
    assert python_violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("data.py", "from . import engine", "data must not import engine"),
        ("data.py", "from .engine import Engine", "data must not import engine"),
        ("data.py", "def f():\n    from .models import Sequential", "data must not import models"),
        ("data.py", "if TYPE_CHECKING:\n    from .models import A", "data must not import models"),
        ("data.py", "from pyfast_nn.engine import Engine", "data must not import engine"),
        ("data.py", "import pyfast_nn.engine", "data must not import engine"),
        ("data.py", "import pyfast_nn as fnn", "data must not import __init__"),
        ("data.py", "from . import f", "data must not import __init__"),
        ("optim/base.py", "from ..training import fit", "optim.base must not import training"),
        ("optim/base.py", "from .. import training", "optim.base must not import training"),
        ("optim/base.py", "from .sgd import SGD", "circle: "),
        ("optim/base.py", "def f():\n    from . import sgd", "circle: "),
        ("optim/base.py", "from .. import optim", "circle: optim > optim.sgd > optim.base > optim"),
        ("data.py", "from . import layers", "circle: data > layers > data"),
        ("elsewhere.py", "", "elsewhere: in no room"),
        ("data.py", "from .checks import _f", "data uses _f"),
        ("data.py", "checks._f()", "data uses checks._f"),
        ("data.py", "def f(model):\n    return model._x", "data uses model._x"),
        ("data.py", "def f(self):\n    return self._x._y", "data uses self._x._y"),
        ("data.py", "def f(model):\n    model._x = 1", "data uses model._x"),
    ],
)
def test_a_broken_rule_of_python_is_seen(tmp_path, file, line, broken):
    """The reader above, on a small package: one without fault, and the same with one bad line."""
    package = tmp_path / "pyfast_nn"
    sources = {
        "__init__.py": "from . import data, layers, optim\nfrom .models import Sequential\n",
        "checks.py": "def _f(): ...\n_f()\n",
        "data.py": "import sys\nfrom collections import abc\nfrom . import _core, checks\n",
        "layers.py": "from .data import f\n",
        "engine.py": "from . import data\n",
        "models.py": "class A:\n    def f(self, b):\n        self._x = 1\n        return b._x\n",
        "training.py": "from .engine import f\ndef f(x):\n    return x.__dict__, x._replace()\n",
        "optim/__init__.py": "from .sgd import SGD\n",
        "optim/base.py": "from ..engine import Engine\n",
        "optim/sgd.py": "from .base import A\nclass B(A):\n    def f(self):\n        self._g()\n",
    }
    (package / "optim").mkdir(parents=True)
    for name, text in sources.items():
        (package / name).write_text(text)
    assert python_violations(package) == []
    bad = package / file
    bad.write_text(sources.get(file, "") + line + "\n")
    found = python_violations(package)
    assert len(found) == 1 and found[0].startswith(broken), found


# ----------------------------------------------------------------------- flags


def test_flags_keep_arithmetic_exact_and_wheels_portable():
    """No option of the compiler that changes results, or ties the package to this machine."""
    setup = ROOT / "setup.py"
    options = [
        node.value
        for node in ast.walk(ast.parse(setup.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert any("-ffp-contract=off" in option for option in options)
    for option in options:
        for word in option.split() if option.lstrip().startswith("-") else []:
            assert not FORBIDDEN_FLAGS.search(word), word
    for file in ("pyproject.toml", ".ci/run", "MANIFEST.in"):
        if (ROOT / file).is_file():
            text = re.sub(r"#[^\n]*", "", (ROOT / file).read_text())
            assert not FORBIDDEN_FLAGS.search(text), file
    for path in sources(CSRC):
        assert not re.search(r"pragma GCC optimize|__attribute__\(\(optimize", path.read_text())
