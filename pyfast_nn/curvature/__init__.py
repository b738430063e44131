"""Curvature: derivatives of a model as operators, and what is known of operators by their products.

Operators of a model, ``scipy.sparse.linalg.LinearOperator`` over its flat parameters:

================= ==========================================================================
`Hessian`         of the mean loss
`GaussNewton`     J' H J, with H the Hessian of the losses in the outputs
`Fisher`          the same for losses that are log-likelihoods: the information matrix
`EmpiricalFisher` the second moment of the gradients of the examples
`Jacobian`        J, the derivatives of the outputs: the local features of the examples
`NTK`             J J', the tangent kernel
================= ==========================================================================

What they need not be multiplied for: `exact_trace`, `exact_diagonal`, `sampled_trace`,
`sampled_diagonal`, `per_example_gradients` and `per_example_gradient_norms`. `sharpness` is one
number of a model, in three senses.

Traces, diagonals, spectra and eigenpairs of any symmetric operator known by its products alone.
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

import importlib
from typing import TYPE_CHECKING

from .eigen import condition_number, top_eigenpairs
from .exact import (
    exact_diagonal,
    exact_trace,
    per_example_gradient_norms,
    per_example_gradients,
    sampled_diagonal,
    sampled_trace,
)
from .hutchinson import hutchinson_diagonal, hutchinson_trace
from .lanczos import SpectralDensity, spectral_density
from .sharpness import sharpness
from .sketching import hutch_pp, xdiag, xtrace
from .stopping import Estimate

__all__ = [
    "NTK",
    "EmpiricalFisher",
    "Estimate",
    "Fisher",
    "GaussNewton",
    "Hessian",
    "Jacobian",
    "SpectralDensity",
    "condition_number",
    "exact_diagonal",
    "exact_trace",
    "hutch_pp",
    "hutchinson_diagonal",
    "hutchinson_trace",
    "per_example_gradient_norms",
    "per_example_gradients",
    "sampled_diagonal",
    "sampled_trace",
    "sharpness",
    "spectral_density",
    "top_eigenpairs",
    "xdiag",
    "xtrace",
]

if TYPE_CHECKING:
    from .operators import NTK, EmpiricalFisher, Fisher, GaussNewton, Hessian, Jacobian
else:

    def __getattr__(name: str) -> object:
        """Import SciPy, on which the operators stand, when the first of them is asked for."""
        if name not in ("Hessian", "GaussNewton", "Fisher", "EmpiricalFisher", "Jacobian", "NTK"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(".operators", __name__), name)


def __dir__() -> list[str]:
    return __all__
