"""Pictures of results: PNG and JPEG files, depth and normals as colours, the photo | render | error comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from recon.app import atomic

if TYPE_CHECKING:
    from PIL.Image import Image

    from recon.types import Render

# A perceptually even ramp, dark blue (far, small) over green to yellow (near, large); sRGB in 0..1.
_RAMP = np.array([
    [0.09, 0.07, 0.22], [0.17, 0.16, 0.45], [0.16, 0.30, 0.56], [0.13, 0.44, 0.56], [0.13, 0.57, 0.54],
    [0.24, 0.70, 0.46], [0.48, 0.81, 0.33], [0.76, 0.88, 0.20], [0.99, 0.91, 0.30],
])
# Black over red to white, for errors.
_HEAT = np.array([[0.0, 0.0, 0.0], [0.35, 0.04, 0.22], [0.80, 0.16, 0.16], [0.97, 0.55, 0.15], [1.0, 0.95, 0.75]])
RAMPS = {
    "blue to yellow": _RAMP,
    "black to white": np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]),
    "heat": _HEAT,
    "rainbow": np.array([
        [0.19, 0.07, 0.23], [0.27, 0.43, 0.94], [0.13, 0.76, 0.85], [0.35, 0.97, 0.48], [0.74, 0.96, 0.24],
        [0.98, 0.73, 0.21], [0.92, 0.31, 0.05], [0.48, 0.02, 0.01],
    ]),
}


def coloured(value: np.ndarray, ramp: np.ndarray = _RAMP) -> np.ndarray:
    """Values [...] in 0..1 -> colours [..., 3] in 0..1."""
    at = np.linspace(0.0, 1.0, len(ramp))
    clean = np.clip(np.nan_to_num(value), 0.0, 1.0)
    return np.stack([np.interp(clean, at, ramp[:, c]) for c in range(3)], axis=-1)


def depth_range(depth: Tensor) -> tuple[float, float]:
    """(near, far) that show a depth map [height, width] well: its 2nd and 98th percentile where something was hit."""
    hit = depth[(depth > 0) & torch.isfinite(depth)]
    if not len(hit):
        return 0.0, 1.0
    near, far = np.percentile(hit.numpy(), [2, 98]).tolist()
    return near, max(far, near * (1 + 1e-6))


def channel_image(render: Render, channel: str, near_far: tuple[float, float] | None = None,
                  ramp: np.ndarray = _RAMP) -> np.ndarray:
    """A channel of a render as [height, width, 3] uint8.

    Depth is coloured by its inverse (near is bright) between ``near_far``; normals are 0.5 + 0.5 n in the world; empty
    places are black.
    """
    value = render.channel(channel).detach()
    if channel == "rgb":
        return to_bytes(value)
    if channel == "depth":
        near, far = near_far or depth_range(value)
        hit = value > 0
        inverse = torch.where(hit, 1.0 / value.clamp_min(1e-12), 0.0)
        span = max(1.0 / max(near, 1e-12) - 1.0 / max(far, 1e-12), 1e-12)
        colours = coloured(((inverse - 1.0 / max(far, 1e-12)) / span).numpy(), ramp)
        return (np.where(hit.numpy()[..., None], colours, 0.0) * 255 + 0.5).astype(np.uint8)
    if channel == "normal":
        hit = value.norm(dim=-1, keepdim=True) > 1e-3
        return to_bytes(torch.where(hit, 0.5 + 0.5 * value, 0.0))
    return to_bytes(value[..., None].expand(*value.shape, 3))


def to_bytes(rgb: Tensor) -> np.ndarray:
    """[..., 3] floats, about 0..1 -> uint8, rounded; what is not finite becomes 0."""
    return (rgb.detach().float().nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def write_image(path: Path, pixels: np.ndarray, quality: int = 92) -> None:
    """Writes [height, width, 3] uint8 as PNG or JPEG (by suffix), atomically."""
    from PIL import Image

    with atomic.replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, quality=quality)  # PNG takes no notice of it


def write_depth16(path: Path, depth: Tensor, unit: float) -> None:
    """Writes depth [height, width] as a 16-bit PNG in steps of ``unit``; 0 = nothing, 65535 = that far or farther."""
    from PIL import Image

    steps = (depth.detach().double() / unit).round().clamp(0, 65535).numpy().astype(np.uint16)
    with atomic.replacing(path) as temporary:
        Image.fromarray(steps).save(temporary)


def read_image(path: Path) -> np.ndarray:
    """[height, width, 3] uint8."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def comparison(photo: Tensor, render: Tensor, mask: Tensor | None = None) -> np.ndarray:
    """photo | render | error, [height, 3 * width + gaps, 3] uint8.

    ``photo`` and ``render`` [height, width, 3] in 0..1; ``mask`` [height, width], 0 where nothing is compared.
    Error is the mean absolute difference of the channels, white at 0.25 and above.
    """
    difference = (photo - render).abs().mean(-1)
    if mask is not None:
        difference = torch.where(mask > 0, difference, 0.0)
    heat = (coloured(difference.detach().numpy() * 4, _HEAT) * 255 + 0.5).astype(np.uint8)
    gap = np.full((photo.shape[0], 4, 3), 255, np.uint8)
    return np.concatenate([to_bytes(photo), gap, to_bytes(render), gap, heat], axis=1)


def as_pil(rgb: Tensor) -> Image:
    """For notebooks: [height, width, 3] in 0..1 as a picture that shows itself."""
    from PIL import Image

    return Image.fromarray(to_bytes(rgb))
