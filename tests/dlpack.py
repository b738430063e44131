"""DLPack as its header lays it out, in ctypes: lenders of it alone, and what capsules hold."""

from __future__ import annotations

import ctypes

CPU, CUDA, MANAGED = 1, 2, 13
INT, FLOAT, BFLOAT = 0, 2, 4
READ_ONLY, IS_COPIED = 1, 2


class Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Managed(ctypes.Structure):
    _fields_ = (("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", Deleter))


class Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", Deleter),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    )


_python = ctypes.pythonapi
_python.PyCapsule_New.restype = ctypes.py_object
_python.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_python.PyCapsule_GetName.restype = ctypes.c_char_p
_python.PyCapsule_GetName.argtypes = [ctypes.py_object]
_python.PyCapsule_GetPointer.restype = ctypes.c_void_p
_python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
NAMES = {Managed: b"dltensor", Versioned: b"dltensor_versioned"}


def read(capsule):
    """Return what is in a capsule that nobody has used."""
    name = _python.PyCapsule_GetName(capsule)
    (kind,) = (kind for kind, of_kind in NAMES.items() if of_kind == name)
    return kind.from_address(_python.PyCapsule_GetPointer(capsule, name))


class Lender:
    """An array by DLPack alone; `lent` counts what has not been given back, `streams` who asked.

    `address`, `shape` and the like may be wrong on purpose. Without `strides`, in elements, it is
    in C order. `version` 0 is that before versions.
    """

    def __init__(
        self, owner, address, shape, bits, *, strides=None, code=FLOAT, gpu=0, kind=CUDA,
        version=1, flags=0, offset=0,
    ):  # fmt: skip
        self.owner = owner
        self.kind, self.gpu, self.version = kind, gpu, version
        self.flags = flags
        n = len(shape)
        self._shape = (ctypes.c_int64 * n)(*shape)
        self._strides = None if strides is None else (ctypes.c_int64 * n)(*strides)
        self._of = {"code": code, "bits": bits, "lanes": 1, "ndim": n, "byte_offset": offset}
        self._address = address - offset
        self._held = {}
        self._give_back = Deleter(self._held.pop)
        self.streams = []

    @property
    def lent(self):
        return len(self._held)

    def __dlpack_device__(self):
        return self.kind, self.gpu

    def __dlpack__(self, *, stream=None, **later):
        if self.version == 0 and later:
            raise TypeError(f"unexpected keywords {later}")
        self.streams.append(stream)
        tensor = Tensor(data=self._address, device_type=self.kind, device_id=self.gpu, **self._of)
        tensor.shape = self._shape
        if self._strides is not None:
            tensor.strides = self._strides
        if self.version == 0:
            managed = Managed(tensor=tensor, deleter=self._give_back)
        else:
            managed = Versioned(
                major=self.version, tensor=tensor, deleter=self._give_back, flags=self.flags
            )
        self._held[ctypes.addressof(managed)] = managed
        return _python.PyCapsule_New(ctypes.addressof(managed), NAMES[type(managed)], None)
