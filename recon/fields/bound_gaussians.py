"""Flat Gaussians that sit on the triangles of a mesh and move with its vertices.

Source: Guedon and Lepetit, "SuGaR: Surface-Aligned Gaussian Splatting", CVPR 2024, arXiv 2311.12775, section 4.3. What
is learnt: vertices, and of every Gaussian its turn and sizes within the triangle, opacity and colours. Differences: a
wide ball of triangles around everything shows what is far away, in place of a second mesh; photos with alpha have none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from recon.ops.gather import rows_of
from recon.ops.knn import nearest
from recon.ops.one_thread import one_thread
from recon.params import Params
from recon.types import Capture, Gaussians, Mesh
from recon.types.gaussians import SH_C0
from recon.types.placement import sent

_PLACES = {  # barycentric coordinates of the Gaussians of a triangle, and their size in square roots of its area
    1: ([[1 / 3, 1 / 3, 1 / 3]], 0.45),
    3: ([[1 / 2, 1 / 4, 1 / 4], [1 / 4, 1 / 2, 1 / 4], [1 / 4, 1 / 4, 1 / 2]], 0.3),
}
_FLAT = 0.05  # thickness in typical sizes
_OPACITY = 0.9
_FAR = 10.0  # radius of the ball around everything, in radii of the capture
_NEIGHBOURS = 8  # that tell how the surface lies at a point, without a mesh to start from


@dataclass(frozen=True)
class BoundGaussiansSettings:
    """What sits on a triangle; a capture's ``start`` is the mesh, or else a triangle at each of its points."""

    # Gaussians on each triangle: 1 or 3
    per_face: int = 1
    # highest band of spherical harmonics (0 = colour does not depend on the direction)
    sh_degree: int = 2

    starts_from_mesh: ClassVar[bool] = True

    def build(self) -> BoundGaussiansField:
        return BoundGaussiansField(self)


