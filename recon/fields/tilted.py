"""Several volumes, each in a rotated frame that is learned with it.

Source: Yi, Zeng, Buchanan, Ma, "Canonical factors for hybrid neural fields" (TILTED), ICCV 2023, arXiv 2308.15461.
Differences: the frames turn the box that is already contracted; coordinates are scaled so that what is occupied stays
inside under any rotation, and frames get more voxels by that; each frame has a whole inner field, whose densities are
added and whose features are put side by side; the gradient by a rotation is taken by central differences at some of the
points; no bottleneck phase.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon.fields.parts import wrapped
from recon.fields.parts.region import Region
from recon.fields.parts.volume_field import VolumeSettings
from recon.fields.parts.wrapped import WrappedField
from recon.ops import room
from recon.ops.one_thread import single_thread
from recon.types.placement import sent

_ANGLE = 2e-3  # of the central differences, radians
_POINTS = 4096  # that a rotation's gradient is taken from


@dataclass(frozen=True)
class TiltedSettings:
    """How many frames, and what is in them."""

    # the field of each frame: its settings are those of the method it comes from
    inner: VolumeSettings = field(default_factory=VolumeSettings)
    # frames
    rotations: int = 4
    # frames start turned at random, or along the axes
    random_start: bool = True

    def build(self) -> TiltedField:
        return TiltedField(self)


class TiltedField(WrappedField):
    """Parameters: "k.NAME" of the field in frame k, rotation [frames, 4] (w, x, y, z; any length), decoder."""

    wrapping: TiltedSettings

    @property
    def row_by_row(self) -> bool:  # type: ignore[override]
        return all(part.row_by_row for part in self.parts)

    def __init__(self, settings: TiltedSettings) -> None:
        super().__init__(settings, settings.rotations)
        self.per_voxel = ()  # not of the whole's coordinates
        self.scale = 1.0

    @property
    def feature_width(self) -> int:  # type: ignore[override]
        return sum(p.feature_width for p in self.parts)

    def part_region(self) -> Region:
        return Region((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5), 0.0, torch.ones(2, 2, 2, dtype=torch.bool))

    def build_params(self, generator: torch.Generator) -> dict[str, Tensor]:
        self.scale = _scale_of(self.region)
        if self.wrapping.random_start:
            start = torch.randn(len(self.parts), 4, generator=generator)
        else:
            start = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(len(self.parts), 1)
        out = super().build_params(generator)
        return out | {"rotation": start / start.norm(dim=1, keepdim=True)}

    def part_voxels(self, part: int) -> tuple[float, float]:
        """As many as make cells of a frame as large as those of the whole, whose box is smaller there."""
        more = 1.0 / (self.scale**3 * float(self._sides().prod()))
        return more * self.voxels, more * self.most_voxels

    def bytes_at(self, voxels: float) -> float:
        """With as many voxels as a cube needs that is turned in itself."""
        return super().bytes_at(3**1.5 * voxels)

    def _sides(self) -> Tensor:
        """[3] sides of the box, the longest 1."""
        sides = torch.tensor(self.region.extent)
        return sides / sides.max()

    def _turned(self, u: Tensor, rotation: Tensor) -> Tensor:
        """u [m, 3] in the frame of a rotation: 0.5 + scale R sides (u - 0.5), to the bit u where that is u."""
        change = self.scale * rotation * sent(self._sides(), u.device) - torch.eye(3, device=u.device)
        x = u - 0.5
        if u.device.type == "cuda":  # a product's bits depend on the number of rows there
            return u + (x[:, :1] * change[:, 0] + x[:, 1:2] * change[:, 1] + x[:, 2:] * change[:, 2])
        with single_thread():
            return u + x @ change.T

    def density_and_more(self, u: Tensor, footprint: Tensor) -> tuple[Tensor, Tensor | None]:
        found = [self._through(k, wrapped.density_and_more, u, footprint) for k in range(len(self.parts))]
        raw = torch.stack([out[:, 0] for out in found]).sum(0)
        return raw, torch.cat([out[:, 1:] for out in found], dim=1) if found[0].shape[1] > 1 else None

    def density(self, u: Tensor, footprint: Tensor) -> Tensor:
        found = [self._through(k, wrapped.density, u, footprint)[:, 0] for k in range(len(self.parts))]
        return torch.stack(found).sum(0)

    def features(self, u: Tensor, footprint: Tensor) -> Tensor:
        return torch.cat([self._through(k, wrapped.features, u, footprint) for k in range(len(self.parts))], dim=1)

    def _through(self, k: int, ask: Callable[..., Tensor], u: Tensor, footprint: Tensor) -> Tensor:
        """What ``ask(part, u, footprint)`` says in frame k; differentiable in parameters and rotation."""

        def look(rotation: Tensor, rows: Tensor | None = None) -> Tensor:
            at, width = (u, footprint) if rows is None else (u[rows], footprint[rows])
            return ask(self.parts[k], self._turned(at, rotation).contiguous(), width)

        quaternion = self.params["rotation"][k]
        out = look(matrix_of(quaternion.detach()))
        if not torch.is_grad_enabled():
            return out
        count = None
        if u.device.type == "cuda":  # samples have a width; what there only is room for has none
            count = torch.full((), len(u), device=u.device) if room.current() is None else (footprint > 0).sum()
        return _ThroughRotation.apply(out, quaternion, look, count)

    def state(self) -> dict[str, Any]:
        return super().state() | {"scale": self.scale}

    def load_state(self, state: dict[str, Any]) -> None:
        self.scale = float(state["scale"])
        super().load_state(state)


def _scale_of(region: Region) -> float:
    """By how much the box must shrink so that its occupied part stays in the unit cube however it is turned."""
    sides = torch.tensor(region.extent)
    sides = sides / sides.max()
    cells = region.occupied.nonzero() / torch.tensor(region.occupied.shape)
    far = ((cells - 0.5).abs() + 1.0 / min(region.occupied.shape)) * sides
    return min(0.5 / max(float(far.norm(dim=1).max()), 1e-6), 1.0) if len(cells) else 1 / math.sqrt(3)


def matrix_of(quaternion: Tensor) -> Tensor:
    """Rotation matrix [3, 3] of a quaternion [4] (w, x, y, z) of any length but zero."""
    w, x, y, z = (quaternion / quaternion.norm().clamp_min(1e-12)).unbind()
    return torch.stack([
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]).view(3, 3)


def small_rotation(axis: int, angle: float) -> Tensor:
    """Rotation matrix [3, 3] about a coordinate axis."""
    c, s = math.cos(angle), math.sin(angle)
    out = torch.eye(3)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    out[a, a], out[b, b], out[a, b], out[b, a] = c, c, -s, s
    return out


class _ThroughRotation(torch.autograd.Function):
    """Passes ``out`` on; backward also asks ``look`` how it changes as the frame turns, R <- R exp(delta). On a GPU the
    first ``count`` rows are samples, and nothing depends on how many rows there are besides."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, quaternion: Tensor, look: Callable[..., Tensor], count: Tensor | None) -> Tensor:
        ctx.save_for_backward(quaternion)
        ctx.look, ctx.count = look, count
        return out.view_as(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_out: Tensor) -> tuple[Tensor | None, ...]:
        (quaternion,) = ctx.saved_tensors
        q = quaternion.detach()
        stride: int | Tensor = max(len(g_out) // _POINTS, 1)
        if not len(g_out):
            return g_out, torch.zeros_like(q), None, None
        if ctx.count is None:
            rows = torch.arange(0, len(g_out), int(stride), device=g_out.device)
        else:  # always as many, so that their sum has one order
            stride = (ctx.count / _POINTS).clamp_min(1.0)
            rows = (torch.arange(_POINTS, device=g_out.device) * stride).long().clamp_max(len(g_out) - 1)
        g, rotation = g_out[rows], matrix_of(q)
        if ctx.count is not None:
            g = torch.where((torch.arange(_POINTS, device=g.device) < ctx.count)[:, None], g, 0)
        tangent = q.new_zeros(3)
        with torch.no_grad():
            for axis in range(3):
                ahead = ctx.look(rotation @ sent(small_rotation(axis, _ANGLE), q.device), rows)
                behind = ctx.look(rotation @ sent(small_rotation(axis, -_ANGLE), q.device), rows)
                with single_thread():
                    tangent[axis] = stride * ((ahead - behind) * g).sum() / (2 * _ANGLE)
        w, v = q[0], q[1:]
        along = torch.cat([-(v @ tangent)[None], w * tangent + torch.linalg.cross(v, tangent)])  # q times (0, tangent)
        return g_out, 2 * along / q.square().sum(), None, None
