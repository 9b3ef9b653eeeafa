"""Point clouds from PLY and text, and PLY tables with lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recon.errors import InputError
from recon.formats.files import open_input
from recon.formats.ply import ListColumn, PlyReader, write_ply
from recon.formats.points import read_points


def test_ply_with_colours_of_each_type(tmp_path) -> None:
    xyz = np.arange(6, dtype=np.float64).reshape(2, 3) + 1e7 + 0.001
    for kind, full in (("u1", 255), ("u2", 65535), ("f4", 1.0)):
        rows = np.zeros(2, [("x", "f8"), ("y", "f8"), ("z", "f8"), ("red", kind), ("green", kind), ("blue", kind)])
        rows["x"], rows["y"], rows["z"] = xyz.T
        rows["red"][:] = full
        write_ply(tmp_path / "a.ply", {"vertex": rows}, ("made here",))
        positions, colours = read_points(tmp_path / "a.ply")
        assert (positions == xyz).all()
        assert positions.dtype == np.float64
        assert colours.dtype == np.uint8
        assert colours.tolist() == [[255, 0, 0]] * 2


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("1 2 3\n4 5 6\n", [128, 128, 128]),
        ("# x y z r g b\n1 2 3 255 0 7\n\n4 5 6 1 2 3\n", [255, 0, 7]),
        ("x,y,z,r,g,b\r\n1,2,3,0.5,0,1\r\n4,5,6,0.2,0.2,0.2\r\n", [128, 0, 255]),
        ("1 2 3 0 0 1\n4 5 6 0.6 0 0.8\n", [128, 128, 128]),
        ("1 2 3 0 0 -1\n4 5 6 0.6 0 0.8\n", [128, 128, 128]),
        ("2\n1 2 3 77 9 8 7\n4 5 6 12 3 2 1\n", [9, 8, 7]),
        ("1 2 3 nan nan nan\n4 5 6 0 0 0\n", [128, 128, 128]),
    ],
)
def test_text(tmp_path, text: str, colour: list[int]) -> None:
    (tmp_path / "a.xyz").write_bytes(text.encode())
    positions, colours = read_points(tmp_path / "a.xyz")
    assert positions.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert colours[0].tolist() == colour


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "no points"), ("1 2\n", "line 1"), ("1 2 3\n4 5\n", "line 2"), ("1 2 3\n4 five 6\n", "line 2"),
     ("# nothing\n", "no points"), ("\xff\xfe\0", "no points")],
)  # fmt: skip
def test_text_that_is_no_cloud(tmp_path, text: str, message: str) -> None:
    (tmp_path / "a.xyz").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        read_points(tmp_path / "a.xyz")


def test_points_that_are_not_finite_are_left_out(tmp_path) -> None:
    (tmp_path / "a.xyz").write_text("1 2 3\nnan 5 6\n7 8 inf\n")
    assert read_points(tmp_path / "a.xyz")[0].tolist() == [[1, 2, 3]]


def test_unknown_suffix(tmp_path) -> None:
    with pytest.raises(InputError, match=r"\.ply or \.xyz"):
        read_points(tmp_path / "a.las")


def test_real_clouds(scenes) -> None:
    positions, _ = read_points(scenes / "points" / "bunny_scans" / "bun_zipper.ply")
    assert positions.shape == (35947, 3)
    assert read_points(scenes / "points" / "open_car.xyz")[0].shape == (10_000, 3)


def mixed_faces(path: Path, encoding: str, sizes: list[int]) -> list[list[int]]:
    """A PLY of faces with the given numbers of corners, and a scalar on either side of the list."""
    faces = [list(range(i, i + n)) for i, n in enumerate(sizes)]
    head = f"ply\nformat {encoding} 1.0\nelement face {len(faces)}\nproperty uchar flag\n"
    head += "property list uchar int vertex_indices\nproperty float weight\n"
    head += "element tail 1\nproperty int x\nend_header\n"
    order = ">" if "big" in encoding else "<"
    body = b""
    for i, face in enumerate(faces):
        if encoding == "ascii":
            body += f"{i % 200} {len(face)} {' '.join(map(str, face))} {i / 2}\n".encode()
        else:
            body += bytes([i % 200, len(face)]) + np.array(face, order + "i4").tobytes()
            body += np.array(i / 2, order + "f4").tobytes()
    body += b"42\n" if encoding == "ascii" else np.array(42, order + "i4").tobytes()
    path.write_bytes(head.encode() + body)
    return faces


@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("sizes", [[3] * 500, [3, 4, 0, 5] * 50, [4] + [3] * 99 + [0], []])
def test_lists_in_any_mixture(tmp_path, encoding: str, sizes: list[int]) -> None:
    faces = mixed_faces(tmp_path / "a.ply", encoding, sizes)
    with open_input(tmp_path / "a.ply") as file:
        ply = PlyReader(file, tmp_path / "a.ply")
        assert ply.read("tail")["x"].tolist() == [42]  # behind the lists: they are walked over
        table = ply.read("face")
    column = table["vertex_indices"]
    assert isinstance(column, ListColumn)
    assert [column.values[a:b].tolist() for a, b in zip(column.starts[:-1], column.starts[1:], strict=True)] == faces
    assert table["weight"].tolist() == [i / 2 for i in range(len(faces))]
    assert column.values.dtype == np.int32


def test_a_real_mesh_has_its_faces(scenes) -> None:
    path = scenes / "points" / "bunny_scans" / "bun_zipper.ply"
    with open_input(path) as file:
        column = PlyReader(file, path).read("face")["vertex_indices"]
    assert len(column.starts) == 69451 + 1
    assert (np.diff(column.starts) == 3).all()
    assert column.values.max() == 35946
