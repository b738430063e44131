"""What cannot be told from rounding."""

import math
from typing import Any

import numpy as np

from .typing import Floats


def varies_by_rounding(
    mean: Floats, std: Floats, n: int, dtype: np.dtype[Any]
) -> np.typing.NDArray[np.bool_]:
    """Return which columns of n numbers of `dtype` may have this std by rounding alone, as bools.

    By that of the sums, which is scikit-learn's bound, ``std^2 <= n eps std^2 + (n mean eps)^2``:
    T. F. Chan, G. H. Golub, R. J. LeVeque (1983), "Algorithms for computing the sample variance",
    The American Statistician 37(3). Or by that of the numbers themselves, if these have fewer
    digits: ``std <= eps abs(mean)``.
    """
    sums = n * float(np.finfo(np.float64).eps)
    own = float(np.finfo(dtype).eps) if dtype.kind == "f" else 0.0
    return std * math.sqrt(1 - sums) <= max(sums, own) * np.abs(mean)
