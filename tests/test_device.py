"""Formulas compile as code for a GPU: who writes one that needs the host learns it here."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CSRC = HERE.parent / "csrc"
SOURCE = HERE / "device" / "rules.cu"

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not CSRC.is_dir(), reason="the sources are not beside the tests"),
]

COMPILERS = {
    "nvcc": ["--ptx", "-Werror", "all-warnings", "-o", "/dev/null"],
    "clang++": [
        *("-x", "cuda", "--cuda-device-only", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"),
        *("-nocudainc", "-nocudalib", "-Wno-unknown-cuda-version"),  # whether CUDA is there or not
        *("-include", str(HERE / "device" / "clang.h")),
    ],
}
INSTALLED = [name for name in COMPILERS if shutil.which(name)]


def check(compiler, csrc):
    """What the compiler has against the rules in `csrc`; an empty text if it takes them all."""
    command = [compiler, "-std=c++17", f"-I{csrc}", *COMPILERS[compiler], str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0 or done.stderr == ""
    return done.stderr if done.returncode != 0 else ""


@pytest.fixture(params=COMPILERS)
def compiler(request):
    if request.param not in INSTALLED:
        pytest.skip(f"{request.param} is not installed")
    return request.param


def test_rules_compile_for_a_device(compiler):
    assert check(compiler, CSRC) == ""


def test_every_rule_is_compiled():
    parts_of_others = {"Block", "Format", "Gated", "Logistic", "Moments", "Regression", "Split"}
    parts_of_others |= {"MultiplyWords", "Turn", "Moving", "LSTM", "GRU", "WithoutLastBits"}
    headers = [path.read_text() for path in (CSRC / "rules").glob("*.h")]
    rules = {name for text in headers for name in re.findall(r"^struct (\w+)", text, re.MULTILINE)}
    assert parts_of_others < rules
    assert rules - parts_of_others <= set(re.findall(r"\w+", SOURCE.read_text()))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("FNN_RULE static T slack(", "static T slack("),  # a function without its mark
        ("{ return (z - t) * (z - t); }", "{ return std::vector<T>{z - t}[0] * (z - t); }"),
    ],
)
def test_code_for_the_host_alone_is_seen(compiler, tmp_path, old, new):
    shutil.copytree(CSRC, tmp_path / "csrc")
    header = tmp_path / "csrc" / "rules" / "losses.h"
    text = header.read_text()
    assert text.count(old) == 1
    header.write_text("#include <vector>\n" + text.replace(old, new))
    assert re.search(r"losses\.h.*__host__", check(compiler, tmp_path / "csrc"))
