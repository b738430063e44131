"""
Features learned for ridge regression fit a new task from a few points
======================================================================

A task is a sine wave of an unknown amplitude and phase, of which a few points are seen. Ridge
regression on fixed features cannot do much with so few. But where many such tasks have been seen
before, the features can be learned: a network computes them, ridge regression fits the seen points
of a task, and the error of its predictions at *other* points is differentiated, through the fit and
through the network (L. Bertinetto, J. F. Henriques, P. H. S. Torr, A. Vedaldi 2019,
"Meta-learning with differentiable closed-form solvers", ICLR, https://arxiv.org/abs/1805.08136).
The penalty is learned along. These tasks need no more than two features, the sine and cosine of x,
and those that the network finds are nearly as good: with three points the fit is close, while five
do not help features that were not learned. The tasks are those of C. Finn, P. Abbeel, S. Levine
(2017, "Model-agnostic meta-learning for fast adaptation of deep networks", ICML,
https://arxiv.org/abs/1703.03400).
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
STEPS, TASKS, SEEN, OTHER = 8_000, 16, 5, 10  # steps; tasks of a step, and points of a task
FEATURES = 32
SHOTS = [1, 2, 3, 5, 10, 20]  # points of new tasks that are seen


def tasks(n, points, rng):
    """Return n tasks' points x and values y, both (n, points, 1)."""
    amplitude, phase = rng.uniform(0.1, 5, (n, 1, 1)), rng.uniform(0, np.pi, (n, 1, 1))
    x = rng.uniform(-5, 5, (n, points, 1))
    return x, amplitude * np.sin(x + phase)


def network():
    """Return a network that makes features of x."""
    layers = [fnn.Dense(64, bias_init="one_more_input"), fnn.Tanh(), fnn.Dense(64), fnn.Tanh()]
    return fnn.Sequential([*layers, fnn.Dense(FEATURES)], seed=0).build(1)


# %%
# The network sees the points of all tasks as rows of one batch. What it makes of them is cut in
# the tasks' rows, and of each task in those that are fitted and those that are predicted.


def meta_step(model, log_lam, x, y):
    """Return the mean squared error at the other points, and its gradients in both."""
    out, through_network = model.vjp(x.reshape(-1, 1))
    features = out.reshape(len(x), -1, FEATURES)
    ridge = fnn.Ridge(np.exp(log_lam[0]))
    seen, other = np.split(features, [SEEN], axis=1)
    predicted, through_fit = ridge.vjp(seen, y[:, :SEEN], other)
    error = predicted - y[:, SEEN:]
    gradients = through_fit(2 * error / error.size)
    dfeatures = np.concatenate([gradients.support, gradients.query], axis=1)
    dparameters, _ = through_network(dfeatures.reshape(-1, FEATURES))
    return np.mean(error**2), dparameters, np.array([gradients.lam * ridge.lam])


model, log_lam = network(), np.array([np.log(0.1)])
rng = np.random.default_rng(0)
adam = fnn.optim.Adam([model.parameters, log_lam], lr=fnn.schedules.Cosine(3e-3, STEPS))
losses = []
for _ in range(STEPS):
    loss, dparameters, dlog_lam = meta_step(model, log_lam, *tasks(TASKS, SEEN + OTHER, rng))
    adam.step([dparameters, dlog_lam])
    losses.append(loss)

# %%
# New tasks. Beside the learned features: those of the same network before, with the penalty that is
# best for the new tasks, and the sine and cosine, which one who knows all would take.

new_x, new_y = tasks(500, SHOTS[-1] + 50, np.random.default_rng(1))


def features_of(model):
    """Return a function that makes features (n, points, FEATURES) of points."""
    return lambda x: model.forward(x.reshape(-1, 1)).reshape(*x.shape[:2], -1)


def wave(x):
    """Return the features of which every task is a sum."""
    return np.concatenate([np.sin(x), np.cos(x)], axis=2)


def error_of(features, lam, shots):
    """Return the mean squared error of new tasks, of which so many points are seen."""
    Z = features(new_x)
    first, last = Z[:, :shots], Z[:, -50:]
    return np.mean((fnn.Ridge(lam).forward(first, new_y[:, :shots], last) - new_y[:, -50:]) ** 2)


untrained = features_of(network())
grid = np.geomspace(1e-4, 1e2, 13)
curves = {
    "before": [min(error_of(untrained, lam, n) for lam in grid) for n in SHOTS],
    "learned": [error_of(features_of(model), np.exp(log_lam[0]), n) for n in SHOTS],
    "sine and cosine": [error_of(wave, 1e-6, n) for n in SHOTS],
}
print(f"penalty learned: {np.exp(log_lam[0]):.3g}; mean of y^2: {np.mean(new_y**2):.2f}")
print("squared error from", "".join(f"{n:>9} " for n in SHOTS), "points")
for name, errors in curves.items():
    print(f"{name:>18}", "".join(f"{error:>9.4f} " for error in errors))

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for (name, errors), mark in zip(curves.items(), "so^", strict=True):
    left.loglog(SHOTS, errors, f"{mark}-", label=name)
left.set_xticks(SHOTS, [str(n) for n in SHOTS])
left.minorticks_off()
left.set(
    xlabel="points seen of a new task", ylabel="squared error at other points", ylim=(1e-5, 10)
)
left.set_title("Learned features need a few points", fontsize=11)
left.legend(fontsize=8)
line = np.linspace(-5, 5, 200).reshape(1, -1, 1)
amplitude, phase = 3.0, 1.0
x = np.random.default_rng(3).uniform(-5, 5, (1, 5, 1))
y = amplitude * np.sin(x + phase)
right.plot(line[0], amplitude * np.sin(line[0] + phase), "k", linewidth=1, label="the task")
for features, lam, style, name in (
    (untrained, 1e-2, "C0--", "before"),
    (features_of(model), np.exp(log_lam[0]), "C1-", "learned"),
):
    fit = fnn.Ridge(lam).forward(features(x), y, features(line))
    right.plot(line[0], fit[0], style, label=f"fit, features {name}")
right.plot(x[0], y[0], "ko", label="points seen")
right.set(xlabel="x", ylim=(-6, 6))
right.set_title("A task of which five points are seen", fontsize=11)
right.legend(fontsize=8)
figure.savefig("meta_learning_ridge.png", dpi=150)
