"""A cloud of small tri-vector tensors at several scales around the surface, over a coarse grid.

Source: Gao, Xu, Su, Neumann, Xu, "Strivec: Sparse tri-vector radiance fields", ICCV 2023, arXiv 2307.13226.
Differences: tensors stand on lattices and are blended linearly where they overlap, which is continuous (there: four
nearest, by inverse distance); no separate coarse stage: the fit begins with a small grid, which stays below the tensors
as the scale that covers everything, so that tensors can be added where something appears later; the appearance matrices
are the first layer of the decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool3d

from recon.fields.parts.volume_field import VolumeField, VolumeSettings
from recon.ops.elementwise import sigmoid
from recon.ops.grid import local_tensors, trilinear
from recon.types.placement import sent

_CHUNK = 1 << 18  # points that are looked at together


@dataclass(frozen=True)
class LocalTensorSettings(VolumeSettings):
    """How many scales, and how rich the tensors are."""

    # tensors along a side of the region, scale by scale
    sites: tuple[int, ...] = (4, 8, 16)
    # components of density and of colour, scale by scale
    density_rank: tuple[int, ...] = (16, 8, 8)
    colour_rank: tuple[int, ...] = (16, 16, 16)
    # how far tensors reach from their centre, in distances between tensors (above 0.5, at most 1)
    reach: float = 0.625
    # tensors stand where a voxel is more opaque than this
    threshold: float = 0.1
    # voxels of the coarse grid, and its numbers per voxel for colour
    coarse_voxels: int = 16_000
    coarse_channels: int = 8

    def build(self) -> LocalTensorField:
        return LocalTensorField(self)


class LocalTensorField(VolumeField):
    """Parameters: density [x, y, z, 1] and features [x, y, z, c] of the coarse grid, decoder; of every scale k also
    "k.density_vectors" and "k.colour_vectors" [tensors, 3, nodes, rank], no tensors at the start."""

    settings: LocalTensorSettings

    def __init__(self, settings: LocalTensorSettings) -> None:
        super().__init__(settings)
        self.tables: list[Tensor] = []  # per scale [x, y, z] int32: the tensor of each site, or -1

    @property
    def feature_width(self) -> int:  # type: ignore[override]
        return self.settings.coarse_channels + sum(self.settings.colour_rank)

    @property
    def num_primitives(self) -> int:
        return sum(int((t >= 0).sum()) for t in self.tables) or self._coarse_cells

    @property
    def _coarse_cells(self) -> int:
        a, b, c = self.region.size(min(self.settings.coarse_voxels, self.most_voxels))
        return a * b * c

    def nodes(self, scale: int) -> int:
        """Along an axis of every tensor of a scale, so that all scales have cells as large as ``voxels`` voxels."""
        s = self.settings
        return max(round(self.voxels ** (1 / 3) * 2 * s.reach / s.sites[scale]) + 1, 3)

    def bytes_at(self, voxels: float) -> float:
        """With tensors at a third of the sites, more than surfaces fill at the finest scale."""
        s, side = self.settings, voxels ** (1 / 3)
        total = 4.0 * min(s.coarse_voxels, voxels) * (1 + s.coarse_channels)
        for n, a, b in zip(s.sites, s.density_rank, s.colour_rank):
            total += n**3 * (side * 2 * s.reach / n + 1) * (a + b) * 4
        return total

    def build_params(self, generator: torch.Generator) -> dict[str, Tensor]:
        s = self.settings
        size = self.region.size(min(s.coarse_voxels, self.most_voxels))
        self.tables = [torch.full(self._sites(n), -1, dtype=torch.int32) for n in s.sites]
        out = {"density": torch.zeros(*size, 1), "features": torch.zeros(*size, s.coarse_channels)}
        for k in range(len(s.sites)):
            for name, rank in self._vectors(k).items():
                out[name] = torch.zeros(0, 3, self.nodes(k), rank)
        return out

    def _sites(self, along: int) -> tuple[int, int, int]:
        return self.region.size(float(along) ** 3)

    def _vectors(self, scale: int) -> dict[str, int]:
        s = self.settings
        return {f"{scale}.density_vectors": s.density_rank[scale], f"{scale}.colour_vectors": s.colour_rank[scale]}

    # ------------------------------------------------------------ lookup

    def density(self, u: Tensor, footprint: Tensor) -> Tensor:
        out = trilinear(self.params["density"], u).squeeze(1)
        for k, table in enumerate(self._tables_on(u.device)):
            vectors = self.params[f"{k}.density_vectors"]
            if len(vectors):
                out = out + local_tensors(vectors, table, self.settings.reach, u).sum(1)
        return out

    def features(self, u: Tensor, footprint: Tensor) -> Tensor:
        out = [trilinear(self.params["features"], u)]
        for k, table in enumerate(self._tables_on(u.device)):
            vectors = self.params[f"{k}.colour_vectors"]
            out.append(local_tensors(vectors, table, self.settings.reach, u) if len(vectors)
                       else u.new_zeros(len(u), vectors.shape[3]))
        return torch.cat(out, dim=1)

    def _tables_on(self, device: torch.device) -> list[Tensor]:
        self.tables = [t if t.device == device else sent(t, device) for t in self.tables]
        return self.tables

    # ------------------------------------------------------------ growth, on the CPU

    def refine(self, voxels: float) -> tuple[str, ...]:
        """Longer vectors, and tensors where there is something now; those that hold nothing any more are taken away."""
        self.voxels = max(min(voxels, self.most_voxels), self.voxels)
        return self.grow()

    def grow(self) -> tuple[str, ...]:
        """Places tensors where the field is opaque; the names of the parameters that changed."""
        changed: list[str] = []
        held = self._opaque()
        for k, along in enumerate(self.settings.sites):
            wanted = self._wanted(held, self._sites(along))
            before = self.tables[k].cpu()[wanted]  # numbers of the tensors that stay, -1 where one is new
            table = torch.full(wanted.shape, -1, dtype=torch.int32)
            table[wanted] = torch.arange(len(before), dtype=torch.int32)
            for j, name in enumerate(self._vectors(k)):
                longer = _longer(self.params[name].detach().cpu(), self.nodes(k))
                generator = torch.Generator().manual_seed(round(self.voxels) * 64 + 2 * k + j)
                values = 0.2 * torch.randn(len(before), *longer.shape[1:], generator=generator)
                values[before >= 0] = longer[before[before >= 0].long()]
                self.params[name] = values.to(self.params.device)
                changed.append(name)
            self.tables[k] = table
        return tuple(changed)

    @torch.no_grad()
    def _opaque(self) -> Tensor:
        """[x, y, z] bool: occupied cells with something in them or beside them."""
        volume = self.volume()
        cells = self.region.occupied.nonzero()
        found = torch.zeros(self.region.occupied.shape)
        generator = torch.Generator().manual_seed(round(self.voxels))
        for part in cells.split(_CHUNK):
            at = ((part + torch.rand(len(part), 3, generator=generator)) / torch.tensor(found.shape)).contiguous()
            at = at.to(self.params.device)
            found[tuple(part.T)] = sigmoid(self.density(at, at.new_zeros(len(at))) + volume.shift).cpu()
        near = max_pool3d(found[None, None], 3, 1, 1)[0, 0]
        return (near > self.settings.threshold) & self.region.occupied

    def _wanted(self, held: Tensor, sites: tuple[int, int, int]) -> Tensor:
        """[x, y, z] bool: sites whose tensor would reach a cell that holds something."""
        where = (held.nonzero() + 0.5) / torch.tensor(held.shape) * torch.tensor(sites)
        room = self.settings.reach - 0.5
        wanted = torch.zeros(sites, dtype=torch.bool)
        most = torch.tensor(sites) - 1
        for corner in range(8):
            shift = torch.tensor([room if corner >> i & 1 else -room for i in range(3)])
            index = (where + shift).long().clamp(min=0).minimum(most)
            wanted[index[:, 0], index[:, 1], index[:, 2]] = True
        return wanted

    # ------------------------------------------------------------ checkpoints

    def state(self) -> dict[str, Any]:
        return super().state() | {"tables": [t.cpu() for t in self.tables]}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.tables = [t.clone() for t in state["tables"]]


def _longer(vectors: Tensor, nodes: int) -> Tensor:
    """vectors [tensors, 3, n, rank] with another number of nodes; the ends keep their values."""
    if not len(vectors) or vectors.shape[2] == nodes:
        return vectors.new_zeros(len(vectors), 3, nodes, vectors.shape[3]) if not len(vectors) else vectors
    tensors, _, n, rank = vectors.shape
    flat = vectors.permute(0, 1, 3, 2).reshape(tensors * 3, rank, n)
    out = interpolate(flat, size=nodes, mode="linear", align_corners=True)
    return out.reshape(tensors, 3, rank, nodes).permute(0, 1, 3, 2).contiguous()
