"""What fit offers around the epochs: schedules, validation, early stopping, callbacks, metrics."""

from __future__ import annotations

import contextlib
import copy
import gc
import itertools
import pickle
import signal
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
import sklearn.metrics
from sklearn.model_selection import train_test_split

import oracle
import pyfast_nn as fnn
from conftest import assert_same_bits
from pyfast_nn import _core, data, losses, metrics, sources
from pyfast_nn.engine import Engine

pytestmark = pytest.mark.once

ORDERS = 2**32  # the random streams of the row orders


@pytest.fixture
def blobs():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 250)
    return rng.normal(size=(250, 4)) + np.eye(3, 4)[y], y


def make(out=3, dtype="float64", seed=0, hidden=8):
    return fnn.Sequential([fnn.Dense(hidden), fnn.Tanh(), fnn.Dense(out)], dtype=dtype, seed=seed)


def fit(model, data, **keywords):
    return model.fit(*data, **{"loss": "cross_entropy", "verbose": 0, **keywords})


# ----------------------------------------------------------------------- steps


def loop(model, X, y, update, epochs, rows_per_step, values):
    """`fit` written out in NumPy, with gradients and row orders from the model; `values(step)`
    gives lr and the changed hyper-parameters of a step."""
    p = model.parameters.copy()
    state, step = oracle.initial_state(update, p.size), 0
    for epoch in range(epochs):
        order = _core.permutation(model.seed, ORDERS + epoch, len(X))
        for first in range(0, len(X), rows_per_step):
            rows = order[first : first + rows_per_step]
            model.parameters = p
            lr, changed = values(step)
            gradient = model.loss_and_grad(X[rows], y[rows], loss="cross_entropy")[1]
            oracle.apply_update((update[0], {**update[1], **changed}), p, gradient, state, lr, step)
            step += 1
    return p


def lr_of(steps):
    return 0.05 / (1 + steps / 10)


