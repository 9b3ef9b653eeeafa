"""The sample scene: a small brass orrery on an inlaid table, with books, a pencil and marbles beside it.

Metres, z up; the table top is z = 0 and the orrery's axis is the z axis. About 0.4 m across and 0.26 m high.
"""

from __future__ import annotations

import math
import random

import bpy
import looks
from mathutils import Vector
from shading import Colour
from shapes import Point, add_mesh, band, box, extruded, gear, join, lathe, rounded, sphere, tube

TABLE_RADIUS = 0.36

# name, radius, distance from the axis, angle in degrees, height of its arm, height of its centre (metres)
PLANETS = (
    ("mercury", 0.0075, 0.054, 165.0, 0.176, 0.206),
    ("venus", 0.0120, 0.074, 72.0, 0.168, 0.207),
    ("earth", 0.0165, 0.104, 288.0, 0.160, 0.212),
    ("mars", 0.0110, 0.126, 128.0, 0.152, 0.204),
    ("jupiter", 0.0270, 0.160, 22.0, 0.144, 0.208),
    ("saturn", 0.0215, 0.180, 208.0, 0.136, 0.214),
)


def build() -> None:
    """Fill an empty Blender scene with objects, lights and surroundings."""
    _table()
    _stand()
    _planets()
    _still_life()
    _light()


def _polar(radius: float, degrees: float, z: float) -> Point:
    a = math.radians(degrees)
    return radius * math.cos(a), radius * math.sin(a), z


def _table() -> None:
    r = TABLE_RADIUS
    edge = [(r - 0.012, -0.040), (r - 0.006, -0.036), (r - 0.010, -0.026), (r - 0.004, -0.022), (r, -0.014)]
    edge += [(r - 0.002, -0.005), (r - 0.007, -0.0008)]
    # rings inside the top keep its triangles well shaped
    top = [(r - 0.011, 0.0), (0.24, 0.0), (0.12, 0.0), (0.0, 0.0)]
    add_mesh("table", *lathe([(0.0, -0.040), *edge, *top], 144), looks.table_top())


def _stand() -> None:
    """Turned base, dial, column, two gears and the zodiac ring on four curved legs."""
    base = [
        (0.0, 0.008), (0.082, 0.008), (0.088, 0.011), (0.089, 0.015), (0.086, 0.019), (0.079, 0.021), (0.074, 0.025),
        (0.071, 0.031), (0.071, 0.035), (0.075, 0.038), (0.076, 0.042), (0.073, 0.046), (0.066, 0.048), (0.0, 0.048),
    ]  # fmt: skip
    add_mesh("base", *lathe(base, 72), looks.walnut(), smooth_angle=35.0)
    add_mesh("base band", *band(0.070, 0.0735, 0.0295, 0.0345, 72), looks.brass())
    dial = [(0.0, 0.048), (0.061, 0.048), (0.062, 0.0495), (0.061, 0.051), (0.0, 0.051)]
    add_mesh("dial", *lathe(dial, 72), looks.dial())
    for k in range(4):
        x, y, _ = _polar(0.070, 45.0 + 90.0 * k, 0.0)
        add_mesh(f"foot {k}", *sphere(0.0095, 16), looks.brass(), location=(x, y, 0.0093))
    column = [
        (0.0, 0.050), (0.016, 0.050), (0.016, 0.053), (0.011, 0.056), (0.0075, 0.060), (0.0065, 0.066), (0.0085, 0.071),
        (0.0115, 0.076), (0.0115, 0.080), (0.008, 0.085), (0.006, 0.090), (0.0052, 0.098), (0.0052, 0.185),
        (0.0042, 0.190), (0.0036, 0.195), (0.0036, 0.232), (0.0, 0.232),
    ]  # fmt: skip
    add_mesh("column", *lathe(column, 32), looks.brass())
    add_mesh("gear 1", *gear(44, 0.0375, 0.0415, 0.0315, 0.009, 0.0036, 5), looks.brass(), location=(0, 0, 0.1005))
    add_mesh("gear 2", *gear(28, 0.0225, 0.0262, 0.0178, 0.008, 0.0034, 4), looks.brass(), location=(0, 0, 0.1115))
    # a pinion on its own post, meshing with the large gear
    pinion = _polar(0.0565, 330.0, 0.1005)
    add_mesh("pinion", *gear(16, 0.0128, 0.0165, 0.0095, 0.005, 0.0036, 3), looks.brass(), location=pinion)
    add_mesh("pinion post", *tube([(*pinion[:2], 0.050), (*pinion[:2], 0.108)], 0.0022), looks.brass())
    add_mesh("pinion knob", *sphere(0.0042, 14), looks.brass(), location=(*pinion[:2], 0.110))

    add_mesh("zodiac", *band(0.127, 0.150, 0.098, 0.1012, 120), looks.zodiac())
    add_mesh("zodiac rim", *band(0.1495, 0.1525, 0.0965, 0.1027, 120), looks.brass())
    add_mesh("zodiac inner rim", *band(0.1248, 0.1275, 0.0965, 0.1027, 120), looks.brass())
    for k in range(4):
        a = 45.0 + 90.0 * k
        path = [_polar(0.070, a, 0.036), _polar(0.105, a, 0.034), _polar(0.128, a, 0.060), _polar(0.1385, a, 0.098)]
        add_mesh(f"leg {k}", *tube(rounded(path, 0.016, 8), 0.0026), looks.brass())
        add_mesh(f"leg knob {k}", *sphere(0.0048, 14), looks.brass(), location=_polar(0.1385, a, 0.1045))


