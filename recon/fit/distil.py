"""Distillation at points: one volume learns density and colour of another, before any picture is compared.

Source: Fang, Xu, Wang, Yang, Wang, Zhou, "One is all: Bridging the gap between neural radiance fields architectures
with progressive volume distillation" (PVD), AAAI 2023, arXiv 2211.15977: both look at the same points, density is
compared in log space and clamped to where it changes pictures. Differences: fields here have no common hidden features,
so there is no stage for them; the samples are those of the teacher's rays; the lower clamp is -5 instead of -2, which
would leave a haze of 13 % per unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recon.ops.march import weights
from recon.ops.volume_rays import footprints, rays_of, sample_volume
from recon.protocols import Optimizer
from recon.types import Camera, Observation, Render, Volume
from recon.types.volume import unit_from_world, world_from_unit

LOG_DENSITY = (-5.0, 7.0)  # of a scene of about unit size: less is clear, more is opaque, whatever the number


@dataclass(frozen=True)
class Lesson:
    """Points of a teacher: x_world [n, 3], footprint [n], ray directions [rays, 3] with ray [n] int32, log_density [n],
    and colour [k, 3] of the points ``seen`` [k]."""

    x_world: Tensor
    footprint: Tensor
    direction: Tensor
    ray: Tensor
    log_density: Tensor
    seen: Tensor
    colour: Tensor


def log_density(raw: Tensor, volume: Volume) -> Tensor:
    """Logarithm of density per length of raw density [n]; differentiable."""
    x = raw + volume.shift
    softplus = torch.nn.functional.softplus(x)
    small = x < -15.0  # there softplus(x) = exp(x), and float32 loses it
    log = torch.where(small, x, softplus.clamp_min(1e-8).log())
    return log + math.log(volume.delta / volume.step)


def difference(student: Tensor, teacher: Tensor) -> Tensor:
    """Of log densities, the teacher's clamped; nothing where both are clear, or both opaque, by ``LOG_DENSITY``.

    The student is not clamped itself: it would get no gradient where it has to come back.
    """
    low, high = LOG_DENSITY
    target = teacher.clamp(low, high)
    alike = ((teacher <= low) & (student <= low)) | ((teacher >= high) & (student >= high))
    return torch.where(alike, torch.zeros_like(student), student - target)


@dataclass
class PointsProblem:
    """Implements the Problem protocol: a step compares two volumes at random points of random rays.

    cameras   that rays come from             rays    of a step
    points    looked at in a step, at most    step, total_steps, seed, radius, most_rays   as in Problem
    """

    field: Any
    teacher: Any
    cameras: Sequence[Camera]
    total_steps: int
    seed: int
    radius: float = 1.0
    most_rays: int = 0
    rays: int = 512
    points: int = 8192
    step: int = 0
    seen: Observation = field(init=False)
    render: Render = field(init=False)

    def lesson(self) -> Lesson:
        """What the teacher says, drawn from (seed, step)."""
        generator = torch.Generator().manual_seed(self.seed * 86_028_121 + self.step)
        volume = self.teacher.volume()
        origins, directions, widths = [], [], []
        chosen = torch.randint(len(self.cameras), (16,), generator=generator).tolist()
        for index in chosen:
            camera = self.cameras[index]
            size = torch.tensor(camera.size, dtype=torch.float64)
            pixels = torch.rand(self.rays // len(chosen), 2, generator=generator, dtype=torch.float64) * size
            origin, direction = camera.rays(pixels)
            origins.append(origin.float())
            directions.append(direction.float())
            widths.append(torch.full((len(pixels),), float((camera.intrinsics[0] * camera.intrinsics[1]) ** -0.5)))
        origin, direction, width = torch.cat(origins), torch.cat(directions), torch.cat(widths)
        offset = torch.rand(len(origin), generator=generator)
        found = sample_volume(volume, origin, direction, offset, near=0.05, far=100.0)
        ray = rays_of(found.offsets, len(found.t))
        footprint = footprints(volume, width[ray], found.t, found.position)
        with torch.no_grad():
            raw, more = self.teacher.density_and_more(found.position, footprint)
            w = weights(raw, found.offsets, end=1e-3, delta=volume.delta, shift=volume.shift)
            order = torch.randperm(len(raw), generator=generator)[: self.points].sort().values
            heavy = order[w[order] > 1e-3]
            colour = self.teacher.radiance(found.position[heavy], footprint[heavy], direction, ray[heavy],
                                           None if more is None else more[heavy])
        x = (origin[ray] + found.t[:, None] * direction[ray])[order]
        seen = torch.searchsorted(order, heavy)
        return Lesson(x, footprint[order], direction, ray[order], log_density(raw[order], volume), seen, colour)

    def loss(self, lesson: Lesson) -> Tensor:
        """Root mean squares of the differences of log density and of colour, added."""
        volume = self.field.volume()
        u = unit_from_world(volume, lesson.x_world).clamp(0, 1).contiguous()
        raw, more = self.field.density_and_more(u, lesson.footprint)
        off = difference(log_density(raw, volume), lesson.log_density)
        total = (off.square().mean() + 1e-8).sqrt()
        if len(lesson.seen):
            at = lesson.seen
            colour = self.field.radiance(u[at], lesson.footprint[at], lesson.direction, lesson.ray[at],
                                         None if more is None else more.index_select(0, at))
            total = total + ((colour - lesson.colour).square().mean() + 1e-8).sqrt()
        return total

    def gradient(self, deferred: bool = False, idle: bool = False) -> float:
        loss = self.loss(self.lesson())
        loss.backward()
        return float(loss.detach())

    def counts(self) -> None:
        return None

    def least_squares(self, views: int = 0, curved: int = 0, tested: int = 0, batches: int = 1) -> Any:
        raise NotImplementedError("points are compared by first-order optimizers only")


def teach(problem: PointsProblem, optimizer: Optimizer, steps: int) -> float:
    """Teaches ``problem.field`` in ``steps`` steps of its own optimizer, from coarse to its full resolution.

    Both fields are Volumetric. The student then has density only where the teacher has. Returns the last loss.
    """
    student = problem.field
    _occupy(student, problem.teacher)
    loss, first = 0.0, steps // 4
    for k in range(steps):
        if k == first and hasattr(student, "refine"):
            for name in student.refine(student.most_voxels):
                optimizer.forget(name)
        loss = optimizer.step(problem)
        problem.step += 1
    return loss


def _occupy(student: Any, teacher: Any) -> None:
    """Cells of the student stay occupied only where the teacher has an occupied cell within reach."""
    mine, theirs = student.volume(), teacher.volume()
    cells = (mine.cells == 0).nonzero()
    size = torch.tensor(mine.cells.shape)
    kept = torch.zeros(mine.cells.shape, dtype=torch.bool)
    near = torch.nn.functional.max_pool3d((theirs.cells == 0).float()[None, None], 3, 1, 1)[0, 0] > 0
    most = torch.tensor(near.shape)
    for part in cells.split(1 << 18):
        u = unit_from_world(theirs, world_from_unit(mine, (part + 0.5) / size))
        inside = ((u >= 0) & (u <= 1)).all(1)
        index = (u * most).long().clamp(min=0).minimum(most - 1)
        kept[tuple(part.T)] = inside & near[index[:, 0], index[:, 1], index[:, 2]]
    if bool(kept.any()):
        student.occupy(kept)
