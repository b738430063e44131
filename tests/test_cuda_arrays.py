"""Optimizers of arrays on a GPU, by an emulator: of those that tell their address, and DLPack."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import dlpack
import emulated
import pyfast_nn as fnn
from conftest import assert_close, assert_same_bits
from dlpack import Lender
from pyfast_nn import _core
from pyfast_nn.optim import gpu as gpu_arrays
from pyfast_nn.optim.gpu import DeviceArray
from test_cuda import OPTIMIZERS, WITHOUT

pytestmark = pytest.mark.once


def put(tree, device="cuda"):
    """Copies of arrays, in the memory of a GPU."""
    if isinstance(tree, dict):
        return {key: put(child, device) for key, child in tree.items()}
    return DeviceArray.like(tree.ravel(), device).reshape(tree.shape)


def lend(tree, device="cuda", **options):
    """Copies of arrays there, by lenders that speak DLPack alone."""
    if isinstance(tree, dict):
        return {key: lend(child, device, **options) for key, child in tree.items()}
    owner = put(tree, device)
    address = owner.__cuda_array_interface__["data"][0]
    gpu = int(device.partition(":")[2] or 0)
    return Lender(owner, address, tree.shape, 8 * tree.itemsize, gpu=gpu, **options)


class OnStream:
    """An array there that names the stream of its work, as CuPy's do."""

    def __init__(self, owner, stream):
        self.owner, self.stream = owner, stream

    @property
    def __cuda_array_interface__(self):
        return self.owner.__cuda_array_interface__ | {"stream": self.stream}


ELEMENTWISE = sorted(set(OPTIMIZERS) - {"LAMB", "Adafactor", "Muon", "clipped"})


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_arrays_on_a_gpu(gpu, rng, dtype, name):
    shapes = {"w": (70, 30), "b": (30,), "none": (0, 3), "scale": ()}
    params = {key: rng.normal(size=shape).astype(dtype) for key, shape in shapes.items()}
    there = put(params)
    cpu, device = OPTIMIZERS[name](params), OPTIMIZERS[name](there)
    for step in range(4):
        grads = {key: rng.normal(size=shape).astype(dtype) for key, shape in shapes.items()}
        on_gpu = put(grads)
        if step == 1:
            grads["b"] = on_gpu["b"] = None  # to it this is no step
        cpu.step(grads)
        device.step(on_gpu)
    assert device.step_count == 4
    for key, array in params.items():
        assert_close(np.asarray(there[key]), array, dtype)
        assert device.state[key].keys() == cpu.state[key].keys()
        for state, expected in cpu.state[key].items():
            on_device = device.state[key][state]
            assert on_device.__cuda_array_interface__["shape"] == expected.shape
            assert_close(np.asarray(on_device), expected, dtype)


def test_groups_of_arrays_on_a_gpu(gpu, rng):
    params = {key: rng.normal(size=(5, 4)) for key in "abc"}
    there = put(params)

    def groups(key):
        return {"a": {"lr": 0.1}, "b": {"trainable": False}, "c": {}}[key]

    optimizers = [fnn.optim.Adam(tree, groups=groups) for tree in (params, there)]
    for _ in range(3):
        grads = {key: rng.normal(size=(5, 4)) for key in "abc"}
        for optimizer, tree in zip(optimizers, (grads, put(grads)), strict=True):
            optimizer.step(tree)
    for key, array in params.items():
        assert_close(np.asarray(there[key]), array, "float64")


def test_an_optimizer_of_arrays_on_a_gpu_is_saved(gpu, rng, tmp_path):
    params, grads = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    there = put(params)
    first = fnn.optim.Adam(there)
    first.step(put(grads))
    first.save(tmp_path / "adam")
    state = first.state_dict()
    again = put(np.asarray(there))
    second = fnn.optim.Adam(again)
    second.load(tmp_path / "adam")
    first.step(put(grads))
    second.step(put(grads))
    assert_same_bits(np.asarray(again), np.asarray(there))
    assert state["step_count"] == 1 and isinstance(state["state"][""]["exp_avg"], np.ndarray)


