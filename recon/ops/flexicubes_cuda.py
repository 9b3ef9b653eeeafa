"""FlexiCubes on CUDA: the kernels of cuda/iso/iso.cu, and those of the CPU, under the same names and arguments.

The order of every sum is fixed. Only topologies wait for the device, and only where no ``Room`` is open; nothing is
checked to be in range or finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from recon.ops import cuda, room
from recon.ops.native import native
from recon.types.placement import sent

Place = tuple[float, ...]


@dataclass(frozen=True)
class IsoKernels:
    """Functions of a CUDA module (or of the tests' executor) with the arguments of the CPU kernels; float32."""

    module: Any

    def dual_topology(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """cube [v], members [v], quads [q, 4]. The host waits for two numbers, how many there are; in an open room
        the lists have a capacity, and behind the last vertex and quad there are cubes and vertices -1."""
        on, stream, cubes = values.device, cuda.stream(values.device), _cubes(values)
        tables = _tables(self.module, on)
        kinds, ends = cuda.scratch(values, cubes, torch.int16), cuda.scratch(values, cubes, torch.int32)
        quad_ends, totals = cuda.scratch(values, 3 * values.numel(), torch.int32), cuda.scratch(values, 2, torch.int32)
        self.module.topology_count(values, tables, kinds, ends, quad_ends, totals,
                                   cuda.scratch(values, self.module.topology_scratch(*values.shape)), stream)
        taken = room.current()
        if taken is None:
            vertices, quads = totals.tolist()
        else:
            vertices, quads = taken.take("vertices", totals[:1]), taken.take("quads", totals[1:])
        cube, members = cuda.scratch(values, vertices, torch.int32), cuda.scratch(values, vertices, torch.int16)
        found = torch.empty(quads, 4, dtype=torch.int32, device=on)
        self.module.topology_write(values, tables, kinds, ends, quad_ends, cube, members, found, stream)
        return cube, members.view(torch.uint16), found

    def marching_cubes(self, values: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor]:
        """Edges [v] int64 and faces [f, 3]. The host waits for two numbers: how many there are."""
        on, stream = values.device, cuda.stream(values.device)
        tables, sure = _tables(self.module, on), cuda.none(on, torch.uint8) if known is None else known
        ends, totals = cuda.scratch(values, 3 * values.numel(), torch.int32), cuda.scratch(values, 2, torch.int32)
        triangle_ends = cuda.scratch(values, _cubes(values), torch.int32)
        self.module.marching_count(values, sure, tables, ends, triangle_ends, totals,
                                   cuda.scratch(values, self.module.topology_scratch(*values.shape)), stream)
        vertices, triangles = totals.tolist()
        edges, faces = cuda.scratch(values, vertices, torch.int64), torch.empty(triangles, 3, dtype=torch.int32,
                                                                               device=on)
        self.module.marching_write(values, sure, tables, ends, triangle_ends, edges, faces, stream)
        return edges, faces

    def deform_grid(self, raw: Tensor, origin: Place, spacing: Place, deformed: Tensor) -> None:
        """raw [nz, ny, nx, 3] -> places of the points."""
        self.module.deform_grid(raw, origin, spacing, deformed, cuda.stream(raw.device))

    def deform_grid_backward(self, deformed: Tensor, origin: Place, spacing: Place, gradient: Tensor) -> None:
        """Turns the gradient of the places into that of raw, in place."""
        self.module.deform_grid_backward(deformed, origin, spacing, gradient, cuda.stream(deformed.device))

    def flexible_vertices(self, values: Tensor, origin: Place, spacing: Place, deformed: Tensor | None,
                          weights: Tensor | None, cube: Tensor, members: Tensor, quads: Tensor, vertices: Tensor,
                          deviation: Tensor, centres: Tensor | None) -> None:
        """vertices [v, 3], deviation [v], centres [q, 3] or None."""
        self.module.flexible_vertices(values, origin, spacing, _some(deformed, values), _some(weights, values), cube,
                                      members.view(torch.int16), quads, vertices, deviation, _some(centres, values),
                                      cuda.stream(values.device))

    def flexible_vertices_backward(
            self, values: Tensor, origin: Place, spacing: Place, deformed: Tensor | None, weights: Tensor | None,
            cube: Tensor, members: Tensor, quads: Tensor, vertices: Tensor, g_vertices: Tensor,
            g_deviation: Tensor | None, g_centres: Tensor | None, g_values: Tensor, g_deformed: Tensor | None,
            g_weights: Tensor | None) -> None:
        """Adds to g_values, g_deformed and g_weights; g_vertices is scratch afterwards."""
        scratch = cuda.scratch(values, self.module.flexible_scratch(len(cube), len(quads), _cubes(values)))
        self.module.flexible_vertices_backward(
            values, origin, spacing, _some(deformed, values), _some(weights, values), cube, members.view(torch.int16),
            quads, vertices, g_vertices, _some(g_deviation, values), _some(g_centres, values), g_values,
            _some(g_deformed, values), _some(g_weights, values), scratch, cuda.stream(values.device))

    def sign_change(self, values: Tensor, gradient: Tensor) -> Tensor:
        """The loss, a scalar on the device."""
        partial = cuda.scratch(values, 2 * self.module.sign_change_blocks(values.numel()), torch.float64)
        loss = cuda.scratch(values, 1, torch.float64)
        self.module.sign_change(values, gradient, partial, loss, cuda.stream(values.device))
        return loss.to(values.dtype)[0]


@lru_cache(maxsize=4)
def _tables(module: Any, device: torch.device) -> Tensor:
    """How a surface passes through a cube, for all patterns of signs, on a device."""
    return sent(torch.frombuffer(bytearray(module.topology_tables), dtype=torch.uint8), device)


class _OnCpu:
    """The CPU kernels, which take the topology as arrays of numpy."""

    def dual_topology(self, values: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(found).to(values.device) for found in native.dual_topology(values.cpu()))

    def __getattr__(self, name: str) -> Any:
        return getattr(native, name)

    def marching_cubes(self, values: Tensor, known: Tensor | None) -> tuple[Tensor, ...]:
        found = native.marching_cubes(values.cpu(), None if known is None else known.cpu())
        return tuple(torch.from_numpy(part).to(values.device) for part in found)

    def flexible_vertices(self, *arguments: Any) -> None:
        native.flexible_vertices(*arguments[:5], *(t.numpy() for t in arguments[5:8]), *arguments[8:])

    def flexible_vertices_backward(self, *arguments: Any) -> None:
        native.flexible_vertices_backward(*arguments[:5], *(t.numpy() for t in arguments[5:8]), *arguments[8:])

    def sign_change(self, values: Tensor, gradient: Tensor) -> Tensor:
        return values.new_tensor(native.sign_change(values, gradient))


_ON_CPU = _OnCpu()


def _some(tensor: Tensor | None, like: Tensor) -> Tensor:
    """The kernels' word for an argument that is not given is an empty one."""
    return cuda.none(like.device) if tensor is None else tensor


def _cubes(values: Tensor) -> int:
    nz, ny, nx = values.shape
    return (nz - 1) * (ny - 1) * (nx - 1)


def kernels_of(tensor: Tensor) -> Any:
    """The kernels for a tensor: of its GPU, or the CPU's."""
    module = None if tensor.dtype == torch.float64 else cuda.kernels_for(tensor)
    return _ON_CPU if module is None else IsoKernels(module)
