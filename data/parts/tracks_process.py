"""The process that adjusts given poses to feature tracks: ``python tracks_process.py job.json``.

A process of its own for the same reasons as ``sfm_process``, whose protocol it speaks. Features are matched between the
pairs of photos that the job names, checked by two-view geometry (which needs no poses), triangulated from the given
poses with a wide tolerance, and bundle adjustment moves poses and points; then again with narrower ones. Lenses stay as
they are. The result is written as text: a line per photo with its name, the points it sees, and world_from_camera.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_ROUNDS = ((0.05, 10.0, 2.0), (0.0025, 2.0, 0.5))  # tolerances: of the longer side, in degrees; pixels of the loss


def run(job: dict[str, Any], say: Callable[..., None], log: Any) -> tuple[object, ...]:
    """-> ("done", photos that see points, mean reprojection error in pixels)."""
    import numpy as np

    from recon.data.parts.sfm_process import extraction_options, started

    pycolmap = started()
    folder = Path(job["folder"])
    database, images = folder / "database.db", folder / "copies"
    count, done = len(job["poses"]), 0
    for group in job["groups"]:
        log.begin("Finding features", done, count)
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = "PINHOLE"
        reader.camera_params = ",".join(repr(float(p)) for p in group["intrinsics"])
        extraction = extraction_options(pycolmap, job, group)
        pycolmap.extract_features(database, images, image_names=group["names"], reader_options=reader,
                                  camera_mode=pycolmap.CameraMode.SINGLE, extraction_options=extraction,
                                  device=pycolmap.Device.cpu)  # fmt: skip
        done += len(group["names"])
    log.begin("Matching photos")
    (folder / "pairs.txt").write_text("".join(f"{a} {b}\n" for a, b in job["pairs"]))
    matching = pycolmap.FeatureMatchingOptions()
    matching.use_gpu = False
    matching.num_threads = job["num_threads"]
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = str(folder / "pairs.txt")
    pycolmap.match_image_pairs(database, matching_options=matching, pairing_options=pairing,
                               device=pycolmap.Device.cpu)
    poses = {name: np.array(pose) for name, pose in job["poses"].items()}
    found: Any = None
    for number, (pixels, degrees, loss) in enumerate(_ROUNDS):
        say("Adjusting poses", number, len(_ROUNDS))
        found = _adjusted(pycolmap, np, folder, database, images, poses, pixels * job["longest_side"], degrees,
                          loss, job["num_threads"])
        for image in found.images.values():
            if image.num_points3D:
                poses[image.name][:3] = image.cam_from_world().inverse().matrix()
    say("Adjusting poses", len(_ROUNDS), len(_ROUNDS))
    seen = {image.name: image.num_points3D for image in found.images.values()}
    lines = [" ".join([name, str(seen.get(name, 0)), *(repr(float(v)) for v in pose.reshape(-1))])
             for name, pose in poses.items()]
    (folder / "poses.txt").write_text("\n".join(lines) + "\n")
    return "done", sum(n > 0 for n in seen.values()), float(found.compute_mean_reprojection_error())


def _adjusted(pycolmap: Any, np: Any, folder: Path, database: Path, images: Path, poses: dict[str, Any], pixels: float,
              degrees: float, loss: float, threads: int) -> Any:
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
    options.num_threads = threads
    options.random_seed = 0
    for name in ("create_max_angle_error", "continue_max_angle_error", "re_max_angle_error"):
        setattr(options.triangulation, name, degrees)
    for name in ("merge_max_reproj_error", "complete_max_reproj_error"):
        setattr(options.triangulation, name, pixels)
    options.mapper.filter_max_reproj_error = pixels
    scene = pycolmap.triangulate_points(pycolmap.Reconstruction(str(model)), str(database), str(images), str(model),
                                        clear_points=True, options=options)
    adjustment = pycolmap.BundleAdjustmentOptions()
    adjustment.refine_focal_length = adjustment.refine_principal_point = adjustment.refine_extra_params = False
    adjustment.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    adjustment.ceres.loss_function_scale = loss
    adjustment.ceres.solver_options.num_threads = threads
    pycolmap.bundle_adjustment(scene, adjustment)
    return scene


if __name__ == "__main__":
    from recon.data.parts.sfm_process import serve

    sys.exit(serve(sys.argv[1], run))
