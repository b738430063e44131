"""
One pass over a stream: mistakes, regret, drift
===============================================

An online learner sees each example once: it predicts, has its loss, learns. Three things are known.

- A perceptron, which begins with zeros and adds ``y x`` where it was wrong, makes at most
  ``(R / margin)^2`` mistakes, with R the length of the longest example and the margin that of any
  plane that separates them; neither the number of examples nor that of columns counts
  (A. B. J. Novikoff 1962).
- The *regret* of gradient descent with steps of ``D / (G sqrt(t))``, its total loss less that of
  the best fixed model in hindsight, stays below ``1.5 D G sqrt(t)`` for convex losses, gradients of
  length G and a domain of diameter D (M. Zinkevich 2003, ICML).
- Nothing fixed is good where the stream changes. Page's test (E. S. Page 1954) sums how far losses
  are above their mean so far; a jump of the sum says that something else has begun.

The last part needs the package river, and is left out without it: ``pip install river``.
"""

import functools

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
EXAMPLES, COLUMNS, RUNS = 4_000, 20, 5
rng = np.random.default_rng(0)


def linear():
    """Return a model of one output that begins with zeros."""
    return fnn.Sequential([fnn.Dense(1, init=0.0)], dtype="float64", seed=0).build(COLUMNS)


# %%
# Examples on the unit sphere, without those nearer to the plane than a margin. The step is made
# only after mistakes, where the hinge loss has the gradient ``-y x``.

w = rng.standard_normal(COLUMNS)
w /= np.linalg.norm(w)
MARGINS = [0.02, 0.05, 0.1, 0.2, 0.4]


def on_sphere(n, margin):
    """Return n examples with labels -1 and 1, at least `margin` from the plane of w."""
    along = rng.choice([-1, 1], n) * rng.uniform(margin, 0.5, n)
    beside = rng.standard_normal((n, COLUMNS))
    beside -= np.outer(beside @ w, w)
    beside *= np.sqrt(1 - along**2)[:, None] / np.linalg.norm(beside, axis=1, keepdims=True)
    return along[:, None] * w + beside, np.sign(along)


mistakes, bounds = [], []
for margin in MARGINS:
    X, y = on_sphere(EXAMPLES, margin)
    perceptron = linear()
    sgd = fnn.optim.SGD(perceptron.parameters, lr=1)
    stream = zip(X, y, strict=True)
    run = fnn.online.run(perceptron, stream, sgd, loss="hinge", only_mistakes=True)
    mistakes.append(np.count_nonzero(run.mistakes))
    bounds.append(fnn.online.perceptron_bound(np.c_[X, np.ones(EXAMPLES)], y, np.r_[w, 0]))
    print(f"margin {margin:.2f}: {mistakes[-1]} mistakes, at most {bounds[-1]:.0f}")

# %%
# Logistic regression on labels that are wrong one time in ten. The comparator is trained on all
# examples at once; the hook takes the parameters back into a ball of diameter D.

RADIUS = 10.0
D, G = 2 * RADIUS, np.sqrt(2)  # an example and its one for the bias have length sqrt(2)
regrets = []
for _ in range(RUNS):
    X, y = on_sphere(EXAMPLES, 0.0)
    y = (np.where(rng.random(EXAMPLES) < 0.1, -y, y) > 0).astype(int)
    best, model = linear(), linear()
    best.fit(
        X,
        y,
        loss="binary_cross_entropy",
        optimizer=fnn.optim.Adam(lr=0.1),
        batch_size=EXAMPLES,
        epochs=300,
        verbose=0,
    )

    def project(loss, model=model):
        model.parameters *= min(1, RADIUS / max(np.linalg.norm(model.parameters), 1e-9))

    sgd = fnn.optim.SGD(model.parameters, lr=lambda t: D / (G * np.sqrt(t + 1)))
    run = fnn.online.run(
        model,
        zip(X, y, strict=True),
        sgd,
        loss="binary_cross_entropy",
        comparator=best,
        on_example=project,
    )
    regrets.append(run.regret)
t = np.arange(1, EXAMPLES + 1)
bound = 1.5 * D * G * np.sqrt(t)
regret = np.mean(regrets, axis=0)
late = t > EXAMPLES // 10
power = np.polyfit(np.log(t[late]), np.log(regret[late]), 1)[0]
of_bound = np.max(np.array(regrets) / bound)
print(f"the regret grows like T^{power:.2f}, and is at most {of_bound:.0%} of the bound")

# %%
# The labels turn over half-way, when steps of 1/sqrt(t) have become small. Where Page's test of the
# losses raises its hand, the steps begin anew.

try:
    import river.drift
except ImportError as error:
    print(f"the stream that changes is left out: pip install river ({error})")
    river = None

X, y = on_sphere(EXAMPLES, 0.1)
y = ((y > 0) == (np.arange(EXAMPLES) < EXAMPLES // 2)).astype(int)
recent = {}
alarms = []


def rate(step, begun=0):
    """Return the length of the step, where it began to learn with the step `begun`."""
    return 5 / np.sqrt(step - begun + 1)


for name in ["steps of 1/sqrt(t)"] + ["begun anew"] * (river is not None):
    model = linear()
    sgd = fnn.optim.SGD(model.parameters, lr=rate)
    watch = None
    if name == "begun anew":
        page, seen = river.drift.PageHinkley(mode="up"), []

        def watch(loss, page=page, seen=seen, sgd=sgd):
            seen.append(loss)
            page.update(loss)
            if page.drift_detected:
                alarms.append(len(seen))
                sgd.lr = functools.partial(rate, begun=len(seen))

    run = fnn.online.run(
        model, zip(X, y, strict=True), sgd, loss="binary_cross_entropy", on_example=watch
    )
    recent[name] = np.convolve(run.mistakes, np.ones(100) / 100)[:EXAMPLES]
    after = np.count_nonzero(run.mistakes[EXAMPLES // 2 :])
    print(f"{name}: {after} mistakes after the labels have turned over")
if alarms:
    print(f"the labels turn over after {EXAMPLES // 2}, Page's test sees it after {alarms}")

# %%

figure, panels = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
panels[0].loglog(MARGINS, bounds, "--", color="C1", label="$(R / margin)^2$")
panels[0].loglog(MARGINS, mistakes, "o-", color="C0", label="mistakes")
panels[0].set_xticks(MARGINS, MARGINS)
panels[0].minorticks_off()
panels[0].set(xlabel="margin", title="A perceptron's mistakes")
panels[1].loglog(t, bound, "--", color="C1", label="Zinkevich's bound")
for one in regrets:
    panels[1].loglog(t, np.maximum(one, 0.1), color="C0", alpha=0.4, lw=1)
panels[1].loglog(t, np.maximum(regret, 0.1), color="C0", label="regret, and its mean")
panels[1].set(xlabel="examples T", title="Regret of logistic regression")
for name, share in recent.items():
    panels[2].plot(t, share, label=name)
for alarm in alarms:
    panels[2].axvline(alarm, color="k", lw=0.8, ls=":")
panels[2].set(xlabel="examples", title="Mistakes among the last 100", ylim=(0, 1))
for axes in panels:
    axes.legend(fontsize=9)
figure.savefig("one_pass.png", dpi=150)
