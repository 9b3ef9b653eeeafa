"""Points on flat ground, found exactly in all photos that show them.

A feature is what looks alike in two photos, not a point of a surface: a stud shows more of its side as the camera
sinks, and its feature slides down. Such slides agree between features and turn all cameras alike. Here a small window
around each point in one photo is laid over the others: first with free affine maps, which tell how the ground is
tilted; then as that plane shows it, for shifts alone. What is not flat does not match and is left out.

Sources: Gruen, "Adaptive Least Squares Correlation", 1985; Baker and Matthews, "Lucas-Kanade 20 Years On: A Unifying
Framework", IJCV 2004 (inverse compositional steps); Lindenberger et al., "Pixel-Perfect Structure-from-Motion", ICCV
2021, arXiv 2108.08291, for tracks refined by pixels before the last adjustment.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

_RADIUS = 6  # of the window, in pixels
_SMOOTHING = 0.7  # pixels: rough pictures cannot be interpolated between pixels
_TILT_DEGREES, _TILT_MATCH, _TILT_STEPS = 35.0, 0.85, 8  # free maps: between views no farther apart, this alike
_FLAT_DEGREES, _FLAT_MATCH, _FLAT_STEPS = 60.0, 0.95, 6  # maps of one plane
_FARTHEST = 1.5  # pixels from where the features' adjustment expects a point
_MOST_POINTS = 6_000  # looked at: those that most photos see
_MOST_VIEWS = 32  # that a point is looked for in
_CHUNK = 384  # windows at a time: they stay within the cache


@dataclass(frozen=True)
class Tracks:
    """Point ``point`` [m] is seen by view ``view`` [m] at ``xy`` [m, 2] (float64 pixels, 0 the edge of the first)."""

    point: Tensor
    view: Tensor
    xy: Tensor

    def where(self, keep: Tensor) -> Tracks:
        return Tracks(self.point[keep], self.view[keep], self.xy[keep])


class Views:
    """Grey pictures [h, w] uint8 of pinhole cameras: ``cam_from_world`` [v, 3, 4], ``lens`` [v, 4] = fx, fy, cx, cy."""

    def __init__(self, pictures: list[Tensor], cam_from_world: Tensor, lens: Tensor) -> None:
        self.lens, self.R, self.t = lens, cam_from_world[:, :, :3], cam_from_world[:, :, 3]
        self.centre = -(self.R.mT @ self.t[..., None])[..., 0]
        self.size = torch.tensor([p.shape[::-1] for p in pictures])
        area = self.size.prod(1)
        self._first = area.cumsum(0) - area
        self._pixels = torch.cat([_smooth(p).flatten() for p in pictures])

    def project(self, X: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """Points [n, 3] -> pixels [n, 2] and depths [n] in the views [n]."""
        x = torch.einsum("nij,nj->ni", self.R[view], X) + self.t[view]
        return x[:, :2] / x[:, 2:] * self.lens[view, :2] + self.lens[view, 2:], x[:, 2]

    def rays(self, xy: Tensor, view: Tensor) -> Tensor:
        """[n, 3] of depth 1 through pixels [n, 2], in the axes of the cameras."""
        return torch.cat([(xy - self.lens[view, 2:]) / self.lens[view, :2], torch.ones_like(xy[:, :1])], dim=1)

    def sample(self, view: Tensor, xy: Tensor) -> Tensor:
        """Grey values [n, m] float32 at pixels [n, m, 2] float32, bilinear."""
        width, height = self.size[view, :1], self.size[view, 1:]
        x = torch.minimum((xy[..., 0] - 0.5).clamp_min(0), width - 1.001)
        y = torch.minimum((xy[..., 1] - 0.5).clamp_min(0), height - 1.001)
        column, row = x.long(), y.long()
        x, y = x - column, y - row
        at = self._first[view][:, None] + row * width + column
        above = torch.lerp(self._pixels[at].float(), self._pixels[at + 1].float(), x)
        below = torch.lerp(self._pixels[at + width].float(), self._pixels[at + width + 1].float(), x)
        return torch.lerp(above, below, y)


def flat_tracks(views: Views, X: Tensor, features: Tracks, threads: int = 1) -> Tracks:
    """Observations of those points ``X`` [n, 3] (float64) that lie on flat ground. ``features``: where they were found;
    poses of ``views`` and points fit them but for a pixel or so. The same bits on any number of ``threads``, if torch
    uses one for an operation."""
    home, at = _home(views, X, features)
    seen = torch.bincount(features.point, minlength=len(X))
    known = torch.zeros(len(X), dtype=torch.bool)
    known[seen.argsort(descending=True, stable=True)[:_MOST_POINTS]] = True
    pairs = _seen_by(views, X, home, _TILT_DEGREES, known)
    maps, inwards = _maps(views, X, home, *pairs)
    found, fitted, kept = _matched(views, X, home, at, pairs,
                                   maps + inwards[:, :, None] * _facing(views, X, home, pairs), threads)
    tilt = _tilt(len(X), found.point, fitted - maps[kept], inwards[kept])
    known = torch.bincount(found.point, minlength=len(X)) >= 2
    pairs = _seen_by(views, X, home, _FLAT_DEGREES, known)
    maps, inwards = _maps(views, X, home, *pairs)
    found, _, _ = _matched(views, X, home, at, pairs, maps + inwards[:, :, None] * tilt[pairs[0]][:, None], threads,
                           tilt)
    enough = torch.bincount(found.point, minlength=len(X)) >= 2
    found = found.where(enough[found.point])
    own = enough.nonzero()[:, 0]
    return Tracks(torch.cat([own, found.point]), torch.cat([home[own], found.view]), torch.cat([at[own], found.xy]))


def _smooth(picture: Tensor) -> Tensor:
    reach = math.ceil(3 * _SMOOTHING)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1) / _SMOOTHING) ** 2 / 2)
    kernel = kernel / kernel.sum()
    image = torch.nn.functional.pad(picture.float()[None, None], (reach,) * 4, mode="replicate")
    image = torch.nn.functional.conv2d(image, kernel.view(1, 1, 1, -1))
    return torch.nn.functional.conv2d(image, kernel.view(1, 1, -1, 1))[0, 0].round().to(torch.uint8)


def _home(views: Views, X: Tensor, seen: Tracks) -> tuple[Tensor, Tensor]:
    """For each point the view [n] that looks at it from nearest the mean of all directions, and its pixel [n, 2]."""
    direction = torch.nn.functional.normalize(X[seen.point] - views.centre[seen.view], dim=1)
    mean = torch.nn.functional.normalize(torch.zeros_like(X).index_add_(0, seen.point, direction), dim=1)
    off = 1 - (direction * mean[seen.point]).sum(1)
    best = torch.full((len(X),), math.inf, dtype=off.dtype).scatter_reduce(0, seen.point, off, "amin")
    rows = (off == best[seen.point]).nonzero()[:, 0]
    home, at = torch.zeros(len(X), dtype=torch.int64), torch.zeros(len(X), 2, dtype=torch.float64)
    home[seen.point[rows]], at[seen.point[rows]] = seen.view[rows], seen.xy[rows]
    return home, at


def _seen_by(views: Views, X: Tensor, home: Tensor, degrees: float, known: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of a ``known`` point and a view that holds a window around it and looks from near the home's direction."""
    points, found = [], []
    for rows in torch.arange(len(X)).split(1024):
        direction = torch.nn.functional.normalize(X[rows][:, None] - views.centre, dim=2)
        alike = (direction * direction[torch.arange(len(rows)), home[rows]][:, None]).sum(2)
        alike[torch.arange(len(rows)), home[rows]] = -1.0
        alike[~known[rows]] = -1.0
        most = alike.topk(min(_MOST_VIEWS, alike.shape[1]), dim=1)
        row, column = (most.values > math.cos(math.radians(degrees))).nonzero(as_tuple=True)
        points.append(rows[row])
        found.append(most.indices[row, column])
    point, view = torch.cat(points), torch.cat(found)
    xy, depth = views.project(X[point], view)
    room = _RADIUS + 2
    inside = (depth > 0) & (xy > room).all(1) & (xy < views.size[view] - room).all(1)
    return point[inside], view[inside]


