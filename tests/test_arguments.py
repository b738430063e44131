"""Arguments as people write them: what has one meaning is taken, the rest named with its cure."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest

import pyfast_nn as fnn
from pyfast_nn import checks
from pyfast_nn.optim import SGD, Adam
from pyfast_nn.optim.rule import hyper_parameters

pytestmark = pytest.mark.once


def digits(n=200):
    X, y = fnn.datasets.load_digits()
    return X[:n] / 16, y[:n]


def network(*layers, **options):
    return fnn.Sequential([fnn.Dense(8), fnn.ReLU(), *layers, fnn.Dense(10)], **options)


# ---------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    "value",
    [
        *(32, 32.0, np.int8(32), np.uint64(32), np.float16(32), np.float64(32), np.longdouble(32)),
        *(np.array(32), np.array(32.0), np.array(32, np.uint8)),
    ],
)
def test_an_integer_is_any_integral_number(value):
    result = checks.integer(value, "x", minimum=1)
    assert type(result) is int and result == 32


@pytest.mark.parametrize(
    "value",
    [
        *(True, np.True_, np.array(True), 2.5, np.float32(2.5), np.inf, np.nan, -np.inf, "3", None),
        *(np.array([3]), np.array(2.5), 3 + 0j, [3]),
    ],
)
def test_what_is_no_integer(value):
    with pytest.raises(TypeError, match="x: expected an integer, got"):
        checks.integer(value, "x", minimum=1)


@pytest.mark.parametrize(
    "value", [0.5, np.float32(0.5), np.float16(0.5), np.longdouble(0.5), np.array(0.5)]
)
def test_hyper_parameters_are_any_real_numbers(value):
    p, q = np.ones(3), np.ones(3)
    for params, lr in ((p, value), (q, 0.5)):
        optimizer = SGD(params, lr=lr, momentum=lr, weight_decay=lr)
        optimizer.step(np.ones(3))
        assert type(optimizer.lr) is float and optimizer.lr == 0.5
    np.testing.assert_array_equal(p, q)
    assert fnn.LeakyReLU(value) == fnn.LeakyReLU(0.5)
    assert fnn.schedules.Constant(value) == fnn.schedules.Constant(0.5)


@pytest.mark.parametrize(
    "value", [True, np.True_, np.array(True), "0.5", 1j, np.array([0.5]), None]
)
def test_what_is_no_number(value):
    with pytest.raises(TypeError, match="x: expected a number, got"):
        checks.real(value, "x")


def test_sizes_of_a_fit_may_be_integral_floats():
    X, y = digits()
    models = [network(seed=1), network(seed=1.0)]
    cosine = fnn.schedules.Cosine(0.1, 10.0)
    assert cosine(3.0) == cosine(3) and (cosine(np.arange(5.0)) == cosine(np.arange(5))).all()
    models[0].fit(X, y, loss="cross_entropy", epochs=2, batch_size=32)
    models[1].fit(X, y, loss="cross_entropy", epochs=2.0, batch_size=np.float32(32))
    np.testing.assert_array_equal(models[0].parameters, models[1].parameters)
    with pytest.raises(TypeError, match=r"epochs: expected an integer, got True \(bool\)"):
        models[0].fit(X, y, epochs=True)


def test_a_seed_of_none_is_drawn_and_kept():
    models = [network(seed=None).build(64) for _ in range(2)]
    assert models[0].seed != models[1].seed
    again = network(seed=models[0].seed).build(64)
    np.testing.assert_array_equal(models[0].parameters, again.parameters)
    assert eval(repr(models[0]), vars(fnn)).seed == models[0].seed
    y = np.arange(100) % 2
    draws = [fnn.datasets.stratified_split(y, [0.5, 0.5], seed=None)[0] for _ in range(2)]
    assert (draws[0] != draws[1]).any()
    assert (
        fnn.datasets.make_xor(20, noise=0.1, seed=None)[0]
        != fnn.datasets.make_xor(20, noise=0.1, seed=None)[0]
    ).any()
    fnn.CurvatureMonitor(np.ones((3, 2)), np.zeros(3), seed=None)


# ---------------------------------------------------------------------- shapes


def test_images_get_the_hint_of_how_to_flatten_them():
    images, y = np.zeros((20, 8, 8)), np.zeros(20, int)
    hint = r"X: expected shape \(n, 64\), .*got \(20, 8, 8\); X.reshape\(-1, 64\) is that"
    model = network().build(64)
    for call in (
        lambda: model.fit(images, y, loss="cross_entropy"),
        lambda: model.forward(images),
        lambda: model.evaluate(images, y, loss="cross_entropy"),
    ):
        with pytest.raises(ValueError, match=hint):
            call()
    with pytest.raises(ValueError, match=r"y: expected shape \(20, 8\), .*; Flatten\(\) or"):
        network().fit(images, y, loss="cross_entropy")
    Xt = np.zeros((20, 64))
    name = r"validation_data\[0\]"
    with pytest.raises(ValueError, match=rf"; {name}.reshape\(-1, 64\) is that"):
        model.fit(Xt, y, loss="cross_entropy", validation_data=(images, y))


# ---------------------------------------------------------------------- attributes

MODEL = network()
ADAM = Adam()


@pytest.mark.parametrize(
    ("thing", "name", "message"),
    [
        (MODEL, "trainable", r"'trainable'; layers are .*model.layers\[0\].trainable = False"),
        (fnn.Dense(3), "weight", r"'weight'; parameters are .* model.named_parameters\(\)"),
        (fnn.Dense(3), "unit", "Dense has no attribute 'unit'; did you mean units"),
        (ADAM, "learning_rate", "Adam has no attribute 'learning_rate'; did you mean lr"),
        (ADAM, "epsilon", "did you mean eps"),
        (ADAM, "beta_1", "did you mean betas"),
        (ADAM, "weightdecay", "did you mean weight_decay"),
        (SGD(momentum=0.9), "momentun", "did you mean momentum"),
        (fnn.optim.Muon(), "nesterow", "did you mean nesterov"),
        (Adam(np.zeros(3)).param_groups[0], "lr", r'ParamGroup .*; write group\["lr"\]'),
        (Adam(np.zeros(3)).param_groups[0], "learning_rate", "did you mean item lr"),
        (fnn.losses.Huber(), "deltas", "Huber has no attribute 'deltas'; did you mean delta"),
        (fnn.initializers.Normal(), "sdt", "Normal has no attribute 'sdt'; did you mean std"),
        (MODEL, "weights", "Sequential has no attribute 'weights'; did you mean named_parameters"),
        (MODEL, "coefs_", "did you mean named_parameters"),
        (MODEL, "compile", "did you mean fit"),
        (MODEL, "sumary", "did you mean summary"),
        (MODEL, "eval", "no modes: fit trains"),
        (ADAM, "zero_grad", "; step is given the gradients, and keeps none"),
        (MODEL, "score", "did you mean evaluate"),
        (MODEL, "loss_curve_", "did you mean history"),
        (MODEL, "epoch_trained", "did you mean epochs_trained"),
        (MODEL, "nonsense_at_all", "Sequential has no attribute 'nonsense_at_all'$"),
        (fnn.CurvatureMonitor(np.ones((3, 2)), np.ones(3)), "every", "has no attribute 'every'"),
        (fnn.ReduceLROnPlateau(SGD()), "patience", "has no attribute 'patience'"),
    ],
)
def test_unknown_attributes(thing, name, message):
    for access in (lambda: setattr(thing, name, 1), lambda: getattr(thing, name)):
        with pytest.raises(AttributeError, match=message):
            access()
    assert not hasattr(thing, name)


def test_operators_of_models_have_no_other_attributes():
    X, y = digits(50)
    H = fnn.curvature.Hessian(network(), X, y, loss="cross_entropy")
    with pytest.raises(AttributeError, match="Hessian has no attribute 'damping'"):
        H.damping = 0.1
    assert H.shape[0] == len(H @ np.ones(H.shape[1]))
    np.testing.assert_allclose((2 * H) @ np.ones(H.shape[1]), 2 * (H @ np.ones(H.shape[1])))


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (fnn.Dense(3), "units"),
        (fnn.losses.Huber(), "delta"),
        (fnn.initializers.Normal(), "std"),
        (fnn.schedules.Constant(0.1), "value"),
        (fnn.ReLU(), "kind"),
    ],
)
def test_what_does_not_change(thing, name):
    before = getattr(thing, name)
    with pytest.raises(AttributeError, match=rf"{name}: a \w+ does not change; make a new one"):
        setattr(thing, name, 4)
    assert getattr(thing, name) == before


def test_what_may_be_assigned():
    model = network()
    for name in ("loss", "classes_", "epochs_trained", "history", "feature_names_in_"):
        setattr(model, name, getattr(model, name))
    optimizer = Adam()
    for name in (*hyper_parameters(optimizer), "maximize", "clip_norm", "accumulate"):
        setattr(optimizer, name, getattr(optimizer, name))


class Model(fnn.Sequential):
    """A user's own class, with attributes of its own."""

    kept = 1

    def __init__(self, *layers):
        super().__init__(layers)
        self.note = "mine"


