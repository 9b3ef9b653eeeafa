"""Tetrahedra inside of a FlexiCubes mesh: they fill it, fit together, and end at its faces, whatever the signs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recon.mesh.tetrahedra import TetrahedralMesh, tetrahedra
from recon.ops.flexicubes import WEIGHTS, FlexibleMesh, flexicubes
from recon.types import Mesh


def faces_of(t: Tensor) -> Tensor:
    """[4 t, 3] faces, counter-clockwise as seen from outside of their tetrahedron of positive volume."""
    a, b, c, d = t.unbind(1)
    return torch.stack([a, c, b, a, b, d, b, c, d, a, d, c], dim=1).reshape(-1, 3)


def turned(faces: Tensor) -> Tensor:
    """The same faces, the smallest number first."""
    at = faces.argmin(1, keepdim=True)
    return faces.gather(1, (at + torch.arange(3)) % 3)


def outer(t: Tensor) -> Tensor:
    """Faces that no other tetrahedron has the other way round; a face that is used twice the same way is an error."""
    faces = turned(faces_of(t))
    back = turned(faces.flip(1))
    n = int(t.max()) + 1
    key = torch.tensor([n * n, n, 1])
    mine, other = faces @ key, back @ key
    assert len(torch.unique(mine)) == len(mine)
    return faces[~torch.isin(mine, other)]


def fits(found: FlexibleMesh, made: TetrahedralMesh) -> None:
    mesh_faces = turned(found.faces.long())
    border = outer(made.tetrahedra)
    n = len(made.vertices)
    key = torch.tensor([n * n, n, 1])
    assert torch.equal((border @ key).sort().values, (mesh_faces @ key).sort().values)
    mesh = Mesh(found.vertices.detach().double(), found.faces)
    assert float(made.volumes.detach().double().sum()) == pytest.approx(mesh.volume, rel=1e-4, abs=1e-4)


def field(seed: int, n: int) -> Tensor:
    """Noise, outside at the border."""
    values = torch.randn(n, n + 1, n + 2, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.pad(values[1:-1, 1:-1, 1:-1], (1,) * 6, value=1.0)


@pytest.mark.parametrize("split", ["centre", "diagonal"])
def test_they_fit_together_in_noise(split: str) -> None:
    for seed in range(40):
        values = field(seed, 4 + seed % 7)
        generator = torch.Generator().manual_seed(seed)
        deformation = 0.3 * torch.randn(*values.shape, 3, generator=generator)
        weights = torch.randn((values.shape[0] - 1) * (values.shape[1] - 1) * (values.shape[2] - 1), WEIGHTS,
                              generator=generator)
        found = flexicubes(values, deformation=deformation, weights=weights, split=split)
        fits(found, tetrahedra(values, found, deformation=deformation))


def test_every_sign_pattern_of_a_cube() -> None:
    """All 256, next to each other in one grid with an empty layer between."""
    values = torch.ones(4, 4, 4 * 256)
    for pattern in range(256):
        for corner in range(8):
            if pattern >> corner & 1:
                values[1 + (corner >> 2), 1 + (corner >> 1 & 1), 4 * pattern + 1 + (corner & 1)] = -1.0
    found = flexicubes(values)
    fits(found, tetrahedra(values, found))


def ball(radius: Tensor, cells: int = 16) -> tuple[Tensor, dict[str, tuple[float, float, float]]]:
    spacing = 2.0 / cells
    axis = -1 + spacing * torch.arange(cells + 1, dtype=radius.dtype)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    values = (x * x + y * y + z * z).sqrt() - radius
    return values, {"origin": (-1.0,) * 3, "spacing": (spacing,) * 3}


def test_a_ball_has_sound_tetrahedra_and_a_volume_with_a_gradient() -> None:
    radius = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    values, place = ball(radius)
    found = flexicubes(values, **place)
    made = tetrahedra(values, found, **place)
    fits(found, made)
    assert float(made.volumes.detach().min()) > 0
    made.volumes.sum().backward()
    change = 1e-4
    volumes = []
    for sign in (1, -1):
        v, _ = ball(torch.tensor(0.7 + sign * change, dtype=torch.float64))
        volumes.append(float(tetrahedra(v, flexicubes(v, **place), **place).volumes.sum()))
    assert radius.grad is not None
    assert float(radius.grad) == pytest.approx((volumes[0] - volumes[1]) / (2 * change), rel=1e-4)


def test_nothing_inside_and_too_much_inside() -> None:
    values = torch.ones(3, 3, 3)
    assert len(tetrahedra(values, flexicubes(values)).tetrahedra) == 0
    values[0] = -1
    with pytest.raises(ValueError, match="border"):
        tetrahedra(values, flexicubes(values))
