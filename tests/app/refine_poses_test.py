"""recon fit --refine-poses: features first where photos share some, then pixels."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from recon.app.fitting import FitJob, FitRequest
from recon.app.main import main
from recon.app.run_folder import RunFolder
from recon.fit.poses import twist

pytest.importorskip("pycolmap")
SAMPLE = Path(__file__).parents[2] / "data" / "sample"
FEW = ("--steps", "4", "--field.random_points", "300", "--resolution", "100x75", "--quiet")


def _disturbed_sample(folder: Path) -> Path:
    """Every second training photo of the sample, with cameras turned by about a degree."""
    generator = torch.Generator().manual_seed(1)
    folder.mkdir()
    for name in ("train", "test"):
        content = json.loads((SAMPLE / f"transforms_{name}.json").read_text())
        content["frames"] = content["frames"][::2] if name == "train" else content["frames"][:1]
        for frame in content["frames"]:
            (folder / frame["file_path"]).parent.mkdir(exist_ok=True)
            shutil.copy(SAMPLE / frame["file_path"], folder / frame["file_path"])
            if name == "train":
                xi = torch.cat([torch.randn(3, generator=generator, dtype=torch.float64) * math.radians(0.6),
                                torch.zeros(3, dtype=torch.float64)])
                pose = torch.tensor(frame["transform_matrix"], dtype=torch.float64) @ twist(xi)
                frame["transform_matrix"] = pose.tolist()
        content.pop("ply_file_path", None)
        (folder / f"transforms_{name}.json").write_text(json.dumps(content))
    return folder


def test_features_put_disturbed_cameras_right_before_the_fit(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene, out = _disturbed_sample(tmp_path / "scene"), tmp_path / "run"
    assert main(["fit", str(scene), "--refine-poses", "--out", str(out), *FEW]) == 0
    true = {Path(f["file_path"]).stem: torch.tensor(f["transform_matrix"], dtype=torch.float64)
            for f in json.loads((SAMPLE / "transforms_train.json").read_text())["frames"]}
    given = {Path(f["file_path"]).stem: torch.tensor(f["transform_matrix"], dtype=torch.float64)
             for f in json.loads((scene / "transforms_train.json").read_text())["frames"]}
    found = {Path(v.name).stem: v.camera.world_from_camera for v in RunFolder(out).cameras().views
             if v.split == "train"}
    assert found.keys() == given.keys()

    def turn(a: torch.Tensor, b: torch.Tensor) -> float:
        """Degrees between how two cameras stand to each other in two sets; the frame does not matter."""
        return math.degrees(2 * math.asin(min(1.0, float((a - b).norm()) / 8**0.5)))

    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))  # axes of the file and ours
    names, errors = sorted(found), {"given": [], "found": []}
    for a, b in itertools.pairwise(names):
        want = true[a][:3, :3].T @ true[b][:3, :3]
        errors["given"].append(turn(given[a][:3, :3].T @ given[b][:3, :3], want))
        errors["found"].append(turn(flip @ found[a][:3, :3].T @ found[b][:3, :3] @ flip, want))
    before, after = (sorted(errors[k])[len(names) // 2] for k in ("given", "found"))
    assert before > 0.5
    assert after < 0.3 * before
    kept = RunFolder(out).config()["system"]["pose_refinement"]
    assert (kept["begin"], kept["every"]) == (0.5, 3)
    own = RunFolder(out).metrics()["own_pose"]
    capsys.readouterr()
    assert main(["eval", str(out), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["own_pose"]["psnr"] == pytest.approx(own["psnr"], abs=1e-3)
    assert measured["own_pose"]["psnr"] >= measured["psnr"] - 0.05
    assert measured["own_pose"]["views"].keys() == measured["views"].keys()
    assert main(["eval", str(out)]) == 0
    assert "own pose: PSNR" in capsys.readouterr().out


def test_where_photos_share_no_features_pixels_alone_are_used(tiny_scene: Path, tmp_path: Path) -> None:
    job = FitJob(FitRequest(scene=str(tiny_scene), steps=4, refine_poses=True, out=tmp_path / "run",
                            resolution=(32, 24)))
    assert not job.adjusted
    assert job.system.pose_refinement.enabled
    assert job.system.pose_refinement.begin < 0.5
