"""
Online learners, and the regret that cannot be avoided
======================================================

In online convex optimisation losses come one after another; a learner names its point x before it
sees the next loss. Its *regret* is its total loss, less that of the best single point in hindsight.
For convex losses, gradients of length G and a domain of diameter D, steps of ``D / (G sqrt(t))``
with projection keep it below ``1.5 D G sqrt(T)`` (M. Zinkevich 2003, ICML), in the mean also if G^2
is the mean of squares. Adagrad with ``lr = E / sqrt(2)``, E the domain's largest side, keeps it
below ``sqrt(2) E`` times the sum over the coordinates of ``sqrt(sum of g^2)``, far less where most
of them are rare (J. Duchi, E. Hazan, Y. Singer 2011, JMLR 12).

Here coordinate i of the cube [-1, 1]^100 takes part in a round with probability 1 / i^2; then a
coin says y = -1 or 1 and costs ``|x_i - y|``. If coins are fair nothing can be learned, and after n
tosses hindsight alone is worth about ``sqrt(2 n / pi)``: on average that is everybody's regret. If
they are biased, it pays to learn rare coordinates as fast as frequent ones.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
ROUNDS = 10_000
RUNS, COORDINATES = 20, 100
CHANCE = 1 / np.arange(1, COORDINATES + 1) ** 2
D, G = 2 * np.sqrt(COORDINATES), np.sqrt(CHANCE.sum())
LEARNERS = {
    "SGD": lambda x: fnn.optim.SGD(x, lr=lambda t: D / (G * np.sqrt(t + 1))),
    "Adagrad": lambda x: fnn.optim.Adagrad(x, lr=np.sqrt(2)),
}

# %%
# The optimizers work on any array, in place: here on the points themselves. The runs are side by
# side in one array, as no rule and no projection here mixes its numbers.


def play(learner, bias, rounds):
    """Return the regrets after each round (rounds, RUNS), and Adagrad's sum of roots (rounds,)."""
    rng = np.random.default_rng(0)
    up = (1 + bias * rng.choice([-1, 1], COORDINATES)) / 2  # probability of y = 1
    x = np.zeros((RUNS, COORDINATES))
    optimizer = learner(x)
    loss, coins, count = np.zeros(RUNS), np.zeros_like(x), np.zeros_like(x)
    regrets, counts = [], []
    for _ in range(rounds):
        y = np.where(rng.random(x.shape) < up, 1.0, -1.0) * (rng.random(x.shape) < CHANCE)
        loss -= np.sum(x * y, axis=1)  # |x - y| is 1 - x y
        coins += y
        count += y != 0
        optimizer.step(-y)
        np.clip(x, -1, 1, out=x)
        regrets.append(loss + np.sum(np.abs(coins), axis=1))  # the best x: sign(coins)
        counts.append(np.mean(np.sum(np.sqrt(count), axis=1)))
    return np.array(regrets), np.array(counts)


t = np.arange(1, ROUNDS + 1)
regrets = {}
for coins, bias in {"fair": 0.0, "biased": 0.4}.items():
    for name, learner in LEARNERS.items():
        regrets[coins, name], roots = play(learner, bias, ROUNDS)
mean = {game: runs.mean(axis=1) for game, runs in regrets.items()}
bounds = {"SGD": 1.5 * D * G * np.sqrt(t), "Adagrad": 2 * np.sqrt(2) * roots}
hindsight = np.sqrt(2 / np.pi) * roots

# %%
# With fair coins nobody does better than hindsight's worth, whatever the optimizer; with biased
# ones Adagrad's regret is a third of SGD's and grows like the root of T.

unavoidable = {name: mean["fair", name][-1] / hindsight[-1] for name in LEARNERS}
of_bound = {name: max(mean["biased", name] / bounds[name]) for name in LEARNERS}
late = t >= ROUNDS // 5
power = np.polyfit(np.log(t[late]), np.log(mean["biased", "Adagrad"][late]), 1)[0]
ratio = mean["biased", "SGD"][-1] / mean["biased", "Adagrad"][-1]
for name in LEARNERS:
    print(f"fair coins: regret of {name} over hindsight's worth {unavoidable[name]:.2f}")
    print(f"biased coins: {name}, largest part of its bound {of_bound[name]:.2f}")
print(
    f"biased coins: Adagrad's regret grows like T^{power:.2f}; SGD's is {ratio:.1f} times as large"
)

# %%
# Means of 20 runs and the range of their middle 80 per cent.

figure, panels = plt.subplots(1, 2, figsize=(9, 4.6), sharey=True, layout="constrained")
shown = np.unique(np.geomspace(1, ROUNDS, 200).astype(int)) - 1
for axes, coins in zip(panels, ("fair", "biased"), strict=True):
    for color, name in zip(("C0", "C1"), LEARNERS, strict=True):
        low, high = np.quantile(regrets[coins, name][shown], [0.1, 0.9], axis=1).clip(0.1)
        axes.fill_between(t[shown], low, high, color=color, alpha=0.2, lw=0)
        axes.loglog(t[shown], mean[coins, name][shown].clip(0.1), color=color, label=name)
        axes.loglog(t[shown], bounds[name][shown], "--", color=color, label=f"bound of {name}")
    axes.set(xlabel="rounds T", ylim=(1, 1e4))
panels[0].loglog(t[shown], hindsight[shown], "k:", linewidth=2, label="worth of hindsight")
panels[0].set_ylabel("regret")
panels[0].set_title("Fair coins: nobody avoids hindsight's worth", fontsize=11)
panels[1].set_title("Biased coins: Adagrad learns rare coordinates", fontsize=11)
for axes in panels:
    axes.legend(fontsize=9, loc="upper left")
figure.savefig("online_learners.png", dpi=150)
