"""A model as a module of torch, and back: layer by layer, with copies of all that was learned.

Names are torch's on both sides: what `named_parameters` and `named_state` of a model call
``"3.0.weight"`` is that of the module's `state_dict`, transposed if it is a matrix. What torch has
not, as `Residual`, becomes a small module of this file; these are made when torch is there.
"""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import (
    attention,
    augmentation,
    branches,
    checks,
    convolution,
    inputs,
    intake,
    layers,
    pooling,
    recurrent,
    sets,
    shapes,
)
from ..config import settings
from ..engine import Engine
from ..graph import Graph
from ..inputs import InputLayer
from ..layers import Layer
from ..typing import Array, Shape

if TYPE_CHECKING:
    import torch

_JOINED = ("Residual", "Add", "Multiply", "Concatenate")
_INPUTS = tuple(layer.__name__ for layer in inputs.INPUT_LAYERS)
_EMBEDDINGS = ("PeriodicEmbedding", "Embedding")
_OTHERS = ("Scale", "Step", "Sign", "GaussianNoise")
_ATTENTION = tuple(layer.__name__ for layer in attention.OF_SEQUENCES)
_POSITIONS = ("Reshape", "Permute", "ChannelsLast", "PoolPositions", "DeepSet")
_RECURRENT = ("RNN", "GRU", "LSTM")
_CONVOLUTIONS = ("Conv1d", "Conv2d", "ConvTranspose2d")
_AUGMENTATIONS = ("RandomFlip", "RandomShift", "RandomCrop", "CutOut")
_AT_POSITIONS = (*_CONVOLUTIONS, *_AUGMENTATIONS, *_POSITIONS, *_RECURRENT, *_ATTENTION)
OURS = (*_INPUTS, *_OTHERS, *_EMBEDDINGS, *_AT_POSITIONS, *_JOINED, "Columns")


def library(name: str) -> Any:
    """Return torch, or raise an ImportError that says what needs it."""
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{name}: needs torch: pip install 'pyfast-nn[torch]' ({error})", name=error.name
        ) from None
    return torch


