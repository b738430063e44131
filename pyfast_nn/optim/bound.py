"""An optimizer's own parameters: the user's arrays, updated where they lie."""

import itertools
import math
from collections.abc import Iterator, MutableMapping

import numpy as np

from .. import _core, checks


def as_array(value, path):
    """Return a leaf of the parameters or gradients as an array, without a copy."""
    if isinstance(value, np.generic):  # the gradient of an array () is often one
        scalar = np.asarray(value)
        scalar.flags.writeable = False
        return scalar
    if getattr(value, "requires_grad", False):
        raise TypeError(
            f"{path} requires gradients, expected it without them: pass .detach() of it"
        )
    if hasattr(value, "__dlpack__"):
        try:
            # torch's own way gives an array that may be written to.
            return value.numpy() if hasattr(value, "detach") else np.from_dlpack(value)
        except (TypeError, RuntimeError, BufferError) as error:
            raise TypeError(f"{path} cannot be read as an array in this memory: {error}") from None
    raise TypeError(f"{path}: expected a float32 or float64 array, got {checks.describe(value)}")


class ParamGroup(MutableMapping):
    """Some of an optimizer's parameters, with hyper-parameters of their own.

    A mapping from the names of the hyper-parameters to their values: those of the optimizer, unless
    the group has been given others. What is assigned holds for this group from the next step on.

    Attributes
    ----------
    params : list of str
        The keys of its parameters: ``"layers.2.w"`` for ``params["layers"][2]["w"]``.
    trainable : bool
        False leaves its parameters alone.
    """

    def __init__(self, optimizer, own):
        self._optimizer = optimizer
        self._own = {}
        self.params = []
        for name, value in own.items():
            self[name] = value

    def __getitem__(self, name):
        self._check_name(name)
        if name in self._own:
            return self._own[name]
        return True if name == "trainable" else getattr(self._optimizer, name)

    def __setitem__(self, name, value):
        self._check_name(name)
        check = checks.boolean if name == "trainable" else self._hyper(name).check
        self._own[name] = check(value, name)
        self._optimizer._changed()

    def __delitem__(self, name):
        """Go back to the optimizer's value."""
        del self._own[name]
        self._optimizer._changed()

    def __iter__(self):
        return iter([*self._optimizer._hyper_parameters(), "trainable"])

    def __len__(self):
        return len(self._optimizer._hyper_parameters()) + 1

    def __repr__(self):
        return f"ParamGroup({len(self.params)} parameters, {dict(self)})"

    def _hyper(self, name):
        return getattr(type(self._optimizer), name)

    def _check_name(self, name):
        if name not in list(self):
            raise KeyError(f"param_groups: expected one of {', '.join(self)}, got {name!r}")

    def as_optimizer(self):
        """Return an optimizer with the hyper-parameters of this group."""
        view = object.__new__(type(self._optimizer))
        own = {name: value for name, value in self._own.items() if name != "trainable"}
        view.__dict__.update(self._optimizer.__dict__, **own)
        return view


