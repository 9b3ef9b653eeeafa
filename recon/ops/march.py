"""Ray marching: samples in occupied cells, and volume rendering of packed samples. Kernels: cuda/march.

Density is activated after interpolation, alpha = 1 - exp(-softplus(raw + shift) delta): Sun, Sun, Chen, "Direct voxel
grid optimization", CVPR 2022, arXiv 2111.11215. Distortion: Barron et al., "Mip-NeRF 360", CVPR 2022, arXiv
2111.12077, eq. (15), over min(t, 2 - 1/t), with the smaller distance to a neighbour as a sample's width.

Samples of all rays lie one after another; those of ray i are ``offsets[i] : offsets[i + 1]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from recon.ops.checks import expect_tensor, place_of
from recon.ops.march_cuda import kernels_of

FLOATS = (torch.float32, torch.float64)


class Samples(NamedTuple):
    """position [m, 3] unit coordinates, t [m] distance from the camera, offsets [rays + 1] int32."""

    position: Tensor
    t: Tensor
    offsets: Tensor


class Blended(NamedTuple):
    """rgb [rays, 3] over the background, depth [rays] sum of weight times t (no gradient), transmittance [rays] and
    distortion [rays]."""

    rgb: Tensor
    depth: Tensor
    transmittance: Tensor
    distortion: Tensor


def distances(occupied: Tensor) -> Tensor:
    """Occupied cells [x, y, z] bool -> uint8: 0 where occupied, else cells to the nearest occupied one, at most 255."""
    cells = occupied.to(torch.uint8).contiguous()
    expect_tensor("occupied", cells, torch.uint8, ("x", "y", "z"), on=place_of(cells))
    kernels_of(cells).march_distances(cells)
    return cells


def sample(origin: Tensor, direction: Tensor, offset: Tensor, box: Tensor, cells: Tensor, *, near: float, far: float,
           step: float) -> Samples:
    """Points every ``step`` along rays, in occupied cells only.

    origin, direction [n, 3] float32, unit directions; offset [n] in 0..1, how far into the first step a ray begins;
    box [7], on the CPU always: low and high corner in the world and the margin that the outside is contracted into (0 =
    nothing outside); cells from ``distances``, over unit coordinates; near, far, step in scene units. Where there is an
    outside, steps grow with the maximum norm of the normalised position. Raises ValueError or TypeError naming the
    argument.
    """
    on = place_of(origin)
    for name, tensor in (("origin", origin), ("direction", direction)):
        expect_tensor(name, tensor, torch.float32, ("n", 3), on=on)
    expect_tensor("offset", offset, torch.float32, (len(origin),), on=on)
    expect_tensor("box", box, torch.float32, (7,))
    expect_tensor("cells", cells, torch.uint8, ("x", "y", "z"), on=on)
    return Samples(*kernels_of(origin).march_sample(origin, direction, offset, box, cells, near, far, step))


def weights(raw: Tensor, offsets: Tensor, *, delta: float, shift: float, end: float = 1e-4) -> Tensor:
    """Weight of every sample [m] in its ray's colour; 0 behind where the transmittance is below ``end``."""
    on = place_of(raw)
    expect_tensor("raw", raw, FLOATS, ("m",), on=on)
    expect_tensor("offsets", offsets, torch.int32, ("n",), on=on)
    out = torch.empty_like(raw)
    kernels_of(raw).march_weights(raw.detach(), offsets, delta, shift, end, out)
    return out


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, raw: Tensor, colour: Tensor, t: Tensor, offsets: Tensor, index: Tensor, background: Tensor,
                delta: float, shift: float) -> tuple[Tensor, ...]:
        n = len(offsets) - 1
        rgb, depth, through, distortion = raw.new_empty(n, 3), raw.new_empty(n), raw.new_empty(n), raw.new_empty(n)
        kernels_of(raw).march_composite(raw.detach(), t, offsets, colour.detach(), index, background, delta, shift,
                                        rgb, depth, through, distortion)
        ctx.save_for_backward(raw, colour, t, offsets, index, background)
        ctx.constants = delta, shift
        ctx.mark_non_differentiable(depth)
        return rgb, depth, through, distortion

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        raw, colour, t, offsets, index, background = ctx.saved_tensors
        g_rgb, _, g_through, g_distortion = (g.contiguous() for g in gradients)
        g_raw, g_colour = torch.empty_like(raw), torch.empty_like(colour)
        kernels_of(raw).march_composite_backward(raw.detach(), t, offsets, colour.detach(), index, background,
                                                 *ctx.constants, g_rgb, g_through, g_distortion, g_raw, g_colour)
        return g_raw, g_colour, None, None, None, None, None, None


