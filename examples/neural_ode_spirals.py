"""
A neural ODE learns a spiral, with the exact gradient of the steps that it makes
================================================================================

A neural ODE puts out where the flow ``dy/dt = f(y)`` of a small network f takes its input by time
t (R. T. Q. Chen, Y. Rubanova, J. Bettencourt, D. Duvenaud 2018, https://arxiv.org/abs/1806.07366).
Two gradients are in use. `NeuralODE` goes back through the steps that it has made: that is the
gradient of the number that it computed, to rounding. The adjoint method solves a second equation,
``da/dt = -(df/dy)' a``, from the end to the start: that is near the gradient of the exact flow, and
so differs from that of what was computed by an error of the order of the method, here the fourth
power of the step. Where steps adapt, they are those of SciPy's ``solve_ivp``.

Needs SciPy: ``pip install 'pyfast-nn[curvature,plot]'``.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
EXAMPLES, EPOCHS, TIME, STEPS = 1000, 300, 0.3, [1, 2, 4, 8, 16, 32]
TURN = np.array([[-0.1, 2.0], [-2.0, -0.1]])
rng = np.random.default_rng(0)


def spiral(t, y):
    """Return the slope of the true flow."""
    return y**3 @ TURN


# %%
# From anywhere in a disc to where the flow is a little later: pairs that a network learns from.


def flow(X, t):
    """Return where the true flow takes each row of X by time t."""
    return np.array([solve_ivp(spiral, (0, t), x, rtol=1e-9, atol=1e-9).y[:, -1] for x in X])


def model_of(layers, t, parameters=None, **options):
    """Return a model of a flow alone, with these parameters if there are any."""
    model = fnn.Sequential([fnn.NeuralODE(layers, t, **options)], dtype="float64", seed=0)
    if parameters is not None:
        model.build(2).parameters = parameters
    return model


radius, angle = 2.2 * np.sqrt(rng.uniform(size=EXAMPLES)), rng.uniform(0, 2 * np.pi, EXAMPLES)
X = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
Y = flow(X, 0.2)
layers = [fnn.Dense(64), fnn.Tanh(), fnn.Dense(64), fnn.Tanh(), fnn.Dense(2)]
model = model_of(layers, 0.2)
lr = fnn.schedules.OneCycle(0.01, EPOCHS * (EXAMPLES // 50))
options = {"loss": "mse", "optimizer": fnn.optim.Adam(lr=lr), "batch_size": 50, "verbose": 0}
model.fit(X, Y, epochs=EPOCHS, **options)

# %%
# The same weights with a longer time: the whole spiral, from a point that it was not given.

parameters = model.parameters.copy()
times, start = np.linspace(0, 6, 121), np.array([2.0, 0.0])
truth = solve_ivp(spiral, (0, times[-1]), start, t_eval=times, rtol=1e-9, atol=1e-9).y.T
learned = [start]
for t in times[1:]:
    learned.append(model_of(layers, t, parameters).forward(start[None])[0])
learned = np.array(learned)
error = np.linalg.norm(learned - truth, axis=1)
print(f"error along the spiral: mean {error.mean():.3f}, largest {error.max():.3f}")

# %%
# With one tolerance, SciPy's solver makes the same steps.

f = fnn.Sequential(layers, dtype="float64").build(2)
f.parameters = parameters
tolerance, some = {"rtol": 1e-4, "atol": 1e-7}, X[:20]
ends = [solve_ivp(lambda t, y: f.forward(y[None])[0], (0, 2), x, **tolerance) for x in some]
of_scipy = np.array([end.y[:, -1] for end in ends])
ours = model_of(layers, 2.0, parameters, **tolerance).forward(some)
scipy_difference = np.abs(ours - of_scipy).max()
print(f"largest difference from solve_ivp with the same tolerance: {scipy_difference:.1e}")

# %%
# The two gradients of one loss, each beside differences of the loss that was computed: with steps
# of one size, by Runge's and Kutta's method.


def adjoint(X, Y, count):
    """Return the gradient of the mean squared error by the adjoint method, count steps of RK4."""

    def slopes(y, a):
        out, pull = f.vjp(y)
        dparameters, dy = pull(a)
        return out, -dy, -dparameters

    def rk4(state, h):
        k = [slopes(*state[:2])]
        for part in (0.5, 0.5, 1.0):
            k.append(slopes(*(s + part * h * d for s, d in zip(state[:2], k[-1][:2], strict=True))))
        total = [a + 2 * b + 2 * c + d for a, b, c, d in zip(*k, strict=True)]
        return [s + h / 6 * d for s, d in zip(state, total, strict=True)]

    y = model_of(layers, TIME, parameters, method="rk4", steps=count).forward(X)
    state = [y, 2 * (y - Y) / Y.size, np.zeros_like(parameters)]
    for _ in range(count):
        state = rk4(state, -TIME / count)
    return state[2]


def differences(model, X, Y, way, h=1e-3):
    """Return the derivative of the loss along a direction, by differences of order 6."""
    here, total = model.parameters.copy(), 0.0
    for k, factor in ((1, 45), (2, -9), (3, 1)):
        values = []
        for sign in (1, -1):
            model.parameters = here + sign * k * h * way
            values.append(model.evaluate(X, Y, loss="mse")["loss"])
        total += factor * (values[0] - values[1])
    model.parameters = here
    return total / (60 * h)


few, target = X[:50], flow(X[:50], TIME) + 1
way = rng.standard_normal(parameters.size) / np.sqrt(parameters.size)
exact_error, adjoint_error = [], []
for count in STEPS:
    fixed = model_of(layers, TIME, parameters, method="rk4", steps=count)
    known = differences(fixed, few, target, way)
    gradient = fixed.loss_and_grad(few, target, loss="mse")[1]
    exact_error.append(abs(gradient @ way - known) / abs(known))
    other = adjoint(few, target, count)
    adjoint_error.append(abs(other @ way - known) / abs(known))
    print(
        f"{count:3} steps: back through them {exact_error[-1]:.0e}, adjoint {adjoint_error[-1]:.0e}"
    )
order = -np.polyfit(np.log(STEPS[-3:]), np.log(adjoint_error[-3:]), 1)[0]
print(f"the error of the adjoint falls with power {order:.1f} of the number of steps")

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
left.plot(*truth.T, "k--", linewidth=1, label="truth")
left.plot(*learned.T, linewidth=2, label="learned flow")
left.plot(*start, "o")
left.set(xlabel="$y_1$", ylabel="$y_2$", aspect="equal")
left.set_title("One step of 0.2 is learned, and followed on", fontsize=11)
left.legend()
right.loglog(STEPS, adjoint_error, "s-", label="adjoint")
right.loglog(STEPS, exact_error, "o-", label="back through the steps")
slope = adjoint_error[-1] * (STEPS[-1] / np.array(STEPS)) ** 4
right.loglog(STEPS, slope, "k--", linewidth=1, label="fourth power")
right.set_xticks(STEPS, labels=STEPS)
right.minorticks_off()
right.set(xlabel="steps", ylabel="relative error against differences")
right.set_title("The gradient of what was computed", fontsize=11)
right.legend()
figure.savefig("neural_ode_spirals.png", dpi=150)
