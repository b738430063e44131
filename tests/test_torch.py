"""Models as modules of torch, and back: outputs and gradients agree, and nothing is shared."""

import copy
import pickle
import re

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_close
from exchanged import CASES, built
from pyfast_nn.graph import Graph
from pyfast_nn.models import engine_of

pytestmark = pytest.mark.once
torch = pytest.importorskip("torch", reason="what models are exchanged with")
nn = torch.nn


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


BOUND = {"float64": 1e-12, "float32": 2e-5}


def our_name(name):
    """Torch's names, but for its weight norm, and with the layers of recurrent ones in front."""
    for i, own in enumerate(("weight_g", "weight_v")):
        name = name.replace(f"parametrizations.weight.original{i}", own)
    return re.sub(r"(\w+_[ih]h)_(l\d+\w*)$", r"\2.\1", name)


def as_ours(layer, grad, gradient):
    """What torch has, in the order of our axes."""
    if layer.kind in ("embedding", "positions"):
        return grad
    if gradient.ndim == 4 and isinstance(layer, fnn.ConvTranspose2d):
        parts = [part.transpose(2, 3, 0, 1) for part in np.split(grad, layer.groups)]
        return np.concatenate(parts, axis=3)[::-1, ::-1]
    if gradient.ndim == 4:
        return grad.transpose(2, 3, 1, 0)
    return grad.reshape(gradient.T.shape).T


def assert_alike(model, module, X, *, training=False):
    """Outputs, and gradients in parameters and X of their product with anything."""
    dtype = model.dtype.name
    x = torch.tensor(X, dtype=getattr(torch, dtype), requires_grad=True)
    module.train(training).zero_grad()
    theirs = module(x)
    out, pullback = model.vjp(X, training=training)
    dout = np.random.default_rng(0).normal(size=out.shape)
    dparameters, dX = pullback(dout)
    theirs.backward(torch.tensor(dout, dtype=theirs.dtype))
    dx = torch.zeros_like(x) if x.grad is None else x.grad  # of codes, say
    pairs = [(out, theirs.detach().numpy()), (dX, dx.numpy())]
    engine = engine_of(model)
    ours = engine.named_parameters(dparameters)
    named = module.named_parameters(remove_duplicate=False)
    state = {our_name(name): each for name, each in named}
    for name, gradient in ours.items():
        grad = state[name].grad
        grad = torch.zeros(state[name].shape) if grad is None else grad
        grad = grad.to(theirs.dtype).numpy()
        pairs.append((gradient, as_ours(engine.layer_at(name.rpartition(".")[0]), grad, gradient)))
        assert state[name].requires_grad == (name in engine.trained_parameters())
    for actual, expected in pairs:
        assert actual.shape == expected.shape and actual.dtype == expected.dtype
        scale = np.abs(expected).max(initial=1.0)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=BOUND[dtype] * scale)


@pytest.mark.parametrize("case", CASES)
def test_there_and_back(case, dtype, rng):
    model = built(CASES[case], dtype, rng)
    module = model.to_torch()
    assert not module.training
    names = {*model.named_parameters(), *model.named_state()}
    of_torch = {our_name(name) for name in module.state_dict() if "num_batches" not in name}
    assert names == of_torch or (case == "tied" and names < of_torch)
    X = rng.normal(size=(9, 6)).astype(dtype)
    assert_alike(model, module, X)
    back = fnn.from_torch(module)
    assert back.dtype == model.dtype and back.in_features == 6
    assert described(back) == described(model)
    np.testing.assert_array_equal(back.parameters, model.parameters)
    assert_close(back.state, model.state, dtype)
    assert_alike(back, module, X)


def described(model):
    """What the core knows of the layers; of constraints a module does not."""
    places = Graph(model.layers, model.in_features).described(model.dtype)
    return [place | {"max_norm": 0.0} for place in places]


