"""The frame that captures are brought to: cameras around the origin at a distance of about 1."""

from __future__ import annotations

import torch
from torch import Tensor

from recon.types import Capture, Similarity


def normalised(capture: Capture) -> Capture:
    """Moves and scales a capture (no rotation, so up stays up and spherical harmonics stay as they are).

    Centre: the point nearest to all optical axes in the least-squares sense, if the axes do meet: the system is well
    conditioned and the point lies in front of most cameras and not far from them. Otherwise (cameras side by side
    that all look the same way, a panorama) the mean of the camera positions.
    Scale: the median distance of a camera from that centre becomes 1; kept if all cameras are in one place.
    """
    centres = capture.centres
    forward = torch.stack([v.camera.forward for v in capture.views])
    centre = look_at_centre(centres, forward)
    if centre is None:
        centre = centres.mean(0)
    distance = float((centres - centre).norm(dim=1).median())
    spread = float((centres - centres.mean(0)).norm(dim=1).max())
    scale = 1 / distance if max(distance, spread) > 1e-9 and distance > 1e-9 else 1.0
    return capture.moved(Similarity(scale, torch.eye(3, dtype=torch.float64), -scale * centre))


def look_at_centre(centres: Tensor, forward: Tensor) -> Tensor | None:
    """Cameras [n, 3] and unit axes [n, 3] -> [3] where the axes meet, or None if they do not."""
    if len(centres) < 2:
        return None
    across = torch.eye(3, dtype=torch.float64) - forward[:, :, None] * forward[:, None, :]
    system = across.mean(0)
    if float(torch.linalg.eigvalsh(system)[0]) < 0.02:  # mean squared sine between axes and their common direction
        return None
    point = torch.linalg.solve(system, (across @ centres[:, :, None]).mean(0))[:, 0]
    ahead = ((point - centres) * forward).sum(1) > 0
    spread = (centres - centres.mean(0)).norm(dim=1).max()
    if float(ahead.double().mean()) < 0.75 or float((point - centres.mean(0)).norm()) > 10 * float(spread):
        return None
    return point
