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
    "CUDA": (None, r"cuda\w*\.h|<<<|>>>\("),
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
        ("exec/a.cpp", "#include <common.h>"),
        ("exec/a.cpp", '#include "missing.h"'),
        ("cuda/a.cpp", ""),
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
