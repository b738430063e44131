"""Many networks in one call: the bits of each fit alone, shared data, a hook, and how it ends."""

from __future__ import annotations

import inspect
import itertools
import os
import re
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_same_bits
from pyfast_nn import _core, data, once, pool, progress

pytestmark = pytest.mark.alone

ROWS, COLUMNS, CLASSES = 300, 6, 3


def problem(dtype="float64"):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(ROWS, COLUMNS)).astype(dtype)
    y = (X @ rng.normal(size=(COLUMNS, CLASSES))).argmax(axis=1)
    return X, y


def network(seed=0, units=8, dtype="float32"):
    layers = [fnn.Standardize(), fnn.Dense(units), fnn.ReLU(), fnn.Dense(CLASSES)]
    return fnn.Sequential(layers, dtype=dtype, seed=seed)


def weights_of_half():
    return (np.arange(ROWS) % 2 == 0).astype(float)


def sweep():
    """Models, and options that are each one's own."""
    X, y = problem()
    models = [network(seed, units) for seed, units in enumerate((4, 40, 8, 16, 70))]
    models[3] = network(3, 16, "float64")
    each = [
        {"optimizer": fnn.optim.SGD(lr=0.1, momentum=0.9), "batch_size": 32},
        {"optimizer": fnn.optim.AdamW(lr=fnn.schedules.OneCycle(0.01, 30)), "epochs": 3},
        {"patience": 2, "epochs": 60, "validation_data": (X[:90], y[:90])},
        {"sample_weight": weights_of_half(), "optimizer": "lion", "shuffle": False},
        {"optimizer": fnn.optim.Adam(lr=0.01, clip_norm=1.0), "class_weight": "balanced"},
    ]
    return models, each


COMMON = {"loss": "cross_entropy", "epochs": 4, "batch_size": 50}


def learned(model, optimizer=None):
    state = [] if not isinstance(optimizer, fnn.optim.Optimizer) else optimizer.state
    arrays = state if isinstance(state, list) else [a for of in state.values() for a in of.values()]
    return [model.parameters, model.state, *arrays]


def same(models, others, histories, expected):
    for model, other in zip(models, others, strict=True):
        for mine, its in zip(learned(*model), learned(*other), strict=True):
            assert_same_bits(mine, its)
    for mine, its in zip(histories, expected, strict=True):
        assert mine.keys() == its.keys() and mine.best_epoch == its.best_epoch
        assert mine.stopped_early == its.stopped_early
        for key in mine.keys() - {"seconds"}:
            assert mine[key] == its[key], key


@pytest.fixture(autouse=True)
def turn(monkeypatch):
    """Small networks, too, have threads."""
    monkeypatch.setattr(pool, "TURN", 1)