class BoundGaussiansField:
    """Parameters: logits [n], vertices [v, 3], turn [n, 2] (a complex number), log_scales [n, 2], sh0 [n, 3], sh_more
    [n, k, 3]; n = ``per_face`` Gaussians of every triangle in turn. The last ``far`` triangles are the ball around."""

    def __init__(self, settings: BoundGaussiansSettings) -> None:
        if settings.per_face not in _PLACES:
            raise ValueError(f"per_face must be 1 or 3, got {settings.per_face}")
        self.settings = settings
        self.params = Params()
        self.faces = torch.zeros(0, 3, dtype=torch.int64)
        self._placed: tuple[Tensor, Tensor, Tensor] | None = None  # see ``_faces_on``
        self.far = 0
        self.thin = 0.0

    # ------------------------------------------------------------ start

    def initialise(self, capture: Capture, seed: int) -> None:
        mesh = capture.start if capture.start is not None else _triangles_at_points(capture)
        colours = _face_colours(mesh, capture)
        vertices, faces = mesh.vertices, mesh.faces.long()
        self.far = 0
        if not capture.has_alpha:
            middle = capture.centres.mean(0).float()
            ball, round_faces = _ball(3)
            reach = max(capture.radius, float((vertices - middle).norm(dim=1).max()))
            faces = torch.cat([faces, round_faces.flip(1) + len(vertices)])
            vertices = torch.cat([vertices, middle + _FAR * reach * ball])
            colours = torch.cat([colours, torch.full((len(round_faces), 3), 0.5)])
            self.far = len(round_faces)
        self.faces = faces
        a, b, c = vertices[faces].unbind(1)
        area = torch.linalg.cross(b - a, c - a).norm(dim=1) / 2
        places, share = _PLACES[self.settings.per_face]
        k = len(places)
        size = (share * area.clamp_min(1e-20).sqrt()).repeat_interleave(k)
        self.thin = _FLAT * float(size.median())
        n = len(size)
        self.params = Params({
            "logits": torch.logit(torch.tensor(_OPACITY)).repeat(n),
            "vertices": vertices,
            "turn": torch.tensor([1.0, 0.0]).repeat(n, 1),
            "log_scales": size.log()[:, None].repeat(1, 2),
            "sh0": ((colours - 0.5) / SH_C0).repeat_interleave(k, 0),
            "sh_more": torch.zeros(n, (self.settings.sh_degree + 1) ** 2 - 1, 3),
        })

    # ------------------------------------------------------------ what is drawn

    def drawn(self) -> Gaussians:
        """The Gaussians, differentiable in the parameters."""
        p = self.params
        faces, _ = self._faces_on(p.device)
        places = sent(torch.tensor(_PLACES[self.settings.per_face][0]), p.device)

        def posed(vertices: Tensor, turn: Tensor) -> Tensor:
            return on_triangles(vertices, faces, places, turn)

        pose = one_thread(posed, p["vertices"], p["turn"])
        thin = torch.full_like(p["log_scales"][:, :1], max(self.thin, 1e-12)).log()
        return Gaussians(pose[:, :3].contiguous(), torch.cat([p["log_scales"], thin], dim=1),
                         pose[:, 3:].contiguous(), p["logits"], torch.cat([p["sh0"][:, None], p["sh_more"]], dim=1))

    def gaussians(self, t: float = 0.0) -> Gaussians:
        """A snapshot."""
        with torch.no_grad():
            g = self.drawn()
            g = g.select(torch.arange(len(g), device=g.means.device))  # copies
            return Gaussians(g.means.cpu(), g.log_scales.cpu(), g.quaternions.cpu(), g.logits.cpu(), g.sh.cpu())

    @property
    def num_primitives(self) -> int:
        return len(self.params["logits"])

    # ------------------------------------------------------------ what losses and meshers ask

    def surface_mesh(self) -> Mesh:
        """The mesh as it is now, differentiable in the vertices; without the ball around. Its faces are one tensor."""
        return Mesh(self.params["vertices"], self._faces_on(self.params.device)[1])

    def mesh(self, t: float = 0.0) -> Mesh:
        """The mesh with colours at its vertices."""
        with torch.no_grad():
            faces = self._near_faces().cpu()
            vertices = self.params["vertices"].detach().cpu()
            k = self.settings.per_face
            colour = (0.5 + SH_C0 * self.params["sh0"].detach().cpu())[: len(faces) * k].view(-1, k, 3).mean(1)
            total = torch.zeros_like(vertices).index_add_(0, faces.reshape(-1), colour.repeat_interleave(3, 0))
            count = torch.zeros(len(vertices)).index_add_(0, faces.reshape(-1), torch.ones(faces.numel()))
            whole = Mesh(vertices, faces.to(torch.int32), colours=(total / count.clamp_min(1)[:, None]).clamp(0, 1))
            return whole.select(torch.ones(len(faces), dtype=torch.bool))

    def _faces_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """All faces, and those of the surface as int32; sent to a device once."""
        if self._placed is None or self._placed[0] is not self.faces or self._placed[1].device != device:
            near = self._near_faces().to(torch.int32)
            self._placed = self.faces, sent(self.faces, device), sent(near, device)
        return self._placed[1:]

    def _near_faces(self) -> Tensor:
        return self.faces[: len(self.faces) - self.far]

    # ------------------------------------------------------------ state

    def state(self) -> dict[str, Any]:
        return {"faces": self.faces, "far": self.far, "thin": self.thin}

    def load_state(self, state: dict[str, Any]) -> None:
        self.faces, self.far, self.thin = state["faces"], int(state["far"]), float(state["thin"])


def on_triangles(vertices: Tensor, faces: Tensor, places: Tensor, turn: Tensor) -> Tensor:
    """[f k, 7]: positions, and quaternions (w x y z, of any length) whose third axis is the normal and whose first is
    the triangle's first side turned by the complex numbers ``turn`` [f k, 2]; k places [k, 3] in each of f triangles.
    """
    k = len(places)
    corners = rows_of(vertices, faces)
    a, b, c = corners.unbind(1)
    along = torch.nn.functional.normalize(b - a, dim=1, eps=1e-20)
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1, eps=1e-20)
    frame = quaternions_of(along, torch.linalg.cross(normal, along), normal)
    means = torch.einsum("kc,fcx->fkx", places, corners).reshape(-1, 3)
    x, y = torch.nn.functional.normalize(turn, dim=1, eps=1e-12).unbind(1)
    # half the angle of x + i y, without the jump at -1 being met: the quaternion (1 + x, 0, 0, y) needs no unit length
    w, z = torch.where(x > -0.999, 1 + x, torch.zeros_like(x)), torch.where(x > -0.999, y, torch.ones_like(y))
    q0, q1, q2, q3 = frame.repeat_interleave(k, 0).unbind(1)
    turned = torch.stack([q0 * w - q3 * z, q1 * w + q2 * z, q2 * w - q1 * z, q3 * w + q0 * z], dim=1)
    return torch.cat([means, turned], dim=1)


