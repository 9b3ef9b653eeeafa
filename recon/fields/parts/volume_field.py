"""What all fields for ray marching share: region, occupancy, resolution, colour from features by a small network."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Literal

import psutil
import torch
from torch import Tensor

from recon.errors import InputError
from recon.fields.parts.forward_region import faces_forward, forward_region
from recon.fields.parts.region import Region, around, without_free_space
from recon.ops.march import distances
from recon.ops.mlp import initial, mlp
from recon.params import Params
from recon.types import Capture, Volume
from recon.types.perspective import Perspective
from recon.types.placement import sent

_BANDS = 4  # of the direction's encoding
_HALF = 0.7  # optical length that lets half of the light pass
_COPIES = 4  # of every parameter: value, gradient, two moments


@dataclass(frozen=True)
class VolumeSettings:
    """Settings that every volume has."""

    # voxels at the end; fewer where the photos have not that many pixels
    voxels: int = 2_000_000
    # voxels at the start are fewer by this factor; a refine strategy closes the gap
    start: float = 16.0
    # width of the hidden layers that turn features and direction into colour
    hidden: int = 64
    # hidden layers
    layers: int = 2
    # step along rays, in voxels
    step: float = 0.5
    # opacity of an untouched voxel per step
    opacity: float = 0.03
    # cells along a side of the occupancy grid
    cells: int = 96
    # shell that holds what is outside the inner box, in half sides of the box, for photos without alpha
    margin: float = 0.25
    # scenes seen from one side lie in layers of depth in front of the cameras, infinity the last (NeRF's normalised
    # device coordinates); auto: where all cameras look the same way and nothing was cut out
    facing: Literal["auto", "forward", "around"] = "auto"
    # such layers
    layers_of_depth: int = 128


def direction_encoding(direction: Tensor) -> Tensor:
    """[n, 3] unit -> [n, 27]: the direction and sines and cosines of it times 1, 2, 4, 8 (NeRF, eq. 4, without pi)."""
    scaled = (direction[:, None] * _octaves(direction)[:, None]).flatten(1)
    return torch.cat([direction, scaled.sin(), scaled.cos()], dim=1)


def _octaves(like: Tensor) -> Tensor:
    return 2.0 ** torch.arange(_BANDS, dtype=like.dtype, device=like.device)


class VolumeField(ABC):
    """Implements the Field and Volumetric protocols but for what a representation adds: the abstract methods, and
    ``resized`` if it can be refined."""

    settings: VolumeSettings

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.params = Params()
        self.region = Region((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0), 0.0, torch.ones(2, 2, 2, dtype=torch.bool))
        self.cells = distances(self.region.occupied)
        self.voxels = 8.0
        self.most_voxels = 8.0
        self.shift = 0.0
        self.memory: int | None = None  # bytes that parameters, gradients and moments may take

    # ------------------------------------------------------------ for a representation to fill in

    feature_width = 0
    per_voxel: tuple[str, ...] = ()  # parameters [x, y, z, channels], for strategies that look at places
    path = ""  # of ``settings`` in the settings of the method
    row_by_row = True  # a point is looked up to the same bits however many others there are
    voxels_per_pixel = 0.5  # at most: more than photos can tell apart are not made

    def find_region(self, capture: Capture, cells: int) -> Region:
        """Where the volume lies, with ``cells`` occupancy cells along a side on average."""
        s = self.settings
        if s.facing == "forward" or (s.facing == "auto" and faces_forward(capture)):
            return forward_region(capture, cells, s.layers_of_depth)
        return without_free_space(capture, around(capture, cells, s.margin))

    @abstractmethod
    def build_params(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Parameters besides ``decoder``, at ``size``."""

    @abstractmethod
    def bytes_at(self, voxels: float) -> float:
        """Of the parameters at that many voxels; to check the size against the memory there is."""

    @abstractmethod
    def density(self, u: Tensor, footprint: Tensor) -> Tensor:
        """See the Volumetric protocol."""

    def density_and_more(self, u: Tensor, footprint: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.density(u, footprint), None

    @abstractmethod
    def features(self, u: Tensor, footprint: Tensor) -> Tensor:
        """[m, feature_width] that colour is made from, where ``density_and_more`` does not give it."""

    def resized(self, size: tuple[int, int, int]) -> dict[str, Tensor]:
        """Parameters that change when the grid has ``size`` nodes, with their new values."""
        return {}

    # ------------------------------------------------------------ shared

    @property
    def size(self) -> tuple[int, int, int]:
        """Nodes along the axes."""
        return self.region.size(self.voxels)

    @property
    def decoder_sizes(self) -> list[int]:
        return [self.feature_width + 3 + 6 * _BANDS, *[self.settings.hidden] * self.settings.layers, 3]

    def initialise(self, capture: Capture, seed: int) -> None:
        s = self.settings
        pixels = sum(v.camera.width * v.camera.height for v in capture.train)
        self.most_voxels = float(max(min(s.voxels, int(self.voxels_per_pixel * pixels)), 512))
        self._check_memory()
        cells = max(min(s.cells, round(1.2 * self.most_voxels ** (1 / 3))), 8)
        self.region = self.find_region(capture, cells)
        self.cells = distances(self.region.occupied)
        self.voxels = max(self.most_voxels / s.start, 512.0)
        self.shift = math.log(1 / (1 - s.opacity) - 1)
        if self.region.perspective is not None:  # everything is seen at the start, so half of the light passes it all
            self.shift = math.log(math.expm1(_HALF * s.step / self.size[2] / self.volume().delta))
        generator = torch.Generator().manual_seed(seed)
        params = self.build_params(generator)
        params["decoder"] = initial(self.decoder_sizes, generator)
        self.params = Params(params)

    def limit_memory(self, memory: int) -> None:
        """Says how many bytes the fit may use for this field, before ``initialise``."""
        self.memory = memory

    def _check_memory(self) -> None:
        """Raises InputError with the number of voxels that fits, before anything is allocated."""
        free = int(0.8 * psutil.virtual_memory().available)
        allowed = free if self.memory is None else min(free, self.memory)
        needed = _COPIES * self.bytes_at(self.most_voxels)
        if needed > allowed:
            fits = self.most_voxels
            while fits > 1000 and _COPIES * self.bytes_at(fits) > allowed:
                fits *= 0.95
            fits = max(int(fits) // 1000 * 1000, 1000)
            raise InputError(f"{int(self.most_voxels):,} voxels need {needed / 1e9:.2f} GB, and "
                             f"{allowed / 1e9:.2f} GB are there for them",
                             fix=f"Use fewer: --field.{self.path}voxels {fits}" + (
                                 "" if allowed == free else ", or allow more with --memory"))

    @property
    def num_primitives(self) -> int:
        a, b, c = self.size
        return a * b * c

    def volume(self) -> Volume:
        if self.cells.device != self.params.device:
            self.cells = sent(self.cells, self.params.device)
        r = self.region
        if r.perspective is not None:  # steps of layers; the optical length of a whole ray is always the same
            now, last = r.size(self.voxels)[2], r.size(self.most_voxels)[2]
            return Volume(r.low, r.high, 0.0, self.cells, self.settings.step / now, 0.5 * last / now, self.shift,
                          r.perspective, r.occupied)
        shell = 1 + r.margin
        a, b, c = r.extent
        voxel = (a * b * c / self.voxels) ** (1 / 3) * shell
        last = (a * b * c / self.most_voxels) ** (1 / 3) * shell
        step = self.settings.step * voxel
        return Volume(r.low, r.high, r.margin, self.cells, step, 0.5 * voxel / last, self.shift, occupied=r.occupied)

    def radiance(self, u: Tensor, footprint: Tensor, direction_world: Tensor, ray: Tensor, more: Tensor | None
                 ) -> Tensor:
        return mlp(self.params["decoder"], self.decoder_sizes, self.features(u, footprint) if more is None else more,
                   direction_encoding(direction_world), ray, squash=True)

    def refine(self, voxels: float) -> tuple[str, ...]:
        """Goes to about ``voxels`` voxels (at most ``most_voxels``); the names of the parameters that changed."""
        voxels = min(voxels, self.most_voxels)
        self.voxels = max(voxels, self.voxels)
        changed = self.resized(self.size)
        for name, tensor in changed.items():
            self.params[name] = tensor.to(self.params.device)
        return tuple(changed)

    def occupy(self, occupied: Tensor) -> None:
        """Says which cells [x, y, z] bool can hold something; ``occupied`` is on the CPU."""
        self.region = replace(self.region, occupied=occupied)
        self.cells = distances(occupied)

    def state(self) -> dict[str, Any]:
        r = self.region
        seen = r.perspective
        return {"low": list(r.low), "high": list(r.high), "margin": r.margin, "occupied": r.occupied,
                "perspective": None if seen is None else [seen.frame_from_world, seen.near], "layers": r.layers,
                "voxels": self.voxels, "most_voxels": self.most_voxels, "shift": self.shift}

    def load_state(self, state: dict[str, Any]) -> None:
        seen = state.get("perspective")
        self.region = Region(tuple(state["low"]), tuple(state["high"]), float(state["margin"]), state["occupied"],
                             None if seen is None else Perspective(seen[0], float(seen[1])),
                             int(state.get("layers", 0)))
        self.cells = distances(self.region.occupied)
        self.voxels, self.most_voxels = float(state["voxels"]), float(state["most_voxels"])
        self.shift = float(state["shift"])


def resampled(values: Tensor, size: tuple[int, int, int]) -> Tensor:
    """values [x, y, z, channels] on a grid of another size; the corners keep their values."""
    grid = values.detach().permute(3, 0, 1, 2)[None]
    out = torch.nn.functional.interpolate(grid, size=size, mode="trilinear", align_corners=True)
    return out[0].permute(1, 2, 3, 0).contiguous()
