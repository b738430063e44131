"""Data with positions: sequences (n, T, channels) and images (n, height, width, channels)."""

import re

import pytest

import pyfast_nn as fnn
from pyfast_nn import graph, layers

# ------------------------------------------------------------------------ shapes


def places(network):
    return [(place.path, place.kind, place.in_shape, place.shape) for place in network.places]


@pytest.mark.once
def test_x_is_given_its_shape_where_it_is_read_first():
    found = graph.Graph((fnn.Rescale(), fnn.Dense(3), fnn.ReLU()), (4, 5, 2))
    assert places(found) == [
        ("0", "rescale", (40,), (40,)),  # which reads columns
        ("X", "reshape", (40,), (4, 5, 2)),
        ("1", "dense", (4, 5, 2), (4, 5, 3)),
        ("2", "relu", (4, 5, 3), (4, 5, 3)),
    ]
    assert found.described()[1]["values"] == (4.0, 5.0, 2.0)
    assert [place.multiply_adds for place in found.places] == [40, 40, 20 * 2 * 3, 60]
    assert found.inputs == {"0": (4, 5, 2), "1": (4, 5, 2), "2": (4, 5, 3)}
    assert (found.in_shape, found.out_shape, found.features) == ((4, 5, 2), (4, 5, 3), 3)
    assert found.parameter_shapes() == {"1.weight": (2, 3), "1.bias": (3,)}


@pytest.mark.once
def test_branches_read_x_in_its_shape_once():
    found = graph.Graph((fnn.Add(fnn.Identity(), [fnn.Dense(2), fnn.Tanh()]), fnn.Dense(1)), (7, 2))
    assert [place.kind for place in found.places].count("reshape") == 1
    assert found.described()[0]["values"] == (1.0, 7.0, 2.0)
    assert [place.inputs for place in found.places][-2:] == [(2, 4), (5,)]
    assert found.out_shape == (7, 1)


@pytest.mark.once
def test_columns_need_no_other_shape():
    found = graph.Graph((fnn.Dense(3),), 5)
    assert places(found) == [("0", "dense", (5,), (3,))]
    unknown = graph.Graph((fnn.Dense(3), fnn.ReLU()))
    assert (unknown.out_shape, unknown.features) == ((), 3)


class Halves(layers.Layer):
    """A layer that changes the positions, for what is said of shapes."""

    kind = "identity"

    def lay(self, network, path, value):
        positions, channels = network.shape(value)
        return network.add(self, path, self.kind, (value,), (positions // 2, channels))


@pytest.mark.once
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (fnn.Residual([fnn.Dense(3)]), "put out shape (6, 2), as come in, got shape (6, 3)"),
        (
            fnn.Residual([Halves()]),
            "the same positions for Residual([Halves()]), got shapes (3, 2)",
        ),
        (fnn.Concatenate(Halves(), fnn.Dense(4)), "got shapes (3, 2) and (6, 4) of one example"),
        (fnn.Columns([(0, [fnn.Dense(2)])]), "expected X of columns, as Columns reads"),
    ],
)
def test_shapes_that_differ(layer, message):
    with pytest.raises(ValueError, match=rf"layers\[0\]: .*{re.escape(message)}"):
        graph.Graph((layer,), (6, 2))


@pytest.mark.once
@pytest.mark.parametrize("shape", [(), (2, 3, 4, 5), (3, 0), (3, 1.5), "ab"])
def test_what_is_no_shape_of_an_example(shape):
    with pytest.raises((TypeError, ValueError), match="in_features"):
        fnn.Sequential([fnn.Dense(2)]).build(shape)
