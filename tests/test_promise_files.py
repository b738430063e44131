"""The promises about files: saves that are cut short, disks that fail, and damaged model files."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import preload
import pyfast_nn as fnn
from conftest import FULL

pytestmark = [pytest.mark.once, pytest.mark.alone]


@pytest.fixture(scope="module")
def failing_files(tmp_path_factory):
    return preload.build("failing_files", tmp_path_factory.mktemp("shims"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.mark.parametrize("how", ["fail", "kill"])
def test_each_call_of_a_save(failing_files, folder, how):
    """Each call to open, write, ftruncate, fsync, rename and unlink in turn fails (OSError, the old
    file intact, nothing beside it) or is where the process is killed. See failing_disk.py."""
    count = int(preload.run("failing_disk.py", how, folder, library=failing_files))
    assert count >= 6


def test_kills_at_random_moments(folder):
    """The old file or a new one, whole; the next save leaves nothing beside it."""
    count = 500 if FULL else 20
    assert int(preload.run("failing_disk.py", "kill_at_random", folder, count)) == count


def test_a_full_disk(folder):
    """A real one, where this user may mount a small file system in a namespace of its own."""
    code = f"""
import os
import pyfast_nn as fnn

path = {str(folder / "m.safetensors")!r}
small, large = fnn.Sequential([fnn.Dense(9)]).build(99), fnn.Sequential([fnn.Dense(99)]).build(999)
small.save(path)
try:
    large.save(path)
except OSError as error:
    print(error.errno, fnn.load(path).n_parameters, os.listdir({str(folder)!r}))
"""
    script = 'mount -t tmpfs -o size=64k tmpfs "$1" && exec "$2" -c "$3"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", folder]
    try:
        done = subprocess.run([*command, sys.executable, code], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs unshare")
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"needs user namespaces: {done.stderr}")
    assert done.stdout == "28 900 ['m.safetensors']\n", done.stderr


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files(folder, seed):
    """ModelFileError or a model, in memory bounded by the file's size; nothing is imported,
    compiled, executed or opened. See mutated.py."""
    count = 25_000 if FULL else 300
    refused, models = map(int, preload.run("mutated.py", folder, count, seed).split())
    assert refused + models >= count and min(refused, models) > count // 20


def test_every_truncation(folder):
    path = folder / "m.safetensors"
    fnn.Sequential([fnn.Dense(3), fnn.ReLU(), fnn.Dense(2)]).build(4).save(path)
    whole = os.path.getsize(path)
    for size in reversed(range(whole)):
        os.truncate(path, size)
        with pytest.raises(fnn.ModelFileError, match="not an intact safetensors file"):
            fnn.load(path)
