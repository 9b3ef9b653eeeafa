"""USDZ: the archive as its specification wants it, and the scene as USD itself (where installed) reads it."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recon.errors import InputError
from recon.export import mesh_suffixes, write_mesh
from recon.types import Mesh


def tetrahedron(textured: bool) -> Mesh:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.5]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], dtype=torch.int32)
    if not textured:
        return Mesh(vertices, faces, colours=torch.eye(4, 3)).with_normals()
    texture = torch.from_numpy(np.arange(16 * 8 * 3, dtype=np.uint8).reshape(8, 16, 3))
    uvs = torch.tensor([[0.0, 0], [1, 0], [0, 1], [0.5, 0.5]])
    return Mesh(vertices, faces, uvs=uvs, texture=texture).with_normals()


@pytest.mark.parametrize("textured", [False, True])
def test_the_archive(tmp_path: Path, textured: bool) -> None:
    path = tmp_path / "m.usdz"
    assert write_mesh(path, tetrahedron(textured)) == ()
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        infos = archive.infolist()
        assert [i.filename for i in infos] == ["mesh.usda", *["texture.png"] * textured]
        for info in infos:
            assert info.compress_type == zipfile.ZIP_STORED
            name, extra = struct.unpack_from("<HH", data, info.header_offset + 26)
            assert (info.header_offset + 30 + name + extra) % 64 == 0
        text = archive.read("mesh.usda").decode()
        if textured:
            shown = np.asarray(Image.open(io.BytesIO(archive.read("texture.png"))))
            assert np.array_equal(shown, tetrahedron(True).texture)
    assert text.startswith("#usda 1.0")
    assert text.count("{") == text.count("}")
    assert 'upAxis = "Y"' in text
    assert "metersPerUnit = 1" in text


def test_equal_meshes_give_equal_files(tmp_path: Path) -> None:
    for name in "ab":
        write_mesh(tmp_path / f"{name}.usdz", tetrahedron(True))
    assert (tmp_path / "a.usdz").read_bytes() == (tmp_path / "b.usdz").read_bytes()


@pytest.mark.parametrize("textured", [False, True])
def test_usd_reads_it(tmp_path: Path, textured: bool) -> None:
    usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    geometry = pytest.importorskip("pxr.UsdGeom")
    path = tmp_path / "m.usdz"
    mesh = tetrahedron(textured)
    write_mesh(path, mesh)
    stage = usd.Stage.Open(str(path))
    assert geometry.GetStageUpAxis(stage) == "Y"
    assert geometry.GetStageMetersPerUnit(stage) == 1
    surface = geometry.Mesh(stage.GetPrimAtPath("/Model/Surface"))
    assert np.allclose(np.array(surface.GetPointsAttr().Get()), mesh.vertices)
    assert np.array_equal(np.array(surface.GetFaceVertexIndicesAttr().Get()), mesh.faces.reshape(-1))


def test_bad_meshes_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        write_mesh(tmp_path / "m.usdz", Mesh(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.int32)))
    assert list(tmp_path.iterdir()) == []
    assert ".usdz" in mesh_suffixes("write")
    assert ".usdz" not in mesh_suffixes("read")
