"""Fits that are killed again and again, for test_checkpoint.py.

    python killed_fits.py FOLDER COUNT

Runs each of the fits below alone, and then again in processes that are killed at random moments and
started anew, until COUNT of them were; compares all that is left in the end, bit by bit.
"""

from __future__ import annotations

import itertools
import os
import pickle
import random
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

import pyfast_nn as fnn
from failing_disk import in_a_child
from pyfast_nn import optim, schedules

RNG = np.random.default_rng(0)
X = RNG.normal(size=(150, 6)) * 3 + 1
Y = np.array(["no", "yes"])[(X[:, 0] * X[:, 1] > 1).astype(int)]


class Counts(fnn.Callback):
    """Has a state of its own; thaws a layer, and stops the fit."""

    def __init__(self, thaw=None, stop=None):
        self.seen, self.thaw, self.stop = [], thaw, stop

    def on_epoch_end(self, model, epoch, record):
        record["seen"] = len(self.seen)
        self.seen.append(record["loss"])
        if epoch == self.thaw:
            model.layers[1].trainable = True
        return len(self.seen) == self.stop

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def network(**first):
    return fnn.Sequential(
        [
            *(fnn.Standardize(), fnn.Dense(9, **first), fnn.BatchNorm(), fnn.ReLU()),
            *(fnn.Dropout(0.2), fnn.Residual([fnn.Dense(9), fnn.Tanh()]), fnn.Dense(2)),
        ],
        seed=None,  # what the first process draws is that of all
    )


def plateau():
    sgd = optim.SGD(lr=0.2, momentum=0.9)
    callbacks = [fnn.ReduceLROnPlateau(sgd, patience=1, factor=0.7), Counts()]
    return network(), {"optimizer": sgd, "patience": 25, "callbacks": callbacks}


def around():
    optimizer = optim.NAdam(
        lr=schedules.Cosine(0.02, 200), sam=0.05, accumulate=3, ema=0.9, lookahead=(3, 0.5)
    )
    return network(), {"optimizer": optimizer, "callbacks": [Counts(stop=20)]}


def groups():
    optimizer = optim.AdamW(
        lr=lambda step: 0.05 / (1 + step) ** 0.5,
        groups=lambda key: {"weight_decay": 0.0 if key.endswith("bias") else 0.1},
    )
    callbacks = [Counts(thaw=4)]
    # It has stopped early when all is done.
    options = {"optimizer": optimizer, "patience": 8, "monitor": "loss", "callbacks": callbacks}
    return network(trainable=False), options


def fused():
    rate = schedules.InEpochs(schedules.Warmup(schedules.Cosine(0.03, 22), 3))
    options = {"optimizer": optim.Adam(lr=rate, amsgrad=True), "patience": 30}
    return network(), options | {"gradient_accumulation_steps": 2, "class_weight": "balanced"}


FITS = [plateau, around, groups, fused]
EPOCHS = 25
ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT


def left_by(fit, folder, seed=None):
    """Run a fit, from its checkpoint if there is one, and leave all that it has made in a file."""
    model, options = fit()
    if seed is not None:
        model = fnn.Sequential(model.layers, seed=seed)
    checkpoint, mine = folder / "checkpoint", options.get("callbacks", [])
    saves = [fnn.ModelCheckpoint(folder / "best-{epoch}", monitor="val_loss", keep=2)]
    saves += [fnn.ModelCheckpoint(checkpoint)]
    options |= {"callbacks": [saves[0], *mine, saves[1]], "validation_split": 0.2}
    history = model.fit(
        *(X, Y),
        loss="cross_entropy",
        epochs=EPOCHS,
        batch_size=16,
        verbose=0,
        resume=checkpoint,
        **options,
    )
    state = options["optimizer"].state_dict()
    arrays = [model.parameters, model.state]
    arrays += [array for key in state["state"].values() for array in key.values()]
    del state["state"], history["seconds"]
    left = {
        "seed": model.seed,
        "arrays": [(array.dtype.str, array.shape, array.tobytes()) for array in arrays],
        "numbers": repr((state, dict(history), history.best_epoch, history.stopped_early)),
        "counts": repr(
            [
                model.epochs_trained,
                *(each.state_dict()["seen"] for each in mine if isinstance(each, Counts)),
            ]
        ),
        "files": {p.name: fnn.load(p).parameters.tobytes() for p in sorted(folder.glob("best-*"))},
    }
    (folder / "new").write_bytes(pickle.dumps(left))
    os.replace(folder / "new", folder / "left")


def started(*arguments):
    def work():
        try:
            left_by(*arguments)
        except BaseException:
            traceback.print_exc()
            raise
        os._exit(0)

    return in_a_child(work)


def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def wait_for_saves(child, path, saves):
    """Return as soon as so many checkpoints were written, or the process has ended."""
    seen = [path.stat().st_mtime_ns] if path.exists() else [0]
    while len(seen) <= saves and os.waitid(os.P_PID, child, ENDED) is None:
        now = path.stat().st_mtime_ns if path.exists() else 0
        seen += [now] * (now != seen[-1])


def kill_one(fit, folder, count, moments):
    """Run a fit in processes, up to `count` of which are killed; return how many were."""
    for kills in range(count):
        child = started(fit, folder)
        wait_for_saves(child, folder / "checkpoint", moments.randrange(12))
        time.sleep(moments.uniform(0, 0.005))
        os.kill(child, signal.SIGKILL)
        status = ended(child)
        if status == 0:  # it was done by then
            return kills
        assert status == -signal.SIGKILL, f"{fit.__name__} ended with {status}"
    assert ended(started(fit, folder)) == 0
    return count


def main(folder, count):
    moments, kills = random.Random(0), 0
    for number in itertools.count():
        fit = FITS[number % len(FITS)]
        killed, alone = folder / f"{number}", folder / f"{number}-alone"
        killed.mkdir(), alone.mkdir()
        kills += kill_one(fit, killed, count // len(FITS), moments)
        came = pickle.loads((killed / "left").read_bytes())
        assert ended(started(fit, alone, came["seed"])) == 0
        expected = pickle.loads((alone / "left").read_bytes())
        for name in expected:
            assert came[name] == expected[name], f"{fit.__name__}: {name} differ"
        assert 0 < len(expected["files"]) <= 2
        if kills >= count and number + 1 >= len(FITS):
            return kills


if __name__ == "__main__":
    warnings.simplefilter("ignore", UserWarning)  # of those that had done all when they were killed
    print(main(Path(sys.argv[1]), int(sys.argv[2])))
