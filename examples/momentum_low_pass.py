"""
Momentum is a low-pass filter
=============================

The velocity of momentum, ``v_k = b v_(k-1) + g_k``, is the gradient sent through the filter
``1 / (1 - b / z)``. It amplifies a constant gradient by ``1 / (1 - b)``, damps one that changes
sign in each step to ``1 / (1 + b)``, and multiplies a frequency f by
``1 / |1 - b exp(-2 pi i f)|``. On a quadratic with curvatures from h to K h the steep directions
are those that change sign and the shallow ones are constant, so longer steps are possible: with
its best setting the error falls like ``k r^k`` with ``r = (sqrt(K) - 1) / (sqrt(K) + 1)`` (a
double root), and without momentum like ``r^k`` with ``r = (K - 1) / (K + 1)``: momentum takes the
root of the condition number K (B. T. Polyak 1964,
https://doi.org/10.1016/0041-5553(64)90137-5).
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
K, STEPS = 100, 300

# %%
# The response of the filter: gradients of known frequency are fed to an optimizer whose learning
# rate is zero. One example a step, its input 1 and its target -cos or -sin: the gradient of the
# mean squared error of weights that stay zero is 2 / outputs times cos and sin.


def response(b, frequencies, steps):
    """Return the amplitude of the velocity for gradients of amplitude 1, (len(frequencies),)."""
    phase = 2 * np.pi * frequencies * np.arange(steps)[:, None]
    y = -np.column_stack([np.cos(phase), np.sin(phase)])
    outputs = y.shape[1]
    model = fnn.Sequential([fnn.Dense(outputs, init="zeros")], dtype="float64")
    sgd = fnn.optim.SGD(lr=0, momentum=b)
    options = {"loss": "mse", "epochs": 1, "batch_size": 1, "shuffle": False, "verbose": 0}
    model.fit(np.ones((steps, 1)), y, optimizer=sgd, **options)
    cos, sin = sgd.state[0][:outputs].reshape(2, -1) * outputs / 2  # of the weights; biases follow
    return np.hypot(cos, sin)


frequencies = np.linspace(0, 0.5, 26)
measured = {b: response(b, frequencies, 500) for b in (0.5, 0.9)}
theory = {b: 1 / np.abs(1 - b * np.exp(-2j * np.pi * frequencies)) for b in measured}
response_error = max(np.abs(measured[b] / theory[b] - 1).max() for b in measured)
print(f"response of the filter: largest relative error {response_error:.1e}")

# %%
# A quadratic of three given curvatures: columns of +-1 that are orthogonal to each other and to the
# bias's make it diagonal. The bias is a fourth direction, of curvature 2.


def descend(h, lr, momentum, steps):
    """Return the distance to the minimum after each step, on a quadratic of curvatures `h` (3,)."""
    X = np.array([[1, 1, 1], [-1, 1, -1], [1, -1, -1], [-1, -1, 1]]) * np.sqrt(h / 2)
    model = fnn.Sequential([fnn.Dense(1, init=1.0, bias_init=1.0)], dtype="float64")
    sgd, distance = fnn.optim.SGD(lr=lr, momentum=momentum), []
    for _ in range(steps):
        model.fit(X, np.zeros(4), loss="mse", optimizer=sgd, epochs=1, batch_size=4, verbose=0)
        distance.append(np.linalg.norm(model.parameters))
    return np.array(distance)


k = np.arange(1, STEPS + 1.0)
h = np.array([2 / K, 0.2, 1.0])  # and 2, the bias
root = np.sqrt(K)
plain_rate, momentum_rate = (K - 1) / (K + 1), (root - 1) / (root + 1)
settings = {  # learning rate, momentum, theory
    "gradient descent": (2 / (h[0] + 2), 0, plain_rate**k),
    "with momentum": (
        4 / (np.sqrt(h[0]) + np.sqrt(2)) ** 2,
        momentum_rate**2,
        k * momentum_rate**k,
    ),
}

# %%
# The factor per step is fitted to the later steps, where the slowest direction is all that is left.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for (b, amplitudes), marker in zip(measured.items(), "os", strict=True):
    left.semilogy(frequencies, amplitudes, marker, markersize=5, label=f"momentum {b}")
    left.semilogy(frequencies, theory[b], "k--", linewidth=1)
left.plot([], [], "k--", linewidth=1, label="theory")
left.set(xlabel="frequency of the gradient (per step)", ylabel="amplification")
left.set_yticks([0.5, 1, 2, 5, 10], labels=[0.5, 1, 2, 5, 10])
left.minorticks_off()
left.set_title("Momentum passes what is constant", fontsize=11)
left.legend()

rates = {}
for name, (lr, momentum, predicted) in settings.items():
    distance = descend(h, lr, momentum, STEPS)
    ratio = distance / predicted
    base = momentum_rate if momentum else plain_rate
    rates[name] = base * (ratio[-1] / ratio[99]) ** (1 / (STEPS - 100))
    print(f"{name}: factor per step {rates[name]:.4f} (theory {base:.4f})")
    right.semilogy(k, distance, linewidth=2, label=name)
    right.semilogy(k, predicted * ratio[-1], "k--", linewidth=1)
right.plot([], [], "k--", linewidth=1, label="theory")
right.set(xlabel="step", ylabel="distance to the minimum", ylim=(1e-16, 10))
right.set_title(f"... and so is faster: condition number {K}", fontsize=11)
right.legend()
figure.savefig("momentum_low_pass.png", dpi=150)
