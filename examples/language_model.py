"""
A small language model of Python's own manual
=============================================

A language model says how likely each next character is; its loss is the bits per character that a
text costs when it is coded by it (C. E. Shannon 1951, Bell System Technical Journal 30). Counts of
what followed the last few characters, those of each length mixed with those of the shorter ones by
how often they have been seen (T. C. Bell, J. G. Cleary, I. H. Witten 1990, "Text compression"), are
a strong baseline on a short text: what they have seen once they know. They know nothing of what
stands further back, and nothing of words that are alike.

Here a transformer (A. Vaswani et al. 2017, NeurIPS) and an LSTM (S. Hochreiter, J. Schmidhuber
1997, Neural Computation 9) read what ``help()`` says of Python's syntax, which ships with Python.
All of them are judged by its last tenth.
"""

import pydoc_data.topics

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
EPOCHS, READ = 8, 500_000
WINDOW, LETTERS = 64, 64

# %%
# The most frequent characters have codes of their own, and all others share one. A window of the
# text is an example; at each of its positions the next character is to be told.

text = "".join(pydoc_data.topics.topics.values())[:READ]
letters, counts = np.unique(list(text), return_counts=True)
code = {letter: i for i, letter in enumerate(letters[np.argsort(-counts)][: LETTERS - 1])}
codes = np.array([code.get(letter, LETTERS - 1) for letter in text])
cut = len(codes) * 9 // 10


def windows(codes):
    """Return examples and their targets, both (n, WINDOW)."""
    n = (len(codes) - 1) // WINDOW
    return [codes[i : i + n * WINDOW].reshape(n, WINDOW) for i in (0, 1)]


X, y = windows(codes[:cut])
X_test, y_test = windows(codes[cut:])

# %%
# The baseline: with c counts after a context, d of them different characters, and q what the
# context that is one character shorter says, ``p = (counts + d q) / (c + d)``.


def bits_of_counts(order):
    """Bits of each character held out, by contexts of up to so many characters before it."""
    chance = np.full(len(codes) - cut, 1 / LETTERS)
    context = np.zeros(len(codes), int)  # a number for each context of this length
    for length in range(order + 1):
        if length:  # one character further back
            context[length:] = context[length:] * LETTERS + codes[: len(codes) - length]
        seen = context[length:cut]
        places, which = np.unique(seen, return_inverse=True)
        pairs, often = np.unique(which * LETTERS + codes[length:cut], return_counts=True)
        total = np.bincount(pairs // LETTERS, often)
        different = np.bincount(pairs // LETTERS)
        at = np.searchsorted(places, context[cut:]).clip(max=len(places) - 1)
        known = places[at] == context[cut:]
        pair = at * LETTERS + codes[cut:]
        where = np.searchsorted(pairs, pair).clip(max=len(pairs) - 1)
        count = np.where(pairs[where] == pair, often[where], 0)
        mixed = (count + different[at] * chance) / (total[at] + different[at])
        chance = np.where(known, mixed, chance)
    return -np.log2(chance)


baseline = [bits_of_counts(order).mean() for order in range(7)]

# %%
# Both networks are trained with the loss at every position, so that one pass over a window teaches
# 64 predictions; attention is causal, as a network that saw the next character would copy it.


def transformer(units=64):
    return [
        fnn.Embedding(LETTERS, units),
        fnn.LearnedPositions(),
        fnn.TransformerBlock(4, causal=True),
        fnn.TransformerBlock(4, causal=True),
        fnn.LayerNorm(),
        fnn.Dense(LETTERS),
    ]


def recurrent(units=128):
    return [fnn.Embedding(LETTERS, 32), fnn.LSTM(units), fnn.Dense(LETTERS)]


def chances(model):
    """Of the characters that came, (n, WINDOW)."""
    scores = model.forward(X_test).astype(np.float64)
    chance = np.exp(scores - scores.max(axis=-1, keepdims=True))
    own = np.take_along_axis(chance, y_test[..., None], axis=-1)[..., 0]
    return own / chance.sum(axis=-1)


steps = EPOCHS * -(-len(X) // 32)
chance = {}


def rate(t):
    """Steps of Adam: 50 to warm up, then half a cosine."""
    return 4e-3 * np.minimum(1, (t + 1) / 50) * np.cos(np.pi / 2 * t / steps) ** 2


for name, layers in {"transformer": transformer(), "LSTM": recurrent()}.items():
    model = fnn.Sequential(layers, seed=0)
    adam = fnn.optim.Adam(lr=rate)
    model.fit(X, y, loss="cross_entropy", optimizer=adam, epochs=EPOCHS, batch_size=32)
    chance[name] = chances(model)

# %%
# Networks have something to go by once a window has begun: they are judged by its second half, and
# so are the counts. What they know is not the same: the mean of both chances costs fewer bits than
# either of them.

best = int(np.argmin(baseline))
of_counts = 2.0 ** -bits_of_counts(best)[1 : 1 + y_test.size].reshape(y_test.shape)
late = slice(WINDOW // 2, None)
names = {"counts": of_counts, **chance}
names["both networks"] = (chance["transformer"] + chance["LSTM"]) / 2
names["networks and counts"] = (chance["transformer"] + chance["LSTM"] + of_counts) / 3
bits = {name: -np.log2(of).mean(axis=0) for name, of in names.items()}
bits_late = {name: of[late].mean() for name, of in bits.items()}
for order, value in enumerate(baseline):
    print(f"bits per character by counts of contexts up to {order}: {value:.2f}")
for name, value in bits_late.items():
    print(f"bits per character, {name}: {value:.2f}")

# %%
# The transformer has all of a window before it at once; the LSTM what it has kept.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
for color, name in zip(("k", "C0", "C1"), ("counts", "transformer", "LSTM"), strict=True):
    smooth = np.convolve(bits[name], np.ones(4) / 4, mode="valid")
    left.plot(np.arange(len(smooth)) + 2, smooth, color=color, label=name)
left.set(xlabel="position in the window", ylabel="bits per character", ylim=(1, None))
left.legend()
left.set_title("What comes before helps", fontsize=11)
right.barh(list(bits_late)[::-1], list(bits_late.values())[::-1], color="C0")
right.set_xlabel("bits per character, second halves")
right.set_title("What they know is not the same", fontsize=11)
figure.savefig("language_model.png", dpi=150)
