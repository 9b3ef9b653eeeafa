"""The shipped sample scene agrees with itself: poses, photos, depth, normals, mesh and points are one world.

Only numpy and pillow are used, and none of the project's readers, so that this checks the data and not the program.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"
MAX_BYTES = 6_000_000


@dataclass(frozen=True)
class Frame:
    """One view: size and intrinsics in pixels, camera-to-world [4, 4] (x right, y up, z back), its JSON record."""

    w: int
    h: int
    fl: tuple[float, float]
    c: tuple[float, float]
    pose: np.ndarray
    record: dict

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World points [n, 3] to pixel x, pixel y (first pixel's centre at 0.5) and z-depth, each [n]."""
        local = (points - self.pose[:3, 3]) @ self.pose[:3, :3]
        depth = -local[:, 2]
        x = self.c[0] + self.fl[0] * local[:, 0] / depth
        y = self.c[1] - self.fl[1] * local[:, 1] / depth
        return x, y, depth

    def unproject(self, depth: np.ndarray) -> np.ndarray:
        """World points [n, 3] of the pixels of a z-depth map [h, w] that hit something, in row-major order."""
        rows, columns = np.nonzero(depth)
        z = depth[rows, columns]
        x = (columns + 0.5 - self.c[0]) / self.fl[0] * z
        y = -(rows + 0.5 - self.c[1]) / self.fl[1] * z
        return np.stack([x, y, -z], axis=1) @ self.pose[:3, :3].T + self.pose[:3, 3]

    def depth(self) -> np.ndarray:
        """z-depth [h, w] in metres, 0 where nothing is hit."""
        with Image.open(SAMPLE / self.record["depth_file_path"]) as image:
            return np.asarray(image).astype(np.float64) / 1000.0

    def normals(self) -> np.ndarray:
        """World normals [h, w, 3] as stored (not exactly unit)."""
        with Image.open(SAMPLE / self.record["normal_file_path"]) as image:
            return np.asarray(image).astype(np.float64) / 127.5 - 1.0


def frames(split: str) -> list[Frame]:
    data = json.loads((SAMPLE / f"transforms_{split}.json").read_text())
    return [
        Frame(
            data["w"], data["h"], (data["fl_x"], data["fl_y"]), (data["cx"], data["cy"]),
            np.array(record["transform_matrix"]), record,
        )
        for record in data["frames"]
    ]  # fmt: skip


def read_ply(name: str) -> tuple[bytes, bytes]:
    """Header and body of a binary PLY."""
    header, _, body = (SAMPLE / name).read_bytes().partition(b"end_header\n")
    return header, body


def read_mesh() -> tuple[np.ndarray, np.ndarray]:
    header, body = read_ply("mesh.ply")
    counts = {line.split()[1]: int(line.split()[2]) for line in header.decode().splitlines() if "element" in line}
    n = counts["vertex"]
    vertices = np.frombuffer(body, "<f4", n * 3).reshape(n, 3).astype(np.float64)
    faces = np.frombuffer(body, [("n", "u1"), ("corners", "<i4", 3)], offset=n * 12)
    assert len(faces) == counts["face"]
    assert (faces["n"] == 3).all()
    return vertices, faces["corners"].astype(np.int64)


@pytest.fixture(scope="module")
def held_out() -> list[Frame]:
    return frames("test")


@pytest.fixture(scope="module")
def mesh() -> tuple[np.ndarray, np.ndarray]:
    return read_mesh()


