# cython: language_level=3
"""The matrix products of SciPy's BLAS, as `_core.use_blas` takes them.

SciPy hands out the functions of `scipy.linalg.cython_blas` as capsules named by their signature, so it is needed
when this module is imported (which happens on demand only) and not when it is built.
"""

from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer, PyCapsule_New

from scipy.linalg import cython_blas


cdef void* _function(name) except NULL:
    capsule = cython_blas.__pyx_capi__[name]
    cdef const char* signature = PyCapsule_GetName(capsule)
    if not (<bytes>signature).startswith(b"void (char *, char *, int *, int *, int *, "):
        raise ImportError(f"{name} of this SciPy's BLAS has not the expected signature: {signature}")
    return PyCapsule_GetPointer(capsule, signature)


sgemm = PyCapsule_New(_function("sgemm"), "pyfast_nn.sgemm", NULL)
dgemm = PyCapsule_New(_function("dgemm"), "pyfast_nn.dgemm", NULL)
