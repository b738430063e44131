"""Damaged model files, for test_promise_files.py.

    python mutated.py FOLDER COUNT SEED

Loads COUNT files and more, made from intact ones by the damages below, within memory of 100 times
the size of each plus 256 KiB, and while an audit hook watches. Prints how many were refused and how
many were models.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import tracemalloc
from pathlib import Path

import numpy as np

import pyfast_nn as fnn

NUMBERS = [0, -1, 1, 2, 3, 4, 7, 0.5, 1e3, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63]
NUMBERS += [2**64 - 1, 2**64, 10**40, -(2**63), 1e308, float("nan"), float("inf"), float("-inf")]
TEXTS = [
    "",
    "Dense",
    "WeightNorm",
    "NeuralODE",
    "Conv2d",
    "ReLU",
    "Standardize",
    "Softmax",
    "relu",
    "Layer",
    "Orthogonal",
    "os.system",
    "__class__",
    "float32",
    "f4",
]
TEXTS += ["float64", "float16", "object", "mse", "cross_entropy", "zeros", "he_normal", "pyfast_nn"]
TEXTS += [
    "0f4",
    "f4,f4",
    "\0",
    "ä",
    "\ud800",
    "x" * 1000,
    "../../etc/passwd",
    "0.weight",
    "F32",
    "F64",
    "BF16",
]
# Evaluated as often, and in as much memory, as the file says.
BLOCKS = fnn.NeuralODE, fnn.DeepEquilibrium
LITERALS = [b"NaN", b"-Infinity", b"1e999", b"null", b"true", b"[]", b"{}", b'""', b"-0"]


def intact_models():
    X, y = np.random.default_rng(0).normal(size=(6, 4)), ["no", "yes"] * 3
    plain = [fnn.Dense(3, init="xavier_normal", bias_init=0.5), fnn.ReLU(), fnn.Dense(2)]
    with_settings = [
        *(fnn.Standardize(), fnn.Dense(2, init=fnn.initializers.Orthogonal(gain=2.0))),
        *(fnn.LeakyReLU(0.1), fnn.Dense(2), fnn.GELU(approximate="tanh")),
    ]
    with_blocks = [
        fnn.Residual([fnn.WeightNorm(fnn.Dense(4)), fnn.PReLU()]),
        *(fnn.LayerNorm(), fnn.NeuralODE([fnn.Dense(4), fnn.Tanh()], (0, 1), steps=3)),
        fnn.DeepEquilibrium([fnn.Dense(2, init=0.1), fnn.Tanh()], tol=0.1, max_iter=9),
    ]
    with_positions = [
        *(fnn.Reshape((2, 2)), fnn.Conv1d(4, 2, padding="same"), fnn.MultiHeadAttention(2)),
        *(fnn.GRU(2), fnn.AvgPool1d(2), fnn.Flatten()),
    ]
    for layers, loss in (
        (plain, "cross_entropy"),
        (with_settings, fnn.losses.CrossEntropy(label_smoothing=0.1)),
        (with_blocks, fnn.losses.Triplet(mining="hard")),
        (with_positions, fnn.losses.InfoNCE(0.5)),
    ):
        for dtype in ("float32", "float64"):
            model = fnn.Sequential(layers, dtype=dtype, seed=7)
            optimizer = None
            if layers is with_settings:
                rate = fnn.schedules.Warmup(fnn.schedules.Cosine(0.1, 9), 3)
                optimizer = fnn.optim.Adam(lr=rate, ema=0.9)
            model.fit(X, y, loss=loss, optimizer=optimizer, epochs=1, verbose=0)
            if layers is with_settings:
                model.feature_names_in_ = np.array(["age", "income", "ä", ""], object)
            yield model, optimizer


# ---------------------------------------------------------------------- parts of a file


def cut(raw):
    """The header as a dict, the description within it as a dict, and the tensors' bytes."""
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    return header, json.loads(header["__metadata__"]["pyfast_nn"]), raw[end:]


def join(header, description, body):
    header["__metadata__"]["pyfast_nn"] = dumps(description)
    return with_length(dumps(header).encode(errors="surrogatepass"), body)


def dumps(value):
    return json.dumps(value, ensure_ascii=random.Random(repr(value)).random() < 0.5)


def with_length(header, body):
    return len(header).to_bytes(8, "little") + header + body


