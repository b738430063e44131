"""
Sixteen bits: why masters are kept, and losses scaled
=====================================================

float16 has 10 bits behind the point and numbers from 6e-8 to 65,504; bfloat16 has 7 bits, and the
range of float32. Rounding to the nearest moves a number by at most *u* times itself, u = 2^-11 and
2^-8. Three things follow.

- *Sums stop.* What is added to s is lost where it is less than u s / 2: adding ones ends at 1 / u,
  2048 and 256. The error of a sum of n numbers, one after the other, is up to n u (N. J. Higham
  1993, SIAM J. Sci. Comput. 14), so products are added up in float32.
- *Updates vanish.* A step is a small part of its weight, and below u / 2 of it nothing happens.
  Masters of the weights in float32 keep what is too small to be seen (P. Micikevicius et al. 2018,
  ICLR), or rounding is random, up or down such that the mean is right (S. Gupta et al. 2015, ICML).
- *Gradients underflow* in float16, as most of them are tiny. Those of a loss times S are S times as
  large; an overflow says that S is too large, then the step is skipped and S halved, and where none
  has come for long S is doubled.

Here float32 computes, and what would be stored in 16 bits is rounded to them.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
STEPS, BATCH, HIDDEN = 3000, 50, 32
U = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24}

# %%
# bfloat16 is the upper half of a float32: what is cut off decides whether its last bit goes up.


def to_bfloat16(x, rng=None):
    """Return x, float32, rounded to bfloat16: to nearest, ties to even; with `rng` at random."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    if rng is None:
        up = 0x7FFF + ((bits >> 16) & 1)
    else:
        up = rng.integers(0, 2**16, bits.shape, np.uint32)
    return ((bits + up) & np.uint32(0xFFFF0000)).view(np.float32)


def to_float16(x):
    """Return x, float32, rounded to float16."""
    with np.errstate(over="ignore"):
        return np.asarray(x, np.float32).astype(np.float16).astype(np.float32)


ROUND = {"float16": to_float16, "bfloat16": to_bfloat16, "float32": np.float32}

# %%
# Ones, and numbers from [0, 1), added one after the other.

numbers = np.random.default_rng(0).random(20_000, np.float32)
sums, ends = {}, {}
for name, to in ROUND.items():
    ones = np.float32(0)
    for _ in range(5000):
        ones = to(ones + np.float32(1))
    ends[name] = float(ones)
    s, sums[name] = np.float32(0), []
    for x in to(numbers):
        s = to(s + x)
        sums[name].append(s)
    error = abs(s / numbers.sum(dtype=np.float64) - 1)
    print(f"{name:8}: 5,000 ones are {ends[name]:,.0f}; 20,000 numbers: {error:.1e} off")

# %%
# A network that learns digits, with weights in bfloat16 in four ways: never rounded; rounded after
# each step, to nearest or at random; and rounded for the gradient only, with masters in float32.

X, y = fnn.datasets.load_digits()
X = (X / 16).astype(np.float32)


def rows(steps):
    """Return the rows of each step, the same for all."""
    rng = np.random.default_rng(1)
    return (rng.integers(len(X), size=BATCH) for _ in range(steps))


def network():
    """Return a network that has not learned yet."""
    layers = [fnn.Dense(HIDDEN), fnn.ReLU(), fnn.Dense(10)]
    return fnn.Sequential(layers, seed=0).build(X.shape[1])


