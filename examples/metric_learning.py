"""
Nearest neighbours in a learned metric
======================================

The label of the nearest examples is as good as the distance by which they are nearest. Euclid's
counts every column alike, so columns that say nothing drown those that do. A *Mahalanobis* metric,
``(a - b)' L' L (a - b)``, is Euclid's after the linear map L, and L can be learned:

- NCA makes a neighbour that is drawn at random, near ones more often, one of the right class
  (J. Goldberger et al. 2004, NIPS 17);
- LMNN keeps other classes away from the nearest of one's own by a margin (K. Q. Weinberger,
  L. K. Saul 2009, JMLR 10);
- MMC puts pairs of different labels as far apart as those of one label permit (E. P. Xing et al.
  2002, NIPS 15);
- ITML bounds the distances of pairs, and stays near Euclid (J. V. Davis et al. 2007, ICML).

Here three classes are normal distributions in a plane, which is hidden among ten columns of noise.
All that can be known of a label is in the plane: no classifier does better than the rule of Bayes.

It needs ``pip install 'pyfast-nn[sklearn,plot]'``.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from pyfast_nn.metric_learning import ITML, LMNN, MMC, NCA

plt.style.use("tableau-colorblind10")
N, TEST, NOISE, NEIGHBORS = 300, 3000, 10, 5
METRICS = {
    "Euclid": None,
    "MMC": MMC(n_constraints=1000, random_state=0),
    "ITML": ITML(n_constraints=1000, random_state=0),
    "LMNN": LMNN(n_neighbors=NEIGHBORS),
    "NCA": NCA(),
    "NCA to 2 columns": NCA(2),
}

# %%
# The plane is turned, so that every column has a part of it; noise has twice the scale.

rng = np.random.default_rng(0)
turn, _ = np.linalg.qr(rng.standard_normal((2 + NOISE, 2 + NOISE)))
centres = np.array([[0, 0], [3, 0], [1.5, 2.5]])


def draw(n):
    """Return examples (n, 2 + NOISE), their labels and their places in the plane."""
    y = rng.integers(3, size=n)
    plane = centres[y] + rng.standard_normal((n, 2))
    return np.c_[plane, 2 * rng.standard_normal((n, NOISE))] @ turn.T, y, plane


X, y, plane = draw(N)
Xt, yt, plane_t = draw(TEST)
bayes = np.mean(np.argmin(((plane_t[:, None] - centres) ** 2).sum(-1), axis=1) == yt)


def right(X, y, Xt, yt):
    """Return the share of test examples whose nearest neighbours vote for their label."""
    return KNeighborsClassifier(NEIGHBORS).fit(X, y).score(Xt, yt)


in_the_plane = right(plane, y, plane_t, yt)

# %%
# How many votes are right, and how much of the metric looks at the plane: its share of the trace.

accuracy, share = {}, {}
for name, metric in METRICS.items():
    if metric is None:
        accuracy[name], M = right(X, y, Xt, yt), np.eye(2 + NOISE)
    else:
        metric.fit(X, y)
        accuracy[name] = right(metric.transform(X), y, metric.transform(Xt), yt)
        M = metric.get_mahalanobis_matrix()
    share[name] = np.trace(turn[:, :2].T @ M @ turn[:, :2]) / np.trace(M)
    print(f"{name:17} {accuracy[name]:.1%} right, {share[name]:.0%} of the metric in the plane")
print(f"{'in the plane':17} {in_the_plane:.1%} right; the rule of Bayes {bayes:.1%}")

# %%
# Principal components are the directions of the largest variance, which is that of noise. NCA to
# two columns finds the plane.

figure, panels = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
views = {
    "Two principal components": PCA(2).fit(X).transform,
    "NCA to 2 columns": METRICS["NCA to 2 columns"].transform,
}
for axes, (title, transform) in zip(panels, views.items(), strict=False):
    shown = transform(Xt[:600])
    for label, marker in enumerate("os^"):
        axes.plot(*shown[yt[:600] == label].T, marker, ms=3, alpha=0.6)
    axes.set(title=title, xticks=[], yticks=[])
panels[2].barh(list(accuracy), list(accuracy.values()), color="C0")
panels[2].axvline(bayes, color="k", ls=":", label="the rule of Bayes")
panels[2].axvline(in_the_plane, color="C1", ls="--", label="neighbours in the plane")
panels[2].set(xlim=(0.5, 1), xlabel="test examples that are right", title="Neighbours that vote")
panels[2].invert_yaxis()
panels[2].legend(loc="upper right", fontsize=8)
figure.savefig("metric_learning.png", dpi=150)
