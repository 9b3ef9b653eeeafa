"""Where a volume lies: the box around a cut-out object, or everything, what is far away contracted into a shell."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon.fields.parts.free_space import before_points
from recon.fields.parts.initial_points import focus_of
from recon.fields.parts.visual_hull import carve
from recon.types import Capture, Volume
from recon.types.perspective import Perspective
from recon.types.volume import world_from_unit

_FEW_POINTS = 200
_ROOM = 0.08  # around the points, of the longest side
_VIEWS = 50  # views that carve
_COARSE = 64  # cells along a side of the first look


@dataclass(frozen=True)
class Region:
    """Corners, margin and perspective as in ``recon.types.Volume``; occupied [x, y, z] bool over unit coordinates;
    ``layers``: no finer than that along the depth of perspective coordinates."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    margin: float
    occupied: Tensor
    perspective: Perspective | None = None
    layers: int = 0

    @property
    def extent(self) -> tuple[float, float, float]:
        a, b, c = (h - s for s, h in zip(self.low, self.high))
        return a, b, c

    def size(self, cells: float) -> tuple[int, int, int]:
        """Numbers along the axes of about ``cells`` cells in all, at least 2 each: cubes, or in perspective coordinates
        squares times layers."""
        a, b, c = self.extent
        if self.perspective is not None:
            deep = max(min(self.layers, round(cells ** (1 / 3))), 2)
            side = self.cell(cells)
            return max(int(a / side), 2), max(int(b / side), 2), deep
        side = (a * b * c / cells) ** (1 / 3)
        return max(int(a / side), 2), max(int(b / side), 2), max(int(c / side), 2)

    def cell(self, cells: float) -> float:
        """Side of one of ``cells`` cells; in perspective coordinates across, which is an angle."""
        a, b, c = self.extent
        if self.perspective is not None:
            return (a * b * max(min(self.layers, round(cells ** (1 / 3))), 2) / cells) ** 0.5
        return (a * b * c / cells) ** (1 / 3)


def around(capture: Capture, cells: int, margin: float) -> Region:
    """``region_of`` a capture; without a hull its inner box is that of the points, so that cells are small there."""
    wide = region_of(capture, cells, margin)
    return wide if wide.margin == 0 else region_of_points(capture, wide)


def without_free_space(capture: Capture, region: Region) -> Region:
    """A region with a shell, cells empty that lie before the points of a camera; one without as it is."""
    if region.margin == 0:
        return region
    return replace(region, occupied=region.occupied & ~_free(capture, region))


def _free(capture: Capture, region: Region) -> Tensor:
    """[x, y, z] bool: cells of a region with a shell that are known to be free."""
    size = torch.tensor(region.occupied.shape)
    volume = Volume(region.low, region.high, region.margin, region.occupied, 1.0, 1.0, 0.0)
    cells = region.occupied.nonzero()
    centre = world_from_unit(volume, (cells + 0.5) / size)
    corner = world_from_unit(volume, (cells + (cells + 0.5 > 0.5 * size)) / size)  # the outermost of a cell
    free = torch.zeros(region.occupied.shape, dtype=torch.bool)
    free[tuple(cells.T)] = before_points(capture, centre.double(), (corner - centre).norm(dim=1).double())
    return free


def region_of(capture: Capture, cells: int, margin: float) -> Region:
    """The region of a capture, with ``cells`` occupancy cells along a side on average.

    Where photos have alpha: the box around the visual hull, cells outside of it empty. Else a cube around what the
    cameras look at, ``margin`` half sides of shell around it, everything occupied.
    """
    focus, distance = focus_of(capture)
    if capture.has_alpha:
        found = _hull(capture, focus, 0.6 * distance, cells)
        if found is not None:
            return found
    low = tuple(float(v) for v in focus - distance)
    high = tuple(float(v) for v in focus + distance)
    return Region(low, high, margin, torch.ones(cells, cells, cells, dtype=torch.bool))  # type: ignore[arg-type]


def region_of_points(capture: Capture, wide: Region) -> Region:
    """``wide`` with its inner box drawn around the capture's points, where there are enough of them; never larger."""
    if capture.points is None or len(capture.points) < _FEW_POINTS:
        return wide
    low, high = torch.tensor(wide.low, dtype=torch.float64), torch.tensor(wide.high, dtype=torch.float64)
    x = capture.points.positions.double()
    x = x[((x > low) & (x < high)).all(1)]
    if len(x) < _FEW_POINTS:
        return wide
    x = x.sort(dim=0).values
    first, last = x[len(x) // 200], x[-1 - len(x) // 200]  # without half a percent of stray ones on each side
    room = _ROOM * (last - first).max()
    low, high = torch.maximum(low, first - room), torch.minimum(high, last + room)
    return Region(tuple(low.tolist()), tuple(high.tolist()), wide.margin, wide.occupied)


def _hull(capture: Capture, focus: Tensor, half: float, cells: int) -> Region | None:
    views = capture.train or capture.views
    photos = [(v, v.photo()) for v in views[:: -(-len(views) // _VIEWS)]]
    photos = [(v, p) for v, p in photos if p.alpha is not None]
    if not photos:
        return None
    steps = (torch.arange(_COARSE, dtype=torch.float64) + 0.5) / _COARSE * 2 - 1
    centres = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), dim=-1).reshape(-1, 3)
    kept, _ = carve(focus + centres * half, photos, 0.87 * 2 * half / _COARSE)
    if len(kept) < 8:
        return None
    room = 1.5 * 2 * half / _COARSE
    low, high = kept.amin(0) - room, kept.amax(0) + room
    box = Region(tuple(low.tolist()), tuple(high.tolist()), 0.0, torch.empty(0))
    size = box.size(float(cells) ** 3)
    extent = high - low
    axes = [(torch.arange(n, dtype=torch.float64) + 0.5) / n for n in size]
    points = low + torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3) * extent
    cell = extent / torch.tensor(size)
    kept, _ = carve(points, photos, 0.87 * float(cell.max()))
    index = ((kept - low) / extent * torch.tensor(size)).long()
    occupied = torch.zeros(size, dtype=torch.bool)
    occupied[index[:, 0], index[:, 1], index[:, 2]] = True
    grown = torch.nn.functional.max_pool3d(occupied[None, None].float(), 3, 1, 1)[0, 0] > 0
    return Region(box.low, box.high, 0.0, grown)
