"""Products with the Jacobian J of a splatted picture: J v, J^T u, J^T W J v, diag(J^T W J). Kernels: cuda/splat.

J is d(picture)/d(parameters); it is never formed. Sources: Höllein, Božič, Zollhöfer, Nießner, "3DGS-LM", ICCV 2025,
arXiv 2409.12892, for the products per pixel; differences: nothing is cached but the tile lists (alphas are recomputed
in registers, which costs less here than reading them), J v and J^T u of a tile follow each other while its pixels are
in the cache, and the diagonal comes from 15 moments per (tile, Gaussian), see cuda/splat/jacobian.h.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from recon.ops import cuda
from recon.ops.checks import expect_tensor, place_of
from recon.ops.native import native
from recon.ops.splat import RADIUS, RECORD, Projection, _check_rows, _kernels, _kernels_of, camera_numbers
from recon.ops.splat_normal_cuda import NormalKernels
from recon.types import Camera
from recon.types.placement import sent

Rows = Sequence[Tensor]
BLOCK = 66  # lower triangle of 11 x 11
_ROOM: dict[str, Any] = {}


def _kernel_of(tensor: Tensor, name: str) -> Any:
    """A kernel for a tensor's number type on its device."""
    if tensor.dtype == torch.float64:
        return getattr(native, name + "_f64")
    module = cuda.kernels_for(tensor)
    return getattr(native if module is None else NormalKernels(module), name)


