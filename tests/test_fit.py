"""Training through `fit`: the trajectory, the history, schedules, refusals, and interruption."""

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from sklearn.datasets import make_blobs

import pyfast_nn as fnn
from pyfast_nn import _core

ORDERS = 2**32  # the random streams of the row orders: one for each epoch


@pytest.fixture
def blobs():
    X, y = make_blobs(250, n_features=4, centers=3, cluster_std=1.5, random_state=0)
    return X / 10, y


def test_parameters_that_overflow_in_the_last_step(blobs):
    data = blobs[0], np.full((250, 3), 1e10)
    options = {"optimizer": fnn.optim.SGD(lr=1e300), "epochs": 1, "batch_size": 250}
    with pytest.raises(FloatingPointError, match="parameters are not finite after epoch 1"):
        fit(make(), data, loss="mse", **options)


def make(seed=0, out=3, dtype="float64", hidden=8):
    return fnn.Sequential([fnn.Dense(hidden), fnn.Tanh(), fnn.Dense(out)], dtype=dtype, seed=seed)


def fit(model, data, **keywords):
    return model.fit(*data, **{"loss": "cross_entropy", "verbose": 0, **keywords})


def adam_loop(model, X, y, epochs, batch_size, lr):
    """`fit` written out, with only the gradient and the row order taken from the model."""
    m = v = np.zeros(model.n_parameters)
    step, losses = 0, []
    for epoch in range(epochs):
        order = _core.permutation(model.seed, ORDERS + epoch, len(X))
        total = 0
        for first in range(0, len(X), batch_size):
            rows = order[first : first + batch_size]
            loss, g = model.loss_and_grad(X[rows], y[rows], loss="cross_entropy")
            total += loss * len(rows)
            step += 1
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            update = m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
            model.parameters -= lr(step - 1) * update
        losses.append(total / len(X))
    return losses


class TestTrajectory:
    def test_against_a_loop(self, blobs):
        """Partial batches, row order, step count and the schedule, all at once."""
        X, y = blobs

        def lr(step):
            return 0.01 / (1 + step / 10)

        loop = make().build(4)
        losses = adam_loop(loop, X, y, epochs=3, batch_size=64, lr=lr)
        model, opt = make(), fnn.optim.Adam(lr=lr)
        history = fit(model, blobs, optimizer=opt, epochs=3, batch_size=64)
        np.testing.assert_allclose(model.parameters, loop.parameters, rtol=0, atol=1e-9)
        np.testing.assert_allclose(history["loss"], losses, rtol=1e-9)
        assert opt.step_count == 12 and model.epochs_trained == 3

    def test_it_learns(self, blobs, dtype):
        model = make(dtype=dtype)
        history = fit(model, blobs, optimizer=fnn.optim.Adam(lr=0.02), epochs=40, batch_size=32)
        assert history["loss"][-1] < history["loss"][0] / 2
        assert model.evaluate(*blobs)["accuracy"] > 0.9

    @pytest.mark.parametrize(
        "optimizer",
        [
            fnn.optim.SGD(lr=0.1),
            fnn.optim.SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
            fnn.optim.Adam(lr=0.01, weight_decay=1e-4),
            fnn.optim.AdamW(lr=0.01),
        ],
        ids=lambda o: repr(o)[:20],
    )
    def test_regression(self, optimizer):
        x = np.linspace(-1, 1, 64)[:, None]
        model = make(out=1, hidden=32)
        data = (x, np.sin(3 * x[:, 0]))
        history = fit(model, data, loss="mse", optimizer=optimizer, epochs=100, batch_size=8)
        assert history["loss"][-1] < history["loss"][0] / 5
        assert set(history) == {"loss", "lr", "seconds"}

    def test_the_same_bits_for_any_number_of_threads(self, blobs, restore_threads):
        results = []
        for n in (1, 2, 3):
            fnn.set_num_threads(n)
            model = make(dtype="float32", hidden=70)
            fit(model, blobs, epochs=2)
            results.append(model.parameters.tobytes())
        assert len(set(results)) == 1

    def test_row_order_depends_on_seed_and_epochs_trained(self, blobs):
        at_once, in_two, other = make(), make(), make(seed=1).build(4)
        fit(at_once, blobs, epochs=4)
        opt = fnn.optim.Adam()
        fit(in_two, blobs, optimizer=opt, epochs=3)
        fit(in_two, blobs, optimizer=opt, epochs=1)
        np.testing.assert_array_equal(in_two.parameters, at_once.parameters)
        other.parameters = make().build(4).parameters
        fit(other, blobs, epochs=4)
        assert not np.array_equal(other.parameters, at_once.parameters)

    def test_without_shuffle_the_given_order(self, blobs):
        X, y = blobs
        order = _core.permutation(0, ORDERS, len(X))
        shuffled, given = make(), make()
        fit(shuffled, blobs, epochs=1)
        fit(given, (X[order], y[order]), epochs=1, shuffle=False)
        np.testing.assert_array_equal(shuffled.parameters, given.parameters)

    def test_a_batch_larger_than_the_data_is_the_data(self, blobs):
        a, b = make(), make()
        fit(a, blobs, batch_size=250)
        fit(b, blobs, batch_size=2**31 - 1)
        np.testing.assert_array_equal(a.parameters, b.parameters)