class Counter(fnn.Callback):
    def __init__(self):
        self.seen = 0

    def on_epoch_end(self, model, epoch, record):
        self.seen += 1


class TwoValues(fnn.initializers.Initializer):
    def __init__(self, value):
        self.value = value

    def get_config(self):
        return {"value": self.value}

    def fill(self, out, fan_in, fan_out, seed, stream):
        out[...] = self.value


def test_classes_of_users_are_free():
    model = Model(fnn.Dense(3, init=TwoValues(0.5)), fnn.ReLU(), fnn.Dense(10))
    model.other, counter = 3, Counter()
    X, y = digits()
    model.fit(X, y, loss="cross_entropy", epochs=2, callbacks=counter)
    counter.more = 1
    assert (model.note, model.other, model.kept, counter.seen) == ("mine", 3, 1, 2)
    with pytest.raises(AttributeError, match="Model has no attribute 'sumary'; did you mean summ"):
        model.sumary()


def test_history_is_a_dict_of_lists():
    history = fit().history
    for name, message in (
        ("history", r'itself: history\["loss"\]'),
        ("loss", r'history\["loss"\]'),
    ):
        for access in (lambda: getattr(history, name), lambda: setattr(history, name, 1)):  # noqa: B023
            with pytest.raises(
                AttributeError, match=f"History has no attribute '{name}'; .*{message}"
            ):
                access()
    with pytest.raises(
        KeyError, match=r"expected one of loss, accuracy, .*, got 'acc'; did you mean acc"
    ):
        history["acc"]
    assert history.get("acc") is None and "acc" not in history


