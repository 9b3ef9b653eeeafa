"""Mesh building blocks of the sample scene: lathed, swept and cut shapes as plain vertex and face lists.

Needs Blender's `bpy` (see make.py); not a runtime dependency of the program. Units metres, z up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import bpy
import numpy as np
from mathutils import Matrix, Vector

Point = tuple[float, float, float]
Shape = tuple[list[Point], list[tuple[int, ...]]]  # vertices and faces


def add_mesh(
    name: str,
    vertices: Sequence[Point],
    faces: Sequence[Sequence[int]],
    material: bpy.types.Material,
    *,
    location: Point = (0.0, 0.0, 0.0),
    rotation: Point = (0.0, 0.0, 0.0),
    smooth_angle: float = 40.0,
) -> bpy.types.Object:
    """Put a triangulated mesh into the scene. Edges sharper than `smooth_angle` degrees stay sharp.

    Textures use the object's own coordinates, so `vertices` are local; `rotation` is XYZ Euler in radians.
    """
    mesh = bpy.data.meshes.new(name)
    triangles = [(f[0], f[i], f[i + 1]) for f in faces for i in range(1, len(f) - 1)]
    mesh.from_pydata([tuple(v) for v in vertices], [], triangles)
    mesh.validate()
    mesh.update()
    mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), dtype=bool))
    mesh.set_sharp_from_angle(angle=math.radians(smooth_angle))
    mesh.materials.append(material)
    item = bpy.data.objects.new(name, mesh)
    item.location, item.rotation_euler = location, rotation
    bpy.context.scene.collection.objects.link(item)
    return item


def lathe(profile: Sequence[tuple[float, float]], segments: int, *, closed: bool = False) -> Shape:
    """Turn a profile of (radius, z) about the z axis; points of radius 0 become single poles.

    The profile runs upwards with the outside on its right, so that faces look outwards. `closed` joins its last
    point to its first (rings).
    """
    vertices: list[Point] = []
    rows: list[list[int]] = []
    for radius, z in profile:
        start = len(vertices)
        if radius == 0.0:
            vertices.append((0.0, 0.0, z))
            rows.append([start] * segments)
            continue
        for k in range(segments):
            a = 2 * math.pi * k / segments
            vertices.append((radius * math.cos(a), radius * math.sin(a), z))
        rows.append(list(range(start, start + segments)))
    faces: list[tuple[int, ...]] = []
    for below, above in zip(rows, rows[1:] + rows[:1] if closed else rows[1:]):
        for k in range(segments):
            corners = [below[k], below[(k + 1) % segments], above[(k + 1) % segments], above[k]]
            face = tuple(dict.fromkeys(corners))
            if len(face) >= 3:
                faces.append(face)
    return vertices, faces


def sphere(radius: float, segments: int) -> Shape:
    """A latitude-longitude sphere about the origin."""
    rings = segments // 2
    angles = [-math.pi / 2 + math.pi * i / rings for i in range(rings + 1)]
    profile = [(radius * math.cos(a), radius * math.sin(a)) for a in angles]
    profile[0], profile[-1] = (0.0, -radius), (0.0, radius)
    return lathe(profile, segments)


def band(inner: float, outer: float, bottom: float, top: float, segments: int) -> Shape:
    """A flat ring of rectangular section with small chamfers, which catch the light."""
    c = 0.15 * min(outer - inner, top - bottom)
    profile = [
        (inner + c, bottom), (outer - c, bottom), (outer, bottom + c), (outer, top - c),
        (outer - c, top), (inner + c, top), (inner, top - c), (inner, bottom + c),
    ]  # fmt: skip
    return lathe(profile, segments, closed=True)


def rounded(points: Sequence[Point], radius: float, steps: int = 6) -> list[Point]:
    """The polyline with its inner corners replaced by curves that start `radius` before each corner."""
    out: list[Point] = [points[0]]
    for before, corner, after in zip(points, points[1:], points[2:]):
        p, q, r = Vector(before), Vector(corner), Vector(after)
        start = q + (p - q).normalized() * radius
        end = q + (r - q).normalized() * radius
        for i in range(steps + 1):
            t = i / steps
            out.append(tuple((1 - t) ** 2 * start + 2 * t * (1 - t) * q + t * t * end))
    out.append(points[-1])
    return out


def tube(path: Sequence[Point], radius: float | Sequence[float], sides: int = 10) -> Shape:
    """A round rod along a path with closed ends; `radius` may vary along the path (0 at an end makes a tip)."""
    points = [Vector(p) for p in path]
    radii = [radius] * len(points) if isinstance(radius, float) else list(radius)
    tangents = [(points[min(i + 1, len(points) - 1)] - points[max(i - 1, 0)]).normalized() for i in range(len(points))]
    side = tangents[0].orthogonal().normalized()
    vertices: list[Point] = []
    for i, (p, t) in enumerate(zip(points, tangents)):
        if i:  # carry the frame along without twist
            side = tangents[i - 1].rotation_difference(t) @ side
        side = (side - t * side.dot(t)).normalized()
        other = t.cross(side)
        for k in range(sides):
            a = 2 * math.pi * k / sides
            vertices.append(tuple(p + (side * math.cos(a) + other * math.sin(a)) * radii[i]))
    faces: list[tuple[int, ...]] = []
    for i in range(len(points) - 1):
        for k in range(sides):
            k1 = (k + 1) % sides
            faces.append((i * sides + k, i * sides + k1, (i + 1) * sides + k1, (i + 1) * sides + k))
    last = (len(points) - 1) * sides
    faces.append(tuple(range(sides - 1, -1, -1)))
    faces.append(tuple(range(last, last + sides)))
    return vertices, faces


def gear(teeth: int, root: float, tip: float, inner: float, hub: float, thickness: float, spokes: int) -> Shape:
    """A spoked gear wheel about z, centred on z = 0: a toothed rim, `spokes` flat bars and a hub."""
    h = thickness / 2
    outline: list[tuple[float, float]] = []
    for k in range(teeth):
        for share, radius in ((0.0, root), (0.22, root), (0.38, tip), (0.62, tip), (0.78, root)):
            outline.append((radius, 2 * math.pi * (k + share) / teeth))
    n = len(outline)
    vertices: list[Point] = []
    for radius_of, z in ((None, -h), (None, h), (inner, h), (inner, -h)):
        for radius, a in outline:
            r = radius if radius_of is None else radius_of
            vertices.append((r * math.cos(a), r * math.sin(a), z))
    faces = []
    for loop in range(4):
        for k in range(n):
            k1 = (k + 1) % n
            lower, upper = loop * n, ((loop + 1) % 4) * n
            faces.append((lower + k, lower + k1, upper + k1, upper + k))
    parts = [(vertices, faces), lathe([(0.0, -2 * h), (hub, -2 * h), (hub, 2 * h), (0.0, 2 * h)], 24)]
    bar = box((inner - hub * 0.5 + 0.001, hub * 0.55, thickness * 0.8))
    for k in range(spokes):
        turn = Matrix.Rotation(2 * math.pi * (k + 0.5) / spokes, 4, "Z") @ Matrix.Translation(
            ((inner + hub * 0.5) / 2, 0.0, 0.0)
        )
        parts.append(([tuple(turn @ Vector(v)) for v in bar[0]], bar[1]))
    return join(parts)


def box(size: Point) -> Shape:
    """A box about the origin."""
    x, y, z = (s / 2 for s in size)
    vertices = [(-x, -y, -z), (x, -y, -z), (x, y, -z), (-x, y, -z), (-x, -y, z), (x, -y, z), (x, y, z), (-x, y, z)]
    return vertices, [(3, 2, 1, 0), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]


def extruded(outline: Sequence[tuple[float, float]], length: float) -> Shape:
    """A convex outline in (x, z), counter-clockwise seen from -y, extruded along y about the origin."""
    n = len(outline)
    vertices = [(x, y, z) for y in (-length / 2, length / 2) for x, z in outline]
    faces: list[tuple[int, ...]] = [tuple(range(n)), tuple(range(2 * n - 1, n - 1, -1))]
    faces += [(k, k + n, (k + 1) % n + n, (k + 1) % n) for k in range(n)]
    return vertices, faces


def join(
    parts: Sequence[Shape],
) -> Shape:
    """Several shapes as one."""
    vertices: list[Point] = []
    faces: list[tuple[int, ...]] = []
    for part_vertices, part_faces in parts:
        faces += [tuple(i + len(vertices) for i in f) for f in part_faces]
        vertices += part_vertices
    return vertices, faces