def _planets() -> None:
    """The sun with its rays, and the planets on bent rods that leave the column in sleeves."""
    add_mesh("sun", *sphere(0.033, 64), looks.sun(), location=(0, 0, 0.246))
    rays = []
    for k in range(16):
        length = 0.052 if k % 2 == 0 else 0.044
        a = 360.0 / 16 * k
        rays.append(tube([_polar(0.030, a, 0.0), _polar(length, a, 0.0)], [0.0034, 0.0002], 8))
    add_mesh("rays", *join(rays), looks.brass(), location=(0, 0, 0.246), rotation=(0.32, 0.12, 0.0))

    for name, radius, distance, angle, arm, height in PLANETS:
        outer, inner = 0.0095, 0.0085
        sleeve = [(0.0, -0.0034), (inner, -0.0034), (outer, -0.0022), (outer, 0.0022), (inner, 0.0034), (0.0, 0.0034)]
        add_mesh(f"{name} sleeve", *lathe(sleeve, 28), looks.brass(), location=(0, 0, arm))
        path = [_polar(0.006, angle, arm), _polar(distance, angle, arm), _polar(distance, angle, height)]
        add_mesh(f"{name} arm", *tube(rounded(path, 0.018, 8), 0.0019), looks.brass())
        tail = [_polar(0.006, angle + 180.0, arm), _polar(0.026, angle + 180.0, arm)]
        add_mesh(f"{name} tail", *tube(tail, 0.0019), looks.brass())
        add_mesh(f"{name} weight", *sphere(0.0048, 14), looks.brass(), location=_polar(0.028, angle + 180.0, arm))
        cup = [(0.0, -0.010), (0.0026, -0.010), (0.0034, -0.004), (0.006, 0.0015), (0.0, 0.0015)]
        x, y, _ = _polar(distance, angle, 0.0)
        add_mesh(f"{name} cup", *lathe(cup, 20), looks.brass(), location=(x, y, height - radius))
        tilt = (0.35, 0.1, math.radians(angle))
        segments = 56 if radius > 0.015 else 36
        add_mesh(name, *sphere(radius, segments), looks.planet(name), location=(x, y, height), rotation=tilt)
        if name == "saturn":
            ring = band(0.0268, 0.0400, -0.0006, 0.0006, 96)
            add_mesh("saturn ring", *ring, looks.saturn_ring(), location=(x, y, height), rotation=(0.35, 0.22, 0.0))
        if name == "earth":
            moon = (x + 0.026, y - 0.014, height + 0.010)
            path = [(x, y, height - radius - 0.005), (moon[0], moon[1], height - radius - 0.005), moon]
            add_mesh("moon arm", *tube(rounded(path, 0.008, 6), 0.0013, 8), looks.brass())
            add_mesh("moon", *sphere(0.0056, 28), looks.planet("moon"), location=moon)


def _book(name: str, size: Point, at: Point, turn: float, dark: Colour, light: Colour) -> None:
    """A closed book lying flat: two cover boards, a rounded spine and the page block."""
    x, y, z = size
    board = 0.0025
    parts = []
    for level in (board / 2, z - board / 2):
        vertices, faces = box((x, y, board))
        parts.append(([(a, b, c + level) for a, b, c in vertices], faces))
    turns = [math.pi * k / 10 for k in range(10, -1, -1)]
    spine = [(-x / 2 - 0.007 * math.sin(t), z / 2 - z / 2 * math.cos(t)) for t in turns]
    parts.append(extruded(spine, y))
    angle = math.radians(turn)
    add_mesh(name, *join(parts), looks.cloth(name, dark, light), location=at, rotation=(0, 0, angle), smooth_angle=30.0)
    vertices, faces = box((x - 0.006, y - 0.008, z - 2 * board))
    inner = [(a - 0.002, b, c + z / 2) for a, b, c in vertices]
    add_mesh(f"{name} pages", inner, faces, looks.pages(), location=at, rotation=(0, 0, angle))