def __getattr__(name: str) -> Any:
    """Return a module of `OURS`: so pickle finds them."""
    if name in OURS:
        return _ours()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _ours() -> dict[str, type]:
    """Return the modules that torch has not, by name."""
    torch = library("to_torch")
    nn: Any = torch.nn

    class Rescale(nn.Module):
        def __init__(self, scale: float, offset: float, dtype: Any) -> None:
            super().__init__()
            self.scale, self.offset, self.dtype = scale, offset, dtype

        def forward(self, x: Any) -> Any:
            return (x.double() * self.scale + self.offset).to(self.dtype)

        def extra_repr(self) -> str:
            return f"scale={self.scale}, offset={self.offset}"

    class Standardize(nn.Module):
        def __init__(self, features: int, dtype: Any) -> None:
            super().__init__()
            self.num_features, self.dtype = features, dtype
            self.register_buffer("mean", torch.zeros(features, dtype=torch.float64))
            self.register_buffer("std", torch.ones(features, dtype=torch.float64))

        def forward(self, x: Any) -> Any:
            return ((x.double() - self.mean) / self.std).to(self.dtype)

    def learned(module: Any, dtype: Any, **shapes: Any) -> None:
        """Let a module round to a dtype, and know numbers that it has learned."""
        module.dtype = dtype
        for name, shape in shapes.items():
            module.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    class RobustScale(nn.Module):
        def __init__(self, clip: Any, features: int, dtype: Any) -> None:
            super().__init__()
            self.clip, self.num_features = clip, features
            learned(self, dtype, center=features, scale=features)

        def forward(self, x: Any) -> Any:
            z = (x.double() - self.center) / self.scale
            if self.clip is not None:
                z = z / torch.sqrt(1 + (z / self.clip) ** 2)
            return z.to(self.dtype)

        def extra_repr(self) -> str:
            return f"clip={self.clip}"

    class QuantileNormal(nn.Module):
        def __init__(self, n_quantiles: int, features: int, dtype: Any) -> None:
            super().__init__()
            self.n_quantiles, self.num_features = n_quantiles, features
            learned(self, dtype, quantiles=(features, n_quantiles))

        def forward(self, x: Any) -> Any:
            x = x.double().T.contiguous()  # by column
            there = ~self.quantiles.isnan()
            known = self.quantiles.masked_fill(~there, torch.inf)
            steps = (there.sum(1, keepdim=True) - 1).clamp(min=1)
            below = torch.searchsorted(known, x, right=True) - 1
            below = torch.minimum(below.clamp(min=0), steps - 1)
            low, high = known.gather(1, below), known.gather(1, below + 1)
            between = torch.where(high > low, (x - low) / (high - low), (x >= low).double())
            least = 1e-7
            rank = ((below + between) / steps).clamp(least, 1 - least)
            z = torch.where(there[:, 1:2], torch.special.ndtri(rank), torch.zeros_like(x))
            return torch.where(x.isnan(), x, z).T.to(self.dtype)

        def extra_repr(self) -> str:
            return f"n_quantiles={self.n_quantiles}"

    class PiecewiseLinear(nn.Module):
        def __init__(self, n_bins: int, bins: str, features: int, dtype: Any) -> None:
            super().__init__()
            self.n_bins, self.bins, self.num_features = n_bins, bins, features
            learned(self, dtype, edges=(features, n_bins + 1))

        def forward(self, x: Any) -> Any:
            low, high = self.edges[:, :-1], self.edges[:, 1:]
            there = ~high.isnan()
            behind = torch.nn.functional.pad(there[:, 1:], (0, 1))
            least, most = torch.zeros_like(low), there.double()
            least[:, 0] = -1.0 * there[:, 0]
            most = most + (there & ~behind)
            w = (x.double()[:, :, None] - low) / (high - low)
            w = torch.where(there, torch.minimum(torch.maximum(w, least), most), 0.0)
            return w.flatten(1).to(self.dtype)

        def extra_repr(self) -> str:
            return f"n_bins={self.n_bins}, bins={self.bins!r}"

    class OneHot(nn.Module):
        def __init__(self, n_categories: int, min_count: int, features: int, dtype: Any) -> None:
            super().__init__()
            self.n_categories, self.min_count = n_categories, min_count
            self.num_features = features
            learned(self, dtype, counts=(features, n_categories))

        def forward(self, x: Any) -> Any:
            codes = torch.arange(self.n_categories, device=x.device)
            is_code = x.double()[:, :, None] == codes
            out = is_code & (self.counts >= self.min_count)
            if self.min_count > 1:
                rare = is_code & (self.counts > 0) & (self.counts < self.min_count)
                out = torch.cat([out, rare.any(2, keepdim=True)], dim=2)
            return out.flatten(1).to(self.dtype)

        def extra_repr(self) -> str:
            return f"n_categories={self.n_categories}, min_count={self.min_count}"

    class Impute(nn.Module):
        def __init__(self, strategy: Any, features: int, dtype: Any) -> None:
            super().__init__()
            self.strategy, self.num_features = strategy, features
            learned(self, dtype, value=features)

        def forward(self, x: Any) -> Any:
            x = x.double()
            return torch.where(x.isnan(), self.value, x).to(self.dtype)

        def extra_repr(self) -> str:
            return f"strategy={self.strategy!r}"

    class MissingIndicator(nn.Module):
        def __init__(self, features: int, dtype: Any) -> None:
            super().__init__()
            self.num_features = features
            learned(self, dtype)

        def forward(self, x: Any) -> Any:
            return x.isnan().to(self.dtype)

    class Columns(nn.Sequential):
        """Parts, each with the columns that it reads."""

        def __init__(
            self, which: Any, columns: Any, features: int, dtype: Any, *modules: Any
        ) -> None:
            super().__init__(*modules)
            self.which, self.columns = which, columns
            self.num_features, self.dtype = features, dtype

        def forward(self, x: Any) -> Any:
            outs = []
            for columns, module in zip(self.columns, self, strict=True):
                part = x[:, columns]
                if not (len(module) and type(module[0]).__name__ in _INPUTS):
                    part = part.to(self.dtype)
                outs.append(module(part).to(self.dtype))
            return torch.cat(outs, dim=1)

        def extra_repr(self) -> str:
            return f"columns={self.which}"

    class Scale(nn.Module):
        def __init__(self, features: int) -> None:
            super().__init__()
            self.num_features = features
            self.weight = nn.Parameter(torch.ones(features))

        def forward(self, x: Any) -> Any:
            return x * self.weight

    class Step(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.sign(torch.relu(x))  # which has a derivative: 0

    class Sign(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.sign(x)

    class GaussianNoise(nn.Module):
        def __init__(self, std: float) -> None:
            super().__init__()
            self.std = std

        def forward(self, x: Any) -> Any:
            return x + self.std * torch.randn_like(x) if self.training else x

        def extra_repr(self) -> str:
            return f"std={self.std}"

    class PeriodicEmbedding(nn.Module):
        def __init__(self, features: int, n_frequencies: int) -> None:
            super().__init__()
            self.num_features, self.n_frequencies = features, n_frequencies
            self.weight = nn.Parameter(torch.randn(features * n_frequencies))
            self.bias = nn.Parameter(torch.rand(features * n_frequencies))

        def forward(self, x: Any) -> Any:
            turns = x.repeat_interleave(self.n_frequencies, dim=1) * self.weight + self.bias
            return torch.cat([x, torch.cos(2 * torch.pi * (turns - turns.round()))], dim=1)

        def extra_repr(self) -> str:
            return f"{self.num_features}, {self.n_frequencies}"

    class Embedding(nn.Module):
        def __init__(self, n_categories: int, units: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(n_categories, units))

        def forward(self, x: Any) -> Any:
            code, n = x.squeeze(-1), len(self.weight)
            is_code = (code >= 0) & (code < n) & (code == code.floor())
            rows = self.weight[torch.where(is_code, code, 0).long()]
            return torch.where(is_code[..., None], rows, 0)

        def extra_repr(self) -> str:
            return ", ".join(map(str, self.weight.shape))

    class Reshape(nn.Module):
        def __init__(self, shape: Any) -> None:
            super().__init__()
            self.shape = shape

        def forward(self, x: Any) -> Any:
            return x.reshape(len(x), *self.shape)

        def extra_repr(self) -> str:
            return str(self.shape)

    class Permute(nn.Module):
        def __init__(self, dims: Any) -> None:
            super().__init__()
            self.dims = dims

        def forward(self, x: Any) -> Any:
            return x.permute(0, *self.dims)

        def extra_repr(self) -> str:
            return str(self.dims)

    class ChannelsLast(nn.Sequential):
        """A module of torch that takes channels in front, for examples that have them last."""

        def forward(self, x: Any) -> Any:
            return super().forward(x.movedim(-1, 1)).movedim(1, -1)

    def convolution_of(base: Any) -> Any:
        class Convolution(base):
            """The convolution of torch, for examples that have their channels last."""

            def forward(self, x: Any) -> Any:
                return super().forward(x.movedim(-1, 1)).movedim(1, -1)

        return Convolution

    def augmentation_of(kind: Any) -> Any:
        class Augmentation(nn.Module):
            """In training, each example by random numbers of torch; else the part in the middle."""

            def __init__(self, **settings: Any) -> None:
                super().__init__()
                self.layer = kind(**settings)

            def forward(self, x: Any) -> Any:
                if not self.training:
                    around = self.layer.padding_at_rest(tuple(x.shape[1:]))
                    pads = [each for pair in reversed(around) for each in pair]
                    return nn.functional.pad(x, [0, 0, *pads]) if any(pads) else x
                image = x if x.ndim == 4 else x[:, None]
                shape = self.layer.out_shape(tuple(x.shape[1:]))
                n, *sizes, _ = image.shape
                to = [1, *shape][-3:-1]
                _, _, margin, *flips, hole = self.layer.values

                def drawn(axis: int) -> Any:
                    """Return for each example and position what is read, if it is, and holes."""
                    at = torch.arange(to[axis], device=x.device).expand(n, -1)
                    if axis == 0 and sizes[0] == 1:  # along which nothing happens
                        return at, at == 0, (at == 0) & (hole > 0)

                    def below(count: int) -> Any:
                        return torch.randint(int(count), (n, 1), device=x.device)

                    start = below(sizes[axis] - to[axis] + 2 * margin + 1) - margin
                    turned = (below(2) == 1) & bool(flips[axis])
                    read = start + torch.where(turned, to[axis] - 1 - at, at)
                    first = below(to[axis]) - hole // 2
                    inside = (read >= 0) & (read < sizes[axis])
                    return read, inside, (at >= first) & (at < first + hole)

                (y, in_y, hole_y), (z, in_z, hole_z) = drawn(0), drawn(1)
                y, z = (each.clamp(0, size - 1) for each, size in zip((y, z), sizes, strict=True))
                rows = torch.arange(n, device=x.device)[:, None, None]
                kept = in_y[:, :, None] & in_z[:, None]
                kept &= ~(hole_y[:, :, None] & hole_z[:, None])
                out = torch.where(kept[..., None], image[rows, y[:, :, None], z[:, None]], 0)
                return out.reshape(n, *shape)

            def extra_repr(self) -> str:
                return ", ".join(f"{name}={each}" for name, each in self.layer.get_config().items())

        return Augmentation

    class PoolPositions(nn.Module):
        def __init__(self, pool: str) -> None:
            super().__init__()
            self.pool = pool

        def forward(self, x: Any) -> Any:
            return getattr(x.flatten(1, -2), {"max": "amax"}.get(self.pool, self.pool))(1)

        def extra_repr(self) -> str:
            return f"pool={self.pool!r}"

    class DeepSet(nn.Module):
        def __init__(self, phi: Any, rho: Any, pool: str) -> None:
            super().__init__()
            self.phi, self.rho, self.pool = phi, rho, PoolPositions(pool)

        def forward(self, x: Any) -> Any:
            return self.rho(self.pool(self.phi(x)))

    class Walk:
        """A recurrent module of torch that puts out `h` alone, at all positions or the last."""

        outputs: str
        bidirectional: bool

        def forward(self, x: Any) -> Any:
            all_outputs, state = super().forward(x)  # type: ignore[misc]
            if self.outputs == "all":
                return all_outputs
            h = state[0] if isinstance(state, tuple) else state
            return torch.cat(list(h[-1 - self.bidirectional :]), dim=1)

    class RNN(Walk, nn.RNN):
        pass

    class GRU(Walk, nn.GRU):
        pass

    class LSTM(Walk, nn.LSTM):
        pass

    class MultiHeadAttention(nn.Module):
        """Attention of a sequence, or to what `keys` makes of it; parts by our names."""

        def __init__(
            self, num_heads: int, causal: bool, rotary: bool, keys: Any, **projections: Any
        ) -> None:
            super().__init__()
            self.num_heads, self.causal, self.rotary = num_heads, causal, rotary
            if keys is not None:
                self.keys = keys
            for name, module in projections.items():
                self.add_module(name, module)

        def forward(self, x: Any) -> Any:
            if hasattr(self, "keys"):
                parts = [self.q_proj(x), *self.kv_proj(self.keys(x)).chunk(2, -1)]
            else:
                parts = list(self.in_proj(x).chunk(3, -1))
            q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
            if self.rotary:
                q, k = self.turned(q), self.turned(k)
            attend = nn.functional.scaled_dot_product_attention
            heads = attend(q, k, v, is_causal=self.causal)
            return self.out_proj(heads.transpose(1, 2).flatten(2))

        @staticmethod
        def turned(x: Any) -> Any:
            half = x.shape[-1] // 2
            k, t = torch.arange(half, device=x.device), torch.arange(x.shape[-2], device=x.device)
            turn = t[:, None].double() * 10000.0 ** (-k.double() / half)
            cosine, sine = turn.cos().to(x.dtype), turn.sin().to(x.dtype)
            a, b = x[..., :half], x[..., half:]
            return torch.cat([a * cosine - b * sine, a * sine + b * cosine], -1)

        def extra_repr(self) -> str:
            return f"{self.num_heads}, causal={self.causal}, rotary={self.rotary}"

    class TransformerBlock(nn.Module):
        """Parts have the names of torch's TransformerEncoderLayer."""

        def __init__(self, norm_first: bool, **parts: Any) -> None:
            super().__init__()
            self.norm_first = norm_first
            for name, module in parts.items():
                self.add_module(name, module)
            for name in ("dropout", "dropout1", "dropout2"):
                if name not in parts:
                    self.add_module(name, nn.Identity())

        def feed(self, x: Any) -> Any:
            return self.linear2(self.dropout(self.activation(self.linear1(x))))

        def forward(self, x: Any) -> Any:
            if self.norm_first:
                x = x + self.dropout1(self.self_attn(self.norm1(x)))
                return x + self.dropout2(self.feed(self.norm2(x)))
            x = self.norm1(x + self.dropout1(self.self_attn(x)))
            return self.norm2(x + self.dropout2(self.feed(x)))

        def extra_repr(self) -> str:
            return f"norm_first={self.norm_first}"

    class LearnedPositions(nn.Module):
        def __init__(self, positions: int, features: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(positions, features))

        def forward(self, x: Any) -> Any:
            return x + self.weight

        def extra_repr(self) -> str:
            return ", ".join(map(str, self.weight.shape))

    class SinusoidalPositions(LearnedPositions):
        pass

    class Residual(nn.Sequential):
        def __init__(self, *modules: Any, shortcut: Any = None) -> None:
            super().__init__(*modules)
            if shortcut is not None:
                self.add_module("shortcut", shortcut)

        def forward(self, x: Any) -> Any:
            modules = list(self)
            short = modules.pop()(x) if hasattr(self, "shortcut") else x
            for module in modules:
                x = module(x)
            return short + x

    class Add(nn.Sequential):
        def forward(self, x: Any) -> Any:
            first, *others = (module(x) for module in self)
            return functools.reduce(torch.add, others, first)

    class Multiply(nn.Sequential):
        def forward(self, x: Any) -> Any:
            first, *others = (module(x) for module in self)
            return functools.reduce(torch.mul, others, first)

    class Concatenate(nn.Sequential):
        def forward(self, x: Any) -> Any:
            return torch.cat([module(x) for module in self], dim=-1)

    made = locals() | {name: convolution_of(getattr(nn, name)) for name in _CONVOLUTIONS}
    made |= {name: augmentation_of(getattr(augmentation, name)) for name in _AUGMENTATIONS}
    for name in OURS:
        made[name].__qualname__ = made[name].__name__ = name  # by which pickle knows it
        made[name].__doc__ = made[name].__doc__ or f"`pyfast_nn.{name}` as a module of torch."
    return {name: made[name] for name in OURS}


# ---------------------------------------------------------------------- there


def to_module(engine: Engine) -> "torch.nn.Module":
    """Return a module that computes what a model does, see `Sequential.to_torch`."""
    torch = library("to_torch")
    engine.network()
    intake.check_one_length(engine, "to_torch")
    made: dict[int, Any] = {}  # {id of a layer that learns: its module}
    dtype = getattr(torch, engine.dtype.name)
    places = {place.path: place for place in engine.graph.places}
    inputs_of = {place.path: place.in_features for place in reversed(engine.graph.places)}
    learned: dict[str, Array] = engine.named_parameters() | engine.named_state()

    def module_of(layer: Layer, path: str, rounded: Any = dtype) -> Any:
        if id(layer.learner) not in made or not layer.learns:
            made[id(layer.learner)] = make(layer, path, rounded)
        return made[id(layer.learner)]

    def columns_module(layer: branches.Columns, path: str, rounded: Any) -> Any:
        parts, children = layer.get_config()["parts"], []
        for i, (_, of) in enumerate(parts):
            modules = []
            for k, each in enumerate(of):
                is_last, before_input = k + 1 == len(of), any(x.is_input for x in of[k + 1 :])
                to = torch.float64 if before_input else rounded if is_last else dtype
                modules.append(module_of(each, f"{path}.{i}.{k}", to))
            children.append(torch.nn.Sequential(*modules))
        selected = [list(p.layer.places) for p in engine.graph.places if p.kind == "select"]
        which, features = [which for which, _ in parts], engine.net.in_features
        return _ours()["Columns"](which, selected, features, rounded, *children)

    def sequence_module(layer: Layer, path: str) -> Any:
        """Of what is made of parts, which have the names of modules."""
        kind = _ours()[type(layer).__name__]
        if isinstance(layer, attention.LearnedPositions):
            weight = learned[f"{path}.weight"]
            module = kind(*weight.shape).to(dtype)
            with torch.no_grad():
                module.weight.copy_(torch.tensor(weight))
            return module.requires_grad_(places[path].trainable)
        parts = {
            name: module_of(places[f"{path}.{name}"].layer, f"{path}.{name}")
            for name in attention.PARTS
            if f"{path}.{name}" in places
        }
        if isinstance(layer, attention.TransformerBlock):
            own = module_of(layer.attention, f"{path}.self_attn")
            return kind(layer.norm_first, self_attn=own, **parts)
        assert isinstance(layer, attention.MultiHeadAttention)
        keys = None
        if layer.keys is not None:
            each = (module_of(of, f"{path}.keys.{i}") for i, of in enumerate(layer.keys))
            keys = torch.nn.Sequential(*each)
        return kind(layer.num_heads, layer.causal, layer.rotary, keys, **parts)

    def make(layer: Layer, path: str, rounded: Any) -> Any:
        """Input layers compute in float64, and their outputs are `rounded` to a dtype."""
        if isinstance(layer, branches.Columns):
            return columns_module(layer, path, rounded)
        if isinstance(layer, sets.DeepSet):
            parts = [
                torch.nn.Sequential(
                    *(
                        module_of(each, f"{path}.{name}.{i}")
                        for i, each in enumerate(vars(layer)[name])
                    )
                )
                for name in ("phi", "rho")
            ]
            return _ours()["DeepSet"](*parts, layer.pool)
        if isinstance(layer, attention.OF_SEQUENCES):
            return sequence_module(layer, path)
        if isinstance(layer, branches.JOINS):
            children = [module_of(each, f"{path}.{name}") for name, each in _children(layer)]
            if isinstance(layer, branches.Chain):
                return torch.nn.Sequential(*children)
            name = type(layer).__name__
            if vars(layer).get("shortcut") is not None:
                return _ours()[name](*children[:-1], shortcut=children[-1])
            return _ours()[name](*children)
        below = f"{path}.l0"  # where a recurrent layer reads what comes in
        place = places[below if below in places else path]
        features = inputs_of[place.path]
        if isinstance(layer, recurrent.Recurrent) and len(place.inputs) > 1:
            raise NotImplementedError(
                f"layers[{path}]: expected examples without lengths, of which a module would know "
                "nothing, got some with them"
            )
        if isinstance(layer, InputLayer):
            module = _input_module(layer, features, rounded)
        elif type(layer) in _TO:
            module = _TO[type(layer)](torch.nn, layer, features).to(dtype)
        else:
            raise NotImplementedError(
                f"layers[{path}]: expected a layer that has a module of torch here, got {layer!r}; "
                "model[:i] without it has one"
            )
        names = [*layer.parameter_shapes(features), *layer.initial_state]
        with torch.no_grad():
            for name, tensor in _tensors(module, names).items():
                numbers = learned[f"{path}.{name}"]
                tensor.copy_(torch.tensor(_as_torch(layer, name, numbers)))
        for parameter in module.parameters():
            parameter.requires_grad_(place.trainable)
        return module

    before_inputs = [layer.is_input for layer in engine.layers[1:]] + [False]
    modules = [
        module_of(layer, str(i), torch.float64 if before_inputs[i] else dtype)
        for i, layer in enumerate(engine.layers)
    ]
    return torch.nn.Sequential(*modules).eval()  # type: ignore[no-any-return]


def _as_torch(layer: Layer, name: str, numbers: Array) -> Array:
    """Return numbers of ours in the order of torch's axes, the reverse of ours but for these."""
    if isinstance(layer, layers.Embedding):  # a table of rows
        return numbers
    if name == "weight" and isinstance(layer, convolution.ConvTranspose2d):
        # That of the convolution the other way: turned round, and with the groups in front.
        height, width, depth, out = numbers.shape
        parts = numbers[::-1, ::-1].reshape(height, width, depth, layer.groups, -1)
        return parts.transpose(3, 2, 4, 0, 1).reshape(-1, out // layer.groups, height, width)
    if name == "weight" and isinstance(layer, convolution.Conv2d):
        return numbers.transpose(3, 2, 0, 1)
    return numbers.T


def _from_torch(layer: Layer, name: str, numbers: Array) -> Array:
    """Return numbers of torch in the order of our axes."""
    if isinstance(layer, layers.Embedding):
        return numbers
    if name == "weight" and isinstance(layer, convolution.ConvTranspose2d):
        channels, out, height, width = numbers.shape
        groups = layer.groups
        parts = numbers[:, :, ::-1, ::-1].reshape(groups, channels // groups, out, height, width)
        return parts.transpose(3, 4, 1, 0, 2).reshape(height, width, -1, groups * out)
    if name == "weight" and isinstance(layer, convolution.Conv2d):
        return numbers.transpose(2, 3, 1, 0)
    return numbers.T


def _input_module(layer: Any, features: int, dtype: Any) -> Any:
    """Return the module of an input layer: made of its settings, and of what it must know."""
    settings = tuple(layer.get_config().values())
    of_columns = () if isinstance(layer, inputs.Rescale) else (features,)
    return _ours()[type(layer).__name__](*settings, *of_columns, dtype)


def _tensors(module: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the tensors of a module by our names; None where it has none."""
    g, v = _norms_and_directions(module) or (None, None)
    of_weight_norm = {} if g is None else {"weight_g": g.view(-1), "weight_v": v}

    def tensor_of(name: str) -> Any:
        layer, _, own = name.rpartition(".")  # "l0.weight_ih" of a recurrent one
        named = f"{own}_{layer}" if layer else own
        return of_weight_norm[name] if name in of_weight_norm else getattr(module, named)

    return {name: tensor_of(name) for name in names}


def _norms_and_directions(module: Any) -> tuple[Any, Any] | None:
    """Return both tensors of a linear module under torch's weight norm; None if it is none.

    There are two, the one of `parametrizations`, and an older one.
    """
    made: Any = getattr(module, "parametrizations", {})
    if type(module).__name__ == "ParametrizedLinear" and list(made) == ["weight"]:
        (first, *others), both = made.weight, made.weight
        if not others and type(first).__name__ == "_WeightNorm" and first.dim == 0:
            return both.original0, both.original1
    hooks = list(getattr(module, "_forward_pre_hooks", {}).values())
    if type(module).__name__ == "Linear" and len(hooks) == 1:
        known = "torch.nn.utils.weight_norm", "WeightNorm", "weight", 0
        kind = type(hooks[0])
        own = [getattr(hooks[0], name, None) for name in ("name", "dim")]
        if (kind.__module__, kind.__name__, *own) == known:
            return module.weight_g, module.weight_v
    return None


def _children(layer: Layer) -> Iterator[tuple[str, Layer]]:
    """Yield (name, layer) of what a layer is made of, by the names that its parameters have."""
    own = vars(layer)
    for i, each in enumerate(own.get("branches") or own["layers"]):
        yield str(i), each
    if own.get("shortcut") is not None:
        yield "shortcut", own["shortcut"]


def _walk(nn: Any, layer: Any, features: int) -> Any:
    """Return the module of a recurrent layer."""
    options = {"nonlinearity": layer.nonlinearity} if isinstance(layer, recurrent.RNN) else {}
    module = _ours()[type(layer).__name__](
        features,
        layer.hidden_size,
        layer.num_layers,
        batch_first=True,
        bidirectional=layer.bidirectional,
        **options,
    )
    module.outputs = layer.outputs
    return module


# (torch.nn, layer, features that come in) -> module, with any parameters
_TO: dict[type[Layer], Callable[[Any, Any, int], Any]] = {
    layers.Dense: lambda nn, layer, features: nn.Linear(features, layer.units),
    layers.WeightNorm: lambda nn, layer, features: nn.utils.parametrizations.weight_norm(
        nn.Linear(features, layer.units)
    ),
    layers.Identity: lambda nn, layer, features: nn.Identity(),
    **dict.fromkeys(
        (convolution.Conv1d, convolution.Conv2d, convolution.ConvTranspose2d),
        lambda nn, layer, features: _ours()[type(layer).__name__](
            features, **{name: getattr(layer, name) for name in _of_convolution(type(layer))}
        ),
    ),
    **dict.fromkeys(
        (getattr(augmentation, name) for name in _AUGMENTATIONS),
        lambda nn, layer, features: _ours()[type(layer).__name__](**layer.get_config()),
    ),
    layers.ReLU: lambda nn, layer, features: nn.ReLU(),
    layers.LeakyReLU: lambda nn, layer, features: nn.LeakyReLU(layer.negative_slope),
    layers.ELU: lambda nn, layer, features: nn.ELU(layer.alpha),
    # Beyond the threshold torch returns x; there is nothing between them in float64.
    layers.Softplus: lambda nn, layer, features: nn.Softplus(layer.beta, threshold=40),
    layers.GELU: lambda nn, layer, features: nn.GELU(layer.approximate),
    layers.SiLU: lambda nn, layer, features: nn.SiLU(),
    layers.Tanh: lambda nn, layer, features: nn.Tanh(),
    layers.Hardtanh: lambda nn, layer, features: nn.Hardtanh(layer.min_val, layer.max_val),
    layers.Sigmoid: lambda nn, layer, features: nn.Sigmoid(),
    layers.Softmax: lambda nn, layer, features: nn.Softmax(dim=1),
    layers.Step: lambda nn, layer, features: _ours()["Step"](),
    layers.Sign: lambda nn, layer, features: _ours()["Sign"](),
    layers.Scale: lambda nn, layer, features: _ours()["Scale"](features),
    layers.PReLU: lambda nn, layer, features: nn.PReLU(features),
    layers.PeriodicEmbedding: lambda nn, layer, features: _ours()["PeriodicEmbedding"](
        features, layer.n_frequencies
    ),
    layers.Embedding: lambda nn, layer, features: _ours()["Embedding"](
        layer.n_categories, layer.units
    ),
    shapes.Reshape: lambda nn, layer, features: _ours()["Reshape"](layer.shape),
    **dict.fromkeys((recurrent.RNN, recurrent.GRU, recurrent.LSTM), _walk),
    shapes.Flatten: lambda nn, layer, features: nn.Flatten(),
    shapes.Permute: lambda nn, layer, features: _ours()["Permute"](layer.dims),
    **dict.fromkeys(
        (
            *(pooling.MaxPool1d, pooling.MaxPool2d, pooling.AvgPool1d, pooling.AvgPool2d),
            *(pooling.AdaptiveAvgPool1d, pooling.AdaptiveAvgPool2d),
            *(pooling.AdaptiveMaxPool1d, pooling.AdaptiveMaxPool2d),
        ),
        lambda nn, layer, features: _ours()["ChannelsLast"](
            getattr(nn, type(layer).__name__)(**layer.get_config())
        ),
    ),
    pooling.GlobalAvgPool: lambda nn, layer, features: _ours()["PoolPositions"]("mean"),
    pooling.GlobalMaxPool: lambda nn, layer, features: _ours()["PoolPositions"]("max"),
    sets.SetPool: lambda nn, layer, features: _ours()["PoolPositions"](layer.pool),
    layers.Dropout: lambda nn, layer, features: nn.Dropout(layer.rate),
    layers.GaussianNoise: lambda nn, layer, features: _ours()["GaussianNoise"](layer.std),
    layers.LayerNorm: lambda nn, layer, features: nn.LayerNorm(features, layer.eps, layer.affine),
    layers.RMSNorm: lambda nn, layer, features: nn.RMSNorm(features, layer.eps, layer.affine),
    layers.GroupNorm: lambda nn, layer, features: nn.GroupNorm(
        layer.groups, features, layer.eps, layer.affine
    ),
    layers.BatchNorm: lambda nn, layer, features: nn.BatchNorm1d(
        features, layer.eps, layer.momentum, layer.affine
    ),
}


def _of_convolution(cls: type[Layer]) -> list[str]:
    """Return the settings that torch has, too."""
    return [name for name in settings(cls) if not name.endswith("init")]


# ---------------------------------------------------------------------- and back


def from_module(
    module: Any, in_shape: Any = None
) -> tuple[list[Layer], str, Shape | int | None, dict[str, Array]]:
    """Return what a module of torch is as a model, see `pyfast_nn.from_torch`.

    Returns
    -------
    layers : list of Layer
    dtype : str
    in_shape : tuple of int, int or None
        As given, or the features that come in; None if no module tells.
    values : dict
        Of parameters and state by name.
    """
    torch = library("from_torch")
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module: expected a torch.nn.Module, got {checks.describe(module)}")
    dtype = _dtype_of(torch, module)
    if type(module) is not torch.nn.Sequential:
        module = torch.nn.Sequential(module)
    reader = _Reader(torch)
    found = [reader.layer_of(each, name) for name, each in reader.in_order(module, "")]
    if in_shape is None and isinstance(found[0], convolution.AnyConvolution):
        raise ValueError(
            "in_shape: expected the shape of one example of X, as modules with positions do not "
            f"tell it, got None; from_torch(module, in_shape=(28, 28, 1)) is one for {found[0]!r}"
        )
    if in_shape is None:
        in_shape = _width_in_front(found, reader.widths)
    else:
        in_shape = checks.shape(in_shape, "in_shape")
    graph = Graph(tuple(found), in_shape or ())
    shapes = graph.parameter_shapes() | graph.state_shapes()
    values = {name: _fitted(reader.values[name], shapes[name], name) for name in shapes}
    return found, dtype, in_shape, values


def _width_in_front(found: list[Layer], widths: dict[str, int]) -> int | None:
    """Return how many features come into the first layer, as `widths` of {path: width} tell."""
    if isinstance(found[0], branches.Columns):
        return widths["0"]
    graph, value = Graph((), 1), 0
    with contextlib.suppress(ValueError):  # of widths that differ: behind what is looked for
        for i, layer in enumerate(found):
            value = graph.lay(layer, str(i), value)
    first = next((place for place in graph.places if place.path in widths), None)
    return None if first is None else widths[first.path] // first.in_features


def _dtype_of(torch: Any, module: Any) -> str:
    dtypes = {each.dtype for each in module.parameters()}
    names = sorted(str(each).removeprefix("torch.") for each in dtypes) or ["float32"]
    if len(names) > 1 or names[0] not in ("float32", "float64"):
        raise TypeError(
            f"module: expected parameters that are all float32 or all float64, got "
            f"{' and '.join(names)}; module.float() or module.double() makes them so"
        )
    return names[0]


def _fitted(value: Any, shape: tuple[int, ...], name: str) -> Array:
    """Return the numbers of a tensor in our shape; 0 where torch has none."""
    path, _, own = name.rpartition(".")
    if value is None:
        warnings.warn(
            f"from_torch: {name} is 0 at first, and learns, as our layers always have one, and "
            f"module {path} has none",
            UserWarning,
            stacklevel=4,
        )
        return np.zeros(shape)
    in_order = isinstance(value, np.ndarray)  # of our axes; a tensor has the reverse
    array: Array = value if in_order else value.detach().cpu().numpy().T
    if array.shape == (1,) != shape:
        warnings.warn(
            f"from_torch: {name} becomes {shape[0]} numbers, one for each feature, which learn "
            "apart, as our PReLU has; the module has one for all",
            UserWarning,
            stacklevel=4,
        )
        return np.full(shape, array[0])
    if array.shape != shape:
        raise ValueError(
            f"module: expected {own} of shape {shape[::-1]} in module {path}, as its inputs have "
            f"{shape[0]} features, got {array.shape[::-1]}"
        )
    return array


class _Reader:
    """Layers of modules, and by the names of our parameters and state what stands in these."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._made: dict[int, Layer] = {}  # {id of a module: its layer}
        self._axes = 0  # behind channels that stand in front
        self.values: dict[str, Any] = {}  # tensors, None where a module has none
        self.widths: dict[str, int] = {}  # {path: features that come in}, where a module tells

    def in_order(self, module: Any, path: str) -> Iterator[tuple[str, Any]]:
        """Yield (path, module) of what a sequence holds, numbered as our layers are."""
        _refuse_hooks(module, path)
        last = len(module) - 1 if hasattr(module, "shortcut") else None
        for i, each in enumerate(module):
            own = "shortcut" if i == last else str(i)
            yield f"{path}.{own}" if path else own, each

    def layer_of(self, module: Any, path: str) -> Layer:
        """Return the layer, and note what it has learned."""
        nn, kind = self._torch.nn, type(module)
        if kind is _ours()["Columns"]:
            self.widths[path] = module.num_features
            parts = [
                [self.layer_of(each, at) for at, each in self.in_order(part, f"{path}.{i}")]
                for i, part in enumerate(module)
            ]
            return branches.Columns(list(zip(module.which, parts, strict=True)))
        if kind is _ours()["DeepSet"]:
            _refuse_hooks(module, path)
            phi, rho = (
                [self.layer_of(each, at) for at, each in self.in_order(part, f"{path}.{name}")]
                for name, part in (("phi", module.phi), ("rho", module.rho))
            )
            return sets.DeepSet(phi, rho, module.pool.pool)
        if kind is _ours()["ChannelsLast"]:
            return self._channels_last(module, path)
        if kind is nn.Sequential or kind in [_ours()[name] for name in _JOINED]:
            children = {
                name: self.layer_of(each, name) for name, each in self.in_order(module, path)
            }
            shortcut = children.pop(f"{path}.shortcut", None)
            each = list(children.values())
            if kind is nn.Sequential:
                return branches.Chain(each) if each else layers.Identity()
            if kind is _ours()["Residual"]:
                return branches.Residual(each, shortcut)
            joined: Layer = getattr(branches, kind.__name__)(*each)
            return joined
        if kind.__name__ in (*_ATTENTION, "MultiheadAttention", "TransformerEncoderLayer"):
            _refuse_hooks(module, path)
            if id(module) not in self._made:
                self._made[id(module)] = self._of_sequences(module, path)
            return self._made[id(module)]
        if _norms_and_directions(module) is not None:
            return self._taken(module, path, lambda linear: layers.WeightNorm(_dense(linear)))
        _refuse_hooks(module, path)
        is_known = kind in (getattr(nn, kind.__name__, None), _ours().get(kind.__name__))
        if kind is getattr(nn, kind.__name__, None) and kind.__name__ in _AXES:
            self._axes = _AXES[kind.__name__]
        if self._axes > 0 and is_known and kind.__name__ not in (*_AXES, *_BY_NUMBER, "Flatten"):
            raise ValueError(
                f"module {path}: expected Flatten in front of {module!r}, as the channels of what "
                "comes in stand in front"
            )
        if kind is nn.Flatten and self._axes > 0:
            # Channels last become channels in front, whose numbers the layer behind knows.
            flat = self._taken(module, path, _FROM["Flatten"])
            turned = shapes.Permute((3, 1, 2) if self._axes > 1 else (2, 1))
            self._axes = 0
            return branches.Chain([turned, flat])
        if kind.__name__ in _AXES and hasattr(pooling, kind.__name__):
            return self._pooled(module, path)
        if not is_known or kind.__name__ not in _FROM:
            raise NotImplementedError(
                f"module {path}: expected a module that has a layer of ours, got "
                f"{checks.describe(module)}; "
                + _CURES.get(kind.__name__, "what it is made of may come as an nn.Sequential")
            )
        return self._taken(module, path, _FROM[kind.__name__])

    def _channels_last(self, module: Any, path: str) -> Layer:
        """Return the layer of a module that takes channels in front, as ours has them last."""
        ((at, pool),) = self.in_order(module, path)
        _refuse_hooks(pool, at)
        return self._pooled(pool, at)

    def _pooled(self, pool: Any, at: str) -> Layer:
        cls, kind = getattr(pooling, type(pool).__name__, None), type(pool)
        if cls is None or kind is not getattr(self._torch.nn, kind.__name__):
            raise NotImplementedError(
                f"module {at}: expected a module that pools, got {checks.describe(pool)}"
            )
        layer: Layer = cls(**{name: _one_if_equal(getattr(pool, name)) for name in settings(cls)})
        if getattr(pool, "ceil_mode", False) or getattr(pool, "dilation", 1) != 1:
            raise ValueError(f"module {at}: expected no ceil_mode and no dilation, got {pool!r}")
        return layer

    def _of_sequences(self, module: Any, path: str) -> Layer:
        """Return attention or a block of it, ours or torch's, or positions."""
        kind = type(module).__name__
        layer: Layer
        if kind.endswith("Positions"):
            self.values[f"{path}.weight"] = module.weight.T
            layer = getattr(attention, kind)()
        elif kind == "MultiHeadAttention":
            keys, projections = getattr(module, "keys", None), ("in_proj", "q_proj", "kv_proj")
            if keys is not None:
                keys = [self.layer_of(each, at) for at, each in self.in_order(keys, f"{path}.keys")]
            options = {"causal": module.causal, "rotary": module.rotary, "keys": keys}
            layer = attention.MultiHeadAttention(module.num_heads, **options)
            for name in (*projections, "out_proj"):
                if hasattr(module, name):
                    self.layer_of(getattr(module, name), f"{path}.{name}")
        elif kind == "MultiheadAttention":
            layer = self._torch_attention(module, path)
        else:
            layer = self._block(module, path)
        if layer.learns and not any(each.requires_grad for each in module.parameters()):
            layer.trainable = False
        return layer

    def _torch_attention(self, module: Any, path: str) -> Layer:
        plain = module.in_proj_weight is not None and module.bias_k is None
        if (
            not plain
            or not module.batch_first
            or module.add_zero_attn
            or module.in_proj_bias is None
        ):
            raise ValueError(
                f"module {path}: expected batch_first=True, keys and values as wide as queries, "
                f"biases, and neither bias_k nor add_zero_attn, got {module!r}"
            )
        self.values[f"{path}.in_proj.weight"] = module.in_proj_weight
        self.values[f"{path}.in_proj.bias"] = module.in_proj_bias
        self.values[f"{path}.out_proj.weight"] = module.out_proj.weight
        self.values[f"{path}.out_proj.bias"] = module.out_proj.bias
        return attention.MultiHeadAttention(module.num_heads)

    def _block(self, module: Any, path: str) -> Layer:
        own, function = self.layer_of(module.self_attn, f"{path}.self_attn"), module.activation
        assert isinstance(own, attention.MultiHeadAttention)
        for name in ("norm1", "norm2", "linear1", "linear2"):
            self.layer_of(getattr(module, name), f"{path}.{name}")
        if isinstance(function, self._torch.nn.Module):
            activation: Any = self.layer_of(function, f"{path}.activation")
        else:
            activation = function.__name__
        rates = {getattr(getattr(module, name), "p", 0.0) for name in attention.DROPOUTS}
        eps = {module.norm1.eps, module.norm2.eps}
        if len(rates) > 1 or eps != {layers.LayerNorm().eps}:
            raise ValueError(
                f"module {path}: expected one rate of dropout, and norms with an eps of "
                f"{layers.LayerNorm().eps}, got {module!r}"
            )
        return attention.TransformerBlock(
            own.num_heads,
            module.linear1.out_features,
            causal=own.causal,
            rotary=own.rotary,
            norm_first=module.norm_first,
            activation=activation,
            dropout=rates.pop(),
        )

    def _taken(self, module: Any, path: str, make: Callable[[Any], Layer]) -> Layer:
        """Return the layer that a module becomes, and note what it has learned."""
        layer = self._made.get(id(module))
        if layer is None:
            try:
                layer = self._made[id(module)] = make(module)
            except ValueError as error:
                raise ValueError(f"module {path}: {error}") from None
        for own in ("in_features", "num_features", "num_channels", "normalized_shape"):
            if hasattr(module, own):
                self.widths[path] = int(np.prod(getattr(module, own)))
        if isinstance(layer, recurrent.Recurrent):
            self.widths[f"{path}.l0"] = module.input_size
        if isinstance(layer, layers.PReLU) and module.num_parameters > 1:
            self.widths[path] = module.num_parameters
        names = (*layer.parameter_shapes(1), *layer.initial_state)
        for own, tensor in _tensors(module, names).items():
            self.values[f"{path}.{own}"] = (
                None if tensor is None else _from_torch(layer, own, tensor.detach().cpu().numpy())
            )
        if layer.learns:
            asked = {each.requires_grad for each in module.parameters()}
            if len(asked) > 1:
                raise ValueError(
                    f"module {path}: expected parameters that all require gradients or none, got "
                    f"some of {type(module).__name__}; a layer is trained as a whole or not"
                )
            if asked == {False}:
                layer.trainable = False
        return layer


def _refuse_hooks(module: Any, path: str) -> None:
    """Raise ValueError if a module computes something besides."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    if any(getattr(module, each) for each in hooks) or hasattr(module, "parametrizations"):
        raise ValueError(
            f"module {path or 'itself'}: expected one without hooks and parametrizations, got "
            f"{checks.describe(module)} with some; weight_norm with dim=0 is the only one known"
        )


def _dense(module: Any) -> layers.Dense:
    return layers.Dense(module.out_features)


def _softmax(module: Any) -> Layer:
    if module.dim not in (1, -1):
        raise ValueError(f"expected Softmax(dim=1), over the features, got {module!r}")
    return layers.Softmax()


def _softplus(module: Any) -> Layer:
    if module.threshold < 20:
        raise ValueError(
            f"expected a threshold of at least 20, beyond which x is within 3e-9 of ours, "
            f"got {module!r}"
        )
    return layers.Softplus(module.beta)


def _flatten(module: Any) -> Layer:
    if (module.start_dim, module.end_dim) not in ((1, -1), (1, 1)):
        raise ValueError(f"expected Flatten(), of all axes but the first, got {module!r}")
    return shapes.Flatten()


def _dropout(module: Any) -> Layer:
    return layers.Dropout(module.p)


def _layer_norm(module: Any) -> Layer:
    _check_one_axis(module)
    return layers.LayerNorm(module.eps, module.elementwise_affine)


def _rms_norm(module: Any) -> Layer:
    _check_one_axis(module)
    return layers.RMSNorm(module.eps, module.elementwise_affine)


def _check_one_axis(module: Any) -> None:
    if len(module.normalized_shape) != 1:
        raise ValueError(f"expected a norm over the features, one axis, got {module!r}")


def _embedding(module: Any) -> Layer:
    if hasattr(module, "num_embeddings"):
        raise ValueError(
            f"expected a module that makes a row of a column of codes, got {module!r}, which makes "
            "a matrix of it"
        )
    return layers.Embedding(*module.weight.shape)


def _batch_norm(module: Any) -> Layer:
    if module.momentum is None or not module.track_running_stats:
        raise ValueError(
            f"expected a momentum and running statistics, got {module!r}; "
            "model.calibrate(X) gives exact ones"
        )
    return layers.BatchNorm(module.momentum, module.eps, module.affine)


def _recurrent(module: Any) -> Layer:
    """Return the layer of one of ours, or of torch's, of which it puts out the first tensor."""
    if not module.batch_first or not module.bias:
        raise ValueError(f"expected batch_first=True and biases, as ours have, got {module!r}")
    if module.dropout != 0 or getattr(module, "proj_size", 0) != 0:
        raise ValueError(f"expected no dropout between layers and no projection, got {module!r}")
    cls = getattr(recurrent, type(module).__name__)
    options = {"nonlinearity": module.nonlinearity} if cls is recurrent.RNN else {}
    layer: Layer = cls(
        module.hidden_size,
        num_layers=module.num_layers,
        bidirectional=module.bidirectional,
        outputs=getattr(module, "outputs", "all"),
        **options,
    )
    return layer


def _convolution(module: Any) -> Layer:
    cls = getattr(convolution, type(module).__name__)
    if module.padding_mode != "zeros":
        raise ValueError(f"expected padding_mode='zeros', got {module!r}")
    numbers = {name: getattr(module, name) for name in _of_convolution(cls)}
    layer: Layer = cls(**{name: _one_if_equal(each) for name, each in numbers.items()})
    return layer


def _one_if_equal(size: Any) -> Any:
    """Return the number that all of a tuple are."""
    return size[0] if isinstance(size, tuple) and len({*size}) == 1 else size


# module -> layer, by the name of the class; a ValueError says what is expected of it
_FROM: dict[str, Callable[[Any], Layer]] = {
    "Linear": _dense,
    **dict.fromkeys(_CONVOLUTIONS, _convolution),
    "Identity": lambda module: layers.Identity(),
    "Flatten": _flatten,
    "ReLU": lambda module: layers.ReLU(),
    "ReLU6": lambda module: layers.Hardtanh(0, 6),
    "LeakyReLU": lambda module: layers.LeakyReLU(module.negative_slope),
    "ELU": lambda module: layers.ELU(module.alpha),
    "Softplus": _softplus,
    "GELU": lambda module: layers.GELU(module.approximate),
    "SiLU": lambda module: layers.SiLU(),
    "Tanh": lambda module: layers.Tanh(),
    "Hardtanh": lambda module: layers.Hardtanh(module.min_val, module.max_val),
    "Sigmoid": lambda module: layers.Sigmoid(),
    "Softmax": _softmax,
    "PReLU": lambda module: layers.PReLU(),
    "Dropout": _dropout,
    "LayerNorm": _layer_norm,
    "RMSNorm": _rms_norm,
    "GroupNorm": lambda module: layers.GroupNorm(module.num_groups, module.eps, module.affine),
    "BatchNorm1d": _batch_norm,
    "BatchNorm2d": _batch_norm,
    "Rescale": lambda module: inputs.Rescale(module.scale, module.offset),
    "Standardize": lambda module: inputs.Standardize(),
    "RobustScale": lambda module: inputs.RobustScale(module.clip),
    "QuantileNormal": lambda module: inputs.QuantileNormal(module.n_quantiles),
    "PiecewiseLinear": lambda module: inputs.PiecewiseLinear(module.n_bins, module.bins),
    "OneHot": lambda module: inputs.OneHot(module.n_categories, module.min_count),
    "Impute": lambda module: inputs.Impute(module.strategy),
    "MissingIndicator": lambda module: inputs.MissingIndicator(),
    **dict.fromkeys(_AUGMENTATIONS, lambda module: type(module.layer)(**module.layer.get_config())),
    **dict.fromkeys(_RECURRENT, _recurrent),
    "Scale": lambda module: layers.Scale(),
    "Reshape": lambda module: shapes.Reshape(tuple(module.shape)),
    "Permute": lambda module: shapes.Permute(tuple(module.dims)),
    "PoolPositions": lambda module: sets.SetPool(module.pool),
    "PeriodicEmbedding": lambda module: layers.PeriodicEmbedding(module.n_frequencies),
    "Embedding": _embedding,
    "Step": lambda module: layers.Step(),
    "Sign": lambda module: layers.Sign(),
    "GaussianNoise": lambda module: layers.GaussianNoise(module.std),
}

# Modules of torch that take channels in front, and axes behind them; and those that know no axes.
_AXES = {
    name: int(name[-2])
    for name in (*_CONVOLUTIONS, "BatchNorm2d", *vars(pooling))
    if name[-2:] in ("1d", "2d")
}
_BY_NUMBER = {
    *("Identity", "ReLU", "ReLU6", "LeakyReLU", "ELU", "Softplus", "GELU", "SiLU", "Tanh"),
    *("Hardtanh", "Sigmoid", "Dropout", "PReLU"),
}

_CURES = {
    "LogSoftmax": "leave it out, as 'cross_entropy' takes logits",
}