def composite(raw: Tensor, colour: Tensor, t: Tensor, offsets: Tensor, index: Tensor, background: Tensor, *,
              delta: float, shift: float) -> Blended:
    """Volume rendering of packed samples, differentiable in ``raw`` [m] and ``colour`` [k, 3].

    t [m] as from ``sample``; index [k] int32 ascending, the samples that have a colour (others dim what is behind them
    and are black themselves: leave out only what weighs next to nothing; on CUDA -1 stands for none); background [3];
    delta: optical length of a step; shift is added to raw. float32, or float64 for gradient checks. Raises ValueError
    or TypeError.
    """
    on = place_of(raw)
    expect_tensor("raw", raw, FLOATS, ("m",), on=on)
    expect_tensor("t", t, raw.dtype, (len(raw),), on=on)
    expect_tensor("offsets", offsets, torch.int32, ("n",), on=on)
    expect_tensor("index", index, torch.int32, ("k",), on=on)
    expect_tensor("colour", colour, raw.dtype, (len(index), 3), on=on)
    expect_tensor("background", background, raw.dtype, (3,), on=on)
    return Blended(*_Composite.apply(raw, colour, t, offsets, index, background, delta, shift))


def reference(raw: Tensor, colour: Tensor, t: Tensor, offsets: Tensor, index: Tensor, background: Tensor, *,
              delta: float, shift: float) -> Blended:
    """``composite`` in plain torch, ray by ray."""
    whole = torch.zeros(len(raw), 3, dtype=raw.dtype).index_copy(0, index.long(), colour)
    out: list[list[Tensor]] = [[], [], [], []]
    for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist()):
        tau = softplus(raw[a:b] + shift) * delta
        before = torch.cumsum(tau, 0) - tau
        w = torch.exp(-before) * -torch.expm1(-tau)
        through = torch.exp(-tau.sum())
        s = torch.where(t[a:b] < 1, t[a:b], 2 - 1 / t[a:b])
        gap = s[1:] - s[:-1]
        ds = torch.zeros_like(s)
        if len(s) > 1:
            ds = torch.minimum(torch.cat([gap[:1], gap]), torch.cat([gap, gap[-1:]]))
        out[0].append((w[:, None] * whole[a:b]).sum(0) + through * background)
        out[1].append((w * t[a:b]).sum().detach())
        out[2].append(through)
        out[3].append((w[:, None] * w * (s[:, None] - s).abs()).sum() + (w * w * ds).sum() / 3)
    return Blended(*(torch.stack(o) for o in out))


def examples(dtype: torch.dtype = torch.float32) -> Iterator[dict[str, Any]]:
    """Keyword arguments of ``composite``: rays without samples, single samples, long and opaque rays."""
    generator = torch.Generator().manual_seed(0)
    for counts in ([0], [1], [0, 3, 0, 17, 1], [16, 8, 7, 9, 33, 2], [1] * 300 + [70]):
        m = sum(counts)
        offsets = torch.tensor([0, *torch.tensor(counts).cumsum(0).tolist()], dtype=torch.int32)
        raw = 3 * torch.randn(m, generator=generator, dtype=dtype)
        t = torch.cat([torch.rand(c, generator=generator, dtype=dtype).sort().values * 2 + 0.2 for c in counts])
        index = (torch.rand(m, generator=generator) < 0.7).nonzero().squeeze(1).to(torch.int32)
        colour = torch.rand(len(index), 3, generator=generator, dtype=dtype)
        yield {"raw": raw, "colour": colour, "t": t, "offsets": offsets, "index": index,
               "background": torch.rand(3, generator=generator, dtype=dtype), "delta": 0.5, "shift": -1.0}
