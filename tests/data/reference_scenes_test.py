"""The readers on the real scenes: formats agree, points land where COLMAP saw them, nothing is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recon.data import prepare, read
from recon.types import Capture

pytestmark = pytest.mark.scenes

# name: views, test views, points, mask meaning, alpha
EXPECTED = {
    "fox": (50, 7, 12346, None, False),
    "lego": (150, 50, 0, None, True),
    "mold_gold_cape": (60, 8, 5735, "object", False),
    "dtu_scan65": (49, 7, 3636, "object", False),
    "statuette_colmap": (23, 3, 1443, None, False),
    "dynamic_toys": (144, 24, 0, None, True),
    "relight_suzanne": (92, 12, 0, None, True),
}


@pytest.mark.parametrize("name", list(EXPECTED))
def test_every_scene_reads_without_a_warning(name: str, scenes: Path) -> None:
    capture = read(scenes / name)
    got = (len(capture.views), len(capture.test), len(capture.points or ()), capture.mask_meaning, capture.has_alpha)
    assert got == EXPECTED[name]
    assert capture.warnings == ()
    distance = capture.centres.norm(dim=1)
    assert float(distance.median()) == pytest.approx(1, abs=1e-6)


def difference(a: Capture, b: Capture) -> tuple[float, float]:
    """Largest differences of poses and of intrinsics in pixels."""
    assert [v.name for v in a.views] == [v.name for v in b.views]
    pairs = [(v.camera, w.camera) for v, w in zip(a.views, b.views)]
    return (
        max(float((v.world_from_camera - w.world_from_camera).abs().max()) for v, w in pairs),
        max(float((v.intrinsics - w.intrinsics).abs().max()) for v, w in pairs),
    )


@pytest.mark.parametrize(("name", "format"), [("fox", "transforms"), ("mold_gold_cape", "llff"), ("dtu_scan65", "idr")])
def test_two_formats_of_one_scene_agree(name: str, format: str, scenes: Path) -> None:
    a, b = read(scenes / name, format=format), read(scenes / name, format="colmap")
    pose, intrinsics = difference(a, b)
    assert pose < 1e-5
    assert intrinsics < 2e-3
    assert a.views[0].camera.lens == b.views[0].camera.lens
    assert a.points is not None
    assert b.points is not None
    torch.testing.assert_close(a.points.positions, b.points.positions, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["fox", "mold_gold_cape", "dtu_scan65", "statuette_colmap"])
def test_observed_points_reproject_onto_their_keypoints(name: str, scenes: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    model = pycolmap.Reconstruction(str(scenes / name / "sparse" / "0"))
    capture = read(scenes / name, format="colmap", normalise=False)
    by_name = {Path(v.name).name: v.camera for v in capture.views}
    errors = []
    for image in list(model.images.values())[::6]:
        seen = [p for p in image.points2D if p.has_point3D()]
        x = torch.from_numpy(np.stack([model.points3D[p.point3D_id].xyz for p in seen]))
        pixels, depth = by_name[image.name].project(x)
        assert bool((depth > 0).all())
        np.testing.assert_allclose(pixels[:20], [image.project_point(row.numpy()) for row in x[:20]], atol=1e-6)
        errors.append(np.linalg.norm(pixels.numpy() - np.stack([p.xy for p in seen]), axis=1))
    assert float(np.concatenate(errors).mean()) < 0.7


def test_undistorted_fox_shows_points_in_their_colours(scenes: Path) -> None:
    """Mean colour difference between points and the pixels they land on: small, and larger when shifted."""
    capture = prepare(read(scenes / "fox"), size=0.5)
    assert capture.points is not None
    view = capture.views[10]
    assert view.camera.size == (270, 480)
    assert view.camera.lens.is_pinhole
    pixels, depth = view.camera.project(capture.points.positions)
    rgb = view.photo().rgb.permute(1, 2, 0).float()

    def mismatch(shift: int) -> float:
        at = (pixels + shift).floor().long()
        inside = (depth > 0) & (at >= 0).all(1) & (at[:, 0] < 270) & (at[:, 1] < 480)
        assert capture.points is not None
        return float((rgb[at[inside, 1], at[inside, 0]] - capture.points.colours[inside].float()).abs().mean())

    here = mismatch(0)
    assert here < min(mismatch(4), mismatch(-4)) - 2


def test_lego_alpha_is_straight(scenes: Path) -> None:
    photo = prepare(read(scenes / "lego"), size=0.5).views[0].photo()
    assert photo.alpha is not None
    edge = (photo.alpha > 20) & (photo.alpha < 200)
    inside = photo.alpha == 255
    # Premultiplied colours would make edges darker in proportion to their alpha.
    assert float(photo.rgb[:, edge].float().mean()) > 0.6 * float(photo.rgb[:, inside].float().mean())
