"""Traces, diagonals, spectra and eigenpairs of symmetric operators known by their products alone.

``A`` is a ``scipy.sparse.linalg.LinearOperator``, a dense or sparse array, or a function
``v -> A v`` together with ``n=``; real, in float32 or float64, and symmetric. Symmetry is looked at
in what is computed anyway (or in two products, before eigenpairs): an operator that is clearly not
symmetric, or that changes between products, raises ValueError, and so does a product with NaN or
infinity. Products are asked for in blocks ``A @ V`` with columns that are contiguous, so that an
operator may compute them together; those of float32 operators get float32 blocks.

====================== ============================================================ ==============
function               what it estimates                                            products
====================== ============================================================ ==============
`hutchinson_trace`     trace, error ~ 1 / sqrt(products)                            1 per sample
`hutch_pp`             trace, error ~ 1 / products, smaller if eigenvalues decay    3 per sample
`xtrace`               trace, as `hutch_pp` with smaller constants                  2 per sample
`hutchinson_diagonal`  diagonal, error ~ 1 / sqrt(products)                         1 per sample
`xdiag`                diagonal, much better if eigenvalues decay                   2 per sample
`spectral_density`     the distribution of eigenvalues, sums of functions of them   probes * steps
`top_eigenpairs`       eigenvalues at the ends, with eigenvectors                   until converged
`condition_number`     largest through smallest absolute eigenvalue                 until converged
====================== ============================================================ ==============

Random numbers are a function of `seed`, never of how many products an operator is asked for at a
time.
"""

from .eigen import condition_number, top_eigenpairs
from .hutchinson import hutchinson_diagonal, hutchinson_trace
from .lanczos import SpectralDensity, spectral_density
from .sketching import hutch_pp, xdiag, xtrace
from .stopping import Estimate

__all__ = [
    "Estimate",
    "SpectralDensity",
    "condition_number",
    "hutch_pp",
    "hutchinson_diagonal",
    "hutchinson_trace",
    "spectral_density",
    "top_eigenpairs",
    "xdiag",
    "xtrace",
]
