"""The first door: fit, predict, evaluate; inputs of all kinds, options by name and as objects."""

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

import pyfast_nn as fnn

X, y = fnn.datasets.load_digits()


def share_right(y_true: npt.NDArray[Any], y_pred: npt.NDArray[Any]) -> float:
    return float(np.equal(y_true, y_pred).mean())


train, test = fnn.datasets.stratified_split(y, [0.8, 0.2], seed=0)

model = fnn.Sequential(
    [
        fnn.Rescale(1 / 16),
        fnn.Dense(np.int64(32), init="he_normal"),
        fnn.GELU("tanh"),
        fnn.Dense(10),
    ],
    dtype="float32",
    seed=1,
)
history: fnn.History = model.fit(
    X[train],
    y[train],
    loss=fnn.losses.CrossEntropy(label_smoothing=0.1),
    optimizer=fnn.optim.AdamW(lr=np.float32(1e-2), clip_norm=1),
    epochs=2,
    batch_size=np.int32(256),
    validation_data=(X[test], y[test]),
    sample_weight=np.ones(len(train)),
    class_weight={0: 1, 3: 2.5},
    metrics=["top_5_accuracy", share_right],
    patience=5,
    monitor="val_accuracy",
    verbose=0,
)
losses: list[float] = history["loss"]
best: int | None = history.best_epoch
labels: npt.NDArray[np.int64] = model.predict(X[test])
probabilities = model.predict_proba(X[test])
certain = probabilities.max(axis=1) > 0.5
accuracy: float = model.evaluate(X[test], y[test], metrics=("top_5_accuracy",))["accuracy"]
print(model.classes_[0], accuracy, certain.sum(), labels[:3], model.history["lr"][-1])
model.parameters *= 0.99
model.parameters = [0.0] * model.n_parameters
weights: dict[str, npt.NDArray[np.float32]] = model.named_parameters()
weights["1.weight"][:] = 0
print(model.summary(), model.layers[0], model.built, model.dtype.name)

print(model.predict(scipy.sparse.csr_array(X[test])), model.predict(X[test].tolist()))
print(
    model.predict(X[test], allow_nonfinite=True), model.predict_proba(X[test], loss="cross_entropy")
)

kinds: list[str | fnn.losses.Loss] = ["mse", "huber", fnn.losses.Quantile(q=0.9)]
for loss in kinds:
    line = fnn.Sequential([fnn.Standardize(), fnn.Dense(1, bias_init=0.5)], dtype=np.float64)
    line.fit([[0.0], [1.0], [2.0]], [0, 1, 2], loss=loss, epochs=1)
    print(line.predict([[3.0]]), line.named_state()["0.mean"])