def _maps(views: Views, X: Tensor, home: Tensor, point: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
    """How the pixel in ``view`` moves with the pixel of the home view at constant depth [m, 2, 2], and with the inverse
    depth there, as a share of it [m, 2]: ground tilted by t (inverse depth per pixel) has the map A + b t."""
    own = home[point]
    xy, depth = views.project(X[point], own)

    def moved(dx: float, dy: float, inverse: float) -> Tensor:
        x = views.rays(xy + torch.tensor([dx, dy], dtype=torch.float64), own) * (depth / inverse)[:, None]
        return views.project(torch.einsum("nji,nj->ni", views.R[own], x - views.t[own]), view)[0]

    columns = [moved(0.5, 0, 1) - moved(-0.5, 0, 1), moved(0, 0.5, 1) - moved(0, -0.5, 1)]
    return torch.stack(columns, dim=2), (moved(0, 0, 1.005) - moved(0, 0, 0.995)) / 0.01


def _facing(views: Views, X: Tensor, home: Tensor, pairs: tuple[Tensor, Tensor]) -> Tensor:
    """Tilt [m, 1, 2] of ground that faces the middle between both views."""
    point, view = pairs
    own = home[point]
    towards = [torch.nn.functional.normalize(X[point] - views.centre[k], dim=1) for k in (own, view)]
    normal = torch.einsum("nij,nj->ni", views.R[own], towards[0] + towards[1])
    ray = views.rays(views.project(X[point], own)[0], own)
    return (normal[:, :2] / views.lens[own, :2] / (normal * ray).sum(1, keepdim=True))[:, None]


def _tilt(count: int, point: Tensor, difference: Tensor, inwards: Tensor) -> Tensor:
    """[count, 2] t with ``difference`` [m, 2, 2] = ``inwards`` [m, 2] t for all maps of a point; Huber's loss."""
    weight = torch.ones(len(point), dtype=torch.float64)
    tilt = torch.zeros(count, 2, dtype=torch.float64)
    for _ in range(4):
        above = weight[:, None] * torch.einsum("ni,nij->nj", inwards, difference)
        below = weight * (inwards * inwards).sum(1)
        tilt = torch.zeros_like(tilt).index_add_(0, point, above) / (
            torch.zeros(count, 1, dtype=torch.float64).index_add_(0, point, below[:, None]) + 1e-9)
        error = (difference - inwards[:, :, None] * tilt[point][:, None]).flatten(1).norm(dim=1)
        weight = 0.1 / error.clamp_min(0.1)
    return tilt


def _matched(views: Views, X: Tensor, home: Tensor, at: Tensor, pairs: tuple[Tensor, Tensor], maps: Tensor,
             threads: int, tilt: Tensor | None = None) -> tuple[Tracks, Tensor, Tensor]:  # fmt: skip
    """Where windows match, from where points and maps say: observations, their maps, and which of the pairs they are.
    Maps are free, or, with ``tilt`` [n, 2] of the ground at each point, those of its plane."""
    point, view = pairs
    stretch = torch.linalg.svdvals(maps)
    good = ((torch.linalg.det(maps) > 0) & (stretch[:, 1] > 0.35) & (stretch[:, 0] < 2.5)).nonzero()[:, 0]
    point, view, maps = point[good], view[good], maps[good]
    own = home[point]
    expected, depth = views.project(X[point], own)
    error = at[point] - expected  # of the home view; carried over
    start = views.project(X[point], view)[0] + torch.einsum("nij,nj->ni", maps, error)

    def matched(rows: Tensor) -> tuple[Tensor, ...]:
        ground = None
        if tilt is not None:
            ground = _window_on_ground(views, own[rows], at[point[rows]], view[rows], error[rows], depth[rows],
                                       tilt[point[rows]])
        return _align(views, own[rows], at[point[rows]].float(), view[rows], maps[rows].float(), start[rows].float(),
                      ground)

    if not len(point):
        return Tracks(point, view, start), maps, good
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(matched, torch.arange(len(point)).split(_CHUNK)))
    fitted, xy, match, last = (torch.cat(p) for p in zip(*parts))
    keep = (match > (_TILT_MATCH if tilt is None else _FLAT_MATCH)) & (last < 0.05)
    keep &= (xy - start).norm(dim=1) < _FARTHEST
    return Tracks(point[keep], view[keep], xy[keep].double()), fitted[keep].double(), good[keep]


