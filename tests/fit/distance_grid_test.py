"""Fields of signed distance: their start, their box, quantised coordinates, masks as alpha, and a tiny fit."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny_capture import tiny_capture

from recon.configs import neus
from recon.fields.distance_grid import DistanceGridField, DistanceGridSettings
from recon.fields.parts.quantise import quantised
from recon.fields.parts.region import Region, region_of_points
from recon.fit.photos import cut_out, uses_mask
from recon.fit.system import System
from recon.losses.empty_space import EmptySpace
from recon.ops.march import distances
from recon.strategies.surface import NearSurface, Sharpen
from recon.types import Photo, PointCloud


def small_field(margin: float = 0.0) -> DistanceGridField:
    field = DistanceGridField(DistanceGridSettings(levels=2, channels=2, log2_slots=8, margin=margin))
    field.region = Region((-1.0, -2.0, 0.0), (1.0, 2.0, 2.0), margin, torch.ones(40, 40, 40, dtype=torch.bool))
    field.allowed = field.region.occupied
    field.cells = distances(field.region.occupied)
    field.most_voxels = 33.0**3
    field.voxels = field.most_voxels
    for name, tensor in field.build_params(torch.Generator().manual_seed(0)).items():
        field.params[name] = tensor
    return field


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_the_start_is_an_ellipsoid_in_the_box(margin: float) -> None:
    field = small_field(margin)
    assert field.nodes == [9, 17, 33]
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2000, 3, generator=generator) * torch.tensor([2.0, 4.0, 2.0]) + torch.tensor([-1.0, -2.0, 0.0])
    q = (x - torch.tensor([0.0, 0.0, 1.0])) / torch.tensor([1.0, 2.0, 1.0])
    wanted = q.norm(dim=1) - 0.7
    found = field.distance(x)
    inside = field.inner(field.unit(x))
    assert inside.all()
    assert float((found - wanted)[q.norm(dim=1) > 0.2].detach().abs().max()) < 0.03
    lengths = field.signed_distance(field.unit(x))[1].detach().norm(dim=1)
    assert 0.4 < float(lengths.mean()) < 1.1  # flat along the long side


def test_gradients_are_those_of_the_world() -> None:
    field = small_field(0.3)
    x = torch.tensor([[0.31, 0.77, 1.23], [-0.42, -1.1, 0.6]])
    value, gradient = field.signed_distance(field.unit(x))
    for axis in range(3):
        h = torch.zeros(3)
        h[axis] = 1e-3
        up, down = (field.signed_distance(field.unit(x + s * h))[0] for s in (1, -1))
        torch.testing.assert_close((up - down) / 2e-3, gradient[:, axis], atol=2e-2, rtol=0)
    assert value.shape == (2,)


def test_outside_of_box_and_hull_there_is_no_surface() -> None:
    field = small_field()
    far = torch.tensor([[5.0, 0.0, 1.0], [0.0, 0.0, -3.0]])
    assert (field.distance(far) > 0).all()
    middle = torch.tensor([[0.0, 0.0, 1.0]])
    assert float(field.distance(middle).detach()) < 0
    field.allowed = torch.zeros_like(field.allowed)
    assert float(field.distance(middle).detach()) > 0


def carved_field() -> DistanceGridField:
    """Allowed: the lower half along z, which is below 1 in the world."""
    field = small_field()
    field.allowed = torch.zeros(40, 40, 40, dtype=torch.bool)
    field.allowed[:, :, :20] = True
    return field


def test_masks_lay_out_the_start() -> None:
    field = carved_field()
    guess = field._guess(tiny_capture())
    assert guess is not None
    z = torch.tensor([0.5, 0.9, 1.1, 1.5])
    u = field.unit(torch.stack([torch.zeros(4), torch.zeros(4), z], dim=1))
    cell = 0.05 * 4 / 3  # of the mean side
    torch.testing.assert_close(guess(u), z - 1 + cell, atol=0.06, rtol=0)


def test_space_next_to_the_hull_is_empty() -> None:
    field = carved_field()
    u = field.empty_points(300, torch.Generator().manual_seed(0))
    assert len(u) == 300
    assert float(u[:, 2].min()) >= 0.5
    assert float(u[:, 2].max()) <= 0.525
    loss = EmptySpace(count=300)
    value = loss.of_points(field, torch.Generator().manual_seed(0))  # the ellipsoid reaches through the border
    expected = (-field.signed_distance(u)[0] / field.voxel).clamp_min(0).mean()
    assert float(expected.detach()) > 0.1
    torch.testing.assert_close(value, expected)
    value.backward()
    slope = field.params["distance"].grad
    assert slope is not None
    field.params["distance"] = field.params["distance"].detach() - 0.1 * slope / slope.norm()
    assert float(loss.of_points(field, torch.Generator().manual_seed(0)).detach()) < float(value.detach())
    assert float(loss.of_points(small_field(), torch.Generator()).detach()) == 0.0, "without masks there is none"


def test_points_outside_of_masks_are_not_held_to_the_surface() -> None:
    field = carved_field()
    field.points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([2.0, 4.0, 2.0])
    field.points -= torch.tensor([1.0, 2.0, 0.0])
    u = field.surface_points(500, torch.Generator().manual_seed(1))
    assert 150 < len(u) < 350
    assert float(u[:, 2].max()) <= 0.5


@pytest.mark.parametrize("cells", [7, 1000, 25_600, 51_200])
def test_quantised_coordinates(cells: int) -> None:
    u = torch.rand(5000, 3, generator=torch.Generator().manual_seed(0))
    q = quantised(u, cells)
    assert torch.equal(quantised(q, cells), q)
    assert float((q - u).abs().max()) <= 0.5 / cells + 1e-7
    same = (u.double() * cells).floor()
    order = same[:, 0].argsort()
    twins = same[order[1:], 0] == same[order[:-1], 0]
    assert torch.equal(q[order[1:], 0][twins], q[order[:-1], 0][twins])
    assert torch.equal(quantised(u, 0), u)
    assert float(quantised(torch.ones(1, 3), cells).max()) < 1


def test_a_lattice_that_is_too_fine_is_refused() -> None:
    with pytest.raises(ValueError, match="quantise"):
        DistanceGridField(DistanceGridSettings(quantise=1 << 30))


def test_quantised_gradients_are_those_at_the_centre() -> None:
    plain, rounded = small_field(), small_field()
    rounded.settings = replace(rounded.settings, quantise=64)
    u = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    at, gradient = rounded.signed_distance(u)
    at_centre, gradient_there = plain.signed_distance(quantised(u, 64))
    assert torch.equal(at, at_centre)
    assert torch.equal(gradient, gradient_there)


def test_the_box_goes_around_the_points() -> None:
    wide = Region((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0), 0.3, torch.ones(4, 4, 4, dtype=torch.bool))
    x = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)).double() * torch.tensor([0.6, 0.4, 0.2])
    x[:5] = 0.99  # strays
    capture = replace(tiny_capture(), points=PointCloud(x, torch.zeros(2000, 3, dtype=torch.uint8)))
    found = region_of_points(capture, wide)
    torch.testing.assert_close(torch.tensor(found.extent), torch.tensor([0.7, 0.5, 0.3]), atol=0.02, rtol=0)
    assert region_of_points(replace(capture, points=None), wide) is wide


def test_masks_become_alpha_where_they_mark_the_object() -> None:
    capture = tiny_capture()

    class Masked:
        def read(self, camera) -> Photo:
            rgb = torch.full((3, camera.height, camera.width), 200, dtype=torch.uint8)
            mask = torch.zeros(camera.height, camera.width, dtype=torch.uint8)
            mask[:, : camera.width // 2] = 255
            return Photo(rgb, None, mask)

    views = tuple(replace(v, source=Masked()) for v in capture.views)
    capture = replace(capture, views=views, mask_meaning="object", has_alpha=False)
    system = replace(neus.PRESETS["fast"])
    assert uses_mask(capture, system) == "object"
    assert uses_mask(replace(capture, mask_meaning="ignore"), system) == "ignore"
    assert uses_mask(capture, replace(system, masks="auto")) is None
    cut = cut_out(capture, system)
    assert cut.has_alpha
    assert cut.mask_meaning is None
    photo = cut.views[0].photo()
    assert photo.mask is None
    assert photo.alpha is not None
    assert int(photo.alpha[0, 0]) == 255
    assert int(photo.alpha[0, -1]) == 0
    assert cut_out(capture, replace(system, masks="off")) is capture


def test_sharpen_and_near_surface_follow_the_fit() -> None:
    field = small_field()
    sharpen = Sharpen(start=8.0, end=0.25, until=0.5, turned=0.25).build(field, 1.0, 100)
    assert field.width == pytest.approx(8 * field.voxel)
    assert field.turn == 0
    near = NearSurface(every=1, begin=0.0).build(field, 1.0, 100)
    widths, shares = [], []
    for step in range(100):
        problem = SimpleNamespace(field=field, step=step)
        sharpen.act(problem, None)  # type: ignore[arg-type]
        near.act(problem, None)  # type: ignore[arg-type]
        widths.append(field.width)
        shares.append(float((field.cells == 0).float().mean()))
    assert widths == sorted(widths, reverse=True)
    assert field.width == pytest.approx(0.25 * field.voxel)
    assert field.turn == 1
    assert shares[-1] < shares[0]
    assert shares[-1] < 0.9
    assert int(field.cells[0, 0, 0]) > 0  # empty: neither far outside ...
    assert int(field.cells[20, 20, 20]) > 0  # ... nor deep inside
    # the surface lies in occupied cells
    x = torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    x = 0.7 * x * torch.tensor([1.0, 2.0, 1.0]) + torch.tensor([0.0, 0.0, 1.0])
    cell = (field.unit(x) * 40).long().clamp(0, 39)
    assert (field.cells[tuple(cell.T)] == 0).all()


def test_state_comes_back() -> None:
    field = small_field()
    field.width, field.turn = 0.123, 0.5
    field.allowed[0] = False
    other = DistanceGridField(field.settings)
    other.params.load_state(field.params.state())
    other.load_state(field.state())
    assert (other.width, other.turn) == (0.123, 0.5)
    x = torch.rand(100, 3)
    assert torch.equal(other.distance(x), field.distance(x))
    assert isinstance(neus.PRESETS["fast"], System)
