"""Training that goes on through files, bit for bit: the optimizer beside its model, and alone."""

from __future__ import annotations

import copy
import json
import pickle
import warnings

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_same_bits
from pyfast_nn import optim, schedules

pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 6))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


def make(dtype="float64"):
    layers = [fnn.Standardize(), fnn.Dense(7), fnn.Tanh(), fnn.Dense(2)]
    return fnn.Sequential(layers, dtype=dtype, seed=3)


def fit(model, optimizer, epochs, **options):
    options = {"batch_size": 16, "verbose": 0, "validation_split": 0.2} | options
    return model.fit(X, Y, loss="cross_entropy", optimizer=optimizer, epochs=epochs, **options)


def by_layer(key):
    return {"lr": 0.001} if key == "3.weight" else {"trainable": False} if "1." in key else {}


OPTIMIZERS = {
    name: getattr(optim, name) for name in optim.__all__ if name not in ("Optimizer", "as_scipy")
}
EVERY = {name: (lambda cls=cls: cls(lr=0.01)) for name, cls in OPTIMIZERS.items()}
EVERY["Muon"] = lambda: optim.Muon(
    lr=schedules.Linear(0.01, 30), fallback=optim.AdamW(lr=schedules.Cosine(0.01, 30))
)
OPTIONS = {
    "momentum": lambda: optim.SGD(lr=0.1, momentum=schedules.Linear(0.9, 20, end=0.5)),
    "amsgrad": lambda: optim.Adam(lr=0.01, amsgrad=True, weight_decay=0.1, eps_mode="keras"),
    "centred": lambda: optim.RMSprop(lr=0.01, centered=True, momentum=0.5),
    "groups": lambda: optim.AdamW(lr=0.01, groups=by_layer),
    "clip_norm": lambda: optim.SGD(lr=0.5, momentum=0.9, clip_norm=0.05),
    "clip_value": lambda: optim.Adam(lr=0.01, clip_value=0.01),
    "clip_units": lambda: optim.SGD(lr=0.5, clip_units=0.01, unit_axis=0),
    "maximize": lambda: optim.Adam(lr=0.001, maximize=True),
    "accumulate": lambda: optim.Adam(lr=0.01, accumulate=3),
    "lookahead": lambda: optim.Adam(lr=0.01, lookahead=(4, 0.5)),
    "ema": lambda: optim.Adam(lr=0.01, ema=0.9),
    "swa": lambda: optim.Adam(lr=0.01, swa=7),
    "sam": lambda: optim.SGD(lr=0.5, sam=0.1),
    "skip_nonfinite": lambda: optim.SGD(lr=0.5, skip_nonfinite=True),
    "all of it": lambda: optim.NAdam(
        lr=0.01, sam=0.1, clip_norm=0.1, accumulate=2, ema=0.9, lookahead=(3, 0.5)
    ),
    "an array": lambda: optim.Adam(lr=np.linspace(0.1, 0, 40), betas=(0.8, np.full(40, 0.99))),
}
A = schedules.Cosine(0.1, 17, end=0.01)
SCHEDULES = [
    *(A, schedules.Constant(0.1), schedules.Step(0.1, 3), schedules.MultiStep(0.1, [3, 9])),
    *(schedules.Exponential(0.1, 0.9), schedules.Polynomial(0.1, 20), schedules.Linear(0.1, 9)),
    *(schedules.InverseSqrt(0.1, 4), schedules.CosineWarmRestarts(0.1, 7)),
    *(
        schedules.Cyclic(0.01, 0.1, step_size_up=4),
        schedules.OneCycle(0.1, 30),
        schedules.Warmup(A, 5),
    ),
    schedules.Sequence([0.1, schedules.Warmup(A, 2), A], [4, 9]),
    schedules.InEpochs(schedules.Warmup(schedules.Cosine(0.1, 5), 2)),
]


def through_the_model_file(model, optimizer, path):
    model.save(path, optimizer=optimizer)
    return fnn.load(path, optimizer=True)


def through_two_files(model, optimizer, path):
    model.save(path)
    optimizer.save(path.with_suffix(".optimizer"))
    other = type(optimizer)()
    other.load(path.with_suffix(".optimizer"))
    return fnn.load(path), other


def through_state_dict(model, optimizer, path):
    state = optimizer.state_dict()
    arrays = state.pop("state")
    other = type(optimizer)()
    other.load_state_dict(json.loads(json.dumps(state)) | {"state": arrays})
    for of_key in arrays.values():
        for array in of_key.values():
            array[...] = np.nan  # nobody's business
    return copy.deepcopy(model), other


