"""One pass over a stream, and metrics that are learned."""

import copy

import numpy as np

import pyfast_nn as fnn

X = np.random.default_rng(0).standard_normal((50, 4))
y = np.where(X[:, 0] > 0, 1, -1)

model = fnn.Sequential([fnn.Dense(1, init=0.0)], dtype="float64").build(4)
sgd = fnn.optim.SGD(model.parameters, lr=1.0)
losses: list[float] = []
run: fnn.online.Run = fnn.online.run(
    model,
    zip(X, y, strict=True),
    sgd,
    loss="hinge",
    comparator=copy.deepcopy(model),
    only_mistakes=True,
    on_example=losses.append,
)
total: float = float(run.regret[-1] + run.cumulative_loss[-1])
bound: float = fnn.online.perceptron_bound(X, y, [1.0, 0.0, 0.0, 0.0], margin=0.1)

nca: fnn.metric_learning.NCA = fnn.metric_learning.NCA(2, init="pca").fit(X, y)
mapped = nca.transform(X)
itml = fnn.metric_learning.ITML(gamma=0.5, bounds=(1.0, 4.0), random_state=0)
itml.fit_pairs(X.reshape(25, 2, 4), np.repeat([1, -1], [10, 15]))
distances = itml.pair_distance([[X[0], X[1]]])
matrix = itml.get_mahalanobis_matrix()
