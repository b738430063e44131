"""Tables: a pack of networks, and what stands between it and a file with text and holes.

`pyfast_nn.sklearn.TabularClassifier` and `TabularRegressor` train one; what they save predicts here
without scikit-learn.

============== ======================================================
`TabularModel` networks that predict from a table together
`load`         one from its file
============== ======================================================
"""

from .loading import load
from .model import TabularModel

__all__ = ["TabularModel", "load"]


def __dir__() -> list[str]:
    return __all__
