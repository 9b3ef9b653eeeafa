"""Gaussians on triangles: where they sit, how they move with the mesh, and what is learnt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_capture import tiny_capture
from torch import Tensor

from recon.fields.bound_gaussians import BoundGaussiansField, BoundGaussiansSettings, on_triangles, quaternions_of
from recon.losses.normal_consistency import NormalConsistency, face_pairs
from recon.losses.surface_alignment import rotations
from recon.renderers.splat import SplatRenderer
from recon.types import Capture, Mesh, Similarity


def turned(seed: int) -> Tensor:
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    q = q * torch.sign(torch.diagonal(r))
    return q if float(torch.linalg.det(q)) > 0 else -q


def patch(n: int = 6) -> Mesh:
    """A wavy square with colours."""
    u = torch.linspace(-0.5, 0.5, n)
    y, x = torch.meshgrid(u, u, indexing="ij")
    vertices = torch.stack([x, y, 0.1 * torch.sin(6 * x)], dim=-1).reshape(-1, 3)
    at = (torch.arange(n - 1)[:, None] * n + torch.arange(n - 1)).reshape(-1)
    faces = torch.cat([torch.stack([at, at + 1, at + n], 1), torch.stack([at + 1, at + n + 1, at + n], 1)])
    return Mesh(vertices, faces.to(torch.int32), colours=(vertices + 0.5).clamp(0, 1))


@pytest.fixture(scope="module")
def capture() -> Capture:
    return replace(tiny_capture(), has_alpha=True)


def field(capture: Capture, mesh: Mesh | None, **settings: Any) -> BoundGaussiansField:
    out = BoundGaussiansSettings(**settings).build()
    out.initialise(replace(capture, start=mesh), 0)
    return out


def test_quaternions_of_all_kinds_of_turns() -> None:
    for seed in range(50):
        m = turned(seed)
        assert torch.allclose(rotations(quaternions_of(*m.T[:, None].unbind(0)))[0], m, atol=1e-9)
    for m in (torch.eye(3), torch.diag(torch.tensor([1.0, -1, -1])), torch.diag(torch.tensor([-1.0, 1, -1])),
              torch.diag(torch.tensor([-1.0, -1, 1]))):
        assert torch.allclose(rotations(quaternions_of(*m.T[:, None].unbind(0)))[0], m, atol=1e-6)


@pytest.mark.parametrize("per_face", [1, 3])
def test_they_lie_flat_in_their_triangles(capture: Capture, per_face: int) -> None:
    mesh = patch()
    f = field(capture, mesh, per_face=per_face)
    g = f.gaussians()
    assert len(g) == per_face * len(mesh)
    axes = rotations(g.quaternions)
    normals = torch.nn.functional.normalize(mesh.face_normals, dim=1).repeat_interleave(per_face, 0)
    assert torch.allclose(axes[:, :, 2], normals, atol=1e-5)
    along = ((g.means - mesh.corners[:, 0].repeat_interleave(per_face, 0)) * normals).sum(1)
    assert float(along.abs().max()) < 1e-6
    assert float((g.log_scales[:, 2] - g.log_scales[:, 0]).max()) < -1.5  # thin
    angle = torch.tensor([0.3, 2.0, -3.0, 3.14159])
    turn = torch.stack([angle.cos(), angle.sin()], dim=1)
    for i in range(4):
        there = on_triangles(mesh.vertices, mesh.faces.long()[:1], torch.tensor([[1 / 3, 1 / 3, 1 / 3]]), turn[i:i + 1])
        side = torch.nn.functional.normalize(mesh.corners[0, 1] - mesh.corners[0, 0], dim=0)
        x = rotations(there[:, 3:])[0, :, 0]
        assert float(x @ side) == pytest.approx(float(angle[i].cos()), abs=1e-4)


def test_a_turned_mesh_seen_from_turned_cameras_is_the_same_picture(capture: Capture) -> None:
    mesh, camera = patch(), capture.views[0].camera
    jitter = 0.02 * torch.randn(mesh.vertices.shape, generator=torch.Generator().manual_seed(0))
    mesh = replace(mesh, vertices=mesh.vertices + jitter)  # equal depths would be sorted by chance
    move = Similarity(1.0, turned(3), torch.tensor([0.2, -0.1, 0.3], dtype=torch.float64))
    shown = [SplatRenderer().render(field(capture, m), c, background=torch.zeros(3)).rgb.detach()
             for m, c in ((mesh, camera), (mesh.transformed(move), move.camera(camera)))]
    assert float(shown[0].max()) > 0.2
    assert float((shown[0] - shown[1]).abs().max()) < 1e-3


def test_gradients_of_the_pose_against_finite_differences() -> None:
    mesh = patch(3)
    generator = torch.Generator().manual_seed(0)
    places = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)
    vertices = mesh.vertices.double().requires_grad_(True)
    turn = torch.randn(len(mesh), 2, generator=generator, dtype=torch.float64).requires_grad_(True)

    def pose(v: Tensor, t: Tensor) -> Tensor:
        out = on_triangles(v, mesh.faces.long(), places, t)
        return torch.cat([out[:, :3].reshape(-1), rotations(out[:, 3:]).reshape(-1)])

    assert torch.autograd.gradcheck(pose, (vertices, turn))


def test_pictures_move_the_vertices(capture: Capture) -> None:
    f = field(capture, patch())
    SplatRenderer().render(f, capture.views[0].camera, background=torch.zeros(3)).rgb.square().mean().backward()
    for name in ("vertices", "turn", "log_scales", "logits", "sh0", "sh_more"):
        gradient = f.params[name].grad
        assert gradient is not None
        assert float(gradient.abs().max()) > 0, name


def test_the_ball_around_is_drawn_and_not_meshed(capture: Capture) -> None:
    mesh = patch()
    f = field(replace(capture, has_alpha=False), mesh)
    assert f.far > 0
    shown = SplatRenderer().render(f, capture.views[0].camera, background=torch.zeros(3), want=("rgb", "opacity"))
    assert float(shown.channel("opacity").detach().median()) > 0.8
    made = f.mesh()
    assert len(made) == len(mesh)
    assert torch.allclose(made.vertices, mesh.vertices)
    assert made.colours is not None
    assert mesh.colours is not None
    assert float((made.colours - mesh.colours).abs().mean()) < 0.15


def test_without_a_mesh_it_starts_at_the_points(capture: Capture) -> None:
    points = capture.points
    assert points is not None
    g = field(capture, None).gaussians()
    assert len(g) == len(points)
    assert torch.allclose(g.means, points.positions.float(), atol=1e-5)


def test_state_is_all_there_is(capture: Capture) -> None:
    f = field(capture, patch())
    again = BoundGaussiansSettings().build()
    again.params.load_state(f.params.state())
    again.load_state(f.state())
    for name, tensor in f.gaussians().tensors.items():
        assert torch.equal(tensor, again.gaussians().tensors[name])
    with pytest.raises(ValueError, match="per_face"):
        BoundGaussiansSettings(per_face=2).build()


def test_normal_consistency_is_zero_on_a_plane_and_known_on_a_fold(capture: Capture) -> None:
    flat = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]), torch.tensor([[0, 1, 2], [1, 3, 2]],
                                                                                          dtype=torch.int32))
    folded = replace(flat, vertices=torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0.5, 0.5, 2.0**-0.5]]))
    assert face_pairs(flat.faces.long()).tolist() == [[0, 1]]
    loss = NormalConsistency()
    assert float(loss.of_field(field(capture, flat)).detach()) == pytest.approx(0, abs=1e-6)
    assert float(loss.of_field(field(capture, folded)).detach()) == pytest.approx(1, abs=1e-5)
    f = field(capture, folded)
    loss.of_field(f).backward()
    assert f.params["vertices"].grad is not None
    assert float(f.params["vertices"].grad.abs().max()) > 0
    assert float(loss.of_field(object())) == 0