class TestSteps:
    @pytest.mark.parametrize("batches", [1, 2, 3, 100])
    def test_accumulation_and_schedules(self, blobs, batches):
        """16 batches of 16 rows, the last of 10; groups of 3 leave one for the last step."""
        momentum = np.linspace(0.9, 0.5, 100)
        model = make()
        opt = fnn.optim.SGD(lr=lr_of, momentum=momentum, weight_decay=0.01)
        options = {"epochs": 3, "batch_size": 16, "gradient_accumulation_steps": batches}
        history = fit(model, blobs, optimizer=opt, **options)

        update = ("sgd", {"momentum": 0.9, "nesterov": 0.0, "weight_decay": 0.01})
        expected = loop(
            *(make().build(4), *blobs, update, 3, 16 * batches),
            lambda step: (lr_of(step), {"momentum": momentum[step]}),
        )
        np.testing.assert_allclose(model.parameters, expected, rtol=0, atol=1e-12)
        steps = -(-16 // batches)
        assert opt.step_count == 3 * steps
        last = [lr_of(steps * (epoch + 1) - 1) for epoch in range(3)]
        np.testing.assert_allclose(history["lr"], last)

    @pytest.mark.parametrize("optimizer", [fnn.optim.Adam, fnn.optim.AdamW])
    def test_betas(self, blobs, optimizer):
        def beta1(steps):
            return 0.95 - 0.3 / (1 + steps)

        beta2 = np.linspace(0.9, 0.99, 40)
        model = make()
        opt = optimizer(lr=0.01, betas=(beta1, beta2), eps=1e-4, weight_decay=0.01)
        fit(model, blobs, optimizer=opt, epochs=4, batch_size=32)
        name = optimizer.__name__.lower()
        update = (name, {"beta1": 0, "beta2": 0, "eps": 1e-4, "weight_decay": 0.01})
        expected = loop(
            *(make().build(4), *blobs, update, 4, 32),
            lambda step: (0.01, {"beta1": beta1(step), "beta2": beta2[step]}),
        )
        np.testing.assert_allclose(model.parameters, expected, rtol=0, atol=1e-12)

    def test_a_schedule_of_one_value_is_that_value(self, blobs):
        results = []
        for momentum in (0.5, lambda steps: 0.5 + 0 * steps, lambda step: 0.5, np.full(100, 0.5)):
            model = make()
            fit(model, blobs, optimizer=fnn.optim.SGD(momentum=momentum, nesterov=True), epochs=2)
            results.append(model.parameters.tobytes())
        assert len(set(results)) == 1

    def test_hyper_parameters_are_read_anew_in_each_epoch(self, blobs):
        class Switch(fnn.Callback):
            def on_epoch_end(self, model, epoch, record):
                opt.lr, opt.momentum = 0.02, 0.9

        at_once, in_two = make(), make()
        opt = fnn.optim.SGD(lr=0.1)
        fit(at_once, blobs, optimizer=opt, epochs=2, callbacks=[Switch()])
        opt = fnn.optim.SGD(lr=0.1)
        fit(in_two, blobs, optimizer=opt, epochs=1)
        opt.lr, opt.momentum = 0.02, 0.9
        fit(in_two, blobs, optimizer=opt, epochs=1)
        assert_same_bits(at_once.parameters, in_two.parameters)

    @pytest.mark.parametrize(
        ("make_optimizer", "error", "match"),
        [
            (lambda: fnn.optim.SGD(momentum=lambda s: -0.1), ValueError, "momentum: .* at step 0"),
            (lambda: fnn.optim.SGD(momentum=[0.5]), ValueError, "momentum: .* each step up to 1"),
            (lambda: fnn.optim.SGD(momentum=[0.5, -1]), ValueError, "momentum: .* at step 1"),
            (lambda: fnn.optim.SGD(momentum="much"), TypeError, "momentum"),
            (lambda: fnn.optim.SGD(momentum=0, nesterov=True), ValueError, "nesterov"),
            (
                lambda: fnn.optim.Adam(betas=(0.9, lambda s: 0.5 + 0.5 * s)),
                ValueError,
                r"betas\[1\]: expected finite numbers >= 0 and < 1, got 1.0 at step 1",
            ),
            (lambda: fnn.optim.Adam(betas=([0.9, 1.0], 0.99)), ValueError, r"betas\[0\]"),
            (lambda: fnn.optim.Adam(betas=lambda s: 0.9), TypeError, "betas: expected a pair"),
        ],
    )
    def test_impossible_schedules(self, make_optimizer, error, match, blobs):
        with pytest.raises(error, match=match):
            fit(make(), blobs, optimizer=make_optimizer(), epochs=1)

    @pytest.mark.parametrize("wrong", [0, -1, 1.5, None])
    def test_impossible_accumulation(self, wrong, blobs):
        with pytest.raises((TypeError, ValueError), match="gradient_accumulation_steps"):
            fit(make(), blobs, gradient_accumulation_steps=wrong)


# ----------------------------------------------------------------------- validation_split


def split(y, fraction, loss="cross_entropy", seed=0):
    examples = data.Examples(np.empty((len(y), 1)), y, y)
    parts = sources.split(examples, losses.check(loss), fraction, seed)
    return [part.rows for part in parts]


class TestValidationSplit:
    @pytest.mark.parametrize("fraction", [0.01, 0.1, 0.25, 1 / 3, 0.5, 0.77])
    @pytest.mark.parametrize("classes", [1, 2, 10])
    def test_each_class_has_its_share(self, fraction, classes, rng):
        y = rng.choice(classes, 997, p=rng.dirichlet(np.ones(classes)))
        train, held_out = split(y, fraction)
        np.testing.assert_array_equal(np.sort(np.append(train, held_out)), np.arange(997))
        assert len(held_out) == round(997 * fraction)
        share = np.bincount(y, minlength=classes) * len(held_out) / 997
        counts = np.bincount(y[held_out], minlength=classes)
        assert (abs(counts - share) < 1).all()
        if len(held_out) > classes and np.bincount(y).min() > 1:
            other = train_test_split(y, test_size=len(held_out), stratify=y, random_state=0)[1]
            # ours is the largest remainder, and so is scikit-learn's where remainders differ
            assert abs(counts - np.bincount(other, minlength=classes)).max() <= 1
            assert counts.sum() == len(other)

    def test_exact_counts(self):
        y = np.repeat([0, 1, 2], [50, 30, 20])
        assert np.bincount(y[split(y, 0.1)[1]]).tolist() == [5, 3, 2]
        # 11 of 100: shares 5.5, 3.3, 2.2; the largest remainder gets the one that is left
        assert np.bincount(y[split(y, 0.11)[1]]).tolist() == [6, 3, 2]

    def test_binary_targets_are_shared_and_values_are_not(self):
        y = np.repeat([-1.0, 1.0], [900, 100])[:, None]
        assert (y[split(y, 0.1, "hinge")[1]] == 1).sum() == 10
        counts = {(y[split(y, 0.1, "mse", seed)[1]] == 1).sum() for seed in range(20)}
        assert len(counts) > 3

    def test_a_function_of_the_seed(self, rng):
        y = rng.integers(0, 3, 300)
        first, again, other = split(y, 0.2)[1], split(y, 0.2)[1], split(y, 0.2, seed=1)[1]
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)
        # of its own: not the order of any epoch
        orders = [set(_core.permutation(0, ORDERS + k, 300)[:60]) for k in range(10)]
        assert set(first) not in orders

    @pytest.mark.parametrize("shuffle", [True, False])
    def test_training_is_that_of_the_rows_that_stay(self, blobs, shuffle):
        X, y = blobs
        train, held_out = split(y, 0.2)
        parts, whole = make(), make()
        options = {"epochs": 3, "batch_size": 32, "shuffle": shuffle}
        validation = (X[held_out], y[held_out])
        expected = fit(parts, (X[train], y[train]), validation_data=validation, **options)
        history = fit(whole, blobs, validation_split=0.2, **options)
        assert_same_bits(whole.parameters, parts.parameters)
        for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert history[key] == expected[key]
        before = whole.epochs_trained
        fit(whole, blobs, validation_split=0.2, epochs=1)
        assert whole.evaluate(*validation)["loss"] == whole.history["val_loss"][0]
        assert whole.epochs_trained == before + 1

    @pytest.mark.parametrize("class_weight", [None, "balanced", [1.0, 2.0, 0.5]])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_weights(self, blobs, class_weight, weighted, rng):
        """Both parts have the weights that they would have alone; classes count in training."""
        X, y = blobs
        w = rng.uniform(0, 3, 250) if weighted else None
        train, held_out = split(y, 0.2)
        parts, whole = make(), make()
        options = {"epochs": 3, "batch_size": 32, "gradient_accumulation_steps": 2}
        options |= {"metrics": ["top_5_accuracy"], "class_weight": class_weight}
        validation = (X[held_out], y[held_out], *([w[held_out]] if weighted else []))
        own = w[train] if weighted else None
        data = X[train], y[train]
        expected = fit(parts, data, validation_data=validation, sample_weight=own, **options)
        history = fit(whole, blobs, validation_split=0.2, sample_weight=w, **options)
        assert_same_bits(whole.parameters, parts.parameters)
        for key in ("loss", "accuracy", "val_loss", "val_accuracy", "val_top_5_accuracy"):
            assert history[key] == expected[key]

    @pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_matrix])
    def test_statistics_are_those_of_the_rows_that_stay(self, blobs, form):
        X, y = blobs
        X = np.where(X > 0, X, 0)
        train, held_out = split(y, 0.2)
        layers = [fnn.Standardize(), fnn.Dense(5), fnn.Tanh(), fnn.Dense(3)]
        parts, whole = fnn.Sequential(layers), fnn.Sequential(layers)
        options = {"epochs": 2, "metrics": ["top_5_accuracy"], "patience": 2}
        validation = form(X[held_out]), y[held_out]
        fit(parts, (form(X[train]), y[train]), validation_data=validation, **options)
        fit(whole, (form(X), y), validation_split=0.2, **options)
        assert_same_bits(whole.state, parts.state)
        assert_same_bits(whole.parameters, parts.parameters)
        assert whole.history["val_loss"] == parts.history["val_loss"]

    def test_rows_without_weight_are_not_split(self, blobs):
        w = np.ones(250)
        w[1:] = 0
        with pytest.raises(ValueError, match="validation_split: expected a fraction that leaves"):
            fit(make(), blobs, validation_split=0.2, sample_weight=w)

    def test_nothing_is_copied_whole(self):
        rows, columns = 200_000, 100
        X = np.broadcast_to(np.linspace(-1, 1, columns), (rows, columns))  # 160 MB if it were
        y = np.arange(rows) % 2
        tracemalloc.start()
        try:
            options = {"validation_split": 0.3, "epochs": 1, "batch_size": 1000, "patience": 1}
            fit(make(2, "float32"), (X, y), metrics=["auc"], **options)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 60e6

    @pytest.mark.parametrize(
        ("keywords", "error", "match"),
        [
            ({"validation_split": 0.0}, ValueError, "leaves rows on both sides, got 0, .* 0 of"),
            ({"validation_split": 0.001}, ValueError, "validation_split"),
            ({"validation_split": 0.999}, ValueError, "250 of 250"),
            ({"validation_split": 1.0}, ValueError, "validation_split"),
            ({"validation_split": -0.1}, ValueError, "validation_split"),
            ({"validation_split": "0.1"}, TypeError, "validation_split"),
            (
                {"validation_split": 0.1, "validation_data": (np.ones((1, 4)), [0])},
                ValueError,
                "validation_split: expected None beside validation_data",
            ),
        ],
    )
    def test_impossible(self, keywords, error, match, blobs):
        model = make()
        with pytest.raises(error, match=match):
            fit(model, blobs, **keywords)
        assert not model.built and model.history is None


