"""What is right and wrong with a mesh: an honest report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recon.mesh.connect import corner_fans, face_parts, find_edges
from recon.mesh.intersections import self_intersections
from recon.types import Mesh


@dataclass(frozen=True)
class MeshReport:
    """Counts. ``self_intersections`` (pairs of faces) is None where they were not looked for."""

    vertices: int
    faces: int
    parts: int
    border_edges: int
    nonmanifold_edges: int  # of three or more faces
    nonmanifold_vertices: int  # where several sheets touch
    inverted_edges: int  # between two faces that are wound against each other
    degenerate_faces: int  # that use a vertex twice
    unused_vertices: int
    euler: int  # vertices - edges + faces, of the vertices in use; 2 - 2 genus for one closed surface
    self_intersections: int | None

    @property
    def manifold(self) -> bool:
        """A surface, perhaps with a border: every edge in one or two faces, every vertex in one fan."""
        return not (self.nonmanifold_edges or self.nonmanifold_vertices or self.degenerate_faces)

    @property
    def watertight(self) -> bool:
        """Closed, manifold and consistently wound."""
        return self.faces > 0 and self.manifold and self.border_edges == 0 and self.inverted_edges == 0

    def __str__(self) -> str:
        parts = f"{self.parts} part{'s' if self.parts != 1 else ''}"
        closed = ("watertight" if self.watertight else "manifold" if self.manifold else "not manifold")
        faults = {"border edges": self.border_edges, "edges of three or more faces": self.nonmanifold_edges,
                  "vertices where sheets touch": self.nonmanifold_vertices, "inverted edges": self.inverted_edges,
                  "degenerate faces": self.degenerate_faces, "self-intersections": self.self_intersections or 0}
        found = ", ".join(f"{n:,} {what}" for what, n in faults.items() if n)
        return f"{self.vertices:,} vertices, {self.faces:,} faces, {parts}, {closed}" + (f" ({found})" if found else "")


def check(mesh: Mesh, *, intersections: bool = False) -> MeshReport:
    """Examines a mesh; ``intersections`` also looks for faces that cut each other (slower)."""
    faces = mesh.faces.numpy().astype(np.int64)
    n = len(mesh.vertices)
    used = np.unique(faces)
    degenerate = (faces == np.roll(faces, 1, axis=1)).any(1)
    good = faces[~degenerate]
    edges = find_edges(good)
    fans = np.unique(corner_fans(good, edges))
    touching = np.bincount(good.reshape(-1)[fans], minlength=n) > 1 if len(fans) else np.zeros(0, bool)
    parts = face_parts(faces)
    return MeshReport(
        vertices=n, faces=len(faces), parts=int(parts.max()) + 1 if len(parts) else 0,
        border_edges=int((edges.count == 1).sum()), nonmanifold_edges=int((edges.count > 2).sum()),
        nonmanifold_vertices=int(touching.sum()),
        inverted_edges=int(((edges.count == 2) & (edges.forward != 1)).sum()),
        degenerate_faces=int(degenerate.sum()), unused_vertices=n - len(used),
        euler=len(used) - len(edges.ends) + len(good),
        self_intersections=self_intersections(mesh) if intersections else None,
    )