def any_value(rng, depth=0):
    kind = rng.randrange(8 if depth < 3 else 5)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind <= 2:
        return rng.choice(NUMBERS)
    if kind <= 4:
        return rng.choice(TEXTS)
    values = [any_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return values if kind < 7 else {rng.choice(TEXTS): value for value in values}


def places(value):
    """Every (container, key) within a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from places(inner)


def change_value(rng, value):
    """Change one thing somewhere within a value."""
    found = list(places(value))
    if not found:
        return
    container, key = rng.choice(found)
    old = container[key]
    what = rng.randrange(6)
    if what == 0:
        del container[key]
    elif what == 1 and isinstance(old, (int, float)) and abs(old) < 2**62:
        container[key] = old + rng.choice([-8, -4, -1, 1, 4, 8, 2**31, 2**40])
    elif what == 2 and isinstance(container, list):
        container.insert(key, old)
    elif what == 3 and isinstance(container, dict):
        container[rng.choice([*TEXTS, *map(str, container)])] = container.pop(key)
    else:
        container[key] = any_value(rng)


# ---------------------------------------------------------------------- damages: raw -> raw


def change_description(rng, raw):
    header, description, body = cut(raw)
    for _ in range(rng.randrange(1, 3)):
        change_value(rng, description)
    return join(header, description, body)


def change_layers(rng, raw):
    """Layers come, go or change; sometimes the tensors still fit."""
    header, description, body = cut(raw)
    layers = description["layers"]
    for _ in range(rng.randrange(1, 3)):
        what = rng.randrange(4)
        if what == 0 and layers:
            layers.pop(rng.randrange(len(layers)))
        elif what == 1:
            name = rng.choice(
                ["ReLU", "Tanh", "Sigmoid", "Softmax", "LeakyReLU", "GELU", "Rescale"]
            )
            layers.insert(rng.randrange(len(layers) + 1), {"type": name})
        elif what == 2:
            units = rng.choice([*NUMBERS, None, "2"])
            layers.append({"type": "Dense", "units": units, "init": None, "bias_init": 0.0})
        elif layers:
            change_value(rng, layers[rng.randrange(len(layers))])
    return join(header, description, body)


def many_layers(rng, raw):
    header, description, body = cut(raw)
    description["layers"] = [{"type": "ReLU"}] * rng.randrange(3000)
    return join(header, description, body)


def change_header(rng, raw):
    """Names, dtypes, shapes and offsets of tensors: overlapping, out of range, of huge sizes."""
    header, description, body = cut(raw)
    for _ in range(rng.randrange(1, 3)):
        change_value(rng, header)
    if not isinstance(header.get("__metadata__"), dict):
        header["__metadata__"] = {}
    return join(header, description, body)


def lie_about_shape(rng, raw):
    """The description, and perhaps the header, tell of sizes that the file does not have."""
    header, description, body = cut(raw)
    huge = rng.choice([2**20, 2**25, 2**30, 2**31 - 1])
    description["in_features"] = huge
    what = rng.randrange(3)
    weights = (tensor for name, tensor in header.items() if name.endswith(".weight"))
    weight = next(tensor for tensor in weights if len(tensor["shape"]) > 1)
    if what > 0:
        weight["shape"][1] = huge
    if what > 1:
        weight["data_offsets"][1] = weight["data_offsets"][0] + huge * 8
    return join(header, description, body)


def duplicate_key(rng, raw):
    header, description, body = cut(raw)
    text = join(header, description, b"")[8:]
    key = rng.choice(["__metadata__", *header])
    twin = f"{json.dumps(key)}:{dumps(rng.choice([header[key], any_value(rng)]))},"
    return with_length(text[:1] + twin.encode(errors="surrogatepass") + text[1:], body)


def deep_nesting(rng, raw):
    header, description, body = cut(raw)
    depth = rng.choice([10, rng.randrange(800, 1000), 5000, 50000])
    text = rng.choice(["[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth])
    inner = json.dumps(description)
    where = rng.randrange(3)
    if where == 0:
        inner = text
    elif where == 1:  # in the place of a value
        at = rng.choice([i for i, c in enumerate(inner) if c == ":"])
        end = min(i for i in range(at, len(inner)) if inner[i] in ",}")
        inner = inner[: at + 1] + text + inner[end:]
    header["__metadata__"]["pyfast_nn"] = inner
    outer = json.dumps(header)
    if where == 2:
        outer = outer.replace(":", ":" + text, 1)
    return with_length(outer.encode(), body)


def literal(rng, raw):
    """What JSON does not know, or another value, in the place of a number."""
    header, description, body = cut(raw)
    text = bytearray(join(header, description, b"")[8:])
    digits = [i for i, c in enumerate(text) if chr(c).isdigit()]
    at = rng.choice(digits)
    text[at : at + 1] = rng.choice(LITERALS)
    return with_length(bytes(text), body)


def change_length(rng, raw):
    length = int.from_bytes(raw[:8], "little")
    wrong = rng.choice([0, 1, length - 1, length + 1, len(raw), 10**8, 2**32, 2**63, 2**64 - 1])
    return wrong.to_bytes(8, "little") + raw[8:]


def change_bytes(rng, raw):
    """Also of the header's text: invalid UTF-8."""
    changed = bytearray(raw)
    end = 8 + int.from_bytes(raw[:8], "little") if rng.random() < 0.8 else len(raw)
    for _ in range(rng.randrange(1, 5)):
        changed[rng.randrange(end)] = rng.choice([0, 0x22, 0x5C, 0x7B, 0xC3, 0xED, 0xFF, 0x30])
    return bytes(changed)


def move_bytes(rng, raw):
    """A stretch is left out, doubled, or put elsewhere."""
    begin, end, to = sorted(rng.randrange(len(raw)) for _ in range(3))
    return rng.choice([raw[:begin] + raw[end:], raw[:end] + raw[begin:], raw[:to] + raw[begin:end]])


def truncate(rng, raw):
    return raw[: rng.randrange(len(raw))]


def other_floats(rng, raw):
    """Values of any bits: still a model."""
    header, description, body = cut(raw)
    return join(header, description, rng.randbytes(len(body)))


DAMAGES = [
    change_description,
    change_layers,
    many_layers,
    change_header,
    lie_about_shape,
]
DAMAGES += [duplicate_key, deep_nesting, literal, change_length, change_bytes, move_bytes, truncate]
DAMAGES += [other_floats]


def texts_everywhere(raw, step):
    """Every text, or every so many, in the place of every value of the description."""
    for number in range(len(list(places(cut(raw)[1])))):
        for text in TEXTS[number % step :: step]:
            header, description, body = cut(raw)
            container, key = list(places(description))[number]
            container[key] = text
            yield "texts_everywhere", join(header, description, body)


def damaged(rng, originals, count, seed):
    """Yield (name of the damage, file)."""
    if seed == 0:
        yield from texts_everywhere(originals[-1], 1 if count > 10_000 else 4)
    for k in range(count):
        damage = DAMAGES[k % len(DAMAGES)]
        yield damage.__name__, damage(rng, rng.choice(originals))


# ---------------------------------------------------------------------- loading them


def current_memory():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main(folder, count, seed):
    rng, path = random.Random(seed), Path(folder) / "m.safetensors"
    originals = []
    for model, optimizer in intact_models():
        model.save(path, optimizer=optimizer)
        originals.append(path.read_bytes())
        assert cut(join(*cut(originals[-1])))[1] == cut(originals[-1])[1]
        fnn.load(path)  # whatever is imported at the first load is imported now

    events = []
    watching = False

    allowed = ("open", str(path), "r", os.O_RDONLY | os.O_CLOEXEC)
    looks = {"builtins.id", "object.__getattr__"}  # of inspect.signature, at our own classes

    def watch(event, arguments):
        if watching and (event, *arguments) != allowed and event not in looks:
            events.append((event, arguments))

    sys.addaudithook(watch)
    limit = current_memory() + 64 * 2**20  # a huge declared size would be a MemoryError
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    tracemalloc.start()
    refused = models = 0
    for damage, raw in damaged(rng, originals, count, seed):
        path.write_bytes(raw)
        tracemalloc.reset_peak()
        before, watching = tracemalloc.get_traced_memory()[0], True
        try:
            model = fnn.load(path)
        except fnn.ModelFileError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ") and len(str(error)) < 10_000
        else:
            models += 1
            if not any(isinstance(layer, BLOCKS) for layer in model.layers):
                model.forward(np.zeros((1, *model.in_shape)))
        finally:
            watching = False
        peak = tracemalloc.get_traced_memory()[1] - before
        assert peak < 2**18 + 100 * len(raw), f"{damage}: {peak} bytes for {len(raw)}"
        assert not events, f"{damage}: {events}"
    print(refused, models)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