WAYS = [through_the_model_file, through_two_files, through_state_dict]


def state_of(optimizer):
    return [
        (key, name, array)
        for key, arrays in optimizer.state_dict()["state"].items()
        for name, array in arrays.items()
    ]


def check(make_optimizer, way, path, dtype="float64"):
    """2 + 3 epochs through a file are 5 epochs, and again from a file of a file."""
    whole, optimizer = make(dtype), make_optimizer()
    fit(whole, optimizer, 2)
    history = fit(whole, optimizer, 3)
    parts, resumed = make(dtype), make_optimizer()
    fit(parts, resumed, 2)
    parts, resumed = way(*way(parts, resumed, path), path)
    again = fit(parts, resumed, 3)
    assert_same_bits(parts.parameters, whole.parameters)
    assert resumed.step_count == optimizer.step_count and repr(resumed) == repr(optimizer)
    expected, came = state_of(optimizer), state_of(resumed)
    assert [each[:2] for each in came] == [each[:2] for each in expected]
    for (*_, one), (*_, other) in zip(came, expected, strict=True):
        assert_same_bits(one, other)
    for key in ("loss", "accuracy", "lr", "val_loss"):
        assert again[key] == history[key]
    assert resumed._bound.fused == optimizer._bound.fused


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", EVERY)
def test_every_optimizer(name, way, dtype, tmp_path):
    check(EVERY[name], way, tmp_path / "m", dtype)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OPTIONS)
def test_options(name, way, tmp_path):
    check(OPTIONS[name], way, tmp_path / "m")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_schedules(schedule, way, tmp_path):
    check(lambda: optim.SGD(lr=schedule, momentum=0.5), way, tmp_path / "m")
    assert {type(s).__name__ for s in SCHEDULES} == set(schedules.__all__)


def test_one_session_of_five_epochs(tmp_path):
    """Row order, schedule and state know of no break: one fit of 5 epochs has the same bits."""
    whole, parts = make(), make()
    fit(whole, optim.Adam(lr=schedules.Linear(0.1, 25)), 5)
    optimizer = optim.Adam(lr=schedules.Linear(0.1, 25))
    fit(parts, optimizer, 2)
    parts, optimizer = through_the_model_file(parts, optimizer, tmp_path / "m")
    fit(parts, optimizer, 3)
    assert_same_bits(parts.parameters, whole.parameters)


@pytest.mark.parametrize("name", ["sam", "accumulate", "all of it", "groups", "amsgrad"])
def test_from_within_a_fit(name, tmp_path):
    """What a callback saves after the second of five epochs goes on for the other three."""

    class Saves(fnn.Callback):
        def on_epoch_end(self, model, epoch, record):
            if epoch == 1:
                model.save(tmp_path / "m", optimizer=optimizer)

    whole, optimizer = make(), OPTIONS[name]()
    fit(whole, optimizer, 5, callbacks=[Saves()])
    parts, other = fnn.load(tmp_path / "m", optimizer=True)
    assert parts.epochs_trained == parts.history.epochs == 2
    fit(parts, other, 3)
    assert_same_bits(parts.parameters, whole.parameters)
    assert other.step_count == optimizer.step_count


def test_counts_and_averages_are_there_at_once(tmp_path):
    model, optimizer = make(), optim.Adam(lr=0.01, ema=0.9, skip_nonfinite=True)
    fit(model, optimizer, 2)
    _, loaded = through_the_model_file(model, optimizer, tmp_path / "m")
    for key, average in optimizer.averages.items():
        assert_same_bits(loaded.averages[key], average)
    assert loaded.skipped == optimizer.skipped == 0
    assert pickle.loads(pickle.dumps(optimizer)).skipped == 0


def test_names_and_shapes_are_those_of_the_parameters():
    model, optimizer = make(), optim.Adam()
    fit(model, optimizer, 1)
    state = optimizer.state_dict()
    assert list(state["state"]) == list(model.named_parameters())
    for key, view in model.named_parameters().items():
        assert list(state["state"][key]) == ["exp_avg", "exp_avg_sq"]
        assert state["state"][key]["exp_avg"].shape == view.shape
    flat = np.concatenate([arrays["exp_avg"].ravel() for arrays in state["state"].values()])
    np.testing.assert_array_equal(flat, optimizer.state[0])
    assert state["step_count"] == 5 and state["param_groups"] == [{"params": list(state["state"])}]


