"""What the viewer is made of, without a browser: cameras, reprojection, crop, file names."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_capture import Fixed, MemoryPhoto, camera_at, picture, random_gaussians, tiny_capture
from watching import PAINT

from recon.errors import InputError
from recon.fields.dense_grid import DenseGridSettings
from recon.fields.distance_grid import DistanceGridSettings
from recon.fit.session import Picture, Session, Showable
from recon.renderers.march import MarchRenderer
from recon.renderers.splat import SplatRenderer
from recon.renderers.surface import SurfaceRenderer
from recon.types import Photo, Similarity, View
from recon.types.volume import unit_from_world
from recon.viewer import downloads
from recon.viewer.crop import Crop, level
from recon.viewer.page import Page
from recon.viewer.path import along, to_json
from recon.viewer.reproject import nearest, seen_by
from recon.viewer.stream import Stream, Watcher, quaternion_from_rotation, rotation_from_quaternion, vertical_fov


def make_page(**others: Any) -> Page:
    z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    return Page("some/scene", PAINT, camera_at(0.0), torch.zeros(3), z, tiny_capture().views, **others)


def make_session() -> Session:
    return Session(Showable(Fixed(random_gaussians()), SplatRenderer(), torch.zeros(3)))


class Background:
    """Stands for a browser's scene."""

    def set_background_image(self, image: np.ndarray, **_: Any) -> None:
        self.image = image


def fake_client(camera: Any) -> Any:
    """A browser of 960x600 that stands at ``camera``."""
    seen = SimpleNamespace(image_width=960, image_height=600, fov=vertical_fov(camera), position=camera.centre.numpy(),
                           wxyz=quaternion_from_rotation(camera.world_from_camera[:3, :3]))
    return SimpleNamespace(client_id=3, camera=seen, scene=Background())


