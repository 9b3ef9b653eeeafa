"""Ray marching, grids and networks on a GPU without our own kernels: nerfacc, tiny-cuda-nn and plain torch.

For GPU machines where Recon was installed without nvcc. Slower than our kernels, and sums have no fixed order.
Functions have the names and arguments of the CUDA modules (cuda/{march,grid,mlp}/bind.cu). Not run on a GPU.

nerfacc (Li et al., "NerfAcc", ICCV 2023, arXiv 2305.04966) turns density into weights and adds up along rays. Its own
traversal is not used: it places samples otherwise and knows no contracted outside; ours is repeated here in torch.
tiny-cuda-nn (Mueller 2021) looks up hash grids, where it is installed; its networks have no biases, so ours are torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import max_pool3d, softplus

from recon.ops import grid, grid_sum, mlp
from recon.ops.tinycudann_grid import HashLookup


@dataclass
class VolumeKernels:
    """``nerfacc`` and ``tinycudann`` are the packages; without the latter hash grids are looked up in torch."""

    nerfacc: Any
    tinycudann: Any = None
    exact_lists = True  # no more samples than there are
    _walked: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)  # samples on the way to ``march_write``
    _hash: HashLookup | None = None

    # ------------------------------------------------------------ marching

    def march_distances(self, cells: Tensor, _scratch: Tensor, _stream: int) -> None:
        """As in cuda/march/bind.cu."""
        reached = (cells != 0).float()[None, None]
        away = torch.full_like(reached, 255.0)
        for k in range(255):
            away = torch.where((reached > 0) & (away > k), float(k), away)
            reached = max_pool3d(reached, 3, 1, 1)
        cells.copy_(away[0, 0].to(torch.uint8))

    def march_scratch(self, _rays: int) -> int:
        """No scratch memory is needed."""
        return 0

    def march_count(self, origin: Tensor, direction: Tensor, offset: Tensor, box: Tensor, cells: Tensor, near: float,
                    far: float, step: float, offsets: Tensor, _scratch: Tensor, _stream: int) -> None:
        """Fills offsets [rays + 1]; the samples wait for ``march_write``."""
        t, hit = _walk(origin, direction, offset, box, cells, near, far, step)
        counts = hit.sum(0)
        offsets[0] = 0
        offsets[1:] = counts.cumsum(0)
        ray = torch.repeat_interleave(torch.arange(len(counts), device=t.device), counts)
        at = t.T[hit.T]
        position, _ = _unit(origin[ray] + at[:, None] * direction[ray], box)
        self._walked = {offsets.data_ptr(): (position.clamp(0, 1), at)}

    def march_write(self, *arguments: Any) -> None:
        """The arguments of ``march_count``, offsets, then position [m, 3] and t [m], which are filled."""
        *_, offsets, position, t, _stream = arguments
        found = self._walked.pop(offsets.data_ptr())
        position.copy_(found[0])
        t.copy_(found[1])

    def march_weights(self, raw: Tensor, offsets: Tensor, delta: float, shift: float, end: float, weight: Tensor,
                      _stream: int) -> None:
        """As in cuda/march/bind.cu."""
        found, before = self._weights(softplus(raw + shift) * delta, offsets)
        weight.copy_(torch.where(before < end, 0.0, found))

    def march_composite(self, raw: Tensor, t: Tensor, offsets: Tensor, colour: Tensor, index: Tensor,
                        background: Tensor, delta: float, shift: float, rgb: Tensor, depth: Tensor, through: Tensor,
                        distortion: Tensor, _scratch: Tensor, _stream: int) -> None:
        """As in cuda/march/bind.cu."""
        found = self._composite(raw, t, offsets, colour, index, background, delta, shift)
        for out, value in zip((rgb, depth, through, distortion), found, strict=True):
            out.copy_(value)

    def march_composite_backward(self, raw: Tensor, t: Tensor, offsets: Tensor, colour: Tensor, index: Tensor,
                                 background: Tensor, delta: float, shift: float, g_rgb: Tensor, g_through: Tensor,
                                 g_distortion: Tensor, g_raw: Tensor, g_colour: Tensor, _scratch: Tensor,
                                 _stream: int) -> None:
        """As in cuda/march/bind.cu."""
        leaves = [raw.detach().requires_grad_(), colour.detach().requires_grad_()]
        with torch.enable_grad():
            rgb, _, through, distortion = self._composite(leaves[0], t, offsets, leaves[1], index, background, delta,
                                                          shift)
        found = torch.autograd.grad((rgb, through, distortion), leaves, (g_rgb, g_through, g_distortion))
        g_raw.copy_(found[0])
        g_colour.copy_(found[1])

    def _weights(self, tau: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [m] and the transmittance in front of each sample, of optical depths [m]."""
        if not len(tau):
            return tau, tau
        begin = torch.zeros_like(tau)
        weight, before, _ = self.nerfacc.render_weight_from_density(begin, begin + 1, tau, packed_info=_packed(offsets))
        return weight, before

    def _composite(self, raw: Tensor, t: Tensor, offsets: Tensor, colour: Tensor, index: Tensor, background: Tensor,
                   delta: float, shift: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rays, packed = len(offsets) - 1, _packed(offsets)
        ray = torch.repeat_interleave(torch.arange(rays, device=raw.device), packed[:, 1], output_size=len(raw))
        tau = softplus(raw + shift) * delta
        w, _ = self._weights(tau, offsets)

        def total(weight: Tensor, values: Tensor, of: Tensor) -> Tensor:
            out: Tensor = self.nerfacc.accumulate_along_rays(weight, values, of, rays)
            return out

        chosen = index.long()
        through = torch.exp(-total(tau, torch.ones_like(tau)[:, None], ray)[:, 0])
        rgb = total(w[chosen], colour, ray[chosen]) + through[:, None] * background
        depth = total(w.detach(), t[:, None], ray)[:, 0]
        s = torch.where(t < 1, t, 2 - 1 / t)
        # sum_ij w_i w_j |s_i - s_j| = 2 sum_i w_i (s_i sum_{j < i} w_j - sum_{j < i} w_j s_j)
        crowd, centre = (self.nerfacc.exclusive_sum(x, packed_info=packed) if len(x) else x for x in (w, w * s))
        spread = 2 * w * (s * crowd - centre) + w * w * _widths(s, ray) / 3
        return rgb, depth, through, total(spread, torch.ones_like(s)[:, None], ray)[:, 0]

    # ------------------------------------------------------------ lookups and networks

    def grid_scratch(self, _entries: int) -> int:
        """No scratch memory is needed."""
        return 0

    def grid_trilinear(self, values: Tensor, u: Tensor, out: Tensor, _stream: int) -> None:
        """As in cuda/grid/bind.cu, and so the others."""
        out.copy_(grid.trilinear_reference(values, u.clamp(0, 1)))

    def grid_trilinear_backward(self, u: Tensor, g_out: Tensor, g_values: Tensor, _scratch: Tensor,
                                _stream: int) -> None:
        """Adds to g_values."""
        _add_gradient(lambda v: grid.trilinear_reference(v, u.clamp(0, 1)), (g_values,), g_out)

    def grid_hash(self, table: Tensor, nodes: Sequence[int], u: Tensor, out: Tensor, _stream: int) -> None:
        """By tiny-cuda-nn where it is installed."""
        out.copy_(self._hashed(nodes, u)(table))

    def grid_hash_backward(self, nodes: Sequence[int], u: Tensor, g_out: Tensor, g_table: Tensor, _scratch: Tensor,
                           _stream: int) -> None:
        """Adds to g_table."""
        _add_gradient(self._hashed(nodes, u), (g_table,), g_out)

    def _hashed(self, nodes: Sequence[int], u: Tensor) -> Callable[[Tensor], Tensor]:
        at = u.clamp(0, 1)
        if self.tinycudann is None:
            return lambda table: _hashed_in_torch(table, nodes, at)
        if self._hash is None:
            self._hash = HashLookup(self.tinycudann)
        lookup = self._hash
        return lambda table: lookup(table, nodes, at)

    def grid_sum(self, values: Tensor, nodes: Sequence[int], u: Tensor, out: Tensor, gradient: Tensor,
                 _stream: int) -> None:
        """Values and their gradients by u."""
        with torch.enable_grad():
            found = grid_sum.reference(values, nodes, u.clamp(0, 1))
        out.copy_(found[0].detach())
        gradient.copy_(found[1].detach())

    def grid_sum_backward(self, nodes: Sequence[int], u: Tensor, g_out: Tensor, g_gradient: Tensor, g_values: Tensor,
                          _scratch: Tensor, _stream: int) -> None:
        """Adds to g_values."""
        def both(values: Tensor) -> Tensor:
            value, gradient = grid_sum.reference(values, nodes, u.clamp(0, 1))
            return torch.cat([value[:, None], gradient], dim=1)

        _add_gradient(both, (g_values,), torch.cat([g_out[:, None], g_gradient], dim=1))

    def grid_vector_matrix(self, planes: Tensor, lines: Tensor, u: Tensor, out: Tensor, _stream: int) -> None:
        """Products of planes and lines."""
        out.copy_(grid.vector_matrix_reference(planes, lines, u.clamp(0, 1)))

    def grid_vector_matrix_backward(self, planes: Tensor, lines: Tensor, u: Tensor, g_out: Tensor, g_planes: Tensor,
                                    g_lines: Tensor, _scratch: Tensor, _stream: int) -> None:
        """Adds to g_planes and g_lines."""
        _add_gradient(lambda p, v: grid.vector_matrix_reference(p, v, u.clamp(0, 1)), (g_planes, g_lines), g_out,
                      (planes, lines))

    def grid_tri_vector(self, lines: Tensor, u: Tensor, out: Tensor, _stream: int) -> None:
        """Products of three lines."""
        out.copy_(grid.tri_vector_reference(lines, u.clamp(0, 1)))

    def grid_tri_vector_backward(self, lines: Tensor, u: Tensor, g_out: Tensor, g_lines: Tensor, _scratch: Tensor,
                                 _stream: int) -> None:
        """Adds to g_lines."""
        _add_gradient(lambda v: grid.tri_vector_reference(v, u.clamp(0, 1)), (g_lines,), g_out, (lines,))

    def mlp_forward_scratch(self, _sizes: Sequence[int], _rows: int) -> int:
        """No scratch memory is needed."""
        return 0

    mlp_backward_scratch = mlp_forward_scratch

    def mlp_forward(self, sizes: Sequence[int], parameters: Tensor, x: Tensor, shared: Tensor, row: Tensor,
                    squash: bool, out: Tensor, _scratch: Tensor, _stream: int) -> None:
        """As in cuda/mlp/bind.cu."""
        out.copy_(mlp.reference(parameters, sizes, x, *_beside(shared, row), squash=squash))

    def mlp_backward(self, sizes: Sequence[int], parameters: Tensor, x: Tensor, shared: Tensor, row: Tensor,
                     squash: bool, g_out: Tensor, g_x: Tensor, g_parameters: Tensor, _scratch: Tensor,
                     _stream: int) -> None:
        """Adds to g_parameters, fills g_x."""
        g_x.zero_()
        _add_gradient(lambda p, x: mlp.reference(p, sizes, x, *_beside(shared, row), squash=squash),
                      (g_parameters, g_x), g_out, (parameters, x))


def _beside(shared: Tensor, row: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """What is equal along a ray, where there is such a thing."""
    return (shared, row) if shared.shape[1] else (None, None)


def _add_gradient(function: Callable[..., Tensor], into: tuple[Tensor, ...], g_out: Tensor,
                  at: tuple[Tensor, ...] | None = None) -> None:
    """Adds the gradients of ``function`` to ``into``; it is linear where ``at`` is not given."""
    leaves = [t.detach().clone().requires_grad_() for t in (at or tuple(torch.zeros_like(g) for g in into))]
    with torch.enable_grad():
        out = function(*leaves)
    if out.requires_grad:
        for total, g in zip(into, torch.autograd.grad(out, leaves, g_out, allow_unused=True), strict=True):
            if g is not None:
                total += g


def _hashed_in_torch(table: Tensor, nodes: Sequence[int], u: Tensor) -> Tensor:
    """``recon.ops.grid.hash_grid``, corner by corner."""
    slots, levels = table.shape[1], []
    for level, n in enumerate(nodes):
        node = (u * (n - 1)).floor().clamp(0, n - 2)
        share, first = u * (n - 1) - node, node.long()
        total = table.new_zeros(len(u), table.shape[2])
        for corner in range(8):
            last = [corner >> i & 1 for i in range(3)]
            x, y, z = (first[:, i] + last[i] for i in range(3))
            slot = (x * n + y) * n + z if n**3 <= slots else (
                x ^ (y * 2654435761 & 0xFFFFFFFF) ^ (z * 805459861 & 0xFFFFFFFF)) & (slots - 1)
            parts = [share[:, i] if last[i] else 1 - share[:, i] for i in range(3)]
            total = total + (parts[0] * parts[1] * parts[2])[:, None] * table[level][slot]
        levels.append(total)
    return torch.cat(levels, dim=1)


def _packed(offsets: Tensor) -> Tensor:
    """[rays, 2] int64: where a ray's samples begin, and how many there are."""
    return torch.stack([offsets[:-1], offsets[1:] - offsets[:-1]], dim=1).long()


def _widths(s: Tensor, ray: Tensor) -> Tensor:
    """The smaller distance to a neighbour on the same ray, 0 where there is none."""
    gap = s[1:] - s[:-1]
    far = torch.full_like(s[:1], float("inf"))
    gap = torch.where(ray[1:] == ray[:-1], gap, float("inf"))
    least = torch.minimum(torch.cat([far, gap]), torch.cat([gap, far]))
    return torch.where(torch.isinf(least), 0.0, least)


def _unit(x: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """World -> unit coordinates [n, 3], and the maximum norm of the normalised position."""
    low, high, margin = box[:3].to(x.device), box[3:6].to(x.device), float(box[6])
    q = (x - 0.5 * (high + low)) / (0.5 * (high - low))
    far = q.abs().amax(1)
    if margin > 0:
        q = q * torch.where(far > 1, (1 + margin - margin / far) / far, 1.0)[:, None]
    return 0.5 + 0.5 * q / (1 + margin), far


def _walk(origin: Tensor, direction: Tensor, offset: Tensor, box: Tensor, cells: Tensor, near: float, far: float,
          step: float) -> tuple[Tensor, Tensor]:
    """The walk of cuda/march/march.h, all rays at once: t [k, rays] and whether there is a sample [k, rays]."""
    extent, margin = (box[3:6] - box[:3]).to(origin.device), float(box[6])
    size = torch.tensor(cells.shape, device=origin.device)
    reach = (extent * (1 + margin) / (size * direction.abs().clamp_min(1e-9))).amin(1)
    t, end = torch.full_like(offset, near), torch.full_like(offset, far)
    if margin == 0:
        inverse = 1 / torch.where(direction.abs() < 1e-12, 1e-12, direction)
        a, b = ((c.to(origin.device) - origin) * inverse for c in (box[:3], box[3:6]))
        t = torch.maximum(t, torch.minimum(a, b).amax(1))
        end = torch.minimum(end, torch.maximum(a, b).amin(1))
    t = t + offset * step
    ts, hits = [t], [torch.zeros_like(t, dtype=torch.bool)]
    while bool((t < end).any()):
        u, norm = _unit(origin + t[:, None] * direction, box)
        h = step * norm.clamp_min(1) if margin > 0 else torch.full_like(t, step)
        cell = (u * size).nan_to_num(0).long().clamp_min(0).minimum(size - 1)
        away = cells[cell[:, 0], cell[:, 1], cell[:, 2]]
        ts.append(t)
        hits.append((away == 0) & (t < end))
        t = torch.where(t < end, t + h * ((away.float() - 1) * reach / h).floor().clamp_min(1), t)
    return torch.stack(ts), torch.stack(hits)