# ----------------------------------------------------------------------- early stopping


class Stop(Exception):
    pass


@contextlib.contextmanager
def ctrl_c_after(seconds):
    previous = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    # Python prints and forgets what is raised in a callback of its garbage collector; hypothesis
    # has one.
    gc.disable()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.enable()
        signal.signal(signal.SIGALRM, previous)


def at_epoch(number, action):
    class At(fnn.Callback):
        def on_epoch_end(self, model, epoch, record):
            if epoch == number:
                return action()

    return At()


def interrupt():
    raise KeyboardInterrupt


def fail():
    raise Stop


class TestEarlyStopping:
    """Full batches: in the third epoch and after, a large step leads away from the minimum."""

    GOOD, BAD = [0.5, 0.5, 0.5], [30.0] * 40

    def run(self, blobs, error=None, lr=None, model=None, **keywords):
        model = make() if model is None else model
        lr = self.GOOD + self.BAD if lr is None else lr
        options = {"epochs": 20, "patience": 100, "validation_split": 0.2, **keywords}
        optimizer = fnn.optim.SGD(lr=lr)
        with pytest.raises(error) if error else contextlib.nullcontext():
            fit(model, blobs, optimizer=optimizer, batch_size=1000, **options)
        return model

    def check(self, blobs, model, best):
        X, y = blobs
        history = model.history
        assert history.best_epoch == best == np.nanargmin(history["val_loss"])
        rows = split(y, 0.2)[1]
        assert model.evaluate(X[rows], y[rows])["loss"] == history["val_loss"][best]
        expected = make()
        fit(
            *(expected, blobs),
            optimizer=fnn.optim.SGD(lr=self.GOOD + self.BAD),
            epochs=best + 1,
            batch_size=1000,
            validation_split=0.2,
        )
        assert_same_bits(model.parameters, expected.parameters)

    def test_at_the_last_epoch(self, blobs):
        model = self.run(blobs)
        self.check(blobs, model, 2)
        assert model.history.epochs == 20 and not model.history.stopped_early
        assert model.epochs_trained == 20

    @pytest.mark.parametrize("patience", [1, 4])
    def test_when_the_patience_ends(self, blobs, patience):
        model = self.run(blobs, patience=patience)
        self.check(blobs, model, 2)
        assert model.history.epochs == 3 + patience and model.history.stopped_early

    @pytest.mark.parametrize(
        ("action", "error"), [(interrupt, KeyboardInterrupt), (fail, Stop), (lambda: True, None)]
    )
    def test_when_a_callback_ends_it(self, blobs, action, error):
        model = self.run(blobs, error, callbacks=[at_epoch(6, action)])
        self.check(blobs, model, 2)
        assert model.history.epochs == 7 and model.history.stopped_early is (error is None)

    @pytest.mark.parametrize("epoch", [0, 2])
    def test_in_the_best_epoch(self, blobs, epoch):
        model = self.run(blobs, Stop, callbacks=[at_epoch(epoch, fail)])
        self.check(blobs, model, epoch)

    def test_when_a_schedule_fails(self, blobs):
        def lr(step):
            if step == 5:
                raise KeyboardInterrupt
            return (self.GOOD + self.BAD)[step]

        self.check(blobs, self.run(blobs, KeyboardInterrupt, lr=lr), 2)

    def test_when_the_loss_is_not_finite(self, blobs):
        X, y = blobs[0], np.eye(3)[blobs[1]]
        model, opt = make(), fnn.optim.SGD(lr=[0.1, 0.1, 0.1, 1e200, 1e200, 1e200])
        options = {"validation_data": (X, y), "patience": 9, "epochs": 6, "batch_size": 250}
        with pytest.raises(FloatingPointError, match="epoch 5, step 1"):
            fit(model, (X, y), loss="mse", optimizer=opt, **options)
        history = model.history
        assert history.best_epoch == 2 and history["val_loss"][3] == np.inf
        assert model.evaluate(X, y)["loss"] == history["val_loss"][2]

    def test_when_the_parameters_overflow_in_the_last_step(self, blobs):
        X, _ = blobs
        y = np.full((len(X), 3), 1e10)
        model = make()
        with pytest.raises(FloatingPointError, match="parameters are not finite after epoch 2"):
            model.fit(
                *(X, y),
                loss="mse",
                optimizer=fnn.optim.SGD(lr=[1e-3, 1e300]),
                epochs=2,
                batch_size=250,
                validation_data=(X, y),
                patience=5,
                verbose=0,
            )
        assert np.isfinite(model.parameters).all() and model.history.best_epoch == 0
        assert model.evaluate(X, y)["loss"] == model.history["val_loss"][0]

    @pytest.mark.alone
    def test_ctrl_c_at_any_moment(self):
        """Whatever the moment, the parameters are those of the best epoch of the history."""
        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(3000, 10)), rng.integers(0, 3, 3000)
        validation = X[:200], y[:200]
        for delay in np.linspace(0.01, 0.2, 12):
            model = make(dtype="float32", hidden=32)
            opt = fnn.optim.Adam(lr=0.01)
            options = {"epochs": 10**6, "patience": 10**6, "validation_data": validation}
            with pytest.raises(KeyboardInterrupt), ctrl_c_after(delay):
                fit(model, (X, y), optimizer=opt, batch_size=64, **options)
            history = model.history
            if history is None or not history.epochs:
                continue
            assert history.best_epoch == np.argmin(history["val_loss"])
            assert model.evaluate(*validation)["loss"] == min(history["val_loss"])
            assert history.epochs <= model.epochs_trained <= history.epochs + 1
            fit(model, (X, y), optimizer=opt, epochs=1)

    def test_an_interrupt_between_record_and_copy(self, blobs, monkeypatch):
        """The one moment when the best epoch is recorded and not yet kept."""
        model, calls = make(), itertools.count()
        vectors = Engine.vectors

        def interrupted(self):
            if next(calls) == 2:  # of the third epoch
                raise KeyboardInterrupt
            return vectors(self)

        monkeypatch.setattr(Engine, "vectors", interrupted)
        self.run(blobs, KeyboardInterrupt, model=model)
        monkeypatch.undo()
        self.check(blobs, model, 2)

    def values(self, values, **keywords):
        """Run on given values of a metric; returns the history."""
        values = iter(values)
        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(20, 2)), rng.normal(size=20)
        name = keywords.pop("name", "my_error")

        def metric(y_true, y_pred):
            return next(values)

        metric.__name__ = name
        options = {"validation_data": (X, y), "metrics": [metric], "monitor": f"val_{name}"}
        return make(1).fit(X, y, loss="mse", verbose=0, epochs=8, **options, **keywords)

    @pytest.mark.parametrize(
        ("values", "patience", "min_delta", "epochs", "best"),
        [
            ([5, 4, 3, 3, 3, 9, 9, 9], 2, 0.0, 5, 2),
            ([5, 4, 3, 3, 2, 2, 1, 1], 2, 0.0, 8, 6),
            ([5, 4.9, 4.8, 4.7, 4.6, 4.5, 4.4, 4.3], 2, 1.0, 3, 2),
            ([5, 4.6, 4.2, 3.8, 3.4, 3.0, 2.6, 2.2], 3, 1.0, 8, 7),  # slowly is an improvement, too
            ([np.nan, np.nan, 3, 4, 5, 6, 7, 8], 3, 0.0, 6, 2),
            ([5, np.nan, np.nan, 4, 4, 4, 4, 4], 3, 0.0, 7, 3),
            ([np.nan] * 8, 3, 0.0, 3, None),
            ([np.inf, np.inf, 3, 4, 5, 6, 7, 8], 4, 0.0, 7, 2),
            ([np.inf] * 8, 3, 0.0, 3, 0),
            ([-100] * 8, 3, 0.0, 4, 0),
            ([-100, -99, -101, -102, -102, -102, -102, -102], 3, 1.5, 7, 3),
            ([-np.inf] * 8, 3, 0.0, 4, 0),
        ],
    )
    def test_patience(self, values, patience, min_delta, epochs, best):
        history = self.values(values, patience=patience, min_delta=min_delta)
        assert (history.epochs, history.best_epoch) == (epochs, best)
        assert history.stopped_early is (epochs < 8)

    @pytest.mark.parametrize("name", ["my_score", "my_loss", "my_error", "my_deviance"])
    def test_direction(self, name):
        history = self.values([1, 2, 3, 4, 5, 6, 7, 8], name=name, patience=3)
        assert history.best_epoch == (7 if name == "my_score" else 0)
        assert history.epochs == (8 if name == "my_score" else 4)

    @pytest.mark.parametrize("monitor", ["val_accuracy", "accuracy", "loss", "val_loss", "val_auc"])
    def test_monitors(self, monitor, rng):
        y = rng.integers(0, 2, 100)
        X = rng.normal(size=(100, 3)) + y[:, None]
        options = {"validation_split": 0.5, "metrics": ["auc"], "monitor": monitor, "patience": 3}
        history = fit(make(2), (X, y), epochs=30, batch_size=10, **options)
        best = np.argmin if "loss" in monitor else np.argmax
        assert history.best_epoch == best(history[monitor])

    def test_training_loss_without_validation(self, blobs):
        history = fit(make(), blobs, patience=2, monitor="loss", epochs=3)
        assert history.best_epoch == 2

    def test_without_patience_nothing_is_restored(self, blobs):
        model = self.run(blobs, patience=None)
        assert model.history.best_epoch is None and not model.history.stopped_early
        rows = split(blobs[1], 0.2)[1]
        scores = model.evaluate(blobs[0][rows], blobs[1][rows])
        assert scores["loss"] == model.history["val_loss"][-1]

    @pytest.mark.parametrize(
        ("keywords", "error", "match"),
        [
            ({"patience": 3}, ValueError, "monitor: .*no validation data; got 'val_loss'"),
            ({"patience": 0, "monitor": "loss"}, ValueError, "patience"),
            ({"patience": 2.5, "monitor": "loss"}, TypeError, "patience"),
            ({"patience": 3, "monitor": "loss", "min_delta": -1}, ValueError, "min_delta"),
            ({"patience": 3, "monitor": "seconds"}, ValueError, "monitor"),
            ({"patience": 3, "monitor": "val_auc", "validation_split": 0.5}, ValueError, "monitor"),
            (
                {
                    "patience": 3,
                    "monitor": "val_max",
                    "metrics": [max],
                    "validation_split": 0.5,
                },
                ValueError,
                "monitor: expected .*; got 'max'",
            ),
        ],
    )
    def test_impossible(self, keywords, error, match, blobs):
        model = make()
        with pytest.raises(error, match=match):
            fit(model, blobs, **keywords)
        assert not model.built


