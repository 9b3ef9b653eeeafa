"""The CUDA kernels, where the package was built with nvcc and a GPU is there; and what to do where they are missing.

`recon._native_cuda` holds the drivers of cuda/*/*.cu for a list of architectures; nothing is compiled at first use.
They take scratch memory from torch's caching allocator and run on torch's current stream.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

MODULE = "recon._native_cuda"


class CudaMissing(RuntimeError):
    """CUDA was asked for and cannot be had; the message says what to do."""


def problem() -> str | None:
    """Why CUDA cannot be used here and what to do about it, or None where it can."""
    if not torch.backends.cuda.is_built():
        return f"this PyTorch ({torch.__version__}) is a build without CUDA; install one with it: pip install torch"
    if not torch.cuda.is_available():
        return "PyTorch finds no NVIDIA GPU; look at nvidia-smi, and at the driver's version"
    if backend() is None:
        why = missing()
        if why is None:
            return f"RECON_CUDA_BACKEND={os.environ['RECON_CUDA_BACKEND']} names nothing that is here; leave it out"
        return f"{why}; {_OTHERWISE}"
    return None


BUILD = ("install nvcc (the CUDA toolkit, or pip install nvidia-cuda-nvcc nvidia-cuda-cccl), then Recon again from "
         "its sources: RECON_CUDA=ON pip install --force-reinstall --no-deps . (ON: it says why where that fails)")
_OTHERWISE = ("or install gsplat (for Gaussians) or nerfacc (for volumes), which are slower: wheels with their "
              "kernels, from their own pages, since those on PyPI have none")


def missing() -> str | None:
    """Why Recon's own kernels are not used and what to do about it, or None where they are."""
    found = module()
    if found is None:
        return f"Recon was installed without its CUDA kernels; {BUILD}"
    why = refusal()
    if why is None:
        return None
    version = getattr(found, "version", 0)
    return (f"Recon's CUDA kernels, built with CUDA {version // 1000}.{version % 1000 // 10}, do not run here ({why}); "
            "update the driver, or install Recon again with an nvcc that this driver and GPU support")


@lru_cache(maxsize=1)
def refusal() -> str | None:
    """What CUDA has against running the compiled kernels on the first GPU; None where they run or are not there."""
    ask: Callable[[int], str] | None = getattr(module(), "problem", None)
    return (ask(0) or None) if ask is not None else None


_OTHERS = {"gsplat": "gsplat.csrc", "nerfacc": "nerfacc.csrc", "tinycudann": "tinycudann"}  # where kernels are


def backends() -> tuple[str, ...]:
    """Whose kernels work on a GPU: "recon", else those of "gsplat" (Gaussians), "nerfacc" and "tinycudann" (volumes)
    that are installed with their kernels compiled.

    RECON_CUDA_BACKEND chooses by name; several are divided by commas.
    """
    wanted = [n.strip() for n in os.environ.get("RECON_CUDA_BACKEND", "").split(",") if n.strip()]
    if module() is not None and refusal() is None and (not wanted or "recon" in wanted):
        return ("recon",)
    found = tuple(n for n in _OTHERS if (not wanted or n in wanted) and _installed(_OTHERS[n]))
    return () if found == ("tinycudann",) else found  # it looks up grids and draws nothing


def backend() -> str | None:
    """The first of ``backends``, or None."""
    return next(iter(backends()), None)


@lru_cache(maxsize=8)
def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


@lru_cache(maxsize=4)
def _substitutes(names: tuple[str, ...]) -> Any:
    from recon.ops.substitutes import Substitutes

    return Substitutes(**{name: importlib.import_module(name) for name in names})


@lru_cache(maxsize=1)
def module() -> ModuleType | None:
    """The compiled CUDA kernels, or None where the package has none."""
    try:
        return importlib.import_module(MODULE)
    except ImportError:
        return None


def stream(device: torch.device) -> int:
    """torch's current stream on a device, as the kernels take it; 0 for tensors of the processor."""
    return int(torch.cuda.current_stream(device).cuda_stream) if device.type == "cuda" else 0


def to_host(tensor: Tensor) -> Callable[[], Tensor]:
    """Sends numbers towards the host; the function that comes back waits for them, a step later for nothing."""
    if tensor.device.type != "cuda":
        return lambda: tensor
    with torch.cuda.device(tensor.device):
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor.detach(), non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()

    def read() -> Tensor:
        arrived.synchronize()
        return host

    return read


def start_copy(tensor: Tensor) -> Callable[[], float]:
    """``to_host`` of a single number."""
    read = to_host(tensor.detach().clone() if tensor.device.type == "cpu" else tensor)
    return lambda: float(read())


def number(scalar: Tensor) -> float | Tensor:
    """A scalar of the processor as a float; one on a GPU stays there, in double precision, and nobody waits for it."""
    return float(scalar) if scalar.device.type == "cpu" else scalar.detach().double()


class Late:
    """A number of every step as the host gets to know it: at once on the processor, a step late on a GPU.

    So the host never waits for the step it has just started; the first number is waited for.
    """

    def __init__(self) -> None:
        self._sent: Callable[[], float] | None = None

    def take(self, tensor: Tensor) -> float:
        """This step's number, or the one before it."""
        if tensor.device.type != "cuda":
            return float(tensor)
        before, self._sent = self._sent, start_copy(tensor)
        return (before or self._sent)()


def deterministic() -> bool:
    """Whether sums on the device have a fixed order. Yes, unless RECON_CUDA_DETERMINISTIC=0 trades that for memory."""
    return os.environ.get("RECON_CUDA_DETERMINISTIC", "1") != "0"


def scratch(like: Tensor, size: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Uninitialised memory on the device of ``like``."""
    return torch.empty(size, dtype=dtype, device=like.device)


@lru_cache(maxsize=8)
def none(device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """An empty tensor: the kernels' word for an argument that is not given."""
    return torch.empty(0, dtype=dtype, device=device)


def kernels_for(tensor: Tensor) -> Any | None:
    """The CUDA kernels for a tensor on a GPU (or what takes their place), None for one on the processor.

    Raises CudaMissing with what to do where the tensor is on a GPU and there are no kernels.
    """
    if tensor.device.type != "cuda":
        return None
    names = backends()
    if not names:
        raise CudaMissing(f"cannot work on {tensor.device}: {problem()}")
    if names != ("recon",):
        return _substitutes(names)
    return module() if tensor.device.index == torch.cuda.current_device() else Guarded(module(), tensor.device)


class Guarded:
    """The kernels as they are called for tensors of a GPU that is not torch's current one: CUDA launches on the current
    device, and where that is another, neither the stream nor the memory belongs to it."""

    def __init__(self, kernels: Any, device: torch.device) -> None:
        self._kernels, self._device = kernels, device

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._kernels, name)
        if not callable(found):
            return found

        def call(*arguments: Any) -> Any:
            with torch.cuda.device(self._device):
                return found(*arguments)

        return call
