"""Products with the Jacobian of any picture that can be drawn and differentiated backwards; J is never formed.

Sources: Knoll and Keyes, "Jacobian-free Newton-Krylov methods", J. Comput. Phys. 2004, for J v by differences; Bekas,
Kokiopoulou, Saad, "An estimator for the diagonal of a matrix", Appl. Numer. Math. 2007, for the diagonal by probes.
For fields whose kernels have no forward derivative: J v takes two drawings, J^T u one and a backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from recon.types.placement import sent

_STEP = 3e-3  # the largest change of a parameter in a difference; parameters of volumes are of the order of 1


class DifferencedPicture:
    """Implements ``recon.protocols.Linear``. Parameters move during a product and are back, to the bit, after it.

    draw     draws the picture [3, height, width] with the parameters as they are
    params   leaves that ``draw`` reads      probes   drawings for the estimate of a diagonal
    """

    def __init__(self, draw: Callable[[], Tensor], params: Sequence[Tensor], probes: int = 4) -> None:
        self._draw, self._params, self._probes = draw, list(params), probes
        with torch.no_grad():
            self.picture = draw().contiguous()

    @property
    def nbytes(self) -> int:
        return self.picture.numel() * self.picture.element_size()

    def jvp(self, v: Sequence[Tensor]) -> Tensor:
        """J v [3, height, width], by a central difference."""
        h = self._step(v)
        if h is None:
            return torch.zeros_like(self.picture)
        before = [p.detach().clone() for p in self._params]
        try:
            with torch.no_grad():
                ends = []
                for sign in (1.0, -1.0):
                    for p, old, along in zip(self._params, before, v, strict=True):
                        p.detach().copy_(old + sign * h * along)
                    ends.append(self._draw())
        finally:
            for p, old in zip(self._params, before, strict=True):
                p.detach().copy_(old)
        return (ends[0] - ends[1]) / (2 * h)

    def _step(self, v: Sequence[Tensor]) -> float | Tensor | None:
        """By which share of v parameters move; None where v is zero, which on a GPU nobody waits to know."""
        sizes = [t.abs().max() for t in v if t.numel()]
        if self.picture.device.type == "cuda" and sizes:
            most = torch.stack(sizes).max().double()
            return torch.where(most > 0, _STEP / most, 1.0)
        largest = max((float(size) for size in sizes), default=0.0)
        return None if largest == 0.0 else _STEP / largest

    def vjp_(self, u: Tensor, out: Sequence[Tensor]) -> None:
        """Adds J^T u to ``out``."""
        with torch.enable_grad():
            pulled = torch.autograd.grad(self._draw(), self._params, u, allow_unused=True)
        for to, g in zip(out, pulled, strict=True):
            if g is not None:
                to += g

    def normal_(self, v: Sequence[Tensor], weights: Tensor, out: Sequence[Tensor]) -> None:
        """Adds J^T W J v."""
        self.vjp_(weights * self.jvp(v), out)

    def diagonal_(self, weights: Tensor, out: Sequence[Tensor], blocks: Tensor | None = None) -> None:
        """Adds an unbiased estimate of diag(J^T W J): the mean of squares of J^T W^1/2 z over random signs z."""
        generator, root = torch.Generator().manual_seed(0), weights.sqrt()
        for _ in range(self._probes):
            signs = torch.randint(0, 2, weights.shape, generator=generator).to(weights.dtype) * 2 - 1
            signs = sent(signs, weights.device)
            found = [torch.zeros_like(t) for t in out]
            self.vjp_(root * signs, found)
            for to, g in zip(out, found, strict=True):
                to += g.square() / self._probes