class TestOptimizerState:
    def test_a_new_optimizer_starts_anew(self, blobs):
        going_on, anew = make(), make()
        opt = fnn.optim.Adam()
        fit(going_on, blobs, optimizer=opt, epochs=2)
        fit(anew, blobs, epochs=2)
        np.testing.assert_array_equal(going_on.parameters, anew.parameters)
        fit(going_on, blobs, optimizer=opt, epochs=1)
        fit(anew, blobs, epochs=1)
        assert not np.array_equal(going_on.parameters, anew.parameters)
        assert opt.step_count == 6

    def test_state(self, blobs):
        opt = fnn.optim.Adam()
        model = make(dtype="float32")
        fit(model, blobs, optimizer=opt)
        assert [(s.shape, s.dtype) for s in opt.state] == [((model.n_parameters,), "float32")] * 2
        assert all(abs(s).max() > 0 for s in opt.state)

    def test_of_another_model_is_refused(self, blobs):
        opt = fnn.optim.Adam()
        fit(make(), blobs, optimizer=opt)
        model = make().build(4)
        before = model.parameters.copy()
        with pytest.raises(ValueError, match="with the state of another model"):
            fit(model, blobs, optimizer=opt)
        np.testing.assert_array_equal(model.parameters, before)
        assert model.loss is None and model.history is None

    def test_momentum_switched_on_between_fits(self, blobs):
        opt = fnn.optim.SGD(lr=0.1)
        model = make()
        fit(model, blobs, optimizer=opt, epochs=1)
        assert opt.state == []
        opt.momentum = 0.9
        fit(model, blobs, optimizer=opt, epochs=1)
        assert len(opt.state) == 1