def test_a_state_that_is_loaded_is_used():
    """By the model that it trained, too: `load` puts the optimizer back to where it was."""
    model, optimizer = make(), optim.Adam(lr=0.1)
    fit(model, optimizer, 2)
    state, parameters = optimizer.state_dict(), model.parameters.copy()
    fit(model, optimizer, 2)
    expected = model.parameters.copy()
    optimizer.lr = 3.0
    optimizer.load_state_dict(state)
    assert optimizer.lr == 0.1 and optimizer.step_count == 10
    for vector, name in zip(optimizer.state, ("exp_avg", "exp_avg_sq"), strict=True):
        saved = [arrays[name].ravel() for arrays in state["state"].values()]
        assert_same_bits(vector, np.concatenate(saved))
    assert copy.copy(optimizer).state_dict()["step_count"] == 10
    model.parameters, model.epochs_trained = parameters, 2
    fit(model, optimizer, 2)
    assert_same_bits(model.parameters, expected)
    assert optimizer.step_count == 20


def test_a_copy_of_what_was_loaded():
    model, optimizer = make(), optim.Adam(lr=0.1)
    fit(model, optimizer, 2)
    expected = copy.deepcopy(model)
    other = optim.Adam()
    other.load_state_dict(optimizer.state_dict())
    fit(model, optimizer, 1)
    for way in (copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))):
        twin, again = way(other), copy.deepcopy(expected)
        assert twin.step_count == 10
        fit(again, twin, 1)
        assert_same_bits(again.parameters, model.parameters)


CHANGES = {
    "momentum": (lambda: optim.SGD(lr=0.1, momentum=0.9), {"momentum": 0.0}),
    "no momentum": (lambda: optim.SGD(lr=0.1), {"momentum": 0.9}),
    "amsgrad": (lambda: optim.Adam(amsgrad=True), {"amsgrad": False, "lr": 0.1}),
    "ema": (lambda: optim.Adam(ema=0.9), {"ema": None}),
    "lookahead": (lambda: optim.Adam(lookahead=(2, 0.5)), {"lookahead": None}),
    "accumulate": (lambda: optim.Adam(accumulate=3), {"accumulate": 1}),
    "clip_norm": (lambda: optim.Adam(), {"clip_norm": 0.1}),
}


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, "load"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_is_assigned_before_the_next_fit(name, way):
    """A copy, or what was loaded, then changes as the optimizer itself would."""
    make_optimizer, changes = CHANGES[name]
    model, optimizer = make(), make_optimizer()
    fit(model, optimizer, 2)
    parts = copy.deepcopy(model)
    if way == "load":
        other = type(optimizer)()
        other.load_state_dict(optimizer.state_dict())
    elif way is copy.copy:
        parts, other = model, copy.copy(optimizer)
        start = model.parameters.copy(), model.epochs_trained
    else:
        parts, other = copy.deepcopy((model, optimizer))
    for one in (optimizer, other):
        for option, value in changes.items():
            setattr(one, option, value)
    fit(model, optimizer, 2)
    expected = model.parameters.copy()
    if way is copy.copy:
        model.parameters, model.epochs_trained = start
    fit(parts, other, 2)
    assert_same_bits(parts.parameters, expected)


def test_before_the_first_epoch(tmp_path):
    """Saved at once: what comes is what would have come."""
    whole, optimizer = make(), optim.AdamW(lr=0.1, ema=0.9)
    model = make().build(6)
    model.save(tmp_path / "m", optimizer=optimizer)
    assert optimizer.step_count == 0 and optimizer._owner is None
    model, loaded = fnn.load(tmp_path / "m", optimizer=True)
    assert repr(loaded) == repr(optimizer)
    fit(model, loaded, 2)
    fit(whole, optimizer, 2)
    assert_same_bits(model.parameters, whole.parameters)


class Linear(schedules.Linear):
    """A user's own, by a name that is taken."""


def test_functions_of_the_users_own(tmp_path):
    """A file cannot hold them: refused beside a model; alone they are those that are there."""

    def rate(step):
        return 0.1 / (1 + step)

    for optimizer, where in [
        (optim.Adam(lr=rate), "lr"),
        (optim.Adam(betas=(0.9, rate)), r"betas\[1\]"),
        (optim.SGD(lr=schedules.Warmup(rate, 3)), r"lr\.schedule"),
        (optim.SGD(lr=Linear(0.1, 9)), "lr"),
        (optim.Adam(groups=lambda key: {"lr": rate} if "bias" in key else {}), r"\[1\]\.lr"),
        (optim.Muon(fallback=optim.AdamW(lr=rate)), r"fallback\.lr"),
    ]:
        model = make()
        fit(model, optimizer, 1)
        with pytest.raises(ValueError, match=f"optimizer: .* got {where} that is a function"):
            model.save(tmp_path / "m", optimizer=optimizer)
        assert not (tmp_path / "m").exists()

    whole, first = make(), optim.SGD(lr=schedules.Warmup(rate, 3))
    fit(whole, first, 1)
    first.save(tmp_path / "o")
    parts, again = copy.deepcopy(whole), optim.SGD(lr=schedules.Warmup(rate, 9))
    again.load(tmp_path / "o")
    assert again.lr == first.lr
    fit(whole, first, 1)
    fit(parts, again, 1)
    assert_same_bits(parts.parameters, whole.parameters)
    with pytest.raises(fnn.ModelFileError, match=r"lr\.schedule: expected this"):
        optim.SGD().load(tmp_path / "o")


