"""Perspective coordinates, for scenes that all cameras see from one side: near is drawn wide, infinity is a plane.

Source: Mildenhall et al., "NeRF", ECCV 2020, arXiv 2003.08934, appendix C (normalised device coordinates), here of a
frame of its own and scaled so that depth goes from 0 at the near plane to 1 at infinity.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recon.types.placement import sent

_BEHIND = -10.0  # coordinate of what does not lie in front of the frame
_SLANT = 1e-3  # rays that go less forward than this, per unit of length, see nothing


@dataclass(frozen=True)
class Perspective:
    """p = (x / z, y / z, 1 - near / z) of the point (x, y, z) in a frame with OpenCV axes; lines stay straight.

    frame_from_world  [4, 4] float32, rigid
    near              distance of the plane with depth 0, scene units
    """

    frame_from_world: Tensor
    near: float

    def box_from_world(self, x_world: Tensor) -> Tensor:
        """[n, 3] points -> p; what lies behind the frame's origin goes far outside."""
        turn, move = self.frame_from_world[:3, :3].to(x_world), self.frame_from_world[:3, 3].to(x_world)
        x = _turned(x_world, turn) + move
        z = x[:, 2:]
        p = torch.cat([x[:, :2], z - self.near], dim=1) / z.clamp_min(1e-6 * self.near)
        return torch.where(z > 0, p, torch.full_like(p, _BEHIND))

    def world_from_box(self, p: Tensor) -> Tensor:
        """The inverse; infinity (depth 1) is held at 10,000 times ``near``."""
        turn, move = self.frame_from_world[:3, :3].to(p), self.frame_from_world[:3, 3].to(p)
        z = self.depth(p[:, 2:])
        return _turned(torch.cat([p[:, :2] * z, z], dim=1) - move, turn.T)

    def depth(self, s: Tensor) -> Tensor:
        """z in the frame, scene units, of the third coordinate."""
        return self.near / (1 - s).clamp_min(1e-4)

    def lines(self, origin_world: Tensor, direction_world: Tensor, near: float) -> tuple[Tensor, Tensor]:
        """Where rays [n, 3] begin in p (at the near plane, or ``near`` in front of their camera if that is farther),
        and how p changes along them while its depth goes from 0 to 1. Rays that see nothing begin far outside."""
        frame = sent(self.frame_from_world, origin_world.device)
        turn, move = frame[:3, :3], frame[:3, 3]
        o, d = _turned(origin_world, turn) + move, _turned(direction_world, turn)
        ahead = d[:, 2:].clamp_min(_SLANT)
        t = ((self.near - o[:, 2:]) / ahead).clamp_min(near)
        x = o + t * d
        start = torch.cat([x[:, :2], x[:, 2:] - self.near], dim=1) / x[:, 2:]
        end = torch.cat([d[:, :2] / ahead, torch.ones_like(ahead)], dim=1)
        slope = (end - start) / (end[:, 2:] - start[:, 2:])
        seen = d[:, 2:] > _SLANT
        return torch.where(seen, start, torch.full_like(start, _BEHIND)), torch.where(seen, slope, end)

    def distance(self, origin_world: Tensor, direction_world: Tensor, s: Tensor) -> Tensor:
        """[n] distance along rays at which their third coordinate is ``s`` [n], scene units."""
        frame = sent(self.frame_from_world, origin_world.device)
        turn, move = frame[2:3, :3], frame[2, 3]
        begin, ahead = _turned(origin_world, turn)[:, 0] + move, _turned(direction_world, turn)[:, 0]
        return (self.depth(s) - begin) / ahead.clamp_min(_SLANT)


def _turned(x: Tensor, matrix: Tensor) -> Tensor:
    """x [n, 3] times matrix [k, 3], without torch's product, whose sums depend on the number of threads."""
    return x[:, :1] * matrix[:, 0] + x[:, 1:2] * matrix[:, 1] + x[:, 2:] * matrix[:, 2]
