"""Products with the Jacobian and local Newton steps on CUDA, under the names and arguments of the CPU's kernels.

Drivers: cuda/splat/normal_*.cu, newton.cu. The order of every sum is fixed. Nothing here waits for the device, where
cameras of the products may be too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.ops import cuda
from recon.ops.splat_cuda import Lists, SplatKernels

Rows = Sequence[Tensor]


@dataclass(frozen=True)
class NormalKernels:
    """Functions of a CUDA module (or of the tests' executor) with the arguments of the CPU kernels; float32."""

    module: Any

    def splat_tangent(self, lists: Lists, params: Rows, v: Rows, camera: Tensor, degree: int, antialiased: bool,
                      records: Tensor, background: Tensor, tangents: Tensor, out: Tensor) -> None:
        """J v [3, height, width]; tangents [n, 12] are scratch."""
        self._tangent(lists, params, v, camera, degree, antialiased, records, background, tangents,
                      cuda.none(records.device), out)

    def splat_pull_back(self, params: Rows, camera: Tensor, degree: int, antialiased: bool, records: Tensor,
                        g_records: Tensor, out: Rows) -> None:
        """Adds the gradient of the parameters to ``out``."""
        self.module.splat_pull_back(list(params), camera, camera.is_cuda, degree, antialiased, records, g_records,
                                    list(out), cuda.stream(records.device))

    def splat_normal(self, lists: Lists, params: Rows, v: Rows, camera: Tensor, degree: int, antialiased: bool,
                     records: Tensor, background: Tensor, picture: Tensor, transmittance: Tensor, weights: Tensor,
                     tangents: Tensor, gradient: Tensor, room: Tensor, _sums: Any, out: Rows) -> None:
        """Adds J^T W J v to ``out``; tangents, gradient [n, 12] and room [3, height, width] are scratch."""
        self._tangent(lists, params, v, camera, degree, antialiased, records, background, tangents, weights, room)
        SplatKernels(self.module).composite_backward(lists, records, picture, transmittance, room,
                                                     cuda.none(records.device), False, gradient)
        self.splat_pull_back(params, camera, degree, antialiased, records, gradient, out)

    def splat_normal_diagonal(self, lists: Lists, params: Rows, camera: Tensor, degree: int, antialiased: bool,
                              records: Tensor, picture: Tensor, weights: Tensor, _sums: Any, out: Rows,
                              blocks: Tensor) -> None:
        """Adds diag(J^T W J) to ``out``, and the blocks of geometry to ``blocks`` [n, 66] or empty."""
        m = self.module
        moments = cuda.scratch(records, lists.instances * m.splat_moments, torch.float32)
        m.splat_normal_diagonal(list(params), camera, camera.is_cuda, degree, antialiased, records, lists.width,
                                lists.height, lists.order, lists.begin, *lists.arrays(), picture, weights, moments,
                                list(out), blocks, cuda.stream(records.device))

    def splat_factor_blocks(self, added: Rows, blocks: Tensor) -> None:
        """Blocks plus a diagonal to their factors, in place."""
        self.module.splat_factor_blocks(list(added), blocks, cuda.stream(blocks.device))

    def splat_solve_blocks(self, factors: Tensor, x: Rows) -> None:
        """Solves with factored blocks, in place."""
        self.module.splat_solve_blocks(factors, list(x), cuda.stream(factors.device))

    def splat_project_backward_newton(self, params: Rows, momentum: Rows, factors: Tensor, inverse_sh0: Tensor,
                                      inverse_sh_rest: Tensor, camera: Tensor, degree: int, antialiased: bool,
                                      records: Tensor, g_records: Tensor, extra_log_scale: Tensor, extra_logit: Tensor,
                                      keep: float, rate: float, most: float) -> Tensor:
        """Backward of the projection and a local Newton step in place; returns [1] int32, the rows refused."""
        refused = torch.zeros(1, dtype=torch.int32, device=records.device)
        self.module.splat_project_backward_newton(
            list(params), list(momentum), factors, inverse_sh0, inverse_sh_rest, camera, degree, antialiased, records,
            g_records, extra_log_scale, extra_logit, keep, rate, most, refused, cuda.stream(records.device))
        return refused

    def _tangent(self, lists: Lists, params: Rows, v: Rows, camera: Tensor, degree: int, antialiased: bool,
                 records: Tensor, background: Tensor, tangents: Tensor, weights: Tensor, out: Tensor) -> None:
        stream = cuda.stream(records.device)
        self.module.splat_project_tangent(list(params), list(v), camera, camera.is_cuda, degree, antialiased, records,
                                          tangents, stream)
        self.module.splat_composite_tangent(records, tangents, lists.width, lists.height, *lists.arrays(), background,
                                            weights, out, stream)
