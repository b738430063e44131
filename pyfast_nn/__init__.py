"""Neural networks and optimizers for people who think in NumPy, at the speed of the hardware.

Examples
--------
>>> import pyfast_nn as fnn
>>> X, y = fnn.datasets.load_digits()
>>> model = fnn.Sequential([fnn.Dense(64), fnn.ReLU(), fnn.Dense(10)], seed=0)
>>> history = model.fit(X / 16, y, loss="cross_entropy", epochs=20)
>>> model.predict(X[10:13] / 16)
array([0, 1, 2])
"""

import importlib
from typing import TYPE_CHECKING

from . import (
    cuda,
    curvature,
    datasets,
    initializers,
    inspect,
    losses,
    online,
    ops,
    optim,
    schedules,
    tabular,
)
from .attention import (
    LearnedPositions,
    MultiHeadAttention,
    SinusoidalPositions,
    TransformerBlock,
)
from .augmentation import CutOut, RandomCrop, RandomFlip, RandomShift
from .branches import Add, Columns, Concatenate, Multiply, Residual
from .callbacks import Callback, ModelCheckpoint, ReduceLROnPlateau
from .convolution import Conv1d, Conv2d, ConvTranspose2d
from .curvature.monitor import CurvatureMonitor
from .forward_gradients import forward_gradient
from .history import History
from .implicit import DeepEquilibrium, NeuralODE
from .inputs import (
    Impute,
    MissingIndicator,
    OneHot,
    PiecewiseLinear,
    QuantileNormal,
    Rescale,
    RobustScale,
    Standardize,
)
from .layers import (
    ELU,
    GELU,
    BatchNorm,
    Dense,
    Dropout,
    Embedding,
    GaussianNoise,
    GroupNorm,
    Hardtanh,
    Identity,
    LayerNorm,
    LeakyReLU,
    MaxNorm,
    PeriodicEmbedding,
    PReLU,
    ReLU,
    RMSNorm,
    Scale,
    Sigmoid,
    Sign,
    SiLU,
    Softmax,
    Softplus,
    Step,
    Tanh,
    WeightNorm,
)
from .loading import from_torch, load
from .loggers import CSVLogger, TensorBoard
from .many import fit_many
from .modelfile import ModelFileError
from .models import Sequential
from .pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AvgPool1d,
    AvgPool2d,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool1d,
    MaxPool2d,
)
from .recurrent import GRU, LSTM, RNN
from .ridge import Ridge
from .runtime import build_config, get_num_threads, set_num_threads
from .sets import DeepSet, SetPool
from .shapes import Flatten, Permute, Reshape

__version__ = build_config()["version"]

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "Add",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm",
    "CSVLogger",
    "Callback",
    "Columns",
    "Concatenate",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "CurvatureMonitor",
    "CutOut",
    "DeepEquilibrium",
    "DeepSet",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianNoise",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GroupNorm",
    "Hardtanh",
    "History",
    "Identity",
    "Impute",
    "LayerNorm",
    "LeakyReLU",
    "LearnedPositions",
    "MaxNorm",
    "MaxPool1d",
    "MaxPool2d",
    "MissingIndicator",
    "ModelCheckpoint",
    "ModelFileError",
    "MultiHeadAttention",
    "Multiply",
    "NeuralODE",
    "OneHot",
    "PReLU",
    "PeriodicEmbedding",
    "Permute",
    "PiecewiseLinear",
    "QuantileNormal",
    "RMSNorm",
    "RandomCrop",
    "RandomFlip",
    "RandomShift",
    "ReLU",
    "ReduceLROnPlateau",
    "Rescale",
    "Reshape",
    "Residual",
    "Ridge",
    "RobustScale",
    "Scale",
    "Sequential",
    "SetPool",
    "SiLU",
    "Sigmoid",
    "Sign",
    "SinusoidalPositions",
    "Softmax",
    "Softplus",
    "Standardize",
    "Step",
    "Tanh",
    "TensorBoard",
    "TransformerBlock",
    "WeightNorm",
    "__version__",
    "build_config",
    "cuda",
    "curvature",
    "datasets",
    "fit_many",
    "forward_gradient",
    "from_torch",
    "get_num_threads",
    "initializers",
    "inspect",
    "load",
    "losses",
    "online",
    "ops",
    "optim",
    "schedules",
    "set_num_threads",
    "tabular",
]


_LAZY = ("metric_learning", "sklearn")

if TYPE_CHECKING:
    from . import metric_learning as metric_learning
    from . import sklearn as sklearn
else:

    def __getattr__(name: str) -> object:
        """Import what stands on scikit-learn when it is asked for."""
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return importlib.import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    return [*__all__, *_LAZY]
