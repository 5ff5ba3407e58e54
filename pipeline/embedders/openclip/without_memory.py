"""Modules of which every tensor has a shape and a type only, to be filled from a checkpoint."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# What torch.nn.init and towers of their own fill a tensor by, and scale one with a number. Of
# tensors without memory PyTorch finds out step by step in Python, with a library for symbols that
# takes half a second to import, that shape and type stay what they were.
_KEEP_SHAPE = {
    torch.Tensor.normal_,
    torch.Tensor.uniform_,
    torch.Tensor.clamp_,
    torch.Tensor.erfinv_,
    torch.Tensor.triu_,
    torch.Tensor.mul,
    torch.Tensor.div,
}


class _NothingIsComputed(TorchFunctionMode):
    """Of what has no memory, a tensor is returned as it is."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **given)
        if func in _KEEP_SHAPE or getattr(func, "__module__", None) == torch.nn.init.__name__:
            tensor = args[0] if args else given["tensor"]
            others = args[1:] if args else ()
            if (
                tensor.is_meta
                and tensor.is_floating_point()
                and not any(isinstance(other, torch.Tensor | complex) for other in others)
            ):
                return tensor
        return func(*args, **given)


@contextmanager
def without_memory() -> Iterator[None]:
    """Modules that are built within have no memory, and nothing is computed for them."""
    with torch.device("meta"), _NothingIsComputed():
        yield
