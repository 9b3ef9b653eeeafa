"""Arguments of ops: errors that name the argument and say what was expected."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CPU = torch.device("cpu")


def place_of(tensor: object) -> torch.device:
    """Where an op with CUDA kernels works: on the GPU that its first argument is on, else on the CPU."""
    return tensor.device if isinstance(tensor, Tensor) and tensor.device.type == "cuda" else CPU


def expect_tensor(name: str, tensor: object, dtypes: torch.dtype | Sequence[torch.dtype],
                  shape: Sequence[int | str] | None = None, *, on: torch.device = CPU) -> None:
    """Raises TypeError or ValueError unless ``tensor`` is contiguous, of one of ``dtypes``, and on ``on``.

    ``shape`` holds sizes; a name stands for any size ("height").
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    allowed = (dtypes,) if isinstance(dtypes, torch.dtype) else tuple(dtypes)
    if tensor.dtype not in allowed:
        wanted = " or ".join(str(d).removeprefix("torch.") for d in allowed)
        raise TypeError(f"{name} must be {wanted}, got {str(tensor.dtype).removeprefix('torch.')}")
    if tensor.device != on:
        raise ValueError(f"{name} must be on {'the CPU' if on == CPU else on}, got {tensor.device}")
    if shape is not None and (
        tensor.ndim != len(shape) or any(isinstance(s, int) and s != got for s, got in zip(shape, tensor.shape))
    ):
        wanted = ", ".join(str(s) for s in shape)
        raise ValueError(f"{name} must be [{wanted}], got {list(tensor.shape)}")
    if not tensor.is_contiguous():
        raise ValueError(f"{name} must be contiguous (call .contiguous()), got strides {list(tensor.stride())}")
