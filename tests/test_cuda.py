"""Networks on a GPU: what is said where there is none."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

import pyfast_nn as fnn
from pyfast_nn import _core

pytestmark = pytest.mark.once

WITHOUT = "device: expected 'cpu', got 'cuda', for which this build has no code; .*PYFAST_NN_CUDA=1"


@pytest.fixture
def without(monkeypatch):
    """A build without code for GPUs, and with no library open."""
    monkeypatch.setattr(_core, "is_open_device", lambda name: False)
    monkeypatch.setattr(fnn.cuda, "library", lambda: None)


def layers():
    return [fnn.Dense(8), fnn.ReLU(), fnn.Dense(3)]


def test_a_build_without(without):
    assert not fnn.cuda.is_available()
    assert fnn.build_config()["cuda"] is False
    model = fnn.Sequential(layers()).build(4)
    for call in (
        fnn.cuda.get_device_name,
        lambda: fnn.Sequential(layers(), device="cuda"),
        lambda: model.to("cuda"),
    ):
        with pytest.raises(RuntimeError, match=WITHOUT):
            call()
    assert model.device == "cpu"


def test_a_pickle_from_another_machine(without):
    model = fnn.Sequential(layers()).build(4)
    model._engine.device = "cuda"
    with pytest.raises(RuntimeError, match=WITHOUT):
        pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize(
    ("device", "error"), [("gpu", ValueError), ("cuda:0", ValueError), (0, TypeError)]
)
def test_names_of_devices(device, error):
    for call in (
        lambda: fnn.Sequential(layers(), device=device),
        lambda: fnn.Sequential(layers()).to(device),
    ):
        with pytest.raises(error, match=r"device: expected one of cpu, cuda, got"):
            call()
    with pytest.raises(ValueError, match="device: expected 'cpu', or one that is open, got 'gpu'"):
        _core.Network("float32", 2, [{"kind": "relu"}], True, "gpu")


def test_the_processor():
    model = fnn.Sequential(layers()).build(4)
    assert model.device == "cpu" and model.to("cpu") is model
    assert "device" not in repr(model)


def test_files_that_are_no_library_of_a_device(tmp_path):
    nothing = tmp_path / "nothing.so"
    nothing.write_bytes(b"nothing")
    for path, why in ((nothing, "nothing.so"), (_core.__file__, "it is no library of a device")):
        with pytest.raises(RuntimeError, match=rf"device: expected a library .*{why}"):
            _core.open_device(str(path))


def test_nothing_is_opened_at_import():
    code = "import pyfast_nn; from pyfast_nn import _core; print(_core.is_open_device('cuda'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