@pytest.mark.parametrize("seed", range(20))
def test_quaternions_and_rotations(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    rotation = rotation * torch.linalg.det(rotation)
    torch.testing.assert_close(rotation_from_quaternion(quaternion_from_rotation(rotation)), rotation)


def test_quaternions_are_those_of_viser() -> None:
    transforms = pytest.importorskip("viser.transforms", reason="viser is not installed")
    rotation = camera_at(0.7).world_from_camera[:3, :3]
    wxyz = transforms.SO3.from_matrix(rotation.numpy()).wxyz
    ours = quaternion_from_rotation(rotation)
    assert abs(float(wxyz @ ours)) == pytest.approx(1.0)


def test_the_browsers_camera_is_ours() -> None:
    camera = camera_at(0.7, size=(960, 600))
    watcher = Watcher(fake_client(camera), make_session(), make_page(), SimpleNamespace())  # type: ignore[arg-type]
    watcher.pixels = 10**7
    got = watcher.camera()
    assert got.size == (960, 600)
    torch.testing.assert_close(got.intrinsics, camera.intrinsics)
    torch.testing.assert_close(got.world_from_camera, camera.world_from_camera)
    watcher.pixels = 960 * 600 // 4
    assert watcher.camera().size == (480, 300)
    watcher.client.camera.position = np.array([np.nan, 0, 0])
    with pytest.raises(ValueError, match="not finite"):
        watcher.camera()


def test_a_photo_seen_from_its_own_camera_is_itself() -> None:
    view = tiny_capture().views[0]
    photo = view.photo().rgb
    colours, valid = seen_by(view.camera, torch.ones(40, 48), photo, view.camera)
    assert bool(valid.all())
    torch.testing.assert_close(colours.permute(2, 0, 1), photo.float() / 255, atol=1e-4, rtol=0)


def test_a_photo_seen_from_beside_agrees_with_a_render_there() -> None:
    """A textured wall at z = 1: the photo carried over by depth is what the other camera sees."""
    near, beside = camera_at(0.0, 2.0, 0.0, (96, 80)), camera_at(0.15, 2.0, 0.0, (96, 80))
    y, x = torch.meshgrid(torch.arange(80) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    pixels = torch.stack([x, y], -1).double()

    def wall(camera: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Colours and depth of the plane x = 0, coloured by its y and z."""
        origin, direction = camera.rays(pixels)
        points = origin + direction * (-origin[..., :1] / direction[..., :1])
        rgb = torch.stack([0.5 + 0.4 * torch.sin(3 * points[..., 1]), 0.5 + 0.4 * torch.cos(2 * points[..., 2]),
                           torch.full_like(points[..., 0], 0.3)])
        return rgb, camera.project(points)[1]

    photo, _ = wall(near)
    truth, depth = wall(beside)
    colours, valid = seen_by(beside, depth.float(), (photo * 255).round().to(torch.uint8), near)
    assert float(valid.float().mean()) > 0.8
    error = (colours.permute(2, 0, 1) - truth).abs().mean(0)[valid]
    assert float(error.mean()) < 0.01
    assert nearest(beside, [SimpleNamespace(camera=camera_at(2.0)), SimpleNamespace(camera=near)]) == 1  # type: ignore


def test_the_error_of_what_is_see_through_is_taken_before_the_same_background() -> None:
    """A picture compared with a photo of itself, cut out, has no error anywhere, on white as on black."""
    camera, truth = camera_at(0.3), Fixed(random_gaussians())
    for behind in (0.0, 1.0):
        session = Session(Showable(truth, SplatRenderer(), torch.full((3,), behind)))
        render = session.shown.draw(camera, ("rgb", "depth", "opacity"))
        alpha = render.channel("opacity").clamp(0, 1)
        straight = (render.rgb - behind * (1 - alpha[..., None])) / alpha[..., None].clamp_min(1e-6)
        photo = Photo((straight.permute(2, 0, 1).clamp(0, 1) * 255).round().to(torch.uint8),
                      (alpha * 255).round().to(torch.uint8))
        page = Page("t", PAINT, camera, torch.zeros(3), torch.tensor([0.0, 0, 1]),
                    (View("a", camera, MemoryPhoto(photo)),))
        stream = Stream(session, page)
        watcher = Watcher(fake_client(camera), session, page, stream)
        watcher.channel = "error"
        image = stream.painted(watcher, Picture(None, camera, render, 0, True, 0.0))  # type: ignore[arg-type]
        stream.close()
        assert float(np.asarray(image, np.float64).mean()) < 20, "the ramp begins dark"


def test_crop_keeps_what_is_inside_a_turned_box() -> None:
    turn = rotation_from_quaternion([math.cos(math.pi / 8), 0, 0, math.sin(math.pi / 8)])  # 45 degrees about z
    box = Crop(torch.tensor([1.0, 0, 0]).double(), turn, torch.tensor([2.0, 0.2, 0.2]).double())
    along = turn[:, 0]
    points = box.centre + torch.stack([0.99 * along, 1.01 * along, 0.09 * turn[:, 1], 0.11 * turn[:, 1]])
    assert box.inside(points).tolist() == [True, False, True, False]


VOLUMES = {
    "density": (DenseGridSettings(voxels=8000, start=1.0, opacity=0.3), MarchRenderer(), {}),
    "bounded density": (DenseGridSettings(voxels=8000, start=1.0, opacity=0.3, margin=0.0), MarchRenderer(), {}),
    "neus": (DistanceGridSettings(levels=2, channels=2, log2_slots=8), SurfaceRenderer(), {"width": 0.02}),
    "volsdf": (DistanceGridSettings(levels=2, channels=2, log2_slots=8), SurfaceRenderer("laplace"), {"width": 0.02}),
}


@pytest.mark.parametrize("name", VOLUMES)
def test_a_volume_is_empty_outside_of_the_box(name: str) -> None:
    """Rays that pass the box by see the background; others see as much as of the whole in its stead, within the box."""
    settings, renderer, values = VOLUMES[name]
    field = settings.build()
    field.initialise(tiny_capture(), 0)
    for key, value in values.items():
        setattr(field, key, value)
    turn = rotation_from_quaternion([math.cos(0.4), 0, 0, math.sin(0.4)])
    crop = Crop(torch.tensor([0.3, 0.1, 0.2]).double(), turn, torch.tensor([1.2, 0.9, 0.8]).double())
    camera = camera_at(0.5, distance=4.0)
    with torch.no_grad():
        whole = renderer.render(field, camera, background=torch.ones(3), want=("rgb", "depth", "normal", "opacity"))
        shown = renderer.render(crop.edit(field), camera, background=torch.ones(3),
                                want=("rgb", "depth", "normal", "opacity"))
        nothing = renderer.render(replace(crop, centre=crop.centre + 90, _kept=[]).edit(field), camera,
                                  background=torch.ones(3), want=("rgb", "opacity"))
    y, x = torch.meshgrid(torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij")
    origin, direction = camera.rays(torch.stack([x, y], dim=-1).double())
    start, along = (origin - crop.centre) @ crop.rotation, direction @ crop.rotation
    ends = torch.stack([(-crop.size / 2 - start) / along, (crop.size / 2 - start) / along])
    length = (ends.amax(0).amin(-1) - ends.amin(0).amax(-1)).clamp_min(0)  # of each ray in the box
    assert 0.02 < float((length > 0).double().mean()) < 0.5
    assert float(shown.opacity[length == 0].abs().max()) < 1e-5
    assert float((shown.rgb[length == 0] - 1).abs().max()) < 1e-5
    assert float(shown.opacity[length > 0.4].mean()) > 0.3
    assert float(whole.opacity.mean()) > float(shown.opacity.mean()) + 0.3
    z = shown.depth / (direction @ camera.forward)
    inside = crop.inside((origin + direction * z[..., None]).reshape(-1, 3)).view(z.shape)
    assert bool(inside[shown.opacity > 0.1].all()), "what is seen lies in the box"
    assert float(nothing.opacity.abs().max()) < 1e-5


@pytest.mark.parametrize("name", VOLUMES)
def test_no_cell_that_the_box_touches_is_dropped(name: str) -> None:
    settings, _, _ = VOLUMES[name]
    field = settings.build()
    field.initialise(tiny_capture(), 0)
    volume, generator = field.volume(), torch.Generator().manual_seed(3)
    for k in range(60):
        turn = torch.linalg.qr(torch.randn(3, 3, generator=generator).double())[0]
        crop = Crop(torch.randn(3, generator=generator).double() * 3, turn,
                    torch.rand(3, generator=generator).double() * (4 if k % 2 else 0.3))
        kept = crop.edit(field).volume().cells
        points = crop.centre + ((torch.rand(500, 3, generator=generator) - 0.5) * crop.size) @ turn.T
        u = unit_from_world(volume, points.float())
        cells = tuple((u[((u >= 0) & (u < 1)).all(1)] * torch.tensor(kept.shape)).long().T)
        assert bool((kept[cells] == 0).ge(volume.cells[cells] == 0).all())


@pytest.mark.parametrize("channel", ["rgb", "depth", "normal", "opacity", "error"])
@pytest.mark.parametrize("split", [None, 0.5])
def test_every_channel_is_painted(channel: str, split: float | None) -> None:
    session, page = make_session(), make_page()
    stream = Stream(session, page)
    view = page.views[2]
    watcher = Watcher(fake_client(view.camera), session, page, stream)
    watcher.channel = channel
    if split:
        watcher.photo, watcher.split = 2, split
    posted = []
    session.look = lambda client, look: posted.append(look)  # type: ignore[method-assign]
    watcher.post()
    look = posted[0]
    camera = view.camera
    with torch.no_grad():
        render = session.shown.draw(camera, look.want)
    image = stream.painted(watcher, Picture(look, camera, render, 0, True, 0.0))
    assert image.shape == (40, 48, 3)
    assert image.dtype == np.uint8
    if channel == "rgb" and not split:
        truth = (picture(session.shown.field, camera).permute(1, 2, 0) * 255).numpy()
        assert np.abs(image - truth).max() <= 1
    if channel == "error" and not split:
        assert image.mean() < 8, "the photo is this render, so there is no error"
    if split and channel == "rgb":
        assert np.abs(image[:, :23].astype(int) - view.photo().rgb.permute(1, 2, 0)[:, :23].numpy()).max() <= 2
    stream.close()


@pytest.mark.parametrize(("title", "expected"), [
    ("fox", "fox.ply"), ("../../etc/passwd", "passwd.ply"), ("..", "scene.ply"), ("a b/c d", "c_d.ply"),
    ("", "scene.ply"), ("x" * 500, "x" * 80 + ".ply"), (".hidden", "hidden.ply"), ("C:\\evil", "C_evil.ply"),
])
def test_file_names_are_never_paths(title: str, expected: str) -> None:
    assert downloads.file_name(title, ".ply") == expected


def test_a_path_passes_through_its_keys_and_back() -> None:
    keys = [camera_at(a) for a in (0.0, 0.8, 1.7)]
    path = along(keys, 21)
    for frame, key in ((0, keys[0]), (10, keys[1]), (20, keys[2])):
        torch.testing.assert_close(path[frame].world_from_camera, key.world_from_camera)
    loop = along(keys, 30, closed=True)
    gaps = [float((a.centre - b.centre).norm()) for a, b in zip(loop, [*loop[1:], loop[0]], strict=True)]
    assert max(gaps) < 4 * min(gaps) + 0.5
    for camera in (*path, *loop):
        r = camera.world_from_camera[:3, :3]
        torch.testing.assert_close(r @ r.T, torch.eye(3, dtype=torch.float64))


def test_a_saved_path_is_read_by_the_program(tmp_path: Any) -> None:
    from recon.app import camera_path_file

    similarity = Similarity(0.5, rotation_from_quaternion([0.9, 0.1, 0.3, 0.2]), torch.tensor([1.0, 2, 3]).double())
    keys = along([camera_at(0.0), camera_at(1.0)], 5)
    (tmp_path / "p.json").write_text(to_json(keys, 30, similarity))
    got = camera_path_file.read(tmp_path / "p.json")
    assert got.fps == 30
    for camera, key in zip(got.cameras, keys, strict=True):
        back = similarity.camera(camera)
        torch.testing.assert_close(back.world_from_camera, key.world_from_camera)
        torch.testing.assert_close(back.intrinsics, key.intrinsics)


def test_level_makes_z_up() -> None:
    up = torch.tensor([0.2, -0.9, 0.1], dtype=torch.float64)
    turned = level(up).T @ (up / up.norm())
    torch.testing.assert_close(turned, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    assert float(torch.linalg.det(level(up))) == pytest.approx(1.0)


def test_exports_undo_the_normalising_similarity(tmp_path: Any) -> None:
    from recon.export import read_splats

    similarity = Similarity(0.5, rotation_from_quaternion([0.9, 0.1, 0.3, 0.2]), torch.tensor([1.0, 2, 3]).double())
    page = replace(make_page(), world_from_source=similarity, folder=tmp_path)
    session = make_session()
    session.start()
    name, content, _ = downloads.splats(session, page, ".ply", None)
    assert name == "scene.ply"
    assert (tmp_path / "exports" / "scene.ply").read_bytes() == content
    got = read_splats(tmp_path / "exports" / "scene.ply").gaussians
    truth = session.shown.field.gaussians()
    torch.testing.assert_close(similarity.points(got.means), truth.means, atol=1e-5, rtol=0)
    empty = Crop(torch.full((3,), 50.0).double(), torch.eye(3).double(), torch.ones(3).double())
    with pytest.raises(InputError, match="crop box"):
        downloads.splats(session, page, ".ply", empty)
    with pytest.raises(InputError, match="no format"):
        downloads.splats(session, page, "./../../x.ply", None)
    session.close()