def test_it_is_small_and_complete() -> None:
    files = [p for p in SAMPLE.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert sum(p.stat().st_size for p in files) < MAX_BYTES
    train, test = frames("train"), frames("test")
    assert 40 <= len(train) + len(test) <= 60
    assert len(test) >= 6
    listed = {f.record["file_path"] for f in train + test}
    assert len(listed) == len(train) + len(test)
    assert listed == {p.relative_to(SAMPLE).as_posix() for p in (SAMPLE / "images").iterdir()}


@pytest.mark.parametrize("split", ["train", "test"])
def test_poses_are_rotations_that_look_at_the_object(split: str) -> None:
    for frame in frames(split):
        rotation = frame.pose[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-8)
        assert np.linalg.det(rotation) == pytest.approx(1.0, abs=1e-8)
        np.testing.assert_array_equal(frame.pose[3], [0, 0, 0, 1])
        x, y, depth = frame.project(np.array([[0.0, 0.0, 0.12]]))
        assert 0.6 < depth[0] < 1.1
        assert np.hypot(x[0] - frame.w / 2, y[0] - frame.h / 2) < 30
        assert frame.project(np.array([[0.0, 0.0, 0.2]]))[1][0] < y[0], "world up is not up in the picture"


@pytest.mark.parametrize("split", ["train", "test"])
def test_photos_have_the_size_of_their_cameras(split: str) -> None:
    for frame in frames(split):
        with Image.open(SAMPLE / frame.record["file_path"]) as image:
            assert image.size == (frame.w, frame.h)
            assert image.mode == "RGB"
            assert np.asarray(image).std() > 20, "an empty picture"


def test_depth_of_one_held_out_view_lands_on_that_of_the_others(held_out: list[Frame]) -> None:
    """Unoccluded points agree; no point lies in front of what another view sees, beyond edges and rounding."""
    for source in held_out:
        points = source.unproject(source.depth())
        agreement = []
        for target in held_out:
            x, y, z = target.project(points)
            inside = (x >= 0) & (x < target.w) & (y >= 0) & (y < target.h)
            seen = target.depth()[y[inside].astype(int), x[inside].astype(int)]
            # a pixel of slanted table spans a few millimetres of depth
            same = np.abs(seen - z[inside]) < 0.005
            nearer = (seen == 0) | (z[inside] < seen - 0.005)
            assert inside.mean() > 0.5
            assert same.mean() > 0.45, f"{source.record['file_path']} in {target.record['file_path']}"
            assert nearer.mean() < 0.03, f"{source.record['file_path']} in {target.record['file_path']}"
            agreement.append(same.mean())
        assert np.mean(agreement) > 0.65, "the rest is hidden behind the orrery"


def test_normals_are_unit_face_the_camera_and_agree_with_depth(held_out: list[Frame]) -> None:
    for frame in held_out:
        depth, normal = frame.depth(), frame.normals()
        hit = depth > 0
        np.testing.assert_allclose(np.linalg.norm(normal[hit], axis=-1), 1.0, atol=0.02)
        points = np.full((frame.h, frame.w, 3), np.nan)
        points[hit] = frame.unproject(depth)
        toward = ((frame.pose[:3, 3] - points) * normal).sum(-1)[hit]
        assert (toward > -0.02).mean() > 0.995
        # away from edges, the surface through neighbouring pixels is perpendicular to the normal
        for axis in (0, 1):
            step = np.roll(points, -3, axis) - np.roll(points, 3, axis)
            length = np.linalg.norm(step, axis=-1)
            slope = np.abs((step * normal).sum(-1) / length)
            calm = hit & (length < 0.03)
            calm[:3] = calm[-3:] = calm[:, :3] = calm[:, -3:] = False
            assert np.median(slope[calm]) < 0.12


def test_mesh_vertices_are_never_in_front_of_the_depth(
    held_out: list[Frame], mesh: tuple[np.ndarray, np.ndarray]
) -> None:
    """The mesh fills the depth maps: nothing stands before them, and visible vertices lie on them."""
    vertices, _ = mesh
    for frame in held_out:
        x, y, z = frame.project(vertices)
        inside = (x >= 1) & (x < frame.w - 1) & (y >= 1) & (y < frame.h - 1)
        depth = frame.depth()
        depth[depth == 0] = np.inf
        column, row = x[inside].astype(int), y[inside].astype(int)
        around = np.stack([depth[row + i, column + j] for i in (-1, 0, 1) for j in (-1, 0, 1)])
        assert (z[inside] > around.min(0) - 0.003).mean() > 0.995, "mesh in front of the depth map"
        assert (np.abs(around - z[inside]).min(0) < 0.002).mean() > 0.3, "hardly a vertex is on the depth map"


def test_depth_lies_on_the_mesh(held_out: list[Frame], mesh: tuple[np.ndarray, np.ndarray]) -> None:
    """Rays through random pixels hit the mesh's triangles at the stored depth (Moeller-Trumbore, float64)."""
    vertices, faces = mesh
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    rng = np.random.default_rng(0)
    errors = []
    for frame in held_out:
        depth = frame.depth()
        for row, column in zip(rng.integers(0, frame.h, 25), rng.integers(0, frame.w, 25)):
            x, y = (column + 0.5 - frame.c[0]) / frame.fl[0], -(row + 0.5 - frame.c[1]) / frame.fl[1]
            direction = frame.pose[:3, :3] @ np.array([x, y, -1.0])  # z-depth 1 per unit
            p = np.cross(direction, c - a)
            det = ((b - a) * p).sum(1)
            ok = np.abs(det) > 1e-14
            inverse = np.where(ok, 1.0, 0.0) / np.where(ok, det, 1.0)
            s = frame.pose[:3, 3] - a
            u = (s * p).sum(1) * inverse
            q = np.cross(s, b - a)
            v = (q @ direction) * inverse
            t = (q * (c - a)).sum(1) * inverse
            hits = t[ok & (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)]
            errors.append(abs((hits.min() if len(hits) else 0.0) - depth[row, column]))
    assert np.mean(np.array(errors) < 0.00051 + 1e-6) > 0.99, "rounding to millimetres explains all but edge pixels"


def test_mesh_is_sound_and_of_the_stated_size(mesh: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, faces = mesh
    assert np.isfinite(vertices).all()
    assert faces.min() >= 0
    assert faces.max() < len(vertices)
    assert len(faces) < 60_000
    low, high = vertices.min(0), vertices.max(0)
    np.testing.assert_allclose(low, [-0.36, -0.36, -0.04], atol=1e-3)
    np.testing.assert_allclose(high, [0.36, 0.36, 0.279], atol=1e-3)


def test_points_lie_on_the_surface_with_the_colours_of_the_photos(held_out: list[Frame]) -> None:
    header, body = read_ply("points.ply")
    rows = np.frombuffer(body, [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    assert f"element vertex {len(rows)}\n".encode() in header
    assert 3000 <= len(rows) <= 5000
    points, colours = rows["xyz"].astype(np.float64), rows["rgb"].astype(np.float64)
    gaps = []
    for frame in held_out:
        x, y, z = frame.project(points)
        inside = (x >= 0) & (x < frame.w) & (y >= 0) & (y < frame.h)
        column, row = x[inside].astype(int), y[inside].astype(int)
        behind = z[inside] - frame.depth()[row, column]
        visible = np.abs(behind) < 0.005
        assert visible.mean() > 0.5, "the rest is hidden, or beside a depth edge"
        assert (behind < -0.005).mean() < 0.08, "points float before the surface"
        with Image.open(SAMPLE / frame.record["file_path"]) as image:
            photo = np.asarray(image).astype(np.float64)
        gaps.append(np.abs(photo[row, column] - colours[inside])[visible].mean(1))
    assert np.median(np.concatenate(gaps)) < 25
