"""Held-out cameras refined against their own photos, so that what is compared is the scene alone.

Where the poses of the fitted views are unknowns, the scene may stand a little beside its place in the frame of the
others: photos hardly tell a turn of all cameras from a move across. Held-out cameras that are moved along by the
similarity of the fitted ones then miss it by a pixel, and PSNR shows that and not the scene.

Source: Lin, Ma, Torralba, Lucey, "BARF: Bundle-Adjusting Neural Radiance Fields", ICCV 2021, arXiv 2104.06405,
section 4: poses of test views are optimised at test time, the scene standing still.
Differences: Gauss-Newton steps, see ``recon.fit.poses``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from recon.fit.evaluate import device_of
from recon.fit.photos import Observations
from recon.fit.poses import Poses, huber
from recon.fit.system import PoseRefinement, System
from recon.protocols import Linear
from recon.types import Capture, View

STEPS = 6  # for each view
# Little: the scene stands still, and turns against moves, which photos hardly tell apart, need whole steps.
_DAMPING = 1e-3


@torch.no_grad()
def on_own_photos(field: Any, system: System, capture: Capture, views: Sequence[View]) -> Iterator[View]:
    """``views``, each at the best of the poses that steps against its own photo lead to.

    ``system.renderer`` has poses (``Poseable``).
    """
    observations = Observations(views, capture, system, memory=0, device=device_of(field))
    poses = Poses(PoseRefinement(True, damping=_DAMPING), views, capture.radius)
    for i, view in enumerate(views):
        seen = observations.get(i)
        best, camera = math.inf, view.camera
        for step in range(STEPS + 1):
            seen = replace(seen, camera=poses.camera(i, seen.camera))
            picture: Linear = system.renderer.linearise(  # type: ignore[attr-defined]
                field, seen.camera, background=seen.background)
            error, weights = huber(picture.picture, seen)
            loss = float((weights * error.square()).sum())
            if loss < best:
                best, camera = loss, poses.camera(i, view.camera)
            if step < STEPS:
                poses.refine(picture, seen)
        yield replace(view, camera=camera)