class TestSchedules:
    @pytest.mark.parametrize(
        "lr",
        [
            lambda s: 0.1 * 0.5 ** (s // 2),  # an array at a time
            lambda s: 0.1 * (1 if s < 2 else 0.5 if s < 4 else 0.25),  # one step at a time
            [0.1, 0.1, 0.05, 0.05, 0.025, 0.025],
            np.array([0.1, 0.1, 0.05, 0.05, 0.025, 0.025], dtype=np.float32),
        ],
    )
    def test_all_forms(self, lr, blobs):
        a, b = make(), make()
        history = fit(a, blobs, optimizer=fnn.optim.SGD(lr=lr), epochs=3, batch_size=125)
        np.testing.assert_allclose(history["lr"], [0.1, 0.05, 0.025], rtol=1e-7)
        opt = fnn.optim.SGD()
        for rate in (0.1, 0.05, 0.025):
            opt.lr = rate
            fit(b, blobs, optimizer=opt, epochs=1, batch_size=125)
        np.testing.assert_allclose(a.parameters, b.parameters, atol=1e-8)

    def test_a_constant_function(self, blobs):
        history = fit(make(), blobs, optimizer=fnn.optim.SGD(lr=lambda step: 0.1), epochs=2)
        assert history["lr"] == [0.1, 0.1]

    def test_an_epoch_is_one_call(self, blobs):
        calls = []

        def lr(steps):
            calls.append(steps)
            return 0.1 / (1 + steps)

        fit(make(), blobs, optimizer=fnn.optim.SGD(lr=lr), epochs=2, batch_size=100)
        np.testing.assert_array_equal(calls, [[0, 1, 2], [3, 4, 5]])

    @pytest.mark.parametrize(
        ("lr", "error", "match"),
        [
            (lambda s: 0.1 - 0.1 * s, ValueError, "lr: .* at step 2"),
            (lambda s: float("nan"), ValueError, "lr: .* nan at step 0"),
            (lambda s: "fast", TypeError, "lr"),
            (lambda s: 1j, TypeError, "lr"),
            (lambda s: {}[0], KeyError, "0"),
            ([0.1, 0.1], ValueError, "lr: expected a value for each step up to 2, got 2 values"),
        ],
    )
    def test_impossible(self, lr, error, match, blobs):
        model = make().build(4)
        before = model.parameters.copy()
        with pytest.raises(error, match=match):
            fit(model, blobs, optimizer=fnn.optim.SGD(lr=lr), batch_size=100)
        np.testing.assert_array_equal(model.parameters, before)


class TestHistory:
    def test_with_validation(self, blobs):
        X, y = blobs
        model = make()
        history = fit(model, (X[:200], y[:200]), epochs=3, validation_data=(X[200:], y[200:]))
        assert history is model.history
        assert list(history) == ["loss", "accuracy", "lr", "seconds", "val_loss", "val_accuracy"]
        assert all(len(column) == 3 for column in history.values())
        assert all(isinstance(value, float) for column in history.values() for value in column)
        scores = model.evaluate(X[200:], y[200:])
        assert history["val_loss"][-1] == scores["loss"]
        assert history["val_accuracy"][-1] == scores["accuracy"]
        assert 0 <= history["accuracy"][0] <= 1 and min(history["seconds"]) > 0
        assert history.epochs == 3

    def test_accuracy_is_of_the_epoch(self, blobs):
        model = make()
        history = fit(model, blobs, optimizer=fnn.optim.SGD(lr=0), epochs=1)
        scores = model.evaluate(*blobs)
        assert history["accuracy"] == [scores["accuracy"]]
        np.testing.assert_allclose(history["loss"][0], scores["loss"])

    def test_unknown_keys(self, blobs):
        history = fit(make(), blobs, epochs=1)
        with pytest.raises(KeyError):
            history["val_loss"]
        assert "val_loss" not in history and history.get("val_loss") is None
        assert not fnn.History() and list(fnn.History()) == []

    def test_verbose(self, blobs, capfd):
        fit(make(), blobs, epochs=2, verbose="auto")  # not a terminal
        assert capfd.readouterr() == ("", "")
        fit(make(), blobs, epochs=2, verbose=1)
        out, err = capfd.readouterr()
        assert out == "" and len(err.splitlines()) == 2 and err.startswith("epoch 1/2  loss ")


class TestRefusals:
    @pytest.mark.parametrize(
        ("keywords", "error", "match"),
        [
            (
                {"loss": "nonsense"},
                ValueError,
                "loss: expected one of .*, hinge, .*, got 'nonsense'",
            ),
            ({"loss": max}, TypeError, "loss"),
            ({"epochs": 0}, ValueError, "epochs"),
            ({"epochs": 2.5}, TypeError, "epochs"),
            ({"batch_size": 0}, ValueError, "batch_size"),
            ({"batch_size": "8"}, TypeError, "batch_size"),
            ({"shuffle": "yes"}, TypeError, "shuffle"),
            ({"verbose": "loud"}, ValueError, "verbose"),
            ({"verbose": 2}, ValueError, "verbose"),
            ({"optimizer": "adamm"}, ValueError, "optimizer: expected one of .*, got 'adamm'; did"),
            ({"optimizer": fnn.optim.Adam}, TypeError, "optimizer"),
            ({"validation_data": 3}, TypeError, r"validation_data: expected \(X, y\) or"),
            ({"validation_data": (np.ones((2, 5)), [0, 1])}, ValueError, r"validation_data\[0\]"),
            ({"validation_data": (np.ones((2, 4)), [0, 3])}, ValueError, r"validation_data\[1\]"),
            ({"validation_data": (np.ones((0, 4)), [])}, ValueError, r"validation_data\[0\]"),
        ],
    )
    def test_impossible_arguments_change_nothing(self, keywords, error, match, blobs):
        model = make()
        with pytest.raises(error, match=match):
            fit(model, blobs, **keywords)
        assert not model.built and model.loss is None and model.classes_ is None
        assert model.history is None
        fit(model, blobs, epochs=1)

    def test_diverging(self, blobs):
        X, y = blobs
        model, opt = make(out=1), fnn.optim.SGD(lr=1e100)
        with pytest.raises(FloatingPointError, match=r"epoch 1, step \d+ .*lower learning rate"):
            fit(model, (X, y), loss="mse", optimizer=opt, epochs=50, batch_size=100)
        assert np.isfinite(model.parameters).all()
        assert opt.step_count in (1, 2) and model.epochs_trained == 0
        model.parameters = 0 * model.parameters
        fit(model, (X, y), loss="mse", epochs=1)

    def test_diverging_names_epoch_and_step(self, blobs):
        X, y = blobs

        def lr(step):
            return 1e200 if step >= 4 else 0.0

        with pytest.raises(FloatingPointError, match=r"epoch 2, step [23] of it"):
            fit(
                make(out=1),
                (X, y),
                loss="mse",
                optimizer=fnn.optim.SGD(lr=lr),
                epochs=3,
                batch_size=100,
            )

    def test_concurrent_fit(self, blobs):
        model = make()
        errors = []

        def lr(step):  # called within the first fit
            def other():
                try:
                    fit(model, blobs, epochs=1)
                except RuntimeError as error:
                    errors.append(str(error))

            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
            return 0.1

        fit(model, blobs, optimizer=fnn.optim.SGD(lr=lr), epochs=1)
        assert errors and set(errors) == {"fit: this model is within a fit already"}
        fit(model, blobs, epochs=1)

    @pytest.mark.alone
    def test_other_calls_within_an_epoch_raise(self):
        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(100_000, 20)), rng.integers(0, 3, 100_000)
        model, begun, answers = make(hidden=64).build(20), threading.Event(), []

        def lr(steps):  # asked for right before the epoch
            begun.set()
            return 0.001 + 0 * steps

        def look():
            begun.wait()
            time.sleep(0.02)
            try:
                answers.append(model.forward(X[:2]))
            except RuntimeError as error:
                answers.append(error)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        fit(model, (X, y), optimizer=fnn.optim.SGD(lr=lr), epochs=1, batch_size=2)
        thread.join()
        assert isinstance(answers[0], RuntimeError)
        model.forward(X[:2])