def test_copies_and_pickles_do_not_ask_for_more():
    for thing in (
        fit().history,
        MODEL,
        ADAM,
        Adam(np.zeros(3)),
        fnn.Dense(3),
        fnn.losses.Huber(2.0),
        Counter(),
    ):
        for again in (copy.copy(thing), copy.deepcopy(thing), pickle.loads(pickle.dumps(thing))):
            assert type(again) is type(thing)


# ---------------------------------------------------------------------- calls


@pytest.mark.parametrize(
    ("call", "form", "cure"),
    [
        (lambda: fnn.Sequential(fnn.Dense(3), fnn.ReLU()), "layers, ", "Sequential([Dense(3), Re"),
        (lambda: Adam(np.zeros(3), 1e-3), "params=None, *, lr=0.001, ", "; write lr=0.001"),
        (lambda: SGD(np.zeros(3), 0.1, 0.9), "params=None, *, lr=", "; write lr=0.1, momentum=0.9"),
        (lambda: Adam(learning_rate=0.1), "params=None, *, lr", "; did you mean lr?"),
        (lambda: SGD(momentun=0.1), "params=None, *, lr", "; did you mean momentum?"),
        (lambda: Adam(clip_nrom=0.1), "params=None, *, lr", "; did you mean clip_norm?"),
        (lambda: fnn.Dense(10, activation="relu"), "units, *, init", "own: Dense(10), ReLU()"),
        (lambda: fnn.Dense(10, "tanh"), "units, *, init", "own: Dense(10), Tanh()"),
        (lambda: fnn.Dense(10, fnn.ELU(2.0)), "units, *, init", "Dense(10), ELU(alpha=2.0)"),
        (lambda: fnn.Dense(units=10, activation="gelu"), "units, *, init", "Dense(10), GELU()"),
        (lambda: fnn.Dense(784, 256), "units, *, init", "found out from X: Dense(256)"),
        (lambda: fnn.Dense(256, input_shape=(784,)), "units, *, init", "from X: Dense(256)"),
        (lambda: fnn.Dense(in_features=7, out_features=5), "units, *, init", "from X: Dense(5)"),
        (lambda: fnn.Dense(5, bias=False), "units, *, init", "it always has a bias"),
        (lambda: fnn.Dense(5, kernel_initializer="zeros"), "units, *, ini", "did you mean init?"),
        (lambda: fnn.Dense(), "units, *, init", "missing a required argument: 'units'"),
        (lambda: fnn.losses.CrossEntropy(0.1), "*, label_sm", "; write label_smoothing=0.1"),
        (lambda: fnn.schedules.Linear(0.1, 10, 0.0), "start, steps, *, end=0.0", "write end=0.0"),
        (lambda: fnn.LeakyReLU(slope=0.1), "negative_slope=0.01", "did you mean negative_slope?"),
        (lambda: fnn.ReduceLROnPlateau(SGD(), "loss"), "optimizer, *, mon", "write monitor='loss'"),
        (lambda: MODEL.fit(*digits(), "mse"), "X, y=None, *", "; write loss='mse'"),
        (lambda: MODEL.fit(*digits(), "mse", "sgd", 3), "X, y=None, *", "'sgd', epochs=3"),
        (lambda: MODEL.fit(*digits(), epoch=3), "X, y=None, *", "; did you mean epochs?"),
        (lambda: MODEL.fit(*digits(), batchsize=3), "X, y=None, *", "; did you mean batch_size?"),
        (lambda: MODEL.fit(*digits(), learning_rate=1.0), "X, y=None", "; did you mean optimizer?"),
        (lambda: MODEL.evaluate(*digits(), "mse"), "X, y, *, loss=None", "; write loss='mse'"),
        (lambda: fnn.Sequential([fnn.Dense(2)], "float64"), "layers, *", "write dtype='float64'"),
        (lambda: fnn.Sequential([fnn.Dense(2)], random_state=0), "layers, *", "did you mean seed?"),
    ],
)
def test_wrong_calls_show_the_right_form(call, form, cure):
    with pytest.raises(TypeError) as caught:
        call()
    message = str(caught.value)
    kind = message.partition(":")[0]
    assert message.startswith(f"{kind}: expected {kind}({form}"), message
    assert cure in message and f", got {kind}(" in message, message


