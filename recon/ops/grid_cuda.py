"""Grids and factors on CUDA: the kernels of cuda/grid/*.cu under the names and arguments of the CPU kernels.

In ``deterministic`` mode gradients are added up in fixed order, at a sort of the touched nodes and 16 bytes of scratch
memory for each (8 nodes a point for a grid, 12 for vector-matrix products, 6 for three vectors, 48 for local tensors);
otherwise by atomics. Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from recon.ops import cuda
from recon.ops.native import native

CORNERS, MODES, LINES, LOCAL = 8, 12, 6, 48  # entries a point, as in cuda/grid/grid_cuda.h


@dataclass(frozen=True)
class GridKernels:
    """Functions of a CUDA module (or of the tests' executor) with the arguments of the CPU kernels; float32."""

    module: Any
    deterministic: bool = True

    def _scratch(self, u: Tensor, entries: int) -> Tensor:
        return cuda.scratch(u, self.module.grid_scratch(entries * len(u)) if self.deterministic else 0)

    def grid_trilinear(self, values: Tensor, u: Tensor, out: Tensor) -> None:
        """values [x, y, z, channels] at u [n, 3] -> out [n, channels]."""
        self.module.grid_trilinear(values, u, out, cuda.stream(u.device))

    def grid_trilinear_backward(self, u: Tensor, g_out: Tensor, g_values: Tensor) -> None:
        """Adds to g_values."""
        self.module.grid_trilinear_backward(u, g_out, g_values, self._scratch(u, CORNERS), cuda.stream(u.device))

    def grid_hash(self, table: Tensor, nodes: Sequence[int], u: Tensor, out: Tensor) -> None:
        """table [levels, slots, features] -> out [n, levels * features]."""
        self.module.grid_hash(table, nodes, u, out, cuda.stream(u.device))

    def grid_hash_backward(self, nodes: Sequence[int], u: Tensor, g_out: Tensor, g_table: Tensor) -> None:
        """Adds to g_table."""
        self.module.grid_hash_backward(nodes, u, g_out, g_table, self._scratch(u, CORNERS), cuda.stream(u.device))

    def grid_sum(self, values: Tensor, nodes: Sequence[int], u: Tensor, out: Tensor, gradient: Tensor) -> None:
        """values [m] of levels -> out [n], gradient [n, 3]."""
        self.module.grid_sum(values, nodes, u, out, gradient, cuda.stream(u.device))

    def grid_sum_backward(self, nodes: Sequence[int], u: Tensor, g_out: Tensor, g_gradient: Tensor,
                          g_values: Tensor) -> None:
        """Adds to g_values."""
        self.module.grid_sum_backward(nodes, u, g_out, g_gradient, g_values, self._scratch(u, CORNERS),
                                      cuda.stream(u.device))

    def grid_vector_matrix(self, planes: Tensor, lines: Tensor, u: Tensor, out: Tensor) -> None:
        """planes [3, n, n, rank], lines [3, n, rank] -> out [points, 3 * rank]."""
        self.module.grid_vector_matrix(planes, lines, u, out, cuda.stream(u.device))

    def grid_vector_matrix_backward(self, planes: Tensor, lines: Tensor, u: Tensor, g_out: Tensor, g_planes: Tensor,
                                    g_lines: Tensor) -> None:
        """Adds to g_planes and g_lines."""
        self.module.grid_vector_matrix_backward(planes, lines, u, g_out, g_planes, g_lines, self._scratch(u, MODES),
                                                cuda.stream(u.device))

    def grid_tri_vector(self, lines: Tensor, u: Tensor, out: Tensor) -> None:
        """lines [3, n, rank] -> out [points, rank]."""
        self.module.grid_tri_vector(lines, u, out, cuda.stream(u.device))

    def grid_tri_vector_backward(self, lines: Tensor, u: Tensor, g_out: Tensor, g_lines: Tensor) -> None:
        """Adds to g_lines."""
        self.module.grid_tri_vector_backward(lines, u, g_out, g_lines, self._scratch(u, LINES), cuda.stream(u.device))

    def grid_local(self, lines: Tensor, table: Tensor, half: float, u: Tensor, out: Tensor) -> None:
        """lines [tensors, 3, n, rank], table [x, y, z] -> out [points, rank]."""
        self.module.grid_local(lines, table, half, u, out, cuda.stream(u.device))

    def grid_local_backward(self, lines: Tensor, table: Tensor, half: float, u: Tensor, g_out: Tensor,
                            g_lines: Tensor) -> None:
        """Adds to g_lines."""
        self.module.grid_local_backward(lines, table, half, u, g_out, g_lines, self._scratch(u, LOCAL),
                                        cuda.stream(u.device))


def kernels_of(tensor: Tensor) -> Any:
    """The kernels for a tensor: of its GPU, or the CPU's."""
    module = cuda.kernels_for(tensor)
    return native if module is None else GridKernels(module, cuda.deterministic())
