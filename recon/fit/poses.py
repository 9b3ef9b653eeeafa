"""Camera poses as unknowns: bundle adjustment of the fitted views against their pixels.

Sources: Lucas and Kanade, "An Iterative Image Registration Technique", IJCAI 1981, for Gauss-Newton on pixels; Lin, Ma,
Torralba, Lucey, "BARF: Bundle-Adjusting Neural Radiance Fields", ICCV 2021, arXiv 2104.06405, for refining poses
while a scene is fitted, coarse pictures first.
Differences: Gauss-Newton steps on the exact derivatives of the picture by the six numbers of its pose, so there is no
learning rate; pixels are compared by Huber's loss (Ann. Math. Statist. 1964) whatever the scene is fitted by: with L1
and SSIM, whose curvature has no bound near the minimum, steps became too short to arrive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from recon.errors import InputError
from recon.fit.system import PoseRefinement
from recon.ops import cuda
from recon.protocols import Linear, Poseable
from recon.types import Camera, Observation, Similarity, View
from recon.types.similarity import similarity_between

_OUTLIER = 0.1  # errors beyond this count by their size, not by its square


def twist(xi: Tensor) -> Tensor:
    """[..., 6] float64 rotation vectors and translations -> rigid [..., 4, 4]: rotation first, then translation."""
    (x, y, z), move = xi[..., :3].unbind(-1), xi[..., 3:]
    angle = xi[..., :3].norm(dim=-1)[..., None, None]
    none = torch.zeros_like(x)
    K = torch.stack([none, -z, y, z, none, -x, -y, x, none], dim=-1).unflatten(-1, (3, 3))
    small = angle < 1e-8
    safe = torch.where(small, 1.0, angle)
    a, b = torch.where(small, 1.0, safe.sin() / safe), torch.where(small, 0.5, (1 - safe.cos()) / safe.square())
    R = torch.eye(3, dtype=xi.dtype, device=xi.device) + (a * K + b * K @ K)
    last = torch.eye(4, dtype=xi.dtype, device=xi.device)[3:].expand(*R.shape[:-2], 1, 4)
    return torch.cat([torch.cat([R, move[..., None]], dim=-1), last], dim=-2)


class Poses:
    """Poses of the fitted views, and how they are refined. State: [views, 4, 4] world_from_camera, float64.

    They live on the processor. What a step on a GPU found out of a pose is read when its view is next looked at, or all
    are asked for, which is usually steps later: then nobody waits for it.
    """

    def __init__(self, settings: PoseRefinement, views: Sequence[View], radius: float,
                 given: Tensor | None = None) -> None:
        self.settings, self.radius = settings, radius
        self.given = torch.stack([v.camera.world_from_camera for v in views]) if given is None else given
        self._known = self.given.clone()
        self._coming: dict[int, Callable[[], Tensor]] = {}  # new poses [4, 4] of views, on their way
        self.steps = 0  # Gauss-Newton steps made; of this process

    def camera(self, index: int, camera: Camera) -> Camera:
        """``camera`` of view ``index`` at its present pose."""
        self._arrived(index)
        return replace(camera, world_from_camera=self._known[index])

    @property
    def current(self) -> Tensor:
        """[views, 4, 4] the poses; may be written to. Waits for a GPU."""
        for index in list(self._coming):
            self._arrived(index)
        return self._known

    @current.setter
    def current(self, poses: Tensor) -> None:
        self._known, self._coming = poses, {}

    def _arrived(self, index: int) -> None:
        if index in self._coming:
            self._known[index] = self._coming.pop(index)()

    def place(self, views: Sequence[int], poses: Tensor) -> None:
        """``views`` are at ``poses`` [views, 4, 4] now, wherever these are."""
        arrived = cuda.to_host(poses)
        self._coming |= {view: partial(_row, arrived, i) for i, view in enumerate(views)}

    def _refined(self, index: int, arrived: Callable[[], Tensor]) -> Tensor:
        """The pose of view ``index`` after a step, of whose gradient and curvature [6, 7] ``arrived`` tells."""
        g, H = arrived().double().split([1, 6], dim=1)
        moved = self._known[index] @ twist(self.limited(-torch.linalg.solve(damped(H, self.settings.damping), g[:, 0])))
        u, _, v = torch.linalg.svd(moved[:3, :3])  # rounding must not add up
        moved[:3, :3] = u @ v
        return moved

    def kept(self, index: int) -> Callable[[], None]:
        """The pose of view ``index`` as it is now: what comes back restores it."""
        self._arrived(index)
        before = self._known[index].clone()

        def restore() -> None:
            self._coming.pop(index, None)
            self._known[index] = before

        return restore

    def due(self, step: int, total: int, views: int) -> bool:
        """Whether the view of this step is refined: in every ``every``-th visit of all views, from ``begin`` on."""
        s, share = self.settings, step / max(total, 1)
        return s.begin <= share < s.until and (step // views) % s.every == 0

    def refine(self, picture: Linear, seen: Observation) -> None:
        """One Gauss-Newton step on the pose of ``seen``, of which ``picture`` is drawn; all else stands still."""
        error, weights = huber(picture.picture, seen)
        columns = picture.camera_columns().flatten(1)
        g, H = columns @ (weights * error).flatten(), (columns * weights.flatten()) @ columns.T
        self._coming[seen.index] = partial(self._refined, seen.index, cuda.to_host(torch.cat([g[:, None], H], dim=1)))
        self.steps += 1

    def limited(self, xi: Tensor) -> Tensor:
        """A twist, cut to 1 degree and 1 % of the scene's radius; zero where it is not finite."""
        if not bool(torch.isfinite(xi).all()):
            return torch.zeros_like(xi)
        most = max(float(xi[:3].norm()) / math.radians(1.0), float(xi[3:].norm()) / (0.01 * self.radius), 1.0)
        return xi / most

    def drift(self) -> Similarity:
        """refined_from_given: what all refined cameras have moved by together, which pixels cannot tell."""
        return similarity_between(self.given, self.current)

    def aligned(self, views: Sequence[View]) -> tuple[View, ...]:
        """Views that were not fitted, moved along with those that were."""
        moved = self.drift()
        return tuple(replace(v, camera=moved.camera(v.camera)) for v in views)

    def moved(self, views: Sequence[View]) -> tuple[View, ...]:
        """The first fitted views, at their present poses."""
        return tuple(replace(v, camera=self.camera(i, v.camera)) for i, v in enumerate(views))

    def moves(self) -> tuple[Tensor, Tensor]:
        """By how much each camera has moved against the others: [views] degrees, [views] shares of the radius."""
        moved = self.drift()
        R = (moved.rotation @ self.given[:, :3, :3]).mT @ self.current[:, :3, :3]
        chord = (R - torch.eye(3, dtype=torch.float64)).flatten(1).norm(dim=1)  # exact for small angles, unlike acos
        turned = torch.rad2deg(2 * torch.asin((chord / 8**0.5).clamp(max=1.0)))
        return turned, (moved.points(self.given[:, :3, 3]) - self.current[:, :3, 3]).norm(dim=1) / self.radius

    def summary(self) -> dict[str, float]:
        """How far the cameras have moved against each other: median and most, degrees and shares of the radius."""
        turned, shifted = self.moves()
        return {"turned_deg": float(turned.median()), "turned_most_deg": float(turned.max()),
                "moved": float(shifted.median()), "moved_most": float(shifted.max())}

    def words(self) -> str:
        """``summary`` for people."""
        s = self.summary()
        return (f"cameras moved by {s['turned_deg']:.2f} degrees and {100 * s['moved']:.2f} % of the scene's radius "
                f"(median), at most {s['turned_most_deg']:.2f} and {100 * s['moved_most']:.2f} %")

    def state(self) -> dict[str, Any]:
        return {"current": self.current}

    def load_state(self, state: dict[str, Any]) -> None:
        self.current = state["current"].clone()


