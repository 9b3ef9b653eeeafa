"""What refining poses wins back: python tests/bench/refined_poses.py SCENE --size 120x214 --steps 900

SCENE has true poses. Every fitted camera is turned by 1 degree and moved by 1 % of the scene's radius (root mean
square). Fits from the true poses, from the disturbed ones, and from those adjusted to features, without and with pixels
(what --refine-poses does). Held-out photos take no part in any of it.

A scene may be moved, turned and scaled with all its cameras, so the true held-out cameras are moved along before they
are compared: by the similarity between true and refined cameras. Three PSNRs of the held-out views:
axes    turn by the axes of the cameras, scale and shift by their centres
seen    scale by the centres; turn and shift by points that the cameras carry at the distance of the scene
own     as axes, then every held-out camera is refined against its own photo, the scene standing still (the protocol of
        BARF, ICCV 2021; what `recon eval` shows as own pose): what is left is the scene's fault
Photos hardly tell a turn of a camera from a move across. Where all cameras give way alike in that, the scene stands
beside its place in a frame by axes and centres, and in front of the cameras all the same.
Errors of the fitted cameras are those after the first similarity.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import recon.data as data
from recon.app import catalogue
from recon.app.optimizer_race import with_budget
from recon.data.parts.context import Context
from recon.data.parts.tracks import adjusted
from recon.fit.evaluate import compare
from recon.fit.loop import Fit
from recon.fit.own_poses import on_own_photos
from recon.fit.plan import with_steps
from recon.fit.poses import Poses, twist
from recon.fit.system import PoseRefinement, System
from recon.types import Capture, Similarity, View
from recon.types.similarity import similarity_between


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--size", default="120x214")
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--primitives", type=int, default=8_000, help="at most")
    parser.add_argument("--only", default="", help="true, disturbed, features, pixels: some of them")
    parser.add_argument("--work", type=Path, default=Path("adjusted_poses"), help="where adjusted poses are kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    true = data.read(args.scene)
    system = with_budget(with_steps(catalogue.load("gaussians", args.preset), args.steps), args.primitives)
    wrong = disturbed(true)
    clock = _processor()
    right = adjusted(wrong, Context(work_dir=args.work))
    print(f"features and adjustment: {_processor() - clock:.0f} s of processor time")
    off, on = PoseRefinement(True, begin=2.0), PoseRefinement(True).after_tracks()
    width, height = (int(n) for n in args.size.split("x"))
    for name, capture, refinement in (("true", true, off), ("disturbed", wrong, off), ("features", right, off),
                                      ("pixels", right, on)):
        if not args.only or name in args.only:
            working = data.prepare(capture, size=(width, height))
            measure(name, working, replace(system, pose_refinement=refinement), poses(true))


def disturbed(capture: Capture) -> Capture:
    """Fitted cameras turned by 1 degree and moved by 1 % of the radius, root mean square."""
    generator = torch.Generator().manual_seed(3)
    views = []
    for view in capture.views:
        xi = torch.randn(6, generator=generator, dtype=torch.float64) / math.sqrt(3)
        xi[:3] *= math.radians(1.0)
        xi[3:] *= 0.01 * capture.radius
        moved = replace(view.camera, world_from_camera=view.camera.world_from_camera @ twist(xi))
        views.append(replace(view, camera=moved) if view.split == "train" else view)
    return replace(capture, views=tuple(views))


def poses(capture: Capture) -> Tensor:
    return torch.stack([v.camera.world_from_camera for v in capture.train])


def measure(name: str, capture: Capture, system: System, true: Tensor) -> None:
    fit = Fit(capture, system)
    clock = time.process_time()
    while fit.step < system.steps:
        fit.advance()
    seconds = time.process_time() - clock
    assert fit.problem.poses is not None
    against = Poses(system.pose_refinement, capture.train, capture.radius, given=true)
    against.current = found = fit.problem.poses.current
    axes, seen = against.aligned(capture.test), moved(capture.test, frame_of_what_is_seen(true, found))
    own = tuple(on_own_photos(fit.field, system, capture, axes))
    turned, shifted = against.moves()
    print(f"{name:<10} axes {quality(fit, axes):.2f} dB  seen {quality(fit, seen):.2f}  own {quality(fit, own):.2f}  "
          f"every fourth fitted {quality(fit, fit.posed_capture().train[::4]):.2f}  {seconds:.1f} s  "
          f"error: {float(turned.median()):.3f} degrees (most {float(turned.max()):.2f}), "
          f"{100 * float(shifted.median()):.3f} % of the radius (most {100 * float(shifted.max()):.2f})", flush=True)


def quality(fit: Fit, views: Sequence[View]) -> float:
    scores = [r.psnr for r in compare(fit.field, fit.system, fit.capture, views)]
    return sum(scores) / len(scores)


def moved(views: Sequence[View], by: Similarity) -> tuple[View, ...]:
    return tuple(replace(v, camera=by.camera(v.camera)) for v in views)


def frame_of_what_is_seen(source: Tensor, target: Tensor) -> Similarity:
    """target_from_source of the same cameras [n, 4, 4] with least squared errors of points that each carries: middle
    and sides, 14 degrees off, of what it sees at the median distance of the point that all of them look at.

    Source: Kabsch, "A solution for the best rotation to relate two sets of vectors", Acta Cryst. A32, 1976.
    """
    scale = similarity_between(source, target).scale
    sides = torch.tensor([[0, 0, 1], [-0.25, 0, 1], [0.25, 0, 1], [0, -0.25, 1], [0, 0.25, 1]], dtype=torch.float64)

    def carried(poses: Tensor, distance: float) -> Tensor:
        return (distance * sides @ poses[:, :3, :3].mT + poses[:, None, :3, 3]).flatten(0, 1)

    distance = distance_looked_at(source)
    x, y = carried(source, distance), carried(target, scale * distance)
    u, _, v = torch.linalg.svd((y - y.mean(0)).T @ (x - x.mean(0)))
    rotation = u @ torch.diag(torch.tensor([1.0, 1.0, float(torch.det(u @ v))], dtype=torch.float64)) @ v
    return Similarity(scale, rotation, y.mean(0) - scale * (rotation @ x.mean(0)))


def distance_looked_at(poses: Tensor) -> float:
    """Median distance to the point that is nearest to the axes of all cameras."""
    centre, forward = poses[:, :3, 3], poses[:, :3, 2]
    across = torch.eye(3, dtype=torch.float64) - forward[:, :, None] * forward[:, None]
    point = torch.linalg.solve(across.sum(0), (across @ centre[:, :, None]).sum(0))[:, 0]
    return float(((point - centre) * forward).sum(1).median())


def _processor() -> float:
    """Seconds of this process and of those that it has waited for."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    main()