def test_what_arrays_on_a_gpu_may_not_be(gpu, rng):
    array = rng.normal(size=(6, 4))
    there = put(array)
    optimizer = fnn.optim.Adam(there)
    before = np.asarray(there)
    for grads, message in (
        (array, "grads: expected an array on the GPU, where the parameters are, got ndarray of"),
        (put(array.T), r"grads: expected shape \(6, 4\), that of its parameter"),
        (DeviceArray.like(array.ravel(), "cuda").reshape((6, 4), order="F"), "in the memory order"),
        (put(array.astype("float32")), "grads: expected dtype float64"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            optimizer.step(grads)
    with pytest.raises(TypeError, match="grads: expected an array of the processor, as the para"):
        fnn.optim.Adam(array).step(there)
    with pytest.raises(TypeError, match=r"params\['b'\]: expected an array on the GPU"):
        fnn.optim.Adam({"a": there, "b": array})
    with pytest.raises(ValueError, match="clip_norm: expected no options around the step"):
        fnn.optim.Adam(there, clip_norm=1.0).step(put(array))
    with pytest.raises(ValueError, match="optimizer: expected an elementwise rule"):
        fnn.optim.LAMB(there).step(put(array))
    assert_same_bits(np.asarray(there), before)
    assert optimizer.step_count == 0


def test_arrays_on_a_gpu_without_code_for_it(without):
    class Elsewhere:
        __cuda_array_interface__ = {  # noqa: RUF012
            "shape": (3,), "typestr": "<f4", "data": (4096, False), "version": 3,
        }  # fmt: skip

    with pytest.raises(RuntimeError, match=f"params: {WITHOUT}"):
        fnn.optim.Adam(Elsewhere())


# ------------------------------------------------------------------------------------- DLPack


@pytest.mark.parametrize("name", ["Adam", "Nesterov", "Lion"])
@pytest.mark.parametrize("grads_version", [0, 1])
def test_arrays_by_dlpack(gpu, rng, dtype, name, grads_version):
    shapes = {"w": (7, 30), "b": (30,), "none": (0, 3), "scale": ()}
    params = {key: rng.normal(size=shape).astype(dtype) for key, shape in shapes.items()}
    there = lend(params)
    cpu, device = OPTIMIZERS[name](params), OPTIMIZERS[name](there)
    for _ in range(3):
        grads = {key: rng.normal(size=shape).astype(dtype) for key, shape in shapes.items()}
        cpu.step(grads)
        device.step(lend(grads, version=grads_version, flags=dlpack.READ_ONLY))
    for key, array in params.items():
        assert_close(np.asarray(there[key].owner), array, dtype)
        for state, expected in cpu.state[key].items():
            assert_close(np.asarray(device.state[key][state]), expected, dtype)


def test_layouts_by_dlpack(gpu, rng):
    """Fortran order, an offset of bytes, and memory that moves between the two sides."""
    step, rows = rng.normal(size=(2, 6, 4))
    fortran = put(rows.T.copy())
    address = fortran.__cuda_array_interface__["data"][0]
    optimizer = fnn.optim.SGD(Lender(fortran, address, (6, 4), 64, strides=(1, 6)), lr=1.0)
    grads = put(step.T.copy())
    address = grads.__cuda_array_interface__["data"][0]
    optimizer.step(Lender(grads, address, (6, 4), 64, strides=(1, 6)))
    assert_close(np.asarray(fortran).T, rows - step, "float64")
    with pytest.raises(ValueError, match="grads: expected gradients in the memory order"):
        optimizer.step(lend(step))

    part = put(rows)
    address = part.__cuda_array_interface__["data"][0] + 8 * 4 * 2
    second = Lender(part, address, (4, 4), 64, offset=64, kind=dlpack.MANAGED)
    fnn.optim.SGD(second, lr=1.0).step(lend(step[:4]))
    expected = rows.copy()
    expected[2:] -= step[:4]
    assert_same_bits(np.asarray(part), expected)


def test_what_dlpack_may_not_lend(gpu, rng):
    array = rng.normal(size=(3, 2))
    read_only = "params: expected an array that may be written to, got a read-only Lender; .*JAX"
    for options, error, message in (
        ({"flags": dlpack.READ_ONLY}, ValueError, read_only),
        ({"flags": dlpack.IS_COPIED}, ValueError, read_only),
        ({"version": 0}, ValueError, read_only),  # it cannot say
        ({"version": 2}, TypeError, "params: expected DLPack 1 or before"),
        ({"code": dlpack.BFLOAT}, TypeError, "params: expected numbers of a type that NumPy has"),
        ({"code": dlpack.INT}, TypeError, "params: expected dtype float32 or float64, got int64"),
        ({"offset": 1 << 40, "strides": (0, 1)}, ValueError, "params: expected a place for each"),
    ):
        lender = lend(array, **options)
        with pytest.raises(error, match=message):
            fnn.optim.Adam(lender)
        gc.collect()
        assert lender.streams and lender.lent == 0

    class Refuses(Lender):
        def __dlpack__(self, **_):
            raise BufferError("it is not to be had")

    class NoCapsule(Lender):
        def __dlpack__(self, **_):
            return "dltensor"

    for kind, error, message in (
        (Refuses, BufferError, "grads: it is not to be had"),
        (NoCapsule, TypeError, "grads: expected a capsule of DLPack, got str"),
    ):
        grads = lend(array)
        grads.__class__ = kind
        there = lend(array)
        optimizer = fnn.optim.Adam(there)
        with pytest.raises(error, match=message):
            optimizer.step(grads)
        assert optimizer.step_count == 0
        assert_same_bits(np.asarray(there.owner), array)


def test_what_was_lent_is_given_back(gpu, rng):
    array = rng.normal(size=(3, 2))
    there, grads = lend(array), lend(array)
    optimizer = fnn.optim.Adam(there)
    for _ in range(3):
        optimizer.step(grads)
        assert grads.lent == 0
    with pytest.raises(ValueError, match="grads: expected shape"):
        optimizer.step(short := lend(array[:2]))
    assert short.lent == 0 and there.lent > 0
    del optimizer
    gc.collect()
    assert there.lent == 0


@pytest.mark.parametrize("version", [0, 1])
def test_states_by_dlpack(gpu, rng, dtype, version):
    params = np.asfortranarray(rng.normal(size=(3, 2)).astype(dtype))
    vector = DeviceArray.like(params.ravel(order="F"), "cuda:1")
    optimizer = fnn.optim.Adam(vector.reshape((3, 2), order="F"))
    optimizer.step(DeviceArray.like(params.ravel(order="F"), "cuda:1").reshape((3, 2), order="F"))
    state = optimizer.state[""]["exp_avg"]
    assert state.__dlpack_device__() == (dlpack.CUDA, 1)
    capsule = state.__dlpack__(**({"max_version": (1, 1)} if version else {}))
    managed = dlpack.read(capsule)
    assert isinstance(managed, dlpack.Versioned if version else dlpack.Managed)
    if version:
        assert (managed.major, managed.minor, managed.flags) == (1, 0, 0)
    tensor, interface = managed.tensor, state.__cuda_array_interface__
    assert tensor.data == interface["data"][0] and tensor.byte_offset == 0
    assert (tensor.device_type, tensor.device_id) == (dlpack.CUDA, 1)
    assert (tensor.code, tensor.bits, tensor.lanes) == (dlpack.FLOAT, 8 * params.itemsize, 1)
    assert tensor.ndim == 2 and tensor.shape[:2] == [3, 2] and tensor.strides[:2] == [1, 3]
    assert interface["strides"] == params.strides
    # Who borrows it may outlive the array.
    lent = _core.BorrowedArray(capsule)
    del optimizer, state
    gc.collect()
    assert lent.__array_interface__["data"] == (interface["data"][0], not version)
    with pytest.raises(TypeError, match="expected a capsule of DLPack, got PyCapsule"):
        _core.BorrowedArray(capsule)  # a second time


def test_what_a_state_does_not_lend(gpu, rng):
    there = put(rng.normal(size=3))
    for how in ({"dl_device": (dlpack.CPU, 0)}, {"copy": True}):
        with pytest.raises(BufferError, match=f"{next(iter(how))}: expected"):
            there.__dlpack__(**how)
    assert dlpack.read(there.__dlpack__(dl_device=(dlpack.CUDA, 0), copy=False, stream=2))


def test_arrays_by_dlpack_of_the_processor(rng):
    """They are updated in place, too; those of JAX cannot be."""
    torch = pytest.importorskip("torch", reason="updates torch's tensors")
    array, grads = rng.normal(size=(2, 4, 3))
    tensor = torch.tensor(array)
    fnn.optim.SGD(tensor, lr=1.0).step(torch.tensor(grads))
    assert_same_bits(tensor.numpy(), array - grads)
    lender = Lender(array, array.ctypes.data, array.shape, 64, kind=dlpack.CPU)
    expected = array - grads
    fnn.optim.SGD(lender, lr=1.0).step(grads)
    assert_same_bits(array, expected)


def test_arrays_of_jax():
    jax = pytest.importorskip("jax", reason="arrays that are immutable")
    array = jax.numpy.ones(3)
    with pytest.raises(ValueError, match=r"params: expected an array that may be written .*JAX"):
        fnn.optim.Adam(array)
    params = np.ones(3, np.float32)
    fnn.optim.SGD(params, lr=1.0).step(array)
    assert (params == 0).all() and (array == 1).all()


# ------------------------------------------------------------------------------------ streams


def test_streams():
    class Elsewhere:
        __cuda_array_interface__ = None

        def __init__(self, stream):
            self.__cuda_array_interface__ = {"stream": stream}

    one, other = Elsewhere(None), Elsewhere(77)
    assert gpu_arrays.stream_of({"a": None, "b": [one, other]}) == (77, False)
    assert gpu_arrays.stream_of([None, one]) == (1, True)
    assert gpu_arrays.stream_of([object(), other]) == (77, True)


def test_steps_on_the_stream_of_the_gradients(emulator, rng):
    array = rng.normal(size=(3, 2))
    there = put(array)
    stream = emulator.emulate_new_stream(0)
    optimizer = fnn.optim.SGD([there, put(array)], lr=1.0)
    grads = [OnStream(put(array), stream), put(array)]  # whose end would be waited for
    optimizer.step(grads)
    assert emulator.emulate_queued(stream) > 0
    emulator.emulate_wait(stream)
    assert (np.asarray(there) == 0).all()
    # Those of DLPack alone have to be ready for it, and find the step done.
    lent = lend(array)
    optimizer.step([grads[0], lent])
    assert lent.streams == [stream] and emulator.emulate_queued(stream) == 0
    optimizer.step([lent, grads[0]])
    assert lent.streams == [stream] * 2 and emulator.emulate_queued(stream) == 0
    optimizer.step([lent, lent])
    assert lent.streams == [stream, stream, 1, 1]

    owner = lend(array)
    optimizer = fnn.optim.SGD(owner, lr=1.0)
    optimizer.step(grads[0])  # and so do parameters
    assert emulator.emulate_queued(stream) == 0
    assert set(owner.streams) == {1}


def test_states_are_done_when_they_are_read(emulator, rng):
    array = rng.normal(size=4)
    optimizer = fnn.optim.SGD(put(array), lr=0.1, momentum=0.9)
    stream = emulator.emulate_new_stream(0)
    (name,) = optimizer.state[""] or ["momentum_buffer"]

    grads = OnStream(put(array), stream)

    def step():
        optimizer.step(grads)
        assert emulator.emulate_queued(stream) > 0
        return optimizer.state[""][name]

    for read in (
        lambda state: state.__cuda_array_interface__,
        lambda state: state.__dlpack__(),
        np.asarray,
    ):
        read(step())
        assert emulator.emulate_queued(stream) == 0
    step().__dlpack__(stream=-1)  # whoever asks like this waits
    assert emulator.emulate_queued(stream) > 0
    emulator.emulate_wait(stream)


# ------------------------------------------------------------------------------- several GPUs


@pytest.mark.parametrize("give", [put, lend])
def test_arrays_on_another_gpu(emulator, rng, give):
    params, grads = rng.normal(size=(2, 5, 4))
    there = give({"none": np.empty(0), "w": params}, "cuda:1")
    optimizer = fnn.optim.Adam(there)
    first, second = emulator.emulate_launches(0), emulator.emulate_launches(1)
    optimizer.step(give({"none": np.empty(0), "w": grads}, "cuda:1"))
    assert emulator.emulate_launches(0) == first and emulator.emulate_launches(1) > second
    assert emulator.emulate_entered() == 0
    assert optimizer.state["w"]["exp_avg"].__dlpack_device__() == (dlpack.CUDA, 1)
    cpu = params.copy()
    fnn.optim.Adam(cpu).step(grads)
    found = there["w"] if give is put else there["w"].owner
    assert_close(np.asarray(found), cpu, "float64")


def test_arrays_on_two_gpus(emulator, rng):
    array = rng.normal(size=(5, 4))
    on_first, on_second = put(array, "cuda:0"), put(array, "cuda:1")
    with pytest.raises(ValueError, match=r"params\[1\]: expected an array on cuda:0, .* on cuda:1"):
        fnn.optim.Adam([on_first, on_second])
    optimizer = fnn.optim.Adam(on_second)
    with pytest.raises(ValueError, match=r"grads: expected an array on cuda:1, .*one on cuda:0"):
        optimizer.step(on_first)
    assert_same_bits(np.asarray(on_second), array)
    assert optimizer.step_count == 0 and emulator.emulate_entered() == 0
    for each in (on_first, on_second):
        fnn.optim.Adam(each).step(put(array, f"cuda:{each.__dlpack_device__()[1]}"))
    assert_same_bits(np.asarray(on_first), np.asarray(on_second))


def test_an_address_that_is_none(gpu):
    lender = Lender(None, 4096, (3,), 64)
    with pytest.raises(ValueError, match="params: expected memory of a GPU, got an address that"):
        fnn.optim.Adam(lender)


def test_states_that_do_not_fit(library):
    code = """
import numpy as np
from pyfast_nn.optim.gpu import DeviceArray
params, grads = (DeviceArray.like(np.ones(1000), "cuda") for _ in range(2))
optimizer = fnn.optim.Adam(params)
for _ in range(2):
    try:
        optimizer.step(grads)
    except MemoryError as error:
        print("device: expected memory" in str(error), (np.asarray(params) == 1).all())
print(optimizer.step_count)
fnn.optim.SGD(params, lr=1.0).step(grads)
print((np.asarray(params) == 0).all())
"""
    expected = "True True\n" * 2 + "0\nTrue\n"
    assert emulated.run_elsewhere(code, library, EMULATE_BYTES="20000") == expected