@pytest.fixture
def interrupts():
    """Ctrl-C is Python's, and is put back."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class TestBits:
    def test_those_of_each_fit_alone(self, isa, threads):
        """Layers, dtypes, seeds, optimizers, batches, weights, patience: each its own."""
        X, y = problem()
        models, each = sweep()
        common = COMMON | {"validation_data": (X[:100], y[:100]), "metrics": ["balanced_accuracy"]}
        histories = fnn.fit_many(models, X, y, **common, each=each)
        others, options = sweep()
        expected = [
            model.fit(X, y, **(common | own)) for model, own in zip(others, options, strict=True)
        ]
        pairs = [
            [(m, o.get("optimizer")) for m, o in zip(ms, os_, strict=True)]
            for ms, os_ in ((models, each), (others, options))
        ]
        same(*pairs, histories, expected)
        assert [model.history for model in models] == histories
        assert all(m.history is h for m, h in zip(models, histories, strict=True))

    @pytest.mark.once
    def test_a_second_fit_goes_on(self):
        X, y = problem()
        models, others = [network(s) for s in range(3)], [network(s) for s in range(3)]
        optimizers, theirs = ([fnn.optim.Adam() for _ in range(3)] for _ in range(2))
        for _ in range(2):
            each = [{"optimizer": optimizer} for optimizer in optimizers]
            histories = fnn.fit_many(models, X, y, **COMMON, each=each)
            expected = [
                model.fit(X, y, **COMMON, optimizer=optimizer)
                for model, optimizer in zip(others, theirs, strict=True)
            ]
        pairs = zip(models, optimizers, strict=True), zip(others, theirs, strict=True)
        same(*pairs, histories, expected)
        assert [optimizer.step_count for optimizer in optimizers] == [48] * 3

    @pytest.mark.once
    def test_standardized_targets_and_a_split(self):
        X, _ = problem()
        y = 100 + 7 * X[:, 0] - X[:, 1] ** 2
        common = {"loss": "mse", "epochs": 3, "validation_split": 0.2, "metrics": ["r2"]}

        def make():
            layers = [fnn.Dense(8), fnn.Tanh(), fnn.Dense(1)]
            return [fnn.Sequential(layers, seed=s, standardize_targets=True) for s in range(3)]

        models, others = make(), make()
        seen = []

        def hook(number, model, epoch, record, outputs):
            seen.append((outputs, record["val_r2"]))

        histories = fnn.fit_many(models, X, y, **common, on_epoch_end=hook)
        expected = [model.fit(X, y, **common) for model in others]
        same([(m,) for m in models], [(m,) for m in others], histories, expected)
        outputs, r2 = seen[0]
        assert outputs.shape == (60, 1) and abs(outputs.mean() - 100) < 20 and np.isfinite(r2)

    @pytest.mark.once
    def test_resume_and_callbacks_of_each(self, tmp_path):
        X, y = problem()

        def options(folder, epochs):
            files = [tmp_path / f"{folder}{i}" for i in range(3)]
            return COMMON | {"epochs": epochs}, [
                {"resume": file, "callbacks": fnn.ModelCheckpoint(file)} for file in files
            ]

        for epochs in (2, 4):
            models = [network(s) for s in range(3)]
            common, each = options("many", epochs)
            histories = fnn.fit_many(models, X, y, **common, each=each)
        others = [network(s) for s in range(3)]
        expected = [model.fit(X, y, **COMMON) for model in others]
        same([(m,) for m in models], [(m,) for m in others], histories, expected)

    @pytest.mark.once
    def test_no_model(self):
        assert fnn.fit_many([], *problem(), loss="mse") == []


@pytest.mark.once
class TestShared:
    def test_options_are_those_of_fit(self):
        own = inspect.signature(fnn.fit_many).parameters
        for name, parameter in inspect.signature(fnn.Sequential.fit).parameters.items():
            if name not in ("self", "X", "y"):
                assert own[name] == parameter, name

    def test_data_are_read_once(self, monkeypatch):
        """A DataFrame is converted, and X looked through, once; targets once for each dtype."""
        pd = pytest.importorskip("pandas")
        X, y = problem()
        frame = pd.DataFrame(X, columns=list("abcdef")).astype({"a": "float32"})
        calls = {"features": 0, "targets": 0, "check_finite": 0, "find_classes": 0}
        originals = {name: getattr(data, name) for name in calls}
        for name in calls:

            def counted(*arguments, function=originals[name], name=name, **options):
                if name != "check_finite" or arguments[2].startswith(("X", "validation_data[0]")):
                    calls[name] += 1
                return function(*arguments, **options)

            monkeypatch.setattr(data, name, counted)
        models = [network(seed) for seed in range(4)]
        each = [{}, {"sample_weight": weights_of_half()}, {}, {}]
        validation = (frame[:50], y[:50])
        fnn.fit_many(models, frame, y, **COMMON, each=each, validation_data=validation)
        # with half of the rows targets are others; X is looked through as a whole, and once for all
        assert calls == {"features": 2, "targets": 3, "check_finite": 3, "find_classes": 2}
        assert list(models[3].feature_names_in_) == list("abcdef")
        assert models[0].feature_names_in_ is not models[1].feature_names_in_
        assert models[0].classes_ is not models[1].classes_

    def test_rows_of_weight_0_need_not_be_finite(self):
        X, y = problem()
        X[1] = np.nan
        models = [network(0), network(1)]
        fnn.fit_many(models, X, y, **COMMON, sample_weight=weights_of_half())
        alone = network(1)
        alone.fit(X, y, **COMMON, sample_weight=weights_of_half())
        assert_same_bits(models[1].parameters, alone.parameters)
        with pytest.raises(ValueError, match=r"^models\[1\]: X: expected finite .* in row 1, col"):
            fnn.fit_many(models, X, y, **COMMON, each=[{"sample_weight": weights_of_half()}, {}])

    def test_once(self):
        numbers = itertools.count(1)

        def f(*arguments):
            return next(numbers)

        a, b, memory = np.zeros(200), np.zeros(200), once.Once()
        assert [memory(f, x) for x in (a, b, a, "a", "a", 1, 1.0, True)] == [1, 2, 1, 3, 3, 4, 5, 6]
        assert [memory(f, np.zeros(200)) for _ in range(3)] == [7, 8, 9]  # else ids may be one
        small = [np.zeros(2), np.zeros(2), -np.zeros(2), np.zeros((1, 2)), np.zeros(2, "f4")]
        assert [memory(f, x) for x in small] == [10, 10, 11, 12, 13]

    def test_once_in_threads(self):
        """Several that want the same at one time get it from one; who fails lets the next try."""
        memory, calls, results = once.Once(), [], []

        def slow():
            calls.append(1)
            time.sleep(0.1)
            if len(calls) == 1:
                raise ValueError
            return len(calls)

        def ask():
            try:
                results.append(memory.remember("key", slow))
            except ValueError:
                results.append(None)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [None, 2, 2, 2] and len(calls) == 2

    def test_columns_are_learned_once(self, monkeypatch):
        """Of the same rows: edges, medians, quantiles."""
        X, y = problem()
        X[::7, 2] = np.nan
        learned = {kind: 0 for kind in (fnn.Impute, fnn.PiecewiseLinear, fnn.QuantileNormal)}
        for kind in learned:

            def learn(layer, column, kind=kind, original=kind.learn):
                learned[kind] += 1
                return original(layer, column)

            monkeypatch.setattr(kind, "learn", learn)

        def make(seed):
            parts = [
                ([0, 1, 2], [fnn.Impute(), fnn.PiecewiseLinear(8)]),
                ([3, 4, 5], [fnn.QuantileNormal(20)]),
            ]
            layers = [fnn.Columns(parts), fnn.Dense(8), fnn.ReLU(), fnn.Dense(CLASSES)]
            return fnn.Sequential(layers, seed=seed)

        each = [{}, {}, {"sample_weight": weights_of_half()}, {}]
        models = [make(seed) for seed in (0, 1, 2, 0)]
        histories = fnn.fit_many(models, X, y, **COMMON, each=each)
        assert list(learned.values()) == [6, 6, 6]  # two sets of rows
        others = [make(seed) for seed in (0, 1, 2, 0)]
        expected = [
            model.fit(X, y, **COMMON, **own) for model, own in zip(others, each, strict=True)
        ]
        same([(m,) for m in models], [(m,) for m in others], histories, expected)

    def test_trees_of_other_targets(self):
        """One for labels, one for numbers, of the same columns."""
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
        X, y = problem()
        y = y.astype(float)

        def make(units):
            return fnn.Sequential([fnn.PiecewiseLinear(4, bins="tree"), fnn.Dense(units)])

        each = [{"loss": "cross_entropy"}, {"loss": "mse"}]
        models, others = [make(CLASSES), make(1)], [make(CLASSES), make(1)]
        histories = fnn.fit_many(models, X, y, epochs=2, each=each)
        expected = [
            model.fit(X, y, epochs=2, **own) for model, own in zip(others, each, strict=True)
        ]
        same([(m,) for m in models], [(m,) for m in others], histories, expected)
        assert not np.array_equal(*(model.state for model in models), equal_nan=True)

    def test_an_optimizer_for_all_is_copied(self):
        X, y = problem()
        optimizer = fnn.optim.SGD(lr=0.1, momentum=0.9)
        models, alone = [network(s) for s in range(3)], [network(s) for s in range(3)]
        fnn.fit_many(models, X, y, **COMMON, optimizer=optimizer)
        assert optimizer.step_count == 0
        for mine, its in zip(models, alone, strict=True):
            its.fit(X, y, **COMMON, optimizer=fnn.optim.SGD(lr=0.1, momentum=0.9))
            assert_same_bits(mine.parameters, its.parameters)


@pytest.mark.once
class TestThreads:
    """How many threads a network has: never more than there are, more where there is room."""

    def watched(self, threads, epochs, monkeypatch):
        """(number, epoch, threads of its calls), and how many were in use in all at most."""
        fnn.set_num_threads(threads)
        X, y = problem()
        models = [network(seed) for seed in range(len(epochs))]
        seen, most = [], []
        take = pool.Pool._take

        def taking(self, number):
            take(self, number)
            most.append(sum(self._taken.values()))
            assert self._free + most[-1] == threads

        monkeypatch.setattr(pool.Pool, "_take", taking)

        class Tells(fnn.Callback):
            def __init__(self, number):
                self.number = number

            def on_epoch_end(self, model, epoch, record):
                seen.append((self.number, epoch, fnn.get_num_threads()))

        each = [{"epochs": n, "callbacks": Tells(i)} for i, n in enumerate(epochs)]
        fnn.fit_many(models, X, y, loss="cross_entropy", each=each)
        assert len(seen) == sum(epochs) and fnn.get_num_threads() == threads
        return seen, max(most)

    def test_one_each(self, restore_threads, monkeypatch):
        seen, most = self.watched(2, [3] * 7, monkeypatch)
        assert {threads for _, _, threads in seen[:-4]} == {1} and most == 2

    def test_longest_first(self, restore_threads, monkeypatch):
        seen, _ = self.watched(1, [1, 4, 2, 3], monkeypatch)
        assert list(dict.fromkeys(number for number, _, _ in seen)) == [1, 3, 2, 0]

    def test_the_last_has_all(self, restore_threads, monkeypatch):
        seen, most = self.watched(4, [30], monkeypatch)
        assert [threads for _, _, threads in seen] == [4] * 30 and most == 4

    def test_a_big_one_has_a_team(self, restore_threads, monkeypatch):
        seen, most = self.watched(4, [2000, *[20] * 5], monkeypatch)
        of_big = [threads for number, _, threads in seen if number == 0]
        assert of_big[0] == 3 and of_big[-1] == 4 and most <= 4
        assert {threads for number, _, threads in seen if number} == {1}

    def test_tiny_networks_have_fewer(self, restore_threads, monkeypatch):
        """An epoch is 300 rows times the 86 multiply-adds that `summary` says."""
        fnn.set_num_threads(8)
        X, y = problem()

        def threads(turn):
            monkeypatch.setattr(pool, "TURN", turn)
            seen, gate = set(), threading.Event()

            def hook(number, model, epoch, record, outputs):
                seen.add(threading.get_ident())
                gate.wait(0.05)  # let the others begin

            models = [network(seed) for seed in range(8)]
            fnn.fit_many(models, X, y, **(COMMON | {"epochs": 1}), on_epoch_end=hook)
            return len(seen)

        assert [threads(turn) for turn in (25_801, 25_800, 12_900)] == [1, 2, 3]

    def test_own_threads(self, restore_threads):
        """They are those of one thread, and come before those of the process."""
        fnn.set_num_threads(5)
        _core.set_own_threads(2)
        try:
            elsewhere = []
            thread = threading.Thread(target=lambda: elsewhere.append(fnn.get_num_threads()))
            thread.start()
            thread.join()
            assert (fnn.get_num_threads(), elsewhere) == (2, [5])
            seen = []
            hook = lambda *_: seen.append(threading.get_ident())  # noqa: E731
            fnn.fit_many([network(s) for s in range(6)], *problem(), **COMMON, on_epoch_end=hook)
            assert 1 <= len(set(seen)) <= 2
        finally:
            _core.set_own_threads(0)
        assert fnn.get_num_threads() == 5


@pytest.mark.once
class TestHook:
    def test_what_it_gets(self, restore_threads):
        fnn.set_num_threads(3)
        X, y = problem()
        models, seen, inside = [network(s) for s in range(4)], [], []

        def hook(number, model, epoch, record, outputs):
            inside.append(1)
            assert len(inside) == 1 and model is models[number]  # never two at a time
            assert_same_bits(outputs, model.forward(X[:50]))
            time.sleep(0.001)
            record["mine"] = number + epoch
            seen.append((number, epoch))
            inside.pop()

        validation = (X[:50], y[:50])
        histories = fnn.fit_many(
            models, X, y, **COMMON, validation_data=validation, on_epoch_end=hook
        )
        assert sorted(seen) == [(n, e) for n in range(4) for e in range(4)]
        assert [history["mine"] for history in histories] == [
            [n, n + 1, n + 2, n + 3] for n in range(4)
        ]

    @pytest.mark.parametrize("loss", ["poisson", "mse", "cross_entropy", "binary_cross_entropy"])
    @pytest.mark.parametrize("rows", [20, 300])  # few are computed in another way by `forward`
    def test_the_loss_keeps_its_bits(self, loss, rows, dtype):
        """That of a pass with outputs is that of one without; outputs of values are predictions."""
        X, y = problem()
        y = y if loss == "cross_entropy" else np.abs(X[:, :2]) if loss == "poisson" else y > 1
        units = CLASSES if loss == "cross_entropy" else 1 if y.ndim == 1 else 2
        y = y.astype(float) if loss == "mse" else y
        weights = (np.arange(rows) % 3).astype(float)
        common = {"loss": loss, "epochs": 2, "validation_data": (X[:rows], y[:rows], weights)}
        model, alone = (
            fnn.Sequential([fnn.Dense(70), fnn.Tanh(), fnn.Dense(units)], dtype=dtype)
            for _ in range(2)
        )
        kept = []

        def hook(number, model, epoch, record, outputs):
            predicted = model.forward(X[:rows])
            if loss in ("mse", "poisson"):
                predicted = model.predict(X[:rows]).reshape(predicted.shape)
            assert_same_bits(outputs, predicted[weights > 0])
            kept.append(record["val_loss"])

        fnn.fit_many([model], X, y, **common, on_epoch_end=hook)
        assert alone.fit(X, y, **common)["val_loss"] == kept

    def test_without_validation_data(self):
        seen = []
        hook = lambda *arguments: seen.append(arguments[-1])  # noqa: E731
        fnn.fit_many([network()], *problem(), **COMMON, on_epoch_end=hook, train_metrics=True)
        assert seen == [None] * 4

    def test_one_pass(self, monkeypatch):
        """Loss, metrics and the hook have the outputs of one pass."""
        X, y = problem()
        passes = []

        class Watched:
            def __init__(self, net):
                self._net = net

            def __getattr__(self, name):
                if name in ("evaluate", "forward"):
                    passes.append(name)
                return getattr(self._net, name)

        from pyfast_nn.engine import Engine

        net = Engine.net
        monkeypatch.setattr(Engine, "net", property(lambda e: net.fget(e) and Watched(net.fget(e))))
        fnn.fit_many(
            [network()],
            *(X, y),
            **COMMON,
            validation_data=(X[:50], y[:50]),
            metrics=["balanced_accuracy"],
            on_epoch_end=lambda *_: None,
        )
        assert passes == ["evaluate"] * 4

    def test_it_ends_a_fit(self):
        hook = lambda number, model, epoch, *_: epoch == number  # noqa: E731
        histories = fnn.fit_many(
            [network(s) for s in range(3)], *problem(), **COMMON, on_epoch_end=hook
        )
        assert [history.epochs for history in histories] == [1, 2, 3]
        assert all(history.stopped_early for history in histories)

    @pytest.mark.parametrize("answer", [1, "yes"])
    def test_its_answer_is_checked(self, answer):
        with pytest.raises(TypeError, match=r"^models\[0\]: what on_epoch_end returned: expected"):
            fnn.fit_many([network()], *problem(), **COMMON, on_epoch_end=lambda *_: answer)


@pytest.mark.once
class TestEnds:
    def test_an_error_names_the_network_and_ends_the_others(self, restore_threads):
        fnn.set_num_threads(2)
        X, y = problem()
        models = [network(s) for s in range(4)]

        def hook(number, model, epoch, record, outputs):
            if number == 1 and epoch == 1:
                raise LookupError("mine")

        many_rows, ended = np.broadcast_to(X[:1], (2_000_000, COLUMNS)), []

        class Ends(fnn.Callback):
            def on_fit_end(self, model, history):
                model.forward(many_rows)  # which takes long enough to be asked
                ended.append(model)

        with pytest.raises(LookupError, match=r"^models\[1\]: mine$"):
            fnn.fit_many(
                *(models, X, y),
                loss="cross_entropy",
                epochs=10**6,
                patience=10**6,
                validation_data=(X, y),
                on_epoch_end=hook,
                each=[{"callbacks": Ends()} for _ in models],
            )
        assert {*map(id, ended)} == {*map(id, models[:2])}
        assert models[1].history.epochs == 2 and models[2].history is None
        for model in models[:2]:
            assert 1 <= model.history.epochs < 10**6
            assert model.evaluate(X, y)["loss"] == min(model.history["val_loss"])
        for model in models:
            model.fit(X, y, **COMMON)  # which is free again

    def test_an_overflow(self):
        X, y = problem()
        models = [network(0), network(1)]
        each = [{}, {"optimizer": fnn.optim.SGD(lr=1e30)}]
        with pytest.raises(FloatingPointError, match=r"^models\[1\]: the loss is not finite in"):
            fnn.fit_many(models, X, y, **(COMMON | {"epochs": 50}), each=each)

    @pytest.mark.parametrize("threads", [1, 2, 3])
    def test_ctrl_c(self, interrupts, restore_threads, threads):
        """It comes soon, in the midst of an epoch; what was learned is kept, as by `fit`."""
        fnn.set_num_threads(threads)
        rng = np.random.default_rng(0)
        X = rng.random((1_000_000, 16), "f4")  # an epoch takes seconds anywhere
        y = rng.integers(0, 10, len(X))

        def make(seed):
            layers = [fnn.Dense(256), fnn.Tanh(), fnn.Dense(256), fnn.Tanh(), fnn.Dense(10)]
            return fnn.Sequential(layers, seed=seed)

        models = [make(seed) for seed in range(4)]
        optimizers = [fnn.optim.Adam() for _ in models]
        sent, ended = [], []

        class Ends(fnn.Callback):
            def on_fit_end(self, model, history):
                # Which takes long enough to be asked.
                model.evaluate(X[:60_000], y[:60_000], loss="cross_entropy")
                ended.append(model)

        def interrupt():
            while sum(model.built for model in models) < threads:
                time.sleep(0.01)
            time.sleep(0.3)
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Thread(target=interrupt)
        timer.start()
        common = {"loss": "cross_entropy", "epochs": 1000, "batch_size": 64}
        with pytest.raises(KeyboardInterrupt):
            each = [{"optimizer": optimizer, "callbacks": Ends()} for optimizer in optimizers]
            fnn.fit_many(models, X, y, **common, each=each)
        assert time.monotonic() - sent[0] < 3
        timer.join()
        started = [(m, o) for m, o in zip(models, optimizers, strict=True) if o.step_count]
        assert len(started) == len(ended) == threads
        for model, optimizer in started:
            # The same steps by themselves.
            assert optimizer.step_count < len(X) // 64 and model.history.epochs == 0
            rows = _core.permutation(model.seed, 2**32, len(X))[: 64 * optimizer.step_count]
            alone = make(model.seed)
            alone.fit(X[rows], y[rows], **common | {"epochs": 1}, shuffle=False)
            assert_same_bits(alone.parameters, model.parameters)

    def test_ctrl_c_before_the_first_step(self, interrupts, restore_threads):
        fnn.set_num_threads(1)
        X, y = problem()
        models, optimizers = [network(0), network(1)], [fnn.optim.Adam(), fnn.optim.Adam()]
        many_rows = np.broadcast_to(X[:1], (20_000_000, COLUMNS))

        class Begins(fnn.Callback):
            def on_fit_begin(self, model):
                os.kill(os.getpid(), signal.SIGINT)
                model.forward(many_rows)  # which takes long enough to be asked

        each = [{"optimizer": optimizers[0], "callbacks": Begins()}, {"optimizer": optimizers[1]}]
        with pytest.raises(KeyboardInterrupt):
            fnn.fit_many(models, X, y, **COMMON, each=each)
        fresh = network(0).build(COLUMNS)
        assert_same_bits(models[0].parameters, fresh.parameters)
        assert models[0].history.epochs == 0
        assert not models[1].built and models[1].history is None
        for seed, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            assert optimizer.step_count == 0
            model.fit(X, y, **COMMON, optimizer=optimizer)  # which is free, and begins anew
            alone = network(seed)
            alone.fit(X, y, **COMMON)
            assert_same_bits(model.parameters, alone.parameters)

    def test_what_a_handler_raises(self, restore_threads):
        class Alarm(Exception):
            pass

        def handler(number, frame):
            raise Alarm

        before = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(Alarm):
                fnn.fit_many(
                    [network(0), network(1)], *problem(), loss="cross_entropy", epochs=10**7
                )
        finally:
            signal.signal(signal.SIGALRM, before)

    def test_best_epoch_is_restored(self, interrupts):
        X, y = problem()
        models = [network(s) for s in range(2)]

        sent = []

        def hook(number, model, epoch, record, outputs):
            if epoch == 30 and not sent:
                sent.append(number)
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            fnn.fit_many(
                *(models, X, y),
                loss="cross_entropy",
                optimizer=fnn.optim.SGD(lr=2.0),
                epochs=10**6,
                patience=10**6,
                validation_data=(X[:60], y[:60]),
                on_epoch_end=hook,
            )
        for model in models:
            if model.history is not None and model.history.epochs:
                best = model.history.best_epoch
                assert best == int(np.argmin(model.history["val_loss"]))
                assert model.evaluate(X[:60], y[:60])["loss"] == model.history["val_loss"][best]


def bad(models=None, X=None, y=None, **options):
    own_X, own_y = problem()
    models = [network(0), network(1)] if models is None else models
    return fnn.fit_many(
        *(models, own_X if X is None else X, own_y if y is None else y), **(COMMON | options)
    )


class Nothing(fnn.Callback):
    pass


@pytest.mark.once
class TestMistakes:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"models": 3}, "models: expected a list of models, got 3 (int)"),
            ({"models": [fnn.Dense(2)]}, "models[0]: expected a Sequential, got Dense"),
            ({"each": [{}]}, "each: expected 2 dicts, one for each model, got 1"),
            ({"each": {}}, "each: expected a list of dicts, one for each model, got"),
            ({"each": [{}, 3]}, "each[1]: expected a dict, got 3 (int)"),
            (
                {"each": [{"epoch": 3}, {}]},
                "each[0]: expected options of one network, got 'epoch'; did you mean epochs?",
            ),
            ({"each": [{"verbose": 1}, {}]}, "each[0]: expected options of one network, got"),
            ({"each": [{}, {"batch_size": 0}]}, "models[1]: batch_size: expected"),
            ({"epochs": 0}, "models[0]: epochs: expected"),
            ({"on_epoch_end": 3}, "on_epoch_end: expected a function, got 3 (int)"),
            ({"callbacks": Nothing()}, "callbacks: expected callbacks of its own for each"),
            ({"resume": "x"}, "resume: expected a checkpoint of its own for each network"),
            ({"optimizer": fnn.optim.Adam}, "models[0]: optimizer: expected an optimizer such as"),
            ({"verbose": 2}, "verbose: expected"),
        ],
    )
    def test_message(self, options, message):
        with pytest.raises((TypeError, ValueError), match="^" + re.escape(message)):
            bad(**options)

    def test_warnings_are_of_the_caller(self):
        model = fnn.Sequential([fnn.Dense(4), fnn.Step(), fnn.Dense(CLASSES)])
        with pytest.warns(UserWarning, match="is zero almost everywhere") as caught:
            bad([model])
        assert caught[0].filename == __file__
        line = Path(__file__).read_text().splitlines()[caught[0].lineno - 1]
        assert "fnn.fit_many(" in line

    def test_batches(self):
        with pytest.raises(TypeError, match=r"^y: expected targets beside X, got None; batches"):
            fnn.fit_many([network()], [problem()], None, loss="cross_entropy")

    def test_nothing_is_trained(self):
        models = [network(0), network(1)]
        with pytest.raises(ValueError, match=r"^models\[1\]: batch_size"):
            bad(models, each=[{}, {"batch_size": -1}])
        assert not any(model.built for model in models)
        bad(models)

    def test_what_two_share(self):
        optimizer, callback, model = fnn.optim.Adam(), Nothing(), network().build(COLUMNS)
        with pytest.raises(ValueError, match=r"^optimizer: expected one of its own .* the same Ad"):
            bad(each=[{"optimizer": optimizer}, {"optimizer": optimizer}])
        with pytest.raises(ValueError, match=r"^callbacks: expected one of its own .* same Nothi"):
            bad(each=[{"callbacks": callback}, {"callbacks": [Nothing(), callback]}])
        with pytest.raises(ValueError, match=r"^models: expected models with parameters of their"):
            bad([model, network(), model])
        with pytest.raises(ValueError, match=r"got the same ones in models\[0\] and models\[2\]"):
            bad([model, network(), model[:]])

    def test_an_optimizer_for_all_that_has_trained(self):
        optimizer = fnn.optim.Adam()
        network().fit(*problem(), **COMMON, optimizer=optimizer)
        with pytest.raises(ValueError, match=r"^optimizer: expected a new one, of which each"):
            bad(optimizer=optimizer)

    def test_an_optimizer_of_another_model(self):
        """It is found before anything is trained."""
        optimizer, models = fnn.optim.Adam(), [network(0), network(1)]
        other = network()
        other.fit(*problem(), **COMMON, optimizer=optimizer)
        with pytest.raises(
            ValueError, match=r"^models\[1\]: optimizer: expected a new one or that"
        ):
            bad(models, each=[{}, {"optimizer": optimizer}])
        assert not models[0].built

    def test_within_a_fit(self):
        model, raised = network(), []

        class Fits(fnn.Callback):
            def on_epoch_end(self, model, epoch, record):
                with pytest.raises(RuntimeError, match=r"^models\[1\]: fit: this model is within"):
                    bad([network(), model])
                raised.append(1)

        model.fit(*problem(), **COMMON, callbacks=Fits())
        assert raised == [1] * 4


@pytest.mark.once
class TestShown:
    def test_lines(self, capsys):
        fnn.fit_many(
            [network(s) for s in range(3)],
            *problem(),
            **COMMON,
            validation_split=0.1,
            verbose=1,
            on_epoch_end=lambda number, model, epoch, *_: number == 1,
        )
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 3
        assert all(re.fullmatch(r"network \d/3  epoch +\d+/12  best val_loss \d\.\d{4}", line)
                   for line in lines)  # fmt: skip
        assert lines[-1].startswith("network 3/3  epoch 12/12")

    @pytest.mark.parametrize("style", ["terminal", "notebook"])
    def test_a_bar(self, style, monkeypatch):
        from contextlib import contextmanager

        from pyfast_nn import bar

        shown = []

        @contextmanager
        def draws(epochs, done=0):
            shown.append(epochs)
            yield lambda numbers, done: shown.append((numbers, done))

        monkeypatch.setattr(bar, "in_notebook" if style == "notebook" else "on_terminal", draws)
        with progress.progress_of_many(style, 3, 12) as show:
            show(1, 5, {"loss": 0.5}, False)
        assert shown == [12, (["network 1/3", "best loss 0.5000"], 5)]


# ----------------------------------------------------------------------- other processes


def fit_in_workers(backend, **config):
    """A sweep by joblib, beside each fit alone: bits, histories and optimizers."""
    joblib = pytest.importorskip("joblib", reason="joblib is not installed")
    X, y = problem()
    X, y = np.tile(X, (400, 1)), np.tile(y, 400)  # so large that loky maps them
    validation = (X[:100], y[:100])
    common = COMMON | {"validation_data": validation, "epochs": 2, "batch_size": 5000}

    def make():
        models = [network(seed, units) for seed, units in enumerate((4, 40, 8))]
        return models, [
            {"optimizer": fnn.optim.AdamW(lr=lambda step: 0.01 / (1 + step), clip_norm=1.0)},
            {"patience": 1, "optimizer": fnn.optim.SGD(lr=0.1, momentum=0.9)},
            {"sample_weight": (np.arange(len(X)) % 2).astype(float)},
        ]

    models, each = make()
    others, options = make()
    for _ in range(2):  # the second time all goes on from what came back
        with joblib.parallel_config(backend, **config):
            histories = fnn.fit_many(models, X, y, **common, each=each, backend="joblib")
        expected = [
            model.fit(X, y, **(common | own)) for model, own in zip(others, options, strict=True)
        ]
        pairs = [
            [(m, o.get("optimizer")) for m, o in zip(ms, os_, strict=True)]
            for ms, os_ in ((models, each), (others, options))
        ]
        same(*pairs, histories, expected)
        assert all(m.history is h for m, h in zip(models, histories, strict=True))
    assert each[0]["optimizer"].step_count == 96 == options[0]["optimizer"].step_count
    failing = [{}, {"optimizer": fnn.optim.SGD(lr=1e30), "epochs": 20}, {}]
    with (
        joblib.parallel_config(backend, **config),
        pytest.raises(FloatingPointError, match=r"^models\[1\]: the loss is not finite in"),
    ):
        fnn.fit_many(models, X, y, **common, each=failing, backend="joblib")
    for model in models:  # which are free again, and number 1 is as it was
        model.fit(X, y, **common)


@pytest.mark.once
class TestWorkers:
    @pytest.mark.parametrize("backend", ["sequential", "threading"])
    def test_of_this_process(self, backend):
        fit_in_workers(backend, n_jobs=2)

    def test_processes_of_loky(self):
        fit_in_workers("loky", n_jobs=2)

    def test_a_cluster_of_dask(self, tmp_path):
        distributed = pytest.importorskip("distributed", reason="dask[distributed] is not there")
        with (
            distributed.LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                local_directory=tmp_path,
            ) as cluster,
            distributed.Client(cluster),
        ):
            fit_in_workers("dask")

    def test_data_are_sent_once(self, monkeypatch):
        """Whatever of a task may be scattered is an argument of its own, and one object for all."""
        joblib = pytest.importorskip("joblib", reason="joblib is not installed")
        X, y = problem()
        tasks = []

        class Parallel(joblib.Parallel):
            def __call__(self, iterable):
                tasks.extend(iterable)
                return super().__call__(tasks)

        monkeypatch.setattr(joblib, "Parallel", Parallel)
        validation = (X[:50], y[:50])
        models = [network(seed) for seed in range(3)]
        fnn.fit_many(models, X, y, **COMMON, validation_data=validation, backend="joblib")
        for value in (X, y, *validation):
            assert all(any(each is value for each in args) for _, args, _ in tasks)
        assert len(tasks) == 3

    def test_longest_first_and_a_line_each(self, capsys):
        pytest.importorskip("joblib", reason="joblib is not installed")
        models, X, y = [network(seed) for seed in range(3)], *problem()
        each = [{"epochs": n} for n in (1, 3, 2)]
        options = {"loss": "mse", "each": each, "backend": "joblib", "verbose": 1}
        fnn.fit_many(models, X, np.eye(CLASSES)[y], **options)
        lines = capsys.readouterr().err.splitlines()
        assert [line.split("  ")[:2] for line in lines] == [
            ["network 1/3", "epoch 3/6"],
            ["network 2/3", "epoch 5/6"],
            ["network 3/3", "epoch 6/6"],
        ]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"on_epoch_end": print}, "on_epoch_end: expected none with backend='joblib'"),
            ({"each": [{}, {"callbacks": Nothing()}]}, "callbacks: expected none with backend="),
            ({"each": [{}, {"resume": "x"}]}, "resume: expected none with backend='joblib'"),
            ({"backend": "dask"}, "backend: expected"),
        ],
    )
    def test_what_is_refused(self, options, message):
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            bad(**({"backend": "joblib"} | options))