CHANNELS_IN_FRONT = {
    "images": (
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(4, 6, (1, 2), (1, 2), groups=2, bias=False), nn.PReLU(6)),
            *(nn.ConvTranspose2d(6, 4, (3, 2), 2, 1, 1, 2), nn.Tanh(), nn.AvgPool2d((2, 1))),
            *(nn.Flatten(), nn.Linear(36, 3)),
        ),
        (7, 9, 2),
    ),
    "signals": (
        lambda: nn.Sequential(
            *(nn.Conv1d(2, 4, 3, padding="same"), nn.GELU(), nn.AvgPool1d(2)),
            *(nn.Sequential(nn.Conv1d(4, 3, 2, dilation=2), nn.Dropout()), nn.Flatten()),
            nn.Linear(6, 3),
        ),
        (9, 2),
    ),
}


@pytest.mark.filterwarnings("ignore:from_torch")
@pytest.mark.parametrize("case", CHANNELS_IN_FRONT)
def test_channels_in_front(case, rng, dtype):
    """Ours are last: what a model takes has other axes, and what it puts out is the same."""
    make, in_shape = CHANNELS_IN_FRONT[case]
    torch.manual_seed(0)
    module = make().to(getattr(torch, dtype)).eval()
    model = fnn.from_torch(module, in_shape=in_shape)
    X = rng.normal(size=(5, *in_shape)).astype(dtype)
    expected = module(torch.tensor(np.moveaxis(X, -1, 1))).detach().numpy()
    assert_close(model.forward(X), expected, dtype, 4)
    back = fnn.from_torch(model.to_torch(), in_shape=in_shape)
    np.testing.assert_array_equal(back.parameters, model.parameters)


def older_weight_norm():
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(nn.Linear(6, 4))


# Modules of torch, and what they become.
MODULES = {
    "Linear": (lambda: nn.Linear(6, 4), "Dense(4)"),
    "weight_norm": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)),
        "WeightNorm(Dense(4))",
    ),
    "weight_norm, the older one": (older_weight_norm, "WeightNorm(Dense(4))"),
    "Identity": (lambda: nn.Identity(), "Identity()"),
    "Flatten": (lambda: nn.Flatten(), "Flatten()"),
    "ReLU": (lambda: nn.ReLU(inplace=False), "ReLU()"),
    "ReLU6": (lambda: nn.ReLU6(), "Hardtanh(min_val=0.0, max_val=6.0)"),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.2), "LeakyReLU(negative_slope=0.2)"),
    "ELU": (lambda: nn.ELU(1.5), "ELU(alpha=1.5)"),
    "Softplus": (lambda: nn.Softplus(2.0, threshold=30), "Softplus(beta=2.0)"),
    "GELU": (lambda: nn.GELU(), "GELU()"),
    "GELU(tanh)": (lambda: nn.GELU("tanh"), "GELU(approximate='tanh')"),
    "SiLU": (lambda: nn.SiLU(), "SiLU()"),
    "Tanh": (lambda: nn.Tanh(), "Tanh()"),
    "Hardtanh": (lambda: nn.Hardtanh(-0.5, 2), "Hardtanh(min_val=-0.5, max_val=2.0)"),
    "Sigmoid": (lambda: nn.Sigmoid(), "Sigmoid()"),
    "Softmax": (lambda: nn.Softmax(-1), "Softmax()"),
    "PReLU": (lambda: nn.PReLU(6, 0.1), "PReLU()"),
    "Dropout": (lambda: nn.Dropout(0.25), "Dropout(0.25)"),
    "LayerNorm": (lambda: nn.LayerNorm(6, 0.1), "LayerNorm(eps=0.1)"),
    "LayerNorm((6,))": (
        lambda: nn.LayerNorm((6,), elementwise_affine=False),
        "LayerNorm(affine=False)",
    ),
    "RMSNorm": (lambda: nn.RMSNorm(6), "RMSNorm()"),
    "RMSNorm(eps)": (lambda: nn.RMSNorm(6, 0.1, False), "RMSNorm(eps=0.1, affine=False)"),
    "GroupNorm": (lambda: nn.GroupNorm(3, 6), "GroupNorm(3)"),
    "GroupNorm(eps)": (
        lambda: nn.GroupNorm(2, 6, 0.1, False),
        "GroupNorm(2, eps=0.1, affine=False)",
    ),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(6, 0.1, 0.3), "BatchNorm(momentum=0.3, eps=0.1)"),
    "BatchNorm1d(affine)": (lambda: nn.BatchNorm1d(6, affine=False), "BatchNorm(affine=False)"),
    "Sequential": (
        lambda: nn.Sequential(nn.Linear(6, 3), nn.Sequential(nn.Tanh())),
        "[Dense(3), [Tanh()]]",
    ),
}


