"""Arguments of ops: errors that name the argument and say what was expected."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def expect_tensor(name: str, tensor: object, dtypes: torch.dtype | Sequence[torch.dtype],
                  shape: Sequence[int | str] | None = None) -> None:
    """Raises TypeError or ValueError unless ``tensor`` is a contiguous CPU tensor of one of ``dtypes``.

    ``shape`` holds sizes; a name stands for any size ("height").
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    allowed = (dtypes,) if isinstance(dtypes, torch.dtype) else tuple(dtypes)
    if tensor.dtype not in allowed:
        wanted = " or ".join(str(d).removeprefix("torch.") for d in allowed)
        raise TypeError(f"{name} must be {wanted}, got {str(tensor.dtype).removeprefix('torch.')}")
    if tensor.device.type != "cpu":
        raise ValueError(f"{name} must be on the CPU, got {tensor.device}")
    if shape is not None and (
        tensor.ndim != len(shape) or any(isinstance(s, int) and s != got for s, got in zip(shape, tensor.shape))
    ):
        wanted = ", ".join(str(s) for s in shape)
        raise ValueError(f"{name} must be [{wanted}], got {list(tensor.shape)}")
    if not tensor.is_contiguous():
        raise ValueError(f"{name} must be contiguous (call .contiguous()), got strides {list(tensor.stride())}")
