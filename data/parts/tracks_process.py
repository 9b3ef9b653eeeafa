"""The process that adjusts given poses to feature tracks: ``python tracks_process.py job.json``.

A process of its own for the same reasons as ``sfm_process``, whose protocol it speaks. Features are matched between the
pairs of photos that the job names, checked by two-view geometry (which needs no poses), triangulated from the given
poses with a wide tolerance, and bundle adjustment moves poses and points; then again with narrower ones, and at last
to points on flat ground (``flat_tracks``). Lenses stay as they are. The result is written as text: a line per photo,
with its name, the points it sees, and world_from_camera.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FEW = 60  # points on flat ground: a photo that sees fewer keeps its features beside them
_ROUNDS = ((0.05, 10.0, 2.0), (0.0025, 2.0, 0.5))  # tolerances: of the longer side, in degrees; pixels of the loss


def run(job: dict[str, Any], say: Callable[..., None], log: Any) -> tuple[object, ...]:
    """-> ("done", photos that see points, mean reprojection error in pixels)."""
    import numpy as np

    from recon.data.parts.sfm_process import extract, started, verification_options

    pycolmap = started()
    folder = Path(job["folder"])
    database, images = folder / "database.db", folder / "copies"
    count, done = len(job["poses"]), 0
    for group in job["groups"]:
        log.begin("Finding features", done, count)
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = "PINHOLE"
        reader.camera_params = ",".join(repr(float(p)) for p in group["intrinsics"])
        extract(pycolmap, job, group, reader)
        done += len(group["names"])
    log.begin("Matching photos")
    (folder / "pairs.txt").write_text("".join(f"{a} {b}\n" for a, b in job["pairs"]))
    matching = pycolmap.FeatureMatchingOptions()
    matching.use_gpu = False
    matching.num_threads = job["num_threads"]
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = str(folder / "pairs.txt")
    pycolmap.match_image_pairs(database, matching_options=matching, pairing_options=pairing,
                               verification_options=verification_options(pycolmap), device=pycolmap.Device.cpu)
    poses = {name: np.array(pose) for name, pose in job["poses"].items()}
    found: Any = None
    steps = len(_ROUNDS) + 1
    for number, (pixels, degrees, loss) in enumerate(_ROUNDS):
        say("Adjusting poses", number, steps)
        found = _adjusted(pycolmap, np, folder, database, images, poses, pixels * job["longest_side"], degrees,
                          loss)
        for image in found.images.values():
            if image.num_points3D:
                poses[image.name][:3] = image.cam_from_world().inverse().matrix()
    say("Adjusting poses", len(_ROUNDS), steps)
    seen = {image.name: image.num_points3D for image in found.images.values()}
    found = _adjusted_to_flat_ground(pycolmap, np, found, images, job["num_threads"])
    say("Adjusting poses", steps, steps)
    for image in found.images.values():
        if image.num_points3D >= _FEW // 2:
            poses[image.name][:3] = image.cam_from_world().inverse().matrix()
    lines = [" ".join([name, str(seen.get(name, 0)), *(repr(float(v)) for v in pose.reshape(-1))])
             for name, pose in poses.items()]
    (folder / "poses.txt").write_text("\n".join(lines) + "\n")
    return "done", sum(n > 0 for n in seen.values()), float(found.compute_mean_reprojection_error())


def _adjusted(pycolmap: Any, np: Any, folder: Path, database: Path, images: Path, poses: dict[str, Any], pixels: float,
              degrees: float, loss: float) -> Any:
    """The reconstruction after one round: triangulated from ``poses`` (world_from_camera), then all of it adjusted;
    errors beyond ``loss`` pixels count by their size."""
    model = folder / "model"
    shutil.rmtree(model, ignore_errors=True)  # binary files of the round before would be read instead
    model.mkdir()
    with pycolmap.Database.open(str(database)) as stored:
        cameras = [f"{c.camera_id} {c.model.name} {c.width} {c.height} " + " ".join(repr(float(p)) for p in c.params)
                   for c in stored.read_all_cameras()]
        views = []
        for image in stored.read_all_images():
            moved = pycolmap.Rigid3d(poses[image.name][:3]).inverse()
            x, y, z, w = moved.rotation.quat
            numbers = " ".join(repr(float(v)) for v in (w, x, y, z, *moved.translation))
            views.append(f"{image.image_id} {numbers} {image.camera_id} {image.name}\n")
    (model / "cameras.txt").write_text("\n".join(cameras) + "\n")
    (model / "images.txt").write_text("\n".join(views) + "\n")
    (model / "points3D.txt").write_text("")
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = 1  # sums of several threads differ from run to run
    options.random_seed = 0
    for name in ("create_max_angle_error", "continue_max_angle_error", "re_max_angle_error"):
        setattr(options.triangulation, name, degrees)
    for name in ("merge_max_reproj_error", "complete_max_reproj_error"):
        setattr(options.triangulation, name, pixels)
    options.mapper.filter_max_reproj_error = pixels
    scene = pycolmap.triangulate_points(pycolmap.Reconstruction(str(model)), str(database), str(images), str(model),
                                        clear_points=True, options=options)
    _bundle_adjust(pycolmap, scene, loss)
    return scene


def _adjusted_to_flat_ground(pycolmap: Any, np: Any, scene: Any, images: Path, threads: int) -> Any:
    """The reconstruction again, of points on flat ground alone where photos see enough of them."""
    if not scene.points3D:
        return scene
    import torch
    from PIL import Image

    from recon.data.parts.flat_tracks import Tracks, Views, flat_tracks

    torch.set_num_threads(1)  # chunks go to threads: operations on them are too short to be divided
    old = sorted(scene.images.values(), key=lambda image: image.name)
    number = {image.image_id: k for k, image in enumerate(old)}
    points = [p.xyz for p in scene.points3D.values()]
    rows = [(i, number[t.image_id], *scene.images[t.image_id].points2D[t.point2D_idx].xy)
            for i, p in enumerate(scene.points3D.values()) for t in p.track.elements]
    table = torch.tensor(rows, dtype=torch.float64)
    features = Tracks(table[:, 0].long(), table[:, 1].long(), table[:, 2:])
    views = Views([torch.from_numpy(np.array(Image.open(images / image.name))) for image in old],
                  torch.tensor(np.stack([image.cam_from_world().matrix() for image in old])),
                  torch.tensor(np.stack([scene.cameras[image.camera_id].params for image in old])))
    flat = flat_tracks(views, torch.tensor(np.stack(points)), features, threads)
    few = torch.bincount(flat.view, minlength=len(old)) < _FEW
    kept = features.where(few[features.view])
    observations = [dict[int, Any]() for _ in points]
    for tracks in (kept, flat):
        for i, k, xy in zip(tracks.point.tolist(), tracks.view.tolist(), tracks.xy.numpy()):
            observations[i][k] = xy
    out = pycolmap.Reconstruction()
    for camera in scene.cameras.values():
        out.add_camera_with_trivial_rig(camera)
    seen: list[list[Any]] = [[] for _ in old]
    found = []
    for i, at in enumerate(observations):
        if len(at) >= 2:
            track = pycolmap.Track()
            for k, xy in at.items():
                track.add_element(k + 1, len(seen[k]))
                seen[k].append(pycolmap.Point2D(xy))
            found.append((points[i], track))
    for k, image in enumerate(old):
        out.add_image_with_trivial_frame(
            pycolmap.Image(name=image.name, points2D=pycolmap.Point2DList(seen[k]), camera_id=image.camera_id,
                           image_id=k + 1), image.cam_from_world())  # fmt: skip
    for xyz, track in found:
        out.add_point3D(xyz, track, np.zeros(3, np.uint8))
    _bundle_adjust(pycolmap, out, _ROUNDS[-1][2])
    return out


def _bundle_adjust(pycolmap: Any, scene: Any, loss: float) -> None:
    """Moves poses and points; errors beyond ``loss`` pixels count by their size."""
    adjustment = pycolmap.BundleAdjustmentOptions()
    adjustment.refine_focal_length = adjustment.refine_principal_point = adjustment.refine_extra_params = False
    adjustment.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    adjustment.ceres.loss_function_scale = loss
    adjustment.ceres.solver_options.num_threads = 1
    pycolmap.bundle_adjustment(scene, adjustment)


if __name__ == "__main__":
    from recon.data.parts.sfm_process import serve

    sys.exit(serve(sys.argv[1], run))