def learn(store, see):
    """Return the losses of all digits while masters, as `store` keeps them, are trained.

    The gradient is that of the weights as `see` makes them of the masters.
    """
    model = network()
    masters = store(model.parameters).copy()
    optimizer = fnn.optim.SGD(masters, lr=fnn.schedules.Cosine(0.1, STEPS), momentum=0.9)
    losses, still = [], []
    for step, batch in enumerate(rows(STEPS)):
        model.parameters = see(masters)
        if step % (STEPS // 60) == 0:
            losses.append(model.evaluate(X, y, loss="cross_entropy")["loss"])
        _, grad = model.loss_and_grad(X[batch], y[batch], loss="cross_entropy")
        before = masters.copy()
        optimizer.step(grad)
        masters[:] = store(masters)
        still.append(np.mean(masters[grad != 0] == before[grad != 0]))
    return np.array(losses), np.array(still)


rng = np.random.default_rng(2)
WAYS = {
    "float32": (np.float32, np.float32),
    "bfloat16": (to_bfloat16, np.float32),
    "bfloat16, rounded at random": (lambda x: to_bfloat16(x, rng), np.float32),
    "bfloat16, masters in float32": (np.float32, to_bfloat16),
}
losses, still = {}, {}
for name, (store, see) in WAYS.items():
    losses[name], still[name] = learn(store, see)
    share = still[name].mean()
    print(f"{name:28}: loss {losses[name][-1]:.4f}, {share:.0%} of the updates change nothing")

# %%
# The gradient of the mean loss in the outputs, once the network has learned: the probabilities less
# the labels, by the number of rows. What float16 makes of it goes back through the network.

model = network()
model.fit(X, y, loss="cross_entropy", optimizer=fnn.optim.Adam(lr=1e-2), epochs=30, verbose=0)
out, pullback = model.vjp(X)
_, dout = fnn.ops.cross_entropy(out, y)
exact, _ = pullback(dout)
SCALES = 2.0 ** np.arange(0, 37, 2)
errors, lost = {}, {}
for name in ("float16", "bfloat16"):
    errors[name], lost[name] = [], []
    for scale in SCALES:
        stored = ROUND[name](np.float32(scale) * dout)
        lost[name].append(np.mean(stored[dout != 0] == 0))
        finite = np.isfinite(stored).all()
        grad = pullback(stored)[0] / scale if finite else np.full_like(exact, np.nan)
        errors[name].append(np.linalg.norm(grad - exact) / np.linalg.norm(exact))
    overflow = SCALES[np.isnan(errors[name])]
    print(
        f"{name:8}: {lost[name][0]:.0%} of the gradient in the outputs is lost, and it is "
        f"{errors[name][0]:.1e} off; at best {np.nanmin(errors[name]):.1e}; "
        + (f"overflow from S = 2^{np.log2(overflow[0]):.0f}" if overflow.size else "no overflow")
    )

# %%
# So S looks for its place while the network learns: the optimizer skips a step whose gradient is
# not finite.

PATIENCE = STEPS // 15
model = network()
masters = model.parameters.copy()
sgd = fnn.optim.SGD(masters, lr=fnn.schedules.Cosine(0.1, STEPS), momentum=0.9, skip_nonfinite=True)
scale, since, scales = np.float32(2.0**24), 0, []
for batch in rows(STEPS):
    model.parameters = to_float16(masters)
    out, pullback = model.vjp(X[batch])
    _, dout = fnn.ops.cross_entropy(out, y[batch])
    grad, _ = pullback(to_float16(scale * dout))
    skipped = sgd.skipped
    sgd.step(grad / scale)
    since += 1
    if sgd.skipped > skipped:
        scale, since = scale / 2, 0
    elif since == PATIENCE:
        scale, since = scale * 2, 0
    scales.append(scale)
scaled_loss = model.evaluate(X, y, loss="cross_entropy")["loss"]
print(
    f"float16, loss scaled, masters in float32: loss {scaled_loss:.4f}, S from 2^24 to "
    f"2^{np.log2(scale):.0f}, {sgd.skipped} steps skipped"
)

# %%

figure, panels = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
for name, values in sums.items():
    panels[0].loglog(np.arange(1, len(values) + 1), values, label=name)
panels[0].set(xlabel="numbers", title="Sums of numbers from [0, 1)")
for (name, values), style in zip(losses.items(), ("k", "C1", "C2", "C0--"), strict=True):
    panels[1].semilogy(np.arange(len(values)) * (STEPS // 60), values, style, label=name)
panels[1].set(xlabel="steps", title="Loss, by how weights are kept")
for name, values in errors.items():
    panels[2].loglog(SCALES, values, "o-", base=2, label=name)
    panels[2].axhline(U[name], color="k", lw=0.8, ls=":")
panels[2].set(xlabel="S", title="Error of the gradient, and u")
for axes, place in zip(panels, ("upper left", "upper right", "center right"), strict=True):
    axes.legend(fontsize=9, loc=place)
figure.savefig("small_floats.png", dpi=150)
