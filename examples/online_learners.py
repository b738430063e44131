"""
Online learners, and the regret that cannot be avoided
======================================================

Losses come one after another; a learner names its point x before it sees the next loss. Its regret
is its total loss, less that of the best single point in hindsight. For convex losses, gradients of
length G and a domain of diameter D, steps of ``D / (G sqrt(t))`` with projection keep it below
``1.5 D G sqrt(T)`` (M. Zinkevich 2003, ICML), in the mean also if G^2 is the mean of squares.
Adagrad with ``lr = E / sqrt(2)``, E the domain's largest side, keeps it below ``sqrt(2) E`` times
the sum over the coordinates of ``sqrt(sum of g^2)``, far less where most of them are rare
(J. Duchi, E. Hazan, Y. Singer 2011, JMLR 12).

Here coordinate i of the cube [-1, 1]^100 takes part in a round with probability 1 / i^2; then a
coin says y = -1 or 1 and costs ``|x_i - y|``. If coins are fair nothing can be learned, and after n
tosses hindsight alone is worth about ``sqrt(2 n / pi)``: on average that is everybody's regret. If
they are biased, it pays to learn rare coordinates as fast as frequent ones.

The picture shows mean regrets over the rounds, the bounds dashed. The numbers are regrets over the
worth of hindsight for fair coins; for biased ones the largest regrets as parts of the bounds, the
power of T with which Adagrad's grows, and SGD's regret over Adagrad's.
"""

import numpy as np

import pyfast_nn as fnn
from _gallery import run, sheet

RUNS, COORDINATES = 20, 100
CHANCE = 1 / np.arange(1, COORDINATES + 1) ** 2
D, G = 2 * np.sqrt(COORDINATES), np.sqrt(CHANCE.sum())
LEARNERS = {
    "SGD": lambda x: fnn.optim.SGD(x, lr=lambda t: D / (G * np.sqrt(t + 1))),
    "Adagrad": lambda x: fnn.optim.Adagrad(x, lr=np.sqrt(2)),
}


def play(learner, bias, rounds):
    """Return mean regrets after each round (rounds,), and how often each coordinate took part.

    The runs are side by side in one array, as no rule and no projection here mixes its numbers.
    """
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
        regrets.append(np.mean(loss + np.sum(np.abs(coins), axis=1)))  # the best x: sign(coins)
        counts.append(np.mean(np.sum(np.sqrt(count), axis=1)))
    return np.array(regrets), np.array(counts)


def main(quick=False):
    rounds = 2_000 if quick else 20_000
    t = np.arange(1, rounds + 1)
    figure, panels = sheet(2, 4.2)
    numbers = {}
    for axes, (coins, bias) in zip(panels, {"fair": 0.0, "biased": 0.4}.items(), strict=True):
        final = {}
        for color, (name, learner) in enumerate(LEARNERS.items()):
            regret, roots = play(learner, bias, rounds)
            bound = 1.5 * D * G * np.sqrt(t) if name == "SGD" else 2 * np.sqrt(2) * roots
            axes.loglog(t, np.where(regret > 0, regret, np.nan), color=f"C{color}", label=name)
            axes.loglog(t, bound, "--", color=f"C{color}", label=f"bound of {name}")
            final[name] = regret[-1]
            if coins == "fair":
                least = np.sqrt(2 / np.pi) * roots
                numbers[f"fair coins: regret of {name} over hindsight's worth"] = (
                    regret[-1] / least[-1]
                )
            else:
                numbers[f"biased coins: {name}, largest part of its bound"] = max(regret / bound)
        if coins == "fair":
            axes.loglog(t, least, "k:", label="worth of hindsight")
        axes.set(xlabel="rounds T", ylabel="regret", title=f"{coins.capitalize()} coins")
        axes.legend(fontsize="small", loc="lower right")
    late = t >= rounds // 10
    power = np.polyfit(np.log(t[late]), np.log(regret[late]), 1)[0]
    numbers["biased coins: power of T in the regret of Adagrad"] = power
    numbers["biased coins: regret of SGD over Adagrad's"] = final["SGD"] / final["Adagrad"]
    return figure, numbers


if __name__ == "__main__":
    run(main)
