"""Small networks on CUDA: the kernels of cuda/mlp/mlp.cu under the names and arguments of the CPU kernels.

The order of every sum is fixed. Nothing here waits for the device; so ``row`` is not checked to be in range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.ops import cuda
from recon.ops.native import native


@dataclass(frozen=True)
class MlpKernels:
    """Functions of a CUDA module (or of the tests' executor) with the arguments of the CPU kernels; float32."""

    module: Any

    def mlp_forward(self, sizes: Sequence[int], parameters: Tensor, x: Tensor, shared: Tensor, row: Tensor,
                    squash: bool, out: Tensor) -> None:
        """x [n, a], shared [rays, b], row [n] -> out [n, outputs]."""
        scratch = cuda.scratch(x, self.module.mlp_forward_scratch(sizes, len(x)), torch.float32)
        self.module.mlp_forward(sizes, parameters, x, shared, row, squash, out, scratch, cuda.stream(x.device))

    def mlp_backward(self, sizes: Sequence[int], parameters: Tensor, x: Tensor, shared: Tensor, row: Tensor,
                     squash: bool, g_out: Tensor, g_x: Tensor, g_parameters: Tensor) -> None:
        """Adds to g_parameters, fills g_x."""
        scratch = cuda.scratch(x, self.module.mlp_backward_scratch(sizes, len(x)), torch.float32)
        self.module.mlp_backward(sizes, parameters, x, shared, row, squash, g_out, g_x, g_parameters, scratch,
                                 cuda.stream(x.device))


def kernels_of(tensor: Tensor) -> Any:
    """The kernels for a tensor: of its GPU, or the CPU's."""
    module = cuda.kernels_for(tensor)
    return native if module is None else MlpKernels(module)
