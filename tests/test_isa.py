"""The choice of an instruction set, and that code of one never serves another."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pyfast_nn import _core

ALL = ("avx512", "avx2", "portable")
AVAILABLE = _core.available_isas()


def import_core(value):
    """Import the core in a new process with PYFAST_NN_ISA=value (None: unset)."""
    environment = {name: text for name, text in os.environ.items() if name != "PYFAST_NN_ISA"}
    if value is not None:
        environment["PYFAST_NN_ISA"] = value
    code = (
        "from pyfast_nn import _core\n"
        "print(_core.isa(), _core.build_config()['isa'], *_core.available_isas())"
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("value", [None, *AVAILABLE])
def test_environment_chooses(value):
    done = import_core(value)
    assert done.returncode == 0, done.stderr
    chosen = value or AVAILABLE[0]
    assert done.stdout.split() == [chosen, chosen, *AVAILABLE]


@pytest.mark.parametrize("value", ["nonsense", "AVX2 ", *sorted(set(ALL) - set(AVAILABLE))])
def test_unknown_or_lacking_raises(value):
    done = import_core(value)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError") and value in last


def test_available():
    assert set(AVAILABLE) <= set(ALL)
    assert list(AVAILABLE) == [name for name in ALL if name in AVAILABLE]  # best first
    with pytest.raises(ValueError, match="nonsense"):
        _core.use_isa("nonsense")


def test_switch(isa):
    assert _core.isa() == _core.build_config()["isa"] == isa


def test_instruction_sets_agree(dtype, rng):
    """Each computes in its own order, so the bits differ where the widths do; the values do not.
    That they differ at all shows that the switch does something."""
    a, b = (
        rng.standard_normal((65, 300)).astype(dtype),
        rng.standard_normal((300, 33)).astype(dtype),
    )
    before, results = _core.isa(), {}
    try:
        for name in AVAILABLE:
            _core.use_isa(name)
            results[name] = np.empty((65, 33), dtype)
            _core.gemm(a, b, results[name], 1.0, 0.0, False, False)
    finally:
        _core.use_isa(before)
    for result in results.values():
        np.testing.assert_allclose(result, a @ b, atol=1e3 * np.finfo(dtype).eps)
    if len(AVAILABLE) > 1:  # with and without fused multiply-add
        assert (results["portable"] != results[AVAILABLE[0]]).any()


# ------------------------------------------------------------------------------ the machine's code

# Instructions that only newer processors have begin with v (VEX and EVEX), or are of BMI2.
BMI2 = {"bzhi", "mulx", "pdep", "pext", "rorx", "sarx", "shlx", "shrx"}
OLD_V = {"verr", "verw"}
EVEX_OPERAND = re.compile(r"%zmm|%k[0-7]|%[xy]mm(1[6-9]|2\d|3[01])\b")


def level_of(instruction):
    """0: every x86-64 has it; 1: needs AVX2 (or AVX, FMA, BMI2); 2: needs AVX-512."""
    if EVEX_OPERAND.search(instruction):
        return 2
    mnemonic = instruction.split(maxsplit=1)[0] if instruction else ""
    new = mnemonic.startswith("v") and mnemonic not in OLD_V
    return 1 if new or mnemonic.rstrip("lq") in BMI2 else 0


def belongs_to(function, isa):
    """Whether a function, by its name, was compiled for `isa`; objdump leaves some names of Clang's
    as they are in the file."""
    return f"fnn::{isa}::" in function or f"3fnn{len(isa)}{isa}" in function


def allowed_level(function):
    """What a function may use."""
    return 2 if belongs_to(function, "avx512") else int(belongs_to(function, "avx2"))


def read_disassembly(lines):
    """Yield (function, highest level of its instructions, an instruction of that level)."""
    function, level, example = None, 0, ""
    for line in lines:
        if header := re.match(r"^[0-9a-f]+ <(.*)>:$", line):
            if function is not None:
                yield function, level, example
            function, level, example = header[1], 0, ""
        elif line.startswith(" ") and "\t" in line:
            instruction = line.split("\t", 1)[1].strip()
            if (found := level_of(instruction)) > level:
                level, example = found, instruction
    if function is not None:
        yield function, level, example


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
def test_code_of_an_instruction_set_stays_in_its_namespace():
    """Else the linker might have kept, say, the AVX-512 copy of an inline function for all."""
    command = ["objdump", "-d", "-C", "--no-show-raw-insn", _core.__file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as objdump:
        functions = list(read_disassembly(objdump.stdout))
    assert objdump.returncode == 0
    if not any(f"fnn::{AVAILABLE[-1]}::" in name for name, _, _ in functions):
        pytest.skip("the module has been stripped of its symbols")
    wrong = [f"{f}: {example}" for f, level, example in functions if level > allowed_level(f)]
    assert wrong == []
    compiled = [name for name in ("avx512", "avx2") if name in AVAILABLE]
    for name, needed in (("avx512", 2), ("avx2", 1)):  # and the reading itself sees such code
        levels = [level for f, level, _ in functions if belongs_to(f, name)]
        assert levels.count(needed) > 20 or name not in compiled


def test_reading_of_machine_code():
    text = """
0000000000001000 <fnn::avx2::exec::f(float*)>:
    1000:\tvmovups (%rdi),%ymm0
    1004:\tret
0000000000001010 <std::vector<float>::push_back(float&&)>:
    1010:\tmov    %rdi,%rax
    1014:\tvmovss %xmm0,(%rax)
0000000000001020 <fnn::portable::net::g()>:
    1020:\taddps  %xmm1,%xmm0
    1024:\tshlx   %rax,%rbx,%rcx
0000000000001030 <fnn::avx512::net::g()>:
    1030:\tkmovw  %eax,%k1
0000000000001040 <fnn::avx2::net::g()>:
    1040:\tvaddps %xmm1,%xmm17,%xmm0
0000000000001050 <main>:
    1050:\tverr   %ax
"""
    functions = list(read_disassembly(text.splitlines()))
    assert [level for _, level, _ in functions] == [1, 1, 1, 2, 2, 0]
    wrong = [name for name, level, _ in functions if level > allowed_level(name)]
    assert wrong == [functions[1][0], functions[2][0], functions[4][0]]