# ----------------------------------------------------------------------- callbacks


class Recorder:
    """Not derived from Callback."""

    def __init__(self, calls, name=""):
        self.calls, self.name = calls, name

    def on_fit_begin(self, model):
        assert model.built and model.history.epochs == 0
        self.calls.append(f"{self.name}begin")

    def on_epoch_end(self, model, epoch, record):
        assert model.history["loss"][-1] == record["loss"]
        assert model.history.epochs == epoch + 1
        self.calls.append(f"{self.name}epoch {epoch}")

    def on_fit_end(self, model, history):
        assert model.history is history
        self.calls.append(f"{self.name}end")


class TestCallbacks:
    def test_calls(self, blobs):
        calls = []
        fit(make(), blobs, epochs=2, callbacks=[Recorder(calls), fnn.Callback()])
        assert calls == ["begin", "epoch 0", "epoch 1", "end"]

    @pytest.mark.parametrize("action", [interrupt, fail])
    def test_the_end_comes_on_every_way_out(self, blobs, action):
        calls = []
        callbacks = [Recorder(calls, "a "), at_epoch(1, action), Recorder(calls, "b ")]
        with pytest.raises((KeyboardInterrupt, Stop)):
            fit(make(), blobs, epochs=9, callbacks=callbacks)
        assert calls == [
            "a begin",
            "b begin",
            "a epoch 0",
            "b epoch 0",
            "a epoch 1",
            "b end",
            "a end",
        ]

    def test_the_end_comes_after_a_loss_that_is_not_finite(self, blobs):
        calls = []
        opt, callbacks = fnn.optim.SGD(lr=1e200), [Recorder(calls)]
        data = blobs[0], np.eye(3)[blobs[1]]
        with pytest.raises(FloatingPointError):
            fit(make(), data, loss="mse", epochs=4, optimizer=opt, callbacks=callbacks)
        assert calls[0] == "begin" and calls[-1] == "end"

    def test_one_that_fails_at_an_end_hides_no_other(self, blobs):
        class Bad(fnn.Callback):
            def on_fit_end(self, model, history):
                raise Stop

        calls, model = [], make()
        with pytest.raises(Stop):
            fit(model, blobs, epochs=1, callbacks=[Recorder(calls, "a "), Bad(), Recorder(calls)])
        assert calls[-2:] == ["end", "a end"]
        fit(model, blobs, epochs=1)

    def test_one_that_fails_at_the_beginning(self, blobs):
        class Bad(Recorder):
            def on_fit_begin(self, model):
                raise Stop

        calls, model = [], make()
        with pytest.raises(Stop):
            fit(model, blobs, epochs=1, callbacks=[Recorder(calls), Bad(calls, "bad ")])
        assert calls == ["begin", "end"]
        assert model.epochs_trained == 0

    def test_the_end_sees_the_restored_parameters(self, blobs):
        seen = []

        class Look(fnn.Callback):
            def on_fit_end(self, model, history):
                seen.append(model.parameters.copy())
                model.parameters = 0 * model.parameters

        model = make()
        lr = [0.5, 0.5, 30.0, 30.0]
        options = {"epochs": 4, "batch_size": 250, "validation_data": blobs, "patience": 9}
        fit(model, blobs, optimizer=fnn.optim.SGD(lr=lr), callbacks=[Look()], **options)
        assert (model.parameters == 0).all()  # what a callback does then stands
        model.parameters = seen[0]
        assert model.evaluate(*blobs)["loss"] == min(model.history["val_loss"])

    def test_they_may_use_the_model(self, blobs):
        class Use(fnn.Callback):
            def on_epoch_end(self, model, epoch, record):
                assert model.evaluate(*blobs)["loss"] == record["val_loss"]
                model.predict(blobs[0])
                with pytest.raises(RuntimeError, match="within a fit already"):
                    fit(model, blobs)
                copies.append(copy.deepcopy(model))

        copies, model = [], make()
        fit(model, blobs, epochs=3, validation_data=blobs, callbacks=[Use()])
        losses = [c.evaluate(*blobs)["loss"] for c in copies]
        assert losses == model.history["val_loss"]
        fit(copies[0], blobs, epochs=1)  # a copy is not within a fit

    def test_what_they_add_to_a_record(self, blobs):
        class Norm(fnn.Callback):
            def on_epoch_end(self, model, epoch, record):
                if epoch % 2:
                    record["norm"] = float(np.linalg.norm(model.parameters))

        history = fit(make(), blobs, epochs=4, callbacks=[Norm()])
        assert np.isnan(history["norm"]).tolist() == [True, False, True, False]
        assert list(history)[-1] == "norm" and len(history) == 5

    def test_stopping(self, blobs):
        history = fit(make(), blobs, epochs=9, callbacks=[at_epoch(3, lambda: np.True_)])
        assert history.epochs == 4 and history.stopped_early
        history = fit(make(), blobs, epochs=4, callbacks=[at_epoch(3, lambda: True)])
        assert history.epochs == 4 and not history.stopped_early
        assert fit(make(), blobs, epochs=2, callbacks=[at_epoch(0, lambda: False)]).epochs == 2

    def test_an_answer_that_is_none(self, blobs):
        with pytest.raises(TypeError, match=r"At.on_epoch_end returned: expected True or False"):
            fit(make(), blobs, callbacks=[at_epoch(0, lambda: 1)])

    @pytest.mark.parametrize("wrong", [3, [3], [fnn.Callback], fnn.Callback, [print], "abc"])
    def test_impossible(self, wrong, blobs):
        model = make()
        with pytest.raises(TypeError, match="callbacks"):
            fit(model, blobs, callbacks=wrong)
        assert not model.built