def randomised(module, dtype, rng):
    module = module.to(getattr(torch, dtype))
    with torch.no_grad():
        for each in module.parameters():
            each.copy_(torch.tensor(rng.normal(size=each.shape)))
        for each in module.buffers():
            each.copy_(torch.tensor(rng.uniform(0.5, 2, each.shape)))
    return module


@pytest.mark.parametrize("case", MODULES)
def test_modules_of_torch(case, dtype, rng):
    make, expected = MODULES[case]
    module = randomised(
        nn.Sequential(make(), nn.Linear(make()(torch.ones(2, 6)).shape[1], 3)), dtype, rng
    )
    model = fnn.from_torch(module)
    assert repr(model.layers) == f"({expected}, Dense(3))" and model.built
    X = rng.normal(size=(7, 6)).astype(dtype)
    assert_alike(model, module, X)
    if "Dropout" not in case:
        assert_alike(model, module, X, training=True)


def test_all_is_copied(rng):
    model = built(CASES["BatchNorm"], "float64", rng)
    module = model.to_torch()
    back = fnn.from_torch(module)
    before = model.parameters.copy(), model.state.copy()
    with torch.no_grad():
        for each in (*module.parameters(), *module.buffers()):
            each.zero_()
    for each in (model, back):
        np.testing.assert_array_equal(each.parameters, before[0])
        np.testing.assert_array_equal(each.state, before[1])
    back = fnn.from_torch(module)
    back.parameters += 1
    assert not any(each.any() for each in module.parameters())


@pytest.mark.parametrize("momentum", [0.1, 0.4])
def test_a_step_of_training(momentum, dtype, rng):
    """The same step, and the same running statistics: momentum means what torch means."""
    module = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8, momentum=momentum), nn.Tanh(), nn.Linear(8, 3)
    )
    module = module.to(getattr(torch, dtype))
    model = fnn.from_torch(module)
    X, y = rng.normal(size=(20, 4)).astype(dtype), rng.integers(0, 3, 20)
    sgd = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(3):
        sgd.zero_grad()
        nn.functional.cross_entropy(module(torch.tensor(X)), torch.tensor(y)).backward()
        sgd.step()
    model.fit(
        *(X, y),
        loss="cross_entropy",
        optimizer=fnn.optim.SGD(lr=0.1),
        epochs=3,
        batch_size=20,
        shuffle=False,
    )
    theirs = module.state_dict()
    for name, view in (model.named_parameters() | model.named_state()).items():
        np.testing.assert_allclose(
            view.T, theirs[name].numpy(), rtol=0, atol=BOUND[dtype] * 10, err_msg=name
        )


@pytest.mark.parametrize("given", ["float32", "float64"])
def test_input_layers_compute_in_float64(given, rng):
    model = fnn.Sequential([fnn.Rescale(0.1), fnn.Standardize(), fnn.Dense(2)])
    X = (1e4 + rng.normal(size=(50, 3))).astype(given)
    model.fit(X, rng.integers(0, 2, 50), loss="cross_entropy", epochs=1)
    out = model.to_torch()(torch.tensor(X))
    assert out.dtype == torch.float32
    assert_close(out.detach().numpy(), model.forward(X), "float32", 3)


