"""The losses by name, and what the outputs of a network mean under each."""

from . import checks

NAMES = ("cross_entropy", "mse")


def check(loss):
    """Return `loss`, one of NAMES."""
    return checks.choice(loss, "loss", NAMES)


def is_classification(loss):
    """Whether the outputs are scores of classes, one column each."""
    return loss == "cross_entropy"
