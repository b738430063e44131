"""Matrix products."""

import numpy as np

import pyfast_nn as fnn
from pyfast_nn import _core

from .common import DTYPES, THREADS


class Gemm:
    params = ([(512, 512, 512), (256, 784, 512), (32, 64, 10)], DTYPES, THREADS)
    param_names = ("m_k_n", "dtype", "threads")

    def setup(self, shape, dtype, threads):
        m, k, n = shape
        fnn.set_num_threads(threads)
        rng = np.random.default_rng(0)
        self.a = rng.standard_normal((m, k)).astype(dtype)
        self.b = rng.standard_normal((k, n)).astype(dtype)
        self.c = np.empty((m, n), dtype)
        self.a_transposed = np.ascontiguousarray(self.a.T)
        self.b_transposed = np.ascontiguousarray(self.b.T)

    def time_nn(self, *_):
        _core.gemm(self.a, self.b, self.c, 1.0, 0.0, False, False)

    def time_nt(self, *_):
        _core.gemm(self.a, self.b_transposed, self.c, 1.0, 0.0, False, True)

    def time_tn(self, *_):
        _core.gemm(self.a_transposed, self.b, self.c, 1.0, 0.0, True, False)