def test_one_layer_is_no_list():
    with pytest.raises(TypeError, match=r"layers: .*got Dense\(3\).*write \[Dense\(3\)\]"):
        fnn.Sequential(fnn.Dense(3))


def test_errors_within_a_call_stay_what_they_are():
    with pytest.raises(TypeError, match=r"^units: expected an integer, got 2.5 \(float\)$"):
        fnn.Dense(2.5)
    assert "activation" not in str(inspect.signature(fnn.Dense))
    assert list(inspect.signature(Adam).parameters)[:2] == ["params", "lr"]


def test_first_arguments_by_position():
    assert fnn.losses.Quantile(0.9) == fnn.losses.Quantile(q=0.9)
    assert fnn.losses.Huber(2.0) == fnn.losses.Huber(delta=2.0)
    assert fnn.losses.MultiMargin(2.0) == fnn.losses.MultiMargin(margin=2.0)
    assert fnn.LeakyReLU(0.1) == fnn.LeakyReLU(negative_slope=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fnn.Sequential([fnn.Dense(2), fnn.ReLU]), r"layers\[1\]: .*parentheses: ReLU\(\)"),
        (lambda: fnn.Sequential([fnn.Dense(2), "relu"]), r"layers\[1\]: .*; write ReLU\(\)$"),
        (lambda: fnn.Sequential(["dense", 3]), r"layers\[0\]: .*; write Dense\(units\)$"),
        (lambda: fnn.Sequential([64, 10]), r"layers\[0\]: .*; write Dense\(64\)$"),
        (
            lambda: Adam(lr=fnn.schedules.Cosine),
            r"lr: .*class Cosine; .*parentheses: Cosine\(...\)",
        ),
        (lambda: SGD(momentum=fnn.schedules.Linear), r"momentum: .*Linear\(...\)"),
        (lambda: Adam(betas=(fnn.schedules.Linear, 0.9)), r"betas\[0\]: .*Linear\(...\)"),
        (lambda: fnn.Dense(2, init=fnn.initializers.HeNormal), r"init: .*: HeNormal\(\)"),
        (lambda: fnn.Dense(2, bias_init=fnn.initializers.Normal), r"bias_init: .*: Normal\(\)"),
        (lambda: fnn.optim.Muon(fallback=Adam), r"fallback: .*parentheses: Adam\(\)"),
        (lambda: fnn.ReduceLROnPlateau(SGD), r"optimizer: .*parentheses: SGD\(\)"),
        (lambda: fit(loss=fnn.losses.MSE), r"loss: .*parentheses: MSE\(\)"),
        (lambda: fit(optimizer=Adam), r"optimizer: .*Adam\(lr=1e-3\), got .*parentheses: Adam\(\)"),
        (lambda: fit(callbacks=Counter), r"callbacks\[0\]: .*parentheses: Counter\(\)"),
        (lambda: fit(callbacks=[Counter]), r"callbacks\[0\]: .*parentheses: Counter\(\)"),
        (lambda: fit(metrics=[Counter]), r"metrics: .*parentheses: Counter\(\)"),
        (lambda: fit(callbacks=3), "callbacks: expected a list of callbacks, got 3"),
        (lambda: fit(validation_data=np.ones((3, 64))), r"validation_data: expected \(X, y\) or"),
        (lambda: fit(metrics=3), "metrics: expected a list of names or functions, got 3"),
    ],
)
def test_a_class_or_another_thing_for_an_object(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def fit(**options):
    X, y = digits()
    model = network()
    model.fit(X, y, **{"loss": "cross_entropy", "epochs": 2, "verbose": 0} | options)
    return model


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_train_end", "on_batch_end"])
def test_a_hook_that_nothing_calls(hook):
    class Keras(Counter):
        pass

    setattr(Keras, hook, lambda self, *arguments: None)
    known = "on_fit_begin, on_step_end, on_epoch_end, on_epoch_recorded, on_fit_end"
    with pytest.raises(TypeError, match=rf"callbacks\[0\]: .*{known}, got Keras.{hook}"):
        fit(callbacks=[Keras()])


def test_one_for_a_list():
    X, y = digits()
    expected = fit(metrics=["accuracy"], validation_data=(X, y), callbacks=[Counter()])
    model = fit(metrics="accuracy", validation_data=[X, y], callbacks=Counter())
    np.testing.assert_array_equal(model.parameters, expected.parameters)
    assert model.history["val_accuracy"] == expected.history["val_accuracy"]
    top = fit(metrics=lambda t, p: np.mean(t == p), validation_split=0.5).history
    assert top["val_<lambda>"] == top["val_accuracy"]
    assert model.evaluate(X, y, metrics="top_5_accuracy").keys() >= {"top_5_accuracy"}


NAMES = [name for name in fnn.optim.__all__ if name not in ("Optimizer", "as_scipy")]


@pytest.mark.parametrize("name", NAMES)
def test_optimizers_by_name(name):
    cls = getattr(fnn.optim, name)
    if cls is fnn.optim.Muon:  # which has no rule for biases
        with pytest.raises(ValueError, match="fallback"):
            fit(optimizer="muon")
        return
    for spelled in (name, name.lower()):
        np.testing.assert_array_equal(
            fit(optimizer=spelled).parameters, fit(optimizer=cls()).parameters
        )


@pytest.mark.parametrize(
    ("came", "meant"),
    [
        *[("binary_crossentropy", "binary_cross_entropy"), ("MSE", "mse"), ("hubber", "huber")],
        *[("categorical_crossentropy", "cross_entropy"), ("CrossEntropyLoss", "cross_entropy")],
        *[("sparse_categorical_crossentropy", "cross_entropy"), ("nll", "cross_entropy")],
        *[("mean_squared_error", "mse"), ("L1Loss", "mae"), ("bce", "binary_cross_entropy")],
    ],
)
def test_losses_of_other_libraries(came, meant):
    with pytest.raises(ValueError, match=rf"^loss: .*, got '{came}'; did you mean {meant}\?$"):
        fit(loss=came)


def test_near_names():
    with pytest.raises(ValueError, match=r"'glorot_uniform'; did you mean xavier_uniform\?"):
        fnn.Dense(3, init="glorot_uniform")
    with pytest.raises(ValueError, match=r"'acc'; did you mean accuracy\?"):
        fit(metrics="acc", validation_split=0.5)
    with pytest.raises(
        ValueError, match=r"optimizer: expected one of .*sgd, .*; did you mean adamax?"
    ):
        fit(optimizer="adamx")
