"""
A transformer is flatter along queries and keys than along values
=================================================================

The blocks of a transformer's Hessian are unlike: curvature differs by an order of magnitude and
more from one matrix to the next, which may be why one learning rate for all of them, as that of
SGD, suits few of them (Y. Zhang, C. Chen, T. Ding, Z. Li, R. Sun, Z.-Q. Luo 2024, "Why transformers
need Adam", NeurIPS, https://arxiv.org/abs/2402.16788). The two halves of one matrix show it best.
Values reach the outputs as they are, averaged by weights p. Queries and keys only move p, and what
they move it by comes through the Jacobian of the softmax, ``diag(p) - p p'``, twice in the
Gauss-Newton matrix J' H J: its entries are below 1 / T where attention is spread over T positions,
and they vanish where it has settled on one. (How much flatter, depends on the seed: over three of
them 5 to 17 times before training, and in one block as little as 1.5 times after it.)

The task is sorting: a sequence of symbols comes in, and at position t the t-th smallest is to be
told. Needs SciPy: ``pip install 'pyfast-nn[curvature,plot]'``.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
SYMBOLS, LENGTH, UNITS = 6, 8, 16
EPOCHS = 20
ROWS = 200  # of which curvature is computed
SAMPLES = 64  # random vectors for the diagonals

X = np.random.default_rng(0).integers(0, SYMBOLS, (2000, LENGTH))
y = np.sort(X, axis=1)
X_few, y_few = X[:ROWS], y[:ROWS]


def network():
    blocks = [fnn.TransformerBlock(2, 2 * UNITS) for _ in range(2)]
    ends = [fnn.LayerNorm(), fnn.Dense(SYMBOLS)]
    layers = [fnn.Embedding(SYMBOLS, UNITS), fnn.LearnedPositions(), *blocks, *ends]
    return fnn.Sequential(layers, seed=0).build(LENGTH)


# %%
# The mean of the diagonal, by matrices: that of ``in_proj`` makes queries, keys and values of what
# comes in, a third of its columns each.


def by_matrix(model, diagonal):
    """Return {name: mean of those elements of a diagonal} of both blocks' matrices."""
    shapes = {name: view.shape for name, view in model.named_parameters().items()}
    ends = np.cumsum([np.prod(shape) for shape in shapes.values()])
    views = {
        name: part.reshape(shape)
        for (name, shape), part in zip(shapes.items(), np.split(diagonal, ends[:-1]), strict=True)
    }
    means = {}
    for block in (1, 2):
        own = {
            name: views[f"{block + 1}.{path}.weight"]
            for name, path in (
                ("values", "self_attn.in_proj"),
                ("attention's output", "self_attn.out_proj"),
                ("perceptron, in", "linear1"),
                ("perceptron, out", "linear2"),
            )
        }
        halves = np.split(own["values"], [2 * UNITS], axis=1)
        own = {"queries, keys": halves[0], **own, "values": halves[1]}
        means |= {f"{name} {block}": each.mean() for name, each in own.items()}
    return means


def look(model):
    """Return the largest eigenvalues of the Hessian and of Gauss-Newton, and its diagonal."""
    tops = {}
    for name in ("Hessian", "GaussNewton"):
        A = getattr(fnn.curvature, name)(model, X_few, y_few, loss="cross_entropy")
        tops[name] = fnn.curvature.top_eigenpairs(A, 8, tol=1e-3)[0]
        print(f"  {name:>11s}: eigenvalues", " ".join(f"{each:.2f}" for each in tops[name]))
    diagonal = fnn.curvature.hutchinson_diagonal(A, num_matvecs=SAMPLES).value
    return tops, by_matrix(model, diagonal)


model = network()
print(f"{model.n_parameters} parameters, before training")
start = look(model)
adam = fnn.optim.Adam(lr=fnn.schedules.Cosine(5e-3, EPOCHS * 40))
model.fit(X, y, loss="cross_entropy", optimizer=adam, epochs=EPOCHS, batch_size=50, verbose=0)
accuracy = model.evaluate(X, y)["accuracy"]
print(f"after training, {100 * accuracy:.1f}% right")
end = look(model)

# %%
# The Hessian's large eigenvalues are nearly those of Gauss-Newton. What that leaves out is made of
# residuals, which are tiny at the end; but so is the curvature of the loss by then, and a tenth
# stays a tenth.

apart = {
    when: np.abs(tops["Hessian"][:4] / tops["GaussNewton"][:4] - 1).mean()
    for when, (tops, _) in (("start", start), ("end", end))
}
ratios = {
    when: [means[f"values {block}"] / means[f"queries, keys {block}"] for block in (1, 2)]
    for when, (_, means) in (("start", start), ("end", end))
}
for when in ("start", "end"):
    print(f"{when}: the four largest eigenvalues of both differ by {100 * apart[when]:.0f}%;")
    first, second = ratios[when]
    print(f"  values are {first:.1f} and {second:.1f} times as curved as queries and keys")

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
for i, (when, (tops, _)) in enumerate((("start", start), ("end", end))):
    left.semilogy(np.arange(1, 9), tops["Hessian"], f"C{i}o", mfc="none", label=f"Hessian, {when}")
    left.semilogy(np.arange(1, 9), tops["GaussNewton"], f"C{i}x", label=f"Gauss-Newton, {when}")
left.set(xlabel="rank", ylabel="eigenvalue", title="the largest")
left.legend()
names = list(end[1])[::-1]
for i, (when, (_, means)) in enumerate((("start", start), ("end", end))):
    right.plot([means[name] for name in names], names, f"C{i}o", label=when)
right.set(xscale="log", xlabel="mean of Gauss-Newton's diagonal", title="by matrix and block")
right.legend()
figure.savefig("spectrum_of_a_transformer.png")