class Bound:
    """The parameters of an optimizer with their groups and states, and the updater in the core."""

    def __init__(self, optimizer, params, own, places):
        """`own`: hyper-parameters of each group; `places`: the number of each tensor's group."""
        self._params = params
        self._tensors = _core.Tensors(params, as_array)
        self._places = places
        self.keys, self.arrays = self._tensors.keys, self._tensors.arrays
        self.groups = [ParamGroup(optimizer, each) for each in own]
        _check_unique(self.keys, self._tensors.paths)
        for key, place in zip(self.keys, places, strict=True):
            self.groups[place].params.append(key)
        self.updater = _core.Updater(self._tensors, places, len(self.groups))
        self.state = [{} for _ in self.arrays]  # of each tensor, {name: vector}
        self._names = []  # of the states that each group's update uses
        self.changed = True

    @classmethod
    def of(cls, optimizer, params, groups):
        """Bind `optimizer` to the parameters that the user gave."""
        if isinstance(params, Iterator):  # torch's model.parameters(), say
            params = list(params)
        if _is_list_of_groups(params):
            if groups is not None:
                raise ValueError("groups: expected None where params is a list of groups")
            own = [{k: v for k, v in group.items() if k != "params"} for group in params]
            params = [group["params"] for group in params]
            sizes = [len(_core.Tensors(group, as_array).keys) for group in params]
            places = [place for place, size in enumerate(sizes) for _ in range(size)]
        else:
            own, places = resolve_groups(_core.Tensors(params, as_array).keys, groups)
        return cls(optimizer, params, own, places)

    def step(self, grads):
        if self.changed:
            self._refresh()
        self.updater.step(grads)

    def norm(self, grads):
        """Return the norm of all gradients as one vector."""
        return self.updater.norm(grads)

    def _refresh(self):
        """Tell the core of the hyper-parameters of the next step."""
        updates, names, changing = [], [], False
        for group in self.groups:
            optimizer = group.as_optimizer()
            name, numbers = optimizer._update(1)
            lr = optimizer._next(optimizer.lr, "lr", 1)
            changing |= not isinstance(optimizer.lr, float)
            changing |= any(isinstance(value, np.ndarray) for value in numbers.values())
            numbers = {key: float(np.ravel(value)[0]) for key, value in numbers.items()}
            update = ((name, numbers), float(np.ravel(lr)[0]))
            updates.append(update if group["trainable"] else None)
            names.append(optimizer._state_names())
        self._allocate(names)
        self.updater.set_updates(updates)
        self.changed = changing

    def _allocate(self, names):
        """Make the states that are not there yet; `names`: of those that each group needs."""
        if names == self._names:
            return
        optimizers, of_tensors = [group.as_optimizer() for group in self.groups], []
        for place, array, state in zip(self._places, self.arrays, self.state, strict=True):
            shapes = optimizers[place]._state_shapes(array.shape)
            for name, shape in shapes.items():
                if name not in state:
                    state[name] = _vector_beside(array, math.prod(shape))
                    state[name][...] = optimizers[place]._initial(name)
            of_tensors.append([state[name] for name in shapes])
        self.updater.set_states(list(map(list, itertools.zip_longest(*of_tensors))))
        self._names = names

    def saved(self):
        """Return what `restored` takes: the parameters themselves, and copies of all else."""
        return {
            "params": self._params,
            "own": [dict(group._own) for group in self.groups],
            "places": self._places,
            "state": [{k: v.copy() for k, v in vectors.items()} for vectors in self.state],
            "steps": self.updater.steps,
        }

    @classmethod
    def restored(cls, optimizer, saved):
        bound = cls(optimizer, saved["params"], saved["own"], saved["places"])
        bound.updater.steps = saved["steps"]
        bound.state = saved["state"]
        return bound


def _vector_beside(array, size):
    """Return a vector (size,) with the address of `array`, modulo a line of the cache."""
    line = 64  # bytes
    nbytes = size * array.itemsize
    memory = np.empty(nbytes + line, np.uint8)
    start = (array.ctypes.data - memory.ctypes.data) % line
    if start % array.itemsize:
        start = 0
    return memory[start : start + nbytes].view(array.dtype)


def _check_unique(keys, paths):
    known = {}
    for key, path in zip(keys, paths, strict=True):
        if key in known:
            raise ValueError(f"params: {known[key]} and {path} would both have the key {key!r}")
        known[key] = path


def _is_list_of_groups(params):
    return (
        isinstance(params, (list, tuple))
        and len(params) > 0
        and all(isinstance(group, dict) and "params" in group for group in params)
    )


def resolve_groups(keys, groups):
    """Return the hyper-parameters of each group, and for each key the number of its group."""
    if groups is None:
        return [{}], [0] * len(keys)
    if not callable(groups):
        came = checks.describe(groups)
        raise TypeError(f"groups: expected a function from a parameter's key to a dict, got {came}")
    own, places = [], []
    for key in keys:
        values = groups(key)
        if not isinstance(values, dict):
            came = checks.describe(values)
            raise TypeError(f"groups({key!r}): expected a dict of hyper-parameters, got {came}")
        if values not in own:
            own.append(values)
        places.append(own.index(values))
    return own, places
