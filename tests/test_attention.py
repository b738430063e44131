"""Attention: blocks of queries, keys and columns, and lengths."""

import pytest

from test_ops_of_networks import Problem, check_maps


def network(shape, units, values, cross=None, lengths=False):
    """Layers of the core: attention of X in a shape, by dense layers."""
    positions, channels = shape
    size = positions * channels
    x = [{"kind": "slice", "inputs": [0], "values": (0, size)}] if lengths else []
    x.append({"kind": "reshape", "inputs": [len(x)], "values": (1, positions, channels)})
    here = len(x)
    x.append({"kind": "dense", "inputs": [here], "units": units * (1 if cross else 3)})
    inputs = [len(x)]
    if cross:
        x.append({"kind": "dense", "inputs": [here], "units": 2 * units})
        inputs.append(len(x))
    if lengths:
        x.append({"kind": "slice", "inputs": [0], "values": (size, 1)})
        inputs.append(len(x))
    x.append({"kind": "attention", "inputs": inputs, "values": values})
    x.append({"kind": "dense", "inputs": [len(x)], "units": 2})
    return size + lengths, x


@pytest.mark.parametrize(
    ("positions", "units", "heads", "causal", "cross"),
    [
        (64, 16, 2, 0, False),
        (65, 6, 1, 1, False),
        (130, 4, 2, 0, False),
        (130, 4, 1, 1, False),
        (70, 3, 1, 0, True),
        (5, 80, 1, 1, False),  # a head of more columns than a block
        (3, 130, 1, 0, True),
        (20, 66, 3, 1, False),
    ],
)
def test_blocks_of_queries_keys_and_columns(
    isa, dtype, rng, positions, units, heads, causal, cross
):
    size, layers = network((positions, 2), units, (heads, causal, int(cross)), cross)
    check_maps(Problem(rng, dtype, size, layers, 2, loss="labels"))


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("cross", [False, True])
def test_positions_beyond_a_length_do_not_exist(isa, dtype, rng, causal, cross):
    size, layers = network((70, 2), 4, (2, causal, int(cross)), cross, lengths=True)
    problem = Problem(rng, dtype, size, layers, 6, loss="labels")
    problem.X[:, -1] = [0, 1, 64, 69.9, 200, -1]
    check_maps(problem)
