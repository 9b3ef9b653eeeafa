"""Every glTF that is written keeps the rules of the format; Gaussians in glTF and USD come back as they were."""

from __future__ import annotations

import zipfile
from pathlib import Path

import gltf_rules
import numpy as np
import pytest
import torch

from recon.errors import InputError
from recon.export import splat_suffixes, write_mesh, write_splats
from recon.ops.flexicubes import grid_points
from recon.ops.marching_cubes import marching_cubes
from recon.types import Mesh, Similarity


def ball(cells: int = 12) -> Mesh:
    x = grid_points((cells,) * 3, (-1.3,) * 3, (2.6 / (cells - 1),) * 3)
    return Mesh(*marching_cubes(x.norm(dim=-1) - 1, origin=(-1.3,) * 3, spacing=(2.6 / (cells - 1),) * 3))


@pytest.mark.parametrize("kind", ["plain", "normals", "colours", "texture", "large"])
def test_meshes_keep_the_rules(kind: str, tmp_path: Path) -> None:
    mesh = ball(220 if kind == "large" else 12)
    n = len(mesh.vertices)
    assert (n > 65535) == (kind == "large")
    if kind == "normals":
        mesh = mesh.with_normals()
    if kind == "colours":
        mesh = Mesh(mesh.vertices, mesh.faces, colours=torch.rand(n, 3))
    if kind == "texture":
        mesh = Mesh(mesh.vertices, mesh.faces, uvs=torch.rand(n, 2),
                    texture=torch.randint(0, 256, (8, 8, 3), dtype=torch.uint8))
    write_mesh(tmp_path / "a.glb", mesh)
    document = gltf_rules.check(tmp_path / "a.glb")
    assert len(document["meshes"]) == 1


def test_the_rules_find_faults(tmp_path: Path) -> None:
    """A check that cannot fail is worth nothing: one flipped number each."""
    write_mesh(tmp_path / "a.glb", ball().with_normals())
    good = (tmp_path / "a.glb").read_bytes()
    places = (8, good.index(b'"min":[') + 8, good.index(b"34963"), good.index(b"VEC3") + 3)
    for at, change in zip(places, (4, 1, 1, 1)):
        bad = bytearray(good)
        bad[at] = (bad[at] + change) % 256
        (tmp_path / "b.glb").write_bytes(bytes(bad))
        with pytest.raises((AssertionError, ValueError)):
            gltf_rules.check(tmp_path / "b.glb")


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_gaussians_as_gltf(degree: int, tmp_path: Path, make_gaussians) -> None:
    g = make_gaussians(101, degree)
    assert not write_splats(tmp_path / "a.glb", g)
    document = gltf_rules.check(tmp_path / "a.glb")
    _, data = gltf_rules.document_of(tmp_path / "a.glb")
    (primitive,) = document["meshes"][0]["primitives"]

    def rows(name: str) -> torch.Tensor:
        return torch.from_numpy(gltf_rules.rows_of(document, data, primitive["attributes"][name]).copy())

    prefix = "KHR_gaussian_splatting:"
    assert torch.equal(rows("POSITION"), g.means)
    torch.testing.assert_close(rows(prefix + "SCALE"), g.log_scales.exp())
    torch.testing.assert_close(rows(prefix + "OPACITY")[:, 0], g.logits.sigmoid())
    unit = torch.nn.functional.normalize(g.quaternions, dim=1)
    torch.testing.assert_close(rows(prefix + "ROTATION"), unit[:, [1, 2, 3, 0]])
    for k in range((degree + 1) ** 2):
        band = int(k**0.5)
        assert torch.equal(rows(f"{prefix}SH_DEGREE_{band}_COEF_{k - band * band}"), g.sh[:, k])
    # programs that do not know the extension show points: linear colours
    colour = rows("COLOR_0").double() / 65535
    srgb = (0.5 + 0.28209479177387814 * g.sh[:, 0].double()).clamp(0, 1)
    linear = torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    torch.testing.assert_close(colour[:, :3], linear, atol=1e-4, rtol=0)
    assert document["scenes"][0]["nodes"] == [0]
    assert set(document["nodes"][0]) <= {"mesh", "name"}  # nothing moves or mirrors the splats