def test_random_layers_act_in_training(rng):
    model = fnn.Sequential([fnn.GaussianNoise(0.5), fnn.Dropout(0.25)]).build(1000)
    module = model.to_torch()
    x = torch.ones(100, 1000)
    assert torch.equal(module(x), x)
    noisy = module.train()(x)
    assert 0.24 < float((noisy == 0).float().mean()) < 0.26
    assert 0.49 < float(noisy[noisy != 0].std()) * 0.75 < 0.51


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (fnn.RandomFlip(vertical=True), (2, 3, 1)),
        (fnn.RandomFlip(), (3, 2)),
        (fnn.RandomShift(1), (2, 3, 1)),
        (fnn.RandomCrop((1, 2), 1), (2, 3, 1)),
        (fnn.RandomCrop(2), (5, 2)),
        (fnn.CutOut(2), (3, 2, 1)),
        (fnn.CutOut(1), (4, 2)),
        (fnn.CutOut(3), (1, 4, 1)),
    ],
    ids=repr,
)
def test_augmentation(layer, shape):
    """In training what comes out is among what ours puts out, each as often."""
    model = fnn.Sequential([layer]).build(shape)
    module = model.to_torch().train()
    n = 6000
    X = np.broadcast_to(np.arange(1.0, 1 + np.prod(shape)).reshape(shape), (n, *shape))
    outs = [
        model.forward(X, training=True).reshape(n, -1),
        module(torch.tensor(X.astype(np.float32))).numpy().reshape(n, -1),
    ]
    kinds, which = np.unique(np.concatenate(outs), axis=0, return_inverse=True)
    ours, theirs = (np.bincount(part, minlength=len(kinds)) for part in np.split(which.ravel(), 2))
    assert len(kinds) > 1 and ours.min() > 0 < theirs.min()
    assert (np.abs(ours - theirs) < 6 * np.sqrt(ours + theirs)).all()


def test_modules_that_stand_in_two_places(dtype, rng):
    twice = nn.Linear(5, 5)
    module = nn.Sequential(twice, nn.Tanh(), nn.Sequential(twice, nn.ReLU()), twice)
    module = randomised(module, dtype, rng)
    model = fnn.from_torch(module)
    assert model.layers[0] is model.layers[3] and model.n_parameters == 30
    assert list(model.named_parameters()) == ["0.weight", "0.bias"]
    X = rng.normal(size=(7, 5)).astype(dtype)
    expected = module(torch.tensor(X)).detach().numpy()
    np.testing.assert_allclose(model.forward(X), expected, rtol=0, atol=BOUND[dtype] * 50)
    there = model.to_torch()
    assert there[0] is there[3] is there[2][0]


def test_what_is_not_trained():
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    model = fnn.from_torch(module)
    assert [layer.trainable for layer in model.layers] == [False, True, True]
    model.layers[2].trainable = False
    assert not any(each.requires_grad for each in model.to_torch().parameters())
    module[2].bias.requires_grad_(False)
    with pytest.raises(ValueError, match=r"^module 2: expected parameters that all require"):
        fnn.from_torch(module)


@pytest.mark.parametrize(
    ("make", "warning"),
    [
        (lambda: nn.Linear(4, 3, bias=False), r"0\.bias is 0 at first, and learns"),
        (lambda: nn.LayerNorm(4, bias=False), r"0\.bias is 0 at first, and learns"),
        (lambda: nn.PReLU(init=0.3), r"0\.weight becomes 4 numbers, one for each feature"),
    ],
)
def test_what_learns_more_here(make, warning, dtype, rng):
    module = nn.Sequential(make(), nn.Linear(make()(torch.ones(1, 4)).shape[1], 2))
    module = module.to(getattr(torch, dtype))
    with pytest.warns(UserWarning, match=warning):
        model = fnn.from_torch(module)
    X = rng.normal(size=(7, 4)).astype(dtype)
    expected = module(torch.tensor(X)).detach().numpy()
    np.testing.assert_allclose(model.forward(X), expected, rtol=0, atol=BOUND[dtype])


@pytest.mark.parametrize(
    "layers",
    [
        [fnn.ReLU(), fnn.GroupNorm(2)],
        [fnn.Concatenate(fnn.Identity(), fnn.Tanh()), fnn.Dense(3)],
        [fnn.PReLU()],
        [fnn.Standardize(), fnn.Tanh()],
    ],
    ids=repr,
)
def test_how_many_features_come_in(layers):
    model = fnn.Sequential(layers).build(4)
    if len(model.state):
        model.state = np.ones(len(model.state))
    assert fnn.from_torch(model.to_torch()).in_features == 4


