"""Callbacks: derived from `Callback`, or any object with one of its methods."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import pyfast_nn as fnn

X, y = fnn.datasets.make_xor(50, noise=0.1)


class Norms(fnn.Callback):
    def on_fit_begin(self, model: fnn.Sequential) -> None:
        self.started = model.epochs_trained

    def on_epoch_end(
        self, model: fnn.Sequential, epoch: int, record: dict[str, Any]
    ) -> bool | None:
        record["norm"] = np.linalg.norm(model.parameters)
        return bool(record["loss"] < 0.1)

    def on_fit_end(self, model: fnn.Sequential, history: fnn.History) -> None:
        print(model.n_parameters, history.epochs, history["norm"])


class Printer:
    def on_epoch_end(self, model: object, epoch: int, record: dict[str, float]) -> None:
        print(epoch, record["loss"])


class Steps:
    def on_step_end(self, model: fnn.Sequential, step: int, record: dict[str, float]) -> None:
        print(model.parameters, step, record["lr"])


model = fnn.Sequential([fnn.Dense(4), fnn.Tanh(), fnn.Dense(2)])
sgd = fnn.optim.SGD(lr=0.1)
plateau = fnn.ReduceLROnPlateau(sgd, monitor="loss", factor=0.5, patience=2, threshold_mode="abs")
monitor = fnn.CurvatureMonitor(X, y, every=2, n_samples=20)
folder = Path(tempfile.mkdtemp())
saves = fnn.ModelCheckpoint(folder / "{epoch}", monitor="loss", every=2, keep=np.int64(3))
history = model.fit(
    X,
    y,
    loss="cross_entropy",
    optimizer=sgd,
    epochs=2,
    callbacks=[
        Norms(),
        Printer(),
        Steps(),
        plateau,
        monitor,
        saves,
        fnn.CSVLogger(str(folder / "log")),
    ],
    resume=folder / "2",
)
print(history["max_eigenvalue"], history.stopped_early)
plateau.step(np.float64(0.5))


def halve(
    number: int, model: fnn.Sequential, epoch: int, record: dict[str, float], outputs: Any
) -> bool:
    return epoch == 1 and float(outputs.mean()) > record["val_loss"] + number


models = [fnn.Sequential([fnn.Dense(4), fnn.Tanh(), fnn.Dense(2)], seed=s) for s in range(2)]
histories: list[fnn.History] = fnn.fit_many(
    models,
    X,
    y,
    loss="cross_entropy",
    epochs=3,
    each=[{"optimizer": fnn.optim.SGD(lr=0.1), "callbacks": Printer()}, {"batch_size": 10}],
    validation_data=(X, y),
    on_epoch_end=halve,
)