def test_gaussians_as_usd(tmp_path: Path, make_gaussians) -> None:
    g = make_gaussians(37, 2)
    assert not write_splats(tmp_path / "a.usdz", g)
    with zipfile.ZipFile(tmp_path / "a.usdz") as archive:
        (info,) = archive.infolist()
        assert info.compress_type == 0
        text = archive.read(info).decode()
    assert 'def ParticleField3DGaussianSplat "Splats"' in text
    assert "metersPerUnit = 1" in text
    assert text.count("(") == text.count(")")
    assert text.count("{") == text.count("}")

    def numbers(name: str) -> np.ndarray:
        inner = text.split(f"{name} = [")[1].split("]")[0]
        return np.array([float(v) for v in inner.replace("(", "").replace(")", "").split(",")])

    np.testing.assert_allclose(numbers("positions").reshape(-1, 3), g.means.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(numbers("scales").reshape(-1, 3), g.log_scales.exp().numpy(), rtol=1e-5)
    unit = torch.nn.functional.normalize(g.quaternions, dim=1)
    np.testing.assert_allclose(numbers("orientations").reshape(-1, 4), unit.numpy(), atol=1e-5)
    np.testing.assert_allclose(numbers("Coefficients").reshape(37, 9, 3), g.sh.numpy(), rtol=1e-5, atol=1e-6)
    low, high = numbers("extent").reshape(2, 3)
    assert (low < g.means.numpy().min(0)).all()
    assert (high > g.means.numpy().max(0)).all()


def test_usd_opens_in_usd(tmp_path: Path, make_gaussians) -> None:
    usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    g = make_gaussians(12, 1)
    write_splats(tmp_path / "a.usdz", g)
    stage = usd.Stage.Open(str(tmp_path / "a.usdz"))
    prim = stage.GetPrimAtPath("/Model/Splats")
    assert prim.GetTypeName() == "ParticleField3DGaussianSplat"
    np.testing.assert_allclose(np.array(prim.GetAttribute("positions").Get()), g.means.numpy(), rtol=1e-5, atol=1e-6)
    if usd.SchemaRegistry().FindConcretePrimDefinition("ParticleField3DGaussianSplat") is None:
        pytest.skip("this usd-core is older than the schema")
    first = prim.GetAttribute("orientations").Get()[0]
    unit = torch.nn.functional.normalize(g.quaternions, dim=1)[0].tolist()
    assert [first.GetReal(), *first.GetImaginary()] == pytest.approx(unit, abs=1e-4)


def test_nothing_and_suffixes(tmp_path: Path, make_gaussians) -> None:
    none = make_gaussians(3, 0).select(torch.zeros(3, dtype=torch.bool))
    for suffix in (".glb", ".usdz"):
        assert suffix in splat_suffixes("write")
        with pytest.raises(InputError, match="no splats"):
            write_splats(tmp_path / f"a{suffix}", none)
        assert not (tmp_path / f"a{suffix}").exists()


def test_turned_to_y_up_they_look_the_same(make_gaussians) -> None:
    """Up of the source is -y: half a turn around x, also of the spherical harmonics."""
    from recon.app.meshing import placed

    similarity, words = placed([], ".glb")
    assert words == "y up"
    torch.testing.assert_close(similarity.rotation @ torch.tensor([0.0, -1.0, 0.0]).double(),
                               torch.tensor([0.0, 1.0, 0.0]).double())
    assert isinstance(similarity, Similarity)
    turned = make_gaussians(5, 3).transformed(similarity)
    assert turned.sh.shape == (5, 16, 3)