def _row(arrived: Callable[[], Tensor], i: int) -> Tensor:
    return arrived()[i]


def damped(H: Tensor, share: float) -> Tensor:
    """H [k, k] with ``share`` of its diagonal added, and a little of its trace for what is not seen at all."""
    diagonal = H.diagonal()
    return H + torch.diag(share * diagonal + 1e-6 * diagonal.mean() + 1e-12)


def huber(rgb: Tensor, seen: Observation) -> tuple[Tensor, Tensor]:
    """Error of a picture [3, h, w] and the weights of its squares in Huber's loss; both zero where the mask ignores."""
    target = seen.target.float() / 255.0 if seen.target.dtype == torch.uint8 else seen.target
    error = rgb - target
    if seen.mask is not None:
        error = torch.where(seen.mask > 0, error, torch.zeros_like(error))
    weights = (_OUTLIER / error.abs().clamp_min(_OUTLIER))
    return error, weights if seen.mask is None else weights * (seen.mask > 0)


def refuse_what_has_no_poses(system: Any) -> None:
    """Raises InputError that names what in a system keeps poses from being refined."""
    if not isinstance(system.renderer, Poseable):
        raise InputError(f"poses cannot be refined with {type(system.renderer).__name__}: it has no derivatives by the "
                         "camera", fix="Use --method gaussians, or leave out --refine-poses.")