def test_groups_may_come_from_the_file_or_from_a_function(tmp_path):
    model, optimizer = make(), optim.AdamW(lr=0.01, groups=by_layer)
    fit(model, optimizer, 1)
    optimizer.save(tmp_path / "o")
    parts = copy.deepcopy(model)
    again = optim.AdamW(groups=by_layer)
    again.load(tmp_path / "o")
    fit(parts, again, 1)
    fit(model, optimizer, 1)
    assert_same_bits(parts.parameters, model.parameters)
    assert [dict(g) for g in again.param_groups] == [dict(g) for g in optimizer.param_groups]
    with pytest.raises(fnn.ModelFileError, match="param_groups: expected 1, as many as"):
        optim.AdamW(groups=lambda key: {}).load(tmp_path / "o")


class TestRefusals:
    def test_of_another_model(self, tmp_path):
        model, optimizer = make(), optim.Adam()
        fit(model, optimizer, 1)
        with pytest.raises(ValueError, match="state of another model"):
            make().build(6).save(tmp_path / "m", optimizer=optimizer)
        with pytest.raises(ValueError, match="optimizer: expected one made without params"):
            model.save(tmp_path / "m", optimizer=optim.Adam(np.ones(2)))
        with pytest.raises(TypeError, match="optimizer: expected the optimizer of the fit"):
            model.save(tmp_path / "m", optimizer="adam")

        with pytest.raises(ValueError, match="optimizer: expected None, as the model has no"):
            fnn.Sequential([fnn.Tanh()]).build(2).save(tmp_path / "m", optimizer=optim.Adam())

        class Own(optim.Adam):
            pass

        with pytest.raises(TypeError, match="optimizer: expected one of"):
            model.save(tmp_path / "m", optimizer=Own())
        assert not (tmp_path / "m").exists()

    def test_a_state_for_other_parameters(self):
        model, optimizer = make(), optim.Adam()
        fit(model, optimizer, 1)
        state = optimizer.state_dict()
        for other, text in [
            (fnn.Sequential([fnn.Dense(7), fnn.Dense(2)], dtype="float64"), r"state\['0.weight'\]"),
            (make("float32"), "expected dtype float32, got float64"),
        ]:
            loaded = optim.Adam()
            loaded.load_state_dict(state)
            with pytest.raises(ValueError, match=f"optimizer: .* with that of others: .*{text}"):
                fit(other, loaded, 1)
            assert loaded.step_count == 5
            fit(model, loaded, 1)  # still whole
            model = make()
        trained = optim.Adam()
        fit(make("float32"), trained, 1)
        with pytest.raises(TypeError, match="expected dtype float32, got float64"):  # known at once
            trained.load_state_dict(state)
        assert trained.step_count == 5

    @pytest.mark.parametrize(
        ("change", "error", "text"),
        [
            ({"optimizer": "SGD"}, ValueError, r"\['optimizer'\]: expected 'Adam'"),
            ({"step_count": -1}, ValueError, "step_count"),
            ({"step_count": 1.5}, TypeError, "step_count"),
            ({"averaged": 3}, ValueError, "averaged: expected 0 without"),
            ({"hyper_parameters": {}}, ValueError, r"\['lr'\].* missing|missing.*lr|\['lr'\]"),
            ({"options": []}, TypeError, "options"),
            ({"param_groups": 1}, TypeError, "param_groups: expected a list"),
            ({"param_groups": [1]}, TypeError, r"param_groups\[0\]: expected a dict"),
            ({"param_groups": [{}]}, TypeError, r"param_groups\[0\]\['params'\]: expected a list"),
            ({"param_groups": [{"params": [1]}]}, TypeError, r"\['params'\]: expected a list"),
            ({"param_groups": [{"params": ["a", "a"]}]}, ValueError, "each parameter once"),
            ({"state": {}}, ValueError, r"state\['1.weight'\]"),
            ({"state": 3}, TypeError, "state: expected a dict"),
        ],
    )
    def test_an_impossible_state_changes_nothing(self, change, error, text):
        model, optimizer = make(), optim.Adam()
        fit(model, optimizer, 1)
        before = optimizer.state_dict()
        for one in (optim.Adam(lr=0.5), optimizer):
            steps, lr = one.step_count, one.lr
            with pytest.raises(error, match=text):
                one.load_state_dict(before | change)
            assert one.step_count == steps and one.lr == lr
        fit(model, optimizer, 1)

    def test_schedules_that_are_impossible(self):
        model, optimizer = make(), optim.Adam(lr=schedules.Linear(0.1, 9))
        fit(model, optimizer, 1)
        state = optimizer.state_dict()
        assert state["hyper_parameters"]["lr"] == {
            "type": "Linear",
            "start": 0.1,
            "steps": 9,
            "end": 0.0,
        }
        for lr in (
            {"type": "Lambda"},
            {"type": 3},
            {"type": "Linear"},
            {"type": "Linear", "start": -1.0, "steps": 9, "end": 0.0},
            {"type": "Linear", "start": 0.1, "steps": 9, "more": 0.0},
            {"type": "Warmup", "schedules": []},
        ):
            with pytest.raises((TypeError, ValueError), match=r"^lr"):
                optim.Adam().load_state_dict(
                    state | {"hyper_parameters": state["hyper_parameters"] | {"lr": lr}}
                )

    def test_no_optimizer_in_the_file(self, tmp_path):
        make().build(6).save(tmp_path / "m")
        with pytest.raises(fnn.ModelFileError, match="m: has no optimizer; expected a file of"):
            fnn.load(tmp_path / "m", optimizer=True)
        with pytest.raises(TypeError, match="optimizer: expected True or False"):
            fnn.load(tmp_path / "m", optimizer=optim.Adam())


