"""Lines on models that must fail: each names the error that it is to be."""

from typing import Any

import numpy as np

import pyfast_nn as fnn

X, y = fnn.datasets.load_digits()
model = fnn.Sequential([fnn.Dense(10)])
history = model.fit(X, y, loss="cross_entropy", epochs=1)


class Silent(fnn.Callback):
    pass


class Short(fnn.Callback):
    def on_epoch_end(self, model: fnn.Sequential) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]


fnn.Sequental([fnn.Dense(3)])  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
fnn.Sequential(fnn.Dense(3), fnn.ReLU())  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
fnn.Sequential([fnn.Dense(3), "relu"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
fnn.Sequential([fnn.Dense(3), fnn.ReLU])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
fnn.Sequential([fnn.Dense(3)], dtyp="float32")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
fnn.Sequential([fnn.Dense(3)], seed="one")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.Dense("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.Dense(3, "he_normal")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
fnn.Dense(10, activation="relu")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
fnn.Dense(3).units = 4  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
fnn.Dense(3).trainable_ = False  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
fnn.GELU("erf")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.Rescale(scale=[1.0])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.losses.Quantile(q="0.9")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.losses.Hubert()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
fnn.initializers.Uniform(0.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
fnn.initializers.Orthogonal(gain="two")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
model.fit(X, y, "cross_entropy")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
model.fit(X, y, epochs="ten")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
model.fit(X, y, batch_sizes=32)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
model.fit(X, y, loss=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
model.fit(X, y, loss=fnn.losses.Huber)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
model.fit(X, y, optimizer=fnn.optim.Adam)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
model.fit(X, y, validation_data=X)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
model.fit(X, y, callbacks=[Silent])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
model.fit(X, y, callbacks=[print])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
model.fit(X, y, metrics=[3])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
model.fit(X, y, class_weight={0: "much"})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
model.fit(X, y, verbose="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
model.predict()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
model.pred(X)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
model.evaluate(X)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
model.evaluate(X, y)["loss"].mean()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
model.seed = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
model.layers = ()  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
model.parameters = None  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
model.build("three")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
model.save(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.load()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
fnn.load("m", optimizer=True).fit(X, y)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
fnn.load(3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
fnn.set_num_threads("2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.ReduceLROnPlateau("adam")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.ReduceLROnPlateau(fnn.optim.SGD(), threshold_mode="relative")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
labels: str = model.predict(X)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
both: tuple[np.ndarray[Any, Any], float] = model.loss_and_grad(X, y)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
out, pullback, rest = model.vjp(X)  # type: ignore[misc]  # pyright: ignore[reportAssignmentType, reportUnknownVariableType]
first: str = history["loss"][0]  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
history["loss"] + 1  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]
fnn.fit_many(model, X, y)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.fit_many([model], X, y, backend="dask")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