def test_without_parameters():
    assert not fnn.from_torch(nn.Sequential(nn.ReLU(), nn.Softmax(1))).built
    model = fnn.from_torch(nn.Tanh(), seed=7)
    assert model.layers == (fnn.Tanh(),) and model.seed == 7


class Own(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def hooked():
    module = nn.Linear(3, 3)
    module.register_forward_hook(lambda *_: None)
    return module


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: 3, TypeError, r"^module: expected a torch\.nn\.Module, got 3"),
        (lambda: nn.Conv2d(1, 1, 3), ValueError, r"^layers\[1\]: expected examples of shape"),
        (lambda: nn.Conv2d(1, 1, 3, padding_mode="circular"), ValueError, r"padding_mode='zeros'"),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 1, 3), nn.Linear(3, 3)),
            ValueError,
            r"^module 1\.1: expected Flatten in front of Linear",
        ),
        (lambda: nn.LogSoftmax(1), NotImplementedError, r"^module 1: .*takes logits$"),
        (lambda: Own(3, 3), NotImplementedError, r"^module 1: .*got Own"),
        (lambda: nn.Softmax(0), ValueError, r"^module 1: expected Softmax\(dim=1\)"),
        (lambda: nn.Softplus(threshold=5), ValueError, r"^module 1: expected a threshold"),
        (lambda: nn.Flatten(0), ValueError, r"^module 1: expected Flatten\(\)"),
        (lambda: nn.Dropout(1.0), ValueError, r"^module 1: rate: expected"),
        (lambda: nn.LayerNorm((3, 3)), ValueError, r"^module 1: .*one axis"),
        (lambda: nn.BatchNorm1d(3, momentum=None), ValueError, r"^module 1: .*calibrate"),
        (
            lambda: nn.BatchNorm1d(3, track_running_stats=False),
            ValueError,
            r"^module 1: .*running statistics",
        ),
        (hooked, ValueError, r"^module 1: expected one without hooks"),
        (lambda: nn.Linear(3, 3).half(), TypeError, r"got float16 and float32; module\.float\(\)"),
        (lambda: nn.Linear(5, 3), ValueError, r"^module: expected weight of shape \(3, 3\).*1\b"),
        (
            lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 3), dim=1),
            ValueError,
            r"^module 1: .*weight_norm with dim=0",
        ),
        (lambda: nn.utils.spectral_norm(nn.Linear(3, 3)), ValueError, r"^module 1: .*hooks"),
        (
            lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)),
            (ValueError, NotImplementedError),
            r"^module 1: ",
        ),
    ],
)
def test_what_cannot_be_taken(make, error, message):
    module = make()
    with pytest.raises(error, match=message):
        fnn.from_torch(
            nn.Sequential(nn.Linear(3, 3), module) if isinstance(module, nn.Module) else module
        )


def test_a_convolution_in_front_wants_to_know_the_shape_of_images():
    with pytest.raises(ValueError, match=r"^in_shape: expected the shape of one example"):
        fnn.from_torch(nn.Conv2d(1, 1, 3))


def test_not_built():
    with pytest.raises(RuntimeError, match="not built"):
        fnn.Sequential([fnn.Dense(3)]).to_torch()


def test_modules_of_ours_are_copied_and_pickled(rng, tmp_path):
    model = fnn.Sequential([fnn.Rescale(), fnn.Dense(4), fnn.Residual([fnn.Scale()], fnn.Dense(4))])
    module = model.build(3).to_torch()
    x = torch.tensor(rng.normal(size=(5, 3)), dtype=torch.float32)
    torch.save(module, tmp_path / "m.pt")
    loaded = torch.load(tmp_path / "m.pt", weights_only=False)
    for each in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), loaded):
        assert torch.equal(each(x), module(x))
        each.load_state_dict(module.state_dict())
