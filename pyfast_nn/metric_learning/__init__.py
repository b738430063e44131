"""Metric learning: linear maps after which neighbours are alike, as transformers of scikit-learn.

Each learns a Mahalanobis distance, ``(a - b)' M (a - b)`` with ``M = L' L``, from labels or from
pairs. `transform` gives ``L x``, where Euclidean distance is the learned one: for
`sklearn.neighbors.KNeighborsClassifier`, clustering, or a picture. Needs scikit-learn, the extra
``sklearn``.

====== ===================================================================================
`NCA`  neighbourhood components analysis: a neighbour drawn at random is of one's own class
`LMNN` large margin nearest neighbours: those of other classes stay away by a margin
`MMC`  pairs that are not alike are far apart where those alike are near in the mean
`ITML` distances of pairs have bounds, the metric stays near a given one
====== ===================================================================================

The names of methods and attributes are those of the package metric-learn. All are found by L-BFGS
in float64. The same data, parameters and `random_state` give the same map.

Examples
--------
>>> from pyfast_nn.metric_learning import NCA
>>> nca = NCA(n_components=2, init="pca").fit(X, y)
>>> nca.transform(Xt).shape
(300, 2)
>>> nca.pair_distance([[Xt[0], Xt[0]]])
array([0.])
"""

from .. import sklearn  # noqa: F401  (which says what is missing)
from .itml import ITML
from .lmnn import LMNN
from .mmc import MMC
from .nca import NCA

__all__ = ["ITML", "LMNN", "MMC", "NCA"]


def __dir__() -> list[str]:
    return __all__
