"""Mesh files: what is written is read again, and damage is said and not suffered."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from recon.errors import InputError
from recon.export import mesh_suffixes, read_mesh, write_mesh
from recon.types import Mesh, Similarity

SUFFIXES = (".glb", ".obj", ".ply", ".stl")


def tetrahedron(**more: torch.Tensor) -> Mesh:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1.5, 0], [0, 0, 2.25]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]], dtype=torch.int32)
    return Mesh(vertices, faces, **more)


def corner_set(mesh: Mesh) -> list:
    return sorted(sorted(map(tuple, np.round(c, 4).tolist())) for c in mesh.corners.numpy())


def test_every_suffix_is_found() -> None:
    assert mesh_suffixes("read") == SUFFIXES
    assert {*SUFFIXES, ".html", ".usdz"} <= set(mesh_suffixes("write"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    colours = torch.tensor([[0.0, 0.5, 1.0], [0.2, 0.2, 0.9], [1.0, 1.0, 1.0], [0.7, 0.1, 0.0]])
    mesh = tetrahedron(colours=colours).with_normals()
    path = tmp_path / "sub folder" / f"mesh{suffix}"
    warnings = write_mesh(path, mesh)
    again = read_mesh(path)
    assert corner_set(again) == corner_set(mesh)
    assert again.volume == pytest.approx(mesh.volume)
    assert mesh.volume > 0
    if suffix == ".stl":
        assert "colours" in warnings[0]
        return
    assert warnings == ()
    assert again.colours is not None
    assert again.normals is not None
    order = torch.cdist(mesh.vertices, again.vertices).argmin(1)
    torch.testing.assert_close(again.colours[order], colours, atol=0.006, rtol=0)
    torch.testing.assert_close(again.normals[order], mesh.normals, atol=1e-4, rtol=0)


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_textures(tmp_path: Path, suffix: str) -> None:
    texture = torch.arange(4 * 6 * 3, dtype=torch.uint8).reshape(4, 6, 3)
    uvs = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.25, 0.75]])
    mesh = tetrahedron(uvs=uvs, texture=texture)
    path = tmp_path / f"a mesh{suffix}"
    write_mesh(path, mesh)
    again = read_mesh(path)
    assert again.texture is not None
    assert again.uvs is not None
    assert torch.equal(again.texture, texture)
    order = torch.cdist(mesh.vertices, again.vertices).argmin(1)
    torch.testing.assert_close(again.uvs[order], uvs, atol=1e-6, rtol=0)


def test_glb_structure(tmp_path: Path) -> None:
    """Chunks aligned, bounds right, colours linear: what a validator looks at first."""
    path = tmp_path / "m.glb"
    write_mesh(path, tetrahedron(colours=torch.full((4, 3), 0.5)).with_normals())
    data = path.read_bytes()
    magic, version, total = struct.unpack("<4sII", data[:12])
    length, kind = struct.unpack("<I4s", data[12:20])
    assert (magic, version, total, kind, length % 4) == (b"glTF", 2, len(data), b"JSON", 0)
    document = json.loads(data[20:20 + length])
    position = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    assert position["min"] == [0, 0, 0]
    assert position["max"] == [1, 1.5, 2.25]
    assert all(view["byteOffset"] % 4 == 0 for view in document["bufferViews"])
    colour = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]
    start = 20 + length + 8 + document["bufferViews"][colour["bufferView"]]["byteOffset"]
    rgba = struct.unpack("<4H", data[start:start + 8])
    assert rgba[0] / 65535 == pytest.approx(0.2140, abs=1e-3)  # 0.5 of sRGB in linear light
    assert rgba[3] == 65535


def test_big_meshes_get_wide_indices(tmp_path: Path) -> None:
    n = 70_000
    vertices = torch.rand(n, 3, generator=torch.Generator().manual_seed(0))
    faces = torch.stack([torch.arange(n - 2), torch.arange(1, n - 1), torch.arange(2, n)], dim=1).int()
    for suffix in SUFFIXES:
        write_mesh(tmp_path / f"m{suffix}", Mesh(vertices, faces))
        assert len(read_mesh(tmp_path / f"m{suffix}")) == n - 2


def test_mirrors_turn_faces_round() -> None:
    mirror = Similarity(2.0, torch.diag(torch.tensor([1.0, 1.0, -1.0])), torch.zeros(3))
    assert tetrahedron().transformed(mirror).volume == pytest.approx(8 * tetrahedron().volume)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_cannot_be_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    empty = Mesh(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.int32))
    broken = Mesh(torch.full((3, 3), torch.nan), torch.tensor([[0, 1, 2]], dtype=torch.int32))
    outside = Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 3]], dtype=torch.int32))
    for mesh in (empty, broken, outside):
        with pytest.raises(InputError):
            write_mesh(path, mesh)
    assert list(tmp_path.iterdir()) == []


def test_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mesh format"):
        write_mesh(tmp_path / "m.fbx", tetrahedron())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files(tmp_path: Path, suffix: str) -> None:
    """Cut off and garbled files: an InputError or a mesh, never anything else."""
    path = tmp_path / f"m{suffix}"
    write_mesh(path, tetrahedron(colours=torch.rand(4, 3)).with_normals())
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for i in range(250):
        data = bytearray(whole)
        if i % 2:
            data = data[: rng.integers(0, len(data))]
        for _ in range(rng.integers(0 if i % 2 else 1, 6)):
            if data:
                data[rng.integers(0, len(data))] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            read_mesh(path)
        except InputError:
            refused += 1
    assert refused > 50


def test_a_circle_of_nodes_ends(tmp_path: Path) -> None:
    circle = {"asset": {"version": "2.0"}, "scenes": [{"nodes": [0]}], "nodes": [{"children": [0, 0]}]}
    text = json.dumps(circle).encode()
    text += b" " * (-len(text) % 4)
    path = tmp_path / "m.glb"
    path.write_bytes(struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text), len(text), b"JSON") + text)
    with pytest.raises(InputError, match="circle"):
        read_mesh(path)


def test_obj_of_others(tmp_path: Path) -> None:
    """Negative indices, polygons, continued lines."""
    path = tmp_path / "m.obj"
    places, uvs = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n", "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
    path.write_text(f"# x\n{places}{uvs}f -4/1 -3/2 \\\n-2/3 -1/4\n")
    mesh = read_mesh(path)
    assert (len(mesh), len(mesh.vertices)) == (2, 4)
    assert mesh.uvs is not None


def test_reference_meshes(scenes: Path) -> None:
    for path in sorted((scenes / "meshes").glob("*.obj")):
        assert len(read_mesh(path)) > 1000