def _window() -> Tensor:
    side = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float32)
    return torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1).flatten(0, 1)


def _window_on_ground(views: Views, own: Tensor, at: Tensor, view: Tensor, error: Tensor, depth: Tensor,
                      tilt: Tensor) -> Tensor:  # fmt: skip
    """Where the pixels of windows around ``at`` [n, 2] of views ``own`` lie in views ``view`` if all are on one plane,
    from the middle: [n, m, 2]. Exact: an affine map alone would be off by a twentieth of a pixel."""
    n, u = len(own), torch.cat([torch.zeros(1, 2), _window()]).double()
    inverse = 1 + ((u + error[:, None]) * tilt[:, None]).sum(2).clamp(-0.5, 0.5)
    index = torch.arange(n).repeat_interleave(len(u))
    x = views.rays((at[:, None] + u).flatten(0, 1), own[index]) * (depth[:, None] / inverse).flatten()[:, None]
    x = torch.einsum("nji,nj->ni", views.R[own][index], x - views.t[own][index])
    there = views.project(x, view[index])[0].view(n, len(u), 2)
    return (there[:, 1:] - there[:, :1]).float()


def _align(views: Views, own: Tensor, at: Tensor, view: Tensor, maps: Tensor, start: Tensor,
           ground: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Windows around ``at`` [n, 2] of views ``own`` laid over views ``view``: maps [n, 2, 2], pixels [n, 2],
    correlation of the grey values [n] and length of the last step [n]. Brightness and contrast may differ. With
    ``ground`` (see ``_window_on_ground``) the windows are shifted only."""
    u = _window()
    weight = torch.exp(-(u * u).sum(1) / (2 * (0.6 * _RADIUS) ** 2))
    weight = weight / weight.sum()

    def normal(values: Tensor) -> tuple[Tensor, Tensor]:
        centred = values - (values @ weight)[:, None]
        spread = ((centred * centred) @ weight).sqrt().clamp_min(0.1)[:, None]
        return centred / spread, spread

    def there() -> Tensor:
        return normal(views.sample(view, (u @ maps.mT if ground is None else ground) + xy[:, None]))[0]

    template, spread = normal(views.sample(own, at[:, None] + u))
    slope = [(views.sample(own, at[:, None] + u + e) - views.sample(own, at[:, None] + u - e)) / spread
             for e in torch.eye(2) / 2]
    J = torch.stack(slope + ([s * u[:, i] for s in slope for i in (0, 1)] if ground is None else []), dim=1)
    J = J - (J @ weight)[..., None]
    J = J - ((J * template[:, None]) @ weight)[..., None] * template[:, None]
    H = (J * weight) @ J.mT
    trace = H.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    H = H + (1e-6 * trace + 1e-9) * torch.eye(J.shape[1])
    steps = torch.linalg.solve(H.double(), (J * weight).double()).float()
    xy, step = start, torch.zeros_like(start)
    for _ in range(_TILT_STEPS if ground is None else _FLAT_STEPS):
        d = (steps @ (there() - template)[..., None])[..., 0].clamp(-2, 2)
        if ground is None:  # the window's map after the inverse of the step
            maps = maps @ torch.linalg.inv(torch.eye(2) + d[:, 2:].view(-1, 2, 2).clamp(-0.3, 0.3))
        step = (maps @ d[:, :2, None])[..., 0]
        step = step / step.norm(dim=1, keepdim=True).clamp_min(1)
        xy = xy - step
    return maps, xy, (there() * template) @ weight, step.norm(dim=1)