def _still_life() -> None:
    _book("green book", (0.140, 0.100, 0.024), (-0.205, 0.185, 0.0), 52.0, (0.008, 0.045, 0.030), (0.025, 0.13, 0.08))
    _book("red book", (0.128, 0.092, 0.019), (-0.200, 0.188, 0.024), 34.0, (0.11, 0.010, 0.010), (0.33, 0.035, 0.028))

    _pencil()
    for name, radius, where, colours in (
        ("marble 1", 0.0150, (-0.085, -0.235), ((0.02, 0.09, 0.32), (0.80, 0.83, 0.82), (0.85, 0.42, 0.03))),
        ("marble 2", 0.0125, (-0.118, -0.222), ((0.42, 0.035, 0.025), (0.90, 0.72, 0.40), (0.05, 0.05, 0.06))),
        ("marble 3", 0.0110, (-0.093, -0.205), ((0.02, 0.24, 0.13), (0.72, 0.84, 0.50), (0.92, 0.90, 0.82))),
        ("marble 4", 0.0140, (0.190, 0.205), ((0.62, 0.25, 0.02), (0.92, 0.80, 0.52), (0.25, 0.03, 0.02))),
    ):
        turn = random.Random(name).uniform(0.0, 6.0)
        place = (*where, radius - 0.0003)
        add_mesh(name, *sphere(radius, 40), looks.marble(name, *colours), location=place, rotation=(turn, turn, 0.0))


def _pencil() -> None:
    """A yellow hexagonal pencil; profiles are (radius, distance along it)."""
    yellow = looks.paint("yellow", (0.82, 0.40, 0.012), (0.90, 0.58, 0.10))
    graphite = looks.paint("graphite", (0.02, 0.02, 0.025), (0.05, 0.05, 0.05))
    rubber = looks.paint("rubber", (0.62, 0.16, 0.13), (0.70, 0.26, 0.22))
    body = [(0.0, 0.0), (0.0041, 0.0), (0.0041, 0.135), (0.0, 0.135)]
    wood = [(0.0, 0.135), (0.0038, 0.135), (0.0012, 0.150), (0.0, 0.150)]
    lead = [(0.0, 0.150), (0.00125, 0.150), (0.0, 0.1545)]
    ferrule = [(0.0, -0.012), (0.0042, -0.012), (0.0045, -0.008), (0.0042, -0.004), (0.0045, 0.0), (0.0, 0.001)]
    end = [(0.0, -0.021), (0.0032, -0.020), (0.0040, -0.018), (0.0040, -0.012), (0.0, -0.011)]
    for name, profile, sides, material in (
        ("pencil", body, 6, yellow),
        ("pencil wood", wood, 24, looks.pages()),
        ("pencil lead", lead, 16, graphite),
        ("pencil ferrule", ferrule, 24, looks.brass()),
        ("pencil rubber", end, 24, rubber),
    ):
        lying = (0.0, math.radians(90.0), math.radians(118.0))
        shape, sharp = lathe(profile, sides), 20.0 if sides == 6 else 40.0
        add_mesh(name, *shape, material, location=(0.262, -0.055, 0.0040), rotation=lying, smooth_angle=sharp)


def _light() -> None:
    """A warm key, a cool fill and a back light, all soft and unseen by the cameras, under a plain graded sky."""
    for name, place, size, power, colour in (
        ("key", (0.9, -0.9, 1.5), 0.6, 24.0, (1.0, 0.90, 0.77)),
        ("fill", (-1.4, -0.3, 1.0), 1.2, 4.5, (0.75, 0.86, 1.0)),
        ("back", (0.1, 1.5, 1.1), 0.8, 7.0, (1.0, 0.95, 0.88)),
    ):
        lamp = bpy.data.lights.new(name, "AREA")
        lamp.size, lamp.energy, lamp.color = size, power, colour
        item = bpy.data.objects.new(name, lamp)
        item.location = place
        item.rotation_euler = (Vector((0.0, 0.0, 0.08)) - Vector(place)).to_track_quat("-Z", "Y").to_euler()
        item.visible_camera = False
        bpy.context.scene.collection.objects.link(item)

    world = bpy.data.worlds.new("sky")
    bpy.context.scene.world = world
    world.use_nodes = True
    world.cycles.sampling_method = "NONE"  # a smooth sky needs no light samples of its own
    nodes, links = world.node_tree.nodes, world.node_tree.links
    nodes.clear()
    direction = nodes.new("ShaderNodeTexCoord").outputs["Generated"]
    split = nodes.new("ShaderNodeSeparateXYZ")
    links.new(direction, split.inputs[0])
    height = nodes.new("ShaderNodeMapRange")
    links.new(split.outputs[2], height.inputs[0])
    height.inputs["From Min"].default_value = -1.0
    ramp = nodes.new("ShaderNodeValToRGB")
    ramp.color_ramp.interpolation = "EASE"
    stops = ramp.color_ramp.elements
    stops[0].position, stops[0].color = 0.12, (0.11, 0.18, 0.24, 1.0)
    stops[1].position, stops[1].color = 0.95, (0.20, 0.40, 0.72, 1.0)
    middle = stops.new(0.52)
    middle.color = (0.92, 0.79, 0.62, 1.0)
    links.new(height.outputs[0], ramp.inputs[0])
    background = nodes.new("ShaderNodeBackground")
    background.inputs["Strength"].default_value = 0.62
    links.new(ramp.outputs[0], background.inputs[0])
    links.new(background.outputs[0], nodes.new("ShaderNodeOutputWorld").inputs["Surface"])
