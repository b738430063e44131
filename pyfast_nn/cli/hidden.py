"""The hidden layers that the options of `pyfast-nn train` describe."""

import argparse
from collections.abc import Callable

from .. import checks, layers
from ..branches import Residual
from ..convolution import Conv2d
from ..pooling import MaxPool2d
from ..shapes import Flatten

ACTIVATIONS: dict[str, Callable[[], layers.Layer]] = {
    "relu": layers.ReLU,
    "leaky_relu": layers.LeakyReLU,
    "elu": layers.ELU,
    "gelu": layers.GELU,
    "silu": layers.SiLU,
    "softplus": layers.Softplus,
    "tanh": layers.Tanh,
    "hardtanh": layers.Hardtanh,
    "sigmoid": layers.Sigmoid,
}
NORMS: dict[str, Callable[[], layers.Layer] | None] = {
    "none": None,
    "batch": layers.BatchNorm,
    "layer": layers.LayerNorm,
}


_OPTIONS = ("hidden", "activation", "norm", "dropout", "residual")


def add_options(add: Callable[..., None]) -> None:
    add(
        "--hidden",
        help="hidden units, or 'none'",
        type=_units,
        default="512,256",
        metavar="N,N",
    )
    add("--activation", help="between the layers", choices=ACTIVATIONS, default="relu")
    add(
        "--norm",
        help="normalisation in front of each activation, or of each block with --residual: over "
        "the examples of a step (batch) or the units of a layer (layer)",
        choices=NORMS,
        default="none",
    )
    add(
        "--dropout",
        help="probability with which each hidden unit is left out of a step of the training",
        type=float,
        default=0.0,
        metavar="RATE",
    )
    add(
        "--residual",
        help="make each hidden layer but the first a block of two layers whose input is added to "
        "its output, through one more layer where their widths differ",
        action="store_true",
    )


def refuse(arguments: argparse.Namespace, expected: str) -> None:
    """Raise ValueError if one of these options was given, as they do not apply."""
    for name in _OPTIONS:
        if getattr(arguments, name) is not None:
            raise ValueError(f"--{name}: expected {expected}")


def check_options(arguments: argparse.Namespace) -> None:
    checks.real(arguments.dropout, "--dropout", minimum=0, below=1)
    for name, given in {"dropout": arguments.dropout > 0, "norm": arguments.norm != "none"}.items():
        if given and not arguments.hidden:
            raise ValueError(f"--{name}: expected hidden layers, got --hidden none")
    if arguments.norm == "batch" and arguments.batch_size < 2:
        raise ValueError("--norm batch: expected a --batch-size of at least 2, got 1")
    if arguments.residual and len(arguments.hidden) < 2:
        given = ",".join(map(str, arguments.hidden)) or "none"
        raise ValueError(
            f"--residual: expected at least two hidden layers, got --hidden {given}; all but the "
            "first become blocks"
        )


def hidden_layers(arguments: argparse.Namespace) -> list[layers.Layer]:
    return _blocks(arguments) if arguments.residual else _chain(arguments)


def lenet() -> list[layers.Layer]:
    """LeNet-5 of LeCun et al. (1998), with rectifiers and maxima, as it is built today."""
    return [
        *(Conv2d(6, 5, padding=2), layers.ReLU(), MaxPool2d(2)),
        *(Conv2d(16, 5), layers.ReLU(), MaxPool2d(2)),
        *(Flatten(), layers.Dense(120), layers.ReLU(), layers.Dense(84), layers.ReLU()),
    ]


def batch_size(arguments: argparse.Namespace, n: int) -> int:
    """Return how many of `n` examples a step takes: the next number above --batch-size that leaves
    no example alone in the last step, of which batch norm has no statistics."""
    size: int = arguments.batch_size
    if arguments.norm == "batch":
        if n < 2:
            raise ValueError(f"--norm batch: expected at least 2 examples to train on, got {n}")
        while n % size == 1:
            size += 1
    return size


def _chain(arguments: argparse.Namespace) -> list[layers.Layer]:
    stack: list[layers.Layer] = []
    for units in arguments.hidden:
        stack += [layers.Dense(units), *_activation(arguments), *_dropout(arguments)]
    return stack


def _blocks(arguments: argparse.Namespace) -> list[layers.Layer]:
    """The ResNet of Gorishniy et al. (2021), "Revisiting deep learning models for tabular data"."""
    width, *widths = arguments.hidden
    stack: list[layers.Layer] = [layers.Dense(width)]
    for units in widths:
        between = [ACTIVATIONS[arguments.activation](), *_dropout(arguments)]
        within = [*_norm(arguments), layers.Dense(units), *between, layers.Dense(units)]
        stack.append(Residual(within, None if units == width else layers.Dense(units)))
        width = units
    return [*stack, *_activation(arguments)]


def _activation(arguments: argparse.Namespace) -> list[layers.Layer]:
    return [*_norm(arguments), ACTIVATIONS[arguments.activation]()]


def _norm(arguments: argparse.Namespace) -> list[layers.Layer]:
    norm = NORMS[arguments.norm]
    return [] if norm is None else [norm()]


def _dropout(arguments: argparse.Namespace) -> list[layers.Layer]:
    return [layers.Dropout(arguments.dropout)] if arguments.dropout > 0 else []


def _units(text: str) -> list[int]:
    if text.strip() == "none":
        return []
    try:
        return [checks.integer(int(units), "--hidden", minimum=1) for units in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected numbers such as 128,64, or none; got {text!r}"
        ) from None