# ----------------------------------------------------------------------- metrics


def named(name, loss, y, out, weights=None):
    checked = metrics.check([name], losses.check(loss), out.shape[1], weights is not None)
    return metrics.compute(checked, y, out, y, out, weights)[name]


SCORES = {
    "mae": sklearn.metrics.mean_absolute_error,
    "mse": sklearn.metrics.mean_squared_error,
    "rmse": sklearn.metrics.root_mean_squared_error,
    "r2": sklearn.metrics.r2_score,
}


class TestMetrics:
    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("name", SCORES)
    def test_of_values(self, name, weighted, rng):
        for n, k in [(1000, 1), (30, 4)]:
            y, out = rng.normal(size=(n, k)), rng.normal(size=(n, k))
            w = rng.uniform(0, 3, n) if weighted else None
            if name == "rmse" and k > 1:  # scikit-learn averages the roots, we take one root
                expected = np.sqrt(SCORES["mse"](y, out, sample_weight=w))
            else:
                expected = SCORES[name](y, out, sample_weight=w)
            assert named(name, "huber", y, out, w) == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_r2_of_constant_targets_is_not_a_number(self, weighted, dtype, rng):
        n = 500
        w = rng.uniform(0, 3, n) if weighted else None
        out = rng.normal(size=(n, 3))
        sums = rng.dirichlet([1, 1, 1], n).astype(dtype).sum(axis=1, dtype=dtype)
        assert np.ptp(sums) > 0
        for constant in (np.ones(n), np.full(n, 0.1), np.zeros(n), np.full(n, -1e30), sums):
            y = constant.astype(dtype)[:, None]
            for z in (out[:, :1], y, out[:, :1] * np.inf):
                assert np.isnan(named("r2", "mse", y, z, w))
            y = np.hstack([y, rng.normal(size=(n, 2)).astype(dtype)])
            expected = sklearn.metrics.r2_score(y[:, 1:], out[:, 1:], sample_weight=w)
            assert named("r2", "mse", y, out, w) == pytest.approx(expected, rel=1e-6)

    def test_r2_of_targets_that_vary_where_they_have_no_weight(self, rng):
        y, out, w = np.ones((9, 1)), rng.normal(size=(9, 1)), np.ones(9)
        y[3], w[3] = 5, 0
        assert np.isnan(named("r2", "mse", y, out, w))
        w[3] = 1e-3
        expected = sklearn.metrics.r2_score(y, out, sample_weight=w)
        assert named("r2", "mse", y, out, w) == pytest.approx(expected, rel=1e-12)

    def test_r2_that_is_not_a_number_wins_nothing(self, rng):
        X, Xv = rng.normal(size=(40, 4)), rng.normal(size=(10, 4))
        options = {"validation_data": (Xv, np.ones(10)), "metrics": ["r2"], "monitor": "val_r2"}
        model = make(1, "float32")
        sgd = fnn.optim.SGD(lr=1e-3)
        plateau = fnn.ReduceLROnPlateau(sgd, monitor="val_r2", patience=0)
        options |= {"optimizer": sgd, "callbacks": [plateau], "patience": 3, "epochs": 9}
        history = model.fit(X, X[:, 0], loss="mse", verbose=0, **options)
        assert np.isnan(history["val_r2"]).all()
        assert (history.epochs, history.best_epoch) == (3, None)
        assert history["lr"] == pytest.approx([1e-3, 1e-4, 1e-5])

    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("columns", [1, 2])
    @pytest.mark.parametrize("ties", [False, True])
    def test_auc(self, columns, ties, weighted, rng):
        y = rng.integers(0, 2, 300)
        out = rng.normal(size=(300, columns)) + y[:, None] * [0.5, 1][:columns]
        out = np.round(out) if ties else out
        w = rng.uniform(0, 3, 300) if weighted else None
        score = out[:, 0] if columns == 1 else out[:, 1] - out[:, 0]
        expected = sklearn.metrics.roc_auc_score(y, score, sample_weight=w)
        for loss, targets in {
            1: [("binary_cross_entropy", y[:, None]), ("hinge", 2.0 * y[:, None] - 1)],
            2: [("cross_entropy", y), ("cross_entropy", np.eye(2)[y]), ("multi_margin", y)],
        }[columns]:
            assert named("auc", loss, targets, out, w) == pytest.approx(expected, rel=1e-12)

    def test_auc_of_one_class_is_not_a_number(self):
        assert np.isnan(named("auc", "cross_entropy", np.zeros(3, int), np.eye(3, 2)))

    @pytest.mark.parametrize("weighted", [False, True])
    def test_top_5_accuracy(self, weighted, rng):
        y, out = rng.integers(0, 12, 500), rng.normal(size=(500, 12))
        w = rng.uniform(0, 3, 500) if weighted else None
        expected = sklearn.metrics.top_k_accuracy_score(
            y, out, k=5, labels=np.arange(12), sample_weight=w
        )
        for targets in (y, np.eye(12)[y]):
            actual = named("top_5_accuracy", "cross_entropy", targets, out, w)
            assert actual == pytest.approx(expected, rel=1e-12)

    def test_functions_see_what_users_see(self, rng):
        y = rng.choice(["no", "yes", "perhaps"], 90)
        X, model = rng.normal(size=(90, 4)), make()
        functions = [sklearn.metrics.accuracy_score, sklearn.metrics.confusion_matrix]

        def trace(y_true, y_pred):
            return np.trace(functions[1](y_true, y_pred)) / len(y_true)

        options = {"validation_split": 0.3, "epochs": 3}
        history = fit(model, (X, y), metrics=[functions[0], trace], **options)
        assert history["val_accuracy_score"] == history["val_trace"] == history["val_accuracy"]
        scores = model.evaluate(X, list(y), metrics=["accuracy", "top_5_accuracy", trace])
        assert list(scores) == ["loss", "accuracy", "top_5_accuracy", "trace"]
        assert scores["accuracy"] == scores["trace"] and scores["top_5_accuracy"] == 1

    @pytest.mark.parametrize("shape", [(60,), (60, 1)])
    def test_of_one_output(self, shape, rng):
        X, y = rng.normal(size=(60, 4)), rng.normal(size=shape)
        model = make(1, "float32")
        model.fit(X, y, loss="mse", validation_split=0.5, metrics=["rmse"], verbose=0)

        def bias(y_true, y_pred):  # of (n, 1) and (n,), this would be of (n, n)
            return (y_true - y_pred).std()

        scores = model.evaluate(X, y, metrics=["mae", "mse", "rmse", "r2", bias])
        residual = y.ravel() - model.predict(X)
        assert scores["mse"] == pytest.approx(scores["loss"], rel=1e-5)
        assert scores["rmse"] ** 2 == pytest.approx((residual**2).mean(), rel=1e-6)
        assert scores["mae"] == pytest.approx(abs(residual).mean(), rel=1e-6)
        assert scores["bias"] == pytest.approx(residual.std(), rel=1e-6)
        assert scores["r2"] == pytest.approx(1 - (residual**2).sum() / (60 * y.var()), rel=1e-6)

    def test_weights(self, blobs, rng):
        w = rng.uniform(0, 3, 250)
        model = make()
        fit(model, blobs, epochs=1)
        balanced = sklearn.metrics.balanced_accuracy_score
        options = {"sample_weight": w, "metrics": [sklearn.metrics.accuracy_score]}
        scores = model.evaluate(*blobs, **options)
        assert scores["accuracy_score"] == pytest.approx(scores["accuracy"], rel=1e-12)
        scores = model.evaluate(*blobs, class_weight="balanced")
        expected = balanced(blobs[1], model.predict(blobs[0]))
        assert scores["accuracy"] == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize(
        ("wrong", "loss", "error", "match"),
        [
            (3, "cross_entropy", TypeError, "metrics: expected a list"),
            (["f2"], "cross_entropy", ValueError, "metrics: expected one of accuracy, "),
            ([3], "cross_entropy", TypeError, "metrics: expected names or functions"),
            (
                [max, max],
                "cross_entropy",
                ValueError,
                "metrics: expected each name once, got 'max' twice",
            ),
            (
                ["auc"],
                "cross_entropy",
                ValueError,
                "metrics: expected those defined for .*, got 'auc'",
            ),
            (["accuracy"], "mse", ValueError, "metrics: expected those defined .*, got 'acc"),
            (["mae"], "cross_entropy", ValueError, "metrics: expected those defined .*, got 'mae"),
            (
                [lambda t, p: None],
                "cross_entropy",
                TypeError,
                "metrics: expected a number from <lambda>, got None",
            ),
            (
                [lambda t, p: np.ones(2)],
                "cross_entropy",
                TypeError,
                "metrics: expected a number .*, got an array",
            ),
        ],
    )
    def test_impossible(self, wrong, loss, error, match, blobs):
        y = blobs[1] if loss == "cross_entropy" else np.eye(3)[blobs[1]]
        model = make().build(4)
        before = model.parameters.copy()
        with pytest.raises(error, match=match):
            model.evaluate(blobs[0], y, loss=loss, metrics=wrong)
        assert_same_bits(model.parameters, before)

    def test_functions_that_cannot_be_called(self, blobs):
        def own_error(y_true, y_pred):
            return 0.0

        weights = {"sample_weight": np.ones(250)}
        for wrong, options, match in (
            (own_error, weights, r"\(y_true, y_pred, sample_weight\), got own_error"),
            (lambda y_pred: 0.0, {}, r"\(y_true, y_pred\), got <lambda>: too many"),
            (lambda y_true, y_pred, order: 0.0, {}, "got <lambda>: missing .*'order'"),
        ):
            with pytest.raises(TypeError, match=f"^metrics: expected a function of .*{match}"):
                fit(model := make(), blobs, validation_split=0.2, metrics=[wrong], **options)
            assert not model.built and model.epochs_trained == 0
            with pytest.raises(TypeError, match=f"^metrics: expected a function of .*{match}"):
                make().evaluate(*blobs, loss="cross_entropy", metrics=[wrong], **options)
        # weights of the training alone are not theirs
        fit(make(), blobs, validation_data=blobs, metrics=[own_error], **weights)

    def test_without_validation_data(self, blobs):
        with pytest.raises(
            ValueError, match="metrics: expected validation_split or validation_data"
        ):
            fit(make(), blobs, metrics=["top_5_accuracy"])


