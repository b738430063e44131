"""
A neural ODE learns a spiral, with the exact gradient of the steps that it makes
================================================================================

A neural ODE puts out where the flow ``dy/dt = f(y)`` of a small network f takes its input by time
t (R. T. Q. Chen, Y. Rubanova, J. Bettencourt, D. Duvenaud 2018, https://arxiv.org/abs/1806.07366).
Two gradients are in use. `NeuralODE` goes back through the steps that it has made: that is the
gradient of the number that it computed, to rounding, and keeps what each step has computed. With
``adjoint=True`` it solves a second equation, ``da/dt = -(df/dy)' a``, from the end to the start, in
memory that does not grow with the steps: that is near the gradient of the exact flow, and so
differs from that of what was computed by an error of the order of the method, here the fourth power
of the step, or by what is tolerated where steps adapt. Those are SciPy's ``solve_ivp``'s.

Needs SciPy: ``pip install 'pyfast-nn[curvature,plot]'``.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
EXAMPLES, EPOCHS, TIME, STEPS = 1000, 300, 0.3, [1, 2, 4, 8, 16, 32]
TOLERANCES = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8]
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


def gradient_of(t, **options):
    """Return the gradient of the mean squared error."""
    return model_of(layers, t, parameters, **options).loss_and_grad(few, target, loss="mse")[1]


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
    steps = {"method": "rk4", "steps": count}
    known = differences(model_of(layers, TIME, parameters, **steps), few, target, way)
    for errors, adjoint in ((exact_error, False), (adjoint_error, True)):
        slope = gradient_of(TIME, adjoint=adjoint, **steps) @ way
        errors.append(abs(slope - known) / abs(known))
    print(
        f"{count:3} steps: back through them {exact_error[-1]:.0e}, adjoint {adjoint_error[-1]:.0e}"
    )
order = -np.polyfit(np.log(STEPS[-3:]), np.log(adjoint_error[-3:]), 1)[0]
print(f"the error of the adjoint falls with power {order:.1f} of the number of steps")

# %%
# Where steps adapt, both beside the gradient of the flow itself, that is with a tolerance of 1e-11.
# As a statement about the flow neither is exact: what goes back through coarse steps is wrong by as
# much as these steps are, and the adjoint is no further off. What it is not is the gradient of the
# loss that was computed, which is what an optimizer's line search or a test by differences sees.

tight = {"atol": 1e-11, "steps": 2000}
flow_gradient = gradient_of(2.0, rtol=1e-11, **tight)
tolerance_error = np.array(
    [
        [
            np.linalg.norm(gradient_of(2.0, rtol=rtol, **tight, adjoint=adjoint) - flow_gradient)
            for adjoint in (False, True)
        ]
        for rtol in TOLERANCES
    ]
) / np.linalg.norm(flow_gradient)
for rtol, (exact, adjoint) in zip(TOLERANCES, tolerance_error, strict=True):
    print(f"tolerance {rtol:.0e}: back through the steps {exact:.0e}, adjoint {adjoint:.0e}")

# %%

figure, (left, right, last) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
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
last.loglog(TOLERANCES, tolerance_error[:, 1], "s-", label="adjoint")
last.loglog(TOLERANCES, tolerance_error[:, 0], "o-", label="back through the steps")
last.invert_xaxis()
last.set(xlabel="tolerance", ylabel="relative error against a tolerance of 1e-11")
last.set_title("The gradient of the flow", fontsize=11)
last.legend()
figure.savefig("neural_ode_spirals.png", dpi=150)
