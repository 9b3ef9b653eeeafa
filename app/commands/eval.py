"""recon eval: how close the scene comes to photos it was not fitted to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from recon.app import command_line
from recon.app.command_line import flag, option
from recon.errors import InputError


@dataclass(frozen=True)
class Arguments:
    """Measure a run on its held-out photos: PSNR and SSIM per view.

    Where the fit refined poses, also with every held-out camera refined on its own photo, the scene standing still.

    Example:
      recon eval runs/fox-gaussians-01
    """

    # run folder
    run: tyro.conf.Positional[Annotated[str, option("RUN")]]

    # which photos: "test" are the held-out ones
    split: Annotated[Literal["test", "train"], option("test|train", "test")] = "test"

    # where the photos are now, when they have moved
    scene: Annotated[str | None, option("SCENE", "where they were")] = None

    # print JSON, like metrics.json
    json: Annotated[bool, flag()] = False


def run(argv: Sequence[str]) -> int:
    arguments = command_line.parse(Arguments, argv, prog="recon eval")
    from recon.app.api import load
    from recon.app.fitting import saved_system
    from recon.app.scenes import read_again
    from recon.fit import evaluate, own_poses

    scene = load(arguments.run)
    if scene.folder is None:
        raise InputError("is a splat file; only a run can be measured", file=scene.path,
                         fix="recon info shows what is in the file.")
    config = scene.config
    capture = read_again(config, scene.path.parent, arguments.scene)
    system = saved_system(config)
    if system.pose_refinement.enabled:  # views are where the fit has put their cameras
        known = {v.name: v.camera for v in scene.folder.cameras().views}
        capture = dataclasses.replace(capture, views=tuple(
            dataclasses.replace(v, camera=known.get(v.name, v.camera)) for v in capture.views))
    views = capture.subset(arguments.split)
    if not views:
        raise InputError(f'this run has no views in the split "{arguments.split}"', file=scene.path,
                         fix="Measure on the photos it was fitted to: --split train")
    found = {v.name: v.scores for v in evaluate.compare(scene.field, system, capture, views, perceptual=True)}
    own: dict[str, dict[str, float]] = {}
    if system.pose_refinement.enabled and arguments.split == "test":
        refined = tuple(own_poses.on_own_photos(scene.field, system, capture, views))
        own = {v.name: v.scores for v in evaluate.compare(scene.field, system, capture, refined, perceptual=True)}
    if arguments.json:
        more = {"own_pose": evaluate.mean(own) | {"views": own}} if own else {}
        print(json.dumps({"split": arguments.split, **evaluate.mean(found), "views": found, **more}))
        return 0
    width = max(len(name) for name in found)
    for name, score in sorted(found.items(), key=lambda item: item[1]["psnr"]):
        print(f"{name:<{width}}  {_line(score)}" + (f"  own pose: {_line(own[name])}" if own else ""))
    kind = "held-out" if arguments.split == "test" else "training"
    print(f"{'mean':<{width}}  {_line(evaluate.mean(found))}  on {len(views)} {kind} views")
    if own:
        print(f"{'mean':<{width}}  {_line(evaluate.mean(own))}  each camera refined on its own photo, the scene "
              "standing still (BARF's protocol)")
    return 0


def _line(score: dict[str, float]) -> str:
    perceptual = f"  LPIPS {score['lpips']:.4f}" if "lpips" in score else ""
    return f"PSNR {score['psnr']:6.2f}  SSIM {score['ssim']:.4f}{perceptual}"
