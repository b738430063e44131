"""
Momentum is a low-pass filter
=============================

The velocity of momentum, ``v_k = b v_(k-1) + g_k``, is the gradient sent through the filter
``1 / (1 - b / z)``. It amplifies a constant gradient by ``1 / (1 - b)``, damps one that changes
sign in each step to ``1 / (1 + b)``, and multiplies a frequency f by
``1 / |1 - b exp(-2 pi i f)|``. On a quadratic with curvatures from h to K h the steep directions
are those that change sign and the shallow ones are constant, so longer steps are possible: with
its best setting the error falls like ``k r^k`` with ``r = (sqrt(K) - 1) / (sqrt(K) + 1)`` (a
double root), and without momentum like ``r^k`` with ``r = (K - 1) / (K + 1)`` (B. T. Polyak 1964,
https://doi.org/10.1016/0041-5553(64)90137-5).

The picture shows the response of the filter, measured by feeding gradients of known frequency to
an optimizer whose learning rate is zero, and the error on a quadratic with K = 100, theory dashed.
The numbers are the largest error of the response, and the measured rates r beside the predicted
ones.
"""

import numpy as np

import pyfast_nn as fnn
from _gallery import run, sheet


def response(b, frequencies, steps):
    """Return the amplitude of the velocity for gradients of amplitude 1, (len(frequencies),).

    One example a step, its input 1 and its target -cos or -sin: the gradient of the mean squared
    error of weights that stay zero is 2 / outputs times cos and sin.
    """
    phase = 2 * np.pi * frequencies * np.arange(steps)[:, None]
    y = -np.column_stack([np.cos(phase), np.sin(phase)])
    outputs = y.shape[1]
    model = fnn.Sequential([fnn.Dense(outputs, init="zeros")], dtype="float64")
    sgd = fnn.optim.SGD(lr=0, momentum=b)
    model.fit(
        np.ones((steps, 1)),
        y,
        loss="mse",
        optimizer=sgd,
        epochs=1,
        batch_size=1,
        shuffle=False,
        verbose=0,
    )
    cos, sin = sgd.state[0][:outputs].reshape(2, -1) * outputs / 2  # of the weights; biases follow
    return np.hypot(cos, sin)


def descend(h, lr, momentum, steps):
    """Return the distance to the minimum after each step, on a quadratic of curvatures `h` (3,).

    Columns of +-1 that are orthogonal to each other and to the bias's make it diagonal. The
    bias is a fourth direction, of curvature 2.
    """
    H = np.array([[1, 1, 1], [-1, 1, -1], [1, -1, -1], [-1, -1, 1]])
    X = H * np.sqrt(h / 2)
    model = fnn.Sequential([fnn.Dense(1, init=1.0, bias_init=1.0)], dtype="float64")
    sgd, distance = fnn.optim.SGD(lr=lr, momentum=momentum), []
    for _ in range(steps):
        model.fit(X, np.zeros(4), loss="mse", optimizer=sgd, epochs=1, batch_size=4, verbose=0)
        distance.append(np.linalg.norm(model.parameters))
    return np.array(distance)


def main(quick=False):
    frequencies = np.linspace(0, 0.5, 26)
    figure, (left, right) = sheet(2)
    errors = []
    for b in (0.5, 0.9):
        measured = response(b, frequencies, 500)
        predicted = 1 / np.abs(1 - b * np.exp(-2j * np.pi * frequencies))
        errors.append(np.abs(measured / predicted - 1).max())
        left.semilogy(frequencies, measured, "o", ms=4, label=f"momentum {b}")
        left.semilogy(frequencies, predicted, "k--", linewidth=1)
    left.set(
        xlabel="frequency of the gradient (per step)", ylabel="amplification", title="The filter"
    )
    left.legend()

    K, steps = 100, 300
    k = np.arange(1, steps + 1.0)
    h = np.array([2 / K, 0.2, 1.0])  # and 2, the bias
    root = np.sqrt(K)
    rates = {"gradient descent": (K - 1) / (K + 1), "with momentum": (root - 1) / (root + 1)}
    numbers = {"response: largest relative error": max(errors)}
    for (name, rate), lr, momentum in zip(
        rates.items(),
        (2 / (h[0] + 2), 4 / (np.sqrt(h[0]) + np.sqrt(2)) ** 2),
        (0, rates["with momentum"] ** 2),
        strict=True,
    ):
        distance = descend(h, lr, momentum, steps)
        predicted = rate**k * (k if momentum else 1)
        ratio = distance / predicted
        right.semilogy(k, distance, label=name)
        right.semilogy(k, predicted * ratio[-1], "k--", linewidth=1)
        numbers[f"{name}: rate ({rate:.4f})"] = rate * (ratio[-1] / ratio[99]) ** (
            1 / (steps - 100)
        )
    right.set(xlabel="step", ylabel="distance to the minimum", ylim=(1e-16, 10), title=f"K = {K}")
    right.legend()
    return figure, numbers


if __name__ == "__main__":
    run(main)