class TestWarning:
    @pytest.fixture
    def path(self, tmp_path):
        model, optimizer = make(), optim.SGD(lr=0.1, momentum=0.9)
        fit(model, optimizer, 1)
        model.save(tmp_path / "m", optimizer=optimizer)
        return tmp_path / "m"

    @pytest.mark.parametrize("wanted", [False, True])
    def test_a_fit_that_starts_another_optimizer_says_so(self, path, wanted):
        model = fnn.load(path, optimizer=True)[0] if wanted else copy.copy(fnn.load(path))
        with pytest.warns(
            UserWarning, match=r"starts a new Adam\(\), .* SGD \(5 steps\)"
        ) as caught:
            fit(model, None, 1)
        assert caught[0].filename == __file__
        fit(model, None, 1)  # an Adam goes on from an Adam: nothing to say

    def test_nothing_to_say(self, path):
        model, optimizer = fnn.load(path, optimizer=True)
        fit(model, optimizer, 1)
        fit(model, None, 1)
        fit(fnn.load(path), optim.Adam(), 1)
        model.save(path)
        fit(fnn.load(path), None, 1)


class TestHistory:
    def test_comes_back(self, tmp_path):
        model = make()
        model.build(6).save(tmp_path / "m")
        assert fnn.load(tmp_path / "m").history is None

        class Adds(fnn.Callback):
            def on_epoch_end(self, model, epoch, record):
                if epoch:
                    record |= {"x": [1, None, "a"], "y": np.inf}

        fit(model, optim.SGD(lr=0.0), 9, patience=2, callbacks=[Adds()])
        model.save(tmp_path / "m")
        history = fnn.load(tmp_path / "m").history
        assert type(history) is fnn.History and str(dict(history)) == str(dict(model.history))
        assert (history.epochs, history.best_epoch, history.stopped_early) == (3, 0, True)

    def test_what_no_file_can_hold(self, tmp_path):
        model = make()
        fit(model, None, 1)
        model.history["x"] = [object()]
        with pytest.raises(ValueError, match=r"history: expected .* before saving, del model"):
            model.save(tmp_path / "m")
        model.history["x"] = ["x" * 101_000_000]  # safetensors reads no header of 100 MB
        with pytest.raises(ValueError, match=r"history: expected one that a file can hold, got "):
            model.save(tmp_path / "m")
        del model.history["x"]
        model.save(tmp_path / "m")


def test_a_warning_is_an_error_in_these_tests():
    """So those that expect none above would fail."""
    with pytest.raises(UserWarning):
        warnings.warn("x", UserWarning, stacklevel=1)
