"""Devices that are only pretended, so that sharded models can be tested where there is one.

Numbers stay on the CPU, but tensors say that they are on "cpu:1" or "cpu:2", and an operation on
tensors of several devices fails as the real one does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_submodules
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from ivcprune.pruning.caches.names import CACHE_NAMES

FIRST, SECOND = torch.device("cpu:1"), torch.device("cpu:2")
CPU = torch.device("cpu")

_INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
"""Take indices on the CPU, whatever device the tensor is on."""
_CROSSING = ("aten::_to_copy", "aten::copy_")


class Placed(Tensor):
    """A CPU tensor `held`, said to be on another device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor, device: torch.device) -> Placed:
        placed = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=device,
        )
        placed.held = held
        return placed

    def __repr__(self, **_: Any) -> str:
        return f"{self.held} on {self.device}"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


class PretendedDevices(TorchDispatchMode):
    """While it is active, tensors can be made on the pretended devices."""

    def __enter__(self) -> PretendedDevices:
        # makes no operation of the device that it is given where that is some CPU
        self._tensor = torch.tensor
        torch.tensor = self._make
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        torch.tensor = self._tensor
        super().__exit__(*exception)

    def _make(self, data: Any, *, device: Any = None, **options: Any) -> Tensor:
        made = self._tensor(tree_map(_held, data), **options)
        return made if device is None else made.to(device)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


def dispatch(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on the CPU; its result is where the operands are, or where it is sent.

    Raises:
        RuntimeError: operands are on several devices.
    """
    name = func._schema.name
    device = kwargs.get("device")
    if device is None or name in _CROSSING:
        found = _common_device(name, args, kwargs)
        device = found if device is None else device
    device = torch.device(device)
    if "device" in kwargs:
        kwargs = kwargs | {"device": CPU}
    result = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    if func._schema.is_mutable:  # in place, like `add_`
        return args[0]
    return tree_map(lambda x: _placed(x, device), result)


def _common_device(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
    if name in _CROSSING:
        return args[0].device
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    if name in _INDEXING:
        tensors = [x for x in tensors if x is args[0] or x.device != CPU]
    devices = {x.device for x in tensors if x.dim() or x.device != CPU}
    if len(devices) > 1:
        raise RuntimeError(f"{name}: tensors on different devices {sorted(map(str, devices))}")
    return devices.pop() if devices else CPU


def _held(x: Any) -> Any:
    return x.held if isinstance(x, Placed) else x


def _placed(x: Any, device: torch.device) -> Any:
    is_plain = isinstance(x, Tensor) and not isinstance(x, Placed)
    return Placed(x, device) if is_plain and device != CPU else x


# A model on two of them --------------------------------------------------------------------------


class _MovesInputs(ModelHook):
    """What accelerate's hooks do: inputs come to the device of the module."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        moved = send_to_device(kwargs, self._device, skip_keys=list(CACHE_NAMES))
        return send_to_device(args, self._device), moved


@contextmanager
def sharded(model: nn.Module, second: Sequence[str]) -> Iterator[None]:
    """The model on FIRST, but the modules named `second` on SECOND; afterwards on the CPU."""
    originals = []
    for name, module in model.named_modules():
        is_second = any(name == part or name.startswith(f"{part}.") for part in second)
        device = SECOND if is_second else FIRST
        for tensors in (module._parameters, module._buffers):
            for key, tensor in tensors.items():
                if tensor is not None:
                    originals.append((tensors, key, tensor))
                    tensors[key] = Placed(tensor.detach(), device)
        add_hook_to_module(module, _MovesInputs(device))
    try:
        with PretendedDevices(), torch.no_grad():
            yield
    finally:
        remove_hook_from_submodules(model)
        for tensors, key, tensor in originals:
            tensors[key] = tensor


def place(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Model inputs on FIRST."""
    return {name: Placed(x, FIRST) for name, x in inputs.items()}