# ----------------------------------------------------------------------- copies


WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "old pickle": lambda x: pickle.loads(pickle.dumps(x, protocol=2)),
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
together = pytest.mark.parametrize("way", list(WAYS.values())[1:], ids=list(WAYS)[1:])


class Noted(fnn.Sequential):
    """A user's own class, whose attributes are copied, too."""


class TestCopies:
    @every_way
    def test_equal_and_independent(self, blobs, dtype, way):
        X, y = blobs[0], np.array(["a", "b", "c"])[blobs[1]]
        model = Noted(make().layers, dtype=dtype, seed=7)
        fit(model, (X, y), epochs=3, validation_split=0.2)
        model.note = "mine"
        other = way(model)
        assert repr(other) == repr(model) and other.note == "mine"
        assert_same_bits(other.parameters, model.parameters)
        for name in ("epochs_trained", "loss", "seed", "dtype", "in_features"):
            assert getattr(other, name) == getattr(model, name)
        assert other.classes_.tolist() == ["a", "b", "c"]
        assert dict(other.history) == dict(model.history)
        np.testing.assert_array_equal(other.predict(X), model.predict(X))
        before = model.parameters.copy()
        fit(other, (X, y), epochs=1)
        assert_same_bits(model.parameters, before)
        assert model.epochs_trained == 3 and model.history.epochs == 3
        fit(model, (X, y), epochs=1)  # the same row order, another optimizer
        assert_same_bits(model.parameters, other.parameters)

    @every_way
    def test_state(self, blobs, way):
        model = fnn.Sequential([fnn.Standardize(), fnn.Dense(3)])
        fit(model, blobs, epochs=1)
        other = way(model)
        assert_same_bits(other.state, model.state)
        np.testing.assert_array_equal(other.forward(blobs[0]), model.forward(blobs[0]))
        model.state = 2 * model.state
        assert not np.array_equal(other.state, model.state)

    @every_way
    def test_not_built(self, blobs, way):
        model = make(seed=3)
        other = way(model)
        assert not other.built
        fit(model, blobs, epochs=1)
        fit(other, blobs, epochs=1)
        assert_same_bits(model.parameters, other.parameters)

    @together
    @pytest.mark.parametrize("turned", [False, True])
    def test_model_and_optimizer(self, blobs, way, turned):
        """The copies go on as the originals do, and each optimizer knows its model."""
        model, opt = make(), fnn.optim.Adam(lr=0.01)
        fit(model, blobs, optimizer=opt, epochs=2)
        pair = way((opt, model) if turned else (model, opt))
        other_opt, other = pair if turned else pair[::-1]
        assert other_opt.step_count == opt.step_count == 4
        fit(other, blobs, optimizer=other_opt, epochs=2)
        assert opt.step_count == 4
        fit(model, blobs, optimizer=opt, epochs=2)
        assert_same_bits(model.parameters, other.parameters)
        for a, b in zip(opt.state, other_opt.state, strict=True):
            assert_same_bits(a, b)
        with pytest.raises(ValueError, match="state of another model"):
            fit(model, blobs, optimizer=other_opt)
        with pytest.raises(ValueError, match="state of another model"):
            fit(other, blobs, optimizer=opt)

    @together
    def test_optimizer_alone(self, blobs, way, tmp_path):
        """It goes on with the first model of its size, such as one from a file."""
        model, opt = make(), fnn.optim.SGD(lr=0.1, momentum=0.9)
        fit(model, blobs, optimizer=opt, epochs=2)
        model.save(tmp_path / "m.safetensors")
        other, other_opt = fnn.load(tmp_path / "m.safetensors"), way(opt)
        for wrong in (make(hidden=9), make(dtype="float32")):
            with pytest.raises(ValueError, match="with that of 67 float64 parameters"):
                fit(wrong, blobs, optimizer=other_opt)
        fit(other, blobs, optimizer=other_opt, epochs=2)
        fit(model, blobs, optimizer=opt, epochs=2)
        assert_same_bits(model.parameters, other.parameters)
        with pytest.raises(ValueError, match="state of another model"):
            fit(model, blobs, optimizer=other_opt)

    def test_a_shallow_copy_of_an_optimizer_trains_the_same_model(self, blobs):
        model, opt = make(), fnn.optim.Adam()
        fit(model, blobs, optimizer=opt, epochs=1)
        kept, parameters = copy.copy(opt), model.parameters.copy()
        fit(model, blobs, optimizer=opt, epochs=1)
        first = model.parameters.copy()
        assert kept.step_count == 2 and opt.step_count == 4
        model.parameters, model.epochs_trained = parameters, 1
        fit(model, blobs, optimizer=kept, epochs=1)
        assert_same_bits(model.parameters, first)

    @every_way
    def test_a_new_optimizer(self, blobs, way):
        opt = way(fnn.optim.AdamW(lr=[0.1, 0.2], betas=(0.8, [0.9, 0.95])))
        assert repr(opt) == repr(fnn.optim.AdamW(lr=[0.1, 0.2], betas=(0.8, [0.9, 0.95])))
        fit(make(), blobs, optimizer=opt, epochs=1)

    @every_way
    def test_a_copied_model_refuses_the_optimizer_of_the_original(self, blobs, way):
        model, opt = make(), fnn.optim.Adam()
        fit(model, blobs, optimizer=opt, epochs=1)
        with pytest.raises(ValueError, match="state of another model"):
            fit(way(model), blobs, optimizer=opt)
        fit(model, blobs, optimizer=opt, epochs=1)


def test_everything_at_once_on_any_number_of_threads(restore_threads):
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(600, 20)), rng.integers(0, 4, 600)
    results = []
    for n in (1, 2, 3):
        fnn.set_num_threads(n)
        model = make(4, "float32", hidden=300)
        history = fit(
            *(model, (X, y)),
            epochs=6,
            batch_size=150,
            gradient_accumulation_steps=2,
            validation_split=0.25,
            metrics=["top_5_accuracy"],
            patience=2,
            optimizer=fnn.optim.Adam(
                lr=lambda s: 0.03 / (1 + s), betas=(lambda s: 0.9 - 0 * s, 0.99)
            ),
        )
        values = [history[key] for key in ("loss", "val_loss", "val_accuracy")]
        results.append((model.parameters.tobytes(), str(values)))
    assert len(set(results)) == 1
