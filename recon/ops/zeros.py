"""Zeros that take memory only where something is written. Of a grid around a surface most is never touched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def zeros(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """On the processor. torch fills its memory itself; the system hands out pages that are clear when first used."""
    return torch.from_numpy(np.zeros(tuple(shape), str(dtype).removeprefix("torch.")))


def zeros_like(tensor: Tensor) -> Tensor:
    """Of its shape and type, and on its device."""
    return zeros(tensor.shape, tensor.dtype) if tensor.device.type == "cpu" else torch.zeros_like(tensor)