@pytest.mark.alone
class TestInterrupt:
    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
    @pytest.mark.parametrize("delay", [0.02, 0.05, 0.1, 0.2])
    def test_ctrl_c_leaves_a_usable_model(self, delay):
        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(20000, 30)), rng.integers(0, 3, 20000)
        model, opt = make(dtype="float32", hidden=64), fnn.optim.Adam()
        previous = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
        start = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, delay)
        try:
            with pytest.raises(KeyboardInterrupt):
                fit(model, (X, y), optimizer=opt, epochs=10**6, batch_size=64)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        assert time.perf_counter() - start < delay + 5
        if model.history is None:  # it came before the training
            return
        steps = -(-len(X) // 64)
        assert model.history.epochs <= model.epochs_trained <= model.history.epochs + 1
        assert model.epochs_trained * steps <= opt.step_count <= (model.epochs_trained + 1) * steps
        before = opt.step_count
        fit(model, (X, y), optimizer=opt, epochs=1, batch_size=64)
        assert opt.step_count == before + steps
        assert np.isfinite(model.parameters).all()

    def test_the_state_is_that_of_the_steps_done(self):
        """Interrupted after k steps, the parameters are those of a loop of k steps."""
        code = """
import signal, numpy as np, pyfast_nn as fnn
from pyfast_nn import _core
rng = np.random.default_rng(0)
X, y = rng.normal(size=(30000, 20)), rng.integers(0, 3, 30000)
layers = [fnn.Dense(32), fnn.Tanh(), fnn.Dense(3)]
model, opt = fnn.Sequential(layers, dtype="float64"), fnn.optim.SGD(lr=0.01)
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
signal.setitimer(signal.ITIMER_REAL, 0.05)
try:
    model.fit(X, y, loss="cross_entropy", optimizer=opt, epochs=10**6, batch_size=1, verbose=0)
except KeyboardInterrupt:
    pass
k = min(opt.step_count, 30000)
again, opt2 = fnn.Sequential(layers, dtype="float64").build(20), fnn.optim.SGD(lr=0.01)
done = 0
while done < opt.step_count:
    order = _core.permutation(0, 2**32 + done // 30000, 30000)[: opt.step_count - done]
    again.fit(X[order], y[order], loss="cross_entropy", optimizer=opt2, epochs=1, batch_size=1,
              shuffle=False, verbose=0)
    done += len(order)
assert opt.step_count == opt2.step_count > 0
assert np.array_equal(model.parameters, again.parameters)
"""
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
