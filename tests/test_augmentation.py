"""Augmentation as users write it; what it computes is in test_ops_with_positions.py."""

import re

import numpy as np
import pytest

import pyfast_nn as fnn

pytestmark = pytest.mark.once

IMAGES = np.arange(1.0, 9 * 6 * 7 * 2 + 1).reshape(9, 6, 7, 2)
SIGNALS = np.arange(1.0, 9 * 10 * 2 + 1).reshape(9, 10, 2)


def put_out(layer, X, seed=0, training=True):
    model = fnn.Sequential([layer], dtype="float64", seed=0).build(X.shape[1:])
    return model.forward(X, training=training, seed=seed if training else None)


def moved(x, dy, dx):
    """An image moved down and to the right, with zeros behind."""
    out = np.zeros_like(x)
    h, w = x.shape[:2]
    out[max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = x[
        max(-dy, 0) : h + min(-dy, 0), max(-dx, 0) : w + min(-dx, 0)
    ]
    return out


def found(z, candidates):
    """Which of the candidates each example is (exactly one)."""
    which = [
        [name for name, c in candidates(e).items() if np.array_equal(c, z[e])] for e in range(9)
    ]
    assert all(len(names) == 1 for names in which)
    return [names[0] for names in which]


@pytest.mark.parametrize("X", [IMAGES, SIGNALS], ids=["images", "signals"])
@pytest.mark.parametrize(
    "layer", [fnn.RandomFlip(True, True), fnn.RandomShift(2), fnn.RandomCrop(6), fnn.CutOut(3)]
)
def test_only_training_changes_examples(layer, X):
    z = put_out(layer, X, training=False)
    if isinstance(layer, fnn.RandomCrop):
        margins = [(size - 6) // 2 for size in X.shape[1:-1]]
        X = X[(slice(None), *(slice(m, m + 6) for m in margins))]
    np.testing.assert_array_equal(z, X)
    changed = [put_out(layer, X, seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(changed[0], changed[1])
    assert not np.array_equal(changed[0], changed[2]) or isinstance(layer, fnn.RandomCrop)


def test_flips_are_those_of_numpy():
    for horizontal, vertical in ((True, False), (False, True), (True, True)):
        layer = fnn.RandomFlip(horizontal, vertical)
        ways = {
            (h, v): slice(None, None, -1) for h in {False, horizontal} for v in {False, vertical}
        }
        drawn = []
        for seed in range(4):
            drawn += found(
                put_out(layer, IMAGES, seed),
                lambda e, ways=ways: {
                    (h, v): IMAGES[e][:: -1 if v else 1, :: -1 if h else 1] for h, v in ways
                },
            )
        assert set(drawn) == set(ways)
        assert all(drawn.count(way) > 1 for way in ways)


def test_a_sequence_is_turned_round_by_its_positions():
    z = put_out(fnn.RandomFlip(), SIGNALS)
    assert set(found(z, lambda e: {1: SIGNALS[e], -1: SIGNALS[e][::-1]})) == {1, -1}
    np.testing.assert_array_equal(put_out(fnn.RandomFlip(False, True), SIGNALS), SIGNALS)


def test_shifts_are_all_of_them():
    def candidates(e):
        return {(y, x): moved(IMAGES[e], y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)}

    drawn = [
        d
        for seed in range(10)
        for d in found(put_out(fnn.RandomShift(1), IMAGES, seed), candidates)
    ]
    assert len(set(drawn)) == 9
    assert max(drawn.count(d) for d in set(drawn)) < 25  # of 90


def test_crops_are_parts_of_the_padded_image():
    padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)))
    z = put_out(fnn.RandomCrop((5, 4), 1), IMAGES)
    assert z.shape == (9, 5, 4, 2)

    def candidates(e):
        return {(y, x): padded[e, y : y + 5, x : x + 4] for y in range(4) for x in range(6)}

    assert len(set(found(z, candidates))) > 4
    assert put_out(fnn.RandomCrop(4), SIGNALS).shape == (9, 4, 2)


def test_a_hole_is_a_square_that_may_reach_beyond_the_edges():
    def candidates(e):
        holes = {}
        for y in range(6):
            for x in range(7):
                out = IMAGES[e].copy()
                out[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = 0
                holes[y, x] = out
        return holes

    assert len(set(found(put_out(fnn.CutOut(3), IMAGES), candidates))) > 5


def test_the_gradient_is_that_of_what_was_drawn(rng):
    layers = [fnn.RandomCrop(5, 1), fnn.RandomFlip(), fnn.CutOut(2), fnn.Flatten(), fnn.Dense(2)]
    model = fnn.Sequential(layers, dtype="float64", seed=0).build((6, 7, 2))
    X = rng.standard_normal((4, 6, 7, 2))
    way, dout = rng.standard_normal(X.shape), rng.standard_normal((4, 2))
    _, pull = model.vjp(X, training=True, seed=5)
    dX = pull(dout)[1]
    difference = model.forward(X + way, training=True, seed=5) - model.forward(
        X, training=True, seed=5
    )
    np.testing.assert_allclose((dX * way).sum(), (difference * dout).sum(), rtol=1e-10)


REFUSED = [
    (lambda: fnn.RandomFlip(False), "horizontal: expected True, or vertical=True"),
    (lambda: fnn.RandomCrop((3, 3, 1)), "size: expected one number, or height and width"),
    (
        lambda: fnn.Sequential([fnn.RandomShift(1)]).build(12),
        "layers[0]: expected examples of shape",
    ),
    (
        lambda: fnn.Sequential([fnn.RandomCrop(9, 1)]).build((6, 9, 1)),
        "layers[0]: expected examples that RandomCrop(9, padding=1) is a part of, got",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_refused_by_name(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
