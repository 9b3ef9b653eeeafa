"""Measures of a mesh against a known surface, on shapes whose figures are known."""

from __future__ import annotations

import math

import pytest
import torch

from recon.mesh import flexicubes as dual_contouring
from recon.mesh import marching_cubes
from recon.mesh.flexible_fit import FlexibleFit, Reached, fit_surface
from recon.mesh.grid import Grid
from recon.mesh.intersections import self_intersections, uncrossed
from recon.mesh.measure import Truth, f_score, points_on, sharp_edges, smallest_angles
from recon.types import Mesh


def cube(turn: float = 0.0) -> Mesh:
    """Side 2, twelve triangles, turned around two axes."""
    corner = torch.tensor([[x, y, z] for z in (-1.0, 1.0) for y in (-1.0, 1.0) for x in (-1.0, 1.0)])
    quads = [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]]
    faces = [t for a, b, c, d in quads for t in ([a, b, c], [a, c, d])]
    c, s = math.cos(turn), math.sin(turn)
    around_z = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    around_x = torch.tensor([[1.0, 0, 0], [0, c, -s], [0, s, c]])
    return Mesh(corner @ (around_x @ around_z).T, torch.tensor(faces, dtype=torch.int32))


def test_a_surface_against_itself() -> None:
    true = Truth(cube(0.3))
    m = true.measure(true.mesh)
    assert max(m.off_normals, m.chamfer, m.edge_chamfer) < 1e-3
    assert m.edge_f1 == pytest.approx(1)
    assert (m.slivers, m.cuts, m.watertight) == (0, 0, True)


def test_a_shifted_face_is_measured() -> None:
    """A cube of side 1.8 blown up by 1 %: all its surface is 9 from the truth, in thousandths of 1.8 that is 5."""
    true = Truth(cube())
    m = true.measure(Mesh(true.mesh.vertices * 1.01, true.mesh.faces))
    assert m.chamfer == pytest.approx(5.0, rel=0.02)
    assert m.off_normals < 0.03  # beyond the edges the nearest point has another face
    assert m.edge_chamfer == pytest.approx(5 * math.sqrt(2), rel=0.03)


def test_edges_and_angles() -> None:
    assert len(sharp_edges(cube(0.5))) == 12
    assert len(sharp_edges(cube(), degrees=95)) == 0
    corners = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]])
    torch.testing.assert_close(smallest_angles(corners), torch.tensor([math.pi / 4, 0.0]).double())


def test_points_are_spread_by_area() -> None:
    corners = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0.0, 0, 5], [3, 0, 5], [0, 1, 5]]])
    x, face = points_on(corners, 20_000, torch.Generator().manual_seed(0))
    assert float((face == 1).double().mean()) == pytest.approx(0.75, abs=0.02)
    assert ((x[:, 2] == 5) == (face == 1)).all()
    with pytest.raises(ValueError, match="no area"):
        points_on(corners[:, :1].expand(-1, 3, -1), 10, torch.Generator())


def test_f_score_of_a_shift() -> None:
    a = cube()
    b = Mesh(a.vertices + torch.tensor([0.1, 0.0, 0.0]), a.faces)
    assert f_score(a, a, 1e-4)[0] == 1
    # two of six sides are 0.1 off; the others overlap but for a rim
    assert f_score(a, b, 0.05)[0] == pytest.approx(4 / 6, abs=0.03)
    assert f_score(a, b, 0.11)[0] == 1


@pytest.mark.parametrize("size", [12, 33])
def test_distances_near_the_surface_are_exact_and_far_ones_have_their_sign(size: int) -> None:
    true = Truth(cube(0.4))
    grid = Grid.around(torch.full((3,), -0.95), torch.full((3,), 0.95), size - 3)
    exact, quick = grid.sample(true.triangles.distance), grid.sample_distances(true.triangles.distance)
    near = exact.abs() < 3 * grid.spacing
    assert torch.equal(exact[near], quick[near])
    assert torch.equal(exact < 0, quick < 0)


def test_sampling_by_distance_follows_a_steep_function_and_sudden_changes_of_sign() -> None:
    grid = Grid.around(torch.full((3,), -1.0), torch.full((3,), 1.0), 33)

    def ball_cut_in_half(x: torch.Tensor) -> torch.Tensor:
        value = 1.8 * (x.norm(dim=1) - 0.7)
        return torch.where(x[:, 0] < 0.13, value, value.abs())

    exact, quick = grid.sample(ball_cut_in_half), grid.sample_distances(ball_cut_in_half, slope=1.8)
    near = exact.abs() < 3 * 1.8 * grid.spacing
    assert torch.equal(exact[near], quick[near])
    assert torch.equal(exact < 0, quick < 0)


def test_a_fitted_grid_beats_marching_cubes_on_a_turned_cube() -> None:
    true = Truth(cube(0.4))
    grid = Grid.around(torch.full((3,), -0.95), torch.full((3,), 0.95), 17)
    values = grid.sample(true.triangles.distance)
    by_cubes = true.measure(marching_cubes.mesh_distance(true.triangles.distance, grid, values))
    by_planes = true.measure(dual_contouring.mesh_distance(true.triangles.distance, grid, values=values))
    fitted = true.measure(fit_surface(true.triangles, grid, values, FlexibleFit(steps=60, points=3000)))
    assert by_planes.edge_chamfer < 0.25 * by_cubes.edge_chamfer
    assert fitted.edge_chamfer < 0.5 * by_cubes.edge_chamfer
    assert fitted.off_normals < 0.67 * by_cubes.off_normals  # the margin that the paper reports on its set
    assert fitted.chamfer < 0.5 * by_cubes.chamfer
    assert (fitted.watertight, fitted.cuts) == (True, 0)


def test_adam_over_reached_rows_moves_as_over_all() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.tensor(r) for r in ([3, 5], [3], [5, 7, 7], [11])]  # some reached late, some left again
    all_of_them = torch.zeros(12, 3, dtype=torch.float64, requires_grad=True)
    few = torch.zeros(12, 3, requires_grad=True)
    adam, reached = torch.optim.Adam([all_of_them], lr=0.03), Reached([few], 12)
    for step, hit in enumerate(rows):
        gradient = torch.zeros(12, 3).index_add_(0, hit, torch.randn(len(hit), 3, generator=generator))
        all_of_them.grad, few.grad = gradient.double(), gradient.clone()
        adam.param_groups[0]["lr"] = 0.03 * 0.5**step
        adam.step()
        reached.add(hit)
        reached.step(0.03 * 0.5**step)
        assert few.grad is None
        torch.testing.assert_close(few.detach().double(), all_of_them.detach(), rtol=1e-5, atol=1e-7)
    assert bool((few[[3, 5, 7, 11]] != 0).all())
    assert bool((few[[0, 1, 2, 4, 6, 8, 9, 10]] == 0).all())


def test_crossed_faces_are_straightened_and_others_stay() -> None:
    grid = Grid.around(torch.full((3,), -0.95), torch.full((3,), 0.95), 17)
    ball = marching_cubes.mesh_distance(lambda x: x.norm(dim=1) - 0.7, grid)
    assert torch.equal(uncrossed(ball).vertices, ball.vertices)
    vertices = ball.vertices.clone()
    vertices[::200] *= -1.1  # spikes through the other side
    crossed = Mesh(vertices, ball.faces)
    assert self_intersections(crossed) >= 3
    mended = uncrossed(crossed)
    assert self_intersections(mended) == 0
    assert torch.equal(mended.faces, ball.faces)
    assert float((mended.vertices == vertices).all(1).float().mean()) > 0.7
