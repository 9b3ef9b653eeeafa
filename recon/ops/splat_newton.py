"""Local Newton steps of Gaussians: each moves by the inverse of its own block of J^T W J.

Kernels: cuda/splat/newton.h, newton.cu.

Sources: Lan et al., "3DGS^2", 2025, arXiv 2501.13975; Hsiao et al., "3DGS^2-TR", 2026, arXiv 2602.00395. Differences:
one block of 11 x 11 for mean, scales, quaternion and opacity, kept over many steps, in place of small ones solved anew
for each picture or of a diagonal; colours by their diagonal; momentum; steps are bounded by plain sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.ops.checks import expect_tensor
from recon.ops.splat import RECORD, Projection, _check_rows, camera_numbers
from recon.ops.splat_normal import BLOCK, SplatBlocks, _kernel_of
from recon.types import Camera


@dataclass
class SplatCurvature:
    """Inverse curvature of every Gaussian for itself.

    factors [n, 66] Cholesky factors of the damped blocks of geometry (cuda/splat/blocks.h)
    sh0 [n, 3], sh_rest [n, k, 3] one over the damped diagonal
    """

    factors: Tensor
    sh0: Tensor
    sh_rest: Tensor

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.factors, self.sh0, self.sh_rest


def curvature_of(blocks: SplatBlocks, diagonal: Sequence[Tensor], weights: Tensor, *, damping: float, floor: float
                 ) -> SplatCurvature:
    """Blocks and ``diagonal`` (rows as the parameters), times ``weights`` [n] > 0, damped and inverted.

    ``damping``: share of the diagonal that is added to it; of at least ``floor`` of the mean of its parameter.
    """
    added = [damping * d.clamp_min(max(floor * float(d.double().mean()), 1e-20)) if d.numel() else d for d in diagonal]

    def weighted(x: Tensor) -> Tensor:
        return x * weights.view(-1, *[1] * (x.dim() - 1))

    factors = weighted(blocks.values)
    _kernel_of(factors, "splat_factor_blocks")([weighted(a) for a in added], factors)
    sh0, sh_rest = (1.0 / weighted(diagonal[k] + added[k]) for k in (4, 5))
    return SplatCurvature(factors, sh0, sh_rest)


def project_backward_newton_(params: Sequence[Tensor], momentum: Sequence[Tensor], curvature: SplatCurvature,
                             camera: Camera, settings: Projection, records: Tensor, g_records: Tensor, *,
                             rate: float, keep: float, most: float, extra_log_scales: Tensor | None = None,
                             extra_logits: Tensor | None = None) -> int | Tensor:
    """Backward of ``project`` and one local Newton step of the drawn rows in one pass, in place.

    params, momentum are (means, log_scales, quaternions, logits, sh0, sh_rest) and running means of their gradients,
    float32, of which ``keep`` stays in each step; ``rate`` is the share of the step that is taken, ``most`` how far
    log scales may move at most (others by what is like it, see cuda/splat/newton_step.h). ``records`` is what
    ``project`` returned for them and ``g_records`` its gradient. ``extra_*`` are further gradients, of regularizers.
    Returns how many drawn rows were left alone for a gradient that is not finite: on CUDA as a tensor [1], so that
    nobody waits.
    """
    means, log_scales, quaternions, logits, sh0, sh_rest = params
    _check_rows(means, log_scales, quaternions, logits, sh0, sh_rest, settings.degree, torch.float32)
    expect_tensor("factors", curvature.factors, torch.float32, (len(means), BLOCK), on=means.device)
    expect_tensor("records", records, torch.float32, (len(means), RECORD), on=means.device)
    none = records.new_empty(0)
    refused: int | Tensor = _kernel_of(records, "splat_project_backward_newton")(
        [p.detach() for p in params], list(momentum), *curvature.tensors(), camera_numbers(camera, settings),
        settings.degree, settings.antialiased, records, g_records,
        none if extra_log_scales is None else extra_log_scales, none if extra_logits is None else extra_logits,
        keep, rate, most)
    for tensor in (*params, *momentum):
        torch.autograd.graph.increment_version(tensor)
    return refused

