"""A mesh to optimise: FlexiCubes on a grid, with colours from a hash grid on its surface.

Source: Shen et al., "Flexible Isosurface Extraction for Gradient-Based Mesh Optimization", SIGGRAPH 2023, arXiv
2308.05371; the recipe of Munkberg et al., "Extracting Triangular 3D Models, Materials, and Lighting From Images", CVPR
2022, arXiv 2111.12503, without materials. It starts from the visual hull of the photos' masks; without masks from a
ball where the cameras look, over a background of one colour: a method for objects that are cut out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.fields.parts.region import Region, region_of
from recon.ops.flexicubes import WEIGHTS, FlexibleMesh, flexicubes
from recon.ops.grid import hash_grid
from recon.ops.mlp import initial, mlp
from recon.params import Params
from recon.types import Capture, Mesh
from recon.types.placement import sent

_PIXELS = 3  # of a picture's side to a cube: finer ones would not be seen
_BALL = 0.6  # radius of the start without masks, in half boxes


@dataclass(frozen=True)
class MeshGridSettings:
    """How fine grid and colours are."""

    # cubes along the longest side
    resolution: int = 64
    # colours: resolutions, numbers per node, logarithm of the slots, nodes along an axis; width of the network
    levels: int = 8
    channels: int = 4
    log2_slots: int = 15
    coarsest: int = 16
    finest: int = 512
    hidden: int = 32

    def build(self) -> MeshGridField:
        return MeshGridField(self)


class MeshGridField:
    """Parameters: values [z, y, x] in cubes, deformation [z, y, x, 3], weights [cubes, 21], table, decoder."""

    def __init__(self, settings: MeshGridSettings) -> None:
        self.settings = settings
        self.params = Params()
        self.origin = (0.0, 0.0, 0.0)
        self.spacing = 1.0

    def initialise(self, capture: Capture, seed: int) -> None:
        s = self.settings
        pixels = max(max(v.camera.size) for v in capture.train or capture.views)
        resolution = min(s.resolution, max(pixels // _PIXELS, 8))
        region = region_of(capture, resolution, 0.0)
        self.spacing = max(region.extent) / resolution
        counts = [int(-(-side // self.spacing)) + 2 for side in region.extent]  # one empty cube around
        low = [a - (n * self.spacing - side) / 2 for a, n, side in zip(region.low, counts, region.extent)]
        self.origin = (low[0], low[1], low[2])
        shape = (counts[2] + 1, counts[1] + 1, counts[0] + 1)
        generator = torch.Generator().manual_seed(seed)
        table = (torch.rand(s.levels, 1 << s.log2_slots, s.channels, generator=generator) * 2 - 1) * 1e-2
        cubes = counts[0] * counts[1] * counts[2]
        self.params = Params({
            "values": self._hull(region, shape), "deformation": torch.zeros(*shape, 3),
            "weights": torch.zeros(cubes, WEIGHTS), "table": table, "decoder": initial(self.sizes, generator),
        })

    def _hull(self, region: Region, shape: tuple[int, int, int]) -> Tensor:
        """About distances to the occupied cells' outline, in cubes."""
        occupied = region.occupied
        if bool(occupied.all()):  # no masks
            axes = [torch.linspace(-1, 1, n) for n in occupied.shape]
            occupied = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0) < _BALL**2
        inside = occupied.permute(2, 1, 0)[None, None].float()
        nz, ny, nx = shape
        places = []
        for i, n in ((2, nz), (1, ny), (0, nx)):
            x = self.origin[i] + self.spacing * torch.arange(n)
            places.append((x - region.low[i]) / region.extent[i] * 2 - 1)
        z, y, x = torch.meshgrid(*places, indexing="ij")
        at = torch.stack([x, y, z], dim=-1)[None].float()
        solid = torch.nn.functional.grid_sample(inside, at, align_corners=False, padding_mode="zeros")
        for _ in range(2):  # soft, so that the zero set is no staircase
            solid = torch.nn.functional.avg_pool3d(solid, 3, 1, 1)
        values = 3 * (0.5 - solid[0, 0])
        for axis in range(3):
            for end in (0, -1):
                values.select(axis, end).fill_(1.0)
        return values.contiguous()

    @property
    def sizes(self) -> list[int]:
        s = self.settings
        return [s.levels * s.channels, s.hidden, s.hidden, 3]

    @property
    def num_primitives(self) -> int:
        return self.params["values"].numel()

    def surface(self) -> FlexibleMesh:
        """The mesh as it is now; differentiable in values, deformation and weights."""
        p = self.params
        return flexicubes(p["values"], origin=self.origin, spacing=(self.spacing,) * 3, deformation=p["deformation"],
                          weights=p["weights"])

    def colours(self, x_world: Tensor) -> Tensor:
        """[n, 3] in 0..1 at points of the box; differentiable in table and decoder."""
        s, shape = self.settings, self.params["values"].shape
        sides = torch.tensor([(n - 1) * self.spacing for n in reversed(shape)])
        origin = sent(torch.tensor(self.origin), x_world.device)
        u = ((x_world - origin) / sides.max()).clamp(0, 1).contiguous()
        growth = (s.finest / s.coarsest) ** (1 / max(s.levels - 1, 1))
        nodes = [round(s.coarsest * growth**i) for i in range(s.levels)]
        return mlp(self.params["decoder"], self.sizes, hash_grid(self.params["table"], nodes, u), squash=True)

    def mesh(self, t: float = 0.0) -> Mesh:
        """The mesh with colours at its vertices."""
        with torch.no_grad():
            p = self.params
            found = flexicubes(p["values"].detach(), origin=self.origin, spacing=(self.spacing,) * 3,
                               deformation=p["deformation"].detach(), weights=p["weights"].detach(), split="diagonal")
            colours = self.colours(found.vertices).clamp(0, 1)
            return Mesh(found.vertices.cpu(), found.faces.cpu(), colours=colours.cpu())

    def state(self) -> dict[str, Any]:
        return {"origin": list(self.origin), "spacing": self.spacing}

    def load_state(self, state: dict[str, Any]) -> None:
        self.origin, self.spacing = tuple(state["origin"]), float(state["spacing"])
