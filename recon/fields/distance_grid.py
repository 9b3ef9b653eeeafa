"""A signed distance as a sum of grids, with colours from a hash grid and a small network.

Sources: Wang et al., "NeuS", NeurIPS 2021, arXiv 2106.10689; Yariv et al., "VolSDF", NeurIPS 2021, arXiv 2106.12052:
a surface that is drawn as a volume. Differences: the distance is a sum of voxel grids, coarse ones first, in place of a
network (voxel grids for it: Wu et al., "Voxurf", ICLR 2023, arXiv 2208.12697), so that its gradient costs nothing
extra; how wide a surface is drawn follows a schedule; the start is the surface that points and masks suggest, or else
an ellipsoid that fills the box, not a sphere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, grid_sample, max_pool3d, pad

from recon.fields.parts.quantise import check_cells, quantised
from recon.fields.parts.region import Region, around
from recon.fields.parts.surface_start import ENOUGH, PointStart, distance_from_cells
from recon.fields.parts.volume_field import VolumeField, VolumeSettings, direction_encoding
from recon.ops.grid import hash_grid
from recon.ops.grid_sum import grid_sum, node_count
from recon.ops.mlp import mlp
from recon.types import Capture
from recon.types.capture import TrueSurface
from recon.types.placement import sent

_DENSITY = 5.0  # raw density outside of the inner box falls by so much per half box of distance
_FILLED = 0.7  # of the box, by the first ellipsoid
_OPEN = 0.8  # of the shell starts thin at least
_START_NODES = 33  # finest level that the start is laid out in
_STEP_WIDTH = 3.0  # cells over which the blurred border of the hull rises


@dataclass(frozen=True)
class DistanceGridSettings(VolumeSettings):
    """How fine distance and colours are."""

    voxels: int = 6_000_000
    start: float = 64.0
    step: float = 1.0
    margin: float = 0.3
    # nodes along an axis of the coarsest grid of distances; each further grid has twice as many
    coarsest: int = 9
    # colours: resolutions, numbers per node, logarithm of the slots, nodes along an axis
    levels: int = 8
    channels: int = 4
    log2_slots: int = 16
    colour_coarsest: int = 16
    colour_finest: int = 256
    # coordinates are rounded to a lattice of so many cells along an axis (25,000 or so); 0 = not at all
    quantise: int = 0

    def build(self) -> DistanceGridField:
        return DistanceGridField(self)


class DistanceGridField(VolumeField):
    """Parameters: distance (flat, see ``recon.ops.grid_sum``), table [levels, slots, channels], decoder.

    ``width`` says how wide the surface is drawn (1 / s of NeuS, b of VolSDF), scene units; ``turn`` (0..1) how much
    walls seen from the side count, as in NeuS's annealing. A strategy sets both.
    """

    settings: DistanceGridSettings
    voxels_per_pixel = 2.0

    def __init__(self, settings: DistanceGridSettings) -> None:
        super().__init__(settings)
        check_cells(settings.quantise)
        self.width, self.turn = 1.0, 1.0
        self.allowed = self.region.occupied
        self._rim: tuple[Tensor, Tensor] | None = None  # allowed cells, and the others that touch them
        self.surface: TrueSurface | None = None
        self.points = torch.zeros(0, 3)  # of the capture, world
        self.open = _OPEN  # share of the shell that holds cameras

    def attach(self, capture: Capture) -> None:
        """Remembers what is not saved with the field; called before every fit, also one that goes on."""
        self.surface = capture.surface
        self.points = torch.zeros(0, 3) if capture.points is None else capture.points.positions.float()

    # ------------------------------------------------------------ where and how finely

    def find_region(self, capture: Capture, cells: int) -> Region:
        return around(capture, cells, self.settings.margin)

    @property
    def nodes(self) -> list[int]:
        """Of every grid of distances, the finest of the whole fit last."""
        finest = max(round(self.most_voxels ** (1 / 3)), 5)
        out = [min(self.settings.coarsest, finest)]
        while 2 * out[-1] - 1 < 0.75 * finest:
            out.append(2 * out[-1] - 1)
        return out if out[-1] >= finest else [*out, finest]

    @property
    def active(self) -> list[int]:
        """The grids that are in use so far."""
        now = self.voxels ** (1 / 3) * 1.05
        return [n for i, n in enumerate(self.nodes) if i == 0 or n <= now]

    @property
    def voxel(self) -> float:
        """Side of a voxel of the finest grid of the whole fit, scene units."""
        return self.extent / (self.nodes[-1] - 1)

    @property
    def extent(self) -> float:
        """Mean side of the box with its shell."""
        return sum(self.region.extent) / 3 * (1 + self.region.margin)

    @property
    def colour_nodes(self) -> list[int]:
        s = self.settings
        growth = (s.colour_finest / s.colour_coarsest) ** (1 / max(s.levels - 1, 1))
        return [max(round(s.colour_coarsest * growth**i), 2) for i in range(s.levels)]

    @property
    def feature_width(self) -> int:  # type: ignore[override]
        return self.settings.levels * self.settings.channels + 3

    def bytes_at(self, voxels: float) -> float:
        s = self.settings
        return 4.0 * (1.2 * voxels + s.levels * s.channels * min(1 << s.log2_slots, 2 * voxels))

    @property
    def num_primitives(self) -> int:
        return node_count(self.active)

    # ------------------------------------------------------------ start

    def initialise(self, capture: Capture, seed: int) -> None:
        super().initialise(capture, seed)
        self.allowed = self.region.occupied
        middle = (torch.tensor(self.region.low) + torch.tensor(self.region.high)) / 2
        away = ((capture.centres - middle) / (torch.tensor(self.region.extent) / 2)).abs().amax(1).max()
        self.open = min(max(1.05 - 1 / max(float(away), 1.0), _OPEN), 0.95)
        self.params["distance"] = self._laid_out(self._guess(capture) or self._ellipsoid)

    def build_params(self, generator: torch.Generator) -> dict[str, Tensor]:
        s = self.settings
        slots = 1 << s.log2_slots
        while slots > 2 * self.most_voxels and slots > 256:  # no more than the photos support
            slots >>= 1
        table = (torch.rand(s.levels, slots, s.channels, generator=generator) * 2 - 1) * 1e-2
        return {"distance": self._laid_out(self._ellipsoid), "table": table}

    def _ellipsoid(self, u: Tensor) -> Tensor:
        """[n] negative inside an ellipsoid that fills the box, and about a distance near it."""
        q = (2 * u - 1) * (1 + self.region.margin)
        return self._walled((q.norm(dim=1) - _FILLED) * (min(self.region.extent) / 2), u)

    def _walled(self, wanted: Tensor, u: Tensor) -> Tensor:
        """``wanted`` with a shell that is thin where cameras are and dense behind all of them: could one see through,
        what is behind everything would drive surfaces into the open."""
        if self.region.margin == 0:
            return wanted
        out = (((2 * u - 1).abs().amax(1) * (1 + self.region.margin) - 1) / self.region.margin).clamp_min(0)
        wall = (0.5 - 2 * (out - self.open) / (1 - self.open)) * (min(self.region.extent) / 2)
        thin = wanted.clamp_min(0.0)
        return torch.where(out > self.open, torch.minimum(thin, wall), torch.where(out > 0, thin, wanted))

    def _guess(self, capture: Capture) -> Callable[[Tensor], Tensor] | None:
        """The surface that points and masks suggest, None without either."""
        low, high = self.region.low, self.region.high
        if capture.surface is not None:
            return None
        if not bool(self.allowed.all()):
            # Where masks carve, points are no help: outlines leave little open, and few points make a ragged start.
            cell = (torch.tensor(self.region.extent) / torch.tensor(self.allowed.shape)).mean()

            def hull(u: Tensor) -> Tensor:  # allowed cells reach one beyond it
                return distance_from_cells(self.allowed, torch.tensor(low), torch.tensor(high), self.world(u)) + cell

            return hull
        x = self.points
        x = x[((x > torch.tensor(low)) & (x < torch.tensor(high))).all(1)]
        if len(x) < ENOUGH:
            return None
        start = PointStart(capture, x)
        return lambda u: self._walled(start.distance(self.world(u)), u)

    def _laid_out(self, distance: Callable[[Tensor], Tensor]) -> Tensor:
        """Values whose sum is ``distance`` (unit coordinates [n, 3] -> [n]) at the nodes of the coarser grids."""
        nodes = self.nodes
        values = torch.zeros(node_count(nodes))
        start = 0
        for i, n in enumerate(nodes):
            if i and n > _START_NODES:
                break
            axis = torch.linspace(0, 1, n)
            u = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3).contiguous()
            before = grid_sum(values, nodes[:i], u)[0] if i else torch.zeros(len(u))
            values[start:start + n**3] = (distance(u) / self.extent - before) * (n - 1)
            start += n**3
        return values

    # ------------------------------------------------------------ what renderers, strategies and meshers ask

    def inner(self, u: Tensor) -> Tensor:
        """[m] whether points are in the inner box, where there are distances; the shell has a density."""
        return (2 * u - 1).abs().amax(1) * (1 + self.region.margin) <= 1

    def signed_distance(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Distances [m] and their gradients in the world [m, 3] at unit coordinates u; differentiable."""
        value, gradient = grid_sum(self.params["distance"], self.active, quantised(u, self.settings.quantise))
        sides = torch.tensor(self.region.extent) * (1 + self.region.margin)
        return value * self.extent, gradient * sent(self.extent / sides, u.device)

    def outer_density(self, distance: Tensor) -> Tensor:
        """Raw density of points in the shell from the field's values there."""
        return distance * (-_DENSITY / (min(self.region.extent) / 2))

    def density(self, u: Tensor, footprint: Tensor) -> Tensor:
        return self.outer_density(self.signed_distance(u)[0])

    def features(self, u: Tensor, footprint: Tensor) -> Tensor:
        """What colour is made from beside the normals."""
        return hash_grid(self.params["table"], self.colour_nodes, quantised(u, self.settings.quantise))

    def radiance(self, u: Tensor, footprint: Tensor, direction_world: Tensor, ray: Tensor, more: Tensor | None
                 ) -> Tensor:
        """``more``: unit normals [m, 3]."""
        assert more is not None
        return mlp(self.params["decoder"], self.decoder_sizes, torch.cat([self.features(u, footprint), more], dim=1),
                   direction_encoding(direction_world), ray, squash=True)

    def known_distances(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points in unit coordinates [m, 3] and their true distances [m], near the true surface and anywhere in the
        box; none where the scene has no known surface."""
        if self.surface is None:
            return torch.zeros(0, 3), torch.zeros(0)
        near = self.surface.points(count // 2, generator)
        near = near + torch.randn(near.shape, generator=generator) * (2 * self.voxel)
        low, sides = torch.tensor(self.region.low), torch.tensor(self.region.extent)
        anywhere = low + torch.rand(count - len(near), 3, generator=generator) * sides
        x = torch.cat([near, anywhere])
        x = x[((x > low) & (x < low + sides)).all(1)].contiguous()
        return self.unit(x), self.surface.distance(x)

    def unit(self, x_world: Tensor) -> Tensor:
        """Unit coordinates of points of the inner box."""
        low, sides = (torch.tensor(c, device=x_world.device) for c in (self.region.low, self.region.extent))
        return (0.5 + ((x_world - low) / sides - 0.5) / (1 + self.region.margin)).contiguous()

    def world(self, u: Tensor) -> Tensor:
        """Positions in the world of points of the inner box."""
        low, sides = (torch.tensor(c, device=u.device) for c in (self.region.low, self.region.extent))
        return low + ((u - 0.5) * (1 + self.region.margin) + 0.5) * sides

    def surface_points(self, count: int, generator: torch.Generator) -> Tensor:
        """Unit coordinates [m, 3] of some of the capture's points in the inner box, without those outside of masks."""
        if not len(self.points):
            return torch.zeros(0, 3, device=self.params.device)
        u = self.unit(self.points[torch.randint(len(self.points), (count,), generator=generator)])
        u = u[self.inner(u)]
        size = torch.tensor(self.allowed.shape)
        cell = (u * size).long().minimum(size - 1)
        return sent(u[self.allowed[tuple(cell.T)]].contiguous(), self.params.device)

    def empty_points(self, count: int, generator: torch.Generator) -> Tensor:
        """Unit coordinates [m, 3] of random points in cells just outside of the allowed ones; none without masks."""
        if self._rim is None or self._rim[0] is not self.allowed:
            grown = max_pool3d(self.allowed[None, None].float(), 3, 1, 1)[0, 0] > 0
            self._rim = self.allowed, (grown & ~self.allowed).nonzero()
        rim = self._rim[1]
        if not len(rim):
            return torch.zeros(0, 3, device=self.params.device)
        cell = rim[torch.randint(len(rim), (count,), generator=generator)]
        u = (cell + torch.rand(count, 3, generator=generator)) / torch.tensor(self.allowed.shape)
        return sent(u.float().contiguous(), self.params.device)

    def distance(self, x_world: Tensor) -> Tensor:
        """[n] signed distance in the inner box; cut to the photos' visual hull, where there is one."""
        u = self.unit(x_world)
        value = torch.maximum(self.signed_distance(u)[0], self._hull(u))
        return torch.where(self.inner(u), value, value.abs().clamp_min(1e-4))

    def _hull(self, u: Tensor) -> Tensor:
        """[n] about the distance from the border of the allowed cells, without their steps; far inside where all are
        allowed."""
        if bool(self.allowed.all()):
            return torch.full((len(u),), -float("inf"), device=u.device)
        inside = self.allowed.to(u.device).float()[None, None]
        for _ in range(2):
            inside = avg_pool3d(pad(inside, (1,) * 6), 3, 1)
        at = (2 * u - 1).flip(1).view(1, 1, 1, -1, 3)  # grid_sample names the last axis first
        share = grid_sample(inside, at, padding_mode="zeros", align_corners=False).view(-1)
        cell = min(e * (1 + self.region.margin) / n for e, n in zip(self.region.extent, self.allowed.shape))
        return (0.5 - share) * (_STEP_WIDTH * cell)

    def normal(self, x_world: Tensor) -> Tensor:
        return torch.nn.functional.normalize(self.signed_distance(self.unit(x_world))[1], dim=1)

    def colour(self, x_world: Tensor) -> Tensor:
        """[n, 3] of surface points, seen along their normal."""
        n = self.normal(x_world)
        index = torch.arange(len(n), dtype=torch.int32, device=n.device)
        return self.radiance(self.unit(x_world), n.new_zeros(len(n)), (-n).contiguous(), index, n)

    @property
    def surface_box(self) -> Tensor:
        """[2, 3] low and high corner of where there are distances, world."""
        return torch.tensor([self.region.low, self.region.high])

    # ------------------------------------------------------------ state

    def state(self) -> dict[str, Any]:
        return super().state() | {"width": self.width, "turn": self.turn, "allowed": self.allowed}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.width, self.turn = float(state["width"]), float(state["turn"])
        self.allowed = state["allowed"]
