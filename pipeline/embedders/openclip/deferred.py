"""OpenCLIP without what it imports for others: half of the seconds that importing it costs.

OpenCLIP, torchvision and timm import torch's compiler and parts of transformers for uses that few
models have: HuggingFace's text towers, CoCa's captions, ``torch.compile``. While they are imported
here, stand-ins lie in the place of those modules; afterwards they are gone, and whoever imports the
modules has the real ones. What was taken from a stand-in (a class of transformers, a decorator)
becomes the real one when it is first used, in this process's own code and in anybody else's.
"""

import contextlib
import functools
import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

_COMPILER = ("torch._dynamo", "torch._dynamo.utils")
_TRANSFORMERS = ("transformers", "transformers.modeling_outputs", "transformers.generation")
_PACKAGES = (_COMPILER[0], _TRANSFORMERS[0], _TRANSFORMERS[2])
# What every module is asked for by inspect and warnings, and by the import system: no use of it.
_LOOKED_AT = ("__file__", "__path__", "__warningregistry__", "__wrapped__")
# Others that import at the same time may meet a stand-in, which then steps aside; one at a time.
_lock = threading.RLock()


@contextlib.contextmanager
def deferred_imports() -> Iterator[None]:
    """Within: torch's compiler and transformers are not imported, but when something of them is
    used. Nothing happens where they are imported already, or are not installed.

    Raises:
        ImportError: torch is not installed.
    """
    importlib.import_module("torch")
    with _lock:
        mine = [_Compiler(name) for name in _COMPILER if _may_be_deferred(name, _COMPILER[0])]
        others = [
            _StandIn(name) for name in _TRANSFORMERS if _may_be_deferred(name, _TRANSFORMERS[0])
        ]
        stand_ins: list[_StandIn] = [*mine, *others]
        sys.modules.update({stand_in.__name__: stand_in for stand_in in stand_ins})
        try:
            yield
        finally:
            for stand_in in stand_ins:
                stand_in._step_aside()


def _may_be_deferred(name: str, top: str) -> bool:
    return top not in sys.modules and importlib.util.find_spec(top) is not None


class _StandIn(ModuleType):
    """A module in the place of one that is not imported yet: it gives its classes as
    :class:`_Later`, and for anything else it steps aside and the real one is imported."""

    def __getattr__(self, name: str) -> Any:
        if name == "__path__" and self.__name__ in _PACKAGES:
            return _Path(self)
        if name in _LOOKED_AT:
            raise AttributeError(name)
        if name[:1].isupper():
            return _Later(self.__name__, name)
        return getattr(self._real(), name)

    def _real(self) -> ModuleType:
        self._step_aside()
        return importlib.import_module(self.__name__)

    def _step_aside(self) -> None:
        for name, module in list(sys.modules.items()):
            family = self.__name__.partition(".")[0] if self.__name__ in _TRANSFORMERS else "torch"
            if isinstance(module, _StandIn) and name.partition(".")[0] == family:
                del sys.modules[name]


class _Compiler(_StandIn):
    """``torch._dynamo``, of which ``disable`` is a decorator and ``is_compile_supported`` asked."""

    def __getattr__(self, name: str) -> Any:
        if name == "disable":
            return _disable_later
        if name == "is_compile_supported":
            return _is_compile_supported
        return super().__getattr__(name)


class _Path:
    """Where a package's modules are; looked into only by who imports another one of them."""

    def __init__(self, package: _StandIn) -> None:
        self._package = package

    def __iter__(self) -> Iterator[str]:
        return iter(self._package._real().__path__)


def _is_compile_supported(device_type: str) -> Any:
    utils = importlib.import_module("torch._dynamo.utils")
    return utils.is_compile_supported(device_type)


def _disable_later(
    fn: Callable[..., Any] | None = None, recursive: bool = True, **options: Any
) -> Callable[..., Any]:
    """``torch.compiler.disable``: until the compiler is there, nothing is compiled anyway."""
    if fn is None:
        return functools.partial(_disable_later, recursive=recursive, **options)
    disabled: list[Callable[..., Any]] = []

    @functools.wraps(fn)
    def called(*args: Any, **kwargs: Any) -> Any:
        if not disabled and "torch._dynamo.eval_frame" in sys.modules:
            compiler = importlib.import_module("torch._dynamo")
            disabled.append(compiler.disable(fn, recursive, **options))
        return (disabled[0] if disabled else fn)(*args, **kwargs)

    return called


class _Later:
    """A class of a module that is imported when the class is used: called, looked into, derived
    from, or asked whether something is an instance of it."""

    def __init__(self, module: str, name: str) -> None:
        self._place = module, name

    def _class(self) -> Any:
        name, attribute = self._place
        module = importlib.import_module(name)
        return getattr(module._real() if isinstance(module, _StandIn) else module, attribute)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._class()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._class(), name)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._class())

    def __subclasscheck__(self, other: type) -> bool:
        return issubclass(other, self._class())

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        return (self._class(),)

    def __or__(self, other: Any) -> Any:
        return self._class() | other

    def __ror__(self, other: Any) -> Any:
        return other | self._class()
