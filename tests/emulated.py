"""An emulated accelerator: tensors that compute on the CPU and say that they live on `emulated:0`, `emulated:1`, ...

Like CUDA tensors they refuse to be computed with those of another place; a CPU tensor may only be a single number, or
an index. What is made on the device, or moved there, is an `Emulated`; every operation on it is done on the CPU.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

DEVICE = "emulated"
_CROSSING = ("aten::_to_copy", "aten::copy_")  # what moves data from one place to another
_INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")

_setup_privateuseone_for_python_backend(DEVICE)


class Emulated(torch.Tensor):
    """A tensor of the device, and the tensor on the CPU that it stands for."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor, device: torch.device) -> "Emulated":
        options = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made = cls._make_wrapper_subclass(cls, held.shape, **options, device=device)
        made.held = held.detach()
        return made

    def __repr__(self, **_: Any) -> str:
        return f"{self.held!r} on {self.device}"

    def tolist(self) -> Any:
        return self.held.tolist()

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    @property
    def data(self) -> torch.Tensor:
        return self.detach()

    @data.setter
    def data(self, other: "Emulated") -> None:
        torch.Tensor.data.__set__(self, other)
        self.held = other.held

    def __deepcopy__(self, memo: dict) -> "Emulated":
        if id(self) not in memo:
            made = Emulated(self.held.clone(), self.device)
            whole = isinstance(self, torch.nn.Parameter)
            memo[id(self)] = torch.nn.Parameter(made, self.requires_grad) if whole else made
        return memo[id(self)]

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        if operation._schema.name == "aten::to":  # in inference mode it is yet to be taken apart
            return operation.decompose(*arguments, **options or {})
        return computed(operation, *arguments, **options or {})


def computed(operation: Any, *arguments: Any, **options: Any) -> Any:
    """Do an operation on the CPU, and put what comes out where the device would."""
    name, tensors = operation._schema.name, list[torch.Tensor]()
    here = _changed(arguments, lambda each: tensors.append(each) or getattr(each, "held", each))
    there = _changed(options, lambda each: tensors.append(each) or getattr(each, "held", each))
    if name in _INDEXING:
        _check_indices(operation, arguments)
        places = {arguments[0].device}
    else:
        places = {each.device for each in tensors if each.dim() or each.device.type == DEVICE}
    if len(places) > 1 and name not in _CROSSING:
        raise RuntimeError(f"tensors of {' and '.join(sorted(map(str, places)))} meet in {operation}")
    goal = _place(options.get("device") or (tensors[0].device if name in _CROSSING else next(iter(places), "cpu")))
    found = operation(*here, **there | ({"device": torch.device("cpu")} if options.get("device") else {}))
    if operation._schema.is_mutable:
        _check_shapes(tensors)
        return options.get("out", arguments[0])
    return _changed(found, lambda each: Emulated(each, goal)) if goal.type == DEVICE else found


def _changed(data: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """Data of an operation with something else in place of each tensor."""
    if isinstance(data, torch.Tensor):
        return change(data)
    if isinstance(data, dict):
        return {name: _changed(each, change) for name, each in data.items()}
    return type(data)(_changed(each, change) for each in data) if isinstance(data, (list, tuple)) else data


def _check_indices(operation: Any, arguments: Any) -> None:
    """What is indexed, and what is put there, must be in one place; indices may also be on the CPU."""
    whole, indices, *values = arguments
    places = {each.device for each in indices if each is not None} - {torch.device("cpu")}
    places |= {each.device for each in values if isinstance(each, torch.Tensor) and each.dim()}
    if places - {whole.device}:
        raise RuntimeError(f"tensors of {whole.device} and of {', '.join(map(str, places))} meet in {operation}")


def _place(device: Any) -> torch.device:
    """A device with its number."""
    found = torch.device(device)
    return torch.device(DEVICE, found.index or 0) if found.type == DEVICE else found


def _check_shapes(tensors: list[torch.Tensor]) -> None:
    for each in tensors:
        if isinstance(each, Emulated) and each.shape != each.held.shape:
            raise NotImplementedError("an operation that changes the shape of a tensor of the device")


def _copy_from(source: torch.Tensor, goal: torch.Tensor, _: bool = False) -> torch.Tensor:
    return computed(torch.ops.aten.copy_.default, goal, source)


_library = torch.library.Library("_", "IMPL")
_library.fallback(computed, "PrivateUse1")  # what is made on the device, in any thread
_special = torch.library.Library("aten", "IMPL")
_special.impl("_copy_from", _copy_from, "PrivateUse1")
for _overload in ("default", "start", "start_step"):  # else these change the shape of an empty tensor
    _operation = getattr(torch.ops.aten.arange, _overload)
    _special.impl(_operation.name(), partial(computed, _operation), "PrivateUse1")