def quaternions_of(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """[n, 4] w x y z, not of unit length, of the rotations with columns x, y, z [n, 3]; differentiable."""
    m = torch.stack([x, y, z], dim=2)
    d0, d1, d2 = m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]
    a, b, c = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    e, f, g = m[:, 1, 0] + m[:, 0, 1], m[:, 0, 2] + m[:, 2, 0], m[:, 2, 1] + m[:, 1, 2]
    # each row is the quaternion times four times one of its own numbers; the largest of these is safe
    rows = torch.stack([
        torch.stack([1 + d0 + d1 + d2, a, b, c], dim=1), torch.stack([a, 1 + d0 - d1 - d2, e, f], dim=1),
        torch.stack([b, e, 1 - d0 + d1 - d2, g], dim=1), torch.stack([c, f, g, 1 - d0 - d1 + d2], dim=1)], dim=1)
    best = torch.diagonal(rows.detach(), dim1=1, dim2=2).argmax(1)
    return rows.gather(1, best[:, None, None].expand(-1, 1, 4)).squeeze(1)


def _face_colours(mesh: Mesh, capture: Capture) -> Tensor:
    if mesh.colours is not None:
        return mesh.colours[mesh.faces.long()].mean(1)
    if capture.points is not None and len(capture.points):
        middle = mesh.corners.mean(1).contiguous()
        _, index = nearest(middle, capture.points.positions.float().contiguous())
        return capture.points.colours[index[:, 0].long()].float() / 255
    return torch.full((len(mesh), 3), 0.5)


def _triangles_at_points(capture: Capture) -> Mesh:
    """One triangle at each point of the capture, as its neighbours lie; at least a few around the middle."""
    if capture.points is None or len(capture.points) <= _NEIGHBOURS:
        ball, faces = _ball(2)
        middle = capture.centres.mean(0).float()
        return Mesh(middle + 0.3 * capture.radius * ball, faces.to(torch.int32))
    x = capture.points.positions.float().contiguous()
    squared, near = nearest(x, x, _NEIGHBOURS)
    away = (x[near.long()] - x[:, None]).double()
    _, axes = torch.linalg.eigh(away.transpose(1, 2) @ away)  # the shortest axis comes first
    u, v = axes[:, :, 1].float(), axes[:, :, 2].float()
    size = squared.mean(1).sqrt()[:, None]
    turn = torch.tensor([[0.0, 1.0], [-0.75**0.5, -0.5], [0.75**0.5, -0.5]])
    corners = x[:, None] + size[:, None] * (turn[:, :1] * u[:, None] + turn[:, 1:] * v[:, None])
    colours = (capture.points.colours.float() / 255).repeat_interleave(3, 0)
    return Mesh(corners.reshape(-1, 3), torch.arange(3 * len(x), dtype=torch.int32).view(-1, 3), colours=colours)


def _ball(times: int) -> tuple[Tensor, Tensor]:
    """Vertices [v, 3] and faces [8 4^times, 3] of a unit ball, counter-clockwise as seen from outside."""
    vertices = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1]])
    faces = torch.tensor([[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]])
    for _ in range(times):
        sides = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values
        unique, index = torch.unique(sides, dim=0, return_inverse=True)
        middle = torch.nn.functional.normalize(vertices[unique].mean(1), dim=1)
        ab, bc, ca = (index + len(vertices)).view(3, -1).unbind(0)
        a, b, c = faces.unbind(1)
        faces = torch.cat([torch.stack(t, dim=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
        vertices = torch.cat([vertices, middle])
    return vertices, faces