class SplatLinearisation:
    """One picture and its derivatives at fixed parameters; those must not change while this is used.

    params      (means [n, 3], log_scales [n, 3], quaternions [n, 4], logits [n], sh0 [n, 3], sh_rest [n, k, 3]) as in
                ``project``, float32 (float64 with ``check=True``). Directions v and results ``out`` have these shapes.
    background  [3]
    picture     [3, height, width] what was drawn      transmittance [height, width]
    Raises ValueError or TypeError naming the argument.
    """

    def __init__(self, params: Rows, camera: Camera, settings: Projection, background: Tensor, *,
                 check: bool = False) -> None:
        self.dtype = torch.float64 if check else torch.float32
        means, log_scales, quaternions, logits, sh0, sh_rest = params
        _check_rows(means, log_scales, quaternions, logits, sh0, sh_rest, settings.degree, self.dtype)
        self._on = place_of(means)
        expect_tensor("background", background, self.dtype, (3,), on=self._on)
        self.params = [p.detach() for p in params]
        self._view = (camera_numbers(camera, settings), settings.degree, settings.antialiased)
        self._camera = camera.world_from_camera
        self._background = background.detach()
        kernels = self._kernels = _kernels_of(means)
        self._lists = kernels[4]()  # our own: they must outlive the products
        self.records = means.new_empty((len(means), RECORD)).detach()
        self.picture = self.records.new_empty((3, camera.height, camera.width))
        self.transmittance = self.records.new_empty((camera.height, camera.width))
        kernels[0](*self.params, *self._view, self.records)
        kernels[2](self._lists, self.records, camera.width, camera.height, self._background, self.picture,
                   self.transmittance)

    @property
    def nbytes(self) -> int:
        """Memory held: tile lists, records and pictures, but not the parameters."""
        own = sum(t.numel() * t.element_size() for t in (self.records, self.picture, self.transmittance))
        return int(self._lists.bytes) + own

    @property
    def visible(self) -> Tensor:
        """[n] bool: which Gaussians were drawn."""
        return self.records[:, RADIUS] > 0

    def jvp(self, v: Rows) -> Tensor:
        """J v [3, height, width]: how the picture changes along v."""
        tangents, out = torch.empty_like(self.records), torch.empty_like(self.picture)
        self._kernel("splat_tangent")(self._lists, self.params, self._rows("v", v), *self._view, self.records,
                                      self._background, tangents, out)
        return out

    def camera_columns(self) -> Tensor:
        """[6, 3, height, width]: how the picture changes as the camera turns about its x, y, z (radians) and moves
        along them (units of the means).

        A camera that moves is a scene that moves the other way. When it turns about its own centre, no Gaussian is
        seen from another side, so colours stand still (degree 0).
        """
        out = self.picture.new_empty((6, *self.picture.shape))
        if self.dtype == torch.float64 or cuda.kernels_for(self.records) is None:
            self._kernel("splat_camera_tangents")(
                self._lists, self.params, *self._view, self.records, self._background,
                self.records.new_empty((6, *self.records.shape)), out)
            return out
        return self._one_by_one(out)

    def _one_by_one(self, out: Tensor) -> Tensor:
        """``camera_columns`` by six products."""
        means, quaternions = self.params[0], self.params[2]
        rotation, centre = (sent(t.to(self.dtype), self._on) for t in (self._camera[:3, :3], self._camera[:3, 3]))
        tangents = torch.empty_like(self.records)
        v = [torch.zeros_like(p) for p in self.params]
        for k in range(6):
            axis = rotation[:, k % 3]
            if k < 3:
                v[0] = torch.linalg.cross(-axis.expand_as(means), means - centre).contiguous()
                w, x, y, z = quaternions.unbind(1)
                a, b, c = (-0.5 * axis).unbind()
                v[2] = torch.stack([-a * x - b * y - c * z, a * w + b * z - c * y, b * w + c * x - a * z,
                                    c * w + a * y - b * x], dim=1).contiguous()
            else:
                v[0], v[2] = (-axis).expand_as(means).contiguous(), torch.zeros_like(quaternions)
            numbers, degree, antialiased = self._view
            self._kernel("splat_tangent")(self._lists, self.params, v, numbers, 0 if k < 3 else degree, antialiased,
                                          self.records, self._background, tangents, out[k])
        return out

    def vjp_(self, u: Tensor, out: Rows) -> None:
        """Adds J^T u to ``out``; u [3, height, width]."""
        expect_tensor("u", u, self.dtype, tuple(self.picture.shape), on=self._on)
        gradient = torch.empty_like(self.records)
        self._kernels[3](self._lists, self.records, self.picture, self.transmittance, u,
                                self.picture.new_empty(0), False, gradient)
        self._kernel("splat_pull_back")(self.params, *self._view, self.records, gradient, self._rows("out", out))

    def normal_(self, v: Rows, weights: Tensor, out: Rows) -> None:
        """Adds J^T W J v to ``out``; weights [3, height, width] are the diagonal of W."""
        expect_tensor("weights", weights, self.dtype, tuple(self.picture.shape), on=self._on)
        tangents, gradient = torch.empty_like(self.records), torch.empty_like(self.records)
        self._kernel("splat_normal")(
            self._lists, self.params, self._rows("v", v), *self._view, self.records, self._background, self.picture,
            self.transmittance, weights, tangents, gradient, torch.empty_like(self.picture),
            self._sums(), self._rows("out", out))

    def diagonal_(self, weights: Tensor, out: Rows, blocks: Tensor | None = None) -> None:
        """Adds diag(J^T W J) to ``out``. For the means, what goes through the view direction of colours is left out.

        ``blocks`` [n, BLOCK] gets added the whole block of each Gaussian's geometry (mean, log_scale, quaternion,
        logit), as its lower triangle; see ``SplatBlocks``.
        """
        expect_tensor("weights", weights, self.dtype, tuple(self.picture.shape), on=self._on)
        if blocks is None:
            blocks = self.picture.new_empty(0)
        else:
            expect_tensor("blocks", blocks, self.dtype, (len(self.records), BLOCK), on=self._on)
        self._kernel("splat_normal_diagonal")(self._lists, self.params, *self._view, self.records, self.picture,
                                              weights, self._sums(), self._rows("out", out), blocks)

    def blocks(self) -> SplatBlocks:
        """Empty blocks for pictures of these Gaussians."""
        return SplatBlocks(len(self.records), self.dtype, self._on)

    def _sums(self) -> Any:
        """Room for the sums of one product, shared by all pictures: it is larger than all that a picture keeps."""
        if self._on.type == "cuda":
            return None  # torch's allocator keeps that of the last product
        key = str(self.dtype)
        if key not in _ROOM:
            _ROOM[key] = _kernels(self.dtype)[4]()
        return _ROOM[key]

    def _kernel(self, name: str) -> Any:
        return _kernel_of(self.records, name)

    def _rows(self, name: str, rows: Rows) -> list[Tensor]:
        for given, own in zip(rows, self.params, strict=True):
            expect_tensor(name, given, self.dtype, tuple(own.shape), on=self._on)
        return list(rows)


class SplatBlocks:
    """The block of J^T W J that belongs to each Gaussian's geometry, as a preconditioner (block Jacobi).

    values [n, 66] lower triangles, summed over pictures by ``SplatLinearisation.diagonal_``.
    """

    def __init__(self, rows: int, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> None:
        self.values = torch.zeros(rows, BLOCK, dtype=dtype, device=device)

    def inverse(self, added: Rows, diagonal: Rows) -> Callable[[Rows], None]:
        """A function that multiplies rows in place by the inverse of blocks + ``added``; colours by 1 / their diagonal.

        ``added`` and ``diagonal`` (which holds the colours' diagonal, without ``added``) are shaped as the parameters.
        """
        factors = self.values.clone()
        _kernel_of(factors, "splat_factor_blocks")(list(added), factors)
        colours = [1.0 / (d + a) for d, a in zip(diagonal[4:], added[4:], strict=True)]

        def multiply_(x: Rows) -> None:
            _kernel_of(factors, "splat_solve_blocks")(factors, list(x))
            for part, factor in zip(x[4:], colours, strict=True):
                part.mul_(factor)

        return multiply_
