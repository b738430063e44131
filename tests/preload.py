"""Libraries that a test preloads into a process of its own, to make calls of it fail."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def build(name, folder):
    """Compile shims/`name`.cpp into `folder`; return the path of the library."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if shutil.which(compiler[0]) is None or platform.libc_ver()[0] != "glibc":
        pytest.skip("needs a C++ compiler and glibc")
    library = folder / f"{name}.so"
    options = ["-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    source = HERE / "shims" / f"{name}.cpp"
    subprocess.run([*compiler, *options, source, "-o", library, "-ldl"], check=True)
    return library


def run(script, *arguments, library=None):
    """Run a script beside this file, perhaps under a library; return what it prints."""
    done = subprocess.run(
        [sys.executable, HERE / script, *map(str, arguments)],
        # Threads that wait between calls take no processor from those that work.
        env=os.environ
        | {"OMP_WAIT_POLICY": "passive"}
        | ({"LD_PRELOAD": str(library)} if library else {}),
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout
