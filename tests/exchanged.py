"""What is exchanged with other libraries: every layer there is, in a model of its own."""

import numpy as np

import pyfast_nn as fnn
from pyfast_nn.branches import JOINS
from pyfast_nn.inputs import INPUT_LAYERS, InputLayer
from pyfast_nn.layers import LAYERS

SHARED = fnn.Dense(8)

# What of each layer there is, behind a Dense(8) but for those that read the inputs.
CASES = {
    "Rescale": [fnn.Rescale(1 / 127.5, -1), fnn.Dense(8)],
    "Standardize": [fnn.Standardize(), fnn.Dense(8)],
    "two that read the inputs": [fnn.Rescale(0.1, 0.7), fnn.Standardize(), fnn.Dense(8)],
    "RobustScale": [fnn.RobustScale(), fnn.Dense(8)],
    "RobustScale(clip=None)": [fnn.RobustScale(clip=None), fnn.Dense(8)],
    "QuantileNormal": [fnn.QuantileNormal(13), fnn.Dense(8)],
    "PiecewiseLinear": [fnn.PiecewiseLinear(5), fnn.Dense(8)],
    "OneHot": [fnn.OneHot(3), fnn.Dense(8)],
    "OneHot(min_count)": [fnn.OneHot(3, min_count=2), fnn.Dense(8)],
    "Impute": [fnn.Impute(), fnn.Dense(8)],
    "MissingIndicator": [fnn.MissingIndicator(), fnn.Dense(8)],
    "Columns": [
        fnn.Columns(
            [
                ([0, -1], [fnn.Impute("mean"), fnn.PiecewiseLinear(4)]),
                (slice(1, None, 2), []),
                (3, [fnn.Standardize(), fnn.Dense(2), fnn.Tanh()]),
                ([1, 1], [fnn.Dense(3)]),
                (0, [fnn.MissingIndicator()]),
            ]
        ),
        fnn.Dense(8),
    ],
    "Columns of inputs": [
        fnn.Columns([(4, [fnn.Rescale(0.1)]), ([0, 1], [])]),
        fnn.Standardize(),
        fnn.Dense(8),
    ],
    "Dense": [],
    "WeightNorm": [fnn.WeightNorm(fnn.Dense(5))],
    "MaxNorm": [fnn.Dense(5, constraint=fnn.MaxNorm(0.5))],
    "not trained": [fnn.Dense(5, trainable=False)],
    "Identity": [fnn.Identity()],
    "ReLU": [fnn.ReLU()],
    "LeakyReLU": [fnn.LeakyReLU(0.1)],
    "ELU": [fnn.ELU(1.3)],
    "Softplus": [fnn.Softplus(2.5)],
    "GELU": [fnn.GELU()],
    "GELU(tanh)": [fnn.GELU("tanh")],
    "SiLU": [fnn.SiLU()],
    "Tanh": [fnn.Tanh()],
    "Hardtanh": [fnn.Hardtanh(-0.3, 0.7)],
    "Sigmoid": [fnn.Sigmoid()],
    "Softmax": [fnn.Softmax()],
    "Step": [fnn.Step()],
    "Sign": [fnn.Sign()],
    "Scale": [fnn.Scale()],
    "PReLU": [fnn.PReLU()],
    "Dropout": [fnn.Dropout(0.5)],
    "GaussianNoise": [fnn.GaussianNoise(0.5)],
    "LayerNorm": [fnn.LayerNorm(0.1)],
    "LayerNorm(affine=False)": [fnn.LayerNorm(affine=False)],
    "RMSNorm": [fnn.RMSNorm()],
    "RMSNorm(eps)": [fnn.RMSNorm(0.1)],
    "GroupNorm": [fnn.GroupNorm(4, 0.1)],
    "GroupNorm(1)": [fnn.GroupNorm(1)],
    "BatchNorm": [fnn.BatchNorm(0.3, 0.1)],
    "BatchNorm(affine=False)": [fnn.BatchNorm(affine=False)],
    "PeriodicEmbedding": [fnn.PeriodicEmbedding(3)],
    "Embedding": [fnn.Concatenate([fnn.Dense(1), fnn.Sign(), fnn.Embedding(2, 5)], fnn.Identity())],
    "Reshape": [fnn.Reshape((4, 2)), fnn.Dense(3), fnn.Flatten()],
    "Flatten": [fnn.Flatten(), fnn.Reshape((2, 2, 2)), fnn.Flatten()],
    "Permute": [fnn.Reshape((4, 2)), fnn.Permute((2, 1)), fnn.Flatten()],
    "Permute of images": [fnn.Reshape((1, 4, 2)), fnn.Permute((3, 1, 2)), fnn.Flatten()],
    "MaxPool1d": [fnn.Reshape((4, 2)), fnn.MaxPool1d(3, 1, padding=1), fnn.Flatten()],
    "MaxPool2d": [fnn.Reshape((2, 2, 2)), fnn.MaxPool2d((2, 1)), fnn.Flatten()],
    "AvgPool1d": [fnn.Reshape((4, 2)), fnn.AvgPool1d(3, 1, padding=1), fnn.Flatten()],
    "AvgPool2d": [
        *(fnn.Reshape((2, 4, 1)), fnn.AvgPool2d((2, 3), 1, (0, 1), count_include_pad=False)),
        fnn.Flatten(),
    ],
    "AdaptiveAvgPool1d": [fnn.Reshape((4, 2)), fnn.AdaptiveAvgPool1d(3), fnn.Flatten()],
    "AdaptiveAvgPool2d": [fnn.Reshape((2, 4, 1)), fnn.AdaptiveAvgPool2d((1, 3)), fnn.Flatten()],
    "AdaptiveMaxPool1d": [fnn.Reshape((4, 2)), fnn.AdaptiveMaxPool1d(3), fnn.Flatten()],
    "AdaptiveMaxPool2d": [fnn.Reshape((2, 4, 1)), fnn.AdaptiveMaxPool2d((1, 3)), fnn.Flatten()],
    "GlobalAvgPool": [fnn.Reshape((2, 2, 2)), fnn.GlobalAvgPool()],
    "GlobalMaxPool": [fnn.Reshape((4, 2)), fnn.GlobalMaxPool()],
    "RNN": [fnn.Reshape((4, 2)), fnn.RNN(3, outputs="last")],
    "GRU": [fnn.Reshape((4, 2)), fnn.GRU(3, bidirectional=True, outputs="last")],
    "LSTM": [fnn.Reshape((4, 2)), fnn.LSTM(3, num_layers=2, bidirectional=True), fnn.Flatten()],
    "SetPool": [fnn.Reshape((4, 2)), fnn.SetPool()],
    "DeepSet": [fnn.Reshape((4, 2)), fnn.DeepSet([fnn.Dense(3), fnn.Tanh()], [fnn.Dense(2)])],
    "MultiHeadAttention": [fnn.Reshape((4, 2)), fnn.MultiHeadAttention(2), fnn.Flatten()],
    "MultiHeadAttention(causal, rotary)": [
        *(fnn.Reshape((2, 4)), fnn.MultiHeadAttention(2, causal=True, rotary=True)),
        fnn.Flatten(),
    ],
    "MultiHeadAttention(keys)": [
        fnn.Reshape((4, 2)),
        fnn.MultiHeadAttention(1, keys=[fnn.Flatten(), fnn.Dense(12), fnn.Reshape((6, 2))]),
        fnn.Flatten(),
    ],
    "TransformerBlock": [
        *(fnn.Reshape((2, 4)), fnn.TransformerBlock(2, 5, causal=True)),
        fnn.Flatten(),
    ],
    "TransformerBlock(norm_first=False)": [
        fnn.Reshape((2, 4)),
        fnn.TransformerBlock(1, norm_first=False, activation="relu", dropout=0.1),
        fnn.Flatten(),
    ],
    "LearnedPositions": [fnn.Reshape((4, 2)), fnn.LearnedPositions(), fnn.Flatten()],
    "SinusoidalPositions": [fnn.Reshape((4, 2)), fnn.SinusoidalPositions(), fnn.Flatten()],
    "Embedding of sequences": [fnn.Sign(), fnn.Embedding(2, 3), fnn.Flatten()],
    "Conv1d": [fnn.Reshape((4, 2)), fnn.Conv1d(6, 3, 2, 1, groups=2), fnn.Flatten()],
    "Conv1d(same)": [fnn.Reshape((4, 2)), fnn.Conv1d(3, 3, padding="same"), fnn.Flatten()],
    "Conv2d": [fnn.Reshape((2, 4, 1)), fnn.Conv2d(3, (1, 3), padding=(1, 0)), fnn.Flatten()],
    "Conv2d(groups)": [fnn.Reshape((2, 2, 2)), fnn.Conv2d(4, 2, 1, 1, 2, 2), fnn.Flatten()],
    "ConvTranspose2d": [
        *(fnn.Reshape((2, 1, 4)), fnn.ConvTranspose2d(6, (2, 3), (2, 1), 1, (1, 0), 2)),
        fnn.Flatten(),
    ],
    "RandomFlip": [fnn.Reshape((2, 2, 2)), fnn.RandomFlip(vertical=True), fnn.Flatten()],
    "RandomShift": [fnn.Reshape((4, 2)), fnn.RandomShift(1), fnn.Flatten()],
    "RandomCrop": [fnn.Reshape((2, 4, 1)), fnn.RandomCrop((5, 2), 2), fnn.Flatten()],
    "RandomCrop of sequences": [fnn.Reshape((8, 1)), fnn.RandomCrop(5), fnn.Flatten()],
    "CutOut": [fnn.Reshape((2, 4, 1)), fnn.CutOut(2), fnn.Flatten()],
    "Residual": [fnn.Residual([fnn.Dense(8), fnn.Tanh()])],
    "Residual(shortcut)": [fnn.Residual([fnn.Dense(3), fnn.Tanh()], fnn.Dense(3))],
    "Add": [fnn.Add(fnn.Dense(8), [fnn.Tanh(), fnn.Dense(8)], fnn.Identity())],
    "Multiply": [fnn.Multiply(fnn.Dense(3), [fnn.Dense(3), fnn.Sigmoid()], fnn.Dense(3))],
    "Concatenate": [fnn.Concatenate(fnn.Identity(), fnn.Dense(2), [fnn.Tanh(), fnn.ReLU()])],
    "Chain": [[fnn.Dense(4), [fnn.ReLU()]], fnn.Sequential([fnn.Dense(3), fnn.Tanh()])],
    "tied": [
        SHARED,
        fnn.Residual([SHARED, fnn.Tanh(), SHARED], SHARED),
        fnn.Concatenate(SHARED, fnn.Identity()),
    ],
    "joined twice": [fnn.Residual([fnn.Residual([fnn.Dense(8)]), fnn.Add(fnn.ReLU(), fnn.Tanh())])],
}

REFUSED = {"NeuralODE", "DeepEquilibrium"}  # by name
LACKING = {cls.__name__ for cls in (*INPUT_LAYERS, *LAYERS, *JOINS)} - CASES.keys() - REFUSED
assert not LACKING, f"expected a case of every layer, got none of {LACKING}"


def built(layers, dtype, rng):
    """A model with anything for parameters and state."""
    reads = layers and isinstance(layers[0], (InputLayer, fnn.Columns))
    model = fnn.Sequential([*([] if reads else [fnn.Dense(8)]), *layers], dtype=dtype).build(6)
    model.parameters = rng.normal(size=model.n_parameters)
    model.state = rng.uniform(0.5, 2, len(model.state))
    for name, view in model.named_state().items():
        if name.endswith("counts"):
            view[:] = rng.integers(0, 4, view.shape)
        elif view.ndim == 2:  # quantiles and edges rise
            view[:] = np.sort(view, axis=0)
    return model
