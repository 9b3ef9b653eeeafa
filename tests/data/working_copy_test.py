"""prepare(): pinhole cameras, undistorted pixels, and a cache that keeps its budget."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_captures import HEIGHT, WIDTH, Tiny, write_transforms

from recon.data import prepare, read
from recon.data.parts.images import decode
from recon.data.parts.photo_file import PhotoFile
from recon.data.parts.pinhole import pinhole_for
from recon.data.parts.prepare import reduced, working_size
from recon.data.parts.store import PhotoStore
from recon.errors import InputError
from recon.types import Camera, Lens, Photo

BARREL = Lens("OPENCV", (-0.2, 0.03, 0.002, -0.003))


def camera(lens: Lens, width: int = 200, height: int = 150, focal: float = 160) -> Camera:
    k = torch.tensor([focal, focal * 1.02, width * 0.52, height * 0.47], dtype=torch.float64)
    return Camera(width, height, k, torch.eye(4), lens)


def ramp(native: Camera, path: Path) -> None:
    """A photo whose colours tell the direction of each pixel: u, v and -u of the plane z = 1, each in -1..1."""
    y, x = torch.meshgrid(torch.arange(native.height) + 0.5, torch.arange(native.width) + 0.5, indexing="ij")
    _, d = native.rays(torch.stack([x, y], -1).double())
    uv = d[..., :2] / d[..., 2:]
    rgb = (torch.cat([uv, -uv[..., :1]], -1) + 1) * 127.5
    rgb = rgb.clamp(0, 255).round().to(torch.uint8)
    Image.fromarray(rgb.numpy()).save(path)


@pytest.mark.parametrize("lens", [
    BARREL, Lens("SIMPLE_RADIAL", (0.15,)), Lens("OPENCV_FISHEYE", (0.02, -0.004, 0, 0)), Lens("FOV", (0.7,)),
    Lens("EUCM", (0.5, 1.1)), Lens("DIVISION", (-0.1,)),
], ids=lambda lens: lens.model)  # fmt: skip
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_undistorted_pixels_show_their_own_direction(lens: Lens, scale: float, tmp_path: Path) -> None:
    native = camera(lens)
    ramp(native, tmp_path / "ramp.png")
    target = pinhole_for(native, round(200 * scale), round(150 * scale))
    photo = PhotoFile(tmp_path / "ramp.png", native).read(target)
    assert photo.mask is None  # no pixel without a source
    assert target.lens.is_pinhole
    y, x = torch.meshgrid(torch.arange(target.height) + 0.5, torch.arange(target.width) + 0.5, indexing="ij")
    _, d = target.rays(torch.stack([x, y], -1).double())
    uv = d[..., :2] / d[..., 2:]
    expected = (torch.cat([uv, -uv[..., :1]], -1) + 1) * 127.5
    error = photo.rgb.permute(1, 2, 0) - expected  # of 255; a pixel is about 0.8, or 1.6 at half the size
    assert float(error.abs().max()) < 2.5
    assert float(error.abs().mean()) < 0.7
    bias = error.mean((0, 1))  # rounding brightens all channels alike; a shift by half a pixel splits u and -u by 0.8
    assert abs(float(bias[0] - bias[2])) < 0.2
    # Not a needless crop: some side of the view nearly touches the border of the photo.
    corners = torch.tensor([[0.0, 0], [target.width, 0], [0, target.height], [target.width, target.height]]).double()
    edges = torch.cat([corners, (corners + corners[[1, 3, 0, 2]]) / 2])
    _, rays = target.rays(edges)
    pixels = native.project(rays)[0] / torch.tensor([200.0, 150.0])
    assert float(torch.minimum(pixels, 1 - pixels).min()) < 0.02


def test_wide_fisheye_keeps_a_sensible_field(tmp_path: Path) -> None:
    native = Camera(200, 200, torch.tensor([60.0, 60, 100, 100]), torch.eye(4), Lens("FISHEYE"))  # 95 degrees a side
    target = pinhole_for(native, 200, 200)
    half_field = float(torch.atan(100 / target.intrinsics[0]))
    assert 0.8 < half_field < 1.2


def test_points_project_to_the_same_place_in_the_working_copy(tiny: Tiny, tmp_path: Path) -> None:
    write_transforms(tmp_path, tiny, k1=-0.1, k2=0.02, p1=0.003)
    capture = read(tmp_path)
    before, after = capture.views[0], prepare(capture, size=0.5).views[0]
    assert after.camera.size == (WIDTH // 2, HEIGHT // 2)
    points = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.2
    _, there = before.camera.rays(before.camera.project(points)[0])
    _, here = after.camera.rays(after.camera.project(points)[0])
    torch.testing.assert_close(there, here, atol=1e-9, rtol=0)


def test_sizes() -> None:
    assert working_size(4000, 3000, None) == (4000, 3000)
    assert working_size(540, 960, 0.5) == (270, 480)
    assert working_size(540, 960, (480, 270)) == (270, 480)
    assert working_size(540, 960, (270, 480)) == (270, 480)
    assert working_size(4000, 3000, 1_200_000) == (1265, 949)
    assert working_size(400, 300, (4000, 4000)) == (400, 300)  # never enlarged
    with pytest.raises(InputError):
        working_size(400, 300, 0)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "LA", "1", "I;16", "I"])
def test_every_pixel_format(mode: str, tmp_path: Path) -> None:
    grey = np.full((20, 30), 200, dtype=np.uint8)
    if mode in ("I;16", "I"):
        image = Image.fromarray(grey.astype(np.uint16) * 256 if mode == "I;16" else grey.astype(np.int32) * 256)
    else:
        image = Image.fromarray(grey).convert(mode)
    path = tmp_path / ("a.tif" if mode in ("CMYK", "I") else "a.png")
    image.save(path)
    native = camera(Lens(), 30, 20)
    photo = PhotoFile(path, native).read(native)
    assert photo.rgb.shape == (3, 20, 30)
    assert photo.rgb.dtype == torch.uint8
    assert (photo.alpha is not None) == (mode in ("RGBA", "LA"))
    expected = 255 if mode == "1" else 200
    if mode == "1":
        assert set(photo.rgb.flatten().tolist()) <= {0, 255}
    else:
        assert float((photo.rgb.float() - expected).abs().max()) <= 3


def test_invisible_colours_do_not_bleed(tmp_path: Path) -> None:
    """Half-covered pixels of a reduced cut-out have the colour of what is visible."""
    values = np.zeros((16, 16, 4), dtype=np.uint8)
    values[..., 0] = 255  # red everywhere where it is invisible
    values[:, :7] = (0, 200, 0, 255)
    Image.fromarray(values).save(tmp_path / "a.png")
    native = camera(Lens(), 16, 16)
    source = PhotoFile(tmp_path / "a.png", native)
    for photo in (source.read(native.scaled(8, 8)), reduced(source.read(native), 8, 8)):
        assert photo.alpha is not None
        assert photo.alpha[0].tolist() == [255, 255, 255, 128, 0, 0, 0, 0]
        assert photo.rgb[:, 0, 3].tolist() == pytest.approx([0, 200, 0], abs=1)


def test_reduction_is_an_area_average(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    native = camera(Lens(), 36, 24)
    expected = values.reshape(8, 3, 12, 3, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    got = PhotoFile(tmp_path / "a.png", native).read(native.scaled(12, 8)).rgb
    assert np.abs(got.numpy() - expected).max() <= 1


def test_jpeg_reduction_while_decoding_shows_the_same(tmp_path: Path) -> None:
    y, x = np.mgrid[0:480, 0:640]
    values = np.stack([x / 640 * 255, y / 480 * 255, 255 - x / 640 * 255], -1).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.jpg", quality=95)
    reduced_size = decode(tmp_path / "a.jpg", at_least=(100, 100)).size
    assert 100 <= min(reduced_size) < 200
    native = camera(Lens(), 640, 480)
    got = PhotoFile(tmp_path / "a.jpg", native).read(native.scaled(64, 48)).rgb.float()
    expected = torch.from_numpy(values.reshape(48, 10, 64, 10, 3).mean(axis=(1, 3)).transpose(2, 0, 1)).float()
    assert float((got - expected).abs().max()) < 8  # colour is stored at half the resolution
    bias = (got - expected).mean((1, 2))
    assert abs(float(bias[0] - bias[2])) < 1.5  # half a pixel of shift would be 4


def photo_of(value: int) -> Photo:
    return Photo(torch.full((3, 10, 10), value, dtype=torch.uint8), torch.full((10, 10), value, dtype=torch.uint8))


def test_store_keeps_its_budget_and_makes_each_photo_once(tmp_path: Path) -> None:
    made: list[int] = []

    def make(i: int) -> Photo:
        made.append(i)
        return photo_of(i)

    store = PhotoStore(1000, tmp_path)
    for _ in range(3):
        for i in range(10):
            photo = store.get(str(i), lambda i=i: make(i))
            assert photo.rgb.unique().tolist() == [i]
            assert photo.alpha is not None
            assert photo.mask is None
            assert store.num_bytes <= 1000
    assert made == list(range(10))
    again = PhotoStore(1000, tmp_path)  # another run finds the files
    assert again.get("3", lambda: photo_of(99)).rgb.unique().tolist() == [3]
    (tmp_path / "4.photo").write_bytes(b"half a file")
    assert again.get("4", lambda: photo_of(77)).rgb.unique().tolist() == [77]


def test_store_without_a_usable_folder_decodes_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for folder in (None, tmp_path / "file" / "below"):
        store = PhotoStore(0, folder)
        assert [store.get("a", lambda i=i: photo_of(i)).rgb.unique().item() for i in (1, 2)] == [1, 2]


def test_store_from_many_threads_makes_each_photo_once(tmp_path: Path) -> None:
    made: list[int] = []
    store = PhotoStore(10_000_000, tmp_path)

    def make(i: int) -> Photo:
        made.append(i)
        return photo_of(i)

    def work() -> None:
        for i in range(20):
            assert store.get(str(i), lambda i=i: make(i)).rgb[0, 0, 0] == i

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(20))
    assert store.prefetch("5", lambda: photo_of(9)).result().rgb[0, 0, 0] == 5


def test_prepare_decodes_once_and_again_when_the_photo_changes(tiny: Tiny, tmp_path: Path) -> None:
    write_transforms(tmp_path, tiny)
    cache = tmp_path / "cache"
    first = prepare(read(tmp_path), memory=0, cache_dir=cache)
    before = first.views[0].photo().rgb.clone()
    num_files = len(list(cache.iterdir()))
    assert num_files == len(tiny.names)
    Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3)).save(tmp_path / "images/000.png")
    second = prepare(read(tmp_path), memory=0, cache_dir=cache)
    assert len(list(cache.iterdir())) == num_files + 1
    assert second.views[0].photo().rgb[:, 0, 0].tolist() == [1, 2, 3]
    assert torch.equal(first.views[0].photo().rgb, before)
    half = second.views[0].camera.scaled(WIDTH // 2, HEIGHT // 2)
    assert second.views[0].source.read(half).rgb.shape == (3, HEIGHT // 2, WIDTH // 2)


def test_photo_that_fails_to_decode_is_left_out(tiny: Tiny, tmp_path: Path) -> None:
    write_transforms(tmp_path, tiny)
    capture = read(tmp_path)
    path = tmp_path / "images/003.png"
    data = bytearray(path.read_bytes())
    data[60:400] = bytes(340)  # header and end intact
    path.write_bytes(data)
    assert len(capture.views) == 9
    working = prepare(capture)
    assert len(working.views) == 8
    assert "images/003.png cannot be decoded" in working.warnings[-1]


def test_depth_is_resampled_to_the_working_camera(tiny: Tiny, tmp_path: Path) -> None:
    write_transforms(tmp_path, tiny)
    capture = read(tmp_path)
    depth = torch.arange(WIDTH).float().expand(HEIGHT, WIDTH)
    views = tuple(replace(v, depth=lambda: depth) for v in capture.views)
    view = prepare(replace(capture, views=views), size=0.5).views[0]
    assert view.depth is not None
    out = view.depth()
    assert out.shape == (HEIGHT // 2, WIDTH // 2)
    assert float((out[0] - (torch.arange(WIDTH // 2) * 2 + 0.5)).abs().max()) <= 1
